package gitrepo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// fileRemote is a repository of this host, read and written in this process: no program of Git, and no hook, is run.
type fileRemote struct {
	dir  string
	bare bool
	st   *filesystem.Storage
}

func openFileRemote(t target) (conn, error) {
	f := &fileRemote{dir: t.path, bare: true}
	if !bare(f.dir) {
		f.dir, f.bare = filepath.Join(t.path, ".git"), false
		if !bare(f.dir) {
			return nil, fmt.Errorf("%w: no Git repository there; check the path", ErrUnreachable)
		}
	}
	if err := plainFiles(f.dir); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	f.st = storage(f.dir)
	return f, nil
}

func (f *fileRemote) close() { _ = f.st.Close() }

func (f *fileRemote) refs(ctx context.Context) (map[string]plumbing.Hash, string, error) {
	iter, err := f.st.IterReferences()
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	out := map[string]plumbing.Hash{}
	err = iter.ForEach(func(r *plumbing.Reference) error {
		if r.Type() == plumbing.HashReference && !r.Hash().IsZero() && strings.HasPrefix(r.Name().String(), "refs/") {
			out[r.Name().String()] = r.Hash()
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return out, "", nil
}

func (f *fileRemote) fetch(ctx context.Context, s *Store, q query) error {
	if q.into != nil {
		return pipe(func(w io.Writer) error { return writePack(ctx, w, f.st, q.blobs) },
			func(r io.Reader) error { return s.takeBlobs(ctx, r, q.into) })
	}
	var have plumbing.Hash
	for _, h := range q.haves {
		if _, err := object.GetCommit(f.st, h); err == nil && whole(ctx, s.objects(), h) == nil {
			have = h
			break
		}
	}
	st := storer.EncodedObjectStorer(f.st)
	if q.tip {
		st = onlyTip{st, q.want}
	}
	much := edges
	if q.all {
		much = files
	}
	list, err := between(ctx, st, q.want, have, much, q.cuts...)
	if err != nil {
		return err
	}
	return pipe(func(w io.Writer) error { return writePack(ctx, w, f.st, list) },
		func(r io.Reader) error { return s.addIf(ctx, r, q.want, func() error { return s.reaches(ctx, q) }) })
}

// onlyTip has of all commits one: its history ends there.
type onlyTip struct {
	storer.EncodedObjectStorer
	tip plumbing.Hash
}

func (o onlyTip) EncodedObject(t plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	if t == plumbing.CommitObject && h != o.tip {
		return nil, plumbing.ErrObjectNotFound
	}
	return o.EncodedObjectStorer.EncodedObject(t, h)
}

// pipe runs write beside read. Both end when one does.
func pipe(write func(io.Writer) error, read func(io.Reader) error) error {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.CloseWithError(write(w))
	}()
	err := read(r)
	_ = r.CloseWithError(errPack)
	<-done
	return err
}

func (f *fileRemote) push(ctx context.Context, s *Store, ref plumbing.ReferenceName, commit, old plumbing.Hash) error {
	if !f.bare {
		return fmt.Errorf("%w: the repository has a work tree, which a push would leave behind; push to a bare one", ErrRejected)
	}
	list, err := between(ctx, s.objects(), commit, old, files)
	if err != nil {
		return err
	}
	err = pipe(func(w io.Writer) error { return writePack(ctx, w, s.objects(), list) }, func(r io.Reader) error {
		tmp, err := receive(ctx, f.dir, r)
		if err == nil {
			_, err = keep(f.dir, tmp, 0o444)
		}
		return err
	})
	if err == nil {
		err = f.move(ref, commit, old)
	}
	if errors.Is(err, fs.ErrPermission) || isReadOnly(err) {
		return fmt.Errorf("%w: the repository is read-only: %w", ErrAuth, err)
	}
	return err
}

// move sets a reference if it is still at old, under the lock that every Git program takes.
func (f *fileRemote) move(ref plumbing.ReferenceName, commit, old plumbing.Hash) error {
	path := filepath.Join(f.dir, filepath.FromSlash(ref.String()))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("move reference: %w", err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: somebody else pushes now; try again, and remove %q if nobody does", ErrRejected, path+".lock")
	}
	if err != nil {
		return fmt.Errorf("move reference: %w", err)
	}
	return finish(lock, path, 0o644, func() error {
		now := storage(f.dir)
		defer func() { _ = now.Close() }()
		at, err := readRef(now, ref)
		if err != nil {
			return err
		}
		if at == "" {
			at = plumbing.ZeroHash.String()
		}
		if at != old.String() {
			return moved(ref, plumbing.NewHash(at))
		}
		_, err = io.WriteString(lock, commit.String()+"\n")
		return err
	})
}
