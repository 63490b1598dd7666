package sqlite

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest"
)

// sound makes a job with a bit of everything: two sources, done and failed rows, faces, a lease, pending
// rows.
func sound(t *testing.T) *job {
	t.Helper()
	ctx := context.Background()
	opened, err := target.Open(ctx, target.Create(t))
	ok(t, err)
	j := opened.(*job)
	t.Cleanup(func() { ok(t, j.Close()) })
	s, err := j.Join(ctx, store.Owner{ID: "me"}, time.Hour)
	ok(t, err)
	t.Cleanup(func() { ok(t, s.Leave(ctx)) })
	for k := range 2 {
		_, err := j.AddSource(ctx, store.Source{Name: fmt.Sprint("list", k)})
		ok(t, err)
		l, err := s.LeaseSource(ctx, k)
		ok(t, err)
		rows := listRows(k<<store.SourceShift+1, 100)
		for i := range rows {
			if i%2 == 0 || i == 99 {
				rows[i].Group = fmt.Sprint("album ", i/10)
			}
		}
		rows[99].Bad = true
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
			result := benchResult(r.ID, i%3)
			if i%4 == 3 {
				result = store.Result{ID: r.ID, Status: store.Failed, Reason: store.Timeout, Time: time.Now()}
			}
			batch = append(batch, result)
		}
		ok(t, s.Commit(ctx, l, batch))
	}
	return j
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (j *job) tamper(t testing.TB, text string) {
	t.Helper()
	ok(t, j.writer.update(context.Background(), "test", func(tx tx) error {
		n, err := tx.exec(text)
		if err == nil && n == 0 {
			t.Errorf("%s: no row is concerned", text)
		}
		return err
	}))
}

