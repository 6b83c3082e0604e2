package schedule

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dunlin-dev/dunlin/schema"
)

func window(t testing.TB, expr, zoneName string, duration, cutoff schema.Duration) Window {
	t.Helper()
	w, err := FromWindow(schema.Window{Schedule: expr, Timezone: zoneName, Duration: duration, Cutoff: cutoff, Enabled: true})
	if err != nil {
		t.Fatalf("FromWindow(%s): %v", expr, err)
	}
	return w
}

// TestWindowAt are the boundaries of openings.
func TestWindowAt(t *testing.T) {
	ny := "America/New_York"
	for _, tt := range []struct {
		name             string
		expr, zone       string
		duration, cutoff schema.Duration
		at               string
		start            string // empty: shut
		accepts          bool
	}{
		{"open at its start", "at(2020-07-07T15:55:00)", "UTC", "5h", "2h", "2020-07-07T15:55:00Z", "2020-07-07T15:55:00Z", true},
		{"shut just before", "at(2020-07-07T15:55:00)", "UTC", "5h", "2h", "2020-07-07T15:54:59.999999999Z", "", false},
		{"work until the cutoff", "at(2020-07-07T15:55:00)", "UTC", "5h", "2h", "2020-07-07T18:54:59Z", "2020-07-07T15:55:00Z", true},
		{"no new work from the cutoff on", "at(2020-07-07T15:55:00)", "UTC", "5h", "2h", "2020-07-07T18:55:00Z", "2020-07-07T15:55:00Z", false},
		{"open to its last moment", "at(2020-07-07T15:55:00)", "UTC", "5h", "0h", "2020-07-07T20:54:59.999999999Z", "2020-07-07T15:55:00Z", true},
		{"shut at its end", "at(2020-07-07T15:55:00)", "UTC", "5h", "0h", "2020-07-07T20:55:00Z", "", false},
		{"a start inside an opening does not prolong it", "cron(0 2,3 * * ? *)", "UTC", "2h", "0h", "2026-05-05T04:00:00Z", "", false},
		{"the second start is skipped", "cron(0 2,3 * * ? *)", "UTC", "2h", "0h", "2026-05-05T03:30:00Z", "2026-05-05T02:00:00Z", true},
		{"the start at the end opens again", "cron(0/30 2-8 * * ? *)", "UTC", "2h", "0h", "2026-05-05T06:15:00Z", "2026-05-05T06:00:00Z", true},
		{"back to back all day", "rate(1 day)", "UTC", "24h", "0h", "2026-05-05T00:00:00Z", "2026-05-05T00:00:00Z", true},
		{"every second hour counts from the gap in autumn", "cron(0 0-23 * * ? *)", ny, "90m", "0h", "2026-11-01T08:00:00Z", "2026-11-01T07:00:00Z", true},
		{"months later too", "cron(0 0-23 * * ? *)", ny, "90m", "0h", "2027-01-01T07:45:00Z", "2027-01-01T07:00:00Z", true},
		{"duration is elapsed time", "cron(0 1 * * ? *)", ny, "3h", "0h", "2026-03-08T08:59:59Z", "2026-03-08T06:00:00Z", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := window(t, tt.expr, tt.zone, tt.duration, tt.cutoff)
			at := rfc(t, tt.at)
			o, open := w.At(at)
			if open != (tt.start != "") || open && (o.Start.Format(time.RFC3339) != tt.start || o.AcceptsWork(at) != tt.accepts) {
				t.Errorf("At(%s) = %v, %v, accepts %v; want start %q, accepts %v", tt.at, o, open, o.AcceptsWork(at), tt.start, tt.accepts)
			}
		})
	}
}

