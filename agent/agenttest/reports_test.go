package agenttest_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/agent/peer"
	"github.com/dunlin-dev/dunlin/agent/record"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

// remote breaks how one node's reports reach their remote.
type remote struct {
	agent.ReportsRemote
	fetch func(real func() (string, error)) (string, error)
	push  func(real func() error) error
}

func (r remote) Fetch(ctx context.Context, branch string, refs ...string) (string, error) {
	real := func() (string, error) { return r.ReportsRemote.Fetch(ctx, branch, refs...) }
	if r.fetch == nil {
		return real()
	}
	return r.fetch(real)
}

func (r remote) Push(ctx context.Context, branch, commit, old string) error {
	real := func() error { return r.ReportsRemote.Push(ctx, branch, commit, old) }
	if r.push == nil {
		return real()
	}
	return r.push(real)
}

// onPush has what a node pushes go through f, from its next start on.
func onPush(n *agenttest.Node, f func(real func() error) error) {
	n.Change = func(o *agent.Options) {
		o.Reports = func(r agent.ReportsRemote) agent.ReportsRemote { return remote{ReportsRemote: r, push: f} }
	}
}

// noCredential makes a node one that may not write reports.
func noCredential(n *agenttest.Node) {
	n.Change = func(o *agent.Options) { o.Config.Reports = nil }
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// audit holds the whole history of the reports branch to the law: a commit changes something; a line is signed by its
// node, comes once, and is followed by one with a higher revision; none goes away. What stands in the end is what the
// nodes say. It gives the number of commits.
func audit(t *testing.T, c *agenttest.Cluster) int {
	t.Helper()
	keys := map[string]ed25519.PublicKey{}
	for _, n := range c.Nodes {
		keys[n.Keys.ID()] = n.Keys.Public()
	}
	newest := map[string]uint64{} // revision by node
	last, commits := "", 0
	for line := range strings.Lines(git(t, c.Path(), "log", "--reverse", "--format=commit %H %T %P", "-p", "-U0", "--no-color", "--no-renames", "reports") + "\n") {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "commit "):
			commits++
			f := strings.Fields(line)
			if f[2] == last || len(f) > 4 {
				t.Errorf("commit %s changes nothing, or is a merge", f[1])
			}
			last = f[2]
		case strings.HasPrefix(line, `+{"commit":`):
			l, err := report.ParseLine([]byte(line[1:]))
			if err == nil {
				_, err = report.VerifyLine([]byte(line[1:]), keys[l.Node])
			}
			if err != nil {
				t.Errorf("written: %v: %s", err, line)
				continue
			}
			if l.Rev <= newest[l.Node] {
				t.Errorf("duplicated: revision %d of %s after %d", l.Rev, l.Node, newest[l.Node])
			}
			newest[l.Node] = l.Rev
		}
	}
	if bad := unreported(t, c); len(bad) > 0 {
		t.Errorf("lost: %s", strings.Join(bad, "; "))
	}
	tree, _, err := gitrepo.OpenRef(c.Path(), "refs/heads/reports")
	if err != nil {
		t.Fatal(err)
	}
	list := func(dir string) ([]string, error) {
		entries, err := fs.ReadDir(tree.FS, dir)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names, err
	}
	lines, bad, err := report.Verify(func(path string) ([]byte, error) { return fs.ReadFile(tree.FS, path) }, list, "acme", keys)
	if err != nil || len(bad) > 0 || lines != len(newest) {
		t.Errorf("verify: %d lines of %d nodes, %v, %v", lines, len(newest), bad, err)
	}
	return commits
}

// standing is a node's line on the branch, empty where there is none.
func standing(c *agenttest.Cluster, n *agenttest.Node) string {
	for line := range strings.Lines(c.Reports("nodes/" + report.Shard(n.Keys.ID()) + ".jsonl")) {
		if strings.Contains(line, `"node":"`+n.Keys.ID()+`"`) {
			return strings.TrimSuffix(line, "\n")
		}
	}
	return ""
}

