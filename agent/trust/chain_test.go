package trust

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// accepted and refused say what should become of a head.
func accepted(t *testing.T, r *gitRepo, trusted, head string, people ...string) {
	t.Helper()
	steps, err := r.verify(trusted, head)
	if err != nil {
		t.Errorf("refused: %v", err)
		return
	}
	if len(people) == 0 {
		return
	}
	var got []string
	for _, names := range steps[len(steps)-1].Agreed {
		got = append(got, names...)
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, people) {
		t.Errorf("agreed by %v, want %v", got, people)
	}
}

func refused(t *testing.T, r *gitRepo, trusted, head string, kind Kind, words string) {
	t.Helper()
	_, err := r.verify(trusted, head)
	var x *Refusal
	if !errors.As(err, &x) || x.Kind != kind || !strings.Contains(x.Reason, words) {
		t.Errorf("Verify = %v, want %q with %q", err, kind, words)
	}
}

// team is a fleet of alice, who is root, and bob and carol, who together make policy.
func team(t testing.TB) (*gitRepo, string) {
	r := newGitRepo(t, "alice", "bob", "carol", "mallory")
	f := schema.Fleet{
		Signers: r.signers("alice=root", "bob=policy", "carol=policy"),
		Roles:   map[string]schema.Role{"root": {Paths: rootPaths(), Threshold: 1}, "policy": {Paths: []string{"**"}, Threshold: 2}},
	}
	anchor := r.commit("", map[string]string{"fleet.cue": r.fleet(f), "README.md": "hello\n"})
	return r, anchor
}

func TestWhoeverMayDoes(t *testing.T) {
	r := newGitRepo(t, "alice", "bob", "mallory")
	anchor := r.commit("", map[string]string{"fleet.cue": r.fleet(schema.Fleet{Signers: r.signers("alice=root", "bob=policy")})})
	good := r.commit("bob", map[string]string{"policies/a.cue": "1"})
	accepted(t, r, anchor, good, "bob")
	accepted(t, r, anchor, anchor)
	roots := r.commit("alice", map[string]string{"nodes/aa.jsonl": "{}"})
	accepted(t, r, anchor, roots, "alice")
	for name, tt := range map[string]struct {
		who   string
		files map[string]string
		words string
	}{
		"nobody":                     {"", map[string]string{"policies/a.cue": "2"}, `the change of "policies/a.cue" needs 1 of the role policy, and nobody with it has signed`},
		"a stranger":                 {"mallory", map[string]string{"policies/a.cue": "2"}, "belongs to no signer (SHA256:"},
		"policy for root":            {"bob", map[string]string{"fleet.cue": r.fleet(schema.Fleet{Signers: r.signers("bob=root,policy")})}, `the change of "fleet.cue" needs 1 of the role root`},
		"root for policy":            {"alice", map[string]string{"policies/a.cue": "2"}, `needs 1 of the role policy`},
		"policy for a node":          {"bob", map[string]string{"nodes/bb.jsonl": "{}"}, `needs 1 of the role root`},
		"policy for a grant":         {"bob", map[string]string{"grants/x/y.cue": "x"}, `needs 1 of the role root`},
		"policy takes a node away":   {"bob", map[string]string{"nodes/aa.jsonl": ""}, `needs 1 of the role root`},
		"both things signed by one":  {"bob", map[string]string{"policies/a.cue": "2", "schema.cue": "x"}, `"schema.cue" needs 1 of the role root`},
		"nothing changed by nobody":  {"", nil, "needs 1 of the role policy"},
		"a path that is folded case": {"bob", map[string]string{"Fleet.cue": "x"}, "role root"},
	} {
		t.Run(name, func(t *testing.T) {
			r.git("checkout", "-q", roots)
			defer r.git("checkout", "-q", "main")
			refused(t, r, anchor, r.commit(tt.who, tt.files), NotAgreed, tt.words)
		})
	}
}

