package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"facescan/store"
	"facescan/store/lockfile"
)

func TestFilesAreToldApart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	ok(t, os.WriteFile(path("list.txt"), []byte(strings.Repeat("http://a.example/1.jpg\n", 20)), 0o600))
	ok(t, os.WriteFile(path("short.txt"), []byte("SQLite format 3\x00"), 0o600))
	ok(t, os.WriteFile(path("empty"), nil, 0o600))
	db, err := sql.Open("sqlite3", path("users.db"))
	ok(t, err)
	_, err = db.Exec("CREATE TABLE photos (id INTEGER PRIMARY KEY, url TEXT)")
	ok(t, err)
	ok(t, db.Close())
	j, err := Create(context.Background(), path("job.db"))
	ok(t, err)
	defer j.Close()
	for name, want := range map[string][2]bool{"list.txt": {}, "short.txt": {}, "empty": {}, "nothing": {},
		".":        {},
		"users.db": {true, false}, "job.db": {true, true}} {
		isDatabase, err := IsDatabase(path(name))
		ok(t, err)
		isJob, err := IsJob(path(name))
		ok(t, err)
		if got := [2]bool{isDatabase, isJob}; got != want {
			t.Errorf("%s: database and job are %v, want %v", name, got, want)
		}
	}
	for _, name := range []string{"list.txt", "empty", "users.db", "."} {
		if _, err := Open(context.Background(), path(name)); err == nil {
			t.Errorf("%s was opened as a job", name)
		}
	}
	if _, err := Open(context.Background(), path("nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a job that is not there: %v", err)
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	path := filepath.Join(dir, "odd ?name#%41&mode=memory.db")
	var mu sync.Mutex
	var made []store.Job
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			j, err := Create(ctx, path)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				made = append(made, j)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(made) != 1 {
		t.Fatalf("%d of 8 made the same job", len(made))
	}
	info, err := os.Stat(path)
	ok(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	s, err := made[0].Join(ctx, store.Owner{}, time.Hour)
	ok(t, err)
	for _, suffix := range []string{"-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		ok(t, err)
		if info.Mode() != 0o600 {
			t.Errorf("%s: mode %v", suffix, info.Mode())
		}
	}
	ok(t, s.Leave(ctx))
	ok(t, made[0].Close())
	ok(t, made[0].Close()) // twice does no harm
	if err := made[0].Set(ctx, map[string]string{"a": "b"}); !errors.Is(err, errClosed) {
		t.Errorf("a closed job took a setting: %v", err)
	}
	entries, err := os.ReadDir(dir)
	ok(t, err)
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if _, err := Create(ctx, filepath.Join(dir, "none", "x.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a job in a folder that is not there: %v", err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := target.Create(t)
	j, err := Open(ctx, path)
	ok(t, err)
	j.(*job).tamper(t, "UPDATE job SET version = version + 1")
	ok(t, j.Close())
	_, err = Open(ctx, path)
	if err == nil || !strings.Contains(err.Error(), "newer facescan") {
		t.Errorf("a newer schema: %v", err)
	}
	db, err := sql.Open("sqlite3", path)
	ok(t, err)
	_, err = db.Exec("UPDATE job SET version = -1")
	ok(t, errors.Join(err, db.Close()))
	_, err = Open(ctx, path)
	if err == nil || !strings.Contains(err.Error(), "its schema has version -1, which does not exist") {
		t.Errorf("a schema that there never was: %v", err)
	}
}

// TestRoom: a folder has room for so many bytes, or the error says how much there is.
func TestRoom(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ok(t, checkRoom(dir, 1))
	err := checkRoom(dir, 1<<62)
	if err == nil || !regexp.MustCompile("^"+dir+" has [0-9]+ MB free, and 4398046511105 MB are needed$").
		MatchString(err.Error()) {
		t.Error(err)
	}
	for _, err := range []error{checkRoom(dir+"/x", 1), checkFilesystem(dir + "/x")} {
		if err == nil || !strings.HasPrefix(err.Error(), dir+"/x: ") || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a folder that is not there: %v", err)
		}
	}
}

func TestNetworkedFilesystemsAreRefused(t *testing.T) {
	t.Parallel()
	for magic, want := range map[int64]string{unix.NFS_SUPER_MAGIC: "NFS", unix.SMB_SUPER_MAGIC: "SMB",
		unix.CIFS_SUPER_MAGIC: "SMB",
		unix.SMB2_SUPER_MAGIC: "SMB", 0x0bd00bd0: "Lustre", -11317950 /* SMB, where the number is a signed word */ : "SMB"} {
		err := refuseNetworked("/data", magic)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--db") {
			t.Errorf("%#x: %v", magic, err)
		}
	}
	for _, magic := range []int64{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC,
		unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC} {
		ok(t, refuseNetworked("/data", magic))
	}
}

// TestLeftOvers has files of owners that died at the wrong moment: the next to join removes them, and no
// others.
func TestLeftOvers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	opened, err := target.Open(ctx, target.Create(t))
	ok(t, err)
	j := opened.(*job)
	defer j.Close()
	dead, other := j.lockFile("dead"), filepath.Join(filepath.Dir(j.file), "other-owner-x")
	for _, name := range []string{dead, other} {
		ok(t, os.WriteFile(name, make([]byte, 100), 0o600))
	}
	coming, err := lockfile.Create(j.lockFile("coming")) // locked, and not in the table yet
	ok(t, err)
	defer coming.Close()
	s, err := j.Join(ctx, store.Owner{ID: "alive"}, time.Hour)
	ok(t, err)
	got := func() (out []string) {
		entries, err := os.ReadDir(filepath.Dir(j.file))
		ok(t, err)
		for _, e := range entries {
			if strings.Contains(e.Name(), "-owner-") {
				out = append(out, e.Name())
			}
		}
		return out
	}
	base := filepath.Base(j.file)
	if want := []string{base + "-owner-alive", base + "-owner-coming", "other-owner-x"}; !slices.Equal(got(),
		want) {
		t.Errorf("files %v, want %v", got(), want)
	}
	for _, bad := range []string{"a/b", "..", "", strings.Repeat("x", 65)} {
		if bad == "" {
			continue // asks for a name
		}
		if _, err := j.Join(ctx, store.Owner{ID: bad + "/"}, time.Hour); err == nil {
			t.Errorf("joined as %q", bad)
		}
	}
	if _, err := j.Join(ctx, store.Owner{ID: "alive"}, time.Hour); err == nil {
		t.Error("two owners of one name")
	}
	if _, err := j.Join(ctx, store.Owner{}, 0); err == nil {
		t.Error("joined without a time to live")
	}
	// A process whose file was removed by hand is dead to the others: it must not go on.
	ok(t, os.Remove(j.lockFile("alive")))
	second, err := j.Join(ctx, store.Owner{}, time.Hour)
	ok(t, err)
	_, err = j.AddSource(ctx, store.Source{Name: "list"})
	ok(t, err)
	_, err = second.LeaseSource(ctx, 0)
	ok(t, err)
	if _, err := s.LeaseSource(ctx, 0); err == nil || errors.Is(err, store.ErrHeld) {
		t.Errorf("an owner whose file is gone leases a source: %v", err)
	}
	ok(t, second.Leave(ctx))
	ok(t, s.Leave(ctx))
}

