package pipeline

import (
	"context"
	"maps"
	"slices"
	"time"

	"facescan/detect"
	"facescan/pipeline/fetch"
	"facescan/pipeline/live"
	"facescan/store"
	"facescan/store/top"
)

const (
	latestKept = 12      // images with faces that are shown
	hostsShown = 10      // hosts that are
	hostsKept  = 1 << 12 // hosts whose failures are counted
)

// note keeps what the page shows of a result; the caller holds the lock.
func (s *Stats) note(r *store.Result) {
	switch {
	case r.Status == store.Failed:
		if s.failing == nil {
			s.failing = top.New[string, store.Reason](hostsKept)
		}
		if host := fetch.Host(r.URL); host != "" {
			s.failing.Add(host, 1).Value = r.Reason
		}
	case len(r.Faces) > 0 && (s.pictures == nil || s.pictures.JPEG(r.ID) != nil):
		if len(s.latest) == latestKept {
			s.latest = slices.Delete(s.latest, 0, 1)
		}
		s.latest = append(s.latest,
			live.Image{ID: r.ID, URL: r.URL, Width: r.Width, Height: r.Height, Faces: r.Faces})
	}
}

// Snapshot reads all figures at once, but for those that only Look has.
func (s *Stats) Snapshot() live.Snapshot {
	r := s.run.Load()
	v := live.Snapshot{
		Imported: s.Imported.Load(), Dispatched: s.Dispatched.Load(), Retries: s.Retries.Load(),
		Fallbacks: s.Fallbacks.Load(), Refused: s.Refused.Load(), Takeovers: s.Takeovers.Load(),
		LeasesLost: s.LeasesLost.Load(),
	}
	if r != nil { // asked without the lock: the queue reports outages under its own
		r.describe(&v)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v.Now = time.Now()
	v.Start = s.start
	if r == nil {
		v.Start = v.Now
	}
	v.Counts, v.Slowest, v.Rate = s.job, s.slowest, s.jobMeter.rate(v.Now)
	v.Own, v.OwnRate = s.own, s.ownMeter.rate(v.Now)
	v.Own.Failures = maps.Clone(s.own.Failures)
	v.Estimate()
	if !s.tail.IsZero() {
		v.Tail = v.Now.Sub(s.tail)
	}
	v.Holdup, v.Mostly = s.holdups.latest(), s.holdups.most()
	if v.Outage, v.Cause = s.outage.On, s.outage.Cause; v.Outage {
		v.OutageFor = v.Now.Sub(s.outage.Since)
		v.Holdup = s.outageHoldup() // diagnosed at once
	}
	return v
}

// outageHoldup is what the present outage is called; the caller holds the lock.
func (s *Stats) outageHoldup() live.Holdup {
	l := load{outage: s.outage, away: s.away}
	if r := s.run.Load(); r != nil {
		_, l.remote = r.Detector.(detect.Remote)
	}
	return l.holdup()
}

// describe fills in what the stages of a run do now.
func (r *run) describe(v *live.Snapshot) {
	v.Detector = r.detectorName()
	v.Robots = r.Fetcher.RobotsRequests()
	v.Waiting, v.InFlight, v.MaxInFlight = r.queue.Waiting(), len(r.inflight), cap(r.inflight)
	v.Bodies = live.Memory{Used: r.budget.bodies.now(), Limit: r.budget.bodies.size}
	v.Pixels = live.Memory{Used: r.budget.pixels.now(), Limit: r.budget.pixels.size}
	held, _ := r.leases.count()
	v.Held = int64(held)
	s := r.stats
	fetching := s.Fetching.view("fetch", r.Fetchers+r.Slow())
	fetching.Queue, fetching.Room = v.Waiting, r.window()
	decoding := s.Decoding.view("decode", r.Workers)
	decoding.Queue, decoding.Room = len(r.fetched), cap(r.fetched)
	committing := s.Committing.view("commit", 1)
	committing.Queue, committing.Room = len(r.results), cap(r.results)
	detecting := s.Detecting.view("detect", r.workers())
	detecting.Shares = r.workers() == r.Workers
	v.Stages = []live.Stage{fetching, decoding, detecting, committing}
}

// Look reads the job's counters and returns all figures, those for the page too. When the counters cannot be
// read, the rest is returned all the same.
func (s *Stats) Look(ctx context.Context, job store.Job) (live.Snapshot, error) {
	c, err := job.Counts(ctx)
	if err == nil {
		s.See(c)
	}
	v := s.Snapshot()
	if err == nil {
		v.Data, v.Log, err = job.Size(ctx)
	}
	s.mu.Lock()
	for _, img := range slices.Backward(s.latest) {
		img.URL = store.Redact(img.URL)
		img.Picture = s.pictures != nil && s.pictures.JPEG(img.ID) != nil
		v.Latest = append(v.Latest, img)
	}
	if s.failing != nil {
		for _, e := range s.failing.Top(hostsShown) {
			v.Hosts = append(v.Hosts, live.Host{Name: e.Key, Failed: e.Count, Reason: e.Value})
		}
	}
	s.mu.Unlock()
	if r := s.run.Load(); r != nil {
		v.Hosts = r.queued(v.Hosts, v.Now)
	}
	return v, err
}

// queued adds what the queue knows about the hosts, and, while there is room, those that most rows wait for.
func (r *run) queued(hosts []live.Host, now time.Time) []live.Host {
	at := map[string]int{}
	for i, h := range hosts {
		at[h.Name] = i
	}
	for _, info := range r.queue.Hosts(r.window()) {
		i, known := at[info.Host]
		switch {
		case known:
		case len(hosts) < hostsShown && info.Host != "" && info.Waiting > 0:
			i, hosts = len(hosts), append(hosts, live.Host{Name: info.Host})
		default:
			continue
		}
		h := &hosts[i]
		h.Waiting, h.InFlight, h.Limit = info.Waiting, info.InFlight, info.Limit
		h.Ceiling, h.Dead = int(info.Ceiling), info.Dead != nil
		h.Pause = max(0, info.Until.Sub(now))
	}
	return hosts
}
