// Package report shows a job on one page: a file of HTML that needs nothing else, neither a server nor a
// script.
//
//	store.Counts ──────────────▶ figures, failures
//	store.Results ─▶ one pass ─▶ the curve, histograms, hosts     ─▶ page.html ─▶ w
//	store.Sampler ─────────────▶ small pictures with their boxes
//
// The pass holds no more than a few hundred counters, however many rows there are (tally.go). What comes from
// a list, hosts above all, is hostile: html/template escapes it, it is isolated from the text around it
// (bdi), and a policy in the page's head forbids scripts and everything outside the file. Bars are drawn
// (svg): printers leave coloured backgrounds out. Every drawing has a table or a sentence that says the same.
package report

import (
	"context"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"facescan/store"
	"facescan/store/figures"
)

// Options of a report.
type Options struct {
	Now  time.Time
	Hint func(store.Reason) string // what can be done about a failure
	// Blur makes the faces of an image of that size unrecognisable in a small JPEG of it; optional.
	Blur func(jpeg []byte, faces []store.Face, width, height int) ([]byte, error)
	// Scale is the scale of a detector's scores, by its fingerprint; optional.
	Scale   func(fingerprint string) Scale
	NoFaces bool // the job looks for none: there are none to count
	Version string
	Flags   string // of the last run, as far as rows depend on them; optional
	// More is the command that makes small pictures where there are none; optional.
	More func() (string, error)
}

// Scale is how scores are to be read.
type Scale struct {
	Name     string // of the detector; empty for a model of others
	Decimals int    // of a score as text
	Unit     bool   // scores lie between 0 and 1
}

// scale is that of a detector, or of one that nothing is known of.
func (o *Options) scale(fingerprint string) Scale {
	if o.Scale == nil {
		return Scale{Decimals: 2}
	}
	return o.Scale(fingerprint)
}

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{
	"count": figures.Count, "coord": coord, "quoted": quoted, "across": across, "down": down,
	"axes": func(up, along []tick) any { return struct{ Up, Along []tick }{up, along} },
}).Parse(pageText))

// page is what the template shows.
type page struct {
	Job, Made  string
	Facts      []fact
	Figures    []figure
	Sources    []store.Source
	Incomplete []string
	Detectors  []bar
	Curve      *curvePicture
	Failures   []failure
	Tables     []histogram
	Scores     []scoreChart
	Hosts      []hostRow
	Rough      bool // hosts are counted approximately
	Sheets     []sheet
	More       string // the command that makes pictures
}

// fact is what is known of the job as a whole.
type fact struct{ Name, Value string }

type figure struct {
	ID, Name string
	N        int64
	Share    string
}

type failure struct {
	Reason store.Reason
	Class  store.Class
	N      int64
	Share  string
	Width  float64
	Hint   string
}

type sheet struct {
	Title    string
	Pictures []picture
}

type picture struct {
	ID            int64
	Source        template.URL // data:
	Alt           string
	Name          string       // of the file
	Link          template.URL // its URL, if a browser can open it
	Host          string
	Width, Height int // of the image
	Line          float64
	Faces         []store.Face
	Best          string
}

// Write writes the report of a job.
func Write(ctx context.Context, w io.Writer, job store.Job, o Options) error {
	t := newTally(o.scale)
	for r, err := range job.Results(ctx, math.MinInt64, math.MaxInt64) {
		if err != nil {
			return err
		}
		t.add(&r)
	}
	c, err := job.Counts(ctx)
	if err != nil {
		return err
	}
	p := page{Job: job.Path(), Made: o.Now.UTC().Format("2 January 2006, 15:04 UTC"),
		Incomplete: c.ImportIncomplete,
		Curve:      t.curve.picture(), Tables: t.histograms(), Scores: t.scoreCharts(),
		Detectors: t.detectors.bars()}
	if p.Sources, err = job.Sources(ctx); err != nil {
		return err
	}
	p.Facts = t.facts(o)
	p.Figures = totals(c, !o.NoFaces)
	p.Failures = failures(c, o.Hint)
	p.Hosts, p.Rough = t.topHosts()
	if p.Sheets, err = sheets(ctx, job, o); err != nil {
		return err
	}
	p.More = "facescan run --thumbnails 200"
	if len(p.Sheets) == 0 && o.More != nil {
		if p.More, err = o.More(); err != nil {
			return err
		}
	}
	return pageTemplate.Execute(w, p)
}