// own is the line that a node that runs says of itself.
func own(n *agenttest.Node) string {
	for _, l := range n.Agent.Lines() {
		if l.Name == n.Name {
			return string(l.Line)
		}
	}
	return ""
}

// unreported says of which nodes the branch has not the line that they say.
func unreported(t *testing.T, c *agenttest.Cluster) []string {
	t.Helper()
	var bad []string
	for _, n := range c.Nodes {
		said, has := own(n), standing(c, n)
		var a, b schema.ReportLine
		if json.Unmarshal([]byte(said), &a) != nil || json.Unmarshal([]byte(has), &b) != nil || a.Sig != b.Sig {
			bad = append(bad, fmt.Sprintf("%s says revision %d, the branch has %d", n.Name, a.Rev, b.Rev))
		}
	}
	return bad
}

// settled waits until the branch says what all nodes say.
func settled(t *testing.T, c *agenttest.Cluster, d time.Duration) {
	t.Helper()
	c.Until("reports of all", d, func() bool { return len(unreported(t, c)) == 0 })
}

// revision is that of a node's line on the branch, 0 where there is none.
func revision(c *agenttest.Cluster, n *agenttest.Node) uint64 {
	_, text, _ := strings.Cut(standing(c, n), `"rev":`)
	text, _, _ = strings.Cut(text, ",")
	rev, _ := strconv.ParseUint(text, 10, 64)
	return rev
}

// spoil makes a node non-compliant: a managed file is a folder. mend takes that back.
func spoil(t *testing.T, n *agenttest.Node) (mend func()) {
	t.Helper()
	motd := filepath.Join(n.Host.Dir, "files", "etc", "motd")
	if err := errors.Join(os.Remove(motd), os.Mkdir(motd, 0o755)); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(motd); err != nil {
			t.Fatal(err)
		}
	}
}

func wellOnBranch(c *agenttest.Cluster, n *agenttest.Node) bool {
	return strings.Contains(standing(c, n), `"Policy":"COMPLIANT"`)
}

// shows logs what the nodes said where a test failed.
func shows(t *testing.T, c *agenttest.Cluster) {
	if t.Failed() {
		c.Logs()
	}
}

// elected are the nodes that write reports, in order.
func elected(c *agenttest.Cluster) []*agenttest.Node {
	var out []*agenttest.Node
	for _, name := range c.Nodes[0].Agent.Status().Reporter.Elected {
		out = append(out, c.Nodes[slices.IndexFunc(c.Nodes, func(n *agenttest.Node) bool { return n.Name == name })])
	}
	return out
}

func change(c *agenttest.Cluster, text string) string {
	return c.Push(map[string]string{"policies/web.cue": fleetFiles(text)["policies/web.cue"]})
}

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

// Two halves of a fleet that do not see each other each have a reporter that is the first, and both push upon the same
// commit at the same time. What either says is on the branch.
func TestTwoReportersPushAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 11, 4, fleetFiles("one\n"))
		defer shows(t, c)
		defer c.StopAll()
		var mu sync.Mutex
		waiting, rejected := 0, 0
		both := make(chan struct{})
		for _, n := range c.Nodes {
			onPush(n, func(real func() error) error {
				mu.Lock()
				if waiting++; waiting == 2 {
					close(both)
				}
				mu.Unlock()
				select {
				case <-both:
				case <-time.After(time.Minute):
				}
				err := real()
				if errors.Is(err, gitrepo.ErrRejected) {
					mu.Lock()
					rejected++
					mu.Unlock()
				}
				return err
			})
		}
		c.Net.Partition([]string{c.Nodes[0].Addr, c.Nodes[1].Addr}, []string{c.Nodes[2].Addr, c.Nodes[3].Addr})
		for _, n := range c.Nodes {
			n.Start()
		}
		settled(t, c, 3*time.Minute)
		if rejected == 0 {
			t.Error("no push was rejected: they did not meet")
		}
		commit := change(c, "two\n")
		agree(t, c, commit, 2*time.Minute)
		settled(t, c, 3*time.Minute)
		c.Net.Heal()
		commit = change(c, "three\n")
		agree(t, c, commit, 2*time.Minute)
		settled(t, c, 3*time.Minute)
		t.Logf("%d commits, %d pushes rejected", audit(t, c), rejected)
	})
}

