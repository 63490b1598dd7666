package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"facescan/pipeline/source"
	"facescan/store"
	"facescan/store/sqlite"
)

// errFailing is what a failing job says.
var errFailing = errors.New("the disk does not answer")

// failing is a job of which one call fails, after some that do not. The ones after it do not either, or they
// would hide that it was passed over.
type failing struct {
	store.Job
	left   int
	failed bool
}

func (f *failing) call() error {
	if f.left--; f.left == -1 {
		f.failed = true
		return errFailing
	}
	return nil
}

func one[T any](f *failing, ask func() (T, error)) (none T, err error) {
	if err := f.call(); err != nil {
		return none, err
	}
	return ask()
}

func many[T any](f *failing, ask iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		if err := f.call(); err != nil {
			var none T
			yield(none, err)
			return
		}
		ask(yield)
	}
}

func (f *failing) Settings(ctx context.Context) (map[string]string, error) {
	return one(f, func() (map[string]string, error) { return f.Job.Settings(ctx) })
}
func (f *failing) Sources(ctx context.Context) ([]store.Source, error) {
	return one(f, func() ([]store.Source, error) { return f.Job.Sources(ctx) })
}
func (f *failing) Counts(ctx context.Context) (store.Counts, error) {
	return one(f, func() (store.Counts, error) { return f.Job.Counts(ctx) })
}
func (f *failing) Detectors(ctx context.Context) ([]string, error) {
	return one(f, func() ([]string, error) { return f.Job.Detectors(ctx) })
}
func (f *failing) Retry(ctx context.Context, s store.Selection) (int64, error) {
	return one(f, func() (int64, error) { return f.Job.Retry(ctx, s) })
}
func (f *failing) Samples(ctx context.Context) ([]store.Thumbnail, error) {
	return one(f, func() ([]store.Thumbnail, error) { return f.Job.Samples(ctx) })
}
func (f *failing) Join(ctx context.Context, who store.Owner, ttl time.Duration) (store.Session, error) {
	return one(f, func() (store.Session, error) { return f.Job.Join(ctx, who, ttl) })
}
func (f *failing) Set(ctx context.Context, settings map[string]string) error {
	return errors.Join(f.call(), f.Job.Set(ctx, settings))
}
func (f *failing) Pause(ctx context.Context, source int, paused bool) error {
	return errors.Join(f.call(), f.Job.Pause(ctx, source, paused))
}
func (f *failing) Verify(ctx context.Context, o store.VerifyOptions, report func(store.Problem)) error {
	return errors.Join(f.call(), f.Job.Verify(ctx, o, report))
}
func (f *failing) Results(ctx context.Context, from, to int64) iter.Seq2[store.Result, error] {
	return many(f, f.Job.Results(ctx, from, to))
}
func (f *failing) Select(ctx context.Context, q store.Query) iter.Seq2[store.Result, error] {
	return many(f, f.Job.Select(ctx, q))
}
func (f *failing) Groups(ctx context.Context, after int64) iter.Seq2[store.Group, error] {
	return many(f, f.Job.Groups(ctx, after))
}
func (f *failing) Rows(ctx context.Context, from, to int64) iter.Seq2[store.Row, error] {
	return many(f, f.Job.Rows(ctx, from, to))
}
func (f *failing) Tally(ctx context.Context, by store.Key) iter.Seq2[store.Tally, error] {
	return many(f, f.Job.Tally(ctx, by))
}
func (f *failing) Hashes(ctx context.Context, from, to int64) iter.Seq2[store.HashedRow, error] {
	return many(f, f.Job.Hashes(ctx, from, to))
}
func (f *failing) Files(ctx context.Context, from, to int64) iter.Seq2[store.FileRow, error] {
	return many(f, f.Job.Files(ctx, from, to))
}

// unlucky is a job with rows that were forgotten, and some that failed for their addresses.
type unlucky struct{ store.Job }

func (u unlucky) Counts(ctx context.Context) (store.Counts, error) {
	c, err := u.Job.Counts(ctx)
	c.Failures[store.Forgotten], c.Failures[store.PrivateAddress] = 1, 1
	return c, err
}

