package load

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// judged is what the loader, in one of its ways, makes of a repository: the values of the objects
// that it takes, without defaults, in canonical form and by path, and whether it has any fault.
func judged(t testing.TB, m fstest.MapFS, h how) (map[string]string, []schema.Fault) {
	t.Helper()
	tr, err := tree.Read(m)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLoading(Options{}, tr, h)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.judge(t.Context()); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, o := range l.list {
		if o.accepted() && !o.wrong && !o.dropped {
			out[o.key.path().String()] = string(o.whole().json(nil))
		}
	}
	return out, slices.DeleteFunc(l.faults, func(f schema.Fault) bool { return f.Severity == schema.SeverityWarning })
}

// mutant is an object, or a value of a definition, in one or two files.
type mutant struct {
	key   objKey // of a value: its definition, and its name
	value *value
	texts []string
}

func (m *mutator) mutant(i int) mutant {
	for {
		s := m.next()
		o := mutant{key: objKey{s.kind, m.name(s.kind, i)}, value: s.v}
		head := s.kind + ": " + literal.String.Quote(o.key.name) + ": "
		if strings.HasPrefix(s.kind, "#") {
			o.key.name = fmt.Sprintf("m%06d", i)
			head = o.key.name + ": schema." + s.kind + "\n" + o.key.name + ": "
		} else if s.kind == "fleet" {
			o.key.name = ""
			head = "fleet: "
		}
		if s.v.k == kStruct && len(s.v.keys) > 1 && m.chance(150) { // with a template
			a, b := m.split(s.v)
			t := fmt.Sprintf("_t%06d", i)
			m.loose = true
			text := t + ": " + m.text(a) + "\n"
			m.loose = false
			switch m.IntN(5) {
			case 0, 1:
				text += head + t + " & " + m.text(b) + "\n"
			case 2:
				text += head + "{" + t + "," + m.fields(b) + "}\n"
			case 3: // from field to field
				k := a.keys
				if len(k) == 0 {
					k = []string{"x"}
				}
				text += head + m.text(b) + " & {" + literal.String.Quote(k[0]) + ": " + t + "[" + literal.String.Quote(k[0]) + "]}\n"
			case 4:
				text += head + "{for k, v in " + t + " {(k): v}} & " + m.text(b) + "\n"
			}
			o.texts = []string{text}
		} else if s.v.k == kStruct && len(s.v.keys) > 1 && m.chance(60) { // over two declarations
			a, b := m.split(s.v)
			o.texts = []string{head + m.text(a) + "\n", head + m.text(b) + "\n"}
			if m.chance(500) {
				o.texts = []string{o.texts[0] + o.texts[1]}
			}
		} else {
			o.texts = []string{head + m.text(s.v) + "\n"}
		}
		// What is not CUE at all says nothing about the two judges.
		if !slices.ContainsFunc(o.texts, func(s string) bool { _, err := parser.ParseFile("x.cue", "package fleet\n"+s); return err != nil }) {
			return o
		}
	}
}

// split deals the fields of a struct out to two.
func (m *mutator) split(v *value) (a, b *value) {
	a, b = &value{k: kStruct}, &value{k: kStruct}
	for j, k := range v.keys {
		n := []*value{a, b}[m.IntN(2)]
		n.set(k, v.kids[j])
	}
	return a, b
}

var ordinary = regexp.MustCompile(`^(|(/m/)?m[0-9]{6})$`)

// spoilt is a mutant that CUE cannot even build, so that whatever is beside it is refused with it.
const spoilt = "spoilt"

