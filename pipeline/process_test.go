package pipeline

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"facescan/detect"
	"facescan/pipeline/decode"
	"facescan/pipeline/fetch"
	"facescan/store"
)

// hungry is a detector that needs so many bytes per pixel of luma, and looks at what is reserved while it
// works.
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
	p := &processor{decode: o, detector: d, pixels: b.pixels, stats: &Stats{},
		log:      slog.New(slog.DiscardHandler),
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
			t.Errorf("--min-face %d: %d bytes were reserved, want %d; %d are left", minFace, d.seen, want,
				b.pixels.now())
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
		if res.Status != c.status || res.Reason != c.reason || res.FacesKnown() || len(res.Faces) > 0 ||
			(res.Status == store.OK) != (res.Detector == store.NoDetector) {
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
	at := frame{1, 1, 100, 100}
	got := at.place([]detect.Face{face(50, 20.4, 9.004), face(20, 20.2, 9.001), face(70, 3, 9.01)}, k)
	if len(got) != 3 || got[0].X != 70 || got[1].X != 20 || got[2].X != 50 || got[1].Score != 9.001 {
		t.Errorf("%+v", got)
	}
	f := face(50, 20, 1)
	f.HasLandmarks = true
	f.Landmarks = detect.Landmarks{{X: 1.03125, Y: -0.5}, {X: 200, Y: 99}}
	at = frame{2, 2, 200, 200}
	if got := at.place([]detect.Face{f}, k); got[0].Landmarks != (store.Landmarks{21, -10, 4000, 1980}) {
		t.Errorf("%v", got[0].Landmarks)
	}
	at = frame{2, 3, 400, 300} // a picture whose sides were not made smaller alike
	if got := at.place([]detect.Face{f}, k); got[0].X != 100 || got[0].Y != 60 || got[0].Width != 20 ||
		got[0].Height != 30 || got[0].Landmarks != (store.Landmarks{21, -15, 4000, 2970}) {
		t.Errorf("%+v", got[0])
	}
}

// processBench is a processStage alone.
type processBench struct {
	*processStage
	in       chan *task
	done     completed
	away     bool // the outage of the detector is on
	causes   []error
	failures []error // of our own
	notes    []string
	mu       sync.Mutex
}

func newProcessBench(t *testing.T, d detect.Detector) *processBench {
	b := &processBench{in: make(chan *task, 10), done: make(completed, 10)}
	p, _ := processorOf(d, decode.Options{MaxPixels: 1e6})
	p.decoding = func(slot int, id int64) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.notes = append(b.notes, fmt.Sprint(slot, ":", id))
	}
	t.Cleanup(p.close)
	b.processStage = &processStage{processor: p, in: b.in, complete: b.done, activity: &activity{},
		paused:      func() bool { return b.away },
		unavailable: func(err error) { b.causes = append(b.causes, err) },
		abort:       func(err error) { b.failures = append(b.failures, err) }}
	return b
}

// row is a row with a body, under a lease that lasts for ctx.
func (b *processBench) row(ctx context.Context, id int64, body []byte) *task {
	return &task{row: store.Row{ID: id}, lease: &leaseHandle{ctx: ctx, lease: store.Lease{Generation: 3}},
		attempts: 2,
		body:     &fetch.Body{Bytes: body, Status: 203}}
}

// process runs the stage over some rows.
func (b *processBench) rows(rows ...*task) {
	for _, row := range rows {
		b.in <- row
	}
	close(b.in)
	b.loop()
	close(b.done)
}

