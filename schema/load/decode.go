package load

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// decode fills in the defaults of every object that CUE accepts, holds it
// against the limits that this build does not enforce, checks what CUE cannot
// say of it alone, and makes a Go value of it.
func (l *loading) decode() {
	l.table = l.kindTable()
	for _, k := range l.table {
		k.start()
	}
	l.repo.Objects += len(l.list)
	// fleet first, which the rules of others may look at.
	list := l.list
	first := l.apart(nil)
	if len(list) > 0 && list[0].key.kind == "fleet" {
		first.decodeOne(list[0])
		list = list[1:]
	}
	const chunk = 64
	parts := make([]*loading, 1+(len(list)+chunk-1)/chunk)
	parts[0] = first
	l.inParallel(len(parts)-1, func(i int) {
		parts[i+1] = l.apart(l.objects[objKey{"fleet", ""}])
		for _, o := range list[i*chunk : min((i+1)*chunk, len(list))] {
			parts[i+1].decodeOne(o)
			l.opts.pacer.pace()
		}
		parts[i+1].opened.files = nil // much memory, and most of it of these objects alone
	})
	n := 0
	for _, part := range parts {
		n += len(part.notes)
	}
	l.repo.Positions = make(map[string]schema.Position, n)
	for _, part := range parts {
		l.join(part)
	}
}

// apart is l for a goroutine that looks at some objects, each by itself: it sees
// no others but fleet, and keeps its own of what it writes until join.
func (l *loading) apart(fleet *object) *loading {
	objects := map[objKey]*object{}
	if fleet != nil {
		objects[fleet.key] = fleet
	}
	return &loading{
		objects: objects,
		opts:    l.opts, tree: l.tree, defs: l.defs, kinds: l.kinds, kindNames: l.kindNames, module: l.module, files: l.files, folders: l.folders,
		looked: l.beginLooks(), part: l.part,
		complete: l.complete, table: l.table, notJudged: l.notJudged, unsure: l.unsure, sources: map[string]bool{}, how: l.how,
	}
}

// join takes over what apart has kept. Parts are joined in the order of their objects.
func (l *loading) join(part *loading) {
	for _, store := range part.stores {
		store()
	}
	for _, n := range part.notes {
		l.repo.Positions[n.path] = n.at
	}
	for name := range part.sources {
		l.sources[name] = true
	}
	for k := range part.looked {
		l.looked[k] = true
	}
	l.doubts = append(l.doubts, part.doubts...)
	// What does nothing yet is told of once for all, so only here; the places of faults do not depend on it.
	for _, i := range part.idles {
		l.idle(i.o, i.limit, i.path)
	}
	l.faults = append(l.faults, part.faults...)
}

func (l *loading) decodeOne(o *object) {
	l.judging = o.key
	if l.part != nil && !l.part.changed(o.key) { // its value is needed, and nothing that the result has of it
		notes, stores, sources := len(l.notes), len(l.stores), l.sources
		l.sources = map[string]bool{}
		defer func() {
			l.notes, l.sources = l.notes[:notes], sources
			if o.key.kind != "document" { // rules look at these
				l.stores = l.stores[:stores]
			}
		}()
	}
	p := o.key.path()
	l.notes = append(l.notes, noted{p.String(), l.fallback(o)})
	if o.key.kind != "fleet" && reserved(o.key.name) {
		l.wrongLabel(o, p, "names that begin with AWS-, Amazon or Dunlin- are the shipped library's")
	}
	if !o.accepted() || o.dropped {
		o.wrong = true
	}
	o.unpack()
	n := o.read()
	if n == nil || o.dropped {
		return
	}
	given := n.clone()
	c := &checker{defs: l.defs}
	c.fill(l.objectShape(o.key.kind), n)
	was := o.wrong
	l.limits(o, given)
	limited := o.wrong
	if o.key.kind == "fleet" {
		o.wrong = was // who may change what can be read all the same, and is, where fleet.cue is evaluated alone
	}
	l.alone(o, n, given)
	if !o.wrong {
		l.typedValue(o)
	}
	o.wrong = o.wrong || limited
	if o.key.kind != "fleet" { // which all goroutines look at
		o.pack()
	}
}

// noted is the place of an object or a part of one.
type noted struct {
	path string
	at   schema.Position
}

// idling is a thing in an object that does nothing yet.
type idling struct {
	o     *object
	limit schema.Limit
	path  path
}

func reserved(name string) bool {
	return strings.HasPrefix(name, "AWS-") || strings.HasPrefix(name, "Amazon") || strings.HasPrefix(name, "Dunlin-")
}

// limits refuses what this build would have to enforce and does not: a field
// that is given, or whose value, given or by default, is not one that means no limit.
func (l *loading) limits(o *object, given *value) {
	for _, x := range l.opts.Limits {
		steps := strings.Split(x.Path, ".")
		if steps[0] != o.key.kind {
			continue
		}
		steps = steps[1:]
		if o.key.kind != "fleet" && len(steps) > 0 {
			steps = steps[1:] // the object's name
		}
		in := given
		if len(x.Allowed) > 0 {
			in = o.read()
		}
		l.limit(o, x, in, steps, o.key.path())
	}
}

