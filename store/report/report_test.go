package report

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/must"
)

// fixed is a job with given results; what a report does not ask for is not there.
type fixed struct {
	store.Job
	results func(yield func(store.Result) bool)
	counts  store.Counts
	samples []store.Thumbnail
}

func (f fixed) Results(_ context.Context, from, to int64) iter.Seq2[store.Result, error] {
	return func(yield func(store.Result, error) bool) {
		f.results(func(r store.Result) bool { return r.ID < from || r.ID >= to || yield(r, nil) })
	}
}
func (f fixed) Counts(context.Context) (store.Counts, error) { return f.counts, nil }
func (f fixed) Sources(context.Context) ([]store.Source, error) {
	return []store.Source{{Name: `list "<b>".txt`, Rows: f.counts.Total, Complete: true}}, nil
}
func (f fixed) Path() string                                                { return `job <script>x</script>.db` }
func (f fixed) Sample(context.Context, store.Thumbnail, int) (int64, error) { return 0, nil }
func (f fixed) Samples(context.Context) ([]store.Thumbnail, error)          { return f.samples, nil }

func write(t testing.TB, f fixed, o Options) string {
	t.Helper()
	if o.Now, o.Hint = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		func(r store.Reason) string { return "about " + string(r) }; f.results == nil {
		f.results = func(func(store.Result) bool) {}
	}
	var b bytes.Buffer
	must.OK(t, Write(context.Background(), &b, f, o))
	return b.String()
}

// TestHostile has markup wherever a list, a server or a user can put it: none of it gets out of the text.
func TestHostile(t *testing.T) {
	markup := `"><script>alert(1)</script><img src=x onerror=alert(2)>`
	page := write(t, fixed{
		counts: store.Counts{Total: 2, Done: 2, OK: 1, Failed: 1,
			Failures: map[store.Reason]int64{store.Reason(markup): 1}, ImportIncomplete: []string{markup}},
		results: slices.Values([]store.Result{
			{ID: 1, Status: store.OK, Format: markup, Detector: markup, Width: 10, Height: 10,
				URL: "http://a<script>b/" + markup, Time: time.Now(),
				Faces: []store.Face{{X: 1, Y: 1, Width: 5, Height: 5, Score: 9}}},
			{ID: 2, Status: store.Failed, URL: "http://[" + markup + "/\u202e", Time: time.Now()},
		}),
		samples: []store.Thumbnail{{ID: 1, JPEG: []byte(markup)}},
	}, Options{})
	for _, bad := range []string{"<script", "<img src=x", "onerror=alert(2)>", `""`} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, good := range []string{"&lt;script&gt;", "default-src &#39;none&#39;",
		"about &#34;&gt;&lt;script&gt;", "data:image/jpeg;base64,", "<bdi>"} {
		if !strings.Contains(page, good) && !strings.Contains(page, strings.ReplaceAll(good, "&#39;", "'")) {
			t.Errorf("the page lacks %q", good)
		}
	}
	if n := strings.Count(page, "<img "); n != 1 {
		t.Errorf("%d images", n)
	}
}

