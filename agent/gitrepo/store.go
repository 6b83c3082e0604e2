package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/dunlin-dev/dunlin/agent/durable"
)

// What a remote can do wrong. Every message names the remote, without credentials, and what to do.
var (
	// ErrUnreachable says that the remote did not answer, or not as a Git server.
	ErrUnreachable = errors.New("the remote cannot be reached")
	// ErrUnknownHost says that the server's key or certificate is not one that this host was told to trust.
	ErrUnknownHost = errors.New("the server is not known")
	// ErrAuth says that the server refused the credential, or that the credential file must not be used.
	ErrAuth = errors.New("access refused")
	// ErrNoBranch says that the remote answers and has no such branch.
	ErrNoBranch = errors.New("no such branch")
	// ErrTooLarge says that a pack, an object or a list passes its limit.
	ErrTooLarge = errors.New("too large")
	// ErrRejected says that a push was not taken, because the branch has moved or a rule of the remote forbids it.
	ErrRejected = errors.New("push rejected")
)

const (
	objectCache = 1 << 20 // bytes of objects kept in memory
	largeObject = 1 << 20 // bytes above which an object is streamed from its file
	maxCommits  = 500_000 // commits walked in one question
	maxPacks    = 32      // packs after which the store is repacked unasked
	maxLoose    = 2 * MaxPack
)

// Store is a bare repository in a folder of this host, and the one remote that it follows. It is safe for concurrent use.
type Store struct {
	dir     string
	to      target
	loosest int64 // bytes beside the largest pack, from which on it is repacked unasked

	sound atomic.Pointer[plumbing.Hash] // a commit that was seen to be here with all its files since objects were removed; nil: none

	net   chan struct{} // holds one while there is a conversation with the remote
	count struct{ heads, fetches, pushes atomic.Int64 }
	mu    sync.Mutex // everything below, and the folder
	st    *filesystem.Storage
	ends  []plumbing.Hash          // commits whose parents are left out, as the file shallow names them
	noted map[string]plumbing.Hash // references of statements that the remote had when it was asked last
	given map[string]plumbing.Hash // those that FetchStatements gave
}

// converse waits until nobody else talks with the remote, at most until ctx ends; done lets the next one.
func (s *Store) converse(ctx context.Context) (done func(), err error) {
	select {
	case s.net <- struct{}{}:
		return func() { <-s.net }, nil
	case <-ctx.Done():
		return nil, s.to.fail("wait for", fmt.Errorf("%w: another conversation with it takes long: %w", ErrUnreachable, ctx.Err()))
	}
}

// Traffic is how often the remote was asked since the store was opened.
type Traffic struct{ Heads, Fetches, Pushes int }

// Traffic counts attempts, those that failed included.
func (s *Store) Traffic() Traffic {
	return Traffic{int(s.count.heads.Load()), int(s.count.fetches.Load()), int(s.count.pushes.Load())}
}

// OpenStore opens the bare repository in dir, or makes it (mode 0700). An empty r.URL gives a store without a remote.
// Nothing is asked of the network. What an earlier process left half written is removed.
func OpenStore(dir string, r Remote) (*Store, error) {
	to, err := parseRemote(r)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := plainFiles(dir); err != nil {
		return nil, fmt.Errorf("open store %q: %w", dir, err)
	}
	s := &Store{dir: dir, to: to, loosest: maxLoose, net: make(chan struct{}, 1)}
	s.reopen()
	// A power cut may leave an empty HEAD; it names no branch that is used here, so it is simply written again.
	if info, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil && info.Size() == 0 {
		if err := os.Remove(filepath.Join(dir, "HEAD")); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	if err := makeBare(s.st); err != nil {
		return nil, fmt.Errorf("make store %q: %w", dir, err)
	}
	for _, sub := range []string{"objects/pack", "refs"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.FromSlash(sub)), 0o700); err != nil {
			return nil, fmt.Errorf("open store: %w", err)
		}
	}
	left, _ := filepath.Glob(filepath.Join(dir, "objects", "pack", tempPrefix+"*"))
	for _, name := range left {
		_ = os.Remove(name)
	}
	s.reopen()
	s.ends = s.readEnds()
	_ = s.bound() // for Git's programs alone; the next pack tries again
	return s, nil
}

