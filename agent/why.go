package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// maxExplained is how many items one answer explains.
	maxExplained = 4096
	// maxItemName bounds the name of an item in bytes: a path and its kind.
	maxItemName = 4200
	// factsTime is how long another node is waited for that has facts which would explain more.
	factsTime = 5 * time.Second
)

// itemNode is the item of an explanation that is about a node as a whole.
const itemNode = "node"

// Scan holds this host against its baseline under the commit in force.
func (a *Agent) Scan(ctx context.Context) (schema.Patching, error) {
	p, line, err := a.managed()
	if err != nil {
		return schema.Patching{}, err
	}
	a.looks.Lock()
	defer a.looks.Unlock()
	plan, err := a.o.Local.Plan(ctx, p, line.Node())
	return plan.Patching, err
}

// worded is an error that callers know as err and that says it in words of its own.
type worded struct {
	text string
	err  error
}

func (e worded) Error() string { return e.text }
func (e worded) Unwrap() error { return e.err }

// managed is the policy in force and this host's line; it fails where nothing is enforced here.
func (a *Agent) managed() (Policy, schema.RosterLine, error) {
	p, line, active := a.inForce()
	switch {
	case p.Commit == "":
		return p, line, api.ErrNoPolicy
	case !active:
		return p, line, worded{fmt.Sprintf("nothing is in force on this host: its id %s is not an active node of the roster in %s", a.keys.ID(), short(p.Commit)), api.ErrNoPolicy}
	}
	return p, line, nil
}

// Explain says why a node is as it is: this host by looking now, another from what it told, what it reported of its
// packages, and the policy in force here.
func (a *Agent) Explain(ctx context.Context, node, item string, all bool) (api.Explained, error) {
	if len(item) > maxItemName {
		return api.Explained{}, fmt.Errorf("an item of %d bytes is longer than %d: %w", len(item), maxItemName, api.ErrNoItem)
	}
	if node == "" {
		if _, _, err := a.managed(); err != nil {
			return api.Explained{}, err
		}
	}
	line, err := a.node(node)
	if err != nil {
		return api.Explained{}, err
	}
	state, heard := a.states()[line.ID]
	p, _, _ := a.inForce()
	a.mu.Lock()
	v := a.viewOf(line, state, heard)
	a.mu.Unlock()
	x := api.Explained{Node: line.Name, Status: v.Status, LastSeen: v.LastSeen, Problem: v.Problem, Commit: v.Commit,
		Here: p.Commit, Own: line.ID == a.keys.ID(), Types: []api.Verdict{}, Items: []schema.Explanation{}}
	if line.State != schema.NodeActive {
		x.Items = append(x.Items, schema.Explanation{Node: x.Node, Item: itemNode, State: string(v.Status),
			Reason: fmt.Sprintf("it is %s in the roster: nothing is enforced there", line.State)})
		return x, nil
	}
	for _, t := range complianceOf(v, state.Types) {
		x.Types = append(x.Types, api.Verdict{Type: t.Type, State: t.State})
	}
	if x.Own {
		err = a.explainOwn(ctx, &x, p, line.Node(), item, all)
	} else {
		err = a.explainOther(ctx, &x, p, line, state, item, all)
	}
	if u, ok := errors.AsType[*UnknownItemError](err); ok {
		return x, worded{u.Error(), api.ErrNoItem}
	}
	if n := len(x.Items); n > maxExplained {
		x.Items, x.More = x.Items[:maxExplained], n-maxExplained
	}
	return x, err
}

// explainOwn looks at this host now. Where something is still as the last pass left it, that pass has the better words:
// why it failed, or who changes it back.
func (a *Agent) explainOwn(ctx context.Context, x *api.Explained, p Policy, n schema.Node, item string, all bool) error {
	a.looks.Lock()
	defer a.looks.Unlock()
	items, err := a.o.Local.explain(ctx, p, n, item)
	if err != nil {
		return err
	}
	last := map[string]schema.Change{}
	if account := a.Account(); account.Commit == p.Commit {
		for _, c := range account.Changes {
			last[c.Resource] = c
		}
	}
	for _, e := range items {
		if e.Patch == nil && e.State != string(schema.ResourceCompliant) {
			switch c := last[e.Item]; c.Result {
			case schema.Failed, schema.Reverted, schema.Denied, schema.Conflict, schema.Waiting:
				e.State = string(c.Result)
				if c.Reason != "" {
					e.Reason = c.Reason
				}
			}
		}
		if e.Policy != "" {
			x.Managed++
		}
		if item != "" || all || e.State != string(schema.ResourceCompliant) {
			x.Items = append(x.Items, e)
		}
	}
	return nil
}

