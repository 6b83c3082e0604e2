package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestItemsAreLeftOutUntilAllNodesFit(t *testing.T) {
	full := func() []schema.NodeCompliance {
		var all []schema.NodeCompliance
		for range 100 {
			n := schema.NodeCompliance{Node: "web-1", Type: "Patch", State: schema.NonCompliant, More: 3}
			for range 64 {
				n.Items = append(n.Items, schema.ComplianceItem{ID: "openssl.amd64", State: "Missing", Reason: strings.Repeat("<why>", 20)})
			}
			all = append(all, n)
		}
		return all
	}
	for _, most := range []int{1 << 30, 1 << 20, 100 << 10, 40 << 10} {
		all := fitting(full(), most)
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		// `<` takes six bytes in JSON, which is more than is reckoned with; what people write has few.
		if len(all) != 100 || len(b) > 2*most {
			t.Errorf("within %d: %d nodes in %d bytes", most, len(all), len(b))
		}
		for _, n := range all {
			if len(n.Items)+n.More != 67 {
				t.Fatalf("within %d: %d items and %d more, of 67", most, len(n.Items), n.More)
			}
		}
	}
}
