package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"facescan/store"
)

// folderState is all that a folder holds: names, modes, bytes, and when they changed.
func folderState(t testing.TB, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	ok(t, err)
	for _, e := range entries {
		info, err := e.Info()
		ok(t, err)
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		ok(t, err)
		out = append(out, fmt.Sprintf("%s %v %d %v %x", e.Name(), info.Mode(), info.Size(),
			info.ModTime().UnixNano(), sha256.Sum256(b)))
	}
	return out
}

// readAll reads a job as status, export, report and verify do, and returns what it says.
func readAll(j store.Job) (string, error) {
	ctx := context.Background()
	c, err := j.Counts(ctx)
	if err != nil {
		return "", err
	}
	out := fmt.Sprintln(c.Total, c.Done, c.OK, c.Faces)
	for r, err := range j.Results(ctx, -1<<63, 1<<63-1) {
		if err != nil {
			return "", err
		}
		out += fmt.Sprintln(r.ID, r.URL, r.Status, len(r.Faces))
	}
	for _, by := range store.Keys {
		for _, err := range j.Tally(ctx, by) {
			if err != nil {
				return "", err
			}
		}
	}
	for _, err := range j.Groups(ctx, 0) {
		if err != nil {
			return "", err
		}
	}
	var found []string
	err = j.Verify(ctx, store.VerifyOptions{Deep: true},
		func(p store.Problem) { found = append(found, p.Check+": "+p.Text) })
	if err == nil && len(found) > 0 {
		err = errors.New(strings.Join(found, "; "))
	}
	return out, err
}

// filled makes a job, or a table of a user's with a job on it, with results, and closes it. More settings in
// the writer's last transaction are in the WAL, if there is one.
func filled(t testing.TB, inPlace bool) (path string, open func(context.Context, string) (store.Job, error)) {
	t.Helper()
	ctx := context.Background()
	var j store.Job
	var err error
	path = filepath.Join(t.TempDir(), "list.facescan.db")
	if inPlace {
		var db *sql.DB
		path, db = users(t, "CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT); INSERT INTO urls "+
			"VALUES (1, 'a'), (2, 'b'), (3, 'c')")
		ok(t, db.Close())
		j, err = OpenTable(ctx, path, TableOptions{Table: "urls"})
	} else {
		j, err = Create(ctx, path)
	}
	ok(t, err)
	s, err := j.Join(ctx, store.Owner{}, time.Hour)
	ok(t, err)
	if inPlace {
		pass(t, s, 10)
	} else {
		_, err = j.AddSource(ctx, store.Source{Name: "list"})
		ok(t, err)
		l, err := s.LeaseSource(ctx, 0)
		ok(t, err)
		ok(t, s.Append(ctx, l, listRows(1, 50), store.Position{Line: 50}, true, 20))
		ok(t, s.ReleaseSource(ctx, l))
	}
	finish(t, s)
	ok(t, s.Leave(ctx))
	ok(t, j.Close())
	if inPlace {
		return path, OpenTableForReading
	}
	return path, OpenForReading
}

// TestReadingWritesNothing reads jobs in every state in which they may lie, and finds the same in all of
// them: nothing is written, made or removed in their folder.
func TestReadingWritesNothing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	// killed leaves the files as a process does that is killed after a write: with a WAL, or a journal.
	killed := func(t *testing.T, path, pragma string, commit bool) {
		dir := t.TempDir()
		db, err := sql.Open("sqlite3", path)
		ok(t, err)
		db.SetMaxOpenConns(1)
		for _, text := range []string{pragma, "BEGIN IMMEDIATE", "CREATE TABLE more (x)",
			"INSERT INTO more SELECT randomblob(3000) FROM pragma_table_list, pragma_table_list"} {
			_, err := db.Exec(text)
			ok(t, err)
		}
		if commit {
			_, err := db.Exec("COMMIT")
			ok(t, err)
		}
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			if exists(path + suffix) {
				ok(t, copyFile(ctx, path+suffix, filepath.Join(dir, filepath.Base(path)+suffix)))
			}
		}
		ok(t, db.Close())
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			_ = os.Remove(path + suffix)
			if from := filepath.Join(dir, filepath.Base(path)+suffix); exists(from) {
				ok(t, os.Rename(from, path+suffix))
			}
		}
	}
	for name, prepare := range map[string]func(t *testing.T, path string){
		"at rest":   func(*testing.T, string) {},
		"read-only": func(t *testing.T, path string) { ok(t, os.Chmod(path, 0o400)) },
		"killed": func(t *testing.T, path string) {
			killed(t, path,
				"PRAGMA journal_mode = WAL", true)
		},
		"killed in between": func(t *testing.T, path string) {
			killed(t, path,
				"PRAGMA journal_mode = WAL", false)
		},
		"killed with a journal": func(t *testing.T, path string) {
			killed(t, path, "PRAGMA cache_spill = 1",
				false)
		},
		"copied with its WAL": func(t *testing.T, path string) {
			killed(t, path, "PRAGMA journal_mode = WAL", true)
			ok(t, os.Remove(path+"-shm"))
		},
		"an empty WAL": func(t *testing.T, path string) {
			ok(t,
				os.WriteFile(path+"-wal", nil, 0o600))
		},
		"the index of a WAL": func(t *testing.T, path string) {
			ok(t,
				os.WriteFile(path+"-shm", make([]byte, 32768), 0o600))
		},
		"an empty WAL and index": func(t *testing.T, path string) {
			ok(t, os.WriteFile(path+"-wal", nil, 0o600))
			ok(t, os.WriteFile(path+"-shm", make([]byte, 32768), 0o600))
		},
	} {
		for _, inPlace := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", name, inPlace), func(t *testing.T) {
				t.Parallel()
				path, open := filled(t, inPlace)
				want := ""
				for round := range 2 {
					if round == 1 {
						prepare(t, path)
					}
					before := folderState(t, filepath.Dir(path))
					j, err := open(ctx, path)
					ok(t, err)
					got, err := readAll(j)
					ok(t, err)
					if err := j.Set(ctx, map[string]string{"a": "b"}); !errors.Is(err, errReading) {
						t.Errorf("writing to it: %v", err)
					}
					if now := folderState(t, filepath.Dir(path)); !slices.Equal(now, before) {
						t.Errorf("the folder changed while it was read:\n%s\n%s", strings.Join(before, "\n"),
							strings.Join(now, "\n"))
					}
					ok(t, j.Close())
					if now := folderState(t, filepath.Dir(path)); !slices.Equal(now, before) {
						t.Errorf("the folder changed:\n%s\n%s", strings.Join(before, "\n"),
							strings.Join(now, "\n"))
					}
					if round == 0 {
						want = got
					} else if got != want {
						t.Errorf("read %q, want %q", got, want)
					}
				}
			})
		}
	}
}

