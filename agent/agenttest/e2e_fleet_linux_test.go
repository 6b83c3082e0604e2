package agenttest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/schema"
)

const fleetFile = `package fleet

fleet: {
	name: "e2e"
	sync: interval:    "1s"
	reports: interval: "1s"
}
`

// wanted is what every host of the fleet is to be; motd is a file's content.
func wanted(motd string) map[string]string {
	return map[string]string{
		"policies/base.cue": `package fleet

policy: "base": {
	targets: all: true
	blockedPorts: [{port: 23}]
	files: "/etc/motd": {content: "` + motd + `\n", mode: "0644", owner: "root", group: "root"}
	services: "probe.service": {running: true, enabled: true}
}
`,
	}
}

// patching is a window that is open now, and a baseline.
func patching(window string, more bool) map[string]string {
	return patchingAt(window, more, time.Now().Add(-time.Hour))
}

// patchingAt is patching with a window that opens at an instant.
func patchingAt(window string, more bool, opens time.Time) map[string]string {
	return map[string]string{
		"windows/now.cue": "package fleet\n\n" + strings.Replace(windowAt(opens), `"now"`, `"`+window+`"`, 1),
		"baselines/debian.cue": fmt.Sprintf(`package fleet

baseline: "debian": {
	operatingSystem: "DEBIAN"
	default: true
	approvalRules: [{filters: PRODUCT: ["*"], approveAfterDays: 0, enableNonSecurity: %t}]
}
`, more),
	}
}

