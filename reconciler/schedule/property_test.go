package schedule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/adhocore/gronx"
	"pgregory.net/rapid"
)

// clock is one reading of a wall clock.
type clock struct{ year, month, day, hour, minute, second int }

func reading(n int64) clock {
	t := time.Unix(n, 0).UTC()
	return clock{t.Year(), int(t.Month()), t.Day(), t.Hour(), t.Minute(), t.Second()}
}

// weekdayOf is 1 for Sunday, as in the expressions.
func (c clock) weekdayOf(day int) int {
	return int(time.Date(c.year, time.Month(c.month), day, 0, 0, 0, 0, time.UTC).Weekday()) + 1
}

func (c clock) daysInMonth() int {
	return time.Date(c.year, time.Month(c.month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// example is a random cron: its text and, found without reading the text, what it matches.
type example struct {
	fields  [7]string // seconds first; day of week in numbers
	tests   [7]func(clock) bool
	elapsed bool
	seconds bool
}

func (e example) String() string {
	if e.seconds {
		return "cron(" + strings.Join(e.fields[:], " ") + ")"
	}
	return "cron(" + strings.Join(e.fields[1:], " ") + ")"
}

func (e example) matches(c clock) bool {
	if c.year < firstYear || c.year > lastYear {
		return false
	}
	for _, test := range e.tests {
		if !test(c) {
			return false
		}
	}
	return true
}

// values draws the text of a field and the values that it stands for.
func values(t *rapid.T, name string, low, high int) (string, map[int]bool) {
	set := map[int]bool{}
	var items []string
	for range rapid.IntRange(1, 3).Draw(t, name+" items") {
		a := rapid.IntRange(low, high).Draw(t, name)
		b := rapid.IntRange(a, high).Draw(t, name+" to")
		n := rapid.IntRange(1, high-low+1).Draw(t, name+" step")
		switch rapid.SampledFrom([]string{"a", "a-b", "a/n", "a-b/n", "*/n"}).Draw(t, name+" form") {
		case "a":
			items, b, n = append(items, fmt.Sprint(a)), a, 1
		case "a-b":
			items, n = append(items, fmt.Sprintf("%d-%d", a, b)), 1
		case "a/n":
			items, b = append(items, fmt.Sprintf("%d/%d", a, n)), high
		case "a-b/n":
			items = append(items, fmt.Sprintf("%d-%d/%d", a, b, n))
		case "*/n":
			items, a, b = append(items, fmt.Sprintf("*/%d", n)), low, high
		}
		for v := a; v <= b; v++ {
			if (v-a)%n == 0 {
				set[v] = true
			}
		}
	}
	return strings.Join(items, ","), set
}

// plain draws a field without special days, `*` once in a while.
func (e *example) plain(t *rapid.T, i int, name string, low, high, oneIn int, get func(clock) int) {
	e.fields[i], e.tests[i] = "*", func(clock) bool { return true }
	if rapid.IntRange(1, oneIn).Draw(t, name+" set") != 1 {
		return
	}
	text, set := values(t, name, low, high)
	e.fields[i], e.tests[i] = text, func(c clock) bool { return set[get(c)] }
}

func (e *example) specialDom(t *rapid.T) {
	n := rapid.IntRange(1, 31).Draw(t, "special day")
	switch form := rapid.SampledFrom([]string{"L", "L-n", "nW", "LW"}).Draw(t, "special"); form {
	case "L":
		e.fields[3], e.tests[3] = "L", func(c clock) bool { return c.day == c.daysInMonth() }
	case "L-n":
		n = min(n, 30)
		e.fields[3], e.tests[3] = fmt.Sprintf("L-%d", n), func(c clock) bool { return c.day == c.daysInMonth()-n }
	default:
		e.fields[3] = form
		if form == "nW" {
			e.fields[3] = fmt.Sprintf("%dW", n)
		}
		e.tests[3] = func(c clock) bool {
			near := n
			if form == "LW" {
				near = c.daysInMonth()
			}
			if near > c.daysInMonth() {
				return false
			}
			for _, away := range []int{0, -1, 1, -2, 2} {
				d := near + away
				if w := c.weekdayOf(d); d >= 1 && d <= c.daysInMonth() && w != 1 && w != 7 {
					return c.day == d
				}
			}
			return false
		}
	}
}

func (e *example) specialDow(t *rapid.T) {
	d := rapid.IntRange(1, 7).Draw(t, "special weekday")
	n := rapid.IntRange(0, 5).Draw(t, "week")
	if n == 0 {
		e.fields[5], e.tests[5] = fmt.Sprintf("%dL", d), func(c clock) bool {
			return c.weekdayOf(c.day) == d && c.day+7 > c.daysInMonth()
		}
		return
	}
	e.fields[5], e.tests[5] = fmt.Sprintf("%d#%d", d, n), func(c clock) bool {
		return c.weekdayOf(c.day) == d && (c.day+6)/7 == n
	}
}

// drawCron draws any cron. The higher sparse is, the more seldom days are limited.
func drawCron(t *rapid.T, sparse int) example {
	e := example{seconds: rapid.IntRange(0, 4).Draw(t, "has seconds") == 0}
	e.fields[0], e.tests[0] = "0", func(c clock) bool { return c.second == 0 }
	if e.seconds {
		e.plain(t, 0, "second", 0, 59, 1, func(c clock) int { return c.second })
	}
	e.plain(t, 1, "minute", 0, 59, 1, func(c clock) int { return c.minute })
	e.plain(t, 2, "hour", 0, 23, 1, func(c clock) int { return c.hour })
	switch rapid.IntRange(0, 2).Draw(t, "hours") {
	case 0:
		e.fields[2], e.tests[2] = "*", func(clock) bool { return true }
	case 1:
		e.fields[2] = strings.NewReplacer("/", "-23/").Replace(e.fields[2])
		e.fields[2] = strings.ReplaceAll(e.fields[2], "*-23", "0-23")
		for again := true; again; { // a-b-23/n is no longer a range
			before := e.fields[2]
			for _, item := range strings.Split(before, ",") {
				if strings.Count(item, "-") > 1 {
					e.fields[2] = strings.Replace(e.fields[2], item, strings.Replace(item, "-23/", "/", 1), 1)
				}
			}
			again = before != e.fields[2]
		}
	}
	single := !strings.ContainsAny(e.fields[2], ",-")
	e.elapsed = e.fields[2] == "*" || single && strings.Contains(e.fields[2], "/")

	e.fields[5], e.tests[5] = "?", func(clock) bool { return true }
	e.plain(t, 3, "day", 1, 31, sparse, func(c clock) int { return c.day })
	if rapid.IntRange(1, 2*sparse).Draw(t, "special days") == 1 {
		e.specialDom(t)
	}
	if e.fields[3] == "*" && rapid.Bool().Draw(t, "by weekday") {
		e.plain(t, 5, "weekday", 1, 7, sparse, func(c clock) int { return c.weekdayOf(c.day) })
		if rapid.IntRange(1, 2*sparse).Draw(t, "special weekdays") == 1 {
			e.specialDow(t)
		}
		e.fields[3] = "?"
	}
	e.plain(t, 4, "month", 1, 12, sparse, func(c clock) int { return c.month })
	e.plain(t, 6, "year", firstYear, lastYear, 4*sparse, func(c clock) int { return c.year })
	return e
}

// zones are those with the strangest clocks.
var zones = []string{"UTC", "America/New_York", "Europe/Helsinki", "Europe/Dublin", "Australia/Lord_Howe", "Antarctica/Troll", "Pacific/Apia",
	"Africa/Casablanca", "Pacific/Kiritimati", "Pacific/Kwajalein", "Africa/Monrovia", "Africa/Cairo", "America/Caracas", "America/Sao_Paulo",
	"America/Nuuk", "Pacific/Chatham", "Asia/Gaza", "Asia/Pyongyang", "Antarctica/Casey", "America/Scoresbysund", "Asia/Kathmandu"}

// drawInstant draws one of 1970 to 2199, most often near a change of the zone's clock.
func drawInstant(t *rapid.T, z *time.Location) int64 {
	at := rapid.Int64Range(0, latest-8*day).Draw(t, "instant")
	if _, change := time.Unix(at, 0).In(z).ZoneBounds(); rapid.IntRange(0, 3).Draw(t, "near a change") > 0 && !change.IsZero() && change.Unix() < latest-8*day {
		at = change.Unix()
	}
	return at
}

// slowly finds the starts in (from, to] by looking at the wall clock every step seconds. What the
// clock shows for the first time is due then; what it has leapt over is due at its next
// whole minute; and in elapsed time everything is due that it shows.
func slowly(e example, z *time.Location, shift, from, to, step int64) []string {
	var due []int64
	highest := int64(-latest) // nothing seen yet
	back := int64(26 * 3600)
	if step == 1 {
		back = 4 * 3600 // no clock went back further after 1970
	}
	for t := from/step*step - back; t <= to; t += step {
		l := time.Unix(t, 0).In(z)
		wall := time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), 0, time.UTC).Unix()
		if highest == -latest {
			highest = wall
		}
		if e.elapsed {
			if e.matches(reading(wall - shift)) {
				due = append(due, t)
			}
			continue
		}
		for ; highest < wall; highest += step {
			if n := highest + step; e.matches(reading(n - shift)) {
				if n == wall {
					due = append(due, t)
				} else {
					due = append(due, t+(minute-wall%minute)%minute)
				}
			}
		}
	}
	slices.Sort(due)
	var out []string
	for _, t := range slices.Compact(due) {
		if t > from && t <= to {
			out = append(out, time.Unix(t, 0).UTC().Format(time.RFC3339))
		}
	}
	return out
}

// TestNextIsWhatTheClockShows compares Next with looking at the clock minute by minute, or second
// by second, through daylight-saving changes of all years.
func TestNextIsWhatTheClockShows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawCron(t, 6)
		z, err := Zone(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		offset := rapid.SampledFrom([]int{0, 0, 0, 1, 6}).Draw(t, "offset")
		s, err := Parse(e.String(), z, offset, nil, nil)
		if err != nil {
			if strings.Contains(err.Error(), "never fires") {
				t.Skip()
			}
			t.Fatalf("Parse(%s): %v", e, err)
		}
		at := drawInstant(t, z)
		from, to, step := at-25*3600-rapid.Int64Range(0, 7200).Draw(t, "earlier"), at+25*3600, int64(minute)
		_, offsetBefore := time.Unix(at-1, 0).In(z).Zone()
		if e.seconds || offsetBefore%minute != 0 {
			from, to, step = at-rapid.Int64Range(1, 3*3600).Draw(t, "seconds earlier"), at+2*3600, 1
		}
		want := slowly(e, z, int64(offset)*day, from, to, step)
		var got []string
		for n, ok := s.Next(time.Unix(from, 0)); ok && n.Unix() <= to; n, ok = s.Next(n) {
			got = append(got, n.Format(time.RFC3339))
			if len(got) > len(want) {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s offset %d in %s from %s:\ngot  %q\nwant %q", e, offset, z, time.Unix(from, 0).UTC().Format(time.RFC3339), got, want)
		}
		// Next does not depend on where it is asked from.
		if len(want) > 0 {
			ask := rapid.Int64Range(from, to).Draw(t, "ask from")
			i, _ := slices.BinarySearch(want, time.Unix(ask+1, 0).UTC().Format(time.RFC3339))
			if n, ok := s.Next(time.Unix(ask, 0)); i < len(want) && (!ok || n.Format(time.RFC3339) != want[i]) {
				t.Fatalf("%s offset %d in %s: Next(%d) = %v, want %s", e, offset, z, ask, n, want[i])
			}
		}
	})
}

