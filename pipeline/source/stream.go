package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// windowSize is how much of a list is looked at at once.
const windowSize = 256 << 10

var bom = []byte("\xef\xbb\xbf")

// stream is the text of a list: decompressed, in a window that moves forward, with the fingerprint of what it left
// behind. A reader looks at window, asks for more, and consumes whole rows.
type stream struct {
	ctx  context.Context
	path string
	file stat  // when it was opened
	size int64 // of the file, 0 when unknown

	raw     atomic.Int64 // bytes of the file that were read
	text    io.Reader
	pump    *pump // nil for a file, which never lets a reader wait
	closers []func() error

	buf  []byte
	r, w int   // buf[r:w] is the window
	err  error // why more has nothing more: io.EOF at a clean end

	print fingerprint // of what is consumed
}

// openStream opens a list at its start, or where the position is, having made sure that what lies before is the
// same. It returns the position's mark too. A nil stream says that nothing can follow: the file was read to its end
// and is untouched since.
func openStream(ctx context.Context, spec Spec, compression string, from Position) (*stream, mark, error) {
	m, err := decodeMark(spec.Path, from.Mark)
	if err != nil {
		return nil, m, err
	}
	s := &stream{ctx: ctx, path: spec.Path, buf: make([]byte, windowSize), print: newFingerprint()}
	seekable, err := s.open(spec, compression)
	if err != nil {
		return nil, m, err
	}
	fail := func(err error) (*stream, mark, error) { s.Close(); return nil, m, err }

	if seekable != nil && compression != "" {
		if s.size == 0 {
			return fail(fmt.Errorf("%s is empty, not even a .%s header is in it", nameOf(s.path), compression))
		}
		if m.End && m.File == s.file {
			s.Close()
			return nil, m, nil
		}
	}
	if from.Offset == 0 {
		return s, m, nil
	}
	if seekable != nil && compression == "" {
		err = s.seek(seekable, m, from.Offset)
	} else {
		err = s.skipTo(m, from.Offset)
	}
	if err != nil {
		return fail(err)
	}
	return s, m, nil
}

// open sets up file, decompression and sizes. It returns the file if it is one that can be sought in.
func (s *stream) open(spec Spec, compression string) (*os.File, error) {
	var in io.Reader
	var seekable *os.File
	if spec.Path == "-" {
		in = spec.In
		if in == nil {
			in = os.Stdin
		}
	} else {
		f, err := os.Open(spec.Path)
		if err != nil {
			return nil, err
		}
		fi, err := f.Stat()
		if err == nil && fi.IsDir() {
			err = usagef("%s is a folder, not a list", spec.Path)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		s.closers = append(s.closers, f.Close)
		in = f
		if fi.Mode().IsRegular() {
			seekable, s.file, s.size = f, statOf(fi), fi.Size()
		}
	}
	if seekable == nil {
		s.pump = newPump(s.ctx, in)
		s.closers = append(s.closers, s.pump.Close)
		in = s.pump
	}
	in = counter{in, &s.raw}
	switch compression {
	case "gz":
		s.text = &gunzip{in: in}
	case "zst":
		// The limit is the zstd program's own; above it, that one asks for --long too.
		d, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("%s: %w", nameOf(s.path), err)
		}
		s.closers = append(s.closers, func() error { d.Close(); return nil })
		s.text = d
	default:
		s.text = in
	}
	return seekable, nil
}

// seek goes on in a file at offset, comparing the blocks that the mark holds.
func (s *stream) seek(f *os.File, m mark, offset int64) error {
	if s.size < offset {
		return s.shorter(s.size, offset)
	}
	print, err := m.reread(f, offset)
	if err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	if what := m.differs(print.mark()); what != "" {
		return &ChangedError{s.path, what}
	}
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	s.raw.Store(offset)
	s.print = print
	return nil
}

// skipTo goes on at offset by reading up to it.
func (s *stream) skipTo(m mark, offset int64) error {
	for s.print.n < offset {
		if s.r == s.w && !s.more() {
			if s.err == io.EOF {
				return s.shorter(s.print.n, offset)
			}
			return s.err
		}
		s.consume(int(min(int64(s.w-s.r), offset-s.print.n)))
	}
	if what := m.differs(s.print.mark()); what != "" {
		return &ChangedError{s.path, what}
	}
	return nil
}

func (s *stream) shorter(have, want int64) error {
	return &ChangedError{s.path, fmt.Sprintf("it has %d bytes of text, and %d were imported", have, want)}
}

// window is what is read and not consumed; valid until the next more.
func (s *stream) window() []byte { return s.buf[s.r:s.w] }

