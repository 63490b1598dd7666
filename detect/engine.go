package detect

import (
	"context"
	"fmt"
	"image"
	"sync"

	"facescan/detect/cascade"
	"facescan/detect/haar"
)

// Engine finds the windows of a cascade. All engines find the same ones, in the same order, with the same scores.
// It may be called from many goroutines at once.
type Engine interface {
	// Run appends to Found of every search. An error means that no search has an answer.
	Run(ctx context.Context, searches []Search) error
	Close() error
}

// Search is one pass over one image.
type Search struct {
	Luma *image.Gray
	cascade.Params
	Found []cascade.Window
}

// smoothBelow is the scale from which on the decoder has smoothed enough: a face is found less often in an image that was
// halved and smoothed.
const smoothBelow = 1.5

// NewWith makes a detector of an engine. The detector owns it.
func NewWith(p Params, e Engine) (Detector, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return &detector{p: p, engine: e, print: fmt.Sprintf("facefinder-%.8s/1 %v", FacefinderSum(), p)}, nil
}

// detector turns the windows that an engine finds into faces, in two looks: at whole images, and once more at what is doubtful.
type detector struct {
	p       Params
	engine  Engine
	print   string
	scratch sync.Pool // *scratch
}

// scratch is what a call of Detect needs and leaves behind for the next one.
type scratch struct {
	lumas  []*image.Gray // as they are searched
	smooth []image.Gray
	passes searches  // over whole images
	weight []float64 // of passes
	ends   []int     // of passes, an image
	looks  looks
	merger merger
	asker  haar.Asker
}

// searches is a list that keeps the room of its elements' results.
type searches []Search

// add appends a search and empties its result.
func (s *searches) add(luma *image.Gray, p cascade.Params) {
	if len(*s) < cap(*s) {
		*s = (*s)[:len(*s)+1]
	} else {
		*s = append(*s, Search{})
	}
	last := &(*s)[len(*s)-1]
	*last = Search{Luma: luma, Params: p, Found: last.Found[:0]}
}

// clear empties the list. It must not keep pictures alive.
func (s *searches) clear() {
	for i := range *s {
		(*s)[i].Luma = nil
	}
	*s = (*s)[:0]
}

func (d *detector) Detect(ctx context.Context, batch []Image) ([]Answer, error) {
	s, _ := d.scratch.Get().(*scratch)
	if s == nil {
		s = new(scratch)
	}
	defer d.scratch.Put(s)
	defer s.clear()
	s.prepare(batch, d.p)
	if err := d.engine.Run(ctx, s.passes); err != nil {
		return nil, err
	}
	from := 0
	for i, to := range s.ends {
		s.merger.clear()
		for j := range s.passes[from:to] {
			s.merger.add(&s.passes[from+j], s.weight[from+j], 0, 0)
		}
		s.merger.cluster(d.p.IoU)
		s.looks.plan(&s.merger, s.lumas[i])
		from = to
	}
	if err := d.engine.Run(ctx, s.looks.searches); err != nil {
		return nil, err
	}
	if err := d.engine.Run(ctx, s.looks.tilted()); err != nil {
		return nil, err
	}
	answers := make([]Answer, len(batch))
	for i, img := range batch {
		s.looks.gather(&s.merger, i)
		s.merger.cluster(d.p.IoU)
		if d.p.Verify {
			secondOpinion(&s.asker, s.merger.clusters, img.Luma)
		}
		answers[i] = d.p.answer(s.merger.clusters)
		if size := img.Luma.Bounds().Size(); tooLarge(size) {
			answers[i].Err = fmt.Errorf("an image of %dx%d pixels is larger than can be searched", size.X, size.Y)
		}
	}
	return answers, nil
}

// prepare smooths the images of a batch and plans the first look at them.
func (s *scratch) prepare(batch []Image, p Params) {
	for len(s.smooth) < len(batch) {
		s.smooth = append(s.smooth, image.Gray{})
	}
	for i, img := range batch {
		luma := img.Luma
		if tooLarge(luma.Bounds().Size()) {
			luma = new(image.Gray)
		} else if img.Scale < smoothBelow {
			luma = &s.smooth[i]
			cascade.Smooth(luma, img.Luma)
		}
		s.lumas = append(s.lumas, luma)
		for _, pass := range p.passes(luma.Bounds().Size(), img.Scale) {
			s.passes.add(luma, pass.Params)
			s.weight = append(s.weight, pass.weight)
		}
		s.ends = append(s.ends, len(s.passes))
	}
}

func tooLarge(size image.Point) bool { return size.X*size.Y > cascade.MaxPixels }

func (s *scratch) clear() {
	for i := range s.smooth {
		s.smooth[i].Pix = cascade.LetGo(s.smooth[i].Pix)
	}
	s.passes.clear()
	s.looks.clear()
	clear(s.lumas)
	s.lumas, s.ends, s.weight = s.lumas[:0], s.ends[:0], s.weight[:0]
}

func (d *detector) Fingerprint() string { return d.print }
func (d *detector) Close() error        { return d.engine.Close() }
