package reconciler

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// kindsInOrder is the order of kinds within a pass: doors are closed first; a package brings the account and the folder
// that a file needs, a service is started once all that it reads is there, and patches come last.
func kindsInOrder() []schema.Kind {
	return []schema.Kind{
		schema.KindPort, schema.KindPackage, schema.KindUser, schema.KindFile, schema.KindSysctl, schema.KindService, schema.KindPatch,
	}
}

// resources gives the resources that the named policies want of a node, each once, in the order of a pass.
// Where two policies want different things of one resource, it carries the reason as Contested and is not applied;
// where they want the same, an enforcing policy outranks an auditing one, then the first by name is told.
func resources(repo schema.Repo, policies []string) []schema.Resource {
	seen := map[string]int{}
	var out []schema.Resource
	for _, name := range slices.Sorted(slices.Values(policies)) {
		for _, r := range ofPolicy(repo, name) {
			i, again := seen[identity(r)]
			if !again {
				seen[identity(r)] = len(out)
				out = append(out, r)
				continue
			}
			out[i] = merge(out[i], r)
		}
	}
	// Indexes are sorted, not resources: a resource is large, and there may be thousands.
	rank := map[schema.Kind]int{}
	for i, k := range kindsInOrder() {
		rank[k] = i
	}
	at := make([]int, len(out))
	for i := range at {
		at[i] = i
	}
	slices.SortFunc(at, func(i, j int) int {
		return cmp.Or(rank[out[i].Kind]-rank[out[j].Kind], strings.Compare(out[i].Key, out[j].Key))
	})
	sorted := make([]schema.Resource, len(out))
	for i, j := range at {
		sorted[i] = out[j]
	}
	return sorted
}

// merge folds what a second policy wants of a resource into the first.
func merge(a, b schema.Resource) schema.Resource {
	if a.Contested != "" {
		return a
	}
	if !sameWant(a, b) {
		a.Contested = fmt.Sprintf("policy %s (%s) and policy %s (%s) want different things",
			a.Policy, place(a.Position), b.Policy, place(b.Position))
		return a
	}
	first := a
	if a.Mode == schema.Audit && b.Mode == schema.Enforce {
		first = b
	}
	if b.Severity.Rank() > a.Severity.Rank() {
		first.Severity = b.Severity
	} else {
		first.Severity = a.Severity
	}
	first.AllowLockout = a.AllowLockout || b.AllowLockout
	return first
}

// sameWant compares what two resources of one name want; the name of a port says all there is to it.
func sameWant(a, b schema.Resource) bool {
	return reflect.DeepEqual(a.File, b.File) && reflect.DeepEqual(a.Package, b.Package) &&
		reflect.DeepEqual(a.Service, b.Service) && reflect.DeepEqual(a.Sysctl, b.Sysctl) &&
		reflect.DeepEqual(a.User, b.User)
}

// identity is what two spellings of one thing have in common: `nginx` and `nginx.service` are one unit.
func identity(r schema.Resource) string {
	switch r.Kind {
	case schema.KindService:
		if !strings.Contains(r.Key, ".") {
			return r.Name() + ".service"
		}
	case schema.KindSysctl:
		return string(r.Kind) + ":" + strings.ReplaceAll(r.Key, "/", ".")
	}
	return r.Name()
}

// place is a position as people read it.
func place(p schema.Position) string {
	if p.File == "" {
		return "shipped"
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

// ofPolicy lists the resources of one policy.
func ofPolicy(repo schema.Repo, name string) []schema.Resource {
	p := repo.Policies[name]
	var out []schema.Resource
	add := func(kind schema.Kind, key, path string, set func(*schema.Resource)) {
		r := schema.Resource{
			Kind: kind, Key: key, Policy: name, Position: repo.Positions[path],
			Mode: p.Mode, Severity: p.Severity, AllowLockout: p.AllowLockout,
		}
		if r.Position.File == "" {
			r.Position = repo.Positions[schema.JoinPath("policy", name)]
		}
		set(&r)
		out = append(out, r)
	}
	for i, b := range p.BlockedPorts {
		path := schema.JoinPath("policy", name, "blockedPorts", "["+strconv.Itoa(i)+"]")
		add(schema.KindPort, b.Key(), path, func(r *schema.Resource) { r.Port = &b })
	}
	for _, key := range slices.Sorted(maps.Keys(p.Packages)) {
		v := p.Packages[key]
		add(schema.KindPackage, key, schema.JoinPath("policy", name, "packages", key), func(r *schema.Resource) { r.Package = &v })
	}
	for _, key := range slices.Sorted(maps.Keys(p.Users)) {
		v := p.Users[key]
		add(schema.KindUser, key, schema.JoinPath("policy", name, "users", key), func(r *schema.Resource) { r.User = &v })
	}
	for _, key := range slices.Sorted(maps.Keys(p.Files)) {
		v := p.Files[key]
		add(schema.KindFile, key, schema.JoinPath("policy", name, "files", key), func(r *schema.Resource) {
			r.File = &v
			if b, ok := repo.Blobs[v.Source]; ok && v.Source != "" {
				r.Blob = &b
			}
		})
	}
	for _, key := range slices.Sorted(maps.Keys(p.Sysctls)) {
		v := p.Sysctls[key]
		add(schema.KindSysctl, key, schema.JoinPath("policy", name, "sysctls", key), func(r *schema.Resource) { r.Sysctl = &v })
	}
	for _, key := range slices.Sorted(maps.Keys(p.Services)) {
		v := p.Services[key]
		add(schema.KindService, key, schema.JoinPath("policy", name, "services", key), func(r *schema.Resource) { r.Service = &v })
	}
	return out
}
