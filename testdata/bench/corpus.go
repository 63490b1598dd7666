package main

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/image/draw"
)

// sampleFace is the face of the sample photo, as one would draw it.
var sampleFace = image.Rect(58, 80, 254, 345)

// corpus makes photos of w x h pixels in dir/images: a scene of soft shapes, texture and noise, and in most
// of them the sample photo, cut, scaled and mirrored, so that a cascade has as much to look at as in a real
// one. Where the faces are is in dir/annotations.csv, or, of those that were cut by more than a fifth, in
// dir/ignore.csv.
func corpus(dir string, w, h int) (images [][]byte) {
	check(os.MkdirAll(filepath.Join(dir, "images"), 0o755))
	boxes := map[string]string{"annotations.csv": "file,x,y,w,h\n", "ignore.csv": "file,x,y,w,h\n"}
	photo := samplePhoto()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 12 {
		name := fmt.Sprintf("photo-%02d.jpg", i)
		m := scene(w, h, rng)
		if i%4 != 3 {
			p := photo.Bounds()
			size := h * (6 + rng.IntN(10)) / 10
			at := image.Pt(rng.IntN(w-h/2)-h/8, rng.IntN(h/4)-h/8)
			dst := image.Rect(at.X, at.Y, at.X+size*p.Dx()/p.Dy(), at.Y+size)
			draw.BiLinear.Scale(m, dst, photo, p, draw.Src, nil)
			whole := image.Rect(at.X+sampleFace.Min.X*size/p.Dy(), at.Y+sampleFace.Min.Y*size/p.Dy(),
				at.X+sampleFace.Max.X*size/p.Dy(), at.Y+sampleFace.Max.Y*size/p.Dy())
			face, list := whole.Intersect(m.Rect), "annotations.csv"
			if 5*face.Dx()*face.Dy() < 4*whole.Dx()*whole.Dy() {
				list = "ignore.csv"
			}
			if i%2 == 1 {
				face.Min.X, face.Max.X = w-face.Max.X, w-face.Min.X
			}
			boxes[list] += fmt.Sprintf("%s,%d,%d,%d,%d\n", name, face.Min.X, face.Min.Y, face.Dx(), face.Dy())
		}
		if i%2 == 1 {
			mirror(m)
		}
		var b bytes.Buffer
		check(jpeg.Encode(&b, m, &jpeg.Options{Quality: 88}))
		check(os.WriteFile(filepath.Join(dir, "images", name), b.Bytes(), 0o644))
		images = append(images, b.Bytes())
	}
	for list, text := range boxes {
		check(os.WriteFile(filepath.Join(dir, list), []byte(text), 0o644))
	}
	return images
}

func samplePhoto() image.Image {
	f, err := os.Open(filepath.Join("detect", "testdata", "faces.jpg"))
	check(err)
	defer f.Close()
	photo, err := jpeg.Decode(f)
	check(err)
	return photo
}

func scene(w, h int, rng *rand.Rand) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	type blob struct{ x, y, r, v float64 }
	blobs := make([]blob, 60)
	for i := range blobs {
		blobs[i] = blob{rng.Float64() * float64(w), rng.Float64() * float64(h), 8 + rng.ExpFloat64()*40,
			rng.NormFloat64() * 50}
	}
	fx, fy := 0.02+rng.Float64()*0.4, 0.02+rng.Float64()*0.4
	for y := range h {
		for x := range w {
			v := 120 + 40*math.Sin(float64(x)*0.01+float64(y)*0.013) +
				12*math.Sin(float64(x)*fx)*math.Cos(float64(y)*fy)
			for _, b := range blobs {
				dx, dy := float64(x)-b.x, float64(y)-b.y
				if d := (dx*dx + dy*dy) / (b.r * b.r); d < 1 {
					v += b.v * (1 - d)
				}
			}
			v += rng.NormFloat64() * 5
			c := func(k float64) uint8 { return uint8(min(max(v*k, 0), 255)) }
			m.SetRGBA(x, y, color.RGBA{c(1.05), c(1), c(0.9), 255})
		}
	}
	return m
}

func mirror(m *image.RGBA) {
	b := m.Bounds()
	for y := range b.Dy() {
		for x := range b.Dx() / 2 {
			l, r := m.RGBAAt(x, y), m.RGBAAt(b.Dx()-1-x, y)
			m.SetRGBA(x, y, r)
			m.SetRGBA(b.Dx()-1-x, y, l)
		}
	}
}
