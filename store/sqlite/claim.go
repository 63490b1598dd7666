package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"facescan/store"
)

// Claiming. A claim picks a source, takes its first shard that is free and has pending rows, and makes it fit: what
// is above the wanted number of rows is cut off and stays free, and sparse free neighbours are joined to it.
//
// Sources share by weight, 2 to the power of their priority, in rows (start-time fair queueing): each claim moves its
// source's start on by rows/weight, the source with the lowest start is next, and one that had no work meanwhile begins
// at the round, where the others are. So none starves, and a source that is new comes next.
//
// At the end of a job a claim takes a fraction of what is left a living owner, so that all of them end together.

const (
	minSlice = 32     // rows under which a claim is not cut for the end's sake
	maxSpan  = 100000 // rows, done ones included, up to which a claim joins shards
	doneSpan = 50000  // rows up to which finished shards are joined
)

// shard is a row of the table.
type shard struct{ lo, hi, rows, pending, already int64 }

// Claim implements store.Session.
func (s *session) Claim(ctx context.Context, maxRows int) (store.Lease, error) {
	l := store.Lease{Owner: s.owner.ID}
	if maxRows < 1 {
		return l, fmt.Errorf("claim: at most %d rows", maxRows)
	}
	dead, err := s.corpses(ctx)
	if err != nil {
		return l, wrap("claim", err)
	}
	if len(dead) == 0 { // ask first, so that those who wait for work do not write
		if some, err := s.anything(ctx); err != nil {
			return l, wrap("claim", err)
		} else if !some {
			return l, store.ErrNoShard
		}
	}
	var freed int64
	none := false
	err = s.writer.update(ctx, "claim", func(t tx) (err error) {
		if err = s.present(t); err != nil {
			return err
		}
		if freed, err = s.sweep(t, dead); err != nil {
			return err
		}
		var c shard
		source := 0
		for empty := true; empty && err == nil; empty = c.pending == 0 {
			c, source, err = s.pick(t, int64(maxRows))
		}
		if none = errors.Is(err, sql.ErrNoRows); none {
			return nil // what was swept is to stay swept
		}
		if err != nil {
			return err
		}
		if l.Generation, err = s.generation(t); err != nil {
			return err
		}
		l.Shard, l.Source, l.Lo, l.Hi, l.Pending, l.Expires = c.lo, source, c.lo, c.hi, c.pending, s.trust()
		_, err = t.exec("UPDATE {shards} SET hi = ?, rows = ?, pending = ?, already = ?, owner = ?, generation = ?, expires = ? WHERE lo = ?",
			c.hi, c.rows, c.pending, c.already, s.number, l.Generation, s.expiry(), c.lo)
		return err
	})
	if err != nil {
		return l, wrap("claim", err)
	}
	s.takeovers.Add(freed)
	s.bury(dead)
	if none {
		return l, store.ErrNoShard
	}
	return l, nil
}

// anything tells whether a claim could find a shard or expired lease.
func (j *job) anything(ctx context.Context) (some bool, err error) {
	err = j.view(ctx, func(t tx) error {
		return t.one(`SELECT EXISTS (SELECT 1 FROM {sources} AS s WHERE s.paused = 0 AND EXISTS (
				SELECT 1 FROM {shards} WHERE source = s.number AND owner IS NULL AND pending > 0))
			OR EXISTS (SELECT 1 FROM {shards} WHERE owner IS NOT NULL AND expires < ?)`, []any{leaseClock()}, &some)
	})
	return some, err
}

