package fetch_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/fetchtest"
)

func TestOptOut(t *testing.T) {
	var sent atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, v := range r.URL.Query()["tag"] {
			w.Header().Add("X-Robots-Tag", v)
		}
		w.Header().Set("Content-Length", "8000000")
		for range 8 {
			n, _ := w.Write(make([]byte, 1_000_000))
			sent.Add(int64(n))
		}
	}))
	defer srv.Close()
	polite := newFetcher(t, fetch.Options{UserAgent: "FaceScan/1.0 (+https://example.com)"})
	deaf := newFetcher(t, fetch.Options{IgnoreOptOut: true})
	for _, c := range []struct {
		tags []string
		out  bool
	}{
		{nil, false},
		{[]string{"noai"}, true},
		{[]string{"NoImageAI"}, true},
		{[]string{"noindex"}, true},
		{[]string{"noimageindex"}, true},
		{[]string{"noml"}, true},
		{[]string{"none"}, true},
		{[]string{"nofollow, noarchive"}, false},
		{[]string{"nofollow , noai"}, true},
		{[]string{"nofollow", "noai"}, true},
		{[]string{"googlebot: noindex"}, false},
		{[]string{"facescan: noindex"}, true},
		{[]string{"facescan : noindex"}, true},
		{[]string{"*: noai"}, true},
		{[]string{"otherbot: noai", "nosnippet"}, false},
		{[]string{"unavailable_after: 25 Jun 2010 15:00:00 PST"}, false},
		{[]string{"max-snippet:-1, noai"}, false},
		{[]string{"noaircraft"}, false},
	} {
		u := srv.URL + "/?" + url.Values{"tag": c.tags}.Encode()
		_, e := attempt(t, polite, u)
		if out := e != nil && e.Reason == fetch.OptOut; out != c.out || e != nil && e.Bytes != 0 {
			t.Errorf("%q: %v", c.tags, e)
		}
		if _, e := attempt(t, deaf, u); e != nil {
			t.Errorf("%q, ignored: %v", c.tags, e)
		}
	}
}

