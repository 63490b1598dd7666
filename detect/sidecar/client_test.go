package sidecar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"facescan/detect"
	"facescan/detect/detecttest/sample"
)

// TestUnlisted: a server without parameters serves those who want the defaults, and its boxes are all faces.
func TestUnlisted(t *testing.T) {
	st := newStand(t, ServerOptions{})
	st.wrap = intercept("/face", func(w http.ResponseWriter, _ *http.Request) bool {
		reply(w, 200, map[string]any{"name": "face", "versions": []string{"7"},
			"inputs": expected(false).Inputs, "outputs": expected(false).Outputs})
		return true
	})
	st.start()
	others := detect.Defaults("")
	c, err := tryClient(t, Options{URLs: []string{st.URL}, Params: others})
	if err == nil || !strings.Contains(err.Error(), "comes from the detector") {
		t.Fatalf("an answer of a detector other than the metadata's: %v %v", c, err)
	}
	wrapped := st.wrap
	tm := &tamper{change: lie(func(m *message) { m.Parameters = nil })}
	tm.left.Store(math.MaxInt32)
	st.stop()
	st.wrap = func(h http.Handler) http.Handler { return tm.wrap(wrapped(h)) }
	st.start()
	c = client(t, Options{URLs: []string{st.URL}, Params: others})
	if got := c.Fingerprint(); got != "sidecar:face/7" {
		t.Errorf("fingerprint %q", got)
	}
	a, err := c.Detect(t.Context(), photos(t, 320))
	if err != nil || len(a[0].Faces) == 0 || len(a[0].Candidates) > 0 {
		t.Errorf("%+v %v", a, err)
	}
}

// TestGone: without a server there is no answer, and with one there is again.
func TestGone(t *testing.T) {
	st := newStand(t, ServerOptions{}).start()
	c := client(t, Options{URLs: []string{st.URL}, Batch: 4})
	img := photos(t, 160)
	want, err := c.Detect(t.Context(), img)
	must(t, err)
	if err := c.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	for range 3 {
		st.stop()
		if a, err := c.Detect(t.Context(), img); !errors.Is(err, detect.ErrUnavailable) || a != nil ||
			!strings.Contains(err.Error(), st.URL) {
			t.Errorf("without a server: %+v, %v", a, err)
		}
		if err := c.Probe(t.Context()); !errors.Is(err, detect.ErrUnavailable) {
			t.Errorf("probed without a server: %v", err)
		}
		st.start()
		eventually(t, "the probe succeeds", func() bool { return c.Probe(t.Context()) == nil })
		if got, err := c.Detect(t.Context(), img); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("again: %+v %v", got, err)
		}
	}
}

// TestReplaced: what comes back must be what went away.
func TestReplaced(t *testing.T) {
	st := newStand(t, ServerOptions{}).start()
	c := client(t, Options{URLs: []string{st.URL}, Batch: 4})
	img := photos(t, 160)
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"another name": intercept("/face", func(w http.ResponseWriter, _ *http.Request) bool {
			reply(w, 200, map[string]any{"inputs": expected(false).Inputs,
				"outputs": expected(false).Outputs, "parameters": list(detect.Kind{Print: "another/1"})})
			return true
		}),
		"the same name": func(next http.Handler) http.Handler {
			tm := &tamper{change: lie(func(m *message) {
				if m.Outputs[0].Shape[0] > 0 {
					set(5, 1000)(m)
				}
			})}
			tm.left.Store(math.MaxInt32)
			return tm.wrap(next)
		},
	} {
		st.stop()
		st.wrap = wrap
		st.start()
		var m *ModelError
		eventually(t, name+" is refused", func() bool {
			_, err := c.Detect(t.Context(), img)
			return errors.As(err, &m) && !errors.Is(err, detect.ErrUnavailable)
		})
		st.stop()
		st.wrap = nil
		st.start()
		eventually(t, "the right one is taken back", func() bool { return c.Probe(t.Context()) == nil })
	}
}

