package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// withheldAfter is how long what a heartbeat names may be missing here before that is an alarm: it may have come before
	// its commit, this node may have been away, and a mirror may give one reference after the other.
	withheldAfter = 10 * time.Minute
	// asksApart is between two questions that a fleet has for it, on average: a forge bears some 15 a second.
	asksApart = 100 * time.Millisecond
	// beatEvidence, among the evidence of forks, is of the heartbeat that last named another line. It raises no alarm at a
	// start: who has the key of a heartbeat is no signer of policies.
	beatEvidence = "heartbeat.json"
)

// beat is a heartbeat that counts.
type beat struct {
	trust.Heartbeat
	by   string
	text string
}

// withheld is what heartbeats name and this node cannot get. Whoever hides new commits and passes the heartbeat on is found
// out so. It raises an alarm and asks the remote, and decides about no commit: the key of a heartbeat lies on a machine.
type withheld struct {
	beat            // the first that named what is missing; of nobody: nothing is
	again time.Time // time of the newest of the same person's that does
	since time.Time // when that was seen first
	seen  time.Time // the same by the clock that others see

	askAt time.Time // when the remote is asked for it whoever's turn it is; zero: not
	after time.Time // not before this, so that made-up heads make nobody ask for ever
	wait  time.Duration

	upon string // what is here, and what that holds of heads
	had  map[string]hold
	line struct{ of, says string } // what otherLine said last, and of what
}

// hold is what this node has of a commit; unsure where that cannot be told now.
type hold struct{ has, knows, unsure bool }

// due is when something is to be done next; zero for nothing.
func (w *withheld) due(now time.Time) time.Time {
	if !w.askAt.IsZero() {
		return w.askAt
	}
	if alarm := w.since.Add(withheldAfter); !w.since.IsZero() && alarm.After(now) {
		return alarm
	}
	return time.Time{}
}

// mayAsk reports, once, that the remote is to be asked now.
func (w *withheld) mayAsk(now time.Time) bool {
	if w.askAt.IsZero() || now.Before(w.askAt) {
		return false
	}
	w.askAt = time.Time{}
	return true
}

// askWithin is the time over which a fleet of so many nodes asks the remote for what is missing.
func askWithin(nodes int) time.Duration {
	return max(withheldAfter/2, time.Duration(nodes)*asksApart)
}

// begin notes a heartbeat that names what is not here. turn is this node's place in the time over which the fleet asks.
func (w *withheld) begin(b beat, now, seen time.Time, turn time.Duration) {
	w.beat, w.again, w.since, w.seen = b, b.When(), now, seen
	if now.Sub(w.after) > mostDoubt {
		w.wait = 0
	}
	// Peers are likely to bring it before; those whose turn it is to ask have asked.
	if w.askAt = now.Add(hearsay + turn); w.askAt.Before(w.after) {
		w.askAt = w.after
	}
	w.wait = min(max(2*w.wait, leastDoubt), mostDoubt)
	w.after = w.askAt.Add(w.wait)
}

