package cmd

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/jpeg"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"facescan/detect"
	"facescan/detect/sidecar"
	"facescan/pipeline/decode"
	"facescan/pipeline/fetch/fetchtest"
)

// startSidecar starts the server as a process of its own and waits until it listens.
func startSidecar(t *testing.T, dir, socket string, flags ...string) *exec.Cmd {
	t.Helper()
	c, _ := child(t, dir, append([]string{"sidecar", "--listen", "unix:" + socket}, flags...)...)
	eventually(t, "the sidecar listens", func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return c
}

// startTCP starts one that wants a token on a port, and returns the URL with it.
func startTCP(t *testing.T, dir string) string {
	t.Helper()
	address := freeAddress(t)
	child(t, dir, "sidecar", "--listen", address, "--token", "k/ey")
	eventually(t, "the sidecar listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return "http://:k%2Fey@" + address
}

func kill(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
}

// TestSidecarTroubles kills the sidecar of a run ten times, stops it once, and has it talk nonsense once. The
// table is that of an undisturbed run without a sidecar, and while no sidecar answers no row is done.
func TestSidecarTroubles(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 2*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, _ := badList(s, 900)
	list := writeList(t, dir, lines)
	plain, there := filepath.Join(dir, "plain.db"), filepath.Join(dir, "there.db")
	mustHere(t, quietRun(list, "--db", plain)...)
	want := mustHere(t, "export", plain)

	socket := filepath.Join(dir, "s")
	server := startSidecar(t, dir, socket)
	var log transcript
	var o runOptions
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	o.addFlags(fs)
	args := []string{list}
	if err := fs.Parse([]string{"--db", there, "--allow-private", "--progress", "none", "--fetchers", "6",
		"--sidecar", "unix://" + socket, "--sidecar-batch", "8", "--sidecar-delay", "1ms"}); err != nil {
		t.Fatal(err)
	}
	o.remote.deadline = 2 * time.Second
	ended := make(chan error, 1)
	go func() {
		ended <- runRun(context.Background(),
			&globals{streams: newStreams(strings.NewReader(""), io.Discard, &log), logFormat: "text"}, &o,
			args)
	}()
	more := func() {
		t.Helper()
		before := s.Total()
		eventually(t, "more rows", func() bool {
			select {
			case err := <-ended:
				t.Fatalf("the run ended: %v\n%s", err, &log)
			default:
			}
			return s.Total() > before+30
		})
	}
	const pausing = "detector unavailable: waiting"
	for i := range 10 {
		more()
		pauses := log.count(pausing)
		kill(t, server)
		if i == 3 {
			eventually(t, "the run pauses", func() bool { return log.count(pausing) > pauses })
			before := okRows(t, there)
			mustHere(t, "verify", there, "--deep", "-q") // which takes some time, too
			if after := okRows(t, there); after != before {
				t.Errorf("%s rows were ok while it paused, then %s", before, after)
			}
		}
		server = startSidecar(t, dir, socket)
	}
	more()
	pauses := log.count(pausing)
	server.Process.Signal(syscall.SIGSTOP)
	eventually(t, "the run pauses for one that hangs",
		func() bool { return log.count(pausing) > pauses })
	server.Process.Signal(syscall.SIGCONT)
	more()
	kill(t, server)
	startSidecar(t, dir, socket+"2")
	lied := liar(t, socket, socket+"2")
	eventually(t, "nonsense", lied)
	more()

	if err := <-ended; err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	mustHere(t, "verify", there, "-q")
	if got := mustHere(t, "export", there); got != want {
		t.Errorf("the table differs:\n%s\nwant\n%s\n%s", got, want, &log)
	}
	if n := log.count("gives an answer that cannot be right"); n == 0 {
		t.Errorf("the nonsense is not told:\n%s", &log)
	}
}

// okRows is what status says of a job.
func okRows(t *testing.T, job string) string {
	t.Helper()
	_, rest, _ := strings.Cut(mustHere(t, "status", job, "--json"), `"ok":`)
	n, _, _ := strings.Cut(rest, ",")
	return n
}

// liar serves on a socket what is served on another, but for one inference that it answers with nonsense: all
// its faces are nowhere. It returns whether it has.
func liar(t *testing.T, socket, behind string) func() bool {
	t.Helper()
	var asked atomic.Int64
	return between(t, socket, behind, func(_ *http.Response, body []byte) []byte {
		if asked.Add(1) != 50 {
			return body
		}
		return bytes.ReplaceAll(body, []byte("FP32"), []byte("FP64"))
	})
}

// between serves on a socket what is served on another, with the answers to inferences changed. It returns
// whether any was.
func between(t *testing.T, socket, behind string,
	change func(res *http.Response, body []byte) []byte) func() bool {
	t.Helper()
	return betweenAll(t, socket, behind, func(res *http.Response, body []byte) []byte {
		if !strings.HasSuffix(res.Request.URL.Path, "/infer") {
			return body
		}
		return change(res, body)
	})
}

// betweenAll is between with all answers changed.
func betweenAll(t *testing.T, socket, behind string,
	change func(res *http.Response, body []byte) []byte) func() bool {
	t.Helper()
	var changed atomic.Bool
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "localhost"})
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", behind)
	}}
	proxy.Transport = transport
	proxy.ModifyResponse = func(res *http.Response) error {
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		now := change(res, body)
		if !bytes.Equal(now, body) {
			changed.Store(true)
		}
		res.Body = io.NopCloser(bytes.NewReader(now))
		res.Header.Set("Content-Length", strconv.Itoa(len(now)))
		return nil
	}
	l, err := sidecar.Listen("unix:" + socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: proxy}
	var serving sync.WaitGroup
	serving.Go(func() { srv.Serve(l) })
	t.Cleanup(func() {
		srv.Close()
		serving.Wait()
		transport.CloseIdleConnections()
	})
	return changed.Load
}

