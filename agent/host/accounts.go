package host

import (
	"slices"

	"github.com/dunlin-dev/dunlin/schema"
)

// accounts joins passwd and group. Of a name that is there twice the first line counts.
func accounts(passwd []account, group []group) (map[string]schema.User, map[string]bool) {
	users := make(map[string]schema.User, len(passwd))
	member := map[string][]string{}
	groups := make(map[string]bool, len(group))
	primary := map[uint32]string{}
	for _, g := range group {
		if groups[g.name] {
			continue
		}
		groups[g.name] = true
		first(primary, g.gid, g.name)
		for _, m := range g.members {
			member[m] = append(member[m], g.name)
		}
	}
	for _, a := range passwd {
		if _, twice := users[a.name]; twice {
			continue
		}
		// Who has a group as primary is in it, whether or not the group's line says so.
		in := member[a.name]
		if p, ok := primary[a.gid]; ok {
			in = append(in, p)
		}
		slices.Sort(in)
		users[a.name] = schema.User{State: schema.Present, UID: &a.uid, Shell: a.shell, Home: a.home, Groups: slices.Compact(in)}
	}
	return users, groups
}
