package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/trust"
)

const (
	// forkFolder, in the state folder, has the evidence of forks.
	forkFolder = "forks"
	// maxForks is how many forks evidence is kept of.
	maxForks = 16
)

// evidence is of a fork: two commits that are both well signed from the same one on.
type evidence struct {
	V      int       `json:"v"`
	Base   string    `json:"base"`
	Mine   string    `json:"mine"`
	Theirs string    `json:"theirs"`
	Seen   time.Time `json:"seen"`
	// Heartbeat is the text of one that names Theirs, where that is how it was found out.
	Heartbeat string `json:"heartbeat,omitempty"`
}

func (e evidence) text() string {
	return fmt.Sprintf("%s and %s are both well signed and follow on %s, and neither on the other: the branch was rewritten, or a part of the fleet is shown another one; %s stays in force here",
		short(e.Mine), short(e.Theirs), short(e.Base), short(e.Mine))
}

// forkOf reports whether a commit that does not follow on what is verified is well signed from some commit on that comes
// before that, back to the anchor. One that lies on that line itself, or was merged into it, is old and no fork, and neither is one
// that makes the same trees as that line, as a branch does that was merged as a squash: anybody can show such a commit again.
func (a *Agent) forkOf(ctx context.Context, src TrustSource, commit string) (evidence, bool) {
	p := a.pinNow()
	own, reached := a.line(ctx, src, p.base(), func(id string) bool { return id == p.Anchor })
	if !reached {
		return evidence{}, false
	}
	mine := map[string]int{}
	for i, c := range own {
		mine[c.ID] = i
	}
	line, meets := a.line(ctx, src, commit, func(id string) bool { _, is := mine[id]; return is })
	if !meets || len(line) < 2 {
		return evidence{}, false
	}
	base := line[len(line)-1].ID
	if base == p.base() {
		return evidence{}, false // it follows on what is verified, and this node was not shown it yet
	}
	if since := own[:mine[base]]; len(since) >= len(line)-1 && slices.EqualFunc(line[:len(line)-1], since[len(since)-len(line)+1:], func(x, y trust.Commit) bool { return x.Tree == y.Tree }) {
		return evidence{}, false
	}
	if merged, err := a.policies.Descends(ctx, p.base(), commit); err != nil || merged {
		return evidence{}, false
	}
	if _, err := trust.Verify(ctx, src, base, commit, time.Time{}); err != nil {
		return evidence{}, false
	}
	return evidence{V: 1, Base: base, Mine: p.base(), Theirs: commit, Seen: a.now().UTC().Truncate(time.Second)}, true
}

// proved judges a commit that the remote did not show this node, and that a node was asked for to see whether it is a fork. It is
// judged once, unless it is agreed to and follows on what is verified here: it is a fork if another comes into force.
func (a *Agent) proved(ctx context.Context, commit string, err error) {
	src := a.trustSource()
	if err == nil {
		if e, is := a.forkOf(ctx, src, commit); is {
			a.fork(e)
			return
		}
		_, err = trust.Verify(ctx, src, a.pinNow().base(), commit, time.Time{})
	}
	if err != nil {
		a.passed.add(commit)
	}
}

// fork keeps the evidence of a fork, and raises the alarm here and, with this node's state, with the others.
func (a *Agent) fork(e evidence) {
	dir := filepath.Join(a.o.Config.State, forkFolder)
	path := filepath.Join(dir, e.Theirs+".json")
	a.settled.add(e.Theirs)
	if _, err := os.Stat(path); err == nil {
		return
	}
	var err error
	if entries, rerr := os.ReadDir(dir); rerr == nil && len(entries) >= maxForks {
		err = fmt.Errorf("%d are kept already", len(entries))
	}
	if err == nil {
		err = e.keep(path)
	}
	// The commits themselves stay in the store as long as a reference names them.
	if err == nil {
		err = a.policies.SetRef("refs/dunlin/fork/"+e.Theirs, e.Theirs)
	}
	if err != nil {
		a.log().Warn("evidence of a fork is not kept", "commit", e.Theirs, "error", one(err))
	}
	a.log().Error("fork", "mine", e.Mine, "theirs", e.Theirs, "base", e.Base)
	if kept := forksKept(a.o.Config.State); kept != "" {
		a.problem("fork", kept)
		return
	}
	a.problem("fork", e.text()+"; its evidence could not be kept, so this is told until the agent is started anew")
}

// tellForks ends the alarm of forks once their evidence was removed.
func (a *Agent) tellForks() {
	a.mu.Lock()
	told := a.problems["fork"]
	a.mu.Unlock()
	if strings.Contains(told, filepath.Join(a.o.Config.State, forkFolder)) {
		a.problem("fork", forksKept(a.o.Config.State))
	}
}

// forksKept is what to say at a start of forks seen before.
func forksKept(state string) string {
	dir := filepath.Join(state, forkFolder)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ""
	}
	for _, entry := range entries {
		var e evidence
		b, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err == nil && entry.Name() != beatEvidence && strings.HasSuffix(entry.Name(), ".json") && json.Unmarshal(b, &e) == nil {
			return e.text() + "; the evidence is in " + dir + ", remove it there once the cause is known"
		}
	}
	return ""
}

// keep writes evidence, unless it stands there.
func (e evidence) keep(path string) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if had, err := os.ReadFile(path); err == nil && string(had) == string(b) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return writeDurably(path, b)
}