// TestNextIsTheFirstDay compares Next with a walk day by day, over years, for crons with rare days.
func TestNextIsTheFirstDay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawCron(t, 1)
		e.fields[0], e.fields[1], e.fields[2], e.seconds = "0", "30", "4", false
		e.tests[6] = func(clock) bool { return true }
		e.fields[6] = "*"
		from := rapid.Int64Range(0, latest/day-3000).Draw(t, "day")
		want := ""
		for d := from; d < from+1500; d++ {
			c := reading(d * day)
			if e.tests[3](c) && e.tests[4](c) && e.tests[5](c) && c.year <= lastYear {
				want = time.Unix(d*day+4*3600+30*60, 0).UTC().Format(time.RFC3339)
				break
			}
		}
		s, err := Parse(e.String(), time.UTC, 0, nil, nil)
		if err != nil {
			if want != "" || !strings.Contains(err.Error(), "never fires") {
				t.Fatalf("Parse(%s): %v; want %s", e, err, want)
			}
			return
		}
		got, ok := s.Next(time.Unix(from*day, 0))
		if want == "" && ok && got.Unix() < (from+1500)*day || want != "" && (!ok || got.Format(time.RFC3339) != want) {
			t.Fatalf("%s from day %d = %v, %v; want %q", e, from, got, ok, want)
		}
	})
}

