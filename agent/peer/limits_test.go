package peer

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestRecordsWithWrongSignatures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		defer f.stop()
		f.nodes[0].store.strict = false
		f.nodes[1].publish(1, "{}")
		pass(5 * time.Second)
		f.nodes[0].publish(1, "bad")
		pass(time.Second)
		if !f.nodes[1].log.has(`record from "n00" refused`, "signature is wrong") {
			t.Errorf("n01 does not say that it refused a record:\n%s", f.nodes[1].log)
		}
		if !contains(f.nodes[1].Neighbours(), "n00") {
			t.Error("one bad record has ended the stream")
		}
		for i := range 20 {
			f.nodes[0].publish(2+i, "bad")
		}
		pass(time.Second / 2)
		if !f.nodes[1].log.has(errBad.Error()) && contains(f.nodes[1].Neighbours(), "n00") {
			t.Errorf("20 bad records have not ended the stream:\n%s", f.nodes[1].log)
		}
		f.nodes[2].publish(5, "{}")
		pass(3 * time.Second)
		for _, d := range f.nodes[1:] {
			if got := len(d.store.Digests()); got != 2 {
				t.Errorf("%s holds %d records, want the 2 good ones", d.id, got)
			}
		}
	})
}

func contains(all []string, one string) bool {
	return strings.Contains(" "+strings.Join(all, " ")+" ", " "+one+" ")
}

func TestHostileFramesEndTheirStream(t *testing.T) {
	tooLong := []byte{0xff, 0xff, 0xff, 0xff, byte(frameRecords)}
	tests := []struct {
		name string
		send []byte
		why  string
	}{
		{"an unknown kind", []byte{0, 0, 0, 0, 99}, "kind 99"},
		{"a length of 4 GiB", tooLong, "bytes of kind"},
		{"a root of another length", frame(frameRoot, make([]byte, 31)), "31 bytes of kind"},
		{"half a digest", frame(frameOffer, make([]byte, 15)), "no digests"},
		{"a record that nobody asked for", frame(frameRecords, packRecord(nil, strings.Repeat("0", 32), record("n01", 1, "{}"))), "nobody has asked"},
		{"a record that is cut off", frame(frameRecords, make([]byte, 20)), "cut off"},
		{"a record longer than its frame", frame(frameRecords, append(make([]byte, 20), 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)), "in a rest of"},
		{"an answer that nobody asked for", frame(frameSame, nil), "nobody has asked"},
		{"an urgent record that is not urgent", frame(frameUrgent, make([]byte, 4<<10)), "bytes of kind"},
		{"no urgent record", frame(frameUrgent, nil), "0 records at once"},
		{"a push without a topic", frame(framePush, make([]byte, 19)), "a push of 19 bytes"},
		{"a push that is too long", frame(framePush, make([]byte, topicLen+MaxPush+1)), "bytes of kind"},
		{"a flood", bytes.Repeat(frame(frameRoot, make([]byte, 32)), 3*framesBurst), "too many frames"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 2, nil)
				defer f.stop()
				// n01 chooses nobody by itself.
				pass(2 * time.Second)
				w, r, cancel := opened(t, f.nodes[1], "n00")
				defer cancel()
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					_, _ = io.Copy(io.Discard, r)
				}()
				_, _ = w.Write(tt.send)
				select {
				case <-ended:
				case <-time.After(10 * time.Second):
					t.Error("the stream goes on")
				}
				synctest.Wait()
				if !f.nodes[0].log.has(`"n01"`, tt.why) {
					t.Errorf("n00 does not say %q:\n%s", tt.why, f.nodes[0].log)
				}
				// The sound peer behind the same name is served again.
				f.nodes[1].publish(1, "{}")
				pass(time.Minute)
				f.same(1)
			})
		})
	}
}

func TestAPeerThatDoesNotReadHoldsOnlyItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		defer f.stop()
		for i := range 128 {
			f.nodes[0].publish(i, strings.Repeat("x", 60<<10))
		}
		pass(20 * time.Second)
		f.same(128)
		w, _, cancel := opened(t, f.nodes[1], "n00")
		defer cancel()
		f.nodes[1].SetMembers(nil) // its own stream would take the place of this one
		all := f.nodes[0].store.Digests()
		for range maxSent {
			_, _ = w.Write(frame(frameWant, packDigests(all)))
		}
		pass(5 * time.Second)
		f.nodes[2].publish(999, "{}")
		pass(2 * time.Second)
		if got := len(f.nodes[0].store.Digests()); got != 129 {
			t.Errorf("n00 holds %d records while a peer is stuck, want 129", got)
		}
		pass(2 * writeWithin)
		if !f.nodes[0].log.has(`"n01"`, errStuck.Error()) {
			t.Errorf("n00 does not say that n01 is stuck:\n%s", f.nodes[0].log)
		}
		f.members()
		pass(time.Minute)
		f.same(129)
	})
}

func TestASilentPeerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, nil)
		defer f.stop()
		pass(2 * time.Second)
		_, r, cancel := opened(t, f.nodes[1], "n00")
		defer cancel()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = io.Copy(io.Discard, r)
		}()
		select {
		case <-ended:
		case <-time.After(2 * idleWithin):
			t.Error("a stream without a frame goes on")
		}
	})
}

