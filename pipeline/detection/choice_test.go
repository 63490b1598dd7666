package detection

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"facescan/detect"
	"facescan/detect/sidecar"
	"facescan/pipeline"
	"facescan/store"
)

// TestSidecars: without --detector a new job takes what the first sidecar that answers serves; the default
// only where a stand-in was asked for.
func TestSidecars(t *testing.T) {
	server, err := sidecar.NewServer(sidecar.ServerOptions{Detector: detect.Pigo, Open: detect.New,
		Workers: 1})
	check(t, err)
	defer func() { check(t, server.Close()) }()
	pigo := httptest.NewServer(server)
	defer pigo.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, c := range []struct {
		name     string
		detector string
		urls     []string
		fallback bool
		want     string // the detector's name, or what is said, after !
	}{
		{"what it serves", "", []string{pigo.URL}, false, detect.Pigo},
		{"the first that answers", "", []string{gone.URL, pigo.URL}, false, detect.Pigo},
		{"none answers", "", []string{gone.URL}, false, "!no sidecar"},
		{"none answers, and a stand-in may", "", []string{gone.URL}, true, detect.Default},
		{"named", detect.Yunet, []string{pigo.URL}, false, detect.Yunet},
		{"none", detect.None, []string{pigo.URL}, false, "!--sidecar has nothing to do"},
	} {
		choice := line(c.detector)
		choice.Sidecars, choice.Fallback = c.urls, c.fallback
		err := choice.Choose(t.Context(), nil)
		if says, fails := strings.CutPrefix(c.want, "!"); fails {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v, want %s", c.name, err, says)
			}
		} else if err != nil || choice.Name != c.want {
			t.Errorf("%s: %s, %v; want %s", c.name, choice.Name, err, c.want)
		}
	}
	// The command that a refusal names has the sidecars.
	begun := line("")
	job := newJob(t, true, nil)
	d, err := begun.Open(t.Context(), job, opener(begun, 20))
	check(t, err)
	check(t, d.Close())
	other := line(detect.Pigo)
	other.Sidecars = []string{pigo.URL}
	_, err = other.Open(t.Context(), job, opener(other, 20))
	says(t, err, " --stale --detector pigo --sidecar "+pigo.URL+"`, or")
}

// TestCurrent: a job that no run has begun goes on with the detector of its results, as a merge does, else
// with the default.
func TestCurrent(t *testing.T) {
	ctx := t.Context()
	job := newJob(t, true, nil)
	if name, err := Current(ctx, job); err != nil || name != detect.Default {
		t.Errorf("without results: %s, %v", name, err)
	}
	session, err := job.Join(ctx, pipeline.Self(), ttl)
	check(t, err)
	lease, err := session.Claim(ctx, 10)
	check(t, err)
	pigo, err := detect.New(detect.Defaults(detect.Pigo))
	check(t, err)
	defer pigo.Close()
	result := store.Result{ID: 2, Status: store.OK, Format: "png", Width: 1, Height: 1,
		Detector: pigo.Fingerprint()}
	_, err = session.CommitAll(ctx, []store.Batch{{Lease: lease, Results: []store.Result{result}}})
	check(t, err)
	check(t, session.Leave(ctx))
	if name, err := Current(ctx, job); err != nil || name != detect.Pigo {
		t.Errorf("with results of pigo: %s, %v", name, err)
	}
}

// TestVerifiedJob: one that was begun with --verify-faces and has no row left goes on, as long as no detector
// is asked.
func TestVerifiedJob(t *testing.T) {
	pigo, err := detect.New(detect.Defaults(detect.Pigo))
	check(t, err)
	defer pigo.Close()
	begun := pigo.Fingerprint() + " verify=1"
	job := newJob(t, true, map[string]string{DetectorSetting: begun})
	session, err := job.Join(t.Context(), pipeline.Self(), ttl)
	check(t, err)
	lease, err := session.Claim(t.Context(), 10)
	check(t, err)
	failed := store.Result{ID: 2, Status: store.Failed, Reason: store.Timeout}
	_, err = session.CommitAll(t.Context(), []store.Batch{{Lease: lease, Results: []store.Result{failed}}})
	check(t, err)
	check(t, session.Leave(t.Context()))
	c := line("")
	d, err := c.Open(t.Context(), job, opener(c, 20))
	check(t, err)
	if d.Fingerprint() != begun {
		t.Errorf("the fingerprint is %s", d.Fingerprint())
	}
	_, err = d.Detect(t.Context(), nil)
	says(t, err, "!--verify-faces was removed")
	check(t, d.Close())
}

