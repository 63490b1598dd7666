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

	in, out       memory // pinned: images, then grids, then tiles; the number of hits, and the hits
	gpuIn, gpuOut memory // the same on the GPU
	args          args
	param         [1]uintptr // its address
}

// memory is a buffer on the GPU, or a pinned one of this process, which the GPU can copy directly.
type memory struct {
	at          uintptr
	room        int
	alloc, free *function
}

// pointer is the address of a pinned buffer.
func (m *memory) pointer() unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&m.at)) }

const (
	leastIn   = 1 << 20
	leastHits = 1 << 12
	hitsAt    = 64 // where the hits begin in out; before them is their number
)

func (d *driver) newLane() (*lane, error) {
	defer d.use()()
	pinned, gpu := memory{alloc: &d.hostAlloc, free: &d.hostFree}, memory{alloc: &d.alloc, free: &d.free}
	l := &lane{d: d, in: pinned, out: pinned, gpuIn: gpu, gpuOut: gpu}
	l.param[0] = uintptr(unsafe.Pointer(&l.args))
	const nonBlocking = 1
	if err := d.call(&d.streamCreate, uintptr(unsafe.Pointer(&l.stream)), nonBlocking); err != nil {
		return nil, err
	}
	return l, nil
}

// fit grows the buffers of both sides to at least that many bytes, with some margin.
func (l *lane) fit(bytes int, buffers ...*memory) error {
	for _, m := range buffers {
		if m.room >= bytes {
			continue
		}
		if err := l.drop(m); err != nil {
			return err
		}
		more := bytes + bytes/4
		if err := l.d.call(m.alloc, uintptr(unsafe.Pointer(&m.at)), uintptr(more), 0); err != nil {
			return err
		}
		m.room = more
	}
	return nil
}

// drop frees a buffer.
func (l *lane) drop(m *memory) error {
	at := m.at
	m.at, m.room = 0, 0
	if at == 0 {
		return nil
	}
	return l.d.call(m.free, at)
}

// shrink frees all buffers.
func (l *lane) shrink() error {
	defer l.d.use()()
	return errors.Join(l.drop(&l.in), l.drop(&l.out), l.drop(&l.gpuIn), l.drop(&l.gpuOut))
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
	if err := l.fit(max(inBytes, leastIn), &l.in, &l.gpuIn); err != nil {
		return err
	}
	in := unsafe.Slice((*byte)(l.in.pointer()), inBytes)
	pack(in, searches)
	copy(unsafe.Slice((*grid)(unsafe.Pointer(&in[gridsAt])), len(l.grids)), l.grids)
	copy(unsafe.Slice((*place)(unsafe.Pointer(&in[placesAt])), len(l.places)), l.places)
	for room := max(leastHits, (l.out.room-hitsAt)/hitBytes); ; {
		if err := l.fit(hitsAt+room*hitBytes, &l.out, &l.gpuOut); err != nil {
			return err
		}
		n, err := l.launch(inBytes, gridsAt, placesAt, room)
		if err != nil {
			return err
		}
		if n > room {
			room = n + n/4 // the kernel also counts hits beyond its room
			continue
		}
		if n > leastHits {
			if err := l.fetch(n); err != nil {
				return err
			}
		}
		l.found = append(l.found, unsafe.Slice((*hit)(unsafe.Add(l.out.pointer(), hitsAt)), n)...)
		return nil
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
	d, in, out := l.d, l.gpuIn.at, l.gpuOut.at
	l.args = args{trees: d.trees, pixels: in, grids: in + uintptr(gridsAt), places: in + uintptr(placesAt),
		hits: out + hitsAt, count: out, room: int32(room)}
	if err := d.call(&d.toDevice, in, l.in.at, uintptr(inBytes), l.stream); err != nil {
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
	if err := l.fetch(leastHits); err != nil {
		return 0, err
	}
	return int(*(*int32)(l.out.pointer())), nil
}

// fetch copies the count and n hits from the GPU, and waits for them.
func (l *lane) fetch(n int) error {
	d := l.d
	if err := d.call(&d.toHost, l.out.at, l.gpuOut.at, uintptr(hitsAt+n*hitBytes), l.stream); err != nil {
		return err
	}
	return d.call(&d.synchronize, l.stream)
}
