package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

const (
	// patience is how long a loop that works may show no sign of life before it counts as hung. Whatever may take
	// longer says so beforehand.
	patience = 10 * time.Minute
	// txPatience is for package transactions: their own deadline, and as much again for the locks of others and
	// for what an earlier agent began.
	txPatience = 2 * host.DefaultDeadline
	// checkup is how often the loops are looked at where no service manager asks for it.
	checkup = time.Minute
)

// pulses knows of each loop that works when it must show itself again. A loop that waits for something to do is well.
type pulses struct {
	mu  sync.Mutex
	due map[string]time.Time
}

// expect says that the loop works, and shows itself again within d.
func (p *pulses) expect(loop string, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.due == nil {
		p.due = map[string]time.Time{}
	}
	p.due[loop] = time.Now().Add(d)
}

func (p *pulses) busy(loop string) { p.expect(loop, patience) }

// idle says that the loop waits for something to do.
func (p *pulses) idle(loop string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.due, loop)
}

// hung names the loops that should have shown themselves by now.
func (p *pulses) hung(now time.Time) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for loop, due := range p.due {
		if now.After(due) {
			out = append(out, loop)
		}
	}
	slices.Sort(out)
	return out
}

// attend tells the service manager how the agent fares: that it lives, only while every loop does, and what it does in a
// line for people. All of that is said from here, so that a manager that does not listen holds up no other loop.
func (a *Agent) attend(ctx context.Context) error {
	every := checkup
	if a.o.Watchdog > 0 {
		every = max(a.o.Watchdog/3, time.Millisecond)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	said, ill := "", false
	for {
		// It waits for the lock that all loops use: one that is never given back is a hang too.
		if text := a.statusText(); text != said {
			a.notify("STATUS=" + text)
			said = text
		}
		hung := a.pulses.hung(time.Now())
		switch {
		case len(hung) == 0:
			ill = false
			if a.o.Watchdog > 0 {
				a.notify("WATCHDOG=1")
			}
		case !ill:
			ill = true
			a.log().Error("a loop hangs, so the service manager is no longer told that the agent lives", "loops", hung)
		}
		select {
		case <-ctx.Done():
			// What begins anew does not stop: systemd would end the process a while after such a word, READY=1 or not.
			if !errors.Is(context.Cause(ctx), ErrAgain) {
				a.notify("STOPPING=1")
			}
			return nil
		case <-tick.C:
		case <-a.told:
		}
	}
}

// statusText is the agent in one line.
func (a *Agent) statusText() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var b strings.Builder
	switch {
	case a.policy == nil && a.remote.Error != "":
		b.WriteString("no policy yet, and the remote cannot be read: " + a.remote.Error)
	case a.policy == nil:
		b.WriteString("no policy yet")
	default:
		fmt.Fprintf(&b, "%s in force", short(a.policy.Commit))
		if a.account.Commit == a.policy.Commit && a.account.Compliance != "" && a.account.Compliance != schema.UnspecifiedData {
			fmt.Fprintf(&b, ", %s", a.account.Compliance)
		}
		if a.cluster != nil {
			online := 1
			for id := range a.online {
				if _, active := a.pins[id]; active && id != a.keys.ID() {
					online++
				}
			}
			fmt.Fprintf(&b, ", %d of %d nodes online", online, len(a.pins))
		}
		if a.refused != nil {
			fmt.Fprintf(&b, "; %s refused", short(a.refused.Commit))
		}
		if a.remote.Error != "" {
			b.WriteString("; the remote cannot be read: " + a.remote.Error)
		}
	}
	for _, p := range a.problemTexts() {
		b.WriteString("; " + p)
	}
	return oneLine(b.String())
}

// oneLine takes a text's control characters away: a line that begins with a name of its own would be another word to the
// service manager (sd_notify(3)), and paths and names of processes may have one.
func oneLine(text string) string { return safe.Words(text, 4<<10) }

// livingHost shows that a lane lives with each call that may take long; there may be many in one pass.
type livingHost struct {
	reconciler.Host
	busy func()
}

func (h livingHost) LookFiles(ctx context.Context, rs []schema.Resource, found func(int, schema.File, schema.Blob, error)) {
	h.busy()
	h.Host.LookFiles(ctx, rs, func(i int, got schema.File, blob schema.Blob, err error) {
		h.busy()
		found(i, got, blob, err)
	})
}

func (h livingHost) WriteFile(ctx context.Context, path string, want schema.File, content []byte) error {
	h.busy()
	return h.Host.WriteFile(ctx, path, want, content)
}

func (h livingHost) StartUnit(ctx context.Context, name string) error {
	h.busy()
	return h.Host.StartUnit(ctx, name)
}

func (h livingHost) StopUnit(ctx context.Context, name string) error {
	h.busy()
	return h.Host.StopUnit(ctx, name)
}

func (h livingHost) RestartUnit(ctx context.Context, name string) error {
	h.busy()
	return h.Host.RestartUnit(ctx, name)
}

func (h livingHost) EnableUnit(ctx context.Context, name string) error {
	h.busy()
	return h.Host.EnableUnit(ctx, name)
}

func (h livingHost) DisableUnit(ctx context.Context, name string) error {
	h.busy()
	return h.Host.DisableUnit(ctx, name)
}

func (h livingHost) CreateUser(ctx context.Context, name string, want schema.User) error {
	h.busy()
	return h.Host.CreateUser(ctx, name, want)
}

func (h livingHost) ChangeUser(ctx context.Context, name string, want schema.User) error {
	h.busy()
	return h.Host.ChangeUser(ctx, name, want)
}

func (h livingHost) DeleteUser(ctx context.Context, name string) error {
	h.busy()
	return h.Host.DeleteUser(ctx, name)
}

// manager is Packages by a name that is not one of its methods.
type manager interface{ Packages }

// livingPackages is livingHost for the package manager, whose work takes as long as it takes.
type livingPackages struct {
	manager
	busy   func()
	expect func(time.Duration)
}

func (p livingPackages) Prepare(ctx context.Context, refresh bool) (schema.Prepared, error) {
	p.expect(txPatience)
	defer p.busy()
	return p.manager.Prepare(ctx, refresh)
}

func (p livingPackages) Transact(ctx context.Context, tx schema.Transaction) (schema.TransactionResult, error) {
	p.expect(txPatience)
	defer p.busy()
	return p.manager.Transact(ctx, tx)
}

func (p livingPackages) Settle(ctx context.Context) error {
	p.expect(txPatience)
	defer p.busy()
	return p.manager.Settle(ctx)
}

func (p livingPackages) Simulate(ctx context.Context, tx schema.Transaction) (schema.Simulation, error) {
	p.busy()
	defer p.busy()
	return p.manager.Simulate(ctx, tx)
}

// localFor is the host as one lane uses it.
func (a *Agent) localFor(lane string) Local {
	l := a.o.Local
	busy := func() { a.pulses.busy(lane) }
	l.Host = livingHost{l.Host, busy}
	l.Packages = livingPackages{l.Packages, busy, func(d time.Duration) { a.pulses.expect(lane, d) }}
	return l
}
