package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/reconciler/target"
	"github.com/dunlin-dev/dunlin/schema"
)

// fakeFleet answers as the agent of web-001 in a fleet that no host has: the same at every run but for its clock.
type fakeFleet struct {
	api.Backend
	now    func() time.Time
	roster []schema.RosterLine
	states map[string]fakeState // by name
	status schema.FleetStatus   // what the nodes do not decide
	says   string               // about a package
}

// fakeState is what is known of a node.
type fakeState struct {
	status  schema.NodeStatus
	away    time.Duration
	commit  string
	types   []schema.TypeCompliance
	problem string
}

const (
	fakeHead   = "9a41f03c1d22b7e0c3f5a9d84e6b1c7f2a3d5e80"
	fakeOld    = "77ab10c90e114f6d8b2c5a7e9f3d1b0c6e8a4d25"
	fakeAnchor = "3f2a9c1d5b8e4f60718293a4b5c6d7e8f9012345"
	fakeBad    = "c0ffee1122334455667788990011223344556677"
)

func types(patch, policy []schema.ComplianceItem) []schema.TypeCompliance {
	state := func(items []schema.ComplianceItem) schema.Compliance {
		if len(items) > 0 {
			return schema.NonCompliant
		}
		return schema.Compliant
	}
	return []schema.TypeCompliance{{Type: "Patch", State: state(patch), Items: patch}, {Type: "Policy", State: state(policy), Items: policy}}
}

// newFakeFleet has n nodes: of each ten of the front six are web, three db, one edge.
func newFakeFleet(n int, now func() time.Time) *fakeFleet {
	f := &fakeFleet{now: now, states: map[string]fakeState{}, says: "shell with lots of features"}
	roles := []string{"web", "db", "edge", "web", "web", "db", "web", "web", "db", "web"}
	seen := map[string]int{}
	missing := []schema.ComplianceItem{
		{ID: "libssl3.amd64", State: "Missing", Reason: "approved by rule 1 (security only): security update from Debian-Security; installed is 3.0.16-1~deb12u1"},
		{ID: "openssl.amd64", State: "Missing", Reason: "approved by rule 1 (security only): security update from Debian-Security; installed is 3.0.16-1~deb12u1"},
	}
	telnet := []schema.ComplianceItem{{ID: "port:in/tcp/23/any", State: "Failed", Reason: "add 1 element to set in of table inet dunlin: operation not permitted"}}
	for i := range n {
		role := roles[i%len(roles)]
		seen[role]++
		name := fmt.Sprintf("%s-%03d", role, seen[role])
		id := (strconv.FormatInt(int64(i), 32) + strings.Repeat("a", 26))[:26]
		tags := map[string]string{"role": role, "env": "prod"}
		if i%7 == 3 {
			tags["canary"] = "true"
		}
		f.roster = append(f.roster, schema.RosterLine{ID: id, Name: name, Tags: tags, OS: "debian", State: schema.NodeActive})
		s := fakeState{status: schema.Online, commit: fakeHead, types: types(nil, nil)}
		switch {
		case name == "db-001":
			s.status, s.away, s.commit = schema.ConnectionLost, 3*time.Minute+20*time.Second, fakeOld
		case name == "edge-001":
			s.types = types(missing, telnet)
		case name == "edge-002":
			s.status, s.commit, s.types = schema.Pending, "", nil
		case name == "edge-003":
			s.status, s.away, s.types = schema.ConnectionLost, 26*time.Hour+90*time.Second, types(missing[:1], nil)
		case role == "db" && i%4 == 1:
			s.types = types(missing, nil)
		case name == "web-020":
			s.problem = "this host's clock is 3m12s ahead of those of 5 other nodes: no window is trusted and no patch installed until it is set"
		}
		f.states[name] = s
	}
	if n > 5 {
		f.roster[n-1].State = schema.NodeRetired
		f.states[f.roster[n-1].Name] = fakeState{status: schema.Retired}
	}
	slices.SortFunc(f.roster, func(x, y schema.RosterLine) int { return strings.Compare(x.Name, y.Name) })
	waiting := 0
	f.status = schema.FleetStatus{
		Node: "web-001", ID: strings.Repeat("a", 26), Fleet: "acme", Commit: fakeHead,
		Trust:    &schema.TrustStatus{Anchor: fakeAnchor, Verified: fakeHead, Freshness: "1d", Heartbeat: now().Add(-12 * time.Minute)},
		Remote:   schema.RemoteStatus{URL: "https://git.example.org/ops/policy.git", Head: fakeHead, Readers: []string{"web-001", "web-002", "edge-001"}},
		Reporter: schema.ReporterStatus{Elected: []string{"web-001", "web-002"}, Waiting: &waiting},
	}
	return f
}

