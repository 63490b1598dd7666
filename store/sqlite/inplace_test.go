package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/sys/unix"

	"facescan/store"
	"facescan/store/storetest/must"
)

// TestInPlaceRefuses: the rows of a job in a user's table are the user's, and what would add some, change
// them or publish them is refused.
func TestInPlaceRefuses(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path, db := users(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT); INSERT INTO t VALUES (1, 'x')")
	j := inPlace(t, path, TableOptions{Table: "t"})
	s := must.Get(j.Join(ctx, store.Owner{}, time.Hour))(t)
	l := must.Get(s.LeaseSource(ctx, 0))(t)
	before := dump(t, db, "SELECT * FROM t")
	_, addErr := j.AddSource(ctx, store.Source{Name: "list"})
	_, _, adoptErr := s.(store.Adopter).Adopt(ctx, l, 0, 0)
	const theirs = "the rows of this job are the table's"
	merged := []store.MergedRow{{Row: store.Row{ID: 2, URL: "y"}}}
	for _, c := range []struct {
		err  error
		want string
	}{
		{addErr, "add source list: " + theirs + "; make a job of its own with --db"},
		{s.Append(ctx, l, listRows(2, 1), l.Position, true, 9), "append: " + theirs},
		{s.Fill(ctx, l, listRows(2, 1), l.Position, true, 9), "add missing rows of source 0: " + theirs},
		{j.Absorb(ctx, 0, merged, l.Position, true, 9), "merge rows of source 0: " + theirs +
			"; merge into a job of its own"},
		{j.Forget(ctx, []int64{1}, true), "forget rows: " + theirs +
			", and so are their URLs: remove these there"},
		{j.NoteChanges(ctx, true), "note what changes: " + theirs},
		{j.TakeIn(ctx, 0, nil, l.Position, true, 9), "take in published rows of source 0: " + theirs},
		{adoptErr, "adopt rows: a shard of 0 rows"},
	} {
		if c.err == nil || c.err.Error() != c.want {
			t.Errorf("%v, want %s", c.err, c.want)
		}
	}
	if after := dump(t, db, "SELECT * FROM t"); !slices.Equal(after, before) {
		t.Errorf("the table has %v, and had %v", after, before)
	}
}

// TestChecksumsInPlace: a column of checksums is read as it is, blobs in hexadecimal.
func TestChecksumsInPlace(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	path, _ := users(t, `CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT, sum);
		INSERT INTO t VALUES (1, 'a', ' abc '), (2, 'b', x'00ff'), (3, 'c', NULL), (4, 'd', 12)`)
	j := inPlace(t, path, TableOptions{Table: "t", Hash: "SUM"})
	s := must.Get(j.Join(ctx, store.Owner{}, time.Hour))(t)
	pass(t, s, 10)
	l := must.Get(s.Claim(ctx, 10))(t)
	var got []string
	for _, r := range must.Get(s.Pending(ctx, l, l.Lo-1, 10))(t) {
		got = append(got, r.URL+r.Hash)
	}
	if want := []string{"aabc", "b00FF", "c", "d12"}; !slices.Equal(got, want) {
		t.Errorf("the rows have the checksums %v, want %v", got, want)
	}
}

// TestExpungeKeepsNumbers: VACUUM numbers the rows of tables without a key of integers again. A file with one
// is not rewritten.
func TestExpungeKeepsNumbers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	const table = "CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT, done INTEGER);"
	for more, limited := range map[string]bool{
		"":                                       false,
		"CREATE TABLE k (a INTEGER PRIMARY KEY)": false,
		"CREATE TABLE k (a TEXT PRIMARY KEY) WITHOUT ROWID":                 false,
		"CREATE TABLE notes (text TEXT)":                                    true,
		"CREATE TABLE notes (a INT PRIMARY KEY)":                            true,
		"CREATE TABLE notes (a INTEGER, b INTEGER, PRIMARY KEY (a, b))":     true,
		"CREATE TABLE s (a INTEGER PRIMARY KEY); CREATE TABLE notes (x, y)": true,
	} {
		path, db := users(t, table+more)
		j := inPlace(t, path, TableOptions{Table: "t"})
		limits := must.Get(j.Expunge(ctx))(t)
		want := path +
			" was not rewritten, since that may renumber the rows of its table notes: what an earlier " +
			"release of facescan deleted may still be in its free space; to overwrite that too, run VACUUM " +
			"on " +
			"the file with your own program"
		if !limited {
			want = ""
		}
		if limits != want {
			t.Errorf("%s: %q, want %q", more, limits, want)
		}
		ok(t, db.Ping())
	}
}

