package live_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/live"
	"facescan/pipeline/live/browser"
)

// nasty is what a list may hold.
const nasty = `http://u:***@h.example/<img src=x onerror="document.title='taken'">&amp;"'` + "\u202e.jpg"

// pictures is where screenshots go: a folder of the user's, to look at them, or one that is thrown away.
func pictures(t testing.TB) string {
	if dir := os.Getenv("FACESCAN_SCREENSHOTS"); dir != "" {
		return dir
	}
	return t.TempDir()
}

// TestPage looks at the page in a real browser: what it shows, in what windows and colours, and what it may
// do.
func TestPage(t *testing.T) {
	s := serve(t, view(), false)
	b := browser.Open(t)
	b.Go(s.URL())
	b.Wait("document.documentElement.dataset.at")

	for id, want := range map[string]string{
		"job": "/data/list <b>.facescan.db", "total": "5,000,000+", "done": "432,100", "pending": "4,567,900",
		"ok": "400,000", "failed": "32,100",
		"images_with_faces": "123,456", "faces": "234,567", "rate": "1,235", "eta": "1 h 1 min",
		"share":     "8.6 %",
		"importing": "Not read to the end yet: urls.txt", "in_flight": "200 of 256",
		"memory": "23 MiB of 256 MiB", "retries": "321", "leases": "2, 1",
		"store": "94 MiB", "shards": "500 shards: 43 done, 7 leased, 450 free",
		"limit": "Held back by the workers (94% busy): 2 rows wait; more --workers may help.",
	} {
		var got string
		if b.Eval("document.getElementById('"+id+"').textContent", &got); got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	for id, want := range map[string][][]string{
		"failures": {{"http_4xx", "30,000", "6.9 %", "permanent", "about http_4xx"},
			{"timeout", "2,000", "0.5 %", "transient", "about timeout"},
			{"opt_out", "100", "< 0.1 %", "policy", "about opt_out"}},
		"hosts": {{"slow.example", "2,000", "timeout", "900", "4 at once"},
			{"dead.example", "50", "dns_not_found", "0", "taken for dead"},
			{"busy.example", "0", "", "700", "2 at once, at most 5 a second"},
			{"later.example", "0", "", "10", "next request in 40s"}},
		"owners": {{"7 on here (this one)", "alive", "4", "32,000", "600", "the workers"},
			{"8 on there", "alive", "3", "22,000", "0", ""}, {"9 on there", "gone", "0", "0", "0", ""}},
	} {
		if got := table(b, id); !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	if got := table(b, "stages"); len(got) != 4 || got[0][0] != "fetch" || got[0][2] != "120 of 192" ||
		got[0][3] != "3,000" || got[2][0] != "detect" {
		t.Errorf("stages: %q", got)
	}
	var faces, images int
	var url string
	b.Eval("document.querySelectorAll('#latest rect.face').length", &faces)
	b.Eval("document.images.length", &images)
	b.Eval("document.querySelector('#latest .url').textContent", &url)
	if faces != 3 || images != 0 || url != nasty {
		t.Errorf("%d faces are drawn, %d images are loaded, the URL shows as %q", faces, images, url)
	}

	// The curve needs a second moment.
	s.change(func(v *live.Snapshot) { v.Counts.Done += 700; v.Counts.OK += 700 })
	b.Wait("document.getElementById('done').textContent === '432,800' && document.querySelector('#chart " +
		"path.done')")
	dir := pictures(t)
	for _, w := range []int{1400, 390} {
		for _, dark := range []bool{false, true} {
			b.Look(w, 900, dark)
			var over int
			b.Eval("new Promise((ok) => requestAnimationFrame(() => requestAnimationFrame(() => "+
				"ok(document.documentElement.scrollWidth - innerWidth))))", &over)
			if over > 0 {
				t.Errorf("in a window of %d pixels the page is %d too wide", w, over)
			}
			if texts := b.Pale(); len(texts) > 0 {
				t.Errorf("dark %v: too little contrast: %q", dark, texts)
			}
			b.Shoot(filepath.Join(dir, fmt.Sprintf("live-%d-%v.png", w,
				map[bool]string{false: "light", true: "dark"}[dark])))
		}
	}

	// What is wrong is said, in words, and to those who listen too.
	s.change(func(v *live.Snapshot) {
		v.Outage, v.Cause, v.OutageFor = true, "8 hosts in a row did not answer", 65*time.Second
		v.Holdup = live.Holdup{Kind: live.ByOutage,
			What: "an outage of this machine: 8 hosts in a row did not answer"}
	})
	b.Wait("document.getElementById('outage').checkVisibility()")
	var outage, limit string
	b.Eval("document.getElementById('outage').textContent", &outage)
	b.Eval("document.getElementById('limit').textContent", &limit)
	if !strings.Contains(outage, "1 min 5 s") || !strings.Contains(outage, "8 hosts in a row") ||
		!strings.Contains(limit, "an outage of this machine") {
		t.Errorf("the outage shows as %q and %q", outage, limit)
	}
	b.Shoot(filepath.Join(dir, "live-outage.png"))
	s.change(func(v *live.Snapshot) { v.Outage = false })
	s.mu.Lock()
	s.err = errors.New("the disk <i>is</i> away")
	s.mu.Unlock()
	b.Wait("!document.getElementById('outage').checkVisibility() && " +
		"document.getElementById('trouble').textContent.includes('<i>is</i>')")

	s.mu.Lock()
	s.err = nil
	s.mu.Unlock()
	s.Close("finished")
	b.Wait("document.documentElement.dataset.end === 'finished'")
	var state, title string
	b.Eval("document.getElementById('state').textContent", &state)
	b.Eval("document.title", &title)
	if !regexp.MustCompile(`^finished, after \d+ min`).MatchString(state) || !strings.HasPrefix(title,
		"finished – list <b>.facescan.db") {
		t.Errorf("the end shows as %q, in the title %q", state, title)
	}
	if problems := b.Problems(); len(problems) > 0 {
		t.Errorf("the page complains: %q", problems)
	}
	for _, url := range b.Requested() {
		if !strings.HasPrefix(url, s.URL()) {
			t.Errorf("the page asks for %s", url)
		}
	}
}

// table is the text of a table's body.
func table(b *browser.Browser, id string) (rows [][]string) {
	b.Eval("[...document.querySelectorAll('#"+id+" tbody tr')].map((r) => [...r.cells].map((c) => "+
		"c.textContent))", &rows)
	return rows
}

// TestLabels: the parts of the page have names, for people who do not see them, and none shows what is meant
// by colour alone.
func TestLabels(t *testing.T) {
	s := serve(t, view(), false)
	b := browser.Open(t)
	b.Go(s.URL())
	b.Wait("document.documentElement.dataset.at")
	var unnamed []string
	b.Eval(`[...document.querySelectorAll('section, progress, svg')].filter((e) => {
		const by = (e.getAttribute('aria-labelledby') || '').split(' ').map((id) => document.getElementById(id));
		return !e.getAttribute('aria-label') && !by.some((l) => l && l.textContent.trim());
	}).map((e) => e.outerHTML.slice(0, 80))`, &unnamed)
	if len(unnamed) > 0 {
		t.Errorf("without a name: %q", unnamed)
	}
	var levels []string
	b.Eval("[...document.querySelectorAll('h1,h2,h3')].map((e) => e.tagName)", &levels)
	if len(levels) < 7 || levels[0] != "H1" || slices.Contains(levels[1:], "H1") {
		t.Errorf("headings: %q", levels)
	}
	var dashes []string
	b.Eval("['done', 'failed'].map((c) => getComputedStyle(document.querySelector('.key.' + "+
		"c)).borderTopStyle)", &dashes)
	if !slices.Equal(dashes, []string{"solid", "dashed"}) {
		t.Errorf("the lines differ in nothing but colour: %q", dashes)
	}
	var moving int
	b.Eval("document.getAnimations().length", &moving)
	if moving > 0 {
		t.Errorf("%d things move by themselves", moving)
	}
	var cut []string
	b.Eval("[...document.querySelectorAll('table')].filter((t) => [...t.tHead.rows[0].cells].some((c) => "+
		"c.scope !== 'col') || [...t.tBodies[0].rows].some((r) => r.cells[0].scope !== 'row')).map((t) => "+
		"t.id)", &cut)
	if len(cut) > 0 {
		t.Errorf("tables without proper headers: %q", cut)
	}
}

// TestDashboard: what Grafana would ask for is there.
func TestDashboard(t *testing.T) {
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	s := serve(t, view(), false)
	if err := json.Unmarshal([]byte(get(t, s.URL()+"grafana.json").body), &d); err != nil {
		t.Fatal(err)
	}
	there := metricNames(get(t, s.URL()+"metrics").body)
	asked := map[string]bool{}
	for _, p := range d.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("panel %q asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, name := range word.FindAllString(target.Expr, -1) {
				asked[name] = true
				if !there[name] {
					t.Errorf("panel %q asks for %s, which is not there: %v", p.Title, name,
						slices.Sorted(maps.Keys(there)))
				}
			}
		}
	}
	if len(asked) < 20 {
		t.Errorf("the dashboard asks for %d metrics only", len(asked))
	}
}
