package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

const (
	// trustedRef is the last good commit.
	trustedRef = "refs/dunlin/trusted"
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
	a.resumeTrust(ctx, commit)
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
	a.keeps.raise()
}

// resumeTrust sees whether what is in force on disk was verified, which it was not if the host had no anchor then.
func (a *Agent) resumeTrust(ctx context.Context, commit string) {
	p := a.pinNow()
	if p.Anchor == "" || p.Head == commit {
		return
	}
	_, err := trust.Verify(ctx, a.trustSource(), p.base(), commit, time.Time{})
	if err == nil {
		err = a.advance(commit)
	}
	if err != nil {
		a.problem("trust", fmt.Sprintf("commit %s was put into force before this host had its anchor and cannot be verified from there (%s): it stays in force until a commit that can comes", short(commit), one(err)))
	}
}

// trusts reports whether a commit may be read: on a host with an anchor once it is verified, on another where it follows
// on what is in force. later is as consider's, before as verify's.
func (a *Agent) trusts(ctx context.Context, commit string) (yes, later bool, before string) {
	refuse := func(kind, reason string) {
		a.refuse(&schema.RefusedCommit{Commit: commit, Faults: []schema.Fault{}, Kind: kind, Reason: clip(reason)})
	}
	if a.pinNow().Anchor != "" {
		before, err := a.verify(ctx, commit)
		if r := (*trust.Refusal)(nil); errors.As(err, &r) {
			reason := r.Reason
			if r.Commit != commit {
				reason = fmt.Sprintf("%s, on the way to it: %s", short(r.Commit), reason)
			}
			refuse(string(r.Kind), reason)
			if r.Cut && a.wholeFor != commit { // once for each: the remote may have no more, or give none
				a.wholeFor = commit
				a.partial.Store(true)
			}
			return false, r.Kind == trust.WrongTime || r.Kind == trust.Stale, before
		}
		if err != nil {
			a.partial.Store(incomplete(err))
			a.problem("policy", fmt.Sprintf("commit %s cannot be verified: %s", short(commit), one(err)))
			return false, true, ""
		}
		return true, false, ""
	}
	trusted, err := a.policies.Ref(trustedRef)
	if err != nil {
		a.problem("policy", "the last good commit cannot be read: "+one(err))
		return false, true, ""
	}
	if trusted == "" {
		return true, false, ""
	}
	follows, err := a.policies.Descends(ctx, commit, trusted)
	if err != nil {
		a.problem("policy", fmt.Sprintf("commit %s: %s", short(commit), one(err)))
		return false, true, ""
	}
	if !follows {
		refuse("", fmt.Sprintf("it does not follow on %s, which is in force (the branch was rewritten, or put back): push a commit on top of %s", short(trusted), short(trusted)))
	}
	return follows, false, ""
}

// evaluate gives the policy of a commit of the store: from what is in force and the files that differ, where that can be,
// else from what was kept, else from the whole. Only the whole refuses.
func (a *Agent) evaluate(ctx context.Context, commit string) (Policy, error) {
	tree, err := a.policies.Tree(commit)
	if err != nil {
		return Policy{}, err
	}
	p, err := a.stepped(ctx, tree)
	if err == nil || ctx.Err() != nil {
		return p, err
	}
	a.log().Debug("commit is evaluated whole", "commit", commit, "reason", one(err))
	return a.o.Local.evaluated(ctx, tree, false)
}

// stepped evaluates a commit from what is in force and the files that differ.
func (a *Agent) stepped(ctx context.Context, tree gitrepo.Tree) (Policy, error) {
	from, _, _ := a.inForce()
	if from.Commit == "" {
		return Policy{}, fmt.Errorf("%w: nothing is in force", load.ErrWhole)
	}
	if from.Digest == tree.Digest { // the same files, as after a commit that takes one back before it was in force
		p := from
		p.Commit, p.Files = tree.Commit, tree
		return p, nil
	}
	changed, err := a.policies.Source().Changed(ctx, strings.TrimPrefix(from.Digest, "git-"), strings.TrimPrefix(tree.Digest, "git-"))
	if err != nil {
		return Policy{}, err
	}
	return a.o.Local.stepped(ctx, from, tree, changed)
}

