package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/reconciler/kind/port"
	"github.com/dunlin-dev/dunlin/schema"
)

// nsHost is the real host inside a namespace.
type nsHost struct {
	t  testing.TB
	ns netns
	s  System
	// ssh replaces the sessions of this machine, which are not the test's.
	ssh []schema.SSHSession
}

func (h nsHost) BlockedPorts(ctx context.Context) (left map[schema.BlockedPort]time.Duration, intact bool, err error) {
	err = h.ns.in(h.t, func() (err error) {
		left, intact, err = h.s.BlockedPorts(ctx)
		return err
	})
	return left, intact, err
}

func (h nsHost) SetBlockedPorts(ctx context.Context, left map[schema.BlockedPort]time.Duration) error {
	return h.ns.in(h.t, func() error { return h.s.SetBlockedPorts(ctx, left) })
}

func (h nsHost) SSHSessions(context.Context) ([]schema.SSHSession, error) { return h.ssh, nil }

var _ port.Host = System{}

func blockRes(key string) schema.Resource {
	f := strings.SplitN(key, "/", 4)
	p, err := schema.ParsePortRange(f[2])
	if err != nil {
		panic(err)
	}
	b := schema.BlockedPort{Direction: f[0], Protocol: f[1], Port: p, From: f[3]}
	return schema.Resource{Kind: schema.KindPort, Key: b.Key(), Mode: schema.Enforce, Policy: "p", Port: &b}
}

func blocks(keys ...string) []schema.Resource {
	var rs []schema.Resource
	for _, k := range keys {
		rs = append(rs, blockRes(k))
	}
	return rs
}

func mustApply(t testing.TB, k *port.Kind, rs []schema.Resource) {
	t.Helper()
	if err := errors.Join(k.Apply(t.Context(), rs)...); err != nil {
		t.Fatal(err)
	}
}

func mustBlock(t testing.TB, k *port.Kind, keys ...string) {
	t.Helper()
	mustApply(t, k, blocks(keys...))
	if err := k.Confirm(t.Context(), blocks(keys...)); err != nil {
		t.Fatal(err)
	}
}

func TestABlockedPortIsClosedToTheNeighbourAndNoOther(t *testing.T) {
	w := newNetwork(t)
	for _, p := range []int{23, 24, 6000, 6010, 7001} {
		w.host.serve(t, p)
	}
	index, _, _ := strings.Cut(w.neighbour.run(t, "ip -o link show n0"), ":")
	linkLocal := "[fe80::1%" + index + "]"
	addrs := []string{"10.9.0.1", "[fd09::1]", linkLocal}
	wantReach := func(protocol, addr string, p int, want bool) {
		t.Helper()
		if got := w.neighbour.reaches(t, protocol, "", fmt.Sprintf("%s:%d", addr, p)); got != want {
			t.Errorf("neighbour reaches %s %s port %d: %v, want %v", protocol, addr, p, got, want)
		}
	}
	for _, a := range addrs {
		for _, p := range []int{23, 24, 6000, 6010, 7001} {
			wantReach("tcp", a, p, true)
			wantReach("udp", a, p, true)
		}
	}
	mustBlock(t, w.kind, "in/tcp/23/any", "in/tcp/6000-6063/any", "in/tcp/6010/any", "in/udp/7001/any")
	for _, a := range addrs {
		for _, p := range []int{23, 6000, 6010} {
			wantReach("tcp", a, p, false)
			wantReach("udp", a, p, true)
		}
		wantReach("tcp", a, 24, true)
		wantReach("tcp", a, 7001, true)
		wantReach("udp", a, 7001, false)
	}
	for _, a := range []string{"127.0.0.1:23", "[::1]:23", "10.9.0.1:23", "[fd09::1]:23"} {
		if !w.host.reaches(t, "tcp", "", a) {
			t.Errorf("the host does not reach itself at %s: loopback is to stay open", a)
		}
	}
	if got := w.kind.Check(t.Context(), blocks("in/tcp/23/any", "in/tcp/24/any")); got[0].Drift != nil || len(got[1].Drift) != 1 ||
		got[1].Drift[0] != (schema.Difference{Action: schema.Block, Want: "blocked", Got: "open"}) {
		t.Errorf("Check(23, 24) = %+v, want none and block", got)
	}

	// Drops are counted, and the counters outlive a rebuild of the rules.
	if before := w.dropped(t); before == 0 {
		t.Error("nothing was counted")
	} else if mustBlock(t, w.kind, "in/tcp/25/10.9.0.0/24"); w.dropped(t) < before {
		t.Errorf("counted %d before a change and %d after it", before, w.dropped(t))
	}

	// What leaves the policy is opened; with the last one the table goes.
	stale, err := w.kind.Stale(t.Context(), blocks("in/tcp/23/any"))
	if err != nil || len(stale) != 4 || stale[0].Key != "in/tcp/25/10.9.0.0/24" || !stale[0].Released {
		t.Fatalf("Stale = %+v, %v", stale, err)
	}
	if got := w.kind.Check(t.Context(), stale)[0].Drift; len(got) != 1 || got[0] != (schema.Difference{Action: schema.Unblock, Want: "open", Got: "blocked"}) {
		t.Errorf("Check(released) = %+v", got)
	}
	mustApply(t, w.kind, stale)
	wantReach("tcp", "10.9.0.1", 6010, true)
	wantReach("tcp", "10.9.0.1", 23, false)
	stale, err = w.kind.Stale(t.Context(), nil)
	if err != nil || len(stale) != 1 {
		t.Fatalf("Stale(nothing wanted) = %+v, %v", stale, err)
	}
	mustApply(t, w.kind, stale)
	wantReach("tcp", "[fd09::1]", 23, true)
	if got := w.host.run(t, "nft list tables"); strings.Contains(got, "dunlin") {
		t.Errorf("tables after the last block went: %s", got)
	}
}

