package sidecar

import (
	"bytes"
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"facescan/detect"
	"facescan/detect/sidecar/conns"
	"facescan/pipeline/crash"
)

// ErrTooManyPixels is the error of ServerOptions.Decode for an image that is too large.
var ErrTooManyPixels = errors.New("too many pixels")

// Picture is a decoded file.
type Picture struct {
	Luma  *image.Gray
	Scale float64 // as in detect.Image
	// ToStored converts a face of Luma to the file's picture as stored; nil if they are the same
	ToStored func(detect.Face) detect.Face
	Release  func() // called when Luma is no longer used; may be nil
}

// ServerOptions of a Server. The zero value of a field means its default, except for Open.
type ServerOptions struct {
	Detector string // name of its kind
	// Open opens the detector for flags; it is called once per set of flags
	Open func(detect.Params) (detect.Detector, error)
	// Decode reads files other than PGM; nil refuses them
	Decode  func(file []byte, p detect.Params) (Picture, error)
	Model   string // its name; face
	Token   string // required of clients; none
	Workers int    // calls of detectors at once; one per core
	Batch   int    // images per call, at most; 1
	// Queue is how many images may wait, beyond one request; 1,024
	Queue int
	// Conns is how many connections are open at once; 256, or fewer if few descriptors may be open
	Conns   int
	MaxBody int64 // bytes of a request; 128 MiB
	// MaxBodies is the bytes of all requests that are being read, or wait; 4 × MaxBody
	MaxBodies int64
	MaxPixels int64        // of an image; 100 M
	Log       *slog.Logger // discarded
}

const (
	readFirst    = 1 << 20 // bytes of a body that get memory before they arrive
	otherFiles   = 0.25    // descriptors for other things than connections
	maxDetectors = 32      // kept, each for other flags
	maxHead      = 1 << 20 // bytes of a request's JSON
	platform     = "facescan"
	modelVersion = "1" // of what the tensors mean
)

// Server serves a detector. It is an http.Handler; Serve runs it on a listener.
type Server struct {
	o        ServerOptions
	mux      *http.ServeMux
	queue    *queue
	metrics  *metrics
	bodies   *semaphore.Weighted
	buffers  sync.Pool // *[]byte
	draining atomic.Bool
	kind     detect.Kind
	outputs  []tensor // as the metadata list them

	mu        sync.Mutex
	detectors map[string]*served
}

// served is a detector, which requests with the same flags share.
type served struct {
	detect.Detector
	users int // requests
	used  time.Time
}

// NewServer opens the detector with the default flags, to check that it works, and starts the workers. Close
// ends them.
func NewServer(o ServerOptions) (*Server, error) {
	o.Workers = cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	o.Batch = cmp.Or(o.Batch, 1)
	o.Queue = cmp.Or(o.Queue, 1024)
	o.Conns = cmp.Or(o.Conns, 256)
	o.Model = cmp.Or(o.Model, ModelName)
	o.MaxBody = cmp.Or(o.MaxBody, 128<<20)
	o.MaxBodies = cmp.Or(o.MaxBodies, 4*o.MaxBody)
	o.MaxPixels = cmp.Or(o.MaxPixels, 100e6)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	kind, known := detect.KindNamed(o.Detector)
	if !known {
		return nil, fmt.Errorf("%q is not a detector", o.Detector)
	}
	s := &Server{o: o, mux: http.NewServeMux(), bodies: semaphore.NewWeighted(max(o.MaxBodies, o.MaxBody)),
		queue: newQueue(o.Queue), kind: kind, outputs: expected(kind.Landmarks).Outputs,
		detectors: map[string]*served{}}
	s.metrics = newMetrics(s.queue.length)
	d, err := s.open(detect.Defaults(o.Detector))
	if err != nil {
		return nil, err
	}
	s.release(d)
	s.routes()
	for range o.Workers {
		s.queue.workers.Go(func() {
			defer crash.Exit()
			s.work()
		})
	}
	return s, nil
}

