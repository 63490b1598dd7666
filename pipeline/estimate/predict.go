package estimate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"facescan/store"
)

// Run describes the planned run: its limits, and the resources that the sample's run used.
type Run struct {
	Detector       string // its fingerprint, or store.NoDetector
	Fetchers, Slow int    // fetches at once, and those that take long besides
	Workers, Cores int
	PerHost        int     // requests to a host at once; 0 = no limit
	Rate           float64 // requests per second; 0 = any
	Bandwidth      int64   // bytes a second; 0 = any
	Elsewhere      bool    // faces are found by a sidecar, whose speed is not known here

	CPU       time.Duration // of this process
	Fetching  time.Duration // summed over the attempts
	Decoding  time.Duration // summed over the images
	Detecting time.Duration
	Database  int64 // bytes that the sample's rows and results take
}

// Prediction is the estimate for a whole list.
type Prediction struct {
	Rows      int64                   `json:"rows"`
	Sampled   int                     `json:"sampled"`
	Success   Bounds                  `json:"success"` // share of rows that become ok
	Failures  map[store.Reason]Bounds `json:"failures"`
	Detector  string                  `json:"detector"` // its fingerprint, or store.NoDetector
	WithFaces Bounds                  `json:"images_with_faces"`
	Faces     Bounds                  `json:"faces"`
	Bytes     Bounds                  `json:"bytes"` // of bodies
	Database  int64                   `json:"database_bytes"`
	Seconds   float64                 `json:"seconds"`
	Limit     string                  `json:"limit"`      // the part that takes longest
	LimitText string                  `json:"limit_text"` // the same for a person
	// Limits is how many seconds each part would take alone
	Limits     map[string]float64 `json:"limits"`
	Suggestion []Suggestion       `json:"suggestions"`
}

// LooksForFaces reports whether the run detects faces.
func (p *Prediction) LooksForFaces() bool { return p.Detector != store.NoDetector }

// MarshalJSON writes null for the faces of a run without detection.
func (p Prediction) MarshalJSON() ([]byte, error) {
	type plain Prediction
	if p.LooksForFaces() {
		return json.Marshal(plain(p))
	}
	return json.Marshal(struct {
		plain
		WithFaces *Bounds `json:"images_with_faces"`
		Faces     *Bounds `json:"faces"`
	}{plain: plain(p)})
}

// Suggestion is a flag that may help.
type Suggestion struct {
	Flags string `json:"flags"`
	Why   string `json:"why"`
}

// limits by what they are called.
const (
	byFetch     = "fetch"
	byCPU       = "cpu"
	byHost      = "host"
	byRate      = "rate"
	byBandwidth = "bwlimit"
)

// slowAfter is when a request moves to the slow lane, in seconds.
const slowAfter = 1

// Predict extrapolates the results of the sample to the whole list: results[i] is that of Drawn[i].
func (s *Sample) Predict(results []store.Result, run Run) Prediction {
	total := float64(s.Total)
	p := Prediction{Rows: s.Total, Sampled: len(s.Drawn), Failures: map[store.Reason]Bounds{},
		Limits: map[string]float64{}, Suggestion: []Suggestion{}}
	p.Success = s.Share(func(i int) bool { return results[i].Status == store.OK })
	p.Detector = run.Detector
	p.WithFaces = s.Share(func(i int) bool { return len(results[i].Faces) > 0 }).times(total)
	p.Faces = s.Mean(func(i int) float64 { return float64(len(results[i].Faces)) }).times(total)
	p.Bytes = s.Mean(func(i int) float64 { return float64(results[i].Bytes) }).times(total)
	for _, r := range results {
		if _, ok := p.Failures[r.Reason]; r.Reason != "" && !ok {
			p.Failures[r.Reason] = s.Share(func(i int) bool { return results[i].Reason == r.Reason })
		}
	}
	drawn := float64(max(1, len(s.Drawn)))
	p.Database = int64(float64(run.Database) / drawn * total)
	p.times(s, results, run)
	p.suggest(run)
	return p
}

