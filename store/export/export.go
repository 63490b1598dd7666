// Package export writes results in the forms that other programs read.
//
//	store.Result → [re-decide by --min-score] → [--where] → records (an image, a face or a group each) → columns → an encoder
//
// A Writer is given one result after the other, in the order in which they should stand, and holds no more
// than a buffer or, for Parquet, a row group. What a column is called, what type it has and when it is empty
// is said once, in columns.go, for all formats and for --where.
package export

import (
	"fmt"
	"io"
	"slices"

	"facescan/store"
)

// Options say what is written.
type Options struct {
	Format  string   // csv, which is the default, jsonl, parquet or coco
	Rows    string   // images, which is the default, faces or groups
	Columns []string // in their order; the default ones when empty
	Sources []Source // by number

	Detectors []Detector `json:"-"` // those that there is something to know of
	NoFaces   bool       `json:"-"` // the job looks for none: groups have none to count

	Where string // a filter, see where.go; empty lets everything through
	// MinScore re-applies thresholds, by the detector's name, empty for a model of others: of detectors that
	// are not in it no row may be exported. Nil leaves the faces as the run decided.
	MinScore    map[string]float64
	Credentials bool // show passwords in URLs
}

// Source is what an export tells of a source.
type Source struct {
	Name string
	Kept []string // names of the columns that store.Result.Kept has the values of
}

// Writer takes the results of a job.
type Writer interface {
	// Write takes one result, for rows of images or faces. It keeps nothing of it.
	Write(store.Result) error
	// WriteGroup takes one group, for rows of groups.
	WriteGroup(store.Group) error
	// Close writes what is left, but leaves the writer below open. Without it the output is not whole.
	Close() error
}

// UsageError is an option that cannot be meant: a column that does not exist, a filter that cannot be read.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

func usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// New starts an export to w, for instance with a CSV header. It fails with a *UsageError for options that
// cannot be met; then nothing was written.
func New(w io.Writer, o Options) (Writer, error) {
	e, err := newExporter(o, func(t table, columns []column) (encoder, error) {
		if o.Format == "coco" {
			if o.Rows != "" && o.Rows != "images" || len(o.Columns) > 0 {
				return nil, usagef("coco has neither --columns nor --rows")
			}
			return newCOCO(w, columns[t.find("url")])
		}
		return newEncoder(w, o.Format, columns, rowGroup)
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// newEncoder makes an encoder of columns; rows is how many of them it may hold back.
func newEncoder(w io.Writer, format string, columns []column, rows int64) (encoder, error) {
	switch format {
	case "csv", "":
		return newCSV(w, columns), nil
	case "jsonl":
		return newJSONL(w, columns), nil
	case "parquet":
		return newParquet(w, columns, rows)
	}
	return nil, usagef("unknown format %q: there are csv, jsonl, parquet, coco", format)
}

func newExporter(o Options, open func(table, []column) (encoder, error)) (*exporter, error) {
	t, err := newTable(o)
	if err != nil {
		return nil, err
	}
	e := &exporter{perFace: t.perFace, perGroup: o.Rows == "groups", options: t.options}
	if o.Where != "" {
		root, err := parseWhere(o.Where, t)
		if err != nil {
			return nil, err
		}
		e.filter = &Filter{root, t.options}
	}
	columns, err := t.choose(o.Columns, o.Credentials)
	if err != nil {
		return nil, err
	}
	if e.out, err = open(t, columns); err != nil {
		return nil, err
	}
	return e, nil
}

// encoder writes records; Writer.Close closes it.
type encoder interface {
	encode(*record) error
	close() error
}

type exporter struct {
	perFace  bool
	perGroup bool
	options  *Options
	filter   *Filter // nil for none
	out      encoder
	rec      record
	faces    []store.Face // rec's, decided anew

	last      *Detector // of the fingerprint lastPrint
	lastPrint string
}

func (e *exporter) Write(r store.Result) error {
	if e.last == nil || r.Detector != e.lastPrint {
		e.last, e.lastPrint = e.options.detectorOf(r.Detector), r.Detector
	}
	e.rec = record{Result: r, face: -1, crops: len(r.Faces), detector: e.last}
	if e.options.MinScore != nil && r.Judged() {
		least, ok := e.options.MinScore[e.last.Name]
		if !ok && (e.filter == nil || e.filter.match(&e.rec)) {
			return e.options.noScore(&e.rec)
		}
		e.redecide(least)
	}
	if !e.perFace {
		return e.put()
	}
	for i := range e.rec.Faces {
		e.rec.face = i
		if err := e.put(); err != nil {
			return err
		}
	}
	return nil
}

func (e *exporter) put() error {
	if e.filter != nil && !e.filter.match(&e.rec) {
		return nil
	}
	return e.out.encode(&e.rec)
}

func (e *exporter) Close() error { return e.out.close() }

// redecide chooses the record's faces anew among all that the run kept. A threshold below the run's finds no
// more than the best candidates, which are all that the store has.
func (e *exporter) redecide(minScore float64) {
	e.faces = append(append(e.faces[:0], e.rec.Faces...), e.rec.Candidates...)
	if e.last.Rounded { // candidates are kept in single precision
		for i := range e.faces {
			e.faces[i].Score = rounded(e.faces[i].Score, e.last.Decimals)
		}
	}
	e.faces = slices.DeleteFunc(e.faces, func(f store.Face) bool { return f.Score < minScore })
	e.rec.Faces = e.faces
}
