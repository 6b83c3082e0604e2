package gitrepo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// remotes are the ways to a repository.
func remotes() map[string]func(*testing.T, string) Remote {
	return map[string]func(*testing.T, string) Remote{
		"file":  func(_ *testing.T, bare string) Remote { return Remote{URL: bare, Branch: "main"} },
		"https": func(t *testing.T, bare string) Remote { r, _ := smart(t, bare); return r },
		"ssh":   func(t *testing.T, bare string) Remote { r, _ := overSSH(t, bare); return r },
	}
}

// without makes a commit that removes a file, and pushes it.
func without(t *testing.T, bare, work, name string, files map[string]string) string {
	t.Helper()
	if err := os.Remove(filepath.Join(work, name)); err != nil {
		t.Fatal(err)
	}
	return push(t, bare, work, files)
}

func shallowIs(t *testing.T, s *Store, want ...string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "shallow"))
	if got := strings.Fields(string(b)); strings.Join(got, " ") != strings.Join(want, " ") || len(want) == 0 && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("shallow = %q, %v, want %q", got, err, want)
	}
}

// gitReads lets the real git check a store and count what it sees of a commit's history.
func gitReads(t *testing.T, s *Store, commit, count string) {
	t.Helper()
	run(t, s.dir, "fsck", "--strict", "--full", "--connectivity-only")
	if got := run(t, s.dir, "rev-list", "--count", "--objects", commit); got == "0" {
		t.Error("git sees nothing")
	}
	if got := run(t, s.dir, "rev-list", "--count", commit); got != count {
		t.Errorf("git sees %s commits, want %s", got, count)
	}
}

func lacks(t *testing.T, s *Store, commits ...string) {
	t.Helper()
	for _, c := range commits {
		if s.Knows(c) {
			t.Errorf("%s, from before the bound, is here", c)
		}
	}
}

