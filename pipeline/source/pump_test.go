package source

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestPipeIsDrained: when a run ends, what a program has written into the pipe by then is read, so that it is
// not lost, and what it writes on is not waited for.
func TestPipeIsDrained(t *testing.T) {
	t.Parallel()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	line := "http://host/" + strings.Repeat("x", 499) + "\n"
	var written atomic.Int64 // lines
	go func() {              // ends when the pipe is closed
		for {
			if _, err := out.WriteString(line); err != nil {
				return
			}
			written.Add(1)
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := Open(ctx, Spec{Path: "-", In: in}, Position{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := r.(*lines).pump
	for end := time.Now().Add(time.Minute); ; {
		before := written.Load()
		time.Sleep(10 * time.Millisecond)
		if len(p.full) == pumpBlocks && written.Load() == before { // and the pipe is full, too
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d blocks are read ahead", len(p.full))
		}
	}
	by := int(written.Load())
	if most := (pumpBlocks + 4) * blockSize / len(line); by > most {
		t.Errorf("%d lines are read ahead, want at most %d", by, most)
	}
	cancel()
	rows, err := readAll(r, 1000)
	if !errors.Is(err, context.Canceled) || len(rows) < by {
		t.Errorf("%d rows of %d that were written, %v", len(rows), by, err)
	}
	if r.Position().Line != int64(len(rows)) {
		t.Errorf("%d rows, and %+v", len(rows), r.Position())
	}
}

// TestPipeEnds: what was read from a pipe before its context ended comes, then the end of either.
func TestPipeEnds(t *testing.T) {
	t.Parallel()
	for _, closed := range []bool{true, false} {
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		defer out.Close()
		if _, err := out.WriteString("http://a/1\nhttp://a/2\nhttp://a/3"); err != nil {
			t.Fatal(err)
		}
		if closed {
			out.Close()
		}
		ctx, cancel := context.WithCancel(t.Context())
		r, err := Open(ctx, Spec{Path: "-", In: in}, Position{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if !closed {
			cancel()
		}
		rows, err := readAll(r, 1)
		if want := map[bool]int{true: 3, false: 2}[closed]; len(rows) != want ||
			closed != (err == nil) || !closed && !errors.Is(err, context.Canceled) {
			t.Errorf("closed %v: %d rows, %v", closed, len(rows), err)
		}
		cancel()
	}
}
