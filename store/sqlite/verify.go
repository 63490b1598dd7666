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

// verifySpan is how many rows one read transaction of verify covers, about.
const verifySpan = 50000

// verifyShown is how many rows one check names in one span: a broken job has the same problem everywhere.
const verifyShown = 10

// rowCheck is a query for the rows of a range (its two parameters) that violate an invariant: id, and a number for
// the text. Reasons, as JSON, are a third parameter where a query asks for one.
type rowCheck struct{ name, text, query string }

// ownRowChecks hold for rows that are ours. What a user's rows say is right: results that they do not bear out any more
// are no damage, and the next pass over the table drops them.
var ownRowChecks = []rowCheck{
	{"done-flag", "the Done flag is %d, neither 0 nor 1",
		"SELECT u.{id}, u.{done} FROM {urls} AS u WHERE u.{id} BETWEEN ?1 AND ?2 AND u.{done} NOT IN (0, 1)"},
	{"done-without-result", "done, with %d results",
		"SELECT u.{id}, 0 FROM {urls} AS u WHERE u.{id} BETWEEN ?1 AND ?2 AND NOT {pending} AND u.{id} NOT IN (SELECT id FROM {results})"},
	{"result-without-done", "pending, with %d result",
		"SELECT r.id, 1 FROM {results} AS r JOIN {urls} AS u ON u.{id} = r.id WHERE r.id BETWEEN ?1 AND ?2 AND {pending}"},
	{"result-without-row", "a result with %d rows",
		"SELECT r.id, 0 FROM {results} AS r WHERE r.id BETWEEN ?1 AND ?2 AND r.id NOT IN (SELECT {id} FROM {urls})"},
	{"suspect", "it stopped a decoder %d times, and is done",
		"SELECT s.id, s.ends FROM {suspects} AS s JOIN {urls} AS u ON u.{id} = s.id WHERE s.id BETWEEN ?1 AND ?2 AND NOT {pending}"},
}

var rowChecks = []rowCheck{
	{"face-count", "the number of faces stored is %d, its result says otherwise",
		`SELECT r.id, (SELECT count(*) FROM {faces} AS f WHERE f.id = r.id) AS n FROM {results} AS r
			WHERE r.id BETWEEN ?1 AND ?2 AND n <> r.faces`},
	{"face-without-result", "%d faces without a result",
		"SELECT f.id, count(*) FROM {faces} AS f WHERE f.id BETWEEN ?1 AND ?2 AND f.id NOT IN (SELECT id FROM {results}) GROUP BY f.id"},
	{"face-number", "a face has number %d, and they count from 0",
		`SELECT f.id, f.face FROM {faces} AS f JOIN {results} AS r ON r.id = f.id WHERE f.id BETWEEN ?1 AND ?2
			AND f.face NOT BETWEEN 0 AND r.faces - 1`},
	{"face-box", "face %d lies outside its image, or has no area",
		`SELECT f.id, f.face FROM {faces} AS f JOIN {results} AS r ON r.id = f.id WHERE f.id BETWEEN ?1 AND ?2 AND (f.x < 0 OR f.y < 0
			OR f.width < 1 OR f.height < 1 OR f.x + f.width > r.width OR f.y + f.height > r.height)`},
	{"reason", "a reason that does not exist, or a failure with %d faces",
		`SELECT r.id, r.faces FROM {results} AS r WHERE r.id BETWEEN ?1 AND ?2 AND r.reason IS NOT NULL
			AND (r.faces <> 0 OR r.reason NOT IN (SELECT value FROM json_each(?3)))`},
	{"detector", "ok, with a detector (%d) that is not known",
		`SELECT r.id, coalesce(r.detector, 0) FROM {results} AS r WHERE r.id BETWEEN ?1 AND ?2 AND
			CASE WHEN r.detector IS NULL THEN r.reason IS NULL ELSE r.detector NOT IN (SELECT number FROM {detectors}) END`},
}

