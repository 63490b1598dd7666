package pipeline

import (
	"sync"
	"time"

	"facescan/pipeline/live"
)

// Stage measures the work in one stage.
type Stage struct {
	mu      sync.Mutex
	now     int64 // rows in it
	count   int64 // rows through it
	took    time.Duration
	bytes   int64
	busy    time.Duration // rows in it, summed over time: divided by time and capacity it is the occupancy
	since   time.Time     // when now changed last
	buckets [len(live.Buckets)]int64
}

// measure counts a row in while f moves it, which tells how many bytes that were, and out, even if it panics.
func (s *Stage) measure(f func() (bytes int)) {
	begin := time.Now()
	s.mu.Lock()
	s.change(begin, 1)
	s.mu.Unlock()
	bytes := 0
	defer func() {
		end := time.Now()
		took := end.Sub(begin)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.change(end, -1)
		s.count++
		s.took += took
		s.bytes += int64(bytes)
		for i, bound := range live.Buckets {
			if took.Seconds() <= bound {
				s.buckets[i]++
				break
			}
		}
	}()
	bytes = f()
}

// mean is how long a row takes.
func (s *Stage) mean() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.took / time.Duration(max(1, s.count))
}

// inside is how many rows are in the stage.
func (s *Stage) inside() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.now)
}

// change is called with the lock held.
func (s *Stage) change(now time.Time, n int64) {
	if s.now > 0 && now.After(s.since) {
		s.busy += time.Duration(s.now) * now.Sub(s.since)
	}
	s.since = now
	s.now += n
}

// view is what the stage did up to now.
func (s *Stage) view(name string, capacity int) live.Stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change(time.Now(), 0)
	return live.Stage{Name: name, InFlight: s.now, Capacity: capacity, Rows: s.count, Took: s.took,
		Bytes: s.bytes, Busy: s.busy, Buckets: s.buckets}
}
