package pipeline

import (
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/live"
	"facescan/store"
)

// TestRises: a reason has risen when it has a twentieth of the latest rows, and twice its share of the rows
// before and two hundredths more. It may be said again when it has less than half of what was said.
func TestRises(t *testing.T) {
	for _, c := range []struct {
		rows, before, latest int64 // all rows; failures among those before the latest 256, and among these
		said                 float64
		rises                bool
		then                 float64 // said
	}{
		{1256, 15, 13, 0, true, 13. / 256}, {1256, 16, 13, 0, false, 0}, {1256, 0, 12, 0, false, 0},
		{1256, 40, 26, 0, true, 26. / 256}, {1256, 41, 26, 0, false, 0},
		{511, 0, 256, 0, false, 0}, {512, 0, 256, 0, true, 1},
		{1256, 0, 128, 0.5, false, 0.5}, {1256, 0, 64, 0.5, false, 0.5}, {1256, 0, 63, 0.5, false, 0},
	} {
		count := &reasonCount{all: c.before + c.latest, latest: c.latest, said: c.said}
		tr := trend{rows: c.rows, counts: map[store.Reason]*reasonCount{store.Timeout: count}}
		rises := tr.rises()
		if len(rises) == 1 != c.rises || count.said != c.then {
			t.Errorf("%+v: %+v, said is %v", c, rises, count.said)
		}
		if c.rises && (rises[0].is != float64(c.latest)/256 ||
			rises[0].was != float64(c.before)/float64(c.rows-256)) {
			t.Errorf("%+v: %+v", c, rises[0])
		}
	}
}

// TestWorst is the host with more than half of the failures.
func TestWorst(t *testing.T) {
	for _, c := range []struct {
		a, b  int
		host  string
		share float64
	}{{3, 1, "a", 0.75}, {2, 2, "", 0}, {0, 1, "b", 1}, {0, 0, "", 0}} {
		var tr trend
		for i := range c.a + c.b {
			tr.add(failed{store.Timeout, map[bool]string{true: "a", false: "b"}[i < c.a]})
			tr.add(failed{store.Connect, "c"})
		}
		if host, share := tr.worst(store.Timeout); host != c.host || share != c.share {
			t.Errorf("%d of a, %d of b: %q, %v", c.a, c.b, host, share)
		}
	}
}

// TestStage counts what goes through, what is inside, and for how long.
func TestStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Stage
		if s.mean() != 0 {
			t.Errorf("at first %v each", s.mean())
		}
		for range 2 {
			s.measure(func() int { time.Sleep(3 * time.Second); return 10 })
			time.Sleep(time.Second)
		}
		s.measure(func() int {
			time.Sleep(time.Second)
			if v := s.view("fetch", 4); v.InFlight != 1 || v.Busy != 7*time.Second || s.inside() != 1 {
				t.Errorf("inside: %+v", v)
			}
			time.Sleep(2 * time.Second)
			return 1
		})
		v := s.view("fetch", 4)
		var want [len(live.Buckets)]int64
		for i, bound := range live.Buckets {
			if bound >= 3 {
				want[i] = 3
				break
			}
		}
		if v.Name != "fetch" || v.Capacity != 4 || v.InFlight != 0 || v.Rows != 3 || v.Bytes != 21 ||
			v.Took != 9*time.Second || v.Busy != 9*time.Second || s.mean() != 3*time.Second ||
			v.Buckets != want {
			t.Errorf("%+v, mean %v", v, s.mean())
		}
	})
}

// TestTail: the last hundredth of a job begins once, and again when more rows come.
func TestTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Stats
		s.base.Done = 100
		tail := func(when string, own, job, total int64, want time.Time) {
			t.Helper()
			s.own.Done, s.job.Done, s.job.Total = own, job, total
			s.seeTail()
			if !s.tail.Equal(want) {
				t.Errorf("%s: since %v, want %v", when, s.tail, want)
			}
			time.Sleep(time.Second)
		}
		tail("too early, by what is known of all", 0, 989, 1000, time.Time{})
		began := time.Now()
		tail("of all", 0, 990, 1000, began)
		tail("later", 0, 995, 1000, began)
		tail("more rows", 0, 995, 2000, time.Time{})
		tail("too early, by its own", 889, 0, 1000, time.Time{})
		tail("its own", 890, 0, 1000, time.Now())
	})
}

// TestSee: rows that others complete count for the job's rate, also a single one; a retry does not make it
// negative.
func TestSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Stats
		s.jobMeter.begin(time.Now())
		time.Sleep(time.Second)
		for _, c := range []struct {
			done int64
			rate float64
		}{{1, 1}, {5, 5}, {2, 5}, {3, 6}} {
			s.See(store.Counts{Done: c.done})
			if got := s.jobMeter.rate(time.Now()); got != c.rate || s.job.Done != c.done {
				t.Errorf("%d rows are done: %v per second, want %v", c.done, got, c.rate)
			}
		}
	})
}

// TestTotals: what is known of the job is what it had, and what this process did.
func TestTotals(t *testing.T) {
	var s Stats
	s.base.Failed, s.base.Done, s.own.Failed, s.own.Done = 1, 20, 300, 4000
	if failed, done := s.jobTotals(); failed != 301 || done != 4020 {
		t.Errorf("%d of %d failed", failed, done)
	}
}
