package pipeline

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/source"
	"facescan/store"
)

// album is a folder or tar of images, and a job of it.
type album struct {
	*bench
	path  string
	files map[string][]byte
	mtime map[string]time.Time
	said  bytes.Buffer // by the latest run
	rows  int64        // that were told to be imported, and how often
	times int
}

func newAlbum(t *testing.T, format string) *album {
	t.Helper()
	a := &album{bench: newBench(t, two), path: filepath.Join(t.TempDir(), "album"),
		files: map[string][]byte{},
		mtime: map[string]time.Time{}}
	a.opts.Sources = []source.Spec{{Path: a.path, Format: format}}
	a.opts.Log = slog.New(slog.NewTextHandler(&a.said, nil))
	return a
}

// put adds a file, or changes it; empty bytes remove it. It is on the disk after write.
func (a *album) put(name string, body []byte) {
	a.files[name], a.mtime[name] = body, time.Unix(int64(1e9+len(body)), 0)
	if len(body) == 0 {
		delete(a.files, name)
	}
}

// write writes the folder, or the tar in the order of its names, the changed files last.
func (a *album) write() {
	a.Helper()
	if a.opts.Sources[0].Format == source.Folder {
		a.ok(os.RemoveAll(a.path))
		a.ok(os.Mkdir(a.path, 0o755))
		for name, body := range a.files {
			path := filepath.Join(a.path, name)
			a.ok(os.MkdirAll(filepath.Dir(path), 0o755))
			a.ok(os.WriteFile(path, body, 0o644))
			a.ok(os.Chtimes(path, a.mtime[name], a.mtime[name]))
		}
		return
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	names := make([]string, 0, len(a.files))
	for name := range a.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		body := a.files[name]
		a.ok(w.WriteHeader(&tar.Header{Name: name, Size: int64(len(body)), Mode: 0o644,
			ModTime: a.mtime[name]}))
		_, err := w.Write(body)
		a.ok(err)
	}
	a.ok(w.Close())
	a.ok(os.WriteFile(a.path, b.Bytes(), 0o644))
}

// process writes the album and runs the job, which reads so many of the files.
func (a *album) process(when string, read int64, outcomes ...string) {
	a.Helper()
	a.write()
	a.said.Reset()
	a.want(Finished, outcomes...)
	if n := a.stats.Dispatched.Load(); n != read {
		a.Errorf("%s: %d files were read, want %d", when, n, read)
	}
	a.verify(when)
}

// found checks what the latest run said of its pass.
func (a *album) found(when string, images, fresh, changed, other int) {
	a.Helper()
	want := fmt.Sprintf("images=%d new=%d changed=%d \"other files\"=%d\n", images, fresh, changed, other)
	if text := a.said.String(); !strings.Contains(text, want) || strings.Contains(text, "cannot be read") {
		a.Errorf("%s: it does not say %s%s", when, want, text)
	}
}

// importOnly imports the album, and processes nothing.
func (a *album) importOnly() {
	a.Helper()
	session, err := a.job.Join(a.Context(), Self(), time.Minute)
	a.ok(err)
	im := &Importer{Job: a.job, Session: session, ShardSize: 10, LeaseTTL: time.Minute, Log: a.opts.Log,
		Imported: func(_ string, rows int64, _ float64) { a.rows += rows; a.times++ }}
	a.ok(im.Import(a.Context(), a.opts.Sources))
	a.ok(session.Leave(a.Context()))
}

// verify has the rows compared with what they are rows of.
func (a *album) verify(when string, want ...string) {
	a.Helper()
	sources, err := a.job.Sources(a.Context())
	a.ok(err)
	var problems []string
	a.ok(VerifyImages(a.Context(), a.job, sources[0], func(p store.Problem) {
		problems = append(problems, p.Text)
	}))
	if len(problems) != len(want) {
		a.Errorf("%s: %q", when, problems)
	}
}

// names are those of the job's images, by id.
func (a *album) names() string {
	a.Helper()
	var names []string
	for row, err := range a.job.Rows(a.Context(), 0, math.MaxInt64) {
		a.ok(err)
		file := strings.TrimPrefix(row.URL, "file://"+a.path)
		names = append(names, fmt.Sprint(row.ID, strings.Replace(file, "#", "/", 1)))
	}
	return strings.Join(names, " ")
}

