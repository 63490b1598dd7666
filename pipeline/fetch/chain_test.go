package fetch_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/fetchtest"
)

// TestVisits: a URL may come twice in a chain.
func TestVisits(t *testing.T) {
	hits := map[string]int{}
	var mu sync.Mutex
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		hits[r.URL.Path]++
		n := hits[r.URL.Path]
		mu.Unlock()
		var times int
		switch _, err := fmt.Sscanf(r.URL.Path, "/self/%d", &times); {
		case err == nil && n <= times:
			w.Header().Set("Location", r.URL.Path+"#again")
		case r.URL.Path == "/ping":
			w.Header().Set("Location", "/pong")
		case r.URL.Path == "/pong" && n <= 9:
			w.Header().Set("Location", "/ping")
		default:
			io.WriteString(w, "image")
			return
		}
		w.WriteHeader(http.StatusFound)
	}))
	defer srv.Close()
	f := newFetcher(t, fetch.Options{MaxRedirects: 10})
	for path, want := range map[string]struct {
		reason string
		asked  int
	}{
		"/self/0": {"", 1}, "/self/1": {"", 2},
		"/self/2": {fetch.RedirectLoop, 2}, "/ping": {fetch.RedirectLoop, 2},
	} {
		got, e := attempt(t, f, srv.URL+path)
		switch {
		case want.reason == "" && (e != nil || got != "image"),
			want.reason != "" && (e == nil || e.Reason != want.reason || temporary(e)):
			t.Errorf("%s: %q, %v", path, got, e)
		}
		if hits[path] != want.asked {
			t.Errorf("%s was requested %d times, want %d", path, hits[path], want.asked)
		}
	}
	still := newFetcher(t, fetch.Options{})
	if _, e := attempt(t, still, srv.URL+"/self/0"); e != nil {
		t.Error(e)
	}
	clear(hits)
	if _, e := attempt(t, still, srv.URL+"/self/1"); e == nil || e.Reason != fetch.RedirectLoop ||
		hits["/self/1"] != 1 {
		t.Errorf("without redirects: %v, requested %d times", e, hits["/self/1"])
	}
}

// TestCookies: what a host sets along a chain comes back to it, to no other one, and not in the next attempt.
func TestCookies(t *testing.T) {
	set := func(w http.ResponseWriter, r *http.Request) {
		for _, c := range r.URL.Query()["set"] {
			w.Header().Add("Set-Cookie", c)
		}
		if to := r.URL.Query().Get("to"); to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
			return
		}
		io.WriteString(w, r.Header.Get("Cookie"))
	}
	srv := httptest.NewServer(http.HandlerFunc(set))
	defer srv.Close()
	port := portOf(t, srv.URL)
	r := nameServer(t, map[string]string{"a.test": "127.0.0.1", "www.a.test": "127.0.0.1",
		"b.test": "127.0.0.1"})
	mine, err := fetch.ParseHeader("a.test=Cookie: mine=1")
	must(t, err)
	f := newFetcher(t, fetch.Options{MaxRedirects: 5, DNS: r})
	own := newFetcher(t, fetch.Options{MaxRedirects: 5, DNS: r, Headers: []fetch.Header{mine}})
	link := func(host, path string, to string, cookies ...string) string {
		q := url.Values{"set": cookies}
		if to != "" {
			q.Set("to", to)
		}
		return "http://" + host + ":" + port + path + "?" + q.Encode()
	}
	end := func(host string) string { return link(host, "/end", "") }
	most := strings.Repeat("x", 16<<10-len("big")) // of all cookies
	for _, c := range []struct {
		f    *fetch.Fetcher
		url  string
		want string
	}{
		{f, link("a.test", "/", end("a.test"), "seen=1; Path=/"), "seen=1"},
		{f, end("a.test"), ""}, // forgotten
		{f, link("a.test", "/", link("a.test", "/", end("a.test"), "x=2", "y=3"), "x=1"), "x=2; y=3"},
		{f, link("a.test", "/", link("a.test", "/", end("a.test"), "x=; Max-Age=0"), "x=1"), ""},
		{f, link("a.test", "/deep/", end("a.test"), "below=1"), ""},
		{f, link("a.test", "/", end("a.test"), "safe=1; Secure"), ""},
		{f, link("a.test", "/", end("b.test"), "seen=1"), ""},
		{f, link("www.a.test", "/", end("a.test"), "wide=1; Domain=a.test"), ""},
		{f, link("a.test", "/", link("b.test", "/", end("a.test"), "b=1"), "a=1"), "a=1"},
		{f, link("a.test", "/", end("a.test"), "big="+strings.Repeat("x", 16<<10-2), "small=1"), ""},
		{f, link("a.test", "/", end("a.test"), "big="+most, "small=1"), "big=" + most},
		{own, link("a.test", "/", end("a.test"), "seen=1"), "mine=1; seen=1"},
	} {
		if got, e := attempt(t, c.f, c.url); e != nil || got != c.want {
			t.Errorf("%s: cookies %q, %v; want %q", c.url, got, e, c.want)
		}
	}
}

