package host

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/fetch"
	"facescan/store"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sim runs fetchers on a queue against servers that are functions, in the fake time of synctest.
type sim struct {
	*Queue[string]
	serve   func(host, url string) error // sleeps, and answers what Fetch would
	retries int
	backoff func(attempt int) time.Duration

	added    map[string]int
	mu       sync.Mutex
	sent     []sent
	outcomes map[string]string // by row
	attempts map[string]int
	notes    []Outage
	workers  sync.WaitGroup
}

type sent struct {
	host, url string
	at        time.Time
}

var (
	silent  = &fetch.Error{Reason: fetch.Timeout}
	refused = &fetch.Error{Reason: fetch.Connect}
	broken  = &fetch.Error{Reason: fetch.HTTP5xx, Status: 500}
	tooMany = &fetch.Error{Reason: fetch.HTTP429, Status: 429, RetryAfter: time.Second}
	ours    = &fetch.Error{Reason: fetch.Connect, Outage: true}
)

func newSim(o Options, fetchers int, serve func(host, url string) error) *sim {
	s := &sim{serve: serve, outcomes: map[string]string{}, attempts: map[string]int{},
		added:   map[string]int{},
		backoff: func(int) time.Duration { return 300 * time.Millisecond }}
	if o.Probe != nil {
		o.Notify = func(x Outage) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.notes = append(s.notes, x)
		}
	}
	s.Queue = New[string](o)
	for range fetchers {
		s.workers.Go(s.work)
	}
	return s
}

func (s *sim) work() {
	for {
		t, ok := s.Next(context.Background())
		if !ok {
			return
		}
		if t.Dead != nil {
			n := t.Attempt()
			s.record(t.Done(Verdict{}), t.Dead.Reason, n)
			continue
		}
		s.mu.Lock()
		s.sent = append(s.sent, sent{t.Host, t.URL, time.Now()})
		s.mu.Unlock()
		err := s.serve(t.Host, t.URL)
		v := VerdictOf(err)
		e, _ := err.(*fetch.Error)
		switch n := t.Attempt(); {
		case err == nil:
			s.record(t.Done(v), "ok", n)
		case e.Wait > 0:
			if !t.Postpone(v, e.Wait) {
				s.record(t.Done(v), "left", n)
			}
		case store.Reason(e.Reason).Retried(e.Status) && n <= s.retries:
			if !t.Retry(v, max(s.backoff(n), e.RetryAfter)) {
				s.record(t.Done(v), "left", n)
			}
		default:
			t.Fail(v, func(sure bool, rows []string) {
				if !sure {
					s.record(rows, "left", n)
					return
				}
				s.record(rows, e.Reason, n)
			})
		}
	}
}

func (s *sim) record(rows []string, outcome string, attempts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rows {
		if s.outcomes[r] != "" {
			panic("two outcomes for " + r)
		}
		s.outcomes[r], s.attempts[r] = outcome, attempts
	}
}

// add adds n rows of a host.
func (s *sim) add(t *testing.T, host string, n int) {
	for range n {
		url := fmt.Sprintf("http://%s/%d", host, s.added[host])
		s.added[host]++
		must(t, s.Add(t.Context(), host, url, url))
	}
}

// finish waits until every row has an outcome.
func (s *sim) finish() {
	s.Close()
	s.workers.Wait()
	s.Stop()
}

func (s *sim) count(outcome string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, o := range s.outcomes {
		if o == outcome {
			n++
		}
	}
	return n
}

func (s *sim) completed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.outcomes)
}

func (s *sim) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent)
}

// busiest is the most requests to a host within any second after the given time.
func (s *sim) busiest(host string, after time.Time) int {
	most := 0
	var times []time.Time
	for _, x := range s.sent {
		if x.host == host && x.at.After(after) {
			times = append(times, x.at)
			for x.at.Sub(times[0]) >= time.Second {
				times = times[1:]
			}
			most = max(most, len(times))
		}
	}
	return most
}

// bubble runs a test in fake time.
func bubble(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }
