package agenttest_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/schema"
)

// memberKey is the signing key of a member of a test.
func memberKey(i int) ed25519.PrivateKey {
	sum := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
	return ed25519.NewKeyFromSeed(sum[:])
}

func memberName(i int) string { return schema.NodeID(memberKey(i).Public().(ed25519.PublicKey)) }

// memberKeys are the keys of the first n members.
func memberKeys(n int) func(string) (ed25519.PublicKey, bool) {
	keys := map[string]ed25519.PublicKey{}
	for i := range n {
		keys[memberName(i)] = memberKey(i).Public().(ed25519.PublicKey)
	}
	return func(id string) (ed25519.PublicKey, bool) { key, ok := keys[id]; return key, ok }
}

// signer signs addresses with a key, of a start.
func signer(key ed25519.PrivateKey, boot uint64) func(schema.AddressRecord) (schema.Record, error) {
	return func(a schema.AddressRecord) (schema.Record, error) {
		body, err := json.Marshal(a)
		r := schema.Record{Node: schema.NodeID(key.Public().(ed25519.PublicKey)), Kind: schema.RecordAddress, Boot: boot, Seq: 1, Body: body}
		r.Sig = ed25519.Sign(key, r.Message())
		return r, err
	}
}

// joined is member i.
func joined(i int, net *agenttest.Network, keys func(string) (ed25519.PublicKey, bool), join []string) gossip.Config {
	return gossip.Config{Name: memberName(i), Key: bytes.Repeat([]byte{7}, 32), Label: "dunlin", Bind: memberAddr(i) + ":7950",
		Peer: ":7951", Join: join, Network: net.Host(memberAddr(i)), Keys: keys, Sign: signer(memberKey(i), 1)}
}

func memberAddr(i int) string { return fmt.Sprintf("10.0.%d.%d", i/200, i%200+1) }

// members starts n members that join the first three.
func members(t *testing.T, net *agenttest.Network, n int) []*gossip.Cluster {
	var join []string
	for i := range min(n, 3) {
		join = append(join, memberAddr(i)+":7950")
	}
	var all []*gossip.Cluster
	keys := memberKeys(n + 1)
	for i := range n {
		c, err := gossip.Start(joined(i, net, keys, join))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

func closeAll(all []*gossip.Cluster) {
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(c.Close)
	}
	wg.Wait()
	time.Sleep(30 * time.Second) // probes under way end by their own timers
}

// waitMembers waits until all see want members, at most d.
func waitMembers(t *testing.T, all []*gossip.Cluster, want int, d time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		ok := true
		for _, c := range all {
			ok = ok && len(c.Members()) == want
		}
		if ok {
			return time.Since(start)
		}
		if time.Since(start) > d {
			for i, c := range all {
				if n := len(c.Members()); n != want {
					t.Errorf("after %s member %d sees %d, want %d", d, i, n, want)
				}
			}
			t.FailNow()
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func TestGossipIdleBytes(t *testing.T) {
	t.Parallel()
	n := 40
	if os.Getenv("DUNLIN_LONG") != "" {
		n = 100
	}
	synctest.Test(t, func(t *testing.T) {
		net := agenttest.NewNetwork(1)
		all := members(t, net, n)
		defer closeAll(all)
		t.Logf("joined after %s", waitMembers(t, all, n, 5*time.Minute))
		time.Sleep(2 * time.Minute) // until the joins are told to all
		var before, after uint64
		for i := range all {
			before += net.Host(memberAddr(i)).Sent()
		}
		const quiet = 5 * time.Minute
		time.Sleep(quiet)
		for i := range all {
			after += net.Host(memberAddr(i)).Sent()
		}
		perSecond := float64(after-before) / quiet.Seconds() / float64(n)
		t.Logf("idle: %.0f bytes a second sent by each of %d", perSecond, n)
		if perSecond > 600 {
			t.Errorf("%.0f bytes a second are more than 600", perSecond)
		}
	})
}

func TestGossipHintsPartitionsAndDeaths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := agenttest.NewNetwork(2)
		all := members(t, net, 30)
		defer func() { closeAll(all) }()
		waitMembers(t, all, 30, 4*time.Minute) // what gossip missed, push and pull brings
		net.SetLoss(0.2)

		start := time.Now()
		all[4].Hint([]byte("h-something"))
		all[4].Hint(bytes.Repeat([]byte{1}, 65)) // too long: dropped
		heard := 0
		var last time.Duration
		for heard < 29 && time.Since(start) < 10*time.Second {
			time.Sleep(100 * time.Millisecond)
			for i, c := range all {
				select {
				case h := <-c.Hints():
					if string(h) != "h-something" || i == 4 {
						t.Fatalf("member %d heard %q", i, h)
					}
					heard++
					last = time.Since(start)
				default:
				}
			}
		}
		t.Logf("%d of 29 heard a hint, the last after %s", heard, last)
		if heard < 27 {
			t.Errorf("%d of 29 heard a hint", heard)
		}

		net.SetLoss(0)
		var cut []string
		for i := range 10 {
			cut = append(cut, memberAddr(i+20))
		}
		net.Partition(cut)
		t.Logf("a partition is noticed after %s", waitMembers(t, all[:20], 20, 2*time.Minute))
		waitMembers(t, all[20:], 10, 2*time.Minute)
		net.Heal()
		if d := waitMembers(t, all, 30, 30*time.Second); d > 30*time.Second {
			t.Errorf("healed after %s", d)
		} else {
			t.Logf("healed after %s", d)
		}

		all[29].Close()
		all = all[:29]
		d := waitMembers(t, all, 29, time.Minute)
		t.Logf("a death is noticed after %s", d)
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
		all[28].Leave(ctx)
		stop()
		all = all[:28]
		if d := waitMembers(t, all, 28, 10*time.Second); d > 5*time.Second {
			t.Errorf("a goodbye is noticed after %s", d)
		}
	})
}

