package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image"
	"slices"
	"testing"

	"github.com/jsummers/gobmp"
)

// bmpFile is a BMP: an information header after its length, what follows it, and the pixels.
func bmpFile(info, tables, pixels []byte) []byte {
	b := append([]byte("BM"), make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, uint32(14+4+len(info)+len(tables)))
	b = binary.LittleEndian.AppendUint32(b, uint32(4+len(info)))
	return append(append(append(b, info...), tables...), pixels...)
}

// bmpInfo is an information header of that length.
func bmpInfo(size, w, h, bits int, coding uint32, masks ...uint32) []byte {
	var b []byte
	if size == 12 {
		for _, v := range []int{w, h, 1, bits} {
			b = binary.LittleEndian.AppendUint16(b, uint16(v))
		}
		return b
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(w))
	b = binary.LittleEndian.AppendUint32(b, uint32(h))
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, uint16(bits))
	b = binary.LittleEndian.AppendUint32(b, coding)
	b = append(b, make([]byte, max(0, size-20))...)[:size-4]
	for i, m := range masks {
		binary.LittleEndian.PutUint32(b[36+4*i:], m)
	}
	return b
}

// bmpRows codes the rows of m from the bottom up, pixel by pixel, each row of a multiple of four bytes.
func bmpRows(m *image.Gray, pixel func(v uint8) []byte) (out []byte) {
	for y := m.Rect.Dy() - 1; y >= 0; y-- {
		for x := range m.Rect.Dx() {
			out = append(out, pixel(m.GrayAt(x, y).Y)...)
		}
		for len(out)%4 != 0 {
			out = append(out, 0)
		}
	}
	return out
}

// rle codes the rows of m in runs of one, or of four pixels as they are, and the end of the picture.
func rle(m *image.Gray, four bool) (out []byte) {
	for y := m.Rect.Dy() - 1; y >= 0; y-- {
		row := m.Pix[y*m.Stride:][:m.Rect.Dx()]
		for len(row) > 0 {
			switch {
			case len(row) >= 4 && len(row)%3 == 0 && four:
				out = append(out, 0, 4, row[0]>>4<<4|row[1]>>4, row[2]>>4<<4|row[3]>>4)
				row = row[4:]
			case len(row) >= 3 && len(row)%3 == 0:
				out = append(out, 0, 3, row[0], row[1], row[2], 0)
				if four {
					out = append(out[:len(out)-4], row[0]>>4<<4|row[1]>>4, row[2]>>4<<4)
				}
				row = row[3:]
			case four:
				out = append(out, 1, row[0])
				row = row[1:]
			default:
				out = append(out, 1, row[0])
				row = row[1:]
			}
		}
		out = append(out, 0, 0)
	}
	return append(out, 0, 1)
}

func greys(n, size int) (out []byte) {
	for i := range n {
		v := byte(i * 255 / (n - 1))
		out = append(out, []byte{v, v, v, 0}[:size]...)
	}
	return out
}

