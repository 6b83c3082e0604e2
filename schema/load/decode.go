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
	l.repo.Baselines = map[string]schema.Baseline{}
	l.repo.Groups = map[string]schema.Group{}
	l.repo.ResourceGroups = map[string]schema.ResourceGroup{}
	l.repo.Windows = map[string]schema.Window{}
	l.repo.Policies = map[string]schema.Policy{}
	l.repo.Positions = map[string]schema.Position{}
	idle := map[string]bool{}
	for _, o := range l.list {
		l.repo.Objects++
		p := o.key.path()
		file, pos := l.objectPos(o)
		if pos.IsValid() {
			l.repo.Positions[p.String()] = position(pos)
		} else {
			l.repo.Positions[p.String()] = schema.Position{File: file}
		}
		if o.key.kind != "fleet" && reserved(o.key.name) {
			l.wrongLabel(o, p, "names that begin with AWS-, Amazon or Dunlin- are the shipped library's")
		}
		if o.value == nil || o.dropped {
			o.wrong = true
			continue
		}
		given := o.value.clone()
		c := &checker{defs: l.defs}
		c.fill(l.objectShape(o.key.kind), o.value)
		l.limits(o, given)
		if !typed(o.key.kind) && !idle[o.key.kind] {
			idle[o.key.kind] = true
			if !l.limited(o.key.kind) {
				l.warn(file, pos, p.String(), o.key.kind+" does nothing yet in this version")
			}
		}
		l.alone(o, given)
		if !o.wrong {
			l.typedValue(o)
		}
	}
	for _, kind := range l.kindNames {
		if idle[kind] {
			l.repo.Idle = append(l.repo.Idle, kind)
		}
	}
	l.documents()
}

func reserved(name string) bool {
	return strings.HasPrefix(name, "AWS-") || strings.HasPrefix(name, "Amazon") || strings.HasPrefix(name, "Dunlin-")
}

// typed reports whether this build has a Go type for a kind.
func typed(kind string) bool {
	switch kind {
	case "fleet", "baseline", "group", "resourceGroup", "window", "policy":
		return true
	}
	return false
}

// documents counts the documents that are files of their own.
func (l *loading) documents() {
	n := 0
	for name := range l.tree.content {
		if strings.HasPrefix(name, "documents/") && !strings.HasSuffix(name, ".cue") {
			n++
		}
	}
	l.repo.Objects += n
	if n > 0 && !slices.Contains(l.repo.Idle, "document") {
		l.repo.Idle = append(l.repo.Idle, "document")
	}
}

func (l *loading) limited(kind string) bool {
	return slices.ContainsFunc(l.opts.Limits, func(x schema.Limit) bool { return x.Path == kind })
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
			in = o.value
		}
		l.limit(o, x, in, steps, o.key.path())
	}
}

func (l *loading) limit(o *object, x schema.Limit, n *value, steps []string, p path) {
	switch {
	case n == nil:
		return
	case len(steps) == 0:
		if n.k == kString && slices.Contains(x.Allowed, n.s) {
			return
		}
		m := x.Says
		if m == "" {
			m = "not enforced by this version"
		} else if n.k == kString {
			m = n.s + ": " + m
		}
		if x.Hint != "" {
			m += "; " + x.Hint
		}
		l.wrongLabel(o, p, m)
	case steps[0] == "*":
		for i, name := range n.keys {
			l.limit(o, x, n.kids[i], steps[1:], p.field(name))
		}
	default:
		l.limit(o, x, n.get(steps[0]), steps[1:], p.field(steps[0]))
	}
}

// typedValue makes the Go value of an object and notes the places of its parts.
func (l *loading) typedValue(o *object) {
	if !typed(o.key.kind) {
		return
	}
	b := o.value.json(nil)
	name, p := o.key.name, o.key.path()
	var err error
	switch o.key.kind {
	case "fleet":
		err = json.Unmarshal(b, &l.repo.Fleet)
	case "baseline":
		err = put(l.repo.Baselines, name, b)
		if rules := o.value.get("approvalRules"); rules != nil {
			for i := range rules.kids {
				l.note(o, p.field("approvalRules").index(i))
			}
		}
	case "group":
		err = put(l.repo.Groups, name, b)
	case "resourceGroup":
		err = put(l.repo.ResourceGroups, name, b)
	case "window":
		err = put(l.repo.Windows, name, b)
		l.noteFields(o, "tasks")
	case "policy":
		err = put(l.repo.Policies, name, b)
		if ports := o.value.get("blockedPorts"); ports != nil {
			for i := range ports.kids {
				l.note(o, p.field("blockedPorts").index(i))
			}
		}
		for _, field := range []string{"files", "packages", "services", "sysctls", "users"} {
			l.noteFields(o, field)
		}
	}
	if err != nil {
		l.wrongLabel(o, p, fmt.Sprintf("cannot be read: %v", err))
	}
}

func put[T any](into map[string]T, name string, b []byte) error {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	into[name] = v
	return nil
}

func (l *loading) note(o *object, p path) { l.repo.Positions[p.String()] = l.labelPos(o, p) }

func (l *loading) noteFields(o *object, field string) {
	if n := o.value.get(field); n != nil {
		for _, name := range n.keys {
			l.note(o, o.key.path().field(field).field(name))
		}
	}
}
