package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"facescan/store"
)

// readResults reads the results of a range, with their faces.
func (j *job) readResults(t tx, from, to int64) (page []store.Result, err error) {
	return j.readSelected(t, from, to, false, "1", nil)
}

// readSelected reads those for which a condition holds.
func (j *job) readSelected(t tx, from, to int64, brief bool, where string,
	args []any) (page []store.Result, err error) {
	detectors := map[int64]string{0: ""}
	var number int64
	var fingerprint string
	if err := t.scan([]any{&number, &fingerprint}, func() { detectors[number] = fingerprint },
		"SELECT number, fingerprint FROM {detectors}"); err != nil {
		return nil, err
	}
	faces := 0
	var rows packed
	words := map[string]string{} // of the few that most rows have
	landmarks := map[int64][]byte{}
	if from < to {
		page = make([]store.Result, 0, min(uint64(to-from), pageRows))
	}
	selected, rest := "", ", {group}, {kept} || '', "+packedBlob("r.candidates")+", "+
		packedBlob("r.landmarks")
	columns := store.ReadColumns(brief)
	for _, c := range columns {
		if c.Type == store.Bytes {
			selected += ", " + packedBlob("r."+c.Name)
		} else {
			selected += ", r." + c.Name
		}
	}
	if brief {
		rest = ""
	}
	err = t.one("SELECT json_group_array(json_array(r.id, r.faces, r.detector, {address}"+selected+rest+
		")) FROM {results} AS r JOIN {urls} AS u ON u.{id} = r.id WHERE r.id >= ? AND r.id < ? "+
		"AND ("+where+")", append([]any{from, to}, args...), &rows.rest)
	for err == nil && rows.row() {
		page = append(page, store.Result{ID: rows.int64()})
		r := &page[len(page)-1]
		faces += rows.int()
		r.Detector, r.URL = detectors[rows.int64()], store.KnownURL(rows.text())
		for _, c := range columns {
			switch {
			case c.Text == nil:
				c.SetNumber(r, rows.int64())
			case c.Type == store.Bytes:
				*c.Text(r) = string(rows.hex())
			case c.Type == store.Word:
				*c.Text(r) = rows.word(words)
			default:
				*c.Text(r) = rows.text()
			}
		}
		if !brief {
			r.Group, r.Kept = rows.text(), rows.texts()
			r.Candidates, err = unpackFaces(rows.hex())
			if b := rows.hex(); len(b) > 0 {
				landmarks[r.ID] = b
			}
			if err = errors.Join(err, r.Check()); err != nil {
				return nil, fmt.Errorf("row %d: %w", r.ID, err)
			}
		}
		r.Status = store.StatusOf(r.Reason)
		r.Source = j.sourceOf(r.ID)
		err = rows.err
	}
	inOrder(page, func(a, b *store.Result) int { return cmp.Compare(a.ID, b.ID) })
	if err = errors.Join(err, rows.err); err != nil {
		return page, err
	}
	if faces > 0 {
		if err := readFaces(t, page); err != nil {
			return nil, err
		}
	}
	for i := range page {
		r := &page[i]
		if err := store.UnpackLandmarks(landmarks[r.ID], r.Faces, r.Candidates); err != nil {
			return nil, fmt.Errorf("row %d: %w", r.ID, err)
		}
	}
	return page, nil
}

// readFaces gives results, in id order, their faces.
func readFaces(t tx, page []store.Result) error {
	var all []idFace
	var rows packed
	where, args := "id BETWEEN ? AND ?", []any{page[0].ID, page[len(page)-1].ID}
	if page[len(page)-1].ID-page[0].ID > 16*pageRows { // few rows of many, whose faces lie far apart
		where, args = "id IN {list}", []any{idList(store.ResultIDs(page))}
	}
	err := t.one("SELECT json_group_array(json_array(id, face, x, y, width, height, score, confidence)) "+
		"FROM {faces} WHERE "+where, args, &rows.rest)
	for err == nil && rows.row() {
		all = append(all, idFace{rows.int64(), rows.int64(),
			store.Face{X: rows.int(), Y: rows.int(), Width: rows.int(), Height: rows.int(),
				Score: rows.float(), Confidence: rows.float()}})
	}
	if err = errors.Join(err, rows.err); err != nil {
		return err
	}
	inOrder(all, func(a, b *idFace) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.face, b.face))
	})
	flat := make([]store.Face, len(all))
	at, begin := 0, 0
	for i, f := range all {
		flat[i] = f.Face
		if i > 0 && f.id != all[i-1].id {
			begin = i
		}
		for page[at].ID < f.id && at < len(page)-1 {
			at++
		}
		if page[at].ID == f.id {
			page[at].Faces = flat[begin : i+1 : i+1]
		}
	}
	return nil
}

// idFace is a face as its table has it.
type idFace struct {
	id, face int64
	store.Face
}

// inOrder sorts what an aggregate gathered in the order in which it was scanned; that is the right one, but
// SQLite does not promise it.
func inOrder[T any](s []T, by func(a, b *T) int) {
	for i := 1; i < len(s); i++ {
		if by(&s[i-1], &s[i]) > 0 {
			slices.SortFunc(s, func(a, b T) int { return by(&a, &b) })
			return
		}
	}
}

