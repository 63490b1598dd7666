package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"facescan/store"
	"facescan/store/fair"
)

// Claiming. A claim picks a source, takes a shard of it that is free and has pending rows, and makes it fit:
// what is above the wanted number of rows is cut off and stays free, and sparse free neighbours are joined to
// it. What others have locked is skipped, never waited for.
//
// Sources share by weight, 2 to the power of their priority, in rows: see package fair. How many sources
// there are does not matter to a claim, but to a survey, which finds out where their free shards begin.
// Surveys take a small part of the time, however long one takes.
//
// Between surveys a session looks for a shard above the last one it claimed of the source (the cursor): below
// lie the index entries of shards that were claimed before, which stay as long as any old transaction may see
// them. What was put back there meanwhile, by whatever process, the next survey finds.
//
// At the end of a job a claim takes a fraction of what is free a living owner, so that all of them end
// together.

const (
	minSlice  = 32     // rows under which a claim is not cut for the end's sake
	maxSpan   = 100000 // rows, done ones included, up to which a claim joins shards
	neighbors = 64     // shards that a claim joins at most
	doneSpan  = 50000  // rows up to which finished shards are joined
	ahead     = 256    // free shards of a source above which its end is far
	far       = 1 << 40
	tries     = 16 // sources that one query looks for a shard in
)

// shard is a row of the table.
type shard struct{ lo, hi, rows, pending int64 }

// Claim implements store.Session.
func (s *session) Claim(ctx context.Context, maxRows int) (store.Lease, error) {
	l := store.Lease{Owner: s.owner.ID}
	if maxRows < 1 {
		return l, fmt.Errorf("claim: at most %d rows", maxRows)
	}
	s.claiming.Lock()
	defer s.claiming.Unlock()
	if err := s.lookLocked(ctx); err != nil {
		return l, s.wrap("claim", err)
	}
	surveyed := s.round.Due(s.openings.Load())
	if surveyed {
		if err := s.survey(ctx); err != nil {
			return l, s.wrap("claim", err)
		}
	}
	for {
		next := s.round.Next(tries)
		if len(next) == 0 {
			if surveyed {
				return l, store.ErrNoShard
			}
			if err := s.survey(ctx); err != nil {
				return l, s.wrap("claim", err)
			}
			surveyed = true
			continue
		}
		want := s.round.Want(int64(maxRows), minSlice)
		var c shard
		var at, priority int
		err := s.update(ctx, func(t pgx.Tx) (err error) {
			l.Expires = s.trust()
			c, at, priority, l.Generation, err = s.take(ctx, t, next, want)
			return err
		})
		if errors.Is(err, pgx.ErrNoRows) {
			continue // others were quicker
		}
		if err != nil {
			return l, s.wrap("claim", err)
		}
		l.Shard, l.Source, l.Lo, l.Hi, l.Pending = c.lo, next[at].Source, c.lo, c.hi, c.pending
		s.round.Took(next[at], priority, c.pending, c.lo)
		s.round.Return(next[at+1:]...)
		return l, nil
	}
}

// survey finds out which sources have free shards, and where they begin, and counts the owners.
func (s *session) survey(ctx context.Context) error {
	found := fair.Survey{News: s.openings.Load()}
	begin := time.Now()
	err := s.again(ctx, func() error {
		found.Open, found.Left = nil, 0
		var t fair.Turn
		return each(ctx, s.pool, []any{&t.Source, &t.Cursor, &t.Left, &found.Owners}, func() error {
			one := t
			found.Open = append(found.Open, &one)
			found.Left += t.Left
			return nil
		}, `SELECT s.number, h.lo - 1, h.rows, (SELECT count(*) FROM owners) FROM sources AS s CROSS JOIN LATERAL (
				SELECT min(lo) AS lo, CASE count(*) WHEN $1::int THEN $2 ELSE sum(pending)::bigint END AS rows FROM (
					SELECT lo, pending FROM shards WHERE source = s.number AND owner IS NULL AND NOT finished
					ORDER BY lo LIMIT $1) AS next) AS h
			WHERE NOT s.paused AND h.lo IS NOT NULL
				AND (SELECT EXISTS (SELECT FROM shards WHERE owner IS NULL AND NOT finished))`, ahead, far)
	})
	if err == nil {
		found.Took = time.Since(begin)
		s.round.Begin(found)
	}
	return err
}

