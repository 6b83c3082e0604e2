package trust

import (
	"context"
	"fmt"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// memory is a Source whose objects are in memory, as a store's cache has them.
type memory struct {
	*gitRepo
	raw map[string][]byte
}

func (m memory) Commit(id string) ([]byte, error) { return m.raw[id], nil }

// BenchmarkVerify is of chains of signed commits that change one file each; the rest of the cost is the store's.
func BenchmarkVerify(b *testing.B) {
	const n = 1000
	r := newGitRepo(b, "alice")
	anchor := r.commit("", map[string]string{"fleet.cue": r.fleet(schema.Fleet{Signers: r.signers("alice=root,policy")})})
	raw, err := r.Commit(anchor)
	if err != nil {
		b.Fatal(err)
	}
	m := memory{r, map[string][]byte{anchor: raw}}
	chain := []string{anchor}
	fleet, err := r.Fleet(b.Context(), anchor)
	if err != nil {
		b.Fatal(err)
	}
	for i := range n {
		id := r.commit("alice", map[string]string{"policies/a.cue": fmt.Sprint(i)})
		if m.raw[id], err = r.Commit(id); err != nil {
			b.Fatal(err)
		}
		chain = append(chain, id)
	}
	src := constant{m, fleet}
	for _, steps := range []int{1, n} {
		b.Run(fmt.Sprintf("commits=%d", steps), func(b *testing.B) {
			for b.Loop() {
				if got, err := Verify(b.Context(), src, chain[len(chain)-1-steps], chain[len(chain)-1], r.clock); err != nil || len(got) != steps {
					b.Fatal(len(got), err)
				}
			}
		})
	}
}

// constant is a memory whose trees all differ in one file, and whose fleet is one.
type constant struct {
	memory
	fleet schema.Fleet
}

func (c constant) Changed(context.Context, string, string) ([]string, error) {
	return []string{"policies/a.cue"}, nil
}
func (c constant) Fleet(context.Context, string) (schema.Fleet, error) { return c.fleet, nil }
func (c constant) Begins(string) bool                                  { return false }
func (c constant) Ends(string) bool                                    { return false }
func (c constant) Approvals(string) ([][]byte, error)                  { return nil, nil }
