package decode

import (
	"bytes"
	"image"
	"testing"

	"facescan/pipeline/decode/turbo"
)

// TestMemoryAnnounced holds what headers announce to what their decoders are known to take: the luma, and the
// bytes per pixel of the picture before it. TestPeak measures whether that is enough.
func TestMemoryAnnounced(t *testing.T) {
	const w, h = 2000, 1500
	const px = int64(w * h)
	m := photo(100, 80)
	resized := func(format string, at int, size ...byte) []byte {
		b := encode(t, format, m)
		copy(b[at:], size)
		return b
	}
	gif := resized(GIF, 6, w&255, w>>8, h&255, h>>8)
	frame := bytes.Index(gif, []byte{0x2c, 0, 0, 0, 0, 100, 0, 80, 0})
	half := bytes.Clone(gif) // a frame of half the height
	copy(gif[frame+5:], []byte{w & 255, w >> 8, h & 255, h >> 8})
	copy(half[frame+5:], []byte{w & 255, w >> 8, h / 2 & 255, h / 2 >> 8})
	bmp := func(bits int) []byte {
		return bmpFile(bmpInfo(40, w, h, bits, 0), greys(1<<min(bits, 8), 4),
			nil)
	}
	gray := tags{tagWidth: {w}, tagHeight: {h}, tagBits: {8}, tagCompression: {1}, tagPhotometric: {1},
		tagSamples: {1}, tagStripRows: {h}}
	tiff := func(strip int, with tags) []byte { return gray.write(make([]byte, strip), with) }
	rgb := tags{tagBits: {8, 8, 8}, tagPhotometric: {2}, tagSamples: {3}}
	jpeg := func(components int, o jpegOptions) []byte {
		planes := make([]*image.Gray, components)
		for i := range planes {
			planes[i] = grey(photo(16, 16))
		}
		b := writeJPEG(planes, 16, 16, o)
		at := max(bytes.Index(b, []byte{0xff, 0xc0}), bytes.Index(b, []byte{0xff, 0xc2}))
		copy(b[at+5:], []byte{h >> 8, h & 255, w >> 8, w & 255})
		return b
	}
	rows := int64(w) * 64 // bytes of 64 rows of samples, per component
	lossless := func(w, h, bytes int) []byte {
		return riff(chunk("VP8L", append(oneColour(w, h), make([]byte, bytes)...)))
	}
	lossy := lossyFrame(0)
	copy(lossy[6:], []byte{w & 255, w >> 8, h & 255, h >> 8})
	canvas := []byte{0x10, 0, 0, 0, (w - 1) & 255, (w - 1) >> 8, 0, (h - 1) & 255, (h - 1) >> 8, 0}
	for name, c := range map[string]struct {
		body []byte
		o    Options
		want int64
		room int64 // exactly, for tables and buffers
	}{
		"gif":               {gif, Options{}, 2 * px, 131072},
		"gif, half a frame": {half, Options{}, px + px/2, 131072},
		"bmp, 1 bit":        {bmp(1), Options{}, 2 * px, 73536},
		"bmp, 8 bits":       {bmp(8), Options{}, 2 * px, 73536},
		"bmp, 24 bits":      {bmp(24), Options{}, 5 * px, 73536},
		"bmp of a pixel":    {bmpFile(bmpInfo(40, 1, 1, 24, 0), nil, nil), Options{}, 1, 65544},
		"webp, one colour":  {lossless(w, h, 0), Options{}, 8 * px, 80336},
		"webp, many bytes":  {lossless(w, h, 1<<20), Options{}, 8*px + 2600*80_800, 65536},
		"webp, few bytes":   {lossless(w, h, 1000), Options{}, 8*px + 412*2800 + 400*1020, 38736},
		"webp, lossy":       {riff(chunk("VP8 ", lossy)), Options{}, px + 3*px/2, 1376634},
		"webp, lossy, opacity": {riff(chunk("VP8X", canvas), chunk("ALPH", []byte{0}), chunk("VP8 ", lossy)),
			Options{}, px + 3*px/2 + px + 7*px, 1445370},
		"tiff":              {tiff(100, nil), Options{}, 2 * px, 198384},
		"tiff, many strips": {tiff(100, tags{tagStripRows: {10}}), Options{}, 2 * px * 5 / 2, 165838},
		"tiff, 16 bits":     {tiff(100, tags{tagBits: {16}}), Options{}, 3 * px, 198384},
		"tiff, colour":      {tiff(100, rgb), Options{}, 5 * px, 198480},
		"tiff, turned":      {tiff(100, tags{tagOrientation: {5}}), Options{}, 3 * px, 198480},
		"tiff, fax": {tiff(100, tags{tagBits: {1}, tagCompression: {4}, tagStripRows: {h}}),
			Options{}, 2*px + 3*px/8, 201108},
		"tiff, deflated strips": {tiff(1<<20, tags{tagCompression: {8}, tagStripRows: {100}}), Options{},
			2*px + 24*w*100 + 15*(128<<10), 65536},
		"tiff, deflated tiles": {tiff(1<<20, tags{tagCompression: {8}, tagStripRows: nil, tagTileWidth: {500},
			tagTileHeight: {300}}), Options{}, 2*px + 24*500*300 + 20*(128<<10), 65536},
		"tiff, one row of tiles": {tiff(1<<20, tags{tagCompression: {8}, tagTileWidth: {1000},
			tagTileHeight: {0}}),
			Options{}, 2*px + 24*1000 + (3*(2*px+24*1000+1<<20))/2, 164059},
		"tiff, a small file": {tiff(100, tags{tagCompression: {8}, tagStripRows: {h}}), Options{}, 2*px +
			3*3000*240, 34608},
		"tiff, runs": {tiff(1<<20, tags{tagCompression: {tiffPackBits}, tagStripRows: {h}}),
			Options{}, 2*px + 24*px + 3*(2*px+24*px+1<<20)/2, 164023},
		"tiff, plain, one strip": {tiff(1<<20, tags{tagStripRows: {h}}), Options{}, 2*px + 3<<20 + 5<<20,
			197584},
		"jpeg":                  {jpeg(3, jpegOptions{}), Options{}, max(px+3*rows, 4*px), 24000},
		"jpeg, grey":            {jpeg(1, jpegOptions{}), Options{}, max(px+rows, 2*px), 8000},
		"jpeg, grey, a quarter": {jpeg(1, jpegOptions{}), Options{MinFace: 80}, 2 * px, 8000},
		"jpeg, progressive":     {jpeg(1, jpegOptions{progressive: true}), Options{}, 3*px + rows, 278144},
		"jpeg, inks":            {jpeg(4, jpegOptions{}), Options{}, 5*px + 4*rows, 262144},
		"jpeg, on its side": {oriented(t, JPEG, jpeg(1, jpegOptions{}), 5), Options{}, max(2*px+rows,
			3*px), 8000},
		"jpeg, half the colours": {jpeg(3, jpegOptions{sampling: [][2]int{{2, 2}, {1, 1}, {1, 1}}}),
			Options{},
			max(px+2*rows, px+3*px/2), 12000},
	} {
		f, err := Probe(c.body, c.o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		// Without libjpeg-turbo a JPEG takes more.
		if over := f.Memory - c.want; over < 0 || over != c.room && (f.Format != JPEG || turbo.Available) {
			t.Errorf("%s: %d bytes are announced, %d more than %d, want %d more", name, f.Memory, over, c.want,
				c.room)
		}
	}
}

// TestTrim: the buffers of a large image do not outlive it, those of usual ones do.
func TestTrim(t *testing.T) {
	d := New(Options{})
	defer d.Close()
	d.pixels, d.rotated = make([]byte, maxScratch), make([]byte, maxScratch)
	if d.Trim(); d.pixels == nil || d.rotated == nil {
		t.Error("usual buffers are not kept")
	}
	d.pixels = make([]byte, maxScratch+1)
	if d.Trim(); d.pixels != nil || d.rotated == nil {
		t.Error("a large buffer is kept, or another is not")
	}
	d.rotated = make([]byte, maxScratch+1)
	if d.Trim(); d.rotated != nil {
		t.Error("a large buffer of a turned image is kept")
	}
}
