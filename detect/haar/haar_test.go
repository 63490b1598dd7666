package haar

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"image"
	_ "image/jpeg"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// What OpenCV 4.6 finds in the sample photo, made small, with windows of 20 pixels at every other place.
func TestEqualsOpenCV(t *testing.T) {
	text, err := os.ReadFile("testdata/opencv.txt")
	if err != nil {
		t.Fatal(err)
	}
	frontal, profile := opinion()
	windows := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		var width, height int
		fmt.Sscan(f[1]+" "+f[2], &width, &height)
		pix, err := hex.DecodeString(f[3])
		if err != nil {
			t.Fatal(err)
		}
		var a Asker
		a.begin()
		a.integrate(&image.Gray{Pix: pix, Stride: width}, width, height)
		c := map[string]*Cascade{"frontalface_alt2": frontal, "profileface": profile}[f[0]]
		var got []string
		for x := 0; x <= width-side; x += 2 {
			for y := 0; y <= height-side; y += 2 {
				if c.passes(a.sums, a.squares, uint(y*stride+x)) {
					got = append(got, fmt.Sprintf("%d,%d", x, y))
				}
			}
		}
		if !slices.Equal(got, f[4:]) {
			t.Errorf("%s in %dx%d: %v, OpenCV finds %v", f[0], width, height, got, f[4:])
		}
		windows += len(got)
	}
	if windows < 4 {
		t.Errorf("only %d windows to compare", windows)
	}
}

func TestOpinion(t *testing.T) {
	photo := sample(t)
	var a Asker
	if front, _ := a.Opinion(photo, 156, 215, 250); front < 1.5 {
		t.Errorf("a face from the front is one by %v", front)
	}
	if front, profile := a.Opinion(photo, 60, 40, 60); front > 0.5 || profile > 0.5 {
		t.Errorf("an empty corner is a face by %v and %v", front, profile)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	noise := image.NewGray(image.Rect(0, 0, 200, 100))
	for i := range noise.Pix {
		noise.Pix[i] = uint8(rng.Uint32())
	}
	if front, profile := a.Opinion(noise, 100, 50, 60); front+profile > 0.5 {
		t.Errorf("noise is a face by %v and %v", front, profile)
	}
}

// Squares that reach beyond the image, or hardly into it, have an answer too, the same every time.
func TestAwkwardSquares(t *testing.T) {
	photo := sample(t)
	for _, size := range []image.Rectangle{photo.Rect, image.Rect(100, 150, 120, 170), image.Rect(5, 5, 6, 6), image.Rect(0, 0, 320, 1), image.Rect(7, 0, 9, 400)} {
		part := photo.SubImage(size).(*image.Gray)
		width, height := float64(size.Dx()), float64(size.Dy())
		for _, c := range [][3]float64{{0, 0, 20}, {width, height, 30}, {width / 2, height / 2, max(width, height)}, {-40, height + 40, 8}, {width / 3, 0, 9.7}} {
			var a, b Asker
			front, profile := a.Opinion(part, c[0], c[1], c[2])
			b.Opinion(photo, 156, 215, 250)
			again, likewise := b.Opinion(part, c[0], c[1], c[2])
			if front != again || profile != likewise || math.IsNaN(front+profile) || front < 0 || profile < 0 {
				t.Errorf("%v about %v: %v %v, then %v %v", c, size, front, profile, again, likewise)
			}
		}
	}
}

func TestAskingAllocatesNothing(t *testing.T) {
	photo := sample(t)
	var a Asker
	ask := func() { a.Opinion(photo, 156, 215, 250) }
	ask()
	if n := testing.AllocsPerRun(5, ask); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParseRefuses(t *testing.T) {
	z, err := gzip.NewReader(bytes.NewReader(frontalface))
	if err != nil {
		t.Fatal(err)
	}
	good, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := Parse(bytes.NewReader(good)); err != nil || len(c.stages) != 20 {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{"</opencv_storage>", ""},
		{"HAAR", "LBP"},
		{"<width>20", "<width>24"},
		{"2 7 16 4 -1.", "2 7 16 24 -1."},
		{"2 7 16 4 -1.", "2 7 16 -1."},
		{"2 7 16 4 -1.", "2 7 16 4 -1.5"},
		{"0 1 0 4.3272329494357109e-03", "0 9 0 4.3272329494357109e-03"},
		{"0 1 0 4.3272329494357109e-03", "-7 1 0 4.3272329494357109e-03"},
		{"0 1 0 4.3272329494357109e-03", "0 1 99999 4.3272329494357109e-03"},
		{"0 1 0 4.3272329494357109e-03", "0 1 0"},
		{"0 1 0 4.3272329494357109e-03", "0 1 0 NaN"},
		{"3.5069230198860168e-01", "three"},
	} {
		bad := strings.Replace(string(good), change[0], change[1], 1)
		if bad == string(good) {
			t.Errorf("%q is not there", change[0])
		}
		if _, err := Parse(strings.NewReader(bad)); err == nil {
			t.Errorf("%q instead of %q is accepted", change[1], change[0])
		}
	}
}

func FuzzOpinion(f *testing.F) {
	f.Add([]byte("0123456789"), uint16(40), uint16(30), 20.0, 15.0, 22.0)
	f.Add([]byte{0, 255}, uint16(1), uint16(300), -5.0, 310.0, 99.0)
	f.Fuzz(func(t *testing.T, pixels []byte, width, height uint16, x, y, size float64) {
		if len(pixels) == 0 || width == 0 || height == 0 || width > 500 || height > 500 || !(math.Abs(x)+math.Abs(y) < 5000) || !(size >= 5 && size < 2000) {
			return
		}
		img := image.NewGray(image.Rect(0, 0, int(width), int(height)))
		for i := range img.Pix {
			img.Pix[i] = pixels[i*i%len(pixels)]
		}
		new(Asker).Opinion(img, x, y, size)
	})
}

func BenchmarkOpinion(b *testing.B) {
	photo := sample(b)
	var a Asker
	b.ReportAllocs()
	for b.Loop() {
		a.Opinion(photo, 156, 215, 250)
	}
}

func sample(t testing.TB) *image.Gray {
	f, err := os.Open("../testdata/faces.jpg")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	out := image.NewGray(img.Bounds())
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			out.Set(x, y, img.At(x, y))
		}
	}
	return out
}
