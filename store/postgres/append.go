package postgres

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

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
	doing := store.Appending(all)
	if err := store.CheckShardSize(shardSize); err != nil {
		return s.wrap(doing, err)
	}
	all, ends := store.SplitAllEnds(all)
	rows := store.AllRows(all)
	bad := store.BadResults(rows)
	part, err := s.nextPart(ctx)
	if err != nil {
		return s.wrap(doing, err)
	}
	again, begins := false, false
	err = s.update(ctx, func(t pgx.Tx) error {
		was, err := s.imports(ctx, t, all)
		if err != nil {
			return err
		}
		for i, a := range all {
			if again && was[i].isAt(a) {
				return nil // the try before this one was committed, though its answer was lost
			}
			if err := store.CheckRows(a.Rows, was[i].last, a.Lease.Source); err != nil {
				return err
			}
		}
		again = true
		if err := copyRows(ctx, t, rows); err != nil {
			return err
		}
		if err := copyFiles(ctx, t, store.FilesOf(rows)); err != nil {
			return err
		}
		if err := copyResults(ctx, t, bad, nil); err != nil {
			return err
		}
		var effects []effect
		counted := 0 // of bad
		var shards cuts
		var to advances
		b := &pgx.Batch{}
		for i, a := range all {
			begins = begins || was[i].last == store.FirstOf(a.Lease.Source)
			e := effect{source: a.Lease.Source, imported: a.Complete && !was[i].complete}
			e.members(a.Rows)
			e.end(ends[i])
			for _, r := range a.Rows {
				if r.Bad {
					e.add(&bad[counted], r.Group) // in the order of all rows
					counted++
				}
			}
			effects = append(effects, e)
			last, err := shards.cut(ctx, t, b, a.Rows, was[i].last, a.Lease.Source, shardSize)
			if err != nil {
				return err
			}
			to = append(to, advance{a.Lease.Source, a.Position, a.Complete, len(a.Rows), last})
		}
		shards.insert(b)
		if err := to.update(ctx, t, b); err != nil {
			return err
		}
		return s.apply(ctx, t, b, part, effects...)
	})
	if begins {
		s.openings.Add(1) // later rows are found in time
	}
	return s.wrap(doing, err)
}

// importing is where the import of a source is.
type importing struct {
	last     int64 // id
	at       store.Position
	complete bool
}

// isAt reports whether an addition has been written.
func (i importing) isAt(a store.Addition) bool {
	n := len(a.Rows)
	return n > 0 && a.Rows[n-1].ID == i.last && i.at.Offset == a.Position.Offset &&
		i.at.Line == a.Position.Line && bytes.Equal(i.at.Mark, a.Position.Mark)
}

// imports locks sources, all of which have to be leased, and reads where their imports are.
func (s *session) imports(ctx context.Context, t pgx.Tx, all []store.Addition) ([]importing, error) {
	numbers, generations := splitImports(values(all,
		func(a store.Addition) store.SourceLease { return a.Lease }))
	out, held := make([]importing, len(all)), 0
	var i int
	var one importing
	err := each(ctx, t, []any{&i, &one.last, &one.at.Offset, &one.at.Line, &one.at.Mark, &one.complete},
		func() {
			out[i-1] = one
			one.at.Mark = nil
			held++
		}, `SELECT l.at, s.last_id, s.byte_offset, s.line, s.mark, s.complete
		FROM unnest($1::int[], $2::bigint[]) WITH ORDINALITY AS l (number, generation, at)
		JOIN sources AS s ON s.number = l.number AND s.importer = $3 AND s.generation = l.generation
		ORDER BY s.number FOR UPDATE OF s`, numbers, generations, s.number)
	if err == nil && held < len(all) {
		err = store.ErrLeaseLost
	}
	return out, err
}

// advance moves the import of a source on: by so many rows, up to the last one's id.
type advance struct {
	source   int
	at       store.Position
	complete bool
	rows     int
	last     int64
}

// advances are of different sources, which are locked.
type advances []advance

