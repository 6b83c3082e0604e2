package agenttest

import (
	"io/fs"
	"maps"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/examples"
)

// desired is a policy of every kind; greeting is a file's content.
func desired(greeting string) map[string]string {
	return map[string]string{
		"policies/ports.cue": `policy: "no-telnet": {
	targets: all: true
	blockedPorts: [{port: 23}]
}
`,
		"policies/probe.cue": `policy: "probe": {
	targets: all: true
	files: "/etc/probe.conf": {content: "` + greeting + `\n", mode: "0640", owner: "root", group: "root"}
	services: "probe.service": {running: true, enabled: true}
	onChange: restart: ["probe.service"]
}
`,
		"policies/rest.cue": `policy: "rest": {
	targets: all: true
	sysctls: "net.ipv4.ip_forward": "1"
	users: deploy: {uid: 2001, shell: "/usr/sbin/nologin"}
}
`,
	}
}

func TestReconcileAPolicy(t *testing.T) {
	for _, family := range []string{"debian", "ubuntu", "real"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			hosts := Hosts(t, 2, Options{Family: family, Systemd: true})
			h, neighbour := hosts[0], hosts[1]
			Dunlin(t, h)
			h.Write("/etc/systemd/system/probe.service", "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n", 0o644)
			h.MustExec("systemctl", "daemon-reload")
			h.MustExec("apt-get", "update") // a host without lists cannot be judged, and says so
			if family == "real" {           // Debian as published has no tb-telnetd
				for _, v := range []string{"-4", "-6"} {
					h.MustExec("systemd-run", "--unit=telnet"+v, "nc", v, "-lk", "-p", "23")
				}
			}
			reachable := func(when string, want bool) {
				t.Helper()
				for _, addr := range []string{h.Addr4, h.Addr6} {
					if got := reachesWhenUp(neighbour, addr, 23, want); got != want {
						t.Errorf("%s: the neighbour reaches port 23 of %s: %t, want %t", when, addr, got, want)
					}
				}
			}
			pid := func() string { return h.MustExec("systemctl", "show", "-p", "MainPID", "probe.service") }
			reachable("before any policy", true)

			install(h, desired("one"))
			files := h.MustExec("find", "/etc", "/var/lib", "-xdev", "-newer", policyDir+"/fleet.cue", "-name", "*dunlin*")
			dry := reconcile(t, h, 0, "--dry-run")
			for _, resource := range []string{"port:in/tcp/23/any", "file:/etc/probe.conf", "service:probe.service", "sysctl:net.ipv4.ip_forward", "user:deploy"} {
				if got := dry.result(resource); got != "WouldChange" {
					t.Errorf("dry run: %s is %q, want WouldChange", resource, got)
				}
			}
			reachable("after a dry run", true)
			if h.Exists("/etc/probe.conf") || h.MustExec("find", "/etc", "/var/lib", "-xdev", "-newer", policyDir+"/fleet.cue", "-name", "*dunlin*") != files {
				t.Error("a dry run wrote files")
			}

			a := reconcile(t, h, 0)
			for _, c := range a.settled() {
				if c.Result != "Changed" {
					t.Errorf("%+v, want Changed", c)
				}
			}
			reachable("with the policy", false)
			if h.Reaches("127.0.0.1", 23) != true {
				t.Error("the host does not reach its own port over loopback")
			}
			if got := h.MustExec("stat", "-c", "%a %U:%G", "/etc/probe.conf") + h.Read("/etc/probe.conf"); got != "640 root:root\none\n" {
				t.Errorf("/etc/probe.conf is %q", got)
			}
			if got := h.MustExec("sysctl", "-n", "net.ipv4.ip_forward"); got != "1\n" {
				t.Errorf("ip_forward is %q", got)
			}
			if got := h.MustExec("getent", "passwd", "deploy"); !strings.Contains(got, ":2001:") || !strings.Contains(got, "nologin") {
				t.Errorf("user deploy is %q", got)
			}
			if got := h.MustExec("systemctl", "is-active", "probe") + h.MustExec("systemctl", "is-enabled", "probe"); got != "active\nenabled\n" {
				t.Errorf("probe.service is %q", got)
			}

			first := pid()
			unchanged(t, h)
			if got := pid(); got != first {
				t.Error("a run that changed nothing restarted a service")
			}

			install(h, desired("two"))
			reconcile(t, h, 0)
			if got := h.Read("/etc/probe.conf"); got != "two\n" {
				t.Errorf("/etc/probe.conf is %q", got)
			}
			second := pid()
			if second == first {
				t.Error("the service was not restarted when its file changed")
			}
			h.MustExec("sh", "-c", "echo drift >/etc/probe.conf; systemctl stop probe; nft delete table inet dunlin")
			reconcile(t, h, 0)
			if got := h.Read("/etc/probe.conf") + h.MustExec("systemctl", "is-active", "probe"); got != "two\nactive\n" {
				t.Errorf("after drift: %q", got)
			}
			reachable("after drift", false)

			without := desired("two")
			maps.DeleteFunc(without, func(name, _ string) bool { return name == "policies/ports.cue" })
			install(h, without)
			reconcile(t, h, 0)
			reachable("after the policy went", true)
			notSigned(t, h)
		})
	}
}

