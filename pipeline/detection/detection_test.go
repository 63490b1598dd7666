package detection

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"facescan/detect"
	"facescan/pipeline"
	"facescan/store"
	"facescan/store/sqlite"
)

// flags are those of a command line: their defaults, and what was given.
type flags struct {
	text    map[string]string
	changed map[string]bool
	bad     error // what a detector says of them
}

func (f flags) Changed(name string) bool     { return f.changed[name] }
func (f flags) Text(name string) string      { return f.text[name] }
func (f flags) Check() error                 { return f.bad }
func (f flags) Take(name, text string) error { f.text[name] = text; return nil }

// line is a command line with some flags: name, value, …
func line(detector string, given ...string) *Choice {
	f := flags{map[string]string{"min-face": "20", "max-face": "0", "shift": "0.1", "scale": "1.1"},
		map[string]bool{}, nil}
	for i := 0; i < len(given); i += 2 {
		f.text[given[i]], f.changed[given[i]] = given[i+1], true
	}
	return &Choice{Name: detector, Flags: f}
}

// opener opens the detector that was chosen, with a --min-face that the test says.
func opener(c *Choice, minFace int) func() (detect.Detector, error) {
	return func() (detect.Detector, error) {
		if c.None() {
			return nil, nil
		}
		p := detect.Defaults(c.Name)
		p.MinFace = minFace
		return detect.New(p)
	}
}

// ttl is how long leases last.
const ttl = time.Minute

// newJob is a job with these settings, of a row that is done, if any is, and one that is pending.
func newJob(t *testing.T, anyDone bool, settings map[string]string) store.Job {
	t.Helper()
	ctx := t.Context()
	job, err := sqlite.Create(ctx, filepath.Join(t.TempDir(), "it's a.facescan.db"))
	check(t, err)
	t.Cleanup(func() { check(t, job.Close()) })
	check(t, job.Set(ctx, settings))
	session, err := job.Join(ctx, pipeline.Self(), ttl)
	check(t, err)
	source, err := job.AddSource(ctx, store.Source{Name: "list.txt", Format: "txt"})
	check(t, err)
	lease, err := session.LeaseSource(ctx, source.Number)
	check(t, err)
	rows := []store.NewRow{{ID: 1, URL: "x", Bad: anyDone}, {ID: 2, URL: "http://127.0.0.1/a.jpg"}}
	check(t, session.Append(ctx, lease, rows, store.Position{}, true, 10))
	check(t, session.Leave(ctx))
	return job
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestOpen opens the detectors of jobs for command lines.
func TestOpen(t *testing.T) {
	begun := func(t *testing.T, anyDone bool, c *Choice) store.Job {
		job := newJob(t, anyDone, nil)
		d, err := c.Open(t.Context(), job, opener(c, 20))
		check(t, err)
		if d != nil {
			check(t, d.Close())
		}
		return job
	}
	for _, test := range []struct {
		name          string
		was           *Choice // whose job it is
		pending       bool    // no row is done
		now           *Choice
		minFace       int
		detector, err string // the detector's name; or what is said, after ! if it is a usage error
	}{
		{"its own", line("pigo"), false, line(""), 20, detect.Pigo, ""},
		{"the same, named", line(""), false, line("yunet"), 20, detect.Yunet, ""},
		{"the flag's default, given", line(""), false, line("", "iou", "0.3"), 20, detect.Yunet, ""},
		{"another", line("pigo"), false, line("yunet"), 20, "",
			"--detector yunet (was pigo); leave them out to go on as before, process everything again " +
				"with `facescan rescan '"},
		{"another, nothing done", line("pigo"), true, line("yunet"), 20, detect.Yunet, ""},
		{"another flag", line(""), false, line("", "min-face", "40"), 40, "", `--min-face 40 (was 20)`},
		{"and how to rescan with it", line(""), false, line("", "min-face", "40"), 40, "",
			".facescan.db' --stale --min-face 40`, or begin another job"},
		{"another flag, nothing done", line(""), true, line("", "min-face", "40"), 40, detect.Yunet, ""},
		{"another fingerprint", line(""), false, line(""), 40, "",
			"the job has results of another detector (yunet-"},
		{"another detector's flag", line(""), false, line("", "shift", "0.2"), 20, "",
			"!--shift 0.2 is a flag of the detector pigo, and the detector here is yunet"},
		{"none", line("none"), false, line(""), 20, detect.None, ""},
		{"none and a flag", line("none"), false, line("", "iou", "0.5"), 20, "",
			"!--iou 0.5: --detector none looks for no faces"},
		{"unknown", line(""), false, line("haar"), 20, "",
			"!--detector \"haar\": it is one of yunet, pigo, none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			job := begun(t, !test.pending, test.was)
			d, err := test.now.Open(t.Context(), job, opener(test.now, test.minFace))
			if test.err != "" {
				says(t, err, test.err)
				return
			}
			check(t, err)
			if d == nil != (test.detector == detect.None) {
				t.Errorf("the detector is %v", d)
			}
			if d != nil {
				check(t, d.Close())
			}
			name, err := Current(t.Context(), job)
			check(t, err)
			if name != test.detector || test.now.Name != test.detector {
				t.Errorf("the detector is %s, the job's %s; want %s", test.now.Name, name, test.detector)
			}
			settings, err := job.Settings(t.Context())
			check(t, err)
			if NoFaces(settings) != (test.detector == detect.None) {
				t.Errorf("settings: %v", settings)
			}
		})
	}
}

