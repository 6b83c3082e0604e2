package schedule

import (
	"fmt"
	"iter"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// horizon is how far the chain of overlapping starts may reach. A year alone is
// too short: some chains break at a daylight-saving change only.
const horizon = 400 * 24 * time.Hour

// reference is where the check for openings begins in a window without a start
// of its own: the rules of zones are settled from there on. Unix seconds.
const reference = 1767225600 // 2026-01-01T00:00:00Z

// Window is when change may happen: it opens on its schedule, lasts Duration and
// takes no new work in its last Cutoff. The zero value never opens.
//
// A start with no other start in the Duration before it opens the window. From
// there on a start inside an opening is skipped (SKIPPED_OVERLAPPING), the first
// one at or after the end opens it again.
type Window struct {
	Schedule Schedule
	Duration time.Duration
	Cutoff   time.Duration
}

// Opening is one run of a window. It is open at Start and no longer at End; from NoNewWork on
// nothing new begins. The instants are in UTC.
type Opening struct{ Start, End, NoNewWork time.Time }

// AcceptsWork reports whether something new may begin at t.
func (o Opening) AcceptsWork(t time.Time) bool {
	return !t.Before(o.Start) && t.Before(o.NoNewWork)
}

func (w Window) opening(start time.Time) Opening {
	end := start.Add(w.Duration)
	return Opening{Start: start, End: end, NoNewWork: end.Add(-w.Cutoff)}
}

// FromWindow takes what people write. A window that is not enabled gives one that never opens.
// The error is a Faults.
func FromWindow(w schema.Window) (Window, error) {
	window, faults := fromWindow(w)
	if len(faults) > 0 {
		return Window{}, faults
	}
	if !w.Enabled {
		return Window{}, nil
	}
	return window, nil
}

// Check gives every fault of a window's schedule, timezone, offset, start, end, duration and
// cutoff, in this order, whether it is enabled or not.
func Check(w schema.Window) Faults {
	_, faults := fromWindow(w)
	return faults
}

func fromWindow(w schema.Window) (Window, Faults) {
	zone, zoneFaults := findZone(w.Timezone)
	if zone == nil {
		zone = time.UTC // what else is wrong is told too
	}
	s, faults := parse(w.Schedule, zone, w.Offset, w.Start, w.End)
	faults = append(faults, zoneFaults...)
	out := Window{Schedule: s, Duration: time.Hour}
	length := func(field string, text schema.Duration) (time.Duration, bool) {
		d, err := schema.ParseDuration(string(text))
		if err != nil {
			faults = append(faults, Fault{field, err.Error()})
			return 0, false
		}
		if d%time.Minute != 0 {
			faults = append(faults, Fault{field, fmt.Sprintf("%s is not whole minutes", text)})
			return 0, false
		}
		return d, true
	}
	lasts, ok := length("duration", w.Duration)
	if ok && (lasts < time.Hour || lasts > 24*time.Hour) {
		faults = append(faults, Fault{"duration", fmt.Sprintf("%s is not from 1h to 24h", w.Duration)})
		ok = false
	}
	if w.Cutoff != "" {
		cutoff, cutoffOK := length("cutoff", w.Cutoff)
		if ok && cutoffOK && cutoff >= lasts {
			faults = append(faults, Fault{"cutoff", fmt.Sprintf("%s is not less than duration %s", w.Cutoff, w.Duration)})
		}
		out.Cutoff = cutoff
	}
	out.Duration = lasts
	if len(faults) == 0 && !out.opens() {
		faults = fault("schedule", "%s has starts less than duration %s apart for more than 400 days: each overlaps the one before, and none can be told to open the window", w.Schedule, w.Duration)
	}
	return out, faults
}

// opens reports whether the chain of overlapping starts ends within the horizon. It looks from
// the window's own start or, for one without, from the reference; if nothing starts after that,
// from the first start of all.
func (w Window) opens() bool {
	from := time.Unix(reference-1, 0)
	if w.Schedule.start != nil {
		from = w.Schedule.start.Add(-1)
	}
	first, ok := w.Schedule.Next(from)
	if !ok {
		if first, ok = w.Schedule.Next(time.Unix(earliest-1, 0)); !ok {
			return false
		}
	}
	_, found, ended := w.afterGap(first, first.Add(horizon))
	return found || ended
}

// At gives the opening that t lies in, if there is one. In a stretch of more than
// 400 days of starts that all overlap it gives none: such a window stays shut.
func (w Window) At(t time.Time) (Opening, bool) {
	o, state := w.at(t)
	return o, state == isOpen
}

type state int

const (
	isShut  state = iota // and the next start opens
	isOpen               // so that starts before its end are skipped
	unknown              // in a chain of overlapping starts without a beginning
)

func (w Window) at(t time.Time) (Opening, state) {
	if w.Duration <= 0 {
		return Opening{}, isShut
	}
	if s, ok := w.Schedule.Next(t.Add(-w.Duration)); !ok || s.After(t) {
		return Opening{}, isShut
	}
	// Any start with a gap before it will do, so look back a little first.
	for back := 2 * w.Duration; ; back *= 4 {
		back = min(back, horizon)
		if s, ok := w.fresh(t.Add(-back), t); ok {
			return w.follow(s, t)
		}
		if back == horizon {
			return Opening{}, unknown
		}
	}
}

// follow goes from a start that opens the window to the opening at t.
func (w Window) follow(s, t time.Time) (Opening, state) {
	for {
		next, ok := w.Schedule.Next(s.Add(w.Duration - 1))
		if !ok || next.After(t) {
			break
		}
		s = next
	}
	if o := w.opening(s); t.Before(o.End) {
		return o, isOpen
	}
	return Opening{}, isShut
}

// fresh finds a start after from, and not after to, with no start in the duration before it.
func (w Window) fresh(from, to time.Time) (time.Time, bool) {
	first, ok := w.Schedule.Next(from)
	if !ok || first.After(to) {
		return time.Time{}, false
	}
	if first.Sub(from) >= w.Duration {
		return first, true
	}
	s, found, _ := w.afterGap(first, to)
	return s, found && !s.After(to)
}

// afterGap goes from a start to the first one with a gap of at least Duration before it. It
// gives up beyond to. ended says that the schedule has ended, which is a gap too.
func (w Window) afterGap(start, to time.Time) (s time.Time, found, ended bool) {
	for !start.After(to) {
		next, ok := w.Schedule.Next(start)
		if !ok {
			return time.Time{}, false, true
		}
		if next.Sub(start) >= w.Duration {
			return next, true, false
		}
		// No gap begins between start and the last start that comes less than Duration
		// after it, so go near that one at once: a cron may have one every second.
		near := start.Add(w.Duration)
		for step := time.Second; step < near.Sub(next); step *= 2 {
			if s, ok := w.Schedule.Next(near.Add(-step)); ok && s.Before(near) {
				next = s
				break
			}
		}
		start = next
	}
	return time.Time{}, false, false
}

// NextOpening gives the first opening that starts strictly after an instant.
func (w Window) NextOpening(after time.Time) (Opening, bool) {
	if w.Duration <= 0 {
		return Opening{}, false
	}
	o, now := w.at(after)
	switch now {
	case isOpen:
		after = o.End.Add(-1)
	case unknown:
		first, ok := w.Schedule.Next(after)
		if !ok {
			return Opening{}, false
		}
		s, found, _ := w.afterGap(first, first.Add(horizon))
		return w.opening(s), found
	}
	s, ok := w.Schedule.Next(after)
	if !ok {
		return Opening{}, false
	}
	return w.opening(s), true
}

// Skipped are the starts inside an opening other than its own: SKIPPED_OVERLAPPING in an account
// of the window. There may be one every second.
func (w Window) Skipped(o Opening) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		for s, ok := w.Schedule.Next(o.Start); ok && s.Before(o.End); s, ok = w.Schedule.Next(s) {
			if !yield(s) {
				return
			}
		}
	}
}
