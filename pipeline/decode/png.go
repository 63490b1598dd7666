package decode

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash"
	"hash/adler32"
	"hash/crc32"
	"image"
	"image/png"
	"io"
	"math"
)

const pngSignature = "\x89PNG\r\n\x1a\n"

// probePNG reads IHDR, and eXIf where it comes before the pixels (PNG specification, 11.2.2 and 11.3.4).
func (f *File) probePNG(b []byte) error {
	if len(b) < 33 || !has(b, 12, "IHDR") || binary.BigEndian.Uint32(b[8:]) != 13 {
		return errCut
	}
	w, h := binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])
	if w > math.MaxInt32 || h > math.MaxInt32 {
		return errors.New("size out of range")
	}
	f.Width, f.Height = int(w), int(h)
	seeThrough := false
	for i := 33; i+8 <= len(b) && !has(b, i+4, "IDAT"); {
		size := binary.BigEndian.Uint32(b[i:])
		if uint64(size) > uint64(len(b)-i-8) {
			break
		}
		n := int(size)
		if has(b, i+4, "eXIf") {
			if o := orientation(b[i+8 : i+8+n]); o != 0 {
				f.Orientation = o
			}
		}
		seeThrough = seeThrough || has(b, i+4, "tRNS")
		i += 12 + n
	}
	bytes := int64(4) // a pixel in memory: NRGBA, which tRNS makes of grey ones too
	if b[25] == 3 || b[25] == 0 && !seeThrough {
		bytes = 1
	}
	if b[24] == 16 {
		bytes *= 2
	}
	px := int64(f.Width) * int64(f.Height)
	f.Memory = px*bytes + f.lumaBytes() + int64(f.Width)*32 + 1<<18
	if b[28] != 0 {
		f.Memory += px * bytes // the passes of an interlaced picture are pictures of their own
	}
	return nil
}

// decodePNG decodes a PNG; of a cut one, and of one damaged only in chunks that do not matter, the part that
// is there.
func (f *File) decodePNG() (m image.Image, partial bool, err error) {
	p, err := splitPNG(f.body)
	if err != nil {
		return nil, false, err
	}
	var whole io.Reader = bytes.NewReader(f.body)
	if p.cut || p.damaged {
		if whole, err = p.repaired(); err != nil {
			return nil, false, err
		}
	}
	m, err = png.Decode(whole)
	return m, p.cut, err
}

// pngParts are the chunks of a PNG that its pixels depend on.
type pngParts struct {
	head    []byte   // IHDR, PLTE and tRNS, as stored
	data    [][]byte // the contents of IDAT, as far as they go
	cut     bool     // the file ends before IEND does
	damaged bool     // another chunk has a wrong checksum
}

// splitPNG collects the chunks that matter. They must be sound; only the last one may be cut.
func splitPNG(b []byte) (p pngParts, err error) {
	p.cut = true
	for i := 8; i+8 <= len(b) && p.cut; {
		size, name := binary.BigEndian.Uint32(b[i:]), string(b[i+4:i+8])
		if uint64(size)+12 > uint64(len(b)-i) {
			if name == "IDAT" {
				p.data = append(p.data, b[i+8:min(uint64(i+8)+uint64(size), uint64(len(b)))])
			}
			break
		}
		n := int(size)
		chunk := b[i : i+12+n]
		i += len(chunk)
		sound := crc32.ChecksumIEEE(chunk[4:8+n]) == binary.BigEndian.Uint32(chunk[8+n:])
		switch name {
		case "IEND":
			p.cut = false
		case "IHDR", "PLTE", "tRNS":
			if len(p.data) == 0 {
				p.head = append(p.head, chunk...)
			}
		case "IDAT":
			p.data = append(p.data, chunk[8:8+n])
		default:
			p.damaged = p.damaged || !sound
			sound = true
		}
		if !sound {
			return p, errors.New("wrong checksum")
		}
	}
	if len(p.head) < 25 || len(p.data) == 0 {
		return p, errCut
	}
	return p, nil
}

