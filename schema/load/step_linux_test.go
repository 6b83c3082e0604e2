package load

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	slash "path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"cuelang.org/go/cue/literal"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/codec"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// differing are the paths of all files that are not the same in two repositories.
func differing(a, b fstest.MapFS) []string {
	var out []string
	for name, f := range a {
		if g, ok := b[name]; !ok || !bytes.Equal(f.Data, g.Data) {
			out = append(out, name)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			out = append(out, name)
		}
	}
	return out
}

// walker takes a repository from commit to commit, and holds each step against the whole.
type walker struct {
	t      testing.TB
	judge  *Judge
	base   Evaluated
	at     fstest.MapFS
	short  int
	whole  map[string]int // by reason
	refuse int
}

func newWalker(t testing.TB, o Options, m fstest.MapFS) *walker {
	t.Helper()
	w := &walker{t: t, judge: InProcessJudge(o), whole: map[string]int{}}
	var err error
	if w.base, err = w.judge.Whole(t.Context(), m); err != nil || schema.Refused(w.base.Faults) {
		t.Fatalf("the first commit: %v\n%s", err, lines(w.base.Faults))
	}
	w.at = m
	return w
}

// step goes to another commit, if it is valid.
func (w *walker) step(m fstest.MapFS, what string) {
	w.t.Helper()
	changed := differing(w.at, m)
	if len(changed) == 0 {
		return
	}
	want, err := w.judge.Whole(w.t.Context(), m)
	if err != nil {
		w.t.Fatal(err)
	}
	got, err := w.judge.Step(w.t.Context(), w.base, w.at, m, changed)
	switch refused := schema.Refused(want.Faults); {
	case err != nil && !errors.Is(err, ErrWhole):
		w.t.Fatalf("%s: %v", what, err)
	case err != nil && !refused:
		w.whole[whyWhole(err)]++
		w.base, w.at = want, m
		return
	case err != nil:
		w.refuse++
		return
	case refused:
		w.t.Fatalf("%s: the part takes what the whole refuses:\n%s\nchanged %q:\n%s", what, lines(want.Faults), changed, text(m, changed))
	}
	w.short++
	if a, b := kept(w.t, Evaluated{Repo: got.Repo, Faults: got.Faults}, ""), kept(w.t, Evaluated{Repo: want.Repo, Faults: want.Faults}, ""); !bytes.Equal(a, b) {
		w.t.Fatalf("%s: the part says otherwise than the whole; changed %q:\n%s\n%s", what, changed, text(m, changed), unlike(got, want))
	}
	if !reflect.DeepEqual(got.Known.Looks, want.Known.Looks) || !reflect.DeepEqual(got.Known.Apart, want.Known.Apart) {
		w.t.Fatalf("%s: another thing is known: %v\nwant %v", what, got.Known.Looks, want.Known.Looks)
	}
	if a, b := got.Known, want.Known; !slices.Equal(a.Warnings, b.Warnings) || a.Files != b.Files || a.Bytes != b.Bytes || !slices.Equal(a.Library, b.Library) {
		w.t.Fatalf("%s: %d files of %d bytes and %d warnings are known, not %d of %d and %d", what, a.Files, a.Bytes, len(a.Warnings), b.Files, b.Bytes, len(b.Warnings))
	}
	for dir, f := range want.Known.Folders {
		if g := got.Known.Folders[dir]; f.Active && !g.Active || !slices.Equal(f.Support, g.Support) || slices.ContainsFunc(f.Uses, func(k string) bool { return !slices.Contains(g.Uses, k) }) {
			w.t.Fatalf("%s: of %s is known %+v, which is %+v", what, dir, g, f)
		}
	}
	w.base, w.at = got, m // and what is known then is what the next step stands on
}

func whyWhole(err error) string {
	text := strings.TrimPrefix(err.Error(), ErrWhole.Error()+": ")
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '#'
		}
		return r
	}, text)
}

