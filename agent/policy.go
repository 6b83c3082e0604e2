package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// maxCached bounds an evaluated policy on disk in bytes.
const maxCached = 64 << 20

// Policy is a valid repository at one commit.
type Policy struct {
	Repo     schema.Repo
	Warnings []schema.Fault
	Commit   string // empty for a folder
	Digest   string // names the content of Files
	Files    fs.FS
}

// FaultsError says that a commit is refused because of its faults.
type FaultsError struct {
	Commit string
	Faults []schema.Fault // warnings included
}

func (e *FaultsError) Error() string {
	n := 0
	for _, f := range e.Faults {
		if f.Severity != schema.SeverityWarning {
			n++
		}
	}
	if n == 1 {
		return "the policy has 1 fault and is refused whole"
	}
	return fmt.Sprintf("the policy has %d faults and is refused whole", n)
}

// Policy opens the repository in dir and evaluates it, or takes what an earlier pass evaluated from the same
// files. It fails with a *FaultsError for a repository that is refused. With keep it writes what it evaluated
// into the state folder.
func (l Local) Policy(ctx context.Context, dir string, keep bool) (Policy, error) {
	tree, err := gitrepo.Open(dir)
	if err != nil {
		return Policy{}, err
	}
	return l.evaluated(ctx, tree, keep)
}

// evaluated is Policy of a tree that is open already.
func (l Local) evaluated(ctx context.Context, tree gitrepo.Tree, keep bool) (Policy, error) {
	digest, err := tree.Digest, error(nil)
	if digest == "" {
		if digest, err = load.Digest(tree); err != nil {
			return Policy{}, fmt.Errorf("read repository: %w", err)
		}
	}
	cache := filepath.Join(l.State, "cache", "policy-"+digest)
	repo, faults, err := fromCache(cache)
	if err != nil {
		l.tell("evaluating the policy")
		if repo, faults, err = l.Evaluate(ctx, tree); err != nil {
			return Policy{}, fmt.Errorf("evaluate policy: %w", err)
		}
		if keep && !schema.Refused(faults) {
			if err := toCache(cache, load.Encode(repo, faults)); err != nil {
				l.tell("warning: evaluated policy is not kept: %s", err)
			}
		}
	}
	if schema.Refused(faults) {
		return Policy{}, &FaultsError{Commit: tree.Commit, Faults: faults}
	}
	return Policy{Repo: repo, Warnings: faults, Commit: tree.Commit, Digest: digest, Files: tree}, nil
}

// fromCache reads an evaluated policy. Only files that belong to this user and that nobody else can write are believed.
func fromCache(path string) (schema.Repo, []schema.Fault, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return schema.Repo{}, nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCached || info.Mode().Perm()&0o077 != 0 {
		return schema.Repo{}, nil, errors.New("not a file of ours")
	}
	if err := host.Owned(path); err != nil {
		return schema.Repo{}, nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return schema.Repo{}, nil, err
	}
	defer f.Close()
	return load.Decode(f, info.Size())
}

// toCache keeps the newest evaluated policies, whole or not at all.
func toCache(path string, b []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// What an earlier pass left of a write that was cut off, and policies of long ago.
	const keep = 4
	for _, pattern := range []string{"policy-*", "new-*"} {
		if old, err := filepath.Glob(filepath.Join(dir, pattern)); err == nil && len(old) > keep {
			for _, o := range old {
				_ = os.Remove(o)
			}
		}
	}
	f, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
