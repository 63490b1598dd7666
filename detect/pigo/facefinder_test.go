package pigo

import (
	"crypto/sha256"
	"fmt"
	"os"
	"testing"
)

// TestSum: the cascade is that of the file, and its answers those of the first version.
func TestSum(t *testing.T) {
	file, err := os.ReadFile("facefinder")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(file)); Sum() != want || Version != 1 {
		t.Errorf("%s of version %d, want %s", Sum(), Version, want)
	}
}

// TestReusable: a buffer is kept for the next image up to 16 MiB.
func TestReusable(t *testing.T) {
	for n, want := range map[int]bool{0: true, 16 << 20: true, 16<<20 + 1: false} {
		if got := Reusable(make([]uint8, n)); (got != nil) != want {
			t.Errorf("%d bytes are kept: %t", n, !want)
		}
	}
}
