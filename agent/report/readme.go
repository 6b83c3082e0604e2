package report

import (
	"fmt"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// maxWrong and maxRows bound the tables of nodes, maxListed the other ones: the page stays below 100 kB.
	maxWrong  = 50
	maxRows   = 100
	maxListed = 10
)

// still keeps what stands together from being torn apart at the end of a line, as forges do with narrow columns: its
// blanks and hyphens become such as do not break.
func still(s string) string { return strings.NewReplacer(" ", "\u00a0", "-", "\u2011").Replace(s) }

// verdictMark and statusMark put a symbol beside the word: nothing is told by colour alone.
func verdictMark(c schema.Compliance) string {
	switch c {
	case schema.Compliant:
		return still("✅ COMPLIANT")
	case schema.NonCompliant:
		return still("❌ NON_COMPLIANT")
	}
	return still("❓ UNSPECIFIED_DATA")
}

func statusMark(s schema.NodeStatus) string {
	switch s {
	case schema.Online:
		return still("🟢 Online")
	case schema.ConnectionLost:
		return still("⚠️ ConnectionLost")
	case schema.CloneConflict:
		return still("👥 Conflict")
	case schema.Retired:
		return still("💤 Retired")
	case outsider:
		return still("❓ not in the roster")
	}
	return still("⏳ Pending")
}

// page is Markdown being written.
type page struct{ strings.Builder }

func (p *page) printf(format string, a ...any) { fmt.Fprintf(p, format, a...) }

// table begins a table; a heading that starts with > is of a column of numbers.
func (p *page) table(headings ...string) {
	rule := "|"
	for i, h := range headings {
		if number, ok := strings.CutPrefix(h, ">"); ok {
			headings[i] = number
			rule += "---:|"
		} else {
			rule += ":---|"
		}
	}
	p.row(headings...)
	p.WriteString(rule + "\n")
}

func (p *page) row(cells ...string) { p.printf("| %s |\n", strings.Join(cells, " | ")) }

// readme is the fleet at a glance: what is wrong comes first.
func (v *view) readme() []byte {
	var p page
	p.printf("# %s\n\n", markdown(v.fleet))
	p.printf("%s\n\n", v.headline())
	p.printf("![%s](charts/compliance.svg)\n", v.ringText())
	p.printf("![%s](charts/types.svg)\n\n", v.barsText(markdown))
	v.writeWrong(&p)
	v.writeTypes(&p)
	v.writeStatuses(&p)
	v.writePatches(&p)
	v.writeCommits(&p)
	v.writeNodes(&p)
	p.WriteString(about)
	return []byte(p.String())
}

// headline says in a sentence or two how the fleet is.
func (v *view) headline() string {
	if v.total == 0 {
		return "**No node yet.** The page fills when the first node reports."
	}
	well := v.verdicts[schema.Compliant]
	var s strings.Builder
	switch {
	case well == v.total && v.statuses[schema.ConnectionLost] > 0:
		fmt.Fprintf(&s, "**%s COMPLIANT.**", all(v.total))
	case well == v.total:
		fmt.Fprintf(&s, "**✅ %s COMPLIANT.**", all(v.total))
	default:
		fmt.Fprintf(&s, "**%s of %s COMPLIANT** (%s).", number(well), plural(v.total, "node", "nodes"), percent(well, v.total))
	}
	if n := v.verdicts[schema.NonCompliant]; n > 0 {
		fmt.Fprintf(&s, " ❌ %s NON_COMPLIANT.", number(n))
	}
	if n := v.verdicts[schema.UnspecifiedData]; n > 0 {
		fmt.Fprintf(&s, " ❓ %s UNSPECIFIED_DATA.", number(n))
	}
	if n := v.statuses[schema.ConnectionLost]; n > 0 {
		fmt.Fprintf(&s, " ⚠️ %s ConnectionLost: what is told of %s is what it said last.", number(n), pronoun(n))
	}
	if seen := v.statuses[schema.Online]; v.statuses[schema.ConnectionLost] > seen {
		fmt.Fprintf(&s, "\n\n⚠️ **Whoever wrote this page saw only %s of %s**, and may itself be cut off from the others.\n\n", number(seen), plural(v.total, "node", "nodes"))
	}
	if len(v.commits) > 0 {
		c := v.commits[0]
		fmt.Fprintf(&s, "\nPolicy `%s` is in force on %s of %s.", short(c.commit), number(c.nodes), plural(v.total, "node", "nodes"))
	}
	if !v.changed.IsZero() {
		fmt.Fprintf(&s, " Last change: %s UTC.", instant(v.changed))
	}
	return s.String()
}

func all(n int) string {
	if n == 1 {
		return "The only node is"
	}
	return "All " + number(n) + " nodes are"
}

func pronoun(n int) string {
	if n == 1 {
		return "it"
	}
	return "each"
}

