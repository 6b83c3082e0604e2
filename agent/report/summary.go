package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// maxCommits bounds the commits that summary.json names.
const maxCommits = 100

// summaryFile is summary.json.
type summaryFile struct {
	V          int                                  `json:"v"` // 1
	Fleet      string                               `json:"fleet"`
	Changed    time.Time                            `json:"changed,omitzero"` // newest since of a line
	Nodes      int                                  `json:"nodes"`            // of the roster, but for retired ones
	Silent     int                                  `json:"silent"`           // of them without a line
	Compliance map[schema.Compliance]int            `json:"compliance"`       // nodes by the worst of their types
	Status     map[string]int                       `json:"status"`           // nodes by status, retired ones too; unknown: not in the roster
	Types      map[string]map[schema.Compliance]int `json:"types"`            // nodes by type and state
	Counts     map[string]int                       `json:"counts"`           // patches of all nodes
	Commits    []summaryCommit                      `json:"commits"`          // in force, most nodes first, at most 100
	Conflicts  int                                  `json:"conflicts"`        // lines of conflicts.jsonl
}

type summaryCommit struct {
	Commit string `json:"commit"`
	Nodes  int    `json:"nodes"`
}

// summary is summary.json, indented so that its differences are readable.
func (v *view) summary() []byte {
	s := summaryFile{
		V: 1, Fleet: v.fleet, Changed: v.changed.UTC(), Nodes: v.total, Silent: v.silent, Conflicts: v.conflicts,
		Compliance: map[schema.Compliance]int{}, Status: map[string]int{}, Types: map[string]map[schema.Compliance]int{}, Counts: map[string]int{},
		Commits: []summaryCommit{},
	}
	for _, c := range []schema.Compliance{schema.Compliant, schema.NonCompliant, schema.UnspecifiedData} {
		s.Compliance[c] = v.verdicts[c]
	}
	for _, st := range statusOrder {
		if n := v.statuses[st]; n > 0 {
			s.Status[cmp.Or(string(st), "unknown")] = n
		}
	}
	for _, t := range v.types[:min(len(v.types), maxTypes)] {
		s.Types[t.name] = t.nodes
	}
	for name, n := range v.counts {
		s.Counts[name] = n.patches
	}
	for _, c := range v.commits[:min(len(v.commits), maxCommits)] {
		s.Commits = append(s.Commits, summaryCommit{c.commit, c.nodes})
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(s) // maps, texts and numbers cannot fail
	return b.Bytes()
}

// sortedTypes are a line's types: Patch, Association, Policy, then the others by name.
func sortedTypes(m map[string]schema.Compliance) []string {
	rank := func(t string) int {
		if i := slices.Index([]string{"Patch", "Association", "Policy"}, t); i >= 0 {
			return i
		}
		return 3
	}
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(rank(a)-rank(b), strings.Compare(a, b)) })
}
