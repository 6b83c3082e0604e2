package agenttest_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/schema"
)

// queryFiles is a fleet with something that is right and something that an audit finds wrong.
func queryFiles() map[string]string {
	files := fleetFiles("one\n")
	files["policies/look.cue"] = `package fleet

policy: look: {
	targets: nodes: ["node-01"]
	mode:     "audit"
	severity: "HIGH"
	files: "/etc/issue": content: "no\n"
}
resourceGroup: front: targets: tags: role: "web"
`
	return files
}

func TestAnyNodeAnswersForTheFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 7, 3, queryFiles())
		defer c.StopAll()
		for _, n := range c.Nodes {
			n.Start()
		}
		first, err := c.Remote.Ref("refs/heads/main")
		if err != nil {
			t.Fatal(err)
		}
		agree(t, c, first, time.Minute)
		a := c.Nodes[0].Agent
		c.Until("all is known on node-00", 2*time.Minute, func() bool {
			s := a.Status()
			return s.Nodes[string(schema.Online)] == 3 && s.Holds == 3 && s.Compliance[schema.NonCompliant] == 1
		})
		s := a.Status()
		if s.Fleet != "acme" || s.Since.IsZero() || s.At.Sub(s.Since) > 3*time.Minute || len(s.Remote.Readers) != 3 {
			t.Errorf("status: fleet %q, in force since %s, read by %q", s.Fleet, s.Since, s.Remote.Readers)
		}
		c.Until("the first reporter knows that nothing waits", 5*time.Minute, func() bool {
			return slices.ContainsFunc(c.Nodes, func(n *agenttest.Node) bool {
				w := n.Agent.Status().Reporter.Waiting
				return w != nil && *w == 0
			})
		})

		// Targets are those of policies.
		for _, tt := range []struct {
			targets []string
			want    int
			err     error
		}{
			{[]string{"tag:role=web"}, 3, nil},
			{[]string{"resourceGroup=front", "!node=node-00"}, 2, nil},
			{[]string{"os=ubuntu"}, 0, api.ErrNoMatch},
			{[]string{"resourceGroup=fronts"}, 0, api.ErrNoMatch},
		} {
			got, err := a.Select(tt.targets)
			if len(got) != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("Select(%q) = %v, %v, want %d", tt.targets, got, err, tt.want)
			}
		}
		if _, err := a.Select([]string{"resourceGroup=fronts"}); err == nil || !strings.Contains(err.Error(), `did you mean "front"?`) {
			t.Errorf("a group that there is not: %v", err)
		}
		if _, err := a.Select([]string{"role=web"}); err == nil || errors.Is(err, api.ErrNoMatch) {
			t.Errorf("targets that are written wrongly: %v", err)
		}

		explainFleet(t, c)
	})
}

