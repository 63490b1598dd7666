package detection

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"facescan/detect"
	"facescan/pipeline"
	"facescan/store"
	"facescan/store/hint"
)

// DetectorSetting holds the fingerprint of a job's detector.
const DetectorSetting = "detector"

const (
	flagsSetting = "detection" // JSON of the flags
	nameKey      = "detector"  // in flagsSetting: the detector's name, empty for a foreign model
	verifyKey    = "verify-faces"
)

// NoFaces reports whether a job looks for no faces, so that it has none to count.
func NoFaces(settings map[string]string) bool { return settings[DetectorSetting] == store.NoDetector }

// Job is what a job's settings say of its detector.
type Job struct {
	Begun       bool   // they say anything
	Fingerprint string // empty for none

	path  string
	name  string            // of the detector; empty for a foreign model
	saved string            // the flags, as JSON
	flags map[string]string // as they were given
}

// Read reads the settings of a job.
func Read(ctx context.Context, job store.Job) (*Job, error) {
	settings, err := job.Settings(ctx)
	if err != nil {
		return nil, err
	}
	d := &Job{path: job.Path(), Fingerprint: settings[DetectorSetting], saved: settings[flagsSetting],
		flags: map[string]string{}}
	d.Begun = d.saved != "" || d.Fingerprint != ""
	if d.saved != "" {
		if err := json.Unmarshal([]byte(d.saved), &d.flags); err != nil {
			return nil, fmt.Errorf("the job's detection flags cannot be read: %w", err)
		}
	}
	name, known := d.flags[nameKey]
	switch {
	case known:
		d.name = name
	case d.Fingerprint != "":
		d.name = detect.KindOf(d.Fingerprint).Name
	case d.Begun: // before a release wrote the name, there was but one
		d.name = detect.Pigo
	}
	return d, nil
}

// Current is the name of the detector that a job would go on with; empty for a foreign model.
func Current(ctx context.Context, job store.Job) (string, error) {
	d, err := Read(ctx, job)
	if err != nil {
		return "", err
	}
	if d.Begun {
		return d.name, nil
	}
	prints, err := job.Detectors(ctx) // of merged jobs
	if err != nil || len(prints) == 0 {
		return detect.Default, err
	}
	return detect.KindOf(prints[0]).Name, nil
}

// title names the detector for a person.
func (d *Job) title() string {
	if d.name == "" {
		return d.Fingerprint
	}
	return d.name
}

// verified reports whether the job was begun with --verify-faces, whose detector is gone.
func (d *Job) verified() bool {
	return d.flags[verifyKey] == "true" || strings.Contains(d.Fingerprint, " verify=")
}

// save makes the detector of this fingerprint, and the flags of the choice, the job's. Where they were the
// job's, nothing is written: a process that starts must not undo what a rescan changed meanwhile.
func (c *Choice) save(ctx context.Context, job store.Job, was *Job, fingerprint string) error {
	now := map[string]string{nameKey: c.Name}
	for _, f := range detect.Flags() {
		if f.Has(c.Name) {
			now[f.Name] = c.Flags.Text(f.Name)
		}
	}
	text, err := json.Marshal(now)
	if err != nil || was.saved == string(text) && was.Fingerprint == fingerprint {
		return err
	}
	return job.Set(ctx, map[string]string{flagsSetting: string(text), DetectorSetting: fingerprint})
}

// Open opens the detector of a job: its own, with the flags that it was begun with, unless it has no
// results yet; nil when no faces are looked for. A flag that was given and differs is refused.
func (c *Choice) Open(ctx context.Context, job store.Job, open func() (detect.Detector, error)) (
	d detect.Detector, err error) {
	was, err := Read(ctx, job)
	if err != nil {
		return nil, err
	}
	counts, err := job.Counts(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.Choose(ctx, was); err != nil {
		return nil, err
	}
	differ, err := c.adopt(was)
	if err != nil {
		return nil, err
	}
	if was.verified() && counts.Done > 0 {
		return openVerified(was, counts)
	}
	if len(differ) > 0 && counts.Done > 0 {
		if err := c.Flags.Check(); err != nil { // the rescan that is named would be refused, too
			return nil, err
		}
		return nil, fmt.Errorf("the job has results that were made with other detection flags: %s; "+
			"leave them out to go on as before, process everything again with `%s`, or begin another job "+
			"with --db",
			strings.Join(differ, ", "), c.rescanCommand(was))
	}
	if d, err = open(); err != nil {
		return nil, err
	}
	fingerprint := store.NoDetector
	if d != nil {
		fingerprint = d.Fingerprint()
	}
	if was.Fingerprint != "" && counts.Done > 0 && !detect.Same(was.Fingerprint, fingerprint) {
		err = fmt.Errorf("the job has results of another detector (%s; this one is %s); process "+
			"everything again with `%s`, or begin another job with --db", was.Fingerprint,
			fingerprint, c.rescanCommand(was))
	} else {
		err = c.save(ctx, job, was, fingerprint)
	}
	if err != nil && d != nil {
		err = errors.Join(err, d.Close())
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Change makes the detector that was chosen, with the flags that were given, the job's, and returns its
// fingerprint. It is refused while processes work with another one, as they would go on with it.
func (c *Choice) Change(ctx context.Context, job store.Job, open func() (detect.Detector, error)) (string,
	error) {
	was, err := Read(ctx, job)
	if err != nil {
		return "", err
	}
	if err := c.Choose(ctx, was); err != nil {
		return "", err
	}
	if c.None() {
		return "", pipeline.Usagef("--detector none looks for no faces: name a detector for the "+
			"rescan, such as --detector %s",
			detect.Default)
	}
	if _, err := c.adopt(was); err != nil {
		return "", err
	}
	d, err := open()
	if err != nil {
		return "", err
	}
	fingerprint := d.Fingerprint()
	if err := d.Close(); err != nil {
		return "", err
	}
	if was.Begun && !detect.Same(was.Fingerprint, fingerprint) {
		counts, err := job.Counts(ctx)
		if err != nil {
			return "", err
		}
		if counts.Working() {
			return "", fmt.Errorf("processes are at work on %s with the detector it had (see "+
				"`%s`); stop them, then rescan",
				job.Path(), hint.On("status", job.Path()))
		}
	}
	return fingerprint, c.save(ctx, job, was, fingerprint)
}

// openVerified is for a job that was begun with --verify-faces and has results: rows that are pending
// cannot be processed as the others were.
func openVerified(was *Job, counts store.Counts) (detect.Detector, error) {
	gone := pipeline.Usagef("%sThe job was begun with it, so its %d pending rows cannot be "+
		"processed as the others were. To process all of it again: %s; to begin another job: add --db with "+
		"another name", verifyGone, counts.Pending,
		hint.On("rescan", was.path, "--stale"))
	if counts.Pending > 0 {
		return nil, gone
	}
	return retired{was.Fingerprint, gone}, nil
}

// retired is a detector that this release does not have: asked for an answer it ends the run.
type retired struct {
	fingerprint string
	gone        error
}

func (d retired) Detect(context.Context, []detect.Image) ([]detect.Answer, error) { return nil, d.gone }
func (d retired) Fingerprint() string                                             { return d.fingerprint }
func (d retired) Close() error                                                    { return nil }
