package agenttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What the shipped library says takes hold on a real host, and a second run finds nothing to do: ports are closed to a
// neighbour, kernel parameters set, units stopped, and the daemon restarted with a file that a real sshd takes.
func TestReconcileTheLibrary(t *testing.T) {
	hosts := Hosts(t, 2, Options{Systemd: true})
	h, neighbour := hosts[0], hosts[1]
	Dunlin(t, h)
	h.MustExec("apt-get", "update")
	h.MustExec("mkdir", "-p", "/etc/ssh/sshd_config.d")
	const unit = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
	for _, name := range []string{"ssh.service", "cups.service"} {
		h.Write("/etc/systemd/system/"+name, unit, 0o644)
	}
	h.MustExec("systemctl", "daemon-reload")
	h.MustExec("systemctl", "enable", "--now", "ssh.service", "cups.service")
	h.MustExec("systemd-run", "--unit=portmapper", "nc", "-lk", "-p", "111")
	if !reachesWhenUp(neighbour, h.Addr4, 111, true) {
		t.Fatal("the neighbour does not reach port 111 before any policy")
	}
	install(h, map[string]string{"hardening.cue": `import "dunlin.dev/policies/hardening"

policy: "ports": hardening.policy."legacy-ports"
policy: "ipv4":  hardening.policy."ipv4-sysctls"
policy: "ssh":   hardening.policy."ssh-daemon"
policy: "units": hardening.#UnneededServices & {targets: all: true, #except: ["bluetooth.service"]}
policy: "own":   hardening.policy."own-updates"
`})
	pid := func() string { return h.MustExec("systemctl", "show", "-p", "MainPID", "ssh.service") }
	first := pid()
	a := reconcile(t, h, 0)
	for _, c := range a.settled() {
		if c.Result != "Changed" {
			t.Errorf("%+v, want Changed", c)
		}
	}
	if reachesWhenUp(neighbour, h.Addr4, 111, false) {
		t.Error("the neighbour reaches port 111")
	}
	if got := h.MustExec("sysctl", "-n", "net.ipv4.conf.all.accept_redirects", "net.ipv4.conf.default.rp_filter", "net.ipv4.conf.all.log_martians"); got != "0\n1\n1\n" {
		t.Errorf("kernel parameters are %q", got)
	}
	if out, _, _ := h.Exec("systemctl", "is-active", "cups.service", "apt-daily.timer"); out != "inactive\ninactive\n" {
		t.Errorf("cups and apt-daily are %q", out)
	}
	if pid() == first {
		t.Error("the daemon was not restarted")
	}
	const file = "/etc/ssh/sshd_config.d/00-dunlin.conf"
	if got := h.MustExec("stat", "-c", "%a %U:%G", file); got != "600 root:root\n" {
		t.Errorf("%s is %q", file, got)
	}
	sshdTakes(t, h.Read(file))
	unchanged(t, h)
}

// sshdTakes holds a configuration against this machine's own sshd, which starts nothing.
func sshdTakes(t *testing.T, config string) {
	t.Helper()
	dir := t.TempDir()
	key, file := filepath.Join(dir, "key"), filepath.Join(dir, "sshd_config")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/usr/sbin/sshd", "-T", "-h", key, "-f", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "Deprecated") {
		t.Fatalf("sshd refuses the file: %v: %s\n%s", err, out, config)
	}
	for _, want := range []string{"permitrootlogin without-password", "maxauthtries 4", "maxstartups 10:30:60", "loglevel VERBOSE", "x11forwarding no"} {
		if !strings.Contains("\n"+string(out), "\n"+want+"\n") {
			t.Errorf("sshd does not say %q", want)
		}
	}
}
