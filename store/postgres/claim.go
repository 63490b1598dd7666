package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// Claiming. A claim picks a source, takes a shard of it that is free and has pending rows, and makes it fit: what is
// above the wanted number of rows is cut off and stays free, and sparse free neighbours are joined to it. What others
// have locked is skipped, never waited for.
//
// Sources share by weight, 2 to the power of their priority, in rows (start-time fair queueing): each claim moves its
// source's start on by rows/weight, the source with the lowest start is next, and one that had no work meanwhile begins
// at the round, where the others are. Every session keeps its own round, in memory: so all of them together are fair,
// and no row of the database is written by all.
//
// A session looks for a shard above the last one it claimed of the source (the cursor), and begins again at the start
// when there is none: below lie the index entries of shards that were claimed before, which stay as long as any old
// transaction may see them.
//
// At the end of a job a claim takes a fraction of what is free a living owner, so that all of them end together.

const (
	minSlice  = 32     // rows under which a claim is not cut for the end's sake
	maxSpan   = 100000 // rows, done ones included, up to which a claim joins shards
	neighbors = 64     // shards that a claim joins at most
	doneSpan  = 50000  // rows up to which finished shards are joined
	ahead     = 256    // free shards of a source above which its end is far
	far       = 1 << 40
	wrapEvery = time.Second
)

// round is a session's place in each source, and among the sources.
type round struct {
	at      float64
	starts  map[int]float64
	cursors map[int]int64
	wrapped map[int]time.Time // when the cursor last went back to the start
}

func newRound() round {
	return round{starts: map[int]float64{}, cursors: map[int]int64{}, wrapped: map[int]time.Time{}}
}

// lower lets a shard be found again that was claimed before.
func (r *round) lower(source int, lo int64) {
	r.cursors[source] = min(r.cursors[source], lo-1)
}

// start of a source in the round.
func (r *round) start(source int) float64 { return max(r.at, r.starts[source]) }

// took moves the round on after a claim.
func (r *round) took(source, priority int, c shard) {
	r.at = r.start(source)
	r.starts[source] = r.at + math.Ldexp(float64(c.pending), -priority)
	r.cursors[source] = c.lo
}

// shard is a row of the table.
type shard struct{ lo, hi, rows, pending int64 }

// candidate is a source with free shards above the cursor.
type candidate struct {
	number, priority int
	left             int64 // pending rows in the next free shards
}

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
	open, owners, err := s.candidates(ctx)
	if err != nil {
		return l, s.wrap("claim", err)
	}
	left := int64(0)
	for _, c := range open {
		left += c.left
	}
	want := min(int64(maxRows), max(minSlice, left/(2*max(owners, 1))))
	for _, source := range open {
		var c shard
		err := s.update(ctx, func(t pgx.Tx) (err error) {
			l.Expires = s.trust()
			c, l.Generation, err = s.take(ctx, t, source.number, want)
			return err
		})
		if errors.Is(err, pgx.ErrNoRows) {
			continue // others were quicker
		}
		if err != nil {
			return l, s.wrap("claim", err)
		}
		s.round.took(source.number, source.priority, c)
		l.Shard, l.Source, l.Lo, l.Hi, l.Pending = c.lo, source.number, c.lo, c.hi, c.pending
		return l, nil
	}
	return l, store.ErrNoShard
}

// candidates lists the sources that have free shards, the next in the round first, and counts the owners.
func (s *session) candidates(ctx context.Context) (open []candidate, owners int64, err error) {
	for looking := true; looking; {
		var all []candidate
		sources := slices.Sorted(maps.Keys(s.round.cursors))
		cursors := make([]int64, len(sources))
		for i, n := range sources {
			cursors[i] = s.round.cursors[n]
		}
		err := s.again(ctx, func() error {
			all = nil
			var c candidate
			return each(ctx, s.pool, []any{&c.number, &c.priority, &c.left, &owners}, func() error { all = append(all, c); return nil },
				`SELECT s.number, s.priority, (SELECT CASE count(*) WHEN $3::int THEN $4 ELSE coalesce(sum(pending), 0)::bigint END FROM (
					SELECT h.pending FROM shards AS h WHERE h.source = s.number AND h.owner IS NULL AND NOT h.finished AND h.lo > coalesce(c.lo, -1)
					ORDER BY h.lo LIMIT $3) AS next),
				(SELECT count(*) FROM owners)
				FROM sources AS s LEFT JOIN unnest($1::int[], $2::bigint[]) AS c (number, lo) ON c.number = s.number WHERE NOT s.paused`,
				sources, cursors, ahead, far)
		})
		if err != nil {
			return nil, 0, err
		}
		open = slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return c.left == 0 })
		looking = s.round.wrap(all, len(open) == 0)
	}
	slices.SortFunc(open, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(s.round.start(a.number), s.round.start(b.number)), a.number-b.number)
	})
	return open, owners, nil
}