// notSigned has an archive that nobody signs, on a host whose own apt takes packages from it: the program does not.
func notSigned(t *testing.T, h *Host) {
	h.Write("/srv/unsigned/x/DEBIAN/control", "Package: tb-evil\nVersion: 1\nArchitecture: all\nMaintainer: nobody <root@localhost>\nDescription: signed by nobody\n", 0o644)
	h.Write("/etc/apt/apt.conf.d/99careless", `APT::Get::AllowUnauthenticated "true"; Acquire::AllowInsecureRepositories "true"; Acquire::AllowWeakRepositories "true";`+"\n", 0o644)
	h.Write("/etc/apt/sources.list.d/unsigned.list", "deb file:/srv/unsigned ./\n", 0o644)
	h.MustExec("sh", "-c", `cd /srv/unsigned && dpkg-deb --build x tb-evil.deb && { cat x/DEBIAN/control && echo "Filename: ./tb-evil.deb" &&
		echo "Size: $(stat -c %s tb-evil.deb)" && echo "SHA256: $(sha256sum tb-evil.deb | cut -d " " -f 1)"; } >Packages && apt-get update && apt-get --simulate install tb-evil`)
	install(h, map[string]string{"policies/evil.cue": "policy: evil: {targets: all: true, packages: \"tb-evil\": {}}\n"})
	a := reconcile(t, h, 1)
	if got := a.change("package:tb-evil"); got.Result != "Failed" || !strings.Contains(got.Reason, "authenticated") {
		t.Errorf("a package that nobody has signed: %+v, want Failed", got)
	}
	if v := version(h, "tb-evil"); v != "" {
		t.Errorf("tb-evil %s is installed", v)
	}
	h.MustExec("sh", "-c", "rm -r /srv/unsigned /etc/apt/apt.conf.d/99careless /etc/apt/sources.list.d/unsigned.list && apt-get update")
}

// reachesWhenUp asks until the answer is the one expected, or five seconds have
// gone: a service that was just started may not listen yet.
func reachesWhenUp(from *Host, addr string, port int, want bool) bool {
	got := from.Reaches(addr, port)
	for i := 0; i < 20 && want && !got; i++ {
		from.MustExec("sleep", "0.25")
		got = from.Reaches(addr, port)
	}
	return got
}

// The example of one host is valid, does what it says, and then has nothing left to do.
func TestExampleOneHost(t *testing.T) {
	hosts := Hosts(t, 2, Options{Systemd: true})
	h := hosts[0]
	Dunlin(t, h)
	one, err := fs.Sub(examples.Files, "one-host")
	if err != nil {
		t.Fatal(err)
	}
	h.CopyFS(one, policyDir)
	h.MustExec("apt-get", "update")
	h.MustExec("dunlin", "validate", policyDir)
	reconcile(t, h, 0)
	if got := h.Read("/etc/motd"); !strings.Contains(got, "kept by Dunlin") {
		t.Errorf("/etc/motd is %q", got)
	}
	if hosts[1].Reaches(h.Addr4, 23) || hosts[1].Reaches(h.Addr6, 23) {
		t.Error("the neighbour reaches port 23")
	}
	unchanged(t, h)
	aSecretOnAHost(t, h)
}

// TestReconcileWithoutRoot is what an ordinary user of a host gets: a refusal that says what to do, and nothing changed.
func TestReconcileWithoutRoot(t *testing.T) {
	h := Hosts(t, 1, Options{Family: "debian"})[0]
	Dunlin(t, h)
	h.Write("/srv/policy/fleet.cue", "package fleet\nfleet: name: \"test\"\npolicy: motd: {targets: all: true, files: \"/etc/motd\": content: \"x\"}\n", 0o644)
	before := h.Read("/etc/motd")
	nobody := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "dunlin", "reconcile", "--repo", "/srv/policy"}
	_, stderr, code := h.Exec(nobody...)
	if code != 1 || !strings.Contains(stderr, "permission denied") || !strings.Contains(stderr, "hint: run it as root") {
		t.Errorf("reconcile without root: exit %d, %q; want 1 and a hint", code, stderr)
	}
	stdout, stderr, _ := h.Exec(append(nobody, "--dry-run")...)
	if !strings.Contains(stdout, "file:/etc/motd") || !strings.Contains(stdout, "would be updated") {
		t.Errorf("dry run without root: %q %q; want what would be done", stdout, stderr)
	}
	if after := h.Read("/etc/motd"); after != before {
		t.Errorf("/etc/motd changed to %q", after)
	}
	if h.Exists("/var/lib/dunlin") {
		t.Error("a state folder was made")
	}
}