// unified has CUE judge mutants, all in one context. It gives each one's JSON; none for what it refuses.
func unified(ms []mutant, r cueRepo) []string {
	inst := build.NewContext(build.Loader(r.load)).NewInstance("", r.load)
	inst.PkgName = "fleet"
	files := map[string]string{}
	bound := !strings.HasPrefix(ms[0].key.kind, "#")
	head := "package fleet\n"
	if bound {
		files["schema.cue"] = "import \"" + schemaPath + "\"\nclose({schema.#Repo})\n"
	} else {
		head += "import \"" + schemaPath + "\"\n"
	}
	for i, m := range ms {
		for j, text := range m.texts {
			files[fmt.Sprintf("%06d-%d.cue", i, j)] = text
		}
	}
	failed := false
	for name, text := range files {
		h := head
		if name == "schema.cue" {
			h = "package fleet\n"
		}
		f, err := parser.ParseFile(name, h+text)
		if err != nil || inst.AddSyntax(f) != nil {
			failed = true
		}
	}
	failed = failed || inst.Complete() != nil || inst.Err != nil
	out := make([]string, len(ms))
	if !failed {
		v := newContext().BuildInstance(inst)
		_, err := v.Fields()
		if failed = err != nil; !failed {
			// What CUE has against a name it says of the whole only.
			against := map[string]bool{}
			for _, err := range errors.Errors(v.Validate(cue.Concrete(true))) {
				against[strings.Join(err.Path()[:min(2, len(err.Path()))], " ")] = true
			}
			for i, m := range ms {
				if bound && m.key.kind != "fleet" && against[m.key.kind+" "+cue.Str(m.key.name).String()] {
					continue
				}
				// And only if it has nothing else against the kind.
				if bound && len(ms) > 1 && !ordinary.MatchString(m.key.name) {
					out[i] = unified(ms[i:i+1], cueRepo{built: map[string]*build.Instance{}})[0]
					continue
				}
				p := cue.MakePath(cue.Str(m.key.kind), cue.Str(m.key.name))
				if !bound {
					p = cue.MakePath(cue.Str(m.key.name))
				} else if m.key.kind == "fleet" {
					p = cue.MakePath(cue.Str("fleet"))
				}
				w := v.LookupPath(p)
				if w.Exists() && w.Validate(cue.Concrete(true)) == nil {
					if b, err := w.MarshalJSON(); err == nil {
						out[i] = string(b)
					}
				}
			}
			return out
		}
	}
	// One of them spoils all: look at them apart.
	if len(ms) == 1 {
		return []string{spoilt}
	}
	half := len(ms) / 2
	return append(unified(ms[:half], cueRepo{built: map[string]*build.Instance{}}), unified(ms[half:], cueRepo{built: map[string]*build.Instance{}})...)
}

// directly is what the loader takes of a mutant without asking CUE.
func directly(t testing.TB, defs shapes, kinds map[string]bool, m mutant) *value {
	t.Helper()
	if strings.HasPrefix(m.key.kind, "#") {
		f, err := parser.ParseFile("x.cue", "package fleet\nx: "+m.texts[0][strings.LastIndex(m.texts[0], "\n"+m.key.name+": ")+len(m.key.name)+3:])
		if err != nil || len(m.texts) > 1 || strings.Count(m.texts[0], "\n"+m.key.name+": ") != 1 {
			return nil
		}
		v, ok := plainValue(f.Decls[len(f.Decls)-1].(*ast.Field).Value, 0)
		if d := (direct{}); !ok || !d.accepts(defs[m.key.kind], v) {
			return nil
		}
		return v
	}
	var frags []*fragment
	for _, text := range m.texts {
		r := report{}
		f := (&scanner{kinds: kinds, defs: defs, r: &r}).scan("x.cue", []byte("package fleet\n"+text))
		frags = append(frags, f.frags...)
	}
	if len(frags) != 1 {
		return nil
	}
	return frags[0].data.value()
}

// runsOf is a count, ten times as many of them with DUNLIN_LONG, and few where the race detector makes all slow.
func runsOf(n int) int {
	switch {
	case os.Getenv("DUNLIN_LONG") != "":
		return 10 * n
	case raceDetector:
		return n / 20
	}
	return n
}

