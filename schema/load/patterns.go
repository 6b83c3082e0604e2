package load

import (
	"regexp"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/token"
)

// patterns reports whether a touch is a pattern that means objects of a kind, or may.
func (t touch) patterns(kind string) bool {
	if t.what != "a pattern" {
		return false
	}
	if t.kind != "" {
		return t.kind == kind
	}
	list, ok := t.over.(*ast.ListLit)
	return !ok || len(list.Elts) != 1 || means(list.Elts[0], kind)
}

// means reports whether the pattern of a label means a name. What is not written out may mean any.
func means(e ast.Expr, name string) bool {
	switch x := e.(type) {
	case *ast.ParenExpr:
		return means(x.X, name)
	case *ast.Alias:
		return means(x.Expr, name)
	case *ast.BasicLit:
		text, ok := stringOf(x)
		return !ok || text == name
	case *ast.UnaryExpr:
		text, ok := stringOf(x.X)
		if !ok {
			return true
		}
		re, err := regexp.Compile(text)
		switch {
		case x.Op == token.NEQ:
			return text != name
		case err != nil:
			return true
		case x.Op == token.MAT:
			return re.MatchString(name)
		case x.Op == token.NMAT:
			return !re.MatchString(name)
		}
	case *ast.BinaryExpr:
		switch x.Op {
		case token.OR:
			return means(x.X, name) || means(x.Y, name)
		case token.AND:
			return means(x.X, name) && means(x.Y, name)
		}
	}
	return true
}

// stringOf is the text of a literal.
func stringOf(e ast.Expr) (string, bool) {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := literal.Unquote(lit.Value)
	return text, err == nil
}
