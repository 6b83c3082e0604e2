package simulated

import (
	"context"
	"io/fs"
	"sync"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// Shared evaluates the same files once for all who ask, so that one machine need not do the work of a fleet. It is safe for
// concurrent use.
func Shared(evaluate load.Func) load.Func {
	m := &memo{from: evaluate, done: map[string]*evaluated{}}
	return m.evaluate
}

type memo struct {
	from load.Func

	mu   sync.Mutex
	done map[string]*evaluated // by digest
}

type evaluated struct {
	mu     sync.Mutex
	ok     bool
	repo   schema.Repo
	faults []schema.Fault
}

func (m *memo) evaluate(ctx context.Context, files fs.FS) (schema.Repo, []schema.Fault, error) {
	digest, err := load.Digest(files)
	if err != nil {
		return schema.Repo{}, nil, err
	}
	m.mu.Lock()
	e := m.done[digest]
	if e == nil {
		e = &evaluated{}
		m.done[digest] = e
	}
	m.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ok {
		return e.repo, e.faults, nil
	}
	repo, faults, err := m.from(ctx, files)
	if err == nil {
		e.ok, e.repo, e.faults = true, repo, faults
	}
	return repo, faults, err
}