// TestImages: of a folder, and of a tar, every image is a row. What is new later gets the next ids, what
// changed is read again, and what is unchanged is not, wherever it lies now; what vanished keeps its result.
func TestImages(t *testing.T) {
	for _, format := range []string{source.Folder, source.Tar} {
		t.Run(format, func(t *testing.T) {
			a := newAlbum(t, format)
			for _, name := range []string{"b.png", "d/c.png", "e.png", "e.txt", ".hidden.png"} {
				a.put(name, two["a.png"])
			}
			a.process("at first", 3, "ok", "ok", "ok")
			a.found("at first", 3, 3, 0, 1)
			a.process("unchanged", 0, "ok", "ok", "ok")
			a.found("unchanged", 3, 0, 0, 1)
			a.put("a.png", two["b.png"]) // all others lie elsewhere in a tar now
			a.put("d/c.png", []byte("no image"))
			a.process("one new, one changed", 2, "ok", "failed not_image", "ok", "ok")
			a.found("one new, one changed", 4, 1, 1, 1)
			if got := a.names(); got != "1/b.png 2/d/c.png 3/e.png 4/a.png" {
				t.Errorf("rows: %s", got)
			}
			a.put("d/c.png", two["a.png"])
			a.put("e.png", nil)
			a.put("f.png", two["a.png"])
			a.put("aa.png", two["a.png"])
			a.process("one vanished", 3, "ok", "ok", "ok", "ok", "ok", "ok")
			if got := a.names(); got != "1/b.png 2/d/c.png 3/e.png 4/a.png 5/aa.png 6/f.png" {
				t.Errorf("rows: %s", got)
			}
			a.put("e.png", two["b.png"])
			a.process("it is back, and another one", 1, "ok", "ok", "ok", "ok", "ok", "ok")
		})
	}
}

// TestImagesOfManyLater: images that later imports find, in any order, are sorted among the first ones.
func TestImagesOfManyLater(t *testing.T) {
	a := newAlbum(t, source.Folder)
	var want []string
	for pass, letters := range []string{"mz", "bx", "ay"} {
		for _, letter := range letters {
			for n := range 3 {
				a.put(fmt.Sprintf("%c%d.png", letter, n), two["a.png"])
				want = append(want, "ok")
			}
		}
		a.process(fmt.Sprint("pass ", pass), 6, want...)
	}
	a.process("unchanged", 0, want...)
	for name := range a.files {
		a.put(name, two["b.png"])
	}
	a.process("all changed", 18, want...)
}

// TestImageVanishes: a pending row whose file is gone is file_missing. It is pending again when the file is
// back.
func TestImageVanishes(t *testing.T) {
	for _, format := range []string{source.Folder, source.Tar} {
		a := newAlbum(t, format)
		a.put("a.png", two["a.png"])
		a.put("b.png", two["b.png"])
		a.write()
		a.importOnly()
		a.importOnly()
		if a.rows != 2 || a.times != 1 {
			t.Errorf("%s: %d rows were imported, as was told %d times", format, a.rows, a.times)
		}
		a.put("a.png", nil)
		a.write()
		if format == source.Tar { // where only an import finds out what is gone, and where the others are
			a.importOnly()
		}
		sources := a.opts.Sources
		a.opts.Sources = nil // the job itself is named
		a.want(Finished, "failed file_missing", "ok")
		a.opts.Sources = sources
		a.put("a.png", two["a.png"])
		a.process(format+": it is back", 1, "ok", "ok")
	}
}

// TestImagesForgotten: an image that was deleted from the job is not a row again, and is never read.
func TestImagesForgotten(t *testing.T) {
	for _, url := range []bool{false, true} {
		a := newAlbum(t, source.Folder)
		a.put("a.png", two["a.png"])
		a.put("b.png", two["b.png"])
		a.process("at first", 2, "ok", "ok")
		a.ok(a.job.Forget(t.Context(), []int64{1}, url))
		a.put("a.png", two["b.png"])
		a.put("c.png", two["a.png"])
		a.process(fmt.Sprint("forgotten, URL too: ", url), 1, "failed forgotten", "ok", "ok")
	}
}

// TestImagesAway: while the folder is away its rows wait, and none is marked failed; when it is back, the run
// goes on. One that stays away ends the run.
func TestImagesAway(t *testing.T) {
	a := newAlbum(t, source.Folder)
	a.put("a.png", two["a.png"])
	a.put("b.png", two["b.png"])
	a.write()
	a.importOnly()
	a.opts.Sources = nil
	a.ok(os.Rename(a.path, a.path+".away"))
	a.opts.OutageWait = time.Millisecond
	if _, err := a.run(); err == nil || !strings.Contains(err.Error(), "images have been away") ||
		!strings.Contains(err.Error(), "--outage-wait") {
		t.Errorf("ended with %v", err)
	}
	if out := a.outcomes(); len(out) != 0 {
		t.Errorf("done without their files: %q", out)
	}
	a.opts.OutageWait = time.Minute
	a.stats = &Stats{}
	ended := make(chan error, 1)
	go func() {
		_, err := Run(t.Context(), a.job, a.opts, a.stats)
		ended <- err
	}()
	for end := time.Now().Add(time.Minute); !a.stats.Snapshot().Outage; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("there is no outage")
		}
	}
	a.ok(os.Rename(a.path+".away", a.path))
	a.ok(<-ended)
	if out := a.outcomes(); !slices.Equal(out, []string{"ok", "ok"}) || a.stats.Snapshot().Outage {
		t.Errorf("%q, an outage: %v", out, a.stats.Snapshot().Outage)
	}
}

