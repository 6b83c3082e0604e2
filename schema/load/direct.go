package load

import (
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/token"
)

// Most objects are plain data, and CUE is a slow judge of plain data. So a
// literal object is first held against the definitions in compiled form. That
// may only accept: whatever it does not accept, for whatever reason, CUE judges.
// docs/loader.md says why this gives CUE's verdict and CUE's values.

// plainDepth bounds the nesting of what is judged directly.
const plainDepth = 32

// plainValue reads an expression that is data and nothing else: no reference,
// no expression, no attribute, no label that CUE would read otherwise than it
// stands, no number but whole ones that fit. It gives what CUE would export.
func plainValue(e ast.Expr, depth int) (*value, bool) {
	if depth > plainDepth {
		return nil, false
	}
	switch x := e.(type) {
	case *ast.BasicLit:
		return plainScalar(x)
	case *ast.UnaryExpr:
		lit, ok := x.X.(*ast.BasicLit)
		if !ok || x.Op != token.SUB || lit.Kind != token.INT {
			return nil, false
		}
		v, ok := plainScalar(lit)
		if !ok || v.i == 0 { // CUE knows a negative zero
			return nil, false
		}
		v.i = -v.i
		return v, true
	case *ast.StructLit:
		n := &value{k: kStruct}
		if len(x.Elts) > 0 {
			n.keys, n.kids = make([]string, 0, len(x.Elts)), make([]*value, 0, len(x.Elts))
		}
		for _, d := range x.Elts {
			switch f := d.(type) {
			case *ast.CommentGroup:
			case *ast.Field:
				name, ok := plainLabelOf(f)
				if !ok {
					return nil, false
				}
				v, ok := plainValue(f.Value, depth+1)
				if !ok || !n.merge(name, v) {
					return nil, false
				}
				v.off, v.val = int32(f.Label.Pos().Offset()), int32(f.Value.Pos().Offset())
			default:
				return nil, false
			}
		}
		return n, true
	case *ast.ListLit:
		n := &value{k: kList}
		if len(x.Elts) > 0 {
			n.kids = make([]*value, 0, len(x.Elts))
		}
		for _, el := range x.Elts {
			v, ok := plainValue(el, depth+1)
			if !ok {
				return nil, false
			}
			v.off = int32(el.Pos().Offset())
			v.val = v.off
			n.kids = append(n.kids, v)
		}
		return n, true
	}
	return nil, false
}

func plainScalar(x *ast.BasicLit) (*value, bool) {
	switch x.Kind {
	case token.STRING:
		if strings.HasPrefix(strings.TrimLeft(x.Value, "#"), "'") {
			return nil, false // bytes
		}
		s, err := literal.Unquote(x.Value)
		return &value{k: kString, s: s}, err == nil && utf8.ValidString(s)
	case token.INT:
		var info literal.NumInfo
		if literal.ParseNum(x.Value, &info) != nil || !info.IsInt() {
			return nil, false
		}
		var i big.Int
		if _, ok := i.SetString(info.String(), 10); !ok || !i.IsInt64() {
			return nil, false
		}
		return &value{k: kInt, i: i.Int64()}, true
	case token.TRUE, token.FALSE:
		return &value{k: kBool, b: x.Kind == token.TRUE}, true
	case token.NULL:
		return &value{k: kNull}, true
	}
	return nil, false
}

