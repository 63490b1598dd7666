package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// Forget implements store.Job, a transaction for each shard.
func (j *job) Forget(ctx context.Context, ids []int64, url bool) error {
	for len(ids) > 0 {
		part, err := j.nextPart(ctx)
		if err == nil {
			rest := ids
			err = j.update(ctx, func(t pgx.Tx) (err error) {
				rest, err = j.forget(ctx, t, part, ids, url)
				return err
			})
			ids = rest
		}
		if err != nil {
			return j.wrap("forget rows", err)
		}
	}
	return nil
}

// forget forgets the rows that are in the first row's shard, and returns the others.
func (j *job) forget(ctx context.Context, t pgx.Tx, part int64, ids []int64, url bool) (rest []int64,
	err error) {
	c, here, rest, err := lockFirst(ctx, t, ids)
	if err != nil || len(here) == 0 {
		return rest, err
	}
	have, err := existing(ctx, t, here)
	if err != nil {
		return ids, err
	}
	e := effect{source: store.SourceOf(c.Lo)}
	p := store.PartitionForgotten(here, have, url)
	if err := replaceResults(ctx, t, &e, p, have, nil); err != nil {
		return ids, err
	}
	b := &pgx.Batch{}
	b.Queue("UPDATE shards SET pending = pending - $2 WHERE lo = $1", c.Lo, len(p.Completed))
	if err := j.apply(ctx, t, b, part, e); err != nil {
		return ids, err
	}
	return rest, eraseGroups(ctx, t, e.source, p.Erased, have)
}

// replaceResults lets the results of a partition enter, in the place of those that some rows have, and counts
// them. Of rows that are forgotten it deletes everything else, too; of others perhaps their URLs.
func replaceResults(ctx context.Context, t pgx.Tx, e *effect, p store.Partition,
	have map[int64]store.Existing, detectors map[string]int32) error {
	if _, err := deleteResults(ctx, t, e, "true", p.Replaced); err != nil {
		return err
	}
	if forgotten := store.ForgottenIDs(p.Results); len(forgotten) > 0 {
		tables, err := tablesByRow(ctx, t)
		if err != nil {
			return err
		}
		for _, table := range tables {
			if _, err := t.Exec(ctx, "DELETE FROM "+table+" WHERE id = ANY($1)", forgotten); err != nil {
				return err
			}
		}
		_, err = t.Exec(ctx, "UPDATE rows SET hash = NULL WHERE id = ANY($1) AND hash IS NOT NULL", forgotten)
		if err != nil {
			return err
		}
	}
	if err := copyResults(ctx, t, p.Results, detectors); err != nil {
		return err
	}
	for i := range p.Results {
		e.add(&p.Results[i], p.Groups[p.Results[i].ID])
	}
	return erase(ctx, t, e, p.Erased, have)
}

// tablesByRow are the tables that have what is kept of rows, by their ids. They are read from the schema, so
// that a new table is among them.
func tablesByRow(ctx context.Context, t pgx.Tx) ([]string, error) {
	return column[string](ctx, t, `SELECT quote_ident(c.relname)
		FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
		WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
		AND c.relname <> 'rows' -- by which a row is known not to be new
		AND a.attname = 'id' AND a.atttypid = 'bigint'::regtype`)
}

// erase removes the URLs of rows, and everything else that their list says.
func erase(ctx context.Context, t pgx.Tx, e *effect, rows []store.Erased,
	have map[int64]store.Existing) error {
	if len(rows) == 0 {
		return nil
	}
	ids, urls := make([]int64, len(rows)), make([]string, len(rows))
	for i, r := range rows {
		ids[i], urls[i] = r.ID, r.URL
		if group := have[r.ID].Group; group != "" {
			e.group(group).images--
			e.group(group).stale = true
		}
	}
	more := "" // the other columns of the list
	err := t.QueryRow(ctx, `SELECT string_agg(format(', %I = NULL', attname), '') FROM pg_attribute
		WHERE attrelid = 'rows'::regclass AND attnum > 0 AND NOT attisdropped
		AND attname NOT IN ('id', 'url')`).Scan(&more)
	if err != nil {
		return err
	}
	_, err = t.Exec(ctx, `UPDATE rows AS u SET url = l.url`+more+`
		FROM unnest($1::bigint[], $2::text[]) AS l (id, url) WHERE u.id = l.id`, ids, urls)
	return err
}

// eraseGroups removes the names of groups that have lost all their rows with their URLs.
func eraseGroups(ctx context.Context, t pgx.Tx, source int, rows []store.Erased,
	have map[int64]store.Existing) error {
	seen, eraser := map[string]bool{"": true}, store.NewEraser()
	for _, r := range rows {
		name := have[r.ID].Group
		if seen[name] {
			continue
		}
		seen[name] = true
		_, err := t.Exec(ctx, "DELETE FROM groups WHERE source = $1 AND key = $2 AND images = 0 "+
			"AND ended IS NULL", source, groupKey(name))
		if err != nil {
			return err
		}
		// an end record is compared with the list's, by its hash
		hash := eraser.Erase(name)
		if _, err := t.Exec(ctx, "UPDATE groups SET name = $3, key = $4 WHERE source = $1 AND key = $2 "+
			"AND images = 0", source, groupKey(name), hash, groupKey(hash)); err != nil {
			return err
		}
	}
	return nil
}

// Expunge implements store.Job. VACUUM FULL rewrites each table without what was deleted; the server
// removes the old files at its next checkpoint.
func (j *job) Expunge(ctx context.Context) (limits string, err error) {
	limits = "the database no longer has the rows' data; its write-ahead log, archives of that, replicas " +
		"that lag behind, and backups may have it until they are removed or overwritten"
	return limits, j.wrap("expunge", j.retry(ctx, func() error {
		conn, err := j.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		tables, err := column[string](ctx, conn, `SELECT format('%I.%I', current_schema(), relname)
			FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
			ORDER BY relname`)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "SET statement_timeout = 0")
		if err == nil {
			_, err = conn.Exec(ctx, "VACUUM FULL "+strings.Join(tables, ", "))
		}
		_, e := conn.Exec(context.WithoutCancel(ctx), fmt.Sprintf("SET statement_timeout = %d",
			statementTimeout.Milliseconds()))
		return errors.Join(err, e)
	}))
}
