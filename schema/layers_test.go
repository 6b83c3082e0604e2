package schema_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/dunlin-dev/dunlin/"

// A source is one Go file of the module, whatever system it is for.
type source struct {
	file string // "reconciler/plan.go"
	pkg  string // "reconciler"
	test bool
	ast  *ast.File
	fset *token.FileSet
	text []byte
}

func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.file, s.fset.Position(n.Pos()).Line)
}

// imports maps each imported path to the place of its import.
func (s source) imports() map[string]string {
	m := map[string]string{}
	for _, i := range s.ast.Imports {
		if p, err := strconv.Unquote(i.Path.Value); err == nil {
			m[p] = s.at(i)
		}
	}
	return m
}

// sources parses every Go file of the module, those for other systems included.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") || p == "bin" {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(p) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, p)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		tree, err := parser.ParseFile(fset, p, text, parser.ParseComments)
		if err != nil {
			return err
		}
		all = append(all, source{p, path.Dir(p), strings.HasSuffix(p, "_test.go"), tree, fset, text})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// within tells whether pkg is one of roots or lies below one.
func within(pkg string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return pkg == r || strings.HasPrefix(pkg, r+"/") })
}

// layer is a package's height; what is lower knows nothing of what is higher.
func layer(pkg string) int {
	switch {
	case within(pkg, "agent/agenttest", "agent/demo", "agent/simulated"):
		return 3
	case within(pkg, "cmd"):
		return 4
	case within(pkg, "agent"):
		return 2
	case within(pkg, "reconciler"):
		return 1
	}
	if pkg == "schema/safe" {
		return -1 // how text is shown is no business of any one package
	}
	return 0 // schema, policies, examples
}

// arrow says why package from must not import to, or "" where it may.
func arrow(from, to string) string {
	switch {
	case within(to, "cmd"):
		return "a command is not a library"
	case within(to, "policies"):
		if from == "schema/load" {
			return ""
		}
		return "the shipped library reaches the program through schema/load, as any policy does"
	case within(to, "examples"):
		return "examples are for people and tests; the program does not depend on them"
	case within(to, "reconciler/kind/kindtest"), within(to, "agent/agenttest"):
		return "it is help for tests"
	case within(from, "policies", "examples"):
		return "it embeds CUE and has no logic"
	case layer(to) > layer(from):
		return "arrows go cmd, agent, reconciler, schema: a decision must not depend on what carries it out"
	case layer(to) < layer(from), within(from, "cmd"), within(from, "agent/agenttest"):
		return ""
	case from == "agent/demo" && to == "agent/simulated":
		return "" // a fleet that demo and agenttest share
	case from == "schema":
		return "schema is vocabulary: it imports the standard library only"
	case from == "schema/load" && loaderParts[to] != "":
		return "" // which composes what is below it, as the root of a layer does
	case to == "agent/durable" && layer(from) == layer(to):
		return "" // that a file outlives a power cut is no business of any one leaf
	case from == "agent", from == "reconciler", to == "schema":
		return ""
	}
	return "a leaf never imports a leaf of its layer: it takes a value, or an interface that it declares, and the layer's root composes them"
}

// loaderParts are the packages that schema/load composes, each with what it is for. None imports another.
var loaderParts = map[string]string{
	"schema/load/child":   "this program started again, within limits",
	"schema/load/codec":   "values as bytes, for what is kept and for the child",
	"schema/load/shipped": "the objects that come with the program",
	"schema/load/signs":   "texts held against a pattern sign by sign",
	"schema/load/ssm":     "policy of what the command line of AWS prints",
	"schema/load/tree":    "the files of a repository, read within bounds",
	"schema/load/writing": "whether a file as it is written can be read",
}

// A part of the loader is one of the table's, evaluates nothing, and is the loader's own unless others need what it gives.
func TestPartsOfTheLoader(t *testing.T) {
	everybodys := []string{"schema/load/shipped", "schema/load/ssm"}
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if s.pkg != "schema/load" && within(s.pkg, "schema/load") {
			seen[s.pkg] = true
		}
		if s.test {
			continue
		}
		for imp, at := range s.imports() {
			if to, ours := strings.CutPrefix(imp, module); ours && loaderParts[to] != "" && s.pkg != "schema/load" && !slices.Contains(everybodys, to) {
				t.Errorf("%s: %s imports %s: it is a part of the loader, which others know by schema/load alone", at, s.pkg, to)
			}
			if seen[s.pkg] && imp == "cuelang.org/go/cue" {
				t.Errorf("%s: %s imports %q: what evaluates CUE is schema/load itself, in the child; a part may read its syntax", at, s.pkg, imp)
			}
		}
	}
	if want, got := slices.Sorted(maps.Keys(loaderParts)), slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
		t.Errorf("below schema/load are the packages %q; the table has %q", got, want)
	}
}