// refusing makes the head one that all refuse.
func (f *fakeFleet) refusing() *fakeFleet {
	f.status.Remote.Head = fakeBad
	f.status.Trust = &schema.TrustStatus{Anchor: fakeAnchor, Verified: fakeHead, Freshness: "1h", Heartbeat: f.now().Add(-3 * time.Hour), Stale: "the newest heartbeat is too old"}
	f.status.Refused = []schema.RefusedCommit{{Commit: fakeBad, Nodes: 3, Reason: "the policy has 2 faults and is refused whole", Faults: []schema.Fault{
		{File: "baselines/web.cue", Line: 7, Column: 35, Path: `baseline.web-prod.approvalRules[0].filters.PRIORITY[1]`, Message: `"Imporant" is not one of Required, Important, Standard, Optional, Extra, * (did you mean "Important"?)`},
		{File: "policies/web.cue", Line: 4, Column: 23, Path: "policy.web.blockedPorts[0].port", Message: "70000 is not a port from 1 to 65535"},
	}}}
	return f
}

// idling has a policy with things that this version does nothing with.
func (f *fakeFleet) idling() *fakeFleet {
	f.status.Idle = []string{"window.tasks.notify", "document", "sink", "rule"}
	f.status.Trust = &schema.TrustStatus{}
	return f
}

// starting is the agent of a host that the roster has not, before it could read the remote.
func (f *fakeFleet) starting() *fakeFleet {
	f.roster = nil
	f.status = schema.FleetStatus{ID: strings.Repeat("a", 26), Remote: schema.RemoteStatus{URL: f.status.Remote.URL,
		Error: `read the head of "https://git.example.org/ops/policy.git": access refused: give the agent a credential that may read`}}
	return f
}

// badly has everything wrong that can be, in the words of somebody who wishes the reader ill.
func (f *fakeFleet) badly() *fakeFleet {
	const evil = "\x1b[2J\x1b]0;gone\x07\u202eeman\u009b31m"
	f.status.Commit, f.status.Node, f.says = "", "", evil
	f.status.Remote = schema.RemoteStatus{URL: "ssh://git@git.example.org/policy.git", Error: "the remote cannot be reached: dial tcp: " + evil}
	f.status.Reporter = schema.ReporterStatus{}
	f.status.Problems, f.status.Idle = []string{evil}, []string{evil}
	f.status.Due = []schema.ParameterDue{{Parameter: evil, What: evil}, {Parameter: evil, What: schema.ParameterExpired}}
	f.status.Refused = []schema.RefusedCommit{{Commit: evil, Reason: evil, Faults: []schema.Fault{{File: evil, Line: 1, Column: 1, Message: evil}}}}
	for i := range f.roster {
		name := f.roster[i].Name
		s := f.states[name]
		s.problem, s.commit = evil, evil
		s.types = []schema.TypeCompliance{{Type: evil, State: schema.NonCompliant, Items: []schema.ComplianceItem{{ID: evil, State: evil, Reason: evil}}}}
		f.roster[i].Name, f.roster[i].Tags = name+evil, map[string]string{evil: evil}
		f.states[name+evil] = s
	}
	return f
}

func (f *fakeFleet) view(l schema.RosterLine) schema.NodeView {
	s := f.states[l.Name]
	v := schema.NodeView{Name: l.Name, ID: l.ID, Status: s.status, Commit: s.commit, State: l.State, OS: l.OS, Tags: l.Tags,
		Compliance: schema.Compliant, Problem: s.problem}
	for _, t := range s.types {
		if t.State == schema.NonCompliant {
			v.Compliance = schema.NonCompliant
		}
	}
	if len(s.types) == 0 {
		v.Compliance = schema.UnspecifiedData
	}
	switch s.status {
	case schema.Online:
		v.LastSeen = f.now()
	case schema.ConnectionLost:
		v.LastSeen = f.now().Add(-s.away)
	}
	return v
}

