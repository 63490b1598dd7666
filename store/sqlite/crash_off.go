//go:build !crashpoints

package sqlite

// crashPoint does nothing: see crash_on.go.
func crashPoint(string) {}
