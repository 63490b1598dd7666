package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"facescan/store/tables"
)

// A job file may come from anybody. Before anything of it is read, its tables are checked to be the ones that
// this program makes: tables, not views that never end, with the columns they should have, and without
// triggers.

// checkedVersion is the version of the schema, which is what a job of that version has; 0 without any.
func (j *job) checkedVersion(ctx context.Context) (version int, err error) {
	err = j.view(ctx, func(t tx) (err error) {
		version, err = checkSchema(t, j.inPlace)
		return err
	})
	return version, err
}

// schemaVersionOf is the version of the schema; 0 when there is none.
func schemaVersionOf(t tx) (version int, err error) {
	var isTable bool
	err = t.one("SELECT type = 'table' AND rootpage > 0 FROM sqlite_schema WHERE name = ?",
		[]any{t.plain("{job}")}, &isTable)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err == nil && !isTable {
		err = fmt.Errorf("its %s is not a table that facescan makes: the file is damaged, or was not made "+
			"by facescan", t.plain("{job}"))
	}
	if err != nil {
		return 0, err
	}
	return version, t.one("SELECT version FROM {job} LIMIT 1", nil, &version)
}

// shape is what is to be checked of a table: its columns, each with type and key, by name.
type shape map[string]string

// shapes reads those of some tables.
func shapes(t tx, tables []string) (map[string]shape, error) {
	list, err := json.Marshal(tables)
	if err != nil {
		return nil, err
	}
	out := map[string]shape{}
	var name, kind string
	var column, is sql.NullString
	return out, t.scan([]any{&name, &kind, &column, &is}, func() {
		if out[name] == nil {
			out[name] = shape{"": kind}
		}
		if column.Valid {
			out[name][column.String] = is.String
		}
	}, `SELECT l.name, l.type || iif(l.wr, ' without rowid', ''), c.name, c.type || iif(c."notnull",
		' not null', '') || iif(c.pk, ' key ' || c.pk, '') || iif(c.hidden, ' computed', '')
		FROM pragma_table_list AS l LEFT JOIN pragma_table_xinfo(l.name) AS c
		WHERE l.schema = 'main' AND l.name IN {list}`, string(list))
}

// checkSchema refuses a file whose own tables are not what its version of the schema makes, and returns the
// version. Columns may have been added.
func checkSchema(t tx, inPlace bool) (version int, err error) {
	if version, err = schemaVersionOf(t); err != nil || version == 0 {
		return 0, err
	}
	if version > schemaVersion {
		return version, fmt.Errorf("its schema has version %d, this facescan knows up to %d: use a newer "+
			"facescan", version, schemaVersion)
	}
	want, err := expected(inPlace, version)
	if err != nil {
		return version, err
	}
	if err := compareShapes(t, want); err != nil || inPlace { // a user's triggers are the user's own
		return version, err
	}
	var trigger, on string
	err = t.one("SELECT name, tbl_name FROM sqlite_schema WHERE type = 'trigger'", nil, &trigger, &on)
	if errors.Is(err, sql.ErrNoRows) {
		return version, nil
	}
	if err == nil {
		err = fmt.Errorf("it has a trigger %s on its table %s, which facescan did not make: remove it (DROP "+
			"TRIGGER %s) to use the job", trigger, on, tables.Quote(trigger))
	}
	return version, err
}

func compareShapes(t tx, want map[string]shape) error {
	tables := slices.Sorted(maps.Keys(want))
	have, err := shapes(t, tables)
	if err != nil {
		return err
	}
	for _, table := range tables {
		if have[table] == nil {
			return fmt.Errorf("it has no table %s: the file is damaged, or was not made by facescan", table)
		}
		for _, column := range slices.Sorted(maps.Keys(want[table])) {
			if got, want := have[table][column], want[table][column]; got != want {
				return fmt.Errorf("its %s is not a table that facescan makes (%q is %q, not %q): the file "+
					"is damaged, or was not "+
					"made by facescan", table, column, got, want)
			}
		}
	}
	return nil
}

// expected are the shapes of the tables that a version of the schema makes, without the user's own.
func expected(inPlace bool, version int) (map[string]shape, error) {
	if version < 1 || version > schemaVersion {
		return nil, fmt.Errorf("its schema has version %d, which does not exist", version)
	}
	all := expectedJob
	if inPlace {
		all = expectedTable
	}
	byVersion, err := all()
	if err != nil {
		return nil, fmt.Errorf("make the schema in memory: %w", err)
	}
	return byVersion[version-1], nil
}

var (
	expectedJob   = sync.OnceValues(func() ([]map[string]shape, error) { return allShapes(jobNames) })
	expectedTable = sync.OnceValues(func() ([]map[string]shape, error) {
		return allShapes(Table{Name: "user's", ID: "id", URL: "url", Done: "done"}.names())
	})
)

// allShapes makes every version of the schema in memory.
func allShapes(n names) (out []map[string]shape, err error) {
	db := connect("", nil)
	defer db.Close()
	ctx := context.Background()
	t, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer t.Rollback()
	q := reader{t, n.replacer()}
	var tables []string
	for _, name := range slices.Concat(ownTables, []string{"members", "urls"}) {
		if name = strings.Trim(q.names.Replace("{"+name+"}"), `"`); name != n.urls || n.prefix == "" {
			tables = append(tables, name)
		}
	}
	for version := 1; version <= schemaVersion; version++ {
		text, err := schemas.ReadFile(fmt.Sprintf("schema/%d.sql", version))
		if err != nil {
			return nil, err
		}
		if _, err := q.ExecContext(ctx, string(text)); err != nil {
			return nil, err
		}
		have, err := shapes(tx{ctx: ctx, q: q}, tables)
		if err != nil {
			return nil, err
		}
		out = append(out, have)
	}
	return out, nil
}
