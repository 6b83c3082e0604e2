package agent

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// UnknownItemError says that nothing of that name is managed on the node.
type UnknownItemError struct {
	Item, Node string
	Near       []string // what is, of the same kind, at most a few
}

func (e *UnknownItemError) Error() string {
	s := fmt.Sprintf("nothing manages %q on node %s", e.Item, e.Node)
	if len(e.Near) > 0 {
		s += "; there are " + strings.Join(e.Near, ", ")
	}
	return s
}

// Explain answers for one item, or for everything that policies manage and every patch that is not well where item is empty.
func (l Local) Explain(ctx context.Context, dir, node, item string) ([]schema.Explanation, error) {
	policy, err := l.Policy(ctx, dir, false)
	if err != nil {
		return nil, err
	}
	n, err := l.Node(policy, node)
	if err != nil {
		return nil, err
	}
	return l.explain(ctx, policy, n, item)
}

// explain looks at the host now, and changes nothing.
func (l Local) explain(ctx context.Context, policy Policy, n schema.Node, item string) ([]schema.Explanation, error) {
	plan, err := l.Plan(ctx, policy, n)
	if err != nil {
		return nil, err
	}
	if patch, ok := patchNamed(item); ok {
		return explainPatches(policy, plan, patch, item)
	}
	only := plan
	only.Restart = nil
	only.Resources = slices.DeleteFunc(slices.Clone(plan.Resources), func(r schema.Resource) bool {
		return r.Kind == schema.KindPatch || item != "" && r.Name() != item
	})
	if item != "" && len(only.Resources) == 0 {
		return nil, unknown(item, plan)
	}
	v := l.vault(policy, n)
	changes, err := v.converge(ctx, l.pass(policy, only, nil, v), only)
	if err != nil {
		return nil, err
	}
	var out []schema.Explanation
	for _, r := range only.Resources {
		out = append(out, explainResource(plan, r, changes))
	}
	if item == "" {
		patches, err := explainPatches(policy, plan, notWell, "")
		if err != nil {
			return nil, err
		}
		out = append(out, patches...)
	}
	return out, nil
}

// patchNamed gives what finds the patches of an item; ok is false where the item is no patch.
func patchNamed(item string) (chosen func(schema.Patch) bool, ok bool) {
	id, ok := strings.CutPrefix(item, string(schema.KindPatch)+":")
	return func(p schema.Patch) bool { return p.ID == id || p.Package.Name == id }, ok
}

// notWell chooses the patches that an overview names.
func notWell(p schema.Patch) bool {
	return p.State != schema.Installed && p.State != schema.InstalledOther
}

func explainResource(plan schema.Plan, r schema.Resource, changes []schema.Change) schema.Explanation {
	e := schema.Explanation{
		Node: plan.Node.Name, Item: r.Name(), Policy: r.Policy, Mode: r.Mode, Severity: r.Severity,
		State: string(schema.ResourceCompliant), Restart: plan.Restart[r.Policy],
	}
	if r.Position.File != "" {
		e.Position = &r.Position
	}
	for _, c := range changes {
		if c.Resource != r.Name() {
			continue
		}
		e.Want, e.Got, e.Action, e.Reason = c.Want, c.Got, c.Action, c.Reason
		switch c.Result {
		case schema.WouldChange:
			e.State = string(schema.ResourceNonCompliant)
		default:
			e.State = string(c.Result) // Waiting, Failed, Conflict, Denied are spelled alike
		}
		break
	}
	if e.Reason == "" {
		e.Reason = "as policy " + r.Policy + " wants it"
		if e.State != string(schema.ResourceCompliant) {
			e.Reason = "differs from policy " + r.Policy + "; the next pass mends it"
		}
	}
	return e
}

func explainPatches(policy Policy, plan schema.Plan, chosen func(schema.Patch) bool, item string) ([]schema.Explanation, error) {
	pt := plan.Patching
	if pt.Problem != "" {
		if item == "" || item == allPatches {
			return []schema.Explanation{{Node: plan.Node.Name, Item: allPatches, State: string(schema.Failed), Reason: pt.Problem}}, nil
		}
		return nil, fmt.Errorf("explain %q: %s", item, pt.Problem)
	}
	window := pt.Opening
	if window == nil {
		window = pt.Next
	}
	var out []schema.Explanation
	for _, p := range pt.Judgement.Patches {
		if !chosen(p) {
			continue
		}
		e := schema.Explanation{
			Node: plan.Node.Name, Item: string(schema.KindPatch) + ":" + p.ID, State: string(p.State), Reason: p.Reason,
			Baseline: pt.Baseline, Because: pt.Because, Severity: p.ComplianceLevel, Patch: &p, Rule: p.Rule + 1,
			Want: p.Package.Version, Got: p.Package.Version,
		}
		e.Position = ruleAt(policy, pt.Baseline, p.Rule)
		for _, r := range plan.Resources {
			if r.Kind == schema.KindPatch && r.Key == p.ID {
				e.Action, e.Window = schema.Upgrade, window
				if r.Wait != "" && r.Wait != p.Reason {
					e.Reason += "; waits: " + r.Wait
				}
			}
		}
		out = append(out, e)
	}
	if item != "" && len(out) == 0 {
		return nil, unknown(item, plan)
	}
	return out, nil
}

// ruleAt is where the approval rule stands that decided, or else its baseline; nil for what is shipped.
func ruleAt(policy Policy, baseline string, rule int) *schema.Position {
	if rule >= 0 {
		if at, ok := policy.Repo.Positions[schema.JoinPath("baseline", baseline, "approvalRules", "["+strconv.Itoa(rule)+"]")]; ok {
			return &at
		}
	}
	if at, ok := policy.Repo.Positions[schema.JoinPath("baseline", baseline)]; ok {
		return &at
	}
	return nil
}

func unknown(item string, plan schema.Plan) error {
	const most = 8
	kind, _, _ := strings.Cut(item, ":")
	e := &UnknownItemError{Item: item, Node: plan.Node.Name}
	for _, r := range plan.Resources {
		if string(r.Kind) == kind && kind != string(schema.KindPatch) && len(e.Near) < most {
			e.Near = append(e.Near, r.Name())
		}
	}
	if kind == string(schema.KindPatch) {
		// Names that begin alike are what a slip of the fingers leaves.
		_, id, _ := strings.Cut(item, ":")
		for _, p := range plan.Patching.Judgement.Patches {
			if len(e.Near) < most && id != "" && strings.HasPrefix(p.ID, id[:min(3, len(id))]) {
				e.Near = append(e.Near, kind+":"+p.ID)
			}
		}
	}
	return e
}
