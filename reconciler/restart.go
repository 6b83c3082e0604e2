package reconciler

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/dunlin-dev/dunlin/schema"
)

// restarter restarts services; the kind of services is one.
type restarter interface {
	Restart(ctx context.Context, name string) error
}

// recall takes up what an earlier pass left without a result. Restarts stay owed; all else is judged
// by the checks of this pass, since looking again is the only way to know what was made of it.
func (r *running) recall() error {
	if r.Journal == nil {
		return nil
	}
	for _, in := range r.Journal.Owed() {
		if in.Action == schema.Restart {
			r.owed[serviceOf(in)] = !r.LeaveOwed
			continue
		}
		r.tell(Step{Doing: "an earlier pass was cut off at " + in.Resource + "; looking again"})
		if err := r.Journal.Settle(in.Resource, in.Action, schema.Result{Outcome: schema.Waiting, Reason: "cut off; judged again by the next pass"}); err != nil {
			return err
		}
	}
	return nil
}

// serviceOf is the service that an intent to restart is about.
func serviceOf(in schema.Intent) string { return in.Resource[len(schema.KindService)+1:] }

// owe writes down the restarts that changes to rs will call for, before the changes are made: a pass that
// is cut off between a file and its service leaves them for the next one.
func (r *running) owe(rs []schema.Resource) error {
	var intents []schema.Intent
	for _, res := range rs {
		for _, service := range r.plan.Restart[res.Policy] {
			in := schema.Intent{Resource: schema.Resource{Kind: schema.KindService, Key: service}.Name(), Action: schema.Restart, Policy: res.Policy}
			if !slices.Contains(intents, in) {
				intents = append(intents, in)
			}
		}
	}
	// Their result is written once they are made, see restarts.
	_, err := r.Journal.Intend(r.Commit, intents)
	return err
}

// restarts restarts the services of policies of which something changed, each once, and those that an
// earlier pass left undone. One that fails stays owed, and is tried again by the next pass.
func (r *running) restarts(ctx context.Context) error {
	if r.Journal == nil {
		r.wouldRestart()
		return nil
	}
	needed := map[string]bool{}
	listed := map[string]bool{}
	for policy, services := range r.plan.Restart {
		for _, s := range services {
			listed[s] = true
			needed[s] = needed[s] || r.changed[policy] || r.owed[s]
		}
	}
	owed := map[string]bool{}
	for _, in := range r.Journal.Owed() {
		owed[serviceOf(in)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(owed)) {
		if try, before := r.owed[name]; before && !try && !needed[name] {
			continue
		}
		res := schema.Resource{Kind: schema.KindService, Key: name}
		result := schema.Result{Outcome: schema.Waiting, Reason: "nothing changed"}
		switch {
		case !listed[name]:
			result.Reason = "no policy asks for it any more"
		case needed[name] && r.started[identity(res)]:
			result = schema.Result{Outcome: schema.Changed, Reason: "started after the change"}
		case needed[name] && r.Ceiling.Denies(res) != "":
			result = schema.Result{Outcome: schema.Denied, Reason: r.Ceiling.Denies(res)}
			r.note(schema.Change{Resource: res.Name(), Want: "restarted", Got: "running since before the change", Action: schema.Restart,
				Result: result.Outcome, Reason: result.Reason})
		case needed[name]:
			c := schema.Change{Resource: res.Name(), Want: "restarted", Got: "running since before the change", Action: schema.Restart, Result: schema.Changed}
			r.tell(Step{Kind: schema.KindService, Doing: "restarting " + name})
			k, ok := r.Kinds[schema.KindService].(restarter)
			if !ok {
				c.Result, c.Reason = schema.Failed, "services cannot be restarted on this host"
			} else if err := k.Restart(ctx, name); err != nil {
				var stopped interface{ Stopped() bool }
				if errors.As(err, &stopped) && stopped.Stopped() {
					result.Reason = err.Error()
					break
				}
				c.Result, c.Reason = schema.Failed, err.Error()
			}
			r.note(c)
			if c.Result == schema.Failed {
				continue
			}
			result = schema.Result{Outcome: schema.Changed}
		}
		if err := r.Journal.Settle(res.Name(), schema.Restart, result); err != nil {
			return err
		}
	}
	return nil
}

// wouldRestart tells which services a pass would restart, where this one only looks.
func (r *running) wouldRestart() {
	told := map[string]bool{}
	for _, policy := range slices.Sorted(maps.Keys(r.plan.Restart)) {
		for _, name := range r.plan.Restart[policy] {
			if r.changed[policy] && !told[name] {
				told[name] = true
				r.note(schema.Change{Resource: schema.Resource{Kind: schema.KindService, Key: name}.Name(), Want: "restarted",
					Got: "running since before the change", Action: schema.Restart, Result: schema.WouldChange})
			}
		}
	}
}
