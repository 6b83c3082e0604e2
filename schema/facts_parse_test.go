package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const goodFacts = `{
	"v": 1,
	"node": "web-1",
	"at": "2026-11-23T13:55:10Z",
	"os": {"id": "debian", "versionId": "12", "operatingSystem": "DEBIAN", "product": "Debian12"},
	"arch": "amd64",
	"installed": [
		{"name": "openssl", "version": "3.0.16-1~deb12u1", "arch": "amd64", "held": true, "origins": [{"label": "Debian", "trusted": true}], "released": "2026-01-02T03:04:05.5+02:00", "advisories": [{"id": "DSA-1", "cves": ["CVE-2026-12345"]}]}
	],
	"candidates": [
		{"name": "openssl", "arch": "amd64", "version": "3.0.17-1~deb12u3", "phased": 0, "firstSeen": "2026-11-19T16:20:44Z"}
	],
	"pendingReboot": {"is": true, "packages": ["linux-image"]},
	"lastInstall": [{"name": "openssl", "arch": "amd64", "version": "1", "at": "2026-11-22T02:14:37Z", "outcome": "failed"}],
	"updates": [{"kb": "KB1", "products": ["]"], "installed": true}]
}`

func TestParseFacts(t *testing.T) {
	f, faults := ParseFacts([]byte(goodFacts))
	if faults != nil {
		t.Fatalf("faults: %v", faults)
	}
	p := f.Installed[0]
	if f.V != 1 || f.OS.Product != "Debian12" || p.Name != "openssl" || !p.Held || !p.Origins[0].Trusted || p.Advisories[0].CVEs[0] != "CVE-2026-12345" ||
		*f.Candidates[0].Phased != 0 || f.Candidates[0].FirstSeen.IsZero() || !f.PendingReboot.Is || f.LastInstall[0].Outcome != "failed" {
		t.Errorf("ParseFacts = %+v", f)
	}
	if f, faults := ParseFacts([]byte(`{"v":1}`)); faults != nil || f.Installed != nil {
		t.Errorf("what is missing is empty: %+v, %v", f, faults)
	}
	minimal, _ := ParseFacts([]byte(`{"v":1,"candidates":[{"name":"a","version":"1","arch":"all"}]}`))
	if minimal.Candidates[0].Phased != nil {
		t.Error("a candidate that does not say is phased")
	}
}