// take leases a shard of the first of some sources that has one which nobody holds, made to fit, and says
// which source that is; pgx.ErrNoRows if there is none.
func (s *session) take(ctx context.Context, t pgx.Tx, next []*fair.Turn, want int64) (
	c shard, at, priority int, generation int64, err error,
) {
	numbers, cursors := make([]int, len(next)), make([]int64, len(next))
	for i, n := range next {
		numbers[i], cursors[i] = n.Source, n.Cursor
	}
	// The first one is found before the next is looked for, so that no more than one is locked.
	err = t.QueryRow(ctx, `SELECT c.at - 1, (SELECT priority FROM sources WHERE number = c.number), h.lo, h.hi, h.rows, h.pending
		FROM unnest($1::int[], $2::bigint[]) WITH ORDINALITY AS c (number, lo, at) CROSS JOIN LATERAL (
			SELECT lo, hi, rows, pending FROM shards WHERE source = c.number AND owner IS NULL AND NOT finished AND lo > c.lo
			AND NOT (SELECT paused FROM sources WHERE number = c.number) ORDER BY lo LIMIT 1 FOR UPDATE SKIP LOCKED) AS h
		LIMIT 1`, numbers, cursors).Scan(&at, &priority, &c.lo, &c.hi, &c.rows, &c.pending)
	if err != nil {
		return c, 0, 0, 0, err
	}
	b := &pgx.Batch{}
	if c.pending < want {
		c, err = join(ctx, t, b, c, numbers[at], want)
	}
	if c.pending > want && err == nil {
		c, err = cut(ctx, t, b, c, numbers[at], want)
	}
	if err != nil {
		return c, 0, 0, 0, err
	}
	if err := s.touch(ctx, t); err != nil {
		return c, 0, 0, 0, err
	}
	b.Queue(`UPDATE shards SET hi = $2, rows = $3, pending = $4, owner = $5, generation = nextval('generations'),
		expires = clock_timestamp() + $6 WHERE lo = $1 RETURNING generation`, c.lo, c.hi, c.rows, c.pending, s.number, s.ttl).
		QueryRow(func(row pgx.Row) error { return row.Scan(&generation) })
	return c, at, priority, generation, t.SendBatch(ctx, b).Close()
}

// join adds the free neighbours above a shard, until it has the wanted rows pending or spans maxSpan rows.
func join(ctx context.Context, t pgx.Tx, b *pgx.Batch, c shard, source int, want int64) (shard, error) {
	joined, seen, done := c, c, false
	var n shard
	err := each(ctx, t, []any{&n.lo, &n.hi, &n.rows, &n.pending}, func() error {
		done = done || n.lo != seen.hi+1 || seen.rows+n.rows > maxSpan || joined.pending >= want
		if done {
			return nil
		}
		seen = shard{c.lo, n.hi, seen.rows + n.rows, seen.pending + n.pending}
		if n.pending > 0 {
			joined = seen
		}
		return nil
	}, `SELECT lo, hi, rows, pending FROM shards WHERE lo > $1 AND source = $2 AND owner IS NULL ORDER BY lo LIMIT $3 FOR UPDATE SKIP LOCKED`,
		c.lo, source, neighbors)
	if joined != c {
		b.Queue("DELETE FROM shards WHERE lo > $1 AND lo <= $2", c.lo, joined.hi)
	}
	return joined, err
}

// cut leaves the wanted rows in a shard, and what is above them in a free one.
func cut(ctx context.Context, t pgx.Tx, b *pgx.Batch, c shard, source int, want int64) (shard, error) {
	low := shard{lo: c.lo, hi: c.lo + want - 1, rows: want, pending: want}
	if c.pending < c.rows || c.hi-c.lo+1 > c.rows { // some are done, or ids are missing
		err := t.QueryRow(ctx, "SELECT u.id FROM rows AS u WHERE "+pendingBetween+" ORDER BY u.id OFFSET $3 LIMIT 1", c.lo, c.hi, want-1).Scan(&low.hi)
		if errors.Is(err, pgx.ErrNoRows) {
			return c, fmt.Errorf("shard %d has fewer than the %d pending rows it counts: see facescan verify", c.lo, c.pending)
		}
		if err != nil {
			return c, err
		}
		if err := t.QueryRow(ctx, "SELECT count(*) FROM rows WHERE id BETWEEN $1 AND $2", low.lo, low.hi).Scan(&low.rows); err != nil {
			return c, err
		}
	}
	b.Queue("INSERT INTO shards (lo, hi, source, rows, pending) VALUES ($1, $2, $3, $4, $5)",
		low.hi+1, c.hi, source, c.rows-low.rows, c.pending-low.pending)
	return low, nil
}

// pendingBetween selects the rows u between two ids that are pending. The bounds stand twice so that
// whichever way the tables are joined, no more than the range of each is read.
const pendingBetween = "u.id BETWEEN $1 AND $2 AND NOT EXISTS (SELECT FROM results AS r WHERE r.id = u.id AND r.id BETWEEN $1 AND $2)"

// Pending implements store.Session.
func (s *session) Pending(ctx context.Context, l store.Lease, after int64, limit int) (out []store.Row, err error) {
	err = s.again(ctx, func() error {
		out = nil
		var r store.Row
		return each(ctx, s.pool, []any{&r.ID, &r.URL}, func() error { out = append(out, r); return nil },
			"SELECT u.id, u.url FROM rows AS u WHERE "+pendingBetween+" ORDER BY u.id LIMIT $3", max(l.Lo, after+1), l.Hi, limit)
	})
	return out, s.wrap("read pending rows", err)
}

