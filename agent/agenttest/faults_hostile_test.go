package agenttest_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
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
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/peer"
	"github.com/dunlin-dev/dunlin/agent/record"
	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
)

// liar is a node of the roster that no agent runs on: somebody has its keys, and the gossip key.
type liar struct {
	*agenttest.Node
	*record.Store
	*peer.Peers
	c       *agenttest.Cluster
	handler atomic.Value // http.HandlerFunc, what it answers

	mu    sync.Mutex
	forge map[string]schema.Record // what it offers beside its own, by digest
}

// lie lets somebody act as a node, in a bubble, until the end.
func lie(t *testing.T, c *agenttest.Cluster, n *agenttest.Node) (l *liar, end func()) {
	pins, keys := map[string]string{}, map[string]ed25519.PublicKey{}
	for _, n := range c.Nodes {
		pins[n.Keys.ID()], keys[n.Keys.ID()] = n.Keys.TLSPin(), n.Keys.Public()
	}
	l = &liar{Node: n, c: c, forge: map[string]schema.Record{}}
	l.handler.Store(http.HandlerFunc(http.NotFound))
	l.Store = record.New(record.Config{Key: n.Keys.Sign, Boot: 1000, Jump: func(uint64) error { return nil },
		Keys: func(id string) (ed25519.PublicKey, bool) { key, ok := keys[id]; return key, ok }})
	net := c.Net.Host(n.Addr)
	socket, err := net.Listen(n.Addr + ":7951")
	if err != nil {
		t.Fatal(err)
	}
	l.Peers, err = peer.New(peer.Config{Self: n.Keys.ID(), Cert: n.Keys.TLS, Pins: func() map[string]string { return pins }, Listener: socket, Dial: net.Dial,
		Store:   l,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { l.handler.Load().(http.HandlerFunc)(w, r) }),
		Urgent:  func(r schema.Record) bool { return r.Kind == schema.RecordHead }})
	if err != nil {
		t.Fatal(err)
	}
	g, err := gossip.Start(gossip.Config{Name: n.Keys.ID(), Key: bytes.Repeat([]byte{9}, 32), Label: "dunlin", Bind: n.Addr + ":7950", Peer: ":7951",
		Join: []string{c.Nodes[0].Addr + ":7950", c.Nodes[1].Addr + ":7950"}, Network: net,
		Keys: func(id string) (ed25519.PublicKey, bool) { key, ok := keys[id]; return key, ok }, Sign: l.signs(schema.RecordAddress)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = l.Serve(ctx) }()
	var members []peer.Member // it talks with everybody
	for _, o := range c.Nodes {
		members = append(members, peer.Member{ID: o.Keys.ID(), Addr: o.Addr + ":7951"})
	}
	l.SetMembers(members)
	return l, func() {
		cancel()
		<-done
		g.Close()
	}
}

// signs publishes addresses as the node's.
func (l *liar) signs(kind schema.RecordKind) func(schema.AddressRecord) (schema.Record, error) {
	return func(a schema.AddressRecord) (schema.Record, error) {
		_, err := l.Publish(kind, "", a)
		for _, r := range l.Of(kind) {
			if r.Node == l.Keys.ID() {
				return r, err
			}
		}
		return schema.Record{}, err
	}
}

// Digests and Get are of its own records, and of those that it forged.
func (l *liar) Digests() []string {
	ds := l.Store.Digests()
	l.mu.Lock()
	defer l.mu.Unlock()
	for d := range l.forge {
		ds = append(ds, d)
	}
	slices.Sort(ds)
	return ds
}

func (l *liar) Missing(ds []string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(l.Store.Missing(ds), func(d string) bool { _, ok := l.forge[d]; return ok })
}

func (l *liar) Get(ds []string) []schema.Record {
	rs := l.Store.Get(ds)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range ds {
		if r, ok := l.forge[d]; ok {
			rs = append(rs, r)
		}
	}
	return rs
}

// say publishes as the node.
func (l *liar) say(t *testing.T, kind schema.RecordKind, key string, body any) {
	t.Helper()
	if _, err := l.Publish(kind, key, body); err != nil {
		t.Fatal(err)
	}
	l.Offer()
}

// offers forges a record.
func (l *liar) offers(r schema.Record) {
	l.mu.Lock()
	l.forge[record.Digest(r)] = r
	l.mu.Unlock()
	l.Offer()
}

