package load

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dunlin-dev/dunlin/schema"
)

// What carries authority cannot be written, nor changed, from a place that may not: every way is refused, or is without any effect.
func TestAuthorityIsKept(t *testing.T) {
	b, err := os.ReadFile("testdata/authority.txt")
	if err != nil {
		t.Fatal(err)
	}
	const own = `
-- cue.mod/module.cue --
module: "acme.example/fleet"
language: version: "v0.12.0"
-- fleet.cue --
fleet: {name: "acme", signers: bob: {keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS bob"], roles: ["root", "policy"]}}
-- grants/g.cue --
grant: own: {who: ["bob"], sessions: ["shell"], targets: os: ["debian"], runAs: "deploy"}
`
	load := InProcess(Options{Limits: schema.EnforcedAll()})
	clean, faults, err := load(t.Context(), files(own))
	if err != nil || schema.Refused(faults) {
		t.Fatal(err, lines(faults))
	}
	for _, text := range strings.Split(string(b), "\n====\n") {
		name, rest, _ := strings.Cut(text, "\n")
		t.Run(name, func(t *testing.T) {
			m := fstest.MapFS{}
			for name, f := range files(own) {
				m[name] = f
			}
			for name, f := range files(rest) {
				if name != "fleet.cue" || strings.Contains(rest, "-- fleet.cue --") {
					m[name] = f
				}
			}
			repo, faults, err := load(t.Context(), m)
			if err != nil || schema.Refused(faults) {
				t.Log(err, lines(faults))
				return
			}
			same := len(repo.Grants) == 1 && repo.Grants["own"].RunAs == "deploy" && len(repo.Grants["own"].Who) == 1 && repo.Grants["own"].Targets.All == clean.Grants["own"].Targets.All &&
				len(repo.Fleet.Signers) == 1 && len(repo.Activations)+len(repo.Exceptions)+len(repo.Guardrails)+len(repo.Parameters) == 0
			if !same {
				t.Errorf("accepted:\n%+v\n%+v", repo.Fleet, repo.Grants)
			}
		})
	}
}
