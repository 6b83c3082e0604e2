package main

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/reconciler/policytest"
	"github.com/dunlin-dev/dunlin/schema"
)

// maxPolicyTests bounds how many tests a repository may have.
const maxPolicyTests = 1000

// testCounts is what came of a repository's own tests.
type testCounts struct {
	Files  int `json:"files"`
	Nodes  int `json:"nodes"`  // judged
	Failed int `json:"failed"` // files with a fault
}

// policyTests runs the tests of a valid repository; what is not as wanted is a fault at its place in the test.
func policyTests(tree fs.FS, repo schema.Repo) (testCounts, []schema.Fault, error) {
	var n testCounts
	names, err := fs.Glob(tree, "tests/*.txtar")
	if err != nil {
		return n, nil, fmt.Errorf("find tests: %w", err)
	}
	if len(names) > maxPolicyTests {
		return n, nil, fmt.Errorf("find tests: tests/ has %d, more than %d", len(names), maxPolicyTests)
	}
	slices.Sort(names)
	judge := func(node schema.Node, facts schema.Facts, at time.Time) schema.Judgement {
		return reconciler.Plan(reconciler.Inputs{Repo: repo, Node: node, Facts: facts, Now: at, Compare: inventory.CompareVersions}).Patching.Judgement
	}
	var faults []schema.Fault
	for _, name := range names {
		text, err := readBounded(tree, name, policytest.MaxBytes+1)
		if err != nil {
			return n, nil, fmt.Errorf("read test: %w", err)
		}
		r := policytest.Run(name, text, repo.Roster, judge)
		n.Files++
		n.Nodes += r.Nodes
		if len(r.Faults) > 0 {
			n.Failed++
		}
		faults = append(faults, r.Faults...)
	}
	return n, faults, nil
}

func readBounded(tree fs.FS, name string, most int64) ([]byte, error) {
	f, err := tree.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}