// TestSidecarFallback goes on here when the sidecar is gone, and the rows say so.
func TestSidecarFallback(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 2*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, outcomes := badList(s, 300)
	list := writeList(t, dir, lines)
	socket := filepath.Join(dir, "s")
	server := startSidecar(t, dir, socket)
	run, stderr := child(t, dir, "run", list, "--allow-private", "--progress", "none", "--fetchers", "4",
		"--sidecar", "unix://"+socket, "--sidecar-fallback", "cpu", "--sidecar-delay", "1ms")
	eventually(t, "work", func() bool { return s.Total() > 80 })
	kill(t, server)
	if err := run.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	checkExport(t, list, lines, outcomes)
	if !strings.Contains(stderr.String(), "faces are found here meanwhile") {
		t.Errorf("it is not told:\n%s", stderr)
	}
	detectors := map[string]int{}
	for line := range strings.Lines(mustHere(t, "export", list, "--columns", "detector")) {
		name, _, _ := strings.Cut(line, "-")
		detectors[name]++
	}
	if detectors["sidecar:yunet"] < 20 || detectors["yunet"] < 20 {
		t.Errorf("rows by detector: %v", detectors)
	}
}

// TestSidecarFallbackAtStart has a run begin while no sidecar answers, and one that comes later take over.
// One of another detector, or other flags, would give other results: it ends the run.
func TestSidecarFallbackAtStart(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 2*time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	lines, outcomes := badList(s, 300)
	list := writeList(t, dir, lines)
	socket := filepath.Join(dir, "s")
	begin := func(flags ...string) (*exec.Cmd, *transcript) {
		return child(t, dir,
			append([]string{"run", list, "--allow-private", "--progress", "none", "--fetchers", "4",
				"--sidecar",
				"unix://" + socket, "--sidecar-delay", "1ms"}, flags...)...)
	}
	alone, stderr := begin()
	if err := alone.Wait(); err == nil || !strings.Contains(stderr.String(), "no sidecar answers") {
		t.Fatalf("without a fallback: %v\n%s", err, stderr)
	}
	run, stderr := begin("--sidecar-fallback", "cpu", "--rate", "150")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(stderr)
		}
	})
	eventually(t, "work", func() bool { return s.Total() > 60 })
	startSidecar(t, dir, socket)
	if err := run.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	checkExport(t, list, lines, outcomes)
	if strings.Count(stderr.String(), "faces are found here meanwhile") != 1 ||
		strings.Count(stderr.String(), "a sidecar answers again") != 1 {
		t.Errorf("it is not told once each:\n%s", stderr)
	}
	detectors := map[string]int{}
	for line := range strings.Lines(mustHere(t, "export", list, "--columns", "detector")) {
		name, _, _ := strings.Cut(line, "-")
		detectors[name]++
	}
	if detectors["sidecar:yunet"] < 20 || detectors["yunet"] < 20 {
		t.Errorf("rows by detector: %v", detectors)
	}
}

