package agenttest_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/schema"
)

func fleetFiles(motd string) map[string]string {
	return map[string]string{
		"cue.mod/module.cue": "module: \"acme.example/fleet@v0\"\nlanguage: version: \"v0.17.0\"\n",
		"schema.cue":         "package fleet\n\nimport \"dunlin.dev/schema\"\n\nclose({schema.#Repo})\n",
		"fleet.cue":          "package fleet\n\nfleet: {name: \"acme\", sync: interval: \"15s\", reports: interval: \"10s\"}\n",
		"policies/web.cue": fmt.Sprintf(`package fleet

policy: web: {
	targets: tags: role: ["web"]
	blockedPorts: [{port: 23}]
	files: "/etc/motd": {content: %q, mode: "0644", owner: "root", group: "root"}
}
`, motd),
	}
}

func motdOf(n *agenttest.Node) string {
	b, _ := os.ReadFile(filepath.Join(n.Host.Dir, "files", "etc", "motd"))
	return string(b)
}

// agree waits until all nodes hold the commit, and the reports branch says so.
func agree(t *testing.T, c *agenttest.Cluster, commit string, d time.Duration) time.Duration {
	t.Helper()
	return c.Until("commit "+commit[:12]+" in force on all", d, func() bool {
		for _, n := range c.Nodes {
			if !n.Holds(commit) {
				return false
			}
		}
		return true
	})
}

func reported(c *agenttest.Cluster, commit string) int {
	lines := 0
	for _, n := range c.Nodes {
		sum := sha256.Sum256(n.Keys.Public())
		for line := range strings.Lines(c.Reports(fmt.Sprintf("nodes/%02x.jsonl", sum[0]))) {
			if strings.Contains(line, `"commit":"`+commit+`"`) && strings.Contains(line, n.Keys.ID()) {
				lines++
			}
		}
	}
	return lines
}

func TestAPushTakesHoldOnFiveAndIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 1, 5, fleetFiles("one\n"))
		defer func() {
			if t.Failed() {
				for _, n := range c.Nodes[:min(5, len(c.Nodes))] {
					t.Logf("log of %s:\n%s", n.Name, n.Log.String())
				}
			}
		}()
		defer c.StopAll()
		for _, n := range c.Nodes {
			n.Start()
		}
		first, err := c.Remote.Ref("refs/heads/main")
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("first commit in force after %s", agree(t, c, first, time.Minute))
		c.Until("all are online", time.Minute, func() bool {
			for _, n := range c.Nodes {
				if n.Agent.Status().Nodes[string(schema.Online)] != 5 {
					return false
				}
			}
			return true
		})
		t.Logf("reported after %s", c.Until("reports", 2*time.Minute, func() bool { return reported(c, first) == 5 }))

		second := c.Push(map[string]string{"policies/web.cue": fleetFiles("two\n")["policies/web.cue"]})
		t.Logf("second commit in force after %s", agree(t, c, second, 20*time.Second))
		for _, n := range c.Nodes {
			if motdOf(n) != "two\n" {
				t.Errorf("%s: motd %q", n.Name, motdOf(n))
			}
		}
		t.Logf("reported after %s", c.Until("reports", 2*time.Minute, func() bool { return reported(c, second) == 5 }))
		if page := c.Reports("README.md"); !strings.Contains(page, "node-00") {
			t.Errorf("README.md names no node:\n%s", page)
		}

		bad := c.Push(map[string]string{"policies/web.cue": "package fleet\n\npolicy: web: {targets: all: true, blockedPorts: [{port: 99999}]}\n"})
		c.Until("all name the refused commit", time.Minute, func() bool {
			for _, n := range c.Nodes {
				s := n.Agent.Status()
				if len(s.Refused) != 1 || s.Refused[0].Commit != bad || len(s.Refused[0].Faults) == 0 || s.Commit != second {
					return false
				}
			}
			return true
		})
		third := c.Push(map[string]string{"policies/web.cue": fleetFiles("three\n")["policies/web.cue"]})
		agree(t, c, third, 30*time.Second)
	})
}

