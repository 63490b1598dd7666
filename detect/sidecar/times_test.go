package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"facescan/detect"
)

// direct is a transport that gives requests to a handler of this process, so that a test has its own time.
type direct struct{ to http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if r = r.Clone(r.Context()); r.Body == nil {
		r.Body = http.NoBody
	}
	w := send(d.to, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return w.Result(), nil
}

// timed is a client of a handler, and its endpoint, with the times of what it requests and logs.
type timed struct {
	*Client
	e   *endpoint
	log messages

	began    time.Time
	mu       sync.Mutex
	requests map[string][]time.Duration // by the last element of the path
}

func newTimed(t *testing.T, h http.Handler) *timed {
	x := &timed{began: time.Now(), requests: map[string][]time.Duration{}}
	e, err := newEndpoint("unix:///nonexistent/socket", 1)
	must(t, err)
	e.http.Transport = direct{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x.mu.Lock()
		name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		x.requests[name] = append(x.requests[name], time.Since(x.began))
		x.mu.Unlock()
		h.ServeHTTP(w, r)
	})}
	ctx, cancel := context.WithCancel(t.Context())
	x.e = e
	x.Client = &Client{ctx: ctx, cancel: cancel, endpoints: []*endpoint{e}, changed: make(chan struct{}),
		known: map[float64]*known{}, model: &model{detector: "x/1", listed: parameters{}},
		o: Options{Input: Luma, Batch: 2, InFlight: 2, Deadline: 30 * time.Second,
			Log: x.log.logger()}}
	return x
}

// at returns the times of the requests, and forgets them.
func (x *timed) at(name string) []time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	times := x.requests[name]
	delete(x.requests, name)
	return times
}

// refusal answers everything with a status.
func refusal(status int, header ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		refuse(w, status, "not now")
	})
}

func seconds(all ...float64) (times []time.Duration) {
	for _, s := range all {
		times = append(times, time.Duration(s*float64(time.Second)))
	}
	return times
}

// messages are what was logged: the texts alone.
type messages struct {
	mu   sync.Mutex
	text []string
}

func (m *messages) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(m, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.MessageKey {
				return a
			}
			return slog.Attr{}
		}}))
}

func (m *messages) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text := strings.TrimPrefix(strings.TrimSpace(string(b)), "msg=")
	m.text = append(m.text, strings.Trim(text, `"`))
	return len(b), nil
}

// take returns the messages, and forgets them.
func (m *messages) take() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := strings.Join(m.text, "\n")
	m.text = nil
	return all
}

// TestReviveTimes: an endpoint that is down is checked less and less often, down to every 2 s, and that it is
// gone is logged once. When it is well again it is as if nothing were known of its speed.
func TestReviveTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, ServerOptions{Open: opens(blind{})})
		var well atomic.Bool
		x := newTimed(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if well.Load() {
				s.ServeHTTP(w, r)
				return
			}
			refusal(500).ServeHTTP(w, r)
		}))
		x.o.Params, x.model = detect.Defaults(detect.Pigo), nil
		x.e.inflight, x.e.latency, x.e.epoch = 1, 3, 7
		x.put(x.e, 7, io.ErrUnexpectedEOF, time.Second)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if got, want := x.at("ready"), seconds(0, .1, .3, .7, 1.5, 3.1, 5.1, 7.1); !slices.Equal(got, want) {
			t.Errorf("checked after %v, want %v", got, want)
		}
		if err := x.Probe(t.Context()); !errors.Is(err, detect.ErrUnavailable) ||
			!strings.Contains(err.Error(), "answers 500: not now") {
			t.Errorf("while it is down: %v", err)
		}
		well.Store(true)
		x.Client.mu.Lock()
		x.e.busy = time.Now().Add(time.Hour)
		x.Client.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		if err := x.Probe(t.Context()); err != nil || x.e.latency != 0 || x.e.inflight != 0 {
			t.Errorf("afterwards: %v, latency %v, %d requests", err, x.e.latency, x.e.inflight)
		}
		// A request of the time before fails only now.
		x.e.inflight = 1
		x.put(x.e, 7, io.ErrUnexpectedEOF, time.Second)
		if err := x.Probe(t.Context()); err != nil {
			t.Errorf("after an old failure: %v", err)
		}
		const want = "a sidecar is gone\nthe sidecar is well again"
		if got := x.log.take(); got != want {
			t.Errorf("log %s, want %s", got, want)
		}
		x.cancel()
		x.wg.Wait()
	})
}

// TestPatienceOfChecks: a check asks a busy server six times, as the server wishes but at most 5 s later.
func TestPatienceOfChecks(t *testing.T) {
	for name, c := range map[string]struct {
		h    http.Handler
		want []time.Duration
	}{
		"busy":      {refusal(503), seconds(0, 1, 2, 3, 4, 5)},
		"for 2 s":   {refusal(429, "Retry-After", "2"), seconds(0, 2, 4, 6, 8, 10)},
		"for hours": {refusal(503, "Retry-After", "3600"), seconds(0, 5, 10, 15, 20, 25)},
		"broken":    {refusal(500, "Retry-After", "2"), seconds(0)},
	} {
		synctest.Test(t, func(t *testing.T) {
			x := newTimed(t, c.h)
			items, err := x.knownItems(1)
			must(t, err)
			var h *HTTPError
			if _, err := x.inferPatiently(t.Context(), x.e, items[:1], nil); !errors.As(err, &h) {
				t.Errorf("%s: %v", name, err)
			}
			if got := x.at("infer"); !slices.Equal(got, c.want) {
				t.Errorf("%s: asked after %v, want %v", name, got, c.want)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			if _, err := x.inferPatiently(ctx, x.e, items[:1], nil); name != "broken" &&
				!errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s, with 1.5 s left: %v", name, err)
			}
			x.cancel()
		})
	}
}

