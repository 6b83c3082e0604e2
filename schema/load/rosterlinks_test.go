package load

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dunlin-dev/dunlin/schema"
)

// What depends on the roster is a warning, at the place of the name.
func TestRosterLinks(t *testing.T) {
	example := folderFS(t, "testdata/example")
	for _, tt := range []struct {
		name  string
		files string // added to the example
		edit  func(m fstest.MapFS)
		want  string
	}{
		{"nothing is wrong", "", nil, ""},
		{"nodes that do not exist, wherever they are named", `
-- a.cue --
policy: a: targets: nodes: ["web-1", "web-9"]
resourceGroup: b: targets: {all: true, exclude: nodes: ["wbe-1"]}
for n in ["db-2", "db-22"] {
	policy: "on-\(n)": targets: nodes: [n]
}
-- exceptions/a.cue --
exception: x: {targets: nodes: ["lab-7"], cves: ["CVE-2026-12345"], reason: "r", approvedBy: "a", until: "2099-01-01T00:00:00Z"}
`, nil, `a.cue:2:38: warning: policy.a.targets.nodes[1]: no node "web-9" (did you mean "web-1"?) in the roster
a.cue:3:57: warning: resourceGroup.b.targets.exclude.nodes[0]: no node "wbe-1" (did you mean "web-1"?) in the roster
a.cue:5:38: warning: policy.on-db-22.targets.nodes[0]: no node "db-22" (did you mean "db-2"?) in the roster
exceptions/a.cue:2:33: warning: exception.x.targets.nodes[0]: no node "lab-7" (did you mean "lab-1"?) in the roster
`},
		{"a witness that does not exist", "", func(m fstest.MapFS) {
			change(t, m, "fleet.cue", `"win-1"]`, `"win-2"]`)
		}, `fleet.cue:20:31: warning: fleet.witnesses[2]: no node "win-2" (did you mean "win-1"?) in the roster
`},
		{"a node that is retired", `
-- a.cue --
policy: a: targets: nodes: ["old-1", "lab-1"]
`, nil, `a.cue:2:29: warning: policy.a.targets.nodes[0]: node "old-1" is retired
`},
		{"a secret for fewer than its readers", "", func(m fstest.MapFS) {
			change(t, m, "parameters/ops.cue", `"db-1"]`, `"db-1", "db-2"]`)
			change(t, m, "fleet.cue", `recovery: ["age1lcd5axs8aea79aln5rnfmm04l4wezttp6zu543y4mqpccn9lf4vq9spx6g", "age1nufj3u903wee3anw6zpep9thqavdy0zx9x7clx8s2sc5sltkad7qmal2q5"]`, `recovery: ["age1lcd5axs8aea79aln5rnfmm04l4wezttp6zu543y4mqpccn9lf4vq9spx6g", "age1nufj3u903wee3anw6zpep9thqavdy0zx9x7clx8s2sc5sltkad7qmal2q5", "age12gf25z2grzy6lzj4p22dtyxq924vfef5m4rc6j2sw72vxgpdc9nqh22fss"]`)
		}, `parameters/ops.cue:6:24: warning: parameter."/ops/webhook-key".versions.1.value: encrypted to 2 recipients, and readers select 3 nodes (db-1, db-2, web-1) and fleet.recovery has 3; dunlin param rotate /ops/webhook-key
parameters/prod/prod.cue:35:12: warning: parameter."/prod/db/password".versions.4.value: encrypted to 4 recipients, and readers select 4 nodes (db-1, db-2, web-1, web-2) and fleet.recovery has 3; dunlin param rotate /prod/db/password
`},
		{"a secret whose recipients are not its readers", "", func(m fstest.MapFS) {
			change(t, m, "parameters/ops.cue", `versions: "1": value: """`, `versions: "1": recipients: ["`+web1+`", "`+old1+`"]
	versions: "1": value: """`)
		}, `parameters/ops.cue:6:17: warning: parameter."/ops/webhook-key".versions.1.recipients: not encrypted to db-1, fleet.recovery[0], fleet.recovery[1]; encrypted to old-1, who should not read it any more and have; dunlin param rotate /ops/webhook-key
`},
		{"a secret for nobody", "", func(m fstest.MapFS) {
			change(t, m, "parameters/ops.cue", `nodes: ["web-1", "db-1"]`, `tags: role: "none"`)
		}, `parameters/ops.cue:5:2: warning: parameter."/ops/webhook-key".readers: select no node of the roster: nobody can read this
`},
		{"a file from a secret that a node cannot read", `
-- a.cue --
policy: a: {targets: nodes: ["web-1", "win-1"], files: "/x": contentFrom: parameter: "/prod/db/password"}
policy: b: {targets: nodes: ["web-1"], files: "/x": contentFrom: parameter: "/prod/db/password"}
`, nil, `a.cue:2:86: warning: policy.a.files."/x".contentFrom.parameter: its readers do not select win-1, which the targets of this policy do
`},
		{"a roster with a fault says nothing of who is there", `
-- a.cue --
policy: a: targets: nodes: ["web-9"]
-- nodes/aa.jsonl --
{}
`, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := maps.Clone(example)
			change(t, m, "fleet.cue", `minAgent:  "0.4.0"`, `minAgent:  "0.4.0", recovery: ["age1lcd5axs8aea79aln5rnfmm04l4wezttp6zu543y4mqpccn9lf4vq9spx6g", "age1nufj3u903wee3anw6zpep9thqavdy0zx9x7clx8s2sc5sltkad7qmal2q5"]`)
			for name, f := range files(tt.files) {
				if name != "fleet.cue" {
					m[name] = f
				}
			}
			if tt.edit != nil {
				tt.edit(m)
			}
			_, faults, err := language()(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			faults = slices.DeleteFunc(faults, func(f schema.Fault) bool {
				return f.Severity != schema.SeverityWarning || strings.HasPrefix(f.File, "cue.mod")
			})
			if tt.name != "a secret for fewer than its readers" {
				faults = slices.DeleteFunc(faults, func(f schema.Fault) bool { return strings.Contains(f.Message, "and fleet.recovery has") })
			}
			if got := lines(faults); got != tt.want {
				t.Errorf("warnings:\n%swant:\n%s", got, tt.want)
			}
		})
	}
}

// change replaces a text in a file of a tree, which keeps the others' bytes.
// Keys of the example's roster.
const (
	web1 = "age1fywuy9z5sl9ew9lyueu9wmqcttuf62gndr9650g9se2v97t39crsr5mwrg"
	old1 = "age1zec5xw0se96wzy4ynw2ezwa2lylf4gkjy0e2tunhwhlskru9j5zsmtn0ry"
)

func change(t *testing.T, m fstest.MapFS, name, from, to string) {
	t.Helper()
	b := bytes.Replace(m[name].Data, []byte(from), []byte(to), 1)
	if bytes.Equal(b, m[name].Data) {
		t.Fatalf("%q is not in %s", from, name)
	}
	m[name] = &fstest.MapFile{Data: b}
}
