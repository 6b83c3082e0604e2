package load

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestAParameterIsWrittenForPeople(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	key := "age1" + strings.Repeat("q", 58)
	p := schema.Parameter{Type: schema.StoredSecureString, Description: `a "word"`, Readers: &schema.Targets{All: true},
		Policies: &schema.ParameterPolicies{Expires: &at},
		Versions: map[string]schema.ParameterVersion{"1": {Value: "-----BEGIN\nabc\n-----END", Labels: []string{"prod"}, Created: &at, Recipients: []string{key, key}}}}
	got, err := NewParameter("/prod/db", p)
	if err != nil {
		t.Fatal(err)
	}
	want := `package fleet

parameter: "/prod/db": {
	type:        "SecureString"
	description: "a \"word\""
	readers: {
		all: true
	}
	policies: {
		expires: "2026-05-04T03:02:01Z"
	}
	versions: {
		"1": {
			created: "2026-05-04T03:02:01Z"
			labels: ["prod"]
			recipients: [
				"` + key + `",
				"` + key + `",
			]
			value: """
				-----BEGIN
				abc
				-----END
				"""
		}
	}
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("NewParameter differs:\n%s", diff)
	}
}

func TestAnEditKeepsTheRest(t *testing.T) {
	const text = `package fleet

// What the front end says.
parameter: "/a": {
	type: "String" // plain
	versions: {
		// The first.
		"1": value: "x"
		"2": {value: "y", labels: ["prod"]} // the second
	}
}
parameter: "/b": {type: "String", versions: "1": value: "b"}
parameter: "/b": versions: "2": value: "bb"
parameter: {
	"/c": type: "String"
	"/c": versions: "1": value: "c"
	"/d": {type: "String", versions: "1": value: "d"}
}
_t: type: "String"
parameter: "/e": {_t, versions: "1": value: "e"}
parameter: "/f": {_t, versions: {for n in ["1", "2"] {"\(n)": value: n}}}
`
	old := schema.Parameter{Type: "String", Versions: map[string]schema.ParameterVersion{"1": {Value: "x"}, "2": {Value: "y", Labels: []string{"prod"}}}}
	changed := schema.Parameter{Type: "String", Versions: map[string]schema.ParameterVersion{"1": {Value: "x"}, "2": {Value: "y"}, "3": {Value: "z", Labels: []string{"prod"}}}}
	got, err := EditParameter("p.cue", []byte(text), "/a", old, changed)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"// What the front end says.", "// plain", "// The first.\n\t\t\"1\": value: \"x\"", `parameter: "/f": {_t, versions: {for`, "\t\t\"3\": {\n\t\t\tlabels: [\"prod\"]\n\t\t\tvalue: \"z\"\n\t\t}\n"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	again, err := EditParameter("p.cue", got, "/a", changed, old)
	if err != nil || !strings.Contains(string(again), `labels: ["prod"]`) || strings.Contains(string(again), `"3"`) {
		t.Errorf("changed back, %v:\n%s", err, again)
	}
	one := schema.Parameter{Type: "String", Versions: map[string]schema.ParameterVersion{"1": {Value: "e"}}}
	two := schema.Parameter{Type: "String", Versions: map[string]schema.ParameterVersion{"1": {Value: "e"}, "2": {Value: "ee"}}}
	if got, err = EditParameter("p.cue", []byte(text), "/e", one, two); err != nil || !strings.Contains(string(got), "_t\n") && !strings.Contains(string(got), "{_t") {
		t.Errorf("from a template, %v:\n%s", err, got)
	}
	for _, name := range []string{"/b", "/c", "/f", "/none"} {
		if got, err := EditParameter("p.cue", []byte(text), name, old, changed); !errors.Is(err, ErrNotLiteral) {
			t.Errorf("%s: %v, want ErrNotLiteral\n%s", name, err, got)
		}
	}
	got, empty, err := RemoveParameter("p.cue", []byte(text), "/d")
	if err != nil || empty || strings.Contains(string(got), `"d"`) || !strings.Contains(string(got), `value: "c"`) {
		t.Errorf("RemoveParameter = %v, %v:\n%s", empty, err, got)
	}
	if _, empty, err = RemoveParameter("p.cue", []byte("// all\npackage fleet\n\nimport \"strings\"\n\nparameter: \"/a\": {type: \"String\"}\n"), "/a"); err != nil || !empty {
		t.Errorf("the last one: RemoveParameter = %v, %v", empty, err)
	}
}

// What is written is read as what was meant, and a second edit changes only what it should.
func TestWrittenParametersAreReadBack(t *testing.T) {
	text := rapid.StringMatching(`[ -z|~é"\\\n\t#]{1,30}`)
	version := rapid.Custom(func(t *rapid.T) schema.ParameterVersion {
		v := schema.ParameterVersion{Value: text.Draw(t, "value")}
		if rapid.Bool().Draw(t, "dated") {
			at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "at"), 0).UTC()
			v.Created = &at
		}
		return v
	})
	parameter := rapid.Custom(func(t *rapid.T) schema.Parameter {
		return schema.Parameter{Type: schema.StoredString, Description: rapid.StringMatching(`[ -~]{1,20}`).Draw(t, "description"),
			Versions: rapid.MapOfN(rapid.StringMatching(`[1-9][0-9]?`), version, 1, 4).Draw(t, "versions")}
	})
	read := func(t *rapid.T, b []byte) schema.Parameter {
		m := fstest.MapFS{"fleet.cue": {Data: []byte("package fleet\n\nfleet: name: \"acme\"\n")}, "parameters/p.cue": {Data: b}}
		repo, faults, err := InProcess(Options{})(t.Context(), m)
		if err != nil || schema.Refused(faults) {
			t.Fatalf("%v, %v in\n%s", err, faults, b)
		}
		p := repo.Parameters["/a/b"]
		return p
	}
	rapid.Check(t, func(t *rapid.T) {
		first, second := parameter.Draw(t, "first"), parameter.Draw(t, "second")
		b, err := NewParameter("/a/b", first)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, read(t, b)); diff != "" {
			t.Fatalf("read back: %s\nof\n%s", diff, b)
		}
		if b, err = EditParameter("p.cue", b, "/a/b", first, second); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(second, read(t, b)); diff != "" {
			t.Fatalf("changed: %s\nof\n%s", diff, b)
		}
	})
}
