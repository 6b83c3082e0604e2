package load

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dunlin-dev/dunlin/schema"
)

// TestMain lets the test binary answer as the child that Child starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == Command {
		crash := func(w schema.Window) []FieldFault {
			if w.Schedule == "rate(666 days)" {
				panic("nobody foresaw this")
			}
			return nil
		}
		os.Exit(Main(Options{Limits: schema.NotEnforced(), CheckWindow: crash}, os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

func TestChildSaysWhatThisProcessSays(t *testing.T) {
	good := generated(60)
	good["policies/motd.cue"] = files("-- a.cue --\npolicy: motd: {targets: all: true, files: \"/etc/motd\": source: \"files/motd\"}\n")["a.cue"]
	good["files/motd"] = files("-- files/motd --\nhello\n")["files/motd"]
	bad := files("-- a.cue --\nwindow: w: {x: 1}\n")
	for name, m := range map[string]fstest.MapFS{"valid": good, "with faults": bad} {
		t.Run(name, func(t *testing.T) {
			wantRepo, wantFaults, err := thisBuild()(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			repo, faults, err := Child(Options{})(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(repo, wantRepo) || !reflect.DeepEqual(faults, wantFaults) {
				t.Errorf("Child = %+v, %v\nwant %+v, %v", repo, faults, wantRepo, wantFaults)
			}
		})
	}
}

// An error of the evaluator's own is told from one of the host's: the policy that it fails on is not tried for ever.
func TestAChildThatCrashes(t *testing.T) {
	_, _, err := Child(Options{})(t.Context(), files("-- a.cue --\nwindow: w: {schedule: \"rate(666 days)\", duration: \"3h\", targets: all: true}\n"))
	if !errors.Is(err, ErrCrash) || !strings.Contains(err.Error(), "nobody foresaw this") {
		t.Errorf("Child = %v, want ErrCrash with its words", err)
	}
}

// What is not an answer is an error.
func TestRubbishFromTheChild(t *testing.T) {
	for _, b := range []string{"", "{}", resultMagic, resultMagic + "\xff\xff\xff\xff\xff\xff\xff\xff\x7f"} {
		if _, err := decodeResult([]byte(b)); !errors.Is(err, ErrCache) {
			t.Errorf("decodeResult(%q) = %v, want ErrCache", b, err)
		}
	}
}
