package agenttest_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/schema"
)

// Nodes that wait for others to hold their clocks against begin as soon as those are there, not with the next whole minute.
func TestPatchingBeginsAsSoonAsClocksCanBeCompared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		files := fleetFiles("one\n")
		files["patching.cue"] = `package fleet

baseline: debian: {operatingSystem: "DEBIAN", default: true, approvalRules: [{filters: PRIORITY: ["*"], approveAfterDays: 0}]}
window: always: {
	schedule: "cron(0 0 ? * * *)"
	duration: "24h"
	targets: all: true
	tasks: patch: {document: "AWS-RunPatchBaseline", parameters: {Operation: "Install", RebootOption: "NoReboot"}, maxConcurrency: "100%", maxErrors: "100%"}
}
`
		c := agenttest.NewCluster(t, 97, 3, files)
		defer c.StopAll()
		for _, n := range c.Nodes {
			if err := n.Host.SetArchive(host.SimulatedArchive{
				Arch: "amd64", Debian: "12",
				Installed: map[string]host.SimulatedInstalled{
					"dpkg":    {Version: "1.21.22", State: schema.PackageInstalled},
					"openssl": {Version: "3.0.16-1~deb12u1", State: schema.PackageInstalled},
				},
				Versions: map[string][]host.SimulatedVersion{
					"dpkg":    {{Version: "1.21.22", Priority: "required", Section: "admin"}},
					"openssl": {{Version: "3.0.16-1~deb12u1", Section: "utils"}, {Version: "3.0.17-1~deb12u2", Section: "utils", Security: true}},
				},
			}); err != nil {
				t.Fatal(err)
			}
		}
		patched := func(n *agenttest.Node) bool {
			all, err := n.Host.Packages(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(all, func(p schema.PackageStatus) bool { return p.Version == "3.0.17-1~deb12u2" })
		}
		c.Nodes[0].Start()
		c.Nodes[1].Start()
		time.Sleep(2*time.Minute + 5*time.Second)
		for _, n := range c.Nodes[:2] {
			if patched(n) {
				t.Errorf("%s was patched while only one other clock was there", n.Name)
			}
		}
		c.Nodes[2].Start()
		took := c.Until("all are patched", 2*time.Minute, func() bool {
			return !slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool { return !patched(n) })
		})
		if t.Logf("patched after %v", took); took > 30*time.Second {
			t.Errorf("patched %v after there were enough clocks", took)
		}
	})
}