// A store with Since holds the history from there on, whole, and nothing before it, over every kind of remote.
func TestHistoryBeginsWhereItIsMeantTo(t *testing.T) {
	for name, remote := range remotes() {
		t.Run(name, func(t *testing.T) {
			bare, work := origin(t)
			ctx, str, yes := context.Background(), must[string](t), must[bool](t)
			c1 := push(t, bare, work, map[string]string{"a": "once", "d/b": "2", "big": strings.Repeat("x", 1000)})
			c2 := push(t, bare, work, map[string]string{"a": "2"})
			c3 := without(t, bare, work, "big", map[string]string{"a": "3", "d/e/f": "anchor"})
			c4 := push(t, bare, work, map[string]string{"a": "4"})
			c5 := push(t, bare, work, map[string]string{"d/b": "5"})
			r := remote(t, bare)
			r.Since = c3
			s := open(t, r)
			if got := str(s.Fetch(ctx, "main")); got != c5 || !s.Has(c5) || !s.Has(c3) || !s.Knows(c4) {
				t.Fatalf("Fetch = %s; the head is here: %v, the bound: %v", got, s.Has(c5), s.Has(c3))
			}
			lacks(t, s, c1, c2)
			shallowIs(t, s, c3)
			if name != "file" { // a folder gives of what is between what it takes to judge the steps
				gitReads(t, s, c5, "3")
			}
			// What is before it is before nothing here, and no error.
			for _, old := range []string{c1, c2} {
				if yes(s.Descends(ctx, c5, old)) {
					t.Errorf("%s is found before the head", old)
				}
			}
			if !yes(s.Descends(ctx, c5, c3)) || yes(s.Descends(ctx, c3, c5)) {
				t.Error("what is after the bound is not told apart")
			}
			if src := s.Source(); !src.Begins(c3) || src.Begins(c4) || src.Begins("") {
				t.Error("the source does not know where it begins")
			}
			// More is taken as it comes, also what has a file again that was there before the bound.
			c6 := push(t, bare, work, map[string]string{"a": "once", "big": strings.Repeat("x", 1000)})
			if got := str(s.Fetch(ctx, "main")); got != c6 || !s.Has(c6) || !yes(s.Descends(ctx, c6, c3)) {
				t.Fatalf("Fetch = %s, want %s with all its files", got, c6)
			}
			lacks(t, s, c1, c2)
			// After a restart and a repack, too.
			if err := s.Repack(); err != nil {
				t.Fatal(err)
			}
			s = must[*Store](t)(OpenStore(s.dir, r))
			shallowIs(t, s, c3)
			c7 := push(t, bare, work, map[string]string{"z": "7"})
			if got := str(s.Fetch(ctx, "main")); got != c7 || !s.Has(c7) {
				t.Fatalf("Fetch = %s, want %s", got, c7)
			}
			lacks(t, s, c1, c2)
			shallowIs(t, s, c3)
			if name != "file" {
				gitReads(t, s, c7, "5")
			}
			// A merge of a line from after the bound brings that line.
			run(t, work, "checkout", "-q", "-b", "side", c5)
			side := push(t, bare, work, map[string]string{"side": "1"})
			run(t, work, "checkout", "-q", "main")
			run(t, work, "merge", "-q", "--no-ff", "-m", "m", "side")
			m := push(t, bare, work, map[string]string{"m": "1"})
			if got := str(s.Fetch(ctx, "main")); got != m || !yes(s.Descends(ctx, m, side)) {
				t.Errorf("Fetch = %s without %s", got, side)
			}
			lacks(t, s, c1, c2)
			// The branch is put back to after the bound: that is here already. Then upon a line from after it.
			run(t, work, "reset", "-q", "--hard", c4)
			fork := push(t, bare, work, map[string]string{"fork": "1"})
			if got := str(s.Fetch(ctx, "main")); got != fork || yes(s.Descends(ctx, fork, c5)) || yes(s.Descends(ctx, m, fork)) || !yes(s.Descends(ctx, fork, c3)) {
				t.Errorf("a fork after the bound: %s", got)
			}
			lacks(t, s, c1, c2)
			// To before it: the pack is what it is, and whoever asks sees that it does not follow.
			run(t, work, "reset", "-q", "--hard", c2)
			back := push(t, bare, work, map[string]string{"back": "1"})
			if got := str(s.Fetch(ctx, "main")); got != back || !s.Has(back) || yes(s.Descends(ctx, back, c3)) || !yes(s.Descends(ctx, back, c1)) {
				t.Errorf("a branch from before the bound: %s", got)
			}
			shallowIs(t, s) // its parent is here now
			// Our own commit upon it is pushed as any other.
			run(t, work, "reset", "-q", "--hard", m)
			run(t, work, "push", "-q", "-f", bare, "main")
			str(s.Fetch(ctx, "main"))
			mine := str(s.Commit(Change{Parent: m, Files: map[string][]byte{"n": []byte("n")}, When: time.Unix(1, 0)}))
			if err := s.Push(ctx, "main", mine, m); err != nil {
				t.Fatal(err)
			}
			run(t, bare, "fsck", "--strict", "--full")
			// All of it is all since the bound, and with an earlier one all since then.
			again := open(t, r)
			if got := str(again.FetchWhole(ctx, "main")); got != mine || !again.Has(c3) || !again.Has(c4) {
				t.Errorf("FetchWhole = %s", got)
			}
			lacks(t, again, c1, c2)
			gitReads(t, again, mine, run(t, bare, "rev-list", "--count", "^"+c2, mine))
			r.Since = c2
			again = must[*Store](t)(OpenStore(again.dir, r))
			str(again.FetchWhole(ctx, "main"))
			lacks(t, again, c1)
			shallowIs(t, again, c2)
			gitReads(t, again, mine, run(t, bare, "rev-list", "--count", "^"+c1, mine))
			r.Since = ""
			again = must[*Store](t)(OpenStore(again.dir, r))
			shallowIs(t, again, c2)
			str(again.FetchWhole(ctx, "main"))
			shallowIs(t, again)
			gitReads(t, again, mine, run(t, bare, "rev-list", "--count", mine))
		})
	}
}