// refuses is a command line that cannot take a value of the job's.
type refuses struct{ flags }

func (refuses) Take(string, string) error { return errors.New("not a number") }

// TestOpenFails with the cause, and leaves the job as it is.
func TestOpenFails(t *testing.T) {
	broken := errors.New("no such model")
	for _, c := range []struct {
		name   string
		change func(c *Choice)
		open   error
		says   string
	}{
		{"the detector does not open", func(*Choice) {}, broken, "no such model"},
		{"a value of the job's cannot be taken", func(c *Choice) { c.Flags = refuses{c.Flags.(flags)} }, nil,
			`the job's --min-face "33": not a number`},
		{"flags that contradict each other, and the job's", func(c *Choice) {
			*c = *line("", "min-face", "50")
			f := c.Flags.(flags)
			f.bad = pipeline.Usagef("--min-face 50 is above --max-face 40")
			c.Flags = f
		}, nil, "!above --max-face"},
	} {
		job := newJob(t, true, map[string]string{flagsSetting: `{"detector":"pigo","min-face":"33"}`})
		before, err := job.Settings(t.Context())
		check(t, err)
		choice := line("")
		c.change(choice)
		open := func() (detect.Detector, error) {
			if c.open != nil {
				return nil, c.open
			}
			return opener(choice, 33)()
		}
		_, err = choice.Open(t.Context(), job, open)
		says(t, err, c.says)
		_, err = choice.Change(t.Context(), job, open)
		if !strings.HasPrefix(c.says, "!") {
			says(t, err, c.says)
		} else if err != nil { // Change applies the flags, and opening checks them
			t.Errorf("%s: %v", c.name, err)
		}
		if after, err := job.Settings(t.Context()); err != nil ||
			after[flagsSetting] != before[flagsSetting] &&
				!strings.HasPrefix(c.says, "!") {
			t.Errorf("%s: settings %v, %v", c.name, after, err)
		}
	}
}

// broken is a job one of whose answers fails.
type broken struct {
	store.Job
	answer string
}

var errBroken = errors.New("disk I/O error")

func (j broken) Settings(ctx context.Context) (map[string]string, error) {
	if j.answer == "settings" {
		return nil, errBroken
	}
	return j.Job.Settings(ctx)
}

func (j broken) Counts(ctx context.Context) (store.Counts, error) {
	if j.answer == "counts" {
		return store.Counts{}, errBroken
	}
	return j.Job.Counts(ctx)
}

func (j broken) Detectors(ctx context.Context) ([]string, error) {
	if j.answer == "detectors" {
		return nil, errBroken
	}
	return j.Job.Detectors(ctx)
}

func (j broken) Set(ctx context.Context, settings map[string]string) error {
	if j.answer == "set" {
		return errBroken
	}
	return j.Job.Set(ctx, settings)
}

// TestBrokenJob: a job that cannot be read or written has no detector.
func TestBrokenJob(t *testing.T) {
	merged := newJob(t, false, nil)
	for answer, called := range map[string]struct{ settle, change, current bool }{
		"settings": {true, true, true}, "counts": {true, true, false}, "detectors": {false, false, true},
		"set": {true, true, false},
	} {
		job := newJob(t, false, map[string]string{flagsSetting: `{"detector":"pigo"}`,
			DetectorSetting: "pigo"})
		c := line("yunet")
		d, err := c.Open(t.Context(), broken{job, answer}, opener(c, 20))
		if errors.Is(err, errBroken) != called.settle || (d == nil) != called.settle {
			t.Errorf("%s: settled: %v, %v", answer, d, err)
		}
		if d != nil {
			check(t, d.Close())
		}
		c = line("yunet", "min-face", answer)
		if _, err := c.Change(t.Context(), broken{job, answer}, opener(c, 20)); errors.Is(err,
			errBroken) != called.change {
			t.Errorf("%s: changed: %v", answer, err)
		}
		if _, err := Current(t.Context(), broken{merged, answer}); errors.Is(err, errBroken) !=
			called.current {
			t.Errorf("%s: current: %v", answer, err)
		}
	}
}
