package load

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// adversarial are small repositories that try to part the loader from CUE.
func adversarial(t testing.TB) (names []string, repos map[string]fstest.MapFS) {
	t.Helper()
	b, err := os.ReadFile("testdata/adversarial/packages.txt")
	if err != nil {
		t.Fatal(err)
	}
	repos = map[string]fstest.MapFS{}
	for part := range strings.SplitSeq("\n"+string(b), "\n=== ") {
		name, text, ok := strings.Cut(part, "\n")
		if !ok || name == "" {
			continue
		}
		m := files(text)
		m["cue.mod/module.cue"] = &fstest.MapFile{Data: []byte("module: \"" + module + "@v0\"\nlanguage: version: \"v0.15.0\"\n")}
		if m["fleet.cue"] == nil {
			m["fleet.cue"] = &fstest.MapFile{Data: []byte("package fleet\nfleet: name: \"acme\"\n")}
		}
		for name, f := range m {
			if strings.HasPrefix(name, "lib/") {
				f.Data = append([]byte("package words\n"), f.Data...)
			}
		}
		names = append(names, name)
		repos[name] = m
	}
	return names, repos
}

// Whichever way the loader goes, it has CUE's verdict and CUE's values; it refuses more only where the language does.
func TestAdversarialPackages(t *testing.T) {
	names, repos := adversarial(t)
	if len(names) < 120 {
		t.Errorf("only %d packages", len(names))
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			m := repos[name]
			folders, err := oracle(m)
			want := map[string]string{}
			if err == nil {
				want = exported(t, folders)
			}
			for _, h := range []how{{batch: 250}, {batch: 1}, {batch: 250, cueAlone: true}, {batch: 1, cueAlone: true}} {
				got, faults := judged(t, m, h)
				switch more := strings.HasSuffix(name, "(more is refused)"); {
				case err != nil && len(faults) == 0:
					t.Errorf("%+v: no fault; CUE: %v", h, err)
				case err == nil && len(faults) > 0 && !more:
					t.Errorf("%+v: %sCUE has nothing against it", h, lines(faults))
				case err == nil && len(faults) == 0 && more:
					t.Errorf("%+v: nothing more is refused", h)
				case err == nil && len(faults) == 0 && !maps.Equal(got, want):
					t.Errorf("%+v: %s", h, difference(got, want))
				}
			}
		})
	}
}

func difference(got, want map[string]string) string {
	var b strings.Builder
	all := maps.Clone(got)
	maps.Copy(all, want)
	for k := range all {
		if got[k] != want[k] {
			fmt.Fprintf(&b, "%s:\n\t%s\n\tCUE: %s\n", k, got[k], want[k])
		}
	}
	return b.String()
}
