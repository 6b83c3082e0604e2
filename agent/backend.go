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
	"github.com/dunlin-dev/dunlin/schema"
)

// The agent answers the socket of its host.
var _ api.Backend = (*Agent)(nil)

// states are what nodes told of themselves last, by id.
func (a *Agent) states() map[string]schema.StateRecord {
	out := map[string]schema.StateRecord{}
	for _, r := range a.records.Of(schema.RecordState) {
		if s, ok := decode[schema.StateRecord](r); ok {
			out[r.Node] = s
		}
	}
	return out
}

// statusOf is a node as this one sees it. The caller holds mu.
func (a *Agent) statusOf(l schema.RosterLine, heard bool) schema.NodeStatus {
	switch {
	case l.State == schema.NodeRetired:
		return schema.Retired
	case l.State != schema.NodeActive:
		return schema.Pending
	case a.cloned[l.ID] || a.records.Cloned(l.ID):
		return schema.CloneConflict
	case l.ID == a.keys.ID(), a.online[l.ID] && heard:
		return schema.Online
	case heard || !a.lastSeen[l.ID].IsZero():
		return schema.ConnectionLost
	}
	return schema.Pending
}

// Nodes are all of the roster, by name.
func (a *Agent) Nodes() []schema.NodeView {
	states := a.states()
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]schema.NodeView, 0, len(a.roster))
	for id, l := range a.roster {
		s, heard := states[id]
		v := schema.NodeView{Name: l.Name, ID: id, Status: a.statusOf(l, heard), LastSeen: a.lastSeen[id], Commit: s.Commit}
		if id == a.keys.ID() || v.Status == schema.Online {
			v.LastSeen = a.now().UTC()
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(x, y schema.NodeView) int { return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID, y.ID)) })
	return out
}

// Compliance has each active node and type. A node that said nothing is UNSPECIFIED_DATA, never left out.
func (a *Agent) Compliance() []schema.NodeCompliance {
	states := a.states()
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []schema.NodeCompliance
	for id, l := range a.roster {
		if l.State == schema.NodeRetired {
			continue
		}
		s, heard := states[id]
		stale := a.statusOf(l, heard) != schema.Online
		types := s.Types
		if len(types) == 0 {
			types = []schema.TypeCompliance{{Type: typePatch, State: schema.UnspecifiedData}, {Type: typePolicy, State: schema.UnspecifiedData}}
		}
		for _, t := range types {
			out = append(out, schema.NodeCompliance{Node: l.Name, Type: t.Type, State: t.State, Items: t.Items, Stale: stale})
		}
	}
	slices.SortFunc(out, func(x, y schema.NodeCompliance) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.Type, y.Type))
	})
	return out
}

// Status is the fleet as this node sees it.
func (a *Agent) Status() schema.FleetStatus {
	states := a.states()
	a.mu.Lock()
	defer a.mu.Unlock()
	line := a.roster[a.keys.ID()]
	s := schema.FleetStatus{Node: line.Name, ID: a.keys.ID(), Remote: a.remote, Reporter: a.report, Nodes: map[string]int{}, Problems: a.problemTexts()}
	if a.policy != nil {
		s.Commit = a.policy.Commit
	}
	refused := map[string]schema.RefusedCommit{}
	if a.refused != nil {
		refused[a.refused.Commit] = *a.refused
	}
	for id, l := range a.roster {
		st, heard := states[id]
		s.Nodes[string(a.statusOf(l, heard))]++
		if r := st.Refused; r != nil {
			if _, known := refused[r.Commit]; !known {
				refused[r.Commit] = *r
			}
		}
	}
	for _, commit := range slices.Sorted(maps.Keys(refused)) {
		s.Refused = append(s.Refused, refused[commit])
	}
	for _, id := range a.reporters(states) {
		s.Reporter.Elected = append(s.Reporter.Elected, a.roster[id].Name)
	}
	return s
}

// node finds a node of the roster by name or id.
func (a *Agent) node(name string) (schema.RosterLine, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if name == "" {
		return a.roster[a.keys.ID()], nil
	}
	for id, l := range a.roster {
		if id == name || l.Name == name {
			return l, nil
		}
	}
	return schema.RosterLine{}, fmt.Errorf("node %q is not in the roster: %w", name, api.ErrNoNode)
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
		_, heard := states[r.Node]
		out = append(out, api.Line{Name: l.Name, Status: a.statusOf(l, heard), Line: r.Body})
	}
	slices.SortFunc(out, func(x, y api.Line) int { return cmp.Compare(x.Name, y.Name) })
	return out
}

// Facts is a facts file by its digest: this node's own, one that it was given, or one that its owner still has.
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
	return nil, fmt.Errorf("facts %q: %w: %w", digest, api.ErrNoFacts, cmp.Or(err, error(fs.ErrNotExist)))
}