// readRows reads the rows of a range.
func readRows(t tx, from, to int64) ([]store.Row, error) {
	return readRowsWhere(t, "u.{id} >= ? AND u.{id} < ? AND {ours}", from, to)
}

// readRowsWhere reads the rows u for which a condition holds.
func readRowsWhere(t tx, where string, args ...any) (page []store.Row, err error) {
	err = t.each("SELECT u.{id}, {address}, {group}, {kept}, {hash} FROM {urls} AS u WHERE "+where+
		" ORDER BY u.{id} LIMIT ?", append(args, maxPage+1), func(r *sql.Rows) error {
		var row store.Row
		var kept []byte
		err := r.Scan(&row.ID, &row.URL, &row.Group, &kept, &row.Hash)
		if err == nil && kept != nil {
			if err = json.Unmarshal(kept, &row.Kept); err != nil {
				err = fmt.Errorf("row %d: %w", row.ID, err)
			}
		}
		page = append(page, row)
		return err
	})
	return page, err
}

// sourceOf is the number of a row's source.
func (j *job) sourceOf(id int64) int {
	if j.inPlace {
		return 0
	}
	return store.SourceOf(id)
}

// bySource calls f for the sources that some rows belong to, for those of one source that follow one another.
func (j *job) bySource(ids []int64, f func(source int, ids []int64) error) error {
	for len(ids) > 0 {
		source, n := j.sourceOf(ids[0]), 1
		for n < len(ids) && j.sourceOf(ids[n]) == source {
			n++
		}
		if err := f(source, ids[:n:n]); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// sourceSQL is sourceOf in SQL.
func (j *job) sourceSQL(id string) string {
	if j.inPlace {
		return "0"
	}
	return fmt.Sprintf("(%s >> %d)", id, store.SourceShift)
}

// Detectors implements store.Job.
func (j *job) Detectors(ctx context.Context) (fingerprints []string, err error) {
	err = j.view(ctx, func(t tx) (err error) {
		fingerprints, err = column[string](t, "SELECT fingerprint FROM {detectors}")
		return err
	})
	return fingerprints, wrap("read detectors", err)
}

// Counts implements store.Job.
func (j *job) Counts(ctx context.Context) (c store.Counts, err error) {
	err = j.view(ctx, func(t tx) (err error) {
		c, err = readCounts(t)
		return err
	})
	c.Derive()
	for i := range c.Owners {
		dead, _, perr := j.probe(c.Owners[i].ID)
		c.Owners[i].Alive = perr == nil && !dead
		if errors.Is(perr, fs.ErrPermission) { // another user's: while its leases last, it is taken for alive
			c.Owners[i].Alive = c.Owners[i].Expires > 0
		}
	}
	return c, wrap("read counts", err)
}

func readCounts(t tx) (c store.Counts, err error) {
	c.Failures = map[store.Reason]int64{}
	err = t.one(`SELECT coalesce(sum(rows), 0), iif(EXISTS (SELECT 1 FROM {sources} WHERE paused <> 0),
		(SELECT coalesce(sum(pending), 0) FROM {shards}
			WHERE source IN (SELECT number FROM {sources} WHERE paused <> 0)), 0)
		FROM {sources}`, nil, &c.Total, &c.PausedPending)
	if err != nil {
		return c, err
	}
	c.ImportIncomplete, err = column[string](t, "SELECT name FROM {sources} WHERE complete = 0 "+
		"ORDER BY number")
	if err != nil {
		return c, err
	}
	var reason store.Reason
	var n store.Counted
	err = t.scan([]any{&reason, &n.Rows, &n.Faces, &n.ImagesWithFaces}, func() { c.Add(reason, n) },
		"SELECT reason, sum(rows), sum(faces), sum(images_with_faces) FROM {tallies} GROUP BY reason")
	if err != nil {
		return c, err
	}
	err = t.one(`SELECT count(*), count(*) FILTER (WHERE pending = 0),
		count(*) FILTER (WHERE pending > 0 AND owner IS NULL),
		count(*) FILTER (WHERE pending > 0 AND owner IS NOT NULL), coalesce(sum(already), 0)
		FROM {shards}`, nil, &c.Shards.Total, &c.Shards.Done, &c.Shards.Free, &c.Shards.Leased,
		&c.AlreadyDone)
	if err != nil {
		return c, err
	}
	now := leaseClock()
	var o store.OwnerCounts
	var joined, expires int64
	err = t.scan([]any{&o.ID, &o.Host, &o.PID, &joined, &o.Rate, &o.HeldBackBy, &o.Why, &o.Shards,
		&o.Pending, &expires}, func() {
		o.Age = time.Duration(now - joined)
		o.Expires = max(0, time.Duration(expires-now))
		c.Owners = append(c.Owners, o)
	}, `SELECT o.id, o.host, o.pid, o.joined, o.rate, o.held_back_by, o.why,
		count(s.lo), coalesce(sum(s.pending), 0), coalesce(max(s.expires), 0)
		FROM {owners} AS o LEFT JOIN {shards} AS s ON s.owner = o.number GROUP BY o.number
		ORDER BY o.number`)
	return c, err
}