// other is what can be known here of another node.
type other struct {
	policy   Policy
	plan     schema.Plan
	told     map[string]schema.Explanation // by item, what counts against it
	order    []string                      // of told
	complete map[schema.Kind]bool          // kinds of which all that counts against it was told
	same     bool                          // it holds the commit that is in force here
	facts    bool                          // its packages are known here
	unheard  bool
}

func (a *Agent) explainOther(ctx context.Context, x *api.Explained, p Policy, line schema.RosterLine, s schema.StateRecord, item string, all bool) error {
	o := other{policy: p, told: map[string]schema.Explanation{}, complete: map[schema.Kind]bool{}, same: s.Commit == p.Commit, unheard: len(s.Types) == 0}
	var facts schema.Facts
	facts, o.facts = a.reportedFacts(ctx, line.ID)
	problem := ""
	if !o.facts {
		problem = "its packages are not known here"
	}
	o.plan = reconciler.Plan(reconciler.Inputs{Repo: p.Repo, Node: line.Node(), Facts: facts, FactsProblem: problem, Now: a.now(), Compare: inventory.CompareVersions})
	for _, t := range s.Types {
		o.take(t)
	}
	for _, r := range o.plan.Resources {
		if r.Kind != schema.KindPatch {
			x.Managed++
		}
	}
	var items []schema.Explanation
	switch {
	case item != "":
		e, err := o.item(item)
		if err != nil {
			return err
		}
		items = append(items, e)
	case o.unheard:
		for _, t := range x.Types {
			items = append(items, schema.Explanation{Item: t.Type, State: string(t.State), Reason: "the node told nothing yet"})
		}
	default:
		for _, name := range o.order {
			items = append(items, o.told[name])
		}
		for _, r := range o.plan.Resources {
			if _, known := o.told[r.Name()]; all && !known && r.Kind != schema.KindPatch {
				items = append(items, o.resource(r))
			}
		}
	}
	for _, e := range items {
		e.Node, e.Told = x.Node, true
		if x.Status != schema.Online {
			e.LastSeen = x.LastSeen
		}
		if e.Unknown == "" && e.Item != allPatches {
			e.Unknown = fmt.Sprintf("what is on the host now; ask there: dunlin explain %s", e.Item)
		}
		if o.unheard {
			e.Unknown = "how the host is; ask there: dunlin status"
		}
		x.Items = append(x.Items, e)
	}
	return nil
}

// take notes what a node told of one type of compliance.
func (o *other) take(t schema.TypeCompliance) {
	for _, i := range t.Items {
		e := schema.Explanation{Item: i.ID, State: i.State, Reason: i.Reason}
		if t.Type == typePatch && i.ID != allPatches {
			e.Item = string(schema.KindPatch) + ":" + i.ID
			o.explainPatch(&e, i.ID)
			if i.State == string(schema.Missing) {
				e.Window = cmp.Or(o.plan.Patching.Opening, o.plan.Patching.Next)
			}
		}
		for _, r := range o.plan.Resources {
			if r.Name() == e.Item && r.Kind != schema.KindPatch {
				o.of(&e, r)
			}
		}
		o.told[e.Item] = e
		o.order = append(o.order, e.Item)
	}
	if t.More == 0 && t.State != schema.UnspecifiedData {
		kinds := []schema.Kind{schema.KindPort, schema.KindFile, schema.KindPackage, schema.KindService, schema.KindSysctl, schema.KindUser}
		if t.Type == typePatch {
			kinds = []schema.Kind{schema.KindPatch}
		}
		for _, k := range kinds {
			o.complete[k] = true
		}
	}
}