// times computes how long each part of a run would take alone; the longest one limits the run. A result's
// Took begins with its last attempt and ends when it is written, so it is scaled to the time that was spent
// on fetching.
func (p *Prediction) times(s *Sample, results []store.Result, run Run) {
	total, took := float64(s.Total), 0.
	for _, r := range results {
		took += r.Took.Seconds()
	}
	scale := run.Fetching.Seconds() / max(took, 1e-9)
	seconds := func(i int) float64 { return results[i].Took.Seconds() * scale }
	all := s.Mean(seconds).Value * total
	fast := s.Mean(func(i int) float64 { return min(seconds(i), slowAfter) }).Value * total
	p.Limits[byFetch] = max(fast/float64(run.Fetchers), all/float64(run.Fetchers+run.Slow))

	each := total / float64(max(1, len(s.Drawn)))
	p.Limits[byCPU] = run.CPU.Seconds() / float64(run.Cores) * each
	if run.Workers < run.Cores && !run.Elsewhere {
		work := run.Decoding + run.Detecting
		p.Limits[byCPU] = max(p.Limits[byCPU], work.Seconds()/float64(run.Workers)*each)
	}
	worst := Stratum{}
	if run.PerHost > 0 {
		for h, st := range s.strata {
			sum, n := 0., 0.
			for i, row := range s.Drawn {
				if row.stratum == h {
					sum, n = sum+seconds(i), n+1
				}
			}
			if t := st.Share * total * sum / max(1, n) / float64(run.PerHost); st.Host != "" &&
				t > p.Limits[byHost] {
				p.Limits[byHost], worst = t, st
			}
		}
	}
	if run.Rate > 0 {
		p.Limits[byRate] = s.Mean(func(i int) float64 {
			return float64(results[i].Attempts)
		}).Value * total / run.Rate
	}
	if run.Bandwidth > 0 {
		p.Limits[byBandwidth] = p.Bytes.Value / float64(run.Bandwidth)
	}
	for name, t := range p.Limits {
		if t > p.Seconds || t == p.Seconds && name < p.Limit {
			p.Seconds, p.Limit = t, name
		}
	}
	switch p.Limit {
	case byFetch:
		p.LimitText = fmt.Sprintf("the network: %d fetches at once, of %v each", run.Fetchers,
			round(all/max(total, 1)))
	case byCPU:
		p.LimitText = fmt.Sprintf("the processors: a row takes %v of one, and there are %d",
			round(run.CPU.Seconds()/float64(max(1, len(s.Drawn)))), run.Cores)
	case byHost:
		p.LimitText = fmt.Sprintf("the limit of %s, which has %.0f %% of the rows, at --per-host %d",
			worst.Host, 100*worst.Share, run.PerHost)
	case byRate:
		p.LimitText = fmt.Sprintf("--rate %g", run.Rate)
	case byBandwidth:
		p.LimitText = fmt.Sprintf("--bwlimit %d", run.Bandwidth)
	}
}

func round(seconds float64) time.Duration {
	d := time.Duration(seconds * float64(time.Second))
	return d.Round(max(time.Microsecond,
		time.Duration(math.Pow(10, math.Floor(math.Log10(float64(max(d, 1))))-2))))
}

// suggest returns flags that would help against the limit, and against frequent failures.
func (p *Prediction) suggest(run Run) {
	add := func(flags, why string, args ...any) {
		p.Suggestion = append(p.Suggestion, Suggestion{flags, fmt.Sprintf(why, args...)})
	}
	next := 0. // what would limit the run if this limit were gone
	for name, t := range p.Limits {
		if name != p.Limit {
			next = max(next, t)
		}
	}
	switch {
	case p.Limit == byFetch && next < 0.8*p.Seconds:
		n := min(4096, int(math.Ceil(1.2*float64(run.Fetchers)*p.Seconds/max(next, p.Seconds/32))))
		if n > run.Fetchers {
			add(fmt.Sprintf("--fetchers %d", n),
				"the processors would be busy then; the network has to carry it")
		}
	case p.Limit == byHost:
		add(fmt.Sprintf("--per-host %d", 2*run.PerHost), "if that host allows it: everything else takes %v",
			round(next))
	case p.Limit == byCPU && p.Seconds > 24*3600:
		add(fmt.Sprintf("--node i/%d", int(math.Ceil(p.Seconds/(24*3600)))),
			"on as many machines it takes a day")
	}
	if p.Limit == byCPU && !run.Elsewhere && run.Detecting > 2*run.Decoding {
		add("--min-face 40", "if smaller faces do not matter: finding them takes most of the time")
	}
	for _, hint := range []struct {
		reason     store.Reason
		share      float64
		flags, why string
	}{
		{store.HTTP429, 0.01, "--per-host 4", "hosts say that they get too many requests"},
		{store.TooLarge, 0.01, "--max-bytes 128MiB", "bodies are larger than --max-bytes allows"},
		{store.TooManyPixels, 0.01, "--max-pixels 400M", "images have more pixels than --max-pixels allows"},
		{store.Timeout, 0.1, "--timeout 10s --retries 1",
			"many rows fail with timeout, and wait long for it"},
		{store.PrivateAddress, 0.01, "--allow-private",
			"rows point to loopback or private addresses, if that is meant"},
		{store.OptOut, 0.01, "--ignore-opt-out",
			"sites ask not to be used this way, by X-Robots-Tag or, with --robots, in robots.txt; " +
				"if you have their leave"},
		{store.BadURL, 0.5, "--url-column NAME", "most rows are no URLs: is it the right column?"},
	} {
		if b := p.Failures[hint.reason]; b.Value >= hint.share {
			add(hint.flags, "%s (%.0f %% of the rows)", hint.why, 100*b.Value)
		}
	}
}

// Ranked lists the reasons of failures, the most frequent first.
func (p *Prediction) Ranked() []store.Reason {
	return slices.SortedFunc(maps.Keys(p.Failures), func(a, b store.Reason) int {
		return cmp.Or(cmp.Compare(p.Failures[b].Value, p.Failures[a].Value), cmp.Compare(a, b))
	})
}

// Parts are the names of Limits, the one that takes longest first.
func (p *Prediction) Parts() []string {
	return slices.SortedFunc(maps.Keys(p.Limits), func(a, b string) int {
		return cmp.Or(cmp.Compare(p.Limits[b], p.Limits[a]), cmp.Compare(a, b))
	})
}
