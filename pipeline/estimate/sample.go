// Package estimate predicts the outcome of a run from a sample.
//
//	lists ─▶ held: 16 n rows, any with the same chance ─▶ strata: hosts ─▶ drawn: n rows, from each stratum
//	its share ─▶ fetched, processed, as a run does ─▶ what the whole list will come to, and between which
//	bounds
//
// # Two phases
//
// The number of rows per host is known only at the end of the list, and there may be too many hosts to count.
// So the held rows (a reservoir, in constant memory) stand for the list. Hosts with enough rows among them
// are strata of their own. All others are one stratum, from which rows are taken evenly along the hosts'
// names. Rows of a host tend to have the same outcome, so a sample with each host in proportion is more
// precise than a simple one.
//
// # Bounds
//
// The variance is that of double sampling for stratification (W. G. Cochran, Sampling Techniques, 3rd
// edition, chapter 12): the part within the strata from the drawn rows, the part between them from the held
// rows. For shares it is converted to the size of an equally good simple sample, and that to Wilson's
// interval, which stays within [0, 1] and is valid near its ends. A list no longer than its sample is known
// exactly.
package estimate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"facescan/pipeline/fetch"
	"facescan/pipeline/source"
	"facescan/store"
)

const (
	heldFor   = 16  // rows held for each row drawn
	stratumOf = 10  // rows a host must give to the sample to be a stratum
	readRows  = 512 // read at a time
	readEvery = 1 << 20
)

// Plan describes the sample to draw.
type Plan struct {
	Lists []source.Spec
	Rows  int              // in the sample
	Seed  uint64           // the same seed draws the same rows of the same lists
	Takes func(int64) bool // which rows, by id; nil for all
	Read  func(rows int64) // called after each readEvery rows with the number of rows read; optional
}

// Row is a row of the sample.
type Row struct {
	URL     string
	Bad     bool // it is not a URL
	stratum int
}

// Sample is drawn from one or several lists.
type Sample struct {
	Total  int64 // rows of the lists
	Drawn  []Row // in random order
	held   int
	strata []Stratum
}

// Stratum is a host, or all that have few rows.
type Stratum struct {
	Host  string  // empty for those of many hosts
	Share float64 // of the rows
	drawn int
	held  int
}

