package agenttest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// lone is a host without an agent, and a folder of policy.
type lone struct {
	t    *testing.T
	n    *agenttest.Node
	dir  string
	now  time.Time
	said []string
}

func newLone(t *testing.T) *lone {
	t.Helper()
	node, err := simulated.NewNode(t.TempDir(), simulated.Spec{Name: "lone"})
	if err != nil {
		t.Fatal(err)
	}
	l := &lone{t: t, n: &agenttest.Node{Node: node}, dir: t.TempDir(), now: time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC)}
	for path, text := range seenFiles() {
		if err := os.MkdirAll(filepath.Join(l.dir, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(l.dir, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func (l *lone) local() agent.Local {
	local := l.n.Local(load.InProcess(load.Options{}), func() time.Time { return l.now })
	l.said = nil
	local.Progress = func(s reconciler.Step) { l.said = append(l.said, s.Doing) }
	return local
}

// scan is what a scan says of openssl.
func (l *lone) scan() schema.Patch {
	l.t.Helper()
	got, err := l.local().Scan(l.t.Context(), l.dir, "")
	if err != nil || got.Problem != "" {
		l.t.Fatalf("scan: %s, %v", got.Problem, err)
	}
	for _, p := range got.Judgement.Patches {
		if p.ID == "openssl.amd64" {
			return p
		}
	}
	l.t.Fatalf("no openssl in %v", got.Judgement)
	return schema.Patch{}
}

func (l *lone) memory() string { return filepath.Join(l.n.State(), "sightings.json") }

func (l *lone) want(deployment schema.Deployment, reason string) {
	l.t.Helper()
	if p := l.scan(); p.Deployment != deployment || !strings.Contains(p.Reason, reason) {
		l.t.Errorf("at %s: %s %s, %s; want %s, %s", l.now.Format(time.RFC3339), p.State, p.Deployment, p.Reason, deployment, reason)
	}
}

func TestAHostAloneDatesByItsOwnSightings(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root writes sightings down; the rest is held elsewhere")
		return
	}
	l := newLone(t)
	offer(t, l.n, "1", "2")
	l.want(schema.Approved, "security update")
	if _, err := os.Stat(l.memory()); err != nil {
		t.Fatalf("nothing is remembered: %v", err)
	}
	l.now = l.now.Add(time.Hour)
	offer(t, l.n, "1", "3")
	// A dry run sees it, and writes nothing down.
	if _, err := l.local().Reconcile(t.Context(), l.dir, "", true); err != nil {
		t.Fatal(err)
	}
	l.now = l.now.Add(time.Hour)
	seen := l.now
	l.want(schema.PendingApproval, "3 waits until "+seen.Add(7*24*time.Hour).Format(time.RFC3339)+": first seen "+seen.Format(time.RFC3339))
	l.now = seen.Add(7 * 24 * time.Hour)
	l.want(schema.PendingApproval, "first seen "+seen.Format(time.RFC3339))
	l.now = l.now.Add(time.Second)
	l.want(schema.Approved, "")
	if p := l.scan(); p.Package.Version != "3" {
		t.Errorf("approved: %s", p.Title)
	}

	// A clock that is behind what was noted dates nothing new.
	offer(t, l.n, "1", "4")
	l.now = seen.Add(-time.Minute)
	l.want(schema.PendingApproval, "4 waits: the fleet has not seen it yet")
	if !strings.Contains(strings.Join(l.said, "\n"), "clock") {
		t.Errorf("said: %q", l.said)
	}
	// A damaged memory is not begun anew.
	l.now = seen.Add(30 * 24 * time.Hour)
	good, err := os.ReadFile(l.memory())
	if err != nil {
		t.Fatal(err)
	}
	for _, damage := range []string{"{", "null", `{"v":2}`, string(good[:len(good)/2]), strings.Replace(string(good), "openssl 3", "openssl\x7f3", 1)} {
		if err := os.WriteFile(l.memory(), []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		l.want(schema.PendingApproval, "4 waits: the fleet has not seen it yet")
		if !strings.Contains(strings.Join(l.said, "\n"), "is damaged") {
			t.Errorf("%q: said %q", damage, l.said)
		}
		if b, err := os.ReadFile(l.memory()); err != nil || string(b) != damage {
			t.Errorf("%q was written over: %q, %v", damage, b, err)
		}
	}
	if err := os.WriteFile(l.memory(), good, 0o600); err != nil {
		t.Fatal(err)
	}
	// A reconcile remembers as a scan does.
	if _, err := l.local().Reconcile(t.Context(), l.dir, "", false); err != nil {
		t.Fatal(err)
	}
	noted := l.now
	l.now = l.now.Add(48 * time.Hour)
	l.want(schema.PendingApproval, "4 waits until "+noted.Add(7*24*time.Hour).Format(time.RFC3339))
}
