package port

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// fakeHost holds blocks in a map.
type fakeHost struct {
	left     map[schema.BlockedPort]time.Duration
	altered  bool
	err      error
	sessions []schema.SSHSession
	sets     int
}

func (h *fakeHost) BlockedPorts(context.Context) (map[schema.BlockedPort]time.Duration, bool, error) {
	return maps.Clone(h.left), !h.altered, h.err
}

func (h *fakeHost) SetBlockedPorts(_ context.Context, left map[schema.BlockedPort]time.Duration) error {
	h.left, h.altered = maps.Clone(left), false
	h.sets++
	return h.err
}

func (h *fakeHost) SSHSessions(context.Context) ([]schema.SSHSession, error) {
	return h.sessions, nil
}

func res(t testing.TB, key string) schema.Resource {
	t.Helper()
	f := strings.SplitN(key, "/", 4)
	p, err := schema.ParsePortRange(f[2])
	if err != nil {
		t.Fatal(err)
	}
	b := schema.BlockedPort{Direction: f[0], Protocol: f[1], Port: p, From: f[3]}
	return schema.Resource{Kind: schema.KindPort, Key: b.Key(), Mode: schema.Enforce, Port: &b}
}

func TestABlockThatCutsOffItsAuthorIsRefused(t *testing.T) {
	host := &fakeHost{left: map[schema.BlockedPort]time.Duration{}, sessions: []schema.SSHSession{
		{Port: 2222, Peer: netip.MustParseAddr("10.0.0.9")},
		{Port: 2223, Peer: netip.MustParseAddr("127.0.0.1")},
		{Port: 2224},
		{Port: 2225, Peer: netip.MustParseAddr("fe80::1%eth0")},
	}}
	k := &Kind{Host: host, Protected: []Protection{
		{Ports: schema.PortRange{First: 22, Last: 22}, Protocol: "tcp", Direction: "in", What: "SSH"},
		{Ports: schema.PortRange{First: 7950, Last: 7951}, What: "gossip"},
		{Ports: schema.PortRange{First: 443, Last: 443}, Protocol: "tcp", Direction: "out", What: "the Git remote"},
	}}
	for _, tt := range []struct {
		key  string
		what string // of the refusal; empty permits
	}{
		{"in/tcp/22/any", "SSH"},
		{"in/tcp/1-65535/192.0.2.0/24", "SSH"}, // also from elsewhere: it carries the fleet
		{"in/udp/22/any", ""},
		{"out/tcp/22/any", ""},
		{"in/tcp/23-2221/any", ""},
		{"in/tcp/2000-3000/any", "10.0.0.9"},
		{"in/tcp/2222/10.0.0.0/8", "10.0.0.9"},
		{"in/tcp/2222/10.0.1.0/24", ""},
		{"in/tcp/2222/fd00::/8", ""},
		{"in/tcp/2223/any", ""}, // over loopback, which is never blocked
		{"in/tcp/2224/10.0.1.0/24", "session"},
		{"in/tcp/2225/fe80::/10", "fe80::1"},
		{"in/udp/2222/any", ""},
		{"out/tcp/2222/any", ""},
		{"in/udp/7951/any", "gossip"},
		{"out/tcp/7950/any", "gossip"},
		{"out/tcp/443/any", "Git"},
		{"in/tcp/443/any", ""},
	} {
		t.Run(tt.key, func(t *testing.T) {
			r := res(t, tt.key)
			clear(host.left)
			err := k.Apply(t.Context(), []schema.Resource{r})[0]
			var lockout *LockoutError
			if errors.As(err, &lockout) != (tt.what != "") || tt.what != "" && !strings.Contains(err.Error(), tt.what) {
				t.Errorf("Apply = %v, want a refusal for %q", err, tt.what)
			}
			if tt.what != "" && (len(host.left) != 0 || !lockout.Denied()) {
				t.Errorf("refused, yet blocked: %v", host.left)
			}
			r.AllowLockout = true
			if err := k.Apply(t.Context(), []schema.Resource{r})[0]; err != nil || len(host.left) != 1 {
				t.Errorf("with allowLockout: %v, %v", err, host.left)
			}
		})
	}
}

