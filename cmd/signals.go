package cmd

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"facescan/pipeline/crash"
	"facescan/store/draft"
)

// drainGrace is what running fetches get after the first Ctrl-C.
const drainGrace = 3 * time.Second

// endGrace is how long a command may take to end once it is interrupted. Then it is cut off: it may hang in a
// write to a pipe that nobody reads.
const endGrace = 2 * time.Second

// echo is how soon after the first signal another one counts as the same. Slurm and others signal every
// process of a job, and the shell among them passes its own signal on to facescan.
const echo = 20 * time.Millisecond

// signals are Ctrl-C and SIGTERM as a command sees them. The first ends the command at once, by its context.
// A command that drains is told of the first instead, and the second ends it.
type signals struct {
	ch     chan os.Signal
	cancel context.CancelFunc
	over   chan struct{}
	ended  sync.WaitGroup

	mu    sync.Mutex
	first func() // while the command drains at the first signal
	came  bool   // one that ended the command
}

// listen listens until stop is called. The context is the command's.
func listen(ctx context.Context) (context.Context, *signals) {
	s := &signals{ch: make(chan os.Signal, 2), over: make(chan struct{})}
	ctx, s.cancel = context.WithCancel(ctx)
	signal.Notify(s.ch, os.Interrupt, syscall.SIGTERM)
	s.ended.Go(func() {
		defer crash.Exit()
		s.run()
	})
	return ctx, s
}

func (s *signals) run() {
	for {
		select {
		case <-s.ch:
		case <-s.over:
			return
		}
		s.mu.Lock()
		first := s.first
		s.first, s.came = nil, first == nil
		s.mu.Unlock()
		if first != nil {
			echoes := time.After(echo)
			first()
			s.skip(echoes)
			continue
		}
		s.cancel()
		select {
		case <-s.over:
			return
		case <-time.After(endGrace):
		}
		draft.RemoveAll()
		os.Exit(exitInterrupted)
	}
}

// skip drops the signals that come until a time.
func (s *signals) skip(until <-chan time.Time) {
	for {
		select {
		case <-s.ch:
		case <-until:
			return
		case <-s.over:
			return
		}
	}
}

// stop ends listening, and the context.
func (s *signals) stop() {
	signal.Stop(s.ch)
	close(s.over)
	s.ended.Wait()
	s.cancel()
}

// interrupted reports whether a signal ended the command.
func (s *signals) interrupted() bool {
	if s == nil { // as in a test that runs a command by itself
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.came
}

// drain has the first signal call notify and close the channel, and only the second one end the command.
func (s *signals) drain(notify func()) <-chan struct{} {
	drain := make(chan struct{})
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.first = func() {
			notify()
			close(drain)
		}
	}
	return drain
}
