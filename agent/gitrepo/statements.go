package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/memory"
)

const (
	// maxKeptTrees is of how many trees approvals are kept; those of the oldest go first.
	maxKeptTrees = 512
	// maxRefsNoted bounds how many references of statements a remote's list may have; the rest is not looked at.
	maxRefsNoted = 20_000
	// maxStatements is how many blobs are fetched in one go, and maxStatementPack bounds them all, in bytes.
	maxStatements    = 256
	maxStatementPack = 4 << 20
)

// Statements are what people have signed beside the commits of a branch.
type Statements struct {
	Approvals map[string][][]byte // by tree
	Heartbeat []byte              // nil where there is no other than before
}

func (s *Store) statementFolder() string { return filepath.Join(s.dir, "dunlin") }

// approvals are what is kept of a tree.
func (s *Store) approvals(tree string) ([][]byte, error) {
	dir := filepath.Join(s.statementFolder(), "approvals", tree)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read approvals: %w", err)
	}
	var out [][]byte
	for _, e := range entries {
		if _, err := hash40(e.Name()); err != nil {
			continue
		}
		if b, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil && len(b) <= maxStatement {
			out = append(out, b)
		}
	}
	return out, nil
}

// KeepApproval keeps the blob of an approval of a tree, which the caller has judged: at most 64 of a tree, and of 512
// trees. fresh is that it was not here. It is on disk when KeepApproval returns.
func (s *Store) KeepApproval(tree string, blob []byte) (fresh bool, err error) {
	if _, err := hash40(tree); err != nil {
		return false, err
	}
	if len(blob) == 0 || len(blob) > maxStatement {
		return false, fmt.Errorf("keep approval: %d bytes: %w", len(blob), ErrTooLarge)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := filepath.Join(s.statementFolder(), "approvals")
	dir := filepath.Join(all, tree)
	path := filepath.Join(dir, plumbing.ComputeHash(plumbing.BlobObject, blob).String())
	if b, err := os.ReadFile(path); err == nil && bytes.Equal(b, blob) {
		return false, nil
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) >= maxApprovals {
		return false, fmt.Errorf("keep approval: %d of one tree are kept: %w", len(entries), ErrTooLarge)
	} else if err != nil {
		dropOldest(all, maxKeptTrees-1)
	}
	return true, writeSmall(path, blob)
}

// dropOldest leaves the newest folders of dir.
func dropOldest(dir string, keep int) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) <= keep {
		return
	}
	at := map[string]time.Time{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			at[e.Name()] = info.ModTime()
		}
	}
	names := slices.SortedFunc(maps.Keys(at), func(a, b string) int { return at[a].Compare(at[b]) })
	for _, name := range names[:max(0, len(names)-keep)] {
		_ = os.RemoveAll(filepath.Join(dir, name))
	}
}

func writeSmall(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keep statement: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".dunlin-*")
	if err != nil {
		return fmt.Errorf("keep statement: %w", err)
	}
	return finish(f, path, 0o600, func() error { _, err := f.Write(b); return err })
}

