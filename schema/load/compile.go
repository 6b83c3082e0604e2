package load

import (
	"fmt"
	"io/fs"
	"math/big"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema"
)

// shapes has every definition of the embedded schema in compiled form, by name with its `#`.
type shapes map[string]*shape

// definitions compiles the embedded schema once. An error means that the schema
// uses a construct that the compiler does not know; a test holds that there is none.
var definitions = sync.OnceValues(func() (shapes, error) {
	c, err := compileDefinitions()
	return c.done, err
})

// compileDefinitions compiles the embedded schema, with what its comments say if the parser is told to keep them.
func compileDefinitions(o ...parser.Option) (*compiler, error) {
	c := &compiler{exprs: map[string]ast.Expr{}, docs: map[string]string{}, done: shapes{}}
	names, err := fs.Glob(schema.Definitions, "*.cue")
	if err != nil {
		return c, err
	}
	for _, name := range names {
		b, err := schema.Definitions.ReadFile(name)
		if err != nil {
			return c, err
		}
		f, err := parser.ParseFile(name, b, o...)
		if err != nil {
			return c, err
		}
		for _, d := range f.Decls {
			if x, ok := d.(*ast.Field); ok {
				if id, ok := x.Label.(*ast.Ident); ok {
					c.exprs[id.Name] = x.Value
					c.docs[id.Name] = docOf(x)
				}
			}
		}
	}
	for name := range c.exprs {
		c.definition(name)
	}
	return c, c.err
}

// docOf is the comment above a declaration as one line; empty where the parser was not told to keep comments.
func docOf(n ast.Node) string {
	for _, g := range ast.Comments(n) {
		if g.Doc {
			return strings.Join(strings.Fields(g.Text()), " ")
		}
	}
	return ""
}

// compiler turns the syntax of definitions into shapes. It keeps the first error.
type compiler struct {
	exprs map[string]ast.Expr
	docs  map[string]string // comments of definitions
	done  shapes
	err   error
}

func (c *compiler) unknown(n ast.Node, what string) *shape {
	if c.err == nil {
		c.err = fmt.Errorf("compile the schema: %v: unknown construct %s (%T)", n.Pos(), what, n)
	}
	return newShape()
}

func (c *compiler) definition(name string) *shape {
	if s, ok := c.done[name]; ok {
		return s
	}
	e, ok := c.exprs[name]
	if !ok {
		if c.err == nil {
			c.err = fmt.Errorf("compile the schema: no definition %s", name)
		}
		return newShape()
	}
	s := newShape()
	c.done[name] = s // before its own parts, which may name it
	*s = *c.expr(e)
	s.def = name
	return s
}

func (c *compiler) expr(e ast.Expr) *shape {
	s := newShape()
	switch x := e.(type) {
	case *ast.ParenExpr:
		return c.expr(x.X)
	case *ast.Ident:
		switch x.Name {
		case "string":
			s.kinds = kString
		case "int":
			s.kinds = kInt
		case "bool":
			s.kinds = kBool
		case "_":
			s.open = true
		default:
			return c.definition(x.Name)
		}
	case *ast.BasicLit:
		v, ok := literalValue(x)
		if !ok {
			return c.unknown(x, x.Value)
		}
		s.kinds = v.k
		switch v.k {
		case kString:
			s.enum = []string{v.s}
		case kInt:
			s.lo, s.hi = &v.i, &v.i
		case kBool:
			s.bools = []bool{v.b}
		default:
			return c.unknown(x, x.Value)
		}
	case *ast.UnaryExpr:
		return c.unary(x)
	case *ast.BinaryExpr:
		switch x.Op {
		case token.AND:
			return and(c.expr(x.X), c.expr(x.Y))
		case token.OR:
			return c.or(x)
		}
		return c.unknown(x, x.Op.String())
	case *ast.CallExpr:
		return c.call(x)
	case *ast.ListLit:
		s.kinds = kList
		for _, el := range x.Elts {
			el, ok := el.(*ast.Ellipsis)
			switch {
			case !ok:
				continue
			case el.Type == nil:
				s.elem = newShape()
				s.elem.open = true
			default:
				s.elem = c.expr(el.Type)
			}
		}
		for _, el := range x.Elts {
			if _, ok := el.(*ast.Ellipsis); !ok {
				s.tuple = append(s.tuple, c.expr(el))
			}
		}
	case *ast.IndexExpr: // #table[field], #table[strings.TrimPrefix(field, "...")]
		table, ok := x.X.(*ast.Ident)
		if !ok {
			return c.unknown(x, "lookup")
		}
		s.lookup = &lookup{table: c.definition(table.Name)}
		switch k := x.Index.(type) {
		case *ast.Ident:
			s.lookup.field = k.Name
		case *ast.CallExpr:
			id, ok := k.Args[0].(*ast.Ident)
			v, ok2 := literalValue(k.Args[1])
			if callName(k) != "strings.TrimPrefix" || !ok || !ok2 {
				return c.unknown(x, "lookup")
			}
			s.lookup.field, s.lookup.trim = id.Name, v.s
		default:
			return c.unknown(x, "lookup")
		}
	case *ast.StructLit:
		return c.structure(x)
	default:
		return c.unknown(e, "expression")
	}
	return s
}

