package heif_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"facescan/pipeline/decode"
	"facescan/pipeline/decode/heif"
)

// Both formats go through the front door here, since their pictures are drawn with the modules themselves.

func decoded(t testing.TB, body []byte) (decode.Image, error) {
	t.Helper()
	d := decode.New(decode.Options{})
	t.Cleanup(d.Close)
	return d.Decode(body)
}

func mustDecode(t testing.TB, body []byte) decode.Image {
	t.Helper()
	img, err := decoded(t, body)
	must(t, err)
	return img
}

// same fails unless the pictures are equal but for rounding.
func same(t testing.TB, got, want *image.Gray) {
	t.Helper()
	if got.Rect != want.Rect {
		t.Fatalf("%v, not %v", got.Rect, want.Rect)
	}
	for i, v := range got.Pix {
		if d := int(v) - int(want.Pix[i]); d > 1 || d < -1 {
			t.Fatalf("pixel %d is %d, not %d", i, v, want.Pix[i])
		}
	}
}

func TestDecode(t *testing.T) {
	for _, size := range []image.Point{{32, 32}, {96, 64}, {128, 96}} {
		m := photo(size.X, size.Y)
		for format, body := range map[string][]byte{heif.AVIF: avif(t, m), heif.HEIC: heic(m)} {
			h, err := decode.Probe(body, decode.Options{})
			if err != nil || h.Format != format || h.Width != size.X || h.Height != size.Y ||
				h.Orientation != 1 {
				t.Errorf("header %+v, %v", h, err)
			}
			img := mustDecode(t, body)
			if img.Format != format || img.Width != size.X || img.Height != size.Y || img.Scale != 1 ||
				img.Partial || img.Fallback {
				t.Errorf("image %+v", img)
			}
			same(t, img.Luma, m)
			if _, err := decode.Probe(body, decode.Options{MaxPixels: 1000}); !errors.Is(err,
				decode.ErrTooManyPixels) {
				t.Errorf("%s: %v", format, err)
			}
		}
	}
}

// turned is what a viewer shows: the stored picture turned anticlockwise by quarters, then mirrored, top to
// bottom for axis 0, left to right for axis 1, not at all for -1 (ISO/IEC 23008-12, irot and imir).
func turned(m *image.Gray, quarters, axis int) *image.Gray {
	for range quarters {
		w, h := m.Rect.Dx(), m.Rect.Dy()
		n := image.NewGray(image.Rect(0, 0, h, w))
		for y := range h {
			for x := range w {
				n.SetGray(y, w-1-x, m.GrayAt(x, y))
			}
		}
		m = n
	}
	if axis < 0 {
		return m
	}
	w, h := m.Rect.Dx(), m.Rect.Dy()
	n := image.NewGray(m.Rect)
	for y := range h {
		for x := range w {
			if axis == 0 {
				n.SetGray(x, h-1-y, m.GrayAt(x, y))
			} else {
				n.SetGray(w-1-x, y, m.GrayAt(x, y))
			}
		}
	}
	return n
}

func TestTurn(t *testing.T) {
	m := photo(64, 32)
	for quarters := range 4 {
		for axis := -1; axis <= 1; axis++ {
			t.Run(fmt.Sprint(quarters, axis), func(t *testing.T) {
				properties := [][]byte{box("irot", []byte{byte(quarters)})}
				if axis >= 0 {
					properties = append(properties, box("imir", []byte{byte(axis)}))
				}
				want := turned(m, quarters, axis)
				for _, body := range [][]byte{avif(t, m, properties...), heic(m, properties...)} {
					img := mustDecode(t, body)
					if img.Width != want.Rect.Dx() || img.Height != want.Rect.Dy() || img.Orientation != 1 {
						t.Errorf("%s: %dx%d, orientation %d", img.Format, img.Width, img.Height,
							img.Orientation)
					}
					same(t, img.Luma, want)
				}
			})
		}
	}
}

// A file with an EXIF orientation besides its own turn: only the turn counts.
func TestEXIFIsPassedOver(t *testing.T) {
	m := photo(64, 32)
	exif := []byte("\x00\x00\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" +
		"\x00\x06\x00\x00\x00\x00\x00\x00")
	turn := box("irot", []byte{3})
	for _, body := range [][]byte{avif(t, m, turn), heic(m, turn)} {
		img := mustDecode(t, append(body, box("Exif", exif)...))
		same(t, img.Luma, turned(m, 3, -1))
	}
}