// A remote that refuses half of all pushes, and of those that it takes half look as if they had failed, loses nothing and
// is told nothing twice.
func TestARemoteThatRefusesHalfOfAllPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 12, 6, fleetFiles("one\n"))
		defer shows(t, c)
		defer c.StopAll()
		for _, n := range c.Nodes {
			onPush(n, flaky(12))
		}
		for _, n := range c.Nodes {
			n.Start()
		}
		for i := range 6 {
			agree(t, c, change(c, fmt.Sprintf("text %d\n", i)), 2*time.Minute)
			mend := spoil(t, c.Nodes[i])
			c.Until("told", 30*time.Minute, func() bool { return !wellOnBranch(c, c.Nodes[i]) })
			mend()
		}
		c.Until("all are well again", time.Hour, func() bool {
			return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return !wellOnBranch(c, n) })
		})
		settled(t, c, time.Hour)
		t.Logf("%d commits", audit(t, c))
	})
}

// flaky refuses half of all pushes, and half of those that went through it calls failed.
func flaky(seed uint64) func(real func() error) error {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 1))
	return func(real func() error) error {
		mu.Lock()
		x := random.Float64()
		mu.Unlock()
		if x < 0.25 {
			return fmt.Errorf("push: %w: the server is tired", gitrepo.ErrRejected)
		}
		if x < 0.5 {
			return fmt.Errorf("push: %w: connection reset", gitrepo.ErrUnreachable)
		}
		err := real()
		if err == nil && x > 0.75 {
			return fmt.Errorf("push: %w: no answer", gitrepo.ErrUnreachable)
		}
		return err
	}
}

// The first reporter dies at each point of its work; the next takes its place, and when the first comes back nothing is
// told again.
func TestAReporterDiesInTheMiddle(t *testing.T) {
	for name, die := range map[string]func(kill func(), real func() error) error{
		"before it pushes": func(kill func(), _ func() error) error { kill(); return context.Canceled },
		"after it has pushed": func(kill func(), real func() error) error {
			err := real()
			kill()
			return errors.Join(err, context.Canceled)
		},
		"while the remote asks": func(kill func(), real func() error) error { go kill(); time.Sleep(time.Second); return real() },
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := agenttest.NewCluster(t, 13, 4, fleetFiles("one\n"))
				defer shows(t, c)
				defer c.StopAll()
				var victim *agenttest.Node
				dead := make(chan struct{})
				for _, n := range c.Nodes {
					onPush(n, func(real func() error) error {
						if n != victim {
							return real()
						}
						victim = nil
						return die(func() { go func() { n.PowerCut(); close(dead) }() }, real)
					})
				}
				for _, n := range c.Nodes {
					n.Start()
				}
				settled(t, c, 3*time.Minute)
				first := elected(c)[0]
				victim = first
				commit := change(c, "two\n")
				agree(t, c, commit, 2*time.Minute)
				<-dead
				others := slices.DeleteFunc(slices.Clone(c.Nodes), func(n *agenttest.Node) bool { return n == first })
				t.Logf("others told after %s", c.Until("the others' reports", 5*time.Minute, func() bool {
					return !slices.ContainsFunc(others, func(n *agenttest.Node) bool { return !strings.Contains(standing(c, n), commit) })
				}))
				commit = change(c, "three\n")
				c.Until("the others hold it", 2*time.Minute, func() bool {
					return !slices.ContainsFunc(others, func(n *agenttest.Node) bool { return !n.Holds(commit) })
				})
				first.Start()
				agree(t, c, commit, 3*time.Minute)
				settled(t, c, 5*time.Minute)
				t.Logf("%d commits", audit(t, c))
			})
		})
	}
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

