package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dunlin-dev/dunlin/reconciler/kind/kindtest"
	"github.com/dunlin-dev/dunlin/reconciler/kind/port"
	"github.com/dunlin-dev/dunlin/schema"
)

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
