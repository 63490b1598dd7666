// Package export writes results in the forms that other programs read.
//
//	store.Result → [--min-score] → [--where] → records (images, faces or groups) → columns → encoder
//
// A Writer receives the results one by one, in the order of the output, and holds no more than a buffer or,
// for Parquet, a row group. A column's name, its type and when it is empty are defined once, in columns.go,
// for all formats and for --where.
package export

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"facescan/store"
	"facescan/store/nearest"
)

// Options choose what is written.
type Options struct {
	Format  string   // csv, which is the default, jsonl, parquet or coco
	Rows    string   // images, which is the default, faces, groups or duplicates
	Columns []string // in their order; the default ones when empty
	Sources []Source // by number

	Detectors []Detector `json:"-"` // the built-in ones
	NoFaces   bool       `json:"-"` // the job runs without a detector: groups have no faces to count

	Where string // a filter, see where.go; empty lets everything through
	// MinScore re-applies thresholds, by the detector's name, empty for a foreign model. Rows of a
	// detector that is not in it are refused. Nil leaves the faces as the run decided.
	MinScore    map[string]float64
	Credentials bool // show passwords in URLs
}

// Source is what an export shows of a source.
type Source struct {
	Name string
	Kept []string // names of the kept columns, whose values are in store.Result.Kept
}

// Writer takes the results of a job.
type Writer interface {
	// Write writes one result, for rows of images or faces, and retains nothing of it.
	Write(store.Result) error
	// WriteDuplicate writes one picture of a group, for rows of duplicates.
	WriteDuplicate(store.Duplicate) error
	// WriteGroup writes one group, for rows of groups.
	WriteGroup(store.Group) error
	// Close flushes, but leaves the underlying writer open. Without it the output is incomplete.
	Close() error
}

// UsageError is an invalid option: e.g. an unknown column, or a filter with a syntax error.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

func usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// New starts an export to w, e.g. with a CSV header. For invalid options it returns a *UsageError and writes
// nothing.
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

// Formats are the formats of exports.
func Formats() []string { return []string{"csv", "jsonl", "parquet", "coco"} }

// FollowFormats are those that can be written row by row while a job runs.
func FollowFormats() []string { return []string{"csv", "jsonl"} }

// FormatOf is the format that a file's name means; csv where its name has no suffix. For another suffix it
// suggests one of the formats.
func FormatOf(path string, formats []string) (string, error) {
	switch suffix := Suffix(path); {
	case suffix == "", suffix == ".csv":
		return "csv", nil
	case suffix == ".jsonl", suffix == ".ndjson":
		return "jsonl", nil
	case suffix == ".parquet":
		return "parquet", nil
	case suffix == ".json" && slices.Contains(formats, "coco"):
		return "", usagef("%s: a name in .json does not say which; add --format coco, or write JSON Lines "+
			"to a name in .jsonl", path)
	default:
		return "", usagef("%s: %s is not the suffix of a format; there are %s: give the file such a suffix, "+
			"or choose one with --format", path, suffix, strings.Join(formats, ", "))
	}
}

// Suffix is the end of a file's name that stands for its format, in lower case: ".csv" of "a.CSV.gz".
func Suffix(path string) string {
	name := filepath.Base(strings.ToLower(path))
	for _, packed := range []string{".gz", ".zst"} {
		name = strings.TrimSuffix(name, packed)
	}
	if ext := filepath.Ext(name); ext != name && ext != "." {
		return ext
	}
	return ""
}

// RowKinds are what a row of an export can stand for.
func RowKinds() []string { return []string{"images", "faces", "groups", "duplicates"} }

// newEncoder makes an encoder of columns; rows is how many rows it may buffer.
func newEncoder(w io.Writer, format string, columns []column, rows int64) (encoder, error) {
	switch format {
	case "csv", "":
		return newCSV(w, columns), nil
	case "jsonl":
		return newJSONL(w, columns), nil
	case "parquet":
		return newParquet(w, columns, rows)
	}
	return nil, usagef("unknown format %q%s", format, nearest.Among(format, Formats()))
}

func newExporter(o Options, open func(table, []column) (encoder, error)) (*exporter, error) {
	t, err := newTable(o)
	if err != nil {
		return nil, err
	}
	e := &exporter{perFace: t.perFace, perGroup: o.Rows == "groups", options: t.options}
	if o.Where != "" {
		if e.filter, err = t.filter(o.Where); err != nil {
			return nil, err
		}
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
	first    int64 // of a row of duplicates, as in record
	distance int
	rec      record
	faces    []store.Face // rec's, by another threshold

	last      *Detector // of the fingerprint lastPrint
	lastPrint string
}

func (e *exporter) Write(r store.Result) error {
	if e.last == nil || r.Detector != e.lastPrint {
		e.last, e.lastPrint = e.options.detectorOf(r.Detector), r.Detector
	}
	e.rec = record{Result: r, face: -1, crops: len(r.Faces), first: e.first, distance: e.distance,
		detector: e.last, options: e.options}
	if e.options.MinScore != nil && r.FacesKnown() {
		least, ok := e.options.MinScore[e.last.Name]
		if !ok && (e.filter == nil || e.filter.match(&e.rec)) {
			return e.options.noScore(&e.rec)
		}
		e.applyThreshold(least)
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

// applyThreshold chooses the record's faces by another threshold. One below the run's finds only the best
// candidates, since the store has no others.
func (e *exporter) applyThreshold(minScore float64) {
	e.faces = append(append(e.faces[:0], e.rec.Faces...), e.rec.Candidates...)
	if e.last.Rounded { // candidates are kept in single precision
		for i := range e.faces {
			e.faces[i].Score = rounded(e.faces[i].Score, e.last.Decimals)
		}
	}
	e.faces = slices.DeleteFunc(e.faces, func(f store.Face) bool { return f.Score < minScore })
	e.rec.Faces = e.faces
}
