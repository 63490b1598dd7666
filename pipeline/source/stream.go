package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// windowSize is the usual size of the window.
const windowSize = 256 << 10

// smallest is how large the window of the smallest file is.
const smallest = 512

var bom = []byte("\xef\xbb\xbf")

// stream is the text of a list: decompressed and in UTF-8, in a window that moves forward, with the
// fingerprint of the text before it. A reader reads window, lengthens it by more, and consumes whole rows.
type stream struct {
	ctx  context.Context
	path string
	file stat  // when it was opened
	size int64 // of the file, 0 when unknown

	raw      atomic.Int64 // bytes of the file that were read
	text     io.Reader
	marked   bool     // text comes without the byte order mark that the file begins with
	seekable *os.File // what text reads, where an offset in the text is one in the file
	pump     *pump    // nil for a file, whose reads never wait
	growing  bool     // as in Spec
	closers  []func() error

	buf  []byte
	r, w int   // buf[r:w] is the window
	err  error // why more returned false: io.EOF at a clean end
	cr   bool  // lines end in \r, or \n; else only in \n

	unended, ret bool // as Open and Return in mark

	print fingerprint // of what is consumed
}

// openText opens a list that is text with the reader that make returns.
func openText(ctx context.Context, spec Spec, from Position,
	make func(*stream, Spec, Position, mark) (Reader, error)) (Reader, error) {
	s, m, err := openStream(ctx, spec, from)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return finished(from), nil
	}
	r, err := make(s, spec, from, m)
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return r, nil
}

// openStream opens a list at its start, or at the position after comparing what is before it. It also returns
// the position's mark. The stream is nil if nothing can follow: the file was read to its end and has not
// changed since.
func openStream(ctx context.Context, spec Spec, from Position) (*stream, mark, error) {
	m, err := decodeMark(spec.Path, from.Mark)
	if err != nil {
		return nil, m, err
	}
	s := spec.takeStarted(ctx)
	if s == nil {
		if s, err = newStream(ctx, spec); err != nil {
			return nil, m, err
		}
	}
	switch {
	case s.size > 0 && s.seekable == nil && m.End && m.File == s.file:
		_ = s.Close()
		return nil, m, nil
	case from.Offset == 0:
		if err = s.examine(spec.Format); err == nil && !m.CR {
			s.findLineEnd()
		}
	case s.seekable != nil:
		err = s.seek(m, from.Offset)
	default:
		err = s.skipTo(m, from.Offset)
	}
	s.cr = s.cr || m.CR
	if err == nil {
		err = s.begin(m, from.Line)
	}
	if err != nil {
		_ = s.Close()
		return nil, m, err
	}
	return s, m, nil
}

// newStream opens a list at its start. Its first bytes show compression and encoding.
func newStream(ctx context.Context, spec Spec) (_ *stream, err error) {
	s := &stream{ctx: ctx, path: spec.Path, growing: spec.Growing, print: newFingerprint()}
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	in, err := s.open(spec)
	if err != nil {
		return nil, err
	}
	// A longer read does not pass through the buffer.
	text := bufio.NewReaderSize(counter{in, &s.raw}, smallest)
	head, _ := text.Peek(magicSize) // the next read returns the error again
	if len(head) == 0 && s.seekable != nil {
		if _, named := FormatOf(s.path); named != "" {
			if s.growing {
				return nil, ErrNotBegun
			}
			return nil, fmt.Errorf("%s is empty, not even a .%s header is in it", nameOf(s.path), named)
		}
	}
	switch compressionOf(head, s.path) {
	case "gz":
		s.seekable = nil
		text = bufio.NewReader(&gunzip{in: text})
	case "zst":
		s.seekable = nil
		// The limit of the zstd program, which needs --long above it.
		d, err := zstd.NewReader(text, zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", nameOf(s.path), err)
		}
		s.closers = append(s.closers, func() error { d.Close(); return nil })
		text = bufio.NewReader(d)
	}
	window := int64(windowSize)
	if s.seekable != nil && !s.growing { // many lists are small
		window = min(window, s.size+smallest)
	}
	s.buf = make([]byte, window)
	s.text = text
	if head, _ = text.Peek(magicSize); isUTF16(head) {
		s.seekable, s.marked = nil, true
		s.text = transform.NewReader(text, unicode.BOMOverride(encoding.Nop.NewDecoder()))
	}
	return s, nil
}

