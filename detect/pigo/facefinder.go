package pigo

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
)

//go:generate sh -c "install -m 644 \"$(go list -m -f {{.Dir}} github.com/esimov/pigo)/cascade/facefinder\" facefinder"
//go:generate sh -c "install -m 644 \"$(go list -m -f {{.Dir}} github.com/esimov/pigo)/testdata/sample.jpg\" ../testdata/faces.jpg"

// Facefinder is the frontal face cascade of pigo: 468 trees of depth 6.
//
//go:embed facefinder
var Facefinder []byte

// Version changes whenever answers change.
const Version = 1

// Sum is the SHA-256 of the embedded cascade, in hex.
func Sum() string {
	sum := sha256.Sum256(Facefinder)
	return hex.EncodeToString(sum[:])
}
