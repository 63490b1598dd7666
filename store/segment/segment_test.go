package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/sqlite"
	"facescan/store/storetest/must"
)

// rowCount is the length of the list that the tests' jobs are made from.
const rowCount = 60

// writer is a job that publishes.
type writer struct {
	*Publisher
	t       *testing.T
	session store.Session
}

// newWriter makes an empty job that takes in what is published, and then imports what it lacks of the list.
func newWriter(t *testing.T, dir string) *writer {
	t.Helper()
	return newWriterOf(t, dir, rowCount, "http://h/")
}

// newWriterOf is newWriter, for a list of another length or with other URLs.
func newWriterOf(t *testing.T, dir string, n int64, urls string) *writer {
	t.Helper()
	job := must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t)
	t.Cleanup(func() { job.Close() })
	w := &writer{t: t, Publisher: publisherOf(job, dir)}
	must.OK(t, w.Start(t.Context()))
	t.Cleanup(w.Close)
	must.Get(job.AddSource(t.Context(), store.Source{Name: "/list", Format: "txt"}))(t)
	w.session = must.Get(job.Join(t.Context(), store.Owner{}, time.Hour))(t)
	lease := must.Get(w.session.LeaseSource(t.Context(), 0))(t)
	var rows []store.NewRow
	for id := range n {
		rows = append(rows, store.NewRow{ID: id + 1, URL: fmt.Sprint(urls, id+1)})
	}
	end := store.Position{Offset: 1, Line: n, Rows: n, Mark: []byte{1}}
	must.OK(t, w.session.Fill(t.Context(), lease, rows, end, true, 10))
	must.OK(t, job.Set(t.Context(), store.Filled(0)))
	must.OK(t, w.session.ReleaseSource(t.Context(), lease))
	return w
}

func publisherOf(job store.Job, dir string) *Publisher {
	return &Publisher{Dir: dir, Job: job, List: "list", ShardSize: 10, Log: slog.New(slog.DiscardHandler),
		Place: func(name string) string { return name },
		Match: func(_ context.Context, s store.Source) (string, bool, error) { return s.Name, true, nil }}
}

// do does up to n rows that are pending; version tells the results of one call from those of others.
func (w *writer) do(n, version int) (done []int64) {
	w.t.Helper()
	lease, err := w.session.Claim(w.t.Context(), n)
	if errors.Is(err, store.ErrNoShard) {
		return nil
	}
	must.OK(w.t, err)
	rows := must.Get(w.session.Pending(w.t.Context(), lease, 0, n))(w.t)
	var results []store.Result
	for _, r := range rows {
		results = append(results, store.Result{ID: r.ID, Status: store.Failed, Reason: store.Timeout,
			Attempts: 1, Bytes: int64(version), Time: time.UnixMilli(int64(version))})
		done = append(done, r.ID)
	}
	must.OK(w.t, w.session.Commit(w.t.Context(), lease, results))
	must.OK(w.t, w.session.Release(w.t.Context(), []store.Lease{lease}))
	return done
}

// versions are the rows of a job, with the version of their results; 0 for those that are pending.
func versions(t *testing.T, job store.Job) map[int64]int {
	t.Helper()
	out := map[int64]int{}
	for _, r := range must.All(t, job.Rows(t.Context(), 0, 1<<40)) {
		out[r.ID] = 0
	}
	for _, r := range must.All(t, job.Results(t.Context(), 0, 1<<40)) {
		out[r.ID] = int(r.Bytes)
	}
	return out
}

func sound(t *testing.T, job store.Job) {
	t.Helper()
	must.OK(t, job.Verify(t.Context(), store.VerifyOptions{}, func(p store.Problem) { t.Errorf("%+v", p) }))
}

// anyList says of any two sources that they may be the same list.
func anyList(store.Source, store.Source) bool { return true }

// published are the rows that a folder has.
func published(t *testing.T, dir string) map[int64]int {
	t.Helper()
	parts := must.Get(OpenParts(t.Context(), dir, filepath.Join(t.TempDir(), "x"), anyList))(t)
	defer parts.Close()
	if len(parts.Jobs) != 1 {
		t.Fatalf("%d parts", len(parts.Jobs))
	}
	sound(t, parts.Jobs[0])
	return versions(t, parts.Jobs[0])
}

