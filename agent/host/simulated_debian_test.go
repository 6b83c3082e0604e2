package host_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/schema"
)

// simulatedDebian has one security update that waits, one that wants a reboot, and one that is none.
func simulatedDebian(t *testing.T) host.Simulated {
	t.Helper()
	s := host.Simulated{Dir: t.TempDir()}
	installed := func(v string) host.SimulatedInstalled {
		return host.SimulatedInstalled{Version: v, State: schema.PackageInstalled}
	}
	err := s.SetArchive(host.SimulatedArchive{
		Arch: "amd64", Debian: "12",
		Installed: map[string]host.SimulatedInstalled{"dpkg": installed("1.21.22"), "openssl": installed("3.0.16-1"), "nano": installed("7.2-1"), "linux-image-amd64": installed("6.1.1-1")},
		Versions: map[string][]host.SimulatedVersion{
			"dpkg":              {{Version: "1.21.22", Priority: "required", Section: "admin"}},
			"openssl":           {{Version: "3.0.16-1", Depends: map[string]string{"dpkg": "1.0"}}, {Version: "3.0.17-1", Security: true, Depends: map[string]string{"dpkg": "1.0"}}},
			"nano":              {{Version: "7.2-1"}, {Version: "7.2-2"}},
			"linux-image-amd64": {{Version: "6.1.1-1"}, {Version: "6.1.2-1", Security: true, Reboot: true}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func simulatedFacts(t *testing.T, s host.Simulated) schema.Facts {
	t.Helper()
	last, err := s.LastInstalls().Read()
	if err != nil {
		t.Fatal(err)
	}
	f, p, err := inventory.ReadFacts(t.Context(), inventory.Options{Root: s.Root()}, inventory.Known{At: time.Now(), LastInstall: last})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range p.Warnings {
		t.Error(w)
	}
	return f
}

func TestASimulatedDebianIsReadAsARealOne(t *testing.T) {
	s := simulatedDebian(t)
	f := simulatedFacts(t, s)
	if f.OS.Product != "Debian12" || f.Arch != "amd64" || len(f.Installed) != 4 {
		t.Errorf("facts of %+v, %s, %d packages", f.OS, f.Arch, len(f.Installed))
	}
	var newer []string
	for _, c := range f.Candidates {
		newer = append(newer, c.Name+" "+c.Version+" "+c.Origins[0].Label)
	}
	want := []string{"linux-image-amd64 6.1.2-1 Debian-Security", "nano 7.2-2 Debian", "openssl 3.0.17-1 Debian-Security"}
	if slices.Sort(newer); !slices.Equal(newer, want) {
		t.Errorf("candidates %q, want %q", newer, want)
	}

	before, err := inventory.Stamp(s.Root())
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Transact(t.Context(), schema.Transaction{Install: []schema.PackageRef{
		{Name: "openssl", Arch: "amd64", Version: "3.0.17-1"}, {Name: "linux-image-amd64", Arch: "amd64", Version: "6.1.2-1"}}})
	if err != nil {
		t.Fatal(err)
	}
	if after, err := inventory.Stamp(s.Root()); err != nil || after == before {
		t.Errorf("the stamp does not show a transaction: %v", err)
	}
	f = simulatedFacts(t, s)
	if len(f.Candidates) != 1 || !f.PendingReboot.Is || !slices.Equal(f.PendingReboot.Packages, []string{"linux-image-amd64"}) || len(f.LastInstall) != 2 {
		t.Errorf("after the transaction: candidates %v, reboot %+v, last %v", f.Candidates, f.PendingReboot, f.LastInstall)
	}
}

func TestARebootForgetsWhatIsOnlyInMemory(t *testing.T) {
	s := simulatedDebian(t)
	telnet, err := schema.BlockedPort{Direction: "in", Protocol: "tcp", From: "any", Port: schema.PortRange{First: 23, Last: 23}}.Canonical()
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		s.SetBlockedPorts(t.Context(), map[schema.BlockedPort]time.Duration{telnet: 0}),
		s.SetUnits(map[string]schema.Unit{
			"ssh.service": {Load: "loaded", Active: "inactive", Sub: "dead", File: "enabled"},
			"stray.timer": {Load: "loaded", Active: "active", Sub: "running", File: "disabled"},
		}),
		s.SetSysctls(map[string]string{"a.b": "1", "c.d": "1"}),
		s.WriteSysctl("a.b", "0"),
		s.SetBootSysctls(map[string]string{"c.d": "7"}),
		s.Reboot(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if blocked, _, err := s.BlockedPorts(t.Context()); err != nil || len(blocked) != 0 {
		t.Errorf("blocked after a reboot: %v, %v", blocked, err)
	}
	units, err := s.Units(t.Context(), []string{"ssh.service", "stray.timer"})
	if err != nil || units[0].Active != "active" || units[1].Active != "inactive" {
		t.Errorf("units after a reboot: %v, %v", units, err)
	}
	if v, err := s.ReadSysctl("c.d"); err != nil || v != "7" {
		t.Errorf("parameter set at boot is %q, %v", v, err)
	}
	if f := simulatedFacts(t, s); f.PendingReboot.Is {
		t.Error("still asks for a reboot")
	}
}

func TestASimulatedHostIsOfAKnownRelease(t *testing.T) {
	err := host.Simulated{Dir: t.TempDir()}.SetArchive(host.SimulatedArchive{Debian: "1"})
	if err == nil || !strings.Contains(err.Error(), `"1"`) {
		t.Errorf("SetArchive of Debian 1: %v", err)
	}
}
