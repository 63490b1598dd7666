package conns

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves a handler with a bound, and returns the address.
func serve(t *testing.T, max int, h http.HandlerFunc) string { return serveWith(t, max, bodyTime, h) }

func serveWith(t *testing.T, max int, patience time.Duration, h http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	b := New(s, max)
	b.bodyTime = patience
	var serving sync.WaitGroup
	serving.Go(func() { s.Serve(b.Listen(l)) })
	t.Cleanup(func() {
		s.Close()
		serving.Wait()
		left := 1
		for end := time.Now().Add(5 * time.Minute); left > 0 &&
			time.Now().Before(end); time.Sleep(time.Millisecond) {
			b.mu.Lock()
			left = len(b.conns)
			b.mu.Unlock()
		}
		if left > 0 {
			t.Errorf("%d connections are still counted", left)
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, address, send string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err == nil {
		_, err = io.WriteString(c, send)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// answer reads an answer to a request on a connection; empty when the connection is closed.
func answer(c net.Conn) string {
	c.SetReadDeadline(time.Now().Add(5 * time.Minute))
	b := make([]byte, 1000)
	n, _ := c.Read(b)
	return string(b[:n])
}

const (
	get = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	// quick is answered at once where others wait.
	quick = "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
	post  = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
)

// TestDeaf: connections that send nothing, half a head, or no body, many times as many as there may be, do
// not keep other clients from being answered.
func TestDeaf(t *testing.T) {
	address := serve(t, 8, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d bytes, %v", len(b), err)
	})
	for i := range 50 {
		dial(t, address, []string{"", "GET / HT", post, post + "ab",
			"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"}[i%5])
	}
	for range 10 {
		if got := answer(dial(t, address, post+"abcd")); len(got) == 0 {
			t.Fatal("no answer")
		}
	}
}

// TestAtWork: a request that has come whole is not cut off, however many come after it. When all are at work,
// more are closed.
func TestAtWork(t *testing.T) {
	release, begun := make(chan struct{}), make(chan struct{}, 4)
	address := serve(t, 4, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err == nil && r.URL.Path == "/" {
			begun <- struct{}{}
			<-release
		}
		io.WriteString(w, "here")
	})
	var work []net.Conn
	for _, send := range []string{get, post + "abcd", get} {
		work = append(work, dial(t, address, send))
		<-begun
	}
	for range 20 {
		dial(t, address, post)
	}
	if got := answer(dial(t, address, quick)); got == "" {
		t.Error("no answer beside three at work")
	}
	work = append(work, dial(t, address, post+"abcd"))
	<-begun
	if got := answer(dial(t, address, quick)); got != "" {
		t.Errorf("beyond the bound: %q", got)
	}
	close(release)
	for i, c := range work {
		if got := answer(c); got == "" {
			t.Errorf("request %d was cut off", i)
		}
	}
}

// TestKnown: those who had an answer keep their connection before strangers do.
func TestKnown(t *testing.T) {
	address := serve(t, 3, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "here") })
	known := dial(t, address, get)
	if answer(known) == "" {
		t.Fatal("no answer")
	}
	for range 10 {
		dial(t, address, post[:20])
	}
	if got := answer(dial(t, address, get)); got == "" {
		t.Fatal("no answer")
	}
	if _, err := io.WriteString(known, get); err != nil || answer(known) == "" {
		t.Errorf("who was known was closed: %v", err)
	}
}

// TestBodyTime: a body that does not come ends the request and the connection, whether the handler waits for
// it or not. One that came gives the answer all the time it takes.
func TestBodyTime(t *testing.T) {
	const patience = 50 * time.Millisecond
	failed := make(chan error, 1)
	address := serveWith(t, 4, patience, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/unread" {
			return
		}
		if _, err := io.ReadAll(r.Body); err != nil {
			failed <- err
			return
		}
		select {
		case <-time.After(4 * patience):
			io.WriteString(w, "here")
		case <-r.Context().Done():
		}
	})
	c := dial(t, address, post+"ab")
	if err := <-failed; err == nil {
		t.Error("half a body was taken for one")
	}
	unread := dial(t, address, "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
	for _, c := range []net.Conn{c, unread} {
		for got := answer(c); got != ""; got = answer(c) { // to the end of the connection
			if !strings.HasPrefix(got, "HTTP/1.1 ") {
				t.Errorf("%q", got)
			}
		}
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the connection: %v", err)
		}
	}
	if got := answer(dial(t, address, post+"abcd")); !strings.Contains(got, "here") {
		t.Errorf("a slow answer: %q", got)
	}
}