// guarded is a repository of which only what is trusted may be read: what fleet.cue and the activations of another commit
// say is evaluated by nobody.
type guarded struct {
	*gitRepo
	may map[string]bool
}

func (g guarded) see(commit string) {
	g.t.Helper()
	if !g.may[commit] {
		g.t.Errorf("commit %s is read before it is trusted", short(commit))
	}
}

func (g guarded) Fleet(ctx context.Context, commit string) (schema.Fleet, error) {
	g.see(commit)
	return g.gitRepo.Fleet(ctx, commit)
}

func (g guarded) Activations(ctx context.Context, commit string) (map[string]schema.Activation, error) {
	g.see(commit)
	return g.gitRepo.Activations(ctx, commit)
}

// TestNothingUntrustedIsRead: what a commit says is looked at once the commit itself is agreed to, and not before. The one
// exception is the fleet.cue of who becomes root, once the old root has agreed to it.
func TestNothingUntrustedIsRead(t *testing.T) {
	r := newGitRepo(t, "alice", "bob", "mallory")
	f := schema.Fleet{Signers: r.signers("alice=root", "bob=policy"), Roles: map[string]schema.Role{
		"root": {Paths: rootPaths()}, "policy": {Paths: []string{"**"}}, "enrol": {Activations: []string{"a"}}}}
	anchor := r.commit("", map[string]string{"fleet.cue": r.fleet(f), "activations/all.cue": "0"})
	g := guarded{r, map[string]bool{anchor: true}}
	good := r.commit("bob", map[string]string{"policies/a.cue": "1"})
	g.may[good] = true
	taken := func() string {
		return r.fleet(schema.Fleet{Signers: r.signers("mallory=root,policy"), Roles: map[string]schema.Role{"root": {Paths: rootPaths()}, "policy": {Paths: []string{"**"}}, "enrol": {Activations: []string{"a"}}}})
	}
	for name, tt := range map[string]struct {
		who   string
		files map[string]string
	}{
		"nobody's people":              {"", map[string]string{"fleet.cue": taken()}},
		"a stranger's":                 {"mallory", map[string]string{"fleet.cue": taken()}},
		"a policy key's":               {"bob", map[string]string{"fleet.cue": taken()}},
		"a stranger's activation":      {"mallory", map[string]string{"activations/all.cue": "1"}},
		"a node with an activation":    {"mallory", map[string]string{"activations/all.cue": "2", "nodes/aa.jsonl": "{}\n", "nodes/joins/a/a.jsonl": "{}\n"}},
		"people beside what one may":   {"bob", map[string]string{"policies/a.cue": "2", "fleet.cue": taken()}},
		"a node and people":            {"bob", map[string]string{"nodes/aa.jsonl": "{}\n", "fleet.cue": taken()}},
		"a policy and no fleet at all": {"", map[string]string{"fleet.cue": "", "policies/a.cue": "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			r.git("checkout", "-q", good)
			bad := r.commit(tt.who, tt.files)
			for _, over := range []string{bad, r.commit("mallory", map[string]string{"policies/a.cue": name}), r.commit("alice", map[string]string{"nodes/bb.jsonl": name})} {
				var x *Refusal
				if _, err := Verify(t.Context(), g, anchor, over, r.clock); !errors.As(err, &x) || x.Kind != NotAgreed || x.Commit != bad {
					t.Errorf("Verify = %v, want %s not agreed to", err, short(bad))
				}
			}
		})
	}
	r.git("checkout", "-q", good)
	next := r.commit("alice", map[string]string{"fleet.cue": taken()})
	g.may[next] = true // root has signed it, and it is read to see that the new root agrees
	var x *Refusal
	if _, err := Verify(t.Context(), g, anchor, next, r.clock); !errors.As(err, &x) || !strings.Contains(x.Reason, "the new root must agree") {
		t.Errorf("Verify = %v", err)
	}
}