// TestEmpty writes a page of a job without a result.
func TestEmpty(t *testing.T) {
	page := write(t, fixed{counts: store.Counts{Total: 5, Pending: 5}}, Options{})
	for _, want := range []string{"No row failed", "--thumbnails 200", `id="pending" data-n="5"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, no := range []string{"The run", "Scores", "Hosts", "<table", "NaN", "ZgotmplZ", "%!"} {
		if strings.Contains(page, no) {
			t.Errorf("the page has %q", no)
		}
	}
	if strings.Contains(write(t, fixed{}, Options{NoFaces: true}), `id="faces"`) ||
		!strings.Contains(page, `id="faces"`) {
		t.Error("faces are counted where none are looked for, or not where they are")
	}
}

// TestSheets shows pictures of rows as they are now, blurred when that is asked for.
func TestSheets(t *testing.T) {
	f := fixed{
		results: slices.Values([]store.Result{
			{ID: 1, Status: store.OK, Width: 600, Height: 400, URL: "http://h.example/1",
				Faces: []store.Face{{X: 30, Y: 40, Width: 50, Height: 60, Score: 12.345},
					{X: 1, Y: 1, Width: 2, Height: 2}}},
			{ID: 2, Status: store.OK, Width: 10, Height: 10},
			{ID: 3, Status: store.Failed, Reason: store.Timeout},
		}),
		samples: []store.Thumbnail{{ID: 1, JPEG: []byte("one")}, {ID: 2, Faces: true, JPEG: []byte("two")},
			{ID: 3, JPEG: []byte("three")}, {ID: 4, JPEG: []byte("gone")}},
	}
	page := write(t, f, Options{})
	for _, want := range []string{"image of row 1, 2 faces marked", "image of row 2, no face found",
		"score 12.35", `viewBox="0 0 600 400"`, `x="30" y="40" width="50" height="60"`, "b25l",
		`stroke-width="5"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	last := 0
	for _, next := range []string{"<h3>With faces", "image of row 1", "<h3>Without faces", "image of row 2"} {
		if at := strings.Index(page, next); at < last {
			t.Errorf("%q is not behind the one before", next)
		} else {
			last = at
		}
	}
	if n := strings.Count(page, "<figure>"); n != 2 {
		t.Errorf("%d pictures", n)
	}
	page = write(t, f, Options{Blur: func(jpeg []byte, faces []store.Face, w, h int) ([]byte, error) {
		return fmt.Appendf(nil, "%s %d %dx%d", jpeg, len(faces), w, h), nil
	}, Scale: func(string) Scale { return Scale{Decimals: 4} }})
	if !strings.Contains(page, "b25lIDIgNjAweDQwMA==") || strings.Contains(page,
		"b25l\"") { // "one 2 600x400"
		t.Error("the picture is not the blurred one")
	}
	if !strings.Contains(page, "dHdv\"") || !strings.Contains(page, "score 12.3450") {
		t.Error("a picture without faces is blurred, or a score has decimals that are not its detector's")
	}
}

// TestCurve counts every row once however the steps widen, and whatever order the times come in.
func TestCurve(t *testing.T) {
	start := time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)
	for _, length := range []time.Duration{time.Second, time.Minute, 7 * time.Hour, 9 * 24 * time.Hour,
		50 * 365 * 24 * time.Hour} {
		c := curve{step: 125 * time.Millisecond}
		const n = 5000
		for i := range n {
			c.add(start.Add(length/n*time.Duration(i*2903%n)), i%4 == 0)
		}
		c.add(time.Time{}, false) // of a clock that was not set
		if len(c.counts) > 180 || c.hi-c.lo >= 180 {
			t.Errorf("%v: %d steps", length, len(c.counts))
		}
		var sum outcome
		for _, o := range c.counts {
			sum.ok, sum.failed = sum.ok+o.ok, sum.failed+o.failed
		}
		if sum.ok != n-n/4 || sum.failed != n/4 {
			t.Errorf("%v: %+v", length, sum)
		}
		p := c.picture()
		if len(p.Times) == 0 || len(p.Times) > 8 || len(p.Rates) < 2 || len(p.Rates) > 7 ||
			!strings.HasPrefix(p.Text, "5,000 rows were done from ") {
			t.Errorf("%v: times %v, rates %v: %s", length, p.Times, p.Rates, p.Text)
		}
		for _, col := range p.Columns {
			if col.X < 0 || col.X+col.Width > plotRight+1 || col.FailedTop < -0.1 ||
				col.OKTop+col.OKHeight > plotBottom+0.1 {
				t.Fatalf("%v: a column outside the drawing: %+v", length, col)
			}
		}
	}
	if (&curve{}).picture() != nil {
		t.Error("a drawing of nothing")
	}
	early := curve{step: time.Second}
	early.add(start, false)
	early.add(start.Add(-24*time.Hour), false)
	if n := len(early.counts); n != 2 {
		t.Errorf("two days are %d steps", n)
	}
}

