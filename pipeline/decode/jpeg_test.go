package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"testing"
)

// probed is what Probe says of a body: the error's text, empty without one.
func probed(body []byte, o Options) (Header, string) {
	f, err := Probe(body, o)
	if err != nil {
		return f.Header, err.Error()
	}
	return f.Header, ""
}

// jpegFrame is the data of a frame header for 20x10 pixels, each component with its sampling.
func jpegFrame(sampling ...byte) []byte {
	b := []byte{8, 0, 10, 0, 20, byte(len(sampling))}
	for i, s := range sampling {
		b = append(b, byte(i+1), s, 0)
	}
	return b
}

// TestJPEGHeader: what is wrong with a header is said, and what does not matter in it is skipped.
func TestJPEGHeader(t *testing.T) {
	soi, scan := []byte{0xff, 0xd8}, segment(markerSOS, []byte{1, 1, 0, 0, 63, 0})
	frame := segment(markerSOF0, jpegFrame(0x11))
	file := func(parts ...[]byte) []byte { return append(bytes.Clone(soi), bytes.Join(parts, nil)...) }
	const bad = "bad image: jpeg: "
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"whole":          {file(frame, scan), ""},
		"a stuffed zero": {file([]byte{0xff, 0}, frame, scan), ""},
		"TEM":            {file([]byte{0xff, markerTEM}, frame, scan), ""},
		"the first RST":  {file([]byte{0xff, 0xd0}, frame, scan), ""},
		"the last RST":   {file([]byte{0xff, 0xd7}, frame, scan), ""},
		"twice a start":  {file(soi, frame, scan), ""},
		"fill bytes":     {file([]byte("\xff\xe0\x00\x02ab\xff\xff"), frame, scan), ""},
		"an end": {file(frame, []byte{0xff, markerEOI}, scan), bad +
			"ends before its first scan"},
		"nothing":            {file([]byte{0xff}), bad + "no picture in it"},
		"only fill bytes":    {file([]byte{0xff, 0xff}), bad + "no picture in it"},
		"an empty segment":   {file([]byte{0xff, 0xe0, 0, 2}), bad + "no picture in it"},
		"half a length":      {file([]byte{0xff, 0xe0, 0}), bad + "header cut"},
		"too short a length": {file([]byte{0xff, 0xe0, 0, 1, 0, 0}), bad + "header cut"},
		"a cut segment":      {file([]byte{0xff, 0xe0, 0, 3}), bad + "header cut"},
		"no frame":           {file(scan), bad + "scan without frame header"},
		"an empty scan":      {file(frame, segment(markerSOS, nil)), bad + "scan without frame header"},
		"a scan of a byte":   {file(frame, segment(markerSOS, []byte{1})), ""},
		"two frames":         {file(frame, frame, scan), bad + "two frame headers"},
		"then one of another": {file(frame, segment(0xc3, jpegFrame(0x11)), scan), bad +
			"two frame headers"},
		"five bytes of frame": {file(segment(markerSOF0, jpegFrame(0x11)[:5]), scan), bad +
			"frame header broken"},
		"no component": {file(segment(markerSOF0, jpegFrame()), scan), bad + "frame header broken"},
		"half a component": {file(segment(markerSOF0, jpegFrame(0x11)[:8]), scan), bad +
			"frame header broken"},
		"four components": {file(segment(markerSOF0, jpegFrame(0x44, 0x41, 0x14, 0x11)), scan), ""},
		"five components": {file(segment(markerSOF0, jpegFrame(17, 17, 17, 17, 17)), scan), bad +
			"frame header broken"},
		"no width of samples": {file(segment(markerSOF0, jpegFrame(0x01)), scan), bad +
			"sampling out of range"},
		"no height of samples": {file(segment(markerSOF0, jpegFrame(0x10)), scan), bad +
			"sampling out of range"},
		"five samples across": {file(segment(markerSOF0, jpegFrame(0x11, 0x51)), scan), bad +
			"sampling out of range"},
		"five samples down": {file(segment(markerSOF0, jpegFrame(0x11, 0x15)), scan), bad +
			"sampling out of range"},
	} {
		h, got := probed(c.body, Options{})
		if got != c.want || got == "" && (h.Width != 20 || h.Height != 10) {
			t.Errorf("%s: %+v, %q, want %q", name, h, got, c.want)
		}
	}
	for marker, want := range map[byte]string{0xc3: "lossless", 0xc5: "hierarchical", 0xc6: "hierarchical",
		0xc7: "lossless", 0xc9: "arithmetic", 0xca: "arithmetic", 0xcb: "lossless", 0xcd: "arithmetic",
		0xce: "arithmetic", 0xcf: "lossless", markerDHP: "hierarchical", markerSOF55: "lossless (LS)"} {
		for data, size := range map[string]image.Point{string(jpegFrame(0x11)): {20, 10},
			string(jpegFrame()[:5]): {20, 10}, string(jpegFrame()[:4]): {}} {
			h, got := probed(file(segment(marker, []byte(data))), Options{})
			if got != "unsupported: "+want+" JPEG" || h.Width != size.X || h.Height != size.Y {
				t.Errorf("marker %x with %d bytes: %+v, %q, want %s", marker, len(data), h, got, want)
			}
		}
	}
	for _, marker := range []byte{markerDHT, markerJPG, markerDAC, 0xd0, 0xe0} {
		if h, got := probed(file(segment(marker, jpegFrame(0x11)), frame, scan), Options{}); got != "" {
			t.Errorf("marker %x: %+v, %q", marker, h, got)
		}
	}
}

