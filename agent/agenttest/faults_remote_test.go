package agenttest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
)

func motd(text string) map[string]string {
	return map[string]string{"policies/web.cue": fleetFiles(text)["policies/web.cue"]}
}

func TestTheGitServerIsAwayForAnHour(t *testing.T) {
	cluster(t, 41, 8, func(t *testing.T, c *agenttest.Cluster) {
		first, _ := c.Remote.Ref("refs/heads/main")
		agree(t, c, first, time.Minute)
		settledReports(c, 2*time.Minute)
		before := asked(c)
		c.HideRemote()
		c.Until("all know that the remote is away", 20*time.Minute, func() bool {
			return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return n.Agent.Status().Remote.Error == "" })
		})
		drift := c.Nodes[5]
		if err := os.WriteFile(filepath.Join(drift.Host.Dir, "files", "etc", "motd"), []byte("mine\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		for _, n := range c.Nodes {
			s := n.Agent.Status()
			if s.Commit != first || motdOf(n) != "one\n" || s.Nodes["Online"] != 8 {
				t.Errorf("%s without the remote: %s in force, motd %q, %v", n.Name, s.Commit, motdOf(n), s.Nodes)
			}
		}
		reads := asked(c).Heads - before.Heads
		t.Logf("the remote was asked %d times meanwhile", reads)
		if reads > 8*30 {
			t.Errorf("%d nodes asked a remote that is away %d times in an hour", 8, reads)
		}
		c.ShowRemote()
		second := c.Push(motd("two\n"))
		fetches := asked(c).Fetches
		d := agree(t, c, second, 16*time.Minute)
		t.Logf("a new commit is in force on all %s after the remote came back, after %d fetches", d, asked(c).Fetches-fetches)
		c.Until("all can read it again", 16*time.Minute, func() bool {
			return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return n.Agent.Status().Remote.Error != "" })
		})
		settledReports(c, 10*time.Minute)
	})
}

// After a long time without the remote all ask it rarely. Who asks for it with one node gets all others to look, too.
func TestASyncEndsTheBackOffOfAll(t *testing.T) {
	cluster(t, 47, 8, func(t *testing.T, c *agenttest.Cluster) {
		first, _ := c.Remote.Ref("refs/heads/main")
		agree(t, c, first, time.Minute)
		c.HideRemote()
		time.Sleep(3 * time.Hour)
		c.ShowRemote()
		second := c.Push(motd("two\n"))
		before := asked(c)
		one := c.Nodes[6]
		start := time.Now()
		if s, err := one.Agent.Sync(t.Context()); err != nil || s.Error != "" || s.Head != second {
			t.Fatalf("after a sync: %+v, %v", s, err)
		}
		t.Logf("asked after %s", time.Since(start))
		t.Logf("in force on that node after %s", c.Until("in force there", 5*time.Second, func() bool { return one.Holds(second) }))
		t.Logf("on all after %s", agree(t, c, second, 30*time.Second))
		if now := asked(c); now.Heads-before.Heads > 8 || now.Fetches-before.Fetches > 4 {
			t.Errorf("for that the remote was asked %+v, after %+v", now, before)
		}
	})
}

func TestABranchThatIsMissing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 42, 3, fleetFiles("one\n"))
		defer c.StopAll()
		first, _ := c.Remote.Ref("refs/heads/main")
		c.Point("")
		for _, n := range c.Nodes {
			n.Start()
		}
		c.Until("all say that the branch is missing", time.Minute, func() bool {
			return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool {
				s := n.Agent.Status()
				return s.Commit != "" || !strings.Contains(s.Remote.Error, `the repository is empty: no such branch "main"`)
			})
		})
		c.Point(first)
		t.Logf("in force %s after the first push", agree(t, c, first, 5*time.Minute))
		// What is in force stays when the branch goes away.
		c.Point("")
		time.Sleep(10 * time.Minute)
		for _, n := range c.Nodes {
			if s := n.Agent.Status(); s.Commit != first || len(s.Refused) > 0 {
				t.Errorf("%s without the branch: %+v", n.Name, s)
			}
		}
		c.Point(first)
		second := c.Push(motd("two\n"))
		agree(t, c, second, 16*time.Minute)
		// A commit without any file is none that could be in force.
		empty := c.PushObjects(nil)
		if tree := c.TreeOf(empty); tree != "4b825dc642cb6eb9a060e54bf8d69288fbee4904" { // Git's name for no files
			t.Fatalf("the tree is %s", tree)
		}
		refused := func() bool {
			return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool {
				s := n.Agent.Status()
				return s.Commit != second || len(s.Refused) != 1 || s.Refused[0].Commit != empty || motdOf(n) != "two\n"
			})
		}
		c.Until("all refuse the commit without files", time.Minute, refused)
		time.Sleep(10 * time.Minute)
		if !refused() {
			t.Error("it is not refused any more")
		}
		if s := c.Nodes[0].Agent.Status(); len(s.Refused[0].Faults) != 1 || s.Nodes["Online"] != 3 {
			t.Errorf("refused: %+v; %v", s.Refused, s.Nodes)
		}
		c.Point(second)
		agree(t, c, c.Push(motd("three\n")), 16*time.Minute)
	})
}

