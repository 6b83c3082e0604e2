package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf8"

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
		Warn: reconciler.Warnings,
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
	cmd := &cobra.Command{
		Use:   "validate [DIR]",
		Short: "Check a policy repository",
		Long: `Check a policy repository and print every fault in it: file, line, column, what is
wrong and what is allowed. DIR is a folder of files (default the current one) or a
bare Git repository, of which the newest commit is checked. Nothing is changed and
nothing is fetched; nodes, and dates that pass, do not decide whether it is valid.

With --tests the repository's own tests run too: tests/*.txtar hold facts of nodes, an
instant, and what is wanted of their judgement. What is not as wanted is a fault.

Exit status: 0 no faults, also with warnings; 3 faults; 1 it could not be read.`,
		Example: `  dunlin validate                      # the current folder
  dunlin validate /srv/git/policy.git  # the newest commit of a bare repository
  dunlin validate --tests              # and what it wants of the facts in tests/
  dunlin validate -o json infra-policy | jq -r '.faults[].file'`,
		Args: maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			tree, err := gitrepo.Open(dir)
			if err != nil {
				return exitWith{code: exitError, err: err, hint: "name a folder with policy files, or a bare Git repository"}
			}
			repo, faults, err := load.Child(loadOptions())(cmd.Context(), tree)
			if errors.Is(err, load.ErrLimit) {
				return exitWith{code: exitError, err: fmt.Errorf("validate %q: %w", dir, err), hint: "a comprehension or a reference grows without end, or the repository is too large for one; look at what changed last"}
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
			if err := a.printFaults(tree, repo, faults, ran); err != nil {
				return err
			}
			if schema.Refused(faults) {
				return exitWith{code: exitFaults}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&tests, "tests", false, "run the repository's own tests, tests/*.txtar, too")
	return cmd
}

// printFaults prints what is wrong. tests is what came of the repository's own tests, nil where none were run.
func (a *app) printFaults(tree fs.FS, repo schema.Repo, faults []schema.Fault, tests *testCounts) error {
	if faults == nil {
		faults = []schema.Fault{}
	}
	if a.json() {
		return a.printJSON(struct {
			Faults  []schema.Fault `json:"faults"`
			Objects int            `json:"objects"`
			Tests   *testCounts    `json:"tests,omitempty"`
		}{faults, repo.Objects, tests})
	}
	l := lookOf(a.out)
	wrong, warnings := 0, 0
	for _, f := range faults {
		m := bad
		if f.Severity == schema.SeverityWarning {
			m = attention
			warnings++
		} else {
			wrong++
		}
		line := printable(f.String())
		if l.terminal {
			line = l.paint(m, line)
		}
		fmt.Fprintln(a.out, line)
		if l.terminal {
			a.printLine(l, tree, f)
		}
	}
	sum, m := "no faults", good
	if wrong > 0 {
		sum, m = counted(wrong, "fault"), bad
	}
	if warnings > 0 {
		sum += ", " + counted(warnings, "warning")
	}
	if wrong > 0 {
		sum += " in " + counted(repo.Objects, "object")
	} else {
		sum = counted(repo.Objects, "object") + ", " + sum
	}
	fmt.Fprintf(a.out, "%s %s\n", l.symbol(m), sum)
	switch {
	case tests == nil:
	case tests.Files == 0:
		fmt.Fprintf(a.out, "%s no tests: tests/ has no *.txtar\n", l.symbol(attention))
	case tests.Failed > 0:
		fmt.Fprintf(a.out, "%s %d of %s failed\n", l.symbol(bad), tests.Failed, counted(tests.Files, "test"))
	default:
		fmt.Fprintf(a.out, "%s %s, %s judged as wanted\n", l.symbol(good), counted(tests.Files, "test"), counted(tests.Nodes, "node"))
	}
	return nil
}

func counted(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// printLine shows the author's line of a fault with a caret below its column. A file that cannot be read shows nothing.
func (a *app) printLine(l look, tree fs.FS, f schema.Fault) {
	if f.Line == 0 {
		return
	}
	file, err := tree.Open(f.File)
	if err != nil {
		return
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 64<<10)
	for n := 1; lines.Scan(); n++ {
		if n < f.Line {
			continue
		}
		text := lines.Text()
		before := text[:min(f.Column-1, len(text))]
		if len(text) > 200 || !utf8.ValidString(before) {
			return
		}
		pad := strings.Repeat(" ", utf8.RuneCountInString(before)) // printable makes a tab a blank
		fmt.Fprintf(a.out, "\t%s\n\t%s\n", printable(text), pad+l.paint(bad, "^"))
		return
	}
}
