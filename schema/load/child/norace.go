//go:build !race

package child

// raceDetector is empty: this program has no race detector.
func raceDetector() []string { return nil }
