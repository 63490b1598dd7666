package export

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"facescan/store"
)

// A stream cannot be truncated: its consumer has read it. So the job records for each source how far streams
// were written, by any process, and the next process continues there. The position is committed after the
// rows are written, and often, because rows between the two are written again after a kill.

const (
	streamRows    = 1_000  // of one source between two commits of a stream's position
	streamBacklog = 10_000 // rows that may be done in order and not written
	// A write that takes longer shows that the consumer does not keep up.
	streamStall = 500 * time.Millisecond
)

// recordsStream reports whether the job records how far Out was written.
func (f *Follower) recordsStream() bool { return f.Path == "" && f.Name != "" }

// Behind reports whether Out is slower than the run, which would only pile up rows in the job.
func (f *Follower) Behind() bool {
	return f.backlog.Load() > streamBacklog || f.writes.current() > streamStall
}

// Writing is how long writes of rows have taken so far, including the current one.
func (f *Follower) Writing() time.Duration {
	return time.Duration(f.writes.took.Load()) + f.writes.current()
}

// writes is how long writes take.
type writes struct {
	since atomic.Int64 // start of the current one, 0 if there is none
	took  atomic.Int64 // by all before it
}

func (w *writes) current() time.Duration {
	if since := w.since.Load(); since > 0 {
		return time.Since(time.Unix(0, since))
	}
	return 0
}

// timedWriter measures its writes.
type timedWriter struct {
	io.Writer
	writes *writes
}

func (w timedWriter) Write(p []byte) (int, error) {
	began := time.Now()
	w.writes.since.Store(began.UnixNano())
	defer func() {
		w.writes.since.Store(0)
		w.writes.took.Add(int64(time.Since(began)))
	}()
	return w.Writer.Write(p)
}

// streamSetting is the key of the setting that says how far a source was written to streams.
func (f *Follower) streamSetting(source int) string {
	return fmt.Sprintf("%s%s:%d", store.OutputSetting, f.Name, source)
}

// places are where sources that are new to the follower begin: for a stream, as the job has recorded them.
func (f *Follower) places(ctx context.Context, sources []store.Source) (places []place, err error) {
	var settings map[string]string
	if f.recordsStream() {
		if settings, err = f.Job.Settings(ctx); err != nil {
			return nil, err
		}
	}
	places = make([]place, len(sources))
	for i, s := range sources {
		places[i] = place{Next: firstID(s)}
		if text, known := settings[f.streamSetting(s.Number)]; known {
			if err := json.Unmarshal([]byte(text), &places[i]); err != nil {
				return nil, fmt.Errorf("how far %s was written is damaged in the job: %w", s.Name, err)
			}
		}
	}
	return places, nil
}

// saveStream records the places that have changed.
func (f *Follower) saveStream(ctx context.Context, at position) error {
	changed := map[string]string{}
	for i, p := range at.Sources {
		if i < len(f.at.Sources) && p == f.at.Sources[i] {
			continue
		}
		text, err := json.Marshal(p)
		if err != nil {
			return err
		}
		changed[f.streamSetting(i)] = string(text)
	}
	if len(changed) == 0 {
		return nil
	}
	return f.Job.Set(ctx, changed)
}
