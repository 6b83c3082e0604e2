package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/reconciler/baseline"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/load/shipped"
)

func (a *app) baselineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "baseline",
		Short:   "Hold a host's packages against a patch baseline",
		Example: `  dunlin inventory --facts | dunlin baseline judge --baseline AWS-DebianDefaultPatchBaseline --facts -`,
		Args:    groupArgs,
		RunE:    a.needsCommand,
	}
	cmd.AddCommand(a.baselineJudgeCommand())
	return cmd
}

func (a *app) baselineJudgeCommand() *cobra.Command {
	var repo, name, facts, at string
	var all bool
	cmd := &cobra.Command{
		Use:   "judge --baseline NAME --facts FILE [--repo DIR]",
		Short: "Say which patches a baseline finds missing, and why",
		Long: `Hold the facts of a host against a baseline and say of every package whether it is
as it should be, and why. It needs no host: the facts file says everything (dunlin
inventory --facts writes one), so a baseline can be tried before it is merged.

NAME is a baseline of the repository in DIR, or a shipped one such as
AWS-DebianDefaultPatchBaseline; shipped ones need no repository. FILE may be - for
standard input. --at judges as of another instant.

Exit status: 0 also when patches are missing; 3 faults in the policy or the facts;
1 the files could not be read, there is no such baseline, or it is for another
operating system.`,
		Example: `  dunlin inventory --facts | dunlin baseline judge --baseline AWS-DebianDefaultPatchBaseline --facts -
  dunlin baseline judge --repo . --baseline debian-prod --facts web-1.facts.json
  dunlin baseline judge --repo . --baseline debian-prod --facts web-1.facts.json -o json | jq .counts`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case name == "":
				return usageError{errors.New("--baseline is missing: name a baseline of the repository, or a shipped one such as AWS-DebianDefaultPatchBaseline")}
			case facts == "":
				return usageError{errors.New("--facts is missing: name a facts file, as dunlin inventory --facts writes it, or - for standard input")}
			}
			now := time.Now()
			if at != "" {
				t, err := time.Parse(time.RFC3339, at)
				if err != nil {
					return usageError{fmt.Errorf("--at %q is not an instant such as 2026-12-31T22:00:00Z", at)}
				}
				now = t
			}
			policy, err := a.readBaselines(cmd.Context(), repo)
			if err != nil {
				return err
			}
			if b, ok := shipped.Baselines()[name]; ok && schema.Refuses(schema.NotEnforced(), schema.LimitOperatingSystem, string(b.OperatingSystem)) {
				return exitWith{code: exitError, err: fmt.Errorf("baseline %q is for %s, which this version does not judge", name, b.OperatingSystem)}
			}
			b, err := baseline.Find(policy, name)
			if err != nil {
				return exitWith{code: exitError, err: err, hint: "baselines are in the repository that --repo names; shipped ones need none"}
			}
			f, err := a.readFacts(facts)
			if err != nil {
				return err
			}
			if system := f.OS.OperatingSystem; system != "" && system != b.OperatingSystem {
				return exitWith{code: exitError, err: fmt.Errorf("baseline %q is for %s, and the facts are those of a %s host", name, b.OperatingSystem, system),
					hint: "name a baseline for " + string(system)}
			}
			return a.printJudgement(baseline.Judge(b, f, now, inventory.CompareVersions), all)
		},
	}
	cmd.Flags().StringVar(&repo, "repo", "", "the policy: a folder of files or a bare Git repository; without it only shipped baselines")
	cmd.Flags().StringVar(&name, "baseline", "", "the baseline's name")
	cmd.Flags().StringVar(&facts, "facts", "", "the facts file, or - for standard input")
	cmd.Flags().StringVar(&at, "at", "", "the instant to judge at, RFC 3339 (default now)")
	cmd.Flags().BoolVar(&all, "all", false, "list also packages that are well, not only their number")
	return cmd
}

// readBaselines gives the baselines that there are to choose from: the shipped ones and those of a repository, if any.
func (a *app) readBaselines(ctx context.Context, dir string) (schema.Repo, error) {
	if dir == "" {
		return schema.Repo{Shipped: shipped.Baselines()}, nil
	}
	tree, err := gitrepo.Open(dir)
	if err != nil {
		return schema.Repo{}, exitWith{code: exitError, err: err, hint: "name a folder with policy files, or a bare Git repository"}
	}
	repo, faults, err := load.Child(loadOptions())(ctx, tree)
	if err != nil {
		return schema.Repo{}, fmt.Errorf("evaluate policy: %w", err)
	}
	if schema.Refused(faults) {
		return schema.Repo{}, a.localError(ctx, &agent.FaultsError{Commit: tree.Commit, Faults: faults})
	}
	for _, f := range faults {
		a.tell(f.String())
	}
	return repo, nil
}

// readFacts reads a facts file, at most schema.MaxFacts of it.
func (a *app) readFacts(name string) (schema.Facts, error) {
	in, shown := a.in, "standard input"
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return schema.Facts{}, exitWith{code: exitError, err: fmt.Errorf("read facts: %w", err), hint: "dunlin inventory --facts > FILE writes them"}
		}
		defer file.Close()
		in, shown = file, name
	}
	text, err := io.ReadAll(io.LimitReader(in, schema.MaxFacts+1))
	if err != nil {
		return schema.Facts{}, fmt.Errorf("read facts: %w", err)
	}
	f, faults := schema.ParseFacts(text)
	if len(faults) == 0 {
		return f, nil
	}
	for i := range faults {
		faults[i].File = shown
	}
	return schema.Facts{}, a.factsError(faults)
}

// factsError prints the faults of a facts file.
func (a *app) factsError(faults []schema.Fault) error {
	var lines []string
	for _, f := range faults {
		lines = append(lines, printable(f.String()))
	}
	hint := "dunlin inventory --facts writes facts as this version reads them"
	if a.json() {
		return exitWith{code: exitFaults, err: errors.New(strings.Join(lines, "\n")), hint: hint}
	}
	for _, l := range lines {
		fmt.Fprintln(a.err, l)
	}
	return exitWith{code: exitFaults, err: fmt.Errorf("the facts have %s", counted(len(faults), "fault")), hint: hint}
}
