package load

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	slash "path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestFormat(t *testing.T) {
	for _, tt := range []struct{ what, file, text, want string }{
		{"layout is cue's", "a.cue", "package fleet\npolicy: p: {targets: {all:true}\n\n\n\nfiles: \"/etc/x\":  content: \"y\" }\n", "package fleet\n\npolicy: p: {targets: {all: true}\n\n\tfiles: \"/etc/x\": content: \"y\"\n}\n"},
		{"comments stay", "a.cue", "package fleet\n// why\nfleet: name:   \"x\" // short\n", "package fleet\n\n// why\nfleet: name: \"x\" // short\n"},
		{"an empty file has a line, as with cue", "a.cue", "", "\n"},
		{"roster lines are sorted and canonical", "nodes/aa.jsonl", `{"name":"b", "id":"ab"}` + "\n\n  {\"id\":\"aa\",\"name\":\"\\u0061\"}", `{"id":"aa","name":"a"}` + "\n" + `{"id":"ab","name":"b"}` + "\n"},
		{"lines with one id keep their order", "nodes/aa.jsonl", `{"id":"a","x":2}` + "\n" + `{"id":"a","x":1}` + "\n", `{"id":"a","x":2}` + "\n" + `{"id":"a","x":1}` + "\n"},
		{"an empty roster stays empty", "nodes/aa.jsonl", "\n\n", ""},
	} {
		got, faults := Format(tt.file, []byte(tt.text))
		if string(got) != tt.want || len(faults) > 0 {
			t.Errorf("%s: %q, %v, want %q", tt.what, got, faults, tt.want)
		}
	}
}

func TestFormatBroken(t *testing.T) {
	for _, tt := range []struct{ what, file, text, want string }{
		{"not CUE", "a.cue", "package fleet\nfleet: {\n", "a.cue:2:8: { is not closed: a } is missing\n"},
		{"NUL", "a.cue", "package fleet\n\x00", "a.cue:2:1: a NUL byte; "},
		{"nested without end", "a.cue", "package fleet\nx: " + strings.Repeat("[", 600), "a.cue:2:1: nested more than 500 deep\n"},
		{"too large", "a.cue", strings.Repeat(" ", 1<<20+1), "a.cue: 1048577 bytes; a file that is evaluated has at most 1048576\n"},
		{"not JSON", "nodes/aa.jsonl", "{\"id\":\"a\"}\nx\n", "nodes/aa.jsonl:2:1: not a line of JSON: "},
		{"a key twice", "nodes/aa.jsonl", `{"id":"a","id":"b"}`, "nodes/aa.jsonl:1:1: not a line of JSON: "},
		{"no id", "nodes/aa.jsonl", `{"name":"a"}`, "nodes/aa.jsonl:1:1: id: required; 26 letters a-z and digits 2-7\n"},
		{"an id that is no text", "nodes/aa.jsonl", `{"id":1}`, "nodes/aa.jsonl:1:1: id: required"},
	} {
		got, faults := Format(tt.file, []byte(tt.text))
		if got != nil || !strings.HasPrefix(lines(faults), tt.want) {
			t.Errorf("%s: %q, %q, want %q", tt.what, got, lines(faults), tt.want)
		}
	}
}

func TestFormats(t *testing.T) {
	for name, want := range map[string]bool{
		"fleet.cue": true, "policies/a.cue": true, "lib/x/a.cue": true, "nodes/aa.jsonl": true,
		"cue.mod/module.cue": false, "cue.mod/pkg/dunlin.dev/schema/common.cue": false, "a/nodes/aa.jsonl": false, "runs.jsonl": false,
		"documents/d.json": false, "documents/d.yaml": false, "README.md": false, ".git/x.cue": false, "_old/a.cue": false, "a_test.cue": false,
	} {
		if Formats(name) != want {
			t.Errorf("Formats(%q) = %v", name, !want)
		}
	}
}

// What is formatted means the same: the example and everything in it, badly laid out, has the values that it had.
func TestFormatKeepsTheMeaning(t *testing.T) {
	example := folderFS(t, "testdata/example")
	before, faults, err := language()(t.Context(), example)
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for name, f := range example {
		if !Formats(name) {
			continue
		}
		text := bytes.ReplaceAll(f.Data, []byte("\n\t"), []byte("\n"))
		out, faults := Format(name, text)
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		if !bytes.Equal(out, text) {
			changed++
		}
		if again, _ := Format(name, out); !bytes.Equal(again, out) {
			t.Errorf("%s: a second run changes it", name)
		}
		example[name] = &fstest.MapFile{Data: out}
	}
	after, faults2, err := language()(t.Context(), example)
	if err != nil || changed < 5 || before.Objects != after.Objects || schema.Refused(faults) || schema.Refused(faults2) || !maps.EqualFunc(before.Windows, after.Windows, func(a, b schema.Window) bool { return a.Schedule == b.Schedule && a.Cutoff == b.Cutoff }) {
		t.Errorf("%d files changed; %d objects, then %d: %v", changed, before.Objects, after.Objects, faults2)
	}
}

