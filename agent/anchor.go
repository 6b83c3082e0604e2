package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// anchorFile, in the state folder, has what this host pinned.
	anchorFile = "trust.json"
	// maxTold bounds what a node tells others of approvals, in bytes.
	maxTold = 48 << 10
	// maxUnjudged is how many approvals of steps that cannot be judged yet are remembered.
	maxUnjudged = 256
)

// kindFork is a refusal of this package's: two commits are well signed, and neither follows on the other.
const kindFork trust.Kind = "fork"

// pin is the commit that this host's trust starts from, and the newest that it has verified since. It is on disk.
type pin struct {
	V      int    `json:"v"`
	Anchor string `json:"anchor"`
	Head   string `json:"head,omitempty"`
}

// base is the commit that a new head must follow on.
func (p pin) base() string { return cmp.Or(p.Head, p.Anchor) }

func readPin(state string) (p pin, err error) {
	b, err := os.ReadFile(filepath.Join(state, anchorFile))
	if errors.Is(err, fs.ErrNotExist) {
		return pin{}, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err == nil && (p.V != 1 || !isCommit(p.Anchor) || p.Head != "" && !isCommit(p.Head)) {
		err = errors.New("it does not have the form that was written")
	}
	if err != nil {
		return pin{}, fmt.Errorf("read the anchor that this host pinned (%s): %w", filepath.Join(state, anchorFile), err)
	}
	return p, nil
}

// write makes it durable, whole or not at all.
func (p pin) write(state string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return writeDurably(filepath.Join(state, anchorFile), append(b, '\n'))
}

// openPin is the anchor of this start. A host that had one keeps it whatever the configuration says of unsigned: only who
// removes the file as well, as the host's own root, takes it back. Another anchor in the configuration is root's word.
func openPin(state string, t schema.AgentTrust) (p pin, problem string, err error) {
	if p, err = readPin(state); err != nil {
		return pin{}, "", err
	}
	switch {
	case t.Unsigned && p.Anchor == "":
		return pin{}, "", nil
	case t.Unsigned:
		return p, stillAnchored(state, p), nil
	case !isCommit(t.Anchor):
		return pin{}, "", fmt.Errorf("trust.anchor %q is not a full commit hash (dunlin trust anchor prints one)", t.Anchor)
	case p.Anchor != t.Anchor:
		p = pin{V: 1, Anchor: t.Anchor}
		if err := p.write(state); err != nil {
			return pin{}, "", fmt.Errorf("pin the anchor: %w", err)
		}
	}
	return p, "", nil
}

func stillAnchored(state string, p pin) string {
	return fmt.Sprintf(`this host has the anchor %s, and its configuration says trust: "unsigned": it goes on to verify; to make it believe the remote again, stop the agent, remove %s, start it`,
		short(p.Anchor), filepath.Join(state, anchorFile))
}

// unsignedFile is what to say while the configuration says that an anchored host is unsigned.
func (a *Agent) unsignedFile() string {
	if !a.o.Config.Trust.Unsigned {
		return ""
	}
	return stillAnchored(a.o.Config.State, a.pinNow())
}

// pinNow is the pin as it is now; its anchor is empty for a host that believes the remote.
func (a *Agent) pinNow() pin {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pin
}

// advance notes that a commit was verified.
func (a *Agent) advance(commit string) error {
	p := a.pinNow()
	if p.Anchor == "" || p.Head == commit {
		return nil
	}
	p.Head = commit
	if err := p.write(a.o.Config.State); err != nil {
		return err
	}
	a.mu.Lock()
	a.pin = p
	a.mu.Unlock()
	return nil
}

func (a *Agent) trustSource() TrustSource { return TrustSource{a.policies.Source(), a.fleets} }

// verify says whether a commit is what the right people want, before anything in it is read. It fails with a
// *trust.Refusal, or because it cannot be told yet. Where a step on the way is refused, before is the commit that the steps
// to it lead to, all agreed to; empty where there is none.
func (a *Agent) verify(ctx context.Context, commit string) (before string, err error) {
	src, p := a.trustSource(), a.pinNow()
	a.gather(ctx, src, commit)
	steps, err := trust.Verify(ctx, src, p.base(), commit, a.now())
	r := (*trust.Refusal)(nil)
	switch refused := errors.As(err, &r); {
	case refused && r.Kind == trust.Rewind:
		if f, is := a.forkOf(ctx, src, commit); is {
			a.fork(f)
			return "", &trust.Refusal{Commit: commit, Kind: kindFork, Reason: f.text()}
		}
		return "", err
	case refused && len(steps) > 0:
		if before = steps[len(steps)-1].Commit; a.fresh(ctx, src, before) != nil {
			before = ""
		}
		return before, err
	case err != nil:
		return "", err
	}
	return "", a.fresh(ctx, src, commit)
}

// settleTime is how long a head is refused before what comes before it on its line, and is agreed to, is put into force
// in its place. Who is about to approve has that long: what is half of a change is not meant to be in force.
const settleTime = 10 * time.Minute

// behind is the newest commit before a refused head that is agreed to.
type behind struct {
	commit string
	since  time.Time
	faulty bool
	lacks  bool // files of it are not here: what is fetched for a head has those of the head alone
}

// settleFor puts into force what comes before a refused head, once that was refused for long enough: else who can push
// could keep every commit from hosts that were away, or new, by pushing something unsigned upon it. later is as consider's.
func (a *Agent) settleFor(ctx context.Context, commit, current, head string) (later bool) {
	if commit == "" || commit == current {
		return false
	}
	if a.behind.commit != commit {
		a.behind = behind{commit: commit, since: time.Now(), lacks: !a.policies.Has(commit)}
	}
	if a.behind.faulty {
		return false
	}
	if time.Since(a.behind.since) < settleTime {
		return true
	}
	p, err := a.evaluate(ctx, commit)
	if err != nil {
		_, a.behind.faulty = errors.AsType[*FaultsError](err)
		a.behind.lacks = !a.behind.faulty && !a.policies.Has(commit)
		a.log().Warn("what comes before the refused head cannot be put into force", "commit", commit, "head", head, "error", one(err))
		return !a.behind.faulty
	}
	a.log().Info("the newest commit before the refused head is taken", "commit", commit, "head", head)
	return a.put(p, false)
}

// fresh says whether a heartbeat is new enough for a new commit.
func (a *Agent) fresh(ctx context.Context, src TrustSource, commit string) error {
	p := a.pinNow()
	if commit == p.base() {
		return nil
	}
	fleet, err := src.Fleet(ctx, p.base())
	if err != nil {
		return err
	}
	text, err := a.policies.Heartbeat()
	if err != nil {
		return err
	}
	return trust.Fresh(fleet, text, commit, a.now())
}

// tellFresh says plainly that new commits are refused, also while there are none, and what the newest heartbeat names that
// this node has not. The loop that follows the remote calls it.
func (a *Agent) tellFresh(ctx context.Context) {
	p := a.pinNow()
	if p.Anchor == "" || !a.policies.Knows(p.base()) {
		return
	}
	fleet, err := a.trustSource().Fleet(ctx, p.base())
	if err != nil {
		return
	}
	a.passBeat(ctx, a.trustSource())
	text, err := a.policies.Heartbeat()
	seen := schema.TrustStatus{Freshness: fleet.Freshness}
	var newest beat
	if h, herr := trust.ParseHeartbeat(text); err == nil && herr == nil {
		if by, herr := h.By(fleet); herr == nil {
			seen.Heartbeat = h.When()
			newest = beat{h, by, string(text)}
		}
	}
	seen.Withheld = a.heed(ctx, fleet, newest)
	if err == nil {
		err = trust.Fresh(fleet, text, p.base(), a.now())
	}
	problem := ""
	if r := (*trust.Refusal)(nil); errors.As(err, &r) {
		seen.Stale = r.Reason
		problem = "new commits are refused: " + r.Reason
	}
	a.mu.Lock()
	a.freshness = seen
	a.mu.Unlock()
	a.problem("freshness", problem)
	a.problem("withheld", seen.Withheld)
	a.tellForks()
}

// line is the first-parent line from a commit back to one of those in until, which comes last if it is there.
func (a *Agent) line(ctx context.Context, src TrustSource, from string, until func(string) bool) (line []trust.Commit, reached bool) {
	for id := from; len(line) < trust.MaxSteps && ctx.Err() == nil; {
		raw, err := src.Commit(id)
		if err != nil {
			return line, false
		}
		c, err := trust.ParseCommit(id, raw)
		if err != nil {
			return line, false
		}
		c.Payload, c.Signature = nil, nil // a long line of large commits is not held
		line = append(line, c)
		if until(id) {
			return line, true
		}
		if len(c.Parents) == 0 {
			return line, false
		}
		id = c.Parents[0]
	}
	return line, false
}

// step is one commit above what is verified: its tree, and its parent.
type step struct{ tree, base string }

// steps are the commits that a head has above what is verified, oldest first.
func (a *Agent) steps(ctx context.Context, src TrustSource, head string) []step {
	p := a.pinNow()
	line, reached := a.line(ctx, src, head, func(id string) bool { return id == p.base() })
	if !reached {
		return nil
	}
	var out []step
	for i := len(line) - 2; i >= 0; i-- {
		out = append(out, step{line[i].Tree, line[i+1].ID})
	}
	return out
}

// gather keeps what others have told of heartbeats, and of approvals that the way to a head needs. It reports whether
// there was any that is new.
func (a *Agent) gather(ctx context.Context, src TrustSource, head string) (fresh bool) {
	a.mu.Lock()
	texts := slices.Clone(a.unjudged)
	a.mu.Unlock()
	for _, r := range a.records.Of(schema.RecordStatement) {
		s, ok := decode[schema.StatementRecord](r)
		if !ok || r.Node == a.keys.ID() {
			continue
		}
		fresh = s.Heartbeat != "" && a.keepHeartbeat(ctx, src, []byte(s.Heartbeat)) || fresh
		texts = append(texts, s.Approvals...)
	}
	if head != "" && len(texts) > 0 {
		kept, judged := a.keepApprovals(ctx, src, a.steps(ctx, src, head), texts)
		fresh = len(kept) > 0 || fresh
		// What others tell is in their records and need not be remembered: no node crowds out what the remote had.
		a.remember(nil, judged)
	}
	return fresh
}

// keepApprovals keeps approvals of the steps by people who were signers at their starts, and gives those that are new. It
// goes from step to step as far as each is agreed to: what fleet.cue says in a commit is read only once that is trusted.
// What is of later steps, or of none of them, is not judged, and to be looked at again when there is more.
func (a *Agent) keepApprovals(ctx context.Context, src TrustSource, steps []step, texts []string) (fresh []string, judged map[string]bool) {
	type given struct {
		trust.Approval
		text string
	}
	byStep := map[step][]given{}
	judged = map[string]bool{}
	for _, text := range texts {
		s, err := trust.ParseApproval([]byte(text))
		if err != nil {
			judged[text] = true
			continue
		}
		at := step{s.Tree, s.Base}
		byStep[at] = append(byStep[at], given{s, text})
	}
	base, reached := a.pinNow().base(), true
	for _, at := range steps {
		if len(byStep[at]) > 0 && reached && at.base != base {
			_, err := trust.Verify(ctx, src, base, at.base, a.now())
			reached = err == nil
		}
		for _, g := range byStep[at] {
			if !reached {
				break
			}
			fleet, err := src.Fleet(ctx, at.base)
			if err != nil {
				break
			}
			judged[g.text] = true
			who, err := g.By(fleet)
			if err != nil {
				continue
			}
			anew, err := a.policies.KeepApproval(g.Tree, []byte(g.text))
			if err != nil {
				a.log().Warn("approval is not kept", "error", one(err))
			}
			if anew && err == nil {
				a.log().Info("approval", "by", who, "tree", g.Tree, "base", g.Base)
				fresh = append(fresh, g.text)
			}
		}
	}
	return fresh, judged
}

// remember keeps in mind approvals that the remote had, of which the newest count, until they are judged.
func (a *Agent) remember(texts []string, judged map[string]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var keep []string
	for _, text := range slices.Concat(a.unjudged, texts) {
		if !judged[text] && !slices.Contains(keep, text) {
			keep = append(keep, text)
		}
	}
	a.unjudged = keep[max(0, len(keep)-maxUnjudged):]
}

// keepHeartbeat keeps a heartbeat that is newer than the one that is here.
func (a *Agent) keepHeartbeat(ctx context.Context, src TrustSource, text []byte) bool {
	h, err := trust.ParseHeartbeat(text)
	if err != nil || h.When().After(a.now().Add(trust.MaxAhead)) {
		return false
	}
	base := a.pinNow().base()
	fleet, err := src.Fleet(ctx, base)
	if err != nil {
		return false
	}
	a.beats.Lock() // the loop hears of one while another comes from the remote beside it: the newer stays
	defer a.beats.Unlock()
	if had, err := a.policies.Heartbeat(); err == nil && had != nil {
		// One whose key was taken away since, or of a time that this host's clock had by mistake, keeps no other out.
		old, err := trust.ParseHeartbeat(had)
		if err == nil && !old.When().After(a.now().Add(trust.MaxAhead)) && !h.When().After(old.When()) && a.counts(fleet, base, old, had) {
			return false
		}
	}
	if _, err := h.By(fleet); err != nil {
		return false
	}
	if err := a.policies.KeepHeartbeat(text); err != nil {
		a.log().Warn("heartbeat is not kept", "error", one(err))
		return false
	}
	return true
}

// counts reports whether the heartbeat that is kept counts by the fleet of a commit. Each that others tell of is held against
// it, so the signature is not looked at each time.
func (a *Agent) counts(fleet schema.Fleet, base string, h trust.Heartbeat, text []byte) bool {
	what := base + " " + string(text)
	a.mu.Lock()
	known := a.counted == what
	a.mu.Unlock()
	if known {
		return true
	}
	if _, err := h.By(fleet); err != nil {
		return false
	}
	a.mu.Lock()
	a.counted = what
	a.mu.Unlock()
	return true
}

// passBeat keeps the newest heartbeat of the remote, if it counts, and tells others. One that came before the commit that
// names its key is looked at again once that is verified.
func (a *Agent) passBeat(ctx context.Context, src TrustSource) bool {
	base := a.pinNow().base()
	a.mu.Lock()
	text := a.beatSeen
	if text == "" || a.beatJudged == base {
		a.mu.Unlock()
		return false
	}
	a.beatJudged = base
	a.mu.Unlock()
	if !a.keepHeartbeat(ctx, src, []byte(text)) {
		return false
	}
	a.agreedAnew.Store(true)
	a.publish(schema.RecordStatement, "heartbeat", schema.StatementRecord{Heartbeat: text})
	return true
}

// askStatements takes from the remote what people have signed beside the commits on the way to a head, keeps what counts
// and tells others. It is called beside the loop.
func (a *Agent) askStatements(ctx context.Context, head string) error {
	if a.pinNow().Anchor == "" {
		return nil
	}
	src := a.trustSource()
	steps := a.steps(ctx, src, head)
	var trees []string
	for _, at := range steps {
		trees = append(trees, at.tree)
	}
	got, err := a.policies.FetchStatements(ctx, trees)
	var found, fresh []string
	for _, list := range got.Approvals {
		for _, text := range list {
			found = append(found, string(text))
		}
	}
	a.mu.Lock()
	texts := slices.Concat(a.unjudged, found)
	a.mu.Unlock()
	if len(texts) > 0 {
		var judged map[string]bool
		fresh, judged = a.keepApprovals(ctx, src, steps, texts)
		a.remember(found, judged)
	}
	if got.Heartbeat != nil {
		a.mu.Lock()
		a.beatSeen, a.beatJudged = string(got.Heartbeat), ""
		a.mu.Unlock()
	}
	a.passBeat(ctx, src)
	if len(fresh) > 0 {
		a.agreedAnew.Store(true)
		slices.Sort(fresh)
		a.mu.Lock()
		a.agreed = append(fresh, a.agreed...)
		size := 0
		for i, text := range a.agreed {
			if size += len(text); size > maxTold {
				a.agreed = a.agreed[:i]
				break
			}
		}
		agreed := slices.Clone(a.agreed)
		a.mu.Unlock()
		a.publish(schema.RecordStatement, "approvals", schema.StatementRecord{Approvals: agreed})
	}
	return err
}

// lacksAgreement reports whether a commit is refused for want of what people may still say.
func (a *Agent) lacksAgreement(commit string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refused != nil && a.refused.Commit == commit && (a.refused.Kind == string(trust.NotAgreed) || a.refused.Kind == string(trust.Stale))
}

// agreedSince reports whether this node found statements since a commit was refused for want of them.
func (a *Agent) agreedSince(commit string) bool {
	return a.agreedAnew.Swap(false) && a.lacksAgreement(commit)
}

// incomplete reports whether something could not be verified because objects are not here.
func incomplete(err error) bool { return errors.Is(err, gitrepo.ErrNotHere) }
