package sidecar

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"facescan/detect"
	"facescan/pipeline/crash"
)

const (
	getTimeout = 5 * time.Second // of a request for health or metadata
	// reviveFirst is the time between two checks of an endpoint that is down; doubled each time
	reviveFirst   = 100 * time.Millisecond
	reviveLast    = 2 * time.Second
	retryLater    = time.Second // wait for a busy server that sends no Retry-After
	maxMessage    = 64 << 10    // of an error's body
	maxWords      = 300         // bytes of it that are shown
	maxMetadata   = 1 << 20
	maxFaces      = 4096            // per image, in the mean over a batch
	latencyMemory = 5 * time.Second // after which half of what is known of an endpoint's speed is forgotten
)

// state of an endpoint. Only one that is up gets requests.
type state int

const (
	up       state = iota
	checking       // a request failed: it is checked at once
	down           // the last check failed; it is repeated
)

// Forms of a request: images behind the JSON, or in it.
const (
	unknownForm = iota // requests are JSON, which every server reads, until it is known
	binaryForm
	jsonForm
)

// endpoint is a URL that serves the model. The lower fields are guarded by the client's mutex.
type endpoint struct {
	name  string // for messages: without token
	base  string
	token string
	http  *http.Client
	form  atomic.Int32 // of the requests that the server understands

	state    state
	err      error     // why it is down
	epoch    int       // grows when it comes up, so that failures of earlier requests do not count
	inflight int       // requests
	busy     time.Time // when it may be used again, after Retry-After
	latency  float64   // of a request in seconds, a running mean; 0 when unknown
	used     time.Time
}

// CheckURL returns an error if the URL of a sidecar is invalid.
func CheckURL(raw string) error {
	_, err := newEndpoint(raw, 1)
	return err
}

// newEndpoint parses a URL.
func newEndpoint(raw string, conns int) (*endpoint, error) {
	u, err := url.Parse(raw)
	if err != nil { // its text holds the URL, and that may hold a password
		return nil, fmt.Errorf("a sidecar's URL cannot be read: give http://host:8000/v2/models/%s, with "+
			"the special characters of a password as %%XX", ModelName)
	}
	e := &endpoint{}
	if u.User != nil {
		var ok bool
		if e.token, ok = u.User.Password(); !ok {
			e.token = u.User.Username()
		}
		u.User = nil
	}
	t := &http.Transport{MaxIdleConns: conns + 1, MaxIdleConnsPerHost: conns + 1,
		IdleConnTimeout:     time.Minute,
		TLSHandshakeTimeout: getTimeout, DisableCompression: true, WriteBufferSize: 64 << 10}
	dialer := net.Dialer{Timeout: getTimeout}
	e.name = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	switch {
	case u.Scheme == "unix" && u.Host == "" && u.Path != "":
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", u.Path)
		}
		e.base = "http://localhost/v2/models/" + ModelName
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == "":
		t.DialContext = dialer.DialContext
		e.base = strings.TrimRight(u.String(), "/")
		if !strings.Contains(u.Path, "/v2/models/") {
			if strings.Trim(u.Path, "/") != "" {
				return nil, fmt.Errorf("sidecar %s: give the model's URL, such as "+
					"http://host:8000/v2/models/%s", e.name, ModelName)
			}
			e.base += "/v2/models/" + ModelName
		}
	default:
		return nil, fmt.Errorf("sidecar %s: give http://host:8000/v2/models/%s, or unix:///path/of/the.sock",
			e.name, ModelName)
	}
	e.http = &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	return e, nil
}

// cost estimates how long a request would take now, in seconds. The measured latency fades, so that a slow
// endpoint is tried again.
func (e *endpoint) cost(now time.Time) float64 {
	fade := math.Exp2(-now.Sub(e.used).Seconds() / latencyMemory.Seconds())
	return e.latency * fade * float64(e.inflight+1)
}

