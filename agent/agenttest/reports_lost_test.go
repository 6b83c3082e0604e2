package agenttest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/schema"
)

// A reporter whose counter was lost with its file says new things under a higher revision than the branch has, so that
// they stand.
func TestALostReportLineGoesOnFromTheBranch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 7, 2, fleetFiles("one\n"))
		defer c.StopAll()
		for _, n := range c.Nodes {
			n.Start()
		}
		commit := change(c, "zero\n")
		for _, text := range []string{"two\n", "three\n", "four\n"} {
			agree(t, c, commit, time.Minute)
			c.Until("reports", 2*time.Minute, func() bool { return reported(c, commit) == 2 })
			commit = change(c, text)
		}
		agree(t, c, commit, time.Minute)
		c.Until("reports", 2*time.Minute, func() bool { return reported(c, commit) == 2 })

		n := c.Nodes[1]
		n.Stop()
		file := filepath.Join(n.State(), "report-line.json")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		n.Start()
		commit = change(c, "five\n")
		agree(t, c, commit, time.Minute)
		t.Logf("reported after %s", c.Until("reports", 10*time.Minute, func() bool { return reported(c, commit) == 2 }))
		if s := c.Reports("conflicts.jsonl"); s != "" {
			t.Errorf("conflicts: %s", s)
		}
		b, err := os.ReadFile(file)
		if err != nil || strings.Contains(string(b), "anew") {
			t.Errorf("%s, %v", b, err)
		}
		settled(t, c, time.Minute)
		audit(t, c)
	})
}

// A node that is cut off from the others tells what changes on it itself, if it may; one that may not tells it when it is
// back. The page is not written in turn by both sides meanwhile.
func TestANodeThatIsCutOffLosesNothing(t *testing.T) {
	for _, may := range []bool{true, false} {
		t.Run(fmt.Sprintf("may-report-%v", may), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := agenttest.NewCluster(t, 14, 4, fleetFiles("one\n"))
				defer shows(t, c)
				defer c.StopAll()
				cut := c.Nodes[3]
				if !may {
					noCredential(cut)
				}
				for _, n := range c.Nodes {
					n.Start()
				}
				settled(t, c, 3*time.Minute)
				c.Until("all online on the page", 5*time.Minute, func() bool { return strings.Contains(c.Reports("README.md"), "Online | 4 |") })
				c.Net.Partition([]string{cut.Addr})
				mend := spoil(t, cut)
				if may {
					t.Logf("told by itself after %s", c.Until("its change", 5*time.Minute, func() bool { return !wellOnBranch(c, cut) }))
				} else {
					time.Sleep(5 * time.Minute)
					if !wellOnBranch(c, cut) {
						t.Error("a node without the credential wrote the branch")
					}
				}
				commit := change(c, "two\n")
				agree(t, c, commit, 5*time.Minute)
				before, _ := strconv.Atoi(git(t, c.Path(), "rev-list", "--count", "reports"))
				time.Sleep(2 * time.Hour)
				after, _ := strconv.Atoi(git(t, c.Path(), "rev-list", "--count", "reports"))
				if after-before > 4 {
					t.Errorf("%d commits in two hours in which nothing happened", after-before)
				}
				page := c.Reports("README.md")
				if strings.Contains(page, "saw only") || strings.Count(page, "ConnectionLost") == 0 {
					t.Errorf("the page is the lesser side's:\n%s", page)
				}
				c.Net.Heal()
				settled(t, c, 5*time.Minute)
				mend()
				c.Until("it is well again", 5*time.Minute, func() bool { return wellOnBranch(c, cut) })
				settled(t, c, 5*time.Minute)
				c.Until("all online on the page", 5*time.Minute, func() bool { return strings.Contains(c.Reports("README.md"), "Online | 4 |") })
				if s := c.Reports("conflicts.jsonl"); s != "" {
					t.Errorf("conflicts: %s", s)
				}
				t.Logf("%d commits, %d while nothing happened", audit(t, c), after-before)
			})
		})
	}
}

// Hosts that come back from a backup, a reporter and one that never reports, go on from what the branch has of them.
func TestAStateFromABackupGoesOnFromTheBranch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 15, 4, fleetFiles("one\n"))
		defer shows(t, c)
		defer c.StopAll()
		plain := c.Nodes[3]
		noCredential(plain)
		for _, n := range c.Nodes {
			n.Start()
		}
		settled(t, c, 3*time.Minute)
		first := elected(c)[0]
		var restore []func()
		for _, n := range []*agenttest.Node{first, plain} {
			n.Stop()
			restore = append(restore, n.Backup())
			n.Start()
		}
		for i := range 5 {
			agree(t, c, change(c, fmt.Sprintf("text %d\n", i)), 2*time.Minute)
			settled(t, c, 5*time.Minute)
		}
		was := revision(c, plain)
		for i, n := range []*agenttest.Node{first, plain} {
			n.Stop()
			restore[i]()
			n.Start()
		}
		agree(t, c, change(c, "last\n"), 3*time.Minute)
		settled(t, c, 10*time.Minute)
		if rev := revision(c, plain); rev <= was {
			t.Errorf("revision %d after %d", rev, was)
		}
		if s := c.Reports("conflicts.jsonl"); s != "" {
			t.Errorf("a host from a backup counts as two hosts: %s", s)
		}
		for _, n := range c.Nodes {
			if p := n.Agent.Status().Problems; len(p) > 0 {
				t.Errorf("%s: %q", n.Name, p)
			}
		}
		t.Logf("%d commits", audit(t, c))
	})
}

