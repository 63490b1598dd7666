package live

import (
	"slices"
	"time"
)

// points is how many moments of a run are kept.
const points = 240

// history is a run's course, from its start to now. When it is full every second moment is dropped, so that
// it stays as long in memory and on the page, however long the run is.
type history struct {
	step    time.Duration // between moments, at least
	moments []moment
}

// moment is what was done, and failed, in the whole job by then.
type moment struct {
	at           time.Time
	done, failed int64
}

func (h *history) add(s Snapshot) {
	m := moment{s.Now, s.Counts.Done, s.Counts.Failed}
	n := len(h.moments)
	if n > 1 && h.moments[n-1].at.Sub(h.moments[n-2].at) < h.step {
		h.moments[n-1] = m // the latest is always there, if close to the one before
		return
	}
	if n == points {
		for i := range points / 2 {
			h.moments[i] = h.moments[2*i]
		}
		h.moments = h.moments[:points/2]
		h.step = 2 * max(h.step, every)
	}
	h.moments = append(h.moments, m)
}

// recently is how many snapshots make up "lately".
const recently = 6

// recent is the latest snapshots, the newest last.
type recent struct{ snapshots []Snapshot }

func (r *recent) add(s Snapshot) {
	if len(r.snapshots) == recently {
		r.snapshots = slices.Delete(r.snapshots, 0, 1)
	}
	r.snapshots = append(r.snapshots, s)
}

// pace is what a stage did lately.
type pace struct {
	Occupancy float64 `json:"occupancy"`        // of its capacity, in [0,1]
	Rate      float64 `json:"rate"`             // rows per second
	Bytes     float64 `json:"bytes_per_second"` // that it took
	Mean      float64 `json:"mean_seconds"`     // of a row
}

// pace of the i-th stage: lately, or since the start while that was just now.
func (r *recent) pace(i int) (p pace) {
	last := r.snapshots[len(r.snapshots)-1]
	if i >= len(last.Stages) {
		return p
	}
	now, was, since := last.Stages[i], Stage{}, last.Start
	if first := r.snapshots[0]; len(r.snapshots) > 1 && i < len(first.Stages) {
		was, since = first.Stages[i], first.Now
	}
	span := last.Now.Sub(since).Seconds()
	if span <= 0 {
		return p
	}
	if now.Capacity > 0 {
		p.Occupancy = min(1, (now.Busy-was.Busy).Seconds()/span/float64(now.Capacity))
	}
	n := now.Rows - was.Rows
	p.Rate, p.Bytes = float64(n)/span, float64(now.Bytes-was.Bytes)/span
	if n > 0 {
		p.Mean = (now.Took - was.Took).Seconds() / float64(n)
	}
	return p
}
