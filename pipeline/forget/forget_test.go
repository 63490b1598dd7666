package forget

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"facescan/pipeline"
	"facescan/store"
	"facescan/store/export"
	"facescan/store/sqlite"
)

// forgets is a job whose first rows are done, failed with bad_url, and the others pending.
type forgets struct {
	*testing.T
	store.Job
	said []int64 // how many rows were forgotten, as was told
}

func newJob(t *testing.T, done, pending int) *forgets {
	t.Helper()
	job, err := sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db"))
	f := &forgets{T: t, Job: job}
	f.ok(err)
	t.Cleanup(func() { f.ok(job.Close()) })
	session, err := job.Join(t.Context(), pipeline.Self(), time.Minute)
	f.ok(err)
	source, err := job.AddSource(t.Context(), store.Source{Name: "list.txt", Format: "txt", Options: "{}"})
	f.ok(err)
	lease, err := session.LeaseSource(t.Context(), source.Number)
	f.ok(err)
	var rows []store.NewRow
	for id := range int64(done + pending) {
		rows = append(rows, store.NewRow{ID: id + 1, URL: fmt.Sprint("http://h", id%2, ".invalid/", id+1),
			Bad: id < int64(done)})
	}
	f.ok(session.Append(t.Context(), lease, rows, store.Position{Rows: int64(len(rows))}, true, 10))
	f.ok(session.Leave(t.Context()))
	return f
}

func (f *forgets) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *forgets) options(where string) Options {
	f.Helper()
	filter, err := export.ParseFilter(where, export.Options{})
	f.ok(err)
	return Options{Job: f.Job, Filter: filter, Log: slog.New(slog.DiscardHandler),
		Forgotten: func(rows int64) { f.said = append(f.said, rows) }}
}

// left is how many rows were not forgotten, and what the job notes of who deletes.
func (f *forgets) left() (rows int64, note string) {
	f.Helper()
	for r, err := range f.Results(f.Context(), 0, math.MaxInt64) {
		f.ok(err)
		if r.Reason != store.Forgotten {
			rows++
		}
	}
	c, err := f.Counts(f.Context())
	f.ok(err)
	settings, err := f.Settings(f.Context())
	f.ok(err)
	f.ok(f.Verify(f.Context(), store.VerifyOptions{}, func(p store.Problem) { f.Errorf("%+v", p) }))
	return rows + c.Pending, settings[store.ForgetSetting]
}

// TestRun forgets the rows that the filter passes, done or not, and no others.
func TestRun(t *testing.T) {
	t.Parallel()
	f := newJob(t, 6, 4)
	o := f.options("url LIKE 'http://h1%'")
	all, pending, err := Count(t.Context(), f, o.Filter)
	if err != nil || all != 5 || pending != 2 {
		t.Errorf("%d rows, %d pending, %v; want 5 and 2", all, pending, err)
	}
	out, err := Run(t.Context(), o)
	if err != nil || out.Rows != 5 || fmt.Sprint(f.said) != "[3 5]" || len(out.Missing) != 0 {
		t.Errorf("%+v, %v, told %v", out, err, f.said)
	}
	if rows, note := f.left(); rows != 5 || note != "" {
		t.Errorf("%d rows are left, the job notes %q", rows, note)
	}
	if out, err = Run(t.Context(), o); err != nil || out.Rows != 5 { // they still have their URLs
		t.Errorf("again: %+v, %v", out, err)
	}
	if all, _, err := Count(t.Context(), f, f.options("url LIKE 'http://h0%'").Filter); err != nil ||
		all != 5 {
		t.Errorf("%d of the others, %v", all, err)
	}
}

// TestRunOfFew: one pending row is forgotten as many are, and a condition holds that no database can check.
func TestRunOfFew(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		where         string
		done, pending int
		rows, waiting int64 // that are forgotten, and those of them that have no result
	}{
		{"id > 0", 0, 1, 1, 1},
		{"class = 'permanent' AND url LIKE 'http://h1%'", 4, 2, 2, 0},
		{"class = 'transient'", 4, 2, 0, 0},
	} {
		f := newJob(t, c.done, c.pending)
		o := f.options(c.where)
		if all, pending, err := Count(t.Context(), f, o.Filter); err != nil || all != c.rows ||
			pending != c.waiting {
			t.Errorf("%s: %d rows, %d pending, %v", c.where, all, pending, err)
		}
		if out, err := Run(t.Context(), o); err != nil || out.Rows != c.rows {
			t.Errorf("%s: %+v, %v", c.where, out, err)
		}
	}
}

