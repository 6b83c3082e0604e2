package transaction

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"pault.ag/go/debian/version"

	"github.com/dunlin-dev/dunlin/schema"
)

// A Refusal is why a simulated transaction must not run.
type Refusal struct {
	Reason   string
	Packages []string // names it is about
}

func (r *Refusal) Error() string { return r.Reason }

// Refuse says why tx must not run when sim is what it would do to a host with the packages have;
// nil where it may. blocked may be nil. Refusals are joined, the gravest first.
func Refuse(tx schema.Transaction, sim schema.Simulation, have []schema.PackageStatus, blocked func(schema.PackageRef) string) error {
	var essential, held, removed, older, other, barred []string
	var reasons []string
	p := index(have)
	for _, st := range sim.Steps {
		ref := schema.PackageRef{Name: st.Name, Arch: st.Arch, Version: st.New}
		was, found := p.find(ref)
		if found && was.Held {
			held = append(held, st.Name)
		}
		if st.Action == schema.Remove {
			if found && was.Essential {
				essential = append(essential, st.Name)
			}
			if st.ReplacedBy == "" && !asked(tx.Remove, ref) {
				removed = append(removed, st.Name)
			}
			continue
		}
		if st.Old != "" && newer(st.Old, st.New) {
			older = append(older, st.Name)
		}
		if i := slices.IndexFunc(tx.Install, func(a schema.PackageRef) bool { return matches(a, ref) }); i >= 0 {
			if want := tx.Install[i].Version; want != "" && want != st.New {
				other = append(other, st.Name)
				reasons = append(reasons, fmt.Sprintf("would install %q at %q instead of %q", st.Name, st.New, want))
			}
		}
		if blocked != nil {
			if why := blocked(ref); why != "" {
				barred = append(barred, st.Name)
				reasons = append(reasons, fmt.Sprintf("would install %q %q: %s", st.Name, st.New, why))
			}
		}
	}
	// A package manager may take a name that it does not know for an expression ("tb.tool"), or for a word with a
	// sign after it ("tb-lib-" removes tb-lib): then it does something for it, and not what was asked.
	var unknown []string
	for _, ref := range tx.Install {
		if _, there := p.find(ref); there || slices.ContainsFunc(sim.Steps, func(st schema.SimulatedStep) bool {
			return st.Action != schema.Remove && st.Name == ref.Name
		}) {
			continue
		}
		unknown = append(unknown, ref.Name)
	}
	var errs []error
	refuse := func(names []string, format string, args ...any) {
		if len(names) > 0 {
			errs = append(errs, &Refusal{Reason: fmt.Sprintf(format, args...), Packages: names})
		}
	}
	refuse(essential, "would remove the essential %s", list(essential))
	refuse(held, "would change the held %s; `apt-mark unhold` lets it go", list(held))
	refuse(older, "would go back to an older version of %s", list(older))
	refuse(unknown, "the package manager knows no package %s and would do something else", list(unknown))
	refuse(append(other, barred...), "%s", strings.Join(reasons, "; "))
	if len(removed) > tx.MaxRemovals {
		refuse(removed, "would remove %s, and maxRemovals is %d", list(removed), tx.MaxRemovals)
	}
	return errors.Join(errs...)
}

// asked reports whether one of refs means ref.
func asked(refs []schema.PackageRef, ref schema.PackageRef) bool {
	return slices.ContainsFunc(refs, func(a schema.PackageRef) bool { return matches(a, ref) })
}

func matches(a, b schema.PackageRef) bool { return a.Name == b.Name && schema.SameArch(a.Arch, b.Arch) }

// newer reports whether a is a newer version than b (Debian Policy 5.6.12). A text that is no
// version counts as newer: what cannot be compared is refused.
func newer(a, b string) bool {
	va, errA := version.Parse(a)
	vb, errB := version.Parse(b)
	if errA != nil || errB != nil {
		return a != b
	}
	return version.Compare(va, vb) > 0
}

// list is up to eight names for people.
func list(names []string) string {
	const most = 8
	if len(names) <= most {
		return quoted(names)
	}
	return fmt.Sprintf("%s and %d more", quoted(names[:most]), len(names)-most)
}

func quoted(names []string) string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(q, ", ")
}