// TestProcess: each row goes on with its result and its place in flight, whatever its image does.
func TestProcess(t *testing.T) {
	b := newProcessBench(t, answering(func(img detect.Image) (detect.Answer, error) {
		switch img.Luma.Rect.Dx() {
		case 77:
			panic("the detector has a bug")
		case 78:
			return detect.Answer{Err: errors.New("what is this?")}, nil
		}
		return oneFace(img)
	}))
	bodies := [][]byte{picture(20, 10), picture(77, 10), picture(78, 10), picture(20, 10)[:60],
		[]byte("<html>"), picture(1001, 1000)}
	want := []string{"", "bad_image", "bad_image", "bad_image", "not_image", "too_many_pixels"}
	var rows []*task
	for i, body := range bodies {
		rows = append(rows, b.row(t.Context(), int64(i+1), body))
	}
	b.rows(rows...)
	i := 0
	for row := range b.done {
		r := row.result
		if r == nil || string(r.Reason) != want[i] || !row.inFlight || row.body != nil || r.Attempts != 2 ||
			r.HTTPStatus != 203 ||
			r.Bytes != int64(len(bodies[i])) || (r.Status == store.OK) != (len(r.Faces) == 1) {
			t.Errorf("row %d: %+v", row.row.ID, r)
		}
		i++
	}
	if i != len(bodies) || len(b.failures)+len(b.causes) != 0 || b.pixels.now() != 0 {
		t.Errorf("%d rows, failures %v, %v, %d bytes are held", i, b.failures, b.causes, b.pixels.now())
	}
	if got := strings.Join(b.notes, " "); got != "0:1 0:0 0:2 0:0 0:3 0:0 0:4 0:0" {
		t.Errorf("noted in the slot: %s", got)
	}
}

// TestProcessGivesUp rows whose lease ended, and those of a detector that is unavailable or fails; the others
// that come are given up too while the outage lasts.
func TestProcessGivesUp(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	lies := errors.New("it lies")
	for _, c := range []struct {
		what     string
		ctx      context.Context
		err      error
		away     bool
		causes   int
		failures int
		asked    int
	}{
		{"a lease that ended", ended, nil, false, 0, 0, 0},
		{"an outage", t.Context(), nil, true, 0, 0, 0},
		{"unavailable", t.Context(), fmt.Errorf("dial: %w", detect.ErrUnavailable), false, 2, 0, 2},
		{"a failure of our own", t.Context(), lies, false, 0, 2, 2},
	} {
		asked := 0
		b := newProcessBench(t, answering(func(detect.Image) (detect.Answer, error) {
			asked++
			return detect.Answer{}, c.err
		}))
		b.away = c.away
		b.rows(b.row(c.ctx, 1, picture(20, 10)), b.row(c.ctx, 2, picture(20, 10)))
		for row := range b.done {
			if row.result != nil || !row.inFlight || row.body != nil {
				t.Errorf("%s: %+v", c.what, row)
			}
		}
		if len(b.causes) != c.causes || len(b.failures) != c.failures || asked != c.asked {
			t.Errorf("%s: %v, %v, asked %d times", c.what, b.causes, b.failures, asked)
		}
		if c.failures > 0 && !errors.Is(b.failures[0], lies) {
			t.Errorf("%s: %v", c.what, b.failures[0])
		}
	}
	during, cut := context.WithCancel(t.Context()) // a lease that ends while the detector works
	b := newProcessBench(t, answering(func(img detect.Image) (detect.Answer,
		error) {
		cut()
		return oneFace(img)
	}))
	b.rows(b.row(during, 1, picture(20, 10)))
	if row := <-b.done; row.result != nil || len(b.failures)+len(b.causes) != 0 {
		t.Errorf("%+v, %v, %v", row, b.failures, b.causes)
	}
}

// TestProcessSuspects: a row that was in a decoder when its process died is tried apart, with no other in a
// decoder, and is not noted at once; one that dies there is bad.
func TestProcessSuspects(t *testing.T) {
	b := newProcessBench(t, answering(oneFace))
	killer := picture(30, 30)
	tried := 0
	b.trial = func(_ context.Context, body []byte) error {
		tried++
		if b.alone.TryRLock() {
			t.Error("others may decode meanwhile")
			b.alone.RUnlock()
		}
		if bytes.Equal(body, killer) {
			return errors.New("signal: segmentation fault")
		}
		return nil
	}
	innocent, bad, other := b.row(t.Context(), 1, picture(20, 10)), b.row(t.Context(), 2, killer),
		b.row(t.Context(), 3, killer)
	innocent.suspect, bad.suspect = 1, 1
	b.rows(innocent, bad, other)
	var got []string
	for row := range b.done {
		got = append(got, string(row.result.Status)+" "+string(row.result.Reason))
	}
	if strings.Join(got, ",") != "ok ,failed bad_image,ok " || tried != 2 {
		t.Errorf("%q after %d trials", got, tried)
	}
	if got := strings.Join(b.notes, " "); got != "0:0 0:0 0:3 0:0" {
		t.Errorf("noted in the slot: %s", got)
	}
}

