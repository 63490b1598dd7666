//go:build interop

package decode

import (
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInteropPHash compares the hash with that of Python's imagehash: the same for grey PNGs of 8 bits, and
// at most 4 bits off for 95 of 100 JPEGs. FACESCAN_PYTHON is an interpreter that has imagehash; make
// test-interop makes one.
func TestInteropPHash(t *testing.T) {
	python := os.Getenv("FACESCAN_PYTHON")
	if python == "" {
		t.Fatal("FACESCAN_PYTHON names no interpreter: run make test-interop")
	}
	dir := t.TempDir()
	out, err := exec.Command(python, "testdata/phash.py", dir).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d := New(Options{PHash: true})
	defer d.Close()
	scaled := New(Options{PHash: true, MinFace: 80})
	defer scaled.Close()
	var off [65]int
	pngs, jpegs := 0, 0
	for line := range strings.Lines(string(out)) {
		name, want, _ := strings.Cut(strings.TrimSpace(line), " ")
		body, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		img, err := d.Decode(body)
		if err != nil || !img.Hashed {
			t.Fatalf("%s: %v, hashed: %v", name, err, img.Hashed)
		}
		got := fmt.Sprintf("%016x", img.PHash)
		if again, err := scaled.Decode(body); err != nil || again.PHash != img.PHash {
			t.Errorf("%s: %016x when it is decoded for larger faces, else %s (%v)", name, again.PHash, got,
				err)
		}
		if strings.HasSuffix(name, ".png") {
			if pngs++; got != want {
				t.Errorf("%s has %s, imagehash says %s", name, got, want)
			}
			continue
		}
		var theirs uint64
		if _, err := fmt.Sscanf(want, "%x", &theirs); err != nil {
			t.Fatal(err)
		}
		jpegs++
		off[bits.OnesCount64(img.PHash^theirs)]++
	}
	near := 0
	for _, n := range off[:5] {
		near += n
	}
	t.Logf("%d PNGs; JPEGs by bits off: %v", pngs, off[:12])
	if pngs < 200 || jpegs < 400 || near < jpegs*95/100 {
		t.Errorf("%d of %d JPEGs are at most 4 bits off", near, jpegs)
	}
}
