package peer

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// What one node may take of this one, however many connections and streams it opens for it.
const (
	framesRate  = 200.0 // frames a second that are read of it for long
	framesBurst = 4000.0
	bytesRate   = 512 << 10 // bytes a second that are read of it for long; it is slowed beyond
	bytesBurst  = 32 << 20
	givesRate   = 512 << 10 // the same of records that it asks for
	givesBurst  = 64 << 20
	opensEvery  = 2 * time.Second // connections and streams that it opens
	opensBurst  = 64.0
	maxBad      = 8    // records with a wrong signature
	maxRefused  = 1024 // records refused for other reasons: a roster that is not the same yet
	forgiven    = time.Hour
	// leastCut is how long a node is cut off that goes beyond that, or sends what no node sends; twice as long each time
	// that it does so within forgiven, and at most mostCut.
	leastCut = 10 * time.Second
	mostCut  = 10 * time.Minute
)

// errCut is wrapped where a node is cut off for a while.
var errCut = errors.New("it is cut off for a while")

// account is what is known of a node beyond its connections. It is made on first use and kept while the node is in the roster.
type account struct {
	mu sync.Mutex
	// frames, bytes and gives are what it may still send and ask for at once; opens likewise.
	frames, bytes, gives, opens meter
	bad, refused                int
	since                       time.Time // bad and refused
	strikes                     int
	struck, until               time.Time
}

// meter fills with time.
type meter struct {
	room float64
	at   time.Time
}

func (m *meter) fill(most, perSecond float64, now time.Time) {
	if m.at.IsZero() {
		m.room = most
	} else if now.After(m.at) {
		m.room = min(most, m.room+now.Sub(m.at).Seconds()*perSecond)
	}
	m.at = now
}

// account is a node's.
func (p *Peers) account(id string) *account {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.accounts[id]
	if a == nil {
		a = &account{}
		p.accounts[id] = a
	}
	return a
}

// frame counts a frame that was read; it fails where they are too many.
func (a *account) frame(now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.frames.fill(framesBurst, framesRate, now); a.frames.room < 1 {
		return errFlood
	}
	a.frames.room--
	return nil
}

// read counts bytes that were read, and gives how long nothing more is to be read.
func (a *account) read(n int, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bytes.fill(bytesBurst, bytesRate, now)
	a.bytes.room -= float64(n)
	return owed(a.bytes.room, bytesRate)
}

// gave is the same for records that it was given.
func (a *account) gave(n int, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gives.fill(givesBurst, givesRate, now)
	a.gives.room -= float64(n)
	return owed(a.gives.room, givesRate)
}

func owed(room, perSecond float64) time.Duration {
	if room >= 0 {
		return 0
	}
	return time.Duration(-room / perSecond * float64(time.Second))
}

// open counts a connection or stream that it opens; it fails where they are too many, and while it is cut off.
func (a *account) open(now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Before(a.until) {
		return fmt.Errorf("%w, until %s", errCut, a.until.UTC().Format(time.TimeOnly))
	}
	if a.opens.fill(opensBurst, 1/opensEvery.Seconds(), now); a.opens.room < 1 {
		return errors.New("it opens too many connections and streams")
	}
	a.opens.room--
	return nil
}

// cut reports whether it is cut off.
func (a *account) cut(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return now.Before(a.until)
}

// refuse counts a record that was not taken; it fails where they are too many.
func (a *account) refuse(bad bool, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.since) > forgiven {
		a.bad, a.refused, a.since = 0, 0, now
	}
	if bad {
		a.bad++
	} else {
		a.refused++
	}
	if a.bad < maxBad && a.refused < maxRefused {
		return nil
	}
	a.bad, a.refused = 0, 0
	return errBad
}

// strike cuts it off, and gives for how long.
func (a *account) strike(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.struck) > forgiven {
		a.strikes = 0
	}
	d := min(leastCut<<min(a.strikes, 10), mostCut)
	a.strikes++
	a.struck, a.until = now, now.Add(d)
	return d
}

// blame cuts a node off whose stream has ended for its own fault.
func (p *Peers) blame(s *stream, why error) {
	if !errors.Is(why, errFrame) && !errors.Is(why, errFlood) && !errors.Is(why, errBad) {
		return
	}
	d := s.account.strike(time.Now())
	p.cuts.Add(1)
	p.log.printf("peer %q is cut off for %s: %v", clip(s.id), d, why)
	p.mu.Lock()
	var all []*conn
	for c := range p.conns {
		if id, _ := c.who(); id == s.id {
			all = append(all, c)
		}
	}
	p.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
}

// Refused is what nodes were refused since the start.
type Refused struct {
	Slowed uint64   // frames after which a node had to wait, or the other way
	Cuts   uint64   // times that some node was cut off
	Cut    []string // ids of those that are cut off now, sorted
}

// Refused counts what nodes were refused.
func (p *Peers) Refused() Refused {
	now := time.Now()
	r := Refused{Slowed: p.slowed.Load(), Cuts: p.cuts.Load()}
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, a := range p.accounts {
		if a.cut(now) {
			r.Cut = append(r.Cut, id)
		}
	}
	slices.Sort(r.Cut)
	return r
}
