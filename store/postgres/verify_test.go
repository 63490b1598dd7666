package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest"
)

// sound makes a job with a bit of everything: two sources, done and failed rows, faces, a lease, pending
// rows, a group.
func sound(t *testing.T) *job {
	t.Helper()
	ctx := context.Background()
	j, s := openJob(t)
	for k := range 2 {
		_, err := j.AddSource(ctx, store.Source{Name: fmt.Sprint("list", k)})
		ok(t, err)
		l, err := s.LeaseSource(ctx, k)
		ok(t, err)
		rows := listRows(k<<store.SourceShift+1, 100)
		rows[99].Bad = true
		rows[0].Group, rows[1].Group, rows[98].Group, rows[99].Group = "done", "done", "open", "open"
		ok(t, s.Append(ctx, l, rows, store.Position{Line: 100}, true, 20))
		ok(t, s.ReleaseSource(ctx, l))
	}
	for range 2 {
		l, err := s.Claim(ctx, 40)
		ok(t, err)
		rows, err := s.Pending(ctx, l, 0, 30)
		ok(t, err)
		var batch []store.Result
		for i, r := range rows {
			one := result(r.ID, i%3)
			if i%4 == 3 {
				one = store.Result{ID: r.ID, Status: store.Failed, Reason: store.Timeout, Time: time.Now()}
			}
			batch = append(batch, one)
		}
		ok(t, s.Commit(ctx, l, batch))
	}
	return j
}

func (j *job) tamper(t testing.TB, text string) {
	t.Helper()
	tag, err := j.pool.Exec(context.Background(), text)
	ok(t, err)
	if tag.RowsAffected() == 0 {
		t.Errorf("%s: no row is concerned", text)
	}
}

