package store

import (
	"fmt"
	"slices"
	"time"
)

// Result is how a row ended.
type Result struct {
	ID         int64
	Status     Status
	Reason     Reason // empty when ok
	HTTPStatus int    // 0 when there was no answer
	Format     string // jpeg png gif webp bmp tiff avif heic; empty when unknown
	Width      int    // of the upright image; 0 when unknown
	Height     int
	Bytes      int64  // of the body, 0 when there was none
	Attempts   int    // fetches, the first included
	FinalURL   string // after redirects; empty when it is the row's own
	Partial    bool   // the body was complete, its image cut
	Detector   string // fingerprint; NoDetector when none was to look, empty when none answered
	Faces      []Face // by score descending, then y, x, width
	Candidates []Face // below the threshold, the best 8, in the same order
	Took       time.Duration
	Time       time.Time // when it was done
	Outputs    Outputs   // what else was made of the image
	Hashes               // that the job computes

	// What reading adds.
	URL    string
	Source int
	Group  string
	Kept   []string
}

// NoDetector is the Detector of a row that is ok although nobody looked for faces in it: how many it has is
// not known.
const NoDetector = "none"

// FacesKnown reports whether it is known which faces the image has.
func (r *Result) FacesKnown() bool { return r.Status == OK && r.Detector != NoDetector }

// Outputs are files that a run made of a row's image, beside its result; several may be set.
type Outputs uint8

const (
	KeptBody Outputs = 1 << iota // its bytes as downloaded, or with KeptJPEG the picture
	Crops                        // a picture of each face; none when there is no face
	Blurred                      // the picture with its faces blurred
	KeptJPEG                     // with KeptBody: what is kept is a JPEG that was made of the image
)

// Face is a box in pixels of the upright image, clipped to it, with sides of at least 1.
type Face struct {
	X, Y, Width, Height int
	Score               float64 // the detector's own scale
	Confidence          float64 // calibrated, in [0,1]; 0 when the detector has none

	HasLandmarks bool
	Landmarks    Landmarks
}

// ResultColumns are the columns of a job's results that have one field of a Result each. What both stores
// write, read and search of them follows from this list, and so does the checksum, in this order. The other
// columns have in each store a form of their own: id, faces (how many), detector (a number), candidates,
// landmarks and checksum.
var ResultColumns = []*ResultColumn{
	number("http_status", SmallInt, Brief|Unknown, 0, func(r *Result) *int { return &r.HTTPStatus }),
	number("width", Int, Brief|Unknown, 0, func(r *Result) *int { return &r.Width }),
	number("height", Int, Brief|Unknown, 0, func(r *Result) *int { return &r.Height }),
	number("bytes", BigInt, Brief, 0, func(r *Result) *int64 { return &r.Bytes }),
	number("attempts", Int, 0, 0, func(r *Result) *int { return &r.Attempts }),
	number("outputs", SmallInt, 0, 0, func(r *Result) *Outputs { return &r.Outputs }),
	{"took", BigInt, 0, 0, func(r *Result) int64 { return r.Took.Milliseconds() },
		func(r *Result, n int64) { r.Took = time.Duration(n) * time.Millisecond }, nil},
	{"time", Timestamp, 0, 0, func(r *Result) int64 { return r.Time.UnixMilli() },
		func(r *Result, n int64) { r.Time = time.UnixMilli(n).UTC() }, nil},
	{"partial", Bool, 0, 0, func(r *Result) int64 { return bit(r.Partial) },
		func(r *Result, n int64) { r.Partial = n != 0 }, nil},
	{"reason", Word, Brief, 0, nil, nil, func(r *Result) *string { return (*string)(&r.Reason) }},
	{"format", Word, Brief, 0, nil, nil, func(r *Result) *string { return &r.Format }},
	{"final_url", Text, 0, 0, nil, nil, func(r *Result) *string { return &r.FinalURL }},
	{"sha256", Bytes, 0, 1, nil, nil, func(r *Result) *string { return (*string)(&r.SHA256) }},
	{"phash", Bytes, 0, 1, nil, nil, func(r *Result) *string { return (*string)(&r.PHash) }},
}

// ResultColumn is a line of ResultColumns. What is zero may be stored as NULL.
type ResultColumn struct {
	Name string
	Type ColumnType
	Mark ColumnMark
	// Since is 0 for columns that every checksum covers. One that comes later has a number above those there
	// are, and is covered where it, or one that came with it or later, is not zero: so checksums that are
	// stored stay right.
	Since     int
	Number    func(r *Result) int64 // 0 or 1 of a Bool, and milliseconds of times
	SetNumber func(r *Result, n int64)
	Text      func(r *Result) *string // of Text, Word and Bytes, which have no Number
}

// ColumnType is the type of a column, as far as a database distinguishes.
type ColumnType int

const (
	SmallInt ColumnType = iota // of 16 bits
	Int
	BigInt
	Bool
	Timestamp
	Text
	Word // a text of which there are few
	Bytes
)

// ColumnMark says what else there is to know about a column.
type ColumnMark int

const (
	Brief   ColumnMark = 1 << iota // brief results have it, too: see Query
	Unknown                        // 0 says that the value is not known
)

func number[T ~int | ~int64 | ~uint8](name string, kind ColumnType, mark ColumnMark, since int,
	field func(r *Result) *T) *ResultColumn {
	return &ResultColumn{name, kind, mark, since, func(r *Result) int64 { return int64(*field(r)) },
		func(r *Result, n int64) { *field(r) = T(n) }, nil}
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// ReadColumns are those that results have when they are read, brief ones or all.
func ReadColumns(brief bool) []*ResultColumn {
	return slices.DeleteFunc(slices.Clone(ResultColumns),
		func(c *ResultColumn) bool { return brief && c.Mark&Brief == 0 })
}

// ColumnNames are the names of ResultColumns, behind those of other columns.
func ColumnNames(others ...string) []string {
	for _, c := range ResultColumns {
		others = append(others, c.Name)
	}
	return others
}

// Selectable adds to the columns of exports, as expressions on a result r, those that are in ResultColumns.
// Hex is the format of an expression that writes bytes as text.
func Selectable(others map[string]string, hex string) func(name string) string {
	for _, c := range ResultColumns {
		value, form := "r."+c.Name, "coalesce(%s, 0)"
		switch {
		case c.Type == Bytes:
			value, form = fmt.Sprintf(hex, value), "nullif(%s, '')"
		case c.Text != nil:
			form = "nullif(%s, '')"
		case c.Type == Bool:
			form = "coalesce(CAST(%s AS int), 0)"
		case c.Mark&Unknown != 0:
			form = "nullif(%s, 0)"
		}
		others[c.Name] = fmt.Sprintf(form, value)
	}
	return func(name string) string { return others[name] }
}
