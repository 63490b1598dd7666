package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"facescan/detect"
	"facescan/pipeline/decode"
	"facescan/store"
)

// TestSingle processes files and URLs as a run does, and tells what is not the image's fault.
func TestSingle(t *testing.T) {
	b := newBench(t, two)
	s := &Single{Fetcher: b.opts.Fetcher, Detector: answering(oneFace),
		Decode: decode.Options{MaxPixels: 1e6}, Retries: 1,
		MaxBytes: 1 << 20, Log: slog.New(slog.DiscardHandler)}
	file := func(name string, body []byte) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		name     string
		isURL    bool
		reason   store.Reason
		attempts int
	}{
		{file("a.png", two["a.png"]), false, "", 1},
		{file("a.html", []byte("<html>")), false, store.NotImage, 1},
		{file("big.png", make([]byte, 1<<20+1)), false, store.TooLarge, 0},
		{b.server.URL + "/f/b.png", true, "", 1},
		{b.server.URL + "/status/404/x", true, store.HTTP4xx, 1},
		{b.server.URL + "/status/503/x", true, store.HTTP5xx, 2},
		{"ftp://a.invalid/", true, store.BadURL, 1},
	} {
		res, body, err := s.Look(t.Context(), c.name, c.isURL)
		if err != nil || res.Reason != c.reason || (res.Status == store.OK) != (c.reason == "") ||
			res.Attempts != c.attempts {
			t.Errorf("%s: %+v, %v", c.name, res, err)
		}
		if c.reason == "" && (len(res.Faces) != 1 || !bytes.HasPrefix(body, []byte("\x89PNG"))) {
			t.Errorf("%s: %d faces, %d bytes", c.name, len(res.Faces), len(body))
		}
	}
	for _, name := range []string{filepath.Join(t.TempDir(), "none.png"), t.TempDir()} {
		if _, _, err := s.Look(t.Context(), name, false); !errors.Is(err, ErrUnreadable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Look(ended, b.server.URL+"/status/503/x", true); err == nil {
		t.Error("stopped: no error")
	}
	broken := errors.New("the model is gone")
	s.Detector = answering(func(detect.Image) (detect.Answer, error) { return detect.Answer{}, broken })
	if _, _, err := s.Look(t.Context(), file("a.png", two["a.png"]), false); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// TestTrial processes the rows that it is given, in a job of their own.
func TestTrial(t *testing.T) {
	b := newBench(t, two)
	b.opts.Sources = nil
	rows := []store.NewRow{{ID: 1, URL: b.server.URL + "/f/a.png"},
		{ID: 2, URL: b.server.URL + "/status/404/x"}}
	stats := &Stats{}
	if end, err := Trial(t.Context(), b.job, rows, b.opts, stats); err != nil || end != Finished {
		t.Fatal(end, err)
	}
	if out := b.outcomes(); fmt.Sprint(out) != "[ok failed http_4xx]" {
		t.Errorf("%q", out)
	}
	b.job.Close()
	if _, err := Trial(t.Context(), b.job, rows, b.opts, stats); err == nil {
		t.Error("a job that is closed: no error")
	}
}

// publishing is a Publisher that fails when it is told to.
type publishing struct {
	gives []error
	n     int
}

func (p *publishing) Publish(context.Context) error {
	p.n++
	return p.gives[min(p.n, len(p.gives))-1]
}

// TestPublish at every interval: a failure is one message, and so is its end. The last publication is tried
// again, and its failure is the run's.
func TestPublish(t *testing.T) {
	b := newBench(t, two)
	synctest.Test(t, func(t *testing.T) {
		full := fmt.Errorf("write: %w", store.ErrFull)
		var said bytes.Buffer
		p := &publishing{gives: []error{nil, full, full, nil, nil}}
		o := Options{Publisher: p, PublishEvery: time.Minute,
			Log: slog.New(slog.NewTextHandler(io.Writer(&said), nil))}
		over, finish := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			o.publish(over)
		}()
		time.Sleep(5*time.Minute + time.Second)
		finish()
		<-ended
		if p.n != 5 || bytes.Count(said.Bytes(), []byte("cannot publish")) != 2 ||
			bytes.Count(said.Bytes(), []byte("published again")) != 1 {
			t.Errorf("%d publications; %s", p.n, said.String())
		}
		for _, c := range []struct {
			gives []error
			tries int
			fails bool
		}{{[]error{nil}, 1, false}, {[]error{full, full, nil}, 3, false}, {[]error{full}, lastTries, true}} {
			p := &publishing{gives: c.gives}
			o := Options{Publisher: p}
			if err := o.publishLast(t.Context(), b.job); errors.Is(err, store.ErrFull) != c.fails ||
				p.n != c.tries {
				t.Errorf("%v after %d tries", err, p.n)
			}
			if o.publishLast(over, b.job) != nil || p.n != c.tries {
				t.Error("a run that was stopped at once publishes")
			}
		}
		if (&Options{}).publishLast(t.Context(), b.job) != nil {
			t.Error("there is nobody to publish")
		}
	})
}
