package transaction

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// item is one package of a transaction, with its place in the answer.
type item struct {
	ref    schema.PackageRef
	remove bool
	index  int
}

func itemsOf(tx schema.Transaction) []item {
	items := make([]item, 0, len(tx.Install)+len(tx.Remove))
	for _, r := range tx.Install {
		items = append(items, item{ref: r, index: len(items)})
	}
	for _, r := range tx.Remove {
		items = append(items, item{ref: r, remove: true, index: len(items)})
	}
	return items
}

// with is base with items in it.
func with(base schema.Transaction, items []item) schema.Transaction {
	for _, it := range items {
		if it.remove {
			base.Remove = append(base.Remove, it.ref)
		} else {
			base.Install = append(base.Install, it.ref)
		}
	}
	return base
}

func (it item) wrap(err error) error {
	verb := "install"
	if it.remove {
		verb = "remove"
	}
	return fmt.Errorf("%s %q: %w", verb, it.ref, err)
}

// done reports whether the host is as the item wants it.
func (it item) done(have packages) bool {
	st, found := have.find(it.ref)
	if it.remove {
		return !found
	}
	return found && st.State == schema.PackageInstalled && (it.ref.Version == "" || st.Version == it.ref.Version)
}

// packages finds a host's packages by name.
type packages struct {
	all    []schema.PackageStatus
	byName map[string][]schema.PackageStatus
}

func index(all []schema.PackageStatus) packages {
	p := packages{all: all, byName: make(map[string][]schema.PackageStatus, len(all))}
	for _, st := range all {
		if !st.Gone() {
			p.byName[st.Name] = append(p.byName[st.Name], st)
		}
	}
	return p
}

// find returns the package that ref means, whatever its version.
func (p packages) find(ref schema.PackageRef) (schema.PackageStatus, bool) {
	return schema.FindPackage(p.byName[ref.Name], ref)
}

// bySource orders items so that packages of one source stand together: they often go only together.
func bySource(items []item) {
	slices.SortStableFunc(items, func(a, b item) int { return strings.Compare(a.source(), b.source()) })
}

func (it item) source() string {
	if it.ref.Source != "" {
		return it.ref.Source
	}
	return it.ref.Name
}

// middle is where to cut items in two, between sources where there is more than one. len(items) > 1.
func middle(items []item) int {
	mid := len(items) / 2
	for d := 0; d < len(items); d++ {
		for _, i := range []int{mid - d, mid + d} {
			if i > 0 && i < len(items) && items[i-1].source() != items[i].source() {
				return i
			}
		}
	}
	return mid
}
