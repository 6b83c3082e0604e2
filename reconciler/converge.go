package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dunlin-dev/dunlin/schema"
)

// A Kind checks and applies the resources of one kind; the packages below kind have one each.
type Kind interface {
	// Check reports, in the order of rs, how the host differs. It changes nothing.
	Check(ctx context.Context, rs []schema.Resource) []schema.Checked
	// Apply makes resources right that a Check found to differ, and reports in their order what failed.
	Apply(ctx context.Context, rs []schema.Resource) []error
}

// confirmer is a Kind whose effects are provisional until they are confirmed.
type confirmer interface {
	Confirm(ctx context.Context, rs []schema.Resource) error
}

// refuser is a Kind that will not apply some resources at all; a dry run asks it, Apply asks by itself.
type refuser interface {
	Refused(ctx context.Context, rs []schema.Resource) []error
}

// releaser is a Kind that owns what it made, and undoes what no policy names any more.
type releaser interface {
	Stale(ctx context.Context, wanted []schema.Resource) ([]schema.Resource, error)
}

// Journal remembers what a pass is about to do; agent/journal satisfies it.
type Journal interface {
	// Intend forces the intents to disk. done writes their results, one an intent.
	Intend(commit string, intents []schema.Intent) (done func([]schema.Result) error, err error)
	// Owed lists intents of earlier passes without a result.
	Owed() []schema.Intent
	// Settle ends all owed intents of a resource and action with a result.
	Settle(resource string, action schema.Action, res schema.Result) error
}

// Pass is one go at taking a host to its plan.
type Pass struct {
	Commit string
	Kinds  map[schema.Kind]Kind
	// Journal is nil for a dry run, which changes nothing.
	Journal Journal
	Ceiling Ceiling
	// LeaveOwed leaves restarts that an earlier pass could not make to a later one, unless what this pass changes asks
	// for them: a pass over a few resources is no occasion to try them again.
	LeaveOwed bool
	// Reachable is asked before a block of ports is made permanent; nil asks nobody, reading back is enough.
	Reachable func(ctx context.Context) error
	// Progress is told what the pass does; nil tells nobody.
	Progress func(Step)
}

// Step is one thing that a pass tells about itself as it goes.
type Step struct {
	Kind  schema.Kind
	Doing string         // "checking 12 files"; empty with a Change
	Done  *schema.Change // a change as it is made, or why it is not
}

// Converge takes the host to the plan, kind by kind, and returns all that differed or failed, in order.
// Without a journal it only looks. An error ends the pass early, since nothing may be done that cannot be
// written down first; the changes made until then are returned with it.
func (p Pass) Converge(ctx context.Context, plan schema.Plan) ([]schema.Change, error) {
	run := &running{Pass: p, plan: plan, changed: map[string]bool{}, started: map[thing]bool{}, owed: map[string]bool{}}
	if err := run.recall(); err != nil {
		return nil, err
	}
	for _, k := range kindsInOrder() {
		if k == schema.KindPatch {
			// Services are restarted for what policies changed before patches bring changes of their own.
			if err := run.restarts(ctx); err != nil {
				return run.changes, err
			}
		}
		if err := run.kind(ctx, k); err != nil {
			return run.changes, err
		}
		if err := ctx.Err(); err != nil {
			return run.changes, fmt.Errorf("pass ended early: %w", err)
		}
	}
	return run.changes, nil
}

// running is a pass under way.
type running struct {
	Pass
	plan    schema.Plan
	changes []schema.Change
	changed map[string]bool // policies of which something changed
	started map[thing]bool  // services started in this pass
	owed    map[string]bool // services whose restart an earlier pass left undone
}

func (r *running) tell(s Step) {
	if r.Progress != nil {
		r.Progress(s)
	}
}

func (r *running) note(c schema.Change) {
	r.changes = append(r.changes, c)
	r.tell(Step{Done: &c})
}