// firstInTurn is the node that comes first of those that ask the remote.
func firstInTurn(c *agenttest.Cluster) *agenttest.Node {
	return slices.MaxFunc(c.Nodes, func(x, y *agenttest.Node) int {
		a, b := sha256.Sum256([]byte("fetch acme\x00"+x.Keys.ID())), sha256.Sum256([]byte("fetch acme\x00"+y.Keys.ID()))
		return bytes.Compare(a[:8], b[:8])
	})
}

// hostile runs a test in a bubble with n nodes, of which the one that asks the remote first is a liar.
func hostile(t *testing.T, seed uint64, n int, test func(t *testing.T, c *agenttest.Cluster, l *liar, sound []*agenttest.Node)) {
	hostileTo(t, n, func(t *testing.T) *agenttest.Cluster { return agenttest.NewCluster(t, seed, n, fleetFiles("one\n")) }, test)
}

// hostileTo is hostile with a cluster of one's own.
func hostileTo(t *testing.T, n int, cluster func(*testing.T) *agenttest.Cluster, test func(t *testing.T, c *agenttest.Cluster, l *liar, sound []*agenttest.Node)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := cluster(t)
		bad := firstInTurn(c)
		// The others find each other without it.
		c.Nodes = append(slices.DeleteFunc(c.Nodes, func(n *agenttest.Node) bool { return n == bad }), bad)
		sound := c.Nodes[:n-1]
		defer func() {
			c.StopAll()
			if t.Failed() {
				c.Logs()
			}
		}()
		for _, n := range sound {
			n.Start()
		}
		l, end := lie(t, c, bad)
		defer end()
		l.say(t, schema.RecordState, "", schema.StateRecord{Name: bad.Name, Types: []schema.TypeCompliance{}})
		c.Until("all see each other, and the liar", 2*time.Minute, func() bool {
			return !slices.ContainsFunc(sound, func(n *agenttest.Node) bool { return statuses(n)[schema.Online] != len(sound)+1 })
		})
		first, _ := c.Remote.Ref("refs/heads/main")
		holds(c, sound, first, time.Minute)
		test(t, c, l, sound)
	})
}

// holds waits until those nodes hold the commit.
func holds(c *agenttest.Cluster, nodes []*agenttest.Node, commit string, d time.Duration) time.Duration {
	return c.Until("commit "+commit[:12]+" in force", d, func() bool {
		return !slices.ContainsFunc(nodes, func(n *agenttest.Node) bool { return !n.Holds(commit) })
	})
}

func topicOf(commit string) [20]byte {
	b, _ := hex.DecodeString(commit)
	return [20]byte(b)
}

// copyOf is a store that has a commit of the remote.
func copyOf(t *testing.T, c *agenttest.Cluster, commit string) *gitrepo.Store {
	t.Helper()
	s, err := gitrepo.OpenStore(t.TempDir(), gitrepo.Remote{})
	if err != nil {
		t.Fatal(err)
	}
	var pack bytes.Buffer
	if err := c.Remote.Pack(t.Context(), &pack, commit, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Ingest(t.Context(), &pack, commit, ""); err != nil {
		t.Fatal(err)
	}
	return s
}

// One of those who ask the remote lies: it tells of commits that nobody has, and of one that it has made itself and gives
// with all its objects. Nobody takes it, the remote is hardly asked for it, and real commits come as fast as ever.
func TestALyingFetcher(t *testing.T) {
	hostile(t, 51, 6, func(t *testing.T, c *agenttest.Cluster, l *liar, sound []*agenttest.Node) {
		first, _ := c.Remote.Ref("refs/heads/main")
		s := copyOf(t, c, first)
		evil, err := s.Commit(gitrepo.Change{Parent: first, Files: map[string][]byte{"policies/web.cue": []byte(motd("evil\n")["policies/web.cue"])},
			Message: "evil", Author: "x", Email: "x@x", When: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		l.handler.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = s.Pack(r.Context(), w, evil, first) }))
		var pack bytes.Buffer
		if err := s.Pack(t.Context(), &pack, evil, first); err != nil {
			t.Fatal(err)
		}
		before := asked(c, sound...).Heads
		const long = 20 * time.Minute
		for i := range int(long / (10 * time.Second)) {
			head := evil
			if i%2 == 1 {
				head = fmt.Sprintf("%040x", i)
			}
			l.say(t, schema.RecordHead, "", schema.HeadRecord{Commit: head})
			l.Push(topicOf(evil), pack.Bytes())
			time.Sleep(10 * time.Second)
		}
		for _, n := range sound {
			if s := n.Agent.Status(); s.Commit != first || motdOf(n) != "one\n" || len(s.Refused) > 0 {
				t.Errorf("%s: %s in force, motd %q, refused %v", n.Name, s.Commit, motdOf(n), s.Refused)
			}
		}
		// Two sound ones ask eight times a minute; each of the five asks in vain now and then.
		reads := asked(c, sound...).Heads - before
		t.Logf("the remote was asked %d times in %s", reads, long)
		if reads > 12*20+5*5 {
			t.Errorf("the remote was asked %d times in %s", reads, long)
		}
		if !slices.ContainsFunc(sound, func(n *agenttest.Node) bool {
			return strings.Contains(n.Log.String(), "a node tells of a commit that the remote does not have")
		}) {
			t.Error("nobody says that a node lies")
		}
		pushed := time.Now()
		second := c.Push(motd("two\n"))
		holds(c, sound, second, 25*time.Second)
		t.Logf("a commit is in force %s after it was pushed", time.Since(pushed))
		// It goes on to say that the remote is where it was.
		l.say(t, schema.RecordHead, "", schema.HeadRecord{Commit: first})
		holds(c, sound, c.Push(motd("three\n")), 25*time.Second)
	})
}