// consider puts a commit into force, or refuses it and says why; what is in force then stays. later is that it is to be
// looked at again: what is wrong is this host's fault, or may be. again is that somebody asked for just that.
func (a *Agent) consider(ctx context.Context, commit string, again bool) (later bool) {
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
		a.problem("policy", "")
		return false
	}
	if refused != nil && refused.Commit == commit && !again {
		return false
	}
	if yes, later, before := a.trusts(ctx, commit); !yes {
		return a.settleFor(ctx, before, current, commit) || later
	}
	p, err := a.evaluate(ctx, commit)
	if f, ok := errors.AsType[*FaultsError](err); ok {
		r := &schema.RefusedCommit{Commit: commit, Faults: []schema.Fault{}}
		for _, fault := range f.Faults {
			if fault.Severity != schema.SeverityWarning && len(r.Faults) < maxRefusedFaults {
				fault.Message = clip(fault.Message)
				r.Faults = append(r.Faults, fault)
			}
		}
		r.Reason = f.Error()
		a.refuse(r)
		return false
	}
	if ctx.Err() != nil {
		return true
	}
	if errors.Is(err, load.ErrLimit) || errors.Is(err, load.ErrCrash) {
		// Most likely the commit's fault, and not surely: a host without memory fails, too.
		a.refuse(&schema.RefusedCommit{Commit: commit, Faults: []schema.Fault{}, Reason: clip(one(err))})
		return true
	}
	if err != nil {
		a.problem("policy", fmt.Sprintf("commit %s cannot be evaluated: %s", short(commit), one(err)))
		return true
	}
	return a.put(p, true)
}

// put puts a policy into force that may be; clear says that nothing is refused any more then. later is that something of
// this host's was in the way.
func (a *Agent) put(p Policy, clear bool) (later bool) {
	commit := p.Commit
	if err := a.policies.SetRef(trustedRef, commit); err != nil {
		a.problem("policy", fmt.Sprintf("commit %s is good and cannot be kept: %s", short(commit), one(err)))
		return true
	}
	if err := a.advance(commit); err != nil {
		a.problem("policy", fmt.Sprintf("commit %s is good, and that it was verified cannot be kept: %s", short(commit), one(err)))
		return true
	}
	if a.pinNow().Anchor != "" {
		a.problem("trust", a.unsignedFile())
	}
	a.problem("policy", "")
	for _, w := range p.Warnings {
		a.log().Warn(w.String(), "commit", commit)
	}
	a.problem("parameters", a.rewritten(p))
	a.log().Info("commit in force", "commit", commit)
	if clear {
		a.refuse(nil)
	}
	a.use(p, a.now())
	a.passes.raise()
	a.keeps.raise()
	return false
}

// rewritten tells of parameters of which a policy says other than the one in force that no new version says: enough of them
// to look, since it is no reason to refuse a commit. It is told until the next commit.
func (a *Agent) rewritten(p Policy) string {
	a.mu.Lock()
	old := a.policy
	a.mu.Unlock()
	if old == nil {
		return ""
	}
	texts := reconciler.Rewritten(old.Repo, p.Repo)
	const most = 5
	if more := len(texts) - most; more > 0 {
		texts = append(texts[:most], fmt.Sprintf("and %d more", more))
	}
	if len(texts) == 0 {
		return ""
	}
	return fmt.Sprintf("commit %s rewrites parameters: %s; a revert does so, and a parameter that was made anew", short(p.Commit), strings.Join(texts, ", "))
}

// clip shortens a text that others are told.
func clip(text string) string {
	const most = 1000
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " ..."
	}
	return text
}

// refuse notes the newest commit that is refused; nil takes it back.
func (a *Agent) refuse(r *schema.RefusedCommit) {
	a.mu.Lock()
	had := a.refused != nil
	if had && r != nil && a.refused.Commit == r.Commit && a.refused.Kind == r.Kind && a.refused.Reason == r.Reason {
		a.mu.Unlock() // looked at again
		return
	}
	if had {
		a.passed.add(a.refused.Commit)
	}
	a.refused = r
	again := r != nil && a.said.again(r, time.Now())
	a.mu.Unlock()
	if r == nil {
		if had {
			a.publishState()
		}
		return
	}
	if again {
		a.log().Info("commit still refused", "commit", r.Commit, "kind", r.Kind, "reason", r.Reason)
		a.publishState()
		return
	}
	a.log().Error("commit refused", "commit", r.Commit, "kind", r.Kind, "reason", r.Reason, "faults", len(r.Faults))
	for _, f := range r.Faults {
		a.log().Error(f.String(), "commit", r.Commit)
	}
	a.publishState()
}

// refusalSaid is the refusal that the log told last.
type refusalSaid struct {
	commit, kind string
	faults       int
	at           time.Time
}

// again notes a refusal, and reports whether the log told it within the last minute: a node that has not heard yet that the
// branch went on still tells of the commit, which is judged upon what is in force by now.
func (s *refusalSaid) again(r *schema.RefusedCommit, now time.Time) bool {
	if s.commit == r.Commit && s.kind == r.Kind && s.faults == len(r.Faults) && now.Sub(s.at) < time.Minute {
		return true
	}
	*s = refusalSaid{commit: r.Commit, kind: r.Kind, faults: len(r.Faults), at: now}
	return false
}
