package draw

import (
	"fmt"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"facescan/store"
)

func face(x, y, w, h int) store.Face {
	f := store.Face{X: x, Y: y, Width: w, Height: h, Score: 0.9, HasLandmarks: true}
	for i, share := range []int{30, 40, 70, 40, 50, 60, 35, 80, 65, 80} {
		if i%2 == 0 {
			f.Landmarks[i] = int32(10*x + w*share/10)
		} else {
			f.Landmarks[i] = int32(10*y + h*share/10)
		}
	}
	return f
}

func plain(w, h int, c color.RGBA) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	fill(m, m.Rect, c)
	return m
}

// TestLine has a line that suits the face, on any background: where it runs there is the bright colour,
// with the dark one beside it.
func TestLine(t *testing.T) {
	last := 0
	for _, side := range []int{24, 60, 200, 1000} {
		for _, c := range []color.RGBA{{0, 0, 0, 255}, {255, 255, 255, 255}, lineColor,
			{200, 150, 120, 255}} {
			m := plain(side*2, side*2, c)
			f := face(side/2, side/2, side, side)
			Faces(m, []store.Face{f}, 4)
			middle := f.Y + f.Height/2
			var line, rim int
			for x := f.X - side/4; x < f.X+side/4; x++ {
				switch m.RGBAAt(x, middle) {
				case lineColor:
					if x >= f.X && x < f.X+side/8 {
						line++
					}
				case rimColor:
					rim++
				}
			}
			want, _ := thickness(&f)
			if c != lineColor && (line != want || line < 1) || rim < 2 {
				t.Errorf("a face of %d pixels on %v: a line of %d pixels, %d dark ones", side, c, line, rim)
			}
			if m.RGBAAt(f.X+f.Width/2, f.Y+f.Height/3) != c {
				t.Errorf("a face of %d pixels is covered", side)
			}
			if x, y := int(f.Landmarks[4]/10), int(f.Landmarks[5]/10); m.RGBAAt(x, y) != dotColor {
				t.Errorf("no nose in a face of %d pixels", side)
			}
		}
		f := face(0, 0, side, side)
		if line, _ := thickness(&f); line < last {
			t.Errorf("a line of %d pixels for a face of %d, which is larger", line, side)
		} else {
			last = line
		}
	}
}

// TestBox: a line runs inside the edges of a box, a rim around it, and in a larger box one within it.
func TestBox(t *testing.T) {
	background := color.RGBA{200, 150, 120, 255}
	// across is the colours of a way through the middle: a rim, a line, background.
	across := func(length int, at func(i int) color.RGBA) (s string) {
		for i := range length {
			s += map[color.RGBA]string{{0, 0, 0, 255}: "r", {64, 255, 96, 255}: "L", background: "."}[at(i)]
		}
		return s
	}
	repeat := strings.Repeat
	for _, c := range []struct {
		width, height int
		row, column   string // through the middle, from 20 pixels before the face on
	}{
		{8, 8, "rLr....rL" + "r", "rLr....rL" + "r"},
		{7, 7, "rL.....Lr", "rL.....Lr"},
		{7, 20, "rL.....Lr", "rL" + repeat(".", 18) + "Lr"},
		{100, 80, "rLLr" + repeat(".", 94) + "rLLr", "rLLr" + repeat(".", 74) + "rLLr"},
		{80, 400, repeat("r", 4) + repeat("L", 8) + repeat("r", 4) + repeat(".", 56) + repeat("r", 4) +
			repeat("L", 8) + repeat("r", 4),
			repeat("r", 4) + repeat("L", 8) + repeat("r", 4) + repeat(".", 376) + repeat("r", 4) +
				repeat("L", 8) + repeat("r", 4)},
	} {
		m := plain(c.width+40, c.height+40, background)
		drawBox(m, &store.Face{X: 20, Y: 20, Width: c.width, Height: c.height})
		row := across(m.Rect.Dx(), func(i int) color.RGBA { return m.RGBAAt(i, 20+c.height/2) })
		column := across(m.Rect.Dy(), func(i int) color.RGBA { return m.RGBAAt(20+c.width/2, i) })
		if strings.Trim(row, ".") != c.row || strings.Trim(column, ".") != c.column ||
			strings.Index(row, "L") != 20 || strings.Index(column, "L") != 20 {
			t.Errorf("%dx%d:\n%s\n%s, want\n%s\n%s", c.width, c.height, row, column, c.row, c.column)
		}
	}
}

