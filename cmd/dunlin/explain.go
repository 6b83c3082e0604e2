package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/schema"
)

const exitNoMatch = 9

func (a *app) explainCommand() *cobra.Command {
	var f localFlags
	var at socketFlags
	var all, exitStatus bool
	cmd := &cobra.Command{
		Use:   "explain [NODE] [ITEM] [--repo DIR]",
		Short: "Why something is as it is: rule, file and line",
		Long: `Say of a patch or a resource what it should be, which policy or approval rule says
so and where that is written, how it is now, and why it is not changed if it is
not. ITEM is a name as reconcile prints it, such as file:/etc/motd, service:nginx,
port:in/tcp/23/any or patch:openssl.amd64; a path alone is a file. A word without a kind is a node; after NODE,
and where no node has that name, it is a patch. Without ITEM it explains what counts
against the node, with --all everything that policies manage on it. It changes nothing.

The policy is that in DIR, or without --repo the commit that this host's agent has in
force. This host is looked at now. Of another node the agent knows what that node told of
itself, which packages it reported, and what the policy says; what cannot be known here is
said, with where to ask. Where no agent answers, this host is explained under the commit
that was in force last.

Exit status: 0 explained; with --exit-status 7 when something counts against the node, or
it told nothing yet; 9 no such node, or nothing of that name is managed on it; without
--repo 5 when no agent answers, 4 not allowed.`,
		Example: `  sudo dunlin explain
  sudo dunlin explain patch:openssl.amd64
  sudo dunlin explain web-2 port:in/tcp/23/any
  sudo dunlin explain web-2 --all
  dunlin explain file:/etc/motd --repo ./infra-policy
  dunlin explain web-1 --repo ./infra-policy -o json`,
		Args: maxArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			node, item, err := nodeAndItem(f.node, args)
			if err != nil {
				return err
			}
			var x api.Explained
			if f.repo == "" {
				at.config = f.config
				x, err = a.explainByAgent(cmd.Context(), f, at, node, item, all)
				if errors.Is(err, api.ErrNoNode) && len(args) == 1 && args[0] == node {
					// A word alone is a node, and where there is none of that name a patch of this host.
					patch := string(schema.KindPatch) + ":" + node
					if y, asPatch := a.explainByAgent(cmd.Context(), f, at, "", patch, all); asPatch == nil {
						x, err, item = y, nil, patch
					} else if errors.Is(asPatch, api.ErrNoItem) {
						err = exitWith{code: exitNoMatch, err: err, hint: "dunlin nodes lists all nodes; an item of this host is named with its kind, as dunlin explain --all prints it"}
					}
				}
			} else {
				err = a.lookHere(cmd.Context(), f, func(l agent.Local) (err error) {
					x.Items, err = l.Explain(cmd.Context(), f.repo, node, item)
					return err
				})
			}
			if _, unknown := errors.AsType[*agent.UnknownItemError](err); unknown {
				return exitWith{code: exitNoMatch, err: err, hint: "dunlin explain --all lists what is managed here"}
			}
			if err != nil {
				return err
			}
			if err := a.printExplained(x, item, f.repo != "" || all); err != nil {
				return err
			}
			if exitStatus && slices.ContainsFunc(x.Items, func(e schema.Explanation) bool { return stateMark(e.State) != good }) {
				return exitWith{code: exitNonCompliant}
			}
			return nil
		},
	}
	f.add(cmd)
	at.addSocket(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "explain also what is well; with --repo it always is")
	cmd.Flags().BoolVar(&exitStatus, "exit-status", false, "exit with 7 when something of what is explained counts against the node")
	return cmd
}

// explainByAgent asks the agent, and where none answers the state folder that it left.
func (a *app) explainByAgent(ctx context.Context, f localFlags, at socketFlags, node, item string, all bool) (api.Explained, error) {
	x, err := ask(ctx, a, at, slowAnswer, func(ctx context.Context, c *api.Client) (api.Explained, error) {
		return c.Explain(ctx, node, item, all)
	})
	if node != "" || !errors.Is(err, api.ErrUnreachable) {
		return x, err
	}
	err = a.lastGood(ctx, f, err, func(l agent.Local) (commit string, err error) {
		x.Items, commit, err = l.ExplainLastGood(ctx, item)
		x.Own, x.Here, x.Commit = true, commit, commit
		return commit, err
	})
	if item == "" && !all {
		x.Items = slices.DeleteFunc(x.Items, func(e schema.Explanation) bool { return stateMark(e.State) == good })
	}
	return x, err
}

