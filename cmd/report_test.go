package cmd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/pipeline/live/browser"
)

// TestReport looks at the report of a real run in a real browser: its figures are those of status, it asks
// for nothing and complains of nothing, and it fits wide and narrow windows, in light and dark, and paper.
func TestReport(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, _ := badList(s, 300)
	lines[1] = `http://<script>document.title='taken'</script>.example/<img src=x onerror=alert(1)>`
	list := writeList(t, dir, lines)
	mustHere(t, quietRun(list, "--thumbnails", "12", "--retries", "0")...)
	var status struct {
		Total, Done, Pending, OK, Failed, Faces int64
		ImagesWithFaces                         int64 `json:"images_with_faces"`
		Failures                                map[string]int64
	}
	if err := json.Unmarshal([]byte(mustHere(t, "status", list, "--json")), &status); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "report.html")
	mustHere(t, "report", list, "-o", file)

	b := browser.Open(t)
	b.Go("file://" + file)
	for id, want := range map[string]int64{"total": status.Total, "done": status.Done,
		"pending": status.Pending, "ok": status.OK, "failed": status.Failed, "faces": status.Faces,
		"images_with_faces": status.ImagesWithFaces} {
		var got string
		if b.Eval(fmt.Sprintf("document.getElementById('%s').dataset.n", id), &got); got != fmt.Sprint(want) {
			t.Errorf("%s: %s, status says %d", id, got, want)
		}
	}
	if status.Faces == 0 || status.Failed == 0 {
		t.Errorf("a run without faces or failures: %+v", status)
	}
	got := map[string]int64{}
	b.Eval("Object.fromEntries([...document.querySelectorAll('#failures tbody tr')].map(r => "+
		"[r.cells[0].textContent, Number(r.cells[1].dataset.n)]))", &got)
	if fmt.Sprint(got) != fmt.Sprint(status.Failures) {
		t.Errorf("failures %v, status says %v", got, status.Failures)
	}
	var sheet struct{ Images, Broken, Boxes, Unnamed int }
	b.Eval(`(() => { const i = [...document.images]; return { Images: i.length, Broken: i.filter(x => !x.complete || !x.naturalWidth).length,
		Boxes: document.querySelectorAll('.frame .box').length, Unnamed: i.filter(x => !x.alt).length } })()`, &sheet)
	if sheet.Images != 12 || sheet.Broken != 0 || sheet.Boxes != 6 || sheet.Unnamed != 0 {
		t.Errorf("the contact sheet: %+v", sheet)
	}
	var shape struct {
		Scripts, Links, Tables, Captions, H1 int
		Pictures                             int
		Facts                                []string
		Jumps                                bool
		Drawings                             []string
		Title                                string
	}
	b.Eval(`(() => { const h = [...document.querySelectorAll('h1,h2,h3')].map(x => Number(x.tagName[1])); return {
		Scripts: document.scripts.length, Links: document.querySelectorAll('link,iframe,object').length, Pictures: [...document.querySelectorAll('figcaption a')].filter(a => /^http:/.test(a.href) && a.rel == 'noreferrer').length,
		Tables: document.querySelectorAll('table').length, Captions: document.querySelectorAll('table > caption').length,
		H1: h.filter(n => n == 1).length, Jumps: h.some((n, i) => i && n > h[i-1] + 1), Title: document.title,
		Facts: [...document.querySelectorAll('.facts dt')].map(x => x.textContent),
		Drawings: [...document.querySelectorAll('svg[role=img]')].map(x => document.getElementById(x.getAttribute('aria-labelledby'))?.textContent ?? '') } })()`, &shape)
	if shape.Scripts != 0 || shape.Links != 0 || shape.Tables < 6 || shape.Captions != shape.Tables ||
		shape.H1 != 1 || shape.Jumps ||
		!slices.Equal(shape.Drawings, []string{"Rows per second over time", "Rows done over time"}) ||
		shape.Pictures != 12 || !slices.Equal(shape.Facts, []string{"Duration", "Mean rate", "Detector",
		"Flags of the last run", "facescan"}) ||
		!strings.HasPrefix(shape.Title, "facescan report: ") {
		t.Errorf("the page's shape: %+v", shape)
	}

	shots := os.Getenv("FACESCAN_SCREENSHOTS") // a folder of the user's, to look at them
	if shots == "" {
		shots = t.TempDir()
	}
	for _, w := range []struct {
		name          string
		width, height int
	}{{"wide", 1280, 900}, {"narrow", 360, 740}} {
		for _, dark := range []bool{false, true} {
			b.Look(w.width, w.height, dark)
			var over int
			if b.Eval("document.documentElement.scrollWidth - window.innerWidth", &over); over > 0 {
				t.Errorf("%s: the page is %d pixels wider than the window", w.name, over)
			}
			var odd []string // a row's pictures that are not as high as the others, labels that are cut off
			b.Eval(`(() => { const odd = [], top = e => Math.round(e.getBoundingClientRect().top);
				for (const s of document.querySelectorAll('.sheet')) for (const a of s.children) for (const b of s.children)
					if (top(a) == top(b) && top(a.querySelector('figcaption')) != top(b.querySelector('figcaption'))) odd.push('uneven: ' + a.textContent);
				for (const c of document.querySelectorAll('.chart')) for (const l of c.querySelectorAll('span')) { const r = l.getBoundingClientRect();
					if (r.width && (r.left < 0 || r.right > window.innerWidth || r.height < 12)) odd.push('cut: ' + l.textContent) }
				return odd })()`, &odd)
			if len(odd) > 0 {
				t.Errorf("%s: %q", w.name, odd)
			}
			if worst := contrast(b); worst < 4.5 {
				t.Errorf("%s, dark %v: text with a contrast of %.2f", w.name, dark, worst)
			}
			b.Shoot(filepath.Join(shots, fmt.Sprintf("report-%s-dark-%v.png", w.name, dark)))
		}
	}
	b.Look(800, 1100, true)
	b.Print(true)
	var paper string
	if b.Eval("getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()",
		&paper); paper != "#ffffff" {
		t.Errorf("paper is %s", paper)
	}
	b.Shoot(filepath.Join(shots, "report-paper.png"))
	if p := b.Problems(); len(p) > 0 {
		t.Errorf("the page complains: %q", p)
	}
	for _, url := range b.Requested() {
		if !strings.HasPrefix(url, "file://"+file) && !strings.HasPrefix(url, "data:image/jpeg;base64,") {
			t.Errorf("the page asked for %.80s", url)
		}
	}
}

// contrast is the lowest contrast (WCAG 2) of a text with the colour behind it.
func contrast(b *browser.Browser) (worst float64) {
	b.Eval(`(() => {
		const rgb = c => (c.match(/[\d.]+/g) || []).map(Number);
		const light = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 }); return .2126 * r + .7152 * g + .0722 * b };
		let worst = 99;
		for (const e of document.querySelectorAll('body *')) {
			if (![...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim()) || e.closest('title,style')) continue;
			const drawn = e instanceof SVGElement, style = getComputedStyle(e);
			let at = e, back = [255, 255, 255];
			for (; at; at = at.parentElement) { const c = rgb(getComputedStyle(at).backgroundColor); if (c.length == 3 || c[3] == 1) { back = c.slice(0, 3); break } }
			const a = light(rgb(drawn ? style.fill : style.color).slice(0, 3)), b = light(back);
			worst = Math.min(worst, (Math.max(a, b) + .05) / (Math.min(a, b) + .05));
		}
		return worst })()`, &worst)
	return worst
}
