package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/reconciler/target"
	"github.com/dunlin-dev/dunlin/schema"
)

// The agent answers the socket of its host.
var _ api.Backend = (*Agent)(nil)

// Records are what nodes told last of one kind, by node and key.
func (a *Agent) Records(kind schema.RecordKind) []schema.Record { return a.records.Of(kind) }

// states are what nodes told of themselves last, by id; nobody changes the map.
func (a *Agent) states() map[string]schema.StateRecord { return a.stateLens.look(a.records) }

// statusOf is a node as this one sees it; s is what it told last, if heard. The caller holds mu.
func (a *Agent) statusOf(l schema.RosterLine, s schema.StateRecord, heard bool) schema.NodeStatus {
	switch {
	case l.State == schema.NodeRetired:
		return schema.Retired
	case l.State != schema.NodeActive:
		return schema.Pending
	case s.Clone, a.records.Cloned(l.ID):
		return schema.CloneConflict
	case l.ID == a.keys.ID(), a.online[l.ID] && heard:
		return schema.Online
	case heard || !a.lastSeen[l.ID].IsZero():
		return schema.ConnectionLost
	}
	return schema.Pending
}

// viewOf is a node as this one sees it. The caller holds mu.
func (a *Agent) viewOf(l schema.RosterLine, s schema.StateRecord, heard bool) schema.NodeView {
	v := schema.NodeView{
		Name: l.Name, ID: l.ID, Status: a.statusOf(l, s, heard), LastSeen: a.lastSeen[l.ID], Commit: s.Commit,
		State: l.State, OS: l.OS, Tags: l.Tags, Compliance: overall(s.Types), Problem: s.Problem, Remote: s.Remote, Agent: s.Agent,
	}
	if s.Refused != nil {
		v.Refused = s.Refused.Commit
	}
	if v.Status == schema.Online {
		v.LastSeen = a.now().UTC()
	}
	return v
}

func byName(x, y schema.NodeView) int {
	return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID, y.ID))
}

// Nodes are all of the roster, by name.
func (a *Agent) Nodes() []schema.NodeView {
	states := a.states()
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]schema.NodeView, 0, len(a.roster))
	for id, l := range a.roster {
		s, heard := states[id]
		out = append(out, a.viewOf(l, s, heard))
	}
	slices.SortFunc(out, byName)
	return out
}

// Compliance has each active node and type. A node that said nothing is UNSPECIFIED_DATA, never left out.
func (a *Agent) Compliance() []schema.NodeCompliance {
	states := a.states()
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []schema.NodeCompliance
	for id, l := range a.roster {
		if l.State != schema.NodeActive {
			continue
		}
		s, heard := states[id]
		out = append(out, complianceOf(a.viewOf(l, s, heard), s.Types)...)
	}
	slices.SortFunc(out, func(x, y schema.NodeCompliance) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Type, y.Type))
	})
	return out
}

// complianceOf is a node's compliance by type.
func complianceOf(v schema.NodeView, types []schema.TypeCompliance) []schema.NodeCompliance {
	if len(types) == 0 {
		types = []schema.TypeCompliance{{Type: typePatch, State: schema.UnspecifiedData}, {Type: typePolicy, State: schema.UnspecifiedData}}
	}
	var out []schema.NodeCompliance
	for _, t := range types {
		out = append(out, schema.NodeCompliance{Node: v.Name, Type: t.Type, State: t.State, Items: t.Items, More: t.More,
			Stale: v.Status != schema.Online, Status: v.Status, LastSeen: v.LastSeen})
	}
	return out
}

// Limits of what a status names; the rest is counted.
const (
	maxUnwell  = 8
	maxRefused = 8
)

// maxDue bounds the parameters that a status names.
const maxDue = 64

