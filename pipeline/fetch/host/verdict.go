package host

import (
	"errors"
	"net/http"
	"syscall"
	"time"

	"facescan/pipeline/fetch"
)

// Kind classifies what an attempt shows about its host.
type Kind uint8

const (
	Neutral  Kind = iota // nothing: it did not get that far, or we cut it short
	Answered             // the host works, with any status
	Busy                 // it gets too many requests
	Trouble              // it answered with an error
	Refused              // it refuses connections, which is an answer
	Silent               // nothing came in time
	Ours                 // the cause is on this machine or its link
)

// Verdict is what an attempt shows about its host.
type Verdict struct {
	Kind         Kind
	RetryAfter   time.Duration // Retry-After of a busy host
	Pause        time.Duration // its robots.txt cannot be had now: no request before this is over
	NotRequested bool          // the row was not requested, because of a robots.txt
	Err          *fetch.Error  // nil if the attempt succeeded, or did not get that far
}

// VerdictOf classifies an error of Fetch.
func VerdictOf(err error) Verdict {
	if err == nil {
		return Verdict{Kind: Answered}
	}
	var e *fetch.Error
	if !errors.As(err, &e) {
		return Verdict{}
	}
	v := Verdict{Err: e, RetryAfter: e.RetryAfter, NotRequested: e.Robots != fetch.NoRobots}
	if e.FinalURL == "" { // else it is about another host
		v.Pause = e.Wait
	}
	switch {
	case e.Robots == fetch.RobotsKnown: // nothing was requested
		return Verdict{Pause: v.Pause, NotRequested: true}
	case e.Robots == fetch.RobotsRequested && e.Reason == fetch.OptOut:
		v.Kind = Answered
	case e.Outage:
		v.Kind = Ours
	case e.Status == http.StatusTooManyRequests, e.Status == http.StatusServiceUnavailable &&
		e.RetryAfter > 0:
		v.Kind = Busy
	case e.Status == http.StatusRequestTimeout, e.Status == http.StatusTooEarly:
		v.Kind = Trouble
	case e.Reason == fetch.Timeout, e.Reason == fetch.DNSTimeout, e.Reason == fetch.TooSlow:
		v.Kind = Silent
	case e.Reason == fetch.Connect:
		v.Kind = Refused
	case e.Reason == fetch.HTTP5xx, e.Reason == fetch.Reset, e.Reason == fetch.Truncated:
		v.Kind = Trouble
	case e.Status != 0, e.Reason == fetch.TLS, e.Reason == fetch.HTTPError:
		v.Kind = Answered
	}
	return v
}

// lifeless reports whether the host gave no sign of life, not even a status.
func (v Verdict) lifeless() bool {
	return (v.Kind == Silent || v.Kind == Refused) && !v.spoke()
}

// spoke reports whether there was an HTTP answer.
func (v Verdict) spoke() bool {
	return v.Kind == Answered || v.Kind == Busy || v.Err != nil && v.Err.Status != 0
}

// class names the cause, so that failures of one cause can be compared.
func (v Verdict) class() string {
	switch {
	case v.Err == nil:
		return ""
	case v.Kind == Ours && v.Err.Reason == fetch.DNSTimeout:
		return resolver
	}
	var errno syscall.Errno
	if errors.As(v.Err, &errno) {
		return errno.Error()
	}
	return v.Err.Reason
}

// unreachable reports whether the kernel has no route to this host; other hosts may be reachable.
func (v Verdict) unreachable() bool {
	return v.Err != nil && (errors.Is(v.Err, syscall.EHOSTUNREACH) || errors.Is(v.Err, syscall.EHOSTDOWN))
}
