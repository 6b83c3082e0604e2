// Package pkg is the resource kind `packages`: packages that a policy wants
// present or absent.
//
// A package with no version is installed when it is missing and never upgraded;
// one with a version is brought to exactly that, but never to an older one than
// is installed. A package that is to be absent is removed; its configuration
// files stay, as the package manager's own removal leaves them. No other
// package may go with it: that is refused, and the error names them.
package pkg

import (
	"context"
	"errors"
	"fmt"
	"strings"

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
	// Apply does as much of tx as may be done and returns an error or nil for each of tx.Install,
	// then for each of tx.Remove.
	Apply(ctx context.Context, tx schema.Transaction) []error
}

// Kind checks and applies packages. The key of a resource is a package's name, or "name:arch".
type Kind struct {
	Host Host
	Run  Runner
}

// Check reports packages that should be there and are not, or that should not and are. It only reads.
func (k Kind) Check(ctx context.Context, rs []schema.Resource) []schema.Checked {
	out := make([]schema.Checked, len(rs))
	if len(rs) == 0 {
		return out
	}
	have, err := k.Host.Packages(ctx)
	byName := make(map[string][]schema.PackageStatus, len(rs)) // of those that matter
	for _, r := range rs {
		byName[ref(r).Name] = nil
	}
	for _, st := range have {
		if of, wanted := byName[st.Name]; wanted {
			byName[st.Name] = append(of, st)
		}
	}
	for i, r := range rs {
		switch {
		case err != nil:
			out[i].Err = fmt.Errorf("check package %q: %w", r.Key, err)
		case r.Package == nil:
			out[i].Err = fmt.Errorf("check package %q: no state is given", r.Key)
		default:
			out[i].Drift = drift(byName[ref(r).Name], r)
		}
	}
	return out
}

// ref is the package that a resource is about, without a version.
func ref(r schema.Resource) schema.PackageRef {
	name, arch, _ := strings.Cut(r.Key, ":")
	return schema.PackageRef{Name: name, Arch: arch}
}

func drift(have []schema.PackageStatus, r schema.Resource) schema.Drift {
	st, found := schema.FindPackage(have, ref(r))
	got := st.Version
	if found && st.State != schema.PackageInstalled {
		got += " (" + st.State + ")"
	}
	want := r.Package.Version
	switch {
	case r.Package.State == schema.Absent && !found:
		return nil
	case r.Package.State == schema.Absent:
		return schema.Drift{{Action: schema.Remove, Got: got}}
	case !found:
		if want == "" {
			want = "present"
		}
		return schema.Drift{{Action: schema.Install, Want: want}}
	case st.State != schema.PackageInstalled:
		if want == "" {
			want = st.Version
		}
		return schema.Drift{{Action: schema.Install, Want: want, Got: got}}
	case want != "" && st.Version != want:
		return schema.Drift{{Action: schema.Upgrade, Want: want, Got: got}}
	}
	return nil
}

var errAudit = errors.New("is only audited, not enforced")

// Apply installs and removes packages, in one transaction where that is possible. A package that
// cannot be brought right does not keep the others from it.
func (k Kind) Apply(ctx context.Context, rs []schema.Resource) []error {
	errs := make([]error, len(rs))
	var tx schema.Transaction
	var install, remove []int // places in rs
	for i, r := range rs {
		p := ref(r)
		switch {
		case r.Mode == schema.Audit:
			errs[i] = fmt.Errorf("apply package %q: %w", r.Key, errAudit)
		case r.Package == nil:
			errs[i] = fmt.Errorf("apply package %q: no state is given", r.Key)
		case r.Package.State == schema.Absent:
			tx.Remove = append(tx.Remove, p)
			remove = append(remove, i)
		default:
			p.Version = r.Package.Version
			tx.Install = append(tx.Install, p)
			install = append(install, i)
		}
	}
	at := append(install, remove...)
	if len(at) == 0 {
		return errs
	}
	for i, err := range k.Run.Apply(ctx, tx) {
		errs[at[i]] = err
	}
	return errs
}
