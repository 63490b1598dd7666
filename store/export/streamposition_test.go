package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/interrupt"
	"facescan/store/storetest/must"
)

// idsOf are the ids in a CSV, whose first line is its header.
func idsOf(csv string) (ids []string) {
	for _, line := range strings.Split(strings.TrimSpace(csv), "\n")[1:] {
		id, _, _ := strings.Cut(line, ",")
		ids = append(ids, id)
	}
	return ids
}

// TestStreamContinues writes rows to one stream and then to another: the second has those that the first has
// not, and a job whose record of it is damaged says so.
func TestStreamContinues(t *testing.T) {
	d := newFollowed(t)
	d.list("a", 6)
	d.list("b", 3)
	stream := func() string {
		t.Helper()
		var out bytes.Buffer
		f := d.follower()
		f.Path, f.Out = "", &out
		over := make(chan struct{})
		close(over)
		d.ok(f.Follow(background, over))
		return strings.Join(idsOf(out.String()), " ")
	}
	d.work(4)
	if got := stream(); got != "1 2 3 1099511627777 1099511627778 1099511627779" {
		t.Errorf("first %s", got)
	}
	d.work()
	for _, want := range []string{"4 5 6", "", ""} {
		if got := stream(); got != want {
			t.Errorf("then %q, want %q", got, want)
		}
	}
	d.ok(d.Set(background, map[string]string{store.OutputSetting + "out:1": "{"}))
	f := d.follower()
	f.Path, f.Out = "", io.Discard
	if err := f.Follow(background, nil); err == nil || !strings.Contains(err.Error(),
		"how far b was written") {
		t.Errorf("of a damaged record: %v", err)
	}
}

// blocked is a consumer that takes nothing until it is let go.
type blocked chan struct{}

func (b blocked) Write(p []byte) (int, error) { <-b; return len(p), nil }

// TestBehind has a consumer that does not read: the follower is behind until it does.
func TestBehind(t *testing.T) {
	d := newFollowed(t)
	d.list("a", 6)
	d.work()
	consumer := make(blocked)
	f := d.follower()
	f.Path, f.Out, f.Finish = "", consumer, true
	if f.Behind() || f.Writing() != 0 {
		t.Error("behind before anything was written")
	}
	ended := make(chan error, 1)
	go func() { ended <- f.Follow(background, nil) }()
	for began := time.Now(); !f.Behind(); time.Sleep(time.Millisecond) { // by a real clock
		if time.Since(began) > time.Minute {
			t.Fatal("never behind")
		}
	}
	close(consumer)
	d.ok(<-ended)
	if f.Behind() || f.Writing() < streamStall {
		t.Errorf("behind %v in the end, after writing for %v", f.Behind(), f.Writing())
	}
}

// TestBacklog has more rows done in order than a stream may be behind.
func TestBacklog(t *testing.T) {
	d := newFollowed(t)
	d.list("a", streamBacklog+2*streamRows)
	d.work()
	f := d.follower()
	f.Path, f.Out = "", io.Discard
	for n, behind := range []bool{true, false, false} { // rows that are left: 11,000, 10,000, 9,000
		if more, err := f.round(background); !more || err != nil || f.Behind() != behind {
			t.Errorf("round %d: more %v, %v, behind %v", n, more, err, f.Behind())
		}
	}
}

// TestStreamIsNotRewritten has rows change that a stream has had: that is logged, once.
func TestStreamIsNotRewritten(t *testing.T) {
	d := newFollowed(t)
	d.list("a", 20)
	d.work()
	var out bytes.Buffer
	f := d.follower()
	f.Path, f.Out = "", &out
	must.Get(f.round(background))(t)
	want := out.String()
	for range 2 {
		must.Get(d.Retry(background, store.Selection{Reasons: []store.Reason{store.Timeout}}))(t)
		d.work()
		if more, err := f.round(background); more || err != nil {
			t.Fatal(more, err)
		}
	}
	if out.String() != want || len(idsOf(want)) != 20 {
		t.Errorf("%s, and at first %s", &out, want)
	}
	if n := strings.Count(d.log.String(),
		"a stream is not written again: rows that were written have changed "+
			"since"); n != 1 {
		t.Errorf("said %d times:\n%s", n, &d.log)
	}
}

// TestStreamHasOneHeader has lists join while a stream is written.
func TestStreamHasOneHeader(t *testing.T) {
	d := newFollowed(t)
	var out bytes.Buffer
	f := d.follower()
	f.Path, f.Out = "", &out
	for n, name := range []string{"a", "b", "c"} {
		d.list(name, 2)
		d.work()
		must.Get(f.round(background))(t)
		if ids := idsOf(out.String()); len(ids) != 2*(n+1) || strings.Count(out.String(), "id,url") != 1 {
			t.Errorf("after %d lists:\n%s", n+1, &out)
		}
	}
}

// TestEachStepOfAStreamFails interrupts each step of writing to a stream in turn: no row is left out.
func TestEachStepOfAStreamFails(t *testing.T) {
	t.Parallel()
	d := newFollowed(t)
	had := map[string]bool{}
	lists := 0
	interrupt.Each(t, 5, func(ctx context.Context) error {
		lists++
		d.list(fmt.Sprint("list", lists), 3)
		d.work()
		var out bytes.Buffer
		f := d.follower()
		f.Path, f.Out, f.Finish = "", &out, true
		err := f.Follow(ctx, nil)
		if out.Len() > 0 {
			for _, id := range idsOf(out.String()) {
				had[id] = true
			}
		}
		if want := must.Get(d.Counts(background))(d).Done; err == nil && int64(len(had)) != want {
			t.Errorf("without an error the stream had %d rows of %d", len(had), want)
		}
		return err
	})
}

// TestStreamFails has a consumer that goes away: that ends the follower, and the next one has the rows.
func TestStreamFails(t *testing.T) {
	d := newFollowed(t)
	d.list("a", 3)
	d.work()
	f := d.follower()
	f.Path, f.Out, f.Finish = "", &fullDisk{100}, true
	if err := f.Follow(background, nil); !errors.Is(err, errFull) {
		t.Error(err)
	}
	var out bytes.Buffer
	f = d.follower()
	f.Path, f.Out, f.Finish = "", &out, true
	d.ok(f.Follow(background, nil))
	if ids := idsOf(out.String()); len(ids) != 3 {
		t.Errorf("then %v", ids)
	}
}