// TestALyingFetcherOfASignedFleet: what a node that was broken into tells and gives is taken for nothing but what people have
// signed, in the order in which it was.
func TestALyingFetcherOfASignedFleet(t *testing.T) {
	alice := agenttest.NewPerson("alice")
	hostileTo(t, 5, func(t *testing.T) *agenttest.Cluster {
		c, _ := anchoredCluster(t, 57, 5, signedFleet("", "alice=root,policy"))
		return c
	}, func(t *testing.T, c *agenttest.Cluster, l *liar, sound []*agenttest.Node) {
		first, _ := c.Remote.Ref("refs/heads/main")
		second := c.PushSigned(alice, motdFile("two\n"))
		holds(c, sound, second, 25*time.Second)
		third := c.PushSigned(alice, motdFile("three\n"))
		holds(c, sound, third, 25*time.Second)
		c.CopyRemote("lies.git")
		s, err := gitrepo.OpenStore(filepath.Join(c.Dir, "lies.git"), gitrepo.Remote{})
		if err != nil {
			t.Fatal(err)
		}
		commit := func(parent, motd string, sign func([]byte) (string, error)) string {
			t.Helper()
			id, err := s.Commit(gitrepo.Change{Parent: parent, Files: map[string][]byte{"policies/web.cue": []byte(motdFile(motd)["policies/web.cue"])},
				Message: "evil", Author: "x", Email: "x@x", When: time.Now(), Sign: sign})
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		signed := func(by agenttest.Person) func([]byte) (string, error) {
			return func(b []byte) (string, error) { return by.Sign(b, trust.NamespaceCommit) }
		}
		lies := []string{
			commit(third, "unsigned\n", nil),
			commit(third, "mallory's\n", signed(agenttest.NewPerson("mallory"))),
			second, first, // well signed, and over
			commit(first, "upon another base\n", signed(alice)), // a branch of hers that was never merged
			commit(second, "upon the one before\n", signed(alice)),
		}
		for _, lie := range lies {
			var whole, part bytes.Buffer
			if err := s.Pack(t.Context(), &whole, lie, ""); err != nil {
				t.Fatal(err)
			}
			_ = s.Pack(t.Context(), &part, lie, third)
			l.handler.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("have") == "" {
					_, _ = w.Write(whole.Bytes())
					return
				}
				_ = s.Pack(r.Context(), w, lie, r.URL.Query().Get("have"))
			}))
			for i := range 8 {
				l.say(t, schema.RecordHead, "", schema.HeadRecord{Commit: lie})
				if i%2 == 0 {
					l.Push(topicOf(lie), part.Bytes())
				} else {
					l.Push(topicOf(lie), whole.Bytes())
				}
				time.Sleep(15 * time.Second)
			}
			for _, n := range sound {
				if s := n.Agent.Status(); s.Commit != third || s.Trust.Verified != third || motdOf(n) != "three\n" {
					t.Errorf("%s: after %s %s is in force, verified up to %s, motd %q", n.Name, lie[:12], s.Commit, s.Trust.Verified, motdOf(n))
				}
			}
		}
		holds(c, sound, c.PushSigned(alice, motdFile("four\n")), 25*time.Second)
		// Nor does it read what is another's.
		id := secret.ID{Fleet: "acme", Name: "/db/password", Version: 1}
		sealed, err := secret.Seal(id, secret.New("x", []byte("correct horse")), []string{sound[0].Keys.Age})
		if err != nil {
			t.Fatal(err)
		}
		open := func(n *agenttest.Node) error {
			text, err := identity.AgeKey(n.State())
			if err != nil {
				t.Fatal(err)
			}
			keys, err := secret.ParseKeys(text)
			if err != nil {
				t.Fatal(err)
			}
			_, err = secret.Open(id, sealed, keys)
			return err
		}
		if err := open(sound[0]); err != nil {
			t.Error(err)
		}
		if open(l.Node) == nil {
			t.Error("a node opens what is another's")
		}
	})
}

