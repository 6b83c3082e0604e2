package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// clockEvery is how often this node's clock is held against others', clockSoon where there were too few of them.
	clockEvery = 10 * time.Minute
	clockSoon  = 20 * time.Second
	// clockOff is how far it may be off before nothing is started whose moment matters.
	clockOff = 2 * time.Minute
	// clockJump is how far the clock may differ from the time that has passed before it is looked at out of turn.
	clockJump = 30 * time.Second
	// clockGrace is how long after its start a node waits for others to hold its clock against.
	clockGrace = 5 * time.Minute
	// clocks is how many others are asked, clockTries how many may fail to answer.
	clocks     = 5
	clockTries = 10
)

// watchClock holds this host's clock against others' now and then, and when it was set.
func (a *Agent) watchClock(ctx context.Context) error {
	if a.peers == nil {
		<-ctx.Done()
		return nil
	}
	wait := 5 * time.Second
	for {
		wall, began := a.now().Round(0), time.Now()
		for left := wait; left > 0; left = wait - time.Since(began) {
			if !sleep(ctx, min(left, clockSoon)) {
				return nil
			}
			if jump := a.now().Round(0).Sub(wall) - time.Since(began); jump.Abs() > clockJump {
				a.log().Warn("the clock was set", "by_s", int(jump.Seconds()))
				break
			}
		}
		a.pulses.busy("clock")
		wait = clockEvery + a.jitter(clockEvery/4)
		if a.checkClock(ctx) != nil {
			wait = clockSoon + a.jitter(clockSoon)
		}
		a.pulses.idle("clock")
	}
}

// errFewClocks says that too few others answered: one clock cannot tell which of the two is wrong.
var errFewClocks = errors.New("fewer than two other nodes tell their time")

// checkClock holds this host's clock against those of a few others, always the same as long as they are here. With most of
// them against it nothing is started whose moment matters; what is in force stays enforced. So a node that lies about its
// time stops nobody: more than half of those asked must, to stop one.
func (a *Agent) checkClock(ctx context.Context) error {
	var off []time.Duration
	tries := 0
	for _, id := range ranked("clock "+a.keys.ID(), a.here()) {
		if id == a.keys.ID() {
			continue
		}
		if d, err := a.offset(ctx, id); err == nil {
			off = append(off, d)
		} else if tries++; tries > clockTries {
			break
		}
		if len(off) == clocks {
			break
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if len(off) < 2 {
		return errFewClocks
	}
	a.mu.Lock()
	a.clockAt = time.Now()
	a.mu.Unlock()
	a.problem("clock", clockProblem(off))
	return nil
}

// trustClock looks at the clock before something begins whose moment matters, unless that was done just now. It gives why
// nothing may begin yet: soon after the start others are not found yet. A host that is cut off for longer is on its own.
func (a *Agent) trustClock(ctx context.Context) (wait string) {
	a.mu.Lock()
	at, nodes := a.clockAt, len(a.pins)
	a.mu.Unlock()
	if a.peers == nil || nodes < 3 || !at.IsZero() && time.Since(at) < time.Minute {
		return ""
	}
	if a.checkClock(ctx) != nil && at.IsZero() && time.Since(a.began) < clockGrace {
		return clockUnknown
	}
	return ""
}

// clockUnknown is why nothing begins as long as too few others were found.
const clockUnknown = "the clock was not held against those of other nodes yet"

// offset is how far this node's clock is ahead of another's, less what the way there may explain.
func (a *Agent) offset(ctx context.Context, id string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	sent := a.now()
	body, err := a.askPeer(ctx, id, "/v1/time")
	if err != nil {
		return 0, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, 64))
	if err != nil {
		return 0, err
	}
	ms, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("node %s tells no time: %w", id, err)
	}
	got := a.now()
	return sent.Add(got.Sub(sent) / 2).Sub(time.UnixMilli(ms)), nil
}

// clockProblem is what is wrong with a clock that is off by these against others; empty where most agree with it.
func clockProblem(off []time.Duration) string {
	off = slices.Sorted(slices.Values(off))
	median := off[len(off)/2]
	if len(off)%2 == 0 && median.Abs() > off[len(off)/2-1].Abs() {
		median = off[len(off)/2-1]
	}
	if median.Abs() <= clockOff {
		return ""
	}
	word := "ahead of"
	if median < 0 {
		word = "behind"
	}
	return fmt.Sprintf("this host's clock is %s %s those of %d other nodes: no window is trusted and no patch installed until it is set",
		median.Abs().Round(time.Second), word, len(off))
}
