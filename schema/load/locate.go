package load

import (
	"cmp"
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema"
)

// spot is a place where the text says something about a path.
type spot struct {
	label ast.Label // nil for an item of a list
	expr  ast.Expr
	file  *source
	far   int // how indirect it is: 0 in the object's own text, more through templates, patterns and computed labels
}

// locate follows a path of an object through the author's text: structs, both
// sides of & and |, names of the same package, comprehensions. It returns the
// spots of the longest prefix that the text has, nearest first, and its length.
func (l *loading) locate(o *object, p path) ([]spot, int) {
	start := 2
	if o.key.kind == "fleet" {
		start = 1
	}
	s := &locator{l: l, folder: o.folder, chain: o.folder.chain}
	var spots []spot
	for _, fr := range o.frags {
		spots = append(spots, spot{label: labelAt(fr), expr: l.expr(fr), file: fr.file})
	}
	if len(spots) == 0 {
		// Made by a comprehension, an embedding or a pattern: search what is not a plain object.
		var top []spot
		for _, f := range slices.Backward(o.folder.chain) {
			if f.rest {
				top = append(top, spot{expr: &ast.StructLit{Elts: f.tree.Decls}, file: f})
			}
		}
		for i := range start {
			top = s.step(top, seg{name: o.key.path()[i].name, item: -1})
		}
		spots = top
	}
	for i := start; i < len(p); i++ {
		next := s.step(spots, p[i])
		if len(next) == 0 {
			return spots, i
		}
		spots = next
	}
	return spots, len(p)
}

// labelAt is the label of a fragment.
func labelAt(fr *fragment) ast.Label { return &ast.Ident{NamePos: fr.label, Name: fr.key.name} }

type locator struct {
	l      *loading
	folder *folder
	chain  []*source
	steps  int
}

// step takes one step of a path from each spot.
func (s *locator) step(from []spot, to seg) []spot {
	var out []spot
	for _, sp := range from {
		s.into(sp, to, 0, &out)
	}
	slices.SortStableFunc(out, func(a, b spot) int { return cmp.Compare(a.far, b.far) })
	return out
}

// maxSteps bounds the search in text that refers to itself.
const maxSteps = 20_000

func (s *locator) into(sp spot, to seg, depth int, out *[]spot) {
	if s.steps++; s.steps > maxSteps || depth > 20 || sp.expr == nil {
		return
	}
	again := func(e ast.Expr, far int) {
		s.into(spot{expr: e, file: sp.file, far: sp.far + far}, to, depth+1, out)
	}
	switch x := sp.expr.(type) {
	case *ast.ParenExpr:
		again(x.X, 0)
	case *ast.UnaryExpr:
		again(x.X, 0)
	case *ast.BinaryExpr:
		if x.Op == token.AND || x.Op == token.OR {
			again(x.X, 0)
			again(x.Y, 0)
		}
	case *ast.StructLit:
		for _, d := range x.Elts {
			switch d := d.(type) {
			case *ast.Field:
				if far, ok := s.labelled(d.Label, to, sp.file); ok {
					*out = append(*out, spot{d.Label, d.Value, sp.file, sp.far + far})
				}
			case *ast.EmbedDecl:
				again(d.Expr, 1)
			case *ast.Comprehension:
				again(d.Value, 1)
			}
		}
	case *ast.CallExpr:
		if len(x.Args) == 1 && callName(x) == "close" {
			again(x.Args[0], 1)
		}
	case *ast.ListLit:
		if to.item >= 0 && to.item < len(x.Elts) {
			e := x.Elts[to.item]
			if _, ok := e.(*ast.Ellipsis); !ok && !slices.ContainsFunc(x.Elts[:to.item+1], isComprehension) {
				*out = append(*out, spot{nil, e, sp.file, sp.far})
			}
		}
	default:
		for _, t := range s.target(sp.expr, sp.file, depth) {
			t.far += sp.far + 2
			s.into(t, to, depth+1, out)
		}
	}
}

func isComprehension(e ast.Expr) bool {
	_, ok := e.(*ast.Comprehension)
	return ok
}