// TestExpungeWaits for those who read the job, as long as it may.
func TestExpungeWaits(t *testing.T) {
	t.Parallel()
	path := target.Create(t)
	j := must.Get(Open(t.Context(), path))(t)
	defer j.Close()
	ok(t, j.Set(t.Context(), map[string]string{"a": "b"}))
	reader := must.Get(j.(*job).readers.(pool).BeginTx(t.Context(), nil))(t)
	var n int
	ok(t, reader.QueryRow("SELECT count(*) FROM settings").Scan(&n))
	ok(t, j.Set(t.Context(), map[string]string{"a": "c"}))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := j.Expunge(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beside a reader: %v", err)
	}
	ok(t, reader.Rollback())
	if limits, err := j.Expunge(t.Context()); err != nil || limits != "" {
		t.Errorf("%q, %v", limits, err)
	}
	if log := size(path + "-wal"); log != 0 {
		t.Errorf("the write-ahead log has %d bytes", log)
	}
}

// TestTooManyColumns: a table that bears no further column is refused with the way out.
func TestTooManyColumns(t *testing.T) {
	t.Parallel()
	columns := ""
	for i := range 1998 {
		columns += fmt.Sprintf(", c%d", i)
	}
	path, _ := users(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT"+columns+")")
	d, err := InspectTable(t.Context(), path, TableOptions{Table: "t"})
	if err == nil {
		err = d.Try(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "a column done cannot be added to t: too many columns") ||
		!strings.Contains(err.Error(), "--db") {
		t.Error(err)
	}
}

// TestIsOurs: no room and a damaged file are not the user's table's fault.
func TestIsOurs(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		sqlite3.Error{Code: sqlite3.ErrFull}: true, unix.ENOSPC: true, context.Canceled: true,
		sqlite3.Error{Code: sqlite3.ErrCorrupt}: true, sqlite3.Error{Code: sqlite3.ErrNomem}: true,
		sqlite3.Error{Code: sqlite3.ErrIoErr}: true, sqlite3.Error{Code: sqlite3.ErrConstraint}: false,
		errNotStuck: false,
	} {
		if isOurs(wrap("doing", err)) != want {
			t.Errorf("%v is ours: %t", err, !want)
		}
	}
}

// TestSizeOfAClosedJob: without processes there is no write-ahead log.
func TestSizeOfAClosedJob(t *testing.T) {
	t.Parallel()
	path := target.Create(t)
	j := must.Get(OpenForReading(t.Context(), path))(t)
	defer j.Close()
	info := must.Get(os.Stat(path))(t)
	if data, log, err := j.Size(t.Context()); data != info.Size() || log != 0 || err != nil {
		t.Errorf("%d and %d bytes, %v; want %d", data, log, err, info.Size())
	}
	ok(t, os.Rename(path, filepath.Join(filepath.Dir(path), "moved")))
	if _, _, err := j.Size(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("moved away: %v", err)
	}
}