// TestProcessKeeps what the Keeper wants, once for all rows of an image; its failure is ours.
func TestProcessKeeps(t *testing.T) {
	s := newShelf()
	b := newProcessBench(t, answering(oneFace))
	b.keeper, b.keeps = s, true
	row := b.row(t.Context(), 1, picture(20, 10))
	row.duplicates = []*task{b.row(t.Context(), 2, nil), b.row(t.Context(), 3, nil)}
	broken := b.row(t.Context(), 4, []byte("<html>"))
	b.rows(row, broken)
	<-b.done
	for _, kept := range row.all() {
		if kept.outputs != store.Outputs(kept.row.ID) || len(s.bodies[kept.row.ID].Body) == 0 {
			t.Errorf("row %d: outputs %v", kept.row.ID, kept.outputs)
		}
	}
	if len(s.bodies) != 3 || len(b.failures) != 0 {
		t.Errorf("%d bodies are kept, %v", len(s.bodies), b.failures)
	}
	b = newProcessBench(t, answering(oneFace))
	b.keeper, b.keeps = s, true
	s.fail = store.ErrFull
	b.rows(b.row(t.Context(), 5, picture(20, 10)))
	if row := <-b.done; row.result != nil || len(b.failures) != 1 ||
		!errors.Is(b.failures[0], store.ErrFull) {
		t.Errorf("%+v, %v", row, b.failures)
	}
}

// TestProcessElsewhere: the decoder is free, and the pixels' memory but for what is sent, while a remote
// detector works.
func TestProcessElsewhere(t *testing.T) {
	e := &elsewhere{answering: oneFace}
	b := newProcessBench(t, e)
	e.hold = func(int64) {
		if len(b.slots) != 1 || b.pixels.now() != 20*10 || b.stats.Detecting.inside() != 1 {
			t.Errorf("%d decoders are free, %d bytes are held", len(b.slots), b.pixels.now())
		}
	}
	b.rows(b.row(t.Context(), 1, picture(20, 10)))
	if row := <-b.done; row.result == nil || len(row.result.Faces) != 1 || e.asked.Load() != 1 ||
		b.pixels.now() != 0 {
		t.Errorf("%+v", row.result)
	}
	b = newProcessBench(t, full{&elsewhere{answering: oneFace}})
	b.rows(b.row(t.Context(), 1, picture(20, 10)))
	if row := <-b.done; row.result != nil || len(b.causes) != 1 || b.pixels.now() != 0 {
		t.Errorf("a detector that takes no image: %+v, %v", row.result, b.causes)
	}
	b = newProcessBench(t, several{})
	b.rows(b.row(t.Context(), 1, picture(20, 10)))
	if row := <-b.done; row.result != nil || len(b.failures) != 1 ||
		!strings.HasSuffix(b.failures[0].Error(), "2 answers for one image") {
		t.Errorf("a detector with too many answers: %+v, %v", row.result, b.failures)
	}
}

// full is a remote detector that takes no image.
type full struct{ *elsewhere }

func (full) Ask(context.Context, detect.Image) (func() (detect.Answer, error), error) {
	return nil, detect.ErrUnavailable
}

// several is a detector that answers twice.
type several struct{ answering }

func (several) Detect(context.Context, []detect.Image) ([]detect.Answer, error) {
	return make([]detect.Answer, 2), nil
}

