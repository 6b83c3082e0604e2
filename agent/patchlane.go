package agent

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// refreshEvery is how old the archives' lists may be inside a window.
	refreshEvery = time.Hour
	// clockAgain is how soon others are looked for again to hold the clock against; it doubles up to clockAgainMost. They come
	// when they come, and until the next whole minute may be long where half a fleet has just started.
	clockAgain     = time.Second
	clockAgainMost = 10 * time.Second
	// settleAgain is how soon a transaction is settled again that could not be; it doubles up to a period.
	settleAgain = 2 * time.Second
	// retryPatches is how long after a try that left patches missing the same are tried again.
	retryPatches = 15 * time.Minute
)

// patchLane installs patches inside windows, beside the lane that keeps everything else right.
type patchLane struct {
	wake signal
	why  string // nothing was begun when the lane looked last; of its loop

	mu    sync.Mutex
	busy  bool
	tried tried
}

// tried is what the lane did last, so that it does not do it again every minute.
type tried struct {
	window    string
	start     time.Time // of the opening
	commit    string
	missing   string // digest of what was to be installed
	at        time.Time
	refreshed time.Time
}

func (p *patchLane) isBusy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy
}

func (p *patchLane) setBusy(busy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = busy
}

// consider wakes the lane where there is something to do for it.
func (p *patchLane) consider(plan schema.Plan, commit string, now time.Time) {
	p.mu.Lock()
	due := !p.busy && patchesDue(plan, p.tried, commit, now)
	p.mu.Unlock()
	if due {
		p.wake.raise()
	}
}

// patchesDue reports whether the lane has work: a window is open and its lists were not read yet, or there is something
// to install that was not tried just now.
func patchesDue(plan schema.Plan, t tried, commit string, now time.Time) bool {
	o := plan.Patching.Opening
	if o == nil || !now.Before(o.NoNewWork) {
		return false
	}
	if t.window != o.Window || !t.start.Equal(o.Start) || t.commit != commit || now.Sub(t.refreshed) >= refreshEvery {
		return true
	}
	missing := missingDigest(plan)
	return missing != "" && (missing != t.missing || now.Sub(t.at) >= retryPatches)
}

// missingDigest names what could be installed now; empty where nothing can.
func missingDigest(plan schema.Plan) string {
	sum := sha256.New()
	any := false
	for _, r := range plan.Resources {
		if r.Kind == schema.KindPatch && r.Wait == "" && r.Patch != nil {
			any = true
			sum.Write([]byte(r.Patch.ID + "\x00" + r.Patch.Package.Version + "\n"))
		}
	}
	if !any {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// patch is the lane's loop. A transaction that an earlier agent began is over before anything else is installed.
func (a *Agent) patch(ctx context.Context) error {
	j := sharedJournal{dir: filepath.Join(a.o.Config.State, patchJournal), now: a.now}
	defer j.close()
	a.patches.setBusy(true)
	for wait := settleAgain; ; wait = min(2*wait, period) {
		err := a.localFor("patch").Packages.Settle(ctx)
		a.pulses.idle("patch")
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			break
		}
		a.problem("patch", "a transaction of an earlier agent is not settled, so no package is touched: "+one(err))
		if !sleep(ctx, wait) {
			return nil
		}
	}
	a.problem("patch", "")
	a.patches.setBusy(false)
	a.passes.raise()
	clocks, wait := time.NewTimer(period), time.Duration(0)
	clocks.Stop()
	defer clocks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.patches.wake:
		case <-clocks.C:
		}
		a.pulses.busy("patch")
		tried := a.install(ctx, &j)
		if clocks.Stop(); a.patches.why == clockUnknown {
			wait = min(max(2*wait, clockAgain), clockAgainMost)
			clocks.Reset(wait)
		} else {
			wait = 0
		}
		a.pulses.idle("patch")
		a.patches.setBusy(false)
		if tried {
			a.passes.raise()
		} // else the next pass wakes it again, and one at once would do so at once
	}
}

// install is one go at the patches of the window that is open. It reports whether it came so far as to try.
func (a *Agent) install(ctx context.Context, j *sharedJournal) (tried bool) {
	policy, line, ok := a.inForce()
	if !ok {
		return false
	}
	why := cmp.Or(a.trustClock(ctx), a.startsNothing())
	if why != "" && why != a.patches.why {
		a.log().Warn("no patch is installed", "reason", why)
	}
	if a.patches.why = why; why != "" {
		return false
	}
	a.patches.setBusy(true)
	l := a.localFor("patch")
	plan, err := l.PlanAgain(ctx, policy, line.Node(), true)
	if err != nil || plan.Patching.Opening == nil || !l.Ceiling.Packages {
		return false
	}
	o := plan.Patching.Opening
	now := a.now()
	a.patches.mu.Lock()
	t := a.patches.tried
	a.patches.mu.Unlock()
	if t.window != o.Window || !t.start.Equal(o.Start) || now.Sub(t.refreshed) >= refreshEvery {
		if plan, err = l.refreshed(ctx, policy, line.Node(), plan); err != nil {
			return false
		}
		t.refreshed = now
	}
	t.window, t.start, t.commit, t.at, t.missing = o.Window, o.Start, policy.Commit, now, missingDigest(plan)
	a.patches.mu.Lock()
	a.patches.tried = t
	a.patches.mu.Unlock()
	if p := plan.Patching.Problem; p != "" {
		a.problem("patch", p)
		return true
	}
	a.problem("patch", "")
	if t.missing == "" {
		return true
	}
	jj, err := j.open()
	if err != nil {
		a.problem("patch", "no patch is installed, since it cannot be written down: "+one(err))
		return true
	}
	only := plan
	only.Restart, only.Resources = nil, nil
	for _, r := range plan.Resources {
		if r.Kind == schema.KindPatch {
			only.Resources = append(only.Resources, r)
		}
	}
	v := l.vault(policy, only.Node)
	pass := l.pass(policy, only, jj, v)
	pass.Kinds = map[schema.Kind]reconciler.Kind{schema.KindPatch: pass.Kinds[schema.KindPatch]}
	pass.Progress = a.tell
	a.log().Info("installing patches", "window", o.Window, "until", o.End)
	changes, err := v.converge(ctx, pass, only)
	if err != nil && ctx.Err() == nil {
		j.close()
		a.problem("patch", "patching ended early: "+one(err))
	}
	failed := 0
	for _, c := range changes {
		if c.Result == schema.Failed {
			failed++
		}
	}
	a.log().Info("patches installed", "window", o.Window, "changes", len(changes), "failed", failed)
	return true
}

// startsNothing says why nothing may begin on this host whose moment matters: its clock or its identity is in doubt.
func (a *Agent) startsNothing() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, source := range []string{"clock", "clone"} {
		if p := a.problems[source]; p != "" {
			return p
		}
	}
	return ""
}
