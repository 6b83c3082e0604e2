//go:build linux

package host_test

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/schema"
)

// security is the version suffix of a family's security archive.
func security(family string) (suffix, keptSuffix string) {
	if family == "ubuntu" {
		return "ubuntu0.1", "ubuntu0.2"
	}
	return "+deb12u1", "+deb12u2"
}

func ref(name, version string) schema.PackageRef {
	return schema.PackageRef{Name: name, Arch: "all", Version: version}
}

// approved are the versions that a baseline of security updates approves.
func approved(family string) []schema.PackageRef {
	s, k := security(family)
	return []schema.PackageRef{
		ref("tb-broken", "1.0-1"+s), ref("tb-kept", "2.0-1"+k), ref("tb-kernel", "6.1.0-1"+s),
		ref("tb-lib", "1.0-1"+s), ref("tb-multi", "1.1-1"), ref("tb-web", "2.4-1"+s),
	}
}

func TestPatchesAreInstalledOnRealHosts(t *testing.T) {
	for _, tt := range []agenttest.Options{
		{Family: "debian", Systemd: true}, {Family: "debian"}, {Family: "ubuntu", Systemd: true}, {Family: "ubuntu"},
	} {
		name := tt.Family
		if tt.Systemd {
			name += " with systemd"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := aptHosts(t, tt)
			s, k := security(tt.Family)
			h.MustExec("apt-mark", "auto", "tb-multi")
			got := h.do(order{Patches: append(approved(tt.Family), ref("tb-held", "3.0-1"+s)), Refresh: true})
			if err := got.Errors["patch:tb-broken.all"]; !strings.Contains(err, "installed tb-broken package post-installation script subprocess returned error exit status 1") {
				t.Errorf("tb-broken = %q, want dpkg's own words", err)
			}
			if err := got.Errors["patch:tb-held.all"]; !strings.Contains(err, "held at its version") {
				t.Errorf("tb-held = %q, want that it is held", err)
			}
			delete(got.Errors, "patch:tb-broken.all")
			delete(got.Errors, "patch:tb-held.all")
			if len(got.Errors) > 0 {
				t.Errorf("other errors: %v\n%s", got.Errors, h.logs())
			}
			h.want(map[string]string{
				"tb-lib": "ii 1.0-1" + s, "tb-web": "ii 2.4-1" + s, "tb-kernel": "ii 6.1.0-1" + s, "tb-multi": "ii 1.1-1",
				"tb-kept": "ii 2.0-1" + k, "tb-newdep": "ii 1.0-1", "tb-held": "hi 3.0-1", "tb-broken": "iF 1.0-1" + s,
				"tb-conf": "ii 1.2-1", "tb-feature": "ii 5.0-1", "tb-slow": "ii 1.0-1", "tb-third": "ii 1.0-1",
			})
			if !h.Exists("/run/reboot-required") {
				t.Error("tb-kernel asked for no reboot")
			}
			auto := h.MustExec("apt-mark", "showauto")
			if !strings.Contains(auto, "tb-multi") || strings.Contains(auto, "tb-lib\n") || !strings.Contains(auto, "tb-newdep") {
				t.Errorf("packages come by dependency are %q, want tb-multi and tb-newdep and not tb-lib among them", auto)
			}
			if tt.Systemd {
				if log := h.MustExec("journalctl", "-u", "dunlin-tx-*", "-o", "cat", "--no-pager"); !strings.Contains(log, "package transaction") {
					t.Errorf("the transaction had no unit of its own; the journal has %q", log)
				}
			}
			last := h.Read(driverState + "/lastinstall.json")
			for _, want := range []string{`"name":"tb-broken","arch":"all","version":"1.0-1` + s + `"`, `"outcome":"failed","reason":"installed tb-broken package`, `"outcome":"installed"`} {
				if !strings.Contains(last, want) {
					t.Errorf("last installs lack %s:\n%s", want, last)
				}
			}
			// Later: the package is mended, a new one is approved, and a file that the host changed stays.
			h.Write("/etc/tb-broken.fixed", "", 0o644)
			h.Write("/etc/tb-slow", "0", 0o644)
			conf := h.Read("/etc/tb-conf.conf")
			got = h.do(order{Patches: append(approved(tt.Family), ref("tb-conf", "1.2-2"), ref("tb-slow", "1.1-1"))})
			if len(got.Errors)+len(got.Drift) > 0 {
				t.Errorf("second pass: errors %v, drift %v\n%s", got.Errors, got.Drift, h.logs())
			}
			h.want(map[string]string{"tb-broken": "ii 1.0-1" + s, "tb-conf": "ii 1.2-2", "tb-slow": "ii 1.1-1"})
			if now := h.Read("/etc/tb-conf.conf"); now != conf {
				t.Errorf("/etc/tb-conf.conf is %q, want the host's own %q", now, conf)
			}
			h.sound()
			before := h.MustExec("sh", "-c", "ls -la --time-style=full-iso "+driverState+"/tx /var/lib/dpkg/status")
			if got = h.do(order{Patches: approved(tt.Family)}); len(got.Errors)+len(got.Drift) > 0 {
				t.Errorf("third pass: %+v", got)
			}
			if after := h.MustExec("sh", "-c", "ls -la --time-style=full-iso "+driverState+"/tx /var/lib/dpkg/status"); after != before {
				t.Errorf("a pass with nothing to do did something:\n%s\nwas:\n%s", after, before)
			}
		})
	}
}