// Verify implements store.Job. Rows are checked in ranges, each one consistent view; sums over the whole job in
// one statement, which on a busy job of billions of rows lets the WAL grow for as long as it takes.
func (j *job) Verify(ctx context.Context, o store.VerifyOptions, report func(store.Problem)) error {
	reasons, err := json.Marshal(store.Reasons(""))
	if err != nil {
		return err
	}
	for _, f := range []func(context.Context, func(store.Problem)) error{j.verifySealed, j.verifyShards, j.verifyTallies, j.verifyGroups} {
		if err := f(ctx, report); err != nil {
			return wrap("verify", err)
		}
	}
	checks := rowChecks
	if !j.inPlace {
		checks = slices.Concat(ownRowChecks, rowChecks)
	}
	unchecked := int64(0)
	for from, more := int64(math.MinInt64), true; more; {
		next, n := from, int64(0)
		err := j.check(ctx, report, func(t tx, report func(store.Problem)) (err error) {
			if next, more, err = j.verifyRange(t, from, checks, string(reasons), report); err != nil {
				return err
			}
			n, err = j.verifyResults(t, from, next-1, report)
			return err
		})
		from, unchecked = next, unchecked+n
		if err != nil {
			return wrap("verify", err)
		}
	}
	if o.Unchecked != nil {
		o.Unchecked(unchecked)
	}
	if o.Deep {
		return wrap("verify", j.check(ctx, report, func(t tx, report func(store.Problem)) error {
			return t.each("PRAGMA quick_check", nil, func(r *sql.Rows) error {
				var text string
				err := r.Scan(&text)
				if text != "ok" {
					report(store.Problem{Check: "database", Text: text})
				}
				return err
			})
		}))
	}
	return nil
}

// check runs f in a view, and passes on what it reports in the end.
func (j *job) check(ctx context.Context, report func(store.Problem), f func(t tx, report func(store.Problem)) error) error {
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
		type source struct{ last, rows int64 }
		sources := map[int64]source{}
		err := t.each(`SELECT s.number, s.last_id, s.rows, s.generation, s.importer IS NOT NULL AND (o.number IS NULL OR s.expires IS NULL)
			FROM {sources} AS s LEFT JOIN {owners} AS o ON o.number = s.importer`, nil, func(r *sql.Rows) error {
			var number, generation int64
			var s source
			var orphan bool
			err := r.Scan(&number, &s.last, &s.rows, &generation, &orphan)
			sources[number] = s
			checkLease(fmt.Sprintf("the import of source %d", number), 0, orphan, generation, given, report)
			return err
		})
		if err != nil {
			return err
		}
		rows, ends := map[int64]int64{}, map[int64]int64{}
		err = t.each(`SELECT s.lo, s.hi, s.source, s.rows, s.pending, s.generation,
			s.owner IS NOT NULL AND (o.number IS NULL OR s.expires IS NULL)
			FROM {shards} AS s LEFT JOIN {owners} AS o ON o.number = s.owner ORDER BY s.lo`, nil, func(r *sql.Rows) error {
			var s shard
			var number, generation int64
			var orphan bool
			if err := r.Scan(&s.lo, &s.hi, &number, &s.rows, &s.pending, &generation, &orphan); err != nil {
				return err
			}
			end, later := ends[number]
			if !later && !j.inPlace {
				end = number << store.SourceShift
			}
			if (later || !j.inPlace) && s.lo != end+1 {
				report(store.Problem{Check: "shard-tiling", ID: s.lo, Text: fmt.Sprintf("shard %d of source %d begins after id %d", s.lo, number, end)})
			}
			if s.hi < s.lo || s.pending < 0 || s.pending > s.rows {
				report(store.Problem{Check: "shard", ID: s.lo, Text: fmt.Sprintf("shard %d to %d has %d rows, %d pending", s.lo, s.hi, s.rows, s.pending)})
			}
			checkLease(fmt.Sprintf("shard %d", s.lo), s.lo, orphan, generation, given, report)
			ends[number] = s.hi
			rows[number] += s.rows
			return nil
		})
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
	})
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
func (j *job) verifyTallies(ctx context.Context, report func(store.Problem)) error {
	return j.check(ctx, report, func(t tx, report func(store.Problem)) error {
		type key struct {
			source int64
			reason string
		}
		read := func(query string) (map[key]tally, error) {
			out := map[key]tally{}
			return out, t.each(query, nil, func(r *sql.Rows) error {
				var k key
				var n tally
				err := r.Scan(&k.source, &k.reason, &n.rows, &n.faces, &n.imagesWithFaces)
				out[k] = n
				return err
			})
		}
		said, err := read("SELECT source, reason, rows, faces, images_with_faces FROM {tallies}")
		if err != nil {
			return err
		}
		counted, err := read("SELECT " + j.sourceSQL("id") + ", coalesce(reason, ''), count(*), sum(faces), sum(faces > 0) FROM {results} GROUP BY 1, 2")
		if err != nil {
			return err
		}
		for k := range counted {
			if _, ok := said[k]; !ok {
				said[k] = tally{}
			}
		}
		for k, n := range said {
			if c := counted[k]; c != n {
				report(store.Problem{Check: "tally", Text: fmt.Sprintf(
					"source %d, reason %q: counters say %d rows, %d faces in %d images; there are %d, %d, %d",
					k.source, k.reason, n.rows, n.faces, n.imagesWithFaces, c.rows, c.faces, c.imagesWithFaces)})
			}
		}
		return nil
	})
}

