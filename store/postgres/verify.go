package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"facescan/store"
)

// verifySpan is how many rows one transaction of verify covers, about.
const verifySpan = 50000

// verifyShown is how many rows one check names in one span: a broken job has the same problem everywhere.
const verifyShown = 10

// rowCheck is a query for the rows of a range, $1 to $2, that violate an invariant: id, and a number for the text.
// Reasons are $3 where a query asks for them. That a row is done without a result, or twice, cannot be: to be done is to
// have a result, under the row's id.
type rowCheck struct{ name, text, query string }

var rowChecks = []rowCheck{
	{"result-without-row", "a result with %d rows",
		"SELECT r.id, 0 FROM results AS r WHERE r.id BETWEEN $1 AND $2 AND NOT EXISTS (SELECT FROM rows AS u WHERE u.id = r.id AND u.id BETWEEN $1 AND $2)"},
	{"face-count", "the number of faces stored is %d, its result says otherwise",
		`SELECT r.id, count(f.id) FROM results AS r LEFT JOIN faces AS f ON f.id = r.id AND f.id BETWEEN $1 AND $2
			WHERE r.id BETWEEN $1 AND $2 GROUP BY r.id HAVING count(f.id) <> r.faces`},
	{"face-without-result", "%d faces without a result",
		`SELECT f.id, count(*) FROM faces AS f WHERE f.id BETWEEN $1 AND $2
			AND NOT EXISTS (SELECT FROM results AS r WHERE r.id = f.id AND r.id BETWEEN $1 AND $2) GROUP BY f.id`},
	{"face-number", "a face has number %d, and they count from 0",
		`SELECT f.id, f.face FROM faces AS f JOIN results AS r ON r.id = f.id WHERE f.id BETWEEN $1 AND $2 AND r.id BETWEEN $1 AND $2
			AND f.face NOT BETWEEN 0 AND r.faces - 1`},
	{"face-box", "face %d lies outside its image, or has no area",
		`SELECT f.id, f.face FROM faces AS f JOIN results AS r ON r.id = f.id WHERE f.id BETWEEN $1 AND $2 AND r.id BETWEEN $1 AND $2
			AND (f.x < 0 OR f.y < 0 OR f.width < 1 OR f.height < 1 OR f.x + f.width > r.width OR f.y + f.height > r.height)`},
	{"reason", "a reason that does not exist, or a failure with %d faces",
		`SELECT r.id, r.faces FROM results AS r WHERE r.id BETWEEN $1 AND $2 AND r.reason IS NOT NULL
			AND (r.faces <> 0 OR r.reason <> ALL($3))`},
	{"detector", "ok, with a detector (%d) that is not known",
		`SELECT r.id, coalesce(r.detector, 0) FROM results AS r WHERE r.id BETWEEN $1 AND $2 AND
			CASE WHEN r.detector IS NULL THEN r.reason IS NULL ELSE r.detector NOT IN (SELECT number FROM detectors) END`},
	{"suspect", "it stopped a decoder %d times, and is done",
		"SELECT s.id, s.ends FROM suspects AS s WHERE s.id BETWEEN $1 AND $2 AND EXISTS (SELECT FROM results AS r WHERE r.id = s.id)"},
	{"candidates", "its %d numbers for candidates are not six each",
		"SELECT id, cardinality(candidates) FROM results WHERE id BETWEEN $1 AND $2 AND cardinality(candidates) % 6 <> 0"},
	{"landmarks", "%d bytes are not the landmarks of its faces and candidates",
		`SELECT id, octet_length(landmarks) FROM results WHERE id BETWEEN $1 AND $2 AND octet_length(landmarks)
			NOT BETWEEN 10 * (faces + coalesce(cardinality(candidates), 0) / 6) AND 50 * (faces + coalesce(cardinality(candidates), 0) / 6)`},
}

// beginInspection begins a view that may take its time, beginSum one that reads whole tables.
const (
	beginInspection = beginView + "; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
	beginSum        = beginInspection + `; SET LOCAL enable_seqscan TO DEFAULT; SET LOCAL enable_bitmapscan TO DEFAULT;
	SET LOCAL enable_material TO DEFAULT; SET LOCAL max_parallel_workers_per_gather TO DEFAULT`
)