// TestTable: pending rows of a user's table are the user's to delete, here they stay.
func TestTable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "user.db")
	db, err := sql.Open("sqlite3", path)
	f := &forgets{T: t}
	f.ok(err)
	_, err = db.ExecContext(t.Context(), `CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT);
		INSERT INTO urls (url) VALUES ('http://a.invalid/1'), ('http://a.invalid/2')`)
	f.ok(errors.Join(err, db.Close()))
	f.Job, err = sqlite.OpenTable(t.Context(), path, sqlite.TableOptions{Table: "urls"})
	f.ok(err)
	defer func() { f.ok(f.Close()) }()
	session, err := f.Join(t.Context(), pipeline.Self(), time.Minute)
	f.ok(err)
	lease, err := session.LeaseSource(t.Context(), 0)
	f.ok(err)
	_, _, err = session.(store.Adopter).Adopt(t.Context(), lease, math.MinInt64, 10)
	f.ok(errors.Join(err, session.ReleaseSource(t.Context(), lease), session.Leave(t.Context())))
	o := f.options("id > 0")
	if all, pending, err := Count(t.Context(), f, o.Filter); err != nil || all != 0 || pending != 0 {
		t.Errorf("%d rows, %d pending, %v", all, pending, err)
	}
	out, err := Run(t.Context(), o)
	f.ok(err)
	if rows, _ := f.left(); out.Rows != 0 || rows != 2 {
		t.Errorf("%+v, %d rows are left", out, rows)
	}
}

// broken is a job one of whose answers fails, after the first ones.
type broken struct {
	store.Job
	answer string
	after  *int
}

var errBroken = errors.New("disk I/O error")

func (j broken) fails(answer string) error {
	if answer != j.answer {
		return nil
	}
	if *j.after--; *j.after >= 0 {
		return nil
	}
	return errBroken
}

func (j broken) Settings(ctx context.Context) (map[string]string, error) {
	if err := j.fails("settings"); err != nil {
		return nil, err
	}
	return j.Job.Settings(ctx)
}

func (j broken) Set(ctx context.Context, settings map[string]string) error {
	if err := j.fails("set"); err != nil {
		return err
	}
	return j.Job.Set(ctx, settings)
}

func (j broken) Counts(ctx context.Context) (store.Counts, error) {
	if err := j.fails("counts"); err != nil {
		return store.Counts{}, err
	}
	return j.Job.Counts(ctx)
}

func (j broken) Sources(ctx context.Context) ([]store.Source, error) {
	if err := j.fails("sources"); err != nil {
		return nil, err
	}
	return j.Job.Sources(ctx)
}

func (j broken) Select(ctx context.Context, q store.Query) iter.Seq2[store.Result, error] {
	if err := j.fails("results"); err != nil {
		return func(yield func(store.Result, error) bool) { yield(store.Result{}, err) }
	}
	return j.Job.Select(ctx, q)
}

func (j broken) Join(ctx context.Context, who store.Owner, ttl time.Duration) (store.Session, error) {
	if err := j.fails("join"); err != nil {
		return nil, err
	}
	return j.Job.Join(ctx, who, ttl)
}

// TestBrokenJob: what cannot be read or written ends it with the cause. It leaves the job, so that a run is
// not kept waiting, and the note of one that was killed before stays, as there is still something to do.
func TestBrokenJob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer string
		after  int
		note   string
	}{
		{"settings", 0, "forget-killed"},
		{"settings", 1, "forget-killed"},
		{"join", 0, "forget-killed"},
		{"set", 0, "forget-killed"},
		{"counts", 0, "forget-"},
		{"counts", 1, "forget-"},
		{"results", 0, "forget-"},
		{"sources", 0, "forget-"},
	} {
		f := newJob(t, 3, 3)
		f.ok(f.Set(t.Context(), map[string]string{store.ForgetSetting: "forget-killed"}))
		o := f.options("id > 0")
		o.Job = broken{f.Job, c.answer, &c.after}
		if _, err := Run(t.Context(), o); !errors.Is(err, errBroken) {
			t.Errorf("%s: %v", c.answer, err)
		}
		counts, err := f.Counts(t.Context())
		f.ok(err)
		for _, owner := range counts.Owners {
			if owner.Alive {
				t.Errorf("%s: %s did not leave", c.answer, owner.ID)
			}
		}
		if _, note := f.left(); !strings.HasPrefix(note, c.note) {
			t.Errorf("%s: the job notes %q", c.answer, note)
		}
	}
	for _, answer := range []string{"results", "counts", "sources"} {
		f := newJob(t, 3, 3)
		rows, pending, err := Count(t.Context(), broken{f.Job, answer, new(int)}, f.options("id > 0").Filter)
		if !errors.Is(err, errBroken) || rows != 0 || pending != 0 {
			t.Errorf("count, %s: %d rows, %d pending, %v", answer, rows, pending, err)
		}
	}
}

