package agenttest

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"

	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/schema"
)

// realFleet is three hosts with an agent each, and the Git server that they follow: h1 and h2 over HTTPS, h2 through a
// proxy, h3 over SSH. h1 and h2 may write reports.
type realFleet struct {
	t      *testing.T
	hosts  []*Host
	git    *GitServer
	ids    map[string]string // by host name
	debs   string            // folder of the program's packages, 0.1.0 and 0.2.0
	bin    string            // the program on this machine
	folder string            // of the test's own, over all steps
	proxy  func() int64      // how many connections went through it
}

// newRealFleet starts hosts and server, and gives each host the program's package and its own files. No agent runs yet and nothing is pushed.
func newRealFleet(t *testing.T) *realFleet {
	f := &realFleet{t: t, ids: map[string]string{}, folder: t.TempDir()}
	f.hosts = Hosts(t, 3, Options{Systemd: true})
	f.git = NewGitServer(t, f.hosts[0])
	f.proxy = proxy(t, f.git.netns, "10.77.0.254:3128")
	f.debs = Debs(t, "0.1.0", "0.2.0")
	f.bin = filepath.Join(f.hosts[0].Root(), "usr", "bin", "dunlin") // it is static, so it runs here too
	key := ""
	for i, h := range f.hosts {
		h.Copy(filepath.Join(f.debs, "dunlin_0.1.0_amd64.deb"), "/root/dunlin.deb")
		h.MustExec("apt-get", "install", "-y", "/root/dunlin.deb")
		if key == "" {
			h.MustExec("dunlin", "key", "gossip", "new", "--out", "/etc/dunlin/gossip.key")
			key = h.Read("/etc/dunlin/gossip.key")
		}
		h.Write("/etc/dunlin/gossip.key", key, 0o600)
		repo := `{url: "` + f.git.HTTPS + `", credentialFile: "/etc/dunlin/git.credential", caFile: "/etc/dunlin/ca.pem"}`
		reports := "reports: {}\n"
		if i == 2 {
			repo = `{url: "` + f.git.SSH + `", credentialFile: "/etc/dunlin/id_ed25519", knownHosts: "/etc/dunlin/known_hosts"}`
			reports = ""
		}
		h.Write("/etc/dunlin/agent.cue", `repo: `+repo+`
`+reports+`trust: "unsigned"
gossip: {keyFile: "/etc/dunlin/gossip.key", join: ["10.77.0.1:7950", "10.77.0.2:7950", "10.77.0.3:7950"]}
`, 0o644)
		f.credentials(h)
		h.Write("/etc/systemd/system/probe.service", "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n", 0o644)
		if i == 1 {
			h.Write("/etc/systemd/system/dunlin.service.d/proxy.conf", "[Service]\nEnvironment=HTTPS_PROXY=http://10.77.0.254:3128\n", 0o644)
		}
		h.MustExec("systemctl", "daemon-reload")
	}
	return f
}

// credentials gives a host what it needs to reach the server.
func (f *realFleet) credentials(h *Host) {
	h.Write("/etc/dunlin/git.credential", f.git.User+"\n", 0o600)
	h.Write("/etc/dunlin/ca.pem", f.git.CA, 0o644)
	h.Write("/etc/dunlin/id_ed25519", f.git.Key, 0o600)
	h.Write("/etc/dunlin/known_hosts", f.git.KnownHosts+"\n", 0o644)
}

// roster is the files of the roster, made of what each host says of itself.
func (f *realFleet) roster() map[string]string {
	f.t.Helper()
	files := map[string]string{}
	for _, h := range f.hosts {
		line := h.MustExec("dunlin", "node", "line", "--tags", "role=web")
		var l schema.RosterLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			f.t.Fatalf("%s: %v in %q", h.Name, err, line)
		}
		f.ids[h.Name] = l.ID
		shard := "nodes/" + l.ID[:2] + ".jsonl"
		if files[shard] > line {
			files[shard] = line + files[shard]
		} else {
			files[shard] += line
		}
	}
	return files
}

// step is one part of the test, upon what those before it left. The first that fails ends the test.
func (f *realFleet) step(name string, do func(t *testing.T)) {
	f.t.Helper()
	all := f.t
	use := func(t *testing.T) {
		f.t, f.git.t = t, t
		for _, h := range f.hosts {
			h.t = t
		}
	}
	start := time.Now()
	ok := all.Run(name, func(t *testing.T) {
		use(t)
		do(t)
	})
	use(all)
	all.Logf("%-12s %5.1f s", name, time.Since(start).Seconds())
	if !ok {
		for _, h := range f.hosts {
			log, _, _ := h.Exec("journalctl", "-u", "dunlin", "-o", "cat", "-n", "60", "--no-pager")
			all.Logf("log of %s:\n%s", h.Name, log)
		}
		all.FailNow()
	}
}

