package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newPost(ctx context.Context, url string, body io.Reader) (*http.Request, error) {
	return http.NewRequestWithContext(ctx, http.MethodPost, url, body)
}

func TestStoresConverge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 10, nil)
		defer f.stop()
		for _, d := range f.nodes { // before any stream stands
			d.publish(1, `{"a":1}`)
		}
		pass(5 * time.Second)
		f.same(10)
		for _, d := range f.nodes {
			if got := len(d.Neighbours()); got < neighbours {
				t.Errorf("%s has %d neighbours, want %d at least", d.id, got, neighbours)
			}
		}
		// A new record is everywhere before long, without any comparison.
		f.nodes[3].publish(2, `{"a":2}`)
		pass(time.Second)
		f.same(11)
		// Large ones come, too, each in a frame of its own.
		for i := range 20 {
			f.nodes[4].publish(10+i, strings.Repeat("x", 60<<10))
		}
		pass(5 * time.Second)
		f.same(31)
	})
}

func TestWhatNobodyOfferedIsFoundByComparison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 4, nil)
		defer f.stop()
		pass(5 * time.Second)
		f.nodes[0].store.add(record("n00", 7, "{}"))
		f.nodes[1].store.add(record("n01", 8, "{}"))
		pass(2 * (round + round/3))
		f.same(2)
	})
}

func TestARecordCrossesALinkOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 6, nil)
		defer f.stop()
		pass(5 * time.Second)
		out := func() (sum uint64) {
			for _, d := range f.nodes {
				_, o := d.Bytes()
				sum += o
			}
			return sum
		}
		before := out()
		f.nodes[0].publish(1, strings.Repeat("x", 60<<10))
		pass(3 * time.Second)
		f.same(1)
		if spent := out() - before; spent > 5*(62<<10) {
			t.Errorf("%d bytes for 5 copies of 60 KiB", spent)
		}
	})
}

func TestANodeThatWasCutOffComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 8, nil)
		defer f.stop()
		pass(5 * time.Second)
		f.net.isolate("n05", true)
		pass(2 * time.Minute)
		if got := f.nodes[5].Neighbours(); len(got) > 0 {
			t.Errorf("n05 is cut off and has neighbours %v", got)
		}
		f.nodes[5].publish(1, "{}")
		f.nodes[0].publish(1, "{}")
		pass(3 * time.Second)
		f.net.isolate("n05", false)
		pass(25 * time.Second)
		f.same(2)
	})
}

func TestANodeThatLeavesTheRosterIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 4, nil)
		defer f.stop()
		pass(5 * time.Second)
		pin := f.roster.get()["n02"]
		f.roster.set("n02", "")
		f.members()
		pass(time.Second)
		if got := f.nodes[2].Neighbours(); len(got) > 0 {
			t.Errorf("n02 has left the roster and has neighbours %v", got)
		}
		if !f.nodes[0].log.has(`"n02" has left the roster`) {
			t.Errorf("n00 does not say that n02 has left:\n%s", f.nodes[0].log)
		}
		f.nodes[0].publish(1, "{}")
		pass(time.Minute)
		if got := len(f.nodes[2].store.Digests()); got != 0 {
			t.Errorf("n02 got %d records", got)
		}
		f.roster.set("n02", pin)
		pass(calm + 30*time.Second) // nobody is told, and it is seen all the same
		f.same(1)
	})
}

func TestRecordsThatTheRosterDoesNotKnowYetEndNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, nil)
		defer f.stop()
		f.nodes[0].store.strict = false
		pass(5 * time.Second)
		for i := range 20 {
			f.nodes[0].publish(2+i, "odd")
		}
		f.nodes[0].publish(1, "{}")
		pass(3 * time.Second)
		if len(f.nodes[1].Neighbours()) != 1 || len(f.nodes[1].store.Digests()) != 1 {
			t.Errorf("n01 has neighbours %v and %d records", f.nodes[1].Neighbours(), len(f.nodes[1].store.Digests()))
		}
		f.nodes[1].store.mu.Lock()
		f.nodes[1].store.strict = false // the roster has come
		f.nodes[1].store.mu.Unlock()
		pass(2 * (round + round/3))
		f.same(21)
	})
}

