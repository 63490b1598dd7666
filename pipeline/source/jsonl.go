package source

import (
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
// Values of other columns are skipped, not validated. So they may be NaN and Infinity, which Python
// writes, and strings with raw control characters and unknown escapes.
type objects struct {
	records
	fields []string
	exact  []bool // the field's key was exactly the column's name
	isText bool   // the URL's value was a string
}

func newObjects(s *stream, spec Spec, from Position, m mark) (_ Reader, err error) {
	o := &objects{records: newRecords(s, from)}
	if len(m.Columns) == 0 {
		if m.Columns, err = o.keys(spec); err != nil {
			return nil, err
		}
	}
	o.fields, o.exact = make([]string, len(m.Columns)), make([]bool, len(m.Columns))
	o.chosen, err = choose(spec, m.Columns, m.ID)
	return o, err
}

// keys returns the keys of the list's first objects; those that spec names if there are none.
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
		for _, key := range append([]string{urlColumn(spec), spec.IDColumn, spec.GroupColumn,
			spec.HashColumn},
			spec.KeepColumns...) {
			if key != "" {
				found[key] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func (o *objects) Next(dst []Row) (int, error) { return fill(dst, o.next) }

func (o *objects) next(row *Row, wait bool) error {
	o.waits = wait
	for {
		line, n, err := o.firstLine()
		if err != nil {
			return err
		}
		if line = clean(line); n < 0 || !blank(line) {
			return o.object(row, line, n)
		}
		if !strings.HasSuffix(o.text[:n], "\n") {
			return io.EOF // no row yet, and not consumed: it may still become one
		}
		if err := o.finish(n); err != nil {
			return err
		}
		o.line++
	}
}

// object makes the row of the line that is the first n bytes of text; the line is cut if n is negative.
func (o *objects) object(row *Row, line string, n int) error {
	for _, i := range o.wanted {
		o.fields[i], o.exact[i] = "", false
	}
	o.isText = false
	good := eachKey(line, o.field)
	if err := o.take(row, n, o.fields); err != nil {
		return err
	}
	if !good {
		o.damagedRecord(o.line)
	}
	spoil(row, !o.isText || !good && n >= 0)
	return nil
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
