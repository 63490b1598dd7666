package detect

import (
	"image"
	"math"
	"slices"
	"testing"
)

// large is the size of an image that holds all boxes of these tests.
var large = image.Pt(1<<16, 1<<16)

func kindNamed(t *testing.T, name string) Kind {
	t.Helper()
	k, ok := KindNamed(name)
	if !ok {
		t.Fatalf("%s is not a detector", name)
	}
	return k
}

func TestAnswerSplitsAtTheThreshold(t *testing.T) {
	k := kindNamed(t, Pigo)
	var found []Face
	for i := range 12 {
		found = append(found, Face{X: 40, Y: float64(50 + i), Width: 20, Height: 20, Score: float64(10 + i)})
	}
	if a := k.Answer(found, large, 10); len(a.Faces) != 12 || len(a.Candidates) != 0 ||
		a.Faces[0].Score != 21 {
		t.Errorf("%d faces and %d candidates of 12 from 10 up", len(a.Faces), len(a.Candidates))
	}
	if a := k.Answer(found, large, 20.5); len(a.Faces) != 1 || len(a.Candidates) != KeepCandidates ||
		a.Candidates[0].Score != 20 {
		t.Errorf("one above the threshold: %d faces, candidates %+v", len(a.Faces), a.Candidates)
	}
}

// Faces are in the order of their printed scores; equal ones from top to bottom, from left to right.
func TestAnswerOrder(t *testing.T) {
	at := func(x, y, score float64) Face { return Face{X: x, Y: y, Width: 9, Height: 9, Score: score} }
	for _, c := range []struct {
		kind  string
		found []Face
		want  []float64 // their X
	}{
		{Pigo, []Face{at(40, 30, 30), at(30, 30, 30), at(90, 20, 30)}, []float64{90, 30, 40}},
		{Pigo, []Face{at(40, 30, 30.004), at(30, 30, 30.001), at(90, 20, 30.006)}, []float64{90, 30, 40}},
		{Yunet, []Face{at(1, 0, 0.90001), at(2, 0, 0.9), at(3, 0, 0.9001)}, []float64{3, 1, 2}},
	} {
		var got []float64
		for _, f := range kindNamed(t, c.kind).Answer(c.found, large, 0).Faces {
			got = append(got, f.X)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.kind, got, c.want)
		}
	}
}

// TestAnswerTravels: what went through float32 and pixels of another size comes out as it went in.
func TestAnswerTravels(t *testing.T) {
	for _, k := range Kinds() {
		for n := 1; n <= 8; n++ {
			scale := 8 / float64(n)
			travel := func(v float64) float64 { return float64(float32(v*scale)) / scale }
			for i := range 20_000 {
				v := float64(i) * 0.41
				f := Face{X: v, Y: 2 * v, Width: 20 + v/99, Height: 30 + v/77,
					Score: float64(float32(v / 8200)), HasLandmarks: true}
				for m := range f.Landmarks {
					f.Landmarks[m] = Point{v + 3.1*float64(m), 2*v + 1.7*float64(m)}
				}
				once := k.Answer([]Face{f}, large, 0).Faces[0]
				g := once
				g.X, g.Y, g.Width, g.Height = travel(g.X), travel(g.Y), travel(g.Width), travel(g.Height)
				g.Score, g.Confidence = float64(float32(g.Score)), 0
				for m, p := range g.Landmarks {
					g.Landmarks[m] = Point{travel(p.X), travel(p.Y)}
				}
				if twice := k.Answer([]Face{g}, large, 0).Faces[0]; twice != once {
					t.Fatalf("%s, scale %v: %+v became %+v", k.Name, scale, once, twice)
				}
			}
		}
	}
}

// A score that is printed as the threshold is a face.
func TestThresholdIsWhatIsPrinted(t *testing.T) {
	k := kindNamed(t, Yunet)
	for _, score := range []float64{0.55, 0.7, 0.1, 0.99996} {
		threshold := k.Printed(score)
		for _, s := range []float64{score, float64(float32(score)), score - 0.00004, score + 0.00004} {
			a := k.Answer([]Face{{Width: 9, Height: 9, Score: s}}, large, threshold)
			if face := k.Printed(s) >= threshold; (len(a.Faces) == 1) != face {
				t.Errorf("%v at a threshold of %v: %+v", s, threshold, a)
			}
		}
	}
}

