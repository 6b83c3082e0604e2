package agenttest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
)

// A fleet of a hundred keeps to its budgets: what it sends and asks while nothing happens, a commit, a change on every
// host at once, and a start of all together.
func TestBudgetsOfAHundred(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		c := agenttest.NewCluster(t, 21, n, fleetFiles("one\n"))
		defer c.StopAll()
		for _, n := range c.Nodes {
			n.Start()
		}
		t.Logf("online after %s", online(c, n))
		first, _ := c.Remote.Ref("refs/heads/main")
		agree(t, c, first, time.Minute)
		c.Until("reports of all", 3*time.Minute, func() bool { return reported(c, first) == n })
		time.Sleep(3 * time.Minute) // until the joins are told to all

		const quiet = 10 * time.Minute
		bytes, reads := sent(c), asked(c)
		time.Sleep(quiet)
		perSecond := float64(sent(c)-bytes) / quiet.Seconds() / n
		now := asked(c)
		t.Logf("idle: %.0f bytes a second sent by each, %d reads of the remote in ten minutes", perSecond, now.Heads-reads.Heads)
		if perSecond > 800 {
			t.Errorf("%.0f bytes a second are more than 800", perSecond)
		}
		if now.Heads-reads.Heads > 130 || now.Fetches != reads.Fetches || now.Pushes != reads.Pushes {
			t.Errorf("while nothing happens the remote is asked %+v, then %+v", reads, now)
		}

		reads = asked(c)
		pushed := time.Now()
		commit := c.Push(map[string]string{"policies/web.cue": fleetFiles("two\n")["policies/web.cue"]})
		agree(t, c, commit, 20*time.Second)
		t.Logf("a commit is in force on all %s after it was pushed", time.Since(pushed))
		if d := asked(c).Fetches - reads.Fetches; d >= 10 {
			t.Errorf("%d nodes fetched the commit from the remote", d)
		} else {
			t.Logf("%d fetches for one commit, %d reads", d, asked(c).Heads-reads.Heads)
		}
		c.Until("reports of all", 3*time.Minute, func() bool { return reported(c, commit) == n })
		time.Sleep(time.Minute)

		bytes = sent(c)
		for _, n := range c.Nodes {
			// Each is not compliant by another reason: a link where the file should be.
			motd := filepath.Join(n.Host.Dir, "files", "etc", "motd")
			if err := os.Remove(motd); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("/etc/"+n.Name, motd); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute))) // the pass that all make
		start := time.Now()
		c.Until("all know of all changes", time.Minute, func() bool { return unwell(c.Nodes[0]) == n && unwell(c.Nodes[n/2]) == n && unwell(c.Nodes[n-1]) == n })
		for _, o := range c.Nodes {
			if got := unwell(o); got != n {
				t.Errorf("%s knows of %d changes", o.Name, got)
			}
		}
		t.Logf("a hundred changes are everywhere after %s, %.0f KiB sent by each", time.Since(start), float64(sent(c)-bytes)/n/1024)
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("a hundred changes are everywhere after %s, more than 3 s", d)
		}

		var all sync.WaitGroup
		for _, n := range c.Nodes {
			all.Go(n.Stop)
		}
		all.Wait()
		reads = gitrepo.Traffic{}
		for _, n := range c.Nodes {
			n.Start()
		}
		t.Logf("healed %s after all were started together", online(c, n))
		if d := online(c, n); d > time.Minute {
			t.Error(d)
		}
	})
}

// sent is how many bytes all nodes have sent.
func sent(c *agenttest.Cluster) (sum uint64) {
	for _, n := range c.Nodes {
		sum += c.Net.Host(n.Addr).Sent()
	}
	return sum
}

// unwell is how many nodes one knows to be not compliant.
func unwell(of *agenttest.Node) int {
	return of.Agent.Status().Compliance["NON_COMPLIANT"]
}

var _ = fmt.Sprint
