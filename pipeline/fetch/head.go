package fetch

import "bytes"

// maxHead is the longest head that is accepted, in bytes.
const maxHead = 256 << 10

// protocol begins every answer.
const protocol = "HTTP/"

// head repairs the lines of one answer's head. Browsers and curl accept what net/http refuses here: lines
// without a colon, a length that one line gives several times, a transfer encoding that changes nothing or is
// given twice.
type head struct {
	within  bool // the head is not complete
	first   bool // its status line comes next
	interim bool // of a 1xx answer: another head follows
	dropped bool // the last line was, and so are its continuations
	chunked bool
	size    int    // bytes of whole lines
	line    []byte // the part of a line that has come
}

// nothing reports whether no byte of an answer has come.
func (h *head) nothing() bool { return !h.within || h.size == 0 && len(h.line) == 0 }

// partial reports whether a part of a head has come. Bytes that cannot begin an answer are not part of one.
func (h *head) partial() bool {
	n := min(len(h.line), len(protocol))
	return !h.nothing() && (!h.first || string(h.line[:n]) == protocol[:n])
}

// take repairs the whole lines of data in place, keeps the part of a line behind them, and returns the rest.
// What follows the head stays as it is.
func (h *head) take(data []byte) []byte {
	w, r := 0, 0
	for h.within {
		i := bytes.IndexByte(data[r:], '\n') + 1
		if i == 0 && len(data)-r <= maxHead {
			h.line = append(h.line, data[r:]...)
			return data[:w]
		}
		if i == 0 {
			h.within = false
			break
		}
		line := data[r : r+i]
		r += i
		w += copy(data[w:], h.repair(line))
	}
	if w == r {
		return data
	}
	return data[:w+copy(data[w:], data[r:])]
}

// repair returns what net/http gets in place of a line. It is never longer than the line.
func (h *head) repair(line []byte) []byte {
	if h.size += len(line); h.size > maxHead {
		h.within = false // the parser has its limit, too, but what is left out never reaches it
		return line
	}
	if h.first {
		h.status(line)
		return line
	}
	text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	if len(text) == 0 {
		h.within, h.first = h.interim, h.interim
		return line
	}
	if text[0] != ' ' && text[0] != '\t' { // else it continues the line before
		name, value, ok := bytes.Cut(text, []byte(":"))
		kept := value
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			kept = oneLength(value)
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			kept = h.oneCoding(value)
		}
		h.dropped = !ok || kept == nil
		if len(kept) < len(value) {
			line = append(append(line[:len(name)+1], kept...), '\r', '\n')
		}
	}
	if h.dropped {
		return nil
	}
	return line
}

// status reads a status line as far as it decides what follows.
func (h *head) status(line []byte) {
	h.first, h.dropped, h.chunked = false, false, false
	h.within = bytes.HasPrefix(line, []byte(protocol))
	_, code, _ := bytes.Cut(line, []byte(" "))
	code = bytes.TrimLeft(code, " ")
	h.interim = len(code) > 3 && code[0] == '1' && string(code[:3]) != "101"
}

// oneLength returns the length in a list of equal ones, and any other value as it is.
func oneLength(value []byte) []byte {
	first, rest, more := bytes.Cut(value, []byte(","))
	first = bytes.TrimSpace(first)
	if !more || len(first) == 0 {
		return value
	}
	for other := range bytes.SplitSeq(rest, []byte(",")) {
		if !bytes.Equal(bytes.TrimSpace(other), first) {
			return value
		}
	}
	return first
}

// oneCoding returns chunked for a list of transfer encodings that comes to that, nil for one that adds
// nothing to the lines before, and any other value as it is.
func (h *head) oneCoding(value []byte) []byte {
	var chunked []byte
	for coding := range bytes.SplitSeq(value, []byte(",")) {
		coding = bytes.TrimSpace(coding)
		switch {
		case bytes.EqualFold(coding, []byte("chunked")):
			chunked = coding
		case !bytes.EqualFold(coding, []byte("identity")):
			return value
		}
	}
	if h.chunked {
		return nil
	}
	h.chunked = chunked != nil
	return chunked
}