func (c *compiler) unary(x *ast.UnaryExpr) *shape {
	s := newShape()
	v, ok := literalValue(x.X)
	switch {
	case ok && (x.Op == token.MAT || x.Op == token.NMAT) && v.k == kString:
		if _, err := syntax.Parse(v.s, syntax.Perl); err != nil {
			return c.unknown(x, v.s)
		}
		// Compiled when a text is first held against it: all of them are megabytes, and a host's own file needs few.
		re := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(v.s) })
		s.kinds, s.patterns = kString, []pattern{{re, x.Op == token.NMAT}}
	case ok && x.Op == token.GEQ && v.k == kInt:
		s.kinds, s.lo = kInt|kFloat, &v.i
	case ok && x.Op == token.LEQ && v.k == kInt:
		s.kinds, s.hi = kInt|kFloat, &v.i
	default:
		return c.unknown(x, x.Op.String())
	}
	return s
}

func callName(x *ast.CallExpr) string {
	switch f := x.Fun.(type) {
	case *ast.SelectorExpr:
		pkg, ok1 := f.X.(*ast.Ident)
		sel, ok2 := f.Sel.(*ast.Ident)
		if ok1 && ok2 {
			return pkg.Name + "." + sel.Name
		}
	case *ast.Ident:
		return f.Name
	}
	return ""
}

func (c *compiler) call(x *ast.CallExpr) *shape {
	s := newShape()
	n := -1
	if len(x.Args) > 0 {
		if v, ok := literalValue(x.Args[0]); ok && v.k == kInt {
			n = int(v.i)
		}
	}
	name := callName(x)
	if n < 0 && name != "close" {
		return c.unknown(x, name)
	}
	switch name {
	case "list.MinItems":
		s.kinds, s.minItems = kList, n
	case "list.MaxItems":
		s.kinds, s.maxItems = kList, n
	case "struct.MinFields":
		s.kinds, s.minField, s.open = kStruct, n, true
	case "struct.MaxFields":
		s.kinds, s.maxField, s.open = kStruct, n, true
	case "strings.MinRunes":
		s.kinds, s.minRunes = kString, n
	case "strings.MaxRunes":
		s.kinds, s.maxRunes = kString, n
	case "close":
		lit, ok := x.Args[0].(*ast.StructLit)
		if !ok {
			return c.unknown(x, name)
		}
		t := *c.structure(lit)
		t.open = false
		return &t
	case "matchN": // matchN(1, [{a!: _, ...}, {b!: _, ...}]): exactly one of the fields
		lit, ok := x.Args[1].(*ast.ListLit)
		if !ok || n != 1 {
			return c.unknown(x, name)
		}
		var group []string
		for _, a := range lit.Elts {
			st, ok := a.(*ast.StructLit)
			if !ok || len(st.Elts) == 0 {
				return c.unknown(x, name)
			}
			f, ok := st.Elts[0].(*ast.Field)
			if !ok {
				return c.unknown(x, name)
			}
			label, _ := labelName(f.Label)
			group = append(group, label)
		}
		s.kinds, s.open, s.oneOf = kStruct, true, [][]string{group}
	default:
		return c.unknown(x, name)
	}
	return s
}

