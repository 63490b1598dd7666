package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"facescan/store"
	"facescan/store/storetest"
	"facescan/store/tables"
)

func TestVerifySeesEachColumn(t *testing.T) {
	t.Parallel()
	storetest.VerifySeesEachColumn(t, storetest.Columns{
		Sound:  func(t *testing.T) store.Job { return sound(t) },
		Tamper: target.Tamper,
		Changes: func(t *testing.T, j store.Job, table string) map[string]string {
			out := map[string]string{}
			ok(t, j.(*job).view(context.Background(), func(tx tx) error {
				return tx.each("SELECT name, type FROM pragma_table_xinfo(?)", []any{table},
					func(r *sql.Rows) error {
						var name, kind string
						err := r.Scan(&name, &kind)
						change, known := map[string]string{"INTEGER": "%s + 1", "REAL": "%s + 0.0001",
							"TEXT": "coalesce(%s, '') || 'x'",
							"BLOB": "CAST(x'02' || substr(coalesce(%s, x'00'), 2) AS BLOB)"}[kind]
						if !known {
							t.Errorf("how to change a column of type %s?", kind)
						}
						if strings.Contains(" partial complete paused ", " "+name+" ") {
							change = "1 - %s"
						}
						out[name] = fmt.Sprintf(change, tables.Quote(name))
						return err
					})
			}))
			return out
		},
	})
}
