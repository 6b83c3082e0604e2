package load

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// A rule that reads another object must be noted to: a change of that object is judged without the rule's object else.
// Whoever needs an object gets it from loading.object; these look at all of them, or at none that another says something of.
func TestObjectsAreLookedAtWhereThatIsNoted(t *testing.T) {
	allowed := []string{
		"object", "has", // they note it
		"collect", "documentFiles", "decode", "known", // they make the list, or go over it
		"cutToPart", "judgePart", // of a part
		"tell", "depths", // to say of an object that was noted that it is wrong
		"named",                                     // to say what there is, in a fault
		"rules", "recovery", "forFleet", "ownPorts", // fleet, which no part of a repository is without
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				var of ast.Expr
				switch x := n.(type) {
				case *ast.IndexExpr:
					of = x.X
				case *ast.RangeStmt:
					of = x.X
				}
				if s, ok := of.(*ast.SelectorExpr); ok && s.Sel.Name == "objects" {
					if found++; !slices.Contains(allowed, fn.Name.Name) {
						t.Errorf("%s: %s looks at an object in a way that is not noted: get it from loading.object", set.Position(n.Pos()), fn.Name.Name)
					}
				}
				return true
			})
		}
	}
	if found < 10 {
		t.Errorf("only %d places look at objects: the test sees nothing", found)
	}
}