func TestBMPKinds(t *testing.T) {
	const w, h = 21, 13
	m := grey(photo(w, h))
	pixel16 := func(bits func(v uint8) uint16) func(uint8) []byte {
		return func(v uint8) []byte { return binary.LittleEndian.AppendUint16(nil, bits(v)) }
	}
	five := func(v uint8) uint16 { return uint16(v >> 3) }
	grey555 := bmpRows(m, pixel16(func(v uint8) uint16 { return five(v)<<10 | five(v)<<5 | five(v) }))
	grey565 := bmpRows(m, pixel16(func(v uint8) uint16 { return five(v)<<11 | uint16(v>>2)<<5 | five(v) }))
	grey32 := func(fourth byte) []byte {
		return bmpRows(m, func(v uint8) []byte {
			return []byte{v, v, v, fourth}
		})
	}
	grey24 := bmpRows(m, func(v uint8) []byte { return []byte{v, v, v} })
	grey8 := bmpRows(m, func(v uint8) []byte { return []byte{v} })
	upside := image.NewGray(m.Rect)
	for y := range h {
		copy(upside.Pix[y*w:][:w], m.Pix[(h-1-y)*w:])
	}
	masks32 := []uint32{0xff0000, 0xff00, 0xff, 0xff000000}
	half := image.NewGray(m.Rect)
	for i, v := range m.Pix {
		half.Pix[i] = onWhite(v, 128)
	}
	for name, c := range map[string]struct {
		body    []byte
		want    *image.Gray
		allowed int
	}{
		"OS/2, 24 bits":  {bmpFile(bmpInfo(12, w, h, 24, 0), nil, grey24), m, 0},
		"OS/2, palette":  {bmpFile(bmpInfo(12, w, h, 8, 0), greys(256, 3), grey8), m, 0},
		"OS/2 v2":        {bmpFile(bmpInfo(64, w, h, 8, 0), greys(256, 4), grey8), m, 0},
		"OS/2 v2, short": {bmpFile(bmpInfo(16, w, h, 8, 0), greys(256, 4), grey8), m, 0},
		"8 bits":         {bmpFile(bmpInfo(40, w, h, 8, 0), greys(256, 4), grey8), m, 0},
		"8 bits, runs":   {bmpFile(bmpInfo(40, w, h, 8, 1), greys(256, 4), rle(m, false)), m, 0},
		"4 bits, runs":   {bmpFile(bmpInfo(40, w, h, 4, 2), greys(16, 4), rle(m, true)), m, 16},
		"16 bits":        {bmpFile(bmpInfo(40, w, h, 16, 0), nil, grey555), m, 8},
		"16 bits, masks": {bmpFile(bmpInfo(40, w, h, 16, 3), bmpMasks(0xf800, 0x7e0, 0x1f),
			grey565), m, 8},
		"24 bits, top down":  {bmpFile(bmpInfo(40, w, -h, 24, 0), nil, grey24), upside, 0},
		"32 bits":            {bmpFile(bmpInfo(40, w, h, 32, 0), nil, grey32(0)), m, 0},
		"32 bits, version 3": {bmpFile(bmpInfo(56, w, h, 32, 3, masks32...), nil, grey32(255)), m, 0},
		"32 bits, version 4": {bmpFile(bmpInfo(108, w, h, 32, 3, masks32...), nil, grey32(255)), m, 0},
		"32 bits, version 5": {bmpFile(bmpInfo(124, w, h, 32, 3, masks32...), nil, grey32(128)), half, 1},
		"opacity 0 all over": {bmpFile(bmpInfo(124, w, h, 32, 3, masks32...), nil, grey32(0)), m, 0},
		"version 3, no mask": {bmpFile(bmpInfo(56, w, h, 32, 3, masks32[:3]...), nil, grey32(0)), m, 0},
	} {
		img, err := decoded(t, c.body, Options{})
		if err != nil || img.Width != w || img.Height != h || img.Partial || img.Format != BMP {
			t.Errorf("%s: %+v, %v", name, img, err)
			continue
		}
		if most, _ := difference(t, img.Luma, c.want); most > c.allowed {
			t.Errorf("%s: off by %d", name, most)
		}
		if picture, err := inColor(c.body, Options{}); err != nil {
			t.Errorf("%s, in colour: %v", name, err)
		} else if most, _ := difference(t, grey(picture), c.want); most > c.allowed+1 {
			t.Errorf("%s, in colour: off by %d", name, most)
		}
	}
	for name, body := range map[string][]byte{
		"JPEG inside": bmpFile(bmpInfo(40, w, h, 0, 4), nil, grey8),
		"PNG inside":  bmpFile(bmpInfo(40, w, h, 0, 5), nil, grey8),
		"masks with opacity": bmpFile(bmpInfo(40, w, h, 32, 6), bmpMasks(0xff, 0xff00, 0xff0000, 0),
			grey32(0)),
		"OS/2, fax codes":   bmpFile(bmpInfo(64, w, h, 1, 3), greys(2, 4), grey8),
		"OS/2, runs of RGB": bmpFile(bmpInfo(64, w, h, 24, 4), nil, grey24),
	} {
		if _, err := decoded(t, body, Options{}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, body := range map[string][]byte{
		"7 bits":         bmpFile(bmpInfo(40, w, h, 7, 0), nil, grey24),
		"runs of 24":     bmpFile(bmpInfo(40, w, h, 24, 1), nil, grey24),
		"negative width": bmpFile(bmpInfo(40, -w, h, 24, 0), nil, grey24),
		"no height":      bmpFile(bmpInfo(40, w, 0, 24, 0), nil, grey24),
		"no pixels":      bmpFile(bmpInfo(40, w, h, 24, 0), nil, nil),
		"pixels outside": append(bmpFile(bmpInfo(40, w, h, 24, 0), nil, grey24)[:10],
			"\xff\xff\xff\xff\x28\x00\x00\x00"...),
	} {
		if _, err := decoded(t, body, Options{}); !errors.Is(err, ErrBadImage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func bmpMasks(masks ...uint32) (out []byte) {
	for _, m := range masks {
		out = binary.LittleEndian.AppendUint32(out, m)
	}
	return out
}

// Runs that end early leave a part of the picture, which counts if it is at least half.
func TestCutRuns(t *testing.T) {
	m := grey(photo(30, 40))
	for coding, bits := range map[uint32]int{1: 8, 2: 4} {
		whole := bmpFile(bmpInfo(40, 30, 40, bits, coding), greys(1<<bits, 4), rle(m, bits == 4))
		full := mustDecode(t, whole, Options{}).Luma
		begin := len(whole) - len(rle(m, bits == 4))
		for _, part := range []float64{0, 0.2, 0.45, 0.55, 0.9} {
			img, err := decoded(t, whole[:begin+int(part*float64(len(whole)-begin))], Options{})
			if part < 0.5 {
				if !errors.Is(err, ErrBadImage) {
					t.Errorf("%v of %d bits: %v", part, bits, err)
				}
				continue
			}
			if err != nil || !img.Partial {
				t.Errorf("%v of %d bits: %+v, %v", part, bits, img, err)
				continue
			}
			if rows := int(part*40) - 1; !bytes.Equal(img.Luma.Pix[(40-rows)*30:], full.Pix[(40-rows)*30:]) {
				t.Errorf("%v of %d bits: the last %d rows are wrong", part, bits, rows)
			}
		}
		// What lacks only its end mark is whole; so is what ends itself early.
		if img := mustDecode(t, whole[:len(whole)-2], Options{}); img.Partial {
			t.Errorf("%d bits without the end mark are partial", bits)
		}
		jump := append(bytes.Clone(whole[:begin]), 0, 2, 0, 20)
		if img := mustDecode(t, jump, Options{}); !img.Partial {
			t.Errorf("%d bits, cut behind a jump over half of the rows, are whole", bits)
		}
		early := append(bytes.Clone(whole[:begin]), 0, 2, 3, 1, 0, 1)
		if img := mustDecode(t, early, Options{}); img.Partial {
			t.Errorf("%d bits, ended by a mark, are partial", bits)
		}
	}
}

// Two letters do not make a BMP: the length of its information header must be one that is in use.
func TestBMPHeaderLengths(t *testing.T) {
	used := []int{12, 16, 20, 24, 32, 36, 40, 42, 44, 46, 48, 52, 56, 60, 64, 108, 124}
	for size := range 200 {
		body := append([]byte("BM"), make([]byte, 16)...)
		body[14] = byte(size)
		if _, err := Probe(body, Options{}); errors.Is(err, ErrNotImage) == slices.Contains(used, size) {
			t.Errorf("a header of %d bytes: %v", size, err)
		}
	}
}

// TestBMPHeader: what is wrong with a header is said.
func TestBMPHeader(t *testing.T) {
	const w, h = 21, 13
	info := func(bits int, coding uint32) []byte { return bmpFile(bmpInfo(40, w, h, bits, coding), nil, nil) }
	for name, c := range map[string]struct {
		body []byte
		want string
	}{
		"a whole header": {info(24, 0), ""},
		"a byte less":    {info(24, 0)[:53], "bad image: bmp: cut short"},
		"negative width": {bmpFile(bmpInfo(40, -w, h, 24, 0), nil, nil),
			"bad image: bmp of -21x13 pixels"},
		"no width":    {bmpFile(bmpInfo(40, 0, h, 24, 0), nil, nil), "bad image: bmp of 0x13 pixels"},
		"no height":   {bmpFile(bmpInfo(40, w, 0, 24, 0), nil, nil), "bad image: bmp of 21x0 pixels"},
		"7 bits":      {info(7, 0), "bad image: bmp: " + bmpSays(t, info(7, 0))},
		"runs of 24":  {info(24, 1), "bad image: bmp: " + bmpSays(t, info(24, 1))},
		"JPEG inside": {info(0, 4), "unsupported: BMP with coding 4"},
		"OS/2, fax codes": {bmpFile(bmpInfo(64, w, h, 1, 3), greys(2, 4), nil),
			"unsupported: BMP with coding 3"},
		"OS/2, runs of RGB": {bmpFile(bmpInfo(64, w, h, 24, 4), nil, nil), "unsupported: BMP with coding 4"},
	} {
		if h, got := probed(c.body, Options{}); got != c.want {
			t.Errorf("%s: %+v, %q, want %q", name, h, got, c.want)
		}
	}
}

// bmpSays is what gobmp says of a header.
func bmpSays(t *testing.T, body []byte) string {
	t.Helper()
	_, err := gobmp.DecodeConfig(bytes.NewReader(body))
	if err == nil {
		t.Fatal("gobmp reads it")
	}
	return err.Error()
}

// TestBMPRows: rows count when they are there to their last byte; from half of them on the picture counts.
func TestBMPRows(t *testing.T) {
	const w, h, row = 21, 13, 64
	m := grey(photo(w, h))
	whole := bmpFile(bmpInfo(40, w, h, 24, 0), nil, bmpRows(m, func(v uint8) []byte {
		return []byte{v, v,
			v}
	}))
	begin := len(whole) - h*row
	for rows, ok := range map[int]bool{0: false, 6: false, 7: true, 12: true, 13: true} {
		for _, less := range []int{0, 1} {
			img, err := decoded(t, whole[:begin+rows*row-less], Options{})
			if want := ok && (less == 0 || rows > 7); (err == nil) != want || want &&
				img.Partial != (rows < h || less > 0) {
				t.Errorf("%d rows less %d bytes: partial %t, %v", rows, less, img.Partial, err)
			}
		}
	}
	runs := func(bits, w, h int, coding uint32, data string) []byte {
		return bmpFile(bmpInfo(40, w, h, bits, coding), greys(1<<bits, 4), []byte(data))
	}
	for name, c := range map[string]struct {
		body []byte
		want string // "" for a whole picture
	}{
		"the last row without its end": {runs(8, 3, 2, 1, "\x03\x09\x00\x00\x03\x09"), ""},
		"a pixel is missing":           {runs(8, 3, 2, 1, "\x03\x09\x00\x00\x02\x09"), "partial"},
		"one row":                      {runs(8, 5, 1, 1, "\x05\x09"), ""},
		"one row but for a pixel":      {runs(8, 5, 1, 1, "\x04\x09"), "bad image: bmp: cut short"},
		"pixels as they are": {runs(8, 3, 2, 1,
			"\x00\x03\x09\x09\x09\x00\x00\x00\x00\x03\x09\x09\x09\x00"), ""},
		"an even number of them": {runs(8, 4, 2, 1,
			"\x00\x04\x09\x09\x09\x09\x00\x00\x00\x04\x09\x09\x09\x09"), ""},
		"in halves of bytes": {runs(4, 5, 2, 2,
			"\x00\x05\x12\x34\x50\x00\x00\x00\x00\x05\x12\x34\x50\x00"), ""},
		"in two whole bytes":       {runs(4, 4, 2, 2, "\x00\x04\x12\x34\x00\x00\x00\x04\x12\x34"), ""},
		"a row of runs and pixels": {runs(8, 5, 1, 1, "\x02\x09\x00\x03\x09\x09\x09\x00"), ""},
		"one too few of both": {runs(8, 6, 1, 1, "\x02\x09\x00\x03\x09\x09\x09\x00"),
			"bad image: bmp: cut short"},
		"a jump along the row": {runs(8, 5, 1, 1, "\x01\x09\x00\x02\x03\x00\x01\x09"), ""},
		"a jump over all rows": {runs(8, 5, 4, 1, "\x00\x02\x00\x04"), ""},
		"a last byte like a row's end": {runs(4, 5, 2, 2, "\x00\x05\x12\x34\x00\x00"),
			"bad image: bmp: cut short"},
		"a jump that is cut": {runs(8, 5, 4, 1, "\x05\x09\x00\x00\x05\x09\x00\x00\x00\x02\x01"),
			"partial"},
	} {
		img, err := decoded(t, c.body, Options{})
		got := map[bool]string{true: "partial"}[img.Partial]
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
