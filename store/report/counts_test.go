package report

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/store"
)

// TestFacts says how long the rows took, and names three detectors at most.
func TestFacts(t *testing.T) {
	start := time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)
	for _, c := range []struct {
		detectors int
		apart     time.Duration // of one row from the next
		want      string
	}{
		{0, time.Second, "facescan=1.0"},
		{1, 0, "Duration=0s, from 6 May 2030 07:08:09 to 6 May 2030 07:08:09 UTC|Detector=d1|facescan=1.0"},
		{3, time.Second, "Duration=2s, from 6 May 2030 07:08:09 to 6 May 2030 07:08:11 UTC|" +
			"Mean rate=3 rows per second|Detector=d3; d2; d1|facescan=1.0"},
		{4, time.Second, "Duration=3s, from 6 May 2030 07:08:09 to 6 May 2030 07:08:12 UTC|" +
			"Mean rate=3.33 rows per second|Detector=d4; d3; d2; d1|facescan=1.0"},
		{5, time.Second, "Duration=4s, from 6 May 2030 07:08:09 to 6 May 2030 07:08:13 UTC|" +
			"Mean rate=3.75 rows per second|Detector=d5; d4; d3; and 2 others|facescan=1.0"},
	} {
		tally := newTally((&Options{}).scale)
		for d := range c.detectors {
			at := start.Add(time.Duration(c.detectors-1-d) * c.apart)
			for range d + 1 {
				tally.add(&store.Result{Status: store.OK, Detector: fmt.Sprint("d", d+1), Time: at})
			}
		}
		if c.detectors > 0 { // a time that cannot be, of a row of the most frequent detector
			most := fmt.Sprint("d", c.detectors)
			tally.add(&store.Result{Status: store.OK, Detector: most, Time: earliest.Add(-1)})
			tally.add(&store.Result{Status: store.Failed, Reason: store.Forgotten,
				Time: start.Add(99 * time.Hour)})
		}
		var got []string
		for _, f := range tally.facts(Options{Version: "1.0"}) {
			got = append(got, f.Name+"="+f.Value)
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%d detectors:\n%s, want\n%s", c.detectors, strings.Join(got, "|"), c.want)
		}
	}
}

// TestTimes has the first and the last time that a row can have been done at, and those beside them.
func TestTimes(t *testing.T) {
	for text, want := range map[string]bool{"1999-12-31T23:59:59Z": false, "2000-01-01T00:00:00Z": true,
		"2200-12-31T23:59:59Z": true, "2201-01-01T00:00:00Z": false} {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || isTime(at) != want {
			t.Errorf("%s: %v, %v", text, isTime(at), err)
		}
		c := curve{step: time.Second}
		if c.add(at, false); len(c.counts) == 1 != want {
			t.Errorf("%s is in %d steps", text, len(c.counts))
		}
	}
}

// TestTotals has each figure with its share of the right whole, and no figures that there cannot be.
func TestTotals(t *testing.T) {
	text := func(c store.Counts, faces bool) string {
		var out []string
		for _, f := range totals(c, faces) {
			out = append(out, strings.TrimSpace(fmt.Sprint(f.ID, "=", f.N, " ", f.Share)))
		}
		return strings.Join(out, "; ")
	}
	c := store.Counts{Total: 200, Done: 100, Pending: 100, OK: 80, Failed: 20, ImagesWithFaces: 20, Faces: 33}
	want := "total=200; done=100 50.0% of rows; pending=100 50.0% of rows; " +
		"ok=80 80.0% of done; failed=20 20.0% of done"
	const faces = "; images_with_faces=20 25.0% of ok; faces=33"
	for _, test := range []struct {
		arrived int64
		faces   bool
		want    string
	}{{0, false, want}, {0, true, want + faces}, {7, true, want + faces + "; already_done=7"}} {
		c.AlreadyDone = test.arrived
		if got := strings.ReplaceAll(text(c, test.faces), " %", "%"); got != test.want {
			t.Errorf("%s, want\n%s", got, test.want)
		}
	}
	if got := text(store.Counts{}, false); got != "total=0; done=0; pending=0; ok=0; failed=0" {
		t.Errorf("of an empty job: %s", got)
	}
}

