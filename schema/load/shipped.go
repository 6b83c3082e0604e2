package load

import "github.com/dunlin-dev/dunlin/schema"

// Shipped gives the baselines that come with the program, by name, those of systems that this build does
// not judge among them. The map and all in it are the caller's.
func Shipped() map[string]schema.Baseline { return shippedBaselines() }

// ShippedDocuments gives the documents that come with the program, by name. The map and all in it are the caller's.
func ShippedDocuments() map[string]schema.Document { return shippedDocuments() }
