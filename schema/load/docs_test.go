package load

import (
	"os"
	"regexp"
	"testing"
	"testing/fstest"
)

// The blocks of docs/policy.md that name a file are together a valid repository of this build.
func TestPolicyPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	m := fstest.MapFS{}
	for _, b := range regexp.MustCompile("(?s)```(?:cue|text) (\\S+)\n(.*?)```").FindAllSubmatch(text, -1) {
		m[string(b[1])] = &fstest.MapFile{Data: b[2]}
	}
	repo, faults, err := thisBuild()(t.Context(), m)
	if err != nil || len(faults) > 0 || repo.Objects != 7 || len(repo.Blobs) != 1 {
		t.Errorf("%d objects of %d files, %v:\n%s", repo.Objects, len(m), err, lines(faults))
	}
}
