package source

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
)

// objects reads jsonl: a JSON object per line, its keys the columns. Blank lines are skipped, but counted: an
// id is a line number. A line that is not an object, or has no text under the URL's key, is a Bad row; of a
// line that is longer than maxRecord only that much is read. Other keys may be missing; their values that are
// not text are kept as JSON.
//
// Values that were not asked for are skipped, not validated. So they may be NaN and Infinity, which Python
// writes, and strings with raw control characters and unknown escapes.
type objects struct {
	records
	fields []string
	exact  []bool // the field's key was exactly the column's name
	isText bool   // the URL's value was a string
}

func openJSONL(ctx context.Context, spec Spec, from Position) (Reader, error) {
	s, m, err := openStream(ctx, spec, from)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return finished{from, m}, nil
	}
	o := &objects{records: records{stream: s, line: from.Line}}
	o.text = o.textOf(o.window())
	if len(m.Columns) == 0 {
		m.Columns, err = o.keys(spec)
	}
	if err == nil {
		o.chosen, err = choose(spec, m.Columns)
		o.fields, o.exact = make([]string, len(m.Columns)), make([]bool, len(m.Columns))
		o.lastID = m.ID
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return o, nil
}

// keys returns the keys of the list's first objects; those that spec asks for if there are none.
func (o *objects) keys(spec Spec) ([]string, error) {
	found := map[string]bool{}
	for {
		for line := range strings.Lines(o.text) {
			if o.growing && !strings.HasSuffix(line, "\n") {
				break
			}
			var keys []string
			if eachKey(clean(line), func(key, _ string) { keys = append(keys, key) }) {
				for _, key := range keys {
					found[key] = true
				}
			}
		}
		if len(found) > 0 || len(o.text) > maxRecord || !o.grow() {
			break
		}
	}
	if o.err != nil && o.err != io.EOF {
		return nil, o.err
	}
	if len(found) == 0 {
		for _, key := range append([]string{urlColumn(spec), spec.IDColumn, spec.GroupColumn, spec.HashColumn},
			spec.KeepColumns...) {
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
			if o.err != io.EOF || o.growing || blank(o.text) {
				if n > 0 {
					return n, nil // the next call returns the error again
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

// next reads the line that ends at text[end], or one that is too long if end is negative. It returns false if
// the line is not a row.
func (o *objects) next(end int) (row Row, ok bool, err error) {
	if end < 0 || end > maxRecord {
		lastID := o.lastID
		if row, err = o.object(clean(o.text[:maxRecord]), true); err != nil {
			return row, false, err
		}
		if err = o.dropLine(); err != nil {
			o.lastID = lastID
			return row, false, err
		}
		o.line++
		return row, true, nil
	}
	line := clean(strings.TrimSuffix(o.text[:end], "\r"))
	if ok = !blank(line); ok {
		if row, err = o.object(line, false); err != nil {
			return row, false, err
		}
	}
	o.unended = end == len(o.text)
	o.drop(min(end+1, len(o.text)))
	o.line++
	return row, ok, nil
}

// object makes the row of a line, which may be cut.
func (o *objects) object(line string, isCut bool) (Row, error) {
	for _, i := range o.wanted {
		o.fields[i], o.exact[i] = "", false
	}
	o.isText = false
	good := eachKey(line, o.field)
	row, err := o.row(o.line+1, o.fields)
	if err != nil {
		return row, err
	}
	if !good {
		o.damagedRecord(o.line + 1)
	}
	spoil(&row, !o.isText || !good && !isCut)
	return row, nil
}

// field takes the value of a key. If several keys match a column, the last exact one counts, else the last
// one.
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

// eachKey calls visit with each key of the JSON object in line, in order, and its value as written. It
// returns false if line is not an object, or is damaged after some keys, which visit has received.
func eachKey(line string, visit func(key, raw string)) bool {
	const space = " \t\r\n"
	line = strings.Trim(line, space)
	if line == "" || line[0] != '{' {
		return false
	}
	if rest := strings.TrimLeft(line[1:], space); rest == "}" {
		return true
	}
	for line[0] != '}' {
		line = strings.TrimLeft(line[1:], space) // past { or ,
		n := stringLen(line)
		if n < 0 {
			return false
		}
		key := plainText(line[:n])
		if line = strings.TrimLeft(line[n:], space); line == "" || line[0] != ':' {
			return false
		}
		line = strings.TrimLeft(line[1:], space)
		if n = valueLen(line); n < 0 {
			return false
		}
		raw := line[:n]
		line = strings.TrimLeft(line[n:], space)
		if line != "" || raw[0] == '"' { // otherwise it may be cut
			visit(key, raw)
		}
		if line == "" || line[0] != ',' && line[0] != '}' {
			return false
		}
	}
	return line == "}"
}

// stringLen is the length of the JSON string at the start of s, -1 if there is none or its end is not in s.
func stringLen(s string) int {
	if s == "" || s[0] != '"' {
		return -1
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}

// valueLen is the length of the JSON value at the start of s, -1 if there is none or its end is not in s.
func valueLen(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			n := stringLen(s[i:])
			if n < 0 {
				return -1
			}
			i += n - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		default:
			if depth > 0 {
				continue
			}
			n := len(s) - i
			if k := strings.IndexAny(s[i:], ",}] \t\r\n"); k >= 0 {
				n = k
			}
			if !isLiteral(s[i : i+n]) {
				return -1
			}
			return i + n
		}
		if depth == 0 {
			return i + 1
		}
		if depth < 0 {
			return -1
		}
	}
	return -1
}

// isLiteral reports whether a value without quotes and brackets is valid in JSON, or one that Python adds.
func isLiteral(s string) bool {
	switch s {
	case "true", "false", "null", "NaN", "Infinity", "-Infinity":
		return true
	}
	return s != "" && strings.Trim(s, "0123456789+-.eE") == ""
}

// plainText is the text of a JSON string; as written, if it has an escape that JSON does not know.
func plainText(raw string) string {
	inside := raw[1 : len(raw)-1]
	if strings.IndexByte(inside, '\\') < 0 {
		return inside
	}
	var s string
	if json.Unmarshal([]byte(raw), &s) != nil {
		return inside
	}
	return s
}
