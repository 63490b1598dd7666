package postgres

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"facescan/store"
)

// pageRows is how many results one read transaction covers.
const pageRows = 2000

// pages yields what read returns, page after page; read gives the first rows with from <= id < to, and id
// their ids.
func pages[T any](from, to int64, read func(from, to int64) ([]T, error),
	id func(T) int64) iter.Seq2[T, error] {
	return store.Pages(from, func(from int64) (page []T, next int64, more bool, err error) {
		if from < to {
			page, err = read(from, to)
		}
		if len(page) == pageRows {
			next, more = id(page[pageRows-1])+1, true
		}
		return page, next, more, err
	})
}

// Results implements store.Job.
func (j *job) Results(ctx context.Context, from, to int64) iter.Seq2[store.Result, error] {
	return pages(from, to, func(from, to int64) (page []store.Result, err error) {
		err = j.view(ctx, func(t pgx.Tx) error {
			page, err = readResults(ctx, t, from, to, pageRows, false, "true")
			return err
		})
		return page, j.wrap("read results", err)
	}, func(r store.Result) int64 { return r.ID })
}

// selectRows is how many results are looked at in one transaction for those that a condition lets through.
const selectRows = 20_000

// Select implements store.Job.
func (j *job) Select(ctx context.Context, q store.Query) iter.Seq2[store.Result, error] {
	where, args, rows := "true", []any(nil), pageRows
	if q.Where != nil {
		text, values, err := q.Where.SQL(store.Postgres, 4, selectable)
		if err == nil {
			where, args, rows = text, values, selectRows
		}
	}
	return store.Pages(q.From, func(from int64) (page []store.Result, next int64, more bool, err error) {
		read := func(where string, args ...any) error {
			return j.view(ctx, func(t pgx.Tx) error {
				next = q.To
				err := t.QueryRow(ctx, "SELECT id FROM results WHERE id >= $1 AND id < $2 ORDER BY id "+
					"LIMIT 1 OFFSET $3", from, q.To, rows).Scan(&next)
				if err == nil || errors.Is(err, pgx.ErrNoRows) {
					page, err = readResults(ctx, t, from, next, rows, q.Brief, where, args...)
				}
				return err
			})
		}
		err = read(where, args...)
		var pg *pgconn.PgError
		// arithmetic beyond what its numbers can be, where ours are infinite
		if errors.As(err, &pg) && pg.Code == "22003" {
			err = read("true")
		}
		return page, next, next < q.To, j.wrap("select results", err)
	})
}

// selectable has the columns of an export that a result r and its row u have.
var selectable = store.Selectable(map[string]string{
	"id": "r.id", "url": "CASE WHEN r.reason = '" + string(store.Forgotten) + "' AND u.url LIKE '" +
		store.ErasedPrefix + "%' THEN '' ELSE u.url END",
	"status": "CASE WHEN r.reason IS NULL THEN 'ok' ELSE 'failed' END",
	"faces": "CASE WHEN r.reason IS NULL AND r.detector IS DISTINCT FROM (SELECT number FROM detectors " +
		"WHERE fingerprint = '" + store.NoDetector + "') THEN r.faces END", "group": `nullif(u."group", '')`,
}, "encode(%s, 'hex')")

// readResults reads the first results of a range for which a condition holds, with their faces.
func readResults(ctx context.Context, t pgx.Tx, from, to int64, limit int, brief bool, where string,
	args ...any) (
	page []store.Result, err error,
) {
	var r store.Result
	var candidates []float32
	var landmarks []byte
	var marks [][]byte // landmarks, per result
	var n, faces int
	selected, dest := "r.id, r.faces, coalesce(d.fingerprint, ''), u.url", []any{&r.ID, &n, &r.Detector,
		&r.URL}
	for _, c := range store.ReadColumns(brief) {
		if selected += ", r." + c.Name; c.Type == store.Bool {
			selected += "::int"
		}
		dest = append(dest, &cell{c, &r})
	}
	if !brief {
		selected += `, coalesce(u."group", ''), u.kept, r.candidates, r.landmarks`
		dest = append(dest, &r.Group, &r.Kept, &candidates, &landmarks)
	}
	rows, _ := t.Query(ctx, "SELECT "+selected+`
		FROM results AS r JOIN rows AS u ON u.id = r.id LEFT JOIN detectors AS d ON d.number = r.detector
		WHERE r.id >= $1 AND r.id < $2 AND u.id >= $1 AND u.id < $2 AND (`+where+`) ORDER BY r.id LIMIT $3`,
		append([]any{from, to, limit}, args...)...) // rows have the error, too
	_, err = pgx.ForEachRow(rows, dest, func() (err error) {
		r.Status, r.URL, r.Source = store.StatusOf(r.Reason), store.KnownURL(r.URL), store.SourceOf(r.ID)
		r.Candidates, err = unflatten(candidates)
		if err = errors.Join(err, r.Check()); err != nil {
			return fmt.Errorf("row %d: %w", r.ID, err)
		}
		faces += n
		if n > 0 {
			r.Faces = make([]store.Face, 0, n)
		}
		page = append(page, r)
		marks = append(marks, landmarks)
		r.Faces, r.Kept, candidates, landmarks = nil, nil, nil, nil
		return nil
	})
	if err == nil && faces > 0 {
		err = readFaces(ctx, t, page)
	}
	if err != nil {
		return page, err
	}
	for i := range page {
		r := &page[i]
		if err := store.UnpackLandmarks(marks[i], r.Faces, r.Candidates); err != nil {
			return nil, fmt.Errorf("row %d: %w", r.ID, err)
		}
	}
	return page, nil
}

