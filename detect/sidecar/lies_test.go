package sidecar

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"image"
	"io"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"facescan/detect"
)

// tamper passes the answers to inferences through a function while it is on.
type tamper struct {
	left   atomic.Int64 // answers to tamper with
	change func(w http.ResponseWriter, head string, body []byte)
	seen   atomic.Int64 // inferences
}

func (tm *tamper) wrap(next http.Handler) http.Handler {
	return intercept("/infer", func(w http.ResponseWriter, r *http.Request) bool {
		tm.seen.Add(1)
		if tm.left.Add(-1) < 0 {
			return false
		}
		rec := send(next, r)
		tm.change(w, rec.Header().Get(lengthHeader), rec.Body.Bytes())
		return true
	})(next)
}

// lie answers with a changed message.
func lie(change func(m *message)) func(http.ResponseWriter, string, []byte) {
	return func(w http.ResponseWriter, head string, body []byte) {
		m, err := parseMessage(head, body, len(body))
		if err != nil {
			panic(err)
		}
		change(m)
		text, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		w.Header().Set(lengthHeader, strconv.Itoa(len(text)))
		w.Write(text)
		for _, t := range m.Outputs {
			w.Write(t.binary)
		}
	}
}

// set changes a number of the first face.
func set(field int, v float32) func(*message) {
	return func(m *message) {
		binary.LittleEndian.PutUint32(m.Outputs[0].binary[4*field:], math.Float32bits(v))
	}
}

// count changes the first image's.
func count(n int32) func(*message) {
	return func(m *message) { binary.LittleEndian.PutUint32(m.Outputs[1].binary, uint32(n)) }
}

var lies = map[string]func(http.ResponseWriter, string, []byte){
	"NaN":            lie(set(1, float32(math.NaN()))),
	"infinite":       lie(set(3, float32(math.Inf(1)))),
	"NaN score":      lie(set(5, float32(math.NaN()))),
	"right of it":    lie(set(1, 320)),
	"above it":       lie(set(2, -5000)),
	"no width":       lie(set(3, 0)),
	"negative":       lie(set(4, -3)),
	"other image":    lie(set(0, 1)),
	"half an image":  lie(set(0, 0.5)),
	"minus an image": lie(set(0, -1)),
	"too few":        lie(count(0)),
	"too many":       lie(count(100)),
	"unreadable":     lie(count(-1)),
	"less than none": lie(count(-2)),
	"no counts":      lie(func(m *message) { m.Outputs = m.Outputs[:1] }),
	"no faces":       lie(func(m *message) { m.Outputs = m.Outputs[1:] }),
	"twice":          lie(func(m *message) { m.Outputs = append(m.Outputs, m.Outputs[0]) }),
	"type":           lie(func(m *message) { m.Outputs[0].Datatype = "FP64" }),
	"shape":          lie(func(m *message) { m.Outputs[0].Shape = []int64{m.Outputs[0].Shape[0] * 6, 1} }),
	"rank":           lie(func(m *message) { m.Outputs[0].Shape = m.Outputs[0].Shape[:1] }),
	"negative shape": lie(func(m *message) { m.Outputs[0].Shape[0] = -1 }),
	"huge shape":     lie(func(m *message) { m.Outputs[0].Shape[0] = math.MaxInt64 / 2 }),
	"counts' shape":  lie(func(m *message) { m.Outputs[1].Shape[0]++ }),
	"cut": lie(func(m *message) {
		t := &m.Outputs[0]
		t.binary = t.binary[:len(t.binary)-1]
	}),
	"more bytes":     lie(func(m *message) { m.Outputs[1].binary = append(m.Outputs[1].binary, 1) }),
	"no size":        lie(func(m *message) { m.Outputs[0].Parameters = nil }),
	"bad size":       lie(func(m *message) { m.Outputs[0].Parameters[sizeKey] = -24 }),
	"other detector": lie(func(m *message) { m.Parameters[detectorKey] = "other/1" }),
	"no threshold":   lie(func(m *message) { delete(m.Parameters, minScoreKey) }),
	"a page": func(w http.ResponseWriter, _ string, _ []byte) {
		io.WriteString(w, "<html>hello</html>")
	},
	"as a page": func(w http.ResponseWriter, head string, body []byte) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set(lengthHeader, head)
		w.Write(body)
	},
	"nothing": func(http.ResponseWriter, string, []byte) {},
	"bad header": func(w http.ResponseWriter, _ string, body []byte) {
		w.Header().Set(lengthHeader, "99999999")
		w.Write(body)
	},
	"too large": func(w http.ResponseWriter, head string, body []byte) {
		w.Header().Set(lengthHeader, head)
		w.Write(body)
		w.Write(make([]byte, 8<<20))
	},
}

