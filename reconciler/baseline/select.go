package baseline

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// Choice is the baseline that judges a node, and why it is that one.
type Choice struct {
	Name     string
	Baseline schema.Baseline
	Reason   string // "group web", "default baseline of DEBIAN in this repository", ...
	// Conflict says why the node's groups could not decide, so that the default judges; empty when they could.
	Conflict string
}

// Select gives the baseline of a node with the given operating system that is in the patch groups named
// (SSM §7.7): the one that its group has for that system, else the repository's default for it, else the
// shipped one. A node in two groups is in conflict: the default judges it.
//
// It fails when none is left, which means that this build cannot judge the system, or when a group
// names a baseline that is not there.
func Select(repo schema.Repo, system schema.OperatingSystem, groups []string) (Choice, error) {
	conflict := ""
	switch len(groups) {
	case 0:
	case 1:
		for _, name := range repo.Groups[groups[0]].Baselines {
			b, err := Find(repo, name)
			if err != nil {
				return Choice{}, fmt.Errorf("group %q: %w", groups[0], err)
			}
			if b.OperatingSystem == system {
				return Choice{Name: name, Baseline: b, Reason: "group " + groups[0]}, nil
			}
		}
	default:
		sorted := slices.Sorted(slices.Values(groups))
		conflict = "in patch groups " + strings.Join(sorted, " and ") + ", and a node may be in one; the default baseline judges it"
	}
	for _, from := range []struct {
		baselines map[string]schema.Baseline
		where     string
	}{{repo.Baselines, "in this repository"}, {repo.Shipped, "as shipped"}} {
		// Sorted, so that even a repository with two defaults, which the loader refuses, has one answer.
		for _, name := range slices.Sorted(maps.Keys(from.baselines)) {
			if b := from.baselines[name]; b.Default && b.OperatingSystem == system {
				return Choice{Name: name, Baseline: b, Reason: "default baseline of " + string(system) + " " + from.where, Conflict: conflict}, nil
			}
		}
	}
	return Choice{}, fmt.Errorf("no baseline for operating system %q: this build judges %s", system, strings.Join(systems(repo), ", "))
}

// Find gives a baseline by its name, the repository's own or a shipped one. Shipped names are reserved,
// so that one name is never both.
func Find(repo schema.Repo, name string) (schema.Baseline, error) {
	if b, ok := repo.Baselines[name]; ok {
		return b, nil
	}
	if b, ok := repo.Shipped[name]; ok {
		return b, nil
	}
	known := slices.Sorted(maps.Keys(repo.Baselines))
	known = append(known, slices.Sorted(maps.Keys(repo.Shipped))...)
	const shown = 20
	if len(known) > shown {
		known = append(known[:shown:shown], "and "+strconv.Itoa(len(known)-shown)+" more")
	}
	return schema.Baseline{}, fmt.Errorf("no baseline %q; there are %s", name, strings.Join(known, ", "))
}

// systems lists the operating systems that shipped baselines are for.
func systems(repo schema.Repo) []string {
	var out []string
	for _, b := range repo.Shipped {
		out = append(out, string(b.OperatingSystem))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