func text(m fstest.MapFS, names []string) string {
	var b strings.Builder
	for _, name := range names {
		if f := m[name]; f != nil {
			fmt.Fprintf(&b, "-- %s --\n%s", name, f.Data)
		} else {
			fmt.Fprintf(&b, "-- %s is gone --\n", name)
		}
	}
	return b.String()
}

func unlike(got, want Evaluated) string {
	var b strings.Builder
	a, c := reflect.ValueOf(got.Repo), reflect.ValueOf(want.Repo)
	for i := range a.NumField() {
		if !codec.Same(a.Field(i), c.Field(i)) {
			fmt.Fprintf(&b, "%s:\n%+v\nwant\n%+v\n", a.Type().Field(i).Name, a.Field(i), c.Field(i))
		}
	}
	fmt.Fprintf(&b, "faults:\n%swant\n%s", lines(got.Faults), lines(want.Faults))
	return b.String()
}

// Whatever commits come one after the other, a part says exactly what the whole says, or leaves it to the whole.
func TestStepsSayWhatTheWholeSays(t *testing.T) {
	warn := func(repo schema.Repo) []schema.Fault {
		return []schema.Fault{{File: "fleet.cue", Message: fmt.Sprintf("%d policies, %d nodes", len(repo.Policies), len(repo.Roster)), Severity: schema.SeverityWarning}}
	}
	short, steps, refused := 0, 0, 0
	for seed := range uint64(max(1, runsOf(8))) {
		o := Options{Warn: warn}
		if seed%2 == 1 {
			o.Limits = idleOnly()
		}
		a := &author{Rand: rand.New(rand.NewPCG(seed, 7)), files: fstest.MapFS{"fleet.cue": {Data: []byte(firstFleet)}, "files/a": {Data: []byte("a")}, "files/b": {Data: []byte("b")}}}
		if seed%3 > 0 {
			for name, f := range register(12) {
				if strings.HasPrefix(name, "nodes/") {
					a.files[name] = f
				}
			}
		}
		a.found(t, o)
		w := newWalker(t, o, a.files)
		for range 40 {
			a.files = w.at // what was refused is taken back
			for range 4 {
				what := a.commit()
				before := w.refuse
				w.step(a.files, fmt.Sprintf("seed %d: %s", seed, what))
				if w.refuse == before {
					break
				}
			}
		}
		short, refused = short+w.short, refused+w.refuse
		steps += w.short
		for _, n := range w.whole {
			steps += n
		}
		if testing.Verbose() {
			for _, why := range slices.Sorted(maps.Keys(w.whole)) {
				t.Logf("%4d %s", w.whole[why], why)
			}
		}
	}
	t.Logf("%d of %d commits were judged by a part, and %d refused", short, steps, refused)
	if short < steps/2 || refused < steps/10 {
		t.Errorf("%d of %d commits were judged by a part, and %d refused: the test looks at one side only", short, steps, refused)
	}
}

// What is made to part the ways of the loader does not part a change from the whole: each file of these packages is added,
// moved down a line and removed.
func TestAdversarialPackagesAsCommits(t *testing.T) {
	names, repos := adversarial(t)
	short, all := 0, 0
	for i, name := range names {
		if raceDetector && i%10 > 0 {
			continue
		}
		m := repos[name]
		for _, file := range slices.Sorted(maps.Keys(m)) {
			if file == "fleet.cue" || strings.HasPrefix(file, "cue.mod/") || strings.HasPrefix(file, "lib/") {
				continue
			}
			without := maps.Clone(m)
			delete(without, file)
			down := maps.Clone(m)
			down[file] = &fstest.MapFile{Data: append([]byte("\n"), m[file].Data...)}
			j := InProcessJudge(Options{})
			base, err := j.Whole(t.Context(), without)
			if err != nil || schema.Refused(base.Faults) {
				continue
			}
			w := &walker{t: t, judge: j, base: base, at: without, whole: map[string]int{}}
			w.step(m, name+": add "+file)
			if len(differing(w.at, m)) == 0 {
				w.step(down, name+": move down "+file)
				w.step(without, name+": remove "+file)
			}
			short += w.short
			all += w.short + w.refuse
			for _, n := range w.whole {
				all += n
			}
		}
	}
	t.Logf("%d of %d were judged by a part", short, all)
	if short < all/10 {
		t.Errorf("%d of %d were judged by a part: the test looks at one side only", short, all)
	}
}