// TestALiarCrowdsOutNoApproval: what comes before its turn is remembered, and no node makes others forget it.
func TestALiarCrowdsOutNoApproval(t *testing.T) {
	alice, bob := agenttest.NewPerson("alice"), agenttest.NewPerson("bob")
	hostileTo(t, 4, func(t *testing.T) *agenttest.Cluster {
		c, _ := anchoredCluster(t, 58, 4, signedFleet("fleet: roles: {root: {paths: [\"fleet.cue\"]}, policy: {paths: [\"**\"], threshold: 2}}\n", "alice=root,policy", "bob=policy"))
		return c
	}, func(t *testing.T, c *agenttest.Cluster, l *liar, sound []*agenttest.Node) {
		first, _ := c.Remote.Ref("refs/heads/main")
		under := c.PushSigned(alice, motdFile("two\n"))
		over := c.PushSigned(alice, motdFile("three\n"))
		tree := c.TreeOf(over)
		for key := range 4 {
			var made []string
			for i := range 100 {
				a := trust.Approval{V: 1, Fleet: "acme", Base: under, Tree: tree, Sig: fmt.Sprintf(" %d %d", key, i)}
				made = append(made, string(a.Encode()))
			}
			l.say(t, schema.RecordStatement, fmt.Sprintf("approvals%d", key), schema.StatementRecord{Approvals: made})
		}
		c.Approve(bob, "acme", under, over)
		time.Sleep(time.Minute)
		c.Point(first) // nor does who puts the branch back for a while
		time.Sleep(time.Minute)
		c.Point(over)
		time.Sleep(time.Minute)
		for _, n := range sound {
			if !n.Holds(first) {
				t.Errorf("%s holds %s", n.Name, n.Agent.Account().Commit)
			}
		}
		c.Approve(bob, "acme", first, under)
		holds(c, sound, over, 3*time.Minute)
	})
}

// What one node alone has seen of the remote, before the branch was put back, follows on what is in force elsewhere: it is no
// fork, and taken once the branch is at it again.
func TestACommitThatOneNodeAloneHasSeen(t *testing.T) {
	alice := agenttest.NewPerson("alice")
	hostileTo(t, 5, func(t *testing.T) *agenttest.Cluster {
		c, _ := anchoredCluster(t, 59, 5, signedFleet("", "alice=root,policy"))
		return c
	}, func(t *testing.T, c *agenttest.Cluster, l *liar, sound []*agenttest.Node) {
		first, _ := c.Remote.Ref("refs/heads/main")
		second := c.PushSigned(alice, motdFile("two\n"))
		c.Point(first)
		l.handler.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = c.Remote.Pack(r.Context(), w, second, r.URL.Query().Get("have"))
		}))
		l.say(t, schema.RecordHead, "", schema.HeadRecord{Commit: second})
		time.Sleep(3 * time.Minute)
		for _, n := range sound {
			if p := problems(n); p != "" || !n.Holds(first) {
				t.Errorf("%s holds %s: %s", n.Name, n.Agent.Account().Commit, p)
			}
		}
		c.Point(second)
		holds(c, sound, second, 2*time.Minute)
	})
}