func TestWhatAPolicyOfPackagesMayNotDo(t *testing.T) {
	h := aptHosts(t, agenttest.Options{})
	absent, present := schema.Package{State: schema.Absent}, schema.Package{State: schema.Present}
	got := h.do(order{Packages: map[string]schema.Package{
		"netcat-openbsd": absent, // tb-telnetd needs it
		"bash":           absent, // essential
		"tb-held":        absent,
		"tb-nothere":     present,
		"tb-feature":     {State: schema.Present, Version: "4.0-1"}, // nobody has it
		"tb-tool":        present,
		"tb-third":       absent,
		"tb-lib":         present, // no version: stays
		"no such":        present,
	}})
	for name, want := range map[string]string{
		"netcat-openbsd": `would remove "tb-telnetd", and maxRemovals is 0`,
		"bash":           "essential",
		"tb-held":        "held at its version",
		"tb-nothere":     "Unable to locate package tb-nothere",
		"tb-feature":     "Version '4.0-1' for 'tb-feature' was not found",
		"no such":        `"no such" is not a package's name`,
	} {
		if err := got.Errors["package:"+name]; !strings.Contains(err, want) {
			t.Errorf("package %s: %q, want %q", name, err, want)
		}
		delete(got.Errors, "package:"+name)
	}
	if len(got.Errors) > 0 {
		t.Errorf("other errors: %v", got.Errors)
	}
	h.want(map[string]string{
		"netcat-openbsd": h.version("netcat-openbsd"), "tb-telnetd": "ii 0.17-1", "tb-held": "hi 3.0-1",
		"tb-tool": "ii 1.0-1", "tb-third": "", "tb-lib": "ii 1.0-1", "tb-feature": "ii 5.0-1",
	})
	// Both asked for, both go. A rejected package does not come, not even as a dependency.
	got = h.do(order{
		Packages: map[string]schema.Package{"netcat-openbsd": absent, "tb-telnetd": absent},
		Patches:  []schema.PackageRef{ref("tb-kept", "2.0-1+deb12u2"), ref("tb-lib", "1.0-1+deb12u1")},
		Blocked:  []string{"tb-newdep"},
	})
	if err := got.Errors["patch:tb-kept.all"]; !strings.Contains(err, `would install "tb-newdep" "1.0-1": it is rejected`) {
		t.Errorf("tb-kept = %q, want that tb-newdep is rejected", err)
	}
	if delete(got.Errors, "patch:tb-kept.all"); len(got.Errors) > 0 {
		t.Errorf("other errors: %v", got.Errors)
	}
	h.want(map[string]string{"tb-telnetd": "rc 0.17-1", "tb-kept": "ii 1.0-1", "tb-newdep": "", "tb-lib": "ii 1.0-1+deb12u1"})
	// Going back is refused.
	got = h.do(order{Packages: map[string]schema.Package{"tb-lib": {State: schema.Present, Version: "1.0-1"}}})
	if err := got.Errors["package:tb-lib"]; !strings.Contains(err, "DOWNGRADED") && !strings.Contains(err, "older version") {
		t.Errorf("tb-lib to an older version = %q", err)
	}
	h.want(map[string]string{"tb-lib": "ii 1.0-1+deb12u1"})
	h.sound()
}

