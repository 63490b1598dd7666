package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"facescan/store"
)

var _ store.Publishable = (*job)(nil)

// noteRows is how many rows one transaction notes when a job is published that has results already.
const noteRows = 50_000

// noteChanges notes rows that became done or pending, if the job is published.
func noteChanges(t tx, ids []int64) error {
	published, err := isPublished(t)
	if err != nil || !published {
		return err
	}
	_, err = t.exec("INSERT INTO {unpublished} (id) SELECT value FROM json_each(?)", idList(ids))
	return err
}

// isPublished reports whether the job notes changes.
func isPublished(t tx) (is bool, err error) {
	err = t.one("SELECT EXISTS (SELECT 1 FROM {unpublished})", nil, &is)
	return is, err
}

// noteEnds notes end records that the job does not have yet, or later ones of the same groups, if it is
// published.
func noteEnds(t tx, source int, ends map[string]int64) error {
	if len(ends) == 0 {
		return nil
	}
	published, err := isPublished(t)
	if err != nil || !published {
		return err
	}
	for name, id := range ends {
		_, err := t.exec(`INSERT INTO {unpublished} (id) SELECT ?1 WHERE NOT EXISTS
			(SELECT 1 FROM {groups} WHERE source = ?2 AND name = ?3 AND ended <= ?1)`, id, source, name)
		if err != nil {
			return err
		}
	}
	return nil
}

// NoteChanges implements store.Publishable. A call that is cut short has noted some of the rows that are
// done; the next one notes all of them.
func (j *job) NoteChanges(ctx context.Context, all bool) error {
	const doing = "note what changes"
	if err := j.checkOwn(doing, ""); err != nil {
		return err
	}
	err := j.writer.update(ctx, "note", func(t tx) error {
		_, err := t.exec("INSERT INTO {unpublished} (id) SELECT NULL WHERE NOT EXISTS (SELECT 1 " +
			"FROM {unpublished})")
		return err
	})
	for from, more := int64(math.MinInt64), all; more && err == nil; {
		err = j.writer.update(ctx, "note", func(t tx) error {
			n, err := t.exec("INSERT INTO {unpublished} (id) SELECT id FROM {results} WHERE id > ? "+
				"ORDER BY id LIMIT ?", from, noteRows)
			more = n == noteRows
			if err != nil || !more {
				return err
			}
			return t.one("SELECT id FROM {unpublished} ORDER BY number DESC LIMIT 1", nil, &from)
		})
	}
	if all && err == nil {
		err = j.writer.update(ctx, "note", func(t tx) error {
			_, err := t.exec("INSERT INTO {unpublished} (id) SELECT ended FROM {groups} " +
				"WHERE ended IS NOT NULL")
			return err
		})
	}
	return wrap(doing, err)
}

// Changes implements store.Publishable.
func (j *job) Changes(ctx context.Context, after int64,
	limit int) (rows []store.MergedRow, last int64, err error) {
	err = j.view(ctx, func(t tx) error {
		rows, last = nil, after
		var ids []int64
		var id int64
		err := t.scan([]any{&last, &id}, func() {
			if id >= 0 {
				ids = append(ids, id)
			}
		}, "SELECT number, coalesce(id, -1) FROM {unpublished} WHERE number > ? ORDER BY number LIMIT ?",
			after, limit)
		if err != nil || len(ids) == 0 {
			return err
		}
		slices.Sort(ids)
		ids = slices.Compact(ids)
		list := idList(ids)
		rows, err = j.readMerged(t, "u.{id} IN {list}", "r.id IN {list}", ids[0], ids[len(ids)-1]+1, list)
		if err != nil {
			return err
		}
		rows, err = withEnds(t, rows, fmt.Sprintf(`json_each(?) AS l CROSS JOIN {groups} AS g
			ON g.source = l.value >> %d AND g.ended = l.value`, store.SourceShift), list)
		return err
	})
	return rows, last, wrap("read what changed", err)
}

