package agenttest_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/schema"
)

// A host that is given a later anchor takes nothing from before it, from the remote or from the others, whatever these have,
// and refuses what the others refuse.
func TestALaterAnchorSparesTheHistoryBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice, clock := agenttest.NewPerson("alice"), agenttest.NewPerson("clock")
		roles := "fleet: roles: {root: {paths: [\"fleet.cue\"], threshold: 1}, policy: {paths: [\"**\"], threshold: 1}, beat: {paths: [], threshold: 1}}\n"
		c, first := anchoredCluster(t, 69, 4, signedFleet(roles, "alice=root,policy", "clock=beat"))
		defer c.StopAll()
		var line []string
		for i := range 9 { // few: the remote, a store as those of agents, keeps all files of so many
			line = append(line, c.PushSigned(alice, motdFile(fmt.Sprintf("step %d\n", i))))
			if i == 4 {
				c.Beat(clock, "acme", line[4]) // the newest heartbeat names what a host with a later anchor never sees
			}
			time.Sleep(time.Second)
		}
		before, anchor, later, head := line[4], line[5], "", line[8]
		anchored := func(at string) func(*agent.Options) {
			return func(o *agent.Options) { o.Config.Trust = schema.AgentTrust{Anchor: at} }
		}
		anew := func(n *agenttest.Node, at string) {
			t.Helper()
			for _, name := range []string{"policy.git", "trust.json"} {
				if err := os.RemoveAll(filepath.Join(n.State(), name)); err != nil {
					t.Fatal(err)
				}
			}
			n.Change = anchored(at)
			n.Start()
		}
		knows := func(n *agenttest.Node, commit string) bool {
			src, err := gitrepo.OpenSource(filepath.Join(n.State(), "policy.git"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = src.Commit(commit)
			return err == nil
		}
		begins := func(n *agenttest.Node, at string, without ...string) {
			t.Helper()
			b, err := os.ReadFile(filepath.Join(n.State(), "policy.git", "shallow"))
			if string(b) != at+"\n" || !knows(n, at) || !knows(n, head) {
				t.Errorf("%s: the store begins at %q (%v), the anchor is there: %v, the head: %v", n.Name, b, err, knows(n, at), knows(n, head))
			}
			for _, old := range without {
				if knows(n, old) {
					t.Errorf("%s: commit %s, from before the anchor, is there", n.Name, old[:12])
				}
			}
			if s := n.Agent.Status(); len(s.Problems) > 0 || s.Trust.Anchor != at {
				t.Errorf("%s: %q, %+v", n.Name, s.Problems, s.Trust)
			}
		}
		all, guest := c.Nodes[:3], c.Nodes[3]
		for _, n := range all {
			n.Start()
		}
		holds := func(n *agenttest.Node, commit string, d time.Duration) {
			t.Helper()
			c.Until(n.Name+" has "+commit[:12], d, func() bool { return n.Holds(commit) })
		}
		for _, n := range all {
			holds(n, head, time.Minute)
			if !knows(n, first) {
				t.Errorf("%s has not all since its anchor", n.Name)
			}
		}
		// A new host has its first policy from the remote.
		anew(guest, anchor)
		holds(guest, head, 10*time.Minute)
		time.Sleep(15 * time.Minute)
		begins(guest, anchor, first, before)
		on := func(n int) {
			for range n {
				line = append(line, c.PushSigned(alice, motdFile(fmt.Sprintf("step %d\n", len(line)))))
			}
			later, head = line[len(line)-2], line[len(line)-1]
		}
		// What came while it was away it has from those who have all of it, with the remote out of reach.
		guest.Stop()
		on(5)
		for _, n := range all {
			holds(n, head, 2*time.Minute)
		}
		c.HideRemote()
		guest.Start()
		holds(guest, head, 10*time.Minute)
		begins(guest, anchor, first, before)
		// Members that begin later than what it has say so, and another one gives.
		guest.Stop()
		c.ShowRemote()
		on(3)
		for _, n := range all[1:] {
			n.Stop()
			anew(n, later)
		}
		for _, n := range all {
			holds(n, head, 10*time.Minute)
		}
		begins(all[1], later, line[len(line)-3], anchor)
		c.HideRemote()
		guest.Start()
		holds(guest, head, 10*time.Minute)
		begins(guest, anchor, first, before)
		// Where none can give what it needs, the remote does.
		guest.Stop()
		c.ShowRemote()
		on(3)
		for _, n := range all {
			n.Stop()
			anew(n, later)
			holds(n, head, 10*time.Minute)
		}
		c.HideRemote()
		guest.Start()
		time.Sleep(5 * time.Minute)
		if guest.Holds(head) || knows(guest, head) {
			t.Error("it has taken a history with a gap")
		}
		c.ShowRemote()
		holds(guest, head, 20*time.Minute)
		begins(guest, anchor, first, before)
		// All go on together, and after a restart.
		head = c.PushSigned(alice, motdFile("together\n"))
		agree(t, c, head, 3*time.Minute)
		guest.Stop()
		guest.Start()
		head = c.PushSigned(alice, motdFile("on\n"))
		agree(t, c, head, 3*time.Minute)
		begins(guest, anchor, first, before)
		begins(all[1], later, anchor)
		// What does not follow is refused by all alike: of after the anchors, of between them, of before.
		for _, back := range []string{later, line[8], before} {
			c.Point(back)
			refuse(t, c, back, "rewind", "does not follow on", 3)
		}
		refuseAll(t, c, c.Push(motdFile("evil\n")), "not agreed", "")
		c.PointAt(simulated.Repository, head)
		last := c.PushAt(simulated.Repository, head, alice, motdFile("last\n"))
		agree(t, c, last, 5*time.Minute)
		nothingRefused(c)
		// An earlier anchor: what lies between is fetched.
		guest.Stop()
		guest.Change = anchored(first)
		guest.Start()
		last = c.PushAt(simulated.Repository, last, alice, motdFile("earlier\n"))
		agree(t, c, last, 5*time.Minute)
		if s := guest.Agent.Status(); !knows(guest, before) || len(s.Problems) > 0 || s.Trust.Anchor != first {
			t.Errorf("with an earlier anchor: what comes before the later one is there: %v, problems %q", knows(guest, before), s.Problems)
		}
		// A signed fork of after the anchors is told.
		c.PushAt(simulated.Repository, last, alice, motdFile("last but one\n"))
		agree(t, c, c.Head(), 5*time.Minute)
		c.PushAt(simulated.Repository, last, alice, motdFile("fork\n"))
		c.Until("those who ask know of the fork", time.Hour, func() bool {
			return slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool {
				return strings.Contains(strings.Join(n.Agent.Status().Problems, "\n"), "both well signed")
			})
		})
	})
}