// TestLies: a batch with an impossible answer is retried once; then it is an AnswerError. Nothing of the
// answer is used.
func TestLies(t *testing.T) {
	img := photos(t, 320)
	for name, change := range lies {
		t.Run(name, func(t *testing.T) {
			tm := &tamper{change: change}
			st := newStand(t, ServerOptions{})
			st.wrap = tm.wrap
			st.start()
			c := client(t, Options{URLs: []string{st.URL}, Batch: 2})
			want, err := c.Detect(t.Context(), img)
			must(t, err)
			if len(want[0].Faces) == 0 {
				t.Fatal("no face to lie about")
			}
			tm.left.Store(1)
			got, err := c.Detect(t.Context(), img)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("after one lie: %+v %v, want %+v", got, err, want)
			}
			// The check after the first lie is honest, the answer after it is not.
			honest := tm.seen.Load()
			tm.left.Store(1)
			tm.change = func(w http.ResponseWriter, head string, body []byte) {
				tm.change = func(w http.ResponseWriter, head string, body []byte) {
					// lie, known images alone and in a batch of two, lie
					if n := tm.seen.Load() - honest; n == 2+int64(len(knownImages()))+1 {
						change(w, head, body)
						return
					}
					w.Header().Set(lengthHeader, head)
					w.Write(body)
				}
				tm.left.Store(math.MaxInt32)
				change(w, head, body)
			}
			_, err = c.Detect(t.Context(), img)
			var a *AnswerError
			if !errors.As(err, &a) || errors.Is(err, detect.ErrUnavailable) || a.URL != st.URL {
				t.Errorf("after two lies: %v", err)
			}
		})
	}
}

