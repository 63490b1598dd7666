package cmd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/fetch/fetchtest"
)

// freeAddress is an address of loopback that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestNeverComing opens 300 connections whose bodies never come, to a sidecar and to a live page of processes
// that may have 256 descriptors open. Both answer others at once.
func TestNeverComing(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	list := writeList(t, dir, []string{s.URL + "/hang/1"})
	few := func(args ...string) {
		t.Helper()
		c := exec.Command("sh", append([]string{"-c", `ulimit -n 256; exec "$0" "$@"`, os.Args[0]},
			args...)...)
		c.Dir, c.Env = dir, append(os.Environ(), beMain+"=1")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			c.Process.Kill()
			c.Wait()
		})
	}
	sidecar, page := freeAddress(t), freeAddress(t)
	few("sidecar", "--listen", sidecar, "--token", "key")
	few("run", list, "--allow-private", "--progress", "none", "-q", "--listen", page, "--timeout", "1h",
		"--fetchers", "8")

	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(url string) error {
		res, err := client.Get(url)
		if err == nil {
			if res.Body.Close(); res.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s", res.Status)
			}
		}
		return err
	}
	for _, c := range []struct{ address, path, post string }{
		{sidecar, "/v2/health/ready", "/v2/models/face/infer"}, {page, "/healthz", "/events"},
	} {
		eventually(t, c.address+" answers",
			func() bool { return ask("http://"+c.address+c.path) == nil })
		for range 300 {
			conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", c.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "POST "+c.post+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+
				"key\r\nContent-Length: 100000\r\n\r\n{")
		}
		for range 5 {
			if err := ask("http://" + c.address + c.path); err != nil {
				t.Errorf("%s beside 300 bodies that never come: %v", c.path, err)
			}
		}
	}
	if out := mustHere(t, "detect", writePicture(t, dir), "--sidecar",
		"http://:key@"+sidecar); !strings.Contains(out, "1 face\n") {
		t.Errorf("the sidecar found %s", out)
	}
}

func writePicture(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "a.jpg")
	if err := os.WriteFile(path, pictures(t)["a-faces.jpg"], 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
