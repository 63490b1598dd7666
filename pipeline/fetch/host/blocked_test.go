package host

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"facescan/pipeline/fetch"
)

// take takes out n rows.
func take(t *testing.T, q *Queue[int], n int) (ks []*Ticket[int]) {
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

// fill adds n rows of a host.
func fill(t *testing.T, q *Queue[int], host string, n int) {
	t.Helper()
	for i := range n {
		must(t, q.Add(t.Context(), host, fmt.Sprintf("http://%s/%d", host, i), i))
	}
}

var answered = Verdict{Kind: Answered}

// TestCauses: each cause for which rows wait, with the limit that holds them and the time when it ends.
func TestCauses(t *testing.T) {
	busy := VerdictOf(&fetch.Error{Reason: fetch.HTTP429, Status: 429, RetryAfter: 2 * time.Second})
	for _, c := range []struct {
		what string
		o    Options
		do   func(t *testing.T, q *Queue[int])
		want Blocked // Until is how long from now
		rest time.Duration
	}{
		{"hosts that never answered", Options{Slots: 8, Slow: 4}, func(t *testing.T, q *Queue[int]) {
			for i := range 7 {
				fill(t, q, fmt.Sprint("h", i), 1)
			}
			take(t, q, 5)
		}, Blocked{Cause: ByNewcomers, Rows: 2, Hosts: 2, Limit: 1}, 0},
		{"one request to such a host", Options{}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 2)
			take(t, q, 1)
		}, Blocked{Cause: ByNewcomers, Rows: 1, Hosts: 1, Host: "a", Limit: 1}, 0},
		{"its limit", Options{PerHost: 100}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 12)
			take(t, q, 1)[0].Done(answered)
			take(t, q, 9)
		}, Blocked{Cause: ByLimit, Rows: 2, Hosts: 1, Host: "a", Limit: 9}, 0},
		{"its limit, slow requests counted a quarter", Options{PerHost: 100, Slots: 20, Slow: 4},
			func(t *testing.T, q *Queue[int]) {
				fill(t, q, "a", 15)
				take(t, q, 1)[0].Done(answered)
				take(t, q, 9)
				time.Sleep(time.Second)
				take(t, q, 3)
			}, Blocked{Cause: ByLimit, Rows: 2, Hosts: 1, Host: "a", Limit: 9}, 0},
		{"--per-host, slow requests included", Options{PerHost: 4, Slots: 20, Slow: 4},
			func(t *testing.T, q *Queue[int]) {
				fill(t, q, "a", 7)
				take(t, q, 1)[0].Done(answered)
				take(t, q, 4)
				time.Sleep(time.Second)
				synctest.Wait()
			}, Blocked{Cause: ByPerHost, Rows: 2, Hosts: 1, Host: "a", Limit: 4}, 0},
		{"a pause", Options{}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 3)
			take(t, q, 1)[0].Done(busy)
		}, Blocked{Cause: ByPause, Rows: 2, Hosts: 1, Host: "a", Limit: 1}, 2 * time.Second},
		{"a ceiling", Options{}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 9)
			for range 3 {
				take(t, q, 1)[0].Done(answered)
			}
			for range 3 {
				take(t, q, 1)[0].Done(busy)
			}
			time.Sleep(2 * time.Second)
			take(t, q, 1)[0].Done(answered)
		}, Blocked{Cause: ByCeiling, Rows: 2, Hosts: 1, Host: "a", Limit: 4}, time.Second / 4},
		{"silence", Options{}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 5)
			for range 3 {
				take(t, q, 1)[0].Done(VerdictOf(refused))
			}
		}, Blocked{Cause: ByTrouble, Rows: 2, Hosts: 1, Host: "a", Limit: 1}, time.Second},
		{"a dead host under a try", Options{}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 8)
			for range 5 {
				take(t, q, 1)[0].Done(VerdictOf(refused))
			}
			time.Sleep(30 * time.Second)
			take(t, q, 1)
		}, Blocked{Cause: ByTrouble, Rows: 2, Hosts: 1, Host: "a", Limit: 1}, 0},
		{"robots.txt", Options{}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 3)
			take(t, q, 1)[0].Done(Verdict{Pause: 5 * time.Second, NotRequested: true})
		}, Blocked{Cause: ByRobots, Rows: 2, Hosts: 1, Host: "a", Limit: 1}, 5 * time.Second},
		{"a delay", Options{Delay: func(string) time.Duration { return 3 * time.Second }},
			func(t *testing.T, q *Queue[int]) {
				fill(t, q, "a", 3)
				take(t, q, 1)[0].Done(answered)
			}, Blocked{Cause: ByDelay, Rows: 2, Hosts: 1, Host: "a", Limit: 3}, 3 * time.Second},
		{"a retry", Options{}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 1)
			take(t, q, 1)[0].Retry(VerdictOf(broken), time.Minute)
		}, Blocked{Cause: ByRetry, Rows: 1}, 0},
		{"as many for one cause as for another", Options{PerHost: 1}, func(t *testing.T, q *Queue[int]) {
			fill(t, q, "a", 3)
			take(t, q, 1)[0].Done(busy)
			fill(t, q, "b", 4)
			take(t, q, 1)[0].Done(answered)
			take(t, q, 1)
		}, Blocked{Cause: ByPerHost, Rows: 2, Hosts: 1, Host: "b", Limit: 1}, 0},
	} {
		bubble(t, func(t *testing.T) {
			q := New[int](c.o)
			defer q.Stop()
			c.do(t, q)
			got := q.Blocked()
			rest := time.Duration(0)
			if !got.Until.IsZero() {
				rest = max(0, time.Until(got.Until))
			}
			if c.want.Host == "" {
				c.want.Host = got.Host // of several, any
			}
			got.Until = time.Time{}
			if got != c.want || rest != c.rest {
				t.Errorf("%s: %+v, until %v; want %+v, until %v", c.what, got, rest, c.want, c.rest)
			}
			if l := q.Load(); !l.Starved || l.Full || q.Starved() != l.Starved || q.Waiting() != l.Waiting {
				t.Errorf("%s: %+v", c.what, l)
			}
		})
	}
}

