//go:build !race

package main

// raceDetector makes everything many times as slow.
const raceDetector = false