// unreliable is a remote for reports that refuses half of all pushes; of every other one that it refuses it took the commit.
type unreliable struct {
	agent.ReportsRemote
	coin func() float64
}

func (u unreliable) Push(ctx context.Context, branch, commit, old string) error {
	x := u.coin()
	if x < 0.25 {
		return fmt.Errorf("push: %w: not now", gitrepo.ErrRejected)
	}
	err := u.ReportsRemote.Push(ctx, branch, commit, old)
	if err == nil && x < 0.5 {
		err = fmt.Errorf("push: %w: no answer", gitrepo.ErrUnreachable)
	}
	return err
}

// settledReports waits until the branch has exactly the newest line of every node.
func settledReports(c *agenttest.Cluster, d time.Duration) time.Duration {
	return c.Until("the branch has the newest line of every node", d, func() bool {
		time.Sleep(250 * time.Millisecond)
		branch := reportLines(c)
		return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return !maps.Equal(branch, linesOf(n)) })
	})
}

// reportLines are the lines of the reports branch by node; nil where it has one twice, or a conflict.
func reportLines(c *agenttest.Cluster) map[string]string {
	out := map[string]string{}
	for i := range 256 {
		for line := range strings.Lines(c.Reports(fmt.Sprintf("nodes/%02x.jsonl", i))) {
			var l schema.ReportLine
			if json.Unmarshal([]byte(line), &l) != nil || out[l.Node] != "" {
				return nil
			}
			out[l.Node] = strings.TrimSuffix(line, "\n")
		}
	}
	if c.Reports("conflicts.jsonl") != "" || len(out) != len(c.Nodes) {
		return nil
	}
	return out
}

// linesOf are the report lines that a node holds, by id.
func linesOf(of *agenttest.Node) map[string]string {
	out := map[string]string{}
	for _, l := range of.Agent.Lines() {
		var line schema.ReportLine
		if json.Unmarshal(l.Line, &line) == nil {
			out[line.Node] = string(l.Line)
		}
	}
	return out
}

