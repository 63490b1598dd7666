package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"facescan/store"
	"facescan/store/storetest/pgtest"
)

func TestURLs(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{"postgres://h/d": true, "postgresql://": true, "urls.txt": false,
		"http://h/postgres://": false, "": false} {
		if IsURL(s) != want {
			t.Errorf("IsURL(%q) is %v", s, !want)
		}
	}
	for raw, want := range map[string][3]string{ // path, host, schema
		"postgres://me:pw@db.lan:77/faces?sslmode=disable":                             {"postgres://me@db.lan:77/faces?sslmode=disable", "db.lan:77", "facescan"},
		"postgres://me@db.lan/faces?schema=spring&sslmode=disable":                     {"postgres://me@db.lan/faces?schema=spring&sslmode=disable", "db.lan:5432", "spring"},
		"postgresql://db.lan/faces?user=me&password=pw&sslpassword=pw&sslmode=disable": {"postgresql://db.lan/faces?user=me&sslmode=disable", "db.lan:5432", "facescan"},
		"postgres:///faces?host=/run/pg&user=me":                                       {"postgres:///faces?host=/run/pg&user=me", "/run/pg", "facescan"},
		"postgres://me:p%40w@db.lan/faces?pool_max_conns=9":                            {"postgres://me@db.lan/faces?pool_max_conns=9", "db.lan:5432", "facescan"},
	} {
		p, err := parse(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if got := [3]string{p.path, p.host, p.schema}; got != want {
			t.Errorf("%s: %q, want %q", raw, got, want)
		}
		wantConns := int32(connections)
		if strings.Contains(raw, "pool_max_conns") {
			wantConns = 9
		}
		if p.pool.MaxConns != wantConns {
			t.Errorf("%s: %d connections, want %d", raw, p.pool.MaxConns, wantConns)
		}
	}
	if p, err := parse("postgres://me:p%40w@db.lan/faces"); err != nil ||
		p.pool.ConnConfig.Password != "p@w" {
		t.Errorf("the password is not taken from the URL: %v", err)
	}
	const unreadable = "the database URL cannot be read: it is " +
		"postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME, where what is special in a password is " +
		"written as %XX"
	unusable := func(why string) string {
		return "the database URL cannot be used: " + why + "; write it as postgres://USER@HOST:PORT/DATABASE"
	}
	noSchema := func(name string) string {
		return fmt.Sprintf("%q cannot be the schema of a job: letters, digits and underscores, beginning "+
			"with a letter, at most 63", name)
	}
	for raw, want := range map[string]string{
		"postgres://me:se%zzcret@h/d":             unreadable,
		"postgres://me:secret@h:port/d":           unreadable,
		"postgres://me:secret@h/d?sslmode=secret": unusable("configure TLS (sslmode is invalid)"),
		"postgres://h/d?password=secret&connect_timeout=x": unusable("invalid connect_timeout " +
			`(strconv.ParseInt: parsing "x": invalid syntax)`),
		"postgres://me:secret@h/d?schema=":      noSchema(""),
		"postgres://me:secret@h/d?schema=pg_x":  noSchema("pg_x"),
		"postgres://me:secret@h/d?schema=a%20b": noSchema("a%20b"),
	} {
		if _, err := parse(raw); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", raw, err, want)
		}
	}
}

// TestNamesOfJobs: what is shown of a URL has no password, even where the URL cannot be read.
func TestNamesOfJobs(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"postgres://me:secret@db.lan/faces?schema=s&password=x": "postgres://me@db.lan/faces?schema=s",
		"postgres://me:secret@h:port/d":                         "postgres://me:***@h:port/d",
		"list.txt":                                              "list.txt",
	} {
		if got := WithoutPassword(raw); got != want {
			t.Errorf("%s: %s, want %s", raw, got, want)
		}
	}
}

