package sidecar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"facescan/detect"
	"facescan/pipeline/crash"
)

// Input is the form in which images are sent.
type Input string

const (
	Luma    Input = "luma"    // the decoded luma, as PGM
	Encoded Input = "encoded" // the file as it was downloaded
)

// ErrNoAnswer is the error when none of the servers answers. A later call may succeed.
var ErrNoAnswer = errors.New("no sidecar answers")

// adviceNoAnswer is printed behind ErrNoAnswer when the client has no fallback.
const adviceNoAnswer = "; see that it runs, " +
	"or add --sidecar-fallback cpu to find faces here while none answers"

// Options of a Client. The zero value of a field means its default.
type Options struct {
	// URLs of models: http://host:8000/v2/models/face, or http://host:8000 for the model face, or
	// unix:///run/facescan.sock. A password, or else a user name, in one is sent as bearer token.
	URLs  []string
	Input Input // Luma
	Batch int   // images in a request at most, one of them a known one; 64
	// Delay is how long a batch waits to be filled; 0 sends each image alone, unless several are waiting
	Delay    time.Duration
	Params   detect.Params   // detection flags
	Fallback detect.Detector // answers while no server does; closed with the client. Nil: ErrUnavailable
	InFlight int             // requests to a URL at once; 2
	Deadline time.Duration   // of a request; 30 s
	Memory   int64           // bytes of images underway at most, beyond one; 256 MiB
	Log      *slog.Logger    // for servers that go down or come back; discarded
}

const (
	maxBatchBytes = 32 << 20 // a batch with so many bytes is full: other servers accept 64 MiB
	keepBuffer    = 4 << 20  // larger buffers are not kept
	triesAlone    = 3        // of an image that fails alone
)

// Client is a detector that uses servers. It implements detect.Remote.
type Client struct {
	o         Options
	endpoints []*endpoint
	room      *semaphore.Weighted
	buffers   sync.Pool     // *[]byte
	local     chan struct{} // a token per image that the fallback processes
	ctx       context.Context
	cancel    context.CancelFunc
	wg        sync.WaitGroup

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced when an endpoint's state changes
	open       map[float64]*batch
	closed     bool
	model      *model             // what all endpoints must serve; set by the first that passed its check
	expects    string             // without a model: the fallback's fingerprint, which the model must have
	known      map[float64]*known // by scale
	onFallback bool               // the fallback answered last
}

var _ detect.Remote = (*Client)(nil)

// batch collects images of one scale.
type batch struct {
	scale float64
	items []*item
	bytes int
	timer *time.Timer
}

// item is an image underway.
type item struct {
	buffer        *[]byte     // its element of the tensor: length, then the file
	width, height float64     // of the sent image
	luma          image.Point // size of the luma that answers are about
	fromStored    func(detect.Face) detect.Face
	forFallback   *detect.Image // nil without a fallback, or if buffer holds the luma
	scale         float64
	weight        int64 // of the client's memory

	done   chan struct{} // closed when one of these is set
	answer detect.Answer
	err    error
}

// errClosed is the error of requests that are pending at Close, or come later.
var errClosed = errors.New("the sidecar client is closed")

// New checks the servers and returns a client of them. A wrong server is an error. Servers that do not answer
// are an error (ErrNoAnswer) only if none answers and there is no fallback.
func New(ctx context.Context, o Options) (*Client, error) {
	o.Input = cmp.Or(o.Input, Luma)
	o.Batch = cmp.Or(o.Batch, 64)
	o.InFlight = cmp.Or(o.InFlight, 2)
	o.Deadline = cmp.Or(o.Deadline, 30*time.Second)
	o.Memory = cmp.Or(o.Memory, 256<<20)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case len(o.URLs) == 0:
		return nil, errors.New("no URL of a sidecar")
	case o.Input != Luma && o.Input != Encoded:
		return nil, fmt.Errorf("sidecar input %q: it is luma or encoded", o.Input)
	case o.Batch < 1 || o.Batch > 4096:
		return nil, fmt.Errorf("sidecar batch %d: give 1 to 4096", o.Batch)
	case o.Delay < 0 || o.Delay > time.Minute:
		return nil, fmt.Errorf("sidecar delay %v: give up to 1m", o.Delay)
	}
	if err := o.Params.Validate(); err != nil {
		return nil, err
	}
	c := &Client{o: o, room: semaphore.NewWeighted(o.Memory),
		local:   make(chan struct{}, runtime.GOMAXPROCS(0)),
		changed: make(chan struct{}), open: map[float64]*batch{}, known: map[float64]*known{}}
	for _, u := range o.URLs {
		e, err := newEndpoint(u, o.InFlight)
		if err != nil {
			return nil, err
		}
		c.endpoints = append(c.endpoints, e)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.begin(ctx); err != nil {
		c.o.Fallback = nil // it stays the caller's
		_ = c.Close()      // what went wrong is the error to report
		return nil, err
	}
	return c, nil
}

