// Package conns keeps idle connections from blocking an HTTP server.
//
// A body must arrive within a time. Connections are bounded. When the limit is reached, a new connection
// replaces the one that has kept the server waiting longest for a request, or for the rest of one.
// Connections without a completed request are closed first. A request that has arrived completely is never
// cut off: if all connections have one, a new connection is closed.
package conns

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The time for a body: a constant, and a part in proportion to its size.
const (
	bodyTime  = 10 * time.Second
	bodySpeed = 2 << 20 // bytes per second at least
)

// Bound is the bound of a server.
type Bound struct {
	max      int
	bodyTime time.Duration

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// New bounds a server, whose handler is set, to so many connections. Serve it on Bound.Listen.
func New(s *http.Server, max int) *Bound {
	b := &Bound{max: max, bodyTime: bodyTime, conns: map[*conn]struct{}{}}
	s.Handler = b.handler(s.Handler)
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, key{}, c)
	}
	return b
}

// Most is how many connections a process can have while a part of its descriptors stays free: want, or fewer
// if the limit of open descriptors is low.
func Most(want int, part float64) int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || float64(l.Cur)*(1-part) > float64(want) {
		return want
	}
	return max(int(float64(l.Cur)*(1-part)), 1)
}

// Listen is a listener whose connections count.
func (b *Bound) Listen(l net.Listener) net.Listener { return &listener{l, b} }

type listener struct {
	net.Listener
	b *Bound
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: raw, b: l.b, since: time.Now()}
		if l.b.admit(c) {
			return c, nil
		}
		_ = raw.Close()
	}
}

// admit adds a connection, closing another one if the limit is reached. It returns false if none can be
// closed.
func (b *Bound) admit(c *conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.conns) >= b.max {
		var oldest *conn
		for o := range b.conns {
			if !o.working && (oldest == nil || o.known == oldest.known && o.since.Before(oldest.since) ||
				!o.known && oldest.known) {
				oldest = o
			}
		}
		if oldest == nil {
			return false
		}
		delete(b.conns, oldest)
		_ = oldest.Conn.Close()
	}
	b.conns[c] = struct{}{}
	return true
}

// conn is a connection. Its fields are guarded by the bound's mutex.
type conn struct {
	net.Conn
	b       *Bound
	working bool      // its request has arrived completely, and is not answered
	known   bool      // it has had an answer
	since   time.Time // since when it keeps the server waiting
}

func (c *conn) Close() error {
	c.b.mu.Lock()
	delete(c.b.conns, c)
	c.b.mu.Unlock()
	return c.Conn.Close()
}

func (c *conn) set(working bool) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.working = working
	if !working {
		c.known, c.since = true, time.Now()
	}
}

type key struct{}

func (b *Bound) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(key{}).(*conn)
		if !ok { // not from Bound.Listen
			next.ServeHTTP(w, r)
			return
		}
		defer c.set(false)
		if r.Body == http.NoBody {
			c.set(true)
		} else {
			wait := b.bodyTime + time.Duration(float64(max(r.ContentLength,
				0))/bodySpeed*float64(time.Second))
			control := http.NewResponseController(w)
			if err := control.SetReadDeadline(time.Now().Add(wait)); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			r.Body = &body{r.Body, c, control}
		}
		next.ServeHTTP(w, r)
	})
}

// body is the body of a request. The rest of it that is left after the answer gets no more time.
type body struct {
	io.ReadCloser
	c       *conn
	control *http.ResponseController
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.c.set(true)
		_ = b.control.SetReadDeadline(time.Time{}) // else it would end the answer
	}
	return n, err
}
