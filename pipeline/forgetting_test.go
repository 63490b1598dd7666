package pipeline

import (
	"errors"
	"strings"
	"testing"
	"time"

	"facescan/store"
)

// TestWhileRowsAreDeleted: no run begins while a process deletes rows, and one that died meanwhile is no
// hindrance.
func TestWhileRowsAreDeleted(t *testing.T) {
	b := newBench(t, two, "/f/a.png")
	b.ok(b.job.Set(t.Context(), map[string]string{store.ForgetSetting: "forget-1"}))
	s, err := b.job.Join(t.Context(), store.Owner{ID: "forget-1", Host: "elsewhere", PID: 4711}, time.Minute)
	b.ok(err)
	if _, err := b.run(); err == nil || !strings.Contains(err.Error(),
		"process 4711 on elsewhere is deleting") {
		t.Errorf("ended with %v", err)
	}
	if b.server.Total() != 0 {
		t.Error("rows were fetched")
	}
	b.ok(s.Leave(t.Context()))
	b.want(Finished, "ok")
}

// TestWhileRowsAreDeletedFails: whether rows are being deleted has to be known.
func TestWhileRowsAreDeletedFails(t *testing.T) {
	b := newBench(t, two)
	b.ok(b.job.Set(t.Context(), map[string]string{store.ForgetSetting: "forget-1"}))
	for _, method := range []string{"Settings", "Counts"} {
		err := checkForgetting(t.Context(), brokenJob{b.job, method, new(int)}, b.opts.Log)
		if !errors.Is(err, errBroken) {
			t.Errorf("%s fails: %v", method, err)
		}
	}
}
