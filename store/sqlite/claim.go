package sqlite

import (
	"context"
	"database/sql"
	"errors"
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

const pickTurns = 64 // sources in which one query finds a shard

// Claim implements store.Session.
func (s *session) Claim(ctx context.Context, maxRows int) (store.Lease, error) {
	return store.First(s.claim(ctx, maxRows, 1))
}

// ClaimAll implements store.Session.
func (s *session) ClaimAll(ctx context.Context, maxRows int) ([]store.Lease, error) {
	return s.claim(ctx, maxRows, math.MaxInt)
}

// claimed is a shard that a claim takes.
type claimed struct {
	store.Shard
	turn     *fair.Turn
	priority int
}

// claim leases at least one shard, and not more than maxShards.
func (s *session) claim(ctx context.Context, maxRows, maxShards int) (out []store.Lease, err error) {
	if err := store.CheckClaim(maxRows); err != nil {
		return nil, err
	}
	s.claiming.Lock()
	defer s.claiming.Unlock()
	dead, err := s.deadOwners(ctx)
	if err != nil {
		return nil, wrap("claim", err)
	}
	s.claims++
	surveyed := false
	if len(dead) == 0 && s.round.Due(s.claims) { // ask first, so that those who wait for work do not write
		expired := false
		err := s.view(ctx, func(t tx) error {
			if err := s.survey(t); err != nil {
				return err
			}
			return t.one("SELECT EXISTS (SELECT 1 FROM {shards} WHERE owner IS NOT NULL AND expires < ?)",
				[]any{leaseClock()}, &expired)
		})
		if err != nil {
			return nil, wrap("claim", err)
		}
		surveyed = true
		if !expired && s.round.Empty() {
			return nil, store.ErrNoShard
		}
	}
	var freed int64
	var all []claimed
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
		if all, err = s.pick(t, int64(maxRows), maxShards); err == nil && len(all) == 0 && !surveyed {
			if err = s.survey(t); err == nil {
				all, err = s.pick(t, int64(maxRows), maxShards)
			}
		}
		if err != nil || len(all) == 0 {
			return err // what was swept is to stay swept
		}
		out, err = s.lease(t, all)
		return err
	})
	if err != nil {
		return nil, wrap("claim", err)
	}
	s.takeovers.Add(freed)
	s.removeFiles(dead)
	for _, c := range all {
		s.round.Took(c.turn, c.priority, c.Pending, 0)
	}
	if len(all) == 0 {
		return nil, store.ErrNoShard
	}
	return out, nil
}

// lease leases shards that were picked.
func (s *session) lease(t tx, all []claimed) (out []store.Lease, err error) {
	first, err := s.generations(t, len(all))
	if err != nil {
		return nil, err
	}
	expires := store.Trust(s.ttl)
	los := make([]int64, len(all))
	for i, c := range all {
		los[i] = c.Lo
		out = append(out, store.Lease{Shard: c.Lo, Source: c.turn.Source, Lo: c.Lo, Hi: c.Hi,
			Pending: c.Pending, Generation: first + int64(i), Expires: expires})
	}
	_, err = t.exec(`UPDATE {shards} AS h SET owner = ?1, generation = ?2 + l.key, expires = ?3
		FROM json_each(?4) AS l WHERE h.lo = l.value`, s.number, first, s.expiry(), idList(los))
	return out, err
}

