package ssm

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Windows takes maintenance windows as `aws ssm get-maintenance-window` prints them, with their targets
// (describe-maintenance-window-targets) and tasks (get-maintenance-window-task, or describe-maintenance-window-tasks, which
// leaves out the parameters of tasks), in any order, each in a file of its own or one after the other in one. What belongs
// together is found by WindowId. name, if given, is used in place of the one window's own.
func Windows(in []Input, name string) (Result, error) {
	m := &making{}
	var w windows
	for _, f := range in {
		values, err := read(f)
		if err != nil {
			return Result{}, fmt.Errorf("read %q: %w", f.Name, err)
		}
		for _, v := range values {
			if err := w.sort(v); err != nil {
				return Result{}, fmt.Errorf("read %q: %w", f.Name, err)
			}
		}
	}
	if len(w.windows) == 0 {
		return Result{}, errors.New("no maintenance window: give what aws ssm get-maintenance-window --window-id ID prints, with its targets and tasks")
	}
	if name != "" && len(w.windows) > 1 {
		return Result{}, fmt.Errorf("--name %q is for one window, and there are %d", name, len(w.windows))
	}
	for _, v := range w.windows {
		if err := m.window(v, &w, name); err != nil {
			return Result{}, err
		}
	}
	for _, v := range slices.Concat(w.targets, w.tasks) {
		if !v.used {
			return Result{}, fmt.Errorf("the target or task %q belongs to the window %q, which is not among the input", first(v.str("WindowTaskId"), v.str("WindowTargetId")), v.str("WindowId"))
		}
	}
	return m.result()
}

// windows are the parts of the input.
type windows struct{ windows, targets, tasks []*node }

// sort puts a value where it belongs.
func (w *windows) sort(v *node) error {
	some := false
	for _, part := range []struct {
		key  string
		into *[]*node
	}{{"Window", &w.windows}, {"Targets", &w.targets}, {"Tasks", &w.tasks}} {
		x := v.peek(part.key)
		switch {
		case v.has("WindowTaskId") || x == nil: // a task's own targets
		case x.is(list):
			*part.into = append(*part.into, x.kids...)
			some = true
		case x.is(object):
			*part.into = append(*part.into, x)
			some = true
		}
	}
	switch {
	case v.has("WindowIdentities"):
		return errors.New("this is a list of windows; give what aws ssm get-maintenance-window --window-id ID prints")
	case v.has("WindowTaskId"):
		w.tasks = append(w.tasks, v)
	case v.has("WindowTargetId"):
		w.targets = append(w.targets, v)
	case v.has("Schedule") && v.has("Duration"):
		w.windows = append(w.windows, v)
	case !some:
		return errors.New("neither a maintenance window nor its targets or tasks: give what aws ssm get-maintenance-window, describe-maintenance-window-targets and get-maintenance-window-task print")
	}
	return nil
}

func first(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}

