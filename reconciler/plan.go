package reconciler

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/dunlin-dev/dunlin/reconciler/baseline"
	"github.com/dunlin-dev/dunlin/reconciler/schedule"
	"github.com/dunlin-dev/dunlin/reconciler/target"
	"github.com/dunlin-dev/dunlin/schema"
)

// Inputs is all that a plan is made of.
type Inputs struct {
	Repo  schema.Repo
	Node  schema.Node
	Facts schema.Facts
	// FactsProblem says why the host's packages could not be read; then it is not judged and nothing is installed.
	FactsProblem string
	// Judged, where set, is what an earlier plan judged of the same facts; then Facts needs only OS.
	// The caller vouches that nothing changed since.
	Judged *schema.Judgement
	Now    time.Time
	// Compare is the version order of the host's package manager: negative, zero or positive.
	Compare func(a, b string) int
}

// Plan says what the node should be and do at one instant, and why. It reads nothing but its arguments.
func Plan(in Inputs) schema.Plan {
	sets := target.Sets{Groups: in.Repo.Groups, ResourceGroups: in.Repo.ResourceGroups}
	p := schema.Plan{Node: in.Node, At: in.Now, Restart: map[string][]string{}}
	var policies []string
	for name, policy := range in.Repo.Policies {
		if target.Match(policy.Targets, in.Node, sets) {
			policies = append(policies, name)
			if policy.OnChange != nil && policy.Mode == schema.Enforce {
				p.Restart[name] = policy.OnChange.Restart
			}
		}
	}
	p.Resources = resources(in.Repo, policies)
	for i := range p.Resources {
		plainContent(in.Repo, &p.Resources[i], in.Now)
	}
	var patches []schema.Resource
	p.Patching, patches = patching(in, sets, p.Resources)
	p.Resources = append(p.Resources, patches...)
	groups := target.Groups(in.Node, sets)
	if len(groups) > 1 {
		p.Warnings = append(p.Warnings, fmt.Sprintf("node %s is in %d patch groups, and may be in one; the default baseline judges it", in.Node.Name, len(groups)))
	}
	return p
}

// patching holds the node against its baseline, and gives a resource for each patch that is approved and missing.
func patching(in Inputs, sets target.Sets, managed []schema.Resource) (schema.Patching, []schema.Resource) {
	var p schema.Patching
	p.Opening, p.Next = openings(in, sets)
	if in.FactsProblem != "" {
		p.Problem = in.FactsProblem
		return p, nil
	}
	choice, err := baseline.Select(in.Repo, in.Facts.OS.OperatingSystem, target.Groups(in.Node, sets))
	if err != nil {
		p.Problem = err.Error()
		return p, nil
	}
	p.Baseline, p.Because, p.MaxRemovals = choice.Name, choice.Reason, choice.Baseline.MaxRemovals
	p.Position = in.Repo.Positions[schema.JoinPath("baseline", choice.Name)]
	if in.Judged != nil {
		p.Judgement = *in.Judged
	} else {
		p.Judgement = baseline.Judge(choice.Baseline, withoutPinned(in.Facts, managed), in.Now, in.Compare)
	}
	installable := map[string]bool{}
	for _, patch := range baseline.ToInstall(p.Judgement) {
		installable[patch.ID] = true
	}
	var out []schema.Resource
	for _, patch := range p.Judgement.Patches {
		if patch.State != schema.Missing && patch.State != schema.PatchFailed {
			continue
		}
		r := schema.Resource{
			Kind: schema.KindPatch, Key: patch.ID, Mode: schema.Enforce, Severity: patch.ComplianceLevel,
			Position: p.Position, Patch: &patch,
		}
		if patch.Rule >= 0 {
			if at, ok := in.Repo.Positions[schema.JoinPath("baseline", choice.Name, "approvalRules", "["+strconv.Itoa(patch.Rule)+"]")]; ok {
				r.Position = at
			}
		}
		switch {
		case !installable[patch.ID]:
			r.Wait = patch.Reason
		case p.Opening == nil && p.Next == nil:
			r.Wait = "no maintenance window that installs patches targets this node, so it is only scanned"
		case p.Opening == nil:
			r.Wait = fmt.Sprintf("window %s opens %s", p.Next.Window, p.Next.Start.UTC().Format(time.RFC3339))
		}
		out = append(out, r)
	}
	return p, out
}