// An object that is nearly right gets as a change the verdict that it gets in the whole.
func TestMutantsAsCommits(t *testing.T) {
	folders, err := oracle(folderFS(t, "testdata/example"))
	if err != nil {
		t.Fatal(err)
	}
	base := fstest.MapFS{}
	for name, f := range folderFS(t, "testdata/example") {
		if !strings.HasSuffix(name, ".cue") {
			base[name] = f
		}
	}
	var objects []seed
	names := map[string]string{} // of objects, by their text
	exports := exported(t, folders)
	for _, path := range slices.Sorted(maps.Keys(exports)) {
		k, _, _ := objectIn(path)
		v, err := parseJSON([]byte(exports[path]))
		if err != nil {
			t.Fatal(err)
		}
		head := k.kind + ": " + literal.String.Quote(k.name) + ": "
		dir := k.kind + "s"
		if k.kind == "fleet" {
			head, dir = "fleet: ", "."
		} else if k.kind != "guardrail" || k.name != "" {
			objects = append(objects, seed{k.kind, v})
			names[exports[path]] = k.name
		}
		file := slash.Join(dir, "o-"+strings.NewReplacer("/", "_", " ", "_").Replace(k.name)+".cue")
		if k.kind == "fleet" {
			file = "fleet.cue"
		}
		base[file] = &fstest.MapFile{Data: []byte("package fleet\n" + head + exports[path] + "\n")}
	}
	w := newWalker(t, Options{}, base)
	m := newMutator(t, 11, objects)
	for i := range runsOf(250) {
		s := pick(m, objects)
		k := objKey{s.kind, names[string(s.v.json(nil))]}
		if m.chance(200) {
			k.name = fmt.Sprintf("new-%d", i)
		}
		one := &mutator{Rand: m.Rand, seeds: []seed{s}, pool: m.pool, labels: m.labels}
		text := "package fleet\n" + k.kind + ": " + literal.String.Quote(k.name) + ": " + one.text(one.next().v) + "\n"
		after := maps.Clone(w.at)
		after[slash.Join(k.kind+"s", "o-"+strings.NewReplacer("/", "_", " ", "_").Replace(k.name)+".cue")] = &fstest.MapFile{Data: []byte(text)}
		w.step(after, fmt.Sprintf("mutant %d", i))
	}
	whole := 0
	for _, n := range w.whole {
		whole += n
	}
	t.Logf("%d were judged by a part, %d by the whole, %d refused: %v", w.short, whole, w.refuse, w.whole)
	if w.short < whole || w.refuse == 0 {
		t.Errorf("%d were judged by a part, %d by the whole, %d refused: the test looks at one side only", w.short, whole, w.refuse)
	}
}