// printExplained shows one item with all there is to say, or several with what matters.
func (a *app) printExplained(x api.Explained, item string, whole bool) error {
	if a.json() {
		if item != "" && len(x.Items) == 1 {
			return a.printJSON(x.Items[0])
		}
		return a.printJSON(append([]schema.Explanation{}, x.Items...))
	}
	p := a.newPage()
	now := a.now()
	if item != "" {
		for _, e := range x.Items {
			p.explanation(e, x, now)
		}
		return p.flush()
	}
	var well grid
	for _, e := range x.Items {
		if m := stateMark(e.State); m == good {
			well.add(marked(m, e.Item), plain(e.State), plain(says(e)), plain(place(e.Position)))
			continue
		}
		p.brief(e)
	}
	well.write(p.w, p.look, p.width)
	if x.More > 0 {
		fmt.Fprintf(p.w, "and %d more\n", x.More)
	}
	if len(x.Items) > 0 {
		p.w.WriteByte('\n')
	}
	p.verdict(x, whole, now)
	return p.flush()
}

// verdict ends an overview: how the node is, and how fresh that is.
func (p page) verdict(x api.Explained, whole bool, now time.Time) {
	if len(x.Types) == 0 {
		if len(x.Items) == 0 {
			text := "nothing counts against this host"
			if whole {
				text = "no policy manages anything here, and every patch is well"
			}
			p.fact(good, "host", text)
		}
		return
	}
	m := good
	var texts []string
	for _, t := range x.Types {
		texts = append(texts, t.Type+" "+string(t.State))
		if t.State == schema.NonCompliant {
			m = bad
		} else if t.State != schema.Compliant && m == good {
			m = unknown
		}
	}
	if m == good && x.Status != schema.Online {
		m = unknown
	}
	texts = []string{x.Node + ": " + strings.Join(texts, ", ") + ", " + counted(x.Managed, "resource") + " managed"}
	if !x.Own {
		switch x.Status {
		case schema.Online:
			texts = append(texts, "as the node told; dunlin explain on "+x.Node+" looks at the host now")
		case schema.Pending:
			texts = append(texts, "it was never heard of: whether it is as the policy says is not known")
		default:
			texts = append(texts, string(x.Status)+", "+heard(now, x.LastSeen)+": this is what it told last, not how it is now")
		}
	}
	if x.Commit != "" && x.Commit != x.Here {
		texts = append(texts, fmt.Sprintf("it holds %s; rules and places are of %s, which is in force on the node that answers", short(x.Commit), short(x.Here)))
	}
	if x.Problem != "" {
		texts = append(texts, x.Problem)
	}
	p.fact(m, "node", texts...)
}

// nodeAndItem tells the two optional arguments apart: an item begins with a kind and a colon.
func nodeAndItem(node string, args []string) (string, string, error) {
	item := ""
	for i, arg := range args {
		if strings.HasPrefix(arg, "/") { // no node has such a name
			arg = string(schema.KindFile) + ":" + arg
		}
		kind, _, ok := strings.Cut(arg, ":")
		switch {
		case ok && isKind(kind):
			if item != "" {
				return "", "", usageError{fmt.Errorf("%q and %q are both items; give one", item, arg)}
			}
			item = arg
		case ok:
			return "", "", usageError{fmt.Errorf("%q: no kind %q; there are port, file, package, service, sysctl, user, patch", arg, kind)}
		case node != "" && i == 1 && args[0] == node:
			item = string(schema.KindPatch) + ":" + arg
		case node != "" && node != arg:
			return "", "", usageError{fmt.Errorf("%q and %q are both nodes; give one", node, arg)}
		default:
			node = arg
		}
	}
	return node, item, nil
}

func isKind(s string) bool {
	switch schema.Kind(s) {
	case schema.KindPort, schema.KindFile, schema.KindPackage, schema.KindService, schema.KindSysctl, schema.KindUser, schema.KindPatch:
		return true
	}
	return false
}

