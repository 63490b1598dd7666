package source

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// lookAhead is how many rows of a list with an id column are read to see whether their ids ascend.
const lookAhead = 1 << 18

// openByID opens a list whose ids are a column. Rows are returned by ascending id. A list in that order is
// read like any other; one whose beginning is out of order is read to its end and sorted first. A list that
// is out of order only later, or that comes through a pipe, must be sorted by the user.
func openByID(ctx context.Context, spec Spec, from Position) (Reader, error) {
	m, err := decodeMark(spec.Path, from.Mark)
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(spec.Path)
	if spec.Path == "-" || err == nil && !fi.Mode().IsRegular() {
		return openFormat(ctx, spec, from)
	}
	if err != nil {
		return nil, err
	}
	sorted := m.Sorted
	if from.Line == 0 {
		if sorted, err = outOfOrder(ctx, spec); err != nil {
			return nil, err
		}
	}
	if sorted {
		return openSorted(ctx, spec, from, m)
	}
	return openFormat(ctx, spec, from)
}

// outOfOrder reads the beginning of a list.
func outOfOrder(ctx context.Context, spec Spec) (bool, error) {
	spec.unordered = true
	r, err := openFormat(ctx, spec, Position{})
	if err != nil {
		return false, err
	}
	defer r.Close()
	rows := make([]Row, 1024)
	last := int64(0)
	for seen := 0; seen < lookAhead; {
		n, err := r.Next(rows)
		if err != nil {
			return false, nil // the reader of the list finds it, too
		}
		for _, row := range rows[:n] {
			if row.ID < last {
				return true, nil
			}
			last = row.ID
		}
		seen += n
	}
	return false, nil
}

// sorted returns the rows of a list by ascending id.
type sorted struct {
	wholeFile
	ctx  context.Context
	list Reader  // as it is
	rows *Sorter // nil before the first Next
	err  error   // why sorting failed
}

func openSorted(ctx context.Context, spec Spec, from Position, m mark) (Reader, error) {
	s := &sorted{ctx: ctx}
	if err := s.open(spec.Path, from, m); err != nil {
		var changed *ChangedError
		if errors.As(err, &changed) {
			changed.What += " (its ids are not in order, so it cannot grow either)"
		}
		return nil, err
	}
	if m.End && from.Line > 0 { // a list without rows may have got some
		return finished(from), nil
	}
	s.mark.Sorted = true
	spec.unordered = true
	var err error
	s.list, err = openFormat(ctx, spec, Position{})
	return s, err
}

// sort reads the list, of which the rows up to the position are done.
func (s *sorted) sort() error {
	s.rows = NewSorter(s.ctx)
	total := int64(0)
	chunk := make([]Row, 1024)
	for {
		n, err := s.list.Next(chunk)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		total += int64(n)
		for _, row := range chunk[:n] {
			if row.ID <= s.mark.ID {
				continue
			}
			if err := s.rows.Add(pack(row)); err != nil {
				return fmt.Errorf("%s: %w", s.path, err)
			}
		}
	}
	if err := s.rows.Sort(); err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	switch key, is, err := s.rows.Twice(); {
	case err != nil:
		return fmt.Errorf("%s: %w", s.path, err)
	case is:
		return fmt.Errorf("%s: the id %d is there more than once, and ids have to be different", s.path,
			binary.BigEndian.Uint64([]byte(key)))
	}
	s.total.Store(total)
	return nil
}

func (s *sorted) Next(dst []Row) (int, error) {
	if s.rows == nil {
		s.err = s.sort()
	}
	return fill(dst, s.next)
}

func (s *sorted) next(row *Row, _ bool) error {
	if s.err != nil {
		return s.err
	}
	key, data, more, err := s.rows.Next()
	if err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	if !more {
		s.mark.End = true
		return io.EOF
	}
	*row = unpack(key, data)
	s.mark.ID = row.ID
	s.done.Add(1)
	return nil
}

// pack makes an entry of a row: its id, and its texts, which have no NUL (see clean).
func pack(r Row) (key string, data []byte) {
	flags := ""
	if r.Bad {
		flags += "bad "
	}
	if r.End {
		flags += "end"
	}
	texts := append([]string{flags, r.URL, r.Group, r.Hash}, r.Kept...)
	return string(binary.BigEndian.AppendUint64(nil, uint64(r.ID))), []byte(strings.Join(texts, "\x00"))
}

func unpack(key string, data []byte) Row {
	texts := strings.Split(string(data), "\x00")
	r := Row{ID: int64(binary.BigEndian.Uint64([]byte(key))), URL: texts[1], Group: texts[2], Hash: texts[3],
		Bad: strings.Contains(texts[0], "bad"), End: strings.Contains(texts[0], "end")}
	if len(texts) > 4 {
		r.Kept = slices.Clip(texts[4:])
	}
	return r
}

// Damaged returns what the list's own reader says.
func (s *sorted) Damaged() (n, first int64) {
	if l, ok := s.list.(interface{ Damaged() (n, first int64) }); ok {
		return l.Damaged()
	}
	return 0, 0
}

func (s *sorted) Close() error {
	if s.rows != nil {
		_ = s.rows.Close()
	}
	return s.list.Close()
}