func TestCleanAperture(t *testing.T) {
	m := photo(64, 32)
	// 40x20 pixels, their centre 4 to the right of and 2 above the picture's.
	clap := box("clap", u32(40, 1, 20, 1, 4, 1, -2, 1))
	want := image.NewGray(image.Rect(0, 0, 40, 20))
	for y := range 20 {
		for x := range 40 {
			want.SetGray(x, y, m.GrayAt(x+16, y+4))
		}
	}
	for _, body := range [][]byte{avif(t, m, clap), heic(m, clap)} {
		same(t, mustDecode(t, body).Luma, want)
	}
	turn := box("irot", []byte{1})
	for _, body := range [][]byte{avif(t, m, clap, turn), heic(m, clap, turn)} {
		same(t, mustDecode(t, body).Luma, turned(want, 1, -1))
	}
	for _, odd := range [][]byte{u32(40, 0, 20, 1, 0, 1, 0, 1), u32(99, 1, 20, 1, 0, 1, 0, 1),
		u32(40, 1, 20, 1, 30, 1, 0, 1)} {
		same(t, mustDecode(t, avif(t, m, box("clap", odd))).Luma, m)
	}
}

func TestSniff(t *testing.T) {
	for _, c := range []struct{ brands, want, other string }{
		{"avif\x00\x00\x00\x00mif1", heif.AVIF, ""}, {"avis\x00\x00\x00\x00", heif.AVIF, ""},
		{"mif1\x00\x00\x00\x00avif", heif.AVIF, ""},
		{"heic\x00\x00\x00\x00mif1", heif.HEIC, ""}, {"mif1\x00\x00\x00\x00heic", heif.HEIC, ""},
		{"heix\x00\x00\x00\x00", heif.HEIC, ""},
		{"isomavif", "", ""}, {"isom\x00\x00\x00\x00iso2heix", heif.HEIC, ""}, // the second is a version
		{"msf1\x00\x00\x00\x00", "", "HEIF"}, {"mif2\x00\x00\x00\x00", "", "HEIF"},
		{"avifavif", heif.AVIF, ""}, {"avi", "", ""},
		{"mp42\x00\x00\x00\x00isomav01", "", ""}, {"mif1\x00\x00\x00\x00miaf", "", "HEIF"}, {"", "", ""},
	} {
		if got, other := heif.Sniff(box("ftyp", []byte(c.brands))); got != c.want || other != c.other {
			t.Errorf("%q is %q, %q", c.brands, got, other)
		}
	}
	if got, other := heif.Sniff(box("moov")); got != "" || other != "" {
		t.Errorf("no brands: %q, %q", got, other)
	}
}

// The kind of the primary picture says how a file is coded, regardless of its brands.
func TestBrands(t *testing.T) {
	m := photo(64, 32)
	for format, body := range map[string][]byte{heif.AVIF: avif(t, m), heif.HEIC: heic(m)} {
		for _, brands := range [][]string{
			{"mif1", format}, {"miaf", format}, {"heix", format}, {"xxxx", format}, {"msf1", "mif1"},
			{"mif1"}, {"miaf"}, {"avif", "heic"}, {"heic", "avif", "mif1"},
		} {
			img, err := decoded(t, branded(body, brands...))
			if err != nil || img.Format != format {
				t.Errorf("%s with the brands %v: %+v, %v", format, brands, img, err)
				continue
			}
			same(t, img.Luma, m)
		}
		if _, err := decoded(t, branded(body, "isom")); !errors.Is(err, decode.ErrNotImage) {
			t.Errorf("%s with a sequence's brands: %v", format, err)
		}
		at := bytes.Index(body, []byte("infe")) + 12
		for _, coding := range []string{"jpeg", "j2k1", "avc1", "vvc1", "unci"} {
			other := branded(body, "mif1")
			copy(other[at:], coding)
			if _, err := decoded(t, other); !errors.Is(err, decode.ErrUnsupported) {
				t.Errorf("HEIF coded as %s: %v", coding, err)
			}
		}
	}
}

