package agent

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// work is a repository that people work in with git and ssh-keygen.
type work struct {
	t   *testing.T
	dir string
	at  time.Time
}

func newWork(t *testing.T, people ...string) *work {
	t.Helper()
	w := &work{t, t.TempDir(), time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	for _, p := range people {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", p, "-f", filepath.Join(w.dir, p)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	w.git("init", "-q", "-b", "main", "repo")
	return w
}

func (w *work) public(name string) string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, name+".pub"))
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func (w *work) git(args ...string) string {
	w.t.Helper()
	dir := filepath.Join(w.dir, "repo")
	if args[0] == "init" {
		dir = w.dir
	}
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "gpg.format=ssh", "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "core.protectNTFS=false"}, args...)...)
	at := w.at.Format(time.RFC3339)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_DATE="+at, "GIT_COMMITTER_DATE="+at)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

func (w *work) put(files map[string]string) {
	w.t.Helper()
	for name, text := range files {
		path := filepath.Join(w.dir, "repo", filepath.FromSlash(name))
		if text == "" {
			if err := os.RemoveAll(path); err != nil {
				w.t.Fatal(err)
			}
			continue
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			w.t.Fatal(err)
		}
	}
}

// commit commits all there is, signed by who unless that is empty.
func (w *work) commit(who string) string {
	w.t.Helper()
	w.at = w.at.Add(time.Minute)
	w.git("add", "-A")
	args := []string{"commit", "-q", "--allow-empty", "-m", "x"}
	if who != "" {
		args = append(args, "-S"+filepath.Join(w.dir, who))
	}
	w.git(args...)
	return w.git("rev-parse", "HEAD")
}

// authority is what a repository says of who may do what.
func authority(t *testing.T, r schema.Repo) string {
	t.Helper()
	b, err := json.Marshal([]any{r.Fleet, r.Roster, r.Grants, r.Activations, r.Guardrails})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAPolicySignerDoesNotBecomeRoot: whatever who may change policies alone commits, either it is not trusted, or it is
// refused for its faults, or who may do what is as before.
func TestAPolicySignerDoesNotBecomeRoot(t *testing.T) {
	const byTrust, byFaults, harmless = "trust", "faults", "harmless"
	w := newWork(t, "alice", "bob")
	me := `signers: bob: roles: ["root", "policy"]`
	lib := map[string]string{"lib/x/x.cue": "package x\n\nAll: fleet: " + me + "\n"}
	w.put(map[string]string{
		"fleet.cue":          "package fleet\n\nfleet: name: \"acme\"\nfleet: signers: {\n\talice: {keys: [\"" + w.public("alice") + "\"], roles: [\"root\", \"policy\"]}\n\tbob: {keys: [\"" + w.public("bob") + "\"], roles: [\"policy\"]}\n}\n",
		"schema.cue":         load.Binding,
		"cue.mod/module.cue": "module: \"acme.example/fleet@v0\"\nlanguage: version: \"v0.17.0\"\n",
		"policies/a.cue":     "package fleet\n\npolicy: a: {targets: all: true, mode: \"audit\"}\n",
		"grants/g.cue":       "package fleet\n\ngrant: g: {who: [\"alice\"], sessions: [\"shell\"], targets: all: true, runAs: \"deploy\"}\n",
	})
	base := w.commit("alice")
	evaluate := load.InProcess(load.Options{Limits: schema.NotEnforced()})
	read := func(commit string) (schema.Repo, []schema.Fault) {
		tree, err := gitrepo.OpenRevision(filepath.Join(w.dir, "repo"), commit)
		if err != nil {
			t.Fatal(err)
		}
		repo, faults, err := evaluate(t.Context(), tree)
		if err != nil {
			t.Fatal(err)
		}
		return repo, faults
	}
	repo, faults := read(base)
	if schema.Refused(faults) {
		t.Fatal(faults)
	}
	before := authority(t, repo)
	link := func(name, to string) func() {
		return func() {
			_ = os.Remove(filepath.Join(w.dir, "repo", name))
			if err := os.Symlink(to, filepath.Join(w.dir, "repo", name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := "package fleet\n\n"
	for _, tt := range []struct {
		name  string
		files map[string]string
		more  func()
		want  string
	}{
		{"fleet.cue itself", map[string]string{"fleet.cue": p + "fleet: " + me + "\n"}, nil, byTrust},
		{"fleet.cue removed", map[string]string{"fleet.cue": ""}, nil, byTrust},
		{"fleet.cue in other letters", map[string]string{"Fleet.cue": p + "fleet: " + me + "\n"}, nil, byTrust},
		{"fleet.cue a link", map[string]string{"policies/f.cue": p}, link("fleet.cue", "policies/f.cue"), byTrust},
		{"fleet.cue a folder", map[string]string{"fleet.cue": ""}, func() { w.put(map[string]string{"fleet.cue/fleet.cue": p}) }, byTrust},
		{"the mode of fleet.cue", nil, func() { _ = os.Chmod(filepath.Join(w.dir, "repo", "fleet.cue"), 0o755) }, byTrust},
		{"fleet in another file at the root", map[string]string{"a.cue": p + "fleet: " + me + "\n"}, nil, byFaults},
		{"fleet in a folder", map[string]string{"policies/b.cue": p + "fleet: " + me + "\n"}, nil, byFaults},
		{"fleet in braces", map[string]string{"a.cue": p + "{fleet: " + me + "}\n"}, nil, byFaults},
		{"fleet in quotes", map[string]string{"a.cue": p + "\"fleet\": " + me + "\n"}, nil, byFaults},
		{"a computed label", map[string]string{"a.cue": p + "(\"fl\" + \"eet\"): " + me + "\n"}, nil, byFaults},
		{"an interpolated label", map[string]string{"a.cue": p + "_l: \"leet\"\n\"f\\(_l)\": " + me + "\n"}, nil, byFaults},
		{"a comprehension", map[string]string{"a.cue": p + "for k in [\"fleet\"] {(k): " + me + "}\n"}, nil, byFaults},
		{"a condition", map[string]string{"policies/b.cue": p + "if true {fleet: " + me + "}\n"}, nil, byFaults},
		{"a pattern over everything", map[string]string{"a.cue": p + "[string]: " + me + "\n"}, nil, byFaults},
		{"a pattern over fleet", map[string]string{"a.cue": p + "[=~\"^fl\"]: " + me + "\n"}, nil, byFaults},
		{"an alias", map[string]string{"a.cue": p + "X=fleet: " + me + "\n"}, nil, byFaults},
		{"an embedded definition", map[string]string{"a.cue": p + "#F: fleet: " + me + "\n#F\n"}, nil, byFaults},
		{"an embedded hidden field", map[string]string{"a.cue": p + "_f: fleet: " + me + "\n_f\n"}, nil, byFaults},
		{"a shared package", map[string]string{"lib/x/x.cue": lib["lib/x/x.cue"], "policies/b.cue": p + "import \"acme.example/fleet/lib/x\"\n\nx.All\n"}, nil, byFaults},
		{"a disjunction", map[string]string{"a.cue": p + "fleet: *{" + me + "} | {...}\n"}, nil, byFaults},
		{"an attribute that embeds", map[string]string{"a.cue": "@extern(embed)\n\n" + p + "fleet: _ @embed(file=f.json)\n", "f.json": `{"signers":{"bob":{"roles":["root"]}}}`}, nil, byFaults},
		{"an attribute that leaves a file out", map[string]string{"a.cue": "@if(x)\n\n" + p + "fleet: " + me + "\n"}, nil, byFaults},
		{"fleet as JSON", map[string]string{"fleet.json": `{"fleet":{"signers":{"bob":{"roles":["root"]}}}}`, "documents/fleet.yaml": "fleet: {}\n"}, nil, byFaults},
		{"fleet as JSON that nobody reads", map[string]string{"fleet.json": `{"fleet":{"signers":{"bob":{"roles":["root"]}}}}`, "fleet.yaml": "fleet: {}\n"}, nil, harmless},
		{"a package of another name", map[string]string{"a.cue": "package main\n\nfleet: " + me + "\n"}, nil, byFaults},
		{"a test file", map[string]string{"a_test.cue": p + "fleet: " + me + "\n"}, nil, harmless},
		{"a hidden file", map[string]string{".a.cue": p + "fleet: " + me + "\n", "_a.cue": p + "fleet: " + me + "\n"}, nil, harmless},
		{"another binding", map[string]string{"schema.cue": "package fleet\n"}, nil, byTrust},
		{"other definitions", map[string]string{"cue.mod/pkg/dunlin.dev/schema/repo.cue": "package schema\n#Repo: {...}\n"}, nil, byTrust},
		{"another module", map[string]string{"cue.mod/module.cue": "module: \"other.example/fleet@v0\"\nlanguage: version: \"v0.17.0\"\n"}, nil, byTrust},
		{"another library", map[string]string{"cue.mod/pkg/dunlin.dev/policies/x/x.cue": "package x\n"}, nil, byTrust},
		{"a line of the roster", map[string]string{"nodes/aa.jsonl": "{}\n"}, nil, byTrust},
		{"the roster in other letters", map[string]string{"Nodes/aa.jsonl": "{}\n"}, nil, byTrust},
		{"a roster elsewhere", map[string]string{"policies/nodes/aa.jsonl": "{}\n"}, nil, harmless},
		{"a grant", map[string]string{"grants/h.cue": p + "grant: h: {who: [\"bob\"], sessions: [\"shell\"], targets: all: true, runAs: \"root\"}\n"}, nil, byTrust},
		{"a grant elsewhere", map[string]string{"policies/h.cue": p + "grant: h: {who: [\"bob\"], sessions: [\"shell\"], targets: all: true, runAs: \"root\"}\n"}, nil, byFaults},
		{"a grant in a folder of that name", map[string]string{"policies/grants/h.cue": p + "grant: h: {who: [\"bob\"], sessions: [\"shell\"], targets: all: true, runAs: \"root\"}\n"}, nil, byFaults},
		{"more of a grant", map[string]string{"a.cue": p + "grant: g: who: [\"alice\", \"bob\"]\n"}, nil, byFaults},
		{"a pattern over grants", map[string]string{"a.cue": p + "grant: [_]: maxDuration: \"12h\"\n"}, nil, byFaults},
		{"an activation elsewhere", map[string]string{"policies/h.cue": p + "activation: \"act-7q2m9c\": {publicKey: \"" + w.public("bob") + "\", expires: \"2030-01-01T00:00:00Z\", createdBy: \"bob\"}\n"}, nil, byFaults},
		{"a guardrail elsewhere", map[string]string{"policies/h.cue": p + "guardrail: g: limit: reboots: 1000\n"}, nil, byFaults},
		{"a submodule in fleet.cue's place", nil, func() {
			w.git("rm", "-q", "--cached", "fleet.cue")
			w.git("update-index", "--add", "--cacheinfo", "160000,"+base+",fleet.cue")
			_ = os.Remove(filepath.Join(w.dir, "repo", "fleet.cue"))
			_ = os.Mkdir(filepath.Join(w.dir, "repo", "fleet.cue"), 0o755)
		}, byTrust},
		{"a link to the roster", nil, link("policies/n", "../nodes"), byFaults},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer func() { w.git("reset", "-q", "--hard", base); w.git("clean", "-qfdx") }()
			w.put(tt.files)
			if tt.more != nil {
				tt.more()
			}
			head := w.commit("bob")
			src, err := gitrepo.OpenSource(filepath.Join(w.dir, "repo"))
			if err != nil {
				t.Fatal(err)
			}
			got := byTrust
			_, err = trust.Verify(t.Context(), TrustSource{src, NewFleets(evaluate)}, base, head, w.at)
			switch r := (*trust.Refusal)(nil); {
			case err != nil && !errors.As(err, &r):
				t.Fatal(err)
			case err == nil:
				repo, faults := read(head)
				got = harmless
				if schema.Refused(faults) {
					got = byFaults
				} else if now := authority(t, repo); now != before {
					t.Errorf("who may do what has changed:\n%s\n%s", before, now)
				}
			}
			if got != tt.want {
				t.Errorf("stopped by %q, want %q", got, tt.want)
			}
		})
	}
}

// TestForgesMergesInABareRepository: a forge's merge, squash and rebase, unsigned, of a branch that people have signed or
// approved; and of one that they have not.
func TestForgesMergesInABareRepository(t *testing.T) {
	w := newWork(t, "alice", "bob")
	w.put(map[string]string{
		"fleet.cue": "package fleet\n\nfleet: name: \"acme\"\nfleet: signers: {\n\talice: {keys: [\"" + w.public("alice") + "\"], roles: [\"root\", \"policy\"]}\n\tbob: {keys: [\"" + w.public("bob") + "\"], roles: [\"policy\"]}\n}\n" +
			"fleet: roles: {root: {paths: [\"fleet.cue\"]}, policy: {paths: [\"**\"], threshold: 2}}\n",
	})
	base := w.commit("alice")
	w.git("checkout", "-q", "-b", "change")
	w.put(map[string]string{"policies/a.cue": "package fleet\n"})
	w.commit("bob")
	w.put(map[string]string{"policies/b.cue": "package fleet\n"})
	tip := w.commit("bob")
	heads := map[string]string{}
	for name, merge := range map[string]func(){
		"merge":  func() { w.git("merge", "-q", "--no-ff", "-m", "merge", "change") },
		"squash": func() { w.git("merge", "-q", "--squash", "change"); w.git("commit", "-q", "-m", "squash") },
		"rebase": func() { w.git("cherry-pick", base+"..change") },
	} {
		w.git("checkout", "-q", "-b", name, base)
		w.at = w.at.Add(time.Minute)
		merge()
		heads[name] = w.git("rev-parse", "HEAD")
	}
	evaluate := load.InProcess(load.Options{Limits: schema.NotEnforced()})
	verify := func(head string) error {
		w.git("clone", "-q", "--mirror", ".", filepath.Join(w.dir, "bare"))
		defer os.RemoveAll(filepath.Join(w.dir, "bare"))
		src, err := gitrepo.OpenSource(filepath.Join(w.dir, "bare"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = trust.Verify(t.Context(), TrustSource{src, NewFleets(evaluate)}, base, head, w.at)
		return err
	}
	approve := func(who, base, of string) {
		a := trust.Approval{V: 1, Fleet: "acme", Base: base, Tree: w.git("rev-parse", of+"^{tree}")}
		cmd := exec.Command("ssh-keygen", "-q", "-Y", "sign", "-n", trust.NamespaceApproval, "-f", filepath.Join(w.dir, who))
		cmd.Stdin = strings.NewReader(string(a.Message()))
		sig, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		a.Sig = string(sig)
		if err := os.WriteFile(filepath.Join(w.dir, "statement"), a.Encode(), 0o600); err != nil {
			t.Fatal(err)
		}
		w.git("update-ref", gitrepo.ApprovalsRef+a.Tree+"/"+who, w.git("hash-object", "-w", filepath.Join(w.dir, "statement")))
	}
	for name, head := range heads {
		if err := verify(head); err == nil {
			t.Errorf("%s: one of two people is enough", name)
		}
	}
	approve("alice", base, tip)
	if err := verify(heads["merge"]); err != nil { // bob has signed the branch's tip, alice approved its tree
		t.Errorf("merge: %v", err)
	}
	if err := verify(heads["squash"]); err == nil {
		t.Error("squash: bob's signature of the branch is not in it, and yet counts")
	}
	approve("bob", base, tip)
	if err := verify(heads["squash"]); err != nil {
		t.Errorf("squash: %v", err)
	}
	// A rebase makes a step of each commit, and each needs its own agreement.
	if err := verify(heads["rebase"]); err == nil {
		t.Error("rebase: the step between is agreed to by nobody")
	}
	middle := w.git("rev-parse", heads["rebase"]+"^")
	for _, who := range []string{"alice", "bob"} {
		approve(who, base, middle)
		approve(who, middle, heads["rebase"])
	}
	if err := verify(heads["rebase"]); err != nil {
		t.Errorf("rebase: %v", err)
	}
}
