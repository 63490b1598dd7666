package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"facescan/store"
	"facescan/store/tables"
)

// A user's table, in place. The rows stay where they are; our own tables go into the same file under names
// that begin with facescan_. Nothing else in the file changes but the Done column. The table is the truth:
// what the user deletes, adds, or marks done or not done between or during runs is noticed when Adopt passes
// by, or verify. Rows that were done before the job saw them are outside it.

const tablePrefix = "facescan_"

// TableOptions names a table and its columns, in any case. What is empty is found: the columns that the job
// has used before; else id, url and done by their names, id also as the table's INTEGER PRIMARY KEY.
type TableOptions struct {
	Table, ID, URL, Done, Group, Hash string
	Keep                              []string
}

// Table is a table that can be worked on in place.
type Table struct {
	Path, Name    string
	ID, URL, Done string
	Group, Hash   string   // may be empty
	Keep          []string // columns
	AddsDone      bool     // there is no Done column yet
	New           bool     // there is no job on it yet
}

// Changes are the statements, in words close to SQL, that opening the table's job will run.
func (d Table) Changes() (out []string) {
	if d.AddsDone {
		out = append(out, fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s INTEGER DEFAULT 0", tables.Quote(d.Name),
			tables.Quote(d.Done)))
	}
	if d.New {
		for _, t := range append(slices.Clone(ownTables), "members") {
			out = append(out, "CREATE TABLE "+tablePrefix+t)
		}
		for _, i := range ownIndexes {
			out = append(out, "CREATE INDEX "+tablePrefix+i)
		}
	}
	return out
}

// errTable refuses a table for a reason, and says what can be done instead.
func errTable(format string, args ...any) error {
	return fmt.Errorf(format+"; copy its rows into a job of their own with --db JOB", args...)
}

// InspectTable says what OpenTable would do, and changes nothing. It refuses views, WITHOUT ROWID tables and
// tables without a unique integer column.
func InspectTable(ctx context.Context, path string, o TableOptions) (d Table, err error) {
	if is, err := IsDatabase(path); err != nil || !is {
		return d, wrap("read "+path, errors.Join(err, errors.New("it is not an SQLite database")))
	}
	db := connect(path, url.Values{"mode": {"rw"}, "_query_only": {"true"}, "_busy_timeout": {"60000"}})
	defer db.Close()
	err = pool{db}.view(ctx, names{prefix: tablePrefix}.replacer(), func(t tx) (err error) {
		d, err = inspect(t, o)
		return err
	})
	d.Path = path
	return d, wrap("table of "+path, err)
}

func inspect(t tx, o TableOptions) (d Table, err error) {
	version, err := checkSchema(t, true)
	if err != nil {
		return d, err
	}
	d.New = version == 0
	if !d.New {
		if o, err = before(t, o); err != nil {
			return d, err
		}
	}
	all, err := tables.List(t.each)
	if err != nil {
		return d, err
	}
	if o.Table == "" {
		return d, fmt.Errorf("name the table of URLs with --table: it has %s", theirs(all))
	}
	table, known := tables.Find(all, o.Table)
	d.Name = table.Name
	switch {
	case isOwn(o.Table):
		return d, fmt.Errorf("%s is not a table of yours", o.Table)
	case !known:
		return d, fmt.Errorf("there is no table %s; there are %s", o.Table, theirs(all))
	case table.Kind != "table":
		return d, errTable("%s is a %s, which cannot be marked in place", d.Name, table.Kind)
	case table.WithoutRowid:
		return d, errTable("%s is a WITHOUT ROWID table, which cannot be marked in place", d.Name)
	}
	if err := table.Read(t.each); err != nil {
		return d, err
	}
	return d, d.chooseColumns(t, table, o)
}

