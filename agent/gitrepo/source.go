package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/pjbgf/sha1cd"
)

// ErrMalformed says that an object is not what Git would write, or not what its name says: no reading of it can be relied
// upon.
var ErrMalformed = errors.New("malformed object")

// ErrNotHere says that an object is not in the store.
var ErrNotHere = plumbing.ErrObjectNotFound

// ApprovalsRef is the folder of references that people's approvals have: refs/dunlin/approvals/TREE/PERSON. HeartbeatRef is
// that of the heartbeat. JoinRef is the folder of those that hosts ask with to be let in: refs/dunlin/join/ID. All point at
// blobs.
const (
	ApprovalsRef = "refs/dunlin/approvals/"
	JoinRef      = "refs/dunlin/join/"
	HeartbeatRef = "refs/dunlin/heartbeat"
)

const (
	// maxStatement bounds the blob of such a reference, in bytes; maxApprovals how many of one tree are kept that were judged, and
	// maxLooked how many are looked at where nobody has judged them.
	maxStatement = 8 << 10
	maxApprovals = 64
	maxLooked    = 2_000
	// maxSigned bounds commits and trees that are read to be verified, in bytes.
	maxSigned = 8 << 20
)

// Source gives objects as whoever verifies signatures needs them: raw bytes, of which this package has seen that they
// have the hash that names them, computed so that known ways to make two objects of one hash are found out.
type Source struct {
	st        storer.EncodedObjectStorer
	approvals func(tree string) ([][]byte, error)
	heartbeat func() ([]byte, error)
	trees     map[plumbing.Hash][]treeEntry
	since     string
	ends      func(id string) bool
}

// Source is of what the store holds.
func (s *Store) Source() *Source {
	return &Source{st: s.objects(), trees: map[plumbing.Hash][]treeEntry{}, approvals: s.approvals, heartbeat: s.Heartbeat, since: s.to.Since, ends: s.endsAt}
}

// OpenSource is of the repository in dir, a bare one or that of a work tree. Nothing is written.
func OpenSource(dir string) (*Source, error) {
	at, err := GitDir(dir)
	if err != nil {
		return nil, err
	}
	st := storage(at)
	if err := understood(st); err != nil {
		return nil, fmt.Errorf("open repository %q: %w", dir, err)
	}
	src := &Source{st: st, trees: map[plumbing.Hash][]treeEntry{}}
	var byTree map[string][]plumbing.Hash
	src.approvals = func(tree string) (out [][]byte, err error) {
		if byTree == nil {
			if byTree, err = approvalRefs(st); err != nil {
				return nil, err
			}
		}
		seen := map[plumbing.Hash]bool{}
		for _, h := range byTree[tree] {
			if seen[h] || len(seen) >= maxLooked {
				continue
			}
			seen[h] = true
			if b, err := src.object(plumbing.BlobObject, h, maxStatement); err == nil {
				out = append(out, b) // another is nobody's word
			}
		}
		return out, nil
	}
	src.heartbeat = func() ([]byte, error) {
		ref, err := st.Reference(HeartbeatRef)
		if errors.Is(err, plumbing.ErrReferenceNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the heartbeat: %w", err)
		}
		return src.object(plumbing.BlobObject, ref.Hash(), maxStatement)
	}
	return src, nil
}

// approvalRefs are the blobs of approvals by tree.
func approvalRefs(st *filesystem.Storage) (map[string][]plumbing.Hash, error) {
	byTree := map[string][]plumbing.Hash{}
	iter, err := st.IterReferences()
	if err != nil {
		return nil, fmt.Errorf("read references: %w", err)
	}
	err = iter.ForEach(func(r *plumbing.Reference) error {
		if of, ok := approvalOf(r.Name().String()); ok && r.Type() == plumbing.HashReference {
			byTree[of] = append(byTree[of], r.Hash())
		}
		return nil
	})
	return byTree, err
}

// approvalOf is the tree that a reference is an approval of.
func approvalOf(ref string) (tree string, ok bool) {
	rest, ok := strings.CutPrefix(ref, ApprovalsRef)
	if !ok {
		return "", false
	}
	tree, _, ok = strings.Cut(rest, "/")
	return tree, ok
}

