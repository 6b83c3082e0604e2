package agenttest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
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
		commit := func(of string, parents ...string) string {
			t.Helper()
			args := []string{"-C", filepath.Join(c.Dir, simulated.Repository), "commit-tree", c.TreeOf(of), "-m", "by the forge"}
			for _, p := range parents {
				args = append(args, "-p", p)
			}
			cmd := exec.Command("git", args...)
			at := fmt.Sprintf("%d +0000", time.Now().Unix())
			cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=f", "GIT_AUTHOR_EMAIL=f@f", "GIT_COMMITTER_NAME=f", "GIT_COMMITTER_EMAIL=f@f", "GIT_AUTHOR_DATE="+at, "GIT_COMMITTER_DATE="+at)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return strings.TrimSpace(string(out))
		}
		base := first
		for _, how := range []string{"merge", "squash"} {
			branch := c.PushAt(simulated.Repository, base, alice, motdFile("of a "+how+"\n"))
			tip := c.PushAt(simulated.Repository, branch, alice, motdFile("more of a "+how+"\n"))
			shown := tip
			var main string
			if how == "merge" {
				main = commit(tip, base, tip)
			} else {
				// One commit alone, as most branches are.
				tip = c.PushAt(simulated.Repository, base, alice, motdFile("a squash\n"))
				main, shown = commit(tip, base), tip
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
