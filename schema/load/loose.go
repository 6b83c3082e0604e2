package load

import (
	"slices"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"
)

// unfinished judges what is data in an object that names something that does not exist, so that its other mistakes are
// told of as well. CUE sees none of it.
func (l *loading) unfinished(o *object) {
	p := o.key.path()
	if slices.ContainsFunc(o.frags, func(f *fragment) bool { return f.lost && !inPlace(f.key.kind, f.file.name) }) {
		o.dropped = true
		return
	}
	n := &value{k: kStruct}
	for _, f := range o.frags {
		var part *value
		if f.data != "" {
			part = f.data.value()
		} else {
			part = looseValue(l.expr(f), 0)
		}
		if part.k != kStruct || !n.merge("", &value{k: kStruct, keys: part.keys, kids: part.kids}) {
			o.dropped = true
			return
		}
	}
	if n = n.get(""); n == nil {
		o.dropped = true
		return
	}
	c := &checker{defs: l.defs}
	c.check(l.objectShape(o.key.kind), n, p)
	o.partial, o.told = n, c.found
	for _, m := range o.told {
		l.placed(o, m)
		blank(n, m, len(p))
	}
}

// looseValue is what can be read of an expression: of all but plain data, anything.
func looseValue(e ast.Expr, depth int) *value {
	anything := &value{k: kAny}
	if depth > plainDepth {
		return anything
	}
	switch x := e.(type) {
	case *ast.BinaryExpr: // schema.#Policy & {...}
		if s, ok := x.X.(*ast.SelectorExpr); ok && x.Op == token.AND {
			if id, ok := s.X.(*ast.Ident); ok && id.Name == "schema" {
				return looseValue(x.Y, depth+1)
			}
		}
	case *ast.StructLit:
		n := &value{k: kStruct}
		for _, d := range x.Elts {
			f, ok := d.(*ast.Field)
			if _, comment := d.(*ast.CommentGroup); comment {
				continue
			}
			if !ok {
				return anything
			}
			name, ok := labelName(f.Label)
			if !ok || f.Constraint != token.ILLEGAL || f.Alias != nil || f.Value == nil {
				return anything
			}
			v := looseValue(f.Value, depth+1)
			if old := n.get(name); old != nil && (old.k != kStruct || v.k != kStruct) {
				*old = value{k: kAny}
			} else if !n.merge(name, v) {
				return anything
			}
		}
		return n
	case *ast.ListLit:
		n := &value{k: kList}
		for _, el := range x.Elts {
			switch el.(type) {
			case *ast.Ellipsis, *ast.Comprehension:
				return anything
			}
			n.kids = append(n.kids, looseValue(el, depth+1))
		}
		return n
	}
	if v, ok := plainValue(e, depth); ok {
		return v
	}
	return anything
}