// TestRunBesideOthers is refused while another process works on the job, and nothing is forgotten; the note
// of one that was killed stays.
func TestRunBesideOthers(t *testing.T) {
	t.Parallel()
	f := newJob(t, 2, 0)
	f.ok(f.Set(t.Context(), map[string]string{store.ForgetSetting: "forget-killed"}))
	other, err := f.Join(t.Context(), store.Owner{Host: "elsewhere", PID: 4711}, time.Minute)
	f.ok(err)
	if _, err := Run(t.Context(), f.options("id > 0")); err == nil ||
		!strings.Contains(err.Error(), "process 4711 on elsewhere works on") {
		t.Errorf("beside another process: %v", err)
	}
	if rows, note := f.left(); rows != 2 || note != "forget-killed" {
		t.Errorf("%d rows are left, the job notes %q", rows, note)
	}
	f.ok(other.Leave(t.Context()))
	if out, err := Run(t.Context(), f.options("id > 0")); err != nil || out.Rows != 2 {
		t.Errorf("alone: %+v, %v", out, err)
	}
}

// publishes is a Publisher, and what was done with it.
type publishes struct {
	did           []string
	publish, fold error
}

func (p *publishes) Publish(context.Context) error {
	p.did = append(p.did, "publish")
	return p.publish
}
func (p *publishes) FoldAll(context.Context) error { p.did = append(p.did, "fold"); return p.fold }

// interrupted is a job that fails where a process could be killed.
type interrupted struct {
	store.Job
	forget, expunge error
}

func (j interrupted) Forget(ctx context.Context, ids []int64, url bool) error {
	return errors.Join(j.forget, j.Job.Forget(ctx, ids, url))
}

func (j interrupted) Expunge(ctx context.Context) (string, error) {
	if j.expunge != nil {
		return "", j.expunge
	}
	return j.Job.Expunge(ctx)
}

// TestRunIsRepeated: one that ended early leaves its note, and the same command does what comes after the
// last row, even when no row is left.
func TestRunIsRepeated(t *testing.T) {
	t.Parallel()
	cut := errors.New("killed")
	for _, c := range []struct {
		what      string
		job       interrupted
		publisher publishes
		rows      int64 // forgotten by the repeated one
	}{
		{"among the rows", interrupted{forget: cut}, publishes{}, 0},
		{"while it publishes", interrupted{}, publishes{publish: cut}, 0},
		{"while it unites the segments", interrupted{}, publishes{fold: cut}, 0},
		{"while it rewrites the store", interrupted{expunge: cut}, publishes{}, 0},
	} {
		f := newJob(t, 3, 0)
		o := f.options("reason = 'bad_url'")
		c.job.Job = f.Job
		o.Job, o.Publisher = c.job, &c.publisher
		if _, err := Run(t.Context(), o); !errors.Is(err, cut) {
			t.Errorf("%s: %v", c.what, err)
		}
		if _, note := f.left(); !strings.HasPrefix(note, "forget-") {
			t.Errorf("%s: the job notes %q", c.what, note)
		}
		p := &publishes{}
		o.Job, o.Publisher = f.Job, p
		if out, err := Run(t.Context(), o); err != nil || out.Rows != c.rows ||
			fmt.Sprint(p.did) != "[publish fold]" {
			t.Errorf("%s, repeated: %+v, %v, %v", c.what, out, err, p.did)
		}
		if _, note := f.left(); note != "" {
			t.Errorf("%s, repeated: the job notes %q", c.what, note)
		}
		p.did = nil
		if _, err := Run(t.Context(), o); err != nil || len(p.did) != 0 {
			t.Errorf("%s, once more: %v, %v", c.what, err, p.did)
		}
	}
}

// TestSelectionStops when its reader does.
func TestSelectionStops(t *testing.T) {
	t.Parallel()
	f := newJob(t, 3, 3)
	for i, rows := range []selection{done, notDone} {
		n := 0
		for _, err := range rows(t.Context(), f, f.options("id > 0").Filter) {
			f.ok(err)
			n++
			break
		}
		if n != 1 {
			t.Errorf("selection %d yielded %d rows", i, n)
		}
	}
}

// TestFilesStay: a row whose files cannot be removed is not forgotten: the same command finds it again.
func TestFilesStay(t *testing.T) {
	t.Parallel()
	f := newJob(t, 1, 0)
	dir := t.TempDir()
	f.ok(os.MkdirAll(filepath.Join(dir, ".facescan"), 0o755))
	f.ok(os.WriteFile(filepath.Join(dir, ".facescan", "job"), []byte("token\n"), 0o644))
	f.ok(f.Set(t.Context(), map[string]string{store.FolderSetting + "crops:token": dir}))
	crop := filepath.Join(dir, export.FileOf(1)+"-1.jpg")
	f.ok(os.MkdirAll(filepath.Join(crop, "in the way"), 0o755))
	out, err := Run(t.Context(), f.options("id > 0"))
	if err == nil || !strings.Contains(err.Error(), "--crops "+dir) || out.Rows != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	if rows, _ := f.left(); rows != 1 {
		t.Errorf("%d rows are left", rows)
	}
	f.ok(os.RemoveAll(crop))
	f.ok(os.WriteFile(crop, []byte("a crop"), 0o644))
	if out, err := Run(t.Context(), f.options("id > 0")); err != nil || out.Rows != 1 {
		t.Errorf("again: %+v, %v", out, err)
	}
	if _, err := os.Stat(crop); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the crop: %v", err)
	}
}