// chooseColumns finds the columns of the table.
func (d *Table) chooseColumns(t tx, table tables.Table, o TableOptions) error {
	key, hasKey := table.Key()
	find := func(flag, name string) (tables.Column, error) {
		c, known := table.Column(name)
		if known {
			return c, nil
		}
		var all []string
		for _, c := range table.Columns {
			all = append(all, c.Name)
		}
		return c, fmt.Errorf("table %s has no column %s; name one of these with %s: %s; a table without a "+
			"fitting one can be copied with --db JOB", d.Name, name, flag, strings.Join(all, ", "))
	}
	id, err := find("--id-column", cmp.Or(o.ID, "id"))
	if err != nil && o.ID == "" && hasKey {
		id, err = key, nil
	}
	if err == nil {
		err = checkKey(t, d.Name, id, hasKey && id == key)
	}
	if err != nil {
		return err
	}
	address, err := find("--url-column", cmp.Or(o.URL, "url"))
	if err != nil {
		return err
	}
	d.ID, d.URL, d.Done = id.Name, address.Name, cmp.Or(o.Done, "done")
	done, there := table.Column(d.Done)
	d.AddsDone = !there
	if there {
		d.Done = done.Name
		if done.Generated {
			return errTable("column %s of %s is computed and cannot be set", done.Name, d.Name)
		}
	}
	for _, column := range []struct {
		flag, name string
		to         *string
	}{{"--group-column", o.Group, &d.Group}, {"--verify-hash", o.Hash, &d.Hash}} {
		if column.name == "" {
			continue
		}
		c, err := find(column.flag, column.name)
		if err != nil {
			return err
		}
		*column.to = c.Name
	}
	for _, name := range o.Keep {
		c, err := find("--keep-columns", name)
		if err != nil {
			return err
		}
		d.Keep = append(d.Keep, c.Name)
	}
	if d.ID == d.Done || d.URL == d.Done || d.ID == d.URL {
		return fmt.Errorf("columns %s, %s and %s of %s must be three", d.ID, d.URL, d.Done, d.Name)
	}
	return nil
}

// isOwn reports whether a table is one of facescan's, or of SQLite's.
func isOwn(table string) bool {
	table = strings.ToLower(table)
	return strings.HasPrefix(table, tablePrefix) || strings.HasPrefix(table, "sqlite_")
}

// theirs lists the user's tables, for messages.
func theirs(all []tables.Table) string {
	return tables.Names(all, func(t tables.Table) bool { return t.Kind == "table" && !isOwn(t.Name) })
}

// checkKey refuses a column that does not name each row by an integer.
func checkKey(t tx, table string, c tables.Column, isKey bool) error {
	t = t.with(names{urls: table, id: c.Name})
	if !strings.Contains(c.Type, "INT") {
		return errTable("column %s of %s has type %q, and rows are named by integers", c.Name, table, c.Type)
	}
	unique := isKey
	if !unique {
		err := t.one(`SELECT EXISTS (SELECT 1 FROM pragma_index_list(?1) AS l WHERE l."unique"
			AND NOT l.partial AND
			(SELECT count(*) = 1 AND max(i.name) = ?2 FROM pragma_index_info(l.name) AS i))`,
			[]any{table, c.Name}, &unique)
		if err != nil {
			return err
		}
	}
	if !unique {
		return errTable("column %s of %s is not unique", c.Name, table)
	}
	if isKey && c.Type == "INTEGER" {
		return nil // the row's own number, an integer always
	}
	var other string
	err := t.one("SELECT typeof({id}) FROM {urls} WHERE typeof({id}) <> 'integer' LIMIT 1", nil, &other)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return errTable("column %s of %s has a value of type %s among its integers", c.Name, table, other)
}

// before fills the options with what the job in the file has used until now; another table or other columns
// are refused.
func before(t tx, o TableOptions) (TableOptions, error) {
	var name, options string
	if err := t.one("SELECT name, options FROM {sources}", nil, &name, &options); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return o, nil // killed before the source was there
		}
		return o, err
	}
	used := TableOptions{}
	if err := json.Unmarshal([]byte(options), &used); err != nil {
		return o, err
	}
	used.Table = name
	for _, c := range []struct{ given, used *string }{{&o.Table, &used.Table}, {&o.ID, &used.ID},
		{&o.URL, &used.URL}, {&o.Done, &used.Done}, {&o.Group, &used.Group},
		{&o.Hash, &used.Hash}} {
		if *c.given != "" && !strings.EqualFold(*c.given, *c.used) {
			return o, fmt.Errorf("the job in this file works with %q, not with %q; use a copy of the file, "+
				"or a job of its own with --db JOB", *c.used, *c.given)
		}
	}
	if len(o.Keep) > 0 && !slices.EqualFunc(o.Keep, used.Keep, strings.EqualFold) {
		return o, fmt.Errorf("the job in this file keeps the columns %s, not %s; leave "+
			"--keep-columns out, or make a job of its own with --db JOB",
			cmp.Or(strings.Join(used.Keep, ", "), "none"), strings.Join(o.Keep, ", "))
	}
	return used, nil
}

