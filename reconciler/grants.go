package reconciler

import (
	"path"
	"strconv"

	"github.com/dunlin-dev/dunlin/reconciler/grant"
	"github.com/dunlin-dev/dunlin/reconciler/target"
	"github.com/dunlin-dev/dunlin/schema"
)

// Targeted are the active nodes of the roster that targets mean, in the roster's order.
func Targeted(repo schema.Repo, t schema.Targets) []schema.Node {
	sets := target.Sets{Groups: repo.Groups, ResourceGroups: repo.ResourceGroups}
	var out []schema.Node
	for _, line := range repo.Roster {
		if n := line.Node(); line.State == schema.NodeActive && target.Match(t, n, sets) {
			out = append(out, n)
		}
	}
	return out
}

// MayRun reports whether who may give a run, by the policy of the commit that it names, and the nodes that it is for: every
// node decides that for itself, and all alike.
func MayRun(repo schema.Repo, who string, r schema.Run) ([]schema.Node, grant.Verdict) {
	nodes := Targeted(repo, r.Targets)
	return nodes, grant.Run(repo, who, r, nodes, selects(repo))
}

// MayOpen reports whether who may open a session on a node, and what it is then.
func MayOpen(repo schema.Repo, who string, s grant.Session, node schema.Node) (grant.Opening, grant.Verdict) {
	return grant.Open(repo, who, s, node, selects(repo))
}

func selects(repo schema.Repo) grant.Selects {
	sets := target.Sets{Groups: repo.Groups, ResourceGroups: repo.ResourceGroups}
	return func(t schema.Targets, n schema.Node) bool { return target.Match(t, n, sets) }
}

// DeniesRun says why the host does not let a document run, whoever may give it; empty where it does. A glob that does
// not parse covers nothing.
func (c Ceiling) DeniesRun(document string) string {
	if !c.Runs {
		return c.because("ceiling.runs", "false")
	}
	if c.Documents == nil {
		return ""
	}
	for _, glob := range c.Documents {
		if ok, err := path.Match(glob, document); ok && err == nil {
			return ""
		}
	}
	return c.because("ceiling.documents", "without "+strconv.Quote(document))
}

// DeniesSession says why the host lets nobody open a session; empty where it does.
func (c Ceiling) DeniesSession() string {
	if !c.Sessions {
		return c.because("ceiling.sessions", "false")
	}
	return ""
}
