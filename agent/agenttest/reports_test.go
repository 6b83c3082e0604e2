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
