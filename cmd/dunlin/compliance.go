package main

import (
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

func (a *app) complianceCommand() *cobra.Command {
	var f socketFlags
	var targets targetFlags
	var exitStatus, all bool
	cmd := &cobra.Command{
		Use:   "compliance",
		Short: "Which nodes are not as the policy says, and in what",
		Long: `Say which nodes are not compliant and what counts against each, as the agent of this host
knows it. Nodes with the same shortcomings stand together. A node that told nothing yet
is UNSPECIFIED_DATA; of one that is not Online this is what it said last, and so it is
listed even if that was COMPLIANT. Why something counts: dunlin explain NODE ITEM.

With -o json every node and type is an object, compliant ones too.

Exit status: 0; with --exit-status 7 when a node is NON_COMPLIANT or UNSPECIFIED_DATA;
9 no node matches; 4 not allowed; 5 no agent answers.`,
		Example: `  sudo dunlin compliance
  sudo dunlin compliance --target tag:env=prod --exit-status
  sudo dunlin compliance -o json | jq -r '.[] | select(.state != "COMPLIANT") | .node' | sort -u`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := targets.check(); err != nil {
				return err
			}
			list, err := ask(cmd.Context(), a, f, quickAnswer, func(ctx context.Context, c *api.Client) ([]schema.NodeCompliance, error) {
				return c.Compliance(ctx, targets...)
			})
			if err != nil {
				return err
			}
			if a.json() {
				err = a.printJSON(append([]schema.NodeCompliance{}, list...))
			} else {
				err = a.printCompliance(list, all)
			}
			if err == nil && exitStatus && slices.ContainsFunc(list, func(n schema.NodeCompliance) bool { return n.State != schema.Compliant }) {
				return exitWith{code: exitNonCompliant}
			}
			return err
		},
	}
	f.add(cmd)
	targets.add(cmd)
	cmd.Flags().BoolVar(&exitStatus, "exit-status", false, "exit with 7 when a node is not COMPLIANT")
	cmd.Flags().BoolVar(&all, "all", false, "name also the nodes that are compliant, and all items")
	return cmd
}

// alike are nodes of which the same is to be said.
type alike struct {
	nodes []schema.NodeCompliance // one of each node
	types []schema.NodeCompliance // those of the first
	state schema.Compliance       // over all types
	stale bool
}

// groupAlike puts nodes together whose types, states and items are the same.
func groupAlike(list []schema.NodeCompliance) []alike {
	var out []alike
	seen := map[string]int{}
	for i := 0; i < len(list); {
		end := i + 1
		for end < len(list) && list[end].Node == list[i].Node {
			end++
		}
		types := list[i:end]
		i = end
		var key strings.Builder
		g := alike{nodes: []schema.NodeCompliance{types[0]}, types: types, state: schema.Compliant, stale: types[0].Stale}
		fmt.Fprintf(&key, "%t", types[0].Stale)
		for _, t := range types {
			fmt.Fprintf(&key, "\x00%s\x00%s\x00%d", t.Type, t.State, t.More)
			for _, item := range t.Items {
				fmt.Fprintf(&key, "\x00%s\x00%s\x00%s", item.ID, item.State, item.Reason)
			}
			switch {
			case t.State == schema.NonCompliant:
				g.state = t.State
			case t.State != schema.Compliant && g.state == schema.Compliant:
				g.state = schema.UnspecifiedData
			}
		}
		if at, known := seen[key.String()]; known {
			out[at].nodes = append(out[at].nodes, types[0])
			continue
		}
		seen[key.String()] = len(out)
		out = append(out, g)
	}
	rank := func(g alike) int {
		r := 2 * slices.Index([]schema.Compliance{schema.NonCompliant, schema.UnspecifiedData, schema.Compliant}, g.state)
		if g.stale {
			r++
		}
		return r
	}
	slices.SortStableFunc(out, func(x, y alike) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(len(y.nodes), len(x.nodes)))
	})
	return out
}

// How much is printed of what nobody asked to see whole.
const (
	shownNames = 10
	shownItems = 8
)

