package sidecar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"math"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"sync"

	"facescan/detect"
)

// A server that passed its check may later begin to answer "no faces" to everything. So every request
// includes a known image at some position among the others. If its answer is wrong, the whole response is
// rejected.

const (
	// knownFace is the --min-face, in pixels, for which the known images are used at the size at which they
	// are drawn
	knownFace  = 24
	mostLarger = 8  // their greatest enlargement, for larger faces
	mostScales = 64 // scales for which known images are stored
)

// known holds the known images of a scale, with the right answers; those with faces if there are any.
type known struct {
	learning sync.Mutex
	items    []*item // empty until learned
	answers  []detect.Answer
}

// inferKnown sends images with a known one among them, and returns the checked answers.
func (c *Client) inferKnown(ctx context.Context, e *endpoint, items []*item,
	p parameters) ([]detect.Answer, error) {
	k, err := c.knownAt(ctx, e, items[0].scale)
	if err != nil {
		return nil, err
	}
	which := rand.IntN(len(k.items))
	if len(items) < c.o.Batch {
		at := rand.IntN(len(items) + 1)
		answers, err := c.infer(ctx, e, slices.Insert(slices.Clone(items), at, k.items[which]), p)
		if err == nil {
			err = k.check(e, which, answers[at])
		}
		var h *HTTPError
		if err == nil {
			return slices.Delete(answers, at, at+1), nil
		} else if !errors.As(err, &h) || h.Status != http.StatusRequestEntityTooLarge || len(items) > 1 {
			return nil, err
		}
	}
	// There is no room for the known image: it is sent alone, after the others, so that it vouches for their
	// answers.
	answers, err := c.infer(ctx, e, items, p)
	if err != nil {
		return nil, err
	}
	own, err := c.infer(ctx, e, k.items[which:which+1], p)
	if err == nil {
		err = k.check(e, which, own[0])
	}
	return answers, err
}

// check compares an answer to a known image with the right one.
func (k *known) check(e *endpoint, which int, got detect.Answer) error {
	if want := k.answers[which]; !reflect.DeepEqual(got, want) {
		return &AnswerError{e.name,
			fmt.Sprintf("a known image that went with it has %s, and the answer is %s", summary(want),
				summary(got))}
	}
	return nil
}

// knownAt returns the known images of a scale. The answers at a new scale are learned from the endpoint,
// which must also answer as in its check.
func (c *Client) knownAt(ctx context.Context, e *endpoint, scale float64) (*known, error) {
	c.mu.Lock()
	k := c.known[scale]
	if k == nil {
		if len(c.known) >= mostScales {
			clear(c.known)
		}
		k = new(known)
		c.known[scale] = k
	}
	c.mu.Unlock()
	k.learning.Lock()
	defer k.learning.Unlock()
	if len(k.items) > 0 {
		return k, nil
	}
	larger := int(min(max(math.Ceil(float64(c.o.Params.MinFace)/scale/knownFace), 1), mostLarger))
	items, err := c.knownItems(larger)
	if err != nil {
		return nil, err
	}
	answers := c.model.known
	if scale != 1 || larger > 1 {
		if answers, err = c.alone(ctx, e, items, scale); err != nil {
			return nil, err
		}
		checked, err := c.knownItems(1)
		if err != nil {
			return nil, err
		}
		now, err := c.alone(ctx, e, checked, 1)
		if err != nil {
			return nil, err
		}
		if !reflect.DeepEqual(now, c.model.known) {
			return nil, c.model.changed(e)
		}
	}
	for i, a := range answers {
		if len(a.Faces) > 0 {
			k.items, k.answers = append(k.items, items[i]), append(k.answers, a)
		}
	}
	if len(k.items) == 0 { // the flags exclude them all
		k.items, k.answers = items, answers
	}
	return k, nil
}

// alone sends images one by one, in the form that the server reads.
func (c *Client) alone(ctx context.Context, e *endpoint, items []*item,
	scale float64) ([]detect.Answer, error) {
	params, err := toParameters(c.o.Params, scale, c.model.listed)
	if err != nil {
		return nil, err
	}
	answers := make([]detect.Answer, len(items))
	for i, it := range items {
		a, err := c.inferPatiently(ctx, e, []*item{it}, params)
		if e.form.Load() == unknownForm {
			a, err = c.form(ctx, e, it, params, a, err)
		}
		if err != nil {
			return nil, err
		}
		answers[i] = a[0]
	}
	return answers, nil
}

// knownItems returns the known images, enlarged, in the form in which they are sent.
func (c *Client) knownItems(larger int) ([]*item, error) {
	images := knownImages()
	items := make([]*item, len(images))
	for i, luma := range images {
		luma = enlarge(luma, larger)
		img := detect.Image{Luma: luma, Scale: 1}
		if c.o.Input == Encoded {
			var b bytes.Buffer
			if err := png.Encode(&b, luma); err != nil {
				return nil, err
			}
			img.Encoded, img.Width, img.Height = b.Bytes(), luma.Rect.Dx(), luma.Rect.Dy()
		}
		items[i] = new(item)
		c.fill(items[i], img)
		items[i].forFallback = nil // of no use here
	}
	return items, nil
}

// enlarge repeats every pixel.
func enlarge(m *image.Gray, times int) *image.Gray {
	if times == 1 {
		return m
	}
	out := image.NewGray(image.Rect(0, 0, times*m.Rect.Dx(), times*m.Rect.Dy()))
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			out.Pix[y*out.Stride+x] = m.Pix[y/times*m.Stride+x/times]
		}
	}
	return out
}