// split lists leases by what names them.
func split(ls []store.Lease) (los, generations []int64) {
	for _, l := range ls {
		los, generations = append(los, l.Shard), append(generations, l.Generation)
	}
	return los, generations
}

// Renew implements store.Session.
func (s *session) Renew(ctx context.Context, ls []store.Lease) (held []store.Lease, err error) {
	los, generations := split(ls)
	err = s.update(ctx, func(t pgx.Tx) error {
		trust := s.trust()
		still := map[int64]bool{}
		var lo int64
		err := each(ctx, t, []any{&lo}, func() error { still[lo] = true; return nil },
			`UPDATE shards AS h SET expires = clock_timestamp() + $4 FROM unnest($1::bigint[], $2::bigint[]) AS l (lo, generation)
			WHERE h.lo = l.lo AND h.owner = $3 AND h.generation = l.generation RETURNING h.lo`, los, generations, s.number, s.ttl)
		if err != nil {
			return err
		}
		held = nil
		for _, l := range ls {
			if still[l.Shard] {
				l.Expires = trust
				held = append(held, l)
			}
		}
		return s.touch(ctx, t)
	})
	return held, s.wrap("renew leases", err)
}

// Release implements store.Session. Shards that are finished are joined to finished neighbours, so that there
// never are many, however small they were claimed.
func (s *session) Release(ctx context.Context, ls []store.Lease) error {
	los, generations := split(ls)
	open := false
	err := s.update(ctx, func(t pgx.Tx) error {
		var finished []shard
		var c shard
		var done bool
		err := each(ctx, t, []any{&c.lo, &c.hi, &done}, func() error {
			if done {
				finished = append(finished, c)
			}
			open = open || !done
			return nil
		}, `UPDATE shards AS h SET owner = NULL, expires = NULL FROM unnest($1::bigint[], $2::bigint[]) AS l (lo, generation)
			WHERE h.lo = l.lo AND h.owner = $3 AND h.generation = l.generation RETURNING h.lo, h.hi, h.finished`,
			los, generations, s.number)
		for _, c := range finished {
			if err == nil {
				err = joinFinished(ctx, t, c)
			}
		}
		return err
	})
	if open {
		s.openings.Add(1)
	}
	return s.wrap("release leases", err)
}

// joinFinished joins a free and finished shard to the ones below and above it that are too.
func joinFinished(ctx context.Context, t pgx.Tx, c shard) error {
	var run []shard // without gaps, and not too long
	rows, ours := int64(0), false
	var n shard
	err := each(ctx, t, []any{&n.lo, &n.hi, &n.rows}, func() error {
		if len(run) > 0 && (run[len(run)-1].hi+1 != n.lo || rows+n.rows > doneSpan) {
			if ours {
				return nil
			}
			run, rows = nil, 0
		}
		run, rows, ours = append(run, n), rows+n.rows, ours || n.lo == c.lo
		return nil
	}, `SELECT lo, hi, rows FROM shards WHERE lo IN ((SELECT max(lo) FROM shards WHERE lo < $1), $1, $2::bigint + 1) AND source = $3
		AND owner IS NULL AND finished ORDER BY lo FOR UPDATE SKIP LOCKED`, c.lo, c.hi, c.lo>>store.SourceShift)
	if err != nil || len(run) < 2 || !ours {
		return err
	}
	b := &pgx.Batch{}
	b.Queue("DELETE FROM shards WHERE lo > $1 AND lo <= $2", run[0].lo, run[len(run)-1].lo)
	b.Queue("UPDATE shards SET hi = $2, rows = $3 WHERE lo = $1", run[0].lo, run[len(run)-1].hi, rows)
	return t.SendBatch(ctx, b).Close()
}

// lockShard locks the shard that an id is in; pgx.ErrNoRows if it is in none.
func lockShard(ctx context.Context, t pgx.Tx, id int64) (c shard, err error) {
	for last := int64(-1); ; last = c.lo {
		err = t.QueryRow(ctx, "SELECT lo, hi, rows, pending FROM shards WHERE lo <= $1 ORDER BY lo DESC LIMIT 1 FOR UPDATE", id).
			Scan(&c.lo, &c.hi, &c.rows, &c.pending)
		switch {
		case err != nil || id <= c.hi:
			return c, err
		case c.lo == last:
			return c, pgx.ErrNoRows
		}
		// It was cut while we waited for it: the id is in the part above, which a new look finds.
	}
}

// eachShard locks the shards that some ids, ascending, are in, and calls f for each of them. Ids in no shard
// are passed over.
func eachShard(ctx context.Context, t pgx.Tx, ids []int64, f func(lo int64, ids []int64) error) error {
	for len(ids) > 0 {
		n := 1
		c, err := lockShard(ctx, t, ids[0])
		if err == nil {
			for n < len(ids) && ids[n] <= c.hi {
				n++
			}
			err = f(c.lo, ids[:n])
		}
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		ids = ids[n:]
	}
	return nil
}
