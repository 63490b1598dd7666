package fetch_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"facescan/pipeline/fetch"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// chunky serves a body of that many bytes, announced or not. It breaks off in the middle of the path /cut
// when told to.
func chunky(t *testing.T, total int, cut <-chan struct{}) string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/known" {
			w.Header().Set("Content-Length", strconv.Itoa(total))
		}
		chunk := make([]byte, 64<<10)
		for i := range total / len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
			if r.URL.Path == "/cut" && i == 8 {
				w.(http.Flusher).Flush()
				<-cut
				panic(http.ErrAbortHandler)
			}
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestMemory walks a body through budgets that end at every step of its growth.
func TestMemory(t *testing.T) {
	const total = 5 << 20
	url := chunky(t, total, nil)
	f := newFetcher(t, fetch.Options{MaxBytes: 6 << 20})
	for _, c := range []struct {
		path   string
		size   int64
		enough bool
	}{
		{"/known", total, true}, {"/known", total - 1, false}, {"/known", 64 << 10, false},
		{"/chunked", f.MostMemory(), true}, {"/chunked", total, false}, {"/chunked", 200 << 10, false},
		{"/chunked", 64 << 10, false},
	} {
		mem := &budget{size: c.size}
		b, err := f.Fetch(t.Context(), url+c.path, mem)
		switch {
		case c.enough && (err != nil || len(b.Bytes) != total):
			t.Errorf("%s with %d: %v", c.path, c.size, err)
		case !c.enough && !errors.Is(err, errSmall):
			t.Errorf("%s with %d: %v, want the budget's error", c.path, c.size, err)
		}
		if b != nil {
			b.Release()
		}
		if mem.held != 0 {
			t.Errorf("%s with %d: %d bytes held after the end", c.path, c.size, mem.held)
		}
	}
}

// TestMemoryOfDecoders: what a decoder takes is reserved before it works, beside the body's buffer.
func TestMemoryOfDecoders(t *testing.T) {
	bodies := map[string][]byte{"gzip": nil, "deflate": nil, "br": nil, "zstd": nil}
	for coding := range bodies {
		var b bytes.Buffer
		var w io.WriteCloser
		switch coding {
		case "gzip":
			w = gzip.NewWriter(&b)
		case "deflate":
			w = zlib.NewWriter(&b)
		case "br":
			w = brotli.NewWriter(&b)
		case "zstd":
			w, _ = zstd.NewWriter(&b)
		}
		io.WriteString(w, "image")
		w.Close()
		bodies[coding] = b.Bytes()
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		coding := r.URL.Path[1:]
		w.Header().Set("Content-Encoding", coding)
		w.Write(bodies[coding])
	}))
	defer srv.Close()
	f := newFetcher(t, fetch.Options{})
	for coding, need := range map[string]int64{"gzip": 64 << 10, "deflate": 64 << 10, "br": 24 << 20,
		"zstd": 16 << 20} {
		for _, missing := range []int64{0, 1} {
			mem := &budget{size: 64<<10 + need - missing}
			b, err := f.Fetch(t.Context(), srv.URL+"/"+coding, mem)
			switch {
			case missing == 0 && (err != nil || string(b.Bytes) != "image" || mem.held != 64<<10),
				missing > 0 && !errors.Is(err, errSmall):
				t.Errorf("%s, %d bytes too few: %v, %d held", coding, missing, err, mem.held)
			}
			if b != nil {
				b.Release()
			}
			if mem.held != 0 {
				t.Errorf("%s, %d bytes too few: %d held after the end", coding, missing, mem.held)
			}
		}
	}
	mem := &budget{size: 64<<10 - 1}
	if _, err := f.Fetch(t.Context(), srv.URL+"/gzip", mem); !errors.Is(err, errSmall) || mem.held != 0 {
		t.Errorf("too little for an attempt: %v, %d held", err, mem.held)
	}
}

// TestWaitForMemory: a body that waits for memory goes on where it was, and its clocks stand still meanwhile.
// A connection that is lost then is not an outcome.
func TestWaitForMemory(t *testing.T) {
	const total = 1 << 20
	cut := make(chan struct{})
	url := chunky(t, total, cut)
	// more than comes if waiting counted
	o := fetch.Options{Timeout: 500 * time.Millisecond, MinRate: 2 << 20}
	for _, c := range []struct {
		path string
		size int64
	}{{"/known", 64 << 10}, {"/chunked", 64 << 10}, {"/chunked", 400 << 10}, {"/cut", 400 << 10}} {
		mem := &budget{size: c.size, waits: make(chan struct{}, 1), more: make(chan struct{})}
		go func() {
			<-mem.waits
			if c.path == "/cut" {
				close(cut)
			}
			time.Sleep(2 * o.Timeout) // which is what is waited for: the time of the attempt is over
			close(mem.more)
		}()
		b, err := newFetcher(t, o).Fetch(t.Context(), url+c.path, mem)
		switch {
		case c.path == "/cut":
			if !errors.Is(err, fetch.ErrLostWaiting) {
				t.Errorf("lost while it waited: %v", err)
			}
			continue
		case err != nil:
			t.Errorf("%s with %d: %v", c.path, c.size, err)
			continue
		case len(b.Bytes) != total:
			t.Errorf("%s with %d: %d bytes of %d", c.path, c.size, len(b.Bytes), total)
		}
		b.Release()
	}
	mem := &budget{size: 64 << 10, waits: make(chan struct{}, 1), more: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	go func() { <-mem.waits; cancel(stop) }()
	if _, err := newFetcher(t, o).Fetch(ctx, url+"/known", mem); !errors.Is(err, stop) || mem.held != 0 {
		t.Errorf("cancelled while it waited: %v, %d bytes held", err, mem.held)
	}
}