func TestParseHeader(t *testing.T) {
	for s, want := range map[string]fetch.Header{
		"referer: https://example.com/?a=b": {Name: "Referer", Value: "https://example.com/?a=b"},
		"X-Empty:":                          {Name: "X-Empty"},
		"example.com=Authorization: Bearer a=b:c": {Host: "example.com", Name: "Authorization",
			Value: "Bearer a=b:c"},
		"Example.com:8443=cookie: a=1; b=2": {Host: "example.com:8443", Name: "Cookie",
			Value: "a=1; b=2"},
		"[::1]:8080=X-Key: v": {Host: "[::1]:8080", Name: "X-Key", Value: "v"},
		"bücher.example=Accept: image/png": {Host: "xn--bcher-kva.example", Name: "Accept",
			Value: "image/png"},
	} {
		if got, err := fetch.ParseHeader(s); err != nil || got != want {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "no colon", "Authorization: Bearer secret", "cookie: a=secret", "Host: a",
		"Content-Length: 3", "a b: c", "X: a\nsecret",
		"exa mple.com=X: 1", "example.com/path=X: 1", "256.1.1.1=X: 1", "example.com=",
		"*=Authorization: Bearer secret",
		"*.example.com=X: 1", "Proxy-Authorization: secret"} {
		if h, err := fetch.ParseHeader(s); err == nil {
			t.Errorf("%q was accepted: %+v", s, h)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a value: %v", err)
		}
	}
}

func TestHeadersStayAtHome(t *testing.T) {
	s := newServer(t)
	other, otherPort := s.Listen("127.0.0.2:0"), s.Listen("127.0.0.2:0")
	host := func(u string) string { return strings.TrimPrefix(u, "http://") }
	var hs []fetch.Header
	for _, h := range []string{"X-Every: every", host(s.URL) + "=Authorization: Bearer secret",
		host(other) + "=Cookie: other=1", "127.0.0.2=X-Any-Port: yes",
		"127.0.0.2:1=X-Other-Port: no", "User-Agent: mine"} {
		p, err := fetch.ParseHeader(h)
		must(t, err)
		hs = append(hs, p)
	}
	f := newFetcher(t, fetch.Options{Headers: hs, MaxRedirects: 3})
	to := func(from, to string) string { return from + "/to/" + url.PathEscape(to+"/echo/") }
	for _, c := range []struct{ url, want, never string }{
		{s.URL + "/echo/", "X-Every: every|Authorization: Bearer secret|User-Agent: mine",
			"Cookie|X-Any-Port"},
		{other + "/echo/", "X-Every: every|Cookie: other=1|X-Any-Port: yes", "Authorization|X-Other-Port"},
		{to(s.URL, s.URL), "X-Every: every|Authorization: Bearer secret", "Cookie"},
		{to(s.URL, other), "User-Agent: facescan", "X-Every|Authorization|Cookie|X-Any-Port"},
		{to(other, s.URL), "User-Agent: facescan", "X-Every|Authorization|Cookie|X-Any-Port"},
		{s.URL + "/to/" + url.PathEscape(to(other, s.URL)), "User-Agent: facescan",
			"X-Every|Authorization|Cookie|X-Any-Port"},
		{to(other, otherPort), "X-Any-Port: yes", "X-Every|Cookie"},
		{other + "/to/" + url.PathEscape(to(otherPort, other)), "X-Any-Port: yes", "X-Every|Cookie"},
	} {
		got, e := attempt(t, f, c.url)
		if e != nil {
			t.Errorf("%s: %v", c.url, e)
			continue
		}
		for _, w := range strings.Split(c.want, "|") {
			if !strings.Contains(got, "\r\n"+w) {
				t.Errorf("%s: no %q in\n%s", c.url, w, got)
			}
		}
		for _, n := range strings.Split(c.never, "|") {
			if strings.Contains(got, "\r\n"+n) {
				t.Errorf("%s: %q in\n%s", c.url, n, got)
			}
		}
	}
}

func TestOneHeader(t *testing.T) {
	s := newServer(t)
	h, err := fetch.ParseHeader("X-Key: v")
	must(t, err)
	f := newFetcher(t, fetch.Options{Headers: []fetch.Header{h}})
	if got, e := attempt(t, f, s.URL+"/echo/"); e != nil || !strings.Contains(got, "\r\nX-Key: v\r\n") {
		t.Errorf("%v\n%s", e, got)
	}
}

func TestBlockHosts(t *testing.T) {
	list, err := fetch.ReadBlockList(strings.NewReader("# comment\nExample.com\n0.0.0.0 ads.test " +
		"tracker.test # trailing\n127.0.0.9 two.test\n*.wild.test\nbücher.example\n127.0.0.2\n[::1]\n\n"))
	must(t, err)
	for host, want := range map[string]bool{
		"example.com": true, "example.com.": true, "a.b.example.com": true, "notexample.com": false,
		"com": false, "example.com.evil.test": false,
		"ads.test": true, "tracker.test": true, "wild.test": true, "x.wild.test": true,
		"xn--bcher-kva.example": true, "127.0.0.2": true, "127.0.0.3": false, "::1": true,
		"::2": false, "two.test": true, "127.0.0.9": false,
		"0.0.0.0": false, "": false,
	} {
		if list.Has(host) != want {
			t.Errorf("Has(%q) = %v", host, !want)
		}
	}
	if _, err := fetch.ReadBlockList(strings.NewReader("good.test\nbad|name\n")); err == nil ||
		!strings.Contains(err.Error(), "line 2") {
		t.Errorf("a broken list: %v", err)
	}
	s := newServer(t)
	blocked := s.Listen("127.0.0.2:0")
	f := newFetcher(t, fetch.Options{BlockHosts: list, MaxRedirects: 2})
	for _, u := range []string{blocked + "/i/0/x", s.URL + "/to/" + url.PathEscape(blocked+"/i/0/x")} {
		if _, e := attempt(t, f, u); e == nil || e.Reason != fetch.Blocked {
			t.Errorf("%s: %v", u, e)
		}
	}
	if n := s.Hits("/i/0/x"); n != 0 {
		t.Errorf("a blocked host got %d requests", n)
	}
}

func TestMinRate(t *testing.T) {
	s := newServer(t)
	f := newFetcher(t, fetch.Options{Timeout: time.Second, MinRate: 50})
	for path, want := range map[string]string{"/drip/": fetch.TooSlow, "/hang/": fetch.Timeout,
		"/dead/": fetch.Timeout} {
		if _, e := attempt(t, f, s.URL+path); e == nil || e.Reason != want {
			t.Errorf("%s: %v, want %s", path, e, want)
		}
	}
	if _, e := attempt(t, f, s.URL+"/i/1/x"); e != nil {
		t.Error(e)
	}
}

// TestOwnLimitsCostNoTime: waiting for our own limits does not count as an attempt's time.
func TestOwnLimitsCostNoTime(t *testing.T) {
	s := fetchtest.New(map[string][]byte{"a": bytes.Repeat([]byte{1}, 40_000)}, 0)
	defer s.Close()
	for name, o := range map[string]fetch.Options{"rate": {Rate: 20},
		"bandwidth": {Bandwidth: 400_000, MinRate: 100_000}} {
		o.Timeout = 300 * time.Millisecond
		f := newFetcher(t, o)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if _, e := attempt(t, f, fmt.Sprintf("%s/i/%d/x", s.URL, i)); e != nil {
					t.Errorf("%s: %v", name, e)
				}
			})
		}
		wg.Wait()
		// 19 requests after the first at 20 a second; 800 kB at 400 kB a second, less the burst.
		if d := time.Since(start); d < 900*time.Millisecond {
			t.Errorf("%s: 20 requests took %v", name, d)
		}
	}
}

func TestNegativeLimits(t *testing.T) {
	for _, o := range []fetch.Options{{Timeout: -1}, {MaxBytes: -1}, {MaxRedirects: -1}, {MinRate: -1},
		{Rate: -1}, {Bandwidth: -1}} {
		if f, err := fetch.New(o); err == nil {
			f.Close()
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestUserAgentOfOneLine(t *testing.T) {
	for _, agent := range []string{"a\nb", "a\r\nCookie: b", "a\x00", "\x7f"} {
		if f, err := fetch.New(fetch.Options{UserAgent: agent}); err == nil {
			f.Close()
			t.Errorf("%q is sent", agent)
		}
	}
}
