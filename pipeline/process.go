package pipeline

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"facescan/detect"
	"facescan/pipeline/decode"
	"facescan/pipeline/source"
	"facescan/store"
)

// processStage decodes bodies, has a detector find the faces, and has what is wanted of the images kept. Many
// loops of it run at once.
type processStage struct {
	*processor
	in          <-chan *task
	complete    completed
	keeper      Keeper // optional
	paused      func() bool
	unavailable func(cause error) // begins the outage of the detector
	abort       func(error)
	activity    *activity
}

// loop processes one task after the other.
func (s *processStage) loop() {
	for t := range s.in {
		ctx := t.lease.ctx
		if ctx.Err() != nil || s.paused() {
			s.complete.giveUp(t, true)
			continue
		}
		if !s.verify(t) {
			continue
		}
		res, err := s.process(ctx, t)
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = s.keep(ctx, t, res)
		}
		if err == nil {
			s.complete.complete(t, res, true)
			continue
		}
		s.complete.giveUp(t, true)
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, detect.ErrUnavailable):
			s.unavailable(err)
		default:
			s.abort(err) // and take what arrives: were all loops gone, fetchers would hand on to nobody
		}
	}
}

// verify completes those rows of a task whose list gives another checksum than the body's, and reports
// whether others are left.
func (s *processStage) verify(t *task) bool {
	if t.madeOf != nil { // of an image that was verified
		return true
	}
	body := t.body.Bytes
	rejected := t.split(func(r store.Row) bool {
		return r.Hash == "" || source.ChecksumMatches(r.Hash, body)
	})
	if rejected == nil {
		return true
	}
	res := s.begun(t)
	res.Reason = store.HashMismatch
	s.complete.complete(rejected, res, rejected == t)
	return rejected != t
}

// keep has the Keeper keep what it wants of the row's image.
func (s *processStage) keep(ctx context.Context, t *task, res *store.Result) error {
	if s.keeper == nil || res.Status != store.OK {
		return nil
	}
	// As precise as stores are: this tells what belongs to this result from what another process made for the
	// row.
	res.Time = time.Now().Truncate(time.Millisecond)
	img := Processed{Original: Original{t.body.Bytes, t.body.Status, t.body.FinalURL, t.madeOf}, Result: res,
		Kept: t.kept,
		Room: func(n int64) (func(), error) {
			err := s.pixels.reserve(ctx, n)
			return func() { s.pixels.free(n) }, err
		}}
	rows := append([]*task{t}, t.duplicates...)
	for _, row := range rows {
		img.Rows = append(img.Rows, row.row)
		img.Generations = append(img.Generations, row.lease.now().Generation)
	}
	s.activity.elsewise.Add(1)
	outputs, err := s.keepers(ctx, t, img)
	s.activity.elsewise.Add(-1)
	if err != nil {
		return fmt.Errorf("keep row %d: %w", t.row.ID, err)
	}
	for i, row := range rows {
		row.outputs = outputs[i]
	}
	return nil
}

// keepers asks the Keeper. Where no detector had the image decoded before, the Keeper may be the first to
// decode it: that happens in a decoder slot then, and of an image that crashes the decoder nothing is kept.
func (s *processStage) keepers(ctx context.Context, t *task, img Processed) (outputs []store.Outputs,
	err error) {
	if s.detector != nil {
		return s.keeper.Keep(ctx, img)
	}
	err = s.inSlot(ctx, t, func(decoderSlot) (err error) {
		outputs, err = s.keeper.Keep(ctx, img)
		return err
	})
	if decode.IsRefusal(err) {
		return make([]store.Outputs, len(img.Rows)), nil
	}
	return outputs, err
}

// leaveProcessors gives Go's scheduler processors beside those that the workers hold. A worker is in C most
// of the time, and keeps its processor until the scheduler's watchdog finds out and has another thread take
// it over, for every image again: a few per cent of the CPU time of a run. With some to spare, the rest of
// the run has its own. A GOMAXPROCS in the environment stays as it is.
func leaveProcessors(workers int) {
	if n := workers + workers/8 + 2; n > runtime.GOMAXPROCS(0) && os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(n)
	}
}

