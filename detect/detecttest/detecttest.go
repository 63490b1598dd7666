// Package detecttest is the conformance suite of detectors.
//
// A detector passes if its answers depend on the image alone, not on the batch or on concurrent callers. Run
// it from a test of the package that implements the detector.
package detecttest

import (
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"facescan/detect"
)

// Run tests the detectors that open makes, of the named kind, with various parameters. The faces are photos
// with at least one face of 40 pixels or more.
func Run(t *testing.T, name string, open func(detect.Params) (detect.Detector, error), faces []*image.Gray) {
	kind, known := detect.KindNamed(name)
	if !known {
		t.Fatalf("%s is not a detector", name)
	}
	if len(faces) == 0 {
		t.Fatal("a suite about faces needs photos with faces")
	}
	detector := func(t *testing.T, p detect.Params) detect.Detector {
		d, err := open(p)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Error("close:", err)
			}
		})
		return d
	}
	photos := make([]detect.Image, len(faces))
	for i, f := range faces {
		photos[i] = detect.Image{Luma: f, Scale: 1}
	}
	awkward := Awkward()

	t.Run("Photos", func(t *testing.T) {
		for i, a := range ask(t, detector(t, detect.Defaults(name)), photos) {
			check(t, kind, a)
			if len(a.Faces) == 0 {
				t.Errorf("photo %d: no face", i)
			}
			size := faces[i].Bounds().Size()
			for _, f := range a.Faces {
				if _, _, _, _, ok := detect.Place(f, 1, size.X, size.Y); !ok {
					t.Errorf("photo %d: %+v lies outside", i, f)
				}
			}
		}
	})
	t.Run("Awkward", func(t *testing.T) {
		d := detector(t, detect.Defaults(name))
		for i, a := range ask(t, d, awkward) {
			check(t, kind, a)
			if size := awkward[i].Luma.Bounds().Size(); min(size.X, size.Y) < 20 && len(a.Faces) > 0 {
				t.Errorf("%v holds no window of 20 pixels, but a face: %+v", size, a.Faces)
			}
		}
	})
	t.Run("EmptyBatch", func(t *testing.T) {
		if got := ask(t, detector(t, detect.Defaults(name)), nil); len(got) != 0 {
			t.Errorf("%d answers for no image", len(got))
		}
	})
	t.Run("OneIsMany", func(t *testing.T) {
		for _, p := range different(name)[:4] {
			d := detector(t, p)
			batch := append(append([]detect.Image{}, photos...), awkward...)
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(batch),
				func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
			many := ask(t, d, batch)
			for i := range batch {
				if one := ask(t, d, batch[i:i+1]); !reflect.DeepEqual(one[0], many[i]) {
					t.Errorf("%v: alone %+v, in a batch %+v", p, one[0], many[i])
				}
			}
		}
	})
	t.Run("Concurrent", func(t *testing.T) {
		d := detector(t, detect.Defaults(name))
		want := ask(t, d, photos)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if got := ask(t, d, photos); !reflect.DeepEqual(got, want) {
					t.Errorf("beside others %+v, alone %+v", got, want)
				}
			})
		}
		wg.Wait()
	})
	t.Run("Stride", func(t *testing.T) {
		d := detector(t, detect.Defaults(name))
		want := ask(t, d, photos)
		for i := range photos {
			if got := ask(t, d, []detect.Image{{Luma: inside(faces[i]),
				Scale: 1}}); !reflect.DeepEqual(got[0], want[i]) {
				t.Errorf("as a part of a larger image %+v, by itself %+v", got[0], want[i])
			}
		}
	})
	t.Run("Threshold", func(t *testing.T) {
		p := detect.Defaults(name)
		p.MinScore = 0
		all := ask(t, detector(t, p), photos)
		for i, a := range all {
			if len(a.Candidates) != 0 {
				t.Errorf("photo %d: candidates below 0: %+v", i, a.Candidates)
			}
			all[i].Faces = slices.DeleteFunc(a.Faces,
				func(f detect.Face) bool { return f.Score < kind.Floor })
		}
		p.MinScore = all[0].Faces[0].Score
		a := ask(t, detector(t, p), photos[:1])[0]
		if len(a.Faces) != 1 || a.Faces[0] != all[0].Faces[0] {
			t.Errorf("at its score the best face does not stand alone: %+v", a.Faces)
		}
		if rest := all[0].Faces[1:]; !reflect.DeepEqual(a.Candidates,
			append([]detect.Face(nil), rest[:min(8, len(rest))]...)) {
			t.Errorf("candidates %+v of %+v", a.Candidates, rest)
		}
	})
	t.Run("Sizes", func(t *testing.T) {
		p := detect.Defaults(name)
		p.MinFace, p.MaxFace = 40, 80
		d := detector(t, p)
		for _, scale := range []float64{1, 2} {
			batch := append([]detect.Image(nil), photos...)
			for i := range batch {
				batch[i].Scale = scale
			}
			for i, a := range ask(t, d, batch) {
				for _, f := range a.Faces {
					if side := math.Sqrt(f.Width*f.Height) * scale; side < 40*0.8 || side > 80*1.2 {
						t.Errorf("photo %d, scale %v: a face of %v pixels between 40 and 80", i, scale, side)
					}
				}
			}
		}
	})
	t.Run("Cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if a, err := detector(t, detect.Defaults(name)).Detect(ctx, photos); !errors.Is(err,
			context.Canceled) || a != nil {
			t.Errorf("cancelled: %v, %v", a, err)
		}
	})
	t.Run("Fingerprint", func(t *testing.T) {
		seen := map[string]detect.Params{}
		for _, p := range different(name) {
			print := detector(t, p).Fingerprint()
			if q, twice := seen[print]; twice {
				t.Errorf("%+v and %+v are both %q", p, q, print)
			}
			seen[print] = p
			if again := detector(t, p).Fingerprint(); again != print {
				t.Errorf("%+v is %q, then %q", p, print, again)
			}
		}
	})
}