// kind brings all resources of one kind right.
func (r *running) kind(ctx context.Context, kind schema.Kind) error {
	k, known := r.Kinds[kind]
	wanted := ofKind(r.plan.Resources, kind)
	rs := slices.Clip(wanted)
	if contested := func(w schema.Resource) bool { return w.Contested != "" }; slices.ContainsFunc(wanted, contested) {
		for _, w := range wanted {
			if contested(w) {
				r.note(schema.Change{Resource: w.Name(), Action: schema.Update, Result: schema.Conflict, Reason: w.Contested})
			}
		}
		rs = slices.DeleteFunc(slices.Clone(wanted), contested)
	}
	if !known {
		for _, w := range rs {
			r.note(schema.Change{Resource: w.Name(), Action: schema.Update, Result: schema.Failed, Reason: "this host cannot manage a " + string(kind)})
		}
		return nil
	}
	if s, ok := k.(releaser); ok {
		stale, err := s.Stale(ctx, wanted)
		if err != nil && len(wanted) == 0 && (r.Journal == nil || errors.Is(err, errors.ErrUnsupported)) {
			// Nothing is wanted of this kind, and a dry run may not look or the host cannot have anything of ours.
			return nil
		}
		if err != nil {
			// What is wanted is told by Check with the same words; what should go cannot be told at all.
			r.tell(Step{Kind: kind, Doing: "warning: what no policy names any more cannot be found: " + err.Error()})
		}
		rs = append(rs, stale...)
	}
	if len(rs) == 0 {
		return nil
	}
	r.tell(Step{Kind: kind, Doing: fmt.Sprintf("checking %d of kind %s", len(rs), kind)})
	var refused []error
	if f, ok := k.(refuser); ok && r.Journal == nil {
		refused = f.Refused(ctx, rs)
	}
	_, provisional := k.(confirmer)
	var todo, right []schema.Resource // right only where it is to be confirmed
	var drifts []schema.Drift
	for i, c := range k.Check(ctx, rs) {
		if c.Err != nil {
			r.note(failure(rs[i], c.Drift, c.Err))
			continue
		}
		if len(c.Drift) == 0 {
			if provisional {
				right = append(right, rs[i])
			}
			continue
		}
		outcome, reason := r.mayChange(rs[i])
		if outcome == schema.WouldChange && refused != nil && refused[i] != nil && rs[i].Mode != schema.Audit {
			outcome, reason = schema.Denied, refused[i].Error()
		}
		if outcome != "" {
			for _, d := range c.Drift {
				r.note(change(rs[i], d, outcome, reason))
			}
			if outcome == schema.WouldChange && rs[i].Mode == schema.Enforce {
				r.changed[rs[i].Policy] = true
			}
			continue
		}
		todo, drifts = append(todo, rs[i]), append(drifts, c.Drift)
	}
	if len(todo) > 0 {
		return r.apply(ctx, k, todo, drifts, right)
	}
	// Nothing is provisional here: what a pass that was cut off has left so differs from what is wanted.
	return nil
}

// ofKind gives the resources of one kind. A plan has them side by side, so that they need not be copied.
func ofKind(rs []schema.Resource, kind schema.Kind) []schema.Resource {
	from := slices.IndexFunc(rs, func(r schema.Resource) bool { return r.Kind == kind })
	if from < 0 {
		return nil
	}
	to := from
	for to < len(rs) && rs[to].Kind == kind {
		to++
	}
	if slices.ContainsFunc(rs[to:], func(r schema.Resource) bool { return r.Kind == kind }) {
		return slices.DeleteFunc(slices.Clone(rs), func(r schema.Resource) bool { return r.Kind != kind })
	}
	return rs[from:to]
}

// mayChange says why a drift is left as it is; an empty outcome lets it be mended.
func (r *running) mayChange(res schema.Resource) (schema.Outcome, string) {
	if reason := r.Ceiling.Denies(res); reason != "" {
		return schema.Denied, reason
	}
	switch {
	case res.Wait != "":
		return schema.Waiting, res.Wait
	case res.Mode == schema.Audit:
		return schema.WouldChange, "policy " + res.Policy + " only audits"
	case r.Journal == nil:
		return schema.WouldChange, ""
	}
	return "", ""
}