// put returns a place at an endpoint and records the request's result.
func (c *Client) put(e *endpoint, epoch int, err error, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.notifyLocked()
	e.inflight--
	var h *HTTPError
	switch {
	case err == nil:
		if e.latency == 0 {
			e.latency = took.Seconds()
		}
		e.latency += (took.Seconds() - e.latency) / 4
	case c.ctx.Err() != nil:
	case errors.As(err, &h) && h.later():
		wait := h.RetryAfter
		if wait == 0 {
			wait = retryLater
		}
		e.busy = time.Now().Add(wait)
	case errors.As(err, &h) && h.Status == http.StatusRequestEntityTooLarge: // the request is to blame
	case e.epoch == epoch && e.state == up:
		e.state, e.err = checking, err
		c.wg.Go(func() {
			defer crash.Exit()
			c.revive(e, err)
		})
	}
}

// notifyLocked wakes all callers that wait for an endpoint.
func (c *Client) notifyLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// revive checks an endpoint until it passes, or the client is closed.
func (c *Client) revive(e *endpoint, cause error) {
	logged := false
	for wait := reviveFirst; ; wait = min(2*wait, reviveLast) {
		err := c.check(c.ctx, e, false)
		c.mu.Lock()
		if err == nil {
			e.state, e.err, e.latency, e.busy = up, nil, 0, time.Time{}
			e.epoch++
		} else {
			e.state, e.err = down, err
		}
		c.notifyLocked()
		c.mu.Unlock()
		if c.ctx.Err() != nil {
			return
		}
		if err == nil {
			c.o.Log.Info("the sidecar is well again", "url", e.name, "after", cause)
			return
		}
		if !logged {
			c.o.Log.Warn("a sidecar is gone", "url", e.name, "error", err, "after", cause)
			logged = true
		}
		select {
		case <-time.After(wait):
		case <-c.ctx.Done():
			return
		}
	}
}

// Condition reports whether every server that is up has requested a pause, and whether the fallback answers.
func (c *Client) Condition() (busy, fallback bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for _, e := range c.endpoints {
		if e.state != up {
			continue
		}
		if !e.busy.After(now) {
			return false, c.onFallback
		}
		busy = true
	}
	return busy, c.onFallback
}

// permanent reports whether retrying later cannot help.
func permanent(err error) bool {
	var h *HTTPError
	if errors.As(err, &h) {
		return !h.Temporary()
	}
	var a *AnswerError
	var m *ModelError
	return errors.As(err, &a) || errors.As(err, &m)
}

// do sends a request and reads the answer, of at most limit bytes.
func (e *endpoint) do(req *http.Request, limit int64) ([]byte, http.Header, error) {
	if e.token != "" {
		req.Header.Set("Authorization", "Bearer "+e.token)
	}
	res, err := e.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL, which the message names itself
		}
		return nil, nil, fmt.Errorf("sidecar %s: %w", e.name, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, nil, e.refused(res)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, nil, fmt.Errorf("sidecar %s: %w", e.name, err)
	}
	if int64(len(body)) > limit {
		return nil, nil, &AnswerError{e.name, fmt.Sprintf("it is larger than %d bytes", limit)}
	}
	return body, res.Header, nil
}

// refused is the error of an answer with another status than 200.
func (e *endpoint) refused(res *http.Response) error {
	h := &HTTPError{URL: e.name, Status: res.StatusCode}
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxMessage))
	var m struct{ Error string }
	if json.Unmarshal(body, &m) == nil && m.Error != "" {
		body = []byte(m.Error)
	}
	h.Message = readable(string(body))
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		h.RetryAfter = time.Duration(min(s, 1<<30)) * time.Second
	} else if t, err := http.ParseTime(res.Header.Get("Retry-After")); err == nil {
		h.RetryAfter = max(time.Until(t), 0)
	}
	return h
}

// readable is the beginning of a server's message, on one line. Some servers repeat the whole request in it.
func readable(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if len(s) <= maxWords {
		return s
	}
	return strings.ToValidUTF8(s[:maxWords], "") + "…"
}

