package live

import (
	"time"
)

// points is how many moments of a run are kept.
const points = 240

// history is a run's course, from its start to now. When it is full every second moment is dropped, so that it
// stays as long in memory and on the page, however long the run is.
type history struct {
	step    time.Duration // between moments, at least
	moments []moment
}

// moment is what was done, and failed, in the whole job by then.
type moment struct {
	at           time.Time
	done, failed int64
}

func (h *history) add(v View) {
	m := moment{v.Now, v.Counts.Done, v.Counts.Failed}
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

// recentViews is how many views make up "lately".
const recentViews = 6

// recent is the latest views, the newest last.
type recent struct{ views []View }

func (r *recent) add(v View) {
	if len(r.views) == recentViews {
		copy(r.views, r.views[1:])
		r.views = r.views[:recentViews-1]
	}
	r.views = append(r.views, v)
}

// pace is what a stage did lately.
type pace struct {
	occupancy float64 // of its capacity, in [0,1]
	rows      float64 // a second
	bytes     float64 // a second
	mean      time.Duration
}

// pace of the i-th stage: lately, or since the start while that was just now.
func (r *recent) pace(i int) (p pace) {
	last := r.views[len(r.views)-1]
	if i >= len(last.Stages) {
		return p
	}
	now, was, since := last.Stages[i], Stage{}, last.Start
	if first := r.views[0]; len(r.views) > 1 && i < len(first.Stages) {
		was, since = first.Stages[i], first.Now
	}
	span := last.Now.Sub(since).Seconds()
	if span <= 0 {
		return p
	}
	if now.Capacity > 0 {
		p.occupancy = min(1, (now.Busy-was.Busy).Seconds()/span/float64(now.Capacity))
	}
	n := now.Rows - was.Rows
	p.rows, p.bytes = float64(n)/span, float64(now.Bytes-was.Bytes)/span
	if n > 0 {
		p.mean = (now.Took - was.Took) / time.Duration(n)
	}
	return p
}
