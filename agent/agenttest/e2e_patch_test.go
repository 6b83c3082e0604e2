package agenttest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

// judgement is what `dunlin scan -o json` prints.
type judgement struct {
	Patches []struct {
		ID, Title, State, Deployment, Reason string
	}
	Counts     map[string]int
	Compliance string
}

// patch is the line of one package.
func (j judgement) patch(t *testing.T, id string) (title, state, reason string) {
	t.Helper()
	for _, p := range j.Patches {
		if p.ID == id {
			return p.Title, p.State, p.Reason
		}
	}
	t.Errorf("scan does not list %s", id)
	return "", "", ""
}

func scan(t *testing.T, h *Host) judgement {
	t.Helper()
	var j judgement
	out := h.MustExec("dunlin", "scan", "--repo", policyDir, "-o", "json")
	if err := json.Unmarshal([]byte(out), &j); err != nil {
		t.Fatalf("%s: %v in:\n%s", h.Name, err, out)
	}
	return j
}

// openWindow is a window that opened an hour ago and closes in two.
func openWindow() string { return windowAt(time.Now().Add(-time.Hour)) }

// windowAt is such a window that opens at an instant.
func windowAt(opens time.Time) string {
	return fmt.Sprintf(`window: "now": {
	schedule: "at(%s)"
	duration: "3h"
	targets: all: true
	tasks: patch: {
		document: "AWS-RunPatchBaseline"
		parameters: {Operation: "Install", RebootOption: "NoReboot"}
		maxConcurrency: "100%%"
		maxErrors:      "100%%"
	}
}
`, opens.UTC().Format("2006-01-02T15:04:05"))
}

// version is a package's installed version, or empty.
func version(h *Host, name string) string {
	h.t.Helper()
	out, _, _ := h.Exec("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", name)
	if v, ok := strings.CutPrefix(out, "installed "); ok {
		return v
	}
	return ""
}

// The shipped baseline on a host whose archive has every case that matters.
func TestPatchWithTheDefaultBaseline(t *testing.T) {
	for _, family := range []struct{ name, first, second string }{
		{"debian", "+deb12u1", "+deb12u2"},
		{"ubuntu", "ubuntu0.1", "ubuntu0.2"},
	} {
		t.Run(family.name, func(t *testing.T) {
			t.Parallel()
			h := Hosts(t, 1, Options{Family: family.name, Systemd: true})[0]
			Dunlin(t, h)
			install(h, map[string]string{"windows/now.cue": openWindow()})
			h.MustExec("apt-get", "update")

			before := h.MustExec("dpkg-query", "-W")
			dry := reconcile(t, h, 0, "--dry-run")
			if got := dry.result("patch:tb-lib.all"); got != "WouldChange" {
				t.Errorf("dry run of tb-lib = %q, want WouldChange", got)
			}
			if after := h.MustExec("dpkg-query", "-W"); after != before {
				t.Error("a dry run changed packages")
			}

			a := reconcile(t, h, 1) // tb-broken fails
			for name, want := range map[string]string{
				"tb-lib":     "1.0-1" + family.first,
				"tb-web":     "2.4-1" + family.first,
				"tb-kernel":  "6.1.0-1" + family.first,
				"tb-multi":   "1.1-1", // 1.2-1 is newer, and no security update
				"tb-kept":    "2.0-1" + family.second,
				"tb-newdep":  "1.0-1",
				"tb-held":    "3.0-1",
				"tb-feature": "5.0-1",
				"tb-slow":    "1.0-1",
				"tb-conf":    "1.2-1",
				"tb-third":   "1.0-1",
			} {
				if got := version(h, name); got != want {
					t.Errorf("%s is at %q, want %q", name, got, want)
				}
			}
			for _, name := range []string{"tb-lib", "tb-web", "tb-kernel", "tb-multi", "tb-kept"} {
				if got := a.result("patch:" + name + ".all"); got != "Changed" {
					t.Errorf("result of %s = %q, want Changed", name, got)
				}
			}
			if got := a.result("patch:tb-broken.all"); got != "Failed" {
				t.Errorf("result of tb-broken = %q, want Failed", got)
			}

			j := scan(t, h)
			for id, want := range map[string]string{
				"tb-lib": "Installed", "tb-web": "Installed", "tb-multi": "Installed", "tb-kept": "Installed",
				"tb-kernel": "InstalledPendingReboot", "tb-broken": "Failed", "tb-held": "Missing",
				"tb-feature": "InstalledOther", "tb-slow": "InstalledOther", "tb-conf": "InstalledOther", "tb-third": "InstalledOther",
			} {
				if _, state, reason := j.patch(t, id+".all"); state != want {
					t.Errorf("%s is %s (%s), want %s", id, state, reason, want)
				}
			}
			if _, _, reason := j.patch(t, "tb-held.all"); !strings.Contains(reason, "held") {
				t.Errorf("tb-held: reason %q does not say that it is held", reason)
			}
			if held := h.MustExec("apt-mark", "showhold"); !strings.Contains(held, "tb-held") {
				t.Errorf("apt-mark showhold = %q, want tb-held", held)
			}
			// In the package manager's own words, and in those of the text for people too.
			const words = "post-installation script subprocess returned error exit status 1"
			if why := a.reason("patch:tb-broken.all"); !strings.Contains(why, words) {
				t.Errorf("reason of tb-broken is %q, want %q in it", why, words)
			}
			if out, errs, code := h.Exec("dunlin", "reconcile", "--repo", policyDir); code != 1 || !strings.Contains(out, words) {
				t.Errorf("exit code %d, want 1, with %q in:\n%s%s", code, words, out, errs)
			}

			// A person mends the cause; the next run finishes what was half done.
			h.Write("/etc/tb-broken.fixed", "", 0o644)
			reconcile(t, h, 0)
			if got := version(h, "tb-broken"); got != "1.0-1"+family.first {
				t.Errorf("tb-broken is at %q after its cause was mended", got)
			}
			before = h.MustExec("dpkg-query", "-W")
			for _, c := range reconcile(t, h, 0).Changes {
				if c.Result == "Changed" {
					t.Errorf("a run with nothing left to do changes %+v", c)
				}
			}
			if after := h.MustExec("dpkg-query", "-W"); after != before {
				t.Error("a run with nothing left to do changed packages")
			}
		})
	}
}