// end forgets it.
func (w *withheld) end() {
	w.beat, w.again, w.since, w.seen, w.askAt = beat{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
}

// heed holds the newest heartbeat that counts, if there is any, against what this node has, and says what seems to be held
// back; empty for nothing. The first head that was missing counts until it is here, or until the same person names one
// that is: another machine that is shown old things takes back nothing.
func (a *Agent) heed(ctx context.Context, fleet schema.Fleet, newest beat) string {
	w := &a.withheld
	if w.by != "" {
		if by, err := w.By(fleet); err != nil || by != w.by || a.hold(ctx, w.Head).has {
			w.end()
		}
	}
	if newest.by != "" {
		h := a.hold(ctx, newest.Head)
		has := h.has || a.beforeAnchor(newest)
		switch {
		case h.unsure:
		case w.by == "" && !has:
			w.begin(newest, time.Now(), a.now(), a.jitter(askWithin(len(a.pinned()))))
		case w.by == newest.by && has && newest.When().After(w.again):
			w.end()
		case w.by == newest.by && !has && newest.When().After(w.again):
			w.again = newest.When()
		}
	}
	if w.by == "" || time.Since(w.since) < withheldAfter {
		return ""
	}
	h := a.hold(ctx, w.Head)
	if h.unsure {
		return ""
	}
	if h.knows && w.again.Before(w.seen) {
		return "" // it was here, and may have been taken out of the branch on purpose since; the next heartbeat tells
	}
	said := fmt.Sprintf("%s has signed at %s that %s is the newest commit", w.by, w.Time, short(w.Head))
	if h.knows {
		if text := a.otherLine(ctx, said); text != "" {
			return text
		}
	}
	return fmt.Sprintf("a newer commit seems to be held back from here: %s, and it is not to be had here since %s: see what the remote shows elsewhere (git ls-remote), and whether the heartbeat is of the branch %s",
		said, w.seen.UTC().Format(time.RFC3339), a.branch())
}

// beforeAnchor reports whether a heartbeat is older than the commit that this node's history begins at: what it names came
// before that, and is here no more.
func (a *Agent) beforeAnchor(b beat) bool {
	anchor := a.pinNow().Anchor
	if !a.policies.Bounded() {
		return false
	}
	raw, err := a.trustSource().Commit(anchor)
	if err != nil {
		return false
	}
	c, err := trust.ParseCommit(anchor, raw)
	return err == nil && b.When().Before(c.When)
}

// hold looks at what this node has of a commit. As long as the remote has something that cannot be kept, which is told
// otherwise, that is unsure; it takes nothing back, since a server shows what it likes for a moment.
func (a *Agent) hold(ctx context.Context, head string) hold {
	a.mu.Lock()
	shown := a.remote.Head
	a.mu.Unlock()
	base := a.pinNow().base()
	switch {
	case head == base:
		return hold{has: true, knows: true}
	case shown != "" && !a.policies.Knows(shown):
		return hold{unsure: true}
	case head == shown:
		return hold{has: true, knows: true}
	}
	if !a.policies.Knows(head) {
		return hold{}
	}
	w := &a.withheld
	if upon := base + " " + shown; upon != w.upon || len(w.had) > 8 {
		w.upon, w.had = upon, map[string]hold{}
	}
	if h, ok := w.had[head]; ok {
		return h
	}
	h := hold{knows: true}
	for _, at := range []string{base, shown} {
		if at == "" || h.has {
			continue
		}
		after, err := a.policies.Descends(ctx, at, head)
		if ctx.Err() != nil {
			return hold{unsure: true}
		}
		h.has = after || err != nil // what cannot be told is no alarm
	}
	w.had[head] = h
	return h
}

// otherLine says that what is withheld, which is known, does not follow on what was verified here, and keeps the evidence;
// empty where it does.
func (a *Agent) otherLine(ctx context.Context, said string) string {
	w := &a.withheld
	mine := a.pinNow().base()
	if of := w.Head + " " + mine + " " + w.Time; of != w.line.of {
		says, ok := a.judgeLine(ctx, mine, said)
		if !ok {
			return ""
		}
		w.line.of, w.line.says = of, says
	}
	return w.line.says
}

// judgeLine is otherLine without looking at what it said before; ok is false where it cannot be told now.
func (a *Agent) judgeLine(ctx context.Context, mine, said string) (says string, ok bool) {
	w := &a.withheld
	if follows, err := a.policies.Descends(ctx, w.Head, mine); err != nil || follows {
		return "", err == nil
	}
	if e, is := a.forkOf(ctx, a.trustSource(), w.Head); is {
		e.Heartbeat = w.text
		a.fork(e)
		return said + ": " + e.text(), true
	}
	if ctx.Err() != nil {
		return "", false
	}
	e := evidence{V: 1, Mine: mine, Theirs: w.Head, Seen: w.seen.UTC().Truncate(time.Second), Heartbeat: w.text}
	path := filepath.Join(a.o.Config.State, forkFolder, beatEvidence)
	if err := e.keep(path); err != nil {
		a.log().Warn("evidence of a fork is not kept", "commit", e.Theirs, "error", one(err))
	}
	return fmt.Sprintf("%s, and neither that nor %s, which is verified here, follows on the other: the branch was rewritten, or a part of the fleet is shown another one; the evidence is in %s",
		said, short(mine), path), true
}
