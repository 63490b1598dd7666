package sidecar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"facescan/detect"
)

// batches keeps the sizes of the images of each request.
type batches struct {
	mu  sync.Mutex
	all [][]string
}

func (b *batches) wrap(next http.Handler) http.Handler {
	return intercept("/infer", func(_ http.ResponseWriter, r *http.Request) bool {
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if err != nil {
			return false
		}
		m, err := parseMessage(r.Header.Get(lengthHeader), body, len(body))
		if err != nil {
			return false
		}
		files, err := m.Inputs[0].elements()
		if err != nil {
			return false
		}
		var sizes []string
		for _, f := range files {
			w, h, _, _ := sizePGM(f)
			sizes = append(sizes, fmt.Sprintf("%dx%d", w, h))
		}
		b.mu.Lock()
		b.all = append(b.all, sizes)
		b.mu.Unlock()
		return false
	})(next)
}

func (b *batches) take() (all [][]string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all, b.all = b.all, nil
	return all
}

func sizesOf(all [][]string) (sizes []int) {
	for _, b := range all {
		sizes = append(sizes, len(b))
	}
	return sizes
}

// TestBatchesOfACheck: at the start known images are sent alone, in every size of a batch up to 64, and in
// the largest; later in powers of two. Each kind of image comes at either end, and between.
func TestBatchesOfACheck(t *testing.T) {
	const largest, empty = 70, "33x33"
	var seen batches
	st := newStand(t, ServerOptions{Open: opens(blind{})})
	st.wrap = seen.wrap
	st.start()
	c := client(t, Options{URLs: []string{st.URL}, Batch: largest})
	want := []int{1, 1, 1, 1, 1}
	for n := 2; n <= everySize; n++ {
		want = append(want, n)
	}
	all := seen.take()
	if got := sizesOf(all); !slices.Equal(got, append(want, largest)) {
		t.Errorf("at the start: batches of %v", got)
	}
	first, last, kinds, between := map[string]bool{}, map[string]bool{}, map[string]bool{}, 0
	for _, b := range all {
		n := len(b)
		if n == 1 {
			kinds[b[0]] = true
			continue
		}
		count := map[string]int{}
		for _, size := range b {
			count[size]++
		}
		switch {
		case n == 64 || n == largest:
			for kind := range kinds {
				if count[kind] < n/len(kinds) {
					t.Errorf("%d of %d images are %s", count[kind], n, kind)
				}
			}
		case n > 32:
			if n-count[empty] > 3 {
				t.Errorf("%d of %d images are not empty", n-count[empty], n)
			}
			for _, size := range b[1 : n-1] {
				if size != empty {
					between++
				}
			}
			first[b[0]], last[b[n-1]] = true, true
		}
	}
	if !maps.Equal(first, kinds) || !maps.Equal(last, kinds) || len(kinds) != 5 || between < 20 {
		t.Errorf("of %v: %v come first, %v last, %d between", kinds, first, last, between)
	}
	st.stop()
	eventually(t, "it is gone", func() bool { return c.Probe(t.Context()) != nil || ask1(t, c) != nil })
	seen.take()
	st.start()
	eventually(t, "it is well", func() bool { return c.Probe(t.Context()) == nil })
	if got := sizesOf(seen.take()); !slices.Equal(got, []int{1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 64, largest}) {
		t.Errorf("later: batches of %v", got)
	}
}

// ask1 asks for one image.
func ask1(t *testing.T, c *Client) error {
	_, err := c.Detect(t.Context(), []detect.Image{{Luma: blank(20, 20), Scale: 1}})
	return err
}

// describes has a server say other things of its model.
func describes(name string, versions []string, p parameters) func(http.Handler) http.Handler {
	return intercept("/face", func(w http.ResponseWriter, _ *http.Request) bool {
		reply(w, 200, map[string]any{"name": name, "versions": versions, "inputs": expected(false).Inputs,
			"outputs": expected(false).Outputs, "parameters": p})
		return true
	})
}

// TestUnlike: servers of one client must have the same detector, from the start.
func TestUnlike(t *testing.T) {
	one, other := newStand(t, ServerOptions{Open: opens(blind{})}).start(),
		newStand(t, ServerOptions{Open: opens(blind{})})
	kind, _ := detect.KindNamed(detect.Pigo)
	kind.Print = "facefinder-01234567/9"
	other.wrap = describes("face", nil, list(kind))
	other.start()
	_, err := tryClient(t, Options{URLs: []string{one.URL, other.URL}})
	var m *ModelError
	if !errors.As(err, &m) || !strings.HasSuffix(err.Error(), ", as before and elsewhere") {
		t.Errorf("two detectors: %v", err)
	}
	c, err := tryClient(t, Options{URLs: []string{one.URL, "unix:///nonexistent/socket", one.URL}})
	if err != nil || len(c.endpoints) != 3 {
		t.Errorf("one that does not answer, of three: %v", err)
	}
}