// TestHostLog: what changes for a host is logged for debugging, once each.
func TestHostLog(t *testing.T) {
	var b bytes.Buffer
	bubble(t, func(t *testing.T) {
		for _, level := range []slog.Level{slog.LevelInfo, slog.LevelDebug} {
			if b.Len() > 0 {
				t.Errorf("without debugging:\n%s", b.String())
			}
			q := New[int](Options{PerHost: 16, Log: slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{
				Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
					if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
						return slog.Attr{}
					}
					return a
				}}))})
			fill(t, q, "busy", 7)
			take(t, q, 1)[0].Done(answered)
			for _, k := range take(t, q, 4) { // the third is enough
				k.Done(VerdictOf(tooMany))
			}
			time.Sleep(time.Second)
			take(t, q, 1)[0].Done(answered)
			take(t, q, 1)[0].Done(answered)
			fill(t, q, "dead", 8)
			for range 6 {
				take(t, q, 1)[0].Done(VerdictOf(refused))
			}
			time.Sleep(30 * time.Second)
			take(t, q, 1)[0].Done(answered)
			take(t, q, 1)[0].Done(answered)
			fill(t, q, "poor", 8)
			take(t, q, 1)[0].Done(answered)
			for range 6 {
				take(t, q, 1)[0].Done(VerdictOf(broken))
			}
			q.Stop()
		}
	})
	want := strings.Join([]string{
		`msg="a host asks for fewer requests: it gets none for a while" host=busy for=1s`,
		`msg="a host gets requests again" host=busy per_second=2`,
		`msg="a host does not answer: its rows fail without a request until a later try succeeds" host=dead ` +
			`reason=connect next_try=30s`,
		`msg="a host answers again" host=dead`,
		`msg="a host gets fewer requests at once" host=poor at_once=4 before=9`, ""}, "\n")
	if b.String() != want {
		t.Errorf("%s\nwant\n%s", b.String(), want)
	}
}
