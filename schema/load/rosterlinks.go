package load

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// rosterLinks warns of nodes that are named and not in the roster, and of secrets that too few of their readers can
// open. The roster does not decide whether a repository is valid: nodes come and go without it.
func (l *loading) rosterLinks() {
	if len(l.repo.Roster) == 0 && !l.part.withoutRoster() || l.rosterWrong {
		return // nobody is, or who is cannot be told
	}
	states := make(map[string]schema.NodeState, 2*len(l.repo.Roster))
	names := make([]string, 0, len(l.repo.Roster))
	for _, n := range l.repo.Roster {
		states[n.Name], states[n.ID] = n.State, n.State
		names = append(names, n.Name)
	}
	l.chosen = map[string][]string{}
	slices.Sort(names)
	check := func(o *object, p path, n *value) {
		if n.k != kString || !l.looksAtRoster() {
			return
		}
		switch state, ok := states[n.s]; {
		case !ok:
			near := names
			if l.asked += len(names); l.asked > maxAsked {
				near = nil
			}
			l.doubt(o, p, missing("no node", n.s, near)+" in the roster")
		case state == schema.NodeRetired:
			l.doubt(o, p, fmt.Sprintf("node %q is retired", n.s))
		}
	}
	for _, o := range l.list {
		if l.judging = o.key; !l.part.judges(o.key) {
			continue
		}
		n := o.read()
		for _, steps := range selections(o.key.kind) {
			for _, in := range [][]string{{"nodes", "*"}, {"exclude", "nodes", "*"}} {
				follow(n, o.key.path(), append(steps[:len(steps):len(steps)], in...), func(p path, n *value) { check(o, p, n) })
			}
		}
		switch o.key.kind {
		case "fleet":
			follow(n, o.key.path(), []string{"witnesses", "*"}, func(p path, n *value) { check(o, p, n) })
		case "parameter":
			l.readers(o, n)
		case "policy":
			l.contentReaders(o, n)
		}
	}
}

// looksAtRoster notes that it matters who is in the roster, which a part of a repository may not have been given.
func (l *loading) looksAtRoster() bool {
	l.look(objKey{lookRoster, ""})
	if l.part.withoutRoster() {
		l.doubtPart("the roster is not in the part")
		return false
	}
	return true
}

// readers warns where the current version of a secret is not encrypted to the very nodes that its readers select: where its
// keys are listed by these, else by their number.
func (l *loading) readers(o *object, n *value) {
	numbers := versionsOf(n)
	readers := n.get("readers")
	if !o.accepted() || n.str("type") != "SecureString" || readers == nil || len(numbers) == 0 {
		return
	}
	number := strconv.Itoa(numbers[len(numbers)-1])
	v := o.key.path().field("versions").field(number)
	p := v.field("value")
	have, _, err := openSeal(o.at(p).s)
	if err != nil {
		return // a fault of its own
	}
	nodes, ok := l.selected(readers)
	if !ok {
		return
	}
	recovery := texts(l.forFleet().get("recovery"))
	remedy := "; dunlin param rotate " + o.key.name
	if len(nodes) == 0 {
		l.doubtAt(l.labelPos(o, o.key.path().field("readers")), o.key.path().field("readers"), "select no node of the roster: nobody can read this")
		return
	}
	if listed := texts(n.get("versions").get(number).get("recipients")); len(listed) > 0 {
		if m := l.differ(listed, nodes, recovery); m != "" {
			l.doubtAt(l.labelPos(o, v.field("recipients")), v.field("recipients"), m+remedy)
		}
		return
	}
	if have < len(nodes)+len(recovery) {
		m := fmt.Sprintf("encrypted to %s, and readers select %s (%s)", counted(strconv.Itoa(have), "recipient"), counted(strconv.Itoa(len(nodes)), "node"), few(nodes))
		if len(recovery) > 0 {
			m += fmt.Sprintf(" and fleet.recovery has %d", len(recovery))
		}
		l.doubt(o, p, m+remedy)
	}
}

// differ says how the keys that a value is encrypted to differ from those of the nodes that should read it.
func (l *loading) differ(listed, nodes, recovery []string) string {
	to := make(map[string]bool, len(listed))
	for _, key := range listed {
		to[key] = true
	}
	owner := make(map[string]string, len(l.repo.Roster)) // of a key
	for _, line := range l.repo.Roster {
		owner[line.Keys.Age] = line.Name
	}
	due := make(map[string]bool, len(nodes)+len(recovery))
	var lacks []string
	for _, line := range l.repo.Roster {
		if _, reader := slices.BinarySearch(nodes, line.Name); reader && line.State == schema.NodeActive {
			if due[line.Keys.Age] = true; !to[line.Keys.Age] {
				lacks = append(lacks, line.Name)
			}
		}
	}
	for i, key := range recovery {
		if due[key] = true; !to[key] {
			lacks = append(lacks, fmt.Sprintf("fleet.recovery[%d]", i))
		}
	}
	var much []string
	for _, key := range listed {
		switch name := owner[key]; {
		case due[key]:
		case name != "":
			much = append(much, name)
		default:
			much = append(much, key[:min(len(key), 12)]+"…")
		}
	}
	var parts []string
	if len(lacks) > 0 {
		slices.Sort(lacks)
		parts = append(parts, "not encrypted to "+few(lacks))
	}
	if len(much) > 0 {
		slices.Sort(much)
		parts = append(parts, "encrypted to "+few(much)+", who should not read it any more and have")
	}
	return strings.Join(parts, "; ")
}

// contentReaders warns where nodes get a file from a secret that they cannot read. What is so whatever nodes there are
// policyTargets has refused.
func (l *loading) contentReaders(o *object, n *value) {
	for name, f := range n.get("files").fields() {
		stored := l.object("parameter", f.get("contentFrom").str("parameter"))
		if o.wrong || stored == nil || stored.wrong || stored.read().str("type") != "SecureString" {
			continue
		}
		may, ok1 := l.selected(stored.read().get("readers"))
		want, ok2 := l.selected(n.get("targets"))
		if !ok1 || !ok2 {
			continue
		}
		can := make(map[string]bool, len(may))
		for _, node := range may {
			can[node] = true
		}
		if cannot := slices.DeleteFunc(slices.Clone(want), func(node string) bool { return can[node] }); len(cannot) > 0 {
			p := o.key.path().field("files").field(name).field("contentFrom").field("parameter")
			l.doubt(o, p, fmt.Sprintf("its readers do not select %s, which the targets of this policy do", few(cannot)))
		}
	}
}

// selected are the names of the active nodes that targets mean; false where there is too much to try.
func (l *loading) selected(targets *value) ([]string, bool) {
	if targets == nil || targets.k != kStruct {
		return nil, false
	}
	if !l.looksAtRoster() {
		return nil, false
	}
	l.worldOf(targets) // looks at its groups, also where the nodes are known already
	key := string(targets.json(nil))
	if nodes, ok := l.chosen[key]; ok {
		return nodes, true
	}
	w := &world{l: l}
	var nodes []string
	for _, line := range l.repo.Roster {
		if line.State == schema.NodeActive && w.selects(targets, aNode{tags: line.Tags, os: line.OS, names: []string{line.Name, line.ID}}, false) {
			nodes = append(nodes, line.Name)
		}
	}
	slices.Sort(nodes)
	if !w.lost {
		l.chosen[key] = nodes
	}
	return nodes, !w.lost
}

// few are the first of many names.
func few(names []string) string {
	if len(names) > 5 {
		return strings.Join(names[:5], ", ") + fmt.Sprintf(" and %d more", len(names)-5)
	}
	return strings.Join(names, ", ")
}
