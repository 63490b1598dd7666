package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

	"facescan/store"
)

// Append implements store.Session.
func (s *session) Append(ctx context.Context, l store.SourceLease, rows []store.NewRow, p store.Position,
	complete bool, shardSize int) error {
	return s.AppendAll(ctx, []store.Addition{{Lease: l, Rows: rows, Position: p, Complete: complete}},
		shardSize)
}

// AppendAll implements store.Session.
func (s *session) AppendAll(ctx context.Context, all []store.Addition, shardSize int) error {
	if len(all) == 0 {
		return nil
	}
	if err := s.checkOwn("append", ""); err != nil {
		return err
	}
	doing := store.Appending(all)
	if err := store.CheckShardSize(shardSize); err != nil {
		return wrap(doing, err)
	}
	all, ends := store.SplitAllEnds(all)
	return wrap(doing, s.writer.update(ctx, "append", func(t tx) error {
		states, err := s.imports(t, all)
		if err != nil {
			return err
		}
		for i, a := range all {
			if err := store.CheckRows(a.Rows, states[i].last, a.Lease.Source); err != nil {
				return err
			}
		}
		rows := store.AllRows(all)
		if err := insertRows(t, rows); err != nil {
			return err
		}
		if err := insertFiles(t, store.FilesOf(rows)); err != nil {
			return err
		}
		var shards cuts
		for i, a := range all {
			if err := countRows(t, a.Lease.Source, a.Rows); err != nil {
				return err
			}
			if err := s.insertResults(t, store.BadResults(a.Rows)); err != nil {
				return err
			}
			if err := endGroups(t, a.Lease.Source, ends[i]); err != nil {
				return err
			}
			if states[i].last, err = shards.cut(t, a.Rows, states[i].last, a.Lease.Source,
				shardSize); err != nil {
				return err
			}
		}
		if err := shards.insert(t); err != nil {
			return err
		}
		for i, a := range all {
			if err := advance(t, states[i], a.Position, a.Complete, len(a.Rows)); err != nil {
				return err
			}
		}
		return nil
	}))
}

// importing is a source as far as its import goes, and the last id.
type importing struct {
	store.Source
	last int64
}

const importColumns = "s.last_id, s.number, s.name, s.format, s.options, s.complete, s.paused, s.priority"

func (i *importing) dest() []any {
	return []any{&i.last, &i.Number, &i.Name, &i.Format, &i.Options, &i.Complete, &i.Paused, &i.Priority}
}

// imports reads where the imports of sources are, all of which have to be leased.
func (s *session) imports(t tx, all []store.Addition) ([]importing, error) {
	ls := make([]store.SourceLease, len(all))
	for i := range all {
		ls[i] = all[i].Lease
	}
	out, held := make([]importing, len(all)), 0
	var i int
	var one importing
	err := t.scan(append([]any{&i}, one.dest()...), func() {
		out[i] = one
		held++
	}, "SELECT l.key, "+importColumns+` FROM json_each(?) AS l CROSS JOIN {sources} AS s
		ON s.number = l.value ->> 0 AND +s.importer = ? AND s.generation = l.value ->> 1`,
		importList(ls), s.number)
	if err == nil && held < len(all) {
		err = store.ErrLeaseLost
	}
	return out, err
}

// insertRows adds rows, done if they are Bad. It names only the columns that some row has a value for: the
// usual list binds two values a row.
func insertRows(t tx, rows []store.NewRow) error {
	var bad, wide bool
	var hashes []any
	for i := range rows {
		bad = bad || rows[i].Bad
		wide = wide || rows[i].Group != "" || len(rows[i].Kept) > 0
		if rows[i].Hash != "" {
			hashes = append(hashes, rows[i].ID, rows[i].Hash)
		}
	}
	width, head := 2, "INSERT INTO {urls} ({id}, {url}"
	if bad {
		width, head = width+1, head+", {done}"
	}
	if wide {
		width, head = width+2, head+`, "group", kept`
	}
	const chunk = 1000
	values := make([]any, 0, chunk*width)
	for len(rows) > 0 {
		n := min(chunk, len(rows))
		values = values[:0]
		for i := range n {
			r := &rows[i]
			values = append(values, r.ID, r.URL)
			if bad {
				values = append(values, r.Bad)
			}
			if wide {
				values = append(values, orNil(r.Group), packKept(r.Kept))
			}
		}
		if err := t.bulk(head+")", width, values, ""); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return t.bulk("INSERT INTO {checksums} (id, hash)", 2, hashes, "")
}

// advance moves the import of a source on by so many rows, up to its last id by now.
func advance(t tx, s importing, p store.Position, complete bool, rows int) error {
	if complete && !s.Complete {
		t.imported(s.Number)
	}
	s.Position, s.Complete = p, complete
	_, err := t.exec(`UPDATE {sources} SET offset = ?, line = ?, list_rows = ?, mark = ?, complete = ?,
		rows = rows + ?, last_id = ?,
		checksum = ? WHERE number = ?`, p.Offset, p.Line, p.Rows, p.Mark, complete, rows, s.last,
		s.Checksum(), s.Number)
	return err
}

// orNil stores what is empty as NULL, which takes no room.
func orNil[T ~string | ~uint8](v T) any {
	var none T
	if v == none {
		return nil
	}
	return v
}

// orNull stores no bytes as NULL, likewise.
func orNull(b []byte) any {
	if len(b) == 0 {
		return nil
	}
	return b
}

func packKept(kept []string) any {
	if len(kept) == 0 {
		return nil
	}
	b, err := json.Marshal(kept)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

// cuts are new shards to insert: lo, hi, source, rows and pending of each.
type cuts []any

// cut puts rows above all others of their source into shards, and returns the last one's id.
func (c *cuts) cut(t tx, rows []store.NewRow, last int64, source, shardSize int) (int64, error) {
	if len(rows) == 0 {
		return last, nil
	}
	var tail store.Shard
	room := int64(0)
	if last > store.FirstOf(source) { // else it has no shard
		free := false
		err := t.one(`SELECT lo, hi, rows, owner IS NULL AND source = ? FROM {shards} WHERE lo <= ?
			ORDER BY lo DESC LIMIT 1`, []any{source, last}, &tail.Lo, &tail.Hi, &tail.Rows, &free)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, err
		}
		if free {
			room = tail.Room(last, shardSize)
		}
	}
	grown, fresh := store.CutRows(rows, last, room, shardSize)
	if grown.Rows > 0 {
		_, err := t.exec("UPDATE {shards} SET hi = ?, rows = rows + ?, pending = pending + ? WHERE lo = ?",
			grown.Hi, grown.Rows, grown.Pending, tail.Lo)
		if err != nil {
			return 0, err
		}
	}
	for _, n := range fresh {
		*c = append(*c, n.Lo, n.Hi, source, n.Rows, n.Pending)
	}
	return rows[len(rows)-1].ID, nil
}

func (c cuts) insert(t tx) error {
	return t.bulk("INSERT INTO {shards} (lo, hi, source, rows, pending)", 5, c, "")
}
