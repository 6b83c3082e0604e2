package load

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A document that is a file gets the verdict and the value that CUE gives to the same data: what is said of files is said
// by the compiled definitions alone.
func TestDocumentFilesGetTheVerdictOfCUE(t *testing.T) {
	count := 700
	if raceDetector {
		count = 150
	}
	var seeds []*value
	for name, f := range folderFS(t, "testdata/documents") {
		seeds = append(seeds, readPlain(name, f.Data, nil).value)
	}
	slices.SortFunc(seeds, func(a, b *value) int { return strings.Compare(string(a.json(nil)), string(b.json(nil))) })
	r := rand.New(rand.NewPCG(1, 2))
	asFiles, asCUE := fstest.MapFS{}, fstest.MapFS{}
	taken := 0
	for i := range count {
		v := seeds[i%len(seeds)].clone()
		for range r.IntN(3) {
			mutate(r, v, seeds)
		}
		b := v.json(nil)
		asFiles[fmt.Sprintf("documents/d%04d.json", i)] = &fstest.MapFile{Data: b}
		asCUE[fmt.Sprintf("documents/d%04d.cue", i)] = &fstest.MapFile{Data: []byte(fmt.Sprintf("package fleet\ndocument: d%04d: %s\n", i, b))}
	}
	want, _ := judged(t, asCUE, how{batch: 50, cueAlone: true})
	got, _ := judged(t, asFiles, how{batch: 50})
	for i := range count {
		name := fmt.Sprintf("document.d%04d", i)
		if got[name] != want[name] {
			t.Errorf("the file gives %q, CUE %q:\n%s", got[name], want[name], asFiles[fmt.Sprintf("documents/d%04d.json", i)].Data)
		}
		if got[name] != "" {
			taken++
		}
	}
	if taken < count/5 || taken > count*4/5 {
		t.Errorf("%d of %d are taken: the test looks at one side only", taken, count)
	}
}
