// Package target answers which nodes a selection means.
//
// Every field that is given must hold, any of a field's values will do, and
// exclude wins over all else. Tags and operating system are those of the signed
// roster, never what a node says about itself: targets select secrets and frozen
// lists. A node that is not in the roster is in no selection; one that stands
// alone has no tags, name or id, so that only `all` and `os` can mean it.
//
// The package is pure. Where a selection names a group that does not exist or
// that leads back to itself, it selects nothing rather than too much: the loader
// refuses both, so this is met only by values made otherwise.
package target

import (
	"maps"
	"slices"

	"github.com/dunlin-dev/dunlin/schema"
)

// Sets are the selections that others refer to by name.
type Sets struct {
	Groups         map[string]schema.Group         // patch groups
	ResourceGroups map[string]schema.ResourceGroup // named targets
}

// Match reports whether t selects n. Empty targets select nothing; to mean everything they say `all`.
func Match(t schema.Targets, n schema.Node, sets Sets) bool {
	m := matcher{node: n, sets: sets}
	return m.known() && m.targets(t) == yes
}

// Groups lists the patch groups that n is in, sorted. More than one is a conflict of that node.
func Groups(n schema.Node, sets Sets) []string {
	m := matcher{node: n, sets: sets}
	if !m.known() {
		return nil
	}
	var in []string
	for _, name := range slices.Sorted(maps.Keys(sets.Groups)) {
		if m.group(name) == yes {
			in = append(in, name)
		}
	}
	return in
}

// answer is three-valued, so that what cannot be told is neither selected nor left out by an exclude.
type answer uint8

const (
	no answer = iota
	yes
	unknown // a group that is missing or leads back to itself
)

// and holds when both do; what cannot be told spoils the whole, even beside a no, because the order of
// fields must not matter.
func (a answer) and(b answer) answer {
	switch {
	case a == unknown || b == unknown:
		return unknown
	case a == yes && b == yes:
		return yes
	}
	return no
}

func (a answer) or(b answer) answer {
	switch {
	case a == unknown || b == unknown:
		return unknown
	case a == yes || b == yes:
		return yes
	}
	return no
}

func is(b bool) answer {
	if b {
		return yes
	}
	return no
}

// matcher holds one node against selections.
type matcher struct {
	node schema.Node
	sets Sets
	// path has the groups that are being resolved, those of patches with a leading "p".
	path []string
	// done has what was resolved, so that many references to one group cost one look.
	done map[string]answer
}

// known reports whether the node is anyone's: in the roster, or standing alone.
func (m *matcher) known() bool { return m.node.ID != "" || m.node.Alone }

func (m *matcher) targets(t schema.Targets) answer {
	a := m.selection(t.Selection, t.All)
	if t.Exclude == nil {
		return a
	}
	switch m.selection(*t.Exclude, false) {
	case yes:
		return a.and(no)
	case unknown:
		return unknown
	}
	return a
}

// selection is yes when something is given and all of it holds.
func (m *matcher) selection(s schema.Selection, all bool) answer {
	given, a := all, yes
	field := func(holds answer) { given, a = true, a.and(holds) }
	if len(s.Tags) > 0 {
		for key, values := range s.Tags {
			value, tagged := m.node.Tags[key]
			field(is(tagged && !m.node.Alone && slices.Contains(values, value)))
		}
	}
	if len(s.OS) > 0 {
		field(is(m.node.OS != "" && slices.Contains(s.OS, m.node.OS)))
	}
	if len(s.Nodes) > 0 {
		field(is(!m.node.Alone && (slices.Contains(s.Nodes, m.node.ID) || m.node.Name != "" && slices.Contains(s.Nodes, m.node.Name))))
	}
	if len(s.Groups) > 0 {
		one := no
		for _, name := range s.Groups {
			one = one.or(m.group(name))
		}
		field(one)
	}
	if len(s.ResourceGroups) > 0 {
		one := no
		for _, name := range s.ResourceGroups {
			one = one.or(m.resourceGroup(name))
		}
		field(one)
	}
	if !given {
		return no
	}
	return a
}

// group reports whether the node is in a patch group. One without targets holds the nodes whose tag
// PatchGroup is its name (SSM §7.7).
func (m *matcher) group(name string) answer {
	g, found := m.sets.Groups[name]
	if !found {
		return unknown
	}
	if g.Targets == nil {
		value, tagged := m.node.Tags["PatchGroup"]
		return is(tagged && !m.node.Alone && value == name)
	}
	return m.named("p"+name, *g.Targets)
}

func (m *matcher) resourceGroup(name string) answer {
	g, found := m.sets.ResourceGroups[name]
	if !found {
		return unknown
	}
	return m.named("r"+name, g.Targets)
}

// named resolves targets that have a name, once, and notices when they lead back to themselves.
func (m *matcher) named(name string, t schema.Targets) answer {
	if a, known := m.done[name]; known {
		return a
	}
	if slices.Contains(m.path, name) {
		return unknown
	}
	m.path = append(m.path, name)
	a := m.targets(t)
	m.path = m.path[:len(m.path)-1]
	if m.done == nil {
		m.done = map[string]answer{}
	}
	// A group that reaches a circle is unknown wherever one enters it, so what is kept does not depend on
	// the way that led here.
	m.done[name] = a
	return a
}
