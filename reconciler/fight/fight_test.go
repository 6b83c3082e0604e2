package fight_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/reconciler/fight"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

func TestThreeCorrectionsInAMinuteAreAFight(t *testing.T) {
	var tr fight.Tracker
	for i := range 2 {
		tr.Corrected("port:in/tcp/23/any", "nft (pid 7)", at(time.Duration(i)*10*time.Second))
		if !tr.Allowed("port:in/tcp/23/any", at(time.Duration(i)*10*time.Second)) {
			t.Fatalf("left alone after %d corrections", i+1)
		}
	}
	tr.Corrected("port:in/tcp/23/any", "", at(20*time.Second))
	if tr.Allowed("port:in/tcp/23/any", at(79*time.Second)) {
		t.Fatal("corrected a third time within a minute and not left alone")
	}
	fs := tr.Fights(at(30 * time.Second))
	if len(fs) != 1 || fs[0].Who != "nft (pid 7)" || fs[0].Corrections != 3 || !fs[0].Until.Equal(at(80*time.Second)) || !fs[0].Since.Equal(start) {
		t.Fatalf("fights %+v", fs)
	}
	if !tr.Allowed("port:in/tcp/23/any", at(80*time.Second)) || !tr.Allowed("file:/etc/motd", at(30*time.Second)) {
		t.Fatal("a truce goes on past its end, or holds for another resource")
	}
}

func TestSlowCorrectionsAreNoFight(t *testing.T) {
	var tr fight.Tracker
	for i := range 100 {
		now := at(time.Duration(i) * 31 * time.Second)
		tr.Corrected("file:/etc/motd", "", now)
		if !tr.Allowed("file:/etc/motd", now) {
			t.Fatalf("correction %d at one in 31 s", i+1)
		}
	}
}

func TestTrucesGrowAndEnd(t *testing.T) {
	var tr fight.Tracker
	now := start
	for range 3 {
		tr.Corrected("r", "x", now)
	}
	var waits []time.Duration
	for range 6 {
		f := tr.Fights(now)
		if len(f) != 1 {
			t.Fatalf("no fight at %s", now)
		}
		waits = append(waits, f[0].Until.Sub(now))
		now = f[0].Until
		tr.Corrected("r", "x", now)
	}
	want := []time.Duration{1, 2, 4, 8, 15, 15}
	for i := range want {
		if waits[i] != want[i]*time.Minute {
			t.Fatalf("truces %v, want minutes %v", waits, want)
		}
	}
	now = tr.Fights(now)[0].Until.Add(fight.Forget)
	tr.Corrected("r", "x", now)
	if !tr.Allowed("r", now) {
		t.Fatal("an old fight was not forgotten")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var tr fight.Tracker
	for i := range 20000 {
		name := fmt.Sprint(i)
		for range 3 {
			tr.Corrected(name, "", at(time.Duration(i)*time.Millisecond))
		}
	}
	if n := len(tr.Fights(at(20 * time.Second))); n > 4096 {
		t.Fatalf("%d resources remembered", n)
	}
}
