package host_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/host"
)

// TestBlocked: rows that may not go are told with the reason that most of them have.
func TestBlocked(t *testing.T) {
	t.Parallel()
	answered := func(q *host.Queue[int], n int) {
		t.Helper()
		for range n {
			k, ok := q.Next(t.Context())
			if !ok {
				t.Fatal("no row")
			}
			k.Done(host.VerdictOf(nil))
		}
	}
	take := func(q *host.Queue[int], n int) (ks []*host.Ticket[int]) {
		t.Helper()
		for range n {
			k, ok := q.Next(t.Context())
			if !ok {
				t.Fatal("no row")
			}
			ks = append(ks, k)
		}
		return ks
	}
	add := func(q *host.Queue[int], name string, n int) {
		t.Helper()
		for i := range n {
			if err := q.Add(t.Context(), name, fmt.Sprintf("http://%s/%d", name, i), i); err != nil {
				t.Fatal(err)
			}
		}
	}
	refused := host.VerdictOf(&fetch.Error{Reason: fetch.HTTP429, Status: http.StatusTooManyRequests,
		RetryAfter: time.Minute})
	for _, c := range []struct {
		what  string
		o     host.Options
		do    func(q *host.Queue[int])
		want  host.Cause
		hosts int
		rows  int
	}{
		{"nothing waits", host.Options{PerHost: 4, Slots: 8, Slow: 4}, func(*host.Queue[int]) {},
			host.NotBlocked, 0, 0},
		{"per host", host.Options{PerHost: 2, Slots: 8, Slow: 4}, func(q *host.Queue[int]) {
			add(q, "a.example", 10)
			answered(q, 1)
			take(q, 2)
		}, host.ByPerHost, 1, 7},
		{"two hosts", host.Options{PerHost: 1, Slots: 8, Slow: 4}, func(q *host.Queue[int]) {
			add(q, "a.example", 10)
			add(q, "b.example", 5)
			answered(q, 2)
			take(q, 2)
		}, host.ByPerHost, 2, 11},
		{"a pause", host.Options{PerHost: 8, Slots: 8, Slow: 4}, func(q *host.Queue[int]) {
			add(q, "a.example", 30)
			for _, k := range take(q, 1) {
				k.Retry(refused, time.Minute)
			}
		}, host.ByPause, 1, 29},
		{"retries", host.Options{Slots: 8, Slow: 4}, func(q *host.Queue[int]) {
			add(q, "a.example", 8)
			answered(q, 2)
			for _, k := range take(q, 6) {
				k.Retry(host.VerdictOf(&fetch.Error{Reason: fetch.HTTP5xx, Status: 503}), time.Minute)
			}
		}, host.ByRetry, 0, 6},
	} {
		q := host.New[int](c.o)
		c.do(q)
		l, b := q.Load(), q.Blocked()
		if b.Cause != c.want || b.Hosts != c.hosts || b.Rows != c.rows || (c.hosts > 0) != (b.Host != "") {
			t.Errorf("%s: %+v, %+v", c.what, l, b)
		}
		if blocked := c.want != host.NotBlocked; l.Starved != blocked || l.Full || l.Waiting < c.rows {
			t.Errorf("%s: %+v", c.what, l)
		}
		q.Stop()
	}

	// Every place is taken: no host did that.
	q := host.New[int](host.Options{Slots: 2, Slow: 2})
	defer q.Stop()
	add(q, "a.example", 10)
	answered(q, 1)
	take(q, 2)
	if l := q.Load(); !l.Full || l.Starved || l.Waiting != 7 {
		t.Errorf("full: %+v", l)
	}
}
