package sidecar

import (
	"context"
	"errors"
	"image"
	_ "image/jpeg"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"facescan/detect"
	"facescan/detect/detecttest"
	"facescan/detect/detecttest/sample"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stand is a server that can go away and come back at the same place.
type stand struct {
	t    testing.TB
	at   string // as Listen wants it
	URL  string
	o    ServerOptions
	wrap func(http.Handler) http.Handler

	server *http.Server
	s      *Server
	served sync.WaitGroup
}

// newStand serves the options' detector, the embedded cascade unless they say otherwise, on a Unix socket.
func newStand(t testing.TB, o ServerOptions) *stand {
	path := filepath.Join(t.TempDir(), "s")
	st := &stand{t: t, at: "unix:" + path, URL: "unix://" + path, o: o}
	if st.o.Open == nil {
		st.o.Open = detect.New
	}
	if st.o.Detector == "" {
		st.o.Detector = detect.Pigo
	}
	t.Cleanup(st.stop)
	return st
}

// start begins to serve, and is where it was before.
func (st *stand) start() *stand {
	st.t.Helper()
	l, err := Listen(st.at)
	if err != nil {
		st.t.Fatal(err)
	}
	if st.s, err = NewServer(st.o); err != nil {
		st.t.Fatal(err)
	}
	var h http.Handler = st.s
	if st.wrap != nil {
		h = st.wrap(h)
	}
	st.server = &http.Server{Handler: h}
	st.served.Go(func() { st.server.Serve(l) })
	return st
}

// tcp makes the stand listen on loopback TCP, at the same port ever after.
func (st *stand) tcp() *stand {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		st.t.Fatal(err)
	}
	st.at = l.Addr().String()
	st.URL = "http://" + st.at
	l.Close()
	return st
}

// stop cuts everything off, as a kill does.
func (st *stand) stop() {
	if st.server == nil {
		return
	}
	st.server.Close()
	st.served.Wait()
	if err := st.s.Close(); err != nil {
		st.t.Error(err)
	}
	st.server = nil
}

// client is a client of servers that are up. On a loaded machine they may not answer in time at first.
func client(t testing.TB, o Options) *Client {
	t.Helper()
	c, err := tryClient(t, o)
	for end := time.Now().Add(time.Minute); errors.Is(err, ErrNoAnswer) && time.Now().Before(end); {
		c, err = tryClient(t, o)
	}
	must(t, err)
	return c
}

func tryClient(t testing.TB, o Options) (*Client, error) {
	if o.Params.MinFace == 0 {
		o.Params = detect.Defaults(detect.Pigo)
	}
	c, err := New(t.Context(), o)
	if err == nil {
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	return c, err
}

// intercept gives the requests for paths with an ending to a function, and serves those that it leaves.
func intercept(ending string, answered func(w http.ResponseWriter, r *http.Request) bool) func(
	http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, ending) || !answered(w, r) {
				next.ServeHTTP(w, r)
			}
		})
	}
}

// hang reads the rest of a request and answers nothing until the client is gone.
func hang(r *http.Request) {
	io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// photos are the sample photo at several widths.
func photos(t testing.TB, widths ...int) (images []detect.Image) {
	for _, width := range widths {
		images = append(images, detect.Image{Luma: sample.Photo(t, width), Scale: 1})
	}
	return images
}

// blank is a black image.
func blank(width, height int) *image.Gray { return image.NewGray(image.Rect(0, 0, width, height)) }

// TestSuite runs the suite of every detector on client and server together.
func TestSuite(t *testing.T) {
	for _, k := range detect.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			st := newStand(t, ServerOptions{Detector: k.Name, Batch: 5, Workers: 2}).start()
			detecttest.Run(t, k.Name, func(p detect.Params) (detect.Detector, error) {
				return New(context.Background(), Options{URLs: []string{st.URL}, Params: p, Batch: 7,
					Delay: time.Millisecond})
			}, []*image.Gray{sample.Photo(t, 320)})
		})
	}
}

// TestSameAnswers compares with the detector in this process, to the bit.
func TestSameAnswers(t *testing.T) {
	for _, k := range detect.Kinds() {
		st := newStand(t, ServerOptions{Detector: k.Name, Batch: 3}).tcp().start()
		for _, scale := range []float64{1, 1.6, 8} {
			p := detect.Defaults(k.Name)
			p.MinFace = 20 // of which a pixel is left
			p.MinScore = k.Floor
			local, err := detect.New(p)
			must(t, err)
			c := client(t, Options{URLs: []string{st.URL}, Params: p})
			batch := detecttest.Awkward()
			for _, width := range []int{160, 240, 320, 333} {
				batch = append(batch, detect.Image{Luma: sample.Photo(t, width)},
					detect.Image{Luma: middle(sample.Photo(t, width))})
			}
			for i := range batch {
				batch[i].Scale = scale
			}
			want, err := local.Detect(t.Context(), batch)
			must(t, err)
			got, err := c.Detect(t.Context(), batch)
			must(t, err)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s, scale %v: there %+v, here %+v", k.Name, scale, got, want)
			}
			if !detect.Same(c.Fingerprint(), local.Fingerprint()) || c.Fingerprint() == local.Fingerprint() {
				t.Errorf("there %q, here %q", c.Fingerprint(), local.Fingerprint())
			}
			local.Close()
		}
	}
}

// middle is the middle of a photo, whose edges go through its face.
func middle(m *image.Gray) *image.Gray {
	size := m.Bounds().Size()
	return m.SubImage(image.Rect(size.X/3, size.Y/4, size.X*9/10, size.Y*3/4)).(*image.Gray)
}

// TestWithoutBinary: a server that has no binary extension, and so does not understand such requests, is sent
// JSON.
func TestWithoutBinary(t *testing.T) {
	st := newStand(t, ServerOptions{})
	st.wrap = intercept("", func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/v2":
			reply(w, 200, map[string]any{"name": "other", "extensions": []string{}})
		case r.Header.Get(lengthHeader) != "":
			refuse(w, http.StatusUnprocessableEntity, "no JSON")
		default:
			return false
		}
		return true
	})
	st.start()
	local, err := detect.New(detect.Defaults(detect.Pigo))
	must(t, err)
	defer local.Close()
	c := client(t, Options{URLs: []string{st.URL}, Batch: 5})
	batch := append(detecttest.Awkward(), photos(t, 240)...)
	want, err := local.Detect(t.Context(), batch)
	must(t, err)
	if got, err := c.Detect(t.Context(), batch); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("there %+v %v, here %+v", got, err, want)
	}
}

// TestKnownImages: the check at the start is worth something only if there is something to find.
func TestKnownImages(t *testing.T) {
	for _, k := range detect.Kinds() {
		d, err := detect.New(detect.Defaults(k.Name))
		must(t, err)
		defer d.Close()
		faces := 0
		for _, m := range knownImages() {
			a, err := d.Detect(t.Context(), []detect.Image{{Luma: m, Scale: 1}})
			must(t, err)
			t.Log(k.Name, summary(a[0]), len(a[0].Candidates))
			faces += len(a[0].Faces)
		}
		if faces < 2 {
			t.Errorf("%s: %d faces are found in the drawn ones", k.Name, faces)
		}
	}
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
