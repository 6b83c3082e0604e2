// Package grant answers whether somebody may give a run, or open a session.
//
// Nobody may anything here but by a grant, whatever roles they have. One grant of
// theirs must cover the whole of what is asked: for a run its document, every node
// of its list, how many at once, and each parameter that the grant limits; two
// grants that cover a half each cover nothing. What is not covered is refused
// whole, with what each grant of that person has against it.
//
// The package is pure, and refuses what it cannot tell: a value that is known on
// the node alone, a pattern that is none, a document that is not there. Which
// nodes targets mean is the caller's to say.
package grant

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// Selects reports whether targets mean a node, as target.Match does.
type Selects func(schema.Targets, schema.Node) bool

// Verdict is whether something is allowed: by which grant, or why not.
type Verdict struct {
	Grant string   // that allows it, the first by name; empty: none does
	Why   []Reason // empty where it is allowed
}

// Reason is one thing that stands against it.
type Reason struct {
	Grant string // that has it; empty: no grant could mend it
	Field string // of what is asked: "document", "nodes", "maxConcurrency", "parameters.NAME", "session", "runAs", "port", "duration", "who"
	Text  string // "db-1 is not among its nodes"
}

func (r Reason) String() string {
	if r.Grant == "" {
		return r.Text
	}
	return "grant " + r.Grant + ": " + r.Text
}

// Allowed reports whether a grant allows it.
func (v Verdict) Allowed() bool { return v.Grant != "" }

// String is the verdict in a sentence.
func (v Verdict) String() string {
	if v.Allowed() {
		return "allowed by grant " + v.Grant
	}
	var out []string
	for _, r := range v.Why {
		out = append(out, r.String())
	}
	return "not allowed: " + strings.Join(out, "; ")
}

func against(field, format string, a ...any) Reason {
	return Reason{Field: field, Text: fmt.Sprintf(format, a...)}
}

func refused(r ...Reason) Verdict { return Verdict{Why: r} }

// judge asks each grant of a person's in the order of their names. what says what such grants give: "run anything".
func judge(repo schema.Repo, who, what string, of func(schema.Grant) bool, ask func(schema.Grant) []Reason) Verdict {
	if _, ok := repo.Fleet.Signers[who]; !ok {
		return refused(against("who", "%q is no signer of this fleet", who))
	}
	var v Verdict
	for _, name := range slices.Sorted(maps.Keys(repo.Grants)) {
		g := repo.Grants[name]
		if !slices.Contains(g.Who, who) || !of(g) {
			continue
		}
		why := ask(g)
		if len(why) == 0 {
			return Verdict{Grant: name}
		}
		for _, r := range why {
			r.Grant = name
			v.Why = append(v.Why, r)
		}
	}
	if len(v.Why) == 0 {
		return refused(against("who", "no grant lets %s %s; roles alone give no right to it", who, what))
	}
	return v
}

// outside names the nodes that targets do not mean; empty where they mean all.
func outside(t schema.Targets, nodes []schema.Node, selects Selects) string {
	var names []string
	n := 0
	for _, node := range nodes {
		if selects(t, node) {
			continue
		}
		if n++; n <= 3 {
			names = append(names, nameOf(node))
		}
	}
	switch {
	case n == 0:
		return ""
	case n == 1:
		return names[0] + " is not among its nodes"
	case n > 3:
		return fmt.Sprintf("%s and %d more are not among its nodes", strings.Join(names, ", "), n-3)
	}
	return strings.Join(names, ", ") + " are not among its nodes"
}

func nameOf(n schema.Node) string {
	if n.Name == "" {
		return n.ID
	}
	return n.Name
}
