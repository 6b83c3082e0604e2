package load

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// list is n texts made with a format.
func list(n int, format string) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(format, i))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// fieldsOf is n fields made with a format.
func fieldsOf(n int, format string) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(format, i+1))
	}
	return "{" + strings.Join(out, ", ") + "}"
}

// What SSM takes at most is taken, and one more is a fault.
func TestLimitsOfSSM(t *testing.T) {
	baseline := func(rest string) string {
		return `baseline: b: {operatingSystem: "DEBIAN", ` + rest + "}\n"
	}
	task := `{document: "AWS-RunPatchBaseline", parameters: Operation: "Scan"}`
	targets := func(t string) string { return "resourceGroup: g: targets: " + t + "\n" }
	parameter := func(rest string) string { return `parameter: "/p": {type: "String", ` + rest + "}\n" }
	text := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	for _, tt := range []struct {
		name string
		file string
		most int
		at   func(n int) string
	}{
		{"approved patches", "a.cue", 50, func(n int) string { return baseline("approvedPatches: " + list(n, `"p%d"`)) }},
		{"rejected patches", "a.cue", 50, func(n int) string { return baseline("rejectedPatches: " + list(n, `"p%d"`)) }},
		{"characters of a patch", "a.cue", 100, func(n int) string { return baseline("approvedPatches: [" + text(n) + "]") }},
		{"approval rules", "a.cue", 10, func(n int) string {
			return baseline("approvalRules: [for i in " + list(n, "%d") + ` {filters: PRODUCT: ["*"], approveAfterDays: 0}]`)
		}},
		{"days of a rule", "a.cue", 360, func(n int) string {
			return baseline(fmt.Sprintf(`releaseDates: "firstSeen", approvalRules: [{filters: PRODUCT: ["*"], approveAfterDays: %d}]`, n))
		}},
		{"values of a filter", "a.cue", 20, func(n int) string { return baseline("globalFilters: SECTION: " + list(n, `"s%d"`)) }},
		{"characters of a filter's value", "a.cue", 64, func(n int) string { return baseline("globalFilters: SECTION: [" + text(n) + "]") }},
		{"sources", "a.cue", 20, func(n int) string {
			return baseline("sources: " + list(n, `{name: "src%d", products: ["*"], configuration: "x"}`))
		}},
		{"characters of a source's name", "a.cue", 50, func(n int) string {
			return baseline("sources: [{name: " + text(n) + `, products: ["*"], configuration: "x"}]`)
		}},
		{"products of a source", "a.cue", 20, func(n int) string {
			return baseline(`sources: [{name: "abc", products: ` + list(n, `"P%d"`) + `, configuration: "x"}]`)
		}},
		{"characters of a source's configuration", "a.cue", 1024, func(n int) string {
			return baseline(`sources: [{name: "abc", products: ["*"], configuration: ` + text(n) + "}]")
		}},
		{"characters of a description", "a.cue", 1024, func(n int) string { return baseline("description: " + text(n)) }},
		{"tasks of a window", "a.cue", 20, func(n int) string {
			return `window: w: {schedule: "rate(1 day)", duration: "3h", targets: all: true, tasks: ` + fieldsOf(n, "t%d: "+task) + "}\n"
		}},
		{"days of an offset", "a.cue", 6, func(n int) string {
			return fmt.Sprintf(`window: w: {schedule: "cron(0 2 ? * SUN *)", offset: %d, duration: "3h", targets: all: true}`+"\n", n)
		}},
		{"values of a tag", "a.cue", 50, func(n int) string { return targets("tags: role: " + list(n, `"v%d"`)) }},
		{"keys of tags", "a.cue", 5, func(n int) string { return targets("tags: " + fieldsOf(n, `k%d: "v"`)) }},
		{"systems of targets", "a.cue", 50, func(n int) string { return targets("os: " + list(n, `"os%d"`)) }},
		{"nodes of targets", "a.cue", 1000, func(n int) string { return targets("nodes: " + list(n, `"n%d"`)) }},
		{"nodes of an activation", "activations/a.cue", 1000, func(n int) string {
			return fmt.Sprintf(`activation: a: {publicKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEzTyYr4QHQgiQM4EECml5Q9po5Eq+8lnt9ASinRHTO3", expires: "2026-12-20T00:00:00Z", limit: %d, createdBy: "a"}`+"\n", n)
		}},
		{"characters of an activation's description", "activations/a.cue", 256, func(n int) string {
			return `activation: a: {publicKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEzTyYr4QHQgiQM4EECml5Q9po5Eq+8lnt9ASinRHTO3", expires: "2026-12-20T00:00:00Z", createdBy: "a", description: ` + text(n) + "}\n"
		}},
		{"levels of a parameter's path", "parameters/a.cue", 15, func(n int) string {
			return `parameter: "` + strings.Repeat("/a", n) + `": {type: "String", versions: "1": value: "x"}` + "\n"
		}},
		{"versions of a parameter", "parameters/a.cue", 100, func(n int) string { return parameter("versions: " + fieldsOf(n, `"%d": value: "x"`)) }},
		{"labels of a version", "parameters/a.cue", 10, func(n int) string { return parameter(`versions: "1": {value: "x", labels: ` + list(n, `"l%d"`) + "}") }},
		{"characters of a label", "parameters/a.cue", 100, func(n int) string { return parameter(`versions: "1": {value: "x", labels: [` + text(n) + "]}") }},
		{"bytes of a value", "parameters/a.cue", 8192, func(n int) string { return parameter(`versions: "1": value: ` + text(n)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := func(n int) string { return lines(faultsOf(t, language(), files("-- "+tt.file+" --\n"+tt.at(n)))) }
			if got := at(tt.most); got != "" {
				t.Errorf("%d: %s", tt.most, got)
			}
			if got := at(tt.most + 1); got == "" || strings.Count(got, "\n") != 1 {
				t.Errorf("%d: %q, want one fault", tt.most+1, got)
			}
		})
	}
}

// Every entry of the table of what this build enforces is of a field or kind that there is, and words that it allows are ones that the field takes.
func TestLimitsAreOfWhatThereIs(t *testing.T) {
	defs, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, l := range schema.NotEnforced() {
		if seen[l.Path] {
			t.Errorf("%s is there twice", l.Path)
		}
		seen[l.Path] = true
		path := strings.ReplaceAll(l.Path, "*", "x")
		d, err := Describe(path, 0)
		if err != nil {
			t.Errorf("%s: %v", l.Path, err)
			continue
		}
		for _, w := range l.Allowed {
			s := defs["#"+d.Definition]
			if len(d.Values) > 0 && !strings.Contains(strings.Join(d.Values, " "), w) || len(d.Values) == 0 && s != nil && !s.acceptsLabel(w) {
				t.Errorf("%s: %q is not a value of it", l.Path, w)
			}
		}
		if l.Status() == "" || l.Idle && l.Says != "" {
			t.Errorf("%s: %+v", l.Path, l)
		}
	}
	// What limits, delays or forbids and that no build may ignore.
	for _, path := range []string{
		"fleet.rollout", "fleet.witnesses", "fleet.minAgent",
		"window.*.tasks.*.maxConcurrency", "window.*.tasks.*.maxErrors", "window.*.tasks.*.cutoffBehavior",
		"policy.*.window", "policy.*.disruption", "policy.*.checks", "baseline.*.sources",
		"guardrail", "exception", "calendar", "association",
	} {
		if !seen[path] {
			t.Errorf("%s is not in the table; take it out of this list once it is enforced", path)
		}
	}
}

// Of very many faults as many are told as people read, and the first of them.
func TestVeryManyFaults(t *testing.T) {
	var text strings.Builder
	text.WriteString("-- a.cue --\n_t: mode: \"audti\"\n")
	for i := range maxFaults + 600 {
		fmt.Fprintf(&text, "policy: p%04d: {targets: all: true, severty: \"HIGH\"}\n", i)
	}
	text.WriteString("-- b.cue --\npolicy: t1: _t & {targets: all: true}\npolicy: t2: _t & {targets: all: true}\n")
	got := faultsOf(t, thisBuild(), files(text.String()))
	if len(got) != maxFaults || got[0].Line != 2 || got[1].Path != "policy.p0000.severty" || got[maxFaults-1].Path != fmt.Sprintf("policy.p%04d.severty", maxFaults-2) {
		t.Errorf("%d faults, from\n%v to %v", len(got), lines(got[:2]), got[len(got)-1])
	}
}
