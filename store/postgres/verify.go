package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// rowCheck is a query for the rows of a range, $1 to $2, that violate an invariant: id, and a number for the
// text. Reasons are $3 where a query asks for them. That a row is done without a result, or twice, cannot be:
// to be done is to have a result, under the row's id.
type rowCheck struct{ name, query string }

var rowChecks = []rowCheck{
	{"result-without-row",
		"SELECT r.id, 0 FROM results AS r WHERE r.id BETWEEN $1 AND $2 AND NOT EXISTS (SELECT " +
			"FROM rows AS u WHERE u.id = r.id AND u.id BETWEEN $1 AND $2)"},
	{"file-without-row",
		"SELECT f.id, f.size FROM files AS f WHERE f.id BETWEEN $1 AND $2 AND NOT EXISTS (SELECT " +
			"FROM rows AS u WHERE u.id = f.id AND u.id BETWEEN $1 AND $2)"},
	{"face-count",
		`SELECT r.id, count(f.id) FROM results AS r LEFT JOIN faces AS f ON f.id = r.id
			AND f.id BETWEEN $1 AND $2
			WHERE r.id BETWEEN $1 AND $2 GROUP BY r.id HAVING count(f.id) <> r.faces`},
	{"face-without-result",
		`SELECT f.id, count(*) FROM faces AS f WHERE f.id BETWEEN $1 AND $2
			AND NOT EXISTS (SELECT FROM results AS r WHERE r.id = f.id AND r.id BETWEEN $1 AND $2)
			GROUP BY f.id`},
	{"face-number",
		`SELECT f.id, f.face FROM faces AS f JOIN results AS r ON r.id = f.id WHERE f.id BETWEEN $1 AND $2
			AND r.id BETWEEN $1 AND $2
			AND f.face NOT BETWEEN 0 AND r.faces - 1`},
	{"face-box",
		`SELECT f.id, f.face FROM faces AS f JOIN results AS r ON r.id = f.id WHERE f.id BETWEEN $1 AND $2
			AND r.id BETWEEN $1 AND $2
			AND (f.x < 0 OR f.y < 0 OR f.width < 1 OR f.height < 1 OR f.x + f.width > r.width
			OR f.y + f.height > r.height)`},
	{"reason",
		`SELECT r.id, r.faces FROM results AS r WHERE r.id BETWEEN $1 AND $2 AND r.reason IS NOT NULL
			AND (r.faces <> 0 OR r.reason <> ALL($3))`},
	{"detector",
		`SELECT r.id, coalesce(r.detector, 0) FROM results AS r WHERE r.id BETWEEN $1 AND $2 AND
			CASE WHEN r.detector IS NULL THEN r.reason IS NULL ELSE r.detector NOT IN (SELECT number
			FROM detectors) END`},
	{"suspect",
		"SELECT s.id, s.ends FROM suspects AS s WHERE s.id BETWEEN $1 AND $2 AND EXISTS (SELECT " +
			"FROM results AS r WHERE r.id = s.id)"},
	{"candidates",
		"SELECT id, cardinality(candidates) FROM results WHERE id BETWEEN $1 AND $2 " +
			"AND cardinality(candidates) % 6 <> 0"},
	{"landmarks",
		`SELECT id, octet_length(landmarks) FROM results WHERE id BETWEEN $1 AND $2
			AND octet_length(landmarks)
			NOT BETWEEN 10 * (faces + coalesce(cardinality(candidates), 0) / 6)
			AND 50 * (faces + coalesce(cardinality(candidates), 0) / 6)`},
}

// beginInspection begins a view that may take its time, beginSum one that reads whole tables.
const (
	beginInspection = beginView + "; SET LOCAL statement_timeout = 0; " +
		"SET LOCAL idle_in_transaction_session_timeout = 0"
	beginSum = beginInspection + `; SET LOCAL enable_seqscan TO DEFAULT;
		SET LOCAL enable_bitmapscan TO DEFAULT;
	SET LOCAL enable_material TO DEFAULT; SET LOCAL max_parallel_workers_per_gather TO DEFAULT`
)

