package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// Commit implements store.Session.
func (s *session) Commit(ctx context.Context, l store.Lease, results []store.Result) error {
	batches := []store.Batch{{Lease: l, Results: results}}
	lost, err := s.CommitAll(ctx, batches)
	if err == nil && len(lost) > 0 {
		err = s.wrap(store.Committing(batches), store.ErrLeaseLost)
	}
	return err
}

// CommitAll implements store.Session.
func (s *session) CommitAll(ctx context.Context, batches []store.Batch) (lost []int, err error) {
	doing := store.Committing(batches)
	ls, results := make([]store.Lease, len(batches)), store.AllResults(batches)
	for i, b := range batches {
		if err := store.CheckResults(b.Lease, b.Results); err != nil {
			return nil, fmt.Errorf("%s: %w", doing, err)
		}
		ls[i] = b.Lease
	}
	detectors, err := s.intern(ctx, results)
	if err != nil {
		return nil, s.wrap(doing, err)
	}
	part, err := s.nextPart(ctx)
	if err != nil {
		return nil, s.wrap(doing, err)
	}
	open := false
	err = s.update(ctx, func(t pgx.Tx) error {
		open = false
		held, pending, suspects, err := s.fence(ctx, t, ls, idsOf(results))
		if err != nil {
			return err
		}
		c := sortBatches(batches, held, pending, suspects)
		lost = c.lost
		if err := copyResults(ctx, t, c.fresh, detectors); err != nil {
			return err
		}
		b := &pgx.Batch{}
		switch len(c.los) {
		case 0:
		case 1:
			b.Queue("UPDATE shards SET pending = pending - $2 WHERE lo = $1", c.los[0], c.done[0])
		default:
			b.Queue(`UPDATE shards AS h SET pending = h.pending - d.n
				FROM unnest($1::bigint[], $2::bigint[]) AS d (lo, n)
				WHERE h.lo = d.lo`, c.los, c.done)
		}
		if len(c.cleared) > 0 {
			b.Queue("DELETE FROM suspects WHERE id = ANY($1)", c.cleared)
		}
		if len(c.released) > 0 {
			if err := t.SendBatch(ctx, b).Close(); err != nil {
				return err
			}
			b = &pgx.Batch{}
			if open, err = s.release(ctx, t, c.released); err != nil {
				return err
			}
		}
		return s.settle(ctx, t, b, part, c.effects...)
	})
	if open {
		s.openings.Add(1)
	}
	return lost, s.wrap(doing, err)
}

// committing is what is to be written of some batches.
type committing struct {
	lost     []int // batches whose lease is lost
	fresh    []store.Result
	cleared  []int64  // rows that were suspects
	los      []int64  // shards, and how many of their rows become done
	done     []int    // likewise
	effects  []effect // by source
	released []store.Lease
}

// sortBatches chooses what is written of batches: of those whose shards are held the first result of each
// row that is pending.
func sortBatches(batches []store.Batch, held []bool, pending map[int64]string,
	suspects []int64) (c committing) {
	effects := map[int]*effect{}
	for i, b := range batches {
		if !held[i] {
			c.lost = append(c.lost, i)
			continue
		}
		if b.Release {
			c.released = append(c.released, b.Lease)
		}
		e := effects[b.Lease.Source]
		if e == nil {
			e = &effect{source: b.Lease.Source}
			effects[b.Lease.Source] = e
		}
		before := len(c.fresh)
		c.fresh = slices.Grow(c.fresh, len(b.Results))
		for k := range b.Results {
			r := &b.Results[k]
			group, is := pending[r.ID]
			if !is {
				continue
			}
			delete(pending, r.ID) // a second result in the same batch comes too late
			c.fresh = append(c.fresh, *r)
			if slices.Contains(suspects, r.ID) {
				c.cleared = append(c.cleared, r.ID)
			}
			e.add(r, group)
		}
		if n := len(c.fresh) - before; n > 0 {
			c.los, c.done = append(c.los, b.Lease.Shard), append(c.done, n)
		}
	}
	for _, e := range effects {
		c.effects = append(c.effects, *e)
	}
	return c
}

