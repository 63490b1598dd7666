// Package listed has what both a list's reader and a job's store know of a row: the reader makes a Row, and
// the store appends it.
package listed

// Row is an entry of a list.
type Row struct {
	ID    int64 // within its source, from 1 to below 2^40, ascending; in a job with the source's offset added
	URL   string
	Group string   // value of --group-column
	Kept  []string // values of --keep-columns, in the source's order
	Hash  string   // value of the column of checksums
	Bad   bool     // it cannot have a URL: a broken record, or text that is too long
	End   bool     // not a row: the record that ends its Group; its ID stays unused
	File  *File    // of a row that is a file here; nil for any other
}

// File is what a file looks like when it is listed, or about to be read.
type File struct {
	Size   int64 // -1 when it cannot be found out
	Mtime  int64 // Unix nanoseconds
	Offset int64 // of a member in its tar: where its headers begin
}

// Position is where the rows of a list that were read end. Only the reader of its format understands Mark.
type Position struct {
	Offset int64  // bytes of the list's text: decompressed, and in UTF-8 if it was in UTF-16
	Line   int64  // lines, or records, including those that are not rows
	Rows   int64  // rows among them; -1 when nobody counted them
	Mark   []byte // the reader's own: fingerprint of what lies before, and of the file
}
