package load

import (
	"strings"
	"testing"
)

// every gives a description and all below it.
func every(d Description) []Description {
	all := []Description{d}
	for _, f := range d.Fields {
		all = append(all, every(f)...)
	}
	return all
}

// Every kind and every file with a fixed form is described down to its leaves, each place with a type, under a path that
// leads to it again.
func TestDescribeEverything(t *testing.T) {
	kinds, err := Kinds()
	if err != nil {
		t.Fatal(err)
	}
	words := kinds
	for _, f := range Forms() {
		words = append(words, f.Name)
	}
	n := 0
	for _, word := range words {
		d, err := Describe(word, -1)
		if err != nil {
			t.Fatal(err)
		}
		if d.Definition == "" || d.Doc == "" || len(d.Fields) == 0 {
			t.Errorf("%s: definition %q, %q, %d fields", word, d.Definition, d.Doc, len(d.Fields))
		}
		for _, f := range every(d) {
			n++
			if f.Type == "" || f.Path == "" || strings.Contains(f.Type, "a value") {
				t.Errorf("%s has type %q", f.Path, f.Type)
			}
			if strings.HasSuffix(f.Path, "NAME") || strings.HasSuffix(f.Path, "KEY") {
				continue // an entry beside fields
			}
			if f.Path != word && (f.Doc == "" || !strings.ContainsAny(f.Doc[len(f.Doc)-1:], ".)") && !strings.HasSuffix(f.Doc, "...")) {
				t.Errorf("%s: a comment of one sentence is missing above it: %q", f.Path, f.Doc)
			}
			if again, err := Describe(f.Path, 0); err != nil || again.Type != f.Type && f.When == "" {
				t.Errorf("Describe(%q) = %q, %v, want %q", f.Path, again.Type, err, f.Type)
			}
		}
	}
	if n < 500 {
		t.Errorf("%d places are described, want at least 500", n)
	}
}

func TestDescribe(t *testing.T) {
	for path, want := range map[string]Description{
		"window.cutoff":                        {Path: "window.NAME.cutoff", Definition: "Duration", Type: `a duration such as "90m", "3h" or "7d"`, Doc: "No new work in the last cutoff of an opening; less than duration, whole minutes.", Default: `"0h"`},
		"window.sun-0200.tasks.patch.document": {Path: "window.NAME.tasks.NAME.document", Definition: "DocumentName", Type: `a document's name such as "AWS-RunPatchBaseline"`, Doc: "The document; patches are installed by AWS-RunPatchBaseline with Operation Install.", Required: true},
		`policy.x.files."/etc/motd".mode`:      {Path: "policy.NAME.files.PATH.mode", Definition: "FileMode", Type: `four octal digits as text such as "0644"`, Doc: "Permissions; a new file gets 0644, one made of a SecureString is 0600."},
		"policy.blockedPorts[3].port":          {Path: "policy.NAME.blockedPorts.port", Type: `a port from 1 to 65535 or a range`, Doc: `One port, or a range as text: "6000-6063".`, Required: true},
		"baseline.x.approvalRules[0].filters.PRIORITY[1]": {Path: "baseline.NAME.approvalRules.filters.PRIORITY", Type: "list of one of Required, Important, Standard, Optional, Extra, * (1 to 20)", Doc: "The priority of the package.",
			Values: []string{"Required", "Important", "Standard", "Optional", "Extra", "*"}, When: "operatingSystem is UBUNTU, DEBIAN, RASPBIAN"},
		"parameter.readers": {Path: "parameter.PATH.readers", Definition: "Targets", Type: "Targets", Doc: "Nodes that can decrypt it.", Required: true, When: `type is "SecureString"`},
		"agent.gossip.bind": {Path: "agent.gossip.bind", Definition: "Address", Type: `an address such as "0.0.0.0:7950"`, Doc: "Where it listens, UDP and TCP.", Default: `"0.0.0.0:7950"`},
		"policy.onChange":   {Path: "policy.NAME.onChange", Type: "struct", Doc: "What is done when something in this policy changed."},
	} {
		got, err := Describe(path, 0)
		if err != nil || got.Path != want.Path || got.Definition != want.Definition || got.Type != want.Type || got.Doc != want.Doc || got.Required != want.Required ||
			got.Default != want.Default || got.When != want.When || strings.Join(got.Values, " ") != strings.Join(want.Values, " ") || got.Pattern != want.Pattern {
			t.Errorf("Describe(%q) = %+v, %v\nwant %+v", path, got, err, want)
		}
	}
	d, err := Describe("baseline.approvalRules", 1)
	if err != nil || len(d.OneOf) != 1 || strings.Join(d.OneOf[0], " ") != "approveAfterDays approveUntilDate" || len(d.Fields) != 5 || len(d.Fields[0].Fields) != 0 {
		t.Errorf("approvalRules: %+v, %v", d, err)
	}
}

