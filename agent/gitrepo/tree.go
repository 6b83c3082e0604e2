package gitrepo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// maxBlob bounds what is read of one file in bytes: the largest file that a policy may use is 1 MiB.
const maxBlob = 64 << 20

// maxListed bounds how many names are listed of one tree, all walks over it together. A few kilobytes of objects can
// name one folder a thousand million times; a policy repository has at most 20,000 files.
const maxListed = 1_000_000

var errNotRegular = errors.New("neither a regular file nor a folder")

// treeFS reads a Git tree by hash.
type treeFS struct {
	store storer.EncodedObjectStorer
	root  plumbing.Hash

	mu    sync.Mutex // go-git's pack reader and the cache below are not safe for concurrent use
	trees map[plumbing.Hash]*object.Tree

	listed int // names listed so far
}

func (t *treeFS) tree(h plumbing.Hash) (*object.Tree, error) {
	if tr, ok := t.trees[h]; ok {
		return tr, nil
	}
	tr, err := object.GetTree(t.store, h)
	if err != nil {
		return nil, fmt.Errorf("read tree %s: %w", h, err)
	}
	if t.trees == nil {
		t.trees = map[plumbing.Hash]*object.Tree{}
	}
	t.trees[h] = tr
	return tr, nil
}

// find gives the entry of name; the root is a folder with an empty name.
func (t *treeFS) find(op, name string) (entry, error) {
	if !fs.ValidPath(name) {
		return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	at := object.TreeEntry{Mode: filemode.Dir, Hash: t.root, Name: "."}
	if name != "." {
		for part := range strings.SplitSeq(name, "/") {
			if at.Mode != filemode.Dir {
				return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
			}
			tr, err := t.tree(at.Hash)
			if err != nil {
				return entry{}, &fs.PathError{Op: op, Path: name, Err: err}
			}
			i := slices.IndexFunc(tr.Entries, func(e object.TreeEntry) bool { return e.Name == part })
			if i < 0 {
				return entry{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
			}
			at = tr.Entries[i]
		}
	}
	return entry{t: t, TreeEntry: at}, nil
}

// Open opens a file or a folder; links and submodules are errors.
func (t *treeFS) Open(name string) (fs.File, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	switch e.TreeEntry.Mode {
	case filemode.Dir:
		list, err := t.list(e.Hash)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		return &openFolder{entry: e, list: list}, nil
	case filemode.Regular, filemode.Executable, filemode.Deprecated:
	default:
		return nil, &fs.PathError{Op: "open", Path: name, Err: errNotRegular}
	}
	b, err := t.blob(e.Hash)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &openFile{entry: e, Reader: bytes.NewReader(b)}, nil
}

// Lstat describes name without opening it.
func (t *treeFS) Lstat(name string) (fs.FileInfo, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, err := t.find("lstat", name)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// ReadLink is where a link points; it is given so that fs.Lstat opens nothing, and nobody follows it.
func (t *treeFS) ReadLink(name string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, err := t.find("readlink", name)
	if err != nil {
		return "", err
	}
	if e.TreeEntry.Mode != filemode.Symlink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	b, err := t.blob(e.Hash)
	return string(b), err
}

// ReadDir lists a folder, sorted.
func (t *treeFS) ReadDir(name string) ([]fs.DirEntry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	if e.TreeEntry.Mode != filemode.Dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errNotRegular}
	}
	return t.list(e.Hash)
}

func (t *treeFS) list(h plumbing.Hash) ([]fs.DirEntry, error) {
	tr, err := t.tree(h)
	if err != nil {
		return nil, err
	}
	// An empty folder costs a look as well.
	if t.listed += len(tr.Entries) + 1; t.listed > maxListed {
		return nil, fmt.Errorf("tree %s: the commit names more than %d files and folders; a policy repository has fewer", t.root, maxListed)
	}
	seen := map[string]bool{}
	out := make([]fs.DirEntry, 0, len(tr.Entries))
	for _, e := range tr.Entries {
		if e.Name == "" || e.Name == "." || e.Name == ".." || strings.ContainsAny(e.Name, "/\x00") || seen[e.Name] {
			return nil, fmt.Errorf("tree %s: malformed or repeated name %q", h, e.Name)
		}
		seen[e.Name] = true
		out = append(out, entry{t: t, TreeEntry: e})
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

func (t *treeFS) blob(h plumbing.Hash) ([]byte, error) {
	b, err := object.GetBlob(t.store, h)
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", h, err)
	}
	if b.Size > maxBlob {
		return nil, fmt.Errorf("blob of %d bytes is larger than %d", b.Size, maxBlob)
	}
	r, err := b.Reader()
	if err != nil {
		return nil, fmt.Errorf("read blob %s: %w", h, err)
	}
	defer func() { _ = r.Close() }()
	return io.ReadAll(io.LimitReader(r, maxBlob))
}

// entry is a name in a tree: at once fs.DirEntry and fs.FileInfo.
type entry struct {
	t *treeFS
	object.TreeEntry
}

func (e entry) Name() string               { return path.Base(e.TreeEntry.Name) }
func (e entry) IsDir() bool                { return e.TreeEntry.Mode == filemode.Dir }
func (e entry) Type() fs.FileMode          { return e.Mode().Type() }
func (e entry) Info() (fs.FileInfo, error) { return e, nil }
func (e entry) ModTime() time.Time         { return time.Time{} }

// Sys is the hash of the object, as text.
func (e entry) Sys() any { return e.Hash.String() }

// Size is the blob's size in bytes, without reading it; 0 where it is missing.
func (e entry) Size() int64 {
	if e.IsDir() {
		return 0
	}
	n, err := e.t.store.EncodedObjectSize(e.Hash)
	if err != nil {
		return 0
	}
	return n
}

// Mode has the type; permissions are those of any readable file.
func (e entry) Mode() fs.FileMode {
	switch e.TreeEntry.Mode {
	case filemode.Dir:
		return fs.ModeDir | 0o555
	case filemode.Symlink:
		return fs.ModeSymlink | 0o444
	case filemode.Regular, filemode.Executable, filemode.Deprecated:
		return 0o444
	}
	return fs.ModeIrregular
}

type openFile struct {
	entry
	*bytes.Reader
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.entry, nil }
func (f *openFile) Close() error               { return nil }
func (f *openFile) Size() int64                { return f.Reader.Size() }

type openFolder struct {
	entry
	list []fs.DirEntry
	at   int
}

func (f *openFolder) Stat() (fs.FileInfo, error) { return f.entry, nil }
func (f *openFolder) Close() error               { return nil }
func (f *openFolder) Read([]byte) (int, error)   { return 0, errNotRegular }

// ReadDir is that of fs.ReadDirFile.
func (f *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	rest := f.list[f.at:]
	if n > 0 {
		if len(rest) == 0 {
			return nil, io.EOF
		}
		rest = rest[:min(n, len(rest))]
	}
	f.at += len(rest)
	return rest, nil
}
