package host

import (
	"math/rand/v2"
	"time"
)

// fifo is a queue in a slice.
type fifo[T any] struct {
	s    []T
	head int
}

func (f *fifo[T]) len() int { return len(f.s) - f.head }

func (f *fifo[T]) first() T { return f.s[f.head] }

func (f *fifo[T]) push(v T) { f.s = append(f.s, v) }

func (f *fifo[T]) pop() T {
	var zero T
	v := f.s[f.head]
	f.s[f.head] = zero
	f.head++
	switch {
	case f.head == len(f.s):
		f.s, f.head = f.s[:0], 0
		if cap(f.s) > 1024 { // a long queue leaves no memory behind
			f.s = nil
		}
	case f.head >= 64 && f.head*2 >= len(f.s):
		n := copy(f.s, f.s[f.head:])
		clear(f.s[n:])
		f.s, f.head = f.s[:n], 0
	}
	return v
}

// shuffle moves a random element to the front.
func (f *fifo[T]) shuffle() {
	i := f.head + rand.IntN(f.len())
	f.s[f.head], f.s[i] = f.s[i], f.s[f.head]
}

// alarm is due at a time: an item to requeue, or a host to schedule.
type alarm[T any] struct {
	at   time.Time
	item *item[T]
	host *state[T]
}

// alarms is a heap by time.
type alarms[T any] []alarm[T]

func (h alarms[T]) Len() int           { return len(h) }
func (h alarms[T]) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h alarms[T]) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *alarms[T]) Push(x any)        { *h = append(*h, x.(alarm[T])) }
func (h *alarms[T]) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = alarm[T]{}
	*h = old[:len(old)-1]
	return x
}
