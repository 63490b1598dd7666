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
func (j *job) Absorb(ctx context.Context, source int, rows []store.MergedRow, p store.Position, complete bool,
	shardSize int) error {
	doing := fmt.Sprintf("merge rows of source %d", source)
	if err := errors.Join(store.CheckShardSize(shardSize), store.CheckMerged(rows)); err != nil {
		return j.wrap(doing, err)
	}
	var offered []store.Result
	for _, r := range rows {
		if r.Result != nil {
			offered = append(offered, *r.Result)
		}
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
func (s *session) Fill(ctx context.Context, l store.SourceLease, rows []store.NewRow, p store.Position,
	complete bool, shardSize int) error {
	doing := fmt.Sprintf("add missing rows of source %d", l.Source)
	if err := store.CheckShardSize(shardSize); err != nil {
		return s.wrap(doing, err)
	}
	part, err := s.nextPart(ctx)
	if err != nil {
		return s.wrap(doing, err)
	}
	return s.wrap(doing, s.update(ctx, func(t pgx.Tx) error {
		held := 0
		err := t.QueryRow(ctx, "SELECT 1 FROM sources WHERE number = $1 AND importer = $2 "+
			"AND generation = $3 FOR UPDATE", l.Source, s.number, l.Generation).Scan(&held)
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
	err := t.QueryRow(ctx, "SELECT last_id, complete FROM sources WHERE number = $1 FOR UPDATE",
		source).Scan(&last, &was)
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
	have, err := existing(ctx, t, ids)
	if err != nil {
		return err
	}
	m, err := store.PartitionMerged(rows, have)
	if err != nil {
		return err
	}
	if len(m.Fresh) > 0 {
		if err := store.CheckRows(m.Fresh, store.FirstOf(source), source); err != nil {
			return err
		}
	}
	e := effect{source: source, imported: a.complete && !was}
	e.members(m.Fresh)
	e.end(ends)
	above := len(m.Fresh)
	for i, r := range m.Fresh {
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
	for _, id := range m.Completed {
		if shard := shardOf[id]; shard != nil {
			shard[1]--
		}
	}
	if err := copyRows(ctx, t, m.Fresh); err != nil {
		return err
	}
	if err := replaceResults(ctx, t, &e, m.Replaced, m.Results, a.detectors); err != nil {
		return err
	}
	if err := erase(ctx, t, &e, m.Erased, have); err != nil {
		return err
	}
	for i := range m.Results {
		e.add(&m.Results[i], m.Groups[m.Results[i].ID])
	}
	b := &pgx.Batch{}
	for lo, n := range grown {
		if *n != [2]int{} {
			b.Queue("UPDATE shards SET rows = rows + $2, pending = pending + $3 WHERE lo = $1", lo, n[0],
				n[1])
		}
	}
	var shards cuts
	if last, err = shards.cut(ctx, t, b, m.Fresh[above:], last, source, a.shardSize); err != nil {
		return err
	}
	shards.insert(b)
	b.Queue("DELETE FROM suspects WHERE id = ANY($1)", idsOf(m.Results))
	var to advances
	to.add(source, a.p, a.complete, len(m.Fresh), last)
	if err := to.update(ctx, t, b); err != nil {
		return err
	}
	if err := j.settle(ctx, t, b, part, e); err != nil {
		return err
	}
	return eraseGroups(ctx, t, source, m.Erased, have)
}

// existing reads what the job has of some rows, whose shards are locked.
func existing(ctx context.Context, t pgx.Tx, ids []int64) (map[int64]store.Existing, error) {
	have := map[int64]store.Existing{}
	if len(ids) == 0 {
		return have, nil
	}
	var id int64
	var e store.Existing
	return have, each(ctx, t, []any{&id, &e.URL, &e.Group, &e.Status, &e.Forgotten},
		func() error { have[id] = e; return nil }, `SELECT u.id, u.url, coalesce(u."group", ''),
			CASE WHEN r.id IS NULL THEN '' WHEN r.reason IS NULL THEN 'ok' ELSE 'failed' END,
			r.reason IS NOT DISTINCT FROM '`+string(store.Forgotten)+`'
		FROM rows AS u LEFT JOIN results AS r ON r.id = u.id AND r.id BETWEEN $2 AND $3
		WHERE u.id = ANY($1) AND u.id BETWEEN $2 AND $3`, ids, slices.Min(ids), slices.Max(ids))
}
