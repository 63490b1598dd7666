package sidecar

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"facescan/detect"
	"facescan/detect/detecttest/sample"
)

// TestDefaults: what is not set has the value that the options' comments give.
func TestDefaults(t *testing.T) {
	st := newStand(t, ServerOptions{Open: opens(blind{})}).start()
	so := st.s.o
	so.Open, so.Detector, so.Log = nil, "", nil
	if so.Decode != nil || so.Model != "face" || so.Token != "" || so.Workers != runtime.GOMAXPROCS(0) ||
		so.Batch != 1 || so.Queue != 1024 || so.Conns != 256 || so.MaxBody != 128<<20 ||
		so.MaxBodies != 512<<20 || so.MaxPixels != 100_000_000 {
		t.Errorf("a server: %+v", so)
	}
	co := client(t, Options{URLs: []string{st.URL}}).o
	if co.Input != Luma || co.Batch != 64 || co.Delay != 0 || co.InFlight != 2 ||
		co.Deadline != 30*time.Second || co.Memory != 256<<20 {
		t.Errorf("a client: %+v", co)
	}
	log := slog.New(slog.DiscardHandler)
	if c := client(t, Options{URLs: []string{st.URL}, Log: log}); c.o.Log != log {
		t.Error("the client's log is another")
	}
}

// TestNoServer: a server whose detector is unknown, or does not open, does not start.
func TestNoServer(t *testing.T) {
	if _, err := NewServer(ServerOptions{Detector: "hog", Open: opens(blind{})}); err == nil ||
		err.Error() != `"hog" is not a detector` {
		t.Error(err)
	}
	stuck := errors.New("no such GPU")
	if _, err := NewServer(ServerOptions{Detector: detect.Yunet,
		Open: func(detect.Params) (detect.Detector, error) { return nil, stuck }}); !errors.Is(err, stuck) {
		t.Error(err)
	}
	s := newServer(t, ServerOptions{Open: func(p detect.Params) (detect.Detector, error) {
		if p.MinFace != 20 {
			return nil, stuck
		}
		return blind{}, nil
	}})
	kind, _ := detect.KindNamed(detect.Pigo)
	if got := s.Detector(); got != kind.Print {
		t.Errorf("it calls itself %s, want %s", got, kind.Print)
	}
	for minFace, want := range map[int]int{21: 500, 20: 200} {
		w := send(s, ask{parameters: parameters{"min_face": minFace}}.request(t))
		if w.Code != want || (w.Code == 500) != strings.Contains(w.Body.String(), stuck.Error()) {
			t.Errorf("from %d pixels: %d %s, want %d", minFace, w.Code, w.Body, want)
		}
	}
}

// TestAtTheLimit: a request of just as many bytes and pixels as are allowed is answered, one of more is not.
func TestAtTheLimit(t *testing.T) {
	pgm := appendPGM(nil, blank(100, 100))
	a := ask{images: [][]byte{pgm}}
	length := a.request(t).ContentLength
	for _, c := range []struct {
		bytes, pixels int64
		want          int
		says          string
	}{
		{length, 10_000, 200, ""},
		{length - 1, 10_000, 413, "a request may have " + strconv.FormatInt(length-1, 10) + " bytes"},
		{length, 9999, 413, "image 0 has 100x100 pixels, and 9999 are allowed"},
	} {
		s := newServer(t, ServerOptions{Open: opens(blind{}), MaxBody: c.bytes, MaxPixels: c.pixels})
		w := send(s, a.request(t))
		if w.Code != c.want || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%d bytes, %d pixels: %d %s, want %d %s", c.bytes, c.pixels, w.Code, w.Body, c.want,
				c.says)
		}
	}
	s := newServer(t, ServerOptions{Open: opens(blind{}), Queue: 1})
	if w := send(s, ask{images: [][]byte{pgm, pgm, pgm}}.request(t)); w.Code != 200 {
		t.Errorf("more images than may wait, with none before them: %d %s", w.Code, w.Body)
	}
	a.change = func(r *http.Request) { r.Header.Set("Content-Encoding", "identity") }
	if w := send(s, a.request(t)); w.Code != 200 {
		t.Errorf("the encoding identity: %d %s", w.Code, w.Body)
	}
	a.change = func(r *http.Request) { r.ContentLength-- }
	if w := send(s, a.request(t)); w.Code != 400 || !strings.Contains(w.Body.String(),
		"it does not end after "+strconv.FormatInt(length-1, 10)+" bytes") {
		t.Errorf("a body longer than announced: %d %s", w.Code, w.Body)
	}
}