// One reporter's credential is refused: the next does its work, and the first is asked again once it can.
func TestAReporterThatCannotPushIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 18, 4, fleetFiles("one\n"))
		defer shows(t, c)
		defer c.StopAll()
		var mu sync.Mutex
		refused := map[*agenttest.Node]bool{}
		for _, n := range c.Nodes {
			onPush(n, func(real func() error) error {
				mu.Lock()
				defer mu.Unlock()
				if refused[n] {
					return fmt.Errorf("push: %w: 403", gitrepo.ErrAuth)
				}
				return real()
			})
		}
		for _, n := range c.Nodes {
			n.Start()
		}
		settled(t, c, 3*time.Minute)
		both := elected(c)
		mu.Lock()
		refused[both[0]], refused[both[1]] = true, true
		mu.Unlock()
		commit := change(c, "two\n")
		agree(t, c, commit, 2*time.Minute)
		t.Logf("reported after %s", c.Until("reports", 10*time.Minute, func() bool { return reported(c, commit) == 4 }))
		mu.Lock()
		clear(refused)
		mu.Unlock()
		c.Until("the first are elected again", 40*time.Minute, func() bool { return slices.Equal(elected(c), both) })
		settled(t, c, time.Minute)
		audit(t, c)
	})
}

// Two hosts with one key: what both said under one revision is kept, and the page names the node.
func TestAClonedIdentityIsKeptAsAConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 19, 4, fleetFiles("one\n"))
		defer shows(t, c)
		defer c.StopAll()
		for _, n := range c.Nodes {
			n.Start()
		}
		settled(t, c, 3*time.Minute)
		node := c.Nodes[3]
		node.Stop()
		twin := node.Copy("twin", "10.1.9.9")
		node.Start()
		twin.Start()
		for i := 0; i < 20 && c.Reports("conflicts.jsonl") == ""; i++ {
			mend := spoil(t, []*agenttest.Node{node, twin}[i%2])
			time.Sleep(90 * time.Second)
			mend()
			time.Sleep(90 * time.Second)
			t.Logf("round %d: revision %d", i, revision(c, node))
		}
		conflicts := c.Reports("conflicts.jsonl")
		if n := strings.Count(conflicts, `"rev"`); n < 3 || !strings.Contains(conflicts, node.Keys.ID()) {
			t.Fatalf("conflicts: %q", conflicts)
		}
		c.Until("the page names it", 10*time.Minute, func() bool {
			return strings.Contains(strings.ReplaceAll(c.Reports("README.md"), "\u2011", "-"), "conflict")
		})
		others := slices.DeleteFunc(slices.Clone(c.Nodes), func(n *agenttest.Node) bool { return n == node })
		commit := change(c, "two\n")
		c.Until("the others are reported all the same", 10*time.Minute, func() bool {
			return !slices.ContainsFunc(others, func(n *agenttest.Node) bool { return !strings.Contains(standing(c, n), commit) })
		})
		t.Logf("conflicts.jsonl: %d lines", strings.Count(conflicts, "\n"))
	})
}

