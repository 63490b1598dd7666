//go:build !race

// The race detector takes several times the memory that is measured here.

package decode

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"io"
	"strings"
	"testing"

	"facescan/pipeline/decode/peaktest"
)

func TestMain(m *testing.M) {
	peaktest.Main(m, func(body []byte) (int64, error) {
		f, err := Probe(body, Options{})
		if err != nil {
			return 0, err
		}
		if bytes.HasSuffix(body, []byte(inColour)) {
			_, err = f.Color()
			return f.ColorMemory(), err
		}
		d := New(Options{})
		_, err = d.DecodeFile(f)
		return f.Memory, err
	})
}

// inColour ends a file that is to be decoded in colour. No decoder minds what follows a picture.
const inColour = "in colour"

// peakNoise is what a process takes besides: stacks, spans that the heap keeps, pages of code.
const peakNoise = 4 << 20

// zeroPNG is a PNG of zeros.
func zeroPNG(w, h int, kind, depth, interlaced byte, chunks ...[]byte) []byte {
	ihdr := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(w)), uint32(h))
	ihdr = append(ihdr, depth, kind, 0, 0, interlaced)
	var data bytes.Buffer
	z := zlib.NewWriter(&data)
	_, _ = io.CopyN(z, zeros{}, pngSize(ihdr)) // neither a buffer nor zeros fail
	_ = z.Close()
	b := append([]byte(pngSignature), pngChunk("IHDR", ihdr)...)
	b = append(b, bytes.Join(chunks, nil)...)
	return append(append(b, pngChunk("IDAT", data.Bytes())...), pngChunk("IEND", nil)...)
}

// deflated are blocks of a TIFF, each deflated zeros.
func deflated(base tags, w, rows, blocks, pixel int) []byte {
	var data bytes.Buffer
	z := zlib.NewWriter(&data)
	_, _ = io.CopyN(z, zeros{}, int64(w*rows*pixel))
	_ = z.Close()
	size := make([]uint32, blocks)
	for i := range size {
		size[i] = uint32(data.Len())
	}
	offsets := make([]uint32, blocks)
	for i := range offsets {
		offsets[i] = 8 // all are the same
	}
	return base.write(data.Bytes(), tags{tagCompression: {tiffDeflate}, tagStripRows: {uint32(rows)},
		tagStrips: offsets, tagStripBytes: size, tagHeight: {uint32(rows * blocks)}})
}

// What a decoder takes at its peak is not more than its header announced, for each format and way of coding:
// files that are tiny for the picture they hold, and ones of the usual size.
func TestPeak(t *testing.T) {
	const w, h = 3200, 2500
	m := photo(w, h)
	still := image.NewPaletted(image.Rect(0, 0, w, h), color.Palette{color.Black, color.White})
	var g, j bytes.Buffer
	must(t, gif.Encode(&g, still, nil))
	must(t, jpeg.Encode(&j, m, nil))
	flat := image.NewGray(image.Rect(0, 0, 1200, 900))
	three, four := []*image.Gray{flat, flat, flat}, []*image.Gray{flat, flat, flat, flat}
	rgb := tags{tagWidth: {w}, tagHeight: {h}, tagBits: {8, 8, 8}, tagPhotometric: {2}, tagSamples: {3}}
	runs := bytes.Repeat(append(bytes.Repeat([]byte{255, 7}, w/255+1), 0, 0), h)
	bodies := map[string][]byte{
		"png, 16 bits and opacity": zeroPNG(w, h, 6, 16, 0),
		"png, interlaced":          zeroPNG(w, h, 6, 16, 1),
		"png, colour":              zeroPNG(w, h, 2, 8, 0),
		"png, grey":                zeroPNG(w, h, 0, 8, 0),
		"png, grey, 16 bits":       zeroPNG(w, h, 0, 16, 0),
		"png, one grey is clear":   zeroPNG(w, h, 0, 8, 0, pngChunk("tRNS", []byte{0, 9})),
		"png, palette":             zeroPNG(w, h, 3, 8, 0, pngChunk("PLTE", make([]byte, 768))),
		"png, palette, interlaced": zeroPNG(w, h, 3, 1, 1, pngChunk("PLTE", make([]byte, 6))),
		"gif":                      g.Bytes(),
		"webp, 30 bytes":           riff(chunk("VP8L", oneColour(w, h))),
		"webp, real":               encode(t, WebP, m.SubImage(image.Rect(0, 0, w, h/4))),
		"bmp, runs":                bmpFile(bmpInfo(40, w, h, 8, 1), greys(256, 4), runs),
		"bmp, 24 bits":             encode(t, BMP, m),
		"bmp, 32 bits":             bmpFile(bmpInfo(40, w, h, 32, 0), nil, make([]byte, 4*w*h)),
		"tiff, one strip":          deflated(rgb, w, h, 1, 3),
		"tiff, strips":             deflated(rgb, w, 10, h/10, 3),
		"tiff, a strip per row":    deflated(rgb, w, 1, h, 3),
		"tiff, more than it needs": deflated(rgb, w, h, 1, 8),
		"tiff, real":               encode(t, TIFF, m),
		"jpeg":                     j.Bytes(),
		"jpeg, on its side":        oriented(t, JPEG, j.Bytes(), 6),
		"jpeg, progressive":        writeJPEG(three, 1200, 900, jpegOptions{progressive: true}),
		"jpeg, inks":               writeJPEG(four, 1200, 900, jpegOptions{progressive: true, adobe: true}),
	}
	for name, body := range bodies {
		for _, ending := range []string{"", inColour} {
			if ending != "" && strings.HasSuffix(name, "real") {
				continue // the same as the others, and slow
			}
			took, announced := peaktest.Of(t, append(bytes.Clone(body), ending...))
			if took > announced+peakNoise {
				t.Errorf("%s %s: took %d bytes, and announced %d", name, ending, took, announced)
			}
			t.Logf("%s %s: took %d MB of %d MB", name, ending, took>>20, announced>>20)
		}
	}
}
