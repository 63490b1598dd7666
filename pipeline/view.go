package pipeline

import (
	"context"
	"time"

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

// shown is what is kept for those who watch a run.
type shown struct {
	job    meter // rows of the whole job, as far as it was looked at
	latest []live.Image
	hosts  *top.Counter[string, store.Reason] // by failures; the value is the latest one's reason
}

// saw counts what all processes did since the job was last looked at.
func (s *shown) saw(now time.Time, was, is store.Counts) {
	if n := is.Done - was.Done; n > 0 { // retry takes some away
		s.job.add(now, n)
	}
}

// note keeps what is worth showing of a result.
func (s *shown) note(r *store.Result) {
	switch {
	case r.Status == store.Failed:
		if s.hosts == nil {
			s.hosts = top.New[string, store.Reason](hostsKept)
		}
		if host := fetch.Host(r.URL); host != "" {
			s.hosts.Add(host, 1).Value = r.Reason
		}
	case len(r.Faces) > 0:
		if len(s.latest) == latestKept {
			copy(s.latest, s.latest[1:])
			s.latest = s.latest[:latestKept-1]
		}
		s.latest = append(s.latest, live.Image{ID: r.ID, URL: r.URL, Width: r.Width, Height: r.Height, Faces: r.Faces})
	}
}

// View is all that there is to show.
func (s *Stats) View() live.View {
	snap := s.Snapshot()
	s.mu.Lock()
	r := s.run
	s.mu.Unlock()
	v := live.View{
		Now: time.Now(), Counts: snap.Job, JobRate: snap.JobRate, Left: snap.Left(), Rate: snap.Rate,
		OK: snap.OK, Failed: snap.Failed, Faces: snap.Faces, ImagesWithFaces: snap.ImagesWithFaces, Failures: snap.Failures,
		InFlight: snap.InFlight, Imported: s.Imported.Load(), Dispatched: s.Dispatched.Load(), Retries: s.Retries.Load(),
		Fallbacks: s.Fallbacks.Load(), Refused: s.Refused.Load(), Takeovers: s.Takeovers.Load(), LeasesLost: s.LeasesLost.Load(),
		Outage: snap.Outage.On, Cause: snap.Outage.Cause, Detector: snap.Detector, Holdup: snap.Holdup,
	}
	v.Start = v.Now.Add(-snap.Elapsed)
	if v.Outage {
		v.OutageFor = v.Now.Sub(snap.Outage.Since)
	}
	if r == nil {
		return v
	}
	v.MaxInFlight = cap(r.inflight)
	v.Bodies = live.Memory{Used: r.budget.bodies.now(), Limit: r.budget.bodies.size}
	v.Pixels = live.Memory{Used: r.budget.pixels.now(), Limit: r.budget.pixels.size}
	held, _ := r.leases.count()
	v.Held = int64(held)

	fetching := s.Fetching.view("fetch", r.Fetchers+r.Slow())
	fetching.Queue, fetching.Room = snap.Waiting, r.window()
	decoding := s.Decoding.view("decode", r.Workers)
	decoding.Queue, decoding.Room = len(r.fetched), cap(r.fetched)
	committing := s.Committing.view("commit", 1)
	committing.Queue, committing.Room = len(r.results), cap(r.results)
	detecting := s.Detecting.view("detect", r.workers())
	detecting.Shares = r.workers() == r.Workers
	v.Stages = []live.Stage{fetching, decoding, detecting, committing}

	s.mu.Lock()
	for i := len(s.shown.latest) - 1; i >= 0; i-- {
		img := s.shown.latest[i]
		img.URL = fetch.Redact(img.URL)
		v.Latest = append(v.Latest, img)
	}
	if s.shown.hosts != nil {
		for _, e := range s.shown.hosts.Top(hostsShown) {
			v.Hosts = append(v.Hosts, live.Host{Name: e.Key, Failed: e.Count, Reason: e.Value})
		}
	}
	s.mu.Unlock()
	v.Hosts = r.queued(v.Hosts, v.Now)
	return v
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
		h.Waiting, h.InFlight, h.Limit, h.Ceiling, h.Dead = info.Waiting, info.InFlight, info.Limit, int(info.Ceiling), info.Dead != nil
		h.Pause = max(0, info.Until.Sub(now))
	}
	return hosts
}

// Look reads the job's counters and returns all that there is to show. When they cannot be read the rest is shown all the same.
func (s *Stats) Look(ctx context.Context, job store.Job) (live.View, error) {
	c, err := job.Counts(ctx)
	if err == nil {
		s.See(c)
	}
	v := s.View()
	if err == nil {
		v.Data, v.Log, err = job.Size(ctx)
	}
	return v, err
}