// labelled reports whether a label can be a step's, and how sure that is.
func (s *locator) labelled(l ast.Label, to seg, f *source) (far int, ok bool) {
	if to.item >= 0 {
		return 0, false
	}
	if name, ok := labelName(l); ok {
		return 0, name == to.name
	}
	switch x := l.(type) {
	case *ast.Interpolation:
		if text, ok := s.text(x, f, 0); ok {
			return 1, text == to.name
		}
		return 10, interpolates(x, to.name)
	case *ast.ParenExpr:
		if text, ok := s.text(x, f, 0); ok {
			return 1, text == to.name
		}
		return 11, true
	case *ast.ListLit:
		return 12, true
	}
	return 0, false
}

// text is the text that an expression stands for, where that is the same always.
func (s *locator) text(e ast.Expr, f *source, depth int) (string, bool) {
	if s.steps++; s.steps > maxSteps || depth > 20 {
		return "", false
	}
	switch x := e.(type) {
	case *ast.BasicLit:
		v, ok := literalValue(x)
		if !ok || v.k != kString {
			return "", false
		}
		return v.s, true
	case *ast.ParenExpr:
		return s.text(x.X, f, depth+1)
	case *ast.BinaryExpr:
		a, okA := s.text(x.X, f, depth+1)
		b, okB := s.text(x.Y, f, depth+1)
		return a + b, x.Op == token.ADD && okA && okB
	case *ast.Interpolation:
		var b strings.Builder
		for i, e := range x.Elts {
			if lit, ok := e.(*ast.BasicLit); ok && i%2 == 0 {
				part := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(lit.Value, ")"), `"`), `\(`)
				if i == len(x.Elts)-1 {
					part = strings.TrimSuffix(part, `"`)
				}
				if strings.ContainsAny(part, `\"#`) {
					return "", false // written in a way that is not worth reading
				}
				b.WriteString(part)
				continue
			}
			part, ok := s.text(e, f, depth+1)
			if !ok {
				return "", false
			}
			b.WriteString(part)
		}
		return b.String(), true
	case *ast.Ident, *ast.SelectorExpr:
		t := s.target(e, f, depth+1)
		if len(t) != 1 {
			return "", false
		}
		return s.text(t[0].expr, t[0].file, depth+1)
	}
	return "", false
}

// interpolates reports whether the fixed ends of "a\(x)b" fit a name.
func interpolates(x *ast.Interpolation, name string) bool {
	for i, e := range x.Elts {
		lit, ok := e.(*ast.BasicLit)
		if !ok {
			continue
		}
		switch i {
		case 0:
			if !strings.HasPrefix(name, strings.TrimSuffix(strings.TrimPrefix(lit.Value, `"`), `\(`)) {
				return false
			}
		case len(x.Elts) - 1:
			if !strings.HasSuffix(name, strings.TrimSuffix(strings.TrimPrefix(lit.Value, `)`), `"`)) {
				return false
			}
		}
	}
	return true
}

// target is what a reference stands for, as far as the text shows it.
func (s *locator) target(e ast.Expr, f *source, depth int) []spot {
	if depth > 20 {
		return nil
	}
	switch x := e.(type) {
	case *ast.Ident:
		switch n := x.Node.(type) {
		case *ast.Field:
			return []spot{{n.Label, n.Value, f, 0}}
		case *ast.LetClause:
			return []spot{{nil, n.Expr, f, 0}}
		}
		if f.pkg != "fleet" {
			return topsOf(s.l.libFiles(f.dir, f.pkg), x.Name)
		}
		var out []spot
		for _, g := range s.chain {
			for x := range g.fields(x.Name) {
				out = append(out, spot{x.Label, x.Value, g, 0})
			}
		}
		return out
	case *ast.SelectorExpr:
		name, ok := fieldName(x.Sel)
		if !ok {
			return nil
		}
		if id, ok := x.X.(*ast.Ident); ok {
			if imp, ok := id.Node.(*ast.ImportSpec); ok {
				dir, pkg, ok := s.l.libDir(importPath(imp))
				if !ok {
					return nil
				}
				return topsOf(s.l.libFiles(dir, pkg), name)
			}
		}
		var out []spot
		if id, ok := x.X.(*ast.Ident); ok && s.l.kinds[id.Name] {
			if o := s.folder.sees(objKey{id.Name, name}); o != nil {
				for _, fr := range o.frags {
					out = append(out, spot{labelAt(fr), s.l.expr(fr), fr.file, 0})
				}
				return out
			}
		}
		for _, t := range s.target(x.X, f, depth+1) {
			if st, ok := t.expr.(*ast.StructLit); ok {
				for _, d := range st.Elts {
					if g, ok := d.(*ast.Field); ok {
						if n, ok := fieldName(g.Label); ok && n == name {
							out = append(out, spot{g.Label, g.Value, t.file, 0})
						}
					}
				}
			}
		}
		return out
	}
	return nil
}

