package load

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// exampleRun is the run of the example, and its path on its branch.
func exampleRun(t *testing.T) (string, []byte) {
	t.Helper()
	const name = "2026/11/pqum6go3dxyxguh2ek4unroy3j.json"
	b, err := os.ReadFile("testdata/example-runs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return name, b
}

func TestRun(t *testing.T) {
	repo, faults, err := language()(t.Context(), folderFS(t, "testdata/example"))
	if err != nil || schema.Refused(faults) {
		t.Fatal(lines(faults), err)
	}
	name, text := exampleRun(t)
	run, faults := Run(name, text, &repo)
	if len(faults) > 0 || run.RequestedBy != "alice" || run.DeliveryTimeout != "1h" || len(run.Parameters) != 1 {
		t.Fatalf("the example's run: %+v\n%s", run, lines(faults))
	}
	id := func(b []byte) string { sum := sha256.Sum256(b); return "2026/11/" + shortID(sum[:]) + ".json" }
	for _, tt := range []struct{ name, from, to, file, want string }{
		{"another's name", "", "", "2026/11/aaaaaaaaaaaaaaaaaaaaaaaaaa.json", "FILE:1:1: the name of a run is the id of what it says, here pqum6go3dxyxguh2ek4unroy3j.json: it was changed, or misnamed\n"},
		{"another month", "", "", "2026/12/pqum6go3dxyxguh2ek4unroy3j.json", "FILE:1:1: created 2026-11-23T14:05:00Z, so it belongs in 2026/11/\n"},
		{"the name alone", "", "", "pqum6go3dxyxguh2ek4unroy3j.json", ""},
		{"a blank", `"v":1}`, `"v": 1}`, "", "FILE@ 1}@: not canonical JSON (RFC 8785): keys sorted, no blanks, nothing escaped without need\n"},
		{"a newline at its end", `"v":1}`, "\"v\":1}\n", "", "FILE@\n@: there is more after the last }; a run has no newline at its end\n"},
		{"a key twice", `"v":1}`, `"v":1,"v":1}`, "", "FILE@\"v\":1}@: v: already given in line 1\n"},
		{"timeouts out of range", `"executionTimeout":"10m"`, `"executionTimeout":"4s"`, "", "FILE@\"4s\"@: executionTimeout: 4s is not from 5s to 2d\n"},
		{"a delivery timeout out of range", `"deliveryTimeout":"1h"`, `"deliveryTimeout":"31d"`, "", "FILE@\"31d\"@: deliveryTimeout: 31d is not from 30s to 30d\n"},
		{"a day that is none", "2026-11-23T", "2026-11-31T", "", "FILE@\"2026-11-31T@: created: \"2026-11-31T14:05:00Z\" is not in the calendar\n"},
		{"several at once", `"errorMode":"strict"`, `"errorMode":"hard","extra":1`, "", "FILE@\"hard\"@: errorMode: \"hard\" is not one of soft, strict\nFILE@\"extra\"@: extra: no such field; allowed: v, fleet, policy, document, parameters, targets, maxConcurrency, maxErrors, errorMode, deliveryTimeout, executionTimeout, created, requestedBy, comment, output, notify, sig\n"},
		{"targets that select nothing", `"targets":{"tags":{"role":"web"}}`, `"targets":{"exclude":{"tags":{"role":"web"}}}`, "", "FILE@\"exclude\"@: targets.exclude: exclude alone selects nothing; add all: true to mean every other node\n"},
		{"a sink that does not exist", `"notify":["ops"]`, `"notify":["opps"]`, "", "FILE@\"opps\"@: notify[0]: no sink \"opps\" (did you mean \"ops\"?)\n"},
		{"another fleet", `"fleet":"acme"`, `"fleet":"acne"`, "", "FILE@\"acne\"@: fleet: \"acne\" is not this fleet, which is \"acme\"\n"},
		{"a document that does not exist", "AWS-RunShellScript", "AWS-RunShelScript", "", "FILE@\"AWS-RunShelScript\"@: document: no document \"AWS-RunShelScript\" (did you mean \"AWS-RunShellScript\"?)\n"},
		{"a group that does not exist", `{"tags":{"role":"web"}}`, `{"groups":["wbe"]}`, "", "FILE@\"wbe\"@: targets.groups[0]: no group \"wbe\" (did you mean \"web\"?)\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bytes.Replace(text, []byte(tt.from), []byte(tt.to), 1)
			if tt.from != "" && bytes.Equal(b, text) {
				t.Fatalf("%q is not in the run", tt.from)
			}
			file := tt.file
			if file == "" {
				file = id(b)
			}
			run, faults := Run(file, b, &repo)
			// A place is given by the text that stands there.
			want := regexp.MustCompile(`FILE@([^@]+)@`).ReplaceAllStringFunc(tt.want, func(m string) string {
				return fmt.Sprintf("FILE:1:%d", bytes.LastIndex(b, []byte(m[len("FILE@"):len(m)-1]))+1)
			})
			if got := strings.ReplaceAll(lines(faults), file, "FILE"); got != want {
				t.Errorf("faults:\n%swant:\n%s", got, want)
			}
			if (len(faults) > 0) != (run.Fleet == "") {
				t.Errorf("run = %+v", run)
			}
		})
	}
	for _, b := range [][]byte{nil, []byte("x"), []byte("[]"), bytes.Repeat([]byte(" "), MaxRun+1)} {
		if _, faults := Run(name, b, &repo); len(faults) != 1 {
			t.Errorf("Run(%.10q) = %s", b, lines(faults))
		}
	}
}

// No bytes panic the reader of runs, and every fault has its place in them.
func FuzzRun(f *testing.F) {
	f.Add([]byte(`{"created":"2026-11-23T14:05:00Z","targets":{"all":true},"v":1}`))
	f.Add([]byte(`{"parameters":{"a":["b"]},"targets":{"exclude":{}},"notify":[1]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, faults := Run("x.json", b, &schema.Repo{})
		for _, x := range faults {
			if x.File != "x.json" || x.Line < 1 || x.Line > bytes.Count(b, []byte("\n"))+1 || x.Column < 1 || x.Message == "" {
				t.Errorf("fault out of place in %q: %+v", b, x)
			}
		}
	})
}
