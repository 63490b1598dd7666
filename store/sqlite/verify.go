package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"facescan/store"
)

// rowCheck is a query for the rows of a range (its two parameters) that violate an invariant: id, and a
// number for the text. Reasons, as JSON, are a third parameter where a query asks for one.
type rowCheck struct{ name, query string }

// ownRowChecks hold for rows that are ours. What a user's rows say is right: results that they do not bear
// out any more are not damage, and the next pass over the table drops them.
var ownRowChecks = []rowCheck{
	{"done-flag",
		"SELECT u.{id}, u.{done} FROM {urls} AS u WHERE u.{id} BETWEEN ?1 AND ?2 AND u.{done} NOT IN (0, 1)"},
	{"done-without-result",
		"SELECT u.{id}, 0 FROM {urls} AS u WHERE u.{id} BETWEEN ?1 AND ?2 AND NOT {pending} " +
			"AND u.{id} NOT IN (SELECT id FROM {results})"},
	{"result-without-done",
		"SELECT r.id, 1 FROM {results} AS r JOIN {urls} AS u ON u.{id} = r.id WHERE r.id BETWEEN ?1 AND ?2 " +
			"AND {pending}"},
	{"result-without-row",
		"SELECT r.id, 0 FROM {results} AS r WHERE r.id BETWEEN ?1 AND ?2 AND r.id NOT IN (SELECT {id} " +
			"FROM {urls})"},
	{"file-without-row",
		"SELECT f.id, f.size FROM {files} AS f WHERE f.id BETWEEN ?1 AND ?2 AND f.id NOT IN (SELECT {id} " +
			"FROM {urls})"},
	{"suspect",
		"SELECT s.id, s.ends FROM {suspects} AS s JOIN {urls} AS u ON u.{id} = s.id " +
			"WHERE s.id BETWEEN ?1 AND ?2 AND NOT {pending}"},
}

var rowChecks = []rowCheck{
	{"face-count",
		`SELECT r.id, (SELECT count(*) FROM {faces} AS f WHERE f.id = r.id) AS n FROM {results} AS r
			WHERE r.id BETWEEN ?1 AND ?2 AND n <> r.faces`},
	{"face-without-result",
		"SELECT f.id, count(*) FROM {faces} AS f WHERE f.id BETWEEN ?1 AND ?2 AND f.id NOT IN (SELECT id " +
			"FROM {results}) GROUP BY f.id"},
	{"face-number",
		`SELECT f.id, f.face FROM {faces} AS f JOIN {results} AS r ON r.id = f.id WHERE f.id BETWEEN ?1 AND ?2
			AND f.face NOT BETWEEN 0 AND r.faces - 1`},
	{"face-box",
		`SELECT f.id, f.face FROM {faces} AS f JOIN {results} AS r ON r.id = f.id WHERE f.id BETWEEN ?1 AND ?2
			AND (f.x < 0 OR f.y < 0
			OR f.width < 1 OR f.height < 1 OR f.x + f.width > r.width OR f.y + f.height > r.height)`},
	{"reason",
		`SELECT r.id, r.faces FROM {results} AS r WHERE r.id BETWEEN ?1 AND ?2 AND r.reason IS NOT NULL
			AND (r.faces <> 0 OR r.reason NOT IN (SELECT value FROM json_each(?3)))`},
	{"detector",
		`SELECT r.id, coalesce(r.detector, 0) FROM {results} AS r WHERE r.id BETWEEN ?1 AND ?2 AND
			CASE WHEN r.detector IS NULL THEN r.reason IS NULL ELSE r.detector NOT IN (SELECT number
			FROM {detectors}) END`},
}

// Verify implements store.Job. Rows are checked in ranges, each one consistent view; sums over the whole job
// in one statement, which on a busy job of billions of rows lets the WAL grow for as long as it takes.
func (j *job) Verify(ctx context.Context, o store.VerifyOptions, report func(store.Problem)) error {
	reasons, err := json.Marshal(store.Reasons(""))
	if err != nil {
		return err
	}
	var whole []func() error
	for _, f := range []func(context.Context, func(store.Problem)) error{j.verifySealed, j.verifyShards,
		j.verifyTallies, j.verifyGroups} {
		whole = append(whole, func() error { return f(ctx, report) })
	}
	checks := rowChecks
	if !j.inPlace {
		checks = slices.Concat(ownRowChecks, rowChecks)
	}
	err = store.VerifyWhole(o, whole, func(from int64) (next int64, more bool, unchecked int64, err error) {
		err = j.check(ctx, report, func(t tx, report func(store.Problem)) (err error) {
			if next, more, err = j.verifyRange(t, from, checks, string(reasons), report); err != nil {
				return err
			}
			unchecked, err = j.verifyResults(t, from, next-1, report)
			return err
		})
		return next, more, unchecked, err
	})
	if err == nil && o.Deep {
		err = j.check(ctx, report, func(t tx, report func(store.Problem)) error {
			var text string
			return t.scan([]any{&text}, func() {
				if text != "ok" {
					report(store.Problem{Check: "database", Text: text})
				}
			}, "PRAGMA quick_check")
		})
	}
	return wrap("verify", err)
}

// check runs f in a view, and passes on what it reports in the end.
func (j *job) check(ctx context.Context, report func(store.Problem),
	f func(t tx, report func(store.Problem)) error) error {
	var found []store.Problem
	err := j.view(ctx, func(t tx) error {
		found = nil
		return f(t, func(p store.Problem) { found = append(found, p) })
	})
	for _, p := range found {
		report(p)
	}
	return err
}

