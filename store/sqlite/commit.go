package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"facescan/store"
)

// Commit implements store.Session.
func (s *session) Commit(ctx context.Context, l store.Lease, results []store.Result) error {
	doing := fmt.Sprintf("commit %d rows of shard %d", len(results), l.Shard)
	for i := range results {
		if err := check(l, &results[i]); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
	err := s.writer.update(ctx, "commit", func(t tx) error {
		var suspects bool
		err := t.one("SELECT EXISTS (SELECT 1 FROM {suspects}) FROM {shards} WHERE lo = ? AND owner = ? AND generation = ?",
			[]any{l.Shard, s.number, l.Generation}, &suspects)
		if errors.Is(err, sql.ErrNoRows) {
			return store.ErrLeaseLost
		}
		if err != nil {
			return err
		}
		fresh, err := s.markDone(t, results)
		if err != nil || len(fresh) == 0 {
			return err
		}
		if suspects {
			if _, err := t.exec("DELETE FROM {suspects} WHERE id IN (SELECT value FROM json_each(?))", idList(fresh)); err != nil {
				return err
			}
		}
		if s.inPlace { // the user may have cleared Done flags, or added rows, since they were counted
			if _, err := dropResults(t, 0, "FROM {results} AS r WHERE r.id IN (SELECT value FROM json_each(?))", idList(fresh)); err != nil {
				return err
			}
		}
		if err := insertResults(t, l.Source, fresh); err != nil {
			return err
		}
		if s.inPlace {
			shard, err := shardAt(t, l.Shard)
			if err != nil {
				return err
			}
			_, err = recount(t, shard)
			return err
		}
		_, err = t.exec("UPDATE {shards} SET pending = pending - ? WHERE lo = ?", len(fresh), l.Shard)
		return err
	})
	return wrap(doing, s.explain(ctx, err, idsOf(results), true))
}

// check refuses results that would break an invariant of the job.
func check(l store.Lease, r *store.Result) error {
	switch {
	case r.ID < l.Lo || r.ID > l.Hi:
		return fmt.Errorf("row %d is outside the shard, %d to %d", r.ID, l.Lo, l.Hi)
	case r.Status == store.OK && (r.Reason != "" || r.Detector == ""):
		return fmt.Errorf("row %d is ok with reason %q and detector %q", r.ID, r.Reason, r.Detector)
	case r.Status == store.Failed && (!r.Reason.Known() || len(r.Faces) > 0):
		return fmt.Errorf("row %d failed with reason %q and %d faces", r.ID, r.Reason, len(r.Faces))
	case r.Status != store.OK && r.Status != store.Failed:
		return fmt.Errorf("row %d has status %q", r.ID, r.Status)
	}
	for _, f := range r.Faces {
		if f.X < 0 || f.Y < 0 || f.Width < 1 || f.Height < 1 || f.X+f.Width > r.Width || f.Y+f.Height > r.Height {
			return fmt.Errorf("row %d has a face at %d,%d of %dx%d in an image of %dx%d", r.ID, f.X, f.Y, f.Width, f.Height, r.Width, r.Height)
		}
	}
	return nil
}

// markDone sets the Done flags, and returns the results of those rows that were pending.
func (j *job) markDone(t tx, results []store.Result) ([]store.Result, error) {
	if j.inPlace {
		marked, err := mark(t, idsOf(results), true)
		return fresh(results, marked), err
	}
	var marked []int64 // in no order that SQLite promises
	err := t.each("UPDATE {urls} AS u SET {done} = 1 WHERE u.{id} IN (SELECT value FROM json_each(?)) AND {pending} RETURNING {id}",
		[]any{idList(results)}, func(r *sql.Rows) error {
			var id int64
			err := r.Scan(&id)
			marked = append(marked, id)
			return err
		})
	if err != nil {
		return nil, err
	}
	return fresh(results, marked), nil
}

func idsOf(results []store.Result) []int64 {
	ids := make([]int64, len(results))
	for i := range results {
		ids[i] = results[i].ID
	}
	return ids
}

// idList is the JSON array of the results' ids: any number of them in one parameter of one prepared statement.
func idList(results []store.Result) string {
	b := make([]byte, 0, 12*len(results)+2)
	for i := range results {
		b = strconv.AppendInt(append(b, ','), results[i].ID, 10)
	}
	return "[" + strings.TrimPrefix(string(b), ",") + "]"
}

// tally is a row of the table of that name.
type tally struct{ rows, faces, imagesWithFaces int64 }

// take counts out a row that had so many faces.
func (n *tally) take(faces int64) {
	n.rows--
	n.faces -= faces
	if faces > 0 {
		n.imagesWithFaces--
	}
}

// insertResults writes results and faces and counts them. The rows are of one source, and none has a result.
func insertResults(t tx, source int, results []store.Result) error {
	const width = 18
	values := make([]any, 0, width*len(results))
	var faces []any
	tallies := map[store.Reason]tally{}
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
		values = append(values, r.ID, orNil(string(r.Reason)), r.HTTPStatus, orNil(r.Format), r.Width, r.Height, r.Bytes,
			len(r.Faces), r.Attempts, r.Partial, detectors[r.Detector], r.Took.Milliseconds(), r.Time.UnixMilli(),
			orNil(r.FinalURL), packFaces(r.Candidates), orNone(r.Outputs), orNull(store.PackLandmarks(r.Faces, r.Candidates)), r.Checksum())
		for n, f := range r.Faces {
			faces = append(faces, r.ID, n, f.X, f.Y, f.Width, f.Height, f.Score, f.Confidence)
		}
		sum := tallies[r.Reason]
		sum.rows++
		sum.faces += int64(len(r.Faces))
		if len(r.Faces) > 0 {
			sum.imagesWithFaces++
		}
		tallies[r.Reason] = sum
	}
	err := t.bulk(`INSERT INTO {results} (id, reason, http_status, format, width, height, bytes,
		faces, attempts, partial, detector, took, time, final_url, candidates, outputs, landmarks, checksum)`, width, values)
	if err != nil {
		return err
	}
	if err := t.bulk("INSERT INTO {faces} (id, face, x, y, width, height, score, confidence)", 8, faces); err != nil {
		return err
	}
	if err := countResults(t, source, results, 1); err != nil {
		return err
	}
	if err := noteChanges(t, results); err != nil {
		return err
	}
	return addTallies(t, source, tallies)
}

