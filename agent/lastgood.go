package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/schema"
)

// ErrNoLastGood is wrapped where a state folder holds no commit that an agent put into force here.
var ErrNoLastGood = errors.New("no last good commit here")

// hostID is the id of this host's key; ok is false where it has none. No key is made.
func (l Local) hostID() (id string, ok bool, err error) {
	if _, err := os.Lstat(filepath.Join(l.State, identity.Folder)); errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	} else if err != nil {
		return "", false, err
	}
	keys, err := identity.Open(l.State)
	if err != nil {
		return "", false, err
	}
	return keys.ID(), true, nil
}

// InForce is the commit that an agent of this host put into force last, from the state folder alone, whether or not one
// runs now. The error wraps ErrNoLastGood where there is none.
func (l Local) InForce(ctx context.Context) (Policy, error) {
	tree, err := l.lastGoodFiles()
	if err != nil {
		return Policy{}, err
	}
	return l.evaluated(ctx, tree, false)
}

func (l Local) lastGoodFiles() (gitrepo.Tree, error) {
	tree, _, err := gitrepo.OpenRef(filepath.Join(l.State, policyStore), trustedRef)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, gitrepo.ErrNoBranch) || errors.Is(err, gitrepo.ErrNoRepository) {
		return gitrepo.Tree{}, ErrNoLastGood
	}
	if err != nil {
		return gitrepo.Tree{}, fmt.Errorf("%w: %w", ErrNoLastGood, err)
	}
	return tree, nil
}

// LastGood is InForce with this host's node: for when no agent runs.
func (l Local) LastGood(ctx context.Context) (Policy, schema.Node, error) {
	tree, err := l.lastGoodFiles()
	if err != nil {
		return Policy{}, schema.Node{}, err
	}
	id, ok, err := l.hostID()
	if err != nil {
		return Policy{}, schema.Node{}, err
	}
	p, err := l.evaluated(ctx, tree, false)
	if err != nil {
		return Policy{}, schema.Node{}, err
	}
	for _, line := range p.Repo.Roster {
		if ok && line.ID == id && line.State == schema.NodeActive {
			return p, line.Node(), nil
		}
	}
	return p, schema.Node{}, fmt.Errorf("this host is not an active node of the roster in commit %s", short(p.Commit))
}

// ScanLastGood is Scan under the last good commit.
func (l Local) ScanLastGood(ctx context.Context) (schema.Patching, string, error) {
	p, n, err := l.LastGood(ctx)
	if err != nil {
		return schema.Patching{}, "", err
	}
	plan, err := l.Plan(ctx, p, n)
	return plan.Patching, p.Commit, err
}

// ExplainLastGood is Explain of this host under the last good commit.
func (l Local) ExplainLastGood(ctx context.Context, item string) ([]schema.Explanation, string, error) {
	p, n, err := l.LastGood(ctx)
	if err != nil {
		return nil, "", err
	}
	found, err := l.explain(ctx, p, n, item)
	return found, p.Commit, err
}