func TestConfidence(t *testing.T) {
	k := kindNamed(t, Pigo)
	last := k.Confidence(0)
	if last != 0 {
		t.Errorf("a score of 0 is %v", last)
	}
	for score := 0.01; score < 1e4; score *= 1.5 {
		c := k.Confidence(score)
		if !(c > last && c <= 1) && last < 1 {
			t.Errorf("%v is %v, after %v", score, c, last)
		}
		last = c
	}
	if k.Confidence(5) != 0.5 {
		t.Errorf("a score of 5 is %v", k.Confidence(5))
	}
	y := kindNamed(t, Yunet)
	for i, last := 0, -1.0; i <= 1000; i++ {
		c := y.Confidence(float64(i) / 1000)
		if !(c >= last && c >= 0 && c <= 1) || math.IsNaN(c) {
			t.Errorf("yunet: %v is %v, after %v", float64(i)/1000, c, last)
		}
		last = c
	}
	if c := (Kind{}).Confidence(3); c != 0 {
		t.Errorf("a model of others has the confidence %v", c)
	}
}

func TestKinds(t *testing.T) {
	for _, c := range []struct{ fingerprint, want string }{
		{"facefinder-d8014993/1 min=20 shift=0.1 scale=1.1 iou=0.2 score=8", Pigo},
		{"facefinder-01234567/9 min=20 shift=0.1 scale=1.1 iou=0.2 score=8 verify=3", Pigo},
		{"sidecar:facefinder-d8014993/1 min=20", Pigo},
		{"sidecar-encoded:yunet-d8014993/1 min=20", Yunet},
		{"yunet-01234567/7", Yunet},
		{"yunet-2023mar/7", ""},
		{"yunet.onnx/01234567", ""},
		{"sidecar:face/1 min_score=3", ""},
		{"sidecar:sidecar:yunet-01234567/7", ""},
		{"", ""},
	} {
		if k := KindOf(c.fingerprint); k.Name != c.want || k.Known() != (c.want != "") {
			t.Errorf("%q is of %q, want %q", c.fingerprint, k.Name, c.want)
		}
	}
	for _, k := range Kinds() {
		if k.Name == "" || k.Print == "" || k.Model == "" || k.IoU == 0 || k.MinScore == 0 ||
			k.MaxScore == 0 || k.Decimals == 0 || k.confidence == nil || k.open == nil {
			t.Fatalf("the line of %q lacks something: %+v", k.Name, k)
		}
		none, usual, most := k.Confidence(0), k.Confidence(k.MinScore), k.Confidence(min(k.MaxScore, 1e3))
		if none != 0 || usual < 0.3 || most < 0.9 {
			t.Errorf("%s: confidences of %v, %v and %v", k.Name, none, usual, most)
		}
		p := Defaults(k.Name)
		if err := p.Validate(); err != nil {
			t.Errorf("the defaults of %s: %v", k.Name, err)
		}
		d, err := New(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := KindOf(d.Fingerprint()); got.Name != k.Name {
			t.Errorf("%s makes %q", k.Name, d.Fingerprint())
		}
		if !Same(d.Fingerprint(), "sidecar:"+d.Fingerprint()) || Same(d.Fingerprint(), d.Fingerprint()+"1") {
			t.Errorf("%q is not as good behind a sidecar, or equals another", d.Fingerprint())
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if Same("sidecar:face/1", "sidecar-encoded:face/1") || !Same("sidecar:face/1", "sidecar:face/1") {
		t.Error("a model of others may answer otherwise to files")
	}
	if _, err := New(Defaults(None)); err == nil {
		t.Error("none is a detector")
	}
}

// TestForeignScores are not rounded: nothing is known of their scale.
func TestForeignScores(t *testing.T) {
	if got := (Kind{}).Printed(0.123456789); got != 0.123456789 {
		t.Errorf("%v", got)
	}
	if got := kindNamed(t, Pigo).Printed(1.005001); got != 1.01 {
		t.Errorf("two decimals: %v", got)
	}
}

// TestTooManyPixels: an image that is too large for the cascade has an error, and the others have answers.
func TestTooManyPixels(t *testing.T) {
	d, err := New(Defaults(Pigo))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	small := image.NewGray(image.Rect(0, 0, 30, 30))
	vast := &image.Gray{Rect: image.Rect(0, 0, 1<<15, 1<<14+1)} // without pixels: they are not read
	a, err := d.Detect(t.Context(), []Image{{Luma: small, Scale: 1}, {Luma: vast, Scale: 1}})
	if err != nil || a[0].Err != nil || a[1].Err == nil || len(a[1].Faces) > 0 {
		t.Errorf("%+v, %v", a, err)
	}
}
