package export

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"facescan/store"
	"facescan/store/storetest/interrupt"
	"facescan/store/storetest/must"
)

// TestEachStepOfFollowFails interrupts each step of following a job in turn, whose rows change after they
// were written: the file is as it has to be, or there is an error.
func TestEachStepOfFollowFails(t *testing.T) {
	t.Parallel()
	d := newFollowed(t)
	d.list("a", 10)
	interrupt.Each(t, 5, func(ctx context.Context) error {
		must.Get(d.Retry(background, store.Selection{Reasons: []store.Reason{store.Timeout}}))(d)
		d.work()
		if _, err := os.Stat(d.path); err == nil { // it has to be compared
			d.ok(os.Chtimes(d.path, time.Now(), time.Now()))
		}
		f := d.follower()
		f.Finish = true
		err := f.Follow(ctx, nil)
		if err == nil {
			d.is(d.exported())
		}
		return err
	})
}

// TestEachStepOfGroupsFails interrupts each step of following the groups of a job in turn.
func TestEachStepOfGroupsFails(t *testing.T) {
	t.Parallel()
	d := newFollowed(t)
	s := must.Get(d.AddSource(background, store.Source{Name: "list"}))(t)
	l := must.Get(d.LeaseSource(background, s.Number))(t)
	want, id := "group,images\n", int64(1)
	interrupt.Each(t, 5, func(ctx context.Context) error {
		name := string(rune('A' + id/2%26))
		d.ok(d.Append(background, l, []store.NewRow{{ID: id, URL: "http://x.example/", Group: name + "x"},
			{ID: id + 1, Group: name + "x", End: true}}, store.Position{Line: id + 1}, false, 1000))
		d.work()
		if id += 2; id > 50 {
			t.Fatal("more steps than letters")
		}
		want += name + "x,1\n"
		f := d.follower()
		f.Options = func([]store.Source) (Options, error) {
			return Options{Rows: "groups", Columns: []string{"group", "images"}}, nil
		}
		over := make(chan struct{})
		close(over)
		err := f.Follow(ctx, over)
		if err == nil {
			d.is(want)
		}
		return err
	})
}

// TestFollowRefuses has options that cannot be had, and a position that is damaged in the job.
func TestFollowRefuses(t *testing.T) {
	d := newFollowed(t)
	d.list("a", 3)
	wrong := errors.New("no options")
	var usage *UsageError
	for _, c := range []struct {
		o   Options
		err error
		is  func(error) bool
	}{
		{Options{}, wrong, func(err error) bool { return errors.Is(err, wrong) }},
		{Options{Columns: []string{"nose"}}, nil, func(err error) bool { return errors.As(err, &usage) }},
		{Options{Where: "nose"}, nil, func(err error) bool { return errors.As(err, &usage) }},
	} {
		f := d.follower()
		f.Options = func([]store.Source) (Options, error) { return c.o, c.err }
		if err := f.Follow(background, nil); !c.is(err) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	f := d.follower()
	f.Path = filepath.Join(t.TempDir(), "missing", "x.csv")
	if err := f.Follow(background, nil); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(),
		"write "+f.Path+": ") {
		t.Errorf("in a folder that is not there: %v", err)
	}
	d.ok(d.Set(background, map[string]string{store.OutputSetting + "out": "{"}))
	if err := d.follower().Follow(background, nil); err == nil {
		t.Error("a position that cannot be read is taken")
	}
	if err := d.follower().Check(background); err == nil {
		t.Error("a position that cannot be read is right")
	}
}