// KeepHeartbeat keeps the blob of a heartbeat, which the caller has judged, in place of that before.
func (s *Store) KeepHeartbeat(blob []byte) error {
	if len(blob) > maxStatement {
		return fmt.Errorf("keep heartbeat: %d bytes: %w", len(blob), ErrTooLarge)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return writeSmall(filepath.Join(s.statementFolder(), "heartbeat"), blob)
}

// Heartbeat is what KeepHeartbeat kept; nil where there is none.
func (s *Store) Heartbeat() ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(s.statementFolder(), "heartbeat"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && len(b) > maxStatement {
		err = ErrTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("read heartbeat: %w", err)
	}
	return b, nil
}

// note remembers which statements the remote had when it was asked last, so that to look for them asks it nothing more.
func (s *Store) note(refs map[string]plumbing.Hash) {
	noted := map[string]plumbing.Hash{}
	for name, h := range refs {
		if _, ok := approvalOf(name); (ok || name == HeartbeatRef) && len(noted) < maxRefsNoted {
			noted[name] = h
		}
	}
	s.mu.Lock()
	s.noted = noted
	s.mu.Unlock()
}

// FetchStatements takes from the remote the heartbeat and the approvals of the given trees that it was seen to have when
// it was asked for its head last, without those that were given before. It asks the remote only if there are any. What
// it gives is anybody's word: the caller judges it, and keeps what is good.
func (s *Store) FetchStatements(ctx context.Context, trees []string) (Statements, error) {
	out := Statements{Approvals: map[string][][]byte{}}
	s.mu.Lock()
	if s.given == nil {
		s.given = map[string]plumbing.Hash{}
	}
	want := map[string]plumbing.Hash{}
	for name, h := range s.noted {
		tree, approval := approvalOf(name)
		if approval && !slices.Contains(trees, tree) || s.given[name] == h || len(want) >= maxStatements {
			continue
		}
		want[name] = h
	}
	s.mu.Unlock()
	if len(want) == 0 {
		return out, nil
	}
	done, err := s.converse(ctx)
	if err != nil {
		return out, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	s.count.fetches.Add(1)
	c, err := s.dial(ctx, "git-upload-pack")
	if err != nil {
		return out, s.to.fail("fetch approvals from", err)
	}
	defer c.close()
	refs, _, err := c.refs(ctx)
	if err != nil {
		return out, s.to.fail("fetch approvals from", err)
	}
	var blobs []plumbing.Hash
	for name, h := range want {
		if refs[name] != h { // moved meanwhile: next time
			delete(want, name)
		} else if !slices.Contains(blobs, h) {
			blobs = append(blobs, h)
		}
	}
	if len(blobs) == 0 {
		return out, nil
	}
	made := memory.NewStorage()
	if err := c.fetch(ctx, s, query{blobs: blobs, into: made}); err != nil {
		return out, s.to.fail("fetch approvals from", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.given) > 2*maxRefsNoted {
		clear(s.given)
	}
	for name, h := range want {
		s.given[name] = h
		b, err := small(made, h)
		if err != nil {
			continue // a reference to something else is nobody's word
		}
		if tree, ok := approvalOf(name); ok {
			out.Approvals[tree] = append(out.Approvals[tree], b)
		} else {
			out.Heartbeat = b
		}
	}
	return out, nil
}

// small reads a blob that may be a statement.
func small(st storer.EncodedObjectStorer, h plumbing.Hash) ([]byte, error) {
	o, err := st.EncodedObject(plumbing.BlobObject, h)
	if err != nil {
		return nil, err
	}
	if o.Size() > maxStatement {
		return nil, ErrTooLarge
	}
	r, err := o.Reader()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(io.LimitReader(r, maxStatement+1))
	if err != nil {
		return nil, err
	}
	return b, hasName(plumbing.BlobObject, h, b)
}

// takeBlobs reads a pack of statements into memory, bounded.
func (s *Store) takeBlobs(ctx context.Context, r io.Reader, into *memory.Storage) error {
	f, err := receive(ctx, s.dir, io.LimitReader(r, maxStatementPack))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close(); _ = os.Remove(f.Name()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := checkPackOf(f, info.Size(), maxStatementPack); err != nil {
		return fmt.Errorf("receive approvals: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := packfile.UpdateObjectStorage(into, f); err != nil {
		return fmt.Errorf("receive approvals: %w: %w", errPack, err)
	}
	return nil
}

// PushStatement puts a blob under a reference of the remote below refs/dunlin/, in place of what is there. It wraps
// ErrRejected where the remote does not take it.
func (s *Store) PushStatement(ctx context.Context, ref string, blob []byte) error {
	s.count.pushes.Add(1)
	done, err := s.converse(ctx)
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	name, err := refName(ref)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(ref, "refs/dunlin/") || len(blob) == 0 || len(blob) > maxStatement {
		return fmt.Errorf("push statement: %q of %d bytes: %w", clip(ref), len(blob), ErrTooLarge)
	}
	o := &plumbing.MemoryObject{}
	o.SetType(plumbing.BlobObject)
	if _, err := o.Write(blob); err != nil {
		return fmt.Errorf("push statement: %w", err)
	}
	s.mu.Lock()
	to, err := s.st.SetEncodedObject(o)
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("push statement: %w", err)
	}
	c, err := s.dial(ctx, "git-receive-pack")
	if err != nil {
		return s.to.fail("push", err)
	}
	defer c.close()
	refs, _, err := c.refs(ctx)
	if err != nil {
		return s.to.fail("push", err)
	}
	if refs[ref] == to {
		return nil
	}
	if err := c.push(ctx, s, name, to, refs[ref]); err != nil {
		return s.to.fail("push", err)
	}
	return nil
}