// object reads one object and sees that it is what its name says.
func (s *Source) object(t plumbing.ObjectType, h plumbing.Hash, limit int64) ([]byte, error) {
	o, err := s.st.EncodedObject(t, h)
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", t, h, err)
	}
	if o.Size() > limit {
		return nil, fmt.Errorf("%s %s: %d bytes, more than %d: %w", t, h, o.Size(), limit, ErrMalformed)
	}
	r, err := o.Reader()
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", t, h, err)
	}
	defer func() { _ = r.Close() }()
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", t, h, err)
	}
	if err := hasName(t, h, raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// hasName fails where bytes do not have the hash that an object is named by, or are made so that others have it, too.
func hasName(t plumbing.ObjectType, h plumbing.Hash, raw []byte) error {
	sum := sha1cd.New().(sha1cd.CollisionResistantHash)
	_, _ = fmt.Fprintf(sum, "%s %d\x00", t, len(raw)) // a hash takes all
	_, _ = sum.Write(raw)
	got, collision := sum.CollisionResistantSum(nil)
	switch {
	case collision:
		return fmt.Errorf("%s %s: it is made so that another object has the same name: %w", t, h, ErrMalformed)
	case !bytes.Equal(got, h[:]):
		return fmt.Errorf("%s %s: its bytes have another name: %w", t, h, ErrMalformed)
	}
	return nil
}

// Commit gives the raw bytes of a commit.
func (s *Source) Commit(id string) ([]byte, error) {
	h, err := hash40(id)
	if err != nil {
		return nil, err
	}
	return s.object(plumbing.CommitObject, h, maxSigned)
}

// Begins reports whether the history that matters begins at a commit: its parents may not be here.
func (s *Source) Begins(id string) bool { return s.since != "" && s.since == id }

// Ends reports whether what comes before a commit was left out on purpose, there or on a line beside.
func (s *Source) Ends(id string) bool { return s.Begins(id) || s.ends != nil && s.ends(id) }

// Approvals gives the blobs of the references below refs/dunlin/approvals/TREE/, at most 64 of a store and 2,000 of a repository
// of somebody's.
func (s *Source) Approvals(tree string) ([][]byte, error) {
	if _, err := hash40(tree); err != nil {
		return nil, err
	}
	return s.approvals(tree)
}

// Heartbeat gives the blob of refs/dunlin/heartbeat; nil where there is none.
func (s *Source) Heartbeat() ([]byte, error) { return s.heartbeat() }

// Blob gives one file at the root of a commit with the hash of its content; "" where there is none.
func (s *Source) Blob(commit, name string, limit int64) (hash string, content []byte, err error) {
	raw, err := s.Commit(commit)
	if err != nil {
		return "", nil, err
	}
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	tree, err := hash40(strings.TrimPrefix(string(line), "tree "))
	if err != nil {
		return "", nil, fmt.Errorf("commit %s: %w", commit, ErrMalformed)
	}
	entries, err := s.tree(tree)
	if err != nil {
		return "", nil, err
	}
	i := slices.IndexFunc(entries, func(e treeEntry) bool { return e.name == name })
	if i < 0 || entries[i].mode != "100644" && entries[i].mode != "100755" {
		return "", nil, nil
	}
	content, err = s.object(plumbing.BlobObject, entries[i].hash, limit)
	return entries[i].hash.String(), content, err
}

// Entry is a name in a folder.
type Entry struct {
	Mode string // as Git has it: 100644, 100755, 120000, 160000, 40000
	Hash string
}

// Folder gives what a folder of a tree holds, by name; nothing where there is none. The folder "" is the root.
func (s *Source) Folder(tree, dir string) (map[string]Entry, error) {
	at, err := hash40(tree)
	if err != nil {
		return nil, err
	}
	for step := range strings.SplitSeq(dir, "/") {
		if step == "" {
			continue
		}
		entries, err := s.tree(at)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(entries, func(e treeEntry) bool { return e.name == step })
		if i < 0 || !entries[i].dir() {
			return nil, nil
		}
		at = entries[i].hash
	}
	entries, err := s.tree(at)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Entry, len(entries))
	for _, e := range entries {
		out[e.name] = Entry{e.mode, e.hash.String()}
	}
	return out, nil
}

// Content gives what a file holds, at most limit bytes; more is ErrMalformed.
func (s *Source) Content(hash string, limit int64) ([]byte, error) {
	h, err := hash40(hash)
	if err != nil {
		return nil, err
	}
	return s.object(plumbing.BlobObject, h, limit)
}

// treeEntry is one name of a tree.
type treeEntry struct {
	mode, name string
	hash       plumbing.Hash
}

func (e treeEntry) dir() bool { return e.mode == "40000" }

