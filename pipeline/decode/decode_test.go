package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/color/palette"
	"image/draw"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// drawn are the formats that these tests can write; AVIF and HEIC are tested in heif.
var drawn = []string{JPEG, PNG, GIF, WebP, BMP, TIFF}

// decoded decodes with a decoder of its own and keeps the result.
func decoded(t testing.TB, body []byte, o Options) (Image, error) {
	t.Helper()
	d := New(o)
	t.Cleanup(d.Close)
	return d.Decode(body)
}

func mustDecode(t testing.TB, body []byte, o Options) Image {
	t.Helper()
	img, err := decoded(t, body, o)
	must(t, err)
	return img
}

// TestFormatTable: each line of the table is complete, and knows its own format and no other.
func TestFormatTable(t *testing.T) {
	samples := map[string][]byte{
		AVIF: []byte("\x00\x00\x00\x10ftypavif\x00\x00\x00\x00"),
		HEIC: []byte("\x00\x00\x00\x10ftypheic\x00\x00\x00\x00"),
	}
	for _, f := range drawn {
		samples[f] = encode(t, f, photo(9, 9))
	}
	if len(formats) != len(samples) {
		t.Errorf("%d formats and %d samples: each needs one", len(formats), len(samples))
	}
	for _, f := range formats {
		if f.sniff == nil || f.probe == nil || f.decode == nil || samples[f.name] == nil {
			t.Fatalf("the line of %s lacks something", f.name)
		}
		for name, body := range samples {
			if f.sniff(body) != (name == f.name) {
				t.Errorf("%s takes a file of %s for its own: %v", f.name, name, f.sniff(body))
			}
		}
	}
}

