// Package transaction decides what of a wanted set of package changes may run,
// and tells what became of each.
//
// Whatever is asked for is simulated by the package manager first. A simulation
// that would remove essential packages, more packages than allowed, change held
// ones, go back to an older version, bring a blocked package or another version
// than the approved one is refused. When the whole set cannot go, the packages
// that are to blame are found and the others go without them.
//
// What became of a package is judged by looking at it afterwards; the package
// manager's exit code and words only explain it.
package transaction

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dunlin-dev/dunlin/schema"
)

// maxRounds bounds how often the rest of a set is tried again after a part of it failed half way.
const maxRounds = 16

// Host is the package manager of a host.
type Host interface {
	// Prepare waits for, or takes up, a transaction that still runs, and finishes what the package
	// manager left half done. With refresh it reads the archives' lists anew first.
	Prepare(ctx context.Context, refresh bool) (schema.Prepared, error)
	// Packages lists what the package manager's database holds, packages of the host's own
	// architecture first.
	Packages(ctx context.Context) ([]schema.PackageStatus, error)
	// Simulate says what tx would do. It returns a *schema.SimulationError where the package
	// manager says no.
	Simulate(ctx context.Context, tx schema.Transaction) (schema.Simulation, error)
	// Transact does tx and returns when it has ended. A ctx that ends does not end a transaction
	// that has begun: it goes on by itself and the next Prepare takes it up.
	Transact(ctx context.Context, tx schema.Transaction) (schema.TransactionResult, error)
	// Record keeps why a package was not installed, where no Transact was begun for it.
	Record(ctx context.Context, ref schema.PackageRef, reason string) error
}

// Engine does transactions on a host.
type Engine struct {
	Host Host
	// Refresh reads the archives' lists anew before each transaction.
	Refresh bool
	// Blocked says why a version of a package must not come to the host even as a dependency;
	// empty where it may. nil blocks nothing.
	Blocked func(schema.PackageRef) string
}

// Apply does as much of tx as may be done. It returns an error or nil for each of tx.Install and
// then each of tx.Remove, in their order. When ctx ends, nothing new is begun.
func (e Engine) Apply(ctx context.Context, tx schema.Transaction) []error {
	items := itemsOf(tx)
	errs := make([]error, len(items))
	if len(items) == 0 {
		return errs
	}
	fail := func(err error) []error {
		failAll(items, err, errs)
		return errs
	}
	note, err := e.prepare(ctx)
	if err != nil {
		return fail(err)
	}
	have, err := e.look(ctx)
	if err != nil {
		return fail(err)
	}
	var open []item
	for _, it := range items {
		switch st, found := have.find(it.ref); {
		case it.done(have):
		case found && st.Held:
			errs[it.index] = it.wrap(errHeld)
		default:
			open = append(open, it)
		}
	}
	base := schema.Transaction{MaxRemovals: tx.MaxRemovals}
	todo, err := e.split(ctx, base, open, errs)
	if err != nil {
		for _, it := range open {
			if errs[it.index] == nil {
				errs[it.index] = it.wrap(err)
			}
		}
		return errs
	}
	for _, it := range items {
		if err := errs[it.index]; err != nil && !it.remove {
			// A reason that cannot be kept only makes a later report poorer; it is returned all the same.
			_ = e.Host.Record(ctx, it.ref, errors.Unwrap(err).Error())
		}
	}
	e.run(ctx, base, todo, errs)
	if note != "" {
		for i, err := range errs {
			if err != nil {
				errs[i] = fmt.Errorf("%w (%s)", err, note)
			}
		}
	}
	return errs
}

// errHeld is the reason of a package that the host's own people hold at its version.
var errHeld = errors.New("held at its version on this host; `apt-mark unhold` lets it go")