// routes are those of the protocol, and the metrics.
func (s *Server) routes() {
	s.mux.HandleFunc("GET /v2/health/live", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]bool{"live": true})
	})
	s.mux.HandleFunc("GET /v2/health/ready", s.ready)
	s.mux.Handle("GET /v2", s.private(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"name": "facescan", "version": "2",
			"extensions": []string{binaryExt}})
	}))
	s.mux.Handle("GET /metrics", s.private(s.metrics.handler.ServeHTTP))
	for _, base := range []string{"/v2/models/{model}", "/v2/models/{model}/versions/{version}"} {
		s.mux.Handle("GET "+base+"/ready", s.named(s.ready))
		s.mux.Handle("GET "+base, s.private(s.named(s.describe)))
		s.mux.Handle("POST "+base+"/infer", s.private(s.named(s.infer)))
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "no such thing: "+r.URL.Path)
	})
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// private requires the token.
func (s *Server) private(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		right := subtle.ConstantTimeCompare([]byte(strings.TrimLeft(token, " ")), []byte(s.o.Token)) == 1
		if s.o.Token != "" && !(strings.EqualFold(scheme, "Bearer") && right) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, http.StatusUnauthorized, "this sidecar wants a token: Authorization: Bearer TOKEN")
			return
		}
		next(w, r)
	}
}

// named requires the model's name, and its version if one is given.
func (s *Server) named(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if v := r.PathValue("version"); r.PathValue("model") != s.o.Model || v != "" && v != modelVersion {
			refuse(w, http.StatusNotFound, fmt.Sprintf("the model served is %s, version %s", s.o.Model,
				modelVersion))
			return
		}
		next(w, r)
	}
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if s.draining.Load() {
		refuseLater(w, "draining")
		return
	}
	reply(w, http.StatusOK, map[string]any{"name": s.o.Model, "ready": true})
}

func (s *Server) describe(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]any{
		"name": s.o.Model, "versions": []string{modelVersion}, "platform": platform,
		"inputs": expected(false).Inputs, "outputs": s.outputs, "parameters": list(s.kind),
	})
}

// open returns the detector for flags; release returns it. Of the unused ones the newest stay open.
func (s *Server) open(p detect.Params) (*served, error) {
	key := p.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.detectors[key]
	if d == nil {
		if len(s.detectors) >= maxDetectors && !s.evictLocked() {
			return nil, fmt.Errorf("%w: detectors with %d other flags are in use", detect.ErrUnavailable,
				maxDetectors)
		}
		opened, err := s.o.Open(p)
		if err != nil {
			return nil, err
		}
		d = &served{Detector: opened}
		s.detectors[key] = d
	}
	d.users++
	d.used = time.Now()
	return d, nil
}

func (s *Server) release(d *served) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.users--
}

// evictLocked closes the least recently used detector, unless all are in use.
func (s *Server) evictLocked() bool {
	oldest := ""
	for key, d := range s.detectors {
		if d.users == 0 && (oldest == "" || d.used.Before(s.detectors[oldest].used)) {
			oldest = key
		}
	}
	if oldest == "" {
		return false
	}
	if err := s.detectors[oldest].Close(); err != nil {
		s.o.Log.Warn("a detector does not close", "error", err)
	}
	delete(s.detectors, oldest)
	return true
}

// infer answers an inference request.
func (s *Server) infer(w http.ResponseWriter, r *http.Request) {
	code := s.inferred(w, r)
	s.metrics.requests.WithLabelValues(strconv.Itoa(code)).Inc()
}

func (s *Server) inferred(w http.ResponseWriter, r *http.Request) (code int) {
	n := r.ContentLength
	switch encoding := r.Header.Get("Content-Encoding"); {
	case s.draining.Load():
		return refuseLater(w, "draining")
	case encoding != "" && encoding != "identity":
		return refuse(w, http.StatusUnsupportedMediaType, "no Content-Encoding is read")
	case n < 0:
		return refuse(w, http.StatusLengthRequired, "a Content-Length is needed")
	case n > s.o.MaxBody:
		return refuse(w, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("a request may have %d bytes, this one has %d", s.o.MaxBody, n))
	}
	body, held, err := s.read(r.Body, n)
	defer s.bodies.Release(held)
	switch {
	case errors.Is(err, detect.ErrUnavailable):
		return refuseLater(w, "busy: too many bytes wait")
	case err != nil:
		return refuse(w, http.StatusBadRequest, "the body did not come: "+err.Error())
	}
	defer s.buffers.Put(&body)
	q, err := s.parse(r, body)
	if err != nil {
		return refuseErr(w, err)
	}
	defer s.release(q.detector)
	q.ctx = r.Context()
	if !s.queue.add(q) {
		return refuseLater(w, "busy: too many images wait")
	}
	q.left.Wait()
	if q.err != nil {
		return refuseErr(w, q.err)
	}
	if r.Context().Err() != nil {
		return 499 // the client is gone
	}
	return s.answer(w, q)
}