// pick chooses source and shard and makes the shard fit; sql.ErrNoRows if there is none. The caller leases
// it, unless it turned out to have nothing pending.
func (s *session) pick(t tx, maxRows int64) (c shard, source int, err error) {
	var start float64
	var priority int
	err = t.one(`SELECT s.number, max(s.start, j.round), s.priority FROM {sources} AS s, {job} AS j WHERE s.paused = 0
		AND EXISTS (SELECT 1 FROM {shards} WHERE source = s.number AND owner IS NULL AND pending > 0) ORDER BY 2, 1 LIMIT 1`,
		nil, &source, &start, &priority)
	if err != nil {
		return c, 0, err
	}
	var left, owners int64
	err = t.one(`SELECT (SELECT sum(rows) FROM {sources}) - (SELECT coalesce(sum(rows), 0) FROM {tallies}), (SELECT count(*) FROM {owners})`,
		nil, &left, &owners)
	if err != nil {
		return c, 0, err
	}
	want := min(maxRows, max(minSlice, left/(2*owners)))
	err = t.one("SELECT lo, hi, rows, pending, already FROM {shards} WHERE source = ? AND owner IS NULL AND pending > 0 ORDER BY lo LIMIT 1",
		[]any{source}, &c.lo, &c.hi, &c.rows, &c.pending, &c.already)
	if err != nil {
		return c, 0, err
	}
	if c, err = join(t, c, source, want); err != nil {
		return c, 0, err
	}
	if s.inPlace { // the user may have done rows, or deleted some, since they were counted
		if c, err = putRight(t, c); err != nil || c.pending == 0 {
			return c, source, err
		}
	}
	if c, err = cut(t, c, source, want); err != nil {
		return c, 0, err
	}
	if _, err = t.exec("UPDATE {sources} SET start = ? WHERE number = ?", start+math.Ldexp(float64(c.pending), -priority), source); err != nil {
		return c, 0, err
	}
	_, err = t.exec("UPDATE {job} SET round = ?", start)
	return c, source, err
}

// join adds the free neighbours above a shard, until it has the wanted rows pending or spans maxSpan rows.
func join(t tx, c shard, source int, want int64) (shard, error) {
	if c.pending >= want {
		return c, nil
	}
	first, joined, seen := c.lo, c, c
	end := errors.New("far enough")
	err := t.each("SELECT lo, hi, rows, pending, already, owner IS NULL FROM {shards} WHERE lo > ? AND source = ? ORDER BY lo",
		[]any{c.lo, source}, func(r *sql.Rows) error {
			var n shard
			var free bool
			if err := r.Scan(&n.lo, &n.hi, &n.rows, &n.pending, &n.already, &free); err != nil {
				return err
			}
			if !free || seen.rows+seen.already+n.rows+n.already > maxSpan || joined.pending >= want {
				return end
			}
			seen = shard{first, n.hi, seen.rows + n.rows, seen.pending + n.pending, seen.already + n.already}
			if n.pending > 0 {
				joined = seen
			}
			return nil
		})
	if err != nil && err != end {
		return c, err
	}
	if joined == c {
		return c, nil
	}
	_, err = t.exec("DELETE FROM {shards} WHERE lo > ? AND lo <= ?", c.lo, joined.hi)
	return joined, err
}

// cut leaves the wanted rows in a shard, and what is above them in a free one.
func cut(t tx, c shard, source int, want int64) (shard, error) {
	if c.pending <= want {
		return c, nil
	}
	rest := c
	err := t.one("SELECT u.{id} FROM {urls} AS u WHERE u.{id} BETWEEN ? AND ? AND {pending} ORDER BY u.{id} LIMIT 1 OFFSET ?",
		[]any{c.lo, c.hi, want - 1}, &c.hi)
	if err != nil {
		return c, err
	}
	if c, err = count(t, c.lo, c.hi); err != nil {
		return c, err
	}
	_, err = t.exec("INSERT INTO {shards} (lo, hi, source, rows, pending, already) VALUES (?, ?, ?, ?, ?, ?)",
		c.hi+1, rest.hi, source, rest.rows-c.rows, rest.pending-c.pending, rest.already-c.already)
	return c, err
}

