package host

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/reconciler/kind/port"
	"github.com/dunlin-dev/dunlin/schema"
)

// portsWatch listens in a network namespace to changes that s did not make; what is told comes unmerged.
func portsWatch(t testing.TB, ns netns, s System) <-chan Drift {
	t.Helper()
	told := make(chan Drift, 1000)
	w := newPortWatch(newHints(), func(text string) { t.Error(text) }, s.own)
	w.tell = func(d Drift) { told <- d }
	must(t, ns.in(t, w.open))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return told
}

func next(t testing.TB, told <-chan Drift) Drift {
	t.Helper()
	select {
	case d := <-told:
		return d
	case <-time.After(heardIn):
		t.Fatal("nothing was told")
	}
	return Drift{}
}

// nftAs runs nft in the namespace and gives its process.
func (n netns) nftAs(t testing.TB, rules string) int {
	t.Helper()
	pid := 0
	must(t, n.in(t, func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		out, err := cmd.CombinedOutput()
		pid = cmd.Process.Pid
		if err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	}))
	return pid
}

func TestWhoChangesOurTableIsTold(t *testing.T) {
	ns := newNetns(t)
	s := NewSystem()
	told := portsWatch(t, ns, s)
	k := &port.Kind{Host: nsHost{t: t, ns: ns, s: s}}
	for _, tt := range []struct{ name, before, rules string }{
		{"its table deleted", "", "delete table inet dunlin"},
		{"everything flushed", "", "flush ruleset"},
		{"its table flushed", "", "flush table inet dunlin"},
		{"a chain added", "", "add chain inet dunlin x"},
		{"a rule added", "", "add rule inet dunlin in_ports accept"},
		{"an element deleted", "", "delete element inet dunlin %s { tcp . 23 }"},
		{"a chain deleted", "add chain inet dunlin x", "delete chain inet dunlin x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// What is our own, and what is of another table, is told of by nobody.
			mustBlock(t, k, "in/tcp/23/any")
			listed := ns.run(t, "nft list table inet dunlin")
			if tt.before != "" {
				ns.nft(t, tt.before)
				next(t, told)
			}
			ns.nft(t, "add table inet other\nadd table ip dunlin\nadd chain ip dunlin x\ndelete table ip dunlin\ndelete table inet other")
			rules := tt.rules
			if strings.Contains(rules, "%s") {
				rules = fmt.Sprintf(rules, firstSet(t, listed))
			}
			rules = strings.Replace(rules, "in_ports", firstChain(t, listed), 1)
			pid := ns.nftAs(t, rules)
			got := next(t, told)
			if want := regexp.MustCompile(fmt.Sprintf(`^nft \(pid %d( of \S+)?\)$`, pid)); got.Resource != driftPorts || !want.MatchString(got.Who) {
				t.Errorf("told %+v, want ports and process %d\n%s", got, pid, listed)
			}
			ns.nft(t, "add table inet dunlin\ndelete table inet dunlin")
			next(t, told)
		})
	}
	select {
	case d := <-told:
		t.Errorf("told %+v besides", d)
	default:
	}
}

func firstSet(t testing.TB, listed string) string { return firstName(t, listed, "set") }

func firstChain(t testing.TB, listed string) string { return firstName(t, listed, "chain") }

// firstName is the name of the first thing of a sort in nft's list, one that has elements if it is a set.
func firstName(t testing.TB, listed, sort string) string {
	t.Helper()
	name := ""
	for l := range strings.Lines(listed) {
		f := strings.Fields(l)
		if len(f) > 1 && f[0] == sort {
			name = f[1]
		}
		if name != "" && (sort == "chain" || len(f) > 0 && f[0] == "elements") {
			return name
		}
	}
	t.Fatalf("no %s in\n%s", sort, listed)
	return ""
}

func TestAnotherSystemIsNotOurs(t *testing.T) {
	ns := newNetns(t)
	told := portsWatch(t, ns, NewSystem())
	other := nsHost{t: t, ns: ns, s: NewSystem()}
	must(t, other.SetBlockedPorts(t.Context(), map[schema.BlockedPort]time.Duration{*blockRes("in/tcp/23/any").Port: 0}))
	if d := next(t, told); d.Resource != driftPorts || !strings.HasPrefix(d.Who, "host.test (pid ") {
		t.Errorf("told %+v, want ports and this test's process", d)
	}
}

// The queue of the socket runs over while nobody reads; what was lost is not known.
func TestLostChangesOfTheFirewallAreChangesOfPorts(t *testing.T) {
	ns := newNetns(t)
	told := make(chan Drift, 100_000)
	w := newPortWatch(newHints(), func(text string) { t.Error(text) }, nil)
	w.tell = func(d Drift) { told <- d }
	must(t, ns.in(t, w.open))
	must(t, w.conn.SetReadBuffer(4096))
	var rules strings.Builder
	rules.WriteString("add table inet other\n")
	for i := range 2000 {
		fmt.Fprintf(&rules, "add chain inet other c%d\n", i)
	}
	ns.nft(t, rules.String())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.run(ctx); close(done) }()
	if d := next(t, told); d != (Drift{Resource: driftPorts}) {
		t.Errorf("told %+v, want that ports may have changed", d)
	}
	// And it goes on.
	ns.nft(t, "add table inet dunlin")
	for next(t, told).Who == "" {
	}
	cancel()
	<-done
}

func TestTheUnitOfAProcess(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/cron.service\n":                                                         "cron.service",
		"0::/user.slice/user-0.slice/session-3.scope\n":                                           "session-3.scope",
		"0::/user.slice/user-0.slice/user@0.service/app.slice/run-1.scope/inner\n":                "run-1.scope",
		"12:cpu:/x.service\n1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n": "a.service",
		"0::/\n":                 "",
		"":                       "",
		"0::relative":            "",
		"0::/a\x1b[31mb.service": "a [31mb.service",
	} {
		if got := unitOfGroup(text); got != want {
			t.Errorf("unitOfGroup(%q) = %q, want %q", text, got, want)
		}
	}
	if got := processText("x\ny", 7, false); got != "x y" {
		t.Errorf("processText = %q", got)
	}
	if got := processText("", 0, true); got != "" {
		t.Errorf("processText of nobody = %q", got)
	}
}
