package fetch_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/fetchtest"
	"facescan/store"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http's words about the servers here
	goleak.VerifyTestMain(m)
}

// budget is a Memory that knows what is held. What does not fit into its size waits until there is more, or
// fails.
type budget struct {
	mu   sync.Mutex
	size int64
	held int64
	peak int64

	waits chan struct{} // takes a token when somebody begins to wait; nil: nobody does
	more  chan struct{} // closed when there is room for all
}

var errSmall = errors.New("the test's budget is too small")

func (b *budget) Reserve(ctx context.Context, n int64) error { return b.Grow(ctx, n) }

func (b *budget) Grow(ctx context.Context, n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held+n > b.size {
		if b.waits == nil {
			return errSmall
		}
		b.mu.Unlock()
		b.waits <- struct{}{}
		var err error
		select {
		case <-b.more:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		b.mu.Lock()
		if err != nil {
			return err
		}
		b.size = 1 << 30
	}
	b.held += n
	b.peak = max(b.peak, b.held)
	return nil
}

func (b *budget) Release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
}

func newBudget() *budget { return &budget{size: 1 << 30} }

func newFetcher(t *testing.T, o fetch.Options) *fetch.Fetcher {
	t.Helper()
	o.AllowPrivate = true
	f, err := fetch.New(o)
	must(t, err)
	t.Cleanup(f.Close)
	return f
}

func newServer(t *testing.T) *fetchtest.Server {
	t.Helper()
	s := fetchtest.New(map[string][]byte{"a.jpg": bytes.Repeat([]byte("first"), 20),
		"b.jpg": bytes.Repeat([]byte("second"), 30_000)}, 0)
	t.Cleanup(s.Close)
	return s
}

// attempt makes one and holds it to giving all memory back.
func attempt(t *testing.T, f *fetch.Fetcher, url string) (string, *fetch.Error) {
	t.Helper()
	mem := newBudget()
	defer func() {
		if mem.held != 0 {
			t.Errorf("%s: %d bytes of the budget are not given back", url, mem.held)
		}
	}()
	b, err := f.Fetch(t.Context(), url, mem)
	if err != nil {
		var e *fetch.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: %v is no *Error", url, err)
		}
		return "", e
	}
	defer b.Release()
	if int64(len(b.Bytes)) > mem.held {
		t.Errorf("%s: %d bytes of body on %d of the budget", url, len(b.Bytes), mem.held)
	}
	return string(b.Bytes), nil
}

// temporary reports whether a run tries again after the error.
func temporary(e *fetch.Error) bool { return store.Reason(e.Reason).Retried(e.Status) }