// plainLabelOf is the name of a regular field that nothing else is said of.
// CUE brings quoted labels into a normal form of Unicode, so that only ASCII is sure to stay as it stands.
func plainLabelOf(f *ast.Field) (string, bool) {
	if f.Constraint != token.ILLEGAL || f.Alias != nil || len(f.Attrs) > 0 || f.Value == nil {
		return "", false
	}
	if b, ok := f.Label.(*ast.BasicLit); ok && (!strings.HasPrefix(b.Value, `"`) || strings.HasPrefix(b.Value, `"""`)) {
		return "", false
	}
	name, ok := labelName(f.Label)
	return name, ok && isASCII(name)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// merge adds a field; two structs of one name become one, as CUE unifies them. Anything else given twice is for CUE.
func (n *value) merge(name string, v *value) bool {
	old := n.get(name)
	if old == nil {
		n.set(name, v)
		return true
	}
	if old.k != kStruct || v.k != kStruct {
		return false
	}
	for i, k := range v.keys {
		if !old.merge(k, v.kids[i]) {
			return false
		}
	}
	return true
}

// direct gives what an object holds where it is plain data that its definition
// surely accepts; else nil. top is the field of its kind, g its own; for fleet they are one.
func (defs shapes) direct(k objKey, top, g *ast.Field) *value {
	repo := defs["#Repo"].byName[k.kind]
	if _, ok := plainLabelOf(top); !ok {
		return nil
	}
	s := repo.s
	if k.kind != "fleet" {
		name, ok := plainLabelOf(g)
		if !ok || !s.labels[0].accepts(name) {
			return nil
		}
		s = s.labels[0].val
	}
	v, ok := plainValue(defs.unnamed(k.kind, g.Value), 0)
	if !ok {
		return nil
	}
	v.val = int32(g.Value.Pos().Offset())
	d := direct{}
	if !d.accepts(s, v) {
		return nil
	}
	return v
}

// unnamed takes the name of its own definition off an object: of `schema.#Policy & {...}`, as people write it for their
// editors, the struct. The binding of the package says the same of every object of the kind.
func (defs shapes) unnamed(kind string, e ast.Expr) ast.Expr {
	own := defs["#Repo"].byName[kind].s
	if len(own.labels) > 0 {
		own = own.labels[0].val
	}
	names := func(e ast.Expr) bool {
		x, ok := e.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		pkg, ok1 := x.X.(*ast.Ident)
		sel, ok2 := x.Sel.(*ast.Ident)
		if !ok1 || !ok2 || sel.Name != own.def {
			return false
		}
		s, ok := pkg.Node.(*ast.ImportSpec)
		return ok && importPath(s) == schemaPath
	}
	if b, ok := e.(*ast.BinaryExpr); ok && b.Op == token.AND {
		switch {
		case names(b.X):
			return b.Y
		case names(b.Y):
			return b.X
		}
	}
	return e
}

// reach is what the declarations of a file that are no plain objects can change.
type reach struct {
	any   bool            // objects of every kind
	kinds map[string]bool // objects of these
}

// add takes a declaration. Hidden fields, definitions and let clauses change
// nothing by themselves; a field with a static label changes its kind, and so do
// such fields in a comprehension; of all else nobody knows.
func (r *reach) add(d ast.Decl) {
	switch x := d.(type) {
	case *ast.LetClause:
		return
	case *ast.Field:
		if id, ok := x.Label.(*ast.Ident); ok && x.Alias == nil && (strings.HasPrefix(id.Name, "_") || strings.HasPrefix(id.Name, "#")) && id.Name != "_" {
			return
		}
		if name, ok := labelName(x.Label); ok && x.Alias == nil && isASCII(name) {
			if r.kinds == nil {
				r.kinds = map[string]bool{}
			}
			r.kinds[name] = true
			return
		}
	case *ast.Comprehension:
		if st, ok := x.Value.(*ast.StructLit); ok {
			for _, d := range st.Elts {
				r.add(d)
			}
			return
		}
	case *ast.CommentGroup, *ast.Attribute:
		return
	}
	r.any = true
}

// changes reports whether the rest of a file can change objects of a kind.
func (r reach) changes(kind string) bool { return r.any || r.kinds[kind] }

// active reports whether the rest of a file can mean something else in a folder below than in its own:
// it makes objects, or looks at them.
func (l *loading) active(f *source) bool {
	if f.reach.any || len(f.reach.kinds) > 0 || f.restUses["self"] || f.restUses["__self"] {
		return true
	}
	for name := range f.restUses {
		if l.kinds[name] && name != "fleet" { // which is the same in every folder
			return true
		}
	}
	return false
}

// settled reports whether an object of a folder is what its one declaration says, whatever else is written.
func (l *loading) settled(d *folder, o *object) bool {
	if len(o.frags) != 1 || o.frags[0].data == "" {
		return false
	}
	if o.key.kind == "fleet" { // evaluated from its own file alone
		return !o.frags[0].file.reach.changes("fleet")
	}
	return !slices.ContainsFunc(d.chain, func(f *source) bool { return f.reach.changes(o.key.kind) })
}

// direct accepts values by shapes. It is quick and says nothing of why not.
type direct struct {
	stack []*value // structs around the value, for lookups
}

func (d *direct) accepts(s *shape, n *value) bool {
	if s.doubt != "" || n.k&s.kinds == 0 || n.k == kAny {
		return false
	}
	if s.lookup != nil {
		t := d.lookup(s.lookup)
		return t != nil && d.accepts(t, n)
	}
	if s.alts != nil {
		if !slices.ContainsFunc(s.alts, func(a *shape) bool { return d.accepts(a, n) }) {
			return false
		}
		return n.k&(kStruct|kList) != 0 || s.acceptsScalar(n) // and has nothing to say of structs and lists beside
	}
	switch n.k {
	case kStruct:
		return d.structure(s, n)
	case kList:
		return d.list(s, n)
	}
	return s.acceptsScalar(n)
}

func (s *shape) acceptsScalar(n *value) bool {
	switch n.k {
	case kString:
		if s.enum != nil && !slices.Contains(s.enum, n.s) {
			return false
		}
		if s.minRunes > 0 || s.maxRunes >= 0 {
			if runes := utf8.RuneCountInString(n.s); runes < s.minRunes || s.maxRunes >= 0 && runes > s.maxRunes {
				return false
			}
		}
		for _, r := range s.patterns {
			if r.matches(n.s) == r.not {
				return false
			}
		}
		return true
	case kInt:
		return (s.lo == nil || n.i >= *s.lo) && (s.hi == nil || n.i <= *s.hi)
	case kBool:
		return s.bools == nil || slices.Contains(s.bools, n.b)
	case kNull:
		return true // its kind is right
	}
	return false
}

func (d *direct) list(s *shape, n *value) bool {
	switch {
	case len(n.kids) < s.minItems, s.maxItems >= 0 && len(n.kids) > s.maxItems,
		len(n.kids) < len(s.tuple), s.tuple != nil && s.elem == nil && len(n.kids) > len(s.tuple):
		return false
	}
	for i, e := range n.kids {
		t := s.elem
		if i < len(s.tuple) {
			t = s.tuple[i]
		}
		if t != nil && !d.accepts(t, e) {
			return false
		}
	}
	return true
}

// lookup is what the one struct around that has the field chooses by it.
func (d *direct) lookup(l *lookup) *shape {
	var by *value
	for _, n := range d.stack {
		if v := n.get(l.field); v != nil {
			if by != nil {
				return nil
			}
			by = v
		}
	}
	if by == nil || by.k != kString {
		return nil
	}
	return l.chosen[strings.TrimPrefix(by.s, l.trim)]
}

func (d *direct) structure(s *shape, n *value) bool {
	if len(s.guards) > 0 {
		which := 0
		for i, g := range s.guards {
			v := n.get(g.field)
			if v == nil || v.k != kString {
				return false
			}
			if (v.s == g.word) != g.not {
				which |= 1 << i
			}
		}
		s = s.guarded[which]
		if s.doubt != "" {
			return false
		}
	}
	if s.tabled || len(n.keys) < s.minField || s.maxField >= 0 && len(n.keys) > s.maxField {
		return false
	}
	d.stack = append(d.stack, n)
	defer func() { d.stack = d.stack[:len(d.stack)-1] }()
	must := 0
	for i, name := range n.keys {
		f := s.byName[name]
		known := f != nil
		if known {
			if f.required {
				must++
			}
			if !d.accepts(f.s, n.kids[i]) {
				return false
			}
		}
		for _, l := range s.labels {
			if l.accepts(name) {
				known = true
				if !d.accepts(l.val, n.kids[i]) {
					return false
				}
			}
		}
		if !known && !s.open {
			return false
		}
	}
	if must < s.required { // of fields that have no value of their own
		return false
	}
	for _, group := range s.oneOf {
		have := 0
		for _, w := range group {
			if n.get(w) != nil {
				have++
			}
		}
		if have != 1 {
			return false
		}
	}
	return true
}

// accepts reports whether a label is one that the pattern is about. A pattern
// may be no more than what a text must be: anything else has stopped the compiler.
func (l labelShape) accepts(name string) bool {
	return l.key.acceptsScalar(&value{k: kString, s: name})
}
