package sidecar

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"facescan/detect"
)

const (
	everySize = 64 // up to which every size of a batch is tried; beyond, powers of two
	busyTries = 5  // of a check's request
)

// model describes what a server serves. All endpoints of a client must serve the same.
type model struct {
	detector   string // fingerprint of engine and model
	kind       detect.Kind
	landmarks  bool       // it has the output "landmarks"
	listed     parameters // parameters it has, with their defaults
	candidates bool       // it can return faces below the threshold
	print      string     // detector and flags
	known      []detect.Answer
}

// metadata is a server's description of a model.
type metadata struct {
	Name       string
	Versions   []string
	Inputs     []tensor
	Outputs    []tensor
	Parameters parameters
}

// expected are the tensors of a model, with landmarks or without.
func expected(landmarks bool) *metadata {
	m := &metadata{
		Inputs: []tensor{{Name: imagesName, Datatype: typeBytes, Shape: []int64{-1}}},
		Outputs: []tensor{{Name: facesName, Datatype: typeFP32, Shape: []int64{-1, faceFields}},
			{Name: countsName, Datatype: typeINT32, Shape: []int64{-1}}},
	}
	if landmarks {
		m.Outputs = append(m.Outputs, tensor{Name: pointsName, Datatype: typeFP32,
			Shape: []int64{-1, int64(pointFields)}})
	}
	return m
}

// tensors formats the tensors for messages, in a fixed order.
func (m *metadata) tensors() string {
	text := func(ts []tensor) string {
		var parts []string
		for _, t := range ts {
			parts = append(parts, fmt.Sprintf("%s %s %v", t.Name, t.Datatype, t.Shape))
		}
		slices.Sort(parts)
		return strings.Join(parts, ", ")
	}
	return fmt.Sprintf("input %s and outputs %s", cmp.Or(text(m.Inputs), "none"),
		cmp.Or(text(m.Outputs), "none"))
}

// Detector asks servers for their detector until one answers. It returns the fingerprint, up to the flags,
// and the kind, which is the zero Kind for a foreign model.
func Detector(ctx context.Context, urls []string) (fingerprint string, kind detect.Kind, err error) {
	var errs []error
	for _, u := range urls {
		e, err := newEndpoint(u, 1)
		if err != nil {
			return "", kind, err
		}
		defer e.http.CloseIdleConnections()
		md, err := e.metadata(ctx)
		if err == nil {
			return md.detector(), detect.KindOf(md.detector()), nil
		}
		if permanent(err) {
			return "", kind, err
		}
		errs = append(errs, err)
	}
	return "", kind, fmt.Errorf("%w: %w%s", ErrNoAnswer, errors.Join(errs...), adviceNoAnswer)
}

// metadata asks an endpoint for the metadata of its model.
func (e *endpoint) metadata(ctx context.Context) (*metadata, error) {
	body, err := e.get(ctx, e.base)
	if err != nil {
		return nil, err
	}
	md := new(metadata)
	if err := json.Unmarshal(body, md); err != nil {
		return nil, &ModelError{e.name, "metadata that cannot be read: " + err.Error(),
			"those of a model with " + expected(false).tensors()}
	}
	if got := md.tensors(); got != expected(false).tensors() && got != expected(true).tensors() {
		return nil, &ModelError{e.name, got, expected(false).tensors()}
	}
	return md, nil
}

// check returns nil if an endpoint can be used: it is ready, has the right tensors and flags, and answers
// known images like the other endpoints, in batches of any size. With every, all sizes are tried, else some.
func (c *Client) check(ctx context.Context, e *endpoint, every bool) error {
	if _, err := e.get(ctx, e.base+"/ready"); err != nil {
		return err
	}
	md, err := e.metadata(ctx)
	if err != nil {
		return err
	}
	m, err := c.describe(e, md)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.model == nil && c.expects != "" && m.print != c.expects {
		c.mu.Unlock()
		return &ModelError{e.name, "the detector " + m.print,
			c.expects + ", as here, where faces were found while no sidecar answered"}
	}
	if c.model == nil {
		c.model = m // for the requests below
	}
	first := c.model
	c.mu.Unlock()
	if m.print != first.print {
		return &ModelError{e.name, "the detector " + m.print, first.print + ", as before and elsewhere"}
	}
	known, err := c.equal(ctx, e, every)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if first.known == nil {
		first.known = known
	}
	if !reflect.DeepEqual(known, first.known) {
		return first.changed(e)
	}
	return nil
}

