package agent

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/durable"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// small is a repository of a few files, in force in the agent's store.
var smallFiles = map[string][]byte{
	"fleet.cue":        []byte("package fleet\nfleet: name: \"acme\"\n"),
	"policies/a.cue":   []byte("package fleet\npolicy: a: {targets: groups: [\"g\"], files: \"/etc/a\": source: \"files/a\"}\n"),
	"policies/b.cue":   []byte("package fleet\npolicy: b: targets: all: true\n"),
	"groups/g.cue":     []byte("package fleet\ngroup: g: {targets: tags: role: \"web\", baselines: [\"b\"]}\n"),
	"baselines/b.cue":  []byte("package fleet\nbaseline: b: {operatingSystem: \"DEBIAN\", approvalRules: [{filters: PRIORITY: [\"Required\"], approveAfterDays: 3}]}\n"),
	"files/a":          []byte("one\n"),
	"policies/many.go": []byte("x"),
}

func evaluatedWhole(t *testing.T, a *Agent, commit string) Policy {
	t.Helper()
	tree, err := a.policies.Tree(commit)
	if err != nil {
		t.Fatal(err)
	}
	l := a.o.Local
	l.State = t.TempDir() // with nothing in its cache
	p, err := l.evaluated(t.Context(), tree, false)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func samePolicy(t *testing.T, what string, got, want Policy) {
	t.Helper()
	var a, b bytes.Buffer
	if err := errors.Join(load.Encode(&a, load.Evaluated{Repo: got.Repo, Faults: got.Warnings}, ""), load.Encode(&b, load.Evaluated{Repo: want.Repo, Faults: want.Warnings}, "")); err != nil {
		t.Fatal(err)
	}
	if got.Commit != want.Commit || got.Digest != want.Digest || !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Errorf("%s: commit %s says otherwise than the whole of %s", what, got.Commit, want.Commit)
	}
}

// A commit that changes few files comes into force by these files, and says what the whole says; one that is wrong is
// refused by the whole.
func TestACommitOfFewFilesComesIntoForceByThem(t *testing.T) {
	var log strings.Builder
	a := changedAgent(t, t.TempDir(), &log)
	head := a.commits(t, "", smallFiles)
	a.enforces(t, head)
	whole := func() int { return strings.Count(log.String(), "commit is evaluated whole") }
	if whole() != 1 {
		t.Fatalf("the first commit is evaluated whole once, not %d times", whole())
	}
	for _, step := range []struct {
		name  string
		files map[string][]byte
		whole int
	}{
		{"an object", map[string][]byte{"policies/b.cue": []byte("package fleet\n\npolicy: b: {targets: all: true, severity: \"LOW\"}\n")}, 0},
		{"a group that is named", map[string][]byte{"groups/g.cue": []byte("package fleet\ngroup: g: {targets: tags: role: \"db\", baselines: [\"b\"]}\n")}, 0},
		{"a file for hosts", map[string][]byte{"files/a": []byte("two\n")}, 0},
		{"a new file", map[string][]byte{"policies/c.cue": []byte("package fleet\npolicy: c: targets: groups: [\"g\"]\n")}, 0},
		{"a file less", map[string][]byte{"policies/c.cue": nil}, 0},
		{"a file that nobody reads", map[string][]byte{"README.md": []byte("x\n")}, 0},
		{"fleet.cue", map[string][]byte{"fleet.cue": []byte("package fleet\nfleet: name: \"acme\"\n_x: 1\n")}, 1},
	} {
		before := whole()
		head = a.commits(t, head, step.files)
		got := a.enforces(t, head)
		if n := whole() - before; n != step.whole {
			t.Errorf("%s: evaluated whole %d times, not %d:\n%s", step.name, n, step.whole, log.String())
		}
		samePolicy(t, step.name, got, evaluatedWhole(t, a, head))
	}
	for name, files := range map[string]map[string][]byte{
		"a group that is named is gone": {"groups/g.cue": nil},
		"a group that is not there":     {"policies/b.cue": []byte("package fleet\npolicy: b: targets: groups: [\"h\"]\n")},
		"an object twice":               {"web/d.cue": []byte("package fleet\npolicy: b: targets: all: true\n")},
		"a file for hosts is gone":      {"files/a": nil},
		"not CUE":                       {"policies/b.cue": []byte("package fleet\npolicy: {")},
	} {
		bad := a.commits(t, head, files)
		if a.consider(t.Context(), bad, false); a.policy.Commit != head || a.refused == nil || a.refused.Commit != bad || len(a.refused.Faults) == 0 {
			t.Errorf("%s: %s is in force, refused is %+v", name, a.policy.Commit, a.refused)
		}
	}
}

