package gitrepo

import "time"

// Bounds of a Pacer.
const (
	// MinInterval is the least time between two polls.
	MinInterval = time.Second
	// MaxBackoff is the longest time between two polls of a remote that fails.
	MaxBackoff = 15 * time.Minute
)

// Pacer says when a remote is asked next. It holds no clock and no random source of its own.
type Pacer struct {
	interval time.Duration
	random   func() float64
	failures int
}

// NewPacer polls each interval (at least MinInterval). random gives numbers in [0,1); equal numbers give equal times.
func NewPacer(interval time.Duration, random func() float64) *Pacer {
	return &Pacer{interval: max(interval, MinInterval), random: random}
}

// Next is when to poll again after one poll that ended at now with err. Each failure in a row doubles the wait, up to
// MaxBackoff (or the interval where that is longer); one success ends the back-off. The wait varies by up to a fifth
// either way, so that hosts which started together do not ask together.
func (p *Pacer) Next(now time.Time, err error) time.Time {
	if err == nil {
		p.failures = 0
	} else if p.failures < 62 {
		p.failures++
	}
	limit := max(MaxBackoff, p.interval)
	wait := p.interval
	for i := 0; i < p.failures && wait < limit; i++ {
		if wait > limit/2 {
			wait = limit
		} else {
			wait *= 2
		}
	}
	r := min(max(p.random(), 0), 1)
	wait = time.Duration(float64(wait) * (0.8 + 0.4*r))
	// The interval itself may vary upwards; a back-off stops at the limit.
	if p.failures > 0 {
		wait = min(wait, limit)
	}
	return now.Add(max(wait, MinInterval))
}

// Failures is how many polls in a row have failed.
func (p *Pacer) Failures() int { return p.failures }
