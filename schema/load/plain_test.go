package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// plainFaults reads a file and gives its faults as lines.
func plainFaults(name, text string) string {
	var b strings.Builder
	for _, m := range readPlain(name, []byte(text), at("d")).found {
		fmt.Fprintf(&b, "%d:%d: %s: %s\n", m.at.Line, m.at.Column, m.path, m.message)
	}
	return b.String()
}

func TestPlainFilesAreRead(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"every kind of JSON", ` {"a": [1, -2.5e3, true, false, null, "x\ny\u00e9\ud83d\ude00\/"], "b": {}, "c": []} `, `{"a":[1,-2.5e3,true,false,null,"x\nyé😀/"],"b":{},"c":[]}`},
		{"a byte order mark", "\ufeff{\"a\": 1}", `{"a":1}`},
		{"a number that no int holds", `123456789012345678901234567890`, `123456789012345678901234567890`},
		{"yaml: plain words", "a: yes\nb: on\nc: 2026-12-31\nd: true\ne: ~\nf: 0x1F\ng: .5\nh: '2.2'\ni: 2.0\nj: !!str 7\n", `{"a":"yes","b":"on","c":"2026-12-31","d":true,"e":null,"f":31,"g":0.5,"h":"2.2","i":2.0,"j":"7"}`},
		{"yaml: blocks", "a: |\n  x\n  y\nb: >-\n  x\n  y\nc: |2-\n    x\n", `{"a":"x\ny\n","b":"x y","c":"  x"}`},
		{"yaml: anchors and aliases", "a: &x {n: 1}\nb: *x\nc: [*x, *x]\n", `{"a":{"n":1},"b":{"n":1},"c":[{"n":1},{"n":1}]}`},
		{"yaml: merged fields, where own and earlier ones win", "x: &x {n: 1, m: 1}\ny: &y {n: 2, o: 2}\na: {<<: [*x, *y], m: 3}\nb:\n  <<: *y\n", `{"a":{"m":3,"n":1,"o":2},"b":{"n":2,"o":2},"x":{"m":1,"n":1},"y":{"n":2,"o":2}}`},
		{"yaml: a quoted << is a name", "'<<': 1\n", `{"<<":1}`},
		{"yaml: JSON is YAML", "{\"a\": [1, 2]}", `{"a":[1,2]}`},
		{"yaml: markers, directive and comment", "%YAML 1.1\n---\n# x\na: 1 # y\n...\n", `{"a":1}`},
		{"yaml: other line ends", "a: 1\r\nb: 2\r\n", `{"a":1,"b":2}`},
	} {
		name := "d.json"
		if strings.HasPrefix(tt.name, "yaml") {
			name = "d.yaml"
		}
		f := readPlain(name, []byte(tt.text), at("d"))
		if f.value == nil || len(f.found) > 0 {
			t.Errorf("%s: %s", tt.name, plainFaults(name, tt.text))
		} else if got := string(f.value.json(nil)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestPlainFilesAreRefused(t *testing.T) {
	deep := strings.Repeat("[", 100)
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c, ", c-1), 9), c-1)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"d.json", "", "1:1: d: empty; a document is wanted\n"},
		{"d.json", "{\"a\": 1,\n \"b\": 2,\n \"a\": 3}", "3:2: d.a: already given in line 1\n"},
		{"d.json", "{\n  \"a\": 1,\n}", "3:1: d: not JSON: a comma too many before }\n"},
		{"d.json", "[1,]", "1:4: d: not JSON: a comma too many before ]\n"},
		{"d.json", "{\"a\" 1}", "1:6: d.a: not JSON: a colon is wanted after \"a\", not \"1\"\n"},
		{"d.json", "{\"a\": 1\n\"b\": 2}", "2:1: d.a: not JSON: a comma or } is wanted, not \"\\\"\"\n"},
		{"d.json", "{'a': 1}", "1:2: d: not JSON: a field's name between double quotes is wanted, not \"'\" (texts stand between double quotes)\n"},
		{"d.json", "{a: 1}", "1:2: d: not JSON: a field's name between double quotes is wanted, not \"a\"\n"},
		{"d.json", "{\"a\": 1} // x", "1:10: d: not JSON: there is more after the value\n"},
		{"d.json", "{\"a\": // x\n1}", "1:7: d.a: not JSON: a value is wanted, not \"/\" (JSON has no comments)\n"},
		{"d.json", "{\"a\": tru}", "1:7: d.a: not JSON: a value is wanted, not \"t\"\n"},
		{"d.json", "{\"a\": 007}", "1:7: d.a: not JSON: \"00\" is not a number\n"},
		{"d.json", "{\"a\": 1.}", "1:7: d.a: not JSON: \"1.}\" is not a number\n"},
		{"d.json", "{\"a\": \"x\ny\"}", "1:7: d.a: not JSON: the text has no end in its line; write a new line as \\n\n"},
		{"d.json", "{\"a\": \"x\ty\"}", "1:9: d.a: not JSON: the control sign U+0009 in a text; write it as \\u0009\n"},
		{"d.json", `{"a": "C:\Windows"}`, "1:10: d.a: not JSON: \\W stands for no character; a backslash is written twice: \\\\\n"},
		{"d.json", `{"a": "\ud800x"}`, "1:8: d.a: not JSON: \\ud800 stands for no character; a backslash is written twice: \\\\\n"},
		{"d.json", `{"a": "\u0000"}`, "1:8: d.a: not JSON: \\u0000 stands for no character; a backslash is written twice: \\\\\n"},
		{"d.json", `{"a": "x`, "1:7: d.a: not JSON: the text has no end\n"},
		{"d.json", "{\"\u00e9\": \"\xff\"}", "1:9: d: not UTF-8; save the file as UTF-8\n"},
		{"d.json", "{\"a\": \"\x00\"}", "1:8: d: a NUL byte; a document is text\n"},
		{"d.json", "{\"a\": \"\u202e\"}", "1:8: d: the invisible sign U+202E turns the direction of writing, so that people read another text than programs; take it out\n"},
		{"d.json", deep, "1:66: d" + strings.Repeat("[0]", 65) + ": not JSON: nested more than 64 deep\n"},
		{"d.json", "nul", "1:1: d: not JSON: a value is wanted, not \"n\"\n"},
		{"d.yaml", "# nothing\n", "1:1: d: empty; a document is wanted\n"},
		{"d.yaml", "a: 1\nb:\n  c: 2\n  c: 3\n", "4:3: d.b.c: already given in line 3\n"},
		{"d.yaml", "a: 1\n---\nb: 1\n", "2:1: d: a second YAML document; a file holds one\n"},
		{"d.yaml", "a: [1, 2\n", "1:4: d: not YAML: this [ is not closed, or a comma is missing in its list\n"},
		{"d.yaml", "a:\n  b: {c: 1 d: 2}\n", "2:6: d: not YAML: this { is not closed, or a comma is missing in its struct\n"},
		{"d.yaml", "a:\n  b: {c: 1, d: 2\ne: 1\n", "2:6: d: not YAML: this { is not closed, or a comma is missing in its struct\n"},
		{"d.yaml", "a: b: c\n", "1:1: d: not YAML: mapping values are not allowed in this context (put quotes around a text that has a colon in it, and check the indentation)\n"},
		{"d.yaml", "a:\n\t- b\n", "2:1: d: not YAML: a tab; YAML is indented with blanks\n"},
		{"d.yaml", "a: %x\n", "1:1: d: not YAML: found character that cannot start any token (put quotes around a text that begins with %, @ or `)\n"},
		{"d.yaml", "a: *x\n", "1:1: d: not YAML: unknown anchor 'x' referenced\n"},
		{"d.yaml", "a: &x [1, *x]\n", "1:11: d.a[1]: the alias \"*x\" stands in what it means\n"},
		{"d.yaml", "a: &x {<<: *x}\n", "1:12: d.a: the alias \"*x\" stands in what it means\n"},
		{"d.yaml", "%YAML 1.2\n---\na: 1\n", "1:1: d: not YAML: found incompatible YAML document (take the %YAML line out)\n"},
		{"d.yaml", "a: {<<: 3}\n", "1:9: d.a: << merges structs, written as <<: *anchor or <<: [*a, *b]\n"},
		{"d.yaml", "a: !secret x\n", "1:4: d.a: the tag !secret is not known here\n"},
		{"d.yaml", "a: !!binary eA==\n", "1:4: d.a: the tag !!binary is not known here\n"},
		{"d.yaml", "a: !Ref {b: c}\n", "1:4: d.a: the tag !Ref is not known here\n"},
		{"d.yaml", "a: 0644\n", "1:4: d.a: \"0644\" is another number to other programs; write it in plain digits, or as text between quotes\n"},
		{"d.yaml", "a: 1_000\n", "1:4: d.a: \"1_000\" is another number to other programs; write it in plain digits, or as text between quotes\n"},
		{"d.yaml", "a: .inf\n", "1:4: d.a: \".inf\" is not a number that JSON has; write it as text between quotes\n"},
		{"d.yaml", "a: {{ b }}\n", "1:5: d.a: a field's name is text; a placeholder stands between quotes: \"{{ name }}\"\n"},
		{"d.yaml", "? [a]\n: b\n", "1:3: d: a field's name is text\n"},
		{"d.yaml", "é: [é, é, !x y]\n", "1:14: d.\"é\"[2]: the tag !x is not known here\n"},
		{"d.yaml", deep + strings.Repeat("]", 100), "1:66: d" + strings.Repeat("[0]", 65) + ": not YAML: nested more than 64 deep\n"},
	} {
		if got := plainFaults(tt.name, tt.text); got != tt.want {
			t.Errorf("%s %.40q:\n%swant:\n%s", tt.name, tt.text, got, tt.want)
		}
	}
	if got := plainFaults("d.yaml", bomb); !strings.Contains(got, "its aliases make too much of it") {
		t.Errorf("a bomb of aliases: %q", got)
	}
}

// readPlain accepts what encoding/json accepts, but for repeated fields, depth and signs that have no place in a document, and gives the same value.
func FuzzPlainJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,-2.5e3,true,null,"x\n\ud83d\ude00"],"b":{}}`, `{"a":1,"a":2}`, "[1,]", `"\ud800"`, "\ufeff1", "-0", "1e400", " 07 ", `{"a":{"b":[[]]}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p := readPlain("x.json", b, at("d"))
		if p.value == nil && len(p.found) == 0 {
			t.Fatal("neither a value nor a fault")
		}
		marked(t, p, len(b))
		if len(p.found) > 0 {
			return
		}
		b = bytes.TrimPrefix(b, []byte("\ufeff"))
		v, err := parseJSON(b)
		if err != nil {
			t.Fatalf("%q is accepted; encoding/json: %v", b, err)
		}
		if got, want := p.value.json(nil), v.json(nil); !bytes.Equal(got, want) {
			t.Fatalf("%q gives %s, want %s", b, got, want)
		}
		if again := readPlain("x.json", p.value.json(nil), nil); len(again.found) > 0 || !bytes.Equal(again.value.json(nil), p.value.json(nil)) {
			t.Fatalf("%q is another value when written and read again", b)
		}
	})
}