// TestKilledHungAndLying is a run's worth of images from many callers, during which the server is killed ten
// times, hangs once and lies once. Every answer is the right one.
func TestKilledHungAndLying(t *testing.T) {
	var hanging atomic.Bool
	hung := make(chan struct{})
	tm := &tamper{change: lie(func(m *message) { m.Outputs[0].Datatype = "FP16" })}
	st := newStand(t, ServerOptions{})
	st.wrap = func(next http.Handler) http.Handler {
		return intercept("/infer", func(_ http.ResponseWriter, r *http.Request) bool {
			first := hanging.CompareAndSwap(true, false)
			if first {
				close(hung)
				hang(r)
			}
			return first
		})(tm.wrap(next))
	}
	st.start()
	c := client(t, Options{URLs: []string{st.URL}, Batch: 8, Delay: time.Millisecond,
		Deadline: 2 * time.Second})
	local, err := detect.New(detect.Defaults(detect.Pigo))
	must(t, err)
	defer local.Close()
	var images []detect.Image
	for width := 60; width < 220; width += 4 {
		images = append(images, photos(t, width)...)
	}
	want, err := local.Detect(t.Context(), images)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var answered, unavailable atomic.Int64
	var callers sync.WaitGroup
	for k := range 24 {
		callers.Go(func() {
			for i := k; ctx.Err() == nil; i++ {
				n := i % len(images)
				got, err := c.Detect(ctx, images[n:n+1])
				switch {
				case ctx.Err() != nil:
				case errors.Is(err, detect.ErrUnavailable):
					unavailable.Add(1)
					for ctx.Err() == nil && c.Probe(ctx) != nil {
						time.Sleep(time.Millisecond)
					}
				case err != nil:
					t.Error(err)
				case !reflect.DeepEqual(got[0], want[n]):
					t.Errorf("image %d: %+v, want %+v", n, got[0], want[n])
				default:
					answered.Add(1)
				}
			}
		})
	}
	more := func() {
		t.Helper()
		before := answered.Load()
		eventually(t, "more answers", func() bool { return answered.Load() > before+40 })
	}
	for range 10 {
		more()
		st.stop()
		eventually(t, "callers notice", func() bool { return c.Probe(ctx) != nil })
		st.start()
	}
	more()
	hanging.Store(true)
	<-hung
	more()
	tm.left.Store(1)
	eventually(t, "a lie", func() bool { return tm.left.Load() < 1 })
	more()
	cancel()
	callers.Wait()
	if unavailable.Load() == 0 {
		t.Error("no caller noticed")
	}
	t.Logf("%d answers, %d times unavailable", answered.Load(), unavailable.Load())
}

// TestBusy: 503 with Retry-After means later, and a later too late means unavailable.
func TestBusy(t *testing.T) {
	var busy, requests atomic.Int64
	after := "1"
	st := newStand(t, ServerOptions{})
	st.wrap = intercept("/infer", func(w http.ResponseWriter, _ *http.Request) bool {
		requests.Add(1)
		if busy.Add(-1) < 0 {
			return false
		}
		w.Header().Set("Retry-After", after)
		refuse(w, http.StatusServiceUnavailable, "busy")
		return true
	})
	st.start()
	c := client(t, Options{URLs: []string{st.URL}, Batch: 2})
	img := photos(t, 100)
	busy.Store(2)
	before := requests.Load()
	begin := time.Now()
	if _, err := c.Detect(t.Context(), img); err != nil {
		t.Error(err)
	}
	if n := requests.Load() - before; n != 3 || time.Since(begin) < 2*time.Second {
		t.Errorf("%d requests in %v", n, time.Since(begin))
	}
	after = "3600"
	busy.Store(1)
	if _, err := c.Detect(t.Context(), img); !errors.Is(err, detect.ErrUnavailable) ||
		!strings.Contains(err.Error(), "busy") {
		t.Errorf("busy for an hour: %v", err)
	}
	if err := c.Probe(t.Context()); !errors.Is(err, detect.ErrUnavailable) {
		t.Errorf("busy for an hour, probed: %v", err)
	}
}

