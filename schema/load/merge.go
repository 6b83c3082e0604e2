package load

import (
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/codec"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// objectField is the field of a schema.Repo that has the objects of a kind.
type objectField struct {
	name  string
	field int
}

// objectFields has every kind but fleet, of which there is one.
func objectFields() []objectField {
	var out []objectField
	kinds := map[string]bool{}
	for _, k := range (&loading{}).kindTable() {
		kinds[k.name] = true
	}
	t := reflect.TypeFor[schema.Repo]()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if kinds[name] && name != "fleet" {
			out = append(out, objectField{name, i})
		}
	}
	return out
}

// merge puts what a part says in the place of what it said before. It holds what the part says of the files as they were
// against what is in force: where they differ, the part does not say what the whole says.
func (s *step) merge(c *partChange, v *verdict) (Evaluated, error) {
	k := s.known
	was, is := keySet(v.Was.Keys), keySet(v.Is.Keys)
	subjects := keySet(c.Subjects)
	for _, keys := range []map[string]bool{was, is} {
		for key := range keys {
			o := keyOf(key)
			if _, apart := k.Apart[key]; apart {
				return Evaluated{}, whole("%s is not written in just one place", key)
			}
			for dir, f := range k.Folders {
				if (slices.Contains(f.Uses, o.kind) || slices.Contains(f.Uses, "self")) && s.sees(dir) {
					return Evaluated{}, whole("something in %s/ takes from objects of kind %s", dir, o.kind)
				}
			}
			looks := []string{key}
			if was[key] != is[key] {
				looks = append(looks, exists+key)
			}
			for _, at := range looks {
				for _, of := range s.reads[at] {
					if !subjects[of] && !was[of] {
						return Evaluated{}, whole("%s looks at %s", of, key)
					}
				}
			}
		}
	}
	repo, err := s.objects(v, was, is)
	if err != nil {
		return Evaluated{}, err
	}
	if err := s.lines(&repo, v); err != nil {
		return Evaluated{}, err
	}
	if err := s.globals(&repo, v, was, is); err != nil {
		return Evaluated{}, err
	}
	if err := s.blobs(&repo, v); err != nil {
		return Evaluated{}, err
	}
	warnings, err := s.warnings(v)
	if err != nil {
		return Evaluated{}, err
	}
	next := *k
	next.Warnings = warnings
	next.Files, next.Bytes = k.Files+s.files, k.Bytes+s.bytes
	next.Tried, next.Asked = k.Tried+v.Is.Tried, k.Asked+v.Is.Asked
	next.Looks = maps.Clone(k.Looks)
	for _, keys := range []map[string]bool{was, is, subjects} {
		for key := range keys {
			delete(next.Looks, key)
		}
	}
	for of, at := range v.Is.Looks {
		if is[of] || subjects[of] {
			next.Looks[of] = at
		}
	}
	return Evaluated{Repo: repo, Faults: warnings, Known: &next}, nil
}

func keySet(keys []string) map[string]bool {
	out := make(map[string]bool, len(keys))
	for _, k := range keys {
		out[k] = true
	}
	return out
}

// sees reports whether a folder and one of a changed file see each other.
func (s *step) sees(dir string) bool {
	return slices.ContainsFunc(s.changed, func(name string) bool { return related(dir, above(name)[1]) })
}

