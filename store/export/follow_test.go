package export

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"facescan/store"
	"facescan/store/sqlite"
	"facescan/store/storetest/must"
)

// followed is a job that is written while a test works on it.
type followed struct {
	*testing.T
	store.Job
	store.Session
	path string
	log  bytes.Buffer
}

var background = context.Background()

func newFollowed(t *testing.T) *followed {
	t.Helper()
	dir := t.TempDir()
	j := must.Get(sqlite.Create(background, filepath.Join(dir, "job.db")))(t)
	s := must.Get(j.Join(background, store.Owner{}, time.Hour))(t)
	t.Cleanup(func() { s.Leave(background); j.Close() })
	return &followed{T: t, Job: j, Session: s, path: filepath.Join(dir, "out.csv")}
}

func (d *followed) ok(err error) {
	d.Helper()
	must.OK(d, err)
}

// list adds a source of n rows with kept columns.
func (d *followed) list(name string, n int, kept ...string) {
	d.Helper()
	s := must.Get(d.AddSource(background, store.Source{Name: name, Options: strings.Join(kept, ",")}))(d)
	l := must.Get(d.LeaseSource(background, s.Number))(d)
	var rows []store.NewRow
	for i := range n {
		id := int64(s.Number)<<store.SourceShift + int64(i+1)
		rows = append(rows, store.NewRow{ID: id, URL: fmt.Sprintf("http://%s.example/%d", name, i+1),
			Kept: kept})
	}
	d.ok(d.Append(background, l, rows, store.Position{}, true, 1000))
	d.ok(d.ReleaseSource(background, l))
}

// work does all free rows but those left out; every fifth fails.
func (d *followed) work(but ...int64) {
	d.Helper()
	var held []store.Lease
	for {
		l, err := d.Claim(background, 5000)
		if errors.Is(err, store.ErrNoShard) {
			break
		}
		d.ok(err)
		held = append(held, l)
		rows := must.Get(d.Pending(background, l, l.Lo-1, 5000))(d)
		var batch []store.Result
	row:
		for _, r := range rows {
			for _, id := range but {
				if r.ID == id {
					continue row
				}
			}
			result := store.Result{ID: r.ID, Status: store.OK, Format: "jpeg", Width: 9, Height: 9,
				Attempts: 1, Detector: "d", Time: time.Now()}
			if r.ID%5 == 0 {
				result.Status, result.Reason, result.Detector = store.Failed, store.Timeout, ""
			}
			batch = append(batch, result)
		}
		d.ok(d.Commit(background, l, batch))
	}
	d.ok(d.Release(background, held))
}

func (d *followed) options(sources []store.Source) (Options, error) {
	var o Options
	for _, s := range sources {
		source := Source{Name: s.Name}
		if s.Options != "" && s.Format == "" {
			source.Kept = strings.Split(s.Options, ",")
		}
		o.Sources = append(o.Sources, source)
	}
	return o, nil
}

func (d *followed) follower() *Follower {
	return &Follower{Job: d.Job, Path: d.path, Name: "out", Options: d.options,
		Log: slog.New(slog.NewTextHandler(&d.log, nil))}
}

// follow writes what is done in order.
func (d *followed) follow() {
	d.Helper()
	over := make(chan struct{})
	close(over)
	d.ok(d.follower().Follow(background, over))
}

// exported is what an export would write of some rows.
func (d *followed) exported(ranges ...[2]int64) string {
	d.Helper()
	sources := must.Get(d.Sources(background))(d)
	o := must.Get(d.options(sources))(d)
	var out bytes.Buffer
	w := must.Get(New(&out, o))(d)
	if ranges == nil {
		ranges = [][2]int64{{math.MinInt64, math.MaxInt64}}
	}
	for _, r := range ranges {
		for _, r := range must.All(d, d.Results(background, r[0], r[1])) {
			d.ok(w.Write(r))
		}
	}
	d.ok(w.Close())
	return out.String()
}

func (d *followed) is(want string) {
	d.Helper()
	got := must.Get(os.ReadFile(d.path))(d)
	if string(got) != want {
		d.Fatalf("the file has %d bytes, want %d:\n%.300s\nwant\n%.300s", len(got), len(want), got, want)
	}
}

