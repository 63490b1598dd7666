package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"facescan/detect"
	"facescan/pipeline/decode"
	"facescan/store"
)

// workLoop is one worker: it decodes and judges bodies one after the other, with scratch memory of its own.
func (r *run) workLoop(i int) error {
	d := decode.New(r.Decode)
	defer d.Close()
	for t := range r.fetched {
		if t.held.ctx.Err() != nil {
			r.giveUp(t, true)
			continue
		}
		res, err := r.judge.result(t.held.ctx, i, d, t)
		switch {
		case t.held.ctx.Err() != nil:
			r.giveUp(t, true)
		case err != nil:
			r.giveUp(t, true)
			return err
		default:
			if err := r.keep(t, res); err != nil {
				r.giveUp(t, true)
				if t.held.ctx.Err() != nil {
					continue
				}
				return err
			}
			r.settle(t, res, true)
		}
	}
	return nil
}

// suspectPatience is how long a suspect may take before an unclean end counts against it once more.
const suspectPatience = 500 * time.Millisecond

// judge turns bodies into results.
type judge struct {
	decode   decode.Options
	detector detect.Detector
	encoded  bool // the detector wants the bytes as downloaded
	keeps    bool // the bytes are wanted after that too
	pixels   *half
	stats    *Stats
	log      *slog.Logger

	// decoding notes the row that a decoder works on, by worker; 0 when it is through.
	decoding func(slot int, id int64)
	// trial decodes where a crash does no harm; nil trusts every body.
	trial func(ctx context.Context, body []byte) error
	alone sync.RWMutex // decoders share it; a suspect takes it whole
}

// result decodes a body and asks the detector. The error is ours, never the image's.
func (j *judge) result(ctx context.Context, slot int, d *decode.Decoder, t *task) (*store.Result, error) {
	bytes := t.body.bytes
	res := &store.Result{
		Status: store.Failed, HTTPStatus: t.body.status, FinalURL: t.body.finalURL,
		Bytes: int64(len(bytes)), Attempts: t.attempts,
	}
	header, err := decode.Probe(bytes, j.decode)
	res.Format, res.Width, res.Height = header.Format, header.Width, header.Height
	if err != nil {
		res.Reason = reasonOf(err)
		return res, nil
	}
	// The pixels are accounted for before they exist. Waiting here is safe: only decoders hold this half.
	if err := j.pixels.reserve(ctx, header.Memory); err != nil {
		return nil, err
	}
	defer j.pixels.release(header.Memory, true)

	if t.suspect > 0 {
		j.alone.Lock()
		defer j.alone.Unlock()
		// What kills a decoder kills the trial, which is no guess. So this process need not note the row at once: if it
		// is killed from outside in the few milliseconds that an innocent image takes, the image is not to blame.
		note := time.AfterFunc(suspectPatience, func() { j.decoding(slot, t.row.ID) })
		defer func() {
			note.Stop()
			j.decoding(slot, 0)
		}()
		if j.trial != nil {
			if err := j.trial(ctx, bytes); err != nil && ctx.Err() == nil {
				j.log.Warn("a decoder dies of this image", "id", t.row.ID, "error", err)
				res.Reason = store.BadImage
				return res, nil
			}
		}
	} else {
		j.alone.RLock()
		defer j.alone.RUnlock()
		j.decoding(slot, t.row.ID)
		defer j.decoding(slot, 0)
	}
	img, answer, err := j.look(ctx, d, t)
	if err != nil {
		var p *panicError
		switch {
		case errors.As(err, &p):
			j.log.Error("a panic is this row's outcome", "id", t.row.ID, "panic", p.value, "stack", string(p.stack))
			res.Reason = store.BadImage
		case errors.Is(err, decode.ErrNotImage), errors.Is(err, decode.ErrBadImage), errors.Is(err, decode.ErrTooManyPixels):
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
	res.Status = store.OK
	res.Detector = j.detector.Fingerprint()
	res.Faces = place(answer.Faces, img)
	res.Candidates = place(answer.Candidates, img)
	return res, nil
}

// look decodes one body and has it judged, with a panic on the way turned into an error.
func (j *judge) look(ctx context.Context, d *decode.Decoder, t *task) (img decode.Image, a detect.Answer, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	j.stats.Decoding.measure(func() int {
		img, err = d.Decode(t.body.bytes)
		return len(t.body.bytes)
	})
	if err != nil {
		return img, a, err
	}
	in := detect.Image{Luma: img.Luma, Scale: img.Scale}
	if j.encoded {
		in.Encoded = t.body.bytes
	} else if !j.keeps {
		t.body.drop() // the next body can have the room while the detector works
	}
	var answers []detect.Answer
	j.stats.Detecting.measure(func() int {
		answers, err = j.detector.Detect(ctx, []detect.Image{in})
		return len(img.Luma.Pix)
	})
	if err != nil {
		return img, a, err
	}
	if len(answers) != 1 {
		return img, a, fmt.Errorf("%d answers for one image", len(answers))
	}
	return img, answers[0], answers[0].Err
}

type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprint("panic: ", p.value) }

// place turns a detector's boxes into stored ones: pixels of the upright image.
func place(faces []detect.Face, img decode.Image) []store.Face {
	out := make([]store.Face, 0, len(faces))
	for _, f := range faces {
		if x, y, w, h, ok := detect.Place(f, img.Scale, img.Width, img.Height); ok {
			out = append(out, store.Face{X: x, Y: y, Width: w, Height: h, Score: f.Score, Confidence: f.Confidence})
		}
	}
	return out
}