// TestSidecarEncoded: photos that lie turned in their files give the same table whether luma is sent, or the
// file, whose boxes and landmarks come back as it lies there.
func TestSidecarEncoded(t *testing.T) {
	t.Parallel()
	photo, err := jpeg.Decode(bytes.NewReader(pictures(t)["a-faces.jpg"]))
	if err != nil {
		t.Fatal(err)
	}
	turned := map[string][]byte{}
	var lines []string
	for o := range 9 {
		turned[strconv.Itoa(o)+".jpg"] = withOrientation(storedAs(t, photo, o), byte(o))
	}
	s := fetchtest.New(turned, 0)
	defer s.Close()
	for o := range 9 {
		lines = append(lines, s.URL+"/f/"+strconv.Itoa(o)+".jpg")
	}
	dir := t.TempDir()
	list := writeList(t, dir, lines)
	tcp := startTCP(t, dir)
	for _, k := range detect.Kinds() {
		socket := filepath.Join(dir, k.Name)
		startSidecar(t, dir, socket, "--detector", k.Name)
		for _, min := range []string{"20", "80"} {
			table := func(args ...string) string {
				db := filepath.Join(t.TempDir(), "x.db")
				mustHere(t, append(quietRun(list, "--db", db, "--min-face", min), args...)...)
				return mustHere(t, "export", db, "--columns", "id,width,height,boxes,confidence,landmarks")
			}
			want := table("--detector", k.Name)
			if strings.Count(want, `"[[`) < 9 || strings.Count(want, ",320,400,") != 9 {
				t.Fatalf("that is not a table of nine faces:\n%s", want)
			}
			if got := table("--sidecar", "unix://"+socket, "--sidecar-input", "encoded"); got != want {
				t.Errorf("files sent:\n%s\nwant\n%s", got, want)
			}
			if got := table("--sidecar", "unix://"+socket); got != want {
				t.Errorf("luma sent:\n%s\nwant\n%s", got, want)
			}
			if k.Name != detect.Default {
				continue
			}
			if got := table("--sidecar", tcp); got != want {
				t.Errorf("over TCP:\n%s\nwant\n%s", got, want)
			}
			// However a photo lies in its file, the person's right eye is at the left in the upright image.
			db := filepath.Join(t.TempDir(), "y.db")
			mustHere(t, quietRun(list, "--db", db, "--sidecar", "unix://"+socket, "--sidecar-input",
				"encoded")...)
			sides := mustHere(t, "export", db, "--rows", "faces", "--columns", "id", "--where",
				"face = 1 and right_eye_x < left_eye_x and right_mouth_x < left_mouth_x and "+
					"right_eye_y < right_mouth_y")
			if strings.Count(sides, "\n") != 10 {
				t.Errorf("right and left are in order for\n%s", sides)
			}
		}
	}
}

