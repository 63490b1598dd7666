package source

import (
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"facescan/pipeline/crash"
)

// pump reads a pipe ahead in its own goroutine, so that no caller hangs in a read without data, and ready
// knows whether there is more. It reads little ahead, because that is lost when the process is killed. When
// its context ends it reads what the pipe has at that moment, so that a run that drains loses nothing.
type pump struct {
	ctx    context.Context // the reader's
	ending chan struct{}   // closed by next when it has ended
	closed chan struct{}
	full   chan []byte
	free   chan []byte
	rest   []byte // of current
	cur    []byte
	err    error // why full was closed
}

const (
	pumpBlocks = 4  // that are read ahead
	lastBlocks = 16 // at most, after the context has ended: as much as a pipe can hold
	lastWait   = 50 * time.Millisecond
)

func newPump(ctx context.Context, in io.Reader) *pump {
	p := &pump{ctx: ctx, ending: make(chan struct{}), closed: make(chan struct{}),
		full: make(chan []byte, pumpBlocks), free: make(chan []byte, pumpBlocks)}
	go func() {
		defer crash.Exit()
		defer close(p.full)
		for last := lastBlocks; ; {
			select {
			case <-p.ending:
				if last--; last < 0 || !hasMore(in) {
					p.err = context.Canceled
					return
				}
			default:
			}
			var b []byte
			select {
			case b = <-p.free:
			default:
				b = make([]byte, blockSize)
			}
			n, err := in.Read(b)
			if n > 0 {
				select {
				case p.full <- b[:n]:
				case <-p.closed:
					return
				}
			}
			if err != nil {
				p.err = err
				return
			}
		}
	}()
	return p
}

// hasMore reports whether a pipe has data now.
func hasMore(in io.Reader) (has bool) {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	c, err := f.SyscallConn()
	if err != nil {
		return false
	}
	err = c.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		has = err == nil && n > 0 && fds[0].Revents&unix.POLLIN != 0
	})
	return has && err == nil
}

func (p *pump) Read(dst []byte) (int, error) {
	if len(p.rest) == 0 {
		if p.cur != nil {
			select {
			case p.free <- p.cur[:cap(p.cur)]:
			default:
			}
			p.cur = nil
		}
		b, err := p.next()
		if err != nil {
			return 0, err
		}
		p.cur, p.rest = b, b
	}
	n := copy(dst, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// next waits for the next block; after the context has ended, only for a block that was already read.
func (p *pump) next() ([]byte, error) {
	done := p.ctx.Done()
	for {
		var late <-chan time.Time
		if p.ctx.Err() != nil {
			if done != nil {
				done = nil
				p.end()
			}
			late = time.After(lastWait)
		}
		select {
		case b, ok := <-p.full:
			if !ok {
				return nil, p.err
			}
			return b, nil
		case <-done:
		case <-late:
			return nil, p.ctx.Err()
		}
	}
}

// end signals to the goroutine that the context has ended.
func (p *pump) end() {
	select {
	case <-p.ending:
	default:
		close(p.ending)
	}
}

func (p *pump) ready() bool { return len(p.rest) > 0 || len(p.full) > 0 }

// Close ends the goroutine once its read returns.
func (p *pump) Close() error { close(p.closed); return nil }
