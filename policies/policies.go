// Package policies is the library that comes with the program, as CUE: patch
// baselines under the names of AWS SSM's predefined ones, documents, and policies
// that harden hosts. A folder is a package that repositories can import as
// dunlin.dev/policies/FOLDER; docs/library.md lists what there is.
//
// The files import nothing but the standard library, so that they mean the same
// with and without the definitions beside them; a test of schema/load holds them
// against the definitions.
package policies

import "embed"

// Files has the CUE files, one folder a package.
//
//go:embed */*.cue
var Files embed.FS
