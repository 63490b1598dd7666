package live

import (
	"time"

	"facescan/store"
)

// Buckets are the upper bounds, in seconds, by which the durations of a stage are counted.
var Buckets = [...]float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

// View is what a run knows about itself at one moment. Counts are the job's, of all processes that work on it;
// everything else is this process's own.
type View struct {
	Start time.Time
	Now   time.Time
	End   string // how the run ended, in a few words; empty while it works

	Detector string // its fingerprint; store.NoDetector where no faces are looked for

	Counts  store.Counts
	JobRate float64       // rows a second, lately, of all processes
	Left    time.Duration // until the job is done; negative when that cannot be told

	Rate            float64 // rows a second, lately
	OK, Failed      int64   // rows
	Faces           int64
	ImagesWithFaces int64
	Failures        map[store.Reason]int64

	Stages         []Stage // in the order that a row goes through them
	InFlight       int     // rows from the start of their fetch to their commit
	MaxInFlight    int
	Bodies, Pixels Memory

	Imported, Dispatched, Retries, Fallbacks, Refused int64 // rows
	Held, Takeovers, LeasesLost                       int64 // shards

	Data, Log int64 // bytes of the store on disk, its write-ahead log apart; 0 when unknown

	Outage    bool // this machine is cut off
	OutageFor time.Duration
	Cause     string // of the outage

	Holdup Holdup

	Hosts  []Host  // the worst first
	Latest []Image // with faces, the latest first
}

// Stage is what one stage does.
type Stage struct {
	Name     string // fetch decode detect commit
	InFlight int64  // rows in it; of commit, transactions
	Capacity int    // of them at once
	Shares   bool   // its places are those of the stage before
	Queue    int    // rows that wait for it
	Room     int    // how many may; 0 when none ever wait here

	Rows    int64 // through it
	Took    time.Duration
	Bytes   int64
	Busy    time.Duration // rows in it, summed over time
	Buckets [len(Buckets)]int64
}

// Memory is a part of the budget, in bytes.
type Memory struct{ Used, Limit int64 }

// Host is one that rows fail on, or wait for.
type Host struct {
	Name     string
	Failed   int64
	Reason   store.Reason // of its latest failure; empty when there was none
	Waiting  int          // rows
	InFlight int
	Limit    float64       // requests at once
	Ceiling  int           // requests a second; 0 for none
	Pause    time.Duration // it is not asked for so long
	Dead     bool          // it is taken for dead
}

// Image is one with faces, without its pixels.
type Image struct {
	ID            int64
	URL           string // without password
	Width, Height int
	Faces         []store.Face
}
