package live

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"facescan/store"
)

// TestHistory: however long a run is, its history stays short, begins at its begin, ends now, and has nothing
// twice.
func TestHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5000).Draw(t, "snapshots")
		start := time.Unix(1000, 0)
		var h history
		at := start
		for i := range n {
			if i > 0 {
				at = at.Add(time.Duration(rapid.IntRange(900, 1100).Draw(t, "ms")) * time.Millisecond)
			}
			h.add(Snapshot{Start: start, Now: at, Counts: store.Counts{Done: int64(i), Failed: int64(i / 2)}})
			if len(h.moments) > points {
				t.Fatalf("%d moments", len(h.moments))
			}
		}
		first, last := h.moments[0], h.moments[len(h.moments)-1]
		if !first.at.Equal(start) || !last.at.Equal(at) || last.done != int64(n-1) ||
			last.failed != int64((n-1)/2) {
			t.Fatalf("from %v to %v, %d done", first.at, last.at, last.done)
		}
		for i := 1; i < len(h.moments); i++ {
			if !h.moments[i].at.After(h.moments[i-1].at) || h.moments[i].done <= h.moments[i-1].done {
				t.Fatalf("moments %d and %d: %v, %v", i-1, i, h.moments[i-1], h.moments[i])
			}
		}
		if n > 2*points && len(h.moments) < points/3 {
			t.Fatalf("of %d snapshots %d moments are left", n, len(h.moments))
		}
	})
}

// TestPace is measured between the oldest snapshot that is kept and the latest.
func TestPace(t *testing.T) {
	start := time.Unix(1000, 0)
	var r recent
	for i := range 20 {
		sec := time.Duration(i) * time.Second
		busy := 4 * sec // all four, and one of them from the tenth second on
		if i > 10 {
			busy = 40*time.Second + (sec - 10*time.Second)
		}
		r.add(Snapshot{Start: start, Now: start.Add(sec), Stages: []Stage{{Capacity: 4, Busy: busy,
			Rows: int64(10 * i), Took: sec, Bytes: int64(1000 * i)}}})
		if i == 5 {
			if p := r.pace(0); p.Occupancy != 1 || p.Rate != 10 || p.Bytes != 1000 || p.Mean != 0.1 {
				t.Errorf("at first: %+v", p)
			}
		}
	}
	if p := r.pace(0); p.Occupancy != 0.25 {
		t.Errorf("lately: %+v", p)
	}
	if p := r.pace(1); p != (pace{}) {
		t.Errorf("a stage that is not there: %+v", p)
	}
}
