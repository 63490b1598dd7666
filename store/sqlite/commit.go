package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"strings"

	"facescan/store"
)

// Commit implements store.Session.
func (s *session) Commit(ctx context.Context, l store.Lease, results []store.Result) error {
	return store.CommitOne(ctx, s, l, results)
}

// CommitAll implements store.Session.
func (s *session) CommitAll(ctx context.Context, batches []store.Batch) (lost []int, err error) {
	doing, err := store.Committing(batches)
	if err != nil {
		return nil, err
	}
	var kept []store.Batch
	err = s.writer.update(ctx, "commit", func(t tx) error {
		held, suspects, err := s.held(t, batches)
		if err != nil {
			return err
		}
		var released []store.Lease
		kept, lost, released = store.HeldBatches(batches, held)
		if err := s.commit(t, kept, suspects); err != nil || len(released) == 0 {
			return err
		}
		return s.release(t, released)
	})
	return lost, wrap(doing, s.explain(ctx, err, store.ResultIDs(store.AllResults(kept)), true))
}

// commit writes the results of batches, whose leases are held, and counts them.
func (s *session) commit(t tx, batches []store.Batch, suspects bool) error {
	batches, err := s.markFresh(t, batches)
	results := store.AllResults(batches)
	if err != nil || len(results) == 0 {
		return err
	}
	ids := store.ResultIDs(results)
	if suspects {
		if _, err := t.exec("DELETE FROM {suspects} WHERE id IN {list}", idList(ids)); err != nil {
			return err
		}
	}
	if s.inPlace { // the user may have cleared Done flags, or added rows, since they were counted
		if _, err := s.dropResults(t, 0, resultsIn, idList(ids)); err != nil {
			return err
		}
	}
	if err := s.insertResults(t, results); err != nil {
		return err
	}
	if !s.inPlace {
		return countDone(t, batches)
	}
	for _, b := range batches {
		shard, err := shardAt(t, b.Lease.Shard)
		if err == nil {
			_, err = recount(t, shard)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// held reports which of the batches' shards are leased as they say, and whether there are suspects.
func (s *session) held(t tx, batches []store.Batch) (held []bool, suspects bool, err error) {
	list := pairs(len(batches), func(i int) (a, b int64) {
		return batches[i].Lease.Shard, batches[i].Lease.Generation
	})
	held = make([]bool, len(batches))
	var i int
	err = t.scan([]any{&i, &suspects}, func() { held[i] = true },
		`SELECT l.key, EXISTS (SELECT 1 FROM {suspects}) FROM json_each(?) AS l CROSS JOIN {shards} AS h
		ON h.lo = l.value ->> 0 AND +h.owner = ? AND h.generation = l.value ->> 1`, list, s.number)
	return held, suspects, err
}

// countDone counts the results of batches out of the pending rows of their shards.
func countDone(t tx, batches []store.Batch) error {
	if len(batches) == 1 {
		_, err := t.exec("UPDATE {shards} SET pending = pending - ? WHERE lo = ?", len(batches[0].Results),
			batches[0].Lease.Shard)
		return err
	}
	_, err := t.exec("UPDATE {shards} AS h SET pending = h.pending - (l.value ->> 1) FROM json_each(?) AS l "+
		"WHERE h.lo = l.value ->> 0", pairs(len(batches),
		func(i int) (a, b int64) { return batches[i].Lease.Shard, int64(len(batches[i].Results)) }))
	return err
}

// markDone sets the Done flags of rows, and returns those of them that were pending.
func (j *job) markDone(t tx, ids []int64) ([]int64, error) {
	if j.inPlace {
		return mark(t, ids, true)
	}
	return column[int64](t, markRows+" RETURNING {id}", idList(ids))
}

const markRows = "UPDATE {urls} AS u SET {done} = 1 WHERE u.{id} IN {list} AND {pending}"

// markFresh is markDone for batches, where all rows that are done have their results: it leaves the results
// of rows that were pending. Mostly all are: to ask for the ids would cost more than to mark them.
func (j *job) markFresh(t tx, batches []store.Batch) ([]store.Batch, error) {
	ids := store.ResultIDs(store.AllResults(batches))
	if j.inPlace {
		marked, err := mark(t, ids, true)
		return store.KeepPending(batches, marked), err
	}
	n, err := t.exec(markRows, idList(ids))
	if err != nil || n == int64(len(ids)) {
		return batches, err
	}
	marked, err := column[int64](t, `SELECT u.{id} FROM {urls} AS u WHERE u.{id} IN {list}
		AND NOT EXISTS (SELECT 1 FROM {results} AS r WHERE r.id = u.{id})`, idList(ids))
	return store.KeepPending(batches, marked), err
}

// idList is the JSON array of ids, of rows or sources: any number of them in one parameter of one prepared
// statement.
func idList[ID int | int64](ids []ID) string {
	b := make([]byte, 0, 12*len(ids)+2)
	for _, id := range ids {
		b = strconv.AppendInt(append(b, ','), int64(id), 10)
	}
	return "[" + strings.TrimPrefix(string(b), ",") + "]"
}

// pairs is a JSON array of n arrays of two numbers.
func pairs(n int, at func(i int) (a, b int64)) string {
	out := make([]byte, 0, 24*n+2)
	for i := range n {
		a, b := at(i)
		out = strconv.AppendInt(append(out, ",["...), a, 10)
		out = append(strconv.AppendInt(append(out, ','), b, 10), ']')
	}
	return "[" + strings.TrimPrefix(string(out), ",") + "]"
}

// tallies are what is to be added to the table of that name: negative for what is to be taken away.
type tallies map[tallyKey]store.Counted

type tallyKey struct {
	source int
	reason store.Reason
}

// count counts n rows in, or out if n is negative, that have so many faces each.
func (ts tallies) count(source int, reason store.Reason, n, faces int64) {
	key := tallyKey{source, reason}
	ts[key] = ts[key].Count(n, faces)
}

// resultColumns are the columns of results, in the order in which insertResults writes them.
var resultColumns = store.ColumnNames("id", "faces", "detector", "candidates", "landmarks", "checksum")

// insertResults writes results and faces and counts them. None of the rows has a result.
func (j *job) insertResults(t tx, results []store.Result) error {
	if len(results) == 0 {
		return nil
	}
	values := make([]any, 0, len(resultColumns)*len(results))
	var faces []any
	sums := tallies{}
	detectors := map[string]any{"": nil}
	for i := range results {
		r := &results[i]
		if _, known := detectors[r.Detector]; !known {
			number, err := detectorNumber(t, r.Detector)
			if err != nil {
				return err
			}
			detectors[r.Detector] = number
		}
		values = append(values, r.ID, int64(len(r.Faces)), detectors[r.Detector], packFaces(r.Candidates),
			orNull(store.PackLandmarks(r.Faces, r.Candidates)), int64(r.Checksum()))
		for _, c := range store.ResultColumns {
			values = append(values, valueOf(c, r))
		}
		for n, f := range r.Faces {
			faces = append(faces, r.ID, n, f.X, f.Y, f.Width, f.Height, f.Score, f.Confidence)
		}
		sums.count(j.sourceOf(r.ID), r.Reason, 1, int64(len(r.Faces)))
	}
	if err := t.bulk("INSERT INTO {results} ("+strings.Join(resultColumns, ", ")+")", len(resultColumns),
		values, ""); err != nil {
		return err
	}
	if err := t.bulk("INSERT INTO {faces} (id, face, x, y, width, height, score, confidence)", 8, faces,
		""); err != nil {
		return err
	}
	ids := store.ResultIDs(results)
	if err := j.countResults(t, ids, 1); err != nil {
		return err
	}
	if err := noteChanges(t, ids); err != nil {
		return err
	}
	return sums.add(t)
}

// valueOf is the value of a column as it is stored.
func valueOf(c *store.ResultColumn, r *store.Result) any {
	switch {
	case c.Text == nil:
		return c.Number(r)
	case c.Type == store.Bytes:
		return orNull([]byte(*c.Text(r)))
	}
	return orNil(*c.Text(r))
}

// resultsIn finds the results of a list of rows.
const resultsIn = "FROM {results} AS r WHERE r.id IN {list}"

// dropResults deletes the results r that the query's rest finds, all of one source, with all that hangs on
// them. It returns their ids, in order.
func (j *job) dropResults(t tx, source int, rest string, args ...any) (ids []int64, err error) {
	sums := tallies{}
	var id, faces int64
	var reason store.Reason
	err = t.scan([]any{&id, &reason, &faces}, func() {
		ids = append(ids, id)
		sums.count(source, reason, -1, faces)
	}, "SELECT r.id, coalesce(r.reason, ''), r.faces "+rest+" ORDER BY r.id", args...)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	if err := j.countResults(t, ids, -1); err != nil {
		return nil, err
	}
	for _, table := range []string{"{results}", "{faces}"} {
		if _, err := t.exec("DELETE FROM "+table+" WHERE id IN {list}", idList(ids)); err != nil {
			return nil, err
		}
	}
	if err := changed(t, source, len(ids)); err != nil {
		return nil, err
	}
	if err := noteChanges(t, ids); err != nil {
		return nil, err
	}
	return ids, sums.add(t)
}

// changed notes that n rows of a source, which may have been read in order, are not what they were.
func changed(t tx, source, n int) error {
	_, err := t.exec("UPDATE {sources} SET changes = changes + ? WHERE number = ?", n, source)
	return err
}

// add adds to the counters.
func (ts tallies) add(t tx) error {
	values := make([]any, 0, 5*len(ts))
	for key, n := range ts {
		values = append(values, key.source, string(key.reason), n.Rows, n.Faces, n.ImagesWithFaces)
	}
	return t.bulk("INSERT INTO {tallies} (source, reason, rows, faces, images_with_faces)", 5, values,
		` ON CONFLICT (source, reason) DO UPDATE SET rows = rows + excluded.rows,
			faces = faces + excluded.faces,
		images_with_faces = images_with_faces + excluded.images_with_faces`)
}

func detectorNumber(t tx, fingerprint string) (number int64, err error) {
	err = t.one("SELECT number FROM {detectors} WHERE fingerprint = ?", []any{fingerprint}, &number)
	if errors.Is(err, sql.ErrNoRows) {
		err = t.one("INSERT INTO {detectors} (fingerprint) VALUES (?) RETURNING number", []any{fingerprint},
			&number)
	}
	return number, err
}

// packFaces packs candidates: a face is four varints (x, y, width, height), then score and confidence as
// little-endian float32, the precision that cascades work in.
func packFaces(faces []store.Face) any {
	if len(faces) == 0 {
		return nil
	}
	b := make([]byte, 0, 16*len(faces))
	for _, f := range faces {
		for _, v := range []int{f.X, f.Y, f.Width, f.Height} {
			b = binary.AppendVarint(b, int64(v))
		}
		for _, v := range []float64{f.Score, f.Confidence} {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(v)))
		}
	}
	return b
}

const errPacked store.DamagedValue = "packed faces are damaged"

// unpackFaces is the reverse of packFaces.
func unpackFaces(b []byte) (faces []store.Face, err error) {
	for len(b) > 0 {
		var f store.Face
		for _, v := range []*int{&f.X, &f.Y, &f.Width, &f.Height} {
			x, n := binary.Varint(b)
			if n <= 0 {
				return nil, errPacked
			}
			*v, b = int(x), b[n:]
		}
		for _, v := range []*float64{&f.Score, &f.Confidence} {
			if len(b) < 4 {
				return nil, errPacked
			}
			*v, b = float64(math.Float32frombits(binary.LittleEndian.Uint32(b))), b[4:]
		}
		faces = append(faces, f)
	}
	return faces, nil
}
