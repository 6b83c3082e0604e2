package agent

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/durable"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/schema/load"
)

const (
	// maxCached bounds a file of the cache in bytes.
	maxCached = 64 << 20
	// keptPolicies is how many evaluated policies are kept: the last good one, and those before it.
	keptPolicies = 3
	// keepAfter is how long after a policy came into force it is written down. Commits that follow each other are written once.
	keepAfter = 5 * time.Second
	// abandoned is the age of a file that somebody began to write and never ended.
	abandoned = time.Hour
)

// An evaluated policy is kept so that the next start, or the next program, need not evaluate it again. It is never what is in
// force: that is the commit that refs/dunlin/trusted names, from which all of it can be had again. So an agent writes it once
// the policy is in force, and a file that is missing, cut off, of another commit or of another build costs an evaluation.

func (l Local) cachePath(digest string) string {
	return filepath.Join(l.State, "cache", "policy-"+digest)
}

// fromCache reads an evaluated policy. Only files that belong to this user and that nobody else can write are believed.
func (l Local) fromCache(digest string) (load.Evaluated, error) {
	path := l.cachePath(digest)
	info, err := os.Lstat(path)
	if err != nil {
		return load.Evaluated{}, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCached || info.Mode().Perm()&0o077 != 0 {
		return load.Evaluated{}, errors.New("not a file of ours")
	}
	if err := host.Owned(path); err != nil {
		return load.Evaluated{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return load.Evaluated{}, err
	}
	defer f.Close()
	if opened, err := f.Stat(); err != nil || !os.SameFile(info, opened) {
		return load.Evaluated{}, errors.New("it was exchanged while it was opened")
	}
	return load.Decode(f, info.Size(), digest)
}

// toCache keeps an evaluated policy, and the newest before it.
func (l Local) toCache(digest string, e load.Evaluated) error {
	path := l.cachePath(digest)
	err := replaceFile(path, func(w io.Writer) error { return load.Encode(w, e, digest) })
	if err != nil {
		return err
	}
	type old struct {
		path string
		at   time.Time
	}
	var policies []old
	entries, err := os.ReadDir(filepath.Dir(path))
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			continue
		}
		name := filepath.Join(filepath.Dir(path), entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), durable.Unfinished) && l.Now().Sub(info.ModTime()) > abandoned:
			_ = os.Remove(name)
		case strings.HasPrefix(entry.Name(), "policy-") && name != path:
			policies = append(policies, old{name, info.ModTime()})
		}
	}
	slices.SortFunc(policies, func(a, b old) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.path, b.path)) })
	for i, o := range policies {
		if i >= keptPolicies-1 {
			_ = os.Remove(o.path)
		}
	}
	return err
}

// writeDurably replaces a file of the state folder.
func writeDurably(path string, b []byte) error { return durable.Write(path, b) }

// replaceFile writes a file of the cache, whose folder need not be there.
func replaceFile(path string, write func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.WriteFrom(path, write)
}

// keep is the loop that writes down what is in force.
func (a *Agent) keep(ctx context.Context) error {
	written := ""
	write := func() {
		p, _, _ := a.inForce()
		if p.Digest == "" || p.Digest == written || p.kept {
			return
		}
		a.pulses.busy("keep")
		defer a.pulses.idle("keep")
		written = p.Digest
		if err := a.o.Local.toCache(p.Digest, load.Evaluated{Repo: p.Repo, Faults: p.Warnings, Known: p.known}); err != nil {
			a.log().Warn("evaluated policy is not kept, so the next start evaluates it again", "commit", p.Commit, "error", one(err))
		}
	}
	for {
		select {
		case <-ctx.Done():
			select {
			case <-a.keeps:
				write()
			default:
			}
			return nil
		case <-a.keeps:
		}
		if !sleep(ctx, keepAfter) {
			write()
			return nil
		}
		write()
	}
}