// What a peer gives is checked, and who gives rubbish, or half, or nothing, only costs a little time.
func TestAPeerThatGivesRubbish(t *testing.T) {
	hostile(t, 52, 5, func(t *testing.T, c *agenttest.Cluster, l *liar, sound []*agenttest.Node) {
		rnd := rand.New(rand.NewPCG(5, 2))
		for i, give := range []func(w http.ResponseWriter, r *http.Request, commit string){
			func(w http.ResponseWriter, r *http.Request, _ string) { // more than a pack may be
				block := make([]byte, 1<<20)
				for range 66 {
					if _, err := w.Write(block); err != nil {
						return
					}
				}
			},
			func(w http.ResponseWriter, r *http.Request, commit string) { // the half of it, and then nothing
				var pack bytes.Buffer
				_ = c.Remote.Pack(r.Context(), &pack, commit, "")
				_, _ = w.Write(pack.Bytes()[:pack.Len()/2])
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			},
			func(w http.ResponseWriter, r *http.Request, _ string) { <-r.Context().Done() },
			func(w http.ResponseWriter, r *http.Request, _ string) { // a sound pack of something else
				s := copyOf(t, c, r.URL.Query().Get("have"))
				other, err := s.Commit(gitrepo.Change{Files: map[string][]byte{"x": []byte("y")}, Message: "x", Author: "x", Email: "x@x", When: time.Now()})
				if err == nil {
					_ = s.Pack(r.Context(), w, other, "")
				}
			},
		} {
			// Too large to be pushed, so that all must ask for it.
			large := make([]byte, 64<<10)
			for j := range large {
				large[j] = byte(rnd.Uint32())
			}
			commit := c.Push(map[string]string{"policies/web.cue": motd(fmt.Sprintf("%d\n", i))["policies/web.cue"], "lib/large": hex.EncodeToString(large)})
			l.handler.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v1/pack" {
					give(w, r, commit)
				}
			}))
			l.say(t, schema.RecordHead, "", schema.HeadRecord{Commit: commit})
			l.Push(topicOf(commit), []byte("rubbish"))
			t.Logf("case %d: in force after %s", i, holds(c, sound, commit, time.Minute))
		}
		for _, n := range sound {
			size := int64(0)
			err := filepath.WalkDir(n.State(), func(_ string, d fs.DirEntry, err error) error {
				if info, ierr := d.Info(); err == nil && ierr == nil {
					size += info.Size()
				}
				return nil
			})
			if err != nil || size > 8<<20 {
				t.Errorf("%s keeps %d KiB, %v", n.Name, size>>10, err)
			}
			if p := problems(n); p != "" {
				t.Errorf("%s: %s", n.Name, p)
			}
		}
	})
}

// A node that floods the others with records, sound and forged ones, its own and others', costs them little, and fools nobody.
func TestAFloodOfRecords(t *testing.T) {
	hostile(t, 53, 6, func(t *testing.T, c *agenttest.Cluster, l *liar, sound []*agenttest.Node) {
		victim := sound[1]
		var old []schema.Record
		for _, r := range l.Of(schema.RecordState) {
			if r.Node == victim.Keys.ID() {
				old = append(old, r)
			}
		}
		if len(old) != 1 {
			t.Fatalf("the liar holds %d states of its victim", len(old))
		}
		holds(c, sound, c.Push(motd("two\n")), 25*time.Second) // what is held is old by then
		time.Sleep(time.Minute)
		before := sentBy(c, sound)
		const flood = 2 * time.Minute
		text := strings.Repeat("x", 3<<10)
		for i := range int(flood / (20 * time.Millisecond)) {
			if _, err := l.Publish("noise", fmt.Sprint(i%60), fmt.Sprint(i, text)); err != nil {
				t.Fatal(err)
			}
			l.Offer()
			time.Sleep(20 * time.Millisecond)
		}
		perSecond := float64(sentBy(c, sound)-before) / flood.Seconds() / float64(len(sound))
		t.Logf("%.1f KiB a second sent by each", perSecond/1024)
		if perSecond > 24<<10 {
			t.Errorf("%.1f KiB a second sent by each for the flood of one", perSecond/1024)
		}
		pushed := time.Now()
		holds(c, sound, c.Push(motd("three\n")), 25*time.Second)
		t.Logf("a commit is in force %s after it was pushed", time.Since(pushed))

		// Its victim's past, and records that its victim has not signed: from the future, changed, and too long.
		state := old[0]
		l.offers(state)
		future := state
		future.Boot, future.Seq = 1<<40, 1
		changed := state
		changed.Boot += 5
		changed.Body = []byte(`{"name":"` + victim.Name + `","commit":"` + strings.Repeat("0", 40) + `"}`)
		long := future
		long.Body, _ = json.Marshal(strings.Repeat("x", schema.MaxRecordBody))
		own := schema.Record{Node: l.Keys.ID(), Kind: schema.RecordState, Boot: 1 << 60, Seq: 1, Body: []byte("{}")}
		own.Sig = ed25519.Sign(l.Keys.Sign, own.Message())
		for _, r := range []schema.Record{future, changed, long, own} {
			l.offers(r)
		}
		time.Sleep(5 * time.Minute)
		commit, _ := c.Remote.Ref("refs/heads/main")
		for _, n := range sound {
			for _, v := range n.Agent.Nodes() {
				if v.ID == victim.Keys.ID() && (v.Commit != commit || v.Status != schema.Online) {
					t.Errorf("%s sees the victim %s at %s", n.Name, v.Status, v.Commit)
				}
			}
			if p := problems(n); p != "" {
				t.Errorf("%s: %s", n.Name, p)
			}
		}
	})
}

