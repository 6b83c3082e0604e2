package agent

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/reconciler/fight"
	"github.com/dunlin-dev/dunlin/schema"
)

func TestPassesForEventsAreMadeAtOnceUntilThereAreMany(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var p pace
	for i := range freePasses {
		if w := p.wait(now); w != 0 {
			t.Fatalf("pass %d waits %s", i+1, w)
		}
		p.passed(now, now, true)
	}
	if w := p.wait(now); w != passGap {
		t.Errorf("the next one waits %s, want %s", w, passGap)
	}
	now = now.Add(passGap)
	if w := p.wait(now); w != 0 {
		t.Errorf("after its gap it waits %s more", w)
	}
}

// A window ends at a whole minute that a pass may have gone by while it waited for the next opening.
func TestTheNextLookIsAtTheFirstOfTwoMoments(t *testing.T) {
	for _, tt := range []struct {
		name                  string
		minute, opening, want time.Duration
	}{
		{"an opening before the minute", 40 * time.Second, 30 * time.Second, 30 * time.Second},
		{"an opening after it", 40 * time.Second, time.Hour, 40 * time.Second},
		{"the pass has gone by the minute", -time.Second, time.Hour, 0},
		{"the pass has gone by the opening", 40 * time.Second, -time.Second, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := soonest(tt.minute, tt.opening); got != tt.want {
				t.Errorf("soonest(%v, %v) = %v, want %v", tt.minute, tt.opening, got, tt.want)
			}
		})
	}
}

func TestEventsThatComeAllTheTimeKeepNoHostBusy(t *testing.T) {
	for _, tt := range []struct {
		name     string
		takes    time.Duration
		fruitful bool
		most     int           // passes a minute
		wait     time.Duration // at most, between two
	}{
		{"and find nothing", time.Millisecond, false, 125 + freePasses, fruitlessGap},
		{"and find something", time.Millisecond, true, 1200 + freePasses, passGap},
		{"on a slow host", 500 * time.Millisecond, false, 15 + freePasses, 5 * time.Second},
		{"on a host that hangs", time.Minute, false, freePasses + 1, longestGap},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			end := now.Add(time.Minute)
			var p pace
			passes := 0
			for now.Before(end) {
				w := p.wait(now)
				if w > tt.wait {
					t.Fatalf("waits %s, want at most %s", w, tt.wait)
				}
				now = now.Add(w)
				start := now
				now = now.Add(tt.takes)
				p.passed(start, now, tt.fruitful)
				passes++
			}
			if passes > tt.most {
				t.Errorf("%d passes a minute, want at most %d", passes, tt.most)
			}
		})
	}
}

func TestWhatFailedIsLeftAloneForAWhile(t *testing.T) {
	f := failures{}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	rs := []schema.Resource{{Kind: schema.KindService, Key: "a"}, {Kind: schema.KindService, Key: "b"}}
	failed := schema.Change{Resource: "service:a", Action: schema.Start, Result: schema.Failed, Reason: "exit code 1"}
	waits := schema.Change{Resource: "service:a", Action: schema.Start, Result: schema.Waiting, Reason: "it failed just now"}
	var pauses []time.Duration
	for range 8 {
		f.settle(rs, []schema.Change{failed}, now, time.Millisecond)
		if f.alone("service:b", now) || !f.alone("service:a", now) {
			t.Fatal("the wrong one is left alone")
		}
		pauses = append(pauses, f["service:a"].until.Sub(now))
		// Meanwhile it goes on to be told as failed.
		got := f.settle(rs, []schema.Change{waits}, now, time.Millisecond)
		if diff := cmp.Diff([]schema.Change{failed}, got); diff != "" {
			t.Errorf("while it is left alone (-want +got):\n%s", diff)
		}
		now = f["service:a"].until
		if f.alone("service:a", now) {
			t.Fatal("left alone for longer than it says")
		}
	}
	want := []time.Duration{2, 4, 8, 16, 32, 45, 45, 45}
	for i, w := range want {
		if pauses[i] != w*time.Second {
			t.Fatalf("pauses %v, want seconds %v", pauses, want)
		}
	}
	f.settle(rs, []schema.Change{failed}, now, 90*time.Second)
	if got := f["service:a"].until.Sub(now); got != 15*time.Minute {
		t.Errorf("what took 90 s to fail is left alone for %s, want 15 min", got)
	}
	clear(f)
	f.settle(rs, []schema.Change{{Resource: "service:a", Action: schema.Update, Result: schema.Failed, Reason: "check service: systemd does not answer"}}, now, 90*time.Second)
	if got := f["service:a"].until.Sub(now); got != 2*time.Second {
		t.Errorf("what could not be looked at in a pass of 90 s is left alone for %s, want 2 s", got)
	}
	// It is right by itself, and may be tried at once when it differs again.
	f.settle(rs, nil, now, time.Millisecond)
	if f.alone("service:a", now) {
		t.Error("left alone though it is right")
	}
}