func TestFollowSources(t *testing.T) {
	d := newFollowed(t)
	const two, three = int64(1) << store.SourceShift, int64(2) << store.SourceShift
	d.follow() // nothing is there yet
	d.list("a", 3000)
	d.list("b", 3000)
	d.follow()
	d.is(d.exported())
	d.work(2, two+2500)
	d.follow()
	d.is(d.exported([2]int64{0, 2}, [2]int64{two, two + 2500})) // neither waits for the other
	d.work(two + 2500)
	d.follow()
	d.is(d.exported([2]int64{0, 2}, [2]int64{two, two + 2500}, [2]int64{2, two})) // each in its order
	if strings.Contains(d.log.String(), "from the start") {
		t.Errorf("log: %s", &d.log)
	}
	// A source with columns of its own changes the header: all is written anew.
	d.list("c", 10, "album")
	d.work(two + 2500)
	d.follow()
	d.is(d.exported([2]int64{0, two + 2500}, [2]int64{three, math.MaxInt64}))
	at, _, err := d.follower().saved(background)
	d.ok(err)
	for i, s := range must.Get(d.Sources(background))(d) { // so that none is read without need
		if at.Sources[i].has(s) != (s.Pending == 0) {
			t.Errorf("of %+v the place is %+v", s, at.Sources[i])
		}
	}
	if !strings.Contains(d.log.String(), "other columns") {
		t.Errorf("log: %s", &d.log)
	}
}

// TestFollowWantsLater names a source only after a round has passed it by: its rows come all the same, though
// nothing of it has changed since.
func TestFollowWantsLater(t *testing.T) {
	d := newFollowed(t)
	d.list("a", 30)
	d.work()
	f, wanted := d.follower(), false
	f.Wants = func(int) bool { return wanted }
	if held, err := f.lock(background); err != nil || !held {
		t.Fatal(held, err)
	}
	defer f.release()
	for range 2 {
		if more, err := f.round(background); err != nil || more {
			t.Fatal(more, err)
		}
		wanted = true
	}
	d.is(d.exported())
}

// TestFollowFails has every step of the output fail in turn, as a full disk or a kill would: the next
// follower makes the file right.
func TestFollowFails(t *testing.T) {
	for step := 1; ; step++ {
		d := newFollowed(t)
		d.list("a", 2500)
		d.work(1700)
		d.follow()
		d.work()
		must.Get(d.Retry(background, store.Selection{Reasons: []store.Reason{store.Timeout}}))(d)
		d.work(1500)
		f := d.follower()
		if held, err := f.lock(background); err != nil || !held {
			t.Fatal(held, err)
		}
		flaky := &failing{file: f.file, left: step}
		f.file = flaky
		var err error
		for more := true; more && err == nil; {
			more, err = f.round(background)
		}
		f.release()
		if err != nil && !errors.Is(err, io.ErrShortWrite) {
			t.Fatal(err)
		}
		d.work()
		d.follow()
		d.is(d.exported())
		if err == nil {
			if step < 5 {
				t.Errorf("only %d steps", step)
			}
			return
		}
	}
}

// failing is a file that fails at a step: half a write, or nothing, is done.
type failing struct {
	file
	left int
}

func (f *failing) step() error {
	if f.left--; f.left == 0 {
		return io.ErrShortWrite
	}
	return nil
}

func (f *failing) Write(p []byte) (int, error) {
	if f.step() != nil {
		n, _ := f.file.Write(p[:len(p)/2])
		return n, io.ErrShortWrite
	}
	return f.file.Write(p)
}

func (f *failing) Seek(offset int64, whence int) (int64, error) {
	if err := f.step(); err != nil {
		return 0, err
	}
	return f.file.Seek(offset, whence)
}

func (f *failing) ReadAt(p []byte, at int64) (int, error) {
	if err := f.step(); err != nil {
		return 0, err
	}
	return f.file.ReadAt(p, at)
}

func (f *failing) Sync() error            { return errors.Join(f.step(), f.file.Sync()) }
func (f *failing) Truncate(n int64) error { return errors.Join(f.step(), f.file.Truncate(n)) }

// TestFollowHoldsNothing has the first row pending and very many done behind it: they cost no memory, nor
// does writing them.
func TestFollowHoldsNothing(t *testing.T) {
	d := newFollowed(t)
	d.list("a", 100_000)
	d.work(1)
	f := d.follower()
	if held, err := f.lock(background); err != nil || !held {
		t.Fatal(held, err)
	}
	defer f.release()
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	allocated := m.TotalAlloc
	must.Get(f.round(background))(d)
	runtime.ReadMemStats(&m)
	if n := m.TotalAlloc - allocated; n > 4<<20 {
		t.Errorf("to see that row 1 is pending took %d bytes", n)
	}
	d.work()
	for more := true; more; {
		more = must.Get(f.round(background))(d)
		if now := live(); now > before+8<<20 {
			t.Fatalf("%d bytes are held while rows are written", now-before)
		}
	}
	d.is(d.exported())
}