// TestWritersWait has another process in the midst of a transaction for longer than SQLite itself would wait.
func TestWritersWait(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := target.Create(t)
	other, err := sql.Open("sqlite3", path+"?_txlock=immediate")
	ok(t, err)
	defer other.Close()
	blocking, err := other.Begin()
	ok(t, err)
	j, err := Open(ctx, path) // reading is free
	ok(t, err)
	defer j.Close()
	if _, err := j.Counts(ctx); err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if err := j.Set(short, map[string]string{"a": "b"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write that may wait for 10 ms: %v", err)
	}
	done := make(chan error)
	go func() { done <- j.Set(ctx, map[string]string{"a": "c"}) }()
	time.AfterFunc(busyTimeout*3/2, func() { _ = blocking.Rollback() })
	ok(t, <-done)
}

// TestWALStaysBounded holds a view open for a while: the WAL grows meanwhile and no longer.
func TestWALStaysBounded(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	opened, err := target.Open(ctx, target.Create(t))
	ok(t, err)
	j := opened.(*job)
	defer j.Close()
	const limit = 1 << 20
	j.writer.walLimit = limit
	write := func(n int) {
		for range n {
			ok(t, j.writer.update(ctx, "test", func(t tx) error {
				_, err := t.exec("INSERT INTO {settings} VALUES ('k', hex(randomblob(20000))) ON CONFLICT " +
					"DO UPDATE SET value = excluded.value")
				return err
			}))
		}
	}
	size := func() int64 {
		info, err := os.Stat(j.writer.intact.path + "-wal")
		ok(t, err)
		return info.Size()
	}
	write(3 * walEvery)
	before := size()
	var held int64
	ok(t, j.view(ctx, func(view tx) error {
		n := 0
		ok(t, view.one("SELECT count(*) FROM {settings}", nil, &n)) // the view begins here
		write(2 * walEvery)
		held = size()
		return nil
	}))
	if held < 2*walEvery*40000 {
		t.Errorf("a WAL of %d bytes, though a reader is in it", held)
	}
	j.writer.walLimit = limit // as it would be after as much growth again
	write(4 * walEvery)
	if after := size(); after > held+walEvery*60000 || before > 4*walEvery*60000 {
		t.Errorf("the WAL has %d bytes before a reader, %d with it, %d after", before, held, after)
	}
}

// TestCloseWhole closes jobs that are to be copied. If the job is being read, that is an error, since a part
// of it stays beside its file.
func TestCloseWhole(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := target.Create(t)
	j, err := Open(ctx, path)
	ok(t, err)
	ok(t, j.Set(ctx, map[string]string{"a": "b"}))
	ok(t, CloseWhole(ctx, j))
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the WAL: %v", err)
	}
	j, err = Open(ctx, path)
	ok(t, err)
	reading, err := Open(ctx, path)
	ok(t, err)
	defer reading.Close()
	err = reading.(*job).view(ctx, func(x tx) error {
		if _, err := readSettings(x); err != nil {
			return err
		}
		ok(t, j.Set(ctx, map[string]string{"a": "c"}))
		return CloseWhole(ctx, j)
	})
	if err == nil || !strings.HasPrefix(err.Error(), "write "+path+": another program is reading") {
		t.Errorf("while it is read: %v", err)
	}
}
