package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"facescan/store"
)

// Absorb implements store.Job.
func (j *job) Absorb(ctx context.Context, source int, rows []store.MergedRow, p store.Position, complete bool, shardSize int) error {
	doing := fmt.Sprintf("merge rows of source %d", source)
	if j.inPlace {
		return fmt.Errorf("%s: the rows of this job are the table's; merge into a job of its own", doing)
	}
	if shardSize < 1 {
		return fmt.Errorf("%s: a shard of %d rows", doing, shardSize)
	}
	for _, r := range rows {
		if r.Result != nil {
			if err := check(store.Lease{Lo: r.ID, Hi: r.ID}, r.Result); err != nil {
				return fmt.Errorf("%s: %w", doing, err)
			}
		}
	}
	return wrap(doing, j.writer.update(ctx, "absorb", func(t tx) error {
		return j.absorb(t, source, rows, p, complete, shardSize)
	}))
}

// Fill implements store.Session.
func (s *session) Fill(ctx context.Context, l store.SourceLease, rows []store.NewRow, p store.Position, complete bool, shardSize int) error {
	doing := fmt.Sprintf("add missing rows of source %d", l.Source)
	if s.inPlace {
		return fmt.Errorf("%s: the rows of this job are the table's", doing)
	}
	if shardSize < 1 {
		return fmt.Errorf("%s: a shard of %d rows", doing, shardSize)
	}
	return wrap(doing, s.writer.update(ctx, "fill", func(t tx) error {
		held := 0
		err := t.one("SELECT count(*) FROM {sources} WHERE number = ? AND importer = ? AND generation = ?",
			[]any{l.Source, s.number, l.Generation}, &held)
		if err == nil && held == 0 {
			err = store.ErrLeaseLost
		}
		if err != nil {
			return err
		}
		return s.absorb(t, l.Source, store.Merged(rows), p, complete, shardSize)
	}))
}

// absorb takes rows in, in a transaction.
func (j *job) absorb(t tx, source int, rows []store.MergedRow, p store.Position, complete bool, shardSize int) error {
	rows, ends := store.SplitMergedEnds(rows)
	var at importing
	err := t.one("SELECT "+importColumns+" FROM {sources} AS s WHERE s.number = ?", []any{source}, at.dest()...)
	if err != nil {
		return err
	}
	fresh, results, err := sift(t, rows)
	if err != nil {
		return err
	}
	return j.enter(t, at, fresh, results, ends, p, complete, shardSize)
}

// enter adds new rows and the ends of groups, and lets results enter.
func (j *job) enter(t tx, at importing, fresh []store.NewRow, results []store.Result, ends map[string]int64, p store.Position,
	complete bool, shardSize int) (err error) {
	source := at.Number
	if len(fresh) > 0 {
		if err := checkIDs(fresh, int64(source)<<store.SourceShift, source); err != nil {
			return err
		}
	}
	if err := insertRows(t, fresh); err != nil {
		return err
	}
	if err := countRows(t, source, fresh); err != nil {
		return err
	}
	if at.last, err = place(t, fresh, at.last, source, shardSize); err != nil {
		return err
	}
	if err := j.improve(t, source, results); err != nil {
		return err
	}
	if err := endGroups(t, source, ends); err != nil {
		return err
	}
	return advance(t, at, p, complete, len(fresh))
}

// sift tells rows that are not in the job, done if they come with a result, and the results that are to enter it.
func sift(t tx, rows []store.MergedRow) (fresh []store.NewRow, results []store.Result, err error) {
	type state struct {
		url    string
		status store.Status // empty while pending
	}
	have := map[int64]state{}
	list := make([]store.Result, len(rows))
	for i, r := range rows {
		list[i].ID = r.ID
	}
	err = t.each(`SELECT u.{id}, {address}, CASE WHEN {pending} THEN '' WHEN r.reason IS NULL THEN 'ok' ELSE 'failed' END
		FROM {urls} AS u LEFT JOIN {results} AS r ON r.id = u.{id} WHERE u.{id} IN (SELECT value FROM json_each(?))`,
		[]any{idList(list)}, func(r *sql.Rows) error {
			var id int64
			var s state
			err := r.Scan(&id, &s.url, &s.status)
			have[id] = s
			return err
		})
	for _, r := range rows {
		s, known := have[r.ID]
		switch {
		case !known:
			fresh = append(fresh, store.NewRow{ID: r.ID, URL: r.URL, Group: r.Group, Kept: r.Kept, Bad: r.Result != nil})
		case s.url != r.URL:
			return nil, nil, fmt.Errorf("row %d is %q here, %q there", r.ID, s.url, r.URL)
		}
		if r.Result != nil && (s.status == "" || s.status == store.Failed && r.Result.Status == store.OK) {
			results = append(results, *r.Result)
			results[len(results)-1].ID = r.ID
		}
	}
	return fresh, results, err
}

// place puts new rows, in id order, into the shards there are, and those above them into new ones.
func place(t tx, fresh []store.NewRow, last int64, source, shardSize int) (int64, error) {
	var inside []store.Result
	open := map[int64]bool{}
	n := 0
	for ; n < len(fresh) && fresh[n].ID <= last; n++ {
		inside = append(inside, store.Result{ID: fresh[n].ID})
		open[fresh[n].ID] = !fresh[n].Bad
	}
	at := 0
	err := eachShard(t, inside, func(lo int64, rows int) error {
		pending := 0
		for _, r := range inside[at : at+rows] {
			if open[r.ID] {
				pending++
			}
		}
		at += rows
		_, err := t.exec("UPDATE {shards} SET rows = rows + ?, pending = pending + ? WHERE lo = ?", rows, pending, lo)
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

// improve lets results enter, for rows that are pending, failed, or new and marked done already.
func (j *job) improve(t tx, source int, results []store.Result) error {
	if len(results) == 0 {
		return nil
	}
	marked, err := j.markDone(t, results)
	if err != nil {
		return err
	}
	err = eachShard(t, marked, func(lo int64, n int) error {
		_, err := t.exec("UPDATE {shards} SET pending = pending - ? WHERE lo = ?", n, lo)
		return err
	})
	if err != nil {
		return err
	}
	if _, err := t.exec("DELETE FROM {suspects} WHERE id IN (SELECT value FROM json_each(?))", idList(results)); err != nil {
		return err
	}
	if _, err := j.dropResults(t, source, "FROM {results} AS r WHERE r.id IN (SELECT value FROM json_each(?))", idList(results)); err != nil {
		return err
	}
	return j.insertResults(t, results)
}
