package live

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"facescan/store"
)

// registry has the run's metrics, and those of Go and of the process.
func (s *Server) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewBuildInfoCollector(), metrics{s.now})
	if runtime.GOOS == "linux" || runtime.GOOS == "windows" {
		r.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	return r
}

// metrics turns the latest snapshot into metrics. Those that begin with facescan_job_ are of the whole job,
// the same in every process that works on it; the others are this process's, to be summed up.
type metrics struct {
	now func() (Snapshot, error)
}

// descs are all metrics.
var descs []*prometheus.Desc

func desc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("facescan_"+name, help, labels, nil)
	descs = append(descs, d)
	return d
}

var (
	jobRows      = desc("job_rows", "Rows of the job, by state.", "state")
	jobFailures  = desc("job_failures", "Failed rows of the job, by reason.", "reason", "class")
	jobFaces     = desc("job_faces", "Faces found in the job.")
	jobWithFaces = desc("job_images_with_faces", "Images of the job that have faces.")
	jobShards    = desc("job_shards", "Shards of the job, by state.", "state")
	jobOwners    = desc("job_owners", "Processes that joined the job and did not leave it, by state.",
		"state")
	jobImports  = desc("job_incomplete_sources", "Sources that are not read to their end.")
	jobLeft     = desc("job_remaining_seconds", "Estimated time until the job is done; absent if unknown.")
	jobReadable = desc("job_readable", "Whether the job's counters could be read at the last look.")

	rowsTotal      = desc("rows_total", "Rows completed by this process, by status.", "status")
	failuresTotal  = desc("failures_total", "Rows that failed in this process, by reason.", "reason", "class")
	facesTotal     = desc("faces_total", "Faces found by this process.")
	withFacesTotal = desc("images_with_faces_total", "Images with faces found by this process.")
	importedTotal  = desc("imported_rows_total", "Rows read from lists into the job.")
	handedTotal    = desc("dispatched_rows_total", "Rows handed to fetchers.")
	retriesTotal   = desc("retries_total", "Attempts after a row's first.")
	robotsTotal    = desc("robots_requests_total", "Requests for a robots.txt.")
	fallbackTotal  = desc("decode_fallbacks_total",
		"Images that the slower decoder took after the fast one refused.")

	stageFlight   = desc("stage_in_flight", "Rows in the stage; of commit, transactions.", "stage")
	stageCapacity = desc("stage_capacity",
		"Rows in the stage at once, at most; decode and detect share theirs.", "stage")
	stageQueue   = desc("stage_queue_rows", "Rows that wait for the stage.", "stage")
	stageRoom    = desc("stage_queue_limit_rows", "How many rows may wait for the stage.", "stage")
	stageSeconds = desc("stage_duration_seconds", "Time of a row in the stage; of commit, of a transaction.",
		"stage")
	stageBusy = desc("stage_busy_seconds_total",
		"Time summed over the rows in the stage; its increase, divided "+
			"by time and capacity, is the occupancy.", "stage")
	stageBytes = desc("stage_bytes_total",
		"Bytes that the stage took: bodies, their encoded images, pixels of luma.", "stage")

	flightRows  = desc("in_flight_rows", "Rows from the start of their fetch to their commit.")
	flightLimit = desc("in_flight_limit_rows", "How many rows may be in flight.")
	memoryBytes = desc("memory_bytes", "Reserved bytes of the memory budget, by use.", "use")
	memoryLimit = desc("memory_limit_bytes", "Bytes of the memory budget, by use.", "use")

	commitsTotal = desc("commits_total", "Transactions that wrote results.")
	refusedTotal = desc("refused_results_total",
		"Results that were not written because their lease was lost.")
	heldLeases     = desc("leases", "Shards that this process holds.")
	takeoversTotal = desc("takeovers_total", "Shards taken over from dead or silent processes.")
	lostTotal      = desc("leases_lost_total", "Shards that this process lost to others.")
	storeBytes     = desc("store_bytes", "Size of the job's files, or tables: data, and the write-ahead log.",
		"part")

	heldBack = desc("held_back", "What holds this process back: 1 for that, 0 for all else.", "by")
	outageOn = desc("outage",
		"Whether rows wait since this machine is cut off, or its detector unavailable.")
	outageSeconds = desc("outage_seconds", "How long the present outage has lasted; 0 without one.")
)

