package compliance

import (
	"reflect"
	"slices"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestFold(t *testing.T) {
	patches := schema.Judgement{Patches: []schema.Patch{
		{ID: "a.all", State: schema.Installed, ComplianceLevel: schema.Critical},
		{ID: "b.all", State: schema.Missing, ComplianceLevel: schema.Unspecified},
		{ID: "c.all", State: schema.NotApplicable, ComplianceLevel: schema.Critical},
	}}
	for _, tt := range []struct {
		name     string
		items    []Item
		judged   []Type
		status   schema.Compliance
		severity schema.Level
		types    map[Type]schema.Compliance
	}{
		{"nothing judged has no verdict of a type", nil, nil, schema.Compliant, "", map[Type]schema.Compliance{}},
		{"judged and nothing wanted is compliant", nil, []Type{Policy}, schema.Compliant, "", map[Type]schema.Compliance{Policy: schema.Compliant}},
		{"a wrong patch without a level weighs INFORMATIONAL", OfPatches(patches), nil, schema.NonCompliant, schema.Informational, map[Type]schema.Compliance{Patch: schema.NonCompliant}},
		{"what is right does not weigh", []Item{OfResource("file:/a", schema.Critical, schema.ResourceCompliant), OfResource("file:/b", schema.Low, schema.ResourceFailed)}, nil, schema.NonCompliant, schema.Low, map[Type]schema.Compliance{Policy: schema.NonCompliant}},
		{"the highest severity counts, and each type for itself", append(OfPatches(schema.Judgement{Patches: patches.Patches[:1]}), OfResource("port:in/tcp/23/any", schema.High, schema.ResourceDenied), OfResource("file:/b", schema.Low, schema.ResourceNonCompliant)), nil, schema.NonCompliant, schema.High, map[Type]schema.Compliance{Patch: schema.Compliant, Policy: schema.NonCompliant}},
		{"a resource without severity weighs UNSPECIFIED", []Item{OfResource("file:/b", "", schema.ResourceWaiting)}, nil, schema.NonCompliant, schema.Unspecified, map[Type]schema.Compliance{Policy: schema.NonCompliant}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Fold(tt.items, tt.judged...)
			types := map[Type]schema.Compliance{}
			for k, v := range got.Types {
				types[k] = v.Status
			}
			if got.Status != tt.status || got.Severity != tt.severity || !reflect.DeepEqual(types, tt.types) {
				t.Errorf("Fold = %+v, want %s %q %v", got, tt.status, tt.severity, tt.types)
			}
			reversed := slices.Clone(tt.items)
			slices.Reverse(reversed)
			if again := Fold(reversed, tt.judged...); !reflect.DeepEqual(again, got) {
				t.Errorf("in another order Fold = %+v, want %+v", again, got)
			}
		})
	}
}

func TestSeverities(t *testing.T) {
	got := Fold([]Item{OfResource("a", schema.High, schema.ResourceReverted), OfResource("b", schema.High, schema.ResourceConflict), OfResource("c", schema.Low, schema.ResourceCompliant)}).Types[Policy]
	if got.NonCompliant[schema.High] != 2 || got.NonCompliant.Total() != 2 || got.Compliant.Total() != 1 {
		t.Errorf("Fold counts %+v, want two wrong HIGH and one right LOW", got)
	}
}

// Every state has a verdict, and only the right ones are compliant.
func TestStates(t *testing.T) {
	for s, want := range map[schema.PatchState]schema.Compliance{
		schema.Installed: schema.Compliant, schema.InstalledOther: schema.Compliant, schema.InstalledPendingReboot: schema.NonCompliant,
		schema.InstalledRejected: schema.NonCompliant, schema.Missing: schema.NonCompliant, schema.PatchFailed: schema.NonCompliant, schema.NotApplicable: "",
	} {
		if got := PatchStatus(s); got != want {
			t.Errorf("PatchStatus(%s) = %q, want %q", s, got, want)
		}
	}
	for _, s := range []schema.ResourceState{schema.ResourceNonCompliant, schema.ResourceWaiting, schema.ResourceFailed, schema.ResourceConflict, schema.ResourceDenied, schema.ResourceReverted, ""} {
		if got := ResourceStatus(s); got != schema.NonCompliant {
			t.Errorf("ResourceStatus(%s) = %s, want NON_COMPLIANT", s, got)
		}
	}
}
