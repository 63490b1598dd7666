package live_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"facescan/pipeline/live"
	"facescan/store"
)

// fake is a server that shows what a test makes up.
type fake struct {
	*live.Server
	mu   sync.Mutex
	view live.Snapshot
	err  error
}

func serve(t testing.TB, v live.Snapshot, pprof bool) *fake {
	t.Helper()
	s, err := live.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out := &fake{Server: s, view: v}
	s.Serve(live.Options{
		Job: "/data/list <b>.facescan.db", Self: store.Owner{Host: "here", PID: 7}, Pprof: pprof,
		Log:  slog.New(slog.DiscardHandler),
		Hint: func(r store.Reason) string { return "about " + string(r) },
		Look: func(ctx context.Context) (live.Snapshot, error) {
			out.mu.Lock()
			defer out.mu.Unlock()
			v := out.view
			v.Now = time.Now()
			v.Stages = slices.Clone(v.Stages)
			for i := range v.Stages { // as busy as they say they are
				s := &v.Stages[i]
				s.Busy = time.Duration(float64(v.Now.Sub(v.Start)) * busy[i] * float64(s.Capacity))
			}
			return v, errors.Join(out.err, ctx.Err())
		},
	})
	t.Cleanup(func() { s.Close("finished") })
	return out
}

func (s *fake) change(f func(v *live.Snapshot)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.view)
}

// busy is how much of their capacity the stages of view use.
var busy = []float64{0.5, 0.33, 0.61, 0.05}

func view() live.Snapshot {
	now := time.Now()
	return live.Snapshot{
		Start: now.Add(-90 * time.Second), Now: now, Rate: 1234.5, OwnRate: 600, Left: 3700 * time.Second,
		Counts: store.Counts{
			Total: 5_000_000, Done: 432_100, Pending: 4_567_900, OK: 400_000, Failed: 32_100,
			ImagesWithFaces: 123_456, Faces: 234_567,
			Failures: map[store.Reason]int64{store.HTTP4xx: 30_000, store.Timeout: 2_000, store.OptOut: 100},
			Shards:   store.ShardCounts{Total: 500, Done: 43, Free: 450, Leased: 7},
			Owners: []store.OwnerCounts{{Owner: store.Owner{ID: "a", Host: "here", PID: 7}, Shards: 4,
				Pending: 32_000, Alive: true, Progress: store.Progress{Rate: 600, HeldBackBy: live.ByWorkers,
					Why: "the workers"}},
				{Owner: store.Owner{ID: "b", Host: "there", PID: 8}, Shards: 3, Pending: 22_000, Alive: true},
				{Owner: store.Owner{ID: "c", Host: "there", PID: 9}}},
			ImportIncomplete: []string{"urls.txt"},
		},
		Holdup: live.Holdup{Kind: live.ByWorkers, What: "the workers (94% busy)", Detail: "2 rows wait",
			Advice: "more --workers may help"},
		Own: live.Work{OK: 200_000, Failed: 16_000, Faces: 117_000, ImagesWithFaces: 61_000,
			Failures: map[store.Reason]int64{store.HTTP4xx: 16_000}},
		InFlight: 200, MaxInFlight: 256, Bodies: live.Memory{Used: 20 << 20, Limit: 128 << 20},
		Pixels:   live.Memory{Used: 3 << 20, Limit: 128 << 20},
		Imported: 450_000, Dispatched: 216_200, Retries: 321, Held: 4, Takeovers: 2, LeasesLost: 1,
		Data: 90 << 20, Log: 4 << 20,
		Stages: []live.Stage{
			{Name: "fetch", InFlight: 120, Capacity: 192, Queue: 3_000, Room: 16_384, Rows: 216_000,
				Took: 40_000 * time.Second, Bytes: 9 << 30},
			{Name: "decode", InFlight: 1, Capacity: 2, Queue: 2, Room: 2, Rows: 200_000,
				Took: 60 * time.Second, Bytes: 9 << 30, Buckets: [16]int64{4: 150_000}},
			{Name: "detect", InFlight: 1, Capacity: 2, Shares: true, Rows: 200_000, Took: 110 * time.Second,
				Bytes: 30 << 30},
			{Name: "commit", InFlight: 0, Capacity: 1, Queue: 5, Room: 256, Rows: 900, Took: 4 * time.Second},
		},
		Hosts: []live.Host{{Name: "slow.example", Failed: 2_000, Reason: store.Timeout, Waiting: 900,
			InFlight: 4, Limit: 4},
			{Name: "dead.example", Failed: 50, Reason: store.DNSNotFound, Dead: true},
			{Name: "busy.example", Waiting: 700, InFlight: 2, Ceiling: 5},
			{Name: "later.example", Waiting: 10, Pause: 40 * time.Second}},
		Latest: []live.Image{{ID: 77, URL: nasty, Width: 640, Height: 480,
			Faces: []store.Face{{X: 100, Y: 80, Width: 90, Height: 90, Score: 31.256},
				{X: 300, Y: 100, Width: 60, Height: 60, Score: 12}}},
			{ID: 12, URL: "http://h.example/tall.jpg", Width: 300, Height: 900,
				Faces: []store.Face{{X: 10, Y: 10, Width: 200, Height: 200, Score: 9}}}},
	}
}

