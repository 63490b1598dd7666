package source

import (
	"io"
	"strings"
	"unicode/utf8"
)

// lines reads a txt list: a row per line. A line ends at \n; one \r before it does not belong to it, nor does
// a byte order mark at the start of the list. \r alone ends lines where there is no \n (see findLineEnd). All
// else is the URL, byte for byte, except bytes that cannot be text (see clean). Blank lines, and those that
// begin with #, are not rows, but they are counted: an id is a line number.
type lines struct {
	*stream
	line int64 // lines that are consumed

	text  string // whole lines from the window's start on, or the last one without its newline
	plain bool   // text needs no cleaning

	began    bool // there was a row
	comments bool // there was text, and no row yet
}

func newLines(s *stream, _ Spec, from Position, m mark) (Reader, error) {
	return &lines{stream: s, line: from.Line, began: from.Line > 0 && !m.Comments, comments: m.Comments}, nil
}

func (l *lines) Position() Position {
	return l.position(l.line, func(m *mark) { m.Comments = l.OnlyComments() })
}

// OnlyComments reports whether the list has text, and no row so far.
func (l *lines) OnlyComments() bool { return l.comments && !l.began }

func (l *lines) Next(dst []Row) (int, error) {
	n := 0
	for n < len(dst) {
		if l.text == "" {
			if n > 0 && !l.ready() {
				break
			}
			long, err := l.load(n == 0)
			switch {
			case err != nil && n > 0:
				return n, nil // the error comes again, but for errNotYet
			case err != nil:
				return 0, err
			case long != "":
				l.began = true
				dst[n] = Row{ID: l.line, URL: long, Bad: true}
				n++
				continue
			}
		}
		n += l.cut(dst[n:])
	}
	return n, nil
}

// load sets text from the window. A line that is too long for it is consumed, and its beginning returned. The
// error is errNotYet if a pipe has no whole line at the moment and the reader does not wait.
func (l *lines) load(wait bool) (long string, err error) {
	for {
		win := l.window()
		i := l.lastLineEnd(win)
		switch {
		case i >= 0:
			l.setText(win[:i+1])
			return "", nil
		case len(win) >= windowSize:
			if long, err := l.longLine(); long != "" || err != nil {
				return long, err
			}
		case !wait && !l.ready():
			return "", errNotYet
		case l.more():
		case l.err != io.EOF:
			return "", l.err
		case l.growing:
			return "", io.EOF
		case !isRow(win):
			l.comments = l.comments || !blank(win)
			return "", io.EOF // no row yet, and not consumed: it may still become one
		default:
			l.setText(win)
			return "", nil
		}
	}
}

// longLine consumes a line that does not fit into the window and returns its beginning, empty if it is not a
// row.
func (l *lines) longLine() (string, error) {
	before := l.print
	win := l.window()
	comment, row := win[0] == '#', false
	long := clean(string(win[:MaxURL+1]))
	ended, err := l.skipLine(func(part []byte) { row = row || !comment && !blank(part) })
	if err == nil && !ended && !row {
		l.print = before // as if it had not been consumed; nothing is read after this
		err = io.EOF
	}
	if err != nil {
		return "", err
	}
	l.line++
	l.unended = !ended
	if !row {
		long = ""
	}
	return long, nil
}

func (l *lines) setText(b []byte) {
	l.text = l.textOf(b)
	l.plain = isText(l.text)
}

// cut moves rows from text to dst until one of them ends.
func (l *lines) cut(dst []Row) (n int) {
	before := len(l.text)
	for n < len(dst) && l.text != "" {
		line, rest, ended := strings.Cut(l.text, "\n")
		l.text = rest
		l.line++
		if ended {
			line = strings.TrimSuffix(line, "\r")
		} else {
			l.unended, l.ret = true, strings.HasSuffix(line, "\r")
		}
		if !isRow(line) {
			l.comments = l.comments || !l.began && !blank(line)
			continue
		}
		l.began = true
		r := &dst[n]
		n++
		*r = Row{ID: l.line, URL: line}
		if len(line) > MaxURL {
			r.URL, r.Bad = line[:MaxURL+1], true
		}
		if !l.plain || r.Bad {
			r.URL = clean(r.URL)
		}
	}
	l.consume(before - len(l.text))
	return n
}

// isRow reports whether a line is neither blank nor a comment.
func isRow[T string | []byte](line T) bool {
	return len(line) > 0 && line[0] != '#' && (line[0] > ' ' || !blank(line))
}

func blank[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c != ' ' && (c < '\t' || c > '\r') {
			return false
		}
	}
	return true
}

// isText reports whether s is valid UTF-8 without NUL.
func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// clean returns s with each NUL, and each byte that is not part of valid UTF-8, as %XX.
func clean(s string) string {
	if isText(s) {
		return s
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == 0 || r == utf8.RuneError && size == 1 {
			b.WriteByte('%')
			b.WriteByte(hex[s[i]>>4])
			b.WriteByte(hex[s[i]&15])
		} else {
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

// finished is a list that was read to its end and has not changed since.
type finished Position

func (f finished) Next([]Row) (int, error) { return 0, io.EOF }
func (f finished) Position() Position      { return Position(f) }
func (f finished) Progress() float64       { return 1 }
func (f finished) Close() error            { return nil }