// stateMark is a state of a resource or a patch at a glance.
func stateMark(state string) mark {
	switch state {
	case string(schema.ResourceCompliant), string(schema.Installed), string(schema.InstalledOther), string(schema.NotApplicable):
		return good
	case string(schema.ResourceWaiting):
		return waits
	case string(schema.ResourceNonCompliant), string(schema.InstalledPendingReboot):
		return attention
	case string(schema.UnspecifiedData):
		return unknown
	case string(schema.Pending):
		return waits
	case string(schema.Retired):
		return gone
	}
	return bad
}

// explanation is all that there is to say of one item.
func (p page) explanation(e schema.Explanation, x api.Explained, now time.Time) {
	m := stateMark(e.State)
	fmt.Fprintf(p.w, "%s%s  %s\n", p.look.sign(m), p.look.bold(printable(e.Item)), p.look.paint(m, printable(e.State)))
	row := func(name, value string) {
		if value != "" {
			hang(p.w, fmt.Sprintf("  %-9s ", name), 12, value, p.width)
		}
	}
	row("node", e.Node)
	row("why", e.Reason)
	switch {
	case e.Want != e.Got:
		row("wanted", orAbsent(e.Want))
		row("is", orAbsent(e.Got))
	case e.State == string(schema.Missing):
		row("wanted", e.Want)
	case e.Patch != nil:
		row("version", e.Want)
	default:
		row("is", e.Want)
	}
	row("says", says(e))
	if e.Position != nil {
		row("where", fmt.Sprintf("%s:%d:%d", e.Position.File, e.Position.Line, e.Position.Column))
	} else if e.Baseline != "" {
		row("where", "shipped with dunlin")
	}
	if e.Patch != nil {
		row("class", e.Patch.Classification)
		row("priority", e.Patch.Severity)
	}
	if e.Severity != "" && e.Severity != schema.Unspecified {
		row("level", string(e.Severity))
	}
	if e.Window != nil {
		row("window", fmt.Sprintf("%s, %s to %s", e.Window.Window, e.Window.Start.UTC().Format(time.RFC3339), e.Window.End.UTC().Format(time.RFC3339)))
	}
	if len(e.Restart) > 0 {
		row("restarts", strings.Join(e.Restart, ", "))
	}
	if e.Told {
		told := "the node told this; it was not looked at now"
		if x.Status != schema.Online {
			told = "the node told this last, and is " + string(x.Status) + ", " + heard(now, e.LastSeen)
		}
		row("known", told)
	}
	row("unknown", e.Unknown)
	if x.Commit != "" && x.Commit != x.Here {
		row("commit", fmt.Sprintf("the node holds %s; rule and place are of %s", short(x.Commit), short(x.Here)))
	}
}

// says is who wants an item as it should be.
func says(e schema.Explanation) string {
	switch {
	case e.Policy != "" && e.Mode == schema.Audit:
		return "policy " + e.Policy + ", which only audits"
	case e.Policy != "":
		return "policy " + e.Policy
	case e.Baseline == "":
		return ""
	}
	from := "baseline " + e.Baseline + " (" + e.Because + ")"
	if e.Rule > 0 {
		from += fmt.Sprintf(", rule %d", e.Rule)
	}
	return from
}

// place is where something is written, empty for what is shipped.
func place(at *schema.Position) string {
	if at == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d", at.File, at.Line)
}

// brief is an item in an overview that is not well: what it is, why, and who says so.
func (p page) brief(e schema.Explanation) {
	m := stateMark(e.State)
	fmt.Fprintf(p.w, "%s%s  %s\n", p.look.sign(m), p.look.bold(printable(e.Item)), p.look.paint(m, printable(e.State)))
	indent := p.look.signWidth() + 2
	line := func(text string) {
		if text != "" {
			hang(p.w, strings.Repeat(" ", indent), indent, text, p.width)
		}
	}
	line(e.Reason)
	if e.Patch == nil && e.Want != e.Got {
		line("wanted " + orAbsent(e.Want) + ", is " + orAbsent(e.Got))
	}
	line(strings.Join(nonEmpty([]string{says(e), place(e.Position)}), ", "))
}
