package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"facescan/pipeline/fetch/guard"
)

func TestErrorText(t *testing.T) {
	for _, c := range []struct {
		e    *Error
		want string
	}{
		{&Error{Reason: Timeout}, "timeout"},
		{&Error{Reason: HTTP4xx, Status: 404}, "http_4xx (404)"},
		{&Error{Reason: HTTP4xx, Status: 404, Err: io.EOF}, "http_4xx (404): EOF"},
		{&Error{Reason: Reset, Err: io.EOF}, "reset: EOF"},
	} {
		if got := c.e.Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// TestClassify: what each error of dialling and reading means for the row, and whether it is an outage of
// our own.
func TestClassify(t *testing.T) {
	read := func(err error) error { return fmt.Errorf("get: %w", &net.OpError{Op: "read", Err: err}) }
	for _, c := range []struct {
		err    error
		reason string
		outage bool
	}{
		{errTimeout, Timeout, false},
		{errTooSlow, TooSlow, false},
		{errStale, Reset, false},
		{fmt.Errorf("a: %w", &fault{Connect, true, &fault{DNSNotFound, false, io.EOF}}), Connect, true},
		{fmt.Errorf("a: %w", guard.ErrPrivate), PrivateAddress, false},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(40)}, TLS, false},
		{&net.OpError{Op: "local error", Err: tls.AlertError(40)}, TLS, false},
		{read(os.ErrDeadlineExceeded), Timeout, false},
		{context.DeadlineExceeded, Timeout, false},
		{&net.DNSError{IsTimeout: true}, Timeout, false},
		{read(io.ErrUnexpectedEOF), Truncated, false},
		{read(io.EOF), Reset, false},
		{read(net.ErrClosed), Reset, false},
		{errors.New("malformed"), HTTPError, false},
		{read(syscall.ECONNRESET), Reset, false},
		{read(syscall.EPIPE), Reset, false},
		{read(syscall.ECONNABORTED), Reset, false},
		{read(syscall.ETIMEDOUT), Timeout, false},
		{read(syscall.ECONNREFUSED), Connect, false},
		{read(syscall.ENETUNREACH), Connect, true},
		{read(syscall.EHOSTUNREACH), Connect, true},
		{read(syscall.ENETDOWN), Connect, true},
		{read(syscall.EHOSTDOWN), Connect, true},
		{read(syscall.EADDRNOTAVAIL), Connect, true},
		{read(syscall.EMFILE), Connect, true},
		{read(syscall.ENFILE), Connect, true},
		{read(syscall.ENOBUFS), Connect, true},
		{read(syscall.ENOMEM), Connect, true},
		{read(syscall.EPERM), Connect, true},
		{read(syscall.EACCES), Connect, true},
	} {
		if e := classify(c.err); e.Reason != c.reason || e.Outage != c.outage || e.Err != c.err {
			t.Errorf("%v: %s, outage %t, want %s, %t", c.err, e.Reason, e.Outage, c.reason, c.outage)
		}
	}
}

// TestStatus: the reason of each status, on both sides of its limits; empty for one with a body.
func TestStatus(t *testing.T) {
	for status, want := range map[int]string{
		199: HTTPError, 200: "", 203: "", 204: HTTPError, 205: "", 299: "", 300: HTTPError, 399: HTTPError,
		400: HTTP4xx, 407: HTTP4xx, 408: Timeout, 409: HTTP4xx, 424: HTTP4xx, 425: Timeout, 426: HTTP4xx,
		428: HTTP4xx, 429: HTTP429, 430: HTTP4xx, 499: HTTP4xx, 500: HTTP5xx, 599: HTTP5xx, 600: HTTPError,
	} {
		e := fromStatus(&http.Response{StatusCode: status, Header: http.Header{"Retry-After": {"7"}}})
		text := http.StatusText(status)
		if text == "" {
			text = fmt.Sprint("status ", status)
		}
		switch {
		case want == "" && e != nil, want != "" && e == nil:
			t.Errorf("%d: %v, want %q", status, e, want)
		case e != nil && (e.Reason != want || e.Status != status || e.Err.Error() != text ||
			e.RetryAfter != 7*time.Second):
			t.Errorf("%d: %+v, want %s", status, e, want)
		}
	}
}

// TestRetryAfter: seconds or a date; anything else, or a date that is past, counts as none.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, "120": 2 * time.Minute, "2147483647": 2147483647 * time.Second,
		"2147483648": 0, "-1": 0, "1.5": 0, "soon": 0,
		now.Add(time.Minute).Format(http.TimeFormat):  time.Minute,
		now.Add(-time.Minute).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// TestBackoff: the wait doubles from half a second to half a minute, and its upper half is random.
func TestBackoff(t *testing.T) {
	for attempt, most := range map[int]time.Duration{
		-1: time.Second / 2, 0: time.Second / 2, 1: time.Second / 2, 2: time.Second, 3: 2 * time.Second,
		6: 16 * time.Second, 7: 30 * time.Second, 8: 30 * time.Second, 100: 30 * time.Second,
	} {
		var least, longest time.Duration = time.Hour, 0
		for range 1000 {
			d := Backoff(attempt, 0)
			least, longest = min(least, d), max(longest, d)
		}
		if least < most/2 || least > most*6/10 || longest > most || longest < most*9/10 {
			t.Errorf("attempt %d: %v to %v, want up to %v", attempt, least, longest, most)
		}
	}
	for after, want := range map[time.Duration]time.Duration{7 * time.Second: 7 * time.Second,
		5 * time.Minute: 5 * time.Minute, time.Hour: 5 * time.Minute} {
		if d := Backoff(1, after); d != want {
			t.Errorf("Retry-After of %v became %v", after, d)
		}
	}
}
