// Package fight notices when something else keeps changing back what a policy
// wants: three corrections of one resource within a minute are a fight.
//
// A host that corrects a fighting resource for ever burns its time and hides
// the cause. So the resource is left alone for a while, which grows with each
// round, and who does it is told.
package fight

import (
	"cmp"
	"slices"
	"time"
)

const (
	// Corrections within Window make a fight.
	Corrections = 3
	Window      = time.Minute
	// FirstTruce is how long a resource is left alone after the first round; it doubles with each, up to LongestTruce.
	FirstTruce   = time.Minute
	LongestTruce = 15 * time.Minute
	// Forget is how long without corrections ends the memory of a fight.
	Forget = 30 * time.Minute
	// maxResources bounds what is remembered; the one that was quiet longest goes first.
	maxResources = 4096
)

// Fight is a resource that is left alone for now.
type Fight struct {
	Resource    string
	Who         string    // who was seen changing it last; empty where nobody was seen
	Since       time.Time // first correction
	Corrections int       // since then
	Until       time.Time // when it is corrected again
}

// Tracker remembers corrections. Its zero value is ready; it is not safe for concurrent use.
type Tracker struct {
	of map[string]*history
}

type history struct {
	recent []time.Time // at most Corrections, oldest first
	since  time.Time
	last   time.Time
	count  int
	who    string
	truce  time.Duration
	until  time.Time
}

// Corrected notes that a resource was made right again at now; who did it may be empty.
func (t *Tracker) Corrected(resource, who string, now time.Time) {
	if t.of == nil {
		t.of = map[string]*history{}
	}
	h := t.of[resource]
	if h == nil || h.over(now) {
		if len(t.of) >= maxResources {
			t.drop(now)
		}
		h = &history{since: now}
		t.of[resource] = h
	}
	h.last, h.count = now, h.count+1
	h.who = cmp.Or(who, h.who)
	h.recent = append(h.recent, now)
	if len(h.recent) > Corrections {
		h.recent = slices.Delete(h.recent, 0, len(h.recent)-Corrections)
	}
	if len(h.recent) == Corrections && now.Sub(h.recent[0]) <= Window {
		h.truce = min(max(2*h.truce, FirstTruce), LongestTruce)
		h.until = now.Add(h.truce)
		h.recent = h.recent[:0]
	} else if h.truce > 0 && !now.Before(h.until) {
		// The first correction after a truce shows that the other has not given up: one is enough.
		h.truce = min(2*h.truce, LongestTruce)
		h.until = now.Add(h.truce)
		h.recent = h.recent[:0]
	}
}

// Allowed reports whether the resource may be corrected at now.
func (t *Tracker) Allowed(resource string, now time.Time) bool {
	h := t.of[resource]
	return h == nil || !now.Before(h.until)
}

// Fights are the resources that are left alone at now, by name.
func (t *Tracker) Fights(now time.Time) []Fight {
	var out []Fight
	for name, h := range t.of {
		if now.Before(h.until) {
			out = append(out, Fight{Resource: name, Who: h.who, Since: h.since, Corrections: h.count, Until: h.until})
		}
	}
	slices.SortFunc(out, func(a, b Fight) int { return cmp.Compare(a.Resource, b.Resource) })
	return out
}

// over reports whether a fight is so long past that it is forgotten.
func (h *history) over(now time.Time) bool { return now.Sub(h.last) >= Forget && !now.Before(h.until) }

// drop forgets what is past, and of too many others the quarter that was quiet longest: with one at a time a flood of
// resources would look through all of them each time.
func (t *Tracker) drop(now time.Time) {
	names := make([]string, 0, len(t.of))
	for name, h := range t.of {
		if h.over(now) {
			delete(t.of, name)
			continue
		}
		names = append(names, name)
	}
	if len(names) < maxResources {
		return
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(t.of[a].last.Compare(t.of[b].last), cmp.Compare(a, b))
	})
	for _, name := range names[:maxResources/4] {
		delete(t.of, name)
	}
}
