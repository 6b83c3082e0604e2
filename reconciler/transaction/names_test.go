package transaction

import (
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// apt-get takes "tb.tool" for an expression, "tb-tool+" for tb-tool and "tb-lib-" for its removal.
func TestANameThatThePackageManagerReadsAsSomethingElseIsRefused(t *testing.T) {
	have := []schema.PackageStatus{{Name: "tb-lib", Arch: "all", Version: "1", State: schema.PackageInstalled}}
	tool := schema.SimulatedStep{Action: schema.Install, Name: "tb-tool", Arch: "all", New: "1"}
	gone := schema.SimulatedStep{Action: schema.Remove, Name: "tb-lib", Arch: "all", Old: "1"}
	for name, steps := range map[string][]schema.SimulatedStep{"tb.tool": {tool}, "tb-tool+": {tool}, "tb-lib-": {gone}, "tb-other-": nil} {
		tx := schema.Transaction{Install: []schema.PackageRef{{Name: name}}, MaxRemovals: 5}
		err := Refuse(tx, schema.Simulation{Steps: steps}, have, nil)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"tb-tool", "tb-lib"} {
		tx := schema.Transaction{Install: []schema.PackageRef{{Name: name}}}
		if err := Refuse(tx, schema.Simulation{Steps: []schema.SimulatedStep{tool}}, have, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
