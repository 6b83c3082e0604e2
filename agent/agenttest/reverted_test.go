package agenttest_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
)

// fencedIn is a host that reaches nobody any more once port 2222 is blocked for a while, until somebody lets it out.
type fencedIn struct {
	cut    atomic.Bool
	blocks atomic.Int32 // how often that was tried
	begun  func()       // called the first time
}

type fencedHost struct {
	reconciler.Host
	f *fencedIn
}

func (h fencedHost) SetBlockedPorts(ctx context.Context, left map[schema.BlockedPort]time.Duration) error {
	for b, d := range left {
		if b.Port.First == 2222 && d > 0 {
			if h.f.blocks.Add(1) == 1 {
				h.f.begun()
				h.f.cut.Store(true)
			}
		}
	}
	return h.Host.SetBlockedPorts(ctx, left)
}

type fencedNetwork struct {
	gossip.Network
	f *fencedIn
}

func (n fencedNetwork) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if n.f.cut.Load() && strings.HasSuffix(addr, ":7951") {
		return nil, errors.New("no route to host")
	}
	return n.Network.Dial(ctx, addr)
}

// A block that cut its host off is not tried again under its commit, however the agent ended meanwhile; the next commit
// tries it once more.
func TestARevertedBlockIsRememberedAcrossStarts(t *testing.T) {
	cluster(t, 48, 3, func(t *testing.T, c *agenttest.Cluster) {
		first, _ := c.Remote.Ref("refs/heads/main")
		agree(t, c, first, time.Minute)
		one := c.Nodes[1]
		one.Stop()
		f := &fencedIn{begun: c.HideRemote}
		one.Change = func(o *agent.Options) {
			o.Local.Host = fencedHost{o.Local.Host, f}
			o.Network = fencedNetwork{o.Network, f}
		}
		one.Start()
		online(c, 3)
		outcome := func() schema.Outcome {
			for _, ch := range one.Agent.Account().Changes {
				if strings.Contains(ch.Resource, "2222") {
					return ch.Result
				}
			}
			return ""
		}
		files := motd("one\n")
		blocking := strings.Replace(files["policies/web.cue"], "{port: 23}", "{port: 23}, {port: 2222}", 1)
		second := c.Push(map[string]string{"policies/web.cue": blocking})
		c.Until("the block is reverted", 3*time.Minute, func() bool { return outcome() == schema.Reverted })
		time.Sleep(30 * time.Second) // the kernel has dropped it
		f.cut.Store(false)
		c.ShowRemote()

		for _, end := range []struct {
			name string
			end  func()
		}{{"stopped", one.Stop}, {"ended by a power cut", one.PowerCut}} {
			end.end()
			one.Start()
			online(c, 3)
			time.Sleep(5 * time.Minute)
			if s := one.Agent.Status(); s.Commit != second {
				t.Fatalf("%s is in force, want %s", s.Commit, second)
			}
			if got := outcome(); got != schema.Reverted {
				t.Errorf("after the agent was %s the block is told of as %q, want Reverted", end.name, got)
			}
		}
		if n := f.blocks.Load(); n != 1 {
			t.Errorf("the block was tried %d times under its commit, want once", n)
		}

		third := c.Push(map[string]string{"policies/web.cue": blocking + "\n"})
		agree(t, c, third, time.Minute)
		c.Until("the next commit blocks the port", time.Minute, func() bool { return f.blocks.Load() > 1 && outcome() == "" })
	})
}
