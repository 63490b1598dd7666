package keep

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/gif"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"facescan/store"
)

// checkBare holds a JPEG to nothing but what its pixels need: one picture, no metadata, nothing behind it.
func checkBare(t *testing.T, name string, b []byte) {
	t.Helper()
	at := 2
	for at+4 <= len(b) && b[at+1] != 0xda {
		switch marker := b[at+1]; marker {
		case 0xe0, 0xdb, 0xc0, 0xc4: // JFIF, tables, the frame
			if marker == 0xe0 && (string(b[at+4:at+9]) != "JFIF\x00" || b[at+16] != 0 || b[at+17] != 0) {
				t.Errorf("%s: a JFIF segment with a thumbnail", name)
			}
		default:
			t.Errorf("%s: a segment %x", name, marker)
		}
		at += 2 + int(binary.BigEndian.Uint16(b[at+2:]))
	}
	if !bytes.HasPrefix(b, []byte{0xff, 0xd8}) || bytes.Count(b, []byte{0xff, 0xd8}) != 1 ||
		bytes.Index(b, []byte{0xff, 0xd9}) != len(b)-2 {
		t.Errorf("%s: not just one picture", name)
	}
}

// TestNoMetadata: pictures that are made of an image have neither the thumbnail in its EXIF data, nor its
// other metadata, nor what is behind it, nor the later frames of an animation. All of these can show the
// face.
func TestNoMetadata(t *testing.T) {
	face, err := os.ReadFile(filepath.Join("..", "..", "detect", "testdata", "faces.jpg"))
	ok(t, err)
	face = face[:30_000] // it is a thumbnail here
	segment := func(marker byte, content ...[]byte) []byte {
		b := slices.Concat(content...)
		return append([]byte{0xff, marker, byte((len(b) + 2) >> 8), byte(len(b) + 2)}, b...)
	}
	plain := drawn(t, "jpeg", 400, 300, twoFaces...)
	var exif []byte // the first directory, with a camera; the second, with the thumbnail
	exif = append(exif, "Exif\x00\x00MM\x00\x2a\x00\x00\x00\x08"...)
	exif = append(exif, 0, 0, 0, 0, 0, 14)
	exif = append(exif, 0, 2)
	for _, e := range [][3]uint32{{0x0201, 4, 44}, {0x0202, 4, uint32(len(face))}} {
		exif = binary.BigEndian.AppendUint16(exif, uint16(e[0]))
		exif = binary.BigEndian.AppendUint16(exif, uint16(e[1]))
		exif = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(exif, 1), e[2])
	}
	exif = append(exif, 0, 0, 0, 0)
	rich := slices.Concat(plain[:2], segment(0xe1, exif, face),
		segment(0xe1, []byte("http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta/>")),
		segment(0xe2, []byte("ICC_PROFILE\x00")),
		segment(0xed, []byte("Photoshop 3.0\x00")), segment(0xfe, []byte("a comment")), plain[2:], face)

	frames := &gif.GIF{Delay: []int{5, 5}}
	for _, c := range []color.Color{color.RGBA{200, 50, 50, 255}, color.RGBA{50, 200, 50, 255}} {
		m := image.NewPaletted(image.Rect(0, 0, 400, 300), color.Palette{c, color.Black})
		frames.Image = append(frames.Image, m)
	}
	var animation bytes.Buffer
	ok(t, gif.EncodeAll(&animation, frames))

	for name, c := range map[string]struct {
		body   []byte
		format string
	}{"JPEG": {rich, "jpeg"}, "GIF": {animation.Bytes(), "gif"}, "PNG": {drawn(t, "png", 400, 300), "png"}} {
		dir, job := t.TempDir(), newJob(t)
		o := inForm(job, filepath.Join(dir, "kept"), Form{Size: 100, Quality: 90})
		o.Crops, o.Blurred = filepath.Join(dir, "crops"), filepath.Join(dir, "blurred")
		o.Thumbnails, o.BlurFaces, o.BlurMargin = 2, true, DefaultBlurMargin
		k := start(t, o)
		k.keep(t, processed(c.body, c.format, []store.Face{{X: 40, Y: 30, Width: 40, Height: 40}}, 1))
		ok(t, k.Close())
		checkBare(t, name+" kept", []byte(members(t, o.Bodies)["000/000001.jpg"]))
		checkBare(t, name+" crop", files(t, o.Crops)["000/000001-1.jpg"])
		blurred := files(t, o.Blurred)["000/000001.jpg"]
		checkBare(t, name+" blurred", blurred)
		samples, err := job.Samples(t.Context())
		ok(t, err)
		checkBare(t, name+" thumbnail", samples[0].JPEG)
		if m := picture(t, blurred); name == "GIF" && !near(m, 200, 150, color.RGBA{200, 50, 50, 255}) {
			t.Errorf("another frame than the first: %v", m.At(200, 150))
		}
	}
}

// TestBlurMargin blurs as far around a face as the option says, and no further.
func TestBlurMargin(t *testing.T) {
	for _, margin := range []float64{0, 0.2, 0.5, 1} {
		m := image.NewRGBA(image.Rect(0, 0, 300, 300))
		for i := range m.Pix {
			m.Pix[i] = uint8(i / 4 % 2 * 255) // stripes
		}
		want := bytes.Clone(m.Pix)
		blur(m, []store.Face{{X: 120, Y: 110, Width: 40, Height: 60}}, margin)
		dx, dy := int(40*margin+0.5), int(60*margin+0.5)
		in := image.Rect(120-dx, 110-dy, 160+dx, 170+dy)
		for y := range 300 {
			for x := range 300 {
				same := m.RGBAAt(x, y).R == want[m.PixOffset(x, y)]
				if same == (image.Pt(x, y).In(in)) {
					t.Fatalf("margin %v: at %d,%d unchanged %v", margin, x, y, same)
				}
			}
		}
	}
}