// survey finds out which sources have free shards, how many rows are in these, and how many owners share
// them. It looks at sources with free shards alone, however many others there are.
func (s *session) survey(t tx) error {
	found := fair.Survey{News: s.claims}
	begin := time.Now()
	var source int
	err := t.scan([]any{&source}, func() {
		found.Open = append(found.Open, &fair.Turn{Source: source, Left: math.MaxInt64})
	}, `WITH RECURSIVE open (source) AS (SELECT min(source) FROM {shards} WHERE owner IS NULL AND pending > 0
			UNION ALL SELECT (SELECT min(source) FROM {shards} WHERE owner IS NULL AND pending > 0
			AND source > open.source)
			FROM open WHERE source IS NOT NULL)
		SELECT s.number FROM open CROSS JOIN {sources} AS s ON s.number = open.source WHERE s.paused = 0`)
	if err == nil && len(found.Open) > 0 {
		err = t.one(`SELECT iif(count(*) = ?1, ?2, coalesce(sum(pending), 0)), (SELECT count(*) FROM {owners})
			FROM (SELECT pending FROM {shards} WHERE owner IS NULL AND pending > 0 LIMIT ?1)`,
			[]any{store.NearEnd, store.Far}, &found.Left, &found.Owners)
	}
	if err == nil {
		found.Took = time.Since(begin)
		s.round.Begin(found)
	}
	return err
}

// pick takes free shards of the next sources, one of each, and makes them fit, until they have maxRows
// pending rows together, or what is to be left to others at the end. It finds none if there is none.
func (s *session) pick(t tx, maxRows int64, maxShards int) (out []claimed, err error) {
	want, n := s.round.Want(maxRows, store.MinSlice), 1
	for want > 0 && len(out) < maxShards {
		next := s.round.Next(n)
		if len(next) == 0 {
			break
		}
		found, err := firstShards(t, next)
		if err != nil {
			return nil, err
		}
		for i, turn := range next {
			c := found[i]
			switch {
			case want <= 0:
				s.round.Return(turn)
				continue
			case c.Pending == 0:
				continue // it has no more
			}
			if c, err = s.fit(t, c, want); err != nil {
				return nil, err
			}
			if c.Pending == 0 {
				s.round.Return(turn)
				continue
			}
			out, want = append(out, c), want-c.Pending
			n = store.MoreTurns(want, c.Pending, pickTurns)
		}
		n = min(n, maxShards-len(out))
	}
	return out, nil
}

// firstShards finds the first free shard with pending rows of each of some sources. One without, or that is
// paused, has no pending rows here.
func firstShards(t tx, next []*fair.Turn) ([]claimed, error) {
	out, numbers := make([]claimed, len(next)), make([]int, len(next))
	for i, turn := range next {
		numbers[i] = turn.Source
	}
	var i int
	var c claimed
	return out, t.scan([]any{&i, &c.Lo, &c.Hi, &c.Rows, &c.Pending, &c.Already, &c.priority}, func() {
		c.turn = next[i]
		out[i] = c
	}, `SELECT l.key, h.lo, h.hi, h.rows, h.pending, h.already, s.priority
		FROM json_each(?) AS l CROSS JOIN {sources} AS s ON s.number = l.value CROSS JOIN {shards} AS h
		ON h.lo = (SELECT lo FROM {shards} WHERE source = s.number AND owner IS NULL AND pending > 0
		ORDER BY lo LIMIT 1)
		WHERE s.paused = 0`, idList(numbers))
}

// fit makes a free shard have the wanted number of pending rows, as far as it can. In a user's table it may
// turn out to have none.
func (s *session) fit(t tx, c claimed, want int64) (claimed, error) {
	was, err := c.Shard, error(nil)
	if c.Shard, err = s.join(t, c.Shard, c.turn.Source, want); err != nil {
		return c, err
	}
	if s.inPlace { // the user may have done rows, or deleted some, since they were counted
		if c.Shard, err = s.putRight(t, c.Shard); err != nil || c.Pending == 0 {
			return c, err
		}
	}
	if c.Shard, err = cut(t, c.Shard, c.turn.Source, want); err != nil || c.Shard == was {
		return c, err
	}
	_, err = t.exec("UPDATE {shards} SET hi = ?, rows = ?, pending = ?, already = ? WHERE lo = ?", c.Hi,
		c.Rows, c.Pending, c.Already, c.Lo)
	return c, err
}

