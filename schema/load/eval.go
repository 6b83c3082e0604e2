package load

import (
	"context"
	"io/fs"
	slash "path"
	"runtime"
	"slices"
	"sync"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema"
)

const schemaPath = "dunlin.dev/schema"

// job is a folder, or a part of its objects, to be evaluated.
type job struct {
	folder *folder
	files  []*source
	objs   []*object
	fleet  bool // fleet.cue alone
	lib    bool // a package under lib/, which no schema binds
	again  bool // objects that are judged elsewhere, as another folder sees them
	same   bool // and there they must be the same

	// first takes what only comprehensions, patterns and embeddings make.
	first bool
	out   outcome

	// Of a repository where all is wrong only as much is explained as is shown: see explained.
	before *job
	done   chan struct{} // closed once it has run
	plain  int           // objects that refer to nothing and are explained
}

// outcome is what a job found; the jobs of one folder are gathered in order.
type outcome struct {
	values   map[*object]packed
	bad      map[*object][]mistake // in place of a value
	computed []*object
	general  []errors.Error // of nobody's object
	faults   []schema.Fault
	failed   bool
}

// evaluate runs every folder through CUE, in as many goroutines as there are
// processors, at most four, and joins them.
func (l *loading) evaluate(ctx context.Context) error {
	jobs := l.jobs()
	for i, j := range jobs {
		j.done = make(chan struct{})
		if i > 0 {
			j.before = jobs[i-1]
		}
	}
	// Neighbours share a context until it has seen a batch of objects.
	var groups [][]*job
	n := l.batch
	for _, j := range jobs {
		if n += len(j.objs) + 1; n > l.batch {
			groups = append(groups, nil)
			n = len(j.objs) + 1
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], j)
	}
	next := make(chan []*job)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 4, len(groups)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for g := range next {
				e := &evaluator{l: l, ctx: newContext(), libs: map[string]*build.Instance{}}
				for _, j := range g {
					if ctx.Err() == nil {
						e.run(j)
						l.opts.pacer.pace()
					}
					close(j.done)
				}
			}
		}()
	}
	for _, g := range groups {
		next <- g
	}
	close(next)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	for _, j := range jobs {
		l.take(j)
	}
	return nil
}

func (l *loading) jobs() []*job {
	var jobs []*job
	for _, d := range l.folders {
		broken := slices.ContainsFunc(d.chain, func(f *source) bool { return f.broken })
		if broken {
			l.complete = false
			for _, o := range d.order {
				o.wrong = true
			}
			continue
		}
		// What is not plain objects is evaluated in its own folder, and wherever it can mean something else.
		own := l.part == nil && slices.ContainsFunc(d.own, func(f *source) bool { return f.rest }) || slices.ContainsFunc(d.chain, l.active)
		var objs []*object
		for _, o := range d.order {
			if slices.ContainsFunc(o.frags, func(f *fragment) bool { return f.lost }) {
				o.wrong = true
				l.unfinished(o)
				continue
			}
			if o.dropped {
				continue
			}
			if l.settled(d, o) {
				o.packed, o.settled = o.frags[0].data, true
				continue
			}
			// fleet is evaluated from its own file and nothing else.
			if o.key.kind == "fleet" {
				if d.dir == "." {
					jobs = append(jobs, &job{folder: d, files: []*source{o.frags[0].file}, objs: []*object{o}, fleet: true})
				}
				continue
			}
			objs = append(objs, o)
		}
		batch := l.batch
		if l.carried(d) > batch { // which every part would carry: all in one is less
			batch = max(batch, len(objs))
		}
		for lo := 0; lo < len(objs) || lo == 0 && own; lo += batch {
			jobs = append(jobs, &job{folder: d, files: d.chain, objs: objs[lo:min(lo+batch, len(objs))], first: lo == 0 && l.part == nil})
		}
	}
	if l.part != nil {
		return jobs // nothing in it is active, and what it has of lib/ has been judged
	}
	for _, d := range l.folders {
		jobs = append(jobs, l.againJobs(d)...)
	}
	return append(jobs, l.libJobs()...)
}

