// Package schedule answers when: when a schedule starts next, whether a
// maintenance window is open at an instant, and when it opens next.
//
// Expressions are those of AWS Systems Manager (API 2014-11-06): cron(...) with
// six fields, or seven with seconds in front, days of the week counted from
// 1 = SUN; rate(...) in elapsed time from a start; at(...) once.
//
// A cron whose hours are `*`, `*/n` or `a/n` follows elapsed time: a start in a
// daylight-saving gap does not exist, one in an overlap happens in both passes.
// With any other hours a start in a gap moves to the first valid minute after
// it, and one in an overlap happens in the first pass only. Equal instants merge.
//
// The package reads no clock and keeps no state: callers pass the instant.
// Instants have the years 1970 to 2199, the limits of the cron year field.
package schedule

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// A Fault is one mistake in a schedule or window. Field is the field of
// schema.Window that holds it ("schedule", "timezone", "offset", "start", "end",
// "duration", "cutoff"), Msg what is wrong and what is allowed.
type Fault struct{ Field, Msg string }

// Error is the field and the message.
func (f Fault) Error() string { return f.Field + ": " + f.Msg }

// Faults are all mistakes of one schedule or window, never empty where it is an error.
type Faults []Fault

// Error joins the faults with semicolons.
func (fs Faults) Error() string {
	texts := make([]string, len(fs))
	for i, f := range fs {
		texts[i] = f.Error()
	}
	return strings.Join(texts, "; ")
}

func fault(field, format string, args ...any) Faults {
	return Faults{{Field: field, Msg: fmt.Sprintf(format, args...)}}
}

// Limits of the language.
const (
	maxExpression = 256 // characters (API 2014-11-06, MaintenanceWindowSchedule)
	maxOffset     = 6   // days
	firstYear     = 1970
	lastYear      = 2199
)

const (
	minute = 60
	day    = 24 * 60 * minute
)

// earliest and latest bound every instant, in Unix seconds: the wall clock of the
// years 1970 to 2199 in any zone.
const (
	earliest = -2 * day
	latest   = 7258118400 + (maxOffset+2)*day // 2200-01-01T00:00:00Z and a little
)

// Schedule is a parsed expression in its zone, shifted and bounded. It is immutable and safe for
// concurrent use. The zero value has no starts.
type Schedule struct {
	source interface {
		// next gives the first start after an instant, before bounds are looked at.
		next(after time.Time) (time.Time, bool)
	}
	start, end *time.Time
}

// Parse reads `cron(...)`, `rate(...)` or `at(...)`. Wall-clock times are those of zone; nil is
// UTC. offset moves the times of a cron by 0..6 days on the wall clock. start and end bound the
// shifted instants, both included; nil is no bound. A rate counts from start, or from
// 1970-01-01T00:00:00Z. The error is a Faults; a schedule without any start in 1970..2199 and
// within its bounds is one.
func Parse(expr string, zone *time.Location, offset int, start, end *time.Time) (Schedule, error) {
	if zone == nil {
		zone = time.UTC
	}
	s, faults := parse(expr, zone, offset, start, end)
	if len(faults) > 0 {
		return Schedule{}, faults
	}
	return s, nil
}

func parse(expr string, zone *time.Location, offset int, start, end *time.Time) (Schedule, Faults) {
	s := Schedule{start: clone(start), end: clone(end)}
	var faults Faults
	kind, body, ok := split(expr)
	switch {
	case utf8.RuneCountInString(expr) > maxExpression:
		faults = fault("schedule", "an expression has at most %d characters, this one %d", maxExpression, utf8.RuneCountInString(expr))
	case !ok:
		faults = fault("schedule", "%q is not cron(...), rate(...) or at(...)", expr)
	case kind == "cron":
		var c *cron
		if c, faults = parseCron(body); len(faults) == 0 {
			s.source = wallClock{cron: c, zone: zone, shift: int64(offset) * day}
		}
	case kind == "rate":
		var r rate
		if r, faults = parseRate(body); len(faults) == 0 {
			r.base = time.Unix(0, 0).UTC()
			if s.start != nil {
				r.base = s.start.UTC()
			}
			s.source = r
		}
	default:
		var n int64
		if n, faults = parseAt(body); len(faults) == 0 {
			s.source = once(instantOf(zone, n).at)
		}
	}
	shown := expr
	if len(faults) > 0 {
		shown = kind + "(...)"
	}
	switch {
	case offset != 0 && ok && kind != "cron":
		faults = append(faults, Fault{"offset", "only with cron(...); schedule is " + shown})
	case offset < 0 || offset > maxOffset:
		faults = append(faults, Fault{"offset", fmt.Sprintf("%d is not 1..%d days (0 is none)", offset, maxOffset)})
	}
	if start != nil && end != nil && !end.After(*start) {
		faults = append(faults, Fault{"end", fmt.Sprintf("%s is not after start %s", end.Format(time.RFC3339Nano), start.Format(time.RFC3339Nano))})
	}
	if len(faults) > 0 {
		return Schedule{}, faults
	}
	if _, ok := s.Next(time.Unix(earliest-1, 0)); !ok {
		if _, ok := (Schedule{source: s.source}).Next(time.Unix(earliest-1, 0)); ok {
			return Schedule{}, fault("schedule", "%s has no start %s", expr, bounds(start, end))
		}
		return Schedule{}, fault("schedule", "%s never fires from %d to %d", expr, firstYear, lastYear)
	}
	return s, nil
}

