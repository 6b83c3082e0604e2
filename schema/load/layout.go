package load

import (
	"cmp"
	slash "path"
	"slices"
	"strings"

	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema"
)

// authority gives the kinds that carry authority their place: a file, or a folder with a slash at its end.
func authority(kind string) string {
	switch kind {
	case "fleet":
		return "fleet.cue"
	case "activation", "grant", "exception", "guardrail", "parameter":
		return kind + "s/"
	}
	return ""
}

// authorities are the kinds that carry authority.
func authorities() []string {
	return []string{"fleet", "activation", "grant", "exception", "guardrail", "parameter"}
}

// guarded is the place of authority that a file lies in, or empty.
func guarded(file string) string {
	if file == "fleet.cue" {
		return file
	}
	for _, kind := range authorities()[1:] {
		if p := authority(kind); strings.HasPrefix(file, p) {
			return p
		}
	}
	return ""
}

func inPlace(kind, file string) bool {
	p := authority(kind)
	return p == "" || file == p || strings.HasSuffix(p, "/") && strings.HasPrefix(file, p)
}

func misplaced(kind string) string {
	switch {
	case kind == "fleet":
		return "fleet may only be written in fleet.cue"
	case strings.ContainsRune("aeiou", rune(kind[0])):
		return "an " + kind + " may only be written in " + authority(kind)
	}
	return "a " + kind + " may only be written in " + authority(kind)
}

// object is everything that a folder says about one name of a kind.
type object struct {
	key     objKey
	folder  *folder
	frags   []*fragment // none: only a comprehension, embedding or the like makes it
	wrong   bool        // has faults; its value cannot be used
	value   *value      // with defaults, once evaluated
	packed  packed      // in its place while nobody looks at it
	looks   int         // how often it was unpacked
	partial *value      // in its place where CUE refuses the object: what can be read of it
	told    []mistake   // what CUE and the shape have said of it
	dropped bool        // not to be evaluated
	settled bool        // its value knows where it is written
	text    *plain      // the JSON or YAML file that it is; nil for CUE
}

// read is what there is of an object: its value or, where that is refused, what is right of it.
func (o *object) read() *value {
	if o.accepted() || o.dropped {
		return o.whole()
	}
	return o.partial
}

// accepted reports whether an object has a value, which CUE has nothing against.
func (o *object) accepted() bool { return o.value != nil || o.packed != "" }

// maxLooks is how often an object is unpacked to be looked at. One that many others refer to stays as it is then.
const maxLooks = 4

// whole is the value of an object, which is not to be changed; nil where there is none.
func (o *object) whole() *value {
	if o.packed == "" {
		return o.value
	}
	if o.looks++; o.looks > maxLooks {
		o.unpack()
		return o.value
	}
	return o.packed.value()
}

// unpack makes an object keep its value as it is, to be changed or looked at often.
func (o *object) unpack() {
	if o.packed != "" {
		o.value, o.packed = o.packed.value(), ""
	}
}

// pack makes an object keep its value packed.
func (o *object) pack() {
	if o.value != nil {
		o.value, o.packed = nil, pack(o.value)
	}
}

// heard reports whether the place of a path, or something around it, has a fault already.
func (o *object) heard(p path) bool {
	return slices.ContainsFunc(o.told, func(m mistake) bool {
		return len(m.path) <= len(p) && slices.Equal(m.path, p[:len(m.path)]) && (len(m.path) > len(o.key.path()) || len(p) == len(m.path))
	})
}

// blurred reports whether a struct of an object has a field that does not exist: what it lacks may be meant by that.
func (o *object) blurred(p path) bool {
	return slices.ContainsFunc(o.told, func(m mistake) bool {
		return m.label && len(m.path) == len(p)+1 && len(m.where) == len(m.path) && slices.Equal(m.path[:len(p)], p)
	})
}

func (o *object) pos() schema.Position {
	if o.text != nil {
		return o.text.position(o.text.root.spot)
	}
	if len(o.frags) == 0 {
		return schema.Position{}
	}
	return position(o.frags[0].label)
}

// folder is one folder of package fleet: its own files, and those above that it sees.
type folder struct {
	dir    string
	own    []*source
	chain  []*source // own ones last
	objs   map[objKey]*object
	order  []*object
	broken bool
	place  string // of authority: a folder that sees only itself and fleet.cue
	above  []*folder
}

// sees is an object of the folder or of one above it, by static labels; nil where there is none.
func (d *folder) sees(key objKey) *object {
	if o := d.objs[key]; o != nil {
		return o
	}
	for _, up := range d.above {
		if o := up.objs[key]; o != nil {
			return o
		}
	}
	return nil
}

