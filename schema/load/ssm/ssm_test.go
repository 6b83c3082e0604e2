package ssm

import (
	"strings"
	"testing"

	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/parser"
)

func TestWhatIsNoInputIsRefused(t *testing.T) {
	documents := func(in []Input) (Result, error) { return Documents(in, "") }
	baselines := func(in []Input) (Result, error) { return Baselines(in, "", false) }
	windows := func(in []Input) (Result, error) { return Windows(in, "") }
	const doc = `{"schemaVersion": "2.2", "mainSteps": []}`
	for _, tt := range []struct {
		name    string
		convert func([]Input) (Result, error)
		text    string
		want    string
	}{
		{"nothing", documents, " \n", `read "f.json": empty`},
		{"not JSON", documents, `{"a": ]`, `read "f.json": not JSON, near line 1: `},
		{"half of it", documents, "{\"a\":\n{", `read "f.json": not JSON, near line 2: `},
		{"a field twice", baselines, `{"Name": "a", "Name": "b"}`, `"Name" is given twice`},
		{"too deep", documents, strings.Repeat("[", 100), "nested more than 64 deep"},
		{"a bomb of aliases", documents, "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e]\n", "more than 50000 values"},
		{"itself", documents, "a: &a [*a]\n", "nested more than 64 deep"},
		{"a tag", documents, "schemaVersion: !Ref x\n", "the tag !Ref is not known here"},
		{"too large", documents, strings.Repeat("x", MaxInput+1), "what AWS prints has less than 1048576"},
		{"another encoding", documents, "\xff\xfe{\x00", "not text in UTF-8"},
		{"describe-document", documents, `{"Document": {"Name": "x"}}`, "aws ssm get-document"},
		{"list-documents", documents, `{"DocumentIdentifiers": []}`, "aws ssm get-document"},
		{"no document", documents, `{"a": 1}`, "schemaVersion is missing"},
		{"a list", documents, `[1]`, "an object with schemaVersion is wanted"},
		{"a runbook", documents, `{"schemaVersion": "0.3"}`, "Automation runbook"},
		{"a session document", documents, `{"Name": "x", "DocumentType": "Session", "Content": "{}"}`, `"x" is a document of type Session`},
		{"content that is none", documents, `{"Name": "x", "Content": "just text"}`, "its Content: not a document"},
		{"another schema", documents, `{"schemaVersion": "9"}`, `schemaVersion "9" is not one of 2.2, 2.0, 1.2`},
		{"a template", documents, `{"schemaVersion": "1.0", "templateBody": {}}`, "neither mainSteps nor runtimeConfig"},
		{"a name that cannot be", documents, `{"Name": "` + strings.Repeat("x", 70) + `", "Content": ` + doc + `}`, "give another one with --name"},
		{"two of one name", documents, doc + doc, "document.f is in the input twice"},
		{"describe-patch-baselines", baselines, `{"BaselineIdentities": []}`, "aws ssm get-patch-baseline"},
		{"no baseline", baselines, doc, "not a patch baseline"},
		{"describe-maintenance-windows", windows, `{"WindowIdentities": []}`, "aws ssm get-maintenance-window"},
		{"no window", windows, doc, "neither a maintenance window nor its targets or tasks"},
		{"tasks without their window", windows, `{"Tasks": [{"WindowId": "mw-1", "WindowTaskId": "k"}]}`, "no maintenance window"},
		{"tasks of another window", windows, `{"WindowId": "mw-1", "Name": "w", "Schedule": "rate(1 day)", "Duration": 1} {"Tasks": [{"WindowId": "mw-2", "WindowTaskId": "k"}]}`, `the target or task "k" belongs to the window "mw-2", which is not among the input`},
	} {
		r, err := tt.convert([]Input{{Name: "f.json", Text: []byte(tt.text)}})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %+v, want an error with %q", tt.name, err, r, tt.want)
		}
	}
	if _, err := Documents([]Input{{Name: "a", Text: []byte(doc)}, {Name: "b", Text: []byte(doc)}}, "c"); err == nil {
		t.Error("one name is given to two documents")
	}
}

