package schedule

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := Zone(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func rfc(t testing.TB, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func parsed(t testing.TB, expr, zoneName string, offset int, start, end *time.Time) Schedule {
	t.Helper()
	s, err := Parse(expr, zone(t, zoneName), offset, start, end)
	if err != nil {
		t.Fatalf("Parse(%q): %v", expr, err)
	}
	return s
}

// starts lists up to n starts after an instant, as RFC 3339.
func starts(s Schedule, after time.Time, n int) []string {
	var out []string
	for range n {
		t, ok := s.Next(after)
		if !ok {
			break
		}
		out = append(out, t.Format(time.RFC3339Nano))
		after = t
	}
	return out
}

// days gives one start on each day, at the same time.
func days(times string, ds ...string) []string {
	for i := range ds {
		ds[i] += "T" + times + "Z"
	}
	return ds
}

// TestDocumentedExamples are all examples of the AWS documentation with the next starts that an
// independent evaluator gives.
func TestDocumentedExamples(t *testing.T) {
	const d23, d24, d25 = "2026-11-23", "2026-11-24", "2026-11-25"
	for _, tt := range []struct {
		expr   string
		zone   string
		offset int
		want   []string
	}{
		{"0/30 * * * ? *", "UTC", 0, []string{d23 + "T00:30:00Z", d23 + "T01:00:00Z", d23 + "T01:30:00Z"}},
		{"0 */30 * * * ? *", "UTC", 0, []string{d23 + "T00:30:00Z", d23 + "T01:00:00Z", d23 + "T01:30:00Z"}},
		{"0 0/1 * * ? *", "UTC", 0, []string{d23 + "T01:00:00Z", d23 + "T02:00:00Z", d23 + "T03:00:00Z"}},
		{"0 0/2 * * ? *", "UTC", 0, []string{d23 + "T02:00:00Z", d23 + "T04:00:00Z", d23 + "T06:00:00Z"}},
		{"0 0/4 * * ? *", "UTC", 0, []string{d23 + "T04:00:00Z", d23 + "T08:00:00Z", d23 + "T12:00:00Z"}},
		{"0 0/8 * * ? *", "UTC", 0, []string{d23 + "T08:00:00Z", d23 + "T16:00:00Z", d24 + "T00:00:00Z"}},
		{"0 0/12 * * ? *", "UTC", 0, []string{d23 + "T12:00:00Z", d24 + "T00:00:00Z", d24 + "T12:00:00Z"}},
		{"15 13 ? * * *", "UTC", 0, days("13:15:00", d23, d24, d25)},
		{"15 13 ? * MON *", "UTC", 0, days("13:15:00", d23, "2026-11-30", "2026-12-07")},
		{"30 23 ? * TUE#3 *", "UTC", 0, days("23:30:00", "2026-12-15", "2027-01-19", "2027-02-16")},
		{"30 23 ? * TUE#3 *", "UTC", 2, days("23:30:00", "2026-12-17", "2027-01-21", "2027-02-18")},
		{"0 0 ? * THU#2 *", "UTC", 0, days("00:00:00", "2026-12-10", "2027-01-14", "2027-02-11")},
		{"0 0 ? * THU#2 *", "UTC", 3, days("00:00:00", "2026-12-13", "2027-01-17", "2027-02-14")},
		{"0 0 ? * 3L *", "UTC", 0, days("00:00:00", d24, "2026-12-29", "2027-01-26")},
		{"0 2 ? * SUN *", "UTC", 0, days("02:00:00", "2026-11-29", "2026-12-06", "2026-12-13")},
		{"0 2 ? * THU#3 *", "UTC", 0, days("02:00:00", "2026-12-17", "2027-01-21", "2027-02-18")},
		{"15 10 ? * * *", "UTC", 0, days("10:15:00", d23, d24, d25)},
		{"15 10 ? * MON-FRI *", "UTC", 0, days("10:15:00", d23, d24, d25)},
		{"0 2 L * ? *", "UTC", 0, days("02:00:00", "2026-11-30", "2026-12-31", "2027-01-31")},
		{"15 10 ? * 6L *", "UTC", 0, days("10:15:00", "2026-11-27", "2026-12-25", "2027-01-29")},
		{"30 09 ? * * *", "UTC", 0, days("09:30:00", d23, d24, d25)},
		{"24 30 09 ? * * *", "UTC", 0, days("09:30:24", d23, d24, d25)},
		{"0 16 ? * TUE *", "America/Los_Angeles", 0, days("00:00:00", d25, "2026-12-02", "2026-12-09")},
		{"0 10 * * ? *", "UTC", 0, days("10:00:00", d23, d24, d25)},
		{"15 12 * * ? *", "UTC", 0, days("12:15:00", d23, d24, d25)},
		{"0 18 ? * MON-FRI *", "UTC", 0, days("18:00:00", d23, d24, d25)},
		{"0 8 1 * ? *", "UTC", 0, days("08:00:00", "2026-12-01", "2027-01-01", "2027-02-01")},
		{"0/15 * * * ? *", "UTC", 0, []string{d23 + "T00:15:00Z", d23 + "T00:30:00Z", d23 + "T00:45:00Z"}},
		{"0/10 * ? * MON-FRI *", "UTC", 0, []string{d23 + "T00:10:00Z", d23 + "T00:20:00Z", d23 + "T00:30:00Z"}},
		{"0/5 8-17 ? * MON-FRI *", "UTC", 0, []string{d23 + "T08:00:00Z", d23 + "T08:05:00Z", d23 + "T08:10:00Z"}},
		{"1/10 * * * ? *", "UTC", 0, []string{d23 + "T00:01:00Z", d23 + "T00:11:00Z", d23 + "T00:21:00Z"}},
		{"0 0 3W * ? *", "UTC", 0, days("00:00:00", "2026-12-03", "2027-01-04", "2027-02-03")},
	} {
		s := parsed(t, "cron("+tt.expr+")", tt.zone, tt.offset, nil, nil)
		if got := starts(s, rfc(t, "2026-11-23T00:00:00Z"), 3); !slices.Equal(got, tt.want) {
			t.Errorf("cron(%s) offset %d in %s = %q, want %q", tt.expr, tt.offset, tt.zone, got, tt.want)
		}
	}
}

// TestRules are single rules: what runs when, also at their boundaries.
func TestRules(t *testing.T) {
	ny, lordHowe := "America/New_York", "Australia/Lord_Howe"
	for _, tt := range []struct {
		name       string
		expr, zone string
		offset     int
		start, end string
		after      string
		want       []string
	}{
		{"a window starts within its start and end", "cron(0 09 ? * WED *)", "America/Los_Angeles", 0, "2021-01-01T00:00:00-08:00", "2021-01-13T09:00:00-08:00", "2020-06-01T00:00:00Z",
			[]string{"2021-01-06T17:00:00Z", "2021-01-13T17:00:00Z"}},
		{"the start itself is within", "cron(0 0 * * ? *)", "UTC", 0, "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2020-01-01T00:00:00Z", []string{"2026-01-01T00:00:00Z"}},
		{"start and end bound the shifted instant", "cron(0 0 1 * ? *)", "UTC", 2, "2026-01-02T00:00:00Z", "2026-02-02T00:00:00Z", "2020-01-01T00:00:00Z", []string{"2026-01-03T00:00:00Z"}},
		{"a rate counts from its start, which opens", "rate(7 days)", "Asia/Tokyo", 0, "2019-01-01T00:03:15+09:00", "2019-06-30T00:06:15+09:00", "2018-01-01T00:00:00Z",
			[]string{"2018-12-31T15:03:15Z", "2019-01-07T15:03:15Z"}},
		{"a rate ends with its end", "rate(7 days)", "Asia/Tokyo", 0, "2019-01-01T00:03:15+09:00", "2019-06-30T00:06:15+09:00", "2019-06-18T00:00:00Z",
			[]string{"2019-06-24T15:03:15Z"}},
		{"a rate without start counts from 1970", "rate(5 hours)", "UTC", 0, "", "", "1970-01-01T00:00:00Z", []string{"1970-01-01T05:00:00Z", "1970-01-01T10:00:00Z"}},
		{"a rate is elapsed time across a change of the clock", "rate(1 day)", ny, 0, "2026-03-07T02:30:00-05:00", "", "2026-03-07T07:00:00Z", []string{"2026-03-07T07:30:00Z", "2026-03-08T07:30:00Z", "2026-03-09T07:30:00Z"}},
		{"leading zeros count nothing", "rate(0010 minutes)", "UTC", 0, "", "", "2026-01-01T00:00:00Z", []string{"2026-01-01T00:10:00Z"}},
		{"a rate keeps fractions of its start", "rate(1 hour)", "UTC", 0, "2026-01-01T00:00:00.5Z", "", "2026-01-01T01:00:00.4Z", []string{"2026-01-01T01:00:00.5Z", "2026-01-01T02:00:00.5Z"}},
		{"next is strictly after", "rate(1 hour)", "UTC", 0, "", "", "2026-01-01T01:00:00Z", []string{"2026-01-01T02:00:00Z"}},
		{"at runs once", "at(2020-07-07T15:55:00)", "UTC", 0, "", "", "1970-01-01T00:00:00Z", []string{"2020-07-07T15:55:00Z"}},
		{"at is local", "at(2021-07-07T13:15:30)", "America/Los_Angeles", 0, "", "", "1970-01-01T00:00:00Z", []string{"2021-07-07T20:15:30Z"}},
		{"at does not run again", "at(2020-07-07T15:55:00)", "UTC", 0, "", "", "2020-07-07T15:55:00Z", nil},
		{"at in a gap moves on", "at(2026-03-08T02:30:00)", ny, 0, "", "", "1970-01-01T00:00:00Z", []string{"2026-03-08T07:00:00Z"}},
		{"at in an overlap is the first pass", "at(2026-11-01T01:30:00)", ny, 0, "", "", "1970-01-01T00:00:00Z", []string{"2026-11-01T05:30:00Z"}},

		{"a daily start in the gap moves to the first valid minute", "cron(30 2 * * ? *)", ny, 0, "", "", "2026-03-07T12:00:00Z", []string{"2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"}},
		{"several starts in the gap merge", "cron(0/10 2 * * ? *)", ny, 0, "", "", "2026-03-08T06:59:00Z", []string{"2026-03-08T07:00:00Z", "2026-03-09T06:00:00Z"}},
		{"one in the gap merges with its own next", "cron(0 2,3 * * ? *)", ny, 0, "", "", "2026-03-08T06:59:00Z", []string{"2026-03-08T07:00:00Z", "2026-03-09T06:00:00Z"}},
		{"a daily start in the overlap happens once", "cron(30 1 * * ? *)", ny, 0, "", "", "2026-11-01T00:00:00Z", []string{"2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"}},
		{"an hourly one happens in both passes", "cron(30 * * * ? *)", ny, 0, "", "", "2026-11-01T05:00:00Z", []string{"2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-01T07:30:00Z"}},
		{"a list of all hours is times of day", "cron(30 0-23 * * ? *)", ny, 0, "", "", "2026-11-01T05:00:00Z", []string{"2026-11-01T05:30:00Z", "2026-11-01T07:30:00Z"}},
		{"an hourly one leaps over the gap", "cron(30 * * * ? *)", ny, 0, "", "", "2026-03-08T06:00:00Z", []string{"2026-03-08T06:30:00Z", "2026-03-08T07:30:00Z"}},
		{"every second hour loses the one in the gap", "cron(0 0/2 * * ? *)", ny, 0, "", "", "2026-03-08T04:00:00Z", []string{"2026-03-08T05:00:00Z", "2026-03-08T08:00:00Z"}},
		{"a/n from an hour in the overlap counts both passes", "cron(0 1/12 * * ? *)", ny, 0, "", "", "2026-11-01T00:00:00Z", []string{"2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z", "2026-11-01T18:00:00Z"}},
		{"both passes of the last day of all", "cron(30 1/24 1 11 ? 2026)", ny, 0, "", "", "2026-01-01T00:00:00Z", []string{"2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"}},
		{"half an hour of gap", "cron(15 2 * * ? *)", lordHowe, 0, "", "", "2026-10-03T12:00:00Z", []string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
		{"half an hour of overlap", "cron(0/15 * * * ? *)", lordHowe, 0, "", "", "2026-04-04T14:15:00Z", []string{"2026-04-04T14:30:00Z", "2026-04-04T14:45:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:15:00Z"}},
		{"seconds in the gap move to the minute", "cron(30 30 2 * * ? *)", ny, 0, "", "", "2026-03-07T12:00:00Z", []string{"2026-03-08T07:00:00Z", "2026-03-09T06:30:30Z"}},
		{"a day that never was", "cron(0 12 30 12 ? *)", "Pacific/Apia", 0, "", "", "2011-01-01T00:00:00Z", []string{"2011-12-30T10:00:00Z", "2012-12-29T22:00:00Z"}},
		{"a gap that ends between minutes", "cron(30 0 * * ? *)", "Africa/Monrovia", 0, "", "", "1972-01-06T12:00:00Z", []string{"1972-01-07T00:45:00Z", "1972-01-08T00:30:00Z"}},
		{"second by second behind that gap", "cron(0/10 44,30 0 * * ? *)", "Africa/Monrovia", 0, "", "", "1972-01-07T00:44:29Z",
			[]string{"1972-01-07T00:44:30Z", "1972-01-07T00:44:40Z", "1972-01-07T00:44:50Z", "1972-01-07T00:45:00Z", "1972-01-08T00:30:00Z"}},
		{"the offset moves the wall clock, not the instant", "cron(30 2 7 3 ? *)", ny, 1, "", "", "2026-01-01T00:00:00Z", []string{"2026-03-08T07:00:00Z", "2027-03-08T07:30:00Z"}},
		{"an offset crosses the year", "cron(0 0 31 12 ? 2026)", "UTC", 6, "", "", "2026-01-01T00:00:00Z", []string{"2027-01-06T00:00:00Z"}},

		{"day 366 of a year far away", "cron(0 0/12 * * ? *)", "Europe/Helsinki", 0, "", "", "2096-12-30T22:00:00Z", []string{"2096-12-31T10:00:00Z", "2096-12-31T22:00:00Z", "2097-01-01T10:00:00Z"}},
		{"29 February, not in 2100", "cron(0 0 29 2 ? *)", "UTC", 0, "", "", "2094-01-01T00:00:00Z", []string{"2096-02-29T00:00:00Z", "2104-02-29T00:00:00Z"}},
		{"L-n counts back from the last", "cron(0 0 L-2 2 ? *)", "UTC", 0, "", "", "2027-01-01T00:00:00Z", []string{"2027-02-26T00:00:00Z", "2028-02-27T00:00:00Z"}},
		{"LW is the last weekday", "cron(0 0 LW 1-2 ? 2027)", "UTC", 0, "", "", "2027-01-01T00:00:00Z", []string{"2027-01-29T00:00:00Z", "2027-02-26T00:00:00Z"}},
		{"1W on a Saturday stays in the month", "cron(0 0 1W 8 ? 2026)", "UTC", 0, "", "", "2026-01-01T00:00:00Z", []string{"2026-08-03T00:00:00Z"}},
		{"31W on a Sunday stays in the month", "cron(0 0 31W 5 ? 2026)", "UTC", 0, "", "", "2026-01-01T00:00:00Z", []string{"2026-05-29T00:00:00Z"}},
		{"months without day 31 have no 31W", "cron(0 0 31W 4-5 ? 2027)", "UTC", 0, "", "", "2027-01-01T00:00:00Z", []string{"2027-05-31T00:00:00Z"}},
		{"months without a fifth are skipped", "cron(0 0 ? * MON#5 2027)", "UTC", 0, "", "", "2027-01-01T00:00:00Z", []string{"2027-03-29T00:00:00Z", "2027-05-31T00:00:00Z", "2027-08-30T00:00:00Z", "2027-11-29T00:00:00Z"}},
		{"names in any case, lists of all sorts", "cron(5,1-3,50/5 1 ? jan,Mar mon,2#1,FRIL 2027)", "UTC", 0, "", "", "2027-01-29T01:49:00Z",
			[]string{"2027-01-29T01:50:00Z", "2027-01-29T01:55:00Z", "2027-03-01T01:01:00Z"}},
		{"a step as long as the field is one value", "cron(7/60 3/24 ? * * *)", "UTC", 0, "", "", "2026-01-01T00:00:00Z", []string{"2026-01-01T03:07:00Z", "2026-01-02T03:07:00Z"}},
		{"the last second of the calendar", "cron(59 59 23 31 12 ? *)", "UTC", 0, "", "", "2198-12-31T23:59:59Z", []string{"2199-12-31T23:59:59Z"}},
		{"the first second of the calendar", "cron(0 0 1 1 ? *)", "UTC", 0, "", "", "0001-01-01T00:00:00Z", []string{"1970-01-01T00:00:00Z", "1971-01-01T00:00:00Z"}},
		{"nothing after the calendar", "rate(1 day)", "UTC", 0, "", "", "2199-12-30T12:00:00Z", []string{"2199-12-31T00:00:00Z"}},
		{"nothing in the year 9999", "cron(* * * * ? *)", ny, 0, "", "", "9999-12-31T00:00:00Z", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var start, end *time.Time
			if tt.start != "" {
				v := rfc(t, tt.start)
				start = &v
			}
			if tt.end != "" {
				v := rfc(t, tt.end)
				end = &v
			}
			s := parsed(t, tt.expr, tt.zone, tt.offset, start, end)
			n := len(tt.want)
			if n == 0 || start == nil {
				n++
			}
			got := starts(s, rfc(t, tt.after), n)
			if len(got) > len(tt.want) && len(tt.want) > 0 {
				got = got[:len(tt.want)]
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s offset %d in %s after %s = %q, want %q", tt.expr, tt.offset, tt.zone, tt.after, got, tt.want)
			}
		})
	}
}

// TestFaults: every wrong expression says what is wrong and what is allowed.
func TestFaults(t *testing.T) {
	y2020, y2021 := rfc(t, "2020-01-01T00:00:00Z"), rfc(t, "2021-01-01T00:00:00Z")
	for _, tt := range []struct {
		expr       string
		offset     int
		start, end *time.Time
		want       string
	}{
		{expr: "cron(0 2 ? * 8 *)", want: "schedule: day of week 8 is not 1..7 (1 is SUN) or SUN..SAT"},
		{expr: "cron(0 2 ? * 0 *)", want: "schedule: day of week 0 is not 1..7 (1 is SUN) or SUN..SAT"},
		{expr: "cron(0 2 ? * FUN *)", want: `schedule: day of week "FUN" is not 1..7 (1 is SUN) or SUN..SAT`},
		{expr: "0 2 * * 0", want: `schedule: "0 2 * * 0" is not cron(...), rate(...) or at(...)`},
		{expr: "", want: `schedule: "" is not cron(...), rate(...) or at(...)`},
		{expr: "CRON(0 2 ? * 1 *)", want: `schedule: "CRON(0 2 ? * 1 *)" is not cron(...), rate(...) or at(...)`},
		{expr: "rate(1 day)rate(1 day)", want: `schedule: "rate(1 day)rate(1 day)" is not cron(...), rate(...) or at(...)`},
		{expr: "rate(1 day) ", want: `schedule: "rate(1 day) " is not cron(...), rate(...) or at(...)`},
		{expr: "cron(" + strings.Repeat("1", 300) + ")", want: "schedule: an expression has at most 256 characters, this one 306"},
		{expr: "cron(0 2 * * *)", want: `schedule: cron has 5 fields, wanted 6: minutes hours day-of-month month day-of-week year, or 7 with seconds first (did you mean "cron(0 2 * * ? *)"?)`},
		{expr: "cron(0 2 ? * FRIDAY *)", want: `schedule: day of week "FRIDAY" is not 1..7 (1 is SUN) or SUN..SAT (did you mean FRI?)`},
		{expr: "cron()", want: "schedule: cron has 0 fields, wanted 6: minutes hours day-of-month month day-of-week year, or 7 with seconds first"},
		{expr: "cron(0\t2 ? * 1 *)", want: "schedule: cron has 5 fields, wanted 6: minutes hours day-of-month month day-of-week year, or 7 with seconds first"},
		{expr: "cron(60 24 32 13 ? 1969)", want: "schedule: minute 60 is not 0..59; schedule: hour 24 is not 0..23; schedule: day of month 32 is not 1..31, L, L-n or nW; schedule: month 13 is not 1..12 or JAN..DEC; schedule: year 1969 is not 1970..2199"},
		{expr: "cron(60 0 0 1 1 ? *)", want: "schedule: second 60 is not 0..59"},
		{expr: "cron(-1 0 1 1 ? *)", want: `schedule: minute "" is not 0..59`},
		{expr: "cron(+1 0 1 1 ? *)", want: `schedule: minute "+1" is not 0..59`},
		{expr: "cron(99999999999999999999 0 1 1 ? *)", want: `schedule: minute "99999999999999999999" is not 0..59`},
		{expr: "cron(0 2 ? * FRI-MON *)", want: "schedule: day of week range FRI-MON runs backwards; write two, such as FRI-SAT,SUN-MON"},
		{expr: "cron(0 22-4 ? * * *)", want: "schedule: hour range 22-4 runs backwards; write two, such as 22-23,0-4"},
		{expr: "cron(0/0 2 ? * * *)", want: "schedule: minute step 0 is not 1..60"},
		{expr: "cron(0/61 2 ? * * *)", want: "schedule: minute step 61 is not 1..60"},
		{expr: "cron(0/x 2 ? * * *)", want: `schedule: minute step "X" is not 1..60`},
		{expr: "cron(1,,2 2 ? * * *)", want: `schedule: minute "1,,2" has an empty part`},
		{expr: "cron(1,* 2 ? * * *)", want: `schedule: minute * stands alone, not in the list "1,*"`},
		{expr: "cron(? 2 ? * * *)", want: "schedule: minute ? is only for day of month and day of week; write *"},
		{expr: "cron(0 2 1 * MON *)", want: "schedule: day of month 1 and day of week MON are both given; write ? for one of them"},
		{expr: "cron(0 2 * * MON *)", want: "schedule: day of month * is not ?, which it must be where day of week is given (MON)"},
		{expr: "cron(0 2 1 * * *)", want: "schedule: day of week * is not ?, which it must be where day of month is given (1)"},
		{expr: "cron(0 2 ? * MON#6 *)", want: `schedule: day of week "MON#6": the week of the month after # is 1..5`},
		{expr: "cron(0 2 ? * L *)", want: "schedule: day of week L needs a day: FRIL is the last Friday of the month; Saturday is SAT"},
		{expr: "cron(0 2 L-31 * ? *)", want: `schedule: day of month "L-31": days before the last (L-n) are 1..30`},
		{expr: "cron(0 2 32W * ? *)", want: `schedule: day of month "32W" is not 1..31, L, L-n or nW`},
		{expr: "cron(0 0 31 2 ? *)", want: "schedule: cron(0 0 31 2 ? *) never fires from 1970 to 2199"},
		{expr: "cron(0 0 29 2 ? 2100)", want: "schedule: cron(0 0 29 2 ? 2100) never fires from 1970 to 2199"},
		{expr: "cron(0 0 31W 2,4 ? *)", want: "schedule: cron(0 0 31W 2,4 ? *) never fires from 1970 to 2199"},
		{expr: "rate(0 minutes)", want: "schedule: a rate of 0 never comes"},
		{expr: "rate(-5 minutes)", want: `schedule: "-5" is not a number: a rate is a number and minutes, hours or days, such as rate(30 minutes) or rate(1 day)`},
		{expr: "rate(1 hours)", want: "schedule: write 1 hour, not 1 hours"},
		{expr: "rate(5 hour)", want: "schedule: write 5 hours, not 5 hour"},
		{expr: "rate(4 minutes)", want: "schedule: rate of 4 minutes is less than 5 minutes"},
		{expr: "rate(1 minute)", want: "schedule: rate of 1 minute is less than 5 minutes"},
		{expr: "rate(30 seconds)", want: `schedule: "seconds" is not minutes, hours or days`},
		{expr: "rate(2 years)", want: `schedule: "years" is not minutes, hours or days`},
		{expr: "rate(5 minutess)", want: `schedule: "minutess" is not minutes, hours or days`},
		{expr: "rate(9223372036854775808 days)", want: `schedule: "9223372036854775808" is not a number: a rate is a number and minutes, hours or days, such as rate(30 minutes) or rate(1 day)`},
		{expr: "rate(9000000000000000 days)", want: "schedule: rate of 9000000000000000 days is longer than the years 1970 to 2199"},
		{expr: "rate(1 day 2 hours)", want: `schedule: "1 day 2 hours": a rate is a number and minutes, hours or days, such as rate(30 minutes) or rate(1 day)`},
		{expr: "at(2026-02-29T00:00:00)", want: `schedule: "2026-02-29T00:00:00" is not a time of the calendar YYYY-MM-DDTHH:MM:SS, such as at(2027-03-01T02:00:00); the time zone has its own field`},
		{expr: "at(2026-02-28T00:00:00.5)", want: `schedule: "2026-02-28T00:00:00.5" is not a time of the calendar YYYY-MM-DDTHH:MM:SS, such as at(2027-03-01T02:00:00); the time zone has its own field`},
		{expr: "at(2026-02-28T00:00:00Z)", want: `schedule: "2026-02-28T00:00:00Z" is not a time of the calendar YYYY-MM-DDTHH:MM:SS, such as at(2027-03-01T02:00:00); the time zone has its own field`},
		{expr: "at(2200-01-01T00:00:00)", want: "schedule: year 2200 is not 1970..2199"},
		{expr: "rate(1 day)", offset: 2, want: "offset: only with cron(...); schedule is rate(1 day)"},
		{expr: "cron(0 2 ? * 1 *)", offset: 7, want: "offset: 7 is not 1..6 days (0 is none)"},
		{expr: "cron(0 2 ? * 1 *)", offset: -1, want: "offset: -1 is not 1..6 days (0 is none)"},
		{expr: "rate(1 day)", start: &y2021, end: &y2020, want: "end: 2020-01-01T00:00:00Z is not after start 2021-01-01T00:00:00Z"},
		{expr: "cron(0 0 1 7 ? 2021)", start: &y2020, end: &y2021, want: "schedule: cron(0 0 1 7 ? 2021) has no start from 2020-01-01T00:00:00Z to 2021-01-01T00:00:00Z"},
		{expr: "at(2020-06-01T00:00:00)", start: &y2021, want: "schedule: at(2020-06-01T00:00:00) has no start from 2021-01-01T00:00:00Z to the year 2199"},
		{expr: "at(2020-06-01T00:00:00)", end: &y2020, want: "schedule: at(2020-06-01T00:00:00) has no start up to 2020-01-01T00:00:00Z"},
	} {
		_, err := Parse(tt.expr, time.UTC, tt.offset, tt.start, tt.end)
		var faults Faults
		if !errors.As(err, &faults) || err.Error() != tt.want {
			t.Errorf("Parse(%q, offset %d) = %v\nwant %s", tt.expr, tt.offset, err, tt.want)
		}
	}
}

func TestZone(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Helsinki", "America/Argentina/Buenos_Aires", "Etc/GMT+5"} {
		if z, err := Zone(name); err != nil || z.String() != name {
			t.Errorf("Zone(%q) = %v, %v", name, z, err)
		}
	}
	for _, name := range []string{"", "Local", "localtime", "right/UTC", "posix/UTC", "posixrules", "Factory", "../etc/passwd", "/etc/localtime", "Europe/Helsingfors", "Europe", "EST\x00", "zone.tab"} {
		if z, err := Zone(name); err == nil || !strings.HasPrefix(err.Error(), "timezone: no time zone ") {
			t.Errorf("Zone(%q) = %v, %v; want a fault", name, z, err)
		}
	}
}

// TestZeroSchedule: a value that nobody parsed has no starts.
func TestZeroSchedule(t *testing.T) {
	if got, ok := (Schedule{}).Next(time.Time{}); ok {
		t.Errorf("Schedule{}.Next = %v, want none", got)
	}
}
