package store

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"facescan/store/hint"
)

// Status says how a done row ended.
type Status string

const (
	OK     Status = "ok"     // fetched, decoded and examined by the detector
	Failed Status = "failed" // not; Reason says why
)

// Class groups reasons by what can be done about them.
type Class string

const (
	Permanent Class = "permanent" // the same request will fail again
	Transient Class = "transient" // a later attempt may succeed: what `retry` takes by default
	Policy    Class = "policy"    // we chose not to
)

// Reason names why a row failed. The words are a contract: they stand in exports, metrics and users' scripts.
type Reason string

// The reasons. One is added by a line here, and in the two tables of cmd/help/outcomes.md: TestTopic compares
// them. The hint says what a person can do; RETRY in it stands for the command that queues these
// rows again, DOCTOR for the one that examines this machine.
var (
	BadURL = reason("bad_url", Permanent, "neither an http(s) URL nor a file below --allow-files: correct "+
		"the list; for s3:// and the like give https:// URLs, presigned if need be")
	DNSNotFound = reason("dns_not_found", Permanent, "the host does not exist (any more)")
	HTTP4xx     = reason("http_4xx", Permanent, "gone or forbidden: nothing to do here")
	HTTPError   = reason("http_error", Permanent, "the server's answer is not usable HTTP")
	NotImage    = reason("not_image", Permanent, "the bytes are not an image, but HTML, text, "+
		"PDF, video or nothing")
	BadImage    = reason("bad_image", Permanent, "the image is damaged")
	Unsupported = reason("unsupported", Permanent, "an image format or coding that facescan does not "+
		"decode")
	HashMismatch  = reason("hash_mismatch", Permanent, "the bytes do not match the checksum in the list")
	TooLarge      = reason("too_large", Permanent, "raise --max-bytes, then RETRY")
	TooManyPixels = reason("too_many_pixels", Permanent, "raise --max-pixels, then RETRY")
	RedirectLoop  = reason("redirect_loop", Permanent, "the server redirects without end")
	TLS           = reason("tls", Permanent,
		"the certificate does not verify: accept it with --insecure, after RETRY")
	FileMissing = reason("file_missing", Permanent, "the file does not exist (any more)")

	DNSTimeout = reason("dns_timeout", Transient,
		"the resolver did not answer: DOCTOR measures it; then RETRY")
	Connect        = reason("connect", Transient, "no connection to the host: RETRY later")
	Timeout        = reason("timeout", Transient, "slow host: raise --timeout, then RETRY")
	Reset          = reason("reset", Transient, "the connection broke: RETRY")
	Truncated      = reason("truncated", Transient, "the answer ended early: RETRY")
	HTTP5xx        = reason("http_5xx", Transient, "the server is in trouble: RETRY later")
	HTTP429        = reason("http_429", Transient, "too many requests: lower --per-host, then RETRY")
	TooSlow        = reason("too_slow", Transient, "below --min-rate: lower it, then RETRY")
	FileUnreadable = reason("file_unreadable", Transient,
		"the file cannot be read: check its permissions, then RETRY")

	PrivateAddress = reason("private_address", Policy,
		"a private address: fetch loopback and private ones with --allow-private, after RETRY")
	OptOut = reason("opt_out", Policy,
		"the site asks not to be used this way, by X-Robots-Tag (--ignore-opt-out ignores it, after RETRY) "+
			"or, with --robots, by robots.txt")
	Blocked   = reason("blocked", Policy, "on your --block-hosts list")
	Forgotten = reason("forgotten", Policy, "deleted on request: never fetched again")
)

// reasons has the reasons in their order, and about what is known of each.
var (
	reasons []Reason
	about   = map[Reason]struct {
		class Class
		hint  string
	}{}
)

// reason adds a line to the table.
func reason(word Reason, class Class, hint string) Reason {
	if class == "" || hint == "" || word.Known() {
		panic("the reason " + string(word) + " is incomplete, or is there twice")
	}
	reasons = append(reasons, word)
	about[word] = struct {
		class Class
		hint  string
	}{class, hint}
	return word
}

// Class of the reason; empty for an unknown word.
func (r Reason) Class() Class { return about[r].class }

// Known reports whether the word is a reason.
func (r Reason) Known() bool { return about[r].class != "" }

// Retried reports whether a run tries again by itself (--retries) after an attempt that failed with this
// reason and, if there was a response, this HTTP status.
func (r Reason) Retried(status int) bool {
	lasts := r == HTTP5xx &&
		(status == http.StatusNotImplemented || status == http.StatusHTTPVersionNotSupported)
	return r.Class() == Transient && !lasts
}

// Hint is what a person can do about the reason, in a few words; retry is the command that queues its rows
// again.
func (r Reason) Hint(retry string) string {
	return strings.NewReplacer("RETRY", "`"+retry+"`", "DOCTOR", "`"+hint.Words("facescan", "doctor")+"`").
		Replace(about[r].hint)
}

// Ranked returns the reasons that have rows, those with the most first.
func Ranked(rows map[Reason]int64) []Reason {
	reasons := slices.SortedFunc(maps.Keys(rows), func(a, b Reason) int {
		return cmp.Or(cmp.Compare(rows[b], rows[a]), cmp.Compare(a, b))
	})
	return slices.DeleteFunc(reasons, func(r Reason) bool { return rows[r] == 0 })
}

// Reasons lists the reasons of a class, or all of them for an empty class, in their order.
func Reasons(c Class) []Reason {
	var out []Reason
	for _, r := range reasons {
		if c == "" || r.Class() == c {
			out = append(out, r)
		}
	}
	return out
}
