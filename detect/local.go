package detect

import (
	"context"
	"fmt"
	"sync"

	"facescan/detect/pigo"
	"facescan/detect/yunet"
)

// New opens a built-in detector, on the CPU.
func New(p Params) (Detector, error) {
	k, known := KindNamed(p.Detector)
	if !known {
		return nil, fmt.Errorf("%q is not a detector", p.Detector)
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return k.open(p)
}

// Local is a detector in this process.
type Local interface {
	Detector
	// Memory is the most bytes that an image with luma of this size takes, besides the luma.
	Memory(width, height int) int64
}

// local is the common part of the detectors in this process.
type local struct {
	p           Params
	kind        Kind
	fingerprint string // every result carries it
}

func newLocal(p Params) local { return local{p, p.kind(), p.kind().Print + " " + p.String()} }

func (l *local) Fingerprint() string { return l.fingerprint }

func (l *local) answer(faces []Face, img Image) Answer {
	return l.kind.Answer(faces, img.Luma.Bounds().Size(), l.p.Threshold())
}

// pigoDetector runs the cascade on an engine.
type pigoDetector struct {
	local
	finder *pigo.Finder
}

func newPigo(p Params) (Detector, error) {
	c, err := pigo.Parse(pigo.Facefinder)
	if err != nil {
		return nil, fmt.Errorf("embedded cascade: %w", err)
	}
	return NewWith(p, pigo.NewEngine(c))
}

// NewWith makes a pigo detector that uses an engine and owns it.
func NewWith(p Params, e pigo.Engine) (Detector, error) {
	p.Detector = Pigo
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return &pigoDetector{newLocal(p), pigo.NewFinder(e)}, nil
}

func (d *pigoDetector) Detect(ctx context.Context, batch []Image) ([]Answer, error) {
	images := make([]pigo.Image, len(batch))
	for i, img := range batch {
		images[i] = pigo.Image{Luma: img.Luma, Scale: img.Scale}
	}
	answers := make([]Answer, len(batch))
	var faces []Face
	err := d.finder.Find(ctx, images, d.p.pigo(), func(i int, found []pigo.Face) {
		faces = faces[:0]
		for _, f := range found {
			faces = append(faces, Face{X: f.X, Y: f.Y, Width: f.Side, Height: f.Side, Score: f.Score})
		}
		answers[i] = d.answer(faces, batch[i])
		if size := batch[i].Luma.Bounds().Size(); size.X*size.Y > pigo.MaxPixels {
			answers[i].Err = fmt.Errorf("an image of %dx%d pixels is larger than can be searched",
				size.X, size.Y)
		}
	})
	if err != nil {
		return nil, err
	}
	return answers, nil
}

func (d *pigoDetector) Memory(width, height int) int64 { return d.p.pigo().Memory(width, height) }
func (d *pigoDetector) Close() error                   { return d.finder.Close() }

// yunetDetector runs the network, with one finder per goroutine.
type yunetDetector struct {
	local
	scratch sync.Pool // *yunetScratch
}

// yunetScratch is the memory of a call of Detect, reused by the next one.
type yunetScratch struct {
	finder *yunet.Finder
	found  []yunet.Face
	faces  []Face
}

func newYunet(p Params) (Detector, error) {
	d := &yunetDetector{local: newLocal(p)}
	d.scratch.New = func() any { return &yunetScratch{finder: yunet.NewFinder()} }
	return d, nil
}

func (d *yunetDetector) Detect(ctx context.Context, batch []Image) ([]Answer, error) {
	s := d.scratch.Get().(*yunetScratch)
	defer d.scratch.Put(s)
	// Candidates must reach the floor; with a lower threshold, faces may lie below it.
	p := yunet.Params{MinFace: d.p.MinFace, MaxFace: d.p.MaxFace, IoU: d.p.Overlap(),
		Floor: min(d.kind.Floor, d.p.Threshold())}
	answers := make([]Answer, len(batch))
	for i, img := range batch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.found = s.finder.Find(s.found[:0], img.Luma, img.Scale, p)
		s.faces = s.faces[:0]
		for _, f := range s.found {
			face := Face{X: f.X, Y: f.Y, Width: f.Width, Height: f.Height, Score: f.Score, HasLandmarks: true}
			for n, point := range f.Landmarks {
				face.Landmarks[n] = Point(point)
			}
			s.faces = append(s.faces, face)
		}
		answers[i] = d.answer(s.faces, img)
	}
	return answers, ctx.Err()
}

func (d *yunetDetector) Memory(width, height int) int64 { return yunet.Memory(width, height) }
func (d *yunetDetector) Close() error                   { return nil }
