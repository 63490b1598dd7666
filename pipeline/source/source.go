// Package source reads lists: bytes in, rows out, with a position after every row.
//
// # Shape
//
//	file or pipe → [gunzip, unzstd] → [UTF-16] → stream: a window, and a fingerprint of the consumed text
//	→ reader of a format → rows
//
// A list is never in memory as a whole: a reader sees a window of it, and its rows are cut from one string
// per window. So a list of any length, or a line of any length, takes the same memory.
//
// # Positions
//
// After any Next, Position says where the returned rows end, exact to the row. Open continues there, also in
// another process, and yields exactly the remaining rows. A position has a fingerprint of everything before
// it (see mark.go), by which Open tells a list that only grew from one that changed.
//
// # Broken records
//
// A record whose URL can be read is a row like any other, even if other fields are damaged. One whose URL
// cannot be read is a row that is marked Bad. A list that ends early, such as a damaged .gz, is an error, and
// so is a file that cannot be a list (see examine.go).
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync/atomic"

	"facescan/store/listed"
)

const (
	// MaxURL is the greatest length of a URL in bytes. Longer text is cut one byte after it, so that it can
	// be told from a URL of that length; the row is Bad.
	MaxURL = 64 << 10
	// maxRecord is how long a csv record or a jsonl line may be; longer ones are broken.
	maxRecord = 1 << 20
	// maxID is the first id that a source cannot have.
	maxID = 1 << 40
)

// Spec says what to read, and which columns of it.
type Spec struct {
	Path   string    // "-" is In
	Format string    // txt csv tsv jsonl parquet sqlite, Folder, Tar; by the file's name when empty
	In     io.Reader `json:"-"` // what "-" reads; os.Stdin when nil

	// Columns of tabular lists, matched exactly or else in any case. Empty means: url for the URL, the record
	// or line number for the id, no group.
	URLColumn, IDColumn, GroupColumn string
	KeepColumns                      []string
	Table                            string // of a SQLite database
	// the URL of records that end their group; empty for none
	GroupEnd string `json:",omitempty"`
	// HashColumn has checksums of the images; empty for none.
	HashColumn string `json:",omitempty"`

	// As names a stream on In that has no beginning: its lines follow those that came under the name before.
	// The reader does not use it.
	As string `json:",omitempty"`
	// Growing says that the list is being written: text without a newline at its end is not a record yet, and
	// a list without its header is ErrNotBegun.
	Growing bool `json:"-"`

	unordered bool                    // ids may come in any order
	started   *atomic.Pointer[stream] // a pipe that Check has read from
}

// Row is one row of a list. Its URL has at most MaxURL bytes.
type Row = listed.Row

// Position is where the returned rows end. Readers of lists do not count its Rows.
type Position = listed.Position

// Reader reads one list. Only Progress may be called while another call runs.
type Reader interface {
	// Next fills dst from its start and returns the number of rows: fewer than len(dst) also when a pipe
	// has no more at the moment. At the end of the list it returns 0 and io.EOF; rows and an error never come
	// together. Once the context of Open has ended, a pipe still yields what was read from it, and then the
	// context's error.
	Next(dst []Row) (int, error)
	// Position is after the last row that was returned, also after Next has failed.
	Position() Position
	// Progress is the share of the file that is read, in [0,1]; 0 when unknown.
	Progress() float64
	Close() error
}

// ErrNotBegun is the error of a list that is Growing and still lacks its header.
var ErrNotBegun = errors.New("its beginning is not written yet")

// UsageError is an invalid list or column.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

func usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

// ChangedError is the error of a list that is not the one whose import was started.
type ChangedError struct {
	Path string
	What string // what differs
}

func (e *ChangedError) Error() string {
	if e.Path == "-" {
		return fmt.Sprintf("standard input is not the stream whose import began: %s; give the same stream "+
			"from its start, or add --as NAME to append another one under a name of its own", e.What)
	}
	return fmt.Sprintf("%s has changed since its import began: %s; put back the list as it was (lines may "+
		"be added at its end), or import it into another job with --db JOB", nameOf(e.Path), e.What)
}

// nameOf is the name of a list in messages.
func nameOf(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}

// Formats lists the formats of files, as their names end, without databases.
var Formats = []string{"txt", "csv", "tsv", "jsonl", "parquet"}

// FormatOf returns format and compression ("gz", "zst" or "") by a file's name; an empty format if the name
// has none.
func FormatOf(path string) (format, compression string) {
	if path == "-" {
		return "txt", ""
	}
	base := strings.ToLower(filepath.Base(path))
	for _, c := range []string{"gz", "zst"} {
		if cut, ok := strings.CutSuffix(base, "."+c); ok {
			base, compression = cut, c
		}
	}
	ext := strings.TrimPrefix(filepath.Ext(base), ".")
	for _, f := range Formats {
		if ext == f && (f != "parquet" || compression == "") {
			return f, compression
		}
	}
	return "", compression
}

// Open opens a list at its start, or at a position. It returns a *ChangedError if the list is not the one
// that the position is of, and a *UsageError if it lacks columns that were named. Cancelling ctx ends Open
// and every Next.
func Open(ctx context.Context, s Spec, from Position) (Reader, error) {
	if s.Format == "" {
		var err error
		if s.Format, err = formatOfFile(s.Path); err != nil {
			return nil, err
		}
	}
	if s.GroupEnd != "" && s.GroupColumn == "" {
		return nil, usagef("--group-end ends groups, and no column has them: name it with --group-column")
	}
	switch {
	case HasImages(s.Format):
		return OpenImages(ctx, s)
	case s.Format == "txt":
		if s.URLColumn != "" || s.IDColumn != "" || s.GroupColumn != "" || len(s.KeepColumns) > 0 ||
			s.HashColumn != "" {
			return nil, usagef("%s is a plain list of URLs and has no columns", nameOf(s.Path))
		}
		return openText(ctx, s, from, newLines)
	case s.Format == "sqlite":
		return openDatabase(ctx, s, from)
	case s.IDColumn != "":
		return openByID(ctx, s, from)
	}
	return openFormat(ctx, s, from)
}

// openFormat opens a list that has columns.
func openFormat(ctx context.Context, s Spec, from Position) (Reader, error) {
	switch s.Format {
	case "csv", "tsv":
		return openText(ctx, s, from, newTable)
	case "jsonl":
		return openText(ctx, s, from, newObjects)
	case "parquet":
		return openParquet(ctx, s, from)
	}
	return nil, usagef("%s: unknown format %q", nameOf(s.Path), s.Format)
}
