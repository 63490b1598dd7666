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
	if a := k.Answer(found, large, 20.5); len(a.Faces) != 1 || len(a.Candidates) != 8 ||
		a.Candidates[0].Score != 20 {
		t.Errorf("one above the threshold: %d faces, candidates %+v", len(a.Faces), a.Candidates)
	}
}

// TestAnswerAtEdges: a face is rounded to the grid and cut to the image;
// one that lies outside is dropped.
func TestAnswerAtEdges(t *testing.T) {
	const step = 1.0 / 256
	for _, c := range []struct {
		in, want Face // want has no width where nothing is left
	}{
		{Face{X: 1 + step/2, Y: 2 + 0.49*step, Width: 3 - step/2, Height: 4 - 0.51*step},
			Face{X: 1 + step, Y: 2, Width: 3, Height: 4 - step}},
		{Face{X: -5, Y: -6, Width: 15, Height: 7}, Face{Width: 10, Height: 1}},
		{Face{X: 95, Y: 45, Width: 15, Height: 17}, Face{X: 95, Y: 45, Width: 5, Height: 5}},
		{Face{X: 99.5, Y: 49.5, Width: 1, Height: 1}, Face{X: 99.5, Y: 49.5, Width: 0.5, Height: 0.5}},
		{Face{X: 100, Y: 5, Width: 10, Height: 10}, Face{}},
		{Face{X: 5, Y: 50, Width: 10, Height: 10}, Face{}},
		{Face{X: -10, Y: 5, Width: 10, Height: 10}, Face{}},
		{Face{X: 5, Y: -10, Width: 10, Height: 10}, Face{}},
		{Face{X: 5, Y: 5, Height: 10}, Face{}},
		{Face{X: math.NaN(), Y: 5, Width: 10, Height: 10}, Face{}},
	} {
		got := Kind{}.Answer([]Face{c.in}, image.Pt(100, 50), 0)
		if len(got.Candidates) > 0 || c.want.Width == 0 && len(got.Faces) > 0 || c.want.Width > 0 &&
			!slices.Equal(got.Faces, []Face{c.want}) {
			t.Errorf("%+v: %+v, want %+v", c.in, got, c.want)
		}
	}
	l := Landmarks{{1 + 0.5/64, 2 + 0.49/64}}
	f := Kind{}.Answer([]Face{{Width: 9, Height: 9, HasLandmarks: true, Landmarks: l}}, large, 0).Faces[0]
	if want := (Landmarks{{1 + 1.0/64, 2}}); f.Landmarks != want {
		t.Errorf("landmarks %v, want %v", f.Landmarks, want)
	}
}

func TestMirrored(t *testing.T) {
	l := Landmarks{{1, 0}, {2, 0}, {3, 0}, {4, 0}, {5, 0}}
	if got, want := l.Mirrored(), (Landmarks{{2, 0}, {1, 0}, {3, 0}, {5, 0}, {4, 0}}); got != want {
		t.Errorf("%v, want %v", got, want)
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
	for _, c := range []struct {
		kind        Kind
		score, want float64
	}{{k, 10, 0.751949}, {k, 2.5, 0.248051}, {y, 0.5, 0.736842}, {y, 0.75, 0.952895}, {y, 0.2, 0.187595},
		{y, 1, 1}} {
		if got := c.kind.Confidence(c.score); math.Abs(got-c.want) > 1e-6 {
			t.Errorf("%s: a score of %v has the confidence %.6f, want %v", c.kind.Name, c.score, got, c.want)
		}
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
	if y := kindNamed(t, Yunet); y.Printed(0.12345001) != 0.1235 || y.Printed(0.12344) != 0.1234 ||
		!y.Landmarks || y.MaxScore != 1 || kindNamed(t, Pigo).Landmarks {
		t.Errorf("four decimals: %v, %v; %+v", y.Printed(0.12345001), y.Printed(0.12344), y)
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