// inflate reads the pixels.
func (p pngParts) inflate() (io.Reader, error) {
	var r []io.Reader
	for _, d := range p.data {
		r = append(r, bytes.NewReader(d))
	}
	return zlib.NewReader(io.MultiReader(r...))
}

// pngSize is how many bytes the inflated pixels take: a filter byte and the samples per row of each pass.
// ihdr is the chunk's content.
func pngSize(ihdr []byte) int64 {
	w, h := int64(binary.BigEndian.Uint32(ihdr)), int64(binary.BigEndian.Uint32(ihdr[4:]))
	samples := map[byte]int64{0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[ihdr[9]]
	size := func(w, h int64) int64 {
		if w == 0 {
			return 0
		}
		return h * (1 + (w*samples*int64(ihdr[8])+7)/8)
	}
	if ihdr[12] == 0 {
		return size(w, h)
	}
	n := int64(0)
	for _, p := range [7][4]int64{{0, 8, 0, 8}, {4, 8, 0, 8}, {0, 4, 4, 8}, {2, 4, 0, 4}, {0, 2, 2, 4},
		{1, 2, 0, 2}, {0, 1, 1, 2}} {
		n += size((w-p[0]+p[1]-1)/p[1], (h-p[2]+p[3]-1)/p[3]) // Adam7: first column, step; first row, step
	}
	return n
}

// repaired completes a cut PNG with zeros. It is an error if more than half is missing, or if the pixels are
// damaged otherwise.
func (p pngParts) repaired() (io.Reader, error) {
	z, err := p.inflate()
	if err != nil {
		return nil, err
	}
	size := pngSize(p.head[8:])
	got, err := io.Copy(io.Discard, io.LimitReader(z, size))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	if got == 0 || 2*got < size {
		return nil, errCut
	}
	if z, err = p.inflate(); err != nil {
		return nil, err
	}
	return io.MultiReader(
		bytes.NewReader([]byte(pngSignature)),
		bytes.NewReader(p.head),
		&storedIDAT{src: z, got: got, left: size, sum: adler32.New()},
		bytes.NewReader([]byte("\x00\x00\x00\x00IEND\xaeB`\x82")),
	), nil
}

// storedIDAT reads as IDAT chunks that hold src, and zeros after it, uncompressed (RFC 1950, RFC 1951 3.2.4).
type storedIDAT struct {
	src       io.Reader
	got, left int64 // bytes of src, and of everything, that are still to come
	sum       hash.Hash32
	out       bytes.Buffer
}

func (s *storedIDAT) Read(p []byte) (int, error) {
	if s.out.Len() == 0 && s.left > 0 {
		if err := s.chunk(); err != nil {
			return 0, err
		}
	}
	return s.out.Read(p)
}

// chunk writes the next chunk, of one block, into s.out.
func (s *storedIDAT) chunk() error {
	content := []byte("IDAT")
	if s.out.Cap() == 0 { // the first one
		content = append(content, 0x78, 0x01)
	}
	block := make([]byte, min(s.left, 1<<15))
	n, err := io.ReadFull(s.src, block[:min(s.got, int64(len(block)))])
	if err != nil {
		return err
	}
	s.got -= int64(n)
	s.sum.Write(block)
	s.left -= int64(len(block))
	last := byte(0)
	if s.left == 0 {
		last = 1
	}
	content = append(content, last)
	content = binary.LittleEndian.AppendUint16(content, uint16(len(block)))
	content = binary.LittleEndian.AppendUint16(content, ^uint16(len(block)))
	content = append(content, block...)
	if last == 1 {
		content = s.sum.Sum(content)
	}
	s.out.Reset()
	s.out.Write(binary.BigEndian.AppendUint32(nil, uint32(len(content)-len("IDAT"))))
	s.out.Write(content)
	s.out.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(content)))
	return nil
}
