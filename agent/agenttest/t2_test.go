package agenttest_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/schema"
)

// Kinds of memberlist's messages (0.7.0, net.go).
const (
	mlPing, mlIndirectPing, mlSuspect, mlAlive, mlDead, mlPushPull, mlCompound, mlUser, mlCompress, mlEncrypt = 0, 1, 3, 4, 5, 6, 7, 8, 9, 10
)

// intruder has the gossip key and writes to nodes whatever it likes.
type intruder struct {
	t      *testing.T
	c      *agenttest.Cluster
	net    *agenttest.HostNetwork
	addr   string
	socket net.PacketConn
	nodes  []*agenttest.Node // whom it attacks
}

func intrude(t *testing.T, c *agenttest.Cluster, addr string, nodes []*agenttest.Node) (i *intruder, end func()) {
	i = &intruder{t: t, c: c, net: c.Net.Host(addr), addr: addr, nodes: nodes}
	var err error
	if i.socket, err = i.net.Packets(addr + ":7950"); err != nil {
		t.Fatal(err)
	}
	return i, func() { _ = i.socket.Close() }
}

// fields writes a message: numbers, texts, bytes and truths by name.
func fieldsOf(kind byte, fields ...any) []byte {
	b := []byte{kind, 0x80 | byte(len(fields)/2)}
	for _, f := range fields {
		switch f := f.(type) {
		case string:
			b = append(binary.BigEndian.AppendUint16(append(b, 0xda), uint16(len(f))), f...)
		case []byte:
			b = append(binary.BigEndian.AppendUint16(append(b, 0xda), uint16(len(f))), f...)
		case int:
			b = binary.BigEndian.AppendUint32(append(b, 0xce), uint32(f))
		case bool:
			b = append(b, map[bool]byte{false: 0xc2, true: 0xc3}[f])
		}
	}
	return b
}

func compound(parts ...[]byte) []byte {
	b := []byte{mlCompound, byte(len(parts))}
	for _, p := range parts {
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
	}
	return append(b, bytes.Join(parts, nil)...)
}

// seal is as memberlist does it; version 0 without the padding that it expects.
func (i *intruder) seal(version byte, plain, data []byte) []byte {
	block, err := aes.NewCipher(bytes.Repeat([]byte{9}, 32))
	if err != nil {
		i.t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		i.t.Fatal(err)
	}
	nonce := make([]byte, 12)
	for j := range nonce {
		nonce[j] = byte(rand.Uint32())
	}
	return gcm.Seal(append([]byte{version}, nonce...), nonce, plain, data)
}

var labelled = append([]byte{244, 6}, "dunlin"...)

// send sends a packet to a node.
func (i *intruder) send(to *agenttest.Node, version byte, plain []byte) {
	b := append(bytes.Clone(labelled), i.seal(version, plain, []byte("dunlin"))...)
	_, _ = i.socket.WriteTo(b, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to.Addr+":7950")))
}

// all sends a message to all nodes.
func (i *intruder) all(plain []byte) {
	for _, n := range i.nodes {
		i.send(n, 1, plain)
	}
}

// stream sends a message by a stream, and reads until it ends.
func (i *intruder) stream(to *agenttest.Node, version byte, plain []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := i.net.Dial(ctx, to.Addr+":7950")
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	head := binary.BigEndian.AppendUint32([]byte{mlEncrypt}, uint32(1+12+16+len(plain)))
	_, _ = c.Write(slices.Concat(labelled, head, i.seal(version, plain, append(bytes.Clone(head), "dunlin"...))))
	_, _ = io.Copy(io.Discard, c)
}

// spread calls f for the n-th time each so often, for d.
func spread(d, every time.Duration, f func(n int)) {
	for n := range int(d / every) {
		f(n)
		time.Sleep(every)
	}
}

var versions = []byte{1, 5, 2, 0, 0, 0}

// claimOf is what a member says of itself with a record of its addresses.
func claimOf(r schema.Record) []byte {
	var a schema.AddressRecord
	_ = json.Unmarshal(r.Body, &a)
	b := []byte{1}
	for _, at := range []netip.AddrPort{a.Gossip, a.Peer} {
		raw, _ := at.MarshalBinary()
		b = append(append(b, byte(len(raw))), raw...)
	}
	return append(binary.AppendUvarint(binary.AppendUvarint(b, r.Boot), r.Seq), r.Sig...)
}

