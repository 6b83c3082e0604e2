package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema"
)

// ErrNotLiteral says that a parameter is not written where and how a program can change it: as a struct of literal
// fields, in one place.
var ErrNotLiteral = errors.New("it is not written as a literal of its own")

// NewParameter is the text of a file with one parameter.
func NewParameter(name string, p schema.Parameter) ([]byte, error) {
	text := "package fleet\n\n" + "parameter: " + literal.String.Quote(name) + ": {\n}\n"
	return EditParameter(name+".cue", []byte(text), name, schema.Parameter{}, p)
}

// EditParameter changes the text of a file that declares a parameter from what it means, old, to what it should mean. What
// is the same in both stays as it is written, comments included. Whether the file then means it is for the caller to
// see: other files and expressions may have a part in it. The error wraps ErrNotLiteral where it cannot be done.
func EditParameter(file string, text []byte, name string, old, p schema.Parameter) ([]byte, error) {
	f, err := parser.ParseFile(file, text, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", file, err)
	}
	_, body, err := findParameter(f, name)
	if err != nil {
		return nil, fmt.Errorf("change parameter %q in %q: %w", name, file, err)
	}
	for _, field := range []struct {
		name     string
		old, new any
	}{
		{"type", old.Type, p.Type}, {"description", old.Description, p.Description}, {"allowedPattern", old.AllowedPattern, p.AllowedPattern},
		{"readers", old.Readers, p.Readers}, {"policies", old.Policies, p.Policies},
	} {
		if reflect.DeepEqual(field.old, field.new) {
			continue
		}
		var expr ast.Expr
		if v := reflect.ValueOf(field.new); !v.IsZero() {
			if expr, err = cueOf(field.new); err != nil {
				return nil, err
			}
		}
		setField(body, field.name, expr)
	}
	if !reflect.DeepEqual(old.Versions, p.Versions) {
		if err := editVersions(body, old.Versions, p.Versions); err != nil {
			return nil, fmt.Errorf("change parameter %q in %q: %w", name, file, err)
		}
	}
	out, err := format.Node(f)
	if err != nil {
		return nil, fmt.Errorf("write %q: %w", file, err)
	}
	laid, faults := Format(file, out)
	if len(faults) > 0 {
		return nil, fmt.Errorf("write %q: %s", file, faults[0])
	}
	return laid, nil
}

// RemoveParameter takes a parameter out of the text of a file. empty is that nothing else is declared there.
func RemoveParameter(file string, text []byte, name string) (out []byte, empty bool, err error) {
	f, err := parser.ParseFile(file, text, parser.ParseComments)
	if err != nil {
		return nil, false, fmt.Errorf("read %q: %w", file, err)
	}
	remove, _, err := findParameter(f, name)
	if err != nil {
		return nil, false, fmt.Errorf("remove parameter %q from %q: %w", name, file, err)
	}
	remove()
	empty = !slices.ContainsFunc(f.Decls, func(d ast.Decl) bool {
		switch d.(type) {
		case *ast.Package, *ast.ImportDecl, *ast.CommentGroup:
			return false
		}
		return true
	})
	b, err := format.Node(f)
	if err != nil {
		return nil, false, fmt.Errorf("write %q: %w", file, err)
	}
	laid, faults := Format(file, b)
	if len(faults) > 0 {
		return nil, false, fmt.Errorf("write %q: %s", file, faults[0])
	}
	return laid, empty, nil
}

// findParameter finds the one struct that declares a parameter, and how to take it out of its file.
func findParameter(f *ast.File, name string) (remove func(), body *ast.StructLit, err error) {
	found := 0
	for i, d := range f.Decls {
		kind, ok := d.(*ast.Field)
		if !ok || labelOf(kind) != "parameter" {
			continue
		}
		outer, ok := kind.Value.(*ast.StructLit)
		if !ok {
			continue
		}
		for j, e := range outer.Elts {
			field, ok := e.(*ast.Field)
			if !ok || labelOf(field) != name {
				continue
			}
			found++
			if body, ok = field.Value.(*ast.StructLit); !ok {
				return nil, nil, ErrNotLiteral
			}
			remove = func() {
				if len(outer.Elts) > 1 {
					outer.Elts = slices.Delete(outer.Elts, j, j+1)
				} else {
					f.Decls = slices.Delete(f.Decls, i, i+1)
				}
			}
		}
	}
	if found != 1 {
		return nil, nil, ErrNotLiteral
	}
	return remove, body, nil
}