// makeBare writes what a bare repository has, where it is missing.
func makeBare(st *filesystem.Storage) error {
	if err := st.Init(); err != nil {
		return err
	}
	_, err := st.Reference(plumbing.HEAD)
	if !errors.Is(err, plumbing.ErrReferenceNotFound) {
		return err
	}
	if err := st.SetReference(plumbing.NewSymbolicReference(plumbing.HEAD, plumbing.Master)); err != nil {
		return err
	}
	c, err := st.Config()
	if err != nil {
		return err
	}
	c.Core.IsBare = true
	return st.SetConfig(c)
}

// storage opens a bare repository with small caches: the agent lives beside other people's programs.
func storage(dir string) *filesystem.Storage {
	return filesystem.NewStorageWithOptions(repositoryFiles(dir), cache.NewObjectLRU(objectCache),
		filesystem.Options{LargeObjectThreshold: largeObject})
}

// reopen forgets indexes and cached objects; the caller holds mu or is alone.
func (s *Store) reopen() {
	if s.st != nil {
		_ = s.st.Close()
	}
	s.st = storage(s.dir)
}

// locked reads objects from whatever the store's files are now, so that a Tree outlives a repack.
type locked struct {
	storer.EncodedObjectStorer
	s *Store
}

func (l locked) EncodedObject(t plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	return l.s.st.EncodedObject(t, h)
}

func (l locked) HasEncodedObject(h plumbing.Hash) error {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	return l.s.st.HasEncodedObject(h)
}

func (l locked) EncodedObjectSize(h plumbing.Hash) (int64, error) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	return l.s.st.EncodedObjectSize(h)
}

// objects is for who does not hold mu.
func (s *Store) objects() storer.EncodedObjectStorer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return locked{EncodedObjectStorer: s.st, s: s}
}

// clip bounds outside text that is shown in a message.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}

func (s *Store) commit(name string) (*object.Commit, error) {
	h, err := hash40(name)
	if err != nil {
		return nil, err
	}
	c, err := object.GetCommit(s.objects(), h)
	if err != nil {
		return nil, fmt.Errorf("read commit %s: %w", h, err)
	}
	return c, nil
}

// Has reports whether the commit and all files of its tree are here.
func (s *Store) Has(commit string) bool {
	h, err := hash40(commit)
	return err == nil && whole(context.Background(), s.objects(), h) == nil
}

// whole sees that a commit is here with all its files. What it shares with the last one of which that was seen is not looked
// at again.
func (s *Store) whole(ctx context.Context, st storer.EncodedObjectStorer, commit plumbing.Hash) (err error) {
	if sound := s.sound.Load(); sound == nil {
		err = whole(ctx, st, commit)
	} else {
		err = wholeBeside(ctx, st, commit, *sound)
	}
	if err == nil {
		s.sound.Store(&commit)
	}
	return err
}

// Knows reports whether the commit itself is here, with or without its files. It costs one look.
func (s *Store) Knows(commit string) bool {
	_, err := s.commit(commit)
	return err == nil
}

// Tree gives the files of a commit.
func (s *Store) Tree(commit string) (Tree, error) {
	c, err := s.commit(commit)
	if err != nil {
		return Tree{}, err
	}
	return Tree{FS: &treeFS{store: s.objects(), root: c.TreeHash}, Commit: c.Hash.String(), Digest: "git-" + c.TreeHash.String()}, nil
}

// Read is one file of a commit, at most 64 MiB. It wraps fs.ErrNotExist where there is none.
func (s *Store) Read(commit, path string) ([]byte, error) {
	t, err := s.Tree(commit)
	if err != nil {
		return nil, err
	}
	return fs.ReadFile(t, path)
}

