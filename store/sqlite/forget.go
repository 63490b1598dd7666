package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mattn/go-sqlite3"

	"facescan/store"
)

// What is deleted is also overwritten: the writer's connection has secure_delete on, so that SQLite writes
// zeros where a row was. That leaves what earlier releases, which had it off, deleted, and the copies in the
// write-ahead log. Expunge rewrites the file, and empties the log.

// forgetRows is how many rows one transaction forgets.
const forgetRows = 5000

// expungePatience is how long readers of the job may hold up that its write-ahead log is emptied.
const expungePatience = 30 * time.Second

// Forget implements store.Job.
func (j *job) Forget(ctx context.Context, ids []int64, url bool) error {
	const doing = "forget rows"
	if url {
		if err := j.checkOwn(doing, ", and so are their URLs: remove these there"); err != nil {
			return err
		}
	}
	for of := range slices.Chunk(ids, forgetRows) {
		err := j.bySource(of, func(source int, ids []int64) error {
			err := j.writer.update(ctx, "forget", func(t tx) error { return j.forget(t, source, ids, url) })
			return j.explain(ctx, err, ids, true)
		})
		if err != nil {
			return wrap(doing, err)
		}
	}
	return nil
}

// forget forgets rows of one source. Rows of a user's table without a result are the user's own.
func (j *job) forget(t tx, source int, ids []int64, url bool) (err error) {
	if j.inPlace { // the user may have cleared Done flags, and set others
		if ids, err = column[int64](t, "SELECT r.id "+resultsIn+" ORDER BY r.id", idList(ids)); err != nil {
			return err
		}
	}
	have, err := existing(t, ids)
	if err != nil {
		return err
	}
	p := store.PartitionForgotten(ids, have, url)
	if err := j.erase(t, source, p.Erased); err != nil {
		return err
	}
	return j.replace(t, source, p.Results)
}

