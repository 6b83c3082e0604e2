package load

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode"

	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// limited is the message of a case that ends at a limit of the child.
	limited = "needs more than an evaluation may use"
	// harmless is of a case that looks dangerous and is not.
	harmless = "harmless"
)

// Whatever a commit holds, the child ends within its limits and says one thing about it: faults with their places, or the
// limit that was reached. Nothing is applied, nothing else is lost.
func TestHostileRepositories(t *testing.T) {
	many := func(n int, line string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, line+"\n", i)
		}
		return b.String()
	}
	deep := func(open, core, end string, n int) string {
		return strings.Repeat(open, n) + core + strings.Repeat(end, n)
	}
	for _, tt := range []struct{ name, text, want string }{
		// Bombs.
		{"a comprehension in a comprehension", "import \"list\"\n_r: list.Range(0, 3000, 1)\ngroup: {for a in _r for b in _r {\"g\\(a)-\\(b)\": {targets: all: true, baselines: [\"AWS-DebianDefaultPatchBaseline\"]}}}\n", limited},
		{"a billion laughs of texts", laughs("\"ha\"", " + ", "", "", 9, 10), limited},
		{"a billion laughs of lists", laughs("\"ha\"", ", ", "[", "]", 9, 10), "policy.p.annotations.x"},
		{"list.Repeat", "import \"list\"\n_l: list.Repeat([\"x\"], 2000000000)\npolicy: p: {targets: nodes: _l}\n", "list.Repeat"},
		{"strings.Repeat", "import \"strings\"\npolicy: p: {targets: all: true, description: strings.Repeat(\"x\", 2000000000)}\n", "strings.Repeat"},
		{"nested list.Repeat", "import \"list\"\n_a: list.Repeat([1], 30000)\n_b: list.Repeat(_a, 30000)\n_c: len(_b)\n", limited},
		{"loops that make nothing", "import \"list\"\n_a: list.Range(0, 300, 1)\n_n: len([for w in _a for x in _a for y in _a for z in _a if w*x*y*z == -1 {1}])\n", limited},
		{"many disjunctions", "_a: " + strings.TrimSuffix(strings.Repeat("({a: 1} | {b: 2}) & ", 24), " & ") + "\npolicy: p: {targets: all: true, annotations: x: \"\\(_a.a)\"}\n", ""},
		// Numbers.
		{"a huge integer", "baseline: b: {operatingSystem: \"DEBIAN\", maxRemovals: 1" + strings.Repeat("0", 100000) + "}\n", "maxRemovals"},
		{"an integer of a megabyte", "baseline: b: {operatingSystem: \"DEBIAN\", maxRemovals: " + strings.Repeat("9", 300000) + "}\n", ""},
		{"a power without end", "import \"math\"\nbaseline: b: {operatingSystem: \"DEBIAN\", maxRemovals: math.Pow(10, 1000000000)}\n", ""},
		{"a float with a large exponent", "baseline: b: {operatingSystem: \"DEBIAN\", maxRemovals: 1e999999999}\n", "maxRemovals"},
		{"a product of huge integers", "_a: 1" + strings.Repeat("0", 50000) + "\n_b: _a*_a*_a*_a*_a*_a*_a*_a\n_c: _b*_b*_b*_b*_b*_b*_b*_b\nbaseline: b: {operatingSystem: \"DEBIAN\", maxRemovals: _c}\n", ""},

		// Nesting.
		{"structs nested deeply", "policy: p: {targets: all: true, x: " + deep("{a: ", "1", "}", 50000) + "}\n", ""},
		{"lists nested deeply", "policy: p: {targets: all: true, x: " + deep("[", "1", "]", 100000) + "}\n", ""},
		{"parentheses nested deeply", "policy: p: {targets: all: true, description: " + deep("(", "\"x\"", ")", 100000) + "}\n", ""},
		{"interpolations nested deeply", "policy: p: {targets: all: true, description: " + deep("\"\\(", "\"x\"", ")\"", 20000) + "}\n", ""},
		{"unary operators in a row", "baseline: b: {operatingSystem: \"DEBIAN\", maxRemovals: " + strings.Repeat("-", 400000) + "1}\n", ""},
		{"binary operators in a row", "baseline: b: {operatingSystem: \"DEBIAN\", maxRemovals: " + strings.Repeat("1+", 200000) + "1}\n", ""},
		{"selectors in a row", "_a: a: _a\npolicy: p: {targets: all: true, description: _a" + strings.Repeat(".a", 200000) + "}\n", ""},
		{"a chain of references", "_c0: \"x\"\n" + chain(2000) + "policy: p: {targets: all: true, description: _c2000}\n", harmless},
		{"references to nothing", "_a0: \"x\"\n" + many(20000, "_b%[1]d: _a%[1]d"), "reference \"_a1\" not found"},
		{"a value that holds itself", "_a: {b: _a}\npolicy: p: {targets: all: true, annotations: _a}\n", ""},
		{"fields that are each other", "_a: _b\n_b: _a\npolicy: p: {targets: all: true, description: _a}\n", ""},
		{"a field that grows itself", "#L: {v: string, next: #L}\npolicy: p: {targets: all: true, annotations: x: #L.v}\n", ""},

		// What a policy may not do.
		{"@if", "@if(prod)\n", "@if"},
		{"@embed", "@extern(embed)\n_x: _ @embed(file=/etc/shadow)\n", "@extern"},
		{"@tag", "_x: string @tag(x)\n", "@tag"},
		{"@experiment", "@experiment(structcmp)\n", "@experiment"},
		{"an import of tool/exec", "import \"tool/exec\"\n_x: exec.Run\n", "may not be imported"},
		{"an import of tool/file under another name", "import f \"tool/file\"\n_x: f.Read\n", "may not be imported"},
		{"an import from the network", "import \"github.com/evil/x\"\n_x: x.Y\n", "no package"},
		{"an import that leaves the repository", "import \"../../etc\"\n_x: etc.Y\n", ""},

		// Bytes.
		{"NUL", "_a: \"\x00\"\n", ""},
		{"NUL in a name", "policy: \"a\\u0000b\": {targets: all: true}\n", ""},
		{"bidi controls in a name", "policy: \"a\u202eb\": {targets: all: true}\n", ""},
		{"bidi controls in a comment", "// \u202e nothing to see \u2066\npolicy: p: {targets: all: true}\n", "policies/a.cue:2:4: U+202E turns the direction"},
		{"zero-width letters in a name", "policy: \"admin\u200b\": {targets: all: true}\n", ""},
		{"not UTF-8", "_a: \"\xff\xfe\"\n", ""},
		{"a byte order mark in the middle", "_a: \"x\"\n\ufeff_b: 1\n", ""},
		{"a name of a megabyte", "policy: \"" + strings.Repeat("a", 1<<20-200) + "\": {targets: all: true}\n", ""},
		{"a line of a megabyte", "policy: p: {targets: all: true, description: \"" + strings.Repeat("\u00e9", 500000) + "\", x: 1}\n", ""},
		{"a hundred thousand faults", many(20000, "x%d: 1"), ""},
		{"a control character in a message", "policy: p: {targets: all: true, \"\\u001b[31mred\": 1}\n", ""},
		{"patterns that backtrack elsewhere", "import \"regexp\"\n_x: regexp.Match(\"(a*)*b\", \"" + strings.Repeat("a", 100000) + "\")\npolicy: p: {targets: all: true}\n", harmless},
		{"a pattern that grows", "_x: =~\"((a{1000}){1000}){1000}\"\npolicy: p: {targets: all: true, description: _x & \"a\"}\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			_, faults, err := Child(Options{})(t.Context(), files("-- policies/a.cue --\n"+tt.text))
			switch {
			case err != nil && !errors.Is(err, ErrLimit):
				t.Errorf("neither a fault nor a limit: %.600v", err)
			case err != nil && tt.want != limited && tt.want != "", err == nil && tt.want == limited:
				t.Errorf("%v after %v, want %q: %.600s", err, time.Since(start), tt.want, lines(faults))
			case err == nil && tt.want == harmless:
				if len(faults) > 0 {
					t.Errorf("faults: %.600s", lines(faults))
				}
			case err == nil && (!schema.Refused(faults) || !strings.Contains(lines(faults), tt.want)):
				t.Errorf("want a fault with %q: %.600s", tt.want, lines(faults))
			}
			for _, f := range faults {
				sound(t, f)
			}
		})
	}
}

