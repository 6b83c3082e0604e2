package reconciler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dunlin-dev/dunlin/schema"
)

// sunday is inside the opening of window sun, 02:00 to 05:00 UTC with a cutoff of an hour.
var sunday = time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC)

func days(n int) *int { return &n }

// estate has one Debian baseline and one window for everything.
func estate() schema.Repo {
	everything := schema.Targets{All: true}
	return schema.Repo{
		Fleet: schema.Fleet{Name: "acme"},
		Baselines: map[string]schema.Baseline{"debian-prod": {
			OperatingSystem: schema.Debian, Default: true, RejectedPatchesAction: schema.AllowAsDependency, MaxRemovals: 2,
			ApprovalRules: []schema.ApprovalRule{{Filters: map[string][]string{"PRODUCT": {"*"}}, ApproveAfterDays: days(0), EnableNonSecurity: true, ComplianceLevel: schema.High}},
			ReleaseDates:  "publisher",
		}},
		Windows: map[string]schema.Window{"sun": {
			Schedule: "cron(0 2 ? * SUN *)", Timezone: "UTC", Duration: "3h", Cutoff: "1h", Enabled: true, Targets: everything,
			Tasks: map[string]schema.Task{"patch": {Document: schema.RunPatchBaseline, Priority: 1, Parameters: schema.Arguments{"Operation": {Texts: schema.Texts{"Install"}}}}},
		}},
		Positions: map[string]schema.Position{
			"baseline.debian-prod":                  {File: "b.cue", Line: 3, Column: 1},
			"baseline.debian-prod.approvalRules[0]": {File: "b.cue", Line: 7, Column: 3},
		},
	}
}

func facts() schema.Facts {
	return schema.Facts{V: 1, OS: schema.OSFacts{ID: "debian", OperatingSystem: schema.Debian, Product: "Debian12"},
		Installed:  []schema.PackageFact{{Name: "tb-lib", Arch: "amd64", Version: "1"}, {Name: "tb-held", Arch: "amd64", Version: "1", Held: true}},
		Candidates: []schema.PackageFact{{Name: "tb-lib", Arch: "amd64", Version: "2"}, {Name: "tb-held", Arch: "amd64", Version: "2"}},
	}
}

func planAt(repo schema.Repo, f schema.Facts, now time.Time) schema.Plan {
	return Plan(Inputs{Repo: repo, Node: schema.Node{Name: "web-1", OS: "debian", Alone: true}, Facts: f, Now: now, Compare: strings.Compare})
}

// waits tells for each patch of a plan what it waits for.
func waitsFor(p schema.Plan) map[string]string {
	out := map[string]string{}
	for _, r := range p.Resources {
		if r.Kind == schema.KindPatch {
			out[r.Key] = r.Wait
		}
	}
	return out
}

func TestPatchesAreInstalledOnlyInsideAnOpenWindowBeforeItsCutoff(t *testing.T) {
	for _, tt := range []struct {
		name string
		now  time.Time
		want string
	}{
		{"the instant it opens", time.Date(2026, 11, 29, 2, 0, 0, 0, time.UTC), ""},
		{"the last instant before the cutoff", time.Date(2026, 11, 29, 3, 59, 59, 0, time.UTC), ""},
		{"the cutoff", time.Date(2026, 11, 29, 4, 0, 0, 0, time.UTC), "window sun opens 2026-12-06T02:00:00Z"},
		{"a day before", time.Date(2026, 11, 28, 2, 0, 0, 0, time.UTC), "window sun opens 2026-11-29T02:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := waitsFor(planAt(estate(), facts(), tt.now))
			want := map[string]string{"tb-lib.amd64": tt.want, "tb-held.amd64": "held"}
			if !strings.Contains(got["tb-held.amd64"], "held") {
				t.Errorf("a held package waits for %q, want held", got["tb-held.amd64"])
			}
			got["tb-held.amd64"] = "held"
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("waits at %v (-want +got):\n%s", tt.now, diff)
			}
		})
	}
}