func verb(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func short(commit string) string { return commit[:min(len(commit), 10)] }

func (v *view) writeWrong(p *page) {
	p.WriteString("## What is wrong\n\n")
	if len(v.wrong) == 0 {
		if v.total > 0 {
			p.WriteString("✅ Nothing: every node is Online and COMPLIANT.\n\n")
		} else {
			p.WriteString("Nothing.\n\n")
		}
		return
	}
	shown := v.wrong[:min(len(v.wrong), maxWrong)]
	p.table("Node", "Status", "Compliance", "What", still("Since (UTC)"))
	for _, r := range shown {
		p.row(r.link(), statusMark(r.status), verdictMark(r.verdict), r.what(), r.since())
	}
	if rest := v.wrong[len(shown):]; len(rest) > 0 {
		kinds := map[int]int{}
		for _, r := range rest {
			kinds[r.rank]++
		}
		var parts []string
		for rank, word := range []string{"in conflict or refused", "NON_COMPLIANT", "ConnectionLost", "UNSPECIFIED_DATA", "Pending or silent"} {
			if kinds[rank] > 0 {
				parts = append(parts, number(kinds[rank])+" "+word)
			}
		}
		p.printf("\n… and %s: %s.\n", plural(len(rest), "node more", "nodes more"), strings.Join(parts, ", "))
	}
	p.WriteString("\n")
}

// link is the node's name, which leads to its shard.
func (r row) link() string {
	name := markdown(r.name)
	if name == "" {
		name = "?"
	}
	if r.line.Rev == 0 {
		return name
	}
	return "[" + name + "](" + shardFile(r.id) + ")"
}

// what says what is wrong with a node in a few words.
func (r row) what() string {
	var parts []string
	if r.problem != "" {
		parts = append(parts, "**"+r.problem+"**")
	}
	if r.line.Rev == 0 {
		parts = append(parts, "no report yet")
	}
	for _, t := range r.typesBut(schema.Compliant) {
		state := r.line.Compliance[t]
		text := markdown(t)
		if t == "Patch" {
			if counts := r.patches(); counts != "" {
				text += ": " + counts
			}
		}
		if state == schema.UnspecifiedData {
			text += " not known"
		}
		parts = append(parts, text)
		if len(parts) == 6 {
			parts = append(parts, "…")
			break
		}
	}
	if r.problem == "" && r.status == schema.CloneConflict {
		parts = append(parts, "**two hosts have its key**")
	}
	if len(parts) == 0 && r.status == schema.ConnectionLost {
		parts = append(parts, "silent")
	}
	if len(parts) == 0 && r.status == schema.Pending {
		parts = append(parts, "not active in the roster, or not heard of")
	}
	return strings.Join(parts, "; ")
}

// typesBut are the node's types in another state, Patch first.
func (r row) typesBut(state schema.Compliance) []string {
	var out []string
	for _, t := range sortedTypes(r.line.Compliance) {
		if r.line.Compliance[t] != state {
			out = append(out, t)
		}
	}
	return out
}

// patches says how many patches are in which bad state.
func (r row) patches() string {
	var parts []string
	for _, c := range []struct{ count, word string }{
		{"MissingCount", "Missing"}, {"FailedCount", "Failed"}, {"InstalledRejectedCount", "InstalledRejected"}, {"InstalledPendingRebootCount", "InstalledPendingReboot"},
	} {
		if n := r.line.Counts[c.count]; n > 0 {
			parts = append(parts, number(n)+" "+c.word)
		}
	}
	var levels []string
	for _, c := range []struct{ count, word string }{{"CriticalNonCompliantCount", "critical"}, {"SecurityNonCompliantCount", "security"}} {
		if n := r.line.Counts[c.count]; n > 0 {
			levels = append(levels, number(n)+" "+c.word)
		}
	}
	if len(levels) > 0 {
		parts = append(parts, "of them "+strings.Join(levels, ", "))
	}
	return strings.Join(parts, ", ")
}

func (r row) since() string {
	if r.line.Since.IsZero() {
		return ""
	}
	return still(instant(r.line.Since))
}

func (v *view) writeTypes(p *page) {
	if len(v.types) == 0 {
		return
	}
	p.WriteString("## Compliance by type\n\n")
	p.table("Type", ">"+verdictMark(schema.Compliant), ">"+verdictMark(schema.NonCompliant), ">"+verdictMark(schema.UnspecifiedData), ">Share")
	for _, t := range v.types[:min(len(v.types), maxListed)] {
		p.row(markdown(t.name), number(t.nodes[schema.Compliant]), number(t.nodes[schema.NonCompliant]),
			number(t.nodes[schema.UnspecifiedData]), percent(t.nodes[schema.Compliant], t.total()))
	}
	if more := len(v.types) - maxListed; more > 0 {
		p.printf("\n… and %s.\n", plural(more, "type more", "types more"))
	}
	p.WriteString("\n")
}

// statusOrder is the order in which statuses are listed.
var statusOrder = [...]schema.NodeStatus{schema.Online, schema.ConnectionLost, schema.Pending, schema.CloneConflict, schema.Retired, outsider}

func (v *view) writeStatuses(p *page) {
	if len(v.statuses) == 0 {
		return
	}
	p.WriteString("## Nodes by status\n\n")
	p.table("Status", ">Nodes")
	for _, s := range statusOrder {
		if n := v.statuses[s]; n > 0 {
			p.row(statusMark(s), number(n))
		}
	}
	if n := v.statuses[outsider]; n > 0 {
		p.printf("\n❓ %s of a node that the roster does not have, and %s not counted here. Of a node that is gone, the roster keeps the line, as retired.\n", plural(n, "line is", "lines are"), verb(n))
	}
	if v.silent > 0 {
		p.printf("\n%s not reported yet.\n", plural(v.silent, "node has", "nodes have"))
	}
	if v.conflicts > 0 {
		p.printf("\n👥 %s in [conflicts.jsonl](conflicts.jsonl): two hosts signed with one node's key.\n", plural(v.conflicts, "conflict", "conflicts"))
	}
	p.WriteString("\n")
}

// patchCounts are the counters that ask for somebody's attention.
var patchCounts = [...]struct{ count, mark, word string }{
	{"MissingCount", "❌", "Missing"},
	{"FailedCount", "💥", "Failed"},
	{"InstalledRejectedCount", "🚫", "InstalledRejected"},
	{"InstalledPendingRebootCount", "🔁", "InstalledPendingReboot"},
	{"AvailableSecurityUpdateCount", "🛡️", "AvailableSecurityUpdate"},
}

func (v *view) writePatches(p *page) {
	any := false
	for _, c := range patchCounts {
		any = any || v.counts[c.count].patches > 0
	}
	if !any {
		return
	}
	p.WriteString("## Patches to look at\n\n")
	p.printf("![%s](charts/patches.svg)\n\n", v.patchesText())
	p.table("State", ">Patches", ">On nodes")
	for _, c := range patchCounts {
		if n := v.counts[c.count]; n.patches > 0 {
			p.row(still(c.mark+" "+c.word), number(n.patches), number(n.nodes))
		}
	}
	var levels []string
	for _, c := range []struct{ count, word string }{
		{"CriticalNonCompliantCount", "critical"}, {"SecurityNonCompliantCount", "security"}, {"OtherNonCompliantCount", "other"},
	} {
		if n := v.counts[c.count]; n.patches > 0 {
			levels = append(levels, number(n.patches)+" "+c.word)
		}
	}
	if len(levels) > 0 {
		p.printf("\nPatches that count against compliance: %s.\n", strings.Join(levels, ", "))
	}
	p.WriteString("\n")
}

func (v *view) writeCommits(p *page) {
	if len(v.commits) == 0 {
		return
	}
	p.WriteString("## Policy in force\n\n")
	p.table("Commit", ">Nodes", ">Share")
	for _, c := range v.commits[:min(len(v.commits), maxListed)] {
		p.row("`"+c.commit+"`", number(c.nodes), percent(c.nodes, v.total))
	}
	if more := len(v.commits) - maxListed; more > 0 {
		p.printf("\n… and %s.\n", plural(more, "commit more", "commits more"))
	}
	p.WriteString("\n")
}

// writeNodes lists all nodes of a small fleet.
func (v *view) writeNodes(p *page) {
	if len(v.rows) == 0 || len(v.rows) > maxRows {
		return
	}
	p.WriteString("## All nodes\n\n")
	p.table("Node", "Status", "Compliance", "Policy", "Facts", still("Since (UTC)"))
	for _, r := range v.rows {
		commit, facts := "", ""
		if r.line.Commit != "" {
			commit = "`" + short(r.line.Commit) + "`"
		}
		if r.line.Facts != "" {
			facts = "[" + r.line.Facts[:8] + "](" + factsFile(r.line.Facts) + ")"
		}
		p.row(r.link(), statusMark(r.status), verdictMark(r.verdict), commit, facts, r.since())
	}
	p.WriteString("\n")
}

const about = `## About this branch

Dunlin writes it; what people change here is overwritten. A node's line in ` + "`nodes/`" + ` is signed by that node:
` + "`dunlin report verify --repo DIR`" + ` checks every signature against the roster of the policy. The commits of this branch are its history:
` + "`git log`" + ` shows when who was COMPLIANT.

| Where | What |
|:---|:---|
| [summary.json](summary.json) | this page for programs |
| ` + "`nodes/<2 hex>.jsonl`" + ` | a signed line a node, in 256 shards, sorted by node |
| ` + "`facts/<2 hex>/<sha256>.json`" + ` | packages and newer versions that a line's ` + "`facts`" + ` names, once for all nodes that share them |
| ` + "`conflicts.jsonl`" + ` | lines of two hosts that have one node's key |
| ` + "`badges/*.svg`, `charts/*.svg`" + ` | pictures of this page, for other pages too |
`
