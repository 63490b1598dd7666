package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"facescan/store"
)

// Append implements store.Session.
func (s *session) Append(ctx context.Context, l store.SourceLease, rows []store.NewRow, p store.Position, complete bool, shardSize int) error {
	doing := fmt.Sprintf("append to source %d", l.Source)
	if shardSize < 1 {
		return fmt.Errorf("%s: a shard of %d rows", doing, shardSize)
	}
	rows, ends := store.SplitEnds(rows)
	return wrap(doing, s.writer.update(ctx, "append", func(t tx) error {
		var last int64
		err := t.one("SELECT last_id FROM {sources} WHERE number = ? AND importer = ? AND generation = ?",
			[]any{l.Source, s.number, l.Generation}, &last)
		if errors.Is(err, sql.ErrNoRows) {
			return store.ErrLeaseLost
		}
		if err != nil {
			return err
		}
		if err := checkIDs(rows, last, l.Source); err != nil {
			return err
		}
		if err := insertRows(t, l.Source, rows); err != nil {
			return err
		}
		if err := insertBad(t, rows, l.Source); err != nil {
			return err
		}
		if last, err = cutRows(t, rows, last, l.Source, shardSize); err != nil {
			return err
		}
		if err := endGroups(t, l.Source, ends); err != nil {
			return err
		}
		return advance(t, l.Source, p, complete, len(rows), last)
	}))
}

// checkIDs holds rows to ascending ids above last, inside the source's range.
func checkIDs(rows []store.NewRow, last int64, source int) error {
	for _, r := range rows {
		if r.ID <= last {
			return fmt.Errorf("row %d comes after row %d: ids must ascend", r.ID, last)
		}
		last = r.ID
	}
	if last>>store.SourceShift != int64(source) {
		return fmt.Errorf("id %d is outside source %d", last, source)
	}
	return nil
}

// insertRows adds rows, done if they are Bad. It names only the columns that some row has a value for: the usual list
// binds two values a row.
func insertRows(t tx, source int, rows []store.NewRow) error {
	var bad, wide bool
	for i := range rows {
		bad = bad || rows[i].Bad
		wide = wide || rows[i].Group != "" || len(rows[i].Kept) > 0
	}
	width, head := 2, "INSERT INTO {urls} ({id}, {url}"
	if bad {
		width, head = width+1, head+", {done}"
	}
	if wide {
		width, head = width+2, head+`, "group", kept`
	}
	const chunk = 1000
	values := make([]any, 0, chunk*width)
	for len(rows) > 0 {
		n := min(chunk, len(rows))
		values = values[:0]
		for i := range rows[:n] {
			r := &rows[i]
			values = append(values, r.ID, r.URL)
			if bad {
				values = append(values, r.Bad)
			}
			if wide {
				values = append(values, orNil(r.Group), packKept(r.Kept))
			}
		}
		if err := t.bulk(head+")", width, values); err != nil {
			return err
		}
		if wide {
			if err := countRows(t, source, rows[:n]); err != nil {
				return err
			}
		}
		rows = rows[n:]
	}
	return nil
}

// advance moves the import of a source on by so many rows, up to the last one's id.
func advance(t tx, source int, p store.Position, complete bool, rows int, last int64) error {
	was := false
	if err := t.one("SELECT complete FROM {sources} WHERE number = ?", []any{source}, &was); err != nil {
		return err
	}
	if complete && !was {
		t.imported(source)
	}
	_, err := t.exec(`UPDATE {sources} SET offset = ?, line = ?, list_rows = ?, mark = ?, complete = ?, rows = rows + ?, last_id = ? WHERE number = ?`,
		p.Offset, p.Line, p.Rows, p.Mark, complete, rows, last, source)
	if err != nil {
		return err
	}
	return sealSource(t, source)
}

// orNil stores an empty word as NULL, which takes no room.
func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// orNone stores no outputs as NULL, likewise.
func orNone(o store.Outputs) any {
	if o == 0 {
		return nil
	}
	return int64(o)
}

// orNull stores no bytes as NULL, likewise.
func orNull(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

func packKept(kept []string) any {
	if len(kept) == 0 {
		return nil
	}
	b, err := json.Marshal(kept)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

// insertBad gives broken records their result.
func insertBad(t tx, rows []store.NewRow, source int) error {
	var results []store.Result
	now := time.Now()
	for _, r := range rows {
		if r.Bad {
			results = append(results, store.Result{ID: r.ID, Status: store.Failed, Reason: store.BadURL, Time: now})
		}
	}
	if len(results) == 0 {
		return nil
	}
	return insertResults(t, source, results)
}

// cutRows puts rows above all others of their source into shards, and returns the last one's id.
func cutRows(t tx, rows []store.NewRow, last int64, source, shardSize int) (int64, error) {
	for len(rows) > 0 {
		n, err := extend(t, rows, last, source, shardSize)
		if err != nil {
			return last, err
		}
		last, rows = rows[n-1].ID, rows[n:]
	}
	return last, nil
}

// extend puts the first rows of next into the source's last shard, if that is free and not full, else into a new
// one, and returns how many. Shards tile: one begins where the one before it ended, whatever ids are missing.
func extend(t tx, next []store.NewRow, last int64, source, shardSize int) (n int, err error) {
	var lo, hi, held int64
	free := false
	err = t.one("SELECT lo, hi, rows, owner IS NULL AND source = ? FROM {shards} WHERE lo <= ? ORDER BY lo DESC LIMIT 1",
		[]any{source, last}, &lo, &hi, &held, &free)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	fresh := !free || hi != last || held >= int64(shardSize)
	if fresh {
		held = 0
	}
	n = int(min(int64(shardSize)-held, int64(len(next))))
	pending := 0
	for _, r := range next[:n] {
		if !r.Bad {
			pending++
		}
	}
	if fresh {
		_, err = t.exec("INSERT INTO {shards} (lo, hi, source, rows, pending) VALUES (?, ?, ?, ?, ?)", last+1, next[n-1].ID, source, n, pending)
	} else {
		_, err = t.exec("UPDATE {shards} SET hi = ?, rows = rows + ?, pending = pending + ? WHERE lo = ?", next[n-1].ID, n, pending, lo)
	}
	return n, err
}
