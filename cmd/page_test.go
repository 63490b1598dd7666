package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/pipeline/live/browser"
)

var pageAt = regexp.MustCompile(`can be watched at (http://\S+/)`)

// watched starts a run in a folder, and returns where its page is.
func watched(t testing.TB, dir string, args ...string) (*exec.Cmd, *transcript, string) {
	t.Helper()
	return watchedTo(t, nil, dir, args...)
}

// watchedTo is watched with a stdout.
func watchedTo(t testing.TB, stdout io.Writer, dir string, args ...string) (*exec.Cmd, *transcript, string) {
	t.Helper()
	c := exec.Command(os.Args[0],
		append([]string{"run", "--listen", "127.0.0.1:0", "--allow-private", "--progress", "none"},
			args...)...)
	c.Dir = dir
	c.Env = append(os.Environ(), beMain+"=1")
	out := &transcript{}
	c.Stdout, c.Stderr = stdout, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	url := ""
	eventually(t, "the page is served", func() bool {
		if m := pageAt.FindStringSubmatch(out.String()); m != nil {
			url = m[1]
		}
		return url != ""
	})
	return c, out, url
}

func download(t testing.TB, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPageOfRuns: two processes work on one job; the page of each shows the whole job, with the figures of
// status --json, while they work and at the end.
func TestPageOfRuns(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	lines, _ := badList(s, 240)
	for i := range 4 { // the run goes on, and its figures stand still
		lines = append(lines, fmt.Sprintf("%s/hang/%d", s.URL, i))
	}
	if err := os.WriteFile(filepath.Join(dir, "urls.txt"), []byte(strings.Join(lines, "\n")),
		0o644); err != nil {
		t.Fatal(err)
	}
	flags := []string{"urls.txt", "--timeout", "10m", "--shard-size", "20", "--fetchers", "8"}
	first, _, at := watched(t, dir, flags...)
	second, _, at2 := watched(t, dir, flags...)

	b := browser.Open(t)
	b.Go(at)
	b.Wait("document.getElementById('done').textContent === '240'")
	status := func() (v map[string]any) {
		if err := json.Unmarshal([]byte(mustHere(t, "status", filepath.Join(dir, "urls.txt"), "--json")),
			&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	agree := func() {
		t.Helper()
		want := status()
		for _, name := range []string{"total", "done", "pending", "ok", "failed", "images_with_faces",
			"faces"} {
			var got string
			b.Eval("document.getElementById('"+name+"').textContent", &got)
			if n, err := strconv.ParseFloat(strings.ReplaceAll(got, ",", ""), 64); err != nil ||
				n != want[name] {
				t.Errorf("%s: the page shows %q, status says %v", name, got, want[name])
			}
		}
		var rows [][]string
		b.Eval("[...document.querySelectorAll('#failures tbody tr')].map((r) => [r.cells[0].textContent, "+
			"r.cells[1].textContent])", &rows)
		failures := want["failures"].(map[string]any)
		for _, r := range rows {
			if fmt.Sprint(failures[r[0]]) != r[1] {
				t.Errorf("%s: the page shows %s, status says %v", r[0], r[1], failures[r[0]])
			}
		}
		if len(rows) != len(failures) || len(rows) < 3 {
			t.Errorf("the page shows failures %q, status says %v", rows, failures)
		}
	}
	agree()
	metrics := download(t, at+"metrics")
	for name, key := range map[string]string{`facescan_job_rows{state="ok"}`: "ok",
		`facescan_job_rows{state="failed"}`: "failed", `facescan_job_rows{state="pending"}`: "pending",
		"facescan_job_faces": "faces"} {
		if line := fmt.Sprintf("\n%s %v\n", name, status()[key]); !strings.Contains(metrics, line) {
			t.Errorf("the metrics do not have %q", line)
		}
	}
	var owners []string
	b.Wait("document.querySelectorAll('#owners tbody tr').length === 2")
	b.Eval("[...document.querySelectorAll('#owners tbody th')].map((e) => e.textContent)", &owners)
	if text := strings.Join(owners, "; "); !strings.Contains(text, fmt.Sprint(first.Process.Pid, " on ")) ||
		!strings.Contains(text, fmt.Sprint(second.Process.Pid, " on ")) ||
		strings.Count(text, "(this one)") != 1 {
		t.Errorf("processes: %q", owners)
	}

	other := browser.Open(t)
	other.Go(at2)
	other.Wait("document.getElementById('done').textContent === '240' && " +
		"document.getElementById('pending').textContent === '4'")

	// to look at a real run, not only at a made-up one
	if dir := os.Getenv("FACESCAN_SCREENSHOTS"); dir != "" {
		b.Look(1400, 900, false)
		b.Shoot(filepath.Join(dir, "run.png"))
	}
	for _, c := range []*exec.Cmd{first, second} {
		if err := c.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
	}
	b.Wait("document.documentElement.dataset.end === 'interrupted'")
	if err := first.Wait(); err == nil || first.ProcessState.ExitCode() != exitInterrupted {
		t.Errorf("the run ends with %v", err)
	}
	second.Wait()
	agree()
	for _, b := range []*browser.Browser{b, other} {
		if problems := b.Problems(); len(problems) > 0 {
			t.Errorf("the page complains: %q", problems)
		}
	}
}

// TestPicturesOnPage: with --thumbnails the latest faces are seen, each picture with its boxes and a link; no
// others are served, and none to another name.
func TestPicturesOnPage(t *testing.T) {
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	lines := []string{s.URL + "/f/a-faces.jpg", s.URL + "/f/b-none.jpg", s.URL + "/hang/1"}
	list := writeList(t, dir, lines)
	_, _, at := watched(t, dir, list, "--timeout", "10m", "--thumbnails", "2")
	b := browser.Open(t)
	b.Go(at)
	b.Wait("document.querySelector('#latest image')")
	var seen struct {
		Width, Height, Faces  int
		Name, Link, Rel, Href string
	}
	b.Eval(`(async () => { const i = document.querySelector('#latest image'), a = document.querySelector('#latest a');
		const p = new Image(); p.src = i.href.baseVal; await p.decode();
		return { Width: p.naturalWidth, Height: p.naturalHeight, Faces: document.querySelectorAll('#latest rect.face').length,
			Name: a.textContent, Link: a.href, Rel: a.rel, Href: i.href.baseVal } })()`, &seen)
	if seen.Width != 256 || seen.Height != 320 || seen.Faces != 1 || seen.Name != "a-faces.jpg" ||
		seen.Link != lines[0] || seen.Rel != "noreferrer" || seen.Href != "faces/1" {
		t.Errorf("the page shows %+v", seen)
	}
	for _, c := range []struct {
		path, host string
		code       int
	}{{"faces/1", "", 200}, {"faces/2", "", 404}, {"faces/x", "", 404}, {"faces/1", "evil.example", 421}} {
		r, err := http.NewRequest(http.MethodGet, at+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = c.host
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.code || c.code == 200 && resp.Header.Get("Content-Type") != "image/jpeg" {
			t.Errorf("%s of %q: %s, %s", c.path, c.host, resp.Status, resp.Header.Get("Content-Type"))
		}
	}
	if shots := os.Getenv("FACESCAN_SCREENSHOTS"); shots != "" {
		for _, w := range []int{1280, 360} {
			b.Look(w, 900, w == 360)
			b.Shoot(filepath.Join(shots, fmt.Sprintf("page-%d.png", w)))
		}
	}
	if p := b.Problems(); len(p) > 0 {
		t.Errorf("the page complains: %q", p)
	}
}

// TestFacesOnPage: the latest faces are drawn where a run found them.
func TestFacesOnPage(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	list := s.URL + "/f/a-faces.jpg\n" + s.URL + "/hang/1\n"
	if err := os.WriteFile(filepath.Join(dir, "urls.txt"), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, at := watched(t, dir, "urls.txt", "--timeout", "10m")
	b := browser.Open(t)
	b.Go(at)
	b.Wait("document.querySelector('#latest rect.face')")
	var boxes [][4]float64
	b.Eval("[...document.querySelectorAll('#latest rect.face')].map((r) => ['x', 'y', 'width', "+
		"'height'].map((k) => Number(r.getAttribute(k))))", &boxes)
	var line struct{ Boxes [][5]float64 }
	if err := json.Unmarshal([]byte(mustHere(t, "detect", "--json", "../detect/testdata/faces.jpg")),
		&line); err != nil {
		t.Fatal(err)
	}
	if len(boxes) == 0 || len(boxes) != len(line.Boxes) {
		t.Fatalf("%v are drawn, detect finds %v", boxes, line.Boxes)
	}
	for i, box := range boxes {
		if box != [4]float64(line.Boxes[i][:4]) {
			t.Errorf("face %d is drawn at %v, detect finds it at %v", i, box, line.Boxes[i])
		}
	}
}