// fence locks those shards that are leased as is said, reports which these are, and then returns which rows
// are pending, with their groups, and which are suspects: of those asked for and maybe of others.
func (s *session) fence(ctx context.Context, t pgx.Tx, ls []store.Lease, ids []int64) (
	held []bool, pending map[int64]string, suspects []int64, err error,
) {
	held, pending = make([]bool, len(ls)), make(map[int64]string, len(ids))
	los, generations := split(ls)
	b := &pgx.Batch{}
	b.Queue(`SELECT l.at FROM (SELECT * FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS u (lo,
		generation, at)
			ORDER BY lo) AS l CROSS JOIN LATERAL (
			SELECT FROM shards WHERE lo = l.lo AND owner = $3 AND generation = l.generation FOR UPDATE) AS h`,
		los, generations, s.number).Query(func(rows pgx.Rows) error {
		var at int
		_, err := pgx.ForEachRow(rows, []any{&at}, func() error { held[at-1] = true; return nil })
		return err
	})
	if len(ids) > 0 {
		lo, hi := slices.Min(ids), slices.Max(ids)
		which, args := `FROM rows AS u WHERE `+pendingBetween, []any{lo, hi}
		if hi-lo >= 4*int64(len(ids)) { // they lie far apart: each is looked up
			which, args = `FROM unnest($1::bigint[]) AS i (id) CROSS JOIN LATERAL (SELECT id, "group"
				FROM rows AS u
				WHERE u.id = i.id AND NOT EXISTS (SELECT FROM results AS r WHERE r.id = u.id) OFFSET 0) AS u`,
				[]any{ids}
		}
		b.Queue("SELECT coalesce(u.\"group\", ''), array_agg(u.id) "+which+" GROUP BY 1",
			args...).Query(func(rows pgx.Rows) error {
			var group string
			var of []int64
			_, err := pgx.ForEachRow(rows, []any{&group, &of}, func() error {
				for _, id := range of {
					pending[id] = group
				}
				return nil
			})
			return err
		})
		b.Queue("SELECT id FROM suspects WHERE id BETWEEN $1 AND $2", lo, hi).Query(func(rows pgx.Rows) error {
			suspects, err = pgx.CollectRows(rows, pgx.RowTo[int64])
			return err
		})
	}
	return held, pending, suspects, t.SendBatch(ctx, b).Close()
}

func idsOf(results []store.Result) []int64 {
	ids := make([]int64, len(results))
	for i := range results {
		ids[i] = results[i].ID
	}
	return ids
}

// intern numbers the detectors of results, as far as they are not known yet.
func (j *job) intern(ctx context.Context, results []store.Result) (map[string]int32, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range results {
		name := results[i].Detector
		if _, known := j.detectors[name]; known || name == "" {
			continue
		}
		err := j.retry(ctx, func() error {
			if _, err := j.pool.Exec(ctx, "INSERT INTO detectors (fingerprint) VALUES ($1) "+
				"ON CONFLICT DO NOTHING", name); err != nil {
				return err
			}
			var number int32
			err := j.pool.QueryRow(ctx, "SELECT number FROM detectors WHERE fingerprint = $1",
				name).Scan(&number)
			if err == nil {
				j.detectors[name] = number
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return maps.Clone(j.detectors), nil
}

var (
	resultColumns = []string{"id", "bytes", "took", "time", "width", "height", "faces", "attempts",
		"detector", "http_status", "partial", "outputs", "reason", "format", "final_url", "candidates",
		"landmarks", "checksum", "sha256", "phash"}
	faceColumns = []string{"id", "face", "x", "y", "width", "height", "score", "confidence"}
)

// copyResults writes results and faces. None of the rows has a result.
func copyResults(ctx context.Context, t pgx.Tx, results []store.Result, detectors map[string]int32) error {
	faces := 0
	err := copyIn(ctx, t, "results", resultColumns, len(results), func(f *fields, i int) {
		r := &results[i]
		faces += len(r.Faces)
		f.bigint(r.ID)
		f.bigint(r.Bytes)
		f.bigint(r.Took.Milliseconds())
		f.timestamptz(r.Time)
		f.int(r.Width)
		f.int(r.Height)
		f.int(len(r.Faces))
		f.int(r.Attempts)
		if r.Detector != "" {
			f.int(int(detectors[r.Detector]))
		} else {
			f.null()
		}
		f.smallint(r.HTTPStatus)
		f.bool(r.Partial)
		f.smallint(int(r.Outputs))
		f.textOrNull(string(r.Reason))
		f.textOrNull(r.Format)
		f.textOrNull(r.FinalURL)
		f.reals(flatten(r.Candidates))
		f.byteaOrNull(store.PackLandmarks(r.Faces, r.Candidates))
		f.int(int(r.Checksum()))
		f.byteaOrNull([]byte(r.SHA256))
		f.byteaOrNull([]byte(r.PHash))
	})
	if err != nil {
		return err
	}
	of, n := 0, 0 // the next face: its result and its number
	return copyIn(ctx, t, "faces", faceColumns, faces, func(f *fields, _ int) {
		for n == len(results[of].Faces) {
			of, n = of+1, 0
		}
		face := &results[of].Faces[n]
		f.bigint(results[of].ID)
		f.int(n)
		f.int(face.X)
		f.int(face.Y)
		f.int(face.Width)
		f.int(face.Height)
		f.double(face.Score)
		f.double(face.Confidence)
		n++
	})
}

// flatten makes one array of candidates, in the precision that cascades work in; pixels are exact in it up to
// 2^24.
func flatten(faces []store.Face) []float32 {
	if len(faces) == 0 {
		return nil
	}
	out := make([]float32, 0, 6*len(faces))
	for _, f := range faces {
		out = append(out, float32(f.X), float32(f.Y), float32(f.Width), float32(f.Height), float32(f.Score),
			float32(f.Confidence))
	}
	return out
}

var errCandidates = errors.New("its candidates are damaged")

// unflatten is the reverse of flatten.
func unflatten(in []float32) (faces []store.Face, err error) {
	if len(in)%6 != 0 {
		return nil, errCandidates
	}
	for ; len(in) > 0; in = in[6:] {
		faces = append(faces, store.Face{X: int(in[0]), Y: int(in[1]), Width: int(in[2]), Height: int(in[3]),
			Score: float64(in[4]), Confidence: float64(in[5])})
	}
	return faces, nil
}