// topsOf are the fields of a name at the top of the files of a package under lib/.
func topsOf(files []*source, name string) []spot {
	var out []spot
	for _, f := range files {
		if f.tree == nil {
			continue
		}
		for _, d := range f.tree.Decls {
			if x, ok := d.(*ast.Field); ok {
				if n, ok := fieldName(x.Label); ok && n == name {
					out = append(out, spot{x.Label, x.Value, f, 0})
				}
			}
		}
	}
	return out
}

// valuePos is where the author wrote the value at a path, else the nearest thing around it.
func (l *loading) valuePos(o *object, p path) schema.Position {
	if o.text != nil {
		return o.text.valuePos(p[len(o.key.path()):])
	}
	if o.settled {
		_, val := o.writtenAt(p)
		return val
	}
	spots, n := l.locate(o, p)
	if n == len(p) {
		for _, sp := range spots { // the value itself before a template's type or default
			if _, ok := sp.expr.(*ast.BasicLit); ok {
				return position(sp.expr.Pos())
			}
		}
	}
	if len(spots) > 0 {
		return position(spots[0].expr.Pos())
	}
	return l.fallback(o)
}

// partsOf is where the text of an object has its fields and, below them, theirs: what locate finds first, since nothing
// is nearer. All else, and what the text takes from elsewhere, is left out. It is nil where there is nothing.
func partsOf(e ast.Expr, depth int) *value {
	switch x := e.(type) {
	case *ast.ParenExpr:
		return partsOf(x.X, depth)
	case *ast.BinaryExpr: // _template & {...}
		switch {
		case x.Op == token.AND && isName(x.X):
			return partsOf(x.Y, depth)
		case x.Op == token.AND && isName(x.Y):
			return partsOf(x.X, depth)
		}
	case *ast.StructLit:
		n := &value{k: kStruct}
		for _, d := range x.Elts {
			f, ok := d.(*ast.Field)
			if !ok {
				continue
			}
			name, ok := labelName(f.Label)
			if !ok || n.get(name) != nil {
				continue
			}
			kid := &value{k: kNull}
			if depth == 0 {
				kid = cmp.Or(partsOf(f.Value, 1), kid)
			}
			kid.off = int32(f.Label.Pos().Offset())
			n.set(name, kid)
		}
		return n
	case *ast.ListLit:
		n := &value{k: kList}
		for _, el := range x.Elts {
			if _, ok := el.(*ast.Ellipsis); ok || isComprehension(el) {
				break
			}
			n.kids = append(n.kids, &value{k: kNull, off: int32(el.Pos().Offset())})
		}
		return n
	}
	return nil
}

func isName(e ast.Expr) bool {
	switch e.(type) {
	case *ast.Ident, *ast.SelectorExpr:
		return true
	}
	return false
}

// parts is what an object itself knows of where its fields and their parts are written; nil for nothing.
func (o *object) parts() *value {
	switch {
	case o.text != nil || len(o.frags) != 1:
		return nil
	case o.settled:
		return o.whole()
	}
	return o.frags[0].parts.value()
}

