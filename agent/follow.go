package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// trustedRef is the last good commit.
	trustedRef = "refs/dunlin/trusted"
	// askTime bounds one question to the remote, and fetchTime one fetch.
	askTime   = 20 * time.Second
	fetchTime = 5 * time.Minute
	// unconfirmed is how long a head that peers tell waits for a second witness before this node asks the remote itself.
	unconfirmed = 5 * time.Second
	// maxRefusedFaults is how many faults of a refused commit are told to others.
	maxRefusedFaults = 8
)

// resume puts the last good commit into force from disk.
func (a *Agent) resume(ctx context.Context) {
	commit, err := a.policies.Ref(trustedRef)
	if err != nil || commit == "" {
		if err != nil {
			a.problem("policy", "the last good commit cannot be read from disk: "+one(err))
		}
		return
	}
	p, err := a.evaluate(ctx, commit)
	if err != nil {
		a.problem("policy", fmt.Sprintf("the last good commit %s cannot be evaluated: %s", short(commit), one(err)))
		return
	}
	a.log().Info("last good commit in force", "commit", commit)
	since, err := a.policies.RefTime(trustedRef)
	if err != nil || since.After(a.now()) {
		since = time.Time{}
	}
	a.use(p, since)
	a.passes.raise()
}

// evaluate gives the policy of a commit of the store.
func (a *Agent) evaluate(ctx context.Context, commit string) (Policy, error) {
	tree, err := a.policies.Tree(commit)
	if err != nil {
		return Policy{}, err
	}
	return a.o.Local.evaluated(ctx, tree, true)
}

// polled is what came of asking the remote.
type polled struct {
	head  string
	err   error
	at    time.Time
	retry time.Time // after an error
}

// follow keeps this node at the newest commit that the remote has.
//
// Only few nodes ask the remote. What they see they tell as a signed record, and the others take a commit when enough
// of those whose turn it is say the same; a node that is told otherwise, or by too few, asks the remote itself.
func (a *Agent) follow(ctx context.Context) error {
	pacer := gitrepo.NewPacer(a.interval(), a.o.Random)
	var (
		asking  bool
		again   bool // asked to while it was asking
		replies []chan schema.RemoteStatus
		answers = make(chan polled, 1)
		timer   = time.NewTimer(0)
	)
	defer timer.Stop()
	ask := func() {
		if asking {
			again = true
			return
		}
		asking = true
		a.pulses.busy("ask")
		go func() {
			answers <- a.ask(ctx)
			a.pulses.idle("ask")
		}()
	}
	for {
		a.pulses.idle("follow")
		select {
		case <-ctx.Done():
			if asking {
				<-answers
			}
			return nil
		case <-timer.C:
			a.pulses.busy("follow")
			if wait := a.notMyTurn(); wait > 0 {
				timer.Reset(wait)
				continue
			}
			ask()
		case reply := <-a.syncs:
			replies = append(replies, reply)
			ask()
		case <-a.asks:
			timer.Reset(a.pause())
		case <-a.heads:
			a.pulses.busy("follow")
			before := a.interval()
			if wait, ok := a.witnessed(ctx); ok {
				timer.Reset(max(wait, a.pause()))
			} else if now := a.interval(); now != before && pacer.Failures() == 0 {
				timer.Reset(a.untilMyTurn(now))
			}
		case got := <-answers:
			a.pulses.busy("follow")
			asking = false
			if got.err != nil {
				wait := time.Until(pacer.Next(time.Now(), got.err))
				got.retry = got.at.Add(wait)
				timer.Reset(wait)
			}
			a.answered(ctx, got, pacer.Failures())
			if got.err == nil {
				// After it was answered: what it put into force may say how often to ask.
				pacer = gitrepo.NewPacer(a.interval(), a.o.Random)
				timer.Reset(a.untilMyTurn(a.interval()))
			}
			for _, r := range replies {
				a.mu.Lock()
				r <- a.remote
				a.mu.Unlock()
			}
			replies = nil
			if again {
				again = false
				ask()
			}
		}
	}
}

// pause is how long the remote is left alone after it was asked, whatever others say.
func (a *Agent) pause() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return max(0, gitrepo.MinInterval-a.now().Sub(a.remote.LastRead))
}

// interval is how often a fetcher asks.
func (a *Agent) interval() time.Duration {
	d, err := time.ParseDuration(a.fleet().Sync.Interval)
	if err != nil || d <= 0 {
		return 15 * time.Second
	}
	return max(d, gitrepo.MinInterval)
}