func TestOnlyWhatIsProvisionalIsConfirmed(t *testing.T) {
	a, b, c := res(t, "in/tcp/1/any"), res(t, "in/tcp/2/any"), res(t, "in/tcp/3/any")
	host := &fakeHost{left: map[schema.BlockedPort]time.Duration{*a.Port: 0}}
	k := &Kind{Host: host}
	if err := k.Confirm(t.Context(), []schema.Resource{a}); err != nil || host.sets != 0 {
		t.Errorf("Confirm of what is permanent = %v, %d writes", err, host.sets)
	}
	host.left[*b.Port] = time.Second
	err := k.Confirm(t.Context(), []schema.Resource{a, b, c})
	var gone *UnconfirmedError
	if !errors.As(err, &gone) || gone.Block != c.Key || host.left[*b.Port] != 0 || len(host.left) != 2 || host.sets != 1 {
		t.Errorf("Confirm = %v, left %v; want 2 confirmed and 3 missed", err, host.left)
	}
}

func TestTwoSpellingsOfANetworkAreOneBlock(t *testing.T) {
	host := &fakeHost{left: map[schema.BlockedPort]time.Duration{}}
	k := &Kind{Host: host}
	r := res(t, "in/tcp/1/10.1.2.3/8")
	if err := k.Apply(t.Context(), []schema.Resource{r})[0]; err != nil || len(host.left) != 1 {
		t.Fatal(err, host.left)
	}
	if stale, err := k.Stale(t.Context(), []schema.Resource{res(t, "in/tcp/1/10.0.0.0/8")}); err != nil || len(stale) != 0 {
		t.Errorf("Stale = %v, %v", stale, err)
	}
}

func TestWhatIsNoBlockIsRefused(t *testing.T) {
	for _, b := range []*schema.BlockedPort{
		nil,
		{Protocol: "tcp", Direction: "in", From: "any"},
		{Port: schema.PortRange{First: 2, Last: 1}, Protocol: "tcp", Direction: "in", From: "any"},
		{Port: schema.PortRange{First: 1, Last: 1}, Protocol: "sctp", Direction: "in", From: "any"},
		{Port: schema.PortRange{First: 1, Last: 1}, Protocol: "tcp", Direction: "both", From: "any"},
		{Port: schema.PortRange{First: 1, Last: 1}, Protocol: "tcp", Direction: "in", From: "::ffff:10.0.0.0/104"},
		{Port: schema.PortRange{First: 1, Last: 1}, Protocol: "tcp", Direction: "in", From: "10.0.0.1"},
	} {
		host := &fakeHost{left: map[schema.BlockedPort]time.Duration{}}
		k := &Kind{Host: host}
		rs := []schema.Resource{{Kind: schema.KindPort, Key: "bad", Mode: schema.Enforce, Port: b}, res(t, "in/tcp/9/any")}
		errs, got := k.Apply(t.Context(), rs), k.Check(t.Context(), rs)
		if errs[0] == nil || errs[1] != nil || len(host.left) != 1 || got[0].Err == nil || got[1].Err != nil {
			t.Errorf("%+v: Apply %v, Check %+v, host %v; want the first refused, the second done", b, errs, got, host.left)
		}
	}
}

func TestAHostThatCannotIsNamedForEachBlock(t *testing.T) {
	k := &Kind{Host: &fakeHost{err: errors.New("no nf_tables")}}
	rs := []schema.Resource{res(t, "in/tcp/1/any"), res(t, "in/tcp/2/any")}
	for i, c := range k.Check(t.Context(), rs) {
		if c.Err == nil || !strings.Contains(c.Err.Error(), rs[i].Key) {
			t.Errorf("Check = %v", c.Err)
		}
	}
	if errs := k.Apply(t.Context(), rs); errs[0] == nil || errs[1] == nil {
		t.Errorf("Apply = %v", errs)
	}
	if _, err := k.Stale(t.Context(), nil); err == nil {
		t.Error("Stale: no error")
	}
}
