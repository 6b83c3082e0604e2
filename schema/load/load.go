package load

import (
	"cmp"
	"context"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// Func reads a repository. With faults that refuse the commit the Repo is what
// could be read of it and must not be applied; with an error nothing is known.
type Func func(ctx context.Context, fsys fs.FS) (schema.Repo, []schema.Fault, error)

// Options are what the loader needs of others.
type Options struct {
	// Limits are the limits that this build does not enforce and so refuses.
	Limits []schema.Limit
	// CheckWindow judges the times of a window: schedule, zone, offset, start
	// and end, duration and cutoff, and that it can open. May be nil.
	CheckWindow func(schema.Window) []FieldFault
	// CheckAssociation judges when an association runs: its schedule, which may be
	// empty, within SSM's limits for associations, its zone and its offset. May be nil.
	CheckAssociation func(schedule, zone string, offset int) []FieldFault
	// Warn adds warnings about a valid repository, such as two policies that
	// conflict on a node. May be nil.
	Warn func(schema.Repo) []schema.Fault

	pacer *pacer // of the child
}

// FieldFault is a mistake in one field of an object.
type FieldFault struct{ Field, Message string }

// InProcess evaluates in this process, without limits on time and memory.
func InProcess(o Options) Func {
	return func(ctx context.Context, fsys fs.FS) (schema.Repo, []schema.Fault, error) {
		t, err := tree.Read(fsys)
		if err != nil {
			return schema.Repo{}, nil, err
		}
		res, err := evaluate(ctx, o, t)
		if err != nil {
			return schema.Repo{}, nil, err
		}
		return finish(o, fsys, res)
	}
}

// Files are the files of a repository that are evaluated, in lexical order.
func Files(fsys fs.FS) ([]string, error) { return tree.Files(fsys) }

// Digest names all that the meaning of a repository can depend on, and equal digests evaluate alike: see tree.Digest.
func Digest(fsys fs.FS) (string, error) { return tree.Digest(fsys) }

// result is what an evaluation hands over.
type result cached

// finish adds what only the repository itself has.
func finish(o Options, fsys fs.FS, res *result) (schema.Repo, []schema.Fault, error) {
	b, err := tree.Blobs(fsys, res.Sources)
	if err != nil {
		return schema.Repo{}, nil, err
	}
	res.Repo.Blobs = b
	if o.Warn != nil && !schema.Refused(res.Faults) {
		res.Faults = schema.SortFaults(append(res.Faults, o.Warn(res.Repo)...))
	}
	return res.Repo, res.Faults, nil
}

// loading is one evaluation.
type loading struct {
	report
	opts      Options
	tree      *tree.Tree
	defs      shapes
	kinds     map[string]bool
	kindNames []string
	module    string // of cue.mod/module.cue, without its version
	files     []*source
	folders   []*folder
	objects   map[objKey]*object
	list      []*object // of all folders
	complete  bool      // every folder could be evaluated
	repo      schema.Repo
	table     []kindOf
	notJudged map[string]schema.OperatingSystem // of the shipped baselines that this build cannot judge by
	sources   map[string]bool
	elsewhere map[objKey]bool // objects that something makes where they may not be
	unsure    map[string]bool // kinds of which objects stand under a mistyped name

	opened opened

	judging objKey        // the object that is judged now
	looked  map[look]bool // what was looked at for it; nil: nobody asks
	part    *part         // of a repository, which is judged by itself; nil for a whole one
	doubts  []string      // why what a part says may not be what the whole says

	// Of a part of the objects, until they are joined: see apart.
	stores []func()
	notes  []noted
	idles  []idling

	how
	// rosterWrong says that lines of the roster have faults, so that not all nodes are known.
	rosterWrong bool
	asked       int                 // words that mistyped names of nodes were compared with
	chosen      map[string][]string // names of the nodes that targets mean, by the JSON of these
	sizes       map[string]int      // of documents that were given arguments, as JSON
	tried       int                 // selections that were held against nodes
}

// how an evaluation goes about; the outcome is the same. Tests hold the ways against each other.
type how struct {
	cueAlone bool // nothing is judged directly
	batch    int  // objects evaluated in one context
}

// batchSize is how many objects one context evaluates before it is thrown away.
const batchSize = 250

func evaluate(ctx context.Context, o Options, t *tree.Tree) (*result, error) {
	l, err := newLoading(o, t, how{batch: batchSize})
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(t.Faults, func(f schema.Fault) bool { return f.File == "" }) {
		return &result{Faults: schema.SortFaults(l.faults)}, nil // too much to be looked at
	}
	l.looked = map[look]bool{}
	l.readShipped()
	if err := l.judge(ctx); err != nil {
		return nil, err
	}
	l.decode()
	l.rules()
	l.roster()
	l.rosterLinks()
	l.vendored()
	faults := fewer(l.once(schema.SortFaults(l.faults)))
	if len(faults) == 0 {
		faults = nil // equal results are equal in every byte
	}
	res := &result{Repo: l.repo, Faults: faults}
	for s := range l.sources {
		res.Sources = append(res.Sources, s)
	}
	slices.Sort(res.Sources)
	if !schema.Refused(faults) {
		res.Known = l.known(faults)
	}
	return res, nil
}

// fewer keeps as many faults as people read. What refuses the commit is kept before what does not: else warnings could
// crowd it out.
func fewer(faults []schema.Fault) []schema.Fault {
	room := len(faults) - maxFaults
	if room <= 0 {
		return faults
	}
	for i := len(faults) - 1; i >= 0 && room > 0; i-- {
		if faults[i].Severity == schema.SeverityWarning {
			faults = slices.Delete(faults, i, i+1)
			room--
		}
	}
	return faults[:min(len(faults), maxFaults)]
}

func newLoading(o Options, t *tree.Tree, h how) (*loading, error) {
	defs, err := definitions()
	if err != nil {
		return nil, err
	}
	l := &loading{opts: o, tree: t, defs: defs, kinds: map[string]bool{}, objects: map[objKey]*object{}, complete: true, sources: map[string]bool{}, unsure: map[string]bool{}, elsewhere: map[objKey]bool{}, sizes: map[string]int{}, how: h}
	l.faults = slices.Clone(t.Faults)
	for _, f := range defs["#Repo"].fields {
		l.kinds[f.name] = true
		l.kindNames = append(l.kindNames, f.name)
	}
	return l, nil
}

// judge finds the objects that the files make, and their values, without defaults.
func (l *loading) judge(ctx context.Context) error {
	l.readModule()
	l.scanAll()
	if l.part != nil {
		l.cutToPart()
	}
	l.arrange()
	for _, f := range l.files {
		if f.tree != nil {
			l.imports(f)
		}
	}
	l.libraries()
	for _, d := range l.folders {
		l.references(d)
	}
	l.layout()
	if l.part != nil {
		l.stillPart()
		if len(l.doubts) > 0 || slices.ContainsFunc(l.faults, func(f schema.Fault) bool { return f.Severity != schema.SeverityWarning }) {
			l.doubtPart("it is left to the whole")
			return nil
		}
	}
	if err := l.evaluate(ctx); err != nil {
		return err
	}
	l.collect()
	return nil
}

// readModule takes the module's path, under which a repository's own packages are imported.
func (l *loading) readModule() {
	const name = "cue.mod/module.cue"
	b, ok := l.tree.Content[name]
	if !ok {
		return
	}
	f, err := parser.ParseFile(name, b)
	if err != nil {
		l.syntax(name, b, err)
		return
	}
	for _, d := range f.Decls {
		x, ok := d.(*ast.Field)
		if !ok {
			continue
		}
		if n, _ := labelName(x.Label); n == "module" {
			if v, ok := literalValue(x.Value); ok {
				l.module, _, _ = strings.Cut(v.s, "@")
			}
		}
	}
}

func (l *loading) scanAll() {
	var names []string
	for name := range l.tree.Content {
		if strings.HasSuffix(name, ".cue") && !strings.HasPrefix(name, "cue.mod/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = slices.DeleteFunc(names, func(name string) bool {
		why := ignored(name)
		if why != "" {
			l.warn(name, token.NoPos, "", "not read: "+why)
		}
		return why != ""
	})
	l.files = make([]*source, len(names))
	reports := make([]report, len(names))
	l.inParallel(len(names), func(i int) {
		sc := &scanner{kinds: l.kinds, defs: l.defs, r: &reports[i]}
		if l.cueAlone {
			sc.defs = nil
		}
		l.files[i] = sc.scan(names[i], l.tree.Content[names[i]])
	})
	for _, r := range reports {
		l.faults = append(l.faults, r.faults...)
	}
}

// inParallel calls f for 0 to n-1, in as many goroutines as there are processors, at most four, and joins them.
func (l *loading) inParallel(n int, f func(int)) {
	const stride = 16
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 4, (n+stride-1)/stride) {
		wg.Go(func() {
			for {
				from := int(next.Add(stride)) - stride
				if from >= n {
					return
				}
				for i := from; i < min(from+stride, n); i++ {
					f(i)
					l.opts.pacer.pace()
				}
			}
		})
	}
	wg.Wait()
}

