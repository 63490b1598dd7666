package postgres

import (
	"context"
	"errors"
	"math"
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
// them. What was put back there meanwhile, by any process, the next survey finds.
//
// At the end of a job a claim takes a fraction of what is free a living owner, so that all of them end
// together.

const (
	neighbors = 64  // shards that a claim joins at most
	tries     = 16  // sources that one query looks for a shard in
	pickTurns = 256 // shards that one query finds
)

// Claim implements store.Session.
func (s *session) Claim(ctx context.Context, maxRows int) (store.Lease, error) {
	return store.First(s.claim(ctx, maxRows, 1))
}

// ClaimAll implements store.Session.
func (s *session) ClaimAll(ctx context.Context, maxRows int) ([]store.Lease, error) {
	return s.claim(ctx, maxRows, math.MaxInt)
}

// claim leases at least one shard, and not more than maxShards.
func (s *session) claim(ctx context.Context, maxRows, maxShards int) ([]store.Lease, error) {
	if err := store.CheckClaim(maxRows); err != nil {
		return nil, err
	}
	s.claiming.Lock()
	defer s.claiming.Unlock()
	if err := s.lookLocked(ctx); err != nil {
		return nil, s.wrap("claim", err)
	}
	surveyed := s.round.Due(s.openings.Load())
	if surveyed {
		if err := s.survey(ctx); err != nil {
			return nil, s.wrap("claim", err)
		}
	}
	for {
		next := s.round.Next(tries)
		if len(next) == 0 {
			if surveyed {
				return nil, store.ErrNoShard
			}
			if err := s.survey(ctx); err != nil {
				return nil, s.wrap("claim", err)
			}
			surveyed = true
			continue
		}
		want := s.round.Want(int64(maxRows), store.MinSlice)
		c := claim{next: next}
		err := s.update(ctx, func(t pgx.Tx) error {
			c = claim{next: c.next, expires: store.Trust(s.ttl)} // it may run again
			return s.take(ctx, t, &c, want, maxShards)
		})
		if err != nil {
			return nil, s.wrap("claim", err)
		}
		var out []store.Lease
		for _, h := range c.taken {
			turn := c.next[h.at]
			s.round.Took(turn, h.priority, h.Pending, h.Lo)
			out = append(out, store.Lease{Shard: h.Lo, Source: turn.Source, Lo: h.Lo, Hi: h.Hi,
				Pending: h.Pending, Generation: h.generation, Expires: c.expires})
		}
		s.round.Return(c.next[c.tried:]...)
		if len(out) > 0 {
			return out, nil
		}
		// Others were quicker.
	}
}

// claim is what a claim finds, in a transaction.
type claim struct {
	next    []*fair.Turn // sources whose turn it is; more of them while shards are small
	tried   int          // how many of them were looked for a shard in
	taken   []taken
	expires time.Time
}

// taken is a shard of the source at an index.
type taken struct {
	store.Shard
	at, priority int
	generation   int64
}

// survey finds out which sources have free shards, and where they begin, and counts the owners.
func (s *session) survey(ctx context.Context) error {
	found := fair.Survey{News: s.openings.Load()}
	begin := time.Now()
	err := s.retry(ctx, func() error {
		found.Open, found.Left = nil, 0
		var t fair.Turn
		return each(ctx, s.pool, []any{&t.Source, &t.Cursor, &t.Left, &found.Owners}, func() {
			one := t
			found.Open = append(found.Open, &one)
			found.Left += t.Left
		}, `SELECT s.number, h.lo - 1, h.rows, (SELECT count(*) FROM owners) FROM sources AS s
			CROSS JOIN LATERAL (
				SELECT min(lo) AS lo, CASE count(*) WHEN $1::int THEN $2 ELSE sum(pending)::bigint END AS rows
				FROM (
					SELECT lo, pending FROM shards WHERE source = s.number AND owner IS NULL AND NOT finished
					ORDER BY lo LIMIT $1) AS next) AS h
			WHERE NOT s.paused AND h.lo IS NOT NULL
				AND (SELECT EXISTS (SELECT FROM shards WHERE owner IS NULL AND NOT finished))`, store.NearEnd,
			store.Far)
	})
	if err == nil {
		found.Took = time.Since(begin)
		s.round.Begin(found)
	}
	return err
}

// take leases shards of the next sources that have one which nobody holds, made to fit, until they have the
// wanted rows together.
func (s *session) take(ctx context.Context, t pgx.Tx, c *claim, want int64, maxShards int) error {
	b := &pgx.Batch{}
	for n := 1; want > 0 && len(c.taken) < maxShards; {
		if c.tried == len(c.next) {
			if len(c.taken) > 0 {
				c.next = append(c.next, s.round.Next(n)...)
			}
			if c.tried == len(c.next) {
				break
			}
		}
		found, err := firstShards(ctx, t, c, n)
		if err != nil {
			return err
		}
		for i, h := range found {
			// a shard that is not leased after all is free again with the end of the transaction
			if want <= 0 {
				c.tried = h.at
				break
			}
			if h.Pending < want && c.next[h.at].Left > h.Pending {
				h.Shard, err = join(ctx, t, b, h.Shard, c.next[h.at].Source, want)
			}
			if h.Pending > want && err == nil {
				h.Shard, err = cut(ctx, t, b, h.Shard, c.next[h.at].Source, want)
			}
			if err != nil {
				return err
			}
			c.taken, want = append(c.taken, h), want-h.Pending
			if i == len(found)-1 {
				n = store.MoreTurns(want, h.Pending, min(pickTurns, maxShards))
			}
		}
	}
	if len(c.taken) == 0 {
		return nil
	}
	if err := s.touch(ctx, t); err != nil {
		return err
	}
	return s.lease(ctx, t, b, c.taken)
}

// firstShards locks the first free shard above its cursor of each of the sources that were not tried yet, as
// many as n.
func firstShards(ctx context.Context, t pgx.Tx, c *claim, n int) (found []taken, err error) {
	turns := c.next[c.tried:]
	numbers := values(turns, func(t *fair.Turn) int { return t.Source })
	cursors := values(turns, func(t *fair.Turn) int64 { return t.Cursor })
	// The first one is found before the next is looked for, so that no more than these are locked.
	var h taken
	err = each(ctx, t, []any{&h.at, &h.priority, &h.Lo, &h.Hi, &h.Rows, &h.Pending}, func() {
		h.at += c.tried - 1
		found = append(found, h)
	}, `SELECT c.at, (SELECT priority FROM sources WHERE number = c.number), h.lo, h.hi, h.rows, h.pending
		FROM unnest($1::int[], $2::bigint[]) WITH ORDINALITY AS c (number, lo, at) CROSS JOIN LATERAL (
			SELECT lo, hi, rows, pending FROM shards WHERE source = c.number AND owner IS NULL
			AND NOT finished AND lo > c.lo
			AND NOT (SELECT paused FROM sources WHERE number = c.number) ORDER BY lo LIMIT 1
			FOR UPDATE SKIP LOCKED) AS h
		LIMIT $3`, numbers, cursors, n)
	if err != nil || len(found) < n {
		c.tried = len(c.next)
	} else {
		c.tried = found[n-1].at + 1
	}
	return found, err
}

// lease leases shards that are locked, after a batch that changes others.
func (s *session) lease(ctx context.Context, t pgx.Tx, b *pgx.Batch, all []taken) error {
	los, his, rows, pendings := splitShards(values(all, func(h taken) store.Shard { return h.Shard }))
	generations := map[int64]int64{}
	var lo, generation int64
	b.Queue(`UPDATE shards AS h SET hi = l.hi, rows = l.rows, pending = l.pending, owner = $5,
		generation = nextval('generations'),
			expires = clock_timestamp() + $6
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS l (lo, hi, rows, pending)
		WHERE h.lo = l.lo RETURNING h.lo, h.generation`, los, his, rows, pendings, s.number, s.ttl).
		Query(into([]any{&lo, &generation}, func() { generations[lo] = generation }))
	err := t.SendBatch(ctx, b).Close()
	for i := range all {
		all[i].generation = generations[all[i].Lo]
	}
	return err
}

// join adds the free neighbours above a shard, until it has the wanted rows pending or spans maxSpan rows.
func join(ctx context.Context, t pgx.Tx, b *pgx.Batch, c store.Shard, source int,
	want int64) (store.Shard, error) {
	joined, done := store.NewJoin(c, want), false
	var n store.Shard
	err := each(ctx, t, []any{&n.Lo, &n.Hi, &n.Rows, &n.Pending}, func() {
		done = done || !joined.Add(n)
	}, `SELECT lo, hi, rows, pending FROM shards WHERE lo > $1 AND source = $2 AND owner IS NULL ORDER BY lo
		LIMIT $3 FOR UPDATE SKIP LOCKED`, c.Lo, source, neighbors)
	if joined.Shard != c {
		b.Queue("DELETE FROM shards WHERE lo > $1 AND lo <= $2", c.Lo, joined.Hi)
	}
	return joined.Shard, err
}

// cut leaves the wanted rows in a shard, and what is above them in a free one.
func cut(ctx context.Context, t pgx.Tx, b *pgx.Batch, c store.Shard, source int,
	want int64) (store.Shard, error) {
	low := store.Shard{Lo: c.Lo, Hi: c.Lo + want - 1, Rows: want, Pending: want}
	if c.Pending < c.Rows || c.Hi-c.Lo+1 > c.Rows { // some are done, or ids are missing
		err := t.QueryRow(ctx, "SELECT u.id FROM rows AS u WHERE "+pendingBetween+
			" ORDER BY u.id OFFSET $3 LIMIT 1", c.Lo, c.Hi, want-1).Scan(&low.Hi)
		if errors.Is(err, pgx.ErrNoRows) {
			return c, c.Short()
		}
		if err != nil {
			return c, err
		}
		if err := t.QueryRow(ctx, "SELECT count(*) FROM rows WHERE id BETWEEN $1 AND $2", low.Lo,
			low.Hi).Scan(&low.Rows); err != nil {
			return c, err
		}
	}
	b.Queue("INSERT INTO shards (lo, hi, source, rows, pending) VALUES ($1, $2, $3, $4, $5)",
		low.Hi+1, c.Hi, source, c.Rows-low.Rows, c.Pending-low.Pending)
	return low, nil
}

// pendingBetween selects the rows u between two ids that are pending. The bounds stand twice so that
// whichever way the tables are joined, no more than the range of each is read.
const pendingBetween = "u.id BETWEEN $1 AND $2 AND NOT EXISTS (SELECT FROM results AS r WHERE r.id = u.id " +
	"AND r.id BETWEEN $1 AND $2)"

// Pending implements store.Session.
func (s *session) Pending(ctx context.Context, l store.Lease, after int64,
	limit int) (out []store.Row, err error) {
	err = s.retry(ctx, func() error {
		out = nil
		var r store.Row
		return each(ctx, s.pool, []any{&r.ID, &r.URL, &r.Hash}, func() { out = append(out, r) },
			"SELECT u.id, u.url, coalesce(u.hash, '') FROM rows AS u WHERE "+pendingBetween+
				" ORDER BY u.id LIMIT $3", max(l.Lo, after+1), l.Hi, limit)
	})
	return out, s.wrap("read pending rows", err)
}

// PendingAll implements store.Session.
func (s *session) PendingAll(ctx context.Context, ls []store.Lease) (out [][]store.Row, err error) {
	los := values(ls, func(l store.Lease) int64 { return l.Lo })
	his := values(ls, func(l store.Lease) int64 { return l.Hi })
	err = s.retry(ctx, func() error {
		out = make([][]store.Row, len(ls))
		var at int
		var r store.Row
		return each(ctx, s.pool, []any{&at, &r.ID, &r.URL, &r.Hash},
			func() { out[at-1] = append(out[at-1], r) },
			`SELECT l.at, u.id, u.url, coalesce(u.hash, '')
			FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS l (lo, hi, at) CROSS JOIN LATERAL (
				SELECT id, url, hash FROM rows AS u WHERE u.id BETWEEN l.lo AND l.hi
				AND NOT EXISTS (SELECT FROM results AS r WHERE r.id = u.id AND r.id BETWEEN l.lo AND l.hi)
				ORDER BY id OFFSET 0) AS u`, los, his)
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
		expires := store.Trust(s.ttl)
		still, err := column[int64](ctx, t, `UPDATE shards AS h SET expires = clock_timestamp() + $4
				FROM unnest($1::bigint[], $2::bigint[]) AS l (lo, generation)
			WHERE h.lo = l.lo AND h.owner = $3 AND h.generation = l.generation RETURNING h.lo`, los,
			generations, s.number, s.ttl)
		if err != nil {
			return err
		}
		held = store.Renewed(ls, still, expires)
		return s.touch(ctx, t)
	})
	return held, s.wrap("renew leases", err)
}

// Release implements store.Session. Shards that are finished are joined to finished neighbours, so that there
// never are many, however small they were claimed.
func (s *session) Release(ctx context.Context, ls []store.Lease) error {
	var open bool
	err := s.update(ctx, func(t pgx.Tx) (err error) {
		open, err = s.release(ctx, t, ls)
		return err
	})
	if open {
		s.openings.Add(1)
	}
	return s.wrap("release leases", err)
}

// release gives shards back, in a transaction, and reports whether one of them has pending rows.
func (s *session) release(ctx context.Context, t pgx.Tx, ls []store.Lease) (open bool, err error) {
	los, generations := split(ls)
	var finished []store.Shard
	var c store.Shard
	var done bool
	err = each(ctx, t, []any{&c.Lo, &c.Hi, &done}, func() {
		if done {
			finished = append(finished, c)
		}
		open = open || !done
	}, `UPDATE shards AS h SET owner = NULL, expires = NULL
		FROM unnest($1::bigint[], $2::bigint[]) AS l (lo, generation)
		WHERE h.lo = l.lo AND h.owner = $3 AND h.generation = l.generation RETURNING h.lo, h.hi, h.finished`,
		los, generations, s.number)
	if err == nil && len(finished) > 1 { // most have no neighbour to join: of small lists each is one
		finished, err = withNeighbor(ctx, t, finished)
	}
	for _, c := range finished {
		if err == nil {
			err = joinFinished(ctx, t, c)
		}
	}
	return open, err
}

// withNeighbor returns those of some shards beside which another of their source is free and finished.
func withNeighbor(ctx context.Context, t pgx.Tx, all []store.Shard) (some []store.Shard, err error) {
	los, his, _, _ := splitShards(all)
	var at int
	err = each(ctx, t, []any{&at}, func() { some = append(some, all[at-1]) },
		`SELECT l.at FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS l (lo, hi, at) WHERE EXISTS (
			SELECT FROM shards AS n WHERE n.lo IN (l.hi + 1, (SELECT max(lo) FROM shards WHERE lo < l.lo))
			AND n.source = l.lo >> $3 AND n.owner IS NULL AND n.finished)`, los, his, store.SourceShift)
	return some, err
}

// joinFinished joins a free and finished shard to the ones below and above it that are too.
func joinFinished(ctx context.Context, t pgx.Tx, c store.Shard) error {
	var near []store.Shard
	var n store.Shard
	err := each(ctx, t, []any{&n.Lo, &n.Hi, &n.Rows}, func() { near = append(near, n) },
		`SELECT lo, hi, rows FROM shards WHERE lo IN ((SELECT max(lo) FROM shards
			WHERE lo < $1), $1, $2::bigint + 1)
			AND source = $3 AND owner IS NULL AND finished ORDER BY lo FOR UPDATE SKIP LOCKED`,
		c.Lo, c.Hi, store.SourceOf(c.Lo))
	joined, last, joins := store.JoinFinished(near, c.Lo)
	if err != nil || !joins {
		return err
	}
	b := &pgx.Batch{}
	b.Queue("DELETE FROM shards WHERE lo > $1 AND lo <= $2", joined.Lo, last)
	b.Queue("UPDATE shards SET hi = $2, rows = $3 WHERE lo = $1", joined.Lo, joined.Hi, joined.Rows)
	return t.SendBatch(ctx, b).Close()
}

// lockShard locks the shard that an id is in; pgx.ErrNoRows if it is in none.
func lockShard(ctx context.Context, t pgx.Tx, id int64) (c store.Shard, err error) {
	for last := int64(-1); ; last = c.Lo {
		err = t.QueryRow(ctx, "SELECT lo, hi, rows, pending FROM shards WHERE lo <= $1 ORDER BY lo DESC "+
			"LIMIT 1 FOR UPDATE", id).
			Scan(&c.Lo, &c.Hi, &c.Rows, &c.Pending)
		switch {
		case err != nil || id <= c.Hi:
			return c, err
		case c.Lo == last:
			return c, pgx.ErrNoRows
		}
		// It was cut while we waited for it: the id is in the part above, which a new look finds.
	}
}

// lockFirst locks the shard of the first of some rows, and separates the rows in it, some thousands at most,
// from the others. A row in no shard, which verify reports, is passed over.
func lockFirst(ctx context.Context, t pgx.Tx, ids []int64) (c store.Shard, here, rest []int64, err error) {
	c, err = lockShard(ctx, t, ids[0])
	if errors.Is(err, pgx.ErrNoRows) {
		return c, nil, ids[1:], nil
	}
	if err != nil {
		return c, nil, ids, err
	}
	n := 1
	for n < min(len(ids), retryRows) && ids[n] <= c.Hi {
		n++
	}
	return c, ids[:n], ids[n:], nil
}

// eachShard locks the shards that some ids, ascending, are in, and calls f for each of them. Ids in no shard
// are passed over.
func eachShard(ctx context.Context, t pgx.Tx, ids []int64, f func(lo int64, ids []int64) error) error {
	for len(ids) > 0 {
		c, here, rest, err := lockFirst(ctx, t, ids)
		if err == nil && len(here) > 0 {
			err = f(c.Lo, here)
		}
		if err != nil {
			return err
		}
		ids = rest
	}
	return nil
}