// TestFallback: the fallback answers while no server does, and its answers name it.
func TestFallback(t *testing.T) {
	for _, input := range []Input{Luma, Encoded} {
		local, err := detect.New(detect.Defaults(detect.Pigo))
		must(t, err)
		st := newStand(t, ServerOptions{Decode: decodePGMComment})
		st.start()
		c := client(t, Options{URLs: []string{st.URL}, Batch: 4, Fallback: local, Input: input})
		m := sample.Photo(t, 200)
		img := []detect.Image{{Luma: m, Scale: 1, Encoded: append([]byte("not P5"), appendPGM(nil, m)...),
			Width: 200, Height: m.Rect.Dy()}}
		want, err := c.Detect(t.Context(), img)
		if err != nil || want[0].Detector != "" {
			t.Fatal(want, err)
		}
		st.stop()
		got, err := c.Detect(t.Context(), img)
		if err != nil || got[0].Detector != local.Fingerprint() {
			t.Fatalf("%+v %v", got, err)
		}
		got[0].Detector = ""
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		if err := c.Probe(t.Context()); err != nil {
			t.Error(err)
		}
		st.start()
		eventually(t, "the server answers again", func() bool {
			got, err := c.Detect(t.Context(), img)
			return err == nil && got[0].Detector == ""
		})
	}
}

// decodePGMComment reads files that tests made: some bytes, then a PGM.
func decodePGMComment(file []byte, _ detect.Params) (Picture, error) {
	if rest, ok := bytes.CutPrefix(file, []byte("not P5")); ok {
		m, err := parsePGM(rest)
		return Picture{Luma: m, Scale: 1}, err
	}
	m, _, err := image.Decode(bytes.NewReader(file))
	if err != nil {
		return Picture{}, err
	}
	g, ok := m.(*image.Gray)
	if !ok {
		return Picture{}, fmt.Errorf("%T", m)
	}
	return Picture{Luma: g, Scale: 1}, nil
}

// TestShares: of several servers, a slow one gets little and a dead one nothing, and callers see only
// answers.
func TestShares(t *testing.T) {
	var seen [3]atomic.Int64
	var slowly atomic.Bool // but not in the check at the start
	var urls []string
	var stands []*stand
	for i := range seen {
		st := newStand(t, ServerOptions{})
		st.wrap = intercept("/infer", func(_ http.ResponseWriter, r *http.Request) bool {
			if seen[i].Add(1); i == 1 && slowly.Load() {
				select {
				case <-time.After(200 * time.Millisecond):
				case <-r.Context().Done():
				}
			}
			return false
		})
		urls, stands = append(urls, st.start().URL), append(stands, st)
	}
	c := client(t, Options{URLs: urls, Batch: 64, Delay: time.Millisecond, InFlight: 1})
	eventually(t, "all servers are up", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !slices.ContainsFunc(c.endpoints, func(e *endpoint) bool { return e.state != up })
	})
	for i := range seen {
		seen[i].Store(0)
	}
	slowly.Store(true)
	img := photos(t, 60)
	for i := range 300 {
		if i == 100 {
			stands[0].stop()
		}
		if _, err := c.Detect(t.Context(), img); err != nil {
			t.Fatal(err)
		}
	}
	quick, slow := seen[0].Load()+seen[2].Load(), seen[1].Load()
	t.Logf("quick %d+%d, slow %d", seen[0].Load(), seen[2].Load(), slow)
	if slow > quick/10 || seen[2].Load() < 150 {
		t.Errorf("quick %d+%d, slow %d", seen[0].Load(), seen[2].Load(), slow)
	}
}