func (u unlucky) Retry(ctx context.Context, s store.Selection) (int64, error) {
	n, err := u.Job.Retry(ctx, s)
	return n + 1, err
}

// TestJobFails: whichever call to the job fails, a command ends with that error, and not as if all were well.
func TestJobFails(t *testing.T) {
	t.Parallel()
	data, dir := smallJob(t), t.TempDir()
	list := filepath.Join(dir, "other.txt")
	if err := os.WriteFile(list, []byte("no URL\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	export := func(o exportOptions) func(context.Context, *globals, store.Job) error {
		return func(ctx context.Context, g *globals, job store.Job) error {
			o := o
			o.flags = newExport(g).Flags()
			if err := o.check(""); err != nil {
				return err
			}
			return runExport(ctx, g, &o, job, "job.db")
		}
	}
	some := store.Selection{Reasons: []store.Reason{store.BadURL, store.Forgotten, store.PrivateAddress}}
	for name, run := range map[string]func(context.Context, *globals, store.Job) error{
		"export":       export(exportOptions{rows: "images"}),
		"export faces": export(exportOptions{rows: "faces", where: "score > 1"}),
		"export with another score": export(exportOptions{rows: "images",
			minScore: scores{plain: ownNumber{0.9, true}}}),
		"export groups":     export(exportOptions{rows: "groups"}),
		"export duplicates": export(exportOptions{rows: "duplicates"}),
		"report": func(ctx context.Context, g *globals, job store.Job) error {
			return runReport(ctx, g, &reportOptions{out: filepath.Join(dir, "a.html")}, job, "job.db")
		},
		"verify": func(ctx context.Context, g *globals, job store.Job) error {
			err := runVerify(ctx, g, new(verifyOptions), job)
			if err != nil && !errors.Is(err, errFailing) { // the job has been tampered with
				return nil
			}
			return err
		},
		"retry": func(ctx context.Context, g *globals, job store.Job) error {
			return runRetry(ctx, g, &retryOptions{selection: some}, job, "job.db")
		},
		"retry of what was forgotten": func(ctx context.Context, g *globals, job store.Job) error {
			f := job.(*failing)
			f.Job = unlucky{f.Job}
			return runRetry(ctx, g, &retryOptions{selection: some}, f, "job.db")
		},
		"rescan": func(ctx context.Context, g *globals, job store.Job) error {
			var o rescanOptions
			o.addFlags(pflag.NewFlagSet("rescan", pflag.ContinueOnError))
			o.all = true
			return runRescan(ctx, g, &o, job, "job.db")
		},
		"pause": func(ctx context.Context, g *globals, job store.Job) error {
			return runPause(ctx, g, job, "job.db", "", true)
		},
		"resume": func(ctx context.Context, g *globals, job store.Job) error {
			if err := runPause(ctx, g, job.(*failing).Job, "job.db", "", true); err != nil {
				return err
			}
			return runPause(ctx, g, job, "job.db", "", false)
		},
		"status": func(ctx context.Context, g *globals, job store.Job) error {
			return statusOf(ctx, g, new(statusOptions), job)
		},
		"status by": func(ctx context.Context, g *globals, job store.Job) error {
			return statusOf(ctx, g, &statusOptions{by: "host"}, job)
		},
		"count what to forget": func(ctx context.Context, g *globals, job store.Job) error {
			_, err := (&forgetOptions{where: "id = 2"}).countIn(ctx, job)
			return err
		},
		"forget": func(ctx context.Context, g *globals, job store.Job) error {
			return forgetRows(ctx, g, &forgetOptions{where: "id = 2"}, job, "job.db")
		},
		"import": func(ctx context.Context, g *globals, job store.Job) error {
			o := sourceOptions{db: "job.db", shardSize: 10, leaseTTL: time.Minute}
			t := target{sources: []source.Spec{{Path: list, Format: "txt"}}}
			// else it is the job of another list
			if err := belongs(ctx, job, t, false); errors.Is(err, errFailing) {
				return err
			}
			return importInto(ctx, g, &o, job, t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "job.db")
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			job, err := sqlite.Open(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			defer job.Close()
			for calls := 0; ; calls++ {
				if calls > 200 {
					t.Fatal("it never ends well")
				}
				g := &globals{streams: newStreams(nil, io.Discard, io.Discard)}
				f := &failing{Job: job, left: calls}
				err := run(t.Context(), g, f)
				if !f.failed {
					var usage *exit // as of hashes that the job does not have
					if calls == 0 || err != nil && !errors.As(err, &usage) {
						t.Errorf("after %d calls, none of which failed: %v", calls, err)
					}
					return
				}
				if !errors.Is(err, errFailing) {
					t.Errorf("call %d fails: %v", calls, err)
				}
			}
		})
	}
}

// openSmallJob opens one of its own.
func openSmallJob(t *testing.T) store.Job {
	t.Helper()
	path := filepath.Join(t.TempDir(), "job.db")
	if err := os.WriteFile(path, smallJob(t), 0o600); err != nil {
		t.Fatal(err)
	}
	job, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { job.Close() })
	return job
}

