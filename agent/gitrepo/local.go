package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// ErrNoRepository says that a folder is no Git repository and holds none.
var ErrNoRepository = errors.New("no Git repository there")

// GitDir is where the repository in dir keeps its objects: dir itself where it is bare, else its folder .git. It wraps
// ErrNoRepository where there is neither; a linked work tree, whose .git is a file, is an error that says so.
func GitDir(dir string) (string, error) {
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("open repository: %w", err)
	}
	at := dir
	if !bare(at) {
		at = filepath.Join(dir, ".git")
		if info, err := os.Lstat(at); err == nil && info.Mode().IsRegular() {
			return "", fmt.Errorf("open repository %q: a linked work tree or a submodule; name the repository that it belongs to", dir)
		}
		if !bare(at) {
			return "", fmt.Errorf("open repository %q: %w", dir, ErrNoRepository)
		}
	}
	if err := plainFiles(at); err != nil {
		return "", fmt.Errorf("open repository %q: %w", dir, err)
	}
	return at, nil
}

// OpenRef gives the files of the first of refs that the repository in dir has, and which one it is. They are full
// reference names, or HEAD; dir is a bare repository or a work tree, of which the commit counts and not the files that
// are checked out. Nothing is written. It wraps ErrNoBranch where there is none of them.
func OpenRef(dir string, refs ...string) (Tree, string, error) {
	at, err := GitDir(dir)
	if err != nil {
		return Tree{}, "", err
	}
	st := storage(at)
	for _, name := range refs {
		n := plumbing.HEAD
		if name != n.String() {
			if n, err = refName(name); err != nil {
				return Tree{}, "", err
			}
		}
		if info, err := os.Lstat(filepath.Join(at, filepath.FromSlash(n.String()))); err == nil && !info.Mode().IsRegular() {
			continue // a folder of references has this name, or what would block whoever reads it
		}
		ref, err := storer.ResolveReference(st, n)
		switch {
		case errors.Is(err, plumbing.ErrReferenceNotFound):
			continue
		case err != nil:
			return Tree{}, "", fmt.Errorf("read reference %q of %q: %w", name, dir, err)
		case ref.Hash().IsZero():
			continue
		}
		c, err := object.GetCommit(st, ref.Hash())
		if err != nil {
			return Tree{}, "", fmt.Errorf("read commit %s of %q: %w", ref.Hash(), dir, err)
		}
		return Tree{FS: &treeFS{store: st, root: c.TreeHash}, Commit: c.Hash.String(), Digest: "git-" + c.TreeHash.String()}, name, nil
	}
	return Tree{}, "", fmt.Errorf("open repository %q: %w as %q", dir, ErrNoBranch, refs)
}

// CheckedOut reports whether the repository in dir has a work tree that stands on the branch: to move the branch would
// leave the work tree behind.
func CheckedOut(dir, branch string) (bool, error) {
	at, err := GitDir(dir)
	if err != nil || at == dir {
		return false, err
	}
	head, err := storage(at).Reference(plumbing.HEAD)
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read HEAD of %q: %w", dir, err)
	}
	return head.Type() == plumbing.SymbolicReference && head.Target().String() == "refs/heads/"+branch, nil
}

// MoveRef points a full reference name at a commit that is here with all its files, if it is still at old ("" where there
// was none), under the lock that every Git program takes; else it wraps ErrRejected. It is on disk when MoveRef returns.
func (s *Store) MoveRef(name, commit, old string) error {
	n, err := refName(name)
	if err != nil {
		return err
	}
	h, err := hash40(commit)
	if err != nil {
		return err
	}
	if err := whole(context.Background(), s.objects(), h); err != nil {
		return fmt.Errorf("move reference %q: %w", n, err)
	}
	from := plumbing.ZeroHash
	if old != "" {
		if from, err = hash40(old); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return (&fileRemote{dir: s.dir}).move(n, h, from)
}
