package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"facescan/detect"
	"facescan/pipeline/decode"
	"facescan/store"
)

// workLoop is one worker: it decodes bodies and has them judged, one after the other.
func (r *run) workLoop(int) error {
	for t := range r.fetched {
		if t.lease.ctx.Err() != nil || r.paused() {
			r.giveUp(t, true)
			continue
		}
		res, err := r.judge.result(t.lease.ctx, t)
		switch {
		case t.lease.ctx.Err() != nil:
			r.giveUp(t, true)
		case errors.Is(err, detect.ErrUnavailable):
			r.giveUp(t, true)
			r.pauseFor(err)
		case err != nil:
			r.giveUp(t, true)
			r.abort(err) // and go on taking what arrives: were all workers gone, fetchers would hand on to nobody
		default:
			if err := r.keep(t, res); err != nil {
				if t.lease.ctx.Err() == nil {
					r.abort(err)
				}
				r.giveUp(t, true)
				continue
			}
			r.settle(t, res, true)
		}
	}
	return nil
}

// detectorName is the detector's fingerprint, or says that there is none.
func (r *run) detectorName() string {
	if r.Detector == nil {
		return store.NoDetector
	}
	return r.Detector.Fingerprint()
}

// workers is how many rows are decoded, or judged, at once. Those that wait for a detector elsewhere need no processor, and it
// wants many to make batches of: then every row in flight may be one.
func (r *run) workers() int {
	if _, ok := r.Detector.(detect.Remote); ok {
		return max(r.Workers, 2*r.Fetchers)
	}
	return r.Workers
}

// leaveProcessors gives Go's scheduler processors beside those that the workers hold. A worker is in C most of the
// time, and keeps its processor until the scheduler's watchdog finds out and has another thread take it over, for every
// image again: a few per cent of the CPU time of a run. With some to spare, the rest of the run has its own. Whoever
// sets GOMAXPROCS means it.
func leaveProcessors(workers int) {
	if n := workers + workers/8 + 2; n > runtime.GOMAXPROCS(0) && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(n)
	}
}

// suspectPatience is how long a suspect may take, its trial included, before an unclean end counts against it once more. A busy machine
// needs a second or two to begin a trial.
const suspectPatience = 5 * time.Second

// station is a decoder and its number. There is one for every processor that may be busy with decoding, and with a detector
// that works here.
type station struct {
	*decode.Decoder
	slot int
}

// judge turns bodies into results.
type judge struct {
	decode   decode.Options
	detector detect.Detector // nil looks for no faces
	kind     detect.Kind     // of the detector
	encoded  bool            // the detector wants the bytes as downloaded
	keeps    bool            // the bytes are wanted after that too
	stations chan station
	pixels   *pixelPool
	stats    *Stats
	log      *slog.Logger

	// decoding notes the row that a decoder works on, by station; 0 when it is through.
	decoding func(slot int, id int64)
	// trial decodes where a crash does no harm; nil trusts every body.
	trial func(ctx context.Context, body []byte) error
	alone sync.RWMutex // decoders share it; a suspect takes it whole
}

// open makes n stations; close frees them, once nobody is at one.
func (j *judge) open(n int) {
	if j.detector != nil {
		j.kind = detect.KindOf(j.detector.Fingerprint())
	}
	j.stations = make(chan station, n)
	for i := range n {
		j.stations <- station{decode.New(j.decode), i}
	}
}

func (j *judge) close() {
	for range cap(j.stations) {
		(<-j.stations).Close()
	}
}

// result decodes a body and asks the detector. The error is ours, never the image's.
func (j *judge) result(ctx context.Context, t *task) (*store.Result, error) {
	bytes := t.body.bytes
	res := &store.Result{
		Status: store.Failed, HTTPStatus: t.body.status, FinalURL: t.body.finalURL,
		Bytes: int64(len(bytes)), Attempts: t.attempts,
	}
	file, err := decode.Probe(bytes, j.decode)
	res.Format, res.Width, res.Height = file.Format, file.Width, file.Height
	if err != nil {
		res.Reason = reasonOf(err)
		return res, nil
	}
	if j.detector == nil {
		res.Status, res.Detector = store.OK, store.NoDetector
		return res, nil
	}
	img, answer, err := j.look(ctx, t, &file)
	if err != nil {
		var p *panicError
		switch {
		case errors.As(err, &p):
			j.log.Error("a panic is this row's outcome", "id", t.row.ID, "panic", p.value, "stack", string(p.stack))
			res.Reason = store.BadImage
		case decode.IsRefusal(err):
			res.Reason = reasonOf(err)
		default:
			return nil, fmt.Errorf("detector: %w", err)
		}
		return res, nil
	}
	res.Format, res.Width, res.Height, res.Partial = img.Format, img.Width, img.Height, img.Partial
	if img.Fallback {
		j.stats.Fallbacks.Add(1)
	}
	if answer.Err != nil {
		j.log.Warn("the detector cannot judge an image that decodes", "id", t.row.ID, "error", answer.Err)
		res.Reason = store.BadImage
		return res, nil
	}
	res.Status = store.OK
	res.Detector = cmp.Or(answer.Detector, j.detector.Fingerprint())
	kind := j.kind
	if answer.Detector != "" {
		kind = detect.KindOf(answer.Detector)
	}
	res.Faces = place(answer.Faces, img, kind)
	res.Candidates = place(answer.Candidates, img, kind)
	return res, nil
}

