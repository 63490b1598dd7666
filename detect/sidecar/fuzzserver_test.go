package sidecar

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"facescan/detect"
	"facescan/detect/detecttest/sample"
)

// scripted is a server that answers a number of inferences correctly, and then with fixed content.
type scripted struct {
	honest  http.Handler
	left    atomic.Int64 // inferences that are answered honestly
	status  int
	header  map[string]string
	body    []byte
	meta    []byte // instead of the model's metadata, unless empty
	working bool   // what was given is for /ready, too
}

func (s *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	infer := strings.HasSuffix(r.URL.Path, "/infer")
	switch {
	case strings.HasSuffix(r.URL.Path, "/face") && len(s.meta) > 0:
		w.Write(s.meta)
		return
	case infer && s.left.Add(-1) < 0, s.working && s.left.Load() < 0:
		for name, value := range s.header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(s.status)
		w.Write(s.body)
		return
	}
	s.honest.ServeHTTP(w, r)
}

// FuzzServer has a client ask, over a socket, a server that answers anything at all, from the start or later
// on: status, headers, metadata, body. The client ends, and accepts only boxes within the image.
func FuzzServer(f *testing.F) {
	_, _, reply := seeds(f)
	head := reply.Header().Get(lengthHeader)
	f.Add(uint8(0), uint16(200), head, "application/octet-stream", "", reply.Body.Bytes(), []byte{}, false)
	f.Add(uint8(9), uint16(200), "", "application/json", "",
		[]byte(`{"outputs":[`+oneFace+`]}`), []byte{}, false)
	f.Add(uint8(7), uint16(500), "99999999", "text/html", "-1", []byte("<html>\x1b[2J"),
		[]byte(`{"name":"face","parameters":{"detector":5,"min_face":"x"}}`), true)
	f.Add(uint8(7), uint16(302), "-7", "", "Sat, 01 Jan 2000 00:00:00 GMT", []byte(`{"error":{"a":1}}`),
		[]byte(`{"inputs":[{"shape":[1e400]}]}`), true)
	s := newServer(f, ServerOptions{Open: opens(blind{})})
	img := detect.Image{Luma: sample.Photo(f, 96), Scale: 1.6}
	f.Fuzz(func(t *testing.T, honest uint8, status uint16, head, kind, after string, body, meta []byte,
		working bool) {
		sc := &scripted{honest: s, status: 200 + int(status)%400, body: body, meta: meta, working: working,
			header: map[string]string{lengthHeader: head, "Content-Type": kind, "Retry-After": after}}
		if sc.status == 503 || sc.status == 429 { // which ask for patience, and have it
			sc.status = 500
		}
		sc.left.Store(int64(honest))
		h := httptest.NewServer(sc)
		defer h.Close()
		begin := time.Now()
		c, err := New(t.Context(), Options{URLs: []string{h.URL}, Batch: 2,
			Params: detect.Defaults(detect.Pigo), Deadline: time.Second})
		if err != nil {
			if c != nil {
				t.Error("a client and an error")
			}
			return
		}
		defer c.Close()
		for range 3 {
			answers, err := c.Detect(t.Context(), []detect.Image{img})
			if err != nil {
				break
			}
			for _, face := range append(append([]detect.Face(nil), answers[0].Faces...),
				answers[0].Candidates...) {
				if !(face.X >= 0 && face.Y >= 0 && face.Width > 0 && face.Height > 0 &&
					face.X+face.Width <= 96 && face.Y+face.Height <= float64(img.Luma.Rect.Dy())) {
					t.Errorf("%+v", face)
				}
			}
		}
		if took := time.Since(begin); took > time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}