// Each of these would be judged wrongly by a part that did not look at all that bears on it.
func TestWhatBearsOnAChange(t *testing.T) {
	const nodes = 6
	window := `{schedule: "rate(1 day)", timezone: "UTC", duration: "3h", cutoff: "1h", targets: all: true, tasks: t: {document: "AWS-RunPatchBaseline", parameters: Operation: "Scan", maxConcurrency: "100%", maxErrors: "100%"}}`
	step := func(name, doc string) string {
		return fmt.Sprintf("document: %s: {schemaVersion: \"2.2\", mainSteps: [{name: \"s\", action: \"aws:runDocument\", inputs: {documentType: \"SSMDocument\", documentPath: %q}}]}\n", name, doc)
	}
	const last = "document: %s: {schemaVersion: \"2.2\", mainSteps: [{name: \"s\", action: \"aws:runShellScript\", inputs: runCommand: [\"true\"]}]}\n"
	baseline := "baseline: %s: {operatingSystem: \"DEBIAN\", default: true, approvalRules: [{filters: PRIORITY: [\"Required\"], approveAfterDays: 3}]}\n"
	activation := "activation: \"act-%s\": {publicKey: \"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEzTyYr4QHQgiQM4EECml5Q9po5Eq+8lnt9ASinRHTO3\", expires: \"2026-12-20T00:00:00Z\", limit: 50, tags: role: \"web\", createdBy: \"alice\"}\n"
	secret := "parameter: \"/p/%s\": {type: \"SecureString\", readers: all: true, versions: \"1\": value: " + fmt.Sprintf("%q", sealedForTwo) + "}\n"
	long := strings.Repeat("n", 63)
	for _, tt := range []struct {
		name          string
		before, after map[string]string // of after only what differs; empty is gone
		want          string            // "part", "whole" or "refused"
	}{
		{"a window that is named is gone, and its name still stands there",
			map[string]string{"windows/w.cue": "window: w: " + window, "policies/p.cue": "policy: p: {targets: all: true, window: \"w\"}"},
			map[string]string{"windows/w.cue": "// w\n"}, "refused"},
		{"a window that is named changes",
			map[string]string{"windows/w.cue": "window: w: " + window, "policies/p.cue": "policy: p: {targets: all: true, window: \"w\"}"},
			map[string]string{"windows/w.cue": "\nwindow: w: " + window}, "part"},
		{"one of two that say the same is gone",
			map[string]string{"policies/p.cue": "policy: p: targets: all: true", "policies/q.cue": "policy: p: targets: all: true"},
			map[string]string{"policies/q.cue": ""}, "whole"},
		{"one of two says more",
			map[string]string{"policies/p.cue": "policy: p: targets: all: true", "policies/q.cue": "policy: p: targets: all: true"},
			map[string]string{"policies/q.cue": "policy: p: {targets: all: true, severity: \"LOW\"}"}, "whole"},
		{"an object moves to a folder below, where a template stands",
			map[string]string{"policies/p.cue": "policy: p: targets: all: true", "policies/x/t.cue": "_t: 1\npolicy: q: {targets: all: true, description: \"\\(_t)\"}"},
			map[string]string{"policies/p.cue": "", "policies/x/p.cue": "policy: p: targets: all: true"}, "part"},
		{"a pattern in a folder above",
			map[string]string{"all.cue": "policy: [string]: severity: \"LOW\"", "policies/p.cue": "policy: p: targets: all: true"},
			map[string]string{"policies/p.cue": "policy: p: {targets: all: true, severity: \"LOW\", mode: \"audit\"}"}, "whole"},
		{"a pattern in a folder below",
			map[string]string{"policies/x/t.cue": "policy: [string]: severity: \"LOW\""},
			map[string]string{"policies/p.cue": "policy: p: {targets: all: true}"}, "refused"},
		{"an object that takes from another",
			map[string]string{"policies/p.cue": "policy: p: targets: all: true", "policies/q.cue": "policy: q: targets: policy.p.targets"},
			map[string]string{"policies/p.cue": "policy: p: targets: os: [\"debian\"]"}, "whole"},
		{"what it takes is not there any more",
			map[string]string{"policies/p.cue": "policy: p: targets: all: true", "policies/q.cue": "policy: q: targets: policy.p.targets"},
			map[string]string{"policies/p.cue": "// p"}, "refused"},
		{"a comprehension makes objects of another kind of it",
			map[string]string{"policies/p.cue": "policy: p: targets: all: true", "all.cue": "for k, v in policy {resourceGroup: (k): targets: v.targets}\npolicy: root: targets: all: true"},
			map[string]string{"policies/p.cue": "policy: p: targets: os: [\"debian\"]"}, "whole"},
		{"a second default baseline",
			map[string]string{"baselines/a.cue": fmt.Sprintf(baseline, "a")},
			map[string]string{"baselines/b.cue": fmt.Sprintf(baseline, "b")}, "refused"},
		{"the default baseline is another",
			map[string]string{"baselines/a.cue": fmt.Sprintf(baseline, "a")},
			map[string]string{"baselines/b.cue": fmt.Sprintf(baseline, "b"), "baselines/a.cue": ""}, "part"},
		{"two activations with one key",
			map[string]string{"activations/a.cue": fmt.Sprintf(activation, "aaaaaa")},
			map[string]string{"activations/b.cue": fmt.Sprintf(activation, "bbbbbb")}, "refused"},
		{"two baselines of a group become of one system",
			map[string]string{"groups/g.cue": "group: g: baselines: [\"a\", \"AWS-UbuntuDefaultPatchBaseline\"]", "baselines/a.cue": fmt.Sprintf(baseline, "a")},
			map[string]string{"baselines/a.cue": strings.Replace(fmt.Sprintf(baseline, "a"), "DEBIAN", "UBUNTU", 1)}, "refused"},
		{"a group two groups away selects nobody any more",
			map[string]string{"groups/g.cue": "group: g: {targets: groups: [\"h\"], baselines: [\"AWS-UbuntuDefaultPatchBaseline\"]}", "groups/h.cue": "group: h: {targets: tags: role: \"web\", baselines: [\"AWS-UbuntuDefaultPatchBaseline\"]}",
				"policies/p.cue": "policy: p: targets: {groups: [\"g\"], exclude: tags: role: \"db\"}"},
			map[string]string{"groups/h.cue": "group: h: {targets: tags: role: \"db\", baselines: [\"AWS-UbuntuDefaultPatchBaseline\"]}"}, "part"},
		{"a circle of groups",
			map[string]string{"groups/g.cue": "group: g: {targets: groups: [\"h\"], baselines: [\"AWS-UbuntuDefaultPatchBaseline\"]}", "groups/h.cue": "group: h: {targets: tags: role: \"web\", baselines: [\"AWS-UbuntuDefaultPatchBaseline\"]}"},
			map[string]string{"groups/h.cue": "group: h: {targets: groups: [\"g\"], baselines: [\"AWS-UbuntuDefaultPatchBaseline\"]}"}, "refused"},
		{"documents too deep",
			map[string]string{"documents/a.cue": step("a", "b"), "documents/b.cue": step("b", "c"), "documents/c.cue": step("c", "d"), "documents/d.cue": fmt.Sprintf(last, "d"), "documents/e.cue": fmt.Sprintf(last, "e")},
			map[string]string{"documents/d.cue": step("d", "e")}, "refused"},
		{"documents deep enough",
			map[string]string{"documents/a.cue": step("a", "b"), "documents/b.cue": step("b", "c"), "documents/c.cue": step("c", "d"), "documents/d.cue": fmt.Sprintf(last, "d"), "documents/e.cue": fmt.Sprintf(last, "e")},
			map[string]string{"documents/c.cue": step("c", "e")}, "part"},
		{"a document asks for a parameter more",
			map[string]string{"documents/d.cue": fmt.Sprintf(last, "d"), "policies/p.cue": "policy: p: {targets: all: true, checks: c: document: \"d\"}"},
			map[string]string{"documents/d.cue": strings.Replace(fmt.Sprintf(last, "d"), "mainSteps", "parameters: Text: type: \"String\", mainSteps", 1)}, "refused"},
		{"another secret",
			map[string]string{"parameters/b.cue": fmt.Sprintf(secret, "b")},
			map[string]string{"parameters/a.cue": fmt.Sprintf(secret, "a")}, "part"},
		{"another secret, where none could be recovered",
			map[string]string{"fleet.cue": `fleet: name: "acme"`, "parameters/b.cue": fmt.Sprintf(secret, "b")},
			map[string]string{"parameters/c.cue": fmt.Sprintf(secret, "c")}, "whole"},
		{"the last secret, where none could be recovered",
			map[string]string{"fleet.cue": `fleet: name: "acme"`, "parameters/b.cue": fmt.Sprintf(secret, "b")},
			map[string]string{"parameters/b.cue": ""}, "whole"},
		{"the first secret, with one key of recovery",
			map[string]string{"fleet.cue": `fleet: {name: "acme", recovery: ["age1lcd5axs8aea79aln5rnfmm04l4wezttp6zu543y4mqpccn9lf4vq9spx6g"]}`},
			map[string]string{"parameters/b.cue": fmt.Sprintf(secret, "b")}, "refused"},
		{"a warning that two objects take from one place, one of them gone",
			map[string]string{"policies/t.cue": "_t: nodes: [\"nobody\"]", "policies/p.cue": "policy: p: targets: _t", "policies/q.cue": "policy: q: targets: _t"},
			map[string]string{"policies/q.cue": ""}, "whole"},
		{"and one more",
			map[string]string{"policies/t.cue": "_t: nodes: [\"nobody\"]", "policies/p.cue": "policy: p: targets: _t"},
			map[string]string{"policies/q.cue": "policy: q: targets: _t"}, "whole"},
		{"a long name",
			map[string]string{"policies/p.cue": "policy: p: targets: all: true"},
			map[string]string{"policies/q.cue": "policy: \"" + long + "\": targets: nodes: [\"nobody\"]"}, "whole"},
		{"a node is called as another",
			nil, map[string]string{"nodes/": "twice"}, "refused"},
		{"a node that a policy names is called otherwise",
			map[string]string{"policies/p.cue": "policy: p: targets: nodes: [\"node-00000\", \"node-00001\", \"node-00002\", \"node-00003\", \"node-00004\", \"node-00005\"]"}, map[string]string{"nodes/": "other"}, "part"},
		{"a file for hosts grows too large",
			map[string]string{"files/a": "x", "policies/p.cue": "policy: p: {targets: all: true, files: \"/etc/p\": source: \"files/a\"}"},
			map[string]string{"files/a": strings.Repeat("x", tree.MaxFile+1)}, "refused"},
		{"kinds that carry authority in a wrong place",
			nil, map[string]string{"policies/a.cue": fmt.Sprintf(activation, "aaaaaa")}, "refused"},
		{"fleet in another file",
			nil, map[string]string{"policies/f.cue": "fleet: name: \"acme\""}, "refused"},
		{"writing turned around",
			nil, map[string]string{"policies/p.cue": "policy: p: {targets: all: true, description: \"\u202e\"}"}, "refused"},
		{"an import",
			nil, map[string]string{"policies/p.cue": "import \"list\"\npolicy: p: {targets: os: list.Concat([[\"debian\"]])}"}, "whole"},
		{"a template of its own folder",
			map[string]string{"policies/t.cue": "_t: tags: role: \"web\""},
			map[string]string{"policies/p.cue": "policy: p: targets: _t"}, "part"},
		{"a template that is not there",
			nil, map[string]string{"policies/p.cue": "policy: p: targets: _t"}, "refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			put := func(m fstest.MapFS, files map[string]string) fstest.MapFS {
				m = maps.Clone(m)
				for name, text := range files {
					switch {
					case name == "nodes/":
						for shard, f := range m {
							if strings.HasPrefix(shard, "nodes/") && bytes.Contains(f.Data, []byte(`"node-00003"`)) {
								m[shard] = &fstest.MapFile{Data: bytes.Replace(f.Data, []byte(`"node-00003"`), []byte(map[string]string{"twice": `"node-00004"`, "other": `"node-other"`}[text]), 1)}
							}
						}
					case text == "":
						delete(m, name)
					case isCUE(name):
						m[name] = &fstest.MapFile{Data: []byte("package fleet\n" + strings.TrimSuffix(text, "\n") + "\n")}
					default:
						m[name] = &fstest.MapFile{Data: []byte(text)}
					}
				}
				return m
			}
			m := fstest.MapFS{"fleet.cue": {Data: []byte(firstFleet)}}
			for name, f := range register(nodes) {
				if strings.HasPrefix(name, "nodes/") {
					m[name] = f
				}
			}
			w := newWalker(t, Options{}, put(m, tt.before))
			w.step(put(w.at, tt.after), tt.name)
			got := "refused"
			for range w.whole {
				got = "whole"
			}
			if w.short > 0 {
				got = "part"
			}
			if got != tt.want {
				t.Errorf("judged: %s, want %s %v", got, tt.want, w.whole)
			}
		})
	}
}
