package gossip

import (
	"context"
	"maps"
	"net"
	"slices"
	"time"
)

// Who has the gossip key can say of any member that it is gone, and of one that is gone that it is back. So this node
// asks by itself before it believes either.
const (
	// tries is how many pings it sends, tryEvery apart; one answer is enough.
	tries    = 3
	tryEvery = 500 * time.Millisecond
	// A member that answers though it is said to be gone is asked again, after leastDoubt and then twice as long each time.
	leastDoubt = 2 * time.Second
	mostDoubt  = 30 * time.Second
	// sweepEvery is the least time between two looks at all that went, when one of them is back.
	sweepEvery = 3 * time.Second
	// maxDoubts is how many are asked at the same time.
	maxDoubts = 256
)

// doubt notes that a member is to be asked; the caller holds mu.
func (c *Cluster) doubt(id string) {
	c.doubts[id] = true
	wake(c.doubting)
}

// weigh asks the members that are in doubt, until ctx ends.
func (c *Cluster) weigh(ctx context.Context) {
	slots := make(chan struct{}, maxDoubts)
	for {
		select {
		case <-ctx.Done():
			for range maxDoubts { // until all have ended
				slots <- struct{}{}
			}
			return
		case <-c.doubting:
		}
		c.mu.Lock()
		ids := slices.Sorted(maps.Keys(c.doubts))
		clear(c.doubts)
		c.mu.Unlock()
		for _, id := range ids {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				continue
			}
			go func() {
				defer func() { <-slots }()
				c.judge(ctx, id, c.answers(ctx, id))
			}()
		}
	}
}

// answers reports whether a member answers at the address that it has signed.
func (c *Cluster) answers(ctx context.Context, id string) bool {
	a, ok := c.claims.where(id)
	if !ok {
		return false
	}
	to := net.UDPAddrFromAddrPort(a.Gossip)
	got := make(chan bool, tries)
	for i := range tries {
		go func() {
			_, err := c.list.Load().Ping(id, to)
			got <- err == nil
		}()
		if i == tries-1 {
			break
		}
		t := time.NewTimer(tryEvery)
		select {
		case yes := <-got:
			t.Stop()
			if yes {
				return true
			}
			got <- false
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
	}
	for range tries {
		select {
		case yes := <-got:
			if yes {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
	return false
}

// judge takes note of whether a member in doubt has answered.
func (c *Cluster) judge(ctx context.Context, id string, there bool) {
	if ctx.Err() != nil {
		return
	}
	_, known := c.c.Keys(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	was, told := c.here[id], c.told[id]
	switch {
	case !known:
		delete(c.here, id)
		delete(c.lost, id)
	case there:
		c.here[id] = true
		delete(c.lost, id)
		if !told && was {
			c.count.deaths.Add(1)
		}
		if now := time.Now(); !was && now.Sub(c.swept) > sweepEvery {
			// Where one is back others are, too: the network was cut.
			c.swept = now
			for other := range c.lost {
				c.doubt(other)
			}
		}
	default:
		delete(c.here, id)
		if len(c.lost) < maxLost {
			c.lost[id] = true
		}
	}
	if known && there != told { // what is told of it and what it shows differ: it is asked again
		wait := min(max(2*c.waits[id], leastDoubt), mostDoubt)
		c.waits[id] = wait
		time.AfterFunc(wait, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.here[id] != c.told[id] {
				c.doubt(id)
			}
		})
	} else {
		delete(c.waits, id)
	}
	if was != c.here[id] {
		wake(c.changed)
		wake(c.news)
	}
}