// Verify implements store.Job. Rows are checked in ranges, each one consistent view; sums over the whole job
// in one statement.
func (j *job) Verify(ctx context.Context, o store.VerifyOptions, report func(store.Problem)) error {
	checks := []func(context.Context, pgx.Tx, func(store.Problem)) error{verifySealed, verifyShards,
		verifyTallies, verifyGroups}
	if o.Deep {
		checks = append(checks, verifyIndexes)
	}
	var whole []func() error
	for _, check := range checks {
		whole = append(whole, func() error {
			return j.check(ctx, beginSum, report, func(t pgx.Tx, report func(store.Problem)) error {
				return check(ctx, t, report)
			})
		})
	}
	err := store.VerifyWhole(o, whole, func(from int64) (next int64, more bool, unchecked int64, err error) {
		err = j.check(ctx, beginInspection, report, func(t pgx.Tx, report func(store.Problem)) (err error) {
			if next, more, err = verifyRange(ctx, t, from, report); err != nil {
				return err
			}
			unchecked, err = verifyResults(ctx, t, from, next-1, report)
			return err
		})
		return next, more, unchecked, err
	})
	return j.wrap("verify", err)
}

// check runs a check on one view, for as long as it takes, and reports its problems at the end: it may have
// been begun again. On a busy server old versions of rows stay meanwhile.
func (j *job) check(ctx context.Context, begin string, report func(store.Problem),
	check func(pgx.Tx, func(store.Problem)) error) error {
	var found []store.Problem
	err := j.transact(ctx, begin, func(t pgx.Tx) error {
		found = nil
		return check(t, func(p store.Problem) { found = append(found, p) })
	})
	for _, p := range found {
		report(p)
	}
	return err
}

// verifyShards checks that shards tile the imported ids of their source, and that leases have owners.
func verifyShards(ctx context.Context, t pgx.Tx, report func(store.Problem)) error {
	var given int64
	if err := t.QueryRow(ctx, "SELECT last_value FROM generations").Scan(&given); err != nil {
		return err
	}
	audit := store.NewShardAudit(given, false, report)
	var source int
	var last, rows, generation int64
	var orphan bool
	err := each(ctx, t, []any{&source, &last, &rows, &generation, &orphan}, func() {
		audit.Source(source, last, rows, generation, orphan)
	}, `SELECT s.number, s.last_id, s.rows, s.generation, s.importer IS NOT NULL AND (o.number IS NULL
		OR s.expires IS NULL)
		FROM sources AS s LEFT JOIN owners AS o ON o.number = s.importer`)
	if err != nil {
		return err
	}
	var c store.Shard
	err = each(ctx, t, []any{&c.Lo, &c.Hi, &source, &c.Rows, &c.Pending, &generation, &orphan}, func() {
		audit.Shard(source, c, generation, orphan)
	}, `SELECT s.lo, s.hi, s.source, s.rows, s.pending, s.generation,
			s.owner IS NOT NULL AND (o.number IS NULL OR s.expires IS NULL)
		FROM shards AS s LEFT JOIN owners AS o ON o.number = s.owner ORDER BY s.lo`)
	if err == nil {
		audit.Close()
	}
	return err
}

// verifyTallies counts the results and compares.
func verifyTallies(ctx context.Context, t pgx.Tx, report func(store.Problem)) error {
	var source int
	var reason store.Reason
	var said, there store.Counted
	return each(ctx, t, []any{&source, &reason, &said.Rows, &said.Faces, &said.ImagesWithFaces,
		&there.Rows, &there.Faces, &there.ImagesWithFaces}, func() {
		said.Verify(there, source, reason, report)
	}, fmt.Sprintf(`WITH said AS (SELECT source, reason, sum(rows)::bigint AS rows,
		sum(faces)::bigint AS faces, sum(images_with_faces)::bigint AS images
			FROM tallies GROUP BY 1, 2),
		there AS (SELECT (id >> %d)::int AS source, coalesce(reason, '') AS reason, count(*) AS rows,
		sum(faces) AS faces,
			count(*) FILTER (WHERE faces > 0) AS images FROM results GROUP BY 1, 2)
		SELECT source, reason, coalesce(s.rows, 0), coalesce(s.faces, 0), coalesce(s.images, 0),
		coalesce(t.rows, 0), coalesce(t.faces, 0), coalesce(t.images, 0)
		FROM said AS s FULL JOIN there AS t USING (source, reason)`, store.SourceShift))
}

