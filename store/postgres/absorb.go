package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// Absorb implements store.Job.
func (j *job) Absorb(ctx context.Context, source int, rows []store.MergedRow, p store.Position, complete bool, shardSize int) error {
	doing := fmt.Sprintf("merge rows of source %d", source)
	if shardSize < 1 {
		return fmt.Errorf("%s: a shard of %d rows", doing, shardSize)
	}
	var offered []store.Result
	for _, r := range rows {
		if r.Result == nil {
			continue
		}
		if err := store.CheckResults(store.Lease{Lo: r.ID, Hi: r.ID}, []store.Result{*r.Result}); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
		offered = append(offered, *r.Result)
	}
	detectors, err := j.intern(ctx, offered)
	if err != nil {
		return j.wrap(doing, err)
	}
	part, err := j.nextPart(ctx)
	if err != nil {
		return j.wrap(doing, err)
	}
	defer j.openings.Add(1)
	return j.wrap(doing, j.update(ctx, func(t pgx.Tx) error {
		return j.absorb(ctx, t, part, absorption{source, rows, detectors, p, complete, shardSize})
	}))
}

// Fill implements store.Session.
func (s *session) Fill(ctx context.Context, l store.SourceLease, rows []store.NewRow, p store.Position, complete bool, shardSize int) error {
	doing := fmt.Sprintf("add missing rows of source %d", l.Source)
	if shardSize < 1 {
		return fmt.Errorf("%s: a shard of %d rows", doing, shardSize)
	}
	part, err := s.nextPart(ctx)
	if err != nil {
		return s.wrap(doing, err)
	}
	return s.wrap(doing, s.update(ctx, func(t pgx.Tx) error {
		held := 0
		err := t.QueryRow(ctx, "SELECT 1 FROM sources WHERE number = $1 AND importer = $2 AND generation = $3 FOR UPDATE",
			l.Source, s.number, l.Generation).Scan(&held)
		if errors.Is(err, pgx.ErrNoRows) {
			return store.ErrLeaseLost
		}
		if err != nil {
			return err
		}
		return s.absorb(ctx, t, part, absorption{l.Source, store.Merged(rows), nil, p, complete, shardSize})
	}))
}

// absorption is what one transaction takes in.
type absorption struct {
	source    int
	rows      []store.MergedRow
	detectors map[string]int32
	p         store.Position
	complete  bool
	shardSize int
}

// absorb takes rows in, in a transaction.
func (j *job) absorb(ctx context.Context, t pgx.Tx, part int64, a absorption) error {
	source := a.source
	rows, ends := store.SplitMergedEnds(a.rows)
	ids := make([]int64, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	last, was := int64(0), false
	err := t.QueryRow(ctx, "SELECT last_id, complete FROM sources WHERE number = $1 FOR UPDATE", source).Scan(&last, &was)
	if errors.Is(err, pgx.ErrNoRows) {
		return errors.New("there is no such source")
	}
	if err != nil {
		return err
	}
	grown := map[int64]*[2]int{} // rows and pending rows that shards get more, by their lo
	shardOf := map[int64]*[2]int{}
	err = eachShard(ctx, t, ids, func(lo int64, ids []int64) error {
		grown[lo] = new([2]int)
		for _, id := range ids {
			shardOf[id] = grown[lo]
		}
		return nil
	})
	if err != nil {
		return err
	}
	m, err := sift(ctx, t, rows, ids)
	if err != nil {
		return err
	}
	if len(m.fresh) > 0 {
		if err := store.CheckRows(m.fresh, int64(source)<<store.SourceShift, source); err != nil {
			return err
		}
	}
	e := effect{source: source, imported: a.complete && !was}
	e.members(m.fresh)
	e.end(ends)
	above := len(m.fresh)
	for i, r := range m.fresh {
		shard := shardOf[r.ID]
		if shard == nil {
			above = i
			break
		}
		if shard[0]++; !r.Bad {
			shard[1]++
		}
		e.changes++
	}
	for _, id := range m.done {
		if shard := shardOf[id]; shard != nil {
			shard[1]--
		}
	}
	if err := copyRows(ctx, t, m.fresh); err != nil {
		return err
	}
	if _, err := deleteResults(ctx, t, &e, "r.reason IS NOT NULL", m.replaced); err != nil {
		return err
	}
	if err := copyResults(ctx, t, m.results, a.detectors); err != nil {
		return err
	}
	for i := range m.results {
		e.add(&m.results[i], m.groups[m.results[i].ID])
	}
	b := &pgx.Batch{}
	for lo, n := range grown {
		if *n != [2]int{} {
			b.Queue("UPDATE shards SET rows = rows + $2, pending = pending + $3 WHERE lo = $1", lo, n[0], n[1])
		}
	}
	var shards cuts
	if last, err = shards.cut(ctx, t, b, m.fresh[above:], last, source, a.shardSize); err != nil {
		return err
	}
	shards.insert(b)
	b.Queue("DELETE FROM suspects WHERE id = ANY($1)", idsOf(m.results))
	var to advances
	to.add(source, a.p, a.complete, len(m.fresh), last)
	if err := to.update(ctx, t, b); err != nil {
		return err
	}
	return j.settle(ctx, t, b, part, e)
}

// merged is what rows from another job mean for this one.
type merged struct {
	fresh    []store.NewRow // rows that are not here; Bad are those that come with a result
	results  []store.Result // that enter
	done     []int64        // rows that were pending here and get one
	replaced []int64        // rows whose failure gives way to one
	groups   map[int64]string
}

// sift compares rows from another job with those here, whose shards are locked.
func sift(ctx context.Context, t pgx.Tx, rows []store.MergedRow, ids []int64) (m merged, err error) {
	type state struct {
		url, group   string
		done, failed bool
	}
	m.groups = map[int64]string{}
	if len(ids) == 0 {
		return m, nil
	}
	have := map[int64]state{}
	var id int64
	var s state
	err = each(ctx, t, []any{&id, &s.url, &s.group, &s.done, &s.failed}, func() error { have[id] = s; return nil },
		`SELECT u.id, u.url, coalesce(u."group", ''), r.id IS NOT NULL, r.reason IS NOT NULL
		FROM rows AS u LEFT JOIN results AS r ON r.id = u.id AND r.id BETWEEN $2 AND $3
		WHERE u.id = ANY($1) AND u.id BETWEEN $2 AND $3`, ids, slices.Min(ids), slices.Max(ids))
	if err != nil {
		return m, err
	}
	for _, r := range rows {
		s, known := have[r.ID]
		m.groups[r.ID] = s.group
		switch {
		case !known:
			m.groups[r.ID] = r.Group
			m.fresh = append(m.fresh, store.NewRow{ID: r.ID, URL: r.URL, Group: r.Group, Kept: r.Kept, Bad: r.Result != nil})
		case s.url != r.URL:
			return m, fmt.Errorf("row %d is %q here, %q there", r.ID, s.url, r.URL)
		}
		switch {
		case r.Result == nil || s.done && (!s.failed || r.Result.Status == store.Failed):
			continue
		case s.done:
			m.replaced = append(m.replaced, r.ID)
		case known:
			m.done = append(m.done, r.ID)
		}
		m.results = append(m.results, *r.Result)
		m.results[len(m.results)-1].ID = r.ID
	}
	return m, nil
}
