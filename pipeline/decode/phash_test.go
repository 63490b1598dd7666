package decode

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"testing"
)

// TestPHashIsImagehashs holds the hash to what Python's imagehash 4.3.2 says of pictures that it is easy to
// draw again; testdata/phash.py has many more.
func TestPHashIsImagehashs(t *testing.T) {
	for name, p := range map[string]struct {
		width, height int
		at            func(x, y int) uint8
		want          uint64
	}{
		"flat":     {100, 80, func(x, y int) uint8 { return 77 }, 0x8000000000000000},
		"black":    {100, 80, func(x, y int) uint8 { return 0 }, 0},
		"downward": {256, 256, func(x, y int) uint8 { return uint8(y) }, 0x8000800080008000},
		"square": {100, 100, func(x, y int) uint8 {
			if x >= 30 && x < 70 && y >= 30 && y < 70 {
				return 255
			}
			return 0
		}, 0x8a0020008a008a00},
		"checkers": {64, 64, func(x, y int) uint8 { return uint8((x + y) / 8 % 2 * 255) },
			0xff0ad58ad582df00},
	} {
		m := image.NewGray(image.Rect(0, 0, p.width, p.height))
		for y := range p.height {
			for x := range p.width {
				m.SetGray(x, y, color.Gray{Y: p.at(x, y)})
			}
		}
		if got := new(hasher).hash(m); got != p.want {
			t.Errorf("%s: %016x, want %016x", name, got, p.want)
		}
	}
}

// TestLowest compares the folded transform with the formula.
func TestLowest(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		var line [hashSide]float64
		var want, got [hashLow]float64
		for i := range line {
			line[i] = float64(rng.IntN(256))
			for k := range want {
				want[k] += line[i] * math.Cos(math.Pi*float64((2*i+1)*k)/(2*hashSide))
			}
		}
		lowest(line[:], got[:])
		for k := range want {
			if math.Abs(got[k]-want[k]) > 1e-9 {
				t.Fatalf("frequency %d is %v, want %v", k, got[k], want[k])
			}
		}
	}
}

// TestLanczosWeights compares the weights, whose sines are turned step by step, with the formula.
func TestLanczosWeights(t *testing.T) {
	sinc := func(x float64) float64 {
		if x == 0 {
			return 1
		}
		return math.Sin(math.Pi*x) / (math.Pi * x)
	}
	for _, n := range []int{1, 2, 20, 31, 32, 33, 96, 100, 1000, hashKeeps, hashKeeps + 1} {
		w := new(hasher).of(n)
		scale := float64(n) / hashSide
		stretch := max(scale, 1)
		for k := range hashSide {
			var want []float64
			sum := 0.0
			for i := range n - int(w.First[k]) {
				x := (float64(int(w.First[k])+i) + 0.5 - (float64(k)+0.5)*scale) / stretch
				share := sinc(x) * sinc(x/3)
				if math.Abs(x) > 3 {
					share = 0
				}
				want = append(want, share)
				sum += share
			}
			for i := range w.Taps {
				at := k*w.Taps + i
				got, right := float64(int(w.High[at])<<11+int(w.Low[at]))/(1<<22), 0.0
				if i < len(want) {
					right = want[i] / sum
				}
				if math.Abs(got-right) > 1e-6 {
					t.Fatalf("%d pixels: weight %d of %d is %v, want %v", n, i, k, got, right)
				}
			}
		}
	}
}

// TestPHashOfTallPictures: a tall picture that is made small column by column has the pixels of one that is
// made small row by row and is turned by a quarter.
func TestPHashOfTallPictures(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 50 {
		width := 1 + rng.IntN(60)
		height := 2*width + hashSide + rng.IntN(200)
		tall := image.NewGray(image.Rect(0, 0, width, height))
		flat := image.NewGray(image.Rect(0, 0, height, width))
		for i := range tall.Pix {
			tall.Pix[i] = byte(rng.Uint32())
			flat.Pix[i%width*height+i/width] = tall.Pix[i]
		}
		var a, b hasher
		a.hash(tall)
		b.hash(flat)
		for i := range a.small {
			if x, y := i%hashSide, i/hashSide; a.small[i] != b.small[x*hashSide+y] {
				t.Fatalf("%dx%d: pixel %d,%d is %d, on its side %d", width, height, x, y, a.small[i],
					b.small[x*hashSide+y])
			}
		}
	}
}

// TestPHashIsIndependent: the hash is that of the stored picture at full size. It does not depend
// on the smallest face, the orientation, or the pictures that were decoded before.
func TestPHashIsIndependent(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	decoders := []*Decoder{New(Options{PHash: true}), New(Options{PHash: true, MinFace: 40}),
		New(Options{PHash: true, MinFace: 300}), New(Options{PHash: true, MinFace: 23})}
	for range 12 {
		width, height := 40+rng.IntN(300), 40+rng.IntN(900)
		m := image.NewRGBA(image.Rect(0, 0, width, height))
		for i := range m.Pix {
			m.Pix[i] = byte(128 + 100*math.Sin(float64(i)/float64(20+rng.IntN(3))) + float64(rng.IntN(20)))
		}
		var b bytes.Buffer
		if err := jpeg.Encode(&b, m, nil); err != nil {
			t.Fatal(err)
		}
		want, err := New(Options{PHash: true}).Decode(b.Bytes())
		if err != nil || !want.Hashed {
			t.Fatal(err, want.Hashed)
		}
		for orientation := 1; orientation <= 8; orientation++ {
			body := oriented(t, JPEG, b.Bytes(), orientation)
			for i, d := range decoders {
				img, err := d.Decode(body)
				if err != nil || !img.Hashed || img.PHash != want.PHash || img.Orientation != orientation {
					t.Errorf("%dx%d by decoder %d, orientation %d (read: %d): %016x, want %016x (%v)", width,
						height, i, orientation, img.Orientation, img.PHash, want.PHash, err)
				}
			}
		}
		if img, err := New(Options{}).Decode(b.Bytes()); err != nil || img.Hashed {
			t.Errorf("hashed without the option (%v)", err)
		}
	}
}

// BenchmarkPHash is of a photo of 500 x 375 pixels; the sizes of the second differ from picture to picture.
func BenchmarkPHash(b *testing.B) {
	for name, different := range map[string]int{"same": 1, "different": 64} {
		b.Run(name, func(b *testing.B) {
			m := image.NewGray(image.Rect(0, 0, 500, 375))
			for i := range m.Pix {
				m.Pix[i] = byte(i * i >> 8)
			}
			var h hasher
			i := 0
			for b.Loop() {
				i++
				m.Rect.Max.Y = 375 - i%different
				h.hash(m)
			}
		})
	}
}
