package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/journal"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/reconciler/fight"
	"github.com/dunlin-dev/dunlin/schema"
)

// period is the time between two looks at the whole host.
const period = time.Minute

// sharedJournal lets the lanes of one agent write down what they do. Each lane has a journal of its own: what one has
// under way is nothing that the other must look at again.
type sharedJournal struct {
	dir string
	now func() time.Time

	mu sync.Mutex
	j  *journal.Journal
}

// open gives the journal, opened anew after an error.
func (s *sharedJournal) open() (*journal.Journal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.j == nil {
		j, err := journal.Open(s.dir, s.now)
		if err != nil {
			return nil, err
		}
		s.j = j
	}
	return s.j, nil
}

// close is for the end, and after an error of a pass: what could not be written is cut off when it is opened again.
func (s *sharedJournal) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.j != nil {
		_ = s.j.Close()
		s.j = nil
	}
}

// enforcer is the lane that keeps everything but patches right. Its fields belong to its loop.
type enforcer struct {
	a       *Agent
	journal sharedJournal
	fights  fight.Tracker
	failed  failures
	seen    map[string]sighting // by the resource of a hint
	pace    pace
	heard   map[string]bool // hints that no pass has looked at yet
	plan    schema.Plan     // of the last whole pass that ended well
	names   []string        // of its resources, in their order
	commit  string          // and its commit
	proven  map[string]bool // ports that were blocked for good under commit
	working time.Time       // since when somebody changes packages; zero for nobody
	held    time.Time       // when services that wait for that are looked at again; zero for none
	watched host.Watched
	drifts  <-chan []host.Drift
	unwatch context.CancelFunc
}

