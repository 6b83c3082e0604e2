package transaction

import (
	"context"
	"errors"
	"slices"

	"github.com/dunlin-dev/dunlin/schema"
)

// maxSimulations bounds the search for the packages that are to blame. One simulation takes apt
// 0.2 to 1 s.
const maxSimulations = 200

// splitter finds the largest part of a set that it can, of which the simulation is allowed.
type splitter struct {
	engine   Engine
	have     packages
	base     schema.Transaction
	errs     []error
	accepted []item
	count    int
}

// split returns the items that may run together and sets the error of the others. Its own error
// means that nothing could be simulated at all.
func (e Engine) split(ctx context.Context, base schema.Transaction, items []item, errs []error) ([]item, error) {
	if len(items) == 0 {
		return nil, nil
	}
	have, err := e.look(ctx)
	if err != nil {
		return nil, err
	}
	s := splitter{engine: e, have: have, base: base, errs: errs}
	items = slices.Clone(items)
	bySource(items)
	bad, err := s.grow(ctx, items)
	// A package may fail alone because it needs another version of one that was accepted later.
	for pass := 0; err == nil && len(bad) > 0 && pass < 2; pass++ {
		before := len(s.accepted)
		var still []item
		for _, it := range bad {
			more, e := s.grow(ctx, []item{it})
			if e != nil {
				return nil, e
			}
			still = append(still, more...)
		}
		bad = still
		if len(s.accepted) == before {
			break
		}
	}
	return s.accepted, err
}

// grow accepts what it can of items and returns the others.
func (s *splitter) grow(ctx context.Context, items []item) ([]item, error) {
	why, err := s.try(ctx, items)
	if err != nil {
		return nil, err
	}
	if why == nil {
		s.accepted = append(s.accepted, items...)
		for _, it := range items {
			s.errs[it.index] = nil
		}
		return nil, nil
	}
	if len(items) == 1 {
		s.errs[items[0].index] = items[0].wrap(why)
		return items, nil
	}
	blamed, others := partition(items, blame(why))
	if len(blamed) == 0 || len(others) == 0 {
		mid := middle(items)
		others, blamed = items[:mid], items[mid:]
	}
	bad, err := s.grow(ctx, others)
	if err != nil {
		return nil, err
	}
	more, err := s.grow(ctx, blamed)
	return append(bad, more...), err
}

// try simulates what is accepted with items. why is the refusal, the package manager's or ours;
// err means that there was no answer.
func (s *splitter) try(ctx context.Context, items []item) (why, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.count++; s.count > maxSimulations {
		return errors.New("not tried: too many packages of this set cannot be installed"), nil
	}
	tx := with(with(s.base, s.accepted), items)
	sim, err := s.engine.Host.Simulate(ctx, tx)
	var no *schema.SimulationError
	switch {
	case errors.As(err, &no):
		return no, nil
	case err != nil:
		return nil, err
	}
	return Refuse(tx, sim, s.have.all, s.engine.Blocked), nil
}

// blame lists the names of packages that a refusal is about.
func blame(why error) []string {
	var no *schema.SimulationError
	var refusal *Refusal
	switch {
	case errors.As(why, &no):
		return no.Packages
	case errors.As(why, &refusal):
		return refusal.Packages
	}
	return nil
}

// partition parts items by whether their name is in names.
func partition(items []item, names []string) (in, out []item) {
	for _, it := range items {
		if slices.Contains(names, it.ref.Name) {
			in = append(in, it)
		} else {
			out = append(out, it)
		}
	}
	return in, out
}
