package source

import (
	"context"
	"io"
	"strings"
)

// table reads csv and tsv as RFC 4180 has them: a header, fields between separators, or in quotes, where newlines and
// doubled quotes are text. Lines end in \n or \r\n; empty ones are passed over. A record that breaks these rules, has
// not as many fields as the header, or is longer than maxRecord is a Bad row with its first line as text, and reading
// goes on at the next line. Ids are record numbers.
type table struct {
	records
	comma  byte
	fields []string
}

func openTable(ctx context.Context, spec Spec, format, compression string, from Position) (Reader, error) {
	s, m, err := openStream(ctx, spec, compression, from)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return finished{from, m}, nil
	}
	t := &table{records: records{stream: s, line: from.Line}, comma: ','}
	if format == "tsv" {
		t.comma = '\t'
	}
	if err = t.begin(m); err == nil {
		if from.Offset == 0 {
			m.Columns, err = t.header()
		}
	}
	if err == nil {
		t.chosen, err = choose(spec, m.Columns)
		t.lastID = m.ID
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return t, nil
}

// header reads the names of the columns.
func (t *table) header() ([]string, error) {
	n, err := t.record()
	switch {
	case err == io.EOF:
		return nil, usagef("%s is empty; it should begin with a line that names its columns", nameOf(t.path))
	case err != nil:
		return nil, err
	case n < 0:
		return nil, usagef("%s does not begin with a line that names its columns", nameOf(t.path))
	}
	names := make([]string, len(t.fields))
	for i, f := range t.fields {
		names[i] = strings.TrimSpace(clean(f))
	}
	t.finish(n)
	return names, nil
}

func (t *table) Next(dst []Row) (int, error) {
	for n := range dst {
		if n > 0 && t.text == "" && !t.ready() {
			return n, nil
		}
		row, err := t.next()
		if err != nil {
			if n > 0 {
				return n, nil // the error comes again
			}
			return 0, err
		}
		dst[n] = row
	}
	return len(dst), nil
}

func (t *table) next() (Row, error) {
	n, err := t.record()
	if err != nil {
		return Row{}, err
	}
	var row Row
	switch {
	case n < 0:
		if row, err = t.dropLine(t.line + 1); err == nil {
			t.line++
		}
		return row, err
	case len(t.fields) != len(t.columns):
		row, err = t.bad(t.line+1, strings.TrimSuffix(strings.TrimSuffix(t.text[:n], "\n"), "\r"))
	default:
		row, err = t.row(t.line+1, t.fields)
	}
	if err != nil {
		return Row{}, err
	}
	t.line++
	t.finish(n)
	return row, nil
}

// finish consumes a whole record.
func (t *table) finish(n int) {
	t.open = t.text[n-1] != '\n'
	t.drop(n)
}

// record looks at the next record and sets fields from it. It returns its length with its line end, -1 if it is
// broken, and io.EOF at the end.
func (t *table) record() (int, error) {
	more := true
	for {
		for strings.HasPrefix(t.text, "\n") || strings.HasPrefix(t.text, "\r\n") {
			t.drop(1 + strings.IndexByte(t.text, '\n'))
		}
		if t.text != "" {
			n, ended := t.split(t.text)
			switch {
			case n > maxRecord, !ended && len(t.text) > maxRecord:
				return -1, nil
			case ended, n < 0, !more && n > 0:
				return n, nil
			case !more:
				return -1, nil // in quotes that are never closed
			}
		}
		if more = t.grow(); !more && t.err != io.EOF {
			return 0, t.err
		}
		if !more && (t.text == "" || t.text == "\r") {
			return 0, io.EOF
		}
	}
}

// split cuts the record at the start of text into fields and returns its length and whether a line end is part of
// it. Without that, text ends in the record; the length is then 0 if it ends in quotes. It is -1 if the record is
// broken.
func (t *table) split(text string) (n int, ended bool) {
	t.fields = t.fields[:0]
	for i := 0; ; {
		if i < len(text) && text[i] == '"' {
			field, end := unquote(text[i:])
			if end < 0 {
				return 0, false
			}
			i += end
			t.fields = append(t.fields, field)
		} else {
			start := i
			for i < len(text) && text[i] != t.comma && text[i] != '\n' {
				if text[i] == '"' {
					return -1, false
				}
				i++
			}
			end := i
			if (i == len(text) || text[i] == '\n') && i > start && text[i-1] == '\r' {
				end--
			}
			t.fields = append(t.fields, text[start:end])
		}
		switch {
		case i == len(text):
			return i, false
		case text[i] == t.comma:
			i++
		case text[i] == '\n':
			return i + 1, true
		case text[i] == '\r' && i+1 == len(text):
			return i + 1, false
		case text[i] == '\r' && text[i+1] == '\n':
			return i + 2, true
		default:
			return -1, false // text after a closing quote
		}
	}
}

// unquote returns the field in quotes at the start of s and the length it has there, -1 if its end is not in s.
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
