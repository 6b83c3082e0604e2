package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// Each archive of testdata/mistakes is a slip that someone makes, with the lines that tell of it, and no others.
// DUNLIN_GOLDEN=1 writes the lines anew; read each as someone who sees the language for the first time.
func TestMistakes(t *testing.T) {
	const folder = "../../schema/load/testdata/mistakes/"
	names, err := filepath.Glob(folder + "*.txtar")
	if err != nil || len(names) < 120 {
		t.Fatalf("%d mistakes, %v", len(names), err)
	}
	o := loadOptions()
	o.Limits, o.Warn = schema.EnforcedAll(), nil
	validate := load.InProcess(o)
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			m := fstest.MapFS{"fleet.cue": {Data: []byte("package fleet\n\nfleet: name: \"acme\"\n")}}
			a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool {
				if f.Name == "want" {
					want = string(f.Data)
					return true
				}
				m[f.Name] = &fstest.MapFile{Data: f.Data}
				return false
			})
			_, faults, err := validate(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, f := range faults {
				got.WriteString(f.String() + "\n")
			}
			if got.Len() == 0 {
				t.Error("nothing is told")
			}
			if os.Getenv("DUNLIN_GOLDEN") != "" {
				a.Files = append(a.Files, txtar.File{Name: "want", Data: []byte(got.String())})
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got.String() != want {
				t.Errorf("faults\n%s\nwant\n%s", got.String(), want)
			}
		})
	}
}
