package agent

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// Policy is a valid repository at one commit.
type Policy struct {
	Repo     schema.Repo
	Warnings []schema.Fault
	Commit   string // empty for a folder
	Digest   string // names the content of Files
	Files    fs.FS

	known *load.Known // what a change of it can be judged by; may be nil
	kept  bool        // it is in the cache
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
	e, err := l.fromCache(digest)
	kept := err == nil
	if err != nil {
		l.tell("evaluating the policy")
		if e, err = l.whole(ctx, tree); err != nil {
			return Policy{}, fmt.Errorf("evaluate policy: %w", err)
		}
		if keep && !schema.Refused(e.Faults) {
			if err := l.toCache(digest, e); err != nil {
				l.tell("warning: evaluated policy is not kept: %s", err)
			} else {
				kept = true
			}
		}
	}
	if schema.Refused(e.Faults) {
		return Policy{}, &FaultsError{Commit: tree.Commit, Faults: e.Faults}
	}
	p := policyOf(tree, digest, e)
	p.kept = kept
	return p, nil
}

func policyOf(tree gitrepo.Tree, digest string, e load.Evaluated) Policy {
	return Policy{Repo: e.Repo, Warnings: e.Faults, Commit: tree.Commit, Digest: digest, Files: tree, known: e.Known}
}

// whole evaluates all of a tree.
func (l Local) whole(ctx context.Context, tree gitrepo.Tree) (load.Evaluated, error) {
	if l.Judge != nil {
		return l.Judge.Whole(ctx, tree)
	}
	repo, faults, err := l.Evaluate(ctx, tree)
	return load.Evaluated{Repo: repo, Faults: faults}, err
}

// stepped evaluates a tree that differs in few files from a policy, by what these files say. An error is that this cannot be
// done, and says nothing of the tree.
func (l Local) stepped(ctx context.Context, from Policy, tree gitrepo.Tree, changed []string) (Policy, error) {
	if l.Judge == nil {
		return Policy{}, load.ErrWhole
	}
	e, err := l.Judge.Step(ctx, load.Evaluated{Repo: from.Repo, Faults: from.Warnings, Known: from.known}, from.Files, tree, changed)
	if err != nil {
		return Policy{}, err
	}
	if schema.Refused(e.Faults) {
		return Policy{}, fmt.Errorf("%w: a part does not refuse", load.ErrWhole)
	}
	return policyOf(tree, tree.Digest, e), nil
}
