package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"facescan/store"
	"facescan/store/sqlite"
	"facescan/store/storetest/interrupt"
	"facescan/store/storetest/must"
)

// failing is a job of which the n-th call fails.
type failing struct {
	store.Job
	store.Publishable
	n    int
	with error  // errFailing if nil
	at   func() // is called instead, and the call succeeds
	path string // of the job, if not its own
}

// Path implements store.Job.
func (f *failing) Path() string { return cmp.Or(f.path, f.Job.Path()) }

var errFailing = errors.New("the disk is gone")

func newFailing(j store.Job) *failing { return &failing{Job: j, Publishable: j.(store.Publishable)} }

func call[T any](f *failing, do func() (T, error)) (out T, err error) {
	if f.n--; f.n == 0 && f.at != nil {
		f.at()
	} else if f.n == 0 {
		return out, cmp.Or(f.with, errFailing)
	}
	return do()
}

func change(f *failing, do func() error) error {
	_, err := call(f, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

func (f *failing) Settings(ctx context.Context) (map[string]string, error) {
	return call(f, func() (map[string]string, error) { return f.Job.Settings(ctx) })
}

func (f *failing) Sources(ctx context.Context) ([]store.Source, error) {
	return call(f, func() ([]store.Source, error) { return f.Job.Sources(ctx) })
}

func (f *failing) Counts(ctx context.Context) (store.Counts, error) {
	return call(f, func() (store.Counts, error) { return f.Job.Counts(ctx) })
}

func (f *failing) AddSource(ctx context.Context, s store.Source) (store.Source, error) {
	return call(f, func() (store.Source, error) { return f.Job.AddSource(ctx, s) })
}

func (f *failing) Set(ctx context.Context, settings map[string]string) error {
	return change(f, func() error { return f.Job.Set(ctx, settings) })
}

func (f *failing) NoteChanges(ctx context.Context, all bool) error {
	return change(f, func() error { return f.Publishable.NoteChanges(ctx, all) })
}

func (f *failing) DropChanges(ctx context.Context, upTo int64, settings map[string]string) error {
	return change(f, func() error { return f.Publishable.DropChanges(ctx, upTo, settings) })
}

func (f *failing) TakeIn(ctx context.Context, source int, rows []store.PublishedRow, p store.Position,
	complete bool, shardSize int) error {
	return change(f, func() error { return f.Publishable.TakeIn(ctx, source, rows, p, complete, shardSize) })
}

func (f *failing) Changes(ctx context.Context, after int64, limit int) (rows []store.MergedRow, last int64,
	err error) {
	err = change(f, func() error { rows, last, err = f.Publishable.Changes(ctx, after, limit); return err })
	return rows, last, err
}

// failEach runs something with the first call to the job failing, then the second, until none fails any more:
// each failure is its error, and what it left does not keep it from succeeding later.
func failEach(t *testing.T, f *failing, what string, run func() error) {
	t.Helper()
	for n := 1; ; n++ {
		f.n = n
		err := run()
		if f.n > 0 {
			must.OK(t, err)
			if n < 4 {
				t.Errorf("%s makes only %d calls", what, n-1)
			}
			f.n = 0 // from here on none fails
			return
		}
		if !errors.Is(err, errFailing) {
			t.Fatalf("%s: call %d failed, and the error is %v", what, n, err)
		}
	}
}

// TestFailuresAreSeen has each call to the job fail, one after the other, while rows are published, folded
// and taken in. In the end the folder has all that is done, and so has a job that takes it in.
func TestFailuresAreSeen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWriter(t, dir)
	f := newFailing(w.Job)
	w.Publisher.Job = f
	version := 0
	failEach(t, f, "to publish", func() error {
		version++
		w.do(1, version)
		return w.Publish(t.Context())
	})
	for range 3 { // so that there is something to fold
		version++
		w.do(1, version)
		must.OK(t, w.Publish(t.Context()))
	}
	failEach(t, f, "to begin again, and fold", func() error {
		w.Close()
		return w.FoldAll(t.Context())
	})
	want := versions(t, w.Job)
	maps.DeleteFunc(want, func(_ int64, version int) bool { return version == 0 })
	if got := published(t, dir); !maps.Equal(got, want) {
		t.Errorf("published %v, want %v", got, want)
	}
	if files := must.Get(List(dir))(t); len(files) != 1 {
		t.Errorf("%d segments, want one", len(files))
	}

	again := newFailing(must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t))
	defer again.Job.Close()
	p := publisherOf(again, dir)
	failEach(t, again, "to take in", func() error {
		p.Close()
		return p.Start(t.Context())
	})
	defer p.Close()
	sound(t, again.Job)
	if got := versions(t, again.Job); !maps.Equal(got, want) {
		t.Errorf("taken in: %v, want %v", got, want)
	}
	must.OK(t, p.Publish(t.Context()))
	if got := published(t, dir); !maps.Equal(got, want) {
		t.Errorf("published again: %v, want %v", got, want)
	}
}

