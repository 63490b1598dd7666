package pigo

import (
	"math"
	"slices"
	"testing"
)

func search(turn float64, mirror bool, ws ...Window) *Search {
	return &Search{Pass: Pass{Turn: turn, Mirror: mirror}, Found: ws}
}

func TestCluster(t *testing.T) {
	var m merger
	m.add(search(0, false,
		Window{Row: 100, Col: 100, Size: 40, Score: 1},
		Window{Row: 100, Col: 104, Size: 40, Score: 3},
		Window{Row: 300, Col: 200, Size: 60, Score: 2},
		Window{Row: 302, Col: 200, Size: 16, Score: 0.5}, // a part of the one before
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
	if best := m.members(nil, func(c found) bool { return c.score == 4 }); len(best) != 2 ||
		best[0].score != 3 {
		t.Errorf("members of the best: %+v", best)
	}
	m.clear()
	m.cluster(0.2)
	if len(m.clusters) != 0 {
		t.Errorf("clusters of nothing: %+v", m.clusters)
	}
}

// TestClusterOfTheBest: a window that overlaps two others belongs to the better one alone.
func TestClusterOfTheBest(t *testing.T) {
	var m merger
	m.add(search(0, false,
		Window{Row: 100, Col: 100, Size: 40, Score: 3},
		Window{Row: 100, Col: 120, Size: 40, Score: 1},
		Window{Row: 100, Col: 140, Size: 40, Score: 2},
	), 1, 0, 0)
	m.cluster(0.2)
	want := []Face{{105 - 18, 102 - 18, 36, 4}, {140 - 18, 102 - 18, 36, 2}}
	if got := m.faces(); !slices.EqualFunc(got, want, near) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// What is below a face is below it as the face lies, and a part of the image lies in the image.
func TestDrawnBoxFollowsTheTilt(t *testing.T) {
	w := Window{Row: 50, Col: 60, Size: 100, Score: 1}
	for _, c := range []struct {
		turn   float64
		mirror bool
		x, y   float64
	}{{0, false, 60, 55}, {0.25, false, 65, 50}, {0.5, false, 60, 45}, {0.25, true, 55, 50},
		{0.75, true, 65, 50}} {
		var m merger
		m.add(search(c.turn, c.mirror, w), 0.5, 7, 9)
		if got := m.windows[0]; math.Hypot(got.x-7-c.x, got.y-9-c.y) > 1e-9 || got.side != 90 ||
			got.score != 0.5 {
			t.Errorf("turned by %v, mirrored %v: %+v, want (%v, %v)", c.turn, c.mirror, got, c.x, c.y)
		}
	}
}

func TestMirrorOfFindsTheSameTilt(t *testing.T) {
	for _, turn := range []float64{0, 1.0 / 32, 0.25, 31.0 / 32} {
		p := Pass{Turn: turn}
		back := mirrorOf(mirrorOf(p))
		if m := mirrorOf(p); !m.Mirror || math.Mod(m.Turn+turn, 1) != 0 || back != p {
			t.Errorf("%v becomes %+v, and then %+v", turn, m, back)
		}
	}
}

// TestOverlap: the area that two squares share does not depend on their order.
func TestOverlap(t *testing.T) {
	a := found{x: 10, y: 20, side: 10}
	for _, c := range []struct {
		b    found
		want float64
	}{
		{found{x: 13, y: 24, side: 4}, 4 * 3}, {found{x: 10, y: 20, side: 4}, 16},
		{found{x: 6, y: 15, side: 6}, 4 * 3}, {found{x: 16, y: 20, side: 2}, 0},
		{found{x: 10, y: 30, side: 4}, 0},
	} {
		if got, back := a.overlap(c.b), c.b.overlap(a); got != c.want || back != c.want {
			t.Errorf("%+v: %v and %v, want %v", c.b, got, back, c.want)
		}
	}
	if got := a.iou(found{x: 15, y: 20, side: 10}); got != 1.0/3 {
		t.Errorf("half of each: %v", got)
	}
}

// TestClusterLimits: windows that overlap the best one by no more than the IoU are another face, unless more
// than half of them lies in it.
func TestClusterLimits(t *testing.T) {
	near, far := found{x: 4, side: 8, score: 2}, found{x: 10, side: 8, score: 1} // 2 of 14 columns are shared
	for _, c := range []struct {
		windows []found
		iou     float64
		want    int
	}{
		{[]found{near, far}, near.iou(far), 2}, {[]found{near, far}, math.Nextafter(near.iou(far), 0), 1},
		{[]found{near, {x: 8, side: 8, score: 1}}, 0.4, 2}, // half of it
		{[]found{near, {x: 7.9, side: 8, score: 1}}, 0.4, 1},
		{[]found{near, {x: 12, side: 8, score: 1}}, 0.4, 2},
	} {
		var m merger
		m.windows = c.windows
		if m.cluster(c.iou); len(m.clusters) != c.want || m.clusters[0].score < near.score {
			t.Errorf("%+v by %v: %+v, want %d", c.windows, c.iou, m.clusters, c.want)
		}
	}
	for score, want := range map[float64]bool{0.4999: false, 0.5: true, 14.999: true, 15: false} {
		if got := (found{score: score}).isOpen(); got != want {
			t.Errorf("a score of %v is uncertain: %t", score, got)
		}
	}
}