// A fleet of fifty, and one of a hundred in the long run, keeps to its budgets: what it sends and asks while nothing happens,
// a commit on a bad network, a change on every host at once, and a start of all together. Nothing that a node reports is
// lost or written twice, though every other push is refused and nodes are started again meanwhile.
func TestAFleetKeepsToItsBudgets(t *testing.T) {
	t.Parallel()
	n, quiet := 50, 3*time.Minute
	if os.Getenv("DUNLIN_LONG") != "" {
		n, quiet = 100, 10*time.Minute
	}
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 2, n, fleetFiles("one\n"))
		defer c.StopAll()
		var mu sync.Mutex
		random := rand.New(rand.NewPCG(2, 2))
		for _, node := range c.Nodes {
			node.Change = func(o *agent.Options) {
				o.Reports = func(s agent.ReportsRemote) agent.ReportsRemote {
					return unreliable{s, func() float64 { mu.Lock(); defer mu.Unlock(); return random.Float64() }}
				}
			}
			node.Start()
		}
		t.Logf("online after %s", online(c, n))
		first, err := c.Remote.Ref("refs/heads/main")
		if err != nil {
			t.Fatal(err)
		}
		agree(t, c, first, time.Minute)
		t.Logf("reported after %s", settledReports(c, 10*time.Minute))
		time.Sleep(3 * time.Minute) // until the joins are told to all

		func() { // idle
			bytes, reads := sent(c), asked(c)
			// What is pushed is seen when the remote is asked next.
			seen, last, longest := reads.Heads, time.Now(), time.Duration(0)
			for end := time.Now().Add(quiet); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				if now := asked(c).Heads; now != seen {
					seen, last, longest = now, time.Now(), max(longest, time.Since(last))
				}
			}
			t.Logf("a push is seen after %s at most", longest)
			if longest > 5*time.Second+250*time.Millisecond { // with its jitter, and as often as it is looked
				t.Errorf("between two reads of the remote there were %s, more than 5 s", longest)
			}
			perSecond := float64(sent(c)-bytes) / quiet.Seconds() / float64(n)
			now := asked(c)
			perMinute := float64(now.Heads-reads.Heads) / quiet.Minutes()
			t.Logf("%.0f bytes a second sent by each, %.1f reads of the remote a minute", perSecond, perMinute)
			if perSecond > 800 {
				t.Errorf("%.0f bytes a second are more than 800", perSecond)
			}
			if perMinute > 13 || now.Fetches != reads.Fetches {
				t.Errorf("the remote is asked %+v, then %+v", reads, now)
			}
		}()
		func() { // commit
			c.Net.SetLoss(0.2)
			defer c.Net.SetLoss(0)
			reads := asked(c)
			commit := c.Push(map[string]string{"policies/web.cue": fleetFiles("two\n")["policies/web.cue"]})
			pushed := time.Now()
			finely(t, c, "a member holds the new head", time.Minute, func() bool {
				return slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return n.Agent.Head() == commit })
			})
			seen := time.Now()
			again, ended := map[*agenttest.Node]time.Time{}, 0 // when they were there again, and how often they fetched before
			var restarts sync.WaitGroup
			for i := 10; i < n; i += 10 { // what they enforce and say survives
				traffic, _ := c.Nodes[i].Agent.Traffic()
				ended += traffic.Fetches
				again[c.Nodes[i]] = time.Time{}
				restarts.Go(func() {
					c.Nodes[i].Stop()
					c.Nodes[i].Start()
					mu.Lock()
					defer mu.Unlock()
					again[c.Nodes[i]] = time.Now()
				})
			}
			var d, late time.Duration // the longest of those that run on, and of the others since they run again
			left := slices.Clone(c.Nodes)
			finely(t, c, "in force on all", time.Minute, func() bool {
				mu.Lock()
				defer mu.Unlock()
				left = slices.DeleteFunc(left, func(n *agenttest.Node) bool {
					started, is := again[n]
					switch {
					case is && started.IsZero() || !n.Holds(commit):
						return false
					case is:
						late = max(late, time.Since(started))
					default:
						d = time.Since(seen)
					}
					return true
				})
				return len(left) == 0
			})
			restarts.Wait()
			t.Logf("in force on those that were started again %s after that", late)
			fetches := asked(c).Fetches + ended - reads.Fetches
			t.Logf("seen after %s, in force on all %s later, after %d fetches of the remote", seen.Sub(pushed), d, fetches)
			if d := seen.Sub(pushed); d > 5*time.Second+250*time.Millisecond {
				t.Errorf("a push was seen after %s, more than 5 s", d)
			}
			if d > 3*time.Second {
				t.Errorf("in force on all %s after a member held it, more than 3 s", d)
			}
			if late > 3*time.Second {
				t.Errorf("in force on those that were started again %s after that, more than 3 s", late)
			}
			if fetches >= 10 {
				t.Errorf("%d nodes fetched one commit from the remote", fetches)
			}
		}()
		t.Logf("reported after %s", settledReports(c, 10*time.Minute))
		online(c, n)

		func() { // changes at once
			for _, n := range c.Nodes { // a link where the file should be is told of, and not followed
				motd := filepath.Join(n.Host.Dir, "files", "etc", "motd")
				if err := errors.Join(os.Remove(motd), os.Symlink("/etc/"+n.Name, motd)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute))) // the pass that all make
			d := c.Until("all know of all changes", time.Minute, func() bool {
				return !slices.ContainsFunc(c.Nodes, func(o *agenttest.Node) bool { return o.Agent.Status().Compliance[schema.NonCompliant] != n })
			})
			t.Logf("everywhere after %s", d)
			if d > 3*time.Second {
				t.Errorf("%d changes at once are everywhere after %s, more than 3 s", n, d)
			}
		}()
		func() { // start of all
			var all sync.WaitGroup
			for _, n := range c.Nodes {
				all.Go(n.Stop)
			}
			all.Wait()
			for _, n := range c.Nodes {
				n.Start()
			}
			d := online(c, n)
			time.Sleep(20 * time.Second)
			reads := asked(c)
			t.Logf("healed after %s, the remote was asked %d times in %s", d, reads.Heads, d+20*time.Second)
			if d > time.Minute || reads.Heads > 20 || reads.Fetches > 3 {
				t.Errorf("healed after %s, the remote was asked %+v", d, reads)
			}
		}()
		t.Logf("reported after %s", settledReports(c, 10*time.Minute))
		t.Logf("%d commits of reports", audit(t, c))
	})
}