// TestThickness: a line is as thick as the face allows, and in a narrow one no more than an eighth of it.
func TestThickness(t *testing.T) {
	for _, c := range []struct{ width, height, line, rim int }{
		{1, 1, 1, 1}, {8, 8, 1, 1}, {24, 24, 1, 1}, {74, 74, 1, 1}, {75, 75, 2, 1},
		{100, 100, 2, 1}, {1000, 1000, 20, 10}, {1000, 16, 2, 1},
		{15, 1000, 1, 1},
		{72, 1000, 9, 5},
	} {
		if line, rim := thickness(&store.Face{Width: c.width, Height: c.height}); line != c.line ||
			rim != c.rim {
			t.Errorf("%dx%d: a line of %d with a rim of %d, want %d and %d", c.width, c.height, line, rim,
				c.line,
				c.rim)
		}
	}
}

// count is how many pixels of a part of a picture have a colour.
func count(m *image.RGBA, r image.Rectangle, c color.RGBA) (n int) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			if m.RGBAAt(x, y) == c {
				n++
			}
		}
	}
	return n
}

// TestDots: a landmark has a rim where the face is large enough for it, and there is none in a tiny face.
func TestDots(t *testing.T) {
	for _, c := range []struct {
		side     int
		dot, rim bool
	}{{19, false, false}, {20, true, false}, {39, true, false}, {40, true, true}, {400, true, true}} {
		m := plain(c.side, c.side, color.RGBA{200, 150, 120, 255})
		f := face(0, 0, c.side, c.side)
		drawLandmarks(m, &f)
		if dots, rims := count(m, m.Rect, dotColor), count(m, m.Rect, rimColor); dots > 0 != c.dot ||
			rims > 0 != c.rim ||
			c.dot && dots < 5 {
			t.Errorf("a face of %d pixels has %d pixels of dots, %d of rims", c.side, dots, rims)
		}
	}
}

// TestDotsExactly holds dots and their rims to the pixels whose centres are near a landmark.
func TestDotsExactly(t *testing.T) {
	background := color.RGBA{200, 150, 120, 255}
	for _, side := range []int{20, 39, 40, 100, 101, 400} {
		m := plain(side+7, side+5, background)
		f := face(7, 5, side, side)
		drawLandmarks(m, &f)
		radius := float64(side) / 50
		rim := max(1, radius/2)
		if side < 40 {
			rim = 0
		}
		for py := range m.Rect.Dy() {
			for px := range m.Rect.Dx() {
				want := background
				for i := 0; i < 10; i += 2 {
					x, y := float64(f.Landmarks[i])/10, float64(f.Landmarks[i+1])/10
					far := math.Hypot(float64(px)+0.5-x, float64(py)+0.5-y)
					if far <= radius || px == int(x) && py == int(y) {
						want = color.RGBA{255, 224, 0, 255}
					} else if rim > 0 && far <= radius+rim {
						want = rimColor
					}
				}
				if got := m.RGBAAt(px, py); got != want {
					t.Fatalf("a face of %d pixels: %d,%d is %v, want %v", side, px, py, got, want)
				}
			}
		}
	}
	m := plain(50, 50, background)
	f := face(0, 0, 50, 50)
	f.HasLandmarks = false
	drawLandmarks(m, &f)
	if n := count(m, m.Rect, background); n != 2500 {
		t.Errorf("%d pixels of landmarks that nobody found", 2500-n)
	}
}

// TestDisc: a disc is the pixels whose centres are within its radius, on all sides of its centre.
func TestDisc(t *testing.T) {
	m := plain(9, 9, color.RGBA{})
	for _, radius := range []float64{2, 2.1} {
		clear(m.Pix)
		disc(m, 4.5, 4.5, radius, dotColor)
		for y := range 9 {
			for x := range 9 {
				want := (x-4)*(x-4)+(y-4)*(y-4) <= 4
				if got := m.RGBAAt(x, y) == dotColor; got != want {
					t.Errorf("pixel %d,%d is of the disc of %v: %t, want %t", x, y, radius, got, want)
				}
			}
		}
	}
}

