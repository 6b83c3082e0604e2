package gossip

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// where is where a member is.
func (c *Cluster) where(id string) (schema.AddressRecord, bool) {
	if id == c.c.Name {
		return c.at, true
	}
	return c.claims.where(id)
}

// Claim is told of this node's record of its addresses when it was signed anew.
func (c *Cluster) Claim(r schema.Record) error {
	b, err := packClaim(r)
	if err != nil {
		return err
	}
	if old := c.own.Swap(&b); old == nil || !bytes.Equal(*old, b) {
		wake(c.renew)
	}
	return nil
}

// Better is where others could reach this member now, where it tells them an address of loopback because there was no other when it
// began; false while there is none.
func (c *Cluster) Better() (net.IP, bool) {
	if !c.at.Gossip.Addr().IsLoopback() {
		return nil, false
	}
	host, _, err := net.SplitHostPort(c.c.Bind)
	if err != nil {
		return nil, false
	}
	ip, _, err := advertised(c.c.Network, host, int(c.at.Gossip.Port()), c.c.Advertise)
	return ip, err == nil && !ip.IsLoopback()
}

// At is where others reach this member.
func (c *Cluster) At() schema.AddressRecord { return c.at }

// renewing tells others when this member says something else of itself.
func (c *Cluster) renewing(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.renew:
			_ = c.list.Load().UpdateNode(time.Second) // that nobody has heard it yet is no error
			wake(c.news)
		}
	}
}

// Addresses are the records of kind schema.RecordAddress that came by streams. Where one is news, what is known of its node
// by gossip is not believed any more.
func (c *Cluster) Addresses(rs []schema.Record) {
	for _, r := range rs {
		if r.Node == c.c.Name || !c.claims.newer(r) {
			continue
		}
		var a schema.AddressRecord
		if json.Unmarshal(r.Body, &a) != nil {
			continue
		}
		moved, err := c.claims.take(r, a, nil)
		if err != nil {
			c.count.claims.Add(1)
			c.tell.say("claim "+r.Node, fmt.Sprintf("addresses of node %s are not believed: %v", r.Node, err))
			continue
		}
		c.mu.Lock()
		if !c.here[r.Node] && len(c.lost) < maxLost {
			c.lost[r.Node] = true // gossip has missed that it came
		}
		c.mu.Unlock()
		if moved {
			wake(c.changed)
		}
	}
}

// Roster is called when the roster has changed: who is not in it any more is no member, and nothing is sent to it.
func (c *Cluster) Roster() {
	gone := c.claims.forget()
	c.door.forget()
	c.mu.Lock()
	for _, id := range gone {
		for _, m := range []map[string]bool{c.here, c.lost, c.told, c.doubts} {
			delete(m, id)
		}
	}
	c.mu.Unlock()
	wake(c.changed)
	c.Resync() // who is new in it may have been refused before
}

// Guest lets packets go for a minute to where a node of the roster has opened a pinned stream from.
func (c *Cluster) Guest(ip netip.Addr) { c.claims.guest(ip.Unmap(), time.Now()) }
