package keep

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"facescan/store"
)

// BenchmarkKeep is what keeping costs for a photo of 320x400 with one face, synced a hundred at a time; CPU
// time, since the disk's is its own matter.
func BenchmarkKeep(b *testing.B) {
	body, err := os.ReadFile(filepath.Join("..", "..", "detect", "testdata", "faces.jpg"))
	ok(b, err)
	cpu := func() time.Duration {
		var u unix.Rusage
		ok(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	for _, c := range []struct {
		name string
		o    Options
	}{{"bodies", Options{Bodies: "x"}}, {"crops", Options{Crops: "x", Margin: 0.25}},
		{"blurred", Options{Blurred: "x"}}} {
		b.Run(c.name, func(b *testing.B) {
			for _, dir := range []*string{&c.o.Bodies, &c.o.Crops, &c.o.Blurred} {
				if *dir != "" {
					*dir = b.TempDir()
				}
			}
			c.o.Job = newJob(b)
			k := start(b, c.o)
			img := judged(body, "jpeg", twoFaces[:1], 1)
			var results []store.Result
			begin := cpu()
			for i := 0; b.Loop(); i++ {
				img.Rows[0] = row(int64(i + 1))
				out, err := k.Keep(context.Background(), img)
				ok(b, err)
				if results = append(results, resultsOf(img, out)...); len(results) == 100 {
					ok(b, k.Stage(lease(), results))
					ok(b, k.Done(b.Context(), lease(), results))
					results = results[:0]
				}
			}
			b.ReportMetric(float64((cpu()-begin).Microseconds())/float64(b.N)/1000, "cpu-ms/image")
			ok(b, k.Close())
		})
	}
}
