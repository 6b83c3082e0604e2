package agenttest_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/agent/peer"
	"github.com/dunlin-dev/dunlin/agent/record"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

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