// cell scans a column of a result into its field. NULL is zero.
type cell struct {
	*store.ResultColumn
	result *store.Result
}

// ScanInt64 implements pgtype.Int64Scanner.
func (c *cell) ScanInt64(v pgtype.Int8) error {
	c.SetNumber(c.result, v.Int64)
	return nil
}

// ScanTimestamptz implements pgtype.TimestamptzScanner.
func (c *cell) ScanTimestamptz(v pgtype.Timestamptz) error {
	c.result.Time = v.Time.UTC() // with its microseconds, as it was written
	return nil
}

// ScanBytes implements pgtype.BytesScanner, of text too.
func (c *cell) ScanBytes(v []byte) error {
	*c.Text(c.result) = string(v)
	return nil
}

// readFaces gives results, in id order, their faces.
func readFaces(ctx context.Context, t pgx.Tx, page []store.Result) error {
	at := 0 // both are in id order, and no face is behind the last result
	var id int64
	var f store.Face
	return each(ctx, t, []any{&id, &f.X, &f.Y, &f.Width, &f.Height, &f.Score, &f.Confidence}, func() {
		for page[at].ID < id {
			at++
		}
		if page[at].ID == id {
			page[at].Faces = append(page[at].Faces, f)
		}
	}, "SELECT id, x, y, width, height, score, confidence FROM faces WHERE id BETWEEN $1 AND $2 "+
		"ORDER BY id, face", page[0].ID, page[len(page)-1].ID)
}

// Rows implements store.Job.
func (j *job) Rows(ctx context.Context, from, to int64) iter.Seq2[store.Row, error] {
	return pages(from, to, func(from, to int64) (page []store.Row, err error) {
		err = j.retry(ctx, func() error {
			page = nil
			var r store.Row
			return each(ctx, j.pool, []any{&r.ID, &r.URL, &r.Group, &r.Kept, &r.Hash}, func() {
				page = append(page, r)
				r.Kept = nil
			}, `SELECT id, url, coalesce("group", ''), kept, coalesce(hash, '') FROM rows
				WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3`, from, to, pageRows)
		})
		return page, j.wrap("read rows", err)
	}, func(r store.Row) int64 { return r.ID })
}

// Detectors implements store.Job.
func (j *job) Detectors(ctx context.Context) (fingerprints []string, err error) {
	err = j.retry(ctx, func() (err error) {
		fingerprints, err = column[string](ctx, j.pool, "SELECT fingerprint FROM detectors")
		return err
	})
	return fingerprints, j.wrap("read detectors", err)
}

// Counts implements store.Job.
func (j *job) Counts(ctx context.Context) (c store.Counts, err error) {
	err = j.view(ctx, func(t pgx.Tx) error {
		c = store.Counts{Failures: map[store.Reason]int64{}}
		b := &pgx.Batch{}
		queue := func(dest []any, f func(), text string) {
			b.Queue(text).Query(into(dest, f))
		}
		queue([]any{&c.Total}, func() {}, "SELECT coalesce(sum(rows), 0)::bigint FROM sources")
		var name string
		queue([]any{&name}, func() { c.ImportIncomplete = append(c.ImportIncomplete, name) },
			"SELECT name FROM sources WHERE NOT complete ORDER BY number")
		var reason store.Reason
		var n store.Counted
		queue([]any{&reason, &n.Rows, &n.Faces, &n.ImagesWithFaces}, func() {
			c.Add(reason, n)
		}, "SELECT reason, sum(rows)::bigint, sum(faces)::bigint, sum(images_with_faces)::bigint "+
			"FROM tallies GROUP BY reason")
		queue([]any{&c.Shards.Total, &c.Shards.Done, &c.Shards.Free, &c.Shards.Leased}, func() {},
			`SELECT count(*), count(*) FILTER (WHERE finished), count(*) FILTER (WHERE NOT finished
				AND owner IS NULL),
			count(*) FILTER (WHERE NOT finished AND owner IS NOT NULL) FROM shards`)
		queue([]any{&c.PausedPending}, func() {}, `SELECT coalesce(sum(pending), 0)::bigint FROM shards
			WHERE NOT finished
			AND source IN (SELECT number FROM sources WHERE paused)`)
		var o store.OwnerCounts
		queue([]any{&o.ID, &o.Host, &o.PID, &o.Shards, &o.Pending, &o.Expires, &o.Age, &o.Alive, &o.Rate,
			&o.HeldBackBy, &o.Why}, func() { c.Owners = append(c.Owners, o) },
			`SELECT o.id, o.host, o.pid, count(s.lo), coalesce(sum(s.pending), 0)::bigint,
			greatest(coalesce(max(s.expires), clock_timestamp()) - clock_timestamp(), interval '0'),
			clock_timestamp() - o.joined, o.expires > clock_timestamp(),
			o.rate, o.held_back_by, o.why
			FROM owners AS o LEFT JOIN shards AS s ON s.owner = o.number GROUP BY o.number ORDER BY o.number`)
		return t.SendBatch(ctx, b).Close()
	})
	c.Derive()
	return c, j.wrap("read counts", err)
}