// dropResults deletes the results r that the query's rest finds, all of one source, with all that hangs on them. It
// returns their rows, in id order; only the ids are filled in.
func dropResults(t tx, source int, rest string, args ...any) (ids []store.Result, err error) {
	tallies := map[store.Reason]tally{}
	err = t.each("SELECT r.id, coalesce(r.reason, ''), r.faces "+rest+" ORDER BY r.id", args, func(r *sql.Rows) error {
		var id, faces int64
		var reason store.Reason
		if err := r.Scan(&id, &reason, &faces); err != nil {
			return err
		}
		ids = append(ids, store.Result{ID: id})
		sum := tallies[reason]
		sum.take(faces)
		tallies[reason] = sum
		return nil
	})
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	if err := countResults(t, source, ids, -1); err != nil {
		return nil, err
	}
	for _, table := range []string{"{results}", "{faces}"} {
		if _, err := t.exec("DELETE FROM "+table+" WHERE id IN (SELECT value FROM json_each(?))", idList(ids)); err != nil {
			return nil, err
		}
	}
	if err := changed(t, source, len(ids)); err != nil {
		return nil, err
	}
	if err := noteChanges(t, ids); err != nil {
		return nil, err
	}
	return ids, addTallies(t, source, tallies)
}

// changed notes that n rows of a source, which may have been read in order, are not what they were.
func changed(t tx, source, n int) error {
	_, err := t.exec("UPDATE {sources} SET changes = changes + ? WHERE number = ?", n, source)
	return err
}

// addTallies adds to the counters; what is to be taken away is negative.
func addTallies(t tx, source int, tallies map[store.Reason]tally) error {
	for reason, n := range tallies {
		_, err := t.exec(`INSERT INTO {tallies} VALUES (?, ?, ?, ?, ?) ON CONFLICT (source, reason) DO UPDATE SET rows = rows + excluded.rows,
			faces = faces + excluded.faces, images_with_faces = images_with_faces + excluded.images_with_faces`,
			source, string(reason), n.rows, n.faces, n.imagesWithFaces)
		if err != nil {
			return err
		}
	}
	return nil
}

func detectorNumber(t tx, fingerprint string) (number int64, err error) {
	err = t.one("SELECT number FROM {detectors} WHERE fingerprint = ?", []any{fingerprint}, &number)
	if errors.Is(err, sql.ErrNoRows) {
		err = t.one("INSERT INTO {detectors} (fingerprint) VALUES (?) RETURNING number", []any{fingerprint}, &number)
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

var errPacked = errors.New("packed faces are damaged")

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
