package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"facescan/store"
	"facescan/store/fair"
)

// Claiming. A claim picks a source, takes its first shard that is free and has pending rows, and makes it
// fit: what is above the wanted number of rows is cut off and stays free, and sparse free neighbours are
// joined to it.
//
// Sources share by weight, 2 to the power of their priority, in rows: see package fair.
//
// At the end of a job a claim takes a fraction of what is left a living owner, so that all of them end
// together.

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
	s.claiming.Lock()
	defer s.claiming.Unlock()
	dead, err := s.corpses(ctx)
	if err != nil {
		return l, wrap("claim", err)
	}
	s.claims++
	surveyed := false
	if len(dead) == 0 && s.round.Due(s.claims) { // ask first, so that those who wait for work do not write
		expired := false
		err := s.view(ctx, func(t tx) error {
			if err := s.survey(t); err != nil {
				return err
			}
			return t.one("SELECT EXISTS (SELECT 1 FROM {shards} WHERE owner IS NOT NULL AND expires < ?)", []any{leaseClock()}, &expired)
		})
		if err != nil {
			return l, wrap("claim", err)
		}
		surveyed = true
		if !expired && s.round.Empty() {
			return l, store.ErrNoShard
		}
	}
	var freed int64
	var c shard
	var turn *fair.Turn
	var priority int
	err = s.writer.update(ctx, "claim", func(t tx) (err error) {
		if err = s.present(t); err != nil {
			return err
		}
		if freed, err = s.sweep(t, dead); err != nil {
			return err
		}
		if freed > 0 || !surveyed && s.round.Empty() {
			if err := s.survey(t); err != nil {
				return err
			}
			surveyed = true
		}
		if c, turn, priority, err = s.pick(t, int64(maxRows)); errors.Is(err, sql.ErrNoRows) && !surveyed {
			if err = s.survey(t); err == nil {
				c, turn, priority, err = s.pick(t, int64(maxRows))
			}
		}
		if errors.Is(err, sql.ErrNoRows) {
			turn = nil
			return nil // what was swept is to stay swept
		}
		if err != nil {
			return err
		}
		if l.Generation, err = s.generation(t); err != nil {
			return err
		}
		l.Shard, l.Source, l.Lo, l.Hi, l.Pending, l.Expires = c.lo, turn.Source, c.lo, c.hi, c.pending, s.trust()
		_, err = t.exec("UPDATE {shards} SET hi = ?, rows = ?, pending = ?, already = ?, owner = ?, generation = ?, expires = ? WHERE lo = ?",
			c.hi, c.rows, c.pending, c.already, s.number, l.Generation, s.expiry(), c.lo)
		return err
	})
	if err != nil {
		return l, wrap("claim", err)
	}
	s.takeovers.Add(freed)
	s.bury(dead)
	if turn == nil {
		return l, store.ErrNoShard
	}
	s.round.Took(turn, priority, c.pending, 0)
	return l, nil
}

// survey finds out which sources have free shards, how many rows are left in the job, and how many owners.
func (s *session) survey(t tx) error {
	found := fair.Survey{News: s.claims}
	begin := time.Now()
	some := false
	err := t.one("SELECT EXISTS (SELECT 1 FROM {shards} WHERE owner IS NULL AND pending > 0)", nil, &some)
	if err == nil && some { // else there is no need to ask for each source
		err = t.each(`SELECT s.number FROM {sources} AS s WHERE s.paused = 0
			AND EXISTS (SELECT 1 FROM {shards} WHERE source = s.number AND owner IS NULL AND pending > 0)`, nil, func(r *sql.Rows) error {
			turn := fair.Turn{Left: math.MaxInt64}
			err := r.Scan(&turn.Source)
			found.Open = append(found.Open, &turn)
			return err
		})
	}
	if err == nil {
		err = t.one(`SELECT (SELECT coalesce(sum(rows), 0) FROM {sources}) - (SELECT coalesce(sum(rows), 0) FROM {tallies}),
			(SELECT count(*) FROM {owners})`, nil, &found.Left, &found.Owners)
	}
	if err == nil {
		found.Took = time.Since(begin)
		s.round.Begin(found)
	}
	return err
}

// pick takes the next source and a shard of it, and makes that fit; sql.ErrNoRows if there is none.
func (s *session) pick(t tx, maxRows int64) (c shard, turn *fair.Turn, priority int, err error) {
	want := s.round.Want(maxRows, minSlice)
	for {
		next := s.round.Next(1)
		if len(next) == 0 {
			return c, nil, 0, sql.ErrNoRows
		}
		turn = next[0]
		err = t.one(`SELECT h.lo, h.hi, h.rows, h.pending, h.already, s.priority FROM {sources} AS s CROSS JOIN {shards} AS h
			ON h.source = s.number WHERE s.number = ? AND s.paused = 0 AND h.owner IS NULL AND h.pending > 0 ORDER BY h.lo LIMIT 1`,
			[]any{turn.Source}, &c.lo, &c.hi, &c.rows, &c.pending, &c.already, &priority)
		if errors.Is(err, sql.ErrNoRows) {
			continue // it has no more
		}
		if err == nil {
			c, err = join(t, c, turn.Source, want)
		}
		if err == nil && s.inPlace { // the user may have done rows, or deleted some, since they were counted
			if c, err = putRight(t, c); err == nil && c.pending == 0 {
				s.round.Return(turn)
				continue
			}
		}
		if err == nil {
			c, err = cut(t, c, turn.Source, want)
		}
		return c, turn, priority, err
	}
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

// Release implements store.Session. Shards that are finished are joined to finished neighbours, so that there
// never are many more than were cut at import.
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

// joinFinished joins the shard at lo, if it is finished, to those below and above it that are free and
// finished too.
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