type answer struct {
	status int
	header http.Header
	body   string
}

// ask makes one request; change may alter it.
func ask(t testing.TB, method, url string, change func(*http.Request)) answer {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func get(t testing.TB, url string) answer { t.Helper(); return ask(t, "GET", url, nil) }

// word finds names of metrics.
var word = regexp.MustCompile(`\b(facescan|process|go)_[a-z0-9_]+`)

// metricNames are those of an exposition.
func metricNames(text string) map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			names[word.FindString(line)] = true
		}
	}
	return names
}

// TestMetrics: Prometheus' own checker has nothing to say, and the figures are those of the view.
func TestMetrics(t *testing.T) {
	v := view()
	v.Stages[3].Room = 1
	s := serve(t, v, false)
	a := get(t, s.URL()+"metrics")
	if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") {
		t.Fatalf("%d %s", a.status, a.header)
	}
	for _, line := range []string{
		`facescan_job_rows{state="ok"} 400000`, `facescan_job_rows{state="pending"} 4.5679e+06`,
		`facescan_job_failures{class="transient",reason="timeout"} 2000`,
		`facescan_job_failures{class="permanent",reason="bad_url"} 0`, `facescan_job_owners{state="alive"} 2`,
		`facescan_job_owners{state="gone"} 1`, `facescan_job_rows{state="failed"} 32100`,
		`facescan_job_rows{state="already_done"} 0`, `facescan_job_faces 234567`,
		`facescan_job_images_with_faces 123456`, `facescan_job_shards{state="free"} 450`,
		`facescan_rows_total{status="ok"} 200000`, `facescan_faces_total 117000`,
		`facescan_job_shards{state="leased"} 7`,
		`facescan_job_remaining_seconds 3700`, `facescan_job_incomplete_sources 1`, `facescan_job_readable 1`,
		`facescan_rows_total{status="failed"} 16000`,
		`facescan_failures_total{class="permanent",reason="http_4xx"} 16000`,
		`facescan_stage_in_flight{stage="fetch"} 120`,
		`facescan_stage_queue_rows{stage="fetch"} 3000`, `facescan_stage_queue_limit_rows{stage="commit"} 1`,
		`facescan_stage_bytes_total{stage="fetch"} 9.663676416e+09`, `facescan_commits_total 900`,
		`facescan_stage_duration_seconds_bucket{stage="decode",le="0.01"} 150000`,
		`facescan_stage_duration_seconds_bucket{stage="decode",le="+Inf"} 200000`,
		`facescan_stage_duration_seconds_sum{stage="decode"} 60`,
		`facescan_memory_bytes{use="bodies"} 2.097152e+07`, `facescan_takeovers_total 2`,
		`facescan_leases_lost_total 1`, `facescan_leases 4`, `facescan_store_bytes{part="log"} 4.194304e+06`,
		`facescan_outage 0`,
		`facescan_held_back{by="workers"} 1`, `facescan_held_back{by="rate"} 0`,
		`facescan_held_back{by="tail"} 0`,
	} {
		if !strings.Contains(a.body, line+"\n") {
			t.Errorf("not there: %s", line)
		}
	}
	if strings.Contains(a.body, `facescan_stage_queue_limit_rows{stage="detect"}`) {
		t.Error("a stage without a queue has a limit of its queue")
	}
	for le := range strings.FieldsSeq(
		"0.0005 0.001 0.0025 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 30 60 +Inf") {
		if !strings.Contains(a.body, `facescan_stage_duration_seconds_bucket{stage="detect",le="`+le+`"} `) {
			t.Errorf("no bucket of %s seconds", le)
		}
	}
	if !strings.Contains(a.body, "go_goroutines") {
		t.Error("nothing about Go")
	}
	s.change(func(v *live.Snapshot) { v.Left = 0 })
	for end := time.Now().Add(5 * time.Minute); !strings.Contains(get(t, s.URL()+"metrics").body,
		"facescan_job_remaining_seconds 0\n"); {
		if time.Now().After(end) {
			t.Fatal("the time left of a job that is done is not told")
		}
	}
	s.change(func(v *live.Snapshot) { v.Left = -1 })
	for end := time.Now().Add(5 * time.Minute); strings.Contains(get(t, s.URL()+"metrics").body,
		"facescan_job_remaining_seconds "); {
		if time.Now().After(end) {
			t.Fatal("an unknown time is told as a number")
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("this test has the metrics checked by promtool, which is missing; install it with: " +
			"apt-get install prometheus")
	}
	c := exec.Command(promtool, "check", "metrics")
	c.Stdin = strings.NewReader(a.body)
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// TestClosed: nothing can be changed, nobody else's pages get in, and every answer is strict about what a
// browser may do.
func TestClosed(t *testing.T) {
	s := serve(t, view(), false)
	for _, path := range []string{"", "live.css", "live.js", "events", "metrics", "healthz", "grafana.json",
		"nothing", "debug/pprof/"} {
		a := ask(t, "HEAD", s.URL()+path, nil)
		csp := a.header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none';", "script-src 'self';", "style-src 'self';",
			"connect-src 'self';", "img-src 'self' data:;", "frame-ancestors 'none'"} {
			if !strings.Contains(csp+";", part) {
				t.Errorf("/%s: policy %q lacks %q", path, csp, part)
			}
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff",
			"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
			"Access-Control-Allow-Origin": ""} {
			if got := a.header.Get(name); got != want {
				t.Errorf("/%s: %s is %q, want %q", path, name, got, want)
			}
		}
		missing := path == "nothing" || path == "debug/pprof/"
		if missing != (a.status == 404) {
			t.Errorf("HEAD /%s: %d", path, a.status)
		}
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} {
			if a := ask(t, method, s.URL()+path, nil); a.status != 405 ||
				a.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s /%s: %d", method, path, a.status)
			}
		}
	}
	for path, want := range map[string]string{"": "text/html; charset=utf-8",
		"live.css": "text/css; charset=utf-8", "live.js": "text/javascript; charset=utf-8",
		"grafana.json": "application/json"} {
		if got := get(t, s.URL()+path).header.Get("Content-Type"); got != want {
			t.Errorf("/%s is %s, want %s", path, got, want)
		}
	}
	for host, status := range map[string]int{
		"localhost": 200, "LOCALHOST:9": 200, "127.0.0.1:80": 200, "127.9.9.9": 200, "[::1]:9187": 200,
		"box.localhost": 200, "localhost.": 200,
		"evil.example": 421, "evil.example:9187": 421, "127.0.0.1.evil.example": 421,
		"localhost.evil.example": 421, "10.0.0.1": 421, "0.0.0.0": 421,
		"notlocalhost": 421, "[::ffff:10.0.0.1]": 421,
	} {
		for _, path := range []string{"", "events", "metrics"} {
			method := "GET"
			if path == "events" {
				method = "HEAD"
			}
			if a := ask(t, method, s.URL()+path,
				func(r *http.Request) { r.Host = host }); a.status != status {
				t.Errorf("%s /%s as %s: %d, want %d", method, path, host, a.status, status)
			}
		}
	}
}

