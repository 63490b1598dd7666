package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"
)

// Marks in a user's table. What an UPDATE does to it is up to the table: a trigger or a constraint may refuse
// it, undo it, or move the row. So every mark is read back, and before there is a job some are tried out.

const (
	tryRows = 100              // pending rows that are marked to try a table out
	tryTime = 10 * time.Second // what that may take
)

// mark sets the Done flags of some rows, or clears them, and reads them back. It returns the pending rows, or
// the done ones, that were changed. One whose mark did not stick is a *markError.
func mark(t tx, ids []int64, done bool) (changed []int64, err error) {
	value, condition := 1, "{pending}"
	if !done {
		value, condition = 0, "NOT {pending}"
	}
	find := "SELECT u.{id} FROM {urls} AS u WHERE u.{id} IN {list} AND "
	if changed, err = column[int64](t, find+condition, idList(ids)); err != nil || len(changed) == 0 {
		return nil, err
	}
	list := idList(changed)
	_, err = t.exec(fmt.Sprintf("UPDATE {urls} AS u SET {done} = %d WHERE u.{id} IN {list}", value), list)
	if err != nil {
		return nil, &markError{id: changed[0], rows: len(changed), done: done, err: err}
	}
	marked, err := column[int64](t, find+"NOT ("+condition+")", list)
	if err != nil || len(marked) == len(changed) {
		return changed, err
	}
	stuck := map[int64]bool{}
	for _, id := range marked {
		stuck[id] = true
	}
	for _, id := range changed {
		if !stuck[id] {
			return nil, &markError{id: id, rows: 1, done: done, err: errNotStuck}
		}
	}
	return changed, nil
}

var errNotStuck = errors.New("the UPDATE succeeds, but afterwards the row is gone or its mark is not what " +
	"was set")

// markError is a row of a user's table whose Done column cannot be set.
type markError struct {
	id   int64
	rows int // that it may be, if more than one: the first has this id
	done bool
	err  error
}

func (e *markError) Error() string {
	value, which := 1, fmt.Sprintf("row %d", e.id)
	if !e.done {
		value = 0
	}
	if e.rows > 1 {
		which = fmt.Sprintf("one of %d rows from row %d on", e.rows, e.id)
	}
	return fmt.Sprintf("the Done column of %s cannot be set to %d: %v", which, value, e.err)
}

func (e *markError) Unwrap() error { return e.err }

// explain completes the error of a transaction that marked rows of a user's table: which row it was, what the
// table has that may be the reason, and what to do. Other errors stay as they are.
func (j *job) explain(ctx context.Context, err error, ids []int64, done bool) error {
	var failed *markError
	var slow endless
	if !j.inPlace || isOurs(err) || !errors.As(err, &failed) && !errors.As(err, &slow) {
		return err
	}
	if failed != nil && failed.rows > 1 {
		if one := j.findFailure(ctx, ids, done); errors.As(one, &failed) {
			err = one
		}
	}
	e := j.view(ctx, func(t tx) error {
		var table string
		if err := t.one("SELECT name FROM {sources}", nil, &table); err != nil {
			return err
		}
		triggers, e := triggersOf(t, table)
		if e == nil {
			err = unfit(fmt.Errorf("table %s%s: %w", table, triggers, err))
		}
		return e
	})
	return errors.Join(err, e)
}

// isOurs reports whether a statement failed for a reason that is not the user's table: no room, no memory, a
// damaged file.
func isOurs(err error) bool {
	var e sqlite3.Error
	if isFull(err) || errors.Is(err, context.Canceled) {
		return true
	}
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrNomem, sqlite3.ErrIoErr, sqlite3.ErrCorrupt,
		sqlite3.ErrNotADB:
		return true
	}
	return false
}

// triggersOf names the triggers of a table for a message, empty if it has none.
func triggersOf(t tx, table string) (string, error) {
	names, err := column[string](t, "SELECT name FROM sqlite_schema WHERE type = 'trigger' "+
		"AND tbl_name = ? COLLATE NOCASE ORDER BY name", table)
	if len(names) == 0 || err != nil {
		return "", err
	}
	return " (its triggers: " + strings.Join(names, ", ") + ")", nil
}