// TestLatestVersionCounts has several writers, some of which have taken in what others published and some
// not, do rows, reopen them and publish at random; some end and others begin. Whatever was folded, each row
// counts as published last.
func TestLatestVersionCounts(t *testing.T) {
	t.Parallel()
	seeds := uint64(2)
	if os.Getenv("FACESCAN_SOAK") != "" {
		seeds = 50
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel() // they wait for the disk
			rng := rand.New(rand.NewPCG(seed, 7))
			dir := t.TempDir()
			writers := []*writer{newWriter(t, dir), newWriter(t, dir)}
			model := map[int64]int{}            // what is published
			open := map[*writer]map[int64]int{} // what is not, by writer
			for step := 1; step <= 120; step++ {
				i := rng.IntN(len(writers))
				w := writers[i]
				if open[w] == nil {
					open[w] = map[int64]int{}
				}
				switch rng.IntN(8) {
				case 0, 1, 2:
					for _, id := range w.do(1+rng.IntN(6), step) {
						open[w][id] = step
					}
				case 3:
					before := versions(t, w.Job)
					must.Get(w.Job.Retry(t.Context(),
						store.Selection{Reasons: []store.Reason{store.Timeout}}))(t)
					for id, v := range before {
						if v != 0 {
							open[w][id] = 0
						}
					}
				case 4: // gives way to a new one, with what it did not publish
					w.Close()
					delete(open, w)
					writers[i] = newWriter(t, dir)
					have := versions(t, writers[i].Job)
					for id, v := range model {
						if have[id] != v {
							t.Fatalf("step %d: row %d was taken in as %d, and published as %d", step, id,
								have[id], v)
						}
					}
					sound(t, writers[i].Job)
				default:
					must.OK(t, w.Publish(t.Context()))
					for id, v := range open[w] {
						model[id] = v
					}
					clear(open[w])
				}
			}
			for _, w := range writers {
				must.OK(t, w.Publish(t.Context()))
				for id, v := range open[w] {
					model[id] = v
				}
			}
			got := published(t, dir)
			for id, v := range model {
				if have, ok := got[id]; !ok || have != v {
					t.Errorf("row %d counts as %d, and was published last as %d", id, have, v)
				}
			}
			if len(got) != len(model) {
				t.Errorf("%d rows are published, want %d", len(got), len(model))
			}
			files := must.Get(List(dir))(t)
			if len(files) > 4*mostSegments {
				t.Errorf("%d segments are left", len(files))
			}
		})
	}
}

// TestKilledBetweenNameAndNotes publishes, and has the job forget that it did, as a kill right after the
// rename does.
func TestKilledBetweenNameAndNotes(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	w.do(20, 1)
	must.OK(t, w.Publish(t.Context()))
	before := must.Get(w.Job.Settings(t.Context()))(t)
	w.do(20, 2)
	must.OK(t, w.Publish(t.Context()))
	want := published(t, dir)
	// As it was before the second publication, with all notes.
	must.OK(t, w.Job.Set(t.Context(), map[string]string{knownSetting: before[knownSetting],
		rowsSetting: before[rowsSetting]}))
	must.OK(t, w.Job.(store.Publishable).NoteChanges(t.Context(), true))
	w.Close()
	again := publisherOf(w.Job, dir)
	must.OK(t, again.Start(t.Context()))
	defer again.Close()
	sound(t, w.Job)
	must.OK(t, again.Publish(t.Context()))
	if got := published(t, dir); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("published %v, want %v", got, want)
	}
}

// TestStaleSegments: listing a folder removes segments that were begun long ago by writers that are dead, and
// nothing else.
func TestStaleSegments(t *testing.T) {
	name := newFile("urls.txt", store.Node{I: 1, Of: 3}, 7).Name
	long := time.Now().Add(-2 * stale)
	for file, c := range map[string]struct {
		at   time.Time
		goes bool
	}{
		"." + name + ".0123456789abcdef.part":    {long, true},
		"." + name + ".0123456789abcdee.part":    {time.Now(), false},
		"." + name + ".0123456789abcdef":         {long, false},
		"." + name + ".x.part":                   {long, false},
		".urls.txt.0123456789abcdef.part":        {long, false},
		"." + name[1:] + "0123456789abcdef.part": {long, false},
		"notes.part":                             {long, false},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, file)
		must.OK(t, os.WriteFile(path, nil, 0o600))
		must.OK(t, os.Chtimes(path, c.at, c.at))
		files := must.Get(List(dir))(t)
		if _, err := os.Lstat(path); os.IsNotExist(err) != c.goes || len(files) != 0 {
			t.Errorf("%s: %v; goes: %t; listed: %v", file, err, c.goes, files)
		}
	}
}

