package agenttest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
)

// realPeople are people with keys of ssh-keygen who sign with git.
type realPeople struct {
	f   *realFleet
	dir string
}

func newRealPeople(f *realFleet, t *testing.T, names ...string) realPeople {
	t.Helper()
	p := realPeople{f, f.folder}
	for _, name := range names {
		if out, err := runHere("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", filepath.Join(p.dir, name)); err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	return p
}

// fleet is fleet.cue with people: "alice=root,policy".
func (p realPeople) fleet(people ...string) map[string]string {
	p.f.t.Helper()
	text := fleetFile
	for _, who := range people {
		name, roles, _ := strings.Cut(who, "=")
		key, err := os.ReadFile(filepath.Join(p.dir, name+".pub"))
		if err != nil {
			p.f.t.Fatal(err)
		}
		text += "fleet: signers: " + name + ": {keys: [\"" + strings.TrimSpace(string(key)) + "\"], roles: [\"" + strings.ReplaceAll(roles, ",", `", "`) + "\"]}\n"
	}
	return map[string]string{"fleet.cue": text}
}

// push commits files upon a commit, signed by who with git unless that is empty, and points main of the server there.
func (p realPeople) push(who, upon string, files map[string]string) string {
	p.f.t.Helper()
	g := p.f.git
	g.Git("reset", "-q", "--hard", upon)
	g.Commit(files)
	if who != "" {
		g.Git("-c", "gpg.format=ssh", "-c", "user.signingkey="+filepath.Join(p.dir, who), "commit", "-q", "--amend", "-S", "--no-edit")
	}
	g.Git("push", "-q", "-f", "origin", "main")
	return g.Git("rev-parse", "HEAD")
}

// refused waits until each host refuses a commit and names all that do, and holds that what was good is in force.
func (p realPeople) refused(commit, good, motd string, kind trust.Kind, words string) {
	p.f.t.Helper()
	f := p.f
	took := f.until("all refuse commit "+commit[:12]+" ("+string(kind)+")", 30*time.Second, every(f.hosts, func(h *Host) bool {
		s := status(h)
		return s.Commit == good && slices.ContainsFunc(s.Refused, func(r schema.RefusedCommit) bool {
			return r.Commit == commit && r.Nodes == len(f.hosts) && r.Kind == string(kind) && strings.Contains(r.Reason, words)
		})
	}))
	f.t.Logf("refused everywhere after %v: %s", took.Round(10*time.Millisecond), words)
	for _, h := range f.hosts {
		if len(logged(h, `"commit refused"`, commit, `"ERROR"`)) == 0 {
			f.t.Errorf("%s: its log has no alarm of commit %s", h.Name, commit[:12])
		}
		if got := h.Read("/etc/motd"); got != motd+"\n" {
			f.t.Errorf("%s: /etc/motd is %q", h.Name, got)
		}
	}
}

// pin writes an anchor into each host's own file, as its root, and starts the agent anew.
func (p realPeople) pin(anchor string) {
	p.f.t.Helper()
	for _, h := range p.f.hosts {
		lines := strings.Split(h.Read("/etc/dunlin/agent.cue"), "\n")
		for i, line := range lines {
			if strings.HasPrefix(line, "trust: ") {
				lines[i] = `trust: {anchor: "` + anchor + `"}`
			}
		}
		h.Write("/etc/dunlin/agent.cue", strings.Join(lines, "\n"), 0o644)
		h.MustExec("systemctl", "restart", "--no-block", "dunlin")
	}
	p.f.until("all begin to trust at "+anchor[:12], 30*time.Second, every(p.f.hosts, func(h *Host) bool {
		t := status(h).Trust
		return t != nil && t.Anchor == anchor
	}))
}

// signedPolicy gives the hosts an anchor, over smart HTTP and SSH, and tries what somebody may who can push.
// It gives the people, and the anchor in the end.
func (f *realFleet) signedPolicy(t *testing.T, last string) (p realPeople, start string) {
	p = newRealPeople(f, t, "alice", "bob", "carol", "gate")
	// The people come first; what is unsigned still counts then.
	anchor := p.push("alice", last, p.fleet("alice=root,policy", "bob=policy"))
	f.inForce(anchor, 20*time.Second, f.hosts...)
	out, err := runHere(f.bin, "trust", "anchor", "--repo", f.git.Work)
	if err != nil || strings.TrimSpace(out) != anchor {
		t.Fatalf("trust anchor: %v: %s, want %s", err, out, anchor)
	}
	p.pin(anchor)
	good := p.push("bob", anchor, wanted("signed"))
	t.Logf("signed: in force on all after %v", f.inForce(good, 30*time.Second, f.hosts...))

	p.refused(p.push("", good, wanted("evil")), good, "signed", trust.NotAgreed, "nobody with it has signed")
	p.refused(p.push("bob", good, p.fleet("alice=root,policy", "bob=root,policy")), good, "signed", trust.NotAgreed, `the change of "fleet.cue" needs 1 of the role root`)
	f.git.Git("push", "-q", "-f", "origin", anchor+":main")
	p.refused(anchor, good, "signed", trust.Rewind, "does not follow on")

	// The root keys are lost. No commit helps, whoever signs it; each host's own root does.
	start = p.push("carol", good, p.fleet("carol=root,policy"))
	p.refused(start, good, "signed", trust.NotAgreed, "belongs to no signer")
	p.pin(start)
	t.Logf("with another anchor: in force on all after %v", f.inForce(start, 30*time.Second, f.hosts...))
	next := p.push("carol", start, wanted("recovered"))
	f.inForce(next, 30*time.Second, f.hosts...)
	p.refused(p.push("alice", next, wanted("alice again")), next, "recovered", trust.NotAgreed, "belongs to no signer")
	mended := p.push("carol", next, wanted("at peace"))
	f.inForce(mended, 30*time.Second, f.hosts...)
	f.until("nothing is refused any more", 20*time.Second, every(f.hosts, func(h *Host) bool {
		s := status(h)
		return len(s.Refused) == 0 && !strings.Contains(strings.Join(s.Problems, "\n"), "fleet.signers")
	}))
	if out, err := runHere(f.bin, "trust", "verify", "--repo", f.git.Work, "--anchor", start); err != nil || !strings.Contains(out, "is trusted") {
		t.Errorf("trust verify: %v: %s", err, out)
	}
	return p, start
}

// approvals lets a change that takes two people be merged by a forge, which signs nothing: one of them approves it over SSH,
// the other over HTTPS.
func (f *realFleet) approvals(t *testing.T, p realPeople) {
	g := f.git
	text, err := os.ReadFile(filepath.Join(g.Work, "fleet.cue"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(p.dir, "bob.pub"))
	if err != nil {
		t.Fatal(err)
	}
	two := strings.Replace(string(text), `policy: {paths: ["**"]}`, `policy: {paths: ["**"], threshold: 2}`, 1)
	if two == string(text) {
		t.Fatalf("fleet.cue has no role policy: %s", text)
	}
	base := p.push("carol", g.Git("rev-parse", "HEAD"), map[string]string{"fleet.cue": two + `fleet: signers: bob: {keys: ["` + strings.TrimSpace(string(key)) + `"], roles: ["policy"]}` + "\n"})
	f.inForce(base, 30*time.Second, f.hosts...)

	proposed := g.Commit(wanted("agreed"))
	g.Git("push", "-q", "origin", "HEAD:refs/heads/change")
	g.Git("reset", "-q", "--hard", base)
	clones := map[string]string{}
	for who, url := range map[string]string{"bob": g.SSH, "carol": g.HTTPS} {
		clones[who] = filepath.Join(t.TempDir(), who)
		g.Git("clone", "-q", "-b", "main", url, clones[who])
	}
	approve := func(who string) {
		t.Helper()
		if out, err := g.Try(f.bin, "approve", "origin/change", "--yes", "--repo", clones[who], "--key", filepath.Join(p.dir, who)); err != nil {
			t.Fatalf("%s: dunlin approve: %v: %s", who, err, out)
		}
	}
	approve("bob")
	merged := g.Git("commit-tree", "-p", base, "-m", "squashed", proposed+"^{tree}")
	g.Git("push", "-q", "origin", merged+":refs/heads/main")
	p.refused(merged, base, "at peace", trust.NotAgreed, "needs 2 of the role policy")
	approve("carol")
	t.Logf("agreed: in force on all after %v", f.inForce(merged, 60*time.Second, f.hosts...))
	for _, h := range f.hosts {
		if got := h.Read("/etc/motd"); got != "agreed\n" {
			t.Errorf("%s: /etc/motd is %q", h.Name, got)
		}
	}
}
