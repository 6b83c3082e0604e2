package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// askTime bounds one question to the remote, and fetchTime one fetch.
	askTime   = 20 * time.Second
	fetchTime = 5 * time.Minute
	// A commit that could not be put into force, and that may not be to blame, is tried again after a while, which doubles.
	leastRetry = 15 * time.Second
	mostRetry  = 15 * time.Minute
	// A host that never had a policy asks more often than one that has: somebody is at work on it.
	firstRetry = 2 * time.Minute
	// A host that had no room for a commit looks once more at least as often as this.
	roomRetry = 5 * time.Minute
	// firstPoll is how long after its start a node with a policy waits for others to tell of a newer one.
	firstPoll = 5 * time.Second
	// ownLook is after how long a node looks at the remote itself though it is never its turn.
	ownLook = 6 * time.Hour
	// takes is how often others are asked for a commit's objects before the remote is.
	takes = 3
)

// polled is what came of asking the remote.
type polled struct {
	head    string
	err     error  // the remote cannot be read
	local   error  // it can, and this host cannot keep what it has
	refused string // why what it has is taken by no host
	forced  bool
	at      time.Time
	retry   time.Time // after an error
}

// taken is what came of asking peers for a commit.
type taken struct {
	commit string
	err    error
}

// follower is the loop that keeps this node at the newest commit that the remote has. Its fields belong to it.
//
// Only few nodes ask the remote. What they see they tell as a signed record, and the others take a commit when enough
// of those whose turn it is say the same; a node that is told otherwise, or by too few, asks the remote itself.
type follower struct {
	a      *Agent
	pacer  *gitrepo.Pacer
	timer  *time.Timer
	pollAt time.Time // when it is seen whether it is this node's turn
	mustAt time.Time // when the remote is asked whoever's turn it is; zero: not
	readAt time.Time // when the remote answered last
	hearAt time.Time // the same as mustAt, for what others tell, unless more of them tell it by then
	put    struct {  // into force once more
		commit string
		wait   time.Duration
		at     time.Time
	}

	asking  bool
	again   bool    // asked to while it was asking
	forced  bool    // by people
	asked   []claim // what others claimed when the question that is under way began
	answers chan polled
	replies []chan schema.RemoteStatus // to who asked before the question that is under way
	waiting []chan schema.RemoteStatus // to who asked since: what they know of may be newer than what it saw

	taking  string // commit
	proving string // commit that is taken to see whether it is a fork
	filling string // commit before a refused head whose files are taken
	failed  string // commit that was not to be had from peers
	tries   int    // of it
	takeAt  time.Time
	took    chan taken
	doubts  map[string]doubt
	// lookedFor is the refused commit that this node has asked the remote for once others ceased to tell of it.
	lookedFor string
	// statements says which records of people's statements were looked at last, and for which commit.
	statements string
	well       bool // another node could read the remote when that was looked at last
	polling    time.Duration
}

// follow is the loop.
func (a *Agent) follow(ctx context.Context) error {
	f := &follower{
		a: a, pacer: gitrepo.NewPacer(a.interval(), a.o.Random), timer: time.NewTimer(0), pollAt: time.Now(), polling: a.interval(), readAt: time.Now(),
		answers: make(chan polled, 1), took: make(chan taken, 1), doubts: map[string]doubt{},
	}
	defer f.timer.Stop()
	if _, _, ok := a.inForce(); ok && a.peers != nil {
		// Others are likely to know: a fleet that starts together must not ask together.
		f.pollAt = f.pollAt.Add(firstPoll + a.jitter(firstPoll))
	}
	for {
		f.arm()
		a.pulses.idle("follow")
		select {
		case <-ctx.Done():
			if f.asking {
				<-f.answers
			}
			if f.taking != "" {
				<-f.took
			}
			return nil
		case <-f.timer.C:
			a.pulses.busy("follow")
			f.tick(ctx, time.Now())
		case reply := <-a.syncs:
			if f.asking {
				f.waiting = append(f.waiting, reply)
			} else {
				f.replies = append(f.replies, reply)
			}
			f.forced = true
			f.ask(ctx)
		case <-a.heads:
			a.pulses.busy("follow")
			f.hear(ctx, time.Now())
			if now := a.interval(); now != f.polling && f.pacer.Failures() == 0 {
				f.pollAt, f.polling = time.Now().Add(a.untilMyTurn(now)), now
			}
		case got := <-f.took:
			a.pulses.busy("follow")
			f.tookFrom(ctx, got, time.Now())
		case got := <-f.answers:
			a.pulses.busy("follow")
			f.answered(ctx, got)
		}
	}
}

