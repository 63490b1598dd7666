package detect

import (
	"context"
	"fmt"
	"image"
	"math"
	"sync"

	"facescan/detect/cascade"
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

// NewWith makes a detector of an engine. The detector owns it.
func NewWith(p Params, e Engine) (Detector, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return &detector{p: p, engine: e, turns: p.turns(), print: fmt.Sprintf("facefinder-%.8s/1 %v", FacefinderSum(), p)}, nil
}

// detector turns the windows that an engine finds into faces.
type detector struct {
	p       Params
	engine  Engine
	turns   []float64
	print   string
	scratch sync.Pool // *scratch
}

// scratch is what a call of Detect needs and leaves behind for the next one.
type scratch struct {
	searches []Search
	merger   merger
}

func (d *detector) Detect(ctx context.Context, batch []Image) ([]Answer, error) {
	s, _ := d.scratch.Get().(*scratch)
	if s == nil {
		s = new(scratch)
	}
	defer d.scratch.Put(s)
	d.plan(s, batch)
	if err := d.engine.Run(ctx, s.searches); err != nil {
		return nil, err
	}
	answers := make([]Answer, len(batch))
	for i := range batch {
		answers[i] = s.merger.merge(s.searches[i*len(d.turns):][:len(d.turns)], d.p)
	}
	for i := range s.searches {
		s.searches[i].Luma = nil // the pool must not keep pictures alive
	}
	return answers, nil
}

// plan sets s.searches: for every image one a turn.
func (d *detector) plan(s *scratch, batch []Image) {
	n := len(batch) * len(d.turns)
	for len(s.searches) < n {
		s.searches = append(s.searches, Search{})
	}
	s.searches = s.searches[:n]
	for i, img := range batch {
		size := img.Luma.Bounds().Size()
		from := max(1, int(float64(d.p.MinFace)/img.Scale))
		to := min(size.X, size.Y)
		if d.p.MaxFace != 0 {
			to = min(to, int(math.Ceil(float64(d.p.MaxFace)/img.Scale)))
		}
		for j, t := range d.turns {
			search := &s.searches[i*len(d.turns)+j]
			*search = Search{Luma: img.Luma, Found: search.Found[:0], Params: cascade.Params{
				MinSize: from, MaxSize: to, Shift: d.p.Shift, Scale: d.p.Scale, Turn: t,
			}}
		}
	}
}

func (d *detector) Fingerprint() string { return d.print }
func (d *detector) Close() error        { return d.engine.Close() }
