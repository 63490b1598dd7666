package cmd

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"

	"facescan/store"
)

// processed is a job with a row for each of these detectors.
type processed struct {
	store.Job
	by []string
}

func (j processed) Detectors(context.Context) ([]string, error) { return j.by, nil }

func (j processed) Results(context.Context, int64, int64) iter.Seq2[store.Result, error] {
	return func(yield func(store.Result, error) bool) {
		for i, name := range j.by {
			if !yield(store.Result{ID: int64(i + 1), Status: store.OK, Detector: name,
				Faces: []store.Face{{Width: 1, Height: 1, Score: 0.7}}}, nil) {
				return
			}
		}
	}
}

// TestScoresOfOthers: a threshold is refused where rows are of a detector that it is not for, before any is
// written; rows without a detector have no scores.
func TestScoresOfOthers(t *testing.T) {
	t.Parallel()
	const yunet, pigo = "yunet-01234567/1 min-face=20", "facefinder-01234567/1 min-face=20"
	for _, c := range []struct {
		by    []string
		where string
		want  string
	}{
		{[]string{yunet}, "", ""},
		{[]string{yunet, store.NoDetector}, "", ""},
		{[]string{yunet, pigo}, "", "row 2 was processed by "},
		{[]string{yunet, pigo}, "id = 1", ""},
		{[]string{pigo}, "=", "missing"},
	} {
		o := exportOptions{rows: "images", where: c.where, leastScores: map[string]float64{"yunet": 0.6}}
		err := o.checkScores(t.Context(), processed{by: c.by}, nil)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q where %q: %v, want %q", c.by, c.where, err, c.want)
		}
		for calls := range 2 { // the detectors are asked for, then the rows
			f := &failing{Job: processed{by: c.by}, left: calls}
			if err := o.checkScores(t.Context(), f, nil); f.failed && !errors.Is(err, errFailing) {
				t.Errorf("call %d of a job that cannot be read: %v", calls, err)
			}
		}
	}
}