func TestALockOfAnotherProgramIsWaitedFor(t *testing.T) {
	h := aptHosts(t, agenttest.Options{})
	h.MustExec("mkfifo", "/etc/tb-slow") // tb-slow's script waits until somebody writes to it
	other := h.Command(t.Context(), "apt-get", "-y", "-o", "Dpkg::Use-Pty=false", "install", "tb-slow=1.1-1")
	stdout, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Setting up tb-slow") {
	}
	o := order{Patches: []schema.PackageRef{ref("tb-lib", "1.0-1+deb12u1")}, LockTimeout: time.Second}
	got := h.do(o)
	if err := got.Errors["patch:tb-lib.all"]; !strings.Contains(err, `"/var/lib/dpkg/lock-frontend" is locked by process`) || !strings.Contains(err, "apt-get -y") {
		t.Errorf("with the lock held: %q, want who holds it", err)
	}
	// Now with patience: the lock is let go once the driver says that it waits.
	o.LockTimeout = time.Minute
	waiting := h.command(t.Context(), o)
	var out strings.Builder
	var release sync.Once
	waiting.Stdout = writerFunc(func(p []byte) (int, error) {
		out.Write(p)
		if strings.Contains(string(p), "waiting: ") {
			release.Do(func() { h.MustExec("sh", "-c", "echo 0 >/etc/tb-slow") })
		}
		return len(p), nil
	})
	if err := waiting.Run(); err != nil {
		t.Fatalf("driver: %v\n%s", err, out.String())
	}
	for lines.Scan() {
	}
	if err := other.Wait(); err != nil {
		t.Errorf("the holder of the lock ended with %v", err)
	}
	if got := h.answer([]byte(out.String())); len(got.Errors) > 0 {
		t.Errorf("after the lock was let go: %v", got.Errors)
	}
	h.want(map[string]string{"tb-lib": "ii 1.0-1+deb12u1", "tb-slow": "ii 1.1-1"})
	if !h.Exists("/var/lib/dpkg/lock-frontend") {
		t.Error("the lock's file is gone")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestAPackageManagerThatHangsIsEnded(t *testing.T) {
	for _, systemd := range []bool{true, false} {
		h := aptHosts(t, agenttest.Options{Systemd: systemd})
		h.Write("/etc/tb-slow", "1000", 0o644)
		o := order{Patches: []schema.PackageRef{ref("tb-slow", "1.1-1"), ref("tb-lib", "1.0-1+deb12u1")}, Deadline: 3 * time.Second}
		got := h.do(o)
		if err := got.Errors["patch:tb-slow.all"]; !strings.Contains(err, "had not ended after 3s and was ended") || !strings.Contains(err, ".log") {
			t.Errorf("tb-slow = %q, want that it was ended and where its output is", err)
		}
		if out, _, _ := h.Exec("pgrep", "-a", "apt-get|dpkg|sleep 1000"); strings.Contains(out, "sleep 1000") || strings.Contains(out, "dpkg") {
			t.Errorf("still running: %s", out)
		}
		h.Write("/etc/tb-slow", "0", 0o644)
		o.Deadline = 0
		if got := h.do(o); len(got.Errors)+len(got.Drift) > 0 {
			t.Errorf("next run: %+v\n%s", got, h.logs())
		}
		h.want(map[string]string{"tb-slow": "ii 1.1-1", "tb-lib": "ii 1.0-1+deb12u1"})
		h.sound()
	}
}

func TestAnInterruptedDpkgIsMended(t *testing.T) {
	h := aptHosts(t, agenttest.Options{})
	h.MustExec("sh", "-c", "cd /tmp && apt-get -q download tb-web=2.4-1+deb12u1 tb-lib=1.0-1+deb12u1 && dpkg --unpack --force-depends tb-web*.deb")
	if got := h.version("tb-web"); got != "iU 2.4-1+deb12u1" {
		t.Fatalf("tb-web is %q before, want it only unpacked", got)
	}
	got := h.do(order{Packages: map[string]schema.Package{"tb-tool": {State: schema.Present}}})
	if len(got.Errors) > 0 {
		t.Errorf("errors: %v\n%s", got.Errors, h.logs())
	}
	h.want(map[string]string{"tb-web": "ii 2.4-1+deb12u1", "tb-lib": "ii 1.0-1+deb12u1", "tb-tool": "ii 1.0-1"})
	h.sound()
}

// The power went between dpkg's last word and the end of its books: nothing differs, and apt refuses to work.
func TestWhatOurTransactionLeftIsMendedAlsoWhenNothingDiffers(t *testing.T) {
	h := aptHosts(t, agenttest.Options{})
	o := order{Packages: map[string]schema.Package{"tb-tool": {State: schema.Present}}}
	if got := h.do(o); len(got.Errors)+len(got.Drift) > 0 {
		t.Fatalf("install: errors %v, drift %v", got.Errors, got.Drift)
	}
	h.MustExec("sh", "-c", `rm /var/lib/dunlin/tx/*.result.json && sed -n "/^Package: tb-tool$/,/^$/p" /var/lib/dpkg/status >/var/lib/dpkg/updates/0000`)
	if _, errs, code := h.Exec("apt-get", "check", "-q"); code == 0 || !strings.Contains(errs, "dpkg was interrupted") {
		t.Fatalf("apt-get check = %d, %q before, want that dpkg was interrupted", code, errs)
	}
	if got := h.do(o); len(got.Errors)+len(got.Drift) > 0 {
		t.Errorf("errors %v, drift %v\n%s", got.Errors, got.Drift, h.logs())
	}
	h.want(map[string]string{"tb-tool": "ii 1.0-1"})
	h.sound()
}

func TestWhatAPowerCutLeftInDoubtIsUnpackedAgain(t *testing.T) {
	h := aptHosts(t, agenttest.Options{})
	h.MustExec("apt-get", "-q", "-y", "install", "tb-lib")
	h.MustExec("sed", "-i", "/^Package: tb-lib$/,/^$/s/^Status: .*/Status: install reinstreq unpacked/", "/var/lib/dpkg/status")
	if got := h.version("tb-lib"); !strings.HasPrefix(got, "iU") {
		t.Fatalf("tb-lib is %q before, want it unpacked and in doubt", got)
	}
	got := h.do(order{Packages: map[string]schema.Package{"tb-tool": {State: schema.Present}}})
	if len(got.Errors) > 0 {
		t.Errorf("errors: %v\n%s", got.Errors, h.logs())
	}
	h.want(map[string]string{"tb-lib": "ii 1.0-1+deb12u1", "tb-tool": "ii 1.0-1"})
	h.sound()
}

func TestAFullDiskIsRefusedBeforeAnythingIsDone(t *testing.T) {
	h := aptHosts(t, agenttest.Options{})
	o := order{Patches: approved("debian")[1:]}
	// Too little room for dpkg's database: nothing is begun.
	h.MustExec("sh", "-c", "cp -a /var/lib/dpkg /var/lib/dpkg.kept && mount -t tmpfs -o size=12m none /var/lib/dpkg && cp -a /var/lib/dpkg.kept/. /var/lib/dpkg/")
	got := h.do(o)
	for _, p := range o.Patches {
		if err := got.Errors["patch:"+p.Name+".all"]; !strings.Contains(err, `no space for dpkg's database: "/var/lib/dpkg" has`) {
			t.Errorf("%s = %q, want that there is no space", p.Name, err)
		}
	}
	h.want(map[string]string{"tb-lib": "ii 1.0-1", "tb-kept": "ii 1.0-1"})
	h.sound()
	h.MustExec("umount", "/var/lib/dpkg")
	// No room for the program's own books: nothing is begun.
	h.MustExec("sh", "-c", "mkdir -p /var/lib/dunlin && mount -t tmpfs -o size=4k,nr_inodes=2 none /var/lib/dunlin")
	got = h.do(o)
	if err := got.Errors["patch:tb-lib.all"]; !strings.Contains(err, "no space left on device") {
		t.Errorf("tb-lib = %q, want that there is no space", err)
	}
	h.MustExec("umount", "/var/lib/dunlin")
	// The space goes while dpkg unpacks: the package that needed it stays at its old version.
	h.MustExec("sh", "-c", "mount -t tmpfs -o size=4k,nr_inodes=3 none /usr/share/tb-web")
	h.MustExec("sh", "-c", "cp /etc/hostname /usr/share/tb-web/fill")
	got = h.do(o)
	if err := got.Errors["patch:tb-web.all"]; !strings.Contains(err, "No space left on device") {
		t.Errorf("tb-web = %q, want that there is no space\n%s", err, h.logs())
	}
	h.MustExec("umount", "/usr/share/tb-web")
	if got = h.do(o); len(got.Errors)+len(got.Drift) > 0 {
		t.Errorf("with space again: %+v\n%s", got, h.logs())
	}
	h.sound()
}

func TestMissingListsAndRightsAreNamed(t *testing.T) {
	h := aptHosts(t, agenttest.Options{})
	h.MustExec("sh", "-c", "rm -rf /var/lib/apt/lists/*; mv /etc/apt/sources.list /etc/apt/kept; echo 'deb [trusted=yes] file:/nowhere x main' >/etc/apt/sources.list")
	got := h.do(order{Patches: approved("debian")[3:4], Refresh: true})
	if err := got.Errors["patch:tb-lib.all"]; !strings.Contains(err, "Version '1.0-1+deb12u1' for 'tb-lib' was not found") || !strings.Contains(err, "apt-get update: ") || !strings.Contains(err, "/nowhere") {
		t.Errorf("without lists: %q, want what is missing and why", err)
	}
	h.MustExec("mv", "/etc/apt/kept", "/etc/apt/sources.list")
	if got := h.do(order{Patches: approved("debian")[3:4], Refresh: true}); len(got.Errors) > 0 {
		t.Errorf("with lists: %v", got.Errors)
	}
	p := host.Packages{State: "relative"}
	if _, err := p.Transact(context.Background(), schema.Transaction{Install: []schema.PackageRef{ref("x", "1")}}); err == nil || !strings.Contains(err.Error(), "not an absolute path") {
		t.Errorf("Transact with a relative state = %v", err)
	}
	if err := host.RunTransaction(context.Background(), t.TempDir(), "../x", func() {}); err == nil {
		t.Error("RunTransaction took ../x for an id")
	}
	if err := host.RunTransaction(context.Background(), t.TempDir(), "20060102T150405-0123abcd", func() {}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("RunTransaction of an unknown id = %v", err)
	}
}
