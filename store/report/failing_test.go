package report

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"math"
	"testing"

	"facescan/store"
)

// broken is a job of which one kind of reading fails.
type broken struct {
	fixed
	what string
}

var errBroken = errors.New("the disk is gone")

func (b broken) fails(what string) error {
	if b.what == what {
		return errBroken
	}
	return nil
}

func (b broken) Results(_ context.Context, from, _ int64) iter.Seq2[store.Result, error] {
	what := "results"
	if from > math.MinInt64 {
		what = "the result of a picture"
	}
	return func(yield func(store.Result, error) bool) {
		if err := b.fails(what); err != nil {
			yield(store.Result{}, err)
		}
	}
}
func (b broken) Counts(context.Context) (store.Counts, error) {
	return store.Counts{Total: 1}, b.fails("counts")
}
func (b broken) Sources(context.Context) ([]store.Source, error) { return nil, b.fails("sources") }
func (b broken) Samples(context.Context) ([]store.Thumbnail, error) {
	return []store.Thumbnail{{ID: 1}}, b.fails("samples")
}

// TestFailureIsSeen has each kind of reading fail: a page that lacks a part of the job is not taken for the
// whole.
func TestFailureIsSeen(t *testing.T) {
	for _, what := range []string{"", "results", "counts", "sources", "samples", "the result of a picture"} {
		var page bytes.Buffer
		err := Write(context.Background(), &page, broken{what: what},
			Options{Hint: func(store.Reason) string { return "" }})
		if failed := what != ""; failed != errors.Is(err, errBroken) || !failed && err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
