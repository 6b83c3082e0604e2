package load

import (
	"bytes"
	"fmt"
	"io/fs"
	slash "path"
	"slices"
	"strings"

	"cuelang.org/go/cue/parser"

	"github.com/dunlin-dev/dunlin/policies"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// VendorRoot is the folder of a repository under which plain cue finds the packages of dunlin.dev.
const VendorRoot = "cue.mod/pkg/dunlin.dev"

// Binding is the file schema.cue, which makes plain cue check a repository.
const Binding = "package fleet\n\nimport \"" + schemaPath + "\"\n\nclose({schema.#Repo})\n"

// ShippedPackages are the folders of the shipped library, which repositories import as dunlin.dev/policies/FOLDER.
func ShippedPackages() []string {
	var out []string
	for _, name := range (*loading)(nil).shippedNames() {
		out = append(out, strings.TrimPrefix(name, policiesPath))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Vendored are the files that plain cue needs to check a repository offline, by
// path: the schema, and packages of the shipped library. A package that does not
// exist is an error.
func Vendored(packages []string) (map[string][]byte, error) {
	out := map[string][]byte{}
	add := func(fsys fs.FS, from, to string) error {
		names, err := fs.Glob(fsys, slash.Join(from, "*.cue"))
		if err == nil && len(names) == 0 {
			err = fmt.Errorf("no package %q in the shipped library; there are %s", to, strings.Join(ShippedPackages(), ", "))
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			b, err := fs.ReadFile(fsys, name)
			if err != nil {
				return err
			}
			out[slash.Join(VendorRoot, to, slash.Base(name))] = b
		}
		return nil
	}
	if err := add(schema.Definitions, ".", "schema"); err != nil {
		return nil, err
	}
	for _, p := range packages {
		if err := add(policies.Files, p, slash.Join("policies", p)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ShippedImports are the packages of the shipped library that the files of a
// repository import, as far as the files can be read, sorted.
func ShippedImports(fsys fs.FS) ([]string, error) {
	t, err := tree.Read(fsys)
	if err != nil {
		return nil, err
	}
	var out []string
	for name, text := range t.Content {
		if slash.Ext(name) != ".cue" || strings.HasPrefix(name, "cue.mod/") {
			continue
		}
		f, err := parser.ParseFile(name, text, parser.ImportsOnly)
		if err != nil {
			continue
		}
		for s := range f.ImportSpecs() {
			if p, ok := strings.CutPrefix(importPath(s), policiesPath); ok {
				out = append(out, p)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// CheckName says what is wrong with the name of a new object, nil if nothing is. The object of kind fleet has its name in itself.
func CheckName(kind, name string) error {
	defs, err := definitions()
	if err != nil {
		return err
	}
	f := defs["#Repo"].byName[kind]
	if f == nil {
		kinds, _ := Kinds()
		return unknownWord("kind", kind, "", kinds)
	}
	key := defs["#Name"]
	if len(f.s.labels) > 0 {
		key = f.s.labels[0].key
	}
	c := &checker{defs: defs}
	if !key.acceptsLabel(name) {
		return fmt.Errorf("%q is not %s", name, c.want(key))
	}
	if reserved(name) {
		return fmt.Errorf("%q: names that begin with AWS-, Amazon or Dunlin- are the shipped library's", name)
	}
	return nil
}

// ObjectPath is the path of an object in faults and in schema.Repo.Positions.
func ObjectPath(kind, name string) string { return objKey{kind, name}.path().String() }

// vendored warns where the copy of the schema, or of a package of the shipped library, in the repository is not this
// version's. The embedded ones count.
func (l *loading) vendored() {
	have := map[string]int{} // files by folder
	for name := range l.tree.Content {
		if strings.HasPrefix(name, VendorRoot+"/") && slash.Ext(name) == ".cue" {
			have[slash.Dir(name)]++
		}
	}
	for dir, n := range have {
		fsys, what := fs.FS(schema.Definitions), "schema"
		if folder, ok := strings.CutPrefix(dir, VendorRoot+"/policies/"); ok {
			if fsys, what = l.shipped(policiesPath+folder), "shipped library"; fsys == nil {
				continue // of another version, and nothing can import it here
			}
		} else if dir != VendorRoot+"/schema" {
			continue
		}
		names, _ := fs.Glob(fsys, "*.cue")
		same := len(names) == n
		for _, name := range names {
			b, _ := fs.ReadFile(fsys, name)
			same = same && bytes.Equal(b, l.tree.Content[slash.Join(dir, name)])
		}
		if !same {
			l.add(schema.Fault{File: dir, Severity: schema.SeverityWarning, Message: "differs from this version's " + what + ", which is the one that counts; renew it with: dunlin schema vendor"})
		}
	}
}
