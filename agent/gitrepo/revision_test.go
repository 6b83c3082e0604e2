package gitrepo

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestOpenRevision(t *testing.T) {
	work, _ := repository(t)
	runGit(t, work, "config", "user.name", "a")
	runGit(t, work, "config", "user.email", "a@example.org")
	commit := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(work, "which"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		runGit(t, work, "add", ".")
		runGit(t, work, "commit", "-q", "-m", text)
	}
	commit("two")
	runGit(t, work, "tag", "-a", "-m", "signed by nobody", "v2")
	runGit(t, work, "tag", "-a", "-m", "of a tag", "v2-again", "v2")
	commit("three")
	runGit(t, work, "branch", "feat/x", "HEAD~1")
	two := runGit(t, work, "rev-parse", "HEAD~1")[:40]
	for rev, want := range map[string]string{
		"HEAD": "three", "@": "three", "HEAD~1": "two", "HEAD^": "two", "HEAD~0": "three", "v2": "two", "v2-again": "two", "feat/x": "two", "refs/heads/feat/x": "two",
		two: "two", two[:7]: "two", two[:8]: "two",
	} {
		for _, dir := range []string{work, filepath.Join(work, ".git")} {
			tree, err := OpenRevision(dir, rev)
			if err != nil {
				t.Errorf("%s: %v", rev, err)
				continue
			}
			if b, err := fs.ReadFile(tree, "which"); string(b) != want || err != nil || tree.Commit == "" || tree.Digest == "" {
				t.Errorf("%s holds %q, want %q, %v", rev, b, want, err)
			}
		}
	}
	for _, rev := range []string{"", "~1", "HEAD~99", "HEAD^2", "HEAD~99999999999999999999", "HEAD~x", "v3", "feat", "refs/heads", "../HEAD", "-x", two[:6], "0000000", "0123456789012345678901234567890123456789", "a\x00b", "HEAD:which", "config", "refs/../config"} {
		if tree, err := OpenRevision(work, rev); !errors.Is(err, ErrNoBranch) {
			t.Errorf("%q is %+v, %v; want none", rev, tree, err)
		}
	}
	if _, err := OpenRevision(t.TempDir(), "HEAD"); !errors.Is(err, ErrNoRepository) {
		t.Errorf("a folder: %v", err)
	}
}
