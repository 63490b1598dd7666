// Package forget deletes what is known of rows of a job, and the files beside it that were made of them.
//
//	filter ─▶ ids, a batch at a time ─▶ files ─▶ rows in the store ─▶ segments ─▶ store rewritten
//
// A row's files go before what the store knows of it, by which the same command finds the row again: so it
// can be killed at any moment and repeated. The job notes that rows are being deleted (store.ForgetSetting)
// from the first one to the end, and what comes after the last row is done again when that note is left.
//
// No other process works on the job meanwhile. Both sides join the job before they look for the other: this
// one at the owners, a run at the note.
package forget

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"slices"
	"time"

	"facescan/pipeline"
	"facescan/pipeline/crash"
	"facescan/pipeline/keep"
	"facescan/store"
	"facescan/store/draft"
	"facescan/store/export"
)

// batchRows is how many rows are deleted at a time; their ids are in memory, sorted.
const batchRows = 50_000

// ttl is how long this process counts as alive without a sign of life.
const ttl = 30 * time.Second

// Publisher publishes a job's rows, and can make one segment of all that there are (segment.Publisher).
type Publisher interface {
	Publish(ctx context.Context) error
	FoldAll(ctx context.Context) error
}

// Options say what to forget. All fields but the marked ones are required.
type Options struct {
	Job       store.Job
	Filter    *export.Filter // of rows of images
	URL       bool           // URLs, groups and kept columns, too
	Publisher Publisher      // of a job that is published; optional
	Forgotten func(rows int64)
	Log       *slog.Logger
}

// Outcome is what was done, and what was not.
type Outcome struct {
	Rows    int64
	Limits  string   // what the store cannot promise; empty for nothing
	Missing []string // folders of the job that are not where they were
}

// Count counts the rows that a filter lets through, and those among them that have no result yet.
func Count(ctx context.Context, job store.Job, filter *export.Filter) (rows, pending int64, err error) {
	for id, err := range done(ctx, job, filter) {
		if err != nil {
			return 0, 0, err
		}
		_ = id
		rows++
	}
	for _, err := range notDone(ctx, job, filter) {
		if err != nil {
			return 0, 0, err
		}
		pending++
	}
	return rows + pending, pending, nil
}

// selection yields the rows of a job that a filter lets through, in id order.
type selection func(ctx context.Context, job store.Job, filter *export.Filter) iter.Seq2[int64, error]

// done yields the done rows that a filter lets through, in id order.
func done(ctx context.Context, job store.Job, filter *export.Filter) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		all := store.Query{From: math.MinInt64, To: math.MaxInt64, Where: filter}
		for r, err := range job.Select(ctx, all) {
			if err == nil && !filter.Match(r) {
				continue
			}
			if !yield(r.ID, err) || err != nil {
				return
			}
		}
	}
}

// notDone yields the pending rows that a filter lets through, in id order. Those of a user's table are the
// user's own.
func notDone(ctx context.Context, job store.Job, filter *export.Filter) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		c, err := job.Counts(ctx)
		var sources []store.Source
		if err == nil {
			sources, err = job.Sources(ctx)
		}
		if err != nil {
			yield(0, err)
			return
		}
		isTable := func(s store.Source) bool { return s.Format == store.TableFormat }
		inTable := slices.ContainsFunc(sources, isTable)
		if c.Pending == 0 || inTable {
			return
		}
		for row, err := range store.PendingRows(ctx, job, math.MinInt64, math.MaxInt64) {
			if err == nil && !filter.MatchPending(row) {
				continue
			}
			if !yield(row.ID, err) || err != nil {
				return
			}
		}
	}
}

// Run forgets the rows. It can be killed, and repeated.
func Run(ctx context.Context, o Options) (out Outcome, err error) {
	alone, err := begin(ctx, o.Job)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, alone.end(ctx)) }()
	files, err := keep.OpenFiles(ctx, o.Job, o.Log)
	if err != nil {
		return out, errors.Join(err, alone.set(ctx, alone.before))
	}
	out.Missing = files.Missing
	for _, rows := range []selection{done, notDone} {
		var batch []int64
		flush := func() error {
			if len(batch) == 0 {
				return nil
			}
			if err := files.Forget(batch); err != nil {
				return err
			}
			if err := o.Job.Forget(ctx, batch, o.URL); err != nil {
				return err
			}
			out.Rows += int64(len(batch))
			if o.Forgotten != nil {
				o.Forgotten(out.Rows)
			}
			batch = nil
			return nil
		}
		for id, err := range rows(ctx, o.Job, o.Filter) {
			if err == nil {
				if batch = append(batch, id); len(batch) == batchRows {
					err = flush()
				}
			}
			if err != nil {
				return out, err
			}
		}
		if err := flush(); err != nil {
			return out, err
		}
	}
	if out.Rows == 0 && alone.before == "" {
		return out, alone.set(ctx, "")
	}
	if o.Publisher != nil {
		if err := o.Publisher.Publish(ctx); err != nil {
			return out, err
		}
		if err := o.Publisher.FoldAll(ctx); err != nil {
			return out, err
		}
	}
	for _, made := range []string{"", ".segments", ".parts"} { // by processes that died
		draft.Clean(o.Job.Path() + made)
	}
	if out.Limits, err = o.Job.Expunge(ctx); err != nil {
		return out, err
	}
	return out, alone.set(ctx, "")
}

// alone is this process while no other works on the job.
type alone struct {
	job     store.Job
	session store.Session
	before  string // the process that was killed while it did this, if any
	stop    context.CancelFunc
	renewed chan struct{} // closed when no more signs of life are given
}

// begin joins the job, unless other processes work on it.
func begin(ctx context.Context, job store.Job) (_ *alone, err error) {
	random := make([]byte, 8)
	rand.Read(random)
	who := pipeline.Self()
	who.ID = "forget-" + hex.EncodeToString(random)
	settings, err := job.Settings(ctx)
	if err != nil {
		return nil, err
	}
	a := &alone{job: job, before: settings[store.ForgetSetting], renewed: make(chan struct{})}
	if a.session, err = job.Join(ctx, who, ttl); err != nil {
		return nil, err
	}
	leave := func(err error) error {
		return errors.Join(err, a.session.Leave(context.WithoutCancel(ctx)))
	}
	if err := a.set(ctx, who.ID); err != nil {
		return nil, leave(err)
	}
	counts, err := job.Counts(ctx)
	if err != nil {
		return nil, leave(err)
	}
	for _, o := range counts.Owners {
		if o.Alive && o.ID != who.ID {
			err := fmt.Errorf("process %d on %s works on %s: stop it (Ctrl-C) or wait for its end, then "+
				"run the same command again", o.PID, o.Host, job.Path())
			return nil, leave(errors.Join(err, a.set(ctx, a.before)))
		}
	}
	living, stop := context.WithCancel(ctx)
	a.stop = stop
	go func() {
		defer crash.Exit()
		defer close(a.renewed)
		for {
			select {
			case <-time.After(ttl / 3):
				_, _ = a.session.Renew(living, nil) // once more in a moment
			case <-living.Done():
				return
			}
		}
	}()
	return a, nil
}

// set notes which process deletes rows; none when everything is deleted.
func (a *alone) set(ctx context.Context, owner string) error {
	return a.job.Set(ctx, map[string]string{store.ForgetSetting: owner})
}

// end leaves the job.
func (a *alone) end(ctx context.Context) error {
	a.stop()
	<-a.renewed
	return a.session.Leave(context.WithoutCancel(ctx))
}