// arm sets the timer to what is due next.
func (f *follower) arm() {
	next := f.pollAt
	for _, t := range []time.Time{f.mustAt, f.hearAt, f.put.at, f.takeAt, f.a.withheld.due(time.Now())} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	f.timer.Reset(max(0, time.Until(next)))
}

// mustAsk lets the remote be asked at t, or as soon as it was left alone for long enough.
func (f *follower) mustAsk(t time.Time) {
	if t = f.atLeisure(t); f.mustAt.IsZero() || t.Before(f.mustAt) {
		f.mustAt = t
	}
}

// atLeisure is t, or when the remote was left alone for long enough.
func (f *follower) atLeisure(t time.Time) time.Time {
	if free := time.Now().Add(f.a.pause()); t.Before(free) {
		return free
	}
	return t
}

// tick does what is due.
func (f *follower) tick(ctx context.Context, now time.Time) {
	f.a.tellFresh(ctx)
	if f.a.withheld.mayAsk(now) {
		f.mustAsk(now)
	}
	if !f.takeAt.IsZero() && !now.Before(f.takeAt) {
		f.takeAt = time.Time{}
		f.hear(ctx, now)
	}
	if !f.put.at.IsZero() && !now.Before(f.put.at) {
		f.consider(ctx, f.put.commit, true)
	}
	switch {
	case f.asking: // what it hears is held against what others tell, and then it is seen what is still due
		f.mustAt, f.hearAt = time.Time{}, time.Time{}
		f.pollAt = now.Add(fetchTime)
	case !f.mustAt.IsZero() && !now.Before(f.mustAt), !f.hearAt.IsZero() && !now.Before(f.hearAt):
		f.ask(ctx)
	case now.Before(f.pollAt):
	default:
		// Who has no stream hears nothing, whatever gossip says of who is there. And now and then each looks for itself, so
		// that nobody can keep a commit from it for ever.
		deaf := f.a.peers != nil && len(f.a.peers.Neighbours()) == 0
		if wait := f.a.notMyTurn(); wait > 0 && !deaf && now.Sub(f.readAt) < ownLook {
			f.pollAt = now.Add(wait)
			return
		}
		f.ask(ctx)
	}
}

// ask asks the remote, beside the loop.
func (f *follower) ask(ctx context.Context) {
	if f.asking {
		f.again = true
		return
	}
	a, forced := f.a, f.forced
	f.asking, f.forced, f.mustAt, f.hearAt = true, false, time.Time{}, time.Time{}
	f.pollAt = time.Now().Add(fetchTime + time.Minute)
	f.asked = a.claims(ctx)
	if gone := f.gone(); gone != "" {
		f.lookedFor = gone
	}
	a.pulses.busy("ask")
	go func() {
		f.answers <- a.ask(ctx, forced)
		a.pulses.idle("ask")
	}()
}

// consider puts a commit into force; where that fails and is not surely the commit's fault, once more later.
func (f *follower) consider(ctx context.Context, commit string, again bool) {
	now := time.Now()
	if f.put.commit == commit && now.Before(f.put.at) && !again {
		return
	}
	later := f.a.consider(ctx, commit, again || f.a.agreedSince(commit))
	f.a.tellFresh(ctx)
	f.fill(ctx, now)
	if f.a.partial.Load() {
		f.mustAsk(now.Add(f.a.jitter(leastRetry)))
	}
	if !later {
		f.put.commit, f.put.wait, f.put.at = "", 0, time.Time{}
		return
	}
	if f.put.commit != commit {
		f.put.wait = 0
	}
	f.put.commit, f.put.wait = commit, min(max(2*f.put.wait, leastRetry), mostRetry)
	f.put.at = time.Now().Add(f.put.wait + f.a.jitter(f.put.wait/4))
}

