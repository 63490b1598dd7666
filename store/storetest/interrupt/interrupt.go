// Package interrupt has one step of many fail, for tests of what the others make of it.
package interrupt

import (
	"context"
	"errors"
	"sync"
	"testing"
)

// Each calls do with a context that ends one step, the first time, with one that ends the second step, and so
// on until there is no such step. The steps behind it could go on: an error that is lost is not made good by
// the next one. Do checks what is there when it has no error. There are least steps or more.
func Each(t *testing.T, least int, do func(ctx context.Context) error) {
	t.Helper()
	for n := 1; ; n++ {
		ctx := &once{Context: t.Context(), left: n}
		err := do(ctx)
		if ctx.missed() {
			if err != nil || n <= least {
				t.Errorf("after %d steps: %v; want %d steps", n-1, err, least)
			}
			return
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the context ends at step %d, and the error is %v", n, err)
		}
	}
}

// once is a context that has ended when it is asked for the n-th time, and only then.
type once struct {
	context.Context
	mu   sync.Mutex
	left int
}

// heard is how many questions later the cause is still told: who saw the end may ask for it after others have
// gone on.
const heard = 8

var ended = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Done implements context.Context.
func (c *once) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left--; c.left == 0 {
		return ended
	}
	return c.Context.Done()
}

// Err implements context.Context.
func (c *once) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left <= 0 && c.left > -heard {
		return context.Canceled
	}
	return c.Context.Err()
}

// missed reports whether it was not asked so often.
func (c *once) missed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left > 0
}