// libJobs judge the packages under lib/, imported or not.
func (l *loading) libJobs() []*job {
	var jobs []*job
	seen := map[string]bool{}
	for _, f := range l.files {
		key := f.dir + ":" + f.pkg
		if f.broken || f.pkg == "" || f.pkg == "fleet" || seen[key] {
			continue
		}
		seen[key] = true
		files := l.libFiles(f.dir, f.pkg)
		if !slices.ContainsFunc(files, func(f *source) bool { return f.broken }) {
			jobs = append(jobs, &job{files: files, lib: true})
		}
	}
	return jobs
}

// evaluator is one context and the packages built for it.
type evaluator struct {
	l    *loading
	ctx  *cue.Context
	libs map[string]*build.Instance
}

// load finds an imported package; nil is the standard library, or a package that does not exist.
func (e *evaluator) load(pos token.Pos, imp string) *build.Instance {
	if inst, ok := e.libs[imp]; ok {
		return inst
	}
	var inst *build.Instance
	switch {
	case imp == schemaPath:
		inst = e.embedded(schema.Definitions, ".", imp, "schema")
	case e.l.shipped(imp) != nil:
		inst = e.embedded(e.l.shipped(imp), ".", imp, slash.Base(imp))
	default:
		dir, pkg, ok := e.l.libDir(imp)
		if !ok {
			return nil
		}
		inst = e.instance(imp, pkg)
		for _, f := range e.l.libFiles(dir, pkg) {
			e.add(inst, f.name, f.text, nil)
		}
		_ = inst.Complete()
	}
	e.libs[imp] = inst
	return inst
}

func (e *evaluator) instance(imp, pkg string) *build.Instance {
	inst := build.NewContext(build.Loader(e.load)).NewInstance("", e.load)
	inst.ImportPath, inst.PkgName = imp, pkg
	return inst
}

func (e *evaluator) embedded(fsys fs.FS, dir, imp, pkg string) *build.Instance {
	inst := e.instance(imp, pkg)
	names, _ := fs.Glob(fsys, slash.Join(dir, "*.cue"))
	for _, name := range names {
		b, err := fs.ReadFile(fsys, name)
		if err == nil {
			e.add(inst, imp+"/"+name, b, nil)
		}
	}
	_ = inst.Complete()
	return inst
}

func (e *evaluator) add(inst *build.Instance, name string, text []byte, keep func(*ast.File)) {
	f, err := parser.ParseFile(name, text)
	if err != nil {
		return // reported by the scan
	}
	if keep != nil {
		keep(f)
	}
	e.l.opts.pacer.pace()
	_ = inst.AddSyntax(f) // the errors stay in the instance
}

// run evaluates one job.
func (e *evaluator) run(j *job) {
	j.out = outcome{values: map[*object]packed{}, bad: map[*object][]mistake{}}
	if !j.again {
		e.unbound(j)
	}
	if len(j.objs) == 0 && !j.first && !j.lib {
		return
	}
	want := map[objKey]*object{}
	for _, o := range j.objs {
		want[o.key] = o
	}
	v, kept, err := e.build(j, want, !j.lib)
	if err != nil {
		j.out.general = errors.Errors(err)
		j.out.failed = true
		return
	}
	var general []errors.Error
	valid := v.Validate(cue.Concrete(true))
	if j.lib {
		j.out.general = errors.Errors(valid)
		return
	}
	static := map[objKey]bool{}
	for _, f := range j.files {
		for _, fr := range f.frags {
			// An object that was left out and is there all the same has been made by something else.
			if kept[fr.key.kind] || want[fr.key] != nil || authority(fr.key.kind) == "" {
				static[fr.key] = true
			}
		}
	}
	var bad []*object
	// CUE may have something against an object and yet nothing against its value: its name.
	named := map[objKey]bool{}
	for _, err := range errors.Errors(valid) {
		if p := err.Path(); len(p) >= 2 {
			name, err := literal.Unquote(p[1])
			if err != nil {
				name = p[1]
			}
			named[objKey{p[0], name}] = true
		}
	}
	for _, o := range j.objs {
		w := lookupObject(v, o.key)
		if valid == nil && w.Exists() || !named[o.key] && w.Exists() && w.Validate(cue.Concrete(true)) == nil && e.l.nameMistake(o.key) == "" {
			j.out.values[o] = pack(concrete(w, 0))
			continue
		}
		bad = append(bad, o)
	}
	switch {
	case j.same:
		e.computed(j, v, static)
	case !j.again && (j.first || valid != nil):
		bad = append(bad, e.computed(j, v, static)...)
	}
	for _, err := range errors.Errors(valid) {
		p := err.Path()
		if len(p) > 0 && e.l.kinds[p[0]] && (len(p) > 1 || p[0] == "fleet") {
			continue // an object's, found above
		}
		general = append(general, err)
	}
	j.out.general = general
	e.explain(j, v, want, j.explained(bad))
}