// What is read of YAML is what the library would give to any program, and is JSON.
func FuzzPlainYAML(f *testing.F) {
	for _, s := range []string{"a: &x {n: 1}\nb: *x\n", "x: &x {n: 1}\na: {<<: [*x, *x], m: 3}\n", "a: |\n  x\n", "- 1\n- .5\n- 0o17\n", "---\na: 1\n---\nb\n", "a: !!str 1", "? a\n: b", "{a: [b, {c: d}]}", "a: &a [*a]", "'a': \"\\u00e9\"", "\ta", "%TAG ! x\n--- !y z"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return
		}
		p := readPlain("x.yaml", b, at("d"))
		if p.value == nil && len(p.found) == 0 {
			t.Fatal("neither a value nor a fault")
		}
		marked(t, p, len(b))
		if len(p.found) > 0 {
			return
		}
		text := p.value.json(nil)
		if !json.Valid(text) {
			t.Fatalf("%q gives %q, which is not JSON", b, text)
		}
		var any any
		if err := yaml.Unmarshal(b, &any); err != nil && !strings.Contains(err.Error(), "excessive aliasing") {
			t.Fatalf("%q is accepted; the library: %v", b, err)
		}
	})
}

// marked holds that every fault has a place in the file, and every value a mark.
func marked(t *testing.T, p *plain, size int) {
	for _, m := range p.found {
		if m.at == nil || m.at.Line < 1 || m.at.Line > size+1 || m.at.Column < 1 || m.at.Column > size+2 || !utf8.ValidString(m.message) {
			t.Fatalf("a fault without a place or words: %+v at %+v", m, m.at)
		}
	}
	var walk func(v *value, m *mark)
	walk = func(v *value, m *mark) {
		if len(v.kids) != len(m.kids) || len(v.keys) != len(m.keys) || len(m.keys) != len(m.labels) || m.spot.line < 1 || m.spot.column < 1 {
			t.Fatalf("a value of %d parts has %d marks", len(v.kids), len(m.kids))
		}
		for i := range v.kids {
			walk(v.kids[i], m.kids[i])
		}
	}
	if p.value != nil {
		walk(p.value, p.root)
	}
}
