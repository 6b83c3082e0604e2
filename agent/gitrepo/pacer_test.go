package gitrepo

import (
	"errors"
	"testing"
	"time"
)

func TestPacer(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := 0.5
	p := NewPacer(15*time.Second, func() float64 { return at })
	wait := func(err error) time.Duration { return p.Next(now, err).Sub(now).Round(time.Millisecond) }
	if got := wait(nil); got != 15*time.Second {
		t.Errorf("success: %v", got)
	}
	bad := errors.New("no")
	for i, want := range []time.Duration{30, 60, 120, 240, 480, 900, 900, 900} {
		if got := wait(bad); got != want*time.Second {
			t.Errorf("failure %d: %v, want %v", i+1, got, want*time.Second)
		}
	}
	at = 1
	if got := wait(bad); got > MaxBackoff {
		t.Errorf("jitter passes the limit: %v", got)
	}
	for range 200 {
		wait(bad)
	}
	at = 0.5
	if got := wait(nil); got != 15*time.Second || p.Failures() != 0 {
		t.Errorf("a success does not end the back-off: %v", got)
	}
	at = 0
	if got := wait(nil); got != 12*time.Second {
		t.Errorf("least jitter: %v", got)
	}
	at = 0.999999
	if got := wait(nil); got != 18*time.Second {
		t.Errorf("most jitter: %v", got)
	}
	at = 0
	if got := NewPacer(0, func() float64 { return 0 }).Next(now, nil).Sub(now); got != MinInterval {
		t.Errorf("least interval: %v", got)
	}
}
