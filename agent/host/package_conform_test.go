//go:build linux

package host_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/reconciler/kind/kindtest"
	"github.com/dunlin-dev/dunlin/reconciler/kind/patch"
	"github.com/dunlin-dev/dunlin/reconciler/kind/pkg"
	"github.com/dunlin-dev/dunlin/reconciler/transaction"
	"github.com/dunlin-dev/dunlin/schema"
)

func packageResource(name string, p schema.Package) schema.Resource {
	return schema.Resource{Kind: schema.KindPackage, Key: name, Mode: schema.Enforce, Package: &p}
}

func patchResource(name, version string) schema.Resource {
	return schema.Resource{Kind: schema.KindPatch, Key: name + ".all", Mode: schema.Enforce,
		Patch: &schema.Patch{Package: schema.PackageFact{Name: name, Arch: "all", Version: version}}}
}

// conform runs both kinds through the suite of all kinds on one host.
func conform(t *testing.T, h transaction.Host, suffix string, breakHost func(testing.TB), snapshot func(testing.TB) string) {
	run := transaction.Engine{Host: h}
	bad, badPatch := packageResource("tb-nothere", schema.Package{State: schema.Present}), patchResource("tb-lib", "9")
	t.Run("packages", func(t *testing.T) {
		kindtest.Run(t, kindtest.Case{
			Kind: pkg.Kind{Host: h, Run: run},
			Resources: []schema.Resource{
				packageResource("tb-tool", schema.Package{State: schema.Present}),
				packageResource("tb-third", schema.Package{State: schema.Absent}),
				packageResource("tb-feature", schema.Package{State: schema.Present, Version: "5.1-1"}),
			},
			Bad: &bad, Break: breakHost, Snapshot: snapshot,
		})
	})
	t.Run("patches", func(t *testing.T) {
		kindtest.Run(t, kindtest.Case{
			Kind:      patch.Kind{Host: h, Run: run},
			Resources: []schema.Resource{patchResource("tb-web", "2.4-1+deb12u1"), patchResource("tb-kept", "2.0-1"+suffix)},
			Bad:       &badPatch, Break: breakHost, Snapshot: snapshot,
		})
	})
}

func TestPackagesOnASimulatedHost(t *testing.T) {
	s := host.Simulated{Dir: t.TempDir()}
	installed := func(v string) host.SimulatedInstalled {
		return host.SimulatedInstalled{Version: v, State: schema.PackageInstalled}
	}
	all := func(v string, depends map[string]string) host.SimulatedVersion {
		return host.SimulatedVersion{Version: v, Arch: "all", Depends: depends}
	}
	conform(t, s, "+deb12u1", func(t testing.TB) {
		err := s.SetArchive(host.SimulatedArchive{
			Arch: "amd64",
			Installed: map[string]host.SimulatedInstalled{
				"tb-lib": installed("1.0-1"), "tb-web": installed("2.4-1"), "tb-third": installed("1.0-1"),
				"tb-feature": installed("5.0-1"), "tb-kept": installed("1.0-1"),
			},
			Versions: map[string][]host.SimulatedVersion{
				"tb-lib":     {all("1.0-1", nil), all("1.0-1+deb12u1", nil)},
				"tb-web":     {all("2.4-1", nil), all("2.4-1+deb12u1", map[string]string{"tb-lib": "1.0-1+deb12u1"})},
				"tb-kept":    {all("1.0-1", nil), all("2.0-1+deb12u1", map[string]string{"tb-newdep": ""})},
				"tb-newdep":  {all("1.0-1", nil)},
				"tb-tool":    {all("1.0-1", nil)},
				"tb-third":   {all("1.0-1", nil)},
				"tb-feature": {all("5.0-1", nil), all("5.1-1", nil)},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}, func(t testing.TB) string {
		b, err := os.ReadFile(s.Dir + "/packages.json")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	})
}

// TestPackagesOnARealHost runs the suite on a testbed's host: there this same test, with
// DUNLIN_ON_HOST set, is what does it.
func TestPackagesOnARealHost(t *testing.T) {
	if os.Getenv("DUNLIN_ON_HOST") == "" {
		h := aptHosts(t, agenttest.Options{})
		out, err := h.Command(t.Context(), "env", "DUNLIN_ON_HOST=1", "/usr/local/bin/driver", "-test.run=^TestPackagesOnARealHost$", "-test.v").CombinedOutput()
		if err != nil {
			t.Errorf("on the host: %v\n%s", err, out)
		}
		return
	}
	sh := func(t testing.TB, script string) string {
		t.Helper()
		out, err := exec.Command("sh", "-ec", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return string(out)
	}
	h := host.Packages{State: driverState, Program: []string{"/usr/local/bin/dunlin", "tx"}}
	conform(t, h, "+deb12u2", func(t testing.TB) {
		sh(t, `apt-get -qy --allow-downgrades install tb-lib=1.0-1 tb-web=2.4-1 tb-kept=1.0-1 tb-feature=5.0-1 tb-third=1.0-1 tb-tool- tb-newdep- </dev/null`)
	}, func(t testing.TB) string {
		return sh(t, `cat /var/lib/dpkg/status; ls -la --time-style=full-iso /var/lib/dpkg/status`)
	})
}
