package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	slash "path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

func (a *app) fmtCommand() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "fmt [PATH...]",
		Short: "Lay out the files of a policy repository",
		Long: `Lay out .cue files as cue fmt does, and rosters (nodes/*.jsonl) as canonical JSON, a line a
node, sorted by id. PATH is a folder or a file (default: the current folder). Documents in
JSON and YAML, cue.mod and what CUE does not read stay as they are, as does a file that
cannot be read: what is wrong with it is printed, and the others are laid out. A file is
replaced whole or not at all and keeps its mode. Links are never followed.

Prints the files that it changed; with --check those that it would change.

Exit status: 0; with --check 6 when a file would change; 3 when one cannot be read as what
its name says.`,
		Example: `  dunlin fmt
  dunlin fmt --check infra-policy
  dunlin fmt policies/web.cue nodes`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			return a.format(args, check)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing; exit with 6 when a file would change")
	return cmd
}

func (a *app) format(paths []string, check bool) error {
	out := struct {
		Changed []string       `json:"changed"`
		Faults  []schema.Fault `json:"faults"`
		Files   int            `json:"files"`
	}{[]string{}, []schema.Fault{}, 0}
	seen := map[string]bool{}
	for _, path := range paths {
		err := eachFormatted(path, func(p *policyFolder, name, inRepo string) error {
			if abs, err := filepath.Abs(p.show(name)); err != nil || seen[abs] {
				return err
			} else {
				seen[abs] = true
			}
			out.Files++
			text, _, err := p.read(name)
			if err != nil {
				return err
			}
			laid, faults := load.Format(inRepo, text)
			for _, f := range faults {
				f.File = p.show(name)
				out.Faults = append(out.Faults, f)
			}
			if len(faults) > 0 || bytes.Equal(laid, text) {
				return nil
			}
			out.Changed = append(out.Changed, p.show(name))
			if check {
				return nil
			}
			return p.write(name, laid, 0o666)
		})
		if err != nil {
			return err
		}
	}
	if a.json() {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		l := lookOf(a.out)
		for _, name := range out.Changed {
			fmt.Fprintln(a.out, printable(name))
		}
		for _, f := range out.Faults {
			fmt.Fprintln(a.out, l.paint(bad, printable(f.String())))
		}
	}
	switch {
	case len(out.Faults) > 0:
		return exitWith{code: exitFaults}
	case check && len(out.Changed) > 0:
		return exitWith{code: exitDifferences}
	}
	return nil
}

// eachFormatted calls f for every file under a path that has a layout, with its name in the opened folder and in its
// repository. A path that names one file which has none is an error.
func eachFormatted(path string, f func(p *policyFolder, name, inRepo string) error) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usageError{fmt.Errorf("no file or folder %q", path)}
	case err != nil:
		return fmt.Errorf("look at %q: %w", path, cause(err))
	case info.Mode()&fs.ModeSymlink != 0:
		return usageError{fmt.Errorf("%q is a symbolic link; name what it leads to", path)}
	case !info.IsDir() && !info.Mode().IsRegular():
		return usageError{fmt.Errorf("%q is neither a folder nor a file", path)}
	}
	dir, base := path, ""
	if !info.IsDir() {
		dir, base = filepath.Split(path)
		dir = filepath.Clean(dir)
	}
	p, err := openPolicy(dir)
	if err != nil {
		return err
	}
	defer p.root.Close()
	above, err := aboveInRepository(dir)
	if err != nil {
		return err
	}
	if base != "" {
		inRepo := slash.Join(above, base)
		if !load.Formats(inRepo) {
			return usageError{fmt.Errorf("%q has no layout of its own: .cue files outside cue.mod and nodes/*.jsonl have one", path)}
		}
		return f(p, base, inRepo)
	}
	return fs.WalkDir(p.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		inRepo := slash.Join(above, name)
		switch {
		case err != nil:
			return fmt.Errorf("read %q: %w", p.show(name), cause(err))
		case d.IsDir() && name != "." && (d.Name() == "cue.mod" || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_")):
			return fs.SkipDir
		case d.Type().IsRegular() && load.Formats(inRepo):
			return f(p, name, inRepo)
		}
		return nil
	})
}

// aboveInRepository is where in its repository a folder is; "." where no folder above has a fleet.cue.
func aboveInRepository(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	var parts []string
	for at := abs; ; at = filepath.Dir(at) {
		if info, err := os.Lstat(filepath.Join(at, "fleet.cue")); err == nil && info.Mode().IsRegular() {
			slices.Reverse(parts)
			return slash.Join(append([]string{"."}, parts...)...), nil
		}
		if at == filepath.Dir(at) {
			return ".", nil
		}
		parts = append(parts, filepath.Base(at))
	}
}