// ask asks a host's agent over its socket, as the command line does. Where no agent answers, ok is false.
func ask[T any](h *Host, what func(*api.Client, context.Context) (T, error)) (answer T, ok bool) {
	pid, err := h.leader()
	if err != nil {
		return answer, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	answer, err = what(api.Dial(fmt.Sprintf("/proc/%d/root/run/dunlin/dunlin.sock", pid)), ctx)
	return answer, err == nil
}

// ask1 is ask where an agent must answer.
func ask1[T any](t *testing.T, h *Host, what func(*api.Client, context.Context) (T, error)) T {
	t.Helper()
	answer, ok := ask(h, what)
	if !ok {
		t.Fatalf("%s: its agent does not answer", h.Name)
	}
	return answer
}

// command is what a command of the program prints with -o json.
func command[T any](h *Host, args ...string) (answer T) {
	h.t.Helper()
	out := h.MustExec(append(append([]string{"dunlin"}, args...), "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		h.t.Fatalf("%s: dunlin %q: %v in:\n%s", h.Name, args, err, out)
	}
	return answer
}

func status(h *Host) schema.FleetStatus {
	s, _ := ask(h, (*api.Client).Status)
	return s
}

// sees is how a host's agent sees another host.
func sees(f *realFleet, h, other *Host) schema.NodeStatus {
	all, _ := ask(h, func(c *api.Client, ctx context.Context) ([]schema.NodeView, error) { return c.Nodes(ctx) })
	for _, n := range all {
		if n.ID == f.ids[other.Name] {
			return n.Status
		}
	}
	return ""
}

// holds reports whether a commit is in force on the host, by a pass that looked at it.
func holds(h *Host, commit string) bool {
	a, ok := ask(h, (*api.Client).Account)
	return ok && a.Commit == commit
}

// until waits until ok, looking often, and gives how long it took; after d it fails.
func (f *realFleet) until(what string, d time.Duration, ok func() bool) time.Duration {
	f.t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > d {
			for _, h := range f.hosts {
				b, _ := json.Marshal(status(h))
				f.t.Logf("%s: %s", h.Name, b)
			}
			f.t.Fatalf("not within %v: %s", d, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(start)
}

// every reports whether all hosts, or those named, are so.
func every(hosts []*Host, is func(*Host) bool) func() bool {
	return func() bool {
		for _, h := range hosts {
			if !is(h) {
				return false
			}
		}
		return true
	}
}

// inForce waits until a commit is in force on the hosts, at most d.
func (f *realFleet) inForce(commit string, d time.Duration, hosts ...*Host) time.Duration {
	f.t.Helper()
	return f.until("commit "+commit[:12]+" in force", d, every(hosts, func(h *Host) bool { return holds(h, commit) }))
}

// whole waits until every host sees every other.
func (f *realFleet) whole(d time.Duration) time.Duration {
	f.t.Helper()
	return f.until("all see all", d, every(f.hosts, func(h *Host) bool { return status(h).Nodes[string(schema.Online)] == len(f.hosts) }))
}

// mended changes something on a host and gives how long it took until a condition, both in the shell's words, as the
// host itself sees it.
func mended(h *Host, change, until string) time.Duration {
	h.t.Helper()
	out := h.MustExec("bash", "-c", change+`
s=$(date +%s%N)
for ((i = 0; i < 3000; i++)); do
	if `+until+`; then echo $((($(date +%s%N) - s) / 1000000)); exit; fi
	sleep 0.01
done
exit 1`)
	var ms int
	if _, err := fmt.Sscan(out, &ms); err != nil {
		h.t.Fatalf("%s: %v in %q", h.Name, err, out)
	}
	return time.Duration(ms) * time.Millisecond
}

// logged are the times at which a host's agent logged a message that has all these words.
func logged(h *Host, words ...string) []time.Time {
	h.t.Helper()
	var out []time.Time
	for line := range strings.Lines(h.MustExec("journalctl", "-u", "dunlin", "-o", "cat", "--no-pager")) {
		has := true
		for _, w := range words {
			has = has && strings.Contains(line, w)
		}
		var entry struct{ Time time.Time }
		if has && json.Unmarshal([]byte(line), &entry) == nil {
			out = append(out, entry.Time)
		}
	}
	return out
}

// clone is a fresh clone of the reports branch, as a person makes it. It has the roster's branch too.
func (f *realFleet) clone() string {
	f.t.Helper()
	dir := filepath.Join(f.t.TempDir(), "clone")
	f.git.Git("clone", "-q", f.git.HTTPS, dir)
	f.git.Git("-C", dir, "checkout", "-q", "reports")
	return dir
}

// verified checks the reports branch with `dunlin report verify` and gives its files' folder.
func (f *realFleet) verified(lines int) string {
	f.t.Helper()
	dir := f.clone()
	out, err := runHere(f.bin, "report", "verify", "--repo", dir, "-o", "json")
	var v struct {
		Lines int
		Bad   []any
	}
	if err != nil || json.Unmarshal([]byte(out), &v) != nil || v.Lines != lines || len(v.Bad) != 0 {
		f.t.Errorf("report verify: %v, want %d lines and none bad:\n%s", err, lines, out)
	}
	return dir
}

// reported waits until the reports branch says so of every host.
func (f *realFleet) reported(what string, d time.Duration, is func(h *Host, l schema.ReportLine) bool) time.Duration {
	f.t.Helper()
	last := ""
	return f.until(what+" on the reports branch", d, func() bool {
		f.git.Git("fetch", "-q", "origin")
		head, err := f.git.TryGit("rev-parse", "--verify", "-q", "origin/reports")
		if err != nil || head == last {
			return false
		}
		last = head
		byID := map[string]schema.ReportLine{}
		for text := range strings.Lines(f.git.Git("grep", "-h", "", head, "--", "nodes/")) {
			var l schema.ReportLine
			if json.Unmarshal([]byte(text), &l) == nil {
				byID[l.Node] = l
			}
		}
		return every(f.hosts, func(h *Host) bool { return is(h, byID[f.ids[h.Name]]) })()
	})
}

// runHere runs a program on this machine and gives what it printed.
func runHere(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	return string(out), err
}
