package export

import (
	"io"
	"unicode/utf8"
)

// jsonEncoder writes JSON Lines: one object per row, with the columns as keys, in their order. Unknown values
// are null.
type jsonEncoder struct {
	lineWriter
	columns []column
	keys    [][]byte // `"name":`, with what stands before it
}

func newJSONL(w io.Writer, columns []column) *jsonEncoder {
	e := &jsonEncoder{lineWriter: lineWriter{w: w}, columns: columns}
	for i, c := range columns {
		key := []byte{','}
		if i == 0 {
			key[0] = '{'
		}
		e.keys = append(e.keys, append(appendString(key, c.name), ':'))
	}
	return e
}

func (e *jsonEncoder) encode(r *record) error {
	for i := range e.columns {
		e.buf = append(e.buf, e.keys[i]...)
		e.buf = appendJSON(e.buf, &e.columns[i], r)
	}
	e.buf = append(e.buf, '}')
	return e.endLine()
}

func (e *jsonEncoder) close() error { return e.flush() }

func appendJSON(dst []byte, c *column, r *record) []byte {
	v := c.get(r)
	switch {
	case v.null:
		return append(dst, "null"...)
	case c.kind == text:
		return appendString(dst, v.s)
	}
	return appendPlain(dst, c.kind, v, r)
}

// appendString appends s as JSON, and escapes only what JSON requires.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); {
		size := 1
		var escape []byte
		switch c := s[i]; {
		case c == '"' || c == '\\':
			escape = []byte{'\\', c}
		case c == '\n':
			escape = []byte(`\n`)
		case c < ' ':
			escape = []byte{'\\', 'u', '0', '0', hex[c>>4], hex[c&15]}
		case c >= utf8.RuneSelf:
			var r rune
			if r, size = utf8.DecodeRuneInString(s[i:]); r == utf8.RuneError && size == 1 {
				escape = []byte("\ufffd")
			}
		}
		if escape != nil {
			dst = append(append(dst, s[done:i]...), escape...)
			done = i + size
		}
		i += size
	}
	return append(append(dst, s[done:]...), '"')
}
