package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/schema"
)

func (a *app) nodesCommand() *cobra.Command {
	var f socketFlags
	var targets targetFlags
	var states []string
	var exitStatus bool
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "All nodes of the fleet, and whether they are here",
		Long: `List the nodes of the roster as the agent of this host sees them: status, when each was last
heard, which commit is in force there, and whether it is compliant. Of a node that is not
Online commit and verdict are what it said last.

Online          the node is a member now
ConnectionLost  it was heard, and is not a member any more
Pending         it is not active in the roster, or was never heard
Conflict        two hosts have its key
Retired         so it says in the roster

Exit status: 0; with --exit-status 7 when an active node of the list is not COMPLIANT, or
told nothing yet; 9 no node matches; 4 not allowed; 5 no agent answers.`,
		Example: `  sudo dunlin nodes
  sudo dunlin nodes --target tag:role=web,api --target '!tag:canary=true'
  sudo dunlin nodes --status ConnectionLost,Conflict
  sudo dunlin nodes -o json | jq -r '.[] | select(.status != "Online") | .name'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := targets.check(); err != nil {
				return err
			}
			wanted, err := nodeStates(states)
			if err != nil {
				return err
			}
			nodes, err := ask(cmd.Context(), a, f, quickAnswer, func(ctx context.Context, c *api.Client) ([]schema.NodeView, error) { return c.Nodes(ctx, targets...) })
			if err != nil {
				return err
			}
			if len(wanted) > 0 {
				nodes = slices.DeleteFunc(nodes, func(n schema.NodeView) bool { return !slices.Contains(wanted, n.Status) })
			}
			if a.json() {
				err = a.printJSON(append([]schema.NodeView{}, nodes...))
			} else {
				err = a.printNodes(nodes)
			}
			if err != nil {
				return err
			}
			if len(wanted) > 0 && len(nodes) == 0 {
				return exitWith{code: exitNoMatch, err: fmt.Errorf("no node is %s", strings.Join(states, ",")), hint: "dunlin nodes lists all nodes"}
			}
			if exitStatus && slices.ContainsFunc(nodes, func(n schema.NodeView) bool { return n.State == schema.NodeActive && n.Compliance != schema.Compliant }) {
				return exitWith{code: exitNonCompliant}
			}
			return nil
		},
	}
	f.add(cmd)
	targets.add(cmd)
	cmd.Flags().StringSliceVar(&states, "status", nil, "only nodes of these statuses, such as ConnectionLost,Pending")
	cmd.Flags().BoolVar(&exitStatus, "exit-status", false, "exit with 7 when an active node is not COMPLIANT")
	return cmd
}

// nodeStates reads statuses in whatever case.
func nodeStates(words []string) ([]schema.NodeStatus, error) {
	var out []schema.NodeStatus
	for _, w := range words {
		i := slices.IndexFunc(statusOrder(), func(s schema.NodeStatus) bool { return strings.EqualFold(string(s), w) })
		if i < 0 {
			var all []string
			for _, s := range statusOrder() {
				all = append(all, string(s))
			}
			return nil, usageError{fmt.Errorf("--status %q is not one of %s", w, strings.Join(all, ", "))}
		}
		out = append(out, statusOrder()[i])
	}
	return out, nil
}

func (a *app) printNodes(nodes []schema.NodeView) error {
	p := a.newPage()
	now := a.now()
	g := grid{head: []string{"NAME", "STATUS", "HEARD", "IN FORCE", "COMPLIANCE", "TAGS"}, spare: true}
	statuses := map[string]int{}
	commits := map[string]int{}
	for _, n := range nodes {
		statuses[string(n.Status)]++
		if n.Status == schema.Online && n.Commit != "" {
			commits[n.Commit]++
		}
		commit := "-"
		if n.Commit != "" {
			commit = short(n.Commit)
		}
		g.add(plain(n.Name), marked(nodeMark(n.Status), string(n.Status)), plain(heardShort(now, n)), plain(commit), verdict(n), plain(tagText(n.Tags)))
	}
	if len(nodes) > 0 {
		g.write(p.w, p.look, p.width)
		p.w.WriteByte('\n')
	}
	text, m := countedNodes(statuses)
	if len(nodes) == 0 {
		text, m = "none", attention
	}
	p.fact(m, "nodes", text)
	if len(commits) > 1 {
		var parts []string
		for _, c := range slices.SortedFunc(maps.Keys(commits), func(x, y string) int { return commits[y] - commits[x] }) {
			parts = append(parts, fmt.Sprintf("%s on %d", short(c), commits[c]))
		}
		p.fact(attention, "in force", "not the same everywhere: "+listed(parts, 5))
	}
	problems := grid{wraps: true}
	for _, n := range nodes {
		switch {
		case n.Problem != "":
			problems.add(marked(attention, n.Name), plain(n.Problem))
		case n.Refused != "":
			problems.add(marked(attention, n.Name), plain("refuses "+short(n.Refused)+": dunlin status"))
		case n.Remote != "":
			problems.add(marked(attention, n.Name), plain("cannot read the remote: "+n.Remote))
		}
	}
	const most = 8
	if n := len(problems.rows); n > most {
		problems.rows = problems.rows[:most]
		problems.add(plain(fmt.Sprintf("and %d more", n-most)), plain("dunlin nodes -o json"))
	}
	if len(problems.rows) > 0 {
		p.w.WriteByte('\n')
		problems.write(p.w, p.look, p.width)
	}
	return p.flush()
}

// heardShort is when a node was heard, as a table has it.
func heardShort(now time.Time, n schema.NodeView) string {
	switch {
	case n.Status == schema.Online:
		return "now"
	case !n.LastSeen.IsZero():
		return span(now.Sub(n.LastSeen)) + " ago"
	case n.Status == schema.ConnectionLost || n.Status == schema.CloneConflict:
		return "not since start"
	}
	return "never"
}

// verdict is a node's compliance; one that is not fresh says so.
func verdict(n schema.NodeView) cell {
	stale := n.Status != schema.Online
	switch {
	case n.Status == schema.Retired || n.Compliance == "":
		return plain("-")
	case stale && n.Compliance != schema.UnspecifiedData:
		return marked(complianceMark(n.Compliance, stale), "last "+string(n.Compliance))
	}
	return marked(complianceMark(n.Compliance, stale), string(n.Compliance))
}

// tagText is how people write tags.
func tagText(tags map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, k+"="+tags[k])
	}
	return strings.Join(out, " ")
}

// firstPass waits a while until this host was held against the commit that is in force, so that dunlin nodes says the
// same as dunlin sync. It reports whether that still goes on.
func firstPass(ctx context.Context, c *api.Client, s schema.FleetStatus) bool {
	if s.Node == "" || s.Commit == "" || s.Commit != s.Remote.Head {
		return false
	}
	for tries := 40; tries > 0; tries-- {
		own, err := c.Nodes(ctx, "node="+s.ID)
		if err != nil || len(own) != 1 || own[0].Commit == s.Commit {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return true
}

func (a *app) syncCommand() *cobra.Command {
	var f socketFlags
	var applying bool
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Let this host's agent read the remote now",
		Long: `Ask the agent of this host to read the Git remote now instead of at its next turn, and say
what became of it. A new commit is evaluated before the answer comes; it is then in force
here, and offered to the other nodes at once. Two seconds are given to what differs.

Exit status: 0 the remote was read and its head is in force; 3 its head has faults; 4 its
head does not follow on what is in force, or not allowed; 5 no agent answers; 1 the remote
could not be read.`,
		Example: `  git push && ssh web-1 sudo dunlin sync
  sudo dunlin sync -o json | jq -r .commit`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := ask(cmd.Context(), a, f, slowAnswer, func(ctx context.Context, c *api.Client) (schema.FleetStatus, error) {
				if _, err := c.Sync(ctx); err != nil {
					return schema.FleetStatus{}, err
				}
				s, err := c.Status(ctx)
				if err == nil {
					applying = firstPass(ctx, c, s)
				}
				return s, err
			})
			if err != nil {
				return err
			}
			return a.printSync(s, applying)
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) printSync(s schema.FleetStatus, applying bool) error {
	stays := "no commit is in force here yet; the agent tries again by itself"
	if s.Commit != "" {
		stays = short(s.Commit) + " stays in force; the agent tries again by itself"
	}
	if a.json() {
		if err := a.printJSON(struct {
			Node    string                 `json:"node"`
			Commit  string                 `json:"commit"`
			Remote  schema.RemoteStatus    `json:"remote"`
			Refused []schema.RefusedCommit `json:"refused"`
		}{s.Node, s.Commit, s.Remote, s.Refused}); err != nil {
			return err
		}
	}
	if s.Remote.Error != "" {
		return exitWith{code: exitError, err: errors.New(s.Remote.Error), hint: stays}
	}
	for _, r := range s.Refused {
		if r.Commit != s.Remote.Head || s.Commit == r.Commit { // in force here: other nodes have yet to look at it again
			continue
		}
		err := fmt.Errorf("the head %s of %s is refused", short(r.Commit), s.Remote.URL)
		if r.Reason != "" {
			err = fmt.Errorf("%w: %s", err, r.Reason)
		}
		if len(r.Faults) == 0 {
			return exitWith{code: exitNotTrusted, err: err, hint: stays}
		}
		if !a.json() {
			for _, fault := range r.Faults {
				fmt.Fprintln(a.err, printable(fault.String()))
			}
		}
		return exitWith{code: exitFaults, err: err, hint: "mend the lines above and push again; what was in force before stays in force"}
	}
	if s.Commit != s.Remote.Head {
		err := fmt.Errorf("the head %s of %s is not in force", short(s.Remote.Head), s.Remote.URL)
		for _, p := range s.Problems {
			err = fmt.Errorf("%w; %s", err, p)
		}
		return exitWith{code: exitError, err: err, hint: "dunlin status tells more"}
	}
	if !a.json() {
		l := lookOf(a.out)
		if s.Node == "" {
			fmt.Fprintf(a.out, "%s read: %s, the head of %s\n", l.symbol(attention), short(s.Commit), printable(s.Remote.URL))
			for _, p := range s.Problems {
				fmt.Fprintln(a.out, printable(p))
			}
			return nil
		}
		fmt.Fprintf(a.out, "%s in force: %s, the head of %s\n", l.symbol(good), short(s.Commit), printable(s.Remote.URL))
		if applying {
			fmt.Fprintln(a.out, "  what differs is still being put right: dunlin status")
		}
	}
	return nil
}
