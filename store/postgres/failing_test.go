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

// TestFailuresAreSeen has each statement fail of all that is done to a job.
func TestFailuresAreSeen(t *testing.T) {
	t.Parallel()
	j := must.Get(Open(t.Context(), target.Create(t)))(t).(*job)
	defer func() { j.Close() }()
	f := &storetest.FailingStatement{Is: func(err error) bool { return errors.Is(err, context.Canceled) }}
	config := j.pool.Config()
	config.ConnConfig.Tracer = failing{f}
	j.pool.Close()
	j.pool = must.Get(pgxpool.NewWithConfig(t.Context(), config))(t)
	j.patience = -time.Second // no failure passes
	all := storetest.Failures{Job: j, FailingStatement: f,
		Die: func(s store.Session) { must.OK(t, s.(*session).file.Close()) }}
	all.Test(t)
}
