package source

import (
	"io"
	"strings"
)

// table reads csv and tsv: a header, then records. Lines end in \n or \r\n; empty ones are skipped. Ids
// are record numbers.
//
// In tsv a record is a line and quotes are text. In csv a field may be in quotes, as RFC 4180 has it:
// separators, newlines and doubled quotes in it are text. A record that does not have the header's number of
// fields that way, or is longer than maxRecord, ends at its line and is read as a damaged one (see
// csvdamaged.go).
type table struct {
	records
	comma  byte
	quotes bool // quotes have a meaning
	fields []string
	record shape

	trust trust // now
	first trust // at the list's start
}

// shape describes the quotes of a record.
type shape struct {
	quoted int  // fields in quotes
	spans  bool // it has more than one line
	needed bool // a field needs its quotes, or has doubled ones
	bare   bool // a field without quotes has one in it
}

// trust counts the records whose quotes were needed and right, up to enough. The first damaged record ends it
// for good, since the program that wrote the list did not quote.
type trust int

const (
	distrust trust = -1
	enough   trust = 8
)

// How split came to the end of a record.
type ending int

const (
	whole   ending = iota // by a line end
	cut                   // the text ends in it
	strayed               // text follows a closing quote, or a quote is never closed
)

func newTable(s *stream, spec Spec, from Position, m mark) (_ Reader, err error) {
	t := &table{records: newRecords(s, from), comma: ',', quotes: true, trust: m.Trust}
	if spec.Format == "tsv" {
		t.comma, t.quotes = '\t', false
	}
	atStart := from.Offset == 0
	if atStart {
		if m.Columns, err = t.header(); err != nil {
			return nil, err
		}
	}
	if t.chosen, err = choose(spec, m.Columns, m.ID); err != nil {
		return nil, err
	}
	switch {
	case m.First != nil:
		t.first = *m.First
	case atStart:
		t.first = t.impression()
	}
	if atStart {
		t.trust = t.first
	}
	return t, nil
}

// header reads the names of the columns. They may span lines if the record after them has as many fields.
func (t *table) header() ([]string, error) {
	t.waits = true
	n, end, err := t.look(0)
	if err == io.EOF && t.growing {
		return nil, ErrNotBegun
	}
	if err == io.EOF {
		return nil, usagef("%s is empty; it should begin with a line that names its columns", nameOf(t.path))
	}
	names := append([]string(nil), t.fields...)
	if err == nil && end == whole && t.record.spans {
		if _, end, err = t.look(n); err == io.EOF && t.growing {
			return nil, ErrNotBegun
		} else if err == io.EOF || end == whole && len(t.fields) != len(names) {
			end, err = strayed, nil
		}
	}
	if err != nil {
		return nil, err
	}
	if end != whole {
		line, length, err := t.firstLine()
		if err == io.EOF {
			return nil, ErrNotBegun
		}
		if err != nil {
			return nil, err
		}
		if length < 0 {
			return nil, usagef("%s does not begin with a line that names its columns", nameOf(t.path))
		}
		t.readLine(line, closeAtEnd)
		names, n = t.fields, length
	}
	columns := make([]string, len(names))
	for i, f := range names {
		columns[i] = strings.TrimSpace(clean(f))
	}
	return columns, t.finish(n)
}

func (t *table) Next(dst []Row) (int, error) { return fill(dst, t.next) }

func (t *table) next(row *Row, wait bool) error {
	t.waits = wait
	n, end, err := t.look(0)
	if err != nil {
		return err
	}
	if end != whole || len(t.fields) != len(t.columns) || t.record.spans && t.severalRecords(t.text[:n]) {
		return t.nextDamaged(row)
	}
	if err := t.take(row, n, t.fields); err != nil {
		return err
	}
	switch {
	case t.record.bare:
		t.trust = distrust
	case t.record.needed && t.trust != distrust && t.trust < enough:
		t.trust++
	}
	return nil
}

func (t *table) Position() Position {
	return t.position(t.line, func(m *mark) {
		m.Columns, m.ID, m.Trust, m.First = t.columns, t.lastID, t.trust, &t.first
	})
}

// look finds the record that begins at text[from:], or behind the empty lines there, and sets fields from it.
// It returns where the record ends in text, with its line end, and how. It is io.EOF at the end, and
// errNotYet where a pipe has no more for now and the reader does not wait.
func (t *table) look(from int) (n int, end ending, err error) {
	more := true
	for {
		start := from
		for strings.HasPrefix(t.text[start:], "\n") || strings.HasPrefix(t.text[start:], "\r\n") {
			start += 1 + strings.IndexByte(t.text[start:], '\n')
		}
		if from == 0 && start > 0 {
			t.drop(start)
			start = 0
		}
		rest := t.text[start:]
		if rest != "" && (more || rest != "\r") {
			n, end = t.split(rest, !more && !t.growing)
			if end == cut && len(rest) > maxRecord || end == whole && n > maxRecord {
				end = strayed
			}
			if end != cut {
				return start + n, end, nil
			}
		}
		if !more {
			return 0, cut, io.EOF
		}
		if !t.waits && !t.ready() {
			return 0, cut, errNotYet
		}
		if more = t.grow(); !more && t.err != io.EOF {
			return 0, cut, t.err
		}
	}
}

// split cuts the record at the start of text into fields, and returns its length with its line end, and how
// it ends. At the end of the list, that ends the record.
func (t *table) split(text string, atEnd bool) (n int, end ending) {
	t.fields, t.record = t.fields[:0], shape{}
	line := lineEnd(text, 0)
	for i := 0; ; {
		if t.quotes && i < len(text) && text[i] == '"' {
			field, length := unquote(text[i:])
			switch {
			case length < 0 && atEnd:
				return 0, strayed
			case length < 0:
				return 0, cut
			}
			t.record.quoted++
			t.record.needed = t.record.needed || len(field)+2 < length ||
				strings.IndexByte(field, t.comma) >= 0
			if i += length; i > line {
				t.record.spans, t.record.needed = true, true
				line = lineEnd(text, i)
			}
			t.fields = append(t.fields, field)
		} else {
			start := i
			if k := strings.IndexByte(text[i:line], t.comma); k >= 0 {
				i += k
			} else {
				i = line
			}
			end := i
			if i == line && i > start && text[i-1] == '\r' {
				end--
			}
			t.fields = append(t.fields, text[start:end])
			t.record.bare = t.record.bare || t.quotes && strings.IndexByte(text[start:end], '"') >= 0
		}
		switch {
		case i < line && text[i] == t.comma:
			i++
		case i < line && text[i:line] != "\r":
			return 0, strayed
		case line < len(text):
			return line + 1, whole
		case atEnd:
			return line, whole
		default:
			return 0, cut
		}
	}
}

// lineEnd returns where the line that text[from:] begins in ends.
func lineEnd(text string, from int) int {
	if i := strings.IndexByte(text[from:], '\n'); i >= 0 {
		return from + i
	}
	return len(text)
}

// unquote returns the field in quotes at the start of s and the length it has there, -1 if its end is not in
// s.
func unquote(s string) (field string, length int) {
	doubled := false
	for i := 1; ; i += 2 {
		k := strings.IndexByte(s[i:], '"')
		if k < 0 {
			return "", -1
		}
		i += k
		if i+1 == len(s) || s[i+1] != '"' {
			field = s[1:i]
			if doubled {
				field = strings.ReplaceAll(field, `""`, `"`)
			}
			return field, i + 1
		}
		doubled = true
	}
}
