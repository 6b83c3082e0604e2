package agenttest_test

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/schema"
)

// signedFleet is a fleet.cue with people and what else is said of trust.
func signedFleet(more string, people ...string) string {
	text := "package fleet\n\nfleet: {name: \"acme\", sync: interval: \"15s\", reports: interval: \"10s\"}\n"
	for _, p := range people {
		name, roles, _ := strings.Cut(p, "=")
		text += fmt.Sprintf("fleet: signers: %s: {keys: [%q], roles: [%q]}\n", name, agenttest.NewPerson(name).Public(), strings.Join(strings.Split(roles, ","), `", "`))
	}
	return strings.ReplaceAll(text, `\"`, `"`) + more
}

// anchoredCluster is a cluster whose nodes start to trust at its first commit.
func anchoredCluster(t *testing.T, seed uint64, n int, fleet string) (*agenttest.Cluster, string) {
	t.Helper()
	files := fleetFiles("one\n")
	files["fleet.cue"] = fleet
	c := agenttest.NewCluster(t, seed, n, files)
	first, err := c.Remote.Ref("refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range c.Nodes {
		node.Change = func(o *agent.Options) { o.Config.Trust = schema.AgentTrust{Anchor: first} }
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.Logs()
		}
	})
	return c, first
}

func startAll(c *agenttest.Cluster) {
	for _, n := range c.Nodes {
		n.Start()
	}
}

// refuseAll waits until each node refuses a commit as of one kind, and names it for all.
func refuseAll(t *testing.T, c *agenttest.Cluster, commit, kind, words string) {
	t.Helper()
	refuse(t, c, commit, kind, words, len(c.Nodes))
}

// refuse waits until each node names a commit that at least so many refuse.
func refuse(t *testing.T, c *agenttest.Cluster, commit, kind, words string, least int) {
	t.Helper()
	c.Until("commit "+commit[:12]+" refused by all: "+kind, 3*time.Minute, func() bool {
		for _, n := range c.Nodes {
			is := false
			for _, r := range n.Agent.Status().Refused {
				is = is || r.Commit == commit && r.Kind == kind && r.Nodes >= least && strings.Contains(r.Reason, words)
			}
			if !is {
				return false
			}
		}
		return true
	})
}

// nothingRefused waits until no node has anything to say of a refused commit.
func nothingRefused(c *agenttest.Cluster) {
	c.Until("nothing is refused", time.Minute, func() bool {
		for _, n := range c.Nodes {
			if len(n.Agent.Status().Refused) > 0 {
				return false
			}
		}
		return true
	})
}

func motdFile(text string) map[string]string {
	return map[string]string{"policies/web.cue": fleetFiles(text)["policies/web.cue"]}
}

func TestAnAnchoredFleetTakesWhatIsSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice, bob, carol := agenttest.NewPerson("alice"), agenttest.NewPerson("bob"), agenttest.NewPerson("carol")
		c, first := anchoredCluster(t, 61, 5, signedFleet("", "alice=root,policy", "bob=policy"))
		defer c.StopAll()
		// What is evaluated at all: before a commit is trusted nothing in it is read.
		var mu sync.Mutex
		evaluated := map[string]bool{} // texts of policies/web.cue and fleet.cue
		for _, n := range c.Nodes {
			anchored := n.Change
			n.Change = func(o *agent.Options) {
				anchored(o)
				o.Local.Judge = nil
				evaluate := o.Local.Evaluate
				o.Local.Evaluate = func(ctx context.Context, fsys fs.FS) (schema.Repo, []schema.Fault, error) {
					mu.Lock()
					for _, name := range []string{"policies/web.cue", "fleet.cue"} {
						if text, err := fs.ReadFile(fsys, name); err == nil {
							evaluated[string(text)] = true
						}
					}
					mu.Unlock()
					return evaluate(ctx, fsys)
				}
			}
		}
		startAll(c)
		agree(t, c, first, time.Minute)

		good := c.PushSigned(bob, motdFile("two\n"))
		agree(t, c, good, 30*time.Second)

		// With a fault that would be named if it were read, and two that would be evaluated.
		faulty := map[string]string{"policies/web.cue": "package fleet\n\nevil: {\n"}
		refuseAll(t, c, c.Push(faulty), "not agreed", "nobody with it has signed")
		c.Point(good)
		hers := map[string]string{"fleet.cue": signedFleet("", "carol=root,policy"), "policies/web.cue": faulty["policies/web.cue"]}
		refuseAll(t, c, c.PushAt(simulated.Repository, good, carol, hers), "not agreed", "belongs to no signer")
		c.Point(good)

		// Nobody's, and a stranger's: refused by all, named, and what was there is enforced.
		evil := motdFile("evil\n")
		refuseAll(t, c, c.Push(evil), "not agreed", "nobody with it has signed")
		c.Point(good)
		bad := c.PushAt(simulated.Repository, good, carol, motdFile("evil\n"))
		refuseAll(t, c, bad, "not agreed", "belongs to no signer")
		// A policy signer's change of what root owns.
		bad = c.PushAt(simulated.Repository, good, bob, map[string]string{"fleet.cue": signedFleet("", "alice=root,policy", "bob=root,policy")})
		refuseAll(t, c, bad, "not agreed", `the change of "fleet.cue" needs 1 of the role root`)
		for _, n := range c.Nodes {
			if motdOf(n) != "two\n" || !n.Holds(good) {
				t.Errorf("%s has %q", n.Name, motdOf(n))
			}
		}

		// Root takes bob's key away: what he signs then counts no more.
		revoked := c.PushAt(simulated.Repository, good, alice, map[string]string{"fleet.cue": signedFleet("", "alice=root,policy")})
		agree(t, c, revoked, time.Minute)
		refuseAll(t, c, c.PushSigned(bob, motdFile("bob again\n")), "not agreed", "")

		// The branch put back to what was well signed once.
		// Those that ask the remote refuse it, the others see that, and need not look.
		c.Point(good)
		refuse(t, c, good, "rewind", "does not follow on", 3)
		// And on top of what is in force all goes on, after a restart, too.
		for _, n := range c.Nodes[:2] {
			n.Stop()
			n.Start()
		}
		last := c.PushAt(simulated.Repository, revoked, alice, motdFile("three\n"))
		agree(t, c, last, time.Minute)
		nothingRefused(c)
		for _, n := range c.Nodes {
			if motdOf(n) != "three\n" {
				t.Errorf("%s: motd %q", n.Name, motdOf(n))
			}
		}
		mu.Lock()
		defer mu.Unlock()
		for _, text := range []string{faulty["policies/web.cue"], evil["policies/web.cue"], hers["fleet.cue"], motdFile("bob again\n")["policies/web.cue"]} {
			if evaluated[text] {
				t.Errorf("what nobody agreed to was evaluated: %q", text)
			}
		}
		if three := motdFile("three\n")["policies/web.cue"]; !evaluated[three] {
			t.Error("not even what was agreed to was seen to be evaluated")
		}
	})
}

