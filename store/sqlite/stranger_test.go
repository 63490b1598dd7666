package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"facescan/store"
)

// alter changes a file by SQL, as a stranger may.
func alter(t testing.TB, path, text string) {
	t.Helper()
	db, err := sql.Open("sqlite3", path)
	ok(t, err)
	_, err = db.Exec(text)
	ok(t, errors.Join(err, db.Close()))
}

// TestStrangersTables puts something else in the place of a job's own tables: all who open it refuse it at
// once, and name what.
func TestStrangersTables(t *testing.T) {
	t.Parallel()
	const endless = "AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT "
	for _, inPlace := range []bool{false, true} {
		prefix := ""
		open := func(ctx context.Context, path string) (store.Job, error) { return Open(ctx, path) }
		if inPlace {
			prefix = tablePrefix
			open = func(ctx context.Context, path string) (store.Job, error) {
				return OpenTable(ctx, path, TableOptions{Table: "urls"})
			}
		}
		attacks := map[string]string{
			"a virtual table": "DROP TABLE {results}; CREATE VIRTUAL TABLE {results} USING rtree(id, " +
				"x, y)",
			"a computed column": "ALTER TABLE {results} RENAME COLUMN bytes TO old; ALTER TABLE " +
				"{results} ADD COLUMN bytes INTEGER AS (old + 1)",
			"another column's name": "ALTER TABLE {shards} RENAME COLUMN hi TO high",
			"another type": "DROP TABLE {settings}; CREATE TABLE {settings} (key TEXT PRIMARY KEY, " +
				"value BLOB) WITHOUT ROWID",
			"another key": "DROP TABLE {faces}; CREATE TABLE {faces} (id INTEGER PRIMARY KEY, " +
				"face INTEGER NOT NULL, x INTEGER NOT NULL, y INTEGER NOT NULL, width INTEGER NOT NULL, " +
				"height INTEGER NOT NULL, score REAL NOT NULL, confidence REAL NOT NULL)",
			"a table lost": "DROP TABLE {tallies}",
		}
		for _, table := range ownTables {
			attacks["a view for "+table] = "CREATE TABLE moved AS SELECT * FROM {" + table +
				"}; DROP TABLE {" + table + "}; " +
				"CREATE VIEW {" + table + "} " + endless + "moved.* FROM n, moved"
		}
		if !inPlace {
			attacks["a view for urls"] = "DROP TABLE urls; CREATE VIEW urls " + endless +
				"i AS id, 'a' AS url, 0 AS done, NULL AS \"group\", NULL AS kept FROM n"
			attacks["a trigger"] = "CREATE TRIGGER tr AFTER INSERT ON owners BEGIN " +
				"SELECT raise(abort, 'x'); END"
		}
		for name, text := range attacks {
			t.Run(fmt.Sprintf("%s/%t", name, inPlace), func(t *testing.T) {
				t.Parallel()
				ctx := context.Background()
				path, read := filled(t, inPlace)
				alter(t, path, names{prefix: prefix}.replacer().Replace(text))
				for _, open := range []func(context.Context, string) (store.Job, error){open, read} {
					begin := time.Now()
					j, err := open(ctx, path)
					if err == nil {
						t.Errorf("it was opened")
						ok(t, j.Close())
					} else if !strings.Contains(err.Error(), "facescan") || time.Since(begin) > minPatience {
						t.Errorf("after %v: %v", time.Since(begin), err)
					}
				}
			})
		}
	}
}

// TestUsersAdditions adds what does no harm: it stays.
func TestUsersAdditions(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path, _ := filled(t, false)
	alter(t, path, `CREATE INDEX mine ON results (reason, bytes); CREATE VIEW bad AS SELECT * FROM results
		WHERE reason <> '';
		ALTER TABLE urls ADD COLUMN note TEXT; CREATE TABLE notes (x); CREATE VIEW endless AS WITH RECURSIVE
		n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM n`)
	j, err := Open(ctx, path)
	ok(t, err)
	defer j.Close()
	if _, err := readAll(j); err != nil {
		t.Error(err)
	}
}

