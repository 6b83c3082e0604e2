package load

import (
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestDefaultsPositionsAndBlobs(t *testing.T) {
	repo, faults, err := thisBuild()(t.Context(), files(`
-- a.cue --
_tpl: {
	targets: all: true
	files: "/etc/issue": content: "x"
}
policy: p: _tpl & {
	blockedPorts: [{port: 23}, {port: "6000-6063", protocol: "udp"}]
	files: "/etc/motd": source: "files/motd"
	services: "a.service": running: true
}
for n in ["x", "y"] {
	policy: "c-\(n)": {targets: all: true, packages: curl: {}}
}
window: w: {schedule: "rate(1 day)", duration: "3h", targets: all: true, tasks: t: {document: "AWS-RunPatchBaseline", parameters: Operation: "Scan", maxConcurrency: "100%", maxErrors: "100%"}}
parameter: "/x": _
-- files/motd --
hello
`))
	if err != nil {
		t.Fatal(err)
	}
	_ = faults // the parameter is in a wrong place; what is right is read all the same
	p := repo.Policies["p"]
	want := schema.BlockedPort{Port: schema.PortRange{First: 23, Last: 23}, Protocol: "tcp", From: "any", Direction: "in"}
	if p.Mode != schema.Enforce || p.Severity != schema.Unspecified || len(p.BlockedPorts) != 2 || p.BlockedPorts[0] != want || p.Files["/etc/motd"].State != schema.Present {
		t.Errorf("policy p = %+v", p)
	}
	if w := repo.Windows["w"]; w.Timezone != "UTC" || w.Cutoff != "0h" || !w.Enabled || w.Tasks["t"].Priority != 1 || w.Tasks["t"].CutoffBehavior != "CONTINUE_TASK" {
		t.Errorf("window w = %+v", w)
	}
	for path, at := range map[string]schema.Position{
		"fleet":                         {File: "fleet.cue", Line: 2, Column: 1},
		"policy.p":                      {File: "a.cue", Line: 6, Column: 9},
		"policy.p.blockedPorts[1]":      {File: "a.cue", Line: 7, Column: 29},
		`policy.p.files."/etc/motd"`:    {File: "a.cue", Line: 8, Column: 9},
		`policy.p.files."/etc/issue"`:   {File: "a.cue", Line: 4, Column: 9},
		`policy.p.services."a.service"`: {File: "a.cue", Line: 9, Column: 12},
		"policy.c-x":                    {File: "a.cue", Line: 12, Column: 10},
		"policy.c-y.packages.curl":      {File: "a.cue", Line: 12, Column: 51},
		"window.w.tasks.t":              {File: "a.cue", Line: 14, Column: 81},
	} {
		if got := repo.Positions[path]; got != at {
			t.Errorf("position of %s = %+v, want %+v", path, got, at)
		}
	}
	b := map[string]schema.Blob{"files/motd": {SHA256: "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03", Size: 6}}
	if !reflect.DeepEqual(repo.Blobs, b) {
		t.Errorf("blobs = %v", repo.Blobs)
	}
}

// A package of the shipped library can be imported without a cue.mod.
// A template may have defaults of its own, at any depth; what an object says itself wins.
func TestDefaultsOfTemplates(t *testing.T) {
	repo, faults, err := thisBuild()(t.Context(), files(`
-- a.cue --
_night: {
	duration: *"4h" | string
	cutoff:   *"1h" | "2h"
	enabled:  *false | bool
	timezone: *"Europe/Helsinki" | "UTC"
	targets:  *{tags: role: ["web", *"db" | string]} | {all: true}
	tasks: t: {document: "AWS-RunPatchBaseline", parameters: Operation: *"Scan" | "Install", maxConcurrency: *"100%" | string, maxErrors: "100%", priority: *3 | int}
}
window: a: _night & {schedule: "rate(1 day)"}
window: b: _night & {schedule: "rate(1 day)", cutoff: "2h", enabled: true, tasks: t: {parameters: Operation: "Install", priority: 7}}
policy: p: {targets: all: true, blockedPorts: *[{port: *23 | int}] | [...], sysctls: "net.ipv4.ip_forward": *"0" | "1"}
`))
	if err != nil || len(faults) > 0 {
		t.Fatal(faults, err)
	}
	a, b, p := repo.Windows["a"], repo.Windows["b"], repo.Policies["p"]
	if a.Duration != "4h" || a.Cutoff != "1h" || a.Enabled || a.Timezone != "Europe/Helsinki" || a.Tasks["t"].Priority != 3 || a.Tasks["t"].MaxConcurrency != "100%" || !reflect.DeepEqual(a.Targets.Tags, map[string]schema.Texts{"role": {"web", "db"}}) {
		t.Errorf("window a = %+v", a)
	}
	if b.Cutoff != "2h" || !b.Enabled || b.Tasks["t"].Priority != 7 {
		t.Errorf("window b = %+v", b)
	}
	if len(p.BlockedPorts) != 1 || p.BlockedPorts[0].Port.First != 23 || p.Sysctls["net.ipv4.ip_forward"] != "0" {
		t.Errorf("policy p = %+v", p)
	}
	for w, want := range map[string]string{"a": "Scan", "b": "Install"} {
		if got, _ := repo.Windows[w].Tasks["t"].Parameters["Operation"].Text(); got != want {
			t.Errorf("window %s does %q, want %s", w, got, want)
		}
	}
}

func TestShippedLibraryIsImported(t *testing.T) {
	repo, faults, err := thisBuild()(t.Context(), files(`
-- a.cue --
import "dunlin.dev/policies/patching"
baseline: mine: patching.baseline."AWS-DebianDefaultPatchBaseline"
`))
	if err != nil || len(faults) > 0 || !reflect.DeepEqual(repo.Baselines["mine"], repo.Shipped["AWS-DebianDefaultPatchBaseline"]) {
		t.Error(repo.Baselines, lines(faults), err)
	}
}

// A repository of one file never panics the loader, and every fault names that file and a place in it.
func FuzzLoad(f *testing.F) {
	for _, text := range []string{
		"window: w: {" + window + "}\n", "policy: p: {targets: all: true, blockedPorts: [{port: 22}]}\n",
		"for n in [\"a\"] {group: \"\\(n)\": baselines: [n]}\n", "_x: 1\n_x: 2\nbaseline: b: _x\n", "let a = 1\n", "import \"list\"\n_a: list.Max([1])\n",
		"baseline: [_]: operatingSystem: \"DEBIAN\"\n", "X=policy: p: targets: all: true\n", "a: b: c\n", "@if(x)\n", "...\n", "policy: p: policy.p\n",
	} {
		f.Add("package fleet\n" + text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 300 || !utf8.ValidString(text) || strings.Contains(text, "Range") || strings.Contains(text, "Repeat") {
			return // the child's limits are for those
		}
		m := fstest.MapFS{"fleet.cue": {Data: []byte("package fleet\nfleet: name: \"acme\"\n")}, "a.cue": {Data: []byte(text)}}
		_, faults, err := thisBuild()(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		n := strings.Count(text, "\n") + 1
		for _, f := range faults {
			if f.File == "" || f.Line > n || f.Message == "" || f.Line < 0 {
				t.Errorf("fault out of place in %q: %+v", text, f)
			}
		}
	})
}

// Every kind becomes Go values: the example of the language has one of each at least.
func TestEveryKindIsRead(t *testing.T) {
	repo, faults, err := language()(t.Context(), folderFS(t, "testdata/example"))
	if err != nil || schema.Refused(faults) {
		t.Fatalf("%v\n%s", err, lines(faults))
	}
	if len(repo.Idle) > 0 {
		t.Errorf("idle: %q", repo.Idle)
	}
	v := reflect.ValueOf(repo)
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if v.Field(i).Kind() == reflect.Map && v.Field(i).Len() == 0 {
			t.Errorf("no %s in the example", f.Name)
		}
	}
	p := repo.Parameters["/prod/db/password"]
	if n, current := p.Current(); n == 0 || !strings.HasPrefix(current.Value, "-----BEGIN AGE") || p.Readers == nil {
		t.Errorf("/prod/db/password = %+v", p)
	}
	if roles := repo.Fleet.Roles; roles["root"].Threshold == 0 || repo.Fleet.Runs.Keep != "60d" || len(repo.Fleet.Signers) == 0 {
		t.Errorf("fleet = %+v", repo.Fleet)
	}
	d := repo.Documents["restart-service"]
	if d.SchemaVersion != schema.Schema22 || len(d.MainSteps) == 0 || !strings.HasPrefix(string(d.MainSteps[0].Inputs), `{"`) {
		t.Errorf("restart-service = %+v", d)
	}
}

// What does nothing yet is named once a kind, and a field at each place.
func TestIdle(t *testing.T) {
	repo, faults, err := thisBuild()(t.Context(), files(`
-- a.cue --
sink: {a: url: "exec:///bin/true", b: url: "exec:///bin/true"}
window: w: {schedule: "rate(1 day)", duration: "3h", targets: all: true, tasks: t: {document: "AWS-RunPatchBaseline", parameters: Operation: "Scan", maxConcurrency: "100%", maxErrors: "100%", notify: ["a"]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := "a.cue:2:8: warning: sink.a: sink does nothing yet in this version\n" +
		"a.cue:3:193: warning: window.w.tasks.t.notify: does nothing yet in this version\n"
	if got := lines(faults); got != want {
		t.Errorf("faults:\n%s\nwant:\n%s", got, want)
	}
	if !slices.Equal(repo.Idle, []string{"window.tasks.notify", "sink"}) || repo.Sinks["b"].URL == "" {
		t.Errorf("idle = %q, sinks %v", repo.Idle, repo.Sinks)
	}
}

// The example's copy of the schema is this one, as `dunlin schema vendor` would write it. DUNLIN_GOLDEN=1 writes it anew.
func TestExampleHasTheSchema(t *testing.T) {
	const dir = "testdata/example/cue.mod/pkg/dunlin.dev/schema/"
	names, err := fs.Glob(schema.Definitions, "*.cue")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		want, err := schema.Definitions.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if os.Getenv("DUNLIN_GOLDEN") != "" {
			if err := os.WriteFile(dir+name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(dir + name); err != nil || string(got) != string(want) {
			t.Errorf("%s%s is not schema/%s (%v)", dir, name, name, err)
		}
	}
}
