// Package gitrepo gives the files of a policy repository at one commit, as an
// fs.FS, from a bare Git repository or from a plain folder.
//
// Nothing is checked out and no program is run: blobs are read by their hash.
// Symbolic links and submodules appear as what they are, never as what they
// point to, so that whoever reads the tree can refuse them.
package gitrepo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// Tree is the content of a repository at one moment.
type Tree struct {
	fs.FS
	// Commit is the full hash of the commit; empty for a folder.
	Commit string
	// Digest names the content: equal digests have equal files. Empty for a folder, which must be read to know.
	Digest string
}

// ErrEmpty says that a bare repository has no commit yet.
var ErrEmpty = errors.New("the repository has no commit yet")

// Open reads dir: a bare repository gives its HEAD, any other folder its files as they are, a work tree included.
// It wraps fs.ErrNotExist or fs.ErrPermission where the folder cannot be read, and ErrEmpty for a repository without a commit.
func Open(dir string) (Tree, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return Tree{}, fmt.Errorf("open repository: %w", err)
	}
	if !info.IsDir() {
		return Tree{}, fmt.Errorf("open repository %q: not a folder", dir)
	}
	if !bare(dir) {
		if _, err := os.ReadDir(dir); err != nil {
			return Tree{}, fmt.Errorf("open repository: %w", err)
		}
		return Tree{FS: folder{root: dir}}, nil
	}
	if err := plainFiles(dir); err != nil {
		return Tree{}, fmt.Errorf("open bare repository %q: %w", dir, err)
	}
	st := filesystem.NewStorage(repositoryFiles(dir), cache.NewObjectLRUDefault())
	if err := understood(st); err != nil {
		return Tree{}, fmt.Errorf("open bare repository %q: %w", dir, err)
	}
	head, err := storer.ResolveReference(st, plumbing.HEAD)
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return Tree{}, fmt.Errorf("open bare repository %q: %w", dir, ErrEmpty)
	}
	if err != nil {
		return Tree{}, fmt.Errorf("read HEAD of %q: %w", dir, err)
	}
	commit, err := object.GetCommit(st, head.Hash())
	if err != nil {
		return Tree{}, fmt.Errorf("read commit %s of %q: %w", head.Hash(), dir, err)
	}
	return Tree{
		FS:     &treeFS{store: st, root: commit.TreeHash},
		Commit: commit.Hash.String(),
		Digest: "git-" + commit.TreeHash.String(),
	}, nil
}

// understood refuses a repository that is kept in a way which Git says one must know to read it (gitrepository-layout(5),
// "extensions").
func understood(st *filesystem.Storage) error {
	c, err := st.Config()
	if err != nil {
		return err
	}
	if v := c.Raw.Section("core").Option("repositoryFormatVersion"); v != "" && v != "0" && v != "1" {
		return fmt.Errorf("its format has version %q, which is not known here", v)
	}
	for _, o := range c.Raw.Section("extensions").Options {
		switch strings.ToLower(o.Key) {
		case "noop", "noop-v1", "preciousobjects", "worktreeconfig": // nothing to those who only read objects
		default:
			return fmt.Errorf("it needs Git's extension %q, which is not known here", o.Key)
		}
	}
	return nil
}

// bare reports whether dir has the three things that every bare repository has and a policy folder has not.
func bare(dir string) bool {
	head, err := os.Lstat(filepath.Join(dir, "HEAD"))
	if err != nil || head.IsDir() {
		return false
	}
	for _, name := range []string{"objects", "refs"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

// plainFiles refuses a repository whose own small files are not regular ones: to open a named pipe would wait for ever.
func plainFiles(dir string) error {
	names := []string{"HEAD", "config", "packed-refs"}
	if head, err := os.Lstat(filepath.Join(dir, "HEAD")); err == nil && head.Mode().IsRegular() && head.Size() < 4096 {
		b, err := os.ReadFile(filepath.Join(dir, "HEAD"))
		if err != nil {
			return err
		}
		ref, found := strings.CutPrefix(strings.TrimSpace(string(b)), "ref: ")
		if found && filepath.IsLocal(ref) {
			names = append(names, ref)
		}
	}
	for _, name := range names {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err == nil && !info.Mode().IsRegular() {
			return fmt.Errorf("%q: %w", name, errNotRegular)
		}
	}
	return nil
}
