package postgres

import (
	"context"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

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
	results := store.AllResults(batches)
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
		f, err := s.fence(ctx, t, batches, store.ResultIDs(results))
		if err != nil {
			return err
		}
		var kept []store.Batch
		var released []store.Lease
		kept, lost, released = store.HeldBatches(batches, f.held)
		kept = store.KeepPending(kept, slices.Collect(maps.Keys(f.groups)))
		fresh := store.AllResults(kept)
		if err := copyResults(ctx, t, fresh, detectors); err != nil {
			return err
		}
		b := &pgx.Batch{}
		countDone(b, kept)
		cleared := slices.DeleteFunc(store.ResultIDs(fresh),
			func(id int64) bool { return !slices.Contains(f.suspects, id) })
		if len(cleared) > 0 {
			b.Queue("DELETE FROM suspects WHERE id = ANY($1)", cleared)
		}
		open = false
		if len(released) > 0 {
			if err := t.SendBatch(ctx, b).Close(); err != nil {
				return err
			}
			b = &pgx.Batch{}
			if open, err = s.release(ctx, t, released); err != nil {
				return err
			}
		}
		return s.apply(ctx, t, b, part, effectsOf(kept, f.groups)...)
	})
	if open {
		s.openings.Add(1)
	}
	return lost, s.wrap(doing, err)
}

// countDone counts the results of batches out of the pending rows of their shards.
func countDone(b *pgx.Batch, batches []store.Batch) {
	var los []int64
	var done []int
	for _, batch := range batches {
		if n := len(batch.Results); n > 0 {
			los, done = append(los, batch.Lease.Shard), append(done, n)
		}
	}
	switch len(los) {
	case 0:
	case 1:
		b.Queue("UPDATE shards SET pending = pending - $2 WHERE lo = $1", los[0], done[0])
	default:
		b.Queue(`UPDATE shards AS h SET pending = h.pending - d.n
			FROM unnest($1::bigint[], $2::bigint[]) AS d (lo, n) WHERE h.lo = d.lo`, los, done)
	}
}

// effectsOf are the effects of results by source, of rows in these groups.
func effectsOf(batches []store.Batch, groups map[int64]string) (effects []effect) {
	index := map[int]int{}
	for _, b := range batches {
		at, known := index[b.Lease.Source]
		if !known {
			at = len(effects)
			index[b.Lease.Source] = at
			effects = append(effects, effect{source: b.Lease.Source})
		}
		for k := range b.Results {
			effects[at].add(&b.Results[k], groups[b.Results[k].ID])
		}
	}
	return effects
}

// fenced is what a commit finds before it writes.
type fenced struct {
	held     []bool           // by batch, whether its shard is leased as it says: then it is locked
	groups   map[int64]string // of the rows that are pending, by id; empty for none
	suspects []int64
}

// fence locks the shards of batches, and then reads which rows are pending and which are suspects: of those
// that results are of, and maybe of others.
func (s *session) fence(ctx context.Context, t pgx.Tx, batches []store.Batch,
	ids []int64) (f fenced, err error) {
	f = fenced{held: make([]bool, len(batches)), groups: make(map[int64]string, len(ids))}
	los, generations := split(values(batches, func(b store.Batch) store.Lease { return b.Lease }))
	b := &pgx.Batch{}
	var at int
	b.Queue(`SELECT l.at FROM (SELECT * FROM unnest($1::bigint[], $2::bigint[])
			WITH ORDINALITY AS u (lo, generation, at) ORDER BY lo) AS l CROSS JOIN LATERAL (
			SELECT FROM shards WHERE lo = l.lo AND owner = $3 AND generation = l.generation FOR UPDATE) AS h`,
		los, generations, s.number).Query(into([]any{&at}, func() { f.held[at-1] = true }))
	if len(ids) > 0 {
		lo, hi := slices.Min(ids), slices.Max(ids)
		which, args := `FROM rows AS u WHERE `+pendingBetween, []any{lo, hi}
		if hi-lo >= 4*int64(len(ids)) { // they lie far apart: each is looked up
			which, args = `FROM unnest($1::bigint[]) AS i (id) CROSS JOIN LATERAL (SELECT id, "group"
				FROM rows AS u
				WHERE u.id = i.id AND NOT EXISTS (SELECT FROM results AS r WHERE r.id = u.id) OFFSET 0) AS u`,
				[]any{ids}
		}
		var group string
		var of []int64
		b.Queue("SELECT coalesce(u.\"group\", ''), array_agg(u.id) "+which+" GROUP BY 1", args...).
			Query(into([]any{&group, &of}, func() {
				for _, id := range of {
					f.groups[id] = group
				}
			}))
		var suspect int64
		b.Queue("SELECT id FROM suspects WHERE id BETWEEN $1 AND $2", lo, hi).
			Query(into([]any{&suspect}, func() { f.suspects = append(f.suspects, suspect) }))
	}
	err = t.SendBatch(ctx, b).Close()
	return f, err
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
	resultColumns = store.ColumnNames("id", "faces", "detector", "candidates", "landmarks", "checksum")
	faceColumns   = []string{"id", "face", "x", "y", "width", "height", "score", "confidence"}
)

// copyResults writes results and faces. None of the rows has a result.
func copyResults(ctx context.Context, t pgx.Tx, results []store.Result, detectors map[string]int32) error {
	faces := 0
	err := copyIn(ctx, t, "results", resultColumns, len(results), func(f *fields, i int) {
		r := &results[i]
		faces += len(r.Faces)
		f.bigint(r.ID)
		f.int(len(r.Faces))
		if r.Detector != "" {
			f.int(int(detectors[r.Detector]))
		} else {
			f.null()
		}
		f.reals(flatten(r.Candidates))
		f.byteaOrNull(store.PackLandmarks(r.Faces, r.Candidates))
		f.int(int(r.Checksum()))
		for _, c := range store.ResultColumns {
			f.column(c, r)
		}
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

const errCandidates store.DamagedValue = "its candidates are damaged"

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