func TestTicks(t *testing.T) {
	for highest, want := range map[float64]string{1: "[0 0.2 0.4 0.6 0.8 1]", 7.3: "[0 2 4 6 8]",
		300: "[0 100 200 300]", 0.013: "[0 0.005 0.01 0.015]", 99999: "[0 20000 40000 60000 80000 100000]"} {
		top, at := ticks(highest)
		var text []string
		for _, v := range at {
			text = append(text, fmt.Sprintf("%.4g", v))
		}
		if got := "[" + strings.ReplaceAll(strings.Join(text, " "), "1e+05",
			"100000") + "]"; strings.ReplaceAll(got, "e+04", "0000") != want || top < highest {
			t.Errorf("up to %v: %s, want %s", highest, got, want)
		}
	}
}

// TestSteps labels what it counts, from the first that occurs to the last.
func TestSteps(t *testing.T) {
	tally := newTally((&Options{}).scale)
	for _, n := range []int64{0, 0, 0, 2, 7, 1000} {
		tally.faces.add(n)
	}
	var got []string
	for _, b := range tally.faces.bars(whole) {
		got = append(got, fmt.Sprintf("%s=%d", b.Label, b.N))
	}
	want := "0=3 1=0 2=1 3=0 4=0 5=0 6 to 10=1 11 to 20=0 21 to 50=0 more than 50=1"
	if strings.Join(got, " ") != want {
		t.Errorf("%s", got)
	}
	tally.bytes.add(1)
	tally.bytes.add(1 << 40)
	bars := tally.bytes.bars(sizes)
	if bars[0].Label != "up to 4 KiB" || bars[len(bars)-1].Label != "more than 16 MiB" {
		t.Errorf("%v", bars)
	}
}

// TestScores takes every float that a detector may answer with.
func TestScores(t *testing.T) {
	var s scores
	for _, v := range []float64{math.Inf(-1), -3, 0, 1e-300, 0.5, 1, 1.5, 8, 375, 1e300, math.Inf(1),
		math.NaN()} {
		s.add(v, v > 1)
	}
	faces, candidates := int64(0), int64(0)
	bars := s.bars()
	for _, b := range bars {
		faces, candidates = faces+b.Faces, candidates+b.Candidates
		if b.FacesWidth+b.CandidatesWidth > 100.1 {
			t.Errorf("%+v", b)
		}
	}
	if faces != 5 || candidates != 7 || bars[0].Label != "below 256" || bars[0].Candidates != 7 ||
		len(bars) != scoresShown+1 || bars[scoresShown].Label != "46341 to 65536" {
		t.Errorf("%d faces, %d candidates in %d bars: %+v", faces, candidates, len(bars), bars[0])
	}
	s = scores{}
	for _, v := range []float64{-1, 0.004, 0.5, 8, 9} {
		s.add(v, v > 1)
	}
	if bars = s.bars(); bars[0].Candidates != 2 || bars[0].Label != "below 0.044" {
		t.Errorf("low scores: %+v", bars[0])
	}
	few := scores{}
	for _, v := range []float64{-1, 0, 1e-9} {
		few.add(v, true)
	}
	if b := few.bars(); len(b) != 2 || b[0].Label != "0 or less" || b[0].Faces != 2 ||
		b[1].Label != "0.0055 to 0.0078" || b[1].Faces != 1 {
		t.Errorf("scores of about zero: %+v", b)
	}
	i := slices.IndexFunc(bars, func(b scoreBar) bool { return b.Label == "8 to 11" })
	if i < 0 || bars[i].Faces != 2 {
		t.Errorf("a score of 8: %+v", bars)
	}
}

