package postgres

import (
	"context"
	"errors"
	"iter"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// Frontier implements store.Ordered.
func (j *job) Frontier(ctx context.Context, source int, from int64) (f store.Frontier, err error) {
	err = j.view(ctx, func(t pgx.Tx) error {
		f = store.Frontier{Next: from}
		var last int64
		var some bool
		err := t.QueryRow(ctx, `SELECT last_id, (SELECT coalesce(sum(n), 0)::bigint FROM changes
			WHERE source = s.number),
			EXISTS (SELECT FROM shards WHERE lo <= s.last_id AND source = s.number) FROM sources AS s
			WHERE number = $1`, source).
			Scan(&last, &f.Changes, &some)
		if err != nil || !some {
			return err
		}
		for {
			var lo, hi int64
			err := t.QueryRow(ctx, `SELECT lo, hi FROM shards WHERE lo >= coalesce((SELECT max(lo) FROM shards
				WHERE lo <= $1), $1) AND lo <= $2
				AND hi >= $1 AND source = $3 AND NOT finished ORDER BY lo LIMIT 1`, f.Next, last,
				source).Scan(&lo, &hi)
			if errors.Is(err, pgx.ErrNoRows) { // nothing is pending
				f.Next = max(f.Next, last+1)
				return nil
			}
			if err != nil {
				return err
			}
			err = t.QueryRow(ctx, "SELECT u.id FROM rows AS u WHERE "+pendingBetween+" ORDER BY u.id LIMIT 1",
				max(lo, f.Next), hi).Scan(&f.Next)
			if !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			f.Next = hi + 1 // what is pending in the shard is below
		}
	})
	return f, j.wrap("read how far the rows are done in order", err)
}

// Ends implements store.Ordered.
func (j *job) Ends(ctx context.Context, source int) iter.Seq2[store.GroupEnd, error] {
	return pages(0, 1<<63-1, func(from, _ int64) (page []store.GroupEnd, err error) {
		err = j.retry(ctx, func() error {
			page = nil
			var e store.GroupEnd
			return each(ctx, j.pool, []any{&e.ID, &e.Group},
				func() { page = append(page, e) },
				"SELECT ended, name FROM groups WHERE source = $1 AND ended >= $2 ORDER BY ended "+
					"LIMIT $3", source, from, pageRows)
		})
		return page, j.wrap("read ended groups", err)
	}, func(e store.GroupEnd) int64 { return e.ID })
}

// EndOf implements store.Ordered.
func (j *job) EndOf(ctx context.Context, source int, group string) (id int64, err error) {
	err = j.retry(ctx, func() error {
		return j.pool.QueryRow(ctx, "SELECT coalesce((SELECT ended FROM groups WHERE source = $1 "+
			"AND key = $2), 0)", source, groupKey(group)).Scan(&id)
	})
	return id, j.wrap("read the end of a group", err)
}

// Groups implements store.Ordered.
func (j *job) Groups(ctx context.Context, after int64) iter.Seq2[store.Group, error] {
	return pages(after+1, 1<<63-1, func(from, _ int64) (page []store.Group, err error) {
		err = j.retry(ctx, func() error {
			page = nil
			var g store.Group
			return each(ctx, j.pool, []any{&g.Source, &g.Name, &g.Images, &g.OK, &g.Failed, &g.Faces,
				&g.ImagesWithFaces, &g.LargestFace, &g.First, &g.Last, &g.Revision, &g.Sequence},
				func() {
					g.First, g.Last = g.First.UTC(), g.Last.UTC()
					page = append(page, g)
				}, `SELECT source, name, images, ok, failed, faces, images_with_faces, largest_face, first,
					last,
				revision, finished
				FROM groups WHERE finished >= $1 ORDER BY finished LIMIT $2`, from, pageRows)
		})
		return page, j.wrap("read groups", err)
	}, func(g store.Group) int64 { return g.Sequence })
}
