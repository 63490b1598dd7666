// Package draw draws what a detector found into a picture: boxes, landmarks, and labels with rank and score.
//
// All of it is bright with a dark rim, so that it shows on any picture, and as thick as the face allows. A
// label lies beside its face. It covers no face, no other label and no box, and is left out where there is
// no room.
package draw

import (
	"image"
	"image/color"
	"image/draw"
	"strconv"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"facescan/store"
)

var (
	lineColor = color.RGBA{64, 255, 96, 255}
	dotColor  = color.RGBA{255, 224, 0, 255}
	rimColor  = color.RGBA{0, 0, 0, 255}
)

const (
	lineShare = 0.02 // of a face's longer side, is how thick its box is
	textShare = 0.16 // of the same, is how high its label is
	leastText = 11   // pixels; lower, a label cannot be read
	mostText  = 30   // of these labels would fill the picture's longer side
	leastDots = 20   // pixels of a face on which landmarks can be told apart
)

// Faces draws the faces of a picture into it, the best first. Scores have so many decimals.
func Faces(m *image.RGBA, faces []store.Face, decimals int) {
	for i := range faces {
		drawBox(m, &faces[i])
	}
	for i := range faces {
		drawLandmarks(m, &faces[i])
	}
	for _, l := range layout(m.Rect, faces, decimals) {
		l.draw(m)
	}
}

func fill(m *image.RGBA, r image.Rectangle, c color.RGBA) {
	draw.Draw(m, r.Intersect(m.Rect), image.NewUniform(c), image.Point{}, draw.Src)
}

func box(f *store.Face) image.Rectangle { return image.Rect(f.X, f.Y, f.X+f.Width, f.Y+f.Height) }

// thickness is that of a face's box, and of the rim at each side of the line.
func thickness(f *store.Face) (line, rim int) {
	line = int(lineShare*float64(max(f.Width, f.Height)) + 0.5)
	line = max(1, min(line, min(f.Width, f.Height)/8))
	return line, (line + 1) / 2
}

// outside is what a face's box covers, with its rim.
func outside(f *store.Face) image.Rectangle {
	_, rim := thickness(f)
	return box(f).Inset(-rim)
}

// drawBox draws a line inside the edges of the box, a rim around it, and in larger boxes one within it.
func drawBox(m *image.RGBA, f *store.Face) {
	line, rim := thickness(f)
	r := box(f)
	frame(m, r.Inset(-rim), rim, rimColor)
	if min(f.Width, f.Height) >= 4*(line+rim) {
		frame(m, r.Inset(line), rim, rimColor)
	}
	frame(m, r, line, lineColor)
}

// frame draws the four sides of a rectangle, inside it.
func frame(m *image.RGBA, r image.Rectangle, w int, c color.RGBA) {
	for _, side := range []image.Rectangle{
		{r.Min, image.Pt(r.Max.X, r.Min.Y+w)}, {image.Pt(r.Min.X, r.Max.Y-w), r.Max},
		{r.Min, image.Pt(r.Min.X+w, r.Max.Y)}, {image.Pt(r.Max.X-w, r.Min.Y), r.Max},
	} {
		fill(m, side.Intersect(r), c)
	}
}

// drawLandmarks draws round dots.
func drawLandmarks(m *image.RGBA, f *store.Face) {
	side := min(f.Width, f.Height)
	if !f.HasLandmarks || side < leastDots {
		return
	}
	radius := float64(side) / 50
	rim := max(1, radius/2)
	if side < 2*leastDots {
		rim = 0
	}
	for i := 0; i < len(f.Landmarks); i += 2 {
		x, y := float64(f.Landmarks[i])/10, float64(f.Landmarks[i+1])/10
		disc(m, x, y, radius+rim, rimColor)
		disc(m, x, y, radius, dotColor)
	}
}