// objects gives the repository with the changed objects in their places.
func (s *step) objects(v *verdict, was, is map[string]bool) (schema.Repo, error) {
	repo := s.base.Repo
	into, old, now := reflect.ValueOf(&repo).Elem(), reflect.ValueOf(&v.Was.Repo).Elem(), reflect.ValueOf(&v.Is.Repo).Elem()
	seen := 0
	for _, kind := range objectFields() {
		base, a, b := into.Field(kind.field), old.Field(kind.field), now.Field(kind.field)
		if a.Len()+b.Len() == 0 {
			continue
		}
		seen += a.Len() + b.Len()
		merged := reflect.MakeMapWithSize(base.Type(), base.Len()+b.Len())
		for it := base.MapRange(); it.Next(); {
			merged.SetMapIndex(it.Key(), it.Value())
		}
		for it := a.MapRange(); it.Next(); {
			has := base.MapIndex(it.Key())
			if !was[kind.name+" "+it.Key().String()] || !has.IsValid() || !codec.Same(has, it.Value()) {
				return repo, whole("%s %s was another", kind.name, it.Key())
			}
			merged.SetMapIndex(it.Key(), reflect.Value{})
		}
		for it := b.MapRange(); it.Next(); {
			if !is[kind.name+" "+it.Key().String()] || merged.MapIndex(it.Key()).IsValid() {
				return repo, whole("%s %s is there already", kind.name, it.Key())
			}
			merged.SetMapIndex(it.Key(), it.Value())
		}
		base.Set(merged)
	}
	if seen != len(was)+len(is) {
		return repo, whole("objects of the part are missing")
	}
	repo.Objects += len(is) - len(was)
	repo.Positions = maps.Clone(s.base.Repo.Positions)
	for path, pos := range v.Was.Repo.Positions {
		if repo.Positions[path] != pos {
			return repo, whole("%s was at another place", path)
		}
		delete(repo.Positions, path)
	}
	for path, pos := range v.Is.Repo.Positions {
		if _, there := repo.Positions[path]; there {
			return repo, whole("%s has a place already", path)
		}
		repo.Positions[path] = pos
	}
	return repo, nil
}

// lines puts changed lines into the roster.
func (s *step) lines(repo *schema.Repo, v *verdict) error {
	if len(s.shards) == 0 {
		if len(v.Was.Repo.Roster)+len(v.Is.Repo.Roster) > 0 {
			return whole("lines of the roster came from nowhere")
		}
		repo.Roster = s.base.Repo.Roster
		return nil
	}
	rest := s.unchanged()
	if len(rest)+len(v.Was.Repo.Roster) != len(s.base.Repo.Roster) {
		return whole("the roster was another")
	}
	had := map[string]schema.RosterLine{}
	for _, line := range s.base.Repo.Roster {
		if s.shards[line.ID[:min(2, len(line.ID))]] {
			had[line.ID] = line
		}
	}
	for _, line := range v.Was.Repo.Roster {
		if other, ok := had[line.ID]; !ok || !codec.Same(reflect.ValueOf(other), reflect.ValueOf(line)) {
			return whole("the roster was another")
		}
	}
	taken := map[uniqueWord]bool{}
	for _, line := range v.Is.Repo.Roster {
		if len(line.ID) < 2 || !s.shards[line.ID[:2]] {
			return whole("a line of the roster is in a wrong file")
		}
		for _, word := range uniqueIn(line) {
			if taken[word] {
				return whole("the roster says something twice")
			}
			taken[word] = true
		}
	}
	for _, line := range rest {
		for _, word := range uniqueIn(line) {
			if taken[word] {
				return whole("the roster says something twice")
			}
		}
	}
	repo.Roster = rest
	for _, line := range v.Is.Repo.Roster {
		at, _ := slices.BinarySearchFunc(repo.Roster, line.ID, func(l schema.RosterLine, id string) int { return strings.Compare(l.ID, id) })
		repo.Roster = slices.Insert(repo.Roster, at, line)
	}
	return nil
}

// uniqueIn is what no other line of the roster may have.
func uniqueIn(line schema.RosterLine) [4]uniqueWord {
	return [4]uniqueWord{{"id", line.ID}, {"name", line.Name}, {"age", line.Keys.Age}, {"tls", line.Keys.TLS}}
}

type uniqueWord struct{ field, word string }