// explained leaves of objects with faults those that are explained: what refers to nothing has its faults in itself, and
// beyond maxFaults nobody is told of them.
func (j *job) explained(bad []*object) []*object {
	if len(bad) == 0 {
		return nil
	}
	told := 0
	for b := j.before; b != nil; b = b.before {
		<-b.done
		told += b.plain
	}
	return slices.DeleteFunc(bad, func(o *object) bool {
		if len(o.frags) == 0 || slices.ContainsFunc(o.frags, func(fr *fragment) bool { return len(fr.uses) > 0 }) {
			return false
		}
		if told+j.plain >= maxFaults {
			j.out.bad[o] = nil
			return true
		}
		j.plain++
		return false
	})
}

// computed takes the objects that no plain declaration makes, and returns those with faults.
func (e *evaluator) computed(j *job, v cue.Value, static map[objKey]bool) (bad []*object) {
	it, err := unchosen(v).Fields()
	for err == nil && it.Next() {
		kind := it.Selector().Unquoted()
		if it.Selector().LabelType() != cue.StringLabel || !e.l.kinds[kind] {
			continue
		}
		take := func(key objKey, w cue.Value) {
			if static[key] {
				return
			}
			o := &object{key: key, folder: j.folder}
			if w.Validate(cue.Concrete(true)) == nil {
				j.out.values[o] = pack(concrete(w, 0))
			} else {
				bad = append(bad, o)
			}
			j.out.computed = append(j.out.computed, o)
		}
		if kind == "fleet" {
			if !j.fleet {
				delete(static, objKey{"fleet", ""}) // fleet.cue alone says what fleet is; see sameFleet
			}
			take(objKey{"fleet", ""}, it.Value())
			continue
		}
		jt, err := unchosen(it.Value()).Fields()
		for err == nil && jt.Next() {
			take(objKey{kind, jt.Selector().Unquoted()}, jt.Value())
		}
	}
	return bad
}

func lookupObject(v cue.Value, k objKey) cue.Value {
	v = unchosen(unchosen(v).LookupPath(cue.MakePath(cue.Str(k.kind))))
	if k.kind == "fleet" {
		return v
	}
	return v.LookupPath(cue.MakePath(cue.Str(k.name)))
}

// unchosen is the default of a choice that nobody made, and otherwise the value itself.
func unchosen(v cue.Value) cue.Value {
	if d, ok := v.Default(); ok {
		return d
	}
	return v
}

// build makes the package of everything that is not a plain object, and of the
// wanted objects, and of every kind that any of these mentions: nothing else can matter to them.
func (e *evaluator) build(j *job, want map[objKey]*object, bound bool) (cue.Value, map[string]bool, errors.Error) {
	inst := e.instance("", "fleet")
	kinds := map[string]bool{}
	mention := func(m map[string]bool) {
		for n := range m {
			if e.l.kinds[n] {
				kinds[n] = true
			}
		}
		if m["self"] || m["__self"] { // of a whole file, perhaps
			kinds = e.l.kinds
		}
	}
	for _, o := range j.objs {
		for _, fr := range o.frags {
			mention(fr.uses)
		}
	}
	for _, f := range j.files {
		mention(f.restUses)
	}
	for grew := true; grew; { // what is kept whole may mention more
		before := len(kinds)
		for _, f := range j.files {
			for _, fr := range f.frags {
				if kinds[fr.key.kind] {
					mention(fr.uses)
				}
			}
		}
		grew = len(kinds) > before
	}
	wanted := func(fr *fragment) bool {
		return !fr.lost && (want[fr.key] != nil || kinds[fr.key.kind])
	}
	if j.lib {
		inst.PkgName = j.files[0].pkg
	}
	for _, f := range j.files {
		if !j.lib && !f.rest && !slices.ContainsFunc(f.frags, wanted) {
			continue
		}
		keep := map[int]bool{}
		for _, fr := range f.frags {
			if wanted(fr) {
				keep[fr.label.Offset()] = true
			}
		}
		e.add(inst, f.name, f.text, func(a *ast.File) {
			if !j.lib {
				e.filter(a, keep, bound)
			}
		})
	}
	if bound {
		const binding = "package fleet\nimport \"" + schemaPath + "\"\nclose({schema.#Repo})\n"
		e.add(inst, schemaPath+"/binding.cue", []byte(binding), nil)
	}
	if err := inst.Complete(); err != nil {
		return cue.Value{}, nil, errors.Promote(err, "")
	}
	if inst.Err != nil {
		return cue.Value{}, nil, inst.Err
	}
	v := e.ctx.BuildInstance(inst)
	// A package that does not compile has no fields to look at.
	if err := v.Err(); err != nil && v.IncompleteKind() == cue.BottomKind {
		if _, ferr := v.Fields(); ferr != nil {
			return cue.Value{}, nil, errors.Promote(err, "")
		}
	}
	return v, kinds, nil
}

