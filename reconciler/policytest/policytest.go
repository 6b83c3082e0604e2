// Package policytest runs the tests that a policy repository has of itself:
// what is wanted of the judgement on a host with given facts at a given instant,
// so that a pull request that changes a baseline shows what else it changes.
//
// A test is a txtar archive, tests/NAME.txtar (LANGUAGE "A policy repository"):
// text for people, then the parts
//
//	at                  the instant, RFC 3339
//	NODE.facts.json     what a node of the roster has, as `dunlin inventory --facts` writes it
//	NODE.want.json      of its judgement, in the shape of `dunlin baseline judge -o json`, what is to be compared
//
// Fields that are not given are not compared. A patch that gives its id is the
// one of that id; one that does not is any; an empty list wants an empty list.
package policytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/tools/txtar"

	"github.com/dunlin-dev/dunlin/schema"
)

// Limits of one test file.
const (
	MaxBytes  = 16 << 20
	maxFaults = 50
)

// Judge holds the facts of a node against the baseline that the policy has for it.
type Judge func(node schema.Node, facts schema.Facts, at time.Time) schema.Judgement

// Result is what came of one test.
type Result struct {
	File  string `json:"file"`
	Nodes int    `json:"nodes"` // judged
	// Faults are what is not as wanted, and what is wrong with the test itself, each at its place.
	Faults []schema.Fault `json:"-"`
}

// Run runs the test in text, which is that of the named file. It never fails: whatever is wrong is a fault.
func Run(file string, text []byte, roster []schema.RosterLine, judge Judge) Result {
	t := &test{result: Result{File: file}, text: text, roster: roster, judge: judge}
	switch {
	case len(text) > MaxBytes:
		t.fault(0, "", fmt.Sprintf("larger than %d MiB", MaxBytes>>20))
	case !utf8.Valid(text):
		t.fault(0, "", "not UTF-8")
	default:
		t.run()
	}
	t.result.Faults = schema.SortFaults(t.result.Faults)
	return t.result
}

type test struct {
	result Result
	text   []byte
	roster []schema.RosterLine
	judge  Judge
	parts  []part
}

// part is one file of the archive.
type part struct {
	name   string
	data   []byte
	offset int // of data in the text
	label  int // of the line with the name
}

func (t *test) run() {
	t.split()
	at, ok := t.instant()
	facts, wants := map[string]part{}, map[string]part{}
	for _, p := range t.parts {
		if p.name == "at" {
			continue
		}
		into, node := facts, ""
		if n, ok := strings.CutSuffix(p.name, factsSuffix); ok {
			node = n
		} else if n, ok := strings.CutSuffix(p.name, wantSuffix); ok {
			into, node = wants, n
		}
		if node == "" {
			t.fault(p.label, "", fmt.Sprintf("%q is no part of a test; the parts are at, NODE%s and NODE%s", p.name, factsSuffix, wantSuffix))
			continue
		}
		into[node] = p
	}
	for node, p := range wants {
		if _, ok := facts[node]; !ok {
			t.fault(p.label, node, fmt.Sprintf("no facts to judge; add the part %s%s (dunlin inventory --facts on a host writes them)", node, factsSuffix))
		}
	}
	for node, p := range facts {
		want, wanted := wants[node]
		line, known := t.line(node)
		switch {
		case !known:
			t.fault(p.label, node, t.stranger(node))
		case !wanted:
			t.fault(p.label, node, fmt.Sprintf("nothing is wanted; add the part %s%s", node, wantSuffix))
		case ok:
			t.one(node, line, at, p, want)
		}
	}
	if len(facts)+len(wants) == 0 {
		t.fault(0, "", fmt.Sprintf("judges no node; add the parts NODE%s and NODE%s", factsSuffix, wantSuffix))
	}
}

const factsSuffix, wantSuffix = ".facts.json", ".want.json"

