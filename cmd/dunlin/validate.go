package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/reconciler/schedule"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// loadOptions are those of this build, in this process and in the child that evaluates.
func loadOptions() load.Options {
	return load.Options{
		Limits:      schema.NotEnforced(),
		CheckWindow: func(w schema.Window) []load.FieldFault { return fieldFaults(schedule.Check(w)) },
		CheckAssociation: func(expr, zone string, offset int) []load.FieldFault {
			return fieldFaults(schedule.CheckAssociation(expr, zone, offset))
		},
		Warn: func(repo schema.Repo) []schema.Fault {
			return append(reconciler.Warnings(repo), reconciler.Expired(repo, time.Now())...)
		},
	}
}

func fieldFaults(faults schedule.Faults) []load.FieldFault {
	var out []load.FieldFault
	for _, f := range faults {
		out = append(out, load.FieldFault{Field: f.Field, Message: f.Msg})
	}
	return out
}

// evaluateCommand is the child that load.Child starts.
func (a *app) evaluateCommand() *cobra.Command {
	return &cobra.Command{
		Use:    load.Command,
		Short:  "Evaluate a policy from standard input, for another dunlin",
		Hidden: true,
		Args:   noArgs,
		RunE: func(*cobra.Command, []string) error {
			if code := load.Main(loadOptions(), a.in, a.out); code != 0 {
				return exitWith{code: code}
			}
			return nil
		},
	}
}

func (a *app) validateCommand() *cobra.Command {
	var tests bool
	var format, rev string
	cmd := &cobra.Command{
		Use:   "validate [DIR | FILE.json]",
		Short: "Check a policy repository, a run or facts",
		Long: `Check a policy repository and print every fault in it: file, line, column, what is
wrong and what is allowed. DIR is a folder of files (default the current one) or a
bare Git repository, of which the newest commit is checked. Nothing is changed and
nothing is fetched; nodes, and dates that pass, do not decide whether it is valid.

With --tests the repository's own tests run too: tests/*.txtar hold facts of nodes, an
instant, and what is wanted of their judgement. What is not as wanted is a fault.

FILE.json is a run, as the branch of runs has it, or facts of a host. A run is checked by
itself; whether a grant covers it depends on the commit that it names.

--format says for whom the faults are written: text for people, json, github (workflow
commands, shown beside the lines of a pull request), gitlab (a Code Quality report),
sarif (SARIF 2.1.0, for code scanning), junit (XML, a test case a file).

Exit status: 0 no faults, also with warnings; 3 faults; 1 it could not be read.`,
		Example: `  dunlin validate                      # the current folder
  dunlin validate /srv/git/policy.git  # the newest commit of a bare repository
  dunlin validate --rev HEAD~1         # a commit instead of the files as they are
  dunlin validate --tests              # and what it wants of the facts in tests/
  dunlin validate 2026/11/pqum6go3dxyxguh2ek4unroy3j.json   # a run
  dunlin validate --format sarif > dunlin.sarif
  dunlin validate -o json infra-policy | jq -r '.faults[].file'`,
		Args: maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			format, err := a.faultFormat(format)
			if err != nil {
				return err
			}
			if info, err := os.Stat(dir); err == nil && info.Mode().IsRegular() && rev == "" && !tests {
				return a.validateFile(dir, format)
			}
			return a.validate(cmd.Context(), dir, rev, format, tests)
		},
	}
	cmd.Flags().BoolVar(&tests, "tests", false, "run the repository's own tests, tests/*.txtar, too")
	cmd.Flags().StringVar(&format, "format", "", "how to print faults: "+strings.Join(faultFormats(), ", "))
	cmd.Flags().StringVar(&rev, "rev", "", "check this commit, branch or tag of DIR's Git repository instead of its files")
	return cmd
}

// faultFormat is the form that was asked for, by --format or -o.
func (a *app) faultFormat(format string) (string, error) {
	switch {
	case format == "":
		return a.output, nil
	case !slices.Contains(faultFormats(), format):
		return "", usageError{fmt.Errorf("--format %q is not one of %s", format, strings.Join(faultFormats(), ", "))}
	case a.json() && format != "json":
		return "", usageError{fmt.Errorf("-o json and --format %s are both given; give one", format)}
	case format == "json":
		a.output = "json" // errors too
	}
	return format, nil
}

func (a *app) validate(ctx context.Context, dir, rev, format string, tests bool) error {
	tree, err := openRevision(dir, rev)
	if err != nil {
		return err
	}
	repo, faults, err := load.Child(loadOptions())(ctx, tree)
	if errors.Is(err, load.ErrLimit) {
		return exitWith{code: exitError, err: fmt.Errorf("validate %q: %w", dir, err), hint: "a comprehension or a reference grows without end, or the repository is too large for one; look at what changed last"}
	}
	if errors.Is(err, load.ErrCrash) {
		return exitWith{code: exitError, err: fmt.Errorf("validate %q: %w", dir, err), hint: "no policy may do that: please report it with the files; what changed last is what it fails on"}
	}
	if err != nil {
		return fmt.Errorf("validate %q: %w", dir, err)
	}
	var ran *testCounts
	if tests && !schema.Refused(faults) {
		n, failed, err := policyTests(tree, repo)
		if err != nil {
			return fmt.Errorf("validate %q: %w", dir, err)
		}
		ran, faults = &n, append(faults, failed...)
	}
	files, err := readFiles(tree)
	if err != nil {
		return fmt.Errorf("validate %q: %w", dir, err)
	}
	if ran != nil {
		names, _ := fs.Glob(tree, "tests/*.txtar") // which has been read just now
		files = append(files, names...)
		slices.Sort(files)
	}
	found := findings{tree: tree, files: files, faults: faults, objects: repo.Objects, tests: ran, prefix: prefixOf(dir)}
	if err := a.printFindings(format, found); err != nil {
		return err
	}
	if schema.Refused(faults) {
		return exitWith{code: exitFaults}
	}
	return nil
}

// openRevision opens a folder or bare repository, or one of its commits.
func openRevision(dir, rev string) (gitrepo.Tree, error) {
	if rev == "" {
		tree, err := gitrepo.Open(dir)
		if err != nil {
			return tree, exitWith{code: exitError, err: err, hint: "name a folder with policy files, or a bare Git repository"}
		}
		return tree, nil
	}
	tree, err := gitrepo.OpenRevision(dir, rev)
	if err != nil {
		return tree, exitWith{code: exitError, err: err, hint: "name a branch, a tag or a commit such as HEAD~1 of a Git repository that is here"}
	}
	return tree, nil
}
