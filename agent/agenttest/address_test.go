package agenttest_test

import (
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/schema"
)

// lateNetwork is that of a host whose interfaces have no address at first but that of loopback.
type lateNetwork struct {
	gossip.Network
	own *atomic.Pointer[string]
}

func (n lateNetwork) Addresses() ([]net.Addr, error) {
	all := []net.Addr{&net.IPNet{IP: net.IPv4(127, 0, 0, 1), Mask: net.CIDRMask(8, 32)}, &net.IPNet{IP: net.ParseIP("fe80::1"), Mask: net.CIDRMask(64, 128)}}
	if ip := n.own.Load(); ip != nil {
		all = append(all, &net.IPNet{IP: net.ParseIP(*ip), Mask: net.CIDRMask(24, 32)})
	}
	return all, nil
}

// A host whose network comes up after its agent says so, enforces all the same, and is a node for all once it has an address.
func TestANetworkThatComesUpLate(t *testing.T) {
	cluster(t, 14, 3, func(t *testing.T, c *agenttest.Cluster) {
		n := c.Nodes[2]
		n.Stop()
		var own atomic.Pointer[string]
		m := &manager{}
		n.Change = func(o *agent.Options) {
			o.Notify = m.hear
			o.Config.Gossip.Bind, o.Config.Peer.Bind = ":7950", ":7951"
			o.Network = lateNetwork{o.Network, &own}
		}
		n.Start()
		time.Sleep(time.Minute)
		if err := n.Ended(); err != nil || !strings.Contains(problems(n), "no address that others reach") {
			t.Errorf("without an address: %q, %v", problems(n), err)
		}
		if statusOf(c.Nodes[0], n) == schema.Online {
			t.Error("others see a host at an address of loopback")
		}
		own.Store(&n.Addr)
		t.Logf("it begins anew after %s", c.Until("it begins anew", 10*time.Second, func() bool { return errors.Is(n.Ended(), agent.ErrAgain) }))
		_ = n.Node.Stop()
		if m.heard("STOPPING=1") {
			t.Error("what begins anew says that it stops, for which systemd ends it after TimeoutStopSec")
		}
		n.Start() // as the command does by itself
		c.Until("all see it", time.Minute, func() bool {
			return statusOf(c.Nodes[0], n) == schema.Online && statusOf(n, c.Nodes[0]) == schema.Online
		})
		time.Sleep(time.Minute)
		if err := n.Ended(); err != nil || problems(n) != "" {
			t.Errorf("with an address: %q, %v", problems(n), err)
		}
	})
}