func explainFleet(t *testing.T, c *agenttest.Cluster) {
	a, ctx := c.Nodes[0].Agent, t.Context()
	one := func(of *agenttest.Node, node, item string) schema.Explanation {
		t.Helper()
		x, err := of.Agent.Explain(ctx, node, item, false)
		if err != nil || len(x.Items) != 1 {
			t.Fatalf("explain %q %q: %+v, %v", node, item, x, err)
		}
		return x.Items[0]
	}
	// What is right is explained when asked for, and not named otherwise.
	if e := one(c.Nodes[0], "", "file:/etc/motd"); e.State != "Compliant" || e.Told || e.Position == nil || e.Position.File != "policies/web.cue" {
		t.Errorf("own file: %+v", e)
	}
	x, err := a.Explain(ctx, "", "", false)
	if err != nil || !x.Own || x.Managed != 2 || slices.ContainsFunc(x.Items, func(e schema.Explanation) bool { return e.Policy != "" }) {
		t.Errorf("own overview: %+v, %v", x, err)
	}
	if x, err = a.Explain(ctx, "node-00", "", true); err != nil || len(x.Items) < 2 {
		t.Errorf("all of node-00: %+v, %v", x, err)
	}
	// Another node: what it told, with the place from the policy here.
	e := one(c.Nodes[0], "node-01", "file:/etc/issue")
	if !e.Told || e.State != "NonCompliant" || e.Policy != "look" || e.Mode != schema.Audit || e.Severity != "HIGH" || e.Position == nil ||
		e.Position.File != "policies/look.cue" || e.Unknown == "" || !e.LastSeen.IsZero() {
		t.Errorf("what node-01 told: %+v", e)
	}
	if e = one(c.Nodes[1], "", "file:/etc/issue"); e.Told || e.State != "NonCompliant" || e.Want == "" {
		t.Errorf("node-01 of itself: %+v", e)
	}
	if e = one(c.Nodes[0], "node-01", "port:in/tcp/23/any"); e.State != "Compliant" || !e.Told {
		t.Errorf("what node-01 did not name: %+v", e)
	}
	if e = one(c.Nodes[0], "node-01", "patch:zsh"); e.State != string(schema.UnspecifiedData) {
		t.Errorf("a patch of a host whose packages are not known: %+v", e)
	}
	for _, tt := range []struct {
		node, item string
		err        error
	}{
		{"node-1", "", api.ErrNoNode},
		{"node-01", "file:/etc/none", api.ErrNoItem},
		{"", "file:/etc/issue", api.ErrNoItem},
		{"", "file:/" + strings.Repeat("x", 5000), api.ErrNoItem},
	} {
		if _, err := a.Explain(ctx, tt.node, tt.item, false); !errors.Is(err, tt.err) {
			t.Errorf("explain %q %.40q: %v, want %v", tt.node, tt.item, err, tt.err)
		}
	}
	if _, err := a.Explain(ctx, "nod-01", "", false); err == nil || !strings.Contains(err.Error(), `did you mean "node-01"?`) {
		t.Errorf("a node's name with a slip: %v", err)
	}

	// A node that is gone: what it said last, and since when. A commit that it does not hold leaves the rest unknown.
	c.Nodes[1].Stop()
	c.Until("node-01 is missed", 2*time.Minute, func() bool { return a.Status().Nodes[string(schema.ConnectionLost)] == 1 })
	time.Sleep(time.Minute)
	next := c.Push(map[string]string{"policies/web.cue": fleetFiles("two\n")["policies/web.cue"]})
	c.Until("the next commit is in force on node-00", time.Minute, func() bool { return c.Nodes[0].Holds(next) })
	s := a.Status()
	if s.Stale != 1 || len(s.Unwell) != 1 || s.Unwell[0].Name != "node-01" || s.At.Sub(s.Unwell[0].LastSeen) < time.Minute || s.Holds > 2 {
		t.Errorf("status without node-01: %+v", s)
	}
	if e = one(c.Nodes[0], "node-01", "file:/etc/issue"); e.State != "NonCompliant" || e.LastSeen.IsZero() {
		t.Errorf("of a node that is gone: %+v", e)
	}
	if e = one(c.Nodes[0], "node-01", "port:in/tcp/23/any"); e.State != string(schema.UnspecifiedData) {
		t.Errorf("of a node with another commit: %+v", e)
	}
	for _, n := range a.Compliance() {
		if n.Node == "node-01" && (!n.Stale || n.Status != schema.ConnectionLost || n.LastSeen.IsZero()) {
			t.Errorf("compliance of a node that is gone: %+v", n)
		}
	}

	// A commit that does not take hold is named once, with how many refuse it.
	bad := c.Push(map[string]string{"policies/web.cue": "package fleet\n\npolicy: web: {targets: all: true, blockedPorts: [{port: 99999}]}\n"})
	c.Until("both refuse the broken commit", time.Minute, func() bool {
		r := a.Status().Refused
		return len(r) == 1 && r[0].Commit == bad && r[0].Nodes == 2 && len(r[0].Faults) == 1
	})
	if a.Status().Commit != next {
		t.Error("the broken commit took hold")
	}
}
