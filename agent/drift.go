package agent

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/reconciler/kind/service"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// passGap is the least time between passes that events call for, after freePasses at once; it doubles with each
	// that finds nothing to do, up to fruitlessGap. If that takes long it is given nine times as long a rest, up to longestGap.
	passGap      = 50 * time.Millisecond
	fruitlessGap = 500 * time.Millisecond
	longestGap   = 10 * time.Second
	freePasses   = 10
	// sightingTime is how long who was seen changing something counts for what is found to differ.
	sightingTime = 10 * time.Second
	maxSeen      = 4096
	// retryFailed is how long what could not be put right is left alone; it doubles up to retryFailedMost, so that each
	// periodic pass tries again. What takes long to fail waits ten times as long, up to retrySlowMost.
	retryFailed     = 2 * time.Second
	retryFailedMost = 45 * time.Second
	slowFailure     = time.Second
	retrySlowMost   = 15 * time.Minute
)

// pace spaces the passes that events call for: some are made at once, and none is made so often that the host is kept
// busy by it.
type pace struct {
	used      float64 // of freePasses, at since
	since     time.Time
	gap       time.Duration
	fruitless int // passes in a row that found nothing to do
}

// wait is how long until a pass may be made.
func (p *pace) wait(now time.Time) time.Duration {
	if p.gap > 0 {
		p.used = max(0, p.used-float64(now.Sub(p.since))/float64(p.gap))
	}
	if p.since = now; p.used == 0 {
		p.fruitless = 0
	}
	return time.Duration(max(0, p.used+1-freePasses) * float64(p.gap))
}

// passed notes a pass; one that found nothing to do makes the next one wait longer. How often there is something to do
// for others' sake is bounded by what counts as a fight.
func (p *pace) passed(start, end time.Time, fruitful bool) {
	_ = p.wait(end)
	p.used = min(p.used+1, freePasses)
	if fruitful {
		p.fruitless, p.gap = 0, passGap
		return
	}
	p.fruitless++
	p.gap = max(min(passGap<<min(p.fruitless, 10), fruitlessGap), min(9*end.Sub(start), longestGap))
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
	heard  bool      // of since: it is tried again as soon as it may be
}

// hear takes hints.
func (e *enforcer) hear(lot []host.Drift) {
	now := e.a.now()
	for _, d := range lot {
		if d.Who != "" {
			if len(e.seen) >= maxSeen {
				clear(e.seen)
			}
			e.seen[d.Resource] = sighting{d.Who, now}
		}
		for name, f := range e.failed {
			if name == d.Resource || d.Resource == "" || strings.HasSuffix(d.Resource, ":") && strings.HasPrefix(name, d.Resource) {
				f.heard = true
				e.failed[name] = f
			}
		}
		if !e.leftAlone(d.Resource, now) {
			e.heard[d.Resource] = true
		}
	}
}

// hearMore takes hints that came during a pass: who changed what it put right is among them.
func (e *enforcer) hearMore() {
	for {
		select {
		case lot, open := <-e.drifts:
			if !open {
				e.drifts, e.watched = nil, host.Watched{}
				return
			}
			e.hear(lot)
		default:
			return
		}
	}
}