// bounds says in words what start and end leave.
func bounds(start, end *time.Time) string {
	switch {
	case end == nil:
		return "from " + start.Format(time.RFC3339Nano) + " to the year " + fmt.Sprint(lastYear)
	case start == nil:
		return "up to " + end.Format(time.RFC3339Nano)
	}
	return "from " + start.Format(time.RFC3339Nano) + " to " + end.Format(time.RFC3339Nano)
}

func clone(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	c := *t
	return &c
}

// split takes an expression apart into its word and what the parentheses hold.
func split(expr string) (kind, body string, ok bool) {
	kind, body, ok = strings.Cut(expr, "(")
	if !ok || !strings.HasSuffix(body, ")") {
		return "", "", false
	}
	body = body[:len(body)-1]
	if strings.ContainsAny(body, "()") {
		return "", "", false
	}
	return kind, body, kind == "cron" || kind == "rate" || kind == "at"
}

// Next gives the first start strictly after an instant, in UTC. There is none
// after the last start, or after the year 2199.
func (s Schedule) Next(after time.Time) (time.Time, bool) {
	if s.source == nil || after.Unix() > latest {
		return time.Time{}, false
	}
	if after.Unix() < earliest {
		after = time.Unix(earliest, 0)
	}
	if s.start != nil && after.Before(*s.start) {
		after = s.start.Add(-1)
	}
	t, ok := s.source.next(after)
	if !ok || s.end != nil && t.After(*s.end) {
		return time.Time{}, false
	}
	return t, true
}

// once is the single start of at(...), in Unix seconds.
type once int64

func (o once) next(after time.Time) (time.Time, bool) {
	t := time.Unix(int64(o), 0).UTC()
	return t, t.After(after)
}

// rate starts at base and then every step seconds.
type rate struct {
	base time.Time
	step int64
}

func (r rate) next(after time.Time) (time.Time, bool) {
	elapsed := after.Unix() - r.base.Unix()
	if after.Nanosecond() < r.base.Nanosecond() {
		elapsed--
	}
	if elapsed < 0 {
		return r.base, r.base.Year() <= lastYear
	}
	sec := r.base.Unix() + (elapsed/r.step+1)*r.step
	if sec > latest {
		return time.Time{}, false
	}
	t := time.Unix(sec, int64(r.base.Nanosecond())).UTC()
	return t, t.Year() <= lastYear
}

// Rates: the shortest that SSM supports, and one that outlasts the calendar.
const (
	minRate = 5 * minute
	maxRate = (lastYear - firstYear + 1) * 366 * day
)

// parseRate reads "N unit", the unit in the singular for 1 only.
func parseRate(body string) (rate, Faults) {
	const form = "a rate is a number and minutes, hours or days, such as rate(30 minutes) or rate(1 day)"
	words := fields(body)
	if len(words) != 2 {
		return rate{}, fault("schedule", "%q: %s", body, form)
	}
	n, ok := number(words[0])
	if !ok {
		return rate{}, fault("schedule", "%q is not a number: %s", words[0], form)
	}
	unit := strings.TrimSuffix(words[1], "s")
	seconds, ok := map[string]int64{"minute": minute, "hour": 60 * minute, "day": day}[unit]
	if !ok {
		return rate{}, fault("schedule", "%q is not minutes, hours or days", words[1])
	}
	switch plural := unit + "s"; {
	case n == 0:
		return rate{}, fault("schedule", "a rate of 0 never comes")
	case n == 1 && words[1] == plural:
		return rate{}, fault("schedule", "write 1 %s, not 1 %s", unit, plural)
	case n != 1 && words[1] == unit:
		return rate{}, fault("schedule", "write %d %s, not %d %s", n, plural, n, unit)
	case n > maxRate/seconds:
		return rate{}, fault("schedule", "rate of %d %s is longer than the years %d to %d", n, words[1], firstYear, lastYear)
	case n*seconds < minRate:
		return rate{}, fault("schedule", "rate of %d %s is less than 5 minutes", n, words[1])
	}
	return rate{step: n * seconds}, nil
}

// parseAt reads YYYY-MM-DDTHH:MM:SS into wall-clock seconds.
func parseAt(body string) (int64, Faults) {
	const layout = "2006-01-02T15:04:05"
	t, err := time.Parse(layout, body)
	if err != nil || len(body) != len(layout) { // Parse takes fractions of a second
		return 0, fault("schedule", "%q is not a time of the calendar YYYY-MM-DDTHH:MM:SS, such as at(2027-03-01T02:00:00); the time zone has its own field", body)
	}
	if t.Year() < firstYear || t.Year() > lastYear {
		return 0, fault("schedule", "year %d is not %d..%d", t.Year(), firstYear, lastYear)
	}
	return t.Unix(), nil
}

// fields splits at spaces, and at nothing else that Unicode calls space.
func fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' })
}

// number reads decimal digits; no sign, leading zeros allowed.
func number(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > (math.MaxInt64-9)/10 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
