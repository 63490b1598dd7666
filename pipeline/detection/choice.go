// Package detection decides which detector a job has, and with which flags. Results of one job are comparable
// only as long as one detector answered for all of them: a job keeps the detector and the flags that it was
// begun with, and flags that differ are refused, naming the commands that apply them.
package detection

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"facescan/detect"
	"facescan/detect/sidecar"
	"facescan/pipeline"
	"facescan/store/hint"
	"facescan/store/nearest"
)

// Flags are the detection flags of a command line, by name.
type Flags interface {
	Changed(name string) bool     // the flag was given
	Text(name string) string      // its value
	Take(name, text string) error // sets the value, as if it had not been given
	Check() error                 // the values cannot be used together, or by the detector that was chosen
}

// Choice is the detector that a command line asks for. Choose completes it.
type Choice struct {
	Name     string // --detector; after Choose the detector's name, empty for a foreign model
	Flags    Flags
	Sidecars []string // --sidecar
	Fallback bool     // a detector of this process answers while no sidecar does
	named    bool     // by --detector
}

// verifyGone says what became of --verify-faces.
const verifyGone = "--verify-faces was removed: yunet, the default detector of new jobs, finds " +
	"more faces in less time. "

// ErrVerify refuses --verify-faces, whose detector is gone.
var ErrVerify = pipeline.Usagef("%sLeave it out. A job that was begun with it can be rescanned "+
	"(rescan JOB --stale), or a new one begun under another name (--db)", verifyGone)

// Check refuses a detector that there is not.
func (c *Choice) Check() error {
	if c.Name != "" && !slices.Contains(detect.Names(), c.Name) {
		return pipeline.Usagef("--detector %q: it is one of %s%s", c.Name, strings.Join(detect.Names(), ", "),
			nearest.Hint(c.Name, detect.Names()))
	}
	return nil
}

// Choose finds the detector: the one that --detector names, else the job's, if it has one, else what the
// sidecars serve, else the default. It refuses flags that this detector does not have. The job may be nil.
func (c *Choice) Choose(ctx context.Context, job *Job) error {
	if err := c.find(ctx, job); err != nil {
		return err
	}
	if c.None() && len(c.Sidecars) > 0 {
		return pipeline.Usagef("--detector none looks for no faces, so --sidecar has nothing to " +
			"do: leave one of them out")
	}
	if c.Name == "" && len(c.Sidecars) == 0 {
		return pipeline.Usagef("the job's detector is a foreign model behind a sidecar (%s): name the "+
			"sidecar with --sidecar URL, process everything again with `%s`, or begin another job with --db",
			job.Fingerprint,
			hint.On("rescan", job.path, "--stale", "--detector", detect.Default))
	}
	for _, f := range detect.Flags() {
		switch text := c.Flags.Text(f.Name); {
		case !c.Flags.Changed(f.Name):
		case c.None():
			return pipeline.Usagef("--%s %s: --detector none looks for no faces; leave one of them out",
				f.Name, text)
		case !f.Has(c.Name):
			return pipeline.Usagef("--%s %s is a flag of the detector %s, and the detector "+
				"here is %s: leave it out, or choose --detector %s", f.Name, text, f.Of, c.Name, f.Of)
		}
	}
	return nil
}

func (c *Choice) find(ctx context.Context, job *Job) error {
	switch c.named = c.Name != ""; {
	case c.named:
		return c.Check()
	case job != nil && job.Begun:
		c.Name = job.name
	case len(c.Sidecars) > 0:
		_, kind, err := sidecar.Detector(ctx, c.Sidecars)
		if c.Fallback && errors.Is(err, sidecar.ErrNoAnswer) {
			c.Name = detect.Default
			return nil
		}
		c.Name = kind.Name
		return err
	default:
		c.Name = detect.Default
	}
	return nil
}

// None reports whether no faces are looked for.
func (c *Choice) None() bool { return c.Name == detect.None }

// adopt takes the job's flags over that were not given, as far as the detector has them. It returns those
// given that differ from the job's.
func (c *Choice) adopt(job *Job) (differ []string, err error) {
	if job.Begun && c.Name != job.name {
		differ = append(differ, fmt.Sprintf("--detector %s (was %s)", c.Name, job.title()))
	}
	for _, f := range detect.Flags() {
		own := f.PerDetector() || !f.Has(c.Name)
		old, saved := job.flags[f.Name]
		text := c.Flags.Text(f.Name)
		switch {
		case !saved || own && c.Name != job.name:
		case !c.Flags.Changed(f.Name):
			if err := c.Flags.Take(f.Name, old); err != nil {
				return nil, fmt.Errorf("the job's --%s %q: %w", f.Name, old, err)
			}
		case f.OrDefault(text, c.Name) != f.OrDefault(old, c.Name):
			differ = append(differ, fmt.Sprintf("--%s %s (was %s)", f.Name, text,
				cmp.Or(f.OrDefault(old, c.Name), "none")))
		}
	}
	return differ, nil
}

// rescanCommand rescans the rows of a job with this detector and the flags that were given.
func (c *Choice) rescanCommand(job *Job) string {
	words := []string{"--stale"}
	if c.named {
		words = append(words, "--detector", c.Name)
	}
	for _, url := range c.Sidecars {
		words = append(words, "--sidecar", url)
	}
	for _, f := range detect.Flags() {
		if c.Flags.Changed(f.Name) {
			words = append(words, "--"+f.Name, c.Flags.Text(f.Name))
		}
	}
	return hint.On("rescan", job.path, words...)
}
