package heif_test

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"math"
	"slices"
	"testing"

	"facescan/pipeline/decode/heif"
)

// photo draws a grey picture that no mirroring or turning leaves the same.
func photo(w, h int) *image.Gray {
	m := image.NewGray(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			u, v := float64(x)/float64(w), float64(y)/float64(h)
			m.SetGray(x, y, color.Gray{Y: uint8(40 + 120*u + 60*v + 20*math.Sin(30*u*(1+v)))})
		}
	}
	return m
}

// box is a box, and full one with a version and flags.
func box(kind string, content ...[]byte) []byte {
	data := slices.Concat(content...)
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(data)+8)), kind...), data...)
}

func full(kind string, version byte, flags uint32, content ...[]byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(version)<<24|flags)
	return box(kind, append([][]byte{head}, content...)...)
}

func u16(v ...int) (b []byte) {
	for _, v := range v {
		b = binary.BigEndian.AppendUint16(b, uint16(v))
	}
	return b
}

func u32(v ...int) (b []byte) {
	for _, v := range v {
		b = binary.BigEndian.AppendUint32(b, uint32(v))
	}
	return b
}

// container wraps one coded picture with its codec's configuration and further properties.
func container(format string, config, data []byte, w, h int, properties ...[]byte) []byte {
	kind := map[string]string{heif.AVIF: "av01", heif.HEIC: "hvc1"}[format]
	properties = append([][]byte{config, full("ispe", 0, 0, u32(w, h)),
		full("pixi", 0, 0, []byte{3, 8, 8, 8})}, properties...)
	links := []byte{byte(len(properties))}
	for i, p := range properties {
		switch string(p[4:8]) {
		case "av1C", "hvcC", "irot", "imir", "clap": // who does not know these must not show the picture
			links = append(links, byte(0x80|i+1))
		default:
			links = append(links, byte(i+1))
		}
	}
	build := func(at int) []byte {
		return slices.Concat(
			box("ftyp", []byte(format), u32(0), []byte("mif1"), []byte(format), []byte("miaf")),
			full("meta", 0, 0,
				full("hdlr", 0, 0, u32(0), []byte("pict"), make([]byte, 13)),
				full("pitm", 0, 0, u16(1)),
				full("iloc", 0, 0, []byte{0x44, 0}, u16(1), u16(1, 0, 1), u32(at, len(data))),
				full("iinf", 0, 0, u16(1), full("infe", 2, 0, u16(1, 0), []byte(kind), []byte{0})),
				box("iprp", box("ipco", properties...), full("ipma", 0, 0, u32(1), u16(1), links)),
			),
		)
	}
	head := build(len(build(0)) + 8)
	return append(head, box("mdat", data)...)
}

// avif codes a picture as AVIF, with properties such as irot.
func avif(t testing.TB, m *image.Gray, properties ...[]byte) []byte {
	t.Helper()
	w, h := m.Rect.Dx(), m.Rect.Dy()
	rgba := image.NewRGBA(m.Rect)
	for i, v := range m.Pix {
		copy(rgba.Pix[4*i:], []byte{v, v, v, 255})
	}
	b, err := heif.EncodeAVIF(rgba.Pix, w, h)
	must(t, err)
	config := bytes.Index(b, []byte("av1C")) - 4
	colour := bytes.Index(b, []byte("colr")) - 4
	data := bytes.Index(b, []byte("mdat")) + 4
	at := func(i int) []byte { return b[i:][:binary.BigEndian.Uint32(b[i:])] }
	return container(heif.AVIF, at(config), b[data:], w, h, append([][]byte{at(colour)}, properties...)...)
}

// heic codes a picture as HEIC: HEVC whose blocks are all raw samples. The sides must be multiples of 32.
func heic(m *image.Gray, properties ...[]byte) []byte { return heicColour(m, 128, 128, properties...) }

// heicColour is heic with the same chroma all over.
func heicColour(m *image.Gray, cb, cr byte, properties ...[]byte) []byte {
	return heicSampled(m, 1, cb, cr, append([][]byte{fullRange}, properties...)...)
}

// heicSampled is heicColour without a colour profile, and with as much chroma as HEVC's number says: 0 none,
// 1 a quarter, 2 half, 3 all.
func heicSampled(m *image.Gray, chroma int, cb, cr byte, properties ...[]byte) []byte {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	return container(heif.HEIC, hevcConfig(w, h, chroma), hevc(m, chroma, cb, cr), w, h, properties...)
}

var fullRange = box("colr", []byte("nclx"), u16(1, 13, 6), []byte{0x80})

func hevcConfig(w, h, chroma int) []byte {
	vps, sps, pps := parameterSets(w, h, chroma)
	config := []byte{1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93, 0xf0, 0, 0xfc,
		byte(0xfc | chroma), 0xf8, 0xf8, 0, 0,
		0x0f, 3}
	for i, set := range [][]byte{vps, sps, pps} {
		config = append(append(append(config, byte(0x80|32+i)), u16(1, len(set))...), set...)
	}
	return box("hvcC", config)
}