func (l *loading) warn(file string, pos token.Pos, path, message string) {
	p := position(pos)
	l.add(schema.Fault{File: file, Line: p.Line, Column: p.Column, Path: path, Message: message, Severity: schema.SeverityWarning})
}

// libraries breaks the files that import a package which is broken itself.
func (l *loading) libraries() {
	for range 8 { // packages that import packages
		changed := false
		for _, f := range l.files {
			if f.broken || f.tree == nil {
				continue
			}
			for s := range f.tree.ImportSpecs() {
				dir, pkg, ok := l.libDir(importPath(s))
				if ok && slices.ContainsFunc(l.libFiles(dir, pkg), func(g *source) bool { return g.broken }) {
					f.broken, changed = true, true
				}
			}
		}
		if !changed {
			return
		}
	}
}

// collect gathers the objects of all folders; one that several folders make is a fault at the later path.
func (l *loading) collect() {
	for _, d := range l.folders {
		for _, o := range d.order {
			prev := l.objects[o.key]
			switch {
			case prev == nil:
				l.objects[o.key] = o
				l.list = append(l.list, o)
			case len(o.frags) == 0 || len(prev.frags) == 0: // else layout has said so
				f, pos := l.objectPos(o)
				first := prev.pos()
				if len(prev.frags) == 0 {
					_, p := l.objectPos(prev)
					first = position(p)
				}
				l.twice(f, pos, o.key, first)
			}
		}
	}
	l.documentFiles()
	slices.SortFunc(l.list, func(a, b *object) int {
		return cmp.Or(cmp.Compare(slices.Index(l.kindNames, a.key.kind), slices.Index(l.kindNames, b.key.kind)), cmp.Compare(a.key.name, b.key.name))
	})
}
