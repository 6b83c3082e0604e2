package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
)

type rotateFlags struct {
	repo                           string
	keys                           keyFlags
	value                          valueFlags
	all, stale, keep, exitNonEmpty bool
}

// rotation is a parameter of which some version is not encrypted to its readers of today.
type rotation struct {
	Parameter string   `json:"parameter"`
	Version   int      `json:"version"`          // the current one, after what was done
	Lacks     []string `json:"lacks"`            // readers that cannot open it
	Seen      []string `json:"seen"`             // who should not read the current value any more, and may have
	Versions  []int    `json:"versions"`         // that differ
	Unknown   bool     `json:"unknown"`          // the version does not say whom it is encrypted to
	Done      string   `json:"done"`             // "", encrypted, new value
	Reason    string   `json:"reason,omitempty"` // why nothing was done
}

func (a *app) paramRotateCommand() *cobra.Command {
	var f rotateFlags
	cmd := &cobra.Command{
		Use:   "rotate [NAME]",
		Short: "Encrypt secrets to their readers of today",
		Long: `Readers are chosen by the roster, and a version stays encrypted to those of the day on which
it was written. Without NAME, or with --stale, list what differs: readers that cannot open a
secret yet, and keys that should not open it any more, with the names of their nodes.

With NAME, encrypt its versions anew to the readers of today and to fleet.recovery; the
values and the numbers of versions stay. It takes a key that opens them: this host's, as
root, or one of fleet.recovery. --all does so for all that differ.

Who had a key may have seen the value, and keeps what Git had: where one is taken away the
value must change. It is asked for, by standard input or --value-file, and becomes a new
version; then no key is needed, and older versions are left as they are. --keep-value only
encrypts anew all the same.

Exit status: 0; 1 something could not be done; 4 the key opens nothing; with --exit-status 6
when something differs.`,
		Example: `  dunlin param rotate
  dunlin param rotate /prod/db/password --identity recovery-key.txt
  pwgen -s 32 1 | dunlin param rotate /prod/db/password --value-file -
  dunlin param rotate --all --identity recovery-key.txt
  dunlin param rotate --stale --exit-status > /dev/null || echo "secrets are due"`,
		Args: maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
				name = strings.TrimSpace(args[0])
			}
			switch {
			case f.all && name != "":
				return usageError{errors.New("--all and a name are both given; give one")}
			case f.stale && f.all:
				return usageError{errors.New("--stale lists and --all changes; give one")}
			case f.value.file != "" && (name == "" || f.stale):
				return usageError{errors.New("--value-file is the new value of one parameter: name it, without --stale")}
			case f.keep && f.value.file != "":
				return usageError{errors.New("--keep-value and --value-file are both given; give one")}
			}
			return a.paramRotate(cmd.Context(), name, f)
		},
	}
	addRepo(cmd, &f.repo)
	f.keys.add(cmd)
	f.value.add(cmd)
	cmd.Flags().BoolVar(&f.stale, "stale", false, "only list what differs")
	cmd.Flags().BoolVar(&f.all, "all", false, "encrypt all that differs anew, but for what needs a new value")
	cmd.Flags().BoolVar(&f.keep, "keep-value", false, "keep a value that somebody who should not read it may have seen")
	cmd.Flags().BoolVar(&f.exitNonEmpty, "exit-status", false, "exit with 6 when something differs")
	return cmd
}

func (a *app) paramRotate(ctx context.Context, name string, f rotateFlags) error {
	if err := secret.Guard(); err != nil {
		return err
	}
	t, err := a.openParams(ctx, f.repo)
	if err != nil {
		return err
	}
	defer t.close()
	if name != "" {
		p, err := t.get(name)
		if err != nil {
			return err
		}
		if p.Type != schema.StoredSecureString {
			return exitWith{code: exitError, err: fmt.Errorf("%s is a %s, which is not encrypted", name, p.Type)}
		}
	}
	due := t.rotations(name)
	if name == "" && !f.all || f.stale {
		return a.printRotations(due, f)
	}
	if f.value.file != "" {
		err = a.rotateValue(t, name, f, &due)
	} else {
		err = a.reseal(t, due, f)
	}
	if err != nil {
		return err
	}
	if len(t.wanted) > 0 {
		if _, err := t.save(ctx); err != nil {
			return err
		}
	}
	return a.printRotations(due, f)
}

// rotations are the secrets that are not encrypted to their readers of today: one by name, or all.
func (t *paramTree) rotations(name string) []rotation {
	var out []rotation
	for _, n := range slices.Sorted(maps.Keys(t.repo.Parameters)) {
		p := t.repo.Parameters[n]
		if name != "" && n != name || p.Type != schema.StoredSecureString {
			continue
		}
		current, v := p.Current()
		now := reconciler.SealingOf(t.repo, p, v)
		r := rotation{Parameter: n, Version: current, Lacks: append([]string{}, now.Lacks...), Seen: append([]string{}, now.Seen...), Unknown: now.Unknown, Versions: []int{}}
		for _, number := range versionNumbers(p) {
			if reconciler.SealingOf(t.repo, p, p.Versions[strconv.Itoa(number)]).Stale() {
				r.Versions = append(r.Versions, number)
			}
		}
		// What those who were taken away have seen of older versions does not make the current one stale.
		if now.Stale() || len(r.Versions) > 0 && t.lackOlder(p) {
			out = append(out, r)
		}
	}
	return out
}