// facts are how long the job took, by what it was run, and how.
func (t *tally) facts(o Options) (out []fact) {
	add := func(name, value string) {
		if value != "" {
			out = append(out, fact{name, value})
		}
	}
	if took := t.last.Sub(t.first); t.timed > 0 {
		add("Duration", figures.Span(took)+", from "+t.first.UTC().Format(moment)+" to "+
			t.last.UTC().Format(moment)+" UTC")
		if took > 0 {
			add("Mean rate", number(float64(t.timed)/took.Seconds())+" rows per second")
		}
	}
	var names []string
	for _, d := range t.detectors.bars() {
		names = append(names, d.Label)
	}
	if len(names) > 4 {
		names = append(names[:3], fmt.Sprintf("and %d others", len(names)-3))
	}
	add("Detector", strings.Join(names, "; "))
	add("Flags of the last run", o.Flags)
	add("facescan", o.Version)
	return out
}

func totals(c store.Counts, faces bool) []figure {
	of := func(n, all int64, what string) string {
		if all == 0 {
			return ""
		}
		return figures.Percent(n, all) + " of " + what
	}
	fs := []figure{
		{"total", "rows", c.Total, ""}, {"done", "done", c.Done, of(c.Done, c.Total, "rows")},
		{"pending", "pending", c.Pending, of(c.Pending, c.Total, "rows")},
		{"ok", "ok", c.OK, of(c.OK, c.Done, "done")},
		{"failed", "failed", c.Failed, of(c.Failed, c.Done, "done")},
	}
	if faces {
		fs = append(fs,
			figure{"images_with_faces", "images with faces", c.ImagesWithFaces,
				of(c.ImagesWithFaces, c.OK, "ok")},
			figure{"faces", "faces", c.Faces, ""})
	}
	if c.AlreadyDone > 0 {
		fs = append(fs, figure{"already_done", "done on arrival", c.AlreadyDone, ""})
	}
	return fs
}

func failures(c store.Counts, hint func(store.Reason) string) (out []failure) {
	for _, r := range store.Ranked(c.Failures) {
		n := c.Failures[r]
		out = append(out, failure{Reason: r, Class: r.Class(), N: n, Share: figures.Percent(n, c.Done),
			Hint: hint(r)})
	}
	for i := range out {
		out[i].Width = width(out[i].N, out[0].N)
	}
	return out
}

// sheets are the small pictures of rows that are ok now, with the faces that they have now.
func sheets(ctx context.Context, job store.Job, o Options) ([]sheet, error) {
	samples, err := job.Samples(ctx)
	if err != nil {
		return nil, err
	}
	with, without := sheet{Title: "With faces"}, sheet{Title: "Without faces"}
	for _, s := range samples {
		for r, err := range job.Results(ctx, s.ID, s.ID+1) {
			if err != nil {
				return nil, err
			}
			if r.Status != store.OK || r.Width < 1 || r.Height < 1 {
				continue
			}
			p, err := pictureOf(s, r, o)
			if err != nil {
				return nil, err
			}
			if len(r.Faces) > 0 {
				with.Pictures = append(with.Pictures, p)
			} else {
				without.Pictures = append(without.Pictures, p)
			}
		}
	}
	return slices.DeleteFunc([]sheet{with, without}, func(s sheet) bool { return len(s.Pictures) == 0 }), nil
}

func pictureOf(s store.Thumbnail, r store.Result, o Options) (picture, error) {
	jpeg := s.JPEG
	if o.Blur != nil && len(r.Faces) > 0 {
		var err error
		if jpeg, err = o.Blur(jpeg, r.Faces, r.Width, r.Height); err != nil {
			return picture{}, fmt.Errorf("blur the thumbnail of row %d: %w", r.ID, err)
		}
	}
	p := picture{ID: r.ID, Name: store.FileName(r.URL), Link: template.URL(store.Link(r.URL)),
		Host: hostOf(r.URL), Width: r.Width, Height: r.Height, Faces: r.Faces,
		Line:   float64(max(r.Width, r.Height)) / 120,
		Source: template.URL("data:image/jpeg;base64," + base64.StdEncoding.EncodeToString(jpeg))}
	switch n := len(r.Faces); n {
	case 0:
		p.Alt = fmt.Sprintf("image of row %d, no face found", r.ID)
	case 1:
		p.Alt = fmt.Sprintf("image of row %d, one face marked", r.ID)
	default:
		p.Alt = fmt.Sprintf("image of row %d, %d faces marked", r.ID, n)
	}
	if len(r.Faces) > 0 {
		p.Best = "score " + strconv.FormatFloat(r.Faces[0].Score, 'f', o.scale(r.Detector).Decimals, 64)
	}
	return p, nil
}

// quoted makes code of what stands between backticks.
func quoted(text string) template.HTML {
	var b strings.Builder
	for i, part := range strings.Split(text, "`") {
		if part = template.HTMLEscapeString(part); i%2 == 1 {
			part = "<code>" + part + "</code>"
		}
		b.WriteString(part)
	}
	return template.HTML(b.String())
}

// width is how wide a bar is, in percent of the widest.
func width(n, most int64) float64 { return math.Round(1000*float64(n)/float64(max(most, 1))) / 10 }

// coord is a coordinate in a drawing.
func coord(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