// of says who wants a resource.
func (o *other) of(e *schema.Explanation, r schema.Resource) {
	e.Policy, e.Mode, e.Severity, e.Restart = r.Policy, r.Mode, r.Severity, o.plan.Restart[r.Policy]
	if r.Position.File != "" {
		e.Position = &r.Position
	}
}

// explainPatch says which rule a patch is of, where the node's packages are known here.
func (o *other) explainPatch(e *schema.Explanation, id string) {
	pt := o.plan.Patching
	for _, p := range pt.Judgement.Patches {
		if p.ID != id {
			continue
		}
		e.Baseline, e.Because, e.Severity, e.Patch, e.Rule = pt.Baseline, pt.Because, p.ComplianceLevel, &p, p.Rule+1
		e.Want, e.Got = p.Package.Version, p.Package.Version
		e.Position = ruleAt(o.policy, pt.Baseline, p.Rule)
		return
	}
}

// resource explains what the node did not name among what counts against it.
func (o *other) resource(r schema.Resource) schema.Explanation {
	e := schema.Explanation{Item: r.Name()}
	o.of(&e, r)
	switch {
	case o.unheard:
		e.State, e.Reason = string(schema.UnspecifiedData), "the node told nothing yet"
	case !o.same:
		e.State, e.Reason = string(schema.UnspecifiedData), "the node does not name it among what counts against it, but it holds another commit than this one"
	case !o.complete[r.Kind]:
		e.State, e.Reason = string(schema.UnspecifiedData), "more counts against the node than it told, and this may be among it"
	default:
		e.State, e.Reason = string(schema.ResourceCompliant), "the node does not name it among what counts against it"
	}
	return e
}

// item explains one item.
func (o *other) item(item string) (schema.Explanation, error) {
	if e, ok := o.told[item]; ok {
		return e, nil
	}
	chosen, isPatch := patchNamed(item)
	if !isPatch {
		for _, r := range o.plan.Resources {
			if r.Name() == item {
				return o.resource(r), nil
			}
		}
		return schema.Explanation{}, unknown(item, o.plan)
	}
	id := strings.TrimPrefix(item, string(schema.KindPatch)+":")
	for _, name := range o.order { // the name of a package will do
		if strings.HasPrefix(name, item+".") {
			return o.told[name], nil
		}
	}
	if at := slices.IndexFunc(o.plan.Patching.Judgement.Patches, chosen); at >= 0 {
		p := o.plan.Patching.Judgement.Patches[at]
		e := schema.Explanation{Item: string(schema.KindPatch) + ":" + p.ID, State: string(p.State), Reason: p.Reason + "; by the packages that the node reported"}
		o.explainPatch(&e, p.ID)
		return e, nil
	}
	if o.facts {
		return schema.Explanation{}, unknown(item, o.plan)
	}
	e := schema.Explanation{Item: item, State: string(schema.UnspecifiedData), Reason: "its packages are not known here"}
	if o.complete[schema.KindPatch] {
		e.Reason = fmt.Sprintf("the node does not name it among what counts against it; whether it has %s is not known here", id)
	}
	return e, nil
}

// reportedFacts are the packages of another node, from the facts file that its signed report line names and from
// what it says of newer versions. ok is false where
// they cannot be had, and where the fleet reports none.
func (a *Agent) reportedFacts(ctx context.Context, id string) (f schema.Facts, ok bool) {
	for _, r := range a.records.Of(schema.RecordReport) {
		line, is := decode[schema.ReportLine](r)
		if r.Node != id || !is {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, factsTime)
		defer cancel()
		b, err := a.factsOf(ctx, id, line.Facts)
		if err != nil {
			return f, false
		}
		f, faults := schema.ParseFacts(b)
		if schema.Refused(faults) || len(f.Installed) == 0 {
			return f, false
		}
		if f.Candidates != nil {
			return f, true // an earlier version, which has both in one
		}
		part, err := a.factsOf(ctx, id, a.catalogsTold()[id].Candidates)
		if err != nil {
			return f, false
		}
		f.Candidates, err = report.Candidates(part)
		if err != nil {
			return f, false
		}
		if p, _, ok := a.inForce(); ok && datesFirstSeen(p.Repo) {
			report.Date(f.Candidates, who(p.Repo, id, a.now()), a.seenTold(""))
		}
		return f, true
	}
	return f, false
}