func TestPasswordFromTheUsualPlaces(t *testing.T) {
	url := pgtest.Start(t)
	bare := strings.Replace(url, ":"+strings.ReplaceAll(pgtest.Password, "%", "%25")+"@", "@", 1)
	if _, err := Create(context.Background(), bare); err == nil ||
		!strings.Contains(err.Error(), "PGPASSWORD") {
		t.Errorf("without a password: %v", err)
	}
	t.Setenv("PGPASSWORD", pgtest.Password)
	j, err := Create(context.Background(), bare)
	ok(t, err)
	ok(t, j.Close())
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"nothing to hide":                         "nothing to hide",
		"no postgres://me:pw@h/d here":            "no postgres://me:***@h/d here",
		"`postgresql://me:p@w:/x@h/d?a=b`":        "`postgresql://me:***@h/d?a=b`",
		"postgres://h/d?password=pw&a=b":          "postgres://h/d?password=***&a=b",
		"postgres://h/d?a=b&sslpassword=pw more":  "postgres://h/d?a=b&sslpassword=*** more",
		"postgres://me@h/d, POSTGRES://me:pw@h/d": "postgres://me@h/d, POSTGRES://me:***@h/d",
	} {
		if got := Redact(text); got != want {
			t.Errorf("%s becomes %s, want %s", text, got, want)
		}
	}
}

// TestCreateAtOnce has many processes make the same job.
func TestCreateAtOnce(t *testing.T) {
	t.Parallel()
	url := newURL(t)
	var wg sync.WaitGroup
	ids := make(chan string, 8)
	for range 8 {
		wg.Go(func() {
			j, err := Create(context.Background(), url)
			if err != nil {
				t.Error(err)
				return
			}
			ids <- j.(*job).id
			if err := errors.Join(j.Close(), j.Close()); err != nil { // twice does no harm
				t.Error(err)
			}
			if err := j.Set(context.Background(), map[string]string{"a": "b"}); err == nil {
				t.Error("a closed job took a setting")
			}
		})
	}
	wg.Wait()
	close(ids)
	first := <-ids
	for id := range ids {
		if id != first {
			t.Error("two jobs were made")
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := newURL(t)
	if _, err := Open(ctx, url); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a job that is not there: %v", err)
	}
	opened, err := Create(ctx, url)
	ok(t, err)
	j := opened.(*job)
	defer j.Close()
	_, err = j.pool.Exec(ctx, "UPDATE job SET version = 99")
	ok(t, err)
	for _, open := range []func(context.Context, string) (store.Job, error){Open, Create} {
		if _, err := open(ctx, url); err == nil || !strings.Contains(err.Error(), "newer facescan") {
			t.Errorf("a newer schema: %v", err)
		}
	}
	_, err = j.pool.Exec(ctx, "DELETE FROM job")
	ok(t, err)
	if _, err := Open(ctx, url); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a damaged job: %v", err)
	}
	// A schema with tables of somebody else stays as it is; an empty one is taken.
	_, err = j.pool.Exec(ctx, "CREATE SCHEMA foreign_one; CREATE TABLE foreign_one.results (id int); CREATE "+
		"SCHEMA empty_one")
	ok(t, err)
	base, _, _ := strings.Cut(url, "?")
	if _, err := Create(ctx, base+"?schema=foreign_one"); err == nil ||
		!strings.Contains(err.Error(), "something else") {
		t.Errorf("a schema of somebody else: %v", err)
	}
	tables := 0
	ok(t, j.pool.QueryRow(ctx, "SELECT count(*) FROM pg_class "+
		"WHERE relnamespace = 'foreign_one'::regnamespace").Scan(&tables))
	if tables != 1 {
		t.Errorf("it has %d tables now", tables)
	}
	empty, err := Create(ctx, base+"?schema=empty_one")
	ok(t, err)
	ok(t, empty.Close())
}

// TestMigrationIsWholeOrNotAtAll makes the schema's statements fail half-way.
func TestMigrationIsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	helper, _ := openJob(t)
	// A trigger that lets no view be made: urls comes after some tables.
	_, err := helper.pool.Exec(ctx, `CREATE FUNCTION no_view() RETURNS event_trigger LANGUAGE plpgsql AS
		$$ BEGIN IF current_schema = 'halfway' THEN RAISE 'no view'; END IF; END $$;
		CREATE EVENT TRIGGER no_view ON ddl_command_end WHEN TAG IN ('CREATE VIEW') EXECUTE FUNCTION
		no_view()`)
	ok(t, err)
	base, _, _ := strings.Cut(newURL(t), "?")
	if _, err := Create(ctx, base+"?schema=halfway"); err == nil {
		t.Error("the schema was made")
	}
	there := true
	ok(t, helper.pool.QueryRow(ctx, "SELECT to_regnamespace('halfway') IS NOT NULL").Scan(&there))
	if there {
		t.Error("half of it is there")
	}
	_, err = helper.pool.Exec(ctx, "DROP EVENT TRIGGER no_view")
	ok(t, err)
	j, err := Create(ctx, base+"?schema=halfway")
	ok(t, err)
	ok(t, j.Close())
}

