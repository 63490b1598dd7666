package export

import (
	"io"
	"strings"
)

// flushSize is how much text is buffered before it is written.
const flushSize = 256 << 10

// lineWriter buffers lines.
type lineWriter struct {
	w   io.Writer
	buf []byte
}

func (l *lineWriter) endLine() error {
	l.buf = append(l.buf, '\n')
	if len(l.buf) >= flushSize {
		return l.flush()
	}
	return nil
}

func (l *lineWriter) flush() error {
	_, err := l.w.Write(l.buf)
	l.buf = l.buf[:0]
	return err
}

// csvEncoder writes RFC 4180 with a header and \n as line end. Unknown values are empty. A field is
// quoted only where necessary.
type csvEncoder struct {
	lineWriter
	columns []column
}

func newCSV(w io.Writer, columns []column) *csvEncoder {
	e := &csvEncoder{lineWriter{w: w}, columns}
	for i, c := range columns {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.text(c.name)
	}
	e.buf = append(e.buf, '\n')
	return e
}

func (e *csvEncoder) encode(r *record) error {
	start := len(e.buf)
	for i := range e.columns {
		c := &e.columns[i]
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		v := c.get(r)
		if v.null {
			continue
		}
		switch {
		case c.kind == text:
			e.text(v.s)
		case c.kind.isList() && len(r.Faces) > 0: // quoted because of its commas; it has no quotes
			e.buf = append(e.buf, '"')
			e.buf = append(appendPlain(e.buf, c.kind, v, r), '"')
		default:
			e.buf = appendPlain(e.buf, c.kind, v, r)
		}
	}
	if len(e.buf) == start {
		e.buf = append(e.buf, `""`...) // readers skip an empty line
	}
	return e.endLine()
}

func (e *csvEncoder) text(s string) {
	// One search per character: those use vector instructions, a search for any of them does not.
	has := func(c byte) bool { return strings.IndexByte(s, c) >= 0 }
	if !has(',') && !has('"') && !has('\n') && !has('\r') {
		e.buf = append(e.buf, s...)
		return
	}
	e.buf = append(e.buf, '"')
	for {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			break
		}
		e.buf = append(append(e.buf, s[:i+1]...), '"')
		s = s[i+1:]
	}
	e.buf = append(append(e.buf, s...), '"')
}

func (e *csvEncoder) close() error { return e.flush() }
