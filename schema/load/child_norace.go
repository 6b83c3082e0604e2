//go:build !race

package load

// childRace is empty: this program has no race detector.
func childRace() []string { return nil }
