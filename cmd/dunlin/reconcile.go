package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
)

func (a *app) reconcileCommand() *cobra.Command {
	var f localFlags
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "reconcile --repo DIR",
		Short: "Take this host to what a policy says, once",
		Long: `Take this host to what the policy in DIR says: block ports, bring packages, users,
files, sysctls and services right, and install approved patches if a maintenance
window with an Install task is open. It prints one line for each thing that
differed and what became of it; a second run changes nothing.

It is a local administrator's act: no signature is asked for. Whatever the host's
own configuration denies is not done. Every change is written down before it is
made, and looked at again afterwards.

Exit status: 0 done, also when things wait; 1 something failed, is contested,
denied or reverted; 3 the policy has faults, and nothing was done.`,
		Example: `  dunlin reconcile --repo ./infra-policy --dry-run      # look, change nothing
  sudo dunlin reconcile --repo /srv/policy.git
  sudo dunlin reconcile --repo /srv/policy.git --node web-1 -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.required(); err != nil {
				return err
			}
			if err := secret.Guard(); err != nil {
				return err
			}
			show := a.newProgress()
			l, err := a.local(f, show.step)
			if err != nil {
				return err
			}
			account, err := l.Reconcile(cmd.Context(), f.repo, f.node, dryRun)
			show.end()
			if err != nil {
				if len(account.Changes) > 0 {
					_ = a.printAccount(account)
				}
				return a.localError(cmd.Context(), err)
			}
			if err := a.printAccount(account); err != nil {
				return err
			}
			return accountExit(account)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only look: needs no root, writes nothing")
	return cmd
}

// accountExit is 1 when something failed, is contested, denied or reverted.
func accountExit(account schema.Account) error {
	for _, c := range account.Changes {
		switch c.Result {
		case schema.Failed, schema.Conflict, schema.Denied, schema.Reverted:
			return exitWith{code: exitError}
		}
	}
	return nil
}

func (a *app) printAccount(account schema.Account) error {
	if a.json() {
		return a.printJSON(account)
	}
	l := lookOf(a.out)
	out := bufio.NewWriter(a.out)
	wide := a.width()
	width := 0
	for _, c := range account.Changes {
		width = max(width, min(len(c.Resource), 44))
	}
	for _, p := range account.Unwell {
		width = max(width, min(len(p.ID)+len("patch:"), 44))
	}
	line := func(m mark, what, words string) {
		what = printable(what)
		column := l.signWidth() + max(width, textWidth(what)) + 2
		hang(out, fmt.Sprintf("%s%-*s  ", l.sign(m), width, what), column, words, wide)
	}
	for _, c := range account.Changes {
		m, words := inWords(c)
		line(m, c.Resource, words)
	}
	for _, p := range account.Unwell {
		line(attention, "patch:"+p.ID, string(p.State)+": "+p.Reason)
	}
	if len(account.Changes)+len(account.Unwell) > 0 {
		fmt.Fprintln(out)
	}
	m, sum := good, "nothing to change"
	if len(account.Changes) > 0 {
		sum = tally(account.Changes)
	}
	if account.Compliance == schema.NonCompliant {
		m = bad
	}
	commit := ""
	if account.Commit != "" {
		commit = "  commit " + account.Commit[:min(12, len(account.Commit))]
	}
	fmt.Fprintf(out, "%s %s  %s%s\n", l.symbol(m), l.bold(string(account.Compliance)), sum, commit)
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// tally counts results: "3 changed, 1 failed".
func tally(cs []schema.Change) string {
	var parts []string
	for _, o := range []struct {
		outcome schema.Outcome
		audited bool
		word    string
	}{
		{schema.Changed, false, "changed"}, {schema.WouldChange, false, "would change"}, {schema.WouldChange, true, "only audited"}, {schema.Waiting, false, "waiting"},
		{schema.Failed, false, "failed"}, {schema.Conflict, false, "in conflict"}, {schema.Denied, false, "denied"}, {schema.Reverted, false, "reverted"},
	} {
		n := 0
		for _, c := range cs {
			if c.Result == o.outcome && c.Audited == o.audited {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o.word))
		}
	}
	return strings.Join(parts, ", ")
}

// participle is an action done: "blocked".
func participle(a schema.Action) string {
	switch a {
	case schema.Create:
		return "created"
	case schema.Update:
		return "updated"
	case schema.Delete:
		return "deleted"
	case schema.Install:
		return "installed"
	case schema.Upgrade:
		return "upgraded"
	case schema.Remove:
		return "removed"
	case schema.Start:
		return "started"
	case schema.Stop:
		return "stopped"
	case schema.Restart:
		return "restarted"
	case schema.Enable:
		return "enabled"
	case schema.Disable:
		return "disabled"
	case schema.Block:
		return "blocked"
	case schema.Unblock:
		return "opened"
	}
	return string(a)
}

// inWords says a change as a person would: what was done or not, from what to what, and why not.
func inWords(c schema.Change) (mark, string) {
	done := participle(c.Action)
	from := func() string {
		switch {
		case c.Got == "" && c.Want == "":
			return ""
		case c.Action == schema.Block || c.Action == schema.Unblock || c.Action == schema.Restart ||
			c.Action == schema.Start || c.Action == schema.Stop || c.Action == schema.Enable || c.Action == schema.Disable:
			return " (was " + orAbsent(c.Got) + ")"
		case c.Want == "":
			return " (was " + c.Got + ")"
		case c.Got == "":
			return ": " + c.Want
		}
		return ": " + c.Got + " -> " + c.Want
	}()
	because := ""
	if c.Reason != "" {
		because = ": " + c.Reason
	}
	switch c.Result {
	case schema.Changed:
		return good, done + from
	case schema.WouldChange:
		if c.Reason != "" {
			because = "; " + c.Reason
		}
		return attention, "would be " + done + from + because
	case schema.Waiting:
		return waits, "waits to be " + done + from + because
	case schema.Denied:
		return bad, "denied, not " + done + because
	case schema.Conflict:
		return bad, "in conflict, left as it is" + because
	case schema.Reverted:
		return bad, "reverted" + because
	}
	return bad, "failed, not " + done + because
}

func orAbsent(s string) string {
	if s == "" {
		return "absent"
	}
	return s
}

// progress shows on standard error what a pass does: on a terminal one line that changes, else nothing
// but warnings, so that logs hold results and not the way there.
type progress struct {
	a     *app
	look  look
	shown bool
}

func (a *app) newProgress() *progress { return &progress{a: a, look: lookOf(a.err)} }

func (p *progress) step(s reconciler.Step) {
	if text, ok := strings.CutPrefix(s.Doing, "warning: "); ok {
		p.clear()
		p.a.note("warning: "+text, "")
		return
	}
	if !p.look.terminal || s.Doing == "" || p.a.json() {
		return
	}
	p.clear()
	text := []rune(printable(s.Doing))
	const width = 76
	if len(text) > width {
		text = append(text[:width-1], '…')
	}
	fmt.Fprintf(p.a.err, "%s %s", p.look.symbol(busy), string(text))
	p.shown = true
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.a.err, "\r\x1b[K")
		p.shown = false
	}
}

// end takes the changing line away.
func (p *progress) end() { p.clear() }
