package agent

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"
)

// ranked orders nodes by rendezvous hash (highest random weight): all who know the same nodes agree on the order, and
// a node that comes or goes moves no other.
func ranked(purpose string, ids []string) []string {
	type weighed struct {
		id     string
		weight uint64
	}
	all := make([]weighed, len(ids))
	for i, id := range ids {
		sum := sha256.Sum256([]byte(purpose + "\x00" + id))
		all[i] = weighed{id, binary.BigEndian.Uint64(sum[:8])}
	}
	slices.SortFunc(all, func(a, b weighed) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(a.id, b.id))
	})
	out := make([]string, len(ids))
	for i, w := range all {
		out[i] = w.id
	}
	return out
}

// here are this node and all active ones that are online.
func (a *Agent) here() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := []string{a.keys.ID()}
	for id := range a.online {
		if _, active := a.pins[id]; active && id != a.keys.ID() {
			out = append(out, id)
		}
	}
	return out
}

// inTurn are the nodes that are here, in the order in which they ask the remote. One that cannot read it does not count,
// so that the next takes its place; this node itself is judged by what it said last, as others see it.
func (a *Agent) inTurn() []string {
	told := a.headsTold()
	return slices.DeleteFunc(ranked("fetch "+a.fleet().Name, a.here()), func(id string) bool { return told[id].Error != "" })
}

// turns are the nodes that ask the remote now.
func (a *Agent) turns() []string {
	order := a.inTurn()
	return order[:min(len(order), max(a.fleet().Sync.Fetchers, 1))]
}

// notMyTurn is how long to wait before looking again where others ask the remote; 0 where this node does.
//
// A node that could not read the remote when it last tried goes on trying, at the pace of its back-off: it cannot know
// that the others can.
func (a *Agent) notMyTurn() time.Duration {
	a.mu.Lock()
	never, failing := a.remote.LastRead.IsZero() && a.policy == nil, a.remote.Error != ""
	a.mu.Unlock()
	if never || failing || slices.Contains(a.turns(), a.keys.ID()) {
		return 0
	}
	return a.interval() + a.jitter(a.interval())
}

// untilMyTurn staggers those who ask: of three, each asks a third of the interval after the one before, so that between two questions
// there is a third of it and hardly more. Each fleet has a phase of its own, lest all fleets of a forge ask in the same second.
func (a *Agent) untilMyTurn(interval time.Duration) time.Duration {
	turns := a.turns()
	rank := max(slices.Index(turns, a.keys.ID()), 0)
	offset := phase(a.fleet().Name, interval) + interval*time.Duration(rank)/time.Duration(max(len(turns), 1))
	now := time.Now()
	next := now.Truncate(interval).Add(offset)
	for next.Sub(now) >= interval*3/2 {
		next = next.Add(-interval)
	}
	for next.Sub(now) < interval/2 {
		next = next.Add(interval)
	}
	return next.Sub(now) + a.jitter(interval/100)
}

// phase is where in the interval a fleet's first question is.
func phase(fleet string, interval time.Duration) time.Duration {
	sum := sha256.Sum256([]byte("phase " + fleet))
	return time.Duration(float64(interval) * float64(binary.BigEndian.Uint32(sum[:4])) / (1 << 32))
}

// isCommit reports whether s is a full hash.
func isCommit(s string) bool {
	if len(s) != 40 && len(s) != 64 {
		return false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