// What is kept of a policy is believed only if it is all of what this program kept of these very files.
func TestADamagedCacheCostsAnEvaluation(t *testing.T) {
	state := t.TempDir()
	a := changedAgent(t, state, &strings.Builder{})
	first := a.commits(t, "", smallFiles)
	one := a.enforces(t, first)
	other := map[string][]byte{"policies/b.cue": []byte("package fleet\npolicy: b: {targets: all: true, mode: \"audit\"}\n")}
	second := a.commits(t, first, other)
	two := a.enforces(t, second)
	l := a.o.Local
	for _, p := range []Policy{one, two} {
		if _, err := l.fromCache(p.Digest); err == nil {
			t.Fatal("a policy is written down before it is in force")
		}
		if err := l.toCache(p.Digest, load.Evaluated{Repo: p.Repo, Faults: p.Warnings, Known: p.known}); err != nil {
			t.Fatal(err)
		}
	}
	path := l.cachePath(two.Digest)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stale, err := os.ReadFile(l.cachePath(one.Digest))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := a.policies.Tree(second)
	if err != nil {
		t.Fatal(err)
	}
	evaluations := 0
	count := l
	count.Judge, count.Evaluate = nil, func(ctx context.Context, fsys fs.FS) (schema.Repo, []schema.Fault, error) {
		evaluations++
		return l.Evaluate(ctx, fsys)
	}
	attempt := func(what string, wantEvaluations int) {
		t.Helper()
		evaluations = 0
		p, err := count.evaluated(t.Context(), tree, false)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		samePolicy(t, what, p, two)
		if evaluations != wantEvaluations {
			t.Errorf("%s: %d evaluations, want %d", what, evaluations, wantEvaluations)
		}
	}
	attempt("untouched", 0)
	put := func(b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(good); i += 1 + len(good)/40 {
		b := bytes.Clone(good)
		b[i] ^= 0x10
		put(b)
		attempt("a changed bit", 1)
		put(good[:i])
		attempt("cut off", 1)
	}
	put(stale)
	attempt("of another commit", 1)
	put(append(bytes.Clone(good), 0))
	attempt("longer", 1)
	put(bytes.Repeat([]byte{0}, len(good)))
	attempt("zeros, as a power cut leaves", 1)
	put(nil)
	attempt("empty", 1)
	put(good)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	attempt("others may read it, so somebody else made it", 1)
	if err := errors.Join(os.Chmod(path, 0o600), os.Rename(path, path+".real"), os.Symlink(path+".real", path)); err != nil {
		t.Fatal(err)
	}
	attempt("a link", 1)
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	attempt("a folder", 1)
	if err := errors.Join(os.Remove(path), os.Rename(path+".real", path)); err != nil {
		t.Fatal(err)
	}
	attempt("put back", 0)
}

// At whatever write an agent is cut off, the next one has the last good commit in force from disk, with or without what was
// kept of it.
func TestTheLastGoodCommitIsInForceWhateverWasKept(t *testing.T) {
	state := t.TempDir()
	a := changedAgent(t, state, &strings.Builder{})
	first := a.commits(t, "", smallFiles)
	one := a.enforces(t, first)
	second := a.commits(t, first, map[string][]byte{"policies/b.cue": nil})
	two := a.enforces(t, second)
	keep := func(p Policy) func(*testing.T, string) {
		return func(t *testing.T, state string) {
			l := a.o.Local
			l.State = state
			if err := l.toCache(p.Digest, load.Evaluated{Repo: p.Repo, Faults: p.Warnings, Known: p.known}); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, state string) {
			path := filepath.Join(state, "cache", name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.unlock()
	for _, tt := range []struct {
		name string
		cut  []func(*testing.T, string)
	}{
		{"nothing was kept", nil},
		{"what was before is kept", []func(*testing.T, string){keep(one)}},
		{"and half of what is in force, under its first name", []func(*testing.T, string){keep(one), write(durable.Unfinished+"123", "dunlin policy 3\nhalf")}},
		{"half of it under its own name, as a disk without order leaves", []func(*testing.T, string){keep(one), write("policy-"+two.Digest, "dunlin policy 3\nhalf")}},
		{"all is kept", []func(*testing.T, string){keep(one), keep(two)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.RemoveAll(filepath.Join(state, "cache")); err != nil {
				t.Fatal(err)
			}
			for _, f := range tt.cut {
				f(t, state)
			}
			b := changedAgent(t, state, &strings.Builder{})
			defer b.unlock()
			b.resume(t.Context())
			got, _, _ := b.inForce()
			samePolicy(t, tt.name, got, two)
			// And the next change is judged by its own files again.
			if got.known == nil {
				t.Error("nothing is known of the last good commit")
			}
		})
	}
}

// The newest policies are kept, the one in force among them, and what nobody ended is cleared away.
func TestTheCacheStaysSmall(t *testing.T) {
	l := Local{State: t.TempDir(), Now: time.Now}
	dir := filepath.Join(l.State, "cache")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * abandoned)
	for name, at := range map[string]time.Time{durable.Unfinished + "1": long, durable.Unfinished + "2": time.Now(), "judged": long} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	for i, digest := range []string{"git-e", "git-d", "git-c", "git-b", "git-a"} {
		if err := l.toCache(digest, load.Evaluated{}); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-10) * time.Minute)
		if err := os.Chtimes(l.cachePath(digest), at, at); err != nil {
			t.Fatal(err)
		}
	}
	var have []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		have = append(have, e.Name())
	}
	if want := []string{durable.Unfinished + "2", "judged", "policy-git-a", "policy-git-b", "policy-git-c"}; !reflect.DeepEqual(have, want) {
		t.Errorf("the cache has %q, want %q", have, want)
	}
}
