package gitrepo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// run runs the real git program, which the product never does.
func run(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v: %s (apt-get install git)", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// origin makes a bare repository and a work tree that pushes to it.
func origin(t testing.TB) (bare, work string) {
	t.Helper()
	dir := t.TempDir()
	bare, work = filepath.Join(dir, "o.git"), filepath.Join(dir, "w")
	run(t, dir, "init", "-q", "--bare", "-b", "main", bare)
	run(t, dir, "init", "-q", "-b", "main", work)
	return bare, work
}

func push(t testing.TB, bare, work string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, work, "add", ".")
	run(t, work, "commit", "-q", "-m", "x")
	run(t, work, "push", "-q", "-f", bare, "main")
	return run(t, work, "rev-parse", "HEAD")
}

func open(t testing.TB, r Remote) *Store {
	t.Helper()
	s, err := OpenStore(filepath.Join(t.TempDir(), "store"), r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// follow is what every kind of remote must do.
func follow(t *testing.T, r Remote, bare, work string) {
	ctx := context.Background()
	str, yes := must[string](t), must[bool](t)
	s := open(t, r)
	if _, err := s.Fetch(ctx, "main"); !errors.Is(err, ErrNoBranch) || !strings.Contains(err.Error(), "empty") {
		t.Fatalf("empty repository: %v", err)
	}
	c1 := push(t, bare, work, map[string]string{"a": "1", "d/b": "2"})
	if got := str(s.Head(ctx)); got != c1 || s.Has(c1) {
		t.Fatalf("Head = %s, want %s, and nothing fetched", got, c1)
	}
	if got := str(s.Fetch(ctx, "main", "absent")); got != c1 || str(s.Ref("refs/dunlin/incoming/main")) != c1 {
		t.Fatalf("Fetch = %s, want %s", got, c1)
	}
	// What is on another branch does not come along with a new commit.
	run(t, work, "checkout", "-q", "-b", "other")
	aside := push(t, bare, work, map[string]string{"aside": "9"})
	run(t, work, "push", "-q", bare, "other")
	run(t, work, "checkout", "-q", "main")
	c2 := push(t, bare, work, map[string]string{"a": "3"})
	str(s.Fetch(ctx, "main"))
	if s.Knows(aside) || s.Has(aside) || str(s.Ref("refs/heads/other")) != "" || str(s.Ref("refs/dunlin/incoming/other")) != "" {
		t.Fatal("another branch was taken, too")
	}
	if !yes(s.Descends(context.Background(), c2, c1)) || yes(s.Descends(context.Background(), c1, c2)) {
		t.Fatal("the second commit follows on the first")
	}
	if b := must[[]byte](t)(s.Read(c2, "a")); string(b) != "3" {
		t.Fatalf("a = %q", b)
	}
	if names := must[[]string](t)(s.List(c2, "")); !slices.Equal(names, []string{"a", "d/"}) {
		t.Fatalf("List = %q", names)
	}
	// A force push to a side line that begins at the first commit is seen, and is no descendant.
	run(t, work, "reset", "-q", "--hard", c1)
	c3 := push(t, bare, work, map[string]string{"e": "5"})
	if got := str(s.Fetch(ctx, "main")); got != c3 || yes(s.Descends(context.Background(), c3, c2)) || !yes(s.Descends(context.Background(), c3, c1)) {
		t.Fatalf("force push: %s", got)
	}
	// Our own commit is pushed, once; the second that was made beside it is not.
	mine := str(s.Commit(Change{Parent: c3, Files: map[string][]byte{"r/x": []byte("r"), "e": nil}, Message: "m", Author: "n", Email: "e", When: time.Unix(1, 0)}))
	other := str(s.Commit(Change{Parent: c3, Files: map[string][]byte{"r/y": []byte("r")}, Message: "m", Author: "n", Email: "e", When: time.Unix(1, 0)}))
	if err := s.Push(ctx, "main", mine, c3); err != nil {
		t.Fatal(err)
	}
	if got := run(t, bare, "rev-parse", "main"); got != mine {
		t.Fatalf("remote is at %s", got)
	}
	run(t, bare, "fsck", "--strict")
	if err := s.Push(ctx, "main", other, c3); !errors.Is(err, ErrRejected) {
		t.Fatalf("second push: %v", err)
	}
	if err := s.Push(ctx, "main", c2, c3); !errors.Is(err, ErrRejected) {
		t.Fatalf("push that is no fast-forward: %v", err)
	}
	if err := s.Push(ctx, "reports", other, ""); err != nil {
		t.Fatalf("new branch: %v", err)
	}
	if _, err := s.Fetch(ctx, "main", "reports"); err != nil || str(s.Ref("refs/dunlin/incoming/reports")) != other {
		t.Fatalf("more branches: %v", err)
	}
	run(t, bare, "update-ref", "-d", "refs/heads/main")
	if _, err := s.Fetch(ctx, "main"); !errors.Is(err, ErrNoBranch) || str(s.Ref("refs/dunlin/incoming/main")) != mine {
		t.Fatalf("deleted branch: %v", err)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Fetch(done, "reports"); err == nil {
		t.Fatal("a context that is over is not kept")
	}
}

func TestStoreFollowsAFile(t *testing.T) {
	bare, work := origin(t)
	follow(t, Remote{URL: "file://" + bare, Branch: "main"}, bare, work)
	bare, work = origin(t)
	follow(t, Remote{URL: bare, Branch: "main"}, bare, work)
}

func TestHostileURL(t *testing.T) {
	for _, u := range []string{"ext::sh -c id", "--upload-pack=x", "-oProxyCommand=x:y", "http://h/p", "git://h/p", "ssh://-oProxy/x", "ssh://h/-x", "h:-x",
		"https://u:s3cret@h/p", "https://tok@h/p", "https://s3cret:%zz@h/p", "https:///p", "https://h/p?x=s3cret", "fd::3", "relative/path", "file://host/x", "ssh://h/a\nb", "s3cret:x@h:/p\x00"} {
		_, err := OpenStore(t.TempDir(), Remote{URL: u, Branch: "main"})
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", u, err)
		}
	}
	for _, b := range []string{"-x", "../x", "a..b", "x.lock", "refs/heads/x", "a b", "a\x00"} {
		if _, err := OpenStore(t.TempDir(), Remote{URL: "/x", Branch: b}); err == nil {
			t.Errorf("branch %q is taken", b)
		}
	}
}

func TestNoRepositoryThere(t *testing.T) {
	s := open(t, Remote{URL: t.TempDir(), Branch: "main"})
	if _, err := s.Head(context.Background()); !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
}

func TestConcurrentPushes(t *testing.T) {
	bare, work := origin(t)
	c := push(t, bare, work, map[string]string{"a": "1"})
	errs := make([]error, 8)
	stores, mine := make([]*Store, len(errs)), make([]string, len(errs))
	for i := range errs {
		s := open(t, Remote{URL: bare, Branch: "main"})
		must[string](t)(s.Fetch(context.Background(), "main"))
		stores[i], mine[i] = s, must[string](t)(s.Commit(Change{Parent: c, Files: map[string][]byte{"n": fmt.Append(nil, i)}, When: time.Unix(9, 0)}))
	}
	var wg sync.WaitGroup
	for i, s := range stores {
		wg.Go(func() { errs[i] = s.Push(context.Background(), "main", mine[i], c) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, ErrRejected) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d pushes from one parent were taken", won)
	}
	run(t, bare, "fsck", "--strict")
}

// The lock of a reference that somebody is about to move is none itself, whatever is in it.
func TestALockIsNoReference(t *testing.T) {
	bare, work := origin(t)
	c := push(t, bare, work, map[string]string{"a": "1"})
	for _, text := range []string{"", "rubbish"} {
		if err := os.WriteFile(filepath.Join(bare, "refs", "heads", "other.lock"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		s := open(t, Remote{URL: bare, Branch: "main"})
		if got, err := s.Fetch(context.Background(), "main"); got != c || err != nil {
			t.Errorf("Fetch = %q, %v", got, err)
		}
		next := must[string](t)(s.Commit(Change{Parent: c, Files: map[string][]byte{"n": []byte(text)}, When: time.Unix(9, 0)}))
		if err := s.Push(context.Background(), "main", next, c); err != nil {
			t.Error(err)
		}
		c = next
	}
}

func TestCommit(t *testing.T) {
	s := open(t, Remote{})
	str := must[string](t)
	c1 := str(s.Commit(Change{Files: map[string][]byte{"a/b/c": []byte("1"), "a.x": []byte("2"), "z": {}}, Message: "m", Author: "A <x>\nB", Email: "e>", When: time.Unix(5, 0)}))
	if c := str(s.Commit(Change{Parent: c1, Files: map[string][]byte{"z": {}, "none": nil}})); c != c1 {
		t.Error("a change of nothing makes a commit")
	}
	c2 := str(s.Commit(Change{Parent: c1, Files: map[string][]byte{"a/b/c": nil}, When: time.Unix(6, 0)}))
	if n := must[[]string](t)(s.List(c2, ".")); !slices.Equal(n, []string{"a.x", "z"}) {
		t.Errorf("an empty folder stays: %q", n)
	}
	if _, err := s.Read(c2, "a/b/c"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, p := range []string{"../x", "/x", "a//b", ".git/config", "a/.GIT/x", "", ".", "a\\b"} {
		if _, err := s.Commit(Change{Files: map[string][]byte{p: {}}}); err == nil {
			t.Errorf("path %q is taken", p)
		}
	}
	if _, err := s.Commit(Change{Files: map[string][]byte{"a": {}, "a/b": {}}}); err == nil {
		t.Error("a file and a folder of one name")
	}
	if err := s.SetRef("refs/heads/main", c2); err != nil {
		t.Fatal(err)
	}
	run(t, s.dir, "fsck", "--strict")
	again := must[*Store](t)(OpenStore(s.dir, Remote{}))
	if got := str(again.Ref("refs/heads/main")); got != c2 || !again.Has(c2) {
		t.Errorf("after opening again: %q", got)
	}
}

// A commit whose files are all here does not count while commits before it are missing: it would look as if it did not
// follow on what is in force.
func TestIngestWantsTheHistory(t *testing.T) {
	a, b := open(t, Remote{}), open(t, Remote{})
	str, ctx := must[string](t), context.Background()
	c1 := str(a.Commit(Change{Files: map[string][]byte{"a": []byte("1"), "b": []byte("b")}, When: time.Unix(1, 0)}))
	c2 := str(a.Commit(Change{Parent: c1, Files: map[string][]byte{"a": []byte("2")}, When: time.Unix(2, 0)}))
	c3 := str(a.Commit(Change{Parent: c2, Files: map[string][]byte{"a": []byte("3")}, When: time.Unix(3, 0)}))
	other := str(a.Commit(Change{Files: map[string][]byte{"a": []byte("4"), "b": []byte("b")}, When: time.Unix(4, 0)}))
	take := func(want, have, known string) error {
		var pack bytes.Buffer
		if err := a.Pack(ctx, &pack, want, have); err != nil {
			t.Fatal(err)
		}
		return b.Ingest(ctx, &pack, want, known)
	}
	if err := take(c1, "", ""); err != nil {
		t.Fatal(err)
	}
	if err := take(c3, c2, c1); !isMissing(err) || b.Has(c3) {
		t.Errorf("a commit without the one before it is kept: %v", err)
	}
	if err := take(other, "", c1); err != nil || !b.Has(other) {
		t.Errorf("a whole history that is another one: %v", err)
	}
	if err := take(c3, c1, c1); err != nil || !b.Has(c3) || !must[bool](t)(b.Descends(ctx, c3, c1)) {
		t.Errorf("with the history: %v", err)
	}
}

func TestPeers(t *testing.T) {
	a, b := open(t, Remote{}), open(t, Remote{})
	str := must[string](t)
	ctx := context.Background()
	c1 := str(a.Commit(Change{Files: map[string][]byte{"a": []byte("1"), "b": bytes.Repeat([]byte("x"), 1000)}, When: time.Unix(1, 0)}))
	c2 := str(a.Commit(Change{Parent: c1, Files: map[string][]byte{"a": []byte("2")}, When: time.Unix(2, 0)}))
	var full, delta bytes.Buffer
	for w, have := range map[*bytes.Buffer]string{&full: strings.Repeat("a", 40), &delta: c1} {
		if err := a.Pack(context.Background(), w, c2, have); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Ingest(ctx, bytes.NewReader(delta.Bytes()), c2, ""); err == nil || b.Has(c2) || len(b.packs()) != 0 {
		t.Errorf("a commit without all its files is kept: %v", err)
	}
	for _, n := range []int{0, 5, 40, full.Len() - 1} {
		if err := b.Ingest(ctx, bytes.NewReader(full.Bytes()[:n]), c2, ""); err == nil {
			t.Errorf("%d bytes of a pack are taken", n)
		}
	}
	if err := b.Ingest(ctx, &full, c2, ""); err != nil || !b.Has(c2) || b.Has(c1) {
		t.Errorf("Ingest: %v", err)
	}
	if ok, err := b.Descends(context.Background(), c2, c1); err != nil || !ok {
		t.Errorf("Descends: %v, %v", ok, err)
	}
	if err := b.Ingest(ctx, io.LimitReader(zeros{}, 1<<30), c2, ""); !errors.Is(err, ErrTooLarge) {
		t.Errorf("oversize: %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(b.dir, "objects/pack/tmp*"))
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestRepackBoundsTheStore(t *testing.T) {
	s := open(t, Remote{})
	c, first := "", ""
	for i := range 120 {
		c = must[string](t)(s.Commit(Change{Parent: c, Files: map[string][]byte{"f": bytes.Repeat(fmt.Append(nil, i, " "), 500), "same": []byte("s")}, When: time.Unix(int64(i), 0)}))
		if first == "" {
			first = c
		}
		if err := s.SetRef("refs/heads/main", c); err != nil {
			t.Fatal(err)
		}
		if n := len(s.packs()); n > maxPacks+1 {
			t.Fatalf("%d packs", n)
		}
	}
	tree := must[Tree](t)(s.Tree(c))
	if err := s.Repack(); err != nil {
		t.Fatal(err)
	}
	if len(s.packs()) != 1 || !s.Has(c) || s.Has(first) {
		t.Errorf("%d packs; the last commit whole: %v, the first: %v", len(s.packs()), s.Has(c), s.Has(first))
	}
	if _, err := fs.ReadFile(tree, "f"); err != nil {
		t.Errorf("a tree given out before: %v", err)
	}
	if ok, err := s.Descends(context.Background(), c, first); !ok || err != nil {
		t.Errorf("the history is gone: %v", err)
	}
	if err := s.Repack(); err != nil || len(s.packs()) != 1 {
		t.Errorf("again: %v", err)
	}
}

func FuzzCheckPack(f *testing.F) {
	s := open(f, Remote{})
	c := must[string](f)(s.Commit(Change{Files: map[string][]byte{"a": []byte("1")}}))
	var b bytes.Buffer
	if err := s.Pack(context.Background(), &b, c, ""); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, p []byte) { _ = checkPack(bytes.NewReader(p), int64(len(p))) })
}

// A store that followed a branch "a" goes on with a branch "a/b".
func TestABranchBelowTheNameOfAnother(t *testing.T) {
	ctx := context.Background()
	base := t.TempDir()
	remote, err := OpenStore(filepath.Join(base, "remote"), Remote{})
	if err != nil {
		t.Fatal(err)
	}
	commit, err := remote.Commit(Change{Files: map[string][]byte{"x": []byte("1")}, Message: "one", Author: "a", Email: "a@b", When: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	for _, branch := range []string{"a", "a/b"} {
		if err := remote.SetRef("refs/heads/"+strings.ReplaceAll(branch, "/", "-"), commit); err != nil {
			t.Fatal(err)
		}
	}
	for _, branch := range []string{"a", "a/b"} {
		// A repository cannot have both branches at once.
		if err := os.RemoveAll(filepath.Join(base, "remote", "refs", "heads", "a")); err != nil {
			t.Fatal(err)
		}
		if err := remote.SetRef("refs/heads/"+branch, commit); err != nil {
			t.Fatal(err)
		}
		s, err := OpenStore(filepath.Join(base, "store"), Remote{URL: filepath.Join(base, "remote"), Branch: branch})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Fetch(ctx, branch); err != nil || got != commit {
			t.Errorf("fetch %q: %q, %v", branch, got, err)
		}
		if got, err := s.Ref(Incoming(branch)); err != nil || got != commit {
			t.Errorf("%s: %q, %v", Incoming(branch), got, err)
		}
	}
}

// Who talks with the remote for long holds up others only as long as they want to wait.
func TestAConversationIsWaitedForAsLongAsTheCallerLikes(t *testing.T) {
	s, err := OpenStore(t.TempDir(), Remote{URL: t.TempDir(), Branch: "main"})
	if err != nil {
		t.Fatal(err)
	}
	done, err := s.converse(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Head(ctx); !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Head while another talks: %v", err)
	}
}

// What a peer put into packs beside what was asked for goes with the next repack, which does not wait for many packs.
func TestWhatNobodyNeedsDoesNotFillTheDisk(t *testing.T) {
	ctx := context.Background()
	s, err := OpenStore(t.TempDir(), Remote{})
	if err != nil {
		t.Fatal(err)
	}
	size := func() (sum int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for p := range s.packs() {
			if info, err := os.Stat(p + ".pack"); err == nil {
				sum += info.Size()
			}
		}
		return sum
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	junk := make([]byte, 300<<10)
	s.loosest = 1 << 20
	parent := ""
	for i := range 8 {
		other, err := OpenStore(t.TempDir(), Remote{})
		if err != nil {
			t.Fatal(err)
		}
		for j := range junk {
			junk[j] = byte(rnd.Uint32())
		}
		if parent != "" {
			var pack bytes.Buffer
			if err := s.Pack(ctx, &pack, parent, ""); err != nil {
				t.Fatal(err)
			}
			if err := other.Ingest(ctx, &pack, parent, ""); err != nil {
				t.Fatal(err)
			}
		}
		// A hostile pack: the commit that is wanted, and a large file that it does not have.
		bad, err := other.Commit(Change{Files: map[string][]byte{"junk": junk}, Message: "junk", Author: "a", Email: "a@b", When: time.Unix(int64(i), 0)})
		if err != nil {
			t.Fatal(err)
		}
		good, err := other.Commit(Change{Parent: parent, Files: map[string][]byte{"x": {byte(i)}}, Message: "good", Author: "a", Email: "a@b", When: time.Unix(int64(i), 0)})
		if err != nil {
			t.Fatal(err)
		}
		h1, _ := hash40(good)
		h2, _ := hash40(bad)
		list, err := between(ctx, other.objects(), h1, plumbing.ZeroHash, trees)
		if err != nil {
			t.Fatal(err)
		}
		more, err := between(ctx, other.objects(), h2, plumbing.ZeroHash, files)
		if err != nil {
			t.Fatal(err)
		}
		var pack bytes.Buffer
		if err := writePack(ctx, &pack, other.objects(), append(list, more...)); err != nil {
			t.Fatal(err)
		}
		if err := s.Ingest(ctx, &pack, good, ""); err != nil {
			t.Fatal(err)
		}
		if err := s.SetRef("refs/dunlin/trusted", good); err != nil {
			t.Fatal(err)
		}
		parent = good
		if got := size(); got > s.loosest+2*int64(len(junk)) {
			t.Fatalf("after %d packs the store has %d KiB", i+1, got>>10)
		}
	}
}
