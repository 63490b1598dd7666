package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// Append implements store.Session.
func (s *session) Append(ctx context.Context, l store.SourceLease, rows []store.NewRow, p store.Position, complete bool, shardSize int) error {
	doing := fmt.Sprintf("append to source %d", l.Source)
	if shardSize < 1 {
		return fmt.Errorf("%s: a shard of %d rows", doing, shardSize)
	}
	rows, ends := store.SplitEnds(rows)
	var bad []store.Result
	now := time.Now()
	for i, r := range rows {
		if r.Bad {
			bad = append(bad, *badResult(&rows[i], now))
		}
	}
	part, err := s.nextPart(ctx)
	if err != nil {
		return s.wrap(doing, err)
	}
	tries, begins := 0, false
	err = s.update(ctx, func(t pgx.Tx) error {
		tries++
		var last int64
		var at store.Position
		var was bool
		err := t.QueryRow(ctx, `SELECT last_id, byte_offset, line, mark, complete FROM sources
			WHERE number = $1 AND importer = $2 AND generation = $3 FOR UPDATE`, l.Source, s.number, l.Generation).
			Scan(&last, &at.Offset, &at.Line, &at.Mark, &was)
		if errors.Is(err, pgx.ErrNoRows) {
			return store.ErrLeaseLost
		}
		if err != nil {
			return err
		}
		if n := len(rows); tries > 1 && n > 0 && rows[n-1].ID == last && at.Offset == p.Offset && at.Line == p.Line && bytes.Equal(at.Mark, p.Mark) {
			return nil // the try before this one was committed, though its answer was lost
		}
		if err := store.CheckRows(rows, last, l.Source); err != nil {
			return err
		}
		if err := copyRows(ctx, t, rows); err != nil {
			return err
		}
		if err := copyResults(ctx, t, bad, nil); err != nil {
			return err
		}
		begins = last == int64(l.Source)<<store.SourceShift
		e := effect{source: l.Source, imported: complete && !was}
		e.members(rows)
		e.end(ends)
		for i, r := range rows {
			if r.Bad {
				e.add(badResult(&rows[i], now), r.Group)
			}
		}
		b := &pgx.Batch{}
		if last, err = cutRows(ctx, t, b, rows, last, l.Source, shardSize); err != nil {
			return err
		}
		if err := advance(ctx, t, b, l.Source, p, complete, len(rows), last); err != nil {
			return err
		}
		return s.settle(ctx, t, b, part, e)
	})
	if begins {
		s.openings.Add(1) // later rows are found in time
	}
	return s.wrap(doing, err)
}

// badResult is how a broken record ends.
func badResult(r *store.NewRow, now time.Time) *store.Result {
	return &store.Result{ID: r.ID, Status: store.Failed, Reason: store.BadURL, Time: now}
}

// advance moves the import of a source, which is locked, on by so many rows, up to the last one's id.
func advance(ctx context.Context, t pgx.Tx, b *pgx.Batch, source int, p store.Position, complete bool, rows int, last int64) error {
	sum := int32(0)
	err := eachSummed(ctx, t, source, source, func(s store.Source, _ *int32) {
		s.Position, s.Complete = p, complete
		sum = s.Checksum()
	})
	b.Queue(`UPDATE sources SET byte_offset = $2, line = $3, mark = $4, complete = $5, rows = rows + $6, last_id = $7,
		list_rows = $8, checksum = $9 WHERE number = $1`,
		source, p.Offset, p.Line, p.Mark, complete, rows, last, p.Rows, sum)
	return err
}

// copyRows adds rows. It names only the columns that some row has a value for.
func copyRows(ctx context.Context, t pgx.Tx, rows []store.NewRow) error {
	if len(rows) == 0 {
		return nil
	}
	wide := false
	for i := range rows {
		wide = wide || rows[i].Group != "" || len(rows[i].Kept) > 0
	}
	columns := []string{"id", "url"}
	if wide {
		columns = append(columns, "group", "kept")
	}
	values := make([]any, len(columns))
	_, err := t.CopyFrom(ctx, pgx.Identifier{"rows"}, columns, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
		values[0], values[1] = rows[i].ID, text(rows[i].URL)
		if wide {
			values[2], values[3] = orNil(rows[i].Group), keep(rows[i].Kept)
		}
		return values, nil
	}))
	return err
}

// text makes a string one that the database takes: UTF-8 without NUL. Rows are that already, what servers say may not be.
func text(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "%00"), "\ufffd")
}

// orNil stores an empty word as NULL, which takes no room.
func orNil(s string) any {
	if s == "" {
		return nil
	}
	return text(s)
}

func keep(kept []string) any {
	if len(kept) == 0 {
		return nil
	}
	out := make([]string, len(kept))
	for i, k := range kept {
		out[i] = text(k)
	}
	return out
}

// cutRows puts rows above all others of their source into shards, and returns the last one's id. The first ones go
// into the last shard, if that is free and not full. Shards tile: one begins where the one before it ended, whatever
// ids are missing.
func cutRows(ctx context.Context, t pgx.Tx, b *pgx.Batch, rows []store.NewRow, last int64, source, shardSize int) (int64, error) {
	if len(rows) == 0 {
		return last, nil
	}
	var lo, hi, held int64
	// A shard that is just being claimed, cut or joined is not waited for.
	err := t.QueryRow(ctx, `SELECT lo, hi, rows FROM shards WHERE lo <= $1 AND source = $2 AND owner IS NULL
		ORDER BY lo DESC LIMIT 1 FOR UPDATE SKIP LOCKED`, last, source).Scan(&lo, &hi, &held)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return last, err
	}
	take := func(most int64) (n, pending int) {
		n = int(min(most, int64(len(rows))))
		for _, r := range rows[:n] {
			if !r.Bad {
				pending++
			}
		}
		last, rows = rows[n-1].ID, rows[n:]
		return n, pending
	}
	if err == nil && hi == last && held < int64(shardSize) {
		n, pending := take(int64(shardSize) - held)
		b.Queue("UPDATE shards SET hi = $2, rows = rows + $3, pending = pending + $4 WHERE lo = $1", lo, last, n, pending)
	}
	var los, his []int64
	var ns, pendings []int
	for len(rows) > 0 {
		los = append(los, last+1)
		n, pending := take(int64(shardSize))
		his, ns, pendings = append(his, last), append(ns, n), append(pendings, pending)
	}
	b.Queue("INSERT INTO shards (lo, hi, source, rows, pending) SELECT u.lo, u.hi, $1, u.rows, u.pending "+
		"FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS u (lo, hi, rows, pending)", source, los, his, ns, pendings)
	return last, nil
}