// TestPublishFails: a job that cannot be read is not published as an empty one.
func TestPublishFails(t *testing.T) {
	t.Parallel()
	job := openSmallJob(t)
	share := publishOptions{dir: t.TempDir()}
	g, _, _ := printing()
	for calls := range 2 {
		p, err := share.open(t.Context(), &failing{Job: job, left: calls}, target{}, 10, g.log())
		if p != nil || !errors.Is(err, errFailing) {
			t.Errorf("call %d fails: %v", calls, err)
		}
	}
	p, err := share.open(t.Context(), job, target{}, 10, g.log())
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}

// unsound is a job in which problems are found, and results without checksums.
type unsound struct {
	store.Job
	problems  []store.Problem
	unchecked int64
}

func (u unsound) Verify(_ context.Context, o store.VerifyOptions, report func(store.Problem)) error {
	for _, p := range u.problems {
		report(p)
	}
	o.Unchecked(u.unchecked)
	return nil
}

// TestVerifySays: the problems of each kind up to a number, how many more there are, and how it ends.
func TestVerifySays(t *testing.T) {
	t.Parallel()
	job := openSmallJob(t)
	for _, c := range []struct {
		problems, lines int
		more            string
	}{{20, 20, ""}, {21, 20,
		"facescan: result: 1 more like these\n"},
		{22, 20, "facescan: result: 2 more like these\n"}} {
		u := unsound{job, []store.Problem{{Check: "file", Text: "torn"}}, 0}
		for range c.problems {
			u.problems = append(u.problems, store.Problem{Check: "result", ID: 7, Text: "gone"})
		}
		g, out, said := printing()
		err := runVerify(t.Context(), g, new(verifyOptions), u)
		want := "file: torn\n" + strings.Repeat("result: row 7: gone\n", c.lines)
		// The list of this job is gone, too, and that does no harm.
		_, more, _ := strings.Cut(said.String(), "are not compared with the rows\n")
		if err == nil || err.Error() != fmt.Sprintf("%s is not sound: %d problems", job.Path(), c.problems+1) ||
			out.String() != want || more != c.more {
			t.Errorf("%d problems: %v, %q, and said %q", c.problems, err, out, said)
		}
		g, out, _ = printing()
		_ = runVerify(t.Context(), g, &verifyOptions{json: true}, u)
		if !strings.HasPrefix(out.String(), `{"check":"file","id":0,"text":"torn"}`+"\n"+
			`{"check":"result","id":7,"text":"gone"}`+"\n") ||
			strings.Count(out.String(), "\n") != c.lines+1 {
			t.Errorf("%d problems as JSON: %s", c.problems, out)
		}
	}
	for unchecked, want := range map[int64]string{0: "",
		1: "facescan: 1 result was written by an earlier release",
		2: "facescan: 2 results were written by an earlier release"} {
		g, _, said := printing()
		err := runVerify(t.Context(), g, new(verifyOptions), unsound{job, nil, unchecked})
		if err != nil || !strings.Contains(said.String(), want) ||
			strings.Contains(said.String(), "earlier release") != (unchecked > 0) ||
			!strings.Contains(said.String(), "is sound: 40 rows, ") {
			t.Errorf("%d without a checksum: %v, %q", unchecked, err, said)
		}
	}
}