func (as advances) update(ctx context.Context, t pgx.Tx, b *pgx.Batch) error {
	sums, index := make([]int32, len(as)), make(map[int]int, len(as))
	for i, a := range as {
		index[a.source] = i
	}
	numbers := values(as, func(a advance) int { return a.source })
	err := eachSummed(ctx, t, slices.Min(numbers), slices.Max(numbers), func(s store.Source, _ *int32) {
		if i, is := index[s.Number]; is {
			s.Position, s.Complete = as[i].at, as[i].complete
			sums[i] = s.Checksum()
		}
	})
	b.Queue(`UPDATE sources AS s SET byte_offset = a.byte_offset, line = a.line, mark = a.mark,
			complete = a.complete, rows = s.rows + a.rows, last_id = a.last_id, list_rows = a.list_rows,
			checksum = a.checksum
		FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::bytea[], $5::boolean[], $6::bigint[],
			$7::bigint[], $8::bigint[], $9::int[])
			AS a (number, byte_offset, line, mark, complete, rows, last_id, list_rows, checksum)
		WHERE s.number = a.number`, numbers,
		values(as, func(a advance) int64 { return a.at.Offset }),
		values(as, func(a advance) int64 { return a.at.Line }),
		values(as, func(a advance) []byte { return a.at.Mark }),
		values(as, func(a advance) bool { return a.complete }),
		values(as, func(a advance) int { return a.rows }),
		values(as, func(a advance) int64 { return a.last }),
		values(as, func(a advance) int64 { return a.at.Rows }), sums)
	return err
}

// copyRows adds rows. It names only the columns that some row has a value for.
func copyRows(ctx context.Context, t pgx.Tx, rows []store.NewRow) error {
	if len(rows) == 0 {
		return nil
	}
	wide := false
	for i := range rows {
		wide = wide || rows[i].Group != "" || len(rows[i].Kept) > 0 || rows[i].Hash != ""
	}
	columns := []string{"id", "url"}
	if wide {
		columns = append(columns, "group", "kept", "hash")
	}
	return copyIn(ctx, t, "rows", columns, len(rows), func(f *fields, i int) {
		f.bigint(rows[i].ID)
		f.text(rows[i].URL)
		if wide {
			f.textOrNull(rows[i].Group)
			f.texts(rows[i].Kept)
			f.textOrNull(rows[i].Hash)
		}
	})
}

// cuts are new shards to insert.
type cuts []store.Shard

// cut puts rows above all others of their source into shards, and returns the last one's id.
func (c *cuts) cut(ctx context.Context, t pgx.Tx, b *pgx.Batch, rows []store.NewRow, last int64,
	source, shardSize int) (int64, error) {
	if len(rows) == 0 {
		return last, nil
	}
	var tail store.Shard
	room := int64(0)
	if last > store.FirstOf(source) { // else it has no shard
		// A shard that is just being claimed, cut or joined is not waited for.
		err := t.QueryRow(ctx, `SELECT lo, hi, rows FROM shards WHERE lo <= $1 AND source = $2
			AND owner IS NULL
			ORDER BY lo DESC LIMIT 1 FOR UPDATE SKIP LOCKED`, last, source).Scan(&tail.Lo, &tail.Hi,
			&tail.Rows)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return last, err
		}
		if err == nil {
			room = tail.Room(last, shardSize)
		}
	}
	grown, fresh := store.CutRows(rows, last, room, shardSize)
	if grown.Rows > 0 {
		b.Queue("UPDATE shards SET hi = $2, rows = rows + $3, pending = pending + $4 WHERE lo = $1",
			tail.Lo, grown.Hi, grown.Rows, grown.Pending)
	}
	*c = append(*c, fresh...)
	return rows[len(rows)-1].ID, nil
}

func (c cuts) insert(b *pgx.Batch) {
	if len(c) > 0 {
		los, his, rows, pendings := splitShards(c)
		b.Queue("INSERT INTO shards (lo, hi, source, rows, pending) SELECT lo, hi, lo >> $5, rows, pending "+
			"FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) "+
			"AS s (lo, hi, rows, pending)", los, his, rows, pendings, store.SourceShift)
	}
}

// splitShards lists shards by what they are stored as.
func splitShards(all []store.Shard) (los, his, rows, pendings []int64) {
	for _, c := range all {
		los, his = append(los, c.Lo), append(his, c.Hi)
		rows, pendings = append(rows, c.Rows), append(pendings, c.Pending)
	}
	return los, his, rows, pendings
}
