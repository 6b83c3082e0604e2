package load

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// alone checks what CUE cannot say about one object by itself. n is its value with defaults, given what its author
// wrote. Of an object that CUE refuses both are what is right of it: a rule takes nothing for granted, neither that a
// field is there nor what it holds.
func (l *loading) alone(o *object, n, given *value) {
	p := o.key.path()
	for _, steps := range selections(o.key.kind) {
		follow(n, p, steps, func(p path, n *value) { l.targets(o, p, n) })
	}
	switch o.key.kind {
	case "fleet":
		l.fleet(o, n, given)
	case "baseline":
		l.baseline(o, n, given)
	case "window":
		l.window(o, n)
	case "policy":
		l.policy(o, n)
	case "document":
		l.document(o, n, given)
	case "association":
		l.association(o, n)
	case "calendar":
		l.calendar(o, n)
	case "parameter":
		l.parameter(o, n)
	case "activation":
		l.activation(o, n)
	case "grant":
		l.grant(o, given)
	case "exception":
		l.exception(o, n)
	case "sink":
		l.sink(o, n)
	case "rule":
		l.rule(o, n)
	}
}

// str is the text of a field; empty where there is none.
func (n *value) str(name string) string {
	if v := n.get(name); v != nil && v.k == kString {
		return v.s
	}
	return ""
}

// flag is true where a field is there and true.
func (n *value) flag(name string) bool {
	v := n.get(name)
	return v != nil && v.k == kBool && v.b
}

// items are the values of a list; none where it is something else.
func (n *value) items() []*value {
	if n == nil || n.k != kList {
		return nil
	}
	return n.kids
}

// fields are the names and values of a struct; none where it is something else.
func (n *value) fields() iter.Seq2[string, *value] {
	return func(yield func(string, *value) bool) {
		if n == nil || n.k != kStruct {
			return
		}
		for i, name := range n.keys {
			if !yield(name, n.kids[i]) {
				return
			}
		}
	}
}

// follow calls f for every value that some steps lead to; the step * takes every field or item. The path is f's only
// until it returns.
func follow(n *value, p path, steps []string, f func(path, *value)) {
	switch {
	case n == nil:
	case len(steps) == 0:
		f(p, n)
	case steps[0] == "*":
		for i, k := range n.kids {
			s := seg{item: i}
			if n.k == kStruct {
				s = seg{n.keys[i], -1}
			}
			follow(k, append(p, s), steps[1:], f)
		}
	default:
		follow(n.get(steps[0]), append(p, seg{steps[0], -1}), steps[1:], f)
	}
}

// at finds a value within an object; nil where there is none.
func (o *object) at(p path) *value {
	n := o.read()
	for _, s := range p[len(o.key.path()):] {
		switch {
		case n == nil:
			return nil
		case s.item < 0:
			n = n.get(s.name)
		case s.item < len(n.kids):
			n = n.kids[s.item]
		default:
			return nil
		}
	}
	return n
}

// instant reads a field that is a moment; false where it is absent, or said to be none.
func (l *loading) instant(o *object, p path, n *value, field string) (time.Time, bool) {
	text := n.str(field)
	if text == "" {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		l.wrong(o, p.field(field), fmt.Sprintf("%q is not in the calendar", text))
	}
	return t, err == nil
}

// duration reads a field that is a length of time from lo to hi, which words call by their names.
func (l *loading) duration(o *object, p path, n *value, field string, lo, hi time.Duration, words string) {
	text := n.str(field)
	if text == "" {
		return
	}
	d, err := schema.ParseDuration(text)
	switch {
	case err != nil:
		l.wrong(o, p.field(field), err.Error())
	case d < lo || d > hi:
		l.wrong(o, p.field(field), text+" is not "+words)
	}
}

// forever is the greatest length of time.
const forever = time.Duration(math.MaxInt64)

// oneOf reports that a struct has none of some fields, of which it needs one.
func (l *loading) oneOf(o *object, p path, n *value, message string, fields ...string) {
	if n == nil || n.k != kStruct || o.blurred(p) {
		return
	}
	if !slices.ContainsFunc(fields, func(f string) bool { return n.get(f) != nil }) {
		l.wrongLabel(o, p, message)
	}
}