// finely is Until that looks every 20 ms for as long as it takes, for what must not be measured as longer than it was.
func finely(t *testing.T, c *agenttest.Cluster, what string, d time.Duration, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > d {
			t.Fatalf("not within %s: %s", d, what)
		}
	}
}

func TestCutOffNodesKeepEnforcingAndHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 3, 4, fleetFiles("one\n"))
		defer c.StopAll()
		for _, n := range c.Nodes {
			n.Start()
		}
		status := func(of, seen *agenttest.Node) schema.NodeStatus {
			for _, v := range of.Agent.Nodes() {
				if v.Name == seen.Name {
					return v.Status
				}
			}
			return ""
		}
		one, cut := c.Nodes[0], c.Nodes[3]
		c.Until("all know each other", 2*time.Minute, func() bool {
			return status(one, cut) == schema.Online && status(cut, one) == schema.Online
		})
		c.Net.Partition([]string{cut.Addr})
		t.Logf("lost after %s", c.Until("ConnectionLost", 2*time.Minute, func() bool { return status(one, cut) == schema.ConnectionLost }))
		if err := os.WriteFile(filepath.Join(cut.Host.Dir, "files", "etc", "motd"), []byte("mine\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c.Until("the node that is cut off mends its drift", 2*time.Minute, func() bool { return motdOf(cut) == "one\n" })
		for _, l := range one.Agent.Compliance() {
			if l.Node == cut.Name && !l.Stale {
				t.Error("what a lost node said last is not called stale")
			}
		}
		c.Net.Heal()
		t.Logf("healed after %s", c.Until("Online again", 30*time.Second, func() bool { return status(one, cut) == schema.Online && status(cut, one) == schema.Online }))
	})
}

func TestAForcePushIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 4, 2, fleetFiles("one\n"))
		defer c.StopAll()
		for _, n := range c.Nodes {
			n.Start()
		}
		first, _ := c.Remote.Ref("refs/heads/main")
		agree(t, c, first, time.Minute)
		second := c.Push(map[string]string{"policies/web.cue": fleetFiles("two\n")["policies/web.cue"]})
		agree(t, c, second, time.Minute)
		if err := c.Remote.SetRef("refs/heads/main", first); err != nil {
			t.Fatal(err)
		}
		c.Until("the branch that was put back is refused", 2*time.Minute, func() bool {
			for _, n := range c.Nodes {
				s := n.Agent.Status()
				if s.Commit != second || len(s.Refused) != 1 || s.Refused[0].Commit != first || !strings.Contains(s.Refused[0].Reason, "rewritten") {
					return false
				}
			}
			return true
		})
	})
}