// open opens the file or pipe, and returns what reads it.
func (s *stream) open(spec Spec) (io.Reader, error) {
	in := spec.In
	if spec.Path == "-" {
		if in == nil {
			in = os.Stdin
		}
	} else {
		f, err := os.Open(spec.Path)
		if err != nil {
			return nil, err
		}
		s.closers = append(s.closers, f.Close)
		fi, err := f.Stat()
		if err != nil {
			return nil, err
		}
		if fi.IsDir() {
			return nil, usagef("%s is a folder, not a list", spec.Path)
		}
		in = f
		if fi.Mode().IsRegular() {
			s.seekable, s.file, s.size = f, statOf(fi), fi.Size()
		}
	}
	if s.seekable == nil {
		s.pump = newPump(s.ctx, in)
		s.closers = append(s.closers, s.pump.Close)
		in = s.pump
	}
	return in, nil
}

// seek continues in a file at offset, after comparing the blocks that the mark has.
func (s *stream) seek(m mark, offset int64) error {
	f := s.seekable
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
	s.text = counter{f, &s.raw} // drops what was read ahead
	s.print = print
	return nil
}

// skipTo continues at offset by reading up to it.
func (s *stream) skipTo(m mark, offset int64) error {
	for s.print.n < offset {
		if s.r == s.w && !s.more() {
			if s.err == io.EOF {
				return s.shorter(s.print.n, offset)
			}
			return s.err
		}
		s.consume(int(min(int64(s.w-s.r), offset-s.print.n, blockSize)))
		if len(m.Blocks) > 0 && m.conflicts(s.print.mark()) { // known before all of a pipe has come
			return &ChangedError{s.path, "it begins with other bytes"}
		}
	}
	if what := m.differs(s.print.mark()); what != "" {
		return &ChangedError{s.path, what}
	}
	return nil
}

func (s *stream) shorter(have, want int64) error {
	return &ChangedError{s.path, fmt.Sprintf("it has %d bytes of text, and %d were imported", have, want)}
}

// window is the text that is read and not consumed; valid until the next more.
func (s *stream) window() []byte { return s.buf[s.r:s.w] }

// more lengthens the window, which doubles when it is full; the caller bounds it. It returns false at the
// end: err says why.
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
		if s.err = s.ctx.Err(); s.err != nil && s.pump == nil {
			return false
		}
		n, err := s.text.Read(s.buf[s.w:])
		s.w += n
		switch {
		// a compressed list ends in the middle of a block
		case s.growing && errors.Is(err, io.ErrUnexpectedEOF):
			err = io.EOF
		case err != nil && err != io.EOF && s.ctx.Err() == nil:
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

// damaged describes an error of reading or decompressing.
func (s *stream) damaged(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("the file ends too early (%w)", err)
	}
	return fmt.Errorf("%s cannot be read on after %d bytes of text (byte %d of the file): %w; what comes "+
		"before is kept, replace the file by a whole one and run again",
		nameOf(s.path), s.print.n+int64(s.w-s.r), s.raw.Load(), err)
}

// consume moves the window's start forward.
func (s *stream) consume(n int) {
	s.print.add(s.buf[s.r : s.r+n])
	s.r += n
}

