//go:build !race

package cmd

// raceDetector reports whether the tests run with the race detector.
const raceDetector = false
