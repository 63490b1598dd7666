package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"facescan/detect"
	"facescan/detect/sidecar"
	"facescan/pipeline"
	"facescan/pipeline/decode"
	"facescan/store"
	"facescan/store/export"
)

// detectOptions are the flags that decide what counts as a face. A job keeps the ones it was begun with.
type detectOptions struct {
	flags *pflag.FlagSet

	detector  string        // empty until choose has chosen, then empty for a foreign model, behind a sidecar
	given     detect.Params // by the flags; see params
	verify    bool
	maxPixels size
}

func (o *detectOptions) addFlags(fs *pflag.FlagSet) {
	o.flags, o.given = fs, detect.Defaults(detect.Default)
	fs.StringVar(&o.detector, "detector", "",
		"`name` of the detector: "+strings.Join(detect.Names(), ", ")+"; default: the job's own, "+detect.Default+" for a new job")
	for _, f := range detect.Flags() {
		switch v := f.Field(&o.given).(type) {
		case *int:
			fs.IntVar(v, f.Name, *v, f.Help())
		case *[]float64:
			fs.Var((*degrees)(v), f.Name, f.Help())
		case *float64:
			if f.PerDetector() {
				fs.Var(ownDefault{v}, f.Name, f.Help())
			} else {
				fs.Float64Var(v, f.Name, *v, f.Help())
			}
		}
	}
	fs.BoolVar(&o.verify, "verify-faces", false, "")
	fs.Lookup("verify-faces").Hidden = true
	o.maxPixels = 100e6
	fs.Var(&o.maxPixels, "max-pixels", "refuse images with more pixels (too_many_pixels)")
}

// verifyGone says what became of --verify-faces.
const verifyGone = "--verify-faces was removed: yunet, the default detector of new jobs, finds more faces in less time. "

// check refuses what is wrong for every detector.
func (o *detectOptions) check() error {
	if o.verify {
		return usagef(verifyGone + "Leave it out. A job that was begun with it can be judged again (facescan rescan JOB --stale), " +
			"or begun anew under another name (--db)")
	}
	if o.detector != "" && !slices.Contains(detect.Names(), o.detector) {
		return usagef("--detector %q: it is one of %s", o.detector, strings.Join(detect.Names(), ", "))
	}
	return nil
}

// choose settles the detector: the one that --detector names, else the job's, if it has one, else what the sidecars serve, else
// the default. It refuses flags that this detector does not have.
func (o *detectOptions) choose(ctx context.Context, remote *sidecarOptions, job *jobDetector) error {
	if err := o.check(); err != nil {
		return err
	}
	named := o.detector != ""
	switch {
	case named:
	case job != nil && job.begun:
		o.detector = job.name
	case len(remote.urls) > 0:
		_, kind, err := sidecar.Detector(ctx, remote.urls)
		switch {
		case err == nil:
			o.detector = kind.Name
		case errors.Is(err, sidecar.ErrNoAnswer) && remote.fallback != "":
			o.detector = detect.Default
		default:
			return err
		}
	default:
		o.detector = detect.Default
	}
	if o.detector == detect.None && len(remote.urls) > 0 {
		return usagef("--detector none looks for no faces, so --sidecar has nothing to do: leave one of them out")
	}
	if o.detector == "" && len(remote.urls) == 0 {
		return usagef("the job's detector is a model behind a sidecar (%s): name the sidecar with --sidecar URL, "+
			"judge everything again with `facescan rescan --detector %s`, or begin another job with --db", job.fingerprint, detect.Default)
	}
	for _, flag := range detect.Flags() {
		f := o.flags.Lookup(flag.Name)
		switch {
		case !f.Changed:
		case o.none():
			return usagef("--%s %s: --detector none looks for no faces; leave one of them out", f.Name, f.Value)
		case !flag.Has(o.detector):
			return usagef("--%s %s is a flag of the detector %s, and the detector here is %s: leave it out, or choose --detector %s",
				f.Name, f.Value, flag.Of, o.detector, flag.Of)
		}
	}
	return nil
}

// none reports whether no faces are looked for.
func (o *detectOptions) none() bool { return o.detector == detect.None }

