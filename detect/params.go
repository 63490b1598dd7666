package detect

import (
	"cmp"
	"errors"
	"fmt"
	"image"
	"math"
	"slices"
	"strconv"
	"strings"

	"facescan/detect/cascade"
)

// OwnScore as Params.MinScore stands for the threshold that was measured to be best for the parameters.
const OwnScore = -1

// Params say how an image is searched and what counts as a face.
type Params struct {
	MinFace int     // side of the smallest window, in pixels of the full upright image
	MaxFace int     // side of the largest window, likewise; 0 = no limit
	Shift   float64 // how far a window moves, as a part of its side
	Scale   float64 // how much larger the windows of the next size are
	IoU     float64 // windows that overlap the best one by more are the same face

	MinScore float64   // least score of a face; OwnScore = what was measured to be best
	Angles   []float64 // degrees by which faces may be tilted, searched besides upright ones; rounded to steps of 11.25
	Verify   bool      // search for larger faces in the mirrored image too, and ask other cascades about what is found: better answers, half as much time more
}

// ownScore is the threshold with the best F1 at IoU 0.4 on annotated photos, see `make accuracy`.
const ownScore = 8

// DefaultParams are the defaults of the flags.
func DefaultParams() Params {
	return Params{MinFace: 20, Shift: 0.1, Scale: 1.1, IoU: 0.2, MinScore: OwnScore}
}

// Validate refuses parameters that no search can be made with.
func (p Params) Validate() error {
	bad := func(flag string, got any, why, what string) error {
		return fmt.Errorf("--%s %v: %s; %s", flag, got, why, what)
	}
	var errs []error
	if p.MinFace < 8 || p.MinFace > 1<<15 {
		errs = append(errs, bad("min-face", p.MinFace, "a face needs at least 8 pixels to be told from a texture, and no image is larger than 32768", "give a side in pixels, such as 20"))
	}
	if p.MaxFace != 0 && p.MaxFace < p.MinFace {
		errs = append(errs, bad("max-face", p.MaxFace, fmt.Sprintf("it is below --min-face %d, so no face has a size", p.MinFace), "give a larger one, or 0 for no limit"))
	}
	if !(p.Shift >= 0.01 && p.Shift <= 1) {
		errs = append(errs, bad("shift", p.Shift, "windows move by a part of their side between 0.01 and 1", "give 0.1, or up to 0.3 to be faster and miss more"))
	}
	if !(p.Scale >= 1.01 && p.Scale <= 4) {
		errs = append(errs, bad("scale", p.Scale, "windows grow by a factor between 1.01 and 4", "give 1.1, or up to 1.3 to be faster and miss more"))
	}
	if !(p.IoU >= 0 && p.IoU <= 1) {
		errs = append(errs, bad("iou", p.IoU, "intersection over union lies between 0 and 1", "give 0.2"))
	}
	if p.MinScore != OwnScore && !(p.MinScore >= 0 && p.MinScore <= 1e6) {
		errs = append(errs, bad("min-score", p.MinScore, "scores are positive numbers", "give 0 to keep whatever looks a little like a face, or leave it out for the measured best"))
	}
	for _, a := range p.Angles {
		if !(a > -360 && a < 360) {
			errs = append(errs, bad("angles", a, "angles are degrees between -360 and 360", "give some such as 22.5,-22.5"))
		}
	}
	return errors.Join(errs...)
}

// String is short, stable, and differs where answers differ.
func (p Params) String() string {
	var b strings.Builder
	num := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	fmt.Fprintf(&b, "min=%d", p.MinFace)
	if p.MaxFace != 0 {
		fmt.Fprintf(&b, " max=%d", p.MaxFace)
	}
	fmt.Fprintf(&b, " shift=%s scale=%s iou=%s score=%s", num(p.Shift), num(p.Scale), num(p.IoU), num(p.Threshold()))
	for i, t := range p.turns()[1:] {
		b.WriteString(map[bool]string{true: " angles=", false: ","}[i == 0] + num(t*360))
	}
	if p.Verify {
		b.WriteString(" verify=3") // the number changes with the answers
	}
	return b.String()
}

// Threshold is the least score of a face, OwnScore resolved.
func (p Params) Threshold() float64 {
	if p.MinScore == OwnScore {
		return ownScore
	}
	return p.MinScore
}

// mirrorFrom is the side, in those of the smallest window, from which on Verify searches the mirrored image as well. Smaller windows are most of the
// work, and what they find there was no better on annotated photos.
const mirrorFrom = 2.2

// pass is a search over a whole image, and what its windows count.
type pass struct {
	cascade.Params
	weight float64
}

// passes over an image whose pixels are `scale` of the full one's.
func (p Params) passes(size image.Point, scale float64) []pass {
	from := max(1, int(float64(p.MinFace)/scale))
	to := min(size.X, size.Y)
	if p.MaxFace != 0 {
		to = min(to, int(math.Ceil(float64(p.MaxFace)/scale)))
	}
	mirror := int(mirrorFrom * float64(from))
	var all []pass
	for _, tilt := range p.turns() {
		whole := cascade.Params{MinSize: from, MaxSize: to, Shift: p.Shift, Scale: p.Scale, Turn: tilt}
		if !p.Verify || mirror > to {
			all = append(all, pass{whole, 1})
			continue
		}
		small, large := whole, whole
		small.MaxSize, large.MinSize = mirror-1, mirror
		all = append(all, pass{small, 1}, pass{large, 0.5}, pass{mirrorOf(large), 0.5})
	}
	return all
}

// answer splits clusters, by score descending, at the threshold.
func (p Params) answer(clusters []found) Answer {
	var a Answer
	for _, c := range clusters {
		side := onGrid(c.side)
		f := Face{X: onGrid(c.x - c.side/2), Y: onGrid(c.y - c.side/2), Width: side, Height: side, Score: float64(float32(c.score))}
		f.Confidence = p.Confidence(f.Score)
		switch {
		case f.Score >= p.Threshold():
			a.Faces = append(a.Faces, f)
		case len(a.Candidates) < keepCandidates:
			a.Candidates = append(a.Candidates, f)
		}
	}
	slices.SortFunc(a.Faces, order)
	slices.SortFunc(a.Candidates, order)
	return a
}

// Confidence is the part of the boxes of a score that are faces, fitted to annotated photos of which four in five show any. It is for
// this package's detectors only. Under Verify scores tell faces from others more sharply.
func (p Params) Confidence(score float64) float64 {
	even, steep := 5.0, 1.6
	if p.Verify {
		even, steep = 10, 3
	}
	return 1 / (1 + math.Pow(even/score, steep))
}

// onGrid rounds to 256ths of a pixel. Coordinates below 65536 then fit a float32, turned and mirrored ones too, so that an
// answer that comes from another process is the same to the bit.
func onGrid(v float64) float64 { return math.Floor(v*256+0.5) / 256 }

// order is that of faces in an answer: by score descending, then y, x, width.
func order(a, b Face) int {
	return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Y, b.Y), cmp.Compare(a.X, b.X), cmp.Compare(a.Width, b.Width))
}

// turns are the passes over an image: upright first, then each angle once, in parts of a turn. The cascade is turned in steps
// of 1/32, as pigo does.
func (p Params) turns() []float64 {
	turns := []float64{0}
	for _, degrees := range p.Angles {
		step := (int(math.Round(degrees*32/360))%32 + 32) % 32
		if t := float64(step) / 32; !slices.Contains(turns, t) {
			turns = append(turns, t)
		}
	}
	return turns
}
