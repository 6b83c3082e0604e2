package trust

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// Limits of a chain.
const (
	// MaxSteps is how far a head may be from the trusted commit; further, a host is given a later anchor.
	MaxSteps = 10_000
	// maxHeld bounds, in bytes, the commits that are held in memory with what is signed in them; of more, that is read again.
	maxHeld = 16 << 20
	// maxApprovals is how many approvals are looked at for one step. Who may push references may leave rubbish beside those that count.
	maxApprovals = 2_000
	// maxSide is how many commits of merged branches are looked at for one step.
	maxSide = 1_000
	// MaxAhead is how far a committer's clock may be ahead of this host's.
	MaxAhead = 5 * time.Minute
)

// Source gives the objects of a repository. Each call may fail with an error of its own, which ends the verification.
type Source interface {
	// Commit gives the raw bytes of a commit object; the caller of Verify has seen that they have that hash.
	Commit(id string) ([]byte, error)
	// Begins reports whether the history that matters begins at a commit: nothing before it is asked for, nor needs to be there.
	Begins(id string) bool
	// Ends reports whether what comes before a commit was left out on purpose, there or on a line that was merged.
	Ends(id string) bool
	// Changed gives the paths of all files that differ between two trees, in any order.
	Changed(ctx context.Context, from, to string) ([]string, error)
	// Fleet gives what fleet.cue says in the tree of a commit that is trusted.
	Fleet(ctx context.Context, commit string) (schema.Fleet, error)
	// Approvals gives the blobs of the refs below refs/dunlin/approvals/TREE/.
	Approvals(tree string) ([][]byte, error)
	// Activations gives the activations in the tree of a commit that is trusted.
	Activations(ctx context.Context, commit string) (map[string]schema.Activation, error)
	Rosters
}

// Refusal says why a head is not trusted. The trusted commit stays in force.
type Refusal struct {
	Commit string // the first of the chain that is not accepted
	Kind   Kind
	Reason string // one sentence: what is missing, and what to do
	// Cut says that a person who may have signed on a merged line, and that what comes before there was left out: with it
	// there may be no refusal.
	Cut bool
}

// Kind is a class of refusals.
type Kind string

const (
	Malformed Kind = "malformed"  // an object is not in canonical form
	Rewind    Kind = "rewind"     // the head does not follow on the trusted commit
	NotAgreed Kind = "not agreed" // too few of the right people have agreed
	WrongTime Kind = "wrong time" // a commit is older than its parent, or of the future
	TooFar    Kind = "too far"    // more steps than MaxSteps
)

func (r *Refusal) Error() string {
	return fmt.Sprintf("commit %s is not trusted: %s", short(r.Commit), r.Reason)
}

// Step is one accepted step of a chain.
type Step struct {
	Commit string
	// Agreed are the people that agreed, by role.
	Agreed map[string][]string
	Paths  int // that differ
}

// Verify follows the first-parent chain from a trusted commit to head, and gives its steps, oldest first. It fails with a
// *Refusal, or with an error of the source's. now is this host's time; a zero time judges no commit to be of the future.
func Verify(ctx context.Context, src Source, trusted, head string, now time.Time) ([]Step, error) {
	v := verifier{src: src, commits: map[string]Commit{}, now: now}
	chain, err := v.chain(ctx, trusted, head)
	if err != nil {
		return nil, err
	}
	var steps []Step
	for i := 1; i < len(chain); i++ {
		if err := ctx.Err(); err != nil {
			return steps, err
		}
		s, err := v.step(ctx, chain[i-1], chain[i])
		if err != nil {
			return steps, err
		}
		steps = append(steps, s)
	}
	return steps, nil
}

type verifier struct {
	src     Source
	commits map[string]Commit
	held    int // bytes of those with what is signed
	now     time.Time

	fleetOf string // commit whose fleet is known
	fleet   schema.Fleet
	rosters *rosterCache // nil before the first is read

	cut bool // as Refusal.Cut, of the step that is judged
}