// storedAs is a photo as a file holds it whose EXIF orientation turns it upright.
func storedAs(t *testing.T, upright image.Image, orientation int) []byte {
	t.Helper()
	size := upright.Bounds().Size()
	out := image.NewRGBA(image.Rect(0, 0, size.X, size.Y))
	if orientation >= 5 {
		out = image.NewRGBA(image.Rect(0, 0, size.Y, size.X))
	}
	for y := range size.Y {
		for x := range size.X {
			b := decode.ToStored(decode.Box{X: float64(x), Y: float64(y), Width: 1, Height: 1}, orientation,
				float64(size.X), float64(size.Y))
			out.Set(int(b.X), int(b.Y), upright.At(upright.Bounds().Min.X+x, upright.Bounds().Min.Y+y))
		}
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, out, &jpeg.Options{Quality: 95}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// withOrientation is a JPEG that says how it lies, by EXIF.
func withOrientation(file []byte, orientation byte) []byte {
	tiff := []byte{'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0,
		0, 0, 0}
	segment := append([]byte("\xff\xe1\x00\x00Exif\x00\x00"), tiff...)
	segment[3] = byte(len(segment) - 2)
	return slices.Concat(file[:2], segment, file[2:])
}

// TestModelOfOthers: a sidecar whose model is not built in is a detector of its own, with scores on any
// scale.
func TestModelOfOthers(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), 0)
	defer s.Close()
	dir := t.TempDir()
	list := writeList(t, dir, []string{s.URL + "/f/a-faces.jpg", s.URL + "/f/b-none.jpg"})
	socket := filepath.Join(dir, "s")
	startSidecar(t, dir, socket+"2")
	renamed := betweenAll(t, socket, socket+"2", func(_ *http.Response, body []byte) []byte {
		return bytes.ReplaceAll(body, []byte(`"yunet-`), []byte(`"other-`))
	})
	run := quietRun(list, "--sidecar", "unix://"+socket)
	if code, _, errs := here(t, append(run, "--sidecar-fallback", "cpu")...); code != exitUsage ||
		!strings.Contains(errs, "model of others") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if code, _, errs := here(t, append(run, "--detector", "yunet")...); code != exitError ||
		!strings.Contains(errs, "found the detector other-") {
		t.Errorf("exit %d: %s", code, errs)
	}
	mustHere(t, run...)
	if !renamed() {
		t.Error("the model was not renamed")
	}
	got := mustHere(t, "export", list, "--columns", "id,faces,landmarks,confidence,detector")
	if !regexp.MustCompile(`(?m)^1,1,"\[\[[0-9.,]+\]\]",,sidecar:other-`).MatchString(got) ||
		!regexp.MustCompile(`(?m)^2,0,,,sidecar:other-`).MatchString(got) {
		t.Errorf("rows:\n%s", got)
	}
	if got := mustHere(t, "export", list, "--columns", "id,faces", "--min-score", "5", "--where",
		"id = 1"); got != "id,faces\n1,0\n" {
		t.Errorf("above 5: %s", got)
	}
	if code, _, errs := here(t, "export", list, "--min-score", "yunet=0.6"); code != exitUsage ||
		!strings.Contains(errs, "row 1 was processed by sidecar:other-") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if code, _, errs := here(t, "run", list, "--allow-private", "--progress", "none"); code != exitUsage ||
		!strings.Contains(errs, "--sidecar URL") {
		t.Errorf("without its sidecar: exit %d: %s", code, errs)
	}
	mustHere(t, quietRun(list, "--sidecar", "unix://"+socket)...)
}