func (m *making) window(v *node, w *windows, name string) error {
	called := first(name, v.str("Name"))
	v.get("Name")
	short, err := m.name(called)
	if err != nil {
		return err
	}
	out := &node{kind: object}
	o := &made{kind: "window", name: short, value: out}
	m.objects = append(m.objects, o)
	id := v.str("WindowId")
	out.comments = append(out.comments, comment("From a maintenance window of AWS Systems Manager", v, "WindowId", "CreatedDate", "ModifiedDate"))
	m.renamed(o, called)
	v.get("NextExecutionTime").all() // follows from the rest

	if d := v.str("Description"); d != "" {
		out.put("description", str(d))
	}
	out.put("schedule", v.get("Schedule").all())
	m.take(out, v, "timezone", "ScheduleTimezone", true)
	if n := v.peek("ScheduleOffset"); textOf(n) != "0" {
		out.put("offset", v.get("ScheduleOffset").all())
	} else {
		v.get("ScheduleOffset")
	}
	for _, f := range [][2]string{{"StartDate", "start"}, {"EndDate", "end"}} {
		if t := v.str(f[0]); t != "" {
			out.put(f[1], str(m.instant(o, f[0], t)))
		}
	}
	out.put("duration", hours(v.get("Duration")))
	if c := v.get("Cutoff"); textOf(c) != "0" {
		out.put("cutoff", hours(c))
	}
	if e := v.get("Enabled"); textOf(e) == "false" {
		out.put("enabled", flag(false))
	}
	if a := v.get("AllowUnassociatedTargets"); textOf(a) == "true" {
		m.note(o, out, "AllowUnassociatedTargets", "true has no counterpart: tasks say their own targets here whenever they want")
	}
	groups := m.windowTargets(o, id, w)
	out.put("targets", groups.whole(m, o))
	tasks := m.windowTasks(o, id, w, groups)
	if len(tasks.kids) > 0 {
		out.put("tasks", tasks)
	} else {
		out.comments = append(out.comments, tasks.comments...)
	}
	m.lost(o, nil, "", v)
	return nil
}

// hours makes a duration of a number of hours.
func hours(n *node) *node {
	if n.is(number) {
		return str(n.text + "h")
	}
	return n.all()
}

// instant gives an instant with seconds and an offset, as it is written here.
func (m *making) instant(o *made, path, s string) string {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05.000-07:00", "2006-01-02T15:04:05-0700", "2006-01-02T15:04-0700"} {
		if t, err := time.Parse(form, s); err == nil {
			return t.Format(time.RFC3339)
		}
	}
	for _, form := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(form, s); err == nil {
			m.note(o, nil, path, "%q says no offset; it is taken as UTC", s)
			return t.Format(time.RFC3339)
		}
	}
	return s // for validate to refuse
}

// registered are the targets of a window.
type registered struct {
	list []target
}

type target struct {
	id    string
	value *node // targets of this language
	group string
}

// whole selects the nodes of all registered targets.
func (r *registered) whole(m *making, o *made) *node {
	var ids []string
	for _, t := range r.list {
		ids = append(ids, t.id)
	}
	n := r.some(ids)
	if n == nil {
		m.note(o, o.value, "targets", "no targets are registered with the window: say which nodes it is for")
		return &node{kind: object}
	}
	return n
}

// some selects the nodes of some registered targets; nil for none.
func (r *registered) some(ids []string) *node {
	var found []target
	for _, t := range r.list {
		if slices.Contains(ids, t.id) {
			found = append(found, t)
		}
	}
	switch {
	case len(found) == 0:
		return nil
	case len(r.list) == 1:
		return found[0].value
	}
	names := &node{kind: list}
	for _, t := range found {
		names.kids = append(names.kids, str(t.group))
	}
	return &node{kind: object, keys: []string{"resourceGroups"}, kids: []*node{names}}
}

// windowTargets makes targets of those that are registered. Several become resource groups, any of which will do.
func (m *making) windowTargets(o *made, id string, w *windows) *registered {
	r := &registered{}
	var mine []*node
	for _, v := range w.targets {
		if of := v.str("WindowId"); !v.used && (of == id || of == "") {
			v.used = true
			mine = append(mine, v)
		}
	}
	used := map[string]bool{}
	for i, v := range mine {
		of := o
		t := target{id: v.str("WindowTargetId")}
		if len(mine) > 1 {
			label := first(clean(v.str("Name")), strconv.Itoa(i+1))
			t.group = trim(o.name+"-"+label, 63)
			if used[t.group] {
				t.group = trim(o.name, 55) + "-" + strconv.Itoa(i+1)
			}
			used[t.group] = true
			of = &made{kind: "resourceGroup", name: t.group, value: &node{kind: object}}
			of.value.comments = append(of.value.comments, comment("From the targets of the maintenance window "+o.name+" of AWS Systems Manager", v, "WindowTargetId"))
			m.objects = append(m.objects, of)
			if d := first(v.str("Description"), v.str("Name")); d != "" {
				of.value.put("description", str(d))
			}
		} else {
			o.value.comments = append(o.value.comments, comment("Its targets", v, "WindowTargetId", "Name", "Description"))
		}
		v.get("Name")
		v.get("WindowTargetId")
		v.get("Description")
		if k := v.str("ResourceType"); k != "" && k != "INSTANCE" && k != "RESOURCE_GROUP" {
			m.note(of, of.value, "ResourceType", "%q has no counterpart", k)
		}
		t.value = m.targets(of, of.value, fmt.Sprintf("Targets[%d]", i), v.items("Targets"))
		if of != o {
			of.value.put("targets", t.value)
		}
		m.lost(of, of.value, fmt.Sprintf("Targets[%d]", i), v)
		r.list = append(r.list, t)
	}
	return r
}