// Status is the fleet as this node sees it.
func (a *Agent) Status() schema.FleetStatus {
	states := a.states()
	lines := map[string]uint64{}
	if a.reporter != nil {
		lines = a.lineRevisions()
	}
	turns, network := a.turns(), a.refusals()
	a.mu.Lock()
	defer a.mu.Unlock()
	own := a.keys.ID()
	s := schema.FleetStatus{
		Node: a.roster[own].Name, ID: own, At: a.now().UTC(), Remote: a.remote, Reporter: a.report,
		Nodes: map[string]int{}, Compliance: map[schema.Compliance]int{}, Problems: a.problemTexts(), Network: network,
	}
	trust := a.freshness
	trust.Anchor, trust.Verified = a.pin.Anchor, a.pin.Head
	s.Trust = &trust
	if a.policy != nil {
		s.Due = reconciler.Due(a.policy.Repo, a.now())
		s.Due = s.Due[:min(len(s.Due), maxDue)]
		s.Fleet, s.Commit, s.Since, s.Idle = a.policy.Repo.Fleet.Name, a.policy.Commit, a.since, a.policy.Repo.Idle
	}
	refused := map[string]schema.RefusedCommit{}
	refuse := func(r schema.RefusedCommit) {
		had, known := refused[r.Commit]
		if known {
			r = had
		}
		r.Nodes++
		refused[r.Commit] = r
	}
	if a.refused != nil {
		refuse(*a.refused)
	}
	for id, l := range a.roster {
		st, heard := states[id]
		v := a.viewOf(l, st, heard)
		s.Nodes[string(v.Status)]++
		if l.State != schema.NodeActive {
			continue
		}
		s.Compliance[v.Compliance]++
		if v.Status != schema.Online && v.Compliance != schema.UnspecifiedData {
			s.Stale++
		}
		if s.Commit != "" && v.Commit == s.Commit {
			s.Holds++
		}
		// What a node that is away refused long ago tells nothing of today.
		if st.Refused != nil && id != own && v.Status == schema.Online {
			refuse(*st.Refused)
		}
		if id != own && (v.Status != schema.Online || v.Problem != "") {
			v.Tags = nil
			s.Unwell = append(s.Unwell, v)
		}
	}
	slices.SortFunc(s.Unwell, func(x, y schema.NodeView) int {
		return cmp.Or(cmp.Compare(unwellRank(x), unwellRank(y)), byName(x, y))
	})
	if n := len(s.Unwell); n > maxUnwell {
		s.Unwell, s.More = s.Unwell[:maxUnwell], n-maxUnwell
	}
	s.Refused = slices.SortedFunc(maps.Values(refused), func(x, y schema.RefusedCommit) int {
		return cmp.Or(cmp.Compare(y.Nodes, x.Nodes), cmp.Compare(x.Commit, y.Commit))
	})
	s.Refused = s.Refused[:min(len(s.Refused), maxRefused)]
	elected := a.reporters(states)
	for _, id := range elected {
		s.Reporter.Elected = append(s.Reporter.Elected, a.roster[id].Name)
	}
	s.Reporter.Waiting = a.waiting(elected, lines)
	for _, id := range turns {
		s.Remote.Readers = append(s.Remote.Readers, cmp.Or(a.roster[id].Name, id))
	}
	return s
}

// unwellRank puts first what people must act upon.
func unwellRank(v schema.NodeView) int {
	return slices.Index([]schema.NodeStatus{schema.CloneConflict, schema.Online, schema.ConnectionLost, schema.Pending}, v.Status)
}

// lineRevisions are the revisions of the report lines that this node holds, by id.
func (a *Agent) lineRevisions() map[string]uint64 {
	out := map[string]uint64{}
	for _, r := range a.records.Of(schema.RecordReport) {
		if l, ok := decode[schema.ReportLine](r); ok {
			out[r.Node] = l.Rev
		}
	}
	return out
}

// Select gives the names of the nodes that targets mean, as the command line writes them. The error wraps
// api.ErrNoMatch where they mean none, or name a group that there is not.
func (a *Agent) Select(texts []string) (map[string]bool, error) {
	t, err := target.Parse(texts)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.policy == nil {
		return nil, fmt.Errorf("targets: %w", api.ErrNoPolicy)
	}
	sets := target.Sets{Groups: a.policy.Repo.Groups, ResourceGroups: a.policy.Repo.ResourceGroups}
	if err := groupsThere(t, sets); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, l := range a.roster {
		if target.Match(t, l.Node(), sets) {
			out[l.Name] = true
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w %q of %d in the roster", api.ErrNoMatch, texts, len(a.roster))
	}
	return out, nil
}

// groupsThere fails where targets name a group that the policy has not: nothing could match then, or be left out.
func groupsThere(t schema.Targets, sets target.Sets) error {
	all := []schema.Selection{t.Selection}
	if t.Exclude != nil {
		all = append(all, *t.Exclude)
	}
	for _, s := range all {
		for _, name := range s.Groups {
			if _, ok := sets.Groups[name]; !ok {
				return fmt.Errorf("%w: no patch group %q%s", api.ErrNoMatch, name, meant(name, slices.Collect(maps.Keys(sets.Groups))))
			}
		}
		for _, name := range s.ResourceGroups {
			if _, ok := sets.ResourceGroups[name]; !ok {
				return fmt.Errorf("%w: no resource group %q%s", api.ErrNoMatch, name, meant(name, slices.Collect(maps.Keys(sets.ResourceGroups))))
			}
		}
	}
	return nil
}

// meant offers the word that is nearest to one that there is not.
func meant(got string, words []string) string {
	slices.Sort(words)
	if best := schema.Nearest(got, words); best != "" {
		return fmt.Sprintf(" (did you mean %q?)", best)
	}
	return ""
}

// node finds a node of the roster by name or id.
func (a *Agent) node(name string) (schema.RosterLine, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if name == "" {
		return a.roster[a.keys.ID()], nil
	}
	names := make([]string, 0, len(a.roster))
	for id, l := range a.roster {
		if id == name || l.Name == name {
			return l, nil
		}
		names = append(names, l.Name)
	}
	return schema.RosterLine{}, fmt.Errorf("%w as %q in the roster of %d%s", api.ErrNoNode, name, len(a.roster), meant(name, names))
}

// Inventory asks a node for inventory types.
func (a *Agent) Inventory(ctx context.Context, node string, types []string) (map[string]json.RawMessage, error) {
	l, err := a.node(node)
	if err != nil {
		return nil, err
	}
	if l.ID == a.keys.ID() || l.ID == "" {
		if a.o.Inventory == nil {
			return nil, fmt.Errorf("inventory: this host has none")
		}
		got, err := a.o.Inventory(ctx, types)
		return rawInventory(got), err
	}
	b, err := a.fromNode(ctx, l.ID, "/v1/inventory?"+url.Values{"type": types}.Encode(), maxInventory)
	if err != nil {
		return nil, fmt.Errorf("node %q: %w: %w", l.Name, api.ErrNodeUnreachable, err)
	}
	var out map[string]json.RawMessage
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("node %q: its answer is not an inventory: %w", l.Name, err)
	}
	return out, nil
}