// TestReasons holds every fault to its own word.
func TestReasons(t *testing.T) {
	s := newServer(t)
	f := newFetcher(t, fetch.Options{Timeout: 400 * time.Millisecond, MaxBytes: 1 << 20, MaxRedirects: 5})
	refusing := closedPort
	mute := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	curt := listen(t, func(c net.Conn) {})
	stopping := listen(t, func(c net.Conn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n123")
		c.(*net.TCPConn).SetLinger(0)
		time.AfterFunc(0, func() { c.Close() })
	})
	for _, c := range []struct {
		url    string
		reason string
		status int
	}{
		{s.URL + "/i/0/x.jpg", "", 200},
		{"no url", fetch.BadURL, 0},
		{"file:///etc/passwd", fetch.BadURL, 0},
		{"http://" + strings.Repeat("a", 65<<10), fetch.BadURL, 0},
		{"http://name.invalid/", fetch.DNSNotFound, 0},
		{"http://" + refusing + "/", fetch.Connect, 0},
		{"http://" + mute + "/", fetch.Timeout, 0},
		{"https://" + mute + "/", fetch.Timeout, 0},
		{"http://" + curt + "/", fetch.Reset, 0},
		{"https://" + curt + "/", fetch.Reset, 0},
		{"https://" + strings.TrimPrefix(s.URL, "http://") + "/", fetch.TLS, 0},
		{"http://" + stopping + "/", fetch.Reset, 200},
		{s.URL + "/hang/", fetch.Timeout, 200},
		{s.URL + "/dead/", fetch.Timeout, 0},
		{s.URL + "/drip/", fetch.Timeout, 200},
		{s.URL + "/reset/", fetch.Reset, 0},
		{s.URL + "/garbage/", fetch.HTTPError, 0},
		{s.URL + "/trunc/1/x", fetch.Truncated, 200},
		{s.URL + "/huge/3/x", fetch.TooLarge, 200},
		{s.URL + "/loop/", fetch.RedirectLoop, 302},
		{s.URL + "/redirect/5/0/x", "", 200},
		{s.URL + "/redirect/6/0/x", fetch.RedirectLoop, 302},
		{s.URL + "/nowhere/", fetch.HTTPError, 302},
		{s.URL + "/to/" + url.PathEscape("file:///etc/passwd"), fetch.HTTPError, 302},
		{s.URL + "/to/" + url.PathEscape("http://name.invalid/"), fetch.DNSNotFound, 302},
		{s.URL + "/status/204", fetch.HTTPError, 204},
		{s.URL + "/status/300", fetch.HTTPError, 300},
		{s.URL + "/status/304", fetch.HTTPError, 304},
		{s.URL + "/status/404", fetch.HTTP4xx, 404},
		{s.URL + "/status/408", fetch.Timeout, 408},
		{s.URL + "/status/410", fetch.HTTP4xx, 410},
		{s.URL + "/status/425", fetch.Timeout, 425},
		{s.URL + "/status/429", fetch.HTTP429, 429},
		{s.URL + "/status/500", fetch.HTTP5xx, 500},
		{s.URL + "/status/503", fetch.HTTP5xx, 503},
		{s.URL + "/status/999", fetch.HTTPError, 999},
		{"http://0.0.0.0/", fetch.PrivateAddress, 0},
		{"http://169.254.169.254/latest/meta-data/", fetch.PrivateAddress, 0},
		{"http://[64:ff9b::127.0.0.1]/", fetch.PrivateAddress, 0},
		{s.URL + "/to/" + url.PathEscape("http://0251.254.0xa9fe/"), fetch.PrivateAddress, 302},
	} {
		name, _, _ := strings.Cut(strings.TrimPrefix(c.url, s.URL), strings.Repeat("a", 99))
		t.Run(name, func(t *testing.T) {
			_, e := attempt(t, f, c.url)
			if c.reason == "" {
				if e != nil {
					t.Fatal(e)
				}
				return
			}
			if e == nil {
				t.Fatalf("succeeded, want %s", c.reason)
			}
			if e.Reason != c.reason || e.Status != c.status || e.Outage {
				t.Errorf("%s %d, outage %v (%v), want %s %d", e.Reason, e.Status, e.Outage, e, c.reason,
					c.status)
			}
		})
	}
}

// closedPort is a port that nobody listens on. One that was just free may be another test's the next moment.
const closedPort = "127.0.0.1:1"

