package sqlite

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"

	"facescan/store"
)

// Many rows are read as one value, a JSON array of arrays that SQLite makes: a call of C for every column of
// every row would take longer than all the rest. packed reads such a value from front to back; any other
// value is an error, which is kept in err. The texts that it gives are parts of it, not
// copies.
type packed struct {
	rest string
	err  error
}

const errPackedRows store.DamagedValue = "rows came in a form that cannot be read"

func (p *packed) fail() {
	if p.err == nil {
		p.err = errPackedRows
	}
	p.rest = ""
}

// next takes one character.
func (p *packed) next(c byte) bool {
	if len(p.rest) > 0 && p.rest[0] == c {
		p.rest = p.rest[1:]
		return true
	}
	return false
}

// row begins the next row; false after the last one.
func (p *packed) row() bool {
	if p.next(']') && len(p.rest) == 0 || p.err != nil {
		return false
	}
	if !(p.next('[') || p.next(',')) || p.next(']') && len(p.rest) > 0 {
		p.fail()
	}
	if len(p.rest) == 0 { // an empty array, or none
		return false
	}
	if !p.next('[') {
		p.fail()
	}
	return p.err == nil
}

// bare takes what is before the comma or bracket that ends a value other than a string.
func (p *packed) bare() string {
	for i := range len(p.rest) {
		if c := p.rest[i]; c == ',' || c == ']' {
			w := p.rest[:i]
			p.rest = p.rest[i+1:]
			return w
		}
	}
	p.fail()
	return ""
}

// null takes a NULL, if there is one. Every value but a real number may be one, and is zero then.
func (p *packed) null() bool {
	if !strings.HasPrefix(p.rest, "null") {
		return false
	}
	p.rest = p.rest[len("null"):]
	p.end()
	return true
}

// int64 takes a whole number.
func (p *packed) int64() (n int64) {
	if p.null() {
		return 0
	}
	w := p.bare()
	minus := len(w) > 1 && w[0] == '-'
	if minus {
		w = w[1:]
	}
	for i := range len(w) {
		c := w[i]
		if c < '0' || c > '9' {
			p.fail()
			return 0
		}
		n = n*10 + int64(c-'0') // of the least int64 it wraps to that
	}
	if len(w) == 0 {
		p.fail()
	}
	if minus {
		n = -n
	}
	return n
}

func (p *packed) int() int { return int(p.int64()) }

func (p *packed) float() float64 {
	f, err := strconv.ParseFloat(p.bare(), 64)
	if err != nil {
		p.fail()
	}
	return f
}

// text takes a string.
func (p *packed) text() (s string) {
	if p.null() {
		return ""
	}
	if !p.next('"') {
		p.fail()
		return ""
	}
	end := strings.IndexByte(p.rest, '"')
	if end < 0 {
		p.fail()
		return ""
	}
	if at := strings.IndexByte(p.rest[:end], '\\'); at >= 0 {
		return p.escaped(at)
	}
	s = p.rest[:end]
	p.rest = p.rest[end+1:]
	p.end()
	return s
}

// word takes a string that is one of a few, of which one copy will do.
func (p *packed) word(known map[string]string) string {
	if len(p.rest) > 0 && p.rest[0] == '"' {
		if n := strings.IndexByte(p.rest[1:], '"'); n >= 0 {
			if w, ok := known[p.rest[1:1+n]]; ok {
				p.rest = p.rest[n+2:]
				p.end()
				return w
			}
		}
	}
	w := strings.Clone(p.text())
	if !strings.HasSuffix(w, `\`) { // else a longer word with a quote behind it would begin like this one
		known[w] = w
	}
	return w
}

// escaped takes a string that has something escaped, as yet only at a place or after it. SQLite writes bytes
// that are no UTF-8 as they are, so that it is read here.
func (p *packed) escaped(at int) string {
	out := append([]byte(nil), p.rest[:at]...)
	for i := at; i+1 < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case '"':
			p.rest = p.rest[i+1:]
			p.end()
			return string(out)
		case '\\':
			i++
			switch c = p.rest[i]; c {
			case 'b', 'f', 'n', 'r', 't':
				out = append(out, map[byte]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}[c])
			case 'u': // a control character
				var b [2]byte
				if i+4 >= len(p.rest) {
					p.fail()
					return ""
				}
				if _, err := hex.Decode(b[:], []byte(p.rest[i+1:i+5])); err != nil || b[0] != 0 {
					p.fail()
					return ""
				}
				out, i = append(out, b[1]), i+4
			default:
				out = append(out, c)
			}
		default:
			out = append(out, c)
		}
	}
	p.fail()
	return ""
}

// end takes what is behind a string.
func (p *packed) end() {
	if !p.next(',') && !p.next(']') {
		p.fail()
	}
}

// packedBlob is an expression for a blob that hex takes.
func packedBlob(blob string) string { return "iif(" + blob + " IS NULL, NULL, hex(" + blob + "))" }

// hex takes a blob that was written by hex().
func (p *packed) hex() []byte {
	w := p.text()
	if w == "" {
		return nil
	}
	b, err := hex.DecodeString(w)
	if err != nil {
		p.fail()
	}
	return b
}

// texts takes a string that is itself an array of strings, or empty.
func (p *packed) texts() (out []string) {
	if w := p.text(); w != "" {
		if err := json.Unmarshal([]byte(w), &out); err != nil && p.err == nil {
			p.err = err
		}
	}
	return out
}
