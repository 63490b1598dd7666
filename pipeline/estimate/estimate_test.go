package estimate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"facescan/pipeline/fetch"
	"facescan/pipeline/source"
	"facescan/store"
)

// population is a list whose outcomes are known.
type population struct {
	urls []string
	ok   map[string]bool
	rate float64
}

// hostile populations: what makes a list hard to predict is how its hosts differ in size and fate.
var populations = map[string]func(random *rand.Rand) *population{
	// 5,000 hosts whose sizes follow Zipf's law, each with a success rate of its own, in the order of the
	// hosts.
	"zipf": func(random *rand.Rand) *population {
		p := &population{ok: map[string]bool{}}
		for h := range 5000 {
			rate := random.Float64()
			for range 1 + 30_000/(h+3) {
				p.add(random, fmt.Sprintf("h%d.example", h), rate)
			}
		}
		return p
	},
	// One host, even odds: stratifying does not help at all.
	"one": func(random *rand.Rand) *population {
		p := &population{ok: map[string]bool{}}
		for range 100_000 {
			p.add(random, "one.example", 0.5)
		}
		return p
	},
	// Half of the list is one host, half is spread, and hosts share their fate.
	"half": func(random *rand.Rand) *population {
		p := &population{ok: map[string]bool{}}
		for range 60_000 {
			p.add(random, "giant.example", 0.9)
		}
		for h := range 20_000 {
			fate := float64(random.IntN(2))
			for range 3 {
				p.add(random, fmt.Sprintf("h%d.example", h), fate)
			}
		}
		return p
	},
	// Shorter than what is held.
	"short": func(random *rand.Rand) *population {
		p := &population{ok: map[string]bool{}}
		for h := range 400 {
			for range 12 {
				p.add(random, fmt.Sprintf("h%d.example", h), float64(h%10)/10)
			}
		}
		return p
	},
}

func (p *population) add(random *rand.Rand, host string, rate float64) {
	url := fmt.Sprintf("http://%s/%d.jpg", host, len(p.urls))
	p.urls = append(p.urls, url)
	if p.ok[url] = random.Float64() < rate; p.ok[url] {
		p.rate++
	}
}

// draw is Draw without files.
func (p *population) draw(n int, seed uint64) *Sample {
	random := rand.New(rand.NewPCG(seed, 0))
	var r reservoir
	for _, url := range p.urls {
		r.add(random, source.Row{URL: url}, heldFor*n)
	}
	return r.draw(random, n, func(url string) string { // fetch.Host, quicker for what is canonical
		host, _, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
		return host
	})
}

// TestCovers: on lists of known mix, the truth lies in the interval for 90 of 100 fixed seeds at least, and
// no interval of 2,000 rows is wider than 3 points to either side.
func TestCovers(t *testing.T) {
	for name, makePopulation := range populations {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := makePopulation(rand.New(rand.NewPCG(7, 7)))
			truth := p.rate / float64(len(p.urls))
			within, widest, bias := 0, 0., 0.
			for seed := range uint64(100) {
				s := p.draw(2000, seed)
				if len(s.Drawn) != 2000 || s.Total != int64(len(p.urls)) {
					t.Fatalf("%d rows are drawn of %d", len(s.Drawn), s.Total)
				}
				b := s.Share(func(i int) bool { return p.ok[s.Drawn[i].URL] })
				if b.Low <= truth && truth <= b.High {
					within++
				}
				if b.Low > b.Value || b.High < b.Value || b.Low < 0 || b.High > 1 {
					t.Fatalf("no interval: %+v", b)
				}
				widest = max(widest, (b.High-b.Low)/2)
				bias += (b.Value - truth) / 100
			}
			t.Logf("%d rows, %.1f %% ok: within the interval for %d of 100 seeds; half-width %.2f points "+
				"at most; off by %+.2f points on average",
				len(p.urls), 100*truth, within, 100*widest, 100*bias)
			if within < 90 {
				t.Errorf("within the interval for %d of 100 seeds only", within)
			}
			if widest > 0.03 {
				t.Errorf("an interval is %.2f points wide to either side", 100*widest)
			}
			if math.Abs(bias) > 0.004 {
				t.Errorf("off by %+.2f points on average", 100*bias)
			}
		})
	}
}

