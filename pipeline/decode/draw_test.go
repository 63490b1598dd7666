package decode

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math"
	"testing"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// photo draws a picture that no mirroring or turning leaves the same, with texture all over it, as photos
// have.
func photo(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	seed := uint32(1)
	for y := range h {
		for x := range w {
			seed = seed*1664525 + 1013904223
			noise := float64(seed>>28) - 7.5
			u, v := float64(x)/float64(w), float64(y)/float64(h)
			shade := 60 + 100*u + 60*v + 25*math.Sin(40*u*(1+v)) + noise
			m.SetNRGBA(x, y, color.NRGBA{clamp(shade + 20*v), clamp(shade), clamp(shade - 30*u), 255})
		}
	}
	return m
}

func clamp(v float64) uint8 { return uint8(min(255, max(0, math.Round(v)))) }

// grey is the luma of a picture, by the definition: weighted, rounded, on white.
func grey(m image.Image) *image.Gray {
	b := m.Bounds()
	out := image.NewGray(image.Rect(0, 0, b.Dx(), b.Dy()))
	for y := range b.Dy() {
		for x := range b.Dx() {
			c := color.NRGBA64Model.Convert(m.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA64)
			l := (0.299*float64(c.R) + 0.587*float64(c.G) + 0.114*float64(c.B)) / 257
			a := float64(c.A) / 65535
			out.Pix[y*out.Stride+x] = clamp(l*a + 255*(1-a))
		}
	}
	return out
}

// difference is the largest one between two pictures of the same size, and the mean.
func difference(t testing.TB, a, b *image.Gray) (most int, mean float64) {
	t.Helper()
	if a.Rect.Size() != b.Rect.Size() {
		t.Fatalf("%v and %v pixels", a.Rect.Size(), b.Rect.Size())
	}
	w, h := a.Rect.Dx(), a.Rect.Dy()
	for y := range h {
		for x := range w {
			d := int(a.Pix[y*a.Stride+x]) - int(b.Pix[y*b.Stride+x])
			most = max(most, d, -d)
			mean += math.Abs(float64(d)) / float64(w*h)
		}
	}
	return most, mean
}

// inColor decodes in colour.
func inColor(body []byte, o Options) (*image.RGBA, error) {
	f, err := Probe(body, o)
	if err != nil {
		return nil, err
	}
	return f.Color()
}

func mustColor(t testing.TB, body []byte, o Options) *image.RGBA {
	t.Helper()
	m, err := inColor(body, o)
	must(t, err)
	return m
}

func encode(t testing.TB, format string, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	switch format {
	case JPEG:
		err = jpeg.Encode(&b, m, &jpeg.Options{Quality: 90})
	case PNG:
		err = png.Encode(&b, m)
	case GIF:
		err = gif.Encode(&b, m, nil)
	case BMP:
		err = bmp.Encode(&b, m)
	case TIFF:
		err = tiff.Encode(&b, m, nil)
	case WebP:
		b.Write(riff(chunk("VP8L", losslessFrame(m))))
	default:
		t.Fatal("no encoder for", format)
	}
	must(t, err)
	return b.Bytes()
}

// exif is EXIF data that says an orientation and nothing else.
func exif(orientation int, order binary.AppendByteOrder) []byte {
	b := []byte("II*\x00")
	if order == binary.AppendByteOrder(binary.BigEndian) {
		b = []byte("MM\x00*")
	}
	b = order.AppendUint32(b, 8)
	b = order.AppendUint16(b, 1)
	b = order.AppendUint16(b, tagOrientation)
	b = order.AppendUint16(b, typeShort)
	b = order.AppendUint32(b, 1)
	b = order.AppendUint16(b, uint16(orientation))
	return append(b, 0, 0, 0, 0, 0, 0)
}