// TestProfiles are served on request only, without the command line, in which passwords may be.
func TestProfiles(t *testing.T) {
	s := serve(t, view(), true)
	if a := get(t, s.URL()+"debug/pprof/goroutine?debug=1"); a.status != 200 || !strings.Contains(a.body,
		"goroutine profile") {
		t.Errorf("%d %.100s", a.status, a.body)
	}
	if a := get(t, s.URL()+"debug/pprof/"); a.status != 200 {
		t.Errorf("the index: %d", a.status)
	}
	if a := get(t, s.URL()+"debug/pprof/cmdline"); a.status != 404 {
		t.Errorf("the command line: %d %q", a.status, a.body)
	}
	if a := ask(t, "POST", s.URL()+"debug/pprof/symbol", nil); a.status != 405 {
		t.Errorf("POST: %d", a.status)
	}
}

// TestHealth is about the job, not about what the world does to it.
func TestHealth(t *testing.T) {
	s := serve(t, view(), false)
	wait := func(what string, status int) {
		t.Helper()
		for end := time.Now().Add(5 * time.Minute); ; {
			a := get(t, s.URL()+"healthz")
			if a.status == status && strings.HasPrefix(a.body, what) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d %q, want %d %q", a.status, a.body, status, what)
			}
		}
	}
	wait("ok\n", 200)
	s.change(func(v *live.Snapshot) { v.Outage, v.Cause = true, "no network" })
	wait("ok, waiting: no network", 200)
	s.mu.Lock()
	s.err = errors.New("disk away")
	s.mu.Unlock()
	wait("the job cannot be read: disk away", 503)
	if !strings.Contains(get(t, s.URL()+"metrics").body, "facescan_job_readable 0\n") {
		t.Error("the metrics say that the job can be read")
	}
}

