package firstseen_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/reconciler/firstseen"
	"github.com/dunlin-dev/dunlin/schema"
)

var (
	start    = time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC)
	security = schema.Origin{Origin: "Debian", Label: "Debian-Security", Codename: "bookworm-security", Component: "main", Trusted: true}
	openssl  = schema.PackageFact{Name: "libssl3", Version: "3.0.17-1", Arch: "amd64", Source: "openssl", SourceVersion: "3.0.17-1", Origins: []schema.Origin{security}}
)

const (
	archive = "Debian/Debian-Security/bookworm-security/main"
	version = "openssl 3.0.17-1"
)

// hours is an instant so many hours after the fleet's start.
func hours(h float64) time.Time { return start.Add(time.Duration(h * float64(time.Hour))) }

// saw is that a node first looked at one instant and saw openssl at another; seen 0 is never.
func saw(node string, first, seen float64) firstseen.Told {
	a := schema.SeenArchive{First: hours(first), Seen: map[string][]string{}}
	if seen != 0 {
		a.Seen[firstseen.Stamp(hours(seen))] = []string{version}
	}
	return firstseen.Told{Node: node, SeenRecord: schema.SeenRecord{Archives: map[string]schema.SeenArchive{archive: a}}}
}

func dateOf(who firstseen.Who, told ...firstseen.Told) time.Time {
	want := firstseen.Wanted{}
	want.Add(openssl)
	return firstseen.Open(who, want, told).Date(openssl)
}