// bystander is a host of nobody's fleet. Nothing may reach it.
type bystander struct {
	packets, bytes, streams atomic.Int64
	end                     func()
}

func watch(t *testing.T, n *agenttest.Network, addr string) *bystander {
	t.Helper()
	b := &bystander{}
	var wg sync.WaitGroup
	var closes []func() error
	for _, port := range []string{":53", ":7950", ":7951"} {
		p, err := n.Host(addr).Packets(addr + port)
		if err != nil {
			t.Fatal(err)
		}
		l, err := n.Host(addr).Listen(addr + port)
		if err != nil {
			t.Fatal(err)
		}
		closes = append(closes, p.Close, l.Close)
		wg.Go(func() {
			buf := make([]byte, 65536)
			for {
				n, _, err := p.ReadFrom(buf)
				if err != nil {
					return
				}
				b.packets.Add(1)
				b.bytes.Add(int64(n))
			}
		})
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				b.streams.Add(1)
				_ = c.Close()
			}
		})
	}
	b.end = func() {
		for _, c := range closes {
			_ = c()
		}
		wg.Wait()
	}
	return b
}

func (b *bystander) reached() string {
	if p, s := b.packets.Load(), b.streams.Load(); p+s > 0 {
		return fmt.Sprintf("%d packets and %d streams", p, s)
	}
	return ""
}

// onlineOf fails where a sound node does not see all sound ones as they are.
func soundOf(t *testing.T, what string, sound []*agenttest.Node, commit string) {
	t.Helper()
	for _, n := range sound {
		for _, o := range sound {
			if s := statusOf(n, o); s != schema.Online {
				t.Errorf("%s: %s sees %s as %s", what, n.Name, o.Name, s)
			}
		}
		if got := len(n.Agent.Nodes()); got != len(sound)+1 {
			t.Errorf("%s: %s knows %d nodes, want %d", what, n.Name, got, len(sound)+1)
		}
		if s := n.Agent.Status(); s.Commit != commit || len(s.Refused) > 0 || len(s.Problems) > 0 {
			t.Errorf("%s: %s has %s in force, refuses %v, and says %q", what, n.Name, s.Commit, s.Refused, s.Problems)
		}
	}
}