// TestImagesRefused: folders and tars that do not fit to the job's.
func TestImagesRefused(t *testing.T) {
	a := newAlbum(t, source.Folder)
	a.put("d/a.png", two["a.png"])
	a.process("at first", 1, "ok")
	link := a.path + ".link"
	a.ok(os.Symlink(a.path, link))
	for _, c := range []struct {
		spec source.Spec
		says string
	}{
		{source.Spec{Path: a.path, Format: source.Tar}, "was imported as folder and is a tar now"},
		{source.Spec{Path: link, Format: source.Folder}, "under the name " + a.path},
		{source.Spec{Path: filepath.Join(a.path, "d"), Format: source.Folder}, "is in"},
		{source.Spec{Path: filepath.Dir(a.path), Format: source.Folder}, "is in"},
	} {
		a.opts.Sources = []source.Spec{c.spec}
		var usage *source.UsageError
		if _, err := a.run(); !errors.As(err, &usage) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v", c.spec, err)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	a.ok(os.Mkdir(empty, 0o755))
	a.opts.Sources = []source.Spec{{Path: empty, Format: source.Folder}}
	if _, err := a.run(); err == nil || !strings.Contains(err.Error(), empty) {
		t.Errorf("a folder without images: %v", err)
	}
}

// TestImagesOfStrangers: rows that are not images of their folder are a problem, and are not read.
func TestImagesOfStrangers(t *testing.T) {
	a := newAlbum(t, source.Folder)
	a.put("a.png", two["a.png"])
	a.process("at first", 1, "ok")
	s, err := a.job.Join(t.Context(), Self(), time.Minute)
	a.ok(err)
	lease, err := s.LeaseSource(t.Context(), 0)
	a.ok(err)
	outside := []store.NewRow{{ID: 2, URL: "file:///etc/passwd.png", File: &store.File{}}}
	a.ok(s.Append(t.Context(), lease, outside, lease.Position, true, 10))
	a.ok(s.Leave(t.Context()))
	a.verify("of another folder", "it")
	a.opts.Sources = nil
	if _, err := a.run(); err == nil || !strings.Contains(err.Error(), "is not an image of") {
		t.Errorf("ended with %v", err)
	}
}

// TestNotedFileFails: what a file looks like cannot be noted: the run ends, and the row stays pending.
func TestNotedFileFails(t *testing.T) {
	a := newAlbum(t, source.Folder)
	a.put("a.png", two["a.png"])
	a.write()
	a.importOnly()
	a.put("a.png", two["b.png"])
	a.write()
	a.opts.Sources = nil
	good := a.job
	a.job = notesNothing{good}
	if _, err := a.run(); !errors.Is(err, store.ErrFull) {
		t.Errorf("ended with %v", err)
	}
	a.job = good
	if out := a.outcomes(); len(out) != 0 {
		t.Errorf("done: %q", out)
	}
	a.want(Finished, "ok")
}

type notesNothing struct{ store.Job }

func (notesNothing) SetFiles(context.Context, []store.FileRow) error { return store.ErrFull }

// TestIsChanged: a done row's file is read again when its size or time differs, or when it could not be read
// and may be readable now.
func TestIsChanged(t *testing.T) {
	was := store.File{Size: 5, Mtime: 7, Offset: 512}
	moved := store.File{Size: 5, Mtime: 7, Offset: 1024}
	for _, c := range []struct {
		reason store.Reason
		now    store.File
		want   bool
	}{
		{"", was, false}, {"", moved, false}, {store.NotImage, moved, false},
		{"", store.File{Size: 6, Mtime: 7, Offset: 512}, true}, {"",
			store.File{Size: 5, Mtime: 8, Offset: 512}, true},
		{store.FileMissing, was, true}, {store.FileUnreadable, was, false},
		{store.FileUnreadable, moved, true},
	} {
		if got := isChanged(&store.FileRow{File: was, Reason: c.reason, Done: true}, c.now); got != c.want {
			t.Errorf("%s, %+v: %v, want %v", c.reason, c.now, got, c.want)
		}
	}
}

// TestPackFileRow: what the sorter keeps of a row comes back.
func TestPackFileRow(t *testing.T) {
	for _, row := range []store.FileRow{
		{ID: 1 << 45, File: store.File{Size: 1 << 40, Mtime: -1 << 62, Offset: store.Vanished}, Done: true,
			Reason: store.FileUnreadable},
		{ID: 1, File: store.File{Size: -1}},
	} {
		if got := unpackFileRow(packFileRow(row)); got != row {
			t.Errorf("%+v came back as %+v", row, got)
		}
	}
}
