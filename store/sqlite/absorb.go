package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"facescan/store"
)

// Absorb implements store.Job.
func (j *job) Absorb(ctx context.Context, source int, rows []store.MergedRow, p store.Position, complete bool,
	shardSize int) error {
	doing := fmt.Sprintf("merge rows of source %d", source)
	if err := j.checkOwn(doing, "; merge into a job of its own"); err != nil {
		return err
	}
	if err := errors.Join(store.CheckShardSize(shardSize), store.CheckMerged(rows)); err != nil {
		return wrap(doing, err)
	}
	return wrap(doing, j.writer.update(ctx, "absorb", func(t tx) error {
		return j.absorb(t, source, rows, p, complete, shardSize)
	}))
}

// checkOwn refuses to add rows to a job in a user's table, and to publish them: they are not the job's own.
// Instead, if not empty, ends the message.
func (j *job) checkOwn(doing, instead string) error {
	if !j.inPlace {
		return nil
	}
	return fmt.Errorf("%s: the rows of this job are the table's%s", doing, instead)
}

// Fill implements store.Session.
func (s *session) Fill(ctx context.Context, l store.SourceLease, rows []store.NewRow, p store.Position,
	complete bool, shardSize int) error {
	doing := fmt.Sprintf("add missing rows of source %d", l.Source)
	if err := s.checkOwn(doing, ""); err != nil {
		return err
	}
	if err := store.CheckShardSize(shardSize); err != nil {
		return wrap(doing, err)
	}
	return wrap(doing, s.writer.update(ctx, "fill", func(t tx) error {
		if err := s.setImport(t, l, "generation = generation"); err != nil {
			return err
		}
		return s.absorb(t, l.Source, store.Merged(rows), p, complete, shardSize)
	}))
}

// absorb takes rows in, in a transaction.
func (j *job) absorb(t tx, source int, rows []store.MergedRow, p store.Position, complete bool,
	shardSize int) error {
	rows, ends := store.SplitMergedEnds(rows)
	var at importing
	if err := t.one("SELECT "+importColumns+" FROM {sources} AS s WHERE s.number = ?", []any{source},
		at.dest()...); err != nil {
		return err
	}
	ids := make([]int64, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	have, err := existing(t, ids)
	if err != nil {
		return err
	}
	parts, err := store.PartitionMerged(rows, have)
	if err != nil {
		return err
	}
	if err := j.erase(t, source, parts.Erased); err != nil {
		return err
	}
	return j.enter(t, at, parts.Fresh, parts.Results, ends, p, complete, shardSize)
}

// enter adds new rows and the ends of groups, and lets results enter.
func (j *job) enter(t tx, at importing, fresh []store.NewRow, results []store.Result, ends map[string]int64,
	p store.Position, complete bool, shardSize int) (err error) {
	source := at.Number
	if len(fresh) > 0 {
		if err := store.CheckRows(fresh, store.FirstOf(source), source); err != nil {
			return err
		}
	}
	if err := insertRows(t, fresh); err != nil {
		return err
	}
	if err := countRows(t, source, fresh); err != nil {
		return err
	}
	if at.last, err = insertIntoShards(t, fresh, at.last, source, shardSize); err != nil {
		return err
	}
	if err := j.replace(t, source, results); err != nil {
		return err
	}
	if err := endGroups(t, source, ends); err != nil {
		return err
	}
	return advance(t, at, p, complete, len(fresh))
}

// existing reads what the job has of some rows.
func existing(t tx, ids []int64) (map[int64]store.Existing, error) {
	have := map[int64]store.Existing{}
	var id int64
	var e store.Existing
	return have, t.scan([]any{&id, &e.URL, &e.Group, &e.Status, &e.Time, &e.Forgotten},
		func() { have[id] = e },
		`SELECT u.{id}, {address}, {group}, CASE WHEN {pending} THEN '' WHEN r.reason IS NULL THEN 'ok'
			ELSE 'failed' END, coalesce(r.time, 0), r.reason IS '`+string(store.Forgotten)+`'
		FROM {urls} AS u LEFT JOIN {results} AS r ON r.id = u.{id} WHERE u.{id} IN {list}`, idList(ids))
}

// insertIntoShards puts new rows, in id order, into the shards there are, and those above them into new ones.
func insertIntoShards(t tx, fresh []store.NewRow, last int64, source, shardSize int) (int64, error) {
	var inside []int64
	n := 0
	for ; n < len(fresh) && fresh[n].ID <= last; n++ {
		inside = append(inside, fresh[n].ID)
	}
	rest := fresh
	err := eachShard(t, inside, func(lo int64, rows int) error {
		pending := store.CountPending(rest[:rows])
		rest = rest[rows:]
		_, err := t.exec("UPDATE {shards} SET rows = rows + ?, pending = pending + ? WHERE lo = ?", rows,
			pending, lo)
		return err
	})
	if err == nil && n > 0 {
		err = changed(t, source, n)
	}
	if err != nil {
		return last, err
	}
	var shards cuts
	if last, err = shards.cut(t, fresh[n:], last, source, shardSize); err != nil {
		return last, err
	}
	return last, shards.insert(t)
}

// replace lets results enter, for rows that are pending, failed, or new and marked done already.
func (j *job) replace(t tx, source int, results []store.Result) error {
	if len(results) == 0 {
		return nil
	}
	ids := store.ResultIDs(results)
	marked, err := j.markDone(t, ids)
	if err != nil {
		return err
	}
	if slices.Sort(marked); !j.inPlace {
		if err := addPending(t, marked, -1); err != nil {
			return err
		}
	}
	if _, err := t.exec("DELETE FROM {suspects} WHERE id IN {list}", idList(ids)); err != nil {
		return err
	}
	if _, err := j.dropResults(t, source, resultsIn, idList(ids)); err != nil {
		return err
	}
	if err := dropRest(t, store.ForgottenIDs(results)); err != nil {
		return err
	}
	if err := j.insertResults(t, results); err != nil || !j.inPlace {
		return err
	}
	return eachShard(t, ids, func(lo int64, _ int) error { // the user may have cleared Done flags
		shard, err := shardAt(t, lo)
		if err == nil {
			_, err = recount(t, shard)
		}
		return err
	})
}