// dropped is the sum of our counters.
func (w network) dropped(t *testing.T) (packets int) {
	t.Helper()
	for _, r := range w.ruleset(t) {
		if e, ok := r["rule"].(map[string]any); ok && e["table"] == "dunlin" {
			for _, x := range e["expr"].([]any) {
				if c, ok := x.(map[string]any)["counter"].(map[string]any); ok {
					packets += int(c["packets"].(float64))
				}
			}
		}
	}
	return packets
}

func TestAnEstablishedConnectionSurvivesABlock(t *testing.T) {
	w := newNetwork(t)
	w.host.serve(t, 23)
	for _, to := range []string{"10.9.0.1:23", "[fd09::1]:23"} {
		var c net.Conn
		if err := w.neighbour.in(t, func() (err error) { c, err = net.DialTimeout("tcp", to, patience); return err }); err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		mustBlock(t, w.kind, "in/tcp/23/any")
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if err := echo(c); err != nil {
			t.Errorf("connection to %s from before the block: %v", to, err)
		}
		if w.neighbour.reaches(t, "tcp", "", to) {
			t.Errorf("a new connection to %s comes through", to)
		}
		mustApply(t, w.kind, []schema.Resource{func() schema.Resource { r := blockRes("in/tcp/23/any"); r.Released = true; return r }()})
	}
}

func TestAPublishedPortOfAContainerIsBlockedAndForwardedTrafficIsNot(t *testing.T) {
	w := newNetwork(t)
	w.container.serve(t, 80)
	w.host.nft(t, `table ip foreign { chain pre { type nat hook prerouting priority -100; ip daddr 10.9.0.1 tcp dport 8080 dnat to 10.8.0.2:80; }; };
		table ip6 foreign { chain pre { type nat hook prerouting priority -100; ip6 daddr fd09::1 tcp dport 8080 dnat to [fd08::2]:80; }; };`)
	before := w.host.run(t, "nft -s list table ip foreign")
	wantReach := func(to string, want bool) {
		t.Helper()
		if got := w.neighbour.reaches(t, "tcp", "", to); got != want {
			t.Errorf("neighbour reaches %s: %v, want %v", to, got, want)
		}
	}
	for _, a := range []string{"10.9.0.1:8080", "[fd09::1]:8080", "10.8.0.2:80", "[fd08::2]:80"} {
		wantReach(a, true)
	}
	mustBlock(t, w.kind, "in/tcp/8080/any", "in/tcp/80/any")
	wantReach("10.9.0.1:8080", false)
	wantReach("[fd09::1]:8080", false)
	wantReach("10.8.0.2:80", true) // routed through the host, not for it
	wantReach("[fd08::2]:80", true)
	if after := w.host.run(t, "nft -s list table ip foreign"); after != before {
		t.Errorf("a table of somebody else changed from\n%s\nto\n%s", before, after)
	}
}