// split takes the archive apart; a name that comes twice is a fault.
func (t *test) split() {
	seen := map[string]bool{}
	archive := txtar.Parse(t.text)
	offset, i := len(archive.Comment), 0
	for i < len(archive.Files) {
		f := archive.Files[i]
		end := offset + bytes.IndexByte(t.text[offset:], '\n') + 1
		if end == offset {
			end = len(t.text)
		}
		p := part{name: f.Name, data: f.Data, offset: end, label: offset}
		if seen[p.name] {
			t.fault(p.label, "", fmt.Sprintf("the part %q is given twice", p.name))
		} else {
			t.parts = append(t.parts, p)
		}
		seen[p.name] = true
		offset = min(end+len(f.Data), len(t.text))
		i++
	}
}

// instant reads the part `at`.
func (t *test) instant() (time.Time, bool) {
	i := slices.IndexFunc(t.parts, func(p part) bool { return p.name == "at" })
	if i < 0 {
		t.fault(0, "", "no part at: an instant such as 2026-12-31T22:00:00Z, below a line `-- at --`")
		return time.Time{}, false
	}
	p := t.parts[i]
	text := strings.TrimSpace(string(p.data))
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.fault(p.offset, "at", fmt.Sprintf("%q is not an instant such as \"2026-12-31T22:00:00Z\"", clip(text)))
		return time.Time{}, false
	}
	return at, true
}

func (t *test) line(node string) (schema.RosterLine, bool) {
	i := slices.IndexFunc(t.roster, func(l schema.RosterLine) bool { return l.Name == node || l.ID == node })
	if i < 0 {
		return schema.RosterLine{}, false
	}
	return t.roster[i], true
}

func (t *test) stranger(node string) string {
	var names []string
	for _, l := range t.roster {
		names = append(names, l.Name)
	}
	text := fmt.Sprintf("no node %q in the roster", clip(node))
	if near := schema.Nearest(node, names); near != "" {
		text += fmt.Sprintf(" (did you mean %q?)", near)
	} else if len(names) == 0 {
		text += ", which has no lines: nodes/ has those of the hosts"
	}
	return text
}

// one judges one node and compares.
func (t *test) one(node string, line schema.RosterLine, at time.Time, facts, want part) {
	f, faults := schema.ParseFacts(facts.data)
	for _, x := range faults {
		first := t.place(facts.offset)
		if x.Line == 1 {
			x.Column += first.Column - 1
		}
		x.Line, x.File = x.Line+first.Line-1, t.result.File
		x.Path = strings.TrimSuffix(node+factsSuffix+"."+x.Path, ".")
		t.add(x)
	}
	w, err := parse(want.data)
	if err != nil {
		t.fault(want.offset+err.offset, node+wantSuffix, err.text)
	}
	if err != nil || len(faults) > 0 {
		return
	}
	t.result.Nodes++
	got := t.judge(line.Node(), f, at)
	raw, _ := json.Marshal(got) // plain data
	var tree any
	_ = json.Unmarshal(raw, &tree)
	c := comparison{t: t, base: want.offset}
	c.object(w, tree.(map[string]any), node)
}

func (t *test) fault(offset int, path, message string) {
	p := t.place(offset)
	t.add(schema.Fault{File: t.result.File, Line: p.Line, Column: p.Column, Path: path, Message: message})
}

func (t *test) add(f schema.Fault) {
	f.Severity = schema.SeverityError
	if len(t.result.Faults) < maxFaults {
		t.result.Faults = append(t.result.Faults, f)
	}
}

// place is the line and column of an offset in the text.
func (t *test) place(offset int) schema.Position {
	before := t.text[:min(offset, len(t.text))]
	return schema.Position{Line: 1 + bytes.Count(before, []byte("\n")), Column: len(before) - bytes.LastIndexByte(before, '\n')}
}

// clip shortens what a fault cites.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "…"
}

// shown is a value as a fault cites it.
func shown(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(clip(v))
	case nil:
		return "not there"
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	}
	return fmt.Sprint(v)
}
