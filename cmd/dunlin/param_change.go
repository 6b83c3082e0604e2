package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

func (a *app) paramLabelCommand() *cobra.Command {
	var repo string
	var remove bool
	cmd := &cobra.Command{
		Use:   "label NAME VERSION LABEL...",
		Short: "Give a version of a parameter labels, or take them away",
		Long: `Give a version of a parameter labels, by which documents can ask for it ({{ssm:NAME:LABEL}}).
A label is on one version: the one that had it loses it. VERSION is a number, a label, or
"current". A version has at most 10 labels, which do not start with a digit, aws or ssm.`,
		Example: `  dunlin param label /prod/db/password 4 prod
  dunlin param label /prod/db/password current staging canary
  dunlin param label /prod/db/password 3 old --remove`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 3 {
				return wrongCount(cmd, args)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name, labels := strings.TrimSpace(args[0]), args[2:]
			if err := checkLabels(labels); err != nil && !remove {
				return err
			}
			t, err := a.openParams(cmd.Context(), repo)
			if err != nil {
				return err
			}
			defer t.close()
			p, err := t.get(name)
			if err != nil {
				return err
			}
			selector := args[1]
			if selector == "current" {
				selector = ""
			}
			number, v, err := choose(name, p, selector)
			if err != nil {
				return err
			}
			p = cloneVersions(p)
			if remove {
				for _, l := range labels {
					if !slices.Contains(v.Labels, l) {
						return exitWith{code: exitNoMatch, err: fmt.Errorf("version %s of %s has no label %q", number, name, l), hint: "dunlin param history " + safe.Shell(name) + " shows them"}
					}
				}
				moveLabels(&p, "", labels)
			} else {
				moveLabels(&p, number, labels)
			}
			if err := t.set(name, p); err != nil {
				return err
			}
			files, err := t.save(cmd.Context())
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(map[string]any{"parameter": name, "version": atoi(number), "labels": append([]string{}, p.Versions[number].Labels...), "files": files})
			}
			text := "no labels"
			if l := p.Versions[number].Labels; len(l) > 0 {
				text = strings.Join(l, ", ")
			}
			fmt.Fprintf(a.out, "%s %s version %s: %s\n", lookOf(a.out).symbol(good), printable(name), number, printable(text))
			return nil
		},
	}
	addRepo(cmd, &repo)
	cmd.Flags().BoolVar(&remove, "remove", false, "take the labels away from the version")
	return cmd
}

// checkLabels refuses what cannot be a label.
func checkLabels(labels []string) error {
	for _, l := range labels {
		if !matches(`^[A-Za-z._-][A-Za-z0-9._-]{0,99}$`, l) || matches(`^(?i:aws|ssm)`, l) {
			return usageError{fmt.Errorf("%q is not a label: at most 100 letters, digits and . _ -, not starting with a digit, aws or ssm", l)}
		}
	}
	return nil
}

// cloneVersions is a parameter whose versions can be changed.
func cloneVersions(p schema.Parameter) schema.Parameter {
	versions := map[string]schema.ParameterVersion{}
	for n, v := range p.Versions {
		versions[n] = v
	}
	p.Versions = versions
	return p
}

func (a *app) paramRemoveCommand() *cobra.Command {
	var repo, version string
	cmd := &cobra.Command{
		Use:   "rm NAME[:VERSION|:LABEL]",
		Short: "Remove a parameter, or one version of it",
		Long: `Remove a parameter from the policy repository, with its file where nothing else is in it; or
one version that is not the current one, NAME:VERSION or --version. What still uses it is
named, and nothing is removed then.

Git keeps what was committed: whoever could open a secret still can. Change the value where
it is used.`,
		Example: `  dunlin param rm /prod/web/old-port
  dunlin param rm /prod/db/password:2`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, of, given := strings.Cut(strings.TrimSpace(args[0]), ":")
			switch {
			case given && (of == "" || version != ""):
				return usageError{fmt.Errorf("%q and --version: name one version, as %s:VERSION", args[0], name)}
			case given:
				version = of
			}
			t, err := a.openParams(cmd.Context(), repo)
			if err != nil {
				return err
			}
			defer t.close()
			p, err := t.get(name)
			if err != nil {
				return err
			}
			what := name
			if version == "" {
				err = t.remove(name)
			} else {
				what += " version " + version
				err = t.removeVersion(name, p, version)
			}
			if err != nil {
				return err
			}
			files, err := t.save(cmd.Context())
			if err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(map[string]any{"parameter": name, "version": version, "removed": true, "files": files})
			}
			fmt.Fprintf(a.out, "%s %s is removed\n", lookOf(a.out).symbol(good), printable(what))
			if p.Type == schema.StoredSecureString {
				a.note("Git keeps what was committed: whoever could open the secret still can", "")
			}
			return nil
		},
	}
	addRepo(cmd, &repo)
	cmd.Flags().StringVar(&version, "version", "", "remove this version only")
	return cmd
}

func (t *paramTree) removeVersion(name string, p schema.Parameter, version string) error {
	current, _ := p.Current()
	number, v, err := choose(name, p, version)
	switch {
	case err != nil:
		return err
	case number == strconv.Itoa(current):
		return exitWith{code: exitError, err: fmt.Errorf("version %s of %s is the current one", number, name), hint: fmt.Sprintf("put another value first (dunlin param put %[1]s), or remove the whole parameter (dunlin param rm %[1]s)", safe.Shell(name))}
	case len(v.Labels) > 0:
		return exitWith{code: exitError, err: errors.New("version " + number + " of " + name + " has the label " + strings.Join(v.Labels, ", ")), hint: fmt.Sprintf("take it away first: dunlin param label %s %s %s --remove", safe.Shell(name), number, strings.Join(v.Labels, " "))}
	}
	p = cloneVersions(p)
	delete(p.Versions, number)
	return t.set(name, p)
}
