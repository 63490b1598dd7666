package source

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"

	"facescan/store/tables"
)

// database reads a table or a view of a SQLite database, which is opened read-only. Ids are the key: the id
// column, else the rowid. Rows come in its order and, where the key is the table's own, in pages, so that
// programs that write to the database are not held up; another key means one long query.
//
// A table grows by rows with higher keys. Whether it is still the same is seen by the URLs of up to 64 rows
// that are spread over what was read, and of the last one.
type database struct {
	chosen
	ctx     context.Context
	path    string
	db      *sql.DB
	table   string // quoted
	key     string // expression
	paged   bool
	order   []int // which columns a row has: the key, the URL, then the others that are wanted
	query   string
	highest int64 // key, when it was opened; 0 when unknown

	rows     *sql.Rows
	inPage   int // rows of the page so far
	raw      []sql.RawBytes
	dest     []any // pointers to raw
	fields   []string
	read     atomic.Int64 // rows
	lastRead atomic.Int64 // key
	samples  samples
}

const pageRows = 10_000

func openDatabase(ctx context.Context, spec Spec, from Position) (_ Reader, err error) {
	m, err := decodeMark(spec.Path, from.Mark)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(spec.Path); err != nil {
		return nil, err
	}
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: spec.Path}).EscapedPath(),
		RawQuery: "mode=ro&_query_only=1&_busy_timeout=10000"}
	d := &database{ctx: ctx, path: spec.Path}
	if d.db, err = sql.Open("sqlite3", dsn.String()); err != nil {
		return nil, err
	}
	d.db.SetMaxOpenConns(1)
	// A database of unknown origin: its views run nothing that could do harm, its pages are checked.
	if _, err := d.db.ExecContext(ctx,
		"PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON"); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", spec.Path, err), d.db.Close())
	}
	defer func() {
		if err != nil {
			_ = d.Close()
		}
	}()
	if err = d.choose(spec, m.ID); err != nil {
		return nil, err
	}
	d.read.Store(from.Line)
	d.lastRead.Store(m.ID)
	d.samples = samples{step: m.Step, n: from.Line, ids: m.IDs, hashes: m.Blocks, last: m.Last}
	if err = d.checkKeys(); err == nil && from.Line > 0 {
		err = d.compare()
	}
	if err == nil && d.paged {
		err = d.db.QueryRowContext(ctx, "SELECT coalesce(max("+d.key+"), 0) FROM "+d.table).Scan(&d.highest)
		err = d.wrap(err)
	}
	return d, err
}

// choose finds table, key and columns.
func (d *database) choose(spec Spec, lastID int64) error {
	all, err := tables.List(d.each)
	if err != nil {
		return err
	}
	table, ok := tables.Find(all, spec.Table)
	have := tables.Names(all, func(tables.Table) bool { return true })
	switch {
	case len(all) == 0:
		return usagef("%s is a SQLite database without tables: name one that has a table of URLs", d.path)
	case !ok && spec.Table == "":
		return usagef("%s is a SQLite database, and its table of URLs is not named: it has %s: choose with "+
			"--table", d.path, have)
	case !ok:
		return usagef("%s has no table %q; it has %s: choose with --table", d.path, spec.Table, have)
	}
	if err := table.Read(d.each); err != nil {
		return err
	}
	d.table = tables.Quote(table.Name)
	var names []string
	for _, c := range table.Columns {
		if !c.Generated {
			names = append(names, c.Name)
		}
	}
	columns := names
	key, hasKey := table.Key()
	d.paged = table.Kind == "table" && spec.IDColumn == ""
	switch {
	case spec.IDColumn != "":
	case table.Kind != "table":
		return usagef("%s: %s is a %s and has no key of its own: choose its integer key with --id-column",
			d.path, table.Name, table.Kind)
	case table.Rowid() != "":
		spec.IDColumn = table.Rowid()
		columns = append(slices.Clone(columns), spec.IDColumn)
	case table.WithoutRowid && hasKey:
		spec.IDColumn = key.Name
	}
	if spec.IDColumn == "" {
		return usagef("%s: the table %s has no integer key: choose one with --id-column", d.path, table.Name)
	}
	if d.chosen, err = choose(spec, columns, lastID); err != nil {
		return err
	}
	id := d.columns[d.id]
	d.key = tables.Quote(id)
	if !slices.Contains(names, id) {
		d.key = id // the rowid, which is not a column to quote
	} else if hasKey && key.Name == id {
		d.paged = table.Kind == "table"
	}
	d.order = []int{d.id, d.url}
	selected := d.key + ", " + blobOf(d.columns[d.url])
	for _, i := range d.wanted {
		if i != d.id && i != d.url {
			d.order = append(d.order, i)
			selected += ", " + blobOf(d.columns[i])
		}
	}
	d.query = "SELECT " + selected + " FROM " + d.table + " WHERE " + d.key + " > ? ORDER BY " + d.key +
		" LIMIT ?"
	d.fields, d.raw = make([]string, len(d.columns)), make([]sql.RawBytes, len(d.order))
	for i := range d.raw {
		d.dest = append(d.dest, &d.raw[i])
	}
	return nil
}

