package load

import (
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"
)

// Objects are evaluated a part at a time, which is right as long as each is made without a look at the others. A name of
// a kind is such a look, and so is what this file finds: an object that names its neighbour within the same braces, and
// what is said of a kind, or of the whole package, otherwise than object by object, as a choice or a count is.

// neighbours reports whether an object names another one of the struct that both are written in.
func neighbours(kind *ast.StructLit, object ast.Expr) bool {
	found := false
	ast.Walk(object, func(n ast.Node) bool {
		if x, ok := n.(*ast.Ident); ok && x.Node != nil && within(x.Node, kind) && !within(x.Node, object) {
			found = true
		}
		return !found
	}, nil)
	return found
}

func within(n, of ast.Node) bool {
	at := n.Pos()
	return !at.IsValid() || of.Pos().Offset() <= at.Offset() && at.Offset() < of.End().Offset()
}

// wide looks for what sees more than one object.
type wide struct {
	kinds   []ast.Node // structs of objects
	objects []ast.Node // and what is said of single ones
	own     map[ast.Node]bool
}

// isWide reports whether a declaration at the top of a file that is no plain object sees more than one object.
func isWide(d ast.Decl) bool {
	w := &wide{own: map[ast.Node]bool{}}
	if w.decl(d, 0) {
		return true
	}
	found := false
	ast.Walk(d, func(n ast.Node) bool {
		x, ok := n.(*ast.Ident)
		if !ok || x.Node == nil || w.own[x.Node] {
			return !found
		}
		seen := slices.ContainsFunc(w.kinds, func(k ast.Node) bool { return within(x.Node, k) })
		own := slices.ContainsFunc(w.objects, func(o ast.Node) bool { return within(x, o) && within(x.Node, o) })
		found = found || seen && !own
		return !found
	}, nil)
	return found
}

// decl takes what stands at the top (depth 0) or in the struct of a kind (1).
func (w *wide) decl(d ast.Decl, depth int) bool {
	switch x := d.(type) {
	case *ast.Field:
		_, aliased := x.Label.(*ast.Alias)
		if id, ok := x.Label.(*ast.Ident); ok && depth == 0 && (strings.HasPrefix(id.Name, "_") || strings.HasPrefix(id.Name, "#")) {
			return false
		}
		if l, ok := x.Label.(*ast.ListLit); ok { // the name of a pattern's label is each object's own
			ast.Walk(l, func(n ast.Node) bool { w.own[n] = true; return true }, nil)
		}
		if depth == 1 {
			w.objects = append(w.objects, x.Value)
			return aliased || x.Alias != nil
		}
		return aliased || x.Alias != nil || w.expr(x.Value, 1)
	case *ast.EmbedDecl:
		return w.expr(x.Expr, depth)
	case *ast.Comprehension:
		for _, c := range x.Clauses {
			switch c := c.(type) {
			case *ast.ForClause:
				w.own[c], w.own[c.Key], w.own[c.Value] = true, true, true
			case *ast.LetClause:
				w.own[c], w.own[c.Ident] = true, true
			case *ast.IfClause:
			default:
				return true
			}
		}
		return x.Fallback != nil || w.expr(x.Value, depth)
	case *ast.LetClause:
		w.own[x] = true
		return false
	case *ast.CommentGroup, *ast.Attribute, *ast.Ellipsis, *ast.Package, *ast.ImportDecl:
		return false
	}
	return true
}

func (w *wide) expr(e ast.Expr, depth int) bool {
	switch x := e.(type) {
	case *ast.StructLit:
		if depth == 1 {
			w.kinds = append(w.kinds, x)
		}
		for _, d := range x.Elts {
			if w.decl(d, depth) {
				return true
			}
		}
		return false
	case *ast.ParenExpr:
		return w.expr(x.X, depth)
	case *ast.BinaryExpr:
		return x.Op != token.AND || w.expr(x.X, depth) || w.expr(x.Y, depth)
	case *ast.BasicLit, *ast.BottomLit:
		return false
	case *ast.Ident:
		return x.Name != "_"
	case *ast.CallExpr:
		id, ok := x.Fun.(*ast.Ident)
		return !ok || id.Name != "close" || id.Node != nil || len(x.Args) != 1 || w.expr(x.Args[0], depth)
	case *ast.SelectorExpr: // the shipped library's objects are structs and nothing else
		pkg, ok := x.X.(*ast.Ident)
		if !ok {
			return true
		}
		s, ok := pkg.Node.(*ast.ImportSpec)
		return !ok || !strings.HasPrefix(importPath(s), policiesPath)
	}
	return true
}

// againJobs judge what CUE would see otherwise in a folder than it is judged elsewhere: objects of a folder above that
// look at a kind of which this one has objects, and in a place of authority its own objects, which CUE lets
// patterns and the like of the folders above change.
func (l *loading) againJobs(d *folder) []*job {
	var jobs []*job
	add := func(same bool, files []*source, objs []*object) {
		objs = slices.DeleteFunc(objs, func(o *object) bool { return o.dropped || o.key.kind == "fleet" })
		if len(objs) == 0 || slices.ContainsFunc(files, func(f *source) bool { return f.broken }) {
			return
		}
		for lo := 0; lo < len(objs); lo += l.batch {
			jobs = append(jobs, &job{folder: d, files: files, objs: objs[lo:min(lo+l.batch, len(objs))], again: true, same: same})
		}
	}
	makes := func(kind string) bool {
		return slices.ContainsFunc(d.own, func(f *source) bool {
			return f.reach.changes(kind) || slices.ContainsFunc(f.frags, func(fr *fragment) bool { return fr.key.kind == kind })
		})
	}
	var lookers []*object
	for _, up := range d.above {
		for _, o := range up.order {
			if slices.ContainsFunc(o.frags, func(fr *fragment) bool {
				for name := range fr.uses {
					if l.kinds[name] && name != "fleet" && slices.Contains(d.chain, fr.file) && makes(name) {
						return true
					}
				}
				return false
			}) {
				lookers = append(lookers, o)
			}
		}
	}
	add(false, d.chain, lookers)
	if d.place == "" {
		return jobs
	}
	var unseen []*source
	for _, up := range d.above {
		for _, f := range up.own {
			if !slices.Contains(d.chain, f) {
				unseen = append(unseen, f)
			}
		}
	}
	var own []*object
	for _, o := range d.order {
		told := func(f *source) bool { // by placement
			return authority(o.key.kind) != "" && slices.ContainsFunc(f.touches, func(t touch) bool { return t.patterns(o.key.kind) })
		}
		if slices.ContainsFunc(unseen, func(f *source) bool { return f.reach.changes(o.key.kind) && !told(f) }) {
			own = append(own, o)
		}
	}
	add(true, slices.Concat(unseen, d.chain), own)
	return jobs
}

// carried is how many objects must be there for whatever a folder evaluates, since what is no plain object looks at their kinds.
func (l *loading) carried(d *folder) int {
	n := 0
	for kind := range l.kinds {
		if slices.ContainsFunc(d.chain, func(f *source) bool { return f.restUses[kind] || f.restUses["self"] }) {
			for _, f := range d.chain {
				for _, fr := range f.frags {
					if fr.key.kind == kind {
						n++
					}
				}
			}
		}
	}
	return n
}
