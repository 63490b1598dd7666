package sidecar

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"facescan/detect"
)

// TestLongHead: the head of a request may have 64 KiB, as a proxy may add to it, and no more.
func TestLongHead(t *testing.T) {
	s := newServer(t, ServerOptions{Open: opens(blind{})})
	l, err := Listen("127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(ctx, nil, l, time.Minute); err != nil {
			t.Error(err)
		}
	})
	h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for size, want := range map[int]int{60 << 10: http.StatusOK,
		72 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		r, err := http.NewRequestWithContext(t.Context(), "GET",
			"http://"+l.Addr().String()+"/v2/health/live", nil)
		must(t, err)
		r.Header.Set("X", strings.Repeat("x", size))
		res, err := h.Do(r)
		must(t, err)
		if res.Body.Close(); res.StatusCode != want {
			t.Errorf("a head of %d bytes: %d, want %d", size, res.StatusCode, want)
		}
	}
	cancel()
	serving.Wait()
}

// stubborn is a detector that does not close.
type stubborn struct{ blind }

func (stubborn) Close() error { return errors.New("stuck") }

// TestEvicted: the detector whose use is longest ago is closed for one with new flags. That it does not close
// is logged.
func TestEvicted(t *testing.T) {
	for want, d := range map[string]detect.Detector{"": blind{}, "stuck": stubborn{}} {
		var log bytes.Buffer
		s, err := NewServer(ServerOptions{Detector: detect.Pigo, Open: opens(d), Workers: 1,
			Log: slog.New(slog.NewTextHandler(&log, nil))})
		must(t, err)
		p := detect.Defaults(detect.Pigo)
		first, err := s.open(p)
		must(t, err)
		s.release(first)
		for i := range maxDetectors {
			p.MinFace = 21 + i
			d, err := s.open(p)
			must(t, err)
			s.release(d)
		}
		if len(s.detectors) != maxDetectors || s.detectors[detect.Defaults(detect.Pigo).String()] != nil {
			t.Errorf("%d detectors are open, the oldest among them", len(s.detectors))
		}
		if got := log.String(); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("log %q, want %q", got, want)
		}
		if err := s.Close(); (err == nil) != (want == "") {
			t.Error(err)
		}
	}
}
