package trust

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// signedRun is a run signed by somebody with ssh-keygen.
func signedRun(t testing.TB, r *gitRepo, who, namespace string, change func(*schema.Run)) []byte {
	t.Helper()
	run := schema.Run{V: 1, Fleet: "acme", Policy: strings.Repeat("a", 40), Document: "AWS-RunShellScript",
		Parameters:     schema.Arguments{"commands": {Texts: schema.Texts{"uptime", "echo \"\u00e4\u2028\u20ac\U0001f600\x01<&>\""}}, "Env": {Map: map[string]string{"b": "1", "a": "2"}}},
		Targets:        schema.Targets{Selection: schema.Selection{Tags: map[string]schema.Texts{"role": {"web", "api"}}}, Exclude: &schema.Selection{Nodes: []string{"web-9"}}},
		MaxConcurrency: "2", MaxErrors: "0", ErrorMode: schema.StrictErrors, DeliveryTimeout: "1h", ExecutionTimeout: "10m",
		Created: time.Date(2026, 11, 23, 14, 5, 0, 0, time.UTC), RequestedBy: "Alice"}
	if change != nil {
		change(&run)
	}
	_, message, err := EncodeRun(run)
	if err != nil {
		t.Fatal(err)
	}
	run.Sig = r.sign(who, namespace, message)
	file, _, err := EncodeRun(run)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRuns(t *testing.T) {
	r := newGitRepo(t, "alice", "bob", "mallory")
	f := schema.Fleet{Name: "acme", Signers: r.signers("alice=policy", "bob=policy")}
	file := signedRun(t, r, "alice", NamespaceRun, nil)
	run, err := ParseRun(file)
	if err != nil {
		t.Fatal(err)
	}
	if who, err := run.By(f); who != "alice" || err != nil || run.Document != "AWS-RunShellScript" || run.Targets.Exclude.Nodes[0] != "web-9" {
		t.Errorf("by %q, %v: %+v", who, err, run)
	}
	// The loader takes it, by the name that it has from here.
	name := "2026/11/" + run.ID + ".json"
	if also, faults := load.Run(name, file, nil); len(faults) > 0 || also.Sig != run.Sig {
		t.Errorf("load.Run: %v", faults)
	}
	if again, _, err := EncodeRun(run.Run); err != nil || !bytes.Equal(again, file) {
		t.Errorf("encoded again: %s, %v", again, err)
	}
	for what, file := range map[string][]byte{
		"a stranger's":              signedRun(t, r, "mallory", NamespaceRun, nil),
		"of a commit":               signedRun(t, r, "alice", NamespaceCommit, nil),
		"of an approval":            signedRun(t, r, "alice", NamespaceApproval, nil),
		"for another fleet":         signedRun(t, r, "alice", NamespaceRun, func(r *schema.Run) { r.Fleet = "other" }),
		"another document":          bytes.Replace(file, []byte("AWS-RunShellScript"), []byte("AWS-RunPatchBaseline"), 1),
		"other nodes":               bytes.Replace(file, []byte(`"web-9"`), []byte(`"web-8"`), 1),
		"another commit":            bytes.Replace(file, []byte("aaaa"), []byte("aaab"), 1),
		"more at once":              bytes.Replace(file, []byte(`"maxConcurrency":"2"`), []byte(`"maxConcurrency":"9"`), 1),
		"somebody else's signature": bytes.Replace(signedRun(t, r, "bob", NamespaceRun, nil), []byte(`"Alice"`), []byte(`"Bob"`), 1),
	} {
		run, err := ParseRun(file)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if who, err := run.By(f); err == nil {
			t.Errorf("%s: taken as %s's", what, who)
		}
	}
}

// Two texts are never one run.
func TestRunsHaveOneForm(t *testing.T) {
	name := "../../schema/load/testdata/example-runs/2026/11/pqum6go3dxyxguh2ek4unroy3j.json"
	file, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	run, err := ParseRun(file)
	if err != nil || run.ID+".json" != filepath.Base(name) {
		t.Fatalf("%q, %v", run.ID, err)
	}
	text := string(file)
	for what, bad := range map[string]string{
		"nothing":                  "",
		"no object":                "[]",
		"null":                     "null",
		"a newline at its end":     text + "\n",
		"two of them":              text + text,
		"a blank":                  strings.Replace(text, `"v":1`, `"v": 1`, 1),
		"a key twice":              strings.Replace(text, `"v":1}`, `"v":1,"v":1}`, 1),
		"a key in another case":    strings.Replace(text, `"fleet"`, `"Fleet"`, 1),
		"keys in another order":    strings.Replace(strings.Replace(text, `,"v":1}`, "}", 1), `{`, `{"v":1,`, 1),
		"an escape without need":   strings.Replace(text, `"acme"`, `"\u0061cme"`, 1),
		"half a character":         strings.Replace(text, `"acme"`, `"\ud800"`, 1),
		"bytes that are no text":   strings.Replace(text, `"acme"`, "\"\xff\"", 1),
		"an unknown field":         strings.Replace(text, `"v":1}`, `"v":1,"x":""}`, 1),
		"another version":          strings.Replace(text, `"v":1}`, `"v":2}`, 1),
		"a version as a text":      strings.Replace(text, `"v":1}`, `"v":"1"}`, 1),
		"a version with a point":   strings.Replace(text, `"v":1}`, `"v":1.0}`, 1),
		"no signature":             text[:strings.Index(text, `"sig"`)] + text[strings.Index(text, `"targets"`):],
		"no document":              strings.Replace(text, `"document":"AWS-RunShellScript",`, "", 1),
		"null for a text":          strings.Replace(text, `"fleet":"acme"`, `"fleet":null`, 1),
		"a number for a text":      strings.Replace(text, `"maxErrors":"0"`, `"maxErrors":0`, 1),
		"an instant that is none":  strings.Replace(text, `"2026-11-23T14:05:00Z"`, `"today"`, 1),
		"a list in a list":         strings.Replace(text, `["systemctl restart nginx"]`, `[["systemctl restart nginx"]]`, 1),
		"targets of an other kind": strings.Replace(text, `"targets":{"tags"`, `"targets":{"tag"`, 1),
		"all that is false":        strings.Replace(text, `"targets":{"tags":{"role":"web"}}`, `"targets":{"all":false}`, 1),
		"an output of two":         strings.Replace(text, `"output":{`, `"output":{"more":"x",`, 1),
		"a megabyte":               strings.Replace(text, "acme", strings.Repeat("a", 1<<20), 1),
	} {
		if bad == text {
			t.Errorf("%s: nothing was changed", what)
		}
		if r, err := ParseRun([]byte(bad)); err == nil {
			t.Errorf("%s is taken: %+v", what, r)
		} else if len(err.Error()) > 300 || !strings.HasPrefix(err.Error(), "run: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzRun: what is taken is what it is written as, and the loader finds its form and its name right.
func FuzzRun(f *testing.F) {
	b, err := os.ReadFile("../../schema/load/testdata/example-runs/2026/11/pqum6go3dxyxguh2ek4unroy3j.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(strings.Replace(string(b), `"systemctl restart nginx"`, "\"\U0001f600\ue000\\u0001\\b\u007f\u2028\"", 1)))
	f.Add([]byte(strings.Replace(string(b), `{"commands":["systemctl restart nginx"]}`, "{\"\ue000\":\"\",\"\U0001f600\":\"\"}", 1)))
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRun(b)
		if err != nil {
			// What the loader takes as it stands, its name included, is taken here too.
			if _, faults := load.Run(runID(b)+".json", b, nil); len(faults) == 0 {
				t.Fatalf("%v, and the loader takes %q", err, b)
			}
			return
		}
		_, faults := load.Run(r.ID+".json", b, nil)
		for _, x := range faults {
			if strings.Contains(x.Message, "canonical") || strings.Contains(x.Message, "the name of a run") || strings.Contains(x.Message, "no such field") || strings.Contains(x.Message, "required") {
				t.Fatalf("%q is taken, and the loader says %s", b, x)
			}
		}
		var signed map[string]any
		if err := json.Unmarshal(r.Message(), &signed); err != nil || signed["sig"] != nil || signed["document"] != r.Document {
			t.Fatalf("%q is signed as %q", b, r.Message())
		}
	})
}
