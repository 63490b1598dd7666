package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/must"
)

// Columns is how VerifySeesEachColumn gets at the tables of an implementation.
type Columns struct {
	// Sound makes a job with two sources and rows to claim.
	Sound func(t *testing.T) store.Job
	// Changes has the columns of a table of a job, each with an expression for another value of it.
	Changes func(t *testing.T, j store.Job, table string) map[string]string
	// Tamper runs a statement, which has to change a row.
	Tamper func(t testing.TB, j store.Job, text string)
}

// VerifySeesEachColumn changes one column after the other of what the job knows, and holds verify to notice
// each.
func VerifySeesEachColumn(t *testing.T, c Columns) {
	ctx := context.Background()
	full := func(t *testing.T) (j store.Job, id int64) {
		j = c.Sound(t)
		s := must.Get(j.Join(ctx, store.Owner{}, time.Hour))(t)
		t.Cleanup(func() { must.OK(t, s.Leave(ctx)) })
		l := must.Get(s.Claim(ctx, 5))(t)
		must.OK(t, s.Commit(ctx, l, []store.Result{Full(l.Lo)}))
		must.OK(t, j.Set(ctx, map[string]string{"detector": "yunet", "min-face": "20"}))
		return j, l.Lo
	}
	j, _ := full(t)
	if found := Problems(t, j, false); len(found) > 0 {
		t.Fatalf("a sound job has problems: %v", found)
	}
	// of sources: who imports, and what a follower may have read
	working := []string{"importer", "generation", "expires", "changes"}
	for _, table := range []string{"results", "faces", "sources", "settings"} {
		changes := c.Changes(t, j, table)
		if len(changes) == 0 {
			t.Errorf("no columns of table %s", table)
		}
		for name, change := range changes {
			if table == "sources" && slices.Contains(working, name) {
				continue
			}
			t.Run(table+"."+name, func(t *testing.T) {
				t.Parallel()
				j, id := full(t)
				where := fmt.Sprint("id = ", id)
				switch table {
				case "faces":
					where += " AND face = 1"
				case "sources":
					where = "number = 1"
				case "settings":
					where = "key = 'min-face'"
				}
				c.Tamper(t, j, fmt.Sprintf(`UPDATE %s SET "%s" = %s WHERE %s`, table, name, change,
					where))
				if found := Problems(t, j, false); len(found) == 0 {
					t.Error("not noticed")
				}
			})
		}
	}
	c.Tamper(t, j, "DELETE FROM settings WHERE key = 'min-face'")
	if found := Problems(t, j, false); len(found) != 1 || found[0] != "settings-checksum" {
		t.Errorf("a lost setting: %v", found)
	}
	// What an earlier release wrote has no checksums; it is counted, and no problem.
	j, _ = full(t)
	c.Tamper(t, j, "UPDATE results SET checksum = NULL WHERE id < 10")
	c.Tamper(t, j, "UPDATE sources SET checksum = NULL")
	c.Tamper(t, j, "UPDATE job SET settings_checksum = NULL")
	unchecked := int64(0)
	must.OK(t, j.Verify(ctx, store.VerifyOptions{Unchecked: func(n int64) { unchecked = n }},
		func(p store.Problem) { t.Errorf("%+v", p) }))
	if unchecked != 9 {
		t.Errorf("%d results are unchecked", unchecked)
	}
}

// Problems are the checks of a verify that find something, each once.
func Problems(t *testing.T, j store.Job, deep bool) (names []string) {
	t.Helper()
	must.OK(t, j.Verify(context.Background(), store.VerifyOptions{Deep: deep}, func(p store.Problem) {
		if p.Text == "" {
			t.Errorf("%s says nothing", p.Check)
		}
		if !slices.Contains(names, p.Check) {
			names = append(names, p.Check)
		}
	}))
	return names
}