// TestJobOfTheTable: the job keeps its columns; others are refused, in words that say which they are.
func TestJobOfTheTable(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const table = "CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT, done INTEGER, album TEXT)"
	const instead = "; use a copy of the file, or a job of its own with --db JOB"
	kept, db := users(t, table)
	inPlace(t, kept, TableOptions{Table: "T", Keep: []string{"Album"}})
	bare, _ := users(t, table)
	inPlace(t, bare, TableOptions{Table: "t"})
	for _, c := range []struct {
		path string
		o    TableOptions
		want string
	}{
		{kept, TableOptions{}, ""}, {bare, TableOptions{}, ""},
		{kept, TableOptions{Table: "T", ID: "ID", URL: "Url", Done: "DONE", Keep: []string{"ALBUM"}}, ""},
		{kept, TableOptions{Table: "u"}, `works with "t", not with "u"` + instead},
		{kept, TableOptions{URL: "album"}, `works with "url", not with "album"` + instead},
		{bare, TableOptions{Group: "album"}, `works with "", not with "album"` + instead},
		{bare, TableOptions{Hash: "album"}, `works with "", not with "album"` + instead},
		{kept, TableOptions{Keep: []string{"url"}},
			"keeps the columns album, not url; leave --keep-columns " +
				"out, or make a job of its own with --db JOB"},
		{bare, TableOptions{Keep: []string{"url", "id"}}, "keeps the columns none, not url, id; leave " +
			"--keep-columns out, or make a job of its own with --db JOB"},
	} {
		want := "table of " + c.path + ": the job in this file " + c.want
		if d, err := InspectTable(ctx, c.path, c.o); (err == nil) != (c.want == "") ||
			err != nil && err.Error() != want || err == nil && (d.New || d.AddsDone) {
			t.Errorf("%+v: %+v, %v; want %s", c.o, d, err, want)
		}
	}
	must.Get(db.Exec("UPDATE facescan_sources SET options = 'x'"))(t)
	if _, err := InspectTable(ctx, kept, TableOptions{}); err == nil {
		t.Error("options that cannot be read are passed over")
	}
	// killed before the source was there
	must.Get(db.Exec("DELETE FROM facescan_sources"))(t)
	inPlace(t, kept, TableOptions{Table: "t", Keep: []string{"url"}})
	if d := must.Get(InspectTable(ctx, kept, TableOptions{}))(t); !slices.Equal(d.Keep, []string{"url"}) {
		t.Errorf("it keeps the columns %v", d.Keep)
	}
}

// TestNotAJob: what cannot be opened says why.
func TestNotAJob(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	theirs, _ := users(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT)")
	nothing := filepath.Join(t.TempDir(), "nothing.db")
	text := filepath.Join(t.TempDir(), "list.txt")
	ok(t, os.WriteFile(text, []byte("http://a/\n"), 0o600))
	job := target.Create(t)
	open := map[string]func(path string) (store.Job, error){
		"job":     func(path string) (store.Job, error) { return Open(ctx, path) },
		"to read": func(path string) (store.Job, error) { return OpenForReading(ctx, path) },
		"table": func(path string) (store.Job, error) {
			return OpenTable(ctx, path,
				TableOptions{Table: "t"})
		},
		"its table": func(path string) (store.Job, error) { return OpenTableForReading(ctx, path) },
	}
	for _, c := range []struct {
		by, path, want string
		notExist       bool
	}{
		{"job", theirs, "open job " + theirs + ": the file is not a facescan job", false},
		{"job", text, "open job " + text + ": the file is not a facescan job", false},
		{"job", nothing, "open job " + nothing + ": stat " + nothing + ": no such file or directory", true},
		{"to read", theirs, "open job " + theirs + ": the file is not a facescan job", false},
		{"to read", nothing, "open job " + nothing + ": stat " + nothing + ": no such file or directory",
			true},
		{"table", job, "open table of " + job + ": the file is a job of facescan's own", false},
		{"table", text, "read " + text + ": it is not an SQLite database", false},
		{"table", nothing, "read " + nothing + ": it is not an SQLite database", false},
		{"its table", theirs, "there is no job in " + theirs + ": file does not exist", true},
	} {
		_, err := open[c.by](c.path)
		if err == nil || !strings.Contains(err.Error(), c.want) ||
			errors.Is(err, os.ErrNotExist) != c.notExist {
			t.Errorf("%s %s: %v, want %s", c.by, c.path, err, c.want)
		}
	}
}
