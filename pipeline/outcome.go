package pipeline

import (
	"errors"
	"strings"

	"facescan/pipeline/decode"
	"facescan/pipeline/fetch"
	"facescan/store"
)

// reasonOf names a decoder's refusal.
func reasonOf(err error) store.Reason {
	switch {
	case errors.Is(err, decode.ErrNotImage):
		return store.NotImage
	case errors.Is(err, decode.ErrUnsupported):
		return store.Unsupported
	case errors.Is(err, decode.ErrTooManyPixels):
		return store.TooManyPixels
	}
	return store.BadImage
}

// failure turns a fetch's error into a row's outcome.
func failure(attempts int, err *fetch.Error) store.Result {
	return store.Result{
		Status: store.Failed, Reason: store.Reason(err.Reason), HTTPStatus: err.Status,
		FinalURL: err.FinalURL, Bytes: err.Bytes, Attempts: attempts,
	}
}

// Remedy is what a person can do about a reason of a job's, in a few words.
func Remedy(r store.Reason, job string) string {
	words := []string{"facescan", "retry", job}
	if r.Class() != store.Transient {
		words = append(words, "--reason", string(r))
	}
	return strings.ReplaceAll(remedies[r], "RETRY", "`"+ShellCommand(words...)+"`")
}

var remedies = map[store.Reason]string{
	store.BadURL:         "not an http(s) URL: correct the list",
	store.DNSNotFound:    "the host does not exist (any more)",
	store.HTTP4xx:        "gone or forbidden: nothing to do here",
	store.HTTPError:      "the server's answer is not usable HTTP",
	store.NotImage:       "the server sent something that is no image",
	store.BadImage:       "the image is damaged",
	store.Unsupported:    "an image format or coding that facescan does not decode",
	store.HashMismatch:   "the bytes do not match the checksum in the list",
	store.FileMissing:    "the file does not exist (any more)",
	store.TooLarge:       "raise --max-bytes, then RETRY",
	store.TooManyPixels:  "raise --max-pixels, then RETRY",
	store.RedirectLoop:   "the server redirects without end",
	store.TLS:            "the certificate does not verify: accept it with --insecure, after RETRY",
	store.DNSTimeout:     "the resolver did not answer: see `facescan doctor`, then RETRY",
	store.Connect:        "no connection to the host: RETRY later",
	store.Timeout:        "slow host: raise --timeout, then RETRY",
	store.Reset:          "the connection broke: RETRY",
	store.Truncated:      "the answer ended early: RETRY",
	store.HTTP5xx:        "the server is in trouble: RETRY later",
	store.HTTP429:        "asked too often: lower --per-host, then RETRY",
	store.TooSlow:        "below --min-rate: lower it, then RETRY",
	store.FileUnreadable: "the file cannot be read: check its permissions, then RETRY",
	store.PrivateAddress: "a private address: fetch loopback and private ones with --allow-private, after RETRY",
	store.OptOut:         "the site asks not to be used this way: ignore that with --ignore-opt-out, after RETRY",
	store.Blocked:        "on your --block-hosts list",
	store.Forgotten:      "deleted by `facescan forget`: never fetched again",
}