// TestProcessChecksums: rows of one URL whose lists give another checksum than the body's fail, the others go
// on with the body. That of a picture made of the image was verified with the image.
func TestProcessChecksums(t *testing.T) {
	body := picture(20, 10)
	sum := sha256.Sum256(body)
	right, wrong := hex.EncodeToString(sum[:]), strings.Repeat("00", len(sum))
	for _, c := range []struct {
		hashes string // of the rows of one URL: right, wrong or none
		madeOf bool
		want   string // outcomes, by id
	}{
		{"r", false, "ok"}, {"n", false, "ok"}, {"w", false, "hash_mismatch"}, {"w", true, "ok"},
		{"wrn", false, "hash_mismatch ok ok"}, {"rww", false, "ok hash_mismatch hash_mismatch"},
		{"ww", false, "hash_mismatch hash_mismatch"},
	} {
		b := newProcessBench(t, answering(oneFace))
		b.sha256 = true
		var rows []*task
		for i, kind := range c.hashes {
			row := b.row(t.Context(), int64(i), body)
			row.row.Hash = map[rune]string{'r': right, 'w': wrong}[kind]
			rows = append(rows, row)
		}
		if c.madeOf {
			rows[0].madeOf = &Downloaded{Width: 20, Height: 10, SHA256: "of the download"}
		}
		b.rows(join(rows))
		got, places := make([]string, len(rows)), 0
		for done := range b.done {
			if done.inFlight {
				places++
			}
			want := store.SHA256(sum[:])
			if c.madeOf {
				want = "of the download"
			}
			if done.result.SHA256 != want || done.result.Attempts != 2 || done.result.HTTPStatus != 203 {
				t.Errorf("%s: %+v", c.hashes, done.result)
			}
			for _, row := range done.all() {
				got[row.row.ID] = cmp.Or(string(done.result.Reason), string(done.result.Status))
			}
		}
		if text := strings.Join(got, " "); text != c.want || places != 1 {
			t.Errorf("%s: %s and %d places, want %s and one", c.hashes, text, places, c.want)
		}
	}
}

// TestEncoded: a detector that wants the file as it was downloaded answers in its pixels, before it is turned
// as its EXIF orientation says.
func TestEncoded(t *testing.T) {
	f := detect.Face{X: 10, Y: 20, Width: 30, Height: 40, HasLandmarks: true}
	for i := range f.Landmarks {
		f.Landmarks[i] = detect.Point{X: 12, Y: 22 + float64(i)}
	}
	for _, c := range []struct {
		orientation   int
		width, height int // of the file
		want          detect.Face
		first         detect.Point // the first landmark
	}{
		{1, 200, 100, detect.Face{X: 5, Y: 10, Width: 15, Height: 20}, detect.Point{X: 6, Y: 11}},
		{2, 200, 100, detect.Face{X: 80, Y: 10, Width: 15, Height: 20}, detect.Point{X: 94, Y: 11.5}},
		{3, 200, 100, detect.Face{X: 80, Y: 20, Width: 15, Height: 20}, detect.Point{X: 94, Y: 39}},
		{6, 100, 200, detect.Face{X: 70, Y: 5, Width: 20, Height: 15}, detect.Point{X: 89, Y: 6}},
	} {
		img := decode.Image{Width: 200, Height: 100, Orientation: c.orientation, Scale: 2}
		width, height, carry := stored(img)
		got := carry(f)
		c.want.Landmarks, c.want.HasLandmarks = got.Landmarks, true
		if width != c.width || height != c.height || got != c.want || got.Landmarks[0] != c.first {
			t.Errorf("orientation %d: %dx%d, %+v; want %dx%d, %+v, first landmark %v", c.orientation, width,
				height, got, c.width, c.height, c.want, c.first)
		}
	}
	b := newProcessBench(t, nil)
	body := picture(20, 10)
	b.detector = answering(func(img detect.Image) (detect.Answer, error) {
		if !bytes.Equal(img.Encoded, body) || img.Width != 20 || img.Height != 10 {
			return detect.Answer{}, fmt.Errorf("%d bytes of %dx%d", len(img.Encoded), img.Width, img.Height)
		}
		face := img.FromStored(detect.Face{X: 2, Y: 2, Width: 5, Height: 5})
		return detect.Answer{Faces: []detect.Face{face}}, nil
	})
	b.encoded = true
	b.rows(b.row(t.Context(), 1, body))
	if row := <-b.done; row.result == nil || len(row.result.Faces) != 1 || row.result.Faces[0].X != 2 {
		t.Errorf("%+v, %v", row.result, b.failures)
	}
}

// TestStored: an image that is turned by a quarter lies with its sides swapped in its file.
func TestStored(t *testing.T) {
	for orientation, swapped := range map[int]bool{1: false, 4: false, 5: true, 8: true} {
		w, h, _ := stored(decode.Image{Width: 30, Height: 20, Scale: 1, Orientation: orientation})
		if swapped != (w == 20 && h == 30) || swapped == (w == 30 && h == 20) {
			t.Errorf("orientation %d: %d by %d", orientation, w, h)
		}
	}
}
