package load

import (
	"maps"
	"strings"
	"testing"

	"cuelang.org/go/cue/parser"
)

// compileText is what the compiler makes of definitions other than the program's own.
func compileText(t *testing.T, text string) (shapes, error) {
	t.Helper()
	f, err := parser.ParseFile("x.cue", "package schema\nimport (\"list\", \"strings\", \"struct\", \"math\")\n"+text)
	if err != nil {
		t.Errorf("%s: %v", text, err)
		return nil, err
	}
	c := newCompiler()
	c.declare(f)
	return c.all()
}

func TestSchemaCompiles(t *testing.T) {
	defs, err := definitions()
	if err != nil {
		t.Error(err)
	}
	if len(defs) < 90 {
		t.Errorf("only %v", maps.Keys(defs))
	}
}

// What the compiler is not sure to mean as CUE does stops the build of the schema.
func TestUnknownConstructsAreErrors(t *testing.T) {
	for _, text := range []string{
		"#A: number", "#A: float", "#A: bytes", "#A: 1.5", "#A: null", "#A: >1", "#A: <1", "#A: !=\"x\"", "#A: >=1.5", "#A: >=\"a\"", "#A: =~\"(\"", "#A: =~#x", "#A: -1 | 1 | -x",
		"#A: \"a\\(#B)\"\n#B: \"x\"", "#A: #B.x\n#B: {x: 1}", "#A: math.Pi", "#A: math.MultipleOf(5)", "#A: strings.MaxRunes(#B)\n#B: 5", "#A: list.UniqueItems()", "#A: list.MinItems(-1)",
		"#A: {a?: int, a?: >=1}", "#A: {(#B)?: int}\n#B: \"x\"", "#A: {\"\\(#B)\": int}\n#B: \"x\"", "#A: {_h: int}", "#A: {#d: int}", "#A: {let x = 1, a?: x}", "#A: {a?: int @deprecated()}", "#A: {a?: int @default(x)}",
		"#A: {X=a?: int}", "#A: {[N=string]: int}", "#A: {[string]: int @default(1)}", "#A: {[int]: int}", "#A: {[#B | #C]: int}\n#B: =~\"a\"\n#C: =~\"b\"",
		"#A: {if true {a?: int}}", "#A: {a?: string, if a == \"x\" {b?: int}}", "#A: {a!: int, if a == 1 {b?: int}}", "#A: {a!: string, if a == \"x\" if a != \"y\" {b?: int}}", "#A: {for x in [1] {a?: int}}",
		"#A: {a!: string, if a =~ \"x\" {b?: int}}", "#A: {a!: string, b?: #T[a], c?: {a?: string, d?: #T[b]}}\n#T: {x: int}", "#A: {a?: string, b?: #T[a]}\n#T: {x: int}", "#A: {b?: #T[\"x\"]}\n#T: {x: int}",
		"#A: {a!: string, b?: #T[a] & #U[a]}\n#T: {x: int}\n#U: {x: int}", "#A: {a?: #A}", "#A: #B\n#B: [...#A]", "#A: #C", "#A: {#B, ...}\n#B: string", "#A: {#B, a?: int}\n#B: {...}", "#A: {#B}\n#B: int | string",
		"#A: {a?: int} & {b?: int}", "#A: #B & {b?: int}\n#B: {a?: int}", "#A: {a?: int} | {b?: int}", "#A: [...int] | [string]", "#A: [int] & [...int]", "#A: (string | [...string]) & list.MinItems(1)",
		"#A: (int | string) & (bool | string)", "#A: true & bool & true", "#A: {a?: int @default(1)} & {a?: int @default(2)}", "#A: matchN(2, [{a!: _, ...}])", "#A: {a?: int} & matchN(1, [{a!: int, ...}])",
		"#A: {a?: int} & matchN(1, [{a!: _}])", "#A: {a?: int} & matchN(1, [{a?: _, ...}])", "#A: close(#B)\n#B: {a?: int}", "#A: or([1, 2])", "#A: *1 | int", "#A: int\n#A: >=1", "a: 1", "_a: 1", "#A?: int", "...", "for x in [1] {#A: x}",
		"#A: {a!: string, if a == \"1\" {b?: int}, if a == \"2\" {b?: int}, if a == \"3\" {b?: int}, if a == \"4\" {b?: int}, if a == \"5\" {b?: int}}",
	} {
		if s, err := compileText(t, text); err == nil {
			t.Errorf("%s: compiled to %+v", text, s["#A"])
		} else if !strings.Contains(err.Error(), "compile the schema") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
