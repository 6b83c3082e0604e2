package agenttest_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/agent/peer"
	"github.com/dunlin-dev/dunlin/agent/record"
	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
)

// counts is a network that counts the ports which somebody opens.
type counts struct {
	gossip.Network
	ports *atomic.Int32
}

func (c counts) Listen(addr string) (net.Listener, error) {
	c.ports.Add(1)
	return c.Network.Listen(addr)
}

func (c counts) Packets(addr string) (net.PacketConn, error) {
	c.ports.Add(1)
	return c.Network.Packets(addr)
}

// A host proves a code to a member, is pending everywhere and does nothing, until a key that may do nothing else lets it
// in; then it is given the gossip key, and is a node. The fleet's gossip key is exchanged under it.
func TestAHostEnrols(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := agenttest.NewPerson("gate")
		code := ed25519.NewKeyFromSeed(make([]byte, 32))
		public := "ssh-ed25519 " + base64.StdEncoding.EncodeToString(append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), code.Public().(ed25519.PublicKey)...))
		roles := `fleet: roles: {root: {paths: ["fleet.cue", "schema.cue", "cue.mod/**", "nodes/**", "activations/**", "grants/**", "guardrails/**"]}, policy: {paths: ["**"]}, enrol: {paths: ["nodes/**"], activations: ["act-web"]}}` + "\n"
		c, first := anchoredCluster(t, 71, 3, signedFleet("", "alice=root,policy"))
		defer c.StopAll()
		startAll(c)
		agree(t, c, first, time.Minute)
		alice := agenttest.NewPerson("alice")
		act := func(limit int) map[string]string {
			return map[string]string{"fleet.cue": signedFleet(roles, "alice=root,policy", "gate=enrol"), "activations/act-web.cue": fmt.Sprintf("package fleet\n\nactivation: \"act-web\": {publicKey: %q, expires: %q, limit: %d, tags: role: \"web\", createdBy: \"alice\"}\n",
				public, time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339), limit)}
		}
		agree(t, c, c.PushSigned(alice, act(1)), time.Minute)
		// The host is given a later anchor than the members have.
		anchor := c.Head()

		// What all nodes get, a secret too: readers are all who are in the roster.
		keys := []string{}
		for _, n := range c.Nodes {
			keys = append(keys, n.Keys.Age)
		}
		value, err := secret.Seal(secret.ID{Fleet: "acme", Name: "/pass", Version: 1}, secret.New("pass", []byte("hunter")), keys)
		if err != nil {
			t.Fatal(err)
		}
		agree(t, c, c.PushSigned(alice, map[string]string{
			"parameters/pass.cue": fmt.Sprintf("package fleet\n\nparameter: \"/pass\": {type: \"SecureString\", readers: all: true, versions: \"1\": value: %q}\n", value),
			"policies/pass.cue":   "package fleet\n\npolicy: pass: {targets: all: true, files: {\"/etc/pass\": contentFrom: parameter: \"/pass\", \"/etc/plain\": content: \"plain\\n\"}}\n",
		}), time.Minute)
		etc := func(n *agenttest.Node, name string) string {
			b, _ := os.ReadFile(filepath.Join(n.Host.Dir, "files", "etc", name))
			return string(b)
		}
		c.Until("all nodes have the secret", time.Minute, func() bool {
			return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return etc(n, "pass") != "hunter" || etc(n, "plain") != "plain\n" })
		})

		guest := c.Stranger("guest", "10.8.0.1")
		var ports atomic.Int32 // that it opens
		member := c.Nodes[1]
		guest.Change = func(o *agent.Options) {
			o.Config.Trust = schema.AgentTrust{Anchor: anchor}
			o.GossipKey, o.Config.Gossip.Ask = nil, []string{member.Peer}
			o.Network = counts{o.Network, &ports}
		}
		ask := func(n *agenttest.Node, code ed25519.PrivateKey, at string) (agent.Asked, error) {
			config := schema.AgentConfig{Repo: schema.AgentRepo{URL: c.URL()}, Trust: schema.AgentTrust{Anchor: anchor}, State: filepath.Join(t.TempDir(), "asks")}
			return agent.Enrolment{Config: config, Keys: n.Keys, Evaluate: c.Evaluate(), Activation: "act-web", Code: code, Name: n.Name, OS: "debian",
				Members: []string{at}, Dial: c.Net.Host(n.Addr).Dial, Now: time.Now}.Ask(t.Context())
		}
		asked, err := ask(guest, code, member.Peer)
		if err != nil || asked.Member != member.Keys.ID() || len(asked.Why) > 0 {
			t.Fatalf("Ask = %+v, %v", asked, err)
		}
		c.Until("all nodes know who asks", time.Minute, func() bool {
			return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return len(n.Agent.Joins()) != 1 })
		})
		// It is nobody yet: not a member, enforces nothing, and no key for it. Somebody with the gossip key who believes it to be
		// a node, as no node does, would see it.
		watch, err := gossip.Start(gossip.Config{Name: memberName(7), Key: bytes.Repeat([]byte{9}, 32), Label: "dunlin", Bind: "10.9.0.1:7950", Peer: ":7951",
			Join: []string{member.Gossip}, Network: c.Net.Host("10.9.0.1"), Keys: func(id string) (ed25519.PublicKey, bool) {
				for _, n := range append(slices.Clone(c.Nodes), guest) {
					if n.Keys.ID() == id {
						return n.Keys.Public(), true
					}
				}
				return nil, false
			}, Sign: func(schema.AddressRecord) (schema.Record, error) { return schema.Record{}, errors.New("it has no key") }})
		if err != nil {
			t.Fatal(err)
		}
		defer watch.Close()
		guest.Start()
		time.Sleep(2 * time.Minute)
		if motdOf(guest) != "" || guest.Ended() != nil {
			t.Errorf("a host that was not let in has motd %q, %v", motdOf(guest), guest.Ended())
		}
		if p := problems(guest); !strings.Contains(p, "waits until it is let in") {
			t.Errorf("it says %q", p)
		}
		if s := guest.Agent.Status(); s.Node != "" || len(s.Problems) == 0 {
			t.Errorf("its status names it %q, with %q", s.Node, s.Problems)
		}
		if x, err := guest.Agent.Explain(t.Context(), "", "file:/etc/plain", false); err == nil || !strings.Contains(err.Error(), "roster") {
			t.Errorf("it explains %+v, %v", x, err)
		}
		if etc(guest, "pass") != "" || etc(guest, "plain") != "" {
			t.Errorf("it has %q and %q", etc(guest, "pass"), etc(guest, "plain"))
		}
		if n := ports.Load(); n > 0 {
			t.Errorf("it has opened %d ports, for gossip or for peers", n)
		}
		if ms := watch.Members(); len(ms) != 4 || slices.ContainsFunc(ms, func(m gossip.Member) bool { return m.ID == guest.Keys.ID() }) {
			t.Errorf("members are %v", ms)
		}
		for _, n := range c.Nodes {
			if len(n.Agent.Nodes()) != 3 {
				t.Errorf("%s lists %d nodes", n.Name, len(n.Agent.Nodes()))
			}
		}
		// A member that starts anew still knows who asks.
		member.Stop()
		member.Start()
		c.Until("the member is back", time.Minute, func() bool { return len(member.Agent.Joins()) == 1 })

		joins := c.Nodes[2].Agent.Joins()
		j, err := trust.ParseJoin([]byte(joins[0]))
		if err != nil || j.Seen == nil || j.Seen.From != guest.Addr {
			t.Fatalf("%+v, %v", j, err)
		}
		in := map[string]string{}
		for path, line := range map[string][]byte{trust.JoinFile("act-web", j.Proof.ID): j.Encode(), trust.RosterFile(j.Proof.ID): j.Proof.Line(guest.Name, map[string]string{"role": "web"}, time.Now())} {
			old, err := c.Remote.Read(c.Head(), path)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			text, err := trust.Insert(old, line)
			if err != nil {
				t.Fatal(err)
			}
			in[path] = string(text)
		}
		commit := c.PushSigned(gate, in)
		agree(t, c, commit, time.Minute)
		c.Until("the key has come", 2*time.Minute, func() bool { return errors.Is(guest.Ended(), agent.ErrAgain) })
		_ = guest.Node.Stop()
		guest.Start() // as the command does by itself
		all := append(slices.Clone(c.Nodes), guest)
		online := func() bool {
			return !slices.ContainsFunc(all, func(n *agenttest.Node) bool {
				return slices.ContainsFunc(all, func(o *agenttest.Node) bool { return statusOf(n, o) != schema.Online })
			})
		}
		c.Until("it is a node", 2*time.Minute, func() bool { return online() && motdOf(guest) == "one\n" })
		src, err := gitrepo.OpenSource(filepath.Join(guest.State(), "policy.git"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.Commit(first); err == nil {
			t.Errorf("commit %s, from before its anchor, is there", first[:12])
		}
		for _, n := range c.Nodes {
			if joins := n.Agent.Joins(); len(joins) != 0 {
				t.Errorf("%s: %d still ask", n.Name, len(joins))
			}
		}
		// Its code is spent, whoever asks.
		other := c.Stranger("other", "10.8.0.2")
		r := (*trust.JoinRefusal)(nil)
		if _, err := ask(other, code, member.Peer); !errors.As(err, &r) || r.Kind != trust.JoinLimit {
			t.Errorf("one more: %v", err)
		}
		if asked, err := ask(guest, code, member.Peer); err != nil || !asked.In {
			t.Errorf("the node itself: %+v, %v", asked, err)
		}
		if _, err := ask(other, ed25519.NewKeyFromSeed(append(make([]byte, 31), 1)), member.Peer); !errors.As(err, &r) || r.Kind != trust.JoinCode {
			t.Errorf("another code: %v", err)
		}

		// The gossip key is exchanged in three steps, sealed to two nodes alone; nobody is lost, not even who was away.
		away := c.Nodes[2]
		away.Stop()
		all = slices.DeleteFunc(all, func(n *agenttest.Node) bool { return n == away })
		c.Until("one is away", time.Minute, func() bool { return statusOf(guest, away) == schema.ConnectionLost })
		// Somebody with the old key, and with the key of a node: as a disk that was carried off.
		lost, old := away.Keys, bytes.Repeat([]byte{9}, 32)
		carried := func() (at *gossip.Cluster) {
			at, err := gossip.Start(gossip.Config{Name: lost.ID(), Key: old, Label: "dunlin", Bind: "10.9.0.2:7950", Peer: ":7951", Join: []string{member.Gossip, c.Nodes[0].Gossip},
				Network: c.Net.Host("10.9.0.2"), Keys: func(id string) (ed25519.PublicKey, bool) {
					for _, n := range append(slices.Clone(c.Nodes), guest) {
						if n.Keys.ID() == id {
							return n.Keys.Public(), true
						}
					}
					return nil, false
				}, Sign: func(a schema.AddressRecord) (schema.Record, error) {
					body, err := json.Marshal(a)
					r := schema.Record{Node: lost.ID(), Kind: schema.RecordAddress, Boot: 1, Seq: 1 << 20, Body: body}
					r.Sig = ed25519.Sign(lost.Sign, r.Message())
					return r, err
				}})
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		key := make([]byte, 32)
		key[0] = 7
		id := agent.GossipKeyID(key)
		sealed, err := secret.Seal(agent.SealedKeyName("acme", id), secret.New("key", []byte(base64.StdEncoding.EncodeToString(key))), []string{c.Nodes[0].Keys.Age, away.Keys.Age})
		if err != nil {
			t.Fatal(err)
		}
		online = func() bool {
			return !slices.ContainsFunc(all, func(n *agenttest.Node) bool {
				return slices.ContainsFunc(all, func(o *agenttest.Node) bool { return statusOf(n, o) != schema.Online })
			})
		}
		for i, text := range []string{`{"keys":["file","` + id + `"],"use":"file","v":1}`, `{"keys":["file","` + id + `"],"use":"` + id + `","v":1}`, `{"keys":["` + id + `"],"use":"` + id + `","v":1}`} {
			step := c.PushSigned(alice, map[string]string{agent.GossipKeysFile: text + "\n", agent.SealedKeyFile(id): sealed + "\n"})
			c.Until("the step is in force", time.Minute, func() bool {
				return !slices.ContainsFunc(all, func(n *agenttest.Node) bool { return !n.Holds(step) })
			})
			time.Sleep(2 * time.Minute)
			for _, n := range all {
				if p := problems(n); p != "" {
					t.Errorf("step %d: %s: %s", i+1, n.Name, p)
				}
			}
			if !online() {
				t.Errorf("step %d: not all are here", i+1)
			}
			thief := carried()
			time.Sleep(time.Minute)
			switch in := len(thief.Members()) > 1; {
			case i == 0 && !in:
				t.Error("who has the old key is shut out before there is another, so this shows nothing")
			case i == 2 && in:
				t.Errorf("who has the old key alone sees %v", thief.Members())
			}
			if heard := slices.ContainsFunc(all, func(n *agenttest.Node) bool { return statusOf(n, away) == schema.Online }); heard != (i == 0) {
				t.Errorf("step %d: who has the old key alone is taken for a node that is here: %v", i+1, heard)
			}
			thief.Close()
			c.Until("it is gone again", 2*time.Minute, func() bool {
				return !slices.ContainsFunc(all, func(n *agenttest.Node) bool { return statusOf(n, away) == schema.Online })
			})
		}
		// Who was away opens what was sealed to it, and comes back.
		away.Start()
		all = append(all, away)
		c.Until("who was away is back", 3*time.Minute, online)
		// After a start, too.
		guest.Stop()
		guest.Start()
		c.Until("it is back", 2*time.Minute, online)
	})
}

