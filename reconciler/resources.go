package reconciler

import (
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
	n := 0
	for _, name := range policies {
		p := repo.Policies[name]
		n += len(p.BlockedPorts) + len(p.Packages) + len(p.Users) + len(p.Files) + len(p.Sysctls) + len(p.Services)
	}
	// A resource is large and there may be thousands: memory is taken once, with some room for patches.
	out := make([]schema.Resource, 0, n+64)
	seen := make(map[thing]int, n)
	for _, name := range slices.Sorted(slices.Values(policies)) {
		all := ofPolicy(out, repo, name)
		for _, r := range all[len(out):] { // out ends at or before r
			i, again := seen[identity(r)]
			if !again {
				seen[identity(r)] = len(out)
				out = append(out, r)
				continue
			}
			out[i] = merge(out[i], r)
		}
	}
	// Indexes are sorted, not resources.
	rank := map[schema.Kind]int{}
	for i, k := range kindsInOrder() {
		rank[k] = i
	}
	at := make([]int, len(out))
	for i := range at {
		at[i] = i
	}
	slices.SortFunc(at, func(i, j int) int {
		a, b := &out[i], &out[j]
		if a.Kind != b.Kind {
			return rank[a.Kind] - rank[b.Kind]
		}
		return strings.Compare(a.Key, b.Key)
	})
	reorder(out, at)
	return out
}

// reorder puts what was at at[i] at i. It spends at.
func reorder[T any](s []T, at []int) {
	for i := range at {
		// Around the cycle that begins here, each place takes what the next one has.
		held, j := s[i], i
		for at[j] != i {
			next := at[j]
			s[j], at[j] = s[next], j
			j = next
		}
		s[j], at[j] = held, j
	}
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

// thing is what a resource is about, however it is spelled.
type thing struct {
	kind schema.Kind
	key  string
}

// identity is what two spellings of one thing have in common: `nginx` and `nginx.service` are one unit.
func identity(r schema.Resource) thing {
	key := r.Key
	switch r.Kind {
	case schema.KindService:
		if !strings.Contains(key, ".") {
			key += ".service"
		}
	case schema.KindSysctl:
		key = strings.ReplaceAll(key, "/", ".")
	}
	return thing{r.Kind, key}
}

// place is a position as people read it.
func place(p schema.Position) string {
	if p.File == "" {
		return "shipped"
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

// ofPolicy appends the resources of one policy.
func ofPolicy(out []schema.Resource, repo schema.Repo, name string) []schema.Resource {
	p := repo.Policies[name]
	whole := repo.Positions[schema.JoinPath("policy", name)]
	var path []byte
	add := func(kind schema.Kind, key, field, label string) *schema.Resource {
		path = schema.AppendPath(path[:0], "policy", name, field, label)
		at := repo.Positions[string(path)]
		if at.File == "" {
			at = whole
		}
		out = append(out, schema.Resource{
			Kind: kind, Key: key, Policy: name, Position: at,
			Mode: p.Mode, Severity: p.Severity, AllowLockout: p.AllowLockout,
		})
		return &out[len(out)-1]
	}
	for i, b := range p.BlockedPorts {
		add(schema.KindPort, b.Key(), "blockedPorts", "["+strconv.Itoa(i)+"]").Port = &b
	}
	for _, key := range slices.Sorted(maps.Keys(p.Packages)) {
		v := p.Packages[key]
		add(schema.KindPackage, key, "packages", key).Package = &v
	}
	for _, key := range slices.Sorted(maps.Keys(p.Users)) {
		v := p.Users[key]
		add(schema.KindUser, key, "users", key).User = &v
	}
	for _, key := range slices.Sorted(maps.Keys(p.Files)) {
		v := p.Files[key]
		r := add(schema.KindFile, key, "files", key)
		if v.ContentFrom != nil && v.Mode == "" && v.State != schema.Absent && repo.Parameters[v.ContentFrom.Parameter].Type == schema.StoredSecureString {
			v.Mode = secretMode
		}
		r.File = &v
		if b, ok := repo.Blobs[v.Source]; ok && v.Source != "" {
			r.Blob = &b
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.Sysctls)) {
		v := p.Sysctls[key]
		add(schema.KindSysctl, key, "sysctls", key).Sysctl = &v
	}
	for _, key := range slices.Sorted(maps.Keys(p.Services)) {
		v := p.Services[key]
		add(schema.KindService, key, "services", key).Service = &v
	}
	return out
}
