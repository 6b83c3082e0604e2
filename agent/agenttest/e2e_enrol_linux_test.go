package agenttest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	codes := map[string]string{}
	for _, h := range f.hosts {
		out := dunlin("activation", "create", "act-"+h.Name, "--repo", work, "--tags", "role=web", "--network", "10.77.0.0/24", "--by", "carol", "-o", "json")
		var made struct{ Code string }
		if at := strings.Index(out, "{"); at < 0 || json.Unmarshal([]byte(out[at:]), &made) != nil || made.Code == "" {
			t.Fatalf("activation create: %s", out)
		}
		codes[h.Name] = made.Code
	}
	for path, text := range p.fleet("carol=root,policy", "gate=enrol") {
		text += `fleet: roles: {root: {paths: ["fleet.cue", "schema.cue", "cue.mod/**", "nodes/**", "activations/**", "grants/**", "guardrails/**"]}, policy: {paths: ["**"]}, enrol: {paths: ["nodes/**"], activations: ["act-h3"]}}` + "\n"
		if err := os.WriteFile(filepath.Join(work, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	open := sign("carol")
	f.inForce(open, 30*time.Second, f.hosts...)

	// h2 and h3 are no nodes any more, and know nothing.
	dunlin("node", "retire", "h2", "h3", "--repo", work, "--no-commit")
	f.inForce(sign("carol"), 30*time.Second, f.hosts[0])
	h1, h2, h3 := f.hosts[0], f.hosts[1], f.hosts[2]
	asks := func(h, member *Host, code string) (string, int) {
		t.Helper()
		repo := "--repo " + f.git.HTTPS + " --credential-file /etc/dunlin/git.credential --ca-file /etc/dunlin/ca.pem"
		if h == h3 {
			repo = "--repo " + f.git.SSH + " --credential-file /etc/dunlin/id_ed25519 --known-hosts /etc/dunlin/known_hosts"
		}
		out, complaint, exit := h.Exec("sh", "-c", fmt.Sprintf("printf '%%s\\n' %s | dunlin join %s --activation act-%s --code-file - --anchor %s --peer %s:7951 --name %s-anew 2>&1", code, repo, h.Name, anchor, member.Addr4, h.Name))
		return out + complaint, exit
	}
	forgets := func(h *Host) {
		t.Helper()
		h.MustExec("systemctl", "stop", "dunlin")
		h.MustExec("rm", "-rf", "/var/lib/dunlin", "/etc/dunlin/agent.cue", "/etc/dunlin/gossip.key")
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
		if err := os.WriteFile(path, []byte(joins(at)[of.Name+"-anew"]+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	in := func(h *Host, others ...*Host) {
		t.Helper()
		took := f.until(h.Name+" is a node", 60*time.Second, func() bool {
			s := status(h)
			return s.Node == h.Name+"-anew" && s.Nodes[string(schema.Online)] == len(others)+1 && h.Read("/etc/motd") == "at peace\n"
		})
		t.Logf("%s is a node, and enforces, %v after it was let in", h.Name, took.Round(10*time.Millisecond))
	}
	for _, h := range []*Host{h2, h3} {
		forgets(h)
		if out, code := asks(h, h1, codes[h1.Name]); code != 4 || !strings.Contains(out, "not let in: code") {
			t.Fatalf("%s asks with the code of another activation: exit %d: %s", h.Name, code, out)
		}
		if out, code := asks(h, h1, codes[h.Name]); code != 0 || !strings.Contains(out, "has heard it") {
			t.Fatalf("%s asks: exit %d: %s", h.Name, code, out)
		}
		h.MustExec("systemctl", "start", "dunlin")
	}
	nothing := func(h *Host) {
		t.Helper()
		f.until(h.Name+" says that it waits", 30*time.Second, func() bool {
			return strings.Contains(strings.Join(status(h).Problems, "\n"), "waits until it is let in")
		})
		if got := h.Read("/etc/motd"); got != "nobody's\n" || h.Exists("/var/lib/dunlin/gossip-keys.json") {
			t.Errorf("%s was not let in, and has /etc/motd %q, or a gossip key", h.Name, got)
		}
		if n := status(h1).Nodes[string(schema.Online)]; n > 2 {
			t.Errorf("h1 sees %d nodes", n)
		}
	}
	f.until("h1 knows who asks", 10*time.Second, func() bool { return len(joins(h1)) == 2 })
	nothing(h2)
	nothing(h3)

	// A person lets h2 in; h3 still gets nothing.
	dunlin("node", "approve", "h2-anew", "--repo", work, "--no-fetch", "--proof", proof(h1, h2), "--yes", "--no-commit")
	sign("carol")
	in(h2, h1)
	nothing(h3)

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
	if out, code := asks(h1, h2, codes["h1"]); code != 0 {
		t.Fatalf("h1 asks: exit %d: %s", code, out)
	}
	h1.MustExec("systemctl", "start", "dunlin")
	f.until("h3 knows who asked h2", 20*time.Second, func() bool { return len(joins(h3)) == 1 })
	dunlin("node", "approve", "--all-pending", "--repo", work, "--no-fetch", "--proof", proof(h3, h1), "--yes", "--no-commit")
	sign("carol")
	in(h1, h2, h3)
	out := dunlin("activation", "list", "--repo", work)
	if strings.Count(out, "full: 1 of 1") != 3 {
		t.Errorf("activations: %s", out)
	}
	if out := dunlin("trust", "verify", "--repo", work, "--anchor", anchor); !strings.Contains(out, "enrol: gate") {
		t.Errorf("trust verify: %s", out)
	}
}
