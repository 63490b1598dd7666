package sidecar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"facescan/detect"
	"facescan/detect/detecttest/sample"
)

// noFaces is an answer without faces.
var noFaces = lie(func(m *message) {
	m.Outputs[0].binary, m.Outputs[0].Shape[0], m.Outputs[0].Parameters[sizeKey] = nil, 0, 0
	clear(m.Outputs[1].binary)
})

// TestTurns: a server that answers "no faces" from some request on, long after its check, is rejected for
// every image from then on, at any size of its requests, scale and smallest face.
func TestTurns(t *testing.T) {
	for _, c := range []struct {
		batch   int
		input   Input
		minFace int
		scales  []float64
		turn    int64 // after so many requests
	}{
		{1, Luma, 20, []float64{1}, 9}, {2, Luma, 20, []float64{1, 1.6}, 17},
		{8, Luma, 20, []float64{1, 1.6, 8}, 0}, {8, Luma, 80, []float64{1, 4}, 31},
		{64, Luma, 20, []float64{1}, 3}, {4, Encoded, 20, []float64{1}, 5}, {4, Encoded, 80, []float64{1}, 0},
	} {
		t.Run(fmt.Sprintf("batch %d %s from %d px", c.batch, c.input, c.minFace), func(t *testing.T) {
			p := detect.Defaults(detect.Pigo)
			p.MinFace = c.minFace
			tm := &tamper{change: noFaces}
			st := newStand(t, ServerOptions{Decode: decodePGMComment})
			st.wrap = tm.wrap
			st.start()
			client := client(t, Options{URLs: []string{st.URL}, Batch: c.batch, Delay: time.Millisecond,
				Params: p, Input: c.input})
			var images []detect.Image
			for i := range 12 {
				m := sample.Photo(t, 320+i)
				images = append(images, detect.Image{Luma: m, Scale: c.scales[i%len(c.scales)],
					Encoded: append([]byte("not P5"), appendPGM(nil, m)...),
					Width:   m.Rect.Dx(), Height: m.Rect.Dy()})
			}
			want, err := client.Detect(t.Context(), images)
			must(t, err)
			faces := 0
			for _, a := range want {
				faces += len(a.Faces)
			}
			if faces == 0 {
				t.Fatal("nothing is found")
			}
			seen := tm.seen.Load()
			honest := tm.change
			tm.change = func(w http.ResponseWriter, head string, body []byte) {
				if tm.seen.Load() > seen+c.turn {
					honest(w, head, body)
					return
				}
				w.Header().Set(lengthHeader, head)
				w.Write(body)
			}
			tm.left.Store(math.MaxInt32)
			var right, refused atomic.Int64
			var callers sync.WaitGroup
			for k := range 6 {
				callers.Go(func() {
					for i := range 2000 {
						n := (k + i) % len(images)
						got, err := client.Detect(t.Context(), images[n:n+1])
						switch {
						case err != nil:
							var m *ModelError
							var a *AnswerError
							if !errors.As(err, &m) && !errors.As(err, &a) ||
								errors.Is(err, detect.ErrUnavailable) {
								t.Error(err)
							}
							refused.Add(1)
							return
						case !reflect.DeepEqual(got[0], want[n]):
							t.Errorf("image %d: %s, want %s", n, summary(got[0]), summary(want[n]))
						default:
							right.Add(1)
						}
					}
				})
			}
			callers.Wait()
			if refused.Load() == 0 {
				t.Error("no caller noticed")
			}
			t.Logf("%d answers before it was noticed", right.Load())
		})
	}
}

// TestKnownImagesStay holds the drawn images to what was measured with them: that a face is found in two of
// them, by every detector, at every scale.
func TestKnownImagesStay(t *testing.T) {
	for i, want := range []struct{ width, height, sum, moment int }{{72, 72, 605297, -37953},
		{48, 48, 293837, 25373}, {84, 56, 492465, 7920447}, {32, 48, 107520, -762112}, {33, 33, 217800, 0}} {
		m := knownImages()[i]
		sum, moment := 0, 0
		for k, v := range m.Pix {
			sum, moment = sum+int(v), moment+int(v)*(k%m.Stride-k/m.Stride)
		}
		near := func(a, b, by int) bool {
			return max(a-b,
				b-a) <= by
		} // a processor may round a sum once less
		if m.Rect.Dx() != want.width || m.Rect.Dy() != want.height || !near(sum, want.sum, 8) ||
			!near(moment, want.moment, 300) {
			t.Errorf("image %d: {%d, %d, %d, %d}, want %v", i, m.Rect.Dx(), m.Rect.Dy(), sum, moment, want)
		}
	}
}

// TestBatchSizes: a request holds no more images than the client may send at once, a known one included.
func TestBatchSizes(t *testing.T) {
	for _, batch := range []int{1, 2, 3, 5} {
		var most atomic.Int64
		st := newStand(t, ServerOptions{})
		st.wrap = intercept("/infer", func(_ http.ResponseWriter, r *http.Request) bool {
			body, err := io.ReadAll(r.Body)
			if err == nil {
				if m, err := parseMessage(r.Header.Get(lengthHeader), body, len(body)); err == nil {
					most.Store(max(most.Load(), m.Inputs[0].Shape[0]))
				}
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			return false
		})
		st.start()
		c := client(t, Options{URLs: []string{st.URL}, Batch: batch, Delay: time.Minute, InFlight: 1})
		most.Store(0)
		var images []detect.Image
		for range max(1, batch-1) * 2 {
			images = append(images, detect.Image{Luma: blank(30, 30), Scale: 1})
		}
		if _, err := c.Detect(t.Context(), images); err != nil || most.Load() != int64(batch) {
			t.Errorf("batches of %d: a request of %d images, %v", batch, most.Load(), err)
		}
	}
}

// TestKnownHasFaces: the known images of requests contain a face, with every detector, scale and smallest
// face.
func TestKnownHasFaces(t *testing.T) {
	for _, kind := range detect.Kinds() {
		st := newStand(t, ServerOptions{Detector: kind.Name}).start()
		for _, minFace := range []int{20, 40, 100, 160} {
			p := detect.Defaults(kind.Name)
			p.MinFace = minFace
			c := client(t, Options{URLs: []string{st.URL}, Params: p, Batch: 2})
			for _, scale := range []float64{1, 8. / 7, 1.6, 4, 8} {
				if scale > float64(minFace)/20 {
					continue
				}
				k, err := c.knownAt(t.Context(), c.endpoints[0], scale)
				must(t, err)
				for i, a := range k.answers {
					if len(a.Faces) == 0 {
						t.Errorf("%s from %d px at scale %v: known image %d has %s", kind.Name, minFace,
							scale, i, summary(a))
					}
				}
			}
		}
	}
}

// TestKnownIsSmall: of the requests of a full batch the known image is a small part.
func TestKnownIsSmall(t *testing.T) {
	st := newStand(t, ServerOptions{}).start()
	c := client(t, Options{URLs: []string{st.URL}, Batch: 2})
	k, err := c.knownAt(t.Context(), c.endpoints[0], 1)
	must(t, err)
	for _, it := range k.items {
		if n := len(*it.buffer); n > 6000 {
			t.Errorf("%d bytes", n)
		}
	}
}
