package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest"
	"facescan/store/tables"
)

// TestVerifySeesEachColumn changes one column after the other of what the job knows, and holds verify to
// notice each.
func TestVerifySeesEachColumn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	full := func(t *testing.T) (j *job, id int64) {
		j = sound(t)
		s, err := j.Join(ctx, store.Owner{}, time.Hour)
		ok(t, err)
		t.Cleanup(func() { ok(t, s.Leave(ctx)) })
		l, err := s.Claim(ctx, 5)
		ok(t, err)
		r := storetest.Full(l.Lo)
		ok(t, s.Commit(ctx, l, []store.Result{r}))
		ok(t, j.Set(ctx, map[string]string{"detector": "yunet", "min-face": "20"}))
		return j, l.Lo
	}
	j, _ := full(t)
	if found := problems(t, j, false); len(found) > 0 {
		t.Fatalf("a sound job has problems: %v", found)
	}
	// of sources: who imports, and what a follower may have read
	working := " importer generation expires changes "
	for _, table := range []string{"results", "faces", "sources", "settings"} {
		type column struct{ name, kind string }
		var columns []column
		ok(t, j.view(ctx, func(tx tx) error {
			return tx.each("SELECT name, type FROM pragma_table_xinfo(?)", []any{table},
				func(r *sql.Rows) error {
					var c column
					err := r.Scan(&c.name, &c.kind)
					columns = append(columns, c)
					return err
				})
		}))
		for _, c := range columns {
			if table == "sources" && strings.Contains(working, " "+c.name+" ") {
				continue
			}
			t.Run(table+"."+c.name, func(t *testing.T) {
				t.Parallel()
				j, id := full(t)
				name := tables.Quote(c.name)
				change := map[string]string{"INTEGER": name + " + 1", "REAL": name + " + 0.0001",
					"TEXT": "coalesce(" + name + ", '') || 'x'",
					"BLOB": "CAST(x'02' || substr(coalesce(" + name + ", x'00'), 2) AS BLOB)"}[c.kind]
				if strings.Contains(" partial complete paused ", " "+c.name+" ") {
					change = "1 - " + name
				}
				where := fmt.Sprint("id = ", id)
				switch table {
				case "faces":
					where += " AND face = 1"
				case "sources":
					where = "number = 1"
				case "settings":
					where = "key = 'min-face'"
				}
				j.tamper(t, fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s", table, name, change, where))
				if found := problems(t, j, false); len(found) == 0 {
					t.Error("not noticed")
				}
			})
		}
	}
	j.tamper(t, "DELETE FROM settings WHERE key = 'min-face'")
	if found := problems(t, j, false); len(found) != 1 || found[0] != "settings-checksum" {
		t.Errorf("a lost setting: %v", found)
	}
	// What an earlier release wrote has no checksums; it is counted, and no problem.
	j, _ = full(t)
	j.tamper(t, "UPDATE results SET checksum = NULL WHERE id < 10")
	j.tamper(t, "UPDATE sources SET checksum = NULL")
	j.tamper(t, "UPDATE job SET settings_checksum = NULL")
	unchecked := int64(0)
	ok(t, j.Verify(ctx, store.VerifyOptions{Unchecked: func(n int64) { unchecked = n }},
		func(p store.Problem) { t.Errorf("%+v", p) }))
	if unchecked != 9 {
		t.Errorf("%d results are unchecked", unchecked)
	}
}