// Nothing changes: all that goes over the streams are comparisons.
func TestIdleBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 12, nil)
		defer f.stop()
		for _, d := range f.nodes {
			d.publish(1, "{}")
		}
		pass(time.Minute)
		f.same(12)
		before := make([]uint64, len(f.nodes))
		for i, d := range f.nodes {
			_, before[i] = d.Bytes()
		}
		const minutes = 20
		pass(minutes * time.Minute)
		var sum, most float64
		for i, d := range f.nodes {
			_, now := d.Bytes()
			rate := float64(now-before[i]) / (minutes * 60)
			sum, most = sum+rate, max(most, rate)
		}
		t.Logf("idle: %.1f B/s a node sent, %.1f at most", sum/float64(len(f.nodes)), most)
		if mean := sum / float64(len(f.nodes)); mean > 40 {
			t.Errorf("%.1f B/s a node while idle, want less than 40", mean)
		}
	})
}

func TestDirectCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 3, func(_ int, c *Config) {
			c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/away" {
					http.Redirect(w, r, "https://n02/", http.StatusFound)
					return
				}
				fmt.Fprintf(w, "%s asks %s for %s", Caller(r.Context()), c.Self, r.URL.Path)
			})
		})
		defer f.stop()
		client, base, err := f.nodes[0].Client("n01")
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{"/pack": "n00 asks n01 for /pack", "/away": "Found"} {
			resp, err := client.Get(base + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || !strings.Contains(string(body), want) {
				t.Errorf("answer to %s is %q, %v; want %q", path, body, err, want)
			}
			_ = resp.Body.Close()
		}
		if _, _, err := f.nodes[0].Client("n77"); !errors.Is(err, ErrUnknown) {
			t.Errorf("calling a stranger gives %v", err)
		}
		if Caller(context.Background()) != "" {
			t.Error("a caller outside of a call")
		}
	})
}

func TestServeEndsWithAllItHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails where a goroutine is left
		f := newFleet(t, 5, nil)
		pass(3 * time.Second)
		f.nodes[0].publish(1, "{}")
		f.stop()
		if _, err := f.nodes[0].dial(context.Background(), "n01"); err == nil {
			t.Error("it dials after its end")
		}
	})
}

func TestNeighboursAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 24, nil)
		defer f.stop()
		pass(10 * time.Second)
		for _, d := range f.nodes {
			d.mu.Lock()
			dialled := 0
			for _, l := range d.links {
				if l.stream != nil {
					dialled++
				}
			}
			in := len(d.accepted)
			d.mu.Unlock()
			if dialled > neighbours || in > maxAccepted || dialled+in < neighbours {
				t.Errorf("%s has dialled %d and accepted %d", d.id, dialled, in)
			}
		}
	})
}

// Of many nodes each still talks with a few, and what one of them tells is soon everywhere, also once some have gone. In the
// long run there are a thousand.
func TestManyNodes(t *testing.T) {
	n := 100
	if os.Getenv("DUNLIN_LONG") != "" {
		n = 1000
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, n, nil)
		defer f.stop()
		pass(30 * time.Second)
		everywhere := func(seq, from, to int) {
			t.Helper()
			r := digestOf(f.nodes[from].publish(seq, "news"))
			began := time.Now()
			for _, d := range f.nodes[:to] {
				for len(d.store.Missing([]string{r})) > 0 {
					if time.Since(began) > 5*time.Second {
						t.Fatalf("%s has not heard it after %s", d.id, time.Since(began))
					}
					pass(20 * time.Millisecond)
				}
			}
			t.Logf("of %d nodes all know it after %s", to, time.Since(began))
		}
		for i := range 5 {
			everywhere(i, i*n/5, n)
		}
		for _, d := range f.nodes[n-n/10:] {
			f.net.isolate(d.id, true)
		}
		pass(30 * time.Second) // a stream whose other end is silent is noticed
		everywhere(9, n/2, n-n/10)
		most, sum := 0, 0
		for _, d := range f.nodes[:n-n/10] {
			d.mu.Lock()
			links, in := len(d.links), len(d.accepted)
			d.mu.Unlock()
			most, sum = max(most, links+in), sum+links+in
			if links > maxLinks || in > maxAccepted {
				t.Errorf("%s dials %d and has accepted %d", d.id, links, in)
			}
		}
		t.Logf("%.1f streams a node, at most %d", float64(sum)/float64(n-n/10), most)
	})
}

