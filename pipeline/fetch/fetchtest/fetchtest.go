// Package fetchtest is a web server that misbehaves on demand, on loopback, and counts its requests.
//
// The first segment of a path says what happens; N picks an image, modulo their number, sorted by name.
//
//	/i/N/name.jpg        image N, followed by the digits of N, so that no two bodies are equal
//	/f/NAME              the image of that name
//	/hang/…              headers, then nothing
//	/dead/…              no answer at all
//	/drip/…              one byte a second, without end
//	/status/CODE/…       that status
//	/flaky/K/N/x.jpg     503 the first K times for this path, then image N
//	/limit/N/x.jpg       429 with Retry-After: 1 the first time for this path, then image N
//	/throttle/R/N/x.jpg  429 with Retry-After: 1 after R requests within a second, else image N
//	/redirect/HOPS/N/x   a chain of 302, then image N
//	/to/URL              302 to URL, which is percent-encoded
//	/loop/…              302 to itself
//	/nowhere/…           302 without Location
//	/huge/MB/…           a chunked body of MB mebibytes
//	/trunc/N/x.jpg       the first half of image N, then the connection closes
//	/short/N/x.jpg       the first half of image N, announced as such
//	/html/… /empty/…     200 with a page, 200 with no body
//	/reset/…             connection reset
//	/garbage/…           an answer that is not HTTP
//	/auth/N/x.jpg        image N for a request with an Authorization header, else 401
//	/noai/N/x.jpg        image N with X-Robots-Tag: noai
//	/echo/…              200 with the request as it arrived
//	/robots.txt          what SetRobots says, else 404
package fetchtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Server answers on any number of loopback addresses. Its counts are of all of them together.
type Server struct {
	URL string // of the first address, without a slash at the end

	images map[string][]byte
	names  []string
	delay  time.Duration
	http   *http.Server
	accept sync.WaitGroup

	mu       sync.Mutex
	robots   func(w http.ResponseWriter, r *http.Request, hit int)
	idle     sync.Cond // inflight fell
	closed   bool
	hits     map[string]int
	total    int
	inflight int
	peak     int
	recent   map[string][]arrival // of the last second, a throttled rate
	busiest  int
	refused  bool      // a throttled request was,
	first    time.Time // then
}

type arrival struct {
	at       time.Time
	admitted bool
}

// New starts a server on a free port of 127.0.0.1. It waits for delay before every answer. It panics when
// loopback cannot be listened on, or without images.
func New(images map[string][]byte, delay time.Duration) *Server {
	if len(images) == 0 {
		panic("fetchtest: no images")
	}
	s := &Server{images: images, names: slices.Sorted(maps.Keys(images)), delay: delay,
		hits: map[string]int{}, recent: map[string][]arrival{}}
	s.idle.L = &s.mu
	s.http = &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0)}
	s.URL = s.Listen("127.0.0.1:0")
	return s
}

// Listen adds an address, such as 127.0.0.9:0, and returns its base URL.
func (s *Server) Listen(addr string) string { return "http://" + s.listen(addr, nil) }

// ListenTLS adds an address that speaks TLS with the certificate, and returns its base URL.
func (s *Server) ListenTLS(addr string, c tls.Certificate) string {
	return "https://" + s.listen(addr, &tls.Config{Certificates: []tls.Certificate{c}})
}

func (s *Server) listen(addr string, c *tls.Config) string {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		panic(fmt.Sprintf("fetchtest: %v", err))
	}
	name := l.Addr().String()
	if c != nil {
		l = tls.NewListener(l, c)
	}
	s.accept.Go(func() { s.http.Serve(l) })
	return name
}

// SetRobots sets what /robots.txt answers; hit counts its requests from 1.
func (s *Server) SetRobots(answer func(w http.ResponseWriter, r *http.Request, hit int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.robots = answer
}

// Close ends every connection and waits for the handlers.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.http.Close()
	s.accept.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.inflight > 0 {
		s.idle.Wait()
	}
}

// Hits counts the requests for a path, such as /i/3/x.jpg.
func (s *Server) Hits(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits[path]
}

// Paths counts the requests by path.
func (s *Server) Paths() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.hits)
}

// Total counts all requests.
func (s *Server) Total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Peak is the most requests that were being answered at the same time.
func (s *Server) Peak() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peak
}

// Busiest is the most requests for /throttle/ that came within any second, of those after the first that was
// refused.
func (s *Server) Busiest() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busiest
}

