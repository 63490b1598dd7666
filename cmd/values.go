package cmd

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"facescan/detect"
	"facescan/pipeline"
	"facescan/store/nearest"
)

// size is a flag value in bytes (64MiB, 64MB, 1000) or, with the same suffixes, a plain count (100M).
type size int64

var units = []struct {
	suffix string
	factor float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"B", 1}, {"", 1},
}

func (s *size) Set(text string) error {
	for _, u := range units {
		digits, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err != nil || n < 0 || math.IsNaN(n) || n*u.factor > math.MaxInt64/2 {
			break
		}
		*s = size(n * u.factor)
		return nil
	}
	return fmt.Errorf("%q is not a size; write it as 64MiB, 2GB or 1000000", text)
}

func (s *size) String() string {
	n := int64(*s)
	for _, u := range []struct {
		suffix string
		factor int64
	}{{"TiB", 1 << 40}, {"T", 1e12}, {"GiB", 1 << 30}, {"G", 1e9}, {"MiB", 1 << 20}, {"M", 1e6},
		{"KiB", 1 << 10}, {"k", 1e3}} {
		if n >= u.factor && n%u.factor == 0 {
			return strconv.FormatInt(n/u.factor, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

func (s *size) Type() string { return "size" }

// pixels is a number of them, written as a size is.
type pixels struct{ size }

func (p *pixels) Type() string { return "pixels" }

// choice is a flag that takes one of some words.
type choice struct {
	to       *string
	words    []string
	optional bool // an empty value is the same as none
}

// newChoice is a choice whose default is the first word.
func newChoice(to *string, words ...string) *choice {
	*to = words[0]
	return &choice{to: to, words: words}
}

// newOptionalChoice is a choice whose default is none of the words.
func newOptionalChoice(to *string, words ...string) *choice { return &choice{to, words, true} }

func (c *choice) Set(text string) error {
	if !slices.Contains(c.words, text) && !(c.optional && text == "") {
		return errors.New(nearest.OneOf(text, c.words))
	}
	*c.to = text
	return nil
}

func (c *choice) String() string { return *c.to }

func (c *choice) Type() string { return "choice" }

// failLimit is --max-fail: a count, or a share with a percent sign.
type failLimit struct{ pipeline.Limit }

func (l *failLimit) Set(text string) error {
	if text == "" {
		l.Limit = pipeline.Limit{}
		return nil
	}
	if digits, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseFloat(digits, 64)
		if err != nil || !(p > 0 && p <= 100) {
			return fmt.Errorf("%q is not a share; write it as 5%%, above 0%% and up to 100%% (0 alone "+
				"allows no failure)", text)
		}
		l.Limit = pipeline.Limit{Percent: p, Set: true}
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("invalid number of failures %q: use e.g. 100 or 5%%", text)
	}
	l.Limit = pipeline.Limit{Count: n, Set: true}
	return nil
}

func (l *failLimit) String() string {
	switch {
	case !l.Limit.Set:
		return ""
	case l.Percent > 0:
		return strconv.FormatFloat(l.Percent, 'g', -1, 64) + "%"
	}
	return strconv.FormatInt(l.Count, 10)
}

func (l *failLimit) Type() string { return "N|P%" }

// abortRules is --abort-if, which may be given several times.
type abortRules []pipeline.AbortRule

func (a *abortRules) Set(text string) error {
	if strings.TrimSpace(text) == "" {
		*a = nil
		return nil
	}
	r, err := pipeline.ParseAbortRule(text)
	if err == nil {
		*a = append(*a, r)
	}
	return err
}

func (a *abortRules) String() string {
	parts := make([]string, len(*a))
	for i, r := range *a {
		parts[i] = r.String()
	}
	return strings.Join(parts, ", ")
}

func (a *abortRules) Type() string { return "rule" }

// degrees is a list of angles.
type degrees []float64

func (d *degrees) Set(text string) (err error) {
	*d, err = detect.ParseAngles(text)
	return err
}

func (d *degrees) String() string { return detect.JoinAngles(*d) }

func (d *degrees) Type() string { return "degrees" }

// scores is --min-score of an export: a score on the scale of the job's detector, or one per detector.
type scores struct {
	plain  ownNumber
	byName map[string]float64
}

func (s *scores) Set(text string) error {
	*s = scores{}
	if !strings.Contains(text, "=") {
		return s.plain.Set(text)
	}
	s.byName = map[string]float64{}
	for part := range strings.SplitSeq(text, ",") {
		name, digits, _ := strings.Cut(strings.TrimSpace(part), "=")
		k, known := detect.KindNamed(name)
		if !known {
			return fmt.Errorf("%q is not a detector with scores; write it as yunet=0.6,pigo=8", name)
		}
		if _, twice := s.byName[name]; twice {
			return fmt.Errorf("%s has two scores", name)
		}
		var v ownNumber
		if err := v.Set(digits); err != nil || !v.set {
			return fmt.Errorf("%q is not a score; write it as yunet=0.6,pigo=8", part)
		}
		if err := k.CheckScore(v.value); err != nil {
			return err
		}
		s.byName[name] = v.value
	}
	return nil
}

func (s *scores) set() bool { return s.plain.set || s.byName != nil }

// of are the scores by the detector's name, for a job whose detector has this name.
func (s *scores) of(name string) (map[string]float64, error) {
	if !s.plain.set {
		return s.byName, nil
	}
	k, _ := detect.KindNamed(name)
	if err := k.CheckScore(s.plain.value); err != nil {
		return nil, usagef("--min-score %s: %w; for rows of another detector name it, as yunet=0.6,pigo=8",
			s.plain.String(), err)
	}
	return map[string]float64{name: s.plain.value}, nil
}

func (s *scores) String() string {
	var parts []string
	for _, k := range detect.Kinds() {
		if v, ok := s.byName[k.Name]; ok {
			parts = append(parts, k.Name+"="+strconv.FormatFloat(v, 'g', -1, 64))
		}
	}
	if s.plain.set {
		parts = append(parts, s.plain.String())
	}
	return strings.Join(parts, ",")
}

func (s *scores) Type() string { return "score" }

// ownNumber is a number that a detector has its own default for: empty leaves the choice to it.
type ownNumber struct {
	value float64
	set   bool
}

func (m *ownNumber) Set(text string) error {
	if text == "" {
		*m = ownNumber{}
		return nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return fmt.Errorf("%q is not a positive number", text)
	}
	*m = ownNumber{v, true}
	return nil
}

func (m *ownNumber) String() string {
	if !m.set {
		return ""
	}
	return strconv.FormatFloat(m.value, 'g', -1, 64)
}

func (m *ownNumber) Type() string { return "number" }

// ownDefault is an ownNumber in a field of detect.Params, where it is detect.Own if it was not given.
type ownDefault struct{ to *float64 }

func (d ownDefault) Set(text string) error {
	var n ownNumber
	err := n.Set(text)
	if *d.to = n.value; !n.set {
		*d.to = detect.Own
	}
	return err
}

func (d ownDefault) String() string {
	n := ownNumber{*d.to, *d.to != detect.Own}
	return n.String()
}

func (d ownDefault) Type() string { return "number" }

// hashList is --hash; nil when it was not given.
type hashList struct{ *pipeline.Hashes }

func (l *hashList) Set(text string) error {
	if text == "" {
		l.Hashes = nil
		return nil
	}
	h, err := pipeline.ParseHashes(text)
	if err == nil {
		l.Hashes = &h
	}
	return err
}

func (l *hashList) String() string {
	if l.Hashes == nil {
		return ""
	}
	return l.Hashes.String()
}

func (l *hashList) Type() string { return "hashes" }
