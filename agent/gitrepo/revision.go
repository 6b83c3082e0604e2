package gitrepo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// maxBack bounds how far a revision may go back from what it names.
const maxBack = 10_000

// OpenRevision gives the files of one commit of the repository in dir, a bare one or that of a work tree: HEAD, a branch,
// a tag, a full reference name or a hash of at least seven digits, with ~N or ^ after it for the Nth first parent. Nothing
// is written. It wraps ErrNoBranch where the repository has no such commit.
func OpenRevision(dir, rev string) (Tree, error) {
	at, err := GitDir(dir)
	if err != nil {
		return Tree{}, err
	}
	none := fmt.Errorf("open repository %q: no commit is %q: %w", dir, clip(rev), ErrNoBranch)
	name, back, ok := stepsBack(rev)
	if !ok || name == "" {
		return Tree{}, none
	}
	st := storage(at)
	h, err := named(st, at, name)
	if errors.Is(err, plumbing.ErrReferenceNotFound) || errors.Is(err, plumbing.ErrObjectNotFound) {
		return Tree{}, none
	}
	if err != nil {
		return Tree{}, fmt.Errorf("read %q of %q: %w", clip(rev), dir, err)
	}
	c, err := object.GetCommit(st, h)
	for range 5 { // annotated tags, of tags
		tag, terr := object.GetTag(st, h)
		if terr != nil {
			break
		}
		h = tag.Target
		c, err = object.GetCommit(st, h)
	}
	for ; err == nil && back > 0; back-- {
		if len(c.ParentHashes) == 0 {
			return Tree{}, none
		}
		c, err = object.GetCommit(st, c.ParentHashes[0])
	}
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return Tree{}, none
	}
	if err != nil {
		return Tree{}, fmt.Errorf("read commit %q of %q: %w", clip(rev), dir, err)
	}
	return Tree{FS: &treeFS{store: st, root: c.TreeHash}, Commit: c.Hash.String(), Digest: "git-" + c.TreeHash.String()}, nil
}

// stepsBack parts a revision from the ~N and ^ after it.
func stepsBack(rev string) (name string, back int, ok bool) {
	name, rest := rev, ""
	if i := strings.IndexAny(rev, "~^"); i >= 0 {
		name, rest = rev[:i], rev[i:]
	}
	for rest != "" {
		digits := len(rest[1:]) - len(strings.TrimLeft(rest[1:], "0123456789"))
		n := 1
		if digits > 0 {
			var err error
			if n, err = strconv.Atoi(rest[1 : 1+digits]); err != nil || rest[0] == '^' && n != 1 {
				return "", 0, false
			}
		}
		if back += n; back > maxBack {
			return "", 0, false
		}
		if rest = rest[1+digits:]; rest != "" && rest[0] != '~' && rest[0] != '^' {
			return "", 0, false
		}
	}
	return name, back, true
}

// named finds what a name stands for: HEAD and references as Git looks for them (gitrevisions(7)), then hashes.
func named(st *filesystem.Storage, dir, name string) (plumbing.Hash, error) {
	if name == plumbing.HEAD.String() || name == "@" {
		ref, err := storer.ResolveReference(st, plumbing.HEAD)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		return ref.Hash(), nil
	}
	for _, at := range []string{"", "refs/tags/", "refs/heads/", "refs/remotes/"} {
		n, err := refName(at + name)
		if err != nil {
			continue
		}
		if info, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(n.String()))); err == nil && !info.Mode().IsRegular() {
			continue // a folder of references has this name, or what would block whoever reads it
		}
		ref, err := storer.ResolveReference(st, n)
		if err == nil && !ref.Hash().IsZero() {
			return ref.Hash(), nil
		}
	}
	if h, err := hash40(name); err == nil {
		return h, nil
	}
	if len(name) < 7 || len(name) > 40 || strings.Trim(name, "0123456789abcdef") != "" {
		return plumbing.ZeroHash, plumbing.ErrReferenceNotFound
	}
	prefix := name[:len(name)&^1]
	var raw []byte
	for i := 0; i < len(prefix); i += 2 {
		b, _ := strconv.ParseUint(prefix[i:i+2], 16, 8) // hex digits, as seen above
		raw = append(raw, byte(b))
	}
	hashes, err := st.HashesWithPrefix(raw)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	var found plumbing.Hash
	for _, h := range hashes {
		if !strings.HasPrefix(h.String(), name) {
			continue
		}
		if _, err := object.GetCommit(st, h); err != nil {
			continue
		}
		if !found.IsZero() && found != h {
			return plumbing.ZeroHash, fmt.Errorf("%q begins more than one commit", name)
		}
		found = h
	}
	if found.IsZero() {
		return plumbing.ZeroHash, plumbing.ErrReferenceNotFound
	}
	return found, nil
}
