package reconciler

import (
	"github.com/dunlin-dev/dunlin/reconciler/baseline"
	"github.com/dunlin-dev/dunlin/reconciler/kind/file"
	"github.com/dunlin-dev/dunlin/reconciler/kind/patch"
	"github.com/dunlin-dev/dunlin/reconciler/kind/pkg"
	"github.com/dunlin-dev/dunlin/reconciler/kind/port"
	"github.com/dunlin-dev/dunlin/reconciler/kind/service"
	"github.com/dunlin-dev/dunlin/reconciler/kind/sysctl"
	"github.com/dunlin-dev/dunlin/reconciler/kind/user"
	"github.com/dunlin-dev/dunlin/reconciler/transaction"
	"github.com/dunlin-dev/dunlin/schema"
)

// Host is all that the resource kinds need of a host, but for packages; agent/host has a real and a simulated one.
type Host interface {
	file.Host
	port.Host
	service.Host
	sysctl.Host
	user.Host
}

// Packages is what packages and patches need of a host.
type Packages interface {
	transaction.Host
}

// KindOptions are what kinds need beside the host.
type KindOptions struct {
	// Content gives the bytes of a file of the commit.
	Content func(source string) ([]byte, error)
	// Secrets are the parameters that files are made of.
	Secrets file.Secrets
	// Protected are ports that a block may not cover without allowLockout.
	Protected []port.Protection
}

// Kinds is the one table of resource kinds, made for a plan.
func Kinds(h Host, packages Packages, repo schema.Repo, plan schema.Plan, o KindOptions) map[schema.Kind]Kind {
	return map[schema.Kind]Kind{
		schema.KindPort:    &port.Kind{Host: h, Protected: o.Protected},
		schema.KindPackage: pkg.Kind{Host: packages, Run: transaction.Engine{Host: packages, Refresh: true}},
		schema.KindFile:    file.Kind{Host: h, Content: o.Content, Secrets: o.Secrets},
		schema.KindService: service.Kind{Host: h},
		schema.KindSysctl:  sysctl.Kind{Host: h},
		schema.KindUser:    user.Kind{Host: h},
		schema.KindPatch: patch.Kind{
			Host: packages, MaxRemovals: plan.Patching.MaxRemovals,
			Run: transaction.Engine{Host: packages, Blocked: blocked(repo, plan)},
		},
	}
}

// blocked says which versions must not come to the host even as a dependency: those that the baseline rejects with
// BLOCK, and other versions of packages that a policy keeps at one.
func blocked(repo schema.Repo, plan schema.Plan) func(schema.PackageRef) string {
	pinned := map[string]schema.Resource{}
	for _, r := range plan.Resources {
		if keepsVersion(r) {
			pinned[r.Key] = r
		}
	}
	b, err := baseline.Find(repo, plan.Patching.Baseline)
	rejects := err == nil && b.RejectedPatchesAction == schema.BlockRejected
	return func(ref schema.PackageRef) string {
		if r, ok := pinned[ref.Name]; ok && ref.Version != r.Package.Version {
			return "policy " + r.Policy + " keeps it at " + r.Package.Version
		}
		if !rejects {
			return ""
		}
		entry, rejected := baseline.Rejected(b, schema.PackageFact{Name: ref.Name, Arch: ref.Arch, Version: ref.Version})
		if !rejected {
			return ""
		}
		return "baseline " + plan.Patching.Baseline + " rejects " + entry + " with BLOCK"
	}
}