// TestFolderIsEmptied removes what a writer has published while it goes on: all of it is published again.
func TestFolderIsEmptied(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "published")
	must.OK(t, os.Mkdir(dir, 0o700))
	w := newWriter(t, dir)
	publish := func(version int) {
		t.Helper()
		w.do(10, version)
		must.OK(t, w.Publish(t.Context()))
		want := versions(t, w.Job)
		for id, v := range want { // rows that are pending are not published
			if v == 0 {
				delete(want, id)
			}
		}
		if got := published(t, dir); !maps.Equal(got, want) {
			t.Errorf("published %v, want %v", got, want)
		}
	}
	publish(1)
	publish(2)
	files := must.Get(List(dir))(t)
	must.OK(t, os.Remove(filepath.Join(dir, files[0].Name)))
	publish(3)
	must.OK(t, os.RemoveAll(dir))
	if err := w.Publish(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("publishing to a folder that is not there: %v", err)
	}
	must.OK(t, os.Mkdir(dir, 0o700))
	publish(4)
}

// TestEndsArePublished publishes end records of groups, each once, with the rows beside them or alone. They
// are in the part as it is put together, after folding too, and in a job that takes it in.
func TestEndsArePublished(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	want := map[string]int64{}
	publish := func(version int) {
		t.Helper()
		w.do(3, version)
		must.OK(t, w.Publish(t.Context()))
		parts := must.Get(OpenParts(t.Context(), dir, filepath.Join(t.TempDir(), "x"), anyList))(t)
		defer parts.Close()
		sound(t, parts.Jobs[0])
		if got := endsOf(t, parts.Jobs[0]); !maps.Equal(got, want) {
			t.Errorf("published %v, want %v", got, want)
		}
	}
	end := func(group string, id int64) {
		t.Helper()
		source := must.Get(w.Job.Sources(t.Context()))(t)
		lease := must.Get(w.session.LeaseSource(t.Context(), 0))(t)
		rows := []store.NewRow{{ID: id, Group: group, End: true}}
		must.OK(t, w.session.Fill(t.Context(), lease, rows, source[0].Position, true, 10))
		must.OK(t, w.session.ReleaseSource(t.Context(), lease))
		want[group] = min(id, cmp.Or(want[group], id))
	}
	publish(1)
	for i := range int64(2 * mostSegments) {
		end(fmt.Sprint("g", i), 100+10*i)
		publish(2 + int(i))
	}
	end("g5", 151)
	publish(99)
	must.OK(t, w.Job.Set(t.Context(), map[string]string{store.NodeSetting: "0/2"}))
	for len(w.do(rowCount, 100)) > 0 {
	}
	must.OK(t, w.Publish(t.Context()))
	parts := must.Get(OpenParts(t.Context(), dir, filepath.Join(t.TempDir(), "x"), anyList))(t)
	if got := must.Get(parts.Jobs[0].Settings(t.Context()))(t)[store.MergePartsSetting]; got != "0/2" {
		t.Errorf("with end records the part is called %q", got)
	}
	must.OK(t, parts.Close())
	before := must.Get(List(dir))(t)
	end("g3", 130) // known already
	must.OK(t, w.Publish(t.Context()))
	after := must.Get(List(dir))(t)
	if highest(after) != highest(before) {
		t.Errorf("an end that was published is published again: %v after %v", after, before)
	}
	other := must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t)
	defer other.Close()
	p := publisherOf(other, dir)
	must.OK(t, p.Start(t.Context()))
	defer p.Close()
	if got := endsOf(t, other); !maps.Equal(got, want) {
		t.Errorf("taken in: %v, want %v", got, want)
	}
	rows, _, err := other.(store.Publishable).Changes(t.Context(), 0, 100)
	if err != nil || len(rows) > 0 {
		t.Errorf("what was taken in is to be published again: %v, %v", rows, err)
	}
}

// endsOf are the ids of the end records that a job has.
func endsOf(t *testing.T, job store.Job) map[string]int64 {
	t.Helper()
	ends := map[string]int64{}
	for _, e := range must.All(t, job.(store.Ordered).Ends(t.Context(), 0)) {
		ends[e.Group] = e.ID
	}
	return ends
}

// TestDamagedSegment damages a segment at one place after the other: it is named, or is read all the same.
func TestDamagedSegment(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	w.do(rowCount, 1)
	must.OK(t, w.Publish(t.Context()))
	files := must.Get(List(dir))(t)
	path := filepath.Join(dir, files[0].Name)
	whole, want := must.Get(os.ReadFile(path))(t), published(t, dir)
	const page = 4096
	noticed := 0
	for at := 0; at < len(whole); at += page {
		bad := slices.Clone(whole)
		for i := range page {
			bad[at+i] ^= 0xa5
		}
		must.OK(t, os.WriteFile(path, bad, 0o600))
		parts, err := OpenParts(t.Context(), dir, filepath.Join(t.TempDir(), "x"), anyList)
		switch {
		case err == nil:
			if got := versions(t, parts.Jobs[0]); !maps.Equal(got, want) {
				t.Errorf("damaged at %d: %v", at, got)
			}
			must.OK(t, parts.Close())
		case !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove it"):
			t.Errorf("damaged at %d: %v", at, err)
		default:
			noticed++
		}
	}
	if noticed == 0 {
		t.Error("no damage was noticed")
	}
}

