package load

import (
	"bytes"
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

// So are those of docs/documents.md, where associations do nothing yet.
func TestDocumentsPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/documents.md")
	if err != nil {
		t.Fatal(err)
	}
	m := files("")
	for _, b := range regexp.MustCompile("(?s)```(?:cue|yaml) (\\S+)\n(.*?)```").FindAllSubmatch(text, -1) {
		m[string(b[1])] = &fstest.MapFile{Data: b[2]}
	}
	repo, faults, err := language()(t.Context(), m)
	if err != nil || len(faults) > 0 || len(repo.Documents) != 2 {
		t.Errorf("%d documents of %d files, %v:\n%s", len(repo.Documents), len(m), err, lines(faults))
	}
	m["documents/restart.yaml"].Data = bytes.Replace(m["documents/restart.yaml"].Data, []byte("'[A-Za-z0-9@._-]+'"), []byte("'[A-Za-z'"), 1)
	_, faults, _ = language()(t.Context(), m)
	if got := lines(faults); got == "" || !bytes.Contains(text, []byte(got)) {
		t.Errorf("the page does not show the fault %s", got)
	}
}