func TestWhatIsRevertedIsNotTriedAgainUnderItsCommit(t *testing.T) {
	f := failures{}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	rs := []schema.Resource{{Kind: schema.KindPort, Key: "in/tcp/23/any"}}
	f.settle(rs, []schema.Change{{Resource: "port:in/tcp/23/any", Action: schema.Block, Result: schema.Reverted, Reason: "no peer"}}, now, time.Minute)
	for range 3 {
		now = now.Add(30 * 24 * time.Hour)
		if !f.alone("port:in/tcp/23/any", now) {
			t.Fatal("tried again")
		}
		got := f.settle(rs, []schema.Change{{Resource: "port:in/tcp/23/any", Action: schema.Block, Result: schema.Waiting}}, now, time.Second)
		if got[0].Result != schema.Reverted || got[0].Reason != "no peer" {
			t.Errorf("told as %+v, want Reverted", got[0])
		}
	}
}

func TestHintsOfWhatIsLeftAloneCallForNoPass(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	e := &enforcer{a: &Agent{o: Options{Local: Local{Now: func() time.Time { return now }}}}, failed: failures{}, seen: map[string]sighting{}, heard: map[string]bool{}}
	e.names = []string{"port:in/tcp/23/any", "port:in/tcp/25/any", "file:/etc/motd"}
	fights := func(name string) {
		for range fight.Corrections {
			e.fights.Corrected(name, "nft (pid 7)", now)
		}
	}
	fights("port:in/tcp/23/any")
	e.failed["file:/etc/motd"] = failure{until: now.Add(time.Minute)}
	for _, tt := range []struct {
		lot  []host.Drift
		want bool
	}{
		{[]host.Drift{{Resource: "port:"}}, true}, // the other port may differ
		{[]host.Drift{{Resource: "file:/etc/motd"}}, false},
		{[]host.Drift{{Resource: "file:"}}, false},
		{[]host.Drift{{Resource: "service:"}}, true}, // of which nothing is known
		{[]host.Drift{{}}, true},
		{[]host.Drift{{Resource: "package:"}}, true},
		{[]host.Drift{{Resource: "file:/etc/motd"}, {Resource: "file:/etc/issue"}}, true},
	} {
		e.hear(tt.lot)
		if wait, ok := e.due(); (ok && wait == 0) != tt.want {
			t.Errorf("after %v a pass is due %v in %s, want at once %v", tt.lot, ok, wait, tt.want)
		}
		clear(e.heard)
	}
	fights("port:in/tcp/25/any")
	e.hear([]host.Drift{{Resource: "port:", Who: "nft (pid 8)"}})
	if len(e.heard) > 0 {
		t.Error("a pass for ports that are both left alone")
	}
	// What failed and was heard of is tried again when its time has come, and only then.
	if wait, ok := e.due(); !ok || wait != time.Minute {
		t.Errorf("a pass is due %v in %s, want in a minute", ok, wait)
	}
	now = now.Add(time.Minute)
	if wait, ok := e.due(); !ok || wait != 0 || !e.heard["file:/etc/motd"] {
		t.Errorf("a pass is due %v in %s for %v, want at once for the file", ok, wait, e.heard)
	}
	clear(e.heard)
	if _, ok := e.due(); ok {
		t.Error("tried once more though nothing was heard")
	}
	now = now.Add(-time.Minute)
	if got := e.who("port:in/tcp/23/any"); got != "nft (pid 8)" {
		t.Errorf("seen %q, want nft", got)
	}
	now = now.Add(sightingTime + time.Second)
	if got := e.who("port:in/tcp/23/any"); got != "" {
		t.Errorf("seen %q long ago", got)
	}
}

func TestFightsAreToldInALine(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var fs []fight.Fight
	add := func(who string, resources ...string) {
		for _, r := range resources {
			fs = append(fs, fight.Fight{Resource: r, Who: who, Since: at, Corrections: 3, Until: at.Add(time.Minute)})
		}
	}
	add("", "file:/a")
	add("nft (pid 7 of flush.service)", "port:in/tcp/23/any", "port:in/tcp/24/any", "port:in/tcp/25/any")
	add("iptables (pid 8)", "port:in/tcp/26/any")
	add("", "service:x", "service:y", "sysctl:z", "user:a")
	want := "file:/a: something else on this host changes it back: corrected 3 times since 2026-03-01T12:00:00Z, tried again at 2026-03-01T12:01:00Z; " +
		"port:in/tcp/23/any and 2 more: nft (pid 7 of flush.service) changes it back: corrected 3 times since 2026-03-01T12:00:00Z, tried again at 2026-03-01T12:01:00Z; " +
		"port:in/tcp/26/any: iptables (pid 8) changes it back: corrected 3 times since 2026-03-01T12:00:00Z, tried again at 2026-03-01T12:01:00Z; " +
		"service:x and 1 more: something else on this host changes it back: corrected 3 times since 2026-03-01T12:00:00Z, tried again at 2026-03-01T12:01:00Z; " +
		"and 2 more"
	if got := fightsText(fs); got != want {
		t.Errorf("told as %q, want %q", got, want)
	}
	if got := fightsText(nil); got != "" {
		t.Errorf("no fight is told as %q", got)
	}
}
