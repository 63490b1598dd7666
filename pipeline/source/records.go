package source

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// chosen is the places, in a record, of the columns that were named; -1 for none.
type chosen struct {
	list           string // its name in messages
	columns        []string
	url, id, group int
	hash           int
	kept           []int
	groupEnd       string
	wanted         []int // all of these, each once
	lastID         int64
	unordered      bool     // ids need not ascend
	slab           []string // what Kept slices are cut from
}

// choose finds the columns of the spec among those that a list has. The next row has a higher id than lastID,
// if ids are a column.
func choose(spec Spec, columns []string, lastID int64) (chosen, error) {
	c := chosen{list: nameOf(spec.Path), columns: columns, unordered: spec.unordered, groupEnd: spec.GroupEnd,
		id: -1, group: -1, hash: -1, lastID: lastID}
	var err error
	find := func(name, flag string) int {
		i := slices.Index(columns, name)
		if i < 0 {
			i = slices.IndexFunc(columns, func(c string) bool { return strings.EqualFold(c, name) })
		}
		if i < 0 && err == nil {
			err = usagef("%s has no column %q; its columns are %s: choose with --%s", c.list, name,
				strings.Join(columns, ", "), flag)
		}
		return i
	}
	c.url = find(urlColumn(spec), "url-column")
	if spec.IDColumn != "" {
		c.id = find(spec.IDColumn, "id-column")
	}
	if spec.GroupColumn != "" {
		c.group = find(spec.GroupColumn, "group-column")
	}
	if spec.HashColumn != "" {
		c.hash = find(spec.HashColumn, "verify-hash")
	}
	for _, k := range spec.KeepColumns {
		c.kept = append(c.kept, find(k, "keep-columns"))
	}
	for _, i := range append([]int{c.url, c.id, c.group, c.hash}, c.kept...) {
		if i >= 0 && !slices.Contains(c.wanted, i) {
			c.wanted = append(c.wanted, i)
		}
	}
	return c, err
}

func urlColumn(spec Spec) string {
	if spec.URLColumn == "" {
		return "url"
	}
	return spec.URLColumn
}

// row makes the row of the record with this number. The fields are those of columns; only chosen ones are
// read.
func (c *chosen) row(r *Row, number int64, fields []string) error {
	*r = Row{ID: number}
	if c.id >= 0 {
		id, err := strconv.ParseInt(strings.TrimSpace(fields[c.id]), 10, 64)
		if err != nil || id < 1 {
			return fmt.Errorf("%s, record %d: %s is %.200q, and an id is an integer from 1 to %d; "+
				"correct the record, or number the records, in another job: --db JOB without --id-column",
				c.list, number, c.columns[c.id], fields[c.id], int64(maxID-1))
		}
		r.ID = id
	}
	if r.ID >= maxID {
		return fmt.Errorf("%s, record %d: the id %d is not below 2^40", c.list, number, r.ID)
	}
	if c.id >= 0 {
		if r.ID <= c.lastID && !c.unordered {
			return fmt.Errorf("%s, record %d: %s is %d after %d, and ids have to ascend: sort the list by "+
				"%[3]s", c.list, number, c.columns[c.id], r.ID, c.lastID)
		}
		c.lastID = r.ID
	}
	r.URL, r.Bad = urlText(fields[c.url])
	if c.group >= 0 {
		r.Group = clean(fields[c.group])
		r.End = c.groupEnd != "" && r.Group != "" && fields[c.url] == c.groupEnd
	}
	if c.hash >= 0 {
		r.Hash = strings.TrimSpace(clean(fields[c.hash]))
	}
	if len(c.kept) > 0 {
		if cap(c.slab)-len(c.slab) < len(c.kept) {
			c.slab = make([]string, 0, max(1024, len(c.kept)))
		}
		start := len(c.slab)
		for _, i := range c.kept {
			c.slab = append(c.slab, clean(fields[i]))
		}
		r.Kept = c.slab[start:len(c.slab):len(c.slab)]
	}
	return nil
}

