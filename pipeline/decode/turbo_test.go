//go:build cgo

package decode

import (
	"bytes"
	"errors"
	"image"
	"slices"
	"testing"
)

// What only libjpeg-turbo can do.

// A JPEG is cut at every length: what comes out must be the picture as far as it goes, flagged, or a refusal
// when that is less than half. So it must when there is something harmless to complain of before the end is
// missed, since the library reports its first complaint only.
func TestCutJPEG(t *testing.T) {
	y := grey(photo(160, 320))
	for kind := range 4 {
		progressive := kind%2 != 0
		whole := writeJPEG([]*image.Gray{y}, 160, 320, jpegOptions{progressive: progressive})
		if kind >= 2 {
			// of a later revision
			whole = insert(whole, 2, segment(0xe0, []byte("JFIF\x00\x02\x01\x00\x00\x01\x00\x01\x00\x00")))
		}
		img := mustDecode(t, whole, Options{})
		if img.Partial {
			t.Fatalf("kind %d: the whole picture is said to be cut", kind)
		}
		full := img.Luma
		d := New(Options{})
		defer d.Close()
		accepted := 0
		for n := 0; n < len(whole)-2; n += 97 {
			img, err := d.Decode(whole[:n])
			if err != nil {
				if !errors.Is(err, ErrBadImage) && !errors.Is(err, ErrNotImage) {
					t.Fatalf("%d bytes: %v", n, err)
				}
				if accepted != 0 {
					t.Fatalf("progressive %v: %d of %d bytes are enough, %d are not: %v", progressive,
						accepted, len(whole), n, err)
				}
				continue
			}
			if accepted == 0 {
				accepted = n
			}
			if !img.Partial {
				t.Fatalf("kind %d: %d of %d bytes are said to be whole", kind, n, len(whole))
			}
			if progressive {
				continue
			}
			same := 0
			for same < 320 && bytes.Equal(img.Luma.Pix[same*160:][:160], full.Pix[same*160:][:160]) {
				same++
			}
			if same < 160-8 {
				t.Fatalf("%d bytes: only %d rows are the picture's", n, same)
			}
		}
		// Rows hold about the same number of bytes, so half of them come with half of the file; of a
		// progressive one with the first scan, which is much less.
		part := float64(accepted) / float64(len(whole))
		if !progressive && (part < 0.45 || part > 0.55) || progressive && (part < 0.01 || part > 0.3) {
			t.Errorf("progressive %v: accepted from %.2f of the file", progressive, part)
		}
		if img := mustDecode(t, whole[:len(whole)-2], Options{}); !img.Partial {
			t.Error("without its end marker a file is not whole")
		}
	}
}

// libjpeg-turbo refuses a table with a code for an impossible DC coefficient even when it is never used; the
// standard library does not.
func TestFallback(t *testing.T) {
	y := grey(photo(64, 32))
	body := writeJPEG([]*image.Gray{y}, 64, 32, jpegOptions{})
	dc := bytes.Index(body, []byte{8, 9, 10, 11, 0xff, 0xc4})
	body[dc+3] = 99
	img := mustDecode(t, oriented(t, JPEG, body, 3), Options{})
	if !img.Fallback {
		t.Errorf("image %+v", img)
	}
	slices.Reverse(img.Luma.Pix)
	if most, mean := difference(t, img.Luma, y); most > 12 || mean > 1.5 {
		t.Errorf("off by %d at most, %.2f on average", most, mean)
	}
}

func TestNoAllocation(t *testing.T) {
	m := photo(300, 200)
	for _, o := range []int{1, 3, 6} {
		body := oriented(t, JPEG, encode(t, JPEG, m), o)
		d := New(Options{})
		defer d.Close()
		if n := testing.AllocsPerRun(20, func() {
			if _, err := d.Decode(body); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("orientation %d: %v allocations per image", o, n)
		}
	}
}

// Inks without Adobe's marker are stored as they are.
func TestPlainInks(t *testing.T) {
	y := grey(photo(90, 70))
	ink := image.NewGray(y.Rect)
	for i := range ink.Pix {
		ink.Pix[i] = 255 - y.Pix[i]
	}
	img := mustDecode(t, writeJPEG([]*image.Gray{ink, ink, ink, image.NewGray(y.Rect)}, 90, 70,
		jpegOptions{}), Options{})
	if most, mean := difference(t, img.Luma, y); mean > 1.5 || most > 12 {
		t.Errorf("off by %d at most, %.2f on average", most, mean)
	}
}

// A damaged picture is worth as much in colour as in grey: a file with the inks of four colours, too.
func TestDamageInColor(t *testing.T) {
	y := grey(photo(120, 160))
	pale := image.NewGray(y.Rect) // chroma: strong ones with any luma are not colours
	for i, v := range y.Pix {
		pale.Pix[i] = 112 + v/8
	}
	bodies := map[string][]byte{
		"colour":      encode(t, JPEG, photo(120, 160)),
		"progressive": writeJPEG([]*image.Gray{y, pale, pale}, 120, 160, jpegOptions{progressive: true}),
		"inks":        writeJPEG([]*image.Gray{y, y, y, y}, 120, 160, jpegOptions{adobe: true}),
		"grey":        writeJPEG([]*image.Gray{y}, 120, 160, jpegOptions{}),
	}
	// Adobe's marker says that three of the four are stored as luma and two of colour.
	bodies["YCCK"] = bytes.Clone(bodies["inks"])
	at := bytes.Index(bodies["YCCK"], []byte("Adobe"))
	bodies["YCCK"][at+11] = 2
	for name, whole := range bodies {
		t.Run(name, func(t *testing.T) {
			first := 0
			for n := 0; n <= len(whole); n += 1 + len(whole)/60 {
				img, err := decoded(t, whole[:n], Options{})
				m, colorErr := inColor(whole[:n], Options{})
				if (err == nil) != (colorErr == nil) {
					t.Fatalf("%d of %d bytes: %v, in colour %v", n, len(whole), err, colorErr)
				}
				if err != nil {
					continue
				}
				if first == 0 {
					first = n
				}
				if _, mean := difference(t, grey(m), img.Luma); mean > 1.5 {
					t.Errorf("%d of %d bytes: in colour off by %.1f on average", n, len(whole), mean)
				}
			}
			if part := float64(first) / float64(len(whole)); name != "progressive" &&
				(part < 0.4 || part > 0.6) {
				t.Errorf("accepted from %.2f of the file", part)
			}
		})
	}
}
