package host

import (
	"context"
	"fmt"
	"testing"
	"time"

	"facescan/pipeline/fetch"
)

// takeAll takes out the rows that may go now, and counts them.
func takeAll(t *testing.T, q *Queue[int]) (n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	for {
		if _, ok := q.Next(ctx); !ok {
			return n
		}
		n++
	}
}

// TestNewHosts: hosts that have never answered get so many places that those that hang do not fill the fast
// lane: half of it, or as many as the slow lane has and a few.
func TestNewHosts(t *testing.T) {
	for _, c := range []struct{ slots, slow, want int }{
		{0, 0, 100}, {8, 0, 4}, {8, 4, 5}, {9, 0, 4}, {63, 32, 35}, {64, 32, 36}, {64, 0, 32}, {4, 8, 4},
	} {
		bubble(t, func(t *testing.T) {
			q := New[int](Options{Slots: c.slots, Slow: c.slow})
			defer q.Stop()
			for i := range 100 {
				fill(t, q, fmt.Sprint("h", i), 1)
			}
			if n := takeAll(t, q); n != c.want {
				t.Errorf("%+v: %d rows went out", c, n)
			}
		})
	}
}

// TestOthersThanNewHosts: places that new hosts may not have go to rows of dead hosts, which take none, and
// to rows without a host. When new hosts have answered, or failed, others get their places.
func TestOthersThanNewHosts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := New[int](Options{Slots: 8})
		defer q.Stop()
		fill(t, q, "dead", 6)
		for range 5 {
			take(t, q, 1)[0].Done(VerdictOf(refused))
		}
		if k := take(t, q, 1)[0]; k.Dead == nil {
			t.Error("the host is not dead")
		} else {
			k.Done(Verdict{})
		}
		for i := range 9 {
			fill(t, q, fmt.Sprint("h", i), 1)
		}
		new := take(t, q, 4)
		if n := takeAll(t, q); n != 0 {
			t.Errorf("%d more", n)
		}
		must(t, q.Add(t.Context(), "dead", "again", 1))
		if b := q.Blocked(); b.Cause != ByNewcomers || b.Rows != 5 || b.Hosts != 5 {
			t.Errorf("%+v, of 5 rows and one that may go", b)
		}
		if k := take(t, q, 1)[0]; k.Dead == nil || k.Host != "dead" {
			t.Errorf("%+v", k)
		}
		must(t, q.Add(t.Context(), "", "no url", 1))
		if k := take(t, q, 1)[0]; k.Host != "" {
			t.Errorf("%+v", k)
		}
		new[0].Done(answered)
		new[1].Done(VerdictOf(refused))
		if n := takeAll(t, q); n != 1 { // one place is the other row's
			t.Errorf("%d more, for two places", n)
		}
	})
}

// TestOneSlowPlace: a request that takes long leaves its place to another, after a second.
func TestOneSlowPlace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := New[int](Options{Slots: 1, Slow: 1})
		defer q.Stop()
		for i := range 3 {
			fill(t, q, fmt.Sprint("h", i), 1)
		}
		start := time.Now()
		first := take(t, q, 1)[0]
		take(t, q, 1)
		if d := time.Since(start); d != time.Second {
			t.Errorf("the second went out after %v", d)
		}
		time.Sleep(time.Minute)
		if n := takeAll(t, q); n != 0 {
			t.Errorf("%d more than there are places", n)
		}
		first.Done(answered) // its place goes to the other, whose own is free
		if n := takeAll(t, q); n != 1 {
			t.Errorf("%d more for a place that is free", n)
		}
	})
}

// TestAlarms: rows come back when their time has come, in any order of setting it.
func TestAlarms(t *testing.T) {
	for _, waits := range [][]int{{1, 3, 2}, {3, 2, 1}, {2, 3, 1}, {1, 2, 3}, {0, 1, 2}} {
		bubble(t, func(t *testing.T) {
			q := New[int](Options{})
			defer q.Stop()
			start := time.Now()
			for i, w := range waits {
				fill(t, q, fmt.Sprint("h", i), 1)
				take(t, q, 1)[0].Back(time.Duration(w) * time.Second)
				if w == 0 {
					take(t, q, 1)
				}
			}
			for due := time.Second; q.Waiting() > 0; due += time.Second {
				if take(t, q, 1); time.Since(start) != due {
					t.Errorf("%v: a row after %v, want %v", waits, time.Since(start), due)
				}
			}
		})
	}
}

// TestWindowOfOne: with room for one row, the second waits for the first to go out.
func TestWindowOfOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := New[int](Options{Window: 1})
		defer q.Stop()
		fill(t, q, "a", 1)
		added := make(chan time.Time)
		go func() {
			fill(t, q, "b", 1)
			added <- time.Now()
		}()
		time.Sleep(time.Second)
		out := time.Now()
		if take(t, q, 1); !(<-added).Equal(out) {
			t.Error("it did not wait")
		}
	})
}

// TestBacklog: the longest backlog follows from a host's requests at once, its ceiling, the delay between its
// requests and its pause, whichever takes longest.
func TestBacklog(t *testing.T) {
	const request = 100 * time.Millisecond
	busy := VerdictOf(tooMany)
	for _, c := range []struct {
		what string
		o    Options
		do   func(t *testing.T, q *Queue[int])
		want time.Duration
	}{
		{"nothing", Options{}, func(*testing.T, *Queue[int]) {}, 0},
		{"a new host", Options{}, func(t *testing.T, q *Queue[int]) { fill(t, q, "a", 9) }, 0},
		{"a dead one", Options{}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 9)
			for range 5 {
				take(t, q, 1)[0].Done(VerdictOf(refused))
			}
		}, 0},
		{"one row", Options{PerHost: 1}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 2)
			take(t, q, 1)[0].Done(answered)
		}, 100 * time.Millisecond},
		{"requests at once", Options{PerHost: 2}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 11)
			take(t, q, 1)[0].Done(answered)
			fill(t, q, "b", 2)
			take(t, q, 1)[0].Done(answered)
		}, 500 * time.Millisecond},
		{"one per second, after a pause of one", Options{}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 3)
			take(t, q, 1)[0].Done(busy)
			time.Sleep(time.Second)
			take(t, q, 1)
		}, 2 * time.Second},
		{"a ceiling of four", Options{}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 9)
			for range 3 {
				take(t, q, 1)[0].Done(answered)
			}
			for range 3 {
				take(t, q, 1)[0].Done(busy)
			}
			time.Sleep(time.Second)
			take(t, q, 1)[0].Done(answered)
		}, 750 * time.Millisecond},
		{"a delay", Options{Delay: func(string) time.Duration { return 3 * time.Second }},
			func(t *testing.T, q *Queue[int]) {
				fill(t, q, "a", 3)
				take(t, q, 1)[0].Done(answered)
			}, 9 * time.Second},
	} {
		bubble(t, func(t *testing.T) {
			q := New[int](c.o)
			defer q.Stop()
			c.do(t, q)
			if got := q.Slowest(request); got != c.want {
				t.Errorf("%s: %v, want %v", c.what, got, c.want)
			}
		})
	}
}

// TestSharedOutcome: rows of one URL that join while it is under way share its outcome, whatever attempt that
// comes from.
func TestSharedOutcome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := New[int](Options{Window: 9})
		defer q.Stop()
		add := func(v int) { must(t, q.Add(t.Context(), "a", "u", v)) }
		add(1)
		add(2)
		k := take(t, q, 1)[0]
		add(3)
		if n := q.Waiting(); n != 1 {
			t.Errorf("%d rows wait", n)
		}
		if k.Back(time.Second); q.Waiting() != 3 {
			t.Errorf("%d rows wait after it came back", q.Waiting())
		}
		k = take(t, q, 1)[0]
		if k.Attempt() != 1 || k.Value != 1 {
			t.Errorf("attempt %d of row %d", k.Attempt(), k.Value)
		}
		add(4)
		if k.Retry(VerdictOf(broken), time.Second); q.Waiting() != 4 {
			t.Errorf("%d rows wait after a retry", q.Waiting())
		}
		if k = take(t, q, 1)[0]; k.Attempt() != 2 {
			t.Errorf("attempt %d", k.Attempt())
		}
		add(5)
		var rows []int
		k.Fail(VerdictOf(&fetch.Error{Reason: fetch.HTTP4xx, Status: 404}), func(sure bool, r []int) {
			if rows = r; !sure {
				t.Error("not sure")
			}
		})
		if fmt.Sprint(rows) != "[1 2 3 4 5]" || q.Waiting() != 0 {
			t.Errorf("%v, and %d rows wait", rows, q.Waiting())
		}
		add(6)
		if n := takeAll(t, q); n != 1 {
			t.Errorf("%d rows of a URL that is through", n)
		}
	})
}