// ask reads the remote's head, and fetches it where it is new.
func (a *Agent) ask(ctx context.Context) polled {
	short, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	head, err := a.policies.Head(short)
	if err == nil && !a.policies.Has(head) {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, fetchTime)
		defer stop()
		a.log().Info("fetching", "commit", head)
		head, err = a.policies.Fetch(ctx, a.branch())
	}
	return polled{head: head, err: err, at: a.now()}
}

// answered takes note of what the remote said.
func (a *Agent) answered(ctx context.Context, got polled, failures int) {
	if ctx.Err() != nil {
		return
	}
	a.mu.Lock()
	was := a.remote.Error
	a.remote.Retry = got.retry
	if got.err == nil {
		a.remote.Head, a.remote.LastRead, a.remote.Error = got.head, got.at, ""
	} else {
		a.remote.Error = one(got.err)
	}
	head := a.remote.Head
	a.mu.Unlock()
	switch {
	case got.err != nil && (was == "" || failures == 1):
		a.log().Warn("remote cannot be read", "error", one(got.err))
	case got.err == nil && was != "":
		a.log().Info("remote is read again", "commit", got.head)
	}
	a.publish(schema.RecordHead, "", schema.HeadRecord{Commit: head, Error: one(got.err)})
	if got.err == nil {
		a.hint(got.head)
		a.consider(ctx, got.head)
	}
	if was != one(got.err) {
		a.publishState()
	}
}

// consider puts a commit into force, or refuses it and says why; what is in force then stays.
func (a *Agent) consider(ctx context.Context, commit string) {
	a.mu.Lock()
	current, refused := "", a.refused
	if a.policy != nil {
		current = a.policy.Commit
	}
	a.mu.Unlock()
	if commit == current {
		if refused != nil {
			a.refuse(nil)
		}
		return
	}
	if refused != nil && refused.Commit == commit {
		return
	}
	trusted, err := a.policies.Ref(trustedRef)
	if err != nil {
		a.problem("policy", "the last good commit cannot be read: "+one(err))
		return
	}
	if trusted != "" {
		follows, err := a.policies.Descends(commit, trusted)
		if err != nil {
			a.problem("policy", fmt.Sprintf("commit %s: %s", short(commit), one(err)))
			return
		}
		if !follows {
			a.refuse(&schema.RefusedCommit{Commit: commit, Faults: []schema.Fault{}, Reason: fmt.Sprintf(
				"it does not follow on %s, which is in force (the branch was rewritten, or put back): push a commit on top of %s", short(trusted), short(trusted))})
			return
		}
	}
	p, err := a.evaluate(ctx, commit)
	if f, ok := errors.AsType[*FaultsError](err); ok {
		r := &schema.RefusedCommit{Commit: commit, Faults: []schema.Fault{}}
		for _, fault := range f.Faults {
			if fault.Severity != schema.SeverityWarning && len(r.Faults) < maxRefusedFaults {
				r.Faults = append(r.Faults, fault)
			}
		}
		r.Reason = f.Error()
		a.refuse(r)
		return
	}
	if err != nil {
		// Not the commit's fault, as far as can be told: it is looked at again with the next poll.
		a.problem("policy", fmt.Sprintf("commit %s cannot be evaluated: %s", short(commit), one(err)))
		return
	}
	if err := a.policies.SetRef(trustedRef, commit); err != nil {
		a.problem("policy", fmt.Sprintf("commit %s is good and cannot be kept: %s", short(commit), one(err)))
		return
	}
	a.problem("policy", "")
	for _, w := range p.Warnings {
		a.log().Warn(w.String(), "commit", commit)
	}
	a.log().Info("commit in force", "commit", commit)
	a.refuse(nil)
	a.use(p, a.now())
	a.passes.raise()
	if err := a.policies.Repack(); err != nil {
		a.log().Warn("policy store is not repacked", "error", one(err))
	}
}

// refuse notes the newest commit that is refused; nil takes it back.
func (a *Agent) refuse(r *schema.RefusedCommit) {
	a.mu.Lock()
	had := a.refused != nil
	if had && r == nil {
		a.passedBy = a.refused.Commit
	}
	a.refused = r
	a.mu.Unlock()
	if r == nil {
		if had {
			a.publishState()
		}
		return
	}
	a.log().Error("commit refused", "commit", r.Commit, "reason", r.Reason, "faults", len(r.Faults))
	for _, f := range r.Faults {
		a.log().Error(f.String(), "commit", r.Commit)
	}
	a.publishState()
}

// witness is what a node said of the remote.
type witness struct {
	id   string
	head schema.HeadRecord
}

