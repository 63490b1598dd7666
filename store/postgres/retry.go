package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// retryRows is how many results a retry looks at before it puts some back.
const retryRows = 20000

// Retry implements store.Job, a transaction a shard. Every one is complete in itself: a retry that is cut
// short has put some of the rows back, and the same call again does the others. (Rows put back in a
// transaction whose answer was lost are missing in the number.)
func (j *job) Retry(ctx context.Context, s store.Selection) (reopened int64, err error) {
	if len(s.Reasons) == 0 && !s.OK {
		return 0, nil
	}
	for from, more := int64(math.MinInt64), true; more; {
		var ids []int64
		if s.IDs != nil {
			ids, more = s.IDs, false
		} else if ids, from, more, err = j.selected(ctx, from, s); err != nil {
			return reopened, j.wrap("retry", err)
		}
		for len(ids) > 0 {
			n, rest := 0, ids
			part, err := j.nextPart(ctx)
			if err == nil {
				err = j.update(ctx, func(t pgx.Tx) (err error) {
					rest, n, err = j.reopen(ctx, t, part, ids, s)
					return err
				})
			}
			if err != nil {
				return reopened, j.wrap("retry", err)
			}
			j.openings.Add(1)
			ids, reopened = rest, reopened+int64(n)
		}
	}
	return reopened, nil
}

// chosen is a condition on a result r; its parameters, the last three of a query's, are what choose returns.
// A detector that is not known has no number, and no result is of it.
const chosen = `CASE WHEN r.reason IS NULL THEN $%d AND
	(r.detector IN (SELECT number FROM detectors WHERE fingerprint = ANY($%d))) IS NOT TRUE
	ELSE r.reason = ANY($%d) END`

func choose(s store.Selection, args ...any) (condition string, all []any) {
	n := len(args)
	return fmt.Sprintf(chosen, n+1, n+2, n+3), append(args, s.OK, s.Except, s.Reasons)
}

// selected returns rows among the next retryRows results, and says from where to go on.
func (j *job) selected(ctx context.Context, from int64,
	s store.Selection) (ids []int64, next int64, more bool, err error) {
	err = j.view(ctx, func(t pgx.Tx) error {
		ids = nil
		var last *int64
		err := t.QueryRow(ctx, "SELECT max(id) FROM (SELECT id FROM results WHERE id >= $1 ORDER BY id "+
			"LIMIT $2) AS page", from, retryRows).Scan(&last)
		if err != nil || last == nil {
			more = false
			return err
		}
		next, more = *last+1, true
		var id int64
		var address string
		condition, args := choose(s, from, *last)
		return each(ctx, t, []any{&id, &address}, func() error {
			if !store.IsErased(address) && (s.Host == "" || strings.EqualFold(store.HostOf(address), s.Host)) {
				ids = append(ids, id)
			}
			return nil
		}, "SELECT r.id, u.url FROM results AS r JOIN rows AS u ON u.id = r.id WHERE r.id BETWEEN $1 AND $2 "+
			"AND u.id BETWEEN $1 AND $2 AND "+
			condition+" ORDER BY r.id", args...)
	})
	return ids, next, more, err
}

// reopen makes the rows of the first row's shard pending again, those of them that still are as selected. It
// returns the rows of other shards, and how many it put back.
func (j *job) reopen(ctx context.Context, t pgx.Tx, part int64, ids []int64,
	s store.Selection) (rest []int64, n int, err error) {
	c, err := lockShard(ctx, t, ids[0])
	if errors.Is(err, pgx.ErrNoRows) {
		return ids[1:], 0, nil // verify tells of rows in no shard
	}
	if err != nil {
		return ids, 0, err
	}
	here := 1
	for here < len(ids) && ids[here] <= c.Hi {
		here++
	}
	condition, args := choose(s, ids[:here])
	e := effect{source: store.SourceOf(c.Lo)}
	dropped, err := deleteResults(ctx, t, &e, condition, args...)
	if err != nil || len(dropped) == 0 {
		return ids[here:], 0, err
	}
	b := &pgx.Batch{}
	b.Queue("UPDATE shards SET pending = pending + $2 WHERE lo = $1", c.Lo, len(dropped))
	return ids[here:], len(dropped), j.settle(ctx, t, b, part, e)
}

// deleteResults deletes the results r of the rows in the first parameter that the condition holds for, with
// their faces, and counts them out.
func deleteResults(ctx context.Context, t pgx.Tx, e *effect, condition string,
	args ...any) (ids []int64, err error) {
	var id, faces int64
	var reason store.Reason
	var group string
	err = each(ctx, t, []any{&id, &reason, &faces, &group}, func() error {
		ids = append(ids, id)
		e.take(reason, faces, group)
		return nil
	}, "DELETE FROM results AS r USING rows AS u WHERE r.id = ANY($1) AND u.id = r.id AND "+condition+
		" RETURNING r.id, coalesce(r.reason, ''), r.faces, coalesce(u.\"group\", '')", args...)
	if err == nil && len(ids) > 0 {
		_, err = t.Exec(ctx, "DELETE FROM faces WHERE id = ANY($1)", ids)
	}
	return ids, err
}
