package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// asNode is a client with a node's key that keeps no streams of its own.
func asNode(f *fleet, d *node, to string) *http.Client {
	return &http.Client{Transport: &http.Transport{Protocols: onlyHTTP2(), DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		raw, err := f.net.dialer(d.id)(ctx, to)
		if err != nil {
			return nil, err
		}
		c := tls.Client(raw, &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, InsecureSkipVerify: true, Certificates: []tls.Certificate{d.cert}})
		return c, c.HandshakeContext(ctx)
	}}}
}

// drained opens a stream of a node and reads all that comes, until it ends.
func drained(t *testing.T, f *fleet, from *node, to string) (w io.WriteCloser, ended <-chan struct{}, cancel context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	client := asNode(f, from, to)
	resp, err := client.Do(must(newPost(ctx, "https://"+to+streamPath, r))(t))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, resp.Body)
		client.CloseIdleConnections()
	}()
	return w, done, cancel
}

// Who goes beyond what a node may do is cut off for longer each time, on all its connections, and nobody else is.
func TestWhoFloodsIsCutOffForLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		defer f.stop()
		pass(2 * time.Second)
		f.nodes[1].SetMembers(nil)
		pass(2 * time.Second)
		for i, want := range []time.Duration{leastCut, 2 * leastCut, 4 * leastCut} {
			w, ended, cancel := drained(t, f, f.nodes[1], "n00")
			_, _ = w.Write([]byte{0, 0, 0, 0, 99})
			<-ended
			cancel()
			synctest.Wait()
			if got := f.nodes[0].Refused(); len(got.Cut) != 1 || got.Cut[0] != "n01" || got.Cuts != uint64(i+1) {
				t.Errorf("%d: n00 has cut off %+v", i, got)
			}
			begun := time.Now()
			// On a pipe both sides wait for each other until the handshake's time is up.
			if resp, err := asNode(f, f.nodes[1], "n00").Get("https://n00/x"); i > 0 && err == nil {
				t.Errorf("%d: who is cut off is answered %s", i, resp.Status)
			}
			f.nodes[2].publish(10+i, "{}")
			pass(2 * time.Second)
			if got := len(f.nodes[0].store.Digests()); got != i+1 {
				t.Errorf("%d: n00 has %d records of a sound node", i, got)
			}
			for len(f.nodes[0].Refused().Cut) > 0 {
				pass(time.Second / 4)
			}
			if d := time.Since(begun); i > 0 && (d < want-time.Second || d > want+time.Second) {
				t.Errorf("%d: n01 is cut off for %s, want %s", i, d, want)
			}
		}
		f.members()
		pass(time.Minute)
		f.same(3)
	})
}

// Opening anew gives nobody more: a thousand streams, and as many connections.
func TestAThousandStreamsGetNoMoreThanOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		defer f.stop()
		pass(2 * time.Second)
		f.nodes[1].SetMembers([]Member{{"n00", "n00"}})
		client, base, err := f.nodes[1].Client("n00")
		if err != nil {
			t.Fatal(err)
		}
		let := 0
		var cancels []context.CancelFunc
		for range 1000 {
			ctx, cancel := context.WithCancel(t.Context())
			cancels = append(cancels, cancel)
			r, w := io.Pipe()
			resp, err := client.Do(must(newPost(ctx, base+streamPath, r))(t))
			if err == nil && resp.StatusCode == http.StatusOK {
				let++
			}
			_ = w.Close()
		}
		if let > opensBurst {
			t.Errorf("%d of 1000 streams were opened", let)
		}
		f.nodes[0].mu.Lock()
		streams, conns := len(f.nodes[0].accepted), len(f.nodes[0].conns)
		f.nodes[0].mu.Unlock()
		if streams > 2 || conns > maxFromNode+4 {
			t.Errorf("%d streams and %d connections are open", streams, conns)
		}
		for _, cancel := range cancels {
			cancel()
		}
		for range 200 {
			_ = f.nodes[1].Probe(t.Context(), "n00")
		}
		if !f.nodes[0].log.has("opens too many connections") {
			t.Error("nobody says that n01 opens too many connections")
		}
		f.nodes[2].publish(1, "{}")
		pass(2 * time.Second)
		if got := len(f.nodes[0].store.Digests()); got != 1 {
			t.Errorf("n00 has %d records of a sound node", got)
		}
		f.members()
		pass(5 * time.Minute)
		f.same(1)
	})
}

// Who asks for all there is again and again, over new streams, gets so much and then little; others get theirs.
func TestEndlessWantsAreSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		defer f.stop()
		for i := range 256 { // 15 MiB
			f.nodes[0].publish(i, strings.Repeat("x", 60<<10))
		}
		pass(2 * time.Minute)
		f.same(256)
		f.nodes[1].SetMembers(nil)
		_, before := f.nodes[0].Bytes()
		all := packDigests(f.nodes[0].store.Digests())
		const long = 5 * time.Minute
		for end := time.Now().Add(long); time.Now().Before(end); {
			w, ended, cancel := drained(t, f, f.nodes[1], "n00")
			for range maxSent {
				_, _ = w.Write(frame(frameWant, all))
			}
			select {
			case <-ended:
			case <-time.After(30 * time.Second):
			}
			cancel()
			pass(time.Second)
		}
		_, after := f.nodes[0].Bytes()
		if most := uint64(givesBurst + givesRate*(long.Seconds()+60)); after-before > most+most/10 {
			t.Errorf("%d MiB were given to one", (after-before)>>20)
		}
		if f.nodes[0].Refused().Slowed == 0 {
			t.Error("nobody was slowed")
		}
		f.nodes[2].publish(999, "{}")
		pass(2 * time.Second)
		if got := len(f.nodes[0].store.Digests()); got != 257 {
			t.Errorf("n00 has %d records, want one of a sound node more than 256", got)
		}
	})
}

// Who sends a byte now and then holds a stream for so long and nothing else.
func TestASlowFrameEndsItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, nil)
		defer f.stop()
		pass(2 * time.Second)
		f.nodes[1].SetMembers(nil)
		pass(2 * time.Second)
		w, ended, cancel := drained(t, f, f.nodes[1], "n00")
		defer cancel()
		begun := time.Now()
		for b := range bytes.SplitSeq(frame(frameOffer, bytes.Repeat([]byte{'x'}, 16*digestLen)), nil) {
			select {
			case <-ended:
				if d := time.Since(begun); d > idleWithin+time.Second {
					t.Errorf("it ends after %s", d)
				}
				return
			case <-time.After(5 * time.Second):
			}
			_, _ = w.Write(b)
		}
		t.Error("a frame may take as long as its sender likes")
	})
}

func TestAccountsLastAsLongAsTheRosterHasTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		defer f.stop()
		pass(5 * time.Second)
		f.roster.set("n01", "")
		f.members()
		pass(2 * time.Second)
		f.nodes[0].mu.Lock()
		defer f.nodes[0].mu.Unlock()
		if f.nodes[0].accounts["n01"] != nil || len(f.nodes[0].accounts) > 1 {
			t.Errorf("%d accounts are kept", len(f.nodes[0].accounts))
		}
	})
}