// TestWindowFaults: what Check says of a window, field by field.
func TestWindowFaults(t *testing.T) {
	start, end := rfc(t, "2027-01-01T00:00:00Z"), rfc(t, "2026-01-01T00:00:00Z")
	ok := schema.Window{Schedule: "rate(1 day)", Timezone: "UTC", Duration: "3h", Cutoff: "1h"}
	for _, tt := range []struct {
		name   string
		change func(*schema.Window)
		want   string
	}{
		{"nothing wrong", func(*schema.Window) {}, ""},
		{"cutoff not less", func(w *schema.Window) { w.Cutoff = "3h" }, "cutoff: 3h is not less than duration 3h"},
		{"duration too long", func(w *schema.Window) { w.Duration = "36h" }, "duration: 36h is not from 1h to 24h"},
		{"duration too short", func(w *schema.Window) { w.Duration, w.Cutoff = "59m", "" }, "duration: 59m is not from 1h to 24h"},
		{"not whole minutes", func(w *schema.Window) { w.Duration = "1h30s" }, "duration: 1h30s is not whole minutes"},
		{"not a duration", func(w *schema.Window) { w.Cutoff = "soon" }, `cutoff: "soon" is not a duration such as "90m", "3h" or "7d"`},
		{"end before start", func(w *schema.Window) { w.Start, w.End = &start, &end }, "end: 2026-01-01T00:00:00Z is not after start 2027-01-01T00:00:00Z"},
		{"all at once", func(w *schema.Window) { w.Schedule, w.Timezone, w.Cutoff = "rate(1 days)", "Nowhere", "4h" },
			`schedule: write 1 day, not 1 days; timezone: no time zone "Nowhere"; an IANA name such as "Europe/Helsinki" is wanted; cutoff: 4h is not less than duration 3h`},
		{"no such zone", func(w *schema.Window) { w.Schedule, w.Timezone = "cron(0 2 ? * SUN *)", "Europe/Helsinky" },
			`timezone: no time zone "Europe/Helsinky"; an IANA name such as "Europe/Helsinki" is wanted`},
		{"no such zone for an instant", func(w *schema.Window) { w.Schedule, w.Timezone = "at(2027-01-01T00:00:00)", "X" },
			`timezone: no time zone "X"; an IANA name such as "Europe/Helsinki" is wanted`},
		{"starts overlap for ever", func(w *schema.Window) { w.Schedule = "rate(90 minutes)" },
			"schedule: rate(90 minutes) has starts less than duration 3h apart for more than 400 days: each overlaps the one before, and none can be told to open the window"},
		{"every second for ever", func(w *schema.Window) { w.Schedule = "cron(* * * * * ? *)" },
			"schedule: cron(* * * * * ? *) has starts less than duration 3h apart for more than 400 days: each overlaps the one before, and none can be told to open the window"},
		{"overlap for a year only", func(w *schema.Window) { w.Schedule = "cron(0 * * * ? 2028)" }, ""},
		{"a start each four years", func(w *schema.Window) { w.Schedule = "cron(0 2 29 2 ? *)" }, ""},
		{"long past", func(w *schema.Window) { w.Schedule = "at(2001-01-01T00:00:00)" }, ""},
	} {
		w := ok
		tt.change(&w)
		if got := strings.TrimSpace(Check(w).Error()); got != tt.want {
			t.Errorf("%s: Check = %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// TestDisabledWindow: it is checked, and never opens.
func TestDisabledWindow(t *testing.T) {
	w, err := FromWindow(schema.Window{Schedule: "rate(1 day)", Timezone: "UTC", Duration: "3h"})
	if _, open := w.At(rfc(t, "2026-01-01T00:00:00Z")); err != nil || open {
		t.Errorf("At = %v, %v; want shut", open, err)
	}
	if o, ok := w.NextOpening(rfc(t, "2026-01-01T00:00:00Z")); ok {
		t.Errorf("NextOpening = %v, want none", o)
	}
}

// TestUnknownBeginning: a chain of overlapping starts that never ends opens nothing.
func TestUnknownBeginning(t *testing.T) {
	w := Window{Schedule: parsed(t, "cron(0 * * * ? 2000-2005)", "UTC", 0, nil, nil), Duration: 2 * time.Hour}
	if o, open := w.At(rfc(t, "2004-01-01T00:30:00Z")); open {
		t.Errorf("At = %v, want shut", o)
	}
	if o, open := w.At(rfc(t, "2000-06-01T01:30:00Z")); !open || o.Start.Format(time.RFC3339) != "2000-06-01T00:00:00Z" {
		t.Errorf("At = %v, %v; want the opening at 00:00, for the first start of all is known", o, open)
	}
	if o, ok := w.NextOpening(rfc(t, "2004-01-01T00:30:00Z")); ok {
		t.Errorf("NextOpening = %v, want none", o)
	}
}

func TestSkipped(t *testing.T) {
	w := window(t, "cron(0/30 2-8 * * ? *)", "UTC", "1h", "0h")
	o, _ := w.NextOpening(rfc(t, "2026-05-05T00:00:00Z"))
	got := ""
	for s := range w.Skipped(o) {
		got += s.Format(time.RFC3339) + " "
	}
	if got != "2026-05-05T02:30:00Z " {
		t.Errorf("Skipped(%v) = %s", o, got)
	}
}

// TestWindowsAreWhatStartsDo compares At and NextOpening with a walk over all starts of a window.
func TestWindowsAreWhatStartsDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := drawCron(t, 12)
		e.fields[0], e.seconds = "0", false
		z, err := Zone(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Unix(drawInstant(t, z)-2*day, 0)
		end := begin.Add(6 * 24 * time.Hour)
		s, err := Parse(e.String(), z, 0, &begin, &end)
		if err != nil {
			return // nothing starts within
		}
		w := Window{Schedule: s, Duration: time.Duration(rapid.IntRange(60, 1440).Draw(t, "minutes")) * time.Minute}
		var openings []Opening
		for at, ok := s.Next(time.Unix(earliest, 0)); ok; at, ok = s.Next(at) {
			if n := len(openings); n == 0 || !at.Before(openings[n-1].End) {
				openings = append(openings, w.opening(at))
			}
		}
		check := func(at time.Time) {
			var now, next Opening
			open, more := false, false
			for _, o := range openings {
				if !at.Before(o.Start) && at.Before(o.End) {
					now, open = o, true
				}
				if !more && o.Start.After(at) {
					next, more = o, true
				}
			}
			if got, ok := w.At(at); ok != open || got != now {
				t.Fatalf("%s for %v in %s: At(%v) = %v, %v; want %v, %v", e, w.Duration, z, at, got, ok, now, open)
			}
			if got, ok := w.NextOpening(at); ok != more || got != next {
				t.Fatalf("%s for %v in %s: NextOpening(%v) = %v, %v; want %v, %v", e, w.Duration, z, at, got, ok, next, more)
			}
		}
		i := rapid.IntRange(0, len(openings)-1).Draw(t, "opening")
		for _, near := range []time.Duration{-1, 0, 1} {
			check(openings[i].Start.Add(near))
			check(openings[i].End.Add(near))
		}
		check(begin.Add(time.Duration(rapid.Int64Range(-day, 8*day).Draw(t, "at")) * time.Second))
	})
}

// BenchmarkNext steps from one start to the next; rare ones look far ahead.
func BenchmarkNext(b *testing.B) {
	for _, bb := range []struct{ name, expr, zone string }{
		{"weekly", "cron(0 2 ? * SUN *)", "Europe/Helsinki"},
		{"hourly", "cron(0 * * * ? *)", "Europe/Helsinki"},
		{"secondly", "cron(* * * * * ? *)", "America/New_York"},
		{"leap-monday", "cron(0 0 ? 2 MON#5 *)", "America/New_York"},
		{"rate", "rate(1 hour)", "UTC"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := parsed(b, bb.expr, bb.zone, 0, nil, nil)
			from := rfc(b, "2026-01-01T00:00:00Z")
			at := from
			for b.Loop() {
				next, ok := s.Next(at)
				if at = next; !ok {
					at = from
				}
			}
		})
	}
	b.Run("day-366", func(b *testing.B) {
		s := parsed(b, "cron(0 2 ? * SUN *)", "Europe/Helsinki", 0, nil, nil)
		from := rfc(b, "2096-12-31T12:00:00Z")
		for b.Loop() {
			s.Next(from)
		}
	})
	b.Run("ended", func(b *testing.B) {
		s := parsed(b, "cron(0 0 1 1 ? 2020)", "America/New_York", 0, nil, nil)
		from := rfc(b, "2026-01-01T00:00:00Z")
		for b.Loop() {
			s.Next(from)
		}
	})
}

// BenchmarkFromWindow is what validation pays for a window.
func BenchmarkFromWindow(b *testing.B) {
	for _, expr := range []string{"cron(0 2 ? * SUN *)", "cron(0 2 29 2 ? 2199)", "cron(0 0 31 2 ? *)", "cron(* * * * * ? *)"} {
		b.Run(strings.ReplaceAll(expr, " ", "_"), func(b *testing.B) {
			w := schema.Window{Schedule: expr, Timezone: "Europe/Helsinki", Duration: "1h", Enabled: true}
			for b.Loop() {
				_ = Check(w)
			}
		})
	}
}

// BenchmarkAt asks an open window.
func BenchmarkAt(b *testing.B) {
	w := window(b, "cron(0 2 ? * SUN *)", "Europe/Helsinki", "4h", "1h")
	at := rfc(b, "2026-11-29T01:30:00Z")
	for b.Loop() {
		if _, open := w.At(at); !open {
			b.Fatal("shut")
		}
	}
}

func ExampleSchedule_Next() {
	s, err := Parse("cron(0 2 ? * SUN *)", time.UTC, 0, nil, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Next(time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)))
	// Output: 2026-11-29 02:00:00 +0000 UTC true
}
