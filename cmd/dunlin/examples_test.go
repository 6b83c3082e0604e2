package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
			n, failed, err := policyTests(files, repo)
			if err != nil || len(failed) > 0 {
				t.Errorf("its tests: %v, %v", failed, err)
			}
			if n.Nodes < least.judged {
				t.Errorf("%d hosts are judged, want %d", n.Nodes, least.judged)
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

// The examples of docs/reference, which show also what this version refuses, are right by every check of this program.
func TestExamplesOfTheReference(t *testing.T) {
	o := loadOptions()
	o.Limits = schema.EnforcedAll()
	repo, faults, err := load.InProcess(o)(t.Context(), os.DirFS("../../schema/load/testdata/reference/repo"))
	if err != nil || len(faults) > 0 || len(repo.Windows) == 0 {
		t.Errorf("%v, %v", faults, err)
	}
}