// After a cut that lasted, both sides find each other again though the nodes that all join are no more. What seems lost on a
// bad network is not lost.
func TestGossipHealsWithoutTheFirstNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := agenttest.NewNetwork(4)
		all := members(t, net, 24)
		defer func() { closeAll(all) }()
		waitMembers(t, all, 24, 4*time.Minute)
		closeAll(all[:3])
		all = all[3:]
		waitMembers(t, all, 21, 2*time.Minute)

		net.SetLoss(0.2)
		missing := 0
		for range 300 {
			time.Sleep(time.Second)
			for _, c := range all {
				missing += 21 - len(c.Members())
			}
		}
		t.Logf("at 20 %% loss each member misses others for %.2f %% of the time", float64(missing)/300/21/21*100)
		if missing > 300*21*21/100 {
			t.Errorf("members miss others for %d seconds in 5 min of 21", missing)
		}
		net.SetLoss(0)

		var cut []string
		for i := range 10 {
			cut = append(cut, memberAddr(i+3))
		}
		net.Partition(cut)
		waitMembers(t, all[:10], 10, 2*time.Minute)
		waitMembers(t, all[10:], 11, 2*time.Minute)
		time.Sleep(time.Minute) // memberlist tells those that are lost no more
		net.Heal()
		t.Logf("healed after %s", waitMembers(t, all, 21, 30*time.Second))
	})
}

func TestGossipRefusesStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := agenttest.NewNetwork(3)
		var mu sync.Mutex
		var log []string
		tell := func(s string) { mu.Lock(); log = append(log, s); mu.Unlock() }
		start := func(i int, name string, key byte, label string) *gossip.Cluster {
			config := joined(i, net, memberKeys(4), []string{memberAddr(0) + ":7950"})
			config.Name, config.Key, config.Label, config.Log = name, bytes.Repeat([]byte{key}, 32), label, tell
			c, err := gossip.Start(config)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		all := []*gossip.Cluster{start(0, memberName(0), 1, "dunlin"), start(1, memberName(1), 2, "dunlin"), start(2, memberName(2), 1, "other")}
		defer closeAll(all)
		time.Sleep(2 * time.Minute)
		for i, c := range all {
			if n := len(c.Members()); n != 1 {
				t.Errorf("member %d sees %d", i, n)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if text := strings.Join(log, "\n"); !strings.Contains(text, "another gossip key") {
			t.Errorf("the log does not name the key:\n%s", text)
		}
		if len(log) > 100 {
			t.Errorf("%d lines in two minutes", len(log))
		}
		if _, err := gossip.Start(gossip.Config{Name: "web-1", Key: make([]byte, 32), Bind: memberAddr(9) + ":1", Network: net.Host(memberAddr(9))}); err == nil {
			t.Error("a name that is no id was taken")
		}
		if _, err := gossip.Start(gossip.Config{Name: memberName(9), Key: make([]byte, 16), Bind: memberAddr(9) + ":1", Network: net.Host(memberAddr(9))}); err == nil {
			t.Error("a short key was taken")
		}
	})
}

// Who has no key may hold a stream for seconds; with all that one address can open others still get in.
func TestAStrangersStreamsKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := agenttest.NewNetwork(3)
		all := members(t, net, 1)
		stranger := net.Host("10.9.9.9")
		ctx, stop := context.WithCancel(t.Context())
		var held sync.WaitGroup
		for range 80 {
			held.Go(func() {
				for ctx.Err() == nil {
					c, err := stranger.Dial(ctx, memberAddr(0)+":7950")
					if err != nil {
						time.Sleep(time.Second)
						continue
					}
					end := context.AfterFunc(ctx, func() { _ = c.Close() })
					_, _ = c.Read(make([]byte, 1)) // until it is closed
					end()
					_ = c.Close()
				}
			})
		}
		time.Sleep(10 * time.Second)
		c, err := gossip.Start(joined(1, net, memberKeys(2), []string{memberAddr(0) + ":7950"}))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
		t.Logf("joined after %s", waitMembers(t, all, 2, 10*time.Second))
		stop()
		closeAll(all)
		held.Wait()
	})
}

// An address to join that is not the one that its node has signed, as behind a translator, is not joined over and over.
func TestASeedUnderAnotherAddressIsJoinedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := agenttest.NewNetwork(5)
		seeds := []string{memberAddr(0) + ":7950", memberAddr(9) + ":7950"}
		var all []*gossip.Cluster
		for i := range 3 {
			c, err := gossip.Start(joined(i, net, memberKeys(4), seeds))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
		// The fourth listens on the address to join and says that it is somewhere else, where it listens, too.
		other := joined(3, net, memberKeys(4), seeds)
		stop, done := relay(t, net, memberAddr(9)+":7950", memberAddr(3)+":7950")
		defer func() { stop(); <-done }()
		c, err := gossip.Start(other)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
		defer closeAll(all)
		waitMembers(t, all, 4, 2*time.Minute)
		before := net.Dials()[memberAddr(0)]
		time.Sleep(10 * time.Minute)
		if n := net.Dials()[memberAddr(0)] - before; n > 25 {
			t.Errorf("%d connections in 10 minutes", n)
		}
	})
}

// relay passes streams to one address on to another, as a translator does.
func relay(t *testing.T, n *agenttest.Network, from, to string) (stop func(), done <-chan struct{}) {
	t.Helper()
	host := n.Host(strings.TrimSuffix(from, ":7950"))
	l, err := host.Listen(from)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := host.Dial(t.Context(), to)
			if err != nil {
				_ = in.Close()
				continue
			}
			wg.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			wg.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
		}
	})
	ended := make(chan struct{})
	return func() { _ = l.Close(); go func() { wg.Wait(); close(ended) }() }, ended
}