// TestBodyTimeOfLargeBodies: the larger a body is announced to be, the more time it has.
func TestBodyTimeOfLargeBodies(t *testing.T) {
	const patience = 50 * time.Millisecond
	got := make(chan string)
	address := serveWith(t, 4, patience, func(w http.ResponseWriter, r *http.Request) {
		var b [4]byte
		for i := range 2 {
			n, err := io.ReadFull(r.Body, b[2*i:][:2])
			got <- fmt.Sprintf("%q %v", b[:2*i+n], err)
		}
	})
	c := dial(t, address, fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nab",
		30*bodySpeed))
	if first := <-got; first != `"ab" <nil>` {
		t.Errorf("the first bytes: %s", first)
	}
	<-time.After(2 * patience) // all that a small body would have
	if _, err := io.WriteString(c, "cd"); err != nil {
		t.Error(err)
	}
	if second := <-got; second != `"abcd" <nil>` {
		t.Errorf("a body that has 30 seconds: %s", second)
	}
	c.Close() // else the server waits for the rest of the body
}

// timed is an answer whose request has a deadline.
type timed struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (w *timed) SetReadDeadline(t time.Time) error { w.deadline = t; return nil }

// TestDeadlines: a body has 10 s, and a second for every 2 MiB that are announced; none has no deadline.
func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
		b := New(s, 1)
		for length, want := range map[int64]time.Duration{-1: 10 * time.Second,
			1 << 20: 10500 * time.Millisecond, 2 << 20: 11 * time.Second, 120 << 20: 70 * time.Second} {
			r := httptest.NewRequest("POST", "/", strings.NewReader("abcd"))
			r.ContentLength = length
			w := &timed{ResponseRecorder: httptest.NewRecorder()}
			s.Handler.ServeHTTP(w, r.WithContext(s.ConnContext(t.Context(), &conn{b: b})))
			if got := time.Until(w.deadline); got != want {
				t.Errorf("%d bytes have %v, want %v", length, got, want)
			}
		}
		w := &timed{ResponseRecorder: httptest.NewRecorder()}
		s.Handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil).WithContext(s.ConnContext(t.Context(),
			&conn{b: b})))
		if !w.deadline.IsZero() {
			t.Errorf("no body has %v", time.Until(w.deadline))
		}
	})
}

// TestOtherListener: a connection that is not from Bound.Listen does not count, and is served.
func TestOtherListener(t *testing.T) {
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "here")
	})}
	New(s, 1)
	w := httptest.NewRecorder()
	s.Handler.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Body.String() != "here" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

// TestUnboundedBody: a body whose time cannot be bounded is not waited for.
func TestUnboundedBody(t *testing.T) {
	s := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("it was served")
	})}
	c := &conn{b: New(s, 1)}
	r := httptest.NewRequest("POST", "/", strings.NewReader("abcd"))
	w := httptest.NewRecorder() // has no deadlines
	s.Handler.ServeHTTP(w, r.WithContext(s.ConnContext(t.Context(), c)))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "not supported") {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if c.working || !c.known {
		t.Error("its connection still counts as one with a request")
	}
}

// TestLongestIdle: of connections that had an answer, the one whose answer is longest ago makes room.
func TestLongestIdle(t *testing.T) {
	release, begun := make(chan struct{}), make(chan struct{}, 1)
	address := serve(t, 8, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			begun <- struct{}{}
			<-release
		}
		io.WriteString(w, "here")
	})
	late := dial(t, address, get)
	<-begun
	var early []net.Conn
	for range 7 {
		early = append(early, dial(t, address, quick))
		if answer(early[len(early)-1]) == "" {
			t.Fatal("no answer")
		}
	}
	close(release)
	if answer(late) == "" {
		t.Fatal("no answer")
	}
	if answer(dial(t, address, quick)) == "" {
		t.Fatal("no answer to one more")
	}
	for i, c := range append(early[1:], late) {
		if _, err := io.WriteString(c, quick); err != nil || answer(c) == "" {
			t.Errorf("connection %d with a later answer was closed: %v", i, err)
		}
	}
	if got := answer(early[0]); got != "" {
		t.Errorf("the connection with the first answer was kept: %q", got)
	}
}

func TestMost(t *testing.T) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	three := int(float64(l.Cur) * 0.75)
	for want, most := range map[int]int{1: 1, three - 1: three - 1, three: three, three + 1: three,
		2 * three: three} {
		if got := Most(want, 0.25); got != most {
			t.Errorf("%d of %d descriptors: %d, want %d", want, l.Cur, got, most)
		}
	}
	if got := Most(5, 1); got != 1 {
		t.Errorf("%d connections where no descriptor is left, want 1", got)
	}
}
