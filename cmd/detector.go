package cmd

import (
	"context"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"

	"facescan/detect"
	"facescan/pipeline/decode"
	"facescan/pipeline/detection"
	"facescan/store"
	"facescan/store/export"
)

// detectOptions are the flags that decide what counts as a face. A job keeps the ones it was begun with.
type detectOptions struct {
	choice    detection.Choice
	given     detect.Params // by the flags; see params
	verify    bool
	maxPixels pixels
}

func (o *detectOptions) addFlags(fs *pflag.FlagSet) {
	o.choice.Flags, o.given = detectFlags{fs, o}, detect.Defaults(detect.Default)
	fs.StringVar(&o.choice.Name, "detector", "",
		"`name` of the detector: "+strings.Join(detect.Names(), ", ")+"; default: the job's own, "+
			detect.Default+" for a new job")
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
	o.maxPixels.size = 100e6
	fs.Var(&o.maxPixels, "max-pixels", "reject images with more pixels (too_many_pixels)")
}

// withoutJob says in the help of a command that has no job what the default detector is.
func withoutJob(fs *pflag.FlagSet) {
	fs.Lookup("detector").Usage = "`name` of the detector: " + strings.Join(detect.Names(), ", ") +
		"; default: the sidecar's, else " + detect.Default
}

// check refuses what is wrong for every detector.
func (o *detectOptions) check() error {
	if o.verify {
		return detection.ErrVerify
	}
	return o.choice.Check()
}

// choose completes the choice where no job has a say.
func (o *detectOptions) choose(ctx context.Context, remote *sidecarOptions) error {
	if err := o.check(); err != nil {
		return err
	}
	return o.choiceWith(remote).Choose(ctx, nil)
}

// choiceWith is the choice among the detectors of this process and those behind sidecars.
func (o *detectOptions) choiceWith(remote *sidecarOptions) *detection.Choice {
	o.choice.Sidecars, o.choice.Fallback = remote.urls, remote.fallback != ""
	return &o.choice
}

// openForJob opens the detector of a job.
func (o *detectOptions) openForJob(ctx context.Context, job store.Job, remote *sidecarOptions,
	log *slog.Logger) (detect.Detector, error) {
	return o.choiceWith(remote).Open(ctx, job, o.opener(ctx, remote, log))
}

// detectFlags are the detection flags as package detection asks for them.
type detectFlags struct {
	*pflag.FlagSet
	o *detectOptions
}

func (f detectFlags) Text(name string) string { return f.Lookup(name).Value.String() }
func (f detectFlags) Check() error {
	_, err := f.o.params()
	return err
}
func (f detectFlags) Take(name, text string) error { return f.Lookup(name).Value.Set(text) }

// params are the parameters of the detector, once it is chosen.
func (o *detectOptions) params() (detect.Params, error) {
	p := o.given
	p.Detector = o.choice.Name
	if o.choice.None() {
		return p, nil
	}
	if err := p.Validate(); err != nil {
		return p, &exit{exitUsage, err}
	}
	return p, nil
}

func (o *detectOptions) decode() decode.Options {
	return decode.Options{MaxPixels: int64(o.maxPixels.size), MinFace: o.given.MinFace}
}

// opener opens the detector that was chosen; nil when no faces are looked for.
func (o *detectOptions) opener(ctx context.Context, remote *sidecarOptions,
	log *slog.Logger) func() (detect.Detector, error) {
	return func() (detect.Detector, error) { return o.open(ctx, remote, log) }
}

func (o *detectOptions) open(ctx context.Context, remote *sidecarOptions, log *slog.Logger) (detect.Detector,
	error) {
	p, err := o.params()
	if err != nil || o.choice.None() {
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

// exportDetectors are the detectors as an export knows them.
func exportDetectors() []export.Detector {
	var out []export.Detector
	for _, k := range detect.Kinds() {
		out = append(out, export.Detector{Name: k.Name, Decimals: k.Decimals, Rounded: k.MaxScore == 1,
			Landmarks: k.Landmarks,
			Matches:   func(fingerprint string) bool { return detect.KindOf(fingerprint).Name == k.Name }})
	}
	return out
}