// TestPoison: an image that the server dies of is found and answered, the others in its batch are processed.
func TestPoison(t *testing.T) {
	poison := blank(77, 77)
	for name, die := range map[string]func(w http.ResponseWriter){
		"500":   func(w http.ResponseWriter) { refuse(w, 500, "out of memory") },
		"crash": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			st := newStand(t, ServerOptions{})
			st.wrap = intercept("", func(w http.ResponseWriter, r *http.Request) bool {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return true
				}
				if bytes.Contains(body, []byte("P5\n77 77\n")) {
					die(w)
					return true
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				return false
			})
			st.start()
			c := client(t, Options{URLs: []string{st.URL}, Batch: 8, Delay: time.Second})
			images := photos(t, 100, 101, 102, 103, 104, 105, 106, 107)
			want, err := c.Detect(t.Context(), images)
			must(t, err)
			images[3].Luma = poison
			got, err := c.Detect(t.Context(), images)
			must(t, err)
			if got[3].Err == nil || !strings.Contains(got[3].Err.Error(), "the sidecar fails on it") {
				t.Errorf("the poison: %+v", got[3])
			}
			got[3] = want[3]
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the rest: %+v, want %+v", got, want)
			}
		})
	}
}

// TestTooLarge: what is more than the server takes is halved; one image too large is an error with the way
// out.
func TestTooLarge(t *testing.T) {
	st := newStand(t, ServerOptions{MaxBody: 30_000}).start()
	c := client(t, Options{URLs: []string{st.URL}, Batch: 4, Delay: time.Second})
	images := photos(t, 100, 101, 102, 103)
	got, err := c.Detect(t.Context(), images)
	if err != nil || len(got[0].Faces) == 0 {
		t.Errorf("%+v %v", got, err)
	}
	c2 := client(t, Options{URLs: []string{st.URL}, Batch: 1})
	if _, err := c2.Detect(t.Context(), photos(t, 300)); err == nil ||
		errors.Is(err, detect.ErrUnavailable) || !strings.Contains(err.Error(), "raise its limits") {
		t.Errorf("one too large: %v", err)
	}
}

// TestBounds: Ask waits while too many bytes are in progress, and batches stay within their bound.
func TestBounds(t *testing.T) {
	var most atomic.Int64
	release := make(chan struct{})
	var block atomic.Bool
	st := newStand(t, ServerOptions{})
	st.wrap = intercept("/infer", func(_ http.ResponseWriter, r *http.Request) bool {
		if block.Load() {
			most.Store(max(most.Load(), r.ContentLength))
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		return false
	})
	st.start()
	img := detect.Image{Luma: blank(100, 100), Scale: 1}
	c := client(t, Options{URLs: []string{st.URL}, Batch: 3, Memory: 105_000})
	block.Store(true)
	var waits []func() (detect.Answer, error)
	for range 10 {
		wait, err := c.Ask(t.Context(), img)
		must(t, err)
		waits = append(waits, wait)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Ask(ctx, img); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the eleventh image: %v", err)
	}
	close(release)
	for _, wait := range waits {
		if _, err := wait(); err != nil {
			t.Error(err)
		}
	}
	if n := most.Load(); n > 3*10_100+1000 {
		t.Errorf("a request of %d bytes", n)
	}
}

// TestClose ends callers.
func TestClose(t *testing.T) {
	var block atomic.Bool
	blocked := make(chan struct{}, 10)
	st := newStand(t, ServerOptions{})
	st.wrap = intercept("", func(_ http.ResponseWriter, r *http.Request) bool {
		if block.Load() {
			blocked <- struct{}{}
			hang(r)
			return true
		}
		return false
	})
	st.start()
	c, err := New(t.Context(), Options{URLs: []string{st.URL}, Batch: 2, Delay: time.Minute,
		Params: detect.Defaults(detect.Pigo)})
	must(t, err)
	block.Store(true)
	img := detect.Image{Luma: blank(100, 100), Scale: 1}
	var waits []func() (detect.Answer, error)
	for range 3 { // two go, one waits for more
		wait, err := c.Ask(t.Context(), img)
		must(t, err)
		waits = append(waits, wait)
	}
	<-blocked
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for i, wait := range waits {
		if _, err := wait(); !errors.Is(err, errClosed) {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	if _, err := c.Ask(t.Context(), img); !errors.Is(err, errClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}