// clean keeps what a name may have.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 128 && (alphanumeric(string(r)) || strings.ContainsRune("._-", r)) {
			return r
		}
		return '-'
	}, s)
	return strings.Trim(s, "._-")
}

func trim(s string, n int) string { return strings.TrimRight(s[:min(len(s), n)], "._-") }

// targets makes targets of SSM's (SSM §4.2). What has no counterpart leaves them empty, which selects nothing and is refused.
func (m *making) targets(o *made, at *node, path string, from []*node) *node {
	out, tags := &node{kind: object}, &node{kind: object}
	unclear, every := false, false
	for i, t := range from {
		key, values := t.str("Key"), t.get("Values").all()
		here := fmt.Sprintf("%s.Targets[%d]", path, i)
		switch tag, isTag := strings.CutPrefix(key, "tag:"); {
		case values == nil:
			m.note(o, at, here, "no Values: %s", t.brief())
			unclear = true
		case isTag && tag != "" && !tags.has(tag):
			tags.put(tag, values)
		case key == "InstanceIds" && len(values.kids) == 1 && values.kids[0].text == "*":
			every = true // and the other conditions
		case key == "InstanceIds" && !out.has("nodes"):
			out.put("nodes", values)
			m.note(o, at, here, "the ids of instances are not names of nodes: put in the names that the roster has")
		case key == "resource-groups:Name" && !out.has("resourceGroups"):
			out.put("resourceGroups", values)
			m.note(o, at, here, "resource groups of AWS are not known here: declare resourceGroup objects of these names")
		default:
			m.note(o, at, here, "%s has no counterpart: the targets are left empty, for you to say which nodes they mean", t.all().brief())
			unclear = true
		}
		m.lost(o, at, here, t)
	}
	if len(tags.kids) > 0 {
		out.put("tags", tags)
	}
	if unclear {
		return &node{kind: object} // part of a condition would select more
	}
	if every && len(out.kids) == 0 {
		out.put("all", flag(true))
	}
	return out
}

func (m *making) windowTasks(o *made, id string, w *windows, groups *registered) *node {
	out := &node{kind: object}
	var mine []*node
	byID := map[string]*node{}
	for _, v := range w.tasks {
		of := v.str("WindowId")
		if v.used || of != id && of != "" {
			continue
		}
		v.used = true
		// get-maintenance-window-task says more than describe-maintenance-window-tasks of the same one.
		task := v.str("WindowTaskId")
		if old := byID[task]; old != nil && task != "" {
			if v.has("TaskInvocationParameters") {
				mine[slices.Index(mine, old)], byID[task] = v, v
			}
			continue
		}
		byID[task] = v
		mine = append(mine, v)
	}
	for i, v := range mine {
		path := fmt.Sprintf("Tasks[%d]", i)
		kind := first(v.str("TaskType"), v.str("Type"))
		label := first(clean(v.str("Name")), clean(v.str("WindowTaskId")), "task-"+strconv.Itoa(i+1))
		label = trim(label, 63)
		if out.has(label) {
			label = trim(label, 60) + "-" + strconv.Itoa(i+1)
		}
		if kind != "RUN_COMMAND" && kind != "" {
			m.note(o, out, path, "a task of type %s has no counterpart and is left out: %s", kind, v.all().brief())
			continue
		}
		out.put(label, m.task(o, path, v, groups))
	}
	out.block = true
	return out
}