// Verify implements store.Job. Rows are checked in ranges, each one consistent view; sums over the whole job in one statement.
func (j *job) Verify(ctx context.Context, o store.VerifyOptions, report func(store.Problem)) error {
	checks := []func(context.Context, pgx.Tx, func(store.Problem)) error{verifySealed, verifyShards, verifyTallies, verifyGroups}
	if o.Deep {
		checks = append(checks, verifyIndexes)
	}
	for _, check := range checks {
		if err := j.told(ctx, beginSum, report, func(t pgx.Tx, report func(store.Problem)) error { return check(ctx, t, report) }); err != nil {
			return j.wrap("verify", err)
		}
	}
	unchecked := int64(0)
	for from, more := int64(math.MinInt64), true; more; {
		var next, n int64
		err := j.told(ctx, beginInspection, report, func(t pgx.Tx, report func(store.Problem)) (err error) {
			if next, more, err = verifyRange(ctx, t, from, report); err != nil {
				return err
			}
			n, err = verifyResults(ctx, t, from, next-1, report)
			return err
		})
		if err != nil {
			return j.wrap("verify", err)
		}
		from, unchecked = next, unchecked+n
	}
	if o.Unchecked != nil {
		o.Unchecked(unchecked)
	}
	return nil
}

// told runs a check on one view, for as long as it takes, and reports its problems when it is through: it may have been
// begun again. On a busy server old versions of rows stay meanwhile.
func (j *job) told(ctx context.Context, begin string, report func(store.Problem), check func(pgx.Tx, func(store.Problem)) error) error {
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
	type source struct{ last, rows int64 }
	var number, generation int64
	var orphan bool
	var s source
	sources := map[int64]source{}
	err := each(ctx, t, []any{&number, &s.last, &s.rows, &generation, &orphan}, func() error {
		sources[number] = s
		checkLease(fmt.Sprintf("the import of source %d", number), 0, orphan, generation, given, report)
		return nil
	}, `SELECT s.number, s.last_id, s.rows, s.generation, s.importer IS NOT NULL AND (o.number IS NULL OR s.expires IS NULL)
		FROM sources AS s LEFT JOIN owners AS o ON o.number = s.importer`)
	if err != nil {
		return err
	}
	rows, ends := map[int64]int64{}, map[int64]int64{}
	var c shard
	err = each(ctx, t, []any{&c.lo, &c.hi, &number, &c.rows, &c.pending, &generation, &orphan}, func() error {
		end, later := ends[number]
		if !later {
			end = number << store.SourceShift
		}
		if c.lo != end+1 {
			report(store.Problem{Check: "shard-tiling", ID: c.lo, Text: fmt.Sprintf("shard %d of source %d begins after id %d", c.lo, number, end)})
		}
		if c.hi < c.lo || c.pending < 0 || c.pending > c.rows {
			report(store.Problem{Check: "shard", ID: c.lo, Text: fmt.Sprintf("shard %d to %d has %d rows, %d pending", c.lo, c.hi, c.rows, c.pending)})
		}
		checkLease(fmt.Sprintf("shard %d", c.lo), c.lo, orphan, generation, given, report)
		ends[number] = c.hi
		rows[number] += c.rows
		return nil
	}, `SELECT s.lo, s.hi, s.source, s.rows, s.pending, s.generation, s.owner IS NOT NULL AND (o.number IS NULL OR s.expires IS NULL)
		FROM shards AS s LEFT JOIN owners AS o ON o.number = s.owner ORDER BY s.lo`)
	if err != nil {
		return err
	}
	for number, end := range ends {
		s, known := sources[number]
		if !known {
			report(store.Problem{Check: "source", Text: fmt.Sprintf("shards of source %d, which is not there", number)})
		} else if s.last != end {
			report(store.Problem{Check: "shard-tiling", ID: end, Text: fmt.Sprintf("shards of source %d end at id %d, its import at %d", number, end, s.last)})
		}
	}
	for number, s := range sources {
		if s.rows != rows[number] {
			report(store.Problem{Check: "source-rows", Text: fmt.Sprintf("source %d counts %d rows, its shards %d", number, s.rows, rows[number])})
		}
	}
	return nil
}

func checkLease(what string, id int64, orphan bool, generation, given int64, report func(store.Problem)) {
	if orphan {
		report(store.Problem{Check: "lease-owner", ID: id, Text: what + " is leased to nobody known, or without an end"})
	}
	if generation > given {
		report(store.Problem{Check: "lease-generation", ID: id, Text: fmt.Sprintf("%s has generation %d, the last one given is %d", what, generation, given)})
	}
}

// verifyTallies counts the results and compares.
func verifyTallies(ctx context.Context, t pgx.Tx, report func(store.Problem)) error {
	var source int
	var reason string
	var said, there tally
	return each(ctx, t, []any{&source, &reason, &said.rows, &said.faces, &said.imagesWithFaces, &there.rows, &there.faces, &there.imagesWithFaces}, func() error {
		if said != there {
			report(store.Problem{Check: "tally", Text: fmt.Sprintf(
				"source %d, reason %q: counters say %d rows, %d faces in %d images; there are %d, %d, %d", source, reason,
				said.rows, said.faces, said.imagesWithFaces, there.rows, there.faces, there.imagesWithFaces)})
		}
		return nil
	}, fmt.Sprintf(`WITH said AS (SELECT source, reason, sum(rows)::bigint AS rows, sum(faces)::bigint AS faces, sum(images_with_faces)::bigint AS images
			FROM tallies GROUP BY 1, 2),
		there AS (SELECT (id >> %d)::int AS source, coalesce(reason, '') AS reason, count(*) AS rows, sum(faces) AS faces,
			count(*) FILTER (WHERE faces > 0) AS images FROM results GROUP BY 1, 2)
		SELECT source, reason, coalesce(s.rows, 0), coalesce(s.faces, 0), coalesce(s.images, 0), coalesce(t.rows, 0), coalesce(t.faces, 0), coalesce(t.images, 0)
		FROM said AS s FULL JOIN there AS t USING (source, reason)`, store.SourceShift))
}