func TestLayers(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for imp, at := range s.imports() {
			if to, ours := strings.CutPrefix(imp, module); ours {
				if why := arrow(s.pkg, to); why != "" {
					t.Errorf("%s: %s imports %s: %s", at, s.pkg, to, why)
				}
			}
		}
	}
}

// Tests may look further, but none of a decision may need what carries it out.
func TestLayersOfTests(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test {
			continue
		}
		for imp, at := range s.imports() {
			to, ours := strings.CutPrefix(imp, module)
			switch {
			case !ours, to == s.pkg, within(to, "policies", "examples"):
			case within(to, "agent/agenttest") && !within(s.pkg, "agent", "cmd"):
				t.Errorf("%s: tests of %s use real hosts: decisions are tested without any", at, s.pkg)
			case within(to, "agent/agenttest"):
			case layer(to) >= layer("agent") && layer(to) > layer(s.pkg):
				t.Errorf("%s: tests of %s import %s: what decides must be testable without what carries it out", at, s.pkg, to)
			}
		}
	}
}

func TestBannedImports(t *testing.T) {
	pure := []string{"schema", "reconciler"}
	for _, ban := range []struct {
		imp    string   // a path, or with /... it and all below
		in     []string // where it is banned; empty: everywhere
		except []string
		why    string
	}{
		{"os/exec", nil, []string{"agent/host", "schema/load/child", "cmd", "agent/agenttest"},
			"programs are started in agent/host alone (schema/load/child starts this one again), where deadlines, groups and output limits are kept"},
		{"net", pure, nil, "decisions reach no network; net/netip has the addresses"},
		{"net/http/...", pure, nil, "decisions reach no network"},
		{"math/rand/...", pure, nil, "decisions are functions of their arguments"},
		{"github.com/godbus/dbus/v5/...", nil, []string{"agent/host"}, "only agent/host touches the operating system"},
		{"github.com/coreos/go-systemd/v22/...", nil, []string{"agent/host"}, "only agent/host touches the operating system"},
		{"github.com/google/nftables/...", nil, []string{"agent/host"}, "only agent/host touches the operating system"},
		{"cuelang.org/go/...", nil, []string{"schema/load"}, "CUE has no cost limit: it is evaluated in schema/load's child alone, and everything else sees Go values"},
		{"cuelang.org/go/cue/cuecontext", nil, nil, "it links in every package and encoding of CUE, which each start of the program pays for; schema/load has newContext"},
		{"github.com/go-git/go-git/v5/...", nil, []string{"agent/gitrepo"}, "one package knows Git"},
		{"github.com/go-git/go-git/v5", nil, nil, "it links in transports and work trees, which each start of the program pays for and nothing here uses"},
		{"unsafe", pure, nil, "nothing below agent has a reason for it"},
		{"C", nil, nil, "the binary is static"},
	} {
		prefix, tree := strings.CutSuffix(ban.imp, "/...")
		for _, s := range sources(t) {
			if s.test || len(ban.in) > 0 && !within(s.pkg, ban.in...) || within(s.pkg, ban.except...) {
				continue
			}
			for imp, at := range s.imports() {
				if imp == prefix || tree && strings.HasPrefix(imp, prefix+"/") {
					t.Errorf("%s: %s imports %q: %s", at, s.pkg, imp, ban.why)
				}
			}
		}
	}
}

func TestSchemaImportsTheStandardLibraryOnly(t *testing.T) {
	for _, s := range sources(t) {
		if s.pkg != "schema" && s.pkg != "schema/safe" || s.test {
			continue
		}
		for imp, at := range s.imports() {
			if first, _, _ := strings.Cut(imp, "/"); strings.Contains(first, ".") {
				t.Errorf("%s: %s imports %q: everything depends on it, so it depends on the standard library only", at, s.pkg, imp)
			}
		}
	}
}

// clock are the functions of package time that look at a clock or wait.
var clock = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true,
	"Tick": true, "NewTicker": true, "NewTimer": true,
}