// TestLabelText: the text of a label lies within it, with a margin all around that it does not touch, and as
// high as it is to be.
func TestLabelText(t *testing.T) {
	for _, size := range []int{leastText, 20, 40} {
		l := label{text: "1  0.9876", size: size}
		l.at = image.Rectangle{image.Pt(10, 10), image.Pt(10, 10).Add(l.measure())}
		m := plain(l.at.Max.X+10, l.at.Max.Y+10, color.RGBA{200, 150, 120, 255})
		l.draw(m)
		inner := l.at.Inset(l.margin() - 1) // letters may reach a pixel beyond their lines
		var text image.Rectangle
		for y := range m.Rect.Dy() {
			for x := range m.Rect.Dx() {
				if m.RGBAAt(x, y) != (color.RGBA{200, 150, 120, 255}) && !image.Pt(x, y).In(l.at) {
					t.Fatalf("size %d: a pixel at %d,%d outside %v", size, x, y, l.at)
				}
				if m.RGBAAt(x, y) == lineColor {
					text = text.Union(image.Rect(x, y, x+1, y+1))
				}
			}
		}
		if !text.In(inner) || text.Dy() < size-2 || text.Dx() < inner.Dx()-size {
			t.Errorf("size %d: text at %v in a label at %v", size, text, l.at)
		}
		// A digit has some room within its own width.
		left, right := text.Min.X-l.at.Min.X, l.at.Max.X-text.Max.X
		top, bottom := text.Min.Y-l.at.Min.Y, l.at.Max.Y-text.Max.Y
		if want := max(2, size/4); max(left, right)-want > size/5 || max(top, bottom)-want > 1 {
			t.Errorf("size %d: %d, %d, %d and %d pixels around the text, want %d", size, left, right, top,
				bottom, want)
		}
	}
}

// checkLayout holds labels to covering nothing.
func checkLayout(t interface{ Errorf(string, ...any) }, bounds image.Rectangle, faces []store.Face) []label {
	labels := layout(bounds, faces, 4)
	for i, l := range labels {
		if !l.at.In(bounds) {
			t.Errorf("label %q at %v is outside %v", l.text, l.at, bounds)
		}
		for k := range faces {
			if l.at.Overlaps(box(&faces[k])) {
				t.Errorf("label %q at %v covers the face %v", l.text, l.at, box(&faces[k]))
			}
		}
		for _, o := range labels[:i] {
			if l.at.Overlaps(o.at) {
				t.Errorf("labels %q and %q cover each other", l.text, o.text)
			}
		}
	}
	return labels
}

// TestLabels gives rank and score where there is room, the rank alone where that is all that fits, and
// nothing where nothing does.
func TestLabels(t *testing.T) {
	for _, c := range []struct {
		name          string
		width, height int
		faces         []store.Face
		want          []string
	}{
		{"room above", 300, 300, []store.Face{face(50, 80, 100, 100)}, []string{"1  0.9000"}},
		{"room below", 300, 300, []store.Face{face(50, 0, 100, 200)}, []string{"1  0.9000"}},
		{"room at the left", 300, 100, []store.Face{face(150, 0, 150, 100)}, []string{"1  0.9000"}},
		{"room for the rank", 130, 100, []store.Face{face(30, 0, 100, 100)}, []string{"1"}},
		{"no room", 100, 100, []store.Face{face(0, 0, 100, 100)}, nil},
		{"a tiny picture", 1, 1, []store.Face{face(0, 0, 1, 1)}, nil},
		{"no face", 100, 100, nil, nil},
		{"side by side", 300, 140, []store.Face{face(0, 40, 100, 100), face(102, 40, 100, 100)},
			[]string{"1  0.9000", "2  0.9000"}},
	} {
		var got []string
		for _, l := range checkLayout(t, image.Rect(0, 0, c.width, c.height), c.faces) {
			got = append(got, l.text)
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: labels %q, want %q", c.name, got, c.want)
		}
	}
}

