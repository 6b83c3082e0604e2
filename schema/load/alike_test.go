package load

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"cuelang.org/go/cue"
)

// alike holds each way of the loader against CUE: what is accepted CUE accepts, with the same values, and the ways agree.
func alike(t *testing.T, text string) {
	t.Helper()
	m := files(text)
	folders, refused := oracle(m)
	var first map[string]string
	var firstOK bool
	for i, h := range []how{{batch: batchSize}, {batch: 1}, {batch: 1, cueAlone: true}, {batch: batchSize, cueAlone: true}} {
		got, faults := judged(t, m, h)
		ok := len(faults) == 0
		if i == 0 {
			first, firstOK = got, ok
		} else if ok != firstOK || ok && !maps.Equal(got, first) {
			t.Errorf("%+v: %v, in the first way %v:\n%s\n%v\n%v", h, ok, firstOK, lines(faults), got, first)
		}
		if !ok {
			continue // more is refused here than by CUE
		}
		if refused != nil {
			t.Errorf("%+v: accepted, and CUE refuses it: %.200s", h, refused)
			continue
		}
		want := map[string]string{}
		for _, dir := range slices.Backward(slices.Sorted(maps.Keys(folders))) { // the folder nearest the root has an object
			maps.Copy(want, exported(t, map[string]cue.Value{dir: folders[dir]}))
		}
		if !maps.Equal(got, want) {
			for _, k := range []map[string]string{got, want} {
				for p := range k {
					if got[p] != want[p] {
						t.Errorf("%+v: %s\n got %s\nwant %s", h, p, got[p], want[p])
					}
				}
			}
		}
	}
}

// Whatever people may write otherwise than as plain objects of data, it is not accepted where CUE refuses it, and means
// what it means to CUE. testdata/unusual.txt has repositories, each with its name before it.
func TestAcceptedAsByCUE(t *testing.T) {
	b, err := os.ReadFile("testdata/unusual.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range strings.Split(string(b), "\n====\n") {
		name, rest, _ := strings.Cut(text, "\n")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alike(t, rest)
		})
	}
}