// Draw reads the lists to their ends.
func Draw(ctx context.Context, p Plan) (*Sample, error) {
	random := rand.New(rand.NewPCG(p.Seed, 0))
	var r reservoir
	read := int64(0)
	for i, spec := range p.Lists {
		offset := int64(i) << store.SourceShift
		err := each(ctx, spec, func(row source.Row) {
			if p.Takes == nil || p.Takes(offset+row.ID) {
				r.add(random, row, heldFor*p.Rows)
			}
			if read++; p.Read != nil && read%readEvery == 0 {
				p.Read(read)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return r.draw(random, p.Rows, fetch.Host), nil
}

func each(ctx context.Context, spec source.Spec, f func(source.Row)) error {
	list, err := source.Open(ctx, spec, source.Position{})
	if err != nil {
		return err
	}
	defer list.Close()
	chunk := make([]source.Row, readRows)
	for {
		n, err := list.Next(chunk)
		for _, row := range chunk[:n] {
			if !row.End {
				f(row)
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read %s: %w", spec.Path, err)
		}
	}
}

// reservoir holds rows of a stream, each with the same chance.
type reservoir struct {
	rows []Row
	seen int64
}

func (r *reservoir) add(random *rand.Rand, row source.Row, room int) {
	r.seen++
	at := len(r.rows)
	if at < room {
		r.rows = append(r.rows, Row{})
	} else if at = int(random.Int64N(r.seen)); at >= room {
		return
	}
	r.rows[at] = Row{URL: strings.Clone(row.URL), Bad: row.Bad} // the URL is cut from much more
}

// draw takes n of the rows that are held.
func (r *reservoir) draw(random *rand.Rand, n int, hostOf func(url string) string) *Sample {
	s := &Sample{Total: r.seen, held: len(r.rows)}
	n = min(n, s.held)
	random.Shuffle(s.held, func(i, j int) { r.rows[i], r.rows[j] = r.rows[j], r.rows[i] })
	hosts := map[string][]Row{}
	for _, row := range r.rows {
		host := ""
		if !row.Bad {
			host = hostOf(row.URL)
		}
		hosts[host] = append(hosts[host], row)
	}
	var small []Row
	var groups [][]Row
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		if rows := hosts[host]; len(rows)*n >= stratumOf*s.held {
			s.strata, groups = append(s.strata, Stratum{Host: host, held: len(rows)}), append(groups, rows)
		} else {
			small = append(small, rows...)
		}
	}
	if len(small) > 0 {
		s.strata, groups = append(s.strata, Stratum{held: len(small)}), append(groups, small)
	}
	for i, k := range s.allot(n) {
		st := &s.strata[i]
		st.Share, st.drawn = float64(st.held)/float64(s.held), k
		start := random.Float64()
		for j := range k { // evenly along the group, from a random start
			row := groups[i][int((float64(j)+start)*float64(st.held)/float64(k))]
			row.stratum = i
			s.Drawn = append(s.Drawn, row)
		}
	}
	random.Shuffle(len(s.Drawn), func(i, j int) { s.Drawn[i], s.Drawn[j] = s.Drawn[j], s.Drawn[i] })
	return s
}

// allot divides n rows among the strata by their sizes; each gets one at least, as long as there are enough.
func (s *Sample) allot(n int) []int {
	out := make([]int, len(s.strata))
	type rest struct {
		i    int
		part float64
	}
	var rests []rest
	left := n
	for i, st := range s.strata {
		exact := float64(n) * float64(st.held) / float64(s.held)
		out[i] = int(exact)
		left -= out[i]
		part := exact - math.Floor(exact)
		if out[i] == 0 {
			part = 2
		}
		rests = append(rests, rest{i, part})
	}
	slices.SortFunc(rests, func(a, b rest) int {
		return cmp.Or(cmp.Compare(b.part, a.part), cmp.Compare(a.i, b.i))
	})
	for _, r := range rests {
		if left > 0 && out[r.i] < s.strata[r.i].held {
			out[r.i]++
			left--
		}
	}
	return out
}

// Bounds are an estimate with its 95 % interval.
type Bounds struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// times is the same of n as often.
func (b Bounds) times(n float64) Bounds { return Bounds{b.Value * n, b.Low * n, b.High * n} }

// z has 95 % of a normal distribution between -z and z.
const z = 1.959963984540054

// Share estimates the share of the list's rows for which has is true, given has for the drawn rows by index.
func (s *Sample) Share(has func(i int) bool) Bounds {
	hits := make([]float64, len(s.strata))
	total := 0.
	for i, row := range s.Drawn {
		if has(i) {
			hits[row.stratum]++
			total++
		}
	}
	if s.known() {
		p := total / max(1, float64(len(s.Drawn)))
		return Bounds{p, p, p}
	}
	p := 0.
	for h, st := range s.strata {
		p += st.Share * hits[h] / float64(st.drawn)
	}
	v := s.variance(p, func(h int) (mean, square float64) {
		n := float64(s.strata[h].drawn)
		q := (hits[h] + 1) / (n + 2) // a stratum whose drawn rows are all alike may still have others
		return hits[h] / n, q * (1 - q)
	})
	// A simple sample of n rows is as good.
	q := (total + 1) / (float64(len(s.Drawn)) + 2)
	n := q * (1 - q) / v
	centre := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	return Bounds{p, max(0, min(p, centre-half)), min(1, max(p, centre+half))}
}

// Mean estimates the mean of a figure over the list's rows, likewise.
func (s *Sample) Mean(of func(i int) float64) Bounds {
	sum, squares := make([]float64, len(s.strata)), make([]float64, len(s.strata))
	for i, row := range s.Drawn {
		x := of(i)
		sum[row.stratum] += x
		squares[row.stratum] += x * x
	}
	mean := 0.
	for h, st := range s.strata {
		mean += st.Share * sum[h] / max(1, float64(st.drawn))
	}
	if s.known() {
		return Bounds{mean, mean, mean}
	}
	half := z * math.Sqrt(s.variance(mean, func(h int) (m, square float64) {
		n := float64(s.strata[h].drawn)
		m = sum[h] / n
		return m, max(0, squares[h]/n-m*m) * n / max(1, n-1)
	}))
	return Bounds{mean, max(0, mean-half), mean + half}
}

// known reports whether every row of the list was drawn.
func (s *Sample) known() bool { return int64(len(s.Drawn)) == s.Total }

// variance of the estimate of a mean; of gives a stratum's mean and its variance.
func (s *Sample) variance(mean float64, of func(h int) (mean, square float64)) float64 {
	within, between := 0., 0.
	for h, st := range s.strata {
		m, square := of(h)
		of := st.Share * float64(s.Total) // rows in it
		within += st.Share * st.Share * square / float64(st.drawn) * max(0, 1-float64(st.drawn)/of)
		between += st.Share * (m - mean) * (m - mean)
	}
	return within + between/float64(s.held)*(1-float64(s.held)/float64(s.Total))
}
