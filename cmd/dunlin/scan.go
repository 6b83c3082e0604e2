package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/schema"
)

func (a *app) scanCommand() *cobra.Command {
	var f localFlags
	var exitStatus, all bool
	cmd := &cobra.Command{
		Use:   "scan --repo DIR",
		Short: "Which approved patches this host lacks",
		Long: `Hold this host against the patch baseline that the policy in DIR gives it, and say of
every package whether it is as it should be, and why. It reads the package manager's
own files, refreshes nothing and changes nothing. It needs no root before the first
pass; after it root alone may read what was installed last.

Exit status: 0 also when patches are missing; with --exit-status 7 when the host is
not compliant; 1 it could not be judged; 3 the policy has faults; 5 without --repo,
when no agent runs here.`,
		Example: `  dunlin scan --repo ./infra-policy
  dunlin scan --repo /srv/policy.git --node web-1 -o json | jq .counts
  dunlin scan --repo /srv/policy.git --exit-status || echo "not compliant"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.repo == "" {
				return exitWith{code: exitUnreachable, err: errors.New("no agent runs on this host, so there is no last good commit to scan against"),
					hint: "name a policy with --repo DIR"}
			}
			show := a.newProgress()
			l, err := a.local(f, show.step)
			if err != nil {
				return err
			}
			p, err := l.Scan(cmd.Context(), f.repo, f.node)
			show.end()
			if err != nil {
				return a.localError(cmd.Context(), err)
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
	cmd.Flags().BoolVar(&exitStatus, "exit-status", false, "exit with 7 when the host is not compliant")
	cmd.Flags().BoolVar(&all, "all", false, "list also packages that are well, not only their number")
	return cmd
}
