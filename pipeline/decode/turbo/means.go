package turbo

// Weights are those of N means of a row of Width pixels. The weights of a mean are numbers of which 1<<22 is
// a whole, in two halves: high<<11 + low.
type Weights struct {
	Width, N  int
	Taps      int     // weights of a mean, a multiple of TapsMultiple; those beyond the row are 0
	First     []int32 // the first pixel of each mean
	High, Low []int16 // Taps of each mean
}

const (
	// TapsMultiple is what Weights.Taps is a multiple of.
	TapsMultiple = 16
	weightShift  = 11
	weightWhole  = 22
)

// NewWeights makes room for n means of up to taps of the pixels of a row.
func NewWeights(width, n, taps int) *Weights {
	taps = (taps + TapsMultiple - 1) / TapsMultiple * TapsMultiple
	return &Weights{Width: width, N: n, Taps: taps, First: make([]int32, n), High: make([]int16, n*taps),
		Low: make([]int16, n*taps)}
}

// Set sets the i-th weight of a mean, as a share of 1.
func (w *Weights) Set(mean, i int, share float64) {
	v := share * (1 << weightWhole)
	if v < 0 {
		v -= 0.5
	} else {
		v += 0.5
	}
	at := mean*w.Taps + i
	w.High[at], w.Low[at] = int16(int32(v)>>weightShift), int16(int32(v)&(1<<weightShift-1))
}

// Means writes the means of each of the rows of src, which are contiguous, to dst, rounded to 8 bits. The
// picture that comes out is turned: dst has a row for each mean, with a pixel for each row of src. wide is
// scratch that it may grow.
func (w *Weights) Means(dst, src []byte, rows int, wide []int16) []int16 {
	if need := w.Width + w.Taps; cap(wide) < need {
		wide = make([]int16, need)
	}
	means(w, dst[:w.N*rows], src[:w.Width*rows], rows, wide[:cap(wide)])
	return wide
}

// plainMeans is Means in plain Go.
func plainMeans(w *Weights, dst, src []byte, rows int) {
	for y := range rows {
		row := src[y*w.Width:][:w.Width]
		for k := range w.N {
			at := k * w.Taps
			sum := int32(1) << (weightWhole - 1)
			for i, v := range row[w.First[k]:min(int(w.First[k])+w.Taps, w.Width)] {
				sum += int32(v) * (int32(w.High[at+i])<<weightShift + int32(w.Low[at+i]))
			}
			dst[k*rows+y] = uint8(min(255, max(0, sum>>weightWhole)))
		}
	}
}
