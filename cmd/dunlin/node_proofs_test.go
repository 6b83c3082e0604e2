package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
)

// As many proofs as are taken out at a time are, and no more is said.
func TestProofsAreTakenOutAFewAtATime(t *testing.T) {
	bare, work := filepath.Join(t.TempDir(), "bare.git"), t.TempDir()
	g := git{dir: work}
	git := func(in string, args ...string) string {
		t.Helper()
		out, err := g.run(t.Context(), []byte(in), args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	git("", "init", "-q", "--bare", bare)
	git("", "init", "-q", work)
	git("", "remote", "add", "origin", bare)
	blob := git("a proof", "hash-object", "-w", "--stdin")
	var ids []string
	var refs strings.Builder
	for i := range mostRemoved + 1 {
		id := fmt.Sprintf("n%04d", i)
		ids = append(ids, id)
		fmt.Fprintf(&refs, "create %s%s %s\n", gitrepo.JoinRef, id, blob)
	}
	git(refs.String(), "update-ref", "--stdin")
	git("", "push", "-q", "origin", gitrepo.JoinRef+"*:"+gitrepo.JoinRef+"*")
	left := func() string { return git("", "ls-remote", "origin") }
	if removed := removeProofs(t.Context(), g, "origin", ids); len(removed) != mostRemoved || strings.Count(left(), gitrepo.JoinRef) != 1 {
		t.Errorf("%d are said to be taken out, and there are\n%s", len(removed), left())
	}
	if removed := removeProofs(t.Context(), g, "elsewhere", ids[mostRemoved:]); len(removed) != 0 {
		t.Errorf("where no remote is, %q are taken out", removed)
	}
	if removed := removeProofs(t.Context(), g, "origin", ids[mostRemoved:]); len(removed) != 1 || left() != "" {
		t.Errorf("%q are said to be taken out, and there are\n%s", removed, left())
	}
}