// changed is the error of a server whose answers differ from earlier ones, or from those of others.
func (m *model) changed(e *endpoint) error {
	return &ModelError{e.name, "other answers to known images than before, or elsewhere",
		"the same from every server, as they all call themselves " + m.print}
}

// describe turns metadata into a model.
func (c *Client) describe(e *endpoint, md *metadata) (*model, error) {
	m := &model{listed: md.Parameters, detector: md.detector(),
		landmarks: md.tensors() == expected(true).tensors()}
	m.kind = detect.KindOf(m.detector)
	if m.kind.Name != c.o.Params.Detector {
		want := "a model of others, as the job says"
		if d := c.o.Params.Detector; d != "" {
			want = d + ", as the job or --detector says (served by facescan sidecar --detector " + d + ")"
		}
		return nil, &ModelError{e.name, "the detector " + named(m.kind, m.detector), want}
	}
	p, err := toParameters(c.o.Params, 1, m.listed)
	if err != nil {
		return nil, &ModelError{e.name, err.Error(),
			"it in the parameters of the model's metadata, or the flag left out"}
	}
	_, m.candidates = m.listed[candidatesKey]
	m.print = m.detector
	own := flagsOf(m.kind)
	whole := m.kind.Known() &&
		!slices.ContainsFunc(own, func(f flag) bool { _, ok := m.listed[f.name]; return !ok })
	if whole {
		m.print += " " + c.o.Params.String()
		return m, nil
	}
	for _, f := range own {
		if v, ok := p[f.name]; ok {
			m.print += fmt.Sprintf(" %s=%v", f.name, v)
		}
	}
	return m, nil
}

// detector is the fingerprint of engine and model, or the model's name and versions if it gives none.
func (m *metadata) detector() string {
	if d, _ := m.Parameters[detectorKey].(string); d != "" {
		return d
	}
	return m.Name + "/" + strings.Join(m.Versions, ",")
}

// named is a fingerprint with the detector's name, if it is built in.
func named(k detect.Kind, fingerprint string) string {
	if !k.Known() {
		return fingerprint
	}
	return k.Name + " (" + fingerprint + ")"
}

// equal sends known images, each alone and then in batches, and returns the answers.
func (c *Client) equal(ctx context.Context, e *endpoint, every bool) ([]detect.Answer, error) {
	items, err := c.knownItems(1)
	if err != nil {
		return nil, err
	}
	params, err := toParameters(c.o.Params, 1, c.model.listed)
	if err != nil {
		return nil, err
	}
	if e.announces(ctx) {
		e.form.Store(binaryForm)
	}
	alone, err := c.alone(ctx, e, items, 1)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(alone, func(a detect.Answer) bool { return a.Err != nil }) {
		return nil, &ModelError{e.name, "that it cannot read a plain picture", "that it can"}
	}
	for n := 2; n <= c.o.Batch; n++ {
		power := n&(n-1) == 0 || n == c.o.Batch
		if !power && (!every || n > everySize) {
			continue
		}
		which := make([]int, n)
		for i := range which {
			// All kinds of images at every position would cost the time of a hundred photos. In most sizes
			// there are three among empty ones: at both ends and between.
			if power || i == 0 || i == n/3 || i == n-1 {
				which[i] = (n + i) % len(items)
			} else {
				which[i] = len(items) - 1
			}
		}
		batch := make([]*item, n)
		for i, k := range which {
			batch[i] = items[k]
		}
		answers, err := c.inferPatiently(ctx, e, batch, params)
		if err != nil {
			return nil, err
		}
		for i, a := range answers {
			if want := alone[which[i]]; !reflect.DeepEqual(a, want) {
				return nil, &ModelError{e.name,
					fmt.Sprintf("an answer that depends on the batch: a known image gives %s alone, and %s "+
						"as number %d of %d", summary(want), summary(a), i+1, n),
					"the same answer to an image in every batch"}
			}
		}
	}
	return alone, nil
}

