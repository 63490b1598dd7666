package live

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"facescan/store"
)

// shown is what the page shows; where `status --json` has a figure too, it has the same name and meaning.
type shown struct {
	Job     string    `json:"job"`
	Self    string    `json:"self"`
	Start   time.Time `json:"start"`
	Elapsed float64   `json:"elapsed_seconds"`
	End     string    `json:"end"`
	Error   string    `json:"error"` // why the figures of the job are old

	Total           int64          `json:"total"`
	Done            int64          `json:"done"`
	Pending         int64          `json:"pending"`
	AlreadyDone     int64          `json:"already_done"`
	OK              int64          `json:"ok"`
	Failed          int64          `json:"failed"`
	ImagesWithFaces *int64         `json:"images_with_faces"` // null where no faces are looked for
	Faces           *int64         `json:"faces"`
	Detector        string         `json:"detector"` // without its flags
	Rate            float64        `json:"rate"`
	ETA             *float64       `json:"eta_seconds"`
	Shards          shownShards    `json:"shards"`
	Failures        []shownFailure `json:"failures"`
	Importing       []string       `json:"importing"` // sources that are not read to their end
	Owners          []shownOwner   `json:"owners"`

	OwnRate     float64      `json:"own_rate"`
	Stages      []shownStage `json:"stages"`
	HeldBackBy  string       `json:"held_back_by"` // one of Holdups; empty for nothing
	HeldBack    string       `json:"held_back"`    // the same, for people
	HeldIn      string       `json:"held_in"`      // the stage that it lies in, if any
	InFlight    int          `json:"in_flight"`
	MaxInFlight int          `json:"max_in_flight"`
	Memory      int64        `json:"memory"`
	MaxMemory   int64        `json:"max_memory"`
	Retries     int64        `json:"retries"`
	Takeovers   int64        `json:"takeovers"`
	LeasesLost  int64        `json:"leases_lost"`
	Refused     int64        `json:"refused"`
	StoreBytes  int64        `json:"store_bytes"`
	OutageFor   float64      `json:"outage_seconds"` // 0 without one
	Hosts       []shownHost  `json:"hosts"`
	Latest      []shownImage `json:"latest"`

	History shownHistory `json:"history"`
}

type shownShards struct {
	Total  int64 `json:"total"`
	Done   int64 `json:"done"`
	Free   int64 `json:"free"`
	Leased int64 `json:"leased"`
}

type shownFailure struct {
	Reason store.Reason `json:"reason"`
	Class  store.Class  `json:"class"`
	Rows   int64        `json:"rows"`
	Remedy string       `json:"remedy"`
}

type shownOwner struct {
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	Self    bool   `json:"self"`
	Alive   bool   `json:"alive"`
	Shards  int64  `json:"shards"`
	Pending int64  `json:"pending"`

	Rate     float64 `json:"rate"`
	HeldBack string  `json:"held_back"`
}

type shownStage struct {
	Name      string  `json:"name"`
	InFlight  int64   `json:"in_flight"`
	Capacity  int     `json:"capacity"`
	Occupancy float64 `json:"occupancy"`
	Queue     int     `json:"queue"`
	Room      int     `json:"room"`
	Rate      float64 `json:"rate"`
	Bytes     float64 `json:"bytes_per_second"`
	Mean      float64 `json:"mean_seconds"`
}

type shownHost struct {
	Name   string       `json:"name"`
	Failed int64        `json:"failed"`
	Reason store.Reason `json:"reason"`
	Rows   int          `json:"waiting"`
	State  string       `json:"state"`
}

type shownImage struct {
	ID     int64     `json:"id"`
	URL    string    `json:"url"`
	Width  int       `json:"width"`
	Height int       `json:"height"`
	Faces  int       `json:"faces"`
	Boxes  [][4]int  `json:"boxes"`
	Scores []float64 `json:"scores"`
}

// shownHistory are columns of the same length.
type shownHistory struct {
	Seconds []float64 `json:"seconds"`
	Done    []int64   `json:"done"`
	Failed  []int64   `json:"failed"`
}

// maxBoxes of one image are drawn.
const maxBoxes = 100

