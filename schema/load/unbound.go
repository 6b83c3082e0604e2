package load

import (
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
)

// An object that takes templates and lists from hidden fields is plain data as
// well, once CUE has put it together, and that costs a third without the schema.
// What comes out is held against the definitions in compiled form, which may
// only accept. This is right as long as nothing that the object is made of can
// see what the schema would make of it: no name of a kind, no name within the
// object itself or within a template, no self. What is in doubt is evaluated
// with the schema. docs/loader.md has the argument.

// declared is a hidden field, a definition or a let clause at the top of a file.
type declared struct {
	name  string
	uses  map[string]bool
	inner bool // refers to something within itself
}

// namedDecl is what a declaration that is no object gives a name to.
func namedDecl(d ast.Decl) (declared, bool) {
	out := declared{uses: map[string]bool{}}
	var e ast.Expr
	switch x := d.(type) {
	case *ast.LetClause:
		out.name, e = x.Ident.Name, x.Expr
	case *ast.Field:
		id, ok := x.Label.(*ast.Ident)
		if !ok || x.Alias != nil {
			return out, false
		}
		out.name, e = id.Name, x.Value
	default:
		return out, false
	}
	outside(e, out.uses)
	out.inner = refersWithin(e)
	return out, true
}

// refersWithin reports whether an expression refers to anything in it but a variable of a comprehension or of let.
func refersWithin(e ast.Expr) bool {
	found := false
	from, to := e.Pos().Offset(), e.End().Offset()
	ast.Walk(e, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.Alias, *ast.PostfixAlias:
			found = true
		case *ast.Ident:
			if x.Node == nil {
				break
			}
			switch x.Node.(type) {
			case *ast.ForClause, *ast.LetClause:
			default:
				at := x.Node.Pos()
				found = found || !at.IsValid() || from <= at.Offset() && at.Offset() <= to
			}
		}
		return !found
	}, nil)
	return found
}

// opaque are the names that a folder sees and that must be evaluated with the
// schema. ok is false where that goes for everything in it.
func (l *loading) opaque(d *folder) (names map[string]bool, ok bool) {
	names = map[string]bool{"self": true, "__self": true}
	for kind := range l.kinds {
		names[kind] = true
	}
	var all []declared
	for _, f := range d.chain {
		if f.reach.any || len(f.reach.kinds) > 0 {
			return nil, false
		}
		for _, x := range f.named {
			all = append(all, x)
			names[x.name] = names[x.name] || x.inner || takesAny(x.uses, f.foreign)
		}
	}
	for grew := true; grew; {
		grew = false
		for _, x := range all {
			if !names[x.name] && takesAny(x.uses, names) {
				names[x.name], grew = true, true
			}
		}
	}
	return names, true
}

func takesAny(uses, of map[string]bool) bool {
	for name := range uses {
		if of[name] {
			return true
		}
	}
	return false
}

// foreignImports are the names of packages that are not CUE's own.
func foreignImports(f *ast.File) map[string]bool {
	var out map[string]bool
	for s := range f.ImportSpecs() {
		if !standard(importPath(s)) {
			if out == nil {
				out = map[string]bool{}
			}
			out[importName(s)] = true
		}
	}
	return out
}

// blind reports whether an object cannot see what the schema makes of it.
func (o *object) blind(opaque map[string]bool) bool {
	return !slices.ContainsFunc(o.frags, func(fr *fragment) bool {
		return fr.data == "" && (takesAny(fr.uses, opaque) || takesAny(fr.uses, fr.file.foreign) || fr.within)
	})
}

// unbound judges what it can without the schema, and leaves the rest.
func (e *evaluator) unbound(j *job) {
	if e.l.cueAlone || j.lib || j.fleet {
		return
	}
	names, ok := e.l.opaque(j.folder)
	if !ok {
		return
	}
	part := *j
	part.objs = nil
	want := map[objKey]*object{}
	for _, o := range j.objs {
		if o.blind(names) {
			part.objs = append(part.objs, o)
			want[o.key] = o
		}
	}
	if len(part.objs) == 0 {
		return
	}
	v, _, err := e.build(&part, want, false)
	if err != nil {
		return
	}
	for _, o := range part.objs {
		e.l.opts.pacer.pace()
		w := lookupObject(v, o.key)
		if w.Validate(cue.Concrete(true)) != nil {
			continue
		}
		s := e.l.defs["#Repo"].byName[o.key.kind].s
		if !isASCII(o.key.name) || !s.labels[0].accepts(o.key.name) {
			continue
		}
		if n, ok := data(w, 0); ok && (&direct{}).accepts(s.labels[0].val, n) {
			j.out.values[o] = pack(n)
		}
	}
	j.objs = slices.DeleteFunc(slices.Clone(j.objs), func(o *object) bool { return j.out.values[o] != "" })
}

// data reads a value that is data and nothing else: no field that is hidden, optional or a definition.
func data(v cue.Value, depth int) (*value, bool) {
	if depth > plainDepth {
		return nil, false
	}
	if d, chosen := v.Default(); chosen {
		v = d
	}
	switch v.Kind() {
	case cue.StructKind:
		n := &value{k: kStruct}
		it, err := v.Fields(cue.All())
		if err != nil {
			return nil, false
		}
		for it.Next() {
			sel := it.Selector()
			if sel.LabelType() != cue.StringLabel || sel.ConstraintType() != 0 {
				return nil, false
			}
			kid, ok := data(it.Value(), depth+1)
			if !ok {
				return nil, false
			}
			n.set(sel.Unquoted(), kid)
		}
		return n, true
	case cue.ListKind:
		n := &value{k: kList}
		it, err := v.List()
		if err != nil {
			return nil, false
		}
		for it.Next() {
			kid, ok := data(it.Value(), depth+1)
			if !ok {
				return nil, false
			}
			n.kids = append(n.kids, kid)
		}
		return n, true
	}
	n := scalar(v)
	return n, n.k&(kString|kInt|kBool|kNull) != 0 && !strings.ContainsRune(n.s, '\uFFFD')
}