// Who has taken over a host has the gossip key. With that alone it moves nobody, ends nothing, hides nobody and reaches
// nobody through others, with memberlist as it is.
func TestT2WithTheGossipKey(t *testing.T) {
	hostile(t, 71, 6, func(t *testing.T, c *agenttest.Cluster, l *liar, sound []*agenttest.Node) {
		const third, own = "10.77.0.1", "10.66.0.1"
		victim := watch(t, c.Net, third)
		defer victim.end()
		i, end := intrude(t, c, own, sound)
		defer end()
		commit, _ := c.Remote.Ref("refs/heads/main")
		far, near := netip.MustParseAddr(third).AsSlice(), netip.MustParseAddr(own).AsSlice()
		claims := map[string][]byte{}
		for _, r := range l.Of(schema.RecordAddress) {
			claims[r.Node] = claimOf(r)
		}
		if len(claims) != 6 {
			t.Fatalf("%d addresses are known", len(claims))
		}
		each := func(f func(n *agenttest.Node)) {
			for _, n := range sound {
				f(n)
			}
		}
		const a = 10 * time.Second
		for _, attack := range []struct {
			name string
			do   func()
			// counted is what the nodes must have noticed; nil: there may be nothing.
			counted func(schema.NetworkRefusals) uint64
		}{
			{"pings that name a bystander as their source", func() {
				spread(a, 20*time.Millisecond, func(n int) {
					each(func(to *agenttest.Node) {
						i.send(to, 1, fieldsOf(mlPing, "SeqNo", n, "Node", to.Keys.ID(), "SourceAddr", far, "SourcePort", 53, "SourceNode", "x"))
					})
				})
			}, func(r schema.NetworkRefusals) uint64 { return r.Unverified }},
			{"255 of them in each packet", func() {
				spread(a, 100*time.Millisecond, func(int) {
					each(func(to *agenttest.Node) {
						p := fieldsOf(mlPing, "SeqNo", 1, "Node", to.Keys.ID(), "SourceAddr", far, "SourcePort", 53)
						i.send(to, 1, compound(slices.Repeat([][]byte{p}, 255)...))
					})
				})
			}, func(r schema.NetworkRefusals) uint64 { return r.Malformed }},
			{"questions about a bystander", func() {
				spread(a, 100*time.Millisecond, func(n int) {
					i.all(fieldsOf(mlIndirectPing, "SeqNo", n, "Target", far, "Port", 7950, "Node", "x", "Nack", true, "SourceAddr", far, "SourcePort", 7950))
				})
			}, func(r schema.NetworkRefusals) uint64 { return r.Unverified }},
			{"nodes at a bystander's address, and at the intruder's", func() {
				spread(a, time.Second, func(n int) {
					each(func(as *agenttest.Node) {
						for _, ip := range [][]byte{far, near} {
							i.all(fieldsOf(mlAlive, "Incarnation", n+5, "Node", as.Keys.ID(), "Addr", ip, "Port", 7950, "Meta", claims[as.Keys.ID()], "Vsn", versions))
							i.all(fieldsOf(mlAlive, "Incarnation", n+5, "Node", as.Keys.ID(), "Addr", ip, "Port", 7950, "Meta", []byte(third+":7951"), "Vsn", versions))
						}
					})
				})
			}, func(r schema.NetworkRefusals) uint64 { return r.Claims }},
			{"goodbyes of all, and all at the intruder's address after it", func() {
				spread(a, time.Second, func(n int) {
					each(func(as *agenttest.Node) {
						i.all(fieldsOf(mlDead, "Incarnation", 2*n+30, "Node", as.Keys.ID(), "From", as.Keys.ID()))
						i.all(fieldsOf(mlAlive, "Incarnation", 2*n+31, "Node", as.Keys.ID(), "Addr", near, "Port", 7950, "Meta", claims[as.Keys.ID()], "Vsn", versions))
					})
				})
			}, func(r schema.NetworkRefusals) uint64 { return r.Deaths }},
			{"deaths of all, and suspicions, as fast as the network takes them", func() {
				spread(3*a, 50*time.Millisecond, func(n int) {
					each(func(as *agenttest.Node) {
						i.all(compound(fieldsOf(mlDead, "Incarnation", n+100, "Node", as.Keys.ID(), "From", i.nodes[n%len(i.nodes)].Keys.ID()),
							fieldsOf(mlSuspect, "Incarnation", n+100, "Node", as.Keys.ID(), "From", "x")))
					})
				})
			}, func(r schema.NetworkRefusals) uint64 { return r.TooMany }},
			{"the last word about all", func() {
				spread(a, time.Second, func(int) {
					each(func(as *agenttest.Node) {
						for _, number := range []int{1<<32 - 1, 1 << 31, 1 << 24, 100_000} {
							i.all(fieldsOf(mlDead, "Incarnation", number, "Node", as.Keys.ID(), "From", as.Keys.ID()))
							i.all(fieldsOf(mlSuspect, "Incarnation", number, "Node", as.Keys.ID(), "From", "x"))
						}
					})
				})
			}, func(r schema.NetworkRefusals) uint64 { return r.TooMany }},
			{"names that nobody has", func() {
				spread(a, 20*time.Millisecond, func(n int) {
					i.all(fieldsOf(mlAlive, "Incarnation", 1, "Node", memberName(2000+n), "Addr", far, "Port", 7950, "Meta", claims[l.Keys.ID()], "Vsn", versions))
				})
			}, func(r schema.NetworkRefusals) uint64 { return r.Unknown }},
			{"members that speak no version", func() {
				spread(a, time.Second, func(n int) {
					each(func(as *agenttest.Node) {
						at := netip.MustParseAddr(as.Addr).AsSlice()
						i.all(fieldsOf(mlAlive, "Incarnation", n+400, "Node", as.Keys.ID(), "Addr", at, "Port", 7950, "Meta", claims[as.Keys.ID()], "Vsn", []byte{200, 255, 255, 9, 9, 9}))
					})
				})
			}, nil},
			{"states by streams: all are gone, elsewhere, unknown", func() {
				var states []byte
				for _, as := range sound {
					states = append(states, fieldsOf(0, "Name", as.Keys.ID(), "Addr", far, "Port", 7950, "Meta", claims[as.Keys.ID()], "Incarnation", 500, "State", 2, "Vsn", versions)[1:]...)
					states = append(states, fieldsOf(0, "Name", as.Keys.ID(), "Addr", near, "Port", 7950, "Meta", claims[as.Keys.ID()], "Incarnation", 501, "State", 3, "Vsn", versions)[1:]...)
				}
				for n := range 100 {
					states = append(states, fieldsOf(0, "Name", memberName(3000+n), "Addr", far, "Port", 7950, "Meta", []byte{}, "Incarnation", 1, "State", 0, "Vsn", versions)[1:]...)
				}
				spread(a, time.Second, func(int) {
					each(func(to *agenttest.Node) {
						i.stream(to, 1, append(fieldsOf(mlPushPull, "Nodes", 2*len(sound)+100, "UserStateLen", 0, "Join", true), states...))
					})
				})
			}, func(r schema.NetworkRefusals) uint64 { return r.Unknown }},
			{"what ends or fills a program that believes it", func() {
				spread(a, time.Second, func(int) {
					each(func(to *agenttest.Node) {
						for _, version := range []byte{0, 1} {
							i.send(to, version, nil)
							i.send(to, version, []byte{mlCompound})
							i.stream(to, version, nil)
						}
						ping := fieldsOf(mlPing, "SeqNo", 1, "Node", to.Keys.ID())
						for range 100 {
							ping = compound(ping)
						}
						i.send(to, 1, ping)
						i.send(to, 1, fieldsOf(mlCompress, "Algo", 0, "Buf", bytes.Repeat([]byte{1}, 1000)))
						i.send(to, 1, append([]byte{mlAlive, 0x81, 0xa4}, "Node\xdb\xff\xff\xff\xff"...))
						i.stream(to, 1, fieldsOf(mlCompress, "Algo", 0, "Buf", bytes.Repeat([]byte{1}, 1000)))
						i.stream(to, 1, fieldsOf(mlPushPull, "Nodes", 4_000_000_000, "UserStateLen", 0, "Join", true))
						i.stream(to, 1, fieldsOf(mlPushPull, "Nodes", 0, "UserStateLen", 20<<20, "Join", true))
						i.stream(to, 1, fieldsOf(mlUser, "UserMsgLen", 20<<20))
						i.stream(to, 1, append(fieldsOf(mlPushPull, "Nodes", 1, "UserStateLen", 0, "Join", true), make([]byte, 1<<20)...))
					})
				})
			}, func(r schema.NetworkRefusals) uint64 { return r.Malformed }},
		} {
			before := map[*agenttest.Node]uint64{}
			for _, n := range sound {
				if r := n.Agent.Status().Network; attack.counted != nil {
					before[n] = attack.counted(*r)
				}
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				attack.do()
			}()
			for running := true; running; {
				select {
				case <-ended:
					running = false
				case <-time.After(5 * time.Second):
				}
				soundOf(t, attack.name, sound, commit)
				if t.Failed() {
					<-ended
					return
				}
			}
			time.Sleep(45 * time.Second) // what was begun has an end
			soundOf(t, attack.name+", later", sound, commit)
			if what := victim.reached(); what != "" {
				t.Errorf("%s: %s reach a bystander", attack.name, what)
			}
			if attack.counted != nil && !slices.ContainsFunc(sound, func(n *agenttest.Node) bool { return attack.counted(*n.Agent.Status().Network) > before[n] }) {
				t.Errorf("%s: nobody counts it", attack.name)
			}
		}

		// Hints about commits that nobody has open no connection and make nobody read the remote.
		reads, dials := asked(c, sound...).Heads, c.Net.Dials()
		spread(time.Minute, 50*time.Millisecond, func(n int) {
			i.all(append([]byte{mlUser, 'h'}, bytes.Repeat([]byte{byte(n), byte(n >> 8)}, 10)...))
		})
		if n := asked(c, sound...).Heads - reads; n > 30 {
			t.Errorf("the remote was asked %d times in a minute of hints", n)
		}
		for _, n := range sound {
			if d := c.Net.Dials()[n.Addr] - dials[n.Addr]; d > 30 {
				t.Errorf("%s opened %d connections in a minute of hints", n.Name, d)
			}
		}
		// And all still works.
		holds(c, sound, c.Push(motd("two\n")), 25*time.Second)
		// A node that really goes is seen to go, whatever is said of it.
		gone := sound[4]
		gone.Stop()
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for n := 700; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
				}
				i.all(fieldsOf(mlAlive, "Incarnation", n, "Node", gone.Keys.ID(), "Addr", netip.MustParseAddr(gone.Addr).AsSlice(), "Port", 7950, "Meta", claims[gone.Keys.ID()], "Vsn", versions))
			}
		}()
		c.Until("all see that a node has gone", time.Minute, func() bool {
			return !slices.ContainsFunc(sound[:4], func(n *agenttest.Node) bool { return statusOf(n, gone) != schema.ConnectionLost })
		})
		for range 30 {
			time.Sleep(2 * time.Second)
			for _, n := range sound[:4] {
				if s := statusOf(n, gone); s != schema.ConnectionLost {
					t.Fatalf("%s sees a node that has gone as %s", n.Name, s)
				}
			}
		}
		close(stop)
		<-stopped
		gone.Start()
		c.Until("it is back", time.Minute, func() bool {
			return !slices.ContainsFunc(sound, func(n *agenttest.Node) bool { return statusOf(n, gone) != schema.Online })
		})
	})
}

