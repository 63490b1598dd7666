package live

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"facescan/store"
)

// BenchmarkLook is what being watched costs a run, once a second.
func BenchmarkLook(b *testing.B) {
	v := Snapshot{Start: time.Now(), Stages: make([]Stage, 4), Hosts: make([]Host, 10),
		Counts: store.Counts{Failures: map[store.Reason]int64{store.Timeout: 3}}}
	for i := range 12 {
		v.Latest = append(v.Latest, Image{URL: fmt.Sprintf("http://h.example/%d.jpg", i),
			Faces: make([]store.Face, 3)})
	}
	s := &Server{changed: make(chan struct{}), o: Options{Log: slog.New(slog.DiscardHandler),
		Look: func(context.Context) (Snapshot, error) {
			v.Now = v.Now.Add(time.Second)
			return v, nil
		}}}
	for range points {
		s.see(b.Context(), "")
	}
	for b.Loop() {
		s.see(b.Context(), "")
	}
	b.ReportMetric(float64(len(s.event)), "B/event")
}
