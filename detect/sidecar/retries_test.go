package sidecar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"facescan/detect"
)

// marked is an image that servers of these tests know by its size.
func marked() detect.Image { return detect.Image{Luma: blank(77, 77), Scale: 1} }

// onMarked answers requests with a marked image by a function, and counts them.
func onMarked(seen *atomic.Int64, answer http.HandlerFunc) func(http.Handler) http.Handler {
	return intercept("/infer", func(w http.ResponseWriter, r *http.Request) bool {
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if err != nil || !bytes.Contains(body, []byte("P5\n77 77\n")) {
			return false
		}
		seen.Add(1)
		answer(w, r)
		return true
	})
}

// TestTries: what fails for now is sent twice, then in halves, and an image that fails alone three times is
// given up. What is refused for good is sent twice, all together.
func TestTries(t *testing.T) {
	const large = "sidecar %s answers 413: no; an image of 5946 bytes is more than it takes: raise its limits"
	for _, c := range []struct {
		status, images int
		want           int64  // requests
		says           string // of an image; else of the batch
	}{
		{500, 1, 3, "image: the sidecar fails on it: sidecar %s answers 500: no"},
		{500, 7, 9, "image: the sidecar fails on it: sidecar %s answers 500: no"}, // 7, 4, 2, and 1
		{422, 1, 2, "sidecar %s answers 422: no"}, {422, 7, 2, "sidecar %s answers 422: no"},
		{413, 1, 2, large}, {413, 7, 5, large},
	} {
		var seen, checks atomic.Int64
		var log messages
		st := newStand(t, ServerOptions{Open: opens(blind{})})
		answers := onMarked(&seen, func(w http.ResponseWriter, _ *http.Request) { refuse(w, c.status, "no") })
		counts := intercept("/ready", func(http.ResponseWriter, *http.Request) bool {
			checks.Add(1)
			return false
		})
		st.wrap = func(h http.Handler) http.Handler { return counts(answers(h)) }
		st.start()
		x := client(t, Options{URLs: []string{st.URL}, Batch: 8, Delay: time.Minute, Log: log.logger()})
		if c.images == 1 {
			x = client(t, Options{URLs: []string{st.URL}, Batch: 2, Log: log.logger()})
		}
		images := []detect.Image{marked()}
		for len(images) < c.images {
			images = slices.Insert(images, 0, detect.Image{Luma: blank(30, 30), Scale: 1})
		}
		checks.Store(0)
		a, err := x.Detect(t.Context(), images)
		got := ""
		if err != nil {
			got = err.Error()
		} else if a[c.images-1].Err != nil {
			got = "image: " + a[c.images-1].Err.Error()
		}
		if want := fmt.Sprintf(c.says, st.URL); got != want || seen.Load() != c.want {
			t.Errorf("%d for %d images: %s after %d requests, want %s after %d", c.status, c.images, got,
				seen.Load(), want, c.want)
		}
		logged := log.take()
		if strings.Contains(logged, "a sidecar fails on this image") != (c.status == 500) {
			t.Errorf("%d: log %q", c.status, logged)
		}
		if c.status == 413 && (checks.Load() != 0 || logged != "") {
			t.Errorf("%d checks of a server that did nothing wrong, log %q", checks.Load(), logged)
		}
	}
}

// TestTooLargeTogether: an image that fits a request alone is sent without the known one, which follows.
func TestTooLargeTogether(t *testing.T) {
	var small atomic.Int64
	st := newStand(t, ServerOptions{})
	st.start()
	img := photos(t, 100)
	want, err := client(t, Options{URLs: []string{st.URL}, Batch: 2}).Detect(t.Context(), img)
	must(t, err)
	st.stop()
	st.o.MaxBody = int64(len(appendPGM(nil, img[0].Luma))) + 2000
	st.wrap = intercept("/infer", func(_ http.ResponseWriter, r *http.Request) bool {
		if r.ContentLength < 8000 {
			small.Add(1)
		}
		return false
	})
	st.start()
	c := client(t, Options{URLs: []string{st.URL}, Batch: 2})
	small.Store(0)
	got, err := c.Detect(t.Context(), img)
	if err != nil || len(got[0].Faces) == 0 || summary(got[0]) != summary(want[0]) || small.Load() < 1 {
		t.Errorf("%+v %v after %d small requests, want %+v", got, err, small.Load(), want)
	}
}

