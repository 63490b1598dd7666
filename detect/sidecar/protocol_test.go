package sidecar

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"facescan/detect"
)

// TestNumbers: numbers in JSON may be flat, or nested as the shape is; others are refused.
func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		datatype string
		shape    []int64
		data     string
		want     []float64
		says     string
	}{
		{typeINT32, []int64{3}, `[1,-1,0]`, []float64{1, -1, 0}, ""},
		{typeFP32, []int64{2, 2}, `[0.1,2,3,4]`, []float64{float64(float32(0.1)), 2, 3, 4}, ""},
		{typeFP32, []int64{2, 2}, `[[0.1,2],[3,4]]`, []float64{float64(float32(0.1)), 2, 3, 4}, ""},
		{typeFP32, []int64{0, 2}, `[]`, nil, ""},
		{typeFP32, []int64{2, 2}, `[[1,2,3],[4]]`, nil, "a row of 3"},
		{typeFP32, []int64{4}, `[[1,2],[3,4]]`, nil, "a row of 2"},
		{typeFP32, []int64{2, 2}, `[[1,2]]`, nil, "2 elements for 4"},
		{typeFP32, []int64{3}, `[1,2]`, nil, "2 elements for 3"},
		{typeFP32, []int64{1}, `["1"]`, nil, "not numbers"},
	} {
		tensor := &tensor{Name: "x", Datatype: c.datatype, Shape: c.shape, Data: json.RawMessage(c.data)}
		got, err := tensor.numbers()
		if c.says == "" && (err != nil || !slices.Equal(got, c.want)) {
			t.Errorf("%s: %v, %v, want %v", c.data, got, err, c.want)
		}
		if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, %v, want %q", c.data, got, err, c.says)
		}
	}
}

// TestTemporary: which answers of a server may be others later, and which only mean that it is busy.
func TestTemporary(t *testing.T) {
	for status, want := range map[int]struct{ temporary, busy bool }{
		400: {}, 401: {}, 403: {}, 405: {}, 413: {}, 415: {}, 422: {}, 301: {},
		404: {temporary: true}, 408: {temporary: true}, 425: {temporary: true}, 429: {true, true},
		500: {temporary: true}, 502: {temporary: true}, 503: {true, true}, 504: {temporary: true},
	} {
		h := &HTTPError{Status: status}
		if h.Temporary() != want.temporary || h.later() != want.busy || permanent(h) == want.temporary {
			t.Errorf("%d: temporary %v, busy %v", status, h.Temporary(), h.later())
		}
	}
	for _, err := range []error{&AnswerError{}, &ModelError{}} {
		if !permanent(err) {
			t.Errorf("%T is temporary", err)
		}
	}
	if permanent(io.ErrUnexpectedEOF) {
		t.Error("a connection that broke is permanent")
	}
}

// TestRefused reads the message of an answer that is an error, and when to come again.
func TestRefused(t *testing.T) {
	e, err := newEndpoint("http://127.0.0.1:8000", 1)
	must(t, err)
	for _, c := range []struct{ body, message string }{
		{`{"error":"no such\n\nmodel"}`, "no such model"},
		{"a plain\x1b[2J text\r\n", "a plain [2J text"},
		{`{"error":""}`, `{"error":""}`},
		{strings.Repeat("é", maxWords), strings.Repeat("é", maxWords/2) + "…"},
		{"x" + strings.Repeat("é", maxWords), "x" + strings.Repeat("é", maxWords/2-1) + "…"},
		{strings.Repeat("x", maxWords), strings.Repeat("x", maxWords)},
		{"", ""},
	} {
		res := &http.Response{StatusCode: 500, Body: io.NopCloser(strings.NewReader(c.body))}
		var h *HTTPError
		if !errors.As(e.refused(res), &h) || h.Message != c.message || h.Status != 500 || h.RetryAfter != 0 {
			t.Errorf("%q: %+v", c.body, h)
		}
		text := h.Error()
		if strings.HasSuffix(text, " ") || c.message == "" && !strings.HasSuffix(text, "500") {
			t.Errorf("%q", text)
		}
	}
	for after, want := range map[string]time.Duration{
		"3": 3 * time.Second, "0": 0, "-5": 0, "x": 0, "": 0, "99999999999": 1 << 30 * time.Second,
		"Sat, 01 Jan 2000 00:00:00 GMT":                         0,
		time.Now().Add(time.Hour).UTC().Format(http.TimeFormat): time.Hour,
	} {
		res := &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {after}},
			Body: io.NopCloser(strings.NewReader("busy"))}
		var h *HTTPError
		if !errors.As(e.refused(res), &h) || h.RetryAfter > want || h.RetryAfter < want-time.Minute {
			t.Errorf("%q: %v, want %v", after, h.RetryAfter, want)
		}
	}
}

// TestCost: an endpoint with requests costs more, and what is known of its speed fades.
func TestCost(t *testing.T) {
	now := time.Now()
	e := &endpoint{latency: 2, used: now}
	if got := e.cost(now); got != 2 {
		t.Errorf("idle: %v", got)
	}
	e.inflight = 2
	if got := e.cost(now); got != 6 {
		t.Errorf("with two requests: %v", got)
	}
	if got := e.cost(now.Add(latencyMemory)); math.Abs(got-3) > 1e-9 {
		t.Errorf("after a while: %v", got)
	}
	if got := (&endpoint{inflight: 2}).cost(now); got != 0 {
		t.Errorf("unknown: %v", got)
	}
}

