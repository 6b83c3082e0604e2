package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/examples"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// Each example is valid without a warning, says of every host of its roster what testdata/examples has, and judges the
// facts of its own tests as those want.
func TestExamples(t *testing.T) {
	for name, least := range map[string]struct{ nodes, judged int }{"one-host": {0, 0}, "quickstart": {3, 3}, "estate": {37, 6}} {
		t.Run(name, func(t *testing.T) {
			files, err := fs.Sub(examples.Files, name)
			if err != nil {
				t.Fatal(err)
			}
			repo, faults, err := load.InProcess(loadOptions())(t.Context(), files)
			if err != nil || len(faults) > 0 {
				t.Fatal(faults, err)
			}
			if w := reconciler.Warnings(repo); len(w) > 0 {
				t.Errorf("warnings: %v", w)
			}
			if len(repo.Roster) < least.nodes {
				t.Errorf("%d hosts in the roster, want %d", len(repo.Roster), least.nodes)
			}
			if name != "one-host" {
				sameAsKept(t, filepath.Join("testdata", "examples", name+".txt"), plans(repo))
			}
			judged := 0
			tests, err := fs.Glob(files, "tests/*.txtar")
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range tests {
				text, err := fs.ReadFile(files, file)
				if err != nil {
					t.Fatal(err)
				}
				judged += policyTest(t, repo, file, txtar.Parse(text))
			}
			if judged < least.judged {
				t.Errorf("%d hosts are judged, want %d", judged, least.judged)
			}
		})
	}
}

// sameAsKept compares with a file; DUNLIN_GOLDEN writes it anew.
func sameAsKept(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("DUNLIN_GOLDEN") != "" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || got != string(want) {
		t.Errorf("not as in %s (make golden writes it anew), %v:\n%s", file, err, got)
	}
}

// plans says of each host of a roster what it should be, at one instant and with no packages.
func plans(repo schema.Repo) string {
	var b strings.Builder
	for _, line := range sorted(repo.Roster) {
		facts := schema.Facts{V: 1, OS: schema.OSFacts{ID: line.OS, OperatingSystem: map[string]schema.OperatingSystem{"debian": schema.Debian, "ubuntu": schema.Ubuntu}[line.OS]}}
		plan := reconciler.Plan(reconciler.Inputs{Repo: repo, Node: line.Node(), Facts: facts, Now: time.Date(2026, 1, 12, 12, 0, 0, 0, time.UTC), Compare: inventory.CompareVersions})
		fmt.Fprintf(&b, "%s: baseline %s, %s", line.Name, plan.Patching.Baseline, plan.Patching.Because)
		if next := plan.Patching.Next; next != nil {
			fmt.Fprintf(&b, "; %s opens %s", next.Window, next.Start.UTC().Format("Mon 2006-01-02 15:04 UTC"))
		}
		b.WriteString("\n")
		for _, r := range plan.Resources {
			fmt.Fprintf(&b, "  %s (%s%s)\n", r.Name(), r.Policy, map[schema.Mode]string{schema.Audit: ", audit"}[r.Mode])
		}
		for _, w := range plan.Warnings {
			fmt.Fprintf(&b, "  warning: %s\n", w)
		}
	}
	return b.String()
}

func sorted(roster []schema.RosterLine) []schema.RosterLine {
	return slices.SortedFunc(slices.Values(roster), func(a, b schema.RosterLine) int { return strings.Compare(a.Name, b.Name) })
}

// policyTest runs a test of a policy: at is an instant, NODE.facts.json what a host has, NODE.want.json what is wanted of
// its judgement, of which all that is given is compared. It gives the number of hosts.
func policyTest(t *testing.T, repo schema.Repo, file string, a *txtar.Archive) int {
	t.Helper()
	texts := map[string][]byte{}
	for _, f := range a.Files {
		texts[f.Name] = f.Data
	}
	at, err := time.Parse(time.RFC3339, strings.TrimSpace(string(texts["at"])))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	judged := 0
	for _, line := range repo.Roster {
		text, ok := texts[line.Name+".facts.json"]
		if !ok {
			continue
		}
		judged++
		delete(texts, line.Name+".facts.json")
		facts, faults := schema.ParseFacts(text)
		if len(faults) > 0 {
			t.Errorf("%s: facts of %s: %v", file, line.Name, faults)
			continue
		}
		plan := reconciler.Plan(reconciler.Inputs{Repo: repo, Node: line.Node(), Facts: facts, Now: at, Compare: inventory.CompareVersions})
		got, err := json.Marshal(plan.Patching.Judgement)
		if err != nil {
			t.Fatal(err)
		}
		var g, w any
		if err := json.Unmarshal(got, &g); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(texts[line.Name+".want.json"], &w); err != nil {
			t.Errorf("%s: %s.want.json: %v", file, line.Name, err)
			continue
		}
		delete(texts, line.Name+".want.json")
		if bad := lacking(line.Name, g, w); bad != "" {
			t.Errorf("%s: %s, in %s", file, bad, got)
		}
	}
	delete(texts, "at")
	for name := range texts {
		t.Errorf("%s: %s is of no host of the roster", file, name)
	}
	return judged
}

// lacking says where got has not what want gives: all fields of an object, and of a list an element for each.
func lacking(where string, got, want any) string {
	switch want := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return where + " is no object"
		}
		for key, w := range want {
			if bad := lacking(path.Join(where, key), g[key], w); bad != "" {
				return bad
			}
		}
	case []any:
		g, _ := got.([]any)
		for i, w := range want {
			if !slices.ContainsFunc(g, func(one any) bool { return lacking(where, one, w) == "" }) {
				return fmt.Sprintf("%s: none is as number %d wants", where, i+1)
			}
		}
	default:
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if !bytes.Equal(a, b) {
			return fmt.Sprintf("%s is %s, want %s", where, a, b)
		}
	}
	return ""
}