// erase removes the URLs, groups and kept columns of rows of one source, and the names of groups that have no
// other row.
func (j *job) erase(t tx, source int, rows []store.Erased) error {
	if len(rows) == 0 {
		return nil
	}
	ids := make([]int64, len(rows))
	urls := map[int64]string{}
	for i, r := range rows {
		ids[i], urls[r.ID] = r.ID, r.URL
	}
	names, err := column[string](t, `SELECT DISTINCT m."group" FROM {members} AS m WHERE m.id IN {list}
		AND m."group" IS NOT NULL`, idList(ids))
	if err != nil {
		return err
	}
	if err := countMembers(t, source, ids, -1); err != nil {
		return err
	}
	text, err := json.Marshal(urls)
	if err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE {urls} AS u SET {url} = l.value, "group" = NULL, kept = NULL
		FROM json_each(?) AS l WHERE u.{id} = CAST(l.key AS INTEGER)`, string(text)); err != nil {
		return err
	}
	eraser := store.NewEraser()
	for _, name := range names { // an end record is compared with the list's, by its hash
		_, err := t.exec("DELETE FROM {groups} WHERE source = ? AND name = ? AND images = 0 "+
			"AND ended IS NULL", source, name)
		if err != nil {
			return err
		}
		if _, err = t.exec("UPDATE {groups} SET name = ? WHERE source = ? AND name = ? AND images = 0",
			eraser.Erase(name), source, name); err != nil {
			return err
		}
	}
	return nil
}

// dropRest deletes what is kept of rows that are forgotten, besides results and faces: in each table of
// facescan that has rows by their ids.
func dropRest(t tx, ids []int64) error {
	if len(ids) == 0 {
		return nil
	}
	tables, err := tablesByRow(t)
	for _, table := range tables {
		if err == nil {
			_, err = t.exec("DELETE FROM "+table+" WHERE id IN {list}", idList(ids))
		}
	}
	return err
}

// notOfRows are tables with ids that say nothing of a row but that it is there.
var notOfRows = []string{"unpublished", "publications"}

// tablesByRow are the tokens of our own tables that have rows by the id of one of the job's. They are read
// from the schema, so that a new table is among them.
func tablesByRow(t tx) (tokens []string, err error) {
	of := map[string]string{}
	for _, table := range ownTables {
		if !slices.Contains(notOfRows, table) {
			of[t.plain("{"+table+"}")] = "{" + table + "}"
		}
	}
	var name string
	err = t.scan([]any{&name}, func() {
		if token, ours := of[name]; ours {
			tokens = append(tokens, token)
		}
	}, `SELECT l.name FROM pragma_table_list AS l JOIN pragma_table_info(l.name) AS c
		WHERE l.schema = 'main' AND l.type = 'table' AND c.name = 'id' AND c.type = 'INTEGER'`)
	return tokens, err
}

// Expunge implements store.Job. A file that others' tables share is rewritten only if that cannot change the
// numbers by which SQLite calls their rows.
func (j *job) Expunge(ctx context.Context) (limits string, err error) {
	numbered := ""
	if j.inPlace {
		err := j.view(ctx, func(t tx) error {
			err := t.one(`SELECT l.name FROM pragma_table_list AS l WHERE l.schema = 'main'
				AND l.type = 'table' AND l.wr = 0 AND l.name NOT LIKE 'sqlite\_%' ESCAPE '\'
				AND NOT EXISTS (SELECT 1 FROM pragma_table_info(l.name) AS c GROUP BY NULL
				HAVING sum(c.pk > 0) = 1 AND max(iif(c.pk > 0, upper(c.type), '')) = 'INTEGER')`,
				nil, &numbered)
			if errors.Is(err, sql.ErrNoRows) {
				return nil
			}
			return err
		})
		if err != nil {
			return "", wrap("expunge", err)
		}
	}
	if numbered != "" {
		limits = fmt.Sprintf("%s was not rewritten, since that may renumber the rows of its table %s: what "+
			"an earlier release of facescan deleted may still be in its free space; to overwrite that too, "+
			"run VACUUM on the file with your own program", j.path, numbered)
	}
	return limits, wrap("expunge", j.writer.expunge(ctx, numbered == ""))
}

// expunge rewrites the file, and empties the logs beside it.
func (w *writer) expunge(ctx context.Context, rewrite bool) error {
	end, err := w.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if rewrite {
		if err := w.vacuum(ctx); err != nil {
			return err
		}
	}
	// A journal that a user's file keeps is cut when it is next used.
	if _, err := w.conn.ExecContext(ctx, "PRAGMA journal_size_limit = 0"); err != nil {
		return err
	}
	if err := w.rewriteOne(ctx); err != nil {
		return err
	}
	for end := time.Now().Add(expungePatience); ; {
		var busy, pages, moved int
		err := w.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
		switch {
		case err != nil && !isBusy(err) || ctx.Err() != nil:
			return errors.Join(err, ctx.Err())
		case err == nil && busy == 0:
			return nil
		case time.Now().After(end):
			return errors.New("another process reads the job, so its write-ahead log cannot be emptied: " +
				"let it end, then run the same command again")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// vacuum rewrites the whole file. SQLite attaches a temporary one for it, which connections here may not do.
func (w *writer) vacuum(ctx context.Context) error {
	allow := func(n int) error {
		return w.conn.Raw(func(c any) error {
			c.(*sqlite3.SQLiteConn).SetLimit(sqlite3.SQLITE_LIMIT_ATTACHED, n)
			return nil
		})
	}
	if err := allow(1); err != nil {
		return err
	}
	err := w.retryBusy(ctx, "VACUUM")
	if isFull(err) {
		err = fmt.Errorf("rewriting the file takes twice its size for a while, there and in the folder for "+
			"temporary files: make room, or name a folder with room in SQLITE_TMPDIR, then run the same "+
			"command again: %w", err)
	}
	return errors.Join(err, allow(0))
}

// rewriteOne is a transaction that changes nothing, but goes through the journal.
func (w *writer) rewriteOne(ctx context.Context) error {
	return w.retryBusy(ctx, w.fillIn("UPDATE {job} SET version = version"))
}

func (w *writer) retryBusy(ctx context.Context, text string) error {
	for {
		_, err := w.conn.ExecContext(ctx, text)
		if !isBusy(err) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