// TestEachStepFails interrupts each step in turn while rows are published, folded, put together and taken in:
// that is an error, or all is there that was done.
func TestEachStepFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWriter(t, dir)
	done := func() map[int64]int {
		all := versions(t, w.Job)
		maps.DeleteFunc(all, func(_ int64, version int) bool { return version == 0 })
		return all
	}
	version := 0
	publish := func(ctx context.Context, publish func(context.Context) error) error {
		version++
		w.do(1, version)
		err := publish(ctx)
		if err != nil {
			return err
		}
		if got := published(t, dir); !maps.Equal(got, done()) {
			t.Errorf("published without an error: %v, want %v", got, done())
		}
		return nil
	}
	interrupt.Each(t, 20, func(ctx context.Context) error { return publish(ctx, w.Publish) })
	interrupt.Each(t, 20, func(ctx context.Context) error {
		return publish(ctx, func(ctx context.Context) error {
			must.OK(t, w.Publish(t.Context()))
			err := w.FoldAll(ctx)
			if files := must.Get(List(dir))(t); err == nil && len(files) != 1 {
				t.Errorf("folded without an error to %d segments", len(files))
			}
			return err
		})
	})
	must.OK(t, w.Publish(t.Context()))
	beside := t.TempDir()
	about := func(p *Parts) string {
		return fmt.Sprint(must.Get(p.Jobs[0].Settings(t.Context()))(t),
			must.Get(p.Jobs[0].Sources(t.Context()))(t))
	}
	whole := must.Get(OpenParts(t.Context(), dir, filepath.Join(beside, "x"), anyList))(t)
	want := about(whole)
	must.OK(t, whole.Close())
	interrupt.Each(t, 20, func(ctx context.Context) error {
		parts, err := OpenParts(ctx, dir, filepath.Join(beside, "x"), anyList)
		if err == nil {
			if got := about(parts); got != want {
				t.Errorf("put together without an error: %s, want %s", got, want)
			}
			if got := versions(t, parts.Jobs[0]); !maps.Equal(got, done()) {
				t.Errorf("put together without an error: %v, want %v", got, done())
			}
			must.OK(t, parts.Close())
		}
		if left := must.Get(os.ReadDir(beside))(t); len(left) > 0 {
			t.Errorf("%v; left: %v", err, left)
		}
		return err
	})
	interrupt.Each(t, 20, func(ctx context.Context) error {
		job := must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t)
		defer job.Close()
		p := publisherOf(job, dir)
		err := p.Start(ctx)
		defer p.Close()
		if got := versions(t, job); err == nil && !maps.Equal(got, done()) {
			t.Errorf("taken in without an error: %v, want %v", got, done())
		}
		return err
	})
}

// TestFullFolder says of a full disk where to make room.
func TestFullFolder(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	f := newFailing(w.Job)
	w.Publisher.Job = f
	f.n, f.with = 1, unix.ENOSPC
	want := fmt.Sprintf("publish to %s: %v: make room in %s, then run the same command again; the job itself "+
		"has all rows", dir, unix.ENOSPC, dir)
	if err := w.Publish(t.Context()); err == nil || err.Error() != want || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%v, want\n%s", err, want)
	}
	f.n, f.with = 1, context.Canceled
	if err := w.Publish(t.Context()); err != context.Canceled {
		t.Errorf("the end of the run is %v", err)
	}
}