// A sequence without a primary picture is its first frame.
func TestSequence(t *testing.T) {
	m := photo(96, 64)
	still := avif(t, m)
	for _, body := range [][]byte{sequence(still, 96, 64), branded(sequence(still, 96, 64), "msf1"),
		branded(sequence(still, 96, 64), "avif", "avis")} {
		img := mustDecode(t, body)
		if img.Format != heif.AVIF || img.Width != 96 || img.Height != 64 {
			t.Errorf("%+v", img)
		}
		same(t, img.Luma, m)
	}
	same(t, mustDecode(t, sequence(still, 96, 64, box("irot", []byte{1}))).Luma, turned(m, 1, -1))
	if _, err := decoded(t, branded(sequence(still, 96, 64), "hevc", "msf1")); err != nil {
		t.Errorf("AV1 in a sequence of another brand: %v", err)
	}
	hevc := branded(bytes.Replace(sequence(still, 96, 64), []byte("av01"), []byte("hvc1"), 1), "hevc", "msf1")
	if _, err := decoded(t, hevc); !errors.Is(err, decode.ErrUnsupported) {
		t.Errorf("a sequence of HEVC: %v", err)
	}
	if _, err := decoded(t, still[:len(still)-len(still)/2]); !errors.Is(err, decode.ErrBadImage) {
		t.Errorf("half of a still picture: %v", err)
	}
}

// What is not opaque is drawn on white, in grey and in colour.
func TestAlpha(t *testing.T) {
	m, alpha := photo(64, 64), photo(64, 64)
	for i := range alpha.Pix {
		alpha.Pix[i] = uint8(i / 16)
	}
	want := image.NewGray(m.Rect)
	for i, v := range m.Pix {
		a := int(alpha.Pix[i])
		want.Pix[i] = uint8((int(v)*a + 255*(255-a) + 127) / 255)
	}
	for _, name := range []string{"urn:mpeg:hevc:2015:auxid:1",
		"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"} {
		same(t, mustDecode(t, heicAlpha(m, alpha, name, true)).Luma, want)
		body := heicAlpha(m, alpha, name, false)
		same(t, mustDecode(t, body).Luma, want)
		picture := inColor(t, body)
		for y := range 64 {
			for x := range 64 {
				r, g, b, _ := picture.At(x, y).RGBA()
				for _, v := range []uint32{r, g, b} {
					if d := int(v>>8) - int(want.GrayAt(x, y).Y); d < -2 || d > 2 {
						t.Fatalf("pixel %d,%d is %d off in colour", x, y, d)
					}
				}
			}
		}
	}
	same(t, mustDecode(t, heicAlpha(m, alpha, "urn:mpeg:hevc:2015:auxid:2", false)).Luma, m) // depth
	broken := heicAlpha(m, alpha, "urn:mpeg:hevc:2015:auxid:1", false)
	clear(broken[len(broken)-64*64:])
	if _, err := decoded(t, broken); err != nil {
		t.Errorf("a picture whose opacity is damaged: %v", err)
	}
}

func inColor(t *testing.T, body []byte) *image.RGBA {
	t.Helper()
	f, err := decode.Probe(body, decode.Options{})
	must(t, err)
	m, err := f.Color()
	must(t, err)
	return m
}

// TestDerived: a picture that is made of others is named by the coding of its parts, however deep they are,
// and a circle of references ends.
func TestDerived(t *testing.T) {
	derived := func(brand string, kinds []string, references ...[]byte) []byte {
		items := [][]byte{u16(len(kinds))}
		for i, kind := range kinds {
			items = append(items, full("infe", 2, 0, u16(i+1, 0), []byte(kind), []byte{0}))
		}
		return slices.Concat(box("ftyp", []byte(brand), u32(0), []byte("mif1")),
			full("meta", 0, 0, full("pitm", 0, 0, u16(1)), full("iinf", 0, 0, items...),
				full("iref", 0, 0, references...)))
	}
	parts := func(from int, to ...int) []byte { return box("dimg", u16(from, len(to)), u16(to...)) }
	for name, c := range map[string]struct {
		body          []byte
		format, other string
	}{
		"a grid of HEVC": {derived("heic", []string{"grid", "hvc1", "hvc1"}, parts(1, 2, 3)), heif.HEIC, ""},
		"a grid of AV1":  {derived("mif1", []string{"grid", "av01", "av01"}, parts(1, 2, 3)), heif.AVIF, ""},
		"a grid that is overlaid": {derived("mif1", []string{"iovl", "grid", "hvc1"}, parts(1, 2),
			parts(2, 3)), heif.HEIC, ""},
		"a grid of another coding": {derived("mif1", []string{"grid", "jpeg"}, parts(1, 2)), "",
			"HEIF coded as jpeg"},
		"references to others": {derived("mif1", []string{"grid", "jpeg", "av01"}, box("thmb", u16(1, 1, 2)),
			parts(2, 2), parts(1, 3)), heif.AVIF, ""},
		"a circle":    {derived("avif", []string{"grid", "grid"}, parts(1, 2), parts(2, 1)), heif.AVIF, ""},
		"no part":     {derived("heic", []string{"grid"}), heif.HEIC, ""},
		"cut entries": {derived("heic", []string{"grid", "av01"}, box("dimg", u16(1))), heif.HEIC, ""},
	} {
		if format, other := heif.Sniff(c.body); format != c.format || other != c.other {
			t.Errorf("%s: %q, %q", name, format, other)
		}
	}
}

