package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"facescan/pipeline/crash"
	"facescan/store"
)

// pageRows is how many rows one read transaction covers, about.
const pageRows = 4000

// maxPage is how many rows a page can have, by far.
const maxPage = 1 << 20

// errDisorder says that the rows of a table do not come in the order of their ids.
var errDisorder = fmt.Errorf("%w: the rows of a table are not in order", store.ErrDamaged)

// loaded is a page that was read.
type loaded[T any] struct {
	page []T
	err  error
}

// pages yields what load finds in a range of ids, in their order. It reads several pages at once, ahead of
// the caller, each in a short transaction of its own; bound is a query for the id with which the next
// page begins, by the range and the number of rows to skip.
func pages[T any](ctx context.Context, j *job, from, to int64, bound string,
	load func(t tx, from, to int64) ([]T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		stuck := false // in a tree of pages without end, which nothing interrupts
		defer func() {
			cancel()
			if !stuck {
				wg.Wait() // no reader outlives the loop
			}
		}()
		ahead := make(chan chan loaded[T], min(4, runtime.GOMAXPROCS(0)))
		wg.Go(func() {
			defer crash.Exit()
			defer close(ahead)
			for begin := from; begin < to && ctx.Err() == nil; {
				end, err := j.endOfPage(ctx, bound, begin, to)
				c, begun := make(chan loaded[T], 1), begin
				select {
				case ahead <- c:
				case <-ctx.Done():
					return
				}
				if err != nil {
					c <- loaded[T]{err: err}
					return
				}
				wg.Go(func() {
					defer crash.Exit()
					var l loaded[T]
					l.err = j.view(ctx, func(t tx) (err error) {
						// which spares the driver a look at it for every row
						t.ctx = context.WithoutCancel(ctx)
						l.page, err = load(t, begun, end)
						if err == nil && len(l.page) > maxPage {
							err = errDisorder
						}
						return err
					})
					c <- l
				})
				begin = end
			}
		})
		var none T
		for c := range ahead {
			var l loaded[T]
			slow, enough := limit(context.Background(), j.patience, j.file)
			select {
			case l = <-c:
			case <-slow.Done():
				stuck, l.err = true, context.Cause(slow)
			}
			enough()
			if l.err != nil {
				yield(none, l.err)
				return
			}
			for _, v := range l.page {
				if !yield(v, nil) {
					return
				}
			}
		}
		if err := context.Cause(ctx); err != nil { // before the last page
			yield(none, err)
		}
	}
}

// endOfPage is where the page that begins at an id ends.
func (j *job) endOfPage(ctx context.Context, bound string, from, to int64) (end int64, err error) {
	end = to
	err = j.view(ctx, func(t tx) error { return t.one(bound, []any{from, to, pageRows}, &end) })
	if errors.Is(err, sql.ErrNoRows) {
		return to, nil
	}
	if err == nil && end <= from {
		err = errDisorder
	}
	return end, err
}

const boundResults = "SELECT id FROM {results} WHERE id >= ? AND id < ? ORDER BY id LIMIT 1 OFFSET ?"

// Results implements store.Job.
func (j *job) Results(ctx context.Context, from, to int64) iter.Seq2[store.Result, error] {
	return wrapped("read results", pages(ctx, j, from, to, boundResults, j.readResults))
}

// Select implements store.Job.
func (j *job) Select(ctx context.Context, q store.Query) iter.Seq2[store.Result, error] {
	where, args := "1", []any(nil)
	if q.Where != nil {
		if text, values, err := q.Where.SQL(store.SQLite, 1, selectable); err == nil {
			where, args = text, values
		}
	}
	return wrapped("select results", pages(ctx, j, q.From, q.To, boundResults,
		func(t tx, from, to int64) ([]store.Result, error) {
			return j.readSelected(t, from, to, q.Brief, where, args)
		}))
}

// selectable has the columns of an export that a result r and its row u have.
var selectable = store.Selectable(map[string]string{
	"id": "r.id", "url": "iif(r.reason = '" + string(store.Forgotten) + "' AND {address} GLOB '" +
		store.ErasedPrefix + "*', '', {address})", "status": "iif(r.reason IS NULL, 'ok', 'failed')",
	"faces": "iif(r.reason IS NULL AND r.detector IS NOT (SELECT number FROM {detectors} " +
		"WHERE fingerprint = '" + store.NoDetector + "'), r.faces, NULL)", "group": "nullif({group}, '')",
}, "lower(hex(%s))")

const boundRows = "SELECT u.{id} FROM {urls} AS u WHERE u.{id} >= ? AND u.{id} < ? ORDER BY u.{id} " +
	"LIMIT 1 OFFSET ?"

// Rows implements store.Job.
func (j *job) Rows(ctx context.Context, from, to int64) iter.Seq2[store.Row, error] {
	return wrapped("read rows", pages(ctx, j, from, to, boundRows, readRows))
}

func wrapped[T any](doing string, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		seq(func(v T, err error) bool { return yield(v, wrap(doing, err)) })
	}
}
