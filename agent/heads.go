package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// unconfirmed is how long a head that too few tell of waits for more of them before this node asks the remote itself.
	// Each in the order of turns waits a second longer, so that a fleet does not ask at once.
	unconfirmed = 10 * time.Second
	// hearsay is the same for a head that nobody tells of whose turn it is.
	hearsay = time.Minute
	// A node whose word made this one ask the remote in vain is not asked for again for a while, which doubles.
	leastDoubt = 10 * time.Minute
	mostDoubt  = 4 * time.Hour
)

// claim is what a node says of the remote.
type claim struct{ id, commit string }

// doubt is of a node that said what the remote did not.
type doubt struct {
	until time.Time
	wait  time.Duration
}

// settled are commits that need no look.
type settled struct {
	mu  sync.Mutex
	all []string
}

// maxSettled is how many commits are known to be settled without looking.
const maxSettled = 64

func (s *settled) add(commit string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.all, commit) {
		s.all = append(s.all, commit)
		s.all = s.all[max(0, len(s.all)-maxSettled):]
	}
}

func (s *settled) has(commit string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.all, commit)
}

// isOld reports whether a commit came before what is in force: somebody has not seen the newest yet. What is old once
// stays so, and nodes that have no turn tell of it for long, so it is remembered.
func (a *Agent) isOld(ctx context.Context, commit string) bool {
	if a.settled.has(commit) {
		return true
	}
	// What was never here came before nothing. To look that up must cost little: anyone can invent one.
	if !a.policies.Knows(commit) {
		return false
	}
	trusted, err := a.policies.Ref(trustedRef)
	if err != nil || trusted == "" {
		return false
	}
	old, err := a.policies.Descends(ctx, trusted, commit)
	if err != nil || !old {
		return false
	}
	a.settled.add(commit)
	return true
}

// claims are the heads that others tell of and that this node knows nothing of yet.
func (a *Agent) claims(ctx context.Context) []claim {
	a.mu.Lock()
	known := map[string]bool{a.remote.Head: true}
	var knowing []string
	if a.policy != nil {
		known[a.policy.Commit] = true
	}
	if a.refused != nil {
		known[a.refused.Commit] = true
	}
	a.mu.Unlock()
	var out []claim
	for id, h := range a.headsTold() {
		if id == a.keys.ID() || h.Error != "" || !isCommit(h.Commit) || known[h.Commit] {
			continue
		}
		if a.passed.has(h.Commit) {
			// Who asked the remote long ago goes on telling of it; where it is the head again, those tell it who ask now.
			if knowing == nil {
				knowing = a.knowing(a.inTurn())
			}
			if !slices.Contains(knowing, id) {
				continue
			}
		}
		if a.isOld(ctx, h.Commit) {
			known[h.Commit] = true
			continue
		}
		out = append(out, claim{id, h.Commit})
	}
	slices.SortFunc(out, func(x, y claim) int {
		if x.id < y.id {
			return -1
		}
		return 1
	})
	return out
}

// hear looks at what others say of the remote. A commit is taken from them when two say the same of those whose turn it
// is to know; with fewer of them this node asks the remote itself, at once where it is its own turn.
func (f *follower) hear(ctx context.Context, now time.Time) {
	a := f.a
	f.hearAgreed(ctx)
	claims, gone := a.claims(ctx), f.gone()
	if len(claims) == 0 && gone == "" {
		f.hearAt = time.Time{}
		if f.pacer.Failures() == 0 {
			f.well = true
			return
		}
	}
	order := a.inTurn()
	knowing := a.knowing(order)
	f.recover(now, order)
	say := map[string][]string{}
	wait := time.Duration(-1)
	sooner := func(d time.Duration) {
		if wait < 0 || d < wait {
			wait = d
		}
	}
	if gone != "" {
		sooner(hearsay + time.Duration(max(slices.Index(order, a.keys.ID()), 0))*time.Second)
	}
	for _, c := range claims {
		turn := slices.Contains(knowing, c.id)
		if turn {
			say[c.commit] = append(say[c.commit], c.id)
		}
		if d := f.doubts[c.id]; now.Before(d.until) {
			continue
		}
		rank := slices.Index(order, a.keys.ID())
		switch {
		case a.passed.has(c.commit): // they may be about to see that it was taken out of the branch
			sooner(hearsay + time.Duration(max(rank, 0))*time.Second)
		case slices.Contains(knowing, a.keys.ID()):
			sooner(0)
		case turn:
			sooner(unconfirmed + time.Duration(max(rank, 0))*time.Second)
		default:
			sooner(hearsay + time.Duration(max(rank, 0))*time.Second)
		}
	}
	for commit, ids := range say {
		if len(ids) >= 2 {
			f.hearAt = time.Time{}
			f.take(ctx, commit, ids, now)
			return
		}
	}
	if wait < 0 || f.pacer.Failures() > 0 {
		f.hearAt = time.Time{}
		return
	}
	if t := f.atLeisure(now.Add(wait)); f.hearAt.IsZero() || t.Before(f.hearAt) {
		f.hearAt = t
	}
}

