package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"facescan/store"
)

// patience is how long a transaction whose connection broke is tried again: a server restarts in less.
const patience = 15 * time.Second

// querier runs SQL: a transaction, or the pool.
type querier interface {
	Exec(ctx context.Context, text string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, text string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, text string, args ...any) pgx.Row
}

// each scans every row of a query into dest and calls f.
func each(ctx context.Context, q querier, dest []any, f func(), text string, args ...any) error {
	rows, err := q.Query(ctx, text, args...)
	if err != nil {
		return err
	}
	return into(dest, f)(rows)
}

// into does the same with the rows of a query in a batch.
func into(dest []any, f func()) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, dest, func() error {
			f()
			return nil
		})
		return err
	}
}

// column is what a query with one column finds.
func column[T any](ctx context.Context, q querier, text string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

// values are what is bound to a parameter that is an array: a value of each of some things.
func values[T, V any](of []T, value func(T) V) []V {
	out := make([]V, len(of))
	for i, v := range of {
		out[i] = value(v)
	}
	return out
}

// update runs f in a transaction, READ COMMITTED. f may run several times.
func (j *job) update(ctx context.Context, f func(pgx.Tx) error) error {
	return j.transact(ctx, "BEGIN", f)
}

// view runs f on one consistent view. It must be short, as old versions of all rows stay while it lasts.
func (j *job) view(ctx context.Context, f func(pgx.Tx) error) error {
	return j.transact(ctx, beginView, f)
}

const beginView = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

func (j *job) transact(ctx context.Context, begin string, f func(pgx.Tx) error) error {
	return j.retry(ctx, func() error {
		return pgx.BeginTxFunc(ctx, j.pool, pgx.TxOptions{BeginQuery: begin}, f)
	})
}

// lockAlone and lockShared keep those who ask for the same lock of the job waiting until the transaction
// ends; those who share it do not wait for each other.
const (
	lockAlone  = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
	lockShared = "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))"
)

// lock names a lock of the job.
func (j *job) lock(what string) string { return "facescan " + j.id + " " + what }

// retry runs f, and runs it again while it fails for what passes.
func (j *job) retry(ctx context.Context, f func() error) error {
	begin, pause := time.Now(), 5*time.Millisecond
	for {
		err := f()
		if err == nil || ctx.Err() != nil || !isTransient(err) || time.Since(begin) > j.patience {
			return err
		}
		select {
		case <-time.After(pause + rand.N(pause)): // not all at the same time
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, time.Second)
	}
}

// isTransient reports errors after which the same transaction may well succeed: it was refused for another's
// sake, or the connection to the server broke.
func isTransient(err error) bool {
	var p *pgconn.PgError
	if errors.As(err, &p) {
		switch p.Code {
		case "40001", "40P01", // serialization failure, deadlock
			"25P03",                   // idle in a transaction for too long: we were stopped
			"57P01", "57P02", "57P03", // the server shuts down, crashed, starts up
			"53300": // too many connections
			return true
		}
		return false
	}
	return connectionLost(err)
}

// connectionLost reports that the server cannot be reached, or cannot any more.
func connectionLost(err error) bool {
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) ||
		pgconn.SafeToRetry(err)
}

// wrap says what failed and what to do about it, and turns the server's codes into the store's errors. Nil
// stays nil.
func (j *job) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	var p *pgconn.PgError
	hint := ""
	switch {
	case errors.As(err, &p):
		switch p.Code {
		case "53100": // disk full
			return fmt.Errorf("%s: %w (%w)", doing, store.ErrFull, err)
		case "53300":
			hint = "the server takes no more connections: raise its max_connections (a process of facescan " +
				"uses up to 4), or run fewer processes"
		case "28P01", "28000":
			hint = "the server refuses the user or the password: give it in PGPASSWORD, in ~/.pgpass or in " +
				"the URL"
		case "3D000":
			hint = "make the database first: createdb " + j.place.pool.ConnConfig.Database
		case "42501":
			hint = "the user lacks rights there: GRANT CREATE ON DATABASE, or have the schema " +
				j.place.schema + " made for this user"
		case "25006":
			hint = "this server only reads; name the primary"
		}
	case errors.Is(err, context.Canceled):
	case connectionLost(err):
		hint = fmt.Sprintf("the database at %s cannot be reached: see that it runs, and that this machine "+
			"may connect to it; "+
			"then run the same command again: what was acknowledged is kept", j.place.host)
	}
	var connect *pgconn.ConnectError
	switch {
	case hint != "" && errors.As(err, &connect):
		return &connectError{fmt.Sprintf("%s: %s (%s)", doing, hint, causeOf(err)), err}
	case hint != "":
		return fmt.Errorf("%s: %s (%w)", doing, hint, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// connectError is a failed connection in few words: pgx lists every address that it tried, and every step.
type connectError struct {
	text string
	err  error
}

func (e *connectError) Error() string { return e.text }
func (e *connectError) Unwrap() error { return e.err }

// causeOf is the cause of a failed connection: what the kernel, the resolver or the server said.
func causeOf(err error) string {
	var server *pgconn.PgError
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &server):
		return server.Message
	case errors.As(err, &dns):
		return "there is no host " + dns.Name
	case errors.As(err, &op):
		err = op.Err
	}
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err.Error()
}
