package fetch_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"facescan/pipeline/fetch"
)

// says answers a robots.txt with a text.
func says(text string) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, _ *http.Request, _ int) { fmt.Fprint(w, text) }
}

// TestRobots: robots.txt is requested once for any number of attempts; what it disallows is not requested,
// also behind a redirect.
func TestRobots(t *testing.T) {
	s, other := newServer(t), newServer(t)
	s.SetRobots(says("User-agent: *\nDisallow: /i/1/\n"))
	other.SetRobots(says("User-agent: *\nDisallow: /\n\nUser-agent: mybot\nDisallow: /i/2/\n"))
	f := newFetcher(t, fetch.Options{Robots: true, UserAgent: "MyBot/1.0 (+https://example.org)",
		MaxRedirects: 3})
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if _, e := attempt(t, f, fmt.Sprintf("%s/i/2/%d.jpg", s.URL, i)); e != nil {
				t.Error(e)
			}
			_, e := attempt(t, f, fmt.Sprintf("%s/i/1/%d.jpg", s.URL, i))
			if e == nil || e.Reason != fetch.OptOut || e.Status != 0 || e.FinalURL != "" || e.Wait != 0 {
				t.Errorf("%+v", e)
			}
		})
	}
	all.Wait()
	if s.Hits("/robots.txt") != 1 || s.Total() != 41 || f.RobotsRequests() != 1 {
		t.Errorf("%v", s.Paths())
	}
	to := func(path string) string { return s.URL + "/to/" + url.PathEscape(other.URL+path) }
	if _, e := attempt(t, f, to("/i/1/x.jpg")); e != nil {
		t.Error(e)
	}
	for _, path := range []string{"/i/2/x.jpg", "/redirect/1/2/x"} {
		if _, e := attempt(t, f, to(path)); path == "/i/2/x.jpg" && (e == nil || e.Reason != fetch.OptOut ||
			e.Status != http.StatusFound || e.FinalURL != other.URL+path) {
			t.Errorf("%s: %+v", path, e)
		}
	}
	_, e := attempt(t, f, s.URL+"/to/"+url.PathEscape("/i/1/x.jpg"))
	if e == nil || e.Reason != fetch.OptOut {
		t.Errorf("to a path of the same host: %+v", e)
	}
	if other.Hits("/robots.txt") != 1 || other.Hits("/i/2/x.jpg") != 0 || s.Hits("/i/1/x.jpg") != 0 {
		t.Errorf("%v, %v", s.Paths(), other.Paths())
	}
	if _, e := attempt(t, f, s.URL+"/robots.txt"); e != nil {
		t.Errorf("robots.txt in the list: %v", e)
	}
	// It is off by default.
	plain := newFetcher(t, fetch.Options{})
	if _, e := attempt(t, plain, s.URL+"/i/1/x.jpg"); e != nil || plain.RobotsRequests() != 0 {
		t.Errorf("without it: %v", e)
	}
}

// TestRobotsAnswers: what each answer for a robots.txt means.
func TestRobotsAnswers(t *testing.T) {
	const all = "User-agent: *\nDisallow: /\n"
	status := func(code int) func(http.ResponseWriter, *http.Request, int) {
		return func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Content-Length", fmt.Sprint(len(all)))
			w.WriteHeader(code)
			fmt.Fprint(w, all)
		}
	}
	moved := func(to string) func(http.ResponseWriter, *http.Request, int) {
		return func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusMovedPermanently)
		}
	}
	nothing := func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusNoContent) }
	refuser := newServer(t)
	refuser.SetRobots(says(all))
	long := func(n int) string {
		return strings.Repeat("#"+strings.Repeat("x", 98)+"\n", n/100+1)[:n-1] + "\n" + all
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request, int)
		want   string // a reason; empty for allowed
		waits  bool
	}{
		"200":          {says(all), fetch.OptOut, false},
		"empty":        {says(""), "", false},
		"204":          {nothing, "", false},
		"400":          {status(400), "", false},
		"401":          {status(401), "", false},
		"403":          {status(403), "", false},
		"404":          {status(404), "", false},
		"408":          {status(408), "", false},
		"410":          {status(410), "", false},
		"418":          {status(418), "", false},
		"451":          {status(451), "", false},
		"499":          {status(499), "", false},
		"429":          {status(429), fetch.HTTP429, true},
		"500":          {status(500), fetch.HTTP5xx, true},
		"503":          {status(503), fetch.HTTP5xx, true},
		"599":          {status(599), fetch.HTTP5xx, true},
		"elsewhere":    {moved(refuser.URL + "/robots.txt"), fetch.OptOut, false},
		"five hops":    {moved("/redirect/4/1/x"), "", false}, // an image has no rules
		"six hops":     {moved("/redirect/6/1/x"), "", false},
		"to 404":       {moved("/status/404/"), "", false},
		"to 500":       {moved("/status/500/"), fetch.HTTP5xx, true},
		"to nowhere":   {moved(""), fetch.HTTPError, false},
		"to no http":   {moved("ftp://example.org/robots.txt"), fetch.HTTPError, false},
		"to a private": {moved("http://169.254.169.254/robots.txt"), fetch.PrivateAddress, false},
		"to the dead":  {moved("/dead/"), fetch.Timeout, false},
		"cut":          {moved("/trunc/1/x"), fetch.Truncated, false},
		"reset":        {moved("/reset/"), fetch.Reset, false},
		"no HTTP":      {moved("/garbage/"), fetch.HTTPError, false},
		"long":         {says(long(500<<10 - len(all))), fetch.OptOut, false},
		"longer":       {says(long(500 << 10)), "", false},
		"without end":  {moved("/huge/100/"), "", false},
		"announced":    {status200(long(600 << 10)), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.SetRobots(c.answer)
			f := newFetcher(t, fetch.Options{Robots: true, Timeout: 2 * time.Second})
			_, e := attempt(t, f, s.URL+"/i/1/x.jpg")
			reason := ""
			if e != nil {
				reason = e.Reason
			}
			if reason != c.want || (reason == "") != (s.Hits("/i/1/x.jpg") == 1) ||
				e != nil && (e.Wait > 0) != c.waits {
				t.Errorf("%+v, %v", e, s.Paths())
			}
			if s.Hits("/robots.txt") != 1 {
				t.Errorf("%v", s.Paths())
			}
		})
	}
}