// heard is what a node was pushed.
type heard struct {
	mu  sync.Mutex
	all []string
}

func (h *heard) take(from string, topic [20]byte, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, from+" "+string(topic[:1])+" "+string(data))
}

func (h *heard) count(part string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, line := range h.all {
		if strings.HasSuffix(line, part) {
			n++
		}
	}
	return n
}

func TestUrgentRecordsAndPushesAreSentUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ears := make([]*heard, 4)
		f := newFleet(t, 4, func(i int, c *Config) {
			ears[i] = &heard{}
			c.Pushed = ears[i].take
			c.Urgent = func(r schema.Record) bool { return string(r.Body) == "now" || len(r.Body) > maxUrgent }
		})
		defer f.stop()
		pass(5 * time.Second)
		// No wish is kept for what nobody had to ask for.
		f.nodes[0].publish(1, "now")
		pass(10 * time.Millisecond)
		f.same(1)
		// One that is too large goes the ordinary way, and so does one with a wrong signature: nowhere.
		f.nodes[1].publish(2, strings.Repeat("x", maxUrgent+1))
		pass(time.Second)
		f.same(2)
		f.nodes[2].Push([20]byte{'t'}, []byte("data"))
		f.nodes[2].Push([20]byte{'t'}, make([]byte, MaxPush+1))
		pass(time.Second)
		for i, e := range ears {
			if got := e.count("n02 t data"); i != 2 && got != 1 {
				t.Errorf("n%02d was pushed to %d times", i, got)
			}
		}
		// Who has it is not told again; others are.
		f.nodes[3].Push([20]byte{'t'}, []byte("data"))
		pass(time.Second)
		if got := ears[2].count("n03 t data"); got != 0 {
			t.Errorf("who pushed it first was pushed to %d times", got)
		}
		if got := ears[0].count("n03 t data"); got != 1 {
			t.Errorf("n00 was pushed to %d times by n03", got)
		}
	})
}

// Who comes a little late is told at once what is urgent, as far as it is still so; later on a comparison does.
func TestUrgentRecordsOfLateAreSentToNewStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 2, func(_ int, c *Config) { c.Urgent = func(r schema.Record) bool { return string(r.Body) == "now" } })
		defer f.stop()
		d := f.nodes[0]
		told := func() int { return len(d.newStream("n01", false).urgent) }
		pass(5 * time.Second)
		d.publish(1, "later")
		pass(time.Second)
		if n := told(); n != 0 {
			t.Errorf("%d records are urgent, want none", n)
		}
		for i := range 2 * maxFresh {
			d.publish(2+i, "now")
			pass(time.Second)
		}
		if n := told(); n != maxFresh {
			t.Errorf("%d records are urgent, want the newest %d", n, maxFresh)
		}
		for _, o := range f.nodes { // newer ones have taken their place
			o.store.mu.Lock()
			clear(o.store.records)
			o.store.mu.Unlock()
		}
		if n := told(); n != 0 {
			t.Errorf("%d records are sent that have been replaced", n)
		}
		r := d.publish(99, "now")
		pass(pushFresh - time.Second)
		if n := told(); n != 1 {
			t.Errorf("%d records are urgent after %s, want %v", n, pushFresh-time.Second, r)
		}
		pass(2 * time.Second)
		if n := told(); n != 0 {
			t.Errorf("%d records are urgent after more than %s", n, pushFresh)
		}
	})
}
