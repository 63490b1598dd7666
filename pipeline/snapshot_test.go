package pipeline

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"facescan/pipeline/live"
	"facescan/store"
)

// TestSnapshot: what a run shows of itself is what happened.
func TestSnapshot(t *testing.T) {
	var paths []string
	for i := range 30 {
		paths = append(paths, fmt.Sprintf("/i/%d/x.png", i))
	}
	paths = append(paths, "/status/404/1", "/status/404/2", "/status/500/3")
	b := newBench(t, two, paths...)
	withUser := strings.Replace(b.server.URL, "//", "//user:secret@",
		1) + "/f/a.png\n" // last, so that it is among the latest
	b.ok(appendTo(b.list, withUser))
	b.opts.Retries, b.opts.Fetchers = 0, 4
	if end, err := b.run(); err != nil || end != Finished {
		t.Fatal(end, err)
	}
	v, err := b.stats.Look(t.Context(), b.job)
	if err != nil {
		t.Fatal(err)
	}
	if v.Own.OK != 31 || v.Own.Failed != 3 || v.Own.Faces != 31 || v.Own.ImagesWithFaces != 31 ||
		v.Counts.Done != 34 || v.Own.Failures[store.HTTP4xx] != 2 || v.Left != 0 ||
		v.InFlight != 0 || v.MaxInFlight != 8 || v.Imported != 34 || v.Dispatched != 34 || v.Data == 0 ||
		v.Rate <= 0 || v.OwnRate <= 0 {
		t.Errorf("%+v", v)
	}
	for i, want := range []struct {
		name     string
		rows     int64
		capacity int
		shares   bool
	}{{"fetch", 34, 6, false}, {"decode", 31, 2, false}, {"detect", 31, 2, true},
		{"commit", v.Stages[3].Rows, 1, false}} {
		s := v.Stages[i]
		var counted int64
		for _, n := range s.Buckets {
			counted += n
		}
		if s.Name != want.name || s.Rows != want.rows || s.Capacity != want.capacity ||
			s.Shares != want.shares || s.InFlight != 0 || s.Queue != 0 ||
			s.Took <= 0 || s.Busy < s.Took*9/10 || counted > s.Rows || s.Rows == 0 {
			t.Errorf("stage %d: %+v, want %+v", i, s, want)
		}
		if i < 3 && s.Bytes == 0 {
			t.Errorf("%s moved no bytes", s.Name)
		}
	}
	urls := ""
	for _, img := range v.Latest {
		urls += img.URL + " "
		if len(img.Faces) != 1 || img.Width == 0 || img.Height == 0 {
			t.Errorf("latest: %+v", img)
		}
	}
	if len(v.Latest) != latestKept || strings.Contains(urls, "secret") || !strings.Contains(urls,
		"user:***@") {
		t.Errorf("latest: %s", urls)
	}
	if host := strings.TrimPrefix(b.server.URL, "http://"); len(v.Hosts) != 1 || v.Hosts[0].Name != host ||
		v.Hosts[0].Failed != 3 {
		t.Errorf("hosts: %+v", v.Hosts)
	}
}

// TestSnapshotBeforeTheRun: who looks early sees the job, and no stages.
func TestSnapshotBeforeTheRun(t *testing.T) {
	b := newBench(t, two, "/f/a.png")
	v, err := (&Stats{}).Look(t.Context(), b.job)
	if err != nil || v.Stages != nil || v.Now.Sub(v.Start) > time.Minute {
		t.Errorf("%+v %v", v, err)
	}
	b.job.Close()
	if _, err := (&Stats{}).Look(t.Context(), b.job); err == nil {
		t.Error("a job that cannot be read is not told")
	}
}

// TestEstimate: the time left is that of the pending rows, and of the slowest host.
func TestEstimate(t *testing.T) {
	pending := store.Counts{Pending: 600}
	for _, c := range []struct {
		s    live.Snapshot
		want time.Duration
	}{
		{live.Snapshot{Counts: pending, OwnRate: 10}, time.Minute},
		{live.Snapshot{Counts: pending, OwnRate: 10, Rate: 30}, 20 * time.Second},
		{live.Snapshot{Counts: pending, OwnRate: 10, Slowest: 5 * time.Minute}, 5 * time.Minute},
		{live.Snapshot{Counts: pending}, -1},
		{live.Snapshot{Counts: store.Counts{}, Slowest: time.Hour}, 0},
		{live.Snapshot{Counts: store.Counts{Pending: 6, ImportIncomplete: []string{"x"}}, OwnRate: 10}, -1},
	} {
		if c.s.Estimate(); c.s.Left != c.want {
			t.Errorf("%+v: %v, want %v", c.s, c.s.Left, c.want)
		}
	}
}
