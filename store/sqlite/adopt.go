package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"

	"facescan/store"
)

// tableSession is a session of a job in a user's table.
type tableSession struct{ *session }

var _ store.Adopter = tableSession{}

// Adopt implements store.Adopter.
func (s tableSession) Adopt(ctx context.Context, l store.SourceLease, from int64,
	shardSize int) (next int64, more bool, err error) {
	const doing = "adopt rows"
	if err := store.CheckShardSize(shardSize); err != nil {
		return from, false, wrap(doing, err)
	}
	if from == math.MinInt64 {
		if _, err := s.adopt(ctx, l, true, shardSize); err != nil {
			return from, false, wrap(doing, err)
		}
	}
	if next, more, err = s.reconcile(ctx, from); err != nil || more {
		return next, more, wrap(doing, err)
	}
	// Behind the last shard.
	next, err = s.adopt(ctx, l, false, shardSize)
	if errors.Is(err, errEnd) {
		return next, false, nil
	}
	return next, true, wrap(doing, err)
}

// Grown implements store.Adopter.
func (s tableSession) Grown(ctx context.Context) (grown bool, err error) {
	err = s.view(ctx, func(t tx) error {
		return t.one(`SELECT max(u.{id}) IS NOT NULL AND max(u.{id}) > coalesce((SELECT hi FROM {shards}
			ORDER BY lo DESC LIMIT 1), min(u.{id}) - 1)
			FROM {urls} AS u`, nil, &grown)
	})
	return grown, wrap("look for new rows", err)
}

// errEnd says that a pass over the table has come to its end.
var errEnd = errors.New("end of the table")

// adopt cuts new rows into shards: all those below the first store.Shard, which opens the import; or some of
// those above the last one, and returns where to go on. Without any left there the import is complete, which
// is errEnd.
func (s tableSession) adopt(ctx context.Context, l store.SourceLease, below bool,
	shardSize int) (next int64, err error) {
	end := false
	err = s.writer.update(ctx, "adopt", func(t tx) error {
		if err := s.setImport(t, l, "complete = 0"); err != nil {
			return err
		}
		if err := sealSource(t, l.Source); err != nil {
			return err
		}
		var first, last sql.NullInt64
		if err := t.one("SELECT min(lo), (SELECT hi FROM {shards} ORDER BY lo DESC LIMIT 1) FROM {shards}",
			nil, &first, &last); err != nil {
			return err
		}
		if below {
			if !first.Valid {
				return nil
			}
			return adoptBelow(t, l.Source, first.Int64, shardSize)
		}
		c, err := nextShard(t, last, math.MaxInt64, shardSize)
		if end = errors.Is(err, errEnd); end {
			t.imported(l.Source)
			if _, err = t.exec("UPDATE {sources} SET complete = 1 WHERE number = ?", l.Source); err != nil {
				return err
			}
			return sealSource(t, l.Source)
		}
		if err != nil {
			return err
		}
		next = c.Hi + 1
		if err := adoptShard(t, l.Source, c, last, shardSize); err != nil {
			return err
		}
		_, err = t.exec("UPDATE {sources} SET rows = rows + ?, last_id = ? WHERE number = ?", c.Rows, c.Hi,
			l.Source)
		return err
	})
	if err == nil && end {
		err = errEnd
	}
	return next, err
}

// adoptBelow cuts the rows below the first store.Shard, rare as they are, in one transaction.
func adoptBelow(t tx, source int, first int64, shardSize int) error {
	for last := (sql.NullInt64{}); ; {
		c, err := nextShard(t, last, first, shardSize)
		if errors.Is(err, errEnd) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := adoptShard(t, source, c, sql.NullInt64{}, shardSize); err != nil {
			return err
		}
		if _, err := t.exec("UPDATE {sources} SET rows = rows + ?, changes = changes + 1 WHERE number = ?",
			c.Rows, source); err != nil {
			return err
		}
		last = sql.NullInt64{Int64: c.Hi, Valid: true}
	}
}

// nextShard finds the shard of at most shardSize pending rows, and store.MaxSpan rows in all, that begins
// after last (or with the first row) and ends below until. errEnd if there are no rows.
func nextShard(t tx, last sql.NullInt64, until int64, shardSize int) (c store.Shard, err error) {
	after := int64(math.MinInt64)
	if last.Valid {
		after = last.Int64
	}
	var first, end sql.NullInt64
	rows := 0
	err = t.one("SELECT min(i), max(i), count(*) FROM (SELECT u.{id} AS i FROM {urls} AS u WHERE u.{id} > ? "+
		"AND u.{id} < ? ORDER BY u.{id} LIMIT ?)", []any{after, until, store.MaxSpan}, &first, &end, &rows)
	if err != nil {
		return c, err
	}
	if rows == 0 {
		return c, errEnd
	}
	c.Lo, c.Hi = first.Int64, end.Int64
	if last.Valid {
		c.Lo = after + 1
	}
	err = t.one("SELECT u.{id} FROM {urls} AS u WHERE u.{id} BETWEEN ? AND ? AND {pending} ORDER BY u.{id} "+
		"LIMIT 1 OFFSET ?", []any{c.Lo, c.Hi, shardSize - 1}, &c.Hi)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return c, err
	}
	if until != math.MaxInt64 && rows < store.MaxSpan && c.Hi == end.Int64 {
		c.Hi = until - 1 // shards tile
	}
	return count(t, c.Lo, c.Hi)
}

