// Package patch is the resource kind of patches: versions of packages that a
// baseline approves and that are missing on a host.
//
// Which versions those are, and whether a maintenance window lets them in now,
// was decided before; a patch is installed at exactly its version. All patches
// of a pass go in one transaction of the package manager where that is
// possible, without those that cannot be installed.
package patch

import (
	"context"
	"errors"
	"fmt"

	"github.com/dunlin-dev/dunlin/schema"
)

// Host tells what is installed.
type Host interface {
	// Packages lists the packages of the package manager's database, those of the host's own
	// architecture first.
	Packages(ctx context.Context) ([]schema.PackageStatus, error)
}

// Runner does package transactions; transaction.Engine satisfies it.
type Runner interface {
	// Apply does as much of tx as may be done and returns an error or nil for each of tx.Install.
	Apply(ctx context.Context, tx schema.Transaction) []error
}

// Kind checks and applies patches.
type Kind struct {
	Host Host
	Run  Runner
	// MaxRemovals is the baseline's: how many packages the install may remove beyond what it replaces.
	MaxRemovals int
}

// Check reports the patches that are not installed at their version. Half-installed ones are not
// installed. It only reads.
func (k Kind) Check(ctx context.Context, rs []schema.Resource) []schema.Checked {
	out := make([]schema.Checked, len(rs))
	if len(rs) == 0 {
		return out
	}
	have, err := k.Host.Packages(ctx)
	byName := make(map[string][]schema.PackageStatus, len(rs)) // of those that matter
	for _, r := range rs {
		if r.Patch != nil {
			byName[r.Patch.Package.Name] = nil
		}
	}
	for _, st := range have {
		if of, wanted := byName[st.Name]; wanted {
			byName[st.Name] = append(of, st)
		}
	}
	for i, r := range rs {
		switch {
		case err != nil:
			out[i].Err = fmt.Errorf("check patch %q: %w", r.Key, err)
		case r.Patch == nil:
			out[i].Err = fmt.Errorf("check patch %q: names no package", r.Key)
		default:
			out[i].Drift = drift(byName[r.Patch.Package.Name], r.Patch.Package)
		}
	}
	return out
}

func drift(have []schema.PackageStatus, want schema.PackageFact) schema.Drift {
	st, found := schema.FindPackage(have, schema.PackageRef{Name: want.Name, Arch: want.Arch})
	switch {
	case !found:
		return schema.Drift{{Action: schema.Install, Want: want.Version}}
	case st.State != schema.PackageInstalled:
		return schema.Drift{{Action: schema.Upgrade, Want: want.Version, Got: st.Version + " (" + st.State + ")"}}
	case st.Version != want.Version:
		return schema.Drift{{Action: schema.Upgrade, Want: want.Version, Got: st.Version}}
	}
	return nil
}

var errAudit = errors.New("is only audited, not enforced")

// Apply installs patches at their versions. A patch that cannot be installed does not keep the
// others from it; its error has the package manager's own words.
func (k Kind) Apply(ctx context.Context, rs []schema.Resource) []error {
	errs := make([]error, len(rs))
	tx := schema.Transaction{MaxRemovals: k.MaxRemovals}
	var at []int
	for i, r := range rs {
		switch {
		case r.Mode == schema.Audit:
			errs[i] = fmt.Errorf("apply patch %q: %w", r.Key, errAudit)
		case r.Patch == nil:
			errs[i] = fmt.Errorf("apply patch %q: names no package", r.Key)
		default:
			p := r.Patch.Package
			tx.Install = append(tx.Install, schema.PackageRef{Name: p.Name, Arch: p.Arch, Version: p.Version, Source: p.Source})
			at = append(at, i)
		}
	}
	if len(at) == 0 {
		return errs
	}
	for i, err := range k.Run.Apply(ctx, tx) {
		errs[at[i]] = err
	}
	return errs
}