func hevc(m *image.Gray, chroma int, cb, cr byte) []byte {
	slice := nal(19, slice(m, chroma, cb, cr))
	return append(u32(len(slice)), slice...)
}

// heicAlpha is a HEIC of a picture, and of another one that is its opacity, called that by the name. Numbers
// of items take 2 bytes, or 4 if wide.
func heicAlpha(m, alpha *image.Gray, name string, wide bool) []byte {
	return heicAlphaOf(m, alpha, 2, name, wide)
}

// heicAlphaOf is heicAlpha with another number for the opacity.
func heicAlphaOf(m, alpha *image.Gray, id int, name string, wide bool) []byte {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	data, opacity := hevc(m, 1, 128, 128), hevc(alpha, 1, 128, 128)
	version, number, method := byte(0), u16, []byte(nil)
	if wide {
		version, number, method = 1, u32, u16(0)
	}
	build := func(at int) []byte {
		return slices.Concat(
			box("ftyp", []byte("heic"), u32(0), []byte("mif1heic")),
			full("meta", 0, 0,
				full("hdlr", 0, 0, u32(0), []byte("pict"), make([]byte, 13)),
				full("pitm", version, 0, number(1)),
				full("iloc", 2*version, 0, []byte{0x44, 0}, number(2),
					number(1), method, u16(0, 1), u32(at, len(data)),
					number(id), method, u16(0, 1), u32(at+len(data), len(opacity))),
				full("iinf", version, 0, number(2),
					full("infe", 2+version, 0, number(1), u16(0), []byte("hvc1\x00")),
					full("infe", 2+version, 1, number(id), u16(0), []byte("hvc1\x00"))),
				full("iref", version, 0, box("auxl", number(id), u16(1), number(1))),
				box("iprp", box("ipco", hevcConfig(w, h, 1), full("ispe", 0, 0, u32(w, h)), fullRange,
					full("auxC", 0, 0, []byte(name+"\x00"))),
					full("ipma", version, 0, u32(2), number(1), []byte{3, 0x81, 2, 3}, number(id),
						[]byte{4, 0x81, 2, 3, 0x84})),
			),
		)
	}
	head := build(len(build(0)) + 8)
	return append(head, box("mdat", data, opacity)...)
}