// TestOldJobsGoOn opens a job that the first release left half done, and finishes it.
func TestOldJobsGoOn(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	newer, s := openJob(t)
	fill(t, newer, s, 4)
	l, err := s.Claim(ctx, 10)
	ok(t, err)
	ok(t, s.Commit(ctx, l, []store.Result{result(2, 1), result(3, 2)}))
	ok(t, s.Leave(ctx))

	first, err := schemas.ReadFile("schema/1.sql")
	ok(t, err)
	old := newer.place.schema + "old"
	_, err = newer.pool.Exec(ctx, "CREATE SCHEMA "+old+"; SET search_path = "+old+";\n"+string(first)+
		";\nDELETE FROM job; RESET search_path")
	ok(t, err)
	rows, err := newer.pool.Query(ctx, `SELECT c.table_name, string_agg(quote_ident(c.column_name), ', ')
		FROM information_schema.columns AS c JOIN information_schema.tables AS t USING (table_schema,
		table_name)
		WHERE c.table_schema = $1 AND t.table_type = 'BASE TABLE' AND c.is_generated = 'NEVER' GROUP BY 1`,
		old)
	ok(t, err)
	var table, columns string
	var copies []string
	_, err = pgx.ForEachRow(rows, []any{&table, &columns}, func() error {
		copies = append(copies, fmt.Sprintf("INSERT INTO %s.%s (%s) OVERRIDING SYSTEM VALUE SELECT %s "+
			"FROM %s.%s", old, table, columns, columns, newer.place.schema, table))
		return nil
	})
	ok(t, err)
	for _, c := range append(copies, "UPDATE "+old+".job SET version = 1") {
		_, err = newer.pool.Exec(ctx, c)
		ok(t, err)
	}

	base, _, _ := strings.Cut(newURL(t), "?")
	opened, err := Open(ctx, base+"?schema="+old)
	ok(t, err)
	defer opened.Close()
	s, err = opened.Join(ctx, store.Owner{}, time.Hour)
	ok(t, err)
	l, err = s.Claim(ctx, 10)
	ok(t, err)
	late := result(4, 1)
	late.Faces[0].HasLandmarks, late.Faces[0].Landmarks = true, store.Landmarks{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	ok(t, s.Commit(ctx, l, []store.Result{result(1, 0), late}))
	n, faces := 0, 0
	for r, err := range opened.Results(ctx, 0, 1<<62) {
		ok(t, err)
		n, faces = n+1, faces+len(r.Faces)
		for _, f := range r.Faces {
			if f.HasLandmarks != (r.ID == 4) {
				t.Errorf("row %d: %+v", r.ID, f)
			}
		}
	}
	if n != 4 || faces != 4 {
		t.Errorf("%d results with %d faces", n, faces)
	}
	ok(t, opened.Verify(ctx, store.VerifyOptions{}, func(p store.Problem) { t.Errorf("%+v", p) }))
}

// TestView shows rows and their Done flags to people who ask the database.
func TestView(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	j, s := openJob(t)
	fill(t, j, s, 4)
	l, err := s.Claim(ctx, 10)
	ok(t, err)
	ok(t, s.Commit(ctx, l, []store.Result{result(2, 1)}))
	rows, err := j.pool.Query(ctx, "SELECT done FROM urls ORDER BY id")
	ok(t, err)
	done, err := pgx.CollectRows(rows, pgx.RowTo[int])
	ok(t, err)
	if !slices.Equal(done, []int{0, 1, 0, 0}) {
		t.Errorf("done %v", done)
	}
}

// TestStateFolder: it is where the system's rules have it.
func TestStateFolder(t *testing.T) {
	for _, c := range []struct{ state, home, want string }{
		{"/s", "/h", "/s/facescan"}, {"", "/h", "/h/.local/state/facescan"},
		{"", "", os.TempDir() + "/.local/state/facescan"},
	} {
		t.Setenv("XDG_STATE_HOME", c.state)
		t.Setenv("HOME", c.home)
		if got := stateFolder(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}
