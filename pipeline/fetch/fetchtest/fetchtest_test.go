package fetchtest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"facescan/pipeline/fetch/fetchtest"

	"go.uber.org/goleak"
)

// toxiproxy leaves goroutines behind that wait for its links for ever.
func TestMain(m *testing.M) {
	const links = "github.com/Shopify/toxiproxy/v2"
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction(links+".(*ToxicLink).read"),
		goleak.IgnoreAnyFunction(links+".(*ToxicLink).write"),
		goleak.IgnoreAnyFunction(links+"/toxics.(*ToxicStub).Run"))
}

var images = map[string][]byte{"a.jpg": []byte("first image"), "b.png": []byte("second image")}

// get returns the status, the kind of image it is said to be, if any, and the body.
func get(t *testing.T, url string) (status int, kind, body string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	kind, is := strings.CutPrefix(r.Header.Get("Content-Type"), "image/")
	if !is {
		kind = ""
	}
	return r.StatusCode, kind, string(b)
}

func TestAnswers(t *testing.T) {
	s := fetchtest.New(images, 0)
	defer s.Close()
	defer http.DefaultClient.CloseIdleConnections()
	for _, c := range []struct {
		path string
		code int
		kind string
		body string
	}{
		{"/i/3/x.jpg", 200, "png", "second image3"},
		{"/f/a.jpg", 200, "", "first image"},
		{"/f/none", 404, "", "404 page not found\n"},
		{"/status/418", 418, "", ""},
		{"/flaky/1/3/x", 503, "", ""},
		{"/flaky/1/3/x", 200, "png", "second image"},
		{"/limit/3/x", 429, "", ""},
		{"/limit/3/x", 200, "png", "second image"},
		{"/throttle/1/3/x", 200, "png", "second image"},
		{"/throttle/1/3/x", 429, "", ""},
		{"/throttle/1/3/x", 429, "", ""},
		{"/redirect/3/1/x.jpg", 200, "png", "second image"},
		{"/to/" + "%2Ff%2Fb.png", 200, "", "second image"},
		{"/short/1/x", 200, "png", "second"},
		{"/auth/1/x", 401, "", ""},
		{"/empty/", 200, "", ""},
		{"/noai/0/x", 200, "jpeg", "first image"},
		{"/nowhere/", 302, "", ""},
		{"/huge/2/", 200, "jpeg", "\xff\xd8\xff" + strings.Repeat("\x00", 1<<20-3) + "\xff\xd8\xff" +
			strings.Repeat("\x00", 1<<20-3)},
		{"/robots.txt", 404, "", "404 page not found\n"},
		{"/unknown", 404, "", "404 page not found\n"},
	} {
		if code, kind, body := get(t, s.URL+c.path); code != c.code || kind != c.kind || body != c.body {
			t.Errorf("%s: %d %s %.99q, want %d %s %.99q", c.path, code, kind, body, c.code, c.kind, c.body)
		}
	}
	if s.Hits("/redirect/1/1/x.jpg") != 1 || s.Hits("/redirect/0/1/x.jpg") != 1 {
		t.Errorf("%v", s.Paths())
	}
	if n := s.Busiest(); n != 1 { // after the first that was refused
		t.Errorf("%d throttled requests within a second", n)
	}
	s.SetRobots(func(w http.ResponseWriter, _ *http.Request, hit int) { fmt.Fprint(w, hit) })
	if code, _, body := get(t, s.URL+"/robots.txt"); code != 200 || body != "2" {
		t.Errorf("robots.txt: %d %s", code, body)
	}
	if n := s.Hits("/flaky/1/3/x"); n != 2 {
		t.Errorf("%d hits of a path asked for twice", n)
	}
	if _, _, body := get(t, s.URL+"/echo/?q"); !strings.HasPrefix(body, "GET /echo/?q HTTP/1.1") {
		t.Errorf("echo: %q", body)
	}
	s.Reset()
	if s.Total() != 0 || len(s.Paths()) != 0 || s.Busiest() != 0 || s.Peak() != 0 {
		t.Error("counts survived Reset")
	}
}

// TestFaults: what is not an image, and what is not an answer.
func TestFaults(t *testing.T) {
	s := fetchtest.New(images, 0)
	defer s.Close()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	defer client.CloseIdleConnections()
	for path, want := range map[string]string{
		"/html/": "200 ok", "/auth/0/x": "200 ok", "/loop/": "302 ok", "/trunc/1/x": "200 unexpected EOF",
		"/reset/": "reset by peer", "/garbage/": "malformed HTTP",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer x")
		got := "ok"
		r, err := client.Do(req)
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
		if err != nil {
			got = err.Error()
		}
		if r != nil {
			got = fmt.Sprint(r.StatusCode, " ", got)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

// TestCloseEndsHandlers holds Close to ending answers that would never end by themselves.
func TestCloseEndsHandlers(t *testing.T) {
	s := fetchtest.New(images, 0)
	defer http.DefaultClient.CloseIdleConnections()
	for _, path := range []string{"/hang/", "/drip/"} {
		r, err := http.Get(s.Listen("127.0.0.2:0") + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
	}
	s.Close()
	if s.Peak() != 2 {
		t.Errorf("peak %d, want 2", s.Peak())
	}
}