// TestFollowNoticesTheFile changes the file between two rounds of one follower.
func TestFollowNoticesTheFile(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, []byte("x"), 0o644))
		},
		"cut":     func(path string) error { return os.Truncate(path, 50) },
		"longer":  func(path string) error { return os.Truncate(path, 1<<20) },
		"flipped": func(path string) error { return flip(path, 20) },
		"flipped, its time kept": func(path string) error {
			st, err := os.Stat(path)
			return errors.Join(err, flip(path, 20), os.Chtimes(path, time.Time{}, st.ModTime()))
		},
		"unchanged": func(string) error { return nil },
	} {
		d := newFollowed(t)
		d.list("a", 100)
		d.work(50)
		over, ended := make(chan struct{}), make(chan error)
		f := d.follower()
		go func() { ended <- f.Follow(background, over) }()
		half := d.exported([2]int64{0, 50})
		for end := time.Now().Add(5 * time.Minute); ; time.Sleep(time.Millisecond) {
			if b, _ := os.ReadFile(d.path); string(b) == half {
				if p, _, err := d.follower().saved(background); err == nil && p.Bytes == int64(len(half)) {
					break
				}
			}
			if time.Now().After(end) {
				t.Fatal("nothing was written")
			}
		}
		d.ok(change(d.path))
		d.work()
		close(over)
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		d.is(d.exported())
	}
}

// flip changes one byte of a file.
func flip(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	if err == nil {
		b[0] ^= 1
		_, err = f.WriteAt(b, at)
	}
	return errors.Join(err, f.Close())
}

// TestFollowComparesTheFile changes the file while nobody holds it.
func TestFollowComparesTheFile(t *testing.T) {
	const inTheMiddle = 40_000 // far from both ends
	for _, c := range []struct {
		name    string
		change  func(path string) error
		rewrite bool // it has to be written from the start
	}{
		{"unchanged", func(string) error { return nil }, false},
		{"touched", func(path string) error { return os.Chtimes(path, time.Now(), time.Now()) }, false},
		{"flipped", func(path string) error { return flip(path, inTheMiddle) }, true},
		{"flipped, its time kept", func(path string) error {
			st, err := os.Stat(path)
			return errors.Join(err, flip(path, inTheMiddle), os.Chtimes(path, time.Time{}, st.ModTime()))
		}, true},
		{"appended to", func(path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			_, e := f.WriteString("x")
			return errors.Join(err, e, f.Close())
		}, false},
		{"appended to and flipped", func(path string) error {
			return errors.Join(flip(path, inTheMiddle), os.Truncate(path, 1<<20))
		}, true},
		{"cut", func(path string) error { return os.Truncate(path, inTheMiddle) }, true},
		{"replaced by a copy", func(path string) error {
			b, err := os.ReadFile(path)
			return errors.Join(err, os.Remove(path), os.WriteFile(path, b, 0o600))
		}, false},
		{"replaced", func(path string) error {
			b, err := os.ReadFile(path)
			b[inTheMiddle] ^= 1
			return errors.Join(err, os.Remove(path), os.WriteFile(path, b, 0o600))
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newFollowed(t)
			d.list("a", 4000)
			d.work(3900)
			d.follow()
			d.ok(c.change(d.path))
			for range 2 { // the second time nothing is to be done about it
				d.log.Reset()
				d.follow()
				d.is(d.exported([2]int64{0, 3900}))
				if told := strings.Contains(d.log.String(), "from the start"); told != c.rewrite {
					t.Errorf("written from the start: %t\n%s", told, &d.log)
				}
				c.rewrite = false
			}
			d.work()
			d.follow()
			d.is(d.exported())
		})
	}
}

// TestFollowComparesBeforeTheEnd changes a file within a minute of its last comparison, while it is written:
// it is compared again before the follower ends.
func TestFollowComparesBeforeTheEnd(t *testing.T) {
	d := newFollowed(t)
	d.list("a", 4000)
	d.work(3900)
	f := d.follower()
	if locked, err := f.lock(background); !locked || err != nil {
		t.Fatal(locked, err)
	}
	must.Get(f.round(background))(d)
	f.checked = time.Now()
	d.ok(flip(d.path, 40_000))
	d.work()
	over := make(chan struct{})
	close(over)
	d.ok(f.Follow(background, over))
	d.is(d.exported())
}

// TestFollowAnOlderPosition resumes a file whose position an earlier release kept, without a hash.
func TestFollowAnOlderPosition(t *testing.T) {
	d := newFollowed(t)
	d.list("a", 4000)
	d.work(3900)
	d.follow()
	f := d.follower()
	at, _, err := f.saved(background)
	d.ok(err)
	at.Sum, at.Stamp = nil, stamp{}
	d.ok(f.save(background, at))
	d.work()
	d.follow()
	d.is(d.exported())
	d.ok(flip(d.path, 40_000))
	d.follow()
	d.is(d.exported())
}