func TestDecisionsArePure(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || !within(s.pkg, "schema", "reconciler") || within(s.pkg, "reconciler/kind/kindtest") {
			continue
		}
		for _, d := range s.ast.Decls {
			fn, isFunc := d.(*ast.FuncDecl)
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					if s.pkg != "schema/load" && !(s.pkg == "reconciler" && isFunc && fn.Name.Name == "Impact") {
						t.Errorf("%s: a goroutine: below agent only schema/load and reconciler.Impact start any, so that a decision cannot depend on their order", s.at(n))
					}
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && x.Obj == nil && clock[n.Sel.Name] {
						t.Errorf("%s: time.%s: below agent the instant is an argument, so that CI and a test decide as the host does", s.at(n), n.Sel.Name)
					}
				}
				return true
			})
		}
	}
}

// What is shown safely where is decided once. A package that judges characters for itself soon lets one pass that another
// stops.
func TestOnePackageMakesTextSafe(t *testing.T) {
	judges := map[string]bool{
		"unicode.IsPrint": true, "unicode.IsControl": true, "unicode.IsGraphic": true, "unicode.Cc": true, "unicode.Cf": true, "unicode.Bidi_Control": true,
		"html.EscapeString": true, "xml.EscapeText": true, "xml.Escape": true, "template.HTMLEscapeString": true,
	}
	for _, s := range sources(t) {
		// The loader quotes what stands in the author's own line in CUE's escapes, which the author may write back.
		if s.test || within(s.pkg, "schema/safe", "schema/load", "agent/agenttest") {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok && x.Obj == nil && judges[x.Name+"."+sel.Sel.Name] {
					t.Errorf("%s: %s.%s: schema/safe has what makes text from outside harmless to show", s.at(n), x.Name, sel.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestNothingRegistersItself(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" && !s.test {
				t.Errorf("%s: func init: main builds everything by hand, so that what runs can be read there", s.at(fn))
			}
		}
	}
}

// A package variable may be set once, where it is declared. What changes it
// elsewhere is found by name: assignments to it or into it, ++, delete, clear, copy.
func TestPackageVariablesDoNotChange(t *testing.T) {
	byPkg := map[string][]source{}
	for _, s := range sources(t) {
		if !s.test && within(s.pkg, "schema", "reconciler", "agent", "cmd") {
			byPkg[s.pkg] = append(byPkg[s.pkg], s)
		}
	}
	for pkg, files := range byPkg {
		vars := map[string]*ast.ValueSpec{}
		for _, s := range files {
			for _, d := range s.ast.Decls {
				gen, ok := d.(*ast.GenDecl)
				if !ok || gen.Tok != token.VAR {
					continue
				}
				for _, spec := range gen.Specs {
					v := spec.(*ast.ValueSpec)
					for _, name := range v.Names {
						vars[name.Name] = v
					}
					if state := holdsState(v); state != "" {
						t.Errorf("%s: package variable of %s: state has an owner who passes it on, it is not the package's", s.at(v), state)
					}
					set := len(v.Values) > 0 || gen.Doc != nil || v.Doc != nil || v.Names[0].Name == "_"
					if !set {
						t.Errorf("%s: package variable %s is declared without a value: it can only be meant to change", s.at(v), v.Names[0].Name)
					}
				}
			}
		}
		for _, s := range files {
			// refers tells whether e is a package variable or something in one.
			var refers func(e ast.Expr) string
			refers = func(e ast.Expr) string {
				switch e := e.(type) {
				case *ast.Ident:
					if spec, ok := vars[e.Name]; ok && e.Name != "_" && (e.Obj == nil || e.Obj.Decl == spec) {
						return e.Name
					}
				case *ast.IndexExpr:
					return refers(e.X)
				case *ast.SelectorExpr:
					return refers(e.X)
				case *ast.StarExpr:
					return refers(e.X)
				case *ast.ParenExpr:
					return refers(e.X)
				}
				return ""
			}
			changed := func(n ast.Node, e ast.Expr) {
				if name := refers(e); name != "" {
					t.Errorf("%s: package variable %s of %s changes: pass it as a value", s.at(n), name, pkg)
				}
			}
			ast.Inspect(s.ast, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.AssignStmt:
					if n.Tok == token.DEFINE {
						return true
					}
					for _, e := range n.Lhs {
						changed(n, e)
					}
				case *ast.IncDecStmt:
					changed(n, n.X)
				case *ast.CallExpr:
					if f, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && slices.Contains([]string{"delete", "clear", "copy"}, f.Name) {
						changed(n, n.Args[0])
					}
				}
				return true
			})
		}
	}
}