// TestGronxAgrees asks another cron library, on what both take: it counts the days of the week from
// 0 and may give up.
func TestGronxAgrees(t *testing.T) {
	asked := 0
	rapid.Check(t, func(t *rapid.T) {
		e := drawCron(t, 2)
		if strings.HasPrefix(e.fields[3], "L-") || e.fields[3] == "LW" || e.fields[6] != "*" {
			return
		}
		if strings.ContainsAny(e.fields[5], "/-") {
			return
		}
		theirs := e.fields
		for n := 1; n <= 7; n++ { // 1 to 7 become 0 to 6, but not the week after #
			dow, week, nth := strings.Cut(theirs[5], "#")
			dow = strings.ReplaceAll(dow, fmt.Sprint(n), fmt.Sprint(n-1))
			if theirs[5] = dow; nth {
				theirs[5] += "#" + week
			}
		}
		s, err := Parse(e.String(), time.UTC, 0, nil, nil)
		if err != nil {
			return
		}
		from := time.Unix(rapid.Int64Range(0, latest-8*day).Draw(t, "from"), 0).UTC()
		theirText := strings.Join(theirs[:], " ")
		want, err := gronx.NextTickAfter(theirText, from, false)
		if err != nil {
			return
		}
		asked++
		if got, ok := s.Next(from); want.Year() <= lastYear && (!ok || !got.Equal(want)) {
			t.Fatalf("%s from %s = %v, %v; gronx on %s: %v", e, from, got, ok, theirText, want)
		}
	})
	if asked < 20 {
		t.Errorf("gronx took %d expressions only", asked)
	}
}