// Head is the newest head of the remote that this node knows.
func (a *Agent) Head() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.remote.Head
}

// Traffic is how often this node asked its remotes: for the policy, and for the reports.
func (a *Agent) Traffic() (policy, reports gitrepo.Traffic) {
	if a.reporter != nil {
		if s := a.reporter.shared.Load(); s != nil {
			reports = s.Traffic()
		}
	}
	return a.policies.Traffic(), reports
}

// Account is that of the last pass on this host.
func (a *Agent) Account() schema.Account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.account
}

// Lines are all report lines that this node holds, by name.
func (a *Agent) Lines() []api.Line {
	states := a.states()
	records := a.records.Of(schema.RecordReport)
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []api.Line
	for _, r := range records {
		l, ok := a.roster[r.Node]
		if !ok {
			continue
		}
		line, ok := decode[schema.ReportLine](r)
		if !ok {
			continue
		}
		// As the branch has it: a record's body has the same fields in another order.
		raw, err := report.Encode(line)
		if err != nil {
			continue
		}
		st, heard := states[r.Node]
		out = append(out, api.Line{Name: l.Name, Status: a.statusOf(l, st, heard), Line: raw})
	}
	slices.SortFunc(out, func(x, y api.Line) int { return cmp.Compare(x.Name, y.Name) })
	return out
}

// ArchiveRecords are what nodes have signed of archives.
func (a *Agent) ArchiveRecords() []schema.Record {
	return append(a.records.Of(schema.RecordSeen), a.records.Of(schema.RecordCatalog)...)
}

// Facts is a facts file, or a node's part of a catalog, by its digest: this node's own, one that it was given, or one that its owner still has.
func (a *Agent) Facts(ctx context.Context, digest string) ([]byte, error) {
	b, err := a.storedFacts(digest)
	if err == nil {
		return b, nil
	}
	for _, r := range a.records.Of(schema.RecordReport) {
		line, ok := decode[schema.ReportLine](r)
		if !ok || line.Facts != digest || r.Node == a.keys.ID() {
			continue
		}
		if b, err = a.factsOf(ctx, r.Node, digest); err == nil {
			return b, nil
		}
	}
	for node, told := range a.catalogsTold() {
		if told.Candidates != digest || node == a.keys.ID() {
			continue
		}
		if b, err = a.factsOf(ctx, node, digest); err == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("facts %q: %w: %w", digest, api.ErrNoFacts, cmp.Or(err, error(fs.ErrNotExist)))
}

// refusals are what this node did not take of others; nil where it is alone.
func (a *Agent) refusals() *schema.NetworkRefusals {
	if a.cluster == nil || a.peers == nil {
		return nil
	}
	g, p := a.cluster.Refused(), a.peers.Refused()
	n := &schema.NetworkRefusals{Unverified: g.Unverified, Malformed: g.Malformed, TooMany: g.TooMany, Unknown: g.Unknown, Claims: g.Claims, Deaths: g.Deaths,
		Slowed: p.Slowed, Cuts: p.Cuts}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range p.Cut {
		n.CutOff = append(n.CutOff, cmp.Or(a.roster[id].Name, id))
	}
	slices.Sort(n.CutOff)
	return n
}