func (a *app) printCompliance(list []schema.NodeCompliance, all bool) error {
	p := a.newPage()
	now := a.now()
	counts := map[schema.Compliance]int{}
	stale, shown := 0, 0
	for _, g := range groupAlike(list) {
		counts[g.state] += len(g.nodes)
		if g.stale && g.state != schema.UnspecifiedData {
			stale += len(g.nodes)
		}
		if !all && g.state == schema.Compliant && !g.stale {
			continue
		}
		if shown++; shown > 1 {
			p.w.WriteByte('\n')
		}
		p.alike(g, now, all)
	}
	if shown > 0 {
		p.w.WriteByte('\n')
	}
	text, m := countedVerdicts(counts)
	if len(list) == 0 {
		text, m = "no active node is in the roster", attention
	}
	p.fact(m, "nodes", text)
	p.bar(counts)
	if old := oldVerdicts(stale); old != "" {
		p.more(old)
	}
	return p.flush()
}

// alike prints nodes of which the same is to be said, and what.
func (p page) alike(g alike, now time.Time, all bool) {
	m := complianceMark(g.state, g.stale)
	word := string(g.state)
	if g.stale && g.state != schema.UnspecifiedData {
		word = "last " + word
	}
	var names []string
	for _, n := range g.nodes {
		name := printable(n.Node)
		if n.Stale {
			name += " (" + staleness(now, n) + ")"
		}
		names = append(names, name)
	}
	most := shownNames
	if all {
		most = len(names)
	}
	text := listed(names, most)
	if len(names) > 1 {
		text = counted(len(names), "node") + ": " + text
	}
	lead := p.look.sign(m) + p.look.paint(m, word) + "  "
	hang(p.w, lead, p.look.signWidth()+len(word)+2, text, p.width)
	items, rest := itemsOf(g.types, all)
	p.reasons(items)
	if rest > 0 {
		hang(p.w, "    ", 4, fmt.Sprintf("and %d more: dunlin explain %s", rest, g.nodes[0].Node), p.width)
	}
}

// staleness is why what a node said is not fresh.
func staleness(now time.Time, n schema.NodeCompliance) string {
	switch {
	case n.Status == schema.Pending:
		return "never heard of"
	case n.Status == schema.ConnectionLost:
		return heard(now, n.LastSeen)
	}
	return string(n.Status) + ", " + heard(now, n.LastSeen)
}

// itemsOf is what counts against a node, and how many items are left out.
func itemsOf(types []schema.NodeCompliance, all bool) (g grid, rest int) {
	g = grid{indent: 4, wraps: true}
	for _, t := range types {
		rest += t.More
		for i, item := range t.Items {
			if i == shownItems && !all {
				rest += len(t.Items) - i
				break
			}
			g.add(cell{text: item.State, mark: stateMark(item.State)}, plain(itemName(t.Type, item.ID)), plain(item.Reason))
		}
		if t.State == schema.NonCompliant && len(t.Items) == 0 && t.More == 0 {
			g.add(cell{text: string(t.State), mark: bad}, plain(t.Type), plain("the node does not say in what"))
		}
	}
	return g, rest
}

// reasons prints states, items and reasons: side by side, or with the reason below where an item's name leaves no room.
func (p page) reasons(g grid) {
	if len(g.rows) == 0 {
		return
	}
	wide := g.natural(g.rows, p.look)
	if p.width > 0 && total(wide[:2])+2+min(leastLast, wide[2]) > p.width-g.indent {
		for _, r := range g.rows {
			hang(p.w, "    "+p.look.paint(r[0].mark, r[0].text)+"  ", 6+textWidth(r[0].text), r[1].text, p.width)
			if r[2].text != "" {
				hang(p.w, "        ", 8, r[2].text, p.width)
			}
		}
		return
	}
	g.write(p.w, p.look, p.width)
}

// itemName is an item as explain takes it.
func itemName(typ, id string) string {
	const patch = string(schema.KindPatch) + ":"
	if typ == "Patch" && !strings.HasPrefix(id, patch) {
		return patch + id
	}
	return id
}
