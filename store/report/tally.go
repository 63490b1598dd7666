package report

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"facescan/store"
	"facescan/store/figures"
	"facescan/store/top"
)

const (
	hostsCounted = 2000 // exactly; beyond that approximately
	hostsShown   = 20
	hostLength   = 200 // bytes of a name
	wordsCounted = 30  // formats, detectors
	curveSteps   = 180 // of the curve at most
)

// tally is everything that is counted in one pass over the results.
type tally struct {
	curve     curve
	first     time.Time // when the first row was done, and the last
	last      time.Time
	timed     int64 // rows with a time
	faces     steps
	bytes     steps
	sides     steps
	formats   words
	detectors words
	scores    map[Scale]*scores
	scale     func(fingerprint string) Scale
	hosts     *top.Counter[string, outcome]
}

type outcome struct{ ok, failed, faces int64 }

func newTally(scale func(fingerprint string) Scale) *tally {
	return &tally{
		scores: map[Scale]*scores{}, scale: scale,
		curve: curve{step: 125 * time.Millisecond},
		faces: steps{bounds: []int64{0, 1, 2, 3, 4, 5, 10, 20, 50}},
		bytes: steps{bounds: []int64{0, 4 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10,
			512 << 10, 1 << 20, 2 << 20, 4 << 20, 16 << 20}},
		sides:   steps{bounds: []int64{100, 200, 400, 800, 1200, 1600, 2400, 3200, 4800, 6400}},
		formats: words{}, detectors: words{},
		hosts: top.New[string, outcome](hostsCounted),
	}
}

func (t *tally) add(r *store.Result) {
	failed := r.Status == store.Failed
	if r.Reason != store.Forgotten { // at some time after the run
		t.curve.add(r.Time, failed)
		if isTime(r.Time) {
			if t.first.IsZero() || r.Time.Before(t.first) {
				t.first = r.Time
			}
			if r.Time.After(t.last) {
				t.last = r.Time
			}
			t.timed++
		}
	}
	e := t.hosts.Add(hostOf(r.URL), 1)
	if failed {
		e.Value.failed++
	} else {
		e.Value.ok++
		e.Value.faces += int64(len(r.Faces))
		if r.FacesKnown() {
			t.faces.add(int64(len(r.Faces)))
		}
		t.bytes.add(r.Bytes)
		t.sides.add(int64(max(r.Width, r.Height)))
		t.formats.add(r.Format)
		t.detectors.add(r.Detector)
	}
	if len(r.Faces)+len(r.Candidates) == 0 {
		return
	}
	scale := t.scale(r.Detector)
	s := t.scores[scale]
	if s == nil {
		s = &scores{unit: scale.Unit}
		t.scores[scale] = s
	}
	for _, f := range r.Faces {
		s.add(f.Score, true)
	}
	for _, f := range r.Candidates {
		s.add(f.Score, false)
	}
}

// hostOf is a URL's host as it is counted, of bounded length and independent of the URL's memory.
func hostOf(url string) string {
	host := strings.ToValidUTF8(strings.ToLower(store.HostOf(url)), "\ufffd")
	if host == "" {
		return "(no host)"
	}
	if len(host) > hostLength {
		host = strings.ToValidUTF8(host[:hostLength], "") + "…"
	}
	return strings.Clone(host)
}

// bar is a row of a table.
type bar struct {
	Label string
	N     int64
	Share string
	Width float64 // percent of the widest
}

// newBar is a bar of n among the sum of all, where the widest is most.
func newBar(label string, n, sum, most int64) bar {
	return bar{label, n, figures.Percent(n, sum), width(n, most)}
}

type histogram struct {
	Title, Column, Note string
	Bars                []bar
}

func (t *tally) histograms() (out []histogram) {
	for _, h := range []histogram{
		{"Faces per image", "Faces", "of images that are ok", t.faces.bars(whole)},
		{"File size", "Bytes", "of images that are ok, as downloaded", t.bytes.bars(sizes)},
		{"Longer side", "Pixels", "of images that are ok, upright", t.sides.bars(whole)},
		{"Formats", "Format", "of images that are ok", t.formats.bars()},
	} {
		if len(h.Bars) > 0 {
			out = append(out, h)
		}
	}
	return out
}

// steps counts numbers up to each of some bounds, and those above the last.
type steps struct {
	bounds []int64
	counts []int64
}

func (s *steps) add(n int64) {
	if s.counts == nil {
		s.counts = make([]int64, len(s.bounds)+1)
	}
	at, _ := slices.BinarySearch(s.bounds, n)
	s.counts[at]++
}

// bars are the steps from the first to the last that has a count; label names one by the bounds it lies
// between.
func (s *steps) bars(label func(above, upTo int64) string) (out []bar) {
	most, sum := mostAndSum(slices.Values(s.counts))
	first, last := ends(s.counts)
	for i := first; i <= last; i++ {
		above, upTo := int64(-1), int64(math.MaxInt64)
		if i > 0 {
			above = s.bounds[i-1]
		}
		if i < len(s.bounds) {
			upTo = s.bounds[i]
		}
		out = append(out, newBar(label(above, upTo), s.counts[i], sum, most))
	}
	return out
}

// ends are the first and the last step that has a count; 0 and -1 if none has.
func ends(counts []int64) (first, last int) {
	last = len(counts) - 1
	for last >= 0 && counts[last] == 0 {
		last--
	}
	for first < last && counts[first] == 0 {
		first++
	}
	return first, last
}