// params are what a detector is told, once it is chosen.
func (o *detectOptions) params() (detect.Params, error) {
	p := o.given
	p.Detector = o.detector
	if o.none() {
		return p, nil
	}
	if err := p.Validate(); err != nil {
		return p, &exit{exitUsage, err}
	}
	return p, nil
}

func (o *detectOptions) decode() decode.Options {
	return decode.Options{MaxPixels: int64(o.maxPixels), MinFace: o.given.MinFace}
}

// open makes the detector that was chosen; nil when no faces are looked for.
func (o *detectOptions) open(ctx context.Context, remote *sidecarOptions, log *slog.Logger) (detect.Detector, error) {
	p, err := o.params()
	if err != nil || o.none() {
		return nil, err
	}
	return remote.open(ctx, p, log)
}

// closeDetector closes a detector, if there is one.
func closeDetector(d detect.Detector) {
	if d != nil {
		_ = d.Close() // its answers are complete
	}
}

// Settings of a job that tell of its detector.
const (
	detectionSetting = "detection" // JSON of the flags
	detectorSetting  = "detector"  // the fingerprint
	nameKey          = "detector"  // in detectionSetting: the detector's name, empty for a model of others
	verifyKey        = "verify-faces"
)

// jobDetector is what a job's settings say of its detector.
type jobDetector struct {
	begun       bool              // they say anything
	name        string            // empty for a model of others
	fingerprint string            // empty for none
	flags       map[string]string // as they were given
}

func readJobDetector(settings map[string]string) (*jobDetector, error) {
	d := &jobDetector{fingerprint: settings[detectorSetting], flags: map[string]string{}}
	saved := settings[detectionSetting]
	d.begun = saved != "" || d.fingerprint != ""
	if saved != "" {
		if err := json.Unmarshal([]byte(saved), &d.flags); err != nil {
			return nil, fmt.Errorf("the job's detection flags cannot be read: %w", err)
		}
	}
	name, known := d.flags[nameKey]
	switch {
	case known:
		d.name = name
	case d.fingerprint != "":
		d.name = detect.KindOf(d.fingerprint).Name
	case d.begun: // before a release wrote the name, there was but one
		d.name = detect.Pigo
	}
	return d, nil
}

// currentDetector is the name of the detector that a job would go on with; empty for a model of others.
func currentDetector(ctx context.Context, job store.Job, settings map[string]string) (string, error) {
	d, err := readJobDetector(settings)
	if err != nil {
		return "", err
	}
	if d.begun {
		return d.name, nil
	}
	prints, err := job.Detectors(ctx) // of merged jobs
	if err != nil || len(prints) == 0 {
		return detect.Default, err
	}
	return detect.KindOf(prints[0]).Name, nil
}

// noFaces reports whether a job looks for no faces, so that it has none to count.
func noFaces(settings map[string]string) bool { return settings[detectorSetting] == store.NoDetector }

// exportDetectors are the detectors as an export knows them.
func exportDetectors() []export.Detector {
	var out []export.Detector
	for _, k := range detect.Kinds() {
		out = append(out, export.Detector{Name: k.Name, Decimals: k.Decimals, Rounded: k.MaxScore == 1, Landmarks: k.Landmarks,
			Matches: func(fingerprint string) bool { return detect.KindOf(fingerprint).Name == k.Name }})
	}
	return out
}

// verified reports whether the job was begun with --verify-faces, whose detector is gone.
func (d *jobDetector) verified() bool {
	return d.flags[verifyKey] == "true" || strings.Contains(d.fingerprint, " verify=")
}

// adopt takes the job's flags over that are not given, as far as the detector chosen has them. It returns those given that
// differ from the job's.
func (o *detectOptions) adopt(job *jobDetector) (differ []string, err error) {
	if job.begun && o.detector != job.name {
		differ = append(differ, fmt.Sprintf("--detector %s (was %s)", o.detector, job.title()))
	}
	for _, flag := range detect.Flags() {
		own := flag.PerDetector() || !flag.Has(o.detector)
		old, saved := job.flags[flag.Name]
		f := o.flags.Lookup(flag.Name)
		switch {
		case !saved || own && o.detector != job.name:
		case f.Changed:
			if flag.OrDefault(f.Value.String(), o.detector) != flag.OrDefault(old, o.detector) {
				differ = append(differ, fmt.Sprintf("--%s %s (was %q)", f.Name, f.Value, old))
			}
		default:
			if err := f.Value.Set(old); err != nil {
				return nil, fmt.Errorf("the job's --%s %q: %w", f.Name, old, err)
			}
		}
	}
	return differ, nil
}

