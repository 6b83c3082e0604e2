package agent

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/peer"
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

// The gossip key is given to active nodes of the roster, each in a text that it alone opens.
func TestTheGossipKeyIsGivenToActiveNodes(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	a := doorkeeper(t, &now)
	key := bytes.Repeat([]byte{9}, 32)
	a.ring = keyRing{File: key, Use: key}
	dirs := map[string]string{}
	hosts := map[string]identity.Keys{}
	known := map[string]string{a.keys.ID(): a.keys.TLSPin()} // to whom connections are open
	a.roster, a.pins = map[string]schema.RosterLine{}, map[string]string{}
	for _, name := range []string{"active", "other", "retired", "unpinned"} {
		dirs[name] = t.TempDir()
		k, err := identity.Open(dirs[name])
		if err != nil {
			t.Fatal(err)
		}
		hosts[name], known[k.ID()] = k, k.TLSPin()
		line := k.Line(name, "debian", nil, now)
		a.roster[k.ID()] = line
		if name == "active" || name == "other" {
			a.pins[k.ID()] = k.TLSPin()
		}
	}
	delete(a.roster, hosts["unpinned"].ID())
	a.pins[hosts["unpinned"].ID()] = hosts["unpinned"].TLSPin() // in no roster
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p, err := peer.New(peer.Config{Self: a.keys.ID(), Cert: a.keys.TLS, Pins: func() map[string]string { return known }, Listener: l, Store: a.records, Handler: http.HandlerFunc(a.giveKey)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx) }()
	defer func() { stop(); <-served }()
	ask := func(name, query string) (string, error) {
		_, text, err := peer.Get(t.Context(), l.Addr().String(), hosts[name].TLS, map[string]string{a.keys.ID(): a.keys.TLSPin()}, nil, "/v1/gossip-key"+query, 8<<10)
		return string(text), err
	}
	sealed, err := ask("active", "")
	if err != nil || !strings.HasPrefix(sealed, "-----BEGIN AGE ENCRYPTED FILE-----\n") {
		t.Fatalf("an active node is given %q, %v", sealed, err)
	}
	opens := func(name, of string) bool {
		b := &Agent{keys: hosts[name]}
		b.o.Config.State, b.policy = dirs[name], a.policy
		got, err := b.openKey([]byte(sealed), of)
		return err == nil && bytes.Equal(got, key)
	}
	if own := hosts["active"].ID(); !opens("active", own) || opens("other", own) || opens("other", hosts["other"].ID()) || opens("active", hosts["other"].ID()) {
		t.Error("the key that was given is not opened by the one node that it is for, or by others too")
	}
	if got, err := ask("active", "?id="+GossipKeyID(key)); err != nil || got == "" {
		t.Errorf("by its id: %q, %v", got, err)
	}
	for _, tt := range [][2]string{{"retired", ""}, {"unpinned", ""}, {"active", "?id=" + KeyOfFile}, {"active", "?id=" + strings.Repeat("0", 64)}} {
		if got, err := ask(tt[0], tt[1]); err == nil || !strings.Contains(err.Error(), "answers 404") {
			t.Errorf("%s asks for %q: %q, %v", tt[0], tt[1], got, err)
		}
	}
	a.ring = keyRing{}
	if _, err := ask("active", ""); err == nil || !strings.Contains(err.Error(), "answers 404") {
		t.Errorf("a node that has none: %v", err)
	}
}