// TestFailures orders reasons by how often they come, then by their names, and draws the first the widest.
func TestFailures(t *testing.T) {
	c := store.Counts{Done: 200, Failures: map[store.Reason]int64{store.TLS: 10, store.Timeout: 40,
		store.BadURL: 10, store.Reset: 0}}
	var got []string
	for _, f := range failures(c, func(r store.Reason) string { return "about " + string(r) }) {
		got = append(got, fmt.Sprint(f.Reason, " ", f.Class, " ", f.N, " ", f.Width, " ", f.Hint))
	}
	want := []string{"timeout transient 40 100 about timeout", "bad_url permanent 10 25 about bad_url",
		"tls permanent 10 25 about tls"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestHosts counts a host's rows by how they ended, and shows names of any length and none.
func TestHosts(t *testing.T) {
	tally := newTally((&Options{}).scale)
	long := strings.Repeat("ü", 150)
	for i := range 8 {
		r := store.Result{ID: int64(i), Status: store.OK, URL: "http://A.example/",
			Faces: make([]store.Face, 1)}
		if i > 4 {
			r.Status, r.Faces = store.Failed, nil
		}
		tally.add(&r)
	}
	for range 2 {
		tally.add(&store.Result{Status: store.OK, URL: "http://" + long + "/"})
	}
	tally.add(&store.Result{Status: store.Failed, URL: "no url"})
	hosts, rough := tally.topHosts()
	want := []hostRow{
		{Host: "a.example", N: 8, OK: 5, Failed: 3, Faces: 5, OKWidth: 62.5, BadWidth: 37.5},
		{Host: long[:200] + "…", N: 2, OK: 2, OKWidth: 25},
		{Host: "(no host)", N: 1, Failed: 1, BadWidth: 12.5},
	}
	if rough || !slices.Equal(hosts, want) {
		t.Errorf("rough %v: %+v, want %+v", rough, hosts, want)
	}
	for n, want := range map[int]bool{2000: false, 2001: true} { // up to 2000 hosts are counted exactly
		tally := newTally((&Options{}).scale)
		for i := range n {
			tally.add(&store.Result{Status: store.OK, URL: fmt.Sprintf("http://h%d.example/", i)})
		}
		if _, rough := tally.topHosts(); rough != want {
			t.Errorf("%d hosts are rough: %v", n, rough)
		}
	}
	if whole := strings.Repeat("a", 200); hostOf("http://"+whole+"/") != whole {
		t.Errorf("a name of %d bytes is cut: %q", 200, hostOf("http://"+whole+"/"))
	}
	if got := strings.ToValidUTF8(hostOf("http://"+"a"+long+"/"), "?"); got != "a"+long[:198]+"…" {
		t.Errorf("a name cut within a character: %q", got)
	}
}

// TestSheetsLeaveOut has rows of which a picture cannot be drawn, and pictures that cannot be blurred.
func TestSheetsLeaveOut(t *testing.T) {
	one := store.Result{ID: 1, Status: store.OK, Width: 1, Height: 1, Faces: make([]store.Face, 1)}
	for change, want := range map[string]int{"": 1, "width": 0, "height": 0, "failed": 0} {
		r := one
		switch change {
		case "width":
			r.Width = 0
		case "height":
			r.Height = 0
		case "failed":
			r.Status, r.Reason = store.Failed, store.BadImage
		}
		f := fixed{results: slices.Values([]store.Result{r}), samples: []store.Thumbnail{{ID: 1}}}
		page := write(t, f, Options{})
		if n := strings.Count(page, "<figure>"); n != want {
			t.Errorf("%q: %d pictures, want %d", change, n, want)
		}
		if asks := strings.Contains(page, "--thumbnails 200"); asks == (want > 0) {
			t.Errorf("%q: asks for pictures: %v", change, asks)
		}
	}
	f := fixed{results: slices.Values([]store.Result{one}), samples: []store.Thumbnail{{ID: 1}}}
	err := Write(context.Background(), &strings.Builder{}, f, Options{
		Hint: func(store.Reason) string { return "" },
		Blur: func([]byte, []store.Face, int, int) ([]byte, error) { return nil, errBroken }})
	if err == nil || !strings.Contains(err.Error(), "blur the thumbnail of row 1: "+errBroken.Error()) {
		t.Errorf("a picture that cannot be blurred: %v", err)
	}
}

// TestMoreIsAsked shows the command that the caller has for pictures, and its failure.
func TestMoreIsAsked(t *testing.T) {
	none := fixed{results: slices.Values([]store.Result(nil))}
	for _, err := range []error{nil, errBroken} {
		var page strings.Builder
		got := Write(context.Background(), &page, none, Options{
			Hint: func(store.Reason) string { return "" },
			More: func() (string, error) { return "facescan anything", err }})
		if got != err || err == nil && !strings.Contains(page.String(), "facescan anything") {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// TestScales has scores that end at 1 in steps of a twentieth, and each detector in a chart of its own.
func TestScales(t *testing.T) {
	tally := newTally(func(detector string) Scale { return Scale{Name: detector, Unit: detector == "unit"} })
	for _, score := range []float64{math.Inf(-1), -1, 0, 0.049, 0.05, 0.35, 0.95, 1, 2} {
		tally.add(&store.Result{Status: store.OK, Detector: "unit", Faces: []store.Face{{Score: score}}})
	}
	if charts := tally.scoreCharts(); len(charts) != 1 || charts[0].Of != "" {
		t.Errorf("the only detector: %+v", charts)
	}
	tally.add(&store.Result{Status: store.OK, Candidates: []store.Face{{Score: 100}}})
	var got []string
	for _, chart := range tally.scoreCharts() {
		for _, b := range chart.Bars {
			if b.Faces+b.Candidates > 0 {
				got = append(got, fmt.Sprintf("%s %v %s: %d %d", chart.Of, chart.Unit, b.Label, b.Faces,
					b.Candidates))
			}
		}
	}
	want := []string{"unit true below 0.20: 5 0", "unit true 0.35 to 0.40: 1 0",
		"unit true 0.95 to 1.00: 3 0", "other models false 91 to 128: 0 1"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestLabels has every step of the histograms, which ascend.
func TestLabels(t *testing.T) {
	tally := newTally((&Options{}).scale)
	for _, c := range []struct {
		steps *steps
		label func(above, upTo int64) string
		want  string
	}{
		{&tally.faces, whole, "0|1|2|3|4|5|6 to 10|11 to 20|21 to 50|more than 50"},
		{&tally.bytes, sizes, "up to 0 B|up to 4 KiB|4 KiB to 16 KiB|16 KiB to 32 KiB|32 KiB to 64 KiB|" +
			"64 KiB to 128 KiB|128 KiB to 256 KiB|256 KiB to 512 KiB|512 KiB to 1 MiB|1 MiB to 2 MiB|" +
			"2 MiB to 4 MiB|4 MiB to 16 MiB|more than 16 MiB"},
		{&tally.sides, whole, "up to 100|101 to 200|201 to 400|401 to 800|801 to 1,200|1,201 to 1,600|" +
			"1,601 to 2,400|2,401 to 3,200|3,201 to 4,800|4,801 to 6,400|more than 6,400"},
	} {
		for _, n := range c.steps.bounds {
			c.steps.add(n)
		}
		c.steps.add(math.MaxInt64)
		var got []string
		for _, b := range c.steps.bars(c.label) {
			got = append(got, b.Label)
			if b.N != 1 || b.Width != 100 {
				t.Errorf("%s has %d, and is %v wide", b.Label, b.N, b.Width)
			}
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%s, want\n%s", strings.Join(got, "|"), c.want)
		}
	}
}

// TestPicture draws three seconds: in the first three rows are done, of which one failed, in the second none,
// in the third one.
func TestPicture(t *testing.T) {
	c := curve{step: time.Second}
	start := time.Date(2030, 5, 6, 7, 8, 9, 0, time.UTC)
	for _, row := range []struct {
		after  time.Duration
		failed bool
	}{{0, false}, {time.Second - 1, true}, {1, false}, {2 * time.Second, false}} {
		c.add(start.Add(row.after), row.failed)
	}
	got := *c.picture()
	want := curvePicture{
		Text: "4 rows were done from 6 May 2030 07:08:09 to 6 May 2030 07:08:12 UTC, 1 of them failed; " +
			"at most 3 per second, over 1s.",
		Columns: []columnPicture{{0, 272.7, 63.3, 126.7, 0, 63.3}, {546.7, 272.7, 126.7, 63.3, 126.7, 0}},
		Line:    "0,190 273.3,47.5 546.7,47.5 820,0",
		Rates:   []tick{{190, "0"}, {126.7, "1"}, {63.3, "2"}, {0, "3"}},
		Sums:    []tick{{190, "0"}, {142.5, "1"}, {95, "2"}, {47.5, "3"}, {0, "4"}},
		Times:   []tick{{273.3, "07:08:10"}, {546.7, "07:08:11"}},
		Right:   820, Baseline: 190,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want\n%+v", got, want)
	}
	for _, share := range []float64{0, 0.25, 1} {
		want := coord(100*share) + "%"
		if across(820*share) != want || down(190*share) != want {
			t.Errorf("%s across, %s down, want %s", across(820*share), down(190*share), want)
		}
	}
}

// TestQuoted makes code of what stands between backticks, and nothing else of what looks like markup.
func TestQuoted(t *testing.T) {
	for text, want := range map[string]string{"": "", "plain": "plain",
		"run `a` or `b <c>`, not <b>": "run <code>a</code> or <code>b &lt;c&gt;</code>, not &lt;b&gt;"} {
		if got := string(quoted(text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
