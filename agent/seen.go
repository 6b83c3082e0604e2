package agent

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/dunlin-dev/dunlin/reconciler/firstseen"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// Nodes tell in an order on which all agree, seenTurn after one another, since most of what one sees others have told
	// by then; those far back within seenSpread.
	seenTurn   = 2 * time.Second
	seenTurns  = 450
	seenSpread = 15 * time.Minute
)

// datesFirstSeen reports whether any baseline of a policy counts from sightings; without one nothing is noted or told.
func datesFirstSeen(r schema.Repo) bool {
	for _, b := range r.Baselines {
		if b.ReleaseDates == schema.DatesFirstSeen {
			return true
		}
	}
	return false
}

// who is a node of a policy that asks for dates.
func who(r schema.Repo, node string, now time.Time) firstseen.Who {
	w := firstseen.Who{Self: cmp.Or(node, "this host"), Now: now}
	active := map[string]bool{}
	for _, l := range r.Roster {
		if l.State == schema.NodeActive && l.ID != node {
			active[l.ID] = true
		}
	}
	w.Alone = len(active) == 0
	w.Active = func(id string) bool { return active[id] }
	return w
}

// date dates the newer versions of this host by what the fleet has seen, where its policy counts from that.
func (l Local) date(p Policy, node schema.Node, f *schema.Facts, archives []schema.Origin) {
	if !datesFirstSeen(p.Repo) {
		return
	}
	s := l.seen
	if s == nil {
		s = &seen{path: filepath.Join(l.State, seenFile), keep: l.remember}
	}
	if err := s.date(who(p.Repo, node.ID, l.Now()), f.Candidates, archives); err != nil {
		l.tell("warning: %s%s", err, asRoot(err))
	}
}

// seenStamp names what others have told, for judgements that depend on it.
func (l Local) seenStamp(p Policy) string {
	if l.seen == nil || l.seen.stamp == nil || !datesFirstSeen(p.Repo) {
		return ""
	}
	return l.seen.stamp()
}

// newSeen is the memory of an agent.
func (a *Agent) newSeen() *seen {
	return &seen{path: filepath.Join(a.o.Config.State, seenFile), keep: true, told: func() []firstseen.Told { return a.seenTold(a.keys.ID()) },
		stamp: func() string { return a.seenStamp() },
		doubt: func() string {
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.problems["clock"]
		},
	}
}

// seenTold is what all nodes but one have told.
func (a *Agent) seenTold(but string) []firstseen.Told {
	var out []firstseen.Told
	for _, r := range a.records.Of(schema.RecordSeen) {
		if v, ok := decode[schema.SeenRecord](r); ok && r.Node != but && firstseen.Valid(v) {
			out = append(out, firstseen.Told{Node: r.Node, SeenRecord: v})
		}
	}
	return out
}

// seenStamp changes when others have told something else.
func (a *Agent) seenStamp() string {
	version := a.records.Version()
	a.stampMu.Lock()
	defer a.stampMu.Unlock()
	if a.stampOf == "" || version != a.stampAt {
		h := sha256.New()
		for _, r := range a.records.Of(schema.RecordSeen) {
			if r.Node != a.keys.ID() {
				h.Write(r.Sig)
			}
		}
		a.stampAt, a.stampOf = version, hex.EncodeToString(h.Sum(nil))
	}
	return a.stampOf
}

// before gives what this node told before it started, by key.
func (s *seen) before() (map[string]schema.SeenRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.readMemory()
	return m.Told, err
}

// teller is when a node tells what it has seen. It belongs to the loop that shares.
type teller struct {
	begun bool      // what was told before this start is told again
	due   time.Time // zero: nothing is to be told
}

// tellSeen tells others what this node has seen and they have not told, in its turn.
func (a *Agent) tellSeen(t *teller) {
	p, line, active := a.inForce()
	if !active || a.uncounted || !datesFirstSeen(p.Repo) {
		return
	}
	now := time.Now()
	switch {
	case !t.begun:
	case !a.seen.untold.Load():
		t.due = time.Time{}
		return
	case t.due.IsZero():
		t.due = now.Add(a.seenDelay(p.Repo))
		return
	case now.Before(t.due):
		return
	}
	var records map[string]schema.SeenRecord
	var err error
	if t.begun {
		records, err = a.seen.tell(who(p.Repo, line.ID, a.now()))
	} else {
		records, err = a.seen.before()
	}
	text := ""
	t.begun, t.due = true, time.Time{}
	if err != nil {
		text, t.due = "what the archives have is not told to others: "+one(err), now.Add(seenSpread)
	}
	a.problem("seen", text)
	for _, key := range slices.Sorted(maps.Keys(records)) {
		a.publish(schema.RecordSeen, key, records[key])
	}
}

// seenDelay is how long this node lets others tell before it does.
func (a *Agent) seenDelay(r schema.Repo) time.Duration {
	var ids []string
	for _, l := range r.Roster {
		if l.State == schema.NodeActive {
			ids = append(ids, l.ID)
		}
	}
	turn := slices.Index(ranked("seen "+r.Fleet.Name, ids), a.keys.ID())
	if turn > seenTurns {
		return seenSpread + a.jitter(seenSpread)
	}
	return time.Duration(max(turn, 0)) * seenTurn
}

// past hears what this node told in an earlier life, of which it has no memory.
// twin says that it was another host: it has heard of this start, of which nobody knew before.
func (a *Agent) past(r schema.Record) (twin bool) {
	switch r.Kind {
	case schema.RecordSeen:
		if v, ok := decode[schema.SeenRecord](r); ok {
			a.seen.heard(v)
		}
	case schema.RecordState:
		v, ok := decode[schema.StateRecord](r)
		if ok && v.Start != a.start && v.Start != "" && len(v.Start) <= len(a.start) {
			a.above.Store(&v.Start)
		}
		return ok && v.Above == a.start && v.Start != a.start
	}
	return false
}
