package source

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync/atomic"
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

// sorted returns the rows of a list by ascending id, from its own temporary database.
type sorted struct {
	ctx   context.Context
	path  string
	mark  mark    // of the whole file
	list  Reader  // as it is
	db    *sql.DB // nil before the first Next
	rows  *sql.Rows
	err   error        // why sorting failed
	total atomic.Int64 // 0 until it is sorted
	done  atomic.Int64
}

func openSorted(ctx context.Context, spec Spec, from Position, m mark) (Reader, error) {
	s := &sorted{ctx: ctx, path: spec.Path}
	var err error
	if s.mark, err = markOf(spec.Path); err != nil {
		return nil, err
	}
	if from.Line > 0 {
		if what := s.mark.changedSince(m); what != "" {
			return nil, &ChangedError{spec.Path,
				what + " (its ids are not in order, so it cannot grow either)"}
		}
		if m.End {
			return finished{from, m}, nil
		}
	}
	s.mark.Sorted, s.mark.ID = true, m.ID
	spec.unordered = true
	list, err := openFormat(ctx, spec, Position{})
	if err != nil {
		return nil, err
	}
	s.list, s.mark.Columns = list, list.Columns()
	s.done.Store(from.Line)
	return s, nil
}

// sort reads the list into the database and begins to read that.
func (s *sorted) sort() error {
	var err error
	if s.db, err = temporaryDatabase(s.ctx, "CREATE TABLE rows(id INTEGER, url TEXT, grp TEXT, kept TEXT, "+
		"hash TEXT, bad INTEGER, ended INTEGER)"); err != nil {
		return fmt.Errorf("sort %s: %w", s.path, err)
	}
	total, err := s.fill()
	if err != nil {
		return err
	}
	var twice int64
	switch err := s.db.QueryRowContext(s.ctx,
		`SELECT id FROM rows GROUP BY id HAVING count(*) > 1 LIMIT 1`).Scan(&twice); err {
	case sql.ErrNoRows:
	case nil:
		return fmt.Errorf("%s: the id %d is there more than once, and ids have to be different",
			s.path, twice)
	default:
		return fmt.Errorf("sort %s: %w", s.path, err)
	}
	if s.rows, err = s.db.QueryContext(s.ctx,
		`SELECT id, url, grp, kept, hash, bad, ended FROM rows WHERE id > ? ORDER BY id`, s.mark.ID); err != nil {
		return fmt.Errorf("sort %s: %w", s.path, err)
	}
	s.total.Store(total)
	return nil
}

// fill reads a list into the database.
func (s *sorted) fill() (total int64, err error) {
	tx, err := s.db.BeginTx(s.ctx, nil)
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	insert, err := tx.PrepareContext(s.ctx, `INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)`)
	if err != nil {
		return 0, err
	}
	defer insert.Close()
	rows := make([]Row, 1024)
	for {
		n, err := s.list.Next(rows)
		if err == io.EOF {
			return total, tx.Commit()
		}
		if err != nil {
			return 0, err
		}
		for _, r := range rows[:n] {
			kept, err := json.Marshal(r.Kept)
			if err == nil {
				_, err = insert.ExecContext(s.ctx, r.ID, r.URL, r.Group, kept, r.Hash, r.Bad, r.End)
			}
			if err != nil {
				return 0, fmt.Errorf("sort %s: %w", s.path, err)
			}
		}
		total += int64(n)
	}
}

func (s *sorted) Next(dst []Row) (int, error) {
	if s.db == nil {
		s.err = s.sort()
	}
	if s.err != nil {
		return 0, s.err
	}
	for n := range dst {
		if !s.rows.Next() {
			err := s.rows.Err()
			if n > 0 {
				return n, nil // the next call returns the end, or the error, again
			}
			if err == nil {
				s.mark.End = true
				err = io.EOF
			}
			return 0, err
		}
		var r Row
		var kept []byte
		err := s.rows.Scan(&r.ID, &r.URL, &r.Group, &kept, &r.Hash, &r.Bad, &r.End)
		if err == nil {
			err = json.Unmarshal(kept, &r.Kept)
		}
		if err != nil {
			return 0, fmt.Errorf("sort %s: %w", s.path, err)
		}
		dst[n] = r
		s.mark.ID = r.ID
		s.done.Add(1)
	}
	return len(dst), nil
}

func (s *sorted) Position() Position {
	return Position{Line: s.done.Load(), Mark: s.mark.encode()}
}

// Damaged returns what the list's own reader says.
func (s *sorted) Damaged() (n, first int64) {
	if l, ok := s.list.(interface{ Damaged() (n, first int64) }); ok {
		return l.Damaged()
	}
	return 0, 0
}

func (s *sorted) Columns() []string { return s.mark.Columns }
func (s *sorted) Size() int64       { return s.mark.File.Size }

func (s *sorted) Progress() float64 {
	total := s.total.Load()
	if total == 0 {
		return 0
	}
	return float64(s.done.Load()) / float64(total)
}

func (s *sorted) Close() error {
	if s.rows != nil {
		_ = s.rows.Close()
	}
	if s.db != nil {
		_ = s.db.Close()
	}
	return s.list.Close()
}
