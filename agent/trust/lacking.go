package trust

import (
	"context"
	"maps"
	"slices"

	"github.com/dunlin-dev/dunlin/schema"
)

// Lack is a role of which too few have agreed to a change.
type Lack struct {
	Role      string   `json:"role"`
	Threshold int      `json:"threshold"`
	Agreed    []string `json:"agreed"` // people with it that have
	People    []string `json:"people"` // others who may
	Paths     []string `json:"paths"`  // that it owns
}

// Agreed are the people that agree to the step from p to c, by the fleet as it is at p: those who have signed c, if it is
// upon p itself, and those whose approvals the source has.
func Agreed(ctx context.Context, src Source, f schema.Fleet, p, c Commit) ([]string, error) {
	if len(c.Parents) == 0 || c.Parents[0] != p.ID {
		c.Signature, c.Parents, c.left = nil, nil, false
	}
	names, _, err := (&verifier{src: src, commits: map[string]Commit{}}).agreed(ctx, f, p, c)
	return names, err
}

// Lacking gives the roles that must yet agree to a change of paths, sorted, given who has agreed. A change of nothing needs
// who owns everything else. What is below nodes/ is left out where somebody with a role with activations agrees to it.
func Lacking(f schema.Fleet, paths, agreed []string) []Lack {
	who, owned := peopleOf(f), map[string][]string{}
	enrolled := slices.ContainsFunc(agreed, func(name string) bool { return enrols(f, who, name) })
	for _, path := range paths {
		if enrolled && isRoster(path) {
			continue
		}
		for _, role := range Owners(f.Roles, path) {
			owned[role] = append(owned[role], path)
		}
	}
	if len(paths) == 0 {
		owned[least(f)] = nil
	}
	out := []Lack{}
	for _, role := range slices.Sorted(maps.Keys(owned)) {
		l := Lack{People: []string{}, Role: role, Threshold: max(f.Roles[role].Threshold, 1), Agreed: append([]string{}, having(who, role, agreed)...), Paths: append([]string{}, owned[role]...)}
		if len(l.Agreed) >= l.Threshold {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(f.Signers)) {
			if who.has(name, role) && !slices.Contains(l.Agreed, name) {
				l.People = append(l.People, name)
			}
		}
		out = append(out, l)
	}
	return out
}

// InVain gives those of the paths whose change does not need a person's agreement: no role that owns them is theirs. A role
// with activations may agree to what is below nodes/, which is judged line by line.
func InVain(f schema.Fleet, name string, paths []string) []string {
	who := peopleOf(f)
	return slices.DeleteFunc(append([]string{}, paths...), func(path string) bool {
		return isRoster(path) && enrols(f, who, name) || slices.ContainsFunc(Owners(f.Roles, path), func(role string) bool { return who.has(name, role) })
	})
}

// enrols reports whether a person has a role with activations.
func enrols(f schema.Fleet, who people, name string) bool {
	for role, r := range f.Roles {
		if len(r.Activations) > 0 && who.has(name, role) {
			return true
		}
	}
	return false
}

// BecomesRoot reports whether a change of fleet.cue changes who is root, and the person is so after it: then their agreement
// is asked for, whatever they may do before it.
func BecomesRoot(before, after schema.Fleet, name string) bool {
	return !sameRoot(before, after) && peopleOf(after).has(name, Root)
}
