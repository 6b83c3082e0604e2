package main

import (
	"bufio"
	"fmt"
	"maps"
	slash "path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

func (a *app) schemaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "schema [KIND[.FIELD...]]",
		Short: "Say what the policy language has",
		Long: `Say what may be written: the kinds of objects, the fields of one, and of a field its type,
default, choices and meaning. A path may leave out the names of objects, so that the path
of a fault works as it is. Files with a fixed form are known by the words roster, facts,
run, report and agent. What this version refuses, because it would not do it, is marked.

Exit status: 0; 2 no such kind or field.`,
		Example: `  dunlin schema
  dunlin schema window
  dunlin schema window.tasks.maxErrors
  dunlin schema 'baseline.web.approvalRules[0].filters'
  dunlin schema agent.gossip
  dunlin schema policy -o json | jq -r '.fields[].path'`,
		Args:              maxArgs(1),
		ValidArgsFunction: completeSchema,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || strings.Trim(args[0], ".") == "" {
				return a.listKinds()
			}
			d, err := load.Describe(args[0], 1)
			if err != nil {
				return exitWith{code: exitUsage, err: err, hint: "dunlin schema lists all kinds, dunlin schema KIND its fields"}
			}
			return a.printDescription(inThisVersion(d))
		},
	}
	cmd.AddCommand(a.schemaVendorCommand(), a.schemaExportCommand())
	return cmd
}

