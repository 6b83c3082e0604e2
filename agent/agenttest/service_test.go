package agenttest

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// kinds is a program on hosts that runs resource kinds there.
type kinds struct {
	t testing.TB
	h *Host
}

type kindsAnswer struct {
	Drift  []schema.Drift
	Errors []string
	Micros int64
}

// withKinds builds the program and puts it on the hosts.
func withKinds(t testing.TB, hosts ...*Host) []kinds {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "kinds")
	cmd := exec.Command("go", "build", "-o", bin, "./agent/agenttest/testdata/kinds")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	out := make([]kinds, len(hosts))
	for i, h := range hosts {
		h.Copy(bin, "/usr/local/bin/kinds")
		out[i] = kinds{t, h}
	}
	return out
}

func (k kinds) do(what string, rs ...schema.Resource) kindsAnswer {
	k.t.Helper()
	in, err := json.Marshal(map[string]any{"Do": what, "Resources": rs})
	if err != nil {
		k.t.Fatal(err)
	}
	out, errs, code := k.h.exec(strings.NewReader(string(in)), "kinds")
	var a kindsAnswer
	if code != 0 || json.Unmarshal([]byte(out), &a) != nil {
		k.t.Fatalf("kinds %s: exit code %d\n%s%s", what, code, out, errs)
	}
	return a
}

// service is a resource; each of running and enabled is "yes", "no" or empty.
func service(key, running, enabled string) schema.Resource {
	yesNo := func(s string) *bool {
		if s == "" {
			return nil
		}
		return new(s == "yes")
	}
	return schema.Resource{Kind: schema.KindService, Key: key, Mode: schema.Enforce, Service: &schema.Service{Running: yesNo(running), Enabled: yesNo(enabled)}}
}

// drifts is what a check says in one line: "start running/stopped".
func drifts(a kindsAnswer) string {
	var all []string
	for i, d := range a.Drift {
		if a.Errors[i] != "" {
			all = append(all, "error "+a.Errors[i])
		}
		for _, x := range d {
			all = append(all, string(x.Action)+" "+x.Want+"/"+x.Got)
		}
	}
	return strings.Join(all, ", ")
}