func (l *loading) limit(o *object, x schema.Limit, n *value, steps []string, p path) {
	switch {
	case n == nil, n.k == kAny && len(x.Allowed) > 0: // or it cannot be told
		return
	case len(steps) == 0 && n.k == kString && slices.Contains(x.Allowed, n.s):
		return
	case len(steps) == 0 && x.Idle && l.part != nil && (x.Path == o.key.kind || l.part.changed(o.key)):
		if x.Path != o.key.kind { // of a kind the whole knows which object is the first
			l.doubtPart(p.String() + " does nothing yet, and is told of in the order of the whole")
		}
	case len(steps) == 0 && x.Idle:
		l.idles = append(l.idles, idling{o, x, p})
	case len(steps) == 0:
		m := x.Says
		if m == "" {
			m = "not enforced by this version"
			if x.Hint == "" {
				m += "; leave it out"
			}
		} else if n.k == kString {
			m = n.s + ": " + m
		}
		if x.Hint != "" {
			m += "; " + x.Hint
		}
		l.wrongLabel(o, p, m)
		o.told = append(o.told, mistake{path: p, where: p, message: m}) // what else may be wrong there does not matter
	case steps[0] == "*":
		for i, name := range n.keys {
			l.limit(o, x, n.kids[i], steps[1:], p.field(name))
		}
	default:
		l.limit(o, x, n.get(steps[0]), steps[1:], p.field(steps[0]))
	}
}

// idle tells of what is there and does nothing yet: of a kind once, of a field wherever it is given.
func (l *loading) idle(o *object, x schema.Limit, p path) {
	name := strings.ReplaceAll(x.Path, ".*", "")
	seen := slices.Contains(l.repo.Idle, name)
	if !seen {
		l.repo.Idle = append(l.repo.Idle, name)
	}
	m := "does nothing yet in this version"
	if name == o.key.kind {
		if seen {
			return
		}
		m = name + " " + m
	}
	if x.Hint != "" {
		m += "; " + x.Hint
	}
	at := l.labelPos(o, p)
	l.add(schema.Fault{File: at.File, Line: at.Line, Column: at.Column, Path: p.String(), Message: m, Severity: schema.SeverityWarning})
}

// kindOf is how the objects of one kind become Go values.
type kindOf struct {
	name  string
	start func()                                      // makes the place for them
	read  func(name string, b []byte) (func(), error) // reads one of them, and gives what puts it there
	lists []string                                    // fields whose items are noted with their places
	maps  []string                                    // fields whose fields are
}

// kindTable has every kind of object of a repository.
func (l *loading) kindTable() []kindOf {
	r := &l.repo
	return []kindOf{
		{name: "fleet", start: func() {}, read: func(_ string, b []byte) (func(), error) {
			var f schema.Fleet
			err := json.Unmarshal(b, &f)
			return func() { r.Fleet = f }, err
		}},
		mapOf("baseline", &r.Baselines).withLists("approvalRules"),
		mapOf("group", &r.Groups),
		mapOf("resourceGroup", &r.ResourceGroups),
		mapOf("window", &r.Windows).withMaps("tasks"),
		mapOf("policy", &r.Policies).withLists("blockedPorts").withMaps("files", "packages", "services", "sysctls", "users", "registry", "checks"),
		mapOf("document", &r.Documents).withLists("mainSteps"),
		mapOf("association", &r.Associations),
		mapOf("calendar", &r.Calendars).withLists("events"),
		mapOf("parameter", &r.Parameters).withMaps("versions"),
		mapOf("activation", &r.Activations),
		mapOf("grant", &r.Grants),
		mapOf("exception", &r.Exceptions),
		mapOf("sink", &r.Sinks),
		mapOf("rule", &r.Rules),
		mapOf("guardrail", &r.Guardrails),
	}
}

// mapOf reads the objects of a kind into a map by name.
func mapOf[T any](name string, into *map[string]T) kindOf {
	return kindOf{
		name:  name,
		start: func() { *into = map[string]T{} },
		read: func(name string, b []byte) (func(), error) {
			var v T
			err := json.Unmarshal(b, &v)
			return func() { (*into)[name] = v }, err
		},
	}
}

func (k kindOf) withLists(fields ...string) kindOf { k.lists = fields; return k }
func (k kindOf) withMaps(fields ...string) kindOf  { k.maps = fields; return k }

// typedValue makes the Go value of an object and notes the places of its parts.
func (l *loading) typedValue(o *object) {
	i := slices.IndexFunc(l.table, func(k kindOf) bool { return k.name == o.key.kind })
	if i < 0 {
		l.wrongLabel(o, o.key.path(), "no such kind in this version")
		return
	}
	k := l.table[i]
	store, err := k.read(o.key.name, o.value.json(nil))
	if err != nil {
		l.wrongLabel(o, o.key.path(), fmt.Sprintf("cannot be read: %v", err))
		return
	}
	l.stores = append(l.stores, store)
	where := o.parts()
	for _, field := range k.lists {
		l.noteParts(o, field, where)
	}
	for _, field := range k.maps {
		l.noteParts(o, field, where)
	}
}

// noteValue notes the place of a value that a clock may have something to say of; others are noted by their labels.
func (l *loading) noteValue(o *object, p path) {
	l.notes = append(l.notes, noted{p.String(), l.valuePos(o, p)})
}

func (l *loading) note(o *object, p path) {
	l.notes = append(l.notes, noted{p.String(), l.labelPos(o, p)})
}

// noteParts notes the places of the items or fields of a field. where is what is known of places: see parts.
func (l *loading) noteParts(o *object, field string, where *value) {
	n := o.value.get(field)
	if n == nil || len(n.kids) == 0 {
		return
	}
	where = where.get(field)
	p := o.key.path().field(field)
	prefix := p.String()
	for i := range n.kids {
		s := seg{item: i}
		if n.k == kStruct {
			s = seg{n.keys[i], -1}
		}
		part := where.step(s)
		if part == nil || part.off == 0 {
			l.note(o, append(p, s))
			continue
		}
		l.notes = append(l.notes, noted{prefix + s.after(), o.frags[0].at(part.off)})
	}
}