// TestRootCannotEndTheChain: what would leave nobody who may say anything is refused, whoever signs it.
func TestRootCannotEndTheChain(t *testing.T) {
	r := newGitRepo(t, "alice", "bob")
	people := r.signers("alice=root", "bob=policy")
	anchor := r.commit("", map[string]string{"fleet.cue": r.fleet(schema.Fleet{Signers: people})})
	roles := func(root int) map[string]schema.Role {
		return map[string]schema.Role{"root": {Paths: rootPaths(), Threshold: root}, "policy": {Paths: []string{"**"}, Threshold: 1}}
	}
	for name, tt := range map[string]struct {
		fleet schema.Fleet
		words string
	}{
		"no signers":                      {schema.Fleet{}, "the new root must agree, too"},
		"nobody who is root":              {schema.Fleet{Signers: r.signers("alice=policy", "bob=policy")}, "the new root must agree, too"},
		"a threshold that nobody reaches": {schema.Fleet{Signers: people, Roles: roles(2)}, "needs 2 of the role root, and only alice signed"},
		"a key that nobody has":           {schema.Fleet{Signers: map[string]schema.Signer{"alice": {Keys: []string{r.public("alice")[:60]}, Roles: []string{"root"}}}}, "the new root must agree, too"},
		"a root who has not agreed":       {schema.Fleet{Signers: r.signers("alice=policy", "bob=root")}, "the new root must agree, too"},
	} {
		t.Run(name, func(t *testing.T) {
			r.git("checkout", "-q", anchor)
			refused(t, r, anchor, r.commit("alice", map[string]string{"fleet.cue": r.fleet(tt.fleet)}), NotAgreed, tt.words)
		})
	}
	r.git("checkout", "-q", anchor)
	if _, err := r.verify(anchor, r.commit("alice", map[string]string{"fleet.cue": ""})); err == nil {
		t.Error("a commit without fleet.cue is trusted")
	}
}

// What a merge brings beside its branch is nobody's word, and a branch of an earlier time no word on this one.
func TestMergesOfMoreOrOfOld(t *testing.T) {
	r, anchor := team(t)
	branch := func() string {
		r.git("checkout", "-q", "-B", "topic", anchor)
		r.commit("bob", map[string]string{"policies/a.cue": "1"})
		return r.commit("bob", map[string]string{"policies/a.cue": "2"})
	}
	t.Run("a merge that brings more than the branch", func(t *testing.T) {
		branch()
		r.git("checkout", "-q", "-B", "main", anchor)
		r.git("merge", "-q", "--no-ff", "--no-commit", "topic")
		merge := r.commit("", map[string]string{"policies/evil.cue": "x"})
		refused(t, r, anchor, merge, NotAgreed, "nobody with it has signed")
	})
	t.Run("a merge of an old branch", func(t *testing.T) {
		// Its tip has the tree of an earlier time, and does not descend from what is trusted: somebody signed it long ago.
		tip := branch()
		r.git("checkout", "-q", "-B", "main", anchor)
		r.commit("bob", map[string]string{"policies/a.cue": "2"})
		r.approve("carol", anchor, r.tree("HEAD"))
		newer := r.commit("bob", map[string]string{"policies/a.cue": "3"})
		r.approve("carol", r.git("rev-parse", "HEAD~1"), r.tree("HEAD"))
		accepted(t, r, anchor, newer)
		r.clock = r.clock.Add(time.Minute)
		back := r.git("commit-tree", "-m", "back", "-p", newer, "-p", tip, r.tree(tip))
		refused(t, r, newer, back, NotAgreed, "nobody with it has signed")
	})
}

