package source

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"unsafe"
)

// objects reads jsonl: a JSON object a line, its keys the columns. Lines of blanks only are no rows, but they are
// counted: an id is a line number. A line that is no object, has no text under the URL's key, or is longer than
// maxRecord is a Bad row. Other keys may be missing; what is no text there is kept as JSON.
type objects struct {
	records
	fields []string
	exact  []bool // the field's key was the column's to the letter
	isText bool   // the URL's value was a string
}

func openJSONL(ctx context.Context, spec Spec, compression string, from Position) (Reader, error) {
	s, m, err := openStream(ctx, spec, compression, from)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return finished{from, m}, nil
	}
	o := &objects{records: records{stream: s, line: from.Line}}
	if err = o.begin(m); err == nil && len(m.Columns) == 0 {
		m.Columns, err = o.keys(spec)
	}
	if err == nil {
		o.chosen, err = choose(spec, m.Columns)
		o.fields, o.exact = make([]string, len(m.Columns)), make([]bool, len(m.Columns))
		o.lastID = m.ID
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return o, nil
}

// keys returns the keys of the objects that the list begins with; those that spec asks for if there are none.
func (o *objects) keys(spec Spec) ([]string, error) {
	found := map[string]bool{}
	for {
		for line := range strings.Lines(o.text) {
			eachKey(clean(line), func(key, _ string) { found[key] = true })
		}
		if len(found) > 0 || len(o.text) > maxRecord || !o.grow() {
			break
		}
	}
	if o.err != nil && o.err != io.EOF {
		return nil, o.err
	}
	if len(found) == 0 {
		for _, key := range append([]string{urlColumn(spec), spec.IDColumn, spec.GroupColumn}, spec.KeepColumns...) {
			if key != "" {
				found[key] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func (o *objects) Next(dst []Row) (int, error) {
	for n := 0; n < len(dst); {
		i := strings.IndexByte(o.text, '\n')
		if i < 0 && len(o.text) <= maxRecord {
			if n > 0 && !o.ready() {
				return n, nil
			}
			if o.grow() {
				continue
			}
			if o.err != io.EOF || blank(o.text) {
				if n > 0 {
					return n, nil // the error comes again
				}
				return 0, o.err
			}
			i = len(o.text)
		}
		row, ok, err := o.next(i)
		if err != nil {
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
		if ok {
			dst[n] = row
			n++
		}
	}
	return len(dst), nil
}

// next takes the line that ends at text[end], or the one that is too long where end is negative. False if the line is
// no row.
func (o *objects) next(end int) (row Row, ok bool, err error) {
	if end < 0 || end > maxRecord {
		row, err = o.dropLine(o.line + 1)
		if err == nil {
			o.line++
		}
		return row, true, err
	}
	line := clean(strings.TrimSuffix(o.text[:end], "\r"))
	if ok = !blank(line); ok {
		if row, err = o.object(line); err != nil {
			return row, false, err
		}
	}
	o.open = end == len(o.text)
	o.drop(min(end+1, len(o.text)))
	o.line++
	return row, ok, nil
}

// object makes the row of a line.
func (o *objects) object(line string) (Row, error) {
	for _, i := range o.wanted {
		o.fields[i], o.exact[i] = "", false
	}
	o.isText = false
	if !eachKey(line, o.field) || !o.isText {
		return o.bad(o.line+1, line)
	}
	return o.row(o.line+1, o.fields)
}

// field takes the value of a key. Of several keys that a column could mean the last one to the letter counts, else the
// last one.
func (o *objects) field(key, raw string) {
	for _, i := range o.wanted {
		exact := key == o.columns[i]
		if !exact && (o.exact[i] || !strings.EqualFold(key, o.columns[i])) {
			continue
		}
		o.exact[i] = exact
		switch raw[0] {
		case '"':
			o.fields[i] = plainText(raw)
		case 'n':
			o.fields[i] = ""
		default:
			o.fields[i] = raw
		}
		if i == o.url {
			o.isText = raw[0] == '"'
		}
	}
}

// eachKey calls visit with every key of the JSON object that line is, in order, and its value as it stands there.
// False if line is something else; then nothing was called.
func eachKey(line string, visit func(key, raw string)) bool {
	// What is valid can be taken apart by looking at quotes and brackets only.
	if !json.Valid(unsafe.Slice(unsafe.StringData(line), len(line))) {
		return false
	}
	const space = " \t\r\n"
	line = strings.Trim(line, space)
	if line[0] != '{' {
		return false
	}
	for {
		line = strings.TrimLeft(line[1:], space) // past { or ,
		if line[0] == '}' {
			return true
		}
		n := valueLen(line)
		key := plainText(line[:n])
		line = strings.TrimLeft(strings.TrimLeft(line[n:], space)[1:], space)
		n = valueLen(line)
		visit(key, line[:n])
		if line = strings.TrimLeft(line[n:], space); line[0] == '}' {
			return true
		}
	}
}

// valueLen is the length of the value at the start of valid JSON.
func valueLen(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			for i++; s[i] != '"'; i++ {
				if s[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth > 0 {
				continue
			}
			if k := strings.IndexAny(s[i:], ",}] \t\r\n"); k >= 0 {
				return i + k
			}
			return len(s)
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(s)
}

// plainText is what a JSON string says.
func plainText(raw string) string {
	if strings.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	var s string
	if json.Unmarshal([]byte(raw), &s) != nil {
		return raw // cannot be: it is valid
	}
	return s
}