// patching is a fleet whose nodes have a security update to install: a baseline that approves it at once, and a window.
func patching(window string) map[string]string {
	files := fleetFiles("one\n")
	files["baselines/debian.cue"] = `package fleet

baseline: debian: {operatingSystem: "DEBIAN", default: true, approvalRules: [{filters: PRIORITY: ["*"], approveAfterDays: 0}]}
`
	files["windows/night.cue"] = `package fleet

window: night: {
	` + window + `
	targets: all: true
	tasks: patch: {document: "AWS-RunPatchBaseline", parameters: {Operation: "Install", RebootOption: "NoReboot"}, maxConcurrency: "100%", maxErrors: "100%"}
}
`
	return files
}

// opensslNow is the version of openssl that a node has.
func opensslNow(t *testing.T, n *agenttest.Node) string {
	t.Helper()
	all, err := n.Host.Packages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.Name == "openssl" {
			return p.Version
		}
	}
	return ""
}

// offers makes a node's archives offer these versions of openssl, of which it has one; all others are security updates.
func offers(t *testing.T, n *agenttest.Node, has string, versions ...string) {
	t.Helper()
	of := []host.SimulatedVersion{{Version: has, Section: "utils"}}
	for _, v := range versions {
		of = append(of, host.SimulatedVersion{Version: v, Section: "utils", Security: true})
	}
	if err := n.Host.SetArchive(host.SimulatedArchive{
		Arch: "amd64", Debian: "12",
		Installed: map[string]host.SimulatedInstalled{
			"dpkg":    {Version: "1.21.22", State: schema.PackageInstalled},
			"openssl": {Version: has, State: schema.PackageInstalled},
		},
		Versions: map[string][]host.SimulatedVersion{
			"dpkg":    {{Version: "1.21.22", Priority: "required", Section: "admin"}},
			"openssl": of,
		},
	}); err != nil {
		t.Fatal(err)
	}
}

// Updates of openssl, oldest first.
const (
	opensslOld = "3.0.16-1~deb12u1"
	opensslFix = "3.0.17-1~deb12u2"
	opensslSec = "3.0.17-1~deb12u3"
	opensslEnd = "3.0.17-1~deb12u4"
)

// A window opens while the agents wait for it: nothing is installed before, all of it within a minute, what appears while
// it is open as well, and what appears after its cutoff only when it opens next.
func TestAWindowOpensWhileAgentsWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // its clock begins at midnight, UTC
		midnight := time.Now().UTC().Truncate(24 * time.Hour)
		at := func(clock string) {
			t.Helper()
			of, err := time.ParseDuration(clock)
			if err != nil || time.Until(midnight.Add(of)) < 0 {
				t.Fatalf("it is %s already, %v", time.Now().UTC(), err)
			}
			time.Sleep(time.Until(midnight.Add(of)))
		}
		c := agenttest.NewCluster(t, 62, 3, patching(`schedule: "cron(30 0,3 ? * * *)"
	duration: "2h"
	cutoff: "1h"`))
		defer shows(t, c)
		defer c.StopAll()
		all := func(want string) {
			t.Helper()
			for _, n := range c.Nodes {
				if got := opensslNow(t, n); got != want {
					t.Errorf("at %s %s has openssl %s, want %s", time.Now().UTC().Format(time.TimeOnly), n.Name, got, want)
				}
			}
		}
		for _, n := range c.Nodes {
			offers(t, n, opensslOld, opensslFix)
			n.Start()
		}
		first, _ := c.Remote.Ref("refs/heads/main")
		agree(t, c, first, time.Minute)
		at("29m59s")
		all(opensslOld)
		at("31m")
		all(opensslFix)
		at("1h")
		for _, n := range c.Nodes {
			offers(t, n, opensslFix, opensslSec)
		}
		at("1h2m")
		all(opensslSec)
		at("1h30m10s") // an hour before its end
		for _, n := range c.Nodes {
			offers(t, n, opensslSec, opensslEnd)
		}
		at("3h29m59s")
		all(opensslSec)
		for _, n := range c.Nodes {
			if s := n.Agent.Status(); s.Commit != first || len(s.Problems) > 0 {
				t.Errorf("%s: %s in force, %q", n.Name, s.Commit, s.Problems)
			}
		}
		at("3h31m")
		all(opensslEnd)
	})
}

