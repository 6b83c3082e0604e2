package agent

import (
	"testing"
	"time"
)

// All nodes ask for what a heartbeat names and they lack: a large fleet takes its time, since a forge bears 15 questions a second.
func TestAFleetAsksForWhatIsMissingAsTheRemoteBears(t *testing.T) {
	for nodes, want := range map[int]time.Duration{1: 5 * time.Minute, 3_000: 5 * time.Minute, 10_000: 1_000 * time.Second} {
		if got := askWithin(nodes); got != want {
			t.Errorf("askWithin(%d) = %v, want %v", nodes, got, want)
		}
	}
	var w withheld
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	w.begin(beat{by: "clock"}, now, now, 7*time.Minute)
	if got := w.due(now); got != now.Add(hearsay+7*time.Minute) {
		t.Errorf("it is asked at %v", got)
	}
	if w.mayAsk(now) || !w.mayAsk(now.Add(8*time.Minute)) || w.mayAsk(now.Add(9*time.Minute)) {
		t.Error("it is asked before its turn, or not once")
	}
	// Another that is missing right after asks for no more than the first.
	w.end()
	w.begin(beat{by: "clock"}, now.Add(9*time.Minute), now, 0)
	if got, least := w.due(now.Add(9*time.Minute)), now.Add(hearsay+7*time.Minute+leastDoubt); got.Before(least) {
		t.Errorf("it is asked again at %v, before %v", got, least)
	}
}