// A node that has not looked since long ago tells of what was new then. One that begins later cannot know that: it looks, takes
// nothing of before its anchor, and accuses nobody.
func TestAnOldHeadIsNoLieToWhoBeginsLater(t *testing.T) {
	alice := agenttest.NewPerson("alice")
	var anchor, before string
	hostileTo(t, 4, func(t *testing.T) *agenttest.Cluster {
		c, _ := anchoredCluster(t, 70, 4, signedFleet("", "alice=root,policy"))
		before = c.PushSigned(alice, motdFile("before\n"))
		anchor = c.PushSigned(alice, motdFile("anchor\n"))
		return c
	}, func(t *testing.T, c *agenttest.Cluster, l *liar, sound []*agenttest.Node) {
		n := sound[0]
		n.Stop()
		for _, name := range []string{"policy.git", "trust.json"} {
			if err := os.RemoveAll(filepath.Join(n.State(), name)); err != nil {
				t.Fatal(err)
			}
		}
		n.Change = func(o *agent.Options) { o.Config.Trust = schema.AgentTrust{Anchor: anchor} }
		l.handler.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			_ = c.Remote.PackSince(r.Context(), w, q.Get("want"), q.Get("have"), q.Get("since"))
		}))
		l.say(t, schema.RecordHead, "", schema.HeadRecord{Commit: before})
		n.Start()
		holds(c, sound, anchor, time.Minute)
		time.Sleep(time.Hour)
		holds(c, sound, c.PushSigned(alice, motdFile("next\n")), 25*time.Second)
		n.Stop()
		src, err := gitrepo.OpenSource(filepath.Join(n.State(), "policy.git"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = src.Commit(before)
		said := n.Log.String()
		if told := strings.Count(said, "or that came before this host's anchor"); told != 1 || strings.Contains(said, "level=WARN msg=\"a node tells of a commit") || err == nil {
			t.Errorf("an old head: said %d times, the commit is there: %v\n%s", told, err == nil, said)
		}
	})
}

func TestAnAnchorIsNotTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice := agenttest.NewPerson("alice")
		c, first := anchoredCluster(t, 65, 1, signedFleet("", "alice=root,policy"))
		defer c.StopAll()
		n := c.Nodes[0]
		n.Start()
		agree(t, c, first, time.Minute)
		n.Stop()
		n.Change = func(o *agent.Options) { o.Config.Trust = schema.AgentTrust{Unsigned: true} }
		n.Start()
		refuseAll(t, c, c.Push(motdFile("evil\n")), "not agreed", "")
		if s := n.Agent.Status(); !strings.Contains(strings.Join(s.Problems, "\n"), "it goes on to verify") {
			t.Errorf("problems: %q", s.Problems)
		}
		c.Point(first)
		good := c.PushAt(simulated.Repository, first, alice, motdFile("two\n"))
		agree(t, c, good, time.Minute)
		// The host's own root takes it back by hand.
		n.Stop()
		if err := os.Remove(filepath.Join(n.State(), "trust.json")); err != nil {
			t.Fatal(err)
		}
		n.Start()
		agree(t, c, c.Push(motdFile("unsigned\n")), time.Minute)
		if s := n.Agent.Status(); !strings.Contains(strings.Join(s.Problems, "\n"), "does not enforce that") {
			t.Errorf("problems: %q", s.Problems)
		}
	})
}

// TestLostRootKeys: no commit brings a fleet back whose root keys are lost; each host's own root does.
func TestLostRootKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice, bob, carol := agenttest.NewPerson("alice"), agenttest.NewPerson("bob"), agenttest.NewPerson("carol")
		c, first := anchoredCluster(t, 66, 3, signedFleet("", "alice=root,policy", "bob=policy"))
		defer c.StopAll()
		startAll(c)
		agree(t, c, first, time.Minute)
		last := c.PushSigned(alice, motdFile("two\n"))
		agree(t, c, last, time.Minute)
		anew := map[string]string{"fleet.cue": signedFleet("", "carol=root,policy")}
		refuseAll(t, c, c.PushSigned(bob, anew), "not agreed", "role root")
		c.Point(last)
		start := c.PushAt(simulated.Repository, last, carol, anew)
		refuseAll(t, c, start, "not agreed", "")
		for _, n := range c.Nodes {
			n.Stop()
			n.Change = func(o *agent.Options) { o.Config.Trust = schema.AgentTrust{Anchor: start} }
			n.Start()
			if motdOf(n) != "two\n" {
				t.Errorf("%s: motd %q", n.Name, motdOf(n))
			}
		}
		agree(t, c, start, time.Minute)
		next := c.PushSigned(carol, motdFile("three\n"))
		agree(t, c, next, time.Minute)
		for _, n := range c.Nodes {
			if s := n.Agent.Status(); len(s.Problems) > 0 {
				t.Errorf("%s: %q", n.Name, s.Problems)
			}
		}
		refuseAll(t, c, c.PushSigned(alice, motdFile("alice again\n")), "not agreed", "belongs to no signer")
	})
}