func TestOnlyAnEnabledInstallTaskThatMeansTheNodeInstalls(t *testing.T) {
	for name, change := range map[string]func(*schema.Window){
		"a disabled window": func(w *schema.Window) { w.Enabled = false },
		"a task that only scans": func(w *schema.Window) {
			w.Tasks["patch"].Parameters["Operation"] = schema.Argument{Texts: schema.Texts{"Scan"}}
		},
		"no task": func(w *schema.Window) { w.Tasks = nil },
		"targets of another fleet": func(w *schema.Window) {
			w.Targets = schema.Targets{Selection: schema.Selection{OS: []string{"ubuntu"}}}
		},
		"a task with other targets": func(w *schema.Window) {
			task := w.Tasks["patch"]
			task.Targets = &schema.Targets{Selection: schema.Selection{Nodes: []string{"db-1"}}}
			w.Tasks["patch"] = task
		},
	} {
		repo := estate()
		w := repo.Windows["sun"]
		change(&w)
		repo.Windows["sun"] = w
		if got := waitsFor(planAt(repo, facts(), sunday))["tb-lib.amd64"]; !strings.HasPrefix(got, "no maintenance window") {
			t.Errorf("%s: tb-lib waits for %q, want no window at all", name, got)
		}
	}
}

func TestAPatchNamesItsRuleAndThePlanItsBaseline(t *testing.T) {
	p := planAt(estate(), facts(), sunday)
	if p.Patching.Baseline != "debian-prod" || p.Patching.MaxRemovals != 2 || p.Patching.Position.Line != 3 {
		t.Errorf("patching = %+v, want baseline debian-prod at b.cue:3 with 2 removals", p.Patching)
	}
	for _, r := range p.Resources {
		if r.Position != (schema.Position{File: "b.cue", Line: 7, Column: 3}) || r.Severity != schema.High {
			t.Errorf("%s stands at %+v with %s, want rule 1 at b.cue:7 with HIGH", r.Name(), r.Position, r.Severity)
		}
	}
}

func TestAPackageWithAVersionIsLeftOutOfPatching(t *testing.T) {
	repo := estate()
	repo.Policies = map[string]schema.Policy{"pin": {Targets: schema.Targets{All: true}, Mode: schema.Enforce,
		Packages: map[string]schema.Package{"tb-lib": {State: schema.Present, Version: "1"}}}}
	if _, patched := waitsFor(planAt(repo, facts(), sunday))["tb-lib.amd64"]; patched {
		t.Error("tb-lib is patched although a policy keeps it at version 1")
	}
	if _, patched := waitsFor(planAt(repo, facts(), sunday))["tb-held.amd64"]; !patched {
		t.Error("tb-held is no longer judged")
	}
}

func TestAHostThatCannotBeJudgedKeepsItsPolicies(t *testing.T) {
	repo := estate()
	repo.Policies = map[string]schema.Policy{"x": {Targets: schema.Targets{All: true}, Mode: schema.Enforce, Sysctls: map[string]string{"net.ipv4.ip_forward": "0"}}}
	p := Plan(Inputs{Repo: repo, Node: schema.Node{Name: "a", Alone: true}, FactsProblem: "read status: no such file", Now: sunday, Compare: strings.Compare})
	if p.Patching.Problem == "" || len(p.Resources) != 1 {
		t.Errorf("plan = %+v; want the sysctl and the problem", p)
	}
}

func TestWarningsNameThePairOnceWithTheNumberOfNodes(t *testing.T) {
	one, two := "1", "2"
	repo := schema.Repo{
		Groups: map[string]schema.Group{"a": {Targets: &schema.Targets{All: true}}, "b": {Targets: &schema.Targets{Selection: schema.Selection{OS: []string{"debian"}}}}},
		Policies: map[string]schema.Policy{
			"p": {Targets: schema.Targets{All: true}, Mode: schema.Enforce, Files: map[string]schema.File{"/etc/motd": {Content: &one}}},
			"q": {Targets: schema.Targets{All: true}, Mode: schema.Enforce, Files: map[string]schema.File{"/etc/motd": {Content: &two}}},
		},
		Positions: map[string]schema.Position{
			"group.b": {File: "g.cue", Line: 4, Column: 8}, "policy.p": {File: "p.cue", Line: 3, Column: 9}, "policy.q": {File: "q.cue", Line: 3, Column: 9},
		},
	}
	for i := range 3 {
		repo.Roster = append(repo.Roster, schema.RosterLine{ID: fmt.Sprint("id", i), Name: fmt.Sprint("n", i), OS: "debian", State: schema.NodeActive})
	}
	repo.Roster = append(repo.Roster, schema.RosterLine{ID: "gone", Name: "gone", OS: "debian", State: schema.NodeRetired})
	var got []string
	for _, w := range Warnings(repo) {
		got = append(got, w.String())
	}
	want := []string{
		"g.cue:4:8: warning: group.b: on node n0 and 2 more: in patch groups a and b, and a node may be in one; the default baseline judges it",
		"p.cue:3:9: warning: policy.p: on node n0 and 2 more: policy p (p.cue:3) and policy q (q.cue:3) want different things of file:/etc/motd; neither is applied",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}