// verifyShards checks that shards tile the imported ids of their source, and that leases have owners.
func (j *job) verifyShards(ctx context.Context, report func(store.Problem)) error {
	return j.check(ctx, report, func(t tx, report func(store.Problem)) error {
		given := int64(0)
		if err := t.one("SELECT generation FROM {job}", nil, &given); err != nil {
			return err
		}
		audit := store.NewShardAudit(given, j.inPlace, report)
		var source int
		var last, rows, generation int64
		var orphan bool
		err := t.scan([]any{&source, &last, &rows, &generation, &orphan}, func() {
			audit.Source(source, last, rows, generation, orphan)
		}, `SELECT s.number, s.last_id, s.rows, s.generation,
			s.importer IS NOT NULL AND (o.number IS NULL OR s.expires IS NULL)
			FROM {sources} AS s LEFT JOIN {owners} AS o ON o.number = s.importer`)
		if err != nil {
			return err
		}
		var c store.Shard
		err = t.scan([]any{&c.Lo, &c.Hi, &source, &c.Rows, &c.Pending, &generation, &orphan}, func() {
			audit.Shard(source, c, generation, orphan)
		}, `SELECT s.lo, s.hi, s.source, s.rows, s.pending, s.generation,
			s.owner IS NOT NULL AND (o.number IS NULL OR s.expires IS NULL)
			FROM {shards} AS s LEFT JOIN {owners} AS o ON o.number = s.owner ORDER BY s.lo`)
		if err == nil {
			audit.Close()
		}
		return err
	})
}

// verifyTallies counts the results and compares.
func (j *job) verifyTallies(ctx context.Context, report func(store.Problem)) error {
	return j.check(ctx, report, func(t tx, report func(store.Problem)) error {
		read := func(query string) (map[tallyKey]store.Counted, error) {
			out := map[tallyKey]store.Counted{}
			var k tallyKey
			var n store.Counted
			return out, t.scan([]any{&k.source, &k.reason, &n.Rows, &n.Faces, &n.ImagesWithFaces},
				func() { out[k] = n }, query)
		}
		said, err := read("SELECT source, reason, rows, faces, images_with_faces FROM {tallies}")
		if err != nil {
			return err
		}
		there, err := read("SELECT " + j.sourceSQL("id") +
			", coalesce(reason, ''), count(*), sum(faces), sum(faces > 0) FROM {results} GROUP BY 1, 2")
		if err != nil {
			return err
		}
		for k, n := range said {
			n.Verify(there[k], k.source, k.reason, report)
			delete(there, k)
		}
		for k, n := range there { // nothing was counted of these
			store.Counted{}.Verify(n, k.source, k.reason, report)
		}
		return nil
	})
}

// verifyRange checks the rows of some shards from an id on, and everything up to the end of the last of
// these. It returns where to go on.
func (j *job) verifyRange(t tx, from int64, checks []rowCheck, reasons string,
	report func(store.Problem)) (next int64, more bool, err error) {
	// Shards are cut and joined meanwhile: the one that holds from is looked at from its beginning.
	lo := from
	first, err := shardAt(t, from)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, false, err
	}
	if err == nil {
		lo = min(lo, first.Lo)
	}
	var span store.Span
	var c store.Shard
	err = t.scan([]any{&c.Lo, &c.Hi, &c.Rows, &c.Pending, &c.Already}, func() { span.Add(c) },
		"SELECT lo, hi, rows, pending, already FROM {shards} WHERE lo >= ? ORDER BY lo LIMIT 1000", lo)
	if err != nil {
		return 0, false, err
	}
	to := span.End()
	if !j.inPlace {
		if err := verifyCounts(t, lo, to, span.Shards, report); err != nil {
			return 0, false, err
		}
	}
	for _, c := range checks {
		args := []any{lo, to}
		if c.name == "reason" {
			args = append(args, reasons)
		}
		var id, n int64
		err := t.scan([]any{&id, &n}, func() { report(store.RowProblem(c.name, id, n)) },
			fmt.Sprintf("%s LIMIT %d", c.query, store.VerifyShown), args...)
		if err != nil {
			return 0, false, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	var id, faces int64
	var packed, landmarks []byte
	err = t.scan([]any{&id, &faces, &packed, &landmarks}, func() {
		candidates, err := unpackFaces(packed)
		check := "candidates"
		if err == nil {
			check = "landmarks"
			err = store.CheckLandmarks(landmarks, int(faces)+len(candidates))
		}
		if err != nil {
			report(store.Problem{Check: check, ID: id, Text: fmt.Sprintf("row %d: %v", id, err)})
		}
	}, "SELECT id, faces, candidates, landmarks FROM {results} WHERE id BETWEEN ? AND ? "+
		"AND (candidates IS NOT NULL OR landmarks IS NOT NULL)", lo, to)
	return to + 1, to != math.MaxInt64, err
}

// verifyCounts compares the counters of shards with their rows, and looks for rows between lo and hi that are
// in none.
func verifyCounts(t tx, lo, hi int64, shards []store.Shard, report func(store.Problem)) error {
	counts := store.NewShardCount(report)
	for _, c := range shards {
		there, err := count(t, c.Lo, c.Hi)
		if err != nil {
			return err
		}
		counts.Shard(c, there)
	}
	all, err := count(t, lo, hi)
	if err == nil {
		counts.Close(lo, hi, all.All())
	}
	return err
}