// spoil marks a row as broken if it is.
func spoil(r *Row, broken bool) {
	if broken {
		r.Bad, r.End = true, false
	}
}

// urlText returns text as the URL of a row, and whether it is too long for one.
func urlText(s string) (url string, tooLong bool) {
	if len(s) > MaxURL {
		return clean(s[:MaxURL+1]), true
	}
	return clean(s), false
}

// errNotYet says that a pipe has no whole record at the moment.
var errNotYet = errors.New("no record yet")

// fill sets dst by next, which waits for a pipe only if it may, so for no more than the first row. Where next
// fails after other rows, those come first: it will return the error again.
func fill(dst []Row, next func(row *Row, wait bool) error) (int, error) {
	for n := range dst {
		if err := next(&dst[n], n == 0); err != nil {
			if n > 0 {
				return n, nil
			}
			return 0, err
		}
	}
	return len(dst), nil
}

// records is shared by the readers of csv and jsonl: the text at the window's start, which grows until it
// contains a record.
type records struct {
	*stream
	chosen
	line  int64  // records, or lines, that are consumed
	text  string // the window
	waits bool   // for more of a pipe

	damage, firstDamage int64 // as Damaged returns them
}

func newRecords(s *stream, from Position) records {
	return records{stream: s, line: from.Line, text: s.textOf(s.window())}
}

// grow reads more of the list, to twice as much if that is available at once, since a long record is read
// from its start each time; false at the end.
func (r *records) grow() bool {
	want := 2 * len(r.text)
	ok := r.more()
	for ok && r.w-r.r < want && r.ready() && r.more() {
	}
	r.text = r.textOf(r.window())
	return ok
}

// drop consumes text.
func (r *records) drop(n int) {
	r.consume(n)
	r.text = r.text[n:]
}

// firstLine returns the line at the start of text, and its length with its line end; at the end of the list
// both may be empty. Of a line that is longer than maxRecord it returns that much and -1.
func (r *records) firstLine() (line string, n int, err error) {
	i := strings.IndexByte(r.text, '\n')
	for i < 0 && len(r.text) <= maxRecord {
		if !r.waits && !r.ready() {
			return "", 0, errNotYet
		}
		if !r.grow() {
			if r.err != io.EOF || r.growing {
				return "", 0, r.err
			}
			break
		}
		i = strings.IndexByte(r.text, '\n')
	}
	n = i + 1
	if i < 0 {
		n = len(r.text)
	}
	if n > maxRecord {
		return r.text[:maxRecord], -1, nil
	}
	return strings.TrimSuffix(strings.TrimSuffix(r.text[:n], "\n"), "\r"), n, nil
}

// take makes a row of fields and consumes its record, as finish does. If that fails nothing is consumed.
func (r *records) take(row *Row, n int, fields []string) error {
	lastID := r.lastID
	if err := r.row(row, r.line+1, fields); err != nil {
		return err
	}
	if err := r.finish(n); err != nil {
		r.lastID = lastID
		return err
	}
	r.line++
	return nil
}

// finish consumes a record of n bytes with its line end, or a line of any length if n is negative.
func (r *records) finish(n int) error {
	if n >= 0 {
		r.unended = r.text[n-1] != '\n'
		r.drop(n)
		return nil
	}
	ended, err := r.skipLine(func([]byte) {})
	if err != nil {
		return err
	}
	r.text, r.unended = r.textOf(r.window()), !ended
	return nil
}

// Damaged returns how many records were damaged but could be read, and the number of the first one.
func (r *records) Damaged() (n, first int64) { return r.damage, r.firstDamage }

// damagedRecord counts the record with this number.
func (r *records) damagedRecord(number int64) {
	if r.damage++; r.damage == 1 {
		r.firstDamage = number
	}
}

func (r *records) Position() Position {
	return r.position(r.line, func(m *mark) { m.Columns, m.ID = r.columns, r.lastID })
}
