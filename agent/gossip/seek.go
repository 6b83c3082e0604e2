package gossip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// seek joins, and joins again whoever went: after a partition neither side would look for the other.
func (c *Cluster) seek(ctx context.Context) {
	wait := time.Duration(0)
	otherKey, reached := false, false
	joined := map[string]time.Time{} // when an address was joined last
	for turn := 0; ; turn++ {
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-c.resync:
			t.Stop()
			if addr := c.anyone(); addr != "" {
				_ = c.join(addr, false)
				wait = jitter(c.c, 5*time.Second)
				continue
			}
		case <-t.C:
		}
		addr := c.missing(ctx, turn, joined)
		if addr == "" {
			c.c.Alone("")
			wait = jitter(c.c, 10*time.Second)
			continue
		}
		alone := c.anyone() == ""
		hedged := alone && turn < len(c.c.Join)-1
		err := c.join(addr, hedged)
		if errors.Is(err, errSlow) {
			wait = 0
			continue
		}
		otherKey = otherKey || err != nil && strings.Contains(err.Error(), "decrypt")
		if err == nil && len(joined) < maxLost {
			joined[addr] = time.Now()
		}
		alone = c.anyone() == ""
		reached = err == nil || reached && !alone
		switch {
		case reached || !alone: // before there is a roster nobody is a member
			otherKey = false
			c.c.Alone("")
		case turn+1 < len(c.c.Join): // others are asked first
		case otherKey:
			c.c.Alone("no other node is reached: who answers has another gossip key; gossip.keyFile must be the same file on all nodes")
		case c.whole():
			c.c.Alone("")
		default:
			c.c.Alone("no other node is reached at the addresses of gossip.join")
		}
		wait = jitter(c.c, 5*time.Second)
		if alone && turn < 2*len(c.c.Join) {
			wait = jitter(c.c, time.Second)
		}
	}
}

// slowJoin is after how long, while nobody is there yet, another address is joined beside one that has not answered: where
// packets are lost, a stream may take seconds to open, and it is rarely all of them that do.
const slowJoin = 500 * time.Millisecond

// errSlow says that an address is still being joined.
var errSlow = errors.New("it does not answer yet")

// join joins an address. Where it is hedged and takes long it goes on beside, and the error is errSlow.
func (c *Cluster) join(addr string, hedged bool) error {
	done := make(chan error, 1)
	c.loops.Go(func() {
		_, err := c.list.Load().Join([]string{addr})
		if err != nil {
			c.tell.say("join "+addr, fmt.Sprintf("%s cannot be joined: %s", addr, cause(err)))
		}
		done <- err
	})
	if !hedged {
		return <-done
	}
	t := time.NewTimer(slowJoin)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return errSlow
	}
}

// whole reports whether this node is all that the roster has: then nobody is missed.
func (c *Cluster) whole() bool {
	_, listed := c.c.Keys(c.c.Name)
	return listed && c.c.Nodes() == 1
}

// missing is an address to join: of the seeds that are no members, of members that went, and of those that memberlist takes
// for gone and that answer all the same; one each turn.
//
// A seed that was joined and is no member's address is one that a translator, or another address of its host, stands for: it
// is joined again now and then.
func (c *Cluster) missing(ctx context.Context, turn int, joined map[string]time.Time) string {
	c.mu.Lock()
	here := map[netip.AddrPort]bool{c.at.Gossip: true}
	var absent []string
	for id := range c.here {
		if at, ok := c.claims.where(id); ok {
			here[at.Gossip] = true
		}
		if !c.told[id] && id != c.c.Name {
			absent = append(absent, id)
		}
	}
	for id := range c.lost {
		if _, known := c.c.Keys(id); !known || c.here[id] {
			delete(c.lost, id) // for good
		} else {
			absent = append(absent, id)
		}
	}
	c.mu.Unlock()
	var out []string
	for _, seed := range c.c.Join {
		all := c.resolve(ctx, seed)
		known := func(a netip.AddrPort) bool {
			return here[a] || len(here) > 1 && time.Since(joined[a.String()]) < seedAgain
		}
		if len(all) > 0 && !slices.ContainsFunc(all, known) {
			out = append(out, all[turn%len(all)].String())
		}
	}
	// Each node in another order, so that they do not all call the same one.
	rand.Shuffle(len(absent), func(i, j int) { absent[i], absent[j] = absent[j], absent[i] })
	most := len(c.c.Join) + 8
	for _, id := range absent {
		if at, ok := c.claims.where(id); ok && len(out) < most {
			out = append(out, at.Gossip.String())
		}
	}
	if len(out) == 0 {
		return ""
	}
	return out[turn%len(out)]
}

// resolve gives the addresses of host:port, and lets packets go there.
func (c *Cluster) resolve(ctx context.Context, seed string) []netip.AddrPort {
	host, port, err := net.SplitHostPort(seed)
	if err != nil {
		host, port = strings.Trim(seed, "[]"), strconv.Itoa(int(c.at.Gossip.Port()))
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return nil
	}
	var ips []netip.Addr
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = []netip.Addr{ip}
	} else {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
			c.tell.say("resolve "+seed, fmt.Sprintf("%s cannot be joined: %s", seed, cause(err)))
			return nil
		}
	}
	var all []netip.AddrPort
	for _, ip := range ips[:min(len(ips), maxOfSeed)] {
		all = append(all, netip.AddrPortFrom(ip.Unmap(), uint16(number)))
	}
	c.claims.seed(seed, all)
	return all
}

// cause is the last line of what memberlist says, which has the cause.
func cause(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return strings.TrimLeft(lines[len(lines)-1], "\t *")
}
