package load

import (
	"fmt"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// explain says what is wrong with objects that CUE refuses. It evaluates them
// again without the schema: what is wrong then is between the author's own
// lines; what is right then is held against the shape of its kind.
func (e *evaluator) explain(j *job, bound cue.Value, want map[objKey]*object, bad []*object) {
	if len(bad) == 0 {
		return
	}
	raw, _, err := e.build(j, want, false)
	for _, o := range bad {
		r := rawReader{e: e, o: o}
		b := lookupObject(bound, o.key)
		if err == nil {
			p := o.key.path()
			v := r.read(lookupObject(raw, o.key), b, p)
			s := e.l.objectShape(o.key.kind)
			c := &checker{defs: e.l.defs}
			if m := e.l.nameMistake(o.key); m != "" {
				c.at(p, p, true, "%s", m)
			}
			c.check(s, v, p)
			r.found = append(r.found, c.found...)
			o.partial = v
			for _, m := range r.found {
				blank(v, m, len(p))
			}
		}
		if len(r.found) == 0 {
			for _, err := range errors.Errors(b.Validate(cue.Concrete(true))) {
				msg, pos := errorWords(err, e.l)
				r.found = append(r.found, r.generic(err, msg, pos))
			}
		}
		j.out.bad[o] = r.found
		o.told = r.found
	}
}

// blank takes out of an object's value what a mistake is about, so that no rule judges it again. start is the length of
// the object's path.
func blank(n *value, m mistake, start int) {
	if m.label || len(m.path) <= start {
		return
	}
	for _, s := range m.path[start:] {
		switch {
		case n == nil:
			return
		case s.item < 0:
			n = n.get(s.name)
		case s.item < len(n.kids):
			n = n.kids[s.item]
		default:
			return
		}
	}
	if n != nil && n.k != kStruct && n.k != kList {
		*n = value{k: kAny}
	}
}

// objectShape is what an object of a kind must be.
func (l *loading) objectShape(kind string) *shape {
	f := l.defs["#Repo"].byName[kind]
	if kind == "fleet" {
		return f.s
	}
	return f.s.labels[0].val
}

// nameMistake says what is wrong with an object's name, or nothing.
func (l *loading) nameMistake(k objKey) string {
	if k.kind == "fleet" {
		return ""
	}
	s := l.defs["#Repo"].byName[k.kind].s.labels[0].key
	if s.acceptsLabel(k.name) {
		return ""
	}
	return "not " + (&checker{defs: l.defs}).want(s)
}

// rawReader reads a value that the schema has not seen, and what CUE has against it.
type rawReader struct {
	e     *evaluator
	o     *object
	found []mistake
}

func (r *rawReader) read(v, bound cue.Value, p path) *value {
	if len(p) > maxDepth {
		return &value{k: kAny}
	}
	before := len(r.found)
	if it, err := v.Fields(); err == nil {
		n := &value{k: kStruct}
		for it.Next() {
			sel := it.Selector()
			if sel.LabelType() == cue.IndexLabel { // a list with a fault inside
				n.k = kList
				i := sel.Index()
				n.kids = append(n.kids, r.read(it.Value(), bound.LookupPath(cue.MakePath(cue.Index(i))), p.index(i)))
				continue
			}
			name := sel.Unquoted()
			n.set(name, r.read(it.Value(), bound.LookupPath(cue.MakePath(cue.Str(name))), p.field(name)))
		}
		if v.Err() != nil && len(r.found) == before {
			r.cueError(v, p)
			return &value{k: kAny}
		}
		return n
	}
	if err := v.Err(); err != nil {
		r.cueError(v, p)
		return &value{k: kAny}
	}
	if v.IncompleteKind() == cue.ListKind {
		n := &value{k: kList}
		it, err := v.List()
		for i := 0; err == nil && it.Next(); i++ {
			n.kids = append(n.kids, r.read(it.Value(), bound.LookupPath(cue.MakePath(cue.Index(i))), p.index(i)))
		}
		return n
	}
	if d, chosen := v.Default(); chosen { // a template's; see concrete
		v = d
	}
	n := scalar(v)
	if n.k == kAny && bound.Exists() && bound.IsConcrete() {
		n = scalar(bound) // the schema makes it definite
	}
	if n.k == kAny {
		r.incomplete(v, p)
	}
	return n
}

// incomplete says that a value is only a type or a choice.
func (r *rawReader) incomplete(v cue.Value, p path) {
	text := fmt.Sprint(v)
	if spots, n := r.e.l.locate(r.o, p); n == len(p) && len(spots) > 0 {
		if b, err := format.Node(spots[0].expr); err == nil {
			text = string(b)
		}
	}
	if len(text) > 60 || strings.Contains(text, "\n") || strings.Contains(text, "_|_") {
		text = "this"
	}
	text = plainSentence(text)
	m := text + " is not a value"
	if text == p.String() {
		m = "refers to itself"
	}
	if s := r.e.l.shapeAt(r.o.key.kind, p); s != nil {
		m += "; " + (&checker{defs: r.e.l.defs}).want(s) + " is wanted"
	}
	r.found = append(r.found, mistake{path: p, where: p, message: m})
}

// shapeAt is the shape at a path of an object, or nil where that depends on values.
func (l *loading) shapeAt(kind string, p path) *shape {
	s := l.objectShape(kind)
	start := 2
	if kind == "fleet" {
		start = 1
	}
	for _, step := range p[start:] {
		switch {
		case s == nil || s.lookup != nil || s.alts != nil:
			return nil
		case step.item >= 0:
			s = s.elem
		case s.byName[step.name] != nil:
			s = s.byName[step.name].s
		default:
			i := slices.IndexFunc(s.labels, func(x labelShape) bool { return x.key.acceptsLabel(step.name) })
			if i < 0 {
				return nil
			}
			s = s.labels[i].val
		}
	}
	return s
}

func (r *rawReader) cueError(v cue.Value, p path) {
	errs := errors.Errors(v.Err())
	if len(errs) == 0 {
		return
	}
	msg, pos := r.e.l.noneOf(errs)
	for i := 0; msg == "" && i < len(errs); i++ { // one fault a value: what else CUE says of it follows from the first
		if form, _ := errs[i].Msg(); len(errs) > 1 && strings.Contains(form, "empty disjunction") {
			continue // only that there are several
		}
		msg, pos = errorWords(errs[i], r.e.l)
	}
	m := r.generic(errs[0], msg, pos)
	m.path = p
	r.found = append(r.found, m)
}

// generic is a mistake in CUE's own words, at the author's place if CUE names one.
func (r *rawReader) generic(err errors.Error, msg string, pos token.Pos) mistake {
	p := r.o.key.path()
	if ps := err.Path(); len(ps) >= len(p) && ps[0] == p[0].name {
		for _, name := range ps[len(p):] {
			p = append(p, errorStep(name))
		}
	}
	m := mistake{path: p, where: p, message: msg}
	if pos.IsValid() && !strings.HasPrefix(pos.Filename(), schemaPath) {
		at := position(pos)
		m.at = &at
	}
	return m
}

func errorStep(name string) seg {
	i := 0
	for _, c := range name {
		if c < '0' || c > '9' || i > tree.MaxFile {
			return seg{strings.Trim(name, `"`), -1}
		}
		i = i*10 + int(c-'0')
	}
	return seg{"", i}
}
