//go:build race

package child

// raceDetector is what the environment of a child with the race detector holds: that it does not sleep a second before it
// ends. A race is reported when it is seen, and fails the child all the same.
func raceDetector() []string { return []string{"GORACE=atexit_sleep_ms=0"} }