// Describe implements prometheus.Collector.
func (m metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	v, err := m.now()
	out := sink(ch)
	out.gauge(jobReadable, truth(err == nil))
	out.job(&v)
	out.process(&v)
	for _, s := range v.Stages {
		out.stage(s)
	}
}

// sink is where values go.
type sink chan<- prometheus.Metric

func (out sink) gauge(d *prometheus.Desc, x float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, x, labels...)
}

func (out sink) counter(d *prometheus.Desc, n int64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
}

func (out sink) job(v *Snapshot) {
	c := v.Counts
	out.gauge(jobRows, float64(c.OK), "ok")
	out.gauge(jobRows, float64(c.Failed), "failed")
	out.gauge(jobRows, float64(c.Pending), "pending")
	out.gauge(jobRows, float64(c.AlreadyDone), "already_done")
	for _, r := range store.Reasons("") { // all of them, so that a first failure is an increase
		out.gauge(jobFailures, float64(c.Failures[r]), string(r), string(r.Class()))
	}
	out.gauge(jobFaces, float64(c.Faces))
	out.gauge(jobWithFaces, float64(c.ImagesWithFaces))
	out.gauge(jobShards, float64(c.Shards.Done), "done")
	out.gauge(jobShards, float64(c.Shards.Free), "free")
	out.gauge(jobShards, float64(c.Shards.Leased), "leased")
	alive := 0
	for _, o := range c.Owners {
		if o.Alive {
			alive++
		}
	}
	out.gauge(jobOwners, float64(alive), "alive")
	out.gauge(jobOwners, float64(len(c.Owners)-alive), "gone")
	out.gauge(jobImports, float64(len(c.ImportIncomplete)))
	if v.Left >= 0 {
		out.gauge(jobLeft, v.Left.Seconds())
	}
}

func (out sink) process(v *Snapshot) {
	for _, r := range store.Reasons("") {
		out.counter(failuresTotal, v.Own.Failures[r], string(r), string(r.Class()))
	}
	out.counter(rowsTotal, v.Own.OK, "ok")
	out.counter(rowsTotal, v.Own.Failed, "failed")
	out.counter(facesTotal, v.Own.Faces)
	out.counter(withFacesTotal, v.Own.ImagesWithFaces)
	out.counter(importedTotal, v.Imported)
	out.counter(handedTotal, v.Dispatched)
	out.counter(retriesTotal, v.Retries)
	out.counter(robotsTotal, v.Robots)
	out.counter(fallbackTotal, v.Fallbacks)
	out.gauge(flightRows, float64(v.InFlight))
	out.gauge(flightLimit, float64(v.MaxInFlight))
	out.gauge(memoryBytes, float64(v.Bodies.Used), "bodies")
	out.gauge(memoryBytes, float64(v.Pixels.Used), "pixels")
	out.gauge(memoryLimit, float64(v.Bodies.Limit), "bodies")
	out.gauge(memoryLimit, float64(v.Pixels.Limit), "pixels")
	out.counter(refusedTotal, v.Refused)
	out.gauge(heldLeases, float64(v.Held))
	out.counter(takeoversTotal, v.Takeovers)
	out.counter(lostTotal, v.LeasesLost)
	out.gauge(storeBytes, float64(v.Data), "data")
	out.gauge(storeBytes, float64(v.Log), "log")
	for _, kind := range Holdups {
		out.gauge(heldBack, truth(v.Holdup.Kind == kind && v.End == ""), kind)
	}
	out.gauge(outageOn, truth(v.Outage))
	out.gauge(outageSeconds, v.OutageFor.Seconds())
}

func (out sink) stage(s Stage) {
	out.gauge(stageFlight, float64(s.InFlight), s.Name)
	out.gauge(stageCapacity, float64(s.Capacity), s.Name)
	out.gauge(stageQueue, float64(s.Queue), s.Name)
	if s.Room > 0 {
		out.gauge(stageRoom, float64(s.Room), s.Name)
	}
	out.counter(stageBytes, s.Bytes, s.Name)
	out <- prometheus.MustNewConstMetric(stageBusy, prometheus.CounterValue, s.Busy.Seconds(), s.Name)
	within, sum := map[float64]uint64{}, uint64(0)
	for i, bound := range Buckets {
		sum += uint64(s.Buckets[i])
		within[bound] = sum
	}
	out <- prometheus.MustNewConstHistogram(stageSeconds, uint64(s.Rows), s.Took.Seconds(), within, s.Name)
	if s.Name == "commit" {
		out.counter(commitsTotal, s.Rows)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
