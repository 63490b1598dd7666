package segment

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"facescan/store"
	"facescan/store/storetest/must"
)

// TestListWhileFolded lists a part whose one segment is replaced meanwhile, each time at another moment: it
// is never without one.
func TestListWhileFolded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(f File) { must.OK(t, os.WriteFile(filepath.Join(dir, f.Name), nil, 0o600)) }
	for i := range 1500 { // so that reading the folder takes a while
		put(newFile("list", store.Node{I: i % 200, Of: 300}, int64(i)))
	}
	at := newFile("list", store.Node{}, 1)
	put(at)
	for n := range 100 {
		replaced := make(chan struct{})
		go func() {
			defer close(replaced)
			next := newFile("list", store.Node{}, int64(n+2))
			for range 10 * n {
				_, _ = os.Lstat(dir)
			}
			put(next)
			must.OK(t, os.Remove(filepath.Join(dir, at.Name)))
			at = next
		}()
		files, err := listPart(dir, "list", store.Node{})
		<-replaced
		must.OK(t, err)
		if len(files) == 0 {
			t.Fatalf("in list %d there is no segment", n)
		}
	}
}

// TestSettled has a list that lacks a segment: it counts only when the next one agrees.
func TestSettled(t *testing.T) {
	dir := t.TempDir()
	f := newFile("list", store.Node{}, 1)
	must.OK(t, os.WriteFile(filepath.Join(dir, f.Name), nil, 0o600))
	for _, c := range []struct {
		lacking map[int]bool
		want, n int
	}{{nil, 1, 2}, {map[int]bool{1: true}, 1, 3}, {map[int]bool{2: true}, 1, 4},
		{map[int]bool{2: true, 3: true}, 0, 3}} {
		n := 0
		files := must.Get(settled(dir, func(files []File) []File {
			if n++; c.lacking[n] {
				return nil
			}
			return files
		}))(t)
		if len(files) != c.want || n != c.n {
			t.Errorf("%+v: %v after %d lists", c, files, n)
		}
	}
	n := 0
	_, err := settled(dir, func(files []File) []File {
		n++
		return files[:n%2]
	})
	want := "the segments in " + dir + " changed each time that they were listed: run the same command again"
	if err == nil || err.Error() != want || n != tries {
		t.Errorf("%v after %d lists", err, n)
	}
}

// TestNumbersGrow publishes while the list of the folder lacks what is there: the newer rows count all the
// same, also for a process that takes over.
func TestNumbersGrow(t *testing.T) {
	for _, again := range []bool{false, true} {
		dir, aside := filepath.Join(t.TempDir(), "published"), t.TempDir()
		must.OK(t, os.Mkdir(dir, 0o700))
		w := newWriter(t, dir)
		f := newFailing(w.Job)
		w.Publisher.Job = f
		for version := range 3 {
			w.do(5, version+1)
			must.OK(t, w.Publish(t.Context()))
		}
		must.OK(t, w.FoldAll(t.Context()))
		must.Get(w.Job.Retry(t.Context(), store.Selection{Reasons: []store.Reason{store.Timeout}}))(t)
		w.do(rowCount, 9)
		if again {
			w.Close()
			must.OK(t, w.Start(t.Context()))
		}
		all := names(t, dir)
		move := func(from, to string) {
			for _, name := range all {
				must.OK(t, os.Rename(filepath.Join(from, name), filepath.Join(to, name)))
			}
		}
		w.Publisher.Job = &beforeList{failing: f, do: func() { move(dir, aside) }}
		must.OK(t, w.Publish(t.Context()))
		move(aside, dir)
		want := versions(t, w.Job)
		maps.DeleteFunc(want, func(_ int64, version int) bool { return version == 0 })
		if got := published(t, dir); !maps.Equal(got, want) {
			t.Errorf("published %v, want %v", got, want)
		}
	}
}

// beforeList does something after the changes of a publication are read, before the folder is listed for its
// number.
type beforeList struct {
	*failing
	do func()
}

func (b *beforeList) Changes(ctx context.Context, after int64, limit int) ([]store.MergedRow, int64, error) {
	if b.do != nil {
		b.do()
		b.do = nil
	}
	return b.failing.Changes(ctx, after, limit)
}