// Only the nodes that fleet.reports.reporters selects write, and none where the branch would be the policy's.
func TestThePolicySaysWhoReportsAndWhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 20, 4, fleetFiles("one\n"))
		defer shows(t, c)
		defer c.StopAll()
		var mu sync.Mutex
		wrote := map[string]int{}
		for _, n := range c.Nodes {
			onPush(n, func(real func() error) error {
				mu.Lock()
				wrote[n.Name]++
				mu.Unlock()
				return real()
			})
			wrapped := n.Change
			n.Change = func(o *agent.Options) {
				wrapped(o)
				o.Config.Reports.Remote = "file://" + filepath.Dir(c.Path()) + "/other.git"
			}
		}
		fleet := func(reports string) string {
			return "package fleet\n\nfleet: {name: \"acme\", sync: interval: \"15s\", reports: " + reports + "}\n"
		}
		commit := c.Push(map[string]string{"fleet.cue": fleet(`{interval: "10s", reporters: nodes: ["node-02"]}`)})
		for _, n := range c.Nodes {
			n.Start()
		}
		agree(t, c, commit, 2*time.Minute)
		settled(t, c, 5*time.Minute)
		mu.Lock()
		if len(wrote) != 1 || wrote["node-02"] == 0 {
			t.Errorf("reports are written by %v", wrote)
		}
		mu.Unlock()
		// The fleet's file says another branch than the hosts follow, so that nothing is wrong with it but here.
		elsewhere := strings.Replace(fleet(`{interval: "10s", branch: "main"}`), `sync: interval: "15s"`, `sync: {interval: "15s", branch: "trunk"}`, 1)
		head := c.Push(map[string]string{"fleet.cue": elsewhere})
		agree(t, c, head, 2*time.Minute)
		c.Until("it is refused", 10*time.Minute, func() bool {
			return strings.Contains(elected(c)[0].Agent.Status().Reporter.Error, "the branch of the policy")
		})
		if at := git(t, c.Path(), "rev-parse", "main"); at != head {
			t.Fatalf("main is at %s", at)
		}
		// Elsewhere: the lines go along.
		git(t, filepath.Dir(c.Path()), "init", "-q", "--bare", "other.git")
		commit = c.Push(map[string]string{"fleet.cue": fleet(fmt.Sprintf(`{interval: "10s", branch: "state", remote: "file://%s/other.git"}`, filepath.Dir(c.Path())))})
		agree(t, c, commit, 2*time.Minute)
		c.Until("the branch is there", 30*time.Minute, func() bool {
			out, err := exec.Command("git", "-C", filepath.Join(filepath.Dir(c.Path()), "other.git"), "grep", "-c", commit, "state", "--", "nodes").Output()
			return err == nil && strings.Count(string(out), "\n") >= 1
		})
	})
}

// rogue speaks for a node whose agent does not run: a host that somebody has taken over. It says what publish is given.
func rogue(t *testing.T, c *agenttest.Cluster, n *agenttest.Node) (publish func(kind schema.RecordKind, body any), stop func()) {
	t.Helper()
	boot, err := record.NextBoot(n.State())
	if err != nil {
		t.Fatal(err)
	}
	pins, keys := map[string]string{}, map[string]ed25519.PublicKey{}
	for _, one := range c.Nodes {
		line := one.Keys.Line(one.Name, "debian", nil, time.Now())
		pins[one.Keys.ID()], keys[one.Keys.ID()] = line.Keys.TLS, one.Keys.Public()
	}
	records := record.New(record.Config{Key: n.Keys.Sign, Boot: boot, Jump: func(boot uint64) error { return record.SetBoot(n.State(), boot) },
		Keys: func(id string) (ed25519.PublicKey, bool) { k, ok := keys[id]; return k, ok }})
	network := c.Net.Host(n.Addr)
	l, err := network.Listen(n.Addr + ":7951")
	if err != nil {
		t.Fatal(err)
	}
	peers, err := peer.New(peer.Config{Self: n.Keys.ID(), Cert: n.Keys.TLS, Pins: func() map[string]string { return pins }, Listener: l, Dial: network.Dial, Store: records})
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := gossip.Start(gossip.Config{Name: n.Keys.ID(), Key: slices.Repeat([]byte{9}, 32), Label: "dunlin", Bind: n.Addr + ":7950", Advertise: "",
		Peer: ":7951", Join: []string{c.Nodes[0].Addr + ":7950"}, Network: network,
		Keys: func(id string) (ed25519.PublicKey, bool) { k, ok := keys[id]; return k, ok }, Sign: signer(n.Keys.Sign, 1<<20)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = peers.Serve(ctx) })
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-records.Changed():
				peers.Offer()
			case <-cluster.Changed():
				var members []peer.Member
				for _, m := range cluster.Members() {
					if m.ID != n.Keys.ID() {
						members = append(members, peer.Member{ID: m.ID, Addr: m.Peer})
					}
				}
				peers.SetMembers(members)
			}
		}
	})
	publish = func(kind schema.RecordKind, body any) {
		t.Helper()
		if _, err := records.Publish(kind, "", body); err != nil {
			t.Fatal(err)
		}
	}
	return publish, sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		leave, end := context.WithTimeout(context.Background(), 3*time.Second)
		defer end()
		cluster.Leave(leave)
	})
}

