package agent

import (
	"testing"
	"time"
)

func TestWhatOnePeerMayAsk(t *testing.T) {
	a := newAnswers()
	now := time.Unix(1e9, 0)
	asked := 0
	for range 1000 {
		if a.enter("one", now) {
			asked++
			a.leave("one")
		}
	}
	if asked != int(askBurst) {
		t.Errorf("one node asked %d times at once, want %d", asked, int(askBurst))
	}
	for i, want := range []bool{true, true, false} {
		if got := a.enter("two", now); got != want {
			t.Errorf("question %d of another at a time: answered %v, want %v", i+1, got, want)
		}
	}
	if !a.enter("one", now.Add(10*time.Second)) {
		t.Error("nothing more is answered after ten seconds")
	}
}

// One liar of five stops nobody, and neither do two; three do. Of two others both must say so.
func TestMostClocksMustBeAgainstOne(t *testing.T) {
	h := time.Hour
	for _, tt := range []struct {
		name string
		off  []time.Duration
		bad  bool
	}{
		{"all agree", []time.Duration{0, time.Second, -time.Second, 0, 0}, false},
		{"one of five lies", []time.Duration{0, 0, h, 0, 0}, false},
		{"two of five lie alike", []time.Duration{-h, 0, 0, -h, 0}, false},
		{"two lie, one each way", []time.Duration{-h, 0, 0, h, 0}, false},
		{"three of five", []time.Duration{h, 0, h, h, 0}, true},
		{"one of two", []time.Duration{0, h}, false},
		{"one of two, behind", []time.Duration{-h, 0}, false},
		{"both of two", []time.Duration{h, h}, true},
		{"half of four", []time.Duration{h, h, 0, 0}, false},
		{"three of four", []time.Duration{-h, -h, -h, 0}, true},
		{"just within", []time.Duration{clockOff, clockOff, clockOff}, false},
	} {
		if got := clockProblem(tt.off); (got != "") != tt.bad {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}