// blobOf selects a column as a blob: bytes come as they are, and times as they are written.
func blobOf(column string) string { return "CAST(" + tables.Quote(column) + " AS BLOB)" }

// each runs a query to its end.
func (d *database) each(query string, args []any, row func(*sql.Rows) error) error {
	rows, err := d.db.QueryContext(d.ctx, query, args...)
	if err != nil {
		return d.wrap(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return d.wrap(err)
		}
	}
	return d.wrap(rows.Err())
}

func (d *database) wrap(err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", d.path, err)
	}
	return err
}

// checkKeys refuses keys that reading upwards from 1 would pass over.
func (d *database) checkKeys() error {
	where := d.key + " < 1"
	if !d.paged {
		where += " OR typeof(" + d.key + ") <> 'integer' OR " +
			d.key + " IN (SELECT " + d.key + " FROM " + d.table + " GROUP BY 1 HAVING count(*) > 1)"
	}
	query := "SELECT " + d.key + " FROM " + d.table + " WHERE " + where + " LIMIT 1"
	return d.each(query, nil, func(r *sql.Rows) error {
		var id sql.NullString
		if err := r.Scan(&id); err != nil {
			return err
		}
		return fmt.Errorf("%s is %q in a row, and ids are different integers from 1 to %d", d.columns[d.id],
			id.String, int64(maxID-1))
	})
}

// compare returns a *ChangedError if a row that was sampled is not the same.
func (d *database) compare() error {
	want := map[int64]uint64{d.lastID: d.samples.last}
	for i, id := range d.samples.ids {
		want[id] = d.samples.hashes[i]
	}
	args := make([]any, 0, len(want))
	for id := range want {
		args = append(args, id)
	}
	query := "SELECT " + d.key + ", " + blobOf(d.columns[d.url]) + " FROM " + d.table + " WHERE " + d.key +
		" IN (?" + strings.Repeat(",?", len(args)-1) + ")"
	err := d.each(query, args, func(r *sql.Rows) error {
		var id int64
		var text sql.RawBytes
		if err := r.Scan(&id, &text); err != nil {
			return err
		}
		if want[id] == xxhash.Sum64(text) {
			delete(want, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for id := range want {
		return &ChangedError{d.path, fmt.Sprintf("the row with %s %d is gone or has another URL",
			d.columns[d.id], id)}
	}
	return nil
}

func (d *database) Next(dst []Row) (int, error) { return fill(dst, d.next) }

func (d *database) next(row *Row, _ bool) error {
	for {
		if d.rows == nil {
			limit := -1
			if d.paged {
				limit = pageRows
			}
			var err error
			d.rows, err = d.db.QueryContext(d.ctx, d.query, d.lastID, limit)
			if err != nil {
				d.rows = nil
				return d.wrap(err)
			}
			d.inPage = 0
		}
		if d.rows.Next() {
			break
		}
		err := d.rows.Err()
		_ = d.rows.Close()
		d.rows = nil
		if err != nil {
			return d.wrap(err)
		}
		if d.inPage < pageRows {
			return io.EOF
		}
	}
	if err := d.rows.Scan(d.dest...); err != nil {
		return d.wrap(err)
	}
	d.inPage++
	for i, column := range d.order {
		d.fields[column] = string(d.raw[i][:min(len(d.raw[i]), maxRecord)])
	}
	if err := d.row(row, d.read.Load()+1, d.fields); err != nil {
		_ = d.rows.Close()
		d.rows = nil // so that the same row comes again
		return err
	}
	spoil(row, d.raw[1] == nil)
	d.samples.add(row.ID, d.raw[1])
	d.read.Add(1)
	d.lastRead.Store(row.ID)
	return nil
}

func (d *database) Position() Position {
	s := &d.samples
	m := mark{Step: s.step, IDs: s.ids, Blocks: s.hashes, Last: s.last, ID: d.lastID}
	return Position{Line: d.read.Load(), Mark: m.encode()}
}

// Progress goes by keys, which are seldom far from evenly spread.
func (d *database) Progress() float64 {
	if d.highest == 0 {
		return 0
	}
	return min(1, float64(d.lastRead.Load())/float64(d.highest))
}

func (d *database) Close() error {
	if d.rows != nil {
		_ = d.rows.Close()
	}
	return d.db.Close()
}

// samples are the URLs, hashed, of every step-th row, with the step doubled whenever 64 are held, and of the
// last one.
type samples struct {
	step, n int64
	ids     []int64
	hashes  []uint64
	last    uint64
}

func (s *samples) add(id int64, url []byte) {
	s.last = xxhash.Sum64(url)
	if s.n%s.step == 0 && len(s.ids) == maxBlocks {
		for i := range maxBlocks / 2 {
			s.ids[i], s.hashes[i] = s.ids[2*i], s.hashes[2*i]
		}
		s.ids, s.hashes = s.ids[:maxBlocks/2], s.hashes[:maxBlocks/2]
		s.step *= 2
	}
	if s.n%s.step == 0 {
		s.ids, s.hashes = append(s.ids, id), append(s.hashes, s.last)
	}
	s.n++
}