// TestEvents: who watches is told at once, whenever something changes, and how it ended; then it is over.
func TestEvents(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := serve(t, view(), false)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(s.URL() + "events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("type %q", got)
	}
	type told struct {
		Done     int64
		End      string
		Error    string
		Failures []struct{ Reason string }
		History  struct{ Seconds, Done []float64 }
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	next := func() (v told, ok bool) {
		for lines.Scan() {
			if data, is := strings.CutPrefix(lines.Text(), "data: "); is {
				if err := json.Unmarshal([]byte(data), &v); err != nil {
					t.Fatal(err)
				}
				return v, true
			}
		}
		return v, false
	}
	first, _ := next()
	seconds := first.History.Seconds
	if first.Done != 432_100 || len(first.Failures) != 3 || first.Failures[0].Reason != "http_4xx" ||
		len(seconds) != 1 || seconds[0] < 90 || seconds[0] != math.Round(seconds[0]*10)/10 {
		t.Errorf("at first: %+v", first)
	}
	s.change(func(v *live.Snapshot) { v.Counts.Done++ })
	for v, ok := next(); v.Done != 432_101; v, ok = next() {
		if !ok {
			t.Fatal("a change was not told")
		}
	}
	go s.Close("interrupted")
	var last told
	for v, ok := next(); ok; v, ok = next() {
		last = v
	}
	if last.End != "interrupted" || last.Error != "" || len(last.History.Seconds) < 2 ||
		len(last.History.Seconds) != len(last.History.Done) {
		t.Errorf("at last: %+v", last)
	}
	s.Close("again") // does nothing
	if c, err := net.Dial("tcp", strings.Trim(strings.TrimPrefix(s.URL(), "http://"), "/")); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}

// TestDeaf: a watcher that reads nothing does not keep a run from its end, and too many are refused.
func TestDeaf(t *testing.T) {
	s := serve(t, view(), false)
	addr := strings.Trim(strings.TrimPrefix(s.URL(), "http://"), "/")
	s.change(func(v *live.Snapshot) { // more than fits into the buffers of a connection
		for range 120 {
			v.Latest = append(v.Latest, live.Image{URL: strings.Repeat("x", 50_000), Width: 1, Height: 1})
		}
	})
	for range 70 { // who leaves makes room
		if a := ask(t, "HEAD", s.URL()+"events", nil); a.status != 200 {
			t.Fatalf("HEAD /events: %d", a.status)
		}
	}
	var first answer
	refused := 0
	for range 70 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, " 503 ") {
			refused++
		}
	}
	if first = get(t, s.URL()+"healthz"); first.status != 200 {
		t.Errorf("health beside watchers: %d", first.status)
	}
	if refused != 70-64 {
		t.Errorf("%d of 70 watchers are refused", refused)
	}
	begin := time.Now()
	s.Close("finished")
	if took := time.Since(begin); took > 15*time.Second {
		t.Errorf("the end took %v", took)
	}
}

