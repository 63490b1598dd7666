package segment

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"facescan/store"
	"facescan/store/storetest/must"
)

// hooked is a job that does something each time that a segment is about to be made.
type hooked struct {
	*failing
	do func()
}

func (h hooked) Path() string {
	h.do()
	return h.failing.Path()
}

// TestFoldAllIsAlone has another process publish, or fold, a row while it is forgotten: what FoldAll leaves
// has nothing of it.
func TestFoldAllIsAlone(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"published before", "published meanwhile", "folded meanwhile"} {
		dir := t.TempDir()
		w, other := newWriter(t, dir), newWriter(t, dir)
		other.do(5, 1)
		for range 2 {
			w.do(5, 2)
			must.OK(t, w.Publish(t.Context()))
		}
		third, do := newWriter(t, dir), func() {}
		if when == "published before" {
			must.OK(t, other.Publish(t.Context()))
		}
		must.OK(t, w.Job.(store.Forgetter).Forget(t.Context(), []int64{1}, true))
		must.OK(t, w.Publish(t.Context()))
		switch when {
		case "published meanwhile":
			do = func() { must.OK(t, other.Publish(t.Context())) }
		case "folded meanwhile":
			do = func() { must.OK(t, third.fold(t.Context(), func(all []File) []File { return all })) }
		}
		w.Publisher.Job = hooked{newFailing(w.Job), sync.OnceFunc(do)}
		must.OK(t, w.FoldAll(t.Context()))
		forgotten := regexp.MustCompile(`http://h/1[^0-9]`)
		all := names(t, dir)
		for _, name := range all {
			if forgotten.Match(must.Get(os.ReadFile(filepath.Join(dir, name)))(t)) {
				t.Errorf("%s: %s has the forgotten URL", when, name)
			}
		}
		if len(all) != 1 || len(published(t, dir)) < 10 {
			t.Errorf("%s: %v, %d rows", when, all, len(published(t, dir)))
		}
	}
}

// TestFoldAllEnds has another process publish again and again: FoldAll gives up, and says so.
func TestFoldAllEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, other := newWriter(t, dir), newWriter(t, dir)
	w.do(5, 1)
	must.OK(t, w.Publish(t.Context()))
	n := 0
	w.Publisher.Job = hooked{newFailing(w.Job), func() {
		n++
		other.do(1, n)
		must.OK(t, other.Publish(t.Context()))
	}}
	err := w.FoldAll(t.Context())
	if err == nil || !strings.Contains(err.Error(), "stop them, then run the same command") {
		t.Errorf("after %d segments: %v", n, err)
	}
}