// read reads a body of n bytes. Memory is reserved as it arrives, so that a body which does not arrive holds
// little; the caller releases held. The error is detect.ErrUnavailable if there is no room.
func (s *Server) read(r io.Reader, n int64) (body []byte, held int64, err error) {
	var b []byte
	if p, _ := s.buffers.Get().(*[]byte); p != nil {
		b = (*p)[:0]
	}
	for int64(len(b)) < n {
		part := min(n-int64(len(b)), max(readFirst, int64(len(b))))
		if !s.bodies.TryAcquire(part) {
			return nil, held, detect.ErrUnavailable
		}
		held += part
		b = slices.Grow(b, int(part))
		got, err := io.ReadFull(r, b[len(b):len(b)+int(part)])
		b = b[:len(b)+got]
		if err != nil {
			return nil, held, err
		}
	}
	// Without this the end of the body is not seen, and the connection does not count as having a complete
	// request.
	if k, err := r.Read(make([]byte, 1)); k > 0 || err != io.EOF {
		//nolint:errorlint // err may be nil, which %w cannot show
		return nil, held, fmt.Errorf("it does not end after %d bytes: %v", n, err)
	}
	return b, held, nil
}

// badRequest is an error of the client.
type badRequest struct {
	code int
	why  string
}

func (e *badRequest) Error() string { return e.why }

// parse reads a request from a body; the request refers to it.
func (s *Server) parse(r *http.Request, body []byte) (*request, error) {
	bad := func(err error) (*request, error) { return nil, &badRequest{http.StatusBadRequest, err.Error()} }
	m, err := parseMessage(r.Header.Get(lengthHeader), body, maxHead)
	if err != nil {
		return bad(err)
	}
	images, err := find(m.Inputs, imagesName, typeBytes, -1)
	if err == nil && len(m.Inputs) != 1 {
		err = fmt.Errorf("%d inputs, want one", len(m.Inputs))
	}
	if err != nil {
		return bad(err)
	}
	files, err := images.elements()
	if err != nil {
		return bad(err)
	}
	q := &request{id: m.ID, files: files, answers: make([]detect.Answer, len(files))}
	if err := q.wanted(m, s.outputs); err != nil {
		return bad(err)
	}
	for i, f := range files {
		w, h, _, err := sizePGM(f)
		if err == nil && int64(w)*int64(h) > s.o.MaxPixels {
			return nil, &badRequest{http.StatusRequestEntityTooLarge,
				fmt.Sprintf("image %d has %dx%d pixels, and %d are allowed", i, w, h, s.o.MaxPixels)}
		}
	}
	if q.requested, err = fromParameters(s.kind, m.Parameters); err != nil {
		return bad(err)
	}
	q.detector, err = s.open(q.Params)
	return q, err
}

// wanted returns the requested outputs and their forms. If none is named it is all, as JSON unless
// binary_data_output is true.
func (q *request) wanted(m *message, outputs []tensor) error {
	binary, _ := m.Parameters["binary_data_output"].(bool)
	if len(m.Outputs) == 0 {
		for _, t := range outputs {
			q.outputs = append(q.outputs, output{t, binary})
		}
	}
	for _, t := range m.Outputs {
		i := slices.IndexFunc(outputs, func(has tensor) bool { return has.Name == t.Name })
		if i < 0 {
			return fmt.Errorf("no output is called %q", t.Name)
		}
		o := output{outputs[i], binary}
		if v, ok := t.Parameters["binary_data"].(bool); ok {
			o.asBinary = v
		}
		q.outputs = append(q.outputs, o)
	}
	return nil
}

