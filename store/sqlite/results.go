package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"facescan/store"
	"facescan/store/slots"
)

// readResults reads the results of a range, with their faces.
func (j *job) readResults(t tx, from, to int64) (page []store.Result, err error) {
	detectors := map[int64]string{0: ""}
	err = t.each("SELECT number, fingerprint FROM {detectors}", nil, func(rows *sql.Rows) error {
		var number int64
		var fingerprint string
		err := rows.Scan(&number, &fingerprint)
		detectors[number] = fingerprint
		return err
	})
	if err != nil {
		return nil, err
	}
	faces := false
	err = t.each(`SELECT r.id, coalesce(r.reason, ''), r.http_status, coalesce(r.format, ''), r.width, r.height, r.bytes, r.attempts,
		coalesce(r.final_url, ''), r.partial, coalesce(r.detector, 0), r.candidates, r.took, r.time, coalesce(r.outputs, 0), r.faces,
		{address}, {group}, {kept} FROM {results} AS r JOIN {urls} AS u ON u.{id} = r.id
		WHERE r.id >= ? AND r.id < ? ORDER BY r.id`, []any{from, to}, func(rows *sql.Rows) error {
		var r store.Result
		var candidates, kept []byte
		var detector, took, at int64
		var n int
		err := rows.Scan(&r.ID, &r.Reason, &r.HTTPStatus, &r.Format, &r.Width, &r.Height, &r.Bytes, &r.Attempts,
			&r.FinalURL, &r.Partial, &detector, &candidates, &took, &at, &r.Outputs, &n, &r.URL, &r.Group, &kept)
		if err != nil {
			return err
		}
		r.Status, r.Detector = store.OK, detectors[detector]
		if r.Reason != "" {
			r.Status = store.Failed
		}
		r.Took, r.Time = time.Duration(took)*time.Millisecond, time.UnixMilli(at).UTC()
		r.Source = j.sourceOf(r.ID)
		if r.Kept, err = unpackKept(r.ID, kept); err != nil {
			return err
		}
		if r.Candidates, err = unpackFaces(candidates); err != nil {
			return fmt.Errorf("row %d: %w", r.ID, err)
		}
		if n > 0 {
			faces, r.Faces = true, make([]store.Face, 0, n)
		}
		page = append(page, r)
		return nil
	})
	if err != nil || !faces {
		return page, err
	}
	at := 0 // both are in id order
	err = t.each("SELECT id, x, y, width, height, score, confidence FROM {faces} WHERE id BETWEEN ? AND ? ORDER BY id, face",
		[]any{page[0].ID, page[len(page)-1].ID}, func(rows *sql.Rows) error {
			var id int64
			var f store.Face
			if err := rows.Scan(&id, &f.X, &f.Y, &f.Width, &f.Height, &f.Score, &f.Confidence); err != nil {
				return err
			}
			for page[at].ID < id && at < len(page)-1 {
				at++
			}
			if page[at].ID == id {
				page[at].Faces = append(page[at].Faces, f)
			}
			return nil
		})
	return page, err
}

// readRows reads the rows of a range.
func readRows(t tx, from, to int64) (page []store.Row, err error) {
	err = t.each("SELECT u.{id}, {address}, {group}, {kept} FROM {urls} AS u WHERE u.{id} >= ? AND u.{id} < ? AND {ours} ORDER BY u.{id}",
		[]any{from, to}, func(r *sql.Rows) error {
			var row store.Row
			var kept []byte
			err := r.Scan(&row.ID, &row.URL, &row.Group, &kept)
			if err == nil {
				row.Kept, err = unpackKept(row.ID, kept)
			}
			page = append(page, row)
			return err
		})
	return page, err
}

func unpackKept(id int64, packed []byte) (kept []string, err error) {
	if packed != nil {
		if err = json.Unmarshal(packed, &kept); err != nil {
			err = fmt.Errorf("row %d: %w", id, err)
		}
	}
	return kept, err
}

// sourceOf is the number of a row's source.
func (j *job) sourceOf(id int64) int {
	if j.inPlace {
		return 0
	}
	return int(id >> store.SourceShift)
}

// sourceSQL is sourceOf in SQL.
func (j *job) sourceSQL(id string) string {
	if j.inPlace {
		return "0"
	}
	return fmt.Sprintf("(%s >> %d)", id, store.SourceShift)
}

// Counts implements store.Job.
func (j *job) Counts(ctx context.Context) (c store.Counts, err error) {
	c.Failures = map[store.Reason]int64{}
	err = j.view(ctx, func(t tx) error {
		err := t.each("SELECT rows, complete, name FROM {sources} ORDER BY number", nil, func(r *sql.Rows) error {
			var rows int64
			var complete bool
			var name string
			err := r.Scan(&rows, &complete, &name)
			c.Total += rows
			if !complete {
				c.ImportIncomplete = append(c.ImportIncomplete, name)
			}
			return err
		})
		if err != nil {
			return err
		}
		err = t.each("SELECT reason, rows, faces, images_with_faces FROM {tallies}", nil, func(r *sql.Rows) error {
			var reason store.Reason
			var n tally
			err := r.Scan(&reason, &n.rows, &n.faces, &n.imagesWithFaces)
			c.Done += n.rows
			c.Faces += n.faces
			c.ImagesWithFaces += n.imagesWithFaces
			if reason == "" {
				c.OK += n.rows
			} else if n.rows != 0 {
				c.Failures[reason] += n.rows
			}
			return err
		})
		if err != nil {
			return err
		}
		err = t.one(`SELECT count(*), count(*) FILTER (WHERE pending = 0), count(*) FILTER (WHERE pending > 0 AND owner IS NULL),
			count(*) FILTER (WHERE pending > 0 AND owner IS NOT NULL), coalesce(sum(already), 0) FROM {shards}`, nil,
			&c.Shards.Total, &c.Shards.Done, &c.Shards.Free, &c.Shards.Leased, &c.AlreadyDone)
		if err != nil {
			return err
		}
		err = t.one("SELECT coalesce(sum(h.pending), 0) FROM {shards} AS h JOIN {sources} AS s ON s.number = h.source WHERE s.paused <> 0",
			nil, &c.PausedPending)
		if err != nil {
			return err
		}
		now := leaseClock()
		return t.each(`SELECT o.id, o.host, o.pid, o.joined, count(s.lo), coalesce(sum(s.pending), 0), coalesce(max(s.expires), 0)
			FROM {owners} AS o LEFT JOIN {shards} AS s ON s.owner = o.number GROUP BY o.number ORDER BY o.number`, nil, func(r *sql.Rows) error {
			var o store.OwnerCounts
			var joined, expires int64
			err := r.Scan(&o.ID, &o.Host, &o.PID, &joined, &o.Shards, &o.Pending, &expires)
			o.Age = time.Duration(now - joined)
			o.Expires = max(0, time.Duration(expires-now))
			c.Owners = append(c.Owners, o)
			return err
		})
	})
	c.Failed = c.Done - c.OK
	c.Pending = c.Total - c.Done
	for i := range c.Owners {
		dead, _, perr := slots.Probe(j.ownerFile(c.Owners[i].ID))
		c.Owners[i].Alive = perr == nil && !dead
	}
	return c, wrap("read counts", err)
}
