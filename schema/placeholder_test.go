package schema

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestPlaceholders(t *testing.T) {
	type p = Placeholder
	for _, tt := range []struct {
		text string
		want []Placeholder
	}{
		{"A {{ p1 }}", []p{{2, 10, FromParameter, "p1", ""}}},
		{"{{p1 }}{{ p1}}", []p{{0, 7, FromParameter, "p1", ""}, {7, 14, FromParameter, "p1", ""}}},
		{"{{\tp1\n}}", []p{{0, 8, FromParameter, "p1", ""}}},
		{"{{{ p1 }}}", []p{{1, 9, FromParameter, "p1", ""}}},
		{"{{ p_1 }} {{p-1}} {{ p1 p2 }} {{}} {{ }} { {p1}} {{p1} } {{.Names}} {{runCommand??}}", nil},
		{"{{ssm:/a/b}} {{ ssm:name }}", []p{{0, 12, FromStore, "/a/b", ""}, {13, 27, FromStore, "name", ""}}},
		{"{{ssm:/x:3}}{{ssm:/x:prod}}", []p{{0, 12, FromStore, "/x", "3"}, {12, 27, FromStore, "/x", "prod"}}},
		{"{{ssm:}} {{ssm:/x:}} {{ssm:/x:a:b}} {{\tssm:/x}} {{ssm :/x}}", nil},
		{"{{ssm-secure:/x}}", []p{{0, 17, FromSecret, "/x", ""}}},
		{"{{platform:platformType}}", []p{{0, 25, FromPlatform, "platformType", ""}}},
		{"{{global:DATE}}{{automation:EXECUTION_ID}}", []p{{0, 15, FromElsewhere, "global:DATE", ""}, {15, 42, FromElsewhere, "automation:EXECUTION_ID", ""}}},
		{"{{é}} é{{ a }}", []p{{9, 16, FromParameter, "a", ""}}},
	} {
		if got := Placeholders(tt.text); !slices.Equal(got, tt.want) {
			t.Errorf("Placeholders(%q) = %+v, want %+v", tt.text, got, tt.want)
		}
	}
	for text, want := range map[string]bool{"{{ a }}": true, "{{a}}": true, " {{ a }}": false, "{{ a }} {{ a }}": false, "a": false, "": false, "{{ssm:/x}}": true} {
		if _, got := WholePlaceholder(text); got != want {
			t.Errorf("WholePlaceholder(%q) = %v, want %v", text, got, want)
		}
	}
}

// The parameters and stored parameters that are found are those of the agent's own expressions (SSM §3.4, §3.6).
func FuzzPlaceholders(f *testing.F) {
	parameter := regexp.MustCompile(`\{\{\s*[A-Za-z0-9]+\s*\}\}`)
	store := regexp.MustCompile(`\{\{ *ssm:[/\w.-]+(:[\w.-]+)? *\}\}`)
	for _, s := range []string{"{{ a }}", "{{{a}}}", "x{{ssm:/x:3}}y{{ b\t}}", "{{ssm:a:b:c}}", "{{ a {{ b }} }}", "{{platform:platformType}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := map[PlaceholderSource][]string{}
		end := 0
		for _, p := range Placeholders(text) {
			if p.Start < end || p.End > len(text) || p.Name == "" || !strings.HasPrefix(text[p.Start:p.End], "{{") || !strings.HasSuffix(text[p.Start:p.End], "}}") {
				t.Fatalf("Placeholders(%q) has %+v", text, p)
			}
			end = p.End
			got[p.Source] = append(got[p.Source], text[p.Start:p.End])
		}
		if want := parameter.FindAllString(text, -1); !slices.Equal(got[FromParameter], want) {
			t.Errorf("parameters of %q: %q, want %q", text, got[FromParameter], want)
		}
		if want := store.FindAllString(text, -1); !slices.Equal(got[FromStore], want) {
			t.Errorf("stored parameters of %q: %q, want %q", text, got[FromStore], want)
		}
	})
}

func TestPreconditions(t *testing.T) {
	declared := func(name string) bool { return name == "action" || name == "confirmed" }
	for _, tt := range []struct {
		a, b string
		want Condition
		err  string
	}{
		{"platformType", "Linux", Condition{Platform: "linux"}, ""},
		{"WINDOWS", "platformType", Condition{Platform: "windows"}, ""},
		{"{{platform:platformType}}", "MacOS", Condition{Platform: "macos"}, ""},
		{"{{ action }}", "Install", Condition{A: "{{ action }}", B: "Install"}, ""},
		{"{{ action }} {{ confirmed }}", "Uninstall True", Condition{A: "{{ action }} {{ confirmed }}", B: "Uninstall True"}, ""},
		{"platformType", "platformType", Condition{}, `both arguments are "platformType"; a condition compares two different ones`},
		{"{{ssm:/x}}", "y", Condition{}, "a condition may not read a stored parameter: {{ssm:/x}}"},
		{"platformType", "{{ action }}", Condition{}, "platformType is compared with a fixed word, not with a parameter"},
		{"platformType", "Linx", Condition{}, `no platformType is "Linx"; one of Linux, Windows, MacOS (did you mean "Linux"?)`},
		{"a", "b", Condition{}, "neither argument has a parameter of the document, so that the step would run always or never"},
		{"{{ other }}", "b", Condition{}, "neither argument has a parameter of the document, so that the step would run always or never"},
	} {
		got, err := Precondition{StringEquals: []string{tt.a, tt.b}}.Condition(declared)
		if got != tt.want || err == nil && tt.err != "" || err != nil && err.Error() != tt.err {
			t.Errorf("StringEquals: [%q, %q] = %+v, %v, want %+v, %q", tt.a, tt.b, got, err, tt.want, tt.err)
		}
	}
	if _, err := (Precondition{StringEquals: []string{"a"}}).Condition(declared); err == nil {
		t.Error("one argument is accepted")
	}
}