func FuzzFormat(f *testing.F) {
	for _, name := range []string{"fleet.cue", "windows/windows.cue", "nodes/uq.jsonl"} {
		b, err := os.ReadFile("testdata/example/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(slash.Ext(name) == ".jsonl", b)
	}
	f.Fuzz(func(t *testing.T, roster bool, text []byte) {
		name := "a.cue"
		if roster {
			name = "nodes/aa.jsonl"
		}
		out, faults := Format(name, text)
		if len(faults) > 0 {
			if out != nil {
				t.Error("a file with faults has text")
			}
			return
		}
		if again, faults := Format(name, out); len(faults) > 0 || roster && !bytes.Equal(again, out) {
			t.Errorf("formatted once:\n%s\ntwice:\n%s\n%v", out, again, faults)
		}
	})
}

func TestVendored(t *testing.T) {
	all := ShippedPackages()
	if !slices.Contains(all, "patching") {
		t.Fatalf("shipped packages: %v", all)
	}
	got, err := Vendored(all)
	if err != nil {
		t.Fatal(err)
	}
	names, _ := fs.Glob(schema.Definitions, "*.cue")
	for _, name := range names {
		want, _ := schema.Definitions.ReadFile(name)
		if !bytes.Equal(got[VendorRoot+"/schema/"+name], want) {
			t.Errorf("%s is not vendored", name)
		}
	}
	if got[VendorRoot+"/policies/patching/baselines.cue"] == nil {
		t.Error("the baselines are not vendored")
	}
	// The copy is one that the loader takes for its own.
	m := fstest.MapFS{"schema.cue": {Data: []byte(Binding)}, "fleet.cue": {Data: []byte("package fleet\n\nfleet: name: \"x\"\n")}}
	for name, b := range got {
		m[name] = &fstest.MapFile{Data: b}
	}
	if _, faults, err := thisBuild()(t.Context(), m); err != nil || len(faults) > 0 {
		t.Errorf("faults %v, %v", faults, err)
	}
	if _, err := Vendored([]string{"patchin"}); err == nil || !strings.Contains(err.Error(), "there are ") {
		t.Errorf("a package that does not exist: %v", err)
	}
}

func TestShippedImports(t *testing.T) {
	m := files(`
-- a.cue --
import "dunlin.dev/policies/patching"
_x: patching
-- b/b.cue --
import p "dunlin.dev/policies/patching"
import "dunlin.dev/policies/nothing"
_y: p
-- b/broken.cue --
import "dunlin.dev/policies/
`)
	if got, err := ShippedImports(m); err != nil || !slices.Equal(got, []string{"nothing", "patching"}) {
		t.Errorf("imports %v, %v", got, err)
	}
}

func TestCheckName(t *testing.T) {
	for _, tt := range []struct{ kind, name, want string }{
		{"baseline", "web-prod", ""},
		{"fleet", "acme", ""},
		{"parameter", "/prod/db", ""},
		{"baseline", "web prod", `"web prod" is not a name: letters, `},
		{"baseline", strings.Repeat("a", 64), `"aaaa`},
		{"baseline", "", `"" is not a name`},
		{"fleet", "../x", `"../x" is not a name`},
		{"parameter", "prod", `"prod" is not a path such as `},
		{"parameter", "/aws/x", `"/aws/x" is not a path such as `},
		{"document", "AWS-RunShellScript", `"AWS-RunShellScript": names that begin with AWS-, Amazon or Dunlin- are the shipped library's`},
		{"basline", "x", `no kind "basline" (did you mean "baseline"?); there are `},
	} {
		err := CheckName(tt.kind, tt.name)
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("CheckName(%q, %q) = %v, want %s", tt.kind, tt.name, err, tt.want)
		}
	}
}

// The exported definitions of each kind are a package of their own, laid out as cue does.
func TestCUESchema(t *testing.T) {
	kinds, err := Kinds()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Forms() {
		kinds = append(kinds, f.Name)
	}
	for _, word := range append(kinds, "") {
		text, err := CUESchema(word)
		if err != nil {
			t.Fatal(err)
		}
		if again, faults := Format("schema.cue", text); len(faults) > 0 || !bytes.Equal(again, text) {
			t.Errorf("%q is not laid out: %v\n%s", word, faults, text)
		}
		ctx := newContext()
		if v := ctx.CompileBytes(text); v.Err() != nil {
			t.Errorf("%q: %v\n%s", word, v.Err(), text)
		}
	}
	if text, _ := CUESchema("window"); !bytes.Contains(text, []byte("\n// Window is when change may happen")) || bytes.Contains(text, []byte("#Baseline")) {
		t.Errorf("window:\n%s", text)
	}
	if _, err := CUESchema("windwo"); err == nil {
		t.Error("a kind that is none is exported")
	}
}