// What a server can do with what was once well signed.
func TestOldAndMixedHeads(t *testing.T) {
	r, anchor := team(t)
	both := func(files map[string]string) string {
		base := r.head()
		c := r.commit("bob", files)
		r.approve("carol", base, r.tree(c))
		return c
	}
	one := both(map[string]string{"policies/a.cue": "1", "policies/b.cue": "1"})
	two := both(map[string]string{"policies/a.cue": "2"})
	three := both(map[string]string{"policies/b.cue": "3"})
	accepted(t, r, anchor, three)

	refused(t, r, three, two, Rewind, "does not follow on "+three[:12])
	refused(t, r, three, anchor, Rewind, "does not follow")
	t.Run("a fork", func(t *testing.T) {
		r.git("checkout", "-q", "-B", "fork", two)
		fork := both(map[string]string{"policies/a.cue": "fork"})
		accepted(t, r, two, fork)
		refused(t, r, three, fork, Rewind, "does not follow")
	})
	t.Run("an approval upon another base", func(t *testing.T) {
		r.git("checkout", "-q", "-B", "mix", three)
		r.clock = r.clock.Add(time.Minute)
		old := r.git("commit-tree", "-m", "old", "-p", three, r.tree(two)) // carol has approved this tree, upon one
		refused(t, r, three, old, NotAgreed, "nobody with it has signed")
	})
	t.Run("files of two commits", func(t *testing.T) {
		r.git("checkout", "-q", "-B", "mix", three)
		mixed := r.commit("", map[string]string{"policies/a.cue": "1"})
		refused(t, r, three, mixed, NotAgreed, "nobody")
	})
	t.Run("trusted as the second parent", func(t *testing.T) {
		r.git("checkout", "-q", "-B", "foxtrot", one)
		r.commit("bob", map[string]string{"policies/c.cue": "1"})
		r.clock = r.clock.Add(time.Minute)
		r.git("merge", "-q", "--no-ff", "-m", "Merge main", "-S"+filepath.Join(r.keys, "bob"), three)
		refused(t, r, three, r.head(), Rewind, "merge the branch into main, not main into the branch")
	})
	t.Run("time", func(t *testing.T) {
		r.git("checkout", "-q", "-B", "time", three)
		now := r.clock
		r.clock = now.Add(-time.Hour)
		early := r.commit("bob", map[string]string{"policies/a.cue": "early"})
		r.clock = now
		r.approve("carol", three, r.tree(early))
		refused(t, r, three, early, WrongTime, "before that of its parent")
		r.git("checkout", "-q", "-B", "time", three)
		r.clock = now.Add(time.Hour)
		late := r.commit("bob", map[string]string{"policies/a.cue": "late"})
		r.approve("carol", three, r.tree(late))
		accepted(t, r, three, late)
		r.clock = now.Add(-6 * time.Minute)
		refused(t, r, three, late, WrongTime, "in the future")
		r.clock = now
	})
}

