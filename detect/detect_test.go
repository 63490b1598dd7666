package detect_test

import (
	"image"
	_ "image/jpeg"
	"math"
	"os"
	"strings"
	"testing"

	"facescan/detect"
	"facescan/detect/detecttest"

	"golang.org/x/image/draw"
)

// photo is the sample photo, scaled to a width.
func photo(t testing.TB, width int) *image.Gray {
	t.Helper()
	f, err := os.Open("testdata/faces.jpg")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	size := img.Bounds().Size()
	out := image.NewGray(image.Rect(0, 0, width, width*size.Y/size.X))
	draw.BiLinear.Scale(out, out.Bounds(), img, img.Bounds(), draw.Src, nil)
	return out
}

func TestPigo(t *testing.T) {
	detecttest.Run(t, detect.NewPigo, []*image.Gray{photo(t, 320)})
}

func TestNew(t *testing.T) {
	detecttest.Run(t, detect.New, []*image.Gray{photo(t, 320)})
}

func TestValidate(t *testing.T) {
	if err := detect.DefaultParams().Validate(); err != nil {
		t.Error("the defaults:", err)
	}
	for _, c := range []struct {
		flag   string
		change func(p *detect.Params)
	}{
		{"--min-face 3", func(p *detect.Params) { p.MinFace = 3 }},
		{"--max-face 19", func(p *detect.Params) { p.MaxFace = 19 }},
		{"--max-face -1", func(p *detect.Params) { p.MaxFace = -1 }},
		{"--shift 0", func(p *detect.Params) { p.Shift = 0 }},
		{"--shift NaN", func(p *detect.Params) { p.Shift = math.NaN() }},
		{"--scale 1", func(p *detect.Params) { p.Scale = 1 }},
		{"--scale +Inf", func(p *detect.Params) { p.Scale = math.Inf(1) }},
		{"--iou 1.1", func(p *detect.Params) { p.IoU = 1.1 }},
		{"--min-score -3", func(p *detect.Params) { p.MinScore = -3 }},
		{"--min-score NaN", func(p *detect.Params) { p.MinScore = math.NaN() }},
		{"--angles 400", func(p *detect.Params) { p.Angles = []float64{10, 400} }},
	} {
		p := detect.DefaultParams()
		c.change(&p)
		if err := p.Validate(); err == nil || !strings.HasPrefix(err.Error(), c.flag+": ") {
			t.Errorf("%s: got %v", c.flag, err)
		}
		if _, err := detect.New(p); err == nil {
			t.Errorf("%s makes a detector", c.flag)
		}
	}
}

func TestPlace(t *testing.T) {
	type box [4]int
	for _, c := range []struct {
		face  detect.Face
		scale float64
		want  box
		ok    bool
	}{
		{detect.Face{X: 10, Y: 20, Width: 30, Height: 40}, 1, box{10, 20, 30, 40}, true},
		{detect.Face{X: 10.5, Y: 20.49, Width: 30, Height: 40}, 1, box{11, 20, 30, 40}, true},
		{detect.Face{X: 10, Y: 20, Width: 12.25, Height: 10}, 2, box{20, 40, 25, 20}, true},
		{detect.Face{X: -5, Y: 80, Width: 20, Height: 40}, 1, box{0, 80, 15, 20}, true},
		{detect.Face{X: 5.1, Y: 5.1, Width: 0.2, Height: 0.2}, 1, box{5, 5, 1, 1}, true},
		{detect.Face{X: 99.8, Y: 99.8, Width: 9, Height: 9}, 1, box{99, 99, 1, 1}, true},
		{detect.Face{X: -9, Y: 5, Width: 9, Height: 9}, 1, box{}, false},
		{detect.Face{X: 5, Y: 100, Width: 9, Height: 9}, 1, box{}, false},
		{detect.Face{X: math.NaN(), Y: 5, Width: 9, Height: 9}, 1, box{}, false},
		{detect.Face{X: 5, Y: 5, Width: math.Inf(1), Height: 9}, 1, box{}, false},
		{detect.Face{X: 5, Y: 5, Width: -1, Height: 9}, 1, box{}, false},
	} {
		x, y, w, h, ok := detect.Place(c.face, c.scale, 100, 100)
		if ok != c.ok || ok && (box{x, y, w, h}) != c.want {
			t.Errorf("%+v by %v: got %v %v, want %v %v", c.face, c.scale, box{x, y, w, h}, ok, c.want, c.ok)
		}
	}
}

func TestFingerprint(t *testing.T) {
	d, err := detect.NewPigo(detect.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got := d.Fingerprint(); !strings.HasPrefix(got, "facefinder-d8014993/") || len(got) > 100 {
		t.Errorf("fingerprint %q", got)
	}
	if sum := detect.FacefinderSum(); len(sum) != 64 || !strings.HasPrefix(sum, "d8014993") {
		t.Errorf("checksum %q", sum)
	}
}