// adoptShard makes a store.Shard, or adds it to the one that ends at last if that is free and small.
func adoptShard(t tx, source int, c store.Shard, last sql.NullInt64, shardSize int) error {
	if err := regroup(t, c.Lo, c.Hi); err != nil {
		return err
	}
	if last.Valid {
		n, err := t.exec(`UPDATE {shards} SET hi = ?, rows = rows + ?, pending = pending + ?,
			already = already + ?
			WHERE lo = (SELECT max(lo) FROM {shards}) AND hi = ? AND owner IS NULL AND rows + ? <= ?
			AND already + ? <= ?`,
			c.Hi, c.Rows, c.Pending, c.Already, last.Int64, c.Rows, shardSize, c.Already, store.MaxSpan)
		if err != nil || n > 0 {
			return err
		}
	}
	_, err := t.exec("INSERT INTO {shards} (lo, hi, source, rows, pending, already) "+
		"VALUES (?, ?, ?, ?, ?, ?)", c.Lo, c.Hi, source, c.Rows, c.Pending, c.Already)
	return err
}

// reconcile compares the first shard that ends at from or above with the user's rows, and puts it right. It
// returns where to go on, while there are shards.
func (j *job) reconcile(ctx context.Context, from int64) (next int64, more bool, err error) {
	var s store.Shard
	right := false
	find := func(t tx) (err error) {
		if s, err = shardAt(t, from); err != nil {
			return err
		}
		right, err = agrees(t, s)
		return err
	}
	err = j.view(ctx, find)
	if err == nil && !right {
		err = j.writer.update(ctx, "reconcile", func(t tx) error {
			if err := find(t); err != nil || right {
				return err
			}
			_, err := j.putRight(t, s)
			return err
		})
	}
	if errors.Is(err, sql.ErrNoRows) {
		return from, false, nil
	}
	return s.Hi + 1, true, err
}

// shardAt is the shard that holds an id, or the next one; sql.ErrNoRows if there is none.
func shardAt(t tx, id int64) (s store.Shard, err error) {
	err = t.one("SELECT lo, hi, rows, pending, already FROM {shards} WHERE "+shardFrom+" ORDER BY lo LIMIT 1",
		[]any{id}, &s.Lo, &s.Hi, &s.Rows, &s.Pending, &s.Already)
	return s, err
}

// shardFrom is a condition on shards: the one that holds the id that is the first parameter, and those above.
const shardFrom = `lo >= coalesce((SELECT CASE WHEN hi >= ?1 THEN lo END FROM {shards} WHERE lo <= ?1
	ORDER BY lo DESC LIMIT 1), ?1)`

// strays are results whose row is gone, or not done.
const strays = "FROM {results} AS r LEFT JOIN {urls} AS u ON u.{id} = r.id WHERE r.id BETWEEN ? AND ? " +
	"AND (u.{id} IS NULL OR {pending})"

func agrees(t tx, s store.Shard) (bool, error) {
	stray := false
	if err := t.one("SELECT EXISTS (SELECT 1 "+strays+")", []any{s.Lo, s.Hi}, &stray); err != nil || stray {
		return false, err
	}
	if c, err := count(t, s.Lo, s.Hi); err != nil || c != s {
		return false, err
	}
	return membersAgree(t, s.Lo, s.Hi)
}

// putRight drops stray results and counts again.
func (j *job) putRight(t tx, s store.Shard) (store.Shard, error) {
	if _, err := j.dropResults(t, 0, strays, s.Lo, s.Hi); err != nil {
		return s, err
	}
	_, err := t.exec("DELETE FROM {suspects} WHERE id BETWEEN ?1 AND ?2 AND id NOT IN (SELECT u.{id} "+
		"FROM {urls} AS u WHERE u.{id} BETWEEN ?1 AND ?2 AND {pending})", s.Lo, s.Hi)
	if err != nil {
		return s, err
	}
	return recount(t, s)
}

// recount sets the counters of a store.Shard, its source and its groups by what there is.
func recount(t tx, s store.Shard) (store.Shard, error) {
	if err := regroup(t, s.Lo, s.Hi); err != nil {
		return s, err
	}
	c, err := count(t, s.Lo, s.Hi)
	if err != nil || c == s {
		return c, err
	}
	_, err = t.exec("UPDATE {shards} SET hi = ?, rows = ?, pending = ?, already = ? WHERE lo = ?", c.Hi,
		c.Rows, c.Pending, c.Already, s.Lo)
	if err != nil {
		return c, err
	}
	more := c.Rows - s.Rows // may have come in among rows that were read
	_, err = t.exec("UPDATE {sources} SET rows = rows + ?, changes = changes + ?", more, max(0, more))
	return c, err
}