// TestFollowATable follows a user's table, whose ids may be negative and whose rows come and go.
func TestFollowATable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "photos.db")
	d := &followed{T: t, path: path + ".csv"}
	change := tableOf(t, path)
	j := must.Get(sqlite.OpenTable(background, path, sqlite.TableOptions{Table: "t"}))(d)
	d.Job = j
	d.Session = must.Get(j.Join(background, store.Owner{}, time.Hour))(d)
	defer func() { d.Leave(background); j.Close() }()
	pass := func() {
		l := must.Get(d.LeaseSource(background, 0))(d)
		for next, more := int64(math.MinInt64), true; more; {
			var err error
			next, more, err = d.Session.(store.Adopter).Adopt(background, l, next, 10)
			d.ok(err)
		}
		d.ok(d.ReleaseSource(background, l))
	}
	d.follow()
	pass()
	d.work(0)
	d.follow()
	d.is(d.exported([2]int64{math.MinInt64, 0}))
	d.work()
	d.follow()
	d.is(d.exported())
	for _, text := range []string{
		"DELETE FROM t WHERE id = 7", "UPDATE t SET done = 0 WHERE id = -9",
		"INSERT INTO t (id, url) VALUES (-500, 'before all')",
		"INSERT INTO t (id, url) VALUES (7, 'between')", "INSERT INTO t (id, url) VALUES (500, 'behind')",
	} {
		change(text)
		pass()
		d.follow()
		d.work()
		d.follow()
		if !strings.Contains(d.exported(), "http") {
			t.Fatal("no rows")
		}
		d.is(d.exported())
	}
}

// tableOf makes a user's table, and returns how to change it.
func tableOf(t *testing.T, path string) func(text string) {
	t.Helper()
	db := must.Get(sql.Open("sqlite3", path+"?_busy_timeout=10000"))(t)
	t.Cleanup(func() { db.Close() })
	change := func(text string) {
		t.Helper()
		must.Get(db.Exec(text))(t)
	}
	change(`CREATE TABLE t (id INTEGER PRIMARY KEY, url TEXT, done INTEGER DEFAULT 0);
		WITH RECURSIVE n(i) AS (SELECT -40 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
			INSERT INTO t (id, url) SELECT i, 'http://x.example/' || i FROM n`)
	return change
}

// TestFinished has jobs with each thing that can be left to do, and none.
func TestFinished(t *testing.T) {
	for _, c := range []struct {
		rows, done int
		complete   bool
		want       bool
	}{{0, 0, true, true}, {3, 3, true, true}, {3, 2, true, false}, {3, 3, false, false},
		{3, 2, false, false}} {
		d := newFollowed(t)
		if finished, err := d.follower().finished(background); finished || err != nil {
			t.Errorf("a job without a list: %v, %v", finished, err)
		}
		s := must.Get(d.AddSource(background, store.Source{Name: "list"}))(t)
		l := must.Get(d.LeaseSource(background, s.Number))(t)
		var rows []store.NewRow
		for i := range c.rows {
			rows = append(rows, store.NewRow{ID: int64(i + 1), URL: "http://x.example/"})
		}
		d.ok(d.Append(background, l, rows, store.Position{}, c.complete, 1000))
		if c.done == c.rows {
			d.work()
		} else {
			d.work(int64(c.rows))
		}
		if finished, err := d.follower().finished(background); finished != c.want || err != nil {
			t.Errorf("%+v: %v, %v", c, finished, err)
		}
	}
}

// TestErrorsNameTheFile adds the file to errors of writing it, and says of a full disk that it is full.
func TestErrorsNameTheFile(t *testing.T) {
	plain := errors.New("the disk is gone")
	full := &os.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}
	for _, c := range []struct {
		path string
		err  error
		want string
		full bool
	}{
		{"", plain, plain.Error(), false},
		{"out.csv", plain, "write out.csv: " + plain.Error(), false},
		{"out.csv", &ForeignError{"out.csv"}, (&ForeignError{"out.csv"}).Error(), false},
		{"out.csv", usagef("no column x"), "no column x", false},
		{"", full, full.Error(), false},
		{"out.csv", full, fmt.Sprintf("write out.csv: %v (%v)", store.ErrFull, full), true},
		{"out.csv", fmt.Errorf("commit: %w (%w)", store.ErrFull, full),
			fmt.Sprintf("write out.csv: commit: %v (%v)", store.ErrFull, full), true},
	} {
		got := (&Follower{Path: c.path}).wrap(c.err)
		if got.Error() != c.want || !errors.Is(got, c.err) || errors.Is(got, store.ErrFull) != c.full {
			t.Errorf("%q, want %q; full %v", got, c.want, errors.Is(got, store.ErrFull))
		}
	}
}
