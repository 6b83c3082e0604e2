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