// Where history begins at the anchor, what a server shows of before it, or beside it, is refused as it is with all history
// there: nothing before the anchor is asked for. What is missing after it is told.
func TestNothingBeforeWhereHistoryBegins(t *testing.T) {
	r, first := team(t)
	both := func(files map[string]string) string {
		base := r.head()
		c := r.commit("bob", files)
		r.approve("carol", base, r.tree(c))
		return c
	}
	old := both(map[string]string{"policies/a.cue": "0"})
	anchor := both(map[string]string{"policies/a.cue": "1"})
	two := both(map[string]string{"policies/a.cue": "2"})
	three := both(map[string]string{"policies/b.cue": "3"})
	r.begins, r.gone = anchor, map[string]bool{first: true, old: true}

	accepted(t, r, anchor, three)
	refused(t, r, three, two, Rewind, "does not follow on "+three[:12])
	refused(t, r, three, anchor, Rewind, "does not follow")
	r.git("checkout", "-q", "-B", "fork", two)
	fork := both(map[string]string{"policies/a.cue": "fork"})
	accepted(t, r, two, fork)
	refused(t, r, three, fork, Rewind, "does not follow")
	// A merge of a line that leaves the main one between the anchor and what is trusted.
	r.git("checkout", "-q", "-B", "side", two)
	side := r.commit("bob", map[string]string{"policies/side.cue": "1"})
	r.git("checkout", "-q", "-B", "merged", three)
	r.clock = r.clock.Add(time.Minute)
	r.git("merge", "-q", "--no-ff", "-m", "Merge side", side)
	refused(t, r, three, r.head(), NotAgreed, "nobody with it has signed")
	r.approve("bob", three, r.tree("HEAD"))
	r.approve("carol", three, r.tree("HEAD"))
	accepted(t, r, three, r.head(), "bob", "carol")
	// A merge of a line that began before the anchor and is cut off.
	r.git("checkout", "-q", "-B", "older", old)
	r.ends = r.commit("bob", map[string]string{"policies/older.cue": "1"})
	older := r.commit("bob", map[string]string{"policies/older.cue": "2"})
	r.git("checkout", "-q", "-B", "merged", three)
	r.clock = r.clock.Add(time.Minute)
	r.git("merge", "-q", "--no-ff", "-m", "Merge older", older)
	refused(t, r, three, r.head(), NotAgreed, "nobody with it has signed")
	r.approve("bob", three, r.tree("HEAD"))
	r.approve("carol", three, r.tree("HEAD"))
	accepted(t, r, three, r.head(), "bob", "carol")
	refused(t, r, r.head(), three, Rewind, "does not follow")
	// One that began after it, is cut off all the same, and whose tip the right people have signed: the rest may be asked for.
	r.ends = ""
	r.git("checkout", "-q", "-B", "long", three)
	begun := r.commit("bob", map[string]string{"policies/long.cue": "1"})
	tip := both(map[string]string{"policies/long.cue": "2"})
	r.git("checkout", "-q", "-B", "merged", three)
	r.clock = r.clock.Add(time.Minute)
	r.git("merge", "-q", "--no-ff", "-m", "Merge long", tip)
	r.approve("carol", three, r.tree("HEAD"))
	accepted(t, r, three, r.head(), "bob", "carol")
	for ends, cut := range map[string]bool{begun: true, tip: true, older: false} {
		r.ends = ends
		_, err := r.verify(three, r.head())
		if refused := (*Refusal)(nil); cut && (!errors.As(err, &refused) || refused.Kind != NotAgreed || !refused.Cut) || !cut && err != nil {
			t.Errorf("cut at %s: %v", ends, err)
		}
	}
	r.ends = ""
	// What nobody of them has signed is no reason to ask.
	r.git("checkout", "-q", "-B", "long", three)
	r.ends = r.commit("", map[string]string{"policies/long.cue": "3"})
	unsigned := r.commit("", map[string]string{"policies/long.cue": "4"})
	r.git("checkout", "-q", "-B", "other", three)
	r.clock = r.clock.Add(time.Minute)
	r.git("merge", "-q", "--no-ff", "-m", "Merge it", unsigned)
	_, err := r.verify(three, r.head())
	if refused := (*Refusal)(nil); !errors.As(err, &refused) || refused.Cut {
		t.Errorf("a line that nobody has signed: %v", err)
	}
	r.ends = ""
	// A line from before the anchor that is all there, and one that is not.
	r.git("checkout", "-q", "-B", "before", first)
	before := both(map[string]string{"policies/a.cue": "before"})
	if _, err := r.verify(three, before); !errors.Is(err, errGone) {
		t.Errorf("a line whose beginning is not here: %v", err)
	}
	// One that is cut off before what is trusted was made does not follow on that, and one that is cut off later may.
	now := r.clock
	for cut, want := range map[time.Time]bool{now.Add(-365 * 24 * time.Hour): true, now: false} {
		r.clock = cut
		r.git("checkout", "-q", "-B", "around", old)
		r.ends = both(map[string]string{"policies/around.cue": "1"})
		r.clock = now.Add(time.Hour)
		r.git("merge", "-q", "--no-ff", "-s", "ours", "-m", "Merge main", three)
		_, err := r.verify(three, r.head())
		if refused := (*Refusal)(nil); want != (errors.As(err, &refused) && refused.Kind == Rewind) || !want && !errors.Is(err, errGone) {
			t.Errorf("a line that was cut off at %s: %v", cut, err)
		}
	}
	r.ends = ""
	clear(r.gone)
	refused(t, r, three, before, Rewind, "does not follow")
	r.gone[two] = true
	if _, err := r.verify(anchor, three); !errors.Is(err, errGone) {
		t.Errorf("a line with a gap after the anchor: %v", err)
	}
}

