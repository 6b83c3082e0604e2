package reconciler

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/reconciler/target"
	"github.com/dunlin-dev/dunlin/schema"
)

// Readers are the active nodes of the roster that may read a parameter, in order of name: those that its readers
// select, of a SecureString, and all of another.
func Readers(repo schema.Repo, p schema.Parameter) []schema.RosterLine {
	sets := target.Sets{Groups: repo.Groups, ResourceGroups: repo.ResourceGroups}
	var out []schema.RosterLine
	for _, line := range repo.Roster {
		if line.State == schema.NodeActive && reads(p, line.Node(), sets) {
			out = append(out, line)
		}
	}
	slices.SortFunc(out, func(a, b schema.RosterLine) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func reads(p schema.Parameter, n schema.Node, sets target.Sets) bool {
	return p.Type != schema.StoredSecureString || p.Readers != nil && target.Match(*p.Readers, n, sets)
}

// Recipients are the age keys that a SecureString should be encrypted to, sorted: its readers' and fleet.recovery.
func Recipients(repo schema.Repo, p schema.Parameter) []string {
	var out []string
	for _, line := range Readers(repo, p) {
		out = append(out, line.Keys.Age)
	}
	out = append(out, repo.Fleet.Recovery...)
	slices.Sort(out)
	return slices.Compact(out)
}

// Sealing is how the keys that a version is encrypted to differ from those that it should be encrypted to.
type Sealing struct {
	// Unknown is that the version does not say to which keys it is encrypted; then all else is empty.
	Unknown bool
	// Lacks are nodes that may read it and cannot, by name, and entries of fleet.recovery: "fleet.recovery[0]".
	Lacks []string
	// Seen are holders of keys who should not read it and can, by name, or by key where no node has it. Whoever had its
	// key may have the value.
	Seen []string
}

// Stale reports whether something differs.
func (s Sealing) Stale() bool { return s.Unknown || len(s.Lacks) > 0 || len(s.Seen) > 0 }

// SealingOf compares. A parameter that is no SecureString differs in nothing.
func SealingOf(repo schema.Repo, p schema.Parameter, v schema.ParameterVersion) Sealing {
	var s Sealing
	if p.Type != schema.StoredSecureString {
		return s
	}
	if len(v.Recipients) == 0 {
		s.Unknown = true
		return s
	}
	to := map[string]bool{}
	for _, key := range v.Recipients {
		to[key] = true
	}
	due := map[string]bool{}
	for _, line := range Readers(repo, p) {
		if due[line.Keys.Age] = true; !to[line.Keys.Age] {
			s.Lacks = append(s.Lacks, line.Name)
		}
	}
	for i, key := range repo.Fleet.Recovery {
		if due[key] = true; !to[key] {
			s.Lacks = append(s.Lacks, fmt.Sprintf("fleet.recovery[%d]", i))
		}
	}
	owner := map[string]string{}
	for _, line := range repo.Roster {
		owner[line.Keys.Age] = line.Name
	}
	for _, key := range v.Recipients {
		if due[key] {
			continue
		}
		if name := owner[key]; name != "" {
			s.Seen = append(s.Seen, name)
		} else {
			s.Seen = append(s.Seen, key)
		}
	}
	slices.Sort(s.Seen)
	return s
}

// Due tells which parameters people should look at, at an instant: those that are gone, that go soon, and that have not
// been changed for long, as their policies say, in order of name.
func Due(repo schema.Repo, now time.Time) []schema.ParameterDue {
	var out []schema.ParameterDue
	for _, name := range slices.Sorted(maps.Keys(repo.Parameters)) {
		p := repo.Parameters[name]
		if p.Policies == nil {
			continue
		}
		number, v := p.Current()
		switch e := p.Policies.Expires; {
		case e == nil:
		case !now.Before(*e):
			out = append(out, schema.ParameterDue{Parameter: name, What: schema.ParameterExpired, At: *e})
		case p.Policies.NotifyBefore != "" && !now.Before(e.Add(-p.Policies.NotifyBefore.Std())):
			out = append(out, schema.ParameterDue{Parameter: name, What: schema.ParameterExpires, At: *e})
		}
		if after := p.Policies.NoChangeNotifyAfter; after != "" && v.Created != nil && !now.Before(v.Created.Add(after.Std())) {
			out = append(out, schema.ParameterDue{Parameter: name, What: schema.ParameterUnchanged, At: *v.Created, Version: strconv.Itoa(number)})
		}
	}
	return out
}

// Rewritten tells what is other of the parameters of a policy than a store that only adds would have it after another (SSM
// §10.1): the type never changes, a version keeps its value, and the current version does not fall. A reverted commit does
// that rightly, and a parameter that was removed and made anew; who did neither should know. Of a secret, what is encrypted
// says nothing of the value, since each time it is another text.
func Rewritten(old, now schema.Repo) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(old.Parameters)) {
		was, is := old.Parameters[name], now.Parameters[name]
		if _, there := now.Parameters[name]; !there {
			continue
		}
		if was.Type != is.Type {
			out = append(out, fmt.Sprintf("%s was a %s and is a %s", name, was.Type, is.Type))
			continue
		}
		before, _ := was.Current()
		if after, _ := is.Current(); after < before {
			out = append(out, fmt.Sprintf("%s went back from version %d to %d", name, before, after))
		}
		if is.Type == schema.StoredSecureString {
			continue
		}
		for _, number := range slices.Sorted(maps.Keys(was.Versions)) {
			if v, there := is.Versions[number]; there && v.Value != was.Versions[number].Value {
				out = append(out, fmt.Sprintf("%s has another value as version %s", name, number))
			}
		}
	}
	return out
}

// secretMode is the mode of a file that is made of a SecureString and for which the policy gives none.
const secretMode = "0600"

// plainContent gives a file that is made of a parameter which everybody can read its content. Of a SecureString, and of one that
// is gone, there is none to give: the host looks for itself.
func plainContent(repo schema.Repo, r *schema.Resource, now time.Time) {
	if r.File == nil || r.File.ContentFrom == nil {
		return
	}
	p, ok := repo.Parameters[r.File.ContentFrom.Parameter]
	if !ok || p.Type == schema.StoredSecureString || gone(p, now) {
		return
	}
	f := *r.File
	_, v := p.Current()
	f.Content, f.ContentFrom = &v.Value, nil
	r.File = &f
}

// CurrentFor is the current version of a parameter for a node, and why the node has none: it is not there, it has expired, or
// the node is not among its readers.
func CurrentFor(repo schema.Repo, name string, n schema.Node, now time.Time) (number int, v schema.ParameterVersion, err error) {
	p, ok := repo.Parameters[name]
	switch {
	case !ok:
		return 0, v, fmt.Errorf("there is no parameter %q", name)
	case gone(p, now):
		return 0, v, fmt.Errorf("parameter %q expired at %s", name, p.Policies.Expires.UTC().Format(time.RFC3339))
	case !reads(p, n, target.Sets{Groups: repo.Groups, ResourceGroups: repo.ResourceGroups}):
		return 0, v, fmt.Errorf("this node is not among the readers of parameter %q", name)
	}
	number, v = p.Current()
	return number, v, nil
}

func gone(p schema.Parameter, now time.Time) bool {
	return p.Policies != nil && p.Policies.Expires != nil && !now.Before(*p.Policies.Expires)
}
