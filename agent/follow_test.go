package agent

import (
	"slices"
	"testing"
)

func TestSomeAreAFewFromAnyPlace(t *testing.T) {
	all := []string{"a", "b", "c", "d", "e"}
	for _, tt := range []struct {
		most   int
		random float64
		want   []string
	}{
		{2, 0, []string{"a", "b"}},
		{3, 0.99, []string{"e", "a", "b"}},
		{9, 0.4, []string{"c", "d", "e", "a", "b"}},
		{0, 0.4, nil},
	} {
		if got := some(all, tt.most, tt.random); !slices.Equal(got, tt.want) {
			t.Errorf("some(%d, %v) = %q, want %q", tt.most, tt.random, got, tt.want)
		}
	}
	if got := some(nil, 3, 0.99); len(got) != 0 {
		t.Errorf("of none: %q", got)
	}
	if all[0] != "a" || all[4] != "e" {
		t.Errorf("the list is changed: %q", all)
	}
}
