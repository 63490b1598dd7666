package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"facescan/store"
)

// retryRows is how many results one transaction of a retry looks at.
const retryRows = 20000

// Retry implements store.Job. Every transaction is complete in itself: a retry that is cut short has put some
// of the rows back, and the same call again does the others.
func (j *job) Retry(ctx context.Context, s store.Selection) (reopened int64, err error) {
	if len(s.Reasons) == 0 && !s.OK {
		return 0, nil
	}
	chosen, err := choose(s)
	if err != nil {
		return 0, err
	}
	from, named := int64(-1<<63), s.IDs
	for more := true; more; {
		var ids []int64
		if s.IDs != nil {
			n := min(len(named), retryRows)
			ids, named = named[:n], named[n:]
			more = len(named) > 0
		} else if ids, from, more, err = j.selected(ctx, from, chosen, s.Host); err != nil {
			return reopened, wrap("retry", err)
		}
		if len(ids) == 0 {
			continue
		}
		n := 0
		err = j.writer.update(ctx, "retry", func(t tx) error {
			n, err = j.reopen(t, ids, chosen)
			return err
		})
		if err != nil {
			return reopened, wrap("retry", j.explain(ctx, err, ids, false))
		}
		reopened += int64(n)
	}
	return reopened, nil
}

// isChosen is a condition on a result r; its parameters are what choose returns. A detector that is not known
// has no number, and no result is of it.
const isChosen = `CASE WHEN r.reason IS NULL THEN ? AND
	(r.detector IN (SELECT number FROM {detectors} WHERE fingerprint IN (SELECT value
	FROM json_each(?)))) IS NOT TRUE
	ELSE r.reason IN (SELECT value FROM json_each(?)) END`

func choose(s store.Selection) (args []any, err error) {
	except, err := json.Marshal(append([]string{}, s.Except...))
	if err != nil {
		return nil, err
	}
	reasons, err := json.Marshal(append([]store.Reason{}, s.Reasons...))
	return []any{s.OK, string(except), string(reasons)}, err
}

// selected returns the rows among the next retryRows results, by id, and says from where to go on.
func (j *job) selected(ctx context.Context, from int64, chosen []any,
	host string) (ids []int64, next int64, more bool, err error) {
	err = j.view(ctx, func(t tx) error {
		ids = nil
		var last sql.NullInt64
		err := t.one("SELECT max(id) FROM (SELECT id FROM {results} WHERE id >= ? ORDER BY id LIMIT ?)",
			[]any{from, retryRows}, &last)
		more = last.Valid && last.Int64 != 1<<63-1
		if err != nil || !last.Valid {
			return err
		}
		next = last.Int64 + 1
		return t.each("SELECT r.id, {address} FROM {results} AS r JOIN {urls} AS u ON u.{id} = r.id "+
			"WHERE r.id BETWEEN ? AND ? AND "+isChosen+" ORDER BY r.id",
			append([]any{from, last.Int64}, chosen...), func(rows *sql.Rows) error {
				var id int64
				var address string
				if err := rows.Scan(&id, &address); err != nil {
					return err
				}
				if !store.IsErased(address) && (host == "" || strings.EqualFold(store.HostOf(address), host)) {
					ids = append(ids, id)
				}
				return nil
			})
	})
	return ids, next, more, err
}

// reopen makes rows pending again, those of them that still are as chosen.
func (j *job) reopen(t tx, ids []int64, chosen []any) (n int, err error) {
	for len(ids) > 0 {
		source, here := j.sourceOf(ids[0]), 1
		for here < len(ids) && j.sourceOf(ids[here]) == source {
			here++
		}
		reopened, err := j.dropResults(t, source, "FROM {results} AS r WHERE r.id IN (SELECT value "+
			"FROM json_each(?)) AND "+isChosen, append([]any{idList(ids[:here])}, chosen...)...)
		if err != nil {
			return 0, err
		}
		if err := j.clearDone(t, reopened); err != nil {
			return 0, err
		}
		n, ids = n+len(reopened), ids[here:]
	}
	return n, nil
}

// clearDone makes rows, in id order, pending that have no result any more.
func (j *job) clearDone(t tx, ids []int64) (err error) {
	if j.inPlace {
		_, err = mark(t, ids, false)
	} else {
		_, err = t.exec("UPDATE {urls} AS u SET {done} = 0 WHERE u.{id} IN (SELECT value FROM json_each(?))",
			idList(ids))
	}
	if err != nil {
		return err
	}
	return eachShard(t, ids, func(lo int64, n int) error {
		_, err := t.exec("UPDATE {shards} SET pending = pending + ? WHERE lo = ?", n, lo)
		return err
	})
}

// eachShard calls f for each shard that some rows, in id order, are in, with their number.
func eachShard(t tx, ids []int64, f func(lo int64, n int) error) error {
	for len(ids) > 0 {
		var lo, hi int64
		if err := t.one("SELECT lo, hi FROM {shards} WHERE lo <= ? ORDER BY lo DESC LIMIT 1",
			[]any{ids[0]}, &lo, &hi); err != nil {
			return fmt.Errorf("shard of row %d: %w", ids[0], err)
		}
		n := 1
		for n < len(ids) && ids[n] <= hi {
			n++
		}
		if err := f(lo, n); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}
