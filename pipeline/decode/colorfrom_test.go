//go:build cgo

package decode

import (
	"image"
	"image/color"
	"testing"
)

// TestColorFrom decodes to a picture that is large enough, and of a JPEG no larger than libjpeg-turbo makes
// it for that; it looks like the whole one, turned the same way, and takes no more than is said.
func TestColorFrom(t *testing.T) {
	m := photo(800, 600)
	for y := range 150 { // a corner that shows how it is turned
		for x := range 200 {
			m.Set(x, y, color.NRGBA{220, 20, 20, 255})
		}
	}
	for _, c := range []struct {
		format string
		side   int
		want   image.Point // as stored
	}{{JPEG, 1, image.Pt(100, 75)}, {JPEG, 100, image.Pt(100, 75)}, {JPEG, 101, image.Pt(200, 150)},
		{JPEG, 400, image.Pt(400, 300)}, {JPEG, 401, image.Pt(800, 600)}, {JPEG, 9999, image.Pt(800, 600)},
		{PNG, 100, image.Pt(800, 600)}} {
		for _, o := range []int{1, 3, 6} {
			f, err := Probe(oriented(t, c.format, encode(t, c.format, m), o), Options{MinFace: 40})
			if err != nil {
				t.Fatal(err)
			}
			whole, err := f.Color()
			if err != nil {
				t.Fatal(err)
			}
			var got *image.RGBA
			n := allocated(func() { got, err = f.ColorFrom(c.side) })
			want := c.want
			if o >= 5 {
				want = image.Pt(want.Y, want.X)
			}
			if err != nil || got.Rect.Size() != want {
				t.Errorf("%s, orientation %d, from %d: %v, %v", c.format, o, c.side, got.Rect, err)
				continue
			}
			if most := f.ColorMemoryFrom(c.side); n > most+overhead || most > f.ColorMemory() {
				t.Errorf("%s from %d: %d bytes were taken, %d said", c.format, c.side, n, most)
			}
			factor := 800 / c.want.X
			for y := 5; y < want.Y-5; y += 1 + want.Y/7 {
				for x := 5; x < want.X-5; x += 1 + want.X/7 {
					var mean [3]int
					for i := range factor * factor {
						p := whole.RGBAAt(x*factor+i%factor, y*factor+i/factor)
						mean[0], mean[1], mean[2] = mean[0]+int(p.R), mean[1]+int(p.G), mean[2]+int(p.B)
					}
					p := got.RGBAAt(x, y)
					for i, v := range []uint8{p.R, p.G, p.B} {
						if d := mean[i]/factor/factor - int(v); d < -24 || d > 24 {
							t.Fatalf("%s, orientation %d, from %d: off by %d at %d,%d", c.format, o, c.side,
								d, x, y)
						}
					}
				}
			}
		}
	}
}

// TestPlain knows the JPEGs that any program shows alike.
func TestPlain(t *testing.T) {
	m := photo(40, 30)
	for name, c := range map[string]struct {
		body []byte
		want bool
	}{
		"JPEG":   {encode(t, JPEG, m), true},
		"grey":   {encode(t, JPEG, grey(m)), true},
		"turned": {oriented(t, JPEG, encode(t, JPEG, m), 6), false},
		"four inks": {writeJPEG([]*image.Gray{grey(m), grey(m), grey(m), grey(m)}, 40, 30, jpegOptions{}),
			false},
		"not a JPEG": {encode(t, PNG, m), false},
	} {
		f, err := Probe(c.body, Options{})
		if err != nil || f.Plain() != c.want {
			t.Errorf("%s: %v, %v", name, f.Plain(), err)
		}
	}
}
