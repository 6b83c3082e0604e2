package load

import (
	"maps"
	slash "path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dunlin-dev/dunlin/schema"
)

// realDocuments is a fleet with the documents of testdata, and what they read.
func realDocuments(t testing.TB) fstest.MapFS {
	m := files(`
-- parameters/p.cue --
_readers: all: true
parameter: {
	"/prod/tool/version": {type: "String", versions: {"1": value: "1.0", "2": {value: "1.1", labels: ["stable"]}}}
	"/prod/db/host": {type: "String", versions: "1": value: "db-1"}
	"/prod/hosts": {type: "StringList", versions: "1": value: "a,b"}
}
`)
	// Sealed values of the example, under the names that the documents read.
	text := string(folderFS(t, "testdata/example")["parameters/ops.cue"].Data)
	_, sealed, ok := strings.Cut(text, "-----BEGIN AGE ENCRYPTED FILE-----")
	sealed, _, ok2 := strings.Cut(sealed, "-----END AGE ENCRYPTED FILE-----")
	if !ok || !ok2 {
		t.Fatal("the example has no sealed value")
	}
	for _, name := range []string{"github-token", "deploy-key"} {
		var b strings.Builder
		for line := range strings.Lines("-----BEGIN AGE ENCRYPTED FILE-----" + sealed + "-----END AGE ENCRYPTED FILE-----") {
			b.WriteString("\t" + strings.TrimSpace(line) + "\n")
		}
		m["parameters/"+name+".cue"] = &fstest.MapFile{Data: []byte("package fleet\n\nparameter: \"/ci/" + name + "\": {type: \"SecureString\", readers: all: true, versions: \"1\": value: \"\"\"\n" + b.String() + "\t\"\"\"}\n")}
	}
	for name, f := range folderFS(t, "testdata/documents") {
		m["documents/"+name] = f
	}
	return m
}

// Documents as people have them for SSM load without a change, of all three schemas and in both forms.
func TestRealDocumentsLoad(t *testing.T) {
	m := realDocuments(t)
	repo, faults, err := language()(t.Context(), m)
	faults = slices.DeleteFunc(faults, func(f schema.Fault) bool { return f.Severity == schema.SeverityWarning })
	if err != nil || len(faults) > 0 {
		t.Fatalf("%v\n%s", err, lines(faults))
	}
	seen := map[string]int{}
	var all strings.Builder
	for name, f := range m {
		if slash.Dir(name) != "documents" {
			continue
		}
		seen[slash.Ext(name)]++
		all.Write(f.Data)
		d, ok := repo.Documents[strings.TrimSuffix(slash.Base(name), slash.Ext(name))]
		if !ok || len(d.MainSteps)+len(d.RuntimeConfig) == 0 {
			t.Errorf("%s is not among the documents: %+v", name, d)
		}
		seen[string(d.SchemaVersion)]++
		for _, p := range d.Parameters {
			seen[string(p.Type)]++
		}
		if at := repo.Positions["document."+strings.TrimSuffix(slash.Base(name), slash.Ext(name))]; at.File != name || at.Line == 0 || at.Column != 1 {
			t.Errorf("%s stands at %+v", name, at)
		}
	}
	if n := len(repo.Documents); n < 20 {
		t.Errorf("%d documents, of which there should be at least 20", n)
	}
	for _, want := range slices.Concat([]string{".json", ".yaml", ".yml", "2.2", "2.0", "1.2"}, schema.ParameterType("").Words()) {
		if seen[want] == 0 {
			t.Errorf("no document has %s; there are %v", want, slices.Sorted(maps.Keys(seen)))
		}
	}
	// Everything that SSM §3 has for command documents.
	for _, want := range slices.Concat(schema.Actions(), []string{
		"allowedValues", "allowedPattern", "displayType", "textarea", "textfield", "minItems", "maxItems", "minChars", "maxChars", "ENV_VAR", "TEXT",
		"precondition", "StringEquals", "platformType", "onFailure", "onSuccess", "successAndExit", "finallyStep", "maxAttempts", "timeoutSeconds",
		"workingDirectory", "environment", "settings", "properties", "runtimeConfig", "mainSteps", "readOnly",
		"SSMDocument", "LocalPath", "documentParameters", "GitHub", "\"Git\"", "HTTP", "S3", "getOptions", "commitID", "branch:", "tokenInfo", "privateSSHKey",
		"skipHostKeyChecking", "authMethod", "allowInsecureDownload", "destinationPath", "In-place update", "additionalArguments", "customInventory", "windowsRegistry",
		"associationIds", "sourceHash", "{{ssm:", "{{ ssm:", "{{ssm-secure:", "{{platform:", ":stable}}", "exit 194", "exit 3010", "exit 168", "exit 169", "{{.Names}}", "<<:", "arn:aws:ssm",
	}) {
		if !strings.Contains(all.String(), want) {
			t.Errorf("no document has %s", want)
		}
	}
}
