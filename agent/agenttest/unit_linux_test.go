package agenttest

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// unit is dunlin.service on a host.
type unit struct {
	t testing.TB
	h *Host
}

// until waits for a shell command on the host to succeed.
func (u unit) until(what string, d time.Duration, script string) {
	u.t.Helper()
	out, errs, code := u.h.Exec("timeout", fmt.Sprint(int(d.Seconds())), "sh", "-c", "until { "+script+"; } >/dev/null 2>&1; do sleep 0.1; done")
	if code != 0 {
		u.t.Fatalf("not within %v: %s\n%s%s\n%s", d, what, out, errs, u.log())
	}
}

func (u unit) log() string {
	out, _, _ := u.h.Exec("sh", "-c", "systemctl status --no-pager -n0 dunlin; journalctl -u dunlin -u 'dunlin-tx-*' --no-pager -n 60 -o cat")
	return out
}

// show is a property of the unit.
func (u unit) show(property string) string {
	u.t.Helper()
	return strings.TrimSpace(u.h.MustExec("systemctl", "show", "-P", property, "dunlin"))
}

// is fails the test unless the unit's state is as wanted.
func (u unit) is(when, want string) {
	u.t.Helper()
	out, _, _ := u.h.Exec("systemctl", "is-active", "dunlin")
	if got := strings.TrimSpace(out); got != want {
		u.t.Errorf("%s: the agent is %s, want %s\n%s", when, got, want, u.log())
	}
}

func (u unit) upgrade(debs, version string) {
	u.t.Helper()
	deb := "dunlin_" + version + "_amd64.deb"
	u.h.Copy(filepath.Join(debs, deb), "/root/"+deb)
	u.h.MustExec("apt-get", "-o", "DPkg::Lock::Timeout=60", "install", "-y", "/root/"+deb)
}

// another holds once another process than was is the agent, and is ready.
func another(was string) string {
	return `pid=$(systemctl show -P MainPID dunlin); test "$pid" -gt 0 && test "$pid" != ` + was + ` && systemctl is-active dunlin`
}

// packages is a policy of packages.
func packages(lines ...string) string {
	return "package fleet\n\npolicy: packages: {\n\ttargets: all: true\n\tpackages: {\n\t\t" + strings.Join(lines, "\n\t\t") + "\n\t}\n}\n"
}

