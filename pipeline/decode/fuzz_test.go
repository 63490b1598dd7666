package decode

import (
	"encoding/binary"
	"image"
	"math"
	"runtime"
	"testing"
)

// overhead is what decoding may allocate beyond Header.Memory: readers' buffers, tables, errors.
const overhead = 1 << 20

// allocated is how many bytes f allocates, those that are garbage at once included.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// check decodes anything and holds the result to what the package promises.
func check(t testing.TB, d *Decoder, body []byte, o Options) {
	t.Helper()
	h, err := Probe(body, o)
	var img Image
	var decodeErr error
	n := allocated(func() { img, decodeErr = d.Decode(body) })
	for _, e := range []error{err, decodeErr} {
		if e != nil && !IsRefusal(e) {
			t.Fatalf("an error of no kind: %v", e)
		}
	}
	if err != nil {
		if decodeErr == nil || decodeErr.Error() != err.Error() {
			t.Fatalf("Probe says %v, Decode says %v", err, decodeErr)
		}
		if n > overhead {
			t.Fatalf("%d bytes were taken for %v", n, err)
		}
		return
	}
	if h.Format == TIFF {
		// a strip has an inflater of its own, which is garbage at once
		n -= int64(max(h.Width, h.Height)) << 17
	}
	if n > h.Memory+overhead {
		t.Fatalf("%+v: %d bytes were taken", h.Header, n)
	}
	if int64(h.Width)*int64(h.Height) > o.maxPixels() || h.Orientation < 1 || h.Orientation > 8 {
		t.Fatalf("header %+v", h.Header)
	}
	var m *image.RGBA
	n = allocated(func() { m, err = h.Color() })
	// what a cut picture is worth may depend on the scale
	if (err == nil) != (decodeErr == nil) && o.scale() == full {
		t.Fatalf("%s: %v, in colour %v", h.Format, decodeErr, err)
	}
	if h.Format != TIFF && n > h.ColorMemory()+overhead {
		t.Fatalf("%+v: %d bytes were taken in colour", h.Header, n)
	}
	if decodeErr != nil {
		return
	}
	if err == nil && m.Rect != image.Rect(0, 0, h.Width, h.Height) {
		t.Fatalf("%+v: a picture of %v", h.Header, m.Rect)
	}
	size := img.Luma.Rect.Size()
	eighths := int(math.Round(8 / img.Scale))
	if img.Width != h.Width || img.Height != h.Height || img.Format != h.Format ||
		img.Orientation != h.Orientation ||
		size.X != (h.Width*eighths+7)/8 || size.Y != (h.Height*eighths+7)/8 ||
		len(img.Luma.Pix) != size.X*size.Y || img.Luma.Stride != size.X {
		t.Fatalf("header %+v, image %+v of %v", h.Header, img, size)
	}
}

// exifSize is a TIFF directory with a size and nothing else.
func exifSize(w, h uint32) []byte {
	b := []byte("II*\x00\x08\x00\x00\x00\x02\x00")
	for i, v := range []uint32{w, h} {
		b = binary.LittleEndian.AppendUint16(b, uint16(tagWidth+i))
		b = append(b, typeLong, 0, 1, 0, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return append(b, 0, 0, 0, 0)
}

// FuzzDecode feeds the front door, Probe, Decode and Color, with anything: no panic, no error of an unknown
// kind, no more memory than the header announced.
func FuzzDecode(f *testing.F) {
	m := photo(24, 18)
	for _, format := range drawn {
		f.Add(oriented48(f, format, m), uint16(0))
		f.Add(encode(f, format, m), uint16(40))
	}
	y := grey(m)
	f.Add(writeJPEG([]*image.Gray{y, y, y, y}, 24, 18, jpegOptions{progressive: true, adobe: true}),
		uint16(80))
	f.Add(exifSize(60000, 60000), uint16(0))
	f.Add([]byte("RIFF\x14\x00\x00\x00WEBPVP8 \xff\xff\xff\x7f\x10\x02\x00\x9d\x01\x2a\x10\x00"), uint16(0))
	f.Fuzz(func(t *testing.T, body []byte, minFace uint16) {
		o := Options{MaxPixels: 1 << 20, MinFace: int(minFace)}
		d := New(o)
		defer d.Close()
		check(t, d, body, o)
		check(t, d, body, o) // the second time with buffers that are there
	})
}
