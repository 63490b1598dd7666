package sidecar

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"facescan/detect"
)

// request is an inference in progress.
type request struct {
	requested
	ctx      context.Context // of the waiting client
	id       string
	files    [][]byte
	detector *served
	outputs  []output

	left    sync.WaitGroup // images
	answers []detect.Answer

	mu  sync.Mutex
	err error // the first one; with it there are no answers
}

// output is a requested tensor.
type output struct {
	tensor   // as in the metadata
	asBinary bool
}

func (q *request) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil {
		q.err = err
	}
}

// over reports whether the rest of the answers is not needed any more.
func (q *request) over() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err != nil || q.ctx.Err() != nil
}

// tensors returns the content of the outputs, by name.
func (q *request) tensors() map[string][]byte {
	var faces, counts, points []byte
	float := func(b []byte, v float64) []byte {
		return binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(v)))
	}
	for i, a := range q.answers {
		if a.Err != nil {
			counts = binary.LittleEndian.AppendUint32(counts, math.MaxUint32) // -1
			continue
		}
		fs := append(a.Faces[:len(a.Faces):len(a.Faces)], a.Candidates[:min(q.keep, len(a.Candidates))]...)
		for _, f := range fs {
			for _, v := range [faceFields]float64{float64(i), f.X, f.Y, f.Width, f.Height, f.Score} {
				faces = float(faces, v)
			}
			for _, p := range f.Landmarks {
				points = float(float(points, p.X), p.Y)
			}
		}
		counts = binary.LittleEndian.AppendUint32(counts, uint32(len(fs)))
	}
	return map[string][]byte{facesName: faces, countsName: counts, pointsName: points}
}

// queue holds the images that wait, request by request, first come first served.
type queue struct {
	room    int // images
	workers sync.WaitGroup

	mu      sync.Mutex
	filled  sync.Cond
	waiting []*waiting
	images  int
	closed  bool
}

// waiting is a request with the index of its next image.
type waiting struct {
	*request
	next int
}

func newQueue(room int) *queue {
	q := &queue{room: room}
	q.filled.L = &q.mu
	return q
}

// add queues a request unless the queue is full. A request larger than the queue is accepted when the queue
// is empty.
func (q *queue) add(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.images > 0 && q.images+len(r.files) > q.room {
		return false
	}
	r.left.Add(len(r.files))
	if len(r.files) > 0 {
		q.waiting = append(q.waiting, &waiting{request: r})
		q.images += len(r.files)
		q.filled.Broadcast()
	}
	return true
}

// job is an image to process.
type job struct {
	*request
	index int
}

// take waits for images and returns up to most of them for one detector: that of the oldest image. It returns
// none when the queue is closed.
func (q *queue) take(jobs []job, most int) []job {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.filled.Wait()
	}
	jobs = jobs[:0]
	kept := q.waiting[:0]
	for i, w := range q.waiting {
		if len(jobs) == most {
			kept = append(kept, q.waiting[i:]...)
			break
		}
		if len(jobs) == 0 || w.detector == jobs[0].detector {
			for ; w.next < len(w.files) && len(jobs) < most; w.next++ {
				jobs = append(jobs, job{w.request, w.next})
			}
		}
		if w.next < len(w.files) {
			kept = append(kept, w)
		}
	}
	clear(q.waiting[len(kept):])
	q.waiting = kept
	q.images -= len(jobs)
	return jobs
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.images
}

// close ends the workers once the queue is empty, and waits for them.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.filled.Broadcast()
	q.mu.Unlock()
	q.workers.Wait()
}

// work is a worker: it processes images from the queue.
func (s *Server) work() {
	var jobs []job
	for {
		jobs = s.queue.take(jobs, s.o.Batch)
		if len(jobs) == 0 {
			return
		}
		s.process(jobs)
		clear(jobs)
	}
}

// process answers jobs, all for one detector.
func (s *Server) process(jobs []job) {
	defer func() {
		for _, j := range jobs {
			j.left.Done()
		}
	}()
	defer func() {
		if v := recover(); v != nil {
			s.o.Log.Error("a panic fails a request", "panic", v, "stack", string(debug.Stack()))
			for _, j := range jobs {
				j.fail(fmt.Errorf("panic: %v", v))
			}
		}
	}()
	batch := make([]detect.Image, 0, len(jobs))
	from := make([]job, 0, len(jobs)) // of the batch
	pictures := make([]Picture, 0, len(jobs))
	defer func() {
		for _, p := range pictures {
			if p.Release != nil {
				p.Release()
			}
		}
	}()
	for _, j := range jobs {
		if j.over() {
			continue
		}
		p, err := s.picture(j)
		if errors.Is(err, ErrTooManyPixels) {
			j.fail(&badRequest{http.StatusRequestEntityTooLarge, fmt.Sprintf("image %d: %v", j.index, err)})
			continue
		}
		if err != nil {
			j.answers[j.index].Err = err
			s.metrics.images.WithLabelValues("unreadable").Inc()
			continue
		}
		batch, from, pictures = append(batch, detect.Image{Luma: p.Luma, Scale: p.Scale}), append(from, j),
			append(pictures, p)
	}
	if len(batch) == 0 {
		return
	}
	begin := time.Now()
	// Not in the context of a request: other requests share the batch.
	answers, err := from[0].detector.Detect(context.Background(), batch)
	s.metrics.seconds.Observe(time.Since(begin).Seconds())
	s.metrics.batches.Observe(float64(len(batch)))
	for i, j := range from {
		if err != nil {
			j.fail(err)
			continue
		}
		a := answers[i]
		if to := pictures[i].ToStored; to != nil {
			for _, fs := range [][]detect.Face{a.Faces, a.Candidates} {
				for k := range fs {
					fs[k] = to(fs[k])
				}
			}
		}
		j.answers[j.index] = a
		s.metrics.images.WithLabelValues("judged").Inc()
		s.metrics.faces.Add(float64(len(a.Faces)))
	}
}

// picture decodes a job's file.
func (s *Server) picture(j job) (Picture, error) {
	file := j.files[j.index]
	if isPGM(file) {
		luma, err := parsePGM(file)
		return Picture{Luma: luma, Scale: j.scale}, err
	}
	if s.o.Decode == nil {
		return Picture{}, errPGM
	}
	return s.o.Decode(file, j.Params)
}