// wrap sends the cursors of sources that have nothing above them back to the start: now and then, or in any case when
// no source has. It tells whether it did.
func (r *round) wrap(all []candidate, anyway bool) (did bool) {
	for _, c := range all {
		if c.left == 0 && r.cursors[c.number] > 0 && (anyway || time.Since(r.wrapped[c.number]) > wrapEvery) {
			delete(r.cursors, c.number)
			r.wrapped[c.number], did = time.Now(), true
		}
	}
	return did
}

// take leases a shard of a source, made to fit; pgx.ErrNoRows if there is none that nobody holds.
func (s *session) take(ctx context.Context, t pgx.Tx, source int, want int64) (c shard, generation int64, err error) {
	err = t.QueryRow(ctx, `SELECT lo, hi, rows, pending FROM shards WHERE source = $1 AND owner IS NULL AND NOT finished AND lo > $2
		ORDER BY lo LIMIT 1 FOR UPDATE SKIP LOCKED`, source, s.round.cursors[source]).Scan(&c.lo, &c.hi, &c.rows, &c.pending)
	if err != nil {
		return c, 0, err
	}
	b := &pgx.Batch{}
	if c.pending < want {
		if c, err = join(ctx, t, b, c, source, want); err != nil {
			return c, 0, err
		}
	}
	if c.pending > want {
		if c, err = cut(ctx, t, b, c, source, want); err != nil {
			return c, 0, err
		}
	}
	if err := s.touch(ctx, t); err != nil {
		return c, 0, err
	}
	b.Queue(`UPDATE shards SET hi = $2, rows = $3, pending = $4, owner = $5, generation = nextval('generations'),
		expires = clock_timestamp() + $6 WHERE lo = $1 RETURNING generation`, c.lo, c.hi, c.rows, c.pending, s.number, s.ttl).
		QueryRow(func(row pgx.Row) error { return row.Scan(&generation) })
	return c, generation, t.SendBatch(ctx, b).Close()
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

// pendingBetween selects the rows u between two ids that are pending. The bounds stand twice so that whichever way the
// tables are joined, no more than the range of each is read.
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

// Release implements store.Session. Shards that are finished are joined to finished neighbours, so that there never are
// many, however small they were claimed.
func (s *session) Release(ctx context.Context, ls []store.Lease) error {
	los, generations := split(ls)
	type freed struct {
		shard
		source   int
		finished bool
	}
	var all []freed
	err := s.update(ctx, func(t pgx.Tx) error {
		all = nil
		var f freed
		err := each(ctx, t, []any{&f.lo, &f.hi, &f.source, &f.finished}, func() error { all = append(all, f); return nil },
			`UPDATE shards AS h SET owner = NULL, expires = NULL FROM unnest($1::bigint[], $2::bigint[]) AS l (lo, generation)
			WHERE h.lo = l.lo AND h.owner = $3 AND h.generation = l.generation RETURNING h.lo, h.hi, h.source, h.finished`, los, generations, s.number)
		for _, f := range all {
			if f.finished && err == nil {
				err = joinFinished(ctx, t, f.shard, f.source)
			}
		}
		return err
	})
	if err != nil {
		return s.wrap("release leases", err)
	}
	s.claiming.Lock()
	defer s.claiming.Unlock()
	for _, f := range all {
		if !f.finished {
			s.round.lower(f.source, f.lo)
		}
	}
	return nil
}

// joinFinished joins a free and finished shard to the ones below and above it that are too.
func joinFinished(ctx context.Context, t pgx.Tx, c shard, source int) error {
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
		AND owner IS NULL AND finished ORDER BY lo FOR UPDATE SKIP LOCKED`, c.lo, c.hi, source)
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

// eachShard locks the shards that some ids, ascending, are in, and calls f for each of them. Ids in no shard are passed over.
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