// TestStartWaits has a job that another process takes in to, or has just begun with: a second one waits until
// it has all rows.
func TestStartWaits(t *testing.T) {
	dir := t.TempDir()
	job := must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t)
	defer job.Close()
	other := must.Get(lockFile(job.Path() + ".publishing"))(t)
	defer other.Close()
	for _, c := range []struct {
		known, taking string
		waits         bool
	}{{"", "", true}, {"[]", "1", true}, {"", "1", true}, {"[]", "", false}} {
		must.OK(t, job.Set(t.Context(), map[string]string{knownSetting: c.known, takingSetting: c.taking}))
		ctx, cancel := context.WithCancel(t.Context())
		f := newFailing(job)
		p := publisherOf(f, dir)
		f.n, f.at = 3, cancel // it was asked twice, and waits
		err := p.Start(ctx)
		if waited := errors.Is(err, context.Canceled); waited != c.waits || !waited &&
			(err != nil || f.n != 2) {
			t.Errorf("%+v: %v after %d questions", c, err, 3-f.n)
		}
		cancel()
	}
}

// TestFoldedByAnother has all that was published folded by another process: nothing of it is published again.
func TestFoldedByAnother(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	for version := range 3 {
		w.do(5, version+1)
		must.OK(t, w.Publish(t.Context()))
	}
	other := newWriter(t, dir)
	must.OK(t, other.FoldAll(t.Context()))
	before := must.Get(List(dir))(t)
	must.OK(t, w.Publish(t.Context()))
	if after := must.Get(List(dir))(t); len(before) != 1 || !slices.Equal(before, after) {
		t.Errorf("%v, and then %v", before, after)
	}
	w.do(5, 9)
	must.OK(t, w.Publish(t.Context()))
	if got, want := len(published(t, dir)), 20; got != want {
		t.Errorf("%d rows are published, want %d", got, want)
	}
}

// TestMissingIsPublishedAgain removes the segments, and has each call fail with which the publisher finds
// that out, one after the other: afterwards the folder has all rows again.
func TestMissingIsPublishedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWriter(t, dir)
	f := newFailing(w.Job)
	w.Publisher.Job = f
	w.do(5, 1)
	must.OK(t, w.Publish(t.Context()))
	want := published(t, dir)
	if len(want) != 5 {
		t.Fatalf("published %v", want)
	}
	for n, failed := 1, true; failed; n++ {
		for _, file := range must.Get(List(dir))(t) {
			must.OK(t, os.Remove(filepath.Join(dir, file.Name)))
		}
		f.n = n
		err := w.Publish(t.Context())
		if failed = f.n <= 0; failed != errors.Is(err, errFailing) {
			t.Fatalf("call %d: %v", n, err)
		}
		f.n = 0
		must.OK(t, w.Publish(t.Context()))
		if got := published(t, dir); !maps.Equal(got, want) {
			t.Errorf("after call %d failed, published %v, want %v", n, got, want)
		}
		if !failed && n < 4 {
			t.Errorf("only %d calls", n-1)
		}
	}
}

// watched notes what the job says of being taken in to, whenever it is.
type watched struct {
	*failing
	taking []string
}

func (w *watched) TakeIn(ctx context.Context, source int, rows []store.PublishedRow, p store.Position,
	complete bool, shardSize int) error {
	settings, err := w.failing.Job.Settings(ctx)
	w.taking = append(w.taking, settings[takingSetting])
	return errors.Join(err, w.failing.TakeIn(ctx, source, rows, p, complete, shardSize))
}

// TestTakingInIsMarked has a job say that it is taken in to while it is, for the first time or again, so that
// other processes wait until it has all rows.
func TestTakingInIsMarked(t *testing.T) {
	for _, began := range []bool{false, true} {
		dir := t.TempDir()
		job := must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t)
		defer job.Close()
		at := &watched{failing: newFailing(job)}
		p := publisherOf(at, dir)
		if began {
			must.OK(t, p.Start(t.Context()))
			p.Close()
		}
		w := newWriter(t, dir)
		w.do(5, 1)
		must.OK(t, w.Publish(t.Context()))
		must.OK(t, p.Start(t.Context()))
		p.Close()
		if len(at.taking) == 0 || slices.ContainsFunc(at.taking, func(s string) bool { return s != "1" }) {
			t.Errorf("began %v: while rows are taken in, the job says %q", began, at.taking)
		}
		if s := must.Get(job.Settings(t.Context()))(t); s[takingSetting] != "" || s[knownSetting] == "" {
			t.Errorf("began %v: afterwards the job says %v", began, s)
		}
	}
}

