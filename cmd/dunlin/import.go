package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/schema/load/ssm"
)

func (a *app) importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Make policy of what AWS Systems Manager has",
		Long: `Make policy of what the command line of AWS prints: documents, patch baselines and
maintenance windows. Nothing is asked of AWS: the input is a file, or - for standard input.
What has no counterpart here is said on standard error, and stands as a comment at its
place in the result. Then dunlin validate says what is still to be done by hand.`,
		Example: `  dunlin import ssm-baseline --out infra-policy debian.json windows.json
  dunlin import ssm-document --out infra-policy restart-web.json cleanup.yaml
  dunlin import ssm-window --out infra-policy window.json targets.json tasks.json`,
		Args: groupArgs,
		RunE: a.needsCommand,
	}
	cmd.AddCommand(a.importDocumentCommand(), a.importBaselineCommand(), a.importWindowCommand())
	return cmd
}

// importFlags are the flags that all kinds of import have.
type importFlags struct{ name, out string }

func (f *importFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.name, "name", "", "call the object so (default: as it is called)")
	cmd.Flags().StringVar(&f.out, "out", "", "write into this policy repository, each object into the folder of its kind (default: print one file)")
}

func (a *app) importDocumentCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "ssm-document FILE...",
		Short: "Take over command documents",
		Long: `Take over command documents of schema 2.2, 2.0 and 1.2: what aws ssm get-document prints,
or a document itself in JSON or YAML. Such a file may also be put into the folder documents/
of a repository as it is; this command is for those who want it in CUE, or whose document
pastes parameters into scripts: the result says so and loads.`,
		Example: `  aws ssm get-document --name restart-web | dunlin import ssm-document -
  dunlin import ssm-document --out infra-policy restart-web.json cleanup.yaml
  dunlin import ssm-document --name restart AWS-RestartThing.json > documents/restart.cue`,
		Args: someFiles,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.importFiles(args, f, func(in []ssm.Input) (ssm.Result, error) { return ssm.Documents(in, f.name) })
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) importBaselineCommand() *cobra.Command {
	var f importFlags
	var isDefault bool
	cmd := &cobra.Command{
		Use:   "ssm-baseline FILE...",
		Short: "Take over patch baselines and their patch groups",
		Long: `Take over patch baselines: what aws ssm get-patch-baseline prints. The patch groups of all
the files become groups; a group that several baselines serve has all of them, so give the
baselines of one fleet together. The command line of AWS does not say there which baseline
is the default of its system: --default does.`,
		Example: `  aws ssm get-patch-baseline --baseline-id pb-0123456789abcdef0 | dunlin import ssm-baseline -
  dunlin import ssm-baseline --out infra-policy debian.json windows.json
  dunlin import ssm-baseline --default --name debian-prod debian.json > baselines/debian.cue`,
		Args: someFiles,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.importFiles(args, f, func(in []ssm.Input) (ssm.Result, error) { return ssm.Baselines(in, f.name, isDefault) })
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&isDefault, "default", false, "make it the default of its operating system")
	return cmd
}

func (a *app) importWindowCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "ssm-window FILE...",
		Short: "Take over maintenance windows with their targets and tasks",
		Long: `Take over maintenance windows: what aws ssm get-maintenance-window prints, with what
describe-maintenance-window-targets and get-maintenance-window-task (or
describe-maintenance-window-tasks, which leaves out the parameters of tasks) print of it. Each may
be a file of its own, in any order, or all of them one after the other in one. What belongs
together is found by its WindowId. Several registered targets become resource groups.`,
		Example: `  { aws ssm get-maintenance-window --window-id $W
    aws ssm describe-maintenance-window-targets --window-id $W
    for t in $(aws ssm describe-maintenance-window-tasks --window-id $W --query 'Tasks[].WindowTaskId' --output text); do
      aws ssm get-maintenance-window-task --window-id $W --window-task-id $t
    done; } | dunlin import ssm-window -
  dunlin import ssm-window --out infra-policy window.json targets.json tasks.json`,
		Args: someFiles,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.importFiles(args, f, func(in []ssm.Input) (ssm.Result, error) { return ssm.Windows(in, f.name) })
		},
	}
	f.add(cmd)
	return cmd
}

func someFiles(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usageError{fmt.Errorf("%s needs a FILE with what the command line of AWS prints, or - for standard input", cmd.CommandPath())}
	}
	return nil
}

// importFiles reads files, makes policy of them, and prints or writes it.
func (a *app) importFiles(names []string, f importFlags, convert func([]ssm.Input) (ssm.Result, error)) error {
	var in []ssm.Input
	for _, name := range names {
		b, err := a.inputFile(name)
		if err != nil {
			return err
		}
		if name == "-" {
			name = "standard input"
		}
		in = append(in, ssm.Input{Name: name, Text: b})
	}
	r, err := convert(in)
	if err != nil {
		return exitWith{code: exitError, err: fmt.Errorf("import: %w", err), hint: "see dunlin import --help for what can be taken over"}
	}
	if f.out != "" {
		if err := a.writeImport(r, f.out); err != nil {
			return err
		}
	}
	switch {
	case a.json():
		notes := r.Notes
		if notes == nil {
			notes = []ssm.Note{}
		}
		return a.printJSON(struct {
			Files []ssm.File `json:"files"`
			Notes []ssm.Note `json:"notes"`
		}{r.Files, notes})
	case f.out != "":
		l := lookOf(a.out)
		for _, file := range r.Files {
			fmt.Fprintf(a.out, "%s %s\n", l.symbol(good), printable(filepath.Join(f.out, filepath.FromSlash(file.Path))))
		}
	default:
		if _, err := io.WriteString(a.out, r.Text()); err != nil {
			return fmt.Errorf("write result: %w", err)
		}
	}
	for _, n := range r.Notes {
		a.note(n.String(), "")
	}
	return nil
}

// inputFile reads a file that a person names, or standard input.
func (a *app) inputFile(name string) ([]byte, error) {
	from, shown := a.in, "standard input"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("import %q: %w", name, cause(err))
		}
		defer f.Close()
		from, shown = f, name
	}
	b, err := io.ReadAll(io.LimitReader(from, ssm.MaxInput+1))
	if err != nil {
		return nil, fmt.Errorf("import %q: %w", shown, cause(err))
	}
	return b, nil
}

// writeImport writes new files into a repository: all of them, or none if one is there already.
func (a *app) writeImport(r ssm.Result, dir string) error {
	p, err := openPolicy(dir)
	if err != nil {
		return exitWith{code: exitError, err: fmt.Errorf("--out %q: %w", dir, cause(err)), hint: "name the folder of a policy repository; dunlin init DIR makes one"}
	}
	defer p.root.Close()
	for _, file := range r.Files {
		if _, _, err := p.read(file.Path); err == nil {
			return exitWith{code: exitError, err: fmt.Errorf("%q is there already, and nothing is written", p.show(file.Path)), hint: "take it away first, or give another --name"}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, file := range r.Files {
		if err := p.write(file.Path, []byte(file.Text), 0o666); err != nil {
			return err
		}
	}
	return nil
}