// suspectPatience is how long a suspect may take, its trial included, before an unclean end counts against it
// once more. A busy machine needs a second or two to begin a trial.
const suspectPatience = 5 * time.Second

// decoderSlot is a decoder and its number. There is one for every processor that may be busy with decoding,
// and with a detector that works here.
type decoderSlot struct {
	*decode.Decoder
	number int
}

// processor turns bodies into results.
type processor struct {
	decode   decode.Options
	detector detect.Detector // nil looks for no faces
	kind     detect.Kind     // of the detector
	encoded  bool            // the detector wants the bytes as downloaded
	sha256   bool            // the bytes are hashed
	keeps    bool            // the bytes are wanted after that too
	slots    chan decoderSlot
	pixels   *pixelPool
	stats    *Stats
	log      *slog.Logger

	// decoding notes the row that a decoder works on, by slot; 0 when it is through.
	decoding func(slot int, id int64)
	// trial decodes where a crash does no harm; nil trusts every body.
	trial func(ctx context.Context, body []byte) error
	alone sync.RWMutex // decoders share it; a suspect takes it whole
}

// open makes n decoder slots; close frees them, once nobody is in one.
func (p *processor) open(n int) {
	if p.detector != nil {
		p.kind = detect.KindOf(p.detector.Fingerprint())
	}
	p.slots = make(chan decoderSlot, n)
	for i := range n {
		p.slots <- decoderSlot{decode.New(p.decode), i}
	}
}

func (p *processor) close() {
	for range cap(p.slots) {
		(<-p.slots).Close()
	}
}

// begun is a task's result as far as its body alone says it.
func (p *processor) begun(t *task) *store.Result {
	res := &store.Result{
		Status: store.Failed, HTTPStatus: t.body.Status, FinalURL: t.body.FinalURL,
		Bytes: int64(len(t.body.Bytes)), Attempts: t.attempts,
	}
	switch {
	case !p.sha256:
	case t.madeOf != nil:
		res.SHA256 = t.madeOf.SHA256
	default:
		sum := sha256.Sum256(t.body.Bytes)
		res.SHA256 = store.SHA256(sum[:])
	}
	return res
}

// process decodes a body and asks the detector. The error is ours, never the image's.
func (p *processor) process(ctx context.Context, t *task) (*store.Result, error) {
	res := p.begun(t)
	file, larger, err := p.probe(t.body.Bytes, t.madeOf)
	res.Format, res.Width, res.Height = file.Format, file.Width, file.Height
	if d := t.madeOf; d != nil {
		d.describe(res)
	}
	if err != nil {
		res.Reason = reasonOf(err)
		return res, nil
	}
	if p.detector == nil {
		res.Status, res.Detector = store.OK, store.NoDetector
		return res, nil
	}
	img, answer, err := p.detect(ctx, t, file, larger)
	if err != nil {
		var panicked *panicError
		switch {
		case errors.As(err, &panicked):
			p.log.Error("the decoder or the detector panicked; row marked bad_image", "id", t.row.ID,
				"panic", panicked.value, "stack", string(panicked.stack))
			res.Reason = store.BadImage
		case decode.IsRefusal(err):
			res.Reason = reasonOf(err)
		default:
			return nil, fmt.Errorf("detector: %w", err)
		}
		return res, nil
	}
	if t.madeOf == nil {
		res.Format, res.Width, res.Height, res.Partial = img.Format, img.Width, img.Height, img.Partial
	}
	if img.Fallback {
		p.stats.Fallbacks.Add(1)
	}
	if answer.Err != nil {
		p.log.Warn("the detector refuses an image that decodes", "id", t.row.ID, "error", answer.Err)
		res.Reason = store.BadImage
		return res, nil
	}
	res.Status = store.OK
	switch {
	case !p.decode.PHash:
	case t.madeOf != nil:
		res.PHash = t.madeOf.PHash
	case img.Hashed:
		res.PHash = store.NewPHash(img.PHash)
	}
	res.Detector = cmp.Or(answer.Detector, p.detector.Fingerprint())
	kind := p.kind
	if answer.Detector != "" {
		kind = detect.KindOf(answer.Detector)
	}
	at := frameOf(img, res)
	res.Faces = at.place(answer.Faces, kind)
	res.Candidates = at.place(answer.Candidates, kind)
	return res, nil
}

