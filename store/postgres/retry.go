package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// retryRows is how many results a retry looks at before it puts some back.
const retryRows = 20000

// Retry implements store.Job, a transaction per shard. (Rows put back in a transaction whose answer was lost
// are missing in the number.)
func (j *job) Retry(ctx context.Context, s store.Selection) (reopened int64, err error) {
	reopened, err = s.Reopen(func(from int64) ([]int64, *int64, error) {
		return j.selected(ctx, from, s)
	}, func(ids []int64) (rest []int64, n int, err error) {
		part, err := j.nextPart(ctx)
		if err == nil {
			err = j.update(ctx, func(t pgx.Tx) (err error) {
				rest, n, err = j.reopen(ctx, t, part, ids, s)
				return err
			})
		}
		if err == nil {
			j.openings.Add(1)
		}
		return rest, n, err
	})
	return reopened, j.wrap("retry", err)
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

// selected returns rows among the next retryRows results, by id, and the last of these.
func (j *job) selected(ctx context.Context, from int64, s store.Selection) (ids []int64, last *int64,
	err error) {
	err = j.view(ctx, func(t pgx.Tx) (err error) {
		ids = nil
		if last, err = lastOf(ctx, t, from, retryRows); err != nil || last == nil {
			return err
		}
		var id int64
		var address string
		condition, args := choose(s, from, *last)
		return each(ctx, t, []any{&id, &address}, func() {
			if s.Takes(address) {
				ids = append(ids, id)
			}
		}, "SELECT r.id, u.url FROM results AS r JOIN rows AS u ON u.id = r.id WHERE r.id BETWEEN $1 AND $2 "+
			"AND u.id BETWEEN $1 AND $2 AND "+condition+" ORDER BY r.id", args...)
	})
	return ids, last, err
}

// reopen makes the rows of the first row's shard pending again, those of them that still are as selected. It
// returns the rows of other shards, and how many it put back.
func (j *job) reopen(ctx context.Context, t pgx.Tx, part int64, ids []int64,
	s store.Selection) (rest []int64, n int, err error) {
	c, here, rest, err := lockFirst(ctx, t, ids)
	if err != nil || len(here) == 0 {
		return rest, 0, err
	}
	condition, args := choose(s, here)
	e := effect{source: store.SourceOf(c.Lo)}
	dropped, err := deleteResults(ctx, t, &e, condition, args...)
	if err != nil || len(dropped) == 0 {
		return rest, 0, err
	}
	b := &pgx.Batch{}
	b.Queue("UPDATE shards SET pending = pending + $2 WHERE lo = $1", c.Lo, len(dropped))
	return rest, len(dropped), j.apply(ctx, t, b, part, e)
}

// deleteResults deletes the results r of the rows in the first parameter that the condition holds for, with
// their faces, and counts them out.
func deleteResults(ctx context.Context, t pgx.Tx, e *effect, condition string,
	args ...any) (ids []int64, err error) {
	var id, faces int64
	var reason store.Reason
	var group string
	err = each(ctx, t, []any{&id, &reason, &faces, &group}, func() {
		ids = append(ids, id)
		e.take(reason, faces, group)
	}, "DELETE FROM results AS r USING rows AS u WHERE r.id = ANY($1) AND u.id = r.id AND "+condition+
		" RETURNING r.id, coalesce(r.reason, ''), r.faces, coalesce(u.\"group\", '')", args...)
	if err == nil && len(ids) > 0 {
		_, err = t.Exec(ctx, "DELETE FROM faces WHERE id = ANY($1)", ids)
	}
	return ids, err
}
