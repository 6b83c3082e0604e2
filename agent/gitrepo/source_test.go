package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// work is a repository of git's own.
type work struct {
	t   *testing.T
	dir string
}

func newWork(t *testing.T) work {
	w := work{t, t.TempDir()}
	w.git("init", "-q", "-b", "main")
	return w
}

func (w work) run(in []byte, args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", w.dir, "-c", "user.name=x", "-c", "user.email=x@example.org"}, args...)...)
	cmd.Stdin = bytes.NewReader(in)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

func (w work) git(args ...string) string { w.t.Helper(); return w.run(nil, args...) }

func (w work) put(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w work) commit() string {
	w.t.Helper()
	w.git("add", "-A")
	w.git("commit", "-q", "--allow-empty", "-m", "x")
	return w.git("rev-parse", "HEAD")
}

func TestChangedAgreesWithGit(t *testing.T) {
	w := newWork(t)
	var commits []string
	for _, step := range []func(){
		func() {
			w.put("fleet.cue", "a")
			w.put("policies/a.cue", "a")
			w.put("policies/deep/er/b.cue", "b")
			w.put("x", "1")
		},
		func() {
			w.put("policies/deep/er/b.cue", "c")
			w.git("rm", "-q", "x")
			w.put("x/y/z", "1")
			w.put("x/a", "2")
		},
		func() { w.git("rm", "-rq", "x"); w.put("x", "file again"); w.put("x.d", "sorts between") },
		func() { _ = os.Chmod(filepath.Join(w.dir, "fleet.cue"), 0o755) },
		func() {
			_ = os.Remove(filepath.Join(w.dir, "x"))
			_ = os.Symlink("fleet.cue", filepath.Join(w.dir, "x"))
		},
		func() {},
		func() { w.git("rm", "-rq", "policies") },
	} {
		step()
		commits = append(commits, w.commit())
	}
	src, err := OpenSource(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range commits {
		for _, b := range commits {
			got, err := src.Changed(t.Context(), w.git("rev-parse", a+"^{tree}"), w.git("rev-parse", b+"^{tree}"))
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Fields(w.git("diff-tree", "-r", "--name-only", "--no-renames", a, b))
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("Changed(%s, %s) = %q, git has %q", a, b, got, want)
			}
		}
		raw, err := src.Commit(a)
		if err != nil || string(raw) != w.git("cat-file", "commit", a)+"\n" {
			t.Errorf("Commit(%s) = %q, %v", a, raw, err)
		}
	}
	if hash, text, err := src.Blob(commits[0], "fleet.cue", 10); err != nil || string(text) != "a" || hash != w.git("rev-parse", commits[0]+":fleet.cue") {
		t.Errorf("Blob = %q %q %v", hash, text, err)
	}
	if hash, _, err := src.Blob(commits[0], "policies", 10); err != nil || hash != "" {
		t.Errorf("a folder is taken as a file: %q, %v", hash, err)
	}
}

func TestTreesThatGitWouldNotWriteAreRefused(t *testing.T) {
	w := newWork(t)
	w.put("a", "a")
	good := w.git("rev-parse", w.commit()+"^{tree}")
	src, err := OpenSource(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(mode, name string) string { return mode + " " + name + "\x00" + strings.Repeat("\x01", 20) }
	for what, raw := range map[string]string{
		"a name twice":          entry("100644", "fleet.cue") + entry("100644", "fleet.cue"),
		"file and folder":       entry("100644", "a") + entry("100644", "a.b") + entry("40000", "a"),
		"out of order":          entry("100644", "b") + entry("100644", "a"),
		"a slash":               entry("100644", "nodes/aa.jsonl"),
		"above":                 entry("40000", ".."),
		"Git's own":             entry("40000", ".GIT"),
		"an empty name":         entry("100644", ""),
		"a padded mode":         entry("040000", "nodes"),
		"an unknown mode":       entry("100600", "a"),
		"cut off":               entry("100644", "a")[:20],
		"a group-writable mode": entry("100664", "a"),
		"a mode without a name": "100644\x00" + strings.Repeat("\x01", 20),
		"bytes after the last":  entry("100644", "a") + "x",
	} {
		id := w.run([]byte(raw), "hash-object", "-t", "tree", "--literally", "-w", "--stdin")
		if _, err := src.Changed(t.Context(), good, id); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// An empty folder is no file and must not pass for no change.
	empty := w.run(nil, "hash-object", "-t", "tree", "-w", "--stdin")
	with := w.run([]byte("040000 tree "+empty+"\tnodes\n100644 blob "+w.git("rev-parse", good+":a")+"\ta\n"), "mktree")
	if got, err := src.Changed(t.Context(), good, with); err != nil || !slices.Equal(got, []string{"nodes"}) {
		t.Errorf("an empty folder: %q, %v", got, err)
	}
}

func TestWhatAnObjectIsNamedByIsSeen(t *testing.T) {
	w := newWork(t)
	w.put("a", "a")
	id := w.commit()
	// The file of another commit under this one's name, as who can write to a clone may put it there.
	w.put("a", "b")
	other := w.commit()
	path := func(id string) string { return filepath.Join(w.dir, ".git", "objects", id[:2], id[2:]) }
	b, err := os.ReadFile(path(other))
	if err == nil {
		if err = os.Chmod(path(id), 0o600); err == nil {
			err = os.WriteFile(path(id), b, 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	src, err := OpenSource(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := src.Commit(id); !errors.Is(err, ErrMalformed) {
		t.Errorf("Commit(%s) = %q, %v", id, raw, err)
	}
}

func TestStatementsOfTheRemote(t *testing.T) {
	w := newWork(t)
	w.put("a", "a")
	commit := w.commit()
	tree := w.git("rev-parse", "HEAD^{tree}")
	ref := func(name, text string) string {
		id := w.run([]byte(text), "hash-object", "-w", "--stdin")
		w.git("update-ref", name, id)
		return id
	}
	ref(ApprovalsRef+tree+"/alice", "alice agrees")
	ref(ApprovalsRef+tree+"/bob", "bob agrees")
	ref(ApprovalsRef+strings.Repeat("1", 40)+"/alice", "to something else")
	ref(ApprovalsRef+tree+"/huge", strings.Repeat("x", maxStatement+1))
	w.git("update-ref", ApprovalsRef+tree+"/commit", commit)
	ref(HeartbeatRef, "it beats")
	s, err := OpenStore(t.TempDir(), Remote{URL: w.dir, Branch: "main"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if _, err := s.Fetch(ctx, "main"); err != nil {
		t.Fatal(err)
	}
	got, err := s.FetchStatements(ctx, []string{tree})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got.Approvals[tree], bytes.Compare)
	if len(got.Approvals) != 1 || !slices.EqualFunc(got.Approvals[tree], []string{"alice agrees", "bob agrees"}, func(b []byte, s string) bool { return string(b) == s }) || string(got.Heartbeat) != "it beats" {
		t.Errorf("FetchStatements = %q", got)
	}
	before := s.Traffic().Fetches
	if again, err := s.FetchStatements(ctx, []string{tree}); err != nil || len(again.Approvals) != 0 || again.Heartbeat != nil || s.Traffic().Fetches != before {
		t.Errorf("the second time = %q, %v, after %d fetches", again, err, s.Traffic().Fetches-before)
	}
	ref(HeartbeatRef, "it beats again")
	if _, err := s.Head(ctx); err != nil {
		t.Fatal(err)
	}
	if again, err := s.FetchStatements(ctx, nil); err != nil || string(again.Heartbeat) != "it beats again" {
		t.Errorf("after a new heartbeat = %q, %v", again, err)
	}
	rubbish := ref(ApprovalsRef+tree+"/000", "rubbish")
	for i := range 2 * maxApprovals { // which sorts first
		w.git("update-ref", fmt.Sprintf("%s%s/%03d", ApprovalsRef, tree, i), rubbish)
	}
	src, err := OpenSource(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	if list, err := src.Approvals(tree); err != nil || len(list) != 3 {
		t.Errorf("Approvals in the repository itself = %q, %v", list, err)
	}
	if b, err := src.Heartbeat(); err != nil || string(b) != "it beats again" {
		t.Errorf("Heartbeat in the repository itself = %q, %v", b, err)
	}
}

func TestKeptStatementsAreBounded(t *testing.T) {
	s, err := OpenStore(t.TempDir(), Remote{})
	if err != nil {
		t.Fatal(err)
	}
	tree := strings.Repeat("a", 40)
	if fresh, err := s.KeepApproval(tree, []byte("one")); !fresh || err != nil {
		t.Fatal(fresh, err)
	}
	if fresh, err := s.KeepApproval(tree, []byte("one")); fresh || err != nil {
		t.Error("kept twice:", fresh, err)
	}
	for i := range maxApprovals - 1 {
		if _, err := s.KeepApproval(tree, []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.KeepApproval(tree, []byte("one more")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("more than %d approvals of a tree: %v", maxApprovals, err)
	}
	for _, bad := range []string{"", "x", "../../../../../../../../../../../../../../aa", strings.Repeat("A", 40)} {
		if _, err := s.KeepApproval(bad, []byte("one")); err == nil {
			t.Errorf("kept under %q", bad)
		}
	}
	if _, err := s.KeepApproval(strings.Repeat("b", 40), bytes.Repeat([]byte("x"), maxStatement+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a long one: %v", err)
	}
	for i := range maxKeptTrees + 5 {
		if err := os.Mkdir(filepath.Join(s.statementFolder(), "approvals", fmt.Sprintf("%040x", i)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.KeepApproval(strings.Repeat("c", 40), []byte("one")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(s.statementFolder(), "approvals"))
	if err != nil || len(entries) > maxKeptTrees {
		t.Errorf("approvals of %d trees are kept, %v", len(entries), err)
	}
}

// TestAPackHasWhatItTakesToJudge: whoever gets several commits at once from a peer can compare the trees of each step.
func TestAPackHasWhatItTakesToJudge(t *testing.T) {
	from, err := OpenStore(t.TempDir(), Remote{})
	if err != nil {
		t.Fatal(err)
	}
	var chain []string
	for i := range 20 {
		parent := ""
		if i > 0 {
			parent = chain[i-1]
		}
		c, err := from.Commit(Change{Parent: parent, Files: map[string][]byte{"fleet.cue": {byte(i / 5)}, "activations/a.cue": {byte(i), 1}, "nodes/aa.jsonl": {byte(i), 2}, "nodes/joins/x/a.jsonl": {byte(i), 3}, "policies/a.cue": {byte(i)}, "policies/b/c.cue": {byte(i)}}, Message: "x", Author: "a", Email: "a@b", When: time.Unix(int64(i), 0)})
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	for _, repack := range []bool{false, true} {
		if err := from.SetRef("refs/dunlin/trusted", chain[19]); err != nil {
			t.Fatal(err)
		}
		if repack {
			if err := from.Repack(); err != nil {
				t.Fatal(err)
			}
		}
		for _, have := range []string{"", chain[3]} {
			to, err := OpenStore(t.TempDir(), Remote{})
			if err != nil {
				t.Fatal(err)
			}
			if have != "" {
				if repack {
					continue // the files of that commit are gone
				}
				pass(t, from, to, have, "")
			}
			pass(t, from, to, chain[19], have)
			src := to.Source()
			for i := 4; i < 19; i++ {
				a, _ := to.commit(chain[i])
				b, _ := to.commit(chain[i+1])
				if _, err := src.Changed(t.Context(), a.TreeHash.String(), b.TreeHash.String()); err != nil {
					t.Errorf("repacked %v, from %q: step %d: %v", repack, have, i, err)
				}
				if _, text, err := src.Blob(chain[i], "fleet.cue", 10); err != nil || len(text) != 1 {
					t.Errorf("repacked %v, from %q: fleet.cue of %d: %q, %v", repack, have, i, text, err)
				}
				for n, path := range []string{"activations/a.cue", "nodes/aa.jsonl", "nodes/joins/x/a.jsonl"} {
					dir, base := filepath.Split(path)
					files, err := src.Folder(a.TreeHash.String(), strings.TrimSuffix(dir, "/"))
					if err != nil || files[base].Mode != "100644" {
						t.Fatalf("Folder(%q) = %v, %v", dir, files, err)
					}
					if text, err := src.Content(files[base].Hash, 10); err != nil || !bytes.Equal(text, []byte{byte(i), byte(n + 1)}) {
						t.Errorf("repacked %v, from %q: %s of %d: %q, %v", repack, have, path, i, text, err)
					}
					if _, err := src.Content(files[base].Hash, 1); !errors.Is(err, ErrMalformed) {
						t.Errorf("a file that is too large: %v", err)
					}
				}
			}
		}
	}
}

// pass gives a commit from one store to another that has an older one.
func pass(t *testing.T, from, to *Store, want, have string) {
	t.Helper()
	var pack bytes.Buffer
	if err := from.Pack(t.Context(), &pack, want, have); err != nil {
		t.Fatal(err)
	}
	if err := to.Ingest(t.Context(), &pack, want, have); err != nil {
		t.Fatal(err)
	}
}
