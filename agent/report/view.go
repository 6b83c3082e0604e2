package report

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// clockAhead is how far a node's clock may run before ours without being named.
const clockAhead = 5 * time.Minute

// outsider is the status of a node that has a line and that the reporter does not know.
const outsider schema.NodeStatus = ""

// view is the fleet as the pages show it. Nodes that are retired or not in the roster are only counted by status.
type view struct {
	fleet     string
	total     int // of the roster, but for retired ones
	verdicts  map[schema.Compliance]int
	statuses  map[schema.NodeStatus]int // all that there is a line of too
	silent    int                       // nodes without a line
	types     []typeCount               // Patch, Association, Policy, then the others by name
	counts    map[string]sum
	commits   []commitCount // most nodes first
	rows      []row         // by name, those that total counts
	wrong     []row         // worst first
	conflicts int           // lines of conflicts.jsonl
	changed   time.Time     // newest since; zero without lines
}

// row is one node.
type row struct {
	name, id string
	status   schema.NodeStatus
	line     schema.ReportLine // Rev 0: none
	verdict  schema.Compliance
	problem  string // what else is wrong, in our own words
	rank     int    // how wrong: 0 is worst, notWrong nothing
}

// ranks of rows.
const (
	isBroken = iota
	isNonCompliant
	isLost
	isUnspecified
	isPending
	notWrong
)

type typeCount struct {
	name  string
	nodes map[schema.Compliance]int
}

func (t typeCount) total() int {
	return t.nodes[schema.Compliant] + t.nodes[schema.NonCompliant] + t.nodes[schema.UnspecifiedData]
}

// sum is a counter over the fleet: the patches, and the nodes that have any.
type sum struct{ patches, nodes int }

type commitCount struct {
	commit string
	nodes  int
}

// view sums the merged branch up.
func (b *builder) view(nodes []Node, now time.Time) *view {
	v := &view{
		fleet: b.fleet, verdicts: map[schema.Compliance]int{}, statuses: map[schema.NodeStatus]int{}, counts: map[string]sum{},
		conflicts: b.kept,
	}
	twins := map[conflictKey]bool{}
	for k := range b.conflicts {
		twins[k] = true
	}
	seen := make(map[string]bool, len(nodes))
	types := map[string]map[schema.Compliance]int{}
	commits := map[string]int{}
	add := func(r row) {
		s, has := b.lines[r.id]
		if has {
			r.line = s.line
		}
		v.statuses[r.status]++
		if r.status == schema.Retired || r.status == outsider {
			return
		}
		v.total++
		switch {
		case has && s.newer:
			r.problem = cmp.Or(r.problem, "its line is of a later version, "+strconv.Itoa(s.line.V))
		case has && twins[conflictKey{r.id, s.line.Rev}]:
			r.problem = cmp.Or(r.problem, "two hosts sign with its key")
		case has && !now.IsZero() && s.line.Since.After(now.Add(clockAhead)):
			r.problem = cmp.Or(r.problem, "its clock is ahead")
		case has && s.line.Since.After(v.changed):
			v.changed = s.line.Since
		}
		if !has {
			v.silent++
		}
		r.judge()
		v.verdicts[r.verdict]++
		for name, state := range r.line.Compliance {
			if types[name] == nil {
				types[name] = map[schema.Compliance]int{}
			}
			types[name][state]++
		}
		for name, n := range r.line.Counts {
			if n > 0 {
				c := v.counts[name]
				v.counts[name] = sum{c.patches + n, c.nodes + 1}
			}
		}
		if r.line.Commit != "" {
			commits[r.line.Commit]++
		}
		v.rows = append(v.rows, r)
	}
	for _, n := range nodes {
		if id := n.Line.Node; !seen[id] {
			seen[id] = true
			add(row{name: cmp.Or(n.Name, id), id: id, status: known(n.Status), problem: b.refused[id]})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(b.lines)) {
		if !seen[id] {
			add(row{name: id, id: id, status: outsider})
		}
	}
	v.order(types, commits)
	return v
}

// known is the status, or Pending for a word that is none.
func known(s schema.NodeStatus) schema.NodeStatus {
	switch s {
	case schema.Online, schema.ConnectionLost, schema.CloneConflict, schema.Retired:
		return s
	}
	return schema.Pending
}

// judge sums a node's types up: the worst of them, and UNSPECIFIED_DATA where there are none.
func (r *row) judge() {
	r.verdict = schema.Compliant
	if len(r.line.Compliance) == 0 {
		r.verdict = schema.UnspecifiedData
	}
	for _, state := range r.line.Compliance {
		if state == schema.NonCompliant || state == schema.UnspecifiedData && r.verdict == schema.Compliant {
			r.verdict = state
		}
	}
	switch {
	case r.problem != "" || r.status == schema.CloneConflict:
		r.rank = isBroken
	case r.verdict == schema.NonCompliant:
		r.rank = isNonCompliant
	case r.status == schema.ConnectionLost:
		r.rank = isLost
	case r.line.Rev > 0 && r.verdict == schema.UnspecifiedData:
		r.rank = isUnspecified
	case r.line.Rev == 0 || r.status == schema.Pending:
		r.rank = isPending
	default:
		r.rank = notWrong
	}
}

// order sorts everything that a page lists.
func (v *view) order(types map[string]map[schema.Compliance]int, commits map[string]int) {
	builtIn := []string{"Patch", "Association", "Policy"}
	for _, name := range builtIn {
		if types[name] != nil {
			v.types = append(v.types, typeCount{name, types[name]})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		if !slices.Contains(builtIn, name) {
			v.types = append(v.types, typeCount{name, types[name]})
		}
	}
	for commit, n := range commits {
		v.commits = append(v.commits, commitCount{commit, n})
	}
	slices.SortFunc(v.commits, func(a, b commitCount) int { return cmp.Or(b.nodes-a.nodes, strings.Compare(a.commit, b.commit)) })
	byName := func(a, b row) int { return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.id, b.id)) }
	slices.SortFunc(v.rows, byName)
	for _, r := range v.rows {
		if r.rank != notWrong {
			v.wrong = append(v.wrong, r)
		}
	}
	slices.SortStableFunc(v.wrong, func(a, b row) int {
		worse := func(count string) int { return b.line.Counts[count] - a.line.Counts[count] }
		return cmp.Or(a.rank-b.rank, worse("CriticalNonCompliantCount"), worse("SecurityNonCompliantCount"), worse("FailedCount"), worse("MissingCount"))
	})
}

// number is n with its thousands apart.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// percent is part of whole, rounded down to a tenth, so that "100 %" means all of them.
func percent(part, whole int) string {
	if whole == 0 {
		return still("0 %")
	}
	tenths := part * 1000 / whole
	if tenths%10 == 0 {
		return strconv.Itoa(tenths/10) + still(" %")
	}
	return strconv.Itoa(tenths/10) + "." + strconv.Itoa(tenths%10) + still(" %")
}

// instant is a time as pages show it.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }
