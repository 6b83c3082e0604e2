package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	slash "path"
	"slices"
	"strings"
	"testing"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/parser"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiledSchema is the exported schema of a word, as another program reads it.
func compiledSchema(t *testing.T, word string) *jsonschema.Schema {
	t.Helper()
	text, err := JSONSchema(word)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("x.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("x.json") // holds it against the meta-schema as well
	if err != nil {
		t.Fatalf("%s: %v\n%s", word, err, text)
	}
	if bytes.Contains(text, []byte("(?i")) || bytes.Contains(text, []byte(`\\z`)) {
		t.Errorf("%s has patterns that no editor knows:\n%s", word, text)
	}
	return s
}

// takes holds data against a schema.
func takes(t *testing.T, s *jsonschema.Schema, v *value) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(v.json(nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(doc)
}

// samples are values of kinds and forms as people write them: the plain objects, rosters and documents of the example.
func samples(t *testing.T) map[string][]*value {
	t.Helper()
	out := map[string][]*value{}
	for name, f := range folderFS(t, "testdata/example") {
		switch {
		case slash.Dir(name) == "nodes":
			for line := range bytes.Lines(f.Data) {
				v, err := parseJSON(bytes.TrimSpace(line))
				if err != nil {
					t.Fatal(err)
				}
				out["roster"] = append(out["roster"], v)
			}
		case slash.Ext(name) == ".json":
			v, err := parseJSON(f.Data)
			if err != nil {
				t.Fatal(err)
			}
			out["document"] = append(out["document"], v)
		case slash.Ext(name) == ".cue" && !strings.HasPrefix(name, "cue.mod/") && !strings.HasPrefix(name, "lib/"):
			tree, err := parser.ParseFile(name, f.Data)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range tree.Decls {
				kind, v := plainObject(d)
				if v != nil {
					out[kind] = append(out[kind], v)
				}
			}
		}
	}
	add := func(kind, text string) {
		v, err := parseJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		out[kind] = append(out[kind], v)
	}
	add("agent", `{"repo":{"url":"https://git.example.org/p.git","branch":"main"},"trust":"unsigned","gossip":{"keyFile":"/k","join":["a:1"]},"ceiling":{"files":{"deny":["/etc/*"]}}}`)
	add("agent", `{"repo":{"url":"git@example.org:p.git"},"trust":{"anchor":"`+strings.Repeat("a", 40)+`"}}`)
	add("facts", `{"v":1,"node":"web-1","os":{"id":"debian","operatingSystem":"DEBIAN"},"installed":[{"name":"a","version":"1","arch":"amd64"}],"candidates":[{"name":"a","arch":"amd64","version":"2","phased":50}]}`)
	add("report", `{"v":1,"fleet":"f","node":"`+strings.Repeat("a", 26)+`","rev":1,"since":"2026-01-01T00:00:00Z","commit":"`+strings.Repeat("b", 40)+`","compliance":{"Patch":"COMPLIANT"},"counts":{"MissingCount":0},"facts":"`+strings.Repeat("c", 64)+`","sig":"`+strings.Repeat("A", 86)+`=="}`)
	add("run", `{"v":1,"fleet":"f","policy":"`+strings.Repeat("b", 40)+`","document":"D","parameters":{"a":"b","c":["d"]},"targets":{"all":true},"maxConcurrency":"10%","maxErrors":"0","errorMode":"soft","deliveryTimeout":"1h","executionTimeout":"1h","created":"2026-01-01T00:00:00Z","requestedBy":"a","sig":"-----BEGIN SSH SIGNATURE-----\n"}`)
	add("document", `{"schemaVersion":"1.2","runtimeConfig":{"aws:runShellScript":{"properties":[{"runCommand":["ls"]}]}}}`)
	add("document", `{"schemaVersion":"2.2","parameters":{"A":{"type":"StringList","default":["x"]}},"mainSteps":[{"action":"downloadContent","name":"d","inputs":{"sourceType":"S3","sourceInfo":{"path":"https://x"},"timeoutSeconds":"{{ A }}"}},{"action":"aws:runPowerShellScript","name":"p","precondition":{"StringEquals":["platformType","Windows"]},"inputs":{"runCommand":"dir"}}]}`)
	add("baseline", `{"operatingSystem":"WINDOWS","globalFilters":{"PATCH_SET":["OS"]},"approvalRules":[{"filters":{"MSRC_SEVERITY":["Critical"]},"approveUntilDate":"2026-01-01"}]}`)
	add("activation", `{"publicKey":"ssh-ed25519 `+strings.Repeat("A", 68)+`","expires":"2026-01-01T00:00:00Z","networks":["10.0.0.0/8"],"createdBy":"alice"}`)
	add("parameter", `{"type":"String","versions":{"1":{"value":"x","labels":["prod"]}}}`)
	add("parameter", `{"type":"SecureString","readers":{"all":true},"versions":{"1":{"value":"-----BEGIN AGE ENCRYPTED FILE-----\nx"}}}`)
	add("window", `{"schedule":"rate(1 day)","duration":"3h","targets":{"tags":{"role":["web","db"]},"exclude":{"os":["debian"]}},"tasks":{"t":{"document":"D","priority":1}}}`)
	add("group", `{"targets":{"tags":{"role":"web"}},"baselines":["debian-prod"],"description":"x"}`)
	add("guardrail", `{"limit":{"reboots":20,"nodesChanged":"50%"},"targets":{"groups":["db"]}}`)
	add("resourceGroup", `{"targets":{"groups":["a"]}}`)
	return out
}

// plainObject reads `kind: name: {...}` where it is pure data.
func plainObject(d ast.Decl) (string, *value) {
	f, ok := d.(*ast.Field)
	if !ok {
		return "", nil
	}
	kind, _ := labelName(f.Label)
	v, ok := literalValue(f.Value)
	switch {
	case kind == "" || !ok:
		return "", nil
	case kind == "fleet":
		return kind, v
	case v.k != kStruct || len(v.kids) != 1:
		return "", nil
	}
	return kind, v.kids[0]
}

// What the definitions take the exported schema takes, and what they refuse it refuses, through thousands of random
// changes of what people write.
func TestJSONSchemaAgreesWithTheDefinitions(t *testing.T) {
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	all := samples(t)
	var strange []*value
	for _, kind := range slices.Sorted(maps.Keys(all)) {
		strange = append(strange, all[kind]...)
	}
	kinds, _ := Kinds()
	for _, f := range Forms() {
		kinds = append(kinds, f.Name)
	}
	taken, refused := 0, 0
	for _, kind := range kinds {
		if len(all[kind]) == 0 {
			t.Errorf("no sample of %s", kind)
		}
		s := compiledSchema(t, kind)
		shape, _, err := d.exported(kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range all[kind] {
			if err := takes(t, s, v); err != nil {
				t.Errorf("%s is refused: %v\n%s", kind, err, v.json(nil))
			}
			for range 250 {
				m := v.clone()
				for range 1 + r.IntN(3) {
					mutate(r, m, strange)
				}
				c := &checker{defs: d.defs, quiet: true}
				c.check(shape, m, nil)
				err := takes(t, s, m)
				if c.bad != (err != nil) {
					loud := &checker{defs: d.defs}
					loud.check(shape, m, nil)
					t.Fatalf("%s: the definitions say %v, the schema says %v:\n%s", kind, loud.found, err, m.json(nil))
				}
				if c.bad {
					refused++
				} else {
					taken++
				}
			}
		}
	}
	if taken < 1000 || refused < 1000 {
		t.Errorf("%d are taken and %d refused, want at least 1000 of each", taken, refused)
	}
}

// mutate changes something somewhere in v.
func mutate(r *rand.Rand, v *value, strange []*value) {
	n := v
	for len(n.kids) > 0 && r.IntN(4) > 0 {
		n = n.kids[r.IntN(len(n.kids))]
	}
	someKey := func() string {
		o := strange[r.IntN(len(strange))]
		for len(o.kids) > 0 {
			if len(o.keys) > 0 && r.IntN(2) == 0 {
				return o.keys[r.IntN(len(o.keys))]
			}
			o = o.kids[r.IntN(len(o.kids))]
		}
		return "x"
	}
	switch op := r.IntN(8); {
	case n.k == kStruct && len(n.keys) > 0 && op < 3: // leave one out
		i := r.IntN(len(n.keys))
		n.keys, n.kids, n.index = slices.Delete(n.keys, i, i+1), slices.Delete(n.kids, i, i+1), nil
	case n.k == kStruct && op < 6: // one more
		if key := someKey(); n.get(key) == nil {
			n.set(key, word(r))
		}
	case n.k == kList && op < 3 && len(n.kids) > 0:
		n.kids = n.kids[1:]
	case n.k == kList && op < 6:
		n.kids = append(n.kids, word(r))
	case n.k == kInt && op < 4:
		n.i += int64(r.IntN(9) - 4)
	default:
		if n != v {
			*n = *word(r)
		}
	}
}

func word(r *rand.Rand) *value {
	words := []string{"", "a", "web-1", "7d", "10%", "0", "0%", "101%", "2026-01-01", "2026-01-01T00:00:00Z", "WINDOWS", "DEBIAN", "SUSE", "aws:runShellScript", "runDocument", "1.2", "2.2",
		"String", "SecureString", "/prod/x", "/aws/x", "/AwS", "ssm", "any", "10.0.0.0/8", "8000-8100", "Important", "Critical", "*", "{{ A }}", "{{x", "CVE-2026-1234", "https://x/y", "exec:///x", strings.Repeat("é", 200)}
	switch r.IntN(8) {
	case 0:
		return &value{k: kInt, i: int64(r.IntN(400)) - 20}
	case 1:
		return &value{k: kBool, b: r.IntN(2) == 0}
	case 2:
		return &value{k: kStruct}
	case 3:
		return &value{k: kList, kids: []*value{{k: kString, s: words[r.IntN(len(words))]}}}
	}
	return &value{k: kString, s: words[r.IntN(len(words))]}
}

// The whole of a repository is one schema as well.
func TestJSONSchemaOfARepository(t *testing.T) {
	s := compiledSchema(t, "")
	whole := &value{k: kStruct}
	for kind, all := range samples(t) {
		if kind == "fleet" {
			whole.set(kind, all[0])
			continue
		}
		if slices.ContainsFunc(Forms(), func(f Form) bool { return f.Name == kind }) {
			continue
		}
		objects := &value{k: kStruct}
		for i, v := range all {
			name := fmt.Sprintf("x%d", i)
			if kind == "parameter" {
				name = "/" + name
			}
			objects.set(name, v)
		}
		whole.set(kind, objects)
	}
	if err := takes(t, s, whole); err != nil {
		t.Error(err)
	}
	whole.set("polici", &value{k: kStruct})
	if err := takes(t, s, whole); err == nil {
		t.Error("an unknown kind is taken")
	}
}

func TestJSONSchemaSaysWhatCommentsSay(t *testing.T) {
	text, err := JSONSchema("window")
	if err != nil {
		t.Fatal(err)
	}
	var w struct {
		Schema      string `json:"$schema"`
		Description string
		Properties  map[string]struct {
			Description string
			Default     any
		}
	}
	if err := json.Unmarshal(text, &w); err != nil {
		t.Fatal(err)
	}
	if p := w.Properties["cutoff"]; w.Schema != "https://json-schema.org/draft/2020-12/schema" || w.Description == "" || !strings.HasPrefix(p.Description, "No new work") || p.Default != "0h" {
		t.Errorf("window: %+v", w)
	}
}

func TestJSONSchemaOfNothing(t *testing.T) {
	for word, want := range map[string]string{
		"windwo":        `no kind "windwo" (did you mean "window"?)`,
		"window.cutoff": `"window.cutoff" is a field; name its kind`,
		"window.cutof":  `no field "cutof" in window (did you mean "cutoff"?)`,
	} {
		if _, err := JSONSchema(word); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("JSONSchema(%q) = %v, want %s", word, err, want)
		}
	}
}
