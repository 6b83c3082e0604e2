package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What has a key, a code or a value in memory keeps it out of dumps: a function that reads or makes one calls secret.Guard
// itself, whoever calls it. It is seen in the source, since a command that forgot it works as well.
func TestWhatHoldsSecretsIsGuarded(t *testing.T) {
	holds := []string{"identity.Open", "identity.AgeKey", "secret.New", "secret.ParseKeys", "rand.Read", "ed25519.GenerateKey", "term.ReadPassword"}
	// These open secrets with what they are given, or start what does.
	must := map[string]bool{"runAgent": false, "reconcileCommand": false, "local": false, "paramGet": false, "paramPut": false, "paramRotate": false, "readCode": false, "open": false}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Name.Name == "newWord" { // which makes names
				continue
			}
			uses := map[string]bool{}
			ast.Inspect(fn, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
						if x, ok := sel.X.(*ast.Ident); ok {
							uses[x.Name+"."+sel.Sel.Name] = true
						}
					}
				}
				return true
			})
			i := slices.IndexFunc(holds, func(h string) bool { return uses[h] })
			if i >= 0 {
				if found++; !uses["secret.Guard"] {
					t.Errorf("%s: %s calls %s and not secret.Guard", file, fn.Name.Name, holds[i])
				}
			}
			if _, ok := must[fn.Name.Name]; ok && uses["secret.Guard"] {
				must[fn.Name.Name] = true
			}
		}
	}
	if found < 8 {
		t.Errorf("%d functions hold secrets: the test looks for the wrong names", found)
	}
	for name, guarded := range must {
		if !guarded {
			t.Errorf("%s does not call secret.Guard", name)
		}
	}
}
