package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"slices"
	"time"

	"facescan/store"
)

// Frontier implements store.Ordered.
func (j *job) Frontier(ctx context.Context, source int, from int64) (f store.Frontier, err error) {
	err = j.view(ctx, func(t tx) error {
		f.Next = from
		var last int64
		if err := t.one("SELECT changes, last_id FROM {sources} WHERE number = ?", []any{source}, &f.Changes,
			&last); err != nil {
			return err
		}
		for {
			var lo, hi int64
			err := t.one("SELECT lo, hi FROM {shards} WHERE "+shardFrom+
				" AND lo <= ?2 AND source = ?3 AND pending > 0 ORDER BY lo LIMIT 1",
				[]any{f.Next, last, source}, &lo, &hi)
			if errors.Is(err, sql.ErrNoRows) { // nothing is pending
				break
			}
			if err != nil {
				return err
			}
			err = t.one("SELECT u.{id} FROM {urls} AS u WHERE u.{id} BETWEEN ? AND ? AND {pending} "+
				"ORDER BY u.{id} LIMIT 1", []any{max(lo, f.Next), hi}, &f.Next)
			if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			f.Next = hi + 1 // what is pending in the shard is below
		}
		some := false
		err := t.one("SELECT EXISTS (SELECT 1 FROM {shards} WHERE source = ?)", []any{source}, &some)
		if some {
			f.Next = max(f.Next, last+1)
		}
		return err
	})
	return f, wrap("read how far the rows are done in order", err)
}

// Ends implements store.Ordered.
func (j *job) Ends(ctx context.Context, source int) iter.Seq2[store.GroupEnd, error] {
	return wrapped("read ended groups", groupPages(ctx, j, -1,
		"SELECT ended, name FROM {groups} WHERE source = ? AND ended > ? ORDER BY ended", []any{source},
		func(r *sql.Rows) (e store.GroupEnd, at int64, err error) {
			err = r.Scan(&e.ID, &e.Group)
			return e, e.ID, err
		}))
}

// EndOf implements store.Ordered.
func (j *job) EndOf(ctx context.Context, source int, group string) (id int64, err error) {
	err = j.view(ctx, func(t tx) error {
		return t.one("SELECT coalesce((SELECT ended FROM {groups} WHERE source = ? AND name = ?), 0)",
			[]any{source, group}, &id)
	})
	return id, wrap("read the end of a group", err)
}

// Groups implements store.Ordered.
func (j *job) Groups(ctx context.Context, after int64) iter.Seq2[store.Group, error] {
	return wrapped("read groups", groupPages(ctx, j, after,
		`SELECT source, name, images, ok, failed, faces, images_with_faces, largest_face, first, last,
			revision, finished FROM {groups} WHERE finished > ? ORDER BY finished`, nil,
		func(r *sql.Rows) (g store.Group, at int64, err error) {
			var first, last int64
			err = r.Scan(&g.Source, &g.Name, &g.Images, &g.OK, &g.Failed, &g.Faces, &g.ImagesWithFaces,
				&g.LargestFace, &first, &last, &g.Revision, &g.Sequence)
			g.First, g.Last = time.UnixMilli(first).UTC(), time.UnixMilli(last).UTC()
			return g, g.Sequence, err
		}))
}

// groupPage is how many groups one read transaction covers.
const groupPage = 500

// groupPages yields what scan makes of groups, page after page. Scan also returns the group's place in the
// order, from which the next page goes on: the last parameter of the query. Args are the ones before it.
func groupPages[T any](ctx context.Context, j *job, after int64, query string, args []any,
	scan func(*sql.Rows) (T, int64, error)) iter.Seq2[T, error] {
	return store.Pages(after, func(after int64) (page []T, last int64, more bool, err error) {
		err = j.view(ctx, func(t tx) error {
			page, last = nil, after
			return t.each(query+" LIMIT ?", slices.Concat(args, []any{after, groupPage}),
				func(r *sql.Rows) error {
					v, at, err := scan(r)
					page, last = append(page, v), at
					return err
				})
		})
		return page, last, len(page) == groupPage, err
	})
}
