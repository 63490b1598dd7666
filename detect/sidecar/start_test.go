package sidecar

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"facescan/detect"
	"facescan/detect/detecttest/sample"
)

const gone = "unix:///nonexistent/socket"

// TestDetector asks one server after the other until one answers.
func TestDetector(t *testing.T) {
	st := newStand(t, ServerOptions{Detector: detect.Yunet}).start()
	print, kind, err := Detector(t.Context(), []string{gone, st.URL})
	if err != nil || kind.Name != detect.Yunet || print != kind.Print {
		t.Errorf("%q of %q, %v", print, kind.Name, err)
	}
	if _, _, err := Detector(t.Context(), []string{gone}); !errors.Is(err, ErrNoAnswer) ||
		!strings.Contains(err.Error(), "--sidecar-fallback cpu") {
		t.Errorf("without a server: %v", err)
	}
	if _, _, err := Detector(t.Context(), []string{"ftp://host", st.URL}); err == nil {
		t.Error("a URL that cannot be used is passed over")
	}
	st.stop()
	st.wrap = intercept("/face", func(w http.ResponseWriter, _ *http.Request) bool {
		refuse(w, http.StatusUnauthorized, "a token is missing")
		return true
	})
	st.start()
	_, _, err = Detector(t.Context(), []string{st.URL, gone})
	if err == nil || errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), "a token is missing") {
		t.Errorf("a server that refuses: %v", err)
	}
}

// TestSomeDown: of two servers, the one that does not answer at the start is used once it does.
func TestSomeDown(t *testing.T) {
	late, early := newStand(t, ServerOptions{}), newStand(t, ServerOptions{}).start()
	c := client(t, Options{URLs: []string{late.URL, early.URL}, Batch: 2})
	img := photos(t, 100)
	want, err := c.Detect(t.Context(), img)
	must(t, err)
	late.start()
	eventually(t, "the late one is up", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.endpoints[0].state == up
	})
	early.stop()
	if got, err := c.Detect(t.Context(), img); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v, want %+v", got, err, want)
	}
}

// TestFallbackAtStart: with a fallback no server need answer at the start. Later only one with the same
// detector is used, since the job has its answers already.
func TestFallbackAtStart(t *testing.T) {
	local, err := detect.New(detect.Defaults(detect.Pigo))
	must(t, err)
	st := newStand(t, ServerOptions{})
	c := client(t, Options{URLs: []string{st.URL}, Batch: 4, Fallback: local})
	if got, want := c.Fingerprint(), detect.LumaPrefix+local.Fingerprint(); got != want {
		t.Errorf("fingerprint %q, want %q", got, want)
	}
	if busy, fallback := c.Condition(); busy || !fallback {
		t.Errorf("before the first image: busy %v, fallback %v", busy, fallback)
	}
	img := photos(t, 100)
	if a, err := c.Detect(t.Context(), img); err != nil || a[0].Detector != local.Fingerprint() {
		t.Errorf("without a server: %+v, %v", a, err)
	}
	if busy, fallback := c.Condition(); busy || !fallback {
		t.Errorf("busy %v, fallback %v", busy, fallback)
	}
	st.wrap = intercept("/face", func(w http.ResponseWriter, _ *http.Request) bool {
		kind, _ := detect.KindNamed(detect.Pigo)
		kind.Print = "facefinder-01234567/9"
		reply(w, 200, map[string]any{"inputs": expected(false).Inputs, "outputs": expected(false).Outputs,
			"parameters": list(kind)})
		return true
	})
	st.start()
	var wrong *ModelError
	eventually(t, "another version is refused", func() bool {
		_, err := c.Detect(t.Context(), img)
		return errors.As(err, &wrong)
	})
	if !strings.Contains(wrong.Error(), "as here") {
		t.Error(wrong)
	}
	st.stop()
	st.wrap = nil
	st.start()
	eventually(t, "the server answers", func() bool {
		a, err := c.Detect(t.Context(), img)
		return err == nil && a[0].Detector == ""
	})
	if busy, fallback := c.Condition(); busy || fallback {
		t.Errorf("busy %v, fallback %v", busy, fallback)
	}
}