// TestReadingTheWAL reads what is only in the WAL: beside a living process, after a killed one, and from a
// copy without the index. Where the WAL cannot be read, the job is refused.
func TestReadingTheWAL(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path, _ := filled(t, false)
	w, err := Open(ctx, path)
	ok(t, err)
	defer w.Close()
	reader, err := OpenForReading(ctx, path)
	ok(t, err)
	defer reader.Close()
	expect := func(j store.Job, want string) {
		t.Helper()
		s, err := j.Settings(ctx)
		ok(t, err)
		if s["state"] != want {
			t.Errorf("the job says %q, not %q", s["state"], want)
		}
	}
	for _, state := range []string{"a", "b"} {
		ok(t, w.Set(ctx, map[string]string{"state": state}))
		expect(reader, state)
	}
	other := filepath.Join(t.TempDir(), "copy.db")
	ok(t, copyFile(ctx, path, other))
	ok(t, copyFile(ctx, path+"-wal", other+"-wal"))
	copied, err := OpenForReading(ctx, other)
	ok(t, err)
	expect(copied, "b")
	folder := copied.(*job).readers.(*quiet).folder
	if folder == nil {
		t.Fatal("it was not copied")
	}
	ok(t, copied.Close())
	if exists(folder.Name()) {
		t.Errorf("the temporary copy in %q was left", folder.Name())
	}
	ok(t, os.Remove(other+"-wal"))
	ok(t, os.Symlink(path+"-wal", other+"-wal"))
	if _, err := OpenForReading(ctx, other); err == nil ||
		!strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a WAL that is a link: %v", err)
	}
}

// TestReadingBesideShortWrites reads a job all the time while others open it, write and close it: every view
// is whole.
func TestReadingBesideShortWrites(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path, _ := filled(t, false)
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			for i := range 60 {
				j, err := Open(ctx, path)
				if err != nil {
					return err
				}
				n := fmt.Sprint(i)
				if err := j.Set(ctx, map[string]string{"a": n, "b": n,
					"long": strings.Repeat(n, 40_000)}); err != nil {
					return err
				}
				if err := j.Close(); err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	long, err := OpenForReading(ctx, path)
	ok(t, err)
	defer long.Close()
	for {
		short, err := OpenForReading(ctx, path)
		ok(t, err)
		for _, j := range []store.Job{long, short} {
			s, err := j.Settings(ctx)
			ok(t, err)
			if s["a"] != s["b"] {
				t.Fatalf("half a transaction: %q and %q", s["a"], s["b"])
			}
			ok(t, j.Verify(ctx, store.VerifyOptions{Deep: true}, func(p store.Problem) { t.Error(p) }))
		}
		ok(t, short.Close())
		select {
		case err := <-done:
			ok(t, err)
			return
		default:
		}
	}
}

// TestReadingAnOlderSchema reads a job of an earlier release, which stays as it is.
func TestReadingAnOlderSchema(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := restore(t, "version1.sql")
	before := folderState(t, filepath.Dir(path))
	j, err := OpenForReading(ctx, path)
	ok(t, err)
	if _, err := readAll(j); err != nil {
		t.Error(err)
	}
	ok(t, j.Close())
	if now := folderState(t, filepath.Dir(path)); !slices.Equal(now, before) {
		t.Errorf("the folder changed:\n%s\n%s", strings.Join(before, "\n"), strings.Join(now, "\n"))
	}
}

// TestReadingAsAnotherUser makes a job readable for others, and reads it as one who may write neither to it
// nor to its folder.
func TestReadingAsAnotherUser(t *testing.T) {
	t.Parallel()
	path, _ := filled(t, false)
	for dir := filepath.Dir(path); dir != filepath.Clean(os.TempDir()); dir = filepath.Dir(dir) {
		ok(t, os.Chmod(dir, 0o755))
	}
	ok(t, os.Chmod(filepath.Dir(path), 0o555))
	ok(t, os.Chmod(path, 0o644))
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), childTask+"=read:"+path)
	c.Dir = "/"
	if os.Getuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("another user cannot read it: %v\n%s", err, out)
	}
}

// readChild reads a job to its end.
func readChild(path string) error {
	j, err := OpenForReading(context.Background(), path)
	if err != nil {
		return err
	}
	defer j.Close()
	if f, err := os.Create(filepath.Join(filepath.Dir(path), "x")); err == nil {
		f.Close()
		return errors.New("this user may write to the folder: the test shows nothing")
	}
	text, err := readAll(j)
	_, _ = io.WriteString(os.Stdout, text)
	return err
}
