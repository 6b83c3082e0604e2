package load

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
	"unicode/utf8"

	"golang.org/x/tools/txtar"

	"github.com/dunlin-dev/dunlin/schema"
)

// ofCUE are words that tell how CUE works, which nobody has to know who writes a policy.
func ofCUE() []string {
	return []string{
		"concrete", "incomplete", "conflicting", "_|_", "disjunct", "conjunct", "instance", "#Repo", "schema.#", "schema.cue:", "dunlin.dev/schema",
		"cannot reference optional", "expected operand", "expected label", "found '", "adt", "bottom", "vertex", "unify", "unification", "not CUE", "literal",
		"@experiment", "cuelang", "non-function", "identifier", "invalid value", "out of bound", "does not satisfy", "mismatched", "goroutine", "<nil>", "%!", "(:",
	}
}

// wellSaid holds faults to what people may rely on: they can be found, and read in one line.
func wellSaid(t *testing.T, m fstest.MapFS, faults []schema.Fault) {
	t.Helper()
	all := ""
	for name, f := range m {
		all += name + "\n" + string(f.Data) + "\n"
	}
	for _, f := range faults {
		for _, w := range ofCUE() {
			if strings.Contains(f.Message, w) && !strings.Contains(all, w) {
				t.Errorf("%q speaks of CUE: %s", w, f)
			}
		}
		if n := utf8.RuneCountInString(f.String()); n > 1500 || f.Message == "" || strings.ContainsFunc(f.String(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("not one short line of what can be printed (%d): %q", n, f)
		}
		file := m[f.File]
		if file == nil {
			t.Errorf("no such file: %s", f)
			continue
		}
		if f.Line == 0 {
			if f.Column != 0 || f.Message != `required; fleet.cue says at least fleet: name: "..."` && !strings.Contains(f.Message, "vendored") && !strings.HasPrefix(f.Message, "not read: ") {
				t.Errorf("no line: %s", f)
			}
			continue
		}
		lines := strings.Split(string(file.Data), "\n")
		if f.Line < 1 || f.Line > len(lines) || f.Column < 1 || f.Column > len(lines[f.Line-1])+1 {
			t.Errorf("no such place: %s", f)
		}
	}
}

// mistakes are the archives of slips, each as a repository.
func mistakes(t testing.TB) []fstest.MapFS {
	t.Helper()
	names, err := filepath.Glob("testdata/mistakes/*.txtar")
	if err != nil || len(names) < 120 {
		t.Fatalf("%d mistakes, %v", len(names), err)
	}
	var out []fstest.MapFS
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		m := fstest.MapFS{"fleet.cue": {Data: []byte("package fleet\n\nfleet: name: \"acme\"\n")}}
		for _, f := range a.Files {
			if f.Name != "want" {
				m[f.Name] = &fstest.MapFile{Data: f.Data}
			}
		}
		out = append(out, m)
	}
	return out
}

// heavy keeps from this process what the child's limits are for.
func heavy(text string) bool {
	return len(text) > 2000 || strings.Contains(text, "Range") || strings.Contains(text, "Repeat") || strings.Contains(text, "Combinations") || strings.Count(text, "for ") > 3
}

