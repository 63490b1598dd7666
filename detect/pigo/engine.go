package pigo

import (
	"context"
	"image"
	"math"
	"slices"
	"sync"
)

// Engine finds the windows of a cascade. All engines find the same ones, in the same order, with the same
// scores. It may be called from many goroutines at once.
type Engine interface {
	// Run appends the windows to Found of every search. An error means that no search has an answer.
	Run(ctx context.Context, searches []Search) error
	Close() error
}

// Search is one pass over one image.
type Search struct {
	Luma *image.Gray
	Pass
	Found []Window
}

// cpuEngine evaluates on the CPU, with one searcher per goroutine.
type cpuEngine struct{ searchers sync.Pool }

// NewEngine makes the engine that runs on the CPU.
func NewEngine(c *Cascade) Engine {
	e := new(cpuEngine)
	e.searchers.New = func() any { return NewSearcher(c) }
	return e
}

func (e *cpuEngine) Run(ctx context.Context, searches []Search) error {
	searcher := e.searchers.Get().(*Searcher)
	defer e.searchers.Put(searcher)
	for i := range searches {
		if err := ctx.Err(); err != nil {
			return err
		}
		s := &searches[i]
		s.Found = searcher.Search(s.Found, s.Luma, s.Pass)
	}
	return ctx.Err()
}

func (e *cpuEngine) Close() error { return nil }

// smoothBelow is the scale from which on an image is not smoothed: the decoder's averaging is enough, and
// smoothing a halved image loses faces.
const smoothBelow = 1.5

// Image is the input of a Finder.
type Image struct {
	Luma  *image.Gray // an image of more than MaxPixels has no faces
	Scale float64     // pixels of the full image per pixel of Luma
}

// Face is a square in pixels of the luma.
type Face struct {
	X, Y, Side float64
	Score      float64 // above zero, without an upper end
}

// Finder turns the windows that an engine finds into faces: a pass over whole images, then a refinement of
// uncertain candidates. It may be called from many goroutines at once.
type Finder struct {
	engine  Engine
	scratch sync.Pool // *scratch
}

// NewFinder makes a finder of an engine and owns it.
func NewFinder(e Engine) *Finder { return &Finder{engine: e} }

// Close closes the engine.
func (f *Finder) Close() error { return f.engine.Close() }

// scratch is the memory of a call of Find, reused by the next one.
type scratch struct {
	lumas  []*image.Gray // as they are searched
	smooth []image.Gray
	passes searches // over whole images
	ends   []int    // of passes, per image
	refine refinement
	merger merger
}

// searches is a list that reuses the memory of its elements' results.
type searches []Search

// add appends a search and empties its result.
func (s *searches) add(luma *image.Gray, p Pass) {
	if len(*s) < cap(*s) {
		*s = (*s)[:len(*s)+1]
	} else {
		*s = append(*s, Search{})
	}
	last := &(*s)[len(*s)-1]
	*last = Search{Luma: luma, Pass: p, Found: last.Found[:0]}
}

// clear empties the list, so that it keeps no picture alive.
func (s *searches) clear() {
	for i := range *s {
		(*s)[i].Luma = nil
	}
	*s = (*s)[:0]
}

// Find calls found with the faces of each image of the batch, by score descending, as soon as all are known.
func (f *Finder) Find(ctx context.Context, batch []Image, p Params,
	found func(image int, faces []Face)) error {
	s, _ := f.scratch.Get().(*scratch)
	if s == nil {
		s = new(scratch)
	}
	defer f.scratch.Put(s)
	defer s.clear()
	s.prepare(batch, p)
	if err := f.engine.Run(ctx, s.passes); err != nil {
		return err
	}
	from := 0
	for i, to := range s.ends {
		s.merger.clear()
		for j := range s.passes[from:to] {
			s.merger.add(&s.passes[from+j], 1, 0, 0)
		}
		s.merger.cluster(p.IoU)
		s.refine.plan(&s.merger, s.lumas[i])
		from = to
	}
	if err := f.engine.Run(ctx, s.refine.searches); err != nil {
		return err
	}
	if err := f.engine.Run(ctx, s.refine.tilted()); err != nil {
		return err
	}
	for i := range batch {
		s.refine.gather(&s.merger, i)
		s.merger.cluster(p.IoU)
		found(i, s.merger.faces())
	}
	return nil
}

// prepare smooths the images of a batch and plans the first passes over them.
func (s *scratch) prepare(batch []Image, p Params) {
	for len(s.smooth) < len(batch) {
		s.smooth = append(s.smooth, image.Gray{})
	}
	for i, img := range batch {
		luma := img.Luma
		if size := luma.Bounds().Size(); size.X*size.Y > MaxPixels {
			luma = new(image.Gray)
		} else if img.Scale < smoothBelow {
			luma = &s.smooth[i]
			Smooth(luma, img.Luma)
		}
		s.lumas = append(s.lumas, luma)
		for _, pass := range p.passes(luma.Bounds().Size(), img.Scale) {
			s.passes.add(luma, pass)
		}
		s.ends = append(s.ends, len(s.passes))
	}
}

func (s *scratch) clear() {
	for i := range s.smooth {
		s.smooth[i].Pix = Reusable(s.smooth[i].Pix)
	}
	s.passes.clear()
	s.refine.clear()
	clear(s.lumas)
	s.lumas, s.ends = s.lumas[:0], s.ends[:0]
}

// Defaults of what counts as a face.
const (
	DefaultIoU      = 0.2
	DefaultMinScore = 8 // the threshold with the best F1 at IoU 0.4 on annotated photos
)

// Params say how an image is searched.
type Params struct {
	MinFace int     // side of the smallest window, in pixels of the full image
	MaxFace int     // side of the largest window, likewise; 0 = no limit
	Shift   float64 // step of a window, as a fraction of its side
	Scale   float64 // how much larger the windows of the next size are
	IoU     float64 // windows that overlap the best one by more are the same face
	// Angles are degrees by which faces may be tilted, searched besides upright ones; rounded to steps of
	// 11.25
	Angles []float64
}

// passes returns the passes over an image, one per angle; scale is full pixels per pixel of it.
func (p Params) passes(size image.Point, scale float64) []Pass {
	from := max(1, int(float64(p.MinFace)/scale))
	to := min(size.X, size.Y)
	if p.MaxFace != 0 {
		to = min(to, int(math.Ceil(float64(p.MaxFace)/scale)))
	}
	var all []Pass
	for _, tilt := range p.Turns() {
		all = append(all, Pass{MinSize: from, MaxSize: to, Shift: p.Shift, Scale: p.Scale, Turn: tilt})
	}
	return all
}

// Turns are the angles of the passes over an image, as fractions of a turn: upright first, then each of
// Angles once. As in pigo, angles are multiples of 1/32.
func (p Params) Turns() []float64 {
	turns := []float64{0}
	for _, degrees := range p.Angles {
		step := (int(math.Round(degrees*32/360))%32 + 32) % 32
		if t := float64(step) / 32; !slices.Contains(turns, t) {
			turns = append(turns, t)
		}
	}
	return turns
}

// Memory is the most bytes that a search of an image takes besides its luma: the smoothed copy, the copy with
// sorted columns, and with angles a copy with a border.
func (p Params) Memory(width, height int) int64 {
	w, h := int64(width), int64(height)
	bytes := 2 * w * h
	if len(p.Turns()) > 1 {
		margin := int64(border(min(width, height)))
		padded := (w + 2*margin) * (h + 2*margin)
		bytes = w*h + 2*padded // the sorted copy is of the padded one
	}
	return bytes
}
