package agent

import (
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
