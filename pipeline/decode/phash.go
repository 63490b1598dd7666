package decode

import (
	"image"
	"math"
	"math/bits"
	"slices"

	"facescan/pipeline/decode/turbo"
)

// The perceptual hash is the one that Python's imagehash calls phash, bit by bit: the picture's luma, as
// stored, is resampled to 32 x 32 pixels as Pillow does with a Lanczos window; of the cosine transform (DCT
// II in both directions) the 8 x 8 lowest frequencies are compared with their median. Luma is that of this
// package: of a JPEG it is what the file holds, where imagehash computes it from RGB, which may change a bit
// or two.
const (
	hashSide  = 32   // of the resampled picture
	hashLow   = 8    // frequencies in each direction
	lanczos   = 3    // lobes of the window
	hashSizes = 4    // lengths whose weights are kept
	hashKeeps = 8192 // pixels, the longest of these
)

// hasher computes perceptual hashes. It is not safe for use by several goroutines at once.
type hasher struct {
	weights []*turbo.Weights // the latest first
	wide    []int16
	turned  []byte
	small   [hashSide * hashSide]byte
}

// hash is the hash of a picture whose rows are contiguous: its first bit, the highest, is that of the
// picture's mean, then the first row's others follow from the lowest frequency on.
func (h *hasher) hash(m *image.Gray) uint64 {
	width, height := m.Rect.Dx(), m.Rect.Dy()
	// Which direction comes first is Pillow's choice (as of version 13), and shows in the rounding.
	if height > hashSide && height-hashSide > 2*(width-hashSide) {
		h.narrowTall(m)
	} else {
		h.turned = grow(h.turned, hashSide*height)
		h.wide = h.of(width).Means(h.turned, m.Pix, height, h.wide)
		h.wide = h.of(height).Means(h.small[:], h.turned, hashSide, h.wide)
	}
	return hashOf(&h.small)
}

// narrowTall makes the small picture of a tall one: its columns first, a strip of them at a time.
func (h *hasher) narrowTall(m *image.Gray) {
	const strip = 16
	width, height := m.Rect.Dx(), m.Rect.Dy()
	var means [hashSide * strip]byte
	h.turned = grow(h.turned, strip*height+hashSide*width)
	columns, short := h.turned[:strip*height], h.turned[strip*height:]
	for x := 0; x < width; x += strip {
		n := min(strip, width-x)
		for y := range height {
			for i, v := range m.Pix[y*width+x:][:n] {
				columns[i*height+y] = v
			}
		}
		h.wide = h.of(height).Means(means[:], columns, n, h.wide)
		for k := range hashSide {
			copy(short[k*width+x:], means[k*n:][:n])
		}
	}
	var turned [hashSide * hashSide]byte
	h.wide = h.of(width).Means(turned[:], short, hashSide, h.wide)
	for x := range hashSide {
		for y := range hashSide {
			h.small[y*hashSide+x] = turned[x*hashSide+y]
		}
	}
}

// of are the weights for a length.
func (h *hasher) of(n int) *turbo.Weights {
	if n > hashKeeps {
		return lanczosWeights(n)
	}
	var w *turbo.Weights
	if i := slices.IndexFunc(h.weights, func(w *turbo.Weights) bool { return w.Width == n }); i >= 0 {
		w = h.weights[i]
		h.weights = slices.Delete(h.weights, i, i+1)
	} else {
		w, h.weights = lanczosWeights(n), h.weights[:min(len(h.weights), hashSizes-1)]
	}
	h.weights = slices.Insert(h.weights, 0, w)
	return w
}