func TestParseFactsFaults(t *testing.T) {
	in := func(s string) string { return "{\"v\": 1,\n  " + s + "}" }
	for _, tt := range []struct{ name, in, want string }{
		{"an unknown field", "{\n  \"v\": 1,\n  \"packages\": []\n}", `:3:3: packages: no such field; allowed: v, node, at, os, arch, installed, candidates, pendingReboot, lastInstall, updates`},
		{"a field in another case", in(`"Node": "x"`), `:2:3: Node: no such field (did you mean "node"?); allowed: v, node, at`},
		{"a misspelt field", in(`"candidate": []`), `:2:3: candidate: no such field (did you mean "candidates"?); allowed: v`},
		{"a repeated field", in(`"node": "a", "node": "b"`), `:2:16: node: already given in line 2`},
		{"an unknown field twice is one fault", in(`"x": 1, "x": 2`), `:2:3: x: no such field; allowed`},
		{"no v", `{}`, `:1:1: v: required; 1`},
		{"another v", `{"v": 2}`, `:1:7: v: 2 is not 1`},
		{"v as text", `{"v": "1"}`, `:1:7: v: "1" is text; 1 is wanted`},
		{"a package without version", in(`"installed": [{"name": "a", "arch": "all"}]`), `:2:17: installed[0].version: required; text that is not empty`},
		{"a candidate without name", in(`"candidates": [{"version": "1", "arch": "all"}]`), `:2:18: candidates[0].name: required; text that is not empty`},
		{"an empty arch", in(`"candidates": [{"name": "a", "version": "1", "arch": ""}]`), `candidates[0].arch: "" is not text that is not empty`},
		{"an installed package with a candidate's field", in(`"installed": [{"name": "a", "version": "1", "arch": "all", "firstSeen": "2026-11-19T16:20:44Z"}]`), `:2:62: installed[0].firstSeen: no such field`},
		{"an unknown field deep inside", in(`"installed": [{"name": "a", "version": "1", "arch": "all", "origins": [{}, {"lable": "x"}]}]`), `installed[0].origins[1].lable: no such field (did you mean "label"?); allowed: origin, label`},
		{"an instant without zone", in(`"at": "2026-11-23 14:05"`), `:2:9: at: "2026-11-23 14:05" is not an instant such as "2026-12-31T22:00:00Z"`},
		{"an instant with a comma", in(`"at": "2026-11-23T14:05:00,5Z"`), `is not an instant`},
		{"a day that does not exist", in(`"at": "2026-02-30T14:05:00Z"`), `is not an instant`},
		{"phased over 100", in(`"candidates": [{"name": "a", "version": "1", "arch": "all", "phased": 101}]`), `candidates[0].phased: 101 is not a whole number from 0 to 100`},
		{"phased with a fraction", in(`"candidates": [{"name": "a", "version": "1", "arch": "all", "phased": 1.5}]`), `1.5 is not a whole number`},
		{"held as text", in(`"installed": [{"name": "a", "version": "1", "arch": "all", "held": "no"}]`), `installed[0].held: "no" is text; true or false is wanted`},
		{"null", in(`"installed": null`), `:2:16: installed: null; a list of packages is wanted`},
		{"a list where an object is wanted", in(`"os": []`), `:2:9: os: a list; an object is wanted`},
		{"a list of the wrong things", in(`"installed": [1]`), `installed[0]: 1 is a number; an object is wanted`},
		{"an operating system in small letters", in(`"os": {"operatingSystem": "debian"}`), `os.operatingSystem: "debian" is not one of WINDOWS`},
		{"another outcome", in(`"lastInstall": [{"outcome": "instaled"}]`), `lastInstall[0].outcome: "instaled" is not one of installed, failed (did you mean "installed"?)`},
		{"not an object", `[]`, `:1:1: a list; facts of a host is wanted`},
		{"not JSON", "{\"v\": 1,\n  x}", `:2:3: not JSON: invalid character 'x'`},
		{"cut off", "{\"v\": 1,\n", `:2:1: not JSON: unexpected end of JSON input`},
		{"more after it", `{"v": 1} {}`, `:1:10: not JSON`},
		{"nothing", "", `:1:1: not JSON: unexpected end of JSON input`},
		{"not UTF-8", "{\"v\": 1, \"node\": \"\xff\"}", `:1:19: not UTF-8`},
		{"too large", `{"v": 1}` + strings.Repeat(" ", MaxFacts), `:1:1: larger than 32 MiB`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, faults := ParseFacts([]byte(tt.in))
			if len(faults) != 1 {
				t.Fatalf("%d faults, want 1: %v", len(faults), faults)
			}
			if got := faults[0].String(); !strings.Contains(":"+strings.TrimPrefix(got, ":"), tt.want) {
				t.Errorf("fault = %s, want %s", got, tt.want)
			}
			if !reflect.DeepEqual(f, Facts{}) {
				t.Errorf("facts with a fault are not empty: %+v", f)
			}
		})
	}
	many := `{"v":1,"installed":[` + strings.TrimSuffix(strings.Repeat("{},", 1000), ",") + `]}`
	if _, faults := ParseFacts([]byte(many)); len(faults) != maxFactFaults {
		t.Errorf("%d faults, want at most %d", len(faults), maxFactFaults)
	}
}

// The forms have the fields of the types, so that what one accepts the other takes.
func TestFactsFormsAreComplete(t *testing.T) {
	var check func(path string, f *form, of reflect.Type, skip ...string)
	check = func(path string, f *form, of reflect.Type, skip ...string) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
			if f.kind == 'a' {
				f = f.item
			}
		}
		if f.kind != 'o' {
			return
		}
		if len(f.fields) > 16 {
			t.Errorf("%s has %d fields; the parser remembers 16", path, len(f.fields))
		}
		want := map[string]reflect.Type{}
		for i := range of.NumField() {
			name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			want[name] = of.Field(i).Type
		}
		for _, s := range append(skip, "-") {
			delete(want, s)
		}
		for _, x := range f.fields {
			if inner, ok := want[x.name]; ok {
				below := []string(nil)
				switch x.name {
				case "installed":
					below = []string{"phased", "firstSeen"}
				case "candidates":
					below = []string{"held"}
				}
				check(path+"."+x.name, x.form, inner, below...)
			} else if x.name != "updates" {
				t.Errorf("%s.%s is in the form and not in the type", path, x.name)
			}
			delete(want, x.name)
		}
		for name := range want {
			t.Errorf("%s.%s is in the type and not in the form", path, name)
		}
	}
	check("facts", factsForm, reflect.TypeFor[Facts]())
}