// Two keys of one person are one person, and one key is one person's.
func TestAPersonCountsOnce(t *testing.T) {
	r := newGitRepo(t, "alice", "bob", "bob2", "carol")
	s := r.signers("alice=root", "carol=policy")
	s["bob"] = schema.Signer{Keys: []string{r.public("bob"), r.public("bob2")}, Roles: []string{"policy"}}
	roles := map[string]schema.Role{"root": {Paths: rootPaths(), Threshold: 1}, "policy": {Paths: []string{"**"}, Threshold: 2}}
	anchor := r.commit("", map[string]string{"fleet.cue": r.fleet(schema.Fleet{Signers: s, Roles: roles})})
	c := r.commit("bob", map[string]string{"a.cue": "1"})
	r.approve("bob2", anchor, r.tree(c))
	refused(t, r, anchor, c, NotAgreed, "needs 2 of the role policy, and only bob signed")
	r.approve("bob", anchor, r.tree(c))
	refused(t, r, anchor, c, NotAgreed, "only bob signed")
	r.approve("carol", anchor, r.tree(c))
	accepted(t, r, anchor, c, "bob", "carol")

	// A key that two people claim is nobody's.
	s = r.signers("alice=root", "bob=policy")
	s["dave"] = schema.Signer{Keys: []string{r.public("bob")}, Roles: []string{"policy"}}
	next := r.commit("alice", map[string]string{"fleet.cue": r.fleet(schema.Fleet{Signers: s})})
	refused(t, r, next, r.commit("bob", map[string]string{"a.cue": "2"}), NotAgreed, "belongs to no signer")
}

// Who is root changes only with the word of the old root and of the new.
func TestRootIsHandedOver(t *testing.T) {
	r := newGitRepo(t, "alice", "bob", "carol", "erin")
	f := schema.Fleet{Signers: r.signers("alice=root,policy")}
	anchor := r.commit("", map[string]string{"fleet.cue": r.fleet(f)})

	next := schema.Fleet{Signers: r.signers("bob=root", "carol=root,policy"), Roles: map[string]schema.Role{"root": {Paths: rootPaths(), Threshold: 2}, "policy": {Paths: []string{"**"}, Threshold: 1}}}
	c := r.commit("alice", map[string]string{"fleet.cue": r.fleet(next)})
	refused(t, r, anchor, c, NotAgreed, "the new root must agree, too: it needs 2 of the role root")
	r.approve("bob", anchor, r.tree(c))
	refused(t, r, anchor, c, NotAgreed, "only bob signed")
	r.approve("carol", anchor, r.tree(c))
	accepted(t, r, anchor, c)

	// From here on alice has no word, and a commit that she signed before does not come in again.
	old := r.commit("alice", map[string]string{"policies/a.cue": "1"})
	refused(t, r, c, old, NotAgreed, "belongs to no signer")
	r.git("checkout", "-q", "-B", "x", c)
	gone := r.commit("bob", map[string]string{"fleet.cue": r.fleet(schema.Fleet{Signers: r.signers("bob=root", "carol=root,policy", "erin=policy"), Roles: next.Roles})})
	refused(t, r, c, gone, NotAgreed, "needs 2 of the role root, and only bob signed")
	r.approve("carol", c, r.tree(gone))
	accepted(t, r, c, gone, "bob", "carol")
}

