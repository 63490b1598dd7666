package pipeline

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/source"
	"facescan/store"
)

// TestFileOf: a row is a file below its folder, or a member of its tar, and nothing else.
func TestFileOf(t *testing.T) {
	folder, tar := &store.Source{Name: "/pics", Format: source.Folder}, &store.Source{Name: "/t.tar",
		Format: source.Tar}
	for _, c := range []struct {
		source *store.Source
		url    string
		name   string // empty for none
	}{
		{folder, "file:///pics/a.png", "a.png"}, {folder, "file:///pics/d/a%20b.png", "d/a b.png"},
		{folder, "file:///pics", ""}, {folder, "file:///pic/a.png", ""}, {folder, "file:///a.png", ""},
		{folder, "file:///pics/d.tar#a.png", ""}, {folder, "http://h.invalid/pics/a.png", ""},
		{tar, "file:///t.tar#d/a.png", "d/a.png"}, {tar, "file:///t.tar", ""},
		{tar, "file:///other.tar#a.png", ""}, {tar, "http://h.invalid/t.tar#a.png", ""},
	} {
		name, isTar, err := fileOf(c.source, c.url)
		if name != c.name || isTar != (c.source == tar) || (err == nil) != (c.name != "") ||
			err != nil && err.Error() != c.url+" is not an image of "+c.source.Name {
			t.Errorf("%s of %s: %q, a tar: %t, %v", c.url, c.source.Name, name, isTar, err)
		}
	}
}

// TestQueueKey: a list that names a file never shares its outcome with the row of a folder that is this file.
func TestQueueKey(t *testing.T) {
	const file = "file:///pics/a.png"
	for _, c := range []struct {
		t    task
		want string
	}{
		{task{row: store.Row{URL: "http://h.invalid/"}}, "http://h.invalid/"},
		{task{row: store.Row{URL: file}}, " " + file},
		{task{row: store.Row{URL: file}, file: &fileTask{}}, file},
	} {
		if got := c.t.queueKey(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// filed is a job of a list, and of a folder whose files it has.
type filed struct {
	store.Filed
	files    []store.FileRow
	from, to int64 // asked for
	fails    string
}

func (f *filed) Sources(context.Context) ([]store.Source, error) {
	if f.fails == "sources" {
		return nil, errBroken
	}
	return []store.Source{{Name: "urls.txt", Format: "txt"}, {Name: "/pics", Format: source.Folder}}, nil
}

func (f *filed) Files(_ context.Context, from, to int64) iter.Seq2[store.FileRow, error] {
	f.from, f.to = from, to
	return func(yield func(store.FileRow, error) bool) {
		for _, row := range f.files {
			if !yield(row, nil) {
				return
			}
		}
		if f.fails == "files" {
			yield(store.FileRow{}, errBroken)
		}
	}
}

// TestFilesOfRows finds the files of rows among those of others, which may be done and even forgotten.
func TestFilesOfRows(t *testing.T) {
	f := &filed{files: []store.FileRow{{ID: 3, URL: "forgotten"}, {ID: 4, URL: "file:///pics/a.png"},
		{ID: 5, URL: "forgotten"}, {ID: 7, URL: "file:///pics/b.png", File: store.File{Offset: 9}},
		{ID: 8, URL: "forgotten"}}}
	rows := []store.Row{{ID: 4}, {ID: 6}, {ID: 7}}
	files := &fileRows{job: f}
	for _, number := range []int{0, 2} {
		if all, err := files.of(t.Context(), number, rows); all != nil || err != nil {
			t.Errorf("source %d: %v, %v", number, all, err)
		}
	}
	all, err := files.of(t.Context(), 1, rows)
	if err != nil || !slices.Equal(slices.Sorted(maps.Keys(all)), []int64{4, 7}) || f.from != 4 || f.to != 8 {
		t.Fatalf("%v, %v; from %d to %d", all, err, f.from, f.to)
	}
	if all[7].Name != "b.png" || all[7].Source != "/pics" || all[7].Offset != 9 || all[7].Tar {
		t.Errorf("%+v", all[7])
	}
	f.fails = "files"
	if _, err := files.of(t.Context(), 1, rows); !errors.Is(err, errBroken) {
		t.Errorf("the files cannot be read: %v", err)
	}
	f.fails = "sources"
	if _, err := (&fileRows{job: f}).of(t.Context(), 1, rows); !errors.Is(err, errBroken) {
		t.Errorf("the sources cannot be read: %v", err)
	}
	f.fails, f.files[1].URL = "", "file:///elsewhere/a.png"
	if _, err := files.of(t.Context(), 1, rows); err == nil || !strings.HasPrefix(err.Error(), "row 4: ") {
		t.Errorf("a stranger's row: %v", err)
	}
}

// TestFoldersAway: rows of a folder that is away wait, but for one now and then; the outage ends when all are
// back.
func TestFoldersAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		log := slog.New(slog.NewTextHandler(&said, nil))
		shown := &display{}
		r := &fileReader{log: log, outages: &outages{wait: time.Hour, show: shown.show, log: log}}
		defer r.outages.close()
		rowOf := func(folder string) *task {
			return &task{row: store.Row{URL: "file://" + folder + "/a.png"},
				file: &fileTask{File: fetch.File{Source: folder}}}
		}
		gone := func(folder string) *fetch.GoneError {
			return &fetch.GoneError{Source: folder, Err: errors.New("away")}
		}
		waits := func(when string, one, two bool) {
			t.Helper()
			if a, b := r.waits(rowOf("/one")), r.waits(rowOf("/two")); a != one || b != two {
				t.Errorf("%s: waits %t, %t, want %t, %t", when, a, b, one, two)
			}
		}
		waits("at first", false, false)
		r.note(gone("/one"), rowOf("/one"))
		waits("one is away", true, false)
		time.Sleep(filePause - 1)
		r.note(gone("/one"), rowOf("/one")) // which does not put off the next look
		waits("a little later", true, false)
		time.Sleep(time.Nanosecond)
		waits("one row looks", false, false)
		waits("and no other", true, false)
		r.note(gone("/two"), rowOf("/two"))
		waits("both are away", true, true)
		r.note(nil, &task{row: store.Row{URL: "http://h.invalid/"}}) // says nothing
		r.note(nil, rowOf("/three"))
		r.note(nil, rowOf("/one"))
		waits("one is back", false, true)
		if shown.text() == "" || strings.Contains(said.String(), "back") {
			t.Errorf("the outage is over while one folder is away: %s", &said)
		}
		listed := &task{row: store.Row{URL: "file:///two/b.png"}} // by a list
		r.note(gone("/two"), listed)
		r.note(nil, listed)
		waits("both are back", false, false)
		if n := strings.Count(said.String(), "the images are back: going on"); shown.text() != "" || n != 1 ||
			!strings.Contains(said.String(), "lasted=500ms") {
			t.Errorf("shown is %q, said %d times: %s", shown.text(), n, &said)
		}
	})
}
