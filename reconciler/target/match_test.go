package target

import (
	"slices"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
	"pgregory.net/rapid"
)

func sel(s schema.Selection) schema.Targets { return schema.Targets{Selection: s} }

func tags(key string, values ...string) schema.Selection {
	return schema.Selection{Tags: map[string]schema.Texts{key: values}}
}

var (
	web = schema.Node{ID: "aaaabbbbccccddddeeeeffffgg", Name: "web-1", OS: "debian", Tags: map[string]string{"role": "web", "env": "prod", "PatchGroup": "edge", "note": ""}}

	alone    = schema.Node{Name: "web-1", OS: "debian", Alone: true, Tags: map[string]string{"role": "web", "PatchGroup": "edge"}}
	stranger = schema.Node{Name: "web-1", OS: "debian", Tags: map[string]string{"role": "web"}}

	sets = Sets{
		Groups: map[string]schema.Group{
			"edge":  {},
			"debs":  {Targets: &schema.Targets{Selection: schema.Selection{OS: []string{"debian"}}}},
			"round": {Targets: &schema.Targets{Selection: schema.Selection{Groups: []string{"round"}}}},
		},
		ResourceGroups: map[string]schema.ResourceGroup{
			"prod":    {Targets: sel(tags("env", "prod"))},
			"nested":  {Targets: sel(schema.Selection{ResourceGroups: []string{"prod"}})},
			"edged":   {Targets: sel(schema.Selection{Groups: []string{"edge"}})},
			"a":       {Targets: sel(schema.Selection{ResourceGroups: []string{"b", "prod"}})},
			"b":       {Targets: sel(schema.Selection{ResourceGroups: []string{"a", "prod"}})},
			"notSelf": {Targets: schema.Targets{All: true, Exclude: &schema.Selection{ResourceGroups: []string{"notSelf"}}}},
			"all":     {Targets: schema.Targets{All: true}},
		},
	}
)

