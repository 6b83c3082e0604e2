package agenttest_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/simulated"
)

// Who shows a commit again that was merged, with its own history or as a squash, has old and well signed ones at hand. That is
// refused as old, and no evidence of anything: else everybody who can push could raise an alarm on each host, for good.
func TestABranchThatWasMergedIsNoFork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := agenttest.NewPerson("alice")
		c, first := anchoredCluster(t, 83, 3, signedFleet("", "alice=root,policy"))
		defer c.StopAll()
		startAll(c)
		agree(t, c, first, time.Minute)
		alarmed := func() string {
			var out []string
			for _, n := range c.Nodes {
				if text := strings.Join(n.Agent.Status().Problems, "\n"); strings.Contains(text, "both well signed") {
					out = append(out, n.Name+": "+text)
				}
			}
			return strings.Join(out, "\n")
		}
		base := first
		for _, how := range []string{"merge", "squash"} {
			branch := c.PushAt(simulated.Repository, base, alice, motdFile("of a "+how+"\n"))
			tip := c.PushAt(simulated.Repository, branch, alice, motdFile("more of a "+how+"\n"))
			shown := tip
			var main string
			if how == "merge" {
				main = byForge(t, c, tip, base, tip)
			} else {
				// One commit alone, as most branches are.
				tip = c.PushAt(simulated.Repository, base, alice, motdFile("a squash\n"))
				main, shown = byForge(t, c, tip, base), tip
				c.Approve(alice, "acme", base, main)
			}
			c.PointAt(simulated.Repository, main)
			agree(t, c, main, 3*time.Minute)
			c.PointAt(simulated.Repository, shown)
			refuse(t, c, shown, "rewind", "does not follow on", 1)
			time.Sleep(5 * time.Minute)
			if text := alarmed(); text != "" {
				t.Errorf("%s: %s", how, text)
			}
			c.PointAt(simulated.Repository, main)
			nothingRefused(c)
			base = main
		}
	})
}

// A commit that was refused, then taken out of the branch, and put back into it later, is judged anew also by nodes that have no
// turn of asking the remote: it may be agreed to by then.
func TestABranchThatIsPutBackAndForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice, bob := agenttest.NewPerson("alice"), agenttest.NewPerson("bob")
		roles := "fleet: roles: {root: {paths: [\"fleet.cue\"], threshold: 1}, policy: {paths: [\"**\"], threshold: 2}}\n"
		c, first := anchoredCluster(t, 84, 5, signedFleet(roles, "alice=root,policy", "bob=policy"))
		defer c.StopAll()
		startAll(c)
		agree(t, c, first, time.Minute)
		next := c.PushSigned(alice, motdFile("two\n"))
		refuseAll(t, c, next, "not agreed", "only alice signed")
		for range 2 {
			c.Point(first)
			c.Until("the refused commit is passed by", 3*time.Minute, func() bool {
				for _, n := range c.Nodes {
					if len(n.Agent.Status().Refused) > 0 {
						return false
					}
				}
				return true
			})
			c.Point(next)
			refuseAll(t, c, next, "not agreed", "only alice signed")
		}
		c.Point(first)
		time.Sleep(3 * time.Minute)
		c.Approve(bob, "acme", first, next)
		c.Point(next)
		agree(t, c, next, 2*time.Minute)
		nothingRefused(c)
	})
}

// byForge makes a commit as a forge does that merges: unsigned, with the files of another.
func byForge(t *testing.T, c *agenttest.Cluster, of string, parents ...string) string {
	t.Helper()
	args := []string{"commit-tree", c.TreeOf(of), "-m", "by the forge"}
	for _, p := range parents {
		args = append(args, "-p", p)
	}
	return gitIn(t, c, nil, args...)
}

// gitIn runs git in the cluster's repository.
func gitIn(t *testing.T, c *agenttest.Cluster, in io.Reader, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", filepath.Join(c.Dir, simulated.Repository)}, args...)...)
	at := fmt.Sprintf("%d +0000", time.Now().Unix())
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=f", "GIT_AUTHOR_EMAIL=f@f", "GIT_COMMITTER_NAME=f", "GIT_COMMITTER_EMAIL=f@f", "GIT_AUTHOR_DATE="+at, "GIT_COMMITTER_DATE="+at)
	cmd.Stdin = in
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v: %v", args, err)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// A merged line of which a server left out the beginning while it was in wrong hands is asked for once more, where the right people
// have signed it: else the host would refuse that merge, and all upon it, ever after.
func TestWhatAServerLeftOutOfAMergedLineIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := agenttest.NewPerson("alice")
		c, first := anchoredCluster(t, 85, 1, signedFleet("", "alice=root,policy"))
		defer c.StopAll()
		begun := c.PushAt(simulated.Repository, first, alice, motdFile("begun\n"))
		tip := c.PushAt(simulated.Repository, begun, alice, motdFile("done\n"))
		main := byForge(t, c, tip, first, tip)
		c.PointAt(simulated.Repository, main)
		list := gitIn(t, c, nil, "rev-list", "--objects", "--no-walk", first, tip, main)
		pack := gitIn(t, c, strings.NewReader(strings.Join(firstWords(list), "\n")+"\n"), "pack-objects", "--stdout", "-q")
		dir := filepath.Join(c.Nodes[0].State(), "policy.git")
		remote := gitrepo.Remote{URL: filepath.Join(c.Dir, simulated.Repository), Branch: "main", Since: first}
		s, err := gitrepo.OpenStore(dir, remote)
		if err == nil {
			err = s.Ingest(context.Background(), strings.NewReader(pack), main, "")
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "shallow"), []byte(tip+"\n"), 0o600)
		}
		if s, err2 := gitrepo.OpenStore(dir, remote); err != nil || err2 != nil || s.Knows(begun) || !s.Source().Ends(tip) {
			t.Fatal(err, err2)
		}
		startAll(c)
		agree(t, c, main, 5*time.Minute)
		nothingRefused(c)
	})
}

func firstWords(text string) (out []string) {
	for line := range strings.Lines(text) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		out = append(out, word)
	}
	return out
}