// List is the sorted names of a folder of a commit, those of folders with a slash at the end; "" and "." are the root.
// A folder that does not exist wraps fs.ErrNotExist.
func (s *Store) List(commit, dir string) ([]string, error) {
	t, err := s.Tree(commit)
	if err != nil {
		return nil, err
	}
	if dir == "" {
		dir = "."
	}
	entries, err := fs.ReadDir(t, dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	return names, nil
}

// Descends reports whether ancestor is commit itself or comes before it. An ancestor that the store has never seen is
// no ancestor; a commit that it has not is an error.
func (s *Store) Descends(ctx context.Context, commit, ancestor string) (bool, error) {
	from, err := hash40(commit)
	if err != nil {
		return false, err
	}
	old, err := hash40(ancestor)
	if err != nil {
		return false, err
	}
	if _, err := s.commit(commit); err != nil {
		return false, err
	}
	found := false
	err = ancestors(ctx, s.objects(), from, func(c *object.Commit) bool {
		found = found || c.Hash == old
		return !found
	})
	return found, err
}

// ancestors calls visit with from and all that comes before it, newest generation first, until visit says false.
// Parents that are missing end their line.
func ancestors(ctx context.Context, st storer.EncodedObjectStorer, from plumbing.Hash, visit func(*object.Commit) bool) error {
	return ancestorsTo(ctx, st, from, nil, visit)
}

// ancestorsTo is ancestors of a history that is cut off before some commits.
func ancestorsTo(ctx context.Context, st storer.EncodedObjectStorer, from plumbing.Hash, cuts []plumbing.Hash, visit func(*object.Commit) bool) error {
	seen := map[plumbing.Hash]bool{from: true}
	for queue := []plumbing.Hash{from}; len(queue) > 0; queue = queue[1:] {
		if err := ctx.Err(); err != nil {
			return err
		}
		c, err := object.GetCommit(st, queue[0])
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read commit %s: %w", queue[0], err)
		}
		if !visit(c) {
			return nil
		}
		for _, p := range c.ParentHashes {
			if !seen[p] && !slices.Contains(cuts, c.Hash) {
				seen[p] = true
				queue = append(queue, p)
			}
		}
		if len(seen) > maxCommits {
			return fmt.Errorf("history of %s: more than %d commits: %w", from, maxCommits, ErrTooLarge)
		}
	}
	return nil
}

// refName checks a full reference name: refs/... with nothing that a path or an option could be made of.
func refName(name string) (plumbing.ReferenceName, error) {
	n := plumbing.ReferenceName(name)
	if !strings.HasPrefix(name, "refs/") || len(name) > 255 || n.Validate() != nil || strings.Contains(name, "/-") ||
		strings.ContainsAny(name, "\x00\r\n\\") || strings.HasSuffix(name, ".lock") || !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", fmt.Errorf("%q is not a reference name", clip(name))
	}
	return n, nil
}

// Ref is the commit of a full reference name, "" where there is none.
func (s *Store) Ref(name string) (string, error) {
	n, err := refName(name)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return readRef(s.st, n)
}

// RefTime is when SetRef last wrote a full reference name, by the clock of the file system.
func (s *Store) RefTime(name string) (time.Time, error) {
	if _, err := refName(name); err != nil {
		return time.Time{}, err
	}
	info, err := os.Stat(filepath.Join(s.dir, filepath.FromSlash(name)))
	if err != nil {
		return time.Time{}, fmt.Errorf("read reference %q: %w", name, err)
	}
	return info.ModTime(), nil
}

func readRef(st *filesystem.Storage, n plumbing.ReferenceName) (string, error) {
	ref, err := st.Reference(n)
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read reference %q: %w", n, err)
	}
	// An empty file is what a power cut leaves: as good as none.
	if ref.Type() != plumbing.HashReference || ref.Hash().IsZero() {
		return "", nil
	}
	return ref.Hash().String(), nil
}

// SetRef points a full reference name at a commit that is here with all its files; "" removes the reference. It is on
// disk when SetRef returns.
func (s *Store) SetRef(name, commit string) error {
	n, err := refName(name)
	if err != nil {
		return err
	}
	if commit == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.st.RemoveReference(n); err != nil {
			return fmt.Errorf("remove reference %q: %w", n, err)
		}
		return nil
	}
	h, err := hash40(commit)
	if err != nil {
		return err
	}
	if err := s.whole(context.Background(), s.objects(), h); err != nil {
		return fmt.Errorf("set reference %q: %w", n, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return writeRef(filepath.Join(s.dir, filepath.FromSlash(name)), h.String())
}

// writeRef replaces a reference file at once and for good.
func writeRef(path, commit string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write reference: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".dunlin-*.lock")
	if err != nil {
		return fmt.Errorf("write reference: %w", err)
	}
	return finish(f, path, 0o644, func() error { _, err := io.WriteString(f, commit+"\n"); return err })
}

// finish writes f, makes it durable and gives it its name; on any error nothing is left.
func finish(f *os.File, path string, mode os.FileMode, write func() error) error {
	err := write()
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %q: %w", filepath.Base(path), err)
	}
	_ = durable.Folder(filepath.Dir(path)) // without it the file is as it was after a power cut, and what it says is asked for again
	return nil
}
