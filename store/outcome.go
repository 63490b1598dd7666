package store

// Status says how a done row ended.
type Status string

const (
	OK     Status = "ok"     // fetched, decoded and judged by a detector
	Failed Status = "failed" // not; Reason says why
)

// Class groups reasons by what can be done about them.
type Class string

const (
	Permanent Class = "permanent" // the same request will fail again
	Transient Class = "transient" // a later try may succeed: what `retry` takes by default
	Policy    Class = "policy"    // we chose not to
)

// Reason names why a row failed. The words are a contract: they stand in exports, metrics and users' scripts.
type Reason string

const (
	BadURL        Reason = "bad_url"
	DNSNotFound   Reason = "dns_not_found"
	HTTP4xx       Reason = "http_4xx"
	HTTPError     Reason = "http_error"
	NotImage      Reason = "not_image"
	BadImage      Reason = "bad_image"
	Unsupported   Reason = "unsupported"
	HashMismatch  Reason = "hash_mismatch"
	TooLarge      Reason = "too_large"
	TooManyPixels Reason = "too_many_pixels"
	RedirectLoop  Reason = "redirect_loop"
	TLS           Reason = "tls"
	FileMissing   Reason = "file_missing"

	DNSTimeout     Reason = "dns_timeout"
	Connect        Reason = "connect"
	Timeout        Reason = "timeout"
	Reset          Reason = "reset"
	Truncated      Reason = "truncated"
	HTTP5xx        Reason = "http_5xx"
	HTTP429        Reason = "http_429"
	TooSlow        Reason = "too_slow"
	FileUnreadable Reason = "file_unreadable"

	PrivateAddress Reason = "private_address"
	OptOut         Reason = "opt_out"
	Blocked        Reason = "blocked"
	Forgotten      Reason = "forgotten"
)

var classes = map[Reason]Class{
	BadURL: Permanent, DNSNotFound: Permanent, HTTP4xx: Permanent, HTTPError: Permanent, NotImage: Permanent,
	BadImage: Permanent, Unsupported: Permanent, HashMismatch: Permanent, TooLarge: Permanent, TooManyPixels: Permanent,
	RedirectLoop: Permanent, TLS: Permanent, FileMissing: Permanent,
	DNSTimeout: Transient, Connect: Transient, Timeout: Transient, Reset: Transient, Truncated: Transient,
	HTTP5xx: Transient, HTTP429: Transient, TooSlow: Transient, FileUnreadable: Transient,
	PrivateAddress: Policy, OptOut: Policy, Blocked: Policy, Forgotten: Policy,
}

// Class of the reason; empty for a word that is no reason.
func (r Reason) Class() Class { return classes[r] }

// Known tells whether the reason is one of ours.
func (r Reason) Known() bool { _, ok := classes[r]; return ok }

// Reasons lists every reason of the class, or all of them for an empty class, in no order.
func Reasons(c Class) []Reason {
	var out []Reason
	for r, k := range classes {
		if c == "" || k == c {
			out = append(out, r)
		}
	}
	return out
}
