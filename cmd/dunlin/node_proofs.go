package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/trust"
)

// collectProofs takes proofs out of the repository that let nobody in any more: of hosts that are in, and of those that are
// refused for good, which it tells of, once. It gives the ids of the latter. A clone that differs from its remote does not say what is for good.
func (a *app) collectProofs(ctx context.Context, p *policyFolder, remote string, porch *porch, all []asking) map[string]bool {
	var used []string
	refused := map[string]error{}
	for _, x := range all {
		id := x.join.Proof.ID
		switch {
		case !slices.Contains(x.by, "git"):
		case porch.roll.Known(id):
			used = append(used, id)
		default:
			if err := porch.judge(x.join, a.now()); forGood(err) {
				refused[id] = err
			}
		}
	}
	g := git{dir: p.dir}
	gone := map[string]bool{}
	if len(used)+len(refused) == 0 || !g.upToDate(ctx, remote) {
		return gone
	}
	removed := removeProofs(ctx, g, remote, append(used, slices.Sorted(maps.Keys(refused))...))
	for _, x := range all {
		if err := refused[x.join.Proof.ID]; err != nil && slices.Contains(removed, x.join.Proof.ID) {
			gone[x.join.Proof.ID] = true
			a.note(fmt.Sprintf("%s (%s) is not let in: %s; its proof is taken out of the repository", x.join.Proof.Name, x.join.Proof.ID, err), "")
		}
	}
	return gone
}

// forGood reports whether a host is refused whatever time does.
func forGood(err error) bool {
	r := (*trust.JoinRefusal)(nil)
	return errors.As(err, &r) && slices.Contains([]trust.JoinKind{trust.JoinExpired, trust.JoinRevoked, trust.JoinCode, trust.JoinFleet, trust.JoinLimit}, r.Kind)
}

// upToDate reports whether the branch that is checked out is the remote's, and the work tree has no other roster.
func (g git) upToDate(ctx context.Context, remote string) bool {
	branch, err := g.run(ctx, nil, "symbolic-ref", "--quiet", "--short", "HEAD")
	if err != nil {
		return false
	}
	line, err := g.run(ctx, nil, "ls-remote", remote, "refs/heads/"+branch)
	id, _, _ := strings.Cut(line, "\t")
	if err != nil || id == "" {
		return false
	}
	head, err := g.run(ctx, nil, "rev-parse", "HEAD")
	if err != nil || head != id {
		return false
	}
	changed, err := g.run(ctx, nil, "status", "--porcelain", "--", "fleet.cue", "nodes", "activations")
	return err == nil && changed == ""
}

// mostRemoved is how many proofs are taken out at a time: the rest goes the next time.
const mostRemoved = 200

// removeProofs takes proofs out of the repository, and gives those that it has. That it cannot is no error: what is left there does no harm.
func removeProofs(ctx context.Context, g git, remote string, ids []string) []string {
	ids = ids[:min(len(ids), mostRemoved)]
	if len(ids) == 0 {
		return nil
	}
	args := []string{"push", "--quiet", "--no-verify", remote}
	for _, id := range ids {
		args = append(args, ":"+gitrepo.JoinRef+id)
	}
	if _, err := g.run(ctx, nil, args...); err != nil {
		return nil
	}
	for _, id := range ids {
		_, _ = g.run(ctx, nil, "update-ref", "-d", gitrepo.JoinRef+id)
	}
	return ids
}