// tree reads a tree in the one form that Git writes. What is not in it has more than one reading.
func (s *Source) tree(h plumbing.Hash) ([]treeEntry, error) {
	if t, ok := s.trees[h]; ok {
		return t, nil
	}
	raw, err := s.object(plumbing.TreeObject, h, maxSigned)
	if err != nil {
		return nil, err
	}
	t, err := parseTree(raw)
	if err != nil {
		return nil, fmt.Errorf("tree %s: %w", h, err)
	}
	if len(s.trees) > 4096 {
		clear(s.trees)
	}
	s.trees[h] = t
	return t, nil
}

func parseTree(raw []byte) ([]treeEntry, error) {
	var out []treeEntry
	seen := map[string]bool{}
	last := ""
	for len(raw) > 0 {
		head, rest, ok := bytes.Cut(raw, []byte{0})
		if !ok || len(rest) < 20 {
			return nil, fmt.Errorf("it ends in the middle of a name: %w", ErrMalformed)
		}
		mode, name, ok := strings.Cut(string(head), " ")
		if !ok || !slices.Contains([]string{"100644", "100755", "120000", "160000", "40000"}, mode) {
			return nil, fmt.Errorf("the mode %q: %w", clip(mode), ErrMalformed)
		}
		if name == "" || name == "." || name == ".." || strings.Contains(name, "/") || strings.EqualFold(name, ".git") || seen[name] {
			return nil, fmt.Errorf("the name %q, which it must not have or has twice: %w", clip(name), ErrMalformed)
		}
		seen[name] = true
		e := treeEntry{mode: mode, name: name, hash: plumbing.Hash(rest[:20])}
		order := name
		if e.dir() {
			order += "/" // as Git sorts
		}
		if order <= last {
			return nil, fmt.Errorf("%q is not in order: %w", clip(name), ErrMalformed)
		}
		last = order
		out, raw = append(out, e), rest[20:]
	}
	return out, nil
}

// Changed gives the paths of all files that differ between two trees, in content or mode, without reading any. A folder
// that differs and has no file that does is named itself.
func (s *Source) Changed(ctx context.Context, from, to string) ([]string, error) {
	old, err := hash40(from)
	if err != nil {
		return nil, err
	}
	now, err := hash40(to)
	if err != nil {
		return nil, err
	}
	d := differ{s: s, ctx: ctx}
	if err := d.trees("", old, now); err != nil {
		return nil, err
	}
	return d.paths, nil
}

type differ struct {
	s      *Source
	ctx    context.Context
	paths  []string
	looked int
}

// trees compares two folders; zero is one that is not there.
func (d *differ) trees(at string, old, now plumbing.Hash) error {
	if old == now {
		return nil
	}
	if err := d.ctx.Err(); err != nil {
		return err
	}
	if strings.Count(at, "/") > 64 {
		return fmt.Errorf("%q: nested too deeply: %w", clip(at), ErrMalformed)
	}
	sides := [2]map[string]treeEntry{{}, {}}
	var names []string
	for i, h := range []plumbing.Hash{old, now} {
		if h.IsZero() {
			continue
		}
		entries, err := d.s.tree(h)
		if err != nil {
			return err
		}
		// A small pack may name one folder a thousand million times.
		if d.looked += len(entries) + 1; d.looked > maxListed {
			return fmt.Errorf("a tree of more than %d files and folders: %w", maxListed, ErrMalformed)
		}
		for _, e := range entries {
			if _, both := sides[0][e.name]; i == 0 || !both {
				names = append(names, e.name)
			}
			sides[i][e.name] = e
		}
	}
	slices.Sort(names)
	before := len(d.paths)
	for _, name := range names {
		a, b := sides[0][name], sides[1][name]
		if a == b {
			continue
		}
		path := at + name
		if a.name != "" && !a.dir() || b.name != "" && !b.dir() {
			if x, y := fileOf(a), fileOf(b); x != y {
				d.paths = append(d.paths, path)
			}
		}
		if a.dir() || b.dir() {
			if err := d.trees(path+"/", folderOf(a), folderOf(b)); err != nil {
				return err
			}
		}
	}
	if len(d.paths) == before && at != "" {
		d.paths = append(d.paths, strings.TrimSuffix(at, "/"))
	}
	return nil
}

// fileOf is an entry that is no folder.
func fileOf(e treeEntry) treeEntry {
	if e.dir() {
		return treeEntry{}
	}
	return e
}

func folderOf(e treeEntry) plumbing.Hash {
	if e.dir() {
		return e.hash
	}
	return plumbing.ZeroHash
}
