package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// The wrong files of the language that need schedules to be judged have the faults that EXPECTED.tsv says.
func TestWrongTimes(t *testing.T) {
	const data = "../../schema/load/testdata"
	text, err := os.ReadFile(data + "/bad/EXPECTED.tsv")
	if err != nil {
		t.Fatal(err)
	}
	o := loadOptions()
	o.Limits = schema.EnforcedAll()
	for _, name := range []string{
		"023-cutoff-not-less.cue", "026-duration-too-long.cue", "028-cron-day-of-week.cue", "031-offset-with-rate.cue",
		"032-zone.cue", "035-end-before-start.cue",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(data+"/example")); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(data + "/bad/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(dir, "bad"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "bad", name), b, 0o644); err != nil {
				t.Fatal(err)
			}
			_, faults, err := load.InProcess(o)(t.Context(), os.DirFS(dir))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range faults {
				if f.Severity == schema.SeverityError {
					got = append(got, f.String())
				}
			}
			want := ""
			for line := range strings.Lines(string(text)) {
				if f := strings.Split(line, "\t"); f[0] == name {
					want = "bad/" + f[0] + ":" + f[1] + ":" + f[2] + ": " + f[3] + ": " + f[4]
				}
			}
			if len(got) != 1 || got[0] != want {
				t.Errorf("faults\n%s\nwant\n%s", strings.Join(got, "\n"), want)
			}
		})
	}
}