// examine returns a *UsageError if the first block of text shows that it cannot be a list.
func (s *stream) examine(format string) error {
	for len(s.window()) < headSize && (len(s.window()) == 0 || s.ready()) && s.more() {
	}
	if what, hint := refusal(s.path, s.window()[:min(len(s.window()), headSize)], format); what != "" {
		return usagef("%s looks like %s, not like a list of URLs: %s", nameOf(s.path), what, hint)
	}
	return nil
}

// findLineEnd sets cr if there is a \r and no \n in the first block of what follows.
func (s *stream) findLineEnd() {
	for {
		head := s.window()
		head = head[:min(len(head), headSize)]
		if bytes.IndexByte(head, '\n') >= 0 {
			return
		}
		if len(head) == headSize || !s.more() {
			s.cr = bytes.IndexByte(head, '\r') >= 0
			return
		}
	}
}

// firstLineEnd returns where the first line of text ends, -1 if it does not.
func (s *stream) firstLineEnd(text []byte) int {
	if s.cr {
		return bytes.IndexAny(text, "\r\n")
	}
	return bytes.IndexByte(text, '\n')
}

// lastLineEnd returns where the last whole line of text ends, -1 if there is none.
func (s *stream) lastLineEnd(text []byte) int {
	if s.cr {
		return bytes.LastIndexAny(text, "\r\n")
	}
	return bytes.LastIndexByte(text, '\n')
}

// textOf returns a copy of a part of the window in which lines end in \n.
func (s *stream) textOf(window []byte) string {
	text := string(window)
	if s.cr {
		text = strings.ReplaceAll(text, "\r", "\n")
	}
	return text
}

// skipLine consumes up to and including the next line end, or to the end of the list, at any length, and
// reports which. It passes all of the line to see, in pieces. After an error, which may be that the line is
// still being written, nothing can be read, and the line does not count as consumed.
func (s *stream) skipLine(see func([]byte)) (ended bool, err error) {
	before := s.print
	for {
		win := s.window()
		if i := s.firstLineEnd(win); i >= 0 {
			see(win[:i])
			s.consume(i + 1)
			return true, nil
		}
		see(win)
		s.consume(len(win))
		if !s.more() {
			if s.err == io.EOF && !s.growing {
				return false, nil
			}
			s.print = before
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

// begin skips what may be before the first row: a byte order mark at the start, or a line end that was
// appended to the last line after it was imported. A list of one line may get its line end, or the second
// half of it, only then, and so show what ends its lines.
func (s *stream) begin(m mark, line int64) error {
	if s.print.n == 0 {
		win, err := s.peek(len(bom))
		if err == nil && !s.marked && bytes.HasPrefix(win, bom) {
			s.consume(len(bom))
		}
		return err
	}
	if !m.Open && (!m.CR || line > 1) {
		return nil
	}
	win, err := s.peek(2)
	switch {
	case err != nil:
		return err
	case len(win) == 0: // the last line has not changed
		s.unended, s.ret = m.Open, m.Return
		return nil
	case !m.Open: // after a \r
		if win[0] == '\n' {
			s.consume(1)
			s.cr = false
		}
		return nil
	case win[0] == '\n' && !m.Return:
		s.consume(1)
		return nil
	case bytes.HasPrefix(win, []byte("\r\n")):
		s.consume(2)
		return nil
	case win[0] == '\r' && line <= 1:
		s.findLineEnd()
	}
	if win[0] == '\r' && s.cr {
		s.consume(1)
		return nil
	}
	return &ChangedError{s.path, "its last line, which had no newline, has become another"}
}

// position is the end of the consumed text.
func (s *stream) position(line int64, set func(*mark)) Position {
	m := s.print.mark()
	m.File, m.CR, m.Open, m.Return = s.file, s.cr, s.unended, s.ret
	m.End = s.err == io.EOF && s.r == s.w
	set(&m)
	return Position{Offset: s.print.n, Line: line, Mark: m.encode()}
}

// ready reports whether more returns at once.
func (s *stream) ready() bool { return s.pump == nil || s.pump.ready() }

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