// A secret's value is taken out where it is handed on, and nowhere else.
func TestSecretsAreRevealedInFewPlaces(t *testing.T) {
	may := []string{"agent", "agent/secret", "cmd/dunlin"}
	for _, s := range sources(t) {
		if s.test || slices.Contains(may, s.pkg) {
			continue
		}
		ast.Inspect(s.ast, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Reveal" {
				t.Errorf("%s: Reveal: only %v take secrets out of their wrapping", s.at(sel), may)
			}
			return true
		})
	}
}

// holdsState names a type whose only use is to change, or is empty.
func holdsState(v *ast.ValueSpec) string {
	found := ""
	look := func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok {
				once := strings.HasPrefix(sel.Sel.Name, "OnceValue") // a value computed once does not change
				if x.Name == "atomic" || x.Name == "sync" && !once {
					found = x.Name + "." + sel.Sel.Name
				}
			}
		}
		if _, ok := n.(*ast.ChanType); ok {
			found = "a channel"
		}
		_, fn := n.(*ast.FuncLit) // what a function does inside is its own
		return !fn
	}
	if v.Type != nil {
		ast.Inspect(v.Type, look)
	}
	for _, e := range v.Values {
		ast.Inspect(e, look)
	}
	return found
}

func TestTopLevel(t *testing.T) {
	want := []string{
		"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md", "agent", "cmd", "docs",
		"examples", "go.mod", "go.sum", "policies", "reconciler", "schema",
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		built := e.Name() == "bin" || slices.Contains([]string{".test", ".prof", ".out"}, path.Ext(e.Name())) // as .gitignore has it
		if !strings.HasPrefix(e.Name(), ".") && !built {
			got = append(got, e.Name())
		}
	}
	for _, name := range got {
		if !slices.Contains(want, name) {
			t.Errorf("%q at the top: the folder tree is the drawing of the house, and everything has its place in one of %q", name, want)
		}
	}
	for _, name := range want {
		if name == "docs" { // may be empty, and Git keeps no empty folder
			continue
		}
		if !slices.Contains(got, name) {
			t.Errorf("%q is missing at the top", name)
		}
	}
}

func TestFilesAreOfOneSubject(t *testing.T) {
	for _, s := range sources(t) {
		most := 600
		if s.test {
			most = 700 // tables are long
		}
		if n := bytes.Count(s.text, []byte("\n")); n > most {
			t.Errorf("%s has %d lines, more than %d: a file that long has two subjects", s.file, n, most)
		}
	}
}

// A newcomer finds every package in CONTRIBUTING.md, as itself or by its name below its parent.
func TestTheHouseIsDrawn(t *testing.T) {
	b, err := os.ReadFile("../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || seen[s.pkg] || within(s.pkg, "agent/agenttest/testbed") {
			continue
		}
		seen[s.pkg] = true
		if !strings.Contains(text, "`"+s.pkg+"`") && !(within(s.pkg, "schema/load", "reconciler/kind") && strings.Contains(text, "`"+path.Base(s.pkg)+"`")) {
			t.Errorf("%s is not in CONTRIBUTING.md: say there what it is, so that a newcomer finds it", s.pkg)
		}
	}
	for _, word := range regexp.MustCompile("`((?:schema|reconciler|agent|cmd)/[a-z/]+)`").FindAllStringSubmatch(text, -1) {
		if info, err := os.Stat(filepath.Join("..", word[1])); err != nil || !info.IsDir() {
			t.Errorf("CONTRIBUTING.md names %s, which is not there", word[1])
		}
	}
}

func TestPackagesAreDescribed(t *testing.T) {
	described := map[string]bool{}
	for _, s := range sources(t) {
		if !s.test {
			described[s.pkg] = described[s.pkg] || s.ast.Doc != nil
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(described)) {
		if !described[pkg] {
			t.Errorf("package %s has no package comment: say what it gives, and to whom", pkg)
		}
	}
	if len(described) < 10 {
		t.Errorf("only %d packages seen from %q: the test looks at the wrong folder", len(described), must(filepath.Abs("..")))
	}
}

func must(s string, _ error) string { return s }