func sentBy(c *agenttest.Cluster, nodes []*agenttest.Node) (sum uint64) {
	for _, n := range nodes {
		sum += c.Net.Host(n.Addr).Sent()
	}
	return sum
}

// A host with another gossip key hears nobody, says why, and enforces what it reads itself.
func TestAWrongGossipKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 54, 4, fleetFiles("one\n"))
		defer c.StopAll()
		n := c.Nodes[3]
		n.Change = func(o *agent.Options) { o.GossipKey = bytes.Repeat([]byte{8}, 32) }
		for _, n := range c.Nodes {
			n.Start()
		}
		first, _ := c.Remote.Ref("refs/heads/main")
		agree(t, c, first, time.Minute)
		c.Until("the host says why it is alone", 2*time.Minute, func() bool { return strings.Contains(problems(n), "another gossip key") })
		for _, o := range c.Nodes[:3] {
			if s := statusOf(o, n); s == schema.Online {
				t.Errorf("%s sees it as %s", o.Name, s)
			}
			if p := problems(o); p != "" {
				t.Errorf("%s: %s", o.Name, p)
			}
		}
		agree(t, c, c.Push(motd("two\n")), 25*time.Second)
	})
}

// Who reads all that goes over the network learns neither who the nodes are nor what they tell: no hint, id, name, record, commit
// or part of the policy goes over it as it is.
func TestWhoTapsTheNetworkReadsNothing(t *testing.T) {
	cluster(t, 55, 4, func(t *testing.T, c *agenttest.Cluster) {
		var mu sync.Mutex
		var all bytes.Buffer
		c.Net.Tap(func(b []byte) { mu.Lock(); defer mu.Unlock(); all.Write(b) })
		away := c.Nodes[3] // it comes anew, handshakes and lists of members included
		away.Stop()
		commit := c.Push(motd("a line that nobody overhears\n"))
		away.Start()
		agree(t, c, commit, 30*time.Second)
		mend := spoil(t, c.Nodes[1])
		c.Until("all know it", 3*time.Minute, func() bool {
			return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return n.Agent.Status().Compliance[schema.NonCompliant] != 1 })
		})
		mend()
		settledReports(c, 10*time.Minute)
		time.Sleep(2 * time.Minute)
		c.Net.Tap(nil)
		// What the nodes have told, as it is and as JSON and JSON Lines carry it.
		secret := map[string][]byte{"the commit": []byte(commit), "a hint of the commit": topic(commit), "a part of the policy": []byte("nobody overhears"),
			"a request": []byte("/v1/"), "a kind of record": []byte(schema.RecordAddress), "a verdict": []byte(schema.NonCompliant),
			"a report": []byte(`"compliance"`), "the gossip key": bytes.Repeat([]byte{9}, 32)}
		for _, n := range c.Nodes {
			secret["the id of "+n.Name], secret["the name of "+n.Name] = []byte(n.Keys.ID()), []byte(n.Name)
			secret["the key of "+n.Name], secret["the TLS pin of "+n.Name] = n.Keys.Public(), []byte(n.Keys.TLSPin())
			secret["the TLS key of "+n.Name] = n.Keys.TLS.Leaf.RawSubjectPublicKeyInfo
			secret["the report of "+n.Name] = []byte(own(n))
		}
		if all.Len() < 50_000 || !bytes.Contains(all.Bytes(), []byte("dunlin")) { // the label of gossip is for all to read
			t.Fatalf("%d bytes were overheard", all.Len())
		}
		t.Logf("%d bytes overheard", all.Len())
		for what, text := range secret {
			if len(text) < 4 {
				t.Errorf("%s is %q", what, text)
			}
			if i := bytes.Index(all.Bytes(), text); i >= 0 {
				t.Errorf("%s goes over the network as it is: %q", what, all.Bytes()[max(0, i-40):min(all.Len(), i+60)])
			}
		}
	})
}

func topic(commit string) []byte { t := topicOf(commit); return t[:] }