func (f *fakeFleet) Nodes() []schema.NodeView {
	var out []schema.NodeView
	for _, l := range f.roster {
		out = append(out, f.view(l))
	}
	return out
}

func (f *fakeFleet) Compliance() []schema.NodeCompliance {
	var out []schema.NodeCompliance
	for _, v := range f.Nodes() {
		if v.State != schema.NodeActive {
			continue
		}
		all := f.states[v.Name].types
		if len(all) == 0 {
			all = []schema.TypeCompliance{{Type: "Patch", State: schema.UnspecifiedData}, {Type: "Policy", State: schema.UnspecifiedData}}
		}
		for _, t := range all {
			out = append(out, schema.NodeCompliance{Node: v.Name, Type: t.Type, State: t.State, Items: t.Items, Stale: v.Status != schema.Online, Status: v.Status, LastSeen: v.LastSeen})
		}
	}
	return out
}

func (f *fakeFleet) Status() schema.FleetStatus {
	s := f.status
	s.At = f.now()
	if s.Commit != "" {
		s.Since = s.At.Add(-3*time.Hour - 12*time.Minute)
	}
	if s.Remote.Error == "" {
		s.Remote.LastRead = s.At.Add(-12 * time.Second)
	} else {
		s.Remote.Retry = s.At.Add(40 * time.Second)
	}
	if len(s.Reporter.Elected) > 0 {
		s.Reporter.LastPush = s.At.Add(-4*time.Minute - 5*time.Second)
	}
	s.Nodes, s.Compliance = map[string]int{}, map[schema.Compliance]int{}
	for _, v := range f.Nodes() {
		s.Nodes[string(v.Status)]++
		if v.State != schema.NodeActive {
			continue
		}
		s.Compliance[v.Compliance]++
		if v.Status == schema.ConnectionLost {
			s.Stale++
		}
		if v.Commit == s.Commit {
			s.Holds++
		}
		if v.Status != schema.Online || v.Problem != "" {
			if len(s.Unwell) == 8 {
				s.More++
				continue
			}
			s.Unwell = append(s.Unwell, v)
		}
	}
	return s
}

func (f *fakeFleet) Sync(context.Context) (schema.RemoteStatus, error) { return f.status.Remote, nil }

