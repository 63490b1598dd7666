package postgres

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"facescan/store"
	"facescan/store/storetest"
)

func TestVerifySeesEachColumn(t *testing.T) {
	t.Parallel()
	storetest.VerifySeesEachColumn(t, storetest.Columns{
		Sound:  func(t *testing.T) store.Job { return sound(t) },
		Tamper: target.Tamper,
		Changes: func(t *testing.T, j store.Job, table string) map[string]string {
			out := map[string]string{}
			var name, kind string
			ok(t, each(context.Background(), j.(*job).pool, []any{&name, &kind}, func() {
				change, known := map[string]string{"integer": "%s + 1", "bigint": "%s + 1",
					"smallint": "%s + 1", "double precision": "%s + 0.0001",
					"text": "coalesce(%s, '') || 'x'", "boolean": "NOT %s",
					"timestamp with time zone": "%s + interval '5 ms'",
					"ARRAY":                    "array_replace(%s, %[1]s[5], %[1]s[5] + 1)",
					"bytea":                    "set_byte(coalesce(%s, '\\x00'), 0, 2)"}[kind]
				if !known {
					t.Errorf("how to change a column of type %s?", kind)
				}
				out[name] = fmt.Sprintf(change, pgx.Identifier{name}.Sanitize())
			}, `SELECT column_name::text, data_type::text FROM information_schema.columns
			WHERE table_schema = current_schema() AND table_name = $1`, table))
			return out
		},
	})
}
