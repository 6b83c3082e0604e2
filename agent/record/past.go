package record

import (
	"fmt"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// How two hosts with one key are told from one host that was restored.
const (
	// settle is how long after a node has first risen above its own past more of that past may come to light.
	settle    = 10 * time.Second
	maxSettle = 16 // rises meanwhile
	// answered is how many records, each of the start right after the one that this node has just risen to, are no past.
	answered = 5
	// A node that was risen above again rises again only after a pause, which doubles: two hosts with one key would
	// else chase each other as fast as the network allows.
	leastPause = 10 * time.Second
	mostPause  = 5 * time.Minute
	// cloneFor is how long a sign of two hosts with one key counts; while both live there are new ones.
	cloneFor = 10 * time.Minute
	maxAhead = 64 // of such records that are remembered
	// maxWritten is of how many of its own records a node remembers that it wrote them. Others give back old ones.
	maxWritten = 1024
)

// past is what this node has heard under its own key that it has not written since it started.
type past struct {
	rose   time.Time // first, in this start
	rises  int
	next   time.Time // not before
	pause  time.Duration
	ahead  map[string]struct{} // digests of newer records than its own
	boots  int                 // of such records, after settle
	boot   uint64              // the last of these
	answer int                 // records right above a boot that was risen to
	clone  time.Time           // the last sign of another host with the key
}

// heardSelf deals with a record under this node's own key that this start has not written. An older one is the past.
// A newer one, or another with the same number, is a past that the state folder has forgotten (a host restored from
// a snapshot), or another host with the same key. The node rises above it. A past comes to light at once and is risen
// above once; where newer ones follow later on, another host answers.
func (s *Store) heardSelf(at place, r schema.Record, digest string) error {
	ahead := r.Boot > s.boot || r.Boot == s.boot && (r.Seq > s.seq || s.seq-r.Seq < maxWritten && s.written[r.Seq] != digest)
	if !ahead || s.boot == 0 {
		return nil
	}
	now, p := s.config.Now(), &s.past
	if _, known := p.ahead[digest]; !known {
		if len(p.ahead) >= maxAhead {
			clear(p.ahead)
		}
		p.ahead[digest] = struct{}{}
		if !p.rose.IsZero() && r.Boot == s.boot+1 {
			p.answer++
		}
		if !p.rose.IsZero() && now.Sub(p.rose) > settle && r.Boot != p.boot {
			p.boots, p.boot = p.boots+1, r.Boot
		}
		twin := s.config.Past != nil && s.config.Past(r)
		if twin || p.boots > 1 || p.answer >= answered {
			s.twin(now)
		}
	}
	settling := p.rose.IsZero() || now.Sub(p.rose) <= settle && p.clone.IsZero()
	if settling && p.rises >= maxSettle || !settling && now.Before(p.next) {
		return nil
	}
	boot := max(s.boot, r.Boot) + 1
	if err := s.config.Jump(boot); err != nil {
		return fmt.Errorf("rise above boot %d: %w", r.Boot, err)
	}
	s.boot, s.seq = boot, 0
	clear(s.written)
	p.rises++
	if p.rose.IsZero() {
		p.rose = now
	}
	if !settling {
		if now.Sub(p.next) > 2*mostPause {
			p.pause = 0
		}
		p.pause = min(max(2*p.pause, leastPause), mostPause)
		p.next = now.Add(p.pause)
	}
	for _, own := range s.of(s.self) {
		s.set(own, s.sign(own, s.standing[own].record.Body))
	}
	s.notify()
	return nil
}

// Twin notes that another host has shown that it works with this node's key.
func (s *Store) Twin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.twin(s.config.Now())
}

// twin is Twin; the caller holds mu.
func (s *Store) twin(now time.Time) {
	if s.past.clone.IsZero() || now.Sub(s.past.clone) > cloneFor/2 {
		s.notify()
	}
	s.past.clone = now
}