// prepare gets the package manager into a state in which it can work. The note explains later
// failures: what could not be mended or read.
func (e Engine) prepare(ctx context.Context) (note string, err error) {
	prep, err := e.Host.Prepare(ctx, e.Refresh)
	if err != nil {
		return "", err
	}
	for _, w := range prep.Warnings {
		note = join(note, w)
	}
	if len(prep.Broken) == 0 {
		return note, nil
	}
	mend := schema.Transaction{Mend: true}
	sim, err := e.Host.Simulate(ctx, mend)
	if err != nil {
		return join(note, "half-installed packages cannot be mended: "+err.Error()), nil
	}
	if len(sim.Steps) == 0 { // nothing is missing: the package's own script fails, and is tried again with the others
		return note, nil
	}
	have, err := e.look(ctx)
	if err != nil {
		return note, err
	}
	if err := Refuse(mend, sim, have.all, e.Blocked); err != nil {
		return join(note, "half-installed packages are left as they are: "+err.Error()), nil
	}
	mend.Removals = removes(sim)
	if err := ctx.Err(); err != nil {
		return note, err
	}
	res, err := e.Host.Transact(ctx, mend)
	if err != nil {
		return note, err
	}
	if res.Failure != "" {
		note = join(note, "mending half-installed packages: "+res.Failure)
	}
	return note, nil
}

// run transacts the items and sets the error of each that is not as wanted afterwards. What was
// not tried because another package failed is tried again without that one. Each part is simulated
// anew right before: the host is no longer what it was.
func (e Engine) run(ctx context.Context, base schema.Transaction, todo []item, errs []error) {
	queue := [][]item{todo}
	for round := 0; len(queue) > 0; round++ {
		set := queue[0]
		queue = queue[1:]
		if len(set) == 0 {
			continue
		}
		if round > 0 {
			var err error
			whole := set
			if set, err = e.split(ctx, base, set, errs); err != nil {
				failAll(whole, err, errs)
				continue
			}
			if len(set) == 0 {
				continue
			}
		}
		rest, res, err := e.transact(ctx, base, set, errs)
		if err != nil {
			failAll(set, err, errs)
			continue
		}
		switch {
		case len(rest) == 0:
		case res.Final || len(set) == 1 || round >= maxRounds:
			why := res.Failure
			if why == "" {
				why = "the package manager ended well, but the package is not as it should be"
			}
			if res.Log != "" {
				why += " (see " + res.Log + ")"
			}
			failAll(rest, errors.New(why), errs)
		case len(rest) < len(set): // some went or failed by themselves: the others again
			queue = append(queue, rest)
		default: // nobody is to blame by name
			mid := middle(rest)
			queue = append(queue, rest[:mid], rest[mid:])
		}
	}
}

// transact does one set and looks what became of it. rest are the items that are neither as wanted
// nor blamed by the package manager.
func (e Engine) transact(ctx context.Context, base schema.Transaction, set []item, errs []error) (rest []item, res schema.TransactionResult, err error) {
	have, err := e.look(ctx)
	if err != nil {
		return nil, res, err
	}
	tx := with(base, set)
	sim, err := e.Host.Simulate(ctx, tx)
	if err != nil {
		return nil, res, err
	}
	if err := Refuse(tx, sim, have.all, e.Blocked); err != nil {
		return nil, res, err
	}
	tx.Removals = removes(sim)
	if err := ctx.Err(); err != nil {
		return nil, res, fmt.Errorf("not begun: %w", err)
	}
	if res, err = e.Host.Transact(ctx, tx); err != nil {
		return nil, res, err
	}
	if have, err = e.look(ctx); err != nil {
		return nil, res, err
	}
	for _, it := range set {
		switch words := res.Words[it.ref.Name]; {
		case it.done(have):
			errs[it.index] = nil
		case words != "":
			errs[it.index] = it.wrap(errors.New(words))
		default:
			rest = append(rest, it)
		}
	}
	return rest, res, nil
}

func failAll(set []item, err error, errs []error) {
	for _, it := range set {
		errs[it.index] = it.wrap(err)
	}
}

func removes(sim schema.Simulation) bool {
	return slices.ContainsFunc(sim.Steps, func(st schema.SimulatedStep) bool { return st.Action == schema.Remove })
}

// look reads the host's packages.
func (e Engine) look(ctx context.Context) (packages, error) {
	all, err := e.Host.Packages(ctx)
	if err != nil {
		return packages{}, err
	}
	return index(all), nil
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