// TestSidecarTurns has a sidecar find no faces any more, from some request on, after it passed its check. The
// run ends with an error that says so, and every row that is done by then has the faces it should.
func TestSidecarTurns(t *testing.T) {
	t.Parallel()
	s := fetchtest.New(pictures(t), time.Millisecond)
	defer s.Close()
	dir := t.TempDir()
	var lines []string
	for i := range 120 {
		lines = append(lines, s.URL+"/f/a-faces.jpg?"+strconv.Itoa(i))
	}
	list := writeList(t, dir, lines)
	socket := filepath.Join(dir, "s")
	startSidecar(t, dir, socket+"2", "--detector", "pigo") // whose answers have two tensors
	// inferences that are none of a check: they have more than the known images
	var work atomic.Int64
	turned := between(t, socket, socket+"2", func(res *http.Response, body []byte) []byte {
		if res.Request.ContentLength < 50_000 || work.Add(1) < 5 {
			return body
		}
		head := strings.Index(string(body), `}]}`) + 3
		text := regexp.MustCompile(`"shape":\[\d+,6\]`).ReplaceAllString(string(body[:head]), `"shape":[0,6]`)
		text = regexp.MustCompile(`binary_data_size":\d+`).ReplaceAllString(text, `binary_data_size":0`)
		counts := regexp.MustCompile(`"shape":\[(\d+)\]`).FindStringSubmatch(text)
		n, err := strconv.Atoi(counts[1])
		if err != nil {
			t.Error(err)
		}
		at := strings.LastIndex(text, `binary_data_size":0`)
		text = text[:at] + `binary_data_size":` + strconv.Itoa(4*n) + text[at+len(`binary_data_size":0`):]
		res.Header.Set("Inference-Header-Content-Length", strconv.Itoa(len(text)))
		return append([]byte(text), make([]byte, 4*n)...)
	})
	code, _, errs := here(t, "run", list, "--allow-private", "--progress", "none", "--fetchers", "8",
		"--sidecar", "unix://"+socket, "--sidecar-batch", "8")
	if !turned() || code != exitError || !strings.Contains(errs, "a known image that went with it") {
		t.Errorf("exit %d:\n%s", code, errs)
	}
	done := 0
	for line := range strings.Lines(mustHere(t, "export", list, "--columns", "status,faces")) {
		switch strings.TrimSpace(line) {
		case "status,faces":
		case "ok,1":
			done++
		default:
			t.Errorf("a row is %s", line)
		}
	}
	t.Logf("%d rows were done", done)
}

// TestSidecarReadsFiles: faces of a file lie as in the picture that is stored, also one that is mirrored, and
// a file with too many pixels is refused as such.
func TestSidecarReadsFiles(t *testing.T) {
	t.Parallel()
	file := withOrientation(pictures(t)["b-none.jpg"], 2) // 160x120, mirrored
	o := sidecarCommandOptions{maxPixels: pixels{160 * 120}}
	p, err := o.decode(file, detect.Params{MinFace: 20})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	face := detect.Face{X: 10, Y: 20, Width: 30, Height: 40, HasLandmarks: true}
	for i := range face.Landmarks {
		face.Landmarks[i] = detect.Point{X: float64(10 + i), Y: float64(20 + i)}
	}
	face = p.ToStored(face)
	scaled := func(v float64) float64 { return v * p.Scale }
	if face.X != 160-scaled(40) || face.Y != scaled(20) || face.Width != scaled(30) ||
		face.Height != scaled(40) ||
		face.Landmarks[1] != (detect.Point{X: 160 - scaled(10), Y: scaled(20)}) ||
		face.Landmarks[0] != (detect.Point{X: 160 - scaled(11), Y: scaled(21)}) {
		t.Errorf("scaled by %v: %+v", p.Scale, face)
	}
	o.maxPixels.size--
	if _, err = o.decode(file, detect.Params{MinFace: 20}); !errors.Is(err, sidecar.ErrTooManyPixels) ||
		strings.Count(err.Error(), decode.ErrTooManyPixels.Error()) > 1 {
		t.Errorf("one pixel too many: %v", err)
	}
	if _, err = o.decode([]byte("no picture"), detect.Params{}); err == nil ||
		errors.Is(err, sidecar.ErrTooManyPixels) {
		t.Errorf("what is no picture: %v", err)
	}
}

// TestSidecarAddress is how a run of this machine calls what a sidecar listens on.
func TestSidecarAddress(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	for network, name := range map[string]string{"tcp": "127.0.0.1:0", "unix": socket} {
		l, err := net.Listen(network, name)
		if err != nil {
			t.Fatal(err)
		}
		want := "unix://" + socket
		if network == "tcp" {
			want = "http://" + l.Addr().String()
		}
		if got := address(l); got != want {
			t.Errorf("%s is called %s, want %s", network, got, want)
		}
		l.Close()
	}
}
