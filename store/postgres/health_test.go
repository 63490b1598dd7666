package postgres

import "testing"

// TestTooOld: jobs work on servers from version 13 on.
func TestTooOld(t *testing.T) {
	for version, want := range map[int]bool{0: true, 120_022: true, 129_999: true, 130_000: false,
		130_001: false, 170_002: false} {
		if tooOld(version) != want {
			t.Errorf("version %d is too old: %t", version, !want)
		}
	}
}
