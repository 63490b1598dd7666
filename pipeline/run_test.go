package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"facescan/detect"
	"facescan/pipeline/decode"
	"facescan/pipeline/fetch"
	"facescan/pipeline/fetch/fetchtest"
	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// picture is a PNG of the given size.
func picture(w, h int) []byte {
	m := image.NewGray(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = uint8(i * i >> 3)
	}
	m.SetGray(0, 0, color.Gray{uint8(w)})
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// answering is a detector made of a function.
type answering func(detect.Image) (detect.Answer, error)

func (f answering) Detect(ctx context.Context, batch []detect.Image) ([]detect.Answer, error) {
	out := make([]detect.Answer, len(batch))
	for i, img := range batch {
		a, err := f(img)
		if err != nil {
			return nil, err
		}
		out[i] = a
	}
	return out, ctx.Err()
}

func (answering) Fingerprint() string { return "answering/1" }
func (answering) Close() error        { return nil }

// oneFace answers with one face in every image.
func oneFace(img detect.Image) (detect.Answer, error) {
	return detect.Answer{Faces: []detect.Face{{X: 1, Y: 1, Width: 5, Height: 5, Score: 9}}}, nil
}

// bench is a server, a list and a job to run on.
type bench struct {
	*testing.T
	server *fetchtest.Server
	list   string
	job    store.Job
	opts   Options
	stats  *Stats
}

func newBench(t *testing.T, images map[string][]byte, paths ...string) *bench {
	t.Helper()
	b := &bench{T: t, server: fetchtest.New(images, 0)}
	t.Cleanup(b.server.Close)
	b.list = filepath.Join(t.TempDir(), "urls.txt")
	var text strings.Builder
	for _, p := range paths {
		fmt.Fprintln(&text, b.server.URL+p)
	}
	if err := os.WriteFile(b.list, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	job, err := sqlite.Create(t.Context(), filepath.Join(filepath.Dir(b.list), "job.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { job.Close() })
	f, err := fetch.New(fetch.Options{Timeout: 10 * time.Second, MaxBytes: 32 << 20, MaxRedirects: 5,
		UserAgent: "test", AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	specs, err := source.Expand([]string{b.list}, false)
	if err != nil {
		t.Fatal(err)
	}
	b.job = job
	b.opts = Options{Sources: specs, Fetcher: f, Decode: decode.Options{MaxPixels: 100e6},
		Detector: answering(oneFace),
		Fetchers: 4, Workers: 2, ShardSize: 10, Retries: 1, LeaseTTL: 30 * time.Second, Memory: 64 << 20,
		DrainGrace: time.Second, OutageWait: time.Minute,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	return b
}

func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) run() (End, error) {
	b.Helper()
	b.stats = &Stats{}
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	return Run(ctx, b.job, b.opts, b.stats)
}

// outcomes reads status and reason of all done rows, and has the job verified.
func (b *bench) outcomes() (out []string) {
	b.Helper()
	for r, err := range b.job.Results(b.Context(), 0, math.MaxInt64) {
		if err != nil {
			b.Fatal(err)
		}
		out = append(out, strings.TrimSuffix(string(r.Status)+" "+string(r.Reason), " "))
	}
	err := b.job.Verify(b.Context(), store.VerifyOptions{},
		func(p store.Problem) { b.Errorf("verify: %s %d %s", p.Check, p.ID, p.Text) })
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func (b *bench) want(end End, outcomes ...string) {
	b.Helper()
	got, err := b.run()
	if err != nil || got != end {
		b.Fatalf("ended with %v, %v; want %v", got, err, end)
	}
	if out := b.outcomes(); strings.Join(out, ",") != strings.Join(outcomes, ",") {
		b.Fatalf("outcomes %v, want %v", out, outcomes)
	}
}

var two = map[string][]byte{"a.png": picture(20, 10), "b.png": picture(77, 30)}

func TestAPanicIsItsRowsOutcome(t *testing.T) {
	b := newBench(t, two, "/f/a.png", "/f/b.png", "/f/a.png?again")
	b.opts.Detector = answering(func(img detect.Image) (detect.Answer, error) {
		if img.Luma.Rect.Dx() == 77 {
			panic("the detector has a bug")
		}
		return oneFace(img)
	})
	b.want(Finished, "ok", "failed bad_image", "ok")
}

func TestADetectorThatFailsEndsTheRun(t *testing.T) {
	b := newBench(t, two, "/f/a.png", "/f/b.png")
	broken := errors.New("the model is gone")
	b.opts.Detector = answering(func(detect.Image) (detect.Answer, error) { return detect.Answer{}, broken })
	if _, err := b.run(); !errors.Is(err, broken) {
		t.Fatalf("%v, want the detector's error", err)
	}
	if out := b.outcomes(); len(out) != 0 {
		t.Fatalf("%v: no row may be done without an answer", out)
	}
	b.opts.Detector = answering(oneFace)
	b.want(Finished, "ok", "ok")
}

func TestResultsDoNotDependOnMemory(t *testing.T) {
	images := map[string][]byte{"a.png": picture(20, 10), "b.png": picture(1500, 900)}
	var paths []string
	for i := range 30 {
		paths = append(paths, fmt.Sprintf("/i/%d/x.png", i))
	}
	var want []string
	for range paths {
		want = append(want, "ok")
	}
	b := newBench(t, images, paths...)
	b.opts.Memory = 1 << 20 // less than one of the large images takes
	b.opts.Fetchers = 16
	b.want(Finished, want...)
}

func TestRowsThatKilledADecoderAreTriedApart(t *testing.T) {
	b := newBench(t, two, "/f/a.png", "/f/b.png")
	var trials atomic.Int32
	b.opts.TryDecode = func(_ context.Context, body []byte) error {
		trials.Add(1)
		if bytes.Equal(body, two["b.png"]) {
			return errors.New("signal: segmentation fault")
		}
		return nil
	}
	b.job = overJob{b.job, func(s store.Session) store.Session {
		return suspecting{s,
			map[int64]int{1: 1, 2: 1}}
	}}
	b.want(Finished, "ok", "failed bad_image")
	if trials.Load() != 2 {
		t.Errorf("%d trials, want one a suspect", trials.Load())
	}
	if s := b.server.Hits("/f/b.png"); s != 1 {
		t.Errorf("the killer was fetched %d times", s)
	}
}

func TestARowThatEndedTwoProcessesIsNotTried(t *testing.T) {
	b := newBench(t, two, "/f/a.png", "/f/b.png")
	b.job = overJob{b.job, func(s store.Session) store.Session { return suspecting{s, map[int64]int{2: 2}} }}
	b.want(Finished, "ok", "failed bad_image")
	if s := b.server.Hits("/f/b.png"); s != 0 {
		t.Errorf("it was fetched %d times", s)
	}
}

// overJob changes the session of a job.
type overJob struct {
	store.Job
	over func(store.Session) store.Session
}

func (j overJob) Join(ctx context.Context, o store.Owner, ttl time.Duration) (store.Session, error) {
	s, err := j.Job.Join(ctx, o, ttl)
	return j.over(s), err
}

type suspecting struct {
	store.Session
	rows map[int64]int
}

func (s suspecting) Suspects(context.Context) (map[int64]int, error) { return s.rows, nil }

// deaf is a session that cannot renew until it is told to.
type deaf struct {
	store.Session
	heals  *atomic.Bool
	failed chan struct{}
}

func (d deaf) Renew(ctx context.Context, ls []store.Lease) ([]store.Lease, error) {
	if d.heals.Load() {
		return d.Session.Renew(ctx, ls)
	}
	select {
	case d.failed <- struct{}{}:
	default:
	}
	return nil, errors.New("the store does not answer")
}

// TestTrustEnds: a process that cannot renew stops working on its rows before the lease is over, gives them
// up, and takes them again when the store is back. Nothing is done twice.
func TestTrustEnds(t *testing.T) {
	b := newBench(t, two, "/f/a.png", "/f/b.png", "/i/1/x.png")
	var heals atomic.Bool
	failed := make(chan struct{}, 1)
	b.job = overJob{b.job, func(s store.Session) store.Session { return deaf{s, &heals, failed} }}
	b.opts.LeaseTTL = time.Second
	var held atomic.Bool
	hold := make(chan struct{})
	b.opts.Detector = answering(func(img detect.Image) (detect.Answer, error) {
		if held.CompareAndSwap(false, true) {
			<-hold // works on while the trust ends
		}
		return oneFace(img)
	})
	go func() {
		<-failed
		for b.stats.LeasesLost.Load() == 0 {
			time.Sleep(5 * time.Millisecond)
		}
		heals.Store(true)
		close(hold)
	}()
	b.stats = &Stats{}
	end, err := Run(t.Context(), b.job, b.opts, b.stats)
	if err != nil || end != Finished {
		t.Fatal(end, err)
	}
	if out := b.outcomes(); len(out) != 3 {
		t.Fatalf("%v: want three rows done", out)
	}
}

// failing is a session whose commits fail from the n-th on.
type failing struct {
	store.Session
	left *atomic.Int32
	err  error
}

func (f failing) CommitAll(ctx context.Context, batches []store.Batch) ([]int, error) {
	if f.left.Add(-1) < 0 {
		return nil, f.err
	}
	return f.Session.CommitAll(ctx, batches)
}

func TestAStoreThatFailsEndsTheRunAndLosesNothing(t *testing.T) {
	var paths []string
	for i := range 60 {
		paths = append(paths, fmt.Sprintf("/i/%d/x.png", i))
	}
	b := newBench(t, two, paths...)
	good := b.job
	var left atomic.Int32
	left.Store(2)
	full := fmt.Errorf("write: %w", store.ErrFull)
	b.job = overJob{good, func(s store.Session) store.Session { return failing{s, &left, full} }}
	if _, err := b.run(); !errors.Is(err, store.ErrFull) {
		t.Fatalf("%v, want the store's error", err)
	}
	b.job = good
	end, err := b.run()
	if err != nil || end != Finished || len(b.outcomes()) != 60 {
		t.Fatal(end, err, len(b.outcomes()))
	}
}

func TestDrainGivesRowsBack(t *testing.T) {
	b := newBench(t, two, "/f/a.png", "/hang/1", "/hang/2")
	drain := make(chan struct{})
	b.opts.Drain = drain
	b.opts.DrainGrace = 50 * time.Millisecond
	go func() {
		for b.server.Total() < 3 {
			time.Sleep(time.Millisecond)
		}
		close(drain)
	}()
	b.want(Interrupted, "ok")
	c, err := b.job.Counts(t.Context())
	if err != nil || c.Pending != 2 || c.Shards.Leased != 0 {
		t.Fatalf("%+v %v: two rows must be pending, and free", c, err)
	}
}
