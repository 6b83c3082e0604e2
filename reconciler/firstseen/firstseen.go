// Package firstseen answers when a fleet first saw a version of a package, from
// what its nodes say they saw (releaseDates "firstSeen"): apt's archives carry
// no dates.
//
// The date of a version is the second-earliest instant at which different nodes
// saw it, so that one node that lies, or whose clock is wrong, makes nothing
// old. A version that two nodes found when they first looked at its archive,
// and looked within a day of the fleet's first look there, may have been there
// for long and counts as old enough. A node believes itself: what it has seen
// for longer than a day and nobody else has counts from that day on, for it
// alone; else a package that one node has would never be approved.
//
// Instants that lie ahead and nodes that are not active count for nothing. The
// order in which nodes tell what they saw does not matter, nor how often. The
// package reads no clock and keeps no state.
package firstseen

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// Witnesses is of how many other nodes a sighting is worth keeping: two decide, the others stand in for lost ones.
	Witnesses = 4
	// alone is how long a node waits for others to see what it sees, and how long after the fleet's first look at an
	// archive a node's own first look counts as a part of it.
	alone = 24 * time.Hour
	// kept bounds the sightings of one version that are compared: the earliest ones of different nodes.
	kept = 16
	// maxName bounds the name of an archive or a version, in bytes.
	maxName = 300
)

// Old is the date of a version that counts as old enough.
func Old() time.Time { return time.Unix(0, 0).UTC() }

// Archive names an archive: Origin/Label/Codename/component. Whatever is no letter, digit or one of .+~:_- stands as %XX.
// It is empty for an archive without any of them, or with absurdly long ones.
func Archive(o schema.Origin) string {
	if o.Origin == "" && o.Label == "" && o.Codename == "" {
		return ""
	}
	var b strings.Builder
	for i, part := range []string{o.Origin, o.Label, o.Codename, o.Component} {
		if i > 0 {
			b.WriteByte('/')
		}
		escape(&b, part)
	}
	if b.Len() > maxName {
		return ""
	}
	return b.String()
}

// Version names a version: its source package and the version of that. It is empty where they are absurdly long.
func Version(p schema.PackageFact) string {
	var b strings.Builder
	escape(&b, cmp.Or(p.Source, p.Name))
	b.WriteByte(' ')
	escape(&b, cmp.Or(p.SourceVersion, p.Version))
	if b.Len() > maxName {
		return ""
	}
	return b.String()
}

func escape(b *strings.Builder, s string) {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case plain(c):
			b.WriteByte(c)
		case b.Len() <= maxName:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(".+~:_-", c) >= 0
}

// Valid reports whether a node may say this: names as Archive and Version make them, instants in whole seconds, nothing
// seen before the first look.
func Valid(r schema.SeenRecord) bool {
	if r.Archives == nil {
		return false
	}
	for name, a := range r.Archives {
		if !named(name, '/', 3) || a.Seen == nil || !whole(a.First) {
			return false
		}
		for at, versions := range a.Seen {
			t, ok := Instant(at)
			if !ok || t.Before(a.First) || !slices.IsSorted(versions) || len(slices.Compact(slices.Clone(versions))) != len(versions) {
				return false
			}
			for _, v := range versions {
				if !named(v, ' ', 1) {
					return false
				}
			}
		}
	}
	return true
}

func whole(t time.Time) bool {
	return t.Nanosecond() == 0 && t.Location() == time.UTC && t.Year() >= 1970 && t.Year() <= 9999
}

// named reports whether s is plain but for so many separators and escapes.
func named(s string, separator byte, n int) bool {
	if s == "" || len(s) > maxName || strings.Count(s, string(separator)) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !plain(c) && c != separator && c != '%' {
			return false
		}
	}
	return true
}

// Instant reads the instant of a SeenArchive's key.
func Instant(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339, s)
	return t, err == nil && whole(t) && t.Format(time.RFC3339) == s
}