// TestTimeouts: metadata are waited for 5 s, and answers to images as long as the options say.
func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTimed(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hang(r) }))
		x.o.Deadline = 17 * time.Second
		items, err := x.knownItems(1)
		must(t, err)
		for want, ask := range map[time.Duration]func() error{
			5 * time.Second: func() error { _, err := x.e.metadata(t.Context()); return err },
			17 * time.Second: func() error {
				_, err := x.infer(t.Context(), x.e, items[:1], nil)
				return err
			},
		} {
			begin := time.Now()
			if err := ask(); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != want {
				t.Errorf("%v after %v, want %v", err, time.Since(begin), want)
			}
		}
		x.cancel()
	})
}

// TestPauses: an endpoint that asks for a pause has it, of a second where it does not say how long. Its speed
// is a running mean. What the request is to blame for changes nothing.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTimed(t, refusal(500))
		for _, c := range []struct {
			err    error
			busy   time.Duration
			took   time.Duration
			latest float64
		}{
			{&HTTPError{Status: 503}, time.Second, time.Second, 0},
			{&HTTPError{Status: 429, RetryAfter: time.Minute}, time.Minute, time.Second, 0},
			{&HTTPError{Status: 413}, 0, time.Second, 0},
			{nil, 0, time.Second, 1}, {nil, 0, 5 * time.Second, 2}, {nil, 0, 6 * time.Second, 3},
			{io.ErrUnexpectedEOF, 0, time.Second, 3}, // of a time before
		} {
			x.e.inflight, x.e.busy = 2, time.Now()
			x.put(x.e, -1, c.err, c.took)
			if got := time.Until(x.e.busy); got != c.busy || x.e.latency != c.latest || x.e.state != up ||
				x.e.inflight != 1 {
				t.Errorf("%v: %v, busy for %v, latency %v, state %d; want %v", c.err, c.took, got,
					x.e.latency, x.e.state, c)
			}
		}
		x.e.busy = time.Now().Add(time.Second)
		if busy, _ := x.Condition(); !busy || x.Probe(t.Context()) == nil {
			t.Error("its pause is over before it ends")
		}
		time.Sleep(time.Second)
		if busy, _ := x.Condition(); busy {
			t.Error("its pause does not end")
		}
		x.cancel()
	})
}

// TestPick: a batch goes to the endpoint with the lower cost, to another one than the last if there is one,
// and waits while that has as many requests as it may have.
func TestPick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTimed(t, refusal(500))
		slow, _ := newEndpoint("http://127.0.0.1:1", 1)
		x.e.latency, slow.latency = 1, 10
		x.endpoints = append(x.endpoints, slow)
		name := map[*endpoint]string{x.e: "quick", slow: "slow", nil: "none"}
		picked := func(last *endpoint) string {
			e, _, err := x.pick(last, time.Now().Add(time.Minute))
			if err != nil {
				return err.Error()
			}
			return name[e]
		}
		for _, c := range []struct {
			last       *endpoint
			quick, use int // requests of the quick one, before
			want       string
		}{{nil, 0, 1, "quick"}, {x.e, 0, 0, "slow"}, {slow, 1, 2, "quick"}} {
			x.e.inflight, x.e.used, slow.used = c.quick, time.Now(), time.Now()
			if got := picked(c.last); got != c.want || x.e.inflight != c.use {
				t.Errorf("after %s: %s with %d requests, want %s with %d", name[c.last], got, x.e.inflight,
					c.want, c.use)
			}
		}
		x.endpoints = x.endpoints[:1]
		x.e.inflight = 0
		if got := picked(x.e); got != "quick" {
			t.Errorf("the only one, again: %s", got)
		}
		x.e.inflight = 2 // as many as there may be
		begin := time.Now()
		go func() {
			time.Sleep(3 * time.Second)
			x.put(x.e, 0, nil, time.Second)
		}()
		if got := picked(nil); got != "quick" || time.Since(begin) != 3*time.Second || x.e.inflight != 2 {
			t.Errorf("%s after %v, %d requests", got, time.Since(begin), x.e.inflight)
		}
		// Of two with a pause the one whose ends first; beyond the batch's patience there is none.
		x.endpoints = append(x.endpoints, slow)
		x.e.inflight, slow.inflight = 0, 0
		x.e.busy, slow.busy = time.Now().Add(20*time.Second), time.Now().Add(10*time.Second)
		begin = time.Now()
		if got := picked(nil); got != "slow" || time.Since(begin) != 10*time.Second {
			t.Errorf("%s after %v", got, time.Since(begin))
		}
		x.e.busy, slow.busy = time.Now().Add(2*time.Minute), time.Now().Add(3*time.Minute)
		want := fmt.Sprintf("%v: sidecar %s: busy for another 2m0s\nsidecar %s: busy for another 3m0s",
			detect.ErrUnavailable, x.e.name, slow.name)
		if got := picked(nil); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		x.cancel()
	})
}
