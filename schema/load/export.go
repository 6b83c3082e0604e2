package load

import (
	"maps"
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema"
)

// CUESchema gives the definitions of a kind, of a file with a fixed form, or with
// "" of everything, as one file of package schema with all that they need.
func CUESchema(word string) ([]byte, error) {
	d, err := described()
	if err != nil {
		return nil, err
	}
	_, name, err := d.exported(word)
	if err != nil {
		return nil, err
	}
	names, err := schema.Definitions.ReadDir(".")
	if err != nil {
		return nil, err
	}
	decls := map[string]*ast.Field{}
	var order []string
	for _, n := range names {
		text, err := schema.Definitions.ReadFile(n.Name())
		if err != nil {
			return nil, err
		}
		f, err := parser.ParseFile(n.Name(), text, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, decl := range f.Decls {
			if x, ok := decl.(*ast.Field); ok {
				if id, ok := x.Label.(*ast.Ident); ok {
					decls[id.Name] = x
					order = append(order, id.Name)
				}
			}
		}
	}
	needed, imports := map[string]bool{}, map[string]bool{}
	var need func(name string)
	need = func(name string) {
		if needed[name] || decls[name] == nil {
			return
		}
		needed[name] = true
		ast.Walk(decls[name].Value, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.Ident:
				need(x.Name)
			case *ast.SelectorExpr:
				if pkg, ok := x.X.(*ast.Ident); ok {
					imports[pkg.Name] = true
				}
			}
			return true
		}, nil)
	}
	if word == "" {
		for _, n := range order {
			need(n)
		}
	} else {
		need("#" + name)
	}
	out := &ast.File{Decls: []ast.Decl{&ast.Package{Name: ast.NewIdent("schema")}}}
	if len(imports) > 0 {
		group := &ast.ImportDecl{Lparen: token.Blank.Pos()}
		for _, path := range slices.Sorted(maps.Keys(imports)) {
			group.Specs = append(group.Specs, ast.NewImport(nil, path))
		}
		out.Decls = append(out.Decls, group)
	}
	first := slices.Index(order, "#"+name) // what was asked for comes first
	order = slices.Concat([]string{order[first]}, order[:first], order[first+1:])
	for _, n := range order {
		if needed[n] {
			ast.SetRelPos(decls[n], token.NewSection)
			out.Decls = append(out.Decls, decls[n])
		}
	}
	text, err := format.Node(out)
	if err != nil {
		return nil, err
	}
	return []byte(strings.TrimRight(string(text), "\n") + "\n"), nil
}