// enforce looks at the host when a policy, an event or the clock calls for it, and puts right what differs.
func (a *Agent) enforce(ctx context.Context) error {
	e := &enforcer{a: a, journal: sharedJournal{dir: filepath.Join(a.o.Config.State, journalFolder), now: a.now}, unwatch: func() {},
		failed: failures{}, seen: map[string]sighting{}, heard: map[string]bool{}, proven: map[string]bool{}}
	defer e.journal.close()
	defer func() { e.unwatch() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	// due is when a pass that an event calls for may be made.
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	for {
		a.pulses.idle("enforce")
		whole := true
		select {
		case <-ctx.Done():
			return nil
		case <-a.passes:
		case <-timer.C:
		case <-due.C:
			whole = false
		case lot, open := <-e.drifts:
			if !open {
				e.drifts, e.watched = nil, host.Watched{}
				continue
			}
			e.hear(lot)
			whole = false
		}
		if !whole {
			if wait, ok := e.due(); !ok || wait > 0 {
				e.wake(due, wait, ok)
				continue
			}
		}
		a.pulses.busy("enforce")
		start, fruitful := time.Now(), false
		heard := e.heard
		e.heard = map[string]bool{}
		if whole || !e.canPart(heard) {
			// Whole minutes, so that a window's first and last instant are met.
			began := a.now()
			timer.Reset(untilMinute(began))
			fruitful = e.pass(ctx)
			if o := e.plan.Patching.Next; o != nil && o.Start.After(began) { // some windows open between them
				timer.Reset(soonest(untilMinute(began)-time.Since(start), o.Start.Sub(a.now())))
			}
		} else {
			fruitful = e.partPass(ctx, heard)
		}
		if !whole {
			e.pace.passed(start, time.Now(), fruitful)
		}
		wait, ok := e.due()
		e.wake(due, wait, ok)
	}
}

// untilMinute is how long until the next whole minute.
func untilMinute(now time.Time) time.Duration {
	return period - time.Duration(now.UnixNano()%int64(period))
}

// soonest is how long until the first of two moments, of which a long pass may have gone by.
func soonest(minute, opening time.Duration) time.Duration { return max(0, min(minute, opening)) }

// wake sets the timer for what was heard.
func (e *enforcer) wake(due *time.Timer, wait time.Duration, ok bool) {
	if due.Stop(); ok {
		due.Reset(wait)
	}
}

// pass looks at everything but patches, mends it, and says how the host fares. fruitful is that something was changed.
func (e *enforcer) pass(ctx context.Context) (fruitful bool) {
	a := e.a
	policy, line, ok := a.inForce()
	if !ok {
		a.publishState()
		return false
	}
	l := a.localFor("enforce")
	plan, err := l.PlanAgain(ctx, policy, line.Node(), true)
	if err != nil {
		if ctx.Err() == nil {
			a.problem("pass", "the host cannot be judged: "+one(err))
		}
		return false
	}
	for _, w := range plan.Warnings {
		l.tell("warning: %s", w)
	}
	if policy.Commit != e.commit {
		clear(e.failed)
		clear(e.proven)
		e.recall(policy.Commit)
	}
	quick := e.quick(plan)
	changes, ok := e.converge(ctx, policy, quick, nil)
	if !ok {
		return false
	}
	fruitful = anyChanged(changes)
	changes = append(changes, patchChanges(plan, changes)...)
	a.mu.Lock()
	a.plan, a.patching = plan, plan.Patching
	a.account = schema.Account{Commit: policy.Commit, Changes: changes}
	a.mu.Unlock()
	e.commit, e.plan, e.names = policy.Commit, plan, make([]string, len(plan.Resources))
	for i := range plan.Resources {
		e.names[i] = plan.Resources[i].Name()
	}
	e.watch(ctx, quick)
	a.patches.consider(plan, policy.Commit, a.now())
	a.publishState()
	return fruitful
}

// recall leaves alone what an agent reverted under a commit that this one puts into force again after a start.
func (e *enforcer) recall(commit string) {
	j, err := e.journal.open()
	if err != nil {
		return // nothing is changed then, and the pass says why
	}
	for _, c := range j.Reverted(commit) {
		e.failed[c.Resource] = failure{change: c}
	}
}

// converge takes the host to a plan and keeps account of failures and fights; with kinds only those are looked at. ok
// is false where the pass ended early, which has been told then.
func (e *enforcer) converge(ctx context.Context, policy Policy, quick schema.Plan, kinds map[schema.Kind]bool) (changes []schema.Change, ok bool) {
	a := e.a
	j, err := e.journal.open()
	if err != nil {
		a.problem("pass", "nothing is changed on this host, since it cannot be written down: "+one(err))
		return nil, false
	}
	if j.SetAside != "" {
		a.log().Warn("the journal was damaged: restarts that an earlier pass owed are not known", "kept", j.SetAside)
		j.SetAside = ""
	}
	l := a.localFor("enforce")
	v := l.vault(policy, quick.Node)
	pass := l.pass(policy, quick, j, v)
	delete(pass.Kinds, schema.KindPatch)
	if a.patches.isBusy() {
		delete(pass.Kinds, schema.KindPackage)
	}
	if kinds != nil {
		pass.LeaveOwed = true
		if k, ok := pass.Kinds[schema.KindService].(serviceKind); ok {
			pass.Kinds[schema.KindService] = steadyServices{k}
		}
		maps.DeleteFunc(pass.Kinds, func(k schema.Kind, _ reconciler.Kind) bool { return !kinds[k] })
	}
	if !e.allProven(quick) {
		pass.Reachable = a.reachable
	}
	pass.Progress = func(s reconciler.Step) {
		if s.Done != nil && s.Done.Result == schema.Failed && ctx.Err() != nil {
			return // a look that was cut says nothing of the host
		}
		a.tell(s)
	}
	start := time.Now()
	changes, err = v.converge(ctx, pass, quick)
	if err == nil {
		err = ctx.Err() // what could not be looked at any more counts as failed in there
	}
	if err != nil {
		e.journal.close()
		if ctx.Err() == nil {
			a.problem("pass", "the pass ended early: "+one(err))
		}
		return nil, false
	}
	a.problem("pass", "")
	e.hearMore()
	e.settleFights(policy.Commit, changes)
	changes = e.failed.settle(quick.Resources, changes, a.now(), time.Since(start))
	e.prove(quick, changes)
	e.hold(changes, a.now())
	return changes, true
}

// tell logs what a pass does.
func (a *Agent) tell(s reconciler.Step) {
	if c := s.Done; c != nil {
		log := a.log().Info
		if c.Result != schema.Changed && c.Result != schema.Waiting && c.Result != schema.WouldChange {
			log = a.log().Warn
		}
		if c.Result == schema.Changed || c.Result == schema.Failed || c.Result == schema.Reverted {
			log("change", "resource", c.Resource, "action", c.Action, "want", c.Want, "got", c.Got, "result", c.Result, "reason", c.Reason)
		}
		return
	}
	if progress := a.o.Local.Progress; progress != nil {
		progress(s)
	}
}

// quick is the plan without patches, and without what must wait: a resource that somebody keeps changing back or that
// just failed, packages while patches are installed, and services to be started while somebody changes packages.
func (e *enforcer) quick(plan schema.Plan) schema.Plan {
	now := e.a.now()
	busy, atWork := e.a.patches.isBusy(), e.atWork(now)
	out := plan
	out.Resources = nil
	for _, r := range plan.Resources {
		if r.Kind == schema.KindPatch || busy && r.Kind == schema.KindPackage {
			continue
		}
		name := r.Name()
		switch {
		case r.Wait != "":
		case e.failed.alone(name, now):
			r.Wait = "it failed just now"
		case !e.fights.Allowed(name, now):
			r.Wait = e.fightText(name, now)
		case atWork != "" && r.Service != nil && r.Service.Running != nil && *r.Service.Running:
			// Maintainer scripts stop services that must not run while they are exchanged.
			r.Wait = packagesChange + atWork
		}
		out.Resources = append(out.Resources, r)
	}
	return out
}

func (e *enforcer) fightText(resource string, now time.Time) string {
	for _, f := range e.fights.Fights(now) {
		if f.Resource == resource {
			return fightText(f)
		}
	}
	return "something else on this host changes it back"
}

func fightText(f fight.Fight) string {
	return fmt.Sprintf("%s changes it back: corrected %d times since %s, tried again at %s",
		cmp.Or(f.Who, "something else on this host"), f.Corrections, f.Since.UTC().Format(time.RFC3339), f.Until.UTC().Format(time.RFC3339))
}

// allProven reports whether every port that the plan blocks was blocked for good under this very commit, and others
// were reached with it: to put such a block back needs no proof that it cuts nobody off.
func (e *enforcer) allProven(plan schema.Plan) bool {
	for _, r := range plan.Resources {
		if r.Kind == schema.KindPort && !e.proven[r.Name()] {
			return false
		}
	}
	return true
}

// prove notes the ports that are blocked for good.
func (e *enforcer) prove(plan schema.Plan, changes []schema.Change) {
	open := map[string]bool{}
	for _, c := range changes {
		open[c.Resource] = open[c.Resource] || c.Result != schema.Changed
	}
	for _, r := range plan.Resources {
		if name := r.Name(); r.Kind == schema.KindPort && !open[name] {
			e.proven[name] = true
		}
	}
}

// settleFights counts corrections: what was right under this commit and had to be made right again. One that did not last
// until it was looked at counts if somebody was seen changing it.
func (e *enforcer) settleFights(commit string, changes []schema.Change) {
	now := e.a.now()
	if commit == e.commit {
		for _, c := range changes {
			who := e.who(c.Resource)
			if c.Action != schema.Restart && (c.Result == schema.Changed || c.Result == schema.Failed && who != "") {
				e.fights.Corrected(c.Resource, who, now)
			}
		}
	}
	e.a.problem("fight", fightsText(e.fights.Fights(now)))
}

// toldFights bounds the fights that are told of one by one.
const toldFights = 4

// fightsText is what is left alone, as one line. What one program does to many of a kind is told once.
func fightsText(fs []fight.Fight) string {
	type group struct{ kind, who string }
	var order []group
	of := map[group][]fight.Fight{}
	for _, f := range fs {
		kind, _, _ := strings.Cut(f.Resource, ":")
		g := group{kind, f.Who}
		if of[g] == nil {
			order = append(order, g)
		}
		of[g] = append(of[g], f)
	}
	var all []string
	for _, g := range order[:min(len(order), toldFights)] {
		what := of[g][0].Resource
		if more := len(of[g]) - 1; more > 0 {
			what += fmt.Sprintf(" and %d more", more)
		}
		all = append(all, what+": "+fightText(of[g][0]))
	}
	if more := len(order) - toldFights; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}

// patchChanges are the patches of a plan as changes that wait; those that the patch lane tells of come from there.
func patchChanges(plan schema.Plan, have []schema.Change) []schema.Change {
	var out []schema.Change
	if p := plan.Patching.Problem; p != "" {
		out = append(out, schema.Change{Resource: allPatches, Action: schema.Upgrade, Result: schema.Failed, Reason: p})
	}
	for _, r := range plan.Resources {
		if r.Kind != schema.KindPatch {
			continue
		}
		wait := r.Wait
		if wait == "" {
			wait = "it is installed in the window that is open"
		}
		c := schema.Change{Resource: r.Name(), Action: schema.Upgrade, Result: schema.Waiting, Reason: wait}
		if r.Patch != nil {
			c.Want = r.Patch.Package.Version
		}
		out = append(out, c)
	}
	return out
}

// watch makes sure that what the plan names is watched.
func (e *enforcer) watch(ctx context.Context, plan schema.Plan) {
	if e.a.o.Watch == nil {
		return
	}
	w := watchedOf(plan)
	if e.drifts != nil && slices.Equal(w.Files, e.watched.Files) && slices.Equal(w.Units, e.watched.Units) && w.Ports == e.watched.Ports && w.Packages == e.watched.Packages {
		return
	}
	e.unwatch()
	watching, stop := context.WithCancel(ctx)
	w.Log = func(text string) { e.a.log().Warn(text, "what", "watch") }
	drifts, err := e.a.o.Watch(watching, w)
	if err != nil {
		stop()
		e.unwatch, e.drifts = func() {}, nil
		e.a.problem("watch", "what changes on this host is found by looking once a minute: "+one(err))
		return
	}
	e.a.problem("watch", "")
	e.watched, e.drifts, e.unwatch = w, drifts, stop
	// What changed before the watch stood is found by looking once more.
	e.a.passes.raise()
}

// watchedOf is what of a plan an event can tell of.
func watchedOf(plan schema.Plan) host.Watched {
	w := host.Watched{Packages: true}
	units := map[string]bool{}
	for _, r := range plan.Resources {
		switch r.Kind {
		case schema.KindFile:
			w.Files = append(w.Files, r.Key)
		case schema.KindService:
			units[r.Key] = true
		case schema.KindPort:
			w.Ports = true
		}
	}
	slices.Sort(w.Files)
	w.Units = slices.Sorted(maps.Keys(units))
	return w
}

// reachable is asked before a block of ports is made permanent: the agent must still reach a peer, or, alone, its remote.
func (a *Agent) reachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var err error
	for {
		if err = a.reach(ctx); err == nil {
			return nil
		}
		if !sleep(ctx, time.Second) {
			return fmt.Errorf("after it nothing was reached: %w", err)
		}
	}
}