func TestABlockFromANetworkHoldsOnlyThere(t *testing.T) {
	w := newNetwork(t)
	w.host.serve(t, 23)
	mustBlock(t, w.kind, "in/tcp/23/10.9.0.2/32", "in/tcp/23/fd09::2/127", "in/udp/23/10.9.0.0/24", "in/udp/1-100/10.0.0.0/8")
	for _, tt := range []struct {
		protocol, from, to string
		want               bool
	}{
		{"tcp", "10.9.0.2", "10.9.0.1:23", false},
		{"tcp", "10.9.0.3", "10.9.0.1:23", true},
		{"tcp", "fd09::2", "[fd09::1]:23", false},
		{"tcp", "fd09::3", "[fd09::1]:23", false}, // fd09::2/127 holds ::2 and ::3
		{"udp", "10.9.0.3", "10.9.0.1:23", false},
		{"udp", "fd09::3", "[fd09::1]:23", true},
	} {
		if got := w.neighbour.reaches(t, tt.protocol, tt.from, tt.to); got != tt.want {
			t.Errorf("%s from %s to %s: %v, want %v", tt.protocol, tt.from, tt.to, got, tt.want)
		}
	}
}

func TestAnOutboundBlockHoldsForWhatTheHostSends(t *testing.T) {
	w := newNetwork(t)
	w.neighbour.serve(t, 25)
	w.host.serve(t, 25)
	mustBlock(t, w.kind, "out/tcp/25/any", "out/udp/25/10.9.0.2/32", "out/udp/25/fd09::2/128")
	for _, tt := range []struct {
		protocol, to string
		want         bool
	}{
		{"tcp", "10.9.0.2:25", false}, {"tcp", "[fd09::2]:25", false},
		{"udp", "10.9.0.2:25", false}, {"udp", "10.9.0.3:25", true},
		{"udp", "[fd09::2]:25", false}, {"udp", "[fd09::3]:25", true},
		{"tcp", "127.0.0.1:25", true},
	} {
		if got := w.host.reaches(t, tt.protocol, "", tt.to); got != tt.want {
			t.Errorf("host reaches %s %s: %v, want %v", tt.protocol, tt.to, got, tt.want)
		}
	}
	if !w.neighbour.reaches(t, "tcp", "", "10.9.0.1:25") {
		t.Error("an outbound block closes the inbound port")
	}
}

// until polls; the condition must come true by itself within ten seconds.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("within 10 s not: %s", what)
		case <-tick.C:
		}
	}
}

func TestNoConnectionComesThroughWhileBlocksChange(t *testing.T) {
	w := newNetwork(t)
	w.host.serve(t, 23)
	mustBlock(t, w.kind, "in/tcp/23/any")
	var through, tried atomic.Int64
	stop := make(chan struct{})
	done := make(chan error)
	go func() {
		done <- w.neighbour.in(t, func() error {
			// Datagrams of raw connects: a SYN each, never waited for.
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
				if err != nil {
					return err
				}
				unix.Connect(fd, &unix.SockaddrInet4{Port: 23, Addr: [4]byte{10, 9, 0, 1}})
				tried.Add(1)
				pfd := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
				if n, _ := unix.Poll(pfd, 1); n > 0 && pfd[0].Revents&unix.POLLERR == 0 {
					through.Add(1)
				}
				unix.Close(fd)
			}
		})
	}()
	for i := range 40 {
		key := fmt.Sprintf("in/tcp/%d/any", 1000+i)
		switch i % 4 {
		case 1:
			key = fmt.Sprintf("in/udp/23/10.%d.0.0/16", i)
		case 2:
			key = fmt.Sprintf("in/tcp/20-%d/any", 30+i) // one more layer: sets and rules are replaced
		case 3:
			w.host.nft(t, "add rule inet dunlin prerouting accept")
			key = "in/tcp/23/any"
		}
		mustBlock(t, w.kind, key)
		if i%4 == 2 {
			r := blockRes(key)
			r.Released = true
			mustApply(t, w.kind, []schema.Resource{r})
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if through.Load() != 0 || tried.Load() < 40 {
		t.Errorf("%d of %d connections came through", through.Load(), tried.Load())
	}
}