// Awkward are images without faces that are likely to cause errors.
func Awkward() []detect.Image {
	var batch []detect.Image
	add := func(width, height int, luma func(x, y int) uint8) {
		img := image.NewGray(image.Rect(0, 0, width, height))
		for i := range img.Pix {
			img.Pix[i] = luma(i%width, i/width)
		}
		batch = append(batch, detect.Image{Luma: img, Scale: 1})
	}
	rng := rand.New(rand.NewPCG(3, 4))
	flat := func(int, int) uint8 { return 128 }
	noise := func(int, int) uint8 { return uint8(rng.Uint32()) }
	checks := func(x, y int) uint8 { return uint8((x/3+y/3)%2) * 255 }
	for _, size := range [][2]int{{1, 1}, {1, 300}, {300, 1}, {2, 2}, {19, 19}, {20, 20}, {21, 22}, {22, 22},
		{23, 22}, {64, 63}, {127, 129}} {
		add(size[0], size[1], flat)
		add(size[0], size[1], noise)
	}
	add(333, 250, flat)
	add(333, 250, checks)
	add(251, 333, noise)
	add(1600, 24, noise)
	add(24, 1600, checks)
	return batch
}

func ask(t *testing.T, d detect.Detector, batch []detect.Image) []detect.Answer {
	t.Helper()
	answers, err := d.Detect(t.Context(), batch)
	if err != nil {
		t.Error(err)
		return make([]detect.Answer, len(batch))
	}
	if len(answers) != len(batch) {
		t.Errorf("%d answers for %d images", len(answers), len(batch))
		return make([]detect.Answer, len(batch))
	}
	return answers
}

// check fails unless an answer keeps the contract of the interface.
func check(t *testing.T, kind detect.Kind, a detect.Answer) {
	t.Helper()
	if a.Err != nil {
		t.Error("an image that can be processed was not:", a.Err)
	}
	if len(a.Candidates) > 8 {
		t.Errorf("%d candidates", len(a.Candidates))
	}
	ordered(t, kind, a.Faces)
	ordered(t, kind, a.Candidates)
	if len(a.Faces) > 0 && len(a.Candidates) > 0 && a.Candidates[0].Score >= a.Faces[len(a.Faces)-1].Score {
		t.Error("a candidate is as good as a face")
	}
	for _, f := range append(append([]detect.Face(nil), a.Faces...), a.Candidates...) {
		for _, v := range []float64{f.X, f.Y, f.Width, f.Height, f.Score} {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Errorf("%+v is not finite", f)
			}
		}
		if f.Width <= 0 || f.Height <= 0 || f.Confidence < 0 || f.Confidence > 1 {
			t.Errorf("%+v is not a face", f)
		}
		if f.HasLandmarks != kind.Landmarks {
			t.Errorf("%s: %+v has landmarks, or lacks them", kind.Name, f)
		}
	}
}

func ordered(t *testing.T, kind detect.Kind, faces []detect.Face) {
	t.Helper()
	for i := 1; i < len(faces); i++ {
		a, b := faces[i-1], faces[i]
		key := func(f detect.Face) string {
			return fmt.Sprintf("%020.6f %020.6f %020.6f %020.6f", 1e9-kind.Printed(f.Score), f.Y+1e6, f.X+1e6,
				f.Width)
		}
		if key(a) > key(b) {
			t.Errorf("%+v stands before %+v", a, b)
		}
	}
}

// inside returns the same pixels as a part of a larger noisy image, with another stride and origin.
func inside(img *image.Gray) *image.Gray {
	size := img.Bounds().Size()
	large := image.NewGray(image.Rect(0, 0, size.X+13, size.Y+9))
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range large.Pix {
		large.Pix[i] = uint8(rng.Uint32())
	}
	part := large.SubImage(image.Rect(5, 3, 5+size.X, 3+size.Y)).(*image.Gray)
	for y := range size.Y {
		copy(part.Pix[y*part.Stride:][:size.X], img.Pix[y*img.Stride:][:size.X])
	}
	return part
}

// different are parameters that all differ in effect.
func different(name string) []detect.Params {
	var ps []detect.Params
	change := func(f func(p *detect.Params)) {
		p := detect.Defaults(name)
		f(&p)
		ps = append(ps, p)
	}
	change(func(*detect.Params) {})
	change(func(p *detect.Params) { p.MinFace = 40 })
	if name == detect.Pigo {
		change(func(p *detect.Params) { p.Angles = []float64{22.5, -22.5} })
		change(func(p *detect.Params) { p.Angles = []float64{45} })
		change(func(p *detect.Params) { p.Angles = []float64{45, -45} })
		change(func(p *detect.Params) { p.Shift = 0.15 })
		change(func(p *detect.Params) { p.Scale = 1.2 })
	}
	change(func(p *detect.Params) { p.MaxFace = 40 })
	change(func(p *detect.Params) { p.IoU = 0.35 })
	change(func(p *detect.Params) { p.MinScore = 0.7 })
	return ps
}
