// Package compliance sums up what was judged on a node: one verdict a type, and
// the highest severity of what is wrong (AWS SSM Compliance, API 2014-11-06).
//
// A type of which nothing was judged has no verdict: unreported is not compliant.
package compliance

import (
	"github.com/dunlin-dev/dunlin/schema"
)

// Type is what an item was judged by.
type Type string

// The types of this build. Others are "Custom:" with a name.
const (
	Patch  Type = "Patch"
	Policy Type = "Policy"
)

// Item is the verdict on one thing of a node.
type Item struct {
	Type     Type
	ID       string // name.arch of a patch, a resource's name
	Severity schema.Level
	Status   schema.Compliance
}

// Summary is the verdict on a node.
type Summary struct {
	Status schema.Compliance // NON_COMPLIANT if any item is
	// Severity is the highest of the items that are wrong; empty when none is.
	Severity schema.Level
	Types    map[Type]Verdict // of each type that was judged
}

// Verdict is the verdict on the items of one type.
type Verdict struct {
	Status       schema.Compliance
	Severity     schema.Level // as Summary.Severity
	Compliant    Severities   // how many items are right
	NonCompliant Severities   // and how many wrong
}

// Severities counts items by severity.
type Severities map[schema.Level]int

// Total is the number of items.
func (s Severities) Total() int {
	n := 0
	for _, c := range s {
		n += c
	}
	return n
}

// OfPatches gives the items of a judgement. What a rule gave no level weighs at least INFORMATIONAL when
// it is wrong (SSM §7.10).
func OfPatches(j schema.Judgement) []Item {
	out := make([]Item, 0, len(j.Patches))
	for _, p := range j.Patches {
		item := Item{Type: Patch, ID: p.ID, Severity: level(p.ComplianceLevel), Status: PatchStatus(p.State)}
		if item.Status == "" {
			continue
		}
		if item.Status == schema.NonCompliant && item.Severity.Rank() < schema.Informational.Rank() {
			item.Severity = schema.Informational
		}
		out = append(out, item)
	}
	return out
}

// PatchStatus is the verdict on a patch in a state; empty for one that does not concern the node.
func PatchStatus(s schema.PatchState) schema.Compliance {
	switch s {
	case schema.Installed, schema.InstalledOther:
		return schema.Compliant
	case schema.InstalledPendingReboot, schema.InstalledRejected, schema.Missing, schema.PatchFailed:
		return schema.NonCompliant
	}
	return ""
}

// OfResource gives the item of one resource that a policy names.
func OfResource(name string, severity schema.Level, s schema.ResourceState) Item {
	return Item{Type: Policy, ID: name, Severity: level(severity), Status: ResourceStatus(s)}
}

// ResourceStatus is the verdict on a resource. One that waits for its window is not yet what the policy
// says, and so is one that was refused or taken back: only a resource that is right is compliant.
func ResourceStatus(s schema.ResourceState) schema.Compliance {
	if s == schema.ResourceCompliant {
		return schema.Compliant
	}
	return schema.NonCompliant
}

func level(l schema.Level) schema.Level {
	if l == "" {
		return schema.Unspecified
	}
	return l
}

// Fold sums items up. judged names types that were looked at, so that a node of which nothing is wanted
// is compliant in them. The order of items does not matter.
func Fold(items []Item, judged ...Type) Summary {
	s := Summary{Status: schema.Compliant, Types: map[Type]Verdict{}}
	verdict := func(t Type) Verdict {
		v, seen := s.Types[t]
		if !seen {
			v = Verdict{Status: schema.Compliant, Compliant: Severities{}, NonCompliant: Severities{}}
		}
		return v
	}
	for _, t := range judged {
		s.Types[t] = verdict(t)
	}
	for _, i := range items {
		v := verdict(i.Type)
		if i.Status == schema.Compliant {
			v.Compliant[i.Severity]++
		} else {
			v.NonCompliant[i.Severity]++
			v.Status, v.Severity = schema.NonCompliant, higher(v.Severity, i.Severity)
			s.Status, s.Severity = schema.NonCompliant, higher(s.Severity, i.Severity)
		}
		s.Types[i.Type] = v
	}
	return s
}

func higher(a, b schema.Level) schema.Level {
	if a == "" || b.Rank() > a.Rank() {
		return b
	}
	return a
}
