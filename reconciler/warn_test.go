package reconciler

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/dunlin-dev/dunlin/reconciler/target"
	"github.com/dunlin-dev/dunlin/schema"
)

// Nodes that count as alike are those that no target tells apart.
func TestNodesOfOneKinAreMeantByTheSameTargets(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	of := func(words ...string) string { return words[r.IntN(len(words))] }
	selection := func() schema.Selection {
		switch r.IntN(7) {
		case 0:
			return schema.Selection{Tags: map[string]schema.Texts{of("a", "b", "PatchGroup"): {of("x", "y"), "g1"}}}
		case 1:
			return schema.Selection{OS: []string{of("debian", "ubuntu")}}
		case 2:
			return schema.Selection{Nodes: []string{fmt.Sprint("n", r.IntN(6))}}
		case 3:
			return schema.Selection{Nodes: []string{fmt.Sprint("id", r.IntN(6))}}
		case 4:
			return schema.Selection{Groups: []string{of("g0", "g1", "g2")}}
		case 5:
			return schema.Selection{ResourceGroups: []string{of("r0", "r1")}}
		}
		return schema.Selection{Tags: map[string]schema.Texts{"a": {"x"}, "b": {"y", "z"}}}
	}
	targets := func() schema.Targets {
		out := schema.Targets{Selection: selection(), All: r.IntN(4) == 0}
		if r.IntN(2) == 0 {
			s := selection()
			out.Exclude = &s
		}
		return out
	}
	kins := 0
	for range 400 {
		repo := schema.Repo{Policies: map[string]schema.Policy{}, Groups: map[string]schema.Group{"g1": {}}, ResourceGroups: map[string]schema.ResourceGroup{}}
		for _, name := range []string{"g0", "g2"} {
			ts := targets()
			repo.Groups[name] = schema.Group{Targets: &ts}
		}
		for _, name := range []string{"r0", "r1"} {
			repo.ResourceGroups[name] = schema.ResourceGroup{Targets: targets()}
		}
		for i := range 4 {
			repo.Policies[fmt.Sprint("p", i)] = schema.Policy{Targets: targets()}
		}
		sees, sets := sightOf(repo), target.Sets{Groups: repo.Groups, ResourceGroups: repo.ResourceGroups}
		meant := map[string]string{}
		for i := range 40 {
			n := schema.Node{ID: fmt.Sprint("id", i), Name: fmt.Sprint("n", i), OS: of("debian", "debian", "ubuntu"), Tags: map[string]string{}}
			for _, key := range []string{"a", "b", "PatchGroup", "other"} {
				if r.IntN(4) == 0 {
					n.Tags[key] = of("x", "g1")
				}
			}
			if i == 0 {
				n = schema.Node{Name: "alone", OS: "debian", Alone: true}
			}
			by := fmt.Sprint(target.Groups(n, sets))
			for i := range 4 {
				by += fmt.Sprint(target.Match(repo.Policies[fmt.Sprint("p", i)].Targets, n, sets))
			}
			kin := sees.kin(n)
			if before, ok := meant[kin]; ok && before != by {
				t.Fatalf("%+v is of the kin %q, of which others are meant by %s, and it by %s", n, kin, before, by)
			}
			meant[kin] = by
		}
		kins += len(meant)
	}
	if kins > 400*32 {
		t.Errorf("%d of %d nodes are of no other's kin: the test looks at one side only", kins, 400*40)
	}
}
