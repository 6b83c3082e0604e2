package agenttest_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
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

func TestFiftyNodesTakeACommitWithinThreeSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 2, 50, fleetFiles("one\n"))
		defer c.StopAll()
		for _, n := range c.Nodes {
			n.Start()
		}
		first, err := c.Remote.Ref("refs/heads/main")
		if err != nil {
			t.Fatal(err)
		}
		agree(t, c, first, time.Minute)
		c.Until("all are online", 5*time.Minute, func() bool {
			for _, n := range c.Nodes {
				if n.Agent.Status().Nodes[string(schema.Online)] != 50 {
					return false
				}
			}
			return true
		})
		t.Logf("reported after %s", c.Until("reports of all", 3*time.Minute, func() bool { return reported(c, first) == 50 }))
		c.Net.SetLoss(0.2)
		commit := c.Push(map[string]string{"policies/web.cue": fleetFiles("two\n")["policies/web.cue"]})
		seen := c.Until("a member holds the new head", time.Minute, func() bool {
			for _, n := range c.Nodes {
				if n.Agent.Status().Remote.Head == commit {
					return true
				}
			}
			return false
		})
		d := agree(t, c, commit, 30*time.Second)
		t.Logf("seen after %s, in force on all %s later", seen, d)
		if d > 3*time.Second {
			t.Errorf("in force on all %s after a member held it, more than 3 s", d)
		}
		c.Net.SetLoss(0)

		// Restarts: what they enforce and say survives.
		for _, n := range c.Nodes[10:15] {
			n.Stop()
			n.Start()
		}
		t.Logf("reported after %s", c.Until("reports of all", 5*time.Minute, func() bool { return reported(c, commit) == 50 }))
		if s := c.Reports("conflicts.jsonl"); s != "" {
			t.Errorf("conflicts: %s", s)
		}
	})
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

func TestAClockAnHourOffStartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 5, 4, fleetFiles("one\n"))
		defer c.StopAll()
		c.Nodes[2].Skew = time.Hour
		for _, n := range c.Nodes {
			n.Start()
		}
		c.Until("the node knows that its clock is off", 30*time.Minute, func() bool {
			return strings.Contains(strings.Join(c.Nodes[2].Agent.Status().Problems, " "), "ahead of")
		})
		for i, n := range c.Nodes {
			if i != 2 && len(n.Agent.Status().Problems) > 0 {
				t.Errorf("%s blames itself: %v", n.Name, n.Agent.Status().Problems)
			}
		}
		if motdOf(c.Nodes[2]) != "one\n" {
			t.Error("what is in force is not enforced under a wrong clock")
		}
	})
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
