package pipeline

import (
	"sync"
	"sync/atomic"
	"time"

	"facescan/detect"
	"facescan/pipeline/fetch/host"
	"facescan/pipeline/live"
	"facescan/store"
)

// Stats are the figures of one run, safe to read at any time from anywhere.
type Stats struct {
	Imported   atomic.Int64 // rows appended
	Dispatched atomic.Int64 // rows handed to a fetcher
	Retries    atomic.Int64 // attempts after the first
	Fallbacks  atomic.Int64 // images that the standard library decoded after libjpeg-turbo refused
	Takeovers  atomic.Int64 // shards taken from dead or silent owners
	LeasesLost atomic.Int64
	Refused    atomic.Int64 // results not written because their lease was lost

	Fetching, Decoding, Detecting, Committing Stage

	run *run

	mu       sync.Mutex
	start    time.Time
	base     store.Counts // the job before this run
	job      store.Counts // the job when it was last looked at
	own      totals       // what this run committed
	meter    meter
	outage   host.Outage
	away     bool // the outage is the detector's
	holdups  holdups
	trend    trend
	tail     time.Time // when all but the last hundredth of the job was done
	failures map[store.Reason]int64
	shown    shown
	aborted  *Aborted
	slowest  time.Duration // the host that needs longest for the rows that wait for it
}

type totals struct {
	Done, OK, Failed, Faces, ImagesWithFaces int64
}

func (s *Stats) begin(r *run) error {
	c, err := r.job.Counts(r.hard)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.run, s.start, s.base, s.job, s.failures = r, time.Now(), c, c, map[store.Reason]int64{}
	s.meter.begin(s.start)
	s.shown.job.begin(s.start)
	return nil
}

// See takes a fresh look at the whole job into account.
func (s *Stats) See(c store.Counts) {
	s.mu.Lock()
	r := s.run
	s.mu.Unlock()
	var slowest time.Duration
	if r != nil {
		slowest = r.queue.Slowest(s.Fetching.mean())
	}
	s.mu.Lock()
	s.slowest = slowest
	s.shown.saw(time.Now(), s.job, c)
	s.job = c
	s.seeTail()
	s.mu.Unlock()
}

// seeTail notes when the last hundredth of the job began. More rows may come, which puts it off.
func (s *Stats) seeTail() {
	done := max(s.job.Done, s.base.Done+s.own.Done)
	switch last := done*100 >= s.job.Total*99; {
	case !last:
		s.tail = time.Time{}
	case s.tail.IsZero():
		s.tail = time.Now()
	}
}

// Flights are the fetches under way, the oldest first.
func (s *Stats) Flights() []host.Flight {
	s.mu.Lock()
	r := s.run
	s.mu.Unlock()
	if r == nil {
		return nil
	}
	return r.queue.InFlight()
}

// commit takes in results that are durable, and returns which failures became more frequent with them.
func (s *Stats) commit(results []store.Result) []rise {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range results {
		r := &results[i]
		s.own.Done++
		if r.Status == store.OK {
			s.own.OK++
		} else {
			s.own.Failed++
			s.failures[r.Reason]++
		}
		s.own.Faces += int64(len(r.Faces))
		if len(r.Faces) > 0 {
			s.own.ImagesWithFaces++
		}
		s.shown.note(r)
		s.trend.add(failedOf(r))
	}
	s.meter.add(time.Now(), int64(len(results)))
	s.seeTail()
	return s.trend.rises()
}

// jobTotals is how many rows of the job failed and are done, as far as this process knows.
func (s *Stats) jobTotals() (failed, done int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.base.Failed + s.own.Failed, s.base.Done + s.own.Done
}

// setOutage takes in an outage of our own, or of the detector.
func (s *Stats) setOutage(o host.Outage, detector bool) {
	s.mu.Lock()
	s.outage, s.away = o, detector
	s.mu.Unlock()
}

// Rate is how many rows a second this process settled lately.
func (s *Stats) Rate() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meter.rate(time.Now())
}