func TestTheSecondOfTheFleetDatesAVersion(t *testing.T) {
	old, none := firstseen.Old(), time.Time{}
	for _, tt := range []struct {
		name string
		told []firstseen.Told
		now  float64
		want time.Time
	}{
		{"two nodes saw it come", []firstseen.Told{saw("a", 0, 100), saw("b", 0, 101)}, 200, hours(101)},
		{"the third changes nothing", []firstseen.Told{saw("a", 0, 100), saw("b", 0, 101), saw("c", 0, 102)}, 200, hours(101)},
		{"a node tells it twice, which is one node", []firstseen.Told{saw("b", 0, 100), saw("b", 0, 101), saw("a", 0, 105)}, 200, hours(105)},
		{"one that lies makes it no older than an honest one saw it", []firstseen.Told{saw("liar", -9000, -8000), saw("a", 0, 100), saw("b", 0, 101)}, 200, hours(100)},
		{"nor does it by saying that it was there at its first look", []firstseen.Told{saw("liar", -9000, -9000), saw("a", 0, 100), saw("b", 0, 101)}, 200, hours(100)},
		{"nor with a first look of the fleet's first day", []firstseen.Told{saw("liar", 1, 1), saw("a", 0, 100), saw("b", 0, 101)}, 200, hours(100)},
		{"one that saw it with nobody else waits a day", []firstseen.Told{saw("a", 0, 100), saw("b", 0, 0)}, 123, none},
		{"and then counts for itself", []firstseen.Told{saw("a", 0, 100), saw("b", 0, 0)}, 124, hours(124)},
		{"another alone counts for nobody else", []firstseen.Told{saw("b", 0, 100), saw("c", 0, 0)}, 500, none},
		{"an instant ahead is none", []firstseen.Told{saw("b", 0, 201), saw("a", 0, 100)}, 110, none},
		{"a node that is not active counts not", []firstseen.Told{saw("retired", 0, 100), saw("a", 0, 101)}, 110, none},
		{"it was there when the fleet first looked", []firstseen.Told{saw("a", 1, 1), saw("b", 2, 2)}, 3, old},
		{"and for others that have it only later", []firstseen.Told{saw("b", 1, 1), saw("c", 2, 2), saw("a", 0, 100)}, 101, old},
		{"a node that looks first within a day of the fleet is a part of that", []firstseen.Told{saw("a", 23, 23), saw("b", 0, 0), saw("c", 1, 0)}, 24, old},
		{"one that comes later is not", []firstseen.Told{saw("a", 26, 26), saw("b", 0, 0), saw("c", 1, 0)}, 27, none},
		{"what another saw come before its first look is not old", []firstseen.Told{saw("a", 7, 7), saw("b", 0, 6), saw("c", 1, 0)}, 30, hours(6)},
		{"nobody saw it", []firstseen.Told{saw("a", 0, 0), saw("b", 0, 0)}, 100, none},
		{"seen before the first look is malformed", []firstseen.Told{saw("a", 50, 40), saw("b", 50, 40)}, 100, none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			who := firstseen.Who{Self: "a", Now: hours(tt.now), Active: func(n string) bool { return n != "retired" }}
			if got := dateOf(who, tt.told...); !got.Equal(tt.want) {
				t.Errorf("Date at +%vh = %s, want %s", tt.now, got, tt.want)
			}
			slices.Reverse(tt.told)
			if got := dateOf(who, append(tt.told, tt.told...)...); !got.Equal(tt.want) {
				t.Errorf("Date of the same in another order, and twice = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestAFleetOfOneDatesByItself(t *testing.T) {
	who := firstseen.Who{Self: "a", Alone: true, Now: hours(200)}
	if got := dateOf(who, saw("a", 0, 100)); !got.Equal(hours(100)) {
		t.Errorf("Date = %s, want the only sighting", got)
	}
	if got := dateOf(who, saw("a", 0, 100), saw("b", 0, 5)); !got.Equal(hours(100)) {
		t.Errorf("Date = %s: a stranger counted", got)
	}
	if got := dateOf(who, saw("a", 3, 3)); !got.Equal(firstseen.Old()) {
		t.Errorf("Date = %s, want old: it was there at the first look", got)
	}
	// A second node joins, and dates do not move.
	who.Alone, who.Active = false, func(string) bool { return true }
	if got := dateOf(who, saw("a", 0, 100), saw("b", 190, 190)); !got.Equal(hours(124)) {
		t.Errorf("Date = %s, want a day after the first sighting", got)
	}
}

// What a node remembers of others gives the dates that they gave, whatever the order and however often it is told.
func TestOrderAndMemoryDoNotMatter(t *testing.T) {
	names := strings.Split("abcdefghijklmnopqrstuvwxyz", "")
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		var told []firstseen.Told
		for range r.IntN(40) {
			first := float64(r.IntN(40))
			seen := first
			if r.IntN(2) == 0 {
				seen += float64(r.IntN(100))
			}
			told = append(told, saw(names[r.IntN(len(names))], first, seen))
		}
		who := firstseen.Who{Self: "a", Now: hours(float64(r.IntN(200))), Active: func(n string) bool { return n < "x" }}
		want := firstseen.Wanted{}
		want.Add(openssl)
		book := firstseen.Open(who, want, told)
		date := book.Date(openssl)
		mixed := slices.Clone(told)
		r.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		mixed = append(mixed, told[:r.IntN(len(told)+1)]...)
		if got := firstseen.Open(who, want, mixed).Date(openssl); !got.Equal(date) {
			t.Fatalf("seed %d: %s, in another order %s", seed, date, got)
		}
		if date.After(who.Now) {
			t.Fatalf("seed %d: a date ahead", seed)
		}
		own := slices.DeleteFunc(slices.Clone(told), func(t firstseen.Told) bool { return t.Node != "a" })
		again := firstseen.Open(who, want, append(own, book.Remember()...))
		if got := again.Date(openssl); !got.Equal(date) {
			t.Fatalf("seed %d: %s, from memory %s", seed, date, got)
		}
		// A node that lies brings the date no further back than the first honest sighting that counts.
		liar := saw("w2", -5000, -5000+float64(r.IntN(6000)))
		lied := firstseen.Open(who, want, append(slices.Clone(told), liar)).Date(openssl)
		var earliest time.Time
		for _, one := range names {
			of := slices.DeleteFunc(slices.Clone(told), func(t firstseen.Told) bool { return t.Node != one })
			w := who
			w.Self, w.Alone = one, true
			if d := firstseen.Open(w, want, of).Date(openssl); one < "x" && !d.IsZero() && (earliest.IsZero() || d.Before(earliest)) {
				earliest = d
			}
		}
		if !lied.IsZero() && lied.Before(earliest) {
			t.Fatalf("seed %d: a liar moved %s to %s, before %s", seed, date, lied, earliest)
		}
	}
}

func TestNamesHaveOneHarmlessForm(t *testing.T) {
	if got := firstseen.Archive(security); got != archive {
		t.Errorf("Archive = %q", got)
	}
	if got := firstseen.Archive(schema.Origin{Origin: "a/b", Label: "é\n<", Codename: "x"}); got != "a%2Fb/%C3%A9%0A%3C/x/" {
		t.Errorf("Archive = %q", got)
	}
	if got := firstseen.Archive(schema.Origin{Component: "main"}) + firstseen.Archive(schema.Origin{Origin: strings.Repeat("ü", 1000)}); got != "" {
		t.Errorf("Archive of none = %q", got)
	}
	if got := firstseen.Version(openssl); got != version {
		t.Errorf("Version = %q", got)
	}
	untrusted := security
	untrusted.Trusted, untrusted.Label = false, "Evil"
	if got := firstseen.Archives(schema.PackageFact{Origins: []schema.Origin{untrusted, security, security}}); len(got) != 1 || got[0] != archive {
		t.Errorf("Archives = %q, want the trusted one", got)
	}
	if got := firstseen.Archives(schema.PackageFact{Origins: []schema.Origin{untrusted}}); len(got) != 1 {
		t.Errorf("Archives = %q, want the one that has it", got)
	}
}

func TestWhatIsMalformedIsNotValid(t *testing.T) {
	record := func(name, at, version string) schema.SeenRecord {
		return schema.SeenRecord{Archives: map[string]schema.SeenArchive{name: {First: hours(0), Seen: map[string][]string{at: {version}}}}}
	}
	at := firstseen.Stamp(hours(1))
	if !firstseen.Valid(record(archive, at, version)) {
		t.Error("a good record is not valid")
	}
	for i, r := range []schema.SeenRecord{
		{},
		record("a/b/c", at, version), record(archive+"\n", at, version), record(archive, "2026-03-01", version), record(archive, at, "openssl"),
		record(archive, at, "openssl <b>"), record(archive, firstseen.Stamp(hours(-1)), version), record(archive, "2026-03-01T08:00:00+01:00", version),
		record(archive, at, "a "+strings.Repeat("1", 400)),
		{Archives: map[string]schema.SeenArchive{archive: {First: hours(0).Add(1), Seen: map[string][]string{}}}},
		{Archives: map[string]schema.SeenArchive{archive: {First: hours(0), Seen: map[string][]string{at: {"b 1", "a 1"}}}}},
		{Archives: map[string]schema.SeenArchive{archive: {First: hours(0), Seen: map[string][]string{at: {"a 1", "a 1"}}}}},
	} {
		if firstseen.Valid(r) {
			t.Errorf("record %d is valid: %v", i, r)
		}
	}
}

func TestOthersAreCounted(t *testing.T) {
	want := firstseen.Wanted{}
	want.Add(openssl)
	var told []firstseen.Told
	for i := range 30 {
		told = append(told, saw(fmt.Sprint("n", i), 0, float64(i+1)))
	}
	told = append(told, saw("a", 0, 50))
	b := firstseen.Open(firstseen.Who{Self: "a", Now: hours(100), Active: func(string) bool { return true }}, want, told)
	if n := b.Others(archive, version); n < firstseen.Witnesses || b.Looked(archive) != 30 || b.Others("x", version) != 0 || b.Looked("x") != 0 {
		t.Errorf("Others = %d, Looked = %d", n, b.Looked(archive))
	}
	if n := len(b.Remember()); n > 2*firstseen.Witnesses {
		t.Errorf("%d are remembered", n)
	}
}