// says holds an error to a text, which begins with an exclamation mark if the command line is wrong.
func says(t *testing.T, err error, text string) {
	t.Helper()
	text, usage := strings.CutPrefix(text, "!")
	var bad *pipeline.UsageError
	if err == nil || !strings.Contains(err.Error(), text) || errors.As(err, &bad) != usage {
		t.Errorf("%v; want %s", err, text)
	}
}

// TestAdopted: a job's flags hold where none are given.
func TestAdopted(t *testing.T) {
	job := newJob(t, true,
		map[string]string{flagsSetting: `{"detector":"pigo","min-face":"33","shift":"0.2"}`})
	c := line("")
	d, err := c.Open(t.Context(), job, opener(c, 33))
	check(t, err)
	check(t, d.Close())
	if c.Flags.Text("min-face") != "33" || c.Flags.Text("shift") != "0.2" || c.Flags.Text("scale") != "1.1" {
		t.Errorf("%v", c.Flags)
	}
}

// TestAdoptedOfADetector: a flag of which each detector has its own default holds for the job's detector, and
// for no other.
func TestAdoptedOfADetector(t *testing.T) {
	for _, c := range []struct {
		now  *Choice
		want string // its --iou
	}{{line(""), "0.7"}, {line("yunet"), "0.3"}, {line("", "iou", "0.7"), "0.7"}} {
		if c.now.Flags.Text("iou") == "" {
			check(t, c.now.Flags.Take("iou", "0.3"))
		}
		job := newJob(t, false, map[string]string{flagsSetting: `{"detector":"pigo","iou":"0.7"}`})
		d, err := c.now.Open(t.Context(), job, opener(c.now, 20))
		check(t, err)
		check(t, d.Close())
		if got := c.now.Flags.Text("iou"); got != c.want {
			t.Errorf("%s goes on with --iou %s, want %s", c.now.Name, got, c.want)
		}
	}
	job := newJob(t, true, map[string]string{flagsSetting: `{"detector":"pigo","iou":"0.7"}`})
	c := line("", "iou", "0.5")
	_, err := c.Open(t.Context(), job, opener(c, 20))
	says(t, err, "--iou 0.5 (was 0.7)")
}

// closes is a detector that notes when it is closed.
type closes struct {
	detect.Detector
	closed *int
	fails  error
}

func (c closes) Close() error {
	*c.closed++
	return errors.Join(c.fails, c.Detector.Close())
}

// TestOpenCloses the detector that it refuses, and no other.
func TestOpenCloses(t *testing.T) {
	for _, c := range []struct {
		minFace, closed int
	}{{20, 0}, {40, 1}} {
		begun := line("")
		job := newJob(t, true, nil)
		d, err := begun.Open(t.Context(), job, opener(begun, 20))
		check(t, err)
		check(t, d.Close())
		closed, now := 0, line("")
		open := opener(now, c.minFace)
		d, err = now.Open(t.Context(), job, func() (detect.Detector, error) {
			d, err := open()
			return closes{d, &closed, nil}, err
		})
		if closed != c.closed || (err == nil) != (c.closed == 0) || (d == nil) != (c.closed == 1) {
			t.Errorf("--min-face %d: closed %d times, %v, %v", c.minFace, closed, d, err)
		}
		if d != nil {
			check(t, d.Close())
		}
	}
}

// TestChangeCloses the detector whose fingerprint it takes, and fails when that cannot be closed.
func TestChangeCloses(t *testing.T) {
	job := newJob(t, true, nil)
	for _, fails := range []error{nil, errors.New("the device is gone")} {
		c, closed := line(""), 0
		open := opener(c, 20)
		_, err := c.Change(t.Context(), job, func() (detect.Detector, error) {
			d, err := open()
			return closes{d, &closed, fails}, err
		})
		if !errors.Is(err, fails) || closed != 1 {
			t.Errorf("closed %d times, %v; want %v", closed, err, fails)
		}
	}
}

