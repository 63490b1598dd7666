package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"facescan/pipeline/fetch/fetchtest"
	"facescan/pipeline/live"
)

// heldBack waits until the metrics of a run name what holds it back.
func heldBack(t *testing.T, page, kind string) {
	t.Helper()
	line := fmt.Sprintf("facescan_held_back{by=%q} 1\n", kind)
	eventually(t, "held back by "+kind,
		func() bool { return strings.Contains(download(t, page+"metrics"), line) })
}

// endless starts a server, and writes a list of it that no run ends within a test.
func endless(t *testing.T) (dir, list string) {
	t.Helper()
	s := fetchtest.New(pictures(t), 0)
	t.Cleanup(s.Close)
	dir = t.TempDir()
	return dir, longList(t, dir, s.URL, 20_000)
}

// longList writes a list of so many rows of a server.
func longList(t *testing.T, dir, url string, n int) string {
	t.Helper()
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf("%s/i/%d/x.jpg", url, i))
	}
	return writeList(t, dir, lines)
}

// TestHeldBackByRate: with --rate the page, the metrics, status and the summary name --rate, and nothing
// else.
func TestHeldBackByRate(t *testing.T) {
	t.Parallel()
	dir, list := endless(t)
	run, said, page := watched(t, dir, filepath.Base(list), "--rate", "40", "--detector", "none")
	heldBack(t, page, live.ByRate)
	const text = "--rate (40 requests per second)"
	event, _, _ := strings.Cut(strings.TrimPrefix(downloadSome(t, page+"events"), "data: "), "\n")
	var shown struct {
		HeldBackBy string `json:"held_back_by"`
		HeldBack   string `json:"held_back"`
	}
	if err := json.Unmarshal([]byte(event), &shown); err != nil || shown.HeldBackBy != live.ByRate ||
		shown.HeldBack != text {
		t.Errorf("the page is told %+v, %v", shown, err)
	}
	eventually(t, "another process is told", func() bool {
		var status struct {
			Owners []struct {
				HeldBackBy string  `json:"held_back_by"`
				Rate       float64 `json:"rate"`
			} `json:"owners"`
		}
		if err := json.Unmarshal([]byte(mustHere(t, "status", list, "--json")), &status); err != nil {
			t.Fatal(err)
		}
		return len(status.Owners) == 1 && status.Owners[0].HeldBackBy == live.ByRate &&
			status.Owners[0].Rate > 0
	})
	if out := mustHere(t, "status", list); !strings.Contains(out, "rows/s, held back by "+text) {
		t.Errorf("status says:\n%s", out)
	}
	if err := run.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	run.Wait()
	if !regexp.MustCompile(
		`held back mostly by --rate \(40 requests per second\): [1-9]\d*% of the time`).MatchString(
		said.String()) {
		t.Errorf("the summary says:\n%s", said)
	}
}

// downloadSome is the beginning of an answer that does not end.
func downloadSome(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var all []byte
	for b := make([]byte, 64<<10); !strings.Contains(string(all), "\n"); {
		n, err := resp.Body.Read(b)
		if all = append(all, b[:n]...); err != nil {
			t.Fatal(err)
		}
	}
	return string(all)
}

// TestHeldBackByStoppedSidecar: a sidecar process that is stopped is named as such, before its deadline and
// after it.
func TestHeldBackByStoppedSidecar(t *testing.T) {
	t.Parallel()
	dir, list := endless(t)
	socket := filepath.Join(dir, "s")
	server := startSidecar(t, dir, socket)
	_, said, page := watched(t, dir, filepath.Base(list), "--fetchers", "8", "--sidecar", "unix://"+socket,
		"--sidecar-deadline", "8s")
	eventually(t, "rows are done", func() bool {
		return strings.Contains(download(t, page+"metrics"), `facescan_rows_total{status="ok"} `) &&
			!strings.Contains(download(t, page+"metrics"), `facescan_rows_total{status="ok"} 0`+"\n")
	})
	if err := server.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	heldBack(t, page, live.BySidecar)
	if out := said.String(); strings.Contains(out, "detector unavailable") {
		t.Errorf("it was named only after its deadline:\n%s", out)
	}
	eventually(t, "the run pauses", func() bool {
		return strings.Contains(download(t, page+"healthz"), "ok, waiting: ")
	})
	heldBack(t, page, live.BySidecar)
	if body := download(t, page+"healthz"); strings.Contains(body, "cut off") {
		t.Errorf("healthz says %s", body)
	}
	if err := server.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// TestRisingShare: a server that begins to refuse is told once, with what to change, and a command that
// works.
func TestRisingShare(t *testing.T) {
	t.Parallel()
	picture := pictures(t)["c-none.png"]
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Half of the requests: if it refused all, the rows would wait for it, the longer the slower this
		// machine is.
		if n := asked.Add(1); n > 1500 && n%2 == 0 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.Write(picture)
	}))
	defer s.Close()
	dir := t.TempDir()
	list := longList(t, dir, s.URL, 3000)
	code, _, errs := here(t, "run", list, "--allow-private", "--progress", "none", "--detector", "none",
		"--retries", "0")
	if code != exitOK {
		t.Fatalf("exit %d\n%s", code, errs)
	}
	if strings.Count(errs, "http_429 rose from 0.0% to ") != 1 {
		t.Errorf("the run says:\n%s", errs)
	}
	for _, want := range []string{"lower --per-host (now 32), or set --rate below ",
		strings.TrimPrefix(s.URL, "http://"),
		"then: facescan retry " + filepath.Join(dir, "urls.facescan.db") + " --reason http_429"} {
		if !strings.Contains(errs, want) {
			t.Errorf("%q is not in\n%s", want, errs)
		}
	}
	code, _, said := here(t, "retry", filepath.Join(dir, "urls.facescan.db"), "--reason", "http_429")
	if code != 0 || !strings.Contains(said, "pending again") || strings.Contains(said, ": 0 failed") {
		t.Errorf("the command of the hint says: %s", said)
	}
}

// TestHeldBackByOutput: who does not read what a run writes to stdout is named.
func TestHeldBackByOutput(t *testing.T) {
	t.Parallel()
	dir, list := endless(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	_, _, page := watchedTo(t, writer, dir, filepath.Base(list), "--detector", "none", "--out", "-")
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	heldBack(t, page, live.ByOutput)
	go io.Copy(io.Discard, reader)
	eventually(t, "the run goes on", func() bool {
		resp, err := http.Get(page + "metrics")
		if err != nil {
			return true // it has ended
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return !strings.Contains(string(b), `facescan_held_back{by="output"} 1`)
	})
}
