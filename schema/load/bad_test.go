package load

import (
	"context"
	"io/fs"
	"maps"
	"os"
	slash "path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dunlin-dev/dunlin/schema"
)

// language is the loader of a build that implements everything.
func language() Func {
	return InProcess(times(Options{Limits: schema.EnforcedAll()}))
}

// thisBuild is the loader of this build.
func thisBuild() Func {
	return InProcess(Options{Limits: schema.NotEnforced()})
}

// folderFS reads a folder of testdata into memory.
func folderFS(t testing.TB, dir string) fstest.MapFS {
	t.Helper()
	m := fstest.MapFS{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(slash.Join(dir, name))
		m[name] = &fstest.MapFile{Data: b}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// faultsOf loads a tree and leaves the warnings out.
func faultsOf(t testing.TB, load Func, m fs.FS) []schema.Fault {
	t.Helper()
	_, faults, err := load(context.Background(), m)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(faults, func(f schema.Fault) bool { return f.Severity == schema.SeverityWarning })
}

func lines(faults []schema.Fault) string {
	var b strings.Builder
	for _, f := range faults {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

func TestExampleIsValid(t *testing.T) {
	if got := faultsOf(t, language(), folderFS(t, "testdata/example")); len(got) > 0 {
		t.Errorf("the example has faults:\n%s", lines(got))
	}
}

// Every wrong file of the language has exactly the faults that EXPECTED.tsv says, at their place and in its words.
func TestWrongFiles(t *testing.T) {
	text, err := os.ReadFile("testdata/bad/EXPECTED.tsv")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]schema.Fault{}
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		f := strings.Split(line, "\t")
		if i == 0 {
			continue
		}
		n, _ := strconv.Atoi(f[1])
		c, _ := strconv.Atoi(f[2])
		want[f[0]] = append(want[f[0]], schema.Fault{File: f[0], Line: n, Column: c, Path: f[3], Message: f[4], Severity: schema.SeverityError})
	}
	example := folderFS(t, "testdata/example")
	for _, name := range slices.Sorted(maps.Keys(want)) {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile("testdata/bad/" + name)
			if err != nil {
				t.Fatal(err)
			}
			want := schema.SortFaults(want[name])
			switch {
			case strings.HasSuffix(name, ".run.json"):
				if _, got := Run(name, b, nil); !slices.Equal(got, want) {
					t.Errorf("faults:\n%swant:\n%s", lines(got), lines(want))
				}
				return
			case strings.HasSuffix(name, ".facts.json"):
				_, got := schema.ParseFacts(b)
				for i := range got {
					got[i].File, got[i].Severity = name, schema.SeverityError
				}
				if !slices.Equal(got, want) {
					t.Errorf("faults:\n%swant:\n%s", lines(got), lines(want))
				}
				return
			}
			at := "bad/" + name
			if slash.Ext(name) == ".jsonl" {
				at = "nodes/uq.jsonl"
			}
			if ext := slash.Ext(name); ext == ".json" || ext == ".yaml" {
				at = "documents/" + name
			}
			if first, _, _ := strings.Cut(string(b), "\n"); strings.HasPrefix(first, "// as ") {
				at = strings.TrimPrefix(first, "// as ")
			}
			m := maps.Clone(example)
			m[at] = &fstest.MapFile{Data: b}
			got := faultsOf(t, language(), m)
			wellSaid(t, m, got)
			for i := range got {
				if got[i].File == at {
					got[i].File = name
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("faults:\n%swant:\n%s", lines(got), lines(want))
			}
		})
	}
}
