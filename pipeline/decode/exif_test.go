package decode

import "testing"

func TestMirrors(t *testing.T) {
	for o, want := range []bool{0: false, 1: false, 2: true, 3: false, 4: true, 5: true, 6: false, 7: true,
		8: false, 9: false} {
		if Mirrors(o) != want {
			t.Errorf("orientation %d exchanges right and left: %t", o, !want)
		}
	}
}

// TestTIFFHeader: a TIFF whose directory is not whole is cut, or has no size.
func TestTIFFHeader(t *testing.T) {
	whole := string(exifSize(20, 10))
	const cut, none = "bad image: tiff: cut short", "bad image: tiff: no size"
	for body, want := range map[string]string{
		"II*\x00": cut, whole[:7]: cut, whole[:9]: cut, "II*\x00\x09\x00\x00\x00\x01\x00": cut,
		"MM\x00*\xff\xff\xff\xff\x00\x00": cut,
		whole[:10]:                        none, whole[:33]: none,
		string(exifSize(1<<31, 10)): none, string(exifSize(20, 1<<31)): none,
	} {
		if _, got := probed([]byte(body), Options{}); got != want {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
	}
}