// verifyRange checks the rows of some shards from an id on, and everything up to the end of the last of these. It
// returns where to go on.
func (j *job) verifyRange(t tx, from int64, checks []rowCheck, reasons string, report func(store.Problem)) (next int64, more bool, err error) {
	// Shards are cut and joined meanwhile: the one that holds from is looked at from its beginning.
	lo, to := from, int64(math.MaxInt64)
	first, err := shardAt(t, from)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, false, err
	}
	if err == nil {
		lo = min(lo, first.lo)
	}
	var shards []shard
	rows := int64(0)
	err = t.each("SELECT lo, hi, rows, pending, already FROM {shards} WHERE lo >= ? ORDER BY lo LIMIT 1000", []any{lo}, func(r *sql.Rows) error {
		var s shard
		err := r.Scan(&s.lo, &s.hi, &s.rows, &s.pending, &s.already)
		if rows < verifySpan {
			shards, rows = append(shards, s), rows+s.rows+s.already
		}
		return err
	})
	if err != nil {
		return 0, false, err
	}
	if len(shards) > 0 {
		to = shards[len(shards)-1].hi
	}
	if !j.inPlace {
		outside, err := verifyCounts(t, lo, to, shards, report)
		if err != nil {
			return 0, false, err
		}
		if outside > 0 {
			report(store.Problem{Check: "row-outside-shards", Text: fmt.Sprintf("%d rows between id %d and %d are in no shard", outside, lo, to)})
		}
	}
	for _, c := range checks {
		args := []any{lo, to, reasons}[:2]
		if c.name == "reason" {
			args = append(args, reasons)
		}
		err := t.each(fmt.Sprintf("%s LIMIT %d", c.query, verifyShown), args, func(r *sql.Rows) error {
			var id, n int64
			err := r.Scan(&id, &n)
			report(store.Problem{Check: c.name, ID: id, Text: fmt.Sprintf("row %d: "+c.text, id, n)})
			return err
		})
		if err != nil {
			return 0, false, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	err = t.each("SELECT id, faces, candidates, landmarks FROM {results} WHERE id BETWEEN ? AND ? AND (candidates IS NOT NULL OR landmarks IS NOT NULL)",
		[]any{lo, to}, func(r *sql.Rows) error {
			var id, faces int64
			var packed, landmarks []byte
			if err := r.Scan(&id, &faces, &packed, &landmarks); err != nil {
				return err
			}
			candidates, err := unpackFaces(packed)
			check := "candidates"
			if err == nil {
				check = "landmarks"
				err = store.CheckLandmarks(landmarks, int(faces)+len(candidates))
			}
			if err != nil {
				report(store.Problem{Check: check, ID: id, Text: fmt.Sprintf("row %d: %v", id, err)})
			}
			return nil
		})
	return to + 1, to != math.MaxInt64, err
}

// verifyCounts compares the shards' counters with their rows, and counts the rows between lo and hi that are in none.
func verifyCounts(t tx, lo, hi int64, shards []shard, report func(store.Problem)) (outside int64, err error) {
	inside := int64(0)
	for _, s := range shards {
		c, err := count(t, s.lo, s.hi)
		if err != nil {
			return 0, err
		}
		inside += c.rows + c.already
		if c != s {
			report(store.Problem{Check: "shard-counts", ID: s.lo, Text: fmt.Sprintf("shard %d to %d counts %d rows, %d pending, %d done on arrival; there are %d, %d, %d",
				s.lo, s.hi, s.rows, s.pending, s.already, c.rows, c.pending, c.already)})
		}
	}
	all, err := count(t, lo, hi)
	return all.rows + all.already - inside, err
}