func (v *verifier) commit(id string) (Commit, error) {
	if c, ok := v.commits[id]; ok {
		return c, nil
	}
	c, size, err := v.read(id)
	if err != nil {
		return Commit{}, err
	}
	if v.held += size; v.held > maxHeld {
		v.held -= size
		c.Payload, c.Signature, c.left = nil, nil, true
	}
	v.commits[id] = c
	return c, nil
}

// whole is a commit with what is signed in it.
func (v *verifier) whole(c Commit) (Commit, error) {
	if !c.left {
		return c, nil
	}
	c, _, err := v.read(c.ID)
	return c, err
}

// read reads a commit, and says how many bytes it has.
func (v *verifier) read(id string) (Commit, int, error) {
	raw, err := v.src.Commit(id)
	if err != nil {
		return Commit{}, 0, err
	}
	c, err := ParseCommit(id, raw)
	if form := (*FormError)(nil); errors.As(err, &form) {
		return Commit{}, 0, &Refusal{Commit: id, Kind: Malformed, Reason: form.Reason}
	}
	return c, len(raw), err
}

// chain gives the first-parent chain from trusted to head, both included.
func (v *verifier) chain(ctx context.Context, trusted, head string) ([]Commit, error) {
	var chain []Commit
	for id := head; ; {
		if len(chain) > MaxSteps {
			return nil, &Refusal{Commit: head, Kind: TooFar, Reason: fmt.Sprintf("it is more than %d commits after %s, which is trusted: give the host a later anchor (dunlin trust anchor)", MaxSteps, short(trusted))}
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := v.commit(id)
		if err != nil && len(chain) > 0 && v.tooOld(chain[len(chain)-1], trusted) {
			return nil, v.rewind(ctx, trusted, head)
		}
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
		if id == trusted {
			break
		}
		if len(c.Parents) == 0 || v.src.Begins(id) {
			return nil, v.rewind(ctx, trusted, head)
		}
		id = c.Parents[0]
	}
	slices.Reverse(chain)
	return chain, nil
}

// tooOld reports whether what comes before a commit was left out, and the trusted commit cannot be there: it is newer. Whoever merges
// the main branch into a line from before the anchor would else let each host ask for the whole of that again and again.
func (v *verifier) tooOld(c Commit, trusted string) bool {
	if !v.src.Ends(c.ID) {
		return false
	}
	t, err := v.commit(trusted)
	return err == nil && c.When.Before(t.When)
}

// rewind says why a head does not follow on the trusted commit.
func (v *verifier) rewind(ctx context.Context, trusted, head string) error {
	r := &Refusal{Commit: head, Kind: Rewind, Reason: fmt.Sprintf("it does not follow on %s, which is trusted: the branch was rewritten, or put back; push a commit on top of %s", short(trusted), short(trusted))}
	if side, err := v.reach(ctx, head, "", func(c Commit) bool { return c.ID == trusted }); err != nil {
		return err
	} else if side {
		r.Reason = fmt.Sprintf("%s, which is trusted, is a merged side of it and not on its first-parent line: merge the branch into main, not main into the branch", short(trusted))
	}
	return r
}

// reach looks among head and its ancestors, without those of stop, for a commit; at most maxSide of them.
func (v *verifier) reach(ctx context.Context, head, stop string, is func(Commit) bool) (bool, error) {
	seen := map[string]bool{stop: true}
	for next := []string{head}; len(next) > 0 && len(seen) <= maxSide; {
		id := next[0]
		next = next[1:]
		if seen[id] {
			continue
		}
		seen[id] = true
		if err := ctx.Err(); err != nil {
			return false, err
		}
		c, err := v.commit(id)
		if refused := (*Refusal)(nil); errors.As(err, &refused) {
			continue // on a side, nobody's word
		}
		if err != nil {
			return false, err
		}
		if is(c) {
			return true, nil
		}
		if !v.src.Ends(id) {
			next = append(next, c.Parents...)
		}
	}
	return false, nil
}

// fleetAt is the fleet as a trusted commit has it.
func (v *verifier) fleetAt(ctx context.Context, commit string) (schema.Fleet, error) {
	if v.fleetOf == commit {
		return v.fleet, nil
	}
	f, err := v.src.Fleet(ctx, commit)
	if err != nil {
		return schema.Fleet{}, err
	}
	v.fleetOf, v.fleet = commit, f
	return f, nil
}

// step judges the step from parent p, which is trusted, to c.
func (v *verifier) step(ctx context.Context, p, c Commit) (Step, error) {
	refuse := func(kind Kind, format string, a ...any) (Step, error) {
		return Step{}, &Refusal{Commit: c.ID, Kind: kind, Reason: fmt.Sprintf(format, a...), Cut: v.cut}
	}
	v.cut = false
	if c.When.Before(p.When) {
		return refuse(WrongTime, "its committer's time %s is before that of its parent, %s: set the clock and commit again", c.When.Format(time.RFC3339), p.When.Format(time.RFC3339))
	}
	if !v.now.IsZero() && c.When.After(v.now.Add(MaxAhead)) {
		return refuse(WrongTime, "its committer's time %s is in the future; this host has %s", c.When.Format(time.RFC3339), v.now.UTC().Format(time.RFC3339))
	}
	fleet, err := v.fleetAt(ctx, p.ID)
	if err != nil {
		return Step{}, err
	}
	changed, err := v.src.Changed(ctx, p.Tree, c.Tree)
	if err != nil {
		return Step{}, err
	}
	agreed, hints, err := v.agreed(ctx, fleet, p, c)
	if err != nil {
		return Step{}, err
	}
	s := Step{Commit: c.ID, Agreed: map[string][]string{}, Paths: len(changed)}
	who := peopleOf(fleet)
	need := needs(fleet, slices.DeleteFunc(slices.Clone(changed), isRoster))
	if len(changed) == 0 {
		need[least(fleet)] = "" // a commit that changes nothing still becomes the trusted one
	}
	nodes := slices.DeleteFunc(slices.Clone(changed), func(path string) bool { return !isRoster(path) })
	ofNodes, missing := needs(fleet, nodes), ""
	for _, role := range slices.Sorted(maps.Keys(ofNodes)) {
		if missing == "" {
			missing = lacks(fleet, who, role, ofNodes[role], agreed, hints)
		}
	}
	if missing == "" {
		maps.Copy(need, ofNodes)
	} else if roles, why, err := v.enrolment(ctx, fleet, who, p, c, nodes, agreed); err != nil {
		return Step{}, err
	} else if why != "" {
		return refuse(NotAgreed, "%s", why)
	} else if len(roles) == 0 {
		return refuse(NotAgreed, "%s", missing)
	} else {
		for _, role := range roles {
			s.Agreed[role] = having(who, role, agreed)
		}
	}
	for _, role := range slices.Sorted(maps.Keys(need)) {
		if m := lacks(fleet, who, role, need[role], agreed, hints); m != "" {
			return refuse(NotAgreed, "%s", m)
		}
		s.Agreed[role] = having(who, role, agreed)
	}
	if slices.Contains(changed, "fleet.cue") {
		if m, err := v.newRoot(ctx, fleet, p, c); err != nil || m != "" {
			if err != nil {
				return Step{}, err
			}
			return refuse(NotAgreed, "%s", m)
		}
	}
	return s, nil
}

// isRoster reports whether a path is below nodes/, where roles with activations may add lines.
func isRoster(path string) bool { return strings.HasPrefix(path, "nodes/") }

// needs are the roles that own paths, each with the first of its paths.
func needs(f schema.Fleet, paths []string) map[string]string {
	need := map[string]string{}
	for _, path := range paths {
		for _, role := range Owners(f.Roles, path) {
			if first, ok := need[role]; !ok || path < first {
				need[role] = path
			}
		}
	}
	return need
}

// least is the role that owns everything else; who has it may make a commit that changes nothing.
func least(f schema.Fleet) string { return Owners(f.Roles, "policies/x.cue")[0] }

// having are those of the people that have a role.
func having(who people, role string, names []string) []string {
	var out []string
	for _, n := range names {
		if who.has(n, role) {
			out = append(out, n)
		}
	}
	return out
}

// lacks says what a role that must agree lacks; empty where nothing.
func lacks(f schema.Fleet, who people, role, path string, agreed []string, hints []string) string {
	threshold := max(f.Roles[role].Threshold, 1)
	have := having(who, role, agreed)
	if len(have) >= threshold {
		return ""
	}
	what := "it"
	if path != "" {
		what = fmt.Sprintf("the change of %q", path)
	}
	got := "nobody with it has signed"
	if len(have) > 0 {
		got = "only " + strings.Join(have, ", ") + " signed"
	}
	text := fmt.Sprintf("%s needs %d of the role %s, and %s", what, threshold, role, got)
	if len(hints) > 0 {
		text += " (" + strings.Join(hints, "; ") + ")"
	}
	return text + ": sign the commit (git commit -S), or let them run dunlin approve"
}

// newRoot asks that who will be root agrees to become it: a key that was lost, or mistyped, would else lock everybody out.
func (v *verifier) newRoot(ctx context.Context, old schema.Fleet, p, c Commit) (string, error) {
	fleet, err := v.src.Fleet(ctx, c.ID)
	if err != nil {
		return "", err
	}
	if sameRoot(old, fleet) {
		return "", nil
	}
	agreed, hints, err := v.agreed(ctx, fleet, p, c)
	if err != nil {
		return "", err
	}
	if m := lacks(fleet, peopleOf(fleet), Root, "", agreed, hints); m != "" {
		return "it changes who is root, so the new root must agree, too: " + m, nil
	}
	return "", nil
}

func sameRoot(a, b schema.Fleet) bool {
	keys := func(f schema.Fleet) string {
		var out []string
		for name, s := range f.Signers {
			if slices.Contains(s.Roles, Root) {
				out = append(out, name+"\x00"+strings.Join(slices.Sorted(slices.Values(s.Keys)), "\x00"))
			}
		}
		slices.Sort(out)
		return fmt.Sprint(f.Name, max(f.Roles[Root].Threshold, 1), out)
	}
	return keys(a) == keys(b)
}

// agreed are the distinct people that agree to the step from p to c, sorted, and why signatures that there are do not
// count: (a) who has signed c, (b) who has signed a commit of c's tree that c has merged and that descends from p, (c) who
// has approved c's tree upon p.
func (v *verifier) agreed(ctx context.Context, f schema.Fleet, p, c Commit) (names, hints []string, err error) {
	who := peopleOf(f)
	add := func(name string, err error) {
		switch {
		case err != nil && len(hints) < 3 && !slices.Contains(hints, err.Error()):
			hints = append(hints, err.Error())
		case err == nil && !slices.Contains(names, name):
			names = append(names, name)
		}
	}
	if c, err = v.whole(c); err != nil {
		return nil, nil, err
	}
	if len(c.Signature) > 0 {
		add(who.signer(c.Payload, c.Signature, NamespaceCommit))
	}
	if len(c.Parents) > 1 {
		var failed error
		_, err := v.reach(ctx, c.Parents[1], p.ID, func(side Commit) bool {
			if side.Tree != c.Tree {
				return false
			}
			if side, failed = v.whole(side); failed != nil {
				return true
			}
			if len(side.Signature) == 0 {
				return false
			}
			cut := false
			after, e := v.reach(ctx, side.ID, "", func(x Commit) bool {
				cut = cut || v.src.Ends(x.ID) && !v.src.Begins(x.ID)
				return x.ID == p.ID
			})
			switch {
			case e == nil && after:
				add(who.signer(side.Payload, side.Signature, NamespaceCommit))
			case e == nil && cut:
				_, err := who.signer(side.Payload, side.Signature, NamespaceCommit)
				v.cut = v.cut || err == nil
			}
			return false
		})
		if err = errors.Join(err, failed); err != nil {
			return nil, nil, err
		}
	}
	blobs, err := v.src.Approvals(c.Tree)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range blobs[:min(len(blobs), maxApprovals)] {
		a, err := ParseApproval(b)
		if err != nil || a.Tree != c.Tree || a.Base != p.ID {
			continue // for another step
		}
		if a.Fleet == f.Name {
			add(who.signer(a.Message(), []byte(a.Sig), NamespaceApproval))
		} else {
			add(a.By(f))
		}
	}
	slices.Sort(names)
	return names, hints, nil
}
