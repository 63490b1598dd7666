package export

import (
	"io"
	"strconv"
	"strings"
)

// flushSize is how much text is gathered before it is written.
const flushSize = 64 << 10

// csvEncoder writes RFC 4180 with a header and \n as line end. What is unknown is empty. A field is quoted only when
// it has to be.
type csvEncoder struct {
	w       io.Writer
	columns []column
	buf     []byte
}

func newCSV(w io.Writer, columns []column) (*csvEncoder, error) {
	e := &csvEncoder{w: w, columns: columns, buf: make([]byte, 0, flushSize+4096)}
	for i, c := range columns {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		e.text(c.name)
	}
	e.buf = append(e.buf, '\n')
	return e, nil
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
		switch c.kind {
		case integer:
			e.buf = strconv.AppendInt(e.buf, v.i, 10)
		case real:
			e.buf = appendReal(e.buf, v.f)
		case text:
			e.text(v.s)
		case boxes:
			if len(r.Faces) > 0 {
				e.buf = append(e.buf, '"') // for its commas; quotes are not in it
				e.buf = append(AppendBoxes(e.buf, r.Faces), '"')
			} else {
				e.buf = append(e.buf, "[]"...)
			}
		}
	}
	if len(e.buf) == start {
		e.buf = append(e.buf, `""`...) // an empty line would be no record
	}
	e.buf = append(e.buf, '\n')
	if len(e.buf) >= flushSize {
		return e.flush()
	}
	return nil
}

func (e *csvEncoder) text(s string) {
	if !strings.ContainsAny(s, ",\"\r\n") {
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

func (e *csvEncoder) flush() error {
	_, err := e.w.Write(e.buf)
	e.buf = e.buf[:0]
	return err
}

func (e *csvEncoder) close() error { return e.flush() }
