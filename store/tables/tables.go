// Package tables reads which tables and columns there are in a user's SQLite database, both to work on a
// table in place and to copy its rows.
package tables

import (
	"database/sql"
	"strings"
)

// Each runs a query and calls row for each row that it finds.
type Each func(query string, args []any, row func(*sql.Rows) error) error

// Table is a table, or a view.
type Table struct {
	Name         string
	Kind         string // table, view or virtual
	WithoutRowid bool
	Columns      []Column // of one table; List does not read them
}

// Column is one of a table's.
type Column struct {
	Name      string
	Type      string // in upper case, as it was declared
	Key       int    // place in the primary key, from 1; 0 when it is not part of it
	Generated bool   // computed, and cannot be set
}

// List lists tables and views by name, without SQLite's own.
func List(each Each) (all []Table, err error) {
	return all, each(`SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' AND type <> 'shadow'
		AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name`, nil, func(r *sql.Rows) error {
		var t Table
		err := r.Scan(&t.Name, &t.Kind, &t.WithoutRowid)
		all = append(all, t)
		return err
	})
}

// Find finds a table among others by its name, exactly or else in any case.
func Find(all []Table, name string) (Table, bool) {
	return find(all, name, func(t Table) string { return t.Name })
}

// Names are the names of those tables that satisfy a condition, for messages.
func Names(all []Table, which func(Table) bool) string {
	var names []string
	for _, t := range all {
		if which(t) {
			names = append(names, t.Name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// Read reads the columns of a table.
func (t *Table) Read(each Each) error {
	t.Columns = nil
	return each("SELECT name, upper(type), pk, hidden <> 0 FROM pragma_table_xinfo(?)", []any{t.Name},
		func(r *sql.Rows) error {
			var c Column
			err := r.Scan(&c.Name, &c.Type, &c.Key, &c.Generated)
			t.Columns = append(t.Columns, c)
			return err
		})
}

// Column finds a column by its name, exactly or else in any case.
func (t *Table) Column(name string) (Column, bool) {
	return find(t.Columns, name, func(c Column) string { return c.Name })
}

// Key is the column that is the primary key alone.
func (t *Table) Key() (Column, bool) {
	var keys []Column
	for _, c := range t.Columns {
		if c.Key > 0 {
			keys = append(keys, c)
		}
	}
	if len(keys) != 1 {
		return Column{}, false
	}
	return keys[0], true
}

// Rowid is a name by which SQL reaches the number that SQLite itself gives each row; empty if there is none.
func (t *Table) Rowid() string {
	if t.Kind == "table" && !t.WithoutRowid {
		for _, name := range []string{"rowid", "_rowid_", "oid"} {
			if _, taken := t.Column(name); !taken {
				return name
			}
		}
	}
	return ""
}

// Quote makes any name an SQL identifier.
func Quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// find finds a name, exactly or else the first one in any case.
func find[T any](all []T, name string, nameOf func(T) string) (found T, ok bool) {
	for _, v := range all {
		switch {
		case nameOf(v) == name:
			return v, true
		case !ok && strings.EqualFold(nameOf(v), name):
			found, ok = v, true
		}
	}
	return found, ok
}
