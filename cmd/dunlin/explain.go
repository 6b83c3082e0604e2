package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/schema"
)

const exitNoMatch = 9

func (a *app) explainCommand() *cobra.Command {
	var f localFlags
	cmd := &cobra.Command{
		Use:   "explain [NODE] [ITEM] --repo DIR",
		Short: "Why something is as it is on this host: rule, file and line",
		Long: `Say of a patch or a resource what it should be, which policy or approval rule says
so and where that is written, how it is now, and why it is not changed if it is
not. ITEM is a name as reconcile prints it, such as file:/etc/motd, service:nginx,
port:in/tcp/23/any or patch:openssl.amd64. Without ITEM it lists everything that
policies manage here, and the patches that are not well. It changes nothing.

Exit status: 0 explained; 9 nothing of that name is managed here.`,
		Example: `  dunlin explain patch:openssl.amd64 --repo ./infra-policy
  dunlin explain file:/etc/motd --repo ./infra-policy
  dunlin explain web-1 --repo ./infra-policy -o json`,
		Args: maxArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.required(); err != nil {
				return err
			}
			node, item, err := nodeAndItem(f.node, args)
			if err != nil {
				return err
			}
			show := a.newProgress()
			l, err := a.local(f, show.step)
			if err != nil {
				return err
			}
			found, err := l.Explain(cmd.Context(), f.repo, node, item)
			show.end()
			var unknown *agent.UnknownItemError
			if errors.As(err, &unknown) {
				return exitWith{code: exitNoMatch, err: err, hint: "dunlin explain without ITEM lists what is managed here"}
			}
			if err != nil {
				return a.localError(cmd.Context(), err)
			}
			if a.json() {
				if item != "" && len(found) == 1 {
					return a.printJSON(found[0])
				}
				if found == nil {
					found = []schema.Explanation{}
				}
				return a.printJSON(found)
			}
			if item == "" {
				a.printOverview(found)
				return nil
			}
			for _, e := range found {
				a.printExplanation(e)
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

// nodeAndItem tells the two optional arguments apart: an item begins with a kind and a colon.
func nodeAndItem(node string, args []string) (string, string, error) {
	item := ""
	for _, arg := range args {
		kind, _, ok := strings.Cut(arg, ":")
		switch {
		case ok && isKind(kind):
			if item != "" {
				return "", "", usageError{fmt.Errorf("%q and %q are both items; give one", item, arg)}
			}
			item = arg
		case ok:
			return "", "", usageError{fmt.Errorf("%q: no kind %q; there are port, file, package, service, sysctl, user, patch", arg, kind)}
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
	}
	return bad
}

func (a *app) printExplanation(e schema.Explanation) {
	l := lookOf(a.out)
	fmt.Fprintf(a.out, "%s %s  %s\n", l.symbol(stateMark(e.State)), l.bold(printable(e.Item)), e.State)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(a.out, "  %-9s %s\n", name, printable(value))
		}
	}
	row("node", e.Node)
	row("why", e.Reason)
	if e.Want != e.Got {
		row("wanted", orAbsent(e.Want))
		row("is", orAbsent(e.Got))
	} else {
		row("version", e.Want)
	}
	from := ""
	switch {
	case e.Policy != "":
		from = "policy " + e.Policy
		if e.Mode == schema.Audit {
			from += ", which only audits"
		}
	case e.Baseline != "":
		from = "baseline " + e.Baseline + " (" + e.Because + ")"
		if e.Patch != nil && e.Patch.Rule >= 0 {
			from += fmt.Sprintf(", rule %d", e.Patch.Rule+1)
		}
	}
	row("says", from)
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
}

func (a *app) printOverview(es []schema.Explanation) {
	l := lookOf(a.out)
	if len(es) == 0 {
		fmt.Fprintf(a.out, "%s no policy manages anything here, and every patch is well\n", l.symbol(good))
		return
	}
	width := 0
	for _, e := range es {
		width = max(width, min(len(e.Item), 44))
	}
	for _, e := range es {
		where := ""
		if e.Position != nil {
			where = fmt.Sprintf("  %s:%d", e.Position.File, e.Position.Line)
		}
		fmt.Fprintf(a.out, "%s %-*s  %-12s  %s%s\n", l.symbol(stateMark(e.State)), width, printable(e.Item), e.State, printable(e.Policy+e.Baseline), printable(where))
	}
}
