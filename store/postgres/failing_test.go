package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"facescan/store"
	"facescan/store/storetest"
	"facescan/store/storetest/must"
)

// failing has a statement, batch or COPY fail before it is sent.
type failing struct{ *storetest.FailingStatement }

func (f failing) start(ctx context.Context) context.Context {
	if !f.Fails() {
		return ctx
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	return cancelled
}

// TraceQueryStart implements pgx.QueryTracer.
func (f failing) TraceQueryStart(ctx context.Context, _ *pgx.Conn,
	_ pgx.TraceQueryStartData) context.Context {
	return f.start(ctx)
}
func (f failing) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart implements pgx.BatchTracer.
func (f failing) TraceBatchStart(ctx context.Context, _ *pgx.Conn,
	_ pgx.TraceBatchStartData) context.Context {
	return f.start(ctx)
}
func (f failing) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (f failing) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// TraceCopyFromStart implements pgx.CopyFromTracer.
func (f failing) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn,
	_ pgx.TraceCopyFromStartData) context.Context {
	return f.start(ctx)
}
func (f failing) TraceCopyFromEnd(context.Context, *pgx.Conn, pgx.TraceCopyFromEndData) {}

// failingJob is the job of a URL, which need not be there.
func failingJob(t *testing.T, url string) (*job, *storetest.FailingStatement) {
	t.Helper()
	p := must.Get(parse(url))(t)
	f := &storetest.FailingStatement{Is: func(err error) bool { return errors.Is(err, context.Canceled) }}
	p.pool.ConnConfig.Tracer = failing{f}
	j := &job{place: p, detectors: map[string]int32{}, patience: -time.Second} // no failure passes
	j.pool = must.Get(pgxpool.NewWithConfig(t.Context(), p.pool))(t)
	t.Cleanup(func() { j.Close() })
	return j, f
}

// TestFailuresOfMakingAreSeen has each statement fail by which a job is made: nothing is left of it then, and
// in the end it is whole. So it is where a server is examined.
func TestFailuresOfMakingAreSeen(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	j, f := failingJob(t, newURL(t))
	f.Each(t, "make a job", func() error {
		err := j.migrate(ctx, true)
		f.Without(t, func() error {
			if version, e := j.version(ctx, j.pool); e != nil || version != 0 && version != schemaVersion ||
				version == 0 && err == nil {
				t.Errorf("after %v the version is %d, %v", err, version, e)
			}
			return nil
		})
		return err
	})
	if found := storetest.Problems(t, j, true); len(found) > 0 || j.id == "" {
		t.Errorf("the job called %q: %v", j.id, found)
	}
	must.OK(t, j.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		var h Health
		f.Each(t, "settings", func() error { return h.settings(ctx, c.Conn()) })
		f.Each(t, "tables", func() error { return h.tables(ctx, c.Conn(), j.place.schema) })
		f.Each(t, "pooler", func() error { _, err := poolerOf(ctx, c.Conn()); return err })
		return nil
	}))
}

// TestFailuresAreSeen has each statement fail of all that is done to a job.
func TestFailuresAreSeen(t *testing.T) {
	t.Parallel()
	j, f := failingJob(t, target.Create(t))
	must.OK(t, j.migrate(t.Context(), false))
	all := storetest.Failures{Job: j, FailingStatement: f,
		Die: func(s store.Session) { must.OK(t, s.(*session).file.Close()) }}
	all.Test(t)
}
