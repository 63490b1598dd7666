package turbo

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// TestMeans: the C code rounds every mean as plain Go does, with weights of any sign and for rows of any
// length.
func TestMeans(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for taps, want := range map[int]int{1: TapsMultiple, TapsMultiple: TapsMultiple,
		TapsMultiple + 1: 2 * TapsMultiple, 3 * TapsMultiple: 3 * TapsMultiple} {
		if w := NewWeights(100, 2, taps); w.Taps != want || len(w.High) != 2*want || len(w.Low) != 2*want {
			t.Errorf("room for %d weights: %d per mean, want %d", taps, w.Taps, want)
		}
	}
	var wide []int16
	for range 300 {
		width, rows, n := 1+rng.IntN(200), rng.IntN(20), 1+rng.IntN(40)
		w := NewWeights(width, n, 1+rng.IntN(width))
		for k := range n {
			w.First[k] = int32(rng.IntN(width))
			for i := range min(w.Taps, width-int(w.First[k])) {
				share := rng.NormFloat64() / 4
				w.Set(k, i, share)
				at := k*w.Taps + i
				got := float64(int32(w.High[at])<<weightShift+int32(w.Low[at])) / (1 << weightWhole)
				if math.Abs(got-share) > 0.51/(1<<weightWhole) || w.Low[at] < 0 {
					t.Fatalf("%v is stored as %v", share, got)
				}
			}
		}
		src := make([]byte, width*rows)
		for i := range src {
			src[i] = byte(rng.Uint32()) | byte(rng.IntN(2)*255)
		}
		got, want := make([]byte, n*rows), make([]byte, n*rows)
		wide = w.Means(got, src, rows, wide)
		plainMeans(w, want, src, rows)
		if !bytes.Equal(got, want) {
			t.Fatalf("%d means of %d rows of %d pixels, %d weights: %v, want %v", n, rows, width, w.Taps, got,
				want)
		}
	}
}