// sequence makes an AVIF of one picture a sequence of one picture, which has no primary one.
func sequence(still []byte, w, h int, properties ...[]byte) []byte {
	config := bytes.Index(still, []byte("av1C")) - 4
	data := still[bytes.Index(still, []byte("mdat"))+4:]
	entry := slices.Concat(make([]byte, 6), u16(1), make([]byte, 16), u16(w, h), u32(0x480000, 0x480000, 0),
		u16(1), make([]byte, 32), u16(24, -1),
		still[config:][:binary.BigEndian.Uint32(still[config:])], slices.Concat(properties...))
	matrix := u32(0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
	build := func(at int) []byte {
		return slices.Concat(
			box("ftyp", []byte("avis"), u32(0), []byte("msf1avismiaf")),
			box("moov",
				full("mvhd", 0, 0, u32(0, 0, 1, 1, 0x10000), u16(0x100, 0), u32(0, 0), matrix,
					make([]byte, 24), u32(2)),
				box("trak",
					full("tkhd", 0, 1, u32(0, 0, 1, 0, 1, 0, 0), u16(0, 0, 0, 0), matrix, u32(w<<16, h<<16)),
					box("mdia",
						full("mdhd", 0, 0, u32(0, 0, 1, 1), u16(0, 0)),
						full("hdlr", 0, 0, u32(0), []byte("pict"), make([]byte, 13)),
						box("minf", full("vmhd", 0, 1, make([]byte, 8)), box("stbl",
							full("stsd", 0, 0, u32(1), box("av01", entry)),
							full("stts", 0, 0, u32(1, 1, 1)),
							full("stsc", 0, 0, u32(1, 1, 1, 1)),
							full("stsz", 0, 0, u32(0, 1, len(data))),
							full("stco", 0, 0, u32(1, at)),
							full("stss", 0, 0, u32(1, 1)),
						)),
					),
				),
			),
		)
	}
	head := build(len(build(0)) + 8)
	return append(head, box("mdat", data)...)
}

// branded replaces the brands of a file, the major one and the rest, the last of which fills up.
func branded(body []byte, brands ...string) []byte {
	body = bytes.Clone(body)
	for i, at := 0, 8; at < int(binary.BigEndian.Uint32(body)); at += 4 {
		if at == 12 {
			continue
		}
		copy(body[at:], brands[min(i, len(brands)-1)])
		i++
	}
	return body
}

// bits writes bits from the highest down, and numbers in Exp-Golomb code (ITU-T H.265, 9.2).
type bits struct {
	out []byte
	n   int
}

func (b *bits) put(v uint64, n int) {
	for i := n - 1; i >= 0; i-- {
		if b.n%8 == 0 {
			b.out = append(b.out, 0)
		}
		b.out[len(b.out)-1] |= byte(v>>i&1) << (7 - b.n%8)
		b.n++
	}
}

func (b *bits) ue(v ...int) {
	for _, v := range v {
		n := 0
		for (v+1)>>(n+1) > 0 {
			n++
		}
		b.put(0, n)
		b.put(uint64(v+1), n+1)
	}
}

func (b *bits) align() {
	for b.n%8 != 0 {
		b.put(0, 1)
	}
}

// nal wraps a payload, keeping start codes out of it.
func nal(kind byte, payload []byte) []byte {
	out := []byte{kind << 1, 1}
	zeros := 0
	for _, c := range payload {
		if zeros == 2 && c <= 3 {
			out = append(out, 3)
			zeros = 0
		}
		out = append(out, c)
		zeros++
		if c != 0 {
			zeros = 0
		}
	}
	return out
}

// parameterSets are those of an intra picture in blocks of 32, raw samples allowed, all filters off (H.265,
// 7.3.2).
func parameterSets(w, h, chroma int) (vps, sps, pps []byte) {
	profile := func(b *bits) { // Main, progressive, level 3.1
		b.put(1, 8)
		b.put(0x60000000, 32)
		b.put(9, 4)
		b.put(0, 44)
		b.put(93, 8)
	}
	var v, s, p bits
	v.put(0x0c01, 16) // id 0, base layer, one layer, one sub-layer, nested
	v.put(0xffff, 16)
	profile(&v)
	v.put(1, 1)
	v.ue(0, 0, 0)
	v.put(0, 6)
	v.ue(0)
	v.put(0, 2)
	v.put(1, 1)
	v.align()

	s.put(1, 8) // one sub-layer, nested
	profile(&s)
	s.ue(0, chroma) // id
	if chroma == 3 {
		s.put(0, 1) // coded with the luma
	}
	s.ue(w, h)
	s.put(0, 1)   // no window
	s.ue(0, 0, 0) // 8 bits, 8 bits, order counter
	s.put(1, 1)
	s.ue(0, 0, 0)          // buffers
	s.ue(2, 0, 0, 3, 0, 0) // coding blocks 32 to 32, transforms 4 to 32, depths
	s.put(0, 3)            // scaling lists, asymmetric partitions, offset filter
	s.put(1, 1)            // raw samples
	s.put(0x77, 8)         // of 8 bits
	s.ue(2, 0)             // in blocks of 32
	s.put(1, 1)            // unfiltered
	s.ue(0)
	s.put(0, 5) // long-term references, motion, smoothing, VUI, extension
	s.put(1, 1)
	s.align()

	p.ue(0, 0)
	p.put(0, 7) // dependent slices, output flag, extra bits, sign hiding, table choice
	p.ue(0, 0, 0)
	p.put(0, 3) // constrained, skip, quantiser changes
	p.ue(0, 0)
	p.put(0, 7)     // chroma offsets, weights, bypass, tiles, wavefronts, filter across slices
	p.put(0b101, 3) // deblocking is controlled: not overridden, off
	p.put(0, 2)
	p.ue(0)
	p.put(0, 2)
	p.put(1, 1)
	p.align()
	return nal(32, v.out), nal(33, s.out), nal(34, p.out)
}

// slice is the picture's only slice: its header, then for every block the arithmetic code of "undivided" and
// "raw", and the samples, chroma the same all over (H.265, 7.3.8 and 9.3.4).
func slice(m *image.Gray, chroma int, cb, cr byte) []byte {
	b := &bits{}
	b.put(0b10, 2) // first, keeps nothing
	b.ue(0, 2, 0)  // parameter set, intra, quantiser as it is
	b.put(1, 1)
	b.align()
	w, h := m.Rect.Dx(), m.Rect.Dy()
	blocks := w / 32 * (h / 32)
	// How much of the range the less probable choice takes, as "undivided" is chosen block after block.
	shrink := []int{240, 227, 216, 205, 195, 185, 175, 166, 158, 150, 142, 135}
	span := 510
	for i := range blocks {
		span -= shrink[i] // "undivided", the more probable one
		terminate(b, span)
		b.align()
		x0, y0 := i%(w/32)*32, i/(w/32)*32
		for y := range 32 {
			for x := range 32 {
				b.put(uint64(m.GrayAt(x0+x, y0+y).Y), 8)
			}
		}
		for _, v := range []byte{cb, cr} {
			for range [4]int{0, 16 * 16, 16 * 32, 32 * 32}[chroma] {
				b.put(uint64(v), 8)
			}
		}
		span = 510 - 2 // the engine restarts; this was not the last block
	}
	terminate(b, 510)
	b.align()
	return b.out
}

// terminate codes the end of the arithmetic code, whose low end is 0 and whose range is span.
func terminate(b *bits, span int) {
	low, span, first, outstanding := span-2, 2, true, 0
	put := func(bit uint64) {
		if !first {
			b.put(bit, 1)
		}
		first = false
		for ; outstanding > 0; outstanding-- {
			b.put(1-bit, 1)
		}
	}
	for ; span < 256; span <<= 1 {
		switch {
		case low < 256:
			put(0)
		case low >= 512:
			low -= 512
			put(1)
		default:
			low -= 256
			outstanding++
		}
		low <<= 1
	}
	put(uint64(low>>9) & 1)
	b.put(uint64(low>>7)&3|1, 2)
}