// TestOtherListIsNotTakenIn has a folder with segments of another list that is called the same.
func TestOtherListIsNotTakenIn(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	w.do(5, 1)
	must.OK(t, w.Publish(t.Context()))
	job := must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t)
	defer job.Close()
	p := publisherOf(job, dir)
	p.Match = func(context.Context, store.Source) (string, bool, error) { return "", false, nil }
	must.OK(t, p.Start(t.Context()))
	defer p.Close()
	if c := must.Get(job.Counts(t.Context()))(t); c.Total != 0 {
		t.Errorf("%d rows of another list were taken in", c.Total)
	}
}

// TestPartIsNamed has what a folder holds of a part name that part when all its rows are there, and not
// before.
func TestPartIsNamed(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	must.OK(t, w.Job.Set(t.Context(), map[string]string{store.NodeSetting: "0/2"}))
	for {
		done := w.do(20, 1)
		must.OK(t, w.Publish(t.Context()))
		parts := must.Get(OpenParts(t.Context(), dir, filepath.Join(t.TempDir(), "x"), anyList))(t)
		want := ""
		if must.Get(w.Job.Counts(t.Context()))(t).Pending == 0 {
			want = "0/2"
		}
		if got := must.Get(parts.Jobs[0].Settings(t.Context()))(t)[store.MergePartsSetting]; got != want {
			t.Errorf("the part is called %q, want %q", got, want)
		}
		must.OK(t, parts.Close())
		if len(done) == 0 {
			break
		}
	}
}

// TestFoldersGoAway takes the published folder away, or that of the job, at each call to the job in turn: it
// is an error, or all was published before; and when the folder is back all is published.
func TestFoldersGoAway(t *testing.T) {
	t.Parallel()
	for _, ofJob := range []bool{false, true} {
		dir, gone := filepath.Join(t.TempDir(), "published"), filepath.Join(t.TempDir(), "gone")
		must.OK(t, os.Mkdir(dir, 0o700))
		w := newWriter(t, dir)
		f := newFailing(w.Job)
		w.Publisher.Job = f
		version := 0
		complete := func(when, dir string) {
			t.Helper()
			want := versions(t, w.Job)
			maps.DeleteFunc(want, func(_ int64, version int) bool { return version == 0 })
			if got := published(t, dir); !maps.Equal(got, want) {
				t.Errorf("%s, published are %v, want %v", when, got, want)
			}
		}
		for _, do := range []func(context.Context) error{
			func(ctx context.Context) error { version++; w.do(1, version); return w.Publish(ctx) },
			w.FoldAll,
		} {
			for n := 1; ; n++ {
				where := dir
				f.n, f.at = n, func() {
					if ofJob {
						f.path = filepath.Join(gone, "job.db")
						return
					}
					must.OK(t, os.Rename(dir, gone))
					where = gone
				}
				err := do(t.Context())
				if f.n > 0 {
					must.OK(t, err)
					break
				}
				if err == nil {
					complete("without an error", where)
				} else if !errors.Is(err, os.ErrNotExist) {
					t.Errorf("without a folder from call %d: %v", n, err)
				}
				if f.n, f.path = 0, ""; where == gone {
					must.OK(t, os.Rename(gone, dir))
				}
				must.OK(t, w.Publish(t.Context()))
				complete("afterwards", dir)
			}
		}
	}
}

// TestNoLock: a job that cannot be locked, as where a stranger has put a link, is not published.
func TestNoLock(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	w.do(5, 1)
	w.Close()
	lock := w.Job.Path() + ".publishing"
	must.OK(t, os.Symlink(filepath.Join(t.TempDir(), "x"), lock))
	if err := w.Publish(t.Context()); !errors.Is(err, unix.ELOOP) || !strings.Contains(err.Error(), lock) {
		t.Errorf("published with %v", err)
	}
	must.OK(t, os.Remove(lock))
	must.OK(t, w.Publish(t.Context()))
	if got := len(published(t, dir)); got != 5 {
		t.Errorf("%d rows are published, want 5", got)
	}
	// With nothing new, what a list has is looked at; that may fail, too.
	f := newFailing(w.Job)
	w.Publisher.Job = f
	failEach(t, f, "to publish nothing", func() error { return w.Publish(t.Context()) })
}