// arrange puts files into folders and objects into the folder that declares them.
func (l *loading) arrange() {
	byDir := map[string]*folder{}
	for _, f := range l.files {
		if f.pkg != "fleet" && !(f.broken && !strings.HasPrefix(f.name, "lib/")) {
			continue
		}
		d := byDir[f.dir]
		if d == nil {
			d = &folder{dir: f.dir, objs: map[objKey]*object{}}
			byDir[f.dir] = d
			l.folders = append(l.folders, d)
		}
		d.own = append(d.own, f)
	}
	slices.SortFunc(l.folders, func(a, b *folder) int { return cmp.Compare(a.dir, b.dir) })
	for _, d := range l.folders {
		d.place = guarded(d.dir + "/")
		for p := slash.Dir(d.dir); d.dir != "."; p = slash.Dir(p) {
			if up := byDir[p]; up != nil {
				d.above = append(d.above, up)
			}
			if p == "." {
				break
			}
		}
		slices.Reverse(d.above)
		for _, up := range d.above {
			for _, f := range up.own {
				if d.place == "" || f.name == "fleet.cue" || strings.HasPrefix(f.name, d.place) {
					d.chain = append(d.chain, f)
				}
			}
		}
		d.chain = append(d.chain, d.own...)
		for _, f := range d.chain {
			d.broken = d.broken || f.broken
		}
		for _, f := range d.own {
			for _, fr := range f.frags {
				o := d.objs[fr.key]
				if o == nil {
					o = &object{key: fr.key, folder: d}
					d.objs[fr.key] = o
					d.order = append(d.order, o)
				}
				o.frags = append(o.frags, fr)
			}
		}
	}
}

// layout checks where things are written: kinds that exist, places of authority, one folder an object.
func (l *loading) layout() {
	first := map[objKey]*object{}
	for _, d := range l.folders {
		for _, f := range d.own {
			l.topNames(d, f)
			l.placement(f)
			l.below(d, f)
		}
		for _, o := range d.order {
			if slices.ContainsFunc(o.frags, func(f *fragment) bool { return f.lost }) {
				continue // in a wrong place, or of something that does not exist: reported
			}
			prev := first[o.key]
			if prev == nil {
				first[o.key] = o
				continue
			}
			if o.key.kind != "fleet" { // elsewhere than in fleet.cue it is misplaced already
				l.twice(o.frags[0].file.name, o.frags[0].label, o.key, prev.pos())
			}
			o.wrong, o.dropped = true, true
		}
	}
}

func (l *loading) twice(file string, pos token.Pos, key objKey, first schema.Position) {
	l.fault(file, pos, key.path().String(), "already in "+place(first, file)+"; a kind and name belong to one folder")
}

// topNames refuses kinds that do not exist, and hidden fields and definitions that a folder above has.
func (l *loading) topNames(d *folder, f *source) {
	for _, t := range f.tops {
		name := t.name
		hidden := strings.HasPrefix(name, "_") || strings.HasPrefix(name, "#")
		switch {
		case hidden:
			if first, _ := f.topPos(name); t.pos != first {
				continue
			}
			for _, up := range d.chain {
				if pos, ok := up.topPos(name); ok && up.dir != d.dir {
					l.fault(f.name, t.pos, name, "already in "+place(position(pos), f.name)+"; a folder below may use what a folder above says, not add to it")
					break
				}
			}
		case !l.kinds[name]:
			l.fault(f.name, t.pos, at(name).String(), l.unknownKind(name))
		}
	}
}

// singular is the word that another is the plural of, or empty.
func singular(many string, words []string) string {
	for _, s := range []string{strings.TrimSuffix(many, "s"), strings.TrimSuffix(many, "ies") + "y"} {
		if s != many && slices.Contains(words, s) {
			return s
		}
	}
	return ""
}

func (l *loading) unknownKind(name string) string {
	if name == "run" || name == "runs" {
		return "no such kind; a run is a file of its own: dunlin schema run"
	}
	m := "no such kind"
	g := cmp.Or(singular(name, l.kindNames), near(name, l.kindNames))
	if g != "" {
		m += ` (did you mean "` + g + `"?)`
		l.unsure[g] = true
	}
	return m + "; kinds: " + strings.Join(l.kindNames, ", ")
}

// placement refuses kinds that carry authority in files where they do not belong.
func (l *loading) placement(f *source) {
	say := func(kind, name string, pos token.Pos) {
		p := at(kind)
		if name != "" {
			p = at(kind, name)
		}
		l.fault(f.name, pos, p.String(), misplaced(kind))
	}
	for _, fr := range f.frags {
		if !inPlace(fr.key.kind, f.name) {
			say(fr.key.kind, fr.key.name, fr.label)
			fr.lost = true
		}
	}
	for _, t := range f.touches {
		for _, kind := range authorities() {
			if t.kind == "" && t.patterns(kind) && !inPlace(kind, f.name) {
				l.fault(f.name, t.pos, kind, misplaced(kind)+", and this pattern means it, too; write the kinds that it is for, such as [\"policy\" | \"window\"]")
				break
			}
		}
		if t.kind != "" && !inPlace(t.kind, f.name) {
			// A computed name is known once the comprehension has run: see misplacedValues.
			if t.name == "" && t.what != "" && t.what != "a pattern" && t.kind != "fleet" {
				continue
			}
			say(t.kind, t.name, t.pos)
		}
	}
}

// below refuses what would change the objects of a folder above.
func (l *loading) below(d *folder, f *source) {
	for _, t := range f.touches {
		for _, up := range d.above {
			var hit *object
			for _, o := range up.order {
				if o.key.kind == "fleet" || t.kind != "" && t.kind != o.key.kind || t.name != "" && t.name != o.key.name {
					continue
				}
				hit = o
				break
			}
			if hit == nil {
				continue
			}
			if t.name != "" {
				l.twice(f.name, t.pos, hit.key, hit.pos())
			} else {
				p := ""
				if t.kind != "" {
					p = t.kind
				}
				what := t.what
				if what == "" {
					what = "a declaration"
				}
				l.fault(f.name, t.pos, p, what+" over a kind of which "+place(hit.pos(), f.name)+" has an object; a folder below may not add to what a folder above says")
			}
			break
		}
	}
}
