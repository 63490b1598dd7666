// Package sample has what the tests of every detector use: the photo with faces, and a count of allocations.
// It imports none of the detectors, so that the tests inside their packages can use it.
package sample

import (
	"bytes"
	"image"
	"image/jpeg"
	"math"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/image/draw"
)

// JPEG is the photo's file, detect/testdata/faces.jpg, looked for from the test's folder upwards.
func JPEG(t testing.TB) []byte {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		file, err := os.ReadFile(filepath.Join(dir, "detect", "testdata", "faces.jpg"))
		if err == nil {
			return file
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("detect/testdata/faces.jpg is not above the test's folder")
		}
		dir = filepath.Dir(dir)
	}
}

// Picture is the photo, decoded.
func Picture(t testing.TB) image.Image {
	t.Helper()
	img, err := jpeg.Decode(bytes.NewReader(JPEG(t)))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// Photo is the photo's luma, scaled to a width.
func Photo(t testing.TB, width int) *image.Gray {
	t.Helper()
	img := Picture(t)
	size := img.Bounds().Size()
	out := image.NewGray(image.Rect(0, 0, width, width*size.Y/size.X))
	draw.BiLinear.Scale(out, out.Bounds(), img, img.Bounds(), draw.Src, nil)
	return out
}

// Tilted is an image turned about its centre, by degrees that --angles finds its faces with. Beyond its edges
// it is black.
func Tilted(img *image.Gray, degrees float64) *image.Gray {
	size := img.Bounds().Size()
	out := image.NewGray(img.Bounds())
	sin, cos := math.Sincos(degrees * math.Pi / 180)
	for i := range out.Pix {
		x, y := float64(i%out.Stride-size.X/2), float64(i/out.Stride-size.Y/2)
		out.Pix[i] = img.GrayAt(size.X/2+int(math.Round(cos*x-sin*y)),
			size.Y/2+int(math.Round(sin*x+cos*y))).Y
	}
	return out
}
