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
