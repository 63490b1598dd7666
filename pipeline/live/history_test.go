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

// TestHistorySteps: all moments but the latest have the same distance, which doubles when the history is
// full.
func TestHistorySteps(t *testing.T) {
	for n, want := range map[int]struct {
		moments int
		step    time.Duration
	}{1: {1, 0}, 2: {2, 0}, points: {points, time.Second}, points + 1: {points/2 + 1, 2 * time.Second},
		points + 3: {points/2 + 2, 2 * time.Second}, 2*points - 1: {points, 2 * time.Second},
		2 * points: {points/2 + 1, 4 * time.Second}, 10 * points: {151, 16 * time.Second}} {
		var h history
		for i := range n {
			h.add(Snapshot{Now: time.Unix(int64(1000+i), 0)})
		}
		if len(h.moments) != want.moments {
			t.Errorf("%d snapshots: %d moments, want %d", n, len(h.moments), want.moments)
		}
		for i := 1; i+1 < len(h.moments); i++ {
			if step := h.moments[i].at.Sub(h.moments[i-1].at); step != want.step {
				t.Errorf("%d snapshots: moment %d is %v after the one before, want %v", n, i, step, want.step)
				break
			}
		}
	}
}

// TestPace is measured between the oldest snapshot that is kept and the latest.
func TestPace(t *testing.T) {
	start := time.Unix(1000, 0)
	var r recent
	for i := range 20 {
		sec := time.Duration(i) * time.Second
		busy := 4 * sec // all four, and one of them from the oldest snapshot on that is kept
		if i > 14 {
			busy = 56*time.Second + (sec - 14*time.Second)
		}
		r.add(Snapshot{Start: start, Now: start.Add(sec), Stages: []Stage{{Capacity: 4, Busy: busy,
			Rows: int64(i * i), Took: sec, Bytes: int64(1000 * i)}}})
		if i == 5 {
			if p := r.pace(0); p.Occupancy != 1 || p.Rate != 5 || p.Bytes != 1000 || p.Mean != 0.2 {
				t.Errorf("at first: %+v", p)
			}
		}
	}
	if p := r.pace(0); p != (pace{Occupancy: 0.25, Rate: 33, Bytes: 1000, Mean: 5. / 165}) {
		t.Errorf("lately: %+v", p)
	}
	if p := r.pace(1); p != (pace{}) {
		t.Errorf("a stage that is not there: %+v", p)
	}
	// Before there is another snapshot, or where the oldest could not be taken, it is since the start.
	at := func(sec int, stages ...Stage) Snapshot {
		return Snapshot{Start: start, Now: start.Add(time.Duration(sec) * time.Second), Stages: stages}
	}
	for what, c := range map[string]struct {
		snapshots []Snapshot
		want      pace
	}{
		"one": {[]Snapshot{at(2, Stage{Capacity: 1, Busy: time.Second, Rows: 1, Took: time.Second})},
			pace{Occupancy: 0.5, Rate: 0.5, Mean: 1}},
		"a failed one": {[]Snapshot{at(1), at(2, Stage{Rows: 4, Bytes: 8})}, pace{Rate: 2, Bytes: 4}},
		"two":          {[]Snapshot{at(1, Stage{Rows: 1}), at(3, Stage{Rows: 5})}, pace{Rate: 2}},
		"more than all": {[]Snapshot{at(1, Stage{Capacity: 1, Busy: 1}), at(2, Stage{Capacity: 1,
			Busy: 3 * time.Second})}, pace{Occupancy: 1}},
		"idle":       {[]Snapshot{at(1, Stage{Capacity: 2}), at(2, Stage{Capacity: 2})}, pace{}},
		"just begun": {[]Snapshot{at(0, Stage{Capacity: 1, Rows: 1})}, pace{}},
	} {
		var r recent
		for _, s := range c.snapshots {
			r.add(s)
		}
		if got := r.pace(0); got != c.want {
			t.Errorf("%s: %+v, want %+v", what, got, c.want)
		}
	}
}

// TestHostState says how a host is treated.
func TestHostState(t *testing.T) {
	for want, h := range map[string]Host{
		"":                              {Name: "a", Failed: 3, Limit: 4},
		"0 at once":                     {Waiting: 1},
		"1 at once":                     {InFlight: 1},
		"2 at once, at most 1 a second": {InFlight: 2, Ceiling: 1},
		"next request in 2s":            {Pause: 1600 * time.Millisecond, Ceiling: 1, InFlight: 1},
		"next request in 0s":            {Pause: 1},
		"taken for dead":                {Dead: true, Pause: time.Second},
	} {
		if got := h.state(); got != want {
			t.Errorf("%+v: %q, want %q", h, got, want)
		}
	}
}
