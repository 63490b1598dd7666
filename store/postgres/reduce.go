package postgres

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// tallyRows is how many results are summed up in one query.
const tallyRows = 20_000

// Tally implements store.Job.
func (j *job) Tally(ctx context.Context, by store.Key) iter.Seq2[store.Tally, error] {
	return store.Pages(math.MinInt64, func(from int64) (page []store.Tally, next int64, more bool,
		err error) {
		var last *int64
		err = j.view(ctx, func(t pgx.Tx) (err error) {
			if last, err = lastOf(ctx, t, from, tallyRows); err != nil || last == nil {
				return err
			}
			if by == store.ByHost {
				page, err = tallyHosts(ctx, t, from, *last)
			} else {
				page, err = tallyBy(ctx, t, by, from, *last)
			}
			return err
		})
		next, more = store.Next(last)
		return page, next, more, j.wrap("sum the rows up", err)
	})
}

// lastOf is the last of the first n results from an id on; nil if there is none.
func lastOf(ctx context.Context, t pgx.Tx, from int64, n int) (last *int64, err error) {
	err = t.QueryRow(ctx, "SELECT max(id) FROM (SELECT id FROM results WHERE id >= $1 ORDER BY id LIMIT $2) "+
		"AS page", from, n).Scan(&last)
	return last, err
}

// tallyBy sums a range up, both ends included, by what SQL can read.
func tallyBy(ctx context.Context, t pgx.Tx, by store.Key, lo, hi int64) (page []store.Tally, err error) {
	source, key, rows := "0", "r."+string(by), "results AS r"
	switch by {
	case store.BySHA256:
		key = "encode(r.sha256, 'hex')"
	case store.ByGroup:
		source, key, rows = fmt.Sprintf("(r.id >> %d)::int", store.SourceShift), `u."group"`,
			"results AS r JOIN rows AS u ON u.id = r.id AND u.id BETWEEN $1 AND $2"
	}
	var n store.Tally
	err = each(ctx, t, []any{&n.Source, &n.Value, &n.Rows, &n.OK, &n.Faces, &n.ImagesWithFaces, &n.Bytes},
		func() { page = append(page, n) },
		"SELECT "+source+", coalesce("+key+`, ''), count(*), count(*) FILTER (WHERE r.reason IS NULL),
		sum(r.faces)::bigint, count(*) FILTER (WHERE r.faces > 0), sum(r.bytes)::bigint
		FROM `+rows+" WHERE r.id BETWEEN $1 AND $2 GROUP BY 1, 2", lo, hi)
	return page, err
}

// tallyHosts sums a range up by hosts, which are read out of the URLs here.
func tallyHosts(ctx context.Context, t pgx.Tx, lo, hi int64) ([]store.Tally, error) {
	byHost := store.HostTallies{}
	var address string
	var fine bool
	var faces, bytes int64
	err := each(ctx, t, []any{&address, &fine, &faces, &bytes},
		func() { byHost.Add(address, fine, faces, bytes) },
		`SELECT u.url, r.reason IS NULL, r.faces::bigint, r.bytes FROM results AS r JOIN rows AS u
		ON u.id = r.id
		WHERE r.id BETWEEN $1 AND $2 AND u.id BETWEEN $1 AND $2`, lo, hi)
	return slices.Collect(maps.Values(byHost)), err
}

// Size implements store.Job. The server's write-ahead log is not the job's own.
func (j *job) Size(ctx context.Context) (data, log int64, err error) {
	err = j.retry(ctx, func() error {
		return j.pool.QueryRow(ctx, `SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
			FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
			WHERE n.nspname = current_schema() AND c.relkind = 'r'`).Scan(&data)
	})
	return data, 0, j.wrap("read the size", err)
}