// lackOlder reports whether a reader of today cannot open a version that is kept.
func (t *paramTree) lackOlder(p schema.Parameter) bool {
	for _, v := range p.Versions {
		if s := reconciler.SealingOf(t.repo, p, v); s.Unknown || len(s.Lacks) > 0 {
			return true
		}
	}
	return false
}

// rotateValue writes a new value for the readers of today.
func (a *app) rotateValue(t *paramTree, name string, f rotateFlags, due *[]rotation) error {
	value, err := a.readValue(name, nil, f.value)
	if err != nil {
		return err
	}
	defer value.Wipe()
	p := t.repo.Parameters[name]
	number, _, err := t.addVersion(name, &p, value, nil, a.now())
	if err != nil {
		return err
	}
	if _, err := dropOldest(name, &p); err != nil {
		return err
	}
	if len(*due) == 0 {
		*due = []rotation{{Parameter: name, Lacks: []string{}, Seen: []string{}, Versions: []int{}}}
	}
	(*due)[0].Version, (*due)[0].Done = number, "new value"
	return t.set(name, p)
}

// reseal encrypts versions anew.
func (a *app) reseal(t *paramTree, due []rotation, f rotateFlags) error {
	work := slices.ContainsFunc(due, func(r rotation) bool { return len(r.Seen) == 0 || f.keep })
	var keys secret.Keys
	var err error
	if work {
		if keys, err = f.keys.open(); err != nil {
			return err
		}
	}
	for i := range due {
		r := &due[i]
		if len(r.Seen) > 0 && !f.keep {
			r.Reason = "the value must change: it may have been seen"
			continue
		}
		p := cloneVersions(t.repo.Parameters[r.Parameter])
		var failed error
		for _, number := range r.Versions {
			version := strconv.Itoa(number)
			v := p.Versions[version]
			s, err := t.openVersion(r.Parameter, version, v, keys)
			if err == nil {
				v.Value, v.Recipients, err = t.seal(r.Parameter, p, number, s)
				s.Wipe()
			}
			if err != nil {
				if number == r.Version || failed == nil {
					failed = err
				}
				continue
			}
			p.Versions[version] = v
			r.Done = "encrypted"
		}
		if failed != nil {
			r.Reason = one(failed)
			if !f.all && r.Done == "" {
				return failed
			}
		}
		if r.Done != "" {
			if err := t.set(r.Parameter, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// one is an error on one line.
func one(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func (a *app) printRotations(due []rotation, f rotateFlags) error {
	open := slices.ContainsFunc(due, func(r rotation) bool { return r.Done == "" })
	failed := slices.ContainsFunc(due, func(r rotation) bool { return r.Reason != "" })
	if a.json() {
		if err := a.printJSON(append([]rotation{}, due...)); err != nil {
			return err
		}
	} else if err := a.writeRotations(due); err != nil {
		return err
	}
	switch {
	case failed && slices.ContainsFunc(due, func(r rotation) bool { return len(r.Seen) > 0 && r.Done == "" }):
		return exitWith{code: exitError, err: errors.New("a value that was seen must change"), hint: "give a new one: dunlin param rotate NAME --value-file FILE; or keep it all the same: --keep-value"}
	case failed:
		return exitWith{code: exitError, err: errors.New("not everything was encrypted anew")}
	case open && f.exitNonEmpty:
		return exitWith{code: exitDifferences}
	}
	return nil
}

func (a *app) writeRotations(due []rotation) error {
	p := a.newPage()
	if len(due) == 0 {
		p.fact(good, "secrets", "all are encrypted to their readers of today")
		return p.flush()
	}
	g := grid{wraps: true}
	for _, r := range due {
		m := attention
		var parts []string
		switch {
		case r.Done == "new value":
			m = good
			parts = append(parts, fmt.Sprintf("version %d has a new value", r.Version))
		case r.Done != "":
			m = good
			parts = append(parts, "encrypted anew")
		}
		if r.Unknown {
			parts = append(parts, "does not say whom it is encrypted to")
		}
		if len(r.Lacks) > 0 {
			parts = append(parts, "cannot be read yet by "+listed(r.Lacks, 5))
		}
		if r.Done != "" {
			parts = parts[:1]
		}
		if len(r.Seen) > 0 {
			value := "its value"
			switch r.Done {
			case "":
				m = bad
			case "new value":
				value = "the old one" // the new one is encrypted to the readers of today alone
			}
			parts = append(parts, value+" may have been seen by "+listed(r.Seen, 5)+", which should not read it any more")
		}
		if len(parts) == 0 {
			parts = append(parts, "older versions cannot be read by all of its readers")
		}
		if r.Reason != "" {
			m = bad
			parts = append(parts, r.Reason)
		}
		g.add(marked(m, r.Parameter), plain(strings.Join(parts, "; ")))
	}
	g.write(p.w, p.look, p.width)
	return p.flush()
}