func (m *making) task(o *made, path string, v *node, groups *registered) *node {
	t := &node{kind: object, block: true}
	about := comment("From a task of AWS Systems Manager", v, "WindowTaskId", "Name", "Description")
	t.comments = append(t.comments, about)
	for _, f := range []string{"WindowId", "TaskType", "Type"} {
		v.get(f)
	}
	document := v.str("TaskArn")
	if strings.HasPrefix(document, "arn:") {
		document = document[strings.LastIndexByte(document, '/')+1:]
	}
	t.put("document", str(document))
	call := v.get("TaskInvocationParameters").get("RunCommand")
	parameters := call.get("Parameters")
	if parameters.empty() {
		if old := v.get("TaskParameters"); !old.empty() {
			parameters = &node{kind: object}
			for _, k := range old.keys {
				if x := old.get(k); x.is(object) && x.has("Values") {
					parameters.put(k, x.get("Values"))
				} else {
					parameters.put(k, x)
				}
			}
		}
	}
	if !parameters.empty() {
		to := &node{kind: object}
		for i, k := range parameters.keys {
			x := parameters.kids[i]
			if x.is(list) && len(x.kids) == 1 && x.kids[0].is(text) {
				x = x.kids[0] // one text is a list of one
			}
			to.put(k, x)
		}
		parameters.all()
		t.put("parameters", to)
	} else if !v.has("TaskInvocationParameters") {
		m.note(o, t, path+".TaskInvocationParameters", "is not in the input, so that the task has no parameters: give what aws ssm get-maintenance-window-task prints")
	}
	if p := v.get("Priority"); p.is(number) && p.text != "1" {
		t.put("priority", p)
	}
	m.taskTargets(o, t, path, v, groups)
	if c := v.str("MaxConcurrency"); c != "" {
		t.put("maxConcurrency", str(c))
	}
	if e := v.str("MaxErrors"); e != "" {
		t.put("maxErrors", str(e))
	}
	m.take(t, v, "cutoffBehavior", "CutoffBehavior", true)
	bucket, prefix := call.str("OutputS3BucketName"), call.str("OutputS3KeyPrefix")
	if bucket == "" {
		l := v.get("LoggingInfo")
		bucket, prefix = l.str("S3BucketName"), l.str("S3KeyPrefix")
	}
	if bucket != "" {
		t.put("output", &node{kind: object, keys: []string{"url"}, kids: []*node{str("s3://" + strings.TrimRight(bucket+"/"+prefix, "/"))}})
	}
	if version := call.str("DocumentVersion"); version == "$DEFAULT" {
		call.get("DocumentVersion")
	}
	m.lost(o, t, path, v)
	return t
}

// taskTargets are the registered targets that a task names, or its own.
func (m *making) taskTargets(o *made, t *node, path string, v *node, groups *registered) {
	from := v.items("Targets")
	if len(from) == 0 {
		return
	}
	if len(from) == 1 && from[0].str("Key") == "WindowTargetIds" {
		var ids []string
		for _, x := range from[0].items("Values") {
			ids = append(ids, x.text)
		}
		switch n := groups.some(ids); {
		case n == nil:
			m.note(o, t, path+".Targets", "the targets %s are not in the input: give what aws ssm describe-maintenance-window-targets prints, or say which nodes", strings.Join(ids, ", "))
			t.put("targets", &node{kind: object})
		case len(ids) < len(groups.list):
			t.put("targets", n)
		} // all of them are the window's
		return
	}
	t.put("targets", m.targets(o, t, path, from))
}