// What somebody pushes upon a signed commit does not keep that from hosts for ever, and half of a change is not in force while
// the other half is being approved.
func TestWhatComesBeforeARefusedHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := agenttest.NewPerson("alice")
		c, first := anchoredCluster(t, 67, 4, signedFleet("", "alice=root,policy"))
		defer c.StopAll()
		startAll(c)
		agree(t, c, first, time.Minute)
		all := func(commit, motd string) bool {
			for _, n := range c.Nodes {
				if !n.Holds(commit) || motdOf(n) != motd {
					return false
				}
			}
			return true
		}

		// Two at once, of which the second is nobody's: it is refused, and the first is taken once that stays so.
		good := c.PushSigned(alice, motdFile("two\n"))
		evil := c.Push(motdFile("evil\n"))
		refuseAll(t, c, evil, "not agreed", "nobody with it has signed")
		time.Sleep(8 * time.Minute)
		if !all(first, "one\n") {
			t.Error("the first half of what was pushed is in force before anybody could approve the second")
		}
		c.Until("what comes before the refused head is in force", 15*time.Minute, func() bool { return all(good, "two\n") })
		refuseAll(t, c, evil, "not agreed", "nobody with it has signed")
		next := c.PushAt(simulated.Repository, good, alice, motdFile("three\n"))
		agree(t, c, next, time.Minute)
		nothingRefused(c)

		// With a fault it is not taken either.
		faulty := c.PushSigned(alice, map[string]string{"policies/web.cue": "package fleet\n\npolicy: web: {targets: all: true, mode: \"audti\"}\n"})
		evil = c.Push(motdFile("evil\n"))
		refuseAll(t, c, evil, "not agreed", "")
		time.Sleep(40 * time.Minute)
		if !all(next, "three\n") {
			t.Errorf("commit %s, which has a fault, or what is upon it is in force", faulty[:12])
		}

		// A host that is new then, too, gets what was agreed to.
		n := c.Nodes[3]
		n.Stop()
		good = c.PushAt(simulated.Repository, next, alice, motdFile("four\n"))
		for _, other := range c.Nodes[:3] {
			c.Until("the others have it", 2*time.Minute, func() bool { return other.Holds(good) })
		}
		evil = c.Push(motdFile("evil\n"))
		for _, name := range []string{"policy.git", "trust.json"} {
			if err := os.RemoveAll(filepath.Join(n.State(), name)); err != nil {
				t.Fatal(err)
			}
		}
		n.Start()
		c.Until("the new host has what is agreed to", 40*time.Minute, func() bool { return n.Holds(good) && motdOf(n) == "four\n" })
		refuseAll(t, c, evil, "not agreed", "")
	})
}

func TestApprovalsReachNodesThatNeverAskTheRemote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice, bob := agenttest.NewPerson("alice"), agenttest.NewPerson("bob")
		roles := "fleet: roles: {root: {paths: [\"fleet.cue\"], threshold: 1}, policy: {paths: [\"**\"], threshold: 2}}\n"
		c, first := anchoredCluster(t, 62, 6, signedFleet(roles, "alice=root,policy", "bob=policy"))
		defer c.StopAll()
		startAll(c)
		agree(t, c, first, time.Minute)
		commit := c.PushSigned(alice, motdFile("two\n"))
		refuseAll(t, c, commit, "not agreed", "needs 2 of the role policy, and only alice signed")
		c.Approve(agenttest.NewPerson("mallory"), "acme", first, commit)
		c.Approve(bob, "other", first, commit)
		time.Sleep(2 * time.Minute)
		refuseAll(t, c, commit, "not agreed", "only alice signed")
		c.Approve(bob, "acme", first, commit)
		one := c.Nodes[5].Agent
		if _, err := one.Sync(t.Context()); err != nil || one.Status().Commit != commit {
			t.Errorf("the answer to a sync after the approval: %v, with %s in force", err, one.Status().Commit)
		}
		agree(t, c, commit, 2*time.Minute)
		nothingRefused(c)
		// A commit that everybody's word is there for before it comes.
		next := c.PushAt("policy.git", commit, alice, motdFile("three\n"))
		c.Approve(bob, "acme", commit, next)
		agree(t, c, next, 2*time.Minute)

		// Two at once, and the word for the second comes first: what fleet.cue says in the first may not be read by then.
		under := c.PushAt("policy.git", next, alice, motdFile("four\n"))
		over := c.PushAt("policy.git", under, alice, motdFile("five\n"))
		c.Approve(bob, "acme", under, over)
		refuseAll(t, c, over, "not agreed", "on the way to it")
		c.Approve(bob, "acme", next, under)
		agree(t, c, over, 3*time.Minute)
		next = over

		// A node that was away takes several steps at once, from peers, and a new one all of them.
		away, gone := c.Nodes[5], next
		away.Stop()
		for i := range 3 {
			next = c.PushAt("policy.git", gone, alice, motdFile(fmt.Sprintf("step %d\n", i)))
			c.Approve(bob, "acme", gone, next)
			gone = next
			c.Until("the others have it", 2*time.Minute, func() bool { return c.Nodes[0].Holds(gone) && c.Nodes[4].Holds(gone) })
		}
		away.Start()
		agree(t, c, gone, 10*time.Minute)
		away.Stop()
		if err := os.RemoveAll(filepath.Join(away.State(), "policy.git")); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(away.State(), "trust.json")); err != nil {
			t.Fatal(err)
		}
		away.Start()
		agree(t, c, gone, 10*time.Minute)
	})
}

func TestAFreezeIsFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice, clock := agenttest.NewPerson("alice"), agenttest.NewPerson("clock")
		more := "fleet: freshness: \"1h\"\nfleet: roles: {root: {paths: [\"fleet.cue\"], threshold: 1}, policy: {paths: [\"**\"], threshold: 1}, beat: {paths: [], threshold: 1}}\n"
		c, first := anchoredCluster(t, 63, 4, signedFleet(more, "alice=root,policy", "clock=beat"))
		defer c.StopAll()
		startAll(c)
		agree(t, c, first, time.Minute)
		early := c.PushSigned(alice, motdFile("two\n"))
		refuseAll(t, c, early, "stale", "there is no heartbeat")
		c.Beat(alice, "acme", early) // whose role is another
		time.Sleep(2 * time.Minute)
		refuseAll(t, c, early, "stale", "there is no heartbeat")
		c.Beat(clock, "acme", early)
		agree(t, c, early, 3*time.Minute)
		time.Sleep(2 * time.Hour)
		for _, n := range c.Nodes {
			if s := n.Agent.Status(); !strings.Contains(strings.Join(s.Problems, "\n"), "new commits are refused") {
				t.Errorf("%s says nothing of an old heartbeat: %q", n.Name, s.Problems)
			} else if s.Trust.Stale == "" || s.Trust.Freshness != "1h" || s.At.Sub(s.Trust.Heartbeat) < 2*time.Hour || s.Trust.Anchor != first || s.Trust.Verified != early {
				t.Errorf("%s: status tells of trust %+v", n.Name, s.Trust)
			}
		}
		late := c.PushSigned(alice, motdFile("three\n"))
		refuseAll(t, c, late, "stale", "the newest heartbeat is of")
		c.Beat(clock, "acme", late)
		agree(t, c, late, 3*time.Minute)
		for _, n := range c.Nodes {
			if s := n.Agent.Status(); strings.Contains(strings.Join(s.Problems, "\n"), "heartbeat") {
				t.Errorf("%s: %q", n.Name, s.Problems)
			} else if s.Trust.Stale != "" || s.At.Sub(s.Trust.Heartbeat) > 5*time.Minute || s.Trust.Verified != late {
				t.Errorf("%s: status tells of trust %+v", n.Name, s.Trust)
			}
		}
	})
}

// The first heartbeat is signed right after the commit that names who may give them, and nobody waits for the second.
func TestTheFirstHeartbeatCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice, clock := agenttest.NewPerson("alice"), agenttest.NewPerson("clock")
		c, first := anchoredCluster(t, 69, 5, signedFleet("", "alice=root,policy"))
		defer c.StopAll()
		startAll(c)
		agree(t, c, first, time.Minute)
		more := "fleet: freshness: \"2h\"\nfleet: roles: {root: {paths: [\"fleet.cue\"]}, policy: {paths: [\"**\"]}, beat: {paths: []}}\n"
		begun := c.PushSigned(alice, map[string]string{"fleet.cue": signedFleet(more, "alice=root,policy", "clock=beat")})
		c.Beat(clock, "acme", begun)
		agree(t, c, begun, time.Minute)
		c.Until("the heartbeat counts everywhere", 2*time.Minute, func() bool {
			for _, n := range c.Nodes {
				if s := n.Agent.Status(); s.Trust.Stale != "" || s.Trust.Heartbeat.IsZero() || len(s.Problems) > 0 {
					return false
				}
			}
			return true
		})
		agree(t, c, c.PushSigned(alice, motdFile("two\n")), time.Minute)
	})
}