// oriented writes an orientation into an encoded picture.
func oriented(t testing.TB, format string, body []byte, o int) []byte {
	t.Helper()
	switch format {
	case JPEG:
		return insert(body, 2, segment(0xe1, append([]byte(exifPrefix), exif(o, binary.BigEndian)...)))
	case PNG:
		return insert(body, 33, pngChunk("eXIf", exif(o, binary.LittleEndian)))
	case WebP:
		f, err := Probe(body, Options{})
		must(t, err)
		x := make([]byte, 10)
		x[0] = 8
		x[4], x[5] = byte(f.Width-1), byte((f.Width-1)>>8)
		x[7], x[8] = byte(f.Height-1), byte((f.Height-1)>>8)
		return riff(chunk("VP8X", x), body[12:], chunk("EXIF", exif(o, binary.LittleEndian)))
	case TIFF:
		// The encoder's directory, moved to the end with one more entry in its place.
		at := binary.LittleEndian.Uint32(body[4:])
		n := binary.LittleEndian.Uint16(body[at:])
		entries := body[at+2:][:int(n)*12]
		out := append([]byte(nil), body...)
		binary.LittleEndian.PutUint32(out[4:], uint32(len(out)))
		out = binary.LittleEndian.AppendUint16(out, n+1)
		done := false
		for e := entries; len(e) > 0; e = e[12:] {
			if !done && binary.LittleEndian.Uint16(e) > tagOrientation {
				out = append(out, exif(o, binary.LittleEndian)[10:22]...)
				done = true
			}
			out = append(out, e[:12]...)
		}
		return append(out, 0, 0, 0, 0)
	}
	t.Fatal("no orientation in", format)
	return nil
}

func insert(b []byte, at int, what []byte) []byte {
	return append(append(append([]byte(nil), b[:at]...), what...), b[at:]...)
}

// segment is a JPEG marker with its data.
func segment(marker byte, data []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xff, marker}, uint16(len(data)+2)), data...)
}

func pngChunk(name string, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(append(b, name...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// chunk is one of a RIFF file.
func chunk(name string, data []byte) []byte {
	b := append(binary.LittleEndian.AppendUint32([]byte(name), uint32(len(data))), data...)
	if len(data)%2 != 0 {
		b = append(b, 0)
	}
	return b
}

func riff(chunks ...[]byte) []byte {
	all := append([]byte("WEBP"), bytes.Join(chunks, nil)...)
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(all))), all...)
}

// losslessFrame encodes a picture as the simplest WebP lossless bitstream: no transform, every sample a code
// of eight bits.
func losslessFrame(m image.Image) []byte {
	size := m.Bounds().Size()
	w := bitsLow{out: []byte{0x2f}}
	w.put(uint32(size.X-1), 14)
	w.put(uint32(size.Y-1), 14)
	w.put(1, 1) // alpha is used
	w.put(0, 3)
	w.put(0, 1) // no transform
	w.put(0, 1) // no colour cache
	w.put(0, 1) // one group of codes
	for i := range 5 {
		if i == 4 { // no distance is ever coded: one symbol, 0
			w.put(1, 1)
			w.put(0, 1)
			w.put(0, 1)
			w.put(0, 1)
			continue
		}
		// Code lengths of the code lengths: only 0 and 8 occur, with a bit each; order 17 18 0 1 2 3 4 5 16 6
		// 7 8.
		w.put(0, 1)
		w.put(12-4, 4)
		for j := range 12 {
			w.put(map[bool]uint32{true: 1}[j == 2 || j == 11], 3)
		}
		w.put(0, 1) // lengths for the whole alphabet follow
		for range 256 {
			w.put(1, 1) // 8
		}
		if i == 0 {
			w.put(0, 24) // the 24 length prefixes: never used
		}
	}
	code := func(v uint8) { // codes are sent from their top bit
		for i := 7; i >= 0; i-- {
			w.put(uint32(v>>i)&1, 1)
		}
	}
	for y := range size.Y {
		for x := range size.X {
			c := color.NRGBAModel.Convert(m.At(x, y)).(color.NRGBA)
			code(c.G)
			code(c.R)
			code(c.B)
			code(c.A)
		}
	}
	w.put(0, 7)
	return w.out
}

