package load

import (
	"iter"
	"maps"
	slash "path"
	"slices"
	"strings"
	"sync"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// objKey names an object. fleet, of which there is one, has no name.
type objKey struct{ kind, name string }

// runKind is for a run, which is a file and nothing else: its fields have no path before them.
const runKind = "run"

func (k objKey) path() path {
	switch k.kind {
	case "fleet":
		return at("fleet")
	case runKind:
		return nil
	}
	return at(k.kind, k.name)
}

// fragment is what one file says about one object with static labels.
type fragment struct {
	key   objKey
	file  *source
	label token.Pos
	value ast.Expr // nil once it is pruned: see loading.expr
	from  int      // where the value begins, in bytes
	to    int      // and ends

	uses   map[string]bool // names that it takes from outside
	within bool            // it refers to something within itself
	data   packed          // of plain data that the definitions accept: what CUE would export
	parts  packed          // of anything else: where its own text has its fields and their parts
	lost   bool            // it refers to something that does not exist
}

// touch is a declaration that makes or changes objects of a kind.
type touch struct {
	kind string    // empty: it could be any
	name string    // empty: it could be any
	pos  token.Pos // of the innermost label known
	what string    // "a pattern", "a computed label", "an embedding", "a comprehension"; empty for a plain declaration
	over ast.Label // of a pattern over kinds
}

// source is one .cue file.
type source struct {
	name, dir string
	text      []byte
	tree      *ast.File
	pkg       string
	broken    bool // not evaluated, and nothing that needs it
	frags     []*fragment
	touches   []touch
	rest      bool            // declares more than plain objects
	restUses  map[string]bool // names that the rest mentions
	reach     reach           // what the rest can change
	named     []declared      // of the rest
	foreign   map[string]bool // names of imports that are not of CUE's own packages
	mentions  map[string]bool // of a file with imports: names that it may take from around its declarations
	tops      []top           // names of the package that it declares
	byTop     map[string]int  // the first of each name; nil in a file with few

	pruned bool // tree and tops lack the objects: see loading.whole
}

// top is a field with a static label at the top of a file, hidden ones and definitions included.
type top struct {
	name  string
	pos   token.Pos
	field *ast.Field // nil once all its objects are pruned
}

func (f *source) declares(name string, x *ast.Field) {
	f.tops = append(f.tops, top{name, x.Label.Pos(), x})
	if len(f.tops) == 8 {
		f.byTop = map[string]int{}
		for i, t := range slices.Backward(f.tops) {
			f.byTop[t.name] = i
		}
	}
	if _, ok := f.byTop[name]; !ok && f.byTop != nil {
		f.byTop[name] = len(f.tops) - 1
	}
}

// topPos is the first declaration of a name of the package.
func (f *source) topPos(name string) (token.Pos, bool) {
	i, ok := f.byTop[name]
	if f.byTop == nil {
		i = slices.IndexFunc(f.tops, func(t top) bool { return t.name == name })
		ok = i >= 0
	}
	if !ok {
		return token.NoPos, false
	}
	return f.tops[i].pos, true
}

// fields are the declarations of a name of the package.
func (f *source) fields(name string) iter.Seq[*ast.Field] {
	return func(yield func(*ast.Field) bool) {
		if _, ok := f.topPos(name); !ok {
			return
		}
		for _, t := range f.tops {
			if t.name == name && t.field != nil && !yield(t.field) {
				return
			}
		}
	}
}

// prune lets go of the syntax of objects: it takes much more memory than all
// else, and is needed again only to tell of places.
func (f *source) prune() {
	gone := map[ast.Expr]bool{}
	for _, fr := range f.frags {
		if fr.key.kind != "fleet" {
			gone[fr.value] = true
			fr.value, f.pruned = nil, true
		}
	}
	if !f.pruned {
		return
	}
	empty := map[*ast.Field]bool{}
	f.tree.Decls = slices.DeleteFunc(f.tree.Decls, func(d ast.Decl) bool {
		x, ok := d.(*ast.Field)
		if !ok {
			return false
		}
		st, ok := x.Value.(*ast.StructLit)
		if !ok || len(st.Elts) == 0 {
			return false
		}
		st.Elts = slices.DeleteFunc(st.Elts, func(e ast.Decl) bool { g, ok := e.(*ast.Field); return ok && gone[g.Value] })
		empty[x] = len(st.Elts) == 0 && !f.rest
		return empty[x]
	})
	for i := range f.tops {
		if empty[f.tops[i].field] {
			f.tops[i].field = nil
		}
	}
}

// opened keeps the syntax of some files that were pruned.
type opened struct {
	mu    sync.Mutex
	files map[*source]*source
}

// maxOpened is how many are kept at a time.
const maxOpened = 64

// whole is a file with all that is written in it. It is safe for concurrent use.
func (l *loading) whole(f *source) *source {
	if !f.pruned {
		return f
	}
	l.opened.mu.Lock()
	defer l.opened.mu.Unlock()
	if whole, ok := l.opened.files[f]; ok {
		return whole
	}
	whole := &source{name: f.name, dir: f.dir}
	if tree, err := parser.ParseFile(f.name, f.text); err == nil { // it has been read before, and is as it was
		whole.tree = tree
		for _, d := range tree.Decls {
			if x, ok := d.(*ast.Field); ok {
				if name, ok := fieldName(x.Label); ok {
					whole.declares(name, x)
				}
			}
		}
	}
	if l.opened.files == nil || len(l.opened.files) >= maxOpened {
		l.opened.files = map[*source]*source{}
	}
	l.opened.files[f] = whole
	return whole
}

// expr is what the fragment's file says of it.
func (l *loading) expr(fr *fragment) ast.Expr {
	if fr.value != nil {
		return fr.value
	}
	for x := range l.whole(fr.file).fields(fr.key.kind) {
		if st, ok := x.Value.(*ast.StructLit); ok {
			for _, e := range st.Elts {
				if g, ok := e.(*ast.Field); ok && g.Label.Pos().Offset() == fr.label.Offset() {
					return g.Value
				}
			}
		}
	}
	return &ast.BottomLit{Bottom: fr.label}
}

// scanner reads the syntax of every file once.
type scanner struct {
	kinds map[string]bool
	defs  shapes // to hold plain data against; nil: not
	r     *report
	pack  packer
}

// ignored says why CUE would not read a .cue file at all; empty if it would.
func ignored(name string) string {
	base := slash.Base(name)
	for _, dir := range strings.Split(slash.Dir(name), "/") {
		if dir != "." && (strings.HasPrefix(dir, ".") || strings.HasPrefix(dir, "_")) {
			return "its folder's name starts with . or _"
		}
	}
	switch {
	case strings.HasPrefix(base, "."), strings.HasPrefix(base, "_"):
		return "its name starts with . or _"
	case strings.HasSuffix(base, "_tool.cue"), strings.HasSuffix(base, "_test.cue"):
		return "its name ends in _tool.cue or _test.cue"
	}
	return ""
}

// scan parses one file and sorts its declarations into plain objects and the rest.
func (sc *scanner) scan(name string, text []byte) *source {
	f := &source{name: name, dir: slash.Dir(name), text: text}
	if at := tree.Hidden(text); at >= 0 {
		f.broken = true
		sc.r.add(tree.Turned(name, text, at))
		return f
	}
	tree, err := parser.ParseFile(name, text)
	if err != nil {
		f.broken = true
		sc.r.syntax(name, text, err)
		return f
	}
	f.tree = tree
	f.pkg = tree.PackageName()
	for range tree.ImportSpecs() {
		f.mentions = mentioned(tree.Decls)
		break
	}
	sc.attributes(f)
	if !sc.clause(f) {
		return f
	}
	f.foreign = foreignImports(tree)
	for _, d := range tree.Decls {
		sc.decl(f, d)
	}
	f.prune()
	return f
}

// clause checks the package clause. It is false for files that are no part of package fleet.
func (sc *scanner) clause(f *source) bool {
	inLib := strings.HasPrefix(f.name, "lib/")
	switch {
	case inLib && f.pkg == "fleet":
		sc.r.fault(f.name, packagePos(f.tree), "", "package fleet; a package under lib/ has a name of its own")
	case inLib && f.pkg == "":
		sc.r.faultAt(f.name, 1, 1, "", "no package clause; a file under lib/ says package and its folder's name")
	case inLib:
		return false
	case f.pkg == "":
		sc.r.faultAt(f.name, 1, 1, "", "no package clause; every .cue file outside lib/ says package fleet")
	case f.pkg != "fleet":
		sc.r.fault(f.name, packagePos(f.tree), "", "package "+f.pkg+"; every .cue file outside lib/ says package fleet")
	default:
		return true
	}
	f.pkg, f.broken = "", true
	return false
}

func packagePos(f *ast.File) token.Pos {
	for _, d := range f.Decls {
		if p, ok := d.(*ast.Package); ok {
			return p.Name.Pos()
		}
	}
	return token.NoPos
}

// attributes refuses those that would change what a file says.
func (sc *scanner) attributes(f *source) {
	ast.Walk(f.tree, func(n ast.Node) bool {
		a, ok := n.(*ast.Attribute)
		if !ok {
			return true
		}
		switch key, _ := a.Split(); key {
		case "if", "ignore", "extern", "embed", "tag", "experiment":
			sc.r.fault(f.name, a.Pos(), "", "@"+key+" may not be used: a repository says the same to everyone")
			f.broken = true
		}
		return false
	}, nil)
}

func (sc *scanner) decl(f *source, d ast.Decl) {
	switch d.(type) {
	case *ast.Package, *ast.ImportDecl, *ast.CommentGroup, *ast.Attribute:
		return
	}
	if x, ok := d.(*ast.Field); ok {
		if name, ok := fieldName(x.Label); ok {
			f.declares(name, x)
		}
		if sc.plain(f, x) {
			return
		}
	}
	if f.restUses == nil {
		f.restUses = map[string]bool{}
	}
	if !isBinding(d) {
		f.rest = true
		f.reach.add(d)
		if x, ok := namedDecl(d); ok {
			f.named = append(f.named, x)
		}
		if isWide(d) {
			r := reach{}
			r.add(d)
			if r.any {
				f.restUses["self"] = true
			}
			maps.Copy(f.restUses, r.kinds)
		}
	}
	outside(d, f.restUses)
	f.touches = append(f.touches, sc.touches(f, d, 0)...)
}

// fieldName is the name of any field with a static label, hidden ones and definitions included.
func fieldName(l ast.Label) (string, bool) {
	if id, ok := l.(*ast.Ident); ok {
		return id.Name, true
	}
	return labelName(l)
}

// plain takes the fragments of a declaration that is only whole objects with static labels.
func (sc *scanner) plain(f *source, x *ast.Field) bool {
	kind, ok := sc.objects(x)
	if !ok {
		return false
	}
	add := func(k objKey, g *ast.Field) {
		fr := &fragment{key: k, file: f, label: g.Label.Pos(), value: g.Value, from: g.Value.Pos().Offset(), to: g.Value.End().Offset()}
		if sc.defs != nil {
			if v := sc.defs.direct(k, x, g); v != nil {
				fr.data = sc.pack.pack(v)
			}
		}
		if fr.data == "" { // else it takes none
			fr.uses = map[string]bool{}
			outside(g.Value, fr.uses)
			if st, ok := x.Value.(*ast.StructLit); ok && kind != "fleet" && len(st.Elts) > 1 && neighbours(st, g.Value) {
				fr.uses[kind] = true
			}
			fr.within = refersWithin(g.Value)
			if parts := partsOf(g.Value, 0); parts != nil && kind != "fleet" {
				fr.parts = sc.pack.pack(parts)
			}
		}
		f.frags = append(f.frags, fr)
	}
	if kind == "fleet" {
		add(objKey{"fleet", ""}, x)
		return true
	}
	for _, e := range x.Value.(*ast.StructLit).Elts {
		if g, ok := e.(*ast.Field); ok {
			name, _ := labelName(g.Label)
			add(objKey{kind, name}, g)
		}
	}
	return true
}

// objects reports whether a declaration is only whole objects with static labels, and of which kind.
func (sc *scanner) objects(x *ast.Field) (string, bool) {
	kind, ok := labelName(x.Label)
	if !ok || x.Constraint != token.ILLEGAL || x.Alias != nil || len(x.Attrs) > 0 || !sc.kinds[kind] {
		return "", false
	}
	if kind == "fleet" {
		return kind, true
	}
	st, ok := x.Value.(*ast.StructLit)
	return kind, ok && staticFields(st)
}

func staticFields(st *ast.StructLit) bool {
	return !slices.ContainsFunc(st.Elts, func(e ast.Decl) bool {
		if _, ok := e.(*ast.CommentGroup); ok {
			return false
		}
		g, ok := e.(*ast.Field)
		if ok {
			_, ok = labelName(g.Label)
		}
		return !ok || g.Constraint != token.ILLEGAL || g.Alias != nil || len(g.Attrs) > 0
	})
}

// touches finds what a declaration at the top of a file can change.
func (sc *scanner) touches(f *source, d ast.Decl, depth int) []touch {
	if depth > 8 {
		return []touch{{pos: d.Pos(), what: "an embedding"}}
	}
	switch x := d.(type) {
	case *ast.Field:
		return sc.fieldTouches(f, x, depth)
	case *ast.EmbedDecl:
		if isBinding(x) {
			return nil
		}
		return sc.embedTouches(f, x.Expr, depth)
	case *ast.Comprehension:
		return sc.embedTouches(f, x.Value, depth)
	}
	return nil
}

func (sc *scanner) fieldTouches(f *source, x *ast.Field, depth int) []touch {
	kind, ok := labelName(x.Label)
	if !ok {
		if _, hidden := x.Label.(*ast.Ident); hidden {
			return nil // a hidden field or a definition
		}
		return []touch{{pos: x.Label.Pos(), what: labelWord(x.Label), over: x.Label}}
	}
	if kind == "fleet" {
		return []touch{{kind: kind, pos: x.Label.Pos()}}
	}
	st, ok := x.Value.(*ast.StructLit)
	if !ok || x.Alias != nil {
		out := []touch{{kind: kind, pos: x.Value.Pos(), what: "an embedding"}}
		if !ok {
			return out
		}
	}
	var out []touch
	for _, e := range st.Elts {
		switch g := e.(type) {
		case *ast.Field:
			if name, ok := labelName(g.Label); ok {
				out = append(out, touch{kind: kind, name: name, pos: g.Label.Pos()})
			} else if _, hidden := g.Label.(*ast.Ident); !hidden {
				out = append(out, touch{kind: kind, pos: g.Label.Pos(), what: labelWord(g.Label)})
			}
		case *ast.EmbedDecl:
			out = append(out, touch{kind: kind, pos: g.Pos(), what: "an embedding"})
		case *ast.Comprehension:
			out = append(out, touch{kind: kind, pos: g.Pos(), what: "a comprehension"})
		}
	}
	return out
}

// embedTouches looks into what is embedded at the top of a file as far as it is in the same file.
func (sc *scanner) embedTouches(f *source, e ast.Expr, depth int) []touch {
	switch x := e.(type) {
	case *ast.StructLit:
		var out []touch
		for _, d := range x.Elts {
			out = append(out, sc.touches(f, d, depth+1)...)
		}
		return out
	case *ast.ParenExpr:
		return sc.embedTouches(f, x.X, depth+1)
	case *ast.BinaryExpr:
		if x.Op == token.AND {
			return append(sc.embedTouches(f, x.X, depth+1), sc.embedTouches(f, x.Y, depth+1)...)
		}
	case *ast.Ident:
		if g, ok := x.Node.(*ast.Field); ok && depth < 8 {
			return sc.embedTouches(f, g.Value, depth+1)
		}
	}
	return []touch{{pos: e.Pos(), what: "an embedding"}}
}

func labelWord(l ast.Label) string {
	if _, ok := l.(*ast.ListLit); ok {
		return "a pattern"
	}
	return "a computed label"
}

// isBinding recognizes close({schema.#Repo}), which the loader adds itself.
func isBinding(d ast.Decl) bool {
	em, ok := d.(*ast.EmbedDecl)
	if !ok {
		return false
	}
	c, ok := em.Expr.(*ast.CallExpr)
	if !ok || len(c.Args) != 1 || callName(c) != "close" {
		return false
	}
	st, ok := c.Args[0].(*ast.StructLit)
	if !ok || len(st.Elts) != 1 {
		return false
	}
	inner, ok := st.Elts[0].(*ast.EmbedDecl)
	if !ok {
		return false
	}
	s, ok := inner.Expr.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok1 := s.X.(*ast.Ident)
	sel, ok2 := s.Sel.(*ast.Ident)
	if !ok1 || !ok2 || sel.Name != "#Repo" || c.Fun.(*ast.Ident).Node != nil {
		return false
	}
	from, ok := pkg.Node.(*ast.ImportSpec) // by whatever name the file knows it
	return ok && importPath(from) == schemaPath
}

// outside adds every name that an expression may take from outside, and some more.
func outside(n ast.Node, out map[string]bool) {
	ast.Walk(n, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.Field:
			if _, ok := x.Label.(*ast.Ident); !ok {
				outside(x.Label, out)
			}
			outside(x.Value, out)
			return false
		case *ast.SelectorExpr:
			outside(x.X, out)
			return false
		case *ast.Ident:
			out[x.Name] = true
		}
		return true
	}, nil)
}