// Limits grow with the pixels and with the file. Measured were 10 to 15 bytes and 6 to 30 loops for a pixel,
// 60 to 200 loops for a byte.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		name                string
		width, height, body int
		alpha, deep         bool
		memory, loops       int64
	}{
		{"nothing", 0, 0, 0, false, false, 16 << 20, 1 << 26},
		{"pixels", 4000, 1000, 0, false, false, 16<<20 + 20*4e6, 1<<26 + 1000*4e6},
		{"deep ones", 4000, 1000, 0, false, true, 16<<20 + 40*4e6, 1<<26 + 1000*4e6},
		{"a long file", 1, 1, 10e6, false, false, 16<<20 + 20 + 3*10e6, 1<<26 + 1000 + 1000*10e6},
		{"opacity", 4000, 1000, 7, true, false, 16<<20 + 26*4e6 + 21, 2 * (1<<26 + 1000*4e6 + 7000)},
		{"deep opacity", 4000, 1000, 0, true, true, 16<<20 + 46*4e6, 2 * (1<<26 + 1000*4e6)},
	} {
		memory, loops := heif.Limits(c.width, c.height, c.body, c.alpha, c.deep)
		if memory != c.memory || loops != c.loops {
			t.Errorf("%s: %d bytes, want %d; %d loops, want %d", c.name, memory, c.memory, loops, c.loops)
		}
	}
	if heif.MaxMemory != 2<<30 {
		t.Errorf("at most %d bytes", heif.MaxMemory)
	}
}

// Pictures that people look at have their colours.
func TestColour(t *testing.T) {
	m := photo(64, 64)
	for i := range m.Pix {
		m.Pix[i] = 120
	}
	picture := inColor(t, heicColour(m, 90, 200))
	want := color.RGBAModel.Convert(color.YCbCr{Y: 120, Cb: 90, Cr: 200}).(color.RGBA)
	for y := range 64 {
		for x := range 64 {
			if got := color.RGBAModel.Convert(picture.At(x, y)); got != want {
				t.Fatalf("pixel %d,%d is %v, not %v", x, y, got, want)
			}
		}
	}
}

func TestBadFiles(t *testing.T) {
	m := photo(64, 64)
	for format, body := range map[string][]byte{heif.AVIF: avif(t, m), heif.HEIC: heic(m)} {
		ispe := bytes.Index(body, []byte("ispe")) + 8
		larger := bytes.Clone(body)
		copy(larger[ispe:], u32(640, 640))
		none := bytes.Clone(body)
		copy(none[ispe:], u32(0, 0))
		noItem := bytes.Replace(body, []byte("pitm"), []byte("free"), 1)
		empty := bytes.Clone(body)
		clear(empty[bytes.Index(empty, []byte("mdat"))+4:])
		if img, err := decoded(t, larger); format == heif.HEIC && !errors.Is(err, decode.ErrBadImage) ||
			// libavif stretches it
			format == heif.AVIF && (err != nil || img.Width != 640 || img.Luma.Rect.Dx() != 640) {
			t.Errorf("%s, a size that is not the picture's: %+v, %v", format, img, err)
		}
		for name, b := range map[string][]byte{
			"no size": none, "no primary item": noItem, "no data": empty,
			"half of the boxes": body[:ispe-8], "a part of the data": body[:len(body)-len(body)/4],
		} {
			if img, err := decoded(t, b); !errors.Is(err, decode.ErrBadImage) {
				t.Errorf("%s, %s: %+v, %v", format, name, img, err)
			}
		}
		huge := bytes.Clone(body)
		copy(huge[ispe:], u32(65000, 65000))
		if _, err := decoded(t, huge); !errors.Is(err, decode.ErrTooManyPixels) {
			t.Errorf("%s, a huge size: %v", format, err)
		}
		copy(huge[ispe:], u32(12000, 12000)) // within MaxPixels, but beyond the module's memory
		d := decode.New(decode.Options{MaxPixels: 1 << 40})
		if _, err := d.Decode(huge); !errors.Is(err, decode.ErrTooManyPixels) {
			t.Errorf("%s, a large size: %v", format, err)
		}
		d.Close()
	}
}

