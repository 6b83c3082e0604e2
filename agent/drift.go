package agent

import (
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// passGap is the least time between passes that events call for, after a few at once; a pass that takes long is
	// given nine times as long a rest, up to longestGap.
	passGap    = 500 * time.Millisecond
	longestGap = 10 * time.Second
	freePasses = 4
	// sightingTime is how long who was seen changing something counts for what is found to differ.
	sightingTime = 10 * time.Second
	// retryFailed is how long what could not be put right is left alone; it doubles up to retryFailedMost, so that each
	// periodic pass tries again. What takes long to fail waits ten times as long, up to retrySlowMost.
	retryFailed     = 2 * time.Second
	retryFailedMost = 45 * time.Second
	slowFailure     = time.Second
	retrySlowMost   = 15 * time.Minute
)

// pace spaces the passes that events call for: the first few are made at once, and none is made so often that the host
// is kept busy by it.
type pace struct {
	next time.Time // when one would be due if they came evenly
	gap  time.Duration
}

// wait is how long until a pass may be made.
func (p *pace) wait(now time.Time) time.Duration {
	return max(0, p.next.Sub(now)-(freePasses-1)*max(p.gap, passGap))
}

// passed notes a pass that began at start.
func (p *pace) passed(start, end time.Time) {
	p.gap = min(max(9*end.Sub(start), passGap), longestGap)
	if p.next.Before(start) {
		p.next = start
	}
	p.next = p.next.Add(p.gap)
}

// sighting is somebody who was seen changing something.
type sighting struct {
	who string
	at  time.Time
}

// failure is what could not be put right under the commit in force.
type failure struct {
	change schema.Change
	times  int
	until  time.Time // it is left alone until then; zero for as long as the commit is in force
}

// hear takes hints; it reports whether they call for a pass. What is left alone calls for none.
func (e *enforcer) hear(lot []host.Drift) bool {
	now := e.a.now()
	due := false
	for _, d := range lot {
		if d.Who != "" {
			e.seen[d.Resource] = sighting{d.Who, now}
		}
		due = due || !e.leftAlone(d.Resource, now)
	}
	return due
}

// leftAlone reports whether all that a hint may be of is left alone at now.
func (e *enforcer) leftAlone(resource string, now time.Time) bool {
	alone := func(name string) bool { return e.failed.alone(name, now) || !e.fights.Allowed(name, now) }
	if !strings.HasSuffix(resource, ":") {
		return resource != "" && alone(resource)
	}
	any := false
	for _, name := range e.names {
		if strings.HasPrefix(name, resource) {
			if any = true; !alone(name) {
				return false
			}
		}
	}
	return any
}

// who was lately seen changing a resource, or others of its kind that cannot be told apart.
func (e *enforcer) who(resource string) string {
	now := e.a.now()
	kind, _, _ := strings.Cut(resource, ":")
	for _, key := range []string{resource, kind + ":"} {
		if s, ok := e.seen[key]; ok && now.Sub(s.at) <= sightingTime {
			return s.who
		}
	}
	return ""
}

// failures are by resource.
type failures map[string]failure

func (f failures) alone(resource string, now time.Time) bool {
	x, ok := f[resource]
	return ok && (x.until.IsZero() || now.Before(x.until))
}

// settle takes the changes of a pass over the named resources, which took that long. What is left alone gets the words of its failure.
func (f failures) settle(names []string, changes []schema.Change, now time.Time, took time.Duration) []schema.Change {
	bad := map[string]schema.Change{}
	for i, c := range changes {
		if x, ok := f[c.Resource]; ok && c.Result == schema.Waiting && f.alone(c.Resource, now) {
			changes[i].Result, changes[i].Reason = x.change.Result, x.change.Reason
			bad[c.Resource] = schema.Change{}
			continue
		}
		if c.Result == schema.Failed || c.Result == schema.Reverted {
			bad[c.Resource] = c
		}
	}
	for _, name := range names {
		c, isBad := bad[name]
		switch x := f[name]; {
		case !isBad:
			delete(f, name)
		case c.Resource == "": // left alone as before
		case c.Result == schema.Reverted:
			f[name] = failure{change: c} // and not tried again under this commit
		default:
			x.change, x.times = c, x.times+1
			wait := min(retryFailed<<min(x.times-1, 10), retryFailedMost)
			if took > slowFailure {
				wait = min(max(wait, 10*took), retrySlowMost)
			}
			x.until = now.Add(wait)
			f[name] = x
		}
	}
	return changes
}
