//go:build linux && !static

// Package cuda evaluates a cascade on an NVIDIA GPU: the same windows as pigo, in the same order, with the
// same scores bit for bit.
//
// Only the driver is needed to run it: libcuda is loaded at run time, and the kernel is PTX in the binary,
// which the driver translates for the GPU it finds, of compute capability 7.5 or later. Everything builds and
// is tested without either.
//
// # A batch
//
// The images of a batch lie one behind the other. The search of an image has a grid of windows per window
// size. A grid is cut into tiles, and one block of threads does a tile (kernel.cu). The evaluation of a
// window is in window.h, which is both CUDA and C. The tests compile both files with the C compiler behind a
// driver without a GPU, and compare the whole package with pigo.
//
// # Lanes
//
// A lane is a stream with its buffers, on both sides; those on this one are pinned, so that copies run beside
// kernels. At most one batch per lane runs at once. Buffers grow and are kept: in the steady state nothing is
// allocated. A batch that does not fit the GPU's memory is halved.
package cuda

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"facescan/detect"
	"facescan/detect/pigo"
)

//go:generate sh generate.sh

//go:embed kernel.ptx
var ptx []byte

const (
	lanes    = 3       // one copies in, one computes, one copies out
	tile     = 1024    // windows, as in kernel.cu
	threads  = 256     // of a block
	maxBytes = 1 << 30 // of a batch's images, unless it is one
)

// grid, place and hit are the kernel's input and output: grid_t, tile_t and hit_t of the sources.
type (
	grid struct {
		at                  int64
		width, height       int32
		row, col            int32
		cols, windows, step int32
		sin, cos            int32
		mirror, turned      int32
		_                   int32
	}
	place struct{ grid, first int32 }
	hit   struct {
		grid, window int32
		score        float32
	}
)

// Engine finds windows on one GPU. It implements pigo.Engine.
type Engine struct {
	driver *driver
	free   chan *lane
	all    []*lane
}

// Open opens a GPU by its number, from 0.
func Open(c *pigo.Cascade, device int) (*Engine, error) { return open(c, library, device) }

func open(c *pigo.Cascade, library string, device int) (*Engine, error) {
	d, err := newDriver(library, device, c.Tables())
	if err != nil {
		return nil, err
	}
	e := &Engine{driver: d, free: make(chan *lane, lanes)}
	for range lanes {
		l, err := d.newLane()
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		e.all = append(e.all, l)
		e.free <- l
	}
	return e, nil
}

// Name is the driver's name of the GPU.
func (e *Engine) Name() string { return e.driver.name }

// Close frees the GPU, once all lanes are idle.
func (e *Engine) Close() error {
	var errs []error
	for _, l := range e.all {
		errs = append(errs, l.close())
	}
	return errors.Join(append(errs, e.driver.close())...)
}

// Run implements pigo.Engine.
func (e *Engine) Run(ctx context.Context, searches []pigo.Search) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(searches) == 0 {
		return nil
	}
	var l *lane
	select {
	case l = <-e.free:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { e.free <- l }()
	return e.run(ctx, l, searches)
}

// run searches a batch, in halves if it does not fit.
func (e *Engine) run(ctx context.Context, l *lane, searches []pigo.Search) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if bytes := l.plan(searches); bytes <= maxBytes || len(searches) == 1 {
		err := l.run(searches, bytes)
		if err == nil {
			l.collect(searches)
			return nil
		}
		if !errors.Is(err, errMemory) {
			return err
		}
		_ = l.shrink() // the search's error is the one to report
		if len(searches) == 1 {
			size := searches[0].Luma.Bounds().Size()
			// Other programs use the GPU's memory too: that it is full now says nothing about the image.
			return fmt.Errorf("%w: an image of %dx%d pixels: %w", detect.ErrUnavailable, size.X, size.Y, err)
		}
	}
	half := len(searches) / 2
	if err := e.run(ctx, l, searches[:half]); err != nil {
		return err
	}
	return e.run(ctx, l, searches[half:])
}

// plan lays a batch out: its grids, its tiles, and the position of each image. Searches of one image in a row
// share it. It returns the bytes of the images.
func (l *lane) plan(searches []pigo.Search) int {
	l.grids, l.places, l.ends = l.grids[:0], l.places[:0], l.ends[:0]
	var bytes, at int
	for i := range searches {
		s := &searches[i]
		size := s.Luma.Bounds().Size()
		if i == 0 || s.Luma != searches[i-1].Luma {
			at, bytes = bytes, bytes+size.X*size.Y
		}
		l.planned = s.Grids(l.planned[:0], size.X, size.Y)
		for _, g := range l.planned {
			n := int32(len(l.grids))
			windows := g.Rows * g.Cols
			k := grid{at: int64(at), width: int32(size.X), height: int32(size.Y), row: int32(g.Row),
				col: int32(g.Col), cols: int32(g.Cols),
				windows: int32(windows), step: int32(g.Step), sin: g.Sin, cos: g.Cos, mirror: 1}
			if g.Mirror {
				k.mirror = -1
			}
			if g.Sin != 0 || g.Cos < 0 {
				k.turned = 1
			}
			l.grids = append(l.grids, k)
			for first := 0; first < windows; first += tile {
				l.places = append(l.places, place{n, int32(first)})
			}
			l.sizes = append(l.sizes[:n], int32(g.Size))
		}
		l.ends = append(l.ends, int32(len(l.grids)))
	}
	return bytes
}

// collect appends the hits to their searches, in the order of pigo.Searcher.
func (l *lane) collect(searches []pigo.Search) {
	key := func(h hit) (row, col int32) {
		g := &l.grids[h.grid]
		if g.mirror < 0 { // rows are from right to left
			return h.window / g.cols, -(h.window % g.cols)
		}
		return h.window / g.cols, h.window % g.cols
	}
	slices.SortFunc(l.found, func(a, b hit) int {
		if a.grid != b.grid {
			return cmp.Compare(a.grid, b.grid)
		}
		ar, ac := key(a)
		br, bc := key(b)
		return cmp.Or(cmp.Compare(ar, br), cmp.Compare(ac, bc))
	})
	i := 0
	for _, h := range l.found {
		for h.grid >= l.ends[i] {
			i++
		}
		g := &l.grids[h.grid]
		searches[i].Found = append(searches[i].Found, pigo.Window{
			Row: int(g.row + h.window/g.cols*g.step), Col: int(g.col + h.window%g.cols*g.step),
			Size: int(l.sizes[h.grid]), Score: h.score,
		})
	}
}

// Sizes of the transferred types, in bytes.
const (
	gridBytes  = int(unsafe.Sizeof(grid{}))
	placeBytes = int(unsafe.Sizeof(place{}))
	hitBytes   = int(unsafe.Sizeof(hit{}))
)