// names of the table and its columns. A value other than a number is done when it is a word for yes.
func (d Table) names() names {
	text := func(token string) string { return "coalesce(CAST(u." + token + " AS TEXT), '')" }
	n := names{
		urls: d.Name, id: d.ID, url: d.URL, done: d.Done, prefix: tablePrefix, address: text("{url}"),
		group: "''", kept: "NULL", hash: "''",
		members: tablePrefix + "members", ofSource: "1", columns: map[string]string{},
		pending: `CASE typeof(u.{done}) WHEN 'integer' THEN u.{done} = 0 WHEN 'null' THEN 1
			WHEN 'real' THEN u.{done} = 0.0
			ELSE lower(trim(u.{done})) NOT IN ('true', 't', 'yes', 'y', 'on')
			AND CAST(u.{done} AS REAL) = 0 END`,
	}
	n.ours = "(" + n.pending + ") OR u.{id} IN (SELECT id FROM {results})"
	if d.Group != "" {
		n.columns["{group_column}"] = d.Group
		n.group = text("{group_column}")
	}
	if d.Hash != "" {
		n.columns["{hash_column}"] = d.Hash
		n.hash = "coalesce(iif(typeof(u.{hash_column}) = 'blob', hex(u.{hash_column}), " +
			"trim(CAST(u.{hash_column} AS TEXT))), '')"
	}
	if len(d.Keep) > 0 {
		var values []string
		for i, name := range d.Keep {
			token := fmt.Sprintf("{kept_column_%d}", i)
			n.columns[token] = name
			values = append(values, text(token))
		}
		n.kept = "json_array(" + strings.Join(values, ", ") + ")"
	}
	return n
}

// OpenTable opens the job on a table of a user's file, making it when there is none. A job file of our own is
// refused.
func OpenTable(ctx context.Context, path string, o TableOptions) (store.Job, error) {
	doing := "open table of " + path
	if is, err := IsJob(path); err != nil || is {
		return nil, wrap(doing, errors.Join(err, errors.New("the file is a job of facescan's own")))
	}
	d, err := InspectTable(ctx, path, o)
	if err != nil {
		return nil, err
	}
	if d.AddsDone {
		if err := d.addDone(ctx); err != nil {
			return nil, wrap(doing, err)
		}
	}
	j, err := open(ctx, path, d.names(), true)
	if err != nil {
		return nil, wrap(doing, err)
	}
	options, err := json.Marshal(TableOptions{ID: d.ID, URL: d.URL, Done: d.Done, Group: d.Group,
		Hash: d.Hash, Keep: d.Keep})
	if err == nil {
		err = j.writer.update(ctx, "open table", func(t tx) error {
			_, err := t.exec("INSERT INTO {sources} (number, name, format, options, last_id) "+
				"VALUES (0, ?, ?, ?, 0) ON CONFLICT DO NOTHING", d.Name, store.TableFormat, string(options))
			if err != nil {
				return err
			}
			return sealSource(t, 0)
		})
	}
	if err != nil {
		return nil, wrap(doing, errors.Join(err, j.Close()))
	}
	return j, nil
}

// addDone adds the Done column, unless another process was quicker.
func (d Table) addDone(ctx context.Context) error {
	db := connect(d.Path, url.Values{"mode": {"rw"}, "_txlock": {"immediate"}, "_synchronous": {"FULL"},
		"_busy_timeout": {"60000"}})
	defer db.Close()
	t, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer t.Rollback() // nothing, once it is committed
	there := false
	err = t.QueryRowContext(ctx, "SELECT count(*) > 0 FROM pragma_table_xinfo(?) "+
		"WHERE name = ? COLLATE NOCASE", d.Name, d.Done).Scan(&there)
	if err != nil || there {
		return err
	}
	if _, err := t.ExecContext(ctx, d.Changes()[0]); err != nil {
		return err
	}
	return t.Commit()
}