// bitsLow writes bits from the lowest up.
type bitsLow struct {
	out []byte
	acc uint64
	n   uint
}

func (w *bitsLow) put(v uint32, n uint) {
	w.acc |= uint64(v) << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.out = append(w.out, byte(w.acc))
		w.acc >>= 8
	}
}

// jpegOptions shape a JPEG that image/jpeg cannot write.
type jpegOptions struct {
	progressive bool
	adobe       bool     // an Adobe marker that says "no transform"
	sampling    [][2]int // a component; all 1x1 by default
}

// writeJPEG encodes planes, each of the size that its sampling gives it, at a fine quantisation, with codes
// of fixed length. Progressive files have a scan of DC coefficients and then one of AC for each component.
func writeJPEG(planes []*image.Gray, w, h int, o jpegOptions) []byte {
	const q = 3
	if o.sampling == nil {
		for range planes {
			o.sampling = append(o.sampling, [2]int{1, 1})
		}
	}
	out := []byte{0xff, 0xd8}
	if o.adobe {
		out = append(out, segment(markerAPP14, []byte("Adobe\x00\x64\x00\x00\x00\x00\x00"))...)
	}
	out = append(out, segment(0xdb, append([]byte{0}, bytes.Repeat([]byte{q}, 64)...))...)
	frame := []byte{8, byte(h >> 8), byte(h), byte(w >> 8), byte(w), byte(len(planes))}
	maxH, maxV := 1, 1
	for i, s := range o.sampling {
		frame = append(frame, byte(i+1), byte(s[0]<<4|s[1]), 0)
		maxH, maxV = max(maxH, s[0]), max(maxV, s[1])
	}
	out = append(out, segment(map[bool]byte{false: 0xc0, true: 0xc2}[o.progressive], frame)...)
	dc, ac := huffmanTables()
	out = append(append(out, segment(0xc4, dc)...), segment(0xc4, ac)...)

	across, down := ceil(w, 8*maxH), ceil(h, 8*maxV)
	coefficients := make([][][64]int, len(planes)) // a component: blocks, row by row
	for i, p := range planes {
		for by := range down * o.sampling[i][1] {
			for bx := range across * o.sampling[i][0] {
				coefficients[i] = append(coefficients[i], transform(p, bx*8, by*8, q))
			}
		}
	}
	scan := func(components []int, from, to int) {
		head := []byte{byte(len(components))}
		for _, c := range components {
			head = append(head, byte(c+1), 0)
		}
		out = append(out, segment(markerSOS, append(head, byte(from), byte(to), 0))...)
		b := bitsHigh{out: out}
		last := make([]int, len(planes))
		block := func(c, i int) { b.block(&coefficients[c][i], &last[c], from, to) }
		if len(components) == 1 {
			for i := range coefficients[components[0]] {
				block(components[0], i)
			}
		} else {
			for my := range down {
				for mx := range across {
					for _, c := range components {
						s := o.sampling[c]
						for v := range s[1] {
							for u := range s[0] {
								block(c, (my*s[1]+v)*across*s[0]+mx*s[0]+u)
							}
						}
					}
				}
			}
		}
		out = b.flush()
	}
	var all []int
	for i := range planes {
		all = append(all, i)
	}
	if o.progressive {
		scan(all, 0, 0)
		for i := range planes {
			scan([]int{i}, 1, 63)
		}
	} else {
		scan(all, 0, 63)
	}
	return append(out, 0xff, markerEOI)
}