// A host whose clock is an hour off says so, installs no patch in a window that its clock says is open, and enforces all
// else. A node that lies about its time stops nobody. Once the clock is set, patches are installed.
func TestAClockAnHourOffStartsNothing(t *testing.T) {
	t.Parallel()
	for off, word := range map[time.Duration]string{time.Hour: "ahead of", -time.Hour: "behind"} {
		t.Run(strings.Fields(word)[0], func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := agenttest.NewCluster(t, 5, 6, patching(`schedule: "cron(0 0 ? * * *)"
	duration: "4h"`))
				defer c.StopAll()
				wrong := c.Nodes[2]
				var skew atomic.Int64
				skew.Store(int64(off))
				wrong.Change = func(o *agent.Options) {
					o.Local.Now = func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }
				}
				patched := func(n *agenttest.Node) bool { return opensslNow(t, n) == opensslFix }
				for _, n := range c.Nodes {
					offers(t, n, opensslOld, opensslFix)
				}
				for _, n := range c.Nodes[:5] {
					n.Start()
				}
				liar, end := lie(t, c, c.Nodes[5])
				defer end()
				liar.handler.Store(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					_, _ = fmt.Fprintln(w, time.Now().Add(-24*time.Hour).UnixMilli())
				}))
				liar.say(t, schema.RecordState, "", schema.StateRecord{Name: c.Nodes[5].Name, Types: []schema.TypeCompliance{}})
				sound := slices.DeleteFunc(slices.Clone(c.Nodes[:5]), func(n *agenttest.Node) bool { return n == wrong })
				c.Until("the node knows that its clock is off", 30*time.Minute, func() bool { return strings.Contains(problems(wrong), word) })
				c.Until("the others are patched", 10*time.Minute, func() bool {
					return !slices.ContainsFunc(sound, func(n *agenttest.Node) bool { return !patched(n) })
				})
				time.Sleep(30*time.Minute + max(0, -off)) // now it is open by the wrong clock, too
				for _, n := range sound {
					if p := problems(n); p != "" {
						t.Errorf("%s blames itself: %s", n.Name, p)
					}
				}
				if patched(wrong) {
					t.Error("patches were installed under a wrong clock")
				}
				if motdOf(wrong) != "one\n" {
					t.Error("what is in force is not enforced under a wrong clock")
				}
				holds(c, c.Nodes[:5], c.Push(motd("two\n")), time.Minute)
				skew.Store(0)
				t.Logf("patched %s after the clock was set", c.Until("the node is patched", 5*time.Minute, func() bool { return patched(wrong) }))
				if p := problems(wrong); p != "" {
					t.Errorf("it still blames itself: %s", p)
				}
			})
		})
	}
}

func TestLastGoodCommitIsEnforcedWithoutTheRemote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 6, 1, fleetFiles("one\n"))
		defer c.StopAll()
		n := c.Nodes[0]
		n.Start()
		first, _ := c.Remote.Ref("refs/heads/main")
		agree(t, c, first, time.Minute)
		n.Stop()
		c.HideRemote()
		motd := filepath.Join(n.Host.Dir, "files", "etc", "motd")
		if err := os.WriteFile(motd, []byte("mine\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		n.Start()
		c.Until("enforced from disk", 5*time.Second, func() bool { return motdOf(n) == "one\n" })
		time.Sleep(time.Hour)
		if s := n.Agent.Status(); s.Remote.Error == "" || s.Commit != first {
			t.Errorf("after an hour without the remote: %+v", s)
		}
		c.ShowRemote()
		second := c.Push(map[string]string{"policies/web.cue": fleetFiles("two\n")["policies/web.cue"]})
		t.Logf("a new commit in force %s after the remote came back", agree(t, c, second, 20*time.Minute))
	})
}