// TestAnswersOfAServer: what is not an answer of the server itself is not taken for one.
func TestAnswersOfAServer(t *testing.T) {
	elsewhere := 0
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/new", http.StatusFound)
		case "/new":
			elsewhere++
		case "/cut":
			w.Header().Set("Content-Length", "9")
			io.WriteString(w, "four")
		case "/token":
			io.WriteString(w, r.Header.Get("Authorization"))
		default:
			io.WriteString(w, "four")
		}
	}))
	defer h.Close()
	for _, c := range []struct {
		path, user string
		limit      int64
		want       string
	}{
		{"/x", "", 4, "four"}, {"/x", "", 5, "four"},
		{"/x", "", 3, "sidecar %s gives an answer that cannot be right: it is larger than 3 bytes"},
		{"/cut", "", 99, "sidecar %s: unexpected EOF"}, {"/moved", "", 99, "sidecar %s answers 302"},
		{"/token", "", 99, ""}, {"/token", ":secret@", 99, "Bearer secret"}, {"/token", "x:@", 99, ""},
		{"/token", "secret@", 99, "Bearer secret"},
	} {
		e, err := newEndpoint(strings.Replace(h.URL, "http://", "http://"+c.user, 1), 1)
		must(t, err)
		r, err := http.NewRequestWithContext(t.Context(), "GET", h.URL+c.path, nil)
		must(t, err)
		body, _, err := e.do(r, c.limit)
		got, want := string(body), strings.Replace(c.want, "%s", h.URL, 1)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, want) || want == "" && got != "" || err != nil && body != nil {
			t.Errorf("%s: %q, want %q", c.path, got, want)
		}
		e.http.CloseIdleConnections()
	}
	if elsewhere > 0 {
		t.Error("a redirect was followed")
	}
}

// crowd is a detector that finds so many faces in every image.
type crowd struct {
	blind
	faces int
}

func (c crowd) Detect(_ context.Context, batch []detect.Image) ([]detect.Answer, error) {
	answers := make([]detect.Answer, len(batch))
	for i := range answers {
		answers[i].Faces = slices.Repeat([]detect.Face{{X: 3, Y: 4, Width: 20, Height: 16, Score: 0.875,
			HasLandmarks: true, Landmarks: detect.Landmarks{{X: 5, Y: 6}, {X: 7, Y: 6}, {X: 6, Y: 8},
				{X: 5, Y: 9}, {X: 7, Y: 9}}}}, c.faces)
	}
	return answers, nil
}

// TestManyFaces: images have 4,096 faces each at most, in the mean over a request, with their landmarks.
func TestManyFaces(t *testing.T) {
	for _, c := range []struct {
		faces int
		says  string
	}{{maxFaces, ""}, {maxFaces + 1, "4097 faces in 1 images"}} {
		st := newStand(t, ServerOptions{Detector: detect.Yunet, Open: opens(crowd{faces: c.faces})}).start()
		x, err := tryClient(t, Options{URLs: []string{st.URL}, Batch: 2,
			Params: detect.Defaults(detect.Yunet)})
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%d faces: %v, want %q", c.faces, err, c.says)
		}
		if err != nil {
			continue
		}
		a, err := x.Detect(t.Context(), photos(t, 60))
		if err != nil || len(a[0].Faces) != c.faces || a[0].Faces[9].Landmarks[4] !=
			(detect.Point{X: 7, Y: 9}) {
			t.Errorf("%d faces: %s, %v", c.faces, summary(a[0]), err)
		}
	}
}

// TestFullBatch: a batch is sent when it has 32 MiB, however long it might wait for more.
func TestFullBatch(t *testing.T) {
	var scale atomic.Value
	st := newStand(t, ServerOptions{Open: opens(blind{}),
		Decode: func([]byte, detect.Params) (Picture, error) {
			return Picture{Luma: blank(1, 1), Scale: 1}, nil
		}})
	st.wrap = intercept("/infer", func(_ http.ResponseWriter, r *http.Request) bool {
		if r.ContentLength < maxBatchBytes/2 {
			return false
		}
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if m, err2 := parseMessage(r.Header.Get(lengthHeader), body, len(body)); err == nil && err2 == nil {
			scale.Store(m.Parameters[scaleKey])
		}
		return false
	})
	st.start()
	c := client(t, Options{URLs: []string{st.URL}, Batch: 9, Delay: time.Minute, Input: Encoded})
	img := detect.Image{Luma: blank(1, 1), Scale: 1.6, Width: 1, Height: 1}
	var waits []func() (detect.Answer, error)
	for _, size := range []int{16<<20 - 4, 8<<20 - 4, 8<<20 - 5, 1} {
		c.mu.Lock()
		n := 0
		for _, b := range c.open {
			n = len(b.items)
		}
		c.mu.Unlock()
		if n != len(waits) {
			t.Fatalf("%d of %d images wait", n, len(waits))
		}
		img.Encoded = make([]byte, size)
		wait, err := c.Ask(t.Context(), img)
		must(t, err)
		waits = append(waits, wait)
	}
	for _, wait := range waits {
		if a, err := wait(); err != nil || a.Err != nil {
			t.Errorf("%+v %v", a, err)
		}
	}
	if got := scale.Load(); got != 1. {
		t.Errorf("files are sent with a scale of %v", got)
	}
	img.Encoded = nil
	if _, err := c.Ask(t.Context(), img); err == nil ||
		err.Error() != "the sidecar is to be sent the file as downloaded, and there is none" {
		t.Errorf("without a file: %v", err)
	}
}

