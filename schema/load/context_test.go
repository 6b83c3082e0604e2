package load

import (
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cuelang.org/go/cue"
)

// What the language lets policies import is what is linked in.
func TestStandardPackagesAreLinked(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "context.go", nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var linked []string
	for _, s := range f.Imports {
		path, _ := strconv.Unquote(s.Path.Value)
		if name, ok := strings.CutPrefix(path, "cuelang.org/go/pkg/"); ok {
			linked = append(linked, name)
		}
	}
	if want := slices.Sorted(slices.Values(standardPackages())); !slices.Equal(linked, want) {
		t.Errorf("linked are %q, want %q", linked, want)
	}
	for _, name := range standardPackages() {
		v := newContext().CompileString("import p \"" + name + "\"\nx: p.NoSuchThing\n")
		if err := v.Validate(cue.Concrete(true)); err == nil || !strings.Contains(err.Error(), "NoSuchThing") {
			t.Errorf("a thing that %q does not have: %v, want an error that names it", name, err)
		}
	}
	for _, name := range []string{"tool/exec", "tool/http", "encoding/openapi"} {
		v := newContext().CompileString("import p \"" + name + "\"\nx: p.NoSuchThing\n")
		if err := v.Validate(cue.Concrete(true)); err == nil || strings.Contains(err.Error(), "NoSuchThing") {
			t.Errorf("%q is there: %v", name, err)
		}
	}
}
