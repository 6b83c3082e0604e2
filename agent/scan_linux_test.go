package agent

import (
	"bufio"
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// local is this machine, evaluated in process; state is a folder of the test's own.
func local(t testing.TB) Local {
	state := t.TempDir()
	return Local{
		State: state, Root: "/", Evaluate: load.InProcess(load.Options{Limits: schema.NotEnforced()}),
		Host: host.System{}, Packages: host.Packages{State: state}, LastInstalls: host.LastInstalls{Path: filepath.Join(state, "lastinstall.json")}.Read,
		Ceiling: reconciler.NoCeiling(), Now: time.Now,
	}
}

// approveAll is a policy whose baseline approves everything that is newer.
func approveAll(t testing.TB, system schema.OperatingSystem) schema.Repo {
	t.Helper()
	repo, faults, err := load.InProcess(load.Options{Limits: schema.NotEnforced()})(t.Context(), fstest.MapFS{
		"fleet.cue": {Data: []byte("package fleet\nfleet: name: \"test\"\n")},
		"baselines/all.cue": {Data: []byte(`package fleet
baseline: everything: {
	operatingSystem: "` + string(system) + `"
	default:         true
	approvalRules: [{filters: PRODUCT: ["*"], approveAfterDays: 0, enableNonSecurity: true}]
}
`)},
	})
	if err != nil || schema.Refused(faults) {
		t.Fatalf("evaluate: %v %v", err, faults)
	}
	return repo
}

// TestWhatIsMissingIsWhatAptWouldUpgrade holds a scan of this machine, with a baseline that approves everything,
// against a simulation of apt's own.
func TestWhatIsMissingIsWhatAptWouldUpgrade(t *testing.T) {
	system, err := inventory.ReadOS("/")
	if err != nil {
		t.Fatal(err)
	}
	l := local(t)
	plan, err := l.Plan(t.Context(), Policy{Repo: approveAll(t, system.OperatingSystem)}, schema.Node{Name: "here", Alone: true})
	if err != nil || plan.Patching.Problem != "" {
		t.Fatalf("plan: %v %s", err, plan.Patching.Problem)
	}
	var got []string
	for _, p := range plan.Patching.Judgement.Patches {
		if p.State == schema.Missing && p.Reason != "held" {
			got = append(got, p.Package.Name+" "+p.Package.Version)
		}
	}
	slices.Sort(got)
	want := aptUpgrades(t)
	if len(want) == 0 {
		t.Log("apt has nothing to upgrade on this machine: the test shows only that the scan agrees")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("missing packages (-apt-get -s dist-upgrade +scan):\n%s", diff)
	}
}

// aptUpgrades are the Inst lines of a simulated dist-upgrade that have the old version in brackets.
func aptUpgrades(t *testing.T) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade")
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("apt-get -s dist-upgrade: %v", err)
	}
	inst := regexp.MustCompile(`^Inst (\S+) \[[^\]]+\] \((\S+) `)
	var list []string
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	for lines.Scan() {
		if m := inst.FindStringSubmatch(lines.Text()); m != nil {
			name, _, _ := strings.Cut(m[1], ":")
			list = append(list, name+" "+m[2])
		}
	}
	slices.Sort(list)
	return list
}
