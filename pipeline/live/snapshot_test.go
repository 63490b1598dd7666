package live_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"facescan/pipeline/live"
	"facescan/store"
)

// TestSnapshotJSON: users' scripts find each figure by its name; what is unknown, or not looked for, is null.
func TestSnapshotJSON(t *testing.T) {
	s := view()
	s.Now = s.Start.Add(90 * time.Second)
	check := func(want map[string]string) {
		t.Helper()
		b, err := json.Marshal(&s)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]json.RawMessage
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		for name, text := range want {
			if string(got[name]) != text {
				t.Errorf("%s: %s, want %s", name, got[name], text)
			}
		}
	}
	check(map[string]string{"elapsed_seconds": "90", "total": "5000000", "done": "432100",
		"pending":      "4567900",
		"already_done": "0", "ok": "400000", "failed": "32100", "faces": "234567",
		"images_with_faces": "123456",
		"failures":          `{"http_4xx":30000,"opt_out":100,"timeout":2000}`, "rate": "1234.5", "own_rate": "600",
		"eta_seconds": "3700", "shards": `{"total":500,"done":43,"free":450,"leased":7}`, "in_flight": "200",
		"waiting": "0", "outage": "false", "held_back_by": `"workers"`,
		"held_back": `"the workers (94% busy): 2 rows wait; more --workers may help"`})
	s.Left, s.Detector, s.Holdup, s.Outage = -1, store.NoDetector, live.Holdup{}, true
	s.Failures = map[store.Reason]int64{store.Timeout: 0, store.TLS: 1}
	check(map[string]string{"eta_seconds": "null", "faces": "null", "images_with_faces": "null",
		"held_back_by": "null", "held_back": "null", "outage": "true", "failures": `{"tls":1}`,
		"detector": `"none"`})
	s.Detector, s.Left = "yunet min-face=20", 0
	check(map[string]string{"detector": `"yunet"`, "faces": "234567", "eta_seconds": "0"})
}

// TestEstimate: the time left is that of the pending rows, or of the slowest host. It is unknown without a
// rate and while lists are read.
func TestEstimate(t *testing.T) {
	for what, c := range map[string]struct {
		pending    int64
		rate, own  float64
		slowest    time.Duration
		incomplete []string
		wantRate   float64
		want       time.Duration
	}{
		"a rate":           {100, 4, 2, 0, nil, 4, 25 * time.Second},
		"its own rate":     {100, 4, 5, 0, nil, 5, 20 * time.Second},
		"a slow rate":      {1, 0.25, 0, 0, nil, 0.25, 4 * time.Second},
		"one row":          {1, 1, 0, 0, nil, 1, time.Second},
		"a slow host":      {100, 4, 2, time.Minute, nil, 4, time.Minute},
		"no rate":          {1, 0, 0, time.Minute, nil, 0, -1},
		"done":             {0, 0, 0, time.Minute, nil, 0, 0},
		"a list is read":   {0, 4, 2, 0, []string{"a"}, 4, -1},
		"lists to be read": {9, 4, 2, 0, []string{"a", "b"}, 4, -1},
	} {
		s := live.Snapshot{Counts: store.Counts{Pending: c.pending, ImportIncomplete: c.incomplete},
			Rate: c.rate, OwnRate: c.own, Slowest: c.slowest, Left: time.Hour}
		if s.Estimate(); s.Left != c.want || s.Rate != c.wantRate {
			t.Errorf("%s: %v at %v, want %v at %v", what, s.Left, s.Rate, c.want, c.wantRate)
		}
	}
}

// TestImageJSON: what the page draws of an image. A link without its password leads nowhere, so there is
// none.
func TestImageJSON(t *testing.T) {
	many := make([]store.Face, 101)
	for i := range many {
		many[i] = store.Face{X: i, Y: 2, Width: 3, Height: 4, Score: 0.12346}
	}
	for _, c := range []struct {
		i     live.Image
		link  string
		faces int
		boxes int
	}{
		{live.Image{URL: "http://h.example/b.jpg", Faces: many}, "http://h.example/b.jpg", 101, 100},
		{live.Image{URL: "http://h.example/b.jpg", Faces: many[:100]}, "http://h.example/b.jpg", 100, 100},
		{live.Image{URL: "http://u:***@h.example/a%20b.jpg", Faces: many[:1]}, "", 1, 1},
	} {
		b, err := json.Marshal(c.i)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Link   string
			Faces  int
			Boxes  [][]float64
			Scores []float64
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		last := c.boxes - 1
		if got.Link != c.link || got.Faces != c.faces || len(got.Boxes) != c.boxes ||
			len(got.Scores) != c.boxes || got.Scores[last] != 0.1235 ||
			!slices.Equal(got.Boxes[last], []float64{float64(last), 2, 3, 4}) {
			t.Errorf("%s", b)
		}
	}
}

// TestHoldup: what holds a run back in words, and in which stage it is. Every kind is one of Holdups, once.
func TestHoldup(t *testing.T) {
	stages := map[string]string{}
	for _, kind := range live.Holdups {
		if _, twice := stages[kind]; twice {
			t.Errorf("%s is there twice", kind)
		}
		stages[kind] = live.Holdup{Kind: kind}.Stage()
	}
	for kind, want := range map[string]string{live.ByRate: "fetch", live.ByFiles: "fetch",
		live.ByWorkers: "decode", live.BySidecar: "detect", live.ByStore: "commit", live.ByKeep: "commit",
		live.ByImport: ""} {
		if got, known := stages[kind]; got != want || !known {
			t.Errorf("%s is in %q, want %q", kind, got, want)
		}
	}
	for want, h := range map[string]live.Holdup{"": {}, "a": {What: "a"}, "a: b": {What: "a", Detail: "b"},
		"a; c": {What: "a", Advice: "c"}, "a: b; c": {What: "a", Detail: "b", Advice: "c"}} {
		if got := h.String(); got != want {
			t.Errorf("%+v: %q, want %q", h, got, want)
		}
	}
}
