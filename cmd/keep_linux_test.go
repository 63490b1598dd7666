package cmd

import (
	"archive/tar"
	"bytes"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKeepStopped stops a process past its lease, again and again, and lets it go on when another has done
// its rows. The server gives another picture with every request: all that is there of a row is of the one its
// result is of.
func TestKeepStopped(t *testing.T) {
	t.Parallel()
	photo, err := jpeg.Decode(bytes.NewReader(pictures(t)["a-faces.jpg"]))
	if err != nil {
		t.Fatal(err)
	}
	const variants = 8
	var shots [variants][]byte
	for i := range shots {
		b := photo.Bounds()
		b.Max.X -= 5 * i
		var out bytes.Buffer
		if err := jpeg.Encode(&out, photo.(interface {
			SubImage(image.Rectangle) image.Image
		}).SubImage(b), nil); err != nil {
			t.Fatal(err)
		}
		shots[i] = out.Bytes()
	}
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write(shots[asked.Add(1)%variants])
	}))
	defer srv.Close()
	var lines []string
	for i := range 150 {
		lines = append(lines, fmt.Sprintf("%s/%d.jpg", srv.URL, i))
	}
	dir := t.TempDir()
	list := writeList(t, dir, lines)
	args := append(keepArgs(dir, list), "--lease-ttl", "1s", "--workers", "2")
	type process struct {
		*exec.Cmd
		said  *transcript
		ended chan error
	}
	var all []process
	for range 3 {
		c, said := child(t, dir, args...)
		p := process{c, said, make(chan error, 1)}
		go func() { p.ended <- c.Wait() }()
		all = append(all, p)
		before := asked.Load()
		eventually(t, "some work",
			func() bool { return asked.Load() >= before+10 || len(p.ended) > 0 })
		stop(t, c.Process, strings.TrimSuffix(list, ".txt")+".facescan.db")
	}
	last, said := child(t, dir, args...)
	if err := last.Wait(); err != nil { // it does all that is left
		t.Fatalf("%v\n%s", err, said)
	}
	for _, p := range all {
		p.Process.Signal(syscall.SIGCONT)
		if err := <-p.ended; err != nil {
			t.Errorf("%v\n%s", err, p.said)
		}
	}
	mustHere(t, "verify", list, "-q")

	rows, err := csv.NewReader(strings.NewReader(mustHere(t, "export", list, "--columns",
		"status,kept,crops,blurred,boxes,bytes,width,height"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string][]byte{}
	tars, _ := filepath.Glob(filepath.Join(dir, "kept", "*.tar"))
	for _, path := range tars {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for r := tar.NewReader(f); ; {
			h, err := r.Next()
			if err != nil {
				break
			}
			if bodies[h.Name] != nil {
				t.Errorf("%s is kept twice", h.Name)
			}
			bodies[h.Name], _ = io.ReadAll(r)
		}
	}
	size := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		c, err := jpeg.DecodeConfig(bytes.NewReader(b))
		return fmt.Sprint(c.Width, c.Height, err)
	}
	for _, row := range rows[1:] {
		number := func(i int) int {
			n, _ := strconv.Atoi(row[i])
			return n
		}
		if row[0] != "ok" || len(bodies[row[1]]) != number(5) {
			t.Errorf("%v: %d bytes are kept", row, len(bodies[row[1]]))
		}
		delete(bodies, row[1])
		if got, want := size(filepath.Join(dir, "blurred", row[3])),
			fmt.Sprint(number(6), number(7), nil); got != want {
			t.Errorf("%v: the blurred picture is %s", row, got)
		}
		var boxes [][]float64
		if err := json.Unmarshal([]byte(row[4]), &boxes); err != nil ||
			len(boxes) != len(strings.Fields(row[2])) {
			t.Fatalf("%v: %v", row, err)
		}
		for i, crop := range strings.Fields(row[2]) {
			x, y, w, h := int(boxes[i][0]), int(boxes[i][1]), int(boxes[i][2]), int(boxes[i][3])
			dx, dy := int(float64(w)/4+0.5), int(float64(h)/4+0.5)
			r := image.Rect(x-dx, y-dy, x+w+dx, y+h+dy).Intersect(image.Rect(0, 0, number(6), number(7)))
			if got, want := size(filepath.Join(dir, "crops", crop)),
				fmt.Sprint(r.Dx(), r.Dy(), nil); got != want {
				t.Errorf("%v: crop %d is %s, want %s", row, i, got, want)
			}
		}
	}
	if len(bodies) > 0 {
		t.Errorf("%d bodies of no row", len(bodies))
	}
	if asked.Load() <= int64(len(lines)) {
		t.Error("no row was taken over")
	}
}

// stop stops a process, not in the middle of a transaction on a job file: others would have to wait for its
// end.
func stop(t *testing.T, p *os.Process, job string) {
	t.Helper()
	db, err := sql.Open("sqlite3", job+"?_txlock=immediate&_busy_timeout=100")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	eventually(t, "a moment to stop at", func() bool {
		p.Signal(syscall.SIGSTOP)
		if err := unix.Waitid(unix.P_PID, p.Pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT,
			nil); err != nil {
			return true // it has ended
		}
		tx, err := db.Begin()
		if err != nil {
			p.Signal(syscall.SIGCONT)
			return false
		}
		return tx.Rollback() == nil
	})
}
