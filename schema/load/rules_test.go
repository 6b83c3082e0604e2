package load

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/reconciler/schedule"
	"github.com/dunlin-dev/dunlin/schema"
)

// times are the options by which the loader judges schedules, as the command line has them.
func times(o Options) Options {
	put := func(faults schedule.Faults) []FieldFault {
		var out []FieldFault
		for _, f := range faults {
			out = append(out, FieldFault{Field: f.Field, Message: f.Msg})
		}
		return out
	}
	o.CheckWindow = func(w schema.Window) []FieldFault { return put(schedule.Check(w)) }
	o.CheckAssociation = func(expr, zone string, offset int) []FieldFault {
		return put(schedule.CheckAssociation(expr, zone, offset))
	}
	return o
}

// A case of testdata/rules begins with `=== NAME`. Its files follow as in `files`; `-- want --` has the faults and
// warnings that they give, one a line. DUNLIN_GOLDEN=1 writes the wanted lines anew.
func TestRules(t *testing.T) {
	names, err := filepath.Glob("testdata/rules/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatal("no cases", err)
	}
	load := InProcess(times(Options{}))
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head, rest, _ := strings.Cut(string(b), "=== ")
		anew := head
		for c := range strings.SplitSeq(rest, "\n=== ") {
			title, text, _ := strings.Cut(c, "\n")
			given, want, ok := strings.Cut(text, "-- want --\n")
			if !ok {
				t.Fatalf("%s: %q has no -- want --", name, title)
			}
			want = strings.TrimRight(want, "\n") + "\n"
			_, faults, err := load(context.Background(), files(given))
			if err != nil {
				t.Fatal(err)
			}
			got := lines(faults)
			if got == "" {
				got = "\n"
			}
			anew += "=== " + title + "\n" + given + "-- want --\n" + got + "\n"
			if got != want && os.Getenv("DUNLIN_GOLDEN") == "" {
				t.Run(strings.TrimSuffix(filepath.Base(name), ".txt")+"/"+title, func(t *testing.T) {
					t.Errorf("faults:\n%swant:\n%s", got, want)
				})
			}
		}
		if os.Getenv("DUNLIN_GOLDEN") != "" {
			if err := os.WriteFile(name, []byte(strings.TrimRight(anew, "\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
