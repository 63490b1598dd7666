package fetchtest_test

import (
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

func get(t *testing.T, url string) (int, string) {
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
	return r.StatusCode, string(b)
}

func TestAnswers(t *testing.T) {
	s := fetchtest.New(images, 0)
	defer s.Close()
	defer http.DefaultClient.CloseIdleConnections()
	for _, c := range []struct {
		path string
		code int
		body string
	}{
		{"/i/3/x.jpg", 200, "second image3"},
		{"/f/a.jpg", 200, "first image"},
		{"/f/none", 404, "404 page not found\n"},
		{"/status/418", 418, ""},
		{"/flaky/1/0/x", 503, ""},
		{"/flaky/1/0/x", 200, "first image"},
		{"/limit/1/x", 429, ""},
		{"/limit/1/x", 200, "second image"},
		{"/throttle/1/0/x", 200, "first image"},
		{"/throttle/1/0/x", 429, ""},
		{"/redirect/3/1/x.jpg", 200, "second image"},
		{"/to/" + "%2Ff%2Fb.png", 200, "second image"},
		{"/short/1/x", 200, "second"},
		{"/empty/", 200, ""},
		{"/noai/0/x", 200, "first image"},
		{"/unknown", 404, "404 page not found\n"},
	} {
		if code, body := get(t, s.URL+c.path); code != c.code || body != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.path, code, body, c.code, c.body)
		}
	}
	if n := s.Hits("/flaky/1/0/x"); n != 2 {
		t.Errorf("%d hits of a path asked for twice", n)
	}
	if _, body := get(t, s.URL+"/echo/?q"); !strings.HasPrefix(body, "GET /echo/?q HTTP/1.1") {
		t.Errorf("echo: %q", body)
	}
	s.Reset()
	if s.Total() != 0 || len(s.Paths()) != 0 {
		t.Error("counts survived Reset")
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
