package sidecar

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"facescan/detect"
	"facescan/detect/detecttest/sample"
)

// ask is a request made by hand.
type ask struct {
	images     [][]byte
	parameters parameters
	outputs    []tensor
	path       string // of the inference
	change     func(r *http.Request)
	head       string // instead of the right JSON
}

func (a ask) request(t testing.TB) *http.Request {
	t.Helper()
	var content []byte
	for _, img := range a.images {
		content = appendElement(content, func(b []byte) []byte { return append(b, img...) })
	}
	head, err := json.Marshal(message{ID: "7", Parameters: a.parameters, Outputs: a.outputs,
		Inputs: []tensor{{Name: imagesName, Datatype: typeBytes, Shape: []int64{int64(len(a.images))},
			Parameters: parameters{sizeKey: len(content)}}}})
	must(t, err)
	if a.head != "" {
		head = []byte(a.head)
	}
	path := a.path
	if path == "" {
		path = "/v2/models/face/infer"
	}
	r := httptest.NewRequest("POST", path, bytes.NewReader(append(head, content...)))
	r.Header.Set(lengthHeader, strconv.Itoa(len(head)))
	if a.change != nil {
		a.change(r)
	}
	return r
}

func newServer(t testing.TB, o ServerOptions) *Server {
	t.Helper()
	if o.Open == nil {
		o.Open = detect.New
	}
	o.Detector = cmp.Or(o.Detector, detect.Pigo)
	s, err := NewServer(o)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func send(s http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// answerOf reads a response.
func answerOf(t testing.TB, w *httptest.ResponseRecorder) *message {
	t.Helper()
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	m, err := parseMessage(w.Header().Get(lengthHeader), w.Body.Bytes(), w.Body.Len())
	must(t, err)
	return m
}

// TestProtocol goes through the questions of the protocol.
func TestProtocol(t *testing.T) {
	s := newServer(t, ServerOptions{})
	own := strconv.FormatFloat(detect.Defaults(detect.Pigo).Threshold(), 'g', -1, 64)
	for path, want := range map[string]string{
		"/v2/health/live":       `{"live":true}`,
		"/v2/health/ready":      `{"name":"face","ready":true}`,
		"/v2":                   `{"extensions":["binary_tensor_data"],"name":"facescan","version":"2"}`,
		"/v2/models/face/ready": `{"name":"face","ready":true}`,
		"/v2/models/face/versions/1": `{"inputs":[{"name":"images","datatype":"BYTES","shape":[-1]}],` +
			`"name":"face","outputs":[{"name":"faces","datatype":"FP32","shape":[-1,6]},` +
			`{"name":"counts","datatype":"INT32","shape":[-1]}],` +
			`"parameters":{"angles":"","candidates":0,"detector":"` + s.kind.Print + `","image_scale":1,` +
			`"iou":0.2,"max_face":0,"min_face":20,"min_score":` + own + `,"scale":1.1,"shift":0.1},` +
			`"platform":"facescan","versions":["1"]}`,
		"/v2/models/face/versions/2": `{"error":"the model served is face, version 1"}`,
		"/v2/models/other":           `{"error":"the model served is face, version 1"}`,
		"/v2/models/face/elsewhere":  `{"error":"no such thing: /v2/models/face/elsewhere"}`,
		"/v2/models/face/infer":      `{"error":"no such thing: /v2/models/face/infer"}`,
	} {
		w := send(s, httptest.NewRequest("GET", path, nil))
		if got := strings.TrimSpace(w.Body.String()); got != want || (w.Code == 200) == strings.Contains(want,
			"error") {
			t.Errorf("%s: %d %s, want %s", path, w.Code, got, want)
		}
	}
	pgm := appendPGM(nil, sample.Photo(t, 160))
	binaryOut := ask{images: [][]byte{pgm, []byte("no image"), pgm,
		appendPGM(nil, blank(50, 50))},
		parameters: parameters{"binary_data_output": true}}
	m := answerOf(t, send(s, binaryOut.request(t)))
	if m.ID != "7" || m.ModelName != "face" || m.ModelVersion != "1" {
		t.Errorf("%+v", m)
	}
	counts, err := m.Outputs[1].numbers()
	if err != nil || counts[0] < 1 || counts[1] != -1 || counts[2] != counts[0] || counts[3] != 0 {
		t.Errorf("counts %v %v", counts, err)
	}
	faces, err := m.Outputs[0].numbers()
	if err != nil || len(faces) != 6*int(counts[0]+counts[2]) {
		t.Errorf("faces %v %v", faces, err)
	}
	// As JSON, which is what the protocol says when nothing is said; one output alone; with its version
	// named.
	m2 := answerOf(t, send(s, ask{images: binaryOut.images}.request(t)))
	faces2, err := m2.Outputs[0].numbers()
	if err != nil || m2.Outputs[0].binary != nil || !reflect.DeepEqual(faces2, faces) {
		t.Errorf("as JSON %v %v, want %v", faces2, err, faces)
	}
	m3 := answerOf(t, send(s, ask{images: binaryOut.images, path: "/v2/models/face/versions/1/infer",
		outputs: []tensor{{Name: countsName, Parameters: parameters{"binary_data": true}}}}.request(t)))
	counts3, err := m3.Outputs[0].numbers()
	if err != nil || len(m3.Outputs) != 1 || !reflect.DeepEqual(counts3, counts) {
		t.Errorf("%+v %v", m3.Outputs, err)
	}
	// No image is an answer, too.
	if m := answerOf(t, send(s, ask{}.request(t))); m.Outputs[1].Shape[0] != 0 {
		t.Errorf("%+v", m.Outputs)
	}
	w := send(s, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{`requests_total{code="200"} 4`, `images_total{outcome="judged"} 9`,
		`images_total{outcome="unreadable"} 3`, "faces_total", "batch_images_bucket", "detect_seconds_count",
		"waiting_images 0"} {
		if !strings.Contains(w.Body.String(), "facescan_sidecar_"+want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

// TestCandidates: those who want them get the best faces below the threshold, and the threshold.
func TestCandidates(t *testing.T) {
	s := newServer(t, ServerOptions{})
	one := sample.Photo(t, 160)
	three := image.NewGray(image.Rect(0, 0, 480, one.Rect.Dy()))
	for i := range three.Pix {
		three.Pix[i] = one.GrayAt(i%480%160, i/480).Y
	}
	pgm := [][]byte{appendPGM(nil, three)}
	count := func(p parameters) (float64, any) {
		p["binary_data_output"] = true
		m := answerOf(t, send(s, ask{images: pgm, parameters: p}.request(t)))
		n, err := m.Outputs[1].numbers()
		must(t, err)
		return n[0], m.Parameters[minScoreKey]
	}
	if n, threshold := count(parameters{}); n != 3 || threshold != nil {
		t.Errorf("%v faces below %v", n, threshold)
	}
	if n, threshold := count(parameters{candidatesKey: 2}); n != 3 ||
		threshold != detect.Defaults(detect.Pigo).Threshold() {
		t.Errorf("%v faces below %v", n, threshold)
	}
	if n, threshold := count(parameters{minScoreKey: 1e5, candidatesKey: 2}); n != 2 || threshold != 1e5 {
		t.Errorf("%v faces below %v", n, threshold)
	}
	if n, _ := count(parameters{minScoreKey: 1e5}); n != 0 {
		t.Errorf("%v faces above the sky", n)
	}
}

// TestBadRequests: each is refused, with a reason, and does no harm.
func TestBadRequests(t *testing.T) {
	s := newServer(t, ServerOptions{MaxBody: 100_000, MaxPixels: 10_000, Token: "secret"})
	pgm := appendPGM(nil, blank(50, 50))
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	input := func(rest string) string {
		return `{"inputs":[{"name":"images","datatype":"BYTES",` + rest + `}]}`
	}
	const base64 = `"parameters":{"content_type":"base64"},`
	for name, c := range map[string]struct {
		ask
		code int
		says string
	}{
		"no JSON":  {ask{images: [][]byte{pgm}, head: "hello"}, 400, "JSON"},
		"no input": {ask{head: `{}`}, 400, `no tensor is called "images"`},
		"other input": {ask{head: `{"inputs":[{"name":"image","datatype":"BYTES","shape":[0]}]}`}, 400,
			"images"},
		"two inputs": {ask{head: `{"inputs":[{"name":"images","datatype":"BYTES","shape":[0],` +
			`"parameters":{"binary_data_size":0}},{"name":"x"}]}`}, 400, "2 inputs"},
		"type": {ask{head: `{"inputs":[{"name":"images","datatype":"UINT8","shape":[0]}]}`}, 400,
			"want BYTES [-1]"},
		"rank":        {ask{head: input(`"shape":[0,3]`)}, 400, "want BYTES [-1]"},
		"negative":    {ask{head: input(`"shape":[-1]`)}, 400, "want BYTES [-1]"},
		"JSON images": {ask{head: input(`"shape":[1],"data":["x"]`)}, 400, "binary data"},
		"more than given": {ask{images: [][]byte{pgm},
			head: input(`"shape":[2],"parameters":{"binary_data_size":` + strconv.Itoa(len(pgm)+4) + `}`)},
			400, "ends before element 1"},
		"many more": {ask{images: [][]byte{pgm},
			head: input(`"shape":[9000000000000000000],"parameters":{"binary_data_size":` +
				strconv.Itoa(len(pgm)+4) + `}`)}, 400, "do not fit"},
		"less than given": {ask{images: [][]byte{pgm},
			head: input(`"shape":[0],"parameters":{"binary_data_size":` + strconv.Itoa(len(pgm)+4) + `}`)},
			400, "after the last element"},
		"part of a body": {ask{images: [][]byte{pgm},
			head: input(`"shape":[1],"parameters":{"binary_data_size":3}`)}, 400, "belong to no tensor"},
		"size too large": {ask{images: [][]byte{pgm},
			head: input(`"shape":[1],"parameters":{"binary_data_size":1e18}`)}, 400, "binary_data_size is"},
		"broken size": {ask{images: [][]byte{pgm},
			head: input(`"shape":[1],"parameters":{"binary_data_size":3.5}`)}, 400, "binary_data_size is"},
		"header length": {ask{images: [][]byte{pgm}, change: header(lengthHeader, "99999999")}, 400,
			lengthHeader},
		"no length":      {ask{images: [][]byte{pgm}, change: header(lengthHeader, "x")}, 400, lengthHeader},
		"no base64":      {ask{head: input(base64 + `"shape":[1],"data":["!"]`)}, 400, "base64"},
		"base64 missing": {ask{head: input(base64 + `"shape":[2],"data":["UDU="]`)}, 400, "base64"},
		"parameter": {ask{images: [][]byte{pgm}, parameters: parameters{"min-face": 40}}, 400,
			`"min-face" is not known`},
		"its type": {ask{images: [][]byte{pgm}, parameters: parameters{"min_face": "40"}}, 400,
			"min_face: 40 is not a value"},
		"its value": {ask{images: [][]byte{pgm}, parameters: parameters{"min_face": 1}}, 400,
			"min-face 1"},
		"no integer": {ask{images: [][]byte{pgm}, parameters: parameters{"min_face": 20.5}}, 400,
			"min_face"},
		"angles": {ask{images: [][]byte{pgm}, parameters: parameters{"angles": "north"}}, 400,
			"angles"},
		"scale": {ask{images: [][]byte{pgm}, parameters: parameters{"image_scale": 0.5}}, 400,
			"image_scale"},
		"candidates": {ask{images: [][]byte{pgm}, parameters: parameters{"candidates": 9}}, 400,
			"candidates"},
		"no candidates": {ask{images: [][]byte{pgm}, parameters: parameters{"candidates": -1}}, 400,
			"candidates: -1 is not a value"},
		"large scale": {ask{images: [][]byte{pgm}, parameters: parameters{"image_scale": 1024.5}}, 400,
			"image_scale: 1024.5 is not a value"},
		"output": {ask{images: [][]byte{pgm}, outputs: []tensor{{Name: "boxes"}}}, 400,
			`no output is called "boxes"`},
		"pixels": {ask{images: [][]byte{pgm,
			appendPGM(nil, blank(200, 60))}}, 413, "image 1 has 200x60 pixels"},
		"body": {ask{images: [][]byte{make([]byte, 100_001)}}, 413, "100000 bytes"},
		"chunked": {ask{images: [][]byte{pgm}, change: func(r *http.Request) {
			r.ContentLength = -1
		}}, 411, "Content-Length"},
		"cut": {ask{images: [][]byte{pgm}, change: func(r *http.Request) { r.ContentLength++ }},
			400, "did not come"},
		"compressed": {ask{images: [][]byte{pgm}, change: header("Content-Encoding", "gzip")}, 415,
			"Content-Encoding"},
		"model": {ask{images: [][]byte{pgm}, path: "/v2/models/faces/infer"}, 404, "is face"},
		"version": {ask{images: [][]byte{pgm}, path: "/v2/models/face/versions/3/infer"}, 404,
			"version 1"},
		"token": {ask{images: [][]byte{pgm}, change: header("Authorization", "Bearer secre")}, 401,
			"token"},
		"no scheme": {ask{images: [][]byte{pgm}, change: header("Authorization", "secret")}, 401,
			"Bearer"},
		"other scheme": {ask{images: [][]byte{pgm}, change: header("Authorization", "Basic secret")}, 401,
			"Bearer"},
		"scheme alone": {ask{images: [][]byte{pgm}, change: header("Authorization", "Bearer")}, 401,
			"Bearer"},
		"a longer token": {ask{images: [][]byte{pgm}, change: header("Authorization", "Bearer secret ")},
			401, "Bearer"},
	} {
		r := c.ask.request(t)
		if r.Header.Get("Authorization") == "" {
			r.Header.Set("Authorization", "Bearer secret")
		}
		w := send(s, r)
		var e struct{ Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != c.code ||
			!strings.Contains(e.Error, c.says) {
			t.Errorf("%s: %d %s, want %d %q", name, w.Code, w.Body, c.code, c.says)
		}
	}
	// schemes are of any case
	for _, token := range []string{"Bearer secret", "bearer secret", "BEARER  secret"} {
		if w := send(s, ask{images: [][]byte{pgm},
			change: header("Authorization", token)}.request(t)); w.Code != 200 {
			t.Errorf("%s: %d %s", token, w.Code, w.Body)
		}
	}
	for path, code := range map[string]int{"/v2/health/live": 200, "/v2/health/ready": 200,
		"/v2/models/face/ready": 200, "/v2/models/face": 401, "/v2": 401, "/metrics": 401} {
		if w := send(s, httptest.NewRequest("GET", path, nil)); w.Code != code {
			t.Errorf("%s without a token: %d, want %d", path, w.Code, code)
		}
	}
	if !s.bodies.TryAcquire(s.o.MaxBodies) {
		t.Error("bodies are still accounted for")
	}
}

// gate is a detector that waits, and keeps the sizes of its batches.
type gate struct {
	blind
	open  chan struct{}
	calls chan int
}

func newGate() *gate { return &gate{open: make(chan struct{}), calls: make(chan int, 10)} }

func (g *gate) Detect(_ context.Context, batch []detect.Image) ([]detect.Answer, error) {
	g.calls <- len(batch)
	<-g.open
	return make([]detect.Answer, len(batch)), nil
}

// TestAcrossClients: what waits for the same detector makes a batch, from any client; what is too much is
// refused with 503.
func TestAcrossClients(t *testing.T) {
	gates := map[int]*gate{}
	for _, minFace := range []int{20, 40} {
		gates[minFace] = newGate()
	}
	s := newServer(t, ServerOptions{Batch: 4, Workers: 1, Queue: 9,
		Open: func(p detect.Params) (detect.Detector, error) { return gates[p.MinFace], nil }})
	pgm := appendPGM(nil, blank(20, 20))
	var wg sync.WaitGroup
	infer := func(n int, minFace int) {
		a := ask{parameters: parameters{"min_face": minFace}}
		for range n {
			a.images = append(a.images, pgm)
		}
		r := a.request(t)
		wg.Go(func() { answerOf(t, send(s, r)) })
	}
	infer(1, 20)
	if n := <-gates[20].calls; n != 1 {
		t.Fatalf("the first call has %d", n)
	}
	waiting := 0
	for _, c := range [][2]int{{2, 40}, {3, 20}, {2, 40}, {2, 20}} {
		infer(c[0], c[1])
		waiting += c[0]
		eventually(t, "it waits", func() bool { return s.queue.length() == waiting })
	}
	w := send(s, ask{images: [][]byte{pgm}}.request(t))
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" ||
		!strings.Contains(w.Body.String(), "too many images") {
		t.Errorf("a full queue: %d %s", w.Code, w.Body)
	}
	close(gates[20].open)
	close(gates[40].open)
	var got []int
	wg.Wait()
	for len(gates[40].calls) > 0 {
		got = append(got, 40, <-gates[40].calls)
	}
	for len(gates[20].calls) > 0 {
		got = append(got, 20, <-gates[20].calls)
	}
	if want := []int{40, 4, 20, 4, 20, 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("calls of detector, images: %v, want %v", got, want)
	}
}

// TestOrphans: images whose client has gone are not processed.
func TestOrphans(t *testing.T) {
	g := newGate()
	s := newServer(t, ServerOptions{Workers: 1, Open: opens(g)})
	pgm := appendPGM(nil, blank(20, 20))
	var wg sync.WaitGroup
	wg.Go(func() { send(s, ask{images: [][]byte{pgm}}.request(t)) })
	<-g.calls
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() { send(s, ask{images: [][]byte{pgm, pgm}}.request(t).WithContext(ctx)) })
	eventually(t, "they wait", func() bool { return s.queue.length() == 2 })
	cancel()
	close(g.open)
	wg.Wait()
	text := send(s, httptest.NewRequest("GET", "/metrics", nil)).Body.String()
	if len(g.calls) != 0 || !strings.Contains(text, `requests_total{code="499"} 1`+"\n") {
		t.Errorf("%d more calls, metrics %s", len(g.calls), text)
	}
}

// TestPanic: a detector that panics fails the request, and the server goes on.
func TestPanic(t *testing.T) {
	calls := 0
	s := newServer(t, ServerOptions{Workers: 1, Open: opens(oneCall{call: func() ([]detect.Answer, error) {
		switch calls++; calls {
		case 1:
			panic("boom")
		case 2:
			return nil, fmt.Errorf("device lost: %w", detect.ErrUnavailable)
		}
		return make([]detect.Answer, 1), nil
	}})})
	a := ask{images: [][]byte{appendPGM(nil, blank(20, 20))}}
	for _, want := range []int{500, 503, 200} {
		if w := send(s, a.request(t)); w.Code != want {
			t.Errorf("%d %s, want %d", w.Code, w.Body, want)
		}
	}
}

// oneCall is a detector that is a function.
type oneCall struct {
	blind
	call func() ([]detect.Answer, error)
}

func (f oneCall) Detect(context.Context, []detect.Image) ([]detect.Answer, error) { return f.call() }

// TestManyFlags: unused detectors make room for others.
func TestManyFlags(t *testing.T) {
	s := newServer(t, ServerOptions{})
	pgm := appendPGM(nil, blank(20, 20))
	for i := range 3 * maxDetectors {
		answerOf(t, send(s, ask{images: [][]byte{pgm},
			parameters: parameters{"min_face": 20 + i}}.request(t)))
	}
	if n := len(s.detectors); n > maxDetectors {
		t.Errorf("%d detectors", n)
	}
	for _, d := range s.detectors {
		d.users++
	}
	if w := send(s, ask{images: [][]byte{pgm},
		parameters: parameters{"min_face": 999}}.request(t)); w.Code != 503 {
		t.Errorf("all in use: %d %s", w.Code, w.Body)
	}
}

// TestDrain: requests in progress are answered, later ones are not, and Serve returns.
func TestDrain(t *testing.T) {
	g := newGate()
	s := newServer(t, ServerOptions{Workers: 1, Open: opens(g)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, nil, l, time.Minute) }()
	r := ask{images: [][]byte{appendPGM(nil, blank(20, 20))}}.request(t)
	r.URL.Scheme, r.URL.Host, r.RequestURI = "http", l.Addr().String(), ""
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	type result struct {
		code int
		err  error
	}
	answered := make(chan result, 1)
	go func() {
		res, err := tr.RoundTrip(r)
		if err != nil {
			answered <- result{0, err}
			return
		}
		io.Copy(io.Discard, res.Body)
		res.Body.Close()
		answered <- result{res.StatusCode, nil}
	}()
	<-g.calls
	cancel()
	eventually(t, "it drains", s.draining.Load)
	if w := send(s, httptest.NewRequest("GET", "/v2/health/ready", nil)); w.Code != 503 {
		t.Errorf("ready while draining: %d", w.Code)
	}
	if w := send(s, ask{}.request(t)); w.Code != 503 {
		t.Errorf("an inference while draining: %d", w.Code)
	}
	select {
	case err := <-ended:
		t.Fatal("it ended before its requests:", err)
	default:
	}
	close(g.open)
	if got := <-answered; got.code != 200 || got.err != nil {
		t.Errorf("a request underway: %+v", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestDrainGrace: what takes too long is cut off.
func TestDrainGrace(t *testing.T) {
	g := newGate()
	s := newServer(t, ServerOptions{Workers: 1, Open: opens(g)})
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen("unix:" + path)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, nil, l, time.Millisecond) }()
	e, err := newEndpoint("unix://"+path, 1)
	must(t, err)
	defer e.http.CloseIdleConnections()
	r := ask{images: [][]byte{appendPGM(nil, blank(20, 20))}}.request(t)
	r.URL.Scheme, r.URL.Host, r.RequestURI = "http", "localhost", ""
	cut := make(chan error, 1)
	go func() { _, _, err := e.do(r, 1<<20); cut <- err }()
	<-g.calls
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Error(err)
	}
	if err := <-cut; err == nil {
		t.Error("the request was answered")
	}
	close(g.open)
}

// TestListen: a socket is its owner's, is not taken from one who serves, and is taken over from the dead.
func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen("unix:" + path)
	must(t, err)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	if _, err := Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("twice: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as after a kill
	l.Close()
	l, err = Listen("unix://" + path)
	must(t, err)
	l.Close()
	must(t, os.WriteFile(path, nil, 0o600))
	if _, err := Listen("unix:" + path); err == nil {
		t.Error("a file was taken for a socket")
	}
}

func TestBeyond(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:8000": false, "127.9.9.9:8000": false, "[::1]:8000": false, "localhost:8000": false,
		"LocalHost:1": false, "unix:/run/x": false, "[::ffff:127.0.0.1]:1": false,
		":8000": true, "0.0.0.0:8000": true, "[::]:8000": true, "10.0.0.1:8000": true, "example.org:80": true,
		"8000": true, "localhost.example.org:1": true, "127.0.0.1.example.org:1": true, "": true,
	} {
		if Beyond(address) != want {
			t.Errorf("%q: %v", address, !want)
		}
	}
}

// TestLongJSON: JSON is for small things.
func TestLongJSON(t *testing.T) {
	s := newServer(t, ServerOptions{})
	if w := send(s, ask{head: `{"id":"` + strings.Repeat("x", maxHead) + `"}`}.request(t)); w.Code != 400 ||
		!strings.Contains(w.Body.String(), "send images as binary data") {
		t.Errorf("%d %.100s", w.Code, w.Body)
	}
}

// TestMetrics: they are in the format of Prometheus, and count the requests.
func TestMetrics(t *testing.T) {
	s := newServer(t, ServerOptions{})
	if w := send(s, ask{images: [][]byte{appendPGM(nil, sample.Photo(t, 160)),
		[]byte("not an image")}}.request(t)); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	text := send(s, httptest.NewRequest("GET", "/metrics", nil)).Body.String()
	for _, line := range []string{`requests_total{code="200"} 1`, `images_total{outcome="judged"} 1`,
		`images_total{outcome="unreadable"} 1`, `waiting_images 0`, `batch_images_count 1`} {
		if !strings.Contains(text, "\nfacescan_sidecar_"+line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("this test has the metrics checked by promtool, which is missing; install it with: apt-get " +
			"install prometheus")
	}
	c := exec.Command(promtool, "check", "metrics")
	c.Stdin = strings.NewReader(text)
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