var errNobody = errors.New("no other node is online")

// probe opens a new connection to some of the peers that are online, until one answers. Those that stand prove nothing: a
// block does not cut them.
func (a *Agent) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ids := slices.DeleteFunc(a.here(), func(id string) bool { return id == a.keys.ID() })
	const most = 5
	ids = ids[:min(len(ids), most)]
	if len(ids) == 0 {
		return errNobody
	}
	results := make(chan error, most)
	next := time.NewTimer(0)
	defer next.Stop()
	var last error
	for begun, ended := 0, 0; ended < len(ids); {
		select {
		case <-next.C:
			if begun < len(ids) {
				id := ids[begun]
				begun++
				go func() { results <- a.peers.Probe(ctx, id) }()
				next.Reset(hedge)
			}
		case err := <-results:
			if err == nil {
				cancel()
				for ; ended < begun-1; ended++ {
					<-results
				}
				return nil
			}
			last = err
			ended++
			if begun == ended {
				next.Reset(0)
			}
		}
	}
	return last
}

// reach asks one peer that is online, any, or else the remote. A host that reached neither before may not be asked to
// reach them now.
func (a *Agent) reach(ctx context.Context) error {
	a.mu.Lock()
	connected := a.remote.Error == "" && !a.remote.LastRead.IsZero()
	a.mu.Unlock()
	var last error
	if a.peers != nil {
		if last = a.probe(ctx); last == nil {
			return nil
		}
		if errors.Is(last, errNobody) {
			last = nil
		}
	}
	if last == nil && !connected {
		return nil
	}
	short, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if _, err := a.policies.Head(short); err != nil {
		return err
	}
	return nil
}
