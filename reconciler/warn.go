package reconciler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/reconciler/target"
	"github.com/dunlin-dev/dunlin/schema"
)

// Warnings tells what a valid repository does to the nodes of its roster that its authors will not want: a node in two
// patch groups, and two policies that want different things of one resource on a node. Each pair is told once, with
// the first node and how many more there are.
func Warnings(repo schema.Repo) []schema.Fault {
	sets := target.Sets{Groups: repo.Groups, ResourceGroups: repo.ResourceGroups}
	found := map[schema.Fault][]string{} // nodes by warning, which has no node in its words yet
	names := slices.Sorted(maps.Keys(repo.Policies))
	sees := sightOf(repo)
	// Nodes that targets cannot tell apart have the same conflicts, and so have those that the same policies and groups mean.
	alike := map[string][]schema.Fault{}
	known := map[string][]schema.Fault{}
	for _, node := range activeNodes(repo) {
		kin := sees.kin(node)
		warnings, ok := alike[kin]
		if !ok {
			groups := target.Groups(node, sets)
			var policies []string
			for _, name := range names {
				if target.Match(repo.Policies[name].Targets, node, sets) {
					policies = append(policies, name)
				}
			}
			key := strings.Join(groups, "\x00") + "\x01" + strings.Join(policies, "\x00")
			if warnings, ok = known[key]; !ok {
				warnings = append(manyGroups(repo, groups), conflicts(repo, policies)...)
				known[key] = warnings
			}
			alike[kin] = warnings
		}
		for _, w := range warnings {
			found[w] = append(found[w], node.Name)
		}
	}
	var out []schema.Fault
	for w, nodes := range found {
		slices.Sort(nodes)
		on := "on node " + nodes[0]
		if len(repo.Roster) == 0 {
			on = "on a host that stands alone"
		} else if n := len(nodes) - 1; n > 0 {
			on += fmt.Sprintf(" and %d more", n)
		}
		w.Message = on + ": " + w.Message
		out = append(out, w)
	}
	return schema.SortFaults(out)
}

// sight is what the targets of policies and groups look at: tags, and nodes by their names.
type sight struct {
	tags  []string
	nodes map[string]bool
}

func sightOf(repo schema.Repo) sight {
	tags, nodes := map[string]bool{"PatchGroup": true}, map[string]bool{} // the tag of groups without targets
	look := func(t schema.Targets) {
		selections := []schema.Selection{t.Selection}
		if t.Exclude != nil {
			selections = append(selections, *t.Exclude)
		}
		for _, s := range selections {
			for key := range s.Tags {
				tags[key] = true
			}
			for _, name := range s.Nodes {
				nodes[name] = true
			}
		}
	}
	for _, p := range repo.Policies {
		look(p.Targets)
	}
	for _, g := range repo.Groups {
		if g.Targets != nil {
			look(*g.Targets)
		}
	}
	for _, g := range repo.ResourceGroups {
		look(g.Targets)
	}
	return sight{slices.Sorted(maps.Keys(tags)), nodes}
}

// kin is the same for nodes that no target can tell apart.
func (s sight) kin(n schema.Node) string {
	var b strings.Builder
	write := func(text string) { fmt.Fprintf(&b, "%d %s", len(text), text) }
	write(n.OS)
	for _, key := range s.tags {
		if value, ok := n.Tags[key]; ok {
			write(key)
			write(value)
		}
	}
	if s.nodes[n.Name] || s.nodes[n.ID] || n.Alone || n.ID == "" {
		b.WriteString("named ")
		write(n.Name)
		write(n.ID)
	}
	return b.String()
}

// activeNodes are the roster's; without a roster those that stand alone, which is how such a repository is used.
func activeNodes(repo schema.Repo) []schema.Node {
	if len(repo.Roster) == 0 {
		return []schema.Node{{Name: "debian that stands alone", OS: "debian", Alone: true}, {Name: "ubuntu that stands alone", OS: "ubuntu", Alone: true}}
	}
	var out []schema.Node
	for _, line := range repo.Roster {
		if line.State == schema.NodeActive {
			out = append(out, line.Node())
		}
	}
	return out
}

func manyGroups(repo schema.Repo, groups []string) []schema.Fault {
	if len(groups) < 2 {
		return nil
	}
	path := schema.JoinPath("group", groups[1])
	return []schema.Fault{warning(repo.Positions[path], path,
		"in patch groups "+strings.Join(groups, " and ")+", and a node may be in one; the default baseline judges it")}
}

func conflicts(repo schema.Repo, policies []string) []schema.Fault {
	var out []schema.Fault
	for _, r := range resources(repo, policies) {
		if r.Contested != "" {
			out = append(out, warning(r.Position, schema.JoinPath("policy", r.Policy), r.Contested+" of "+r.Name()+"; neither is applied"))
		}
	}
	return out
}

func warning(at schema.Position, path, message string) schema.Fault {
	return schema.Fault{File: at.File, Line: at.Line, Column: at.Column, Path: path, Message: message, Severity: schema.SeverityWarning}
}
