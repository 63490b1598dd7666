package segment

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"facescan/store"
	"facescan/store/storetest/must"
)

// names are those of the segments in a folder.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	for _, f := range must.Get(List(dir))(t) {
		all = append(all, f.Name)
	}
	return all
}

// TestBeginsWithWhatIsDone publishes a job to a folder for the first time, and to another one: what was done
// before is published there too.
func TestBeginsWithWhatIsDone(t *testing.T) {
	w := newWriter(t, t.TempDir())
	w.do(5, 1)
	// with notes of the rows, and of a job that was never published
	for _, known := range []string{"[]", ""} {
		w.Close()
		must.OK(t, w.Job.Set(t.Context(), map[string]string{knownSetting: known}))
		dir := t.TempDir()
		p := publisherOf(w.Job, dir)
		must.OK(t, p.Start(t.Context()))
		must.OK(t, p.Publish(t.Context()))
		if got := published(t, dir); len(got) != 5 {
			t.Errorf("known %q: published %v, want 5 rows", known, got)
		}
		p.Close()
	}
}

// TestBeginsAgain has a process begin with a job that is published already: nothing is taken in, nor
// published again, and all segments of the folder are its own.
func TestBeginsAgain(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	for version := range 2 {
		w.do(5, version+1)
		must.OK(t, w.Publish(t.Context()))
	}
	before := names(t, dir)
	w.Close()
	at := &watched{failing: newFailing(w.Job)}
	p := publisherOf(at, dir)
	must.OK(t, p.Start(t.Context()))
	defer p.Close()
	must.OK(t, p.Publish(t.Context()))
	if after := names(t, dir); !slices.Equal(before, after) || len(at.taking) > 0 {
		t.Errorf("took in %d times; %v, and then %v", len(at.taking), before, after)
	}
	must.OK(t, p.FoldAll(t.Context()))
	if after := must.Get(List(dir))(t); len(after) != 1 || after[0].number() != 3 {
		t.Errorf("folded to %v", after)
	}
}

// TestOneIsMissing has one segment of a writer go, and another one come that it does not know: what the
// folder lacks is published again.
func TestOneIsMissing(t *testing.T) {
	dir := t.TempDir()
	w, other := newWriter(t, dir), newWriter(t, dir)
	other.do(3, 7)
	w.do(5, 1)
	must.OK(t, w.Publish(t.Context()))
	lost := names(t, dir)
	must.OK(t, other.Publish(t.Context()))
	for _, name := range lost {
		must.OK(t, os.Remove(filepath.Join(dir, name)))
	}
	must.OK(t, w.Publish(t.Context()))
	if got, want := published(t, dir), versions(t, w.Job); len(got) != 5 || got[5] != want[5] {
		t.Errorf("published %v, and the job has %v", got, want)
	}
}

// TestFoldMeetsAnother has a segment that is to be folded be gone already: the others stay until next time.
func TestFoldMeetsAnother(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	for version := range 3 {
		w.do(5, version+1)
		must.OK(t, w.Publish(t.Context()))
	}
	before := names(t, dir)
	must.OK(t, w.fold(t.Context(), func(all []File) []File {
		must.OK(t, os.Remove(filepath.Join(dir, all[1].Name)))
		return all
	}))
	if after := names(t, dir); !slices.Equal(after, slices.Delete(before, 1, 2)) {
		t.Errorf("left: %v", after)
	}
	must.OK(t, w.Publish(t.Context()))
	if got := published(t, dir); len(got) != 15 {
		t.Errorf("then %d rows are published, want 15", len(got))
	}
	missing := filepath.Join(dir, "missing")
	_, err := openAll(t.Context(), missing, []File{{Name: before[0]}}, t.TempDir())
	if errors.Is(err, errMissing) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder that is gone: %v", err)
	}
}

// TestNotesSurviveFolding folds while a row is done that is not published.
func TestNotesSurviveFolding(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir)
	w.do(1, 1)
	must.OK(t, w.Publish(t.Context()))
	w.do(2, 2)
	must.OK(t, w.FoldAll(t.Context()))
	if files := must.Get(List(dir))(t); len(files) != 1 || files[0].number() != 2 {
		t.Errorf("folded to %v", files)
	}
	must.OK(t, w.Publish(t.Context()))
	if got, want := published(t, dir), map[int64]int{1: 1, 2: 2, 3: 2}; !maps.Equal(got, want) {
		t.Errorf("published %v, want %v", got, want)
	}
	if files := must.Get(List(dir))(t); highest(files) != 3 {
		t.Errorf("the third segment is among %v", files)
	}
}

// TestOwnSettingsStay: a job without a list takes over the settings of the part; one that has the list keeps
// its own, and its position.
func TestOwnSettingsStay(t *testing.T) {
	dir := t.TempDir()
	mine, w := newWriter(t, dir), newWriter(t, dir)
	must.OK(t, mine.Job.Set(t.Context(), map[string]string{"some": "mine"}))
	must.OK(t, w.Job.Set(t.Context(), map[string]string{"some": "theirs"}))
	w.do(5, 1)
	must.OK(t, w.Publish(t.Context()))
	mine.Close()
	must.OK(t, mine.Start(t.Context()))
	sound(t, mine.Job)
	for job, want := range map[store.Job]string{mine.Job: "mine", newWriter(t, dir).Job: "theirs"} {
		settings := must.Get(job.Settings(t.Context()))(t)
		source := must.Get(job.Sources(t.Context()))(t)[0]
		if settings["some"] != want || store.MustFill(settings, source) || !source.Complete {
			t.Errorf("want the settings %s, have %v; the list is %+v", want, settings, source)
		}
		if done := must.Get(job.Counts(t.Context()))(t).Done; done != 5 {
			t.Errorf("%d rows are done, want 5", done)
		}
	}
}
