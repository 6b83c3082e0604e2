package inventory

import (
	"context"
	"encoding/json"
	"io"
	"testing"
)

// The figures of docs/inventory.md: go test -bench . ./agent/inventory

func BenchmarkApplications(b *testing.B) {
	for b.Loop() {
		if _, err := (Gather{}).Applications(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApplicationsJSON(b *testing.B) {
	for b.Loop() {
		apps, err := (Gather{}).Applications(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		enc := json.NewEncoder(io.Discard)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(apps); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadPatches(b *testing.B) {
	for b.Loop() {
		if _, err := ReadPatches(context.Background(), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