// TestRefusedAtStart: wrong servers are refused.
func TestRefusedAtStart(t *testing.T) {
	others := detect.Defaults("")
	others.MinFace = 40
	meta := func(change func(m map[string]any)) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				rec := send(next, r)
				body := rec.Body.Bytes()
				if strings.HasSuffix(r.URL.Path, "/face") {
					var m map[string]any
					if err := json.Unmarshal(body, &m); err != nil {
						t.Error(err)
					}
					change(m)
					body, _ = json.Marshal(m)
				}
				w.Header().Set(lengthHeader, rec.Header().Get(lengthHeader))
				if rec.Header().Get(lengthHeader) == "" {
					w.Header().Del(lengthHeader)
				}
				w.WriteHeader(rec.Code)
				w.Write(body)
			})
		}
	}
	onBatch := func(when func(n int) bool, change func(m *message)) func(http.Handler) http.Handler {
		tm := &tamper{change: func(w http.ResponseWriter, head string, body []byte) {
			lie(func(m *message) {
				if n := len(m.Outputs[1].binary) / 4; when(n) {
					change(m)
				}
			})(w, head, body)
		}}
		tm.left.Store(math.MaxInt32)
		return tm.wrap
	}
	for name, c := range map[string]struct {
		wrap func(http.Handler) http.Handler
		o    Options
		says []string
	}{
		"other tensors": {wrap: meta(func(m map[string]any) {
			m["outputs"] = []tensor{{Name: "boxes", Datatype: "FP32", Shape: []int64{-1, 5}}}
		}),
			says: []string{"found input images BYTES [-1] and outputs boxes FP32 [-1 5]",
				"expected input images BYTES [-1] and outputs counts INT32 [-1], faces FP32 [-1 6]"}},
		"no tensors": {wrap: meta(func(m map[string]any) { delete(m, "inputs") }),
			says: []string{"found input none"}},
		"no parameters": {wrap: meta(func(m map[string]any) { delete(m, "parameters") }),
			o: Options{Params: others}, says: []string{"no parameter min_face", "--min-face cannot be 40"}},
		"another detector": {wrap: meta(func(m map[string]any) {}),
			o:    Options{Params: detect.Defaults(detect.Yunet)},
			says: []string{"found the detector pigo (facefinder-", "expected yunet"}},
		"no metadata": {wrap: meta(func(m map[string]any) { m["name"] = 5 }),
			says: []string{"cannot be read"}},
		"batch position": {wrap: onBatch(func(n int) bool { return n == 1 }, func(m *message) {
			if m.Outputs[0].Shape[0] > 0 {
				set(5, 12.5)(m)
			}
		}), says: []string{"depends on the batch"}},
		"one size": {wrap: onBatch(func(n int) bool { return n == 37 }, func(m *message) {
			b := m.Outputs[0].binary
			binary.LittleEndian.PutUint32(b[len(b)-4:], math.Float32bits(99))
		}), says: []string{"depends on the batch", "of 37"}},
		"cannot read": {wrap: onBatch(func(n int) bool { return n == 1 }, func(m *message) {
			m.Outputs[0].binary, m.Outputs[0].Shape[0], m.Outputs[0].Parameters[sizeKey] = nil, 0, 0
			count(-1)(m)
		}), says: []string{"cannot read a plain picture"}},
		"neither JSON nor binary": {wrap: intercept("", func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.URL.Path == "/v2":
				reply(w, 200, map[string]any{"name": "other"})
			case !strings.HasSuffix(r.URL.Path, "/infer"):
				return false
			case r.Header.Get(lengthHeader) != "":
				refuse(w, http.StatusUnprocessableEntity, "no bytes")
			default:
				refuse(w, http.StatusUnprocessableEntity, "no text")
			}
			return true
		}), says: []string{"answers 422: no text; and with the binary extension: ", "answers 422: no bytes"}},
		"wants a token": {wrap: intercept("", func(w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, http.StatusUnauthorized, "who are you?")
			return true
		}), says: []string{"answers 401", "who are you?"}},
		"not ready": {wrap: intercept("", func(w http.ResponseWriter, _ *http.Request) bool {
			refuseLater(w, "loading")
			return true
		}), says: []string{"no sidecar answers", "loading"}},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStand(t, ServerOptions{})
			st.wrap = c.wrap
			st.start()
			c.o.URLs = []string{st.URL}
			_, err := tryClient(t, c.o)
			if err == nil {
				t.Fatal("it was accepted")
			}
			for _, s := range c.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q is not said: %v", s, err)
				}
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		_, err := tryClient(t, Options{URLs: []string{"unix:///nonexistent/socket"}})
		if err == nil || !strings.Contains(err.Error(), "no sidecar answers") {
			t.Error(err)
		}
	})
	for _, u := range []string{"", "host:8000", "ftp://x/v2/models/face", "http://", "http://x/other",
		"unix://host/x", "http://x/v2/models/face?a=b", "http://[::1"} {
		if _, err := tryClient(t, Options{URLs: []string{u}}); err == nil ||
			!strings.Contains(err.Error(), "sidecar") {
			t.Errorf("%q: %v", u, err)
		}
	}
}

// TestNoSecrets: a token in a URL is in no error.
func TestNoSecrets(t *testing.T) {
	for _, u := range []string{"http://u:secret@host:bad", "http://:secret@x/other",
		"ftp://u:secret@x/v2/models/face", "http://:secret@127.0.0.1:1", "http://secret@127.0.0.1:1",
		"http://:secret/@x", "http://x/v2/models/face?token=secret", "unix://:secret@/x.sock"} {
		_, err := tryClient(t, Options{URLs: []string{u}})
		if err == nil || !strings.Contains(err.Error(), "sidecar") ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// TestOrder: a face belongs to the image it names, in any order of faces.
func TestOrder(t *testing.T) {
	items := make([]*item, 3)
	for i := range items {
		items[i] = &item{width: 10, height: 10, luma: image.Pt(10, 10)}
	}
	rows := []float64{2, 1, 1, 2, 2, 5, 0, 3, 3, 4, 4, 6, 2, 2, 2, 3, 3, 7}
	got, err := answersOf(detect.Kind{}, items, rows, nil, []float64{1, 0, 2}, math.Inf(-1))
	want := []detect.Answer{{Faces: []detect.Face{{X: 3, Y: 3, Width: 4, Height: 4, Score: 6}}}, {},
		{Faces: []detect.Face{{X: 2, Y: 2, Width: 3, Height: 3, Score: 7},
			{X: 1, Y: 1, Width: 2, Height: 2, Score: 5}}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
}