// listen serves connections with serve, which may leave the closing to us.
func listen(t *testing.T, serve func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func TestPrivateWithoutFlag(t *testing.T) {
	s := newServer(t)
	f, err := fetch.New(fetch.Options{MaxRedirects: 3})
	must(t, err)
	defer f.Close()
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	for _, host := range []string{"127.0.0.1", "127.1", "0x7f000001", "2130706433", "１２７.1", "localhost",
		"LOCALHOST.", "a.localhost", "[::1]", "[::ffff:127.0.0.1]", "0"} {
		if _, e := attempt(t, f, "http://"+host+":"+port+"/i/0/x.jpg"); e == nil ||
			e.Reason != fetch.PrivateAddress || temporary(e) {
			t.Errorf("%s: %v, want %s", host, e, fetch.PrivateAddress)
		}
	}
	if n := s.Total(); n != 0 {
		t.Errorf("the server got %d requests", n)
	}
}

func TestBody(t *testing.T) {
	s := newServer(t)
	f := newFetcher(t, fetch.Options{MaxRedirects: 3})
	mem := newBudget()
	b, err := f.Fetch(t.Context(), s.URL+"/redirect/2/1/x.jpg", mem)
	must(t, err)
	if want := strings.Repeat("second", 30_000); string(b.Bytes) != want || b.Status != 200 ||
		b.FinalURL != s.URL+"/redirect/0/1/x.jpg" {
		t.Errorf("%d bytes, status %d, final URL %q", len(b.Bytes), b.Status, b.FinalURL)
	}
	if b.First <= 0 || b.Took < b.First {
		t.Errorf("first byte after %v, last after %v", b.First, b.Took)
	}
	b.Release()
	b.Release()
	if mem.held != 0 {
		t.Errorf("%d bytes held after Release", mem.held)
	}
	if b, err = f.Fetch(t.Context(), s.URL+"/empty/", mem); err != nil || len(b.Bytes) != 0 ||
		mem.held != 4<<10 {
		t.Errorf("empty body: %v, %d of the budget", err, mem.held)
	}
	b.Release()
	if _, e := attempt(t, f, "file:///a.jpg"); e == nil || e.Error() != "bad_url: not an http or https URL" {
		t.Errorf("a file, and no folder with files: %v", e)
	}
	if b, err = f.Fetch(t.Context(), s.URL+"/i/0/x.jpg", mem); err != nil || b.FinalURL != "" {
		t.Errorf("final URL without a redirect: %q, %v", b.FinalURL, err)
	}
	b.Release()
}

// TestRequest looks at what a server gets to see.
func TestRequest(t *testing.T) {
	s := newServer(t)
	f := newFetcher(t, fetch.Options{UserAgent: "facescan/test (+https://example.com)", MaxRedirects: 3})
	got, e := attempt(t, f, strings.Replace(s.URL, "//", "//user:p%40ss@", 1)+"/echo/ü b?x=1&amp;y=\"#frag")
	if e != nil {
		t.Fatal(e)
	}
	for _, want := range []string{"GET /echo/%C3%BC%20b?x=1&y=%22 HTTP/1.1\r\n",
		"User-Agent: facescan/test (+https://example.com)\r\n",
		"Authorization: Basic dXNlcjpwQHNz\r\n", "Accept-Encoding: identity\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, never := range []string{"Referer:", "Cookie:"} {
		if strings.Contains(got, never) {
			t.Errorf("%s in\n%s", never, got)
		}
	}
	other := s.Listen("127.0.0.2:0")
	got, e = attempt(t, f, strings.Replace(s.URL, "//", "//user:secret@",
		1)+"/to/"+url.PathEscape(other+"/echo/"))
	if e != nil || strings.Contains(got, "Authorization:") {
		t.Errorf("a password went along a redirect to another host: %v\n%s", e, got)
	}
	_, e = attempt(t, f, strings.Replace(s.URL, "//", "//user:secret@", 1)+"/redirect/9/0/x")
	if e == nil || strings.Contains(e.FinalURL+e.Error(), "secret") ||
		!strings.Contains(e.FinalURL, "user:***@") {
		t.Errorf("a password is shown: %v %s", e, e.FinalURL)
	}
}

func TestContentEncoding(t *testing.T) {
	plain := bytes.Repeat([]byte("all work and no play "), 10_000)
	pack := func(w io.WriteCloser, b *bytes.Buffer) []byte {
		w.Write(plain)
		w.Close()
		return b.Bytes()
	}
	var g, z, d, br, zs bytes.Buffer
	gz := pack(gzip.NewWriter(&g), &g)
	bodies := map[string][]byte{"gzip": gz, "x-gzip": gz, "deflate": pack(zlib.NewWriter(&z), &z),
		"br": pack(brotli.NewWriter(&br), &br)}
	raw, _ := flate.NewWriter(&d, 5)
	bodies["DEFLATE"] = pack(raw, &d)
	zw, _ := zstd.NewWriter(&zs)
	bodies["zstd"] = pack(zw, &zs)
	var twice bytes.Buffer
	w := gzip.NewWriter(&twice)
	w.Write(bodies["br"])
	w.Close()
	bodies["br, gzip"] = twice.Bytes()
	three := []byte(gz)
	for range 2 {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(three)
		w.Close()
		three = b.Bytes()
	}
	bodies["identity"], bodies["utf-8"] = plain, plain

	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		b := bodies[q.Get("is")]
		if q.Get("is") == "three" {
			b = three
		}
		if cut, err := strconv.Atoi(q.Get("cut")); err == nil {
			b = b[:len(b)-cut]
		}
		w.Header().Set("Content-Encoding", q.Get("says"))
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Write(b)
	}))
	defer srv.Close()
	f := newFetcher(t, fetch.Options{})
	small := newFetcher(t, fetch.Options{MaxBytes: int64(len(plain)) - 1})
	exact := newFetcher(t, fetch.Options{MaxBytes: int64(len(plain))})
	for is := range bodies {
		q := srv.URL + "/?is=" + url.QueryEscape(is) + "&says=" + url.QueryEscape(is)
		for _, f := range []*fetch.Fetcher{f, exact} {
			if got, e := attempt(t, f, q); e != nil || got != string(plain) {
				t.Errorf("%s: %d bytes, %v", is, len(got), e)
			}
		}
		if _, e := attempt(t, small, q); e == nil || e.Reason != fetch.TooLarge {
			t.Errorf("%s above the limit: %v", is, e)
		}
		if is == "identity" || is == "utf-8" {
			continue
		}
		if _, e := attempt(t, f, q+"&cut=9"); e == nil || e.Reason != fetch.Truncated {
			t.Errorf("%s, cut but complete as announced: %v", is, e)
		}
		if _, e := attempt(t, f, srv.URL+"/?is=identity&says="+url.QueryEscape(is)); e == nil ||
			e.Reason != fetch.HTTPError {
			t.Errorf("no %s inside: %v", is, e)
		}
	}
	if _, e := attempt(t, f, srv.URL+"/?is=three&says=gzip,gzip,gzip"); e == nil ||
		e.Reason != fetch.HTTPError || e.Err.Error() != "content encoding: more than two layers" {
		t.Errorf("three layers: %v", e)
	}
	if got, e := attempt(t, f, srv.URL+"/?is=three&says=gzip,utf-8,gzip"); e != nil ||
		!bytes.Equal([]byte(got), gz) {
		t.Errorf("two of three layers: %v", e)
	}
}

