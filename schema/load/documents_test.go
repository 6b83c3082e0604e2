package load

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dunlin-dev/dunlin/schema"
)

// script is the beginning of a document with one step.
const script = `schemaVersion: "2.2", mainSteps: [{action: "aws:runShellScript", name: "a", inputs: runCommand: ["true"]}]`

func TestDocumentFaults(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"two steps of one name", `
-- a.cue --
document: d: {schemaVersion: "2.2", mainSteps: [
	{action: "runShellScript", name: "a", inputs: runCommand: ["true"]},
	{action: "runShellScript", name: "a", inputs: runCommand: ["true"]},
]}
`, "a.cue:4:35: document.d.mainSteps[1].name: \"a\" is already the name of mainSteps[0]; each step has its own\n"},
		{"a final step that is not the last", `
-- a.cue --
document: d: {schemaVersion: "2.2", mainSteps: [
	{action: "runShellScript", name: "a", inputs: {runCommand: ["true"], finallyStep: true}},
	{action: "runShellScript", name: "b", inputs: {runCommand: ["true"], finallyStep: "false"}},
	{action: "runShellScript", name: "c", inputs: {runCommand: ["true"], finallyStep: "True"}},
]}
`, "a.cue:3:84: document.d.mainSteps[0].inputs.finallyStep: only the last step can be the final one; this is step 1 of 3\n"},
		{"preconditions", `
-- documents/d.yaml --
schemaVersion: '2.2'
parameters:
  Confirm: {type: String, default: 'no'}
mainSteps:
  - {name: a, action: runShellScript, precondition: {StringEquals: [platformType, Linx]}, inputs: {runCommand: ['true']}}
  - {name: b, action: runShellScript, precondition: {StringEquals: ['{{ Confim }}', 'yes']}, inputs: {runCommand: ['true']}}
  - {name: c, action: runShellScript, precondition: {StringEquals: ['{{ Confirm }}', 'yes']}, inputs: {runCommand: ['true']}}
  - {name: d, action: runShellScript, precondition: {StringEquals: [x, y]}, inputs: {runCommand: ['true']}}
-- documents/e.yaml --
schemaVersion: '2.0'
mainSteps:
  - {name: a, action: runShellScript, precondition: {StringEquals: [platformType, Linux]}, inputs: {runCommand: ['true']}}
`, `documents/d.yaml:5:68: document.d.mainSteps[0].precondition.StringEquals: no platformType is "Linx"; one of Linux, Windows, MacOS (did you mean "Linux"?)
documents/d.yaml:6:69: document.d.mainSteps[1].precondition.StringEquals[0]: no parameter "Confim" (did you mean "Confirm"?)
documents/d.yaml:8:68: document.d.mainSteps[3].precondition.StringEquals: neither argument has a parameter of the document, so that the step would run always or never
documents/e.yaml:3:39: document.e.mainSteps[0].precondition: needs schemaVersion "2.2"; an agent fails such a step of a document of 2.0
`},
		{"parameters", `
-- documents/d.json --
{"schemaVersion": "2.2", "parameters": {
  "a": {"type": "String", "default": 5},
  "b": {"type": "String", "default": "x", "allowedValues": ["y", "z"]},
  "c": {"type": "String", "default": "xyz", "allowedPattern": "[xy]*"},
  "d": {"type": "String", "allowedPattern": "(?!a)b"},
  "e": {"type": "StringList", "default": ["ok", 7, "toolong"], "maxChars": 4},
  "f": {"type": "StringList", "default": "x"},
  "g": {"type": "Integer", "default": 3.5},
  "h": {"type": "Boolean", "default": "true"},
  "i": {"type": "StringMap", "default": {"k": 1}, "minItems": 2},
  "j": {"type": "MapList", "default": [{}, []]},
  "k": {"type": "String", "minChars": 5, "maxChars": 3},
  "l": {"type": "String", "default": null},
  "m": {"type": "String", "default": "{{ssm:/p}}", "allowedPattern": "^[a-z]$"},
  "n_o": {"type": "String"},
  "p": {"type": "Text"}
 },
 "mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["true"]}}]}
-- parameters/p.cue --
parameter: "/p": {type: "String", versions: "1": value: "a"}
`, `documents/d.json:2:38: document.d.parameters.a.default: 5 is a number; the default of type String is text
documents/d.json:3:38: document.d.parameters.b.default: "x" is not one of y, z
documents/d.json:4:38: document.d.parameters.c.default: "xyz" does not match [xy]*
documents/d.json:5:45: document.d.parameters.d.allowedPattern: not a regular expression of RE2, which agents know: invalid or unsupported Perl syntax: ` + "`(?!`" + `
documents/d.json:6:49: document.d.parameters.e.default[1]: 7 is a number; the default of type StringList is a list of texts
documents/d.json:6:52: document.d.parameters.e.default[2]: 7 characters; at most 4 are allowed
documents/d.json:7:42: document.d.parameters.f.default: "x" is text; the default of type StringList is a list of texts
documents/d.json:8:39: document.d.parameters.g.default: 3.5 is a number; the default of type Integer is a whole number
documents/d.json:9:39: document.d.parameters.h.default: "true" is text; the default of type Boolean is true or false
documents/d.json:10:41: document.d.parameters.i.default: 1 item; at least 2 wanted
documents/d.json:10:47: document.d.parameters.i.default.k: 1 is a number; the default of type StringMap is a struct of texts
documents/d.json:11:44: document.d.parameters.j.default[1]: a list; the default of type MapList is a list of structs
documents/d.json:12:39: document.d.parameters.k.minChars: 5 is greater than maxChars 3, so that nothing fits
documents/d.json:13:38: document.d.parameters.l.default: null; the default of type String is text
documents/d.json:15:3: document.d.parameters.n_o: not a name of letters and digits alone
documents/d.json:16:17: document.d.parameters.p.type: "Text" is not one of String, StringList, Integer, Boolean, StringMap, MapList
`},
		{"undeclared and pasted parameters", `
-- documents/d.yml --
schemaVersion: '2.2'
parameters:
  Message: {type: String}
  Old: {type: String, interpolationType: TEXT}
  New: {type: String, interpolationType: ENV_VAR}
  commands: {type: StringList}
mainSteps:
  - action: aws:runShellScript
    name: a
    inputs:
      workingDirectory: '{{ Mesage }}/{{.Names}}/{{ a_b }}'
      runCommand:
        - '{{ commands }}'
        - echo {{ Message }}
        - echo {{ Message }} {{ Old }} {{ New }}
  - action: aws:runPowerShellScript
    name: b
    inputs:
      runCommand: '{{ commands }}'
-- documents/e.json --
{"schemaVersion": "1.2", "parameters": {"x": {"type": "String"}}, "runtimeConfig": {"aws:runPowerShellScript": {"properties": [
  {"runCommand": ["Write-Host {{ x }}", "{{ y }}"]}]}}}
`, `documents/d.yml:11:25: document.d.mainSteps[0].inputs.workingDirectory: no parameter "Mesage" (did you mean "Message"?)
documents/e.json:2:41: document.e.runtimeConfig."aws:runPowerShellScript".properties[0].runCommand[1]: no parameter "y"
`},
		{"parameters in scripts of a document written in CUE", `
-- documents/d.cue --
document: d: {
	schemaVersion: "2.2"
	parameters: {
		Whom: type: "String"
		Env: {type: "String", interpolationType: "ENV_VAR"}
		Old: {type: "String", interpolationType: "TEXT"}
	}
	mainSteps: [
		{action: "aws:runShellScript", name: "a", inputs: runCommand: ["echo {{ Whom }} {{ Env }} {{ Old }}", "echo {{ Whom }}"]},
		{action: "aws:runDocument", name: "b", inputs: {documentType: "SSMDocument", documentPath: "AWS-RunShellScript", documentParameters: commands: ["echo {{ Whom }}"]}},
	]
}
`, `documents/d.cue:10:66: document.d.mainSteps[0].inputs.runCommand[0]: {{ Whom }} is not pasted, since the value could be any command: the script reads a variable in its place; write "$SSM_Whom", or say interpolationType: "TEXT" of the parameter to paste it all the same
documents/d.cue:11:146: document.d.mainSteps[1].inputs.documentParameters.commands: {{ Whom }} is not pasted, since the value could be any command: the script reads a variable in its place; write "$SSM_Whom", or say interpolationType: "TEXT" of the parameter to paste it all the same
`},
		{"stored parameters", `
-- parameters/p.cue --
parameter: "/db/host": {type: "String", versions: {"1": value: "a", "2": {value: "b", labels: ["prod"]}}}
parameter: "/db/hosts": {type: "StringList", versions: "1": value: "a,b"}
-- documents/d.yaml --
schemaVersion: '2.2'
mainSteps:
  - action: aws:downloadContent
    name: a
    inputs: {sourceType: S3, sourceInfo: {path: 'https://{{ssm:/db/hosts}}/{{ssm:/db/host}}'}}
  - action: aws:runShellScript
    name: b
    inputs: {runCommand: ['{{ssm:/db/hots}}', '{{ssm:/db/host:3}}', '{{ssm:/db/host:prod}}', '{{ssm:db/host:2}}', '{{ssm-secure:/db/host}}', '{{ssm:/db/hosts}}']}
`, `documents/d.yaml:5:49: document.d.mainSteps[0].inputs.sourceInfo.path: parameter "/db/hosts" is a StringList, which cannot be a part of a text
documents/d.yaml:8:27: document.d.mainSteps[1].inputs.runCommand[0]: no parameter "/db/hots" (did you mean "/db/host"?)
documents/d.yaml:8:47: document.d.mainSteps[1].inputs.runCommand[1]: parameter "/db/host" has no version 3; it has 1, 2
documents/d.yaml:8:115: document.d.mainSteps[1].inputs.runCommand[4]: ssm-secure is for the secrets of aws:downloadContent only
`},
		{"documents that run others", `
-- a.cue --
_run: {
	#of: string
	schemaVersion: "2.2"
	mainSteps: [{action: "runDocument", name: "run", inputs: {documentType: "SSMDocument", documentPath: #of}}]
}
document: a: {_run, #of: "b"}
document: b: {_run, #of: "arn:aws:ssm:eu-west-1:123456789012:document/c"}
document: c: {_run, #of: "d:1"}
document: d: {_run, #of: "leaf"}
document: x: {_run, #of: "y"}
document: y: {_run, #of: "x"}
document: "self": {_run, #of: "self"}
document: z: {_run, #of: "leef"}
document: leaf: {` + script + `}
document: args: {
	schemaVersion: "2.2"
	parameters: Why: type: "String"
	mainSteps: [
		{action: "aws:runDocument", name: "1", inputs: {documentType: "SSMDocument", documentPath: "AWS-RunShellScript", documentParameters: {commands: ["{{ Why }}"], executionTimeout: "0", command: "x"}}},
		{action: "aws:runDocument", name: "2", inputs: {documentType: "SSMDocument", documentPath: "AWS-RunShellScript", documentParameters: "{\"commands\": [], \"workingDirectory\": 5}"}},
		{action: "aws:runDocument", name: "3", inputs: {documentType: "LocalPath", documentPath: "no/such", documentParameters: "{{ Why }}"}},
		{action: "aws:runDocument", name: "4", inputs: {documentType: "SSMDocument", documentPath: "{{ Why }}"}},
		{action: "aws:downloadContent", name: "5", inputs: {sourceType: "SSMDocument", sourceInfo: name: "leav"}},
	]
}
`, `a.cue:5:103: document.a.mainSteps[0].inputs.documentPath: more than 3 documents deep: a runs b runs c runs d runs leaf
a.cue:5:103: document.self.mainSteps[0].inputs.documentPath: documents in a circle: self, self
a.cue:5:103: document.x.mainSteps[0].inputs.documentPath: documents in a circle: x, y, x
a.cue:5:103: document.z.mainSteps[0].inputs.documentPath: no document "leef" (did you mean "leaf"?)
a.cue:20:180: document.args.mainSteps[0].inputs.documentParameters.executionTimeout: "0" does not match ([1-9][0-9]{0,4})|(1[0-6][0-9]{4})|(17[0-1][0-9]{3})|(172[0-7][0-9]{2})|(172800)
a.cue:20:185: document.args.mainSteps[0].inputs.documentParameters.command: no such parameter of AWS-RunShellScript (did you mean "commands"?); allowed: commands, executionTimeout, workingDirectory
a.cue:21:136: document.args.mainSteps[1].inputs.documentParameters.commands: 0 items; at least 1 wanted
a.cue:24:100: document.args.mainSteps[4].inputs.sourceInfo.name: no document "leav" (did you mean "leaf"?)
`},
		{"arguments", `
-- a.cue --
document: greet: {
	schemaVersion: "2.2"
	parameters: {
		Whom: {type: "String", allowedPattern: "[A-Z][a-z]+"}
		Words: {type: "StringList", default: ["hi"], allowedValues: ["hi", "ho"], maxItems: 2}
	}
	mainSteps: [{action: "runShellScript", name: "a", inputs: runCommand: ["echo \"$SSM_Whom\""]}]
}
association: a: {document: "greet", targets: all: true}
association: b: {document: "greet", targets: all: true, parameters: {Whom: "Ann; rm", Words: ["hi", "he"], Who: "x"}}
association: c: {document: "gret", targets: all: true, parameters: Whom: "Ann"}
association: d: {document: "greet", targets: all: true, parameters: {Whom: ["Ann"], Words: "ho"}}
association: e: {document: "greet", targets: all: true, parameters: {Whom: ["Ann", "Bob"], Words: {a: "b"}}}
policy: p: {targets: all: true, checks: c: {document: "greet", parameters: Whom: "bob"}}
rule: r: {when: type: ["node.joined"], run: {document: "greet", parameters: {}}}
window: w: {` + window + `, tasks: t: {document: "greet", parameters: {Whom: "Ann", Words: ["hi", "ho", "hi"]}}}
`, `a.cue:10:14: association.a.parameters.Whom: required; text
a.cue:11:76: association.b.parameters.Whom: "Ann; rm" does not match [A-Z][a-z]+
a.cue:11:101: association.b.parameters.Words[1]: "he" is not one of hi, ho
a.cue:11:108: association.b.parameters.Who: no such parameter of greet (did you mean "Whom"?); allowed: Whom, Words
a.cue:12:28: association.c.document: no document "gret" (did you mean "greet"?)
a.cue:14:76: association.e.parameters.Whom: one text is wanted
a.cue:14:99: association.e.parameters.Words: a struct; a list of texts is wanted
a.cue:15:82: policy.p.checks.c.parameters.Whom: "bob" does not match [A-Z][a-z]+
a.cue:16:65: rule.r.run.parameters.Whom: required; text
a.cue:17:137: window.w.tasks.t.parameters.Words: 3 items; at most 2 are allowed
`},
		{"a document twice", `
-- documents/b.json --
{"schemaVersion": "2.2", "mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["true"]}}]}
-- documents/b.yaml --
schemaVersion: '2.2'
mainSteps: [{action: runShellScript, name: a, inputs: {runCommand: ['true']}}]
-- documents/c.json --
{"schemaVersion": "2.2", "mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["true"]}}]}
-- a.cue --
document: c: {` + script + `}
-- documents/e.json --
{"schemaVersion": "2.2", "mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["true"]}}]}
-- policies/p.cue --
document: e: {` + script + `}
`, `documents/b.yaml:1:1: document.b: already in documents/b.json:1:1; a document is written once
documents/c.json:1:1: document.c: already in a.cue:2:11; a document is written once
policies/p.cue:2:11: document.e: already in documents/e.json:1:1; a document is written once
`},
		{"names of files", `
-- documents/AWS-x.json --
{"schemaVersion": "2.2", "mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["true"]}}]}
-- documents/my doc.json --
{"schemaVersion": "2.2", "mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["true"]}}]}
`, `documents/AWS-x.json:1:1: document.AWS-x: names that begin with AWS-, Amazon or Dunlin- are the shipped library's
documents/my doc.json:1:1: document."my doc": not a name: letters, digits, ".", "_" and "-", at most 63, starting with a letter or digit: a document is named as its file, without the ending
`},
		{"forms", `
-- documents/a.json --
[]
-- documents/b.json --
{"mainSteps": []}
-- documents/c.json --
{"schemaVersion": "0.3", "mainSteps": [{"action": "aws:executeScript", "name": "a", "inputs": {}}]}
-- documents/d.json --
{"schemaVersion": "1.2", "mainSteps": [], "runtimeConfig": {"aws:updateSsmAgent": {"properties": {}}, "aws:runShellScript": {}}}
-- documents/e.yaml --
schemaVersion: "2.2"
mainSteps:
- action: aws:runShellScript
  name: a
  timeoutSeconds: 30
  inputs: {runCommand: [], timeoutSeconds: 1, onFailure: abort}
`, `documents/a.json:1:1: document.a: a list; a struct with schemaVersion is wanted
documents/b.json:1:1: document.b.schemaVersion: required; one of 2.2, 2.0, 1.2
documents/c.json:1:19: document.c.schemaVersion: "0.3" is an Automation runbook's; only command documents, "2.2", "2.0" and "1.2", can be run here
documents/d.json:1:26: document.d.mainSteps: no such field; allowed: annotations, schemaVersion, description, parameters, runtimeConfig
documents/d.json:1:61: document.d.runtimeConfig."aws:updateSsmAgent": "aws:updateSsmAgent" is not one of runShellScript, runPowerShellScript, runDocument, downloadContent, configurePackage, softwareInventory, psModule, refreshAssociation (an agent is upgraded as a package, by a policy)
documents/d.json:1:103: document.d.runtimeConfig."aws:runShellScript".properties: required; a struct or a list of values
documents/e.yaml:5:3: document.e.mainSteps[0].timeoutSeconds: no such field; allowed: action, name, description, precondition, readOnly, inputs (timeoutSeconds belongs into inputs)
documents/e.yaml:6:24: document.e.mainSteps[0].inputs.runCommand: 0 items; at least 1 wanted
documents/e.yaml:6:44: document.e.mainSteps[0].inputs.timeoutSeconds: 1 is not 5 to 172800 seconds, or a placeholder such as "{{ name }}"
documents/e.yaml:6:58: document.e.mainSteps[0].inputs.onFailure: "abort" is not one of exit, successAndExit
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := lines(faultsOf(t, language(), files(tt.text))); got != tt.want {
				t.Errorf("faults:\n%swant:\n%s", got, tt.want)
			}
		})
	}
}

func TestDocumentWarnings(t *testing.T) {
	_, faults, err := language()(t.Context(), files(`
-- documents/d.yml --
schemaVersion: '2.2'
parameters:
  Old: {type: String, interpolationType: TEXT}
  New: {type: String, interpolationType: ENV_VAR}
mainSteps:
  - action: aws:runPowerShellScript
    name: a
    inputs:
      runCommand:
        - echo {{ Old }} {{ New }}
        - echo {{ Old }} {{ New }} {{global:DATE}}
-- documents/inner.yaml --
schemaVersion: '1.2'
parameters: {lines: {type: StringList}, note: {type: String, default: ''}}
runtimeConfig: {aws:runShellScript: {properties: [{runCommand: '{{ lines }}'}]}}
-- documents/outer.yaml --
schemaVersion: '2.2'
parameters:
  Whom: {type: String}
  Old: {type: String, interpolationType: TEXT}
  Lines: {type: StringList}
mainSteps:
  - {action: aws:runDocument, name: a, inputs: {documentType: SSMDocument, documentPath: AWS-RunPowerShellScript, documentParameters: {commands: [uptime, 'echo {{ Whom }}']}}}
  - {action: aws:runDocument, name: b, inputs: {documentType: SSMDocument, documentPath: inner, documentParameters: {lines: 'echo {{ Whom }}', note: 'for {{ Whom }}'}}}
  - {action: aws:runDocument, name: c, inputs: {documentType: SSMDocument, documentPath: inner, documentParameters: {lines: '{{ Lines }}', note: 'for {{ Whom }}'}}}
  - {action: aws:runDocument, name: d, inputs: {documentType: SSMDocument, documentPath: inner, documentParameters: {lines: ['{{ Whom }}', 'echo {{ Old }}']}}}
-- documents/script.yaml --
schemaVersion: '2.2'
parameters: {Message: {type: String}, commands: {type: StringList}}
mainSteps:
  - {action: aws:runShellScript, name: a, inputs: {runCommand: ['{{ commands }}', 'echo {{ Message }}', 'echo {{ Message }}']}}
-- documents/linux/e.json --
{}
-- documents/F.JSON --
{}
-- documents/README.md --
x
`))
	want := `documents/F.JSON: warning: not read: write the ending in small letters
documents/d.yml:10:11: warning: document.d.mainSteps[0].inputs.runCommand[0]: {{ New }} is not pasted, since the value could be any command: the script reads a variable in its place; write $env:SSM_New, or say interpolationType: "TEXT" of the parameter to paste it all the same
documents/d.yml:10:11: warning: document.d.mainSteps[0].inputs.runCommand[0]: {{ Old }} is pasted into the script: whoever gives Old can run any command; write $env:SSM_Old
documents/d.yml:11:11: warning: document.d.mainSteps[0].inputs.runCommand[1]: stays as it is: {{global:DATE}} means something in runbooks only
documents/linux/e.json: warning: not read: documents are files of documents/ itself
documents/outer.yaml:7:146: warning: document.outer.mainSteps[0].inputs.documentParameters.commands: {{ Whom }} is not pasted, since the value could be any command: the script reads a variable in its place; write $env:SSM_Whom, or say interpolationType: "TEXT" of the parameter to paste it all the same
documents/outer.yaml:8:125: warning: document.outer.mainSteps[1].inputs.documentParameters.lines: {{ Whom }} is not pasted, since the value could be any command: the script reads a variable in its place; write "$SSM_Whom", or say interpolationType: "TEXT" of the parameter to paste it all the same
documents/script.yaml:4:83: warning: document.script.mainSteps[0].inputs.runCommand[1]: {{ Message }} is not pasted, since the value could be any command: the script reads a variable in its place; write "$SSM_Message", or say interpolationType: "TEXT" of the parameter to paste it all the same
`
	if got := lines(faults); got != want || err != nil {
		t.Errorf("warnings %v:\n%swant:\n%s", err, got, want)
	}
}

func TestLargeDocuments(t *testing.T) {
	line := strings.Repeat("#", 60<<10)
	big := `{"schemaVersion": "2.2", "parameters": {"x": {"type": "StringList", "default": []}}, "mainSteps": [{"action": "aws:runShellScript", "name": "a", "inputs": {"runCommand": ["` + line + `"]}}]}`
	m := files("")
	m["documents/fits.json"] = &fstest.MapFile{Data: []byte(big)}
	m["documents/large.json"] = &fstest.MapFile{Data: []byte(big + strings.Repeat(" ", 5<<10))}
	m["documents/large.cue"] = &fstest.MapFile{Data: []byte("package fleet\ndocument: cue: " + strings.Replace(big, line, line+line[:5<<10], 1))}
	m["a.cue"] = &fstest.MapFile{Data: []byte("package fleet\nassociation: a: {document: \"fits\", targets: all: true, parameters: x: [\"" + line[:5<<10] + "\"]}\n")}
	want := fmt.Sprintf(`a.cue:2:55: association.a.parameters: %d bytes with the document; both together have at most 65536
documents/large.cue:2:11: document.cue: %d bytes; a document has at most 65536
documents/large.json:1:1: document.large: %d bytes; a document has at most 65536
`, 66_711, 66_711, len(big)+5<<10)
	got := lines(faultsOf(t, language(), m))
	for _, w := range strings.Split(strings.TrimSpace(want), "\n")[2:] {
		if !strings.Contains(got, w) {
			t.Errorf("faults:\n%swant:\n%s", got, want)
		}
	}
	if strings.Count(got, "\n") != 3 {
		t.Errorf("faults:\n%swant:\n%s", got, want)
	}
}

// The definitions' actions and the Go table of them are one; what is refused has a hint or is not in either.
func TestActionsAgree(t *testing.T) {
	defs, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, f := range defs["#inputs"].fields {
		have[f.name] = true
	}
	for _, a := range schema.Actions() {
		if !have[a] {
			t.Errorf("action %s has no inputs in the definitions", a)
		}
		delete(have, a)
	}
	for a := range have {
		t.Errorf("action %s is not in schema.Actions", a)
	}
	for _, a := range []string{"applications", "configureDocker", "runDockerAction", "updateAgent", "updateSsmAgent"} {
		if have[a] || hint("#Action", a) == "" {
			t.Errorf("%s is refused without a word of what to do instead", a)
		}
	}
}

// A document never panics the loader, in either form, and every fault has a place in its file and words that can be printed.
func FuzzDocument(f *testing.F) {
	for name, file := range folderFS(f, "testdata/documents") {
		f.Add(strings.HasSuffix(name, ".json"), file.Data)
	}
	f.Add(true, []byte(`{"schemaVersion": "2.2", "mainSteps": [{"action": {}, "name": 1, "inputs": []}, 5], "parameters": {"a": {"type": "String", "default": {"b": 1}, "minChars": 9, "maxChars": 1}, "": 1}}`))
	f.Add(false, []byte("schemaVersion: '1.2'\nruntimeConfig: {a: [], 'aws:psModule': {properties: [1, {runCommand: {a: '{{ b }}'}}]}}\nparameters: [a]\n"))
	f.Fuzz(func(t *testing.T, isJSON bool, b []byte) {
		if len(b) > 8192 {
			return
		}
		name := "documents/d.yaml"
		if isJSON {
			name = "documents/d.json"
		}
		m := files("")
		m[name] = &fstest.MapFile{Data: b}
		_, faults, err := language()(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range faults {
			if x.File != name || x.Line < 1 || x.Line > strings.Count(string(b), "\n")+strings.Count(string(b), "\r")+3 || x.Column < 1 || !strings.HasPrefix(x.Path, "document.d") || x.Message == "" {
				t.Fatalf("%q: %+v", b, x)
			}
		}
	})
}