// A commit that no host takes, because a file is larger than an object may be or all of it is more than a pack may hold, is
// refused with its reason, and is not fetched over and over by one node after the other.
func TestACommitThatIsTooLarge(t *testing.T) {
	cluster(t, 43, 6, func(t *testing.T, c *agenttest.Cluster) {
		good, _ := c.Remote.Ref("refs/heads/main")
		agree(t, c, good, time.Minute)
		noise := make([]byte, 66<<20) // random, so that it stays as large as it is
		_, _ = rand.NewChaCha8([32]byte{43}).Read(noise)
		third := len(noise) / 3
		for i, files := range []map[string][]byte{
			{"large.bin": make([]byte, 33<<20)},
			{"a.bin": noise[:third], "b.bin": noise[third : 2*third], "c.bin": noise[2*third:]},
		} {
			before := asked(c).Fetches
			large := c.PushObjects(files)
			c.Until("all name the commit and say why", 2*time.Minute, func() bool {
				return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool {
					s := n.Agent.Status()
					return s.Commit != good || len(s.Refused) != 1 || s.Refused[0].Commit != large || !strings.Contains(s.Refused[0].Reason, "too large")
				})
			})
			time.Sleep(20 * time.Minute)
			if n := asked(c).Fetches - before; n > 3 {
				t.Errorf("it was fetched %d times in twenty minutes", n)
			}
			for _, n := range c.Nodes {
				if s := n.Agent.Status(); s.Remote.Error != "" || s.Commit != good || len(s.Refused) != 1 || motdOf(n) != motdText(i) {
					t.Errorf("%s: %s in force, motd %q, remote %q, refused %+v", n.Name, s.Commit, motdOf(n), s.Remote.Error, s.Refused)
				}
			}
			c.Point(good)
			good = c.Push(motd(motdText(i + 1)))
			agree(t, c, good, time.Minute)
			c.Until("nobody refuses anything", 10*time.Second, func() bool {
				return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return len(n.Agent.Status().Refused) > 0 })
			})
		}
	})
}

func motdText(i int) string { return []string{"one\n", "two\n", "three\n"}[i] }

// readOnly is a remote for reports that takes nothing while it is shut.
type readOnly struct {
	agent.ReportsRemote
	shut *atomic.Bool
}

func (r readOnly) Push(ctx context.Context, branch, commit, old string) error {
	if r.shut.Load() {
		return fmt.Errorf("push: %w: this key may only read", gitrepo.ErrAuth)
	}
	return r.ReportsRemote.Push(ctx, branch, commit, old)
}

func TestARemoteThatIsReadOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 44, 4, fleetFiles("one\n"))
		defer c.StopAll()
		var shut atomic.Bool
		shut.Store(true)
		for _, n := range c.Nodes {
			n.Change = func(o *agent.Options) {
				o.Reports = func(r agent.ReportsRemote) agent.ReportsRemote { return readOnly{r, &shut} }
			}
			n.Start()
		}
		online(c, 4)
		agree(t, c, c.Push(motd("two\n")), time.Minute)
		c.Until("somebody says that reports are not written", 10*time.Minute, func() bool {
			return slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool {
				return strings.Contains(n.Agent.Status().Reporter.Error, "may only read")
			})
		})
		shut.Store(false)
		t.Logf("reported %s after the remote took pushes", settledReports(c, 20*time.Minute))
	})
}

// Whenever the power of the whole site goes, in the middle of whatever, all come back under a commit that was good, take
// the newest, and nothing of what they report is lost or there twice.
func TestPowerCuts(t *testing.T) {
	cuts := 4
	if os.Getenv("DUNLIN_LONG") != "" {
		cuts = 60
	}
	cluster(t, 45, 4, func(t *testing.T, c *agenttest.Cluster) {
		good := map[string]bool{}
		commit, _ := c.Remote.Ref("refs/heads/main")
		for i := range cuts {
			good[commit] = true
			commit = c.Push(motd(fmt.Sprintf("cut %d\n", i)))
			good[commit] = true
			if i%3 == 2 { // at once, so that it hits the very work
				c.Until("a node has heard of it", time.Minute, func() bool {
					return slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return n.Agent.Head() == commit })
				})
			} else {
				time.Sleep(time.Duration(i*i*37%200) * 100 * time.Millisecond)
			}
			c.PowerCut()
			for _, n := range c.Nodes {
				n.Start()
			}
			c.Until("all have a policy", time.Minute, func() bool {
				return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return !good[n.Agent.Status().Commit] })
			})
			agree(t, c, commit, time.Minute)
			settledReports(c, 5*time.Minute)
			for _, n := range c.Nodes {
				if p := problems(n); p != "" || statuses(n)["Conflict"] > 0 {
					t.Errorf("cut %d: %s: %q, %v", i, n.Name, p, statuses(n))
				}
			}
		}
	})
}

// A state folder that was put back from a backup is not a clone, and what its host says from then on stands.
func TestAStateFolderFromABackup(t *testing.T) {
	cluster(t, 46, 4, func(t *testing.T, c *agenttest.Cluster) {
		n := c.Nodes[1]
		settledReports(c, 2*time.Minute)
		restore := n.Backup()
		for i := range 5 {
			agree(t, c, c.Push(motd(fmt.Sprintf("%d\n", i))), time.Minute)
			settledReports(c, 2*time.Minute)
			if i%2 == 1 {
				n.Stop()
				n.Start()
			}
		}
		n.Stop()
		restore()
		n.Start()
		commit := c.Push(motd("after\n"))
		agree(t, c, commit, time.Minute)
		t.Logf("reported after %s", settledReports(c, 10*time.Minute))
		time.Sleep(15 * time.Minute)
		for _, o := range c.Nodes {
			if s := statusOf(o, n); s != "Online" || problems(o) != "" {
				t.Errorf("%s sees the restored node as %s: %s", o.Name, s, problems(o))
			}
		}
	})
}