func (c *compiler) structure(x *ast.StructLit) *shape {
	s := newShape()
	s.kinds, s.byName = kStruct, map[string]*shapeField{}
	var embeds []*shape
	for _, d := range x.Elts {
		switch f := d.(type) {
		case *ast.Field:
			if l, ok := f.Label.(*ast.ListLit); ok {
				s.labels = append(s.labels, labelShape{c.expr(l.Elts[0]), c.expr(f.Value)})
				continue
			}
			name, ok := labelName(f.Label)
			if !ok {
				return c.unknown(f, "label")
			}
			s.put(&shapeField{
				name: name, required: f.Constraint == token.NOT, table: f.Constraint == token.ILLEGAL,
				s: c.expr(f.Value), dflt: c.dflt(f), doc: docOf(f),
			})
		case *ast.EmbedDecl:
			embeds = append(embeds, c.expr(f.Expr))
		case *ast.Ellipsis:
			s.open = true
		case *ast.Comprehension: // if field == "word" {...}
			g, ok := c.guard(f)
			if !ok {
				return c.unknown(f, "comprehension")
			}
			s.guards = append(s.guards, g)
		case *ast.CommentGroup:
		default:
			return c.unknown(d, "declaration")
		}
	}
	for _, e := range embeds {
		open := s.open || len(s.byName)+len(s.labels) == 0 && e.open
		s = and(e, s)
		s.open = open
	}
	return s
}

func (c *compiler) guard(f *ast.Comprehension) (guard, bool) {
	if len(f.Clauses) != 1 {
		return guard{}, false
	}
	clause, ok := f.Clauses[0].(*ast.IfClause)
	if !ok {
		return guard{}, false
	}
	b, ok := clause.Condition.(*ast.BinaryExpr)
	if !ok || b.Op != token.EQL && b.Op != token.NEQ {
		return guard{}, false
	}
	id, ok1 := b.X.(*ast.Ident)
	v, ok2 := literalValue(b.Y)
	st, ok3 := f.Value.(*ast.StructLit)
	if !ok1 || !ok2 || !ok3 {
		return guard{}, false
	}
	return guard{id.Name, v.s, b.Op == token.NEQ, c.structure(st)}, true
}

func (c *compiler) or(x *ast.BinaryExpr) *shape {
	var alts []*shape
	var walk func(e ast.Expr)
	walk = func(e ast.Expr) {
		if p, ok := e.(*ast.ParenExpr); ok {
			walk(p.X)
			return
		}
		if b, ok := e.(*ast.BinaryExpr); ok && b.Op == token.OR {
			walk(b.X)
			walk(b.Y)
			return
		}
		s := c.expr(e)
		if s.alts != nil && s.lookup == nil && s.def == "" {
			alts = append(alts, s.alts...)
			return
		}
		alts = append(alts, s)
	}
	walk(x)
	var words []string
	var bools []bool
	var rest []*shape
	for _, a := range alts {
		switch {
		case a.kinds == kString && a.enum != nil && a.patterns == nil:
			for _, w := range a.enum {
				if !slices.Contains(words, w) {
					words = append(words, w)
				}
			}
		case a.kinds == kBool && a.bools != nil:
			bools = append(bools, a.bools...)
		default:
			rest = append(rest, a)
		}
	}
	if words != nil {
		w := newShape()
		w.kinds, w.enum = kString, words
		rest = append([]*shape{w}, rest...)
	}
	if bools != nil && !slices.ContainsFunc(rest, func(a *shape) bool { return a.kinds == kBool }) {
		w := newShape()
		w.kinds, w.bools = kBool, bools
		rest = append(rest, w)
	}
	if len(rest) == 1 {
		t := *rest[0]
		return &t
	}
	s := newShape()
	s.kinds = 0
	for _, a := range rest {
		s.kinds |= a.kinds
	}
	s.alts = rest
	return s
}

// dflt is the value that @default(...) of a field names, or nil.
func (c *compiler) dflt(f *ast.Field) *value {
	for _, a := range f.Attrs {
		key, body := a.Split()
		if key != "default" {
			continue
		}
		e, err := parser.ParseExpr("@default", body)
		if err != nil {
			c.unknown(f, "default "+body)
			return nil
		}
		v, ok := literalValue(e)
		if !ok {
			c.unknown(f, "default "+body)
		}
		return v
	}
	return nil
}

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