// globals leaves to the whole what is said of all objects of a kind together.
func (s *step) globals(repo *schema.Repo, v *verdict, was, is map[string]bool) error {
	touched := map[string]bool{}
	for _, keys := range []map[string]bool{was, is} {
		for key := range keys {
			touched[keyOf(key).kind] = true
		}
	}
	old, now := reflect.ValueOf(s.base.Repo), reflect.ValueOf(*repo)
	for _, kind := range objectFields() {
		if !touched[kind.name] || !slices.Contains(v.IdleKinds, kind.name) {
			continue
		}
		a, b := least(old.Field(kind.field)), least(now.Field(kind.field))
		if key := kind.name + " " + a; a != b || a == "" || was[key] || is[key] {
			return whole("the first %s is another, where it is told that the kind does nothing yet", kind.name)
		}
	}
	if touched["baseline"] {
		first := map[schema.OperatingSystem]bool{}
		for _, b := range repo.Baselines {
			if b.Default && first[b.OperatingSystem] {
				return whole("two baselines are the default of %s", b.OperatingSystem)
			}
			first[b.OperatingSystem] = first[b.OperatingSystem] || b.Default
		}
	}
	if touched["activation"] {
		first := map[string]bool{}
		for _, a := range repo.Activations {
			if first[a.PublicKey] {
				return whole("two activations have one key")
			}
			first[a.PublicKey] = true
		}
	}
	if touched["parameter"] && len(repo.Fleet.Recovery) < minRecovery && (hasSecret(s.base.Repo) || hasSecret(*repo)) {
		return whole("there are secrets, and fewer keys of recovery than they need")
	}
	return nil
}

// least is the first key of a map by name; empty where it has none.
func least(m reflect.Value) string {
	first := ""
	for it := m.MapRange(); it.Next(); {
		if name := it.Key().String(); first == "" || name < first {
			first = name
		}
	}
	return first
}

func hasSecret(repo schema.Repo) bool {
	for _, p := range repo.Parameters {
		if p.Type == schema.StoredSecureString {
			return true
		}
	}
	return false
}

// blobs are the files that policies give to hosts.
func (s *step) blobs(repo *schema.Repo, v *verdict) error {
	had := s.base.Repo.Blobs
	changed := slices.ContainsFunc(s.changed, func(name string) bool { _, ok := had[name]; return ok })
	if len(v.Was.Sources)+len(v.Is.Sources) == 0 && !changed {
		return nil
	}
	out := map[string]schema.Blob{}
	for _, p := range repo.Policies {
		for _, f := range p.Files {
			if f.Source == "" {
				continue
			}
			if _, same := slices.BinarySearch(s.changed, f.Source); !same {
				if b, ok := had[f.Source]; ok {
					out[f.Source] = b
					continue
				}
			}
			if !fs.ValidPath(f.Source) {
				return whole("%q is not a path", f.Source)
			}
			if _, done := out[f.Source]; done {
				continue
			}
			one, err := tree.Blobs(s.after, []string{f.Source})
			if err != nil {
				return whole("%v", err)
			}
			maps.Copy(out, one)
		}
	}
	if repo.Blobs = out; len(out) == 0 {
		repo.Blobs = nil
	}
	return nil
}

// warnings are those of the whole, less what the part said before, with what it says now.
func (s *step) warnings(v *verdict) ([]schema.Fault, error) {
	type place struct {
		file         string
		line, column int
	}
	left := map[schema.Fault]bool{}
	for _, f := range s.known.Warnings {
		left[f] = true
	}
	for _, f := range v.Was.Warnings {
		if !left[f] {
			return nil, whole("it was not said of the whole: %s", f)
		}
		delete(left, f)
	}
	at := map[place]bool{}
	for f := range left {
		at[place{f.File, f.Line, f.Column}] = true
	}
	for _, f := range v.Is.Warnings {
		if f.Severity != schema.SeverityWarning || at[place{f.File, f.Line, f.Column}] || left[f] {
			return nil, whole("more than one object has this to say: %s", f)
		}
	}
	out := slices.AppendSeq(make([]schema.Fault, 0, len(left)+len(v.Is.Warnings)), maps.Keys(left))
	if out = append(out, v.Is.Warnings...); len(out) > maxWarnings {
		return nil, whole("%d warnings", len(out))
	}
	if len(out) == 0 {
		return nil, nil
	}
	return schema.SortFaults(out), nil
}