// The input of create-document, or of one inside another object, is as good as the output of get-document.
func TestContentIsFoundWhereverItStands(t *testing.T) {
	const inner = `{"Name": "a", "Content": "{\"schemaVersion\": \"2.2\", \"mainSteps\": []}", "DocumentType": "Command"}`
	want, err := Documents([]Input{{Name: "f", Text: []byte(inner)}}, "")
	got, err2 := Documents([]Input{{Name: "f", Text: []byte(`{"Document": ` + inner + `}`)}}, "")
	if err != nil || err2 != nil || got.Text() != want.Text() || !strings.Contains(got.Text(), `document: "a": {`) {
		t.Errorf("%v %v\n%s\n%s", err, err2, got.Text(), want.Text())
	}
}

func TestLayoutOfWhatIsWritten(t *testing.T) {
	r, err := Documents([]Input{{Name: "x/greet.yaml", Text: []byte(`
schemaVersion: "2.2"
parameters:
  Pattern: {type: String, allowedPattern: '^[^"\\]*$'}
mainSteps:
  - action: aws:runShellScript
    name: a
    inputs:
      runCommand: |
        if true; then
          echo "$SSM_Pattern"
        fi
      environment: {"a-b": "x", if: "y", _c: "z"}
`)}}, "")
	want := `package fleet

// From a document of AWS Systems Manager
document: "greet": {
	schemaVersion: "2.2"
	parameters: Pattern: {
		type:           "String"
		allowedPattern: #"^[^"\\]*$"#
	}
	mainSteps: [
		{
			action: "aws:runShellScript"
			name:   "a"
			inputs: {
				runCommand: """
					if true; then
					  echo "$SSM_Pattern"
					fi

					"""
				environment: {
					"a-b": "x"
					if:    "y"
					"_c":  "z"
				}
			}
		},
	]
}
`
	if err != nil || r.Text() != want || len(r.Files) != 1 || r.Files[0].Path != "documents/greet.cue" {
		t.Errorf("%v %+v\n%s\nwant\n%s", err, r.Files, r.Text(), want)
	}
}

// Whatever is put in, what comes out is CUE as dunlin fmt lays it out, or an error; never a panic.
func FuzzImport(f *testing.F) {
	for _, s := range []string{
		`{"schemaVersion": "2.2", "mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["echo {{ a }}", "\u2028\r\n\\(x)\"#"]}}], "parameters": {"a": {"type": "String", "default": {"": [null]}}}}`,
		`{"Name": "AWS-x", "Content": "{\"schemaVersion\": \"1.2\", \"runtimeConfig\": {\"aws:psModule\": {\"properties\": {\"runCommand\": \"{{ a }}\"}}}}"}`,
		"schemaVersion: 2.0\nmainSteps:\n- {}\n- 1\n",
		`{"BaselineId": "x", "Name": "b", "GlobalFilters": {"PatchFilters": [{"Key": "PRODUCT", "Values": ["*"]}, {"Key": "PRODUCT", "Values": ["a"]}]}, "ApprovalRules": {"PatchRules": [{}, 1]}, "PatchGroups": ["a b", 1]}`,
		`{"WindowId": "w", "Name": "w", "Schedule": "rate(1 day)", "Duration": 1.5, "Cutoff": "x"} {"Tasks": [{"Targets": [{"Key": "WindowTargetIds"}], "TaskParameters": {"a": 1}}, 5], "Targets": [{"Targets": [{"Key": "tag:a"}]}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := []Input{{Name: "f", Text: b}}
		documents, err1 := Documents(in, "")
		baselines, err2 := Baselines(in, "", true)
		windows, err3 := Windows(in, "w")
		for i, err := range []error{err1, err2, err3} {
			r := []Result{documents, baselines, windows}[i]
			if err != nil {
				continue
			}
			for _, file := range r.Files {
				if _, err := parser.ParseFile(file.Path, file.Text, parser.ParseComments); err != nil {
					t.Fatalf("%v\n%s", err, file.Text)
				}
				again, err := format.Source([]byte(file.Text))
				if err != nil || string(again) != file.Text {
					t.Fatalf("laid out again it is another text: %v\n%s\n%s", err, again, file.Text)
				}
			}
			for _, n := range r.Notes {
				if n.Object == "" || n.Message == "" {
					t.Fatalf("a note of nothing: %+v", n)
				}
			}
		}
	})
}
