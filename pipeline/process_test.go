package pipeline

import (
	"context"
	"image"
	"log/slog"
	"testing"

	"facescan/detect"
	"facescan/pipeline/decode"
	"facescan/pipeline/fetch"
	"facescan/store"
)

// hungry is a detector that needs so many bytes per pixel of luma, and looks at what is reserved while it works.
type hungry struct {
	perPixel int64
	used     func() int64
	seen     int64
	luma     image.Point
}

func (h *hungry) Detect(_ context.Context, batch []detect.Image) ([]detect.Answer, error) {
	h.seen, h.luma = h.used(), batch[0].Luma.Bounds().Size()
	return make([]detect.Answer, len(batch)), nil
}
func (h *hungry) Memory(width, height int) int64 { return h.perPixel * int64(width) * int64(height) }
func (h *hungry) Fingerprint() string            { return "hungry/1" }
func (h *hungry) Close() error                   { return nil }

func processorOf(d detect.Detector, o decode.Options) (*processor, *budget) {
	b := newBudget(1<<30, 0)
	p := &processor{decode: o, detector: d, pixels: b.pixels, stats: &Stats{}, log: slog.New(slog.DiscardHandler),
		decoding: func(int, int64) {}}
	p.open(1)
	return p, b
}

// What a detector takes beside the luma is reserved together with what decoding takes.
func TestDetectorsMemoryIsReserved(t *testing.T) {
	for _, minFace := range []int{20, 40, 55} {
		o := decode.Options{MinFace: minFace}
		bytes := picture(333, 250)
		file, err := decode.Probe(bytes, o)
		if err != nil {
			t.Fatal(err)
		}
		d := &hungry{perPixel: 1000}
		p, b := processorOf(d, o)
		d.used = b.pixels.now
		res, err := p.process(t.Context(), &task{body: &fetch.Body{Bytes: bytes}})
		p.close()
		if err != nil || res.Status != store.OK || res.Detector != "hungry/1" {
			t.Fatal(res, err)
		}
		w, h := o.LumaSize(333, 250)
		if want := file.Memory + 1000*int64(w)*int64(h); d.seen != want || b.pixels.now() != 0 {
			t.Errorf("--min-face %d: %d bytes were reserved, want %d; %d are left", minFace, d.seen, want, b.pixels.now())
		}
		if d.luma.X > w || d.luma.Y > h || d.luma.X < w-1 || d.luma.Y < h-1 {
			t.Errorf("--min-face %d: luma of %v, foretold %dx%d", minFace, d.luma, w, h)
		}
	}
}

// Without a detector the header is read and nothing decoded.
func TestWithoutADetector(t *testing.T) {
	whole := picture(333, 250)
	p, b := processorOf(nil, decode.Options{})
	defer p.close()
	for _, c := range []struct {
		bytes  []byte
		status store.Status
		reason store.Reason
	}{{whole, store.OK, ""}, {whole[:40], store.OK, ""}, {[]byte("<html>"), store.Failed, store.NotImage}} {
		res, err := p.process(t.Context(), &task{body: &fetch.Body{Bytes: c.bytes}})
		if err != nil {
			t.Fatal(err)
		}
		if res.Status != c.status || res.Reason != c.reason || res.Judged() || len(res.Faces) > 0 || (res.Status == store.OK) != (res.Detector == store.NoDetector) {
			t.Errorf("%d bytes: %+v", len(c.bytes), res)
		}
	}
	if b.pixels.now() != 0 {
		t.Error("memory is held")
	}
}

// Faces stand in the order of what is printed of their scores, then as they lie in the full image.
func TestPlaceSortsAgain(t *testing.T) {
	k, _ := detect.KindNamed(detect.Pigo)
	face := func(x, y, score float64) detect.Face {
		return detect.Face{X: x, Y: y, Width: 10, Height: 10, Score: score}
	}
	got := place([]detect.Face{face(50, 20.4, 9.004), face(20, 20.2, 9.001), face(70, 3, 9.01)}, decode.Image{Scale: 1, Width: 100, Height: 100}, k)
	if len(got) != 3 || got[0].X != 70 || got[1].X != 20 || got[2].X != 50 || got[1].Score != 9.001 {
		t.Errorf("%+v", got)
	}
	f := face(50, 20, 1)
	f.HasLandmarks = true
	f.Landmarks = detect.Landmarks{{X: 1.03125, Y: -0.5}, {X: 200, Y: 99}}
	if got := place([]detect.Face{f}, decode.Image{Scale: 2, Width: 200, Height: 200}, k); got[0].Landmarks != (store.Landmarks{21, -10, 4000, 1980}) {
		t.Errorf("%v", got[0].Landmarks)
	}
}