// TestDecodedFiles: faces are in pixels of the file, files that cannot be read are counted as such, one that
// is too large refuses the request, and what was decoded is released.
func TestDecodedFiles(t *testing.T) {
	released := 0
	s := newServer(t, ServerOptions{Workers: 1, Batch: 3,
		Decode: func(file []byte, _ detect.Params) (Picture, error) {
			switch string(file) {
			case "large":
				return Picture{}, fmt.Errorf("%w: 5 of 4", ErrTooManyPixels)
			case "broken":
				return Picture{}, errors.New("not an image")
			}
			return Picture{Luma: sample.Photo(t, 160), Scale: 2, Release: func() { released++ },
				ToStored: func(f detect.Face) detect.Face {
					f.X += 1000
					return f
				}}, nil
		}})
	m := answerOf(t, send(s, ask{images: [][]byte{[]byte("a"), []byte("broken"), []byte("b")}}.request(t)))
	counts, err := m.Outputs[1].numbers()
	must(t, err)
	faces, err := m.Outputs[0].numbers()
	if err != nil || counts[0] < 1 || counts[1] != -1 || counts[2] != counts[0] || faces[1] < 1000 {
		t.Errorf("counts %v, faces %v, %v", counts, faces, err)
	}
	if released != 2 {
		t.Errorf("%d pictures are released", released)
	}
	w := send(s, ask{images: [][]byte{[]byte("a"), []byte("large")}}.request(t))
	if w.Code != 413 || !strings.Contains(w.Body.String(), "image 1: too many pixels") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestFromStored: faces of a file are converted to pixels of luma, after they were clipped to the file's
// picture.
func TestFromStored(t *testing.T) {
	items := []*item{{width: 100, height: 50, luma: blank(50, 100).Rect.Size(),
		fromStored: func(f detect.Face) detect.Face { // turned
			f.X, f.Y, f.Width, f.Height = f.Y, f.X, f.Height, f.Width
			return f
		}}}
	row := []float64{0, 90, 10, 20, 30, 7}
	a, err := answersOf(detect.Kind{}, items, row, nil, []float64{1}, math.Inf(-1))
	want := detect.Face{X: 10, Y: 90, Width: 30, Height: 10, Score: 7}
	if err != nil || len(a[0].Faces) != 1 || a[0].Faces[0] != want {
		t.Errorf("%+v, %v, want %+v", a, err, want)
	}
}

// TestPatience: an endpoint that is busy for longer than a batch waits is not picked, and the earliest of
// several is waited for.
func TestPatience(t *testing.T) {
	st := newStand(t, ServerOptions{}).start()
	c := client(t, Options{URLs: []string{st.URL}, Batch: 2})
	e := c.endpoints[0]
	busyFor := func(d time.Duration) {
		c.mu.Lock()
		defer c.mu.Unlock()
		e.busy = time.Now().Add(d)
	}
	busyFor(time.Hour)
	if _, _, err := c.pick(nil, time.Now().Add(time.Minute)); !errors.Is(err, detect.ErrUnavailable) ||
		!strings.Contains(err.Error(), "busy for another 1h0m0s") {
		t.Errorf("busy for an hour: %v", err)
	}
	if busy, _ := c.Condition(); !busy {
		t.Error("nothing is known of it")
	}
	const short = 50 * time.Millisecond
	busyFor(short)
	begin := time.Now()
	got, _, err := c.pick(nil, time.Now().Add(time.Minute))
	if err != nil || got != e || time.Since(begin) < short/2 {
		t.Errorf("busy for %v: %v after %v", short, err, time.Since(begin))
	}
	c.put(e, e.epoch, nil, time.Second)
	if e.inflight != 0 || e.latency != 1 {
		t.Errorf("%d requests, %v s", e.inflight, e.latency)
	}
}