// verifyIndexes reads the large tables whole, once as they lie and once through their index: both must find the same.
func verifyIndexes(ctx context.Context, t pgx.Tx, report func(store.Problem)) error {
	for _, table := range []string{"rows", "results", "faces"} {
		var sums [2]struct{ n, sum string }
		for i, way := range []struct{ name, settings string }{
			{"heap", "SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off"},
			{"index", "SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on"},
		} {
			if _, err := t.Exec(ctx, way.settings); err != nil {
				return err
			}
			// Two texts, as a plan is kept for each.
			err := t.QueryRow(ctx, fmt.Sprintf("SELECT count(*)::text, coalesce(sum(hashint8(id)::bigint), 0)::text FROM (SELECT id FROM %s ORDER BY id) AS by_%s",
				table, way.name)).Scan(&sums[i].n, &sums[i].sum)
			if err != nil {
				return fmt.Errorf("%s: %w", table, err)
			}
		}
		if sums[0] != sums[1] {
			report(store.Problem{Check: "database", Text: fmt.Sprintf("the index of %s does not agree with the table (%s entries, %s rows): REINDEX TABLE %s",
				table, sums[1].n, sums[0].n, table)})
		}
	}
	return nil
}

// verifyRange checks the rows of some shards from an id on, and everything up to the end of the last of these. It
// returns where to go on.
func verifyRange(ctx context.Context, t pgx.Tx, from int64, report func(store.Problem)) (next int64, more bool, err error) {
	// Shards are cut and joined meanwhile: the one that holds from is looked at from its beginning.
	lo, hi := from, int64(math.MaxInt64)
	err = t.QueryRow(ctx, "SELECT lo FROM shards WHERE lo <= $1 AND hi >= $1 ORDER BY lo DESC LIMIT 1", from).Scan(&lo)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, false, err
	}
	var c shard
	var rows, inside int64
	full := false
	var shards []shard
	err = each(ctx, t, []any{&c.lo, &c.hi, &c.rows, &c.pending}, func() error {
		if full = full || rows >= verifySpan; !full {
			shards, rows = append(shards, c), rows+c.rows
		}
		return nil
	}, "SELECT lo, hi, rows, pending FROM shards WHERE lo >= $1 ORDER BY lo LIMIT 1000", lo)
	if err != nil {
		return 0, false, err
	}
	if len(shards) > 0 {
		hi = shards[len(shards)-1].hi
	}
	const count = "SELECT (SELECT count(*) FROM rows WHERE id BETWEEN $1 AND $2), (SELECT count(*) FROM results WHERE id BETWEEN $1 AND $2)"
	var there, done int64
	b := &pgx.Batch{}
	for _, c := range shards {
		b.Queue(count, c.lo, c.hi).QueryRow(func(row pgx.Row) error {
			if err := row.Scan(&there, &done); err != nil {
				return err
			}
			if inside += there; there != c.rows || there-done != c.pending {
				report(store.Problem{Check: "shard-counts", ID: c.lo, Text: fmt.Sprintf("shard %d to %d counts %d rows, %d pending; there are %d, %d",
					c.lo, c.hi, c.rows, c.pending, there, there-done)})
			}
			return nil
		})
	}
	b.Queue(count, lo, hi).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&there, &done)
		if there > inside {
			report(store.Problem{Check: "row-outside-shards", Text: fmt.Sprintf("%d rows between id %d and %d are in no shard", there-inside, lo, hi)})
		}
		return err
	})
	for _, check := range rowChecks {
		args := []any{lo, hi}
		if check.name == "reason" {
			args = append(args, store.Reasons(""))
		}
		b.Queue(fmt.Sprintf("%s LIMIT %d", check.query, verifyShown), args...).Query(func(rows pgx.Rows) error {
			var id, n int64
			_, err := pgx.ForEachRow(rows, []any{&id, &n}, func() error {
				report(store.Problem{Check: check.name, ID: id, Text: fmt.Sprintf("row %d: "+check.text, id, n)})
				return nil
			})
			return err
		})
	}
	if err := t.SendBatch(ctx, b).Close(); err != nil {
		return 0, false, err
	}
	return hi + 1, hi != math.MaxInt64, nil
}
