package gitrepo

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// A commit of ten objects that names a thousand million folders must end with an error.
func TestATreeThatNamesItselfOverAndOverIsRefused(t *testing.T) {
	_, bare := repository(t)
	st := storage(bare)
	write := func(tree *object.Tree) plumbing.Hash {
		o := st.NewEncodedObject()
		if err := tree.Encode(o); err != nil {
			t.Fatal(err)
		}
		h, err := st.SetEncodedObject(o)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := write(&object.Tree{})
	for range 9 {
		var tree object.Tree
		for _, name := range "abcdefghij" {
			tree.Entries = append(tree.Entries, object.TreeEntry{Name: string(name), Mode: filemode.Dir, Hash: h})
		}
		h = write(&tree)
	}
	seen := 0
	err := fs.WalkDir(&treeFS{store: st, root: h}, ".", func(_ string, _ fs.DirEntry, err error) error {
		seen++
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "names more than") || seen > maxListed {
		t.Errorf("%d names walked, error %v", seen, err)
	}
}

func TestARepositoryWhoseOwnFilesAreNotFilesIsRefused(t *testing.T) {
	for _, name := range []string{"HEAD", "config", "packed-refs"} {
		_, bare := repository(t)
		at := filepath.Join(bare, name)
		_ = os.Remove(at)
		if err := os.Symlink("/dev/zero", at); err != nil { // as endless as a named pipe, and there is one everywhere
			t.Fatal(err)
		}
		if _, err := Open(bare); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARepositoryThatIsKeptInAnUnknownWayIsRefused(t *testing.T) {
	for _, tt := range []struct{ name, key, value, want string }{
		{"another version", "core.repositoryFormatVersion", "2", "version \"2\""},
		{"another hash", "extensions.objectFormat", "sha256", "objectFormat"},
		{"references elsewhere", "extensions.refStorage", "reftable", "refStorage"},
		{"objects that may not be pruned", "extensions.preciousObjects", "true", ""},
		{"nothing special", "core.bare", "true", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, bare := repository(t)
			runGit(t, bare, "config", "--file", filepath.Join(bare, "config"), tt.key, tt.value)
			_, err := Open(bare)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(tt.want))) {
				t.Errorf("Open = %v, want an error about %q", err, tt.want)
			}
		})
	}
}