func TestHeartbeats(t *testing.T) {
	r := newGitRepo(t, "alice", "clock", "mallory")
	f := schema.Fleet{Name: "acme", Signers: r.signers("alice=root,policy", "clock=beat"), Roles: map[string]schema.Role{
		"root": {Paths: rootPaths(), Threshold: 1}, "policy": {Paths: []string{"**"}, Threshold: 1}, "beat": {Paths: []string{}, Threshold: 1}}}
	make := func(who string, change func(*Heartbeat)) Heartbeat {
		h := Heartbeat{V: 1, Fleet: "acme", Head: strings.Repeat("a", 40), Time: "2026-01-01T12:00:00Z"}
		h.Sig = r.sign(who, NamespaceHeartbeat, h.Message())
		if change != nil {
			change(&h)
		}
		return h
	}
	h := make("clock", nil)
	parsed, err := ParseHeartbeat(h.Encode())
	if err != nil || parsed != h {
		t.Fatalf("ParseHeartbeat = %+v, %v", parsed, err)
	}
	if name, err := parsed.By(f); name != "clock" || err != nil {
		t.Errorf("By = %q, %v", name, err)
	}
	for name, h := range map[string]Heartbeat{
		"another role":      make("alice", nil),
		"a stranger":        make("mallory", nil),
		"another head":      make("clock", func(h *Heartbeat) { h.Head = strings.Repeat("b", 40) }),
		"another time":      make("clock", func(h *Heartbeat) { h.Time = "2027-01-01T12:00:00Z" }),
		"another fleet":     make("clock", func(h *Heartbeat) { h.Fleet = "other" }),
		"another namespace": make("clock", func(h *Heartbeat) { h.Sig = r.sign("clock", NamespaceApproval, h.Message()) }),
	} {
		if who, err := h.By(f); err == nil {
			t.Errorf("%s: taken as %s's", name, who)
		}
	}
	for _, text := range []string{"", "{}", "null", string(h.Encode()) + "\n", strings.Replace(string(h.Encode()), `00Z"`, `00+00:00"`, 1), strings.Replace(string(h.Encode()), `"v":1`, `"v":1,"x":2`, 1),
		strings.Repeat(" ", maxStatement+1), strings.Replace(string(h.Encode()), `{"fleet"`, `{ "fleet"`, 1)} {
		if _, err := ParseHeartbeat([]byte(text)); err == nil {
			t.Errorf("ParseHeartbeat(%.80q) is no error", text)
		}
		if _, err := ParseApproval([]byte(text)); err == nil {
			t.Errorf("ParseApproval(%.80q) is no error", text)
		}
	}
}

// Who may push references and has no key leaves approvals that are none: those that count are found among them.
func TestApprovalsAmongRubbish(t *testing.T) {
	r := newGitRepo(t, "alice", "bob", "mallory")
	anchor := r.commit("", map[string]string{"fleet.cue": r.fleet(schema.Fleet{Signers: r.signers("alice=root", "bob=policy")})})
	c := r.commit("", map[string]string{"policies/a.cue": "1"})
	tree := r.tree(c)
	r.approve("mallory", anchor, tree)
	theirs := r.git("rev-parse", "refs/dunlin/approvals/"+tree+"/mallory")
	var script strings.Builder
	for i := range 120 {
		fmt.Fprintf(&script, "create refs/dunlin/approvals/%s/%03d %s\n", tree, i, theirs)
	}
	cmd := exec.Command("git", "-C", r.dir, "update-ref", "--stdin")
	cmd.Stdin = strings.NewReader(script.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	refused(t, r, anchor, c, NotAgreed, "belongs to no signer")
	r.approve("bob", anchor, tree)
	accepted(t, r, anchor, c, "bob")
}
