package agent

import (
	"crypto/ed25519"
	"maps"
	"slices"
	"time"

	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/reconciler/target"
	"github.com/dunlin-dev/dunlin/schema"
)

// candidates are the nodes that may write reports, in the order in which they are asked to: those that are here, that
// have the credential, as their records say, and that fleet.reports.reporters selects. While this node settles, those
// that it has not heard of count too. The caller holds mu.
func (a *Agent) candidates(states map[string]schema.StateRecord, settling bool) []string {
	fleet, sets := schema.Fleet{}, target.Sets{}
	if a.policy != nil {
		fleet, sets = a.policy.Repo.Fleet, target.Sets{Groups: a.policy.Repo.Groups, ResourceGroups: a.policy.Repo.ResourceGroups}
	}
	var may []string
	for id := range a.pins {
		s, heard := states[id]
		switch {
		case id == a.keys.ID() && a.reporter != nil, id != a.keys.ID() && a.online[id] && s.Reporter, settling && !heard && id != a.keys.ID():
		default:
			continue
		}
		if t := fleet.Reports.Reporters; t == nil || target.Match(*t, a.roster[id].Node(), sets) {
			may = append(may, id)
		}
	}
	may = ranked("report "+fleet.Name, may)
	return may[:min(len(may), standIns)]
}

// reporters are the elected nodes: the first of the candidates that do not say that they fail. The caller holds mu.
func (a *Agent) reporters(states map[string]schema.StateRecord) []string {
	return a.elected(states, a.candidates(states, false))
}

func (a *Agent) elected(states map[string]schema.StateRecord, may []string) []string {
	well := slices.DeleteFunc(slices.Clone(may), func(id string) bool {
		if id == a.keys.ID() {
			return a.report.Error != ""
		}
		return states[id].ReportFails
	})
	if len(well) == 0 {
		well = may
	}
	return well[:min(len(well), electedReporters)]
}

// rank is this node's place among the reporters, -1 where it is none. One that fails goes on trying, behind all others:
// it cannot know when it would not.
func (r *reporter) rank() int {
	a := r.a
	settling := r.settling()
	states := a.states()
	a.mu.Lock()
	defer a.mu.Unlock()
	may := a.candidates(states, settling)
	if i := slices.Index(a.elected(states, may), a.keys.ID()); i >= 0 {
		return i
	}
	if a.report.Error != "" && slices.Contains(may, a.keys.ID()) {
		return electedReporters
	}
	return -1
}

// waiting counts the lines that this node holds and that the branch lacks; nil where it cannot know, because others write.
// The caller holds mu.
func (a *Agent) waiting(elected []string, lines map[string]uint64) *int {
	switch {
	case a.report.Error != "":
	case a.written == nil, len(elected) == 0, elected[0] != a.keys.ID():
		return nil
	}
	n := 0
	for id, rev := range lines {
		if rev > a.written[id] {
			n++
		}
	}
	return &n
}

// nodes are all of the roster with the lines that this node holds.
func (r *reporter) nodes() []report.Node {
	a := r.a
	lines := map[string]schema.ReportLine{}
	for _, rec := range a.records.Of(schema.RecordReport) {
		if l, ok := decode[schema.ReportLine](rec); ok && l.Node == rec.Node {
			lines[rec.Node] = l
		}
	}
	states := a.states()
	a.mu.Lock()
	defer a.mu.Unlock()
	status := make(map[string]schema.NodeStatus, len(a.roster))
	keys := make(map[string]ed25519.PublicKey, len(a.roster)) // of retired nodes too: what they said stays checked
	for id, l := range a.roster {
		st, heard := states[id]
		status[id] = a.statusOf(l, st, heard)
		if key, ok := signingKey(l); ok {
			keys[id] = key
		}
	}
	nodes := report.Known(slices.Collect(maps.Values(a.roster)), lines, status, keys)
	for id, both := range a.twins {
		for _, l := range both {
			if key := keys[id]; key != nil {
				nodes = append(nodes, report.Node{Line: l, Name: a.roster[id].Name, Status: status[id], Key: key})
			}
		}
	}
	return nodes
}

// beaten keeps, for the reports, what two hosts with one key have said under one revision: of their records one stands.
func (a *Agent) beaten(loser, winner schema.Record) {
	if loser.Kind != schema.RecordReport || a.reporter == nil {
		return
	}
	l, one := decode[schema.ReportLine](loser)
	w, two := decode[schema.ReportLine](winner)
	if !one || !two || l.Rev == 0 || l.Rev != w.Rev || l.Node != loser.Node || w.Node != loser.Node || l.Sig == w.Sig {
		return
	}
	now := time.Now()
	a.mu.Lock()
	key, known := a.keysOf[l.Node]
	soon := now.Sub(a.twinLooked[l.Node]) < gather // a signature is dear, and anybody may send rubbish
	if a.twinLooked == nil {
		a.twinLooked = map[string]time.Time{}
	}
	if known && !soon {
		a.twinLooked[l.Node] = now
	}
	a.mu.Unlock()
	if !known || soon {
		return
	}
	for _, one := range []schema.ReportLine{l, w} {
		raw, err := report.Encode(one)
		if err == nil {
			_, err = report.VerifyLine(raw, key)
		}
		if err != nil {
			return
		}
	}
	a.mu.Lock()
	if a.twins == nil {
		a.twins = map[string][2]schema.ReportLine{}
	}
	a.twins[l.Node] = [2]schema.ReportLine{l, w}
	a.mu.Unlock()
	a.reports.raise()
}
