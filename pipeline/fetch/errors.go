package fetch

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"facescan/pipeline/fetch/guard"
)

// The reasons a fetch can fail for, in the words of store.Reason.
const (
	BadURL         = "bad_url"
	DNSNotFound    = "dns_not_found"
	HTTP4xx        = "http_4xx"
	HTTPError      = "http_error"
	TooLarge       = "too_large"
	RedirectLoop   = "redirect_loop"
	TLS            = "tls"
	DNSTimeout     = "dns_timeout"
	Connect        = "connect"
	Timeout        = "timeout"
	Reset          = "reset"
	Truncated      = "truncated"
	HTTP5xx        = "http_5xx"
	HTTP429        = "http_429"
	TooSlow        = "too_slow"
	PrivateAddress = "private_address"
	OptOut         = "opt_out"
	FileMissing    = "file_missing"
	FileUnreadable = "file_unreadable"
	NotImage       = "not_image"
	Blocked        = "blocked"
)

// ErrLostWaiting means that the connection was lost while, or after, the body waited for memory. It is not an
// outcome: the wait was ours.
var ErrLostWaiting = errors.New("the connection was lost while the body waited for memory")

// Error is the reason why an attempt gave no body.
type Error struct {
	Reason     string        // one of the words above
	Status     int           // of the answer; 0 without one
	RetryAfter time.Duration // from the server; 0 if none
	Outage     bool          // the cause is on this machine or its link: it must not count against a row
	FinalURL   string        // after redirects, password hidden; empty when it is the row's own
	Bytes      int64         // of the body that arrived, decoded
	Robots     Robots        // the part of robots.txt in the failure
	// Wait is after what time the row should be tried again: robots.txt cannot be had now, or asks for a
	// longer crawl-delay than an attempt waits. Zero if it should not be.
	Wait time.Duration
	Err  error // the cause; may be nil
}

func (e *Error) Error() string {
	s := e.Reason
	if e.Status != 0 {
		s += " (" + strconv.Itoa(e.Status) + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

const (
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 30 * time.Second

	// MaxRetryAfter is the longest Retry-After that is obeyed.
	MaxRetryAfter = 5 * time.Minute
)

// Backoff is how long to wait after the given attempt, the first being 1: doubling from half a second to half
// a minute, with the upper half random, so that rows that failed together are not retried together. It is
// never shorter than Retry-After, up to MaxRetryAfter.
func Backoff(attempt int, retryAfter time.Duration) time.Duration {
	d := min(firstBackoff<<min(max(attempt-1, 0), 6), maxBackoff)
	d = d/2 + rand.N(d/2+1)
	return max(d, min(retryAfter, MaxRetryAfter))
}

// fault is an error whose reason is known where it arises. Of faults inside each other the outermost decides.
type fault struct {
	reason string
	outage bool
	error
}

func (e *fault) Unwrap() error { return e.error }

// Causes with which an attempt is cut short.
var (
	errTimeout  = &fault{Timeout, false, errors.New("no end within the time for an attempt")}
	errTooSlow  = &fault{TooSlow, false, errors.New("slower than the minimum rate")}
	errStale    = &fault{Reset, false, errors.New("several connections in a row were reset")}
	errUnwanted = errors.New("the body of a redirect")
	errFinished = errors.New("attempt is over")
)

// classify finds the reason for an error of dialling, net/http or reading the body.
func classify(err error) *Error {
	e := &Error{Err: err}
	var known *fault
	var timeout net.Error
	var op *net.OpError
	var errno syscall.Errno
	switch {
	case errors.As(err, &known):
		e.Reason, e.Outage = known.reason, known.outage
	case errors.Is(err, guard.ErrPrivate):
		e.Reason = PrivateAddress
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"):
		e.Reason = TLS // an alert after the handshake
	case errors.As(err, &errno):
		e.Reason, e.Outage = fromErrno(errno)
	case errors.As(err, &timeout) && timeout.Timeout():
		e.Reason = Timeout
	case errors.Is(err, io.ErrUnexpectedEOF):
		e.Reason = Truncated
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		e.Reason = Reset
	default:
		e.Reason = HTTPError
	}
	return e
}

// fromErrno classifies an error of the kernel. A response of the other side counts for the row; an
// unreachable network, or an exhausted resource, is a local outage.
func fromErrno(n syscall.Errno) (reason string, outage bool) {
	switch n {
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED:
		return Reset, false
	case syscall.ETIMEDOUT:
		return Timeout, false
	case syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN,
		syscall.EADDRNOTAVAIL, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.EPERM, syscall.EACCES:
		return Connect, true
	}
	return Connect, false
}

// fromStatus is the outcome of an answer without a usable body; nil for one with a body.
func fromStatus(r *http.Response) *Error {
	e := &Error{Status: r.StatusCode, Err: errors.New(http.StatusText(r.StatusCode))}
	switch c := r.StatusCode; {
	case c == http.StatusRequestTimeout || c == http.StatusTooEarly:
		e.Reason = Timeout
	case c == http.StatusTooManyRequests:
		e.Reason = HTTP429
	case c >= 400 && c < 500:
		e.Reason = HTTP4xx
	case c >= 500 && c < 600:
		e.Reason = HTTP5xx
	case c >= 200 && c < 300 && c != http.StatusNoContent:
		return nil
	default:
		e.Reason = HTTPError
	}
	if e.Err.Error() == "" {
		e.Err = fmt.Errorf("status %d", r.StatusCode)
	}
	e.RetryAfter = retryAfter(r.Header.Get("Retry-After"), time.Now())
	return e
}

// retryAfter reads both forms of the header; 0 if it is invalid or in the past.
func retryAfter(s string, now time.Time) time.Duration {
	if s == "" {
		return 0
	}
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}
