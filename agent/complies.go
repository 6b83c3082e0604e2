package agent

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/reconciler/compliance"
	"github.com/dunlin-dev/dunlin/schema"
)

// maxItems is how many items that are not compliant a node tells of one type.
const maxItems = 64

// maxReason is how long the reason of an item may be, in bytes.
const maxReason = 300

const (
	typePatch  = "Patch"
	typePolicy = "Policy"
)

// tally is one type of a node as it is summed up.
type tally schema.TypeCompliance

// add takes an item that counts against the node; past the limit it is only counted.
func (t *tally) add(id, state, reason string) {
	if len(t.Items) >= maxItems {
		t.More++
		return
	}
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + " ..."
	}
	t.Items = append(t.Items, schema.ComplianceItem{ID: id, State: state, Reason: reason})
}

// typesOf sums up how a node fares: its patches as they were judged, and all else from what its last pass found.
func typesOf(p schema.Patching, changes []schema.Change) []schema.TypeCompliance {
	patch := tally{Type: typePatch, State: p.Judgement.Compliance, Items: []schema.ComplianceItem{}}
	if p.Problem != "" || patch.State == "" {
		patch.State = schema.UnspecifiedData
	}
	if p.Problem != "" {
		patch.add(allPatches, string(schema.Failed), p.Problem)
	}
	for _, j := range p.Judgement.Patches {
		if compliance.PatchStatus(j.State) == schema.NonCompliant {
			patch.add(j.ID, string(j.State), j.Reason)
		}
	}
	policy := tally{Type: typePolicy, State: schema.Compliant, Items: []schema.ComplianceItem{}}
	var last schema.Change // one resource may need two changes, such as a service to be enabled and started
	for _, c := range changes {
		if c.Result == schema.Changed || strings.HasPrefix(c.Resource, string(schema.KindPatch)+":") {
			continue
		}
		if c.Resource == last.Resource && c.Result == last.Result && c.Reason == last.Reason {
			continue
		}
		last = c
		state := string(c.Result)
		if c.Result == schema.WouldChange {
			state = string(schema.ResourceNonCompliant)
		}
		policy.State = schema.NonCompliant
		policy.add(c.Resource, state, c.Reason)
	}
	return []schema.TypeCompliance{schema.TypeCompliance(patch), schema.TypeCompliance(policy)}
}

// overall is the verdict on a node: what is not known does not make it compliant.
func overall(types []schema.TypeCompliance) schema.Compliance {
	out := schema.Compliant
	for _, t := range types {
		switch {
		case t.State == schema.NonCompliant:
			return schema.NonCompliant
		case t.State != schema.Compliant:
			out = schema.UnspecifiedData
		}
	}
	if len(types) == 0 {
		return schema.UnspecifiedData
	}
	return out
}

// countsOf are the counts of a report line, by the names of DescribeInstancePatchStates (SSM API).
func countsOf(p schema.Patching) map[string]int {
	out := map[string]int{}
	b, err := json.Marshal(p.Judgement.Counts)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		return map[string]int{}
	}
	out["AvailableSecurityUpdateCount"] = availableSecurity(p.Judgement)
	return out
}

// availableSecurity counts security updates that a baseline does not approve yet.
func availableSecurity(j schema.Judgement) int {
	n := 0
	for _, patch := range j.Patches {
		if patch.State == schema.AvailableSecurityUpdate {
			n++
		}
	}
	return n
}

// maxState is how long a node's state may be in bytes, with room for what is around it in a record.
const maxState = schema.MaxRecordBody - 1024

// fitting shortens a state that others would not take: of the items that count against the node some are only counted then,
// and of a refused commit's faults only the first is told.
func fitting(s schema.StateRecord) schema.StateRecord {
	for {
		b, err := json.Marshal(s)
		if err != nil || len(b) <= maxState {
			return s
		}
		longest := slices.MaxFunc(append([]schema.TypeCompliance{{}}, s.Types...), func(x, y schema.TypeCompliance) int {
			return cmp.Compare(len(x.Items), len(y.Items))
		})
		switch {
		case s.Refused != nil && len(s.Refused.Faults) > 1:
			r := *s.Refused
			r.Faults = r.Faults[:1]
			s.Refused = &r
		case len(longest.Items) > 0:
			s.Types = slices.Clone(s.Types)
			at := slices.IndexFunc(s.Types, func(t schema.TypeCompliance) bool { return t.Type == longest.Type })
			keep := len(longest.Items) / 2
			s.Types[at].More += len(longest.Items) - keep
			s.Types[at].Items = longest.Items[:keep]
		default:
			s.Problem, s.Remote, s.Refused = clip(s.Problem), clip(s.Remote), nil
			if b, err := json.Marshal(s); err != nil || len(b) > maxState {
				return schema.StateRecord{Name: s.Name, Commit: s.Commit, Types: []schema.TypeCompliance{}, Agent: s.Agent, Start: s.Start,
					Problem: "what this node has to tell is too long"}
			}
		}
	}
}