// With the keys of one node too, it speaks for that one alone, and what it makes others do is little.
func TestT2WithTheKeysOfANode(t *testing.T) {
	hostile(t, 72, 6, func(t *testing.T, c *agenttest.Cluster, l *liar, sound []*agenttest.Node) {
		const third = "10.77.0.1"
		victim := watch(t, c.Net, third)
		defer victim.end()
		i, end := intrude(t, c, "10.66.0.1", sound)
		defer end()
		commit, _ := c.Remote.Ref("refs/heads/main")
		addressOf := func(id string) (r schema.Record) {
			for _, r := range sound[0].Agent.Records(schema.RecordAddress) {
				if r.Node == id {
					return r
				}
			}
			return r
		}
		sign := func(node string, key ed25519.PrivateKey, boot, seq uint64, gossip, peer string) schema.Record {
			body, err := json.Marshal(schema.AddressRecord{Gossip: netip.MustParseAddrPort(gossip), Peer: netip.MustParseAddrPort(peer)})
			if err != nil {
				t.Fatal(err)
			}
			r := schema.Record{Node: node, Kind: schema.RecordAddress, Boot: boot, Seq: seq, Body: body}
			r.Sig = ed25519.Sign(key, r.Message())
			return r
		}
		alive := func(r schema.Record, number int) {
			var a schema.AddressRecord
			_ = json.Unmarshal(r.Body, &a)
			i.all(fieldsOf(mlAlive, "Incarnation", number, "Node", r.Node, "Addr", a.Gossip.Addr().AsSlice(), "Port", int(a.Gossip.Port()), "Meta", claimOf(r), "Vsn", versions))
		}
		own := l.Keys.ID()

		// Another's addresses, signed by the wrong key, by record and by gossip; its own where no host is.
		other := sound[1].Keys.ID()
		before := addressOf(other)
		for n, r := range []schema.Record{
			sign(other, l.Keys.Sign, 1<<40, 1, third+":7950", third+":7951"),
			{Node: other, Kind: before.Kind, Boot: before.Boot + 9, Seq: 1, Body: before.Body, Sig: before.Sig},
		} {
			l.offers(r)
			alive(r, 10+n)
		}
		for n, at := range []string{"224.0.0.1:7950", "255.255.255.255:7950", "127.0.0.1:7950", "0.0.0.0:7950", "169.254.169.254:80"} {
			alive(sign(own, l.Keys.Sign, 2000, uint64(n+1), at, third+":7951"), 20+n)
		}
		time.Sleep(time.Minute)
		soundOf(t, "addresses that are not signed, or no host's", sound, commit)
		if got := addressOf(other); string(got.Body) != string(before.Body) || got.Boot != before.Boot {
			t.Errorf("another's address is %s", got.Body)
		}
		if what := victim.reached(); what != "" {
			t.Errorf("%s reach a bystander", what)
		}

		// Its own at a bystander's: what reaches that is what one member gets, though it is asked for as fast as can be.
		r := sign(own, l.Keys.Sign, 3000, 1, third+":7950", third+":7951")
		const long = 2 * time.Minute
		spread(long, 100*time.Millisecond, func(n int) {
			if n%20 == 0 {
				alive(r, 40+n/20)
			}
			for _, to := range sound {
				i.send(to, 1, fieldsOf(mlPing, "SeqNo", n, "Node", to.Keys.ID(), "SourceAddr", netip.MustParseAddr(third).AsSlice(), "SourcePort", 7950))
			}
		})
		perNode := float64(victim.bytes.Load()) / long.Seconds() / float64(len(sound))
		t.Logf("a bystander gets %.0f bytes a second of each node", perNode)
		if perNode > 1<<10 {
			t.Errorf("a bystander gets %.0f bytes a second of each node", perNode)
		}
		soundOf(t, "a bystander's address", sound, commit)

		// A node moves: its old address, signed and all, is not believed again.
		moved := sound[2]
		old := addressOf(moved.Keys.ID())
		moved.Stop()
		moved.Addr = "10.55.0.3"
		moved.Node.Gossip, moved.Node.Peer = "10.55.0.3:7950", "10.55.0.3:7951"
		moved.Start()
		c.Until("a node has moved", time.Minute, func() bool {
			return !slices.ContainsFunc(sound, func(n *agenttest.Node) bool {
				return statusOf(n, moved) != schema.Online || !strings.Contains(string(addressAt(n, moved).Body), "10.55.0.3")
			})
		})
		watching := watch(t, c.Net, "10.1.0.99") // somebody else has the old address by now: see below
		defer watching.end()
		l.offers(old)
		spread(time.Minute, time.Second, func(n int) { alive(old, 200+n) })
		soundOf(t, "an old address", sound, commit)
		for _, n := range sound {
			if got := addressAt(n, moved); !strings.Contains(string(got.Body), "10.55.0.3") {
				t.Errorf("%s takes a node to be at %s", n.Name, got.Body)
			}
		}

		// It is retired: at that commit its streams end, what it said is dropped and not passed on, and nothing is sent to it.
		retire := c.Roster(l.Node, func(line string) string { return strings.Replace(line, `"state":"active"`, `"state":"retired"`, 1) })
		holds(c, sound, retire, 30*time.Second)
		time.Sleep(2 * time.Second)
		if got := l.Neighbours(); len(got) > 0 {
			t.Errorf("a retired node has streams to %v", got)
		}
		l.say(t, schema.RecordHead, "", schema.HeadRecord{Commit: strings.Repeat("a", 40)})
		sent := victim.packets.Load()
		spread(time.Minute, time.Second, func(n int) { alive(r, 400+n) })
		for _, n := range sound {
			for _, kind := range []schema.RecordKind{schema.RecordHead, schema.RecordState, schema.RecordAddress} {
				if slices.ContainsFunc(n.Agent.Records(kind), func(r schema.Record) bool { return r.Node == own }) {
					t.Errorf("%s keeps the %s of a retired node", n.Name, kind)
				}
			}
			if s := statusOf(n, l.Node); s != schema.Retired {
				t.Errorf("%s sees a retired node as %s", n.Name, s)
			}
		}
		if n := victim.packets.Load() - sent; n > 0 {
			t.Errorf("%d packets go to the address of a retired node", n)
		}
		soundOf(t, "a retired node", sound, retire)
		holds(c, sound, c.Push(motd("two\n")), 25*time.Second)
	})
}

func addressAt(n, of *agenttest.Node) (r schema.Record) {
	for _, r := range n.Agent.Records(schema.RecordAddress) {
		if r.Node == of.Keys.ID() {
			return r
		}
	}
	return r
}