// TestAFreezeWithALiveHeartbeat: who hides new commits and passes the heartbeat on, which is as new as it should be.
func TestAFreezeWithALiveHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice, clock, other := agenttest.NewPerson("alice"), agenttest.NewPerson("clock"), agenttest.NewPerson("other")
		more := "fleet: freshness: \"3h\"\nfleet: roles: {root: {paths: [\"fleet.cue\"], threshold: 1}, policy: {paths: [\"**\"], threshold: 1}, beat: {paths: [], threshold: 1}}\n"
		c, first := anchoredCluster(t, 68, 5, signedFleet(more, "alice=root,policy", "clock=beat", "other=beat"))
		defer c.StopAll()
		startAll(c)
		c.Beat(clock, "acme", first)
		agree(t, c, first, time.Minute)
		// alarm waits until all nodes say so, and well until none says anything.
		alarm := func(words string, d time.Duration) {
			t.Helper()
			c.Until("all say: "+words, d, func() bool {
				for _, n := range c.Nodes {
					s := n.Agent.Status()
					if !strings.Contains(strings.Join(s.Problems, "\n"), words) || !strings.Contains(s.Trust.Withheld, words) || s.Trust.Stale != "" {
						return false
					}
				}
				return true
			})
		}
		silent := func(when string, nodes ...*agenttest.Node) {
			t.Helper()
			for _, n := range nodes {
				if s := n.Agent.Status(); len(s.Problems) > 0 || s.Trust.Withheld != "" || len(s.Refused) > 0 {
					t.Errorf("%s: %s says %q, %q, %v", when, n.Name, s.Problems, s.Trust.Withheld, s.Refused)
				}
			}
		}

		// Not for what comes within minutes: a heartbeat before its commit, one that is being agreed to, a node that was away.
		away := c.Nodes[4]
		away.Stop()
		two := c.PushSigned(alice, motdFile("two\n"))
		c.Point(first)
		c.Beat(clock, "acme", two)
		time.Sleep(5 * time.Minute)
		silent("a heartbeat that came before its commit", c.Nodes[:4]...)
		c.Point(two)
		time.Sleep(2 * time.Minute)
		away.Start()
		agree(t, c, two, 2*time.Minute)
		time.Sleep(11 * time.Minute)
		silent("when all is here", c.Nodes...)
		pending := c.Push(motdFile("nobody's\n"))
		c.Beat(clock, "acme", pending)
		refuseAll(t, c, pending, "not agreed", "")
		time.Sleep(11 * time.Minute)
		for _, n := range c.Nodes {
			if s := n.Agent.Status(); s.Trust.Withheld != "" {
				t.Errorf("%s, of a commit that is refused: %q", n.Name, s.Trust.Withheld)
			}
		}
		// Nor for one that is taken out of the branch, until a heartbeat after that still names it.
		c.Point(two)
		time.Sleep(12 * time.Minute)
		silent("a commit that was taken out of the branch", c.Nodes...)
		c.Beat(clock, "acme", pending)
		alarm("clock has signed at", 15*time.Minute)
		alarm(pending[:12]+" is the newest commit", time.Minute)
		c.Beat(clock, "acme", two)
		c.Until("all is well", time.Minute, func() bool {
			return c.Nodes[0].Agent.Status().Trust.Withheld == "" && away.Agent.Status().Trust.Withheld == ""
		})

		// The freeze: main stays, the heartbeat goes on. What another machine says, that is shown the old branch, hides nothing, nor
		// does something for a while that nobody can keep.
		three := c.PushAt(simulated.Repository, two, alice, motdFile("three\n"))
		c.Point(two)
		c.Beat(clock, "acme", three)
		for i := range 3 {
			time.Sleep(2 * time.Minute)
			if i == 1 {
				refuse(t, c, c.PushObjects(map[string][]byte{"large.bin": make([]byte, 33<<20)}), "", "too large", 3)
				c.Point(two)
			}
			time.Sleep(time.Minute)
			c.Beat(other, "acme", two)
		}
		alarm("a newer commit seems to be held back from here", 5*time.Minute)
		alarm(three[:12]+" is the newest commit", time.Minute)
		time.Sleep(10 * time.Minute)
		c.Beat(clock, "acme", three)
		time.Sleep(5 * time.Minute)
		for _, n := range c.Nodes {
			if got := strings.Count(n.Log.String(), "held back from here: clock has signed"); !n.Holds(two) || got != 2 { // pending, and three
				t.Errorf("%s: %d alarms in its log, and holds two: %v", n.Name, got, n.Holds(two))
			}
		}
		c.Point(three)
		agree(t, c, three, 2*time.Minute)
		time.Sleep(time.Minute)
		silent("after the freeze", c.Nodes...)

		// Another line, which is nobody's: evidence, an alarm, and nothing else. Who has the key of the heartbeat stops nothing.
		side, err := c.Commit("side", two, "side", motdFile("side\n"), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		c.Point(side)
		refuse(t, c, side, "rewind", "does not follow on", 2)
		c.Point(three)
		time.Sleep(2 * time.Minute)
		c.Beat(clock, "acme", side)
		time.Sleep(2 * time.Minute)
		c.Beat(clock, "acme", side)
		c.Until("those that know it tell of the other line", 15*time.Minute, func() bool {
			told := 0
			for _, n := range c.Nodes {
				s := n.Agent.Status()
				if strings.Contains(strings.Join(s.Problems, "\n"), "neither that nor "+three[:12]) {
					b, err := os.ReadFile(filepath.Join(n.State(), "forks", "heartbeat.json"))
					if err != nil || !strings.Contains(string(b), side) || !strings.Contains(string(b), "BEGIN SSH SIGNATURE") {
						t.Fatalf("%s: evidence %q, %v", n.Name, b, err)
					}
					told++
				} else if s.Trust.Withheld == "" {
					return false
				}
			}
			return told >= 2
		})
		four := c.PushAt(simulated.Repository, three, alice, motdFile("four\n"))
		agree(t, c, four, 2*time.Minute)
		c.Beat(clock, "acme", four)
		c.Until("the alarm ends", 2*time.Minute, func() bool {
			return c.Nodes[0].Agent.Status().Trust.Withheld == "" && away.Agent.Status().Trust.Withheld == ""
		})
		silent("in the end", c.Nodes...)
	})
}

func TestAForkShownToHalfTheFleetIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := agenttest.NewPerson("alice")
		// All ask: who asks is drawn, and where that is one half alone, nobody is shown the other side.
		c, first := anchoredCluster(t, 64, 6, signedFleet("fleet: sync: fetchers: 6\n", "alice=root,policy"))
		defer c.StopAll()
		startAll(c)
		agree(t, c, first, time.Minute)
		for _, n := range c.Nodes {
			n.Stop()
		}
		c.CopyRemote("other.git")
		other := (&url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(c.Dir, "other.git"))}).String()
		one := c.PushAt(simulated.Repository, first, alice, motdFile("one side\n"))
		two := c.PushAt("other.git", first, alice, motdFile("other side\n"))
		for i, n := range c.Nodes {
			n.Change = func(o *agent.Options) {
				o.Config.Trust = schema.AgentTrust{Anchor: first}
				if i%2 == 1 {
					o.Config.Repo.URL = other
				}
			}
			n.Start()
		}
		c.Until("all know of the fork", 2*time.Hour, func() bool {
			for _, n := range c.Nodes {
				if !strings.Contains(strings.Join(n.Agent.Status().Problems, "\n"), "both well signed") {
					return false
				}
			}
			return true
		})
		for _, n := range c.Nodes {
			mine, theirs := one, two
			if n.Holds(two) {
				mine, theirs = two, one
			}
			if !n.Holds(mine) {
				t.Errorf("%s holds neither", n.Name)
			}
			b, err := os.ReadFile(filepath.Join(n.State(), "forks", theirs+".json"))
			if err != nil || !strings.Contains(string(b), mine) || !strings.Contains(string(b), first) {
				t.Errorf("%s: evidence %q, %v", n.Name, b, err)
			}
		}
		// It is told until somebody has looked, after a start, too.
		n := c.Nodes[0]
		told := func() bool {
			return strings.Contains(strings.Join(n.Agent.Status().Problems, "\n"), "both well signed")
		}
		n.Stop()
		n.Start()
		time.Sleep(time.Minute)
		if !told() {
			t.Errorf("after a start it says %q", n.Agent.Status().Problems)
		}
		if err := os.RemoveAll(filepath.Join(n.State(), "forks")); err != nil {
			t.Fatal(err)
		}
		c.Until("the alarm ends", 2*time.Minute, func() bool { return !told() })
	})
}
