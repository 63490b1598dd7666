package segment

import (
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"facescan/store"
	"facescan/store/storetest/must"
	"facescan/store/storetest/namespace"
)

// TestNoRoomBesideTheJob publishes and folds with more room beside the job at each try, until there is
// enough: an error says where to make room, and what is published stays whole.
func TestNoRoomBesideTheJob(t *testing.T) {
	small := namespace.SmallDisk(t, 2<<20)
	if small == "" {
		return
	}
	dir := t.TempDir()
	w := newWriterOf(t, dir, 500, "http://h/"+strings.Repeat("a-long-path/", 20))
	f := newFailing(w.Job)
	w.Publisher.Job = f
	want := map[int64]int{}
	for _, version := range []int{1, 2} { // two segments, so that there is something to fold
		must.OK(t, w.Publish(t.Context()))
		for range 25 {
			for _, id := range w.do(10, version) {
				want[id] = version
			}
		}
	}
	before := published(t, dir)
	f.path = filepath.Join(small, "job.db")
	for _, do := range []func() error{func() error { return w.Publish(t.Context()) },
		func() error { return w.FoldAll(t.Context()) }} {
		for free := int64(4 << 10); ; free += 16 << 10 {
			makeRoom := namespace.Leave(t, small, free)
			err := do()
			makeRoom()
			if err == nil {
				break
			}
			if !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "make room in "+small+",") {
				t.Errorf("with %d bytes: %v", free, err)
			}
			if got := published(t, dir); !maps.Equal(got, before) {
				t.Fatalf("with %d bytes: %v; published %v, want %v", free, err, got, before)
			}
		}
		if got := published(t, dir); !maps.Equal(got, want) {
			t.Fatalf("published without an error: %d rows, want %d", len(got), len(want))
		}
		before = want
	}
}