// fill asks for the files of a commit that comes before a refused head: those in whose force it is, or who ask the remote.
func (f *follower) fill(ctx context.Context, now time.Time) {
	a := f.a
	if !a.behind.lacks || f.taking != "" {
		return
	}
	a.behind.lacks = false
	var ids []string
	for id, s := range a.states() {
		if s.Commit == a.behind.commit && id != a.keys.ID() {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		ids = slices.DeleteFunc(a.inTurn(), func(id string) bool { return id == a.keys.ID() })
		ids = ids[:min(len(ids), 3)]
	}
	f.take(ctx, a.behind.commit, ids, now)
	f.filling = f.taking // nothing where it was in vain before
}

// filled takes note of what came of that. The remote has them in any case.
func (f *follower) filled(got taken, now time.Time) {
	a := f.a
	f.filling = ""
	if got.err == nil {
		return
	}
	a.log().Info("the remote is asked for what peers have not", "commit", got.commit, "error", one(got.err))
	a.partial.Store(true)
	wait := leastRetry + a.jitter(roomRetry)
	f.mustAsk(now.Add(wait))
	if again := now.Add(wait + time.Minute); f.put.commit != "" && again.Before(f.put.at) {
		f.put.at = again
	}
}

// alsoAsked is how many nodes are asked beside those that say that the remote has a commit: where none of them can give it, a
// large fleet would be asked whole.
const alsoAsked = 16

// some are at most so many of all, from a place on that random, in [0,1), says.
func some(all []string, most int, random float64) []string {
	at := int(random * float64(len(all)))
	return slices.Concat(all[at:], all[:at])[:min(len(all), most)]
}

// take asks peers for a commit, beside the loop.
func (f *follower) take(ctx context.Context, commit string, ids []string, now time.Time) {
	if f.taking != "" || f.failed == commit && (f.tries >= takes || now.Before(f.takeAt)) {
		return
	}
	a := f.a
	// Those in whose force it is have it, too; and what they have may go back further.
	var more []string
	for id, s := range a.states() {
		if s.Commit == commit && id != a.keys.ID() && !slices.Contains(ids, id) {
			more = append(more, id)
		}
	}
	slices.Sort(more)
	ids = slices.Concat(ids, some(more, alsoAsked, a.o.Random()))
	f.taking = commit
	a.pulses.busy("take")
	go func() {
		f.took <- taken{commit, a.takeFromPeers(ctx, commit, ids)}
		a.pulses.idle("take")
	}()
}

// tookFrom takes note of what came of asking peers.
func (f *follower) tookFrom(ctx context.Context, got taken, now time.Time) {
	a := f.a
	f.taking = ""
	if ctx.Err() != nil {
		return
	}
	defer a.heads.raise() // there may be another by now
	if f.filling == got.commit {
		f.filled(got, now)
		return
	}
	if f.proving == got.commit {
		f.proving = ""
		a.proved(ctx, got.commit, got.err)
		return
	}
	if got.err == nil {
		f.failed, f.tries = "", 0
		if f.lookedFor == got.commit {
			f.lookedFor = "" // it is in the branch again
		}
		a.problem("disk", "")
		a.mu.Lock()
		a.remote.Head = got.commit
		a.mu.Unlock()
		a.passOn(ctx, got.commit)
		f.consider(ctx, got.commit, false)
		if a.lacksAgreement(got.commit) && len(a.steps(ctx, a.trustSource(), got.commit)) > 1 {
			// This node was away, and what others still tell of approvals may be too little.
			f.mustAsk(now.Add(a.jitter(roomRetry)))
		}
		return
	}
	if f.failed != got.commit {
		f.failed, f.tries = got.commit, 0
	}
	f.tries++
	a.log().Warn("commit is not taken from peers", "commit", got.commit, "error", one(got.err))
	if host.DiskFull(got.err) {
		a.problem("disk", fmt.Sprintf("commit %s cannot be kept: %s", short(got.commit), one(got.err)))
	}
	large := a.toldTooLarge(got.commit)
	if large {
		f.tries = takes
	}
	if f.tries < takes {
		f.takeAt = now.Add(time.Second<<f.tries + a.jitter(time.Second))
		return
	}
	wait := leastRetry + a.jitter(leastRetry)
	if large {
		wait = time.Hour + a.jitter(time.Hour) // the remote has it, and no host takes it
	}
	f.mustAsk(now.Add(wait))
}

// toldTooLarge reports whether a node says that a commit is refused though it has no faults and nobody lacks agreement.
func (a *Agent) toldTooLarge(commit string) bool {
	for _, s := range a.states() {
		if r := s.Refused; r != nil && r.Commit == commit && len(r.Faults) == 0 && r.Kind == "" {
			return true
		}
	}
	return false
}

// pause is how long the remote is left alone after it was asked, whatever others say.
func (a *Agent) pause() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return min(max(0, gitrepo.MinInterval-a.now().Sub(a.remote.LastRead)), gitrepo.MinInterval)
}

// interval is how often a fetcher asks.
func (a *Agent) interval() time.Duration {
	d := a.fleet().Sync.Interval.Std()
	if d <= 0 {
		return 15 * time.Second
	}
	return max(d, gitrepo.MinInterval)
}

