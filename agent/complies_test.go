package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dunlin-dev/dunlin/schema"
)

// A service that can be neither enabled nor started for one reason counts once.
func TestOneReasonCountsOnce(t *testing.T) {
	failed := func(resource, action, reason string) schema.Change {
		return schema.Change{Resource: resource, Action: schema.Action(action), Result: schema.Failed, Reason: reason}
	}
	types := typesOf(schema.Patching{}, []schema.Change{
		failed("service:nginx", "enable", "no such unit"), failed("service:nginx", "start", "no such unit"),
		failed("service:ssh", "enable", "masked"), failed("service:ssh", "start", "it ends at once"), failed("service:x", "start", "it ends at once"),
	})
	want := []schema.ComplianceItem{
		{ID: "service:nginx", State: "Failed", Reason: "no such unit"}, {ID: "service:ssh", State: "Failed", Reason: "masked"},
		{ID: "service:ssh", State: "Failed", Reason: "it ends at once"}, {ID: "service:x", State: "Failed", Reason: "it ends at once"},
	}
	if diff := cmp.Diff(want, types[1].Items); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What a node says of itself fits into a record, however long the names of what is wrong are.
func TestAStateFitsIntoARecord(t *testing.T) {
	var items []schema.ComplianceItem
	for i := range maxItems {
		items = append(items, schema.ComplianceItem{ID: fmt.Sprint("file:/", i, strings.Repeat("x", 4000)), State: "Failed", Reason: "y"})
	}
	var faults []schema.Fault
	for range 8 {
		faults = append(faults, schema.Fault{Message: strings.Repeat("z", 9000)})
	}
	whole := schema.StateRecord{Name: "web-1", Commit: "c", Refused: &schema.RefusedCommit{Commit: "r", Faults: faults},
		Types: []schema.TypeCompliance{{Type: "Patch", Items: items[:3]}, {Type: "Policy", Items: items, More: 5}}}
	got := fitting(whole)
	b, err := json.Marshal(got)
	if err != nil || len(b) > maxState {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if n := len(got.Types[1].Items); n == 0 || n+got.Types[1].More != maxItems+5 || len(got.Types[0].Items) != 3 || len(got.Refused.Faults) != 1 {
		t.Errorf("of 64 items %d are left, %d counted; %d faults", n, got.Types[1].More, len(got.Refused.Faults))
	}
	if len(whole.Types[1].Items) != maxItems || len(whole.Refused.Faults) != 8 {
		t.Error("the state itself was changed")
	}
	huge := fitting(schema.StateRecord{Name: "web-1", Problem: strings.Repeat("p", 1<<20), Types: []schema.TypeCompliance{{Type: strings.Repeat("t", 1<<20)}}})
	if huge.Name != "web-1" || huge.Problem == "" {
		t.Errorf("%+v", huge)
	}
}
