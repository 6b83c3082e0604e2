package policytest

import (
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

const factsOf = `-- web-1.facts.json --
{"v":1,"installed":[{"name":"openssl","version":"1","arch":"amd64"}]}
`

// judge finds openssl missing, from the start of 2026 on.
func judge(node schema.Node, f schema.Facts, at time.Time) schema.Judgement {
	j := schema.Judgement{Patches: []schema.Patch{}, Compliance: "COMPLIANT"}
	if at.Year() >= 2026 && node.Name == "web-1" {
		j.Compliance = "NON_COMPLIANT"
		j.Counts.MissingCount = 1
		for _, p := range f.Installed {
			j.Patches = append(j.Patches, schema.Patch{ID: p.Name + "." + p.Arch, State: "Missing", ComplianceLevel: "HIGH", Reason: "approved since long"})
		}
	}
	return j
}

func run(text string) Result {
	return Run("tests/a.txtar", []byte(text), []schema.RosterLine{{ID: "abc", Name: "web-1"}, {ID: "def", Name: "db-1"}}, judge)
}

func TestPolicyTests(t *testing.T) {
	const at = "-- at --\n2026-01-13T00:30:00Z\n"
	for _, tt := range []struct{ name, text, want string }{
		{"as wanted", at + factsOf + `-- web-1.want.json --
{"patches":[{"id":"openssl.amd64","state":"Missing"},{"complianceLevel":"HIGH"}],"counts":{"MissingCount":1},"compliance":"NON_COMPLIANT"}
`, ""},
		{"as wanted, by id, with an empty list", at + `-- def.facts.json --
{"v":1}
-- def.want.json --
{"patches":[],"compliance":"COMPLIANT"}
`, ""},
		{"another state, level and count", "words\n" + at + factsOf + `-- web-1.want.json --
{
	"patches": [{"id":"openssl.amd64", "state": "Installed", "complianceLevel": "LOW"}],
	"counts": {"MissingCount": 0}, "compliance": "NON_COMPLIANT"
}
`, `tests/a.txtar:8:46: web-1.patches[openssl.amd64].state: "Installed" is wanted; it is "Missing" (approved since long)
tests/a.txtar:8:78: web-1.patches[openssl.amd64].complianceLevel: "LOW" is wanted; it is "HIGH" (approved since long)
tests/a.txtar:9:29: web-1.counts.MissingCount: 0 is wanted; it is 1
`},
		{"a patch that is not there", at + factsOf + "-- web-1.want.json --\n{\"patches\":[{\"id\":\"openssl.arm64\"},{\"id\":\"curl.amd64\"},{\"state\":\"Installed\"}]}\n",
			`tests/a.txtar:6:19: web-1.patches: no patch "openssl.arm64" (did you mean "openssl.amd64"?)
tests/a.txtar:6:42: web-1.patches: no patch "curl.amd64"; the facts have no such package that the baseline judges
tests/a.txtar:6:56: web-1.patches[2]: no patch is as wanted here; give its id to see how it differs
`},
		{"no patch wanted", at + factsOf + "-- web-1.want.json --\n{\"patches\":[]}\n", "tests/a.txtar:6:12: web-1.patches: none are wanted; there are 1\n"},
		{"fields that there are not, and of another type", at + factsOf + "-- web-1.want.json --\n{\"complience\":\"COMPLIANT\",\"counts\":1,\"patches\":{}}\n",
			`tests/a.txtar:6:2: web-1.complience: no such field of a judgement (did you mean "compliance"?); there are compliance, counts, patches
tests/a.txtar:6:36: web-1.counts: 1 is wanted; it is an object
tests/a.txtar:6:48: web-1.patches: an object is wanted; it is a list
`},
		{"a host of nobody", at + "-- web-2.facts.json --\n{\"v\":1}\n-- web-2.want.json --\n{}\n", "tests/a.txtar:3:1: web-2: no node \"web-2\" in the roster (did you mean \"web-1\"?)\n"},
		{"facts with a fault", at + "-- web-1.facts.json --\n{\"v\":1,\n \"packages\":[]}\n-- web-1.want.json --\n{}\n",
			"tests/a.txtar:5:2: web-1.facts.json.packages: no such field; allowed: v, node, at, os, arch, installed, candidates, pendingReboot, lastInstall, updates\n"},
		{"no facts, no want", at + factsOf + "-- db-1.want.json --\n{}\n", `tests/a.txtar:3:1: web-1: nothing is wanted; add the part web-1.want.json
tests/a.txtar:5:1: db-1: no facts to judge; add the part db-1.facts.json (dunlin inventory --facts on a host writes them)
`},
		{"no instant", factsOf + "-- web-1.want.json --\n{}\n", "tests/a.txtar:1:1: no part at: an instant such as 2026-12-31T22:00:00Z, below a line `-- at --`\n"},
		{"no real instant", "-- at --\nyesterday\n" + factsOf + "-- web-1.want.json --\n{}\n", "tests/a.txtar:2:1: at: \"yesterday\" is not an instant such as \"2026-12-31T22:00:00Z\"\n"},
		{"nothing", "", "tests/a.txtar:1:1: judges no node; add the parts NODE.facts.json and NODE.want.json\ntests/a.txtar:1:1: no part at: an instant such as 2026-12-31T22:00:00Z, below a line `-- at --`\n"},
		{"a part of no test, and one twice", at + at + "-- web-1.fact.json --\n{}\n", `tests/a.txtar:1:1: judges no node; add the parts NODE.facts.json and NODE.want.json
tests/a.txtar:3:1: the part "at" is given twice
tests/a.txtar:5:1: "web-1.fact.json" is no part of a test; the parts are at, NODE.facts.json and NODE.want.json
`},
		{"broken JSON", at + factsOf + "-- web-1.want.json --\n{\"compliance\": COMPLIANT}\n", "tests/a.txtar:6:16: web-1.want.json: not JSON: 'C' looking for beginning of value\n"},
		{"JSON that ends", at + factsOf + "-- web-1.want.json --\n{\"compliance\":\n", "tests/a.txtar:7:1: web-1.want.json: the JSON ends too early\n"},
		{"a field twice", at + factsOf + "-- web-1.want.json --\n{\"compliance\":\"COMPLIANT\",\n \"compliance\":\"NON_COMPLIANT\"}\n", "tests/a.txtar:7:2: web-1.want.json: \"compliance\" is given twice\n"},
		{"too deep", at + factsOf + "-- web-1.want.json --\n" + strings.Repeat(`{"a":`, 1000) + "\n", "tests/a.txtar:6:41: web-1.want.json: nested more than 8 deep\n"},
		{"not UTF-8", "-- at --\n\xff\n", "tests/a.txtar:1:1: not UTF-8\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got strings.Builder
			for _, f := range run(tt.text).Faults {
				got.WriteString(f.String() + "\n")
			}
			if got.String() != tt.want {
				t.Errorf("faults:\n%swant:\n%s", got.String(), tt.want)
			}
		})
	}
	if r := run(at + factsOf + "-- web-1.want.json --\n{}\n"); r.Nodes != 1 {
		t.Errorf("%d nodes were judged", r.Nodes)
	}
}

func FuzzPolicyTest(f *testing.F) {
	f.Add("-- at --\n2026-01-13T00:30:00Z\n" + factsOf + "-- web-1.want.json --\n{\"patches\":[{\"id\":\"x\"}],\"counts\":{\"MissingCount\":1}}\n")
	f.Add("-- at --\n2026-01-13T00:30:00Z\n-- web-1.facts.json --\n{\"v\":1}\n-- web-1.want.json --\n{\"patches\":[[]]}")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Count(text, "\n") + 1
		for _, x := range run(text).Faults {
			if x.Line < 1 || x.Line > lines || x.Column < 1 || x.Message == "" {
				t.Fatalf("%+v", x)
			}
		}
	})
}
