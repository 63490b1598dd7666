package detect

import "math"

// Place converts a face to pixels of the full upright image of width x height; scale is full pixels per pixel
// of luma. Edges are rounded half up and clipped to the image, sides are at least 1. ok is false if the face
// lies wholly outside, or is not a finite box.
func Place(f Face, scale float64, width, height int) (x, y, w, h int, ok bool) {
	x0, x1, okx := edges(f.X*scale, (f.X+f.Width)*scale, width)
	y0, y1, oky := edges(f.Y*scale, (f.Y+f.Height)*scale, height)
	return x0, y0, x1 - x0, y1 - y0, okx && oky
}

// PlaceLandmarks converts the landmarks of a face to the full upright image: x and y of each, in tenths of a
// pixel, rounded half up. They are not clipped: a face at the edge may have some outside the image.
func PlaceLandmarks(l Landmarks, scale float64) (tenths [2 * len(Landmarks{})]int32) {
	round := func(v float64) int32 {
		return int32(math.Floor(max(-maxTenths, min(maxTenths, 10*v*scale)) + halfTenth))
	}
	for i, p := range l {
		tenths[2*i], tenths[2*i+1] = round(p.X), round(p.Y)
	}
	return tenths
}

const (
	maxTenths = 10 * (1 << 24)
	// halfTenth is like half: landmarks lie on a grid of 64ths of a pixel of luma.
	halfTenth = 0.5 + 1.0/64
)

// half is added before rounding down, and is slightly more than 0.5. Faces lie on a grid of 256ths of a pixel
// of luma, and luma is n/8 of the image, so edges at a half are common. They must not depend on the last bit
// of a product, or of a number that was sent as float32.
const half = 0.5 + 1.0/1024

// edges rounds an interval and clips it to [0, n).
func edges(from, to float64, n int) (int, int, bool) {
	if !(from < float64(n) && to > 0 && from <= to) || math.IsInf(from, 0) || math.IsInf(to, 0) {
		return 0, 0, false
	}
	lo := int(math.Floor(math.Max(from, 0) + half))
	hi := int(math.Floor(math.Min(to, float64(n)) + half))
	lo = min(lo, n-1)
	return lo, max(hi, lo+1), true
}