// readMerged reads the rows of a range that a condition on a row u finds, with the results that one on a
// result r finds.
func (j *job) readMerged(t tx, ofRows, ofResults string, from, to int64,
	args ...any) (merged []store.MergedRow, err error) {
	rows, err := readRowsWhere(t, "u.{id} >= ? AND u.{id} < ? AND "+ofRows,
		append([]any{from, to}, args...)...)
	if err != nil {
		return nil, err
	}
	results, err := j.readSelected(t, from, to, false, ofResults, args)
	at := 0
	for _, row := range rows {
		m := store.MergedRow{Row: row}
		for at < len(results) && results[at].ID < row.ID {
			at++
		}
		if at < len(results) && results[at].ID == row.ID {
			m.Result = &results[at]
		}
		merged = append(merged, m)
	}
	return merged, err
}

// withEnds puts the end records of groups g into rows, which are in id order.
func withEnds(t tx, rows []store.MergedRow, groups string, args ...any) ([]store.MergedRow, error) {
	n, end := len(rows), store.MergedRow{End: true}
	err := t.scan([]any{&end.ID, &end.Group}, func() { rows = append(rows, end) },
		"SELECT g.ended, g.name FROM "+groups, args...)
	if len(rows) > n {
		slices.SortFunc(rows, func(a, b store.MergedRow) int { return cmp.Compare(a.ID, b.ID) })
	}
	return rows, err
}

// DropChanges implements store.Publishable.
func (j *job) DropChanges(ctx context.Context, upTo int64, settings map[string]string) error {
	return wrap("note what is published", j.writer.update(ctx, "published", func(t tx) error {
		_, err := t.exec("DELETE FROM {unpublished} WHERE number <= ? AND number < (SELECT max(number) "+
			"FROM {unpublished})", upTo)
		if err != nil {
			return err
		}
		if _, err := t.exec("UPDATE {unpublished} SET id = NULL WHERE number <= ?", upTo); err != nil {
			return err
		}
		return set(t, settings)
	}))
}

// TakeIn implements store.Publishable.
func (j *job) TakeIn(ctx context.Context, source int, rows []store.PublishedRow, p store.Position,
	complete bool, shardSize int) error {
	doing := fmt.Sprintf("take in published rows of source %d", source)
	if err := j.checkOwn(doing, ""); err != nil {
		return err
	}
	if err := store.CheckPublished(rows); err != nil {
		return wrap(doing, err)
	}
	return wrap(doing, j.writer.update(ctx, "take in", func(t tx) error {
		var at importing
		var noted sql.NullInt64
		err := t.one("SELECT "+importColumns+", (SELECT max(number) FROM {unpublished}) FROM {sources} AS s "+
			"WHERE s.number = ?", []any{source}, append(at.dest(), &noted)...)
		if err != nil {
			return err
		}
		have, err := existingPublished(t, rows)
		if err != nil {
			return err
		}
		parts, err := store.PartitionPublished(rows, have)
		if err != nil {
			return err
		}
		if err := j.makePending(t, source, parts.Reopened); err != nil {
			return err
		}
		if err := j.erase(t, source, parts.Erased); err != nil {
			return err
		}
		if err := j.enter(t, at, parts.Fresh, parts.Results, parts.Ends, p, complete, shardSize); err != nil {
			return err
		}
		// What was published need not be published by this job.
		if _, err := t.exec("DELETE FROM {unpublished} WHERE number > ?", noted); err != nil {
			return err
		}
		if err := noteChanges(t, parts.Stale); err != nil {
			return err
		}
		values := make([]any, len(parts.Publications))
		for i, v := range parts.Publications {
			values[i] = v
		}
		return t.bulk("INSERT OR REPLACE INTO {publications}", 2, values, "")
	}))
}

