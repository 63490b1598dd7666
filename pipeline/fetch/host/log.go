package host

import (
	"context"
	"log/slog"
	"time"
)

// heard takes in the result of a request to a host, and logs what changes for the host by it.
func (q *Queue[T]) heard(h *state[T], v Verdict, r request, now time.Time) {
	if !q.o.Log.Enabled(context.Background(), slog.LevelDebug) {
		h.learn(v, r, now, q.outage.heard, q.seq)
		return
	}
	dead, paused, limit := h.dead, h.pace.paused, h.limit
	h.learn(v, r, now, q.outage.heard, q.seq)
	switch {
	case h.pace.paused && !paused:
		q.o.Log.Debug("a host asks for fewer requests: it gets none for a while", "host", h.name, "for",
			h.pace.until.Sub(now).Round(time.Millisecond))
	case dead == nil && h.dead != nil:
		q.o.Log.Debug("a host does not answer: its rows fail without a request until a later try succeeds",
			"host", h.name, "reason", h.dead.Reason, "next_try", h.nextProbe.Sub(now).Round(time.Millisecond))
	case dead != nil && h.dead == nil:
		q.o.Log.Debug("a host answers again", "host", h.name)
	case h.limit < limit:
		q.o.Log.Debug("a host gets fewer requests at once", "host", h.name, "at_once", int(h.limit),
			"before", int(limit))
	}
}

// resume ends a pause of a host that is over, and logs its new pace.
func (q *Queue[T]) resume(h *state[T], now time.Time) {
	paused := h.pace.paused
	h.pace.resume(now)
	if paused && !h.pace.paused {
		q.o.Log.Debug("a host gets requests again", "host", h.name, "per_second", h.pace.most())
	}
}