// TestJPEGOrientation: the first EXIF data that names a valid orientation counts.
func TestJPEGOrientation(t *testing.T) {
	body := encode(t, JPEG, photo(20, 10))
	app1 := func(data []byte) []byte { return segment(markerAPP1, append([]byte(exifPrefix), data...)) }
	rational := exif(6, binary.BigEndian)
	rational[13] = 5 // a type that no orientation has
	other := exif(6, binary.BigEndian)
	other[11] = 0x13
	for name, c := range map[string]struct {
		parts [][]byte
		want  int
	}{
		"one":             {[][]byte{app1(exif(8, binary.BigEndian))}, 8},
		"none":            {[][]byte{app1(exif(0, binary.BigEndian))}, 1},
		"nine":            {[][]byte{app1(exif(9, binary.BigEndian))}, 1},
		"many":            {[][]byte{app1(exif(65535, binary.BigEndian))}, 1},
		"of another type": {[][]byte{app1(rational)}, 1},
		"the first of two": {[][]byte{app1(exif(1, binary.BigEndian)), app1(exif(6,
			binary.BigEndian))}, 1},
		"the first that has one": {[][]byte{app1(other), app1(exif(6, binary.BigEndian))}, 6},
		"the first that is right": {[][]byte{app1(exif(9, binary.BigEndian)), app1(exif(3,
			binary.BigEndian))}, 3},
		"no EXIF at all": {[][]byte{segment(markerAPP1, exif(6, binary.BigEndian))}, 1},
		"at another marker": {[][]byte{segment(0xe2, append([]byte(exifPrefix), exif(6,
			binary.BigEndian)...))}, 1},
		"cut": {[][]byte{app1(exif(6, binary.BigEndian)[:7]), app1(exif(6, binary.BigEndian)[:9]),
			app1(exif(6, binary.BigEndian)[:21])}, 1},
	} {
		h, got := probed(insert(body, 2, bytes.Join(c.parts, nil)), Options{})
		if got != "" || h.Orientation != c.want {
			t.Errorf("%s: %+v, %q, want %d", name, h, got, c.want)
		}
	}
}

// TestScansAtTheLimit: as many scans as there may be, of as many pixels, and one more.
func TestScansAtTheLimit(t *testing.T) {
	body := writeJPEG([]*image.Gray{grey(photo(8, 8))}, 8, 8, jpegOptions{progressive: true})
	frame := bytes.Index(body, []byte{0xff, 0xc2}) + 5
	last := bytes.LastIndex(body, []byte{0xff, markerSOS})
	scans := func(n int) []byte { // the first one is of the DC coefficients
		return append(bytes.Clone(body[:last]), bytes.Repeat(body[last:len(body)-2], n-1)...)
	}
	for _, c := range []struct{ scans, side int }{{maxScans, 8}, {64, 8192}} {
		copy(body[frame:], []byte{byte(c.side >> 8), byte(c.side), byte(c.side >> 8), byte(c.side)})
		if _, got := probed(scans(c.scans), Options{}); got != "" {
			t.Errorf("%d scans of %d pixels a side: %s", c.scans, c.side, got)
		}
		if _, got := probed(scans(c.scans+1), Options{}); got != "bad image: jpeg: too many scans" {
			t.Errorf("%d scans of %d pixels a side: %q", c.scans+1, c.side, got)
		}
	}
}

