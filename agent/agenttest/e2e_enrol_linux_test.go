package agenttest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
)

// enrolment lets all three hosts forget who they were and ask to be let in anew with one code each: two are let in by
// hand, one by a machine with a key that can do nothing else. Who asks and is not let in gets nothing.
func (f *realFleet) enrolment(t *testing.T, p realPeople, anchor string) {
	work := f.git.Work
	dunlin := func(args ...string) string {
		t.Helper()
		out, err := runHere(append([]string{f.bin}, args...)...)
		if err != nil {
			t.Fatalf("dunlin %s: %v: %s", strings.Join(args[:2], " "), err, out)
		}
		return out
	}
	sign := func(who string) string {
		t.Helper()
		f.git.Git("add", "-A")
		f.git.Git("-c", "gpg.format=ssh", "-c", "user.signingkey="+filepath.Join(p.dir, who), "commit", "-q", "-S", "-m", "change")
		f.git.Git("push", "-q", "origin", "main")
		return f.git.Git("rev-parse", "HEAD")
	}
	h4 := f.fourth()
	codes := map[string]string{}
	for _, h := range append(slices.Clone(f.hosts), h4) {
		out := dunlin("activation", "create", "act-"+h.Name, "--repo", work, "--tags", "role=web", "--network", "10.77.0.0/24", "--by", "carol", "-o", "json")
		var made struct{ Code string }
		if at := strings.Index(out, "{"); at < 0 || json.NewDecoder(strings.NewReader(out[at:])).Decode(&made) != nil || made.Code == "" {
			t.Fatalf("activation create: %s", out)
		}
		codes[h.Name] = made.Code
	}
	// A file is made of a secret that every node may read, whoever it is.
	const value = "canary-of-all-nodes"
	recovery, secretFile, secretValue := f.recovery(t), "/etc/shared.secret", filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(secretValue, []byte(value+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, text := range p.fleet("carol=root,policy", "gate=enrol") {
		text += `fleet: roles: {root: {paths: ["fleet.cue", "schema.cue", "cue.mod/**", "nodes/**", "activations/**", "grants/**", "guardrails/**"]}, policy: {paths: ["**"]}, enrol: {paths: ["nodes/**"], activations: ["act-h3"]}}` + "\n" + recovery.lines
		if err := os.WriteFile(filepath.Join(work, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dunlin("param", "put", "/app/shared", "--repo", work, "--type", "SecureString", "--target", "all", "--value-file", secretValue)
	if err := os.WriteFile(filepath.Join(work, "policies", "secret.cue"), []byte("package fleet\n\npolicy: shared: {targets: all: true, files: \""+secretFile+"\": contentFrom: parameter: \"/app/shared\"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	open := sign("carol")
	f.inForce(open, 30*time.Second, f.hosts...)
	has := func(h *Host) bool { out, _, _ := h.Exec("cat", secretFile); return out == value }
	f.until("all have the secret's file", 30*time.Second, every(f.hosts, has))

	// h2 and h3 are no nodes any more, and know nothing.
	dunlin("node", "retire", "h2", "h3", "--repo", work, "--no-commit")
	f.inForce(sign("carol"), 30*time.Second, f.hosts[0])
	h1, h2, h3 := f.hosts[0], f.hosts[1], f.hosts[2]
	nameOf := func(h *Host) string {
		if h == h4 {
			return h.Name
		}
		return h.Name + "-anew"
	}
	asks := func(h *Host, code string, members ...*Host) (string, int) {
		t.Helper()
		repo := "--repo " + f.git.HTTPS + " --credential-file /etc/dunlin/git.credential --ca-file /etc/dunlin/ca.pem"
		if h == h3 {
			repo = "--repo " + f.git.SSH + " --credential-file /etc/dunlin/id_ed25519 --known-hosts /etc/dunlin/known_hosts"
		}
		peers := ""
		for _, m := range members {
			peers += " --peer " + m.Addr4 + ":7951"
		}
		out, complaint, exit := h.Exec("sh", "-c", fmt.Sprintf("printf '%%s\\n' %s | dunlin join %s --activation act-%s --code-file - --anchor %s%s --name %s 2>&1", code, repo, h.Name, anchor, peers, nameOf(h)))
		return out + complaint, exit
	}
	forgets := func(h *Host) {
		t.Helper()
		h.MustExec("systemctl", "stop", "dunlin")
		h.MustExec("rm", "-rf", "/var/lib/dunlin", "/etc/dunlin/agent.cue", "/etc/dunlin/gossip.key", secretFile)
		h.Write("/etc/motd", "nobody's\n", 0o644)
	}
	joins := func(at *Host) map[string]string { // by name
		out := map[string]string{}
		lines, _ := ask(at, func(c *api.Client, ctx context.Context) ([]string, error) { return c.Joins(ctx) })
		for _, line := range lines {
			if j, err := trust.ParseJoin([]byte(line)); err == nil {
				out[j.Proof.Name] = line
			}
		}
		return out
	}
	proof := func(at, of *Host) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "proof")
		if err := os.WriteFile(path, []byte(joins(at)[nameOf(of)]+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	in := func(h *Host, others ...*Host) {
		t.Helper()
		took := f.until(h.Name+" is a node", 60*time.Second, func() bool {
			s := status(h)
			return s.Node == nameOf(h) && s.Nodes[string(schema.Online)] == len(others)+1 && h.Read("/etc/motd") == "at peace\n"
		})
		t.Logf("%s is a node, and enforces, %v after it was let in", h.Name, took.Round(10*time.Millisecond))
	}
	for _, h := range []*Host{h2, h3, h4} {
		if h != h4 {
			forgets(h)
		}
		if out, code := asks(h, codes[h1.Name], h1, h2); code != 4 || !strings.Contains(out, "not let in: code") {
			t.Fatalf("%s asks with the code of another activation: exit %d: %s", h.Name, code, out)
		}
		if out, code := asks(h, codes[h.Name], h1, h2); code != 0 || !strings.Contains(out, "has heard it") {
			t.Fatalf("%s asks: exit %d: %s", h.Name, code, out)
		}
		h.MustExec("systemctl", "start", "dunlin")
	}
	nothing := func(h *Host) {
		t.Helper()
		f.until(h.Name+" says that it waits", 30*time.Second, func() bool {
			return strings.Contains(strings.Join(status(h).Problems, "\n"), "waits until it is let in")
		})
		if got := h.Read("/etc/motd"); got != "nobody's\n" || h.Exists("/var/lib/dunlin/gossip-keys.json") || h.Exists(secretFile) {
			t.Errorf("%s was not let in, and has /etc/motd %q, or a gossip key, or a secret", h.Name, got)
		}
		if n := status(h1).Nodes[string(schema.Online)]; n > 3 {
			t.Errorf("h1 sees %d nodes", n)
		}
	}
	waits := func(at *Host, hosts ...*Host) func() bool {
		return func() bool {
			all := joins(at)
			return len(all) == len(hosts) && every(hosts, func(h *Host) bool { return all[nameOf(h)] != "" })()
		}
	}
	f.until("h1 knows who asks", 10*time.Second, waits(h1, h2, h3, h4))
	nothing(h2)
	nothing(h3)
	nothing(h4)

	// A person lets h2 in; h3 still gets nothing.
	dunlin("node", "approve", "h2-anew", "--repo", work, "--no-fetch", "--proof", proof(h1, h2), "--yes", "--no-commit")
	sign("carol")
	in(h2, h1)
	nothing(h3)
	nothing(h4)

	// A machine lets h3 in, as it may with that activation, in a clone of its own.
	bare, own := filepath.Join(t.TempDir(), "bare.git"), filepath.Join(t.TempDir(), "gate")
	for _, args := range [][]string{
		{"git", "-c", "safe.directory=*", "clone", "-q", "--bare", work, bare}, {"git", "clone", "-q", "-b", "main", bare, own},
		{"git", "-C", own, "config", "user.name", "gate"}, {"git", "-C", own, "config", "user.email", "gate@example.org"}, {"git", "-C", own, "config", "gpg.format", "ssh"},
		{"git", "-C", own, "config", "user.signingkey", filepath.Join(p.dir, "gate")}, {"git", "-C", own, "config", "commit.gpgsign", "true"},
	} {
		if out, err := runHere(args...); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	if out := dunlin("node", "approve", "--auto", "--once", "--repo", own, "--anchor", anchor, "--proof", proof(h1, h3)); !strings.Contains(out, "h3-anew") {
		t.Fatalf("the machine lets nobody in: %s", out)
	}
	f.git.Git("-c", "safe.directory=*", "pull", "-q", "--ff-only", bare, "main")
	f.git.Git("push", "-q", "origin", "main")
	in(h3, h1, h2)

	// h1 is let in by those that have just come.
	dunlin("node", "retire", "h1", "--repo", work, "--no-commit")
	last := sign("carol")
	f.inForce(last, 30*time.Second, h2, h3)
	forgets(h1)
	// What h1 had heard is gone with it, so the fourth asks another once more.
	for _, h := range []*Host{h1, h4} {
		members := []*Host{h2}
		if h == h4 {
			h.MustExec("systemctl", "stop", "dunlin")
			members = []*Host{h1, h2}
		}
		if out, code := asks(h, codes[h.Name], members...); code != 0 || !strings.Contains(out, "has heard it") {
			t.Fatalf("%s asks: exit %d: %s", h.Name, code, out)
		}
		h.MustExec("systemctl", "start", "dunlin")
	}
	f.until("h3 knows who asked h2", 20*time.Second, waits(h3, h1, h4))
	dunlin("node", "approve", "--all-pending", "--repo", work, "--no-fetch", "--proof", proof(h3, h1), "--yes", "--no-commit")
	sign("carol")
	in(h1, h2, h3)
	out := dunlin("activation", "list", "--repo", work)
	if strings.Count(out, "full: 1 of 1") != 3 || !strings.Contains(out, "act-h4") {
		t.Errorf("activations: %s", out)
	}

	// The secret is for who is in now; the fourth is as it came.
	if out, err := runHere(f.bin, "param", "rotate", "/app/shared", "--repo", work, "--identity", recovery.key, "--value-file", secretValue); err != nil {
		t.Fatalf("param rotate: %v: %s", err, out)
	}
	f.inForce(sign("carol"), 30*time.Second, f.hosts...)
	f.until("all have the secret's file again", 30*time.Second, every(f.hosts, has))
	f.until("h1 knows that h4 still asks", 20*time.Second, waits(h1, h4))
	f.outside(t, h4, value, recovery.lines)
	if out := dunlin("trust", "verify", "--repo", work, "--anchor", anchor); !strings.Contains(out, "enrol: gate") {
		t.Errorf("trust verify: %s", out)
	}
}

// fourth is one host more, which has the program, a code of its own in a while, and nobody who lets it in.
func (f *realFleet) fourth() *Host {
	f.t.Helper()
	t, h := f.t, f.hosts[0].Beside(4)
	t.Cleanup(func() {
		if t.Failed() {
			log, _, _ := h.Exec("journalctl", "-u", "dunlin", "-o", "cat", "-n", "60", "--no-pager")
			t.Logf("log of %s:\n%s", h.Name, log)
		}
	})
	h.Copy(filepath.Join(f.debs, "dunlin_0.2.0_amd64.deb"), "/root/dunlin.deb")
	h.MustExec("apt-get", "install", "-y", "/root/dunlin.deb")
	f.credentials(h)
	h.Write("/etc/motd", "nobody's\n", 0o644)
	h.Write("/etc/systemd/system/probe.service", "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n", 0o644)
	// All that it says or hears of gossip is counted.
	h.MustExec("nft", `table inet heard {
	chain out { type filter hook output priority 0; udp dport 7950 counter; udp sport 7950 counter; tcp dport 7950 counter; }
	chain in { type filter hook input priority 0; udp sport 7950 counter; udp dport 7950 counter; }
}`)
	return h
}

// outside fails the test unless a host that asks to be let in is just as it came, and those who are in see it wait.
func (f *realFleet) outside(t *testing.T, h *Host, secret, recovery string) {
	t.Helper()
	if got := h.Read("/etc/motd"); got != "nobody's\n" {
		t.Errorf("%s: /etc/motd is %q", h.Name, got)
	}
	for _, addr := range []string{h.Addr4, h.Addr6} {
		if !f.hosts[1].Reaches(addr, 23) {
			t.Errorf("port 23 of %s is closed at %s", h.Name, addr)
		}
	}
	if out, _, code := h.Exec("nft", "list", "table", "inet", "dunlin"); code == 0 {
		t.Errorf("%s has a firewall of the fleet's: %s", h.Name, out)
	}
	if out, _, _ := h.Exec("systemctl", "is-active", "probe"); out != "inactive\n" {
		t.Errorf("%s: probe is %q", h.Name, out)
	}
	if got := versions(h); got["tb-lib"] != "1.0-1" || got["tb-slow"] != "1.0-1" {
		t.Errorf("%s was patched: tb-lib %s, tb-slow %s", h.Name, got["tb-lib"], got["tb-slow"])
	}
	// No key, no secret: neither as a file, nor opened by whoever is root there.
	for _, path := range []string{"/etc/shared.secret", "/etc/dunlin/gossip.key", "/var/lib/dunlin/gossip.key", "/var/lib/dunlin/gossip-keys.json"} {
		if h.Exists(path) {
			t.Errorf("%s has %s", h.Name, path)
		}
	}
	if out, _, _ := h.Exec("grep", "-rlF", secret, "/etc", "/var", "/root", "/run", "/tmp"); out != "" {
		t.Errorf("%s has the secret in %q", h.Name, out)
	}
	h.Write("/root/policy/fleet.cue", fleetFile+recovery, 0o644)
	h.Copy(filepath.Join(f.git.Work, "parameters", "app", "shared.cue"), "/root/policy/parameters/app/shared.cue")
	if out, errs, code := h.Exec("dunlin", "param", "get", "/app/shared", "--reveal", "--repo", "/root/policy"); code != 4 || strings.Contains(out+errs, secret) {
		t.Errorf("%s opens the secret: exit %d: %s%s", h.Name, code, out, errs)
	}
	if out := h.MustExec("nft", "list", "table", "inet", "heard"); strings.Count(out, "packets 0") != strings.Count(out, "packets") || !strings.Contains(out, "packets 0") {
		t.Errorf("%s has spoken with the cluster, or been spoken to:\n%s", h.Name, out)
	}
	// Its own words, and others'.
	if s := status(h); s.Node != "" || !strings.Contains(strings.Join(s.Problems, "\n"), "waits until it is let in") {
		t.Errorf("%s says of itself %+v", h.Name, s)
	}
	for _, at := range f.hosts {
		if s := status(at); s.Nodes[string(schema.Online)] != len(f.hosts) {
			t.Errorf("%s sees %v", at.Name, s.Nodes)
		}
		for _, n := range command[[]schema.NodeView](at, "nodes") {
			if n.Name == h.Name {
				t.Errorf("%s lists it as a node: %+v", at.Name, n)
			}
		}
	}
	for _, path := range glob(filepath.Join(f.git.Work, "nodes", "*.jsonl")) {
		if text, err := os.ReadFile(path); err != nil || strings.Contains(string(text), `"name":"`+h.Name+`"`) {
			t.Errorf("the roster has it: %s, %v", text, err)
		}
	}
}

// recoveryKeys are keys of fleet.recovery: one that is here, and the lines of fleet.cue.
type recoveryKeys struct{ key, lines string }

func (f *realFleet) recovery(t *testing.T) recoveryKeys {
	t.Helper()
	var all []string
	r := recoveryKeys{key: filepath.Join(t.TempDir(), "recovery")}
	for range 2 {
		key, err := age.GenerateX25519Identity()
		if err == nil {
			err = os.WriteFile(r.key, []byte(key.String()+"\n"), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, `"`+key.Recipient().String()+`"`)
	}
	r.lines = "fleet: recovery: [" + strings.Join(all, ", ") + "]\n"
	return r
}