func TestMatch(t *testing.T) {
	rg := func(names ...string) schema.Selection { return schema.Selection{ResourceGroups: names} }
	for _, tt := range []struct {
		name string
		t    schema.Targets
		node schema.Node
		want bool
	}{
		{"empty targets select nothing", schema.Targets{}, web, false},
		{"all selects a node of the roster", schema.Targets{All: true}, web, true},
		{"all selects no node that is not in the roster", schema.Targets{All: true}, stranger, false},
		{"any value of a tag will do", sel(tags("role", "api", "web")), web, true},
		{"another value will not", sel(tags("role", "api")), web, false},
		{"case matters in tags", sel(tags("role", "Web")), web, false},
		{"a tag with an empty value is a tag", sel(tags("note", "")), web, true},
		{"an absent tag is not an empty one", sel(tags("nothing", "")), web, false},
		{"all keys must hold", sel(schema.Selection{Tags: map[string]schema.Texts{"role": {"web"}, "env": {"test"}}}), web, false},
		{"all fields must hold", sel(schema.Selection{Tags: map[string]schema.Texts{"role": {"web"}}, OS: []string{"ubuntu"}}), web, false},
		{"a field beside all must hold", schema.Targets{All: true, Selection: schema.Selection{OS: []string{"ubuntu"}}}, web, false},
		{"a node by name", sel(schema.Selection{Nodes: []string{"web-1"}}), web, true},
		{"a node by id", sel(schema.Selection{Nodes: []string{web.ID}}), web, true},
		{"exclude wins over all", schema.Targets{All: true, Exclude: &schema.Selection{Nodes: []string{"web-1"}}}, web, false},
		{"exclude needs all of its fields", schema.Targets{All: true, Exclude: &schema.Selection{Nodes: []string{"web-1"}, OS: []string{"ubuntu"}}}, web, true},
		{"exclude alone selects nothing", schema.Targets{Exclude: &schema.Selection{OS: []string{"ubuntu"}}}, web, false},
		{"an empty exclude leaves nobody out", schema.Targets{All: true, Exclude: &schema.Selection{}}, web, true},
		{"a patch group is the tag PatchGroup", sel(schema.Selection{Groups: []string{"edge"}}), web, true},
		{"a patch group with targets", sel(schema.Selection{Groups: []string{"debs"}}), web, true},
		{"a resource group", sel(rg("prod")), web, true},
		{"a resource group in another", sel(rg("nested")), web, true},
		{"a patch group in a resource group", sel(rg("edged")), web, true},
		{"a circle selects nothing", sel(rg("a")), web, false},
		{"a circle beside a group that holds selects nothing", sel(rg("prod", "a")), web, false},
		{"a circle in an exclude does not let everybody in", schema.Targets{All: true, Exclude: &schema.Selection{ResourceGroups: []string{"a"}}}, web, false},
		{"a group that excludes itself selects nothing", sel(rg("notSelf")), web, false},
		{"a patch group of itself selects nothing", sel(schema.Selection{Groups: []string{"round"}}), web, false},
		{"a missing group selects nothing", sel(rg("gone")), web, false},
		{"a missing group in an exclude does not let everybody in", schema.Targets{All: true, Exclude: &schema.Selection{Groups: []string{"gone"}}}, web, false},
		{"all applies to a node that stands alone", schema.Targets{All: true}, alone, true},
		{"os applies to a node that stands alone", sel(schema.Selection{OS: []string{"debian"}}), alone, true},
		{"a named group by os applies to a node that stands alone", sel(schema.Selection{Groups: []string{"debs"}}), alone, true},
		{"what a host says of its tags counts for nothing", sel(tags("role", "web")), alone, false},
		{"nor does its PatchGroup", sel(schema.Selection{Groups: []string{"edge"}}), alone, false},
		{"nor its name", sel(schema.Selection{Nodes: []string{"web-1"}}), alone, false},
		{"an empty name in a list means no node", sel(schema.Selection{Nodes: []string{""}}), schema.Node{Alone: true}, false},
		{"an os that is not known is no os", sel(schema.Selection{OS: []string{""}}), schema.Node{Alone: true}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Match(tt.t, tt.node, sets); got != tt.want {
				t.Errorf("Match(%+v, %+v) = %v, want %v", tt.t, tt.node, got, tt.want)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	if got, want := Groups(web, sets), []string{"debs", "edge"}; !slices.Equal(got, want) {
		t.Errorf("Groups(web) = %v, want %v", got, want)
	}
	if got := Groups(stranger, sets); got != nil {
		t.Errorf("Groups of a node outside the roster = %v, want none", got)
	}
	if got, want := Groups(alone, sets), []string{"debs"}; !slices.Equal(got, want) {
		t.Errorf("Groups(alone) = %v, want %v", got, want)
	}
}

var (
	genWord      = rapid.SampledFrom([]string{"a", "b", "c"})
	genWords     = rapid.SliceOfN(genWord, 0, 2)
	genSelection = rapid.Custom(func(t *rapid.T) schema.Selection {
		var s schema.Selection
		if rapid.Bool().Draw(t, "tags") {
			s.Tags = map[string]schema.Texts{genWord.Draw(t, "key"): genWords.Draw(t, "values")}
		}
		s.OS, s.Nodes = genWords.Draw(t, "os"), genWords.Draw(t, "nodes")
		s.Groups, s.ResourceGroups = genWords.Draw(t, "groups"), genWords.Draw(t, "resourceGroups")
		return s
	})
	genTargets = rapid.Custom(func(t *rapid.T) schema.Targets {
		out := schema.Targets{Selection: genSelection.Draw(t, "selection"), All: rapid.Bool().Draw(t, "all")}
		if rapid.Bool().Draw(t, "exclude?") {
			s := genSelection.Draw(t, "exclude")
			out.Exclude = &s
		}
		return out
	})
	genNode = rapid.Custom(func(t *rapid.T) schema.Node {
		return schema.Node{ID: genWord.Draw(t, "id"), Name: genWord.Draw(t, "name"), OS: genWord.Draw(t, "os"),
			Tags: map[string]string{genWord.Draw(t, "key"): genWord.Draw(t, "value"), "PatchGroup": genWord.Draw(t, "group")}}
	})
	genSets = rapid.Custom(func(t *rapid.T) Sets {
		s := Sets{Groups: map[string]schema.Group{}, ResourceGroups: map[string]schema.ResourceGroup{}}
		for _, n := range []string{"a", "b", "c"} {
			if rapid.Bool().Draw(t, "group?") {
				var g schema.Group
				if rapid.Bool().Draw(t, "targets?") {
					tg := genTargets.Draw(t, "targets")
					g.Targets = &tg
				}
				s.Groups[n] = g
			}
			if rapid.Bool().Draw(t, "resourceGroup?") {
				s.ResourceGroups[n] = schema.ResourceGroup{Targets: genTargets.Draw(t, "targets")}
			}
		}
		return s
	})
)

// Whatever the sets are, circles and holes included: an exclude only takes away, a further field only
// takes away, and who is not in the roster is never meant.
func TestMatchNarrows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sets, n, tg := genSets.Draw(t, "sets"), genNode.Draw(t, "node"), genTargets.Draw(t, "targets")
		got := Match(tg, n, sets)
		if without := tg; got && tg.Exclude != nil {
			without.Exclude = nil
			if !Match(without, n, sets) {
				t.Fatal("the exclude added a node")
			}
		}
		narrower := tg
		narrower.Nodes = nil
		if got && len(tg.Nodes) > 0 && (tg.All || len(tg.Tags)+len(tg.OS)+len(tg.Groups)+len(tg.ResourceGroups) > 0) && !Match(narrower, n, sets) {
			t.Fatal("the field nodes added a node")
		}
		if unrostered := n; Match(tg, func() schema.Node { unrostered.ID = ""; return unrostered }(), sets) {
			t.Fatal("a node outside the roster was selected")
		}
		if s := (schema.Targets{Selection: schema.Selection{ResourceGroups: []string{"x"}}}); got != Match(s, n, Sets{Groups: sets.Groups, ResourceGroups: with(sets.ResourceGroups, "x", tg)}) {
			t.Fatal("a resource group does not mean what its targets mean")
		}
	})
}

func with(m map[string]schema.ResourceGroup, name string, t schema.Targets) map[string]schema.ResourceGroup {
	out := map[string]schema.ResourceGroup{name: {Targets: t}}
	for k, v := range m {
		out[k] = v
	}
	return out
}
