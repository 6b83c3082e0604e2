package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/schema"
)

func (a *app) scanCommand() *cobra.Command {
	var f localFlags
	var at socketFlags
	var exitStatus, all bool
	cmd := &cobra.Command{
		Use:   "scan [--repo DIR]",
		Short: "Which approved patches this host lacks",
		Long: `Hold this host against the patch baseline that a policy gives it, and say of every package
whether it is as it should be, and why. The policy is that in DIR, or without --repo the
commit that this host's agent has in force; where no agent answers, the one that was in
force last, as the state folder has it. It reads the package manager's own files,
refreshes nothing and changes nothing; where a baseline counts from first sightings, root's
scan notes them in the state folder. With --repo it needs no root before the first pass;
after it root alone may read what was installed last.

Exit status: 0 also when patches are missing; with --exit-status 7 when the host is
not compliant; 1 it could not be judged; 3 the policy has faults; without --repo 5 when
no agent answers and none was here before, 4 not allowed.`,
		Example: `  sudo dunlin scan
  dunlin scan --repo ./infra-policy
  dunlin scan --repo /srv/policy.git --node web-1 -o json | jq .counts
  dunlin scan --repo /srv/policy.git --exit-status || echo "not compliant"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			at.config = f.config
			p, err := a.scan(cmd.Context(), f, at)
			if err != nil {
				return err
			}
			if p.Problem != "" {
				return exitWith{code: exitError, err: fmt.Errorf("scan: %s", p.Problem)}
			}
			if !a.json() {
				fmt.Fprintf(a.out, "baseline %s (%s)\n\n", printable(p.Baseline), printable(p.Because))
			}
			if err := a.printJudgement(p.Judgement, all); err != nil {
				return err
			}
			if exitStatus && p.Judgement.Compliance == schema.NonCompliant {
				return exitWith{code: exitNonCompliant}
			}
			return nil
		},
	}
	f.add(cmd)
	at.addSocket(cmd)
	cmd.Flags().BoolVar(&exitStatus, "exit-status", false, "exit with 7 when the host is not compliant")
	cmd.Flags().BoolVar(&all, "all", false, "list also packages that are well, not only their number")
	return cmd
}

// scan holds this host against the policy in a folder, or without one that of its agent.
func (a *app) scan(ctx context.Context, f localFlags, at socketFlags) (schema.Patching, error) {
	if f.repo != "" {
		var p schema.Patching
		err := a.lookHere(ctx, f, func(l agent.Local) (err error) {
			p, err = l.Scan(ctx, f.repo, f.node)
			return err
		})
		return p, err
	}
	if f.node != "" {
		return schema.Patching{}, usageError{errors.New("--node goes with --repo: the agent scans its own host")}
	}
	p, err := ask(ctx, a, at, slowAnswer, func(ctx context.Context, c *api.Client) (schema.Patching, error) { return c.Scan(ctx) })
	if !errors.Is(err, api.ErrUnreachable) {
		return p, err
	}
	fromDisk := a.lastGood(ctx, f, err, func(l agent.Local) (commit string, err error) {
		p, commit, err = l.ScanLastGood(ctx)
		return commit, err
	})
	return p, fromDisk
}

// lookHere does something on this host with what happens shown, and gives errors their exit code and remedy.
func (a *app) lookHere(ctx context.Context, f localFlags, do func(agent.Local) error) error {
	show := a.newProgress()
	l, err := a.local(f, show.step)
	if err != nil {
		return err
	}
	err = do(l)
	show.end()
	return a.localError(ctx, err)
}

// lastGood does it with what the state folder has where no agent answers, and says so; unreachable is the error where
// there was never an agent.
func (a *app) lastGood(ctx context.Context, f localFlags, unreachable error, do func(agent.Local) (commit string, err error)) error {
	commit := ""
	err := a.lookHere(ctx, f, func(l agent.Local) (err error) {
		commit, err = do(l)
		return err
	})
	switch {
	case errors.Is(err, agent.ErrNoLastGood), errors.Is(err, fs.ErrPermission):
		hint := agentDown()
		if said := (exitWith{}); errors.As(unreachable, &said) {
			hint = strings.TrimSuffix(said.hint, otherSocket)
		}
		return exitWith{code: exitUnreachable, err: unreachable, hint: hint + "; or name a policy with --repo DIR"}
	case commit != "":
		a.note(fmt.Sprintf("warning: no agent answers; this is under %s, which was in force last", short(commit)), "")
	}
	return err
}