// Whatever somebody does to the branch, what nodes have said is on it again, also of one that is away.
func TestTheBranchIsWrittenAgainAfterSomebodyTookIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 16, 4, fleetFiles("one\n"))
		defer shows(t, c)
		defer c.StopAll()
		// Not one that may be elected, so that its line is with the others and the branch alone.
		away := c.Nodes[3]
		noCredential(away)
		for _, n := range c.Nodes {
			n.Start()
		}
		settled(t, c, 3*time.Minute)
		old := git(t, c.Path(), "rev-parse", "reports")
		agree(t, c, change(c, "two\n"), 2*time.Minute)
		settled(t, c, 3*time.Minute)
		last := standing(c, away)
		away.PowerCut()
		// Every other starts anew, and does not remember what the one said that is away.
		for _, n := range c.Nodes[:3] {
			n.Stop()
		}
		time.Sleep(time.Minute)
		for _, n := range c.Nodes[:3] {
			n.Start()
		}
		c.Until("a fleet again", 5*time.Minute, func() bool { return c.Nodes[0].Agent.Status().Nodes[string(schema.Online)] == 3 })
		empty := git(t, c.Path(), "commit-tree", "-m", "mine", git(t, c.Path(), "hash-object", "-t", "tree", "-w", "/dev/null"))
		for i, take := range []func(){
			func() { git(t, c.Path(), "update-ref", "-d", "refs/heads/reports") },
			func() { git(t, c.Path(), "update-ref", "refs/heads/reports", empty) },
			func() { git(t, c.Path(), "update-ref", "refs/heads/reports", old) },
			func() { // an unrelated history with a page of somebody's own
				git(t, c.Path(), "update-ref", "refs/heads/reports", git(t, c.Path(), "rev-parse", "main"))
			},
		} {
			time.Sleep(time.Minute)
			take()
			commit := change(c, fmt.Sprintf("then %d\n", i))
			c.Until("the branch is whole", 10*time.Minute, func() bool {
				return standing(c, away) == last && !slices.ContainsFunc(c.Nodes[:3], func(n *agenttest.Node) bool { return !strings.Contains(standing(c, n), commit) })
			})
		}
		away.Start()
		settled(t, c, 5*time.Minute)
		audit(t, c)
	})
}

// Where nobody may push, all who could say so and count what waits; nothing is lost, not by a restart of all either, and
// once it may be pushed it is.
func TestAReadOnlyRemoteLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 17, 4, fleetFiles("one\n"))
		defer shows(t, c)
		defer c.StopAll()
		var mu sync.Mutex
		readOnly, tries := true, 0
		for _, n := range c.Nodes[:3] {
			onPush(n, func(real func() error) error {
				mu.Lock()
				defer mu.Unlock()
				if readOnly {
					tries++
					return fmt.Errorf("push: %w: the repository is read-only", gitrepo.ErrAuth)
				}
				return real()
			})
		}
		noCredential(c.Nodes[3])
		for _, n := range c.Nodes {
			n.Start()
		}
		says := func(n *agenttest.Node) bool {
			r := n.Agent.Status().Reporter
			return strings.Contains(r.Error, "read-only") && r.Waiting != nil && *r.Waiting == 4
		}
		c.Until("all who may report say that they cannot, and that four lines wait", 10*time.Minute, func() bool {
			return says(c.Nodes[0]) && says(c.Nodes[1]) && says(c.Nodes[2])
		})
		if r := c.Nodes[3].Agent.Status().Reporter; r.Error != "" || len(r.Elected) == 0 {
			t.Errorf("a node that does not report: %+v", r)
		}
		commit := change(c, "two\n")
		agree(t, c, commit, 2*time.Minute)
		pushes := func() int {
			mu.Lock()
			defer mu.Unlock()
			return tries
		}
		before := pushes()
		time.Sleep(2 * time.Hour)
		if n := pushes() - before; n > 3*2*10 {
			t.Errorf("%d pushes in two hours", n)
		}
		for _, n := range c.Nodes {
			n.Stop()
		}
		for _, n := range c.Nodes {
			n.Start()
		}
		agree(t, c, commit, 2*time.Minute)
		mu.Lock()
		readOnly = false
		mu.Unlock()
		t.Logf("reported after %s", c.Until("reports", 20*time.Minute, func() bool { return reported(c, commit) == 4 }))
		c.Until("nobody complains", 20*time.Minute, func() bool {
			return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return n.Agent.Status().Reporter.Error != "" })
		})
		settled(t, c, time.Minute)
		t.Logf("%d commits", audit(t, c))
	})
}