// begin checks every endpoint for the first time.
func (c *Client) begin(ctx context.Context) error {
	errs := make([]error, len(c.endpoints))
	var wg sync.WaitGroup
	for i, e := range c.endpoints {
		wg.Go(func() {
			defer crash.Exit()
			errs[i] = c.check(ctx, e, true)
		})
	}
	wg.Wait()
	ready := 0
	for i, e := range c.endpoints {
		switch {
		case errs[i] == nil:
			e.state = up
			ready++
		case ctx.Err() != nil:
			return ctx.Err()
		case permanent(errs[i]):
			return errs[i]
		}
	}
	if ready == 0 {
		err := fmt.Errorf("%w: %w", ErrNoAnswer, errors.Join(errs...))
		if c.o.Fallback == nil {
			return fmt.Errorf("%w%s", err, adviceNoAnswer)
		}
		c.expects = c.o.Fallback.Fingerprint()
		c.noteFallback(true, err)
	}
	for i, e := range c.endpoints {
		if errs[i] != nil {
			if ready > 0 {
				c.o.Log.Warn("a sidecar does not answer: the others are used", "url", e.name, "error",
					errs[i])
			}
			e.state, e.err = down, errs[i]
			c.wg.Go(func() {
				defer crash.Exit()
				c.revive(e, errs[i])
			})
		}
	}
	return nil
}

// Fingerprint names the server's model and the flags.
func (c *Client) Fingerprint() string {
	prefix := detect.LumaPrefix
	if c.o.Input == Encoded {
		prefix = detect.EncodedPrefix
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.model == nil {
		return prefix + c.expects
	}
	return prefix + c.model.print
}

// Close ends pending requests with an error, and closes the fallback.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	left := c.open
	c.open = nil
	c.mu.Unlock()
	c.cancel()
	for _, b := range left {
		b.timer.Stop()
		c.finish(b.items, errClosed)
	}
	c.wg.Wait()
	for _, e := range c.endpoints {
		e.http.CloseIdleConnections()
	}
	if c.o.Fallback != nil {
		return c.o.Fallback.Close()
	}
	return nil
}

// Detect sends every image and waits for all answers.
func (c *Client) Detect(ctx context.Context, images []detect.Image) ([]detect.Answer, error) {
	answers := make([]detect.Answer, len(images))
	waits := make([]func() (detect.Answer, error), len(images))
	var failed error
	for i, img := range images {
		wait, err := c.Ask(ctx, img)
		if err != nil {
			failed = err
			break
		}
		waits[i] = wait
	}
	for i, wait := range waits {
		if wait == nil {
			break
		}
		a, err := wait()
		if err != nil && failed == nil {
			failed = err
		}
		answers[i] = a
	}
	if failed != nil {
		return nil, failed
	}
	return answers, nil
}

// Ask implements detect.Remote.
func (c *Client) Ask(ctx context.Context, img detect.Image) (func() (detect.Answer, error), error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.o.Input == Encoded && len(img.Encoded) == 0 {
		return nil, errors.New("the sidecar is to be sent the file as downloaded, and there is none")
	}
	it := &item{scale: img.Scale, done: make(chan struct{})}
	size := img.Luma.Bounds().Size()
	it.weight = int64(size.X) * int64(size.Y)
	if c.o.Input == Encoded {
		it.weight = int64(len(img.Encoded))
		if c.o.Fallback != nil {
			it.weight += int64(len(img.Luma.Pix))
		}
	}
	it.weight = min(it.weight+64, c.o.Memory)
	if err := c.room.Acquire(ctx, it.weight); err != nil {
		return nil, err
	}
	c.fill(it, img)
	if !c.add(it) {
		c.free(it)
		return nil, errClosed
	}
	return func() (detect.Answer, error) {
		select {
		case <-it.done:
			return it.answer, it.err
		case <-ctx.Done():
			return detect.Answer{}, ctx.Err()
		}
	}, nil
}