// A member that is not what it should be gives a new node another gossip key. Where the policy names the key, it is not taken;
// where it does not, the node meets nobody but that member, asks the others, and is with them.
func TestAMemberGivesANewNodeAnotherGossipKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 72, 4, fleetFiles("one\n"))
		defer c.StopAll()
		hostile, member := c.Nodes[3], c.Nodes[0]
		hostile.Change = func(o *agent.Options) { o.GossipKey = bytes.Repeat([]byte{8}, 32) }
		for _, n := range c.Nodes[1:3] {
			n.Start()
		}
		hostile.Start()
		member.Start()
		guest := func(name, addr string) *agenttest.Node {
			g := c.Stranger(name, addr)
			g.Change = func(o *agent.Options) {
				o.GossipKey, o.Config.Gossip.Ask = nil, []string{hostile.Peer, member.Peer}
				o.Config.Gossip.Join = append(slices.Clone(o.Config.Gossip.Join), hostile.Gossip)
			}
			agree(t, c, c.Roster(g, func(line string) string { return line }), time.Minute)
			g.Start()
			return g
		}
		again := func(g *agenttest.Node, what string, within time.Duration) {
			c.Until(what, within, func() bool { return errors.Is(g.Ended(), agent.ErrAgain) })
			_ = g.Node.Stop()
			g.Start() // as the command does by itself
		}
		isIn := func(g *agenttest.Node) bool {
			return statusOf(member, g) == schema.Online && statusOf(g, member) == schema.Online && statusOf(g, c.Nodes[1]) == schema.Online
		}
		first := guest("guest", "10.8.0.1")
		again(first, "a key has come", 2*time.Minute)
		time.Sleep(2 * time.Minute)
		if isIn(first) || statusOf(first, hostile) != schema.Online {
			t.Fatalf("the hostile member was not asked first, so this shows nothing")
		}
		again(first, "others are asked", 10*time.Minute)
		c.Until("it is with the others", 2*time.Minute, func() bool { return isIn(first) })
		time.Sleep(6 * time.Minute)
		if err := first.Ended(); err != nil || !isIn(first) {
			t.Errorf("it does not stay: %v", err)
		}

		key := bytes.Repeat([]byte{7}, 32)
		id := agent.GossipKeyID(key)
		sealed, err := secret.Seal(agent.SealedKeyName("acme", id), secret.New("key", []byte(base64.StdEncoding.EncodeToString(key))), []string{member.Keys.Age})
		if err != nil {
			t.Fatal(err)
		}
		for _, use := range []string{agent.KeyOfFile, id} {
			agree(t, c, c.Push(map[string]string{agent.GossipKeysFile: `{"keys":["file","` + id + `"],"use":"` + use + `","v":1}` + "\n", agent.SealedKeyFile(id): sealed + "\n"}), time.Minute)
			time.Sleep(2 * time.Minute)
		}
		second := guest("guest-2", "10.8.0.2")
		again(second, "the key that the policy names has come", 2*time.Minute)
		c.Until("it is with the others at once", 2*time.Minute, func() bool { return isIn(second) })
		if statusOf(second, hostile) == schema.Online {
			t.Error("it hears the hostile member's gossip")
		}
	})
}