// labelOf is the name of a field that is a plain word or text, else empty.
func labelOf(f *ast.Field) string {
	if f.Constraint != 0 {
		return ""
	}
	name, isIdent, err := ast.LabelName(f.Label)
	if err != nil || isIdent && strings.HasPrefix(name, "_") || strings.HasPrefix(name, "#") && isIdent {
		return ""
	}
	return name
}

// setField gives a struct a field once, in the place that it had, or takes it away where expr is nil.
func setField(s *ast.StructLit, name string, expr ast.Expr) {
	done := expr == nil
	var out []ast.Decl
	for _, e := range s.Elts {
		if f, ok := e.(*ast.Field); ok && labelOf(f) == name {
			if done {
				continue
			}
			f.Value, done = expr, true
		}
		out = append(out, e)
	}
	if !done {
		out = append(out, &ast.Field{Label: ast.NewIdent(name), Value: expr})
	}
	s.Elts = out
}

// editVersions rewrites the versions that changed, and keeps the text of the others.
func editVersions(body *ast.StructLit, old, versions map[string]schema.ParameterVersion) error {
	have := map[string][]*ast.Field{}
	for _, e := range body.Elts {
		f, ok := e.(*ast.Field)
		if !ok || labelOf(f) != "versions" {
			continue
		}
		s, ok := f.Value.(*ast.StructLit)
		if !ok {
			return ErrNotLiteral
		}
		for _, e := range s.Elts {
			v, ok := e.(*ast.Field)
			if !ok || labelOf(v) == "" {
				return ErrNotLiteral
			}
			have[labelOf(v)] = append(have[labelOf(v)], v)
		}
	}
	all := &ast.StructLit{}
	for _, name := range slices.SortedFunc(maps.Keys(versions), func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return x - y
	}) {
		v := versions[name]
		if was, ok := old[name]; ok && reflect.DeepEqual(was, v) && len(have[name]) == 1 {
			all.Elts = append(all.Elts, have[name][0])
			continue
		}
		expr, err := cueOf(v)
		if err != nil {
			return err
		}
		// What people look for first; a sealed value is long.
		if s, ok := expr.(*ast.StructLit); ok {
			order := []string{"created", "labels", "recipients", "value"}
			slices.SortStableFunc(s.Elts, func(a, b ast.Decl) int {
				return slices.Index(order, labelOf(a.(*ast.Field))) - slices.Index(order, labelOf(b.(*ast.Field)))
			})
		}
		all.Elts = append(all.Elts, &ast.Field{Label: ast.NewString(name), Value: expr})
	}
	setField(body, "versions", all)
	return nil
}

// cueOf writes a value as CUE. Texts of several lines stay so.
func cueOf(v any) (ast.Expr, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write CUE: %w", err)
	}
	n, err := parseJSON(b)
	if err != nil {
		return nil, fmt.Errorf("write CUE: %w", err)
	}
	return n.cue(2), nil
}

// cue writes a value that JSON can hold; depth is how far texts of several lines are indented.
func (n *value) cue(depth int) ast.Expr {
	switch n.k {
	case kStruct:
		s := &ast.StructLit{}
		for name, v := range n.fields() {
			label := ast.Label(ast.NewIdent(name))
			if !ast.IsValidIdent(name) {
				label = ast.NewString(name)
			}
			s.Elts = append(s.Elts, &ast.Field{Label: label, Value: v.cue(depth + 1)})
		}
		return s
	case kList:
		l := &ast.ListLit{}
		for i, v := range n.items() {
			e := v.cue(depth + 1)
			if v.k == kString && len(v.s) > 40 { // keys: one a line, so that a diff shows which came and went
				if ast.SetRelPos(e, token.Newline); i == len(n.kids)-1 {
					l.Rbrack = token.Newline.Pos()
				}
			}
			l.Elts = append(l.Elts, e)
		}
		return l
	case kString:
		form := literal.String
		if strings.Contains(n.s, "\n") {
			form = form.WithTabIndent(depth)
		}
		return &ast.BasicLit{Kind: token.STRING, Value: form.Quote(n.s)}
	}
	return ast.NewIdent(string(n.json(nil)))
}