func TestVerifySeesEachKindOfDamage(t *testing.T) {
	t.Parallel()
	if found := storetest.Problems(t, sound(t), true); len(found) > 0 {
		t.Fatalf("a sound job has problems: %v", found)
	}
	for _, c := range []struct{ name, sql, check string }{
		{"a result deleted", "DELETE FROM results WHERE id = 5", "shard-counts"},
		{"a result out of nothing", "INSERT INTO results SELECT 90, bytes, took, time, width, height, 0, " +
			"attempts, detector, http_status, partial, outputs FROM results WHERE id = 1", "shard-counts"},
		{"a row deleted", "DELETE FROM rows WHERE id = 5", "result-without-row"},
		{"a pending row deleted", "DELETE FROM rows WHERE id = 90", "shard-counts"},
		{"a row added in a gap of no shard", "INSERT INTO rows VALUES (500, 'x')", "row-outside-shards"},
		{"a row moved outside", "UPDATE rows SET id = -7 WHERE id = 90", "row-outside-shards"},
		{"a face deleted", "DELETE FROM faces WHERE id = (SELECT min(id) FROM faces)", "face-count"},
		{"a face added", "INSERT INTO faces (id, face, x, y, width, height, score, confidence) " +
			"SELECT id, 9, x, y, width, height, score, confidence FROM faces LIMIT 1", "face-count"},
		{"landmarks cut", "UPDATE results SET landmarks = '\\x0102' WHERE id = (SELECT min(id) FROM faces)",
			"landmarks"},
		{"faces of nobody", "INSERT INTO faces (id, face, x, y, width, height, score, confidence) " +
			"VALUES (95, 0, 1, 1, 1, 1, 5.0, 0.5)", "face-without-result"},
		{"a face outside its image", "UPDATE faces SET x = 490 WHERE id = (SELECT min(id) FROM faces)",
			"face-box"},
		{"a face without height", "UPDATE faces SET height = 0 WHERE id = (SELECT min(id) FROM faces)",
			"face-box"},
		{"a reason of nobody's", "UPDATE results SET reason = 'weather' WHERE reason = 'timeout'", "reason"},
		{"a failure with faces", "UPDATE results SET reason = 'timeout' WHERE faces > 0", "reason"},
		{"ok without a detector", "UPDATE results SET detector = NULL WHERE reason IS NULL", "detector"},
		{"an unknown detector", "DELETE FROM detectors", "detector"},
		{"damaged candidates", "UPDATE results SET candidates = '{1,2}' WHERE id = 1", "candidates"},
		{"a tally off by one", "UPDATE tallies SET rows = rows + 1 WHERE reason = ''", "tally"},
		{"a tally of faces", "UPDATE tallies SET faces = faces + 1 WHERE reason = ''", "tally"},
		{"a tally of images", "UPDATE tallies SET images_with_faces = 0 WHERE reason = ''", "tally"},
		{"a tally lost", "DELETE FROM tallies WHERE reason = 'timeout'", "tally"},
		{"a tally of nothing", "INSERT INTO tallies VALUES (99, 0, 'tls', 1, 0, 0)", "tally"},
		{"a shard lost", "DELETE FROM shards WHERE lo = 61", "shard-tiling"},
		{"the first shard lost", "DELETE FROM shards WHERE lo = (SELECT min(lo) FROM shards)",
			"shard-tiling"},
		{"the last shard lost", "DELETE FROM shards WHERE lo = (SELECT max(lo) FROM shards)", "shard-tiling"},
		{"a gap between shards", "UPDATE shards SET hi = hi - 1 WHERE lo = 61", "shard-tiling"},
		{"shards overlap", "UPDATE shards SET hi = hi + 1 WHERE lo = 61", "shard-tiling"},
		{"a shard upside down", "UPDATE shards SET hi = lo - 5 WHERE lo = 61", "shard"},
		{"a shard's pending rows", "UPDATE shards SET pending = pending - 1 WHERE lo = 61", "shard-counts"},
		{"a shard's rows", "UPDATE shards SET rows = rows + 1 WHERE lo = 61", "shard-counts"},
		{"more pending than rows", "UPDATE shards SET pending = rows + 1 WHERE lo = 61", "shard"},
		{"a shard of another source", "UPDATE shards SET source = 1 WHERE lo = 61", "shard-tiling"},
		{"a shard of no source", "UPDATE shards SET source = 9 WHERE lo = 61", "source"},
		{"a lease of nobody", "UPDATE shards SET owner = 999 WHERE lo = 61", "lease-owner"},
		{"a lease without an end", "UPDATE shards SET owner = 1, expires = NULL WHERE lo = 61",
			"lease-owner"},
		{"a generation never given", "UPDATE shards SET generation = 999 WHERE lo = 1", "lease-generation"},
		{"an import by nobody", "UPDATE sources SET importer = 999, expires = now() WHERE number = 0",
			"lease-owner"},
		{"a source's rows", "UPDATE sources SET rows = rows + 1 WHERE number = 1", "source-rows"},
		{"a source's end", "UPDATE sources SET last_id = last_id + 1 WHERE number = 1", "shard-tiling"},
		{"a source lost", "DELETE FROM sources WHERE number = 1", "source"},
		{"a suspect that is done", "INSERT INTO suspects VALUES (5, 1)", "suspect"},
		{"a group lost", "DELETE FROM groups WHERE name = 'open'", "group"},
		{"a group of nobody", "INSERT INTO groups VALUES (0, 'x', 'x', 1, 0, 0, 0, 0, 0, NULL, NULL, false)",
			"group"},
		{"a group's images", "UPDATE groups SET images = images + 1 WHERE name = 'open'", "group"},
		{"a group's largest face", "UPDATE groups SET largest_face = 7777 WHERE name = 'done'", "group"},
		{"a group that is not finished", "UPDATE groups SET finished = NULL WHERE name = 'done'", "group"},
		{"a group that is finished too early", "UPDATE groups SET finished = 1 WHERE name = 'open'", "group"},
		{"a group's place that was never given", "UPDATE groups SET finished = 999 WHERE name = 'done' " +
			"AND source = 0", "group"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			j := sound(t)
			j.tamper(t, c.sql)
			if found := storetest.Problems(t, j, false); !slices.Contains(found, c.check) {
				t.Errorf("%s: verify says %v, not %s", c.sql, found, c.check)
			}
		})
	}
}