// knowing are those in the order of turns whose turn it is to know what the remote has.
func (a *Agent) knowing(order []string) []string {
	return order[:min(len(order), max(a.fleet().Sync.Fetchers, 2))]
}

// gone is the commit that is refused here and that nobody tells of any more whose turn it is: it may have been taken out of
// the branch. For each, that is looked at once; empty where there is nothing to look at.
func (f *follower) gone() string {
	a := f.a
	a.mu.Lock()
	r := a.refused
	a.mu.Unlock()
	if r == nil || r.Commit == f.lookedFor {
		return ""
	}
	told, other := a.headsTold(), false
	for _, id := range a.knowing(a.inTurn()) {
		switch h := told[id]; {
		case h.Commit == r.Commit:
			return ""
		case h.Commit != "" && h.Error == "" && id != a.keys.ID():
			other = true
		}
	}
	if !other {
		return ""
	}
	return r.Commit
}

// hearAgreed takes in what others tell of people's statements, and judges a commit once more that lacked them.
func (f *follower) hearAgreed(ctx context.Context) {
	a := f.a
	if a.pinNow().Anchor == "" {
		return
	}
	a.mu.Lock()
	r := a.refused
	a.mu.Unlock()
	head := ""
	if r != nil {
		head = r.Commit
	}
	told := head + " upon " + a.pinNow().base() // whose keys count, its fleet says
	for _, r := range a.records.Of(schema.RecordStatement) {
		told += fmt.Sprint(" ", r.Node, r.Key, r.Boot, r.Seq)
	}
	if told == f.statements {
		return
	}
	f.statements = told
	if a.gather(ctx, a.trustSource(), head) {
		a.tellFresh(ctx)
		if a.lacksAgreement(head) {
			f.consider(ctx, head, true)
		}
	}
}

// recover lets a node that could not read the remote try again when others can, who could not before either: what was
// wrong was not with this host.
func (f *follower) recover(now time.Time, order []string) {
	a := f.a
	well := slices.ContainsFunc(order, func(id string) bool { return id != a.keys.ID() && a.headsTold()[id].Commit != "" })
	if well && !f.well && f.pacer.Failures() > 0 {
		all := ranked("fetch "+a.fleet().Name, a.here())
		wait := a.jitter(5 * time.Second)
		if slices.Index(all, a.keys.ID()) > max(a.fleet().Sync.Fetchers, 2) {
			wait = 30*time.Second + a.jitter(5*time.Minute)
		}
		f.mustAsk(now.Add(wait))
	}
	f.well = well
}

// weigh holds what others claimed before the remote was asked against what it said.
func (f *follower) weigh(ctx context.Context, head string, now time.Time) {
	a := f.a
	for _, c := range f.asked {
		sound := c.commit == head || a.isOld(ctx, c.commit)
		if !sound && a.policies.Knows(c.commit) {
			before, err := a.policies.Descends(ctx, head, c.commit)
			sound = err != nil || before
		}
		if sound {
			delete(f.doubts, c.id)
			continue
		}
		d := f.doubts[c.id]
		if now.Before(d.until) {
			continue
		}
		d.wait = min(max(2*d.wait, leastDoubt), mostDoubt)
		d.until = now.Add(d.wait)
		f.doubts[c.id] = d
		if a.passed.has(c.commit) {
			continue // the remote had it once, and it was judged
		}
		if a.policies.Bounded() && !a.policies.Knows(c.commit) {
			// Who has read the remote long ago tells of what was new then.
			a.log().Info("a node tells of a commit that the remote does not have, or that came before this host's anchor", "node", c.id, "commit", c.commit, "head", head)
		} else {
			a.log().Warn("a node tells of a commit that the remote does not have", "node", c.id, "commit", c.commit, "head", head)
		}
		if a.pinNow().Anchor != "" && f.taking == "" {
			f.proving = c.commit
			f.take(ctx, c.commit, []string{c.id}, now)
		}
	}
	for id := range f.doubts {
		if _, listed := a.pinned()[id]; !listed {
			delete(f.doubts, id)
		}
	}
}

// lens are records of one kind, decoded once each.
type lens[T any] struct {
	kind schema.RecordKind

	mu      sync.Mutex
	version uint64
	raw     map[string]schema.Record
	all     map[string]T
}

// look gives what each node says; nobody changes the map.
func (l *lens[T]) look(s interface {
	Version() uint64
	Of(schema.RecordKind) []schema.Record
}) map[string]T {
	l.mu.Lock()
	defer l.mu.Unlock()
	version := s.Version()
	if l.all != nil && version == l.version {
		return l.all
	}
	raw, all := map[string]schema.Record{}, map[string]T{}
	for _, r := range s.Of(l.kind) {
		if r.Key != "" {
			continue
		}
		v, have := l.all[r.Node]
		if old := l.raw[r.Node]; !have || string(old.Sig) != string(r.Sig) {
			if v, have = decode[T](r); !have {
				continue
			}
		}
		raw[r.Node], all[r.Node] = r, v
	}
	l.version, l.raw, l.all = version, raw, all
	return all
}

// headsTold are what nodes told of the remote last, by id.
func (a *Agent) headsTold() map[string]schema.HeadRecord { return a.headLens.look(a.records) }
