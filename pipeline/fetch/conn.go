package fetch

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
)

// conn is a connection that records how its reads ended, and repairs heads before net/http reads them.
//
// net/http reports a message that ended early as a parse error: a cut line is a malformed line to it. The
// connection knows that the parser wanted more and got the end.
type conn struct {
	net.Conn
	requests atomic.Uint32          // that were sent
	end      atomic.Pointer[ending] // nil until a read failed

	// For the one goroutine that reads.
	answered uint32 // requests whose answer was waited for
	head     head
	ready    []byte // repaired, not read yet
	err      error  // to be delivered when nothing is ready
}

// ending is how the reads of a connection ended.
type ending struct {
	err     error
	nothing bool // of the answer had come
	inHead  bool // a part of the answer's head had come
}

// expectAnswer prepares for the answer to one more request. Call it before the request is written.
func (c *conn) expectAnswer() { c.requests.Add(1) }

func (c *conn) Read(p []byte) (int, error) {
	for {
		if len(c.ready) > 0 {
			n := copy(p, c.ready)
			c.ready = c.ready[n:]
			return n, nil
		}
		if c.err != nil {
			end := &ending{c.err, c.head.nothing(), c.head.partial()}
			if c.end.CompareAndSwap(nil, end) && len(c.head.line) > 0 {
				c.ready = c.head.line // cut as it is
				continue
			}
			return 0, c.err
		}
		n, err := c.Conn.Read(p)
		c.err = err // never together with bytes, which may be all that a parser needs
		if requests := c.requests.Load(); requests != c.answered {
			c.answered, c.head = requests, head{within: true, first: true}
		}
		switch {
		case n == 0:
			if err == nil {
				return 0, nil
			}
		case !c.head.within:
			return n, nil
		case len(c.head.line) == 0:
			if n = len(c.head.take(p[:n])); n > 0 {
				return n, nil
			}
		case bytes.IndexByte(p[:n], '\n') < 0 && len(c.head.line)+n <= maxHead:
			c.head.line = append(c.head.line, p[:n]...)
		default:
			whole := append(c.head.line, p[:n]...)
			c.head.line = nil
			c.ready = c.head.take(whole)
		}
	}
}

// cutShort returns the error of a connection that ended before the head of an answer was complete, nil for
// none: io.EOF if nothing had come, io.ErrUnexpectedEOF for an end within it.
func (c *conn) cutShort() error {
	e := c.end.Load()
	if e == nil {
		return nil
	}
	over := e.err == io.EOF || errors.Is(e.err, io.ErrUnexpectedEOF)
	switch {
	case e.nothing && over:
		return io.EOF
	case e.inHead && over:
		return io.ErrUnexpectedEOF
	case e.inHead:
		return e.err
	}
	return nil
}

// cutBehindLastChunk reports whether reading a chunked body failed with err because the connection ended
// behind the last chunk, where nothing of the body can be missing. Before that, net/http returns the
// connection's own error, or io.ErrUnexpectedEOF for an end.
func (c *conn) cutBehindLastChunk(err error) bool {
	e := c.end.Load()
	return e != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, e.err)
}