// Bits are flipped anywhere: the call ends, with a picture of the header's size or with one of the package's
// errors.
func TestFlippedBits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m := photo(64, 32)
	d := decode.New(decode.Options{})
	defer d.Close()
	for _, body := range [][]byte{avif(t, m), heic(m)} {
		decodedOnes := 0
		for range 60 {
			b := bytes.Clone(body)
			for range 1 + r.IntN(4) {
				b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			}
			h, probeErr := decode.Probe(b, decode.Options{})
			img, err := d.Decode(b)
			switch {
			case err == nil:
				decodedOnes++
				if probeErr != nil || img.Width != h.Width || img.Height != h.Height ||
					len(img.Luma.Pix) != h.Width*h.Height {
					t.Fatalf("header %+v, %v; image %+v", h, probeErr, img)
				}
			case !decode.IsRefusal(err):
				t.Fatal(err)
			}
		}
		if decodedOnes == 0 {
			t.Error("not one damaged picture was decoded")
		}
	}
}

// A decoder that runs on and on is stopped by the count of its loops.
func TestEndless(t *testing.T) {
	m := photo(128, 96)
	for format, body := range map[string][]byte{heif.AVIF: avif(t, m), heif.HEIC: heic(m)} {
		f, err := heif.Parse(body, format)
		must(t, err)
		if err := heif.DecodeWithin(body, f, 1<<40); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		if err := heif.DecodeWithin(body, f, 0); !errors.Is(err, heif.ErrEndless) {
			t.Errorf("%s without loops to spend: %v", format, err)
		}
	}
}

// The modules are those of github.com/gen2brain/avif v0.6.0 and github.com/gen2brain/heic v0.5.0, byte for
// byte.
func TestModules(t *testing.T) {
	for sum, packed := range map[string][]byte{
		"52181752f8d92a43dfd0ca33179d32fdf7452a669cc1e260f37fabb8319de6bf": heif.AVIFModule,
		"4381c9f68501e525d880b9c1ce224805847247ee6f85cb48fce49fda7c3e70f9": heif.HEICModule,
	} {
		z, err := gzip.NewReader(bytes.NewReader(packed))
		must(t, err)
		code, err := io.ReadAll(z)
		must(t, err)
		if got := fmt.Sprintf("%x", sha256.Sum256(code)); got != sum {
			t.Errorf("module is %s, not %s", got, sum)
		}
		metered, err := heif.Meter(code)
		if err != nil || len(metered) <= len(code) {
			t.Errorf("%d bytes become %d, %v", len(code), len(metered), err)
		}
		for _, n := range []int{0, 7, 8, 9, 100, len(code) / 2, len(code) - 1} {
			if _, err := heif.Meter(code[:n]); err == nil && n > 8 {
				t.Errorf("the first %d bytes of a module were taken", n)
			}
		}
	}
}

// FuzzParse feeds the reader of boxes, which alone decides how much memory a module gets.
func FuzzParse(f *testing.F) {
	m := photo(32, 32)
	f.Add(heic(m))
	f.Add(heic(m, box("irot", []byte{1}), box("imir", []byte{0}), box("clap", u32(20, 1, 20, 1, 1, 1, 1, 1))))
	f.Add(heicAlpha(m, m, "urn:mpeg:hevc:2015:auxid:1", false))
	f.Add(sequence(container(heif.AVIF, box("av1C", []byte{0x81, 0, 0x40, 0}), []byte{1, 2, 3}, 40, 30),
		40, 30))
	f.Add(container(heif.AVIF, box("av1C", []byte{0x81, 0, 0x40, 0}), []byte{1, 2, 3}, 40, 30,
		box("irot", []byte{3})))
	f.Fuzz(func(t *testing.T, body []byte) {
		format, _ := heif.Sniff(body)
		info, err := heif.Parse(body, format)
		if err != nil {
			return
		}
		if info.Width < 1 || info.Height < 1 || info.Width > 1<<20 || info.Height > 1<<20 || info.Turn < 1 ||
			info.Turn > 8 ||
			info.Memory() < 20*int64(info.Width)*int64(info.Height) {
			t.Fatalf("%+v takes %d bytes", info, info.Memory())
		}
	})
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