// completeSchema offers kinds, then fields.
func completeSchema(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	before, _, nested := cutLast(typed, ".")
	var out []string
	if nested {
		d, err := load.Describe(before, 1)
		for _, f := range d.Fields {
			out = append(out, before+"."+f.Name())
		}
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
	} else {
		out, _ = load.Kinds()
		for _, f := range load.Forms() {
			out = append(out, f.Name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// described is a description with what this version makes of it.
type described struct {
	load.Description
	Status string      `json:"thisVersion,omitempty"` // in words, where it refuses something
	Fields []described `json:"fields,omitempty"`
}

func inThisVersion(d load.Description) described {
	out := described{Description: d}
	for _, l := range schema.NotEnforced() {
		if samePlace(l.Path, d.Path) {
			out.Status = l.Status()
		}
	}
	for _, f := range d.Fields {
		out.Fields = append(out.Fields, inThisVersion(f))
	}
	return out
}

// samePlace reports whether the path of a limit, with * for names, is that of a description, with words in capitals for them.
func samePlace(limit, path string) bool {
	return slices.EqualFunc(strings.Split(limit, "."), strings.Split(path, "."), func(l, p string) bool {
		return l == p || l == "*" && p == strings.ToUpper(p)
	})
}

// onlyIn is the place that a kind must be in; empty where it may be anywhere.
func onlyIn(kind string) string {
	if place := load.Place(kind); place != "" {
		return "only in " + place
	}
	return ""
}

func (a *app) listKinds() error {
	kinds, err := load.Kinds()
	if err != nil {
		return err
	}
	type entry struct {
		Name       string `json:"name"`
		Definition string `json:"definition"`
		Doc        string `json:"description"`
		Place      string `json:"place,omitempty"` // in words
		Status     string `json:"thisVersion,omitempty"`
	}
	var list struct {
		Kinds []entry `json:"kinds"`
		Forms []entry `json:"forms"`
	}
	for _, kind := range kinds {
		d, err := load.Describe(kind, 0)
		if err != nil {
			return err
		}
		list.Kinds = append(list.Kinds, entry{kind, d.Definition, d.Doc, onlyIn(kind), inThisVersion(d).Status})
	}
	for _, f := range load.Forms() {
		d, err := load.Describe(f.Name, 0)
		if err != nil {
			return err
		}
		list.Forms = append(list.Forms, entry{Name: f.Name, Definition: f.Definition, Doc: d.Doc, Place: f.File})
	}
	if a.json() {
		return a.printJSON(list)
	}
	w, l := bufio.NewWriter(a.out), lookOf(a.out)
	show := func(title string, entries []entry) {
		wide := 0
		for _, e := range entries {
			wide = max(wide, len(e.Name))
		}
		fmt.Fprintln(w, l.dim(title))
		for _, e := range entries {
			lead := "  " + l.bold(e.Name) + strings.Repeat(" ", wide-len(e.Name)+2)
			hang(w, lead, wide+4, e.Doc, a.width())
			below := strings.Repeat(" ", wide+4)
			if e.Place != "" {
				hang(w, below, wide+4, e.Place, a.width())
			}
			if e.Status != "" {
				hang(w, below+l.sign(attention), wide+4+l.signWidth(), e.Status, a.width())
			}
		}
	}
	show("KINDS", list.Kinds)
	fmt.Fprintln(w)
	show("FILES WITH A FIXED FORM", list.Forms)
	fmt.Fprintf(w, "\n%s\n", l.dim("next: dunlin schema KIND, for example dunlin schema policy"))
	return w.Flush()
}

func (a *app) printDescription(d described) error {
	if a.json() {
		return a.printJSON(d)
	}
	w, l, width := bufio.NewWriter(a.out), lookOf(a.out), a.width()
	hang(w, l.bold(d.Path)+"  ", textWidth(d.Path)+2, a.typeLine(d), width)
	a.details(w, l, d, 2, width)
	if place := onlyIn(d.Path); place != "" {
		hang(w, "  ", 2, place, width)
	}
	if len(d.Values) > 6 {
		hang(w, "  one of: ", 10, strings.Join(d.Values, ", "), width)
	}
	if d.Pattern != "" {
		hang(w, "  matches ", 10, d.Pattern, width)
	}
	for _, g := range d.OneOf {
		hang(w, "  ", 2, "exactly one of "+listed(g, 9)+" is given", width)
	}
	if len(d.Fields) > 0 {
		fmt.Fprintf(w, "\n%s\n", l.dim("FIELDS (* must be given)"))
		wide := 0
		for _, f := range d.Fields {
			wide = max(wide, min(textWidth(f.Name()), 24))
		}
		for _, f := range d.Fields {
			name, star := f.Name(), " "
			if f.Required {
				star = l.paint(attention, "*")
			}
			lead := "  " + l.bold(name) + star + strings.Repeat(" ", max(wide-textWidth(name), 0)+1)
			hang(w, lead, max(wide, textWidth(name))+4, a.typeLine(f), width)
			a.details(w, l, f, wide+4, width)
		}
		for _, f := range d.Fields {
			if below, err := load.Describe(f.Path, 1); err == nil && len(below.Fields) > 0 {
				fmt.Fprintf(w, "\n%s\n", l.dim("next: dunlin schema "+shorter(f.Path)))
				break
			}
		}
	}
	return w.Flush()
}

// shorter leaves the words in capitals out of a path.
func shorter(path string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(path, "."), func(s string) bool {
		return slices.Contains([]string{"NAME", "PATH", "KEY", "NUMBER", "ACTION"}, s)
	}), ".")
}

// typeLine is the type and the default of a field. A long choice is shortened.
func (a *app) typeLine(d described) string {
	t := d.Type
	if len(d.Values) > 6 {
		t = strings.Replace(t, strings.Join(d.Values, ", "), strings.Join(d.Values[:5], ", ")+fmt.Sprintf(" and %d more", len(d.Values)-5), 1)
	}
	if d.Default != "" && len(d.Default) <= 60 {
		t += "; default " + d.Default
	}
	return t
}

// details are the lines below a type: meaning, condition, what this version makes of it.
func (a *app) details(w *bufio.Writer, l look, d described, indent, width int) {
	pad := strings.Repeat(" ", indent)
	if d.Doc != "" {
		hang(w, pad, indent, d.Doc, width)
	}
	if d.When != "" {
		hang(w, pad, indent, "when "+d.When, width)
	}
	if len(d.Default) > 60 {
		hang(w, pad, indent, "default "+d.Default, width)
	}
	if d.Status != "" {
		hang(w, pad+l.sign(attention), indent+l.signWidth(), d.Status, width)
	}
}

func (a *app) schemaVendorCommand() *cobra.Command {
	var check bool
	var packages []string
	cmd := &cobra.Command{
		Use:   "vendor [DIR]",
		Short: "Put this version's definitions into a policy repository",
		Long: `Write this version's definitions into cue.mod/pkg/dunlin.dev of a policy repository, and the
packages of the shipped library that it imports or has there already, so that plain cue
and the language server of editors check it offline. Files of older versions are replaced
or taken away; a missing cue.mod/module.cue or schema.cue is written. DIR is the repository
(default: the one around this folder). dunlin itself always counts its own definitions.

Exit status: 0; with --check 6 when something would change.`,
		Example: `  dunlin schema vendor
  dunlin schema vendor --policies patching infra-policy
  dunlin schema vendor --check`,
		Args: maxArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := ""
			if len(args) > 0 {
				dir = args[0]
			}
			p, err := findPolicy(dir)
			if err != nil {
				return err
			}
			defer p.root.Close()
			changes, err := p.vendor(packages)
			if err != nil {
				return err
			}
			return a.applyVendored(p, changes, check)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "write nothing; exit with 6 when something would change")
	cmd.Flags().StringSliceVar(&packages, "policies", nil, "vendor these packages of the shipped library as well, or all")
	return cmd
}

// vendor says how cue.mod/pkg/dunlin.dev of a repository, and what goes with it, differs from this version's.
func (p *policyFolder) vendor(packages []string) ([]fileChange, error) {
	have := map[string]bool{}
	err := walkFiles(p.root.FS(), load.VendorRoot, func(name string) error {
		have[name] = true
		if pkg, ok := strings.CutPrefix(slash.Dir(name), load.VendorRoot+"/policies/"); ok && slices.Contains(load.ShippedPackages(), pkg) {
			packages = append(packages, pkg)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	imported, err := load.ShippedImports(p.root.FS())
	if err != nil {
		return nil, err
	}
	for _, pkg := range imported {
		if slices.Contains(load.ShippedPackages(), pkg) { // validate names those that do not exist
			packages = append(packages, pkg)
		}
	}
	if slices.Contains(packages, "all") {
		packages = load.ShippedPackages()
	}
	want, err := load.Vendored(packages)
	if err != nil {
		return nil, usageError{err}
	}
	for name, text := range map[string][]byte{"cue.mod/module.cue": []byte(moduleFile("policy")), "schema.cue": []byte(load.Binding)} {
		if _, err := p.root.Lstat(name); err != nil {
			want[name] = text
		}
	}
	names := slices.Sorted(maps.Keys(want))
	for name := range have {
		if want[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return p.changes(names, want)
}

func (a *app) applyVendored(p *policyFolder, changes []fileChange, check bool) error {
	out := struct {
		Added   []string `json:"added"`
		Changed []string `json:"changed"`
		Removed []string `json:"removed"`
	}{[]string{}, []string{}, []string{}}
	var lines []string
	for _, c := range changes {
		if !check {
			if err := p.apply(c); err != nil {
				return err
			}
		}
		switch {
		case c.text == nil:
			out.Removed = append(out.Removed, c.name)
			lines = append(lines, "- "+c.name)
		case c.new:
			out.Added = append(out.Added, c.name)
			lines = append(lines, "+ "+c.name)
		default:
			out.Changed = append(out.Changed, c.name)
			lines = append(lines, "~ "+c.name)
		}
	}
	if a.json() {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else if len(lines) == 0 {
		fmt.Fprintf(a.out, "%s the definitions are those of this version\n", lookOf(a.out).symbol(good))
	} else {
		for _, line := range lines {
			fmt.Fprintln(a.out, printable(line))
		}
	}
	if check && len(lines) > 0 {
		return exitWith{code: exitDifferences}
	}
	return nil
}

// apply carries one change out.
func (p *policyFolder) apply(c fileChange) error {
	if c.text == nil {
		if err := p.plain(c.name); err != nil {
			return err
		}
		if err := p.root.Remove(c.name); err != nil {
			return fmt.Errorf("remove %q: %w", p.show(c.name), cause(err))
		}
		return nil
	}
	return p.write(c.name, c.text, c.mode)
}

func (a *app) schemaExportCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "export [KIND] --format jsonschema|cue",
		Short: "Print the definitions for editors and other programs",
		Long: `Print what the language allows, of one kind or of a file with a fixed form, or of all of a
repository. jsonschema (draft 2020-12) lets editors of JSON and YAML complete and check
command documents, rosters, runs, facts and agent.yaml; cue is one file of package schema.
What only dunlin validate checks, such as references and times, neither of them says.`,
		Example: `  dunlin schema export document --format jsonschema >document.schema.json
  dunlin schema export agent --format jsonschema
  dunlin schema export --format cue >schema.cue`,
		Args:              maxArgs(1),
		ValidArgsFunction: completeSchema,
		RunE: func(_ *cobra.Command, args []string) error {
			word := ""
			if len(args) > 0 {
				word = args[0]
			}
			export := load.JSONSchema
			switch format {
			case "jsonschema":
			case "cue":
				if a.json() {
					return usageError{fmt.Errorf("--format cue is not JSON; leave out -o json")}
				}
				export = load.CUESchema
			default:
				return usageError{fmt.Errorf("--format %q is not jsonschema or cue", format)}
			}
			text, err := export(word)
			if err != nil {
				return exitWith{code: exitUsage, err: err, hint: "dunlin schema lists all kinds"}
			}
			if _, err := a.out.Write(text); err != nil {
				return fmt.Errorf("write result: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", "jsonschema", "jsonschema or cue")
	return cmd
}