// title names the job's detector for a person.
func (d *jobDetector) title() string {
	if d.name == "" {
		return d.fingerprint
	}
	return d.name
}

// save makes the detection flags, and the detector of this fingerprint, the job's.
func (o *detectOptions) save(ctx context.Context, job store.Job, settings map[string]string, fingerprint string) error {
	now := map[string]string{nameKey: o.detector}
	for _, f := range detect.Flags() {
		if f.Has(o.detector) {
			now[f.Name] = o.flags.Lookup(f.Name).Value.String()
		}
	}
	text, err := json.Marshal(now)
	if err != nil || settings[detectionSetting] == string(text) && settings[detectorSetting] == fingerprint {
		return err
	}
	return job.Set(ctx, map[string]string{detectionSetting: string(text), detectorSetting: fingerprint})
}

// settleDetector makes the detector of a job: its own, with the flags it was begun with, unless it has no results yet; nil when
// no faces are looked for. A flag that was given and differs is refused, since the job's results would not be comparable.
func settleDetector(ctx context.Context, job store.Job, o *detectOptions, remote *sidecarOptions, log *slog.Logger) (detect.Detector, error) {
	settings, err := job.Settings(ctx)
	if err != nil {
		return nil, err
	}
	was, err := readJobDetector(settings)
	if err != nil {
		return nil, err
	}
	counts, err := job.Counts(ctx)
	if err != nil {
		return nil, err
	}
	if err := o.choose(ctx, remote, was); err != nil {
		return nil, err
	}
	differ, err := o.adopt(was)
	if err != nil {
		return nil, err
	}
	if was.verified() && counts.Done > 0 {
		return settleVerified(job, was, counts)
	}
	if len(differ) > 0 && counts.Done > 0 {
		return nil, fmt.Errorf("the job has results that were made with other detection flags: %s; leave them out to go on as before, "+
			"judge everything again with `%s`, or begin another job with --db", strings.Join(differ, ", "), o.rescanCommand(job))
	}
	d, err := o.open(ctx, remote, log)
	if err != nil {
		return nil, err
	}
	fingerprint := store.NoDetector
	if d != nil {
		fingerprint = d.Fingerprint()
	}
	if was.fingerprint != "" && counts.Done > 0 && !detect.Same(was.fingerprint, fingerprint) {
		closeDetector(d)
		return nil, fmt.Errorf("the job has results of another detector (%s; this one is %s); judge everything again with `%s`, "+
			"or begin another job with --db", was.fingerprint, fingerprint, o.rescanCommand(job))
	}
	if err := o.save(ctx, job, settings, fingerprint); err != nil {
		closeDetector(d)
		return nil, err
	}
	return d, nil
}

// settleVerified is for a job that was begun with --verify-faces and has results: rows that are pending cannot be judged as
// the others were.
func settleVerified(job store.Job, was *jobDetector, counts store.Counts) (detect.Detector, error) {
	gone := usagef(verifyGone+"The job was begun with it, so its %d pending rows cannot be judged as the others were. "+
		"To judge all of it again: %s; to begin another job: add --db with another name", counts.Pending,
		pipeline.ShellCommand("facescan", "rescan", job.Path(), "--stale"))
	if counts.Pending > 0 {
		return nil, gone
	}
	return retired{was.fingerprint, gone}, nil
}

// retired is a detector that this release does not have: asked for an answer it ends the run.
type retired struct {
	fingerprint string
	gone        error
}

func (d retired) Detect(context.Context, []detect.Image) ([]detect.Answer, error) { return nil, d.gone }
func (d retired) Fingerprint() string                                             { return d.fingerprint }
func (d retired) Close() error                                                    { return nil }
