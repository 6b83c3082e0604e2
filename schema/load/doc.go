// Package load reads a policy repository: files in, a schema.Repo or placed
// faults out. It is the only package that knows CUE.
//
// What a repository says is what `cue vet ./...` would evaluate: each folder
// with its ancestors' files of package fleet, bound to the embedded schema.
// Objects are evaluated in batches, each in a context of its own, because a
// context never gives memory back. CUE alone decides whether a value is right;
// the definitions in compiled form (shape) say what is wrong with one, in the
// author's words, and hold the defaults. What CUE cannot say is checked in Go
// afterwards: references, places, times, sizes, limits that no build enforces.
//
// CUE has no cost limit. Child evaluates in a process of its own with limits on
// memory and time; InProcess is for tests and tools that trust their input.
// Nothing here reads a clock, the network or the environment.
package load