// withoutPinned leaves packages whose version a policy keeps out of patching: what is installed stays listed,
// newer versions of it are not looked at.
func withoutPinned(f schema.Facts, managed []schema.Resource) schema.Facts {
	pinned := map[string]bool{}
	for _, r := range managed {
		if keepsVersion(r) {
			pinned[r.Key] = true
		}
	}
	if len(pinned) == 0 {
		return f
	}
	f.Candidates = slices.DeleteFunc(slices.Clone(f.Candidates), func(c schema.PackageFact) bool { return pinned[c.Name] })
	return f
}

// keepsVersion reports whether r keeps a package at one version.
func keepsVersion(r schema.Resource) bool {
	return r.Kind == schema.KindPackage && r.Contested == "" && r.Mode == schema.Enforce && r.Package.State == schema.Present && r.Package.Version != ""
}

// openings gives the installing window that is open and takes new work, the one that ends last if several do,
// and the next opening of any.
func openings(in Inputs, sets target.Sets) (open, next *schema.Opening) {
	for _, name := range slices.Sorted(maps.Keys(in.Repo.Windows)) {
		w := in.Repo.Windows[name]
		task, installs := installTask(w, in.Node, sets)
		if !installs || !w.Enabled {
			continue
		}
		opens, err := schedule.FromWindow(w)
		if err != nil {
			continue // the loader refuses such a window
		}
		as := func(o schedule.Opening) *schema.Opening {
			return &schema.Opening{
				Window: name, Task: task, Position: in.Repo.Positions[schema.JoinPath("window", name)],
				Start: o.Start, End: o.End, NoNewWork: o.NoNewWork,
				RebootOption: rebootOption(w.Tasks[task]),
			}
		}
		if o, now := opens.At(in.Now); now && o.AcceptsWork(in.Now) && (open == nil || o.End.After(open.End)) {
			open = as(o)
		}
		if o, ok := opens.NextOpening(in.Now); ok && (next == nil || o.Start.Before(next.Start)) {
			next = as(o)
		}
	}
	return open, next
}

// installTask names the task of w that installs patches on n, the one with the lowest priority number.
func installTask(w schema.Window, n schema.Node, sets target.Sets) (string, bool) {
	names := slices.SortedFunc(maps.Keys(w.Tasks), func(a, b string) int {
		return cmp.Or(cmp.Compare(w.Tasks[a].Priority, w.Tasks[b].Priority), cmp.Compare(a, b))
	})
	for _, name := range names {
		t := w.Tasks[name]
		operation, _ := t.Parameters["Operation"].Text()
		if t.Document != schema.RunPatchBaseline || operation != "Install" {
			continue
		}
		targets := w.Targets
		if t.Targets != nil {
			targets = *t.Targets
		}
		if target.Match(targets, n, sets) {
			return name, true
		}
	}
	return "", false
}

func rebootOption(t schema.Task) string {
	if v, ok := t.Parameters["RebootOption"].Text(); ok {
		return v
	}
	return "RebootIfNeeded"
}

// ErrNoNode is wrapped where the roster has no node of the name asked for.
var ErrNoNode = errors.New("no node")

// Find gives the node that a pass is for: the roster's line of that name or id, or, with no name, a node
// that stands alone with the host's own name and system. It fails for a name that the roster does not
// have, and for a node that is not active, which starts nothing.
func Find(repo schema.Repo, name, hostname, os string) (schema.Node, error) {
	if name == "" {
		return schema.Node{Name: hostname, OS: os, Alone: true}, nil
	}
	for _, line := range repo.Roster {
		if line.Name != name && line.ID != name {
			continue
		}
		if line.State != schema.NodeActive {
			return schema.Node{}, fmt.Errorf("node %q is %s in the roster, and only an active node is managed", name, line.State)
		}
		return line.Node(), nil
	}
	names := make([]string, 0, len(repo.Roster))
	for _, line := range repo.Roster {
		names = append(names, line.Name)
	}
	near := ""
	if n := schema.Nearest(name, names); n != "" {
		near = fmt.Sprintf(" (did you mean %q?)", n)
	}
	return schema.Node{}, fmt.Errorf("%w %q in the roster of %d%s", ErrNoNode, name, len(repo.Roster), near)
}