// Snapshot is what a person is shown.
type Snapshot struct {
	Elapsed time.Duration
	Job     store.Counts // of the whole job, all processes, when last looked at
	Done    int64        // by this run
	OK      int64
	Failed  int64
	Faces   int64
	Rate    float64 // rows a second, lately
	JobRate float64 // the same of all processes, as far as the job was looked at

	ImagesWithFaces int64

	Detector string // its fingerprint; store.NoDetector where no faces are looked for

	Slowest time.Duration // what the host needs at least that needs longest for the rows that wait for it

	Failures map[store.Reason]int64
	Tail     time.Duration // since all but the last hundredth of the job was done; 0 before
	InFlight int
	Waiting  int         // rows in the queue
	Memory   int64       // bytes reserved
	Outage   host.Outage // our own, or the detector's, if On

	Holdup live.Holdup // what holds the run back now
	Mostly HeldBack    // what held it back for longest
}

// Snapshot reads all figures at once.
func (s *Stats) Snapshot() Snapshot {
	s.mu.Lock()
	r := s.run
	s.mu.Unlock()
	waiting, inFlight := 0, 0
	if r != nil { // asked without the lock: the queue tells us of outages under its own
		waiting, inFlight = r.queue.Waiting(), len(r.inflight)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := Snapshot{InFlight: inFlight, Waiting: waiting, Outage: s.outage, Job: s.job, Done: s.own.Done, OK: s.own.OK, Failed: s.own.Failed, Faces: s.own.Faces,
		ImagesWithFaces: s.own.ImagesWithFaces, Slowest: s.slowest, Failures: map[store.Reason]int64{}}
	snap.Holdup, snap.Mostly = s.holdups.latest(), s.holdups.most()
	if s.run == nil {
		return snap
	}
	if s.outage.On { // which is judged at once
		l := load{outage: s.outage, away: s.away}
		_, l.remote = s.run.Detector.(detect.Remote)
		snap.Holdup = l.holdup()
	}
	snap.Detector = s.run.detectorName()
	now := time.Now()
	snap.Elapsed = now.Sub(s.start)
	snap.Rate = s.meter.rate(now)
	snap.JobRate = s.shown.job.rate(now)
	if !s.tail.IsZero() {
		snap.Tail = now.Sub(s.tail)
	}
	snap.Memory = s.run.budget.used()
	for r, n := range s.failures {
		snap.Failures[r] = n
	}
	return snap
}

// Left is how long the job will take at the present rate, or longer for what remains of it: a host takes its time for
// its rows, however fast the others were. Negative when it cannot be told.
func (s *Snapshot) Left() time.Duration {
	rate := max(s.Rate, s.JobRate)
	switch {
	case len(s.Job.ImportIncomplete) > 0:
		return -1
	case s.Job.Pending == 0:
		return 0
	case rate <= 0:
		return -1
	}
	return max(time.Duration(float64(s.Job.Pending)/rate*float64(time.Second)), s.Slowest).Round(time.Second)
}

// meterSpan is the window of the rate, in whole seconds.
const meterSpan = 10

// meter counts events in a ring of seconds.
type meter struct {
	start  time.Time
	second int64 // since start, of the newest slot
	slots  [meterSpan + 1]int64
}

func (m *meter) begin(t time.Time) { *m = meter{start: t} }

func (m *meter) turn(now time.Time) {
	for sec := int64(now.Sub(m.start) / time.Second); m.second < sec; {
		if sec-m.second > meterSpan+1 {
			m.second = sec - meterSpan - 1
		}
		m.second++
		m.slots[m.second%int64(len(m.slots))] = 0
	}
}

func (m *meter) add(now time.Time, n int64) {
	m.turn(now)
	m.slots[m.second%int64(len(m.slots))] += n
}

// rate is over the whole window, or since the start while that is younger.
func (m *meter) rate(now time.Time) float64 {
	if m.start.IsZero() {
		return 0
	}
	m.turn(now)
	var n int64
	for _, s := range m.slots {
		n += s
	}
	span := min(now.Sub(m.start).Seconds(), meterSpan+now.Sub(m.start).Seconds()-float64(m.second))
	return float64(n) / max(span, 0.1)
}