func TestVerifySeesEachKindOfDamage(t *testing.T) {
	t.Parallel()
	if found := storetest.Problems(t, sound(t), true); len(found) > 0 {
		t.Fatalf("a sound job has problems: %v", found)
	}
	for _, c := range []struct{ name, sql, check string }{
		{"a result deleted", "DELETE FROM results WHERE id = 5", "done-without-result"},
		{"a flag set", "UPDATE urls SET done = 1 WHERE id = 60", "done-without-result"},
		{"a flag cleared", "UPDATE urls SET done = 0 WHERE id = 5", "result-without-done"},
		{"a flag of 2", "UPDATE urls SET done = 2 WHERE id = 5", "done-flag"},
		{"a row deleted", "DELETE FROM urls WHERE id = 5", "result-without-row"},
		{"a pending row deleted", "DELETE FROM urls WHERE id = 90", "shard-counts"},
		{"a row added in a gap of no shard", "INSERT INTO urls (id, url) VALUES (500, 'x')",
			"row-outside-shards"},
		{"a row moved outside", "UPDATE urls SET id = -7 WHERE id = 90", "row-outside-shards"},
		{"a face deleted", "DELETE FROM faces WHERE id = (SELECT min(id) FROM faces)", "face-count"},
		{"a face added", "INSERT INTO faces (id, face, x, y, width, height, score, confidence) " +
			"SELECT id, 9, x, y, width, height, score, confidence FROM faces LIMIT 1", "face-count"},
		{"faces of nobody", "INSERT INTO faces (id, face, x, y, width, height, score, confidence) " +
			"VALUES (95, 0, 1, 1, 1, 1, 5.0, 0.5)", "face-without-result"},
		{"a face outside its image", "UPDATE faces SET x = 490 WHERE id = (SELECT min(id) FROM faces)",
			"face-box"},
		{"a face without height", "UPDATE faces SET height = 0 WHERE id = (SELECT min(id) FROM faces)",
			"face-box"},
		{"landmarks cut", "UPDATE results SET landmarks = x'0102' WHERE id = (SELECT min(id) FROM faces)",
			"landmarks"},
		{"landmarks of nobody", "UPDATE results SET landmarks = x'0101010101010101010101' WHERE faces = 0 " +
			"AND reason IS NOT NULL", "landmarks"},
		{"a reason of nobody's", "UPDATE results SET reason = 'weather' WHERE reason = 'timeout'", "reason"},
		{"a failure with faces", "UPDATE results SET reason = 'timeout' WHERE faces > 0", "reason"},
		{"ok without a detector", "UPDATE results SET detector = NULL WHERE reason IS NULL", "detector"},
		{"an unknown detector", "DELETE FROM detectors", "detector"},
		{"damaged candidates", "UPDATE results SET candidates = x'ff' WHERE id = 1", "candidates"},
		{"a tally off by one", "UPDATE tallies SET rows = rows + 1 WHERE reason = ''", "tally"},
		{"a tally of faces", "UPDATE tallies SET faces = faces + 1 WHERE reason = ''", "tally"},
		{"a tally of images", "UPDATE tallies SET images_with_faces = 0 WHERE reason = ''", "tally"},
		{"a tally lost", "DELETE FROM tallies WHERE reason = 'timeout'", "tally"},
		{"a tally of nothing", "INSERT INTO tallies VALUES (0, 'tls', 1, 0, 0)", "tally"},
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
		{"an import by nobody", "UPDATE sources SET importer = 999, expires = 1 WHERE number = 0",
			"lease-owner"},
		{"a source's rows", "UPDATE sources SET rows = rows + 1 WHERE number = 1", "source-rows"},
		{"a source's end", "UPDATE sources SET last_id = last_id + 1 WHERE number = 1", "shard-tiling"},
		{"a source lost", "DELETE FROM sources WHERE number = 1", "source"},
		{"a suspect that is done", "INSERT INTO suspects VALUES (5, 1)", "suspect"},
		{"a group's rows", "UPDATE groups SET images = images + 1 WHERE name = 'album 4'", "group"},
		{"a group's failures", "UPDATE groups SET ok = ok - 1, failed = failed + 1 WHERE name = 'album 1'",
			"group"},
		{"a group's faces", "UPDATE groups SET faces = faces + 1 WHERE name = 'album 1'", "group"},
		{"a group's images with faces", "UPDATE groups SET images_with_faces = 0 WHERE name = 'album 1'",
			"group"},
		{"a group's largest face", "UPDATE groups SET largest_face = 1 WHERE name = 'album 1'", "group"},
		{"a group's first row", "UPDATE groups SET first = first - 1 WHERE name = 'album 1'", "group"},
		{"a group's last row", "UPDATE groups SET last = last + 1 WHERE name = 'album 1'", "group"},
		{"a group lost", "DELETE FROM groups WHERE name = 'album 1'", "group"},
		{"a group of nobody", "INSERT INTO groups SELECT source, 'x', images, ok, failed, faces, " +
			"images_with_faces, largest_face, first, last, 0, 1, 9, NULL FROM groups LIMIT 1", "group"},
		{"a row in another group", "UPDATE urls SET \"group\" = 'album 9' WHERE id = 1", "group"},
		{"a group that is not finished", "UPDATE groups SET finished = NULL WHERE finished IS NOT NULL",
			"group"},
		{"a group that is finished early", "UPDATE groups SET finished = 1 WHERE name = 'album 9'", "group"},
		{"a number never given", "UPDATE groups SET finished = 999 WHERE finished = 1", "group"},
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

// TestVerifyDeep damages the file itself, where only the database's own check looks.
func TestVerifyDeep(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	j := sound(t)
	root, size := int64(0), int64(0)
	ok(t, j.view(ctx, func(t tx) error {
		if err := t.one("PRAGMA page_size", nil, &size); err != nil {
			return err
		}
		return t.one("SELECT rootpage FROM sqlite_schema WHERE name = 'shards_leased'", nil, &root)
	}))
	// The index of leases loses its only entry: queries that do not use it see nothing.
	_, err := j.writer.conn.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
	ok(t, err)
	f, err := os.OpenFile(j.Path(), os.O_RDWR, 0)
	ok(t, err)
	_, err = f.WriteAt([]byte{0, 0}, (root-1)*size+3) // cells on the page
	ok(t, err)
	ok(t, f.Close())
	again, err := target.Open(ctx, j.Path())
	ok(t, err)
	defer again.Close()
	if found := storetest.Problems(t, again.(*job), true); !slices.Contains(found, "database") {
		t.Errorf("verify says %v of a damaged index", found)
	}
}

// TestVerifyBesideWork verifies again and again while others work: nothing may look wrong for a moment.
func TestVerifyBesideWork(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	opened, err := target.Open(ctx, target.Create(t))
	ok(t, err)
	j := opened.(*job)
	defer j.Close()
	s, err := j.Join(ctx, store.Owner{}, time.Hour)
	ok(t, err)
	_, err = j.AddSource(ctx, store.Source{Name: "list"})
	ok(t, err)
	l, err := s.LeaseSource(ctx, 0)
	ok(t, err)
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			for at := 1; at < 100_000; at += 2000 {
				if err := s.Append(ctx, l, listRows(at, 2000), store.Position{}, false, 500); err != nil {
					return err
				}
				shard, err := s.Claim(ctx, 777)
				if err != nil {
					return err
				}
				rows, err := s.Pending(ctx, shard, 0, 1000)
				if err != nil {
					return err
				}
				var batch []store.Result
				for _, r := range rows {
					batch = append(batch, benchResult(r.ID, int(r.ID%2)))
				}
				if err := s.Commit(ctx, shard, batch); err != nil {
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

// TestRowChecksHaveTexts: what each check finds can be printed.
func TestRowChecksHaveTexts(t *testing.T) {
	for _, c := range slices.Concat(ownRowChecks, rowChecks) {
		if text := store.RowProblem(c.name, 1, 2).Text; strings.Contains(text, "%!") {
			t.Errorf("%s: %s", c.name, text)
		}
	}
}
