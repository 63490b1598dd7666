// Package live shows a run while it works: a page, metrics for Prometheus, and whether it is well. It also
// defines Snapshot, from which every other display takes its figures.
//
//	run ──Snapshot, once a second──▶ Server
//	  ├─ /             the page, which needs nothing from elsewhere
//	  ├─ /events       what it shows, as server-sent events
//	  ├─ /faces/ID     small pictures of the latest images
//	  ├─ /metrics      for Prometheus; /grafana.json is a dashboard
//	  ├─ /healthz      200, or 503 while the job cannot be read
//	  └─ /debug/pprof  on request only
//
// Nothing here changes anything: there are only GET and HEAD. A Snapshot is taken once a second, however many
// watch, and a run never waits for those who do.
//
// # Who may look
//
// There is no password, so the server listens on loopback unless another address was requested. There it
// answers only to names of loopback: a page of some site whose name was made to point at this machine (DNS
// rebinding) gets nothing. What is served is strict about what it may load; what comes from a list is shown
// as text, never as markup.
package live

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"facescan/detect/sidecar/conns"
	"facescan/pipeline/crash"
	"facescan/store"
)

const (
	every        = time.Second // a new snapshot
	snapshotTime = 10 * time.Second
	writeTime    = 10 * time.Second // for an answer, or for an event
	endTime      = 2 * time.Second  // for the last events
	maxWatched   = 64               // pages that are served at once
	maxConns     = 128              // connections
	otherFiles   = 0.875            // of the descriptors that may be open, for other things than these
)

// DefaultPort is the port that an address without one means.
const DefaultPort = "9187"

// Options say what a Server shows.
type Options struct {
	Job  string                                  // what the user calls it
	Self store.Owner                             // this process
	Look func(context.Context) (Snapshot, error) // called once a second, never twice at once
	Hint func(store.Reason) string               // what can be done about a reason; optional
	// Picture is a small JPEG of one of the latest images, by its row; nil if there is none. Optional.
	Picture func(id int64) []byte
	Pprof   bool // serve /debug/pprof
	Log     *slog.Logger
}

// Server shows one run.
type Server struct {
	o         Options
	listener  net.Listener
	loopback  bool
	http      *http.Server
	stop      context.CancelFunc // of the handlers
	serving   sync.WaitGroup
	looking   context.CancelFunc
	snapshots sync.WaitGroup
	closing   sync.Once

	mu      sync.Mutex
	latest  Snapshot
	failed  error // of the last snapshot
	history history
	recent  recent
	event   []byte        // what /events says
	changed chan struct{} // closed when there is a new one
	watched int
}

//go:embed page/index.html page/live.css page/live.js grafana.json
var files embed.FS

// Listen opens the address. Connections wait until Serve. The error is a *net.AddrError if the address is
// invalid.
func Listen(addr string) (*Server, error) {
	addr, err := address(addr)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is taken, perhaps by another run: name another port, or port 0 for any "+
			"that is free", addr)
	case err != nil:
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	s := &Server{listener: l, changed: make(chan struct{})}
	at, err := netip.ParseAddrPort(l.Addr().String())
	s.loopback = err == nil && at.Addr().Unmap().IsLoopback()
	return s, nil
}

// address completes what the user gave: a port, :port, host or host:port.
func address(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	switch {
	case err == nil && port != "":
	case text != "" && strings.Trim(text, "0123456789") == "":
		port = text
	case text != "" && !strings.ContainsAny(text, ":[]"):
		host, port = text, DefaultPort
	default:
		return "", &net.AddrError{Addr: text,
			Err: "it is not an address to listen on; write it as 127.0.0.1:" + DefaultPort}
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// URL of the page.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() + "/" }

// Serve begins to answer.
func (s *Server) Serve(o Options) {
	s.o = o
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.http = &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: writeTime, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
		BaseContext:    func(net.Listener) context.Context { return ctx },
		ErrorLog:       slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
	s.o.Log.Info("the run can be watched at " + s.URL())
	if !s.loopback {
		s.o.Log.Warn("anybody who reaches this address can see URLs and figures of the run: there is no "+
			"password",
			"address", s.listener.Addr())
	}
	looking, cancel := context.WithCancel(ctx)
	s.looking = cancel
	s.see(looking, "")
	s.snapshots.Go(func() {
		defer crash.Exit()
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				s.see(looking, "")
			case <-looking.Done():
				return
			}
		}
	})
	bound := conns.New(s.http, conns.Most(maxConns, otherFiles))
	s.serving.Go(func() {
		defer crash.Exit()
		if err := s.http.Serve(bound.Listen(s.listener)); !errors.Is(err, http.ErrServerClosed) {
			s.o.Log.Error("the live page is gone", "error", err)
		}
	})
}

// Close shows how the run ended, and stops serving; the first call counts. A server that never served is
// closed too.
func (s *Server) Close(end string) {
	s.closing.Do(func() { s.close(end) })
}

func (s *Server) close(end string) {
	if s.http == nil {
		_ = s.listener.Close()
		return
	}
	s.looking()
	s.snapshots.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	s.see(ctx, end)
	_ = s.http.Shutdown(ctx)
	s.stop()
	_ = s.http.Close() // what is left: a watcher that is slow, or that does not listen
	s.serving.Wait()
}

// see takes a snapshot and sends it to the pages. End is how the run ended, if it did.
func (s *Server) see(ctx context.Context, end string) {
	ctx, cancel := context.WithTimeout(ctx, snapshotTime)
	defer cancel()
	v, err := s.o.Look(ctx)
	if err != nil && ctx.Err() != nil && end == "" {
		return // the run is ending: there is nothing new
	}
	v.End = end
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest, s.failed = v, err
	s.history.add(v)
	s.recent.add(v)
	var b bytes.Buffer
	b.WriteString("data: ")
	if err := json.NewEncoder(&b).Encode(s.feed()); err != nil { // ends with a newline, and has none within
		s.o.Log.Error("the live page cannot be updated", "error", err)
		return
	}
	b.WriteString("\n")
	s.event = b.Bytes()
	close(s.changed)
	s.changed = make(chan struct{})
}

// now is the latest snapshot.
func (s *Server) now() (Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest, s.failed
}