// announces reports whether the server lists the binary extension.
func (e *endpoint) announces(ctx context.Context) bool {
	root, _, _ := strings.Cut(e.base, "/models/")
	body, err := e.get(ctx, root)
	var server struct{ Extensions []string }
	return err == nil && json.Unmarshal(body, &server) == nil && slices.Contains(server.Extensions, binaryExt)
}

// form finds the form of request for a server that does not list the binary extension. inJSON and err are its
// response to a request in JSON.
func (c *Client) form(ctx context.Context, e *endpoint, it *item, p parameters, inJSON []detect.Answer,
	err error) ([]detect.Answer, error) {
	var nonsense *AnswerError
	if err == nil && inJSON[0].Err == nil || errors.As(err, &nonsense) {
		e.form.Store(jsonForm)
		return inJSON, err
	}
	e.form.Store(binaryForm)
	a, again := c.inferPatiently(ctx, e, []*item{it}, p)
	switch {
	case again == nil:
		return a, nil
	case err == nil:
		err = again
	}
	e.form.Store(unknownForm)
	return nil, fmt.Errorf("%w; and with the binary extension: %w", err, again)
}

// inferPatiently is infer with a few retries while the server is busy.
func (c *Client) inferPatiently(ctx context.Context, e *endpoint, items []*item,
	p parameters) ([]detect.Answer, error) {
	for try := 0; ; try++ {
		answers, err := c.infer(ctx, e, items, p)
		var h *HTTPError
		if !errors.As(err, &h) || !h.later() || try == busyTries {
			return answers, err
		}
		select {
		case <-time.After(min(cmp.Or(h.RetryAfter, retryLater), getTimeout)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// summary describes an answer in messages.
func summary(a detect.Answer) string {
	if len(a.Faces) == 0 {
		return "no face"
	}
	f := a.Faces[0]
	return fmt.Sprintf("%d faces, the best %.2f,%.2f %.2fx%.2f of score %.4g", len(a.Faces), f.X, f.Y,
		f.Width, f.Height, f.Score)
}

// knownImages draws the known images: two with a face, of different sizes, and some without; the last is
// empty. They are small, since they are processed hundreds of times.
func knownImages() []*image.Gray {
	draw := func(w, h int, luma func(x, y float64) float64) *image.Gray {
		m := image.NewGray(image.Rect(0, 0, w, h))
		for i := range m.Pix {
			m.Pix[i] = uint8(min(max(luma(float64(i%w), float64(i/w)), 0), 255))
		}
		return m
	}
	at := func(cx, cy, side float64) func(x, y float64) float64 {
		return func(x, y float64) float64 { return drawnFace((x-cx)/side, (y-cy)/side) }
	}
	return []*image.Gray{
		draw(72, 72, at(36, 36, 48)),
		draw(48, 48, func(x, y float64) float64 { return 128 + 60*math.Sin(x/3)*math.Cos(y/5) }),
		draw(84, 56, at(56, 27, 34)),
		draw(32, 48, func(x, y float64) float64 { return 3*x + y }),
		draw(33, 33, func(x, y float64) float64 { return 200 }),
	}
}

// drawnFace is the luma of a face around the origin, one unit large: a bright oval, dark eyes and brows, a
// nose's shadow, a mouth.
func drawnFace(x, y float64) float64 {
	blob := func(cx, cy, rx, ry float64) float64 {
		dx, dy := (x-cx)/rx, (y-cy)/ry
		return math.Exp(-(dx*dx + dy*dy))
	}
	v := 90.0
	if d := x*x/(0.42*0.42) + y*y/(0.55*0.55); d < 1 {
		v = 205 - 40*d
	}
	v -= 130 * (blob(-0.19, -0.12, 0.09, 0.05) + blob(0.19, -0.12, 0.09, 0.05))
	v -= 80 * (blob(-0.19, -0.24, 0.13, 0.035) + blob(0.19, -0.24, 0.13, 0.035))
	v -= 50 * (blob(-0.05, 0.1, 0.035, 0.03) + blob(0.05, 0.1, 0.035, 0.03))
	v -= 100 * blob(0, 0.27, 0.17, 0.04)
	v += 30 * blob(0, 0, 0.05, 0.12)
	return v
}
