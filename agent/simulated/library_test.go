package simulated

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// hardened is a repository that has every ready policy of the shipped library, but for the daemon of another distribution.
const hardened = `package fleet

import "dunlin.dev/policies/hardening"

policy: {for name, p in hardening.policy if name != "ssh-daemon-rpm" {(name): p}}
`

// The whole library converges on a host where all of it is otherwise, and has nothing left to do then.
func TestTheLibraryConverges(t *testing.T) {
	evaluate := load.InProcess(load.Options{Limits: schema.NotEnforced()})
	dir := t.TempDir()
	for name, text := range map[string]string{"fleet.cue": "package fleet\n\nfleet: name: \"test\"\n", "hardening.cue": hardened} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	repo, faults, err := evaluate(t.Context(), os.DirFS(dir))
	if err != nil || len(faults) > 0 {
		t.Fatal(faults, err)
	}
	n, err := NewNode(t.TempDir(), Spec{Name: "web-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Host.SetArchive(host.SimulatedArchive{
		Arch: "amd64", Debian: "12", Installed: map[string]host.SimulatedInstalled{"dpkg": {Version: "1.21.22", State: schema.PackageInstalled}},
		Versions: map[string][]host.SimulatedVersion{"dpkg": {{Version: "1.21.22", Priority: "required", Section: "admin"}}},
	}); err != nil {
		t.Fatal(err)
	}
	units, kernel, want := map[string]schema.Unit{}, map[string]string{}, []string{}
	for _, p := range repo.Policies {
		for name := range p.Services {
			units[name] = schema.Unit{Name: name, Load: "loaded", Active: "active", Sub: "running", File: "enabled"}
			want = append(want, "service:"+name)
		}
		for key := range p.Sysctls {
			kernel[key] = "7"
			want = append(want, "sysctl:"+key)
		}
		for _, b := range p.BlockedPorts {
			want = append(want, "port:"+b.Key())
		}
		for name := range p.Files {
			want = append(want, "file:"+name)
			if err := os.MkdirAll(filepath.Join(n.Host.Root(), filepath.Dir(name)), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	// One that does not exist is right as it is: distributions name theirs otherwise.
	delete(units, "dnf-automatic.timer")
	want = slices.DeleteFunc(want, func(s string) bool { return s == "service:dnf-automatic.timer" })
	units["ssh.service"] = schema.Unit{Name: "ssh.service", Load: "loaded", Active: "active", Sub: "running", File: "enabled"}
	if err := n.Host.SetUnits(units); err != nil {
		t.Fatal(err)
	}
	if err := n.Host.SetSysctls(kernel); err != nil {
		t.Fatal(err)
	}
	local := n.Local(evaluate, time.Now)

	account, err := local.Reconcile(t.Context(), dir, "", false)
	if err != nil {
		t.Fatal(err)
	}
	changed := map[string]bool{}
	for _, c := range account.Changes {
		changed[c.Resource] = true
		if c.Result != schema.Changed {
			t.Errorf("%+v, want Changed", c)
		}
	}
	want = append(want, "service:ssh.service") // restarted
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(changed)); !slices.Equal(got, slices.Compact(want)) {
		t.Errorf("changed %q, want %q", got, want)
	}
	if len(want) < 60 {
		t.Errorf("the library has %d resources only", len(want))
	}
	account, err = local.Reconcile(t.Context(), dir, "", false)
	if err != nil || len(account.Changes) > 0 {
		t.Errorf("a second run finds %+v, %v; want nothing", account.Changes, err)
	}

	// A kernel that lacks a parameter says so, by its name, and all else stays right.
	delete(kernel, "kernel.yama.ptrace_scope")
	if err := n.Host.SetSysctls(kernel); err != nil {
		t.Fatal(err)
	}
	account, err = local.Reconcile(t.Context(), dir, "", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range account.Changes {
		if failed := c.Result == schema.Failed; failed != strings.HasSuffix(c.Resource, "ptrace_scope") {
			t.Errorf("%+v, want Failed for the missing parameter and nothing else", c)
		}
	}
}