// filter drops plain objects that are not kept, bindings, and imports and names that then have no use; where the schema is
// not to be seen, its names on objects too.
func (e *evaluator) filter(a *ast.File, keep map[int]bool, bound bool) {
	before := mentioned(a.Decls)
	sc := &scanner{kinds: e.l.kinds}
	a.Decls = slices.DeleteFunc(a.Decls, func(d ast.Decl) bool {
		x, ok := d.(*ast.Field)
		switch {
		case isBinding(d):
			return true
		case ok && isObjects(sc, x):
			name, _ := labelName(x.Label)
			if name == "fleet" {
				return !keep[x.Label.Pos().Offset()]
			}
			st := x.Value.(*ast.StructLit)
			had := len(st.Elts)
			st.Elts = slices.DeleteFunc(st.Elts, func(g ast.Decl) bool {
				f, ok := g.(*ast.Field)
				return ok && !keep[f.Label.Pos().Offset()]
			})
			for _, g := range st.Elts {
				if f, ok := g.(*ast.Field); ok && !bound {
					f.Value = e.l.defs.unnamed(name, f.Value)
				}
			}
			return had > 0 && len(st.Elts) == 0
		case ok:
			name, ok := labelName(x.Label)
			return ok && !e.l.kinds[name] // no such kind: reported by the layout
		}
		return false
	})
	// CUE refuses a name that nothing uses. It is told so where that is the author's doing, not where it is ours.
	after := mentioned(a.Decls)
	for grew := true; grew; after = mentioned(a.Decls) {
		grew = false
		a.Decls = slices.DeleteFunc(a.Decls, func(d ast.Decl) bool {
			switch x := d.(type) {
			case *ast.LetClause:
				if before[x.Ident.Name] && !after[x.Ident.Name] {
					grew = true
					return true
				}
			case *ast.Field:
				if al, ok := x.Label.(*ast.Alias); ok && before[al.Ident.Name] && !after[al.Ident.Name] {
					if label, ok := al.Expr.(ast.Label); ok {
						x.Label = label
					}
				}
			}
			return false
		})
	}
	a.Decls = slices.DeleteFunc(a.Decls, func(d ast.Decl) bool {
		im, ok := d.(*ast.ImportDecl)
		if !ok {
			return false
		}
		im.Specs = slices.DeleteFunc(im.Specs, func(s *ast.ImportSpec) bool { return !after[importName(s)] })
		return len(im.Specs) == 0
	})
}

// mentioned are the names that declarations may take from around them; a let clause or an alias does not mention itself.
func mentioned(decls []ast.Decl) map[string]bool {
	used := map[string]bool{}
	for _, d := range decls {
		switch x := d.(type) {
		case *ast.Package, *ast.ImportDecl, *ast.CommentGroup:
		case *ast.LetClause:
			outside(x.Expr, used)
		case *ast.Field:
			if al, ok := x.Label.(*ast.Alias); ok {
				outside(al.Expr, used)
				outside(x.Value, used)
				break
			}
			outside(d, used)
		default:
			outside(d, used)
		}
	}
	return used
}

func isObjects(sc *scanner, x *ast.Field) bool {
	_, ok := sc.objects(x)
	return ok
}