// TestStrangersOwners has owners in the table whose ids are not ids, and files of others where their files
// would be: none of them is touched, followed or waited for.
func TestStrangersOwners(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path, read := filled(t, false)
	away := t.TempDir()
	canary := filepath.Join(away, "file.txt")
	ok(t, os.WriteFile(canary, []byte("mine"), 0o600))
	ok(t, os.Symlink(away, path+"-owner-x"))
	ok(t, os.Symlink(canary, path+"-owner-link"))
	ok(t, os.Mkdir(path+"-owner-folder", 0o700))
	ok(t, unix.Mkfifo(path+"-owner-pipe", 0o600))
	ok(t, os.WriteFile(path+"-owner-with space", nil, 0o600))
	beside := filepath.Join(filepath.Dir(path), "file.txt")
	ok(t, os.WriteFile(beside, []byte("mine"), 0o600))
	for i, id := range []string{"x/file.txt", "link", "folder", "pipe", "../file.txt", "/../file.txt",
		"with space", "", strings.Repeat("x", 300), "a\x1b[31m"} {
		db, err := sql.Open("sqlite3", path)
		ok(t, err)
		_, err = db.Exec("INSERT INTO owners (number, id, host, pid) VALUES (?, ?, 'h', 1)", 100+i, id)
		if err == nil {
			_, err = db.Exec("UPDATE shards SET owner = ?, expires = 9000000000000000000 WHERE lo = 1", 100+i)
		}
		ok(t, errors.Join(err, db.Close()))
	}
	alter(t, path, "UPDATE urls SET done = 0 WHERE id = 1; DELETE FROM results WHERE id = 1; UPDATE shards "+
		"SET pending = 1 WHERE lo = 1")
	j, err := read(ctx, path)
	ok(t, err)
	c, err := j.Counts(ctx)
	ok(t, err)
	for _, o := range c.Owners {
		if o.Alive {
			t.Errorf("owner %q is said to be alive", o.ID)
		}
	}
	ok(t, j.Close())
	w, err := Open(ctx, path)
	ok(t, err)
	defer w.Close()
	s, err := w.Join(ctx, store.Owner{}, time.Hour)
	ok(t, err)
	l, err := s.Claim(ctx, 100) // of an owner that is dead
	ok(t, err)
	if l.Lo != 1 {
		t.Errorf("claimed %+v", l)
	}
	ok(t, s.Leave(ctx))
	for _, file := range []string{canary, beside} {
		if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
			t.Errorf("%s: %q, %v", file, b, err)
		}
	}
	for _, name := range []string{"folder", "with space"} {
		if !exists(path + "-owner-" + name) {
			t.Errorf("%s was removed, which is not an owner's file", name)
		}
	}
}

// TestStrangersJournal has a journal beside a job that makes SQLite remove a file elsewhere, once it was
// rolled back.
func TestStrangersJournal(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path, read := filled(t, false)
	canary := filepath.Join(t.TempDir(), "file.txt")
	ok(t, os.WriteFile(canary, []byte("mine"), 0o600))
	ok(t, os.WriteFile(path+"-journal", append(superJournalOf(canary), superJournal...), 0o600))
	for _, open := range []func(context.Context, string) (store.Job, error){read, Open} {
		if _, err := open(ctx, path); err == nil || !strings.Contains(err.Error(), "several files") {
			t.Errorf("opened with %v", err)
		}
	}
	if !exists(canary) {
		t.Error("the file is gone")
	}
}

// superJournalOf is a journal of no pages that names a file, but for its last eight bytes.
func superJournalOf(file string) []byte {
	b := append([]byte("\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"), make([]byte, 504)...) // a header's sector
	// sector size 512, page size 4096
	b[25], b[22], b[26] = 0, 2, 16
	sum := uint32(0)
	for _, c := range []byte(file) {
		sum += uint32(c)
	}
	b = append(b, 0xff, 0xff, 0xff, 0xff)
	b = append(b, file...)
	for _, n := range []uint32{uint32(len(file)), sum} {
		b = append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return b
}

// TestPagesWithoutEnd makes a tree of pages that a walk through it takes for ever: every view ends, and says
// so.
func TestPagesWithoutEnd(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "list.facescan.db")
	made, err := Create(ctx, path)
	ok(t, err)
	ok(t, made.Close())
	alter(t, path, "PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM; WITH RECURSIVE n(i) AS "+
		"(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) INSERT INTO urls (id, url) "+
		"SELECT i, printf('%.60c', 'x') FROM n")
	db, err := sql.Open("sqlite3", path)
	ok(t, err)
	var root, pageSize int64
	ok(t, db.QueryRow("SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_schema "+
		"WHERE name = 'urls'").Scan(&root, &pageSize))
	ok(t, db.Close())
	b, err := os.ReadFile(path)
	ok(t, err)
	// Interior pages of the tree: all children of each become one page, again an interior one, level by
	// level.
	interior := []int64{root}
	for p := int64(2); p <= int64(len(b))/pageSize && len(interior) < 12; p++ {
		if b[(p-1)*pageSize] == 5 && p != root {
			interior = append(interior, p)
		}
	}
	if len(interior) < 8 {
		t.Fatalf("%d interior pages", len(interior))
	}
	for i, p := range interior[:len(interior)-1] {
		page := b[(p-1)*pageSize : p*pageSize]
		child := uint32(interior[i+1])
		put := func(at int) {
			page[at], page[at+1], page[at+2], page[at+3] = byte(child>>24), byte(child>>16), byte(child>>8),
				byte(child)
		}
		put(8)
		for c := range int(page[3])<<8 | int(page[4]) {
			put(int(page[12+2*c])<<8 | int(page[13+2*c]))
		}
	}
	ok(t, os.WriteFile(path, b, 0o600))
	for _, open := range []func(context.Context, string) (store.Job, error){OpenForReading, Open} {
		opened, err := open(ctx, path)
		ok(t, err)
		j := opened.(*job)
		j.patience = 200 * time.Millisecond
		begin := time.Now()
		err = j.view(ctx, func(t tx) error {
			n := 0
			return t.one("SELECT count(*) FROM {urls} AS u WHERE {pending}", nil, &n)
		})
		var e endless
		if !errors.As(err, &e) && !strings.Contains(fmt.Sprint(err), "malformed") {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		for _, err := range j.Rows(short, -1<<63, 1<<63-1) { // may find its ids in order and end, or not
			if err != nil {
				break
			}
		}
		cancel()
		ok(t, j.Close())
	}
}
