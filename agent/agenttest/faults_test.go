package agenttest_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/schema"
)

// cluster runs a test in a bubble with n agents that are all online.
func cluster(t *testing.T, seed uint64, n int, test func(t *testing.T, c *agenttest.Cluster)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, seed, n, fleetFiles("one\n"))
		defer func() {
			c.StopAll()
			if t.Failed() {
				c.Logs()
			}
		}()
		for _, n := range c.Nodes {
			n.Start()
		}
		online(c, n)
		test(t, c)
	})
}

// online waits until all nodes see so many.
func online(c *agenttest.Cluster, want int) time.Duration {
	start := time.Now()
	return c.Until(fmt.Sprintf("all see %d online", want), 2*time.Minute, func() bool {
		ok := !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return n.Agent.Status().Nodes[string(schema.Online)] != want })
		if !ok && time.Since(start) > time.Second {
			time.Sleep(200 * time.Millisecond)
		}
		return ok
	})
}

// sent is how many bytes all nodes have sent.
func sent(c *agenttest.Cluster) (sum uint64) {
	for _, n := range c.Nodes {
		sum += c.Net.Host(n.Addr).Sent()
	}
	return sum
}

// statuses counts the nodes as one sees them.
func statuses(n *agenttest.Node) map[schema.NodeStatus]int {
	out := map[schema.NodeStatus]int{}
	for _, v := range n.Agent.Nodes() {
		out[v.Status]++
	}
	return out
}

// asked is how often nodes, all where none are named, have asked the remote for the policy.
func asked(c *agenttest.Cluster, nodes ...*agenttest.Node) (sum gitrepo.Traffic) {
	if nodes == nil {
		nodes = c.Nodes
	}
	for _, n := range nodes {
		t, _ := n.Agent.Traffic()
		sum.Heads, sum.Fetches, sum.Pushes = sum.Heads+t.Heads, sum.Fetches+t.Fetches, sum.Pushes+t.Pushes
	}
	return sum
}

func statusOf(of, seen *agenttest.Node) schema.NodeStatus {
	for _, v := range of.Agent.Nodes() {
		if v.ID == seen.Keys.ID() {
			return v.Status
		}
	}
	return ""
}

func problems(n *agenttest.Node) string { return strings.Join(n.Agent.Status().Problems, "\n") }

// Who has the gossip key and nothing else can lie about everybody. It must not stop anything, nor fill memories.
func TestWhoHasOnlyTheGossipKeyStopsNobody(t *testing.T) {
	cluster(t, 11, 4, func(t *testing.T, c *agenttest.Cluster) {
		var forged []*gossip.Cluster
		join := func(name, addr string) *gossip.Cluster {
			g, err := gossip.Start(gossip.Config{Name: name, Key: bytes.Repeat([]byte{9}, 32), Label: "dunlin", Bind: addr + ":7950",
				Peer: ":7951", Join: []string{c.Nodes[0].Addr + ":7950"}, Network: c.Net.Host(addr),
				Keys: memberKeys(0), Sign: func(schema.AddressRecord) (schema.Record, error) { return schema.Record{}, errors.New("it has no key") }})
			if err != nil {
				t.Fatal(err)
			}
			forged = append(forged, g)
			return g
		}
		defer func() { closeAll(forged) }()
		for i, n := range c.Nodes { // each node's name from another address
			join(n.Keys.ID(), fmt.Sprintf("10.9.0.%d", i+1))
		}
		for i := range 20 { // and names of nobody
			join(memberName(1000+i), fmt.Sprintf("10.9.1.%d", i+1))
		}
		dialled := c.Net.Dials()
		time.Sleep(5 * time.Minute)
		for _, n := range c.Nodes {
			if got := statuses(n); got[schema.Online] != 4 || len(n.Agent.Nodes()) != 4 {
				t.Errorf("%s sees %v", n.Name, got)
			}
			if p := problems(n); p != "" {
				t.Errorf("%s: %s", n.Name, p)
			}
			if s := c.Net.Dials()[n.Addr] - dialled[n.Addr]; s > 120 {
				t.Errorf("%s opened %d connections in five minutes", n.Name, s)
			}
		}
		// Hints open none, and nobody asks the remote for them.
		reads := asked(c).Heads
		dialled = c.Net.Dials()
		const flood = time.Minute
		for i := range 1000 {
			forged[5].Hint(append([]byte{'h'}, bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 10)...))
			time.Sleep(flood / 1000)
		}
		for _, n := range c.Nodes {
			if s := c.Net.Dials()[n.Addr] - dialled[n.Addr]; s > 30 {
				t.Errorf("%s opened %d connections during a flood of hints", n.Name, s)
			}
		}
		if n := asked(c).Heads - reads; n > 16 {
			t.Errorf("the remote was asked %d times in a minute of hints", n)
		}
		commit := c.Push(map[string]string{"policies/web.cue": fleetFiles("two\n")["policies/web.cue"]})
		agree(t, c, commit, 20*time.Second)
	})
}

