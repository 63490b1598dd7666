package detect_test

import (
	"fmt"
	"image"
	_ "image/jpeg"
	"math"
	"reflect"
	"strings"
	"testing"

	"facescan/detect"
	"facescan/detect/detecttest"
	"facescan/detect/detecttest/sample"
	"facescan/detect/pigo"
	"facescan/detect/yunet"
)

// newOracle opens the detector whose engine is pigo itself.
func newOracle(p detect.Params) (detect.Detector, error) {
	e, err := pigo.NewOracle(pigo.Facefinder)
	if err != nil {
		return nil, err
	}
	return detect.NewWith(p, e)
}

func TestOracle(t *testing.T) {
	detecttest.Run(t, detect.Pigo, newOracle, []*image.Gray{sample.Photo(t, 120)}) // it takes its time
}

func TestPigo(t *testing.T) {
	detecttest.Run(t, detect.Pigo, detect.New, []*image.Gray{sample.Photo(t, 320)})
}

func TestYunet(t *testing.T) {
	detecttest.Run(t, detect.Yunet, detect.New, []*image.Gray{sample.Photo(t, 320)})
}

// Both engines find the same faces, with all kinds of parameters.
func TestPigoEqualsOracle(t *testing.T) {
	luma := sample.Photo(t, 200)
	batch := []detect.Image{{Luma: luma, Scale: 1}, {Luma: luma, Scale: 2},
		{Luma: sample.Tilted(luma, 20), Scale: 1}, {Luma: sample.Tilted(luma, 32), Scale: 1}}
	for _, change := range []func(p *detect.Params){
		func(*detect.Params) {},
		func(p *detect.Params) { p.MinScore = 0 },
		func(p *detect.Params) { p.Angles, p.MinFace = []float64{22.5, -45}, 30 },
	} {
		p := detect.Defaults(detect.Pigo)
		change(&p)
		var answers [2][]detect.Answer
		for i, open := range []func(detect.Params) (detect.Detector, error){detect.New, newOracle} {
			d, err := open(p)
			must(t, err)
			defer d.Close()
			if answers[i], err = d.Detect(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
		}
		if !reflect.DeepEqual(answers[0], answers[1]) {
			t.Errorf("%v: ours %+v, pigo's %+v", p, answers[0], answers[1])
		}
	}
}

func TestAnglesFindTiltedFaces(t *testing.T) {
	upright := sample.Photo(t, 240)
	for _, c := range []struct {
		angle float64
		found bool
	}{{0, false}, {45, true}, {-45, false}} {
		p := detect.Defaults(detect.Pigo)
		p.Angles = []float64{c.angle}
		d, err := detect.New(p)
		must(t, err)
		defer d.Close()
		answers, err := d.Detect(t.Context(), []detect.Image{{Luma: sample.Tilted(upright, 45), Scale: 1}})
		must(t, err)
		if got := len(answers[0].Faces) > 0; got != c.found {
			t.Errorf("--angles %v on a photo tilted by 45 degrees: %+v", c.angle, answers[0].Faces)
		}
	}
}

func BenchmarkDetect(b *testing.B) {
	luma := sample.Photo(b, 387) // as many pixels as 500x375
	for _, c := range []struct {
		name   string
		open   func(detect.Params) (detect.Detector, error)
		change func(p *detect.Params)
	}{
		{"oracle", newOracle, func(*detect.Params) {}},
		{"pigo", detect.New, func(*detect.Params) {}},
		{"pigo from 40", detect.New, func(p *detect.Params) { p.MinFace = 40 }},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := detect.Defaults(detect.Pigo)
			c.change(&p)
			d, err := c.open(p)
			must(b, err)
			defer d.Close()
			for b.Loop() {
				if _, err := d.Detect(b.Context(), []detect.Image{{Luma: luma, Scale: 1}}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/image")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func TestValidate(t *testing.T) {
	if err := detect.Defaults(detect.Pigo).Validate(); err != nil {
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
		p := detect.Defaults(detect.Pigo)
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
		{detect.Face{X: 5, Y: 5, Height: 9}, 1, box{5, 5, 1, 9}, true},
		{detect.Face{X: -1e308, Y: 5, Width: 1.1e308, Height: 9}, 8, box{}, false},
	} {
		x, y, w, h, ok := detect.Place(c.face, c.scale, 100, 100)
		if ok != c.ok || ok && (box{x, y, w, h}) != c.want {
			t.Errorf("%+v by %v: got %v %v, want %v %v", c.face, c.scale, box{x, y, w, h}, ok, c.want, c.ok)
		}
	}
}

// Fingerprints of the cascade are those of earlier releases, since jobs in progress hold them.
func TestFingerprint(t *testing.T) {
	for _, c := range []struct {
		change func(p *detect.Params)
		want   string
	}{
		{func(*detect.Params) {}, "facefinder-d8014993/1 min=20 shift=0.1 scale=1.1 iou=0.2 score=8"},
		{func(p *detect.Params) { p.MaxFace, p.MinScore, p.Angles = 90, 2.5, []float64{22.5, 22.5, -22.5} },
			"facefinder-d8014993/1 min=20 max=90 shift=0.1 scale=1.1 iou=0.2 score=2.5 angles=22.5,337.5"},
	} {
		p := detect.Defaults(detect.Pigo)
		c.change(&p)
		d, err := detect.New(p)
		must(t, err)
		defer d.Close()
		if got := d.Fingerprint(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	p := detect.Defaults(detect.Yunet)
	p.IoU = 0.4
	d, err := detect.New(p)
	must(t, err)
	defer d.Close()
	want := fmt.Sprintf("yunet-%.8s/%d min=20 iou=0.4 score=0.45", yunet.Sum(), yunet.Version)
	if got := d.Fingerprint(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
