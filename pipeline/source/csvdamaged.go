package source

import (
	"io"
	"strconv"
	"strings"
)

// Damaged records of csv and tsv.
//
// Programs that write captions into a table without quoting them leave stray quotes, open quotes, and
// separators that split a caption. Only the URL, and the other columns that were named, need to be found.
// So such a record ends at its line; of the ways to read its quotes, the one is taken that gives the header's
// number of fields and a URL in the URL's column; and if the number of fields still differs, columns are
// counted from either end.

// quoting is a way to read the quotes of a line. A field in quotes begins with one.
type quoting int

const (
	// closeAtEnd: it ends at a quote before a separator or the line's end; other quotes in it are text.
	closeAtEnd quoting = iota
	// backslashes: the same, but the character after a backslash is text.
	backslashes
	// closeAtFirst: it ends at the first quote that is not doubled, and the text up to the separator belongs
	// to it.
	closeAtFirst
	// plainQuotes: quotes are text.
	plainQuotes
)

// nextDamaged makes the row of the next line.
func (t *table) nextDamaged(row *Row) error {
	line, n, err := t.firstLine()
	if err != nil {
		return err
	}
	var fields []string
	var found bool
	if n < 0 {
		t.readLine(line, plainQuotes)
		fields, found = t.alignCut()
	} else {
		t.readDamaged(line)
		fields, found = t.align()
	}
	if err := t.take(row, n, fields); err != nil {
		return err
	}
	spoil(row, !found)
	t.trust = distrust
	t.damagedRecord(t.line)
	return nil
}

// readDamaged sets fields from a line, by the way to read its quotes that fits best.
func (t *table) readDamaged(line string) {
	ways := []quoting{closeAtEnd, backslashes, closeAtFirst, plainQuotes}
	if !t.quotes {
		ways = ways[3:]
	}
	best, most := plainQuotes, -1
	for _, way := range ways {
		t.readLine(line, way)
		sense := 0
		if len(t.fields) == len(t.columns) {
			sense = 2
		}
		if at := t.urlAt(); at < len(t.fields) && isWeb(t.fields[at]) {
			sense++
		}
		if sense > most {
			best, most = way, sense
		}
	}
	t.readLine(line, best)
	if len(t.columns) == 1 && t.quotes {
		t.fields = append(t.fields[:0], strings.Join(t.fields, ",")) // a URL may have commas in it
	}
}

// readLine cuts a line into fields.
func (t *table) readLine(line string, way quoting) {
	t.fields = t.fields[:0]
	for more := true; more; {
		var field string
		n := -1
		if t.quotes && way != plainQuotes && strings.HasPrefix(line, `"`) {
			field, n = t.inQuotes(line, way)
		}
		if n < 0 {
			if n = strings.IndexByte(line, t.comma); n < 0 {
				n = len(line)
			}
			field = line[:n]
		}
		t.fields = append(t.fields, field)
		if more = n < len(line); more {
			line = line[n+1:]
		}
	}
}

// inQuotes returns the field in quotes at the start of a line, and the length it has there, -1 if it does not
// end.
func (t *table) inQuotes(line string, way quoting) (field string, n int) {
	var b strings.Builder
	for i := 1; i < len(line); i++ {
		c, last := line[i], i+1 == len(line)
		switch {
		case c == '\\' && way == backslashes && !last:
			i++
			c = line[i]
		case c != '"':
		case !last && line[i+1] == '"':
			i++
		case last || line[i+1] == t.comma:
			return b.String(), i + 1
		case way == closeAtFirst:
			rest, _, _ := strings.Cut(line[i+1:], string(t.comma))
			return b.String() + rest, i + 1 + len(rest)
		}
		b.WriteByte(c)
	}
	return "", -1
}

// severalRecords reports whether the lines of a record are records of their own, so that the quote that seems
// to span them is an open one, and the next open one seems to close it: two lines or more have the header's
// number of fields, and a URL in the URL's column; or each line has a URL that can be found. A record whose
// fields are all in quotes, or in a list whose quotes were right so far, is what it seems to be.
func (t *table) severalRecords(text string) bool {
	if t.record.quoted == len(t.columns) || t.trust == enough {
		return false
	}
	fields := t.fields
	t.fields = nil
	defer func() { t.fields = fields }()
	full, all, enough := 0, true, false
	for line := range strings.Lines(text) {
		t.readLine(strings.TrimRight(line, "\r\n"), plainQuotes)
		at := t.urlAt()
		web := at < len(t.fields) && isWeb(strings.TrimLeft(t.fields[at], `"`))
		all = all && web
		enough = len(t.fields) >= len(t.columns)
		if web && len(t.fields) == len(t.columns) {
			full++
		}
	}
	return full > 1 || all && enough
}