// join adds the free neighbours above a shard, until it has the wanted rows pending or would be too long.
func (j *job) join(t tx, c store.Shard, source int, want int64) (store.Shard, error) {
	if c.Pending >= want {
		return c, nil
	}
	top := int64(math.MaxInt64) // no shard of the source lies above
	if !j.inPlace {
		top = store.FirstOf(source + 1)
	}
	joined, end := store.NewJoin(c, want), errors.New("far enough")
	err := t.each(`SELECT lo, hi, rows, pending, already, owner IS NULL FROM {shards}
		WHERE lo > ? AND lo <= ? ORDER BY lo`, []any{c.Lo, top}, func(r *sql.Rows) error {
		var n store.Shard
		var free bool
		if err := r.Scan(&n.Lo, &n.Hi, &n.Rows, &n.Pending, &n.Already, &free); err != nil {
			return err
		}
		if !free || !joined.Add(n) {
			return end
		}
		return nil
	})
	if err != nil && err != end {
		return c, err
	}
	if joined.Shard == c {
		return c, nil
	}
	_, err = t.exec("DELETE FROM {shards} WHERE lo > ? AND lo <= ?", c.Lo, joined.Hi)
	return joined.Shard, err
}

// cut leaves the wanted rows in a shard, and what is above them in a free one.
func cut(t tx, c store.Shard, source int, want int64) (store.Shard, error) {
	if c.Pending <= want {
		return c, nil
	}
	rest := c
	err := t.one("SELECT u.{id} FROM {urls} AS u WHERE u.{id} BETWEEN ? AND ? AND {pending} ORDER BY u.{id} "+
		"LIMIT 1 OFFSET ?", []any{c.Lo, c.Hi, want - 1}, &c.Hi)
	if errors.Is(err, sql.ErrNoRows) {
		return c, c.Short()
	}
	if err != nil {
		return c, err
	}
	if c, err = count(t, c.Lo, c.Hi); err != nil {
		return c, err
	}
	_, err = t.exec("INSERT INTO {shards} (lo, hi, source, rows, pending, already) VALUES (?, ?, ?, ?, ?, ?)",
		c.Hi+1, rest.Hi, source, rest.Rows-c.Rows, rest.Pending-c.Pending, rest.Already-c.Already)
	return c, err
}

// count counts the rows from lo to hi.
func count(t tx, lo, hi int64) (store.Shard, error) {
	c := store.Shard{Lo: lo, Hi: hi}
	var all, done int64
	err := t.one(`SELECT count(*), count(*) FILTER (WHERE {pending}), (SELECT count(*) FROM {results}
		WHERE id BETWEEN ?1 AND ?2)
		FROM {urls} AS u WHERE u.{id} BETWEEN ?1 AND ?2`, []any{lo, hi}, &all, &c.Pending, &done)
	c.Rows = c.Pending + done
	c.Already = all - c.Rows
	return c, err
}

// Pending implements store.Session.
func (s *session) Pending(ctx context.Context, l store.Lease, after int64,
	limit int) (out []store.Row, err error) {
	err = s.view(ctx, func(t tx) error {
		var r store.Row
		return t.scan([]any{&r.ID, &r.URL, &r.Hash}, func() { out = append(out, r) },
			"SELECT u.{id}, {address}, {hash} FROM {urls} AS u WHERE u.{id} BETWEEN ? AND ? AND {pending} "+
				"ORDER BY u.{id} LIMIT ?", max(l.Lo, after+1), l.Hi, limit)
	})
	return out, wrap("read pending rows", err)
}

// PendingAll implements store.Session.
func (s *session) PendingAll(ctx context.Context, ls []store.Lease) (out [][]store.Row, err error) {
	ranges := pairs(len(ls), func(i int) (a, b int64) { return ls[i].Lo, ls[i].Hi })
	err = s.view(ctx, func(t tx) error {
		out = make([][]store.Row, len(ls))
		var i int
		var r store.Row
		return t.scan([]any{&i, &r.ID, &r.URL, &r.Hash}, func() { out[i] = append(out[i], r) },
			`SELECT l.key, u.{id}, {address}, {hash} FROM json_each(?) AS l CROSS JOIN {urls} AS u
			ON u.{id} BETWEEN l.value ->> 0 AND l.value ->> 1 WHERE {pending} ORDER BY l.key, u.{id}`, ranges)
	})
	return out, wrap("read pending rows", err)
}

