//go:build linux && !static

package cuda

import (
	"errors"
	"unsafe"

	"facescan/detect/pigo"
)

// args is search_t: the kernel's arguments.
type args struct {
	trees                              trees
	pixels, grids, places, hits, count uintptr
	room                               int32
	_                                  int32
}

// lane is a stream with its buffers, for one goroutine at a time.
type lane struct {
	d      *driver
	stream uintptr

	// The batch, as planned. sizes are the sides of the grids' windows; ends is where the grids of each
	// search end.
	grids   []grid
	places  []place
	planned []pigo.Grid
	sizes   []int32
	ends    []int32
	found   []hit

	in    pinned  // images, then grids, then tiles
	out   pinned  // the number of hits, and the hits
	there [2]area // of in and of out, on the GPU
	args  args
	param [1]uintptr // its address
}

// pinned is host memory that the GPU can copy directly.
type pinned struct {
	at   unsafe.Pointer
	room int
}

// area is memory on the GPU.
type area struct {
	at   uintptr
	room int
}

const (
	leastIn   = 1 << 20
	leastHits = 1 << 12
	hitsAt    = 64 // where the hits begin in out; before them is their number
)

func (d *driver) newLane() (*lane, error) {
	defer d.use()()
	l := &lane{d: d}
	l.param[0] = uintptr(unsafe.Pointer(&l.args))
	const nonBlocking = 1
	if err := d.call(&d.streamCreate, uintptr(unsafe.Pointer(&l.stream)), nonBlocking); err != nil {
		return nil, err
	}
	return l, nil
}

// fit grows the buffers on both sides to at least these sizes, with some margin.
func (l *lane) fit(p *pinned, a *area, bytes int) error {
	d := l.d
	if p.room < bytes {
		if p.at != nil {
			if err := d.call(&d.hostFree, uintptr(p.at)); err != nil {
				return err
			}
		}
		*p = pinned{}
		var at unsafe.Pointer
		if err := d.call(&d.hostAlloc, uintptr(unsafe.Pointer(&at)), uintptr(bytes+bytes/4), 0); err != nil {
			return err
		}
		*p = pinned{at, bytes + bytes/4}
	}
	if a.room < bytes {
		if a.at != 0 {
			if err := d.call(&d.free, a.at); err != nil {
				return err
			}
		}
		*a = area{}
		var at uintptr
		if err := d.call(&d.alloc, uintptr(unsafe.Pointer(&at)), uintptr(bytes+bytes/4)); err != nil {
			return err
		}
		*a = area{at, bytes + bytes/4}
	}
	return nil
}

// shrink frees all buffers.
func (l *lane) shrink() error {
	d := l.d
	defer d.use()()
	var errs []error
	for _, p := range []*pinned{&l.in, &l.out} {
		if p.at != nil {
			errs = append(errs, d.call(&d.hostFree, uintptr(p.at)))
		}
		*p = pinned{}
	}
	for i := range l.there {
		if l.there[i].at != 0 {
			errs = append(errs, d.call(&d.free, l.there[i].at))
		}
		l.there[i] = area{}
	}
	return errors.Join(errs...)
}

func (l *lane) close() error {
	err := l.shrink()
	defer l.d.use()()
	return errors.Join(err, l.d.call(&l.d.streamDestroy, l.stream))
}

// align rounds up to where the next part of a buffer may begin.
func align(n int) int { return (n + 63) &^ 63 }

// run searches the planned batch and leaves the hits in l.found, in no order.
func (l *lane) run(searches []pigo.Search, bytes int) error {
	l.found = l.found[:0]
	if len(l.places) == 0 {
		return nil
	}
	defer l.d.use()()
	gridsAt := align(bytes)
	placesAt := align(gridsAt + len(l.grids)*gridBytes)
	inBytes := placesAt + len(l.places)*placeBytes
	if err := l.fit(&l.in, &l.there[0], max(inBytes, leastIn)); err != nil {
		return err
	}
	in := unsafe.Slice((*byte)(l.in.at), inBytes)
	pack(in, searches)
	copy(unsafe.Slice((*grid)(unsafe.Pointer(&in[gridsAt])), len(l.grids)), l.grids)
	copy(unsafe.Slice((*place)(unsafe.Pointer(&in[placesAt])), len(l.places)), l.places)
	for room := max(leastHits, (l.out.room-hitsAt)/hitBytes); ; {
		if err := l.fit(&l.out, &l.there[1], hitsAt+room*hitBytes); err != nil {
			return err
		}
		n, err := l.launch(inBytes, gridsAt, placesAt, room)
		if err != nil {
			return err
		}
		if n <= room {
			return l.fetch(n)
		}
		room = n + n/4 // the kernel also counts hits beyond its room
	}
}

// pack copies the images one behind the other.
func pack(to []byte, searches []pigo.Search) {
	for i := range searches {
		m := searches[i].Luma
		if i > 0 && m == searches[i-1].Luma {
			continue
		}
		size := m.Bounds().Size()
		for y := range size.Y {
			n := copy(to[:size.X], m.Pix[y*m.Stride:])
			to = to[n:]
		}
	}
}

// launch copies the batch to the GPU, runs the kernel, and returns the number of hits, which may exceed the
// room for them.
func (l *lane) launch(inBytes, gridsAt, placesAt, room int) (int, error) {
	d, in, out := l.d, l.there[0].at, l.there[1].at
	l.args = args{trees: d.trees, pixels: in, grids: in + uintptr(gridsAt), places: in + uintptr(placesAt),
		hits: out + hitsAt, count: out, room: int32(room)}
	if err := d.call(&d.toDevice, in, uintptr(l.in.at), uintptr(inBytes), l.stream); err != nil {
		return 0, err
	}
	if err := d.call(&d.fill, out, 0, 1, l.stream); err != nil {
		return 0, err
	}
	if err := d.call(&d.launch, d.search, uintptr(len(l.places)), 1, 1, threads, 1, 1, 0, l.stream,
		uintptr(unsafe.Pointer(&l.param[0])), 0); err != nil {
		return 0, err
	}
	// A usual number of hits is copied with the count, so that one wait is enough.
	if err := d.call(&d.toHost, uintptr(l.out.at), out, uintptr(hitsAt+leastHits*hitBytes),
		l.stream); err != nil {
		return 0, err
	}
	if err := d.call(&d.synchronize, l.stream); err != nil {
		return 0, err
	}
	return int(*(*int32)(l.out.at)), nil
}

// fetch copies n hits back.
func (l *lane) fetch(n int) error {
	if n > leastHits {
		d := l.d
		if err := d.call(&d.toHost, uintptr(l.out.at), l.there[1].at, uintptr(hitsAt+n*hitBytes),
			l.stream); err != nil {
			return err
		}
		if err := d.call(&d.synchronize, l.stream); err != nil {
			return err
		}
	}
	l.found = append(l.found, unsafe.Slice((*hit)(unsafe.Add(l.out.at, hitsAt)), n)...)
	return nil
}