func TestServicesOnARealSystemd(t *testing.T) {
	h := Hosts(t, 1, Options{Systemd: true})[0]
	k := withKinds(t, h)[0]
	unit := func(name, text string) { h.Write("/etc/systemd/system/"+name, text, 0o644) }
	unit("t-run.service", "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n")
	unit("t-alias.service", "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\nAlias=t-other.service\n")
	unit("t-slowly.service", "[Service]\nType=notify\nNotifyAccess=all\nExecStart=/bin/sh -c 'sleep 1; systemd-notify --ready; exec sleep infinity'\n")
	unit("t-fail.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'echo no such luck; exit 3'\n[Install]\nWantedBy=multi-user.target\n")
	unit("t-never.service", "[Service]\nType=notify\nTimeoutStartSec=1\nExecStart=/bin/sleep infinity\n")
	unit("t-ends.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
	unit("t-loop.service", "[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=1000\n")
	unit("t-cond.service", "[Unit]\nConditionPathExists=/nowhere\n[Service]\nExecStart=/bin/sleep infinity\n")
	unit("t-needs.service", "[Unit]\nRequires=t-fail.service\nAfter=t-fail.service\n[Service]\nExecStart=/bin/sleep infinity\n")
	unit("t-static.service", "[Service]\nExecStart=/bin/sleep infinity\n")
	unit("t-tmpl@.service", "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\nDefaultInstance=one\n")
	unit("t-sock.socket", "[Socket]\nListenStream=127.0.0.1:7999\nAccept=no\n[Install]\nWantedBy=sockets.target\n")
	unit("t-sock.service", "[Service]\nExecStart=/bin/sleep infinity\n")
	h.MustExec("systemctl", "daemon-reload")

	steps := []struct {
		name   string
		before string // a shell command on the host
		res    schema.Resource
		drift  string // before
		fails  string // words of Apply's error
		after  string // a shell command that must succeed
	}{
		{"starts and enables", "", service("t-run", "yes", "yes"), "enable enabled/disabled, start running/stopped", "", "systemctl is-active t-run && systemctl is-enabled t-run"},
		{"mends what was stopped", "systemctl stop t-run", service("t-run.service", "yes", "yes"), "start running/stopped", "", "systemctl is-active t-run"},
		{"mends what was killed", "systemctl kill -s KILL t-run; while systemctl -q is-active t-run; do sleep 0.1; done", service("t-run", "yes", ""), "start running/failed", "", "systemctl is-active t-run"},
		{"stops and disables", "", service("t-run", "no", "no"), "disable disabled/enabled, stop stopped/running", "", "! systemctl is-active t-run && ! systemctl is-enabled t-run"},
		{"leaves alone what is not named", "systemctl start t-run", service("t-run", "", "no"), "", "", "systemctl is-active t-run"},
		{"enabled until the next boot is enabled for good", "systemctl enable --runtime t-run", service("t-run", "", "yes"), "enable enabled/enabled-runtime", "", "test -e /etc/systemd/system/multi-user.target.wants/t-run.service"},
		{"both sorts of links go", "systemctl enable --runtime t-run", service("t-run", "", "no"), "disable disabled/enabled", "", "test $(systemctl is-enabled t-run) = disabled"},
		{"a link made by hand is seen without a reload", "ln -s ../t-run.service /etc/systemd/system/multi-user.target.wants/", service("t-run", "", "no"), "disable disabled/enabled", "", "! systemctl is-enabled t-run"},
		{"waits for one that takes its time", "", service("t-slowly", "yes", ""), "start running/stopped", "", "systemctl is-active t-slowly"},
		{"a failed start says how and its last words", "", service("t-fail", "yes", ""), "start running/stopped", `result exit-code; its last words: "no such luck"`, "systemctl is-failed t-fail"},
		{"a failed unit counts as stopped", "", service("t-fail", "no", ""), "", "", "systemctl is-failed t-fail"},
		{"one that does not get ready in its time", "", service("t-never", "yes", ""), "start running/stopped", "result timeout", ""},
		{"a oneshot that ends cannot be kept running", "", service("t-ends", "yes", ""), "start running/stopped", "it runs and ends", ""},
		{"a condition that does not hold", "", service("t-cond", "yes", ""), "start running/stopped", "a Condition", ""},
		{"a unit whose dependency fails", "systemctl reset-failed", service("t-needs", "yes", ""), "start running/stopped", "systemctl list-dependencies t-needs.service", ""},
		{"a crash loop is stopped", "systemctl start t-loop; until systemctl show -p SubState t-loop | grep -q auto-restart; do sleep 0.1; done", service("t-loop", "no", ""), "stop stopped/restarting", "", "test $(systemctl show -P SubState t-loop) = dead"},
		{"masked cannot run", "systemctl mask --now tb-web.service", service("tb-web", "yes", "yes"), "enable enabled/masked, start running/masked", "systemctl unmask tb-web.service", "! systemctl is-active tb-web"},
		{"static cannot be enabled", "", service("t-static", "yes", "yes"), "enable enabled/static, start running/stopped", "[Install]", "! systemctl is-active t-static"},
		{"static is disabled", "", service("t-static", "", "no"), "", "", ""},
		{"what does not exist is stopped and disabled", "", service("no-such", "no", "no"), "", "", ""},
		{"what does not exist cannot run", "", service("no-such", "yes", ""), "start running/", `"no-such.service": there is no such unit`, ""},
		{"an alias is followed", "systemctl enable t-alias", service("t-other", "yes", "yes"), "start running/stopped", "", "systemctl is-active t-alias"},
		{"an instance of a template", "", service("t-tmpl@two", "yes", "yes"), "enable enabled/disabled, start running/stopped", "", "systemctl is-active t-tmpl@two && systemctl is-enabled t-tmpl@two"},
		{"a template is refused", "", service("t-tmpl@.service", "", "yes"), `error check service "t-tmpl@.service": "t-tmpl@.service" is a template, which neither runs nor is enabled: name an instance such as "t-tmpl@name.service"`, "name an instance", ""},
		{"a socket is a unit of its own", "", service("t-sock.socket", "yes", "yes"), "enable enabled/disabled, start running/stopped", "", "systemctl is-active t-sock.socket && ! systemctl is-active t-sock.service"},
		{"a service behind a socket is stopped, the socket listens on", "systemctl start t-sock.service", service("t-sock", "no", ""), "stop stopped/running", "", "systemctl is-active t-sock.socket"},
	}
	for _, tt := range steps {
		t.Run(tt.name, func(t *testing.T) {
			k.t = t
			if tt.before != "" {
				h.MustExec("sh", "-c", tt.before)
			}
			if got := drifts(k.do("check", tt.res)); got != tt.drift {
				t.Errorf("Check = %q, want %q", got, tt.drift)
			}
			err := k.do("apply", tt.res).Errors[0]
			if (err != "") != (tt.fails != "") || !strings.Contains(err, tt.fails) {
				t.Errorf("Apply = %q, want words %q", err, tt.fails)
			}
			if got := drifts(k.do("check", tt.res)); tt.fails == "" && got != "" {
				t.Errorf("Check after Apply = %q", got)
			}
			if tt.after != "" {
				if out, errs, code := h.Exec("sh", "-c", tt.after); code != 0 {
					t.Errorf("%s: exit code %d\n%s%s", tt.after, code, out, errs)
				}
			}
		})
	}
	k.t = t

	t.Run("a restart gives a new process, and none to what is stopped", func(t *testing.T) {
		h.MustExec("systemctl", "start", "t-slowly")
		pid := func() string { return h.MustExec("systemctl", "show", "-P", "MainPID", "t-slowly") }
		was := pid()
		if err := k.do("restart", service("t-slowly", "", "")).Errors[0]; err != "" || pid() == was {
			t.Errorf("restart = %q, process %s, was %s", err, pid(), was)
		}
		h.MustExec("systemctl", "stop", "t-slowly")
		if err := k.do("restart", service("t-slowly", "", "")).Errors[0]; !strings.Contains(err, "stays so") || pid() != "0\n" {
			t.Errorf("restart of what is stopped = %q, process %s", err, pid())
		}
		if err := k.do("restart", service("no-such", "", "")).Errors[0]; !strings.Contains(err, "no such unit") {
			t.Errorf("restart of what does not exist = %q", err)
		}
	})
	t.Run("a second pass over all of them changes nothing", func(t *testing.T) {
		rs := []schema.Resource{service("t-alias", "yes", "yes"), service("t-sock.socket", "yes", "yes"), service("no-such", "no", "no")}
		k.do("apply", rs...)
		before := h.MustExec("sh", "-c", "systemctl show -p Id,InvocationID,ActiveEnterTimestampMonotonic t-alias t-sock.socket; find /etc/systemd -printf '%p %i %C@\n' | sort")
		if errs := strings.Join(k.do("apply", rs...).Errors, ""); errs != "" {
			t.Error(errs)
		}
		if after := h.MustExec("sh", "-c", "systemctl show -p Id,InvocationID,ActiveEnterTimestampMonotonic t-alias t-sock.socket; find /etc/systemd -printf '%p %i %C@\n' | sort"); after != before {
			t.Errorf("changed:\n%s\nwas:\n%s", after, before)
		}
	})
	t.Run("without the bus daemon systemd's own socket serves", func(t *testing.T) {
		h.MustExec("sh", "-c", "systemctl stop dbus.socket dbus.service 2>&1; mv /run/dbus /run/dbus.away")
		if got := drifts(k.do("check", service("t-alias", "yes", "yes"))); got != "" {
			t.Errorf("Check = %q", got)
		}
		h.MustExec("sh", "-c", "mv /run/dbus.away /run/dbus; systemctl start dbus.socket")
	})
	var many []schema.Resource
	for _, name := range strings.Fields(h.MustExec("sh", "-c", "systemctl list-units --plain --type=service --state=active --no-legend | awk '{print $1}' | head -50")) {
		many = append(many, service(name, "yes", "yes"))
	}
	t.Logf("Check of %d running services: %d µs", len(many), k.do("bench", many...).Micros)
}

func TestServicesWithoutSystemd(t *testing.T) {
	h := Hosts(t, 1, Options{})[0]
	k := withKinds(t, h)[0]
	for _, do := range []string{"check", "apply", "restart"} {
		if got := k.do(do, service("nginx", "yes", "")).Errors[0]; !strings.Contains(got, "no systemd here: services cannot be managed on this host") {
			t.Errorf("%s = %q", do, got)
		}
	}
}

// The SSH session in use is found on a host with a real connection to a program called sshd.
func TestPortsOnARealHost(t *testing.T) {
	hosts := Hosts(t, 2, Options{Systemd: true})
	h1, h2 := hosts[0], hosts[1]
	k := withKinds(t, h1)[0]
	block := func(key string, p uint16) schema.Resource {
		b := schema.BlockedPort{Port: schema.PortRange{First: p, Last: p}, Protocol: "tcp", From: "any", Direction: "in"}
		return schema.Resource{Kind: schema.KindPort, Key: key, Mode: schema.Enforce, Port: &b}
	}
	telnet := block("in/tcp/23/any", 23)
	h1.MustExec("sh", "-c", "until nc -z 127.0.0.1 23; do sleep 0.1; done")
	for _, a := range []string{h1.Addr4, h1.Addr6} {
		if !h2.Reaches(a, 23) {
			t.Fatalf("h2 does not reach port 23 of %s, which should be open", a)
		}
	}
	if err := strings.Join(append(k.do("apply", telnet).Errors, k.do("confirm", telnet).Errors...), ""); err != "" {
		t.Fatal(err)
	}
	for _, a := range []string{h1.Addr4, h1.Addr6} {
		if h2.Reaches(a, 23) {
			t.Errorf("h2 reaches port 23 of %s", a)
		}
	}
	h1.MustExec("nc", "-z", "127.0.0.1", "23")

	// A session: nc under the name of the server, with somebody connected.
	h1.MustExec("sh", "-c", "cp -L $(command -v nc) /usr/local/bin/sshd")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := h1.Command(ctx, "/usr/local/bin/sshd", "-l", "-p", "2222")
	client := h2.Command(ctx, "sh", "-c", "until nc "+h1.Addr4+" 2222; do sleep 0.1; done")
	if _, err := client.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*exec.Cmd{server, client} {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer c.Wait()
		defer cancel()
	}
	h1.MustExec("sh", "-c", "until grep -q ':08AE [0-9A-F]*:[0-9A-F]* 01' /proc/net/tcp /proc/net/tcp6; do sleep 0.1; done")
	if err := k.do("apply", block("in/tcp/2222/any", 2222)).Errors[0]; !strings.Contains(err, "the SSH session in use from "+h2.Addr4) {
		t.Errorf("block of the session's port = %q, want a refusal", err)
	}
}