// TestRescannedMeanwhile: a process that starts does not undo what a rescan changes before it has opened its
// detector.
func TestRescannedMeanwhile(t *testing.T) {
	job := newJob(t, true, nil)
	first := line(detect.Yunet)
	d, err := first.Open(t.Context(), job, opener(first, 20))
	check(t, err)
	check(t, d.Close())
	starts, rescan := line(""), line(detect.Pigo)
	d, err = starts.Open(t.Context(), job, func() (detect.Detector, error) {
		_, err := rescan.Change(t.Context(), job, opener(rescan, 20))
		check(t, err)
		return opener(starts, 20)()
	})
	check(t, err)
	check(t, d.Close())
	if now, err := Current(t.Context(), job); err != nil || now != detect.Pigo {
		t.Errorf("the job has the detector %s, %v", now, err)
	}
}

// TestEarlierReleases reads settings of jobs that earlier releases began.
func TestEarlierReleases(t *testing.T) {
	pigo, err := detect.New(detect.Defaults(detect.Pigo))
	check(t, err)
	defer pigo.Close()
	// Without a name the detector was pigo.
	job := newJob(t, true, map[string]string{flagsSetting: `{"min-face":"20"}`,
		DetectorSetting: pigo.Fingerprint()})
	name, err := Current(t.Context(), job)
	if check(t, err); name != detect.Pigo {
		t.Errorf("the detector is %s", name)
	}
	// Pending rows of one that was begun with --verify-faces cannot be processed.
	job = newJob(t, true, map[string]string{flagsSetting: `{"verify-faces":"true"}`})
	c := line("")
	_, err = c.Open(t.Context(), job, opener(c, 20))
	says(t, err, "!its 1 pending rows cannot be processed as the others were. To process all of it "+
		"again: facescan rescan '")
	// While none of its rows has a result, it is a job as any other.
	job = newJob(t, false, map[string]string{flagsSetting: `{"verify-faces":"true"}`})
	d, err := c.Open(t.Context(), job, opener(c, 20))
	check(t, err)
	check(t, d.Close())
	// A foreign model answers only behind its sidecar.
	job = newJob(t, true, map[string]string{flagsSetting: `{"detector":""}`, DetectorSetting: "retina/2"})
	c = line("")
	_, err = c.Open(t.Context(), job, opener(c, 20))
	says(t, err, "!facescan rescan '"+strings.ReplaceAll(job.Path(), "'", `'\''`)+
		"' --stale --detector yunet")
	// What no release wrote is not taken for anything.
	job = newJob(t, true, map[string]string{flagsSetting: "x"})
	_, err = Current(t.Context(), job)
	says(t, err, "the job's detection flags cannot be read")
}

// TestChange gives a job another detector, and its flags where they are those of both.
func TestChange(t *testing.T) {
	job := newJob(t, true,
		map[string]string{flagsSetting: `{"detector":"pigo","min-face":"33","shift":"0.2"}`})
	unknown := line("haar")
	_, err := unknown.Change(t.Context(), job, opener(unknown, 20))
	says(t, err, "!it is one of yunet, pigo, none")
	none := line("none")
	_, err = none.Change(t.Context(), job, opener(none, 20))
	says(t, err, "!name a detector for the rescan, such as --detector yunet")
	c := line("yunet")
	fingerprint, err := c.Change(t.Context(), job, opener(c, 33))
	check(t, err)
	d, err := Read(t.Context(), job)
	check(t, err)
	if d.name != detect.Yunet || d.Fingerprint != fingerprint || d.flags["min-face"] != "33" {
		t.Errorf("the job has %+v", d)
	}
	if shift, ok := d.flags["shift"]; ok {
		t.Errorf("a flag of pigo's was kept: %s", shift)
	}
	// Not while a process works on it.
	session, err := job.Join(t.Context(), pipeline.Self(), ttl)
	check(t, err)
	_, err = session.Claim(t.Context(), 10)
	check(t, err)
	c = line("pigo")
	_, err = c.Change(t.Context(), job, opener(c, 20))
	says(t, err, "stop them, then rescan")
	same := line("yunet")
	if again, err := same.Change(t.Context(), job, opener(same, 33)); err != nil || again != fingerprint {
		t.Errorf("the detector that it works with: %s, %v", again, err)
	}
	check(t, session.Leave(t.Context()))
	_, err = c.Change(t.Context(), job, opener(c, 20))
	check(t, err)
}