// What is judged directly gets CUE's verdict and CUE's value.
func TestMutantsAreJudgedAsCUEDoes(t *testing.T) {
	folders, err := oracle(folderFS(t, "testdata/example"))
	if err != nil {
		t.Fatal(err)
	}
	var objects []seed
	exports := exported(t, folders)
	for _, v := range folders {
		it, err := v.Fields()
		for err == nil && it.Next() {
			kind := it.Selector().Unquoted()
			if kind == "fleet" {
				continue
			}
			jt, err := it.Value().Fields()
			for err == nil && jt.Next() {
				n, err := parseJSON([]byte(exports[at(kind, jt.Selector().Unquoted()).String()]))
				if err != nil {
					t.Fatal(err)
				}
				objects = append(objects, seed{kind, n})
			}
		}
	}
	fleet, err := parseJSON([]byte(exports["fleet"]))
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(objects, func(a, b seed) int {
		return strings.Compare(a.kind+string(a.v.json(nil)), b.kind+string(b.v.json(nil)))
	})
	for _, tt := range []struct {
		name  string
		seeds []seed
		count int
		batch int
		whole int // of the batches, every which is also loaded as a repository
	}{
		{"objects", objects, 28_000, 100, 3},
		{"fleet", []seed{{"fleet", fleet}}, 1_000, 1, 0},
		{"fixed forms", fixed(t), 5_000, 100, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defs, err := definitions()
			if err != nil {
				t.Fatal(err)
			}
			var accepted, asked, refused atomic.Int64
			batches := runsOf(tt.count) / tt.batch
			slots := make(chan struct{}, runtime.GOMAXPROCS(0))
			done := make(chan struct{})
			for b := range batches {
				go func() {
					defer func() { <-slots; done <- struct{}{} }()
					slots <- struct{}{}
					m := newMutator(t, uint64(b), tt.seeds)
					var ms []mutant
					for i := range tt.batch {
						if tt.name == "fixed forms" { // each batch has one definition
							m.seeds = tt.seeds[b%len(tt.seeds) : b%len(tt.seeds)+1]
						}
						ms = append(ms, m.mutant(i))
					}
					l, err := newLoading(Options{}, &tree.Tree{}, how{})
					if err != nil {
						t.Error(err)
						return
					}
					want := unified(ms, cueRepo{built: map[string]*build.Instance{}})
					for i, m := range ms {
						refuses := want[i] == "" || want[i] == spoilt
						switch got := directly(t, defs, l.kinds, m); {
						case refuses && got != nil:
							t.Errorf("CUE refuses what is accepted directly: %s", strings.Join(m.texts, "--\n"))
						case refuses:
							refused.Add(1)
						case got == nil:
							asked.Add(1)
						default:
							accepted.Add(1)
							if g, w := string(got.json(nil)), canonical(t, []byte(want[i])); g != w {
								t.Errorf("directly %s\nCUE %s\n%s", g, w, strings.Join(m.texts, "--\n"))
							}
						}
					}
					if tt.name == "fixed forms" {
						checkedAlike(t, defs, ms, want)
					}
					if tt.whole > 0 && b%tt.whole == 0 {
						loadedAlike(t, ms, want)
					}
				}()
			}
			for range batches {
				<-done
			}
			t.Logf("accepted directly %d, by CUE alone %d, refused %d", accepted.Load(), asked.Load(), refused.Load())
			if accepted.Load() < int64(batches*tt.batch/40) {
				t.Error("hardly any is accepted directly: the test says nothing")
			}
		})
	}
}

// checkedAlike holds the words' own verdict, which alone judges rosters and the host's file, against CUE's.
func checkedAlike(t *testing.T, defs shapes, ms []mutant, want []string) {
	for i, m := range ms {
		if want[i] == "" || want[i] == spoilt {
			continue
		}
		v, err := parseJSON([]byte(want[i]))
		if err != nil {
			t.Error(err)
			continue
		}
		vast := false
		eachOf(v, func(n *value) { vast = vast || n.k == kFloat && !strings.ContainsAny(n.s, ".eE") })
		if vast { // CUE's numbers have no end; ours do
			continue
		}
		c := &checker{defs: defs}
		if c.check(defs[m.key.kind], v, nil); c.bad {
			t.Errorf("CUE accepts, the checker does not: %v\n%s", c.found, want[i])
		}
	}
}

// loadedAlike loads mutants as one repository, with and without judging directly.
func loadedAlike(t *testing.T, ms []mutant, want []string) {
	repo := fstest.MapFS{}
	for i, m := range ms {
		if want[i] == spoilt {
			continue
		}
		for j, text := range m.texts {
			repo[fmt.Sprintf("%ss/%06d-%d.cue", m.key.kind, i, j)] = &fstest.MapFile{Data: []byte("package fleet\n" + text)}
		}
	}
	for _, h := range []how{{batch: 30}, {batch: 30, cueAlone: true}} {
		got, _ := judged(t, repo, h)
		for i, m := range ms {
			w := want[i]
			if w == spoilt {
				continue
			}
			if w != "" {
				w = canonical(t, []byte(w))
			}
			if g := got[m.key.path().String()]; g != w {
				t.Errorf("%+v: got %s\nwant %s\n%s", h, g, w, strings.Join(m.texts, "--\n"))
			}
		}
	}
}