// mostAndSum are the highest of some counts, and all together.
func mostAndSum(counts iter.Seq[int64]) (most, sum int64) {
	for n := range counts {
		most, sum = max(most, n), sum+n
	}
	return most, sum
}

// whole labels a step of whole numbers.
func whole(above, upTo int64) string {
	switch {
	case upTo == math.MaxInt64:
		return "more than " + figures.Count(above)
	case upTo == above+1:
		return figures.Count(upTo)
	case above <= 0:
		return "up to " + figures.Count(upTo)
	}
	return figures.Count(above+1) + " to " + figures.Count(upTo)
}

// sizes labels a step of sizes, of which a single byte more is not to be seen.
func sizes(above, upTo int64) string {
	switch {
	case upTo == math.MaxInt64:
		return "more than " + figures.Bytes(above)
	case above <= 0:
		return "up to " + figures.Bytes(upTo)
	}
	return figures.Bytes(above) + " to " + figures.Bytes(upTo)
}

// words counts words; those that come when there are too many are counted together.
type words map[string]int64

func (w words) add(word string) {
	if _, known := w[word]; !known && len(w) >= wordsCounted {
		word = "others"
	}
	w[word]++
}

func (w words) bars() (out []bar) {
	most, sum := mostAndSum(maps.Values(w))
	for word, n := range w {
		out = append(out, newBar(cmp.Or(word, "unknown"), n, sum, most))
	}
	slices.SortFunc(out, func(a, b bar) int {
		return cmp.Or(cmp.Compare(b.N, a.N), strings.Compare(a.Label, b.Label))
	})
	return out
}

// scores counts faces, and candidates that were none, by score. Each step is 1.4 times the one before; scores
// of zero and below come first. Where scores end at 1, each step is a twentieth instead.
type scores struct {
	unit              bool
	faces, candidates [scoreSteps]int64
}

const (
	scoreSteps = 48
	scoreZero  = 16 // the step that begins at 1

	scoresShown = 16 // steps; those below are one

	unitSteps = 20
)

func (s *scores) add(score float64, face bool) {
	at := 0
	switch {
	case s.unit:
		at = 1 + int(math.Min(unitSteps-1, math.Max(0, math.Floor(score*unitSteps+1e-9))))
	case score > 0:
		at = int(math.Min(scoreSteps-1, math.Max(1, math.Floor(2*math.Log2(score))+scoreZero)))
	}
	if face {
		s.faces[at]++
	} else {
		s.candidates[at]++
	}
}

// scoreChart is the scores of one detector.
type scoreChart struct {
	Of   string // its name, where there are others
	Unit bool   // scores end at 1
	Bars []scoreBar
}

// scoreCharts are the scores of each detector, since each has a scale of its own.
func (t *tally) scoreCharts() (out []scoreChart) {
	scales := slices.SortedFunc(maps.Keys(t.scores),
		func(a, b Scale) int { return strings.Compare(b.Name, a.Name) })
	for _, scale := range scales {
		chart := scoreChart{Unit: scale.Unit, Bars: t.scores[scale].bars()}
		if len(scales) > 1 {
			chart.Of = cmp.Or(scale.Name, "other models")
		}
		out = append(out, chart)
	}
	return out
}

type scoreBar struct {
	Label                       string
	Faces, Candidates           int64
	FacesWidth, CandidatesWidth float64
}

func (s *scores) bars() (out []scoreBar) {
	both := make([]int64, scoreSteps)
	for i := range both {
		both[i] = s.faces[i] + s.candidates[i]
	}
	most := slices.Max(both)
	first, last := ends(both)
	low := scoreBar{}
	for ; last-first >= scoresShown; first++ {
		low.Faces, low.Candidates = low.Faces+s.faces[first], low.Candidates+s.candidates[first]
		most = max(most, low.Faces+low.Candidates)
		low.Label = "below " + s.text(first+1)
	}
	if low.Label != "" {
		low.FacesWidth, low.CandidatesWidth = width(low.Faces, most), width(low.Candidates, most)
		out = append(out, low)
	}
	for i := first; i <= last; i++ {
		label := "0 or less"
		if i > 0 {
			label = s.text(i) + " to " + s.text(i+1)
		}
		out = append(out, scoreBar{label, s.faces[i], s.candidates[i], width(s.faces[i], most),
			width(s.candidates[i], most)})
	}
	return out
}

// text is where a step begins, with two digits or more that mean something.
func (s *scores) text(step int) string {
	if s.unit {
		return fmt.Sprintf("%.2f", float64(step-1)/unitSteps)
	}
	f := math.Exp2(float64(step-scoreZero) / 2)
	if f >= 10 {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.2g", f)
}

type hostRow struct {
	Host              string
	N, OK, Failed     int64
	Faces             int64
	About             bool
	OKWidth, BadWidth float64
}

// topHosts are the hosts with the most rows; rough when there were too many to count all exactly.
func (t *tally) topHosts() (out []hostRow, rough bool) {
	top := t.hosts.Top(hostsShown)
	for _, e := range top {
		most := top[0].Count
		row := hostRow{Host: e.Key, N: e.Count, OK: e.Value.ok, Failed: e.Value.failed, Faces: e.Value.faces,
			About: e.Error > 0, OKWidth: width(e.Value.ok, most), BadWidth: width(e.Value.failed, most)}
		rough = rough || row.About
		out = append(out, row)
	}
	return out, rough
}
