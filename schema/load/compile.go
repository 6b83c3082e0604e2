package load

import (
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/signs"
)

// shapes has every definition of the embedded schema in compiled form, by name with its `#`.
type shapes map[string]*shape

// definitions compiles the embedded schema once. An error means that the schema
// uses a construct that the compiler does not know; a test holds that there is none.
var definitions = sync.OnceValues(func() (shapes, error) {
	c, err := compileDefinitions()
	return c.done, err
})

// compileDefinitions reads the embedded schema, with what its comments say if the parser is told to keep them.
func compileDefinitions(o ...parser.Option) (*compiler, error) {
	c := newCompiler()
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
		c.declare(f)
	}
	_, err = c.all()
	return c, err
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
	exprs  map[string]ast.Expr
	docs   map[string]string // comments of definitions
	done   shapes
	begun  map[string]bool // and not yet finished
	around [][]string      // names of required fields of the structs around, for lookups
	err    error
}

func newCompiler() *compiler {
	return &compiler{exprs: map[string]ast.Expr{}, docs: map[string]string{}, done: shapes{}, begun: map[string]bool{}}
}

// declare takes the definitions of a file, which has nothing else.
func (c *compiler) declare(f *ast.File) {
	for _, d := range f.Decls {
		switch x := d.(type) {
		case *ast.Package, *ast.ImportDecl, *ast.CommentGroup:
		case *ast.Field:
			id, ok := x.Label.(*ast.Ident)
			if !ok || !strings.HasPrefix(id.Name, "#") || x.Constraint != token.ILLEGAL || x.Alias != nil || len(x.Attrs) > 0 || c.exprs[id.Name] != nil {
				c.unknown(x, "at the top")
				continue
			}
			c.exprs[id.Name], c.docs[id.Name] = x.Value, docOf(x)
		default:
			c.unknown(d, "at the top")
		}
	}
}

// all compiles every definition and what direct needs of it.
func (c *compiler) all() (shapes, error) {
	names := slices.Sorted(maps.Keys(c.exprs))
	for _, name := range names {
		c.definition(name)
	}
	seen := map[*shape]bool{}
	for _, name := range names {
		if err := prepare(c.done[name], seen); err != nil && c.err == nil {
			c.err = fmt.Errorf("compile the schema: %s: %w", name, err)
		}
	}
	return c.done, c.err
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
	if c.begun[name] {
		return c.unknown(e, name+" within itself")
	}
	c.begun[name] = true
	around := c.around
	c.around = nil
	s := *c.expr(e)
	c.around = around
	delete(c.begun, name)
	s.def = name
	c.done[name] = &s
	return &s
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
		for i, el := range x.Elts {
			el, ok := el.(*ast.Ellipsis)
			switch {
			case !ok:
				continue
			case i != len(x.Elts)-1:
				return c.unknown(x, "... before the end of a list")
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
		if !slices.ContainsFunc(c.around, func(names []string) bool { return slices.Contains(names, s.lookup.field) }) {
			return c.unknown(x, "lookup by a field that need not be given")
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
		s.kinds, s.patterns = kString, []pattern{{re, signs.Matcher(v.s, re), x.Op == token.NMAT, v.s}}
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
			if !ok || len(st.Elts) != 2 || f.Constraint != token.NOT || f.Alias != nil {
				return c.unknown(x, name)
			}
			top, ok1 := f.Value.(*ast.Ident)
			rest, ok2 := st.Elts[1].(*ast.Ellipsis)
			label, ok3 := labelName(f.Label)
			if !ok1 || !ok2 || !ok3 || top.Name != "_" || rest.Type != nil {
				return c.unknown(x, name)
			}
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
	var required []string
	for _, d := range x.Elts {
		if f, ok := d.(*ast.Field); ok && f.Constraint == token.NOT {
			if name, ok := labelName(f.Label); ok {
				required = append(required, name)
			}
		}
	}
	c.around = append(c.around, required)
	defer func() { c.around = c.around[:len(c.around)-1] }()
	for _, d := range x.Elts {
		switch f := d.(type) {
		case *ast.Field:
			if f.Alias != nil || slices.ContainsFunc(f.Attrs, func(a *ast.Attribute) bool { key, _ := a.Split(); return key != "default" }) {
				return c.unknown(f, "field")
			}
			if l, ok := f.Label.(*ast.ListLit); ok {
				if f.Constraint != token.ILLEGAL || len(l.Elts) != 1 || len(f.Attrs) > 0 {
					return c.unknown(f, "pattern")
				}
				s.labels = append(s.labels, labelShape{c.expr(l.Elts[0]), c.expr(f.Value), docOf(f)})
				continue
			}
			name, ok := labelName(f.Label)
			if !ok || s.byName[name] != nil {
				return c.unknown(f, "label")
			}
			s.put(&shapeField{
				name: name, required: f.Constraint == token.NOT, table: f.Constraint == token.ILLEGAL,
				s: c.expr(f.Value), dflt: c.dflt(f), doc: docOf(f),
			})
		case *ast.EmbedDecl:
			embeds = append(embeds, c.expr(f.Expr))
		case *ast.Ellipsis:
			if f.Type != nil {
				return c.unknown(d, "declaration")
			}
			s.open = true
		case *ast.Comprehension: // if field == "word" {...}
			g, ok := c.guard(f)
			if !ok || !slices.Contains(required, g.field) {
				return c.unknown(f, "comprehension")
			}
			s.guards = append(s.guards, g)
		case *ast.CommentGroup:
		default:
			return c.unknown(d, "declaration")
		}
	}
	for _, e := range embeds {
		if e.kinds != kStruct || e.open || e.alts != nil || e.lookup != nil {
			return c.unknown(x, "embedding of more than a closed struct")
		}
		open := s.open
		s = unite(e, s)
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
	if !ok1 || !ok2 || !ok3 || v.k != kString {
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
		if s.alts != nil && s.lookup == nil && s.def == "" && s.plainChoice() {
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
		case a.kinds == kString && a.enum != nil && a.patterns == nil && a.minRunes == 0 && a.maxRunes < 0 && a.alts == nil && a.lookup == nil:
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
		if s.kinds&a.kinds&(kStruct|kList) != 0 {
			return c.unknown(x, "choice between structs or between lists") // CUE may not choose
		}
		s.kinds |= a.kinds
	}
	s.alts = rest
	return s
}

// plainChoice reports whether a choice says nothing beside its alternatives.
func (s *shape) plainChoice() bool {
	t := *s
	t.alts, t.kinds = nil, kAll
	return t.plainBounds() && t.enum == nil && t.bools == nil && t.patterns == nil && t.lo == nil && t.hi == nil && t.minRunes == 0 && t.maxRunes < 0 && !t.open
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
