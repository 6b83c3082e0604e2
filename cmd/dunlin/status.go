package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/schema"
)

func (a *app) statusCommand() *cobra.Command {
	var f socketFlags
	var exitStatus bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "This node and its fleet on one screen",
		Long: `Ask the agent of this host how it and its fleet fare: which commit is in force and for how
long, which commits were refused and why, how the Git remote is, who writes the reports,
how many nodes are here, what is wrong, and what the policy has that this version does
nothing with yet. It is what this agent knows now; of a node
that is away it is what that node said last, and says so.

Exit status: 0; with --exit-status 7 when an active node is not COMPLIANT, or told nothing
yet; 4 only root and the agent's own user may ask; 5 no agent answers.`,
		Example: `  sudo dunlin status
  sudo dunlin status -o json | jq .nodes
  sudo dunlin status --exit-status > /dev/null || echo "look at dunlin compliance"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := ask(cmd.Context(), a, f, quickAnswer, func(ctx context.Context, c *api.Client) (schema.FleetStatus, error) { return c.Status(ctx) })
			if err != nil {
				return err
			}
			if a.json() {
				err = a.printJSON(s)
			} else {
				err = a.printStatus(s)
			}
			if err == nil && exitStatus && s.Compliance[schema.NonCompliant]+s.Compliance[schema.UnspecifiedData] > 0 {
				return exitWith{code: exitNonCompliant}
			}
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&exitStatus, "exit-status", false, "exit with 7 when an active node is not COMPLIANT")
	return cmd
}

// page writes facts about something: a mark, what it is about, and what there is to say.
type page struct {
	w     *bufio.Writer
	look  look
	width int
}

const labelWidth = 11

func (a *app) newPage() page { return page{bufio.NewWriter(a.out), lookOf(a.out), a.width()} }

// column is where the text of a page begins.
func (p page) column() int { return p.look.signWidth() + labelWidth }

// fact is one subject; the first text stands beside its label, the others below.
func (p page) fact(m mark, label string, texts ...string) {
	lead := p.look.sign(m) + p.look.bold(label) + strings.Repeat(" ", max(labelWidth-len(label), 1))
	for i, text := range texts {
		if i > 0 {
			lead = strings.Repeat(" ", p.column())
		}
		hang(p.w, lead, p.column(), text, p.width)
	}
}

// under is a table below a fact.
func (p page) under(g grid) {
	g.indent = p.column()
	g.write(p.w, p.look, p.width)
}

func (p page) flush() error {
	if err := p.w.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// short is the beginning of a commit, for people.
func short(commit string) string { return commit[:min(12, len(commit))] }

// heard is when something was heard of, in words.
func heard(now, last time.Time) string {
	if last.IsZero() {
		return "not heard since the agent started"
	}
	return "last heard " + span(now.Sub(last)) + " ago"
}

func (a *app) printStatus(s schema.FleetStatus) error {
	p := a.newPage()
	now := s.At
	if now.IsZero() {
		now = a.now()
	}
	title := s.Node
	if title == "" {
		title = "this host (" + s.ID + ")"
	}
	if s.Fleet != "" {
		title += " of fleet " + s.Fleet
	}
	fmt.Fprintf(p.w, "%s\n\n", p.look.bold(printable(title)))
	statusPolicy(p, s, now)
	for _, r := range s.Refused {
		statusRefused(p, r)
	}
	statusTrust(p, s, now)
	statusRemote(p, s, now)
	statusReports(p, s, now)
	if len(s.Nodes) > 0 {
		statusNodes(p, s, now)
		statusCompliance(p, s)
	}
	statusDue(p, s.Due, now)
	for _, text := range s.Problems {
		p.fact(bad, "problem", text)
	}
	return p.flush()
}

// statusDue names parameters that people should look at.
func statusDue(p page, due []schema.ParameterDue, now time.Time) {
	const most = 6
	var texts []string
	m := attention
	for _, d := range due {
		if d.What == schema.ParameterExpired {
			m = bad
		}
		if len(texts) < most {
			texts = append(texts, d.Parameter+" "+dueText(d, now))
		}
	}
	if more := len(due) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more: dunlin param list --due", more))
	}
	if len(texts) > 0 {
		p.fact(m, "parameters", texts...)
	}
}

func statusPolicy(p page, s schema.FleetStatus, now time.Time) {
	if s.Commit == "" {
		p.fact(bad, "policy", "no commit is in force here yet")
		return
	}
	if s.Node == "" {
		p.fact(attention, "policy", short(s.Commit)+" is read, and means nothing for this host")
		return
	}
	text := short(s.Commit) + " in force"
	if !s.Since.IsZero() {
		text += " for " + span(now.Sub(s.Since))
	}
	active := 0
	for _, n := range s.Compliance {
		active += n
	}
	m := good
	switch {
	case active < 2:
	case s.Holds == active:
		text += fmt.Sprintf(", on all %d nodes", active)
	default:
		m, text = attention, text+fmt.Sprintf(", on %d of %d nodes", s.Holds, active)
	}
	texts := []string{text}
	if len(s.Idle) > 0 {
		texts = append(texts, "this version does nothing yet with "+listed(s.Idle, 8))
	}
	p.fact(m, "policy", texts...)
}

// statusTrust says whose word counts here, and how old the newest is.
func statusTrust(p page, s schema.FleetStatus, now time.Time) {
	t := s.Trust
	switch {
	case t == nil: // an agent of an earlier version
		return
	case t.Anchor == "":
		p.fact(attention, "trust", "unsigned: whoever can push to the remote is believed")
		return
	}
	text := "from the anchor " + short(t.Anchor)
	switch {
	case t.Verified == "":
		text += ", after which nothing is verified yet"
	case t.Verified != t.Anchor:
		text += " on, each step is signed up to " + short(t.Verified)
	}
	m, texts := good, []string{text}
	beat := "no heartbeat that counts"
	if !t.Heartbeat.IsZero() {
		beat = "heartbeat " + span(now.Sub(t.Heartbeat)) + " ago"
	}
	switch {
	case t.Stale != "":
		m = bad
		texts = append(texts, beat+", and "+string(t.Freshness)+" is the limit: no new commit is taken until there is a newer one")
	case t.Freshness != "":
		texts = append(texts, beat+"; after "+string(t.Freshness)+" without one no new commit is taken")
	case !t.Heartbeat.IsZero():
		texts = append(texts, beat)
	}
	if t.Withheld != "" {
		m = bad
		texts = append(texts, "the heartbeat names a commit that this node cannot get: see the problem below")
	}
	p.fact(m, "trust", texts...)
}

func statusRefused(p page, r schema.RefusedCommit) {
	text := short(r.Commit)
	if r.Nodes > 0 {
		text += ", by " + counted(r.Nodes, "node")
	}
	if r.Reason != "" {
		text += ": " + r.Reason
	}
	texts := []string{text}
	for _, f := range r.Faults {
		texts = append(texts, f.String())
	}
	p.fact(bad, "refused", append(texts, "what was in force before stays in force")...)
}

func statusRemote(p page, s schema.FleetStatus, now time.Time) {
	r := s.Remote
	texts := []string{r.URL}
	read := "not read by this node since its agent started"
	if !r.LastRead.IsZero() {
		read = "read " + span(now.Sub(r.LastRead)) + " ago"
	}
	m := good
	switch {
	case r.Error != "":
		m = bad
		texts = append(texts, r.Error)
		if !r.Retry.IsZero() && r.Retry.After(now) {
			read += "; tried again in " + span(r.Retry.Sub(now))
		}
	case len(r.Readers) > 0 && !slices.Contains(r.Readers, s.Node) && !slices.Contains(r.Readers, s.ID):
		read = "read by " + listed(r.Readers, 3) + " for all"
	case r.LastRead.IsZero():
		m = waits
	}
	switch {
	case r.Head == "":
	case r.Head == s.Commit && s.Node == "":
	case r.Head == s.Commit:
		read += "; its head is in force"
	case slices.ContainsFunc(s.Refused, func(c schema.RefusedCommit) bool { return c.Commit == r.Head }):
		read += "; its head " + short(r.Head) + " is refused"
	default:
		m = max(m, attention)
		if r.Error != "" {
			m = bad
		}
		read += "; its head " + short(r.Head) + " is not in force yet"
	}
	p.fact(m, "remote", append(texts, read)...)
}

func statusReports(p page, s schema.FleetStatus, now time.Time) {
	r := s.Reporter
	if s.Node == "" && len(r.Elected) == 0 {
		text := "only a node of the roster knows who writes them"
		if s.Commit == "" {
			text = "who writes them is known once a commit is in force"
		}
		p.fact(waits, "reports", text)
		return
	}
	if len(r.Elected) == 0 {
		p.fact(attention, "reports", "nobody writes them: no node that may (reports in its agent.cue) is here; nothing is lost, the nodes keep what they have to say")
		return
	}
	text := "written by " + r.Elected[0]
	if len(r.Elected) > 1 {
		text += ", or by " + listed(r.Elected[1:], 3) + " where it does not"
	}
	texts := []string{text}
	m := good
	if r.Error != "" {
		m = bad
		texts = append(texts, "this node cannot: "+r.Error)
	}
	if slices.Contains(r.Elected, s.Node) {
		last := "no push from this node since its agent started"
		if !r.LastPush.IsZero() {
			last = "last push from this node " + span(now.Sub(r.LastPush)) + " ago"
		}
		switch {
		case r.Waiting == nil:
		case *r.Waiting == 0:
			last += "; the branch is up to date"
		case *r.Waiting == 1:
			last += "; 1 line is not on the branch yet"
		default:
			last += fmt.Sprintf("; %d lines are not on the branch yet", *r.Waiting)
		}
		texts = append(texts, last)
	}
	p.fact(m, "reports", texts...)
}

// statusOrder is the order in which people are told of nodes.
func statusOrder() []schema.NodeStatus {
	return []schema.NodeStatus{schema.Online, schema.ConnectionLost, schema.Pending, schema.CloneConflict, schema.Retired}
}

// nodeMark is a node's status at a glance.
func nodeMark(s schema.NodeStatus) mark {
	switch s {
	case schema.Online:
		return good
	case schema.ConnectionLost:
		return attention
	case schema.Pending:
		return waits
	case schema.Retired:
		return gone
	}
	return bad
}

// countedNodes says how many nodes have each status.
func countedNodes(counts map[string]int) (text string, m mark) {
	var parts []string
	for _, s := range statusOrder() {
		n := counts[string(s)]
		if n == 0 {
			continue
		}
		parts = append(parts, fmt.Sprintf("%d %s", n, s))
		switch {
		case s == schema.CloneConflict:
			m = bad
		case (s == schema.ConnectionLost || s == schema.Pending) && m == good:
			m = attention
		}
	}
	return strings.Join(parts, ", "), m
}

func statusNodes(p page, s schema.FleetStatus, now time.Time) {
	text, m := countedNodes(s.Nodes)
	if m == good && len(s.Unwell) > 0 {
		m = attention
	}
	p.fact(m, "nodes", text)
	g := grid{wraps: true}
	for _, n := range s.Unwell {
		m := nodeMark(n.Status)
		say := heard(now, n.LastSeen)
		switch {
		case n.Status == schema.Online:
			m, say = attention, n.Problem
		case n.Status == schema.Pending:
			say = "never heard of"
		case n.Status == schema.CloneConflict:
			say = cmp.Or(n.Problem, "two hosts have its key")
		}
		g.add(plain(n.Name), marked(m, string(n.Status)), plain(say))
	}
	p.under(g)
	if s.More > 0 {
		p.more(fmt.Sprintf("and %d more: dunlin nodes", s.More))
	}
}

// more is a further line of the fact before.
func (p page) more(text string) {
	hang(p.w, strings.Repeat(" ", p.column()), p.column(), text, p.width)
}

// complianceMark is a verdict at a glance; one that is not fresh is in doubt.
func complianceMark(c schema.Compliance, stale bool) mark {
	switch {
	case c == schema.NonCompliant:
		return bad
	case c == schema.Compliant && !stale:
		return good
	}
	return unknown
}

// countedVerdicts says how many nodes have each verdict.
func countedVerdicts(counts map[schema.Compliance]int) (text string, m mark) {
	var parts []string
	m = good
	for _, c := range []schema.Compliance{schema.Compliant, schema.NonCompliant, schema.UnspecifiedData} {
		if n := counts[c]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, c))
			if c == schema.NonCompliant || c == schema.UnspecifiedData && m == good {
				m = complianceMark(c, false)
			}
		}
	}
	return strings.Join(parts, ", "), m
}

// oldVerdicts says of how many nodes a verdict is not fresh; empty for none.
func oldVerdicts(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "of 1 node it is what it said last"
	}
	return fmt.Sprintf("of %d nodes it is what they said last", n)
}

func statusCompliance(p page, s schema.FleetStatus) {
	text, m := countedVerdicts(s.Compliance)
	if text == "" {
		return
	}
	p.fact(m, "compliance", text)
	p.bar(s.Compliance)
	if old := oldVerdicts(s.Stale); old != "" {
		p.more(old)
	}
	if m != good {
		p.more("who, and in what: dunlin compliance")
	}
}

// bar shows the parts that verdicts have of a fleet, told apart by shade as well as by colour. It is for terminals, and
// adds nothing to the numbers.
func (p page) bar(counts map[schema.Compliance]int) {
	const cells = 40
	all := 0
	for _, n := range counts {
		all += n
	}
	if p.width < p.column()+cells || !p.look.unicode || all < 2 {
		return
	}
	parts := []schema.Compliance{schema.Compliant, schema.NonCompliant, schema.UnspecifiedData}
	var numbers []int
	for _, c := range parts {
		numbers = append(numbers, counts[c])
	}
	p.w.WriteString(strings.Repeat(" ", p.column()))
	for i, n := range shares(numbers, cells) {
		p.w.WriteString(p.look.paint(complianceMark(parts[i], false), strings.Repeat([]string{"█", "▓", "░"}[i], n)))
	}
	p.w.WriteByte('\n')
}

// shares divides cells in proportion to counts; what there is of anything is seen, and the largest part gives or takes
// what rounding leaves.
func shares(counts []int, cells int) []int {
	all, largest := 0, 0
	for i, n := range counts {
		all += n
		if n > counts[largest] {
			largest = i
		}
	}
	out := make([]int, len(counts))
	left := cells
	for i, n := range counts {
		if n > 0 {
			out[i] = max(n*cells/all, 1)
		}
		left -= out[i]
	}
	out[largest] += left
	return out
}
