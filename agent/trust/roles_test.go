package trust

import (
	"slices"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, path string
		want          bool
	}{
		{"**", "a", true}, {"**", "a/b/c", true},
		{"nodes/**", "nodes/ab.jsonl", true}, {"nodes/**", "nodes/a/b", true}, {"nodes/**", "nodes", false}, {"nodes/**", "nodesx/a", false}, {"nodes/**", "a/nodes/b", false},
		{"fleet.cue", "fleet.cue", true}, {"fleet.cue", "a/fleet.cue", false},
		{"*.cue", "a.cue", true}, {"*.cue", "a/b.cue", false}, {"policies/*.cue", "policies/a.cue", true}, {"policies/*.cue", "policies/x/a.cue", false},
		{"policies/**/web.cue", "policies/web.cue", true}, {"policies/**/web.cue", "policies/a/b/web.cue", true}, {"policies/**/web.cue", "policies/a/b/db.cue", false},
		{"**/web.cue", "web.cue", true}, {"**/a/**", "x/a/b", true}, {"**/a/**", "x/a", false},
		{"a[0-9].cue", "a7.cue", true}, {"a[", "a[", false}, {"a?", "ab", true}, {"a?", "a/", false},
		{"**/**/**/**/**/**/**/**/**/**/**/**/**/**/**/**/x", "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t", false},
	} {
		if got := Match(tt.pattern, tt.path); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.pattern, tt.path, got)
		}
	}
}

func TestOwners(t *testing.T) {
	usual := map[string]schema.Role{"root": {Paths: rootPaths(), Threshold: 1}, "policy": {Paths: []string{"**"}, Threshold: 1}}
	teams := map[string]schema.Role{
		"root": {Paths: []string{"fleet.cue"}}, "policy": {Paths: []string{"**"}}, "web": {Paths: []string{"policies/web/**", "nodes/*", "fleet.c*"}},
		"db": {Paths: []string{"policies/web/**", "policies/db.cue"}}, "hosts": {Paths: []string{"nodes/**"}}, "enrol": {Paths: []string{"nodes/**"}, Activations: []string{"act-x"}},
		"greedy": {Paths: []string{"grants/a.cue", "activations/*", "**/*.cue", "Fleet.cue"}},
	}
	for _, tt := range []struct {
		roles map[string]schema.Role
		path  string
		want  []string
	}{
		{usual, "fleet.cue", []string{"root"}}, {usual, "nodes/ab.jsonl", []string{"root"}}, {usual, "cue.mod/module.cue", []string{"root"}},
		{usual, "policies/a.cue", []string{"policy"}}, {usual, "grants/deep/a.cue", []string{"root"}}, {usual, "a/fleet.cue", []string{"policy"}},
		{usual, "FLEET.cue", []string{"root"}}, {usual, "Grants/a.cue", []string{"root"}},
		{teams, "policies/web/a.cue", []string{"db", "web"}}, {teams, "policies/db.cue", []string{"db"}}, {teams, "windows/a.cue", []string{"greedy", "policy"}},
		{teams, "README.md", []string{"policy"}},
		// root's own paths are got by their names only.
		{teams, "fleet.cue", []string{"root"}}, {teams, "nodes/ab.jsonl", []string{"hosts"}}, {teams, "grants/a.cue", []string{"root"}}, {teams, "activations/a.cue", []string{"root"}},
		{teams, "schema.cue", []string{"root"}},
		{map[string]schema.Role{}, "a.cue", []string{"root"}}, {map[string]schema.Role{"a": {Paths: []string{"x/**"}}}, "y", []string{"root"}},
	} {
		if got := Owners(tt.roles, tt.path); !slices.Equal(got, tt.want) {
			t.Errorf("Owners(%q) = %v, want %v", tt.path, got, tt.want)
		}
	}
}