// Stamp writes an instant as the key of a SeenArchive.
func Stamp(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// Archives are the names of the archives that a version counts as seen in: the trusted ones that have it, or all where
// none is trusted.
func Archives(p schema.PackageFact) []string {
	var out []string
	for _, trusted := range []bool{true, false} {
		for _, o := range p.Origins {
			if name := Archive(o); o.Trusted == trusted && name != "" && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
		if len(out) > 0 {
			break
		}
	}
	return out
}

// Wanted are versions by archive.
type Wanted map[string]map[string]bool

// Add wants a version in all archives that have it.
func (w Wanted) Add(p schema.PackageFact) {
	v := Version(p)
	if v == "" {
		return
	}
	for _, a := range Archives(p) {
		w.AddNamed(a, v)
	}
}

// AddNamed wants a version in an archive; with an empty one only when nodes looked there.
func (w Wanted) AddNamed(archive, version string) {
	if w[archive] == nil {
		w[archive] = map[string]bool{}
	}
	if version != "" {
		w[archive][version] = true
	}
}

// Told is what a node says that it has seen. Of one node there may be several.
type Told struct {
	Node string `json:"node"`
	schema.SeenRecord
}

// Who asks, and who counts.
type Who struct {
	Self   string                 // the node that asks; it believes itself
	Active func(node string) bool // of the others; nil: there are none
	Alone  bool                   // the fleet is this node: what it alone has seen decides
	Now    time.Time
}

func (w Who) counts(node string) bool {
	return node == w.Self || w.Active != nil && w.Active(node)
}

// Book is what nodes have seen of the versions that are wanted.
type Book struct {
	who     Who
	shelves map[string]*shelf
}

// shelf is one archive.
type shelf struct {
	firsts   map[string]time.Time // when each node first looked
	versions map[string][]sighting
	date     time.Time // the fleet's first look; zero where there is none yet
}

type sighting struct {
	at   time.Time
	node string
}

// Open reads what nodes told, as far as it is of what is wanted. What is malformed in it counts for nothing.
func Open(who Who, want Wanted, told []Told) *Book {
	b := &Book{who: who, shelves: make(map[string]*shelf, len(want))}
	for archive := range want {
		b.shelves[archive] = &shelf{firsts: map[string]time.Time{}, versions: map[string][]sighting{}}
	}
	for _, t := range told {
		if !who.counts(t.Node) {
			continue
		}
		for archive, a := range t.Archives {
			s, ok := b.shelves[archive]
			if !ok || a.First.IsZero() || a.First.After(who.Now) {
				continue
			}
			if first, have := s.firsts[t.Node]; !have || a.First.Before(first) {
				s.firsts[t.Node] = a.First
			}
			for stamp, versions := range a.Seen {
				at, ok := Instant(stamp)
				if !ok || at.After(who.Now) || at.Before(a.First) {
					continue
				}
				for _, v := range versions {
					if want[archive][v] {
						s.versions[v] = b.put(s.versions[v], sighting{at, t.Node})
					}
				}
			}
		}
	}
	for _, s := range b.shelves {
		firsts := make([]sighting, 0, len(s.firsts))
		for node, at := range s.firsts {
			firsts = append(firsts, sighting{at, node})
		}
		s.date = earlier(second(firsts), b.own(firsts))
	}
	return b
}

// put keeps of each node the earliest, and the earliest of all; the asking node's own is always kept.
func (b *Book) put(list []sighting, s sighting) []sighting {
	if i := slices.IndexFunc(list, func(o sighting) bool { return o.node == s.node }); i >= 0 {
		if !s.at.Before(list[i].at) {
			return list
		}
		list = slices.Delete(list, i, i+1)
	}
	at, _ := slices.BinarySearchFunc(list, s, bySight)
	list = slices.Insert(list, at, s)
	if i := len(list) - 1; i > kept {
		if list[i].node == b.who.Self {
			i--
		}
		list = slices.Delete(list, i, i+1)
	}
	return list
}

func bySight(a, b sighting) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.node, b.node)) }

// second is the second-earliest instant of different nodes, zero where there is none.
func second(list []sighting) time.Time {
	if len(list) < 2 {
		return time.Time{}
	}
	return slices.SortedFunc(slices.Values(list), bySight)[1].at
}

// own is what the asking node's own sighting says where no other bears it out: in a fleet of one it decides, else it
// counts a day later. Zero: there is none.
func (b *Book) own(list []sighting) time.Time {
	i := slices.IndexFunc(list, func(o sighting) bool { return o.node == b.who.Self })
	switch {
	case i < 0:
		return time.Time{}
	case b.who.Alone:
		return list[i].at
	}
	return list[i].at.Add(alone)
}