// verifyIndexes reads the large tables whole, once as they lie and once through their index: both must find
// the same.
func verifyIndexes(ctx context.Context, t pgx.Tx, report func(store.Problem)) error {
	for _, table := range []string{"rows", "results", "faces"} {
		var sums [2]struct{ n, sum string }
		for i, way := range []struct{ name, settings string }{
			{"heap", "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = on; " +
				"SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off"},
			{"index", "SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = on; " +
				"SET LOCAL enable_indexonlyscan = on"},
		} {
			if _, err := t.Exec(ctx, way.settings); err != nil {
				return err
			}
			// Two texts, as a plan is kept for each.
			err := t.QueryRow(ctx, fmt.Sprintf("SELECT count(*)::text, coalesce(sum(hashint8(id)::bigint), "+
				"0)::text FROM (SELECT id FROM %s ORDER BY id) AS by_%s", table, way.name)).Scan(&sums[i].n,
				&sums[i].sum)
			if err != nil {
				return fmt.Errorf("%s: %w", table, err)
			}
		}
		if sums[0] != sums[1] {
			report(store.Problem{Check: "database", Text: fmt.Sprintf(
				"the index of %s does not agree with the table (%s entries, %s rows): REINDEX TABLE %s",
				table, sums[1].n, sums[0].n, table)})
		}
	}
	return nil
}

// verifyRange checks the rows of some shards from an id on, and everything up to the end of the last of
// these. It returns where to go on.
func verifyRange(ctx context.Context, t pgx.Tx, from int64,
	report func(store.Problem)) (next int64, more bool, err error) {
	// Shards are cut and joined meanwhile: the one that holds from is looked at from its beginning.
	lo := from
	err = t.QueryRow(ctx, "SELECT lo FROM shards WHERE lo <= $1 AND hi >= $1 ORDER BY lo DESC LIMIT 1",
		from).Scan(&lo)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, false, err
	}
	var c store.Shard
	var span store.Span
	err = each(ctx, t, []any{&c.Lo, &c.Hi, &c.Rows, &c.Pending}, func() { span.Add(c) },
		"SELECT lo, hi, rows, pending FROM shards WHERE lo >= $1 ORDER BY lo LIMIT 1000", lo)
	if err != nil {
		return 0, false, err
	}
	hi := span.End()
	const count = "SELECT (SELECT count(*) FROM rows WHERE id BETWEEN $1 AND $2), (SELECT count(*) " +
		"FROM results WHERE id BETWEEN $1 AND $2)"
	var there, done int64
	b := &pgx.Batch{}
	counts := store.NewShardCount(report)
	for _, c := range span.Shards {
		b.Queue(count, c.Lo, c.Hi).QueryRow(func(row pgx.Row) error {
			if err := row.Scan(&there, &done); err != nil {
				return err
			}
			counts.Shard(c, store.Shard{Lo: c.Lo, Hi: c.Hi, Rows: there, Pending: there - done})
			return nil
		})
	}
	b.Queue(count, lo, hi).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&there, &done)
		if err == nil {
			counts.Close(lo, hi, there)
		}
		return err
	})
	var id, n int64
	for _, check := range rowChecks {
		args := []any{lo, hi}
		if check.name == "reason" {
			args = append(args, store.Reasons(""))
		}
		b.Queue(fmt.Sprintf("%s LIMIT %d", check.query, store.VerifyShown), args...).
			Query(into([]any{&id, &n}, func() { report(store.RowProblem(check.name, id, n)) }))
	}
	if err := t.SendBatch(ctx, b).Close(); err != nil {
		return 0, false, err
	}
	return hi + 1, hi != math.MaxInt64, nil
}