// TestMeans: intervals of means hold as well, and those of shares that are nearly 0.
func TestMeans(t *testing.T) {
	p := populations["zipf"](rand.New(rand.NewPCG(3, 3)))
	bytes := func(url string) float64 { return float64(len(url)*len(url)) * 100 * float64(len(url)%7) }
	rare := func(url string) bool { return strings.HasSuffix(url, "77.jpg") && len(url)%2 == 0 }
	truth, few := 0., 0.
	for _, url := range p.urls {
		truth += bytes(url) / float64(len(p.urls))
		if rare(url) {
			few += 1 / float64(len(p.urls))
		}
	}
	within, rareWithin := 0, 0
	for seed := range uint64(100) {
		s := p.draw(2000, seed)
		if b := s.Mean(func(i int) float64 { return bytes(s.Drawn[i].URL) }); b.Low <= truth &&
			truth <= b.High {
			within++
		}
		if b := s.Share(func(i int) bool { return rare(s.Drawn[i].URL) }); b.Low <= few && few <= b.High {
			rareWithin++
		}
	}
	if within < 90 || rareWithin < 90 {
		t.Errorf("within the interval: a mean for %d, a share of %.2f %% for %d of 100 seeds", within,
			100*few, rareWithin)
	}
}

// TestDraw reads real lists: every row is counted, broken ones too; the same seed draws the same; a node gets
// its part; a list no longer than the sample is drawn completely and known exactly.
func TestDraw(t *testing.T) {
	dir := t.TempDir()
	var text strings.Builder
	text.WriteString("# a comment\n\n")
	for i := range 5000 {
		fmt.Fprintf(&text, "http://h%d.example/%d.jpg\n", i%50, i)
	}
	txt, csv := filepath.Join(dir, "a.txt"), filepath.Join(dir, "b.csv")
	write(t, txt, text.String())
	write(t, csv, "name,url\nx,http://c.example/1.jpg\ny,http://c.example/2.jpg\n\"broken\n")
	lists := []source.Spec{{Path: txt, Format: "txt"}, {Path: csv, Format: "csv"}}
	draw := func(p Plan) *Sample {
		t.Helper()
		s, err := Draw(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := draw(Plan{Lists: lists, Rows: 100, Seed: 1})
	if s.Total != 5003 || len(s.Drawn) != 100 || s.held != 1600 {
		t.Errorf("%d of %d rows, %d held", len(s.Drawn), s.Total, s.held)
	}
	if again := draw(Plan{Lists: lists, Rows: 100, Seed: 1}); !reflect.DeepEqual(s, again) {
		t.Error("the same seed draws other rows")
	}
	if other := draw(Plan{Lists: lists, Rows: 100, Seed: 2}); reflect.DeepEqual(s.Drawn, other.Drawn) {
		t.Error("another seed draws the same rows")
	}
	if part := draw(Plan{Lists: lists, Rows: 10_000, Takes: func(id int64) bool {
		return id%4 == 3
	}}); part.Total != 1251 || len(part.Drawn) != 1251 {
		t.Errorf("a quarter has %d rows, %d drawn", part.Total, len(part.Drawn))
	}
	if second := draw(Plan{Lists: lists, Rows: 10, Takes: func(id int64) bool {
		return id == store.FirstOf(1)+2
	}}); len(second.Drawn) != 1 || second.Drawn[0].URL != "http://c.example/2.jpg" {
		t.Errorf("the second row of the second list: %+v", second.Drawn)
	}
	all := draw(Plan{Lists: lists, Rows: 6000, Seed: 1})
	var urls []string
	bad := 0
	for _, row := range all.Drawn {
		urls = append(urls, row.URL)
		if row.Bad {
			bad++
		}
	}
	slices.Sort(urls)
	if len(slices.Compact(urls)) != 5003 || bad != 1 {
		t.Errorf("%d different rows, %d of them broken", len(urls), bad)
	}
	if b := all.Share(func(i int) bool { return !all.Drawn[i].Bad }); b.Low != b.High ||
		math.Abs(b.Value-5002./5003) > 1e-12 {
		t.Errorf("of a list that is known: %+v", b)
	}
	if b := all.Mean(func(int) float64 { return 3 }); math.Abs(b.Value-3) > 1e-9 || b.Low != b.High {
		t.Errorf("of a list that is known: %+v", b)
	}
	if none := draw(Plan{Lists: []source.Spec{{Path: os.DevNull, Format: "txt"}},
		Rows: 10}); none.Total != 0 || none.Share(nil) != (Bounds{}) {
		t.Errorf("an empty list: %+v", none)
	}
	if _, err := Draw(context.Background(),
		Plan{Lists: []source.Spec{{Path: csv, Format: "csv", URLColumn: "nothing"}}, Rows: 10}); err == nil {
		t.Error("a column that is not there is not told")
	}
	broken := errors.New("the disk is gone")
	if _, err := Draw(context.Background(), Plan{Lists: []source.Spec{{Path: "-", Format: "txt",
		In: io.MultiReader(strings.NewReader("http://h.example/\n"), iotest.ErrReader(broken))}},
		Rows: 10}); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "read -: ") {
		t.Errorf("a list that breaks off: %v", err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestInterval compares with intervals that were computed by hand.
func TestInterval(t *testing.T) {
	t.Parallel()
	s := &Sample{Total: 80, held: 8, Drawn: []Row{{}, {}, {stratum: 1}, {stratum: 1}},
		strata: []Stratum{{Share: 0.5, drawn: 2, held: 4}, {Share: 0.5, drawn: 2, held: 4}}}
	near := func(what string, got, want Bounds) {
		t.Helper()
		if math.Abs(got.Value-want.Value)+math.Abs(got.Low-want.Low)+math.Abs(got.High-want.High) > 1e-6 {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	x := []float64{1, 3, 10, 14}
	near("mean", s.Mean(func(i int) float64 { return x[i] }), Bounds{7, 3.0800720, 10.9199280})
	near("share", s.Share(func(i int) bool { return i < 2 }), Bounds{0.5, 0.1368523, 0.8631477})
	near("none", s.Mean(func(int) float64 { return 0 }), Bounds{})

	// Strata that differ in size, and a mean near 0.
	s = &Sample{Total: 1000, held: 160, Drawn: make([]Row, 10),
		strata: []Stratum{{Share: 0.75, drawn: 6, held: 120}, {Share: 0.25, drawn: 4, held: 40}}}
	for i := range 4 {
		s.Drawn[6+i].stratum = 1
	}
	near("share of both", s.Share(func(i int) bool { return i == 0 || i > 5 && i < 9 }),
		Bounds{0.3125, 0.12266011, 0.59641811})
	near("one of ten", s.Share(func(i int) bool { return i == 0 }), Bounds{0.125, 0.02054767, 0.49310693})
	near("all", s.Share(func(int) bool { return true }), Bounds{1, 0.61769903, 1})
	near("no", s.Share(func(int) bool { return false }), Bounds{0, 0, 0.38230097})
	x = []float64{1, 3, 10, 14, 2, 7, 100, 90, 120, 70}
	near("mean of both", s.Mean(func(i int) float64 { return x[i] }),
		Bounds{28.375, 20.32623695, 36.42376305})
	x = []float64{0, 0, 0, 0, 0, 0, 0, 0, 0, 9}
	near("mean near 0", s.Mean(func(i int) float64 { return x[i] }), Bounds{0.5625, 0, 1.66484192})
}

// TestRead: how many rows were read is told now and then, whichever of them are taken.
func TestRead(t *testing.T) {
	t.Parallel()
	var told []int64
	s, err := Draw(t.Context(), Plan{Lists: []source.Spec{{Path: "-", Format: "txt",
		In: strings.NewReader(strings.Repeat("x\n", readEvery+9))}}, Rows: 1,
		Takes: func(id int64) bool { return id > readEvery-2 },
		Read:  func(rows int64) { told = append(told, rows) }})
	if err != nil || !slices.Equal(told, []int64{readEvery}) || s.Total != 11 {
		t.Errorf("%v were told, %+v, %v", told, s, err)
	}
}

// TestStrata: hosts with at least ten rows in the sample are strata of their own, and each stratum gives rows
// by its size, at least one.
func TestStrata(t *testing.T) {
	t.Parallel()
	var r reservoir
	for host, n := range map[string]int{"a": 500, "b": 100, "c": 99, "d": 1} {
		for i := range n {
			r.rows = append(r.rows, Row{URL: fmt.Sprintf("http://%s.example/%d", host, i)})
		}
	}
	for len(r.rows) < 1000 {
		r.rows = append(r.rows, Row{URL: fmt.Sprintf("http://h%d.example/", len(r.rows))})
	}
	r.seen = 5000
	slices.SortFunc(r.rows, func(a, b Row) int { return strings.Compare(a.URL, b.URL) })
	s := r.draw(rand.New(rand.NewPCG(1, 0)), 100, fetch.Host)
	want := []Stratum{{"a.example", 0.5, 50, 500}, {"b.example", 0.1, 10, 100}, {"", 0.4, 40, 400}}
	if s.Total != 5000 || !slices.Equal(s.strata, want) {
		t.Errorf("%+v of %d rows, want %+v", s.strata, s.Total, want)
	}
	given, seen := make([]int, 3), map[string]bool{}
	for _, row := range s.Drawn {
		if host := fetch.Host(row.URL); host != want[0].Host && row.stratum == 0 ||
			host != want[1].Host && row.stratum == 1 || seen[row.URL] {
			t.Errorf("%+v is drawn", row)
		}
		given[row.stratum]++
		seen[row.URL] = true
	}
	if !slices.Equal(given, []int{50, 10, 40}) {
		t.Errorf("rows drawn by stratum: %v", given)
	}
	for _, c := range []struct {
		n    int
		held []int
		want []int
	}{
		{10, []int{50, 30, 20}, []int{5, 3, 2}},
		{10, []int{55, 26, 19}, []int{5, 3, 2}},  // the largest rests get what is left
		{10, []int{45, 45, 10}, []int{5, 4, 1}},  // the first of equal ones
		{10, []int{960, 20, 20}, []int{9, 1, 0}}, // not enough for all
		{3, []int{98, 1, 1}, []int{2, 1, 0}},
		{4, []int{2, 1, 1}, []int{2, 1, 1}},
		{0, []int{3, 3}, []int{0, 0}},
	} {
		s := &Sample{}
		for _, n := range c.held {
			s.held += n
			s.strata = append(s.strata, Stratum{held: n})
		}
		if got := s.allot(c.n); !slices.Equal(got, c.want) {
			t.Errorf("%d of %v: %v, want %v", c.n, c.held, got, c.want)
		}
	}
}

// TestBadRows: rows that are not URLs have no host.
func TestBadRows(t *testing.T) {
	t.Parallel()
	r := reservoir{seen: 100}
	for i := range 100 {
		r.rows = append(r.rows, Row{URL: "http://a.example/", Bad: i < 40})
	}
	s := r.draw(rand.New(rand.NewPCG(1, 0)), 50, fetch.Host)
	if len(s.strata) != 2 || s.strata[0] != (Stratum{"", 0.4, 20, 40}) ||
		s.strata[1] != (Stratum{"a.example", 0.6, 30, 60}) {
		t.Errorf("%+v", s.strata)
	}
}

// TestWithoutDetector: nothing is predicted about faces, also of a sample of one row.
func TestWithoutDetector(t *testing.T) {
	t.Parallel()
	s := &Sample{Total: 10, held: 1, Drawn: []Row{{}}, strata: []Stratum{{Share: 1, drawn: 1, held: 1}}}
	for detector, want := range map[string]string{store.NoDetector: "null", "yunet": `{"value":0,`} {
		p := s.Predict([]store.Result{{Status: store.OK, Attempts: 1}}, Run{Detector: detector, Fetchers: 1,
			Workers: 1, Cores: 1, Database: 2000})
		if p.Database != 20_000 {
			t.Errorf("10 rows take %d bytes, of which one takes 2000", p.Database)
		}
		b, err := json.Marshal(p)
		if err != nil || !strings.Contains(string(b), `"images_with_faces":`+want) ||
			!strings.Contains(string(b), `"faces":`+want) {
			t.Errorf("%s: %s (%v)", detector, b, err)
		}
	}
}

// TestPredict: totals are the sample's, scaled; the longest part names the limit.
func TestPredict(t *testing.T) {
	s := &Sample{Total: 100_000, held: 8000,
		strata: []Stratum{{Host: "big.example", Share: 0.75, drawn: 75, held: 6000},
			{Share: 0.25, drawn: 25, held: 2000}}}
	var results []store.Result
	for i := range 100 {
		row, r := Row{stratum: 1}, store.Result{Status: store.OK, Bytes: 1000, Attempts: 1,
			Took: 100 * time.Millisecond}
		if i < 75 {
			row.stratum = 0
		}
		if i%5 == 0 {
			r = store.Result{Status: store.Failed, Reason: store.HTTP429, Attempts: 3,
				Took: 100 * time.Millisecond}
		} else {
			r.Faces = make([]store.Face, i%2)
		}
		s.Drawn, results = append(s.Drawn, row), append(results, r)
	}
	run := Run{Fetchers: 10, Slow: 5, Workers: 4, Cores: 4, CPU: time.Second, Fetching: 10 * time.Second,
		Decoding:  300 * time.Millisecond,
		Detecting: 900 * time.Millisecond, Database: 20_000}
	p := s.Predict(results, run)
	if p.Rows != 100_000 || p.Sampled != 100 || math.Abs(p.Success.Value-0.8) > 1e-9 ||
		math.Abs(p.Bytes.Value-80e6) > 1 || math.Abs(p.Faces.Value-40_000) > 1 ||
		math.Abs(p.WithFaces.Value-40_000) > 1 || p.Database != 20_000_000 ||
		math.Abs(p.Failures[store.HTTP429].Value-0.2) > 1e-9 || len(p.Failures) != 1 {
		t.Errorf("%+v", p)
	}
	if !(p.Success.Low < 0.8 && p.Success.Low > 0.65 && p.Success.High > 0.8 && p.Success.High < 0.9) {
		t.Errorf("success %+v", p.Success)
	}
	near := func(got, want float64) bool { return math.Abs(got-want) < want/1000 }
	const busy, many = "--per-host 4", 1000
	for _, c := range []struct {
		what   string
		change func(*Run)
		parts  string // the longest first
		time   float64
		text   string
		flags  string
	}{
		{"fetchers", func(r *Run) { r.Fetching = 9900 * time.Millisecond }, "fetch cpu", 990,
			"the network: 10 fetches at once, of 99ms each",
			"--fetchers 48 " + busy},
		{"processors", func(r *Run) { r.Fetchers = many }, "cpu fetch", 250,
			"the processors: a row takes 10ms of one, and there are 4", "--min-face 40 " + busy},
		{"decoding", func(r *Run) { r.Fetchers, r.Detecting = many, 2*r.Decoding }, "cpu fetch", 250,
			"the processors: a row takes 10ms of one, and there are 4", busy},
		{"few workers", func(r *Run) { r.Fetchers, r.Workers = many, 1 }, "cpu fetch", 1200,
			"the processors: a row takes 10ms of one, and there are 4", "--min-face 40 " + busy},
		{"a sidecar", func(r *Run) { r.Fetchers, r.Workers, r.Elsewhere = many, 1, true }, "cpu fetch", 250,
			"the processors: a row takes 10ms of one, and there are 4", busy},
		{"a host", func(r *Run) { r.Fetchers, r.PerHost = many, 5 }, "host cpu fetch", 1500,
			"the limit of big.example, which has 75 % of the rows, at --per-host 5", "--per-host 10 " + busy},
		{"the rate", func(r *Run) { r.Rate = 10 }, "rate fetch cpu", 14_000, "--rate 10", busy},
		{"the bandwidth", func(r *Run) { r.Bandwidth = 1000 }, "bwlimit fetch cpu", 80_000, "--bwlimit 1000",
			busy},
		{"slow requests", func(r *Run) { r.Fetchers, r.Fetching = 11, 999*time.Second }, "fetch cpu",
			62_437.5, "the network: 11 fetches at once, of 9.99s each", "--fetchers 423 " + busy},
		{"quick ones", func(r *Run) { r.Slow, r.CPU = 0, 3900*time.Millisecond }, "fetch cpu", 1000,
			"the network: 10 fetches at once, of 100ms each", busy}, // the processors are nearly as slow
		{"some faster", func(r *Run) { r.CPU = 3100 * time.Millisecond }, "fetch cpu", 1000,
			"the network: 10 fetches at once, of 100ms each", "--fetchers 16 " + busy},
		{"most fetchers", func(r *Run) { r.Fetchers, r.CPU = 4095, time.Millisecond }, "fetch cpu",
			10_000. / 4095, "the network: 4095 fetches at once, of 100ms each", "--fetchers 4096 " + busy},
		{"no more fetchers", func(r *Run) { r.Fetchers, r.CPU = 4096, time.Millisecond }, "fetch cpu",
			10_000. / 4096, "the network: 4096 fetches at once, of 100ms each", busy},
		{"a day", func(r *Run) {
			r.Fetchers, r.Workers, r.Cores, r.CPU = 1e6, 5, 5, 432*time.Second
		}, "cpu fetch", 86_400,
			"the processors: a row takes 4.32s of one, and there are 5", "--min-face 40 " + busy},
		{"weeks", func(r *Run) { r.Fetchers, r.CPU = 1e6, 2000*time.Second }, "cpu fetch", 500_000,
			"the processors: a row takes 20s of one, and there are 4", "--node i/6 --min-face 40 " + busy},
	} {
		r := run
		c.change(&r)
		p := s.Predict(results, r)
		parts := strings.Join(p.Parts(), " ")
		if parts != c.parts || !strings.HasPrefix(parts, p.Limit) || !near(p.Seconds, c.time) ||
			p.LimitText != c.text {
			t.Errorf("%s: %s after %v s (%s), want %s after %v s (%s); %v", c.what, parts, p.Seconds,
				p.LimitText, c.parts, c.time, c.text, p.Limits)
		}
		var flags []string
		for _, g := range p.Suggestion {
			flags = append(flags, g.Flags)
		}
		if all := strings.Join(flags, " "); all != c.flags {
			t.Errorf("%s: suggested are %q, not %q", c.what, all, c.flags)
		}
		if last := p.Suggestion[len(p.Suggestion)-1].Why; last !=
			"hosts say that they get too many requests (20 % of the rows)" {
			t.Errorf("%s: %s", c.what, last)
		}
		if c.what == "a host" &&
			p.Suggestion[0].Why != "if that host allows it: everything else takes 4m10s" {
			t.Errorf("%s: %s", c.what, p.Suggestion[0].Why)
		}
	}
	p.Failures[store.Timeout] = p.Failures[store.HTTP429]
	p.Failures[store.DNSNotFound] = Bounds{Value: 0.5}
	if got := p.Ranked(); !slices.Equal(got, []store.Reason{store.DNSNotFound, store.HTTP429,
		store.Timeout}) {
		t.Errorf("reasons %v", got)
	}
}

// TestEqualLimits: of parts that take equally long the first by name is the limit.
func TestEqualLimits(t *testing.T) {
	t.Parallel()
	s := &Sample{Total: 1, held: 1, Drawn: []Row{{}}, strata: []Stratum{{Share: 1, drawn: 1, held: 1}}}
	for range 20 { // a map has no order
		p := s.Predict([]store.Result{{Status: store.OK, Attempts: 1, Bytes: 1}}, Run{Fetchers: 1, Workers: 1,
			Cores: 1, Rate: 1, Bandwidth: 1})
		if got := strings.Join(p.Parts(), " "); p.Limit != "bwlimit" || p.Seconds != 1 ||
			got != "bwlimit rate cpu fetch" {
			t.Fatalf("%s after %v s, %s", p.Limit, p.Seconds, got)
		}
	}
}

// TestHostLimit: the host that takes longest is the limit; hosts with few rows each are none together.
func TestHostLimit(t *testing.T) {
	t.Parallel()
	s := &Sample{Total: 100, held: 100, Drawn: []Row{{stratum: 0}, {stratum: 1}, {stratum: 2}},
		strata: []Stratum{{Host: "a", Share: 0.2, drawn: 1, held: 20}, {Host: "b", Share: 0.1, drawn: 1,
			held: 10}, {Share: 0.7, drawn: 1, held: 70}}}
	results := []store.Result{{Took: time.Second}, {Took: 3 * time.Second}, {Took: 4 * time.Second}}
	run := Run{Fetchers: 1000, Workers: 1, Cores: 1, PerHost: 1, Fetching: 8 * time.Second}
	p := s.Predict(results, run)
	if p.Limit != byHost || math.Abs(p.Seconds-30) > 1e-6 ||
		p.LimitText != "the limit of b, which has 10 % of the rows, at --per-host 1" {
		t.Errorf("%s after %v s: %s", p.Limit, p.Seconds, p.LimitText)
	}
}

// TestAdvice: a reason of enough failures has its advice.
func TestAdvice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason store.Reason
		rows   int // of 200, from which on there is advice
		flags  string
	}{
		{store.HTTP429, 2, "--per-host 4"}, {store.TooLarge, 2, "--max-bytes 128MiB"},
		{store.TooManyPixels, 2, "--max-pixels 400M"}, {store.Timeout, 20, "--timeout 10s --retries 1"},
		{store.PrivateAddress, 2, "--allow-private"}, {store.OptOut, 2, "--ignore-opt-out"},
		{store.BadURL, 100, "--url-column NAME"},
	} {
		for rows, want := range map[int]string{c.rows - 1: "", c.rows: c.flags} {
			s := &Sample{Total: 200, held: 200, Drawn: make([]Row, 200),
				strata: []Stratum{{Share: 1, drawn: 200, held: 200}}}
			results := make([]store.Result, 200)
			for i := range rows {
				results[i] = store.Result{Status: store.Failed, Reason: c.reason}
			}
			// The processors limit it, and detection does not take most of their time.
			p := s.Predict(results, Run{Fetchers: 1, Workers: 1, Cores: 1, CPU: time.Second})
			var flags []string
			for _, g := range p.Suggestion {
				flags = append(flags, g.Flags)
			}
			if got := strings.Join(flags, " "); got != want {
				t.Errorf("%d rows with %s: %q, want %q", rows, c.reason, got, want)
			}
		}
	}
}

// TestRound: times have three digits, and no less than a microsecond.
func TestRound(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[float64]string{0: "0s", 1.2345e-6: "1µs", 0.00123456: "1.23ms",
		1.23456: "1.23s", 99.96: "1m40s", 1234.5: "20m30s", 123_456: "34h10m0s"} {
		if got := round(seconds).String(); got != want {
			t.Errorf("%v s: %s, want %s", seconds, got, want)
		}
	}
}

// TestEach stops at what a list cannot give.
func TestEach(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Draw(ctx, Plan{Lists: []source.Spec{{Path: "-", Format: "txt",
		In: io.LimitReader(endless{}, 1<<40)}}, Rows: 3}); err == nil {
		t.Error("a cancelled Draw goes on")
	}
}

// endless is a list without end.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return copy(b, "http://h.example/\n"), nil }