// TestInks: only Adobe's own marker says that inks are inverted, and no ink at all is white.
func TestInks(t *testing.T) {
	none := image.NewGray(image.Rect(0, 0, 16, 16))
	body := writeJPEG([]*image.Gray{none, none, none, none}, 16, 16, jpegOptions{})
	for name, c := range map[string]struct {
		segment []byte
		want    uint8
	}{
		"without a marker":      {nil, 255},
		"another's marker":      {segment(markerAPP14, []byte("Ducky and more")), 255},
		"Adobe's other marker":  {segment(0xed, []byte("Adobe_Photoshop\x00")), 255},
		"Adobe's marker, short": {segment(markerAPP14, []byte("Adobe\x00\x64\x00\x00\x00\x00")), 255},
		"Adobe's marker":        {segment(markerAPP14, []byte("Adobe\x00\x64\x00\x00\x00\x00\x00")), 0},
	} {
		file := insert(body, 2, c.segment)
		img := mustDecode(t, file, Options{})
		m := mustColor(t, file, Options{})
		for i, v := range img.Luma.Pix {
			if v != c.want || m.Pix[4*i] != c.want || m.Pix[4*i+1] != c.want || m.Pix[4*i+2] != c.want ||
				m.Pix[4*i+3] != 255 {
				t.Fatalf("%s: pixel %d is %d, in colour %v, want %d", name, i, v, m.Pix[4*i:][:4], c.want)
			}
		}
	}
	for invert, want := range map[uint8][4]uint8{0: {207, 198, 190, 255}, 255: {2, 3, 5, 255}} {
		pix := []uint8{10, 20, 30, 40}
		if inksColor(pix, invert); [4]uint8(pix) != want {
			t.Errorf("inks inverted by %d: %v, want %v", invert, pix, want)
		}
	}
}

// TestRounding: what is laid on white, and what light ink lets through, is rounded to the nearest value.
func TestRounding(t *testing.T) {
	for a := range 256 {
		for b := range 256 {
			x, y := float64(a), float64(b)
			if got, want := onWhite(uint8(a), uint8(b)), clamp((x*y+255*(255-y))/255); got != want {
				t.Fatalf("%d of opacity %d is %d, want %d", a, b, got, want)
			}
			v := uint8(a)
			var row [1]uint8
			pix := []uint8{v, v, v, uint8(b)}
			inks(row[:], pix, 255)
			inksColor(pix, 255)
			if want := clamp(x * y / 255); row[0] != want || pix[0] != want {
				t.Fatalf("light %d of %d is %d, in colour %d, want %d", a, b, row[0], pix[0], want)
			}
		}
	}
}

// TestColorMemoryFrom: of a large JPEG that only libjpeg-turbo may decode, a smaller picture takes less.
func TestColorMemoryFrom(t *testing.T) {
	body := writeJPEG([]*image.Gray{grey(photo(8, 8))}, 8, 8, jpegOptions{})
	frame := bytes.Index(body, []byte{0xff, 0xc0}) + 5
	copy(body[frame:], []byte{6000 >> 8, 6000 & 255, 8000 >> 8, 8000 & 255})
	f, err := Probe(body, Options{MinFace: 160})
	must(t, err)
	for side, pixels := range map[int]int64{1: 1000 * 750, 1000: 1000 * 750, 1001: 2000 * 1500,
		4000: 4000 * 3000,
		4001: 8000 * 6000} {
		if f.jpeg.fallback { // a build without the library
			pixels = 8000 * 6000
		}
		if got, want := f.ColorMemoryFrom(side), f.Memory+12*pixels; got != want {
			t.Errorf("from %d: %d bytes, want %d", side, got, want)
		}
	}
	if !errors.Is(f.probe(body[:frame], Options{}), ErrBadImage) {
		t.Error("a cut frame is accepted")
	}
}
