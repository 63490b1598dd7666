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

// failing has the n-th statement, batch or COPY of a call fail before it is sent.
type failing struct {
	left int // until one fails; 0 when none does
}

func (f *failing) start(ctx context.Context) context.Context {
	if f.left > 0 {
		if f.left--; f.left == 0 {
			cancelled, cancel := context.WithCancel(ctx)
			cancel()
			return cancelled
		}
	}
	return ctx
}

// TraceQueryStart implements pgx.QueryTracer.
func (f *failing) TraceQueryStart(ctx context.Context, _ *pgx.Conn,
	_ pgx.TraceQueryStartData) context.Context {
	return f.start(ctx)
}
func (f *failing) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TraceBatchStart implements pgx.BatchTracer.
func (f *failing) TraceBatchStart(ctx context.Context, _ *pgx.Conn,
	_ pgx.TraceBatchStartData) context.Context {
	return f.start(ctx)
}
func (f *failing) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (f *failing) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// TraceCopyFromStart implements pgx.CopyFromTracer.
func (f *failing) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn,
	_ pgx.TraceCopyFromStartData) context.Context {
	return f.start(ctx)
}
func (f *failing) TraceCopyFromEnd(context.Context, *pgx.Conn, pgx.TraceCopyFromEndData) {}

// each makes a call with its first statement failing, then the second, until none fails any more.
func (f *failing) each(t *testing.T, what string, call func() error) {
	t.Helper()
	for n := 1; ; n++ {
		f.left = n
		err := call()
		if f.left > 0 {
			f.left = 0
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if n == 1 {
				t.Errorf("%s runs no statement", what)
			}
			return
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%s: statement %d failed, and the error is %v", what, n, err)
		}
	}
}

// TestFailuresAreSeen has each statement fail of all that is done to a job.
func TestFailuresAreSeen(t *testing.T) {
	t.Parallel()
	j := must.Get(Open(t.Context(), target.Create(t)))(t).(*job)
	defer func() { j.Close() }()
	f := &failing{}
	config := j.pool.Config()
	config.ConnConfig.Tracer = f
	j.pool.Close()
	j.pool = must.Get(pgxpool.NewWithConfig(t.Context(), config))(t)
	j.patience = -time.Second // no failure passes
	all := storetest.Failures{Job: j, Each: f.each, Without: func(call func() error) {
		left := f.left
		f.left = 0
		must.OK(t, call())
		f.left = left
	}, Die: func(s store.Session) { must.OK(t, s.(*session).file.Close()) }}
	all.Test(t)
}