// Slips upon slips: what one more cut, doubled or foreign word does to a wrong file is told as well as the rest.
func TestFaultsOfMutatedFilesAreWellSaid(t *testing.T) {
	tokens := []string{
		"{", "}", "[", "]", "(", ")", ":", ",", "\"", "'", "\"\"\"", "`", "=", "=>", ";", "//", "#", "$", "%", "@tag(x)", "\\", "\\(", "&", "|", "*", "-", "+", "/", "!", "?", "...", "..",
		"_", "__a", "_|_", "null", "true", "0644", "3h", "1e999", "0x", "1_", "9999999999999999999999", "if", "for x in y", "let", "import \"strings\"", "package fleet", "string", "error(\"mine\")",
		"strings.MinRunes(3)", "list.Sort", "len(3)", "close({})", "and([])", "or([])", "matchN(1, [1])", "div(1, 0)", "1/0", "\"a\"+1", "[1][2]", "{a: 1}.b", "=~\"(\"", ">=3 & <1", "int", "\u202e", "\u00a0", "“", "\x00", "\xff",
		"policy.web", "_night", "X=", "~", "<<<<<<< HEAD\n", "\n- a\n", "\t", "\r\n", " ", "\n", "*1 | 2", "1 | 2", "a?: 1", "a!: 1", "[string]: int", "\"\\(x)\"", "'\\xff'", "self", "else", "try",
	}
	r := rand.New(rand.NewPCG(1, 2))
	sources := mistakes(t)
	n := 600
	if os.Getenv("DUNLIN_LONG") != "" {
		n = 20_000
	}
	load := language()
	for range n {
		m := fstest.MapFS{}
		for name, f := range sources[r.IntN(len(sources))] {
			m[name] = f
		}
		for name, f := range m {
			if name == "fleet.cue" && len(m) > 1 || !strings.HasSuffix(name, ".cue") || strings.HasPrefix(name, "cue.mod") {
				continue
			}
			b := string(f.Data)
			for range 1 + r.IntN(2) {
				at := r.IntN(len(b) + 1)
				to := min(len(b), at+r.IntN(6))
				tok := tokens[r.IntN(len(tokens))]
				switch r.IntN(3) {
				case 0:
					b = b[:at] + tok + b[at:]
				case 1:
					b = b[:at] + tok + b[to:]
				default:
					b = b[:at] + b[to:]
				}
			}
			m[name] = &fstest.MapFile{Data: []byte(b)}
		}
		text := ""
		for _, f := range m {
			text += string(f.Data)
		}
		if heavy(text) {
			continue
		}
		_, faults, err := load(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		wellSaid(t, m, faults)
		if t.Failed() {
			for name, f := range m {
				t.Logf("-- %s --\n%q\n%s", name, f.Data, f.Data)
			}
			return
		}
	}
}

func TestFaultsOfWhatIsHugeStayShort(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	for _, text := range []string{
		`policy: web: {targets: all: true, mode: "` + long + `"}`,
		`policy: "` + long + ` y": targets: all: true`,
		`policy: web: {targets: all: true, "` + long + `": 1}`,
		`policy: web: {targets: all: true, description: ` + long + `}`,
		`policy: web: {targets: all: true, mode: error("` + long + `")}`,
		`policy: web: {targets: all: true, files: "` + long + `": content: "x"}`,
		long, `"` + long, long + `: 1`, `a = ` + long, `baseline: b: ` + long + `: 3`, `policy: web: ` + strings.Repeat("9", 100_000),
		"policy: web: " + strings.Repeat("{a: ", 5000), "policy: web: " + strings.Repeat("[", 5000), "policy: web: " + strings.Repeat("a: ", 3000) + "1",
		"policy: web: {targets: all: true, annotations: a: \"b\u202ec\", mode: \"\u202eaudit\\u0007\"}", "policy: \"a\u202eb\": {targets: all: true}", "policy: web: \"a\u202eb\": 1",
	} {
		m := fstest.MapFS{"fleet.cue": {Data: []byte("package fleet\n\nfleet: name: \"acme\"\n")}, "a.cue": {Data: []byte("package fleet\n" + text + "\n")}}
		_, faults, err := language()(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if len(faults) == 0 {
			t.Errorf("nothing is told of %.60q", text)
		}
		wellSaid(t, m, faults)
	}
}

func FuzzFaultWords(f *testing.F) {
	for _, m := range mistakes(f) {
		if web := m["policies/web.cue"]; web != nil && len(m) == 2 {
			f.Add(string(web.Data))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if heavy(text) {
			return
		}
		m := fstest.MapFS{"fleet.cue": {Data: []byte("package fleet\n\nfleet: name: \"acme\"\n")}, "policies/web.cue": {Data: []byte(text)}}
		_, faults, err := language()(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		wellSaid(t, m, faults)
	})
}