// TestBehindCoding: behind a complete content encoding only the message's own end counts.
func TestBehindCoding(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	io.WriteString(w, "image")
	w.Close()
	const head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
	chunk := fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", z.Len(), z.Bytes())
	whole := head + fmt.Sprintf("Content-Length: %d\r\n\r\n", z.Len()+500) + z.String()
	zeros := strings.Repeat("\x00", 500)
	f := newFetcher(t, fetch.Options{Timeout: time.Minute})
	for _, c := range []struct {
		name, answer string
		then         string // "" ends the connection, wait leaves it open, flood sends on
		want         string
	}{
		{"bytes behind it", whole + zeros, "", ""},
		{"no length", head + "\r\n" + z.String() + zeros, "", ""},
		{"no length, no trailer", head + "\r\n" + z.String()[:z.Len()-8], "", ""},
		{"no end in sight", whole + zeros[1:], "wait", ""},
		{"no end at all", head + "\r\n" + z.String(), "flood", ""},
		{"less than announced", whole, "", fetch.Truncated},
		{"last chunk missing", head + chunk, "", fetch.Truncated},
		{"final CRLF missing", head + chunk + "0\r\n", "", ""},
		{"empty, complete", head + "Content-Length: 0\r\n\r\n", "", "empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			addr := listen(t, func(conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				io.WriteString(conn, c.answer)
				switch c.then {
				case "wait":
					io.Copy(io.Discard, conn) // until the client closes it
				case "flood":
					for _, err := conn.Write(nil); err == nil; _, err = conn.Write(make([]byte, 32<<10)) {
					}
				}
			})
			got, e := attempt(t, f, "http://"+addr+"/")
			switch {
			case c.want == "" && (e != nil || got != "image"), c.want == "empty" && (e != nil || got != ""),
				c.want == fetch.Truncated && (e == nil || e.Reason != fetch.Truncated):
				t.Errorf("%q, %v; want %q", got, e, c.want)
			}
		})
	}
}