// TestPlaces: a label may lie at any corner of its face's box, on either side of it, and lies there if that
// is the only place that is free.
func TestPlaces(t *testing.T) {
	box := image.Rect(200, 100, 300, 220)
	l := label{text: "1", size: 20}
	size := l.measure()
	for name, at := range map[string]image.Point{
		"above": {200, 100 - size.Y}, "above, to the left": {300 - size.X, 100 - size.Y},
		"below": {200, 220}, "below, to the left": {300 - size.X, 220},
		"at the right": {300, 100}, "at the right, below": {300, 220 - size.Y},
		"at the left": {200 - size.X, 100}, "at the left, below": {200 - size.X, 220 - size.Y},
	} {
		only := image.Rectangle{at, at.Add(size)}
		got := place(box, func(r image.Rectangle) bool { return r == only }, l)
		if got == nil || got.at != only || got.text != "1" {
			t.Errorf("%s: %+v, want one at %v", name, got, only)
		}
	}
}

// TestLabelSizes: a label is a sixth of its face, within what can be read and a part of the picture.
func TestLabelSizes(t *testing.T) {
	for _, c := range []struct {
		picture image.Point
		face    store.Face
		want    int
	}{
		{image.Pt(3000, 2000), face(500, 500, 200, 100), 32},
		{image.Pt(3000, 2000), face(500, 500, 100, 250), 40},
		{image.Pt(2000, 3000), face(500, 500, 1000, 900), 100},
		{image.Pt(900, 600), face(400, 300, 200, 200), 30},
		{image.Pt(600, 400), face(300, 200, 60, 60), 11},
		{image.Pt(300, 400), face(100, 200, 100, 100), 13},
		{image.Pt(300, 400), face(0, 14, 300, 400), 0}, // no room
		{image.Pt(1200, 240), face(200, 20, 200, 220), 35},
		{image.Pt(1200, 240), face(5, 0, 1050, 240), 11},
	} {
		labels := layout(image.Rectangle{Max: c.picture}, []store.Face{c.face}, 2)
		got := 0
		if len(labels) > 0 {
			if got = labels[0].size; labels[0].at.Dy() != got+2*max(2, got/4) {
				t.Errorf("a label of %d pixels is %d high", got, labels[0].at.Dy())
			}
		}
		if got != c.want {
			t.Errorf("a face of %dx%d in %v has a label of %d pixels, want %d", c.face.Width, c.face.Height,
				c.picture, got, c.want)
		}
	}
}

// TestCrowd has a crowd of 74, of which most get a label, and none is covered.
func TestCrowd(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var faces []store.Face
	for i := range 74 {
		side := 24 + rng.IntN(30)
		faces = append(faces, face(20+i%12*80+rng.IntN(20), 40+i/12*90+rng.IntN(30), side, side*5/4))
	}
	if n := len(checkLayout(t, image.Rect(0, 0, 1024, 700), faces)); n < 60 {
		t.Errorf("%d labels for 74 faces", n)
	}
}

// Whatever the faces are, nothing is drawn outside the picture, and no label covers a face.
func TestAnyFaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 400).Draw(t, "width"), rapid.IntRange(1, 400).Draw(t, "height")
		var faces []store.Face
		for range rapid.IntRange(0, 12).Draw(t, "faces") {
			x, y := rapid.IntRange(0, w-1).Draw(t, "x"), rapid.IntRange(0, h-1).Draw(t, "y")
			f := face(x, y, rapid.IntRange(1, w-x).Draw(t, "w"), rapid.IntRange(1, h-y).Draw(t, "h"))
			f.Landmarks[0] = rapid.Int32Range(-5000, 9000).Draw(t, "eye")
			faces = append(faces, f)
		}
		whole := plain(w+20, h+20, color.RGBA{1, 2, 3, 255})
		Faces(whole.SubImage(image.Rect(0, 0, w, h)).(*image.RGBA), faces, 2)
		for i := range whole.Rect.Dx() {
			for y := h; y < h+20; y++ {
				if whole.RGBAAt(i, y) != (color.RGBA{1, 2, 3, 255}) {
					t.Fatalf("a pixel at %d,%d of a picture of %dx%d", i, y, w, h)
				}
			}
		}
		checkLayout(t, image.Rect(0, 0, w, h), faces)
	})
}
