package pipeline

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/sqlite"
)

// imports is a job in a folder, and an importer of its lists.
type imports struct {
	*testing.T
	dir string
	job store.Job
	im  *Importer
}

func newImports(t *testing.T) *imports {
	t.Helper()
	return newImportsIn(t, t.TempDir(), "job.db")
}

func newImportsIn(t *testing.T, dir, name string) *imports {
	t.Helper()
	job, err := sqlite.Create(t.Context(), filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return importsOf(t, dir, job)
}

func importsOf(t *testing.T, dir string, job store.Job) *imports {
	t.Helper()
	t.Cleanup(func() { job.Close() })
	session, err := job.Join(t.Context(), Self(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return &imports{T: t, dir: dir, job: job, im: &Importer{Job: job, Session: session, ShardSize: 1000,
		LeaseTTL: time.Minute,
		Log:      slog.New(slog.DiscardHandler)}}
}

// list writes a list and returns how it is to be read.
func (i *imports) list(name, text string) source.Spec {
	i.Helper()
	path := filepath.Join(i.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		i.Fatal(err)
	}
	specs, err := source.Expand([]string{path}, false)
	if err != nil {
		i.Fatal(err)
	}
	return specs[0]
}

func (i *imports) add(name, text string) {
	i.Helper()
	if err := appendTo(filepath.Join(i.dir, name), text); err != nil {
		i.Fatal(err)
	}
}

// appendTo appends text to a file.
func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func (i *imports) read(specs ...source.Spec) {
	i.Helper()
	if err := i.im.Import(i.Context(), specs); err != nil {
		i.Fatal(err)
	}
}

// sums are the rows of each source, and whether it is read to its end.
func (i *imports) sums() (out []string) {
	i.Helper()
	all, err := i.job.Sources(i.Context())
	if err != nil {
		i.Fatal(err)
	}
	for _, s := range all {
		text := fmt.Sprint(s.Name, " ", s.Rows)
		if !s.Complete {
			text += " …"
		}
		out = append(out, text)
	}
	return out
}

func (i *imports) want(when string, sums ...string) {
	i.Helper()
	if got := i.sums(); !slices.Equal(got, sums) {
		i.Errorf("%s: %q, want %q", when, got, sums)
	}
}

// eventually waits for the sources to have so many rows.
func (i *imports) eventually(when string, sums ...string) {
	i.Helper()
	for end := time.Now().Add(time.Minute); !slices.Equal(i.sums(), sums); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			i.want(when, sums...)
			return
		}
	}
}

// TestManySmallLists share transactions; one that is long after all, and one that grows later, are read
// whole.
func TestManySmallLists(t *testing.T) {
	i := newImports(t)
	var specs []source.Spec
	var want []string
	for n := range 40 {
		specs = append(specs, i.list(fmt.Sprintf("%02d.txt", n), lines(1000*n, n+1)))
		want = append(want, fmt.Sprintf("%02d.txt %d", n, n+1))
	}
	specs = append(specs, i.list("long.txt", strings.Repeat("/x\n", smallRows+7)))
	want = append(want, fmt.Sprint("long.txt ", smallRows+7))
	var told, progress atomic.Int64
	i.im.Imported = func(_ string, rows int64, p float64) {
		told.Add(rows)
		if p == 1 {
			progress.Add(1)
		}
	}
	i.read(specs...)
	i.want("at first", want...)
	if n := int64(40*41/2 + smallRows + 7); told.Load() != n || progress.Load() < 40 {
		t.Errorf("told of %d rows, want %d; %d lists were at their ends", told.Load(), n, progress.Load())
	}
	i.read(specs...)
	i.want("unchanged", want...)
	i.add("03.txt", lines(3004, 2))
	want[3] = "03.txt 6"
	i.read(specs...)
	i.want("grown", want...)
	empty := i.list("empty.txt", "# nothing\n\n")
	if err := i.im.Import(t.Context(), []source.Spec{empty, specs[0]}); err == nil ||
		!strings.Contains(err.Error(), "empty.txt") {
		t.Errorf("a list without a row: %v", err)
	}
	changed := i.list("05.txt", "http://other.invalid/\n")
	if err := i.im.Import(t.Context(), []source.Spec{changed, specs[0]}); err == nil ||
		!strings.Contains(err.Error(), "05.txt") {
		t.Errorf("a list that changed: %v", err)
	}
}

// TestSmallListsOfOthers are waited for while another process imports them, and read when it ends without.
func TestSmallListsOfOthers(t *testing.T) {
	i := newImports(t)
	specs := []source.Spec{i.list("a.txt", lines(0, 3)), i.list("b.txt", lines(10, 4)),
		i.list("c.txt", lines(20, 5))}
	for _, spec := range specs {
		if _, err := i.job.AddSource(t.Context(), store.Source{Name: filepath.Base(spec.Path), Format: "txt",
			Options: "{}"}); err != nil {
			t.Fatal(err)
		}
	}
	other, err := i.job.Join(t.Context(), store.Owner{Host: "other", PID: 1}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	leases, err := other.LeaseSources(t.Context(), []int{0, 1})
	if err != nil || len(leases) != 2 {
		t.Fatal(leases, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- i.im.Import(t.Context(), specs) }()
	i.eventually("what nobody else imports", "a.txt 0 …", "b.txt 0 …", "c.txt 5")
	// The other one reads a list to its end, and gives the other up.
	at := store.Position{Line: 3, Offset: int64(len(lines(0, 3))), Rows: 3}
	if err := other.Append(t.Context(), leases[0], []store.NewRow{{ID: 1, URL: "http://a.invalid/0"}}, at,
		true, 10); err != nil {
		t.Fatal(err)
	}
	if err := other.ReleaseSource(t.Context(), leases[1]); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	i.want("at the end", "a.txt 1", "b.txt 4", "c.txt 5")
}

// TestImportOfAnotherProcess waits for a list that another process reads, and is over when that one has read
// it.
func TestImportOfAnotherProcess(t *testing.T) {
	i := newImports(t)
	spec := i.list("a.txt", lines(0, 3))
	s, err := i.job.AddSource(t.Context(), store.Source{Name: "a.txt", Format: "txt", Options: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := i.job.Join(t.Context(), store.Owner{Host: "other", PID: 1}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := other.LeaseSource(t.Context(), s.Number)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- i.im.Import(t.Context(), []source.Spec{spec}) }()
	if err := other.Append(t.Context(), lease, nil, store.Position{Line: 3}, true, 10); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	i.want("the other one read it", "a.txt 0")
}

// TestFill adds the rows that a merge of some parts lacks, once, and goes on behind them.
func TestFill(t *testing.T) {
	dir := t.TempDir()
	part := newImportsIn(t, dir, "part.db")
	list := part.list("urls.txt", lines(0, 1000))
	part.im.Node = store.Node{I: 1, Of: 3}
	if err := part.job.Set(t.Context(), map[string]string{store.NodeSetting: "1/3"}); err != nil {
		t.Fatal(err)
	}
	part.read(list)
	part.want("a part", "urls.txt 334")
	merged := newImportsIn(t, dir, "merged.db")
	err := store.Merge(t.Context(), merged.job, []store.Job{part.job},
		store.MergeOptions{Same: SameList, MayBeSame: MayBeSameList,
			SourceName: func(_ store.Job, s store.Source) string { return s.Name }, ShardSize: 100})
	if err != nil {
		t.Fatal(err)
	}
	// The list has another name now, and more lines.
	if err := os.Rename(list.Path, filepath.Join(dir, "moved.txt")); err != nil {
		t.Fatal(err)
	}
	merged.add("moved.txt", lines(1000, 10))
	moved := list
	moved.Path = filepath.Join(dir, "moved.txt")
	merged.read(moved)
	if got := merged.sums(); got[0] != "urls.txt 1010" {
		t.Errorf("filled: %q", got)
	}
	var urls strings.Builder
	for r, err := range merged.job.Rows(t.Context(), 0, 1<<store.SourceShift) {
		if err != nil {
			t.Fatal(err)
		}
		urls.WriteString(r.URL + "\n")
	}
	if urls.String() != lines(0, 1010) {
		t.Error("rows differ from the lines")
	}
	merged.read(moved)
	if got := merged.sums(); got[0] != "urls.txt 1010" {
		t.Errorf("filled twice: %q", got)
	}
}

// TestEndsAs: a list goes on with the group ends that it was begun with, and with no others.
func TestEndsAs(t *testing.T) {
	i := newImports(t)
	spec := i.list("a.csv", "url,album\nhttp://a.invalid/1,x\n$END,x\nhttp://a.invalid/2,y\n")
	spec.GroupColumn, spec.GroupEnd = "album", "$END"
	i.read(spec)
	i.want("with ends", "a.csv 2")
	i.add("a.csv", "$END,y\n")
	plain := spec
	plain.GroupColumn, plain.GroupEnd = "", ""
	i.read(plain)
	i.want("and one more", "a.csv 2")
	if id, err := i.job.EndOf(t.Context(), 0, "y"); err != nil || id == 0 {
		t.Errorf("the group is not ended: %d, %v", id, err)
	}
	other := spec
	other.GroupEnd = "end"
	var usage *source.UsageError
	if err := i.im.Import(t.Context(), []source.Spec{other}); !errors.As(err, &usage) ||
		!strings.Contains(err.Error(), "'$END'") {
		t.Errorf("other ends: %v", err)
	}
	settings, err := i.job.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := i.job.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if problems := verified(t, i.job, all[0], spec, settings); len(problems) != 0 {
		t.Errorf("%q", problems)
	}
	wrong := i.list("b.csv", "url,album\nhttp://a.invalid/1,x\n$END,z\nhttp://a.invalid/2,y\n$END,y\n")
	wrong.GroupColumn, wrong.GroupEnd = "album", "$END"
	all[0].Position.Mark = nil
	if problems := verified(t, i.job, all[0], wrong, settings); len(problems) == 0 ||
		!strings.Contains(problems[0], "end") {
		t.Errorf("another group ends: %q", problems)
	}
}

func verified(t *testing.T, job store.Job, s store.Source, spec source.Spec,
	settings map[string]string) (problems []string) {
	t.Helper()
	if err := VerifySource(t.Context(), job, s, spec, settings,
		func(p store.Problem) { problems = append(problems, p.Text) }); err != nil {
		t.Fatal(err)
	}
	return problems
}

// TestVerifySource names each row in which a list and its job differ, and nothing else.
func TestVerifySource(t *testing.T) {
	i := newImports(t)
	const three = "url,g,k\nhttp://a.invalid/1,x,1\nhttp://a.invalid/2,x,2\nhttp://a.invalid/3,y,3\n"
	spec := i.list("a.csv", three)
	spec.GroupColumn, spec.KeepColumns = "g", []string{"k"}
	i.read(spec)
	all, err := i.job.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := all[0]
	if problems := verified(t, i.job, s, spec, nil); len(problems) != 0 {
		t.Errorf("of the list itself: %q", problems)
	}
	for _, c := range []struct{ text, want string }{
		{"url,g,k\nhttp://a.invalid/1,x,1\nhttp://b.invalid/2,x,2\nhttp://a.invalid/3,y,3\n",
			`the job has "http://a.invalid/2", a.csv has "http://b.invalid/2"`},
		{"url,g,k\nhttp://a.invalid/1,x,1\nhttp://a.invalid/2,z,2\nhttp://a.invalid/3,y,3\n",
			`the job has the group "x", a.csv has "z"`},
		{"url,g,k\nhttp://a.invalid/1,x,1\nhttp://a.invalid/2,x,9\nhttp://a.invalid/3,y,3\n",
			`the job keeps ["2"], a.csv has ["9"]`},
		{"url,g,k\nhttp://a.invalid/1,x,1\nhttp://a.invalid/2,x,2\n",
			"the job has a row that is missing from a.csv"},
	} {
		other := i.list("b.csv", c.text)
		other.GroupColumn, other.KeepColumns = "g", []string{"k"}
		if problems := verified(t, i.job, s, other, nil); !slices.Equal(problems, []string{c.want}) {
			t.Errorf("%q, want %q", problems, c.want)
		}
	}
	more := s
	more.Rows = 4
	four := i.list("c.csv", three+"http://a.invalid/4,y,4\n")
	four.GroupColumn, four.KeepColumns = "g", []string{"k"}
	if problems := verified(t, i.job, more, four, nil); !slices.Equal(problems,
		[]string{"a.csv has a row that is missing from the job"}) {
		t.Errorf("%q", problems)
	}
	gone := spec
	gone.Path += ".gone"
	if err := VerifySource(t.Context(), i.job, s, gone, nil, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a list that is gone: %v", err)
	}
	column := spec
	column.URLColumn = "image"
	if problems := verified(t, i.job, s, column, nil); len(problems) != 1 ||
		!strings.Contains(problems[0], "image") {
		t.Errorf("a list without its column: %q", problems)
	}
}

// TestWatchLists: what is appended to lists goes to the job, so does a list that comes later; a file that is
// no list is passed over until it changes.
func TestWatchLists(t *testing.T) {
	i := newImports(t)
	growing := func(spec source.Spec) source.Spec { spec.Growing = true; return spec }
	specs := []source.Spec{growing(i.list("a.txt", lines(0, 2))), growing(i.list("b.txt", ""))}
	var more atomic.Pointer[[]source.Spec]
	more.Store(&specs)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	now := func() ([]source.Spec, error) { return *more.Load(), nil }
	go func() { ended <- i.im.Watch(ctx, specs, now) }()
	i.eventually("at first", "a.txt 2", "b.txt 0")
	i.add("b.txt", lines(0, 1)+"http://a.inva")
	i.eventually("a whole line", "a.txt 2", "b.txt 1")
	i.add("b.txt", "lid/1\n")
	i.eventually("the rest of it", "a.txt 2", "b.txt 2")
	late := append(slices.Clone(specs), growing(i.list("c.csv", "\x00\x01\x02 no list")))
	more.Store(&late)
	i.add("a.txt", lines(2, 1))
	i.eventually("another file", "a.txt 3", "b.txt 2")
	i.list("c.csv", "url\nhttp://a.invalid/c\n")
	i.eventually("which is a list now", "a.txt 3", "b.txt 2", "c.csv 1")
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// TestWatchOfAPipeAlone ends with it, and what is not a failure of a list for a moment is one of a watched
// folder.
func TestWatchOfAPipeAlone(t *testing.T) {
	i := newImports(t)
	spec := source.Spec{Path: "-", Format: "txt", In: strings.NewReader(lines(0, 3))}
	if err := i.im.Watch(t.Context(), []source.Spec{spec}, nil); err != nil {
		t.Fatal(err)
	}
	i.want("the pipe", "- 3")
	broken := errors.New("the folder cannot be read")
	err := i.im.Watch(t.Context(), []source.Spec{i.list("a.txt", lines(0, 1))},
		func() ([]source.Spec, error) { return nil, broken })
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// TestWatchTable takes the rows of a user's table into the job, and those that are added later.
func TestWatchTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "user.db")
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(query string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE TABLE urls (id INTEGER PRIMARY KEY, url TEXT, done INTEGER DEFAULT 0)")
	exec("INSERT INTO urls (url) VALUES ('http://a.invalid/1'), ('http://a.invalid/2')")
	job, err := sqlite.OpenTable(t.Context(), path, sqlite.TableOptions{Table: "urls"})
	if err != nil {
		t.Fatal(err)
	}
	i := importsOf(t, filepath.Dir(path), job)
	rows := func(n int64) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			if c, err := job.Counts(t.Context()); err != nil || c.Total == n {
				return
			} else if time.Now().After(end) {
				t.Fatalf("%d rows, want %d", c.Total, n)
			}
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stage := &importStage{im: *i.im, adopt: true, lists: func() ([]source.Spec, error) { return nil, nil },
		drain: func(End) { t.Error("drained") }}
	stage.begin(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		stage.run()
	}()
	rows(2)
	if !stage.active() {
		t.Error("more rows may come")
	}
	exec("INSERT INTO urls (url) VALUES ('http://a.invalid/3')")
	rows(3)
	stop()
	<-over
	if stage.active() || stage.err != nil {
		t.Errorf("active %v, %v", stage.active(), stage.err)
	}
	exec("DELETE FROM urls WHERE id = 1")
	once := &importStage{im: *i.im, adopt: true}
	once.begin(t.Context())
	defer once.stop()
	once.run()
	if c, err := job.Counts(t.Context()); err != nil || c.Total != 2 || once.err != nil {
		t.Errorf("%+v, %v, %v", c, err, once.err)
	}
}

// TestImportStageFails: a list that cannot be imported drains the run, and is why it failed; one that is
// stopped is not.
func TestImportStageFails(t *testing.T) {
	i := newImports(t)
	var ends []End
	stage := &importStage{im: *i.im, sources: []source.Spec{{Path: filepath.Join(i.dir, "none.txt"),
		Format: "txt"}},
		drain: func(why End) { ends = append(ends, why) }}
	stage.begin(t.Context())
	defer stage.stop()
	if !stage.active() {
		t.Error("it has something to import")
	}
	stage.run()
	if stage.active() || !errors.Is(stage.err, fs.ErrNotExist) || !slices.Equal(ends, []End{Interrupted}) {
		t.Errorf("%v, drained as %v", stage.err, ends)
	}
	adopts := &importStage{im: *i.im, adopt: true, drain: func(End) {}}
	adopts.begin(t.Context())
	defer adopts.stop()
	if adopts.run(); adopts.err == nil || !strings.Contains(adopts.err.Error(), "not a table") {
		t.Errorf("%v", adopts.err)
	}
	stopped := &importStage{im: *i.im, sources: []source.Spec{i.list("a.txt", lines(0, 1))}}
	stopped.begin(t.Context())
	stopped.stop()
	if stopped.run(); stopped.err != nil {
		t.Error(stopped.err)
	}
	idle := &importStage{}
	idle.begin(t.Context())
	defer idle.stop()
	if idle.active() {
		t.Error("there is nothing to import")
	}
}

// held is a session from which a source is leased after some tries.
type held struct {
	store.Session
	tries *int // that are left until then
}

func (h held) LeaseSource(ctx context.Context, source int) (store.SourceLease, error) {
	if *h.tries--; *h.tries >= 0 {
		return store.SourceLease{}, store.ErrHeld
	}
	return h.Session.LeaseSource(ctx, source)
}

// TestImportWaits while another process imports a source, and reads what that one did not. For standard input
// it says so once.
func TestImportWaits(t *testing.T) {
	t.Parallel()
	for _, stdin := range []bool{false, true} {
		i := newImports(t)
		var said bytes.Buffer
		i.im.Log = slog.New(slog.NewTextHandler(&said, nil))
		i.im.Session = held{i.im.Session, new(int)}
		*i.im.Session.(held).tries = 2
		spec, want := i.list("a.txt", lines(0, 2)), "a.txt 2"
		if stdin {
			spec, want = source.Spec{Path: "-", Format: "txt", In: strings.NewReader(lines(0, 2))}, "- 2"
		}
		i.read(spec)
		if got := i.sums(); !slices.Equal(got, []string{want}) {
			t.Errorf("%q, want %s", got, want)
		}
		if n := strings.Count(said.String(), "another process imports this source"); n != 1 && stdin ||
			n != 0 && !stdin {
			t.Errorf("from stdin: %t; said %d times: %s", stdin, n, &said)
		}
	}
}
