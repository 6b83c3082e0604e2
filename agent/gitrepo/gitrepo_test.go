package gitrepo

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// repository makes a work tree with a link in it, commits it with the git program and returns it with a bare clone.
func repository(t *testing.T) (work, bare string) {
	t.Helper()
	work, bare = filepath.Join(t.TempDir(), "work"), filepath.Join(t.TempDir(), "bare.git")
	files := map[string]string{"fleet.cue": "package fleet\n", "nodes/aa.jsonl": "{}\n", "files/motd": "hello\n"}
	for name, content := range files {
		at := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/shadow", filepath.Join(work, "files/link")); err != nil {
		t.Fatal(err)
	}
	runGit(t, work, "init", "-q", "-b", "main")
	runGit(t, work, "add", "-A")
	runGit(t, work, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "one")
	runGit(t, work, "clone", "-q", "--bare", work, bare)
	return work, bare
}

func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestABareRepositoryAndAFolderHaveTheSameFiles(t *testing.T) {
	work, bare := repository(t)
	folder, err := Open(work)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Open(bare)
	if err != nil {
		t.Fatal(err)
	}
	if want := runGit(t, work, "rev-parse", "HEAD"); tree.Commit != want || folder.Commit != "" {
		t.Errorf("commits %q and %q, want %q and none", tree.Commit, folder.Commit, want)
	}
	for name, fsys := range map[string]fs.FS{"bare": tree, "folder": folder} {
		got, err := fs.ReadFile(fsys, "files/motd")
		if err != nil || string(got) != "hello\n" {
			t.Errorf("%s: files/motd = %q, %v", name, got, err)
		}
		list, err := fs.ReadDir(fsys, "files")
		if err != nil || len(list) != 2 || list[0].Name() != "link" || list[0].Type() != fs.ModeSymlink {
			t.Errorf("%s: files holds %v, %v; want a link first", name, list, err)
		}
		if _, err := fs.ReadFile(fsys, "files/link"); !errors.Is(err, errNotRegular) {
			t.Errorf("%s: a link was opened: %v", name, err)
		}
		if _, err := fs.ReadFile(fsys, "files/nothing"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a missing file: %v", name, err)
		}
	}
}

func TestTheTreeIsAProperFS(t *testing.T) {
	work, _ := repository(t)
	if err := os.Remove(filepath.Join(work, "files/link")); err != nil {
		t.Fatal(err)
	}
	runGit(t, work, "commit", "-q", "-am", "two", "--author", "a <a@example.org>")
	tree, err := Open(filepath.Join(work, ".git"))
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(tree, "fleet.cue", "nodes/aa.jsonl", "files/motd"); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNoRepositoryIsNamed(t *testing.T) {
	empty := t.TempDir()
	runGit(t, empty, "init", "-q", "--bare")
	if _, err := Open(empty); !errors.Is(err, ErrEmpty) {
		t.Errorf("an empty bare repository: %v, want ErrEmpty", err)
	}
	if _, err := Open(filepath.Join(empty, "nowhere")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing folder: %v, want ErrNotExist", err)
	}
	if _, err := Open(filepath.Join(empty, "HEAD")); err == nil || !strings.Contains(err.Error(), "not a folder") {
		t.Errorf("a file: %v", err)
	}
	_, bare := repository(t)
	objects, _ := filepath.Glob(filepath.Join(bare, "objects/*/*"))
	for _, o := range objects {
		_ = os.Remove(o)
	}
	if _, err := Open(bare); err == nil || !strings.Contains(err.Error(), "read commit") {
		t.Errorf("a repository without its objects: %v", err)
	}
}
