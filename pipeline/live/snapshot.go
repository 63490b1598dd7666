package live

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	"facescan/store"
)

// Buckets are the upper bounds, in seconds, by which the durations of a stage are counted.
var Buckets = [...]float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
	60}

// Snapshot is what is known of a job, and of the process that works on it, at one moment. Everything that
// shows figures reads it: the page, /metrics, --progress, status and the summary at the end of a run. Its
// JSON names are those that users' scripts know: a name means the same wherever it is shown.
//
// Each figure has one source. What is of the job (Counts, and what is estimated from them) comes from the
// job's counters in the store, so from all processes, as of the last time they were read. What is of the
// process (Own and everything below it) comes from its own memory, as of now, and is never read back from the
// store. Nothing adds the two up: rows of this process are in Counts as soon as the counters are read again.
type Snapshot struct {
	Start time.Time `json:"start"` // of the process's run
	Now   time.Time `json:"-"`
	End   string    `json:"end"` // how the run ended, in a few words; empty while it works

	// The job. Status shows no more than this.
	store.Counts
	Detector string        `json:"detector"` // its fingerprint; store.NoDetector for none
	Rate     float64       `json:"rate"`     // rows per second lately, of all processes
	Left     time.Duration `json:"-"`        // until the job is done; negative if unknown
	Slowest  time.Duration `json:"-"`        // that one host needs at least for its waiting rows
	Data     int64         `json:"-"`        // bytes of the store on disk, without Log; 0 if unknown
	Log      int64         `json:"-"`        // bytes of its write-ahead log

	// The process.
	Own         Work          `json:"-"`
	OwnRate     float64       `json:"own_rate"`  // rows per second lately
	Tail        time.Duration `json:"-"`         // since 99 of 100 rows were done; 0 before
	Stages      []Stage       `json:"stages"`    // in the order that a row passes them
	Waiting     int           `json:"waiting"`   // rows in the queue
	InFlight    int           `json:"in_flight"` // rows from the start of their fetch to their commit
	MaxInFlight int           `json:"max_in_flight"`
	Bodies      Memory        `json:"-"`
	Pixels      Memory        `json:"-"`
	Held        int64         `json:"-"` // shards
	Imported    int64         `json:"-"` // rows, as all below unless said otherwise
	Dispatched  int64         `json:"-"`
	Retries     int64         `json:"retries"`
	Robots      int64         `json:"-"` // requests for a robots.txt
	Fallbacks   int64         `json:"-"`
	Refused     int64         `json:"refused"`
	Takeovers   int64         `json:"takeovers"`   // shards
	LeasesLost  int64         `json:"leases_lost"` // shards
	Outage      bool          `json:"outage"`      // of this machine, or of the detector
	OutageFor   time.Duration `json:"-"`
	Cause       string        `json:"-"` // of the outage
	Holdup      Holdup        `json:"-"` // what holds the run back now
	Mostly      HeldBack      `json:"-"` // what held it back for longest

	// For the page only.
	Hosts  []Host  `json:"hosts"`  // the worst first
	Latest []Image `json:"latest"` // with faces, the latest first
}

// Work is what one process did: the rows whose results it committed.
type Work struct {
	Done, OK, Failed       int64
	Faces, ImagesWithFaces int64
	Failures               map[store.Reason]int64
}

// HeldBack is how much of a run something held it back.
type HeldBack struct {
	Holdup         // the latest of its kind
	Share  float64 // of the time
}

// Stage is what one stage does.
type Stage struct {
	Name     string `json:"name"`      // fetch decode detect commit
	InFlight int64  `json:"in_flight"` // rows in it; of commit, transactions
	Capacity int    `json:"capacity"`  // of them at once
	Shares   bool   `json:"-"`         // its places are those of the stage before
	Queue    int    `json:"queue"`     // rows that wait for it
	Room     int    `json:"room"`      // how many may; 0 if none ever wait here

	Rows    int64               `json:"-"` // through it
	Took    time.Duration       `json:"-"`
	Bytes   int64               `json:"-"`
	Busy    time.Duration       `json:"-"` // rows in it, summed over time
	Buckets [len(Buckets)]int64 `json:"-"`
}

// Memory is a part of the budget, in bytes.
type Memory struct{ Used, Limit int64 }

// Host is one that rows fail on, or wait for.
type Host struct {
	Name     string        `json:"name"`
	Failed   int64         `json:"failed"`
	Reason   store.Reason  `json:"reason"`  // of its latest failure; empty if there was none
	Waiting  int           `json:"waiting"` // rows
	InFlight int           `json:"-"`
	Limit    float64       `json:"-"` // requests at once
	Ceiling  int           `json:"-"` // requests per second; 0 for none
	Pause    time.Duration `json:"-"` // how long it gets no request
	Dead     bool          `json:"-"` // it is taken for dead
}