// No bytes make it panic, faults are placed inside the file, and what is accepted is written and read again alike.
func FuzzParseFacts(f *testing.F) {
	f.Add([]byte(goodFacts))
	for _, s := range []string{`{"v":1}`, `{"v":1,"installed":[{"name":"a","version":"1","arch":"all"}]}`, `{"v":1,"\u0076":1}`, `{"v": 1, "x": {"a": [1, "}"], "b": null}}`, `[]`, ``, "{\"v\":1,\"node\":\"\xff\"}", `{"v":1e0}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, faults := ParseFacts(b)
		for _, x := range faults {
			if x.Line < 1 || x.Column < 1 || x.Line > strings.Count(string(b), "\n")+1 {
				t.Errorf("fault outside the file: %+v", x)
			}
		}
		if faults != nil {
			return
		}
		text, err := json.Marshal(got)
		if err != nil {
			return // an instant that JSON cannot say, such as one in the year 0 of a zone ahead of UTC
		}
		text = []byte(strings.NewReplacer(`"installed":null`, `"installed":[]`, `"candidates":null`, `"candidates":[]`, `"packages":null`, `"packages":[]`, `"lastInstall":null`, `"lastInstall":[]`).Replace(string(text)))
		if _, faults := ParseFacts(text); faults != nil && !strings.Contains(fmt.Sprint(faults), "outcome") {
			t.Errorf("written again it has faults: %v\n%s", faults, text)
		}
	})
}

func BenchmarkParseFacts(b *testing.B) {
	one := `{"name":"libssl3","version":"3.0.16-1~deb12u1","arch":"amd64","source":"openssl","sourceVersion":"3.0.16-1~deb12u1","held":false,"priority":"optional","section":"libs","origins":[{"origin":"Debian","label":"Debian","suite":"oldstable","codename":"bookworm","component":"main","site":"deb.debian.org","trusted":true}]}`
	text := []byte(`{"v":1,"installed":[` + strings.Repeat(one+",", 999) + one + `]}`)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, faults := ParseFacts(text); faults != nil {
			b.Fatal(faults)
		}
	}
}

// What ParseFacts takes is what the type has: the fields of each form are those of the Go type, and the words are the same.
func TestFactsFormsAreThoseOfTheType(t *testing.T) {
	if got := systemForm.words; !reflect.DeepEqual(got, append(OperatingSystem("").Words(), "")) {
		t.Errorf("operating systems of facts are %q", got)
	}
	var same func(path string, f *form, typ reflect.Type, of string)
	same = func(path string, f *form, typ reflect.Type, of string) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice && f.kind == 'a' {
			if typ.Kind() == reflect.Slice {
				f, path = f.item, path+"[]"
			}
			typ = typ.Elem()
		}
		if f.kind != 'o' {
			return
		}
		have := map[string]reflect.Type{}
		for i := range typ.NumField() {
			tag := typ.Field(i).Tag
			if only := tag.Get("only"); tag.Get("json") != "-" && (only == "" || only == of) {
				name, _, _ := strings.Cut(tag.Get("json"), ",")
				have[name] = typ.Field(i).Type
			}
		}
		for _, x := range f.fields {
			below, ok := have[x.name]
			if !ok {
				t.Errorf("%s.%s is not in %s", path, x.name, typ)
				continue
			}
			delete(have, x.name)
			def := map[string]string{"facts.installed": "#Installed", "facts.candidates": "#Candidate"}[path+"."+x.name]
			same(path+"."+x.name, x.form, below, def)
		}
		for name := range have {
			t.Errorf("%s.%s of %s is not taken", path, name, typ)
		}
	}
	same("facts", factsForm, reflect.TypeFor[Facts](), "")
}
