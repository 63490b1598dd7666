package cmd

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"testing"
)

// cancelling is a writer that has somebody interrupt a command at its first line.
type cancelling struct {
	bytes.Buffer
	cancel context.CancelFunc
}

func (w *cancelling) Write(b []byte) (int, error) {
	w.cancel()
	return w.Buffer.Write(b)
}

// TestStatusInterrupted: a watch that is interrupted says so by its exit code.
func TestStatusInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	list := writeList(t, dir, []string{"http://127.0.0.1:1/a.jpg"})
	mustHere(t, "import", list, "--db", filepath.Join(dir, "job.db"), "-q")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &cancelling{cancel: cancel}
	code := Run(ctx, []string{"status", filepath.Join(dir, "job.db"), "--watch", "--every", "1h"}, nil, out,
		io.Discard)
	if code != exitInterrupted || out.Len() == 0 {
		t.Errorf("exit %d after %q", code, out)
	}
}
