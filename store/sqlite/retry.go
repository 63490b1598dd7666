package sqlite

import (
	"context"
	"encoding/json"
	"fmt"

	"facescan/store"
)

// retryRows is how many results one transaction of a retry looks at.
const retryRows = 20000

// Retry implements store.Job.
func (j *job) Retry(ctx context.Context, s store.Selection) (reopened int64, err error) {
	chosen, err := choose(s)
	if err != nil {
		return 0, err
	}
	reopened, err = s.Reopen(func(from int64) ([]int64, *int64, error) {
		return j.selected(ctx, from, chosen, s)
	}, func(ids []int64) (rest []int64, n int, err error) {
		ids, rest = ids[:min(len(ids), retryRows)], ids[min(len(ids), retryRows):]
		err = j.writer.update(ctx, "retry", func(t tx) error {
			n, err = j.reopen(t, ids, chosen)
			return err
		})
		return rest, n, j.explain(ctx, err, ids, false)
	})
	return reopened, wrap("retry", err)
}

// isChosen is a condition on a result r; its parameters are what choose returns. A detector that is not known
// has no number, and no result is of it.
const isChosen = `CASE WHEN r.reason IS NULL THEN ? AND
	(r.detector IN (SELECT number FROM {detectors} WHERE fingerprint IN {list})) IS NOT TRUE
	ELSE r.reason IN {list} END`

func choose(s store.Selection) (args []any, err error) {
	except, err := json.Marshal(append([]string{}, s.Except...))
	if err != nil {
		return nil, err
	}
	reasons, err := json.Marshal(append([]store.Reason{}, s.Reasons...))
	return []any{s.OK, string(except), string(reasons)}, err
}

// selected returns the rows among the next retryRows results, by id, and the last of these.
func (j *job) selected(ctx context.Context, from int64, chosen []any,
	s store.Selection) (ids []int64, last *int64, err error) {
	err = j.view(ctx, func(t tx) error {
		ids = nil
		err := t.one("SELECT max(id) FROM (SELECT id FROM {results} WHERE id >= ? ORDER BY id LIMIT ?)",
			[]any{from, retryRows}, &last)
		if err != nil || last == nil {
			return err
		}
		var id int64
		var address string
		return t.scan([]any{&id, &address}, func() {
			if s.Takes(address) {
				ids = append(ids, id)
			}
		}, "SELECT r.id, {address} FROM {results} AS r JOIN {urls} AS u ON u.{id} = r.id "+
			"WHERE r.id BETWEEN ? AND ? AND "+isChosen+" ORDER BY r.id",
			append([]any{from, *last}, chosen...)...)
	})
	return ids, last, err
}

// reopen makes rows pending again, those of them that still are as chosen.
func (j *job) reopen(t tx, ids []int64, chosen []any) (n int, err error) {
	err = j.bySource(ids, func(source int, ids []int64) error {
		reopened, err := j.dropResults(t, source, resultsIn+" AND "+isChosen,
			append([]any{idList(ids)}, chosen...)...)
		if err != nil {
			return err
		}
		n += len(reopened)
		return j.clearDone(t, reopened)
	})
	return n, err
}

// clearDone makes rows, in id order, pending that have no result any more.
func (j *job) clearDone(t tx, ids []int64) (err error) {
	if j.inPlace {
		_, err = mark(t, ids, false)
	} else {
		_, err = t.exec("UPDATE {urls} AS u SET {done} = 0 WHERE u.{id} IN {list}", idList(ids))
	}
	if err != nil {
		return err
	}
	return addPending(t, ids, 1)
}

// addPending counts rows, in id order, into the pending ones of their shards, or with sign -1 out of them.
func addPending(t tx, ids []int64, sign int) error {
	return eachShard(t, ids, func(lo int64, n int) error {
		_, err := t.exec("UPDATE {shards} SET pending = pending + ? WHERE lo = ?", sign*n, lo)
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