// TestFingerprints name the model, and the flags that the server lists.
func TestFingerprints(t *testing.T) {
	pigo, _ := detect.KindNamed(detect.Pigo)
	foreign, own := detect.Defaults(""), detect.Defaults(detect.Pigo)
	foreign.MinFace, own.MinFace = 40, 40
	whole := list(pigo)
	for _, c := range []struct {
		input    Input
		versions []string
		listed   parameters
		p        detect.Params
		want     string
	}{
		{Luma, []string{"7", "8"}, parameters{"min_face": 20, "iou": 0.5}, foreign,
			"sidecar:face/7,8 min_face=40 iou=0.2"},
		{Encoded, nil, parameters{"min_face": 20, detectorKey: "retina/2"}, foreign,
			"sidecar-encoded:retina/2 min_face=40"},
		{Luma, nil, parameters{"min_face": 20, detectorKey: pigo.Print}, own,
			"sidecar:" + pigo.Print + " min_face=40"},
		{Luma, nil, whole, own, "sidecar:" + pigo.Print + " " + own.String()},
	} {
		tm := &tamper{change: lie(func(m *message) {
			delete(m.Parameters, detectorKey)
		})}
		tm.left.Store(math.MaxInt32)
		st := newStand(t, ServerOptions{Open: opens(blind{}), Decode: decodePGMComment})
		meta := describes("face", c.versions, c.listed)
		st.wrap = func(h http.Handler) http.Handler { return meta(tm.wrap(h)) }
		st.start()
		x := client(t, Options{URLs: []string{st.URL}, Params: c.p, Input: c.input, Batch: 2})
		if got := x.Fingerprint(); got != c.want {
			t.Errorf("%v: %s, want %s", c.listed, got, c.want)
		}
	}
}

// TestBinaryUnsaid: a server that does not list the binary extension, and refuses JSON, is sent binary data.
// Where it takes neither, both refusals are in the error.
func TestBinaryUnsaid(t *testing.T) {
	silent := func(inJSON, inBinary func(w http.ResponseWriter, next http.Handler,
		r *http.Request)) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/v2":
					reply(w, 200, map[string]any{"name": "other"})
				case !strings.HasSuffix(r.URL.Path, "/infer"):
					next.ServeHTTP(w, r)
				case r.Header.Get(lengthHeader) == "":
					inJSON(w, next, r)
				default:
					inBinary(w, next, r)
				}
			})
		}
	}
	refused := func(w http.ResponseWriter, _ http.Handler, _ *http.Request) {
		refuse(w, http.StatusUnprocessableEntity, "no such form")
	}
	served := func(w http.ResponseWriter, next http.Handler, r *http.Request) { next.ServeHTTP(w, r) }
	unreadable := func(w http.ResponseWriter, _ http.Handler, _ *http.Request) {
		reply(w, 200, map[string]any{"parameters": parameters{minScoreKey: 1}, "outputs": []any{
			map[string]any{"name": "faces", "datatype": "FP32", "shape": []int{0, 6}, "data": []int{}},
			map[string]any{"name": "counts", "datatype": "INT32", "shape": []int{1}, "data": []int{-1}}}})
	}
	for name, c := range map[string]struct {
		wrap func(http.Handler) http.Handler
		says string
	}{
		"JSON refused":    {silent(refused, served), ""},
		"JSON unreadable": {silent(unreadable, served), ""},
		"neither":         {silent(unreadable, refused), "and with the binary extension: "},
	} {
		st := newStand(t, ServerOptions{Open: opens(blind{})})
		st.wrap = c.wrap
		st.start()
		x, err := tryClient(t, Options{URLs: []string{st.URL}, Batch: 2})
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
			continue
		}
		if err == nil {
			if err := ask1(t, x); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestLyingAtANewScale: what is learned at a new scale counts only if the check's images are still answered
// as in the check.
func TestLyingAtANewScale(t *testing.T) {
	tm := &tamper{change: noFaces}
	st := newStand(t, ServerOptions{})
	st.wrap = tm.wrap
	st.start()
	c := client(t, Options{URLs: []string{st.URL}, Batch: 2})
	tm.left.Store(math.MaxInt32)
	img := photos(t, 160)
	img[0].Scale = 1.6
	var m *ModelError
	if a, err := c.Detect(t.Context(), img); !errors.As(err, &m) ||
		!strings.Contains(err.Error(), "found other answers to known images than before, or elsewhere") {
		t.Errorf("%+v %v", a, err)
	}
}

// TestKnownSizes: known images grow with the smallest face, up to 8 times, and their answers are kept for 64
// scales.
func TestKnownSizes(t *testing.T) {
	st := newStand(t, ServerOptions{Open: opens(blind{})}).start()
	for minFace, want := range map[int]float64{8: 72, 24: 72, 25: 144, 168: 504, 192: 576, 193: 576,
		9999: 576} {
		p := detect.Defaults(detect.Pigo)
		p.MinFace = minFace
		c := client(t, Options{URLs: []string{st.URL}, Batch: 2, Params: p, Delay: time.Millisecond})
		k, err := c.knownAt(t.Context(), c.endpoints[0], 1)
		must(t, err)
		if got := k.items[0].width; got != want {
			t.Errorf("from %d px: the first has %v, want %v", minFace, got, want)
		}
		if minFace != 24 {
			continue
		}
		for i := len(c.known); i < mostScales-1; i++ {
			c.known[1000+float64(i)] = k
		}
		for _, scale := range []float64{2, 3} {
			if _, err := c.knownAt(t.Context(), c.endpoints[0], scale); err != nil {
				t.Error(err)
			}
			if n := len(c.known); scale == 2 && n != mostScales || scale == 3 && n != 1 {
				t.Errorf("the answers of %d scales are kept", n)
			}
		}
	}
}
