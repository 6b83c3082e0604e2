package load

import (
	"math/big"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/token"
)

// labelName is the name of a regular field's label; not of a definition, a hidden field or a computed label.
func labelName(l ast.Label) (string, bool) {
	switch x := l.(type) {
	case *ast.Ident:
		if strings.HasPrefix(x.Name, "_") || strings.HasPrefix(x.Name, "#") {
			return "", false
		}
		return x.Name, true
	case *ast.BasicLit:
		if x.Kind == token.STRING {
			s, err := literal.Unquote(x.Value)
			return s, err == nil
		}
	}
	return "", false
}

// literalValue reads an expression that is pure data.
func literalValue(e ast.Expr) (*value, bool) {
	switch x := e.(type) {
	case *ast.BasicLit:
		switch x.Kind {
		case token.STRING:
			if strings.HasPrefix(strings.TrimLeft(x.Value, "#"), "'") {
				return nil, false // bytes
			}
			s, err := literal.Unquote(x.Value)
			return &value{k: kString, s: s}, err == nil
		case token.INT:
			var info literal.NumInfo
			if literal.ParseNum(x.Value, &info) != nil {
				return nil, false
			}
			var i big.Int
			if _, ok := i.SetString(info.String(), 10); !ok || !i.IsInt64() {
				return nil, false
			}
			return &value{k: kInt, i: i.Int64(), s: x.Value}, true
		case token.FLOAT:
			return &value{k: kFloat, s: x.Value}, true
		case token.TRUE, token.FALSE:
			return &value{k: kBool, b: x.Kind == token.TRUE}, true
		case token.NULL:
			return &value{k: kNull}, true
		}
	case *ast.UnaryExpr:
		if v, ok := literalValue(x.X); ok && x.Op == token.SUB && v.k == kInt {
			return &value{k: kInt, i: -v.i, s: "-" + v.s}, true
		}
	case *ast.StructLit:
		n := &value{k: kStruct}
		for _, d := range x.Elts {
			f, ok := d.(*ast.Field)
			if !ok {
				return nil, false
			}
			name, ok := labelName(f.Label)
			if !ok || f.Constraint != token.ILLEGAL || f.Alias != nil || n.get(name) != nil {
				return nil, false
			}
			v, ok := literalValue(f.Value)
			if !ok {
				return nil, false
			}
			n.set(name, v)
		}
		return n, true
	case *ast.ListLit:
		n := &value{k: kList}
		for _, el := range x.Elts {
			v, ok := literalValue(el)
			if !ok {
				return nil, false
			}
			n.kids = append(n.kids, v)
		}
		return n, true
	}
	return nil, false
}
