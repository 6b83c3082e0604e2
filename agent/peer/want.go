package peer

import "time"

// wish is a record that one neighbour was asked for. Others that have offered it wait in case that it does not come.
type wish struct {
	from  *stream
	since time.Time
	rest  []*stream // at most maxRest
}

const maxRest = 4

// most is how many records one neighbour may owe at a time: all that the nodes of the roster are likely to have, and
// some. A neighbour that offers what it never gives so leaves room for what others offer.
func (p *Peers) most() int { return 1024 + 4*len(p.config.Pins()) }

// want asks s for those of ds that nobody else was asked for.
func (p *Peers) want(s *stream, ds []string, now time.Time) {
	most := p.most()
	p.mu.Lock()
	defer p.mu.Unlock()
	var ask []string
	for _, d := range ds {
		w := p.wanted[d]
		switch {
		case w == nil:
			ask = append(ask, d)
		case w.from == s:
		case len(w.rest) < maxRest:
			w.rest = append(w.rest, s)
		}
	}
	before := len(p.wanted)
	for _, d := range s.want(ask, most, now) {
		p.wanted[d] = &wish{from: s, since: now}
	}
	if before == 0 && len(p.wanted) > 0 {
		wake(p.kick) // else nobody looks whether they come
	}
}

// came ends a wish; the record was taken, or need not be asked for again before it is offered anew.
func (p *Peers) came(digest string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.wanted, digest)
}

// askOthers asks the next neighbour for what has not come from the first. It reports whether anything is awaited.
func (p *Peers) askOthers(now time.Time) bool {
	most := p.most()
	p.mu.Lock()
	defer p.mu.Unlock()
	again := map[*stream][]string{}
	for d, w := range p.wanted {
		if !w.from.ended() && now.Sub(w.since) < wantWithin {
			continue
		}
		for len(w.rest) > 0 && w.rest[0].ended() {
			w.rest = w.rest[1:]
		}
		if len(w.rest) == 0 {
			delete(p.wanted, d) // a comparison finds it
			continue
		}
		w.from, w.since, w.rest = w.rest[0], now, w.rest[1:]
		again[w.from] = append(again[w.from], d)
	}
	for s, ds := range again {
		s.want(ds, most, now)
	}
	return len(p.wanted) > 0
}
