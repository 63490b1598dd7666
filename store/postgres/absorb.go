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
		if err := s.setImport(ctx, t, l, "generation = generation"); err != nil {
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
	ids := values(rows, func(r store.MergedRow) int64 { return r.ID })
	last, was := int64(0), false
	err := t.QueryRow(ctx, "SELECT last_id, complete FROM sources WHERE number = $1 FOR UPDATE",
		source).Scan(&last, &was)
	if errors.Is(err, pgx.ErrNoRows) {
		return errors.New("there is no such source")
	}
	if err != nil {
		return err
	}
	shards, err := lockShards(ctx, t, ids)
	if err != nil {
		return err
	}
	have, err := existing(ctx, t, ids)
	if err != nil {
		return err
	}
	p, err := store.PartitionMerged(rows, have)
	if err != nil {
		return err
	}
	if len(p.Fresh) > 0 {
		if err := store.CheckRows(p.Fresh, store.FirstOf(source), source); err != nil {
			return err
		}
	}
	e := effect{source: source, imported: a.complete && !was}
	e.members(p.Fresh)
	e.end(ends)
	inside := shards.grow(p.Fresh, p.Completed)
	e.changes += int64(inside)
	if err := copyRows(ctx, t, p.Fresh); err != nil {
		return err
	}
	if err := replaceResults(ctx, t, &e, p, have, a.detectors); err != nil {
		return err
	}
	b := &pgx.Batch{}
	shards.update(b)
	var fresh cuts
	if last, err = fresh.cut(ctx, t, b, p.Fresh[inside:], last, source, a.shardSize); err != nil {
		return err
	}
	fresh.insert(b)
	b.Queue("DELETE FROM suspects WHERE id = ANY($1)", store.ResultIDs(p.Results))
	to := advances{{source, a.p, a.complete, len(p.Fresh), last}}
	if err := to.update(ctx, t, b); err != nil {
		return err
	}
	if err := j.apply(ctx, t, b, part, e); err != nil {
		return err
	}
	return eraseGroups(ctx, t, source, p.Erased, have)
}

// growth is how many rows, and pending rows, a shard gets more.
type growth struct{ rows, pending int64 }

// growing are shards that are locked.
type growing struct {
	of map[int64]*growth // by row
	by map[int64]*growth // by lo
}

// lockShards locks the shards that rows are in.
func lockShards(ctx context.Context, t pgx.Tx, ids []int64) (growing, error) {
	g := growing{map[int64]*growth{}, map[int64]*growth{}}
	return g, eachShard(ctx, t, ids, func(lo int64, ids []int64) error {
		if g.by[lo] == nil {
			g.by[lo] = &growth{}
		}
		for _, id := range ids {
			g.of[id] = g.by[lo]
		}
		return nil
	})
}

// grow counts new rows into the shards, as far as they are in one, and returns how many that were: rows above
// all shards come last. Rows that became done it counts out of the pending ones.
func (g growing) grow(fresh []store.NewRow, done []int64) (inside int) {
	for ; inside < len(fresh) && g.of[fresh[inside].ID] != nil; inside++ {
		shard := g.of[fresh[inside].ID]
		shard.rows++
		shard.pending += store.CountPending(fresh[inside : inside+1])
	}
	for _, id := range done {
		if shard := g.of[id]; shard != nil {
			shard.pending--
		}
	}
	return inside
}

func (g growing) update(b *pgx.Batch) {
	for lo, n := range g.by {
		if *n != (growth{}) {
			b.Queue("UPDATE shards SET rows = rows + $2, pending = pending + $3 WHERE lo = $1", lo, n.rows,
				n.pending)
		}
	}
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
		func() { have[id] = e }, `SELECT u.id, u.url, coalesce(u."group", ''),
			CASE WHEN r.id IS NULL THEN '' WHEN r.reason IS NULL THEN 'ok' ELSE 'failed' END,
			r.reason IS NOT DISTINCT FROM '`+string(store.Forgotten)+`'
		FROM rows AS u LEFT JOIN results AS r ON r.id = u.id AND r.id BETWEEN $2 AND $3
		WHERE u.id = ANY($1) AND u.id BETWEEN $2 AND $3`, ids, slices.Min(ids), slices.Max(ids))
}
