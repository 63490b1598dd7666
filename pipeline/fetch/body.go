package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"facescan/pipeline/fetch/robots"
	"facescan/store/listed"
)

// Memory is the byte budget for bodies.
type Memory interface {
	// Reserve waits for n bytes. It is called while nothing is held.
	Reserve(ctx context.Context, n int64) error
	// Grow waits for n bytes more.
	Grow(ctx context.Context, n int64) error
	// Release gives n bytes back.
	Release(n int64)
}

// Body is a fetched body. Call Release when its bytes are no longer needed.
type Body struct {
	Bytes    []byte
	FinalURL string // after redirects, password hidden; empty if it is the row's own
	Status   int
	Header   http.Header
	First    time.Duration // from the start of the attempt to the last answer's header
	Took     time.Duration // to the last byte
	Seen     *listed.File  // of a file: what it looked like when its bytes were about to be read

	buf *buffer
}

// Release returns the buffer to the pool and its size to the budget. Bytes must not be used after it.
func (b *Body) Release() {
	b.Bytes = nil
	if b.buf != nil {
		b.buf.free()
		b.buf = nil
	}
}

// FirstMemory is reserved before the request: most images of the web fit in twice as much.
const FirstMemory = 64 << 10

const (
	minPooled = 4 << 10
	// maxPooled is the largest pooled buffer, or rare giants would fill the pools
	maxPooled = 1 << 20
)

var pools [9]sync.Pool // of *[]byte, a power of two each, from minPooled to maxPooled

func pooledSize(n int64) (class int, size int64) {
	for size = minPooled; size < n; size <<= 1 {
		class++
	}
	return class, size
}

// MostMemory is the most bytes that an attempt takes while it reads a body: a buffer of MaxBytes, and the
// previous one. Before that it may read a robots.txt.
func (f *Fetcher) MostMemory() int64 {
	most := 2 * f.o.MaxBytes
	if f.permissions != nil {
		most = max(most, FirstMemory+2*robots.MaxSize)
	}
	return most
}

// buffer is memory for a body; its whole capacity is reserved in the budget.
type buffer struct {
	mem  Memory
	grow func(n int64) error // takes n bytes more of mem
	paid int64
	b    []byte
	slot *[]byte // what b is in; of the pool, unless it is too large
}

// pay changes the reservation to n.
func (b *buffer) pay(n int64) error {
	switch {
	case n < b.paid:
		b.mem.Release(b.paid - n)
	case n > b.paid:
		if err := b.grow(n - b.paid); err != nil {
			return err
		}
	}
	b.paid = n
	return nil
}

// resize gives the buffer a capacity of at least n and keeps its bytes. While it copies, both buffers are
// reserved.
func (b *buffer) resize(n int64) error {
	class, size := pooledSize(n)
	if n > maxPooled {
		size = n
	}
	old, oldSlot := b.b, b.slot
	if err := b.pay(int64(cap(old)) + size); err != nil {
		return err
	}
	b.slot = nil
	if n <= maxPooled {
		b.slot, _ = pools[class].Get().(*[]byte)
	}
	if b.slot == nil {
		p := make([]byte, size)
		b.slot = &p
	}
	b.b = (*b.slot)[:len(old)]
	copy(b.b, old)
	recycle(oldSlot)
	return b.pay(size)
}

// fill reads to the end of r, or until there are more bytes than limit. It returns what ended says of the
// error that the reading ended with, io.EOF included.
func (b *buffer) fill(r io.Reader, limit int64, ended func(error) error) error {
	for {
		var n int
		var err error
		switch length := int64(len(b.b)); {
		case length < min(int64(cap(b.b)), limit):
			n, err = r.Read(b.b[length:min(int64(cap(b.b)), limit)])
			b.b = b.b[:len(b.b)+n]
		default: // it ends here, or the buffer has to grow: one byte decides
			var one [1]byte
			if n, err = r.Read(one[:]); n == 0 {
				break
			}
			if length == limit {
				return &Error{Reason: TooLarge, Err: fmt.Errorf("more than %d bytes", limit)}
			}
			if err := b.resize(min(2*length, limit)); err != nil {
				return err
			}
			b.b = append(b.b, one[0])
		}
		if err != nil {
			return ended(err)
		}
	}
}

func (b *buffer) free() {
	recycle(b.slot)
	b.b, b.slot = nil, nil
	_ = b.pay(0) // giving back does not fail
}

func recycle(slot *[]byte) {
	if slot != nil && len(*slot) <= maxPooled {
		class, _ := pooledSize(int64(len(*slot)))
		pools[class].Put(slot)
	}
}

// read reads the body of an answer, decoded, into the buffer. It is too large if it is longer than limit:
// then the buffer has what comes before.
func (a *attempt) read(resp *http.Response, buf *buffer, limit int64) error {
	if resp.ContentLength > limit {
		return &Error{Reason: TooLarge, Err: fmt.Errorf("%d bytes announced", resp.ContentLength)}
	}
	wire := &wire{a: a, r: resp.Body, chunked: len(resp.TransferEncoding) > 0}
	r, memory, err := decoded(wire, resp.Header.Values("Content-Encoding"))
	if err != nil {
		return a.bodyError(wire, err)
	}
	if c, ok := r.(io.Closer); ok {
		defer c.Close()
	}
	size := min(FirstMemory, limit)
	if r == io.Reader(wire) && resp.ContentLength >= 0 {
		size = resp.ContentLength
	}
	if memory > 0 { // of the decoder, while it works
		if err := buf.grow(memory); err != nil {
			return err
		}
		defer buf.mem.Release(memory)
	}
	if err := buf.resize(size); err != nil {
		return err
	}
	return buf.fill(r, limit, func(err error) error { return a.bodyError(wire, err) })
}

// bodyError is nil for the end of a body. An error of the connection takes precedence over the decoder's.
func (a *attempt) bodyError(w *wire, err error) error {
	if err == io.EOF {
		w.finish()
	}
	switch {
	case w.err != nil && w.err != io.EOF:
		return w.err
	case err == io.EOF:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Reason: Truncated, Err: errors.New("the content encoding is cut")}
	}
	return &Error{Reason: HTTPError, Err: fmt.Errorf("content encoding: %w", err)}
}

// wire reads a body as it comes from the connection, and keeps the error that it ended with.
type wire struct {
	a       *attempt
	r       io.Reader
	chunked bool
	err     error
}

// Limit on reading beyond the end that a decoder found, to check that the message itself is whole.
const (
	behindBytes = 64 << 10
	behindTime  = 2 * time.Second
)

// finish reads to the message's end after a complete content encoding, up to a limit.
func (w *wire) finish() {
	if w.err != nil {
		return
	}
	w.a.atMost(behindTime)
	_, _ = io.CopyN(io.Discard, w, behindBytes)
	if errors.Is(w.err, errTimeout) || errors.Is(w.err, errTooSlow) {
		w.err = nil
	}
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.a.throttled(w.r, p)
	w.a.received.Add(int64(n))
	if err != nil && err != io.EOF {
		if cause := context.Cause(w.a.ctx); cause != nil {
			err = cause
		} else if w.chunked && w.a.hop.conn.cutBehindLastChunk(err) {
			err = io.EOF
		}
	}
	if err != nil {
		w.err = err
	}
	return n, err
}