// What a peer offers and never gives must not keep others from giving.
func TestOffersOfNothingTakeNoRoomOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		defer f.stop()
		pass(2 * time.Second)
		w, r, cancel := opened(t, f.nodes[1], "n00")
		defer cancel()
		go func() { _, _ = io.Copy(io.Discard, r) }()
		f.nodes[1].SetMembers(nil)
		for i := range 20 {
			var junk []string
			for j := range maxDigests {
				junk = append(junk, fmt.Sprintf("%032x", 1<<40+i*maxDigests+j))
			}
			_, _ = w.Write(frame(frameOffer, packDigests(junk)))
		}
		pass(100 * time.Millisecond)
		f.nodes[0].mu.Lock()
		if got := len(f.nodes[0].wanted); got > f.nodes[0].most() {
			t.Errorf("%d records are waited for, more than %d", got, f.nodes[0].most())
		}
		f.nodes[0].mu.Unlock()
		f.nodes[2].publish(1, "{}")
		pass(time.Second)
		if got := len(f.nodes[0].store.Digests()); got != 1 {
			t.Errorf("n00 holds %d records", got)
		}
	})
}

// Records that gave way to newer ones before they were sent never come. A stream that stands for long must not wait for
// all of them.
func TestRecordsThatNeverComeAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, nil)
		defer f.stop()
		pass(2 * time.Second)
		s := f.nodes[0].streams()[0]
		for i := range 3 * f.nodes[0].most() {
			f.nodes[0].want(s, []string{fmt.Sprintf("%032x", i)}, time.Now())
			if i%1000 == 0 {
				pass(oweFor / 2)
			}
		}
		pass(oweFor)
		f.nodes[1].publish(1, "{}")
		pass(time.Second)
		f.same(1)
	})
}

func TestAPeerThatSendsTooMuchIsReadSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, nil)
		defer f.stop()
		pass(2 * time.Second)
		w, r, cancel := opened(t, f.nodes[1], "n00")
		defer cancel()
		go func() { _, _ = io.Copy(io.Discard, r) }()
		f.nodes[1].SetMembers(nil)
		before, _ := f.nodes[0].Bytes()
		stop := time.AfterFunc(time.Minute, cancel)
		defer stop.Stop()
		big := frame(frameOffer, make([]byte, maxDigests*digestLen)) // the same digest over and over
		for {
			if _, err := w.Write(big); err != nil {
				break
			}
		}
		if in, _ := f.nodes[0].Bytes(); float64(in-before) > bytesBurst+70*bytesRate {
			t.Errorf("%d MiB were read in a minute", (in-before)>>20)
		}
	})
}

func TestStrangersTakeNoRoomOfNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		defer f.stop()
		dial := f.net.dialer("stranger")
		for range maxConns {
			c, err := dial(t.Context(), "n00")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
		}
		f.nodes[0].mu.Lock()
		if got := len(f.nodes[0].conns); got > maxFromOne+8 {
			t.Errorf("%d connections are open", got)
		}
		f.nodes[0].mu.Unlock()
		// A handshake that does not come is not waited for.
		pass(dialWithin + time.Second)
		f.nodes[1].publish(1, "{}")
		pass(30 * time.Second)
		f.same(1)
		f.nodes[0].mu.Lock()
		defer f.nodes[0].mu.Unlock()
		if got := len(f.nodes[0].unknown); got != 0 {
			t.Errorf("strangers that went are still counted: %v", f.nodes[0].unknown)
		}
	})
}

func TestOneNodeTakesNoRoomOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, nil)
		defer f.stop()
		pass(5 * time.Second)
		for range maxConns - 10 {
			c, err := f.nodes[0].dial(t.Context(), "n01")
			if err != nil {
				break
			}
			defer c.Close()
		}
		pass(time.Second)
		f.nodes[1].mu.Lock()
		got := len(f.nodes[1].conns)
		f.nodes[1].mu.Unlock()
		if got > 4*maxFromNode {
			t.Errorf("%d connections are open", got)
		}
		pass(dialWithin) // this network has one address for all, and those that were refused do not read why
		if err := f.nodes[2].Probe(t.Context(), "n01"); err != nil {
			t.Error(err)
		}
	})
}

func TestAnswersThatNobodyReadsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int32
		f := newFleet(t, 2, func(i int, c *Config) {
			c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				running.Add(1)
				defer running.Add(-1)
				for {
					if _, err := w.Write(make([]byte, 64<<10)); err != nil {
						return
					}
				}
			})
		})
		defer f.stop()
		pass(5 * time.Second)
		for range 5 {
			client, base, err := f.nodes[0].Client("n01")
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Get(base + "/v1/pack")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
		}
		pass(callWithin / 2)
		if n := running.Load(); n != 5 {
			t.Errorf("%d answers are under way, want 5", n)
		}
		pass(callWithin)
		if n := running.Load(); n != 0 {
			t.Errorf("%d answers wait for somebody who does not read", n)
		}
	})
}