// impression is the trust after the first block of the list: enough, if its quotes were needed and right
// often enough, or in all of a short list.
func (t *table) impression() trust {
	text := t.text[:max(0, min(len(t.text), headSize-int(t.print.n)))]
	atEnd := t.err == io.EOF && len(text) == len(t.text) && !t.growing
	right, unclear := 0, 0
	for {
		text = strings.TrimLeft(text, "\r\n")
		if text == "" {
			break
		}
		n, end := t.split(text, atEnd)
		if end == cut {
			break
		}
		switch {
		case end == strayed || len(t.fields) != len(t.columns) || t.record.bare:
			return distrust
		case t.record.spans && t.severalRecords(text[:n]):
			unclear++
		case t.record.needed:
			right++
		}
		text = text[n:]
	}
	if right > unclear && (atEnd || right >= int(enough)) {
		return enough
	}
	return 0
}

// urlAt returns which field has the URL in a record that may have more or fewer fields than the header: the
// one where the header has it, counted from the left; or if a column before it may be damaged, counted from
// the right, or the only one between the two that can be a URL.
func (t *table) urlAt() int {
	web := func(i int) bool { return i >= 0 && i < len(t.fields) && isWeb(t.fields[i]) }
	fromRight := t.url + len(t.fields) - len(t.columns)
	switch {
	case web(t.url) || t.url == fromRight || !t.spare(0, t.url):
		return t.url
	case web(fromRight):
		return fromRight
	}
	at, found := t.url, 0
	for i := min(t.url, fromRight) + 1; i < max(t.url, fromRight); i++ {
		if web(i) {
			at = i
			found++
		}
	}
	if found == 1 {
		return at
	}
	return t.url
}

// spare reports whether one of the columns of a range may hold any text, and so be damaged.
func (t *table) spare(from, to int) bool {
	for i := from; i < to; i++ {
		if i != t.url && i != t.id && i != t.group {
			return true
		}
	}
	return false
}

// align returns the fields of the columns that were named, and whether the URL is among them. The damage
// is assumed to be in a column of any text: the columns between it and the URL, or an end of the record, keep
// their distance from that.
func (t *table) align() (fields []string, found bool) {
	if len(t.fields) == len(t.columns) {
		return t.fields, true
	}
	at := t.urlAt()
	atURL, atEnd := at-t.url, len(t.fields)-len(t.columns) // how far columns are moved there
	get := func(i int) string {
		if i < 0 || i >= len(t.fields) || i == at {
			return ""
		}
		return t.fields[i]
	}
	fields = make([]string, len(t.columns))
	for _, i := range t.wanted {
		near, far := 0, atURL
		moved := t.spare(0, i) && !t.spare(i+1, t.url)
		if i > t.url {
			near, far = atURL, atEnd
			moved = atEnd > atURL && t.spare(t.url+1, i) && !t.spare(i+1, len(t.columns))
		}
		if moved {
			near, far = far, near
		}
		fields[i] = get(i + near)
		if i == t.id && !isInteger(fields[i]) && isInteger(get(i+far)) {
			fields[i] = get(i + far)
		}
	}
	if at < len(t.fields) {
		fields[t.url], found = t.fields[at], true
	}
	return fields, found
}

// alignCut is align for the start of a line that is longer than maxRecord, whose last field is cut.
func (t *table) alignCut() (fields []string, found bool) {
	last := len(t.fields) - 1
	fields = make([]string, len(t.columns))
	for _, i := range t.wanted {
		if i < last {
			fields[i] = t.fields[i]
		}
	}
	if t.url == last && len(t.fields[last]) > MaxURL {
		fields[t.url] = t.fields[last] // too long for a URL
	}
	return fields, t.url < last
}

func isInteger(s string) bool {
	_, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return err == nil
}
