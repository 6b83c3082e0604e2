package agenttest_test

import (
	"crypto/ed25519"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

// seenFiles is a policy whose approvals count a week from the fleet's own sightings.
func seenFiles() map[string]string {
	files := fleetFiles("one\n")
	files["baselines/debian.cue"] = `package fleet

baseline: debian: {operatingSystem: "DEBIAN", default: true, releaseDates: "firstSeen", approvalRules: [{filters: PRIORITY: ["*"], approveAfterDays: 7}]}
`
	return files
}

// offer has the archives of a host offer versions of openssl, of which it has the first.
func offer(t *testing.T, n *agenttest.Node, versions ...string) {
	t.Helper()
	a := host.SimulatedArchive{
		Arch: "amd64", Debian: "12",
		Installed: map[string]host.SimulatedInstalled{
			"dpkg":    {Version: "1.21.22", State: schema.PackageInstalled},
			"openssl": {Version: versions[0], State: schema.PackageInstalled},
		},
		Versions: map[string][]host.SimulatedVersion{"dpkg": {{Version: "1.21.22"}}},
	}
	for _, v := range versions {
		a.Versions["openssl"] = append(a.Versions["openssl"], host.SimulatedVersion{Version: v, Security: true})
	}
	if err := n.Host.SetArchive(a); err != nil {
		t.Fatal(err)
	}
}

// verdictOn is what a node's own scan says of openssl.
func verdictOn(t *testing.T, n *agenttest.Node) (p schema.Patch) {
	t.Helper()
	got, err := n.Agent.Scan(t.Context())
	if err != nil {
		return p
	}
	for _, one := range got.Judgement.Patches {
		if one.ID == "openssl.amd64" {
			return one
		}
	}
	t.Fatalf("%s: no openssl in %v", n.Name, got)
	return p
}

const securityArchive = "Debian/Debian-Security/bookworm-security/main"

// What the archives have when a fleet first looks there is approved at once; a later version a week after the second node
// has seen it, and a node that lies of it moves that by nothing. What was seen survives restarts, the loss of the node
// that saw it first, and goes by the reports branch to a node that comes new.
func TestASecondNodeDatesAVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 41, 5, seenFiles())
		defer shows(t, c)
		defer c.StopAll()
		var skew atomic.Int64
		for _, n := range c.Nodes {
			n.Change = func(o *agent.Options) {
				o.Local.Now = func() time.Time { return time.Now().Add(time.Duration(skew.Load())) }
			}
			offer(t, n, "1", "2")
		}
		honest, late := c.Nodes[:3], c.Nodes[3]
		for _, n := range honest {
			n.Start()
		}
		for _, n := range honest {
			c.Until("what was there is old enough on "+n.Name, 5*time.Minute, func() bool { return verdictOn(t, n).Deployment == schema.Approved })
		}

		liar, end := lie(t, c, c.Nodes[4])
		defer end()
		early := time.Now().UTC().Add(-1000 * time.Hour).Truncate(time.Second)
		liar.say(t, schema.RecordSeen, "0", schema.SeenRecord{Archives: map[string]schema.SeenArchive{
			securityArchive: {First: early, Seen: map[string][]string{early.Format(time.RFC3339): {"openssl 2", "openssl 3"}}},
		}})
		time.Sleep(10 * time.Minute)
		offer(t, honest[0], "1", "3")
		time.Sleep(10 * time.Minute)
		if p := verdictOn(t, honest[0]); p.Deployment != schema.PendingApproval {
			t.Errorf("what one node and a liar saw: %s %s, %s", p.State, p.Deployment, p.Reason)
		}
		first := time.Now().UTC().Add(-9 * time.Minute)
		offer(t, honest[1], "1", "3")
		time.Sleep(10 * time.Minute)
		for _, n := range honest[:2] {
			p := verdictOn(t, n)
			if p.Deployment != schema.PendingApproval || !strings.Contains(p.Reason, "3 waits until ") || !strings.Contains(p.Reason, "first seen "+first.Format("2006-01-02T15:")+"1") {
				t.Errorf("%s: %s %s, %s; want a week after %s at the earliest", n.Name, p.State, p.Deployment, p.Reason, first)
			}
		}
		offer(t, honest[2], "1", "3")
		time.Sleep(5 * time.Minute)
		for _, n := range honest {
			date := verdictOn(t, honest[0])
			if f := rebuilt(t, c, n, time.Now()); len(f.Candidates) != 1 || !strings.Contains(date.Reason, "first seen "+f.Candidates[0].FirstSeen.Format(time.RFC3339)) {
				t.Errorf("%s on the branch: %v, while a node itself says %s", n.Name, f.Candidates, date.Reason)
			}
		}

		// The first of them is lost, and the others start again, six days later.
		honest[0].Stop()
		for _, n := range honest[1:] {
			n.Stop()
		}
		skew.Store(int64(6 * 24 * time.Hour))
		for _, n := range honest[1:] {
			n.Start()
		}
		time.Sleep(5 * time.Minute)
		for _, n := range honest[1:] {
			if p := verdictOn(t, n); p.Deployment != schema.PendingApproval || !strings.Contains(p.Reason, "3 waits until ") {
				t.Errorf("%s, after six days: %s %s, %s", n.Name, p.State, p.Deployment, p.Reason)
			}
		}
		for _, n := range honest[1:] {
			n.Stop()
		}
		skew.Store(int64(7*24*time.Hour + time.Hour))
		for _, n := range honest[1:] {
			n.Start()
			c.Until("a week later it is approved on "+n.Name, 5*time.Minute, func() bool {
				p := verdictOn(t, n)
				return p.State == schema.Missing && p.Package.Version == "3"
			})
			n.Stop()
		}

		// A node that comes new when none of them is there any more learns it from the branch.
		offer(t, late, "1", "3")
		late.Start()
		c.Until("it is approved on a new node", 5*time.Minute, func() bool {
			p := verdictOn(t, late)
			return p.State == schema.Missing && p.Package.Version == "3"
		})
	})
}

