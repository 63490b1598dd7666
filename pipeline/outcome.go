package pipeline

import (
	"errors"

	"facescan/pipeline/decode"
	"facescan/pipeline/fetch"
	"facescan/store"
	"facescan/store/hint"
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

// Hint is what a person can do about a reason of a job's, in a few words.
func Hint(r store.Reason, job string) string {
	var words []string
	if r.Class() != store.Transient {
		words = append(words, "--reason", string(r))
	}
	return r.Hint(hint.On("retry", job, words...))
}