// look decodes one body and has it judged, within the memory that it takes.
func (j *judge) look(ctx context.Context, t *task, file *decode.File) (img decode.Image, a detect.Answer, err error) {
	// The pixels are accounted for before they exist. Waiting here is safe: whoever holds this half is decoding, or waits for a
	// detector, which asks for none.
	held := file.Memory
	if local, ok := j.detector.(detect.Local); ok {
		held += local.Memory(j.decode.LumaSize(file.Width, file.Height))
	}
	if err := j.pixels.reserve(ctx, held); err != nil {
		return img, a, err
	}
	defer func() { j.pixels.free(held) }()

	remote, _ := j.detector.(detect.Remote)
	var answer func() (detect.Answer, error)
	img, err = j.atStation(ctx, t, file, func(img decode.Image) (err error) {
		in := detect.Image{Luma: img.Luma, Scale: img.Scale}
		if j.encoded {
			in.Encoded = t.body.bytes
			in.Width, in.Height, in.FromStored = stored(img)
		} else if !j.keeps {
			t.body.drop() // the next body can have the room while the detector works
		}
		if remote != nil {
			answer, err = remote.Ask(ctx, in)
			return err
		}
		var answers []detect.Answer
		j.stats.Detecting.measure(func() int {
			answers, err = j.detector.Detect(ctx, []detect.Image{in})
			return len(in.Luma.Pix)
		})
		if err == nil && len(answers) != 1 {
			err = fmt.Errorf("%d answers for one image", len(answers))
		}
		if err == nil {
			a = answers[0]
		}
		return err
	})
	if err != nil || answer == nil {
		return img, a, err
	}
	if !j.keeps {
		t.body.drop()
	}
	luma := min(held, int64(img.Width)*int64(img.Height)) // at most: what of it was sent the detector has a copy of
	j.pixels.reduce(held, luma)
	held = luma
	j.stats.Detecting.measure(func() int {
		a, err = answer()
		return int(luma)
	})
	return img, a, err
}

// atStation decodes one body and passes the image on, at a station, with a panic on the way turned into an error. The image's Luma
// is gone afterwards.
func (j *judge) atStation(ctx context.Context, t *task, file *decode.File, use func(decode.Image) error) (img decode.Image, err error) {
	var s station
	select {
	case s = <-j.stations:
	case <-ctx.Done():
		return img, ctx.Err()
	}
	defer func() { j.stations <- s }()
	if t.suspect > 0 {
		j.alone.Lock()
		defer j.alone.Unlock()
		// What kills a decoder kills the trial, which is no guess. So this process need not note the row at once: if it
		// is killed from outside in the few milliseconds that an innocent image takes, the image is not to blame.
		note := time.AfterFunc(suspectPatience, func() { j.decoding(s.slot, t.row.ID) })
		defer func() {
			note.Stop()
			j.decoding(s.slot, 0)
		}()
		if j.trial != nil {
			if err := j.trial(ctx, t.body.bytes); err != nil && ctx.Err() == nil {
				j.log.Warn("a decoder dies of this image", "id", t.row.ID, "error", err)
				return img, fmt.Errorf("%w: a decoder dies of it", decode.ErrBadImage)
			}
		}
	} else {
		j.alone.RLock()
		defer j.alone.RUnlock()
		j.decoding(s.slot, t.row.ID)
		defer j.decoding(s.slot, 0)
	}
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	j.stats.Decoding.measure(func() int {
		img, err = s.DecodeFile(file)
		return len(t.body.bytes)
	})
	if err == nil {
		err = use(img)
	}
	s.Trim()
	img.Luma = nil
	return img, err
}

// stored tells how an image lies in its file: its size there, and what carries a box from there into its luma.
func stored(img decode.Image) (width, height int, carry func(detect.Face) detect.Face) {
	width, height = img.Width, img.Height
	if img.Orientation >= 5 {
		width, height = height, width
	}
	return width, height, func(f detect.Face) detect.Face {
		b := decode.ToUpright(decode.Box{X: f.X, Y: f.Y, Width: f.Width, Height: f.Height}, img.Orientation, float64(width), float64(height))
		f.X, f.Y, f.Width, f.Height = b.X/img.Scale, b.Y/img.Scale, b.Width/img.Scale, b.Height/img.Scale
		for i, p := range f.Landmarks {
			b := decode.ToUpright(decode.Box{X: p.X, Y: p.Y}, img.Orientation, float64(width), float64(height))
			f.Landmarks[i] = detect.Point{X: b.X / img.Scale, Y: b.Y / img.Scale}
		}
		if decode.Mirrors(img.Orientation) {
			f.Landmarks = f.Landmarks.Mirrored()
		}
		return f
	}
}

type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprint("panic: ", p.value) }

// place turns a detector's boxes into stored ones: pixels of the upright image. They are sorted again, since what differed in
// luma may be equal now.
func place(faces []detect.Face, img decode.Image, kind detect.Kind) []store.Face {
	out := make([]store.Face, 0, len(faces))
	for _, f := range faces {
		if x, y, w, h, ok := detect.Place(f, img.Scale, img.Width, img.Height); ok {
			face := store.Face{X: x, Y: y, Width: w, Height: h, Score: f.Score, Confidence: f.Confidence, HasLandmarks: f.HasLandmarks}
			if f.HasLandmarks {
				face.Landmarks = detect.PlaceLandmarks(f.Landmarks, img.Scale)
			}
			out = append(out, face)
		}
	}
	slices.SortStableFunc(out, func(a, b store.Face) int {
		return cmp.Or(cmp.Compare(kind.Printed(b.Score), kind.Printed(a.Score)), cmp.Compare(a.Y, b.Y), cmp.Compare(a.X, b.X),
			cmp.Compare(a.Width, b.Width))
	})
	return out
}