// A member that refuses what the repository says is good, or says that it has heard a host and does not tell anybody, keeps
// nobody from asking: others are asked, and the repository has the proof.
func TestAMemberThatLiesKeepsNobodyFromAsking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		code := ed25519.NewKeyFromSeed(make([]byte, 32))
		public := "ssh-ed25519 " + base64.StdEncoding.EncodeToString(append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), code.Public().(ed25519.PublicKey)...))
		c := agenttest.NewCluster(t, 73, 3, fleetFiles("one\n"))
		defer c.StopAll()
		liar, silent, member := c.Nodes[0], c.Nodes[1], c.Nodes[2]
		member.Start()
		act := func(networks string) string {
			return c.Push(map[string]string{"activations/act-web.cue": fmt.Sprintf("package fleet\n\nactivation: \"act-web\": {publicKey: %q, expires: %q, limit: 5, createdBy: \"alice\"%s}\n",
				public, time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339), networks)})
		}
		open := act("")
		c.Until("the activation is in force", time.Minute, func() bool { return member.Holds(open) })

		ctx, stop := context.WithCancel(t.Context())
		var served sync.WaitGroup
		defer served.Wait()
		defer stop()
		answer := "" // of the liar
		serve := func(n *agenttest.Node, says func() (int, string)) {
			network := c.Net.Host(n.Addr)
			l, err := network.Listen(":7951")
			if err != nil {
				t.Fatal(err)
			}
			peers, err := peer.New(peer.Config{Self: n.Keys.ID(), Cert: n.Keys.TLS, Pins: func() map[string]string { return nil }, Listener: l, Dial: network.Dial,
				Store:    record.New(record.Config{Key: n.Keys.Sign, Boot: 1, Keys: func(string) (ed25519.PublicKey, bool) { return nil, false }}),
				Stranger: func(context.Context, peer.Stranger) (int, string) { return says() }})
			if err != nil {
				t.Fatal(err)
			}
			served.Go(func() { _ = peers.Serve(ctx) })
		}
		serve(liar, func() (int, string) { return http.StatusForbidden, answer })
		serve(silent, func() (int, string) { return http.StatusAccepted, "wait" })

		n := 0
		ask := func(members ...string) (*agenttest.Node, agent.Asked, error) {
			n++
			guest := c.Stranger(fmt.Sprintf("guest-%d", n), fmt.Sprintf("10.8.0.%d", n))
			config := schema.AgentConfig{Repo: schema.AgentRepo{URL: c.URL()}, Trust: schema.AgentTrust{Unsigned: true}, State: filepath.Join(t.TempDir(), "asks")}
			asked, err := agent.Enrolment{Config: config, Keys: guest.Keys, Evaluate: c.Evaluate(), Activation: "act-web", Code: code, Name: guest.Name, OS: "debian",
				Members: members, Dial: c.Net.Host(guest.Addr).Dial, Now: time.Now}.Ask(t.Context())
			return guest, asked, err
		}
		left := func(n *agenttest.Node) bool {
			id, err := c.Remote.Ref(gitrepo.JoinRef + n.Keys.ID())
			return err == nil && id != ""
		}
		for _, answer = range []string{"code: the code is wrong", "revoked: no", "expired: over", "replay: in", "fleet: another", "nonsense: x", "limit: full", "network: from elsewhere", "time: ahead"} {
			guest, asked, err := ask(liar.Peer, member.Peer)
			if err != nil || asked.Member != member.Keys.ID() || !asked.Left || !left(guest) || len(asked.Why) != 1 || !strings.Contains(asked.Why[0].Error(), liar.Keys.ID()) {
				t.Errorf("%s: Ask = %+v, %v", answer, asked, err)
			}
			// Where there is no other member, the repository is.
			r := (*trust.JoinRefusal)(nil)
			switch guest, asked, err := ask(liar.Peer); {
			case strings.HasPrefix(answer, "limit") || strings.HasPrefix(answer, "network") || strings.HasPrefix(answer, "time"):
				if !errors.As(err, &r) || left(guest) {
					t.Errorf("%s alone: Ask = %+v, %v", answer, asked, err)
				}
			case err != nil || asked.Member != "" || !asked.Left || !left(guest) || len(asked.Why) != 1:
				t.Errorf("%s alone: Ask = %+v, %v", answer, asked, err)
			}
		}
		if guest, asked, err := ask(silent.Peer); err != nil || asked.Member != silent.Keys.ID() || !asked.Left || !left(guest) || len(asked.Why) > 0 {
			t.Errorf("a member that tells nobody: Ask = %+v, %v", asked, err)
		}
		open = act(`, networks: ["10.8.0.0/16"]`)
		c.Until("the networks are in force", time.Minute, func() bool { return member.Holds(open) })
		answer = "code: wrong"
		if guest, asked, err := ask(liar.Peer, member.Peer); err != nil || asked.Member != member.Keys.ID() || asked.Left || left(guest) {
			t.Errorf("with networks: Ask = %+v, %v", asked, err)
		}
		r := (*trust.JoinRefusal)(nil)
		if guest, asked, err := ask(liar.Peer); !errors.As(err, &r) || r.Kind != trust.JoinNetwork || left(guest) {
			t.Errorf("with networks, alone: Ask = %+v, %v", asked, err)
		}
	})
}