// disc fills the pixels whose centres are near a point, one at least.
func disc(m *image.RGBA, x, y, radius float64, c color.RGBA) {
	fill(m, image.Rect(int(x), int(y), int(x)+1, int(y)+1), c)
	around := image.Rect(int(x-radius), int(y-radius), int(x+radius)+1, int(y+radius)+1).Intersect(m.Rect)
	for py := around.Min.Y; py < around.Max.Y; py++ {
		for px := around.Min.X; px < around.Max.X; px++ {
			dx, dy := float64(px)+0.5-x, float64(py)+0.5-y
			if dx*dx+dy*dy <= radius*radius {
				m.SetRGBA(px, py, c)
			}
		}
	}
}

// label is a text in a picture.
type label struct {
	at   image.Rectangle
	text string
	size int // height of the text
}

// layout places the labels of faces, the best face's first. A text is tried as large as suits the face, then
// smaller, then without its score.
func layout(bounds image.Rectangle, faces []store.Face, decimals int) (out []label) {
	var taken []image.Rectangle
	for i := range faces {
		taken = append(taken, outside(&faces[i]))
	}
	free := func(r image.Rectangle) bool {
		if !r.In(bounds) {
			return false
		}
		for _, t := range taken {
			if r.Overlaps(t) {
				return false
			}
		}
		return true
	}
	for i := range faces {
		f := &faces[i]
		size := int(textShare * float64(max(f.Width, f.Height)))
		size = max(leastText, min(size, max(bounds.Dx(), bounds.Dy())/mostText))
		rank := strconv.Itoa(i + 1)
		score := rank + "  " + strconv.FormatFloat(f.Score, 'f', decimals, 64)
		l := place(outside(f).Intersect(bounds), free,
			label{text: score, size: size}, label{text: score, size: leastText},
			label{text: rank, size: size}, label{text: rank, size: leastText})
		if l != nil {
			out, taken = append(out, *l), append(taken, l.at)
		}
	}
	return out
}

// place returns the first of some labels for which there is room at the box, nil if there is none.
func place(box image.Rectangle, free func(image.Rectangle) bool, choice ...label) *label {
	for _, l := range choice {
		size := l.measure()
		for _, at := range []image.Point{
			{box.Min.X, box.Min.Y - size.Y},          // above
			{box.Min.X, box.Max.Y},                   // below
			{box.Max.X, box.Min.Y},                   // at the right
			{box.Min.X - size.X, box.Min.Y},          // at the left
			{box.Max.X - size.X, box.Min.Y - size.Y}, // above, to the left
			{box.Max.X - size.X, box.Max.Y},          // below, to the left
			{box.Max.X, box.Max.Y - size.Y},          // at the right, below
			{box.Min.X - size.X, box.Max.Y - size.Y}, // at the left, below
		} {
			if l.at = (image.Rectangle{at, at.Add(size)}); free(l.at) {
				return &l
			}
		}
	}
	return nil
}

// parsed is the typeface of labels; faceOf is it in a size.
var parsed = sync.OnceValue(func() *opentype.Font {
	f, err := opentype.Parse(gobold.TTF)
	if err != nil {
		panic(err) // it is in the program
	}
	return f
})

func faceOf(size int) font.Face {
	// Its digits are 72 % of what the size says.
	f, err := opentype.NewFace(parsed(), &opentype.FaceOptions{Size: float64(size) / 0.72, DPI: 72,
		Hinting: font.HintingFull})
	if err != nil {
		panic(err) // for any size there is one
	}
	return f
}

// margin is what is free around the text of a label.
func (l *label) margin() int { return max(2, l.size/4) }

func (l *label) measure() image.Point {
	f := faceOf(l.size)
	defer f.Close()
	return image.Pt(font.MeasureString(f, l.text).Ceil()+2*l.margin(), l.size+2*l.margin())
}

func (l *label) draw(m *image.RGBA) {
	fill(m, l.at, rimColor)
	f := faceOf(l.size)
	defer f.Close()
	d := font.Drawer{Dst: m, Src: image.NewUniform(lineColor), Face: f,
		Dot: fixed.P(l.at.Min.X+l.margin(), l.at.Max.Y-l.margin())}
	d.DrawString(l.text)
}