// earlier is the earlier of two dates of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Date is when the fleet first saw a version, in any archive that has it: Old for what counts as old enough, zero for
// what the fleet has not seen yet.
func (b *Book) Date(p schema.PackageFact) time.Time {
	var date time.Time
	v := Version(p)
	for _, archive := range Archives(p) {
		if s := b.shelves[archive]; s != nil {
			date = earlier(date, b.date(s, s.versions[v]))
		}
	}
	if date.After(b.who.Now) {
		return time.Time{} // this node alone has seen it, for less than a day
	}
	return date
}

func (b *Book) date(s *shelf, seen []sighting) time.Time {
	old, counted := s.old, s.counted(seen)
	own := slices.IndexFunc(seen, func(o sighting) bool { return o.node == b.who.Self })
	// What was there when this node first looked is old to it, unless another saw it come before that.
	if own >= 0 && old(seen[own]) && !slices.ContainsFunc(seen, func(o sighting) bool { return !old(o) && !o.at.After(seen[own].at) }) {
		return Old()
	}
	return earlier(second(counted), b.own(seen))
}

// old reports whether a node found a version when it first looked, at about the time of the fleet's own first look.
func (s *shelf) old(o sighting) bool {
	return o.at.Equal(s.firsts[o.node]) && !s.date.IsZero() && !o.at.After(s.date.Add(alone))
}

// counted are sightings with the instants that count.
func (s *shelf) counted(seen []sighting) []sighting {
	out := slices.Clone(seen)
	for i := range out {
		if s.old(out[i]) {
			out[i].at = Old()
		}
	}
	return out
}

// Others counts the other nodes that have seen a version in an archive.
func (b *Book) Others(archive, version string) int {
	s := b.shelves[archive]
	if s == nil {
		return 0
	}
	n := len(s.versions[version])
	if slices.ContainsFunc(s.versions[version], func(o sighting) bool { return o.node == b.who.Self }) {
		n--
	}
	return n
}

// Looked counts the other nodes that have looked at an archive.
func (b *Book) Looked(archive string) (n int) {
	if s := b.shelves[archive]; s != nil {
		for node := range s.firsts {
			if node != b.who.Self {
				n++
			}
		}
	}
	return n
}

// Remember is what other nodes told, of each version the Witnesses earliest: enough to give the same dates when nobody
// can be asked. It is sorted.
func (b *Book) Remember() []Told {
	nodes := map[string]map[string]schema.SeenArchive{}
	for archive, s := range b.shelves {
		add := func(o sighting, stamp, version string) {
			if nodes[o.node] == nil {
				nodes[o.node] = map[string]schema.SeenArchive{}
			}
			a, ok := nodes[o.node][archive]
			if !ok {
				a = schema.SeenArchive{First: s.firsts[o.node], Seen: map[string][]string{}}
				nodes[o.node][archive] = a
			}
			if version != "" {
				a.Seen[stamp] = append(a.Seen[stamp], version)
			}
		}
		firsts := make([]sighting, 0, len(s.firsts))
		for node, at := range s.firsts {
			firsts = append(firsts, sighting{at, node})
		}
		for _, o := range b.earliest(firsts) {
			add(o, "", "")
		}
		for v, list := range s.versions {
			seen := map[string]time.Time{}
			for _, o := range list {
				seen[o.node] = o.at
			}
			for _, o := range b.earliest(s.counted(list)) {
				add(o, Stamp(seen[o.node]), v)
			}
		}
	}
	out := make([]Told, 0, len(nodes))
	for node, archives := range nodes {
		for _, a := range archives {
			for _, versions := range a.Seen {
				slices.Sort(versions)
			}
		}
		out = append(out, Told{Node: node, SeenRecord: schema.SeenRecord{Archives: archives}})
	}
	slices.SortFunc(out, func(a, b Told) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

// earliest are the first few of others.
func (b *Book) earliest(list []sighting) []sighting {
	sorted := slices.SortedFunc(slices.Values(list), bySight)
	sorted = slices.DeleteFunc(sorted, func(o sighting) bool { return o.node == b.who.Self })
	return sorted[:min(len(sorted), Witnesses)]
}
