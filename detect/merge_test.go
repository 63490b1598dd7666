package detect

import (
	"math"
	"slices"
	"testing"

	"facescan/detect/cascade"
)

func search(turn float64, mirror bool, ws ...cascade.Window) *Search {
	return &Search{Params: cascade.Params{Turn: turn, Mirror: mirror}, Found: ws}
}

func TestCluster(t *testing.T) {
	var m merger
	m.add(search(0, false,
		cascade.Window{Row: 100, Col: 100, Size: 40, Score: 1},
		cascade.Window{Row: 100, Col: 104, Size: 40, Score: 3},
		cascade.Window{Row: 300, Col: 200, Size: 60, Score: 2},
		cascade.Window{Row: 302, Col: 200, Size: 16, Score: 0.5}, // a part of the one before
	), 1, 0, 0)
	m.cluster(0.2)
	want := []found{
		{x: 103, y: 102, side: 36, score: 4},
		{x: 200, y: 303, side: 54, score: 2},
	}
	if len(m.clusters) != len(want) {
		t.Fatalf("clusters %+v", m.clusters)
	}
	for i, c := range m.clusters {
		w := want[i]
		if math.Abs(c.x-w.x)+math.Abs(c.y-w.y)+math.Abs(c.side-w.side)+math.Abs(c.score-w.score) > 1e-9 {
			t.Errorf("cluster %d is %+v, want %+v", i, c, w)
		}
	}
	if best := m.members(nil, func(c found) bool { return c.score == 4 }); len(best) != 2 || best[0].score != 3 {
		t.Errorf("members of the best: %+v", best)
	}
	m.clear()
	if m.cluster(0.2); len(m.clusters) != 0 {
		t.Errorf("clusters of nothing: %+v", m.clusters)
	}
}

// What is below a face is below it as the face lies, and a part of the image lies in the image.
func TestDrawnBoxFollowsTheTilt(t *testing.T) {
	w := cascade.Window{Row: 50, Col: 60, Size: 100, Score: 1}
	for _, c := range []struct {
		turn   float64
		mirror bool
		x, y   float64
	}{{0, false, 60, 55}, {0.25, false, 65, 50}, {0.5, false, 60, 45}, {0.25, true, 55, 50}, {0.75, true, 65, 50}} {
		var m merger
		m.add(search(c.turn, c.mirror, w), 0.5, 7, 9)
		if got := m.windows[0]; math.Hypot(got.x-7-c.x, got.y-9-c.y) > 1e-9 || got.side != 90 || got.score != 0.5 {
			t.Errorf("turned by %v, mirrored %v: %+v, want (%v, %v)", c.turn, c.mirror, got, c.x, c.y)
		}
	}
}

func TestMirrorOfFindsTheSameTilt(t *testing.T) {
	for _, turn := range []float64{0, 1.0 / 32, 0.25, 31.0 / 32} {
		p := cascade.Params{Turn: turn}
		back := mirrorOf(mirrorOf(p))
		if m := mirrorOf(p); !m.Mirror || math.Mod(m.Turn+turn, 1) != 0 || back != p {
			t.Errorf("%v becomes %+v, and then %+v", turn, m, back)
		}
	}
}

func TestAnswerSplitsAtTheThreshold(t *testing.T) {
	p := DefaultParams()
	p.MinScore = 10
	var clusters []found
	for i := range 12 {
		clusters = append(clusters, found{x: 50, y: float64(50 + i), side: 20, score: float64(21 - i)})
	}
	a := p.answer(clusters)
	if len(a.Faces) != 12 || len(a.Candidates) != 0 {
		t.Errorf("%d faces and %d candidates of 12 from 10 up", len(a.Faces), len(a.Candidates))
	}
	p.MinScore = 20.5
	a = p.answer(clusters)
	if len(a.Faces) != 1 || len(a.Candidates) != keepCandidates || a.Candidates[0].Score != 20 {
		t.Errorf("one above the threshold: %d faces, candidates %+v", len(a.Faces), a.Candidates)
	}
	equal := p.answer([]found{{x: 40, y: 30, side: 10, score: 30}, {x: 30, y: 30, side: 10, score: 30}, {x: 90, y: 20, side: 10, score: 30}})
	if got := []float64{equal.Faces[0].X, equal.Faces[1].X, equal.Faces[2].X}; !slices.Equal(got, []float64{85, 25, 35}) {
		t.Errorf("equal scores, from left to right at %v", got)
	}
}

func TestConfidence(t *testing.T) {
	for _, p := range []Params{{}, {Verify: true}} {
		last := p.Confidence(0)
		if last != 0 {
			t.Errorf("%+v: a score of 0 is %v", p, last)
		}
		for score := 0.01; score < 1e4; score *= 1.5 {
			c := p.Confidence(score)
			if !(c > last && c <= 1) && last < 1 {
				t.Errorf("%+v: %v is %v, after %v", p, score, c, last)
			}
			last = c
		}
		if even := map[bool]float64{false: 5, true: 10}[p.Verify]; p.Confidence(even) != 0.5 {
			t.Errorf("%+v: a score of %v is %v", p, even, p.Confidence(even))
		}
	}
}