// The agent as its package makes it a service of a host: started only where it is configured, in force before there
// is a network, watched over, and upgraded without harm to what it does.
func TestTheAgentIsAServiceOfItsHost(t *testing.T) {
	t.Parallel()
	debs := Debs(t, "0.1.0", "0.2.0", "0.3.0")
	h := Hosts(t, 1, Options{Systemd: true})[0]
	g := NewGitServer(t, h)
	u := unit{t, h}
	sub := func(name string, f func(t *testing.T)) {
		t.Helper()
		if !t.Run(name, func(t *testing.T) { u.t, h.t = t, t; f(t) }) {
			t.FailNow() // each begins where the one before ended
		}
		u.t, h.t = t, t
	}
	commit := ""

	sub("a package without configuration starts nothing", func(t *testing.T) {
		u.upgrade(debs, "0.1.0")
		u.is("installed", "inactive")
		if got := strings.TrimSpace(h.MustExec("systemctl", "is-enabled", "dunlin")); got != "enabled" {
			t.Errorf("the unit is %s, want enabled", got)
		}
		h.MustExec("systemctl", "start", "dunlin")
		u.is("started without configuration", "inactive")
		if got := h.MustExec("stat", "-c", "%U:%G %a", "/etc/dunlin") + h.MustExec("ls", "-A", "/etc/dunlin"); got != "root:root 755\n" {
			t.Errorf("/etc/dunlin is %q, want an empty folder of root's", got)
		}
		// systemd before 254 knows no steps of a restart, and says so; nothing else may be unknown to it.
		_, errs, _ := h.Exec("systemd-analyze", "verify", "dunlin.service")
		for line := range strings.Lines(errs) {
			if strings.Contains(line, "dunlin.service:") && !strings.Contains(line, "RestartSteps") && !strings.Contains(line, "RestartMaxDelaySec") {
				t.Errorf("systemd-analyze verify: %s", line)
			}
		}
	})

	sub("a wrong configuration fails with its words in the journal", func(t *testing.T) {
		h.Write("/etc/dunlin/agent.cue", "repo: url: \"https://sw/policy.git\"\ntrust: \"unsigned\"\npeers: 3\n", 0o644)
		if _, _, code := h.Exec("systemctl", "start", "dunlin"); code == 0 {
			t.Error("systemctl start succeeds")
		}
		if log := u.log(); !strings.Contains(log, "agent.cue:3:1: peers: no such field") {
			t.Errorf("the journal does not name the fault:\n%s", log)
		}
		h.MustExec("systemctl", "stop", "dunlin")
	})

	sub("it waits for a remote that is not there yet", func(t *testing.T) {
		h.Write("/etc/dunlin/ca.pem", g.CA, 0o644)
		h.Write("/etc/dunlin/credential", g.User+"\n", 0o600)
		h.Write("/etc/dunlin/agent.cue", `repo: {url: "https://sw/policy.git", credentialFile: "/etc/dunlin/credential", caFile: "/etc/dunlin/ca.pem"}
reports: {}
trust: "unsigned"
`, 0o644)
		line := h.MustExec("dunlin", "node", "line", "--tags", "role=web")
		var l struct{ ID string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		h.MustExec("apt-get", "update")
		h.Write("/etc/systemd/system/probe.service", "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n", 0o644)
		h.MustExec("systemctl", "daemon-reload")
		files := desired("one")
		files["fleet.cue"] = "package fleet\n\nfleet: {name: \"acme\", sync: interval: \"1s\", reports: interval: \"5s\"}\n"
		files["nodes/"+l.ID[:2]+".jsonl"] = line
		for name, text := range files {
			if strings.HasPrefix(name, "policies/") {
				files[name] = "package fleet\n\n" + text
			}
		}
		commit = g.Push(files)
		g.Down()
		h.MustExec("systemctl", "start", "dunlin")
		u.is("started without a remote", "active")
		u.until("systemd is told that the remote cannot be read", 20*time.Second, `systemctl show -P StatusText dunlin | grep "no policy yet, and the remote cannot be read"`)
		if out, errs, code := h.Exec("dunlin", "sync"); code != 1 || !strings.Contains(out+errs, "cannot be reached") {
			t.Errorf("sync without a remote: exit code %d\n%s%s", code, out, errs)
		}
		g.Up()
		h.MustExec("dunlin", "sync")
		u.until("the commit is in force", 40*time.Second, `systemctl show -P StatusText dunlin | grep "^`+commit[:12]+` in force, "`)
	})

	mended := func(t *testing.T, when string) {
		t.Helper()
		u.until(when+": the host is as the policy says", 90*time.Second,
			`grep -qx one /etc/probe.conf && systemctl is-active probe && systemctl is-enabled probe && getent passwd deploy && test "$(sysctl -n net.ipv4.ip_forward)" = 1 && nft list table inet dunlin | grep -w 23`)
	}
	sub("the unit's limits let it do its work", func(t *testing.T) { mended(t, "as a service") })

	sub("it has not heard of a user and a kernel parameter", func(t *testing.T) {
		h.MustExec("sh", "-c", "userdel deploy; sysctl -w net.ipv4.ip_forward=0") // put right by the next look at the whole host
	})

	sub("the unit is no more exposed than said", func(t *testing.T) {
		const most = "65" // tenths, as systemd-analyze takes them
		if out, errs, code := h.Exec("systemd-analyze", "security", "--no-pager", "--threshold="+most, "dunlin.service"); code != 0 || !strings.Contains(out, "Overall exposure level") {
			t.Errorf("systemd-analyze security: exit code %d, want at most %s tenths\n%s%s", code, most, out, errs)
		}
		pid := u.show("MainPID")
		if got := h.MustExec("sh", "-c", "grep -h ^Seccomp: /proc/"+pid+"/status"); !strings.Contains(got, "2") {
			t.Errorf("the filter of system calls is not in force: %q", got)
		}
	})

	sub("its doctor sees what it stands on", func(t *testing.T) {
		out, errs, code := h.Exec("dunlin", "doctor", "-o", "json")
		var got struct {
			Checks []struct{ Check, State, Found, Do string }
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 {
			t.Fatalf("dunlin doctor: exit code %d, %v\n%s%s", code, err, out, errs)
		}
		states := map[string]string{}
		for _, f := range got.Checks {
			states[f.Check] += f.State + " "
		}
		for check, want := range map[string]string{
			"config": "ok ", "trust": "warning ", "credential": "ok ", "server": "ok ", "state": "ok ", "keys": "ok ", "room": "ok ",
			"kernel": "ok ", "unit": "ok ", "packages": "ok ", "agent": "ok ", "remote": "ok ", "push": "warning ",
		} {
			if states[check] != want {
				t.Errorf("check %s is %q, want %q\n%s", check, states[check], want, out)
			}
		}
		h.Write("/run/systemd/system/dunlin.service.d/weaker.conf", "[Service]\nSystemCallFilter=\nCapabilityBoundingSet=~\n", 0o644)
		h.MustExec("systemctl", "daemon-reload")
		if out, _, _ := h.Exec("dunlin", "doctor", "--offline"); !strings.Contains(out, "SystemCallFilter") || !strings.Contains(out, "weaker.conf") {
			t.Errorf("a drop-in that takes the limits away is not told of:\n%s", out)
		}
		h.MustExec("rm", "-r", "/run/systemd/system/dunlin.service.d")
		h.MustExec("systemctl", "daemon-reload")
	})

	sub("its socket is root's alone, and so is what the command line believes", func(t *testing.T) {
		h.MustExec("dunlin", "status")
		for what, tt := range map[string]struct {
			args []string
			says string
		}{
			"another user asks": {[]string{"runuser", "-u", "nobody", "--", "dunlin", "status"}, "may not use the socket"},
			"another user serves": {[]string{"sh", "-c", `
				d=$(mktemp -d) && chmod 755 $d && chown nobody $d
				runuser -u nobody -- nc -lU $d/s & nc=$!
				until [ -S $d/s ]; do sleep 0.1; done
				dunlin status --socket $d/s; code=$?
				kill $nc; exit $code`}, "serves the socket, who is neither root nor you"},
		} {
			if out, errs, code := h.Exec(tt.args...); code != 4 || !strings.Contains(errs, tt.says) {
				t.Errorf("%s: exit code %d, want 4 and %q\n%s%s", what, code, tt.says, out, errs)
			}
		}
	})

	sub("an ordinary user cannot end it", func(t *testing.T) {
		was := u.show("MainPID")
		for _, args := range [][]string{
			{"kill", "-TERM", was}, {"kill", "-KILL", was}, {"kill", "-STOP", was},
			{"systemctl", "--no-ask-password", "stop", "dunlin"}, {"systemctl", "--no-ask-password", "kill", "dunlin"},
			{"systemctl", "--no-ask-password", "mask", "--runtime", "--now", "dunlin"},
			{"busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "StopUnit", "ss", "dunlin.service", "replace"},
		} {
			if out, errs, code := h.Exec(append([]string{"runuser", "-u", "nobody", "--"}, args...)...); code == 0 || code == 127 {
				t.Errorf("nobody's %q: exit code %d, want a refusal: %s%s", args, code, out, errs)
			}
		}
		h.MustExec("dunlin", "status") // it answers
		if got := u.show("MainPID"); got != was {
			t.Errorf("another process is the agent: %s, was %s\n%s", got, was, u.log())
		}
	})

	sub("what it had not heard of is put right within a minute", func(t *testing.T) {
		u.until("the user and the kernel parameter are there again", 90*time.Second, `getent passwd deploy && test "$(sysctl -n net.ipv4.ip_forward)" = 1`)
	})

	sub("it leaves no core, whatever its unit and its environment say", func(t *testing.T) {
		const loose = "LimitCORE=infinity\nEnvironment=GOTRACEBACK=crash\n"
		h.Write("/run/systemd/system/dunlin.service.d/core.conf", "[Service]\nRestartSec=0\n"+loose, 0o644)
		h.Write("/run/systemd/system/other.service", "[Service]\nExecStart=/bin/sleep infinity\nWorkingDirectory=/tmp\n"+loose, 0o644)
		h.MustExec("systemctl", "daemon-reload")
		h.MustExec("systemctl", "restart", "dunlin", "other")
		was := u.show("MainPID")
		if got := h.MustExec("grep", "Max core file size", "/proc/"+was+"/limits"); !strings.Contains(got, "unlimited") {
			t.Fatalf("the drop-in is not in force: %s", got)
		}
		h.MustExec("systemctl", "kill", "-s", "ABRT", "other") // another program's would be written
		h.MustExec("kill", "-ABRT", was)
		u.until("another process is ready", 30*time.Second, another(was))
		ends := h.MustExec("journalctl", "-u", "dunlin", "-u", "other", "--no-pager", "-o", "cat", "--grep", "Main process exited.*ABRT")
		if !strings.Contains(ends, "other.service: Main process exited, code=dumped") {
			t.Errorf("no program leaves a core here, so that this shows nothing:\n%s", ends)
		}
		if !strings.Contains(ends, "dunlin.service: Main process exited, code=") || strings.Contains(ends, "dunlin.service: Main process exited, code=dumped") {
			t.Errorf("the agent's end:\n%s", ends)
		}
		h.MustExec("sh", "-c", "systemctl stop other; rm -r /run/systemd/system/dunlin.service.d /run/systemd/system/other.service; systemctl daemon-reload")
	})

	sub("a dead one is started again", func(t *testing.T) {
		was := u.show("MainPID")
		h.MustExec("kill", "-KILL", was)
		u.until("another process is ready", 20*time.Second, another(was))
	})

	sub("one that hangs is ended and started again", func(t *testing.T) {
		h.Write("/run/systemd/system/dunlin.service.d/watchdog.conf", "[Service]\nWatchdogSec=2\nRestartSec=0\n", 0o644)
		h.MustExec("systemctl", "daemon-reload")
		h.MustExec("systemctl", "restart", "dunlin")
		was := u.show("MainPID")
		h.MustExec("sleep", "4") // it lives longer than its watchdog's time
		if got := u.show("MainPID"); got != was {
			t.Errorf("an agent that lives was replaced\n%s", u.log())
		}
		h.MustExec("kill", "-STOP", was)
		u.until("another process is ready", 30*time.Second, another(was))
		h.MustExec("rm", "-r", "/run/systemd/system/dunlin.service.d")
		h.MustExec("systemctl", "daemon-reload")
	})

	sub("what is in force is enforced without a network", func(t *testing.T) {
		h.MustExec("systemctl", "stop", "dunlin")
		g.Down()
		h.MustExec("sh", "-c", "echo drift >/etc/probe.conf; systemctl disable --now probe; userdel deploy; sysctl -w net.ipv4.ip_forward=0; ip link set eth0 down")
		h.Reboot()
		h.MustExec("ip", "link", "set", "eth0", "down")
		mended(t, "after a boot without a network")
		if log := u.log(); !strings.Contains(log, "last good commit in force") {
			t.Errorf("the log does not say from where:\n%s", log)
		}
		h.MustExec("ip", "link", "set", "eth0", "up")
		g.Up()
	})

	// reported waits until this host's line of the branch says that all policies of a commit are in force.
	reported := func(t *testing.T, commit string) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); ; time.Sleep(200 * time.Millisecond) {
			g.Git("fetch", "-q", "origin")
			lines, _ := g.TryGit("grep", "-h", `"commit":"`+commit+`"`, "origin/reports", "--", "nodes/")
			if strings.Contains(lines, `"Policy":"COMPLIANT"`) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("no report that the policies of %s are in force: %s\n%s", commit, lines, u.log())
			}
		}
	}
	version := func() string {
		pid := u.show("MainPID")
		return strings.TrimSpace(h.MustExec("/proc/"+pid+"/exe", "--version"))
	}
	sub("a transaction survives the agent, whose upgrade waits for it", func(t *testing.T) {
		h.MustExec("mkdir", "-p", "/srv/dunlin")
		for _, f := range glob(filepath.Join(debs, "*")) {
			h.Copy(f, "/srv/dunlin/"+filepath.Base(f))
		}
		h.Write("/etc/apt/sources.list.d/dunlin.list", "deb [trusted=yes] file:/srv/dunlin ./\n", 0o644)
		h.Write("/etc/tb-slow", "5\n", 0o644) // seconds that it takes to configure
		h.MustExec("apt-get", "update")
		_, slow, _ := strings.Cut(h.MustExec("apt-cache", "policy", "tb-slow"), "Candidate: ")
		slow, _, _ = strings.Cut(slow, "\n")
		was := u.show("MainPID")
		commit = g.Push(map[string]string{"policies/packages.cue": packages(`"tb-slow": version: "` + slow + `"`)})
		u.until("tb-slow is being configured", 60*time.Second, `grep -q "Setting up tb-slow" /var/lib/dunlin/tx/*.log`)
		// Whoever ends the agent now ends nothing else; nor does an upgrade, which waits for dpkg's lock.
		h.MustExec("systemctl", "kill", "-s", "KILL", "--kill-whom=all", "dunlin")
		u.upgrade(debs, "0.2.0")
		if got := h.MustExec("dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", "tb-slow"); got != "ii "+slow {
			t.Errorf("tb-slow is %q, want it installed at %s\n%s", got, slow, u.log())
		}
		u.until("the new agent runs", 30*time.Second, "systemctl is-active dunlin")
		if got := version(); u.show("MainPID") == was || !strings.Contains(got, "0.2.0") {
			t.Errorf("after the upgrade runs %q\n%s", got, u.log())
		}
		reported(t, commit)
	})

	sub("a package that changes starts no agent that does not run", func(t *testing.T) {
		h.MustExec("systemctl", "stop", "dunlin")
		h.MustExec("apt-get", "install", "-y", "--reinstall", "/root/dunlin_0.2.0_amd64.deb")
		u.is("reinstalled while it was stopped", "inactive")
		h.MustExec("systemctl", "start", "dunlin")
	})

	sub("a transaction that upgrades the agent goes on to its end", func(t *testing.T) {
		was := u.show("MainPID")
		commit = g.Push(map[string]string{"policies/packages.cue": packages(`dunlin: version: "0.3.0"`, `"tb-after": {}`)})
		u.until("the new agent runs", 60*time.Second, another(was))
		if got := h.MustExec("sh", "-c", "dpkg-query -W -f '${db:Status-Abbrev}' tb-after || true"); strings.HasPrefix(got, "ii") {
			t.Errorf("the agent was started after the transaction, not within it")
		}
		u.until("the rest of the transaction is done", 60*time.Second, `dpkg-query -W -f '${db:Status-Abbrev}' tb-after | grep ii`)
		if got := version(); !strings.Contains(got, "0.3.0") {
			t.Errorf("after the transaction runs %q\n%s", got, u.log())
		}
		if got := h.MustExec("dpkg", "--audit"); got != "" {
			t.Errorf("dpkg is not well: %s", got)
		}
		reported(t, commit)
	})

	sub("removal stops it and keeps what is its own, a purge takes that too", func(t *testing.T) {
		h.MustExec("apt-get", "remove", "-y", "dunlin")
		u.is("removed", "inactive")
		for _, path := range []string{"/etc/dunlin/agent.cue", "/var/lib/dunlin/keys"} {
			if !h.Exists(path) {
				t.Errorf("a removal took %s away", path)
			}
		}
		u.upgrade(debs, "0.3.0")
		u.is("back again", "active")
		h.MustExec("apt-get", "purge", "-y", "dunlin")
		for _, path := range []string{"/etc/dunlin/agent.cue", "/var/lib/dunlin", "/run/dunlin"} {
			if h.Exists(path) {
				t.Errorf("a purge left %s", path)
			}
		}
		if !h.Exists("/etc/dunlin/credential") {
			t.Error("a purge took away a file of an administrator")
		}
	})
}
