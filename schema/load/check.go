package load

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dunlin-dev/dunlin/schema"
)

// mistake is a fault that has no place in a file yet. The place is that of
// where: of its value, or of its label.
type mistake struct {
	path    path
	where   path
	label   bool
	at      *schema.Position // the place itself, where it is known
	message string
}

// checker says how a value differs from a shape.
type checker struct {
	defs  shapes
	quiet bool // only whether, not what
	bad   bool
	found []mistake
	stack []*value // structs around the value, for lookups
}

func (c *checker) at(p, where path, label bool, format string, a ...any) {
	c.bad = true
	if !c.quiet {
		c.found = append(c.found, mistake{path: p, where: where, label: label, message: fmt.Sprintf(format, a...)})
	}
}

func (c *checker) wrong(p path, format string, a ...any) { c.at(p, p, false, format, a...) }

func (c *checker) field(p path, name string) path {
	if c.quiet {
		return nil
	}
	return p.field(name)
}

func (c *checker) check(s *shape, n *value, p path) {
	if c.quiet && c.bad || n.k == kAny {
		return
	}
	if s.lookup != nil {
		t, chosen := c.resolve(s.lookup)
		if t == nil {
			c.bad = true // the field that chooses has a fault of its own
			return
		}
		u := *s
		u.lookup = nil
		v := and(&u, t)
		v.when = s.lookup.field + " is " + chosen
		c.check(v, n, p)
		return
	}
	if s.alts != nil {
		c.choice(s, n, p)
		return
	}
	if n.k&s.kinds == 0 {
		c.wrong(p, "%s", c.say(s, n, p))
		return
	}
	switch n.k {
	case kList:
		c.list(s, n, p)
	case kStruct:
		c.structure(s, n, p)
	default:
		c.scalar(s, n, p)
	}
}

func (c *checker) choice(s *shape, n *value, p path) {
	var last *shape
	fitting := 0
	for _, a := range s.alts {
		if a.kinds&n.k == 0 {
			continue
		}
		last = a
		fitting++
		q := &checker{defs: c.defs, quiet: true, stack: c.stack}
		if q.check(a, n, nil); !q.bad {
			c.scalar(s, n, p) // what is said beside the alternatives
			return
		}
	}
	if fitting == 1 && n.k&(kStruct|kList) != 0 {
		c.check(last, n, p)
		return
	}
	c.wrong(p, "%s", c.say(s, n, p))
}

func (c *checker) scalar(s *shape, n *value, p path) {
	ok := true
	switch n.k {
	case kString:
		ok = s.enum == nil || slices.Contains(s.enum, n.s)
		for _, r := range s.patterns {
			ok = ok && r.matches(n.s) != r.not
		}
		if s.minRunes > 0 || s.maxRunes >= 0 {
			runes := utf8.RuneCountInString(n.s)
			if ok && runes == 0 && s.minRunes > 0 {
				c.wrong(p, "empty; %s is wanted", c.want(s))
				return
			}
			if ok && s.maxRunes >= 0 && runes > s.maxRunes {
				c.wrong(p, "%d characters; at most %d are allowed", runes, s.maxRunes)
				return
			}
			ok = ok && runes >= s.minRunes
		}
	case kInt:
		ok = (s.lo == nil || n.i >= *s.lo) && (s.hi == nil || n.i <= *s.hi)
	case kFloat:
		ok = s.lo == nil && s.hi == nil
	case kBool:
		ok = s.bools == nil || slices.Contains(s.bools, n.b)
	}
	if !ok {
		c.wrong(p, "%s", c.say(s, n, p))
	}
}

func (c *checker) list(s *shape, n *value, p path) {
	if s.elem == nil && s.tuple != nil && len(n.kids) != len(s.tuple) {
		c.wrong(p, "%s; exactly %d are wanted", items(len(n.kids)), len(s.tuple))
		return
	}
	if len(n.kids) < s.minItems || s.maxItems >= 0 && len(n.kids) > s.maxItems {
		switch {
		case s.maxItems < 0:
			c.wrong(p, "%s; at least %d wanted", items(len(n.kids)), s.minItems)
		case s.minItems == 0:
			c.wrong(p, "%s; at most %d are allowed", items(len(n.kids)), s.maxItems)
		default:
			c.wrong(p, "%d values; %d to %d are wanted", len(n.kids), s.minItems, s.maxItems)
		}
		return
	}
	for i, e := range n.kids {
		t := s.elem
		if i < len(s.tuple) {
			t = s.tuple[i]
		}
		if t == nil {
			continue
		}
		var q path
		if !c.quiet {
			q = p.index(i)
		}
		c.check(t, e, q)
	}
}

func items(n int) string {
	if n == 1 {
		return "1 item"
	}
	return fmt.Sprintf("%d items", n)
}

