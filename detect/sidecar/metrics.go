package sidecar

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the server's.
type metrics struct {
	handler  http.Handler
	requests *prometheus.CounterVec
	images   *prometheus.CounterVec
	faces    prometheus.Counter
	batches  prometheus.Histogram
	seconds  prometheus.Histogram
}

// newMetrics makes the metrics; waiting is how many images are in the queue.
func newMetrics(waiting func() int) *metrics {
	const space = "facescan_sidecar_"
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: space + "requests_total",
			Help: "Inference requests, by status code of the answer."}, []string{"code"}),
		images: prometheus.NewCounterVec(prometheus.CounterOpts{Name: space + "images_total",
			Help: "Images, processed (judged) or unreadable."}, []string{"outcome"}),
		faces: prometheus.NewCounter(prometheus.CounterOpts{Name: space + "faces_total",
			Help: "Faces found."}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{Name: space + "batch_images",
			Help: "Images in a call of the detector.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: space + "detect_seconds",
			Help: "Duration of a call of the detector.", Buckets: prometheus.ExponentialBuckets(1e-4,
				4, 10)}),
	}
	queued := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: space + "waiting_images",
		Help: "Images in the queue."}, func() float64 { return float64(waiting()) })
	r := prometheus.NewRegistry()
	r.MustRegister(m.requests, m.images, m.faces, m.batches, m.seconds, queued, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.handler = promhttp.HandlerFor(r, promhttp.HandlerOpts{})
	return m
}