// fill copies what is sent of an image, and what the fallback would need.
func (c *Client) fill(it *item, img detect.Image) {
	var b []byte
	if p, _ := c.buffers.Get().(*[]byte); p != nil {
		b = (*p)[:0]
	}
	size := img.Luma.Bounds().Size()
	it.luma = size
	if c.o.Input == Encoded {
		b = appendElement(b, func(b []byte) []byte { return append(b, img.Encoded...) })
		it.width, it.height, it.fromStored = float64(img.Width), float64(img.Height), img.FromStored
		it.scale = 1 // its pixels are the full ones, unlike those of Luma
		if c.o.Fallback != nil {
			luma := &image.Gray{Pix: make([]uint8, 0, size.X*size.Y), Stride: size.X,
				Rect: image.Rect(0, 0, size.X, size.Y)}
			for y := range size.Y {
				luma.Pix = append(luma.Pix, img.Luma.Pix[y*img.Luma.Stride:][:size.X]...)
			}
			it.forFallback = &detect.Image{Luma: luma, Scale: img.Scale}
		}
	} else {
		b = slices.Grow(b, size.X*size.Y+64)
		b = appendElement(b, func(b []byte) []byte { return appendPGM(b, img.Luma) })
		it.width, it.height = float64(size.X), float64(size.Y)
	}
	it.buffer = &b
}

// add puts an item into the open batch of its scale.
func (c *Client) add(it *item) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	b := c.open[it.scale]
	if b == nil {
		b = &batch{scale: it.scale}
		b.timer = time.AfterFunc(c.o.Delay, func() {
			defer crash.Exit()
			c.mu.Lock()
			defer c.mu.Unlock()
			c.sendLocked(b)
		})
		c.open[it.scale] = b
	}
	b.items = append(b.items, it)
	b.bytes += len(*it.buffer)
	if len(b.items) >= c.o.Batch-1 || b.bytes >= maxBatchBytes {
		c.sendLocked(b)
	}
	return true
}

// sendLocked closes a batch and starts processing it, unless that was done.
func (c *Client) sendLocked(b *batch) {
	if c.open[b.scale] != b {
		return
	}
	delete(c.open, b.scale)
	b.timer.Stop()
	c.wg.Go(func() {
		defer crash.Exit()
		c.process(b.items)
	})
}

// process sends a batch, retrying and splitting it as needed.
func (c *Client) process(items []*item) {
	var last *endpoint
	patience := time.Now().Add(c.o.Deadline)
	for tries := 0; ; {
		e, epoch, err := c.pick(last, patience)
		if err != nil {
			c.unanswered(items, err)
			return
		}
		params, err := toParameters(c.o.Params, items[0].scale, c.model.listed)
		if err != nil {
			c.put(e, epoch, err, 0)
			c.finish(items, err)
			return
		}
		begin := time.Now()
		answers, err := c.inferOnce(e, items, params)
		c.put(e, epoch, err, time.Since(begin))
		var h *HTTPError
		status := 0
		if errors.As(err, &h) {
			status = h.Status
		}
		if h == nil || !h.later() { // a busy server's answer does not count as a try
			tries++
		}
		last = e
		switch {
		case err == nil:
			for i, it := range items {
				it.answer = answers[i]
			}
			c.noteFallback(false, nil)
			c.finish(items, nil)
			return
		case c.ctx.Err() != nil:
			c.finish(items, errClosed)
			return
		case status == 413 && len(items) == 1:
			c.finish(items, fmt.Errorf("%w; an image of %d bytes is more than it takes: raise its limits",
				err, len(*items[0].buffer)))
			return
		case status == 413, tries == 2 && !permanent(err) && len(items) > 1:
			half := len(items) / 2
			c.process(items[:half])
			c.process(items[half:])
			return
		case tries == 2 && permanent(err):
			c.finish(items, err)
			return
		case tries == triesAlone:
			c.o.Log.Warn("a sidecar fails on this image, and is well otherwise: the image is not processed",
				"url", e.name, "error", err)
			items[0].answer = detect.Answer{Err: fmt.Errorf("the sidecar fails on it: %w", err)}
			c.finish(items, nil)
			return
		}
	}
}

