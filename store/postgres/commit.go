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
	doing := fmt.Sprintf("commit %d rows of shard %d", len(results), l.Shard)
	if err := store.CheckResults(l, results); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	detectors, err := s.intern(ctx, results)
	if err != nil {
		return s.wrap(doing, err)
	}
	part, err := s.nextPart(ctx)
	if err != nil {
		return s.wrap(doing, err)
	}
	return s.wrap(doing, s.update(ctx, func(t pgx.Tx) error {
		pending, err := s.fence(ctx, t, l, idsOf(results))
		if err != nil {
			return err
		}
		fresh := make([]store.Result, 0, len(results))
		e := effect{source: l.Source}
		for i := range results {
			r := &results[i]
			if group, is := pending[r.ID]; is {
				fresh = append(fresh, *r)
				e.add(r, group)
				delete(pending, r.ID) // a second result in the same batch comes too late
			}
		}
		if len(fresh) == 0 {
			return nil
		}
		if err := copyResults(ctx, t, fresh, detectors); err != nil {
			return err
		}
		b := &pgx.Batch{}
		b.Queue("UPDATE shards SET pending = pending - $2 WHERE lo = $1", l.Shard, len(fresh))
		b.Queue("DELETE FROM suspects WHERE id = ANY($1)", idsOf(fresh))
		return s.settle(ctx, t, b, part, e)
	}))
}

// fence locks the shard if it is leased as l says, ErrLeaseLost if it is not, and then tells which rows are pending, of
// those asked for and maybe others, and their groups.
func (s *session) fence(ctx context.Context, t pgx.Tx, l store.Lease, ids []int64) (pending map[int64]string, err error) {
	pending = make(map[int64]string, len(ids))
	held := false
	b := &pgx.Batch{}
	b.Queue("SELECT FROM shards WHERE lo = $1 AND owner = $2 AND generation = $3 FOR UPDATE", l.Shard, s.number, l.Generation).
		Query(func(rows pgx.Rows) error {
			held = rows.Next()
			rows.Close()
			return rows.Err()
		})
	if len(ids) > 0 {
		lo, hi := slices.Min(ids), slices.Max(ids)
		which, args := pendingBetween, []any{lo, hi}
		if hi-lo >= 4*int64(len(ids)) { // they lie far apart: each is looked up
			which, args = which+" AND u.id = ANY($3)", append(args, ids)
		}
		b.Queue("SELECT u.id, coalesce(u.\"group\", '') FROM rows AS u WHERE "+which, args...).Query(func(rows pgx.Rows) error {
			var id int64
			var group string
			_, err := pgx.ForEachRow(rows, []any{&id, &group}, func() error { pending[id] = group; return nil })
			return err
		})
	}
	if err := t.SendBatch(ctx, b).Close(); err != nil {
		return nil, err
	}
	if !held {
		return nil, store.ErrLeaseLost
	}
	return pending, nil
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
		err := j.again(ctx, func() error {
			if _, err := j.pool.Exec(ctx, "INSERT INTO detectors (fingerprint) VALUES ($1) ON CONFLICT DO NOTHING", name); err != nil {
				return err
			}
			var number int32
			err := j.pool.QueryRow(ctx, "SELECT number FROM detectors WHERE fingerprint = $1", name).Scan(&number)
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
	resultColumns = []string{"id", "bytes", "took", "time", "width", "height", "faces", "attempts", "detector", "http_status", "partial", "outputs",
		"reason", "format", "final_url", "candidates", "landmarks", "checksum"}
	faceColumns = []string{"id", "face", "x", "y", "width", "height", "score", "confidence"}
)

// copyResults writes results and faces. None of the rows has a result.
func copyResults(ctx context.Context, t pgx.Tx, results []store.Result, detectors map[string]int32) error {
	if len(results) == 0 {
		return nil
	}
	values := make([]any, len(resultColumns))
	_, err := t.CopyFrom(ctx, pgx.Identifier{"results"}, resultColumns, pgx.CopyFromSlice(len(results), func(i int) ([]any, error) {
		r := &results[i]
		var detector any
		if r.Detector != "" {
			detector = detectors[r.Detector]
		}
		values = append(values[:0], r.ID, r.Bytes, r.Took.Milliseconds(), r.Time, r.Width, r.Height, len(r.Faces), r.Attempts, detector,
			r.HTTPStatus, r.Partial, int16(r.Outputs), orNil(string(r.Reason)), orNil(r.Format), orNil(r.FinalURL), flatten(r.Candidates),
			store.PackLandmarks(r.Faces, r.Candidates), r.Checksum())
		return values, nil
	}))
	if err != nil {
		return err
	}
	faces := [][]any{}
	for i := range results {
		for n, f := range results[i].Faces {
			faces = append(faces, []any{results[i].ID, n, f.X, f.Y, f.Width, f.Height, f.Score, f.Confidence})
		}
	}
	if len(faces) > 0 {
		_, err = t.CopyFrom(ctx, pgx.Identifier{"faces"}, faceColumns, pgx.CopyFromRows(faces))
	}
	return err
}

// flatten makes one array of candidates, in the precision that cascades work in; pixels are exact in it up to 2^24.
func flatten(faces []store.Face) any {
	if len(faces) == 0 {
		return nil
	}
	out := make([]float32, 0, 6*len(faces))
	for _, f := range faces {
		out = append(out, float32(f.X), float32(f.Y), float32(f.Width), float32(f.Height), float32(f.Score), float32(f.Confidence))
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
		faces = append(faces, store.Face{X: int(in[0]), Y: int(in[1]), Width: int(in[2]), Height: int(in[3]), Score: float64(in[4]), Confidence: float64(in[5])})
	}
	return faces, nil
}