func TestDescribeNothing(t *testing.T) {
	for path, want := range map[string]string{
		"":                       `no kind or field ""`,
		"windwo":                 `no kind "windwo" (did you mean "window"?); there are activation, agent, `,
		"window.cutof":           `no field "cutof" in window (did you mean "cutoff"?); there are annotations, cutoff, `,
		"window.x":               `no field "x" in window; there are annotations, cutoff, `,
		"window.taskz.maxErrors": `no field "taskz" in window (did you mean "tasks"?); there are `,
		"window.a.tasks.b.maxEr": `no field "maxEr" in window.NAME.tasks.NAME (did you mean "maxErrors"?); there are `,
		"window.cutoff.x":        `no field "x" in window.NAME.cutoff; it has no fields`,
		"roster.keys.sgn":        `no field "sgn" in roster.keys (did you mean "sign"?); there are age, sign, tls`,
		"[0]":                    `no kind or field "[0]"`,
		`window."`:               `no field "\"" in window; there are `,
	} {
		if d, err := Describe(path, 0); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Describe(%q) = %+v, %v, want %s", path, d, err, want)
		}
	}
}

// The labels of a map are held against a choice of words; one that is none of them is a fault like any other.
func TestAnActionThatIsNone(t *testing.T) {
	got := lines(faultsOf(t, language(), files(`
-- d.cue --
document: d: {schemaVersion: "1.2", runtimeConfig: "aws:runShelScript": properties: {}}
`)))
	if !strings.HasPrefix(got, `d.cue:2:52: document.d.runtimeConfig."aws:runShelScript": `) {
		t.Errorf("faults:\n%s", got)
	}
}

// An object may name its own definition, so that editors know its fields: it is read as if it did not.
func TestAnObjectThatNamesItsDefinition(t *testing.T) {
	const named = `
-- a.cue --
import "dunlin.dev/schema"
policy: p: schema.#Policy & {targets: all: true, packages: curl: {}}
window: w: {schedule: "rate(1 day)", duration: "3h", targets: all: true} & schema.#Window
`
	m := files(named)
	repo, faults, err := language()(t.Context(), m)
	if err != nil || len(faults) > 0 || repo.Policies["p"].Packages["curl"].State != "present" || repo.Windows["w"].Duration != "3h" {
		t.Errorf("%+v, %v, %v", repo.Policies, faults, err)
	}
	got := lines(faultsOf(t, language(), files(`
-- a.cue --
import "dunlin.dev/schema"
import other "dunlin.dev/schema"
policy: p: schema.#Policy & {targets: all: true, severity: "HIHG", mde: "audit"}
policy: q: other.#Policy & {targets: all: true, severity: "HIHG"}
policy: r: schema.#Window & {targets: all: true}
`)))
	for _, want := range []string{
		`a.cue:4:60: policy.p.severity: "HIHG" is not one of CRITICAL, HIGH, MEDIUM, LOW, UNSPECIFIED (did you mean "HIGH"?)`,
		`a.cue:4:68: policy.p.mde: no such field (did you mean "mode"?)`,
		`a.cue:5:59: policy.q.severity: "HIHG" is not one of CRITICAL, HIGH, MEDIUM, LOW, UNSPECIFIED (did you mean "HIGH"?)`,
		`policy.r`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("faults:\n%swant %s", got, want)
		}
	}
	if strings.Contains(got, "are both given") {
		t.Errorf("faults:\n%s", got)
	}
}

// Whatever is asked for, there is an answer or an error; what is found is found again under its own path.
func FuzzDescribe(f *testing.F) {
	for _, path := range []string{"window.tasks.maxErrors", `policy.x.files."/etc/motd".mode`, "baseline.a.approvalRules[0].filters.PRIORITY[1]", "a..b", `"`, "[", "parameter.PATH.versions.1.value"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		d, err := Describe(path, 1)
		if err != nil {
			return
		}
		if again, err := Describe(d.Path, 1); err != nil || again.Path != d.Path {
			t.Errorf("Describe(%q) is at %q, and there is %q, %v", path, d.Path, again.Path, err)
		}
	})
}