// TestRateCounts: every start of a rate is a whole number of steps after its base.
func TestRateCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(5, 100000).Draw(t, "minutes")
		base := time.Unix(rapid.Int64Range(0, latest/2).Draw(t, "base"), rapid.Int64Range(0, 999999999).Draw(t, "nanoseconds"))
		after := time.Unix(rapid.Int64Range(-latest, latest-1000*day).Draw(t, "after"), rapid.Int64Range(0, 999999999).Draw(t, "nanoseconds"))
		s, err := Parse(fmt.Sprintf("rate(%d minutes)", n), nil, 0, &base, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := s.Next(after)
		step := time.Duration(n) * time.Minute
		if !ok || !got.After(after) || got.Before(base) || got.Nanosecond() != base.Nanosecond() || (got.Unix()-base.Unix())%(60*n) != 0 {
			t.Fatalf("rate of %v from %v: Next(%v) = %v, %v", step, base, after, got, ok)
		}
		if before := got.Add(-step); before.After(after) && !before.Before(base) {
			t.Fatalf("rate of %v from %v: Next(%v) = %v, later than %v", step, base, after, got, before)
		}
	})
}

// FuzzParse: an error is a Faults of single readable lines, and what parses gives starts in order.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"cron(0 2 ? * SUN#3 *)", "cron(0/5 30 2 L-3,15W,LW * ? 2026-2030)", "cron(* * * ? 1-12/2 MON,TUEL */7)", "rate(5 hours)", "at(2027-01-31T02:30:00)",
		"cron(0 0 31 2 ? *)", "rate(99999999999999999999 days)", "at(9999-99-99T99:99:99)", "cron(", "cron(- / , # L W ?)", "cron(0 2 ? * \xff *)"} {
		f.Add(s, int64(1767225600), 0)
	}
	z := zone(f, "America/New_York")
	f.Fuzz(func(t *testing.T, expr string, after int64, offset int) {
		s, err := Parse(expr, z, offset, nil, nil)
		if err != nil {
			var faults Faults
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("Parse(%q): %T", expr, err)
			}
			for _, fault := range faults {
				if fault.Field == "" || fault.Msg == "" || strings.ContainsFunc(fault.Msg, func(r rune) bool { return r < ' ' || r == 0x7f }) {
					t.Errorf("Parse(%q): fault %q", expr, fault)
				}
			}
			return
		}
		at := time.Unix(after, 0)
		for range 5 {
			next, ok := s.Next(at)
			if !ok {
				break
			}
			if !next.After(at) || next.Year() < firstYear-1 || next.Year() > lastYear+1 {
				t.Fatalf("Parse(%q).Next(%v) = %v", expr, at, next)
			}
			at = next
		}
	})
}