// unanswered completes items when no endpoint is available: by the fallback, or with the error.
func (c *Client) unanswered(items []*item, why error) {
	if c.ctx.Err() != nil {
		why = errClosed
	}
	if c.o.Fallback == nil || !errors.Is(why, detect.ErrUnavailable) {
		c.finish(items, why)
		return
	}
	c.noteFallback(true, why)
	print := c.o.Fallback.Fingerprint()
	var wg sync.WaitGroup
	for _, it := range items {
		c.local <- struct{}{}
		wg.Go(func() {
			defer crash.Exit()
			defer func() { <-c.local }()
			img := it.forFallback
			if img == nil {
				luma, err := parsePGM((*it.buffer)[4:])
				if err != nil {
					it.err = err
					return
				}
				img = &detect.Image{Luma: luma, Scale: it.scale}
			}
			answers, err := c.o.Fallback.Detect(c.ctx, []detect.Image{*img})
			if err != nil {
				it.err = err
				return
			}
			it.answer = answers[0]
			it.answer.Detector = print
		})
	}
	wg.Wait()
	c.finish(items, nil)
}

// noteFallback records whether the fallback answers, and logs when that changes.
func (c *Client) noteFallback(on bool, why error) {
	c.mu.Lock()
	change := c.onFallback != on
	c.onFallback = on
	c.mu.Unlock()
	switch {
	case change && on:
		c.o.Log.Warn("no sidecar answers: faces are found here meanwhile", "detector",
			c.o.Fallback.Fingerprint(), "cause", why)
	case change:
		c.o.Log.Info("a sidecar answers again")
	}
}

// finish completes items; err is for those without an error of their own.
func (c *Client) finish(items []*item, err error) {
	for _, it := range items {
		it.err = cmp.Or(it.err, err)
		c.free(it)
		close(it.done)
	}
}

// free releases the memory of an item.
func (c *Client) free(it *item) {
	if cap(*it.buffer) <= keepBuffer {
		c.buffers.Put(it.buffer)
	}
	it.buffer, it.forFallback = nil, nil
	c.room.Release(it.weight)
}

// Probe implements detect.Remote.
func (c *Client) Probe(context.Context) error {
	if c.o.Fallback != nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for _, e := range c.endpoints {
		if e.state == up && now.After(e.busy) {
			return nil
		}
	}
	return c.goneLocked(now)
}

// goneLocked is the error when no endpoint is available.
func (c *Client) goneLocked(now time.Time) error {
	var errs []error
	lasting := true
	for _, e := range c.endpoints {
		err := e.err
		if err == nil {
			err = fmt.Errorf("sidecar %s: busy for another %v", e.name, e.busy.Sub(now).Round(time.Second))
		}
		lasting = lasting && permanent(err)
		errs = append(errs, err)
	}
	if lasting {
		return errors.Join(errs...)
	}
	return fmt.Errorf("%w: %w", detect.ErrUnavailable, errors.Join(errs...))
}

// pick waits for the endpoint that is expected to finish a batch first, and takes a place there. It prefers
// another one than last. The error means that no endpoint is available, or that all are busy beyond patience.
func (c *Client) pick(last *endpoint, patience time.Time) (*endpoint, int, error) {
	for {
		c.mu.Lock()
		now := time.Now()
		var best *endpoint
		var wake time.Time // when the first of the busy ones is free
		least, waiting := math.Inf(1), false
		for _, e := range c.endpoints {
			switch {
			case e.state == checking:
				waiting = true
			case e.state == down:
			case e.busy.After(now):
				if e.busy.Before(patience) && (wake.IsZero() || e.busy.Before(wake)) {
					wake = e.busy
				}
			default:
				cost := e.cost(now)
				if e == last {
					cost = math.MaxFloat64
				}
				if cost <= least {
					best, least = e, cost
				}
			}
		}
		if best != nil && best.inflight < c.o.InFlight {
			best.inflight++
			best.used = now
			epoch := best.epoch
			c.mu.Unlock()
			return best, epoch, nil
		}
		if best == nil && !waiting && wake.IsZero() {
			err := c.goneLocked(now)
			c.mu.Unlock()
			return nil, 0, err
		}
		changed := c.changed
		c.mu.Unlock()
		var timer <-chan time.Time
		if !wake.IsZero() {
			timer = time.After(time.Until(wake))
		}
		select {
		case <-changed:
		case <-timer:
		case <-c.ctx.Done():
			return nil, 0, errClosed
		}
	}
}