// due is how long until what was heard calls for a pass; ok is false where nothing does. What failed is tried again when
// its time has come, and what is fought over by the periodic pass.
func (e *enforcer) due() (wait time.Duration, ok bool) {
	now := e.a.now()
	ok = len(e.heard) > 0
	for name, f := range e.failed {
		switch {
		case !f.heard || f.until.IsZero():
		case !now.Before(f.until):
			f.heard = false
			e.failed[name] = f
			e.heard[name] = true
			wait, ok = 0, true
		case !ok || len(e.heard) == 0 && f.until.Sub(now) < wait:
			wait, ok = f.until.Sub(now), true
		}
	}
	if again := e.held.Sub(now); !e.held.IsZero() && again <= 0 {
		e.held = time.Time{}
		e.heard["service:"] = true
		wait, ok = 0, true
	} else if !e.held.IsZero() && (!ok || len(e.heard) == 0 && again < wait) {
		wait, ok = again, true
	}
	if ok {
		wait = max(wait, e.pace.wait(time.Now()))
	}
	return wait, ok
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

// steadyServices sees no difference in units that are on their way. Who restarts a unit needs no help, and the end of the
// way is heard; one that does not get there is found by the periodic pass.
type steadyServices struct{ serviceKind }

type serviceKind interface {
	reconciler.Kind
	Restart(ctx context.Context, name string) error
}

func (s steadyServices) Check(ctx context.Context, rs []schema.Resource) []schema.Checked {
	out := s.serviceKind.Check(ctx, rs)
	for i := range out {
		out[i].Drift = slices.DeleteFunc(out[i].Drift, service.OnItsWay)
	}
	return out
}

// maxAtWork is how long services are left to whoever changes packages: a program that waits for an answer that nobody
// gives must not keep them down for ever.
// While they differ they are looked at every lookAgain.
const (
	maxAtWork = 15 * time.Minute
	lookAgain = 2 * time.Second
)

// packagesChange begins the reason why a service waits for whoever changes packages.
const packagesChange = "packages are being changed: "

// atWork says who changes packages now; empty for nobody, and for one who takes too long.
func (e *enforcer) atWork(now time.Time) string {
	p, ok := e.a.o.Local.Packages.(interface{ AtWork() string })
	if !ok {
		return ""
	}
	who := p.AtWork()
	switch {
	case who == "":
		e.working = time.Time{}
	case e.working.IsZero():
		e.working = now
	case now.Sub(e.working) > maxAtWork:
		return ""
	}
	return who
}

// hold sees to it that services which wait for whoever changes packages are looked at again.
func (e *enforcer) hold(changes []schema.Change, now time.Time) {
	if slices.ContainsFunc(changes, func(c schema.Change) bool { return strings.HasPrefix(c.Reason, packagesChange) }) {
		e.held = now.Add(lookAgain)
	}
}

// canPart reports whether what was heard can be answered by a look at a part of the last plan: under the same policy, and
// where it is known what to look at. What may be done when, and what packages there are, only a whole pass finds out.
func (e *enforcer) canPart(heard map[string]bool) bool {
	policy, _, ok := e.a.inForce()
	return ok && e.commit != "" && policy.Commit == e.commit && !heard[""] && !heard["package:"]
}

// partPass looks at what was heard of and mends it. All else stays in the account as it is.
func (e *enforcer) partPass(ctx context.Context, heard map[string]bool) (fruitful bool) {
	a := e.a
	policy, _, ok := a.inForce()
	if !ok {
		return false
	}
	// Services are there to be restarted. A kind that undoes what no policy names must see all that one does.
	kinds := map[schema.Kind]bool{schema.KindFile: true, schema.KindService: true, schema.KindPort: heard["port:"]}
	part := e.plan
	part.Resources = nil
	for i, name := range e.names {
		if r := &e.plan.Resources[i]; kinds[r.Kind] && (heard[name] || heard[string(r.Kind)+":"]) {
			part.Resources = append(part.Resources, *r)
		}
	}
	quick := e.quick(part)
	looked := map[string]bool{}
	for _, r := range quick.Resources {
		looked[r.Name()] = true
	}
	changes, ok := e.converge(ctx, policy, quick, kinds)
	if !ok {
		return false
	}
	a.mu.Lock()
	before := a.account.Changes
	after := slices.DeleteFunc(slices.Clone(before), func(c schema.Change) bool { return looked[c.Resource] })
	after = append(after, changes...)
	same := slices.Equal(before, after)
	a.account.Changes = after
	a.mu.Unlock()
	if !same {
		a.publishState()
	}
	return anyChanged(changes)
}

// anyChanged reports whether a pass put something right.
func anyChanged(changes []schema.Change) bool {
	return slices.ContainsFunc(changes, func(c schema.Change) bool { return c.Result == schema.Changed })
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

// settle takes the changes of a pass over these resources, which took that long. What is left alone gets the words of
// its failure.
func (f failures) settle(rs []schema.Resource, changes []schema.Change, now time.Time, took time.Duration) []schema.Change {
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
	for _, r := range rs {
		name := r.Name()
		c, isBad := bad[name]
		switch x := f[name]; {
		case !isBad:
			delete(f, name)
		case c.Resource == "": // left alone as before
		case c.Result == schema.Reverted:
			f[name] = failure{change: c} // and not tried again under this commit
		default:
			x.change, x.times, x.heard = c, x.times+1, false
			wait := min(retryFailed<<min(x.times-1, 10), retryFailedMost)
			// What could not even be looked at has taken no time; something else in the pass has.
			if blind := c.Action == schema.Update && c.Want == "" && c.Got == ""; !blind && took > slowFailure {
				wait = min(max(wait, 10*took), retrySlowMost)
			}
			x.until = now.Add(wait)
			f[name] = x
		}
	}
	return changes
}