// TestCheck has each kind of thing where a file is to be, and a file that the job wrote.
func TestCheck(t *testing.T) {
	d := newFollowed(t)
	d.list("a", 3)
	dir := t.TempDir()
	file, folder, link := filepath.Join(dir, "file"), filepath.Join(dir, "folder"), filepath.Join(dir, "link")
	must.OK(t, os.WriteFile(file, []byte("x"), 0o600))
	must.OK(t, os.Mkdir(folder, 0o700))
	must.OK(t, os.Symlink(filepath.Join(dir, "nothing"), link))
	for path, want := range map[string]string{
		"": "", filepath.Join(dir, "new"): "",
		file: file +
			" exists, and this job did not write it; move it away, or name another file",
		link:                     link + " is a symbolic link, which may lead anywhere; name the file itself",
		folder:                   folder + " is not a regular file, and rows can be appended only to one",
		filepath.Join(file, "x"): "lstat " + filepath.Join(file, "x") + ": not a directory",
	} {
		f := d.follower()
		f.Path, f.Name = path, path
		got := ""
		err := f.Check(background)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
		var foreign *ForeignError
		if errors.As(err, &foreign) != (path == file) {
			t.Errorf("%q is of others: %v", path, err)
		}
		if path == "" {
			continue
		}
		if err := f.Follow(background, closed()); (err != nil) != (want != "") {
			t.Errorf("%q is followed: %v", path, err)
		}
	}
	if b := must.Get(os.ReadFile(file))(t); string(b) != "x" {
		t.Errorf("the file of others is now %q", b)
	}
	d.follow()
	d.ok(d.follower().Check(background))
}

// closed is a channel of a run that is over.
func closed() <-chan struct{} {
	over := make(chan struct{})
	close(over)
	return over
}

// asked is a job that tells of each question for its counts.
type asked struct {
	store.Job
	counts chan struct{}
}

func (j asked) Counts(ctx context.Context) (store.Counts, error) {
	select {
	case j.counts <- struct{}{}:
	case <-ctx.Done():
	}
	return j.Job.Counts(ctx)
}

// TestFollowWaits has another process hold the file. Of a job that is finished, what it lacks is written when
// it lets go; of one that is not, it is left to that process.
func TestFollowWaits(t *testing.T) {
	d := newFollowed(t)
	d.list("a", 10)
	d.work(5)
	d.follow()
	holder := d.follower()
	if locked, err := holder.lock(background); !locked || err != nil {
		t.Fatal(locked, err)
	}
	defer func() { holder.release() }()
	d.ok(d.follower().Follow(background, closed()))
	d.is(d.exported([2]int64{0, 5}))
	d.work()
	f := d.follower()
	f.Finish = true
	d.ok(f.Follow(background, closed()))
	d.is(d.exported([2]int64{0, 5}))

	for _, stop := range []bool{true, false} {
		job := asked{d.Job, make(chan struct{})}
		f = d.follower()
		f.Job = job
		ctx, cancel := context.WithCancel(background)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- f.Follow(ctx, closed()) }()
		for range 3 { // it has asked twice, and waits
			<-job.counts
		}
		if stop {
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("a follower that waits is stopped: %v", err)
			}
			d.is(d.exported([2]int64{0, 5}))
			continue
		}
		holder.release()
		for waiting := true; waiting; {
			select {
			case <-job.counts:
			case err := <-ended:
				d.ok(err)
				waiting = false
			}
		}
	}
	d.is(d.exported())
	if n := strings.Count(d.log.String(), "waiting for the process that writes "+d.path); n != 2 {
		t.Errorf("said %d times of two followers that they wait:\n%s", n, &d.log)
	}
}

// TestPlaceHas: a source is passed over only if all its rows were written, and are what they were.
func TestPlaceHas(t *testing.T) {
	whole := place{Next: 9, Changes: 3, Rows: 8}
	same := store.Source{Rows: 8, Changes: 3}
	for _, c := range []struct {
		p    place
		s    store.Source
		want bool
	}{
		{whole, same, true}, {place{Next: 9, Changes: 3}, store.Source{Changes: 3}, false},
		{whole, store.Source{Rows: 9, Changes: 3}, false}, {whole, store.Source{Rows: 8, Changes: 4}, false},
		{whole, store.Source{Rows: 8, Changes: 3, Pending: 1}, false},
	} {
		if c.p.has(c.s) != c.want {
			t.Errorf("%+v has all of %+v: %v", c.p, c.s, !c.want)
		}
	}
}
