package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"facescan/pipeline/crash"
	"facescan/pipeline/source"
	"facescan/store"
)

// What came through a pipe cannot be read again. So a pipe is read once, also when its lease is lost, and
// what was read goes to the job soon, also when the run drains; only a process that is killed loses it.

const (
	pipeAhead = 10_000           // rows that may be pending while a pipe is read into a filter
	pipeSpan  = 10 * time.Second // and as many as this much work
)

// pipe is a list that comes through one.
type pipe struct {
	spec   source.Spec
	name   string
	first  int64 // the ids of the source are above it
	chunks chan chunk
	free   chan []source.Row
	stop   context.CancelFunc
	unread chan struct{} // closed when nobody takes chunks any more
	ended  chan struct{} // closed by the goroutine that reads

	batch rowBatch // not committed yet

	unasked int // rows that were read since it was asked how many are pending

	at    store.Position // in the stream
	base  store.Position // of the source when this stream began, if others' lines come before it; else zero
	last  store.Position // that was committed
	wrote time.Time      // then
}

// chunk is some rows, and where they end.
type chunk struct {
	rows []source.Row
	at   store.Position
	err  error // why there are no more
	none error // at the end of a list: that it has no row, if that is a fault
}

// readPipe reads a list that comes through a pipe, to its end or until the context ends.
func (im *Importer) readPipe(ctx context.Context, settings map[string]string, spec source.Spec,
	s store.Source) error {
	var p *pipe
	defer func() {
		if p != nil {
			p.close()
		}
	}()
	return im.leased(ctx, s, true, func(leased context.Context, l store.SourceLease) error {
		lease, err := im.fill(leased, settings, spec, s, l)
		if err != nil || leased.Err() != nil {
			return err
		}
		if p == nil {
			if p, err = im.openPipe(ctx, spec, s, lease.Position); err != nil {
				return err
			}
		} else if err := p.moved(lease.Position); err != nil {
			return err
		}
		return im.takePipe(leased, p, lease)
	})
}

// openPipe begins to read a pipe, the source being imported up to a position.
func (im *Importer) openPipe(ctx context.Context, spec source.Spec, s store.Source, at store.Position) (
	*pipe, error) {
	p := &pipe{spec: spec, name: s.Name, first: store.FirstOf(s.Number), last: at, chunks: make(chan chunk),
		free: make(chan []source.Row, 2), unread: make(chan struct{}), ended: make(chan struct{})}
	from := at
	if spec.As != "" {
		p.base, from = at, store.Position{}
	}
	if from.Offset > 0 {
		im.Log.Info("reading again what was imported of this stream before; for another stream stop, and "+
			"add --as NAME", "source", s.Name, "bytes", from.Offset)
	}
	ctx, p.stop = context.WithCancel(ctx)
	list, err := openList(ctx, spec, from)
	if err != nil {
		p.stop()
		return nil, err
	}
	p.at = list.Position()
	for range cap(p.free) {
		p.free <- make([]source.Row, readRows)
	}
	go func() {
		defer crash.Exit()
		defer close(p.ended)
		defer list.Close()
		defer list.warnOfDamage(s.Name, im.Log)
		for {
			var rows []source.Row
			select {
			case rows = <-p.free:
			case <-ctx.Done(): // nobody takes them any more, or they are taken now
				rows = make([]source.Row, readRows)
			}
			n, err := list.Next(rows[:readRows])
			select {
			case p.chunks <- chunk{rows[:n], list.Position(), err, list.noRow()}:
			case <-p.unread:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return p, nil
}

func (p *pipe) close() {
	close(p.unread)
	p.stop()
	<-p.ended
}

// moved is called when the lease was lost and is held again: it follows what others imported meanwhile.
func (p *pipe) moved(now store.Position) error {
	if now.Line == p.last.Line && now.Offset == p.last.Offset {
		return nil
	}
	if p.spec.As == "" {
		return fmt.Errorf("another process imported %s meanwhile: run the same command again", p.name)
	}
	p.base.Offset += now.Offset - p.last.Offset
	p.base.Line += now.Line - p.last.Line
	p.base.Rows += now.Rows - p.last.Rows
	for i := range p.batch.rows {
		p.batch.rows[i].ID += now.Line - p.last.Line
	}
	p.last = now
	return nil
}

// takePipe imports what comes through a pipe.
func (im *Importer) takePipe(ctx context.Context, p *pipe, lease store.SourceLease) error {
	lost := ctx.Done()
	for {
		var pause, lull <-chan time.Time
		chunks := p.chunks
		held, err := im.holds(ctx, p)
		switch {
		case err != nil:
			return err
		case held:
			chunks, pause = nil, time.After(pipeEvery)
		case p.batch.full(importBatch):
			if err := im.flushPipe(ctx, p, lease, false); err != nil {
				return err
			}
			continue
		}
		if len(p.batch.rows) > 0 {
			lull = time.After(time.Until(p.wrote.Add(pipeEvery)))
		}
		select {
		case c := <-chunks:
			im.takeChunk(p, c)
			switch {
			case errors.Is(c.err, io.EOF):
				return errors.Join(im.flushPipe(ctx, p, lease, true), c.none)
			case c.err != nil:
				if ctx.Err() == nil {
					c.err = fmt.Errorf("read %s: %w", p.name, c.err)
				}
				return errors.Join(im.flushPipe(ctx, p, lease, false), c.err)
			}
		case <-lull:
			if err := im.flushPipe(ctx, p, lease, false); err != nil {
				return err
			}
		case <-pause:
		case <-lost:
			if err := context.Cause(ctx); errors.Is(err, store.ErrLeaseLost) {
				return err
			}
			lost = nil // what was read until now still comes
		}
	}
}

// holds reports whether a pipe is to be left unread for now.
func (im *Importer) holds(ctx context.Context, p *pipe) (bool, error) {
	switch {
	case ctx.Err() != nil:
		return false, nil
	case im.Hold != nil && im.Hold():
		return true, nil
	case im.Ahead == nil || p.unasked < pipeAhead/4:
		return false, nil
	}
	c, err := im.Job.Counts(ctx)
	if ctx.Err() != nil {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("count the job's rows: %w", err)
	}
	if c.Pending > im.Ahead() {
		return true, nil
	}
	p.unasked = 0
	return false, nil
}

// takeChunk puts a chunk's rows into the batch.
func (im *Importer) takeChunk(p *pipe, c chunk) {
	im.take(&p.batch, p.first+p.base.Line, c.rows)
	p.unasked += len(c.rows)
	p.at = c.at
	select {
	case p.free <- c.rows:
	default:
	}
}

// position is where what was taken ends in the source.
func (p *pipe) position() store.Position {
	at := p.at
	at.Offset += p.base.Offset
	at.Line += p.base.Line
	at.Rows += p.base.Rows
	if p.base.Rows < 0 {
		at.Rows = p.base.Rows // they were not counted
	}
	return at
}

// flushPipe gives the batch to the job. That is not cancelled with the run, since nobody can read the rows
// again.
func (im *Importer) flushPipe(ctx context.Context, p *pipe, lease store.SourceLease, complete bool) error {
	at := p.position()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := im.Session.Append(ctx, lease, p.batch.rows, at, complete, im.ShardSize); err != nil {
		return fmt.Errorf("import %s: %w", p.name, err)
	}
	im.imported(p.name, len(p.batch.rows), 0)
	p.batch.clear()
	p.last, p.wrote = at, time.Now()
	return nil
}