// shown is what the page is told; the caller holds the lock.
func (s *Server) shown() *shown {
	v, c := &s.view, &s.view.Counts
	out := &shown{
		Job: s.o.Job, Self: fmt.Sprintf("%d on %s", s.o.Self.PID, s.o.Self.Host), Start: v.Start.UTC(), Elapsed: v.Now.Sub(v.Start).Seconds(), End: v.End,
		Total: c.Total, Done: c.Done, Pending: c.Pending, AlreadyDone: c.AlreadyDone, OK: c.OK, Failed: c.Failed,
		Rate: v.JobRate, Importing: c.ImportIncomplete,
		Shards:  shownShards{c.Shards.Total, c.Shards.Done, c.Shards.Free, c.Shards.Leased},
		OwnRate: v.Rate, InFlight: v.InFlight, MaxInFlight: v.MaxInFlight,
		Memory: v.Bodies.Used + v.Pixels.Used, MaxMemory: v.Bodies.Limit + v.Pixels.Limit,
		Retries: v.Retries, Takeovers: v.Takeovers, LeasesLost: v.LeasesLost, Refused: v.Refused, StoreBytes: v.Data + v.Log,
	}
	out.Detector, _, _ = strings.Cut(v.Detector, " ")
	if v.Detector != store.NoDetector {
		out.ImagesWithFaces, out.Faces = &c.ImagesWithFaces, &c.Faces
	}
	if s.failed != nil {
		out.Error = s.failed.Error()
	}
	if v.Left >= 0 {
		left := v.Left.Seconds()
		out.ETA = &left
	}
	if v.End == "" {
		out.HeldBackBy, out.HeldBack, out.HeldIn = v.Holdup.Kind, v.Holdup.String(), v.Holdup.Stage()
	}
	if v.Outage {
		out.OutageFor = v.OutageFor.Seconds()
	}
	for reason, n := range c.Failures {
		if n > 0 {
			f := shownFailure{Reason: reason, Class: reason.Class(), Rows: n}
			if s.o.Remedy != nil {
				f.Remedy = s.o.Remedy(reason)
			}
			out.Failures = append(out.Failures, f)
		}
	}
	slices.SortFunc(out.Failures, func(a, b shownFailure) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Reason, b.Reason))
	})
	for _, o := range c.Owners {
		self := o.Host == s.o.Self.Host && o.PID == s.o.Self.PID && o.Alive
		out.Owners = append(out.Owners, shownOwner{o.Host, o.PID, self, o.Alive, o.Shards, o.Pending, o.Rate, o.Why})
	}
	for i, st := range v.Stages {
		p := s.recent.pace(i)
		out.Stages = append(out.Stages, shownStage{st.Name, st.InFlight, st.Capacity, p.occupancy, st.Queue, st.Room, p.rows, p.bytes, p.mean.Seconds()})
	}
	for _, h := range v.Hosts {
		out.Hosts = append(out.Hosts, shownHost{h.Name, h.Failed, h.Reason, h.Waiting, h.state()})
	}
	for _, img := range v.Latest {
		shown := shownImage{ID: img.ID, URL: img.URL, Width: img.Width, Height: img.Height, Faces: len(img.Faces)}
		for _, f := range img.Faces[:min(len(img.Faces), maxBoxes)] {
			shown.Boxes = append(shown.Boxes, [4]int{f.X, f.Y, f.Width, f.Height})
			shown.Scores = append(shown.Scores, math.Round(f.Score*1e4)/1e4)
		}
		out.Latest = append(out.Latest, shown)
	}
	for _, m := range s.history.moments {
		out.History.Seconds = append(out.History.Seconds, math.Round(m.at.Sub(v.Start).Seconds()*10)/10)
		out.History.Done = append(out.History.Done, m.done)
		out.History.Failed = append(out.History.Failed, m.failed)
	}
	return out
}

// state of a host in a few words.
func (h *Host) state() string {
	switch {
	case h.Dead:
		return "taken for dead"
	case h.Pause > 0:
		return fmt.Sprintf("asked again in %v", h.Pause.Round(time.Second))
	case h.Ceiling > 0:
		return fmt.Sprintf("%d at once, at most %d a second", h.InFlight, h.Ceiling)
	case h.InFlight > 0 || h.Waiting > 0:
		return fmt.Sprintf("%d at once", h.InFlight)
	}
	return ""
}
