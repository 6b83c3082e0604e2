package agent

import (
	"slices"
	"testing"

	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
)

// Who may change the policy alone gives the fleet no gossip key.
func TestGossipKeysAreOfRoot(t *testing.T) {
	roles := map[string]schema.Role{"policy": {Paths: []string{"**", "nodes/gossip/*"}, Threshold: 1}, "enrol": {Paths: []string{"nodes/**"}, Activations: []string{"act-x"}}}
	for _, path := range []string{GossipKeysFile, SealedKeyFile("00ff")} {
		if got := trust.Owners(roles, path); !slices.Equal(got, []string{trust.Root}) {
			t.Errorf("%s is of %v", path, got)
		}
	}
}
