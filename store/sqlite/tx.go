package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
)

// querier runs SQL whose names are {tokens}: a reader's transaction, or the writer.
type querier interface {
	QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error)
	fillIn(text string) string // puts names in the place of tokens
}

// tx is an open transaction.
type tx struct {
	ctx     context.Context
	q       querier
	touched *touched // of a writer's
}

// exec runs a statement and returns how many rows it changed.
func (t tx) exec(text string, args ...any) (int64, error) {
	r, err := t.q.ExecContext(t.ctx, text, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// one scans the first row of a query; sql.ErrNoRows if there is none.
func (t tx) one(text string, args []any, dest ...any) error {
	found := false
	err := t.each(text, args, func(rows *sql.Rows) error {
		if found {
			return nil
		}
		found = true
		return rows.Scan(dest...)
	})
	if err == nil && !found {
		return sql.ErrNoRows
	}
	return err
}

// each calls scan for every row of a query.
func (t tx) each(text string, args []any, scan func(*sql.Rows) error) error {
	rows, err := t.q.QueryContext(t.ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// scan scans every row of a query into dest and calls f.
func (t tx) scan(dest []any, f func(), text string, args ...any) error {
	return t.each(text, args, func(rows *sql.Rows) error {
		err := rows.Scan(dest...)
		if err == nil {
			f()
		}
		return err
	})
}

// column is what a query with one column finds.
func column[T any](t tx, text string, args ...any) (out []T, err error) {
	var v T
	err = t.scan([]any{&v}, func() { out = append(out, v) }, text, args...)
	return out, err
}

// bulk inserts rows of the given width, their values one after another, by "INSERT INTO …" (head), groups of
// values and what follows them (tail): 100 rows a statement (more gain nothing, fewer cost), then 10, then 1,
// so that few statements exist. The driver runs them as queries, for which it binds all values in one call of
// C instead of one each.
func (t tx) bulk(head string, width int, values []any, tail string) error {
	for _, n := range []int{100, 10, 1} {
		if len(values) < n*width {
			continue
		}
		text := head + " VALUES " + strings.Repeat(",(?"+strings.Repeat(",?", width-1)+")", n)[1:] + tail
		for ; len(values) >= n*width; values = values[n*width:] {
			if err := t.each(text, values[:n*width], nil); err != nil { // no row comes
				return err
			}
		}
	}
	return nil
}

// reader is a read transaction.
type reader struct {
	tx    *sql.Tx
	names *strings.Replacer
}

func (r reader) fillIn(text string) string { return r.names.Replace(text) }

func (r reader) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	return r.tx.QueryContext(ctx, r.fillIn(text), args...)
}

func (r reader) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	return r.tx.ExecContext(ctx, r.fillIn(text), args...)
}

// plain is the name that a token stands for, without quotes.
func (t tx) plain(token string) string { return strings.Trim(t.q.fillIn(token), `"`) }

// with is the same transaction with other names.
func (t tx) with(n names) tx {
	t.q = reader{t.q.(reader).tx, n.replacer()}
	return t
}

// view runs f in one read transaction: a consistent view. It must be short, since SQLite's WAL grows while it
// lasts. It may run f again from the start, so that f sets what it finds and adds to nothing.
func (j *job) view(ctx context.Context, f func(tx) error) error {
	limited, cancel := limit(ctx, j.patience, j.file)
	defer cancel()
	err := j.readers.view(limited, j.names, f)
	if err != nil && limited.Err() != nil {
		// of which the error is only a consequence, such as that the transaction is over
		return context.Cause(limited)
	}
	return err
}

// endless is how long one transaction was given.
type endless time.Duration

func (e endless) Error() string {
	return fmt.Sprintf("one step took longer than %v, more than a file of its size can need: it is damaged, "+
		"or was made to do so", time.Duration(e))
}

// writer is the one connection of this process that writes. Within a process its turn is a queue; between
// processes BEGIN IMMEDIATE takes SQLite's lock before anything is read, so that no transaction fails
// half-way for another's sake.
type writer struct {
	turn     chan struct{} // holds a token while nobody writes
	closed   chan struct{}
	pool     *sql.DB
	conn     *sql.Conn
	stmts    map[string]*sql.Stmt // by their text before names are filled in
	names    *strings.Replacer
	name     string // of the running transaction
	intact   *intact
	patience time.Duration // how long a transaction on a small file may take
	walLimit int64         // size at which the WAL is to start over
	commits  int
}

var (
	errClosed  = errors.New("the job is closed")
	errReading = errors.New("the job is open for reading only")
)

func newWriter(ctx context.Context, pool *sql.DB, names *strings.Replacer, file string,
	isWAL bool) (*writer, error) {
	intact, err := watch(file, isWAL)
	if err != nil {
		return nil, err
	}
	conn, err := pool.Conn(ctx)
	// the settings of a new connection read the file, which may be locked
	for isBusy(err) && ctx.Err() == nil {
		conn, err = pool.Conn(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, pool.Close(), intact.file.Close())
	}
	w := &writer{turn: make(chan struct{}, 1), closed: make(chan struct{}), pool: pool, conn: conn,
		intact: intact, patience: minPatience, stmts: map[string]*sql.Stmt{}, names: names, walLimit: walStep}
	w.turn <- struct{}{}
	return w, nil
}

// begin waits for the writer's turn, as long as ctx allows, and checks the file; end gives the turn back.
func (w *writer) begin(ctx context.Context) (end func(), err error) {
	if w == nil {
		return nil, errReading
	}
	select {
	case <-w.turn:
	case <-w.closed:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	end = func() { w.turn <- struct{}{} }
	if err = ctx.Err(); err == nil {
		err = w.intact.check()
	}
	if err != nil {
		end()
		return nil, err
	}
	return end, nil
}

// update runs f in one transaction, named for crash points. It waits for its turn, and for other processes,
// as long as ctx allows; once begun, the transaction is short and runs to its end, also when ctx is
// cancelled.
func (w *writer) update(ctx context.Context, name string, f func(tx) error) (err error) {
	end, err := w.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	w.name = name
	if err := w.patiently(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	uncancelled := context.WithoutCancel(ctx)
	committed := false
	defer func() {
		if !committed {
			// After some errors SQLite has rolled back already, and says so; the transaction is gone either
			// way.
			_, _ = w.conn.ExecContext(uncancelled, "ROLLBACK")
		}
	}()
	bounded, cancel := uncancelled, context.CancelFunc(func() {})
	// which go through no tree of a job's own, and are many
	if !w.intact.isWAL || name != "append" && name != "commit" {
		bounded, cancel = limit(uncancelled, w.patience, w.intact.path)
	}
	defer cancel()
	t := tx{bounded, w, &touched{map[int]map[string]bool{}, map[int]bool{}}}
	if err = f(t); err == nil {
		err = completeGroups(t)
	}
	if err != nil && bounded.Err() != nil {
		err = context.Cause(bounded)
	}
	if err != nil {
		return err
	}
	// With a rollback journal, as a user's file may have, readers can hold up a COMMIT; the transaction stays
	// open.
	if err := w.patiently(uncancelled, "COMMIT"); err != nil {
		return err
	}
	committed = true
	crashPoint(name)
	if w.commits++; w.commits%walEvery == 0 {
		w.boundWAL(uncancelled)
	}
	return nil
}

// boundWAL makes the WAL start over when it has grown large: by itself it does so only when a commit finds no
// reader in it, and among many short readers that may be never. This waits for them, keeping new ones out of
// the old WAL; while a long one lasts, it tries again only after as much growth again.
func (w *writer) boundWAL(ctx context.Context) {
	info, err := os.Stat(w.intact.path + "-wal")
	if err != nil || info.Size() < w.walLimit {
		return
	}
	var busy, pages, moved int
	err = w.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(RESTART)").Scan(&busy, &pages, &moved)
	if err != nil || busy != 0 {
		w.walLimit = info.Size() + walStep
	} else {
		w.walLimit = walStep
	}
}

// patiently repeats a statement while the database is locked by others; each try waits for busyTimeout in
// SQLite.
func (w *writer) patiently(ctx context.Context, text string) error {
	for {
		_, err := w.ExecContext(context.WithoutCancel(ctx), text)
		if !isBusy(err) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// emptyWAL moves what is in the WAL into the file. It is an error if anything stays in the WAL.
func (w *writer) emptyWAL(ctx context.Context) error {
	end, err := w.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	var busy, pages, moved int
	err = w.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
	if err == nil && busy != 0 {
		err = errors.New("another program is reading the file, so its WAL cannot be emptied")
	}
	return err
}

func (w *writer) fillIn(text string) string { return w.names.Replace(text) }

// prepared is where every statement passes.
func (w *writer) prepared(ctx context.Context, text string) (*sql.Stmt, error) {
	crashPoint(w.name)
	if s, ok := w.stmts[text]; ok {
		return s, nil
	}
	s, err := w.conn.PrepareContext(ctx, w.fillIn(text))
	if err != nil {
		return nil, err
	}
	w.stmts[text] = s
	return s, nil
}

// QueryContext implements querier with statements that stay prepared.
func (w *writer) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	s, err := w.prepared(ctx, text)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// ExecContext implements querier with statements that stay prepared.
func (w *writer) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	s, err := w.prepared(ctx, text)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

// fcntlPersistWAL is SQLITE_FCNTL_PERSIST_WAL: the WAL is left when the last connection is closed.
const fcntlPersistWAL = 10

// close waits for the running transaction. Closing again does nothing.
func (w *writer) close() error {
	if w == nil {
		return nil
	}
	select {
	case <-w.turn:
	case <-w.closed:
		return nil
	}
	close(w.closed)
	var errs []error
	for _, s := range w.stmts {
		errs = append(errs, s.Close())
	}
	// SQLite does this when the last connection of all is closed, but not if somebody reads the job at that
	// moment.
	ctx := context.Background()
	_, _ = w.conn.ExecContext(ctx, "PRAGMA busy_timeout = 100")
	_, _ = w.conn.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	if w.intact.strangeWAL() { // which SQLite would remove, by its name
		errs = append(errs, w.conn.Raw(func(c any) error {
			return c.(*sqlite3.SQLiteConn).SetFileControlInt("main", fcntlPersistWAL, 1)
		}))
	}
	return errors.Join(append(errs, w.conn.Close(), w.pool.Close(), w.intact.file.Close())...)
}