// A host that somebody has taken over can say of itself what it wants, and of nobody else, and nothing that is not signed
// as a line must be; what it said before stands until it says something sound.
func TestWhatATakenOverHostSaysIsChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 21, 4, fleetFiles("one\n"))
		defer shows(t, c)
		defer c.StopAll()
		for _, n := range c.Nodes {
			n.Start()
		}
		settled(t, c, 3*time.Minute)
		victim, other := c.Nodes[3], c.Nodes[1]
		stands, others := standing(c, victim), standing(c, other)
		var good schema.ReportLine
		if err := json.Unmarshal([]byte(stands), &good); err != nil {
			t.Fatal(err)
		}
		victim.Stop()
		time.Sleep(time.Minute)
		publish, stop := rogue(t, c, victim)
		defer stop()
		signed := func(change func(*schema.ReportLine)) schema.ReportLine {
			l := good
			l.Rev += 5
			change(&l)
			l, err := report.SignLine(l, victim.Keys.Sign)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		forged := signed(func(*schema.ReportLine) {})
		forged.Rev++
		of := good
		of.Node, of.Rev = other.Keys.ID(), 900
		for i, body := range []any{
			forged, of, // a bad signature; another node's line
			signed(func(l *schema.ReportLine) { l.Fleet = "other" }),
			signed(func(l *schema.ReportLine) { l.Rev = good.Rev - min(1, good.Rev-1) }), // what it said long ago
			map[string]any{"v": 1, "node": victim.Keys.ID(), "rev": -1}, "text", []int{1}, nil,
			map[string]any{"v": 2, "node": victim.Keys.ID(), "rev": 1 << 40},
			map[string]any{"v": 1, "node": victim.Keys.ID(), "rev": 99, "compliance": map[string]string{"<script>": "x"}, "sig": strings.Repeat("A", 60_000)},
		} {
			publish(schema.RecordReport, body)
			commit := change(c, fmt.Sprintf("forged %d\n", i))
			c.Until("the others are reported", 3*time.Minute, func() bool {
				return !slices.ContainsFunc(c.Nodes[:3], func(n *agenttest.Node) bool { return !strings.Contains(standing(c, n), commit) })
			})
			if got := standing(c, victim); got != stands {
				t.Errorf("case %d: the branch has %s", i, got)
			}
			if strings.Contains(c.Reports("README.md"), "<script") {
				t.Errorf("case %d: the page holds what it said", i)
			}
		}
		if rev := revision(c, other); rev > 500 || others == "" {
			t.Errorf("another node's revision is %d", rev)
		}
		publish(schema.RecordReport, signed(func(l *schema.ReportLine) { l.Compliance = map[string]schema.Compliance{"Patch": schema.NonCompliant} }))
		c.Until("what is sound stands", 3*time.Minute, func() bool { return strings.Contains(standing(c, victim), `"Patch":"NON_COMPLIANT"`) })
		stop()
		// The host is its owner's again: it goes on above what was said in its name.
		time.Sleep(time.Minute)
		victim.Start()
		settled(t, c, 10*time.Minute)
		audit(t, c)
	})
}