// detect decodes one body and has the detector find its faces, within the memory that it takes. To the
// detector the picture is larger by a factor: see probe.
func (p *processor) detect(ctx context.Context, t *task, file *decode.File, larger float64) (img decode.Image,
	a detect.Answer, err error) {
	// The pixels are accounted for before they exist. Waiting here is safe: those that have memory of this
	// pool are decoding, or wait for a detector, which asks for none.
	held := file.Memory
	if local, ok := p.detector.(detect.Local); ok {
		held += local.Memory(file.LumaSize())
	}
	if err := p.pixels.reserve(ctx, held); err != nil {
		return img, a, err
	}
	defer func() { p.pixels.free(held) }()

	remote, _ := p.detector.(detect.Remote)
	var answer func() (detect.Answer, error)
	err = p.inSlot(ctx, t, func(s decoderSlot) (err error) {
		p.stats.Decoding.measure(func() int {
			img, err = s.DecodeFile(file)
			return len(t.body.Bytes)
		})
		defer func() {
			s.Trim()
			img.Luma = nil
		}()
		if err != nil {
			return err
		}
		in := detect.Image{Luma: img.Luma, Scale: img.Scale * larger}
		if p.encoded {
			in.Encoded = t.body.Bytes
			in.Width, in.Height, in.FromStored = stored(img)
		} else if !p.keeps {
			t.dropBody() // the next body can have the room while the detector works
		}
		if remote != nil {
			answer, err = remote.Ask(ctx, in)
			return err
		}
		var answers []detect.Answer
		p.stats.Detecting.measure(func() int {
			answers, err = p.detector.Detect(ctx, []detect.Image{in})
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
	if !p.keeps {
		t.dropBody()
	}
	// At most that: the detector has a copy of what was sent to it.
	luma := min(held, int64(img.Width)*int64(img.Height))
	p.pixels.reduce(held, luma)
	held = luma
	p.stats.Detecting.measure(func() int {
		a, err = answer()
		return int(luma)
	})
	return img, a, err
}

// inSlot has a decoder work on a body, in a slot, with a panic on the way turned into an error.
func (p *processor) inSlot(ctx context.Context, t *task, use func(decoderSlot) error) (err error) {
	var s decoderSlot
	select {
	case s = <-p.slots:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { p.slots <- s }()
	if t.suspect > 0 {
		p.alone.Lock()
		defer p.alone.Unlock()
		// What kills a decoder kills the trial, which is not a guess. So this process need not note the row
		// at once: if it is killed from outside in the few milliseconds that an innocent image takes, the
		// image is not to blame.
		note := time.AfterFunc(suspectPatience, func() { p.decoding(s.number, t.row.ID) })
		defer func() {
			note.Stop()
			p.decoding(s.number, 0)
		}()
		if p.trial != nil {
			if err := p.trial(ctx, t.body.Bytes); err != nil && ctx.Err() == nil {
				p.log.Warn("this image crashes the decoder", "id", t.row.ID, "error", err)
				return fmt.Errorf("%w: it crashes the decoder", decode.ErrBadImage)
			}
		}
	} else {
		p.alone.RLock()
		defer p.alone.RUnlock()
		p.decoding(s.number, t.row.ID)
		defer p.decoding(s.number, 0)
	}
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return use(s)
}

// stored tells how an image lies in its file: its size there, and what carries a box from there into its
// luma.
func stored(img decode.Image) (width, height int, carry func(detect.Face) detect.Face) {
	width, height = img.Width, img.Height
	if img.Orientation >= 5 {
		width, height = height, width
	}
	return width, height, func(f detect.Face) detect.Face {
		b := decode.ToUpright(decode.Box{X: f.X, Y: f.Y, Width: f.Width, Height: f.Height}, img.Orientation,
			float64(width), float64(height))
		f.X, f.Y, f.Width, f.Height = b.X/img.Scale, b.Y/img.Scale, b.Width/img.Scale, b.Height/img.Scale
		for i, p := range f.Landmarks {
			b := decode.ToUpright(decode.Box{X: p.X, Y: p.Y}, img.Orientation, float64(width),
				float64(height))
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

func (e *panicError) Error() string { return fmt.Sprint("panic: ", e.value) }