// answer writes the response.
func (s *Server) answer(w http.ResponseWriter, q *request) int {
	m := message{ModelName: s.o.Model, ModelVersion: modelVersion, ID: q.id,
		Parameters: parameters{detectorKey: s.kind.Print}}
	if q.keep > 0 {
		m.Parameters[minScoreKey] = q.Threshold()
	}
	contents := q.tensors()
	for _, o := range q.outputs {
		content := contents[o.Name]
		t := tensor{Name: o.Name, Datatype: o.Datatype, Shape: slices.Clone(o.Shape)}
		t.Shape[0] = int64(len(content) / 4)
		for _, n := range t.Shape[1:] {
			t.Shape[0] /= n
		}
		if err := t.put(content, o.asBinary); err != nil {
			return refuseErr(w, err)
		}
		m.Outputs = append(m.Outputs, t)
	}
	head, err := json.Marshal(m)
	if err != nil {
		return refuseErr(w, err)
	}
	body := bytes.NewBuffer(head)
	for _, t := range m.Outputs {
		body.Write(t.binary)
	}
	if len(head) < body.Len() {
		w.Header().Set(lengthHeader, strconv.Itoa(len(head)))
		w.Header().Set("Content-Type", "application/octet-stream")
	} else {
		w.Header().Set("Content-Type", "application/json")
	}
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	_, _ = w.Write(body.Bytes()) // a client that is gone needs no answer
	return http.StatusOK
}

func reply(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, code int, why string) int {
	reply(w, code, map[string]string{"error": why})
	return code
}

func refuseLater(w http.ResponseWriter, why string) int {
	w.Header().Set("Retry-After", "1")
	return refuse(w, http.StatusServiceUnavailable, why)
}

func refuseErr(w http.ResponseWriter, err error) int {
	var b *badRequest
	switch {
	case errors.As(err, &b):
		return refuse(w, b.code, b.why)
	case errors.Is(err, detect.ErrUnavailable):
		return refuseLater(w, err.Error())
	}
	return refuse(w, http.StatusInternalServerError, err.Error())
}

// Serve answers on a listener until the context ends; then it drains: requests in progress are answered
// within the grace, or until cut is closed.
func (s *Server) Serve(ctx context.Context, cut <-chan struct{}, l net.Listener, grace time.Duration) error {
	h := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug)}
	ended := make(chan error, 1)
	bound := conns.New(h, conns.Most(s.o.Conns, otherFiles))
	go func() {
		defer crash.Exit()
		ended <- h.Serve(bound.Listen(l))
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	s.draining.Store(true)
	out, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	go func() {
		defer crash.Exit()
		select {
		case <-cut:
			cancel()
		case <-out.Done():
		}
	}()
	err := h.Shutdown(out)
	if err != nil {
		err = errors.Join(fmt.Errorf("draining was not over after %v: the rest is cut off", grace), h.Close())
	}
	<-ended //nolint:errcheck // Serve has nothing to add once it was shut down
	return err
}

// Detector is the fingerprint of engine and model.
func (s *Server) Detector() string { return s.kind.Print }

// Close ends the workers, once the queue is empty, and closes the detectors.
func (s *Server) Close() error {
	s.queue.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, d := range s.detectors {
		errs = append(errs, d.Close())
	}
	s.detectors = nil
	return errors.Join(errs...)
}

// Listen opens host:port or unix:PATH. Only its owner can connect to a socket; a stale one is replaced.
func Listen(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return net.Listen("tcp", address)
	}
	path = strings.TrimPrefix(path, "//")
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket != 0 {
		c, err := net.Dial("unix", path)
		if err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("another server uses %s already", path)
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			_ = os.Remove(path) // if it stays, listening says why
		}
	}
	was := syscall.Umask(0o177)
	defer syscall.Umask(was)
	return net.Listen("unix", path)
}

// Beyond reports whether other machines can reach an address of Listen.
func Beyond(address string) bool {
	if strings.HasPrefix(address, "unix:") {
		return false
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return true
	}
	ip := net.ParseIP(host)
	return !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback())
}