// TestFormatsTopic: the help topic has the formats that are decoded.
func TestFormatsTopic(t *testing.T) {
	topic, err := os.ReadFile("../../cmd/help/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(topic), "\n| format | what is decoded |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var got, want []string
	for line := range strings.Lines(table) {
		got = append(got, strings.Split(line, "`")[1])
	}
	for _, f := range formats {
		want = append(want, f.name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the topic has %q, want %q", got, want)
	}
}

func TestFormats(t *testing.T) {
	m := photo(123, 77)
	want := grey(m)
	for _, f := range drawn {
		t.Run(f, func(t *testing.T) {
			body := encode(t, f, m)
			h, err := Probe(body, Options{})
			must(t, err)
			if h.Format != f || h.Width != 123 || h.Height != 77 || h.Orientation != 1 {
				t.Errorf("header %+v", h.Header)
			}
			img := mustDecode(t, body, Options{})
			if img.Format != f || img.Width != 123 || img.Height != 77 || img.Scale != 1 ||
				img.Orientation != 1 || img.Partial || img.Fallback {
				t.Errorf("image %+v", img)
			}
			allowed := map[string]float64{JPEG: 3, GIF: 12}[f] // these lose something
			if most, mean := difference(t, img.Luma, want); mean > allowed || allowed == 0 && most > 1 {
				t.Errorf("luma is off by %d at most, %.2f on average", most, mean)
			}
			if img.Luma.Stride != 123 || cap(img.Luma.Pix) < 123*77+slack {
				t.Errorf("stride %d, capacity %d", img.Luma.Stride, cap(img.Luma.Pix))
			}
		})
	}
}

func TestPixelTypes(t *testing.T) {
	src := photo(31, 17)
	for x := range 31 { // something to see through
		src.SetNRGBA(x, 5, color.NRGBA{200, 10, 30, uint8(8 * x)})
	}
	ycc := func(alpha bool) image.Image {
		m := image.NewNYCbCrA(src.Rect, image.YCbCrSubsampleRatio420)
		copy(m.Y, grey(src).Pix)
		for i := range m.Cb {
			m.Cb[i], m.Cr[i] = 128, 128
		}
		for i := range m.A {
			m.A[i] = uint8(i)
		}
		if alpha {
			return m
		}
		return &m.YCbCr
	}
	cmyk := image.NewCMYK(src.Rect)
	for i := range cmyk.Pix {
		cmyk.Pix[i] = uint8(i * 7)
	}
	into := func(m draw.Image) image.Image {
		draw.Draw(m, m.Bounds(), src, image.Point{}, draw.Src)
		return m
	}
	pal := append(color.Palette{color.NRGBA{}}, palette.WebSafe...)
	for _, m := range []image.Image{
		src, grey(src), cmyk, ycc(false), ycc(true),
		into(image.NewGray16(src.Rect)), into(image.NewRGBA(src.Rect)), into(image.NewRGBA64(src.Rect)),
		into(image.NewNRGBA64(src.Rect)), into(image.NewPaletted(src.Rect, pal)),
		into(image.NewAlpha(src.Rect)),
	} {
		t.Run(fmt.Sprintf("%T", m), func(t *testing.T) {
			got := image.NewGray(src.Rect)
			must(t, toLuma(got, m, false))
			if most, _ := difference(t, got, grey(m)); most > 2 {
				t.Errorf("off by %d", most)
			}
		})
	}
	if err := toLuma(image.NewGray(src.Rect), image.NewGray(image.Rect(90, 90, 99, 99)), false); err == nil {
		t.Error("a picture without pixels was taken")
	}
}

func TestJPEGKinds(t *testing.T) {
	m := photo(90, 70)
	y := grey(m)
	flat := image.NewGray(y.Rect)
	for i := range flat.Pix {
		flat.Pix[i] = 128
	}
	full := image.NewGray(y.Rect)
	for i := range full.Pix {
		full.Pix[i] = 255
	}
	half := func(m *image.Gray) *image.Gray {
		out := image.NewGray(image.Rect(0, 0, 45, 35))
		for y := range 35 {
			for x := range 45 {
				out.Pix[y*45+x] = m.GrayAt(2*x, 2*y).Y
			}
		}
		return out
	}
	for name, c := range map[string]struct {
		planes []*image.Gray
		o      jpegOptions
	}{
		"grey":               {[]*image.Gray{y}, jpegOptions{}},
		"grey progressive":   {[]*image.Gray{y}, jpegOptions{progressive: true}},
		"colour":             {[]*image.Gray{y, flat, flat}, jpegOptions{}},
		"colour progressive": {[]*image.Gray{y, flat, flat}, jpegOptions{progressive: true}},
		"colour 4:2:0": {[]*image.Gray{y, half(flat), half(flat)},
			jpegOptions{sampling: [][2]int{{2, 2}, {1, 1}, {1, 1}}}},
		"RGB":                    {[]*image.Gray{y, y, y}, jpegOptions{adobe: true}},
		"inks, Adobe's inverted": {[]*image.Gray{y, y, y, full}, jpegOptions{adobe: true}},
		"inks, all in black":     {[]*image.Gray{full, full, full, y}, jpegOptions{adobe: true}},
		"inks, inverted, in scans": {[]*image.Gray{y, y, y, full},
			jpegOptions{adobe: true, progressive: true}},
	} {
		t.Run(name, func(t *testing.T) {
			body := writeJPEG(c.planes, 90, 70, c.o)
			img := mustDecode(t, body, Options{})
			if most, mean := difference(t, img.Luma, y); mean > 1.5 || most > 12 {
				t.Errorf("off by %d at most, %.2f on average", most, mean)
			}
			if img.Fallback != false || img.Partial {
				t.Errorf("image %+v", img)
			}
		})
	}
}

func TestScale(t *testing.T) {
	for _, c := range []struct{ minFace, window, eighths int }{
		{0, 0, 8}, {20, 0, 8}, {21, 0, 8}, {32, 0, 5}, {40, 0, 4}, {67, 0, 3}, {80, 0, 2}, {160, 0, 1},
		{5000, 0, 1},
		{20, 12, 5}, {20, 15, 6}, {20, 17, 7}, {20, 20, 8}, {20, 30, 8}, {40, 20, 4},
	} {
		if e := (Options{MinFace: c.minFace, Window: c.window}).scale(); int(e) != c.eighths {
			t.Errorf("faces from %d in windows from %d: %d eighths, not %d", c.minFace, c.window, e,
				c.eighths)
		}
	}
	m := photo(155, 203)
	for _, f := range drawn {
		body := encode(t, f, m)
		full := mustDecode(t, body, Options{}).Luma
		for eighths := 1; eighths <= 8; eighths++ {
			img := mustDecode(t, body, Options{MinFace: 8, Window: eighths})
			scale := 8 / float64(eighths)
			w, h := int(math.Ceil(155/scale)), int(math.Ceil(203/scale))
			o := Options{MinFace: 8, Window: eighths}
			f2, err := Probe(body, o)
			must(t, err)
			lw, lh := f2.LumaSize()
			if ow, oh := o.LumaSize(155, 203); lw != w || lh != h || ow != w || oh != h {
				t.Fatalf("%s in %d eighths: %dx%d and %dx%d are said, want %dx%d", f, eighths, lw, lh, ow, oh,
					w, h)
			}
			if img.Width != 155 || img.Height != 203 || img.Scale != scale ||
				img.Luma.Rect != image.Rect(0, 0, w, h) {
				t.Fatalf("%s in %d eighths: %dx%d at %v is %v", f, eighths, img.Width, img.Height, img.Scale,
					img.Luma.Rect)
			}
			allowed := 1.0
			if f == JPEG {
				allowed = 4 // it drops high frequencies instead of averaging
			}
			if _, mean := difference(t, img.Luma, averaged(full, w, h, scale)); mean > allowed {
				t.Errorf("%s in %d eighths is %.2f off on average", f, eighths, mean)
			}
		}
	}
}

// averaged scales by the definition: the mean over the area of each new pixel.
func averaged(m *image.Gray, w, h int, scale float64) *image.Gray {
	out := image.NewGray(image.Rect(0, 0, w, h))
	overlap := func(n, i int) float64 {
		return max(0, min(float64(n+1)*scale, float64(i+1))-max(float64(n)*scale, float64(i)))
	}
	for y := range h {
		for x := range w {
			sum, area := 0.0, 0.0
			for j := int(float64(y) * scale); j < min(m.Rect.Dy(), int(float64(y+1)*scale)+1); j++ {
				for i := int(float64(x) * scale); i < min(m.Rect.Dx(), int(float64(x+1)*scale)+1); i++ {
					a := overlap(x, i) * overlap(y, j)
					sum, area = sum+a*float64(m.GrayAt(i, j).Y), area+a
				}
			}
			out.Pix[y*w+x] = clamp(sum / area)
		}
	}
	return out
}

// upright places the pixel stored at (x, y) as EXIF defines it: what row 0 and column 0 show.
var uprightAt = map[int]func(x, y, w, h int) (int, int){
	1: func(x, y, w, h int) (int, int) { return x, y },                 // top, left
	2: func(x, y, w, h int) (int, int) { return w - 1 - x, y },         // top, right
	3: func(x, y, w, h int) (int, int) { return w - 1 - x, h - 1 - y }, // bottom, right
	4: func(x, y, w, h int) (int, int) { return x, h - 1 - y },         // bottom, left
	5: func(x, y, w, h int) (int, int) { return y, x },                 // left, top
	6: func(x, y, w, h int) (int, int) { return h - 1 - y, x },         // right, top
	7: func(x, y, w, h int) (int, int) { return h - 1 - y, w - 1 - x }, // right, bottom
	8: func(x, y, w, h int) (int, int) { return y, w - 1 - x },         // left, bottom
}

func TestOrientation(t *testing.T) {
	m := photo(101, 67)
	for _, f := range []string{JPEG, PNG, WebP, TIFF} {
		body := encode(t, f, m)
		plain := mustDecode(t, body, Options{}).Luma
		for o := 1; o <= 8; o++ {
			t.Run(fmt.Sprint(f, o), func(t *testing.T) {
				want := image.NewGray(image.Rect(0, 0, 101, 67))
				if o >= 5 {
					want = image.NewGray(image.Rect(0, 0, 67, 101))
				}
				for y := range 67 {
					for x := range 101 {
						ux, uy := uprightAt[o](x, y, 101, 67)
						want.SetGray(ux, uy, plain.GrayAt(x, y))
					}
				}
				turned := oriented(t, f, body, o)
				h, err := Probe(turned, Options{})
				if err != nil || h.Orientation != o || h.Width != want.Rect.Dx() ||
					h.Height != want.Rect.Dy() {
					t.Errorf("header %+v, %v", h.Header, err)
				}
				img := mustDecode(t, turned, Options{})
				if img.Width != h.Width || img.Height != h.Height || img.Orientation != o {
					t.Errorf("image %+v", img)
				}
				if most, _ := difference(t, img.Luma, want); most != 0 {
					t.Errorf("off by %d", most)
				}
				c := mustColor(t, turned, Options{})
				if _, mean := difference(t, grey(c), want); mean > 1 {
					t.Errorf("in colour off by %.2f on average", mean)
				}
			})
		}
	}
}

func TestBoxes(t *testing.T) {
	const w, h = 30, 20
	for o := 1; o <= 8; o++ {
		for x := range w {
			for y := range h {
				b := Box{float64(x), float64(y), 1, 1}
				ux, uy := uprightAt[o](x, y, w, h)
				up := ToUpright(b, o, w, h)
				if up != (Box{float64(ux), float64(uy), 1, 1}) {
					t.Fatalf("orientation %d: pixel %d,%d goes to %v, not to %d,%d", o, x, y, up, ux, uy)
				}
			}
		}
		uw, uh := float64(w), float64(h)
		if o >= 5 {
			uw, uh = h, w
		}
		b := Box{3.5, 7, 11, 6.25}
		if back := ToStored(ToUpright(b, o, w, h), o, uw, uh); back != b {
			t.Errorf("orientation %d: %v comes back as %v", o, b, back)
		}
	}
}

// Of an animation the first frame counts, at its place on the canvas.
func TestAnimatedWebP(t *testing.T) {
	m := photo(40, 30)
	still := func(x, y byte, m image.Image) []byte {
		return chunk("ANMF", append(append([]byte{x / 2, 0, 0, y / 2, 0, 0}, make([]byte, 10)...),
			chunk("VP8L", losslessFrame(m))...))
	}
	file := func(width, height, x, y byte) []byte {
		return riff(chunk("VP8X", []byte{2, 0, 0, 0, width - 1, 0, 0, height - 1, 0, 0}),
			chunk("ANIM", make([]byte, 6)),
			still(x, y, m), still(0, 0, photo(30, 30)), chunk("EXIF", exif(3, binary.LittleEndian)))
	}
	want := grey(m)
	slices.Reverse(want.Pix)
	img := mustDecode(t, file(40, 30, 0, 0), Options{})
	if most, _ := difference(t, img.Luma, want); most > 1 || img.Partial || img.Orientation != 3 {
		t.Errorf("off by %d, %+v", most, img)
	}
	img = mustDecode(t, file(60, 50, 10, 4), Options{})
	if img.Width != 60 || img.Height != 50 {
		t.Fatalf("%+v", img)
	}
	slices.Reverse(img.Luma.Pix)
	slices.Reverse(want.Pix)
	for y := range 50 {
		for x := range 60 {
			v := uint8(255)
			if p := image.Pt(x-10, y-4); p.In(want.Rect) {
				v = want.GrayAt(p.X, p.Y).Y
			}
			if d := int(img.Luma.GrayAt(x, y).Y) - int(v); d > 1 || d < -1 {
				t.Fatalf("pixel %d,%d is %d off", x, y, d)
			}
		}
	}
	if _, err := decoded(t, file(60, 50, 22, 4), Options{}); !errors.Is(err, ErrBadImage) {
		t.Errorf("frame outside its canvas: %v", err)
	}
}

// The alpha plane of a lossy WebP is predicted by one of four filters; undoing each must give the plane back.
func TestAlphaFilters(t *testing.T) {
	const w, h = 16, 16
	base := mustDecode(t, riff(chunk("VP8 ", lossyFrame(0))), Options{}).Luma.Pix
	plain := make([]byte, w*h) // steep, so that sums go beyond both ends
	for i := range plain {
		plain[i] = byte(i*i*37 + 11)
	}
	for filter := range byte(4) {
		coded := append([]byte(nil), plain...)
		for i := len(coded) - 1; i > 0 && filter > 0; i-- {
			x, y := i%w, i/w
			left, up := byte(0), byte(0)
			if x > 0 {
				left = plain[i-1]
			}
			if y > 0 {
				up = plain[i-w]
			}
			switch {
			case y == 0 || filter == 1 && x > 0:
				coded[i] -= left
			case x == 0 || filter == 2:
				coded[i] -= up
			default:
				coded[i] -= clamp(float64(left) + float64(up) - float64(plain[i-w-1]))
			}
		}
		green := image.NewNRGBA(image.Rect(0, 0, w, h))
		for i, v := range coded {
			green.Pix[4*i+1] = v
		}
		for compression, data := range [][]byte{coded, losslessFrame(green)[5:]} { // without its header
			body := riff(chunk("VP8X", []byte{0x10, 0, 0, 0, w - 1, 0, 0, h - 1, 0, 0}),
				chunk("ALPH", append([]byte{filter<<2 | byte(compression)}, data...)),
				chunk("VP8 ", lossyFrame(0)))
			for i, v := range mustDecode(t, body, Options{}).Luma.Pix {
				if want := onWhite(base[i], plain[i]); v != want {
					t.Fatalf("filter %d, compression %d: pixel %d is %d, want %d", filter, compression, i, v,
						want)
				}
			}
		}
	}
}

// lossyFrame is the first lossy WebP frame there can be, of 16x16 pixels: one macroblock whose coefficients
// are all zero. enlarge is how a player is to enlarge it, which does not count.
func lossyFrame(enlarge byte) []byte {
	const first = 16 // bytes of the first partition
	head := []byte{0x10 | first<<5&0xff, first >> 3, 0, 0x9d, 0x01, 0x2a, 16, enlarge, 16, enlarge}
	return append(head, make([]byte, first+32)...)
}

// A lossy frame of zeros is the grey 128 of studio range.
func TestLossyWebP(t *testing.T) {
	for _, enlarge := range []byte{0, 0x40, 0xc0} {
		img := mustDecode(t, riff(chunk("VP8 ", lossyFrame(enlarge))), Options{})
		if img.Width != 16 || img.Height != 16 {
			t.Errorf("%dx%d pixels", img.Width, img.Height)
		}
		for _, v := range img.Luma.Pix {
			if v != stretched[128] && v < 100 {
				t.Fatalf("luma %d", v)
			}
		}
	}
	if stretched[16] != 0 || stretched[235] != 255 || stretched[0] != 0 || stretched[255] != 255 ||
		stretched[126] != 128 {
		t.Errorf("studio range is stretched to %v", stretched)
	}
}

// A decoder serves image after image of any kind, and many decoders work at once.
func TestReuse(t *testing.T) {
	var bodies [][]byte
	var want []*image.Gray
	for i, f := range append(drawn, drawn...) {
		bodies = append(bodies, encode(t, f, photo(30+50*i%170, 40+30*i%110)))
		want = append(want, mustDecode(t, bodies[i], Options{}).Luma)
	}
	bad := bodies[0][:len(bodies[0])/3]
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			d := New(Options{})
			defer d.Close()
			for i := range 60 {
				k := (i*(2*g+1) + g) % len(bodies)
				if i%7 == 0 {
					if _, err := d.Decode(bad); !errors.Is(err, ErrBadImage) {
						t.Errorf("a third of a JPEG: %v", err)
					}
				}
				img, err := d.Decode(bodies[k])
				if err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(img.Luma.Pix, want[k].Pix) {
					t.Errorf("image %d differs when a decoder is used again", k)
				}
			}
		})
	}
	wg.Wait()
}

func TestColor(t *testing.T) {
	m := photo(50, 40)
	for _, f := range drawn {
		c := mustColor(t, encode(t, f, m), Options{})
		if c.Bounds() != image.Rect(0, 0, 50, 40) {
			t.Fatalf("%s: %v", f, c.Bounds())
		}
		if _, mean := difference(t, grey(c), grey(m)); mean > 12 {
			t.Errorf("%s: off by %.2f on average", f, mean)
		}
	}
	if _, err := inColor([]byte("no"), Options{}); !errors.Is(err, ErrNotImage) {
		t.Error(err)
	}
}

// A JPEG announces the memory of all coefficients only if its scans need them together.
func TestJPEGMemory(t *testing.T) {
	m := grey(photo(640, 480))
	planes := []*image.Gray{m, m, m}
	memory := func(o jpegOptions) int64 {
		f, err := Probe(writeJPEG(planes, 640, 480, o), Options{})
		must(t, err)
		return f.Memory
	}
	coefficients := int64(3 * 640 * 480 * 2)
	one, many := memory(jpegOptions{}), memory(jpegOptions{progressive: true})
	if many-one < coefficients/2 {
		t.Errorf("%d bytes in one scan, %d in several", one, many)
	}
}