// apply writes down what it will do, does it, looks again, and writes down what became of it.
// right are resources of the kind that needed nothing.
func (r *running) apply(ctx context.Context, k Kind, rs []schema.Resource, drifts []schema.Drift, right []schema.Resource) error {
	var intents []schema.Intent
	for i, res := range rs {
		for _, d := range drifts[i] {
			intents = append(intents, schema.Intent{Resource: res.Name(), Action: d.Action, Want: d.Want, Got: d.Got, Policy: res.Policy})
		}
	}
	if err := r.owe(rs); err != nil {
		return err
	}
	done, err := r.Journal.Intend(r.Commit, intents)
	if err != nil {
		return err
	}
	r.tell(Step{Kind: rs[0].Kind, Doing: fmt.Sprintf("changing %d of kind %s", len(rs), rs[0].Kind)})
	errs := k.Apply(ctx, rs)
	// What became of it is looked up even where the pass is being ended: the effect has been made.
	after := k.Check(context.WithoutCancel(ctx), rs)
	for i, res := range rs {
		if errs[i] == nil && after[i].Err == nil && len(after[i].Drift) == 0 {
			right = append(right, res)
		}
	}
	unconfirmed, why := r.confirm(ctx, k, right)

	var results []schema.Result
	for i, res := range rs {
		outcome, reason := judge(errs[i], after[i])
		if unconfirmed != "" && outcome == schema.Changed {
			outcome, reason = unconfirmed, why
		}
		for _, d := range drifts[i] {
			r.note(change(res, d, outcome, reason))
			results = append(results, schema.Result{Outcome: outcome, Reason: reason})
			if outcome == schema.Changed && d.Action == schema.Start {
				r.started[identity(res)] = true
			}
		}
		// Also what failed may have changed something before it did.
		if res.Policy != "" && (outcome == schema.Changed || after[i].Err == nil && len(after[i].Drift) == 0) {
			r.changed[res.Policy] = true
		}
	}
	return done(results)
}

// judge says what became of one resource from its error and from looking again.
func judge(err error, after schema.Checked) (schema.Outcome, string) {
	var denied interface{ Denied() bool }
	switch {
	case errors.As(err, &denied) && denied.Denied():
		return schema.Denied, err.Error()
	case err != nil:
		return schema.Failed, err.Error()
	case after.Err != nil:
		return schema.Failed, after.Err.Error()
	case len(after.Drift) > 0:
		d := after.Drift[0]
		return schema.Failed, fmt.Sprintf("still differs after the change: %s, wanted %s", orNothing(d.Got), orNothing(d.Want))
	}
	return schema.Changed, ""
}

func orNothing(s string) string {
	if s == "" {
		return "absent"
	}
	return s
}

// confirm makes provisional effects permanent where they can be. Where they cut off who made them they are reverted, for
// good under this commit; what somebody removed before it was confirmed has failed, and is tried again. An empty outcome
// is that all is well.
func (r *running) confirm(ctx context.Context, k Kind, right []schema.Resource) (schema.Outcome, string) {
	c, ok := k.(confirmer)
	if !ok || len(right) == 0 || r.Journal == nil {
		return "", ""
	}
	if r.Reachable != nil {
		if err := r.Reachable(ctx); err != nil {
			return schema.Reverted, "not confirmed, so the kernel drops it: " + err.Error()
		}
	}
	if err := c.Confirm(ctx, right); err != nil {
		return schema.Failed, "not confirmed: " + err.Error()
	}
	return "", ""
}

func change(res schema.Resource, d schema.Difference, outcome schema.Outcome, reason string) schema.Change {
	return schema.Change{Resource: res.Name(), Want: d.Want, Got: d.Got, Action: d.Action, Result: outcome, Reason: reason,
		Audited: outcome == schema.WouldChange && res.Mode == schema.Audit}
}

// failure is the change of a resource that could not be checked.
func failure(res schema.Resource, drift schema.Drift, err error) schema.Change {
	c := schema.Change{Resource: res.Name(), Action: schema.Update, Result: schema.Failed, Reason: err.Error()}
	if len(drift) > 0 {
		c.Want, c.Got, c.Action = drift[0].Want, drift[0].Got, drift[0].Action
	}
	return c
}