// existingPublished reads what the job has of published rows.
func existingPublished(t tx, rows []store.PublishedRow) (map[int64]store.Existing, error) {
	ids := make([]int64, len(rows))
	for i := range rows {
		ids[i] = rows[i].ID
	}
	have, err := existing(t, ids)
	if err != nil || len(rows) == 0 {
		return have, err
	}
	some := false
	err = t.one("SELECT EXISTS (SELECT 1 FROM {unpublished} WHERE id IS NOT NULL)", nil, &some)
	if err != nil || !some { // the table has no index by id: it is small when there is something to take in
		return have, err
	}
	noted, err := column[int64](t, "SELECT DISTINCT id FROM {unpublished} WHERE id BETWEEN ? AND ?", ids[0],
		ids[len(ids)-1])
	for _, id := range noted {
		if e, known := have[id]; known {
			e.Noted = true
			have[id] = e
		}
	}
	return have, err
}

// makePending reopens rows of a source, in id order, that are done.
func (j *job) makePending(t tx, source int, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	reopened, err := j.dropResults(t, source, resultsIn, idList(ids))
	if err != nil {
		return err
	}
	return j.clearDone(t, reopened)
}

// publishedPage is how many rows Published reads at a time: less than other readers, since many segments
// are read at once.
const publishedPage = 1000

// Published implements store.Publishable. Results that are not what was stored are an error.
func (j *job) Published(ctx context.Context, source int) iter.Seq2[store.PublishedRow, error] {
	to := store.FirstOf(source + 1)
	return wrapped("read published rows", store.Pages(store.FirstOf(source),
		func(from int64) (page []store.PublishedRow, next int64, more bool, err error) {
			err = j.view(ctx, func(t tx) (err error) {
				page, next, err = j.readPublished(t, source, from, to)
				return err
			})
			return page, next, next < to, err
		}))
}

// readPublished reads a page of the rows from an id on, and returns where the next one begins.
func (j *job) readPublished(t tx, source int, from, to int64) (page []store.PublishedRow, next int64,
	err error) {
	next = to
	endBefore := func(query string, args ...any) error {
		end := to
		err := t.one(query, args, &end)
		if errors.Is(err, sql.ErrNoRows) {
			err = nil
		}
		next = min(next, end)
		return err
	}
	err = endBefore(boundRows, from, to, publishedPage)
	if err == nil {
		err = endBefore("SELECT ended FROM {groups} WHERE source = ? AND ended >= ? AND ended < ? "+
			"ORDER BY ended LIMIT 1 OFFSET ?", source, from, to, publishedPage)
	}
	if err == nil && next <= from {
		err = errDisorder
	}
	if err != nil {
		return nil, 0, err
	}
	rows, err := j.readMerged(t, "1", "1", from, next)
	if err != nil {
		return nil, 0, err
	}
	rows, err = withEnds(t, rows, "{groups} AS g WHERE g.source = ? AND g.ended >= ? AND g.ended < ?", source,
		from, next)
	if err != nil {
		return nil, 0, err
	}
	numbers, err := numbersById(t, "publication", "{publications}", from, next)
	if err != nil {
		return nil, 0, err
	}
	sums, err := numbersById(t, "checksum", "{results}", from, next)
	if err != nil {
		return nil, 0, err
	}
	page = make([]store.PublishedRow, 0, len(rows))
	for _, r := range rows {
		if sum, ok := sums[r.ID]; ok && r.Result != nil {
			sum := int32(sum)
			if err := r.Result.CheckSum(&sum); err != nil {
				return nil, 0, fmt.Errorf("row %d: %w", r.ID, err)
			}
		}
		page = append(page, store.PublishedRow{MergedRow: r, Publication: numbers[r.ID]})
	}
	return page, next, store.CheckPublished(page)
}

// numbersById reads a column of a table, as far as it has values, for the ids of a range.
func numbersById(t tx, column, table string, from, to int64) (map[int64]int64, error) {
	numbers := map[int64]int64{}
	var rows packed
	err := t.one("SELECT json_group_array(json_array(id, "+column+")) FROM "+table+
		" WHERE id >= ? AND id < ? AND "+column+" IS NOT NULL", []any{from, to}, &rows.rest)
	for err == nil && rows.row() {
		id := rows.int64()
		numbers[id] = rows.int64()
	}
	return numbers, errors.Join(err, rows.err)
}