// more lengthens the window, which doubles when it is full; whoever asks bounds it. False when nothing more will
// come: err says why.
func (s *stream) more() bool {
	if s.err != nil {
		return false
	}
	if s.w == len(s.buf) || s.r == s.w {
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	if s.w == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	for range 100 {
		if s.err = s.ctx.Err(); s.err != nil {
			return false
		}
		n, err := s.text.Read(s.buf[s.w:])
		s.w += n
		if err != nil && err != io.EOF && s.ctx.Err() == nil {
			err = s.damaged(err)
		}
		s.err = err
		if n > 0 {
			return true
		}
		if err != nil {
			return false
		}
	}
	s.err = fmt.Errorf("%s: %w", nameOf(s.path), io.ErrNoProgress)
	return false
}

// damaged words an error of reading or decompressing.
func (s *stream) damaged(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("the file ends too early (%w)", err)
	}
	return fmt.Errorf("%s cannot be read on after %d bytes of text (byte %d of the file): %w; what comes before is kept, replace the file by a whole one and run again",
		nameOf(s.path), s.print.n+int64(s.w-s.r), s.raw.Load(), err)
}

// consume moves the window's start forward.
func (s *stream) consume(n int) {
	s.print.add(s.buf[s.r : s.r+n])
	s.r += n
}

// skipLine consumes up to and including the next newline, or to the end of the list, whatever length that is, and
// tells which. It shows all of the line to see, in pieces. After an error a part of the line is consumed.
func (s *stream) skipLine(see func([]byte)) (ended bool, err error) {
	for {
		win := s.window()
		if i := bytes.IndexByte(win, '\n'); i >= 0 {
			see(win[:i])
			s.consume(i + 1)
			return true, nil
		}
		see(win)
		s.consume(len(win))
		if !s.more() {
			if s.err == io.EOF {
				return false, nil
			}
			return false, s.err
		}
	}
}

// peek lengthens the window to n bytes if the list has them, and returns it.
func (s *stream) peek(n int) ([]byte, error) {
	for s.w-s.r < n && s.more() {
	}
	if s.err != nil && s.err != io.EOF {
		return nil, s.err
	}
	return s.window(), nil
}

// begin passes over what may stand before the first row: a byte order mark at the start, or the newline that a last
// line has got since it was imported.
func (s *stream) begin(m mark) error {
	if s.print.n == 0 {
		win, err := s.peek(len(bom))
		if err == nil && bytes.HasPrefix(win, bom) {
			s.consume(len(bom))
		}
		return err
	}
	if !m.Open {
		return nil
	}
	win, err := s.peek(2)
	if err != nil {
		return err
	}
	switch {
	case len(win) == 0:
	case win[0] == '\n' && !m.Return:
		s.consume(1)
	case bytes.HasPrefix(win, []byte("\r\n")):
		s.consume(2)
	default:
		return &ChangedError{s.path, "its last line, which had no newline, has become another"}
	}
	return nil
}

// position is that of what is consumed.
func (s *stream) position(line int64, set func(*mark)) Position {
	m := s.print.mark()
	m.File = s.file
	m.End = s.err == io.EOF && s.r == s.w
	set(&m)
	return Position{Offset: s.print.n, Line: line, Mark: m.encode()}
}

// ready tells whether more has something at once.
func (s *stream) ready() bool { return s.pump == nil || s.pump.ready() }

func (s *stream) Size() int64 { return s.size }

func (s *stream) Progress() float64 {
	if s.size == 0 {
		return 0
	}
	return min(1, float64(s.raw.Load())/float64(s.size))
}

func (s *stream) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// counter counts the bytes that are read.
type counter struct {
	io.Reader
	n *atomic.Int64
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// gunzip reads the members of a .gz, and its header not before the first Read, which can be cancelled.
type gunzip struct {
	in io.Reader
	z  *gzip.Reader
}

func (g *gunzip) Read(p []byte) (int, error) {
	if g.z == nil {
		z, err := gzip.NewReader(g.in)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		g.z = z
	}
	return g.z.Read(p)
}

// pump reads a pipe ahead in a goroutine of its own, up to 4 MiB, so that nobody hangs in a read that gets nothing,
// and so that it is known whether more has come.
type pump struct {
	ctx    context.Context
	cancel context.CancelFunc
	full   chan []byte
	free   chan []byte
	rest   []byte // of current
	cur    []byte
	err    error // why full was closed
}

func newPump(ctx context.Context, in io.Reader) *pump {
	const blocks = 64
	p := &pump{full: make(chan []byte, blocks), free: make(chan []byte, blocks)}
	p.ctx, p.cancel = context.WithCancel(ctx)
	go func() {
		defer close(p.full)
		for {
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
				case <-p.ctx.Done():
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

func (p *pump) Read(dst []byte) (int, error) {
	if len(p.rest) == 0 {
		if p.cur != nil {
			select {
			case p.free <- p.cur[:cap(p.cur)]:
			default:
			}
			p.cur = nil
		}
		select {
		case b, ok := <-p.full:
			if !ok {
				if p.err != nil {
					return 0, p.err
				}
				return 0, p.ctx.Err()
			}
			p.cur, p.rest = b, b
		case <-p.ctx.Done():
			return 0, p.ctx.Err()
		}
	}
	n := copy(dst, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

func (p *pump) ready() bool { return len(p.rest) > 0 || len(p.full) > 0 }

// Close ends the goroutine once its read returns.
func (p *pump) Close() error { p.cancel(); return nil }