// witnesses are the head records of nodes that are here and whose turn it is.
func (a *Agent) witnesses() (all []witness, needed int) {
	for _, r := range a.records.Of(schema.RecordHead) {
		var h schema.HeadRecord
		if r.Node == a.keys.ID() || json.Unmarshal(r.Body, &h) != nil || !isCommit(h.Commit) || h.Error != "" {
			continue
		}
		all = append(all, witness{r.Node, h})
	}
	return all, min(2, a.fleet().Sync.Fetchers)
}

// witnessed looks at what others say of the remote. It gives how long to wait before this node asks the remote itself,
// where that is sooner than its turn.
func (a *Agent) witnessed(ctx context.Context) (wait time.Duration, ok bool) {
	all, needed := a.witnesses()
	a.mu.Lock()
	// Somebody may not have seen yet that the branch has gone on from a commit that was refused.
	known := map[string]bool{a.remote.Head: true, a.passedBy: true}
	if a.policy != nil {
		known[a.policy.Commit] = true
	}
	if a.refused != nil {
		known[a.refused.Commit] = true
	}
	a.mu.Unlock()
	turn := map[string]bool{}
	for _, id := range a.turns() {
		turn[id] = true
	}
	say := map[string][]string{}
	told := ""
	for _, w := range all {
		if known[w.head.Commit] {
			continue
		}
		if a.isOld(w.head.Commit) {
			known[w.head.Commit] = true
			continue
		}
		told = w.head.Commit
		if turn[w.id] {
			say[w.head.Commit] = append(say[w.head.Commit], w.id)
		}
	}
	if told == "" {
		return 0, false
	}
	for commit, ids := range say {
		if len(ids) < max(needed, 1) {
			continue
		}
		if err := a.takeFromPeers(ctx, commit, ids); err != nil {
			a.log().Warn("commit is not taken from peers, so the remote is asked", "commit", commit, "error", one(err))
			return a.jitter(time.Second), true
		}
		a.mu.Lock()
		a.remote.Head = commit
		a.mu.Unlock()
		a.consider(ctx, commit)
		return 0, false
	}
	if turn[a.keys.ID()] {
		return 0, true // this node is the second witness
	}
	return unconfirmed + a.jitter(unconfirmed), true
}

// maxOldHeads is how many commits are known to be old without looking.
const maxOldHeads = 64

// isOld reports whether a commit came before what is in force: somebody has not seen the newest yet. What is old once stays
// so, and a fleet in which most have no turn tells of it for long, so it is remembered. Only the loop that follows asks.
func (a *Agent) isOld(commit string) bool {
	if slices.Contains(a.oldHeads, commit) {
		return true
	}
	trusted, err := a.policies.Ref(trustedRef)
	if err != nil || trusted == "" {
		return false
	}
	old, err := a.policies.Descends(trusted, commit)
	if err != nil || !old {
		return false
	}
	a.oldHeads = append(a.oldHeads, commit)
	a.oldHeads = a.oldHeads[max(0, len(a.oldHeads)-maxOldHeads):]
	return true
}

// takeFromPeers makes the commit's objects be here, from those who say that they have it.
func (a *Agent) takeFromPeers(ctx context.Context, commit string, ids []string) error {
	if a.policies.Has(commit) {
		return nil
	}
	have, err := a.policies.Ref(trustedRef)
	if err != nil {
		return err
	}
	err = errors.New("nobody has it")
	start := int(a.o.Random() * float64(len(ids)))
	for i := range ids {
		if err = a.takeFrom(ctx, ids[(start+i)%len(ids)], commit, have); err == nil {
			return nil
		}
	}
	return err
}

func (a *Agent) takeFrom(ctx context.Context, id, commit, have string) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	body, err := a.askPeer(ctx, id, "/v1/pack?"+url.Values{"want": {commit}, "have": {have}}.Encode())
	if err != nil {
		return err
	}
	defer body.Close()
	return a.policies.Ingest(ctx, io.LimitReader(body, gitrepo.MaxPack+1), commit)
}

// askPeer asks another node; the caller closes what comes.
func (a *Agent) askPeer(ctx context.Context, id, path string) (io.ReadCloser, error) {
	if a.peers == nil {
		return nil, errors.New("this node is alone")
	}
	client, base, err := a.peers.Client(id)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		_ = resp.Body.Close()
		return nil, fmt.Errorf("node %s answers %d: %s", id, resp.StatusCode, bytes.TrimSpace(text))
	}
	return resp.Body, nil
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
