package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/reconciler/kind/kindtest"
	"github.com/dunlin-dev/dunlin/reconciler/kind/port"
	"github.com/dunlin-dev/dunlin/schema"
)

// netns is a network namespace of the test's own, without a name, gone when the test ends.
type netns struct {
	fd *os.File
}

// newNetns makes a network namespace with loopback up.
func newNetns(t testing.TB) netns {
	t.Helper()
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("this test needs %s: apt-get install iproute2 nftables", tool)
		}
	}
	var n netns
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("this test needs root and network namespaces: %w", err)
		}
		var err error
		n.fd, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.fd.Close() })
	n.run(t, "ip link set lo up")
	return n
}

// onThread runs f on a thread that ends with it.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}

// in runs f inside the namespace; sockets and children it makes are there.
func (n netns) in(t testing.TB, f func() error) error {
	t.Helper()
	return onThread(func() error {
		if err := unix.Setns(int(n.fd.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

func (n netns) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.fd.Fd()) }

// run runs commands, one a line, inside the namespace.
func (n netns) run(t testing.TB, lines string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(lines) {
		err := n.in(t, func() error {
			f := strings.Fields(line)
			if len(f) == 0 {
				return nil
			}
			b, err := exec.Command(f[0], f[1:]...).CombinedOutput()
			out.Write(b)
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.TrimSpace(line), err, out.String())
		}
	}
	return out.String()
}

func (n netns) nft(t testing.TB, rules string) string {
	t.Helper()
	var out []byte
	err := n.in(t, func() (err error) {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		out, err = cmd.CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	return string(out)
}

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

// network is a host and its neighbour, and behind the host a container.
type network struct {
	host, neighbour, container netns
	kind                       *port.Kind
}

func newNetwork(t testing.TB) network {
	t.Helper()
	w := network{host: newNetns(t), neighbour: newNetns(t), container: newNetns(t)}
	w.host.run(t, `ip link add h0 type veth peer name n0
		ip link set n0 netns `+w.neighbour.path()+`
		ip link add h1 type veth peer name c0
		ip link set c0 netns `+w.container.path()+`
		ip addr add 10.9.0.1/24 dev h0
		ip addr add fd09::1/64 dev h0 nodad
		ip addr add fe80::1/64 dev h0 nodad
		ip addr add 10.8.0.1/24 dev h1
		ip addr add fd08::1/64 dev h1 nodad
		ip addr add fe80::1/64 dev h1 nodad
		ip link set h0 up
		ip link set h1 up
		sysctl -q -w net.ipv4.ip_forward=1
		sysctl -q -w net.ipv6.conf.all.forwarding=1`)
	w.neighbour.run(t, `ip addr add 10.9.0.2/24 dev n0
		ip addr add 10.9.0.3/24 dev n0
		ip addr add fd09::2/64 dev n0 nodad
		ip addr add fd09::3/64 dev n0 nodad
		ip addr add fe80::2/64 dev n0 nodad
		ip link set n0 up
		ip route add default via 10.9.0.1
		ip -6 route add default via fd09::1`)
	w.container.run(t, `ip addr add 10.8.0.2/24 dev c0
		ip addr add fd08::2/64 dev c0 nodad
		ip addr add fe80::2/64 dev c0 nodad
		ip link set c0 up
		ip route add default via 10.8.0.1
		ip -6 route add default via fd08::1`)
	w.kind = &port.Kind{Host: nsHost{t: t, ns: w.host}}
	return w
}

// serve listens on a port in a namespace, both protocols and IP versions, and echoes.
func (n netns) serve(t testing.TB, p int) {
	t.Helper()
	err := n.in(t, func() error {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", p))
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { io.Copy(c, c); c.Close() }()
			}
		}()
		// One socket an address, so that answers come from the one that was asked.
		ifs, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, i := range ifs {
			addrs, err := i.Addrs()
			if err != nil {
				return err
			}
			for _, a := range addrs {
				at := &net.UDPAddr{IP: a.(*net.IPNet).IP, Port: p}
				if at.IP.IsLinkLocalUnicast() {
					at.Zone = strconv.Itoa(i.Index)
				}
				u, err := net.ListenUDP("udp", at)
				if errors.Is(err, unix.EADDRNOTAVAIL) {
					continue // a link-local address that is still being probed
				}
				if err != nil {
					return err
				}
				t.Cleanup(func() { u.Close() })
				go func() {
					b := make([]byte, 64)
					for {
						n, from, err := u.ReadFrom(b)
						if err != nil {
							return
						}
						u.WriteTo(b[:n], from)
					}
				}()
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// patience is how long an answer is waited for that a dropped packet never gives.
const patience = 400 * time.Millisecond

// reaches tells whether a connection or, for udp, an echo comes through. from is the own address, or empty.
func (n netns) reaches(t testing.TB, protocol, from, to string) bool {
	t.Helper()
	return n.in(t, func() error {
		d := net.Dialer{Timeout: patience}
		if from != "" {
			if d.LocalAddr = net.Addr(&net.TCPAddr{IP: net.ParseIP(from)}); protocol == "udp" {
				d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
			}
		}
		c, err := d.Dial(protocol, to)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		return echo(c)
	}) == nil
}

func echo(c net.Conn) error {
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 4))
	return err
}

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

// ruleset is `nft -j list ruleset`.
func (w network) ruleset(t *testing.T) []map[string]any {
	t.Helper()
	var v struct {
		Nftables []map[string]any `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(w.host.run(t, "nft -j list ruleset")), &v); err != nil {
		t.Fatal(err)
	}
	return v.Nftables
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

func TestAnUnconfirmedBlockIsDroppedByTheKernel(t *testing.T) {
	w := newNetwork(t)
	w.host.serve(t, 23)
	w.kind.Timeout = 3 * time.Second
	mustApply(t, w.kind, blocks("in/tcp/23/any"))
	if w.neighbour.reaches(t, "tcp", "", "10.9.0.1:23") {
		t.Error("a block that is not confirmed does not hold")
	}
	until(t, "port 23 is open again", func() bool { return w.neighbour.reaches(t, "tcp", "", "10.9.0.1:23") })
	var gone *port.UnconfirmedError
	if err := w.kind.Confirm(t.Context(), blocks("in/tcp/23/any")); !errors.As(err, &gone) || gone.Block != "in/tcp/23/any" {
		t.Errorf("Confirm after its time = %v, want an UnconfirmedError", err)
	}
	if got := w.kind.Check(t.Context(), blocks("in/tcp/23/any"))[0]; len(got.Drift) != 1 || got.Drift[0].Got != "open" {
		t.Errorf("Check after its time = %+v, want open", got)
	}
	mustBlock(t, w.kind, "in/tcp/23/any")
	if left, intact, err := w.kind.Host.BlockedPorts(t.Context()); err != nil || !intact || left[*blockRes("in/tcp/23/any").Port] != 0 || len(left) != 1 {
		t.Errorf("after Confirm: %v, intact %v, %v; want one without an end", left, intact, err)
	}
}

func TestAPassThatWasKilledBeforeConfirmIsMadeGoodByTheNext(t *testing.T) {
	w := newNetwork(t)
	mustBlock(t, w.kind, "in/tcp/22/192.0.2.0/24")
	killed := &port.Kind{Host: w.kind.Host, Timeout: 30 * time.Second}
	mustApply(t, killed, blocks("in/tcp/23/any", "in/udp/23/10.0.0.0/8"))
	if got := killed.Check(t.Context(), blocks("in/tcp/23/any"))[0]; got.Drift != nil || got.Err != nil {
		t.Errorf("Check by who applied it = %+v, want nothing", got)
	}
	next := &port.Kind{Host: w.kind.Host}
	all := blocks("in/tcp/22/192.0.2.0/24", "in/tcp/23/any", "in/udp/23/10.0.0.0/8")
	got := next.Check(t.Context(), all)
	if got[0].Drift != nil || len(got[1].Drift) != 1 || got[1].Drift[0].Got != "unconfirmed" || len(got[2].Drift) != 1 {
		t.Fatalf("Check by the next pass = %+v, want two unconfirmed", got)
	}
	mustApply(t, next, all[1:])
	if left, _, _ := next.Host.BlockedPorts(t.Context()); left[*all[1].Port] < 60*time.Second {
		t.Errorf("applied again: %v left, want about 90 s", left[*all[1].Port])
	}
	if err := next.Confirm(t.Context(), all[1:]); err != nil {
		t.Fatal(err)
	}
	for i, c := range (&port.Kind{Host: w.kind.Host}).Check(t.Context(), all) {
		if c.Err != nil || c.Drift != nil {
			t.Errorf("Check(%s) after Confirm = %+v", all[i].Key, c)
		}
	}
}

func TestATableThatSomebodyChangedIsRebuilt(t *testing.T) {
	w := newNetwork(t)
	w.host.serve(t, 23)
	want := blocks("in/tcp/23/any", "in/tcp/24/10.0.0.0/8", "out/udp/25/any")
	for _, tt := range []struct{ name, nft string }{
		{"a rule in front lets everything pass", "insert rule inet dunlin prerouting accept"},
		{"a rule behind", "add rule inet dunlin prerouting accept"},
		{"all rules gone", "flush chain inet dunlin prerouting"},
		{"all elements gone", "flush set inet dunlin in"},
		{"one element gone", "delete element inet dunlin in { tcp . 23 }"},
		{"the table gone", "delete table inet dunlin"},
		{"a chain of theirs", "add chain inet dunlin theirs { type filter hook input priority 0; policy accept; }"},
		{"the policy of a chain", "add chain inet dunlin prerouting { policy drop; }"},
		{"the table asleep", "add table inet dunlin { flags dormant; }"},
		{"another version's table", "delete table inet dunlin; add table inet dunlin; add set inet dunlin in { type inet_service; elements = { 23 }; }; add chain inet dunlin prerouting { type filter hook prerouting priority 0; }; add rule inet dunlin prerouting tcp dport @in drop"},
		{"a set of theirs", "add set inet dunlin theirs { type ipv4_addr; }"},
		{"an element that is no network", "add element inet dunlin in4 { 192.0.2.1-192.0.2.6 . udp . 1 }"},
		{"an element of another protocol", "add element inet dunlin in { sctp . 1 }"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mustBlock(t, w.kind, "in/tcp/23/any", "in/tcp/24/10.0.0.0/8", "out/udp/25/any")
			w.host.nft(t, tt.nft)
			var drifted []schema.Resource
			for i, c := range w.kind.Check(t.Context(), want) {
				if c.Err != nil {
					t.Fatal(c.Err)
				}
				if len(c.Drift) > 0 {
					drifted = append(drifted, want[i])
				}
			}
			if len(drifted) == 0 {
				t.Fatal("Check sees no difference")
			}
			mustApply(t, w.kind, drifted)
			if err := w.kind.Confirm(t.Context(), drifted); err != nil {
				t.Fatal(err)
			}
			left, intact, err := w.kind.Host.BlockedPorts(t.Context())
			if err != nil || !intact || len(left) != 3 {
				t.Errorf("after Apply: %v, intact %v, %v", left, intact, err)
			}
			if w.neighbour.reaches(t, "tcp", "", "10.9.0.1:23") {
				t.Error("port 23 is open")
			}
			if got := w.host.run(t, "nft list ruleset"); strings.Contains(got, "theirs") || strings.Count(got, "table ") != 1 {
				t.Errorf("ruleset:\n%s", got)
			}
		})
	}
	// An element added by hand is a block of ours that no policy names.
	w.host.nft(t, "add element inet dunlin in { udp . 99-100 }")
	if stale, err := w.kind.Stale(t.Context(), want); err != nil || len(stale) != 1 || stale[0].Key != "in/udp/99-100/any" {
		t.Errorf("Stale = %+v, %v", stale, err)
	}
}

func TestTheRulesetReadsAsItIsMeant(t *testing.T) {
	w := newNetwork(t)
	mustBlock(t, w.kind, "in/tcp/23/any", "in/udp/6000-6063/10.0.0.0/8", "out/tcp/25/fd00::/8")
	mustApply(t, w.kind, blocks("in/tcp/7/any"))
	got := w.host.run(t, "nft -s -y list ruleset")
	for _, want := range []string{
		"type filter hook prerouting priority -110; policy accept;",
		"type filter hook output priority -110; policy accept;",
		`iif "lo" accept comment "loopback"`, `oif "lo" accept`,
		"ct state established,related accept",
		"fib daddr type unicast accept",
		"tcp flags != syn / syn,ack accept|tcp flags & (syn | ack) != syn accept",
		"meta l4proto . th dport @in counter drop",
		"meta l4proto . th dport @in_unconfirmed counter drop",
		"ip saddr . meta l4proto . th dport @in4 counter drop",
		"ip6 daddr . meta l4proto . th dport @out6 counter drop",
		"elements = { tcp . 23 }", "elements = { 10.0.0.0/8 . udp . 6000-6063 }", "elements = { fd00::/8 . tcp . 25 }", "tcp . 7 timeout",
	} {
		if !slices.ContainsFunc(strings.Split(want, "|"), func(alt string) bool { return strings.Contains(got, alt) }) {
			t.Errorf("not in the ruleset: %s\n%s", want, got)
		}
	}
	names := 0
	for _, e := range w.ruleset(t) {
		if r, ok := e["rule"].(map[string]any); ok && r["table"] == "dunlin" {
			names++
		}
	}
	if names != 4+4+3+2 {
		t.Errorf("%d rules, want 13:\n%s", names, got)
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

func TestAThousandBlocksGoInOneBatch(t *testing.T) {
	w := newNetwork(t)
	var keys []string
	for i := range 1000 {
		keys = append(keys, fmt.Sprintf("in/tcp/%d/any", 20000+i*3))
		if i%10 == 0 {
			keys = append(keys, fmt.Sprintf("in/udp/%d-%d/10.%d.0.0/16", i+1, i+500, i%256))
		}
	}
	mustBlock(t, w.kind, keys...)
	for i, c := range w.kind.Check(t.Context(), blocks(keys...)) {
		if c.Err != nil || c.Drift != nil {
			t.Fatalf("Check(%s) = %+v", keys[i], c)
		}
	}
	mustBlock(t, w.kind, "in/tcp/65535/any", "in/udp/1-65535/::/0", "in/tcp/1-65535/0.0.0.0/0")
	stale, err := w.kind.Stale(t.Context(), nil)
	if err != nil || len(stale) != len(keys)+3 {
		t.Fatalf("Stale = %d, %v, want %d", len(stale), err, len(keys)+3)
	}
	mustApply(t, w.kind, stale)
}

func TestPortConformance(t *testing.T) {
	w := newNetwork(t)
	bad := blockRes("in/tcp/22/any")
	w.kind.Protected = []port.Protection{{Ports: schema.PortRange{First: 22, Last: 22}, What: "ssh"}}
	h := nsHost{t: t, ns: w.host}
	want := blocks("in/tcp/23/any", "in/tcp/23-30/192.0.2.0/24", "in/udp/53/any", "out/tcp/25/fd00::/8")
	keep := blocks("in/tcp/99/any")
	kindtest.Run(t, kindtest.Case{
		Kind: w.kind, Resources: want, Bad: &bad,
		Break: func(t testing.TB) {
			if err := h.SetBlockedPorts(context.Background(), map[schema.BlockedPort]time.Duration{*keep[0].Port: 0}); err != nil {
				t.Fatal(err)
			}
		},
		Snapshot: func(t testing.TB) string { // handles tell whether anything was made anew
			var v struct {
				Nftables []map[string]any `json:"nftables"`
			}
			if err := json.Unmarshal([]byte(w.host.run(t, "nft -j list ruleset")), &v); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			for _, e := range v.Nftables {
				b, _ := json.Marshal(e)
				out.Write(dropExpiry(b))
				out.WriteByte('\n')
			}
			return out.String()
		},
		Crash: func(t testing.TB, step int) (crashed bool) {
			n := 0
			s := System{step: func(string) {
				if n++; n > step {
					panic("crash")
				}
			}}
			k := &port.Kind{Host: recoverHost{nsHost{t: t, ns: w.host, s: s}, &crashed}}
			k.Apply(t.Context(), want)
			return crashed
		},
		Whole: func(t testing.TB) {
			left, intact, err := h.BlockedPorts(context.Background())
			if err != nil || !intact || len(left) != 1 && len(left) != 1+len(want) {
				t.Errorf("after a crash: %v, intact %v, %v", left, intact, err)
			}
		},
	})
}

// recoverHost turns the panic of a crash into an error; it must be caught on the thread it happens on.
type recoverHost struct {
	nsHost
	crashed *bool
}

func (h recoverHost) SetBlockedPorts(ctx context.Context, left map[schema.BlockedPort]time.Duration) error {
	return h.ns.in(h.t, func() (err error) {
		defer func() {
			if recover() != nil {
				*h.crashed, err = true, errors.New("crash")
			}
		}()
		return h.s.SetBlockedPorts(ctx, left)
	})
}

// dropExpiry takes out the seconds that an element has left.
func dropExpiry(b []byte) []byte {
	s := string(b)
	for {
		i := strings.Index(s, `"expires":`)
		if i < 0 {
			return []byte(s)
		}
		j := i + len(`"expires":`)
		for j < len(s) && s[j] >= '0' && s[j] <= '9' {
			j++
		}
		s = s[:i] + s[j:]
	}
}

func TestWithoutTheRightToItTheErrorSaysWhatToDo(t *testing.T) {
	ns := newNetns(t)
	err := ns.in(t, func() error {
		// Only this thread loses the capability, and it ends with the function.
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capset(&hdr, &data[0]); err != nil {
			return err
		}
		_, _, err := System{}.BlockedPorts(context.Background())
		return err
	})
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(fmt.Sprint(err), "CAP_NET_ADMIN") {
		t.Errorf("BlockedPorts without capabilities = %v", err)
	}
	for _, errno := range []error{unix.EPROTONOSUPPORT, unix.EINVAL, unix.ENOENT, unix.EOPNOTSUPP} {
		if err := nftError("open netlink", errno); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "CONFIG_NF_TABLES") {
			t.Errorf("nftError(%v) = %v", errno, err)
		}
	}
}

func BenchmarkCheckPorts(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("blocks=%d", n), func(b *testing.B) {
			ns := newNetns(b)
			k := &port.Kind{Host: System{}}
			var keys []string
			for i := range n {
				keys = append(keys, fmt.Sprintf("in/tcp/%d/any", 1000+i))
			}
			rs := blocks(keys...)
			err := ns.in(b, func() error {
				if err := errors.Join(k.Apply(b.Context(), rs)...); err != nil {
					return err
				}
				if err := k.Confirm(b.Context(), rs); err != nil {
					return err
				}
				for b.Loop() {
					if c := k.Check(b.Context(), rs); c[0].Err != nil || c[0].Drift != nil {
						return fmt.Errorf("Check = %+v", c[0])
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
