package sidecar

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"facescan/detect"
)

// BenchmarkOverhead is what asking costs, both processes together: luma of 500x375, a detector that finds
// nothing at once. The figure that counts is cpu-ms/image.
func BenchmarkOverhead(b *testing.B) {
	for _, input := range []Input{Luma, Encoded} {
		for _, where := range []string{"unix", "tcp"} {
			b.Run(string(input)+"/"+where, func(b *testing.B) {
				st := newStand(b, ServerOptions{Open: opens(blind{}), Queue: 4096,
					Decode: func([]byte, detect.Params) (Picture, error) {
						return Picture{Luma: blank(1, 1), Scale: 1}, nil
					}})
				if where == "tcp" {
					st.tcp()
				}
				st.start()
				c := client(b, Options{URLs: []string{st.URL}, Delay: 5 * time.Millisecond, Input: input})
				img := detect.Image{Luma: blank(500, 375), Scale: 1}
				if input == Encoded {
					img.Encoded = make([]byte, 85_000)
				}
				work := make(chan struct{}, 256)
				var callers sync.WaitGroup
				for range 256 {
					callers.Go(func() {
						for range work {
							answer, err := c.Ask(b.Context(), img)
							if err == nil {
								_, err = answer()
							}
							if err != nil {
								b.Error(err)
							}
						}
					})
				}
				b.ReportAllocs()
				b.ResetTimer()
				before := cpu(b)
				for range b.N {
					work <- struct{}{}
				}
				close(work)
				callers.Wait()
				b.ReportMetric((cpu(b)-before).Seconds()*1000/float64(b.N), "cpu-ms/image")
			})
		}
	}
}

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