// lanczosWeights are those by which a row of n pixels becomes one of 32. The window is as wide as six of the
// new pixels, and at least as six of the old ones.
func lanczosWeights(n int) *turbo.Weights {
	scale := float64(n) / hashSide
	stretch := max(scale, 1)
	support := lanczos * stretch
	w := turbo.NewWeights(n, hashSide, 2*int(math.Ceil(support))+1)
	shares := make([]float64, w.Taps)
	for k := range hashSide {
		center := (float64(k) + 0.5) * scale
		first := max(0, int(center-support+0.5))
		last := min(n, int(center+support+0.5))
		w.First[k] = int32(first)
		sum := 0.0
		// Its sines are those of evenly spaced angles: each is the one before, turned by a step.
		wave := newWaves((float64(first)-center+0.5)/stretch, 1/stretch)
		for i := range last - first {
			shares[i] = wave.window((float64(first+i) - center + 0.5) / stretch)
			sum += shares[i]
			wave.turn()
		}
		for i := range last - first {
			w.Set(k, i, shares[i]/sum)
		}
	}
	return w
}

// waves are sin(πx) and sin(πx/3) for evenly spaced x.
type waves struct{ fast, slow, fastStep, slowStep complex128 }

func newWaves(x, step float64) waves {
	at := func(x float64) complex128 {
		sin, cos := math.Sincos(math.Pi * x)
		return complex(cos, sin)
	}
	return waves{at(x), at(x / lanczos), at(step), at(step / lanczos)}
}

func (w *waves) turn() {
	w.fast *= w.fastStep
	w.slow *= w.slowStep
}

// window is the Lanczos window at x, which the waves have come to.
func (w *waves) window(x float64) float64 {
	switch {
	case x < -lanczos || x >= lanczos:
		return 0
	case math.Abs(x) < 1e-9:
		return 1
	}
	return imag(w.fast) * imag(w.slow) * lanczos / (math.Pi * math.Pi * x * x)
}

// hashOf is the hash of a picture of 32 x 32 pixels.
func hashOf(small *[hashSide * hashSide]byte) uint64 {
	var columns [hashLow][hashSide]float64
	var line [hashSide]float64
	var out [hashLow]float64
	for x := range hashSide {
		for y := range line {
			line[y] = float64(small[y*hashSide+x])
		}
		lowest(line[:], out[:])
		for k := range out {
			columns[k][x] = out[k]
		}
	}
	var low, sorted [hashLow * hashLow]float64
	for k := range columns {
		lowest(columns[k][:], low[k*hashLow:][:hashLow])
	}
	sorted = low
	slices.Sort(sorted[:])
	median := (sorted[len(sorted)/2-1] + sorted[len(sorted)/2]) / 2
	var hash uint64
	for _, v := range low {
		hash <<= 1
		if v > median {
			hash |= 1
		}
	}
	return hash
}

// lowest computes the lowest frequencies of a line, half of what scipy's transform gives. It folds the line
// in the middle: the even ones are those of the sums, the odd ones come of the differences. So what is zero
// because the line is even, odd or flat is exactly zero, and no bit is set by rounding. The line is
// overwritten.
func lowest(line, out []float64) {
	for stride := 1; stride < len(out)*2; stride *= 2 {
		n := len(line)
		if stride >= len(out) {
			sum := 0.0
			for _, v := range line {
				sum += v
			}
			out[0] = sum
			return
		}
		half := n / 2
		var differences [hashSide / 2]float64
		for i := range half {
			a, b := line[i], line[n-1-i]
			line[i], differences[i] = a+b, a-b
		}
		for k := stride; k < len(out); k += 2 * stride {
			row := &foldCosines[bits.TrailingZeros(uint(stride))][k/stride/2]
			sum := 0.0
			for i, d := range differences[:half] {
				sum += float64(d * row[i])
			}
			out[k] = sum
		}
		line = line[:half]
	}
}

// foldCosines are cos(π(2i+1)k/2n) for odd k, by fold and k/2: n is 32, 16, 8.
var foldCosines = func() (c [3][hashLow / 2][hashSide / 2]float64) {
	for fold := range c {
		n := hashSide >> fold
		for k := range c[fold] {
			for i := range n / 2 {
				c[fold][k][i] = math.Cos(math.Pi * float64((2*i+1)*(2*k+1)) / float64(2*n))
			}
		}
	}
	return c
}()
