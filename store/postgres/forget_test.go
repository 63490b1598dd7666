package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"facescan/store/storetest"
)

// TestForgetLeavesNothing looks for a forgotten row in all tables.
func TestForgetLeavesNothing(t *testing.T) {
	ctx := context.Background()
	opened, err := Create(ctx, newURL(t))
	ok(t, err)
	defer opened.Close()
	j := opened.(*job)
	storetest.Marked(t, ctx, j)
	having := func(text string) (found string) {
		t.Helper()
		var name string
		var names, with []string
		ok(t, each(ctx, j.pool, []any{&name}, func() { names = append(names, name) },
			"SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = "+
				"'r' "+
				"ORDER BY relname"))
		for _, name := range names {
			there := false
			ok(t, j.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+pgx.Identifier{name}.Sanitize()+
				" AS r WHERE strpos(r::text, $1) > 0 OR strpos(r::text, $2) > 0)", text,
				fmt.Sprintf("%x", text)).Scan(&there))
			if there {
				with = append(with, name)
			}
		}
		return strings.Join(with, " ")
	}
	if got := having(storetest.Mark); got != "groups results rows thumbnails" {
		t.Fatalf("the mark is in %s", got)
	}
	ok(t, j.Forget(ctx, []int64{storetest.MarkedID}, true))
	_, err = j.Expunge(ctx)
	ok(t, err)
	if got := having(storetest.Mark); got != "" {
		t.Errorf("the mark is still in %s", got)
	}
	// shards and sources have it as the last id of a range
	if got := having(fmt.Sprint(storetest.MarkedID)); got != "results rows shards sources" {
		t.Errorf("the row is still in %s", got)
	}
}