// openBranch opens the branch of reports as who reads it later does.
func openBranch(t *testing.T, c *agenttest.Cluster) *report.Branch {
	t.Helper()
	tree, _, err := gitrepo.OpenRef(c.Path(), "refs/heads/reports")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]ed25519.PublicKey{}
	for _, n := range c.Nodes {
		keys[n.Keys.ID()] = n.Keys.Public()
	}
	read := func(path string) ([]byte, error) { return fs.ReadFile(tree.FS, path) }
	list := func(dir string) ([]string, error) {
		entries, err := fs.ReadDir(tree.FS, dir)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names, err
	}
	if _, bad, err := report.Verify(read, list, "acme", keys); err != nil || len(bad) > 0 {
		t.Errorf("verify: %v, %v", bad, err)
	}
	b, err := report.OpenBranch(read, list, keys, inventory.CompareVersions)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rebuilt holds the facts of a node, put together from the branch, against those of its host.
func rebuilt(t *testing.T, c *agenttest.Cluster, n *agenttest.Node, now time.Time) schema.Facts {
	t.Helper()
	line, err := report.ParseLine([]byte(standing(c, n)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := openBranch(t, c).Facts(line, now)
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := inventory.ReadFacts(t.Context(), inventory.Options{Root: n.Host.Root()}, inventory.Known{Node: n.Keys.ID(), At: line.Since})
	if err != nil {
		t.Fatal(err)
	}
	undated := got
	undated.Candidates = slices.Clone(got.Candidates)
	for i := range undated.Candidates {
		undated.Candidates[i].FirstSeen = time.Time{}
	}
	if d := cmp.Diff(want, undated); d != "" {
		t.Errorf("%s: facts from the branch (-host +branch):\n%s", n.Name, d)
	}
	return got
}
