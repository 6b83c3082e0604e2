package load

import (
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
)

// grant checks that it grants something, and that all it needs and nothing else is said of it.
func (l *loading) grant(o *object, n *value) {
	p := o.key.path()
	l.oneOf(o, p, n, "neither run nor sessions is given; give at least one", "run", "sessions")
	sessions := n.get("sessions")
	forward := slices.Contains(texts(sessions), "forward")
	for _, f := range []struct{ name, want, instead string }{
		{"targets", "which nodes a session may reach", "the nodes of runs are run.targets"},
		{"runAs", "the user of the host that a session runs as", ""},
		{"maxDuration", "", ""},
	} {
		switch {
		case sessions != nil && n.get(f.name) == nil && f.want != "" && !o.blurred(p):
			l.lacks(o, p, f.name, "required with sessions; "+f.want)
		case sessions == nil && n.get(f.name) != nil:
			m := "only with sessions"
			if f.instead != "" {
				m += "; " + f.instead
			}
			l.wrongLabel(o, p.field(f.name), m)
		}
	}
	switch {
	case forward && n.get("ports") == nil && !o.blurred(p):
		l.lacks(o, p, "ports", `required with "forward"; which ports a forward may reach`)
	case !forward && n.get("ports") != nil:
		l.wrongLabel(o, p.field("ports"), `only with sessions: ["forward"]`)
	}
	l.duration(o, p, n, "maxDuration", time.Minute, 24*time.Hour, "from 1m to 24h")
	q := p.field("run").field("parameters")
	for name, pattern := range n.get("run").get("parameters").fields() {
		if pattern.k == kString {
			l.pattern(o, q.field(name), pattern.s)
		}
	}
}

// grantParameters checks that what a grant limits is a parameter of a document that it grants: a pattern for another name
// would hold nothing back.
func (l *loading) grantParameters(o *object, n *value) {
	run := n.get("run")
	limits := run.get("parameters")
	documents := texts(run.get("documents"))
	if limits == nil || len(documents) == 0 {
		return
	}
	declared := map[string]bool{}
	for _, name := range documents {
		d, ok := l.typedDocument(name)
		if !ok {
			return // what it has is not known
		}
		for p := range d.Parameters {
			declared[p] = true
		}
	}
	names := slices.Sorted(maps.Keys(declared))
	for name := range limits.fields() {
		if declared[name] {
			continue
		}
		m := fmt.Sprintf("no such parameter of %s", strings.Join(documents, ", "))
		if g := near(name, names); g != "" {
			m += fmt.Sprintf(" (did you mean %q?)", g)
		}
		if len(names) > 0 {
			m += "; allowed: " + strings.Join(names, ", ")
		}
		l.wrongLabel(o, o.key.path().field("run").field("parameters").field(name), m)
	}
}

// pattern checks a regular expression and gives it as it is used: for a whole value. `a)|(?:b` is none by itself, and would be
// one for a beginning and an end.
func (l *loading) pattern(o *object, p path, text string) *regexp.Regexp {
	_, alone := regexp.Compile(text)
	re, err := regexp.Compile(`^(?:` + text + `)$`)
	if err == nil && alone == nil {
		return re
	}
	if _, err := syntax.Parse(text, syntax.Perl); err != nil {
		l.wrong(o, p, "not a regular expression (RE2): "+strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	} else {
		l.wrong(o, p, fmt.Sprintf("%q is not a regular expression (RE2) for a whole value", text))
	}
	return nil
}
