package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"facescan/store"
	"facescan/store/storetest"
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
		var c column
		ok(t, each(ctx, j.pool, []any{&c.name, &c.kind},
			func() error { columns = append(columns, c); return nil },
			`SELECT column_name::text, data_type::text FROM information_schema.columns
			WHERE table_schema = current_schema() AND table_name = $1`, table))
		for _, c := range columns {
			if table == "sources" && strings.Contains(working, " "+c.name+" ") {
				continue
			}
			t.Run(table+"."+c.name, func(t *testing.T) {
				t.Parallel()
				j, id := full(t)
				name := pgx.Identifier{c.name}.Sanitize()
				change, known := map[string]string{"integer": "%s + 1", "bigint": "%s + 1",
					"smallint": "%s + 1", "double precision": "%s + 0.0001",
					"text": "coalesce(%s, '') || 'x'", "boolean": "NOT %s",
					"timestamp with time zone": "%s + interval '5 ms'",
					"ARRAY":                    "array_replace(%s, %[1]s[5], %[1]s[5] + 1)",
					"bytea":                    "set_byte(coalesce(%s, '\\x00'), 0, 2)"}[c.kind]
				if !known {
					t.Fatalf("how to change a column of type %s?", c.kind)
				}
				change = fmt.Sprintf(change, name)
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
