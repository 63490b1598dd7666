package live

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// policy lets a page load what is served here, and nothing else. The page says that it has no icon: a browser
// would ask for one when it has time, which may be after the end of the run.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src " +
	"'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", file("page/index.html"))
	mux.HandleFunc("/live.css", file("page/live.css"))
	mux.HandleFunc("/live.js", file("page/live.js"))
	mux.HandleFunc("/grafana.json", file("grafana.json"))
	mux.HandleFunc("/events", s.events)
	mux.HandleFunc("/faces/{id}", s.picture)
	mux.HandleFunc("/healthz", s.health)
	mux.Handle("/metrics", promhttp.HandlerFor(s.registry(), promhttp.HandlerOpts{MaxRequestsInFlight: 8}))
	if s.o.Pprof { // without cmdline, which shows what was given as flags, passwords too
		mux.HandleFunc("/debug/pprof/", slowly(pprof.Index))
		mux.HandleFunc("/debug/pprof/cmdline", http.NotFound)
		mux.HandleFunc("/debug/pprof/profile", slowly(pprof.Profile))
		mux.HandleFunc("/debug/pprof/symbol", slowly(pprof.Symbol))
		mux.HandleFunc("/debug/pprof/trace", slowly(pprof.Trace))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		switch {
		case s.loopback && !ownName(r.Host):
			http.Error(w, "this page is for the machine it runs on: ask for it as localhost",
				http.StatusMisdirectedRequest)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "there is nothing to change here", http.StatusMethodNotAllowed)
		default:
			deadline(w, writeTime)
			mux.ServeHTTP(w, r)
		}
	})
}

// ownName reports whether a Host header names this machine as loopback.
func ownName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// deadline sets how long an answer may take from now on.
func deadline(w http.ResponseWriter, d time.Duration) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d))
}

// slowly gives a handler the minutes that a profile may take.
func slowly(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		deadline(w, 10*time.Minute)
		h(w, r)
	}
}

// file serves an embedded file.
func file(name string) http.HandlerFunc {
	body, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is embedded
	}
	kind := mime.TypeByExtension(path.Ext(name))
	if path.Ext(name) == ".js" {
		kind = "text/javascript; charset=utf-8" // the system's table may say otherwise
	}
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}
}

// picture serves a small picture of one of the latest images.
func (s *Server) picture(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	var jpeg []byte
	if err == nil && s.o.Picture != nil {
		jpeg = s.o.Picture(id)
	}
	if jpeg == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "image/jpeg")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(jpeg))
}

// health reports whether the job can be read. An outage is not a fault: a restart would not help.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	v, err := s.now()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	switch {
	case err != nil:
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintf(w, "the job cannot be read: %v\n", err)
	case v.Outage:
		fmt.Fprintf(w, "ok, waiting: %s\n", v.Cause)
	default:
		fmt.Fprintln(w, "ok")
	}
}

// events sends what the page shows, now and whenever it changes, until the run has ended.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	full := s.watched >= maxWatched
	if !full {
		s.watched++
	}
	s.mu.Unlock()
	if full {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many pages show this run already", http.StatusServiceUnavailable)
		return
	}
	defer func() {
		s.mu.Lock()
		s.watched--
		s.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	if r.Method == http.MethodHead {
		return
	}
	to := http.NewResponseController(w)
	for {
		s.mu.Lock()
		event, changed, ended := s.event, s.changed, s.latest.End != ""
		s.mu.Unlock()
		deadline(w, writeTime)
		if _, err := w.Write(event); err != nil {
			return
		}
		if err := to.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) || ended {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}
