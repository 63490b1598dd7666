package pipeline

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// queue hands rows to the fetchers: fresh ones as they come, one at a time, and those that wait for a further
// attempt when their time has come. Waiting rows come first, since they hold a place in flight.
type queue struct {
	fresh chan *task

	mu    sync.Mutex
	later laterHeap
	wake  chan struct{} // a token when the heap got a new first

	stopOnce sync.Once
	stopped  chan struct{}
}

func newQueue() *queue {
	return &queue{fresh: make(chan *task), wake: make(chan struct{}, 1), stopped: make(chan struct{})}
}

// add hands a fresh row over; it waits until a fetcher takes it.
func (q *queue) add(ctx context.Context, t *task) error {
	select {
	case q.fresh <- t:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// again hands a row over once more, not before the time.
func (q *queue) again(t *task, at time.Time) {
	q.mu.Lock()
	heap.Push(&q.later, delayed{t, at})
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next is the next row to fetch; nil when the queue is stopped or the context over.
func (q *queue) next(ctx context.Context) *task {
	for {
		t, wait := q.due(time.Now())
		if t != nil {
			return t
		}
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case t := <-q.fresh:
			return t
		case <-q.wake:
		case <-timer:
		case <-q.stopped:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

func (q *queue) due(now time.Time) (*task, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.later) == 0 {
		return nil, 0
	}
	if wait := q.later[0].at.Sub(now); wait > 0 {
		return nil, wait
	}
	t := heap.Pop(&q.later).(delayed).task
	if len(q.later) > 0 { // let another fetcher look at the rest
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return t, 0
}

// stop ends next for everybody.
func (q *queue) stop() { q.stopOnce.Do(func() { close(q.stopped) }) }

// left takes out the rows that still wait, once nobody asks for them any more.
func (q *queue) left() []*task {
	q.mu.Lock()
	defer q.mu.Unlock()
	var ts []*task
	for _, d := range q.later {
		ts = append(ts, d.task)
	}
	q.later = nil
	return ts
}

type delayed struct {
	task *task
	at   time.Time
}

type laterHeap []delayed

func (h laterHeap) Len() int           { return len(h) }
func (h laterHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h laterHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *laterHeap) Push(x any)        { *h = append(*h, x.(delayed)) }
func (h *laterHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