func TestPatchOutsideAWindowOnlyScans(t *testing.T) {
	h := Hosts(t, 1, Options{Systemd: true})[0]
	Dunlin(t, h)
	install(h, map[string]string{"windows/past.cue": strings.Replace(openWindow(), "at(20", "at(2000-01-01T00:00:00)\" // at(20", 1)})
	h.MustExec("apt-get", "update")
	before := h.MustExec("dpkg-query", "-W")
	reconcile(t, h, 0)
	if after := h.MustExec("dpkg-query", "-W"); after != before {
		t.Error("packages changed while no window was open")
	}
	if _, state, _ := scan(t, h).patch(t, "tb-lib.all"); state != "Missing" {
		t.Errorf("tb-lib is %s, want Missing", state)
	}
}

func TestPatchWithNonSecurityUpdates(t *testing.T) {
	for _, family := range []struct{ name, system string }{{"debian", "DEBIAN"}, {"ubuntu", "UBUNTU"}} {
		t.Run(family.name, func(t *testing.T) {
			t.Parallel()
			h := Hosts(t, 1, Options{Family: family.name, Systemd: true})[0]
			Dunlin(t, h)
			h.Write("/etc/tb-broken.fixed", "", 0o644)
			install(h, map[string]string{
				"windows/now.cue": openWindow(),
				"baselines/all.cue": `baseline: "all": {
	operatingSystem: "` + family.system + `"
	default: true
	approvalRules: [{filters: PRODUCT: ["*"], approveAfterDays: 0, enableNonSecurity: true}]
}
`})
			reconcile(t, h, 0)
			for name, want := range map[string]string{"tb-conf": "1.2-2", "tb-slow": "1.1-1", "tb-feature": "5.1-1", "tb-multi": "1.2-1", "tb-held": "3.0-1"} {
				if got := version(h, name); got != want {
					t.Errorf("%s is at %q, want %q", name, got, want)
				}
			}
			if got := h.Read("/etc/tb-conf.conf"); !strings.Contains(got, "port = 8080") {
				t.Errorf("the configuration file that a person had changed is now:\n%s", got)
			}
		})
	}
}

// What scan calls Missing is what apt would upgrade, on Debian's own archive; and
// after reconcile nothing is left to upgrade.
func TestPatchRealDebian(t *testing.T) {
	h := Hosts(t, 1, Options{Family: "real", Systemd: true})[0]
	Dunlin(t, h)
	install(h, map[string]string{
		"windows/now.cue": openWindow(),
		"baselines/all.cue": `baseline: "all": {
	operatingSystem: "DEBIAN"
	default: true
	approvalRules: [{filters: PRODUCT: ["*"], approveAfterDays: 0, enableNonSecurity: true}]
}
`})
	h.MustExec("apt-get", "update")
	upgrades := func() map[string]bool {
		names := map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^Inst (\S+) \[`).FindAllStringSubmatch(h.MustExec("apt-get", "-s", "dist-upgrade"), -1) {
			names[m[1]] = true
		}
		return names
	}
	apt := upgrades()
	if len(apt) == 0 {
		t.Fatal("nothing is pending on a real Debian: the family shows nothing")
	}
	ours := map[string]bool{}
	for _, p := range scan(t, h).Patches {
		if p.State == "Missing" {
			name, _, _ := strings.Cut(p.ID, ".amd64")
			ours[strings.TrimSuffix(name, ".all")] = true
		}
	}
	for name := range apt {
		if !ours[name] {
			t.Errorf("apt would upgrade %s, scan does not call it Missing", name)
		}
	}
	for name := range ours {
		if !apt[name] {
			t.Errorf("scan calls %s Missing, apt would not upgrade it", name)
		}
	}
	reconcile(t, h, 0)
	if left := upgrades(); len(left) != 0 {
		t.Errorf("apt would still upgrade %v", left)
	}
	for _, p := range scan(t, h).Patches {
		if p.State == "Missing" || p.State == "Failed" {
			t.Errorf("%s is %s: %s", p.ID, p.State, p.Reason)
		}
	}
	if a := reconcile(t, h, 0); len(a.Changes) != 0 {
		t.Errorf("a second run finds %+v, want nothing", a.Changes)
	}
}