// huffmanTables are codes of fixed length for DC and AC coefficients.
func huffmanTables() (dc, ac []byte) {
	dc = append([]byte{0x00, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0, 1, 2, 3, 4, 5, 6, 7, 8,
		9, 10, 11)
	ac = []byte{0x10, 0, 0, 0, 0, 0, 0, 0, 176, 0, 0, 0, 0, 0, 0, 0, 0}
	for run := range 16 {
		for size := range 11 {
			ac = append(ac, byte(run<<4|size))
		}
	}
	return dc, ac
}

// block codes a block's coefficients from the first to the last of a scan; before is the DC coefficient of
// the component's previous block.
func (w *bitsHigh) block(k *[64]int, before *int, from, to int) {
	if from == 0 {
		d := k[0] - *before
		*before = k[0]
		w.put(category(d), 4)
		w.value(d)
	}
	run := 0
	for i := max(1, from); i <= to; i++ {
		if k[i] == 0 {
			run++
			continue
		}
		for ; run > 15; run -= 16 {
			w.put(15*11, 8)
		}
		w.put(run*11+category(k[i]), 8)
		w.value(k[i])
		run = 0
	}
	if run > 0 && to > 0 {
		w.put(0, 8)
	}
}

// transform is the quantised cosine transform of a block, in zigzag order. Beyond the plane its edge is
// repeated.
func transform(p *image.Gray, x0, y0, q int) (out [64]int) {
	var block, rows [64]float64
	for y := range 8 {
		for x := range 8 {
			block[8*y+x] = float64(p.GrayAt(min(x0+x, p.Rect.Dx()-1), min(y0+y, p.Rect.Dy()-1)).Y) - 128
		}
	}
	for y := range 8 {
		for u := range 8 {
			for x := range 8 {
				rows[8*y+u] += block[8*y+x] * cosines[u][x]
			}
		}
	}
	for i, z := range zigzag {
		u, v, sum := z%8, z/8, 0.0
		for y := range 8 {
			sum += rows[8*y+u] * cosines[v][y]
		}
		out[i] = int(math.Round(sum / float64(q)))
	}
	return out
}

var cosines = func() (c [8][8]float64) {
	for u := range 8 {
		for x := range 8 {
			c[u][x] = math.Cos(float64(2*x+1)*float64(u)*math.Pi/16) / 2
			if u == 0 {
				c[u][x] /= math.Sqrt2
			}
		}
	}
	return c
}()

// zigzag is the order of coefficients: along the diagonals, to and fro.
var zigzag = func() (z [64]int) {
	i := 0
	for d := range 15 {
		for k := range d + 1 {
			x, y := k, d-k
			if d%2 != 0 {
				x, y = y, x
			}
			if x < 8 && y < 8 {
				z[i] = 8*y + x
				i++
			}
		}
	}
	return z
}()

func category(v int) int {
	n := 0
	for v = max(v, -v); v > 0; v >>= 1 {
		n++
	}
	return n
}

// bitsHigh writes bits from the highest down, stuffed as JPEG wants it.
type bitsHigh struct {
	out []byte
	acc uint32
	n   int
}

func (w *bitsHigh) put(v, n int) {
	for i := n - 1; i >= 0; i-- {
		w.acc = w.acc<<1 | uint32(v>>i)&1
		if w.n++; w.n == 8 {
			w.out = append(w.out, byte(w.acc))
			if byte(w.acc) == 0xff {
				w.out = append(w.out, 0)
			}
			w.acc, w.n = 0, 0
		}
	}
}

// value writes the bits that distinguish a coefficient within its category.
func (w *bitsHigh) value(v int) {
	n := category(v)
	if v < 0 {
		v += 1<<n - 1
	}
	w.put(v, n)
}

func (w *bitsHigh) flush() []byte {
	for w.n != 0 {
		w.put(1, 1)
	}
	return w.out
}

// oneColour is a lossless WebP frame whose pixels take no bits at all.
func oneColour(w, h int) []byte {
	b := bitsLow{out: []byte{0x2f}}
	b.put(uint32(w-1), 14)
	b.put(uint32(h-1), 14)
	b.put(1, 1) // alpha is used
	b.put(0, 3)
	b.put(0, 3) // no transform, no colour cache, one group of codes
	for range 5 {
		b.put(1, 1) // simple: one symbol, of one bit
		b.put(0, 3)
	}
	b.put(0, 16)
	return b.out
}
