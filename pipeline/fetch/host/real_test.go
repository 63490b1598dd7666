package host_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/fetchtest"
	"facescan/pipeline/fetch/host"
	"facescan/store"
)

// run fetches all URLs through a queue, as the pipeline does, and returns what became of each.
func run(t testing.TB, o host.Options, fo fetch.Options, fetchers, retries int,
	urls []string) map[string]string {
	fo.AllowPrivate = true
	f, err := fetch.New(fo)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o.Probe = f.Probe
	q := host.New[string](o)
	var mu sync.Mutex
	outcomes := make(map[string]string, len(urls))
	record := func(rows []string, outcome string) {
		mu.Lock()
		defer mu.Unlock()
		for _, r := range rows {
			outcomes[r] = outcome
		}
	}
	var wg sync.WaitGroup
	for range fetchers {
		wg.Go(func() {
			for {
				tk, ok := q.Next(t.Context())
				if !ok {
					return
				}
				if tk.Dead != nil {
					record(tk.Done(host.Verdict{}), tk.Dead.Reason)
					continue
				}
				b, err := f.Fetch(t.Context(), tk.URL, fetchtest.Unlimited{})
				v := host.VerdictOf(err)
				if err == nil {
					b.Release()
					record(tk.Done(v), "ok")
					continue
				}
				var e *fetch.Error
				if !errors.As(err, &e) {
					t.Errorf("%s: %v", tk.URL, err)
					tk.Done(v)
					continue
				}
				n := tk.Attempt()
				if store.Reason(e.Reason).Retried(e.Status) && n <= retries &&
					tk.Retry(v, fetch.Backoff(n, e.RetryAfter)) {
					continue
				}
				tk.Fail(v, func(sure bool, rows []string) { record(rows, e.Reason) })
			}
		})
	}
	for _, u := range urls {
		if err := q.Add(t.Context(), fetch.Host(u), u, u); err != nil {
			t.Fatal(err)
		}
	}
	q.Close()
	wg.Wait()
	if left := q.Stop(); len(left) != 0 {
		t.Errorf("%d rows were left", len(left))
	}
	return outcomes
}

func newServer(t testing.TB, delay time.Duration) *fetchtest.Server {
	s := fetchtest.New(map[string][]byte{"a.jpg": []byte(strings.Repeat("image", 200))}, delay)
	t.Cleanup(s.Close)
	return s
}

// TestFaults: faults of every kind among healthy URLs, on one host: each its own word, and every healthy one
// succeeds.
func TestFaults(t *testing.T) {
	s := newServer(t, 5*time.Millisecond)
	kinds := []struct{ path, want string }{
		{"/i/%d/x.jpg", "ok"}, {"/i/9%d/x.jpg", "ok"}, {"/hang/%d", fetch.Timeout},
		{"/dead/%d", fetch.Timeout}, {"/drip/%d", fetch.TooSlow},
		{"/status/404/%d", fetch.HTTP4xx}, {"/status/500/%d", fetch.HTTP5xx},
		{"/status/503/%d", fetch.HTTP5xx}, {"/status/429/%d", fetch.HTTP429},
		{"/flaky/1/%d/x", "ok"}, {"/limit/%d/x", "ok"}, {"/redirect/3/%d/x", "ok"},
		{"/loop/%d", fetch.RedirectLoop}, {"/nowhere/%d", fetch.HTTPError},
		{"/huge/2/%d", fetch.TooLarge}, {"/trunc/%d/x", fetch.Truncated}, {"/short/%d/x", "ok"},
		{"/html/%d", "ok"}, {"/empty/%d", "ok"},
		{"/reset/%d", fetch.Reset}, {"/garbage/%d", fetch.HTTPError}, {"/noai/%d/x", fetch.OptOut},
		{"http://127.0.0.1:1/%d", fetch.Connect},
		{"http://h%d.invalid/", fetch.DNSNotFound}, {"http://169.254.169.254/%d", fetch.PrivateAddress},
	}
	want := map[string]string{}
	var urls []string
	for i := range 3 {
		for _, k := range kinds {
			u := fmt.Sprintf(k.path, i)
			if !strings.HasPrefix(u, "http") {
				u = s.URL + u
			}
			want[u] = k.want
			urls = append(urls, u)
		}
	}
	got := run(t, host.Options{PerHost: 32, Slots: 128, Slow: 128},
		fetch.Options{Timeout: time.Second, MaxBytes: 1 << 20, MaxRedirects: 5, MinRate: 100}, 256, 2, urls)
	for u, w := range want {
		if got[u] != w {
			t.Errorf("%s: %q, want %q", strings.TrimPrefix(u, s.URL), got[u], w)
		}
	}
}

// TestThrottle: a real server that takes 20 requests in any second.
func TestThrottle(t *testing.T) {
	s := newServer(t, 5*time.Millisecond)
	var urls []string
	for i := range 50 {
		urls = append(urls, fmt.Sprintf("%s/throttle/20/%d/x.jpg", s.URL, i))
	}
	got := run(t, host.Options{PerHost: 16}, fetch.Options{}, 32, 5, urls)
	for _, u := range urls {
		if got[u] != "ok" {
			t.Errorf("%s: %s", u, got[u])
		}
	}
	if n := s.Busiest(); n > 21 {
		t.Errorf("%d requests in a second after the first 429", n)
	}
}

// BenchmarkFetch: tiny bodies over 1,000 hosts, client and server in one process. allocs/op and urls/s are of
// both.
func BenchmarkFetch(b *testing.B) {
	s := newServer(b, 0)
	var bases []string
	for i := range 1000 {
		bases = append(bases, s.Listen(fmt.Sprintf("127.0.%d.%d:0", 1+i/250, 1+i%250)))
	}
	urls := make([]string, b.N)
	for i := range urls {
		urls[i] = fmt.Sprintf("%s/i/%d/x.jpg", bases[i%len(bases)], i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	run(b, host.Options{PerHost: 16, Window: 10_000, Slots: 64, Slow: 64}, fetch.Options{}, 128, 0, urls)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "urls/s")
}

// BenchmarkQueue: the queue's own part of that.
func BenchmarkQueue(b *testing.B) {
	q := host.New[int](host.Options{PerHost: 16, Window: 100_000, Slots: 64, Slow: 64})
	defer q.Stop()
	hosts, urls := make([]string, 1000), make([]string, b.N)
	for i := range hosts {
		hosts[i] = fmt.Sprint("host", i)
	}
	for i := range urls {
		urls[i] = fmt.Sprint(i)
	}
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range 128 {
		wg.Go(func() {
			for {
				t, ok := q.Next(b.Context())
				if !ok {
					return
				}
				t.Done(host.Verdict{Kind: host.Answered})
			}
		})
	}
	for i, u := range urls {
		if err := q.Add(b.Context(), hosts[i%len(hosts)], u, i); err != nil {
			b.Fatal(err)
		}
	}
	q.Close()
	wg.Wait()
}
