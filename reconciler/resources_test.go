package reconciler

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestReorder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(t, "n")
		at := rapid.Permutation(slices.Collect(upTo(n))).Draw(t, "at")
		want := slices.Clone(at) // since each thing is its place
		got := slices.Collect(upTo(n))
		if reorder(got, slices.Clone(at)); !slices.Equal(got, want) {
			t.Fatalf("reorder by %v = %v", at, got)
		}
	})
}

func upTo(n int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}