func status200(text string) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		fmt.Fprint(w, text)
	}
}

// TestRobotsRequestIsBare: the request for a robots.txt has the user agent, and no header or password of the
// user.
func TestRobotsRequestIsBare(t *testing.T) {
	s := newServer(t)
	asked := make(chan http.Header, 2)
	s.SetRobots(func(_ http.ResponseWriter, r *http.Request, _ int) { asked <- r.Header })
	var hs []fetch.Header
	addr := strings.TrimPrefix(s.URL, "http://")
	for _, text := range []string{addr + "=Authorization: secret", addr + "=Cookie: secret",
		"X-Every: secret"} {
		h, err := fetch.ParseHeader(text)
		must(t, err)
		hs = append(hs, h)
	}
	f := newFetcher(t, fetch.Options{Robots: true, Headers: hs, UserAgent: "bot/1"})
	row := strings.Replace(s.URL, "http://", "http://me:secret@", 1) + "/echo/row"
	got, e := attempt(t, f, row)
	if e != nil || !strings.Contains(got, "X-Every: secret") || !strings.Contains(got, "Authorization: ") {
		t.Fatalf("%v, %s", e, got)
	}
	must(t, f.Probe(t.Context(), row)) // a probe requests the robots.txt, not for the row
	if s.Hits("/echo/row") != 1 {
		t.Errorf("%v", s.Paths())
	}
	for range 2 {
		h := <-asked
		if h.Get("User-Agent") != "bot/1" || h.Get("Authorization") != "" || h.Get("Cookie") != "" ||
			h.Get("X-Every") != "" {
			t.Errorf("%v", h)
		}
	}
}

// TestRobotsOfBlockedHosts: no robots.txt is requested from a host that is skipped, nor behind the guard.
func TestRobotsOfBlockedHosts(t *testing.T) {
	s := newServer(t)
	list, err := fetch.ReadBlockList(strings.NewReader("127.0.0.1"))
	must(t, err)
	f := newFetcher(t, fetch.Options{Robots: true, BlockHosts: list})
	if _, e := attempt(t, f, s.URL+"/i/1/x.jpg"); e == nil || e.Reason != fetch.Blocked || s.Total() != 0 {
		t.Errorf("%v, %v", e, s.Paths())
	}
	guarded, err := fetch.New(fetch.Options{Robots: true})
	must(t, err)
	defer guarded.Close()
	_, e := attempt(t, guarded, s.URL+"/i/1/x.jpg")
	if e == nil || e.Reason != fetch.PrivateAddress || s.Total() != 0 {
		t.Errorf("%v, %v", e, s.Paths())
	}
}

// TestRobotsComesBack: rows wait for a robots.txt that is refused, and are requested when it comes.
func TestRobotsComesBack(t *testing.T) {
	s := newServer(t)
	s.SetRobots(func(w http.ResponseWriter, _ *http.Request, hit int) {
		if hit == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	f := newFetcher(t, fetch.Options{Robots: true})
	_, e := attempt(t, f, s.URL+"/i/1/x.jpg")
	if e == nil || e.Reason != fetch.HTTP5xx || e.Status != 503 || e.Wait == 0 ||
		e.Robots != fetch.RobotsRequested {
		t.Fatalf("%+v", e)
	}
	if _, e = attempt(t, f, s.URL+"/i/1/x.jpg"); e == nil || e.Wait == 0 || e.Robots != fetch.RobotsKnown {
		t.Fatalf("%+v", e)
	}
	for e != nil {
		if e.Wait <= 0 {
			t.Fatalf("%+v", e)
		}
		time.Sleep(e.Wait) // what the queue does
		_, e = attempt(t, f, s.URL+"/i/1/x.jpg")
	}
	if s.Hits("/robots.txt") != 2 || s.Hits("/i/1/x.jpg") != 1 {
		t.Errorf("%v", s.Paths())
	}
}