// TestMemoryOfImages: an image underway counts with what is sent of it, and what is kept for the fallback.
func TestMemoryOfImages(t *testing.T) {
	st := newStand(t, ServerOptions{Open: opens(blind{}), Decode: decodePGMComment}).start()
	const memory, little = 100_000, 100 // for what an image takes besides
	for _, c := range []struct {
		input    Input
		fallback detect.Detector
		want     int64
	}{{Luma, nil, 5000}, {Luma, blind{}, 5000}, {Encoded, nil, 700}, {Encoded, blind{}, 5700}} {
		x := client(t, Options{URLs: []string{st.URL}, Delay: time.Minute, Memory: memory, Input: c.input,
			Fallback: c.fallback})
		_, err := x.Ask(t.Context(), detect.Image{Luma: blank(100, 50), Scale: 1, Encoded: make([]byte, 700)})
		must(t, err)
		if !x.room.TryAcquire(memory-c.want-little) || x.room.TryAcquire(little+1) {
			t.Errorf("%s, fallback %v: not %d bytes", c.input, c.fallback != nil, c.want)
		}
	}
	x := client(t, Options{URLs: []string{st.URL}, Memory: 10})
	if err := ask1(t, x); err != nil {
		t.Errorf("an image larger than the memory: %v", err)
	}
}

// TestFallbackFails: the error of the fallback is the image's.
func TestFallbackFails(t *testing.T) {
	broken := errors.New("no memory")
	var log messages
	st := newStand(t, ServerOptions{Open: opens(blind{})})
	fallback := oneCall{call: func() ([]detect.Answer, error) { return nil, broken }}
	c := client(t, Options{URLs: []string{st.URL}, Batch: 3, Fallback: fallback, Log: log.logger()})
	if err := ask1(t, c); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
	const here = "no sidecar answers: faces are found here meanwhile"
	if got := log.take(); strings.Count(got, here) != 1 || strings.Contains(got, "the others are used") {
		t.Errorf("log %s", got)
	}
}

// TestStart: what New makes of a context that is over, and of servers of which some are wrong or silent.
func TestStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	st := newStand(t, ServerOptions{Open: opens(blind{})}).start()
	silent := "unix://" + filepath.Join(t.TempDir(), "none")
	o := Options{URLs: []string{st.URL}, Params: detect.Defaults(detect.Pigo)}
	if _, err := New(ctx, o); !errors.Is(err, context.Canceled) || errors.Is(err, ErrNoAnswer) {
		t.Errorf("interrupted: %v", err)
	}
	wrong := newStand(t, ServerOptions{Detector: detect.Yunet, Open: opens(blind{})}).start()
	o.URLs = []string{silent, st.URL, wrong.URL}
	closed := closing{closed: new(bool)}
	o.Fallback = closed
	var m *ModelError
	if _, err := New(t.Context(), o); !errors.As(err, &m) || m.URL != wrong.URL || *closed.closed {
		t.Errorf("one of three is wrong: %v, and the fallback is closed: %v", err, *closed.closed)
	}
	var log messages
	o.URLs, o.Log = []string{silent, st.URL}, log.logger()
	c, err := New(t.Context(), o)
	must(t, err)
	if got := log.take(); strings.Count(got, "a sidecar does not answer: the others are used") != 1 ||
		strings.Contains(got, "meanwhile") {
		t.Errorf("one of two is silent: log %s", got)
	}
	if err := c.Close(); err != nil || !*closed.closed {
		t.Errorf("%v, and the fallback is closed: %v", err, *closed.closed)
	}
}

// closing is a detector that notes when it is closed.
type closing struct {
	blind
	closed *bool
}

func (c closing) Close() error { *c.closed = true; return nil }
