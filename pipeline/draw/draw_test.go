package draw

import (
	"fmt"
	"image"
	"image/color"
	"math/rand/v2"
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

// TestThickness: a line is as thick as the face allows, and in a narrow one no more than an eighth of it.
func TestThickness(t *testing.T) {
	for _, c := range []struct{ width, height, line, rim int }{
		{1, 1, 1, 1}, {8, 8, 1, 1}, {100, 100, 2, 1}, {1000, 1000, 20, 10}, {1000, 16, 2, 1},
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
	}{{leastDots - 1, false, false}, {leastDots, true, false}, {2*leastDots - 1, true, false},
		{2 * leastDots, true, true}, {400, true, true}} {
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

// TestDisc: a disc is the pixels whose centres are within its radius, on all sides of its centre.
func TestDisc(t *testing.T) {
	m := plain(9, 9, color.RGBA{})
	disc(m, 4.5, 4.5, 2.1, dotColor)
	for y := range 9 {
		for x := range 9 {
			want := (x-4)*(x-4)+(y-4)*(y-4) <= 4
			if got := m.RGBAAt(x, y) == dotColor; got != want {
				t.Errorf("pixel %d,%d is of the disc: %t, want %t", x, y, got, want)
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