func (f *fakeFleet) Select(texts []string) (map[string]bool, error) {
	t, err := target.Parse(texts)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, l := range f.roster {
		if target.Match(t, l.Node(), target.Sets{}) {
			out[l.Name] = true
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w %q of %d in the roster", api.ErrNoMatch, texts, len(f.roster))
	}
	return out, nil
}

func (f *fakeFleet) find(name string) (schema.NodeView, error) {
	if name == "" {
		name = f.status.Node
	}
	for _, v := range f.Nodes() {
		if v.Name == name {
			return v, nil
		}
	}
	return schema.NodeView{}, fmt.Errorf("%w as %q in the roster of %d (did you mean %q?)", api.ErrNoNode, name, len(f.roster), f.roster[0].Name)
}

// Explain knows the items that count against nodes, and one file that is well.
func (f *fakeFleet) Explain(_ context.Context, node, item string, all bool) (api.Explained, error) {
	v, err := f.find(node)
	if err != nil {
		return api.Explained{}, err
	}
	own := v.Name == f.status.Node
	x := api.Explained{Node: v.Name, Status: v.Status, LastSeen: v.LastSeen, Commit: v.Commit, Here: f.status.Commit, Own: own, Managed: 2, Problem: v.Problem}
	window := &schema.Opening{Window: "sun-0200", Start: time.Date(2026, 11, 29, 2, 0, 0, 0, time.UTC), End: time.Date(2026, 11, 29, 5, 0, 0, 0, time.UTC)}
	var every []schema.Explanation
	for _, t := range f.states[v.Name].types {
		x.Types = append(x.Types, api.Verdict{Type: t.Type, State: t.State})
		for _, i := range t.Items {
			e := schema.Explanation{Item: itemName(t.Type, i.ID), State: i.State, Reason: i.Reason}
			if t.Type == "Patch" {
				e.Baseline, e.Because, e.Rule, e.Severity, e.Window = "debian-prod", "group edge", 1, schema.High, window
				e.Position = &schema.Position{File: "baselines/debian.cue", Line: 7, Column: 3}
				e.Want, e.Got = "3.0.17-1~deb12u3", "3.0.17-1~deb12u3"
				e.Patch = &schema.Patch{ID: i.ID, Classification: "Security", Severity: "important"}
			} else {
				e.Policy, e.Severity, e.Position = "no-telnet", schema.High, &schema.Position{File: "policies/telnet.cue", Line: 5, Column: 16}
			}
			every = append(every, e)
		}
	}
	if len(x.Types) == 0 {
		for _, t := range []string{"Patch", "Policy"} {
			x.Types = append(x.Types, api.Verdict{Type: t, State: schema.UnspecifiedData})
			every = append(every, schema.Explanation{Item: t, State: string(schema.UnspecifiedData), Reason: "the node told nothing yet"})
		}
	}
	every = append(every, schema.Explanation{Item: "file:/etc/motd", State: "Compliant", Policy: "motd", Severity: schema.Low,
		Reason: "as policy motd wants it", Position: &schema.Position{File: "policies/motd.cue", Line: 5, Column: 9}, Restart: []string{"cron"}})
	if own && item == "patch:zsh.amd64" {
		every = append(every, schema.Explanation{Item: item, State: "Installed", Reason: "5.9-4 is installed"})
	}
	for _, e := range every {
		e.Node = v.Name
		if !own {
			e.Told, e.Unknown = true, "what is on the host now; ask there: dunlin explain "+e.Item
			if v.Status != schema.Online {
				e.LastSeen = v.LastSeen
			}
		}
		if e.Item == item || item == "" && (all || e.State != "Compliant") {
			x.Items = append(x.Items, e)
		}
	}
	if item != "" && len(x.Items) == 0 {
		return x, fmt.Errorf("%w: nothing manages %q on node %s; there are file:/etc/motd", api.ErrNoItem, item, v.Name)
	}
	return x, nil
}

func (f *fakeFleet) Scan(context.Context) (schema.Patching, error) {
	return schema.Patching{Baseline: "debian-prod", Because: "group web", Judgement: schema.Judgement{
		Patches: []schema.Patch{{ID: "openssl.amd64", Title: "openssl.amd64:3.0.17-1~deb12u3", State: schema.Missing, Deployment: schema.Approved,
			Classification: "Security", Severity: "important", ComplianceLevel: schema.High, Reason: "approved by rule 1 (security only): security update from Debian-Security; installed is 3.0.16-1~deb12u1"}},
		Counts: schema.Counts{InstalledCount: 411, MissingCount: 1, SecurityNonCompliantCount: 1}, Compliance: schema.NonCompliant}}, nil
}

func (f *fakeFleet) Inventory(_ context.Context, node string, wanted []string) (map[string]json.RawMessage, error) {
	v, err := f.find(node)
	if err != nil {
		return nil, err
	}
	if v.Status != schema.Online {
		return nil, fmt.Errorf("node %q: %w", v.Name, api.ErrNodeUnreachable)
	}
	out := map[string]json.RawMessage{}
	for _, t := range wanted {
		out[t] = json.RawMessage("[]")
		if t == "AWS:Application" {
			b, err := json.Marshal([]map[string]string{
				{"Name": "openssl", "Version": "3.0.16-1~deb12u1", "Architecture": "amd64", "InstalledTime": "2026-10-04T03:12:00Z", "Summary": "Secure Sockets Layer toolkit"},
				{"Name": "zsh", "Version": "5.9-4", "Architecture": "amd64", "InstalledTime": "2026-02-11T09:40:00Z", "Summary": f.says}})
			if err != nil {
				return nil, err
			}
			out[t] = b
		}
	}
	return out, nil
}

// serveFake answers as fakeFleet on a socket, by the clock of this host.
func serveFake(nodes, socket string) error {
	n, err := strconv.Atoi(nodes)
	if err != nil {
		return err
	}
	return answer(socket, newFakeFleet(n, time.Now))
}