// TestCandidatesAreNoFaces counts what a detector found above its threshold as faces and what it found below
// as candidates, by image, host and score.
func TestCandidatesAreNoFaces(t *testing.T) {
	tally := newTally(func(string) Scale { return Scale{Name: "yunet", Unit: true} })
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	faces := func(scores ...float64) (out []store.Face) {
		for _, s := range scores {
			out = append(out, store.Face{Width: 30, Height: 30, Score: s})
		}
		return out
	}
	tally.add(&store.Result{ID: 1, Status: store.OK, Detector: "yunet:1", URL: "http://a.example/1", Time: at,
		Faces: faces(0.91, 0.72), Candidates: faces(0.41, 0.42, 0.33)})
	tally.add(&store.Result{ID: 2, Status: store.OK, Detector: "yunet:1", URL: "http://a.example/2", Time: at,
		Candidates: faces(0.34)})
	tally.add(&store.Result{ID: 3, Status: store.OK, Detector: "yunet:1", URL: "http://b.example/", Time: at,
		Faces: faces(0.62), Candidates: faces(0.61)}) // as many candidates as faces, in the same step
	var got []string
	for _, b := range tally.scoreCharts()[0].Bars {
		if b.Faces+b.Candidates > 0 {
			got = append(got, fmt.Sprintf("%s: %d and %d", b.Label, b.Faces, b.Candidates))
		}
	}
	want := "0.30 to 0.35: 0 and 2, 0.40 to 0.45: 0 and 2, 0.60 to 0.65: 1 and 1, " +
		"0.70 to 0.75: 1 and 0, 0.90 to 0.95: 1 and 0"
	if strings.Join(got, ", ") != want {
		t.Errorf("faces and candidates by score: %s, want %s", strings.Join(got, ", "), want)
	}
	var images []string
	for _, b := range tally.faces.bars(whole) {
		images = append(images, fmt.Sprintf("%s: %d", b.Label, b.N))
	}
	if want := "0: 1, 1: 1, 2: 1"; strings.Join(images, ", ") != want {
		t.Errorf("images by their faces: %s, want %s", strings.Join(images, ", "), want)
	}
	if hosts, _ := tally.topHosts(); hosts[0].Faces != 2 {
		t.Errorf("%d faces of a host, want 2", hosts[0].Faces)
	}
}

// results makes n rows of as many hosts, with a heavy one.
func results(n int64) func(yield func(store.Result) bool) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	return func(yield func(store.Result) bool) {
		for id := int64(1); id <= n; id++ {
			r := store.Result{ID: id, Status: store.OK, Format: fmt.Sprintf("f%d", id%100), Width: 100,
				Height: int(id % 5000), Bytes: id, Detector: "d",
				URL:   fmt.Sprintf("http://host%d.example/%d.jpg", id, id),
				Time:  start.Add(time.Duration(id*7919%n) * time.Second),
				Faces: []store.Face{{Width: 1, Height: 1, Score: float64(id % 97)}}}
			if id%3 == 0 {
				r = store.Result{ID: id, Status: store.Failed, Reason: store.Timeout,
					URL: "http://heavy.example/", Time: r.Time}
			}
			if !yield(r) {
				return
			}
		}
	}
}

// TestBounded holds the memory of a pass over many rows, of hosts that are all different, to a few MiB.
func TestBounded(t *testing.T) {
	tally := newTally((&Options{}).scale)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for r := range results(300_000) {
		tally.add(&r)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("%d bytes after 300,000 rows", grown)
	}
	hosts, rough := tally.topHosts()
	if hosts[0].Host != "heavy.example" || hosts[0].N != 100_000 || hosts[0].About || !rough ||
		len(hosts) != 20 {
		t.Errorf("%d hosts, rough %v, the first %+v", len(hosts), rough, hosts[0])
	}
	if n := len(tally.formats); n != 30+1 { // the others are counted together
		t.Errorf("%d formats", n)
	}
	runtime.KeepAlive(tally)
}

// BenchmarkTally is the pass over the results, without reading them.
func BenchmarkTally(b *testing.B) {
	tally := newTally((&Options{}).scale)
	all := slices.Collect(results(10_000))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		tally.add(&all[i%len(all)])
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
