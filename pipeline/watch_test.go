package pipeline

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/source"
)

// TestWatchGone: what is watched may be away for a moment, or for as long as one may wait for images, which
// is said once; then it is an error. Another error is one at once.
func TestWatchGone(t *testing.T) {
	for _, c := range []struct {
		patience time.Duration
		most     time.Duration
		said     int
	}{{0, watchGone, 0}, {watchGone, watchGone, 0}, {time.Hour, time.Hour, 1}} {
		synctest.Test(t, func(t *testing.T) {
			var said bytes.Buffer
			var away atomic.Pointer[error]
			set := func(err error) { away.Store(&err) }
			set(fs.ErrNotExist)
			w := &watcher{im: &Importer{Patience: c.patience, Log: slog.New(slog.NewTextHandler(&said, nil))},
				list: func() ([]source.Spec, error) { return nil, *away.Load() }}
			ended := make(chan error, 1)
			begin := func() { go func() { ended <- w.watch(t.Context(), nil, nil) }() }
			begin()
			time.Sleep(c.most)
			synctest.Wait()
			set(nil)
			time.Sleep(2 * watchPoll)
			synctest.Wait()
			set(fs.ErrNotExist)
			time.Sleep(c.most)
			synctest.Wait()
			if len(ended) != 0 {
				t.Fatalf("patience of %v: %v", c.patience, <-ended)
			}
			time.Sleep(3 * watchPoll)
			synctest.Wait()
			if len(ended) != 1 {
				t.Fatalf("patience of %v: it waits on", c.patience)
			}
			if err := <-ended; err == nil || !errors.Is(err, fs.ErrNotExist) ||
				!strings.HasPrefix(err.Error(), "a list that is watched is gone: ") {
				t.Errorf("patience of %v: %v", c.patience, err)
			}
			if n := strings.Count(said.String(), "are away: waiting"); n != 2*c.said { // once each time
				t.Errorf("patience of %v: said %d times: %s", c.patience, n, &said)
			}
			set(errBroken)
			begin()
			time.Sleep(2 * watchPoll)
			synctest.Wait()
			if err := <-ended; !errors.Is(err, errBroken) {
				t.Errorf("it cannot be told which lists there are: %v", err)
			}
		})
	}
}

// TestWatchReady: a list is read when it was not before, or has changed, and is not being read.
func TestWatchReady(t *testing.T) {
	i := newImports(t)
	var said bytes.Buffer
	i.im.Log = slog.New(slog.NewTextHandler(&said, nil))
	w := &watcher{im: i.im, busy: map[string]bool{}, stamps: map[string]source.Stamp{},
		known: map[string]bool{}, told: map[string]bool{}, begun: map[string]time.Time{},
		due: map[string]time.Time{}}
	list, none := i.list("a.txt", lines(0, 2)), source.Spec{Path: i.dir + "/b.txt", Format: "txt"}
	gone := source.Spec{Path: i.dir + "/gone.txt", Format: "txt"}
	if err := os.WriteFile(none.Path, picture(20, 10), 0o644); err != nil {
		t.Fatal(err)
	}
	folder := source.Spec{Path: i.dir, Format: source.Folder}
	ready := func(when string, want ...string) {
		t.Helper()
		specs, err := w.ready(t.Context(), []source.Spec{list, none, gone, folder})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, spec := range specs {
			got = append(got, strings.TrimPrefix(spec.Path, i.dir))
		}
		if strings.Join(got, " ") != strings.Join(want, " ") || len(got) != len(want) {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	w.reading = importers
	ready("as many are read as may be")
	w.reading--
	ready("at first", "/a.txt", "")
	ready("while they are read")
	w.busy = map[string]bool{}
	w.due[folder.Path] = time.Now().Add(time.Hour)
	ready("unchanged")
	i.add("a.txt", lines(2, 1))
	i.add("b.txt", "\x00")
	ready("changed", "/a.txt")
	if n := strings.Count(said.String(), "passed over until it changes"); n != 1 {
		t.Errorf("a file that is not a list was named %d times: %s", n, &said)
	}
}