// TestBytesThatWait: a body has memory for what has arrived, and as much again, and one for which no memory
// is left is refused for now.
func TestBytesThatWait(t *testing.T) {
	const large = 4 << 20
	s := newServer(t, ServerOptions{Open: opens(blind{}), MaxBody: large, MaxBodies: large + 1})
	free := func(want int64) {
		t.Helper()
		if !s.bodies.TryAcquire(want) {
			t.Fatalf("less than %d bytes are free", want)
		}
		if s.bodies.TryAcquire(1) {
			t.Errorf("more than %d bytes are free", want)
		}
		s.bodies.Release(want)
	}
	in, out := io.Pipe()
	r := httptest.NewRequest("POST", "/v2/models/face/infer", in)
	r.ContentLength = large
	var slow sync.WaitGroup
	slow.Go(func() {
		if w := send(s, r); w.Code != 400 || !strings.Contains(w.Body.String(),
			"the body did not come: unexpected EOF") {
			t.Errorf("half a body: %d %s", w.Code, w.Body)
		}
	})
	write := func(n int) {
		t.Helper()
		if _, err := out.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	free(large + 1 - readFirst)
	write(readFirst - 1)
	write(1) // which has new memory: as much again
	free(large + 1 - 2*readFirst)
	w := send(s, ask{images: [][]byte{make([]byte, large-1000)}}.request(t))
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" ||
		!strings.Contains(w.Body.String(), "busy: too many bytes wait") {
		t.Errorf("without room: %d %s", w.Code, w.Body)
	}
	free(large + 1 - 2*readFirst)
	write(readFirst)
	free(large + 1 - 4*readFirst)
	out.Close()
	slow.Wait()
	free(large + 1)
	if w := send(s, ask{}.request(t)); w.Code != 200 {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
}

// TestForms: each output comes in the form that is requested for it, and the headers say what the body is.
func TestForms(t *testing.T) {
	s := newServer(t, ServerOptions{})
	form := func(asBinary bool) parameters { return parameters{"binary_data": asBinary} }
	for _, c := range []struct {
		p       parameters
		outputs []tensor
		binary  string // the outputs that are binary
	}{
		{nil, nil, ""}, {parameters{"binary_data_output": true}, nil, "faces counts"},
		{parameters{"binary_data_output": false}, nil, ""},
		{parameters{"binary_data_output": true}, []tensor{{Name: facesName, Parameters: form(false)},
			{Name: countsName}}, "counts"},
		{nil, []tensor{{Name: countsName}, {Name: facesName, Parameters: form(true)}}, "faces"},
	} {
		w := send(s, ask{images: [][]byte{appendPGM(nil, sample.Photo(t, 160))}, parameters: c.p,
			outputs: c.outputs}.request(t))
		m := answerOf(t, w)
		var binary []string
		for _, x := range m.Outputs {
			if x.binary != nil {
				binary = append(binary, x.Name)
			}
		}
		kind := "application/json"
		if c.binary != "" {
			kind = "application/octet-stream"
		}
		length := strconv.Itoa(w.Body.Len())
		if got := strings.Join(binary, " "); got != c.binary || w.Header().Get("Content-Type") != kind ||
			w.Header().Get("Content-Length") != length || (w.Header().Get(lengthHeader) == "") !=
			(c.binary == "") {
			t.Errorf("%v, %v: %s is binary, and the header %v", c.p, c.outputs, got, w.Header())
		}
		if m.Parameters[minScoreKey] != nil || m.Parameters[detectorKey] != s.kind.Print {
			t.Errorf("parameters %v", m.Parameters)
		}
	}
}

// TestServeEnds: Serve returns the error of its listener, and drains no longer when that is cut short.
func TestServeEnds(t *testing.T) {
	g := newGate()
	s := newServer(t, ServerOptions{Workers: 1, Open: opens(g)})
	l, err := Listen("127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	if err := s.Serve(t.Context(), nil, l, time.Minute); err == nil || errors.Is(err,
		http.ErrServerClosed) {
		t.Errorf("a listener that is closed: %v", err)
	}
	l, err = Listen("127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	cut, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Serve(ctx, cut, l, time.Hour) }()
	r := ask{images: [][]byte{appendPGM(nil, blank(20, 20))}}.request(t)
	r.URL.Scheme, r.URL.Host, r.RequestURI = "http", l.Addr().String(), ""
	answered := make(chan error, 1)
	go func() {
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err == nil {
			res.Body.Close()
		}
		answered <- err
	}()
	<-g.calls
	stop()
	close(cut)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "the rest is cut off") {
		t.Errorf("cut short: %v", err)
	}
	if err := <-answered; err == nil {
		t.Error("a request that is cut off was answered")
	}
	close(g.open)
}

// TestBuckets: the histograms reach from one image to 512, and from 0.1 ms to 26 s.
func TestBuckets(t *testing.T) {
	s := newServer(t, ServerOptions{})
	w := send(s, ask{images: [][]byte{appendPGM(nil, sample.Photo(t, 160))}}.request(t))
	counts, err := answerOf(t, w).Outputs[1].numbers()
	must(t, err)
	var text bytes.Buffer
	text.ReadFrom(send(s, httptest.NewRequest("GET", "/metrics", nil)).Body)
	has := func(line string, want bool) {
		t.Helper()
		if strings.Contains(text.String(), "facescan_sidecar_"+line) != want {
			t.Errorf("%s: %v, want %v", line, !want, want)
		}
	}
	for _, le := range []string{"1", "2", "256", "512"} {
		has(`batch_images_bucket{le="`+le+`"} 1`, true)
	}
	has(`batch_images_bucket{le="1024"}`, false)
	has("batch_images_sum 1\n", true)
	has(`detect_seconds_bucket{le="0.0001"}`, true)
	has(`detect_seconds_bucket{le="0.0004"}`, true)
	has(`detect_seconds_bucket{le="26.2144"}`, true)
	has(`detect_seconds_bucket{le="104`, false)
	has("faces_total "+strconv.Itoa(int(counts[0]))+"\n", true)
}
