package schedule

import (
	"math"
	"strings"
	"time"
)

// reach is more than two offsets of one zone ever differ by, and more than any
// offset from UTC, in seconds.
const reach = 26 * 60 * minute

// Zone finds an IANA time zone by its name. "" is a fault, and so are names that mean something
// else on every host ("Local", "localtime", "posixrules") or count leap seconds ("right/...").
// It reads the host's zone files, or what the program carries (time/tzdata).
func Zone(name string) (*time.Location, error) {
	zone, faults := findZone(name)
	if len(faults) > 0 {
		return nil, faults
	}
	return zone, nil
}

func findZone(name string) (*time.Location, Faults) {
	first, _, _ := strings.Cut(name, "/")
	switch first {
	case "", "Local", "localtime", "posixrules", "posix", "right", "Factory":
	default:
		if zone, err := time.LoadLocation(name); err == nil {
			return zone, nil
		}
	}
	return nil, fault("timezone", `no time zone %q; an IANA name such as "Europe/Helsinki" is wanted`, name)
}

// period is a stretch of time in which a zone keeps one offset, in Unix seconds; to is exclusive.
type period struct{ from, to, offset int64 }

func periodAt(zone *time.Location, t int64) period {
	at := time.Unix(t, 0).In(zone)
	_, offset := at.Zone()
	p := period{math.MinInt64 / 2, math.MaxInt64 / 2, int64(offset)}
	from, to := at.ZoneBounds()
	if !from.IsZero() {
		p.from = from.Unix()
	}
	if !to.IsZero() {
		p.to = to.Unix()
	}
	if p.to <= t {
		// Beyond the transitions that a zone file lists, package time ends periods with day 365 of
		// the year in UTC, also where t is day 366. The offset holds until that day ends.
		p.to = (t/day + 1) * day
	}
	return p
}

// wallClock is a cron in a zone. shift moves its matches, in wall seconds.
type wallClock struct {
	cron  *cron
	zone  *time.Location
	shift int64
}

func (w wallClock) next(after time.Time) (time.Time, bool) {
	find := w.nextFixed
	if w.cron.elapsed {
		find = w.nextElapsed
	}
	t, ok := find(after.Unix())
	return time.Unix(t, 0).UTC(), ok
}

// match gives the first wall-clock start at or after n, shifted, in wall seconds.
func (w wallClock) match(n int64) (int64, bool) {
	m, ok := w.cron.next(n - w.shift)
	return m + w.shift, ok
}

// nextElapsed walks the periods of the zone: whatever wall clock they show exists,
// once or twice, and what they leap over does not.
func (w wallClock) nextElapsed(after int64) (int64, bool) {
	t := after + 1
	for {
		p := periodAt(w.zone, t)
		n, ok := w.match(t + p.offset)
		if ok && n < p.to+p.offset {
			return n - p.offset, true
		}
		switch {
		case p.to <= t+reach: // the clock may go back to before t's wall clock
			t = p.to
		case !ok:
			return 0, false
		default:
			t = max(p.to, n-reach)
		}
	}
}

// nextFixed maps wall-clock starts to the first instant that has reached them.
// That is in their order, but for a gap that does not end on a whole minute.
func (w wallClock) nextFixed(after int64) (int64, bool) {
	back := after
	if periodAt(w.zone, after).from > after-minute {
		back -= minute
	}
	var best int64
	found := false
	n := highest(w.zone, back) + 1
	for {
		m, ok := w.match(n)
		if !ok {
			return best, found
		}
		i := instantOf(w.zone, m)
		if i.at > after {
			if !found || i.at < best {
				best, found = i.at, true
			}
			if !i.rounded {
				return best, true
			}
		}
		n = max(m+1, i.skip)
	}
}

// highest gives the highest wall clock that the zone has shown up to t.
func highest(zone *time.Location, t int64) int64 {
	p := periodAt(zone, t)
	high := t + p.offset
	for p.from > t-reach {
		p = periodAt(zone, p.from-1)
		high = max(high, p.to-1+p.offset)
	}
	return high
}

// instant is where a wall clock comes to lie.
type instant struct {
	at      int64 // Unix seconds
	skip    int64 // for one in a gap: the wall clock at which the gap ends, else 0
	rounded bool  // moved on from the end of the gap to a whole minute
}

// instantOf gives the first instant whose wall clock is n or, where a gap leaps over
// n, the first whole minute after it.
func instantOf(zone *time.Location, n int64) instant {
	p := periodAt(zone, n-reach)
	for n >= p.to+p.offset {
		p = periodAt(zone, p.to)
	}
	if n >= p.from+p.offset {
		return instant{at: n - p.offset}
	}
	end := p.from + p.offset
	whole := (end + minute - 1) / minute * minute
	return instant{at: whole - p.offset, skip: end, rounded: whole != end}
}