// errUndo ends a transaction that was only a trial.
var errUndo = errors.New("undo")

// findFailure marks rows one at a time, in a transaction that is undone, to find the one that fails.
func (j *job) findFailure(ctx context.Context, ids []int64, done bool) error {
	err := j.writer.update(ctx, "find failure", func(t tx) error {
		for _, id := range ids {
			if _, err := mark(t, []int64{id}, done); err != nil {
				return err
			}
		}
		return errUndo
	})
	if errors.Is(err, errUndo) {
		return nil
	}
	return err
}

// Try finds out whether the Done column of a table can be set: it marks some pending rows, reads them back,
// and undoes it all. It refuses a table that does not bear it.
func (d Table) Try(ctx context.Context) error { return d.trial(ctx, tryTime) }

func (d Table) trial(ctx context.Context, limit time.Duration) error {
	doing := "table of " + d.Path
	if _, err := resolve(d.Path); err != nil {
		return wrap(doing, err)
	}
	db := connect(d.Path, url.Values{"mode": {"rw"}, "_txlock": {"immediate"}, "_busy_timeout": {"60000"}})
	defer db.Close()
	err := pool{db}.view(ctx, d.names().replacer(), func(t tx) error { return d.try(t, limit) })
	if isBusy(err) {
		return fmt.Errorf("%s: another program has locked it for a minute: wait until it is through (%w)",
			doing, err)
	}
	if err != nil && !isOurs(err) {
		err = &UnfitError{unfit(err)}
	}
	return wrap(doing, err)
}

// UnfitError says that a table cannot be worked on in place, and what can be done instead.
type UnfitError struct{ error }

func (e *UnfitError) Unwrap() error { return e.error }

// unfit is the reason why a table cannot be worked on in place. Its text says what to do.
func unfit(err error) error { return errTable("%w", err) }

func (d Table) try(t tx, limit time.Duration) error {
	if d.New {
		if err := d.checkNames(t); err != nil {
			return err
		}
	}
	triggers, err := triggersOf(t, d.Name)
	if err != nil {
		return err
	}
	if d.AddsDone {
		if _, err := t.q.(reader).tx.ExecContext(t.ctx, d.Changes()[0]); err != nil {
			return fmt.Errorf("a column %s cannot be added to %s: %w", d.Done, d.Name, err)
		}
	}
	ids, err := column[int64](t, "SELECT u.{id} FROM {urls} AS u WHERE {pending} LIMIT ?", tryRows)
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeoutCause(t.ctx, limit, endless(limit))
	defer cancel()
	t.ctx = bounded
	_, err = t.exec("SAVEPOINT trial")
	for _, id := range ids { // one by one, to name the one that fails
		if err == nil {
			_, err = mark(t, []int64{id}, true)
		}
	}
	if err == nil {
		_, err = t.exec("ROLLBACK TO trial")
	}
	if err == nil { // and together, as a commit does
		_, err = mark(t, ids, true)
	}
	if err != nil && bounded.Err() != nil {
		err = context.Cause(bounded)
	}
	if err != nil {
		return fmt.Errorf("%s%s: %w", d.Name, triggers, err)
	}
	return nil
}

// checkNames refuses a file that has something else under the names of our tables.
func (d Table) checkNames(t tx) error {
	var kind, name string
	err := t.one("SELECT type, name FROM sqlite_schema WHERE lower(name) IN {list}", []any{ownNames()}, &kind,
		&name)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("the file has a %s %s already, a name that facescan needs for itself", kind, name)
	}
	return err
}

// ownNames is a JSON array of the names that our tables and indexes have in a user's file.
func ownNames() string {
	var all []string
	for _, name := range slices.Concat(ownTables, ownIndexes, []string{"members"}) {
		all = append(all, tablePrefix+name)
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}