// A history that is too large to be taken whole is taken from a later commit on.
func TestAHistoryOverTheLimitIsTakenFromALaterCommit(t *testing.T) {
	t.Setenv("GIT_COMMITTER_DATE", "2020-01-01T00:00:00Z")
	bare, work := origin(t)
	for _, dir := range []string{bare, work} { // rubbish is not worth compressing
		run(t, dir, "config", "core.compression", "0")
		run(t, dir, "config", "pack.window", "0")
	}
	for i := range 3 {
		big, err := os.Create(filepath.Join(work, "big"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.CopyN(big, rand.Reader, MaxPack/3+1<<20)
		if err = errors.Join(err, big.Close()); err != nil {
			t.Fatal(err)
		}
		push(t, bare, work, map[string]string{"i": fmt.Sprint(i)})
	}
	before := run(t, work, "rev-parse", "HEAD")
	without(t, bare, work, "big", map[string]string{"a": "0"})
	for i := range 9 {
		run(t, work, "commit", "-q", "--allow-empty", "-m", fmt.Sprint(i))
	}
	run(t, work, "branch", "side")
	t.Setenv("GIT_COMMITTER_DATE", "2021-01-01T00:00:00Z")
	since := push(t, bare, work, map[string]string{"a": "1"})
	head := push(t, bare, work, map[string]string{"a": "2"})
	// A line that began before the bound, merged after it, and what comes after that.
	run(t, work, "checkout", "-q", "side")
	side := push(t, bare, work, map[string]string{"side": "1"})
	run(t, work, "checkout", "-q", "-b", "merged", "main")
	run(t, work, "merge", "-q", "--no-ff", "-m", "m", "side")
	merged := run(t, work, "rev-parse", "HEAD")
	for i := range 8 { // the bound lies further back than what is asked for first
		run(t, work, "commit", "-q", "--allow-empty", "-m", fmt.Sprint(i))
	}
	last := run(t, work, "rev-parse", "HEAD")
	// A line from after the bound that is longer than the way back to it.
	t.Setenv("GIT_COMMITTER_DATE", "2022-01-01T00:00:00Z")
	run(t, work, "checkout", "-q", "-b", "long", head)
	start := push(t, bare, work, map[string]string{"long": "1"})
	for i := range 20 {
		run(t, work, "commit", "-q", "--allow-empty", "-m", fmt.Sprint(i))
	}
	run(t, work, "checkout", "-q", "-b", "far", merged)
	run(t, work, "merge", "-q", "--no-ff", "-m", "far", "long")
	far := run(t, work, "rev-parse", "HEAD")
	run(t, work, "push", "-q", "-f", bare, "main", "merged", "far")
	at := func(commit string) { run(t, bare, "update-ref", "refs/heads/main", commit) }
	for name, remote := range remotes() {
		t.Run(name, func(t *testing.T) {
			at(head)
			ctx := context.Background()
			r := remote(t, bare)
			s := open(t, r)
			if _, err := s.FetchWhole(ctx, "main"); !errors.Is(err, ErrTooLarge) || strings.Contains(err.Error(), "anchor") {
				t.Errorf("without a bound: %v", err)
			}
			r.Since = strings.Repeat("1", 40) // it is not there: all is taken, as far as it goes
			if name != "https" {              // once is enough
			} else if _, err := open(t, r).FetchWhole(ctx, "main"); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "give this host a later anchor") {
				t.Errorf("with a bound that the remote has not: %v", err)
			}
			r.Since = since
			s = open(t, r)
			for _, fetch := range []func() (string, error){func() (string, error) { return s.Fetch(ctx, "main") }, func() (string, error) { return s.FetchWhole(ctx, "main") }} {
				if got, err := fetch(); got != head || err != nil || !s.Has(since) {
					t.Errorf("with it: %q, %v", got, err)
				}
			}
			lacks(t, s, before)
			at(merged)
			if got, err := s.Fetch(ctx, "main"); got != merged || err != nil || !s.Has(merged) || !s.Has(since) || !s.Knows(side) {
				t.Errorf("a merge of an old line: %q, %v", got, err)
			}
			if name != "file" {
				lacks(t, s, before)
				run(t, s.dir, "fsck", "--strict", "--full", "--connectivity-only")
				b, err := os.ReadFile(filepath.Join(s.dir, "shallow"))
				if ends := strings.Fields(string(b)); err != nil || len(ends) == 0 || slices.ContainsFunc(ends, func(id string) bool { return !s.Source().Ends(id) || s.Source().Begins(id) != (id == since) }) {
					t.Errorf("history ends at %q, %v", ends, err)
				}
			}
			at(last)
			if got, err := s.Fetch(ctx, "main"); got != last || err != nil || !must[bool](t)(s.Descends(ctx, last, head)) {
				t.Errorf("what comes after that: %q, %v", got, err)
			}
			if got, err := s.FetchWhole(ctx, "main"); got != last || err != nil {
				t.Errorf("all of it: %q, %v", got, err)
			}
			s = open(t, r)
			if got, err := s.Fetch(ctx, "main"); got != last || err != nil || !s.Has(since) || !must[bool](t)(s.Descends(ctx, last, since)) {
				t.Errorf("all of it, by a new host: %q, %v", got, err)
			}
			if name != "file" {
				run(t, s.dir, "fsck", "--strict", "--full", "--connectivity-only")
			}
			at(far)
			s = open(t, r)
			if got, err := s.Fetch(ctx, "main"); got != far || err != nil || !s.Has(since) || !must[bool](t)(s.Descends(ctx, far, start)) {
				t.Errorf("a long line from after the bound: %q, %v; its beginning is here: %v", got, err, s.Knows(start))
			}
		})
	}
}

// What is asked of a remote that knows no such bounds, and of one that has not the commit, is all there is.
func TestABoundThatTheRemoteDoesNotKnow(t *testing.T) {
	var b bytes.Buffer
	q := query{want: plumbing.NewHash(strings.Repeat("1", 40)), cuts: []plumbing.Hash{plumbing.NewHash(strings.Repeat("2", 40))}}
	if err := wantRequest(&b, "ofs-delta side-band-64k", q); err != nil || strings.Contains(b.String(), "shallow") {
		t.Errorf("%q, %v", b.String(), err)
	}
	b.Reset()
	if err := wantRequest(&b, "shallow ofs-delta", q); err != nil || !strings.Contains(b.String(), "shallow "+strings.Repeat("2", 40)+"\n") || strings.Contains(b.String(), "deepen") {
		t.Errorf("%q, %v", b.String(), err)
	}
	for name, remote := range remotes() {
		t.Run(name, func(t *testing.T) {
			bare, work := origin(t)
			c1 := push(t, bare, work, map[string]string{"a": "1"})
			c2 := push(t, bare, work, map[string]string{"a": "2"})
			r := remote(t, bare)
			r.Since = strings.Repeat("1", 40)
			s := open(t, r)
			if got, err := s.Fetch(context.Background(), "main"); got != c2 || err != nil || !must[bool](t)(s.Descends(context.Background(), c2, c1)) {
				t.Errorf("Fetch = %q, %v", got, err)
			}
			shallowIs(t, s)
		})
	}
	if _, err := OpenStore(t.TempDir(), Remote{Since: "main"}); err == nil {
		t.Error("a bound that is no full hash is taken")
	}
}

// A shallow clone of somebody's, in which a commit is made, stays as it is.
func TestTheShallowFileOfAClone(t *testing.T) {
	bare, work := origin(t)
	for i := range 3 {
		push(t, bare, work, map[string]string{"a": fmt.Sprint(i)})
	}
	clone := filepath.Join(t.TempDir(), "clone.git")
	run(t, work, "clone", "-q", "--bare", "--depth", "2", "file://"+bare, clone)
	path := filepath.Join(clone, "shallow")
	rubbish := strings.Repeat("1", 40) + "\n" // as of objects that another repository lends
	b := append(must[[]byte](t)(os.ReadFile(path)), rubbish...)
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	s := must[*Store](t)(OpenStore(clone, Remote{}))
	head := run(t, clone, "rev-parse", "main")
	must[string](t)(s.Commit(Change{Parent: head, Files: map[string][]byte{"n": []byte("n")}, When: time.Unix(1, 0)}))
	if after := must[[]byte](t)(os.ReadFile(path)); !bytes.Equal(after, b) {
		t.Errorf("shallow was %q and is %q", b, after)
	}
}

// Peers that have more or less of the history give what each needs, or say that they cannot.
func TestPeersOfOtherBounds(t *testing.T) {
	ctx, str := context.Background(), must[string](t)
	bare, work := origin(t)
	var c []string
	for i := range 8 {
		c = append(c, push(t, bare, work, map[string]string{"a": fmt.Sprint(i), "fleet.cue": "x"}))
	}
	member := func(since string) *Store {
		s := open(t, Remote{URL: bare, Branch: "main", Since: since})
		str(s.Fetch(ctx, "main"))
		return s
	}
	head := c[7]
	whole, middle, late := member(""), member(c[3]), member(c[6])
	take := func(from *Store, since, have string, own *Store) error {
		var pack bytes.Buffer
		if err := from.PackSince(ctx, &pack, head, have, since); err != nil {
			t.Fatal(err)
		}
		return own.Ingest(ctx, &pack, head, have)
	}
	for name, from := range map[string]*Store{"whole": whole, "middle": middle} {
		s := open(t, Remote{Since: c[3]})
		if err := take(from, c[3], "", s); err != nil || !s.Has(head) || !s.Knows(c[3]) || !from.Goes("", c[3]) {
			t.Errorf("%s: %v", name, err)
		}
		lacks(t, s, c[0], c[2])
		shallowIs(t, s, c[3])
		fleet, _, err := s.Source().Blob(c[3], "fleet.cue", 100)
		if err != nil || fleet == "" {
			t.Errorf("%s: what says who may change what is not here: %v", name, err)
		}
	}
	// One that begins later says so, and what it gave would not be taken; another one is asked then.
	s := open(t, Remote{Since: c[3]})
	if late.Goes("", c[3]) || late.Goes(c[4], c[3]) || !late.Goes(c[6], c[3]) || !late.Goes("", c[7]) || !late.Goes("", "") || !whole.Goes(head, strings.Repeat("1", 40)) {
		t.Error("who can give what is not told apart")
	}
	if err := take(late, c[3], "", s); !isMissing(err) || s.Knows(head) {
		t.Errorf("a history with a gap is taken: %v", err)
	}
	if err := take(middle, c[3], "", s); err != nil {
		t.Error(err)
	}
	// Of what is newer the one that begins late gives as any other does.
	n := push(t, bare, work, map[string]string{"a": "new"})
	str(late.Fetch(ctx, "main"))
	str(middle.Fetch(ctx, "main"))
	head = n
	if err := take(late, c[3], c[7], s); err != nil || !s.Has(n) {
		t.Error(err)
	}
	// A fork from after the bound is taken though it does not come by what is here last: it is evidence.
	run(t, work, "reset", "-q", "--hard", c[5])
	fork := push(t, bare, work, map[string]string{"a": "fork"})
	str(middle.Fetch(ctx, "main"))
	var pack bytes.Buffer
	if err := middle.PackSince(ctx, &pack, fork, n, c[3]); err != nil {
		t.Fatal(err)
	}
	if err := s.Ingest(ctx, &pack, fork, n); err != nil || !must[bool](t)(s.Descends(ctx, fork, c[5])) || must[bool](t)(s.Descends(ctx, fork, n)) {
		t.Errorf("a fork: %v", err)
	}
	lacks(t, s, c[2])
	// Who has no bound takes what there is, as before.
	s = open(t, Remote{})
	head = n
	if err := take(middle, "", "", s); err != nil || !s.Has(n) {
		t.Error(err)
	}
}