func TestContextEndsAttempt(t *testing.T) {
	s := newServer(t)
	f := newFetcher(t, fetch.Options{})
	stop := errors.New("enough")
	for _, path := range []string{"/dead/", "/hang/"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		mem := newBudget()
		done := make(chan error)
		go func() {
			_, err := f.Fetch(ctx, s.URL+path, mem)
			done <- err
		}()
		for s.Hits(path) == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel(stop)
		if err := <-done; err != stop || mem.held != 0 {
			t.Errorf("%s: %v with %d bytes held, want the context's cause and none", path, err, mem.held)
		}
	}
}

// TestReuse holds connections to being used again, after errors and redirects as well.
func TestReuse(t *testing.T) {
	var mu sync.Mutex
	conns := map[string]bool{}
	s := newServer(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		conns[r.RemoteAddr] = true
		mu.Unlock()
		s.ServeHTTP(w, r)
	}))
	defer srv.Close()
	f := newFetcher(t, fetch.Options{MaxRedirects: 3})
	for range 10 {
		for _, path := range []string{"/i/0/x", "/i/1/x", "/status/404", "/missing", "/redirect/2/1/x",
			"/empty/"} {
			attempt(t, f, srv.URL+path)
		}
	}
	// on a loaded machine net/http gives up a connection whose write takes 50 ms to be confirmed
	if len(conns) > 6 {
		t.Errorf("%d connections for 100 requests, one after the other", len(conns))
	}
}

// TestResetOnKeptConnections: a URL whose server resets must not be asked once for each idle connection.
func TestResetOnKeptConnections(t *testing.T) {
	s := fetchtest.New(map[string][]byte{"a": {1}}, 20*time.Millisecond)
	defer s.Close()
	f := newFetcher(t, fetch.Options{})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() { attempt(t, f, fmt.Sprintf("%s/i/%d/x", s.URL, i)) })
	}
	wg.Wait()
	if _, e := attempt(t, f, s.URL+"/reset/"); e == nil || e.Reason != fetch.Reset {
		t.Fatalf("%v, want a reset", e)
	}
	// The fourth request is cancelled while it is sent: the server may see it.
	if n := s.Hits("/reset/"); n > 4 {
		t.Errorf("requested %d times in one attempt", n)
	}
}

func TestTemporary(t *testing.T) {
	for e, want := range map[*fetch.Error]bool{
		{Reason: fetch.Timeout}: true, {Reason: fetch.HTTP429}: true,
		{Reason: fetch.HTTP5xx, Status: 503}: true,
		{Reason: fetch.HTTP5xx, Status: 501}: false, {Reason: fetch.HTTP4xx, Status: 404}: false,
		{Reason: fetch.TLS}:         false,
		{Reason: fetch.DNSNotFound}: false, {Reason: fetch.DNSTimeout}: true, {Reason: fetch.OptOut}: false,
	} {
		if temporary(e) != want {
			t.Errorf("%v: temporary %v", e, !want)
		}
	}
}

func TestRetryAfterAndFinalURL(t *testing.T) {
	s := newServer(t)
	f := newFetcher(t, fetch.Options{MaxRedirects: 3})
	_, e := attempt(t, f, s.URL+"/to/"+url.PathEscape(s.URL+"/limit/0/x"))
	if e == nil || e.RetryAfter != time.Second || e.Status != 429 || e.FinalURL != s.URL+"/limit/0/x" {
		t.Errorf("%+v", e)
	}
}
