package detect

import "math"

// Place puts a face into the full upright image of width x height pixels, of which luma had one in scale: edges
// rounded half up, clipped to the image, sides of at least 1. It is not ok when the face lies wholly outside, or is
// no finite box.
func Place(f Face, scale float64, width, height int) (x, y, w, h int, ok bool) {
	x0, x1, okx := edges(f.X*scale, (f.X+f.Width)*scale, width)
	y0, y1, oky := edges(f.Y*scale, (f.Y+f.Height)*scale, height)
	return x0, y0, x1 - x0, y1 - y0, okx && oky
}

// edges rounds an interval and clips it to [0, n).
func edges(from, to float64, n int) (int, int, bool) {
	if !(from < float64(n) && to > 0 && from <= to) || math.IsInf(from, 0) || math.IsInf(to, 0) {
		return 0, 0, false
	}
	lo := int(math.Floor(math.Max(from, 0) + 0.5))
	hi := int(math.Floor(math.Min(to, float64(n)) + 0.5))
	lo = min(lo, n-1)
	return lo, max(hi, lo+1), true
}