// TestEnlarge: each pixel becomes a square of them.
func TestEnlarge(t *testing.T) {
	m := blank(3, 2)
	copy(m.Pix, []uint8{1, 2, 3, 4, 5, 6})
	if enlarge(m, 1) != m {
		t.Error("once is a copy")
	}
	for _, times := range []int{2, 3} {
		got := enlarge(m, times)
		if got.Rect.Dx() != 3*times || got.Rect.Dy() != 2*times {
			t.Errorf("%d times: %v", times, got.Rect)
			continue
		}
		for i, v := range got.Pix {
			if x, y := i%got.Stride, i/got.Stride; v != m.GrayAt(x/times, y/times).Y {
				t.Errorf("%d times: %d at %d,%d", times, v, x, y)
			}
		}
	}
}

// TestImpossibleFaces: answers about faces that the client did not ask for, or that are not in the image.
func TestImpossibleFaces(t *testing.T) {
	const inside = 1
	face := func(score float64) []float64 { return []float64{0, 1, 1, 5, 5, score} }
	points := func(x, y float64) []float64 {
		p := slices.Repeat([]float64{inside}, pointFields)
		p[4], p[5] = x, y
		return p
	}
	items := []*item{{width: 20, height: 10, luma: blank(20, 10).Rect.Size()}}
	for name, c := range map[string]struct {
		rows, points []float64
		count        float64
		says         string
	}{
		"landmarks in the image":  {face(9), points(10, 5), 1, ""},
		"landmarks beside it":     {face(9), points(40, -10), 1, ""},
		"a landmark far right":    {face(9), points(40.5, 5), 1, "a landmark at 40.5,5"},
		"a landmark far left":     {face(9), points(-20.5, 5), 1, "a landmark at -20.5,5"},
		"a landmark far above":    {face(9), points(5, -10.5), 1, "a landmark at 5,-10.5"},
		"a landmark far below":    {face(9), points(5, 20.5), 1, "a landmark at 5,20.5"},
		"a landmark of NaN":       {face(9), points(math.NaN(), 5), 1, "a landmark at NaN"},
		"as many candidates":      {slices.Repeat(face(2), candidates), nil, candidates, ""},
		"one candidate more":      {slices.Repeat(face(2), candidates+1), nil, 9, "9 candidates"},
		"unreadable with a face":  {face(9), nil, -1, "-1 faces are counted, 1 given"},
		"one inside":              {[]float64{0, 19, 9, 1, 1, 9}, nil, 1, ""},
		"one at each edge":        {[]float64{0, -4.5, -4.5, 5, 5, 9}, nil, 1, ""},
		"one without height":      {[]float64{0, 1, 1, 5, 0, 9}, nil, 1, "a face of 5x0 at 1,1"},
		"one without width":       {[]float64{0, 1, 1, 0, 5, 9}, nil, 1, "a face of 0x5 at 1,1"},
		"one that touches below":  {[]float64{0, 1, 10, 5, 5, 9}, nil, 1, "a face of 5x5 at 1,10"},
		"one that touches left":   {[]float64{0, -5, 1, 5, 5, 9}, nil, 1, "a face of 5x5 at -5,1"},
		"an infinite one":         {[]float64{0, math.Inf(-1), 1, 5, 5, 9}, nil, 1, "a face with -Inf in it"},
		"one that ends nowhere":   {[]float64{0, 1, 1, math.Inf(1), 5, 9}, nil, 1, "a face with +Inf in it"},
		"one too few":             {face(9), nil, 2, "2 faces are counted, 1 given"},
		"none, and unreadable":    {nil, nil, -1, ""},
		"fewer than none":         {nil, nil, -2, "-2 faces are counted, 0 given"},
		"of another image":        {[]float64{1, 1, 1, 5, 5, 9}, nil, 1, "a face in image 1 of 1"},
		"of an image before":      {[]float64{-1, 1, 1, 5, 5, 9}, nil, 1, "a face in image -1 of 1"},
		"of half an image":        {[]float64{0.5, 1, 1, 5, 5, 9}, nil, 1, "a face in image 0.5 of 1"},
		"one that touches":        {[]float64{0, 20, 1, 5, 5, 9}, nil, 1, "a face of 5x5 at 20,1"},
		"one that touches on top": {[]float64{0, 1, -5, 5, 5, 9}, nil, 1, "a face of 5x5 at 1,-5"},
	} {
		_, err := answersOf(detect.Kind{}, items, c.rows, c.points, []float64{c.count}, 5)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// TestOptions: options that make no client are refused, and say what would.
func TestOptions(t *testing.T) {
	url := []string{"unix:///nonexistent/socket"}
	p := detect.Defaults(detect.Pigo)
	wrong := p
	wrong.Shift = 9
	for _, c := range []struct {
		o    Options
		says string
	}{
		{Options{Params: p}, "no URL"},
		{Options{URLs: url, Params: p, Input: "pixels"}, "luma or encoded"},
		{Options{URLs: url, Params: p, Batch: 4097}, "1 to 4096"},
		{Options{URLs: url, Params: p, Batch: -1}, "1 to 4096"},
		{Options{URLs: url, Params: p, Delay: time.Minute + 1}, "up to 1m"},
		{Options{URLs: url, Params: p, Delay: -1}, "up to 1m"},
		{Options{URLs: url, Params: wrong}, "--shift 9"},
		{Options{URLs: url, Params: p, Batch: 4096, Delay: time.Minute}, ErrNoAnswer.Error()},
	} {
		if _, err := New(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.says)
		}
	}
	if err := CheckURL("http://host:8000"); err != nil {
		t.Error(err)
	}
	if err := CheckURL("ftp://host"); err == nil {
		t.Error("ftp is accepted")
	}
}