// TestListen: what an address may look like, and what is said of one that cannot be had.
func TestListen(t *testing.T) {
	s, err := live.Listen(":0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close("")
	u, err := url.Parse(s.URL())
	if err != nil || u.Hostname() != "127.0.0.1" {
		t.Errorf("without a host it listens at %s", s.URL())
	}
	if _, err := live.Listen(u.Host); err == nil || !strings.Contains(err.Error(), "is taken") ||
		!strings.Contains(err.Error(), "port 0") {
		t.Errorf("a taken address: %v", err)
	}
	if six, err := live.Listen("[::1]:0"); err == nil { // a machine may have no IPv6
		if !strings.HasPrefix(six.URL(), "http://[::1]:") {
			t.Errorf("%s", six.URL())
		}
		six.Close("")
	}
	for _, bad := range []string{"", ":", "::", "127.0.0.1:99999", "127.0.0.1:http:9", "localhost:-1",
		"[::1"} {
		if s, err := live.Listen(bad); err == nil {
			s.Close("")
			t.Errorf("%q is an address: %s", bad, s.URL())
		}
	}
	var a *net.AddrError
	if _, err := live.Listen(":"); !errors.As(err, &a) {
		t.Errorf("%v", err)
	}
}

// TestWarning: who opens a run to others is told what that means.
func TestWarning(t *testing.T) {
	s, err := live.Listen("0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s.Serve(live.Options{Log: slog.New(slog.NewTextHandler(&log, nil)),
		Look: func(context.Context) (live.Snapshot, error) { return view(), nil }})
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	a := ask(t, "GET", "http://127.0.0.1:"+u.Port()+"/healthz",
		func(r *http.Request) { r.Host = "worker-7.example" })
	s.Close("")
	if a.status != 200 {
		t.Errorf("asked by its name: %d %s", a.status, a.body)
	}
	if !strings.Contains(log.String(), "no password") {
		t.Errorf("the log says %s", log.String())
	}
	if !slices.Contains(strings.Fields(log.String()), "level=WARN") ||
		strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the log says %s", log.String())
	}
}

// TestEndWhileLooking: a snapshot that the end of the run cuts off is none, and nothing that failed.
func TestEndWhileLooking(t *testing.T) {
	s, err := live.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	looks, begun := 0, make(chan struct{})
	s.Serve(live.Options{Log: slog.New(slog.DiscardHandler),
		Look: func(ctx context.Context) (live.Snapshot, error) {
			if looks++; looks != 2 {
				return view(), nil
			}
			close(begun)
			<-ctx.Done()
			return live.Snapshot{Now: time.Now()}, ctx.Err()
		}})
	resp, err := http.Get(s.URL() + "events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-begun
	go s.Close("stopped")
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	s.Close("")
	events := strings.Split(strings.TrimSpace(string(text)), "\n\n")
	var last struct {
		End, Error string
		History    struct{ Done []int64 }
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(events[len(events)-1], "data: ")), &last); err != nil {
		t.Fatal(err)
	}
	if last.End != "stopped" || last.Error != "" ||
		!slices.Equal(last.History.Done, []int64{432_100, 432_100}) {
		t.Errorf("at last %+v", last)
	}
}

// TestPictures: /faces/ID is the small picture of a row, and not found where there is none.
func TestPictures(t *testing.T) {
	for _, pictures := range []bool{true, false} {
		s, err := live.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		o := live.Options{Log: slog.New(slog.DiscardHandler),
			Look: func(context.Context) (live.Snapshot, error) { return view(), nil }}
		if pictures {
			o.Picture = func(id int64) []byte {
				if id == 0 || id == 77 {
					return []byte("a picture")
				}
				return nil
			}
		}
		s.Serve(o)
		for id, want := range map[string]bool{"77": pictures, "78": false, "x": false, "77x": false} {
			a := get(t, s.URL()+"faces/"+id)
			if (a.status == 200) != want || want && (a.body != "a picture" ||
				a.header.Get("Content-Type") != "image/jpeg") || !want && a.status != 404 {
				t.Errorf("pictures %v, /faces/%s: %d %q", pictures, id, a.status, a.body)
			}
		}
		s.Close("")
	}
}