// ask reads the remote's head, and fetches it where it is new. forced is that people want what was refused to be fetched
// once more.
func (a *Agent) ask(ctx context.Context, forced bool) polled {
	short, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	head, err := a.policies.Head(short)
	p := polled{head: head, err: err, forced: forced}
	if err == nil && (!a.holds(head, forced) || a.partial.Load()) {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, fetchTime)
		defer stop()
		a.log().Info("fetching", "commit", head)
		fetch := a.policies.Fetch
		whole := a.partial.Swap(false)
		if whole {
			fetch = func(ctx context.Context, branch string, _ ...string) (string, error) {
				return a.policies.FetchWhole(ctx, branch)
			}
		}
		fetched, err := fetch(ctx, a.branch())
		switch {
		case err == nil:
			p.head = fetched
			if whole {
				a.agreedAnew.Store(true) // on a line of which there is more now
			}
		case errors.Is(err, gitrepo.ErrTooLarge):
			p.refused = clip(one(err))
		case host.DiskFull(err):
			p.local = err
		default:
			p.err = err
		}
	}
	if p.err == nil && p.local == nil && p.refused == "" {
		if err := a.askStatements(ctx, p.head); err != nil {
			a.log().Warn("approvals cannot be read", "error", one(err)) // without them less is agreed to
		}
	}
	p.at = a.now()
	return p
}

// holds reports whether a commit need not be fetched.
func (a *Agent) holds(commit string, forced bool) bool {
	a.mu.Lock()
	known := a.policy != nil && a.policy.Commit == commit || !forced && a.refused != nil && a.refused.Commit == commit
	a.mu.Unlock()
	return known || a.policies.Has(commit)
}

// answered takes note of what the remote said.
func (f *follower) answered(ctx context.Context, got polled) {
	a := f.a
	f.asking = false
	if ctx.Err() != nil {
		return
	}
	failed := got.err
	if failed == nil {
		failed = got.local
	}
	if failed != nil {
		now := time.Now()
		f.pollAt = f.pacer.Next(now, failed)
		if p, _, _ := a.inForce(); p.Commit == "" {
			if soon := now.Add(firstRetry + a.jitter(firstRetry/4)); soon.Before(f.pollAt) {
				f.pollAt = soon
			}
		}
		if soon := now.Add(roomRetry + a.jitter(roomRetry/4)); got.local != nil && soon.Before(f.pollAt) {
			f.pollAt = soon
		}
		got.retry = got.at.Add(time.Until(f.pollAt))
	}
	f.note(got)
	if got.err == nil {
		f.judge(ctx, got)
		f.weigh(ctx, got.head, time.Now())
	}
	if failed == nil {
		f.readAt = time.Now().Add(a.jitter(ownLook / 3))
		// After it was judged: what it put into force may say how often to ask.
		f.polling = a.interval()
		f.pacer = gitrepo.NewPacer(f.polling, a.o.Random)
		f.pollAt = time.Now().Add(a.untilMyTurn(f.polling))
	}
	for _, r := range f.replies {
		a.mu.Lock()
		r <- a.remote
		a.mu.Unlock()
	}
	f.replies, f.waiting = f.waiting, nil
	f.mustAt, f.hearAt = time.Time{}, time.Time{}
	if got.local != nil {
		f.mustAt = f.pollAt // what the remote has is to be had, and nobody else gets it for this host
	}
	f.hear(ctx, time.Now())
	if f.again {
		f.again = false
		f.ask(ctx)
	}
}

// note tells people and others how the remote fares.
func (f *follower) note(got polled) {
	a := f.a
	a.mu.Lock()
	was := a.remote.Error
	a.remote.Retry = got.retry
	if got.err == nil {
		a.remote.Head, a.remote.LastRead, a.remote.Error = got.head, got.at, ""
	} else {
		a.remote.Error = clip(one(got.err))
	}
	now, head := a.remote.Error, a.remote.Head
	a.mu.Unlock()
	switch {
	case got.err != nil && (was == "" || f.pacer.Failures() == 1):
		a.log().Warn("remote cannot be read", "error", now)
	case got.err == nil && was != "":
		a.log().Info("remote is read again", "commit", got.head)
	}
	a.publish(schema.RecordHead, "", schema.HeadRecord{Commit: head, Error: now})
	if was != now {
		a.publishState()
	}
}

// judge deals with the head that the remote has.
func (f *follower) judge(ctx context.Context, got polled) {
	a := f.a
	a.hint(got.head)
	switch {
	case got.refused != "":
		a.refuse(&schema.RefusedCommit{Commit: got.head, Faults: []schema.Fault{}, Reason: got.refused})
	case got.local != nil:
		a.problem("disk", fmt.Sprintf("commit %s cannot be kept: %s", short(got.head), one(got.local)))
	default:
		a.problem("disk", "")
		a.passOn(ctx, got.head)
		f.consider(ctx, got.head, got.forced)
	}
}

// Sync asks the remote now and says how that went.
func (a *Agent) Sync(ctx context.Context) (schema.RemoteStatus, error) {
	reply := make(chan schema.RemoteStatus, 1)
	select {
	case a.syncs <- reply:
	case <-ctx.Done():
		return schema.RemoteStatus{}, ctx.Err()
	}
	select {
	case s := <-reply:
		return s, nil
	case <-ctx.Done():
		return schema.RemoteStatus{}, ctx.Err()
	}
}