// TestRedirectBody: a redirect is followed, whether or not its own body ends.
func TestRedirectBody(t *testing.T) {
	var mu sync.Mutex
	conns := map[string]bool{}
	ended := make(chan string, 3)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		conns[r.RemoteAddr] = true
		mu.Unlock()
		if r.URL.Path == "/end" {
			io.WriteString(w, "image")
			return
		}
		w.Header().Set("Location", "/end")
		if r.URL.Path != "/huge" {
			w.Header().Set("Content-Length", "4000")
		}
		w.WriteHeader(http.StatusFound)
		switch r.URL.Path {
		case "/short":
			w.Write(bytes.Repeat([]byte("x"), 4000))
			return
		case "/huge":
			for _, err := w.Write(nil); err == nil; _, err = w.Write(make([]byte, 64<<10)) {
			}
		case "/drip":
			io.WriteString(w, "x")
			fallthrough
		case "/never":
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
		ended <- r.URL.Path // the client closed the connection
	}))
	defer srv.Close()
	f := newFetcher(t, fetch.Options{MaxRedirects: 2, Timeout: time.Minute})
	for range 5 {
		if got, e := attempt(t, f, srv.URL+"/short"); e != nil || got != "image" {
			t.Errorf("a short body: %q, %v", got, e)
		}
	}
	if len(conns) > 5 { // of 10 requests; on a loaded machine net/http gives up one or the other
		t.Errorf("%d connections for redirects with short bodies", len(conns))
	}
	for _, path := range []string{"/never", "/drip", "/huge"} {
		if got, e := attempt(t, f, srv.URL+path); e != nil || got != "image" {
			t.Errorf("%s: %q, %v", path, got, e)
		}
		if got := <-ended; got != path {
			t.Errorf("%s ended, want %s", got, path)
		}
	}
}

// TestCredentials: a header for one host follows redirects within it, never from another host, and never out
// of TLS.
func TestCredentials(t *testing.T) {
	cert, pool := certificate(t, "img.test", "other.test")
	s := fetchtest.New(map[string][]byte{"a": {1}}, 0)
	defer s.Close()
	plain, secure := portOf(t, s.URL), portOf(t, s.ListenTLS("127.0.0.1:0", cert))
	img, imgTLS := "http://img.test:"+plain, "https://img.test:"+secure
	other, otherTLS := "http://other.test:"+plain, "https://other.test:"+secure
	r := nameServer(t, map[string]string{"img.test": "127.0.0.1", "other.test": "127.0.0.1"})
	hs, err := fetch.ReadHeaders(strings.NewReader(
		"\ufeff# secrets\r\n\r\nimg.test=Authorization: Bearer secret\r\n  X-All: yes  \n"))
	if err != nil || len(hs) != 2 {
		t.Fatalf("%v, %v", hs, err)
	}
	f := newFetcher(t, fetch.Options{Headers: hs, MaxRedirects: 5, RootCAs: pool, DNS: r})
	for _, c := range []struct {
		chain []string // bases, from the row's own
		sent  bool
	}{
		{[]string{img}, true},
		{[]string{imgTLS}, true},
		{[]string{imgTLS, imgTLS}, true},
		{[]string{img, img}, true},
		{[]string{img, imgTLS}, true},
		{[]string{img, imgTLS, imgTLS}, true},
		{[]string{imgTLS, img}, false},
		{[]string{img, imgTLS, img}, false},
		{[]string{imgTLS, img, imgTLS}, false},
		{[]string{other}, false},
		{[]string{other, img}, false},
		{[]string{other, imgTLS}, false},
		{[]string{otherTLS, imgTLS}, false},
		{[]string{otherTLS, imgTLS, imgTLS}, false},
		{[]string{imgTLS, otherTLS}, false},
		{[]string{imgTLS, otherTLS, imgTLS}, false},
	} {
		u := c.chain[len(c.chain)-1] + "/echo/"
		for i := len(c.chain) - 2; i >= 0; i-- {
			u = c.chain[i] + "/to/" + url.PathEscape(u)
		}
		got, e := attempt(t, f, u)
		if e != nil {
			t.Errorf("%v: %v", c.chain, e)
		} else if sent := strings.Contains(got, "\r\nAuthorization: Bearer secret\r\n"); sent != c.sent {
			t.Errorf("%v: sent %v, want %v", c.chain, sent, c.sent)
		}
		// Another port is another host to a header for every host.
		stayed := len(slices.Compact(slices.Clone(c.chain))) == 1
		if all := strings.Contains(got, "\r\nX-All: yes\r\n"); all != stayed {
			t.Errorf("%v: X-All sent %v, want %v", c.chain, all, stayed)
		}
	}
}

func TestReadHeaders(t *testing.T) {
	for text, want := range map[string]string{
		"X: 1\n\nsecret\n":                  "line 3: ",
		"Authorization: Bearer secret":      "line 1: header Authorization would go to every host",
		"img.test=Host: secret\n":           "line 1: header Host cannot be set",
		"X: " + strings.Repeat("a", 70_000): "too long",
	} {
		hs, err := fetch.ReadHeaders(strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.30q: %v, %v", text, hs, err)
		}
	}
}