// at is a place in the file of a fragment.
func (fr *fragment) at(offset int32) schema.Position {
	return position(fr.label.File().Pos(int(offset), 0))
}

// writtenAt is labelPos and valuePos of plain data, which says so itself.
func (o *object) writtenAt(p path) (label, val schema.Position) {
	n := o.whole()
	off, vo := int32(o.frags[0].label.Offset()), n.val
	for _, s := range p[len(o.key.path()):] {
		if n = n.step(s); n == nil || n.off == 0 { // or filled in
			break
		}
		off, vo = n.off, n.val
	}
	return o.frags[0].at(off), o.frags[0].at(vo)
}

// labelPos is where the label of a path stands; of an item of a list, its value.
func (l *loading) labelPos(o *object, p path) schema.Position {
	if o.text != nil {
		return o.text.labelPos(p[len(o.key.path()):])
	}
	if o.settled {
		label, _ := o.writtenAt(p)
		return label
	}
	spots, _ := l.locate(o, p)
	if len(spots) == 0 {
		return l.fallback(o)
	}
	if spots[0].label != nil {
		return position(spots[0].label.Pos())
	}
	return position(spots[0].expr.Pos())
}

func (l *loading) fallback(o *object) schema.Position {
	if o.text != nil {
		return o.pos()
	}
	file, pos := l.objectPos(o)
	if pos.IsValid() {
		return position(pos)
	}
	return schema.Position{File: file}
}

// objectPos is the place of an object's label, in the file that makes it.
func (l *loading) objectPos(o *object) (string, token.Pos) {
	if o.text != nil {
		return o.text.name, token.NoPos // a file of plain data: see fallback
	}
	if len(o.frags) > 0 {
		return o.frags[0].file.name, o.frags[0].label
	}
	// A package under lib/ may have the label; the object is made by who takes it from there.
	if spots, _ := l.locate(o, o.key.path()); len(spots) > 0 && spots[0].label != nil && spots[0].file.pkg == "fleet" {
		return spots[0].file.name, spots[0].label.Pos()
	}
	for _, f := range slices.Backward(o.folder.chain) {
		for _, t := range f.touches {
			if t.kind == "" || t.kind == o.key.kind && (t.name == "" || t.name == o.key.name) {
				return f.name, t.pos
			}
		}
	}
	if n := len(o.folder.own); n > 0 {
		return o.folder.own[n-1].name, token.NoPos
	}
	return "", token.NoPos
}

// placed reports a mistake of an object where its author can mend it.
func (l *loading) placed(o *object, m mistake) {
	var p schema.Position
	switch {
	case m.at != nil:
		p = *m.at
	case m.label:
		p = l.labelPos(o, m.where)
	default:
		p = l.valuePos(o, m.where)
	}
	l.faultAt(p.File, p.Line, p.Column, m.path.String(), m.message)
}

// wrong reports that the value at a path of an object is not acceptable.
func (l *loading) wrong(o *object, p path, message string) {
	l.say(o, mistake{path: p, where: p, message: message})
}

// wrongLabel is wrong at the label.
func (l *loading) wrongLabel(o *object, p path, message string) {
	l.say(o, mistake{path: p, where: p, label: true, message: message})
}

// lacks reports a field that an object should have, at the label of the struct that lacks it.
func (l *loading) lacks(o *object, in path, field, message string) {
	l.say(o, mistake{path: in.field(field), where: in, label: true, message: message})
}

// say reports a mistake of an object, unless its place has one already: the one may be why the other seems to be.
func (l *loading) say(o *object, m mistake) {
	o.wrong = true
	if !o.heard(m.path) {
		l.placed(o, m)
	}
}

// doubt warns of what stands at a path of an object.
func (l *loading) doubt(o *object, p path, message string) {
	if !o.heard(p) {
		l.doubtAt(l.valuePos(o, p), p, message)
	}
}

func (l *loading) doubtAt(at schema.Position, p path, message string) {
	l.add(schema.Fault{File: at.File, Line: at.Line, Column: at.Column, Path: p.String(), Message: message, Severity: schema.SeverityWarning})
}