// TestListedFileIsGone folds while others read: they list again.
func TestListedFileIsGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWriter(t, dir)
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			to, err := os.MkdirTemp(filepath.Dir(w.Job.Path()), "read")
			if err == nil {
				var all []*opened
				all, err = openPart(context.Background(), dir, "list", store.Node{}, to)
				closeAll(all)
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	for version := range 3 * mostSegments {
		if len(w.do(5, version+1)) == 0 {
			must.Get(w.Job.Retry(t.Context(), store.Selection{Reasons: []store.Reason{store.Timeout}}))(t)
		}
		must.OK(t, w.Publish(t.Context()))
	}
	close(stop)
	must.OK(t, <-ended)
	// One that was removed for good, after it was listed, is named as such.
	files := must.Get(List(dir))(t)
	must.OK(t, os.Remove(filepath.Join(dir, files[0].Name)))
	if _, err := openAll(t.Context(), dir, files, t.TempDir()); !errors.Is(err, errMissing) {
		t.Errorf("%v, want %v", err, errMissing)
	}
}

// TestSecondPublisherWaits has two processes' publishers on one job: one at a time holds it.
func TestSecondPublisherWaits(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	other := publisherOf(w.Job, dir)
	must.OK(t, other.Start(t.Context()))
	w.do(5, 1)
	must.OK(t, other.Publish(t.Context()))
	if files, err := List(dir); err != nil || len(files) != 0 {
		t.Fatalf("%d segments of one that does not hold the job, %v", len(files), err)
	}
	if err := other.FoldAll(t.Context()); err == nil || err.Error() != "publish to "+dir+
		": another process publishes this job: stop it, then run the same command again" {
		t.Errorf("folding by one that does not hold the job: %v", err)
	}
	w.Close()
	if _, err := os.Lstat(w.Job.Path() + ".publishing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the lock is left: %v", err)
	}
	must.OK(t, other.Publish(t.Context()))
	defer other.Close()
	if got := published(t, dir); len(got) != 5 {
		t.Errorf("%d rows are published, want 5", len(got))
	}
}

