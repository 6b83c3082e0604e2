package load

import (
	"encoding/json"
	"io/fs"
	"maps"
	slash "path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/parser"

	"github.com/dunlin-dev/dunlin/policies"
	"github.com/dunlin-dev/dunlin/schema"
)

// definition builds #Repo from the definitions alone.
func definition(t testing.TB, ctx *cue.Context, name string) cue.Value {
	t.Helper()
	inst := build.NewContext().NewInstance("schema", nil)
	names, err := fs.Glob(schema.Definitions, "*.cue")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		b, err := schema.Definitions.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(name, b)
		if err != nil {
			t.Fatal(err)
		}
		if err := inst.AddSyntax(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := inst.Complete(); err != nil {
		t.Fatal(err)
	}
	v := ctx.BuildInstance(inst).LookupPath(cue.ParsePath(name))
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	return v
}

// Every shipped package is valid under the definitions that users' files are held to.
func TestShippedConforms(t *testing.T) {
	names, err := fs.Glob(policies.Files, "*/*.cue")
	if err != nil || len(names) == 0 {
		t.Fatalf("the shipped library has no files: %v", err)
	}
	folders := map[string]bool{}
	for _, n := range names {
		folders[slash.Dir(n)] = true
	}
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		t.Run(folder, func(t *testing.T) {
			ctx := newContext()
			v, err := shippedPackage(ctx, folder)
			if err != nil {
				t.Fatal(err)
			}
			if err := definition(t, ctx, "#Repo").Unify(v).Validate(cue.Concrete(true), cue.Final()); err != nil {
				t.Errorf("%s does not conform to #Repo: %v", folder, err)
			}
		})
	}
	t.Run("the check refuses what is wrong", func(t *testing.T) {
		ctx := newContext()
		for _, wrong := range []string{
			`baseline: x: {operatingSystem: "DEBIAN", aproved: []}`,
			`document: x: {schemaVersion: "2.2", mainSteps: [{action: "dunlin:patch", name: "p", inputs: Operation: "Instal"}]}`,
		} {
			if definition(t, ctx, "#Repo").Unify(ctx.CompileString(wrong)).Validate(cue.Concrete(true), cue.Final()) == nil {
				t.Errorf("%s conforms to #Repo", wrong)
			}
		}
	})
}

// The shipped baselines are read without the definitions, so no field of theirs may be left to a default.
func TestShippedLeavesNothingToDefaults(t *testing.T) {
	v, err := shippedPackage(newContext(), patchingFolder)
	if err != nil {
		t.Fatal(err)
	}
	b, err := v.LookupPath(cue.ParsePath("baseline")).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]map[string]any
	if err := json.Unmarshal(b, &raw); err != nil {
		t.Fatal(err)
	}
	needs := func(what string, fields map[string]any, of reflect.Type) {
		for i := range of.NumField() {
			if name, rest, _ := strings.Cut(of.Field(i).Tag.Get("json"), ","); name != "" && rest != "omitempty" {
				if _, given := fields[name]; !given {
					t.Errorf("%s leaves out %s", what, name)
				}
			}
		}
	}
	for name, fields := range raw {
		needs(name, fields, reflect.TypeFor[schema.Baseline]())
		rules, _ := fields["approvalRules"].([]any)
		for _, rule := range rules {
			needs(name+".approvalRules", rule.(map[string]any), reflect.TypeFor[schema.ApprovalRule]())
		}
	}
}

func TestShipped(t *testing.T) {
	got, err := Shipped()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]schema.OperatingSystem{
		"AWS-DebianDefaultPatchBaseline":   schema.Debian,
		"AWS-UbuntuDefaultPatchBaseline":   schema.Ubuntu,
		"AWS-DefaultRaspbianPatchBaseline": "RASPBIAN",
	}
	for name, system := range want {
		b, ok := got[name]
		if !ok || b.OperatingSystem != system || !b.Default {
			t.Errorf("Shipped()[%q] = %+v, want the default of %s", name, b, system)
			continue
		}
		r := b.ApprovalRules
		if len(r) != 1 || r[0].EnableNonSecurity || *r[0].ApproveAfterDays != 0 || len(r[0].Filters["PRIORITY"]) != 5 || r[0].ComplianceLevel != schema.Unspecified {
			t.Errorf("%s has rules %+v, want SSM's: security of five priorities, at once", name, r)
		}
	}
	if len(got) != len(want) {
		t.Errorf("Shipped() has %d baselines, want %d", len(got), len(want))
	}
	delete(got, "AWS-DebianDefaultPatchBaseline")
	if again, _ := Shipped(); len(again) != len(want) {
		t.Error("a caller's change of the map reaches the next caller")
	}
}

func TestShippedDocuments(t *testing.T) {
	v, err := shippedPackage(newContext(), patchingFolder)
	if err != nil {
		t.Fatal(err)
	}
	doc := v.LookupPath(cue.MakePath(cue.Str("document"), cue.Str(schema.RunPatchBaseline)))
	if action, err := doc.LookupPath(cue.ParsePath("mainSteps[0].action")).String(); err != nil || action != "dunlin:patch" {
		t.Errorf("%s runs %q, %v, want dunlin:patch", schema.RunPatchBaseline, action, err)
	}
}

func BenchmarkShipped(b *testing.B) {
	for b.Loop() {
		v, err := shippedPackage(newContext(), patchingFolder)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.LookupPath(cue.ParsePath("baseline")).MarshalJSON(); err != nil {
			b.Fatal(err)
		}
	}
}
