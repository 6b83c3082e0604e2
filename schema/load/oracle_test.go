package load

import (
	"bytes"
	"io/fs"
	"maps"
	slash "path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/policies"
	"github.com/dunlin-dev/dunlin/schema"
)

// module is the path of the modules of these tests.
const module = "acme.example/fleet"

// cueRepo is a repository as CUE's own tools see it, with nothing of the loader's:
// every folder whole, with its ancestors' files, in one context.
type cueRepo struct {
	files fstest.MapFS
	built map[string]*build.Instance
}

// oracle is what `cue vet -c ./...` and `cue export` make of a repository that
// has the binding: every folder's value, and the first error against any.
func oracle(m fstest.MapFS) (map[string]cue.Value, error) {
	m = maps.Clone(m)
	m["schema.cue"] = &fstest.MapFile{Data: []byte("package fleet\n\nimport \"" + schemaPath + "\"\n\nclose({schema.#Repo})\n")}
	folders, libs := map[string]bool{}, map[string]bool{}
	for name := range m {
		switch {
		case !strings.HasSuffix(name, ".cue"), strings.HasPrefix(name, "cue.mod/"):
		case strings.HasPrefix(name, "lib/"):
			libs[slash.Dir(name)] = true
		default:
			folders[slash.Dir(name)] = true
		}
	}
	out := map[string]cue.Value{}
	var first error
	build := func(dir, pkg string) cue.Value {
		r := cueRepo{files: m, built: map[string]*build.Instance{}}
		inst := r.instance("", pkg, r.chain(dir, pkg))
		var err error = inst.Err
		var v cue.Value
		if inst.Err == nil {
			v = newContext().BuildInstance(inst)
			err = v.Validate(cue.Concrete(true))
		}
		if first == nil && err != nil {
			first = err
		}
		return v
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		out[dir] = build(dir, "fleet")
	}
	for _, dir := range slices.Sorted(maps.Keys(libs)) {
		build(dir, slash.Base(dir))
	}
	return out, first
}

// chain are the files of a package in a folder and in those above it.
func (r cueRepo) chain(dir, pkg string) map[string][]byte {
	out := map[string][]byte{}
	for name, f := range r.files {
		at := slash.Dir(name)
		if !strings.HasSuffix(name, ".cue") || at != "." && at != dir && !strings.HasPrefix(dir, at+"/") {
			continue
		}
		if p, err := parser.ParseFile(name, f.Data, parser.PackageClauseOnly); err != nil || p.PackageName() == pkg {
			out[name] = f.Data
		}
	}
	return out
}

func (r cueRepo) instance(imp, pkg string, texts map[string][]byte) *build.Instance {
	inst := build.NewContext(build.Loader(r.load)).NewInstance("", r.load)
	inst.ImportPath, inst.PkgName = imp, pkg
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		f, err := parser.ParseFile(name, texts[name])
		if err != nil {
			inst.Err = errors.Promote(err, "parse")
			return inst
		}
		if err := inst.AddSyntax(f); err != nil {
			inst.Err = err
			return inst
		}
	}
	if err := inst.Complete(); err != nil {
		inst.Err = errors.Promote(err, "complete")
	}
	return inst
}

func (r cueRepo) load(_ token.Pos, imp string) *build.Instance {
	if inst, ok := r.built[imp]; ok {
		return inst
	}
	texts := map[string][]byte{}
	read := func(fsys fs.FS) {
		names, _ := fs.Glob(fsys, "*.cue")
		for _, name := range names {
			texts[imp+"/"+name], _ = fs.ReadFile(fsys, name)
		}
	}
	pkg := slash.Base(imp)
	if dir, ok := strings.CutPrefix(imp, module+"/"); ok {
		dir, name, named := strings.Cut(dir, ":")
		if pkg = slash.Base(dir); named {
			pkg = name
		}
		texts = r.chain(dir, pkg)
	} else if imp == schemaPath {
		read(schema.Definitions)
	} else if dir, ok := strings.CutPrefix(imp, "dunlin.dev/policies/"); ok {
		if sub, err := fs.Sub(policies.Files, dir); err == nil {
			read(sub)
		}
	}
	if len(texts) == 0 {
		return nil
	}
	r.built[imp] = r.instance(imp, pkg, texts)
	return r.built[imp]
}

// exported are the objects of all folders as `cue export` prints them, in canonical form, by path.
func exported(t testing.TB, folders map[string]cue.Value) map[string]string {
	t.Helper()
	out := map[string]string{}
	take := func(p path, v cue.Value) {
		b, err := v.MarshalJSON()
		if err != nil {
			t.Fatalf("export %s: %v", p, err)
		}
		out[p.String()] = canonical(t, b)
	}
	for _, v := range folders {
		it, err := v.Fields()
		for err == nil && it.Next() {
			kind := it.Selector().Unquoted()
			if kind == "fleet" {
				take(at(kind), it.Value())
				continue
			}
			jt, err := it.Value().Fields()
			for err == nil && jt.Next() {
				take(at(kind, jt.Selector().Unquoted()), jt.Value())
			}
		}
	}
	return out
}

// canonical is JSON with sorted keys and no blanks.
func canonical(t testing.TB, b []byte) string {
	t.Helper()
	v, err := parseJSON(bytes.TrimSpace(b))
	if err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return string(v.json(nil))
}
