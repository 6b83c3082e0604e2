package load

import (
	"maps"
	"strings"
	"testing"
	"testing/fstest"
)

// Who lets itself in chooses its os, and must not choose with it which secrets it reads.
func TestSecretsForWhoeverSaysThatItHasAnOS(t *testing.T) {
	example := folderFS(t, "testdata/example")
	const auto = "enrol: {paths: [\"nodes/**\"], activations: [\"act-7q2m9c\"]}"
	for _, tt := range []struct {
		readers, roles string
		warns          bool
	}{
		{`os: ["debian"]`, auto, true},
		{`all: true`, auto, true},
		{`{all: true, exclude: tags: role: "web"}`, auto, true},
		{`{os: ["debian"], tags: role: "db"}`, auto, false},
		{`tags: role: "db"`, auto, false},
		{`nodes: ["web-1"]`, auto, false},
		{`groups: ["any"]`, auto, true},
		{`{groups: ["any"], resourceGroups: ["here"]}`, auto, true},
		{`{groups: ["any"], tags: role: "db"}`, auto, false},
		{`groups: ["PG"]`, auto, false},
		{`{all: true, exclude: nodes: ["web-1"]}`, auto, true},
		{`{all: true, exclude: os: ["debian"]}`, auto, true},
		{`{os: ["debian"], exclude: os: ["debian"]}`, auto, false},
		{`os: ["debian"]`, "", false},
		{`os: ["debian"]`, `enrol: paths: ["nodes/**"]`, false},
	} {
		t.Run(tt.readers, func(t *testing.T) {
			m := maps.Clone(example)
			change(t, m, "parameters/ops.cue", `readers: nodes: ["web-1", "db-1"]`, "readers: "+tt.readers)
			m["groups/any.cue"] = &fstest.MapFile{Data: []byte("package fleet\n\ngroup: any: {targets: os: [\"debian\"], baselines: []}\ngroup: PG: baselines: []\nresourceGroup: here: targets: {all: true}\n")}
			change(t, m, "fleet.cue", `heartbeat: paths: []`, "heartbeat: paths: []\n"+tt.roles)
			_, faults, err := language()(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			warns := false
			for _, f := range faults {
				if strings.Contains(f.Message, "what it says of itself") {
					warns = true
					if f.Path != `parameter."/ops/webhook-key".readers` || !strings.Contains(f.Message, `"enrol"`) {
						t.Errorf("the warning is %s", f)
					}
				}
			}
			if warns != tt.warns {
				t.Errorf("readers: %s: warned: %t, want %t; faults:\n%s", tt.readers, warns, tt.warns, lines(faults))
			}
		})
	}
}
