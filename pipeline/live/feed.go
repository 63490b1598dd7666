package live

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"facescan/store"
)

// feed is what /events sends: a Snapshot, and what the page shows besides.
type feed struct {
	figures
	Job        string        `json:"job"`
	Self       string        `json:"self"`
	Error      string        `json:"error"` // why the figures of the job are old
	Failures   []feedFailure `json:"failures"`
	Owners     []feedOwner   `json:"owners"`
	Stages     []feedStage   `json:"stages"`
	Hosts      []feedHost    `json:"hosts"`
	HeldIn     string        `json:"held_in"` // the stage that holds the run back, if one does
	Memory     int64         `json:"memory"`
	MaxMemory  int64         `json:"max_memory"`
	StoreBytes int64         `json:"store_bytes"`
	OutageFor  float64       `json:"outage_seconds"` // 0 without one
	History    feedHistory   `json:"history"`
}

type feedFailure struct {
	Reason store.Reason `json:"reason"`
	Class  store.Class  `json:"class"`
	Rows   int64        `json:"rows"`
	Hint   string       `json:"remedy"`
}

type feedOwner struct {
	owner
	Self bool `json:"self"`
}

type feedStage struct {
	Stage
	pace
}

type feedHost struct {
	Host
	State string `json:"state"`
}

// feedHistory are columns of the same length.
type feedHistory struct {
	Seconds []float64 `json:"seconds"`
	Done    []int64   `json:"done"`
	Failed  []int64   `json:"failed"`
}

// feed makes the next event; the caller holds the lock.
func (s *Server) feed() *feed {
	v := &s.latest
	out := &feed{figures: v.figures(), Job: s.o.Job,
		Self:   fmt.Sprintf("%d on %s", s.o.Self.PID, s.o.Self.Host),
		Memory: v.Bodies.Used + v.Pixels.Used, MaxMemory: v.Bodies.Limit + v.Pixels.Limit,
		StoreBytes: v.Data + v.Log}
	if s.failed != nil {
		out.Error = s.failed.Error()
	}
	if v.End == "" {
		out.HeldIn = v.Holdup.Stage()
	}
	if v.Outage {
		out.OutageFor = v.OutageFor.Seconds()
	}
	for reason, n := range out.figures.Failures {
		f := feedFailure{Reason: reason, Class: reason.Class(), Rows: n}
		if s.o.Hint != nil {
			f.Hint = s.o.Hint(reason)
		}
		out.Failures = append(out.Failures, f)
	}
	slices.SortFunc(out.Failures, func(a, b feedFailure) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Reason, b.Reason))
	})
	for _, o := range out.figures.Owners {
		self := o.Host == s.o.Self.Host && o.PID == s.o.Self.PID && o.Alive
		out.Owners = append(out.Owners, feedOwner{o, self})
	}
	for i, st := range v.Stages {
		out.Stages = append(out.Stages, feedStage{st, s.recent.pace(i)})
	}
	for _, h := range v.Hosts {
		out.Hosts = append(out.Hosts, feedHost{h, h.state()})
	}
	for _, m := range s.history.moments {
		out.History.Seconds = append(out.History.Seconds, math.Round(m.at.Sub(v.Start).Seconds()*10)/10)
		out.History.Done = append(out.History.Done, m.done)
		out.History.Failed = append(out.History.Failed, m.failed)
	}
	return out
}

// state says how a host is treated, in a few words.
func (h *Host) state() string {
	switch {
	case h.Dead:
		return "taken for dead"
	case h.Pause > 0:
		return fmt.Sprintf("next request in %v", h.Pause.Round(time.Second))
	case h.Ceiling > 0:
		return fmt.Sprintf("%d at once, at most %d a second", h.InFlight, h.Ceiling)
	case h.InFlight > 0 || h.Waiting > 0:
		return fmt.Sprintf("%d at once", h.InFlight)
	}
	return ""
}
