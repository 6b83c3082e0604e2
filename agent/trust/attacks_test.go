package trust

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// TestAttacks is what The Update Framework says that who controls a repository, or stole a key, may try (TUF 1.0.33, section
// 1.5.2), each against a fleet whose root and policy each need two of three.
func TestAttacks(t *testing.T) {
	t.Parallel()
	r := newGitRepo(t, "r1", "r2", "r3", "p1", "p2", "p3", "p3b", "clock", "mallory")
	roles := map[string]schema.Role{"root": {Paths: rootPaths(), Threshold: 2}, "policy": {Paths: []string{"**"}, Threshold: 2}, "beat": {}}
	people := r.signers("r1=root", "r2=root", "r3=root", "p1=policy", "p2=policy", "clock=beat")
	people["p3"] = schema.Signer{Keys: []string{r.public("p3"), r.public("p3b")}, Roles: []string{"policy"}}
	f := schema.Fleet{Name: "acme", Freshness: "1d", Signers: people, Roles: roles}
	anchor := r.commit("", map[string]string{"fleet.cue": r.fleet(f), "policies/a.cue": "0", "policies/b.cue": "0"})
	// agreed is a commit that two of policy agree to.
	agreed := func(files map[string]string) string {
		base := r.head()
		c := r.commit("p1", files)
		r.approve("p2", base, r.tree(c))
		return c
	}
	one := agreed(map[string]string{"policies/a.cue": "1"})
	two := agreed(map[string]string{"policies/b.cue": "2"})
	three := agreed(map[string]string{"policies/a.cue": "3"})
	accepted(t, r, anchor, three)
	from := func(t *testing.T, commit string) {
		t.Helper()
		now := r.clock
		r.git("checkout", "-q", "-B", "attack", commit)
		t.Cleanup(func() { r.clock = now })
	}
	beat := func(who, head string, at time.Time) []byte {
		h := Heartbeat{V: 1, Fleet: "acme", Head: head, Time: at.UTC().Format(time.RFC3339)}
		h.Sig = r.sign(who, NamespaceHeartbeat, h.Message())
		return h.Encode()
	}

	t.Run("rollback", func(t *testing.T) {
		refused(t, r, three, two, Rewind, "does not follow on")
		refused(t, r, three, anchor, Rewind, "does not follow on")
		// The old files on top: what was agreed to then was agreed to upon another commit.
		for _, old := range []string{anchor, one, two} {
			r.clock = r.clock.Add(time.Minute)
			back := r.git("commit-tree", "-m", "back", "-p", three, r.tree(old))
			refused(t, r, three, back, NotAgreed, "needs 2 of the role policy, and nobody")
			merged := r.git("commit-tree", "-m", "back", "-p", three, "-p", old, r.tree(old))
			refused(t, r, three, merged, NotAgreed, "needs 2 of the role policy, and nobody")
		}
	})
	t.Run("freeze", func(t *testing.T) {
		// Only what was signed once can be shown for ever; its time is in it.
		last := beat("clock", three, r.clock)
		if err := Fresh(f, last, three, r.clock.Add(24*time.Hour)); err != nil {
			t.Errorf("a heartbeat that is a day old: %v", err)
		}
		for what, text := range map[string][]byte{"the last one": last, "none": nil, "another's": beat("p1", three, r.clock.Add(25*time.Hour)), "with a new time": []byte(strings.Replace(string(last), "2026-01-01", "2026-01-02", 1))} {
			var x *Refusal
			if err := Fresh(f, text, three, r.clock.Add(24*time.Hour+time.Second)); !errors.As(err, &x) || x.Kind != Stale {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
	t.Run("mix and match", func(t *testing.T) {
		from(t, three)
		mixed := r.commit("", map[string]string{"policies/a.cue": "1"}) // of one, beside b of two: so it was at two, upon one
		if r.tree(mixed) != r.tree(two) {
			t.Fatal("not the tree that was agreed to")
		}
		refused(t, r, three, mixed, NotAgreed, "nobody")
		from(t, three)
		// One person's commit from one time, merged with another's from another.
		left := r.commit("p1", map[string]string{"policies/c.cue": "1"})
		from(t, three)
		right := r.commit("p2", map[string]string{"policies/d.cue": "1"})
		from(t, three)
		r.clock = r.clock.Add(5 * time.Minute)
		r.git("merge", "-q", "--no-ff", "-m", "both", left)
		r.git("merge", "-q", "--no-ff", "-m", "both", right)
		refused(t, r, three, r.head(), NotAgreed, "only p1 signed")
	})
	t.Run("fast-forward", func(t *testing.T) {
		// A clock far ahead, if it were taken, would refuse all honest commits after it.
		from(t, three)
		now := r.clock
		r.clock = now.AddDate(1, 0, 0)
		ahead := agreed(map[string]string{"policies/a.cue": "ahead"})
		r.clock = now
		refused(t, r, three, ahead, WrongTime, "in the future")
		if err := Fresh(f, beat("clock", three, now.AddDate(1, 0, 0)), three, now); err == nil {
			t.Error("a heartbeat of next year is taken")
		}
		from(t, three)
		r.clock = now
		accepted(t, r, three, agreed(map[string]string{"policies/a.cue": "honest"}), "p1", "p2")
	})
	t.Run("endless history", func(t *testing.T) {
		endless := &endlessChain{gitRepo: r}
		var x *Refusal
		if _, err := Verify(t.Context(), endless, anchor, strings.Repeat("f", 40), r.clock); !errors.As(err, &x) || x.Kind != TooFar {
			t.Errorf("Verify = %v", err)
		}
	})
	// Who has some of the keys can do what too few of those people could, which is nothing.
	for _, tt := range []struct {
		name, by, approver string // who signs, and who approves
		files              map[string]string
		words              string
	}{
		{"a policy key", "p1", "", map[string]string{"policies/a.cue": "x"}, "needs 2 of the role policy, and only p1 signed"},
		{"a policy key that signs and approves", "p1", "p1", map[string]string{"policies/a.cue": "x"}, "only p1 signed"},
		{"two keys of one person", "p3", "p3b", map[string]string{"policies/a.cue": "x"}, "only p3 signed"},
		{"both kinds of key", "p1", "r1", map[string]string{"policies/a.cue": "x"}, "only p1 signed"},
		{"root's keys for a policy", "r1", "r2", map[string]string{"policies/a.cue": "x"}, "needs 2 of the role policy, and nobody"},
		{"the heartbeat's key", "clock", "clock", map[string]string{"policies/a.cue": "x"}, "nobody with it has signed"},
		{"the heartbeat's key beside a policy key", "p1", "clock", map[string]string{"policies/a.cue": "x"}, "only p1 signed"},
		{"a stranger's beside a policy key", "p1", "mallory", map[string]string{"policies/a.cue": "x"}, "only p1 signed"},
		{"a root key", "r1", "", map[string]string{"fleet.cue": r.fleet(schema.Fleet{Signers: r.signers("mallory=root,policy")})}, "needs 2 of the role root, and only r1 signed"},
		{"policy's keys for the people", "p1", "p2", map[string]string{"fleet.cue": r.fleet(schema.Fleet{Signers: r.signers("mallory=root,policy")})}, `"fleet.cue" needs 2 of the role root, and nobody`},
		{"policy's keys for a node", "p1", "p2", map[string]string{"nodes/aa.jsonl": "{}"}, `"nodes/aa.jsonl" needs 2 of the role root`},
		{"policy's keys for a grant", "p1", "p2", map[string]string{"grants/a.cue": "x"}, `"grants/a.cue" needs 2 of the role root`},
		{"policy's keys for an activation", "p1", "p2", map[string]string{"activations/a.cue": "x"}, `"activations/a.cue" needs 2 of the role root`},
		{"policy's keys for a guardrail", "p1", "p2", map[string]string{"guardrails/a.cue": "x"}, `"guardrails/a.cue" needs 2 of the role root`},
		{"policy's keys for the language", "p1", "p2", map[string]string{"cue.mod/pkg/dunlin.dev/schema/x.cue": "x"}, `needs 2 of the role root`},
	} {
		t.Run("key compromise: "+tt.name, func(t *testing.T) {
			from(t, three)
			for name, text := range tt.files {
				if text == "x" {
					tt.files[name] = tt.name // another tree than that of other cases, whose approvals stay
				}
			}
			c := r.commit(tt.by, tt.files)
			if tt.approver != "" {
				r.approve(tt.approver, three, r.tree(c))
			}
			refused(t, r, three, c, NotAgreed, tt.words)
		})
	}
	t.Run("a key that was taken away", func(t *testing.T) {
		from(t, three)
		less := f
		less.Signers = r.signers("r1=root", "r2=root", "r3=root", "p2=policy", "p3=policy", "clock=beat")
		fleet := r.fleet(less)
		early := r.commit("p1", map[string]string{"policies/a.cue": "early"}) // signed before, and never taken
		r.approve("p2", three, r.tree(early))
		accepted(t, r, three, early)
		from(t, three)
		revoked := r.commit("r1", map[string]string{"fleet.cue": fleet})
		r.approve("r2", three, r.tree(revoked))
		accepted(t, r, three, revoked, "r1", "r2")
		refused(t, r, revoked, early, Rewind, "does not follow on")
		late := r.commit("p1", map[string]string{"policies/a.cue": "late"})
		r.approve("p2", revoked, r.tree(late))
		refused(t, r, revoked, late, NotAgreed, "only p2 signed (signed with a key that belongs to no signer")
	})
}

// TestALongChainOfLargeCommitsIsNotKept: who can push may push some thousand unsigned commits of the greatest size, which take
// no room in a pack. They are looked at, and not all held in memory.
func TestALongChainOfLargeCommitsIsNotKept(t *testing.T) {
	large := &largeChain{endlessChain: endlessChain{gitRepo: &gitRepo{t: t}}, text: strings.Repeat("x", 60<<10)}
	var x *Refusal
	if _, err := Verify(t.Context(), large, strings.Repeat("0", 40), strings.Repeat("f", 40), time.Time{}); !errors.As(err, &x) || x.Kind != TooFar {
		t.Errorf("Verify = %v", err)
	}
	if large.most > 128<<20 {
		t.Errorf("%d MiB were held at once", large.most>>20)
	}
}

type largeChain struct {
	endlessChain
	text  string
	most  uint64 // bytes that were held while it answered
	start uint64
}

func (l *largeChain) Commit(id string) ([]byte, error) {
	if l.n%1000 == 0 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if l.start == 0 {
			l.start = m.HeapAlloc
		}
		if m.HeapAlloc > l.start {
			l.most = max(l.most, m.HeapAlloc-l.start)
		}
	}
	raw, err := l.endlessChain.Commit(id)
	return append(raw, l.text...), err
}

// endlessChain answers with a commit and one more parent for whatever it is asked.
type endlessChain struct {
	*gitRepo
	n int
}

func (e *endlessChain) Commit(string) ([]byte, error) {
	e.n++
	return []byte("tree " + strings.Repeat("e", 40) + "\nparent " + numbered(e.n) + "\nauthor " + who + "\ncommitter " + who + "\n\nx\n"), nil
}

func numbered(n int) string {
	const hex = "0123456789abcdef"
	id := []byte(strings.Repeat("0", 40))
	for i := len(id) - 1; n > 0; i-- {
		id[i], n = hex[n%16], n/16
	}
	return string(id)
}
