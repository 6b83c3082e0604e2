package schedule

import (
	"fmt"
	"math/bits"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// cron is what the fields of cron(...) allow, as sets of bits. Wall-clock times are
// seconds since 1970-01-01T00:00:00 of a clock without zone ("wall seconds").
type cron struct {
	seconds, minutes, hours uint64
	months                  uint64
	years                   [4]uint64 // bit 0 of word 0 is 1970

	anyDom, anyDow bool
	dom            uint64    // days 1..31
	domLast        uint64    // bit n: n days before the last of the month
	domNearest     uint64    // bit n: the weekday nearest to day n
	domLastWeekday bool      // the last Monday to Friday
	dow            uint64    // bit 0 is Sunday
	dowLast        uint64    // the last such weekday of the month
	dowNth         [6]uint64 // [n]: the n-th such weekday

	// elapsed: the hours are `*`, `*/n` or `a/n`, so that the cron follows elapsed time.
	elapsed bool
	// first and last match, in wall seconds.
	first, last int64
}

// field is one position of the expression.
type field struct {
	name     string
	min, max int
	names    []string // from min; nil where there are none
	allowed  string
}

func (f field) wrong(word string) error {
	meant := ""
	if _, ok := number(word); !ok {
		for _, name := range f.names {
			if len(word) > 3 && strings.HasPrefix(word, name) {
				meant = fmt.Sprintf(" (did you mean %s?)", name)
			}
		}
		word = fmt.Sprintf("%q", word)
	}
	return fmt.Errorf("%s %s is not %s%s", f.name, word, f.allowed, meant)
}

// theFields are the seven positions, seconds first.
func theFields() [7]field {
	return [7]field{
		{name: "second", min: 0, max: 59, allowed: "0..59"},
		{name: "minute", min: 0, max: 59, allowed: "0..59"},
		{name: "hour", min: 0, max: 23, allowed: "0..23"},
		{name: "day of month", min: 1, max: 31, allowed: "1..31, L, L-n or nW"},
		{name: "month", min: 1, max: 12, allowed: "1..12 or JAN..DEC",
			names: []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
		{name: "day of week", min: 1, max: 7, allowed: "1..7 (1 is SUN) or SUN..SAT",
			names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
		{name: "year", min: firstYear, max: lastYear, allowed: "1970..2199"},
	}
}

// parseCron reads the six or seven fields. It reports one mistake a field.
func parseCron(body string) (*cron, Faults) {
	words := fields(strings.ToUpper(body))
	switch len(words) {
	case 6:
		words = append([]string{"0"}, words...)
	case 7:
	default:
		meant := ""
		if c := schema.FromCrontab(body); c != "" {
			meant = fmt.Sprintf(" (did you mean %q?)", c)
		}
		return nil, fault("schedule", "cron has %d fields, wanted 6: minutes hours day-of-month month day-of-week year, or 7 with seconds first%s", len(words), meant)
	}
	c := &cron{anyDom: anyDay(words[3]), anyDow: anyDay(words[5]), elapsed: elapsedHours(words[2])}
	var faults Faults
	for i, f := range theFields() {
		if err := c.parseField(f, i, words[i]); err != nil {
			faults = append(faults, Fault{"schedule", err.Error()})
		}
	}
	switch {
	case len(faults) > 0:
	case !c.anyDom && !c.anyDow:
		faults = fault("schedule", "day of month %s and day of week %s are both given; write ? for one of them", words[3], words[5])
	case !c.anyDow && words[3] == "*":
		faults = fault("schedule", "day of month * is not ?, which it must be where day of week is given (%s)", words[5])
	case !c.anyDom && words[5] == "*":
		faults = fault("schedule", "day of week * is not ?, which it must be where day of month is given (%s)", words[3])
	}
	if len(faults) > 0 {
		return nil, faults
	}
	var ok bool
	c.first, c.last = 0, dayNumber(lastYear+1, time.January)*day-1
	if c.first, ok = c.next(0); !ok {
		return nil, fault("schedule", "cron(%s) never fires from %d to %d", body, firstYear, lastYear)
	}
	c.last = c.lastDay()*day + day - 1
	return c, nil
}

func anyDay(word string) bool { return word == "*" || word == "?" }

// elapsedHours reports whether hours are `*`, `*/n` or `a/n`: an interval, not times of day.
func elapsedHours(word string) bool {
	return word == "*" || strings.Contains(word, "/") && !strings.ContainsAny(word, ",-")
}

// parseField adds what one field allows; i is its position, seconds 0.
func (c *cron) parseField(f field, i int, word string) error {
	switch {
	case word == "*":
		c.add(f, i, f.min, f.max, 1)
		return nil
	case word == "?" && (i == 3 || i == 5):
		return nil
	case word == "?":
		return fmt.Errorf("%s ? is only for day of month and day of week; write *", f.name)
	}
	for _, item := range strings.Split(word, ",") {
		var err error
		switch {
		case item == "":
			err = fmt.Errorf("%s %q has an empty part", f.name, word)
		case item == "*" || item == "?":
			err = fmt.Errorf("%s %s stands alone, not in the list %q", f.name, item, word)
		case i == 3 && strings.ContainsAny(item, "LW"):
			err = c.parseDom(f, item)
		case i == 5 && (strings.HasSuffix(item, "L") || strings.Contains(item, "#")):
			err = c.parseDow(f, item)
		default:
			err = c.parseItem(f, i, item)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parseItem reads `a`, `a-b`, `a/n`, `a-b/n` or `*/n`.
func (c *cron) parseItem(f field, i int, item string) error {
	span, stepText, stepped := strings.Cut(item, "/")
	step := 1
	if stepped {
		n, ok := number(stepText)
		if size := f.max - f.min + 1; !ok || n < 1 || n > int64(size) {
			if !ok {
				stepText = fmt.Sprintf("%q", stepText)
			}
			return fmt.Errorf("%s step %s is not 1..%d", f.name, stepText, size)
		}
		step = int(n)
	}
	fromText, toText, ranged := strings.Cut(span, "-")
	if span == "*" {
		fromText = fmt.Sprint(f.min)
	}
	from, err := f.value(fromText)
	if err != nil {
		return err
	}
	to := from
	switch {
	case ranged:
		if to, err = f.value(toText); err != nil {
			return err
		}
		if to < from {
			return fmt.Errorf("%s range %s runs backwards; write two, such as %s-%s,%s-%s", f.name, span, fromText, f.text(f.max), f.text(f.min), toText)
		}
	case stepped:
		to = f.max
	}
	c.add(f, i, from, to, step)
	return nil
}

// value reads a number or a name.
func (f field) value(word string) (int, error) {
	for i, name := range f.names {
		if name == word {
			return f.min + i, nil
		}
	}
	n, ok := number(word)
	if !ok || n < int64(f.min) || n > int64(f.max) {
		return 0, f.wrong(word)
	}
	return int(n), nil
}

func (f field) text(v int) string {
	if f.names != nil {
		return f.names[v-f.min]
	}
	return fmt.Sprint(v)
}

// add allows from, from+step ... up to to.
func (c *cron) add(f field, i, from, to, step int) {
	for v := from; v <= to; v += step {
		bit := uint64(1) << (v & 63)
		switch i {
		case 0:
			c.seconds |= bit
		case 1:
			c.minutes |= bit
		case 2:
			c.hours |= bit
		case 3:
			c.dom |= bit
		case 4:
			c.months |= bit
		case 5:
			c.dow |= 1 << (v - f.min)
		case 6:
			c.years[(v-firstYear)/64] |= 1 << ((v - firstYear) % 64)
		}
	}
}

// parseDom reads L, L-n, LW or nW.
func (c *cron) parseDom(f field, item string) error {
	if item == "L" {
		c.domLast |= 1
		return nil
	}
	if item == "LW" {
		c.domLastWeekday = true
		return nil
	}
	if rest, ok := strings.CutPrefix(item, "L-"); ok {
		n, ok := number(rest)
		if !ok || n < 1 || n > 30 {
			return fmt.Errorf("day of month %q: days before the last (L-n) are 1..30", item)
		}
		c.domLast |= 1 << n
		return nil
	}
	n, ok := number(strings.TrimSuffix(item, "W"))
	if !ok || n < 1 || n > 31 {
		return f.wrong(item)
	}
	c.domNearest |= 1 << n
	return nil
}

// parseDow reads nL or d#n.
func (c *cron) parseDow(f field, item string) error {
	if item == "L" {
		return fmt.Errorf("day of week L needs a day: FRIL is the last Friday of the month; Saturday is SAT")
	}
	dayText, nth, ok := strings.Cut(item, "#")
	if !ok {
		d, err := f.value(strings.TrimSuffix(item, "L"))
		if err == nil {
			c.dowLast |= 1 << (d - f.min)
		}
		return err
	}
	d, err := f.value(dayText)
	if err != nil {
		return err
	}
	n, ok := number(nth)
	if !ok || n < 1 || n > 5 {
		return fmt.Errorf("day of week %q: the week of the month after # is 1..5", item)
	}
	c.dowNth[n] |= 1 << (d - f.min)
	return nil
}

// next gives the first match at or after n, in wall seconds.
func (c *cron) next(n int64) (int64, bool) {
	n = max(n, c.first)
	if n > c.last {
		return 0, false
	}
	from := n / day
	ofDay, ok := c.timeOfDay(n - from*day)
	if !ok {
		from++
		ofDay, _ = c.timeOfDay(0)
	}
	on, ok := c.nextDay(from)
	if !ok {
		return 0, false
	}
	if on > from {
		ofDay, _ = c.timeOfDay(0)
	}
	return on*day + ofDay, true
}

// timeOfDay gives the first allowed second of a day at or after sec.
func (c *cron) timeOfDay(sec int64) (int64, bool) {
	h, m, s := int(sec/3600), int(sec/60%60), int(sec%60)
	v, ok := atOrAfter(c.seconds, s)
	if !ok {
		v, _ = atOrAfter(c.seconds, 0)
		m++
	}
	s = v
	if v, ok = atOrAfter(c.minutes, m); !ok {
		v, _ = atOrAfter(c.minutes, 0)
		h++
	}
	if v != m || !ok {
		s, _ = atOrAfter(c.seconds, 0)
	}
	m = v
	if v, ok = atOrAfter(c.hours, h); !ok {
		return 0, false
	}
	if v != h {
		m, _ = atOrAfter(c.minutes, 0)
		s, _ = atOrAfter(c.seconds, 0)
	}
	return int64(v*3600 + m*60 + s), true
}

// atOrAfter gives the lowest bit of set that is not below v.
func atOrAfter(set uint64, v int) (int, bool) {
	rest := set >> v << v
	return bits.TrailingZeros64(rest), rest != 0
}

// nextDay gives the first allowed day at or after from, in days since 1970-01-01.
func (c *cron) nextDay(from int64) (int64, bool) {
	y, m, d := time.Unix(from*day, 0).UTC().Date()
	for y <= lastYear {
		if !c.hasYear(y) {
			y, m, d = y+1, time.January, 1
			continue
		}
		v, ok := atOrAfter(c.months, int(m))
		if !ok {
			y, m, d = y+1, time.January, 1
			continue
		}
		if time.Month(v) != m {
			m, d = time.Month(v), 1
		}
		first := dayNumber(y, m)
		if v, ok := atOrAfter(c.days(first, y, m), d); ok {
			return first + int64(v) - 1, true
		}
		if m, d = m+1, 1; m > time.December {
			y, m = y+1, time.January
		}
	}
	return 0, false
}

// lastDay gives the last allowed day. There is one.
func (c *cron) lastDay() int64 {
	for y := lastYear; y >= firstYear; y-- {
		if !c.hasYear(y) {
			continue
		}
		for m := time.December; m >= time.January; m-- {
			if c.months>>m&1 == 0 {
				continue
			}
			first := dayNumber(y, m)
			if set := c.days(first, y, m); set != 0 {
				return first + int64(bits.Len64(set)) - 2
			}
		}
	}
	return 0
}

func (c *cron) hasYear(y int) bool {
	return c.years[(y-firstYear)/64]>>((y-firstYear)%64)&1 == 1
}

// dayNumber counts the days from 1970-01-01 to the first of a month.
func dayNumber(y int, m time.Month) int64 {
	return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC).Unix() / day
}

// days gives the allowed days of a month as bits 1..31; first is its first day.
func (c *cron) days(first int64, y int, m time.Month) uint64 {
	count := 31
	switch m {
	case time.April, time.June, time.September, time.November:
		count = 30
	case time.February:
		count = 28
		if y%4 == 0 && (y%100 != 0 || y%400 == 0) {
			count = 29
		}
	}
	all := uint64(1)<<(count+1) - 2
	switch {
	case c.anyDom && c.anyDow:
		return all
	case c.anyDow:
		return c.daysByDom(count, weekday(first)) & all
	}
	return c.daysByDow(count, weekday(first)) & all
}

// weekday of a day since 1970-01-01, a Thursday; 0 is Sunday.
func weekday(d int64) int { return int((d + 4) % 7) }

// daysByDom may leave bits outside the month set. w is the weekday of the first.
func (c *cron) daysByDom(count, w int) uint64 {
	set := c.dom
	for rest := c.domLast; rest != 0; rest &= rest - 1 {
		if d := count - bits.TrailingZeros64(rest); d >= 1 {
			set |= 1 << d
		}
	}
	for rest := c.domNearest; rest != 0; rest &= rest - 1 {
		if d := bits.TrailingZeros64(rest); d <= count {
			set |= 1 << nearestWeekday(d, count, w)
		}
	}
	if c.domLastWeekday {
		d := count
		switch (w + d - 1) % 7 {
		case 6:
			d--
		case 0:
			d -= 2
		}
		set |= 1 << d
	}
	return set
}

// nearestWeekday gives the Monday to Friday nearest to day d without leaving the month.
func nearestWeekday(d, count, w int) int {
	switch (w + d - 1) % 7 {
	case 6: // Saturday
		if d == 1 {
			return 3
		}
		return d - 1
	case 0: // Sunday
		if d == count {
			return d - 2
		}
		return d + 1
	}
	return d
}

func (c *cron) daysByDow(count, w int) uint64 {
	var set uint64
	for i := range 7 {
		d := 1 + (i-w+7)%7 // the first such weekday
		if c.dow>>i&1 == 1 {
			set |= 1<<d | 1<<(d+7) | 1<<(d+14) | 1<<(d+21) | 1<<(d+28)
		}
		if c.dowLast>>i&1 == 1 {
			set |= 1 << (d + (count-d)/7*7)
		}
		for n := 1; n <= 5; n++ {
			if c.dowNth[n]>>i&1 == 1 {
				set |= 1 << (d + (n-1)*7)
			}
		}
	}
	return set
}