// TestVerifyDeep gives a table an index that lacks a row, as a broken disk or library does.
func TestVerifyDeep(t *testing.T) {
	t.Parallel()
	j := sound(t)
	// What comes in while the catalogue says that the index is not ready does not get into it.
	j.tamper(t, `WITH gone AS (UPDATE pg_index SET indisvalid = false, indisready = false
		WHERE indexrelid = 'rows_pkey'::regclass RETURNING 1) SELECT * FROM gone`)
	_, err := j.pool.Exec(context.Background(), "INSERT INTO rows VALUES (77777, 'not in the index')")
	ok(t, err)
	j.tamper(t, `WITH back AS (UPDATE pg_index SET indisvalid = true, indisready = true
		WHERE indexrelid = 'rows_pkey'::regclass RETURNING 1) SELECT * FROM back`)
	j.pool.Reset()
	if found := storetest.Problems(t, j, true); !slices.Contains(found, "database") {
		t.Errorf("verify says %v of a damaged index", found)
	}
}

// TestVerifyBesideWork verifies again and again while others work: nothing may look wrong for a moment.
func TestVerifyBesideWork(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	j, s := openJob(t)
	_, err := j.AddSource(ctx, store.Source{Name: "list"})
	ok(t, err)
	l, err := s.LeaseSource(ctx, 0)
	ok(t, err)
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			for at := 1; at < 60_000; at += 2000 {
				rows := listRows(at, 2000)
				for i := range rows {
					rows[i].Group = fmt.Sprint(i % 7)
				}
				if err := s.Append(ctx, l, rows, store.Position{}, at > 58_000, 500); err != nil {
					return err
				}
				shard, err := s.Claim(ctx, 777)
				if err != nil {
					return err
				}
				pending, err := s.Pending(ctx, shard, 0, 1000)
				if err != nil {
					return err
				}
				var batch []store.Result
				for _, r := range pending {
					batch = append(batch, result(r.ID, int(r.ID%2)))
				}
				if err := s.Commit(ctx, shard, batch); err != nil {
					return err
				}
				if err := s.Release(ctx, []store.Lease{shard}); err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	for rounds := 1; ; rounds++ {
		if found := storetest.Problems(t, j, false); len(found) > 0 {
			t.Fatalf("round %d: %v", rounds, found)
		}
		select {
		case err := <-done:
			ok(t, err)
			return
		default:
		}
	}
}

// TestFinishedShardsAreJoined has small claims leave few shards behind.
func TestFinishedShardsAreJoined(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	j, s := openJob(t)
	fill(t, j, s, 20_000)
	for {
		var held []store.Lease
		for range 3 { // given back in another order
			l, err := s.Claim(ctx, 500)
			if err == nil {
				held = append(held, l)
			}
		}
		if len(held) == 0 {
			break
		}
		slices.Reverse(held)
		for _, l := range held {
			var batch []store.Result
			for id := l.Lo; id <= l.Hi; id++ {
				batch = append(batch, result(id, 0))
			}
			ok(t, s.Commit(ctx, l, batch))
			ok(t, s.Release(ctx, []store.Lease{l}))
		}
	}
	c, err := j.Counts(ctx)
	ok(t, err)
	if c.Shards.Total != 1 || c.Done != 20_000 {
		t.Errorf("%d shards are left of %d rows", c.Shards.Total, c.Done)
	}
	if found := storetest.Problems(t, j, false); len(found) > 0 {
		t.Error(found)
	}
	n := 0
	ok(t, each(ctx, j.pool, []any{&n}, func() {}, "SELECT count(*) FROM tallies"))
	if n > 2 {
		t.Errorf("%d rows of tallies", n)
	}
}

// TestRowChecksHaveTexts: what each check finds can be printed.
func TestRowChecksHaveTexts(t *testing.T) {
	for _, c := range rowChecks {
		if text := store.RowProblem(c.name, 1, 2).Text; strings.Contains(text, "%!") {
			t.Errorf("%s: %s", c.name, text)
		}
	}
}