// leaseList is a JSON array that names leases: shard and generation of each.
func leaseList(ls []store.Lease) string {
	return pairs(len(ls), func(i int) (a, b int64) { return ls[i].Shard, ls[i].Generation })
}

// Renew implements store.Session.
func (s *session) Renew(ctx context.Context, ls []store.Lease) (held []store.Lease, err error) {
	err = s.writer.update(ctx, "renew", func(t tx) error {
		expires := store.Trust(s.ttl)
		still, err := column[int64](t, `UPDATE {shards} AS h SET expires = ? FROM json_each(?) AS l
			WHERE h.lo = l.value ->> 0 AND +h.owner = ? AND h.generation = l.value ->> 1 RETURNING lo`,
			s.expiry(), leaseList(ls), s.number)
		held = store.Renewed(ls, still, expires)
		return err
	})
	return held, wrap("renew leases", err)
}

// Release implements store.Session. Shards that are finished are joined to finished neighbours, so that there
// never are many more than were cut at import.
func (s *session) Release(ctx context.Context, ls []store.Lease) error {
	return wrap("release leases", s.writer.update(ctx, "release",
		func(t tx) error { return s.release(t, ls) }))
}

// release gives shards back, in a transaction.
func (s *session) release(t tx, ls []store.Lease) error {
	var finished []int64
	var lo, pending int64
	err := t.scan([]any{&lo, &pending}, func() {
		if pending == 0 {
			finished = append(finished, lo)
		}
	}, `UPDATE {shards} AS h SET owner = NULL, expires = NULL FROM json_each(?) AS l
		WHERE h.lo = l.value ->> 0 AND +h.owner = ? AND h.generation = l.value ->> 1
		RETURNING lo, pending`, leaseList(ls), s.number)
	if err == nil && len(finished) > 1 { // most have no neighbour to join: of small lists each is one
		finished, err = withNeighbor(t, finished)
	}
	for _, lo := range finished {
		if err == nil {
			err = joinFinished(t, lo)
		}
	}
	return err
}

// withNeighbor returns those of some shards beside which another of their source is free and finished.
func withNeighbor(t tx, los []int64) ([]int64, error) {
	return column[int64](t, `SELECT h.lo FROM json_each(?) AS l CROSS JOIN {shards} AS h ON h.lo = l.value
		WHERE EXISTS (SELECT 1 FROM {shards} AS n
			WHERE n.lo IN (h.hi + 1, (SELECT lo FROM {shards} WHERE lo < h.lo ORDER BY lo DESC LIMIT 1))
			AND n.source = h.source AND n.owner IS NULL AND n.pending = 0)`, idList(los))
}

// joinFinished joins the shard at lo, if it is finished, to those below and above it that are free and
// finished too.
func joinFinished(t tx, lo int64) error {
	var near []store.Shard
	var n store.Shard
	err := t.scan([]any{&n.Lo, &n.Hi, &n.Rows, &n.Already}, func() { near = append(near, n) },
		`SELECT lo, hi, rows, already FROM {shards} WHERE owner IS NULL AND pending = 0
		AND lo IN (?1,
			(SELECT lo FROM {shards} WHERE lo < ?1 ORDER BY lo DESC LIMIT 1),
			(SELECT lo FROM {shards} WHERE lo > ?1 ORDER BY lo LIMIT 1))
		AND source = (SELECT source FROM {shards} WHERE lo = ?1)
		ORDER BY lo`, lo)
	joined, last, joins := store.JoinFinished(near, lo)
	if err != nil || !joins {
		return err
	}
	if _, err := t.exec("DELETE FROM {shards} WHERE lo > ? AND lo <= ?", joined.Lo, last); err != nil {
		return err
	}
	_, err = t.exec("UPDATE {shards} SET hi = ?, rows = ?, already = ? WHERE lo = ?",
		joined.Hi, joined.Rows, joined.Already, joined.Lo)
	return err
}
