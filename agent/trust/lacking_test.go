package trust

import (
	"fmt"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestLacking(t *testing.T) {
	f := schema.Fleet{
		Name: "acme",
		Roles: map[string]schema.Role{"root": {Paths: rootPaths()}, "policy": {Paths: []string{"**"}, Threshold: 2}, "beat": {Paths: []string{}},
			"enrol": {Paths: []string{"nodes/**"}, Activations: []string{"act-x"}}},
		Signers: map[string]schema.Signer{"alice": {Roles: []string{"root", "policy"}}, "bob": {Roles: []string{"policy"}}, "clock": {Roles: []string{"beat"}}, "gate": {Roles: []string{"enrol"}}},
	}
	for _, tt := range []struct {
		name, paths   string // paths of the change, by the letters below
		agreed        []string
		inVain, lacks string
	}{
		{"bob", "p", []string{"bob"}, "[]", "[policy 2 [bob] [alice] [policies/a.cue]]"},
		{"bob", "p", []string{"alice", "bob"}, "[]", "[]"},
		{"bob", "pf", []string{"alice", "bob"}, "[fleet.cue]", "[]"},
		{"bob", "pf", []string{"bob"}, "[fleet.cue]", "[policy 2 [bob] [alice] [policies/a.cue] root 1 [] [alice] [fleet.cue]]"},
		{"clock", "p", []string{"clock"}, "[policies/a.cue]", "[policy 2 [] [alice bob] [policies/a.cue]]"},
		{"clock", "", []string{"clock"}, "[]", "[policy 2 [] [alice bob] []]"},
		{"gate", "n", []string{"gate"}, "[]", "[]"},
		{"gate", "pn", []string{"gate"}, "[policies/a.cue]", "[policy 2 [] [alice bob] [policies/a.cue]]"},
		{"bob", "n", []string{"bob"}, "[nodes/ab.jsonl]", "[root 1 [] [alice] [nodes/ab.jsonl]]"},
		{"stranger", "p", nil, "[policies/a.cue]", "[policy 2 [] [alice bob] [policies/a.cue]]"},
	} {
		var paths []string
		for _, c := range tt.paths {
			paths = append(paths, map[rune]string{'p': "policies/a.cue", 'f': "fleet.cue", 'n': "nodes/ab.jsonl"}[c])
		}
		var lacks []any
		for _, l := range Lacking(f, paths, tt.agreed) {
			lacks = append(lacks, l.Role, l.Threshold, l.Agreed, l.People, l.Paths)
		}
		if got := fmt.Sprint(lacks); got != tt.lacks {
			t.Errorf("%v agree to %v: lacks %s, want %s", tt.agreed, paths, got, tt.lacks)
		}
		if got := fmt.Sprint(InVain(f, tt.name, paths)); got != tt.inVain {
			t.Errorf("%s to %v: in vain %s, want %s", tt.name, paths, got, tt.inVain)
		}
	}
	after := f
	after.Signers = map[string]schema.Signer{"alice": f.Signers["alice"], "bob": {Roles: []string{"root", "policy"}, Keys: []string{"k"}}}
	if BecomesRoot(f, f, "alice") || !BecomesRoot(f, after, "bob") || BecomesRoot(f, after, "clock") {
		t.Error("who becomes root by a change")
	}
}