func TestClonedIdentity(t *testing.T) {
	cluster(t, 12, 5, func(t *testing.T, c *agenttest.Cluster) {
		n := c.Nodes[2]
		n.PowerCut()
		twin := n.Copy("twin", "10.8.0.1")
		n.Start()
		twin.Start()
		both := []*agenttest.Node{n, twin}
		t.Logf("both know after %s", c.Until("both know of each other", time.Minute, func() bool {
			return !slices.ContainsFunc(both, func(n *agenttest.Node) bool {
				return !strings.Contains(problems(n), "another host uses this host's key")
			})
		}))
		others := []*agenttest.Node{c.Nodes[0], c.Nodes[1], c.Nodes[3], c.Nodes[4]}
		c.Until("the others call it a conflict", time.Minute, func() bool {
			return !slices.ContainsFunc(others, func(o *agenttest.Node) bool { return statusOf(o, n) != schema.CloneConflict })
		})
		// The rest of the fleet goes on, at no great cost, and both enforce.
		commit := c.Push(map[string]string{"policies/web.cue": fleetFiles("two\n")["policies/web.cue"]})
		agree(t, c, commit, 20*time.Second)
		c.Until("the twin enforces too", time.Minute, func() bool { return motdOf(twin) == "two\n" })
		before := c.Net.Host(others[0].Addr).Sent()
		for range 40 {
			time.Sleep(30 * time.Second)
			for _, b := range both {
				if !strings.Contains(problems(b), "another host uses") {
					t.Fatalf("%s forgets the other while it lives", b.Name)
				}
			}
			for _, o := range others {
				if p := problems(o); p != "" {
					t.Fatalf("%s: %s", o.Name, p)
				}
			}
		}
		if perSecond := float64(c.Net.Host(others[0].Addr).Sent()-before) / 1200; perSecond > 2000 {
			t.Errorf("%.0f bytes a second of a sound node", perSecond)
		}
		// One of them goes, and the other is well again.
		twin.Stop()
		t.Logf("well again after %s", c.Until("the one that is left is well", 30*time.Minute, func() bool {
			return problems(n) == "" && !slices.ContainsFunc(others, func(o *agenttest.Node) bool { return statusOf(o, n) != schema.Online })
		}))
	})
}

// A host that is not in the roster is told of by nobody and talks to nobody; its line makes it a node.
func TestAPeerThatIsNotInTheRoster(t *testing.T) {
	cluster(t, 13, 4, func(t *testing.T, c *agenttest.Cluster) {
		stranger := c.Stranger("stranger", "10.8.0.1")
		stranger.Start()
		time.Sleep(2 * time.Minute)
		for _, n := range c.Nodes {
			if v := statusOf(n, stranger); v != "" || len(n.Agent.Nodes()) != 4 {
				t.Errorf("%s lists the stranger as %s", n.Name, v)
			}
			if len(n.Agent.Lines()) != 4 {
				t.Errorf("%s holds %d lines", n.Name, len(n.Agent.Lines()))
			}
		}
		if p := problems(stranger); !strings.Contains(p, "not an active node of the roster") {
			t.Errorf("the stranger says %q", p)
		}
		if got := motdOf(stranger); got != "" {
			t.Errorf("the stranger enforces %q", got)
		}
		// A line with a key that is not its own: it enforces, talks to nobody, and says why.
		c.Roster(stranger, func(line string) string {
			at := strings.Index(line, `"tls":"`) + len(`"tls":"`)
			other := "0"
			if line[at] == '0' {
				other = "1"
			}
			return line[:at] + other + line[at+1:]
		})
		c.Until("the stranger tells of the other key", 2*time.Minute, func() bool {
			return strings.Contains(problems(stranger), "another TLS key for this host")
		})
		c.Roster(stranger, func(line string) string { return line })
		t.Logf("a node after %s", c.Until("the stranger is a node", 2*time.Minute, func() bool {
			return motdOf(stranger) == "one\n" && !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return statusOf(n, stranger) != schema.Online })
		}))
		// Retired, it is shut out, and what it says next is not heard.
		c.Roster(stranger, func(line string) string { return strings.Replace(line, `"state":"active"`, `"state":"retired"`, 1) })
		c.Until("it is retired", time.Minute, func() bool {
			return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return statusOf(n, stranger) != schema.Retired })
		})
	})
}

// All hosts come back with other addresses while some of the others still run, and then all at once.
func TestAllAddressesChange(t *testing.T) {
	cluster(t, 73, 5, func(t *testing.T, c *agenttest.Cluster) {
		move := func(n *agenttest.Node, i, round int) {
			n.Addr = fmt.Sprintf("10.5%d.0.%d", round, i+1)
			n.Node.Gossip, n.Node.Peer = n.Addr+":7950", n.Addr+":7951"
		}
		well := func(what string) {
			t.Helper()
			t.Logf("%s: %s", what, c.Until(what, time.Minute, func() bool {
				return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return statuses(n)[schema.Online] != 5 })
			}))
		}
		for i, n := range c.Nodes {
			n.Stop()
			move(n, i, 1)
			n.Start()
			well(n.Name + " has moved")
		}
		for _, n := range c.Nodes {
			n.Stop()
		}
		for i, n := range c.Nodes {
			move(n, i, 2)
		}
		for _, n := range c.Nodes {
			n.Start()
		}
		well("all have moved")
		agree(t, c, c.Push(motd("moved\n")), 25*time.Second)
		for _, n := range c.Nodes {
			if s := n.Agent.Status(); len(s.Problems) > 0 {
				t.Errorf("%s: %v", n.Name, s.Problems)
			}
		}
	})
}