// get requests information about the server or its model.
func (e *endpoint) get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, getTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	body, _, err := e.do(req, maxMetadata)
	return body, err
}

// inferOnce sends images and returns the checked answers. Answers over a new connection count only if the
// endpoint then passes its check: there may be another server behind it.
func (c *Client) inferOnce(e *endpoint, items []*item, p parameters) ([]detect.Answer, error) {
	fresh := false
	ctx := httptrace.WithClientTrace(c.ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		fresh = fresh || !i.Reused
	}})
	answers, err := c.inferKnown(ctx, e, items, p)
	if err == nil && fresh {
		err = c.check(c.ctx, e, false)
	}
	return answers, err
}

// infer sends images and returns the checked answers.
func (c *Client) infer(ctx context.Context, e *endpoint, items []*item,
	p parameters) ([]detect.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Deadline)
	defer cancel()
	parts, head, err := inferRequest(items, p, e.form.Load() == binaryForm, c.model.landmarks)
	if err != nil {
		return nil, err
	}
	content := func() io.ReadCloser {
		readers := make([]io.Reader, len(parts))
		for i, part := range parts {
			readers[i] = bytes.NewReader(part)
		}
		return io.NopCloser(io.MultiReader(readers...))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.base+"/infer", content())
	if err != nil {
		return nil, err
	}
	req.GetBody = func() (io.ReadCloser, error) { return content(), nil }
	for _, part := range parts {
		req.ContentLength += int64(len(part))
	}
	req.Header.Set("Content-Type", "application/json")
	if head > 0 {
		req.Header.Set("Content-Type", "application/octet-stream")
		req.Header.Set(lengthHeader, strconv.Itoa(head))
	}
	body, header, err := e.do(req, int64(64<<10+len(items)*(4+4*(faceFields+pointFields)*maxFaces)))
	if err != nil {
		return nil, err
	}
	if kind, _, _ := mime.ParseMediaType(header.Get("Content-Type")); kind == "text/html" {
		return nil, &AnswerError{e.name, "it is a page, " + kind}
	}
	answers, err := c.validate(body, header.Get(lengthHeader), items)
	if err != nil {
		return nil, &AnswerError{e.name, err.Error()}
	}
	return answers, nil
}

// inferRequest makes the parts of a request's body. The first head bytes are JSON. With head 0 all of it is
// JSON, for servers without the binary extension, with images in base64 as MLServer reads them.
func inferRequest(items []*item, p parameters, binary, landmarks bool) (parts [][]byte, head int, err error) {
	images := tensor{Name: imagesName, Datatype: typeBytes, Shape: []int64{int64(len(items))}}
	asBinary := parameters{"binary_data": true}
	if !binary {
		images.Parameters = parameters{contentType: base64Content}
		files := make([][]byte, len(items)) // encoded as base64 in JSON
		for i, it := range items {
			files[i] = (*it.buffer)[4:]
		}
		if images.Data, err = json.Marshal(files); err != nil {
			return nil, 0, err
		}
		asBinary = nil
	} else {
		size := 0
		parts = make([][]byte, 1, len(items)+1)
		for _, it := range items {
			size += len(*it.buffer)
			parts = append(parts, *it.buffer)
		}
		images.Parameters = parameters{sizeKey: size}
	}
	outputs := expected(landmarks).Outputs
	for i := range outputs {
		outputs[i] = tensor{Name: outputs[i].Name, Parameters: asBinary}
	}
	text, err := json.Marshal(message{Parameters: p, Inputs: []tensor{images}, Outputs: outputs})
	if !binary {
		return [][]byte{text}, 0, err
	}
	parts[0] = text
	return parts, len(text), err
}

// appendElement appends an element of a BYTES tensor, whose content is appended by a function.
func appendElement(b []byte, content func([]byte) []byte) []byte {
	from := len(b) + 4
	b = content(append(b, 0, 0, 0, 0))
	binary.LittleEndian.PutUint32(b[from-4:], uint32(len(b)-from))
	return b
}