// Image is one with faces, without its pixels.
type Image struct {
	ID            int64
	URL           string // without password
	Width, Height int
	Faces         []store.Face
	Picture       bool // Options.Picture has a small one
}

// maxBoxes of one image are drawn.
const maxBoxes = 100

// MarshalJSON implements json.Marshaler: the number of faces, and the boxes to draw.
func (i Image) MarshalJSON() ([]byte, error) {
	out := struct {
		ID      int64     `json:"id"`
		URL     string    `json:"url"`
		Name    string    `json:"name"` // of the file
		Link    string    `json:"link"` // the URL, if a browser can be sent there
		Picture bool      `json:"picture"`
		Width   int       `json:"width"`
		Height  int       `json:"height"`
		Faces   int       `json:"faces"`
		Boxes   [][4]int  `json:"boxes"`
		Scores  []float64 `json:"scores"`
	}{ID: i.ID, URL: i.URL, Name: store.FileName(i.URL), Link: store.Link(i.URL), Picture: i.Picture,
		Width: i.Width, Height: i.Height, Faces: len(i.Faces)}
	if strings.Contains(i.URL, "***") { // it had a password, which the link lacks
		out.Link = ""
	}
	for _, f := range i.Faces[:min(len(i.Faces), maxBoxes)] {
		out.Boxes = append(out.Boxes, [4]int{f.X, f.Y, f.Width, f.Height})
		out.Scores = append(out.Scores, math.Round(f.Score*1e4)/1e4)
	}
	return json.Marshal(out)
}

// Elapsed is how long the run has taken.
func (s *Snapshot) Elapsed() time.Duration { return s.Now.Sub(s.Start) }

// LooksForFaces reports whether the job has a detector.
func (s *Snapshot) LooksForFaces() bool { return s.Detector != store.NoDetector }

// Estimate sets what follows from the counters and from what is known of rates. The job's rate is at least
// the process's own, which is measured more often. The time left is that of the pending rows at this rate, or
// longer if one host needs longer for its own rows, however fast the others are.
func (s *Snapshot) Estimate() {
	s.Rate = max(s.Rate, s.OwnRate)
	switch {
	case len(s.ImportIncomplete) > 0:
		s.Left = -1
	case s.Pending == 0:
		s.Left = 0
	case s.Rate <= 0:
		s.Left = -1
	default:
		s.Left = max(time.Duration(float64(s.Pending)/s.Rate*float64(time.Second)), s.Slowest)
	}
}

// figures is a Snapshot as JSON has it. What is unknown, or there is none of, is null.
type figures struct {
	*fields
	Elapsed         float64                `json:"elapsed_seconds"`
	ETA             *float64               `json:"eta_seconds"`
	Faces           *int64                 `json:"faces"`
	ImagesWithFaces *int64                 `json:"images_with_faces"`
	Detector        string                 `json:"detector"` // without its flags
	Failures        map[store.Reason]int64 `json:"failures"` // without those that no row has
	Owners          []owner                `json:"owners"`
	HeldBackBy      *string                `json:"held_back_by"` // one of Holdups
	HeldBack        *string                `json:"held_back"`    // the same, for people
}

// fields is a Snapshot without its methods.
type fields Snapshot

type owner struct {
	ID         string  `json:"id"`
	Host       string  `json:"host"`
	PID        int     `json:"pid"`
	Alive      bool    `json:"alive"`
	Shards     int64   `json:"shards"`
	Pending    int64   `json:"pending"`
	Rate       float64 `json:"rate"`
	HeldBackBy *string `json:"held_back_by"`
	HeldBack   *string `json:"held_back"`
}

// MarshalJSON implements json.Marshaler.
func (s *Snapshot) MarshalJSON() ([]byte, error) { return json.Marshal(s.figures()) }

func (s *Snapshot) figures() figures {
	f := figures{fields: (*fields)(s), Elapsed: s.Elapsed().Seconds(), Failures: map[store.Reason]int64{},
		Owners: []owner{}}
	f.Detector, _, _ = strings.Cut(s.Detector, " ")
	if s.LooksForFaces() {
		f.Faces, f.ImagesWithFaces = &s.Counts.Faces, &s.Counts.ImagesWithFaces
	}
	if s.Left >= 0 {
		left := s.Left.Seconds()
		f.ETA = &left
	}
	for reason, n := range s.Counts.Failures {
		if n > 0 {
			f.Failures[reason] = n
		}
	}
	for _, o := range s.Counts.Owners {
		f.Owners = append(f.Owners, owner{o.ID, o.Host, o.PID, o.Alive, o.Shards, o.Pending, o.Rate,
			orNull(o.HeldBackBy), orNull(o.Why)})
	}
	if s.End == "" {
		f.HeldBackBy, f.HeldBack = orNull(s.Holdup.Kind), orNull(s.Holdup.String())
	}
	return f
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
