package cmd

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// What leaves for a terminal or a log may hold texts of strangers: URLs, names of lists, groups and columns,
// what a server says. Some characters in them would move the cursor, colour the screen, turn the reading
// direction, or begin a line that looks like one of facescan's. Here is the one filter for them: what is not
// printable is quoted, as \u001b.
//
// A text of others is quoted whole, its line ends too (printable). Behind that, everything on stderr, and
// what is for people on stdout, passes through a writer that leaves line ends and tabs alone
// (printableWriter). Data on stdout passes through it where stdout is a terminal; for a pipe or a file it is
// not touched.

// printable quotes what is not printable in a text, line ends and tabs too.
func printable(s string) string {
	if isPrintable(s, "") {
		return s
	}
	return string(appendPrintable(nil, s, ""))
}

// isPrintable reports whether nothing in a text has to be quoted. The characters in keep are fine.
func isPrintable[T string | []byte](s T, keep string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && strings.IndexByte(keep, c) < 0 || c > '~' {
			return c > '~' && string(appendPrintable(nil, string(s[i:]), keep)) == string(s[i:])
		}
	}
	return true
}

// appendPrintable appends a text with what is not printable quoted, but for the characters in keep. What it
// makes of valid UTF-8 within a JSON string means the same there.
func appendPrintable(b []byte, s, keep string) []byte {
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			b = fmt.Appendf(b, `\x%02x`, s[0])
		case unicode.IsPrint(r) || strings.ContainsRune(keep, r):
			b = append(b, s[:size]...)
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r <= 0xffff:
			b = fmt.Appendf(b, `\u%04x`, r)
		default: // a surrogate pair, as JSON has it
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		}
		s = s[size:]
	}
	return b
}

// printableArgs are arguments of a format with their texts quoted, and errors in plain words.
func printableArgs(args []any) []any {
	out := args[:len(args):len(args)]
	for i, arg := range args {
		text, changed := "", false
		switch v := arg.(type) {
		case nil:
			continue
		case error:
			text = plainText(v)
			changed = text != v.Error()
		case []byte:
			text = string(v)
		case fmt.Stringer:
			text = v.String()
		default:
			if k := reflect.ValueOf(arg).Kind(); k != reflect.String && k != reflect.Slice &&
				k != reflect.Map {
				continue
			}
			text = fmt.Sprint(v)
		}
		if changed || !isPrintable(text, "") {
			if &out[0] == &args[0] {
				out = append([]any(nil), args...)
			}
			out[i] = printable(text)
		}
	}
	return out
}

// oneLine is an error for people, on one line.
func oneLine(err error) string {
	lines := strings.Split(strings.TrimSpace(plainText(err)), "\n")
	for i, line := range lines {
		lines[i] = printable(line)
	}
	return strings.Join(lines, "; ")
}

// printableWriter quotes what is not printable, but for line ends and tabs. Any number of goroutines may
// write to it. A character may come in two parts: its beginning waits for the rest.
type printableWriter struct {
	mu   sync.Mutex
	w    io.Writer
	part []byte // of a character
}

func (p *printableWriter) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	const keep = "\n\t"
	if len(p.part) == 0 && isPrintable(b, keep) {
		return p.w.Write(b)
	}
	whole := append(p.part, b...)
	n := wholeRunes(whole)
	text := appendPrintable(nil, string(whole[:n]), keep)
	p.part = append([]byte(nil), whole[n:]...)
	if n, err := p.w.Write(text); err != nil {
		return 0, err
	} else if n < len(text) {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

// wholeRunes returns the length of a text without the beginning of a character at its end.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= max(0, len(b)-utf8.UTFMax); i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}