// count counts the rows from lo to hi.
func count(t tx, lo, hi int64) (shard, error) {
	c := shard{lo: lo, hi: hi}
	var all, done int64
	err := t.one(`SELECT count(*), count(*) FILTER (WHERE {pending}), (SELECT count(*) FROM {results} WHERE id BETWEEN ?1 AND ?2)
		FROM {urls} AS u WHERE u.{id} BETWEEN ?1 AND ?2`, []any{lo, hi}, &all, &c.pending, &done)
	c.rows = c.pending + done
	c.already = all - c.rows
	return c, err
}

// Pending implements store.Session.
func (s *session) Pending(ctx context.Context, l store.Lease, after int64, limit int) (out []store.Row, err error) {
	err = s.view(ctx, func(t tx) error {
		return t.each("SELECT u.{id}, {address} FROM {urls} AS u WHERE u.{id} BETWEEN ? AND ? AND {pending} ORDER BY u.{id} LIMIT ?",
			[]any{max(l.Lo, after+1), l.Hi, limit}, func(r *sql.Rows) error {
				var row store.Row
				err := r.Scan(&row.ID, &row.URL)
				out = append(out, row)
				return err
			})
	})
	return out, wrap("read pending rows", err)
}

// Renew implements store.Session.
func (s *session) Renew(ctx context.Context, ls []store.Lease) (held []store.Lease, err error) {
	err = s.writer.update(ctx, "renew", func(t tx) error {
		trust := s.trust()
		for _, l := range ls {
			n, err := t.exec("UPDATE {shards} SET expires = ? WHERE lo = ? AND owner = ? AND generation = ?",
				s.expiry(), l.Shard, s.number, l.Generation)
			if err != nil {
				return err
			}
			if n == 1 {
				l.Expires = trust
				held = append(held, l)
			}
		}
		return nil
	})
	return held, wrap("renew leases", err)
}

// Release implements store.Session. Shards that are finished are joined to finished neighbours, so that there never are
// many more than were cut at import.
func (s *session) Release(ctx context.Context, ls []store.Lease) error {
	return wrap("release leases", s.writer.update(ctx, "release", func(t tx) error {
		for _, l := range ls {
			n, err := t.exec("UPDATE {shards} SET owner = NULL, expires = NULL WHERE lo = ? AND owner = ? AND generation = ?",
				l.Shard, s.number, l.Generation)
			if err == nil && n == 1 {
				err = joinFinished(t, l.Shard)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

// joinFinished joins the shard at lo, if it is finished, to those below and above it that are free and finished too.
func joinFinished(t tx, lo int64) error {
	var run []shard // of one source, without gaps, and not too long
	source, all, ours := 0, int64(0), false
	err := t.each(`SELECT lo, hi, rows, already, source FROM {shards} WHERE owner IS NULL AND pending = 0 AND lo IN (?1,
			(SELECT lo FROM {shards} WHERE lo < ?1 ORDER BY lo DESC LIMIT 1), (SELECT lo FROM {shards} WHERE lo > ?1 ORDER BY lo LIMIT 1))
		ORDER BY lo`, []any{lo}, func(r *sql.Rows) error {
		var n shard
		var of int
		if err := r.Scan(&n.lo, &n.hi, &n.rows, &n.already, &of); err != nil {
			return err
		}
		if len(run) > 0 && (of != source || run[len(run)-1].hi+1 != n.lo || all+n.rows+n.already > doneSpan) {
			if ours {
				return nil
			}
			run, all = nil, 0
		}
		run, all, source, ours = append(run, n), all+n.rows+n.already, of, ours || n.lo == lo
		return nil
	})
	if err != nil || len(run) < 2 || !ours {
		return err
	}
	first, last := run[0], run[len(run)-1]
	if _, err := t.exec("DELETE FROM {shards} WHERE lo > ? AND lo <= ?", first.lo, last.lo); err != nil {
		return err
	}
	for _, n := range run[1:] {
		first.rows, first.already = first.rows+n.rows, first.already+n.already
	}
	_, err = t.exec("UPDATE {shards} SET hi = ?, rows = ?, already = ? WHERE lo = ?", last.hi, first.rows, first.already, first.lo)
	return err
}
