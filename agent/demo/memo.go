package demo

import (
	"context"
	"io/fs"
	"sync"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// memo evaluates the same files once for all who ask.
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
	if m.done == nil {
		m.done = map[string]*evaluated{}
	}
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