// Reset forgets all counts, and what /flaky/ and /limit/ have seen.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.hits)
	clear(s.recent)
	s.total, s.peak, s.busiest, s.refused = 0, 0, 0, false
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.hits[r.URL.Path]++
	hit := s.hits[r.URL.Path]
	s.total++
	s.inflight++
	s.peak = max(s.peak, s.inflight)
	robots := s.robots
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.inflight--
		s.idle.Broadcast()
		s.mu.Unlock()
	}()
	if !pause(r, s.delay) {
		return
	}
	if r.URL.Path == "/robots.txt" && robots != nil {
		robots(w, r, hit)
		return
	}
	p := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	p = append(p, "", "", "")
	switch p[0] {
	case "i":
		s.image(w, p[1], append(slices.Clone(s.body(p[1])), p[1]...))
	case "f":
		b, ok := s.images[strings.TrimPrefix(r.URL.Path, "/f/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(b)
	case "flaky":
		if hit <= number(p[1]) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s.image(w, p[2], s.body(p[2]))
	case "limit":
		if hit == 1 {
			tooMany(w)
			return
		}
		s.image(w, p[1], s.body(p[1]))
	case "throttle":
		if !s.admit(p[1]) {
			tooMany(w)
			return
		}
		s.image(w, p[2], s.body(p[2]))
	case "redirect":
		if hops := number(p[1]); hops > 0 {
			http.Redirect(w, r, fmt.Sprintf("/redirect/%d/%s", hops-1,
				strings.Trim(strings.Join(p[2:], "/"), "/")), http.StatusFound)
			return
		}
		s.image(w, p[2], s.body(p[2]))
	case "to":
		to, _ := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/to/"))
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	case "auth":
		if r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.image(w, p[1], s.body(p[1]))
	case "noai":
		w.Header().Set("X-Robots-Tag", "noai")
		s.image(w, p[1], s.body(p[1]))
	case "short":
		b := s.body(p[1])
		s.image(w, p[1], b[:len(b)/2])
	case "echo":
		r.Write(w)
	default:
		s.fault(w, r, p)
	}
}

// fault answers the paths that are not images.
func (s *Server) fault(w http.ResponseWriter, r *http.Request, p []string) {
	switch p[0] {
	case "hang":
		w.Header().Set("Content-Length", "100000")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case "dead":
		<-r.Context().Done()
	case "drip":
		w.Header().Set("Content-Type", "image/jpeg")
		for {
			w.Write([]byte{0xff})
			w.(http.Flusher).Flush()
			if !pause(r, time.Second) {
				return
			}
		}
	case "status":
		w.WriteHeader(number(p[1]))
	case "loop":
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
	case "nowhere":
		w.WriteHeader(http.StatusFound)
	case "huge":
		chunk := make([]byte, 1<<20)
		copy(chunk, "\xff\xd8\xff")
		w.Header().Set("Content-Type", "image/jpeg")
		for range number(p[1]) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	case "trunc":
		b := s.body(p[1])
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Write(b[:len(b)/2])
		w.(http.Flusher).Flush()
		s.hijack(w, func(c net.Conn) {})
	case "html":
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!doctype html><title>gone</title><p>This image is gone.")
	case "empty":
		w.WriteHeader(http.StatusOK)
	case "reset":
		s.hijack(w, func(c net.Conn) {
			if t, ok := c.(*net.TCPConn); ok {
				t.SetLinger(0)
			}
		})
	case "garbage":
		s.hijack(w, func(c net.Conn) { io.WriteString(c, "220 this is another protocol\r\n") })
	default:
		http.NotFound(w, r)
	}
}

// hijack takes the connection out of HTTP, does something to it, and closes it.
func (s *Server) hijack(w http.ResponseWriter, do func(net.Conn)) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	do(c)
	c.Close()
}

// admit reports whether fewer than rate requests under /throttle/rate/ were admitted within the last second.
func (s *Server) admit(rate string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	last, admitted := s.recent[rate], 0
	for len(last) > 0 && now.Sub(last[0].at) >= time.Second {
		last = last[1:]
	}
	for _, a := range last {
		if a.admitted {
			admitted++
		}
	}
	ok := admitted < number(rate)
	s.recent[rate] = append(last, arrival{now, ok})
	if s.refused {
		since := 0 // what came before the first refusal does not count: the client could not know
		for _, a := range s.recent[rate] {
			if a.at.After(s.first) {
				since++
			}
		}
		s.busiest = max(s.busiest, since)
	}
	if !ok && !s.refused {
		s.refused, s.first = true, now
	}
	return ok
}

func (s *Server) body(n string) []byte { return s.images[s.names[number(n)%len(s.names)]] }

func (s *Server) image(w http.ResponseWriter, n string, b []byte) {
	ext := strings.TrimPrefix(path.Ext(s.names[number(n)%len(s.names)]), ".")
	w.Header().Set("Content-Type", "image/"+strings.Replace(ext, "jpg", "jpeg", 1))
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Write(b)
}

func tooMany(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusTooManyRequests)
}

// number reads digits; anything else is 0.
func number(s string) int {
	n, _ := strconv.Atoi(s)
	return max(n, 0)
}

// pause waits, and reports whether the client is still connected.
func pause(r *http.Request, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-r.Context().Done():
		return false
	}
}

// Unlimited is a fetch.Memory without a limit.
type Unlimited struct{}

func (Unlimited) Reserve(context.Context, int64) error { return nil }
func (Unlimited) Grow(context.Context, int64) error    { return nil }
func (Unlimited) Release(int64)                        {}