// Trees that are too much, in number, size, depth or name, are refused with one fault for each thing that is.
func TestHostileTrees(t *testing.T) {
	some := func(n int, name func(i int) string) fstest.MapFS {
		m := files("")
		for i := range n {
			m[name(i)] = &fstest.MapFile{Data: []byte("package fleet\n")}
		}
		return m
	}
	long := strings.Repeat("n", 1<<20)
	for _, tt := range []struct {
		name string
		tree fstest.MapFS
		want string // of the only fault; empty: the tree is taken
	}{
		{"19,998 files", some(19_998, func(i int) string { return fmt.Sprintf("policies/%d.cue", i) }), ""},
		{"30,000 files", some(30_000, func(i int) string { return fmt.Sprintf("policies/%d.cue", i) }), "more than 20000 files; a policy repository has fewer\n"},
		{"5,000 folders", some(5_000, func(i int) string { return fmt.Sprintf("policies/%d/a.cue", i) }), ""},
		{"a name of a megabyte", some(1, func(int) string { return "policies/" + long }), "policies/" + strings.Repeat("n", 188) + "…: a path of 1048585 bytes, 1 folders deep; a policy repository has paths of at most 4096 bytes, 64 folders deep\n"},
		{"a folder's name of a megabyte", some(1, func(int) string { return long + "/a.cue" }), strings.Repeat("n", 197) + "…: a path of 1048576 bytes, 0 folders deep; a policy repository has paths of at most 4096 bytes, 64 folders deep\n"},
		{"folders without end", some(1, func(int) string { return strings.Repeat("d/", 1000) + "a.cue" }), strings.Repeat("d/", 65) + "d: a path of 131 bytes, 65 folders deep; a policy repository has paths of at most 4096 bytes, 64 folders deep\n"},
		{"a name with a control character", some(1, func(int) string { return "policies/\x1b[2J.cue" }), ""},
		{"a document that reads otherwise than it is", fstest.MapFS{"fleet.cue": files("")["fleet.cue"], "documents/a.json": {Data: []byte("{\n \"\u2066\": 1}")}},
			"documents/a.json:2:3: U+2066 turns the direction of text around, so that people read another text than is evaluated; take it out\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, faults, err := Child(Options{})(t.Context(), tt.tree)
			if err != nil {
				t.Fatalf("%.600v", err)
			}
			if got := lines(faults); got != tt.want {
				t.Errorf("faults:\n%.2000swant:\n%s", got, tt.want)
			}
		})
	}
}

// sound holds what every fault has, whatever it is about: it is one printable line of a sensible length.
func sound(t *testing.T, f schema.Fault) {
	t.Helper()
	const most = 2000
	text := f.String()
	if len(text) > most {
		t.Errorf("a fault of %d bytes: %.200s", len(text), text)
	}
	for _, r := range text {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			t.Errorf("a fault with %U: %.200q", r, text)
			return
		}
	}
}

// laughs is n values, each of which is made of the one before times times.
func laughs(core, sep, open, end string, n, times int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "_l0: %s\n", core)
	for i := range n {
		prev := fmt.Sprintf("_l%d", i)
		fmt.Fprintf(&b, "_l%d: %s%s%s%s\n", i+1, open, strings.Repeat(prev+sep, times-1), prev, end)
	}
	fmt.Fprintf(&b, "policy: p: {targets: all: true, annotations: x: \"\\(_l%d)\"}\n", n)
	return b.String()
}

// chain is n values, each of which is the one before.
func chain(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "_c%d: _c%d\n", i+1, i)
	}
	return b.String()
}