// A push to a real Git server takes hold on real hosts, and what becomes of it is back in the repository, whatever fails
// in between.
func TestFleet(t *testing.T) {
	t.Parallel()
	f := newRealFleet(t)
	h1, h2, h3 := f.hosts[0], f.hosts[1], f.hosts[2]
	h1.Write("/etc/tb-broken.fixed", "", 0o644)
	h2.Write("/etc/tb-broken.fixed", "", 0o644)

	f.step("enrol", func(t *testing.T) {
		for _, h := range f.hosts {
			h.MustExec("systemctl", "start", "dunlin")
		}
		f.until("all say that the repository is empty", 20*time.Second, every(f.hosts, func(h *Host) bool {
			return strings.Contains(status(h).Remote.Error, "the repository is empty")
		}))
		f.git.Push(map[string]string{"fleet.cue": fleetFile})
		for _, h := range f.hosts {
			h.MustExec("dunlin", "sync") // it would look again in half a minute
		}
		// A host that the roster has not is told so, and nothing is done there.
		f.until("all say that they are not in the roster", 30*time.Second, every(f.hosts, func(h *Host) bool {
			return strings.Contains(strings.Join(status(h).Problems, "\n"), "dunlin node line")
		}))
		commit := f.git.Push(f.roster())
		t.Logf("in force on all after %v", f.inForce(commit, 20*time.Second, f.hosts...))
		t.Logf("all see all after %v more", f.whole(20*time.Second))
		if f.proxy() == 0 {
			t.Error("h2 does not go through the proxy that its environment names")
		}
	})

	f.step("push", func(t *testing.T) {
		for _, addr := range []string{h1.Addr4, h1.Addr6} {
			if !reachesWhenUp(h2, addr, 23, true) {
				t.Errorf("port 23 of %s is not open before any policy blocks it", addr)
			}
		}
		files := wanted("one")
		files["sinks/ops.cue"] = "package fleet\n\nsink: ops: url: \"exec:///usr/bin/true\"\n" // nothing uses it yet, and all are told so
		commit := f.git.Push(files)
		t.Logf("in force on all %v after the push", f.inForce(commit, 20*time.Second, f.hosts...))
		closed(t, f.hosts...)
		if got := h3.Read("/etc/motd"); got != "one\n" {
			t.Errorf("/etc/motd of h3 is %q", got)
		}
	})

	f.step("window", func(t *testing.T) {
		want := map[string]string{
			"tb-lib": "1.0-1+deb12u1", "tb-web": "2.4-1+deb12u1", "tb-kernel": "6.1.0-1+deb12u1", "tb-multi": "1.1-1", "tb-kept": "2.0-1+deb12u2",
			"tb-held": "3.0-1", "tb-feature": "5.0-1", "tb-slow": "1.0-1", "tb-conf": "1.2-1", "tb-third": "1.0-1",
		}
		opens := time.Now().Add(8 * time.Second).Truncate(time.Second)
		commit := f.git.Push(patchingAt("sunday", false, opens))
		f.inForce(commit, 60*time.Second, f.hosts...)
		may := opens // the first instant at which a host may begin
		if now := time.Now(); now.After(may) {
			may = now // this machine has much else to do
		}
		f.until("the window opens", 10*time.Second, func() bool {
			for _, h := range f.hosts {
				if got := versions(h)["tb-lib"]; got != "1.0-1" && time.Now().Before(opens) {
					t.Fatalf("%s has tb-lib %s before the window opens", h.Name, got)
				}
			}
			return time.Until(opens) < 100*time.Millisecond
		})
		t.Logf("installed everywhere %v later", f.until("updates installed", 60*time.Second, every(f.hosts, func(h *Host) bool {
			got := versions(h)
			for name, v := range want {
				if got[name] != v {
					return false
				}
			}
			return true
		})))
		soonest := time.Minute
		for _, h := range f.hosts {
			begun := logged(h, `"installing patches"`, `"sunday"`)
			if len(begun) == 0 || begun[0].Before(opens) {
				t.Fatalf("%s installs at %v for the window that opens at %v", h.Name, begun, opens)
			}
			soonest = min(soonest, begun[0].Sub(may))
		}
		if t.Logf("the first host begins %v after the window opens", soonest); soonest > 10*time.Second {
			t.Error("it is not the opening that hosts wait for")
		}
		took := f.reported("the install", 30*time.Second, func(h *Host, l schema.ReportLine) bool {
			return l.Commit == commit && l.Counts["FailedCount"] == failed(h) && l.Counts["InstalledCount"] >= 4
		})
		t.Logf("reported %v later", took)
		dir := f.verified(3)
		readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"h1", "h2", "h3", commit[:12]} {
			if !strings.Contains(string(readme), want) {
				t.Errorf("README.md of the reports does not say %q:\n%s", want, readme)
			}
		}
		// Any node answers for all, in the same words.
		for _, h := range f.hosts {
			if s := command[schema.FleetStatus](h, "status"); s.Node != h.Name || s.Commit != commit || s.Holds != 3 || s.Nodes[string(schema.Online)] != 3 || s.Remote.Head != commit || strings.Join(s.Idle, " ") != "sink" {
				t.Errorf("%s: status says %+v", h.Name, s)
			}
			for _, n := range command[[]schema.NodeView](h, "nodes") {
				if n.Status != schema.Online || n.Commit != commit || n.LastSeen.IsZero() {
					t.Errorf("%s: nodes says %+v", h.Name, n)
				}
			}
			for _, c := range command[[]schema.NodeCompliance](h, "compliance") {
				items := fmt.Sprint(c.Items)
				switch {
				case c.Type == "Policy" && c.State != schema.Compliant,
					c.Type == "Patch" && c.State != schema.NonCompliant, // tb-held is missing everywhere
					c.Type == "Patch" && !strings.Contains(items, "tb-held"),
					c.Type == "Patch" && strings.Contains(items, "tb-broken") != (c.Node == "h3"):
					t.Errorf("%s: compliance says %+v", h.Name, c)
				}
			}
			for _, other := range f.hosts {
				has := command[map[string][]struct{ Name, Version string }](h, "inventory", "--node", other.Name, "--type", "AWS:Application")["AWS:Application"]
				if !slices.Contains(has, struct{ Name, Version string }{"tb-lib", want["tb-lib"]}) {
					t.Errorf("%s: the inventory of %s has %d packages, and not tb-lib as it is there now", h.Name, other.Name, len(has))
				}
			}
		}
	})

	f.step("drift", func(t *testing.T) {
		for _, h := range f.hosts {
			for what, drift := range map[string][2]string{
				"file":     {"echo drift >/etc/motd", "grep -q one /etc/motd"},
				"firewall": {"nft delete table inet dunlin", "nft list table inet dunlin 2>/dev/null | grep -q 23"},
				"unit":     {"systemctl stop probe", "systemctl is-active -q probe"},
			} {
				took := mended(h, drift[0], drift[1])
				t.Logf("%s: %s put right after %v", h.Name, what, took)
				if took > 5*time.Second {
					t.Errorf("%s: %s put right after %v", h.Name, what, took)
				}
			}
		}
	})

	f.step("hostile commit", func(t *testing.T) {
		// Loops that would run for days: each host stops them at a limit, names the commit, and works on meanwhile.
		good := status(h1).Commit
		bomb := f.git.Push(map[string]string{"policies/bomb.cue": `package fleet

import "list"

_a: list.Range(0, 300, 1)
_n: len([for w in _a for x in _a for y in _a for z in _a if w*x*y*z == -1 {1}])
`})
		evaluating := func(h *Host) bool {
			_, _, code := h.Exec("pgrep", "-f", "internal-evaluate")
			return code == 0
		}
		f.until("h1 evaluates it", 20*time.Second, func() bool { return evaluating(h1) })
		took := mended(h1, "echo drift >/etc/motd", "grep -q one /etc/motd")
		if !evaluating(h1) {
			t.Error("the evaluation was over before drift was put right")
		}
		t.Logf("while it was evaluated, h1 put its file right after %v", took)
		var slowest time.Duration
		after := f.until("all refuse it and say why", 2*time.Minute, func() bool {
			all := true
			for _, h := range f.hosts {
				asked := time.Now()
				s := status(h)
				slowest = max(slowest, time.Since(asked))
				all = all && s.Commit == good && slices.ContainsFunc(s.Refused, func(r schema.RefusedCommit) bool {
					return r.Commit == bomb && r.Nodes == 3 && strings.Contains(r.Reason, "more than an evaluation may use")
				})
			}
			return all
		})
		t.Logf("refused everywhere %v after the push; status answered within %v", after, slowest)
		if slowest > 5*time.Second {
			t.Errorf("status was answered after %v", slowest)
		}
		last := f.git.Push(map[string]string{"policies/bomb.cue": "package fleet\n"})
		f.inForce(last, 30*time.Second, f.hosts...)
		f.until("nothing is refused any more", 20*time.Second, every(f.hosts, func(h *Host) bool { return len(status(h).Refused) == 0 }))
	})

	f.step("partition", func(t *testing.T) {
		h3.Isolate()
		others := []*Host{h1, h2}
		t.Logf("noticed after %v", f.until("h3 is lost", 45*time.Second, func() bool {
			return sees(f, h1, h3) == schema.ConnectionLost && sees(f, h2, h3) == schema.ConnectionLost &&
				sees(f, h3, h1) == schema.ConnectionLost && sees(f, h3, h2) == schema.ConnectionLost
		}))
		took := mended(h3, "echo drift >/etc/motd", "grep -q one /etc/motd")
		t.Logf("cut off, h3 put its file right after %v", took)
		commit := f.git.Push(wanted("two"))
		t.Logf("in force on the others %v after the push", f.inForce(commit, 20*time.Second, others...))
		if holds(h3, commit) {
			t.Error("h3 holds a commit that it cannot have seen")
		}
		// What it said last stays known, and is marked as old.
		if all := ask1(t, h1, func(c *api.Client, ctx context.Context) ([]schema.NodeCompliance, error) { return c.Compliance(ctx) }); !slices.ContainsFunc(all, func(c schema.NodeCompliance) bool { return c.Node == "h3" && c.Stale }) {
			t.Errorf("compliance on h1 does not mark h3 as stale: %+v", all)
		}
		h3.Heal()
		took = f.inForce(commit, 30*time.Second, h3)
		t.Logf("healed: in force on h3 after %v, all see all %v later", took, f.whole(30*time.Second-took))
	})

	f.step("mid-install", func(t *testing.T) {
		commit := f.git.Push(patching("monday", true))
		installing := func(h *Host) bool {
			_, _, code := h.Exec("sh", "-c", "dpkg-query -W -f '${db:Status-Status}' tb-slow | grep -qx half-configured")
			return code == 0
		}
		// The agent of h1 is killed and h2 loses its power while tb-slow is configured, for three seconds.
		var killed, cut bool
		f.until("both are in the middle of it", 60*time.Second, func() bool {
			if !killed && installing(h1) {
				h1.MustExec("systemctl", "kill", "-s", "KILL", "dunlin")
				killed = true
			}
			if !cut && installing(h2) {
				h2.Kill()
				cut = true
			}
			return killed && cut
		})
		h2.Start()
		t.Logf("installed on all %v later", f.until("all updates installed", 90*time.Second, every(f.hosts, func(h *Host) bool {
			got := versions(h)
			return got["tb-slow"] == "1.1-1" && got["tb-multi"] == "1.2-1" && got["tb-feature"] == "5.1-1"
		})))
		t.Logf("reported %v later", f.reported("what became of it", 60*time.Second, func(h *Host, l schema.ReportLine) bool {
			return l.Commit == commit && l.Counts["FailedCount"] == failed(h) && l.Counts["MissingCount"] == 1 // held
		}))
		for _, h := range f.hosts[:2] {
			if out := h.MustExec("dpkg", "--audit"); out != "" {
				t.Errorf("%s: dpkg --audit: %s", h.Name, out)
			}
		}
		f.verified(3)
		f.whole(30 * time.Second)
	})

	f.step("server down", func(t *testing.T) {
		const away = 2 * time.Minute
		f.git.Down()
		start := time.Now()
		f.until("all say that the server does not answer", 20*time.Second, every(f.hosts, func(h *Host) bool {
			return strings.Contains(status(h).Remote.Error, "cannot be reached")
		}))
		for _, h := range f.hosts {
			took := mended(h, "nft delete table inet dunlin", "nft list table inet dunlin 2>/dev/null | grep -q 23")
			t.Logf("%s: firewall put right after %v", h.Name, took)
		}
		f.until("the server has been away long enough", away+time.Second, func() bool {
			if !every(f.hosts, func(h *Host) bool { return status(h).Nodes[string(schema.Online)] == 3 })() {
				t.Fatal("nodes are lost because the server is")
			}
			return time.Since(start) > away
		})
		f.git.Up()
		commit := f.git.Push(wanted("three"))
		t.Logf("down for %v; in force on all %v after it was up", time.Since(start).Round(time.Second), f.inForce(commit, 5*time.Minute, f.hosts...)) // they look again more and more seldom
	})

	f.step("power cut", func(t *testing.T) {
		f.git.Down()
		commit := status(h1).Commit
		for _, h := range f.hosts {
			h.Kill()
		}
		for _, h := range f.hosts {
			// Somebody has had the disk meanwhile.
			if err := os.WriteFile(filepath.Join(h.Root(), "etc", "motd"), []byte("drift\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		for _, h := range f.hosts {
			h.Start()
		}
		f.inForce(commit, 20*time.Second, f.hosts...)
		for _, h := range f.hosts {
			if got := h.Read("/etc/motd"); got != "three\n" {
				t.Errorf("%s: /etc/motd is %q", h.Name, got)
			}
		}
		closed(t, f.hosts...)
		t.Logf("without the server the last good commit is in force on all %v after the first start", time.Since(start).Round(time.Millisecond))
		t.Logf("all see all after %v", f.whole(30*time.Second))
		f.git.Up()
		commit = f.git.Push(wanted("four"))
		ask1(t, h1, (*api.Client).Sync) // somebody waits for it
		f.inForce(commit, 30*time.Second, f.hosts...)
	})

	f.step("head to force", func(t *testing.T) {
		best, worst := time.Hour, time.Duration(0)
		for i := range 3 {
			commit := f.git.Push(wanted(fmt.Sprintf("round %d", i)))
			f.inForce(commit, 20*time.Second, f.hosts...)
			// By the agents' own logs, which have one clock here.
			var first, last time.Time
			for _, h := range f.hosts {
				for _, at := range logged(h, "fetching", commit) {
					if first.IsZero() || at.Before(first) {
						first = at
					}
				}
				for _, at := range logged(h, "change", "file:/etc/motd", "Changed") {
					if at.After(last) {
						last = at
					}
				}
			}
			took := last.Sub(first)
			t.Logf("from the first that holds the head until in force on all three: %v", took)
			best, worst = min(best, took), max(worst, took)
		}
		// The figure is 2 s; a round on a machine that does much else may take longer.
		if best > 2*time.Second || worst > 10*time.Second {
			t.Errorf("at best %v, at worst %v: want 2 s and 10 s at most", best, worst)
		}
	})

	f.step("upgrade", func(t *testing.T) {
		// The agents' next version comes with other updates, one of which is configured after it and takes its time.
		slow := filepath.Join(t.TempDir(), "tb-slow")
		for path, text := range map[string]string{
			"control":  "Package: tb-slow\nVersion: 1.3-1\nArchitecture: all\nMaintainer: testbed <root@localhost>\nDepends: dunlin (>= 0.2.0)\nDescription: comes after dunlin\n",
			"postinst": "#!/bin/sh\nsleep 3\n",
		} {
			if err := errors.Join(os.MkdirAll(filepath.Join(slow, "DEBIAN"), 0o755), os.WriteFile(filepath.Join(slow, "DEBIAN", path), []byte(text), 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := runHere("dpkg-deb", "--build", slow, f.debs+"/tb-slow_1.3-1_all.deb"); err != nil {
			t.Fatalf("dpkg-deb: %v: %s", err, out)
		}
		h1.PublishFile("security", f.debs+"/dunlin_0.2.0_amd64.deb")
		h1.PublishFile("security", f.debs+"/tb-slow_1.3-1_all.deb")
		commit := f.git.Push(patching("wednesday", true))
		during := map[string]bool{}
		f.until("all have both updates", 90*time.Second, func() bool {
			done := 0
			for _, h := range f.hosts {
				got := versions(h)
				if got["dunlin"] == "0.2.0" && got["tb-slow"] == "1.3-1" {
					done++
				} else if agentVersion(h) == "0.2.0" {
					during[h.Name] = true // what its predecessor began goes on
				}
			}
			return done == len(f.hosts)
		})
		if len(during) != len(f.hosts) {
			t.Errorf("the new agent ran before the transaction was over on %v, want on all", during)
		}
		f.until("the new version runs on all", 60*time.Second, every(f.hosts, func(h *Host) bool { return agentVersion(h) == "0.2.0" }))
		t.Logf("reported %v later", f.reported("the upgrade", 60*time.Second, func(h *Host, l schema.ReportLine) bool {
			return l.Commit == commit && l.Counts["MissingCount"] == 1 && l.Counts["FailedCount"] == failed(h)
		}))
		for _, h := range f.hosts[:2] {
			if out := h.MustExec("dpkg", "--audit"); out != "" {
				t.Errorf("%s: dpkg --audit: %s", h.Name, out)
			}
		}
		f.verified(3)
		f.whole(30 * time.Second)
	})

	f.step("bad input", func(t *testing.T) {
		// h3 does not know the server's key any more: it says which, and takes commits from the others.
		h3.Write("/etc/dunlin/known_hosts", "", 0o644)
		f.until("h3 names the key that it does not know", 20*time.Second, func() bool { return strings.Contains(status(h3).Remote.Error, f.git.Fingerprint) })
		last := f.git.Push(wanted("past ssh"))
		t.Logf("with an unknown host key: in force on all after %v", f.inForce(last, 30*time.Second, f.hosts...))
		f.credentials(h3)

		// The wrong authority on h1, the wrong password on h2.
		stranger := &GitServer{dir: t.TempDir()}
		if err := stranger.makeCertificate(); err != nil {
			t.Fatal(err)
		}
		h1.Write("/etc/dunlin/ca.pem", stranger.CA, 0o644)
		h2.Write("/etc/dunlin/git.credential", "dunlin:wrong\n", 0o600)
		f.until("h1 and h2 say what is wrong", 30*time.Second, func() bool {
			e1, e2 := status(h1).Remote.Error, status(h2).Remote.Error
			return strings.Contains(e1, "not known") && strings.Contains(e1, "CA file") && strings.Contains(e2, "401") && !strings.Contains(e2, "wrong")
		})
		f.credentials(h1)
		f.credentials(h2)
		for _, h := range f.hosts {
			ask1(t, h, (*api.Client).Sync)
		}
		f.until("all read the remote again", 30*time.Second, every(f.hosts, func(h *Host) bool { return status(h).Remote.Error == "" }))

		// Nobody may push any more: who writes reports says so, and nothing is lost.
		last = f.git.Push(wanted("read only"))
		f.git.SetReadOnly(true)
		f.inForce(last, 20*time.Second, f.hosts...)
		f.until("a reporter says that it may not push", 30*time.Second, func() bool {
			return slices.ContainsFunc(f.hosts, func(h *Host) bool { return strings.Contains(status(h).Reporter.Error, "access refused") })
		})
		f.git.SetReadOnly(false)
		t.Logf("after the remote was read-only: reported %v later", f.reported("what was kept back", 60*time.Second, func(h *Host, l schema.ReportLine) bool { return l.Commit == last }))

		// A commit with a fault is refused, and all name it.
		bad := f.git.Push(map[string]string{"windows/now.cue": "package fleet\n\nwindow: \"now\": {schedule: \"cron(0 2 ? * SUN *)\", duration: \"3 hours\", targets: all: true, tasks: {}}\n"})
		f.until("all name the fault", 20*time.Second, every(f.hosts, func(h *Host) bool {
			s := status(h)
			return s.Commit == last && slices.ContainsFunc(s.Refused, func(r schema.RefusedCommit) bool {
				return r.Commit == bad && r.Nodes == 3 && len(r.Faults) > 0 && r.Faults[0].File == "windows/now.cue" && strings.Contains(r.Faults[0].Message, "3 hours")
			})
		}))
		last = f.git.Push(patching("tuesday", true))
		f.inForce(last, 30*time.Second, f.hosts...)

		// A rewritten branch is refused, and mended by a commit upon what is in force.
		f.git.Git("reset", "-q", "--hard", "HEAD~2")
		rewritten := f.git.Commit(wanted("rewritten"))
		f.git.Git("push", "-q", "-f", "origin", "main")
		f.until("all refuse the rewritten branch", 20*time.Second, every(f.hosts, func(h *Host) bool {
			s := status(h)
			return s.Commit == last && slices.ContainsFunc(s.Refused, func(r schema.RefusedCommit) bool {
				return r.Commit == rewritten && r.Nodes == 3 && strings.Contains(r.Reason, "does not follow")
			})
		}))
		f.git.Git("reset", "-q", "--hard", last)
		last = f.git.Commit(wanted("mended"))
		f.git.Git("push", "-q", "-f", "origin", "main")
		f.inForce(last, 20*time.Second, f.hosts...)
		f.until("nothing is refused any more", 20*time.Second, every(f.hosts, func(h *Host) bool { return len(status(h).Refused) == 0 }))
		for _, h := range f.hosts {
			if n := len(logged(h, `"commit refused"`, rewritten)); n != 1 {
				t.Errorf("%s: refuses the rewritten branch %d times, want once", h.Name, n)
			}
		}

		// Another gossip key: h2 is alone and says so; the others go on.
		key := h2.Read("/etc/dunlin/gossip.key")
		h2.Write("/etc/dunlin/gossip.key", base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n", 0o600)
		h2.MustExec("systemctl", "restart", "dunlin")
		f.until("h2 is alone, and the others say so", 45*time.Second, func() bool {
			return sees(f, h1, h2) == schema.ConnectionLost && sees(f, h3, h2) == schema.ConnectionLost &&
				status(h1).Nodes[string(schema.Online)] == 2 && strings.Contains(strings.Join(status(h2).Problems, "\n"), "another gossip key")
		})
		if len(logged(h2, "another gossip key")) == 0 || len(logged(h1, "another gossip key")) == 0 {
			t.Error("the log does not say that there is another gossip key")
		}
		last = f.git.Push(wanted("two keys"))
		t.Logf("with a gossip key of its own on h2: in force on all after %v", f.inForce(last, 30*time.Second, f.hosts...))
		h2.Write("/etc/dunlin/gossip.key", key, 0o600)
		h2.MustExec("systemctl", "restart", "dunlin")
		t.Logf("all see all %v after it has the right key again", f.whole(30*time.Second))
		for _, h := range f.hosts {
			used := h.MustExec("sh", "-c", "pid=$(systemctl show -P MainPID dunlin); grep VmRSS /proc/$pid/status; ps -o etime=,time= -p $pid")
			t.Logf("agent of %s: %s (since its start, processor time)", h.Name, strings.Join(strings.Fields(used), " "))
		}
		reads, pushes := f.git.Requests()
		t.Logf("the server was asked %d times, and pushed to %d times", reads, pushes)
	})

	var people realPeople
	anchor := ""
	f.step("signed policy", func(t *testing.T) { people, anchor = f.signedPolicy(t, f.git.Git("rev-parse", "HEAD")) })
	f.step("enrolment", func(t *testing.T) { f.enrolment(t, people, anchor) })
	f.step("approvals", func(t *testing.T) { f.approvals(t, people) })
}

// failed is how many patches fail on a host: nobody has mended the cause of tb-broken on h3.
func failed(h *Host) int {
	if h.Name == "h3" {
		return 1
	}
	return 0
}

// agentVersion is the version of the agent that runs, as it tells.
func agentVersion(h *Host) string {
	all, _ := ask(h, func(c *api.Client, ctx context.Context) ([]schema.NodeView, error) { return c.Nodes(ctx) })
	for _, n := range all {
		if n.Name == h.Name {
			return strings.TrimPrefix(n.Agent, "v")
		}
	}
	return ""
}

// versions are the versions of all packages that are installed in order.
func versions(h *Host) map[string]string {
	h.t.Helper()
	out := map[string]string{}
	text, _, _ := h.Exec("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\n")
	for line := range strings.Lines(text) {
		if w := strings.Fields(line); len(w) == 3 && w[0] == "installed" {
			out[w[1]] = w[2]
		}
	}
	return out
}

// closed fails the test where one host reaches port 23 of another, over IPv4 or IPv6.
func closed(t *testing.T, hosts ...*Host) {
	t.Helper()
	for _, from := range hosts {
		probe := ""
		for _, to := range hosts {
			if from != to {
				for _, addr := range []string{to.Addr4, to.Addr6} {
					probe += fmt.Sprintf("(nc -z -w 1 %s 23 && echo %s) & ", addr, addr)
				}
			}
		}
		if open := from.MustExec("sh", "-c", probe+"wait"); open != "" {
			t.Errorf("%s reaches port 23 of %s", from.Name, strings.Fields(open))
		}
	}
}
