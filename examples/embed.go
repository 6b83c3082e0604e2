// Package examples holds whole small policy repositories. Tests validate and
// run each of them, so that what they show holds.
package examples

import "embed"

// Files has one folder per example, such as "one-host". It is read-only.
//
//go:embed all:one-host all:quickstart all:estate
var Files embed.FS
