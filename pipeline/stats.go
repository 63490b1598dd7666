package pipeline

import (
	"sync"
	"sync/atomic"
	"time"

	"facescan/pipeline/fetch/host"
	"facescan/pipeline/live"
	"facescan/store"
	"facescan/store/top"
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

	run atomic.Pointer[run] // nil before it begins

	mu       sync.Mutex
	start    time.Time
	base     store.Counts // the job before this run
	job      store.Counts // the job when its counters were last read
	own      live.Work    // what this run committed
	ownMeter meter
	jobMeter meter // rows of the whole job, as far as its counters were read
	outage   host.Outage
	away     bool // the outage is the detector's
	holdups  holdups
	trend    trend
	tail     time.Time // when all but the last hundredth of the job was done
	aborted  *Aborted
	slowest  time.Duration                      // that one host needs at least for its waiting rows
	latest   []live.Image                       // with faces, the latest last
	failing  *top.Counter[string, store.Reason] // hosts by failures; the value is the latest one's reason
	pictures *Pictures                          // of the latest; nil if none are made
}

// MakePictures has the page show small pictures of the latest images with faces: those that the Pictures get.
func (s *Stats) MakePictures() *Pictures {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pictures = &Pictures{}
	return s.pictures
}

func (s *Stats) begin(r *run) error {
	c, err := r.job.Counts(r.hard)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start, s.base, s.job = time.Now(), c, c
	s.own.Failures = map[store.Reason]int64{}
	s.ownMeter.begin(s.start)
	s.jobMeter.begin(s.start)
	s.holdups.note(live.Holdup{}, 0)
	s.run.Store(r)
	return nil
}

// See takes in the job's counters as they are now.
func (s *Stats) See(c store.Counts) {
	var slowest time.Duration
	if r := s.run.Load(); r != nil { // asked without the lock: the queue reports outages under its own
		slowest = r.queue.Slowest(s.Fetching.mean())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slowest = slowest
	if n := c.Done - s.job.Done; n > 0 { // retry takes some away
		s.jobMeter.add(time.Now(), n)
	}
	s.job = c
	s.seeTail()
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
	if r := s.run.Load(); r != nil {
		return r.queue.InFlight()
	}
	return nil
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
			s.own.Failures[r.Reason]++
		}
		s.own.Faces += int64(len(r.Faces))
		if len(r.Faces) > 0 {
			s.own.ImagesWithFaces++
		}
		s.note(r)
		s.trend.add(failedOf(r))
	}
	s.ownMeter.add(time.Now(), int64(len(results)))
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

// Rate is how many rows per second this process completed lately.
func (s *Stats) Rate() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ownMeter.rate(time.Now())
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
