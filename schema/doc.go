// Package schema is the vocabulary of Dunlin: the Go types of what people write
// in a policy repository, of what hosts say about themselves, and of what the
// program decides from both. The definitions in *.cue beside them are the same
// language as CUE; JSON names are equal in Go, CUE, reports and on the command
// line.
//
// The package decides nothing, reads no clock and touches no host. It imports
// only the standard library. Values are handed around by value or as read-only
// pointers; whoever receives a slice or map from here does not change it.
package schema

import "embed"

// Definitions holds the language as CUE, package schema, one file a kind.
//
//go:embed *.cue
var Definitions embed.FS
