package grant

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// Run reports whether who may give a run to nodes, which are all that the run's targets mean in repo, the policy of the
// commit that it names. Of the run it reads Document, Parameters and MaxConcurrency. A run of no node is refused.
func Run(repo schema.Repo, who string, r schema.Run, nodes []schema.Node, selects Selects) Verdict {
	d, ok := repo.Documents[r.Document]
	if !ok {
		d, ok = repo.ShippedDocuments[r.Document]
	}
	switch {
	case !ok:
		return refused(against("document", "there is no document %q", r.Document))
	case len(nodes) == 0:
		return refused(against("nodes", "its targets mean no active node of the roster"))
	}
	var wrong []Reason
	for _, f := range d.CheckArguments(r.Document, r.Parameters) {
		wrong = append(wrong, against("parameters."+f.Parameter, "parameter %s: %s", f.Parameter, f.Message))
	}
	asked, err := parseShare(r.MaxConcurrency)
	if err != nil {
		wrong = append(wrong, against("maxConcurrency", "maxConcurrency %v", err))
	}
	if len(wrong) > 0 {
		return refused(wrong...)
	}
	return judge(repo, who, "run anything", func(g schema.Grant) bool { return g.Run != nil }, func(g schema.Grant) []Reason {
		return covers(*g.Run, d, r, asked, nodes, selects)
	})
}

// covers is what a grant has against a run. One for other documents has nothing to say of the rest.
func covers(g schema.GrantRun, d schema.Document, r schema.Run, asked share, nodes []schema.Node, selects Selects) []Reason {
	if !slices.Contains(g.Documents, r.Document) {
		return []Reason{against("document", "it is for %s", listed(g.Documents))}
	}
	var why []Reason
	if text := outside(g.Targets, nodes, selects); text != "" {
		why = append(why, against("nodes", "%s", text))
	}
	if text := tooMany(g.MaxConcurrency, asked, len(nodes)); text != "" {
		why = append(why, against("maxConcurrency", "%s", text))
	}
	for _, name := range slices.Sorted(maps.Keys(g.Parameters)) {
		if text := unfit(name, g.Parameters[name], d, r.Parameters); text != "" {
			why = append(why, against("parameters."+name, "%s", text))
		}
	}
	return why
}

// share is a count of nodes, or a percentage of those that a run is for.
type share struct {
	n       int
	percent bool
}

func (s share) String() string {
	if s.percent {
		return strconv.Itoa(s.n) + "%"
	}
	return strconv.Itoa(s.n)
}

func parseShare(text string) (share, error) {
	digits, percent := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || strconv.Itoa(n) != digits || percent && n > 100 {
		return share{}, fmt.Errorf("%q is not a count such as \"5\" or a percentage such as \"10%%\"", text)
	}
	return share{n, percent}, nil
}

// of is how many nodes a share is of so many: rounded down, at least one (SSM §4.4).
func (s share) of(nodes int) int {
	if s.percent {
		return max(1, s.n*nodes/100)
	}
	return s.n
}

// tooMany says that a run asks for more nodes at once than a grant allows. A count is held against a count and a
// percentage against a percentage as they are written; a count against a percentage by the nodes of the run.
func tooMany(limit string, asked share, nodes int) string {
	if limit == "" {
		return ""
	}
	most, err := parseShare(limit)
	switch {
	case err != nil:
		return "its maxConcurrency " + err.Error()
	case most.percent == asked.percent && asked.n <= most.n:
		return ""
	case most.percent != asked.percent && asked.of(nodes) <= most.of(nodes):
		return ""
	case most.percent != asked.percent:
		return fmt.Sprintf("at most %s at once, and %s of %d is %d", most, asked, nodes, asked.of(nodes))
	}
	return fmt.Sprintf("at most %s at once, and not %s", most, asked)
}

// unfit says why what a run gives for a parameter, or its document's default where it gives nothing, is not what a grant
// allows; empty where it is, or where the document has no such parameter.
func unfit(name, pattern string, d schema.Document, given schema.Arguments) string {
	p, declared := d.Parameters[name]
	if !declared {
		return "" // nobody can give it
	}
	re, err := whole(pattern)
	if err != nil {
		return fmt.Sprintf("nothing is allowed for %s: its pattern is not RE2", name)
	}
	what := name
	a, ok := given[name]
	if !ok {
		what = "the default of " + name
		if a, ok = defaultOf(p); !ok {
			return fmt.Sprintf("%s is limited, and neither given nor a text by default", name)
		}
	}
	if a.Map != nil {
		return fmt.Sprintf("%s may only match %s, and a map of texts matches nothing", what, clip(pattern))
	}
	items := []string(a.Texts)
	if len(items) == 0 {
		items = []string{""} // a script sees no difference
	}
	for _, s := range items {
		if len(schema.Placeholders(s)) > 0 {
			return fmt.Sprintf("%s is %s, whose value is known on the node alone, and the grant limits it", what, quote(s))
		}
		if !re.MatchString(s) {
			return fmt.Sprintf("%s is %s, which does not match %s", what, quote(s), clip(pattern))
		}
	}
	return ""
}

// whole compiles an RE2 expression for whole texts. It must be one by itself: `a)|(?:b` would match the beginning of a text.
func whole(pattern string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	return regexp.Compile(`\A(?:` + pattern + `)\z`)
}

// defaultOf is the default of a parameter as a caller would give it.
func defaultOf(p schema.DocumentParameter) (schema.Argument, bool) {
	if p.Default == "" {
		return schema.Argument{}, false
	}
	var list []string
	var fields map[string]string
	switch {
	case p.Type == schema.TypeString || p.Type == schema.TypeInteger || p.Type == schema.TypeBoolean:
		return schema.Argument{Texts: schema.Texts{p.Default.Text()}}, true
	case json.Unmarshal([]byte(p.Default), &list) == nil:
		return schema.Argument{Texts: list}, true
	case json.Unmarshal([]byte(p.Default), &fields) == nil:
		return schema.Argument{Map: fields}, true
	}
	return schema.Argument{}, false
}

func clip(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}

func quote(s string) string { return strconv.Quote(clip(s)) }

func listed(names []string) string {
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), len(names)-5)
	}
	return strings.Join(names, ", ")
}
