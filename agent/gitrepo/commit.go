package gitrepo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"
)

// Change is a commit to be made: what differs from its parent.
type Change struct {
	Parent                 string            // a full hash; "" begins a history
	Files                  map[string][]byte // by slash-separated path; nil deletes a file or a folder, empty is an empty file
	Message, Author, Email string
	When                   time.Time
	// Sign gives the armoured signature of what a commit says without it; nil: the commit is unsigned.
	Sign func(commit []byte) (string, error)
}

func (s *Store) packFolder() string { return filepath.Join(s.dir, "objects", "pack") }

// Commit makes a commit and gives its hash. Folders that nothing changed in are taken over as they are, and nothing is
// checked out. Equal changes give equal hashes; a change that changes nothing gives its parent. No reference is moved.
func (s *Store) Commit(c Change) (string, error) {
	b := &builder{s: s, made: memory.NewStorage()}
	var root plumbing.Hash
	var parents []plumbing.Hash
	if c.Parent != "" {
		p, err := s.commit(c.Parent)
		if err != nil {
			return "", fmt.Errorf("commit: %w", err)
		}
		root, parents = p.TreeHash, []plumbing.Hash{p.Hash}
	}
	for name := range c.Files {
		if err := fileName(name); err != nil {
			return "", fmt.Errorf("commit: %w", err)
		}
	}
	tree, err := b.tree(root, c.Files)
	if err != nil {
		return "", fmt.Errorf("commit: %w", err)
	}
	if tree.IsZero() { // the empty tree is an object too
		if tree, err = b.put(plumbing.TreeObject, nil); err != nil {
			return "", fmt.Errorf("commit: %w", err)
		}
	}
	if c.Parent != "" && tree == root {
		return c.Parent, nil
	}
	who := object.Signature{Name: person(c.Author), Email: person(c.Email), When: c.When}
	o := &plumbing.MemoryObject{}
	made := &object.Commit{Author: who, Committer: who, Message: strings.TrimRight(strings.ReplaceAll(c.Message, "\x00", ""), "\n") + "\n", TreeHash: tree, ParentHashes: parents}
	if err := made.Encode(o); err != nil {
		return "", fmt.Errorf("commit: %w", err)
	}
	if c.Sign != nil {
		if o, err = signed(made, o, c.Sign); err != nil {
			return "", fmt.Errorf("commit: %w", err)
		}
	}
	h, err := b.made.SetEncodedObject(o)
	if err != nil {
		return "", fmt.Errorf("commit: %w", err)
	}
	b.list = append(b.list, h)
	var pack bytes.Buffer
	if err := writePack(context.Background(), &pack, b.made, b.list); err != nil {
		return "", fmt.Errorf("commit: %w", err)
	}
	if err := s.add(context.Background(), &pack, h); err != nil {
		return "", fmt.Errorf("commit: %w", err)
	}
	return h.String(), nil
}

// signed is a commit with the signature of what it says without it, in the header that Git has for all kinds of them.
func signed(made *object.Commit, bare *plumbing.MemoryObject, sign func([]byte) (string, error)) (*plumbing.MemoryObject, error) {
	r, err := bare.Reader()
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if made.PGPSignature, err = sign(raw); err != nil {
		return nil, err
	}
	o := &plumbing.MemoryObject{}
	return o, made.Encode(o)
}

// person removes from a name what would end it in a commit.
func person(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == '<' || r == '>' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// fileName refuses paths that another program would check out somewhere else.
func fileName(name string) error {
	if !fs.ValidPath(name) || name == "." || len(name) > 4096 || strings.ContainsAny(name, "\x00\\") {
		return fmt.Errorf("%q is not a path in a repository", clip(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.EqualFold(part, ".git") {
			return fmt.Errorf("%q: a repository holds no %q", clip(name), part)
		}
	}
	return nil
}

// builder makes the objects of one commit.
type builder struct {
	s    *Store
	made *memory.Storage
	list []plumbing.Hash // in the order made, each once
}

func (b *builder) put(t plumbing.ObjectType, content []byte) (plumbing.Hash, error) {
	o := &plumbing.MemoryObject{}
	o.SetType(t)
	if _, err := o.Write(content); err != nil {
		return plumbing.ZeroHash, err
	}
	return b.store(o)
}

// store takes an object that is neither in the store nor made already.
func (b *builder) store(o *plumbing.MemoryObject) (plumbing.Hash, error) {
	h := o.Hash()
	if b.s.objects().HasEncodedObject(h) == nil || b.made.HasEncodedObject(h) == nil {
		return h, nil
	}
	if _, err := b.made.SetEncodedObject(o); err != nil {
		return plumbing.ZeroHash, err
	}
	b.list = append(b.list, h)
	return h, nil
}

// tree applies files to a folder (zero: an empty one). A folder that becomes empty is zero.
func (b *builder) tree(old plumbing.Hash, files map[string][]byte) (plumbing.Hash, error) {
	entries := map[string]object.TreeEntry{}
	if !old.IsZero() {
		t, err := object.GetTree(b.s.objects(), old)
		if err != nil {
			return plumbing.ZeroHash, fmt.Errorf("read tree %s: %w", old, err)
		}
		for _, e := range t.Entries {
			entries[e.Name] = e
		}
	}
	below := map[string]map[string][]byte{}
	var gone []string
	for name, content := range files {
		dir, rest, deep := strings.Cut(name, "/")
		if deep {
			if below[dir] == nil {
				below[dir] = map[string][]byte{}
			}
			below[dir][rest] = content
			continue
		}
		if content == nil {
			gone = append(gone, name)
			continue
		}
		h, err := b.put(plumbing.BlobObject, content)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		entries[name] = object.TreeEntry{Name: name, Mode: filemode.Regular, Hash: h}
	}
	for _, name := range gone {
		// A folder goes with all that is in it, if nothing is put there.
		if e := entries[name]; e.Mode != filemode.Dir || below[name] == nil {
			delete(entries, name)
		}
	}
	for dir, in := range below {
		if content, both := files[dir]; both && content != nil {
			return plumbing.ZeroHash, fmt.Errorf("%q cannot be a file and a folder", dir)
		}
		var from plumbing.Hash
		e, ok := entries[dir]
		if ok && e.Mode == filemode.Dir {
			from = e.Hash
		}
		h, err := b.tree(from, in)
		if err != nil {
			return plumbing.ZeroHash, fmt.Errorf("%s/: %w", dir, err)
		}
		switch {
		case !h.IsZero():
			entries[dir] = object.TreeEntry{Name: dir, Mode: filemode.Dir, Hash: h}
		case !from.IsZero():
			delete(entries, dir)
		}
	}
	if len(entries) == 0 {
		return plumbing.ZeroHash, nil
	}
	t := &object.Tree{}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for n := range entries {
			if !yield(n) {
				return
			}
		}
	}) {
		t.Entries = append(t.Entries, entries[name])
	}
	sort.Sort(object.TreeEntrySorter(t.Entries))
	o := &plumbing.MemoryObject{}
	if err := t.Encode(o); err != nil {
		return plumbing.ZeroHash, err
	}
	return b.store(o)
}
