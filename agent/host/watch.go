package host

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Watched is what an agent wants to hear of at once.
type Watched struct {
	Files    []string // absolute paths of managed files
	Units    []string // names of managed units, as policies have them: "nginx" is "nginx.service"
	Ports    bool     // the firewall table that is ours
	Packages bool     // the package database
	// Log is told, as one line, what cannot be watched and is left to looking at the whole host from time to time, and
	// when that ends. nil tells nobody.
	Log func(text string)
}

// Drift is a hint that something may have changed on the host; whether it did is for a look to say.
type Drift struct {
	// Resource is "file:/etc/motd" or "service:telnet.socket", the name that the watched thing was given by; "port:",
	// "service:" and "package:" for some or all of a kind; empty for anything at all.
	Resource string
	Who      string // "nft (pid 123 of cron.service)"; empty where nobody was seen
}

const (
	driftFiles    = "file:"
	driftPorts    = "port:"
	driftUnits    = "service:"
	driftPackages = "package:"
)

const (
	// settleTime is how long a hint waits for others of the same change: an editor writes, renames and sets the mode.
	settleTime = 10 * time.Millisecond
	// packagesQuiet is how long the package database must be left alone until it is told of; a package manager at
	// work replaces it many times. packagesLongest is how long that may be put off.
	packagesQuiet   = time.Second
	packagesLongest = 10 * time.Second
	// maxHints bounds the resources that wait to be told of; with more the hint is of anything.
	maxHints = 256
)

// hints holds what watchers hear until the agent takes it: a resource waits at most once, and no watcher ever waits.
type hints struct {
	mu       sync.Mutex
	pending  map[string]string // who, by resource
	packages time.Time         // when the package database was first heard of; zero for not
	latest   time.Time         // and last

	wake chan struct{} // holds one
}

func newHints() *hints {
	return &hints{pending: map[string]string{}, wake: make(chan struct{}, 1)}
}

// tell takes a hint.
func (h *hints) tell(d Drift) {
	h.mu.Lock()
	if d.Resource == driftPackages {
		h.latest = time.Now()
		if h.packages.IsZero() {
			h.packages = h.latest
		}
	} else {
		was, there := h.pending[d.Resource]
		if !there && len(h.pending) >= maxHints {
			d.Resource, was = "", h.pending[""]
		}
		h.pending[d.Resource] = cmp.Or(d.Who, was)
	}
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// take moves what is due to lot; wait is how long until the package database is.
func (h *hints) take(lot map[string]string, now time.Time) (wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r, who := range h.pending {
		lot[r] = cmp.Or(who, lot[r])
	}
	clear(h.pending)
	if h.packages.IsZero() {
		return 0
	}
	due := h.latest.Add(packagesQuiet)
	if longest := h.packages.Add(packagesLongest); longest.Before(due) {
		due = longest
	}
	if wait = due.Sub(now); wait > 0 {
		return wait
	}
	h.packages = time.Time{}
	lot[driftPackages] = ""
	return 0
}

// start runs the watchers, and gives out what they tell, all that there is at a time. The channel is closed when ctx
// has ended and all of them have.
func (h *hints) start(ctx context.Context, watchers ...func(context.Context)) <-chan []Drift {
	out := make(chan []Drift)
	go func() {
		defer close(out)
		var all sync.WaitGroup
		for _, w := range watchers {
			all.Go(func() { w(ctx) })
		}
		h.run(ctx, out)
		all.Wait()
	}()
	return out
}

func (h *hints) run(ctx context.Context, out chan<- []Drift) {
	settled, packages := time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	defer settled.Stop()
	defer packages.Stop()
	settling := false
	lot := map[string]string{} // what the agent has not taken yet
	for {
		var to chan<- []Drift
		var ready []Drift
		if len(lot) > 0 {
			to = out
			for _, r := range slices.Sorted(maps.Keys(lot)) {
				ready = append(ready, Drift{r, lot[r]})
			}
		}
		select {
		case <-ctx.Done():
			return
		case to <- ready:
			clear(lot)
			continue
		case <-h.wake:
			if !settling {
				settling = true
				settled.Reset(settleTime)
			}
			continue
		case <-settled.C:
			settling = false
		case <-packages.C:
		}
		if wait := h.take(lot, time.Now()); wait > 0 {
			packages.Reset(wait)
		}
	}
}

// logger is Watched.Log, or silence.
func (w Watched) logger() func(string) {
	if w.Log == nil {
		return func(string) {}
	}
	return w.Log
}

// wholeUnit is the whole name of a unit.
func wholeUnit(key string) string {
	switch key[strings.LastIndexByte(key, '.')+1:] {
	case "service", "socket", "timer", "path", "target", "mount", "automount", "swap", "slice", "scope", "device":
		return key
	}
	return key + ".service"
}

// unitsWatched are the hints for the units of w, by the units' whole names.
func unitsWatched(w Watched) map[string]string {
	out := make(map[string]string, len(w.Units))
	for _, u := range w.Units {
		out[wholeUnit(u)] = driftUnits + u
	}
	return out
}
