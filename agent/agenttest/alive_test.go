package agenttest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
)

// hanging is a host whose next file is never written, until it is let go.
type hanging struct {
	reconciler.Host
	let chan struct{}
}

func (h hanging) WriteFile(ctx context.Context, path string, want schema.File, content []byte) error {
	<-h.let
	return h.Host.WriteFile(ctx, path, want, content)
}

// cutShort is a host that is still looking at its ports when the agent ends.
type cutShort struct {
	reconciler.Host
	looks func() // is called when it begins to
}

func (h cutShort) BlockedPorts(ctx context.Context) (map[schema.BlockedPort]time.Duration, bool, error) {
	h.looks()
	<-ctx.Done()
	return nil, false, errors.New("use of closed network connection")
}

// settling is a package manager that has a transaction of an earlier agent under way.
type settling struct {
	packages
	takes time.Duration
}

type packages interface{ agent.Packages }

func (p settling) Settle(context.Context) error {
	time.Sleep(p.takes)
	return nil
}

// manager hears what an agent tells the service manager.
type manager struct {
	mu   sync.Mutex
	said []string
	ping time.Time     // the last
	gap  time.Duration // the longest
}

func (m *manager) hear(state string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if state != "WATCHDOG=1" {
		m.said = append(m.said, state)
		return
	}
	if !m.ping.IsZero() {
		m.gap = max(m.gap, now.Sub(m.ping))
	}
	m.ping = now
}

func (m *manager) heard(state string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.said, state)
}

// watched starts one agent under a service manager that wants to hear of it every three minutes.
func watched(t *testing.T, change func(*agent.Options)) (*agenttest.Cluster, *manager) {
	c := agenttest.NewCluster(t, 1, 1, fleetFiles("one\n"))
	m := &manager{}
	c.Nodes[0].Change = func(o *agent.Options) {
		o.Notify, o.Watchdog = m.hear, 3*time.Minute
		change(o)
	}
	c.Nodes[0].Start()
	return c, m
}

func TestTheServiceManagerHearsOfALoopThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan struct{})
		start := time.Now()
		c, m := watched(t, func(o *agent.Options) { o.Local.Host = hanging{o.Local.Host, let} })
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		m.mu.Lock()
		if after := m.ping.Sub(start); after < 5*time.Minute || after > 12*time.Minute {
			t.Errorf("the last sign of life came %v after the pass began that never ends, want about 10 min", after)
		}
		m.mu.Unlock()
		if log := c.Nodes[0].Log.String(); strings.Count(log, "a loop hangs") != 1 || !strings.Contains(log, "loops=[enforce]") {
			t.Errorf("log does not name the loop once:\n%s", log)
		}
		close(let)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		m.mu.Lock()
		if time.Since(m.ping) > time.Minute {
			t.Errorf("no sign of life for %v after the loop goes on", time.Since(m.ping))
		}
		m.mu.Unlock()
		c.StopAll()
	})
}

func TestTheServiceManagerBearsWithLongWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, m := watched(t, func(o *agent.Options) { o.Local.Packages = settling{o.Local.Packages, 90 * time.Minute} })
		head, err := c.Remote.Ref("refs/heads/main")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Minute)
		c.StopAll()
		if m.gap > time.Minute+time.Second {
			t.Errorf("no sign of life for %v, want one a minute", m.gap)
		}
		if n := len(m.said); n < 3 || m.said[0] != "READY=1" && m.said[1] != "READY=1" || m.said[n-1] != "STOPPING=1" {
			t.Errorf("said %q", m.said)
		}
		want := "STATUS=" + head[:12] + " in force, 1 of 1 nodes online"
		if got := m.said[len(m.said)-2]; got != want {
			t.Errorf("said %q last, want %q", got, want)
		}
	})
}

func TestALookThatIsCutIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := make(chan struct{})
		begun := sync.OnceFunc(func() { close(looks) })
		c, _ := watched(t, func(o *agent.Options) { o.Local.Host = cutShort{o.Local.Host, begun} })
		<-looks
		c.StopAll()
		if log := c.Nodes[0].Log.String(); strings.Contains(log, "closed network connection") {
			t.Errorf("what could not be looked at any more is told as failed:\n%s", log)
		}
	})
}