func TestToFold(t *testing.T) {
	var files []File
	for range mostSegments - 1 {
		files = append(files, File{Size: 1}, File{Size: smallest * 10})
	}
	if got := toFold(files); len(got) != 0 {
		t.Errorf("%d of too few are folded", len(got))
	}
	if got := toFold(append(files, File{Size: smallest * 20})); len(got) != mostSegments ||
		got[0].Size < smallest {
		t.Errorf("%v is folded", got)
	}
	for _, c := range []struct {
		first, others int64 // seven others
		folds         bool
	}{{0, smallest - 1, true}, {smallest - 1, smallest, false}, {smallest, 8*smallest - 1, true},
		{8*smallest - 1, 8 * smallest, false}, {8 * smallest, 64*smallest - 1, true}} {
		files := append(slices.Repeat([]File{{Size: c.others}}, mostSegments-1), File{Size: c.first})
		if got := toFold(files); len(got) == len(files) != c.folds {
			t.Errorf("%d files are folded of one with %d bytes, and seven with %d", len(got), c.first,
				c.others)
		}
	}
	small, large := File{Size: 1}, File{Size: 10 * smallest}
	files = append(slices.Repeat([]File{small}, mostSegments), slices.Repeat([]File{large}, mostSegments)...)
	if got := toFold(files); len(got) != mostSegments || got[0] != small {
		t.Errorf("%v is folded first", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("urls.00000012-1a2b3c4d.segment.db")
	f.Add("urls.node-3-of-8.00000012-1a2b3c4d.segment.db")
	f.Add(".node-3-of-8.node-1-of-2.2147483648-ffffffff.segment.db")
	f.Fuzz(func(t *testing.T, name string) {
		file, ok := parse(name)
		if !ok {
			return
		}
		if file.Publication < 0 || file.number() < 0 || file.Name != name || file.List == "" {
			t.Fatalf("%q is %+v", name, file)
		}
		again, ok := parse(fmt.Sprintf("%s.%08d-%08x%s", part(file.List, file.Node), file.number(),
			uint32(file.Publication), suffix))
		if again.Name = name; !ok || again != file {
			t.Fatalf("%q is %+v, then %+v", name, file, again)
		}
	})
}

// TestFurther: of two segments that tell of one list, the one counts that has read more of it; of two that
// have read as much the one that knows how many rows it has.
func TestFurther(t *testing.T) {
	at := func(line, whole int64) list {
		return list{store.Source{Position: store.Position{Line: line}}, whole}
	}
	for _, c := range []struct{ a, b, want list }{
		{at(1, 1), at(2, -1), at(2, -1)}, {at(2, -1), at(1, 1), at(2, -1)},
		{at(2, -1), at(2, 5), at(2, 5)}, {at(2, 5), at(2, -1), at(2, 5)}, {at(2, 5), at(2, 5), at(2, 5)},
		{at(2, 0), at(2, -1), at(2, 0)},
	} {
		if got := c.a.further(c.b); got.Position.Line != c.want.Position.Line || got.whole != c.want.whole {
			t.Errorf("of lines %d and %d it is line %d with %d rows; want %d with %d", c.a.Position.Line,
				c.b.Position.Line, got.Position.Line, got.whole, c.want.Position.Line, c.want.whole)
		}
	}
}

// TestAdd: a segment that does not say how many rows there are of a list does not know; a list without rows
// is read when that is known.
func TestAdd(t *testing.T) {
	lists := add(nil, []store.Source{{}, {Number: 1}}, []int64{0})
	if len(lists) != 2 || lists[0].whole != 0 || lists[1].whole != -1 {
		t.Errorf("%+v", lists)
	}
	if !isRead(lists[:1]) || isRead(lists) {
		t.Errorf("read: %v, both: %v", isRead(lists[:1]), isRead(lists))
	}
}

// TestListJoinsLater publishes a list, and another one that joined after that. The folder has both, and so
// has a new job that takes it in, but for rows that nothing was done with.
func TestListJoinsLater(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newWriter(t, dir)
	for len(w.do(rowCount, 1)) > 0 {
	}
	must.OK(t, w.Publish(t.Context()))
	const more = 7
	second := must.Get(w.Job.AddSource(t.Context(), store.Source{Name: "/second", Format: "txt"}))(t)
	lease := must.Get(w.session.LeaseSource(t.Context(), second.Number))(t)
	var rows []store.NewRow
	for i := range int64(more) {
		rows = append(rows, store.NewRow{ID: store.FirstOf(1) + i + 1, URL: fmt.Sprint("http://i/", i+1)})
	}
	end := store.Position{Offset: 2, Line: more, Rows: more}
	must.OK(t, w.session.Append(t.Context(), lease, rows, end, true, 10))
	must.OK(t, w.session.ReleaseSource(t.Context(), lease))
	w.do(more-2, 2)
	must.OK(t, w.Publish(t.Context()))

	holds := func(job store.Job) {
		t.Helper()
		sound(t, job)
		c := must.Get(job.Counts(t.Context()))(t)
		sources := must.Get(job.Sources(t.Context()))(t)
		if c.Total != rowCount+more-2 || c.Done != rowCount+more-2 || len(sources) != 2 {
			t.Fatalf("%d rows, %d done, of %d lists", c.Total, c.Done, len(sources))
		}
		for i, want := range []string{"/list 60 60", "/second 5 7"} {
			s := sources[i]
			if got := fmt.Sprint(s.Name, " ", s.Rows, " ", s.Position.Line); got != want {
				t.Errorf("list %d is %s, want %s", i, got, want)
			}
		}
	}
	parts := must.Get(OpenParts(t.Context(), dir, filepath.Join(t.TempDir(), "x"), anyList))(t)
	holds(parts.Jobs[0])
	if c := must.Get(parts.Jobs[0].Counts(t.Context()))(t); len(c.ImportIncomplete) > 0 {
		t.Errorf("lists that were read to their ends are still being read: %v", c.ImportIncomplete)
	}
	must.OK(t, parts.Close())
	again := must.Get(sqlite.Create(t.Context(), filepath.Join(t.TempDir(), "job.db")))(t)
	defer again.Close()
	p := publisherOf(again, dir)
	must.OK(t, p.Start(t.Context()))
	defer p.Close()
	holds(again)
	// Rows that were pending are missing, so the lists are to be read again.
	if c := must.Get(again.Counts(t.Context()))(t); len(c.ImportIncomplete) != 2 {
		t.Errorf("lists to be read: %v", c.ImportIncomplete)
	}
	if Folder(must.Get(again.Settings(t.Context()))(t)) != dir {
		t.Error("the job does not say where it is published")
	}
}