// resolve finds the shape that a field of a struct around chooses, and its value.
func (c *checker) resolve(l *lookup) (*shape, string) {
	for i := len(c.stack) - 1; i >= 0; i-- {
		if v := c.stack[i].get(l.field); v != nil {
			word := strings.TrimPrefix(v.s, l.trim)
			if f := l.table.byName[word]; v.k == kString && f != nil {
				return f.s, v.s
			}
			for _, f := range l.table.fields { // a fault of its own, and what was meant is clear
				if v.k == kString && strings.EqualFold(f.name, word) {
					c.bad = true
					return f.s, l.trim + f.name
				}
			}
			return nil, ""
		}
	}
	return nil, ""
}

// guarded is s with what its guards add for n. A guard whose field is missing opens the struct: what it would allow is unknown.
func (c *checker) guarded(s *shape, n *value) *shape {
	if len(s.guards) == 0 {
		return s
	}
	t := *s
	t.guards = nil
	u := &t
	for _, g := range s.guards {
		v := n.get(g.field)
		if v == nil || v.k != kString {
			c.bad = true
			open := *u
			open.open = true
			u = &open
			continue
		}
		if (v.s == g.word) != g.not {
			open := u.open
			u = and(u, g.s)
			u.open = open
		}
	}
	return u
}

func (c *checker) structure(s *shape, n *value, p path) {
	c.stack = append(c.stack, n)
	defer func() { c.stack = c.stack[:len(c.stack)-1] }()
	s = c.guarded(s, n)
	var meant []string // by fields that do not exist
	for i, name := range n.keys {
		f := s.byName[name]
		known := f != nil
		if known {
			c.check(f.s, n.kids[i], c.field(p, name))
		}
		for _, l := range s.labels {
			if l.key.acceptsLabel(name) {
				known = true
				c.check(l.val, n.kids[i], c.field(p, name))
			}
		}
		if !known && !s.open {
			q := c.field(p, name)
			if !c.quiet {
				meant = append(meant, near(name, names(s)), strings.TrimPrefix(hint(s.def, name), name+" belongs into "))
			}
			c.at(q, q, true, "%s", c.unknown(s, name))
		}
	}
	for _, f := range s.fields {
		if n.get(f.name) != nil {
			continue
		}
		if f.required && !c.quiet && slices.Contains(meant, f.name) {
			continue // there, and misspelt: told of already
		}
		if f.required {
			c.at(c.field(p, f.name), p, true, "required; %s", c.want(f.s))
		}
		if f.table {
			c.bad = true // not a thing that people write: CUE judges it
		}
	}
	for _, group := range s.oneOf {
		var have []string
		for _, w := range group {
			if n.get(w) != nil {
				have = append(have, w)
			}
		}
		if len(have) == 0 && !slices.ContainsFunc(group, func(w string) bool { return slices.Contains(meant, w) }) {
			c.wrong(p, "neither %s is given; give exactly one", strings.Join(group, " nor "))
		} else if len(have) > 1 {
			c.wrong(p, "%s are both given; give exactly one", strings.Join(have, " and "))
		}
	}
	c.size(s, n, p)
}

func (c *checker) size(s *shape, n *value, p path) {
	switch {
	case len(n.keys) < s.minField && s.def == "#Targets":
		c.wrong(p, "empty; to mean every node say all: true")
	case len(n.keys) < s.minField && len(s.fields) > 0:
		c.wrong(p, "empty; give at least one of %s", strings.Join(names(s), ", "))
	case len(n.keys) < s.minField:
		c.wrong(p, "empty; at least one is wanted")
	case s.maxField >= 0 && len(n.keys) > s.maxField:
		c.wrong(p, "%d fields; at most %d are allowed", len(n.keys), s.maxField)
	}
}

func names(s *shape) []string {
	out := make([]string, len(s.fields))
	for i, f := range s.fields {
		out[i] = f.name
	}
	return out
}

// fill writes the defaults of absent fields into a value that is right.
func (c *checker) fill(s *shape, n *value) {
	if s.lookup != nil {
		if s, _ = c.resolve(s.lookup); s == nil {
			return
		}
	}
	for _, a := range s.alts {
		if a.kinds&n.k != 0 {
			c.fill(a, n)
			return
		}
	}
	if n.k == kList {
		for i, e := range n.kids {
			if i >= len(s.tuple) && s.elem != nil {
				c.fill(s.elem, e)
			}
		}
		return
	}
	if n.k != kStruct {
		return
	}
	for _, g := range s.guards {
		if v := n.get(g.field); v != nil && (v.s == g.word) != g.not {
			c.fill(g.s, n)
		}
	}
	c.stack = append(c.stack, n)
	defer func() { c.stack = c.stack[:len(c.stack)-1] }()
	for _, f := range s.fields {
		if f.dflt != nil && n.get(f.name) == nil {
			n.set(f.name, f.dflt.clone())
		}
	}
	for i, name := range n.keys {
		if f := s.byName[name]; f != nil {
			c.fill(f.s, n.kids[i])
			continue
		}
		for _, l := range s.labels {
			if l.key.acceptsLabel(name) {
				c.fill(l.val, n.kids[i])
			}
		}
	}
}
